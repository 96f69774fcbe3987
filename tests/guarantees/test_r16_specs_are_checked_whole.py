"""R16: a bad option or value is refused at declaration; it names the child, the field and what is allowed."""

# ruff: noqa: PT012 - what raises is the `async with` as a whole

from __future__ import annotations

import math
import types
from typing import Any

import pytest
from tenacity import wait_fixed

from tests.guarantees.cast_of_supervision import Part, Player
from understudy import (
    Actor,
    ActorSystem,
    ChildSpec,
    InvalidActor,
    InvalidSpec,
    Mailbox,
    StartError,
    Supervisor,
    UnderstudyError,
    child,
    handler,
    supervisor,
)
from understudy._plans._spec import Options

SECONDS = ("positive", "seconds")
FIXED = wait_fixed(2)

BAD_OPTIONS: list[tuple[str, object, tuple[str, ...]]] = [
    *(
        ("restart", value, ("permanent", "transient", "temporary"))
        for value in ("always", "", "Permanent", None, 1, True)
    ),
    *(
        ("shutdown", value, ("seconds", "infinity", "brutal_kill"))
        for value in (-1, -0.5, math.nan, "soon", "", None, True, [5])
    ),
    *(
        ("mailbox", value, ("capacity", "Mailbox"))
        for value in (0, -1, 1.5, math.nan, -math.inf, "big", None, True, [10])
    ),
    *(("start_timeout", value, SECONDS) for value in (0, -1, math.nan, -math.inf, "soon", None, True)),
    *(("name", value, ("letters", "digits")) for value in ("", "a/b", "a b", "ä", "a\n", ".", "..", None, 7)),
    *(("backoff", value, ("wait strategy", "tenacity")) for value in (3, "exponential", None, [1, 2])),
    *(("reset_after", value, SECONDS) for value in (0, -1, math.nan, "soon", None, True)),
    *(("on_failure", value, ("exception classes", "directives")) for value in (None, "resume", 3)),
    *(("max_handling_seconds", value, SECONDS) for value in (0, -1, math.nan, "soon", None, True)),
    *(("max_restarts", value, ("int", "0")) for value in (-1, 1.5, "3", None, True, math.inf)),
    *(("max_seconds", value, SECONDS) for value in (0, -1, math.nan, "5", None, True)),
    *(("on_restart", value, ("'wait'", "'fail'")) for value in ("drop", "", None, True)),
    *((key, value, ("True", "False")) for key in ("significant", "trap_exits") for value in (0, 1, "yes", None)),
    *(("depends_on", value, ("names",)) for value in ("database", None, 3)),
]


@pytest.mark.parametrize(("field", "value", "allowed"), BAD_OPTIONS, ids=lambda value: repr(value))
def test_a_bad_value_names_the_child_the_field_and_what_is_allowed(
    field: str, value: object, allowed: tuple[str, ...]
) -> None:
    with pytest.raises(InvalidSpec) as caught:
        child(Player, Part()).options(**{"name": "worker-3", field: value})
    error = caught.value
    assert isinstance(error, ValueError)
    assert error.field == field
    text = str(error)
    assert field in text
    for word in (*allowed, repr(value)):
        assert word in text
    assert (repr(value) if field == "name" else "worker-3") in error.child
    assert error.child in text


def test_the_sentence_reads_well() -> None:
    with pytest.raises(InvalidSpec) as caught:
        child(Player, Part()).options(name="worker-3", restart="always")  # type: ignore[arg-type]
    expected = "restart must be 'permanent', 'transient' or 'temporary', got 'always' (child 'worker-3')"
    assert str(caught.value) == expected


def test_a_child_without_a_name_is_named_by_its_class() -> None:
    with pytest.raises(InvalidSpec, match="player"):
        child(Player, Part()).options(restart="always")  # type: ignore[arg-type]


@pytest.mark.parametrize("key", ["restarts", "shutdwn", "Name", "strategy", "max_children", "depends_onn", "given"])
def test_an_unknown_option_names_the_child_the_option_and_those_there_are(key: str) -> None:
    with pytest.raises(InvalidSpec) as caught:
        child(Player, Part()).options(**{"name": "worker-3", key: 1})
    text = str(caught.value)
    for word in ("worker-3", repr(key), *Options.__annotations__):
        assert word in text


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"restart": "permanent"}, "restart"),
        ({"restart": "transient"}, "restart"),
        ({"restart": "temporary"}, "restart"),
        ({"shutdown": 0.001}, "shutdown"),
        ({"shutdown": 7}, "shutdown"),
        ({"shutdown": "infinity"}, "shutdown"),
        ({"shutdown": "brutal_kill"}, "shutdown"),
        ({"mailbox": 1}, "mailbox"),
        ({"mailbox": math.inf}, "mailbox"),
        ({"mailbox": Mailbox(capacity=5)}, "mailbox"),
        ({"start_timeout": 0.5}, "start_timeout"),
        ({"start_timeout": math.inf}, "start_timeout"),
        ({"name": "A-b_c.9"}, "name"),
        ({"backoff": FIXED}, "backoff"),
        ({"reset_after": 2.5}, "reset_after"),
        ({"on_failure": {}}, "on_failure"),
        ({"on_failure": {ValueError: "resume", Exception: "escalate"}}, "on_failure"),
        ({"max_handling_seconds": 2.5}, "max_handling_seconds"),
        ({"max_restarts": 0}, "max_restarts"),
        ({"max_seconds": math.inf}, "max_seconds"),
        ({"on_restart": "wait"}, "on_restart"),
        ({"on_restart": "fail"}, "on_restart"),
        ({"significant": True}, "significant"),
        ({"depends_on": ("a", "b")}, "depends_on"),
    ],
)
def test_good_values_are_taken(options: dict[str, Any], field: str) -> None:
    spec = child(Player, Part()).options(**options)
    taken = spec.get(field)
    expected = (
        Mailbox(capacity=options[field])
        if field == "mailbox" and not isinstance(options[field], Mailbox)
        else options[field]
    )
    assert taken == expected


def test_options_make_a_copy_and_leave_the_first_spec_as_it_was() -> None:
    spec = child(Player, Part())
    changed = spec.options(name="a").options(restart="transient")
    assert (spec.name, spec.get("restart")) == (None, None)
    assert (changed.name, changed.get("restart")) == ("a", "transient")
    with pytest.raises(InvalidSpec):
        changed.options(restart="never")  # type: ignore[arg-type]
    assert changed.get("restart") == "transient"


# Supervisors.


BAD_PLANS: list[tuple[str, object, tuple[str, ...]]] = [
    *(("parallel_start", value, ("True", "False")) for value in (0, 1, "yes", None)),
    *(
        ("auto_shutdown", value, ("never", "any_significant", "all_significant"))
        for value in ("always", "", None, True)
    ),
    *(("strategy", value, ("one_for_one", "one_for_all", "rest_for_one")) for value in ("one_for_two", "", None, 1)),
    *(("max_restarts", value, ("int", "0")) for value in (-1, 1.5, "3", None, True, math.inf)),
    *(("max_seconds", value, SECONDS) for value in (0, -1, math.nan, "5", None, True)),
]


@pytest.mark.parametrize(("field", "value", "allowed"), BAD_PLANS, ids=lambda value: repr(value))
def test_a_bad_value_of_a_declared_supervisor_is_refused_where_it_is_declared(
    field: str, value: object, allowed: tuple[str, ...]
) -> None:
    part = Part()
    with pytest.raises(InvalidSpec) as caught:
        supervisor("pool", part.spec(), **{field: value})  # type: ignore[arg-type]
    error = caught.value
    assert error.field == field
    for word in ("pool", field, repr(value), *allowed):
        assert word in str(error)
    assert part.starts == 0


def test_an_unknown_keyword_of_a_declared_supervisor_is_refused() -> None:
    with pytest.raises((InvalidSpec, TypeError), match="max_restart"):
        supervisor("pool", Part().spec(), max_restart=3)  # type: ignore[call-arg]


@pytest.mark.parametrize("name", ["", "a/b", "a b", None, 5])
def test_a_bad_name_of_a_declared_supervisor_is_refused(name: object) -> None:
    with pytest.raises(InvalidSpec, match="name"):
        supervisor(name, Part().spec())  # type: ignore[arg-type]


def test_two_children_of_the_same_name_are_refused() -> None:
    with pytest.raises(InvalidSpec) as caught:
        supervisor("pool", Part("a").spec(), Part("b").spec(), Part("a").spec())
    assert "pool" in str(caught.value)
    assert "'a'" in str(caught.value)
    assert caught.value.field == "name"


@pytest.mark.parametrize("bad", [Player, "player", None, 5, lambda: None])
def test_a_child_that_is_no_spec_is_refused(bad: object) -> None:
    with pytest.raises(InvalidSpec, match="pool"):
        supervisor("pool", Part().spec(), bad)  # type: ignore[arg-type]


@pytest.mark.parametrize("bad", [int, "player", None, 5, Part])
def test_a_child_that_is_no_actor_is_refused(bad: Any) -> None:
    with pytest.raises((InvalidSpec, InvalidActor, TypeError)):
        child(bad)


def with_class_attributes(**attributes: object) -> type[Supervisor]:
    def children(self: Supervisor) -> list[ChildSpec[Any]]:
        return [part_of_class.spec()]

    part_of_class = Part()
    attributes["part_of_class"] = part_of_class
    return type("Pool", (Supervisor,), {"children": children, **attributes})


def chain_of(error: BaseException | None) -> str:
    told = ""
    while error is not None:
        told += f"{error} "
        error = error.__cause__
    return told


@pytest.mark.parametrize(("field", "value", "allowed"), BAD_PLANS, ids=lambda value: repr(value))
@pytest.mark.asyncio
async def test_a_bad_value_in_a_supervisor_class_is_refused_before_any_child_starts(
    field: str, value: object, allowed: tuple[str, ...]
) -> None:
    pool: Any = None
    with pytest.raises(UnderstudyError) as caught:
        pool = with_class_attributes(**{field: value})
        async with ActorSystem(pool):
            pytest.fail("the body must not be entered")
    told = chain_of(caught.value)
    for word in (field, repr(value), *allowed):
        assert word in told
    assert "pool" in told.lower()
    assert pool is None or pool.part_of_class.starts == 0


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("restart", "always"),
        ("shutdown", -1),
        ("mailbox", 0),
        ("start_timeout", 0),
        ("backoff", 3),
        ("reset_after", 0),
        ("on_failure", "resume"),
        ("max_handling_seconds", -1),
        ("on_restart", "drop"),
    ],
)
@pytest.mark.asyncio
async def test_a_bad_default_in_an_actor_class_is_refused_before_it_starts(field: str, value: object) -> None:
    started: list[str] = []

    def __init__(self: Any) -> None:
        started.append("bad")

    before = Part("before")
    with pytest.raises(InvalidSpec) as caught:
        body = {"number": number, "defaults": {field: value}, "__init__": __init__}
        bad: Any = types.new_class("Bad", (Actor[int],), {}, lambda namespace: namespace.update(body))
        async with ActorSystem(supervisor("root", before.spec(), child(bad))):
            pytest.fail("the body must not be entered")
    told = chain_of(caught.value)
    assert field in told
    assert repr(value) in told
    assert "bad" in told.lower()
    assert started == []
    assert before.starts == 0


@handler
def number(self: Any, message: int) -> None: ...


class Careless(Supervisor):
    """The second of its three children is declared badly."""

    def __init__(self, parts: list[Part], how: str) -> None:
        self.parts, self.how = parts, how

    def children(self) -> Any:
        a, b, c = (part.spec() for part in self.parts)
        match self.how:
            case "bad value":
                return [a, b.options(restart="always"), c]  # type: ignore[arg-type]
            case "unknown option":
                return [a, b.options(restrat="permanent"), c]  # type: ignore[call-arg]
            case "same name":
                return [a, b, c.options(name=b.name or "")]
            case "no spec":
                return [a, Player, c]
            case "no list":
                return a
            case "nothing":
                return None
            case _:
                raise LookupError("of the declaration")


@pytest.mark.parametrize(
    "how", ["bad value", "unknown option", "same name", "no spec", "no list", "nothing", "an error of its own"]
)
@pytest.mark.asyncio
async def test_nothing_starts_when_one_of_several_children_is_declared_badly(how: str) -> None:
    parts = [Part(name) for name in "abc"]
    async with ActorSystem() as system:
        with pytest.raises(StartError) as caught:
            await system.spawn(child(Careless, parts, how))
        assert [part.starts for part in parts] == [0, 0, 0]
        told = chain_of(caught.value)
        assert "careless" in told.lower()
        assert ("of the declaration" if how == "an error of its own" else "") in told
        assert system.find("careless", Supervisor) is None


@pytest.mark.parametrize("tree", [5, "program", Player, object(), int])
@pytest.mark.asyncio
async def test_what_is_no_tree_is_refused(tree: Any) -> None:
    with pytest.raises((InvalidSpec, TypeError)):
        async with ActorSystem(tree):
            pytest.fail("the body must not be entered")


# A backoff is tried out where it is declared.


def test_a_backoff_that_cannot_be_called_as_tenacity_does_is_refused_with_what_it_raised() -> None:
    def careless(state: Any) -> float:
        raise LookupError("no such attempt")

    for bad, words in ((careless, ["LookupError", "no such attempt"]), (lambda: 1.0, ["TypeError"])):
        with pytest.raises(InvalidSpec) as caught:
            child(Player, Part()).options(name="worker-3", backoff=bad)  # type: ignore[arg-type]
        assert caught.value.field == "backoff"
        for word in words:
            assert word in str(caught.value)


def test_one_that_answers_no_number_is_refused() -> None:
    with pytest.raises(InvalidSpec, match="backoff"):
        child(Player, Part()).options(backoff=lambda state: "soon")  # type: ignore[arg-type,return-value]


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        ({ValueError: "ignore"}, ["ValueError", "'ignore'", "resume", "restart", "stop", "escalate"]),
        ({"ValueError": "resume"}, ["'ValueError'"]),
        ({int: "resume"}, ["int"]),
    ],
    ids=str,
)
def test_a_bad_rule_is_named_with_its_key_or_its_directive(rules: Any, words: list[str]) -> None:
    with pytest.raises(InvalidSpec) as caught:
        child(Player, Part()).options(name="worker-3", on_failure=rules)
    for word in ("worker-3", *words):
        assert word in str(caught.value)


@pytest.mark.parametrize("option", ["max_restarts", "max_seconds", "significant", "depends_on"])
def test_what_belongs_to_a_place_is_no_default_of_a_class(option: str) -> None:
    value: Any = {"max_restarts": 3, "max_seconds": 5.0, "significant": True, "depends_on": ["a"]}[option]
    with pytest.raises(InvalidSpec, match=option):
        types.new_class("Bad", (Player,), {}, lambda namespace: namespace.update({"defaults": {option: value}}))
