"""bubus: whoever dispatches an event can await it until all handlers have ended."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

from bubus import BaseEvent, EventBus

from benchmarks.counter import Counter
from benchmarks.peers.stage import NO_ACTORS, bus_ways, main

SHARE = 0.02


class Tick(BaseEvent[None]):
    number: int = 1


@asynccontextmanager
async def bus(counter: Counter) -> AsyncGenerator[Callable[[], Awaitable[object]]]:
    inner = EventBus(name="bench", max_history_size=10)
    for number in range(counter.subscribers):
        inner.on(Tick, handler(counter, number))

    async def publish() -> object:
        reached = counter.next_event()
        event = await inner.dispatch(Tick())
        await reached
        return event

    yield publish
    await inner.stop(clear=True, timeout=1)


def handler(counter: Counter, number: int) -> Callable[[Tick], Awaitable[None]]:
    async def on_tick(event: Tick) -> None:
        counter.one()

    on_tick.__name__ = f"on_tick_{number}"  # two of one name are warned of
    return on_tick


if __name__ == "__main__":
    main("bubus", bus_ways(bus, SHARE), NO_ACTORS, bus=bus, bus_share=SHARE, bus_up_to=100)
