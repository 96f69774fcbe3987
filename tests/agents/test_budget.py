"""Budgets: reserved in all or in none, settled once, never exceeded."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy import InvalidSpec
from understudy.agents import Amount, Budget, BudgetExceeded, Reservation, reserve


def test_what_is_reserved_is_not_there_for_others_and_what_is_not_used_is_free_again() -> None:
    budget = Budget(tokens=100)
    first = reserve([budget], Amount(tokens=80), Amount(tokens=80))
    second = reserve([budget], Amount(tokens=50), Amount(tokens=1))
    assert (first.granted.tokens, second.granted.tokens, budget.left.tokens) == (80, 20, 0)
    with pytest.raises(BudgetExceeded, match="left: 0 of 100 spent, 100 reserved by calls under way, 1 wanted"):
        reserve([budget], Amount(tokens=1), Amount(tokens=1))
    first.settle(Amount(tokens=10))
    first.settle(Amount(tokens=10))
    assert (budget.spent.tokens, budget.left.tokens) == (10, 70)


def test_it_is_reserved_in_all_or_in_none() -> None:
    wide, narrow = Budget(calls=10, name="wide"), Budget(calls=1, name="narrow")
    reserve([wide, narrow], Amount(calls=1), Amount(calls=1))
    with pytest.raises(BudgetExceeded) as caught:
        reserve([wide, narrow], Amount(calls=1), Amount(calls=1))
    assert (caught.value.budget, caught.value.what) == ("narrow", "calls")
    assert wide.reserved.calls == 1


def test_nothing_is_left_behind_by_sums_of_floats() -> None:
    budget = Budget(seconds=1.0)
    for _ in range(10):
        reserve([budget], Amount(seconds=0.1), Amount(seconds=0.1)).settle(Amount(seconds=0.1))
    assert budget.left.seconds == pytest.approx(0, abs=1e-9)


@given(
    st.lists(st.integers(0, 50), min_size=3, max_size=3),
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 30), st.integers(0, 30), st.booleans()), max_size=60),
)
def test_as_long_as_nobody_takes_more_than_was_granted_no_limit_is_exceeded(
    limits: list[int], steps: list[tuple[int, int, int, bool]]
) -> None:
    root, *others = (Budget(tokens=limit, name=f"b{number}") for number, limit in enumerate(limits))
    under_way: list[tuple[Reservation, int]] = []
    for which, wish, least, finish in steps:
        budgets = [root] if which == 0 else [others[which - 1], root]
        try:
            reservation = reserve(budgets, Amount(tokens=max(wish, least)), Amount(tokens=least))
        except BudgetExceeded:
            assert any(budget.left.tokens < least for budget in budgets)
        else:
            assert least <= reservation.granted.tokens <= max(wish, least)
            under_way.append((reservation, wish))
        if finish and under_way:
            reservation, wish = under_way.pop(0)
            reservation.settle(Amount(tokens=min(wish, reservation.granted.tokens)))
        for budget in (root, *others):
            assert budget.spent.tokens + budget.reserved.tokens <= budget.limit.tokens
    for reservation, _ in under_way:
        reservation.settle(Amount())
    assert root.reserved == Amount()


@pytest.mark.parametrize("bad", [{"tokens": -1}, {"cost": math.nan}, {"calls": "many"}])
def test_limits_that_are_none_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(InvalidSpec):
        Budget(**bad)


def test_a_budget_says_what_it_limits() -> None:
    assert repr(Budget(tokens=10)) == "<Budget 'budget': tokens 0 of 10>"
    assert repr(Budget()) == "<Budget 'budget': no limit>"
