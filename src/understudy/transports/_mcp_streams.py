"""Streams of messages in the shape that the SDK reads and writes, and word of their end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import anyio
from mcp.shared.message import SessionMessage

if TYPE_CHECKING:
    from mcp.client._transport import ReadStream, TransportStreams

__all__ = ["MessageReader", "MessageStream", "given", "lose", "watched"]


class MessageStream:
    """The frame of both ends: closed when left."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """No more."""


class MessageReader(MessageStream):
    """The end to read from: what is received, until there is no more, can be iterated over."""

    async def receive(self) -> SessionMessage | Exception:
        """The next message; for one at a time.

        Raises:
            anyio.EndOfStream: There are no more.
        """
        raise NotImplementedError

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> SessionMessage | Exception:
        try:
            return await self.receive()
        except anyio.EndOfStream:
            raise StopAsyncIteration from None


@asynccontextmanager
async def given(streams: TransportStreams) -> AsyncGenerator[TransportStreams, None]:
    """Streams that are there already, as a transport of the SDK."""
    try:
        yield streams
    finally:
        for stream in streams:
            await stream.aclose()


@asynccontextmanager
async def watched(
    transport: AbstractAsyncContextManager[TransportStreams], lost: asyncio.Future[str], why: Callable[[], str]
) -> AsyncGenerator[TransportStreams, None]:
    """A transport of the SDK; when what it reads has come to an end, *lost* is told *why*."""
    async with transport as (read, write):
        try:
            yield _Watched(read, lambda: lose(lost, why())), write
        finally:
            lost.cancel()  # from here on it is no loss


class _Watched(MessageReader):
    """A stream to read from, and word of its end."""

    def __init__(self, inner: ReadStream[SessionMessage | Exception], ended: Callable[[], None]) -> None:
        self._inner = inner
        self._ended = ended

    @property
    def last_context(self) -> Any:
        """Of streams that carry the sender's context variables."""
        return getattr(self._inner, "last_context", None)

    async def receive(self) -> SessionMessage | Exception:
        """See :class:`MessageReader`."""
        try:
            return await self._inner.receive()
        except anyio.EndOfStream:
            self._ended()
            raise

    async def aclose(self) -> None:
        """Take no more."""
        await self._inner.aclose()


def lose(lost: asyncio.Future[str], why: str) -> None:
    """The first to say *why* is right."""
    if not lost.done():
        lost.set_result(why)
