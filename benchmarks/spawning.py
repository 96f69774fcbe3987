"""W4: actors come and go under a dynamic supervisor."""

from __future__ import annotations

from typing import ClassVar

from benchmarks.baselines.bare_lives import come_and_go_at_once
from benchmarks.common import COME_AND_GO
from benchmarks.harness import Comparison, Side, Stopwatch, expect
from understudy import Actor, ActorSystem, DynamicSupervisor, Message, handler

__all__ = ["WORKLOADS", "Idle", "Ping", "Pool"]


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


WORKLOADS = (
    COME_AND_GO.with_sides(Side("one after another", one_after_another)),
    Comparison(
        "W4",
        "spawn and stop {count:,}",
        10_000,
        come_and_go_at_once,
        (Side("at once", at_once),),
        shown="time",
        ratio="time",
    ),
)
