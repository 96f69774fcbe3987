"""pyventus: an emitter on asyncio; whoever emits does not wait, so the publisher waits for the count."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from pyventus.events import AsyncIOEventEmitter, EventLinker

from benchmarks.counter import Counter, awaited
from benchmarks.peers.stage import NO_ACTORS, bus_ways, main


@dataclass(frozen=True)
class Tick:
    number: int


TICK = Tick(1)


@asynccontextmanager
async def bus(counter: Counter) -> AsyncGenerator[Callable[[], Awaitable[object]]]:
    class Linker(EventLinker):  # it keeps its registry on the class
        pass

    for _ in range(counter.subscribers):
        Linker.subscribe(Tick, event_callback=awaited(counter))
    emitter = AsyncIOEventEmitter(event_linker=Linker, debug=False)

    def publish() -> asyncio.Future[None]:
        reached = counter.next_event()
        emitter.emit(TICK)
        return reached

    yield publish
    await asyncio.sleep(0)


if __name__ == "__main__":
    main("pyventus", bus_ways(bus), NO_ACTORS, bus=bus)
