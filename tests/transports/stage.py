"""Systems that are linked within the test's event loop, and what a test wants to know of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from tests.transports.cast import MESSAGES
from understudy import ActorSystem, DeadLetter, Instrument
from understudy.transports import (
    Connection,
    ConnectionLimits,
    LinkOptions,
    Listening,
    MemoryTransport,
    PeerFacts,
    RemoteNode,
    Serve,
    Timing,
    TransportOptions,
)

QUICK = LinkOptions(timing=Timing(heartbeat=1.0, ack_timeout=2.0, ack_delay=0.05))


class Letters(Instrument):
    """Keeps dead letters."""

    def __init__(self) -> None:
        self.letters: list[DeadLetter] = []

    def dead_letter(self, message: object, recipient: str, sender: str | None, why: str) -> None:
        self.letters.append(DeadLetter(message, recipient, sender, why))

    @property
    def told(self) -> list[tuple[object, str]]:
        return [(letter.message, letter.recipient) for letter in self.letters]


class Wire(MemoryTransport):
    """The transport within the process, with hands in it: connections can be cut, stalled and listened to."""

    def __init__(self) -> None:
        self.opened: list[Tapped] = []
        self.refusing = False

    async def listen(self, url: str, serve: Serve, options: TransportOptions, env: Any) -> Any:
        async def tapped(connection: Connection) -> None:
            await serve(Tapped(connection))

        return await super().listen(url, tapped, options, env)

    async def connect(self, url: str, options: TransportOptions, env: Any) -> Any:
        if self.refusing:
            raise ConnectionRefusedError("the network is down")
        connection = Tapped(await super().connect(url, options, env))
        self.opened.append(connection)
        return connection

    @property
    def last(self) -> Tapped:
        return self.opened[-1]


class Tapped:
    """A connection that does what the test wants."""

    def __init__(self, inner: Connection) -> None:
        self.inner = inner
        self.swallows = False
        self.sent: list[bytes] = []
        self.received: list[bytes] = []
        self.change: Callable[[bytes], bytes] = lambda data: data
        self.going = asyncio.Event()
        self.going.set()

    @property
    def peer(self) -> PeerFacts:
        return self.inner.peer

    async def send(self, data: bytes) -> None:
        self.sent.append(data)
        if not self.swallows:
            await self.inner.send(self.change(data))

    async def receive(self) -> bytes:
        await self.going.wait()
        while True:
            data = await self.inner.receive()
            if not self.swallows:
                self.received.append(data)
                return data

    async def aclose(self, reason: str = "") -> None:
        await self.inner.aclose(reason)

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        inner: Any = self.inner
        return inner._out.ended is not None

    def cut(self) -> None:
        """Both ends lose it."""
        cut: Any = self.inner
        cut.cut("the cable was cut")


class Pair:
    """A server, ``bank``, and a client, ``shop``, linked."""

    def __init__(self) -> None:
        self.bank_letters, self.shop_letters = Letters(), Letters()
        self.bank = ActorSystem(name="bank", instruments=[self.bank_letters])
        self.shop = ActorSystem(name="shop", instruments=[self.shop_letters])
        self.wire = Wire()
        self.listening: Listening
        self.node: RemoteNode


@asynccontextmanager
async def linked(
    *, options: LinkOptions = QUICK, actors: Any = (), connect: Any = None, **terms: Any
) -> AsyncIterator[Pair]:
    """A linked pair."""
    pair = Pair()
    async with pair.bank, pair.shop:
        given: dict[str, Any] = {"messages": MESSAGES, "options": options, "transport": pair.wire}
        pair.listening = await pair.bank.listen("memory://bank", actors=actors, **given | terms)
        pair.node = await pair.shop.connect("memory://bank", **given | (connect or {}))
        yield pair


async def until(holds: Callable[[], object], seconds: float = 60.0) -> None:
    """Return when *holds()*; an error after so long."""
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110 - what it looks at has no event
            await asyncio.sleep(0.01)


__all__ = ["QUICK", "ConnectionLimits", "Letters", "Pair", "Tapped", "Wire", "linked", "until"]
