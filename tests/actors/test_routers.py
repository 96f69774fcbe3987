"""Routers beyond their promises: what they refuse, and what they look like."""

from __future__ import annotations

from typing import Any

import pytest

from tests.cast import Holder, Note
from understudy import ActorSystem, Broadcast, Children, InvalidSpec, InvalidTimeout, Router, ScatterGather


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("routing", "key", "problem"),
    [
        ("fastest", None, "must be 'round_robin', 'random', 'smallest_mailbox', 'consistent_hash', got 'fastest'"),
        ("consistent_hash", None, "key goes with routing='consistent_hash'"),
        ("random", str, "and with nothing else"),
    ],
)
async def test_a_router_that_cannot_choose_is_refused(routing: Any, key: Any, problem: str) -> None:
    async with ActorSystem() as system:
        with pytest.raises(InvalidSpec, match=problem):
            Router(system, [], routing, key=key)


@pytest.mark.asyncio
async def test_a_key_that_other_processes_would_not_understand_is_refused_before_anything_is_sent() -> None:
    async with ActorSystem() as system:
        log: list[Any] = []
        ref = await system.spawn(Holder, None, log)

        def key(message: Note) -> Any:
            return object()

        router = Router(system, [ref], "consistent_hash", key=key)
        with pytest.raises(TypeError, match="a key must be"):
            router.tell(Note())
        assert log == []


@pytest.mark.asyncio
@pytest.mark.parametrize("kind", [Broadcast, ScatterGather])
async def test_a_bad_timeout_is_refused_before_anything_is_sent(kind: Any) -> None:
    async with ActorSystem() as system:
        log: list[Any] = []
        crowd = kind(system, [await system.spawn(Holder, None, log)])
        for call in (crowd.send, crowd.ask):
            with pytest.raises(InvalidTimeout):
                await call(Note(), timeout=0)
        assert log == []
        assert system.statistics().dead_letters == 0


@pytest.mark.asyncio
async def test_they_say_what_they_are() -> None:
    async with ActorSystem() as system:
        ref = await system.spawn(Holder)
        assert repr(Router(system, [ref, ref])) == "<Router round_robin, 1 routees>"
        assert repr(Broadcast(system, [ref])) == "<Broadcast, 1 routees>"
        assert repr(ScatterGather(system, [])) == "<ScatterGather, 0 routees>"
        assert repr(Children(ref, Holder)) == "Children(/user/holder, Holder)"
        assert Children(ref, Holder).refs == ()
        assert repr(system.groups.group("all")) == "Group('all')"
        assert repr(system.groups) == "<Groups, 0 of them>"


@pytest.mark.asyncio
async def test_the_list_it_was_given_is_its_own() -> None:
    async with ActorSystem() as system:
        given = [await system.spawn(Holder)]
        router = Router(system, given)
        given.clear()
        assert router.tell(Note())
