"""The registry beyond its promises: what it says when it is used wrongly, and its odds and ends."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.cast import Collector, Hold, Holder, Note
from understudy import (
    ActorNotFound,
    ActorStopped,
    ActorSystem,
    InvalidContext,
    InvalidSpec,
    KeyTaken,
    Registry,
    Unregistered,
    Via,
    WrongActorType,
)


@pytest.mark.asyncio
async def test_an_update_replaces_the_value_of_one_entry() -> None:
    async with ActorSystem() as system:
        registry = Registry(system, kind="duplicate")
        a, b = await system.spawn(Holder), await system.spawn(Holder)
        registry.register("count", a, 1)
        registry.register("count", b, 10)
        assert registry.update_value("count", a, lambda value: value + 1) == 2
        assert registry.values("count") == (2, 10)
        with pytest.raises(ActorNotFound, match="'other'"):
            registry.update_value("other", a, lambda value: value)
        with pytest.raises(ZeroDivisionError):
            registry.update_value("count", a, lambda value: 1 // 0)
        assert registry.values("count") == (2, 10)


@pytest.mark.asyncio
async def test_an_update_that_removes_its_own_entry_does_not_bring_it_back() -> None:
    async with ActorSystem() as system:
        a = await system.spawn(Holder)
        system.registry.register("x", a, 1)
        assert system.registry.update_value("x", a, lambda _: system.registry.unregister("x", a)) is True
        assert system.registry.find("x") is None


@pytest.mark.asyncio
async def test_only_who_has_the_key_can_be_taken_out() -> None:
    async with ActorSystem() as system:
        a, b = await system.spawn(Holder), await system.spawn(Holder)
        system.registry.register("x", a)
        system.registry.register("y", a)
        assert not system.registry.unregister("x", b)
        assert system.registry.keys(a) == ("x", "y")
        assert system.registry.unregister("x", a)
        assert not system.registry.unregister("x", a)
        assert system.registry.keys(a) == ("y",)
        system.registry.register("x", b)
        assert system.registry.lookup("x") == b


@pytest.mark.asyncio
async def test_a_key_that_comes_close_is_named() -> None:
    async with ActorSystem() as system:
        a = await system.spawn(Holder)
        system.registry.register("basket-anna", a)
        system.registry.register(7, a)
        with pytest.raises(ActorNotFound) as caught:
            system.registry.lookup("basket-ana")
        assert str(caught.value) == (
            "there is no actor under key 'basket-ana' of registry 'registry'; nearest: basket-anna"
        )
        with pytest.raises(ActorNotFound):
            system.registry.lookup(8)


@pytest.mark.asyncio
async def test_the_class_is_checked_where_one_is_given() -> None:
    async with ActorSystem() as system:
        a = await system.spawn(Holder)
        system.registry.register("x", a)
        assert system.registry.lookup("x", Holder) == a
        assert system.registry.find("nobody", Collector) is None
        for call in (system.registry.lookup, system.registry.find):
            with pytest.raises(WrongActorType, match="is a Holder, not a Collector"):
                call("x", Collector)
        with pytest.raises(WrongActorType):
            Via(system.registry, "x", Collector).tell(Note())


@pytest.mark.asyncio
async def test_what_cannot_be_a_key_changes_nothing() -> None:
    async with ActorSystem() as system:
        a = await system.spawn(Holder)
        key: Any = ["x"]
        with pytest.raises(TypeError):
            system.registry.register(key, a)
        with pytest.raises(TypeError):
            system.groups.join(key, a)
        assert system.registry.count() == 0
        assert system.groups.groups() == ()
        assert a._cell.observers is None


def test_a_registry_needs_a_system_that_runs() -> None:
    system = ActorSystem()
    for use in (lambda: system.registry, lambda: system.groups, lambda: Registry(system)):
        with pytest.raises(InvalidContext, match="not running"):
            use()


@pytest.mark.asyncio
async def test_a_kind_that_does_not_exist_is_refused() -> None:
    async with ActorSystem() as system:
        kind: Any = "many"
        with pytest.raises(InvalidSpec, match="'unique' or 'duplicate', got 'many'"):
            Registry(system, kind=kind)


@pytest.mark.asyncio
async def test_another_thread_cannot_use_it() -> None:
    async with ActorSystem() as system:
        a = await system.spawn(Holder)
        with pytest.raises(InvalidContext):
            await asyncio.to_thread(system.registry.register, "x", a)
        assert system.registry.count() == 0


@pytest.mark.asyncio
async def test_the_key_of_one_that_is_ending_is_taken_until_its_end_and_free_for_who_is_told_of_it() -> None:
    async with ActorSystem() as system:
        a, b = await system.spawn(Holder), await system.spawn(Holder)
        found: list[Any] = []

        def take(reason: object) -> None:
            found.append(system.registry.find("x"))
            system.registry.register("x", b)

        a.when_stopped(take)  # before the registry asks to be told
        system.registry.register("x", a)
        a.stop()
        with pytest.raises(KeyTaken):
            system.registry.register("x", b)
        await a.wait_stopped()
        assert found == [None]
        assert system.registry.lookup("x") == b


@pytest.mark.asyncio
async def test_at_the_end_of_a_system_the_registry_is_empty_and_its_listeners_know() -> None:
    heard: list[Any] = []
    async with ActorSystem() as system:
        a = await system.spawn(Holder)
        system.registry.register("x", a)
        system.registry.listen(heard.append)
        listener = heard.append
        system.registry.listen(listener)
        system.registry.unlisten(listener)
        system.registry.unlisten(listener)
        assert repr(system.registry) == "<Registry 'registry', unique keys, 1 entries>"
        system.registry.listen(heard.append)
    assert heard == [Unregistered("registry", "x", a)]
    assert system.registry.count() == 0


@pytest.mark.asyncio
async def test_an_address_of_one_that_is_ending_says_what_its_ref_would_say() -> None:
    async with ActorSystem() as system:
        a = await system.spawn(Holder)
        system.registry.register("x", a)
        via = Via(system.registry, "x", Holder)
        assert repr(via) == "Via(registry, 'x')"
        a.stop()
        with pytest.raises(ActorStopped):
            await via.ask(Note())
        assert not via.tell(Hold())
