"""The queue under all orders of puts, gets, timeouts, cancels and a close."""

from __future__ import annotations

import asyncio
import os
from typing import Any

from understudy import AsyncMessageQueue
from understudy.mailbox import QueueClosed
from understudy.testing import Faults, Simulation, simulate
from understudy.testing._campaign import search
from understudy.testing._schedule import Subject

DEPARTURES = 3 if os.environ.get("UNDERSTUDY_CAMPAIGN") else 2


class Ledger:
    """What went in and what came out."""

    def __init__(self, capacity: int) -> None:
        self.queue: AsyncMessageQueue[str] = AsyncMessageQueue(capacity)
        self.accepted: list[str] = []
        self.got: list[str] = []
        self.by: dict[str, list[str]] = {}

    async def produce(self, name: str, count: int, timeout: float | None = None) -> None:
        for number in range(count):
            try:
                await self.queue.put(f"{name}{number}", timeout=timeout)
            except (QueueClosed, TimeoutError):
                continue
            self.accepted.append(f"{name}{number}")

    async def consume(self, name: str, timeout: float | None = None) -> None:
        while True:
            try:
                item = await self.queue.get(timeout=timeout)
            except QueueClosed:
                return
            except TimeoutError:
                continue
            self.got.append(item)
            self.by.setdefault(name, []).append(item)

    def balance(self, dropped: list[str]) -> None:
        """Each item that was accepted has come out once, is still there, or was given back."""
        left = self.queue.close(drain=False)
        assert sorted([*self.got, *left, *dropped]) == sorted(self.accepted)
        # Each consumer sees the items of one producer in their order.
        for items in self.by.values():
            for producer in "abc":
                assert (mine := [item for item in items if item.startswith(producer)]) == sorted(mine)
        statistics = self.queue.statistics()
        assert statistics.total_in == len(self.accepted)
        assert statistics.total_out == len(self.got)
        assert statistics.getters_waiting == statistics.putters_waiting == statistics.handed_over == 0


@simulate(schedules=50, faults=Faults(stall=10.0))
async def test_nothing_is_lost_and_nothing_comes_twice(sim: Simulation) -> None:
    ledger = Ledger(capacity=1 + sim.random.randrange(3))
    consumers = [
        asyncio.create_task(ledger.consume("x"), name="x"),
        asyncio.create_task(ledger.consume("y", timeout=0.3), name="y"),
    ]
    producers = [
        asyncio.create_task(ledger.produce("a", 4), name="a"),
        asyncio.create_task(ledger.produce("b", 3, timeout=0.2), name="b"),
        asyncio.create_task(ledger.produce("c", 3), name="c"),
    ]
    await asyncio.sleep(sim.random.choice([0, 0.1]))
    consumers[0].cancel()
    dropped: list[str] = []
    if sim.random.random() < 0.5:
        producers[2].cancel()
    if sim.random.random() < 0.5:
        await asyncio.sleep(0.05)
        dropped = ledger.queue.close(drain=False)
    else:
        await asyncio.wait(producers[:2])
        await asyncio.wait(producers[2:])
        ledger.queue.close()
    await asyncio.wait([*producers, *consumers])
    for task in [*producers, *consumers]:
        if not task.cancelled():
            assert task.exception() is None
    ledger.balance(dropped)


@simulate(schedules=50, faults=Faults(stall=10.0))
async def test_a_full_queue_lets_everybody_through_in_turn(sim: Simulation) -> None:
    ledger = Ledger(capacity=1)
    async with asyncio.TaskGroup() as group:
        consumer = group.create_task(ledger.consume("x"))
        producers = [group.create_task(ledger.produce(name, 5)) for name in "abc"]
        await asyncio.wait(producers)
        ledger.queue.close()
        await asyncio.wait([consumer])
    assert len(ledger.got) == 15
    ledger.balance([])


async def two_producers_and_a_consumer(sim: Any) -> None:
    """Small enough for all orders."""
    ledger = Ledger(capacity=1)
    consumer = asyncio.create_task(ledger.consume("x"), name="consumer")
    producers = [asyncio.create_task(ledger.produce(name, 1), name=f"producer {name}") for name in "ab"]

    async def close() -> None:
        ledger.queue.close()

    async def cancel() -> None:
        consumer.cancel()

    others = [asyncio.create_task(close(), name="closer"), asyncio.create_task(cancel(), name="canceller")]
    await asyncio.wait([*producers, consumer, *others])
    ledger.balance([])


def test_all_orders_of_two_producers_a_consumer_a_close_and_a_cancel() -> None:
    subject = Subject(two_producers_and_a_consumer, Faults(stall=0.0), system=False)
    report = search(subject, departures=DEPARTURES, at_most=20_000, name="all orders of a queue")
    print(report.summary())
    assert report.complete
