"""R8: a crash never cancels a sibling."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.guarantees.cast_of_supervision import Call, Flat, Gate, Part, boom, settle, staged
from understudy import ActorFailed, ActorSystem, supervisor


@pytest.mark.parametrize("kind", [Call, Flat])
@pytest.mark.asyncio
async def test_no_declared_sibling_sees_a_cancelled_error(kind: type[Call | Flat]) -> None:
    gates = [Gate() for _ in range(10)]
    parts = [Part(f"child{number}") for number in range(10)]
    failing = Part("failing")
    async with staged(*(part.spec() for part in parts), failing.spec(), max_restarts=100) as stage:
        asks = [
            asyncio.ensure_future(stage[part.name].ask(Call(what=gate)))
            for part, gate in zip(parts, gates, strict=True)
        ]
        for gate in gates:
            await gate.reached.wait()
        for _ in range(5):
            with pytest.raises(ActorFailed):
                await stage["failing"].ask(kind(what=boom))
        await settle()
        assert not any(ask.done() for ask in asks)
        for gate in gates:
            gate.open()
        assert await asyncio.gather(*asks) == ["passed"] * 10
        assert [gate.cancelled_at for gate in gates] == [[]] * 10
        assert [part.starts for part in parts] == [1] * 10


@pytest.mark.asyncio
async def test_no_sibling_that_was_spawned_sees_a_cancelled_error_even_when_one_ends_for_good() -> None:
    gate = Gate()
    async with ActorSystem() as system:
        other = await system.spawn(Part("other").spec())
        failing = await system.spawn(Part("failing").spec())
        asked = asyncio.ensure_future(other.ask(Call(what=gate)))
        await gate.reached.wait()
        for _ in range(4):
            failing.tell(Call(what=boom))
        await failing.wait_stopped()
        gate.open()
        assert await asked == "passed"
        assert gate.cancelled_at == []


@pytest.mark.asyncio
async def test_the_parents_own_handler_is_not_cancelled_when_a_child_crashes() -> None:
    gate = Gate()
    parent, below = Part("parent"), Part("child")
    async with ActorSystem() as system:
        above = await system.spawn(parent.spec())
        ref: Any = await above.ask(Call(what=lambda actor: actor.context.spawn(below.spec())))
        asked = asyncio.ensure_future(above.ask(Call(what=gate)))
        await gate.reached.wait()
        ref.tell(Flat(what=boom))
        await settle()
        assert below.starts == 2  # restarted while its parent is in the middle of a message
        assert not asked.done()
        gate.open()
        assert await asked == "passed"
        assert gate.cancelled_at == []


@pytest.mark.asyncio
async def test_a_sibling_on_its_way_up_or_down_is_not_cancelled() -> None:
    up, down = Gate(), Gate()
    a = Part("a", initialize=lambda actor: up() if actor.incarnation == 2 else None)
    b = Part("b", shutdown=lambda actor: down() if actor.incarnation == 1 else None)
    c = Part("c")
    async with staged(a.spec(), b.spec(), c.spec(), max_restarts=10) as stage:
        stage["a"].tell(Flat(what=boom))
        stage["b"].tell(Flat(what=boom))
        await up.reached.wait()
        await down.reached.wait()
        stage["c"].tell(Flat(what=boom))
        await settle()
        assert (up.cancelled_at, down.cancelled_at) == ([], [])
        up.open()
        down.open()
        await settle()
        assert (a.starts, b.starts, c.starts) == (2, 2, 2)


@pytest.mark.asyncio
async def test_cousins_are_not_cancelled_when_a_whole_subtree_is_restarted() -> None:
    gate = Gate()
    cousin, failing = Part("cousin"), Part("failing")
    left = supervisor("left", cousin.spec())
    right = supervisor("right", failing.spec(), max_restarts=0)
    async with staged(left, right) as stage:
        asked = asyncio.ensure_future(stage["left/cousin"].ask(Call(what=gate)))
        await gate.reached.wait()
        stage["right/failing"].tell(Flat(what=boom))
        await settle()
        assert failing.starts == 2
        gate.open()
        assert await asked == "passed"
        assert gate.cancelled_at == []
