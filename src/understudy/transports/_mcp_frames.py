"""Text from strangers: lines of bounded length, JSON that has one meaning, and what may stand in a log."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, NoReturn

from understudy.transports._mcp_errors import InvalidFrame, MessageTooLarge

__all__ = ["MAX_MESSAGE_BYTES", "LineSplitter", "check_json", "printable"]

MAX_MESSAGE_BYTES = 256 * 1024
"""What a message may have at most, unless somebody says otherwise."""

MAX_DEPTH = 32
_OPENING = re.compile(rb"[\[{]")
_BRACKETS = re.compile(rb'"(?:[^"\\]|\\.)*+"|[\[\]{}]', re.DOTALL)
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


def check_json(data: bytes, *, source: str, limit: int) -> None:
    """Refuse *data* unless it is JSON that every reader understands alike.

    The size is looked at before anything else, then the depth by counting brackets, then all that parsers disagree
    on: duplicate names, NaN and infinities, lone surrogates.

    Raises:
        MessageTooLarge: More than *limit* bytes.
        InvalidFrame: Anything else.
    """
    if len(data) > limit:
        raise MessageTooLarge(source=source, limit=limit)
    if len(_OPENING.findall(data)) > MAX_DEPTH and _depth(data) > MAX_DEPTH:
        raise InvalidFrame(source=source, problem=f"JSON that is nested deeper than {MAX_DEPTH}")
    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant)
        if _SURROGATE.search(data):
            json.dumps(value, ensure_ascii=False).encode("utf-8")  # a pair has become one character by now
    except (ValueError, RecursionError) as error:
        raise InvalidFrame(source=source, problem=f"no JSON: {_short(str(error))}") from None


def _depth(data: bytes) -> int:
    """How deep brackets are nested, those in strings not counted."""
    depth = deepest = 0
    for found in _BRACKETS.finditer(data):
        each = found[0]
        if each in (b"[", b"{"):
            depth += 1
            deepest = max(deepest, depth)
        elif each in (b"]", b"}"):
            depth -= 1
    return deepest


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a name stands twice in an object")
    return members


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


class LineSplitter:
    """Cuts a stream of bytes into lines, none of which is ever longer than *limit*."""

    def __init__(self, *, source: str, limit: int) -> None:
        self._source = source
        self._limit = limit
        # Without a line feed, and never longer than the limit.
        self._rest = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The lines that *data* completes, without their ends; empty ones are left out.

        Raises:
            MessageTooLarge: A line is too long already; no more is to be fed.
        """
        *ended, rest = data.split(b"\n")
        for part in ended:
            line = bytes(self._rest) + part
            self._rest.clear()
            self._check(len(line))
            if line.strip():
                yield line
        self._check(len(self._rest) + len(rest))
        self._rest += rest

    def feed_cut(self, data: bytes) -> Iterator[bytes]:
        """:meth:`feed`, for *data* of no more than half the limit: a line that is too long is cut, not refused."""
        if len(self._rest) + len(data) > self._limit:
            yield from self.flush()
        yield from self.feed(data)

    def flush(self) -> Iterator[bytes]:
        """What has come of a line that has no end yet."""
        line = bytes(self._rest)
        self._rest.clear()
        if line.strip():
            yield line

    def _check(self, size: int) -> None:
        if size > self._limit:
            raise MessageTooLarge(source=self._source, limit=self._limit)


def printable(text: str, limit: int = 2_000) -> str:
    """*text* for a log: control characters escaped, and no longer than *limit* characters."""
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in _short(text, limit))


def _short(text: str, limit: int = 200) -> str:
    return text if len(text) <= limit else f"{text[:limit]}... ({len(text) - limit:,} more)"
