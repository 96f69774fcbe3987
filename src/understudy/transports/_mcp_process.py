"""A server as a child process, of which nothing is left when its session ends."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from mcp.client.stdio import get_default_environment

from understudy.transports._mcp_frames import LineSplitter, printable
from understudy.transports._mcp_lines import LineReader, LineWriter

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

    from understudy.transports._mcp_servers import StdioServer

__all__ = ["ChildProcess", "child_process"]

STDERR_LINE = 64 * 1024
MAX_LINES, PERIOD = 200, 10.0
"""No more than so many lines of a server's standard error go to the log in so many seconds."""
REAP = 1.0
"""Seconds for the system to take a killed process away; it takes milliseconds."""


@asynccontextmanager
async def child_process(server: StdioServer, log: FilteringBoundLogger) -> AsyncGenerator[ChildProcess, None]:
    """Run *server* as a child process within the block; it is gone afterwards, however the block is left."""
    process = ChildProcess(server, log)
    try:
        await process.start()
        yield process
        await process.end(server.grace)
    finally:
        await process.reaped()


class ChildProcess(asyncio.SubprocessProtocol):
    """The process, its lines, and its end.

    Everything that must not be missed is done in callbacks and in plain calls, so that no cancel can come in between.
    """

    def __init__(self, server: StdioServer, log: FilteringBoundLogger) -> None:
        self._server = server
        self._loop = asyncio.get_running_loop()
        self._errors = ErrorLines(log, self._loop.time)
        self._transport: asyncio.SubprocessTransport | None = None
        self.reader = LineReader(
            source=server.name, limit=server.max_message_bytes, stray=lambda line: self._errors.line(line, "stdout")
        )
        self.writer = LineWriter()
        self.exited: asyncio.Future[int] = self._loop.create_future()
        """The exit code."""
        self._closed_output = False
        self._last_words: asyncio.TimerHandle | None = None

    @property
    def pid(self) -> int:
        """Of the process, which is that of its group too."""
        assert self._transport is not None
        return self._transport.get_pid()

    @property
    def streams(self) -> tuple[LineReader, LineWriter]:
        """For the SDK."""
        return self.reader, self.writer

    async def start(self) -> None:
        """Start it.

        Raises:
            OSError: There is no such program, or it cannot be run.
        """
        server = self._server
        transport, _ = await self._loop.subprocess_exec(
            lambda: self,
            server.command,
            *server.args,
            env={**get_default_environment(), **server.env},
            cwd=server.cwd,
            start_new_session=True,
        )
        self.reader.pipe = _pipe(transport, 1)
        self.writer.pipe = _pipe(transport, 0)

    async def end(self, grace: float) -> None:
        """Close its standard input, then terminate its group, and wait *grace* seconds after each; it may resist."""
        if self.writer.pipe is not None:
            self.writer.pipe.close()
        await asyncio.wait([self.exited], timeout=grace)
        if not self.exited.done():
            self._signal(signal.SIGTERM)
            await asyncio.wait([self.exited], timeout=grace)

    def _signal(self, number: int) -> None:
        assert self._transport is not None
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if hasattr(os, "killpg"):
                os.killpg(self.pid, number)
            elif not self.exited.done():
                self._transport.kill()

    async def reaped(self) -> None:
        """Kill its whole group at once, also what has outlived its leader; wait until it is gone; let go of its pipes.

        That cannot take long any more. A cancel is put off until then: it would leave a process that nobody has waited
        for.
        """
        if self._transport is None:
            return
        cancelled: asyncio.CancelledError | None = None
        deadline = self._loop.time() + REAP
        self._signal(signal.SIGKILL)
        while not self.exited.done() and (left := deadline - self._loop.time()) > 0:
            try:
                await asyncio.wait([self.exited], timeout=left)
            except asyncio.CancelledError as error:
                cancelled = error
        self._errors.end()
        if self._last_words is not None:
            self._last_words.cancel()
        self._transport.close()
        if cancelled is not None:
            raise cancelled

    @property
    def why(self) -> str:
        """Why there is no more to read, in words."""
        if self.reader.error is not None:
            return str(self.reader.error)
        if not self.exited.done():
            return "it has closed its output"
        code = self.exited.result()
        return f"it was ended by signal {-code}" if code < 0 else f"it has ended with code {code}"

    # Callbacks of the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It runs."""
        assert isinstance(transport, asyncio.SubprocessTransport)
        self._transport = transport

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        """It has written."""
        if fd == 1:
            self.reader.feed(data)
        else:
            self._errors.feed(data)

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        """One of its pipes is closed."""
        if fd == 0:
            self.writer.resume()
        elif fd == 1:
            self._closed_output = True
            self._look()

    def pause_writing(self) -> None:
        """It does not read."""
        self.writer.pause()

    def resume_writing(self) -> None:
        """It reads again."""
        self.writer.resume()

    def process_exited(self) -> None:
        """It has ended; a process that it has started may still hold its pipes."""
        assert self._transport is not None
        if not self.exited.done():
            self.exited.set_result(self._transport.get_returncode() or 0)
        self.writer.resume()
        self._look()

    def _look(self) -> None:
        """One of the two has happened: the other usually follows at once, and then all is known."""
        if self.exited.done() and self._closed_output:
            self.reader.feed_eof()
        else:
            self._last_words = self._loop.call_later(LAST_WORDS, self.reader.feed_eof)


LAST_WORDS = 0.1
"""Seconds from the end of a process, or of its output, to that of the session, if only one of them comes to an end."""


class ErrorLines:
    """A server's standard error, on its way to the log: bounded in length and number."""

    def __init__(self, log: FilteringBoundLogger, now: Any) -> None:
        self._log = log
        self._now = now
        self._splitter = LineSplitter(source="", limit=STDERR_LINE)
        self._since = -PERIOD
        self._count = 0

    def feed(self, data: bytes) -> None:
        """Bytes have come; a line that never ends is cut."""
        for start in range(0, len(data), STDERR_LINE // 2):
            piece = data[start : start + STDERR_LINE // 2]
            for line in self._splitter.feed_cut(piece):
                self.line(line.decode("utf-8", "backslashreplace"), "stderr")

    def line(self, text: str, stream: str) -> None:
        """Log a line, unless there were too many."""
        if self._now() - self._since >= PERIOD:
            self._told()
            self._since, self._count = self._now(), 0
        self._count += 1
        if self._count <= MAX_LINES:
            self._log.info("mcp server says", stream=stream, text=printable(text.rstrip("\r")))

    def end(self) -> None:
        """No more will come."""
        for line in self._splitter.flush():
            self.line(line.decode("utf-8", "backslashreplace"), "stderr")
        self._told()

    def _told(self) -> None:
        if self._count > MAX_LINES:
            self._log.warning("mcp server said more", lines=self._count - MAX_LINES)
            self._count = 0


def _pipe(transport: asyncio.SubprocessTransport, number: int) -> Any:
    pipe = transport.get_pipe_transport(number)
    assert pipe is not None
    return pipe
