"""R12: the children of a restarting actor are stopped before the new instance starts."""

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
    takes,
)
from understudy import Actor, ActorRef, ActorSystem, Killed, Shutdown, Supervisor, is_abnormal, supervisor


async def with_children(parent: ActorRef[Any], *parts: Part, **options: Any) -> list[ActorRef[Any]]:
    async def spawn_all(actor: Actor[Any]) -> list[ActorRef[Any]]:
        return [await actor.context.spawn(part.spec(**options)) for part in parts]

    children: Any = await parent.ask(Call(what=spawn_all))
    return children  # type: ignore[no-any-return]


@pytest.mark.asyncio
async def test_the_children_of_a_crashed_actor_have_ended_when_it_starts_again() -> None:
    journal: list[str] = []
    parent = Part("parent", journal)
    a, b = Part("a", journal, shutdown=takes(1.0)), Part("b", journal, shutdown=takes(2.0))
    async with staged(parent.spec()) as stage:
        above = stage["parent"]
        children = await with_children(above, a, b)
        journal.clear()
        above.tell(Flat(what=boom))
        assert await above.ask(Flat(what=lambda actor: list(actor.context.children)), timeout=10) == []
        start = journal.index("parent starts")
        assert sorted(journal[:start]) == sorted(
            ["a stops", "a down", "b stops", "b down", "parent stops", "parent down"]
        )
        assert journal[start:] == ["parent starts", "parent up"]
        assert [child.status for child in children] == ["stopped", "stopped"]
        assert [type(await child.wait_stopped()) for child in children] == [Shutdown, Shutdown]


@pytest.mark.asyncio
async def test_the_children_end_before_the_shutdown_hook_of_their_parent_runs() -> None:
    journal: list[str] = []
    parent, a = Part("parent", journal), Part("a", journal, shutdown=takes(1.0))
    async with staged(parent.spec()) as stage:
        await with_children(stage["parent"], a)
        journal.clear()
        stage["parent"].tell(Flat(what=boom))
        await asyncio.sleep(2.0)
        assert journal == ["a stops", "a down", "parent stops", "parent down", "parent starts", "parent up"]


@pytest.mark.asyncio
async def test_the_new_instance_may_start_children_under_the_old_names() -> None:
    below = Part("below")

    async def spawn_below(actor: Actor[Any]) -> None:
        await actor.context.spawn(below.spec())

    parent = Part("parent", initialize=spawn_below)
    async with staged(parent.spec()) as stage:
        before = stage["parent/below"]
        stage["parent"].tell(Flat(what=boom))
        await settle()
        after = stage["parent/below"]
        assert below.starts == 2
        assert before.uid != after.uid
        assert (before.status, after.status) == ("stopped", "running")
        assert before.tell(Flat(what=boom)) is False  # an old ref does not reach the new child
        await settle()
        assert below.starts == 2


@pytest.mark.asyncio
async def test_children_of_children_end_first() -> None:
    journal: list[str] = []
    parent, middle, leaf = (Part(name, journal) for name in ("parent", "middle", "leaf"))
    async with staged(parent.spec()) as stage:
        [middle_ref] = await with_children(stage["parent"], middle)
        await with_children(middle_ref, leaf)
        journal.clear()
        stage["parent"].tell(Call(what=boom))
        await settle()
        assert journal == [
            "leaf stops",
            "leaf down",
            "middle stops",
            "middle down",
            "parent stops",
            "parent down",
            "parent starts",
            "parent up",
        ]


@pytest.mark.asyncio
async def test_a_restarting_supervisor_stops_its_children_before_it_starts_them_again() -> None:
    journal: list[str] = []
    a, b, c = (Part(name, journal, shutdown=takes(0.5)) for name in "abc")
    inner = supervisor("inner", a.spec(), b.spec(), c.spec(), max_restarts=0)
    async with staged(inner) as stage:
        journal.clear()
        stage["inner/b"].tell(Flat(what=boom))
        await asyncio.sleep(10)
        assert journal == [
            *["b stops", "b down", "c stops", "c down", "a stops", "a down"],
            *["a starts", "a up", "b starts", "b up", "c starts", "c up"],
        ]


@pytest.mark.asyncio
async def test_a_killed_actor_takes_its_children_along_before_it_starts_again() -> None:
    journal: list[str] = []
    parent, a = Part("parent", journal), Part("a", journal)
    async with staged(parent.spec()) as stage:
        [child] = await with_children(stage["parent"], a)
        journal.clear()
        stage["parent"].kill()
        await settle()
        assert journal == ["parent starts", "parent up"]  # no hooks
        assert isinstance(await child.wait_stopped(), Killed)
        assert a.starts == 1


@pytest.mark.asyncio
async def test_a_child_that_will_not_end_is_over_when_the_new_instance_starts() -> None:
    gate = Gate(resists=STUBBORN)
    parent, a = Part("parent"), Part("a")
    async with staged(parent.spec(shutdown=1.0)) as stage:
        [child] = await with_children(stage["parent"], a)
        child.tell(Call(what=gate))
        await gate.reached.wait()
        stage["parent"].tell(Flat(what=boom))
        await asyncio.sleep(0.9)
        assert parent.starts == 1
        await asyncio.sleep(5)
        assert parent.starts == 2
        assert is_abnormal(await child.wait_stopped())
        assert [path for path, _ in stage.diary.zombies] == [child.path]
        gate.open()
        await settle()


@pytest.mark.asyncio
async def test_a_stopped_actor_ends_its_children_too() -> None:
    journal: list[str] = []
    diary = Diary()
    parent, a, b = (Part(name, journal) for name in ("parent", "a", "b"))
    async with ActorSystem(instruments=[diary]) as system:
        above = await system.spawn(parent.spec())
        await with_children(above, a, b)
        above.stop()
        await above.wait_stopped()
        assert [path for path, _ in diary.stopped][-1] == above.path
        assert len(diary.stopped) == 3
        assert system.find("parent/a", Player) is None
        assert system.find("parent", Supervisor) is None
