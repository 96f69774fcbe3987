"""What the runtime itself publishes: each thing once, when it happens, and only if somebody listens."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import pytest

from tests.cast import Fail, Gate, Hold, Holder, Note, Recorder, settle
from understudy import (
    Actor,
    ActorSystem,
    Crashed,
    Instrument,
    Killed,
    Mailbox,
    Message,
    RestartsExceeded,
    Shutdown,
    child,
    handler,
    supervisor,
)
from understudy.events import (
    ActorCrashedEvent,
    ActorGaveUpEvent,
    ActorRestartingEvent,
    ActorStartedEvent,
    ActorStoppedEvent,
    AsyncEventBus,
    DeadLetterEvent,
    Event,
    MailboxFullEvent,
    RuntimeEvent,
    SlowHandlerEvent,
    SystemPhaseEvent,
    UnhandledEvent,
)

pytestmark = pytest.mark.asyncio

KINDS: dict[type[RuntimeEvent], Callable[..., None]] = {
    ActorStartedEvent: Instrument.actor_started,
    ActorStoppedEvent: Instrument.actor_stopped,
    ActorCrashedEvent: Instrument.actor_crashed,
    ActorRestartingEvent: Instrument.actor_restarting,
    ActorGaveUpEvent: Instrument.gave_up,
    MailboxFullEvent: Instrument.mailbox_full,
    SlowHandlerEvent: Instrument.handling_too_long,
    DeadLetterEvent: Instrument.dead_letter,
    UnhandledEvent: Instrument.dead_letter,
    SystemPhaseEvent: Instrument.system_phase,
}


class Paid(Event):
    number: int = 0


class Anything(Actor[Event]):
    def __init__(self, seen: list[Event], error: BaseException | None = None) -> None:
        self.seen, self.error = seen, error

    @handler
    def event(self, event: Event) -> None:
        self.seen.append(event)
        if self.error is not None:
            raise self.error


class Only(Actor[Paid]):
    @handler
    def paid(self, event: Paid) -> None: ...


def listeners(system: ActorSystem) -> dict[str, int]:
    """How many listen to what the bus could publish, by the name of the event."""
    instruments = system._running().instruments
    return {kind.__name__: len(instruments._tally(kind).methods) for kind in KINDS.values()}


# Each once


async def test_each_thing_that_happens_is_published_once_with_all_that_there_is_to_know() -> None:
    seen: list[RuntimeEvent] = []
    gate = Gate()
    async with ActorSystem(name="shop") as system:
        bus = system.events
        for kind in KINDS:
            if kind is not UnhandledEvent:  # which is a dead letter
                bus.subscribe(kind, lambda event: seen.append(event))

        def took() -> list[dict[str, Any]]:
            """What was published since, without what all events have."""
            assert all(event.session_id == "shop" and event.sequence and event.id and event.time for event in seen)
            told = [
                {"kind": type(event), **{name: getattr(event, name) for name in type(event).__annotations__}}
                for event in seen
            ]
            for entry, event in zip(told, seen, strict=True):
                if type(event) is UnhandledEvent:
                    entry |= {name: getattr(event, name) for name in DeadLetterEvent.__annotations__}
            seen.clear()
            return told

        holder = await system.spawn(child(Holder, gate).options(max_restarts=1, mailbox=1, restart="permanent"))
        await settle()
        assert took() == [{"kind": ActorStartedEvent, "path": holder.path, "incarnation": 1}]

        error = ValueError("no")
        holder.tell(Fail(error=error))
        await settle()
        crashed = {"path": holder.path, "reason": Crashed(error)}
        assert took() == [
            {"kind": ActorCrashedEvent, **crashed, "message_type": "Fail"},
            {"kind": ActorRestartingEvent, **crashed, "failures": 1},
            {"kind": ActorStartedEvent, "path": holder.path, "incarnation": 2},
        ]

        holder.tell(Hold(value=1))
        await gate.reached()
        holder.tell(Note(value=2))
        lost = Note(value=3)
        assert not holder.tell(lost)
        await settle()
        assert took() == [
            {"kind": MailboxFullEvent, "path": holder.path, "capacity": 1},
            {"kind": DeadLetterEvent, "message": lost, "recipient": holder.path, "sender": None, "why": "mailbox full"},
        ]
        gate.open()
        await settle()
        assert took() == []

        holder.kill()
        await holder.wait_stopped()
        exceeded = RestartsExceeded(holder.path, Killed(), 2, 5.0)
        assert took() == [
            {"kind": ActorGaveUpEvent, "path": holder.path, "reason": exceeded},
            {"kind": ActorStoppedEvent, "path": holder.path, "reason": exceeded},
        ]

        only = await system.spawn(Only)
        await settle()
        took()
        odd: Any = Note(value=4)
        only.tell(odd)
        await settle()
        assert took() == [
            {"kind": UnhandledEvent, "message": odd, "recipient": only.path, "sender": None, "why": "unhandled"}
        ]

        slow = await system.spawn(child(Holder, Gate()).options(name="slow", max_handling_seconds=0.5))
        await settle()
        took()
        waiting = Hold(value=5)
        slow.tell(waiting)
        await asyncio.sleep(0.6)
        assert took() == [
            {"kind": SlowHandlerEvent, "path": slow.path, "message_type": "Hold", "seconds": 0.5},
            {"kind": DeadLetterEvent, "message": waiting, "recipient": slow.path, "sender": None, "why": "killed"},
            {"kind": ActorRestartingEvent, "path": slow.path, "reason": Killed(), "failures": 1},
            {"kind": ActorStartedEvent, "path": slow.path, "incarnation": 2},
        ]
        system.stop("enough")
        await system.wait_stopped()
        phases = [
            {"kind": SystemPhaseEvent, "system": "shop", "phase": phase}
            for phase in ("before", "links", "actors", "system")
        ]
        stopped = {"kind": ActorStoppedEvent, "reason": Shutdown("parent ended")}
        assert took() == [
            *phases[:3],
            {**stopped, "path": slow.path},
            {**stopped, "path": only.path},
            {"kind": ActorStoppedEvent, "path": "/user", "reason": Shutdown("enough")},
            phases[3],
        ]


async def test_who_listens_to_a_class_above_or_a_predicate_or_the_star_hears_each_thing_once_too() -> None:
    async with ActorSystem() as system:
        bus = system.events
        counts: dict[str, list[type[Event]]] = {}
        topics: dict[str, Any] = {
            "RuntimeEvent": RuntimeEvent,
            "Event": Event,
            "star": "*",
            "predicate": lambda event: isinstance(event, ActorStartedEvent),
            "DeadLetterEvent": DeadLetterEvent,
            "UnhandledEvent": UnhandledEvent,
        }
        for name, topic in topics.items():
            counts[name] = []
            bus.subscribe(topic, lambda event, name=name: counts[name].append(type(event)))
        only = await system.spawn(Only)
        odd: Any = Note()
        only.tell(odd)
        await settle()
        bus.clear()
        await system.spawn(child(Only).options(name="unheard"))
    assert counts == {
        "RuntimeEvent": [ActorStartedEvent, UnhandledEvent],
        "Event": [ActorStartedEvent, UnhandledEvent],
        "star": [ActorStartedEvent, UnhandledEvent],
        "predicate": [ActorStartedEvent],
        "DeadLetterEvent": [UnhandledEvent],
        "UnhandledEvent": [UnhandledEvent],
    }


async def test_a_supervisor_that_gives_up_is_told_of_once_with_the_child_that_was_too_much() -> None:
    seen: list[ActorGaveUpEvent] = []
    async with ActorSystem() as system:
        system.events.subscribe(ActorGaveUpEvent, seen.append)
        desk = await system.spawn(
            supervisor("desk", child(Holder).options(name="clerk"), max_restarts=0).options(restart="temporary")
        )
        system.lookup("desk/clerk", Holder).kill()
        await desk.wait_stopped()
        await settle()
    (event,) = seen
    assert (event.path, event.reason) == ("/user/desk", RestartsExceeded("/user/desk/clerk", Killed(), 1, 5.0))


async def test_each_system_publishes_its_own_events_on_its_own_bus() -> None:
    seen: dict[str, list[Any]] = {"one": [], "two": []}
    async with ActorSystem(name="one") as one, ActorSystem(name="two") as two:
        for system in (one, two):
            system.events.subscribe(ActorStartedEvent, seen[system.name].append)
        await one.spawn(Only)
        await two.spawn(child(Only).options(name="other"))
        await settle()
    assert [(event.session_id, event.path) for event in seen["one"]] == [("one", "/user/only")]
    assert [(event.session_id, event.path) for event in seen["two"]] == [("two", "/user/other")]


async def test_a_bus_that_stands_alone_publishes_nothing_by_itself() -> None:
    seen: list[Event] = []
    async with AsyncEventBus("alone") as bus:
        bus.subscribe("*", seen.append)
        await bus._home.spawn(Only)
        await settle()
    assert seen == []


# Nobody listens


async def test_nothing_is_listened_to_unless_somebody_is_subscribed_to_it() -> None:
    async with ActorSystem() as system:
        await system.spawn(Only)
        before = listeners(system)  # those of the log
        bus = system.events
        assert listeners(system) == before
        ref = await system.spawn(child(Anything, []).options(name="anything"))
        with bus.subscribe(Paid, ref), bus.stream(Paid):
            assert listeners(system) == before
        for kind, event in KINDS.items():
            with bus.subscribe(kind, ref):
                expected = {**before, event.__name__: before[event.__name__] + 1}
                assert listeners(system) == expected
                with bus.subscribe(kind, print), bus.stream(kind):  # more of them cost no more
                    assert listeners(system) == expected
            assert listeners(system) == before
        published = bus.statistics().published
        for _ in range(10):
            extra = await system.spawn(child(Only).options(name="extra"))
            extra.kill()
            extra.stop()
            await extra.wait_stopped()
        assert bus.statistics().published == published


async def test_all_ways_to_end_a_subscription_end_the_listening() -> None:
    async with ActorSystem() as system:
        bus = system.events
        base = listeners(system)

        def none_left() -> bool:
            return listeners(system) == base

        waiting = asyncio.create_task(bus.wait_for(ActorStartedEvent))
        await settle()
        assert not none_left()
        only = await system.spawn(Only)
        assert (await waiting).path == only.path
        assert none_left()

        waiting = asyncio.create_task(bus.wait_for(ActorStartedEvent))
        await settle()
        waiting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await waiting
        assert none_left()

        with contextlib.suppress(TimeoutError):
            await bus.wait_for(ActorStartedEvent, timeout=0.1)
        assert none_left()

        seen: list[Event] = []
        anything = await system.spawn(child(Anything, seen).options(restart="temporary"))
        bus.subscribe("*", anything)
        assert not none_left()
        anything.stop()
        await anything.wait_stopped()
        assert none_left()

        def fails(event: Event) -> None:
            raise ValueError

        bus.subscribe(ActorStartedEvent, fails, on_error=1)
        await system.spawn(child(Only).options(name="second"))
        await settle()
        assert none_left()

        bus.subscribe("*", print)
        bus.clear()
        assert none_left()
        bus.subscribe(RuntimeEvent, lambda event: None)
        await bus.close()
        assert none_left()


# No endless loops


@pytest.mark.parametrize("policy", ["block", "fail", "drop_new", "drop_old", "stop"])
@pytest.mark.parametrize("kind", ["callback", "actor"])
async def test_one_who_hears_of_everything_and_whose_mailbox_is_full_does_not_hear_of_that_for_ever(
    kind: str, policy: Any
) -> None:
    recorder, gate = Recorder(), Gate()
    seen: list[Event] = []

    async def slow(event: Event) -> None:
        await gate.hold()
        seen.append(event)

    class Slow(Actor[Event]):
        @handler
        async def event(self, event: Event) -> None:
            await slow(event)

    mailbox = Mailbox(capacity=2, policy=policy)
    async with ActorSystem(instruments=[recorder]) as system:
        bus = system.events
        if kind == "callback":
            bus.subscribe("*", slow, mailbox=mailbox)
        else:
            bus.subscribe("*", await system.spawn(child(Slow).options(mailbox=mailbox)))
        bus.publish_nowait(Paid(number=0))
        await gate.reached()
        published = bus.statistics().published
        for number in range(1, 11):
            bus.publish_nowait(Paid(number=number))
        await settle()
        # Of an actor, the first that finds no room makes two events more: that, and the dead letter.
        assert bus.statistics().published - published <= (10 if kind == "callback" else 40)
        assert len(recorder.letters) <= 40
        gate.open()
        await settle()
        bus.clear()


async def test_one_who_hears_of_everything_and_handles_little_of_it_does_not_hear_of_that_for_ever() -> None:
    recorder = Recorder()
    async with ActorSystem(instruments=[recorder]) as system:
        bus = system.events
        only: Any = await system.spawn(Only)
        seen: list[DeadLetterEvent] = []
        bus.subscribe("*", only)
        bus.subscribe(DeadLetterEvent, seen.append)
        bus.publish_nowait(Event())
        only.tell(Note())
        await asyncio.sleep(1.0)
        # The event and the note, and of these again that they were not handled: no more.
        assert [type(event.message) for event in seen] == [Event, Note]
        assert [type(letter[0]) for letter in recorder.letters] == [Event, Note, UnhandledEvent, UnhandledEvent]
        bus.clear()


async def test_one_who_hears_of_everything_and_always_fails_is_no_loop() -> None:
    recorder = Recorder()
    async with ActorSystem(instruments=[recorder]) as system:
        bus = system.events

        def fails(event: Event) -> None:
            raise ValueError(type(event).__name__)

        subscription = bus.subscribe("*", fails)
        await system.spawn(Only)
        await asyncio.sleep(1.0)
        assert subscription.failures == 1
        subscription.cancel()
        # An actor fails as often as it may, and ends.
        seen: list[Event] = []
        anything = await system.spawn(child(Anything, seen, ValueError("no")))
        bus.subscribe("*", anything)
        bus.publish_nowait(Paid())
        await anything.wait_stopped()
        assert [type(event) for event in seen][:2] == [Paid, ActorCrashedEvent]
        assert len(recorder.of("actor_crashed", anything.path)) == 4
        assert bus.subscriber_count() == 0


async def test_one_who_stops_whatever_starts_comes_to_an_end() -> None:
    stopped: list[str] = []
    async with ActorSystem() as system:
        bus = system.events

        def stops(event: ActorStartedEvent) -> None:
            ref = system.find(event.path)
            if ref is not None:
                stopped.append(event.path)
                ref.stop()

        bus.subscribe(ActorStartedEvent, stops)
        for number in range(5):
            await system.spawn(child(Only).options(name=f"only-{number}"))
        await asyncio.sleep(1.0)
        assert stopped == [f"/user/only-{number}" for number in range(5)]
        assert system.find("/system/events/stops") is not None
        assert not system.find("/user/only-0")


async def test_what_becomes_of_the_runtimes_events_is_in_the_log_and_not_on_the_bus() -> None:
    recorder, gate = Recorder(), Gate()
    seen: list[DeadLetterEvent] = []

    class Slow(Actor[Event]):
        @handler
        async def event(self, event: Event) -> None:
            await gate.hold()

    async with ActorSystem(instruments=[recorder]) as system:
        bus = system.events
        bus.subscribe(DeadLetterEvent, seen.append)
        slow = await system.spawn(Slow)
        bus.subscribe(ActorStartedEvent, slow)
        for number in range(3):
            await system.spawn(child(Only).options(name=f"only-{number}"))
        await gate.reached()
        gate.open()
        slow.stop()  # with two of them in its mailbox
        await slow.wait_stopped()
        await settle()
    assert [type(letter[0]) for letter in recorder.letters] == [ActorStartedEvent] * 2
    assert seen == []


class Talk(Message):
    """Tell somebody who is dead."""


async def test_a_dead_letter_says_whose_it_was() -> None:
    seen: list[DeadLetterEvent] = []

    class Talker(Actor[Talk]):
        def __init__(self, other: Any) -> None:
            self.other = other

        @handler
        async def talk(self, message: Talk) -> None:
            self.other.tell(Note(value=1))

    async with ActorSystem() as system:
        system.events.subscribe(DeadLetterEvent, seen.append)
        dead = await system.spawn(Only)
        talker = await system.spawn(Talker, dead)
        dead.stop()
        await dead.wait_stopped()
        talker.tell(Talk())
        await settle()
    (event,) = seen
    assert (event.recipient, event.source) == ("/user/only", "/user/talker")
