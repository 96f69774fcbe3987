"""R6: a failed attempt is retried through the supervisor's own queue; it answers meanwhile, and nobody waits in it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tenacity import wait_fixed

from tests.guarantees.cast_of_supervision import STUBBORN, Call, Flat, Gate, Note, Part, Player, boom, now, settle
from tests.guarantees.cast_of_trees import first, later, listed, staged
from understudy import (
    ActorRef,
    ActorSystem,
    ChildError,
    ChildRestarting,
    DynamicSupervisor,
    RestartsExceeded,
    Shutdown,
    StartError,
    Supervisor,
    TooManyChildren,
    child,
    handler,
    supervisor,
)
from understudy.testing import Faults, Simulation, simulate


class Probe(Supervisor[int]):
    """A supervisor that takes messages too."""

    max_restarts = 1_000_000

    def __init__(self, part: Part) -> None:
        self.part = part

    def children(self) -> Any:
        return [self.part.spec()]

    @handler
    async def number(self, message: int) -> None:
        self.part.journal.append(f"probe {message}")


@pytest.mark.parametrize("where", ["construct", "initialize"])
@pytest.mark.asyncio
async def test_other_requests_are_served_between_the_attempts(where: str) -> None:
    """A child that can start once only, and a supervisor that never has enough: the calls get through all the same."""
    a = Part("a", **{where: lambda actor: boom() if 1 < actor.incarnation < 2000 else None})  # type: ignore[arg-type]
    async with staged(a.spec(), Part("b").spec(), max_restarts=1_000_000) as stage:
        stage["a"].tell(Flat(what=boom))
        seen = set()
        while a.starts < 2000:
            seen.add((await listed(stage.top))["a"])
            before = a.starts
            assert (await stage.top.count_children()).specs == 2
            assert await stage["b"].ask(Flat(what=lambda actor: "here")) == "here"
            assert a.starts - before < 1000, "nobody else had a turn"
            await asyncio.sleep(0)
        await settle()
        assert (await listed(stage.top))["a"] == "running"
        assert now() < 0.1


@pytest.mark.asyncio
async def test_a_child_that_never_starts_again_can_be_terminated_between_two_attempts() -> None:
    a = Part("a", construct=later(boom))
    async with staged(a.spec(), max_restarts=1_000_000_000) as stage:
        stage["a"].tell(Flat(what=boom))
        await asyncio.sleep(0)
        await stage.top.terminate_child("a")
        assert await listed(stage.top) == {"a": "stopped"}
        starts = a.starts
        await settle()
        assert a.starts == starts


@pytest.mark.parametrize("how", ["initialize", "delay"])
@pytest.mark.asyncio
async def test_a_pending_restart_is_listed_counted_and_answers_restarting(how: str) -> None:
    gate = Gate()
    a = Part("a", initialize=later(gate) if how == "initialize" else None)
    options: dict[str, Any] = {"backoff": wait_fixed(50)} if how == "delay" else {}
    async with staged(a.spec(**options), Part("b").spec()) as stage:
        ref = stage["a"]
        ref.tell(Flat(what=boom))
        await settle()
        assert (await listed(stage.top), ref.status) == ({"a": "restarting", "b": "running"}, "restarting")
        counts = await stage.top.count_children()
        assert (counts.specs, counts.active) == (2, 1)
        [node] = [node for node in stage.system.tree().walk() if node.path == "/user/top/a"]
        assert node.status == "restarting"
        assert stage["a"] == ref
        for call in (stage.top.restart_child("a"), stage.top.delete_child("a")):
            with pytest.raises(ChildRestarting):
                await call
        gate.open()


@pytest.mark.parametrize("how", ["stop", "kill", "crash of a sibling"])
@pytest.mark.parametrize("state", ["initialize", "delay"])
@pytest.mark.asyncio
async def test_the_end_of_the_supervisor_is_prompt_while_children_are_being_restarted(state: str, how: str) -> None:
    gate = Gate()
    parts = [Part(f"c{number}", initialize=later(gate) if state == "initialize" else None) for number in range(50)]
    options: dict[str, Any] = {"backoff": wait_fixed(50)} if state == "delay" else {}
    specs = [part.spec(**options) for part in parts]
    async with staged(*specs, Part("last").spec(), max_restarts=50, max_seconds=1000.0) as stage:
        refs = [stage[part.name] for part in parts]
        for ref in refs:
            ref.tell(Flat(what=boom))
        await settle()
        for number, ref in enumerate(refs):
            assert ref.tell(Note(number=number)) is True
        began = now()
        match how:
            case "stop":
                stage.top.stop()
            case "kill":
                stage.top.kill()
            case _:
                stage["last"].tell(Flat(what=boom))
        reason = await stage.top.wait_stopped()
        assert now() - began < 0.1
        assert isinstance(reason, Shutdown) == (how == "stop")
        assert isinstance(reason, RestartsExceeded) == (how == "crash of a sibling")
        starts = [part.starts for part in parts]
        gate.open()
        await asyncio.sleep(100)
        assert [part.starts for part in parts] == starts
        assert {ref.status for ref in refs} == {"stopped"}
        assert sorted(stage.diary.lost_notes()) == list(range(50))


@pytest.mark.asyncio
async def test_the_supervisor_itself_works_while_any_number_of_children_hang() -> None:
    starting, stopping = Gate(), Gate(resists=STUBBORN)
    a = Part("a", initialize=later(starting))
    async with staged(child(Probe, a).options(name="probe")) as stage:
        probe: Any = stage.system.lookup("top/probe", Probe)
        b = Part("b", shutdown=first(stopping))
        calls = []
        for number in range(20):
            part = Part(f"c{number}", initialize=starting)
            calls.append(asyncio.ensure_future(probe.start_child(part.spec(start_timeout=1000.0))))
        await probe.start_child(b.spec(shutdown=20.0))
        stage.system.lookup("top/probe/a", Player).tell(Flat(what=boom))
        ending = asyncio.ensure_future(probe.terminate_child("b"))
        await stopping.reached.wait()
        await settle()
        began = now()
        assert probe.tell(1) is True
        await settle()
        assert a.journal[-1] == "probe 1"
        assert len(await listed(probe)) == 22
        new = await probe.start_child(Part("new").spec())
        new.tell(Flat(what=boom))
        await settle()
        assert new.status == "running"
        assert now() - began < 0.1
        starting.open()
        stopping.open()
        await asyncio.gather(*calls, ending)


@pytest.mark.asyncio
async def test_one_that_is_being_restarted_takes_a_place_of_max_children() -> None:
    class Pool(DynamicSupervisor):
        max_children = 2
        max_restarts = 100

    gate = Gate()
    a = Part("a", initialize=later(gate))
    b = Part("b")
    async with ActorSystem() as system:
        pool: Any = await system.spawn(Pool)
        first_ref = await pool.start_child(a.spec())
        second = await pool.start_child(b.spec(backoff=wait_fixed(10)))
        first_ref.tell(Flat(what=boom))
        second.tell(Flat(what=boom))
        await settle()
        assert await listed(pool) == {"a": "restarting", "b": "restarting"}
        with pytest.raises(TooManyChildren) as caught:
            await pool.start_child(Part("c").spec())
        assert (caught.value.path, caught.value.limit) == ("/user/pool", 2)
        await pool.terminate_child("b")
        assert (await pool.start_child(Part("c").spec())).status == "running"
        gate.open()


@pytest.mark.asyncio
async def test_failed_attempts_count_one_by_one_and_each_is_told() -> None:
    a = Part("a", initialize=lambda actor: boom() if 1 < actor.incarnation < 4 else None)
    async with staged(a.spec(), max_restarts=3) as stage:
        stage["a"].tell(Flat(what=boom))
        await settle()
        assert [failures for *_, failures in stage.diary.restarting] == [1, 2, 3]
        assert (a.starts, stage.top.status) == (4, "running")


@pytest.mark.asyncio
async def test_a_supervisor_that_is_being_restarted_makes_callers_wait_or_tells_them() -> None:
    gate = Gate()
    a = Part("a", initialize=later(gate))
    async with staged(supervisor("inner", a.spec())) as stage:
        inner: Any = stage.system.lookup("top/inner", Supervisor)
        inner.kill()
        await gate.reached.wait()
        call = asyncio.ensure_future(inner.start_child(Part("x").spec()))
        await settle()
        gate.open()
        await settle()
        assert call.done()
        if call.exception() is None:
            assert await listed(inner) == {"a": "running", "x": "running"}
        else:
            assert await listed(inner) == {"a": "running"}


@simulate(schedules=40, faults=Faults(stall=0.3))
async def test_whatever_is_called_while_children_come_and_go_has_an_answer_and_the_list_is_true(
    sim: Simulation,
) -> None:
    parts = [Part(f"c{number}") for number in range(3)]
    specs = [part.spec(**({"backoff": wait_fixed(0.2)} if sim.random.random() < 0.5 else {})) for part in parts]
    top: Any = await sim.system.spawn(supervisor("top", *specs, max_restarts=100_000))
    calls: list[asyncio.Future[Any]] = []
    for number in range(8):
        name = f"c{sim.random.randrange(4)}"
        ref: ActorRef[Any] | None = sim.system.find(f"top/{name}", Player)
        match sim.random.choice(["crash", "kill", "start", "terminate", "restart", "delete", "wait"]):
            case "crash" if ref is not None:
                ref.tell(Flat(what=boom))
            case "kill" if ref is not None:
                ref.kill()
            case "start":
                calls.append(asyncio.ensure_future(top.start_child(Part(name).spec())))
            case "terminate":
                calls.append(asyncio.ensure_future(top.terminate_child(name)))
            case "restart":
                calls.append(asyncio.ensure_future(top.restart_child(name)))
            case "delete":
                calls.append(asyncio.ensure_future(top.delete_child(name)))
            case _:
                await asyncio.sleep(sim.random.choice([0, 0.1]))
        if number == 5:
            ask = asyncio.ensure_future(top.count_children())
            await ask
    await sim.quiesce()
    await asyncio.sleep(5)
    await sim.quiesce()
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert all(each is None or isinstance(each, ActorRef | ChildError | StartError) for each in results), results
    infos = await top.which_children()
    assert {info.status for info in infos} <= {"running", "stopped"}
    for info in infos:
        assert (info.ref is not None) == (info.status == "running")
        if info.ref is not None:
            assert await info.ref.ask(Call(what=lambda actor: "here"), timeout=1000) == "here"
    counts = await top.count_children()
    assert (counts.specs, counts.active) == (len(infos), sum(info.ref is not None for info in infos))
