"""What both ends of a connection over server-sent events have to agree on.

Below the path of the URL there are five resources:

- ``POST connections`` opens a connection; the answer, ``201``, is JSON with its secret name. Who says ``hears: true``
  in a JSON body is going to say what he has heard, and then nothing is thrown away that he has not.
- ``GET events`` is what the listener says: a stream of events, whose ids are numbers from 1. ``message`` has one, a
  JSON string of base64; ``gap`` the first and the last number of what can be said no more, as ``5-9``; ``end`` is the
  last one, JSON with ``why`` and ``clean``. With ``Last-Event-ID`` it goes on behind that number.
- ``POST heard`` says in ``Last-Event-ID`` up to which event the stream has been read.
- ``POST messages`` is one message to the listener, with a number in ``Understudy-Sequence``; ``202`` when it was taken.
  It may be posted again with the same number, and is taken once.
- ``POST close`` is the end, JSON with ``why``.

All but the first carry the secret name in the header ``Understudy-Connection``, never in a URL.
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any, cast

from understudy.transports._errors import ProtocolError
from understudy.transports._limits import check_json

__all__ = [
    "CLOSE",
    "CONNECTION",
    "CONNECTIONS",
    "EVENTS",
    "HEARD",
    "MESSAGES",
    "SEQUENCE",
    "from_event",
    "from_json",
    "to_event",
    "to_json",
]

CONNECTIONS = "connections"
EVENTS = "events"
HEARD = "heard"
MESSAGES = "messages"
CLOSE = "close"

CONNECTION = "Understudy-Connection"
SEQUENCE = "Understudy-Sequence"

_WHY = 200
"""Characters of a reason that travel."""


def to_event(data: bytes) -> str:
    """*data* as the data of an event; never empty, since an event without data is none to a browser."""
    return f'"{base64.b64encode(data).decode()}"'


def from_event(text: str) -> bytes:
    """The reverse.

    Raises:
        ValueError: It is not what :func:`to_event` makes.
    """
    if len(text) < 2 or text[0] != '"' or text[-1] != '"':
        raise ValueError("the data of an event is no JSON string of base64")
    try:
        return base64.b64decode(text[1:-1], validate=True)
    except binascii.Error as error:
        raise ValueError("the data of an event is no base64") from error


def to_json(**facts: Any) -> str:
    """Facts of an end, or of a new connection; of a reason at most what is to travel."""
    if "why" in facts:
        facts["why"] = facts["why"][:_WHY]
    return json.dumps(facts)


def from_json(text: str | bytes) -> dict[str, Any]:
    """The reverse, with nothing in it that was not expected.

    Raises:
        ValueError: It is no JSON object.
    """
    try:
        found: object = check_json(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))
    except ProtocolError as error:
        raise ValueError(error.problem) from error
    if not isinstance(found, dict):
        raise ValueError("no JSON object")
    facts = cast("dict[str, Any]", found)
    why, connection = facts.get("why"), facts.get("connection")
    return {
        "why": why[:_WHY] if isinstance(why, str) else "",
        "clean": facts.get("clean") is True,
        "hears": facts.get("hears") is True,
        "connection": connection if isinstance(connection, str) else "",
    }
