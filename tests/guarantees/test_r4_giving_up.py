"""R4: a supervisor that gives up stops its children in reverse, each by its own rule, and ends abnormally."""

# ruff: noqa: PT012 - what raises is the `async with` as a whole

from __future__ import annotations

import asyncio
from typing import Literal

import pytest

from tests.guarantees.cast_of_supervision import (
    STUBBORN,
    Boom,
    Call,
    Flat,
    Gate,
    Part,
    Player,
    boom,
    now,
    settle,
    staged,
    takes,
)
from understudy import (
    ActorSystem,
    Crashed,
    Killed,
    RestartsExceeded,
    Shutdown,
    Supervisor,
    SystemCollapsed,
    is_abnormal,
    supervisor,
)


@pytest.mark.asyncio
async def test_the_remaining_children_stop_in_reverse_start_order() -> None:
    journal: list[str] = []
    a, b, c, d = (Part(name, journal, shutdown=takes(0.5)) for name in "abcd")
    async with staged(a.spec(), b.spec(), c.spec(), d.spec(), max_restarts=0) as stage:
        journal.clear()
        stage["b"].tell(Flat(what=boom))
        assert isinstance(await stage.top.wait_stopped(), RestartsExceeded)
        assert [line for line in journal if not line.startswith("b")] == [
            "d stops",
            "d down",
            "c stops",
            "c down",
            "a stops",
            "a down",
        ]
        assert [path[-1] for path, _ in stage.diary.stopped if path[-1] in "acd"] == ["d", "c", "a"]
        assert (a.starts, b.starts, c.starts, d.starts) == (1, 1, 1, 1)


@pytest.mark.asyncio
async def test_the_siblings_are_shut_down_and_their_handlers_may_finish() -> None:
    gate = Gate()
    a, b = Part("a"), Part("b")
    async with staged(a.spec(), b.spec(), max_restarts=0) as stage:
        in_hand = asyncio.ensure_future(stage["a"].ask(Call(what=gate)))
        await gate.reached.wait()
        stage["b"].tell(Flat(what=boom))
        await settle()
        assert not in_hand.done()
        assert stage.top.status == "stopping"
        gate.open()
        assert await in_hand == "passed"
        assert gate.cancelled_at == []
        await stage.top.wait_stopped()
        assert [type(reason) for reason in a.ends] == [Shutdown]
        assert [type(reason) for reason in b.ends] == [Crashed]


@pytest.mark.asyncio
async def test_each_child_stops_by_its_own_shutdown_rule() -> None:
    journal: list[str] = []
    failing = Part("failing", journal)
    patient = Part("patient", journal, shutdown=takes(100.0))
    brief = Part("brief", journal, shutdown=takes(100.0))
    brutal = Part("brutal", journal, shutdown=takes(100.0))
    async with staged(
        failing.spec(),
        patient.spec(shutdown="infinity"),
        brief.spec(shutdown=2.0),
        brutal.spec(shutdown="brutal_kill"),
        max_restarts=0,
    ) as stage:
        refs = {name: stage[name] for name in ("patient", "brief", "brutal")}
        began = now()
        stage["failing"].tell(Flat(what=boom))
        await stage.top.wait_stopped()
        assert now() - began == pytest.approx(102.0, abs=0.01)
        assert "brutal stops" not in journal
        assert "brief stops" in journal
        assert "brief down" not in journal
        assert "patient down" in journal
        assert isinstance(await refs["brutal"].wait_stopped(), Killed)
        assert isinstance(await refs["brief"].wait_stopped(), Killed)
        assert isinstance(await refs["patient"].wait_stopped(), Shutdown)


@pytest.mark.asyncio
async def test_a_child_that_will_not_stop_cannot_keep_the_supervisor_from_ending() -> None:
    gate = Gate(resists=STUBBORN)
    a, b = Part("a"), Part("b")
    async with staged(a.spec(shutdown=1.0), b.spec(), max_restarts=0) as stage:
        stage["a"].tell(Call(what=gate))
        await gate.reached.wait()
        began = now()
        stage["b"].tell(Flat(what=boom))
        assert isinstance(await stage.top.wait_stopped(), RestartsExceeded)
        assert now() - began == pytest.approx(2.0, abs=0.01)
        gate.open()
        await settle()


@pytest.mark.asyncio
async def test_out_of_restarts_is_an_abnormal_end() -> None:
    a = Part("a")
    async with staged(a.spec(), max_restarts=0) as stage:
        stage["a"].tell(Flat(what=boom))
        assert is_abnormal(await stage.top.wait_stopped())


@pytest.mark.parametrize("kind", ["permanent", "transient"])
@pytest.mark.asyncio
async def test_a_supervisor_that_ran_out_of_restarts_is_restarted_by_its_parent(
    kind: Literal["permanent", "transient"],
) -> None:
    journal: list[str] = []
    a, b = Part("a", journal), Part("b", journal)
    inner = supervisor("inner", a.spec(), b.spec(), max_restarts=1).options(restart=kind)
    async with staged(inner, max_restarts=1) as stage:
        below = stage.system.lookup("top/inner", Supervisor)
        for _ in range(2):
            stage["inner/a"].tell(Flat(what=boom))
            await settle()
        assert below.status == "running"
        assert (a.starts, b.starts) == (3, 2)
        [why] = [reason for path, reason, _ in stage.diary.restarting if path == below.path]
        assert isinstance(why, RestartsExceeded)
        assert (why.child, why.count) == ("/user/top/inner/a", 2)
        assert await stage["inner/a"].ask(Flat(what=lambda actor: actor.incarnation)) == 3
        assert stage.top.status == "running"


@pytest.mark.asyncio
async def test_a_temporary_supervisor_that_ran_out_of_restarts_is_not_restarted() -> None:
    a, b = Part("a"), Part("b")
    inner = supervisor("inner", a.spec(), b.spec(), max_restarts=0).options(restart="temporary")
    async with staged(inner, max_restarts=0) as stage:
        below = stage.system.lookup("top/inner", Supervisor)
        below_a, below_b = stage["inner/a"], stage["inner/b"]
        below_a.tell(Flat(what=boom))
        assert isinstance(await below.wait_stopped(), RestartsExceeded)
        assert (below_a.status, below_b.status) == ("stopped", "stopped")
        assert (a.starts, b.starts) == (1, 1)
        assert stage.top.status == "running"


@pytest.mark.asyncio
async def test_a_failure_that_nobody_above_can_bear_climbs_to_the_root_and_names_each_step() -> None:
    leaf = Part("leaf")
    low = supervisor("low", leaf.spec(), max_restarts=0)
    high = supervisor("high", low, max_restarts=0)
    with pytest.raises(SystemCollapsed) as caught:
        async with ActorSystem(supervisor("root", high, max_restarts=0)) as system:
            system.lookup("root/high/low/leaf", Player).tell(Flat(what=boom))
            await asyncio.sleep(1000)
    error = caught.value
    assert error.path == "/user/root"
    reason = error.reason
    climbed = []
    while isinstance(reason, RestartsExceeded):
        climbed.append(reason.child)
        reason = reason.last_reason
    assert climbed == ["/user/root/high", "/user/root/high/low", "/user/root/high/low/leaf"]
    assert isinstance(reason, Crashed)
    assert isinstance(reason.error, Boom)
    assert leaf.starts == 1


@pytest.mark.asyncio
async def test_a_higher_budget_absorbs_what_a_lower_one_cannot() -> None:
    leaf = Part("leaf")
    low = supervisor("low", leaf.spec(), max_restarts=1)
    async with staged(low, max_restarts=1) as stage:
        for crashes in range(4):  # low bears 1, top restarts low, low bears 1 more, then top has had enough
            assert (crashes, stage.top.status) == (crashes, "running")
            stage["low/leaf"].tell(Flat(what=boom))
            await settle()
        assert stage.top.status == "stopped"
        assert leaf.starts == 4
