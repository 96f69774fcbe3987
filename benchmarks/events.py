"""W5: one event for many subscribers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

from benchmarks.baselines.bare_lives import queues
from benchmarks.buses import Bus, Latency, deliveries, publications
from benchmarks.common import DELIVER, MANY, PUBLISH
from benchmarks.counter import Counter, awaited, plain
from benchmarks.harness import Plan, Row, Side, Stopwatch, expect
from benchmarks.other_buses import GATHERING, gathering, installed
from benchmarks.targets import ASYNC, SYNC
from understudy import Actor, ActorSystem, AsyncEventBus, Event, handler

__all__ = ["WORKLOADS", "Deliveries", "Latencies", "Publications"]


class Tick(Event):
    number: int


TICK = Tick(number=1)


class Listener(Actor[Tick]):
    def __init__(self, counter: Counter) -> None:
        self.counter = counter

    @handler
    def tick(self, event: Tick) -> None:
        self.counter.one()


def nowait(make: Callable[[Counter], Callable[[Any], object]]) -> Bus:
    """Publish, and go on when all have it."""

    @asynccontextmanager
    async def bus(counter: Counter) -> AsyncGenerator[Callable[[], Awaitable[object]]]:
        async with AsyncEventBus("bench") as events:
            for _ in range(counter.subscribers):
                events.subscribe(Tick, make(counter))
            await asyncio.sleep(0)

            def publish() -> asyncio.Future[None]:
                reached = counter.next_event()
                events.publish_nowait(TICK)
                return reached

            yield publish

    return bus


def until_handled(make: Callable[[Counter], Callable[[Any], object]]) -> Bus:
    """Publish and wait for them."""

    @asynccontextmanager
    async def bus(counter: Counter) -> AsyncGenerator[Callable[[], Awaitable[object]]]:
        async with AsyncEventBus("bench") as events:
            for _ in range(counter.subscribers):
                events.subscribe(Tick, make(counter))
            expect("handled", (await events.publish(TICK)).handled, wanted=True)
            counter.count -= counter.subscribers
            yield lambda: events.publish(TICK)

    return bus


async def to_actors(count: int, watch: Stopwatch) -> None:
    counter, events = Counter(MANY), max(count // MANY, 1)
    async with ActorSystem() as system:
        for _ in range(MANY):
            system.events.subscribe(Tick, await system.spawn(Listener, counter))
        await asyncio.sleep(0)
        with watch:
            for _ in range(events):
                reached = counter.next_event()
                system.events.publish_nowait(TICK)
                await reached
        expect("deliveries", counter.count, events * MANY)


class Deliveries:
    """The rate of deliveries to many, and what others reach; these are looked for when it is measured."""

    workload = DELIVER.workload

    def rows(self, plan: Plan) -> Iterator[Row]:
        yield from DELIVER.with_sides(
            Side(SYNC, deliveries(nowait(plain))),
            Side(ASYNC, deliveries(nowait(awaited))),
            Side("actors", to_actors),
            Side(ASYNC, deliveries(gathering(awaited)), GATHERING),
            *(Side("", deliveries(bus), name) for name, bus in installed()),
        ).rows(plan)


class Publications:
    """How long it takes to publish to a few and wait for them."""

    workload = PUBLISH.workload

    def rows(self, plan: Plan) -> Iterator[Row]:
        yield from PUBLISH.with_sides(
            Side(f"until handled, {SYNC}", publications(until_handled(plain))),
            Side(f"until handled, {ASYNC}", publications(until_handled(awaited))),
            Side(ASYNC, publications(gathering(awaited)), GATHERING),
            *(Side("", publications(bus), name) for name, bus in installed()),
        ).rows(plan)


class Latencies:
    """The same, as the 99th percentile and the median, from one subscriber to a thousand."""

    workload = "W5"

    def rows(self, plan: Plan) -> Iterator[Row]:
        yield from Latency(until_handled(plain)).rows(plan)
        yield from Latency(queues, "Q").rows(plan)
        for name, bus in installed():
            yield from Latency(bus, name).rows(plan)


WORKLOADS = (Deliveries(), Publications(), Latencies())
