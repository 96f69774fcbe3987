"""Shrinking: the run fails in the same way, with as few choices as can be."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.testing.sim_stage import KINDS, once, strategy
from understudy.testing import Faults, Violation
from understudy.testing._choices import Departure
from understudy.testing._schedule import Outcome
from understudy.testing._shrink import shrink
from understudy.testing._simulation import Simulation
from understudy.testing._strategies import Fifo, Replay, Strategy

Made = tuple[Departure, ...]


def outcome_of(made: Made, error: BaseException | None) -> Outcome:
    return Outcome(error, made, "digest", 1, 1, ())


@dataclass
class World:
    """Stands for a program: fails when the choices are such, and counts how often it is run."""

    fails: Callable[[Made], BaseException | None]
    runs: list[Made] = field(default_factory=list[Made])

    def again(self, made: Made) -> Outcome:
        self.runs.append(made)
        return outcome_of(made, self.fails(made))

    def shrink(self, made: Made, attempts: int = 3000) -> Outcome:
        return shrink(outcome_of(made, self.fails(made)), self.again, attempts=attempts)


def holds(count: int) -> Made:
    return tuple(("hold", f"a/{number}", f"b/{number}") for number in range(count))


def needs(*numbers: int) -> Callable[[Made], BaseException | None]:
    wanted = {holds(1000)[number] for number in numbers}
    return lambda made: ValueError() if wanted <= set(made) else None


@pytest.mark.parametrize("wanted", [(), (0,), (31,), (3, 17), (0, 1, 30, 31), tuple(range(0, 32, 3))])
def test_only_the_choices_that_are_needed_are_left(wanted: tuple[int, ...]) -> None:
    world = World(needs(*wanted))
    assert set(world.shrink(holds(32)).made) == {holds(32)[number] for number in wanted}


def test_a_run_that_fails_undisturbed_is_told_so_after_one_attempt() -> None:
    world = World(needs())
    assert world.shrink(holds(100)).made == ()
    assert world.runs == [()]


@settings(max_examples=60)
@given(st.lists(st.sets(st.integers(0, 19), min_size=1, max_size=5), min_size=1, max_size=4), st.integers(0, 400))
def test_the_result_fails_has_no_more_choices_and_keeps_the_budget(causes: list[set[int]], attempts: int) -> None:
    every = holds(20)

    def fails(made: Made) -> BaseException | None:
        have = {every.index(each) for each in made}
        return ValueError() if any(cause <= have for cause in causes) else None

    world = World(fails)
    plain = world.shrink(every, attempts)
    assert fails(plain.made) is not None
    assert len(plain.made) <= len(every)
    assert len(world.runs) <= attempts
    if attempts == 400:
        assert_minimal(plain.made, fails)


def assert_minimal(made: Made, fails: Callable[[Made], object]) -> None:
    for at in range(len(made)):
        assert not fails(made[:at] + made[at + 1 :]), made[at]


@settings(max_examples=60)
@given(st.lists(st.sets(st.integers(0, 19), min_size=1, max_size=5), min_size=1, max_size=4))
def test_no_choice_of_the_result_can_be_left_out_when_the_budget_allows(causes: list[set[int]]) -> None:
    every = holds(20)

    def fails(made: Made) -> BaseException | None:
        have = {every.index(each) for each in made}
        return ValueError() if any(cause <= have for cause in causes) else None

    assert_minimal(World(fails).shrink(every).made, fails)


def test_answers_are_brought_as_close_to_the_undisturbed_one_as_can_be() -> None:
    def fails(made: Made) -> BaseException | None:
        drawn = {what: int(value) for kind, what, value in made if kind == "draw"}
        return ValueError() if drawn.get("free/0", 0) >= 1 and drawn.get("bound/0", 0) >= 7 else None

    plain = World(fails).shrink((("draw", "free/0", "9"), ("draw", "bound/0", "7"), ("draw", "idle/0", "3")))
    assert set(plain.made) == {("draw", "free/0", "1"), ("draw", "bound/0", "7")}


def test_what_becomes_needless_when_an_answer_is_lowered_is_left_out() -> None:
    # With x = 1 it fails by itself; with x = 3 only together with y.
    def fails(made: Made) -> BaseException | None:
        drawn = {what: int(value) for kind, what, value in made if kind == "draw"}
        x, y = drawn.get("x/0", 0), drawn.get("y/0", 0)
        return ValueError() if x == 1 or (x == 3 and y == 1) else None

    plain = World(fails).shrink((("draw", "x/0", "3"), ("draw", "y/0", "1")))
    assert_minimal(plain.made, fails)


def test_another_error_is_another_failure() -> None:
    def fails(made: Made) -> BaseException | None:
        return ValueError() if len(made) > 5 else KeyError()

    plain = World(fails).shrink(holds(20))
    assert isinstance(plain.error, ValueError)
    assert len(plain.made) == 6


def test_another_broken_promise_is_another_failure_but_not_the_same_with_other_words() -> None:
    def fails(made: Made) -> BaseException | None:
        if len(made) > 10:
            return Violation("delivery: ten")
        return Violation("delivery: five") if len(made) > 5 else Violation("order: of five")

    plain = World(fails).shrink(holds(20))
    assert str(plain.error) == "delivery: five"


def test_a_run_that_does_not_fail_again_is_left_as_it_is() -> None:
    failed = outcome_of(holds(20), ValueError())
    world = World(lambda made: None)
    assert shrink(failed, world.again, attempts=100) is failed
    assert len(world.runs) <= 100


def test_a_run_whose_repetitions_make_more_choices_is_never_made_worse() -> None:
    runs: list[Made] = []

    def again(made: Made) -> Outcome:
        runs.append(made)
        return outcome_of(holds(len(made) + 3), ValueError())

    failed = outcome_of(holds(10), ValueError())
    plain = shrink(failed, again, attempts=200)
    assert len(plain.made) <= 10
    assert len(runs) <= 200


@pytest.mark.parametrize("attempts", [0, 1, 2, 5])
def test_few_attempts_are_few_runs(attempts: int) -> None:
    world = World(needs(3, 17))
    plain = world.shrink(holds(32), attempts)
    assert len(world.runs) <= attempts
    assert needs(3, 17)(plain.made) is not None


# Real runs


async def fails_when_overtaken(sim: Simulation) -> None:
    """Fails when the last of six tasks is before the first, and chance says 2."""
    out: list[int] = []

    async def one(number: int) -> None:
        await asyncio.sleep(0)
        out.append(number)

    async with asyncio.TaskGroup() as group:
        for number in range(6):
            group.create_task(one(number), name=f"task {number}")
    noise = [sim.choices.draw("noise", 3) for _ in range(5)]
    assert not (out.index(5) < out.index(0) and noise[2] == 2)


def failing(kind: str) -> tuple[Outcome, int, Strategy]:
    for seed in range(500):
        chosen = strategy(kind, seed)
        outcome = once(fails_when_overtaken, chosen, seed=seed, system=False)
        if outcome.error is not None:
            return outcome, seed, chosen
    raise AssertionError("it was not found")


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "fifo"])
def test_a_real_run_is_shrunk_to_what_cannot_be_left_out(kind: str) -> None:
    failed, seed, _ = failing(kind)

    def again(made: Made) -> Outcome:
        return once(fails_when_overtaken, Replay(made), seed=seed, system=False)

    plain = shrink(failed, again, attempts=3000)
    assert plain.fails_like(failed)
    assert len(plain.made) <= len(failed.made)
    assert len(plain.made) < 10
    replayed = again(plain.made)
    assert replayed.digest == plain.digest
    assert replayed.made == plain.made
    for at in range(len(plain.made)):
        assert not again(plain.made[:at] + plain.made[at + 1 :]).fails_like(failed)


def test_faults_that_have_nothing_to_do_with_it_are_shrunk_away() -> None:
    async def test(sim: Simulation) -> None:
        flips = [sim.choices.flip("crash", 0.5) for _ in range(20)]
        assert not flips[7]

    runs = {
        seed: once(test, strategy("pos", seed), seed=seed, faults=Faults(crash=0.5), system=False) for seed in range(5)
    }
    seed, failed = next((seed, outcome) for seed, outcome in runs.items() if outcome.error is not None)
    assert len(failed.made) > 3
    plain = shrink(failed, lambda made: once(test, Replay(made), seed=seed, system=False), attempts=300)
    assert plain.made == (("draw", "crash/7", "1"),)


def test_the_undisturbed_run_has_no_choices_to_drop() -> None:
    async def test(sim: Simulation) -> None:
        raise ValueError

    failed = once(test, Fifo(), system=False)
    assert failed.made == ()
    assert shrink(failed, lambda made: once(test, Replay(made), system=False), attempts=10).made == ()
