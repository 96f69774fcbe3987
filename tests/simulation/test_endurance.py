"""Thousands of crashes and cancels: what they cost is the message in hand, and nothing else."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from typing import Any

import pytest

from understudy import Actor, ActorRef, ActorSystem, ExitReason, Instrument, Message, child, handler, supervisor
from understudy.testing import Faults
from understudy.testing._campaign import explore
from understudy.testing._schedule import Subject

COUNT = 60
ENOUGH = 10_000 if os.environ.get("UNDERSTUDY_CAMPAIGN") else 300


class Count(Message):
    number: int


class Slowly(Message):
    number: int


class Clerk(Actor[Count | Slowly]):
    def __init__(self, begun: list[int], done: list[int]) -> None:
        self.begun, self.done = begun, done

    @handler
    def count(self, message: Count) -> None:
        self.begun.append(message.number)
        self.done.append(message.number)

    @handler
    async def slowly(self, message: Slowly) -> None:
        self.begun.append(message.number)
        await asyncio.sleep(0.01)
        await asyncio.sleep(0)
        self.done.append(message.number)


class Crashes(Instrument):
    """Counts crashes by their cause."""

    def __init__(self) -> None:
        self.seen: Counter[str] = Counter()

    def actor_crashed(self, path: str, reason: ExitReason, message_type: str | None) -> None:
        self.seen["cancel" if "CancelledError" in str(reason) else "crash"] += 1


@pytest.mark.parametrize(("kind", "faults"), [("crash", Faults(crash=0.3)), ("cancel", Faults(cancel=0.5, stall=0.1))])
def test_each_costs_the_message_in_hand_and_nothing_else(kind: str, faults: Faults) -> None:
    total = Counter[str]()

    async def run(sim: Any) -> None:
        begun: list[int] = []
        done: list[int] = []
        crashes = Crashes()
        tree = supervisor("office", child(Clerk, begun, done).options(name="clerk", mailbox=5), max_restarts=10**6)
        async with ActorSystem(tree, name="endurance", instruments=[crashes]) as system:
            await work(sim, system.lookup("office/clerk", Clerk))
        assert begun == sorted(set(begun))  # nothing twice, all in order
        total.update(crashes.seen)
        total["lost"] += COUNT - len(done)
        # Whatever was lost was in hand at a crash: a message that has not begun was taken by one before its first line.
        assert COUNT - len(done) <= crashes.seen.total()

    async def work(sim: Any, clerk: ActorRef[Any]) -> None:
        for number in range(COUNT):
            await clerk.send(Slowly(number=number) if number % 3 or kind == "cancel" else Count(number=number))
        await sim.quiesce()

    rounds = 0
    while total[kind] < ENOUGH:
        rounds += 1
        assert rounds < 10_000, total
        explore(Subject(run, faults, system=False), schedules=10, seed=rounds * 10_000, name=f"endurance {kind}")
    print(f"{total[kind]:,} times {kind}: {total['lost']:,} messages lost, each in hand at one of them")
