"""R12a: children that a restarted supervisor declares again keep ref and mailbox; all others end for good."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from tests.guarantees.cast_of_supervision import (
    Call,
    Flat,
    Gate,
    Note,
    Part,
    Player,
    Troupe,
    boom,
    settle,
    staged,
    stop_yourself,
)
from understudy import ActorRef, ActorStopped, ChildSpec, Supervisor, child, supervisor


class Deputy(Player):
    """Another class that could play the same part."""


@pytest.mark.asyncio
async def test_a_child_declared_again_keeps_its_ref_and_what_was_queued() -> None:
    gate = Gate()
    a, b = Part("a"), Part("b")
    async with staged(supervisor("inner", a.spec(), b.spec(), max_restarts=0)) as stage:
        ref = stage["inner/a"]
        uid = ref.uid
        in_hand = asyncio.ensure_future(ref.ask(Call(what=gate)))
        await gate.reached.wait()
        for number in range(5):
            assert ref.tell(Note(number=number)) is True
        queued = asyncio.ensure_future(ref.ask(Flat(what=lambda actor: actor.incarnation)))
        ended = asyncio.ensure_future(ref.wait_stopped())
        stage["inner/b"].tell(Flat(what=boom))
        await settle()
        assert ref.tell(Note(number=5)) is True  # while it is asked to stop
        gate.open()
        assert await in_hand == "passed"
        assert await queued == 2
        await settle()
        assert a.notes_by_incarnation == {2: [0, 1, 2, 3, 4, 5]}
        assert stage.diary.dead == []
        assert not ended.done()
        again = stage["inner/a"]
        assert again == ref
        assert (ref.uid, again.uid, ref.status) == (uid, uid, "running")
        ended.cancel()
        await settle()


@pytest.mark.asyncio
async def test_the_child_whose_failure_was_one_too_many_keeps_its_mailbox_too() -> None:
    a = Part("a")
    async with staged(supervisor("inner", a.spec(), max_restarts=0)) as stage:
        ref = stage["inner/a"]
        ref.tell(Note(number=0))
        ref.tell(Flat(what=boom))
        for number in (1, 2, 3):
            ref.tell(Note(number=number))
        await settle()
        assert a.notes_by_incarnation == {1: [0], 2: [1, 2, 3]}
        assert stage.diary.dead == []
        assert stage["inner/a"] == ref


@pytest.mark.asyncio
async def test_what_comes_while_the_supervisor_is_down_waits() -> None:
    gate = Gate()
    a = Part("a", initialize=lambda actor: gate() if actor.incarnation == 2 else None)
    b = Part("b")
    async with staged(supervisor("inner", a.spec(), b.spec(), max_restarts=0)) as stage:
        first, second = stage["inner/a"], stage["inner/b"]
        second.tell(Flat(what=boom))
        await gate.reached.wait()  # the supervisor is on its way up, a starts, b waits for its turn
        assert second.tell(Note(number=1)) is True
        assert first.tell(Note(number=2)) is True
        await settle()
        assert (a.notes, b.notes) == ([], [])
        assert (first.status, second.status) == ("restarting", "restarting")
        gate.open()
        await settle()
        assert (a.notes, b.notes) == ([2], [1])


@pytest.mark.asyncio
async def test_a_killed_supervisor_finds_its_children_with_their_mailboxes_again() -> None:
    gate = Gate()
    a, b = Part("a"), Part("b")
    async with staged(supervisor("inner", a.spec(), b.spec())) as stage:
        ref = stage["inner/a"]
        ref.tell(Call(what=gate))
        await gate.reached.wait()
        ref.tell(Note(number=1))
        stage.system.lookup("top/inner", Supervisor).kill()
        await settle()
        assert len(gate.cancelled_at) == 1  # the message in hand is lost
        assert a.notes_by_incarnation == {2: [1]}
        assert stage["inner/a"] == ref
        assert (a.starts, b.starts) == (2, 2)


@pytest.mark.asyncio
async def test_grandchildren_keep_their_identity_when_the_restart_comes_from_further_up() -> None:
    leaf, other = Part("leaf"), Part("other")
    low = supervisor("low", leaf.spec())
    async with staged(supervisor("high", low, other.spec(), max_restarts=0)) as stage:
        ref = stage["high/low/leaf"]
        low_ref = stage.system.lookup("top/high/low", Supervisor)
        stage["high/other"].tell(Flat(what=boom))
        await settle()
        assert leaf.starts == 2
        assert stage["high/low/leaf"] == ref
        assert stage.system.lookup("top/high/low", Supervisor) == low_ref
        assert await ref.ask(Flat(what=lambda actor: actor.incarnation)) == 2
        assert stage.diary.stopped == []


def changing(first: Sequence[ChildSpec[Any]], later: Sequence[ChildSpec[Any]]) -> ChildSpec[Any]:
    """A supervisor `troupe` that declares *first* at its first start and *later* from then on."""
    return child(Troupe, lambda incarnation: first if incarnation == 1 else later, []).options(name="troupe")


@pytest.mark.asyncio
async def test_a_child_that_is_no_longer_declared_ends_for_good() -> None:
    a, b, c, new = Part("a"), Part("b"), Part("c"), Part("new")
    troupe = changing([a.spec(), b.spec(), c.spec()], [a.spec(), c.spec(), new.spec()])
    async with staged(troupe) as stage:
        kept, gone, failing = (stage[f"troupe/{name}"] for name in "abc")
        gone.tell(Call(what=Gate()))
        gone.tell(Note(number=1))
        failing.tell(Flat(what=boom))
        await asyncio.sleep(10)  # b stops by its own rule first, which takes its whole grace
        assert (a.starts, b.starts, c.starts, new.starts) == (2, 1, 2, 1)
        assert (kept.status, failing.status, gone.status) == ("running", "running", "stopped")
        await gone.wait_stopped()
        assert len(stage.diary.reasons(gone.path)) == 1
        assert b.notes == []
        assert stage.diary.lost_notes() == [1]
        assert gone.tell(Note(number=2)) is False
        assert stage.system.find("top/troupe/b", Player) is None
        assert [path for path, _ in stage.diary.stopped] == [gone.path]


@pytest.mark.asyncio
async def test_an_ask_that_waits_for_a_child_no_longer_declared_fails() -> None:
    gate = Gate()
    a, b = Part("a"), Part("b")
    async with staged(changing([a.spec(), b.spec()], [a.spec()])) as stage:
        gone = stage["troupe/b"]
        gone.tell(Call(what=gate))
        await gate.reached.wait()
        asked = asyncio.ensure_future(gone.ask(Flat(what=lambda actor: "never"), timeout=100))
        stage["troupe/a"].tell(Flat(what=boom))
        await settle()
        gate.open()
        with pytest.raises(ActorStopped):
            await asked


@pytest.mark.asyncio
async def test_a_child_of_another_class_under_the_same_name_is_another_actor() -> None:
    a, b = Part("a"), Part("b")
    later = [child(Deputy, a).options(name="a"), b.spec()]
    async with staged(changing([a.spec(), b.spec()], later)) as stage:
        before = stage["troupe/a"]
        stage["troupe/b"].tell(Flat(what=boom))
        await settle()
        after = stage.system.lookup("top/troupe/a", Deputy)
        assert before.uid != after.uid
        assert before != after
        assert (before.status, after.status) == ("stopped", "running")
        assert before.tell(Note(number=1)) is False
        await settle()
        assert a.notes == []


@pytest.mark.asyncio
async def test_the_new_declaration_decides_how_a_child_that_stays_is_treated() -> None:
    a, b = Part("a"), Part("b")
    later = [a.spec(restart="temporary"), b.spec()]
    async with staged(changing([a.spec(), b.spec()], later)) as stage:
        ref = stage["troupe/a"]
        stage["troupe/b"].tell(Flat(what=boom))
        await settle()
        assert ref.status == "running"
        ref.tell(Flat(what=boom))
        await settle()
        assert (ref.status, a.starts) == ("stopped", 2)


class Host(Supervisor):
    """Starts a guest at run time, in its first incarnation."""

    max_restarts = 0

    def __init__(self, own: Part, guest: Part, guests: list[ActorRef[Any]]) -> None:
        self.own, self.guest, self.guests = own, guest, guests

    def children(self) -> list[ChildSpec[Any]]:
        return [self.own.spec()]

    async def initialize(self) -> None:
        if not self.guests:
            self.guests.append(await self.context.spawn(self.guest.spec()))


@pytest.mark.asyncio
async def test_a_child_started_at_run_time_ends_for_good() -> None:
    own, guest = Part("own"), Part("guest")
    guests: list[ActorRef[Any]] = []
    async with staged(child(Host, own, guest, guests).options(name="host")) as stage:
        [ref] = guests
        assert ref.status == "running"
        stage["host/own"].tell(Flat(what=boom))
        await settle()
        assert (own.starts, guest.starts) == (2, 1)
        assert ref.status == "stopped"
        assert [path for path, _ in stage.diary.stopped] == ["/user/top/host/guest"]


@pytest.mark.parametrize("restart", ["temporary", "parent gives up"])
@pytest.mark.asyncio
async def test_giving_up_without_a_restart_ends_all_for_good(restart: str) -> None:
    gate = Gate()
    a, b = Part("a"), Part("b")
    inner = supervisor("inner", a.spec(), b.spec(), max_restarts=0)
    if restart == "temporary":
        inner = inner.options(restart="temporary")
    async with staged(inner, max_restarts=0) as stage:
        first, second = stage["inner/a"], stage["inner/b"]
        first.tell(Call(what=gate))
        await gate.reached.wait()
        first.tell(Note(number=1))
        asked = asyncio.ensure_future(first.ask(Flat(what=lambda actor: "never"), timeout=100))
        second.tell(Flat(what=boom))
        second.tell(Note(number=2))
        await settle()
        gate.open()
        with pytest.raises(ActorStopped):
            await asked
        await first.wait_stopped()
        await second.wait_stopped()
        await settle()
        assert (a.starts, b.starts) == (1, 1)
        assert (a.notes, b.notes) == ([], [])
        assert sorted(stage.diary.lost_notes()) == [1, 2]
        assert stage.top.status == ("running" if restart == "temporary" else "stopped")


@pytest.mark.asyncio
async def test_a_child_that_had_ended_for_good_comes_back_as_a_new_actor() -> None:
    a, b, c = Part("a"), Part("b"), Part("c")
    inner = supervisor("inner", a.spec(), b.spec(restart="transient"), c.spec(), max_restarts=0)
    async with staged(inner) as stage:
        stopped, ended = stage["inner/a"], stage["inner/b"]
        stopped.stop()
        ended.tell(Flat(what=stop_yourself))
        await settle()
        assert (stopped.status, ended.status) == ("stopped", "stopped")
        stage["inner/c"].tell(Flat(what=boom))
        await settle()
        for name, old, part in (("a", stopped, a), ("b", ended, b)):
            new = stage[f"inner/{name}"]
            assert part.starts == 2
            assert new.uid != old.uid
            assert (new.status, old.status) == ("running", "stopped")
            assert old.tell(Note(number=1)) is False
        await settle()
        assert (a.notes, b.notes) == ([], [])


@pytest.mark.asyncio
async def test_a_supervisor_that_cannot_start_again_ends_those_that_waited_for_it() -> None:
    a = Part("a")
    b = Part("b", construct=lambda actor: boom() if actor.incarnation > 1 else None)
    async with staged(supervisor("inner", a.spec(), b.spec(), max_restarts=0), max_restarts=2) as stage:
        first, second = stage["inner/a"], stage["inner/b"]
        second.tell(Flat(what=boom))
        second.tell(Note(number=1))
        await settle()
        # The first start of three, two more, and then the parent has had enough.
        assert b.starts == 3
        assert (first.status, second.status, stage.top.status) == ("stopped", "stopped", "stopped")
        assert stage.diary.lost_notes() == [1]
