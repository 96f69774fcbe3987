"""Who is restarted, in which order children stop, and how they are called: decisions that are data in, data out."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy._plans._spec import ChildSpec, check_name
from understudy._plans._strategies import free_name, plan, restarts, stop_order, unique_names
from understudy.exceptions import InvalidSpec
from understudy.reasons import (
    Crashed,
    ExitReason,
    Killed,
    NodeDown,
    Normal,
    NotFound,
    RestartsExceeded,
    Shutdown,
    StartFailed,
)

ERROR = ValueError("no tone")


# Who comes back


@pytest.mark.parametrize(
    ("reason", "abnormal"),
    [
        (Normal(), False),
        (Shutdown("left"), False),
        (NotFound(), False),
        (Killed(), True),
        (Killed(first=Shutdown()), True),
        (Crashed(ERROR), True),
        (StartFailed(ERROR), True),
        (NodeDown("n"), True),
        (RestartsExceeded("/user/a", Normal(), 4, 5.0), True),
    ],
    ids=str,
)
def test_permanent_comes_back_always_transient_after_a_failure_temporary_never(
    reason: ExitReason, abnormal: bool
) -> None:
    assert restarts("permanent", reason) is True
    assert restarts("transient", reason) is abnormal
    assert restarts("temporary", reason) is False


# The order of stops

CHILDREN = st.lists(st.booleans(), max_size=30).map(
    lambda declared: [(f"child-{number}", each) for number, each in enumerate(declared)]
)


@given(CHILDREN)
def test_one_by_one_is_the_exact_reverse_of_the_starts(children: list[tuple[str, bool]]) -> None:
    assert stop_order(children, one_by_one=True) == [[name] for name, _ in reversed(children)]


@given(CHILDREN, st.booleans())
def test_every_child_is_stopped_exactly_once(children: list[tuple[str, bool]], one_by_one: bool) -> None:
    before = list(children)
    batches = stop_order(children, one_by_one=one_by_one)
    assert sorted(name for batch in batches for name in batch) == sorted(name for name, _ in children)
    assert all(batches)
    assert children == before


@given(CHILDREN)
def test_else_those_of_run_time_stop_at_once_and_then_the_declared_ones_last_first(
    children: list[tuple[str, bool]],
) -> None:
    batches = stop_order(children, one_by_one=False)
    at_run_time = {name for name, declared in children if not declared}
    if at_run_time:
        assert set(batches[0]) == at_run_time
        batches = batches[1:]
    assert batches == [[name] for name, declared in reversed(children) if declared]


@pytest.mark.parametrize("one_by_one", [True, False])
def test_nobody_needs_no_batch(one_by_one: bool) -> None:
    assert stop_order([], one_by_one=one_by_one) == []


# Names


class Horn: ...


class Drum: ...


class BassDrum: ...


LABELS = {Horn: "horn", Drum: "drum", BassDrum: "bass_drum"}
EXPLICIT = st.sampled_from(
    ["horn", "horn-2", "horn-3", "horn-5", "drum", "drum-2", "drum-3", "bass_drum", "bass_drum-2", "soloist"]
)
FACTORIES = st.sampled_from(list(LABELS))


@st.composite
def orchestras(draw: st.DrawFn) -> list[ChildSpec[Any]]:
    """Specs, some of them with names of their own, all different."""
    named = draw(st.lists(EXPLICIT, unique=True, max_size=6))
    names: list[str | None] = draw(st.permutations([*named, *[None] * draw(st.integers(0, 12))]))
    return [ChildSpec(draw(FACTORIES), name=name) for name in names]


@given(orchestras())
def test_names_are_unique_and_stand_in_the_order_of_the_specs(specs: list[ChildSpec[Any]]) -> None:
    named = unique_names("owner", specs)

    assert [spec.factory for spec in named] == [spec.factory for spec in specs]
    names = [spec.name for spec in named]
    assert None not in names
    assert len(set(names)) == len(names)
    for name in names:
        assert check_name(name, "child") == name


@given(orchestras())
def test_names_that_were_given_are_kept_and_the_others_are_numbered_in_order(specs: list[ChildSpec[Any]]) -> None:
    before = list(specs)
    named = unique_names("owner", specs)

    assert specs == before
    taken = {spec.name for spec in specs if spec.name is not None}
    last: dict[str, int] = {}
    for spec, result in zip(specs, named, strict=True):
        if spec.name is not None:
            assert result is spec
            continue
        label = LABELS[spec.factory]
        numbers = [number for number in range(last.get(label, 0) + 1, 100) if _numbered(label, number) not in taken]
        last[label] = numbers[0]
        assert result.name == _numbered(label, numbers[0])
        assert result == spec.options(name=result.name)


@given(orchestras())
def test_naming_again_changes_nothing(specs: list[ChildSpec[Any]]) -> None:
    named = unique_names("owner", specs)
    assert unique_names("owner", named) == named


def _numbered(label: str, number: int) -> str:
    return label if number == 1 else f"{label}-{number}"


def test_two_children_of_one_given_name_are_refused_by_name() -> None:
    with pytest.raises(InvalidSpec, match=r"^name must be unique among siblings, got 'solo' twice \(owner\)$"):
        unique_names("owner", [ChildSpec(Horn, name="solo"), ChildSpec(Drum), ChildSpec(Drum, name="solo")])


@pytest.mark.parametrize(
    ("children", "got"),
    [
        ("horn", "got str"),
        (None, "got NoneType"),
        ({"a": ChildSpec(Horn)}, "got dict"),
        (iter(()), "iterator"),
        ([ChildSpec(Horn), Horn], "Horn"),
        ([None], "got None in it"),
    ],
)
def test_what_is_no_list_of_specs_is_refused(children: object, got: str) -> None:
    with pytest.raises(InvalidSpec, match=r"^children must be a list of child\(\.\.\.\), got ") as caught:
        unique_names("owner", children)
    assert got in str(caught.value)
    assert caught.value.child == "owner"


class Counting(set[str]):
    """Counts how often it is asked."""

    asked = 0

    def __contains__(self, name: object) -> bool:
        self.asked += 1
        return super().__contains__(name)


@given(st.sets(st.integers(1, 40)), st.integers(1, 40))
def test_a_free_name_is_the_first_that_was_not_given_and_is_not_taken(numbers: set[int], count: int) -> None:
    taken = {_numbered("horn", number) for number in numbers}
    counted: dict[str, int] = {}

    given = [free_name("horn", taken, counted) for _ in range(count)]

    free = [number for number in range(1, 100) if number not in numbers]
    assert given == [_numbered("horn", number) for number in free[:count]]


def test_free_names_of_twenty_thousand_namesakes_take_one_look_each() -> None:
    taken = Counting(_numbered("horn", number) for number in range(1, 20_001, 2))
    counted: dict[str, int] = {}

    names = [free_name("horn", taken, counted) for _ in range(20_000)]

    assert len(set(names)) == 20_000
    assert taken.isdisjoint(names)
    assert taken.asked <= 20_000 + 10_000


def test_twenty_thousand_namesakes_are_declared_in_no_time() -> None:
    specs = unique_names("owner", [ChildSpec(Horn)] * 20_000)
    assert [specs[0].name, specs[1].name, specs[-1].name] == ["horn", "horn-2", "horn-20000"]
    assert len({spec.name for spec in specs}) == 20_000


# The plan of a supervisor


def test_a_plan_holds_what_was_declared() -> None:
    made = plan("owner", "one_for_one", 2, 1, [ChildSpec(Horn), ChildSpec(Horn)])
    assert (made.strategy, made.max_restarts, made.max_seconds, made.shared) == ("one_for_one", 2, 1.0, True)
    assert [spec.name for spec in made.children] == ["horn", "horn-2"]


@pytest.mark.parametrize(
    ("field", "value", "allowed"),
    [
        *[("strategy", value, "must be 'one_for_one'") for value in ("all_for_one", "", None, 1)],
        *[("max_restarts", value, "must be an int from 0 up") for value in (-1, 1.0, True, "3", None)],
        *[
            ("max_seconds", value, "must be a positive number of seconds or math.inf")
            for value in (0, -1.0, float("nan"), float("-inf"), True, "5", None)
        ],
        ("children", 3, "must be a list of child(...)"),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_a_plan_that_cannot_work_names_owner_field_and_what_is_allowed(field: str, value: Any, allowed: str) -> None:
    good: dict[str, Any] = {"strategy": "one_for_one", "max_restarts": 3, "max_seconds": 5.0, "children": []}
    with pytest.raises(InvalidSpec) as caught:
        plan("supervisor 'band'", **{**good, field: value})
    assert (caught.value.child, caught.value.field) == ("supervisor 'band'", field)
    assert str(caught.value).startswith(f"{field} {allowed}")
    assert str(caught.value).endswith("(supervisor 'band')")


@pytest.mark.parametrize(
    ("field", "value"), [("max_restarts", 0), ("max_seconds", float("inf")), ("max_seconds", 1), ("children", ())]
)
def test_a_plan_at_the_edge_of_what_is_allowed_is_taken(field: str, value: Any) -> None:
    good: dict[str, Any] = {"strategy": "one_for_one", "max_restarts": 3, "max_seconds": 5.0, "children": []}
    assert getattr(plan("owner", **{**good, field: value}), field) == value
