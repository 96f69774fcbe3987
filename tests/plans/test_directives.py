"""What a failure means, by the type of the error."""

from __future__ import annotations

import inspect
from collections import OrderedDict
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy._plans._directives import check_on_failure, directive_for
from understudy.exceptions import InvalidSpec


class Left(Exception): ...


class Right(Exception): ...


class Both(Left, Right): ...


class Below(Both, ValueError): ...


KINDS = [BaseException, Exception, ValueError, Left, Right, Both, Below, KeyError, SystemExit]
DIRECTIVES = ["restart", "resume", "stop", "escalate"]
RULES: Any = st.dictionaries(st.sampled_from(KINDS), st.sampled_from(DIRECTIVES))


@pytest.mark.parametrize(
    ("rules", "error", "expected"),
    [
        ({}, ValueError(), "restart"),
        ({ValueError: "resume"}, ValueError(), "resume"),
        ({ValueError: "resume"}, UnicodeDecodeError("a", b"", 0, 0, ""), "resume"),
        ({ValueError: "resume"}, KeyError(), "restart"),
        ({Exception: "stop", ValueError: "resume"}, ValueError(), "resume"),
        ({ValueError: "restart", Exception: "stop"}, ValueError(), "restart"),
        ({Exception: "stop"}, SystemExit(), "restart"),
        ({BaseException: "stop"}, SystemExit(), "stop"),
        ({Left: "stop", Right: "resume"}, Both(), "stop"),
        ({Right: "resume", Left: "stop"}, Both(), "stop"),
        ({Right: "resume", Exception: "stop"}, Both(), "resume"),
        ({ValueError: "resume", Right: "stop"}, Below(), "stop"),
        ({LookupError: "resume"}, KeyError(), "resume"),
    ],
    ids=str,
)
def test_worked_cases(rules: Any, error: BaseException, expected: str) -> None:
    assert directive_for(rules, error) == expected


@given(RULES, st.sampled_from(KINDS))
def test_the_nearest_class_in_the_order_of_the_bases_decides(rules: Any, kind: type[BaseException]) -> None:
    expected = next((rules[each] for each in inspect.getmro(kind) if each in rules), "restart")
    assert directive_for(rules, kind()) == expected


@given(RULES, st.sampled_from(KINDS), st.randoms())
def test_the_order_of_the_rules_means_nothing(rules: Any, kind: type[BaseException], random: Any) -> None:
    shuffled = list(rules.items())
    random.shuffle(shuffled)
    assert directive_for(dict(shuffled), kind()) == directive_for(rules, kind())


@pytest.mark.parametrize("make", [dict, OrderedDict, MappingProxyType])
def test_any_mapping_will_do_and_is_copied(make: Any) -> None:
    source = {ValueError: "resume", Exception: "stop"}
    checked = check_on_failure(make(source), "child 'a'")
    assert checked == source
    source[KeyError] = "stop"
    assert KeyError not in checked


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, ["directives", "None"]),
        ("resume", ["'resume'"]),
        (["resume"], ["['resume']"]),
        ({"ValueError": "resume"}, ["'ValueError'", "exception classes"]),
        ({ValueError(): "resume"}, ["ValueError()", "exception classes"]),
        ({int: "resume"}, ["int", "exception classes"]),
        ({None: "resume"}, ["None"]),
        ({ValueError: "ignore"}, ["'ignore'", "ValueError", *map(repr, DIRECTIVES)]),
        ({ValueError: None}, ["None", "ValueError"]),
        ({ValueError: "Resume"}, ["'Resume'"]),
        ({ValueError: "resume", KeyError: 1}, ["KeyError", "1"]),
    ],
    ids=str,
)
def test_what_is_no_rule_is_refused_by_name(value: Any, words: list[str]) -> None:
    with pytest.raises(InvalidSpec) as caught:
        check_on_failure(value, "child 'a'")
    assert (caught.value.field, caught.value.child) == ("on_failure", "child 'a'")
    for word in words:
        assert word in str(caught.value)
