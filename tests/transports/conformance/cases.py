"""The transports that the tests of conformance are run with.

To add one, append a `Case`: where its listener is to listen, and how to trouble one of its connections.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace

import pytest

from understudy.environment import Environment
from understudy.transports import (
    Connection,
    ConnectionLimits,
    ConnectionLost,
    Listener,
    MemoryTransport,
    SseTransport,
    Transport,
    TransportOptions,
)


@dataclass(frozen=True)
class Case:
    """A transport under test."""

    name: str
    make: Callable[[], Transport]
    url: str
    real_time: bool = False
    """Whether it needs real sockets."""
    options: TransportOptions = field(default_factory=TransportOptions)


def web_socket() -> Transport:
    from understudy.transports._websocket import WebSocketTransport

    return WebSocketTransport()


CASES: list[Case] = [
    Case("memory", MemoryTransport, "memory://conformance"),
    Case("websocket", web_socket, "ws://127.0.0.1:0", True, TransportOptions(authenticated=True)),
    Case("sse", SseTransport, "sse://127.0.0.1:0", True, TransportOptions(authenticated=True)),
]


def each_transport() -> list[object]:
    """For `pytest.mark.parametrize("case", ...)`."""
    return [pytest.param(case, id=case.name, marks=[pytest.mark.real_time] if case.real_time else []) for case in CASES]


class Stage:
    """A listener, and connections to it: both ends of each."""

    def __init__(self, case: Case, limits: ConnectionLimits | None = None) -> None:
        self.case = case
        self.transport = case.make()
        base = case.options
        self.options = base if limits is None else replace(base, limits=limits)
        self.env = Environment(asyncio.get_running_loop())
        self.listener: Listener
        self.accepted: asyncio.Queue[Connection] = asyncio.Queue()
        self.ended: list[Connection] = []
        self._opened: list[Connection] = []
        self.serve: Callable[[Connection], Awaitable[None]] = self.keep

    async def keep(self, connection: Connection) -> None:
        """Hold a connection until it has ended."""
        done = asyncio.get_running_loop().create_future()
        self._holding[connection] = done
        self.accepted.put_nowait(connection)
        try:
            await done
        finally:
            self.ended.append(connection)

    async def __aenter__(self) -> Stage:
        self._holding: dict[Connection, asyncio.Future[None]] = {}
        self.listener = await self.transport.listen(self.case.url, self.serve, self.options, self.env)
        return self

    async def __aexit__(self, *error: object) -> None:
        for connection in self._opened:
            await connection.aclose()
        for done in self._holding.values():
            if not done.done():
                done.set_result(None)
        await self.listener.aclose()

    def release(self, connection: Connection) -> None:
        """Let the `serve` of a connection return."""
        self._holding[connection].set_result(None)

    async def connect(self) -> Connection:
        """The client's end of a new connection."""
        connection = await self.transport.connect(self.listener.url, self.options, self.env)
        self._opened.append(connection)
        return connection

    async def pair(self) -> tuple[Connection, Connection]:
        """Both ends of a new connection, that of the client first."""
        client = await self.connect()
        return client, await self.accepted.get()

    async def pair_when_there_is_room(self) -> tuple[Connection, Connection]:
        """Likewise, as soon as the listener has noticed that another has ended."""
        async with asyncio.timeout(10.0):
            while True:
                try:
                    return await self.pair()
                except ConnectionLost:
                    await asyncio.sleep(0.01)  # nobody tells


async def lost(connection: Connection) -> ConnectionLost:
    """What the end of *connection* says; all that comes before it is passed over."""
    while True:
        try:
            await connection.receive()
        except ConnectionLost as end:
            return end
