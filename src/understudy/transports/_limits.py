"""What JSON from a stranger must pass before anything is built of it."""

from __future__ import annotations

import json
import math
import re
from typing import Any

from understudy.transports._errors import ProtocolError

__all__ = ["MAX_DEPTH", "MAX_SIZE", "check_json", "elements_of", "is_harmless"]

MAX_SIZE = 256 * 1024
"""Bytes of one frame, unless a node says otherwise."""
MAX_DEPTH = 32
"""How deep objects and arrays may lie in one another."""

_STRING = re.compile(rb'"[^"]*"')
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_OTHERS = _NOT_BRACKETS.replace(b'"', b"")
_ALIKE = bytes.maketrans(b"[]", b"{}")
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_NUMBERS = b"-.0123456789"
_MARKS = b'[]{},:"' + _NUMBERS
_MOST_QUOTES = 8_192
_LONGEST = 300
"""Digits of a number that is surely finite, and that ``int`` converts."""


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


def is_harmless(data: bytes, *, max_depth: int = MAX_DEPTH, max_elements: int | None = None) -> bool:
    """Whether it is proven that :func:`check_json` would let *data* pass, size aside, if it is JSON at all.

    With *max_elements*, also that if it is an array, not more than so many objects are directly in it.

    That takes a third of the time, as nothing is made of it, and the more often one shape comes again, the less there
    is to look at. False says nothing. Whether it is JSON another parser has to find, which may take ``NaN``, infinities
    and the last of duplicate keys, but refuses control characters in strings.

    The proof, for any *data* that is JSON:

    - It has no backslash, so each quotation mark begins or ends a string, and strings are what they look like: two that
      are equal have equal bytes, and none has a lone surrogate, as it is UTF-8.
    - What is between the strings has nothing but brackets, commas, colons, digits, signs and points, and the words
      ``true``, ``false``, ``null``. If other words, exponents or white space were among it, something would be left
      when these are taken out: as many ``t``, ``f`` and ``n`` as there are such words, each of which takes one ``e`` at
      most, and ``NaN``, ``Infinity`` and ``E`` have letters of their own. So nothing is not a number or infinite by
      name, and with 300 digits at most and no exponent nothing is too large.
    - Pairs of brackets with nothing in them are taken out as often as levels are allowed, and none is left.
    - A string is a key if a colon follows, as no white space does. Of less than two keys, or of several that are all
      different, none is there twice. For the rest see :func:`_has_unique_keys`.
    """
    if b"\\" in data:
        return False
    if data[:1] == b'"' and data.find(b'"', 1) == len(data) - 1:  # nothing but one string
        return data.isascii() or _is_utf8(data)
    parts = data.split(b'"', _MOST_QUOTES)
    if not len(parts) & 1 or len(parts) > _MOST_QUOTES or not (data.isascii() or _is_utf8(data)):
        return False
    marks = b'"'.join(parts[::2])
    words = marks.translate(None, _MARKS)
    if words and words.replace(b"true", b"").replace(b"false", b"").replace(b"null", b""):
        return False
    if len(marks) > _LONGEST and max(map(len, marks.split(b'"'))) > _LONGEST:
        return False
    brackets = marks.translate(_ALIKE, _NOT_BRACKETS)
    if len(brackets) > 2 * max_depth and _is_deep(brackets, max_depth):
        return False
    if marks.count(b":") < 2 or len(parts) < 3:  # without a string there is no key
        return max_elements is None or marks.count(b"{") <= max_elements
    return _has_unique_keys(parts[1::2], marks, brackets, max_elements)


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _has_unique_keys(strings: list[bytes], marks: bytes, brackets: bytes, max_elements: int | None) -> bool:
    """The rest of :func:`is_harmless`, where between the *strings* there are these *marks*.

    Either all keys are different. Or it is an array of objects that are alike. Then, numbers left out, what follows the
    strings repeats itself, with the beginning of the next object in the last place, and of the brackets of a repetition
    all between the first and the last match. So each repetition is one object with whatever lies in it; all have the
    same keys in the same places, and those of the first are all different.
    """
    behind = marks.translate(None, _NUMBERS).split(b'"')
    alike = strings.count(strings[0]) if behind[0] == b"[{" else 1
    if (alike if alike > 1 else marks.count(b"{")) > (max_elements or _MOST_QUOTES):
        return False
    size, pattern = len(strings), behind[1:]
    if alike > 1:
        size //= alike
        last, pattern = behind[-1], behind[1 : 1 + size]
        if pattern[-1:] != [last[:-1] + b",{"] or last[-2:] != b"}]":
            return False
        behind[-1] = pattern[-1]
        inner = brackets[2 : (len(brackets) - 2) // alike]
        if behind[1:] != pattern * alike or _is_deep(inner, len(inner)):
            return False
    keys: set[bytes] = set()
    for at, follows in enumerate(pattern):
        if follows[:1] == b":":
            key = strings[at]
            if key in keys or (alike > 1 and strings[at::size].count(key) != alike):
                return False
            keys.add(key)
    return True


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
    if _is_deep(_STRING.sub(b"", data.translate(_ALIKE, _OTHERS)), max_depth):
        raise ProtocolError(problem=f"JSON more than {max_depth} deep, or with brackets that do not match")


def _is_deep(left: bytes, max_depth: int) -> bool:
    """Whether the brackets *left*, all of them ``{`` and ``}``, lie deeper in one another, or do not match."""
    for _ in range(max_depth):
        before, left = left, left.replace(b"{}", b"")  # the innermost of each
        if len(left) == len(before):
            break
    return bool(left)


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
