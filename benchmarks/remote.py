"""W10: asks and tells over loopback, 1 kB each, against an echo and a count of the websockets library alone.

Both ends are in one process and one event loop, on either side of the comparison.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection, serve

from benchmarks.harness import Comparison, Run, Side, Stopwatch, expect
from understudy import Actor, ActorSystem, Message, handler
from understudy.transports import LinkOptions

__all__ = ["WORKLOADS"]

TOKEN = secrets.token_urlsafe()
TEXT = "x" * 1_000


class Echo(Message[str]):
    text: str


class Seen(Message[int]): ...


class Server(Actor[Echo | Seen]):
    def __init__(self) -> None:
        self.seen = 0

    @handler
    def echo(self, message: Echo) -> str:
        self.seen += 1
        return message.text

    @handler
    def count(self, message: Seen) -> int:
        return self.seen


MESSAGE = Echo(text=TEXT)


def linked(measure: Any) -> Run:
    """*measure* gets a remote ref, the count and the watch."""

    async def run(count: int, watch: Stopwatch) -> None:
        async with ActorSystem(name="server") as server, ActorSystem(name="client") as client:
            await server.spawn(Server)
            # The window bounds what is under way; the outbox holds the rest of a burst.
            options = LinkOptions(window=1_000)
            listening = await server.listen(token=TOKEN, messages=[Echo, Seen], options=options)
            node = await client.connect(listening.url, token=TOKEN)
            await measure(await node.lookup("server", Server), count, watch)

    return run


async def asks(ref: Any, count: int, watch: Stopwatch) -> None:
    reply = ""
    with watch:
        for _ in range(count):
            reply = await ref.ask(MESSAGE)
    expect("the reply", reply, TEXT)


async def tells(ref: Any, count: int, watch: Stopwatch) -> None:
    with watch:
        for _ in range(count):
            await ref.send(MESSAGE)
        seen = await ref.ask(Seen(), timeout=60.0)
    expect("messages that came", seen, count)


@asynccontextmanager
async def raw(handle: Callable[[ServerConnection], Awaitable[None]]) -> AsyncGenerator[ClientConnection]:
    """A connection to a server that hands its end of it to *handle*."""
    async with serve(handle, "127.0.0.1", 0, compression=None, ping_interval=None) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        async with connect(f"ws://127.0.0.1:{port}", compression=None, proxy=None, ping_interval=None) as client:
            yield client


async def raw_echo(count: int, watch: Stopwatch) -> None:
    async def echo(connection: ServerConnection) -> None:
        async for message in connection:
            await connection.send(message)

    reply: str | bytes = b""
    async with raw(echo) as client:
        with watch:
            for _ in range(count):
                await client.send(TEXT.encode())
                reply = await client.recv()
    expect("the reply", reply, TEXT.encode())


async def raw_count(count: int, watch: Stopwatch) -> None:
    done: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def take(connection: ServerConnection) -> None:
        seen = 0
        async for _ in connection:
            seen += 1
            if seen == count:
                done.set_result(seen)

    async with raw(take) as client:
        with watch:
            for _ in range(count):
                await client.send(TEXT.encode())
            seen = await done
    expect("messages that came", seen, count)


WORKLOADS = (
    Comparison(
        workload="W10",
        what="{count} asks over a link, one after another, 1 kB",
        count=2_000,
        baseline=raw_echo,
        sides=(Side("ask", linked(asks)),),
        shown="time",
        ratio="time",
    ),
    Comparison(
        workload="W10",
        what="{count} sends over a link, 1 kB",
        count=10_000,
        baseline=raw_count,
        sides=(Side("tell", linked(tells)),),
    ),
)
