"""Something in the middle that troubles connections, for tests over real sockets."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from types import TracebackType


class Middle:
    """A proxy for TCP on loopback, which can cut what goes through it, or swallow it."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._server: asyncio.Server
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.swallowing = False
        """What the listener says does not arrive."""
        self.closed = False
        """New connections end at once."""
        self.connections = 0

    async def __aenter__(self) -> Middle:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        self.cut()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self._server.wait_closed()

    @property
    def port(self) -> int:
        """Where to connect."""
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    def cut(self) -> None:
        """End all connections, in the middle of whatever they carry."""
        for writer in list(self._writers):
            writer.transport.abort()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        if self.closed:
            writer.transport.abort()
            return
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, far_writer}
        for source, target, back in ((reader, far_writer, False), (far_reader, writer, True)):
            task = asyncio.ensure_future(self._carry(source, target, back))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _carry(self, source: asyncio.StreamReader, target: asyncio.StreamWriter, back: bool) -> None:
        with suppress(OSError):
            while data := await source.read(65_536):
                if back and self.swallowing:
                    continue
                target.write(data)
                await target.drain()
        target.close()
        self._writers.discard(target)
        with suppress(OSError):
            await target.wait_closed()
