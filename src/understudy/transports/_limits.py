"""What JSON from a stranger must pass before anything is built of it."""

from __future__ import annotations

import json
import math
import re
from typing import Any

from understudy.transports._errors import ProtocolError

__all__ = ["MAX_DEPTH", "MAX_SIZE", "check_json", "elements_of"]

MAX_SIZE = 256 * 1024
"""Bytes of one frame, unless a node says otherwise."""
MAX_DEPTH = 32
"""How deep objects and arrays may lie in one another."""

_STRING = re.compile(rb'"[^"]*"')
_OTHERS = bytes(set(range(256)) - set(b'"[]{}'))
_ALIKE = bytes.maketrans(b"[]", b"{}")
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
    if _may_be_deep(data, max_depth):
        _check_depth(data, max_depth)
    try:
        value = _decode(data.decode())
        if b"\\" in data and _SURROGATE.search(data) is not None:
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


def elements_of(data: bytes) -> list[bytes]:
    """The elements of an array that has passed :func:`check_json`, each as it is written there."""
    text = data.decode()
    found: list[bytes] = []
    at = text.index("[") + 1
    while True:
        at = _not_blank(text, at)
        if text[at] == "]":
            return found
        _, end = _DECODER.raw_decode(text, at)
        found.append(text[at:end].encode())
        at = _not_blank(text, end)
        if text[at] == ",":
            at += 1


def _not_blank(text: str, at: int) -> int:
    while text[at] in " \t\n\r":
        at += 1
    return at


class _Unwanted(Exception):
    """What the standard library would let pass."""


def _may_be_deep(data: bytes, max_depth: int) -> bool:
    """Whether there are more brackets than may lie in one another. To look for the next costs less than to count."""
    left = max_depth
    for bracket in (b"{", b"["):
        at = data.find(bracket)
        while at >= 0:
            if left == 0:
                return True
            left -= 1
            at = data.find(bracket, at + 1)
    return False


def _check_depth(data: bytes, max_depth: int) -> None:
    # Up to where it is JSON, there are backslashes in strings only; behind that nobody reads it.
    if b"\\" in data:
        data = data.replace(b"\\\\", b"").replace(b'\\"', b"")
    # A string that does not end hides nothing: its brackets are counted.
    left = _STRING.sub(b"", data.translate(_ALIKE, _OTHERS))
    for _ in range(max_depth):
        before, left = left, left.replace(b"{}", b"")  # the innermost of each
        if len(left) == len(before):
            break
    if left:
        raise ProtocolError(problem=f"JSON more than {max_depth} deep, or with brackets that do not match")


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


def _decode(text: str) -> Any:
    """What *text* says, which is most often JSON with nothing around it; white space is for the decoder as a whole."""
    if text[:1] in " \t\n\r":
        return _DECODER.decode(text)
    value, end = _DECODER.raw_decode(text)
    return value if end == len(text) else _DECODER.decode(text)


_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_float=_finite, parse_constant=_constant)
