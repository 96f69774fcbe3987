"""Why actors end: a closed set of values, what they say, and what is kept of an error."""

from __future__ import annotations

import copy
import dataclasses
import gc
import inspect
import itertools
import pickle
import re
import sys
import weakref
from typing import Any, get_args

import pytest

from understudy import reasons
from understudy.exceptions import StartError, StartTimeout
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
    describe,
    frames_of,
    is_abnormal,
    root_error,
    without_traceback,
)

ERROR = ValueError("no tone")

TEXTS: list[tuple[ExitReason, str]] = [
    (Normal(), "a normal end"),
    (Shutdown(), "shut down"),
    (Shutdown("drained"), "shut down (drained)"),
    (Killed(), "killed"),
    (Killed(first=Shutdown("left")), "killed while ending (shut down (left))"),
    (Crashed(ERROR), "crashed: ValueError: no tone"),
    (Crashed(KeyError()), "crashed: KeyError"),
    (Crashed(SystemExit(3)), "crashed: SystemExit: 3"),
    (NotFound(), "not found"),
    (NodeDown("left-wing"), "node left-wing is down"),
    (StartFailed(ERROR), "did not start: ValueError: no tone"),
    (
        StartFailed(StartError(path="/user/a/b", reason=StartFailed(ERROR))),
        "did not start: /user/a/b did not start: ValueError: no tone",
    ),
    (
        StartFailed(StartTimeout(path="/user/a/b", seconds=30)),
        "did not start: /user/a/b did not start: initialize had not ended after 30 s",
    ),
    (
        RestartsExceeded("/user/a", Crashed(ERROR), 4, 5.0),
        "/user/a failed 4 times in 5 s, last: crashed: ValueError: no tone",
    ),
    (RestartsExceeded("/user/a", Killed(), 1, 5.0), "/user/a failed once, last: killed"),
]

ABNORMAL = {Killed, Crashed, NodeDown, StartFailed, RestartsExceeded}


# A closed set


def test_the_set_of_reasons_is_closed() -> None:
    in_module = {cls for _, cls in inspect.getmembers(reasons, dataclasses.is_dataclass) if isinstance(cls, type)}
    assert set(get_args(ExitReason)) == in_module
    assert {type(reason) for reason, _ in TEXTS} == in_module
    assert {cls.__name__ for cls in in_module} < set(reasons.__all__)


def test_the_table_in_the_docstring_names_each_reason_and_which_are_abnormal() -> None:
    rows = re.findall(r"^    ([A-Z]\w+)  +(\S.*)$", reasons.__doc__ or "", re.MULTILINE)
    assert {name for name, _ in rows} == {cls.__name__ for cls in get_args(ExitReason)}
    assert {name for name, words in rows if words.endswith("abnormal")} == {cls.__name__ for cls in ABNORMAL}


@pytest.mark.parametrize(("reason", "text"), TEXTS)
def test_a_reason_says_what_happened(reason: ExitReason, text: str) -> None:
    assert str(reason) == text


@pytest.mark.parametrize("reason", [reason for reason, _ in TEXTS], ids=str)
def test_a_reason_is_abnormal_if_it_is_a_failure(reason: ExitReason) -> None:
    assert is_abnormal(reason) is (type(reason) in ABNORMAL)


@pytest.mark.parametrize("reason", [reason for reason, _ in TEXTS], ids=str)
def test_a_reason_is_a_value_that_cannot_be_changed(reason: ExitReason) -> None:
    twin = copy.copy(reason)

    assert reason == twin
    assert hash(reason) == hash(twin)
    assert not isinstance(reason, BaseException)
    assert not hasattr(reason, "__dict__")
    for each in dataclasses.fields(reason):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(reason, each.name, None)
    with pytest.raises((AttributeError, TypeError)):
        reason.more = 1  # type: ignore[union-attr]
    assert reason == twin


@pytest.mark.parametrize("reason", [reason for reason, _ in TEXTS], ids=str)
def test_a_reason_survives_pickling(reason: ExitReason) -> None:
    again = pickle.loads(pickle.dumps(reason))
    assert (type(again), str(again), repr(again)) == (type(reason), str(reason), repr(reason))


def test_reasons_of_different_kinds_and_contents_differ() -> None:
    every = [reason for reason, _ in TEXTS]
    assert len(set(every)) == len(every)
    assert Crashed(ERROR) != StartFailed(ERROR)
    assert Crashed(ValueError("no tone")) != Crashed(ValueError("no tone"))


def test_where_an_error_was_raised_does_not_make_another_reason_of_it() -> None:
    here, there = Crashed(ERROR, (("a.py", 1, "f"),)), Crashed(ERROR, (("b.py", 2, "g"),))
    assert here == there
    assert hash(here) == hash(there)
    assert "a.py" not in repr(here)


# What lies under a reason


def nested(depth: int) -> ExitReason:
    reason: ExitReason = Crashed(ERROR)
    for level in range(depth):
        reason = RestartsExceeded("/user" + "/a" * (depth - level), reason, 4, 5.0)
    return reason


def test_a_chain_names_each_link_once_outermost_first() -> None:
    lines = describe(nested(3))
    assert lines == [
        "/user/a failed 4 times in 5 s",
        "/user/a/a failed 4 times in 5 s",
        "/user/a/a/a failed 4 times in 5 s",
        "crashed: ValueError: no tone",
    ]
    assert "\n".join(lines).count("no tone") == 1


@pytest.mark.parametrize("reason", [Normal(), Shutdown("left"), Killed(), Crashed(ERROR), StartFailed(ERROR)], ids=str)
def test_a_reason_that_nothing_lies_under_is_one_line(reason: ExitReason) -> None:
    assert describe(reason) == [str(reason)]


@pytest.mark.parametrize(
    ("reason", "error"),
    [
        (Crashed(ERROR), ERROR),
        (StartFailed(ERROR), ERROR),
        (RestartsExceeded("/user/a", Crashed(ERROR), 1, 5.0), ERROR),
        (nested(5), ERROR),
        (Killed(first=Crashed(ERROR)), ERROR),
        (RestartsExceeded("/user/a", Killed(first=nested(2)), 1, 5.0), ERROR),
        (RestartsExceeded("/user/a", Killed(), 1, 5.0), None),
        (Killed(), None),
        (Killed(first=Shutdown("left")), None),
        (Normal(), None),
        (Shutdown(), None),
        (NotFound(), None),
        (NodeDown("left-wing"), None),
    ],
)
def test_the_root_of_a_reason_is_the_error_at_its_bottom(reason: ExitReason, error: BaseException | None) -> None:
    assert root_error(reason) is error


# What is kept of an error


def inner(error: BaseException) -> None:
    raise error


class Outer:
    def method(self, error: BaseException) -> None:
        inner(error)


def raised(error: BaseException) -> BaseException:
    try:
        Outer().method(error)
    except BaseException as caught:
        return caught
    raise AssertionError


def test_frames_are_plain_data_outermost_first() -> None:
    frames = frames_of(raised(ValueError("x")).__traceback__)

    assert [where for _, _, where in frames] == ["raised", "Outer.method", "inner"]
    assert {file for file, _, _ in frames} == {__file__}
    assert frames[-1][1] == inner.__code__.co_firstlineno + 1
    assert all(type(value) in (str, int) for frame in frames for value in frame)


def test_no_traceback_has_no_frames() -> None:
    assert frames_of(None) == ()


def test_frames_of_a_recursion_without_end_are_taken_without_recursion() -> None:
    def deeper() -> None:
        deeper()

    try:
        deeper()
    except RecursionError as error:
        frames = frames_of(error.__traceback__)
    assert len(frames) > 100
    assert len(frames) <= sys.getrecursionlimit() + 1


def chained() -> ValueError:
    """An error with a cause, that has a context, that has a cause."""
    try:
        try:
            try:
                inner(KeyError("deepest"))
            except KeyError as deepest:
                inner_cause = deepest
                raise TypeError("context") from inner_cause
        except TypeError:
            inner(OSError("cause"))
    except OSError as cause:
        try:
            raise ValueError("top") from cause
        except ValueError as top:
            return top
    raise AssertionError


def test_cutting_reaches_causes_and_contexts_and_keeps_the_chain() -> None:
    top = chained()
    chain: list[BaseException] = [top, top.__cause__, top.__cause__.__context__]  # type: ignore[union-attr, list-item]
    chain.append(chain[-1].__cause__)  # type: ignore[arg-type]
    assert [type(error) for error in chain] == [ValueError, OSError, TypeError, KeyError]
    assert all(error.__traceback__ is not None for error in chain)

    assert without_traceback(top) is top

    assert all(error.__traceback__ is None for error in chain)
    assert top.__cause__ is chain[1]
    assert chain[1].__context__ is chain[2]
    assert chain[2].__cause__ is chain[3]


def test_cutting_reaches_a_context_that_was_suppressed() -> None:
    try:
        try:
            inner(KeyError("hidden"))
        except KeyError:
            raise ValueError("top") from None
    except ValueError as error:
        top = error
    without_traceback(top)
    assert top.__context__ is not None
    assert top.__context__.__traceback__ is None
    assert top.__suppress_context__


def test_cutting_reaches_into_groups_and_the_causes_of_their_members() -> None:
    member, cause = raised(ValueError("member")), raised(KeyError("cause"))
    member.__cause__ = cause
    deep = raised(OSError("deep"))
    group = raised(BaseExceptionGroup("outer", [member, ExceptionGroup("inner", [deep])]))  # type: ignore[list-item]
    group.__context__ = raised(TypeError("context of the group"))

    without_traceback(group)

    for error in (group, member, cause, deep, group.__context__):
        assert error.__traceback__ is None
    assert isinstance(group, BaseExceptionGroup)
    assert group.exceptions[0] is member


def test_cutting_ends_where_causes_go_in_a_circle() -> None:
    first, second, third = raised(ValueError("1")), raised(ValueError("2")), raised(ValueError("3"))
    first.__cause__, second.__context__, third.__cause__ = second, third, first
    third.__context__ = third

    assert without_traceback(first) is first

    assert (first.__traceback__, second.__traceback__, third.__traceback__) == (None, None, None)


def test_cutting_a_very_long_chain_needs_no_recursion() -> None:
    errors = [ValueError(str(number)) for number in range(20_000)]
    for upper, lower in itertools.pairwise(errors):
        upper.__cause__ = lower
    raised(errors[-1])
    assert errors[-1].__traceback__ is not None

    without_traceback(errors[0])

    assert errors[-1].__traceback__ is None
    while errors:  # freeing such a chain from its head would recurse in the interpreter
        errors.pop().__cause__ = None


class Heavy:
    pass


def test_an_error_that_was_cut_holds_no_local_variable() -> None:
    def fail() -> weakref.ref[Any]:
        heavy = Heavy()
        kept.append(weakref.ref(heavy))
        try:
            raise KeyError("cause")
        except KeyError as cause:
            raise ExceptionGroup("all", [ValueError("x")]) from cause

    kept: list[weakref.ref[Any]] = []
    try:
        fail()
    except ExceptionGroup as error:
        held = error
    gc.collect()
    assert kept[0]() is not None

    without_traceback(held)
    gc.collect()

    assert kept[0]() is None
