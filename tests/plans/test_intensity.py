"""How many failures are too many, against a model that forgets nothing."""

from __future__ import annotations

import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from understudy._plans._intensity import count_failure

# Whole and half seconds: their differences are exact, so "exactly as long ago" can be hit and is meant.
HALVES = st.integers(min_value=0, max_value=12).map(lambda number: number / 2)
STEPS = st.lists(HALVES, max_size=40)
LIMITS = st.integers(min_value=0, max_value=6)
WINDOWS = st.one_of(st.integers(min_value=1, max_value=20).map(lambda number: number / 2), st.just(math.inf))


def moments(steps: list[float], start: float = 0.0) -> list[float]:
    """Points in time that never go back, *steps* apart."""
    times, now = [], start
    for step in steps:
        now += step
        times.append(now)
    return times


@given(steps=STEPS, limit=LIMITS, seconds=WINDOWS)
@example(steps=[0.0, 1.0], limit=1, seconds=1.0)
@example(steps=[0.0, 1.5], limit=1, seconds=1.0)
@example(steps=[0.0], limit=0, seconds=1.0)
def test_it_decides_as_one_who_remembers_every_failure(steps: list[float], limit: int, seconds: float) -> None:
    every: list[float] = []
    times: list[float] = []
    for now in moments(steps):
        every.append(now)
        in_window = [time for time in every if now - time <= seconds]

        window = count_failure(times, now, limit, seconds)

        assert window.times == in_window
        assert window.exceeded is (len(in_window) > limit)
        times = window.times


@given(steps=STEPS, limit=LIMITS, seconds=WINDOWS)
def test_what_it_remembers_is_in_order_and_ends_with_now(steps: list[float], limit: int, seconds: float) -> None:
    times: list[float] = []
    for now in moments(steps, start=1000.0):
        times, exceeded = count_failure(times, now, limit, seconds)
        assert times == sorted(times)
        assert times[-1] == now
        assert times[0] >= now - seconds
        if exceeded:
            break
        # As long as nobody gives up, it cannot grow.
        assert len(times) <= limit


@given(steps=STEPS, limit=LIMITS, seconds=WINDOWS)
def test_it_keeps_one_list_so_that_a_burst_costs_each_failure_the_same(
    steps: list[float], limit: int, seconds: float
) -> None:
    times: list[float] = []
    for now in moments(steps):
        assert count_failure(times, now, limit, seconds).times is times


@given(steps=STEPS, limit=LIMITS, seconds=WINDOWS, shift=st.integers(min_value=0, max_value=10**6))
def test_only_differences_of_time_matter(steps: list[float], limit: int, seconds: float, shift: int) -> None:
    def decisions(start: float) -> list[bool]:
        times: list[float] = []
        decided = []
        for now in moments(steps, start):
            times, exceeded = count_failure(times, now, limit, seconds)
            decided.append(exceeded)
        return decided

    assert decisions(0.0) == decisions(float(shift))


@given(
    times=st.lists(st.floats(min_value=0, max_value=1e9), max_size=20).map(sorted),
    gap=st.floats(min_value=0, max_value=1e6),
    limit=LIMITS,
    seconds=st.floats(min_value=1e-3, max_value=1e6),
)
def test_it_counts_by_the_formula_for_any_times_at_all(
    times: list[float], gap: float, limit: int, seconds: float
) -> None:
    now = (times[-1] if times else 0.0) + gap
    expected = [time for time in times if time >= now - seconds] + [now]
    window = count_failure(times, now, limit, seconds)
    assert window.times == expected
    assert window.exceeded == (len(window.times) > limit)


@pytest.mark.parametrize("failures", [1, 2, 5])
def test_with_none_allowed_the_first_failure_is_one_too_many(failures: int) -> None:
    assert count_failure([], 10.0, 0, 5.0) == ([10.0], True)
    assert count_failure([float(number) for number in range(failures)], 100.0, 0, 5.0) == ([100.0], True)


@pytest.mark.parametrize(
    ("apart", "exceeded"),
    [(0.9, True), (1.0, True), (math.nextafter(1.0, 2.0), False), (1.1, False)],
)
def test_a_failure_exactly_as_long_ago_as_the_window_still_counts(apart: float, exceeded: bool) -> None:
    first = count_failure([], 0.0, 1, 1.0)
    assert first == ([0.0], False)
    assert count_failure(first.times, apart, 1, 1.0).exceeded is exceeded


def test_failures_at_the_same_moment_all_count() -> None:
    times: list[float] = []
    for number in range(1, 5):
        times, exceeded = count_failure(times, 7.0, 3, 5.0)
        assert times == [7.0] * number
        assert exceeded is (number == 4)


def test_without_a_window_every_failure_counts_for_ever() -> None:
    times = [0.0, 1.0]
    assert count_failure(times, 1e12, 3, math.inf) == ([0.0, 1.0, 1e12], False)
    assert count_failure(times, 1e12, 2, math.inf).exceeded
