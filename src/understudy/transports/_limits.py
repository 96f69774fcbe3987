"""What JSON from a stranger must pass before anything is built of it."""

from __future__ import annotations

import json
import math
import re
from typing import Any

from understudy.transports._errors import ProtocolError

__all__ = ["MAX_DEPTH", "MAX_SIZE", "check_json"]

MAX_SIZE = 256 * 1024
"""Bytes of one frame, unless a node says otherwise."""
MAX_DEPTH = 32
"""How deep objects and arrays may lie in one another."""

_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_BRACKET = re.compile(rb"[\[\]{}]")
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


def check_json(data: bytes, *, max_size: int = MAX_SIZE, max_depth: int = MAX_DEPTH) -> Any:
    """Refuse *data* unless it is JSON that every decoder reads alike; what it says, unvalidated.

    Size and depth come first, before any of it is parsed. Then one pass of the standard library's decoder refuses
    what is no JSON, duplicate keys, NaN, infinities (also numbers that are too large) and lone surrogates.

    Raises:
        ProtocolError: Says which of these it is, and never shows the data.
    """
    if len(data) > max_size:
        raise ProtocolError(problem=f"{len(data):,} bytes of JSON, where {max_size:,} are allowed")
    if data.count(b"{") + data.count(b"[") > max_depth:
        _check_depth(data, max_depth)
    try:
        value = _DECODER.decode(data.decode("utf-8"))
        if _SURROGATE.search(data) is not None:
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        raise ProtocolError(problem="a lone surrogate in JSON") from None
    except UnicodeDecodeError:
        raise ProtocolError(problem="JSON that is not UTF-8") from None
    except _Unwanted as unwanted:
        raise ProtocolError(problem=f"{unwanted} in JSON") from None
    except ValueError:
        raise ProtocolError(problem="what should be JSON is not") from None
    return value


class _Unwanted(Exception):
    """What the standard library would let pass."""


def _check_depth(data: bytes, max_depth: int) -> None:
    depth = 0
    # A string that does not end hides nothing: its brackets are counted, and it is no JSON anyway.
    for found in _BRACKET.finditer(_STRING.sub(b"", data)):
        depth += 1 if found[0] in b"[{" else -1
        if depth > max_depth:
            raise ProtocolError(problem=f"JSON more than {max_depth} deep")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _Unwanted("a duplicate key")
    return found


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise _Unwanted("a number too large")
    return value


def _constant(name: str) -> float:
    raise _Unwanted(name)


_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_float=_finite, parse_constant=_constant)
