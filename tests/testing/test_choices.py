"""The one source of chance, and what it remembers."""

from __future__ import annotations

import pytest

from tests.testing.sim_stage import Last
from understudy.testing._choices import Choices
from understudy.testing._strategies import Fifo, RandomWalk, Replay


def started(chosen: Fifo | RandomWalk | Replay, seed: int = 0) -> Choices:
    choices = Choices(chosen, seed)
    choices.started = True
    return choices


class Highest(Fifo):
    """The largest answer, always."""

    def draw(self, kind: str, number: int, n: int) -> int:
        return n - 1

    def flip(self, kind: str, number: int, probability: float) -> bool:
        return True


def test_before_the_start_nothing_is_asked_and_nothing_remembered() -> None:
    choices = Choices(Highest(), 0)
    assert choices.draw("a", 5) == 0
    assert choices.flip("a", 1.0) is False
    assert choices.departures() == ()


def test_in_the_calm_nothing_happens_by_chance() -> None:
    choices = started(Highest())
    choices.calm = True
    assert choices.draw("a", 5) == 0
    assert choices.flip("a", 1.0) is False
    assert choices.departures() == ()


def test_an_answer_that_departs_is_remembered_with_its_kind_and_number() -> None:
    choices = started(Highest())
    assert [choices.draw("budget", 3), choices.draw("other", 2), choices.draw("budget", 4)] == [2, 1, 3]
    assert choices.flip("crash", 0.5) is True
    assert set(choices.departures()) == {
        ("draw", "budget/0", "2"),
        ("draw", "other/0", "1"),
        ("draw", "budget/1", "3"),
        ("draw", "crash/0", "1"),
    }


def test_an_undisturbed_answer_is_not_worth_remembering() -> None:
    choices = started(Fifo())
    assert choices.draw("a", 3) == 0
    assert choices.flip("a", 0.9) is False
    assert choices.departures() == ()


@pytest.mark.parametrize("n", [0, 1])
def test_where_there_is_no_choice_nothing_is_asked(n: int) -> None:
    choices = started(Highest())
    assert choices.draw("a", n) == 0
    assert choices.draw("a", 2) == 1
    assert choices.departures() == (("draw", "a/0", "1"),)


@pytest.mark.parametrize("probability", [0.0, -1.0])
def test_what_is_impossible_is_not_asked(probability: float) -> None:
    choices = started(Highest())
    assert choices.flip("a", probability) is False
    assert choices.departures() == ()


def test_answers_are_within_their_bounds() -> None:
    for seed in range(20):
        choices = started(RandomWalk(seed))
        assert all(0 <= choices.draw("a", n) < n for n in range(2, 50))


def test_recorded_answers_come_again_and_what_was_not_recorded_is_undisturbed() -> None:
    for seed in range(20):
        first = started(RandomWalk(seed))
        answers = [(first.draw("a", 4), first.flip("b", 0.5), first.draw("c", 2)) for _ in range(10)]
        again = started(Replay(first.departures()))
        assert [(again.draw("a", 4), again.flip("b", 0.5), again.draw("c", 2)) for _ in range(10)] == answers
        assert again.departures() == first.departures()
        assert again.draw("a", 4) == 0


def test_a_recorded_answer_that_does_not_fit_any_more_is_passed_over() -> None:
    choices = started(Replay([("draw", "a/0", "5"), ("draw", "a/1", "1")]))
    assert choices.draw("a", 3) == 0
    assert choices.draw("a", 3) == 1
    assert choices.departures() == (("draw", "a/1", "1"),)


def test_chance_for_the_code_under_test_does_not_depend_on_the_strategy() -> None:
    one, two = started(RandomWalk(1), 7), started(Fifo(), 7)
    one.draw("a", 10)
    assert one.random.random() == two.random.random()
    assert started(Last(), 8).random.random() != started(Last(), 7).random.random()
