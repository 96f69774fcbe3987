"""G4: `publish` waits until all have handled the event, but for those who wait for it; `publish_nowait` never waits."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import pytest

from tests.cast import Gate, Recorder, settle, statuses
from understudy import (
    Actor,
    ActorRef,
    ActorStopped,
    ActorSystem,
    InvalidTimeout,
    Mailbox,
    MailboxFull,
    Message,
    Refused,
    Unhandled,
    child,
    handler,
)
from understudy.environment import running_loop
from understudy.events import AsyncEventBus, Event

pytestmark = pytest.mark.asyncio


class Paid(Event):
    number: int = 0


class Shipped(Event):
    number: int = 0


class Returned(Event):
    number: int = 0


# Waiting


async def test_publish_returns_when_every_subscriber_has_handled_the_event_or_failed() -> None:
    done: list[str] = []

    async def slow(event: Paid) -> None:
        await asyncio.sleep(2.0)
        done.append("slow")

    async def fails_late(event: Paid) -> None:
        await asyncio.sleep(3.0)
        done.append("fails")
        raise ValueError("no")

    async with AsyncEventBus("wait") as bus:
        bus.subscribe(Paid, lambda event: done.append("quick"))
        bus.subscribe(Paid, slow)
        bus.subscribe(Paid, fails_late)
        began = running_loop().time()
        published = await bus.publish(Paid(number=1))
        assert running_loop().time() - began == pytest.approx(3.0)
        assert done == ["quick", "slow", "fails"]
    assert statuses(published) == ["handled", "handled", "failed"]
    assert isinstance(published.outcomes[2].error, ValueError)
    assert published.failures == published.outcomes[2:]
    assert not published.handled


async def test_publish_tells_what_has_happened_at_each_subscriber() -> None:
    class Picky(Actor[Paid | Shipped]):
        @handler
        def paid(self, event: Paid) -> None:
            raise Refused("not today")

        @handler
        def shipped(self, event: Shipped) -> None: ...

    class Busy(Actor[Paid]):
        @handler
        async def paid(self, event: Paid) -> None:
            await gate.hold()

    gate = Gate()
    async with ActorSystem() as system:
        bus = system.events
        picky = await system.spawn(Picky)
        busy = await system.spawn(child(Busy).options(mailbox=1))
        newest = await system.spawn(child(Busy).options(name="newest", mailbox=Mailbox(capacity=1, policy="drop_old")))
        for ref in (busy, newest):
            ref.tell(Paid(number=0))
        await gate.reached(2)
        for ref in (picky, busy, newest):
            bus.subscribe(Paid, ref)
        with bus.stream(Paid) as stream:
            task = asyncio.create_task(bus.publish(Paid(number=1), timeout=9.0))
            await settle()
            second = asyncio.create_task(bus.publish(Paid(number=2), timeout=5.0))
            published = await second
            gate.open()
            first = await task
            assert statuses(first) == ["failed", "handled", "refused", "queued"]
            assert isinstance(first.outcomes[0].error, Refused)
            assert isinstance(first.outcomes[2].error, MailboxFull)
            assert statuses(published) == ["failed", "refused", "pending", "queued"]
            assert published.outcomes[1].error is None
            assert [(await anext(stream)).number for _ in range(2)] == [1, 2]
        unhandled = await bus.publish(Returned())
        assert unhandled.handled
        bus.subscribe(Returned, picky)
        unhandled = await bus.publish(Returned())
        assert isinstance(unhandled.outcomes[0].error, Unhandled)


async def test_publish_without_subscribers_returns_at_once() -> None:
    async with AsyncEventBus("nobody") as bus:
        published = await bus.publish(Paid())
        assert published.outcomes == ()
        assert published.handled
        assert published.event.sequence == 1


async def test_publish_nowait_returns_at_once_and_calls_nobody_meanwhile() -> None:
    seen: list[Event] = []
    async with AsyncEventBus("at once") as bus:
        bus.subscribe(Paid, seen.append)
        event = bus.publish_nowait(Paid(number=3))
        assert seen == []
        await settle()
        assert seen == [event]
        assert seen[0] is event


# Bounds


async def test_when_the_time_is_up_the_rest_is_pending_and_is_still_handled() -> None:
    gate, done = Gate(), list[int]()

    async def held(event: Paid) -> None:
        await gate.hold()
        done.append(event.number)

    async with AsyncEventBus("late") as bus:
        bus.subscribe(Paid, held)
        bus.subscribe(Paid, lambda event: done.append(-event.number))
        began = running_loop().time()
        published = await bus.publish(Paid(number=1), timeout=0.5)
        assert running_loop().time() - began == pytest.approx(0.5)
        assert statuses(published) == ["pending", "handled"]
        assert not published.handled
        assert published.failures == ()
        assert statuses(await bus.publish(Paid(number=2), timeout=0.5)) == ["pending", "handled"]
        gate.open()
        await settle()
        assert done == [-1, -2, 1, 2]
        assert statuses(published) == ["pending", "handled"]  # what was reported stays what it was


@pytest.mark.parametrize("timeout", [0, -1, math.nan, "1", True])
async def test_a_bad_timeout_is_refused_before_anything_is_published(timeout: Any) -> None:
    seen: list[Event] = []
    async with AsyncEventBus("bad") as bus:
        bus.subscribe(Paid, seen.append)
        with pytest.raises(InvalidTimeout):
            await bus.publish(Paid(), timeout=timeout)
        await settle()
        assert seen == []
        assert bus.statistics().published == 0
        assert (await bus.publish(Paid(), timeout=math.inf)).handled


async def test_a_publication_that_is_cancelled_goes_to_all_the_same() -> None:
    gate, done = Gate(), list[int]()

    async def held(event: Paid) -> None:
        await gate.hold()
        done.append(event.number)

    async with AsyncEventBus("cancelled") as bus:
        bus.subscribe(Paid, held)
        task = asyncio.create_task(bus.publish(Paid(number=1)))
        await gate.reached()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        gate.open()
        await settle()
        assert done == [1]
        assert (await bus.publish(Paid(number=2))).handled


class Relay(Message[list[str]]):
    """Publish, and say what has become of it."""


class Publisher(Actor[Relay]):
    def __init__(self, bus: AsyncEventBus, timeout: float | None = None) -> None:
        self.bus, self.timeout = bus, timeout

    @handler
    async def relay(self, message: Relay) -> list[str]:
        return statuses(await self.bus.publish(Paid(), timeout=self.timeout))


@pytest.mark.parametrize("timeout", [None, 50.0])
async def test_a_publication_in_the_handler_of_an_ask_lasts_no_longer_than_the_ask(timeout: float | None) -> None:
    gate, handled = Gate(), list[Paid]()

    async def held(event: Paid) -> None:
        await gate.hold()
        handled.append(event)

    async with ActorSystem() as system:
        system.events.subscribe(Paid, held)
        publisher = await system.spawn(Publisher, system.events, timeout)
        recorder: list[object] = []
        system.events.subscribe(lambda event: "late reply" in str(event), recorder.append)
        began = running_loop().time()
        with pytest.raises(TimeoutError):
            await publisher.ask(Relay(), timeout=2.0)
        await settle()
        # The handler has come to its end with the ask, and takes the next message.
        system.events.clear()
        assert await publisher.ask(Relay(), timeout=2.0) == []
        assert running_loop().time() - began < 2.1
        gate.open()
        await settle()
        assert len(handled) == 1


# After the end


async def test_after_the_close_of_the_bus_both_raise_and_give_the_event_back() -> None:
    async with ActorSystem() as system:
        bus = system.events
        await bus.close()
        event = Paid(number=1)
        with pytest.raises(ActorStopped) as now:
            bus.publish_nowait(event)
        with pytest.raises(ActorStopped) as later:
            await bus.publish(event)
        assert now.value.message is later.value.message is event
        told = "/system/events has stopped (shut down (the event bus is closed)) and did not handle Paid"
        assert str(now.value) == str(later.value) == told
        assert bus.statistics().published == 0


# Those who wait for this very publication


async def test_a_subscriber_that_publishes_to_itself_gets_the_event_next_and_is_not_waited_for() -> None:
    seen: list[int] = []
    results: list[str] = []

    async def again(event: Paid) -> None:
        seen.append(event.number)
        if event.number < 3:
            results.extend(statuses(await bus.publish(Paid(number=event.number + 1))))
        seen.append(-event.number)

    async with AsyncEventBus("self") as bus:
        bus.subscribe(Paid, again)
        assert (await bus.publish(Paid(number=1))).handled
        await settle()
    assert seen == [1, -1, 2, -2, 3, -3]
    assert results == ["queued", "queued"]


@pytest.mark.parametrize("by", ["publish", "publish_nowait"])
@pytest.mark.parametrize("kind", ["async def", "returns an awaitable"])
@pytest.mark.parametrize("way", ["awaited", "gathered", "wait_for"])
async def test_it_is_not_waited_for_either_when_it_publishes_in_tasks_of_its_own(way: str, kind: str, by: str) -> None:
    results: list[str] = []

    async def callback(event: Event) -> None:
        if type(event) is Paid and event.number == 0:
            publications = [bus.publish(Shipped()), bus.publish(Paid(number=1))]
            if way == "gathered":
                done = await asyncio.gather(*publications)
            elif way == "wait_for":
                done = [await asyncio.wait_for(each, math.inf) for each in publications]
            else:
                done = [await each for each in publications]
            results.extend(status for published in done for status in statuses(published))

    async with AsyncEventBus("tasks") as bus:
        bus.subscribe("*", callback if kind == "async def" else lambda event: callback(event))
        if by == "publish":
            assert (await bus.publish(Paid(), timeout=10.0)).handled
        else:
            bus.publish_nowait(Paid())
        await settle()
    assert results == ["queued", "queued"]


class Link(Actor[Paid | Shipped | Returned]):
    """Publishes the next event when it gets its own; writes down what has become of it."""

    def __init__(self, bus: AsyncEventBus, following: type[Event], results: list[tuple[str, list[str]]]) -> None:
        self.bus, self.following, self.results = bus, following, results

    async def _follow(self, number: int) -> None:
        name = self.following.__name__
        self.results.append((name, statuses(await self.bus.publish(self.following(number=number + 1)))))

    @handler
    async def paid(self, event: Paid) -> None:
        if event.number < 6:
            await self._follow(event.number)

    @handler
    async def shipped(self, event: Shipped) -> None:
        await self._follow(event.number)

    @handler
    async def returned(self, event: Returned) -> None:
        await self._follow(event.number)


async def test_a_ring_of_publications_never_waits_for_ever() -> None:
    results: list[tuple[str, list[str]]] = []
    async with ActorSystem() as system:
        bus = system.events
        ring: list[tuple[type[Event], type[Event]]] = [(Paid, Shipped), (Shipped, Returned), (Returned, Paid)]
        for topic, following in ring:
            ref: ActorRef[Any] = await system.spawn(
                child(Link, bus, following, results).options(name=topic.__name__.lower())
            )
            bus.subscribe(topic, ref)
        assert (await bus.publish(Paid(number=0))).handled
        await settle()
    # The third one finds the first waiting for it, by way of the second.
    assert results[:3] == [("Paid", ["queued"]), ("Returned", ["handled"]), ("Shipped", ["handled"])]
    assert len(results) == 6


async def test_two_that_publish_to_each_other_at_once_both_come_to_an_end() -> None:
    async with AsyncEventBus("crossing") as bus:
        results: list[str] = []

        async def left(event: Shipped | Paid) -> None:
            if type(event) is Paid:
                results.extend(statuses(await bus.publish(Returned())))

        async def right(event: Returned | Paid) -> None:
            if type(event) is Paid:
                results.extend(statuses(await bus.publish(Shipped())))

        for topic in (Paid, Shipped):
            bus.subscribe(topic, left)
        for topic in (Paid, Returned):
            bus.subscribe(topic, right)
        assert (await bus.publish(Paid())).handled
        await settle()
    # They are subscribers of their own for each topic, so nobody waits for himself.
    assert results == ["handled", "handled"]


class Ask(Message[str]):
    """Ask the other, whose handler publishes."""


class Asker(Actor[Ask | Paid]):
    def __init__(self, log: list[str]) -> None:
        self.seen = log
        self.other: ActorRef[Any] | None = None

    @handler
    async def ask(self, message: Ask) -> str:
        if self.other is None:
            return ",".join(statuses(await self.context.system.events.publish(Paid())))
        answer: str = await self.other.ask(Ask())
        self.seen.append(f"asked: {answer}")
        return answer

    @handler
    def paid(self, event: Paid) -> None:
        self.seen.append("paid")


class Chief(Asker):
    def __init__(self, log: list[str], other: ActorRef[Any]) -> None:
        super().__init__(log)
        self.other = other


async def test_one_who_has_asked_the_publisher_is_not_waited_for() -> None:
    log: list[str] = []
    async with ActorSystem() as system:
        clerk = await system.spawn(Asker, [])
        chief = await system.spawn(Chief, log, clerk)
        system.events.subscribe(Paid, chief)
        assert await chief.ask(Ask(), timeout=math.inf) == "queued"
        await settle()
    assert log == ["asked: queued", "paid"]


async def test_one_who_waits_for_the_start_of_the_publisher_is_not_waited_for() -> None:
    log: list[str] = []

    class Newborn(Actor[Ask]):
        async def initialize(self) -> None:
            log.extend(statuses(await self.context.system.events.publish(Paid())))

        @handler
        def ask(self, message: Ask) -> str:
            return ""

    class Parent(Actor[Ask | Paid]):
        @handler
        async def ask(self, message: Ask) -> str:
            await self.context.spawn(Newborn)
            return "spawned"

        @handler
        def paid(self, event: Paid) -> None:
            log.append("paid")

    async with ActorSystem() as system:
        parent = await system.spawn(Parent)
        system.events.subscribe(Paid, parent)
        assert await parent.ask(Ask(), timeout=math.inf) == "spawned"
        await settle()
    assert log == ["queued", "paid"]


async def test_those_who_do_not_wait_for_it_are_waited_for_beside_those_who_do() -> None:
    done: list[str] = []

    async def outer(event: Paid) -> None:
        published = await bus.publish(Shipped())
        done.append(",".join(statuses(published)))

    async def slow(event: Shipped) -> None:
        await asyncio.sleep(1.0)
        done.append("slow")

    async with AsyncEventBus("mixed") as bus:
        subscription = bus.subscribe(lambda event: True, outer)
        bus.subscribe(Shipped, slow)
        bus.publish_nowait(Paid())
        await asyncio.sleep(0.5)
        subscription.cancel()
        await asyncio.sleep(2.0)
        await settle()
    assert done[:2] == ["slow", "queued,handled"]


# Restarts of the bus


async def test_after_a_restart_of_the_bus_actor_subscriptions_stand_and_queues_too() -> None:
    recorder, gate, seen = Recorder(), Gate(), list[int]()

    async def held(event: Paid) -> None:
        await gate.hold()
        seen.append(event.number)

    plain: list[int] = []
    async with ActorSystem(instruments=[recorder]) as system:
        bus = system.events
        subscription = bus.subscribe(Paid, held)
        bus.subscribe(Paid, lambda event: plain.append(event.number))
        waiting = asyncio.create_task(bus.publish(Paid(number=0)))
        await gate.reached()
        for number in range(1, 5):
            bus.publish_nowait(Paid(number=number))
        bus.ref.kill()
        await gate.reached(2)
        assert subscription.active
        assert bus.subscriber_count() == 2
        gate.open()
        last = await bus.publish(Paid(number=5))
        assert last.handled
        # What was in hand is lost, and says so; what was queued is not.
        assert seen == [1, 2, 3, 4, 5]
        assert plain == [0, 1, 2, 3, 4, 5]
        first = await waiting
        assert statuses(first) == ["failed", "handled"]
        assert isinstance(first.outcomes[0].error, ActorStopped)
    assert [letter[0].number for letter in recorder.letters] == [0]
    assert len(recorder.of("actor_restarting", "/system/events")) == 1
