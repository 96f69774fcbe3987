"""Faults: what they hit, how often, and whom they spare."""

from __future__ import annotations

import asyncio
import copy
import math
import pickle
from typing import Any

import pytest

from tests.testing.sim_stage import KINDS, Add, Last, Slow, Sum, once, strategy
from understudy import Actor, ActorFailed, child, handler, supervisor
from understudy.reasons import Crashed
from understudy.testing import Faults, InjectedCrash
from understudy.testing._simulation import Simulation
from understudy.testing._strategies import Fifo, Pos, RandomWalk

# What can be said


@pytest.mark.parametrize("name", ["crash", "cancel", "reset"])
@pytest.mark.parametrize("value", [-0.1, 1.1, math.nan, math.inf, True, "0.5", None])
def test_a_probability_is_from_0_to_1(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"{name} must be a probability from 0 to 1, got"):
        Faults(**{name: value})


@pytest.mark.parametrize("value", [-1, math.nan, True, "1", None])
def test_a_stall_is_from_0_on(value: Any) -> None:
    with pytest.raises(ValueError, match="stall must be"):
        Faults(stall=value)


@pytest.mark.parametrize("value", [1, 0, "yes", None])
def test_a_partition_is_or_is_not(value: Any) -> None:
    with pytest.raises((ValueError, TypeError), match="partition"):
        Faults(partition=value)


def test_what_is_allowed_is_kept_and_compared() -> None:
    made = Faults(crash=1, cancel=0.5, reset=0, partition=True, stall=math.inf)
    assert (made.crash, made.cancel, made.reset, made.partition, made.stall) == (1, 0.5, 0, True, math.inf)
    assert made == copy.copy(made) == pickle.loads(pickle.dumps(made))
    assert hash(made) == hash(copy.deepcopy(made))
    with pytest.raises(AttributeError):
        made.crash = 0.5  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
    assert "crash=1" in str(made)


# Crashes


def crashes(probability: float, kind: str, messages: list[Add | Slow], runs: int = 20) -> tuple[int, int]:
    """How many of the messages crashed, and how many were handled."""
    crashed, handled = 0, 0

    async def test(sim: Simulation) -> None:
        nonlocal crashed, handled
        tree = supervisor("tree", child(Sum).options(name="sum"), max_restarts=10**6)
        await sim.system.spawn(tree)
        ref = sim.system.lookup("/user/tree/sum", Sum)
        for message in messages:
            (result,) = await asyncio.gather(ref.ask(message), return_exceptions=True)
            if isinstance(result, ActorFailed):
                assert isinstance(result.__cause__, InjectedCrash)
                assert "/user/tree/sum" in str(result.__cause__)
                crashed += 1
            else:
                assert isinstance(result, int)
                handled += 1

    for seed in range(runs):
        outcome = once(test, strategy(kind, seed), seed=seed, faults=Faults(crash=probability))
        assert outcome.error is None, outcome.error
    return crashed, handled


MESSAGES: list[Add | Slow] = [Add(amount=1), Slow(amount=1)] * 10


@pytest.mark.parametrize("kind", ["pos", "walk", "pct", "delay"])
def test_a_crash_of_probability_1_hits_every_message_and_of_0_none(kind: str) -> None:
    assert crashes(1.0, kind, MESSAGES, 3) == (60, 0)
    assert crashes(0.0, kind, MESSAGES, 3) == (0, 60)


def test_the_undisturbed_run_has_no_crash() -> None:
    assert crashes(1.0, "fifo", MESSAGES, 1) == (0, 20)


def test_a_crash_hits_as_often_as_its_probability_says() -> None:
    crashed, handled = crashes(0.3, "pos", MESSAGES, 30)
    assert crashed + handled == 600
    assert 130 < crashed < 230


def test_a_crash_comes_before_the_handler_or_after_it() -> None:
    ran: list[bool] = []

    class Seen(Actor[Add]):
        @handler
        def add(self, message: Add) -> int:
            ran[-1] = True
            return 1

    async def test(sim: Simulation) -> None:
        ref = await sim.system.spawn(child(Seen).options(name="seen"))
        ran.append(False)
        with pytest.raises(ActorFailed):
            await ref.ask(Add(amount=1))

    for seed in range(30):
        assert once(test, Pos(seed), seed=seed, faults=Faults(crash=1.0)).error is None
    assert set(ran) == {True, False}


def test_the_runtimes_own_actors_are_spared() -> None:
    async def test(sim: Simulation) -> None:
        ref = await sim.system.spawn(child(Sum).options(name="sum"))
        for _ in range(3):
            ref.tell(Add(amount=1))
            await asyncio.sleep(0.1)
        ref.stop()
        ref.tell(Add(amount=1))
        await sim.clock.advance(1)

    for seed in range(10):
        outcome = once(test, RandomWalk(seed), seed=seed, faults=Faults(crash=1.0, cancel=1.0), story=True)
        assert outcome.error is None
        assert any("/user/sum crashes" in line for line in outcome.story)
        assert not any("/system/" in line and "crash" in line for line in outcome.story)


# Cancels


class Patient(Actor[Slow]):
    """Writes down how its handling ended."""

    def __init__(self, ends: list[str]) -> None:
        self.ends = ends

    @handler
    async def slow(self, message: Slow) -> int:
        try:
            await asyncio.sleep(1)
        except asyncio.CancelledError:
            self.ends.append("cancelled")
            raise
        self.ends.append("done")
        return message.amount


def test_a_stray_cancel_is_a_crash_of_the_actor_and_hits_nobody_else() -> None:
    ends: list[str] = []
    others: list[str] = []

    async def test(sim: Simulation) -> None:
        ref = await sim.system.spawn(child(Patient, ends).options(name="patient"))

        async def outside() -> None:
            try:
                await asyncio.sleep(0.5)
            except asyncio.CancelledError:
                others.append("cancelled")
                raise

        task = asyncio.create_task(outside(), name="outside")
        (result,) = await asyncio.gather(ref.ask(Slow(amount=1)), return_exceptions=True)
        if isinstance(result, ActorFailed):
            assert isinstance(result.reason, Crashed)
            assert "CancelledError" in str(result.reason)
        await task

    for seed in range(20):
        outcome = once(test, Pos(seed), seed=seed, faults=Faults(cancel=1.0))
        assert outcome.error is None, outcome.error
    assert "cancelled" in ends
    assert others == []


def test_a_cancel_does_not_hit_plain_handlers() -> None:
    async def test(sim: Simulation) -> None:
        ref = await sim.system.spawn(child(Sum).options(name="sum"))
        for number in range(10):
            assert await ref.ask(Add(amount=1)) == number + 1

    for kind in KINDS:
        for seed in range(3):
            assert once(test, strategy(kind, seed), seed=seed, faults=Faults(cancel=1.0)).error is None


def test_a_cancel_hits_the_message_it_was_meant_for_or_none() -> None:
    # The first is over soon; what was meant for it must not hit the second.
    ends: list[str] = []

    class Two(Actor[Add | Slow]):
        @handler
        async def add(self, message: Add) -> int:
            return 1

        @handler
        async def slow(self, message: Slow) -> int:
            await asyncio.sleep(1)
            ends.append("done")
            return 2

    async def test(sim: Simulation) -> None:
        ref = await sim.system.spawn(child(Two).options(name="two"))
        ref.tell(Add(amount=1))
        sim.choices.calm = False
        await asyncio.sleep(0)
        ref.tell(Slow(amount=1))
        await sim.clock.advance(3)

    class First(RandomWalk):
        """Says yes to the first question only."""

        def flip(self, kind: str, number: int, probability: float) -> bool:
            return kind == "cancel" and number == 0

    for seed in range(30):
        assert once(test, First(seed), seed=seed, faults=Faults(cancel=1.0)).error is None
    assert len(ends) == 30


# Stalls


def race(stall: float, seeds: int = 60) -> set[str]:
    ends: set[str] = set()

    async def test(sim: Simulation) -> None:
        ref = await sim.system.spawn(child(Sum).options(name="sum"))
        try:
            await ref.ask(Add(amount=1), timeout=2.0)
            ends.add("answer")
        except TimeoutError:
            ends.add("timeout")

    for seed in range(seeds):
        outcome = once(test, Pos(seed), seed=seed, faults=Faults(stall=stall))
        assert outcome.error is None
    return ends


@pytest.mark.parametrize(
    ("stall", "ends"),
    [(0.0, {"answer"}), (1.9, {"answer"}), (2.1, {"answer", "timeout"}), (math.inf, {"answer", "timeout"})],
)
def test_a_timeout_strikes_only_as_far_as_the_clock_may_run_ahead(stall: float, ends: set[str]) -> None:
    assert race(stall) == ends


def test_the_undisturbed_run_knows_no_stall() -> None:
    async def test(sim: Simulation) -> None:
        async def late() -> None:
            async with asyncio.timeout(0.5):
                for _ in range(50):
                    await asyncio.sleep(0)
                await asyncio.sleep(1)

        with pytest.raises(TimeoutError):
            await late()
        assert sim.now == 0.5

    assert once(test, Fifo(), faults=Faults(stall=math.inf), system=False).error is None


def test_after_quiesce_the_clock_does_not_run_ahead_any_more() -> None:
    async def test(sim: Simulation) -> None:
        await sim.quiesce()
        async with asyncio.timeout(0.5):
            for _ in range(20):
                await asyncio.sleep(0)
                asyncio.get_running_loop().call_soon(lambda: None)

    assert once(test, Last(), faults=Faults(stall=math.inf), system=False).error is None
