"""A6: how late a heartbeat is while another actor, or a hundred, are flooded."""

from __future__ import annotations

import asyncio
import math
import statistics
import time
from collections.abc import Iterator

from benchmarks.harness import Plan, Row, Spread, WrongResult, expect, say
from understudy import Actor, ActorSystem, Message, child, handler

__all__ = ["Fairness"]

WORK = 10e-6
"""Seconds that a handler of the flooded actors computes."""
PAUSE = 0.002
"""Seconds between two beats."""
FLOOD = 200_000
"""Messages that wait in all flooded actors together, at the start; enough for longer than the beats take."""
FEW_BEATS, SMALL_FLOOD = 20, 20_000
"""The same when it is only to work."""


class Drop(Message):
    pass


class Beat(Message):
    due: float


class Flooded(Actor[Drop]):
    @handler
    def drop(self, message: Drop) -> None:
        end = time.perf_counter() + WORK
        while time.perf_counter() < end:
            pass


class Heart(Actor[Beat]):
    def __init__(self, delays: list[float]) -> None:
        self.delays = delays

    @handler
    def beat(self, message: Beat) -> None:
        self.delays.append(time.perf_counter() - message.due)


async def delays(flooded: int, beats: int, flood: int) -> list[float]:
    """Seconds from when each beat was due to when it was handled; the lateness of the timer is part of it."""
    found: list[float] = []
    async with ActorSystem() as system:
        heart = await system.spawn(Heart, found)
        peers = [await system.spawn(child(Flooded).options(mailbox=math.inf)) for _ in range(flooded)]
        drop = Drop()
        for number in range(flood):
            peers[number % flooded].tell(drop)
        due = time.perf_counter()
        for _ in range(beats):
            due = max(due + PAUSE, time.perf_counter())
            await asyncio.sleep(due - time.perf_counter())
            heart.tell(Beat(due=due))
        while len(found) < beats:  # noqa: ASYNC110 - one beat is on its way
            await asyncio.sleep(0)
        expect("still flooded", sum(node.waiting > 0 for node in system.tree().walk()) > 0, wanted=True)
        for peer in peers:
            peer.kill()
            peer.stop()
    return found


class Fairness:
    """The 99th percentile, with one flooded peer and with a hundred."""

    workload = "A6"

    def rows(self, plan: Plan) -> Iterator[Row]:
        beats, flood = (FEW_BEATS, SMALL_FLOOD) if plan.quick else (500, FLOOD)
        for flooded in (1, 100):
            what = f"a heartbeat beside {flooded} flooded with handlers of {WORK * 1e6:.0f} us, 99th percentile"
            say(f"{self.workload}: {what}")
            try:
                found = [sorted(asyncio.run(delays(flooded, beats, flood))) for _ in range(plan.repeats)]
            except WrongResult as error:
                yield Row.without_value(self.workload, "p99", what, error)
                continue
            late = [each[min(int(len(each) * 0.99), len(each) - 1)] * 1e3 for each in found]
            middle = statistics.median(statistics.median(each) for each in found) * 1e3
            yield Row(
                workload=self.workload,
                label="p99",
                what=what,
                value=Spread.of(late),
                unit="ms",
                baseline="",
                own=f"{middle:.2f} ms in the median",
            )
