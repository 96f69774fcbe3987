"""Every way of getting, against a put, a close and a cancel, in all orders; and a campaign of them together."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from understudy.mailbox import AsyncMessageQueue, QueueClosed, QueueFull, RollingBatch
from understudy.testing import Faults, Simulation, simulate
from understudy.testing._campaign import search
from understudy.testing._schedule import Subject

Queue = AsyncMessageQueue[int]


async def one(wait: Awaitable[int]) -> list[int]:
    return [await wait]


WAYS: dict[str, Callable[[Queue], Awaitable[list[int]]]] = {
    "get": lambda queue: one(queue.get(timeout=0.3)),
    "get(predicate)": lambda queue: one(queue.get(lambda item: item % 2 == 0)),
    "get(key)": lambda queue: one(queue.get(key=1, timeout=0.3)),
    "get_batch": lambda queue: queue.get_batch(3),
    "get_batch(min_items)": lambda queue: queue.get_batch(3, min_items=2, timeout=0.3),
    "get_batch(linger)": lambda queue: queue.get_batch(3, linger=0.1),
    "get_batch(predicate)": lambda queue: queue.get_batch(3, min_items=2, predicate=lambda item: item > 1),
    "get_burst": lambda queue: queue.get_burst(timeout=0.3),
}


class Ledger:
    """What went in and what came out."""

    def __init__(self, capacity: float, policy: Any = "block") -> None:
        self.dropped: list[int] = []
        self.queue = Queue(
            capacity,
            policy=policy,
            key=lambda item: 1 + item % 2,
            on_drop=lambda item, _: self.dropped.append(item),
            batch=RollingBatch(quiet=0.05, cap=0.2),
        )
        self.accepted: list[int] = []
        self.got: list[int] = []

    async def produce(self, *items: int, timeout: float | None = None) -> None:
        for item in items:
            try:
                if await self.queue.put(item, timeout=timeout):
                    self.accepted.append(item)
                else:
                    self.dropped.remove(item)
            except (QueueClosed, QueueFull, TimeoutError):
                continue

    async def consume(self, way: str, times: int) -> None:
        for _ in range(times):
            try:
                items = await WAYS[way](self.queue)
            except QueueClosed:
                return
            except TimeoutError:
                continue
            assert items == sorted(items, key=self.accepted.index), "not in the order in which they came"
            self.got += items
            await asyncio.sleep(0)

    def balance(self) -> None:
        """Each item that was accepted has come out once, is still there in order, or was dropped and reported."""
        assert self.queue.statistics().handed_over == 0
        left = self.queue.close(drain=False)
        assert sorted([*self.got, *left, *self.dropped]) == sorted(self.accepted)
        statistics = self.queue.statistics()
        assert statistics.getters_waiting == statistics.putters_waiting == 0
        assert statistics.total_out == len(self.got)


@pytest.mark.parametrize("way", WAYS)
def test_nothing_is_lost_in_any_order_of_two_puts_a_get_a_close_and_a_cancel(way: str) -> None:
    async def scenario(sim: Any) -> None:
        ledger = Ledger(capacity=1 if way == "get" else 2)
        consumer = asyncio.create_task(ledger.consume(way, 2), name="consumer")

        async def close() -> None:
            ledger.queue.close()

        async def cancel() -> None:
            consumer.cancel()

        tasks = [
            consumer,
            asyncio.create_task(ledger.produce(1, 2), name="producer"),
            asyncio.create_task(ledger.produce(3), name="other producer"),
            asyncio.create_task(close(), name="closer"),
            asyncio.create_task(cancel(), name="canceller"),
        ]
        await asyncio.wait(tasks)
        for task in tasks:
            assert task.cancelled() or task.exception() is None
        ledger.balance()

    report = search(
        Subject(scenario, Faults(stall=0.0), system=False), departures=2, at_most=20_000, name=f"all orders of {way}"
    )
    assert report.complete


@simulate(schedules=50, faults=Faults(stall=1.0))
async def test_consumers_of_all_kinds_share_one_queue_and_lose_nothing(sim: Simulation) -> None:
    ledger = Ledger(1 + sim.random.randrange(4), sim.random.choice(["block", "block", "fail", "drop_old", "drop_new"]))
    ways = sim.random.sample(sorted(WAYS), 4)
    consumers = [asyncio.create_task(ledger.consume(way, 4), name=way) for way in ways]
    producers = [
        asyncio.create_task(ledger.produce(*range(start, 40, 4), timeout=0.5), name=f"producer {start}")
        for start in range(1, 5)
    ]
    for victim in sim.random.sample([*consumers, *producers], 3):
        await asyncio.sleep(sim.random.choice([0, 0.05, 0.2]))
        victim.cancel()
    if sim.random.random() < 0.5:
        await asyncio.wait(producers)
    ledger.queue.close()
    await asyncio.wait([*producers, *consumers])
    for task in [*producers, *consumers]:
        assert task.cancelled() or task.exception() is None
    ledger.balance()
