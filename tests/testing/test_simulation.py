"""What a simulated test holds in its hand: quiesce, always, note, clock, system."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import pytest

from tests.testing.sim_stage import KINDS, Add, Slow, Sum, Test, error_of, once, strategy, systems_in
from understudy import Actor, ActorRef, Mailbox, Message, child, handler, supervisor
from understudy.testing import Faults, NotQuiescent, Violation
from understudy.testing._simulation import Simulation
from understudy.testing._strategies import Pos


async def spawn(sim: Simulation, name: str = "sum", **options: Any) -> ActorRef[Add | Slow]:
    return await sim.system.spawn(child(Sum).options(name=name, **options))


def passes(test: Test, seeds: int = 5, **options: Any) -> None:
    for kind in KINDS:
        for seed in range(1 if kind == "fifo" else seeds):
            outcome = once(test, strategy(kind, seed), seed=seed, **options)
            assert outcome.error is None, (kind, seed, outcome.error)


# Quiesce


def test_after_quiesce_everything_that_was_told_has_been_handled() -> None:
    async def test(sim: Simulation) -> None:
        ref = await spawn(sim)
        for number in (1, 2, 4):
            ref.tell(Add(amount=number))
            ref.tell(Slow(amount=number))
        await sim.quiesce()
        before = sim.now
        assert await ref.ask(Add(amount=0)) == 14
        await sim.quiesce()
        assert sim.now == before  # there was nothing to wait for

    passes(test)


def test_quiesce_of_an_idle_system_returns_at_once_and_again() -> None:
    async def test(sim: Simulation) -> None:
        await sim.quiesce()
        await spawn(sim)
        await sim.quiesce()
        await sim.quiesce(within=0.001)
        assert sim.now == 0.0

    passes(test)


def test_quiesce_waits_for_a_start_a_restart_with_backoff_and_a_stop() -> None:
    from tenacity import wait_fixed

    class Slowly(Actor[Add]):
        async def initialize(self) -> None:
            await asyncio.sleep(2)

        @handler
        def add(self, message: Add) -> int:
            raise ValueError

        async def shutdown(self, reason: object) -> None:
            await asyncio.sleep(3)

    async def test(sim: Simulation) -> None:
        ref = await sim.system.spawn(child(Slowly).options(name="slowly", shutdown=10.0))
        assert sim.now >= 2
        ref.tell(Add(amount=1))
        await sim.quiesce()
        assert ref.status == "running"
        ref.stop()
        await sim.quiesce()
        assert ref.status == "stopped"

    assert wait_fixed is not None
    passes(test)


def test_quiesce_lets_timers_be_pending() -> None:
    async def test(sim: Simulation) -> None:
        handle = asyncio.get_running_loop().call_later(1000, print)
        await spawn(sim)
        await sim.quiesce()
        assert sim.now < 1000
        assert not handle.cancelled()
        handle.cancel()

    passes(test)


class Hang(Message): ...


class Hanging(Actor[Hang]):
    @handler
    async def hang(self, message: Hang) -> None:
        await asyncio.Event().wait()


def test_what_does_not_settle_is_named() -> None:
    async def test(sim: Simulation) -> None:
        ref = await sim.system.spawn(child(Hanging).options(name="hanging"))
        await spawn(sim, "idle")
        ref.tell(Hang())
        ref.tell(Hang())
        try:
            await sim.quiesce(within=5)
        finally:
            ref.kill()

    error = error_of(test)
    assert isinstance(error, NotQuiescent)
    assert "/user/hanging is handling Hang()" in str(error)
    assert "/user/idle" not in str(error)
    assert "5 virtual seconds" in str(error)


def test_what_settles_too_late_is_not_quiescent() -> None:
    class Late(Actor[Hang]):
        @handler
        async def hang(self, message: Hang) -> None:
            await asyncio.sleep(7)

    async def test(sim: Simulation, within: float) -> None:
        ref = await sim.system.spawn(child(Late).options(name="late"))
        ref.tell(Hang())
        await sim.quiesce(within)

    async def in_time(sim: Simulation) -> None:
        await test(sim, 8)

    async def too_late(sim: Simulation) -> None:
        await test(sim, 6)

    passes(in_time)
    assert isinstance(error_of(too_late), NotQuiescent)


def test_what_never_stops_to_work_is_not_quiescent() -> None:
    class Busy(Actor[Hang]):
        @handler
        async def hang(self, message: Hang) -> None:
            await asyncio.sleep(0.5)
            self.context.tell_self(message)

        @handler
        async def _again(self, message: Hang) -> None:
            await asyncio.sleep(0.5)
            self.context.tell_self(message)

    async def test(sim: Simulation) -> None:
        ref = await sim.system.spawn(child(Busy).options(name="busy"))
        ref.tell(Hang())
        await sim.quiesce(within=20)

    error = error_of(test)
    assert isinstance(error, NotQuiescent)
    assert "/user/busy" in str(error)


def test_quiesce_ends_the_faults_for_the_rest_of_the_run() -> None:
    async def test(sim: Simulation) -> None:
        ref = await spawn(sim)
        await sim.quiesce()
        for number in range(20):
            assert await ref.ask(Add(amount=1)) == number + 1

    passes(test, faults=Faults(crash=1.0, cancel=1.0, reset=1.0, partition=True))


def test_quiesce_waits_for_an_actor_whose_mailbox_is_full_and_for_those_who_wait_for_room() -> None:
    async def test(sim: Simulation) -> None:
        ref = await spawn(sim, mailbox=Mailbox(capacity=1))

        async def produce() -> None:
            for _ in range(4):
                await ref.send(Slow(amount=1))

        async with asyncio.TaskGroup() as group:
            for _ in range(2):
                group.create_task(produce())
        await sim.quiesce()
        assert await ref.ask(Add(amount=0)) == 8

    passes(test)


# Always


def test_a_promise_that_always_holds_is_looked_at_after_each_step() -> None:
    looked: list[float] = []

    async def test(sim: Simulation) -> None:
        def look() -> bool:
            looked.append(sim.now)
            return True

        sim.always("time is no lower than before", look)
        await asyncio.sleep(0)
        await asyncio.sleep(1)
        await asyncio.sleep(0)

    assert once(test, system=False).error is None
    assert len(looked) >= 3
    assert looked == sorted(looked)


def test_a_promise_that_does_not_hold_ends_the_run_in_the_step_that_broke_it() -> None:
    reached: list[str] = []

    async def test(sim: Simulation) -> None:
        total = 0
        sim.always("the total is below 2", lambda: total < 2)
        total = 1
        await asyncio.sleep(0)
        reached.append("one")
        total = 2
        await asyncio.sleep(0)
        reached.append("two")

    error = error_of(test, system=False)
    assert isinstance(error, Violation)
    assert "the total is below 2" in str(error)
    assert reached == ["one"]


def test_of_several_promises_the_broken_one_is_named() -> None:
    async def test(sim: Simulation) -> None:
        sim.always("good", lambda: True)
        sim.always("bad", lambda: "")
        sim.always("also good", lambda: [1])
        await asyncio.sleep(0)

    assert str(error_of(test, system=False)) == "bad"


def test_a_promise_that_cannot_be_looked_at_fails_the_run_with_its_error() -> None:
    async def test(sim: Simulation) -> None:
        sim.always("broken", lambda: 1 / 0)
        await asyncio.sleep(0)

    assert isinstance(error_of(test, system=False), ZeroDivisionError)


def test_a_promise_that_a_short_moment_breaks_is_found_only_in_some_orders() -> None:
    async def test(sim: Simulation) -> None:
        inside: list[int] = []
        sim.always("one at a time", lambda: len(inside) < 2)

        async def enter(number: int) -> None:
            await asyncio.sleep(0.001 * number)
            inside.append(number)
            await asyncio.sleep(0)
            inside.remove(number)

        async with asyncio.TaskGroup() as group:
            for number in range(3):
                group.create_task(enter(number))

    assert once(test, system=False).error is None
    assert any(once(test, Pos(seed), seed=seed, system=False).error for seed in range(40))


# Note, clock, random


def test_a_note_is_in_the_story_at_its_place_and_without_a_story_it_is_nothing() -> None:
    async def test(sim: Simulation) -> None:
        ref = await spawn(sim)
        sim.note("before")
        ref.tell(Add(amount=5))
        sim.note("after,\nin two lines")
        await sim.quiesce()

    told = once(test, story=True).story
    lines = [line.strip(" *") for line in told]
    assert (
        lines.index("before") < lines.index("test sends /user/sum Add(amount=5)") < lines.index("after, in two lines")
    )
    assert once(test).story == ()


def test_the_clock_advances_through_all_that_is_due() -> None:
    async def test(sim: Simulation) -> None:
        out: list[float] = []
        for when in (1, 2, 3):
            asyncio.get_running_loop().call_at(when, lambda: out.append(sim.clock.now))
        await sim.clock.advance(2.5)
        assert out == [1, 2]
        assert sim.clock.now == sim.now == 2.5
        await sim.clock.advance(0.5)
        await asyncio.sleep(0.1)
        assert out == [1, 2, 3]

    assert once(test, system=False).error is None


def test_chance_for_the_test_is_the_same_each_time() -> None:
    def values(seed: int) -> list[float]:
        found: list[float] = []

        async def test(sim: Simulation) -> None:
            assert sim.seed == seed
            found.extend(sim.random.random() for _ in range(3))

        assert once(test, Pos(seed), seed=seed).error is None
        return found

    assert values(1) == values(1) != values(2)


# Systems


def test_without_a_system_it_says_how_to_make_one() -> None:
    async def test(sim: Simulation) -> None:
        _ = sim.system

    error = error_of(test, system=False)
    assert isinstance(error, RuntimeError)
    assert "ActorSystem()" in str(error)


def test_two_systems_in_one_run_are_both_simulated_and_watched() -> None:
    async def test(sim: Simulation) -> None:
        async with systems_in(sim) as second:
            one = await spawn(sim)
            two = await second.spawn(child(Sum).options(name="sum"))  # the same path, in another system
            one.tell(Add(amount=1))
            two.tell(Add(amount=2))
            two.tell(Slow(amount=5))
            await sim.quiesce()
            assert await one.ask(Add(amount=0)) == 1
            assert await two.ask(Add(amount=0)) == 7

    passes(test)
    passes(test, faults=Faults(stall=math.inf))


def test_a_second_system_that_is_busy_is_not_quiescent() -> None:
    async def test(sim: Simulation) -> None:
        async with systems_in(sim) as second:
            ref = await second.spawn(child(Hanging).options(name="hanging"))
            ref.tell(Hang())
            try:
                await sim.quiesce(within=1)
            finally:
                ref.kill()

    error = error_of(test)
    assert isinstance(error, NotQuiescent)
    assert "/user/hanging" in str(error)


def test_the_tree_is_that_of_the_system_and_new_in_each_run() -> None:
    incarnations: list[Sum] = []

    class Known(Sum):
        async def initialize(self) -> None:
            incarnations.append(self)

    async def test(sim: Simulation) -> None:
        ref = sim.system.lookup("/user/tree/leaf", Known)
        assert await ref.ask(Add(amount=3)) == 3

    tree = supervisor("tree", child(Known).options(name="leaf"))
    passes(test, 2, tree=tree)
    assert len(incarnations) == len(set(map(id, incarnations))) == 9


def test_the_system_is_closed_at_the_end_of_the_test() -> None:
    systems: list[Any] = []

    async def test(sim: Simulation) -> None:
        systems.append(sim.system)
        systems.append(await spawn(sim))

    assert once(test).error is None
    assert systems[1].status == "stopped"


def test_a_tree_that_does_not_start_is_the_error_of_the_run() -> None:
    class Broken(Actor[Hang]):
        async def initialize(self) -> None:
            raise ValueError("no start")

        @handler
        def hang(self, message: Hang) -> None: ...

    async def test(sim: Simulation) -> None:
        pytest.fail("it has not started")

    error = error_of(test, tree=supervisor("tree", child(Broken).options(name="leaf")))
    assert "leaf" in str(error)
