"""How costs grow with numbers: actors, waiting messages, levels of a tree, siblings; and with it, memory.

Each curve is reduced to an exponent: the slope of the whole cost against the number, both logarithmic. 1 is linear;
what is more than that by a tenth falls short. Of a restart, which concerns one actor, 0 would be the best.
"""

from __future__ import annotations

import asyncio
import gc
import math
import statistics
import time
import tracemalloc
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.baselines.bare import TICK, Tick
from benchmarks.harness import Plan, Row, Spread, WrongResult, expect, say
from benchmarks.restarts import ANY_NUMBER, FAIL, WHICH, Player, unwritten
from understudy import Actor, ActorSystem, ChildSpec, child, handler, supervisor

__all__ = ["CURVES", "Curve", "exponent"]

MESSAGES = 100_000
"""Of a curve over messages, at each point, at least."""

Point = Callable[[int, int], Awaitable[dict[str, float]]]
"""Costs at that number, by name; with so many messages at least, where it takes many to tell."""


class Count:
    """Shared by all who count."""

    def __init__(self) -> None:
        self.handled = 0
        self.wanted = 0
        self.done: asyncio.Future[None] | None = None

    def expecting(self, wanted: int) -> asyncio.Future[None]:
        """Done when there have been so many."""
        self.handled, self.wanted = 0, wanted
        self.done = asyncio.get_running_loop().create_future()
        return self.done


class Counting(Actor[Tick]):
    def __init__(self, count: Count) -> None:
        self.count = count

    @handler
    def tick(self, message: Tick) -> None:
        count = self.count
        count.handled += 1
        if count.handled == count.wanted and count.done is not None:
            count.done.set_result(None)


async def over_actors(number: int, messages: int) -> dict[str, float]:
    """Microseconds for a message, of as many actors."""
    count, rounds = Count(), max(messages // number, 1)
    async with ActorSystem() as system:
        refs = [await system.spawn(Counting, count) for _ in range(number)]
        done = count.expecting(number)
        for ref in refs:
            ref.tell(TICK)  # makes the mailboxes
        await done
        gc.collect()
        done = count.expecting(number * rounds)
        began = time.perf_counter()
        for _ in range(rounds):
            for ref in refs:
                ref.tell(TICK)
            await asyncio.sleep(0)
        await done
        seconds = time.perf_counter() - began
        expect("dead letters", system.statistics().dead_letters, 0)
    return {"a message": seconds / (number * rounds) * 1e6}


async def over_depth(number: int, messages: int) -> dict[str, float]:
    """Microseconds for a message, when as many wait in one mailbox; and the bytes that one takes there."""
    count, rounds = Count(), max(messages // number, 1)
    async with ActorSystem() as system:
        ref = await system.spawn(child(Counting, count).options(mailbox=math.inf))
        began = time.perf_counter()
        for _ in range(rounds):
            done = count.expecting(number)
            for _ in range(number):
                ref.tell(TICK)
            await done
        seconds = time.perf_counter() - began
    return {"a message": seconds / (number * rounds) * 1e6}


async def over_siblings(number: int, messages: int) -> dict[str, float]:
    """Microseconds from a crash to the next answer, beside as many siblings."""
    specs = [child(Player).options(name=f"player-{each}") for each in range(number)]
    rounds = 200
    with unwritten():
        async with ActorSystem(supervisor("top", *specs, max_restarts=ANY_NUMBER)) as system:
            ref = system.lookup(f"top/player-{number // 2}", Player)
            gc.collect()
            began = time.perf_counter()
            for _ in range(rounds):
                ref.tell(FAIL)
                await ref.ask(WHICH)
            seconds = time.perf_counter() - began
            expect("restarted", system.statistics().restarted, rounds)
    return {"one_for_one": seconds / rounds * 1e6}


async def over_levels(number: int, messages: int) -> dict[str, float]:
    """Microseconds for each level to start and to stop, and for a restart of the leaf."""
    spec: ChildSpec[Any] = child(Player).options(name="leaf")
    for _ in range(number):
        spec = supervisor("s", spec, max_restarts=ANY_NUMBER)
    rounds = 50
    with unwritten():
        system = ActorSystem(spec)
        began = time.perf_counter()
        async with system:
            started = time.perf_counter() - began
            leaf = system.lookup("/".join(["s"] * number + ["leaf"]), Player)
            began = time.perf_counter()
            for _ in range(rounds):
                leaf.tell(FAIL)
                await leaf.ask(WHICH)
            restarted = time.perf_counter() - began
            expect("restarted", system.statistics().restarted, rounds)
            began = time.perf_counter()
        stopped = time.perf_counter() - began
    return {
        "start, a level": started / number * 1e6,
        "stop, a level": stopped / number * 1e6,
        "restart of the leaf": restarted / rounds * 1e6,
    }


async def over_memory(number: int, messages: int) -> dict[str, float]:
    """Bytes of an idle actor, and of a message in a mailbox beyond the message itself."""
    count = Count()
    async with ActorSystem() as system:
        gc.collect()
        tracemalloc.start()
        before, _ = tracemalloc.get_traced_memory()
        refs = [await system.spawn(Counting, count) for _ in range(number)]
        gc.collect()
        actor = (tracemalloc.get_traced_memory()[0] - before) / number
        del refs
        ref = await system.spawn(child(Counting, count).options(mailbox=math.inf))
        before, _ = tracemalloc.get_traced_memory()
        done = count.expecting(number)
        for _ in range(number):
            ref.tell(TICK)
        message = (tracemalloc.get_traced_memory()[0] - before) / number
        tracemalloc.stop()
        await done
    return {"an idle actor": actor, "a waiting message": message}


@dataclass(frozen=True)
class Curve:
    """Costs at some numbers."""

    group: str
    unit: str
    point: Point
    numbers: Sequence[int]
    more: Sequence[int] = ()
    """Only in a full run."""
    each: frozenset[str] = frozenset()
    """What is the cost for one, so that the whole is so many times that; the rest is the whole."""
    workload: str = "curve"

    def rows(self, plan: Plan) -> Iterator[Row]:
        numbers = [*self.numbers, *(self.more if plan.full else ())]
        if plan.quick:
            numbers = [numbers[0], 2 * numbers[0]]
        say(f"{self.workload}: {self.group}, {', '.join(f'{each:,}' for each in numbers)}")
        found: list[dict[str, float]] = []
        try:
            for number in numbers:
                repeats = 1 if number > 10_000 else min(plan.repeats, 3)
                found.append(_middle([asyncio.run(self._point(number, plan.count(MESSAGES))) for _ in range(repeats)]))
        except WrongResult as error:
            yield Row.without_value(self.workload, self.group, self.group, error)
            return
        for name in found[0]:
            costs = [each[name] for each in found]
            slope = exponent(numbers, costs) + (name in self.each)
            yield Row(
                workload=self.workload,
                label=f"{self.group}: {name}",
                what=f"{self.group}: {name}; exponent from {numbers[0]:,} to {numbers[-1]:,}",
                value=Spread.of([slope]),
                unit="",
                baseline=self.unit,
                own=f"{costs[0]:.3g} to {costs[-1]:.3g} {self.unit}",
                samples={"x": numbers, "y": costs},
            )

    async def _point(self, number: int, messages: int) -> dict[str, float]:
        gc.collect()
        return await self.point(number, messages)


def exponent(numbers: Sequence[float], costs: Sequence[float]) -> float:
    """The slope of the straight line that fits best, both logarithmic."""
    slope, _ = statistics.linear_regression([math.log(each) for each in numbers], [math.log(each) for each in costs])
    return slope


def _middle(points: Sequence[dict[str, float]]) -> dict[str, float]:
    return {name: statistics.median(point[name] for point in points) for name in points[0]}


CURVES = (
    Curve(
        "cost of a message by number of actors",
        "us",
        over_actors,
        (10, 100, 1_000, 10_000, 100_000),
        (1_000_000,),
        frozenset({"a message"}),
    ),
    Curve(
        "cost of a message by messages that wait",
        "us",
        over_depth,
        (1, 10, 100, 1_000, 10_000, 100_000),
        (),
        frozenset({"a message"}),
    ),
    Curve("a restart by number of siblings", "us", over_siblings, (10, 100, 1_000, 10_000), (100_000,)),
    Curve(
        "trees by levels",
        "us",
        over_levels,
        (1, 10, 100, 1_000),
        (),
        frozenset({"start, a level", "stop, a level"}),
    ),
    Curve(
        "memory by number",
        "B",
        over_memory,
        (1_000, 10_000, 100_000),
        (1_000_000,),
        frozenset({"an idle actor", "a waiting message"}),
    ),
)
