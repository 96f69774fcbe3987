"""R7: a static supervisor stops its children in the exact reverse of their starts, one after another."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.guarantees.cast_of_supervision import (
    STUBBORN,
    Call,
    Diary,
    Flat,
    Gate,
    Part,
    Player,
    boom,
    settle,
    staged,
    stop_yourself,
    takes,
)
from understudy import ActorSystem, ChildSpec, RestartsExceeded, Supervisor, supervisor


def slow(name: str, journal: list[str]) -> Part:
    return Part(name, journal, initialize=takes(1.0), shutdown=takes(1.0))


def deep_tree(journal: list[str]) -> ChildSpec[Any]:
    a, b, c, d, e, f = (slow(name, journal) for name in "abcdef")
    left = supervisor("left", b.spec(), c.spec())
    right = supervisor("right", supervisor("lower", d.spec(), e.spec()))
    return supervisor("root", a.spec(), left, right, f.spec())


STARTS = [f"{name} {what}" for name in "abcdef" for what in ("starts", "up")]
STOPS = [f"{name} {what}" for name in "fedcba" for what in ("stops", "down")]


@pytest.mark.asyncio
async def test_the_stop_log_of_a_tree_is_the_exact_reverse_of_its_start_log() -> None:
    journal: list[str] = []
    diary = Diary()
    async with ActorSystem(deep_tree(journal), instruments=[diary]):
        assert journal == STARTS
    assert journal == STARTS + STOPS
    names = [path.rsplit("/", 1)[1] for path, _ in diary.started if path.startswith("/user/root")]
    assert names == ["a", "b", "c", "left", "d", "e", "lower", "right", "f", "root"]
    ended = [path.rsplit("/", 1)[1] for path, _ in diary.stopped if path.startswith("/user/root")]
    assert ended == ["f", "e", "d", "lower", "right", "c", "b", "left", "a", "root"]


@pytest.mark.parametrize("how", ["stop", "system", "last"])
@pytest.mark.asyncio
async def test_the_order_does_not_depend_on_who_asks(how: str) -> None:
    journal: list[str] = []
    async with ActorSystem(deep_tree(journal)) as system:
        if how == "stop":
            system.lookup("root", Supervisor).stop()
        elif how == "system":
            system.stop()
        else:  # from inside, by the one that stops last
            system.lookup("root/a", Player).tell(Flat(what=lambda actor: actor.context.system.stop()))
        await system.wait_stopped()
        assert journal == STARTS + STOPS


@pytest.mark.asyncio
async def test_the_order_holds_when_the_supervisor_gives_up() -> None:
    journal: list[str] = []
    a, b, c = (slow(name, journal) for name in "abc")
    failing = Part("failing")
    async with staged(a.spec(), b.spec(), failing.spec(), c.spec(), max_restarts=0) as stage:
        journal.clear()
        stage["failing"].tell(Flat(what=boom))
        assert isinstance(await stage.top.wait_stopped(), RestartsExceeded)
        assert journal == [f"{name} {what}" for name in "cba" for what in ("stops", "down")]


@pytest.mark.asyncio
async def test_a_child_is_not_told_before_the_handler_of_the_next_one_has_ended() -> None:
    journal: list[str] = []
    gate = Gate()
    a, b = Part("a", journal), Part("b", journal)
    async with staged(a.spec(), b.spec()) as stage:
        first, second = stage["a"], stage["b"]
        second.tell(Call(what=gate))
        await gate.reached.wait()
        journal.clear()
        stage.top.stop()
        await settle()
        assert journal == []
        assert (first.status, second.status) == ("running", "stopping")
        # The first has not been told, so it works as always.
        assert await first.ask(Flat(what=lambda actor: "still here")) == "still here"
        gate.open()
        await stage.top.wait_stopped()
        assert journal == ["b stops", "b down", "a stops", "a down"]


@pytest.mark.asyncio
async def test_a_child_is_not_told_before_the_children_of_the_next_one_have_ended() -> None:
    journal: list[str] = []
    a, parent, below = Part("a", journal), Part("parent", journal), slow("below", journal)
    async with staged(a.spec(), parent.spec()) as stage:
        await stage["parent"].ask(Call(what=lambda actor: actor.context.spawn(below.spec())))
        journal.clear()
        stage.top.stop()
        await stage.top.wait_stopped()
        assert journal == ["below stops", "below down", "parent stops", "parent down", "a stops", "a down"]


@pytest.mark.asyncio
async def test_a_child_that_must_be_abandoned_is_over_before_the_one_before_it_is_told() -> None:
    journal: list[str] = []
    gate = Gate(resists=STUBBORN)
    a, b = Part("a", journal), Part("b", journal)
    async with staged(a.spec(), b.spec(shutdown=1.0)) as stage:
        first, second = stage["a"], stage["b"]
        second.tell(Call(what=gate))
        await gate.reached.wait()
        stage.top.stop()
        await asyncio.sleep(1.9)
        assert first.status == "running"
        await asyncio.sleep(0.2)
        assert (first.status, second.status) == ("stopped", "stopped")
        gate.open()
        await settle()


@pytest.mark.asyncio
async def test_a_child_that_ends_by_itself_while_the_others_stop_is_accepted() -> None:
    journal: list[str] = []
    a, b, c = Part("a", journal), Part("b", journal), slow("c", journal)
    async with staged(a.spec(), b.spec(), c.spec(), max_restarts=0) as stage:
        first, second = stage["a"], stage["b"]
        journal.clear()
        stage.top.stop()
        await settle()
        assert journal == ["c stops"]
        first.tell(Flat(what=stop_yourself))  # permanent, but its supervisor is on its way out
        second.tell(Flat(what=boom))
        await stage.top.wait_stopped()
        assert (a.starts, b.starts) == (1, 1)
        assert sorted(journal) == sorted(f"{name} {what}" for name in "abc" for what in ("stops", "down"))


@pytest.mark.asyncio
async def test_nothing_starts_while_a_supervisor_stops() -> None:
    journal: list[str] = []
    gate = Gate()
    a = Part("a", journal, initialize=lambda actor: gate() if actor.incarnation == 2 else None)
    b = slow("b", journal)
    async with staged(a.spec(), b.spec()) as stage:
        stage["a"].tell(Flat(what=boom))
        await gate.reached.wait()
        stage.top.stop()
        await stage.top.wait_stopped()
        assert a.starts == 2
        assert journal[-1] == "b down"
        assert "a up" not in journal[journal.index("b up") :]
        assert gate.cancelled_at != []
