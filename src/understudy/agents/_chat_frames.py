"""What the page of a person and its server say to each other: JSON objects, one in each text frame of a WebSocket.

The page begins with a :class:`Hello`, in time, and is answered by a :class:`Welcome`; then come the deliveries, each in
a :class:`Delivered`, from the cursor on that the page has named, and behind each gap a :class:`StillOpen`. What the
person does is one of :data:`Act`, with an id that the page makes up, and is answered by a :class:`Done` with the same
id. An act that is said again, since the answer was lost with a connection, is done once.

A connection that is refused, or over, is closed with one of the codes below.
"""

from __future__ import annotations

import json
from typing import Annotated, Literal, TypeAlias, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError

from understudy.agents._deliveries import Delivery
from understudy.transports._errors import ProtocolError
from understudy.transports._limits import check_json

__all__ = [
    "BAD_FRAME",
    "CROWDED",
    "GONE",
    "TOO_LATE",
    "UNAUTHORIZED",
    "Act",
    "AnswerFrame",
    "DecideFrame",
    "Delivered",
    "Done",
    "Hello",
    "InterruptFrame",
    "SayFrame",
    "StillOpen",
    "Welcome",
    "parse_act",
    "parse_hello",
    "to_text",
]

GONE = 1001
"""The server, or the agent, ends or is restarted: come back later."""
BAD_FRAME = 4400
"""What came is no frame that was due."""
UNAUTHORIZED = 4401
"""The token is not the one of this server: do not come back with it."""
TOO_LATE = 4408
"""No hello came in time."""
CROWDED = 4429
"""There are as many connections as may be."""

_Id: TypeAlias = Annotated[str, Field(min_length=1, max_length=64)]
_Number: TypeAlias = Annotated[int, Field(ge=0, lt=2**53)]
"""What JavaScript can count."""


class _Frame(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Hello(_Frame):
    """The first frame of a connection."""

    kind: Literal["hello"]
    token: str = Field(max_length=1_000, repr=False)
    session: str = Field(default="", max_length=200)
    """What *after* is a cursor of; see :attr:`understudy.agents.Seat.session`."""
    after: _Number = 0
    """The cursor of the last delivery that the page shows; 0: it shows none."""


class SayFrame(_Frame):
    """The person says something of his own."""

    kind: Literal["say"] = "say"
    id: _Id
    text: str = Field(min_length=1)
    conversation: str = Field(default="", max_length=200)


class AnswerFrame(_Frame):
    """The person answers a question."""

    kind: Literal["answer"] = "answer"
    id: _Id
    number: _Number
    text: str


class DecideFrame(_Frame):
    """The person approves of a request, or rejects it."""

    kind: Literal["decide"] = "decide"
    id: _Id
    number: _Number
    approve: bool
    comment: str = ""


class InterruptFrame(_Frame):
    """The person gives up the turn that is under way."""

    kind: Literal["interrupt"] = "interrupt"
    id: _Id


Act: TypeAlias = SayFrame | AnswerFrame | DecideFrame | InterruptFrame
"""What a person does."""


class Welcome(_Frame):
    """The answer to a :class:`Hello`."""

    kind: Literal["welcome"] = "welcome"
    title: str
    """What stands above the page."""
    session: str
    resumed: bool
    """Whether what the page shows is of this session; else it begins anew, and so do the deliveries that follow."""
    max_bytes: int
    """How long a frame to the server may be."""


class Delivered(_Frame):
    """What the person is told."""

    kind: Literal["delivery"] = "delivery"
    delivery: Delivery


class StillOpen(_Frame):
    """What waits for the person, by its numbers; said behind a gap, in which the ends of others may have been lost."""

    kind: Literal["open"] = "open"
    questions: tuple[int, ...]
    approvals: tuple[int, ...]


class Done(_Frame):
    """What has become of an act."""

    kind: Literal["done"] = "done"
    id: str
    ok: bool
    text: str = ""
    """For the person: what was wrong, or what holds instead."""


def to_text(frame: Welcome | Delivered | StillOpen | Done) -> str:
    """*frame* as JSON, whatever is in its texts: agents may say what is no Unicode, and it is not the page's fault."""
    try:
        return frame.model_dump_json()
    except PydanticSerializationError:  # a lone surrogate, which JSON can escape, and UTF-8 cannot have
        return json.dumps(frame.model_dump(mode="json"))


_F = TypeVar("_F")
_DEPTH = 4
_HELLO = TypeAdapter(Hello)
_ACT: TypeAdapter[Act] = TypeAdapter(Annotated[Act, Field(discriminator="kind")])


def parse_hello(text: str) -> Hello:
    """The first frame.

    Raises:
        ProtocolError: It is no hello; never shows what it is.
    """
    return _parse(_HELLO, text)


def parse_act(text: str) -> Act:
    """A later one.

    Raises:
        ProtocolError: It is no act; likewise.
    """
    return _parse(_ACT, text)


def _parse(adapter: TypeAdapter[_F], text: str) -> _F:
    data = text.encode()
    # The one who receives has bounded its length.
    check_json(data, max_size=len(data), max_depth=_DEPTH)
    try:
        return adapter.validate_json(data)
    except ValidationError as error:
        wrong = error.errors(include_input=False, include_context=False, include_url=False)[0]
        raise ProtocolError(problem=f"a frame that is none of the page's ({wrong['type']})") from None
