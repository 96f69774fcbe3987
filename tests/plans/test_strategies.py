"""Who is restarted, in which order children stop, and how they are called: decisions that are data in, data out."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy._plans._order import Order
from understudy._plans._spec import ChildSpec, check_name
from understudy._plans._strategies import (
    PLAIN,
    Plan,
    check_place,
    dynamic_plan,
    free_name,
    plan,
    restarts,
    unique_names,
)
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


class Horn: ...


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


# The order of starts and stops


def batches(order: Order) -> list[list[str]]:
    """What begins together, each batch when all of the last one are done."""
    found, pending = [], order.begin()
    while pending:
        found.append(pending)
        pending = [freed for name in pending for freed in order.done(name)]
    assert not order
    return found


CHILDREN = st.lists(st.booleans(), max_size=30).map(
    lambda declared: {f"child-{number}": each for number, each in enumerate(declared)}
)
STATIC = Plan(shared=True)
PARALLEL = Plan(shared=True, parallel=True)


def with_specs(children: dict[str, bool]) -> dict[str, tuple[ChildSpec[Any], bool]]:
    return {name: (ChildSpec(Horn, name=name), declared) for name, declared in children.items()}


@given(CHILDREN)
def test_a_static_supervisor_starts_in_order_and_stops_in_the_exact_reverse(children: dict[str, bool]) -> None:
    specs = {name: spec for name, (spec, _) in with_specs(children).items()}
    assert batches(Order(STATIC.start_after(list(children), specs))) == [[name] for name in children]
    assert batches(Order(STATIC.stop_after(with_specs(children)))) == [[name] for name in reversed(children)]


@given(CHILDREN)
def test_a_dynamic_one_stops_all_at_once(children: dict[str, bool]) -> None:
    order = Order(dynamic_plan("pool", 3, 5.0, 10).stop_after(with_specs(children)))
    assert [sorted(batch) for batch in batches(order)] == ([sorted(children)] if children else [])


@given(CHILDREN)
def test_a_plain_actor_stops_those_of_run_time_at_once_and_then_the_declared_ones_last_first(
    children: dict[str, bool],
) -> None:
    found = batches(Order(PLAIN.stop_after(with_specs(children))))
    at_run_time = {name for name, declared in children.items() if not declared}
    if at_run_time:
        assert set(found[0]) == at_run_time
        found = found[1:]
    assert found == [[name] for name, declared in reversed(children.items()) if declared]


@st.composite
def dependent(draw: st.DrawFn) -> dict[str, ChildSpec[Any]]:
    """Children that depend on some of those that would come before them, in any order of declaration."""
    names = [f"n{number}" for number in range(draw(st.integers(0, 8)))]
    specs = {}
    for index, name in enumerate(names):
        others = draw(st.lists(st.sampled_from(names[:index]), unique=True, max_size=3)) if index else []
        specs[name] = ChildSpec(Horn, name=name).options(depends_on=others)
    return {name: specs[name] for name in draw(st.permutations(names))}


@given(dependent())
def test_in_parallel_each_starts_after_what_it_depends_on_and_stops_before_it(specs: dict[str, ChildSpec[Any]]) -> None:
    starts = batches(Order(PARALLEL.start_after(list(specs), specs)))
    stops = batches(Order(PARALLEL.stop_after({name: (spec, True) for name, spec in specs.items()})))
    for found in (starts, stops):
        assert sorted(name for batch in found for name in batch) == sorted(specs)
    began = {name: number for number, batch in enumerate(starts) for name in batch}
    ended = {name: number for number, batch in enumerate(stops) for name in batch}
    for name, spec in specs.items():
        for other in spec.get("depends_on"):
            assert began[other] < began[name]
            assert ended[name] < ended[other]
        if not spec.get("depends_on"):
            assert began[name] == 0


def test_what_is_not_among_them_is_not_waited_for() -> None:
    specs = {"b": ChildSpec(Horn, name="b").options(depends_on=["a"])}
    assert batches(Order(PARALLEL.start_after(["b"], specs))) == [["b"]]
    assert batches(Order(PARALLEL.stop_after({"b": (specs["b"], True)}))) == [["b"]]


@pytest.mark.parametrize("made", [STATIC, PARALLEL, PLAIN, dynamic_plan("pool", 3, 5.0, 10)])
def test_nobody_needs_no_order(made: Plan) -> None:
    assert not Order(made.stop_after({}))
    assert not Order(made.start_after([], {}))


# Who is restarted with the one that failed


@pytest.mark.parametrize("parallel", [False, True])
@given(st.integers(1, 8), st.data())
def test_one_for_one_is_itself_and_one_for_all_is_everybody(parallel: bool, count: int, data: st.DataObject) -> None:
    names = [f"n{number}" for number in range(count)]
    specs = {name: ChildSpec(Horn, name=name) for name in names}
    failed = data.draw(st.sampled_from(names))
    assert Plan("one_for_one", parallel=parallel).group_of(failed, names, specs) == [failed]
    assert Plan("one_for_all", parallel=parallel).group_of(failed, names, specs) == names
    if not parallel:
        assert Plan("rest_for_one").group_of(failed, names, specs) == names[names.index(failed) :]


@given(dependent().filter(bool), st.data())
def test_in_parallel_the_rest_are_those_that_depend_on_it_directly_or_not(
    specs: dict[str, ChildSpec[Any]], data: st.DataObject
) -> None:
    names = list(specs)
    failed = data.draw(st.sampled_from(names))
    expected = {failed}
    for _ in names:
        expected |= {name for name in names if expected & set(specs[name].get("depends_on"))}
    group = Plan("rest_for_one", parallel=True).group_of(failed, names, specs)
    assert group == [name for name in names if name in expected]


# The place of a child


def placed(**options: Any) -> ChildSpec[Any]:
    return ChildSpec(Horn, name="a").options(**options)


@pytest.mark.parametrize(
    ("spec", "parallel", "auto_shutdown", "field"),
    [
        (placed(), False, "never", None),
        (placed(), True, "all_significant", None),
        (placed(depends_on=["b"]), True, "never", None),
        (placed(depends_on=["b"]), False, "never", "depends_on"),
        (placed(depends_on=[]), False, "never", None),
        (placed(significant=False), False, "never", None),
        (placed(significant=True, restart="transient"), False, "any_significant", None),
        (placed(significant=True, restart="temporary"), False, "all_significant", None),
        (placed(significant=True, restart="transient"), False, "never", "significant"),
        (placed(significant=True, restart="permanent"), False, "any_significant", "significant"),
        (placed(significant=True), False, "any_significant", "significant"),
    ],
)
def test_a_child_is_refused_where_what_it_says_of_its_place_makes_no_sense(
    spec: ChildSpec[Any], parallel: bool, auto_shutdown: Any, field: str | None
) -> None:
    if field is None:
        check_place("supervisor 'band'", spec, parallel=parallel, auto_shutdown=auto_shutdown)
        return
    with pytest.raises(InvalidSpec) as caught:
        check_place("supervisor 'band'", spec, parallel=parallel, auto_shutdown=auto_shutdown)
    assert caught.value.field == field
    assert "'a'" in str(caught.value)
    assert "band" in str(caught.value)


def test_the_restart_type_of_the_class_counts_for_its_place() -> None:
    spec = ChildSpec(Horn, name="a", given={"restart": "temporary"}).options(significant=True)
    check_place("owner", spec, parallel=False, auto_shutdown="any_significant")
    with pytest.raises(InvalidSpec):
        check_place("owner", spec.options(restart="permanent"), parallel=False, auto_shutdown="any_significant")


# Dynamic plans


def test_a_dynamic_plan_keeps_nothing_and_has_one_budget() -> None:
    made = dynamic_plan("pool", 7, 2, 100)
    assert (made.strategy, made.max_restarts, made.max_seconds, made.max_children) == ("one_for_one", 7, 2.0, 100)
    assert (made.shared, made.dynamic, made.children) == (True, True, ())
    assert dynamic_plan("pool", 7, 2, float("inf")).max_children == float("inf")
    assert dynamic_plan("pool", 7, 2, 0).max_children == 0


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("max_restarts", [-1, 1.0, True, "3", None]),
        ("max_seconds", [0, -1.0, float("nan"), True, "5", None]),
        ("max_children", [-1, 1.5, True, "3", None, float("nan"), float("-inf")]),
    ],
)
def test_a_dynamic_plan_that_cannot_work_names_its_field(field: str, values: list[Any]) -> None:
    for value in values:
        good: dict[str, Any] = {"max_restarts": 3, "max_seconds": 5.0, "max_children": 10}
        with pytest.raises(InvalidSpec) as caught:
            dynamic_plan("class Pool", **{**good, field: value})
        assert (caught.value.child, caught.value.field) == ("class Pool", field)
        assert repr(value) in str(caught.value)


# Names


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
        *[
            ("strategy", value, "must be 'one_for_one', 'one_for_all' or 'rest_for_one'")
            for value in ("all_for_one", "", None, 1)
        ],
        *[("max_restarts", value, "must be an int from 0 up") for value in (-1, 1.0, True, "3", None)],
        *[
            ("max_seconds", value, "must be a positive number of seconds or math.inf")
            for value in (0, -1.0, float("nan"), float("-inf"), True, "5", None)
        ],
        *[("parallel_start", value, "must be True or False") for value in (0, 1, "yes", None)],
        *[
            ("auto_shutdown", value, "must be 'never', 'any_significant' or 'all_significant'")
            for value in ("always", "", None, True)
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
