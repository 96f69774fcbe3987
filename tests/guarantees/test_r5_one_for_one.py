"""R5 for one_for_one: only the failed child is restarted."""

from __future__ import annotations

import asyncio

import pytest

from tests.guarantees.cast_of_supervision import Call, Flat, Gate, Note, Part, boom, settle, staged
from understudy import supervisor


@pytest.mark.asyncio
async def test_only_the_failed_child_is_restarted() -> None:
    journal: list[str] = []
    a, b, c = (Part(name, journal) for name in "abc")
    async with staged(a.spec(), b.spec(), c.spec(), strategy="one_for_one") as stage:
        for name in "abc":
            stage[name].tell(Note(number=1))
        await settle()
        journal.clear()
        stage["b"].tell(Flat(what=boom))
        await settle()
        assert journal == ["b stops", "b down", "b starts", "b up"]
        assert (a.starts, b.starts, c.starts) == (1, 2, 1)
        memories = [await stage[name].ask(Flat(what=lambda actor: list(actor.memory))) for name in "abc"]
        assert memories == [[1], [], [1]]


@pytest.mark.asyncio
async def test_one_for_one_is_the_strategy_when_none_is_given() -> None:
    a, b = Part("a"), Part("b")
    async with staged(a.spec(), b.spec()) as stage:
        stage["a"].tell(Flat(what=boom))
        await settle()
        assert (a.starts, b.starts) == (2, 1)


@pytest.mark.asyncio
async def test_children_that_fail_in_the_same_tick_are_each_restarted_and_each_count() -> None:
    a, b, c = Part("a"), Part("b"), Part("c")
    async with staged(a.spec(), b.spec(), c.spec(), max_restarts=2) as stage:
        stage["a"].tell(Flat(what=boom))
        stage["c"].tell(Flat(what=boom))
        await settle()
        assert (a.starts, b.starts, c.starts) == (2, 1, 2)
        assert stage.top.status == "running"
        stage["b"].tell(Flat(what=boom))
        await settle()
        assert stage.top.status == "stopped"


@pytest.mark.asyncio
async def test_siblings_work_on_while_a_child_takes_its_time_to_come_back() -> None:
    gate = Gate()
    a, b = Part("a", initialize=lambda actor: gate() if actor.incarnation == 2 else None), Part("b")
    async with staged(a.spec(), b.spec()) as stage:
        stage["a"].tell(Flat(what=boom))
        await gate.reached.wait()
        assert await stage["b"].ask(Flat(what=lambda actor: actor.incarnation)) == 1
        assert (stage["a"].status, stage["b"].status, stage.top.status) == ("restarting", "running", "running")
        stage["b"].tell(Flat(what=boom))  # and are restarted themselves
        await settle()
        assert await stage["b"].ask(Flat(what=lambda actor: actor.incarnation)) == 2
        assert stage["a"].status == "restarting"
        gate.open()
        await settle()
        assert stage["a"].status == "running"


@pytest.mark.asyncio
async def test_siblings_work_on_while_a_child_takes_its_time_to_go_down() -> None:
    gate = Gate()
    a, b = Part("a", shutdown=lambda actor: gate() if actor.incarnation == 1 else None), Part("b")
    async with staged(a.spec(), b.spec()) as stage:
        stage["a"].tell(Flat(what=boom))
        await gate.reached.wait()
        assert a.starts == 1  # the new one starts after the old one has gone
        stage["b"].tell(Flat(what=boom))
        await settle()
        assert await stage["b"].ask(Flat(what=lambda actor: actor.incarnation)) == 2
        gate.open()
        await settle()
        assert a.starts == 2


@pytest.mark.asyncio
async def test_a_failing_supervisor_is_one_failed_child_of_its_parent() -> None:
    a, b, other = Part("a"), Part("b"), Part("other")
    inner = supervisor("inner", a.spec(), b.spec(), max_restarts=0)
    async with staged(inner, other.spec()) as stage:
        stage["inner/b"].tell(Flat(what=boom))
        await settle()
        assert (a.starts, b.starts, other.starts) == (2, 2, 1)


@pytest.mark.asyncio
async def test_a_child_that_was_stopped_does_not_come_back_with_its_sibling() -> None:
    a, b = Part("a"), Part("b")
    async with staged(a.spec(), b.spec()) as stage:
        stopped = stage["a"]
        stopped.stop()
        await stopped.wait_stopped()
        stage["b"].tell(Call(what=boom))
        await settle()
        assert (a.starts, b.starts) == (1, 2)
        assert stopped.status == "stopped"


@pytest.mark.asyncio
async def test_a_stop_request_for_a_child_that_is_coming_back_ends_it() -> None:
    gate = Gate()
    a = Part("a", initialize=lambda actor: gate() if actor.incarnation == 2 else None)
    async with staged(a.spec()) as stage:
        ref = stage["a"]
        ref.tell(Flat(what=boom))
        await gate.reached.wait()
        waiting = asyncio.ensure_future(ref.wait_stopped())
        ref.stop()
        await waiting
        assert a.starts == 2
        assert ref.status == "stopped"
        assert stage.top.status == "running"
