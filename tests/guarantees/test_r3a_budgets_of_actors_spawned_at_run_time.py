"""R3a: each actor that was spawned at run time has a restart budget of its own."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.guarantees.cast_of_supervision import Call, Diary, Flat, Note, Part, boom, settle
from understudy import ActorRef, ActorSystem, Crashed, RestartsExceeded


async def crash(ref: ActorRef[Any], times: int = 1) -> None:
    for _ in range(times):
        ref.tell(Flat(what=boom))
        await settle()


@pytest.mark.asyncio
async def test_the_one_that_exceeds_its_budget_ends_and_its_siblings_live_on() -> None:
    diary = Diary()
    a, b = Part("a"), Part("b")
    async with ActorSystem(instruments=[diary]) as system:
        first, second = await system.spawn(a.spec()), await system.spawn(b.spec())
        await crash(first, 3)
        await crash(second, 3)
        assert (first.status, second.status) == ("running", "running")
        await crash(first)
        reason = await first.wait_stopped()
        assert isinstance(reason, RestartsExceeded)
        assert (reason.child, reason.count, reason.seconds) == (first.path, 4, 5.0)
        assert isinstance(reason.last_reason, Crashed)
        assert (a.starts, b.starts) == (4, 4)
        assert await second.ask(Flat(what=lambda actor: actor.incarnation)) == 4
        assert [path for path, _ in diary.given_up] == [first.path]
        assert [path for path, _ in diary.stopped] == [first.path]


@pytest.mark.asyncio
async def test_a_child_of_a_plain_actor_that_exceeds_its_budget_leaves_parent_and_siblings_alone() -> None:
    diary = Diary()
    parent, a, b = Part("parent"), Part("a"), Part("b")
    async with ActorSystem(instruments=[diary]) as system:
        above = await system.spawn(parent.spec())
        first: Any = await above.ask(Call(what=lambda actor: actor.context.spawn(a.spec())))
        second: Any = await above.ask(Call(what=lambda actor: actor.context.spawn(b.spec())))
        await crash(first, 4)
        assert isinstance(await first.wait_stopped(), RestartsExceeded)
        await crash(second, 3)
        assert second.status == "running"
        assert parent.starts == 1
        assert await above.ask(Flat(what=lambda actor: [ref.path for ref in actor.context.children])) == [second.path]


@pytest.mark.asyncio
async def test_many_failures_of_many_children_exceed_nobodys_budget() -> None:
    parts = [Part(f"child{number}") for number in range(20)]
    async with ActorSystem() as system:
        refs = [await system.spawn(part.spec()) for part in parts]
        for ref in refs:
            await crash(ref, 3)
        assert {ref.status for ref in refs} == {"running"}
        assert system.statistics().restarted == 60


@pytest.mark.asyncio
async def test_the_budget_is_whole_again_when_the_window_has_passed() -> None:
    part = Part()
    async with ActorSystem() as system:
        ref = await system.spawn(part.spec())
        for _ in range(10):
            await crash(ref, 3)
            await asyncio.sleep(5.1)
        assert ref.status == "running"
        assert part.starts == 31


@pytest.mark.asyncio
async def test_what_was_queued_for_the_one_that_ended_becomes_dead_letters() -> None:
    diary = Diary()
    part = Part()
    async with ActorSystem(instruments=[diary]) as system:
        ref = await system.spawn(part.spec())
        for _ in range(4):
            ref.tell(Flat(what=boom))
        ref.tell(Note(number=1))
        assert isinstance(await ref.wait_stopped(), RestartsExceeded)
        assert part.notes == []
        assert diary.lost_notes() == [1]
        again = await system.spawn(part.spec())  # the name is free
        assert again.uid != ref.uid


@pytest.mark.asyncio
async def test_the_end_of_one_that_was_spawned_does_not_end_the_system() -> None:
    part = Part()
    async with ActorSystem() as system:
        ref = await system.spawn(part.spec())
        await crash(ref, 4)
        await ref.wait_stopped()
        await asyncio.sleep(100)  # not cancelled
        other = await system.spawn(Part("other").spec())
        assert other.status == "running"
