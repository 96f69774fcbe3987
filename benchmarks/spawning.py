"""W4: actors come and go under a dynamic supervisor."""

from __future__ import annotations

import asyncio
from typing import ClassVar

from benchmarks.harness import Comparison, Side, Stopwatch, expect
from understudy import Actor, ActorSystem, DynamicSupervisor, Message, handler

__all__ = ["WORKLOADS", "Idle", "Ping", "Pool", "idle_task"]


class Ping(Message):
    pass


class Idle(Actor[Ping]):
    pings: ClassVar[int] = 0
    """How many all of them have handled."""

    @handler
    def ping(self, message: Ping) -> None:
        Idle.pings += 1


class Pool(DynamicSupervisor):
    """Where they live."""


async def one_after_another(count: int, watch: Stopwatch) -> None:
    async with ActorSystem(Pool) as system:
        pool = system.lookup("pool", Pool)
        before = system.statistics()
        with watch:
            for _ in range(count):
                ref = await pool.start_child(Idle)
                ref.stop()
                await ref.wait_stopped()
        after = system.statistics()
        expect("started", after.started - before.started, count)
        expect("stopped", after.stopped - before.stopped, count)
        expect("crashed", after.crashed, 0)


async def at_once(count: int, watch: Stopwatch) -> None:
    async with ActorSystem(Pool) as system:
        pool = system.lookup("pool", Pool)
        before = system.statistics()
        with watch:
            refs = [await pool.start_child(Idle) for _ in range(count)]
            alive = system.statistics().actors
            for ref in refs:
                ref.stop()
            for ref in refs:
                await ref.wait_stopped()
        after = system.statistics()
        expect("alive", alive - before.actors, count)
        expect("alive at the end", after.actors - before.actors, 0)
        expect("stopped", after.stopped - before.stopped, count)
        expect("crashed", after.crashed, 0)


# --- Q ----------------------------------------------------------------------------------------------------------------


async def idle_task(queue: asyncio.Queue[Ping | None]) -> None:
    while await queue.get() is not None:
        pass


async def tasks_one_after_another(count: int, watch: Stopwatch) -> None:
    ended = 0
    with watch:
        for _ in range(count):
            queue: asyncio.Queue[Ping | None] = asyncio.Queue()
            task = asyncio.create_task(idle_task(queue))
            await asyncio.sleep(0)  # it is up when it waits
            queue.put_nowait(None)
            await task
            ended += 1
    expect("ended", ended, count)


async def tasks_at_once(count: int, watch: Stopwatch) -> None:
    with watch:
        queues: list[asyncio.Queue[Ping | None]] = [asyncio.Queue() for _ in range(count)]
        tasks = [asyncio.create_task(idle_task(queue)) for queue in queues]
        await asyncio.sleep(0)
        alive = sum(not task.done() for task in tasks)
        for queue in queues:
            queue.put_nowait(None)
        for task in tasks:
            await task
    expect("alive", alive, count)
    expect("ended", sum(task.done() for task in tasks), count)


WORKLOADS = (
    Comparison(
        "W4",
        "spawn and stop",
        5_000,
        tasks_one_after_another,
        (Side("one after another", one_after_another),),
        shown="time",
        ratio="time",
    ),
    Comparison(
        "W4",
        "spawn and stop {count:,}",
        10_000,
        tasks_at_once,
        (Side("at once", at_once),),
        shown="time",
        ratio="time",
    ),
)
