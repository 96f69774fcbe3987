"""In which order things are done when some wait for others: against a model that looks at everything each time."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy._plans._order import Order, circle_in, dependents_of, one_after_another

Graph = dict[str, tuple[str, ...]]


@st.composite
def graphs(draw: st.DrawFn, *, circles: bool = False) -> Graph:
    """Names, each after some others; without *circles* only after earlier ones, then shuffled."""
    count = draw(st.integers(0, 10))
    names = [f"n{number}" for number in range(count)]
    after: Graph = {}
    for index, name in enumerate(names):
        candidates = names if circles else names[:index]
        chosen = draw(st.lists(st.sampled_from(candidates), unique=True, max_size=3)) if candidates else []
        after[name] = tuple(chosen)
    return {name: after[name] for name in draw(st.permutations(names))}


def ready(after: Mapping[str, Collection[str]], begun: Collection[str], done: Collection[str]) -> set[str]:
    """Who could begin now."""
    return {
        name
        for name, before in after.items()
        if name not in begun and all(each in done or each not in after for each in before)
    }


@given(graphs(), st.data())
def test_a_name_begins_as_soon_as_those_before_it_are_done_and_not_before(after: Graph, data: st.DataObject) -> None:
    order = Order(after)
    begun, done = order.begin(), set[str]()
    assert set(begun) == ready(after, (), ())
    while set(begun) - done:
        assert list(order.active) == [name for name in begun if name not in done]
        assert order.waiting == [name for name in after if name not in begun]
        assert bool(order)
        name = data.draw(st.sampled_from(sorted(set(begun) - done)))
        expected = ready(after, begun, done | {name})
        freed = order.done(name)
        done.add(name)
        assert set(freed) == expected
        assert len(freed) == len(set(freed))
        begun += freed
    assert sorted(begun) == sorted(after)
    assert len(begun) == len(set(begun))
    assert not order
    assert (order.waiting, list(order.active)) == ([], [])


@given(graphs(), st.data())
def test_one_that_is_given_up_before_its_turn_does_not_hold_anybody_up(after: Graph, data: st.DataObject) -> None:
    order = Order(after)
    begun, gone = order.begin(), set[str]()
    while order:
        name = data.draw(st.sampled_from(sorted(set(after) - gone)))  # also one that has not begun
        freed = order.done(name)
        gone.add(name)
        assert name not in order
        assert gone.isdisjoint(freed)
        for each in freed:
            assert set(after[each]) & set(after) <= gone
        begun += freed
    assert set(begun) | gone == set(after)


@given(graphs(), st.data())
def test_telling_twice_that_one_is_done_changes_nothing(after: Graph, data: st.DataObject) -> None:
    order = Order(after)
    pending = order.begin()
    while pending:
        name = pending.pop(data.draw(st.integers(0, len(pending) - 1)))
        pending += order.done(name)
        before = (order.waiting, list(order.active))
        assert order.done(name) == []
        assert order.done("nobody") == []
        assert (order.waiting, list(order.active)) == before


def test_what_is_no_part_of_the_order_counts_as_done() -> None:
    order = Order({"a": ("elsewhere",), "b": ("a", "gone")})
    assert order.begin() == ["a"]
    assert order.done("a") == ["b"]


def test_it_has_those_that_wait_and_those_at_work_and_no_others() -> None:
    order = Order({"a": (), "b": ("a",)})
    assert ("a" in order, "b" in order, "c" in order) == (True, True, False)
    order.begin()
    assert ("a" in order, "b" in order) == (True, True)
    order.done("a")
    assert ("a" in order, "b" in order) == (False, True)


def test_an_empty_order_is_done() -> None:
    order = Order({})
    assert not order
    assert order.begin() == []


def test_nothing_begins_twice() -> None:
    order = Order({"a": (), "b": ()})
    assert order.begin() == ["a", "b"]
    assert order.begin() == []


@given(st.lists(st.text("abc", min_size=1, max_size=3), unique=True, max_size=8))
def test_one_after_another_lets_one_begin_at_a_time_in_order(names: list[str]) -> None:
    order = Order(one_after_another(names))
    seen: list[str] = []
    pending = order.begin()
    while pending:
        assert len(pending) == 1
        seen += pending
        pending = order.done(pending[0])
    assert seen == names


@given(graphs())
def test_dependents_are_the_opposite(after: Graph) -> None:
    before = dependents_of(after)
    assert list(before) == list(after)
    pairs = {(name, other) for name, others in after.items() for other in others}
    assert {(name, other) for other, names in before.items() for name in names} == pairs
    assert {name: set(others) for name, others in dependents_of(before).items()} == {
        name: set(others) for name, others in after.items()
    }


def test_dependents_of_names_that_are_not_there_are_left_out() -> None:
    assert dependents_of({"a": ("gone",), "b": ("a",)}) == {"a": ["b"], "b": []}


def reaches(after: Graph, start: str, goal: str) -> bool:
    pending, seen = list(after[start]), set[str]()
    while pending:
        name = pending.pop()
        if name == goal:
            return True
        if name not in seen:
            seen.add(name)
            pending += after[name]
    return False


@given(graphs())
def test_there_is_no_circle_where_each_is_after_earlier_ones(after: Graph) -> None:
    assert circle_in(after) is None


@given(graphs(circles=True))
def test_a_circle_is_found_exactly_when_a_name_waits_for_itself(after: Graph) -> None:
    circle = circle_in(after)
    assert (circle is not None) == any(reaches(after, name, name) for name in after)
    if circle is not None:
        assert circle[0] == circle[-1]
        assert len(circle) >= 2
        assert len(set(circle[:-1])) == len(circle) - 1
        for name, following in pairwise(circle):
            assert following in after[name]


@pytest.mark.parametrize(
    ("after", "circle"),
    [
        ({"a": ("a",)}, {"a"}),
        ({"a": ("b",), "b": ("a",)}, {"a", "b"}),
        ({"x": ("a",), "a": ("b",), "b": ("c",), "c": ("a",)}, {"a", "b", "c"}),
        ({"a": ("b", "c"), "b": (), "c": ("a",)}, {"a", "c"}),
    ],
)
def test_a_circle_names_those_in_it_and_not_those_that_only_wait_for_it(after: Graph, circle: set[str]) -> None:
    found = circle_in(after)
    assert found is not None
    assert set(found) == circle


def test_a_hundred_thousand_in_a_row_are_no_trouble() -> None:
    names = [f"n{number}" for number in range(100_000)]
    after = one_after_another(names)
    assert circle_in(after) is None
    order = Order(after)
    pending, count = order.begin(), 0
    while pending:
        count += 1
        pending = order.done(pending[0])
    assert count == 100_000
