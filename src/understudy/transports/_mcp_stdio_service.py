"""This process's standard input and output as a connection with the client that has started it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import Generator
from typing import TYPE_CHECKING

from understudy.transports._mcp_frames import printable
from understudy.transports._mcp_lines import LineReader, LineWriter
from understudy.transports._mcp_service import sdk_server

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

    from understudy.transports._mcp_serving import StdioBinding
    from understudy.transports._mcp_tools import Tools

__all__ = ["serve_stdio"]


async def serve_stdio(tools: Tools, binding: StdioBinding, up: asyncio.Future[None], log: FilteringBoundLogger) -> None:
    """Serve until the client closes its end, or the task is cancelled.

    Raises:
        InvalidFrame, MessageTooLarge: The client has sent what is not accepted.
        ValueError: A descriptor is one of a file.
    """
    loop = asyncio.get_running_loop()
    reader = LineReader(
        source="the client",
        limit=binding.max_message_bytes,
        stray=lambda line: log.warning("mcp client says", text=printable(line)),
    )
    writer = LineWriter()
    with (
        _claimed(binding) as (source, target),
        os.fdopen(source, "rb", 0) as readable,
        os.fdopen(target, "wb", 0) as out,
    ):
        writer.pipe, _ = await loop.connect_write_pipe(lambda: Writing(writer), out)
        try:
            reader.pipe, _ = await loop.connect_read_pipe(lambda: Reading(reader), readable)
            if not up.done():
                up.set_result(None)
            server = sdk_server(tools)
            await server.run(reader, writer, server.create_initialization_options())
        finally:
            if reader.pipe is not None:
                reader.pipe.close()
            # What a client that has gone does not read is not waited for.
            if writer.pipe.get_write_buffer_size():
                writer.pipe.abort()
            writer.pipe.close()
    if reader.error is not None:
        raise reader.error


@contextlib.contextmanager
def _claimed(binding: StdioBinding) -> Generator[tuple[int, int], None, None]:
    """Descriptors of our own in place of the two, which lead to nowhere and to standard error meanwhile.

    Those that are yielded are closed by whoever gets them.
    """
    source, target = os.dup(binding.stdin), os.dup(binding.stdout)
    kept = os.dup(binding.stdin), os.dup(binding.stdout)
    blocking = os.get_blocking(binding.stdin), os.get_blocking(binding.stdout)
    standard = (binding.stdin, binding.stdout) == (0, 1)
    try:
        if standard:
            _flush()
            nowhere = os.open(os.devnull, os.O_RDONLY)
            os.dup2(nowhere, 0)
            os.close(nowhere)
            os.dup2(2, 1)
        yield source, target
    finally:
        if standard:
            _flush()
        for number, copy, was in zip((binding.stdin, binding.stdout), kept, blocking, strict=True):
            os.set_blocking(copy, was)  # asyncio has changed that, for everybody who has the same pipe
            if standard:
                os.dup2(copy, number)
            os.close(copy)


def _flush() -> None:
    """What has been printed goes to where it was to go when it was printed."""
    sys.stdout.flush()


class Reading(asyncio.Protocol):
    """Passes on what comes."""

    def __init__(self, reader: LineReader) -> None:
        self._reader = reader

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._reader.feed_eof()


class Writing(asyncio.BaseProtocol):
    """Says when there is room."""

    def __init__(self, writer: LineWriter) -> None:
        self._writer = writer

    def pause_writing(self) -> None:
        self._writer.pause()

    def resume_writing(self) -> None:
        self._writer.resume()

    def connection_lost(self, exc: Exception | None) -> None:
        self._writer.resume()
