"""G1: an entry and a membership go with their actor; listeners get a snapshot and then each change, in order, once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.cast import Fail, Holder, Note, settle
from understudy import (
    Actor,
    ActorNotFound,
    ActorRef,
    ActorStopped,
    ActorSystem,
    Joined,
    KeyTaken,
    Left,
    Name,
    Registered,
    Registry,
    StartError,
    Terminated,
    Unregistered,
    Via,
    child,
    handler,
)
from understudy.testing import Faults, Simulation, simulate


class Look(Actor[Note]):
    """Watches the actors it was given and notes, when it hears of an end, what is left of it."""

    def __init__(self, watched: list[ActorRef[Any]], seen: list[tuple[Any, ...]]) -> None:
        self.watched, self.seen = watched, seen

    def initialize(self) -> None:
        for ref in self.watched:
            self.context.watch(ref)

    @handler
    def ended(self, news: Terminated) -> None:
        system = self.context.system
        self.seen.append((news.ref.path, system.registry.keys(news.ref), news.ref in system.groups.members("all")))

    @handler
    def note(self, message: Note) -> int:
        return message.value


class Registers(Actor[Fail | Note]):
    """Enters itself in each incarnation."""

    def initialize(self) -> None:
        self.context.register("singer", self.context.incarnation)
        self.context.join("singers")

    @handler
    def fail(self, message: Fail) -> int:
        raise message.error

    @handler
    def note(self, message: Note) -> int:
        return message.value


# Keys


@pytest.mark.asyncio
async def test_a_unique_key_has_one_actor_and_the_second_gets_its_ref() -> None:
    async with ActorSystem() as system:
        a, b = await system.spawn(Holder), await system.spawn(Holder)
        system.registry.register("alto", a, value=1)
        with pytest.raises(KeyTaken) as caught:
            system.registry.register("alto", b, value=2)
        assert (caught.value.ref, caught.value.key) == (a, "alto")
        assert "/user/holder" in str(caught.value)
        assert system.registry.lookup("alto") == a
        assert system.registry.values("alto") == (1,)
        assert system.registry.keys(b) == ()


@pytest.mark.asyncio
async def test_a_duplicate_key_has_all_its_actors_in_the_order_of_their_coming() -> None:
    async with ActorSystem() as system:
        topics = Registry(system, kind="duplicate", name="topics")
        a, b = await system.spawn(Holder), await system.spawn(Holder)
        topics.register("news", a, "first")
        topics.register("news", b, "second")
        assert [(entry.ref, entry.value) for entry in topics.entries("news")] == [(a, "first"), (b, "second")]
        assert topics.find("news") == a
        assert topics.count() == 2
        a.stop()
        await a.wait_stopped()
        assert topics.find("news") == b
        assert system.registry.find("news") is None


@pytest.mark.asyncio
async def test_an_entry_stays_through_restarts_and_the_next_incarnation_may_enter_itself_again() -> None:
    async with ActorSystem() as system:
        heard: list[Any] = []
        system.registry.listen(heard.append)
        singer = await system.spawn(Registers)
        singer.tell(Fail(error=ValueError("no tone")))
        await settle()
        assert system.registry.lookup("singer", Registers) == singer
        assert system.registry.values("singer") == (2,)
        assert system.groups.members("singers") == (singer,)
        assert heard == [Registered("registry", "singer", singer, 1)]


@pytest.mark.asyncio
async def test_an_actor_that_wants_a_key_that_is_taken_does_not_start() -> None:
    async with ActorSystem() as system:
        first = await system.spawn(Registers)
        with pytest.raises(StartError) as failed:
            await system.spawn(Registers)
        assert isinstance(failed.value.__cause__, KeyTaken)
        assert failed.value.__cause__.ref == first
        assert system.registry.count() == 1
        assert system.groups.members("singers") == (first,)


@pytest.mark.asyncio
async def test_a_dead_actor_cannot_be_entered() -> None:
    async with ActorSystem() as system:
        a = await system.spawn(Holder)
        a.stop()
        await a.wait_stopped()
        with pytest.raises(ActorStopped):
            system.registry.register("alto", a)
        with pytest.raises(ActorStopped):
            system.groups.join("choir", a)
        assert system.registry.count() == 0
        assert system.groups.groups() == ()


# An entry goes with its actor


@pytest.mark.asyncio
async def test_when_a_watcher_hears_of_an_end_all_entries_are_gone() -> None:
    async with ActorSystem() as system:
        seen: list[tuple[Any, ...]] = []
        refs = [await system.spawn(child(Holder).options(restart="temporary")) for _ in range(20)]
        await system.spawn(Look, refs, seen)
        for number, ref in enumerate(refs):
            system.registry.register(number, ref)
            system.registry.register(("other", number), ref)
            system.groups.join("all", ref)
            system.groups.join("all", ref)
        for number, ref in enumerate(refs):
            [ref.stop, ref.kill, lambda ref=ref: ref.tell(Fail(error=ValueError()))][number % 3]()
        await settle()
        assert seen == [
            (ref.path, (), False) for ref in sorted(refs, key=lambda ref: [s[0] for s in seen].index(ref.path))
        ]
        assert len(seen) == 20
        assert system.registry.count() == 0
        assert system.groups.members("all") == ()


@pytest.mark.asyncio
async def test_the_key_of_one_that_has_ended_is_free() -> None:
    async with ActorSystem() as system:
        a, b = await system.spawn(Holder), await system.spawn(Holder)
        system.registry.register("alto", a)
        a.stop()
        await a.wait_stopped()
        system.registry.register("alto", b)
        assert system.registry.lookup("alto") == b


@pytest.mark.asyncio
async def test_nothing_is_kept_of_actors_that_have_come_and_gone() -> None:
    async with ActorSystem() as system:
        registry, groups = system.registry, system.groups
        for number in range(200):
            ref = await system.spawn(Holder)
            registry.register(number, ref)
            groups.join(number, ref)
            ref.stop()
            await ref.wait_stopped()
        held = [vars(each) for each in (registry, groups)]
        assert [
            (name, value) for each in held for name, value in each.items() if isinstance(value, dict) and value
        ] == []
        a = await system.spawn(Holder)
        before = a._cell.observers
        registry.register("alto", a)
        groups.join("choir", a)
        registry.unregister("alto", a)
        groups.leave("choir", a)
        assert a._cell.observers == before


# Listeners


@pytest.mark.asyncio
async def test_listeners_get_each_event_once_in_order_also_as_actors() -> None:
    class Ear(Actor[Registered | Unregistered]):
        @handler
        def hear(self, event: Registered | Unregistered) -> None:
            told.append(event)

    called: list[Any] = []
    told: list[Any] = []
    async with ActorSystem() as system:
        registry = system.registry
        ear, a = await system.spawn(Ear), await system.spawn(Holder)
        for listener in (called.append, ear, ear):
            registry.listen(listener)
        registry.register("one", a, 1)
        registry.register("one", a, 2)
        registry.register("two", a)
        registry.unregister("one", a)
        a.stop()
        await a.wait_stopped()
        await settle()
        assert told == called
        assert called == [
            Registered("registry", "one", a, 1),
            Registered("registry", "two", a, None),
            Unregistered("registry", "one", a),
            Unregistered("registry", "two", a),
        ]


@pytest.mark.asyncio
async def test_what_a_listener_changes_comes_behind_for_all_and_is_in_no_snapshot_twice() -> None:
    async with ActorSystem() as system:
        groups = system.groups
        a, b = await system.spawn(Holder), await system.spawn(Holder)
        first: list[Any] = []
        second: list[Any] = []
        late: list[Any] = []
        snapshot: list[Any] = []

        def follow(event: Joined | Left) -> None:
            first.append(event)
            if event == Joined("choir", a):
                groups.join("choir", b)
                snapshot.extend(groups.subscribe(late.append, "choir"))

        groups.subscribe(follow, "choir")
        groups.subscribe(second.append, "choir")
        groups.join("choir", a)
        groups.leave("choir", a)
        assert first == second == [Joined("choir", a), Joined("choir", b), Left("choir", a)]
        assert snapshot == [a, b]
        assert late == [Left("choir", a)]


@pytest.mark.asyncio
async def test_a_member_twice_is_two_entries_and_both_end_with_it() -> None:
    async with ActorSystem() as system:
        groups = system.groups
        a, b = await system.spawn(Holder), await system.spawn(Holder)
        heard: list[Any] = []
        assert groups.subscribe_all(heard.append) == {}
        groups.join("choir", a)
        groups.join("choir", b)
        groups.join("choir", a)
        assert groups.members("choir") == (a, b, a)
        assert groups.leave("choir", a)
        assert groups.members("choir") == (a, b)
        groups.join("choir", a)
        a.stop()
        await a.wait_stopped()
        assert groups.members("choir") == (b,)
        assert not groups.leave("choir", a)
        assert heard[3:] == [Left("choir", a), Joined("choir", a), Left("choir", a), Left("choir", a)]


@pytest.mark.asyncio
async def test_a_subscriber_of_one_group_hears_nothing_of_others_and_one_of_both_hears_once() -> None:
    async with ActorSystem() as system:
        a = await system.spawn(Holder)
        one: list[Any] = []
        both: list[Any] = []
        system.groups.subscribe(one.append, "choir")
        system.groups.subscribe(both.append, "choir")
        heard = both.append
        system.groups.subscribe_all(heard)
        system.groups.join("choir", a)
        system.groups.join("band", a)
        assert one == [Joined("choir", a)]
        assert both == [Joined("choir", a), Joined("band", a)]
        system.groups.unsubscribe_all(heard)
        system.groups.leave("band", a)
        system.groups.leave("choir", a)
        assert both[2:] == [Left("choir", a)]


@pytest.mark.asyncio
async def test_a_dead_subscriber_is_forgotten_and_a_failing_one_hurts_only_itself() -> None:
    class Ear(Actor[Joined | Left]):
        @handler
        def hear(self, event: Joined | Left) -> None:
            told.append(event)

    told: list[Any] = []
    heard: list[Any] = []
    complaints: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: complaints.append(context["exception"]))
    async with ActorSystem() as system:
        ear, a = await system.spawn(Ear), await system.spawn(Holder)

        def broken(event: Joined | Left) -> None:
            raise ValueError("no ear")

        for listener in (broken, ear, heard.append):
            system.groups.subscribe_all(listener)
        ear.stop()
        await ear.wait_stopped()
        system.groups.join("choir", a)
        assert heard == [Joined("choir", a)]
        assert [str(each) for each in complaints] == ["no ear"]
        assert told == []
        assert system.statistics().dead_letters == 0
        system.groups.unsubscribe_all(broken)
        with pytest.raises(ActorStopped):
            system.groups.subscribe_all(ear)


# Addresses


@pytest.mark.asyncio
async def test_an_address_reaches_the_next_actor_under_its_name_or_key() -> None:
    async with ActorSystem() as system:
        name, via = Name(system, "alto", Holder), Via(system.registry, "alto", Holder)
        logs: list[list[Any]] = [[], []]
        for log in logs:
            ref = await system.spawn(child(Holder, None, log).options(name="alto"))
            system.registry.register("alto", ref)
            assert name.tell(Note(value=1))
            assert await via.ask(Note(value=2)) == 2
            await name.send(Note(value=3))
            assert name.find() == via.find() == ref
            await settle()
            ref.stop()
            await ref.wait_stopped()
            assert name.find() is None
            assert via.find() is None
        assert logs == [[1, 2, 3], [1, 2, 3]]


@pytest.mark.asyncio
@pytest.mark.parametrize("kind", ["name", "via"])
async def test_where_nobody_is_a_tell_is_a_dead_letter_and_an_ask_says_so(kind: str) -> None:
    async with ActorSystem() as system:
        address: Any = Name(system, "alto") if kind == "name" else Via(system.registry, "alto")
        assert address.tell(Note()) is False
        with pytest.raises(ActorNotFound, match="alto"):
            await address.ask(Note())
        with pytest.raises(ActorNotFound, match="alto"):
            await address.send(Note())
        assert system.statistics().dead_letters == 3


# Whatever happens, in whatever order


@simulate(schedules=30, faults=Faults(stall=0.3))
async def test_what_listeners_have_heard_is_what_there_is_whenever_actors_end(sim: Simulation) -> None:
    system = sim.system
    known: dict[Any, ActorRef[Any]] = {}
    members: dict[Any, list[ActorRef[Any]]] = {}
    seen: list[tuple[Any, ...]] = []

    def hear(event: Registered | Unregistered) -> None:
        if isinstance(event, Registered):
            assert event.key not in known
            known[event.key] = event.ref
        else:
            assert known.pop(event.key) == event.ref

    def follow(event: Joined | Left) -> None:
        if isinstance(event, Joined):
            members.setdefault(event.group, []).append(event.ref)
        else:
            members[event.group].reverse()
            members[event.group].remove(event.ref)
            members[event.group].reverse()

    refs = [await system.spawn(child(Holder).options(restart="temporary")) for _ in range(4)]
    system.registry.listen(hear)
    for group, found in system.groups.subscribe_all(follow).items():
        members[group] = list(found)
    await system.spawn(Look, refs, seen)

    async def change(ref: ActorRef[Any]) -> None:
        for _ in range(4):
            await asyncio.sleep(sim.random.choice([0, 0.1]))
            key = sim.random.choice("xyz")
            try:
                if sim.random.random() < 0.7:
                    system.groups.join("all", ref)
                    system.registry.register(key, ref)
                else:
                    system.groups.leave("all", ref)
                    system.registry.unregister(key, ref)
            except (KeyTaken, ActorStopped):
                pass
            if sim.random.random() < 0.3:
                sim.random.choice([ref.stop, ref.kill, lambda: ref.tell(Fail(error=ValueError()))])()

    await asyncio.gather(*(change(ref) for ref in refs))
    await sim.quiesce()
    assert known == {key: system.registry.find(key) for key in "xyz" if system.registry.find(key) is not None}
    assert sorted(members.get("all", []), key=hash) == sorted(system.groups.members("all"), key=hash)
    assert all(ref.status != "stopped" for ref in [*known.values(), *system.groups.members("all")])
    assert [(keys, member) for _, keys, member in seen] == [((), False)] * len(seen)
    assert len(seen) == sum(ref.status == "stopped" for ref in refs)
