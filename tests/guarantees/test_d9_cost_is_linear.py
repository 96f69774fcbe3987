"""D9: what is done to many costs as much for each as what is done to few; counted in lines that are run.

Seconds would say more about the machine. A quadratic cost would make ten times as many a hundred times as dear; the
limits lie between that and ten, near to ten.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.guarantees.cast_of_supervision import Flat, Note, boom, settle
from tests.guarantees.cast_of_trees import Work
from understudy import Actor, ActorSystem, ChildSpec, DynamicSupervisor, Supervisor, child, handler

FEW, MANY = 50, 500

Measure = Callable[[int], Awaitable[int]]


class Small(Actor[Flat | Note]):
    """Does as it is told and writes nothing down."""

    @handler
    def flat(self, message: Flat) -> object:
        return message.what(self)

    @handler
    def note(self, message: Note) -> None: ...


class Pool(DynamicSupervisor):
    max_restarts = 1_000_000


class Row(Supervisor):
    """*count* children, declared."""

    max_restarts = 1_000_000

    def __init__(self, count: int) -> None:
        self.count = count

    def children(self) -> list[ChildSpec[Any]]:
        return [child(Small).options(name=f"c{number}") for number in range(self.count)]


class OneForAll(Row):
    strategy = "one_for_all"


class RestForOne(Row):
    strategy = "rest_for_one"


class AtOnce(Row):
    parallel_start = True


class Chain(Row):
    """Each depends on the one before it."""

    parallel_start = True
    strategy = "rest_for_one"

    def children(self) -> list[ChildSpec[Any]]:
        first, *others = super().children()
        return [first, *(spec.options(depends_on=[f"c{number}"]) for number, spec in enumerate(others))]


async def stop_of_a_pool(count: int) -> int:
    async with ActorSystem() as system:
        pool: Any = await system.spawn(Pool)
        for number in range(count):
            await pool.start_child(child(Small).options(name=f"c{number}"))
        with Work() as work:
            pool.stop()
            await pool.wait_stopped()
        return work.steps


async def kill_of_a_pool(count: int) -> int:
    async with ActorSystem() as system:
        pool: Any = await system.spawn(child(Pool).options(restart="temporary"))
        for number in range(count):
            await pool.start_child(child(Small).options(name=f"c{number}"))
        with Work() as work:
            pool.kill()
            await pool.wait_stopped()
        return work.steps


async def start_of_a_pool(count: int) -> int:
    async with ActorSystem() as system:
        pool: Any = await system.spawn(Pool)
        with Work() as work:
            for _ in range(count):
                await pool.start_child(Small)
        return work.steps


async def termination_of_each(count: int) -> int:
    async with ActorSystem() as system:
        pool: Any = await system.spawn(Pool)
        refs = [await pool.start_child(Small) for _ in range(count)]
        with Work() as work:
            for ref in reversed(refs):
                await pool.terminate_child(ref)
        return work.steps


async def crash_of_each(count: int) -> int:
    async with ActorSystem() as system:
        pool: Any = await system.spawn(Pool)
        refs = [await pool.start_child(Small) for _ in range(count)]
        with Work() as work:
            for ref in refs:
                ref.tell(Flat(what=boom))
            await settle()
        assert {ref.status for ref in refs} == {"running"}
        assert system.statistics().restarted == count
        return work.steps


def start_of(kind: type[Row]) -> Measure:
    async def start(count: int) -> int:
        async with ActorSystem() as system:
            with Work() as work:
                await system.spawn(kind, count)
            return work.steps

    return start


def stop_of(kind: type[Row]) -> Measure:
    async def stop(count: int) -> int:
        async with ActorSystem() as system:
            ref = await system.spawn(kind, count)
            with Work() as work:
                ref.stop()
                await ref.wait_stopped()
            return work.steps

    return stop


def group_restart_of(kind: type[Row]) -> Measure:
    async def restart(count: int) -> int:
        async with ActorSystem() as system:
            await system.spawn(child(kind, count).options(name="row"))
            first = system.lookup("row/c0", Small)
            with Work() as work:
                first.tell(Flat(what=boom))
                await settle()
            last = system.lookup(f"row/c{count - 1}", Small)
            assert await last.ask(Flat(what=lambda actor: actor.context.incarnation)) == 2
            return work.steps

    return restart


LINEAR: dict[str, Measure] = {
    "stop of a dynamic supervisor": stop_of_a_pool,
    "kill of a dynamic supervisor": kill_of_a_pool,
    "starts under a dynamic supervisor": start_of_a_pool,
    "termination of each child": termination_of_each,
    "crash of each child in a burst": crash_of_each,
    "start of a static supervisor": start_of(Row),
    "stop of a static supervisor": stop_of(Row),
    "parallel start": start_of(AtOnce),
    "parallel stop": stop_of(AtOnce),
    "start of a chain": start_of(Chain),
    "stop of a chain": stop_of(Chain),
    "restart of a whole group": group_restart_of(OneForAll),
    "restart of the rest": group_restart_of(RestForOne),
    "restart along a chain": group_restart_of(Chain),
}


def test_what_is_quadratic_would_be_noticed() -> None:
    def look_at_all(count: int) -> None:
        for number in range(count):
            assert len([each for each in range(count) if each <= number]) == number + 1

    def cost(count: int) -> int:
        with Work() as work:
            look_at_all(count)
        return work.steps

    assert cost(MANY) / cost(FEW) > 50


@pytest.mark.parametrize("what", LINEAR)
@pytest.mark.asyncio
async def test_ten_times_as_many_cost_about_ten_times_as_much(what: str) -> None:
    few, many = await LINEAR[what](FEW), await LINEAR[what](MANY)
    assert many / few < 20, f"{what}: {few:,} lines for {FEW}, {many:,} for {MANY}"


@pytest.mark.asyncio
async def test_stopping_ten_thousand_dynamic_children_costs_at_most_fifty_times_what_a_thousand_cost() -> None:
    """Counted in activations, of which each child needs the same few."""

    async def activations(count: int) -> int:
        async with ActorSystem() as system:
            pool: Any = await system.spawn(Pool)
            for _ in range(count):
                await pool.start_child(Small)
            loop: Any = asyncio.get_running_loop()
            calls = 0
            call_soon = loop.call_soon

            def counting(*args: Any, **kwargs: Any) -> Any:
                nonlocal calls
                calls += 1
                return call_soon(*args, **kwargs)

            loop.call_soon = counting
            try:
                before = system.statistics().stopped
                pool.stop()
                await pool.wait_stopped()
            finally:
                loop.call_soon = call_soon
            assert system.statistics().stopped - before == count + 1
            return calls

    few, many = await activations(1_000), await activations(10_000)
    assert many <= 50 * max(few, 1)


ONE: dict[str, type[Supervisor]] = {"dynamic": Pool, "static": Row, "parallel": AtOnce}


@pytest.mark.parametrize("kind", ONE)
@pytest.mark.asyncio
async def test_the_restart_of_one_child_costs_the_same_among_few_and_many(kind: str) -> None:
    async def cost(count: int) -> int:
        async with ActorSystem() as system:
            if kind == "dynamic":
                top: Any = await system.spawn(child(Pool).options(name="row"))
                for number in range(count):
                    await top.start_child(child(Small).options(name=f"c{number}"))
            else:
                await system.spawn(child(ONE[kind], count).options(name="row"))
            ref = system.lookup(f"row/c{count // 2}", Small)
            with Work() as work:
                ref.tell(Flat(what=boom))
                await settle()
            assert await ref.ask(Flat(what=lambda actor: actor.context.incarnation)) == 2
            return work.steps

    few, many = await cost(FEW), await cost(MANY)
    assert many < 1.5 * few


@pytest.mark.parametrize("call", ["terminate_child", "restart_child", "delete_child", "start_child"])
@pytest.mark.asyncio
async def test_an_administrative_call_about_one_child_costs_the_same_among_few_and_many(call: str) -> None:
    async def cost(count: int) -> int:
        async with ActorSystem() as system:
            top: Any = await system.spawn(child(Row, count).options(name="row"))
            if call in ("restart_child", "delete_child"):
                await top.terminate_child("c7")
            argument: Any = child(Small).options(name="new") if call == "start_child" else "c7"
            with Work() as work:
                await getattr(top, call)(argument)
            return work.steps

    few, many = await cost(FEW), await cost(MANY)
    assert many < 1.5 * few


@pytest.mark.asyncio
async def test_a_restart_costs_the_same_however_many_there_have_been_in_the_window() -> None:
    async def cost(before: int) -> int:
        async with ActorSystem() as system:
            pool: Any = await system.spawn(Pool)
            ref = await pool.start_child(Small)
            for _ in range(before):
                ref.tell(Flat(what=boom))
            await settle()
            with Work() as work:
                ref.tell(Flat(what=boom))
                await settle()
            return work.steps

    few, many = await cost(10), await cost(1_000)
    assert many < 1.5 * few


@pytest.mark.asyncio
async def test_every_child_of_a_crowd_is_told_before_any_of_them_has_to_end() -> None:
    """The stop of a dynamic supervisor is not one stop after another."""
    async with ActorSystem() as system:
        pool: Any = await system.spawn(Pool)
        refs = [await pool.start_child(Small) for _ in range(100)]
        pool.stop()
        await pool.wait_stopped()
        assert {ref.status for ref in refs} == {"stopped"}
        assert asyncio.get_running_loop().time() < 0.1
