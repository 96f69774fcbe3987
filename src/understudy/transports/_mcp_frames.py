"""Text from strangers: lines of bounded length, JSON that has one meaning, and what may stand in a log."""

from __future__ import annotations

from collections.abc import Iterator

from understudy.actors import _reporter
from understudy.transports import _limits
from understudy.transports._errors import ProtocolError
from understudy.transports._mcp_errors import InvalidFrame, MessageTooLarge

__all__ = ["MAX_MESSAGE_BYTES", "LineSplitter", "check_json", "printable"]

MAX_MESSAGE_BYTES = _limits.MAX_SIZE
"""What a message may have at most, unless somebody says otherwise."""


def check_json(data: bytes, *, source: str, limit: int) -> None:
    """Refuse *data* unless it is JSON that every reader understands alike, and no more of it than *limit* bytes.

    Raises:
        MessageTooLarge: More than *limit* bytes.
        InvalidFrame: Anything else.
    """
    if len(data) > limit:
        raise MessageTooLarge(source=source, limit=limit)
    try:
        _limits.check_json(data, max_size=limit)
    except ProtocolError as error:
        raise InvalidFrame(source=source, problem=error.problem) from None


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
    return _reporter.printable(text if len(text) <= limit else f"{text[:limit]}... ({len(text) - limit:,} more)")
