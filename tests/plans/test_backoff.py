"""How long to wait, and when the waiting begins anew."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tenacity import (
    RetryCallState,
    wait_chain,
    wait_exponential,
    wait_fixed,
    wait_incrementing,
    wait_none,
    wait_random,
    wait_random_exponential,
)

from understudy._plans._backoff import Delay, next_delay, reset_default

DOUBLING = wait_exponential(multiplier=1, max=60)


@pytest.mark.parametrize(
    ("attempts", "healthy_for", "expected"),
    [
        (0, 0.0, Delay(1.0, 1)),
        (1, 0.0, Delay(2.0, 2)),
        (2, 9.99, Delay(4.0, 3)),
        (2, 10.0, Delay(1.0, 1)),
        (2, 1e9, Delay(1.0, 1)),
        (0, 1e9, Delay(1.0, 1)),
        (6, 0.0, Delay(60.0, 7)),
        (10_000, 0.0, Delay(60.0, 10_001)),
    ],
)
def test_worked_cases(attempts: int, healthy_for: float, expected: Delay) -> None:
    assert next_delay(DOUBLING, attempts, healthy_for, 10.0) == expected


@given(st.lists(st.floats(0, 20), max_size=60))
def test_the_count_is_that_of_attempts_since_the_last_health(lives: list[float]) -> None:
    attempts, expected = 0, 0
    for healthy_for in lives:
        expected = 1 if healthy_for >= 10.0 else expected + 1
        delay = next_delay(DOUBLING, attempts, healthy_for, 10.0)
        assert delay == (min(2.0 ** (expected - 1), 60.0), expected)
        attempts = delay.attempt


def test_the_strategy_sees_what_tenacity_shows() -> None:
    seen: list[Any] = []

    def wait(state: RetryCallState) -> float:
        seen.append(state)
        return 1

    delay = next_delay(wait, 4, 0.0, 10.0)
    assert delay == (1.0, 5)
    assert type(delay.seconds) is float
    assert isinstance(seen[0], RetryCallState)
    assert seen[0].attempt_number == 5


@given(st.integers(0, 10**9))
@example(1022)
@example(1023)
@example(1024)
@example(10_000)
def test_no_number_of_attempts_overflows(attempts: int) -> None:
    capped = next_delay(DOUBLING, attempts, 0.0, 10.0)
    assert 0 <= capped.seconds <= 60
    for wait in (wait_exponential(multiplier=1), wait_random_exponential(multiplier=1, max=30)):
        delay = next_delay(wait, attempts, 0.0, 10.0)
        assert delay.seconds >= 0
        assert delay.attempt == attempts + 1


@pytest.mark.parametrize("attempts", [0, 1, 10, 1_000, 10_000])
def test_jitter_stays_within_its_bounds(attempts: int) -> None:
    seconds = {next_delay(wait_random(1, 2), attempts, 0.0, 1.0).seconds for _ in range(200)}
    assert all(1 <= each <= 2 for each in seconds)
    assert len(seconds) > 100  # it is drawn each time


def test_one_that_raises_an_overflow_waits_for_ever_and_says_so() -> None:
    def overflow(state: object) -> float:
        raise OverflowError

    assert next_delay(overflow, 3, 0.0, 1.0) == (math.inf, 4)


def test_a_negative_delay_is_none() -> None:
    assert next_delay(lambda state: -5.0, 0, 0.0, 1.0) == (0.0, 1)


@pytest.mark.parametrize(
    ("wait", "expected"),
    [
        (wait_fixed(4), 4.0),
        (wait_none(), 0.0),
        (wait_exponential(multiplier=1, max=9), 5.0),
        (wait_exponential(multiplier=0.1, max=30), 15.05),
        (wait_incrementing(start=1, increment=1, max=5), 3.0),
        (wait_chain(wait_fixed(2), wait_fixed(6)), 4.0),
        (wait_exponential(multiplier=2), 20.0),  # no cap, so there is no longest: ten times the first
        (lambda state: 3.0, 3.0),
    ],
)
def test_health_takes_the_mean_of_the_first_and_the_longest_delay(wait: Any, expected: float) -> None:
    assert reset_default(wait) == pytest.approx(expected)


@given(st.floats(0.01, 10), st.floats(10, 1000))
def test_health_is_between_the_first_and_the_longest(first: float, longest: float) -> None:
    reset = reset_default(wait_exponential(multiplier=first, max=longest))
    assert first <= reset <= longest
    assert reset == pytest.approx((first + longest) / 2)
