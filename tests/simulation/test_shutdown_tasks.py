"""Users' tasks of a shutdown, in an event loop that lags behind: each begins, and so can end what it has begun."""

from __future__ import annotations

import asyncio

from understudy import ActorSystem, Settings
from understudy.testing import Faults, Simulation, simulate


@simulate(schedules=20, faults=Faults(stall=0.3))
async def test_a_task_of_the_shutdown_is_never_cancelled_before_it_has_begun(sim: Simulation) -> None:
    log: list[str] = []

    async def clean_up() -> None:
        log.append("begun")
        try:
            await asyncio.sleep(600)  # longer than any phase may take
        finally:
            log.append("ended")

    async with ActorSystem(settings=Settings(phase_timeout=sim.random.choice([0.05, 5.0]))) as system:
        for phase in ("before", "after"):
            for number in range(2):
                system.phases.add(phase, clean_up, name=f"task {number}")
        if sim.random.random() < 0.5:
            system.kill()
    assert sorted(log) == ["begun"] * 4 + ["ended"] * 4
