"""W1: messages to one actor that counts them; nobody waits for a reply."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import TypeAlias

from benchmarks.baselines.bare import BREATH, send
from benchmarks.common import BURST, PACED
from benchmarks.harness import Comparison, Run, Side, Stopwatch, expect
from benchmarks.targets import ASYNC, SYNC
from understudy import Actor, ActorSystem, ChildSpec, Mailbox, Message, child, handler

__all__ = ["WORKLOADS"]

CAPACITY = int(Mailbox().capacity)


class Tick(Message):
    pass


class Count(Message[int]):
    pass


TICK = Tick()

Done: TypeAlias = "asyncio.Future[int]"
Spec: TypeAlias = Callable[[int, Done], ChildSpec[Tick | Count]]


class Counter(Actor[Tick | Count]):
    def __init__(self, expected: int, done: Done) -> None:
        self.count = 0
        self.expected = expected
        self.done = done

    @handler
    def tick(self, message: Tick) -> None:
        self.count += 1
        if self.count == self.expected:
            self.done.set_result(self.count)

    @handler
    def counted(self, message: Count) -> int:
        return self.count


class AsyncCounter(Actor[Tick | Count]):
    def __init__(self, expected: int, done: Done) -> None:
        self.count = 0
        self.expected = expected
        self.done = done

    @handler
    async def tick(self, message: Tick) -> None:
        self.count += 1
        if self.count == self.expected:
            self.done.set_result(self.count)

    @handler
    async def counted(self, message: Count) -> int:
        return self.count


def _sync(expected: int, done: Done) -> ChildSpec[Tick | Count]:
    return child(Counter, expected, done)


def _async(expected: int, done: Done) -> ChildSpec[Tick | Count]:
    return child(AsyncCounter, expected, done)


# --- understudy -------------------------------------------------------------------------------------------------------


def burst(spec: Spec) -> Run:
    async def run(count: int, watch: Stopwatch) -> None:
        async with ActorSystem() as system:
            done: Done = asyncio.get_running_loop().create_future()
            ref = await system.spawn(spec(count, done).options(mailbox=math.inf))
            with watch:
                for _ in range(count):
                    ref.tell(TICK)
                await done
            expect("messages counted", await ref.ask(Count()), count)
            expect("dead letters", system.statistics().dead_letters, 0)

    return run


def paced(spec: Spec) -> Run:
    async def run(count: int, watch: Stopwatch) -> None:
        async with ActorSystem() as system:
            done: Done = asyncio.get_running_loop().create_future()
            ref = await system.spawn(spec(count, done))
            with watch:
                for _ in range(count // BREATH):
                    for _ in range(BREATH):
                        ref.tell(TICK)
                    await asyncio.sleep(0)
                await done
            expect("messages counted", await ref.ask(Count()), count)
            expect("dead letters", system.statistics().dead_letters, 0)

    return run


def bounded(spec: Spec) -> Run:
    async def run(count: int, watch: Stopwatch) -> None:
        async with ActorSystem() as system:
            done: Done = asyncio.get_running_loop().create_future()
            ref = await system.spawn(spec(count, done))
            with watch:
                for _ in range(count):
                    await ref.send(TICK)
                await done
            expect("messages counted", await ref.ask(Count()), count)
            expect("dead letters", system.statistics().dead_letters, 0)

    return run


WORKLOADS = (
    BURST.with_sides(Side(SYNC, burst(_sync)), Side(ASYNC, burst(_async))),
    Comparison(
        "W1a",
        f"send, {{count:,}} through the default bound of {CAPACITY:,}",
        200_000,
        send(CAPACITY),
        (Side(SYNC, bounded(_sync)), Side(ASYNC, bounded(_async))),
    ),
    PACED.with_sides(Side(SYNC, paced(_sync)), Side(ASYNC, paced(_async))),
)
