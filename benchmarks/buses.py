"""W5 for any event bus: how many it delivers in a second, and how long a publication takes."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from typing import TypeAlias

from benchmarks.common import FEW, MANY
from benchmarks.counter import Counter
from benchmarks.harness import OWN, Plan, Row, Run, Spread, Stopwatch, WrongResult, expect, say

__all__ = ["SUBSCRIBERS", "Bus", "Latency", "deliveries", "publications"]

SUBSCRIBERS = (1, 10, 100, 1_000)

Bus: TypeAlias = Callable[[Counter], AbstractAsyncContextManager[Callable[[], Awaitable[object]]]]
"""Subscribes as many as the counter says, each of which counts; gives what publishes, awaited until all have it."""


def deliveries(bus: Bus) -> Run:
    """One event after the other to many; what is counted is deliveries."""

    async def run(count: int, watch: Stopwatch) -> None:
        await _publish(bus, MANY, max(count // MANY, 1), watch)

    return run


def publications(bus: Bus) -> Run:
    """One event after the other to a few."""

    async def run(count: int, watch: Stopwatch) -> None:
        await _publish(bus, FEW, count, watch)

    return run


async def _publish(bus: Bus, subscribers: int, events: int, watch: Stopwatch) -> None:
    counter, first = Counter(subscribers), int(events > 1)  # the first is not like the others
    async with bus(counter) as publish:
        for _ in range(first):
            await publish()
        with watch:
            for _ in range(events):
                await publish()
    expect("deliveries", counter.count, (events + first) * subscribers)


class Latency:
    """How long a publication takes until all have handled it, for 1 to 1,000 subscribers."""

    workload = "W5"

    def __init__(self, bus: Bus, contender: str = OWN, share: float = 1.0, up_to: int = MANY) -> None:
        self._bus = bus
        self._contender = contender
        self._share = share
        self._up_to = up_to

    def rows(self, plan: Plan) -> Iterator[Row]:
        for subscribers in (each for each in SUBSCRIBERS if each <= self._up_to):
            label, what = f"p99 of {subscribers}", f"publish until handled by {subscribers:,}, 99th percentile"
            say(f"{self.workload}: {what} ({self._contender})")
            events = max(
                int(plan.count(20_000) * self._share) // subscribers, 20 if self._share == 1 and not plan.quick else 3
            )
            try:
                found = [sorted(asyncio.run(latencies(self._bus, subscribers, events))) for _ in range(plan.repeats)]
            except WrongResult as error:
                yield Row.without_value(self.workload, label, what, error, self._contender)
                continue
            late = [each[min(int(len(each) * 0.99), len(each) - 1)] * 1e6 for each in found]
            middle = [statistics.median(each) * 1e6 for each in found]
            yield Row(
                workload=self.workload,
                label=label,
                what=what,
                value=Spread.of(late),
                unit="us",
                baseline="",
                own=f"{statistics.median(middle):,.0f} us in the median",
                samples={"p50": middle, "p99": late},
                contender=self._contender,
            )


async def latencies(bus: Bus, subscribers: int, events: int) -> list[float]:
    """Seconds of each publication."""
    counter, found = Counter(subscribers), list[float]()
    async with bus(counter) as publish:
        await publish()
        for _ in range(events):
            began = time.perf_counter()
            await publish()
            found.append(time.perf_counter() - began)
            await asyncio.sleep(0)
    expect("deliveries", counter.count, (events + 1) * subscribers)
    return found
