"""G5: a dynamic supervisor limits its children, frees a place when a death has been seen, and keeps no arguments."""

from __future__ import annotations

import asyncio
import gc
import re
import weakref
from typing import Any

import pytest

from tests.guarantees.cast_of_supervision import Call, Flat, Gate, Part, boom, settle, stop_yourself
from tests.guarantees.cast_of_trees import guest, later, listed
from understudy import (
    Actor,
    ActorSystem,
    DynamicSupervisor,
    Ignore,
    InvalidSpec,
    StartError,
    TooManyChildren,
    child,
    handler,
)
from understudy.testing import Faults, Simulation, simulate


class Three(DynamicSupervisor):
    max_children = 3
    max_restarts = 1000


async def fill(pool: Any, count: int = 3, **options: Any) -> list[Any]:
    return [await pool.start_child(Part(f"c{number}").spec(**options)) for number in range(count)]


@pytest.mark.asyncio
async def test_one_more_than_max_children_is_refused_and_nothing_of_it_runs() -> None:
    async with ActorSystem() as system:
        pool: Any = await system.spawn(Three)
        await fill(pool)
        x = Part("x")
        with pytest.raises(TooManyChildren) as caught:
            await pool.start_child(x.spec())
        assert (caught.value.path, caught.value.limit) == ("/user/three", 3)
        assert x.starts == 0
        assert len(await listed(pool)) == 3


@pytest.mark.asyncio
async def test_no_child_at_all_may_be_allowed() -> None:
    class None_(DynamicSupervisor):
        max_children = 0

    async with ActorSystem() as system:
        pool: Any = await system.spawn(None_)
        with pytest.raises(TooManyChildren):
            await pool.start_child(Part("x").spec())


@pytest.mark.asyncio
async def test_those_that_start_stop_and_are_restarted_have_their_places() -> None:
    starting, stopping, again = Gate(), Gate(), Gate()
    async with ActorSystem() as system:
        pool: Any = await system.spawn(Three)
        a = await pool.start_child(Part("a", initialize=later(again)).spec())
        b = await pool.start_child(Part("b", shutdown=stopping).spec())
        c = asyncio.ensure_future(pool.start_child(Part("c", initialize=starting).spec()))
        a.tell(Flat(what=boom))
        b.stop()
        await settle()
        assert await listed(pool) == {"a": "restarting", "b": "stopping", "c": "starting"}
        with pytest.raises(TooManyChildren):
            await pool.start_child(Part("x").spec())
        stopping.open()
        await settle()
        assert (await pool.start_child(Part("x").spec())).status == "running"
        starting.open()
        again.open()
        await c


ENDS: dict[str, Any] = {
    "stop": lambda pool, ref: ref.stop(),
    "normal end": lambda pool, ref: ref.tell(Flat(what=stop_yourself)),
    "terminate": lambda pool, ref: asyncio.ensure_future(pool.terminate_child(ref)),
    "crash": lambda pool, ref: ref.tell(Flat(what=boom)),
    "kill": lambda pool, ref: ref.kill(),
}


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.asyncio
async def test_a_place_is_free_when_the_death_has_been_seen(end: str) -> None:
    async with ActorSystem() as system:
        pool: Any = await system.spawn(Three)
        refs = await fill(pool, restart="temporary")
        for number in range(20):
            done = ENDS[end](pool, refs[0])
            await refs[0].wait_stopped()
            if isinstance(done, asyncio.Future):
                await done
            refs[0] = await pool.start_child(Part(f"x{number}").spec(restart="temporary"))
        assert len(await listed(pool)) == 3


@pytest.mark.asyncio
async def test_a_start_that_fails_takes_no_place() -> None:
    async with ActorSystem() as system:
        pool: Any = await system.spawn(Three)
        await fill(pool, 2)
        for _ in range(5):
            with pytest.raises(StartError):
                await pool.start_child(Part("x", initialize=boom).spec())
            await pool.start_child(guest(Part("y", initialize=lambda actor: Ignore())))
        assert (await pool.start_child(Part("x").spec())).status == "running"


@pytest.mark.parametrize("restart", ["permanent", "transient", "temporary"])
@pytest.mark.asyncio
async def test_nothing_is_kept_of_those_that_have_ended_for_good(restart: str) -> None:
    async with ActorSystem() as system:
        pool: Any = await system.spawn(Three)
        refs = await fill(pool, restart=restart)
        await pool.terminate_child(refs[0])
        refs[1].stop()
        await settle()
        assert await listed(pool) == {"c2": "running"}
        counts = await pool.count_children()
        assert (counts.specs, counts.active, counts.workers) == (1, 1, 1)


# Arguments


class Ballast:
    """Large, and nobody else holds it."""


class Light(Actor[Call | Flat]):
    """Lets go of what it was made with."""

    def __init__(self, ballast: Ballast, *, more: Ballast | None = None) -> None: ...

    @handler
    async def call(self, message: Call) -> object:
        return message.what(self)

    @handler
    def flat(self, message: Flat) -> object:
        return message.what(self)


@pytest.mark.parametrize("way", ["class", "spec"])
@pytest.mark.asyncio
async def test_the_arguments_of_temporary_children_are_not_kept(way: str) -> None:
    class Temporary(Light):
        defaults = {"restart": "temporary"}

    async with ActorSystem() as system:
        pool: Any = await system.spawn(DynamicSupervisor)
        one, two = Ballast(), Ballast()
        held = [weakref.ref(one), weakref.ref(two)]
        if way == "class":
            ref = await pool.start_child(Temporary, one, more=two)
        else:
            ref = await pool.start_child(child(Light, one, more=two).options(restart="temporary"))
        del one, two
        await settle()
        gc.collect()
        assert [each() for each in held] == [None, None]
        assert ref.status == "running"
        spec = await pool.get_childspec(ref.path.rpartition("/")[2])
        assert (spec.args, dict(spec.kwargs)) == ((), {})


@pytest.mark.parametrize("restart", ["permanent", "transient"])
@pytest.mark.asyncio
async def test_the_arguments_of_others_are_kept_for_their_restarts_and_let_go_at_their_end(restart: Any) -> None:
    async with ActorSystem() as system:
        pool: Any = await system.spawn(DynamicSupervisor)
        one = Ballast()
        held = weakref.ref(one)
        ref = await pool.start_child(child(Light, one).options(restart=restart))
        del one
        gc.collect()
        assert held() is not None
        ref.tell(Flat(what=boom))
        await settle()
        assert ref.status == "running"
        ref.stop()
        await ref.wait_stopped()
        del ref
        await settle()
        gc.collect()
        assert held() is None


# Declaration


@pytest.mark.parametrize("value", [-1, 1.5, "3", None, True])
def test_a_bad_max_children_is_refused_at_declaration(value: Any) -> None:
    with pytest.raises(InvalidSpec) as caught:
        type("Bad", (DynamicSupervisor,), {"max_children": value})
    assert caught.value.field == "max_children"
    assert "Bad" in str(caught.value)


@pytest.mark.parametrize(
    "body",
    [
        {"children": lambda self: []},
        {"strategy": "one_for_all"},
        {"strategy": "rest_for_one"},
        {"parallel_start": True},
        {"auto_shutdown": "any_significant"},
        {"max_restarts": -1},
        {"max_seconds": 0},
    ],
    ids=lambda value: re.sub(r" at 0x[0-9a-f]+", "", str(value)),
)
def test_what_a_dynamic_supervisor_cannot_have_is_refused_at_declaration(body: dict[str, Any]) -> None:
    with pytest.raises(InvalidSpec) as caught:
        type("Bad", (DynamicSupervisor,), body)
    assert "Bad" in str(caught.value)
    assert next(iter(body)) in str(caught.value)


@simulate(schedules=40, faults=Faults(stall=0.3))
async def test_there_are_never_more_than_allowed_whatever_happens(sim: Simulation) -> None:
    pool: Any = await sim.system.spawn(Three)
    alive: set[int] = set()
    most = 0

    def up(number: int) -> Any:
        def note(actor: object) -> None:
            nonlocal most
            alive.add(number)
            most = max(most, len(alive))

        return note

    calls: list[asyncio.Future[Any]] = []
    for number in range(12):
        part = Part(
            f"c{number}",
            initialize=up(number),
            shutdown=lambda actor, number=number: alive.discard(number),
        )
        kind = sim.random.choice(["permanent", "temporary"])
        calls.append(asyncio.ensure_future(pool.start_child(part.spec(restart=kind))))
        if sim.random.random() < 0.5:
            await asyncio.sleep(sim.random.choice([0, 0.1]))
        infos = await pool.which_children()
        assert len(infos) <= 3
        if infos and sim.random.random() < 0.7:
            ref = sim.random.choice(infos).ref
            if ref is not None:
                sim.random.choice([ref.stop, lambda ref=ref: ref.tell(Flat(what=boom))])()
    await sim.quiesce()
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert most <= 3
    assert all(
        not isinstance(each, BaseException) or isinstance(each, TooManyChildren | StartError) for each in results
    )
    assert len(await listed(pool)) == len(alive)
