"""``DynamicSupervisor``: children that come and go, each restarted alone, all stopped at once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.guarantees.cast_of_supervision import (
    STUBBORN,
    Call,
    Flat,
    Gate,
    Note,
    Part,
    Player,
    boom,
    now,
    settle,
    takes,
)
from tests.guarantees.cast_of_trees import listed, staged
from understudy import (
    ActorRef,
    ActorSystem,
    ChildAlreadyStarted,
    ChildNotFound,
    ChildSpec,
    DynamicSupervisor,
    Killed,
    RestartsExceeded,
    Shutdown,
    Supervisor,
    SupervisorRef,
    child,
    supervisor,
)


class Pool(DynamicSupervisor):
    pass


@pytest.mark.asyncio
async def test_it_begins_empty_and_starts_what_it_is_given() -> None:
    async with ActorSystem(Pool) as system:
        pool: Any = system.lookup("pool", Pool)
        assert isinstance(pool, SupervisorRef)
        assert await listed(pool) == {}
        a = await pool.start_child(Part("a").spec())
        b = await pool.start_child(Player, Part())
        c = await pool.start_child(Player, Part())
        assert [ref.path for ref in (a, b, c)] == ["/user/pool/a", "/user/pool/player", "/user/pool/player-2"]
        assert await listed(pool) == {"a": "running", "player": "running", "player-2": "running"}
        with pytest.raises(ChildAlreadyStarted):
            await pool.start_child(Part("a").spec())


@pytest.mark.asyncio
async def test_a_child_is_restarted_alone_and_keeps_ref_and_mailbox() -> None:
    a, b = Part("a"), Part("b")
    async with ActorSystem() as system:
        pool: Any = await system.spawn(Pool)
        refs = [await pool.start_child(part.spec()) for part in (a, b)]
        refs[0].tell(Flat(what=boom))
        refs[0].tell(Note(number=1))
        await settle()
        assert (a.starts, b.starts, a.notes) == (2, 1, [1])
        assert refs[0].status == "running"


@pytest.mark.asyncio
async def test_all_share_one_budget_and_giving_up_stops_all() -> None:
    parts = [Part(f"c{number}") for number in range(4)]
    async with ActorSystem() as system:
        pool: Any = await system.spawn(child(Pool).options(restart="temporary"))
        refs = [await pool.start_child(part.spec()) for part in parts]
        for ref in refs:
            ref.tell(Flat(what=boom))
        reason = await pool.wait_stopped()
        assert isinstance(reason, RestartsExceeded)
        assert reason.count == 4
        assert {ref.status for ref in refs} == {"stopped"}


@pytest.mark.parametrize("how", ["stop", "giving up", "end of the system"])
@pytest.mark.asyncio
async def test_children_stop_all_at_once(how: str) -> None:
    class Strict(Pool):
        max_restarts = 0

    journal: list[str] = []
    parts = [Part(f"c{number}", journal, shutdown=takes(2.0)) for number in range(20)]
    async with ActorSystem() as system:
        pool: Any = await system.spawn(child(Strict).options(restart="temporary", name="pool"))
        for part in parts:
            await pool.start_child(part.spec())
        bad = await pool.start_child(Part("bad").spec())
        journal.clear()
        began = now()
        match how:
            case "stop":
                pool.stop()
            case "giving up":
                bad.tell(Flat(what=boom))
            case _:
                system.stop()
        await settle()
        assert sorted(journal) == sorted(f"{part.name} stops" for part in parts)
        await pool.wait_stopped()
        assert now() - began == pytest.approx(2.0, abs=0.01)


@pytest.mark.asyncio
async def test_each_stops_under_its_own_deadline() -> None:
    gates = [Gate(), Gate(resists=STUBBORN)]
    async with ActorSystem() as system:
        pool: Any = await system.spawn(Pool)
        quick = await pool.start_child(Part("quick").spec())
        slow = await pool.start_child(Part("slow").spec(shutdown=3.0))
        brutal = await pool.start_child(Part("brutal").spec(shutdown="brutal_kill"))
        stubborn = await pool.start_child(Part("stubborn").spec(shutdown=1.0))
        ends: dict[str, float] = {}

        async def watch(name: str, ref: ActorRef[Any]) -> object:
            reason = await ref.wait_stopped()
            ends[name] = round(now() - began, 1)
            return reason

        slow.tell(Call(what=takes(100)))
        brutal.tell(Call(what=gates[0]))
        stubborn.tell(Call(what=gates[1]))
        await settle()
        began = now()
        waits = [
            asyncio.ensure_future(watch(name, ref))
            for name, ref in (("quick", quick), ("slow", slow), ("brutal", brutal), ("stubborn", stubborn))
        ]
        await settle()
        pool.stop()
        await pool.wait_stopped()
        reasons = await asyncio.gather(*waits)
        assert ends == {"quick": 0.0, "brutal": 0.0, "stubborn": 2.0, "slow": 3.0}
        assert isinstance(reasons[0], Shutdown)
        assert all(isinstance(reason, Killed) for reason in reasons[1:])
        gates[1].open()
        await settle()


@pytest.mark.asyncio
async def test_its_children_end_for_good_when_it_is_restarted() -> None:
    """R12a: nobody declares them."""
    a = Part("a")
    async with staged(child(Pool).options(name="pool")) as stage:
        pool: Any = stage.system.lookup("top/pool", Pool)
        ref = await pool.start_child(a.spec())
        ref.tell(Note(number=1))
        await settle()
        uid = pool.uid
        pool.kill()
        await settle()
        assert (pool.status, pool.uid, ref.status, a.starts) == ("running", uid, "stopped", 1)
        assert await listed(pool) == {}
        again = await pool.start_child(a.spec())
        assert again.uid != ref.uid


@pytest.mark.asyncio
async def test_it_can_be_a_member_of_a_group() -> None:
    a, x = Part("a"), Part("x")
    async with staged(a.spec(), child(Pool).options(name="pool"), strategy="one_for_all") as stage:
        pool: Any = stage.system.lookup("top/pool", Pool)
        ref = await pool.start_child(x.spec())
        stage["a"].tell(Flat(what=boom))
        await settle()
        assert (a.starts, ref.status, pool.status) == (2, "stopped", "running")
        assert (await pool.start_child(Part("y").spec())).status == "running"


@pytest.mark.asyncio
async def test_children_are_addressed_by_their_refs() -> None:
    async with ActorSystem() as system:
        pool: Any = await system.spawn(Pool)
        a = await pool.start_child(Player, Part())
        other: Any = await system.spawn(Player, Part())
        await pool.terminate_child(a)
        assert a.status == "stopped"
        with pytest.raises(ChildNotFound):
            await pool.terminate_child(a)
        with pytest.raises(ChildNotFound):
            await pool.terminate_child(other)
        assert other.status == "running"


@pytest.mark.asyncio
async def test_nothing_can_be_restarted_by_hand() -> None:
    async with ActorSystem() as system:
        pool: Any = await system.spawn(Pool)
        await pool.start_child(Part("a").spec())
        await pool.terminate_child("a")
        for call in (pool.restart_child("a"), pool.delete_child("a"), pool.get_childspec("a")):
            with pytest.raises(ChildNotFound):
                await call


@pytest.mark.asyncio
async def test_it_takes_supervisors_as_children() -> None:
    async with ActorSystem() as system:
        pool: Any = await system.spawn(Pool)
        inner = await pool.start_child(supervisor("inner", Part("deep").spec()))
        assert isinstance(inner, SupervisorRef)
        nested = await pool.start_child(child(Pool).options(name="nested"))
        await nested.start_child(Part("deeper").spec())
        counts = await pool.count_children()
        assert (counts.supervisors, counts.workers) == (2, 0)
        deep = system.lookup("pool/inner/deep", Player)
        pool.stop()
        await pool.wait_stopped()
        assert deep.status == "stopped"


@pytest.mark.asyncio
async def test_its_own_code_may_start_children_too() -> None:
    parts = [Part("a"), Part("b")]

    class Busy(DynamicSupervisor):
        async def initialize(self) -> None:
            for part in parts:
                await self.context.spawn(part.spec())

    async with staged(child(Busy).options(name="busy")) as stage:
        busy: Any = stage.system.lookup("top/busy", Busy)
        assert await listed(busy) == {"a": "running", "b": "running"}
        busy.kill()
        await settle()
        assert await listed(busy) == {"a": "running", "b": "running"}
        assert [part.starts for part in parts] == [2, 2]


@pytest.mark.asyncio
async def test_a_start_in_progress_does_not_hold_the_others_up() -> None:
    gate = Gate()
    async with ActorSystem() as system:
        pool: Any = await system.spawn(Pool)
        slow = [asyncio.ensure_future(pool.start_child(Part(f"slow{n}", initialize=gate).spec())) for n in range(50)]
        await gate.reached.wait()
        began = now()
        for number in range(50):
            await pool.start_child(Part(f"quick{number}").spec())
        assert now() - began < 0.1
        gate.open()
        await asyncio.gather(*slow)
        assert len(await listed(pool)) == 100


@pytest.mark.asyncio
async def test_ten_thousand_crashes_in_a_burst_are_all_seen_to() -> None:
    class Large(DynamicSupervisor):
        max_restarts = 100_000

    async with ActorSystem() as system:
        pool: Any = await system.spawn(Large)
        parts = [Part(f"c{number}") for number in range(1_000)]
        refs = [await pool.start_child(part.spec()) for part in parts]
        for _ in range(10):
            for ref in refs:
                ref.tell(Flat(what=boom))
        await settle()
        assert {part.starts for part in parts} == {11}
        assert {ref.status for ref in refs} == {"running"}
        assert pool.status == "running"


class Declares(Supervisor):
    def children(self) -> list[ChildSpec[Any]]:
        return [child(Pool).options(name="pool"), child(Pool).options(name="other")]


@pytest.mark.asyncio
async def test_several_of_a_class_are_apart() -> None:
    async with ActorSystem(Declares) as system:
        pool: Any = system.lookup("declares/pool", Pool)
        other: Any = system.lookup("declares/other", Pool)
        await pool.start_child(Part("a").spec())
        await other.start_child(Part("a").spec())
        await pool.terminate_child("a")
        assert await listed(other) == {"a": "running"}
