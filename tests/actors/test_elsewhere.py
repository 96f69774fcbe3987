"""What belongs to the event loop of a system refuses to be used in another thread, loop or time, and does nothing."""

from __future__ import annotations

import asyncio
import inspect
import sys
from collections.abc import Callable
from typing import Any, Never

import pytest

from tests.cast import Gate, Hold, Holder, Note, Recorder, settle
from understudy import (
    ActorRef,
    ActorSystem,
    Broadcast,
    ChildSpec,
    InvalidContext,
    Name,
    Partitions,
    PartitionSupervisor,
    Pool,
    Registry,
    Router,
    ScatterGather,
    StreamMessage,
    Supervisor,
    SupervisorRef,
    Via,
    WorkerPool,
    ask_many,
    child,
)


class Company(Supervisor):
    def children(self) -> list[ChildSpec]:
        return [child(Holder).options(name="one"), child(Carts).options(name="carts"), child(Crew).options(name="crew")]


class Carts(PartitionSupervisor):
    partitions = 2

    def partition(self, number: int) -> ChildSpec:
        return child(Holder)


class Crew(WorkerPool):
    workers = 1

    def worker(self) -> ChildSpec:
        return child(Holder)


class Parts(StreamMessage[int]): ...


class Stage:
    """One of each that can be used, on a system."""

    def __init__(self, system: ActorSystem) -> None:
        self.system = system
        self.ref: ActorRef[Any] = system.lookup("company/one", Holder)
        company: SupervisorRef[Never] = system.lookup("company", Company)
        self.company = company
        self.carts = Partitions(system.lookup("company/carts"), Holder)
        self.crew = Pool(system.lookup("company/crew"), Holder)
        self.router = Router(system, [self.ref])
        self.nobody: Router[Any] = Router(system, [])
        self.all = Broadcast(system, [self.ref])
        self.none: Broadcast[Any] = Broadcast(system, [])
        self.first = ScatterGather(system, [self.ref])
        self.name = Name(system, "company/one", Holder)
        self.lost: Name[Any] = Name(system, "company/nobody")
        self.via = Via(system.registry, "one", Holder)
        self.registry: Registry = system.registry
        self.registry.register("one", self.ref)
        self.groups = system.groups
        self.groups.join("ours", self.ref)

    def facts(self) -> object:
        """What must not change."""
        return str(self.system.tree()), self.registry.count(), self.groups.members("ours"), self.groups.groups()


async def consume(stream: Any) -> None:
    async for _ in stream:
        pass


NOTE = Note(value=1)
REF_USES: dict[str, Callable[[Stage], Any]] = {
    "tell": lambda on: on.ref.tell(NOTE),
    "send": lambda on: on.ref.send(NOTE),
    "ask": lambda on: on.ref.ask(NOTE),
    "stream": lambda on: consume(on.ref.stream(Parts())),
    "stop": lambda on: on.ref.stop(),
    "drain": lambda on: on.ref.drain(),
    "kill": lambda on: on.ref.kill(),
    "wait_stopped": lambda on: on.ref.wait_stopped(),
    "ask_many": lambda on: ask_many([(on.ref, NOTE)]),
    "supervisor-start_child": lambda on: on.company.start_child(Holder),
    "supervisor-terminate_child": lambda on: on.company.terminate_child("one"),
    "supervisor-restart_child": lambda on: on.company.restart_child("one"),
    "supervisor-delete_child": lambda on: on.company.delete_child("one"),
    "supervisor-replace_childspec": lambda on: on.company.replace_childspec(child(Holder).options(name="one")),
    "supervisor-which_children": lambda on: on.company.which_children(),
    "supervisor-count_children": lambda on: on.company.count_children(),
    "supervisor-get_childspec": lambda on: on.company.get_childspec("one"),
    "partitions-resize": lambda on: on.carts.resize(3),
    "partitions-route": lambda on: on.carts.route("anna").tell(NOTE),
    "pool-tell": lambda on: on.crew.tell(NOTE),
    "pool-send": lambda on: on.crew.send(NOTE),
    "pool-ask": lambda on: on.crew.ask(NOTE),
    "pool-drain": lambda on: on.crew.drain(),
    "pool-resize": lambda on: on.crew.resize(2),
}
OTHER_USES: dict[str, Callable[[Stage], Any]] = {
    "router-tell": lambda on: on.router.tell(NOTE),
    "router-send": lambda on: on.router.send(NOTE),
    "router-ask": lambda on: on.router.ask(NOTE),
    "router-of-nobody-tell": lambda on: on.nobody.tell(NOTE),
    "router-of-nobody-ask": lambda on: on.nobody.ask(NOTE),
    "broadcast-tell": lambda on: on.all.tell(NOTE),
    "broadcast-send": lambda on: on.all.send(NOTE),
    "broadcast-ask": lambda on: on.all.ask(NOTE),
    "broadcast-to-nobody-tell": lambda on: on.none.tell(NOTE),
    "scatter-gather-ask": lambda on: on.first.ask(NOTE),
    "name-tell": lambda on: on.name.tell(NOTE),
    "name-of-nobody-tell": lambda on: on.lost.tell(NOTE),
    "name-of-nobody-ask": lambda on: on.lost.ask(NOTE),
    "via-tell": lambda on: on.via.tell(NOTE),
    "via-ask": lambda on: on.via.ask(NOTE),
    "registry-register": lambda on: on.registry.register("two", on.ref),
    "registry-unregister": lambda on: on.registry.unregister("one", on.ref),
    "registry-update_value": lambda on: on.registry.update_value("one", on.ref, lambda value: 1),
    "registry-lookup": lambda on: on.registry.lookup("one"),
    "registry-listen": lambda on: on.registry.listen(print),
    "registry-unlisten": lambda on: on.registry.unlisten(print),
    "groups-join": lambda on: on.groups.join("ours", on.ref),
    "groups-leave": lambda on: on.groups.leave("ours", on.ref),
    "groups-members": lambda on: on.groups.members("ours"),
    "groups-subscribe": lambda on: on.groups.subscribe(print, "ours"),
    "groups-subscribe_all": lambda on: on.groups.subscribe_all(print),
    "groups-unsubscribe": lambda on: on.groups.unsubscribe(print, "ours"),
    "groups-unsubscribe_all": lambda on: on.groups.unsubscribe_all(print),
    "system-events": lambda on: on.system.events,
    "system-spawn": lambda on: on.system.spawn(Holder),
    "system-lookup": lambda on: on.system.lookup("company/one"),
    "system-find": lambda on: on.system.find("company/one"),
    "system-tree": lambda on: on.system.tree(),
    "system-statistics": lambda on: on.system.statistics(),
    "system-dead_letters": lambda on: on.system.dead_letters,
    "system-registry": lambda on: on.system.registry,
    "system-groups": lambda on: on.system.groups,
    "system-stop": lambda on: on.system.stop(),
    "system-kill": lambda on: on.system.kill(),
    "system-wait_stopped": lambda on: on.system.wait_stopped(),
    "system-aclose": lambda on: on.system.aclose(),
}
USES = REF_USES | OTHER_USES


async def use(stage: Stage, way: str) -> object:
    result = USES[way](stage)
    return await result if inspect.isawaitable(result) else result


def in_a_thread_without_a_loop(stage: Stage, way: str) -> object:
    result = USES[way](stage)
    if not inspect.iscoroutine(result):
        return result
    try:
        return result.send(None)
    finally:
        result.close()


def in_a_loop_of_its_own(stage: Stage, way: str) -> object:
    return asyncio.run(use(stage, way))


@pytest.mark.parametrize("where", [in_a_thread_without_a_loop, in_a_loop_of_its_own], ids=lambda where: where.__name__)
@pytest.mark.parametrize("way", USES)
@pytest.mark.asyncio
async def test_from_another_thread_it_says_who_where_and_what_to_do_and_does_nothing(
    way: str, where: Callable[[Stage, str], object]
) -> None:
    recorder = Recorder()
    async with ActorSystem(Company, instruments=[recorder]) as system:
        stage = Stage(system)
        await settle()
        before, events = stage.facts(), list(recorder.events)
        with pytest.raises(
            InvalidContext, match=r"used in the thread '.+', outside of its event loop, and nothing"
        ) as caught:
            await asyncio.to_thread(where, stage, way)
        remedy = (
            "use tell_threadsafe or ask_threadsafe" if way in REF_USES else "call it there, by loop.call_soon_threads"
        )
        assert remedy in str(caught.value)
        assert caught.value.what
        await settle()
        assert stage.facts() == before
        assert recorder.events == events


async def begin() -> Stage:
    return Stage(await ActorSystem(Company).start())


# Before 3.12 to ask for the running loop costs as much as a tell does; what is used that often compares threads only.
EXACT = pytest.mark.skipif(sys.version_info < (3, 12), reason="compares threads only before Python 3.12")


@pytest.mark.parametrize(
    "way", [pytest.param(way, marks=EXACT) if way in OTHER_USES or way == "tell" else way for way in USES]
)
def test_from_another_event_loop_of_the_same_thread_it_says_so_and_does_nothing(way: str) -> None:
    loop = asyncio.new_event_loop()
    try:
        stage = loop.run_until_complete(begin())
        with pytest.raises(InvalidContext, match="used in another event loop than its own, and nothing was done"):
            in_a_loop_of_its_own(stage, way)

        async def end() -> None:
            assert stage.ref.status == "running"
            await stage.system.aclose()

        loop.run_until_complete(end())
    finally:
        loop.close()


@pytest.mark.parametrize("busy", [False, pytest.param(True, marks=EXACT)], ids=["idle", "busy"])
def test_a_tell_from_another_loop_of_the_same_thread_is_an_error_whether_the_actor_is_idle_or_busy(busy: bool) -> None:
    log: list[Any] = []
    loop = asyncio.new_event_loop()

    async def begin() -> tuple[ActorSystem, ActorRef[Any], Gate]:
        gate = Gate()
        system = await ActorSystem().start()
        ref = await system.spawn(Holder, gate, log)
        if busy:
            ref.tell(Hold(value=1))
            await gate.reached()
        return system, ref, gate

    async def tell() -> None:
        ref.tell(Note(value=2))

    async def end() -> None:
        gate.open()
        await settle()
        await system.aclose()

    try:
        system, ref, gate = loop.run_until_complete(begin())
        with pytest.raises(InvalidContext, match="used in another event loop than its own"):
            asyncio.run(tell())
        loop.run_until_complete(end())
    finally:
        loop.close()
    assert log == [1][:busy]


def test_a_system_may_be_looked_at_while_its_loop_stands_still() -> None:
    loop = asyncio.new_event_loop()
    try:
        stage = loop.run_until_complete(begin())
        assert stage.system.find(stage.ref.path) == stage.ref
        assert stage.ref.path in [node.path for node in stage.system.tree().walk()]
        loop.run_until_complete(stage.system.aclose())
    finally:
        loop.close()


def test_a_tell_while_the_loop_does_not_run_is_an_error() -> None:
    loop = asyncio.new_event_loop()
    try:
        stage = loop.run_until_complete(begin())
        with pytest.raises(InvalidContext, match="used while its event loop does not run, and nothing was done"):
            stage.ref.tell(NOTE)
        loop.run_until_complete(stage.system.aclose())
    finally:
        loop.close()


def test_after_the_loop_has_been_closed_the_error_says_so_and_the_last_state_can_be_looked_at() -> None:
    loop = asyncio.new_event_loop()
    stage = loop.run_until_complete(begin())
    loop.run_until_complete(stage.system.aclose())
    loop.close()
    for way in ("send", "stop", "ask"):
        with pytest.raises(InvalidContext, match=r"after its event loop has been closed, .*: start another system"):
            in_a_loop_of_its_own(stage, way)
    assert "one" not in str(stage.system.tree())
    assert stage.system.statistics().crashed == 0
    assert stage.system.find("company/one") is None
