"""W12: the same agents in the design that came before, which polls behind a lock, and as actors; idle and loaded."""

from __future__ import annotations

import asyncio
import gc
import time
import tracemalloc
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TypeAlias

from benchmarks.baselines.polling_agents import INTERVAL, PollingAgent
from benchmarks.harness import Plan, Row, Spread, WrongResult, expect, say
from understudy import Actor, ActorSystem, Message, handler

__all__ = ["OldDesign"]

AGENTS = 1_000
PAUSE = 0.002
"""Seconds between two rounds of messages."""
ROUND = 10
"""Messages of a round, each to another agent."""

Send: TypeAlias = Callable[[int, float], object]
"""To the agent of that number, at that time."""
Agents: TypeAlias = Callable[[list[float]], AbstractAsyncContextManager[Send]]


class Sent(Message):
    at: float


class Agent(Actor[Sent]):
    def __init__(self, late: list[float]) -> None:
        self.late = late

    @handler
    def sent(self, message: Sent) -> None:
        self.late.append(time.perf_counter() - message.at)


@asynccontextmanager
async def polling(late: list[float]) -> AsyncGenerator[Send]:
    def handle(message: Sent) -> None:
        late.append(time.perf_counter() - message.at)

    agents = [PollingAgent(handle) for _ in range(AGENTS)]
    yield lambda number, at: agents[number].send(Sent(at=at))
    for agent in agents:
        await agent.stop()


@asynccontextmanager
async def actors(late: list[float]) -> AsyncGenerator[Send]:
    async with ActorSystem() as system:
        refs = [await system.spawn(Agent, late) for _ in range(AGENTS)]
        yield lambda number, at: refs[number].tell(Sent(at=at))


@asynccontextmanager
async def nobody(late: list[float]) -> AsyncGenerator[Send]:
    """What the load costs whoever makes it: the messages, the sleep between two rounds, and no agents."""

    def send(number: int, at: float) -> None:
        late.append(time.perf_counter() - Sent(at=at).at)

    yield send


async def measure(agents: Agents, seconds: float) -> dict[str, float]:
    """Bytes, seconds of the processor, and latencies in seconds."""
    late: list[float] = []
    gc.collect()
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    async with agents(late) as send:
        for number in range(AGENTS):  # so that each has had one
            send(number, time.perf_counter())
        await asyncio.sleep(INTERVAL * 1.2)
        gc.collect()
        memory = tracemalloc.get_traced_memory()[0] - before
        tracemalloc.stop()
        expect("handled", len(late), AGENTS)
        late.clear()
        began = time.process_time()
        await asyncio.sleep(seconds)
        idle = time.process_time() - began
        began, rounds = time.process_time(), int(seconds / PAUSE / 4)
        for number in range(rounds):
            for each in range(ROUND):
                send((number * ROUND + each) % AGENTS, time.perf_counter())
            await asyncio.sleep(PAUSE)
        await asyncio.sleep(INTERVAL * 1.2)
        loaded = time.process_time() - began
        expect("handled under load", len(late), rounds * ROUND)
    late.sort()
    return {
        "memory": memory,
        "idle": idle,
        "loaded": loaded,
        "p50": late[len(late) // 2],
        "p99": late[int(len(late) * 0.99)],
    }


class OldDesign:
    """What it takes, as a part of what the old design takes; and how late messages are."""

    workload = "W12"

    def rows(self, plan: Plan) -> Iterator[Row]:
        seconds = 0.2 if plan.quick else 2.0
        say(f"{self.workload}: {AGENTS:,} agents, idle and loaded, for {seconds:g} s each")
        found: list[tuple[dict[str, float], dict[str, float]]] = []
        try:
            for _ in range(min(plan.repeats, 2)):
                load, old, own = (asyncio.run(measure(each, seconds)) for each in (nobody, polling, actors))
                for side in (old, own):
                    side["for load"] = side["loaded"] - load["loaded"]
                found.append((old, own))
        except WrongResult as error:
            for key in ("idle", "for load", "loaded", "memory", "p50", "p99"):
                yield Row.without_value(self.workload, key, key, error)
            return
        for key, words in (
            ("idle", "processor time, idle"),
            ("for load", "processor time, loaded, beyond what the sender takes without agents"),
            ("loaded", "processor time, loaded, with the sender's"),
            ("memory", "memory"),
        ):
            yield self._ratio(found, key, f"{AGENTS:,} agents: {words}; Q: the old design, which polls")
        for key, words in (("p50", "median"), ("p99", "99th percentile")):
            yield self._latency(found, key, f"{AGENTS:,} agents, loaded: from send to handler, {words}; Q: as above")

    def _ratio(self, found: list[tuple[dict[str, float], dict[str, float]]], key: str, what: str) -> Row:
        size, unit = (1e-6, "MB") if key == "memory" else (1e3, "ms")
        old, own = ([side[key] * size for side in sides] for sides in zip(*found, strict=True))
        return Row(
            workload=self.workload,
            label=key,
            what=what,
            value=Spread.of(ours / max(theirs, 1e-9) for theirs, ours in zip(old, own, strict=True)),
            unit="x",
            baseline=f"{sorted(old)[len(old) // 2]:.1f} {unit}",
            own=f"{sorted(own)[len(own) // 2]:.1f} {unit}",
            samples={"old": old, "understudy": own},
        )

    def _latency(self, found: list[tuple[dict[str, float], dict[str, float]]], key: str, what: str) -> Row:
        old, own = ([side[key] * 1e3 for side in sides] for sides in zip(*found, strict=True))
        return Row(
            workload=self.workload,
            label=key,
            what=what,
            value=Spread.of(own),
            unit="ms",
            baseline=f"{sorted(old)[len(old) // 2]:.0f} ms",
            own=f"{sorted(own)[len(own) // 2]:.3f} ms",
            samples={"old": old, "understudy": own},
        )
