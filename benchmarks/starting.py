"""W11: a program of 100 agents comes up, each of which needs a while for that."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

from benchmarks.harness import Plan, Row, Spread, say
from understudy import Actor, ActorSystem, ChildSpec, Message, Supervisor, child

__all__ = ["StartTime"]

AGENTS = 100
INITIALISATION = 0.010
"""Seconds that the ``initialize`` of each agent waits."""


class Work(Message):
    pass


class Agent(Actor[Work]):
    async def initialize(self) -> None:
        await asyncio.sleep(INITIALISATION)

    async def handle_message(self, message: Work) -> None:
        pass


class Program(Supervisor):
    parallel_start = True

    def children(self) -> list[ChildSpec]:
        return [child(Agent).options(name=f"agent-{number}") for number in range(AGENTS)]


class InTurn(Program):
    parallel_start = False


async def seconds(tree: type[Supervisor]) -> float:
    began = time.perf_counter()
    async with ActorSystem(tree):
        return time.perf_counter() - began


class StartTime:
    """Milliseconds from the start of the system until all are up."""

    workload = "W11"

    def rows(self, plan: Plan) -> Iterator[Row]:
        say(f"{self.workload}: a program of {AGENTS} agents starts")
        in_turn = asyncio.run(seconds(InTurn))
        asyncio.run(seconds(Program))  # warms up
        own = [asyncio.run(seconds(Program)) * 1e3 for _ in range(2 * plan.repeats)]
        yield Row(
            workload=self.workload,
            label="start",
            what=f"{AGENTS} agents with {INITIALISATION * 1e3:.0f} ms of initialisation start in parallel; Q: in turn",
            value=Spread.of(own),
            unit="ms",
            baseline=f"{in_turn * 1e3:.0f} ms",
            own=f"{sorted(own)[len(own) // 2]:.0f} ms",
            samples={"understudy": own},
        )
