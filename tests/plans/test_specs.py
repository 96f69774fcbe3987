"""The declaration of a child: what each option may be, and what it says when it is something else."""

from __future__ import annotations

import asyncio
import dataclasses
import math
import re
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tenacity import wait_fixed

from understudy._plans._spec import DEFAULTS, OPTIONS, ChildSpec, Options, check_name, check_options, snake_case
from understudy.exceptions import InvalidSpec
from understudy.mailbox import Mailbox


class Horn:
    """Stands for an actor class: a spec only holds it."""


def constant(state: object) -> float:
    return 1.0


def needs_two(one: object, two: object) -> float:
    return 1.0


FIXED = wait_fixed(3)

GOOD: dict[str, list[tuple[Any, Any]]] = {
    "name": [(name, name) for name in ("a", "A-1", "_", "north.wing", "0", "...a", "x" * 500)],
    "restart": [(kind, kind) for kind in ("permanent", "transient", "temporary")],
    "shutdown": [("infinity", "infinity"), ("brutal_kill", "brutal_kill"), (2, 2.0), (0.001, 0.001)],
    "mailbox": [
        (1, Mailbox(capacity=1)),
        (10**6, Mailbox(capacity=10**6)),
        (10**400, Mailbox(capacity=10**400)),
        (math.inf, Mailbox(capacity=math.inf)),
        (Mailbox(capacity=7), Mailbox(capacity=7)),
    ],
    "start_timeout": [(1, 1.0), (0.5, 0.5), (math.inf, math.inf), (10**400, math.inf)],
    "backoff": [(FIXED, FIXED), (constant, constant)],
    "reset_after": [(1, 1.0), (0.5, 0.5), (math.inf, math.inf)],
    "on_failure": [
        ({}, {}),
        ({ValueError: "resume", OSError: "escalate"}, {ValueError: "resume", OSError: "escalate"}),
    ],
    "max_handling_seconds": [(1, 1.0), (0.5, 0.5), (math.inf, math.inf)],
    "max_concurrency": [(1, 1), (10**6, 10**6)],
    "max_restarts": [(0, 0), (3, 3)],
    "max_seconds": [(1, 1.0), (math.inf, math.inf)],
    "on_restart": [("wait", "wait"), ("fail", "fail")],
    "significant": [(True, True), (False, False)],
    "trap_exits": [(True, True), (False, False)],
    "stash": [(0, 0), (5, 5)],
    "leftovers": [(print, print)],
    "depends_on": [((), ()), (["a", "b"], ("a", "b")), (("a",), ("a",))],
}

NO_NUMBERS: list[Any] = [math.nan, -math.inf, -1, 0, -0.0, True, False, None, "5", [5], Decimal(5), Fraction(5), 5j]

BAD: dict[str, list[Any]] = {
    "name": ["", ".", "..", "...", "a/b", "a b", "a\n", "ä", "a\x00", "../x", None, 7, b"a", ["a"]],
    "restart": ["", "always", "Permanent", "permanent ", None, 1, True, ["permanent"], {"permanent"}],
    "shutdown": [*NO_NUMBERS, "", "Infinity", "kill", math.inf, 10**400],
    "mailbox": [*NO_NUMBERS, 1.5, 3.0, 0.5, "inf", {"capacity": 3}],
    "start_timeout": [*NO_NUMBERS, "infinity", -(10**400)],
    "backoff": [None, 3, 3.0, "exponential", [1, 2], needs_two, wait_fixed],
    "reset_after": [*NO_NUMBERS, "infinity"],
    "on_failure": [None, "resume", {ValueError: "ignore"}, {"ValueError": "resume"}, {int: "stop"}, [ValueError]],
    "max_handling_seconds": [*NO_NUMBERS, "infinity"],
    "max_concurrency": [-1, 0, 1.5, math.inf, True, None, "3"],
    "max_restarts": [-1, 1.5, math.inf, True, None, "3"],
    "max_seconds": [*NO_NUMBERS, "infinity"],
    "on_restart": ["", "Wait", None, True, "drop"],
    "significant": [None, 0, 1, "yes"],
    "trap_exits": [None, 0, 1, "yes"],
    "stash": [-1, 1.5, math.inf, True, None, "3"],
    "leftovers": [3, None, "save", asyncio.sleep],
    "depends_on": [None, "a", 3, [None], ["a/b"], [""]],
}

ALLOWED = {
    "name": "must be letters, digits, '_', '.' and '-'",
    "restart": "must be 'permanent', 'transient' or 'temporary'",
    "shutdown": "must be a positive number of seconds, 'infinity' or 'brutal_kill'",
    "mailbox": "must be a capacity (a whole number from 1 on, or math.inf) or a Mailbox",
    "start_timeout": "must be a positive number of seconds or math.inf",
    "backoff": "must be a wait strategy of tenacity",
    "reset_after": "must be a positive number of seconds or math.inf",
    "on_failure": "must ",
    "max_handling_seconds": "must be a positive number of seconds or math.inf",
    "max_concurrency": "must be an int from 1 up",
    "max_restarts": "must be an int from 0 up",
    "max_seconds": "must be a positive number of seconds or math.inf",
    "on_restart": "must be 'wait' or 'fail'",
    "significant": "must be True or False",
    "trap_exits": "must be True or False",
    "stash": "must be an int from 0 up",
    "leftovers": "must be a `def` function of a list",
    "depends_on": "must be ",
}


def short(value: object) -> str:
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))[:30]


def test_every_option_has_its_rows_here() -> None:
    assert set(GOOD) == set(BAD) == set(ALLOWED) == set(Options.__annotations__)
    assert set(OPTIONS) == set(Options.__annotations__)
    assert set(DEFAULTS) < set(OPTIONS)


@pytest.mark.parametrize(
    ("option", "value", "kept"), [(option, *row) for option, rows in GOOD.items() for row in rows], ids=short
)
def test_a_good_value_is_taken_and_changes_only_its_own_field(option: str, value: Any, kept: Any) -> None:
    spec = ChildSpec(Horn, (1,), {"key": "c"})

    changed = spec.options(**{option: value})

    assert changed.get(option) == kept
    assert type(changed.get(option)) is type(kept)
    assert all(changed.get(other) is None for other in OPTIONS if other != option)
    assert dataclasses.replace(changed, name=None, given={}) == spec
    assert spec.get(option) is None


@pytest.mark.parametrize(
    ("option", "value"), [(option, value) for option, values in BAD.items() for value in values], ids=short
)
def test_a_bad_value_names_child_option_value_and_what_is_allowed(option: str, value: Any) -> None:
    given = {"restart": "transient", "shutdown": 2.0, "mailbox": Mailbox(capacity=3)}
    spec = ChildSpec(Horn, name="solo", given=given)
    before = dataclasses.replace(spec)

    with pytest.raises(InvalidSpec) as caught:
        spec.options(**{option: value})

    error = caught.value
    assert error.field == option
    assert error.child == f"child {value if option == 'name' else 'solo'!r}"
    assert str(error).startswith(f"{option} {ALLOWED[option]}")
    if not isinstance(value, dict | list):  # of those it tells the entry
        assert repr(value)[:100] in str(error)
    assert str(error).endswith(f"({error.child})")
    assert spec == before


def test_one_bad_value_among_good_ones_is_enough_to_change_nothing() -> None:
    spec = ChildSpec(Horn, name="solo")
    with pytest.raises(InvalidSpec, match="shutdown"):
        spec.options(restart="temporary", shutdown=-1, mailbox=5)
    assert spec == ChildSpec(Horn, name="solo")


@pytest.mark.parametrize("key", ["restrat", "factory", "args", "kwargs", "given", "strategy", "Name", ""])
def test_an_unknown_option_is_named_with_those_there_are(key: str) -> None:
    with pytest.raises(InvalidSpec) as caught:
        ChildSpec(Horn).options(**{key: 1})  # type: ignore[misc]
    text = str(caught.value)
    assert text == f"options are {', '.join(OPTIONS)}, got {key!r} (child 'horn')"


def test_a_child_is_named_by_its_new_name_else_its_name_else_its_class() -> None:
    for spec, options, who in [
        (ChildSpec(Horn, name="old"), {"name": "new"}, "child 'new'"),
        (ChildSpec(Horn, name="old"), {}, "child 'old'"),
        (ChildSpec(Horn), {}, "child 'horn'"),
    ]:
        with pytest.raises(InvalidSpec) as caught:
            spec.options(restart="always", **options)  # type: ignore[arg-type]
        assert caught.value.child == who


def test_options_are_given_one_after_the_other_and_the_last_word_counts() -> None:
    spec = ChildSpec(Horn).options(name="a", restart="transient").options(name="b").options(shutdown=1)
    assert spec == ChildSpec(Horn, name="b", given={"restart": "transient", "shutdown": 1.0})
    assert spec.options() == spec


@pytest.mark.parametrize("name", [each.name for each in dataclasses.fields(ChildSpec)])
def test_a_spec_cannot_be_changed(name: str) -> None:
    spec = ChildSpec(Horn, name="solo")
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(spec, name, "other")
    with pytest.raises(dataclasses.FrozenInstanceError):
        delattr(spec, name)
    assert spec == ChildSpec(Horn, name="solo")


def test_two_specs_share_nothing_that_can_be_changed() -> None:
    first, second = ChildSpec(Horn), ChildSpec(Horn)
    first.kwargs["key"] = "c"  # type: ignore[index]
    assert second.kwargs == {}


def test_checking_returns_a_copy_with_what_the_values_stand_for() -> None:
    given: Options = {"mailbox": 5, "shutdown": 2}
    checked = check_options(given, "class Horn")
    assert checked == {"mailbox": Mailbox(capacity=5), "shutdown": 2.0}
    assert given == {"mailbox": 5, "shutdown": 2}


def test_the_options_that_few_have_are_given_one_after_the_other_too() -> None:
    spec = ChildSpec(Horn).options(significant=True).options(depends_on=["a"]).options(significant=False)
    assert (spec.get("significant"), spec.get("depends_on")) == (False, ("a",))
    assert ChildSpec(Horn).get("significant") is None
    first = ChildSpec(Horn).options(max_restarts=1)
    assert first.options(max_restarts=2).get("max_restarts") == 2
    assert first.get("max_restarts") == 1


@pytest.mark.parametrize("option", sorted(set(OPTIONS) - set(DEFAULTS)))
def test_what_is_about_a_place_among_siblings_is_no_default_of_a_class(option: str) -> None:
    good: Any = {option: GOOD[option][0][0]}
    assert check_options(good, "class Horn")
    with pytest.raises(InvalidSpec, match="options are"):
        check_options(good, "class Horn", DEFAULTS)


# Names


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("Meter", "meter"),
        ("HTTPServerPool", "http_server_pool"),
        ("HTTPServer", "http_server"),
        ("PoolHTTP", "pool_http"),
        ("ServerHTTPPool", "server_http_pool"),
        ("ABTest", "ab_test"),
        ("X", "x"),
        ("XY", "xy"),
        ("AClass", "a_class"),
        ("Model2", "model2"),
        ("Model2Big", "model2_big"),
        ("HTML5Parser", "html5_parser"),
        ("already_snake", "already_snake"),
        ("Mixed_Case", "mixed_case"),
        ("_Private", "_private"),
        ("camelCase", "camel_case"),
        ("Größe", "gr__e"),
        ("Box[int]", "box_int_"),
        ("<lambda>", "_lambda_"),
        ("a.b-c", "a.b-c"),
    ],
)
def test_a_class_is_called_by_its_name_in_snake_case(name: str, label: str) -> None:
    assert snake_case(name) == label
    assert ChildSpec(type(name, (), {})).label == label


LETTERS = st.one_of(st.sampled_from("ABCXYZabcxyz_0123"), st.characters(categories=("Lu", "Ll", "Lo", "Nd")))


@given(st.text(LETTERS, min_size=1, max_size=20).filter(str.isidentifier))
def test_what_any_class_is_called_by_default_can_be_part_of_a_path(name: str) -> None:
    label = snake_case(name)
    assert check_name(label, "child") == label
    assert label == label.lower()
    assert snake_case(label) == label


@given(st.text(max_size=20))
def test_a_name_is_taken_as_it_is_or_refused(name: str) -> None:
    good = name != "" and all(char.isascii() and (char.isalnum() or char in "_.-") for char in name)
    good = good and set(name) != {"."}
    if good:
        assert check_name(name, "child") == name
    else:
        with pytest.raises(InvalidSpec):
            check_name(name, "child")
