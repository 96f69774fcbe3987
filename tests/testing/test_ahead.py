"""What a simulated run does ahead of its turn: nothing in the undisturbed one, else what chance says, and recorded."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.testing.sim_stage import KINDS, once, strategy
from understudy import Actor, ActorRef, DynamicSupervisor, Message, handler, supervisor
from understudy.testing._schedule import Outcome
from understudy.testing._shrink import shrink
from understudy.testing._simulation import Simulation
from understudy.testing._strategies import Fifo, Replay, Strategy


class Ahead(Fifo):
    """All that can be done ahead is, and nothing else is unusual."""

    def draw(self, kind: str, number: int, n: int) -> int:
        return int("ahead" in kind)


class Ask(Message[tuple[int, Any]]):
    pass


class Fail(Message):
    pass


class Bare(Actor[Ask]):
    @handler
    def ask(self, message: Ask) -> tuple[int, Any]:
        return self.context.incarnation, asyncio.current_task()


class Waiting(Actor[Ask | Fail]):
    tasks: list[Any] = []

    @handler
    async def ask(self, message: Ask) -> tuple[int, Any]:
        self.tasks.append(asyncio.current_task())
        return self.context.incarnation, asyncio.current_task()

    @handler
    async def fail(self, message: Fail) -> None:
        self.tasks.append(asyncio.current_task())
        raise ValueError("fail")


class Pool(DynamicSupervisor):
    max_restarts = 10**6


def status_after(stop: ActorRef[Any]) -> str:
    stop.stop()
    return stop.status


@pytest.mark.parametrize(("chosen", "status"), [(Fifo(), "stopping"), (Ahead(), "stopped")])
def test_who_has_no_hooks_starts_and_ends_on_the_spot_by_chance_only(chosen: Strategy, status: str) -> None:
    steps: list[int] = []

    async def test(sim: Simulation) -> None:
        pool = sim.system.lookup("pool", Pool)
        before = sim.loop.steps
        ref = await pool.start_child(Bare)
        steps.append(sim.loop.steps - before)
        assert status_after(ref) == status
        await ref.wait_stopped()

    outcome = once(test, chosen, tree=Pool)
    assert outcome.error is None
    assert (steps[0] == 0) is isinstance(chosen, Ahead)


@pytest.mark.parametrize(("chosen", "at_once"), [(Fifo(), False), (Ahead(), True)])
def test_a_caller_gets_his_answer_without_a_step_by_chance_only(chosen: Strategy, at_once: bool) -> None:
    async def test(sim: Simulation) -> None:
        ref = await sim.system.spawn(Bare)
        before = sim.loop.steps
        assert await ref.ask(Ask()) == (1, None)
        assert (sim.loop.steps == before) is at_once

    assert once(test, chosen).error is None


@pytest.mark.parametrize(("chosen", "one"), [(Fifo(), False), (Ahead(), True)])
def test_a_pump_goes_on_for_the_next_incarnation_by_chance_only(chosen: Strategy, one: bool) -> None:
    async def test(sim: Simulation) -> None:
        Waiting.tasks.clear()
        ref: ActorRef[Any] = await sim.system.spawn(Waiting)
        ref.tell(Fail())
        assert (await ref.ask(Ask()))[0] == 2
        failed, asked = Waiting.tasks
        assert (failed is asked) is one
        Waiting.tasks.clear()

    assert once(test, chosen, tree=supervisor("empty")).error is None


def test_what_was_done_ahead_is_told_in_the_story_as_unusual() -> None:
    async def test(sim: Simulation) -> None:
        ref = await sim.system.spawn(Bare)
        await ref.ask(Ask())
        raise ValueError("that it is told")

    def told(chosen: Strategy) -> str:
        return next(line for line in once(test, chosen, story=True).story if "handles" in line)

    assert told(Fifo()).startswith("  /user/bare handles")
    assert told(Ahead()).startswith("* /user/bare handles")


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "fifo"])
def test_a_failure_is_shrunk_to_the_one_choice_that_it_needs_and_repeated(kind: str) -> None:
    async def test(sim: Simulation) -> None:
        pool = sim.system.lookup("pool", Pool)
        refs = [await pool.start_child(Bare) for _ in range(3)]
        assert status_after(refs[1]) != "stopped"
        await refs[0].ask(Ask())

    def again(made: Any) -> Outcome:
        return once(test, Replay(made), tree=Pool)

    outcomes = (once(test, strategy(kind, seed), tree=Pool) for seed in range(100))
    failed = next(outcome for outcome in outcomes if outcome.error is not None)
    plain = shrink(failed, again, attempts=500)
    assert plain.made == (("draw", "end ahead/0", "1"),)
    assert isinstance(plain.error, AssertionError)
    repeated = again(plain.made)
    assert (repeated.digest, repeated.steps) == (plain.digest, plain.steps)
    assert once(test, tree=Pool).error is None


def test_nothing_is_done_ahead_once_a_run_is_to_settle() -> None:
    async def test(sim: Simulation) -> None:
        ref = await sim.system.spawn(Bare)
        await sim.quiesce()
        before = sim.loop.steps
        await ref.ask(Ask())
        assert sim.loop.steps > before

    assert once(test, Ahead()).error is None
