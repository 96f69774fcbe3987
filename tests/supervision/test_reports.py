"""Crash reports: one for each failed incarnation, with all that helps and no value that nobody asked for."""

from __future__ import annotations

import asyncio
import gc
import weakref
from typing import Any

import pytest

from tests.guarantees.cast_of_supervision import Boom, Call, Diary, Flat, Gate, Part, boom, settle, stop_yourself, takes
from tests.guarantees.cast_of_trees import later, staged
from understudy import (
    Actor,
    ActorSystem,
    Crashed,
    CrashReport,
    Instrument,
    RestartsExceeded,
    StartError,
    StartFailed,
    SystemCollapsed,
    child,
    handler,
    supervisor,
)


class Clerk(Instrument):
    def __init__(self) -> None:
        self.reports: list[CrashReport] = []
        self.resumed: list[tuple[str, object, str]] = []

    def crash_reported(self, report: CrashReport) -> None:
        self.reports.append(report)

    def actor_resumed(self, path: str, reason: object, message_type: str) -> None:
        self.resumed.append((path, reason, message_type))


class Secretive(Actor[Flat | Call]):
    """Has something to hide, and something to tell."""

    def __init__(self, password: str, describe: Any = None) -> None:
        self.password = password
        self.count = 3
        self.described = describe
        self.broken = Broken()

    def describe(self) -> Any:
        return self.described(self) if self.described is not None else {}

    @handler
    def flat(self, message: Flat) -> object:
        return message.what(self)

    @handler
    async def call(self, message: Call) -> object:
        outcome = message.what(self)
        return await outcome if hasattr(outcome, "__await__") else outcome


class Broken:
    def __repr__(self) -> str:
        raise AssertionError("nobody has any business here")


def nested(*specs: Any, **tuning: Any) -> Any:
    return supervisor("top", supervisor("inner", *specs, **tuning)).options(restart="temporary")


@pytest.mark.parametrize("how", ["def", "async def"])
@pytest.mark.asyncio
async def test_a_report_says_who_failed_at_what_why_and_under_whom(how: str) -> None:
    clerk = Clerk()
    async with ActorSystem(instruments=[clerk]) as system:
        await system.spawn(nested(child(Secretive, "hunter2").options(name="a")))
        ref: Any = system.lookup("top/inner/a")
        error = ValueError("no tone")

        def fail(actor: object) -> None:
            raise error from KeyError("cause")

        ref.tell(Flat(what=fail) if how == "def" else Call(what=fail))
        await settle()
        [report] = clerk.reports
        assert (report.path, report.actor, report.incarnation) == ("/user/top/inner/a", "Secretive", 1)
        assert report.message_type == ("Flat" if how == "def" else "Call")
        assert report.ancestors[:2] == ("/user/top/inner", "/user/top")
        assert report.ancestors[-1] == "/user"
        assert isinstance(report.reason, Crashed)
        assert report.reason.error is error
        assert isinstance(report.reason.error.__cause__, KeyError)
        assert report.reason.frames[-1][2].endswith("fail")


@pytest.mark.asyncio
async def test_a_report_names_attributes_and_types_and_never_a_value() -> None:
    clerk = Clerk()
    async with ActorSystem(instruments=[clerk]) as system:
        ref: Any = await system.spawn(Secretive, "hunter2")
        ref.tell(Flat(what=boom))
        await settle()
        [report] = clerk.reports
        expected = {"password": "str", "count": "int", "described": "NoneType", "broken": "Broken"}
        assert dict(report.state) == expected
        assert dict(report.description) == {}
        assert "hunter2" not in repr(report)


@pytest.mark.asyncio
async def test_values_come_from_the_hook_alone() -> None:
    clerk = Clerk()
    async with ActorSystem(instruments=[clerk]) as system:
        ref: Any = await system.spawn(Secretive, "hunter2", lambda actor: {"count": actor.count, "open": ["a"]})
        ref.tell(Flat(what=boom))
        await settle()
        [report] = clerk.reports
        assert dict(report.description) == {"count": "3", "open": "['a']"}
        assert "hunter2" not in repr(report)


@pytest.mark.parametrize(
    "describe",
    [boom, lambda actor: None, lambda actor: 5, lambda actor: {"a": Broken()}, lambda actor: {Broken(): 1}],
    ids=["raises", "nothing", "no mapping", "a broken value", "a broken key"],
)
@pytest.mark.asyncio
async def test_a_hook_that_fails_costs_the_description_and_nothing_else(describe: Any) -> None:
    clerk = Clerk()
    async with ActorSystem(instruments=[clerk]) as system:
        ref: Any = await system.spawn(Secretive, "hunter2", describe)
        ref.tell(Flat(what=boom))
        await settle()
        [report] = clerk.reports
        assert report.state["password"] == "str"
        assert all(isinstance(value, str) for value in report.description.values())
        assert ref.status == "running"
        assert await ref.ask(Flat(what=lambda actor: actor.context.incarnation)) == 2


@pytest.mark.asyncio
async def test_each_failure_makes_one_report_never_several() -> None:
    clerk = Clerk()
    async with ActorSystem(instruments=[clerk]) as system:
        await system.spawn(nested(Part("a").spec(), Part("b").spec(), max_restarts=10))
        for name in ("a", "b", "a"):
            ref: Any = system.lookup(f"top/inner/{name}")
            ref.tell(Flat(what=boom))
            await settle()
        told = [(report.path.rpartition("/")[2], report.incarnation) for report in clerk.reports]
        assert told == [("a", 1), ("b", 1), ("a", 2)]
        assert [report.ancestors[0] for report in clerk.reports] == ["/user/top/inner"] * 3


@pytest.mark.parametrize("end", ["normal", "stop", "drain", "end of the supervisor", "kill"])
@pytest.mark.asyncio
async def test_an_end_that_is_no_crash_makes_none(end: str) -> None:
    clerk = Clerk()
    async with ActorSystem(instruments=[clerk]) as system:
        top: Any = await system.spawn(nested(Part("a").spec(restart="transient")))
        ref: Any = system.lookup("top/inner/a")
        match end:
            case "normal":
                ref.tell(Flat(what=stop_yourself))
            case "stop":
                ref.stop()
            case "drain":
                ref.drain()
            case "kill":
                ref.kill()
            case _:
                top.stop()
        await settle()
    assert clerk.reports == []


@pytest.mark.asyncio
async def test_members_that_are_stopped_with_their_group_make_none() -> None:
    clerk = Clerk()
    async with ActorSystem(instruments=[clerk]) as system:
        await system.spawn(nested(Part("a").spec(), Part("b").spec(), strategy="one_for_all"))
        system.lookup("top/inner/a").tell(Flat(what=boom))
        await settle()
        assert [report.path for report in clerk.reports] == ["/user/top/inner/a"]


@pytest.mark.asyncio
async def test_a_failed_restart_is_reported_without_a_message_and_a_failed_first_start_by_its_starter() -> None:
    clerk = Clerk()
    async with ActorSystem(instruments=[clerk]) as system:
        with pytest.raises(StartError):
            await system.spawn(Part("x", initialize=boom).spec())
        assert clerk.reports == []  # whoever started it has the error
        await system.spawn(
            nested(Part("a", initialize=lambda actor: boom() if actor.incarnation == 2 else None).spec())
        )
        system.lookup("top/inner/a").tell(Flat(what=boom))
        await settle()
        assert [(report.incarnation, report.message_type) for report in clerk.reports] == [(1, "Flat"), (2, None)]
        assert isinstance(clerk.reports[1].reason, StartFailed)


@pytest.mark.asyncio
async def test_one_that_could_not_even_be_constructed_is_reported_by_its_class() -> None:
    clerk = Clerk()
    async with ActorSystem(instruments=[clerk]) as system:
        await system.spawn(nested(Part("a", construct=lambda actor: boom() if actor.incarnation == 2 else None).spec()))
        system.lookup("top/inner/a").tell(Flat(what=boom))
        await settle()
        assert [(report.actor, report.incarnation) for report in clerk.reports] == [("Player", 1), ("Player", 2)]


@pytest.mark.asyncio
async def test_a_resumed_failure_is_told_as_that() -> None:
    clerk = Clerk()
    async with ActorSystem(instruments=[clerk]) as system:
        ref = await system.spawn(Part("a").spec(on_failure={Boom: "resume"}))
        ref.tell(Flat(what=boom))
        await settle()
        [(path, reason, message_type)] = clerk.resumed
        assert (path, message_type) == ("/user/a", "Flat")
        assert isinstance(reason, Crashed)
        assert isinstance(reason.error, Boom)


@pytest.mark.asyncio
async def test_an_instrument_that_raises_harms_nobody_and_the_others_hear_it() -> None:
    class Clumsy(Instrument):
        def crash_reported(self, report: CrashReport) -> None:
            raise AssertionError("clumsy")

    complaints: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: complaints.append(context))
    clerk = Clerk()
    async with ActorSystem(instruments=[Clumsy(), clerk]) as system:
        ref = await system.spawn(Part("a").spec())
        ref.tell(Flat(what=boom))
        await settle()
        assert (len(clerk.reports), ref.status) == (1, "running")
    assert len(complaints) == 1
    asyncio.get_running_loop().set_exception_handler(None)


@pytest.mark.asyncio
async def test_a_report_is_made_for_those_who_want_it_and_not_at_all_if_nobody_does() -> None:
    class Choosy(Clerk):
        def wants_crash_report(self, path: str, reason: object, message_type: str | None) -> bool:
            asked.append((path, type(reason), message_type))
            return len(asked) == 2

    asked: list[Any] = []
    described: list[object] = []

    def describe(actor: object) -> dict[str, object]:
        described.append(actor)
        return {}

    choosy = Choosy()
    async with ActorSystem(instruments=[choosy]) as system:
        ref = await system.spawn(child(Secretive, "hunter2", describe))
        for _ in range(3):
            ref.tell(Flat(what=boom))
            await settle()
        assert asked == 3 * [("/user/secretive", Crashed, "Flat")]
        assert [report.incarnation for report in choosy.reports] == [2]
        # The log has wanted one of the first; the others are equal to it.
        assert len(described) == 2
        assert system.statistics().crashed == 3


@pytest.mark.asyncio
async def test_a_report_holds_nothing_of_the_incarnation_alive() -> None:
    class Ballast: ...

    held: list[Any] = []

    def fail(actor: Any) -> None:
        ballast = Ballast()
        actor.ballast = ballast
        held.append(weakref.ref(ballast))
        raise ValueError("no tone")

    clerk = Clerk()
    async with ActorSystem(instruments=[clerk]) as system:
        ref: Any = await system.spawn(Secretive, "hunter2")
        ref.tell(Flat(what=fail))
        await settle()
        gc.collect()
        assert held[0]() is None
        assert clerk.reports[0].state["ballast"] == "Ballast"


# The chain of an escalation to the root


async def collapse(tree: Any, leaf: str, crashes: int) -> SystemCollapsed:
    """What a program ends with whose *leaf* crashes that often."""

    async def program() -> None:
        async with ActorSystem(tree, name="show") as system:
            for _ in range(crashes):
                system.lookup(leaf).tell(Flat(what=boom))
            await asyncio.sleep(1000)

    with pytest.raises(SystemCollapsed) as caught:
        await program()
    return caught.value


@pytest.mark.asyncio
async def test_the_collapse_tells_the_whole_chain_who_how_often_and_why() -> None:
    low = supervisor("low", Part("leaf").spec(), max_restarts=1, max_seconds=100.0)
    tree = supervisor("root", supervisor("mid", low, max_restarts=0), max_restarts=0)
    error = await collapse(tree, "root/mid/low/leaf", 2)
    assert error.chain == (
        "/user/root/mid failed once",
        "/user/root/mid/low failed once",
        "/user/root/mid/low/leaf failed 2 times in 100 s",
        "crashed: Boom",
    )
    for line in error.chain:
        assert line in str(error)
    reason: Any = error.reason
    for path, count in (("/user/root/mid", 1), ("/user/root/mid/low", 1), ("/user/root/mid/low/leaf", 2)):
        assert isinstance(reason, RestartsExceeded)
        assert (reason.child, reason.count) == (path, count)
        reason = reason.last_reason
    assert isinstance(reason, Crashed)
    assert isinstance(reason.error, Boom)


@pytest.mark.asyncio
async def test_a_chain_that_begins_with_a_directive_names_the_child_too() -> None:
    leaf = Part("leaf").spec(on_failure={Boom: "escalate"})
    error = await collapse(supervisor("root", supervisor("mid", leaf), max_restarts=0), "root/mid/leaf", 1)
    for word in ("/user/root/mid failed once", "/user/root/mid/leaf", "Boom"):
        assert word in str(error)


@pytest.mark.asyncio
async def test_a_chain_that_ends_in_a_start_names_what_it_could_not_start() -> None:
    leaf = Part("leaf", initialize=later(boom)).spec()
    mid = supervisor("mid", leaf, max_restarts=1)
    error = await collapse(supervisor("root", mid, max_restarts=0), "root/mid/leaf", 1)
    assert error.chain[1] == "/user/root/mid/leaf failed 2 times in 5 s"
    assert "did not start" in error.chain[-1]
    assert "Boom" in error.chain[-1]


@pytest.mark.asyncio
async def test_giving_up_is_told_once_for_each_that_gives_up() -> None:
    diary = Diary()
    leaf = Part("leaf")
    spec = supervisor("high", supervisor("low", leaf.spec(), max_restarts=0), max_restarts=0)
    async with ActorSystem(instruments=[diary]) as system:
        top = await system.spawn(spec.options(restart="temporary"))
        system.lookup("high/low/leaf").tell(Flat(what=boom))
        await top.wait_stopped()
        assert [path for path, _ in diary.given_up] == ["/user/high/low", "/user/high"]


# What the tree shows meanwhile


@pytest.mark.asyncio
async def test_the_tree_shows_status_incarnation_and_queue_of_a_child_that_is_being_restarted() -> None:
    gate = Gate()
    a, b = Part("a", initialize=later(gate)), Part("b")
    async with staged(a.spec(), b.spec()) as stage:
        await stage.top.terminate_child("b")
        stage["a"].tell(Flat(what=boom))
        await gate.reached.wait()
        for _ in range(3):
            stage["a"].tell(Call(what=takes(0)))
        nodes = {node.path: node for node in stage.system.tree().walk()}
        node = nodes["/user/top/a"]
        assert (node.status, node.incarnation, node.waiting) == ("restarting", 2, 3)
        assert nodes["/user/top/b"].status == "stopped"
        assert "restarting" in str(stage.system.tree())
        assert "restarting" in stage.system.tree().mermaid()
        assert '"restarting"' in stage.system.tree().json()
        gate.open()
