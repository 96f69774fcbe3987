"""Messages as lines of JSON over a pair of pipes, in the shape that the SDK reads and writes."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

import anyio
import mcp_types
from mcp.shared.message import SessionMessage

from understudy.transports._bell import Bell
from understudy.transports._mcp_errors import InvalidFrame, MessageTooLarge
from understudy.transports._mcp_frames import LineSplitter, check_json
from understudy.transports._mcp_streams import MessageReader, MessageStream

__all__ = ["LineReader", "LineWriter"]

ENOUGH = 64
"""Messages that wait to be taken, from which on no more bytes are read."""


class LineReader(MessageReader):
    """What a peer sends: bytes are fed, messages are taken.

    A line that is no JSON at all is passed to *stray*: programs print to where they should not. One that looks like
    JSON and is not acceptable, or is too long, ends the stream, and is its ``error``.
    """

    def __init__(self, *, source: str, limit: int, stray: Callable[[str], object]) -> None:
        self._source = source
        self._limit = limit
        self._stray = stray
        self._splitter = LineSplitter(source=source, limit=limit)
        self._messages: deque[SessionMessage] = deque()
        self._news = Bell(asyncio.get_running_loop())
        self._paused = False
        # No more bytes are taken; messages that have come are.
        self._ended = False
        self.pipe: asyncio.ReadTransport | None = None
        """What is paused while nobody takes."""
        self.error: InvalidFrame | MessageTooLarge | None = None
        """Why it was ended by us, if it was."""

    def feed(self, data: bytes) -> None:
        """Bytes have come."""
        if self._ended:
            return
        try:
            for line in self._splitter.feed(data):
                self._take(line)
        except (InvalidFrame, MessageTooLarge) as error:
            self.error = error
            self.feed_eof()
        if len(self._messages) >= ENOUGH and not self._paused and self.pipe is not None:
            self._paused = True
            self.pipe.pause_reading()
        self._news.ring()

    def _take(self, line: bytes) -> None:
        if line.lstrip()[:1] not in (b"{", b"["):
            self._stray(line.decode("utf-8", "backslashreplace"))
            return
        check_json(line, source=self._source, limit=self._limit)
        try:
            message = mcp_types.jsonrpc_message_adapter.validate_json(line, by_name=False)
        except ValueError:
            raise InvalidFrame(source=self._source, problem="JSON that is no message of JSON-RPC") from None
        self._messages.append(SessionMessage(message))

    def feed_eof(self) -> None:
        """No bytes will come any more."""
        self._ended = True
        self._news.ring()

    async def receive(self) -> SessionMessage | Exception:
        """See :class:`MessageReader`."""
        while not self._messages:
            if self._ended:
                raise anyio.EndOfStream
            await self._news.wait()
        message = self._messages.popleft()
        if self._paused and len(self._messages) < ENOUGH // 2 and self.pipe is not None:
            self._paused = False
            if not self.pipe.is_closing():
                self.pipe.resume_reading()
        return message

    async def aclose(self) -> None:
        """Take no more."""
        self._messages.clear()
        self.feed_eof()


class LineWriter(MessageStream):
    """What is sent to a peer; waits while the pipe is full."""

    def __init__(self) -> None:
        self.pipe: asyncio.WriteTransport | None = None
        """Where to; set before anything is sent."""
        self._closed = False
        # Waited for by senders while the pipe is full.
        self._room: asyncio.Future[None] | None = None

    async def send(self, item: SessionMessage, /) -> None:
        """Write a message.

        Raises:
            anyio.ClosedResourceError: This end has been closed.
            anyio.BrokenResourceError: The other end has.
        """
        if self._closed:
            raise anyio.ClosedResourceError
        if self.pipe is None or self.pipe.is_closing():
            raise anyio.BrokenResourceError
        text = item.message.model_dump_json(by_alias=True, exclude_unset=True)
        self.pipe.write(text.encode() + b"\n")
        room = self._room
        if room is not None:
            await asyncio.shield(room)  # which the others wait for too

    def pause(self) -> None:
        """The pipe is full."""
        if self._room is None:
            self._room = asyncio.get_running_loop().create_future()

    def resume(self) -> None:
        """It is not any more, or there is none any more."""
        room, self._room = self._room, None
        if room is not None and not room.done():
            room.set_result(None)

    async def aclose(self) -> None:
        """Send no more."""
        self._closed = True
        self.resume()
