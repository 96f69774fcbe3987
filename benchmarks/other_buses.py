"""Event buses that are measured beside understudy's in its own process: they need no environment of their own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from importlib import import_module
from importlib.util import find_spec
from typing import Any, TypeAlias

from benchmarks.baselines.bare import TICK, end
from benchmarks.baselines.gathering_bus import GatheringBus
from benchmarks.buses import Bus
from benchmarks.counter import Counter, awaited, plain
from benchmarks.harness import say

__all__ = ["GATHERING", "gathering", "installed"]

Publish: TypeAlias = Callable[[], Awaitable[object]]

GATHERING = "list and gather"
"""The name under which the design of old is in the table."""


def gathering(make: Callable[[Counter], Callable[[Any], object]]) -> Bus:
    """The design of old, with ``def`` or ``async def`` callbacks."""

    @asynccontextmanager
    async def bus(counter: Counter) -> AsyncGenerator[Publish]:
        old = GatheringBus()
        for _ in range(counter.subscribers):
            old.subscribe(type(TICK), make(counter))
        yield lambda: old.publish(TICK)

    return bus


@asynccontextmanager
async def _pyee(counter: Counter) -> AsyncGenerator[Publish]:
    emitter = import_module("pyee.asyncio").AsyncIOEventEmitter()
    for _ in range(counter.subscribers):
        emitter.add_listener("tick", awaited(counter))

    def publish() -> asyncio.Future[None]:
        reached = counter.next_event()
        emitter.emit("tick", TICK)
        return reached

    yield publish
    await asyncio.sleep(0)


@asynccontextmanager
async def _aiopubsub(counter: Counter) -> AsyncGenerator[Publish]:
    aiopubsub: Any = import_module("aiopubsub")
    hub = aiopubsub.Hub()
    publisher, key = aiopubsub.Publisher(hub, prefix=aiopubsub.Key("bench")), aiopubsub.Key("tick")

    async def consume(subscriber: Any) -> None:
        while True:
            await subscriber.consume()
            counter.one()

    tasks: list[asyncio.Task[None]] = []
    for number in range(counter.subscribers):
        subscriber = aiopubsub.Subscriber(hub, f"subscriber-{number}")
        subscriber.async_subscribe(aiopubsub.Key("bench", "tick"))
        tasks.append(asyncio.create_task(consume(subscriber)))
    await asyncio.sleep(0)

    def publish() -> asyncio.Future[None]:
        reached = counter.next_event()
        publisher.publish(key, TICK)
        return reached

    yield publish
    await end(*tasks)


def installed() -> Iterator[tuple[str, Bus]]:
    """The packages that are there, by name."""
    yield GATHERING, gathering(plain)
    for package, bus in (("aiopubsub", _aiopubsub), ("pyee", _pyee)):
        if find_spec(package) is None:
            say(f"W5: {package} is not installed, and not measured; make bench installs it")
        else:
            yield package, bus
