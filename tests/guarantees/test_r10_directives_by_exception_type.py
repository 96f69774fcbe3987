"""R10: what an error means is said by its type: restart, resume, stop or escalate."""

from __future__ import annotations

import asyncio
from typing import Any, Literal

import pytest

from tests.guarantees.cast_of_supervision import Call, Flat, Note, Part, Player, boom, settle
from tests.guarantees.cast_of_trees import listed, only, staged
from understudy import (
    ActorFailed,
    ActorStopped,
    Crashed,
    Refused,
    RestartsExceeded,
    child,
    supervisor,
)

DIRECTIVES = ["resume", "restart", "stop", "escalate"]


def raises(error: BaseException) -> Any:
    def fail(*_: object) -> None:
        raise error

    return fail


def raises_later(error: BaseException) -> Any:
    async def fail(*_: object) -> None:
        await asyncio.sleep(0.1)
        raise error

    return fail


def message(error: BaseException, how: str) -> Any:
    match how:
        case "def":
            return Flat(what=raises(error))
        case "async def":
            return Call(what=raises(error))
        case _:
            return Call(what=raises_later(error))


handlers = pytest.mark.parametrize("how", ["def", "async def", "async def that has waited"])


# Resume


@handlers
@pytest.mark.parametrize("by", ["tell", "ask"])
@pytest.mark.asyncio
async def test_resume_keeps_the_state_and_counts_nothing(how: str, by: str) -> None:
    a = Part("a")
    async with staged(a.spec(on_failure={ValueError: "resume"}), max_restarts=0) as stage:
        ref, error = stage["a"], ValueError("small")
        for number in range(10):
            ref.tell(Note(number=number))
            if by == "tell":
                ref.tell(message(error, how))
            else:
                with pytest.raises(ActorFailed) as caught:
                    await ref.ask(message(error, how))
                assert caught.value.__cause__ is error
        await asyncio.sleep(5)
        assert await ref.ask(Flat(what=lambda actor: actor.memory)) == list(range(10))
        assert (a.starts, a.ends, ref.status, stage.top.status) == (1, [], "running", "running")
        assert (stage.diary.restarting, stage.diary.stopped, stage.diary.given_up) == ([], [], [])
        assert stage.system.statistics().restarted == 0
        assert stage.diary.dead == []


@pytest.mark.asyncio
async def test_resume_keeps_children_and_the_order_of_what_waits() -> None:
    a, below = Part("a"), Part("below")
    async with staged(a.spec(on_failure={ValueError: "resume"})) as stage:
        ref = stage["a"]
        low: Any = await ref.ask(Call(what=lambda actor: actor.context.spawn(below.spec())))
        ref.tell(Note(number=1))
        ref.tell(Flat(what=raises(ValueError())))
        ref.tell(Note(number=2))
        await settle()
        assert a.notes_by_incarnation == {1: [1, 2]}
        assert (low.status, below.starts, below.ends) == ("running", 1, [])


@pytest.mark.asyncio
async def test_each_asker_gets_an_error_of_its_own_when_it_is_resumed() -> None:
    a = Part("a")
    async with staged(a.spec(on_failure={ValueError: "resume"})) as stage:
        asks = [asyncio.ensure_future(stage["a"].ask(Flat(what=raises(ValueError())))) for _ in range(3)]
        errors = await asyncio.gather(*asks, return_exceptions=True)
        assert all(isinstance(error, ActorFailed) for error in errors)
        assert len({id(error) for error in errors}) == 3


@pytest.mark.asyncio
async def test_resume_is_about_errors_in_handlers_not_about_a_start() -> None:
    a = Part("a", initialize=only(2, raises(ValueError())))
    async with staged(a.spec(on_failure={ValueError: "resume"})) as stage:
        stage["a"].tell(Flat(what=boom))
        await settle()
        # There is no state that could be kept: it is started again.
        assert (a.starts, stage["a"].status) == (3, "running")


# Restart


@handlers
@pytest.mark.asyncio
async def test_restart_leaves_it_to_the_restart_type(how: str) -> None:
    permanent, temporary = Part("permanent"), Part("temporary")
    rules: Any = {ValueError: "restart"}
    async with staged(permanent.spec(on_failure=rules), temporary.spec(on_failure=rules, restart="temporary")) as stage:
        for name in ("permanent", "temporary"):
            stage[name].tell(message(ValueError(), how))
        await asyncio.sleep(1)
        assert (permanent.starts, temporary.starts) == (2, 1)


@pytest.mark.asyncio
async def test_what_no_rule_names_is_a_restart() -> None:
    a = Part("a")
    async with staged(a.spec(on_failure={KeyError: "stop"})) as stage:
        stage["a"].tell(Flat(what=raises(ValueError())))
        await settle()
        assert a.starts == 2


# Stop


@handlers
@pytest.mark.asyncio
async def test_stop_ends_it_for_good_keeps_its_spec_and_counts_nothing(how: str) -> None:
    a, b = Part("a"), Part("b")
    async with staged(a.spec(on_failure={ValueError: "stop"}), b.spec(), max_restarts=0) as stage:
        ref = stage["a"]
        ref.tell(message(ValueError(), how))
        ref.tell(Note(number=1))
        asked = asyncio.ensure_future(ref.ask(Flat(what=boom)))
        reason = await ref.wait_stopped()
        assert isinstance(reason, Crashed)
        assert isinstance(reason.error, ValueError)
        with pytest.raises(ActorStopped):
            await asked
        assert stage.diary.lost_notes() == [1]
        assert await listed(stage.top) == {"a": "stopped", "b": "running"}
        assert (a.starts, b.starts, len(a.ends)) == (1, 1, 1)
        assert stage.diary.restarting == []
        assert (await stage.top.restart_child("a")).status == "running"


@pytest.mark.parametrize("strategy", ["one_for_all", "rest_for_one"])
@pytest.mark.asyncio
async def test_stop_does_not_restart_the_group(strategy: Any) -> None:
    a, b = Part("a"), Part("b")
    async with staged(a.spec(on_failure={ValueError: "stop"}), b.spec(), strategy=strategy) as stage:
        stage["a"].tell(Flat(what=raises(ValueError())))
        await settle()
        assert (a.starts, b.starts) == (1, 1)


@pytest.mark.asyncio
async def test_a_temporary_child_that_stops_by_a_rule_is_forgotten_as_always() -> None:
    a = Part("a")
    async with staged(a.spec(on_failure={ValueError: "stop"}, restart="temporary")) as stage:
        stage["a"].tell(Flat(what=raises(ValueError())))
        await settle()
        assert await listed(stage.top) == {}


# Escalate


@handlers
@pytest.mark.asyncio
async def test_escalate_is_a_failure_of_the_supervisor_which_its_parent_restarts(how: str) -> None:
    journal: list[str] = []
    a, b, other = (Part(name, journal) for name in ("a", "b", "other"))
    inner = supervisor("inner", a.spec(on_failure={ValueError: "escalate"}), b.spec(), max_restarts=0)
    async with staged(inner, other.spec()) as stage:
        refs = [stage["inner/a"], stage["inner/b"]]
        uids = [ref.uid for ref in refs]
        refs[0].tell(message(ValueError("great"), how))
        refs[0].tell(Note(number=1))
        await asyncio.sleep(1)
        assert (a.starts, b.starts, other.starts) == (2, 2, 1)
        assert [ref.uid for ref in refs] == uids
        assert a.notes_by_incarnation == {2: [1]}
        [(path, reason, failures)] = stage.diary.restarting
        assert (path, failures) == ("/user/top/inner", 1)
        assert isinstance(reason, Crashed)
        # Nobody has given up: it was not a matter of counting.
        assert stage.diary.given_up == []


@pytest.mark.asyncio
async def test_the_failure_of_the_supervisor_names_the_child_and_its_error() -> None:
    error = ValueError("great")
    async with staged(Part("a").spec(on_failure={ValueError: "escalate"})) as stage:
        stage["a"].tell(Flat(what=raises(error)))
        reason = await stage.top.wait_stopped()
        assert isinstance(reason, Crashed)
        assert "/user/top/a" in str(reason)
        causes: list[BaseException | None] = [reason.error]
        while causes[-1] is not None:
            causes.append(causes[-1].__cause__)
        assert error in causes


@pytest.mark.asyncio
async def test_an_escalation_counts_in_the_window_of_the_parent() -> None:
    a = Part("a")
    inner = supervisor("inner", a.spec(on_failure={ValueError: "escalate"}))
    async with staged(inner, max_restarts=1) as stage:
        ref = stage["inner/a"]
        ref.tell(Flat(what=raises(ValueError())))
        await settle()
        ref.tell(Flat(what=raises(ValueError())))
        reason = await stage.top.wait_stopped()
        assert isinstance(reason, RestartsExceeded)
        assert (reason.child, reason.count) == ("/user/top/inner", 2)


@pytest.mark.asyncio
async def test_a_transient_supervisor_is_restarted_after_an_escalation_and_a_temporary_one_is_not() -> None:
    kinds: tuple[Literal["transient", "temporary"], ...] = ("transient", "temporary")
    parts = {kind: Part(kind) for kind in kinds}
    specs = [
        supervisor(kind, part.spec(on_failure={ValueError: "escalate"})).options(restart=kind)
        for kind, part in parts.items()
    ]
    async with staged(*specs) as stage:
        for kind in parts:
            stage[f"{kind}/{kind}"].tell(Flat(what=raises(ValueError())))
        await settle()
        assert {kind: part.starts for kind, part in parts.items()} == {"transient": 2, "temporary": 1}


@pytest.mark.asyncio
async def test_a_supervisor_may_escalate_what_has_been_escalated_to_it() -> None:
    leaf, other = Part("leaf"), Part("other")
    low = supervisor("low", leaf.spec(on_failure={ValueError: "escalate"})).options(
        on_failure={ActorFailed: "escalate", ValueError: "escalate"}
    )
    async with staged(supervisor("high", low, other.spec(), max_restarts=0)) as stage:
        stage["high/leaf".replace("leaf", "low/leaf")].tell(Flat(what=raises(ValueError())))
        await settle()
        assert (leaf.starts, other.starts) == (2, 2)
        assert [path for path, *_ in stage.diary.restarting] == ["/user/top/high"]


@pytest.mark.asyncio
async def test_escalation_to_a_plain_actor_is_its_crash() -> None:
    a, below = Part("a"), Part("below")
    async with staged(a.spec()) as stage:
        ref = stage["a"]
        spec = below.spec(on_failure={ValueError: "escalate"})
        low: Any = await ref.ask(Call(what=lambda actor: actor.context.spawn(spec)))
        low.tell(Flat(what=raises(ValueError())))
        await settle()
        assert (a.starts, below.starts, ref.status, low.status) == (2, 1, "running", "stopped")


# Which rule


class Great(Exception): ...


class Greater(Great, ValueError): ...


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ({Exception: "stop", ValueError: "resume"}, "resume"),
        ({ValueError: "resume", Exception: "stop"}, "resume"),
        ({Great: "stop", Greater: "resume", Exception: "restart"}, "resume"),
        ({Exception: "resume"}, "resume"),
        ({BaseException: "resume"}, "resume"),
        ({Great: "stop", ValueError: "resume"}, "stop"),  # the nearer base, by the order of the bases
        ({ValueError: "resume", Great: "stop"}, "stop"),
        ({KeyError: "resume"}, "restart"),
    ],
    ids=str,
)
@pytest.mark.asyncio
async def test_the_most_specific_type_decides_not_the_order_of_the_rules(rules: Any, expected: str) -> None:
    a = Part("a")
    error = Greater() if Great in rules or ValueError not in rules else ValueError()
    async with staged(a.spec(on_failure=rules)) as stage:
        stage["a"].tell(Flat(what=raises(error)))
        await settle()
        status = (await listed(stage.top))["a"]
        told = {("running", 1): "resume", ("running", 2): "restart", ("stopped", 1): "stop"}
        assert told[status, a.starts] == expected


@pytest.mark.asyncio
async def test_an_error_of_another_actor_that_comes_by_ask_is_not_matched_by_its_own_type() -> None:
    """M14: what the asker gets is an ActorFailed."""
    a, b = Part("a"), Part("b")
    async with staged(a.spec(on_failure={ValueError: "stop", ActorFailed: "resume"}), b.spec()) as stage:
        other = stage["b"]
        with pytest.raises(ActorFailed):
            await stage["a"].ask(Call(what=lambda actor: other.ask(Flat(what=raises(ValueError())))))
        assert (await listed(stage.top))["a"] == "running"
        assert a.starts == 1


@pytest.mark.asyncio
async def test_a_kill_and_a_refusal_are_no_errors() -> None:
    a = Part("a")
    async with staged(a.spec(on_failure={BaseException: "stop"})) as stage:
        with pytest.raises(Refused):
            await stage["a"].ask(Flat(what=raises(Refused("no"))))
        assert a.starts == 1
        stage["a"].kill()
        await settle()
        assert (a.starts, stage["a"].status) == (2, "running")


@pytest.mark.asyncio
async def test_an_error_of_the_system_is_matched_like_any_other() -> None:
    a = Part("a")
    async with staged(a.spec(on_failure={RecursionError: "resume", SystemExit: "stop"})) as stage:
        stage["a"].tell(Flat(what=raises(RecursionError())))
        await settle()
        assert a.starts == 1
        stage["a"].tell(Flat(what=raises(SystemExit())))
        await settle()
        assert (await listed(stage.top), a.starts) == ({"a": "stopped"}, 1)


@pytest.mark.asyncio
async def test_a_class_may_say_it_for_all_its_actors_and_the_spec_has_the_last_word() -> None:
    class Patient(Player):
        defaults = {"on_failure": {ValueError: "resume"}}

    one, two = Part("one"), Part("two")
    specs = [
        child(Patient, one).options(name="one"),
        child(Patient, two).options(name="two", on_failure={ValueError: "stop"}),
    ]
    async with staged(*specs) as stage:
        for name in ("one", "two"):
            stage[name].tell(Flat(what=raises(ValueError())))
        await settle()
        assert await listed(stage.top) == {"one": "running", "two": "stopped"}
        assert (one.starts, two.starts) == (1, 1)


@pytest.mark.parametrize("directive", DIRECTIVES)
@pytest.mark.asyncio
async def test_rules_hold_for_an_actor_that_was_spawned(directive: Any) -> None:
    a = Part("a")
    async with staged() as stage:
        host = await stage.system.spawn(Part("host").spec())
        spec = a.spec(on_failure={ValueError: directive})
        ref: Any = await host.ask(Call(what=lambda actor: actor.context.spawn(spec)))
        ref.tell(Flat(what=raises(ValueError())))
        await settle()
        expected = {"resume": ("running", 1), "restart": ("running", 2)}.get(directive, ("stopped", 1))
        assert (ref.status, a.starts) == expected
        assert host.status == "running"
