"""W13: handlers that really suspend, so that many are under way at a time."""

from __future__ import annotations

import asyncio

from benchmarks.baselines.bare import TICK, Tick, end
from benchmarks.harness import Comparison, Side, Stopwatch, expect
from benchmarks.targets import ASYNC
from understudy import Actor, ActorSystem, handler

__all__ = ["WORKLOADS"]

ACTORS = 1_000
EACH = 20


class Countdown:
    """How many have not been handled yet, shared by all."""

    def __init__(self, count: int) -> None:
        self.left = count
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def one(self) -> None:
        self.left -= 1
        if not self.left:
            self.done.set_result(None)


class Waiting(Actor[Tick]):
    def __init__(self, countdown: Countdown) -> None:
        self.countdown = countdown

    @handler
    async def tick(self, message: Tick) -> None:
        await asyncio.sleep(0)
        self.countdown.one()


def _each(count: int) -> int:
    return max(count // ACTORS, 1)


async def actors(count: int, watch: Stopwatch) -> None:
    each = _each(count)
    countdown = Countdown(ACTORS * each)
    async with ActorSystem() as system:
        refs = [await system.spawn(Waiting, countdown) for _ in range(ACTORS)]
        with watch:
            for ref in refs:
                for _ in range(each):
                    ref.tell(TICK)
            await countdown.done
        expect("dead letters", system.statistics().dead_letters, 0)
    expect("not handled", countdown.left, 0)


async def queues(count: int, watch: Stopwatch) -> None:
    each = _each(count)
    countdown = Countdown(ACTORS * each)

    async def consume(queue: asyncio.Queue[Tick]) -> None:
        while True:
            await queue.get()
            await asyncio.sleep(0)
            countdown.one()

    waiting: list[asyncio.Queue[Tick]] = [asyncio.Queue() for _ in range(ACTORS)]
    tasks = [asyncio.create_task(consume(queue)) for queue in waiting]
    await asyncio.sleep(0)
    with watch:
        for queue in waiting:
            for _ in range(each):
                queue.put_nowait(TICK)
        await countdown.done
    expect("not handled", countdown.left, 0)
    await end(*tasks)


WORKLOADS = (
    Comparison(
        "W13",
        f"handlers that suspend, {ACTORS:,} actors, {{count:,}} messages",
        ACTORS * EACH,
        queues,
        (Side(ASYNC, actors),),
    ),
)
