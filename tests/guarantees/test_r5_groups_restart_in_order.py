"""R5 for one_for_all and rest_for_one: who is stopped and started with the failed child, in which order, and how often
that counts."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tenacity import wait_fixed

from tests.guarantees.cast_of_supervision import (
    STUBBORN,
    Call,
    Diary,
    Flat,
    Gate,
    Note,
    Part,
    Player,
    boom,
    now,
    settle,
    stop_yourself,
    takes,
)
from tests.guarantees.cast_of_trees import Stage, first, guest, later, listed, only, staged
from understudy import (
    ActorRef,
    ActorStopped,
    ActorSystem,
    ChildError,
    ChildNotFound,
    ChildSpec,
    Crashed,
    Ignore,
    RestartsExceeded,
    StartError,
    StartFailed,
    SupervisorRef,
    supervisor,
)
from understudy.testing import Faults, Simulation, simulate

GROUPS: list[Any] = ["one_for_all", "rest_for_one"]
strategies = pytest.mark.parametrize("strategy", GROUPS)


def expected_steps(
    strategy: Any, names: list[str], failed: str, *, stopped: str = "", temporary: str = ""
) -> list[str]:
    """R5 in five lines: the journal of a restart in which nothing else happens."""
    members = names if strategy == "one_for_all" else names[names.index(failed) :]
    downs = [failed, *(name for name in reversed(members) if name != failed and name not in stopped)]
    ups = [name for name in members if name not in temporary]
    return [
        f"{name} {step}"
        for names, steps in ((downs, ("stops", "down")), (ups, ("starts", "up")))
        for name in names
        for step in steps
    ]


# Who, and in which order.


@strategies
@pytest.mark.parametrize("failed", ["a", "b", "c", "d"])
@pytest.mark.asyncio
async def test_members_stop_in_reverse_and_start_in_order(strategy: Any, failed: str) -> None:
    journal: list[str] = []
    parts = {name: Part(name, journal) for name in "abcd"}
    async with staged(*(part.spec() for part in parts.values()), strategy=strategy) as stage:
        journal.clear()
        stage[failed].tell(Flat(what=boom))
        await settle()
        assert journal == expected_steps(strategy, list("abcd"), failed)
        spared = "" if strategy == "one_for_all" else "abcd"[: "abcd".index(failed)]
        assert {name for name, part in parts.items() if part.starts == 1} == set(spared)
        assert set((await listed(stage.top)).values()) == {"running"}
        # Only the failed one has failed: the others have been asked to stop.
        assert {path for path, *_ in stage.diary.crashed} == {f"/user/top/{failed}"}
        assert {path for path, *_ in stage.diary.restarting} == {f"/user/top/{failed}"}


@simulate(schedules=40, faults=Faults(stall=0.0))
async def test_the_order_of_a_group_is_the_same_whoever_runs_first(sim: Simulation) -> None:
    """Any tree, any member that fails, any that have ended before."""
    journal: list[str] = []
    strategy = sim.random.choice(GROUPS)
    names = list("abcdef"[: sim.random.randint(1, 6)])
    failed = sim.random.choice(names)
    slow = sim.random.random() < 0.5
    parts, specs, stopped, temporary = {}, [], "", ""
    for name in names:
        pause = takes(sim.random.choice([0, 0.1])) if slow else None
        parts[name] = Part(name, journal, initialize=pause, shutdown=pause)
        kind = sim.random.choice(["permanent", "transient", "temporary"] if name != failed else ["permanent"])
        temporary += name if kind == "temporary" else ""
        specs.append(parts[name].spec(restart=kind))
    top: Any = await sim.system.spawn(supervisor("top", *specs, strategy=strategy, max_restarts=1))
    for name in names:
        if name != failed and sim.random.random() < 0.2:
            stopped += name
            await top.terminate_child(name)
    journal.clear()
    refs: dict[str, ActorRef[Any]] = {
        info.name: info.ref for info in await top.which_children() if info.ref is not None
    }
    uids = {name: ref.uid for name, ref in refs.items()}
    refs[failed].tell(Flat(what=boom))
    await asyncio.sleep(10)
    gone = {name for name in stopped if name in temporary}
    expected = expected_steps(
        strategy, [name for name in names if name not in gone], failed, stopped=stopped, temporary=temporary
    )
    assert journal == expected
    members = names if strategy == "one_for_all" else names[names.index(failed) :]
    for name, ref in refs.items():
        if name in members and name in temporary:
            assert (ref.status, name in await listed(top)) == ("stopped", False)
        else:
            assert (ref.status, ref.uid) == ("running", uids[name])
    assert top.status == "running"


@strategies
@pytest.mark.asyncio
async def test_each_member_is_fully_stopped_before_the_next_is_told_and_up_before_the_next_starts(
    strategy: Any,
) -> None:
    journal: list[str] = []
    gates = {name: (Gate(), Gate()) for name in "abc"}
    parts = [Part(name, journal, shutdown=first(down), initialize=later(up)) for name, (down, up) in gates.items()]
    async with staged(*(part.spec() for part in parts), strategy=strategy) as stage:
        refs = {name: stage[name] for name in "abc"}
        journal.clear()
        refs["a"].tell(Flat(what=boom))
        for name in "acb":
            await gates[name][0].reached.wait()
            await asyncio.sleep(1)
            assert journal[-1] == f"{name} stops"
            gates[name][0].open()
        for name in "abc":
            await gates[name][1].reached.wait()
            await asyncio.sleep(1)
            assert journal[-1] == f"{name} starts"
            assert refs[name].status == "restarting"
            gates[name][1].open()
        await settle()
        assert journal == expected_steps(strategy, list("abc"), "a")
        assert {ref.status for ref in refs.values()} == {"running"}


@strategies
@pytest.mark.asyncio
async def test_every_member_keeps_its_identity_and_its_mailbox_and_loses_its_state(strategy: Any) -> None:
    gate = Gate()
    a, b, c = Part("a"), Part("b"), Part("c", initialize=later(gate))
    async with staged(a.spec(), b.spec(), c.spec(), strategy=strategy) as stage:
        refs = [stage[name] for name in "abc"]
        uids = [ref.uid for ref in refs]
        for ref in refs:
            ref.tell(Note(number=0))
        await settle()
        refs[0].tell(Flat(what=boom))
        await gate.reached.wait()
        for number in range(1, 4):
            for ref in refs:
                assert ref.tell(Note(number=number)) is True
        asked = asyncio.ensure_future(refs[2].ask(Flat(what=lambda actor: actor.memory)))
        await settle()
        gate.open()
        assert await asked == [1, 2, 3]
        assert [part.notes_by_incarnation for part in (a, b, c)] == [{1: [0], 2: [1, 2, 3]}] * 3
        assert [ref.uid for ref in refs] == uids
        assert [stage[name] for name in "abc"] == refs
        assert (stage.diary.dead, stage.diary.stopped) == ([], [])


@strategies
@pytest.mark.asyncio
async def test_a_member_completes_the_message_in_hand_and_keeps_the_rest(strategy: Any) -> None:
    gate = Gate()
    a, b = Part("a"), Part("b")
    async with staged(a.spec(), b.spec(), strategy=strategy) as stage:
        in_hand = asyncio.ensure_future(stage["b"].ask(Call(what=gate)))
        await gate.reached.wait()
        stage["b"].tell(Note(number=1))
        stage["a"].tell(Flat(what=boom))
        await settle()
        assert (a.starts, b.notes) == (1, [])  # the failed one waits for all the others to stop
        gate.open()
        assert await in_hand == "passed"
        await settle()
        assert b.notes_by_incarnation == {2: [1]}


@strategies
@pytest.mark.asyncio
async def test_a_member_that_does_not_stop_in_its_grace_is_forced_and_comes_back(strategy: Any) -> None:
    gate = Gate(resists=STUBBORN)
    a, b = Part("a"), Part("b")
    async with staged(a.spec(), b.spec(shutdown=2.0), strategy=strategy) as stage:
        ref = stage["b"]
        ref.tell(Call(what=gate))
        ref.tell(Note(number=1))
        await gate.reached.wait()
        stage["a"].tell(Flat(what=boom))
        await asyncio.sleep(2.9)
        assert (a.starts, b.starts) == (1, 1)
        await asyncio.sleep(0.2)
        assert (a.starts, b.starts, ref.status) == (2, 2, "running")
        assert b.notes_by_incarnation == {2: [1]}
        gate.open()
        await settle()


@strategies
@pytest.mark.asyncio
async def test_temporary_members_are_removed(strategy: Any) -> None:
    a, b, c = Part("a"), Part("b"), Part("c")
    async with staged(a.spec(), b.spec(restart="temporary"), c.spec(), strategy=strategy) as stage:
        ref = stage["b"]
        ref.tell(Note(number=1))
        await settle()
        stage["a"].tell(Flat(what=boom))
        assert ref.tell(Note(number=2)) in (True, False)
        await settle()
        assert (a.starts, b.starts, c.starts) == (2, 1, 2)
        assert ref.status == "stopped"
        await ref.wait_stopped()
        assert len(b.ends) == 1  # stopped by the rules, not killed
        assert await listed(stage.top) == {"a": "running", "c": "running"}
        assert ref.tell(Note(number=3)) is False
        with pytest.raises(ChildNotFound):
            await stage.top.restart_child("b")


@strategies
@pytest.mark.parametrize("end", ["crash", "kill", "normal"])
@pytest.mark.asyncio
async def test_the_end_of_a_temporary_member_restarts_nobody(strategy: Any, end: str) -> None:
    a, b, c = Part("a"), Part("b"), Part("c")
    async with staged(a.spec(), b.spec(restart="temporary"), c.spec(), strategy=strategy, max_restarts=0) as stage:
        ref = stage["b"]
        ref.kill() if end == "kill" else ref.tell(Flat(what=boom if end == "crash" else stop_yourself))
        await settle()
        assert (a.starts, b.starts, c.starts, stage.top.status) == (1, 1, 1, "running")


@strategies
@pytest.mark.asyncio
async def test_the_normal_end_of_a_transient_member_restarts_nobody_and_it_comes_back_with_the_group(
    strategy: Any,
) -> None:
    a, b = Part("a"), Part("b")
    async with staged(a.spec(), b.spec(restart="transient"), strategy=strategy, max_restarts=1) as stage:
        old = stage["b"]
        old.tell(Flat(what=stop_yourself))
        await settle()
        assert (a.starts, b.starts, stage.diary.restarting) == (1, 1, [])
        stage["a"].tell(Flat(what=boom))
        await settle()
        assert (a.starts, b.starts) == (2, 2)
        new = stage["b"]
        assert (old.status, new.status) == ("stopped", "running")
        assert old.uid != new.uid
        assert old.tell(Note(number=1)) is False


@strategies
@pytest.mark.parametrize("how", ["terminate_child", "stop", "drain"])
@pytest.mark.asyncio
async def test_a_member_stopped_by_api_comes_back_as_a_new_actor_in_its_old_place(strategy: Any, how: str) -> None:
    journal: list[str] = []
    a, b, c = (Part(name, journal) for name in "abc")
    async with staged(a.spec(), b.spec(), c.spec(), strategy=strategy) as stage:
        old = stage["b"]
        if how == "terminate_child":
            await stage.top.terminate_child("b")
        else:
            getattr(old, how)()
            await old.wait_stopped()
        assert a.starts == c.starts == 1
        journal.clear()
        stage["a"].tell(Flat(what=boom))
        await settle()
        assert journal == expected_steps(strategy, list("abc"), "a", stopped="b")
        assert stage["b"].uid != old.uid
        assert await stage["b"].ask(Flat(what=lambda actor: actor.context.incarnation)) == 1


@pytest.mark.asyncio
async def test_under_rest_for_one_those_before_the_failed_one_are_not_called_back() -> None:
    a, b, c = Part("a"), Part("b"), Part("c")
    async with staged(a.spec(), b.spec(), c.spec(), strategy="rest_for_one") as stage:
        await stage.top.terminate_child("a")
        stage["b"].tell(Flat(what=boom))
        await settle()
        assert (a.starts, b.starts, c.starts) == (1, 2, 2)
        assert (await listed(stage.top))["a"] == "stopped"


@strategies
@pytest.mark.asyncio
async def test_a_normal_end_of_a_permanent_member_restarts_the_group_and_counts(strategy: Any) -> None:
    a, b = Part("a"), Part("b")
    async with staged(a.spec(), b.spec(), strategy=strategy, max_restarts=1) as stage:
        stage["a"].tell(Flat(what=stop_yourself))
        await settle()
        assert (a.starts, b.starts) == (2, 2)
        stage["a"].tell(Flat(what=stop_yourself))
        await settle()
        assert stage.top.status == "stopped"


@strategies
@pytest.mark.asyncio
async def test_a_supervisor_among_the_members_takes_its_subtree_along_and_keeps_its_identities(strategy: Any) -> None:
    journal: list[str] = []
    a, deep, c = Part("a", journal), Part("deep", journal), Part("c", journal)
    async with staged(a.spec(), supervisor("inner", deep.spec()), c.spec(), strategy=strategy) as stage:
        ref, uid = stage["inner/deep"], stage["inner/deep"].uid
        journal.clear()
        stage["a"].tell(Flat(what=boom))
        await settle()
        assert journal == expected_steps(strategy, ["a", "deep", "c"], "a")
        assert (stage["inner/deep"], ref.uid, ref.status) == (ref, uid, "running")


# Counting


@strategies
@pytest.mark.asyncio
async def test_one_restart_of_a_group_counts_once_however_many_members_it_has(strategy: Any) -> None:
    parts = [Part(f"c{number}") for number in range(20)]
    async with staged(*(part.spec() for part in parts), strategy=strategy, max_restarts=2) as stage:
        for _ in range(2):
            stage["c0"].tell(Flat(what=boom))
            await settle()
        assert {part.starts for part in parts} == {3}
        assert [failures for *_, failures in stage.diary.restarting] == [1, 2]
        assert stage.top.status == "running"


@simulate(schedules=30, faults=Faults(stall=0.0))
async def test_members_that_crash_in_the_same_tick_count_once_and_are_restarted_once(sim: Simulation) -> None:
    parts = [Part(name) for name in "abcd"]
    strategy = sim.random.choice(GROUPS)
    top: Any = await sim.system.spawn(
        supervisor("top", *(part.spec() for part in parts), strategy=strategy, max_restarts=1, max_seconds=1000.0)
    )
    crashing = sim.random.sample(parts, sim.random.randint(2, 4))
    if strategy == "rest_for_one":
        crashing = parts[: len(crashing)]
    gate = Gate()

    async def wait_and_crash(actor: object) -> None:
        await gate()
        boom()

    for part in crashing:
        sim.system.lookup(f"top/{part.name}", Player).tell(Call(what=wait_and_crash))
    await settle()
    gate.open()
    await asyncio.sleep(1)
    assert top.status == "running"
    if strategy == "one_for_all":
        assert [part.starts for part in parts] == [2, 2, 2, 2]
        assert gate.passed == len(crashing)


@strategies
@pytest.mark.asyncio
async def test_members_that_are_down_when_the_supervisor_looks_count_once(strategy: Any) -> None:
    """Crashes by `def` handlers, which are all over before anybody hears of the first."""
    parts = [Part(name) for name in "abc"]
    async with staged(*(part.spec() for part in parts), strategy=strategy, max_restarts=1) as stage:
        for name in "abc":
            stage[name].tell(Flat(what=boom))
        await settle()
        assert stage.top.status == "running"
        assert [part.starts for part in parts] == [2, 2, 2]
        assert len(stage.diary.restarting) == 1


@strategies
@pytest.mark.asyncio
async def test_a_member_that_crashes_while_the_group_stops_is_accepted_and_does_not_count(strategy: Any) -> None:
    """Both before it has been told to stop, and while it does."""
    gate, hand = Gate(), Gate()
    a, b = Part("a"), Part("b")
    c = Part("c", shutdown=first(gate))

    async def wait_and_crash(actor: object) -> None:
        await hand()
        boom()

    async with staged(a.spec(), b.spec(), c.spec(), strategy=strategy, max_restarts=1) as stage:
        stage["a"].tell(Flat(what=boom))
        await gate.reached.wait()
        stage["b"].tell(Flat(what=boom))  # c is on its way down, b has not been told
        stage["b"].tell(Note(number=1))
        await settle()
        assert (a.starts, b.starts, c.starts) == (1, 1, 1)
        gate.open()
        await settle()
        assert (a.starts, b.starts, c.starts, stage.top.status) == (2, 2, 2, "running")
        assert b.notes_by_incarnation == {2: [1]}
        assert len(stage.diary.restarting) == 1

    a, b = Part("a"), Part("b")
    async with staged(a.spec(), b.spec(), strategy=strategy, max_restarts=1) as stage:
        stage["b"].tell(Call(what=wait_and_crash))
        await hand.reached.wait()
        stage["a"].tell(Flat(what=boom))
        await settle()
        assert stage["b"].status == "stopping"
        hand.open()
        await settle()
        assert (a.starts, b.starts, stage.top.status) == (2, 2, "running")
        assert len(stage.diary.restarting) == 1


@strategies
@pytest.mark.asyncio
async def test_a_permanent_member_that_ends_normally_while_the_group_stops_does_not_count(strategy: Any) -> None:
    gate = Gate()
    a, b, c = Part("a"), Part("b"), Part("c", shutdown=first(gate))
    async with staged(a.spec(), b.spec(), c.spec(), strategy=strategy, max_restarts=1) as stage:
        stage["a"].tell(Flat(what=boom))
        await gate.reached.wait()
        stage["b"].tell(Flat(what=stop_yourself))
        await settle()
        gate.open()
        await settle()
        assert (a.starts, b.starts, c.starts, stage.top.status) == (2, 2, 2, "running")


@strategies
@pytest.mark.asyncio
async def test_a_member_that_crashes_when_it_is_up_again_but_not_yet_the_others_counts_and_begins_anew(
    strategy: Any,
) -> None:
    journal: list[str] = []
    gate = Gate()
    a, b = Part("a", journal), Part("b", journal)
    c = Part("c", journal, initialize=only(2, gate))
    async with staged(a.spec(), b.spec(), c.spec(), strategy=strategy, max_restarts=2) as stage:
        stage["a"].tell(Flat(what=boom))
        await gate.reached.wait()
        journal.clear()
        stage["b"].tell(Flat(what=boom))
        await settle()
        assert len(gate.cancelled_at) == 1  # what was starting is stopped first
        assert set((await listed(stage.top)).values()) == {"running"}
        expected = ["b stops", "b down"]
        if strategy == "one_for_all":
            expected += ["a stops", "a down", "a starts", "a up"]
        assert journal == [*expected, "b starts", "b up", "c starts", "c up"]
        assert [failures for *_, failures in stage.diary.restarting] == [1, 2]


@pytest.mark.asyncio
async def test_under_rest_for_one_a_crash_before_the_group_makes_it_larger_and_counts() -> None:
    journal: list[str] = []
    gate = Gate()
    a, b, c = Part("a", journal), Part("b", journal), Part("c", journal, shutdown=first(gate))
    async with staged(a.spec(), b.spec(), c.spec(), strategy="rest_for_one", max_restarts=2) as stage:
        stage["b"].tell(Flat(what=boom))
        await gate.reached.wait()
        journal.clear()
        stage["a"].tell(Flat(what=boom))
        await settle()
        assert journal == ["a stops", "a down"]
        gate.open()
        await settle()
        assert journal == [
            "a stops",
            "a down",
            "c down",
            *(f"{name} {step}" for name in "abc" for step in ("starts", "up")),
        ]
        assert [failures for *_, failures in stage.diary.restarting] == [1, 2]


@strategies
@pytest.mark.asyncio
async def test_a_crash_while_the_group_waits_for_its_delay(strategy: Any) -> None:
    """Those in the group are down then; under rest_for_one those before it may crash, which counts."""
    a, b, c = Part("a"), Part("b"), Part("c")
    async with staged(
        a.spec(), b.spec(backoff=wait_fixed(10)), c.spec(), strategy=strategy, max_restarts=2, max_seconds=100.0
    ) as stage:
        refs = {name: stage[name] for name in "abc"}
        refs["b"].tell(Flat(what=boom))
        await settle()
        assert {name for name, ref in refs.items() if ref.status == "restarting"} >= set("bc")
        refs["a"].tell(Flat(what=boom))
        await asyncio.sleep(5)
        if strategy == "one_for_all":
            assert (a.starts, b.starts, c.starts) == (1, 1, 1)
        else:
            assert a.starts == 2
        await asyncio.sleep(20)
        assert [ref.status for ref in refs.values()] == ["running"] * 3
        if strategy == "one_for_all":
            assert a.starts == 3  # what it was told waited, and made it crash when it was up again
        assert len(stage.diary.restarting) == 2


# Members that cannot start.


@pytest.mark.asyncio
async def test_one_for_all_stops_again_and_retries_the_whole_group() -> None:
    journal: list[str] = []
    a, c = Part("a", journal), Part("c", journal)
    b = Part("b", journal, initialize=lambda actor: boom() if actor.incarnation in (2, 3) else None)
    async with staged(a.spec(), b.spec(), c.spec(), strategy="one_for_all") as stage:
        journal.clear()
        stage["c"].tell(Flat(what=boom))
        await settle()
        failed = ["a starts", "a up", "b starts", "a stops", "a down"]
        assert journal == [
            *("c stops", "c down", "b stops", "b down", "a stops", "a down"),
            *failed,
            *failed,
            *(f"{name} {step}" for name in "abc" for step in ("starts", "up")),
        ]
        assert [failures for *_, failures in stage.diary.restarting] == [1, 2, 3]
        assert (a.starts, b.starts, c.starts) == (4, 4, 2)


@pytest.mark.asyncio
async def test_rest_for_one_keeps_those_before_the_one_that_does_not_start_and_retries_from_there() -> None:
    journal: list[str] = []
    a, b, d = Part("a", journal), Part("b", journal), Part("d", journal)
    c = Part("c", journal, initialize=lambda actor: boom() if actor.incarnation in (2, 3) else None)
    async with staged(a.spec(), b.spec(), c.spec(), d.spec(), strategy="rest_for_one") as stage:
        journal.clear()
        stage["b"].tell(Flat(what=boom))
        await settle()
        assert journal == [
            *("b stops", "b down", "d stops", "d down", "c stops", "c down"),
            *("b starts", "b up", "c starts", "c starts", "c starts", "c up", "d starts", "d up"),
        ]
        assert (a.starts, b.starts, c.starts, d.starts) == (1, 2, 4, 2)
        assert [failures for *_, failures in stage.diary.restarting] == [1, 2, 3]


@strategies
@pytest.mark.asyncio
async def test_failed_starts_of_a_group_count_until_the_supervisor_gives_up(strategy: Any) -> None:
    a, b = Part("a"), Part("b", initialize=later(boom))
    async with staged(a.spec(), b.spec(), strategy=strategy, max_restarts=4) as stage:
        stage["a"].tell(Flat(what=boom))
        reason = await stage.top.wait_stopped()
        assert isinstance(reason, RestartsExceeded)
        assert (reason.child, reason.count) == ("/user/top/b", 5)
        assert isinstance(reason.last_reason, StartFailed)
        assert b.starts == 5
        assert a.starts == (5 if strategy == "one_for_all" else 2)


@strategies
@pytest.mark.asyncio
async def test_giving_up_starts_nobody(strategy: Any) -> None:
    journal: list[str] = []
    a, b, c = (Part(name, journal) for name in "abc")
    async with staged(a.spec(), b.spec(), c.spec(), strategy=strategy, max_restarts=0) as stage:
        journal.clear()
        stage["b"].tell(Flat(what=boom))
        reason = await stage.top.wait_stopped()
        assert isinstance(reason, RestartsExceeded)
        assert isinstance(reason.last_reason, Crashed)
        assert journal == ["b stops", "b down", "c stops", "c down", "a stops", "a down"]


@strategies
@pytest.mark.asyncio
async def test_a_failed_start_is_retried_after_the_delay_of_the_one_that_failed(strategy: Any) -> None:
    a = Part("a")
    b = Part("b", initialize=only(2, boom))
    async with staged(a.spec(), b.spec(backoff=wait_fixed(7)), strategy=strategy) as stage:
        stage["a"].tell(Flat(what=boom))
        await asyncio.sleep(6.9)
        assert b.starts == 2  # at once, since `a` has no delay, and it failed
        await asyncio.sleep(0.2)
        assert (b.starts, (await listed(stage.top))["b"]) == (3, "running")


@strategies
@pytest.mark.parametrize("restart", ["transient", "temporary"])
@pytest.mark.asyncio
async def test_an_initialize_that_wishes_not_to_run_does_not_hold_the_group_up(strategy: Any, restart: Any) -> None:
    a, c = Part("a"), Part("c")
    b = Part("b", initialize=later(lambda actor: Ignore()))
    async with staged(a.spec(), guest(b, restart=restart), c.spec(), strategy=strategy, max_restarts=1) as stage:
        stage["a"].tell(Flat(what=boom))
        await settle()
        assert (a.starts, c.starts, stage.top.status) == (2, 2, "running")
        expected = {"a": "running", "b": "stopped", "c": "running"}
        if restart == "temporary":
            del expected["b"]
        assert await listed(stage.top) == expected
        assert len(stage.diary.restarting) == 1


# Somebody meddles while a group is being restarted: at each of its moments.


class Moment:
    """A restart of a, b, c, d after a crash of b, held where it is told."""

    def __init__(self, strategy: Any, phase: str) -> None:
        self.journal: list[str] = []
        self.phase, self.strategy = phase, strategy
        self.gate = Gate()
        hold = self.gate
        self.parts = {name: Part(name, self.journal) for name in "abcd"}
        if phase == "stopping":
            self.parts["d"].shutdown = first(hold)
        elif phase == "starting":
            self.parts["c"].initialize = only(2, hold)

    async def begin(self, stage: Stage) -> None:
        self.journal.clear()
        stage["b"].tell(Flat(what=boom))
        if self.phase == "delay":
            await settle()
        else:
            await self.gate.reached.wait()
            await settle()

    def specs(self) -> list[ChildSpec[Any]]:
        delay = {"backoff": wait_fixed(10)} if self.phase == "delay" else {}
        return [part.spec(**(delay if name == "b" else {})) for name, part in self.parts.items()]

    def starts(self) -> dict[str, int]:
        return {name: part.starts for name, part in self.parts.items()}


PHASES = ["stopping", "delay", "starting"]
moments = pytest.mark.parametrize("phase", PHASES)


@strategies
@moments
@pytest.mark.parametrize("name", ["a", "b", "c", "d"])
@pytest.mark.parametrize("how", ["terminate_child", "stop"])
@pytest.mark.asyncio
async def test_a_member_that_is_ended_for_good_leaves_the_group_which_goes_on(
    strategy: Any, phase: str, name: str, how: str
) -> None:
    moment = Moment(strategy, phase)
    async with staged(*moment.specs(), strategy=strategy, max_restarts=1, max_seconds=100.0) as stage:
        refs = {each: stage[each] for each in "abcd"}
        await moment.begin(stage)
        before = moment.parts[name].starts
        if how == "stop":
            refs[name].stop()
            call: asyncio.Future[Any] = asyncio.ensure_future(refs[name].wait_stopped())
        else:
            call = asyncio.ensure_future(stage.top.terminate_child(name))
        await settle()
        moment.gate.open()
        await call
        await asyncio.sleep(30)
        statuses = await listed(stage.top)
        assert statuses.pop(name) == "stopped"
        assert statuses == dict.fromkeys(statuses, "running")
        assert refs[name].status == "stopped"
        assert moment.parts[name].starts == before
        assert stage.top.status == "running"
        members = "abcd" if strategy == "one_for_all" else "bcd"
        assert {each for each, part in moment.parts.items() if part.starts == 2} >= set(members) - {name}
        assert [failures for *_, failures in stage.diary.restarting] == [1]


@strategies
@moments
@pytest.mark.parametrize("how", ["stop", "kill", "terminate"])
@pytest.mark.asyncio
async def test_the_supervisor_ends_promptly_and_nobody_starts_any_more(strategy: Any, phase: str, how: str) -> None:
    moment = Moment(strategy, phase)
    diary = Diary()
    async with ActorSystem(instruments=[diary]) as system:
        spec = supervisor("inner", *moment.specs(), strategy=strategy)
        top: Any = await system.spawn(supervisor("top", spec).options(restart="temporary"))
        inner: Any = system.lookup("top/inner")
        refs = {each: system.lookup(f"top/inner/{each}", Player) for each in "abcd"}
        refs["b"].tell(Flat(what=boom))
        await (settle() if phase == "delay" else moment.gate.reached.wait())
        await settle()
        starts, began = moment.starts(), now()
        queued = [ref.tell(Note(number=1)) for ref in refs.values()]
        assert all(queued)
        if how == "kill":
            top.kill()
        elif how == "stop":
            inner.stop()
        else:
            call = asyncio.ensure_future(top.terminate_child("inner"))
        await settle()
        moment.gate.open()
        await inner.wait_stopped()
        assert now() - began < 0.1
        await asyncio.sleep(30)
        assert moment.starts() == starts
        assert {ref.status for ref in refs.values()} == {"stopped"}
        for ref in refs.values():
            await ref.wait_stopped()
        if how == "terminate":
            await call
        # What waited is lost and told so, once.
        notes = [number for part in moment.parts.values() for number in part.notes]
        assert len(diary.lost_notes()) + len(notes) == 4


@strategies
@moments
@pytest.mark.asyncio
async def test_a_supervisor_killed_in_the_middle_restarts_its_children_with_their_identities(
    strategy: Any, phase: str
) -> None:
    moment = Moment(strategy, phase)
    async with staged(supervisor("inner", *moment.specs(), strategy=strategy)) as stage:
        refs = {each: stage[f"inner/{each}"] for each in "abcd"}
        refs["b"].tell(Flat(what=boom))
        await (settle() if phase == "delay" else moment.gate.reached.wait())
        await settle()
        for number, ref in enumerate(refs.values()):
            ref.tell(Note(number=number))
        stage.system.lookup("top/inner").kill()
        await settle()
        moment.gate.open()
        await asyncio.sleep(30)
        assert {ref.status for ref in refs.values()} == {"running"}
        assert [stage[f"inner/{each}"] for each in "abcd"] == list(refs.values())
        assert sorted(number for part in moment.parts.values() for number in part.notes) == [0, 1, 2, 3]
        assert (stage.diary.dead, stage.diary.stopped) == ([], [])


@strategies
@moments
@pytest.mark.asyncio
async def test_a_child_can_be_added_while_a_group_is_being_restarted(strategy: Any, phase: str) -> None:
    moment = Moment(strategy, phase)
    x = Part("x")
    async with staged(*moment.specs(), strategy=strategy) as stage:
        await moment.begin(stage)
        began = now()
        ref = await stage.top.start_child(x.spec())
        assert now() - began < 0.1
        assert ref.status == "running"
        moment.gate.open()
        await asyncio.sleep(30)
        assert await listed(stage.top) == dict.fromkeys("abcdx", "running")


@strategies
@moments
@pytest.mark.asyncio
async def test_a_stopped_member_can_be_started_and_deleted_where_the_group_does_not_want_it(
    strategy: Any, phase: str
) -> None:
    """One that is outside of the group, that is, before it: there is none under one_for_all."""
    if strategy == "one_for_all":
        return
    moment = Moment(strategy, phase)
    async with staged(*moment.specs(), strategy=strategy) as stage:
        await stage.top.terminate_child("a")
        await moment.begin(stage)
        back = await stage.top.restart_child("a")
        assert back.status == "running"
        await stage.top.terminate_child("a")
        await stage.top.delete_child("a")
        moment.gate.open()
        await asyncio.sleep(30)
        assert await listed(stage.top) == dict.fromkeys("bcd", "running")


@strategies
@moments
@pytest.mark.asyncio
async def test_a_member_terminated_in_the_middle_can_be_called_back_at_once(strategy: Any, phase: str) -> None:
    moment = Moment(strategy, phase)
    async with staged(*moment.specs(), strategy=strategy) as stage:
        await moment.begin(stage)
        call = asyncio.ensure_future(stage.top.terminate_child("d"))
        await settle()
        moment.gate.open()
        await call
        back = await stage.top.restart_child("d")
        assert back.status == "running"
        await asyncio.sleep(30)
        assert await listed(stage.top) == dict.fromkeys("abcd", "running")


@strategies
@moments
@pytest.mark.asyncio
async def test_asks_of_members_wait_through_the_restart_or_fail_with_it(strategy: Any, phase: str) -> None:
    moment = Moment(strategy, phase)
    async with staged(*moment.specs(), strategy=strategy) as stage:
        refs = {each: stage[each] for each in "abcd"}
        await moment.begin(stage)
        asks = {
            each: asyncio.ensure_future(refs[each].ask(Flat(what=lambda actor: "here"), timeout=100)) for each in "bcd"
        }
        await settle()
        call = asyncio.ensure_future(stage.top.terminate_child("c"))
        await settle()
        moment.gate.open()
        await call
        if phase == "stopping":  # it waits for its turn, and works as always
            assert await asks["c"] == "here"
        else:
            with pytest.raises(ActorStopped):
                await asks["c"]
        assert await asks["b"] == "here"
        assert await asks["d"] == "here"


# Under any order of events: acts at random, and in the end everybody is where he belongs.


def meddle(sim: Simulation, top: Any, refs: dict[str, ActorRef[Any]]) -> Any:
    name = sim.random.choice(list(refs))
    match sim.random.choice(["crash", "crash", "kill", "end", "terminate", "restart", "wait"]):
        case "crash":
            refs[name].tell(Flat(what=boom))
        case "kill":
            refs[name].kill()
        case "end":
            refs[name].tell(Flat(what=stop_yourself))
        case "terminate":
            return top.terminate_child(name)
        case "restart":
            return top.restart_child(name)
        case _:
            return asyncio.sleep(sim.random.choice([0, 0.05, 0.3]))
    return None


@simulate(schedules=30, faults=Faults(stall=0.3))
async def test_whatever_is_done_to_a_group_its_members_start_after_those_before_them_and_all_come_to_rest(
    sim: Simulation,
) -> None:
    strategy = sim.random.choice(GROUPS)
    journal: list[str] = []
    parts = {
        name: Part(
            name, journal, initialize=takes(sim.random.choice([0, 0.1])), shutdown=takes(sim.random.choice([0, 0.1]))
        )
        for name in "abcd"
    }
    specs = [
        part.spec(**({"backoff": wait_fixed(0.2)} if sim.random.random() < 0.3 else {})) for part in parts.values()
    ]
    top: SupervisorRef[Any] = await sim.system.spawn(  # type: ignore[assignment]
        supervisor("top", *specs, strategy=strategy, max_restarts=100_000)
    )
    refs: dict[str, ActorRef[Any]] = {name: sim.system.lookup(f"top/{name}", Player) for name in parts}
    calls = []
    for _ in range(6):
        done = meddle(sim, top, refs)
        if done is not None:
            calls.append(asyncio.ensure_future(done))
            if sim.random.random() < 0.5:
                await asyncio.wait(calls)
    await sim.quiesce()
    await asyncio.sleep(30)  # delays
    await sim.quiesce()
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert all(result is None or isinstance(result, ActorRef | ChildError | StartError) for result in results), results
    statuses = await listed(top)
    assert list(statuses) == list("abcd")
    assert set(statuses.values()) <= {"running", "stopped"}, statuses
    for info in await top.which_children():
        if info.ref is not None:
            assert await info.ref.ask(Flat(what=lambda actor: "here"), timeout=1000) == "here"
    last = {step.split()[0]: step.split()[1] for step in journal}
    assert {name for name, status in statuses.items() if status == "running"} <= {
        name for name, step in last.items() if step == "up"
    }
