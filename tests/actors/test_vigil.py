"""When the event loop counts as blocked, and how late it is: the decisions, on a clock that is told the time."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy import LoopLag
from understudy.actors._vigil import Question, Vigil

LIMIT, INTERVAL = 1.0, 0.5


class Clock:
    def __init__(self) -> None:
        self.now = 100.0
        self.processor = 5.0

    def __call__(self) -> float:
        return self.now


def vigil(clock: Clock) -> Vigil:
    return Vigil(LIMIT, INTERVAL, clock.now, clock.processor)


def look(watch: Vigil, clock: Clock, seconds: float = INTERVAL, worked: float = 0.0) -> float:
    """The next look, after *seconds* for *worked* of which the process has had a processor."""
    clock.now += seconds
    clock.processor += worked
    return watch.resume(clock.now, clock.processor)


def ask(watch: Vigil, clock: Clock) -> Question:
    question = Question(clock.now, clock)
    watch.ask(question)
    return question


# When to report


def test_nothing_is_due_before_the_limit_and_something_is_at_it() -> None:
    clock = Clock()
    watch = vigil(clock)
    ask(watch, clock)
    assert watch.due(clock.now) is None
    look(watch, clock)
    assert watch.due(clock.now) is None
    look(watch, clock)
    assert watch.due(clock.now) == LIMIT


def test_a_blocking_is_reported_again_whenever_it_has_become_twice_as_long() -> None:
    clock = Clock()
    watch = vigil(clock)
    ask(watch, clock)
    reported = []
    for _ in range(40):
        look(watch, clock)
        if (seconds := watch.due(clock.now)) is not None:
            reported.append(seconds)
    assert reported == [1.0, 2.0, 4.0, 8.0, 16.0]


def test_each_blocking_begins_to_count_anew() -> None:
    clock = Clock()
    watch = vigil(clock)
    for _ in range(3):
        question = ask(watch, clock)
        look(watch, clock, 10.0, worked=10.0)
        assert watch.due(clock.now) == 10.0
        question.answer()
        assert watch.settle() == 10.0


def test_nothing_is_due_without_a_question_and_after_its_answer() -> None:
    clock = Clock()
    watch = vigil(clock)
    clock.now += 100
    assert watch.due(clock.now) is None
    question = ask(watch, clock)
    question.answer()
    clock.now += 100
    assert watch.due(clock.now) is None


def test_only_the_first_answer_counts() -> None:
    clock = Clock()
    question = Question(clock.now, clock)
    clock.now += 1
    question.answer()
    clock.now += 1
    question.answer()
    assert question.answered == 101.0


@pytest.mark.parametrize(("seconds", "is_blocking"), [(0.0, False), (0.999, False), (1.0, True), (60.0, True)])
def test_too_long_is_the_limit_or_longer(seconds: float, is_blocking: bool) -> None:
    assert vigil(Clock()).is_blocking(seconds) is is_blocking


# When the whole process stood still


def test_a_process_that_was_suspended_blames_nobody() -> None:
    clock = Clock()
    watch = vigil(clock)
    question = ask(watch, clock)
    assert look(watch, clock, 3600.0, worked=0.001) == 3600.0 - INTERVAL
    assert watch.due(clock.now) is None
    question.answer()
    assert watch.settle() == pytest.approx(INTERVAL)
    assert watch.lag().longest == pytest.approx(INTERVAL)


def test_a_process_that_has_computed_and_let_no_other_thread_run_is_to_blame() -> None:
    clock = Clock()
    watch = vigil(clock)
    ask(watch, clock)
    assert look(watch, clock, 10.0, worked=9.0) == 0.0
    assert watch.due(clock.now) == 10.0


def test_a_look_that_is_a_little_late_means_nothing() -> None:
    clock = Clock()
    watch = vigil(clock)
    assert look(watch, clock, INTERVAL + 0.9 * LIMIT) == 0.0


def test_a_standstill_without_a_question_changes_nothing() -> None:
    clock = Clock()
    watch = vigil(clock)
    assert look(watch, clock, 100.0) > 0
    question = ask(watch, clock)
    question.answer()
    assert watch.settle() == 0.0


# The statistic


def test_before_the_first_look_there_is_no_lag() -> None:
    assert vigil(Clock()).lag() == LoopLag(0.0, 0.0, 0.0, 0.0, 0, 0)


def test_a_loop_that_waits_has_no_lag() -> None:
    watch = vigil(Clock())
    for _ in range(7):
        watch.waiting()
    assert watch.lag() == LoopLag(0.0, 0.0, 0.0, 0.0, 7, 0)


def test_a_question_that_is_open_is_not_settled() -> None:
    clock = Clock()
    watch = vigil(clock)
    question = ask(watch, clock)
    assert watch.settle() is None
    assert watch.question is question
    assert watch.lag().looks == 0


def test_a_short_lag_is_one_look() -> None:
    clock = Clock()
    watch = vigil(clock)
    question = ask(watch, clock)
    clock.now += 0.25
    question.answer()
    assert watch.settle() == 0.25
    assert watch.lag() == LoopLag(0.25, 0.25, 0.25, 0.25, 1, 0)


def test_a_long_lag_counts_for_all_who_would_have_waited_meanwhile() -> None:
    clock = Clock()
    watch = vigil(clock)
    question = ask(watch, clock)
    clock.now += 2.0
    question.answer()
    watch.settle()
    lag = watch.lag()
    assert (lag.last, lag.longest, lag.looks) == (2.0, 2.0, 5)  # 2.0, 1.5, 1.0, 0.5, 0.0
    assert lag.mean == pytest.approx(1.0)


def test_an_answer_that_means_nothing_leaves_no_trace() -> None:
    clock = Clock()
    watch = vigil(clock)
    question = ask(watch, clock)
    question.void = True
    clock.now += 600.0
    question.answer()
    assert watch.settle() == 0.0
    assert watch.question is None
    assert watch.lag().looks == 0


def test_the_statistic_is_of_the_latest_thousand_looks() -> None:
    clock = Clock()
    watch = vigil(clock)
    question = ask(watch, clock)
    clock.now += 0.25
    question.answer()
    watch.settle()
    for _ in range(999):
        watch.waiting()
    assert (watch.lag().longest, watch.lag().looks) == (0.25, 1000)
    watch.waiting()
    assert (watch.lag().longest, watch.lag().looks) == (0.0, 1000)


def test_a_blocking_of_a_day_takes_no_more_room_than_any_other() -> None:
    clock = Clock()
    watch = vigil(clock)
    question = ask(watch, clock)
    clock.now += 86_400.0
    question.answer()
    watch.settle()
    lag = watch.lag()
    assert (lag.last, lag.longest, lag.looks) == (86_400.0, 86_400.0, 1000)


@given(st.lists(st.floats(0, 0.4), min_size=1, max_size=300))
def test_p99_is_a_lag_that_at_most_one_in_a_hundred_exceeds(lags: list[float]) -> None:
    clock = Clock()
    watch = vigil(clock)
    for each in lags:
        question = Question(0.0, lambda each=each: each)
        watch.ask(question)
        question.answer()
        watch.settle()
    lag = watch.lag()
    assert lag.looks == len(lags)
    assert lag.p99 in lags
    assert sum(each > lag.p99 for each in lags) <= len(lags) / 100
    assert sum(each >= lag.p99 for each in lags) > len(lags) / 100 - 1
    assert lag.longest == max(lags)
    assert lag.mean == pytest.approx(math.fsum(lags) / len(lags))
    assert lag.last == lags[-1]
