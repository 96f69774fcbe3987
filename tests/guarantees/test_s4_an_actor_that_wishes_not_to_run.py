"""S4: `initialize` may answer that the actor does not want to run now, which is no failure."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.guarantees.cast_of_supervision import Flat, Note, Part, Player, boom, settle
from tests.guarantees.cast_of_trees import first, guest, listed, only, staged
from understudy import (
    ActorStopped,
    ActorSystem,
    ChildNotFound,
    ChildSpec,
    DynamicSupervisor,
    Ignore,
    StartError,
    Supervisor,
    SupervisorRef,
    child,
    supervisor,
)


def ignore(*_: object) -> Ignore:
    return Ignore()


@pytest.mark.asyncio
async def test_a_declared_child_stays_listed_without_a_ref_and_the_next_one_starts() -> None:
    a, b = Part("a", initialize=ignore), Part("b")
    async with staged(guest(a), b.spec()) as stage:
        infos = {info.name: info for info in await stage.top.which_children()}
        assert list(infos) == ["a", "b"]
        assert (infos["a"].status, infos["a"].ref, infos["a"].actor) == ("stopped", None, "Guest")
        assert stage.system.find("top/a") is None
        counts = await stage.top.count_children()
        assert (counts.specs, counts.active) == (2, 1)
        assert (a.starts, a.ends) == (1, [])  # no shutdown hook: it was never up
        assert (stage.diary.crashed, stage.diary.restarting) == ([], [])
        assert ("/user/top/a", 1) not in stage.diary.started


@pytest.mark.parametrize("later_by", ["restart_child", "group"])
@pytest.mark.asyncio
async def test_it_can_be_started_later(later_by: str) -> None:
    a, b = Part("a", initialize=first(ignore)), Part("b")
    async with staged(guest(a), b.spec(), strategy="one_for_all") as stage:
        if later_by == "restart_child":
            assert (await stage.top.restart_child("a")).status == "running"
        else:
            stage["b"].tell(Flat(what=boom))
            await settle()
        assert a.starts == 2
        assert stage["a"].status == "running"
        assert await listed(stage.top) == {"a": "running", "b": "running"}


@pytest.mark.asyncio
async def test_a_temporary_child_is_not_stored() -> None:
    a, b = Part("a", initialize=ignore), Part("b")
    async with staged(guest(a, restart="temporary"), b.spec()) as stage:
        assert await listed(stage.top) == {"b": "running"}
        with pytest.raises(ChildNotFound):
            await stage.top.restart_child("a")


@pytest.mark.parametrize("restart", ["permanent", "transient", "temporary"])
@pytest.mark.asyncio
async def test_one_that_is_added_to_a_static_supervisor_is_stored_unless_it_is_temporary(restart: Any) -> None:
    x = Part("x", initialize=first(ignore))
    async with staged(Part("a").spec()) as stage:
        ref = await stage.top.start_child(guest(x, restart=restart))
        assert ref.status == "stopped"
        assert ref.tell(Note(number=1)) is False
        expected = {"a": "running", "x": "stopped"}
        if restart == "temporary":
            del expected["x"]
        assert await listed(stage.top) == expected
        if restart != "temporary":
            assert (await stage.top.restart_child("x")).status == "running"


@pytest.mark.parametrize("restart", ["permanent", "transient", "temporary"])
@pytest.mark.asyncio
async def test_under_a_dynamic_supervisor_it_is_not_stored(restart: Any) -> None:
    class Pool(DynamicSupervisor):
        max_children = 1

    async with ActorSystem() as system:
        pool: Any = await system.spawn(Pool)
        for _ in range(3):  # it takes no place
            ref = await pool.start_child(guest(Part("x", initialize=ignore), restart=restart))
            assert ref.status == "stopped"
            assert await listed(pool) == {}
        assert (await pool.count_children()).specs == 0


@pytest.mark.asyncio
async def test_spawn_comes_back_with_a_ref_of_somebody_who_is_not_there() -> None:
    x = Part("x", initialize=ignore)
    async with ActorSystem() as system:
        ref = await system.spawn(guest(x))
        assert ref.status == "stopped"
        assert system.find("x", Player) is None
        with pytest.raises(ActorStopped):
            await ref.ask(Flat(what=boom))
        again = await system.spawn(guest(Part("x")))  # the name is free
        assert again.status == "running"


@pytest.mark.parametrize("restart", ["permanent", "transient"])
@pytest.mark.asyncio
async def test_one_that_wishes_not_to_run_at_a_restart_ends_for_good_and_is_no_failure(restart: Any) -> None:
    a = Part("a", initialize=only(2, ignore))
    async with staged(guest(a, restart=restart), max_restarts=1) as stage:
        ref = stage["a"]
        ref.tell(Flat(what=boom))
        ref.tell(Note(number=1))
        asked = asyncio.ensure_future(ref.ask(Flat(what=boom)))
        await settle()
        assert await listed(stage.top) == {"a": "stopped"}
        assert (a.starts, stage.top.status) == (2, "running")
        assert stage.diary.lost_notes() == [1]
        with pytest.raises(ActorStopped):
            await asked
        assert len(stage.diary.restarting) == 1
        await ref.wait_stopped()


@pytest.mark.asyncio
async def test_it_may_wish_so_again_and_again_without_its_counting() -> None:
    a = Part("a", initialize=ignore)
    async with staged(guest(a), max_restarts=0) as stage:
        for _ in range(10):
            await stage.top.restart_child("a")
            assert await listed(stage.top) == {"a": "stopped"}
        assert (a.starts, stage.top.status) == (11, "running")


@pytest.mark.asyncio
async def test_a_supervisor_that_wishes_not_to_run_starts_no_child() -> None:
    below = Part("below")

    class Inner(Supervisor):
        def children(self) -> list[ChildSpec[Any]]:
            return [below.spec()]

        async def initialize(self) -> Ignore:
            return Ignore()

    async with staged(child(Inner).options(name="inner"), Part("b").spec()) as stage:
        assert await listed(stage.top) == {"inner": "stopped", "b": "running"}
        counts = await stage.top.count_children()
        assert (counts.supervisors, counts.workers, below.starts) == (1, 1, 0)


@pytest.mark.asyncio
async def test_what_it_spawned_before_it_said_so_ends() -> None:
    below = Part("below")

    async def initialize(actor: Player) -> Ignore:
        await actor.context.spawn(below.spec())
        return Ignore()

    async with staged(guest(Part("a", initialize=initialize))) as stage:
        await settle()
        assert (below.starts, len(below.ends)) == (1, 1)
        assert await listed(stage.top) == {"a": "stopped"}


@pytest.mark.asyncio
async def test_the_class_instead_of_an_ignore_is_no_answer() -> None:
    async with ActorSystem() as system:
        with pytest.raises(StartError, match="initialize"):
            await system.spawn(child(Wrong))


class Wrong(Player):
    def __init__(self) -> None: ...

    def initialize(self) -> Any:
        return Ignore


@pytest.mark.asyncio
async def test_in_parallel_starts_those_that_depend_on_it_do_not_wait_for_ever() -> None:
    a, b = Part("a", initialize=ignore), Part("b")
    async with staged(guest(a), b.spec(depends_on=["a"]), parallel_start=True) as stage:
        assert await listed(stage.top) == {"a": "stopped", "b": "running"}


@pytest.mark.asyncio
async def test_after_a_restart_of_the_supervisor_it_is_asked_again() -> None:
    a, b = Part("a", initialize=first(ignore)), Part("b")
    async with staged(supervisor("inner", guest(a), b.spec())) as stage:
        inner: Any = stage.system.lookup("top/inner", Supervisor)
        assert isinstance(inner, SupervisorRef)
        inner.kill()
        await settle()
        assert await listed(inner) == {"a": "running", "b": "running"}
