"""Bombs: a few bytes that would be 200 MB for whoever unpacked them. Nobody does, on any way in."""

from __future__ import annotations

import asyncio
import gzip
import struct
import tracemalloc
import zlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from functools import cache
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from tests.transports.cast import MESSAGES, Add, Counter
from understudy import ActorSystem, ChildSpec, StartError, child
from understudy.transports import ConnectionLost, LinkError
from understudy.transports.mcp import HttpServer, MCPSession

pytestmark = [pytest.mark.asyncio, pytest.mark.real_time]

TOKEN = "a token of a good length"
SIZE = 200 * 1024 * 1024
MOST = 10 * 1024 * 1024
CHUNK = bytes(1024 * 1024)


@cache
def deflated() -> bytes:
    """As of ``permessage-deflate``: the same block again and again, each for itself."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return (packer.compress(CHUNK) + packer.flush(zlib.Z_FULL_FLUSH)) * (SIZE // len(CHUNK))


@cache
def gzipped() -> bytes:
    """As of ``Content-Encoding: gzip``."""
    check = 0
    for _ in range(SIZE // len(CHUNK)):
        check = zlib.crc32(CHUNK, check)
    return gzip.compress(b"")[:10] + deflated() + b"\x03\x00" + struct.pack("<II", check, SIZE)


@contextmanager
def bounded() -> Generator[None]:
    """Within the block no more memory is taken than a message may cost, at any moment."""
    deflated(), gzipped()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        yield
        assert tracemalloc.get_traced_memory()[1] - before < MOST
    finally:
        tracemalloc.stop()


@asynccontextmanager
async def bank(url: str) -> AsyncGenerator[str]:
    """A listener that must serve an honest client when all is over."""
    async with ActorSystem(name="bank") as system:
        await system.spawn(Counter)
        listening = await system.listen(url, token=TOKEN, messages=MESSAGES)
        yield listening.url
        async with ActorSystem(name="honest") as shop:
            node = await shop.connect(listening.url, token=TOKEN)
            assert await (await node.lookup("counter", Counter)).ask(Add(number=3)) == 3


def frame(payload: bytes, first: int) -> bytes:
    """A masked frame of a WebSocket, with that first byte."""
    return bytes([first, 0xFF]) + struct.pack("!Q", len(payload)) + bytes(4) + payload


@pytest.mark.parametrize(("bomb", "bits"), [(deflated, -15), (gzipped, 31)])
async def test_a_bomb_is_one(bomb: Callable[[], bytes], bits: int) -> None:
    assert len(bomb()) < 256 * 1024
    unpacker = zlib.decompressobj(bits)
    rest, size = bomb(), 0
    while rest:
        size += len(unpacker.decompress(rest, len(CHUNK)))
        rest = unpacker.unconsumed_tail
    assert size == SIZE


@pytest.mark.parametrize("first", [0xC2, 0x42, 0xC1], ids=["whole", "in fragments", "text"])
async def test_a_listener_takes_no_compressed_frame(first: int) -> None:
    async with bank("ws://127.0.0.1:0") as url:
        with bounded():
            async with connect(url, compression="deflate", proxy=None) as ws:
                assert ws.response is not None
                assert "Sec-WebSocket-Extensions" not in ws.response.headers
                ws.transport.write(frame(deflated(), first))
                with pytest.raises(ConnectionClosed) as closed:
                    await asyncio.wait_for(ws.recv(), 10.0)
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code in (1002, 1009)


async def test_a_client_takes_no_compressed_frame_of_a_server_that_sends_one_all_the_same() -> None:
    async def bomb(ws: ServerConnection) -> None:
        await ws.recv()
        payload = deflated()
        ws.transport.write(bytes([0xC2, 127]) + struct.pack("!Q", len(payload)) + payload)
        await ws.wait_closed()

    async with serve(bomb, "127.0.0.1", 0, compression=None) as server, ActorSystem(name="shop") as shop:
        port = next(iter(server.sockets)).getsockname()[1]
        with bounded(), pytest.raises(LinkError):
            await shop.connect(f"ws://127.0.0.1:{port}", token=TOKEN)


@asynccontextmanager
async def web(answer: Callable[[asyncio.StreamWriter], Awaitable[None]]) -> AsyncGenerator[str]:
    """A server that gives everybody the same *answer*."""
    tasks: set[Any] = set()

    async def serve_one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.current_task())
        try:
            await reader.readuntil(b"\r\n\r\n")
            await answer(writer)
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve_one, "127.0.0.1", 0)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        if tasks:
            await asyncio.wait(tasks, timeout=5.0)
        await server.wait_closed()


def head(status: str, **headers: object) -> bytes:
    lines = [f"HTTP/1.1 {status}", *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode()


async def nothing(writer: asyncio.StreamWriter) -> None:
    writer.write(head("403 Forbidden", Content_Length=0))


async def compressed(writer: asyncio.StreamWriter) -> None:
    body = gzipped()
    kind = "application/json"
    writer.write(head("201 Created", Content_Type=kind, Content_Encoding="gzip", Content_Length=len(body)) + body)


async def compressed_refusal(writer: asyncio.StreamWriter) -> None:
    body = gzipped()
    writer.write(head("403 Forbidden", Content_Encoding="GZip", Content_Length=len(body)) + body)


async def endless(writer: asyncio.StreamWriter) -> None:
    writer.write(head("403 Forbidden", Content_Length=SIZE))
    for _ in range(SIZE // len(CHUNK)):
        writer.write(CHUNK)
        await writer.drain()


async def endless_stream(writer: asyncio.StreamWriter) -> None:
    writer.write(head("201 Created", Content_Type="text/event-stream", Connection="close"))
    for _ in range(SIZE // len(CHUNK)):
        writer.write(CHUNK)
        await writer.drain()


ANSWERS = [compressed, compressed_refusal, endless, endless_stream]


@pytest.mark.parametrize("answer", ANSWERS, ids=lambda each: each.__name__)
async def test_a_client_over_server_sent_events_unpacks_nothing_and_reads_no_more_than_there_can_be(
    answer: Any,
) -> None:
    async with web(answer) as address, ActorSystem(name="shop") as shop:
        with bounded(), pytest.raises(ConnectionLost):
            await shop.connect(f"sse://{address}", token=TOKEN)


async def test_a_listener_for_server_sent_events_takes_what_is_compressed_for_what_it_is() -> None:
    async with bank("sse://127.0.0.1:0") as url:
        host, _, path = url.removeprefix("sse://").partition("/")
        name, _, port = host.partition(":")
        body = gzipped()
        with bounded():
            for below in ("connections", "messages", "close"):
                reader, writer = await asyncio.open_connection(name, int(port))
                request = f"POST /{path}/{below} HTTP/1.1\r\nHost: {host}\r\nContent-Encoding: gzip\r\n"
                writer.write(f"{request}Content-Length: {len(body)}\r\n\r\n".encode() + body)
                answer = await asyncio.wait_for(reader.readline(), 10.0)
                assert answer.split()[1] in (b"400", b"404", b"413")
                writer.close()


@pytest.mark.parametrize("answer", [compressed, compressed_refusal, endless], ids=lambda each: each.__name__)
async def test_a_client_of_mcp_unpacks_nothing_and_reads_no_more_than_it_was_told(answer: Any) -> None:
    async with web(answer) as address, web(nothing) as elsewhere, ActorSystem(name="shop") as shop:

        def session(address: str) -> ChildSpec[Any]:
            return child(MCPSession, HttpServer(f"http://{address}/mcp")).options(restart="temporary")

        with pytest.raises(StartError):
            await shop.spawn(session(elsewhere))  # the library is imported, which takes more than a bomb may
        with bounded(), pytest.raises(StartError):
            await shop.spawn(session(address))
