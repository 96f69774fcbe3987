"""W5: one event for many subscribers."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from benchmarks.baselines.gathering_bus import GatheringBus
from benchmarks.harness import Comparison, Plan, Row, Run, Side, Spread, Stopwatch, WrongResult, expect, say
from benchmarks.targets import ASYNC, SYNC
from understudy import Actor, ActorSystem, AsyncEventBus, Event, handler

__all__ = ["WORKLOADS", "Latency"]

MANY = 1_000
FEW = 10


class Tick(Event):
    number: int


class Counter:
    """Counts deliveries, and tells when an event has reached all."""

    def __init__(self, subscribers: int) -> None:
        self.subscribers = subscribers
        self.count = 0
        self._wanted = 0
        self._reached: asyncio.Future[None] | None = None

    def next_event(self) -> asyncio.Future[None]:
        """Done when each subscriber has had one more."""
        self._wanted += self.subscribers
        self._reached = asyncio.get_running_loop().create_future()
        return self._reached

    def one(self) -> None:
        self.count += 1
        if self.count == self._wanted and self._reached is not None:
            self._reached.set_result(None)


def plain(counter: Counter) -> Callable[[Any], None]:
    """One more subscriber."""

    def callback(event: object) -> None:
        counter.one()

    return callback


def awaited(counter: Counter) -> Callable[[Any], Any]:
    """One more subscriber, that could wait."""

    async def callback(event: object) -> None:
        counter.one()

    return callback


class Listener(Actor[Tick]):
    def __init__(self, counter: Counter) -> None:
        self.counter = counter

    @handler
    def tick(self, event: Tick) -> None:
        self.counter.one()


# --- understudy -------------------------------------------------------------------------------------------------------


def to_callbacks(subscribers: int, make: Callable[[Counter], Callable[[Any], object]]) -> Run:
    """Publish, and go on when all have it."""

    async def run(count: int, watch: Stopwatch) -> None:
        counter = Counter(subscribers)
        async with AsyncEventBus("bench") as bus:
            for _ in range(subscribers):
                bus.subscribe(Tick, make(counter))
            await _publish_each(bus, counter, count, watch)

    return run


async def to_actors(count: int, watch: Stopwatch) -> None:
    counter = Counter(MANY)
    async with ActorSystem() as system:
        for _ in range(MANY):
            system.events.subscribe(Tick, await system.spawn(Listener, counter))
        await _publish_each(system.events, counter, count, watch)


async def _publish_each(bus: AsyncEventBus, counter: Counter, count: int, watch: Stopwatch) -> None:
    events = max(count // counter.subscribers, 1)
    tick = Tick(number=1)
    await asyncio.sleep(0)
    with watch:
        for _ in range(events):
            reached = counter.next_event()
            bus.publish_nowait(tick)
            await reached
    expect("deliveries", counter.count, events * counter.subscribers)


def until_handled(make: Callable[[Counter], Callable[[Any], object]]) -> Run:
    """Publish to a few and wait for them."""

    async def run(count: int, watch: Stopwatch) -> None:
        counter = Counter(FEW)
        tick = Tick(number=1)
        async with AsyncEventBus("bench") as bus:
            for _ in range(FEW):
                bus.subscribe(Tick, make(counter))
            await bus.publish(tick)
            with watch:
                for _ in range(count):
                    published = await bus.publish(tick)
            expect("handled", published.handled, wanted=True)
        expect("deliveries", counter.count, (count + 1) * FEW)

    return run


# --- Q, and others ----------------------------------------------------------------------------------------------------


def to_queues(subscribers: int, *, each: bool) -> Run:
    """A queue and a task for each; *each*: what is counted is deliveries, else events."""

    async def consume(queue: asyncio.Queue[Tick], counter: Counter) -> None:
        while True:
            await queue.get()
            counter.one()

    async def run(count: int, watch: Stopwatch) -> None:
        counter = Counter(subscribers)
        queues: list[asyncio.Queue[Tick]] = [asyncio.Queue() for _ in range(subscribers)]
        tasks = [asyncio.create_task(consume(queue, counter)) for queue in queues]
        events = max(count // subscribers, 1) if each else count
        tick = Tick(number=1)
        await asyncio.sleep(0)
        with watch:
            for _ in range(events):
                reached = counter.next_event()
                for queue in queues:
                    queue.put_nowait(tick)
                await reached
        expect("deliveries", counter.count, events * subscribers)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    return run


def gathering(subscribers: int, make: Callable[[Counter], Callable[[Any], object]], *, each: bool) -> Run:
    """The design of old."""

    async def run(count: int, watch: Stopwatch) -> None:
        counter = Counter(subscribers)
        bus = GatheringBus()
        for _ in range(subscribers):
            bus.subscribe(Tick, make(counter))
        events = max(count // subscribers, 1) if each else count
        tick = Tick(number=1)
        with watch:
            for _ in range(events):
                await bus.publish(tick)
        expect("deliveries", counter.count, events * subscribers)

    return run


async def pyee_emitter(count: int, watch: Stopwatch) -> None:
    counter = Counter(MANY)
    emitter = import_module("pyee.asyncio").AsyncIOEventEmitter()
    for _ in range(MANY):
        emitter.add_listener("tick", awaited(counter))
    events, tick = max(count // MANY, 1), Tick(number=1)
    with watch:
        for _ in range(events):
            reached = counter.next_event()
            emitter.emit("tick", tick)
            await reached
    await asyncio.sleep(0)
    expect("deliveries", counter.count, events * MANY)


async def aiopubsub_hub(count: int, watch: Stopwatch) -> None:
    aiopubsub: Any = import_module("aiopubsub")
    counter = Counter(MANY)
    hub = aiopubsub.Hub()
    publisher, key = aiopubsub.Publisher(hub, prefix=aiopubsub.Key("bench")), aiopubsub.Key("tick")

    async def consume(subscriber: Any) -> None:
        while True:
            await subscriber.consume()
            counter.one()

    tasks: list[asyncio.Task[None]] = []
    for number in range(MANY):
        subscriber = aiopubsub.Subscriber(hub, f"subscriber-{number}")
        subscriber.async_subscribe(aiopubsub.Key("bench", "tick"))
        tasks.append(asyncio.create_task(consume(subscriber)))
    events, tick = max(count // MANY, 1), Tick(number=1)
    await asyncio.sleep(0)
    with watch:
        for _ in range(events):
            reached = counter.next_event()
            publisher.publish(key, tick)
            await reached
    expect("deliveries", counter.count, events * MANY)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _installed() -> Iterator[Side]:
    for package, run in (("aiopubsub", aiopubsub_hub), ("pyee", pyee_emitter)):
        if find_spec(package) is None:
            say(f"W5: {package} is not installed, and not measured; make bench installs it")
        else:
            yield Side(f"{package}, async def", run)


class Deliveries:
    """The rate of deliveries to many, and what others reach; these are asked for when it is measured."""

    workload = "W5"

    def rows(self, plan: Plan) -> Iterator[Row]:
        sides = (
            Side(SYNC, to_callbacks(MANY, plain)),
            Side(ASYNC, to_callbacks(MANY, awaited)),
            Side("actors", to_actors),
            Side("list and gather, def", gathering(MANY, plain, each=True)),
            Side("list and gather, async def", gathering(MANY, awaited, each=True)),
            *_installed(),
        )
        what = f"an event to {MANY:,} subscribers, deliveries"
        yield from Comparison(self.workload, what, 50 * MANY, to_queues(MANY, each=True), sides).rows(plan)


class Latency:
    """How long a publication takes until all have handled it, for 1 to 1,000 subscribers."""

    workload = "W5"

    def rows(self, plan: Plan) -> Iterator[Row]:
        for subscribers in (1, 10, 100, 1_000):
            what = f"publish until handled by {subscribers:,}, 99th percentile"
            say(f"{self.workload}: {what}")
            publications = max(plan.count(20_000) // subscribers, 20)
            try:
                found = [sorted(asyncio.run(latencies(subscribers, publications))) for _ in range(plan.repeats)]
            except WrongResult as error:
                yield Row.without_value(self.workload, f"p99 of {subscribers}", what, error)
                continue
            late = [each[min(int(len(each) * 0.99), len(each) - 1)] * 1e6 for each in found]
            middle = statistics.median(statistics.median(each) for each in found) * 1e6
            yield Row(
                workload=self.workload,
                label=f"p99 of {subscribers}",
                what=what,
                value=Spread.of(late),
                unit="us",
                baseline="",
                own=f"{middle:.0f} us in the median",
            )


async def latencies(subscribers: int, publications: int) -> list[float]:
    """Seconds of each publication."""
    counter, found, tick = Counter(subscribers), list[float](), Tick(number=1)
    async with AsyncEventBus("bench") as bus:
        for _ in range(subscribers):
            bus.subscribe(Tick, plain(counter))
        for _ in range(publications):
            began = time.perf_counter()
            await bus.publish(tick)
            found.append(time.perf_counter() - began)
            await asyncio.sleep(0)
    expect("deliveries", counter.count, publications * subscribers)
    return found


WORKLOADS = (
    Deliveries(),
    Comparison(
        "W5",
        f"publish to {FEW}",
        2_000,
        to_queues(FEW, each=False),
        (
            Side(f"until handled, {SYNC}", until_handled(plain)),
            Side(f"until handled, {ASYNC}", until_handled(awaited)),
            Side("list and gather, def", gathering(FEW, plain, each=False)),
            Side("list and gather, async def", gathering(FEW, awaited, each=False)),
        ),
        shown="time",
        ratio="time",
    ),
    Latency(),
)
