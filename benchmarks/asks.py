"""W2: messages to one actor whose reply is awaited."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeAlias

from benchmarks.baselines.bare import ASKERS
from benchmarks.common import ASK, ASK_AT_ONCE
from benchmarks.harness import Run, Side, Stopwatch, expect
from benchmarks.targets import ASYNC, SYNC
from understudy import Actor, ActorRef, ActorSystem, ChildSpec, Message, child, handler

__all__ = ["WORKLOADS"]


class Add(Message[int]):
    value: int


ONE = Add(value=1)

Spec: TypeAlias = Callable[[], ChildSpec[Add]]


class Adder(Actor[Add]):
    def __init__(self) -> None:
        self.total = 0

    @handler
    def add(self, message: Add) -> int:
        self.total += message.value
        return self.total


class AsyncAdder(Actor[Add]):
    def __init__(self) -> None:
        self.total = 0

    @handler
    async def add(self, message: Add) -> int:
        self.total += message.value
        return self.total


class Go(Message[int]):
    count: int


class Asker(Actor[Go]):
    def __init__(self, target: ActorRef[Add], watch: Stopwatch) -> None:
        self.target = target
        self.watch = watch

    @handler
    async def go(self, message: Go) -> int:
        target, reply = self.target, 0
        with self.watch:
            for _ in range(message.count):
                reply = await target.ask(ONE)
        return reply


def _sync() -> ChildSpec[Add]:
    return child(Adder)


def _async() -> ChildSpec[Add]:
    return child(AsyncAdder)


# --- understudy -------------------------------------------------------------------------------------------------------


def in_turn(spec: Spec) -> Run:
    async def run(count: int, watch: Stopwatch) -> None:
        async with ActorSystem() as system:
            ref = await system.spawn(spec())
            total = 0
            with watch:
                for _ in range(count):
                    total = await ref.ask(ONE)
            expect("the last reply", total, count)

    return run


def by_an_actor(spec: Spec) -> Run:
    async def run(count: int, watch: Stopwatch) -> None:
        async with ActorSystem() as system:
            target = await system.spawn(spec())
            asker = await system.spawn(Asker, target, watch)
            expect("the last reply", await asker.ask(Go(count=count), timeout=600), count)

    return run


def concurrent(spec: Spec) -> Run:
    async def run(count: int, watch: Stopwatch) -> None:
        async with ActorSystem() as system:
            ref = await system.spawn(spec())
            each = -(-count // ASKERS)

            async def asker() -> int:
                total = 0
                for _ in range(each):
                    total = await ref.ask(ONE)
                return total

            with watch:
                totals = await asyncio.gather(*(asker() for _ in range(ASKERS)))
            expect("the highest reply", max(totals), each * ASKERS)

    return run


WORKLOADS = (
    ASK.with_sides(
        Side(SYNC, in_turn(_sync)),
        Side(ASYNC, in_turn(_async)),
        Side(f"{SYNC}, asked by an actor", by_an_actor(_sync)),
        Side(f"{ASYNC}, asked by an actor", by_an_actor(_async)),
    ),
    ASK_AT_ONCE.with_sides(Side(SYNC, concurrent(_sync)), Side(ASYNC, concurrent(_async))),
)
