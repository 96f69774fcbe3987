"""G3: the event bus is a system actor; each subscriber has a queue and an order of its own, and its troubles too."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import pytest

from tests.cast import Gate, Recorder, settle
from understudy import Actor, ActorSystem, Killed, Message, Shutdown, child, handler
from understudy.events import AsyncEventBus, CountEvents, Event

pytestmark = pytest.mark.asyncio


class Paid(Event):
    number: int = 0


class PaidLate(Paid):
    days: int = 1


class Shipped(Event):
    number: int = 0


class Audit(Message[list[int]]):
    """What this incarnation has been told."""


class Clerk(Actor[Paid | Audit]):
    def __init__(self) -> None:
        self.numbers: list[int] = []

    @handler
    def paid(self, event: Paid) -> None:
        self.numbers.append(event.number)

    @handler
    def audit(self, message: Audit) -> list[int]:
        return self.numbers


# A system actor


async def test_the_bus_is_a_supervised_system_actor_with_its_subscribers_below_it() -> None:
    recorder = Recorder()
    async with ActorSystem(instruments=[recorder]) as system:
        assert system.find("/system/events") is None  # until somebody wants it
        bus = system.events
        assert bus is system.events
        assert bus.ref.path == "/system/events"
        subscription = bus.subscribe(Paid, print)
        assert subscription.name == "/system/events/print"
        assert (await bus.ref.ask(CountEvents())).subscribers == 1
        bus.ref.kill()
        await settle()
        assert recorder.of("actor_restarting", "/system/events") == [("/system/events", Killed(), 1)]
        assert (await bus.ref.ask(CountEvents())).subscribers == 1
    assert [reason for _, reason in recorder.of("actor_stopped", "/system/events")] == [Shutdown("parent ended")]


async def test_a_bus_can_stand_alone_and_has_its_own_session() -> None:
    got: list[Event] = []
    async with AsyncEventBus("session-1") as bus:
        bus.subscribe(Paid, got.append)
        await bus.publish(Paid(number=7))
    assert [(event.session_id, event.sequence) for event in got] == [("session-1", 1)]
    assert bus.is_closing


# Queues and orders


async def test_every_subscriber_gets_the_events_in_the_order_of_their_publication() -> None:
    gate = Gate()
    seen: dict[str, list[int]] = {"plain": [], "slow": [], "held": [], "late": []}

    async def slow(event: Paid) -> None:
        await asyncio.sleep(0.1 if event.number % 2 == 0 else 0.01)  # the later are quicker
        seen["slow"].append(event.number)

    async def held(event: Paid) -> None:
        await gate.hold()
        seen["held"].append(event.number)

    async def late(event: Paid) -> None:
        await asyncio.sleep(1 - event.number / 100)
        seen["late"].append(event.number)

    async with ActorSystem() as system:
        bus = system.events
        clerk = await system.spawn(Clerk)
        bus.subscribe(Paid, lambda event: seen["plain"].append(event.number))
        bus.subscribe(Paid, slow)
        bus.subscribe(Paid, held)
        bus.subscribe(Paid, lambda event: late(event))
        bus.subscribe(Paid, clerk)
        for number in range(20):
            bus.publish_nowait(Paid(number=number))
        await settle()
        assert seen["plain"] == list(range(20))
        assert await clerk.ask(Audit()) == list(range(20))
        assert seen["held"] == seen["late"] == []
        gate.open()
        await bus.publish(Paid(number=20))
    assert all(numbers == list(range(21)) for numbers in seen.values()), seen


async def test_a_slow_subscriber_holds_up_neither_the_publisher_nor_the_others() -> None:
    gate, quick = Gate(), list[int]()

    async def slow(event: Paid) -> None:
        await gate.hold()

    async with ActorSystem() as system:
        bus = system.events
        bus.subscribe(Paid, slow)
        bus.subscribe(Paid, lambda event: quick.append(event.number))
        for number in range(50):
            bus.publish_nowait(Paid(number=number))
        await settle()
        assert quick == list(range(50))
        assert (gate.came, gate.went) == (1, 0)
        gate.open()


async def test_what_finds_no_room_in_one_queue_goes_to_the_others() -> None:
    recorder, gate, others = Recorder(), Gate(), list[int]()
    seen: list[int] = []

    async def slow(event: Paid) -> None:
        await gate.hold()
        seen.append(event.number)

    async with ActorSystem(instruments=[recorder]) as system:
        bus = system.events
        narrow = bus.subscribe(Paid, slow, mailbox=3)
        wide = bus.subscribe(Paid, lambda event: others.append(event.number))
        for number in range(3):
            bus.publish_nowait(Paid(number=number))
        await gate.reached()
        for number in range(3, 10):
            bus.publish_nowait(Paid(number=number))
        gate.open()
        await settle()
    assert seen == [0, 1, 2, 3]
    assert others == list(range(10))
    assert (narrow.refused, wide.refused) == (6, 0)
    assert [letter[0].number for letter in recorder.letters] == [4, 5, 6, 7, 8, 9]


# Failures


async def test_of_ten_subscribers_one_fails_and_one_hangs_and_the_other_eight_get_all_100_events_in_order() -> None:
    seen: list[list[int]] = [[] for _ in range(8)]
    calls = {"fails": 0, "hangs": 0}

    def fails(event: Paid) -> None:
        calls["fails"] += 1
        raise ValueError(event.number)

    async def hangs(event: Paid) -> None:
        calls["hangs"] += 1
        await asyncio.sleep(math.inf)

    def keep(place: int, numbers: list[int]) -> Any:
        async def soon(event: Paid) -> None:
            await asyncio.sleep(0)
            numbers.append(event.number)

        return soon if place % 2 else lambda event: numbers.append(event.number)

    async with ActorSystem() as system:
        bus = system.events
        subscriptions = [bus.subscribe(Paid, fails), bus.subscribe(Paid, hangs)]
        subscriptions += [bus.subscribe(Paid, keep(place, numbers)) for place, numbers in enumerate(seen)]
        for number in range(100):
            bus.publish_nowait(Paid(number=number))
        await settle()
        assert seen == [list(range(100))] * 8
        assert calls == {"fails": 100, "hangs": 1}
        assert [each.failures for each in subscriptions] == [100] + [0] * 9
        assert bus.subscriber_count() == 10
        await bus.close(timeout=0.1)


ERRORS = [ValueError("no"), asyncio.CancelledError(), SystemExit(3), GeneratorExit(), TimeoutError(), StopIteration(1)]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("kind", ["def", "async def", "returns an awaitable", "predicate"])
async def test_whatever_a_subscriber_raises_reaches_neither_the_publisher_nor_the_others(
    kind: str, error: BaseException
) -> None:
    seen: list[int] = []

    def plain(event: Paid) -> Any:
        if event.number == 1:
            raise error
        return True

    async def coroutine(event: Paid) -> None:
        await asyncio.sleep(0)
        plain(event)

    async with ActorSystem() as system:
        bus = system.events
        if kind == "predicate":
            bad = bus.subscribe(lambda event: type(event) is Paid and plain(event), lambda event: None)
        else:
            later = coroutine if kind == "async def" else lambda event: coroutine(event)
            bad = bus.subscribe(Paid, plain if kind == "def" else later)
        good = bus.subscribe(Paid, lambda event: seen.append(event.number))
        published = [await bus.publish(Paid(number=number), timeout=1.0) for number in range(3)]
        for number in range(3):
            bus.publish_nowait(Paid(number=number))
        await settle()
        assert seen == [0, 1, 2, 0, 1, 2]
        assert bad.failures == 2
        assert good.failures == 0
        assert bad.active
        assert published[0].handled
        assert published[2].handled
        outcomes = {outcome.subscription: outcome for outcome in published[1].outcomes}
        assert outcomes[good].status == "handled"
        if kind == "predicate":
            assert bad not in outcomes
        else:
            assert outcomes[bad].status == "failed"
            told = outcomes[bad].error
            # No coroutine can raise a StopIteration.
            assert told is error or (isinstance(error, StopIteration) and isinstance(told, RuntimeError))


# Topics


async def test_a_class_stands_for_its_subclasses_and_the_star_for_all_events() -> None:
    seen: dict[str, list[Event]] = {"late": [], "paid": [], "event": [], "star": [], "odd": []}
    async with AsyncEventBus("topics") as bus:
        bus.subscribe(PaidLate, seen["late"].append)
        bus.subscribe(Paid, seen["paid"].append)
        bus.subscribe(Event, seen["event"].append)
        bus.subscribe("*", seen["star"].append)
        bus.subscribe(lambda event: getattr(event, "number", 0) % 2 == 1, seen["odd"].append)
        for event in (Paid(number=1), PaidLate(number=2), Shipped(number=3)):
            bus.publish_nowait(event)
        await settle()
    kinds = {name: [type(event) for event in events] for name, events in seen.items()}
    assert kinds == {
        "late": [PaidLate],
        "paid": [Paid, PaidLate],
        "event": [Paid, PaidLate, Shipped],
        "star": [Paid, PaidLate, Shipped],
        "odd": [Paid, Shipped],
    }


async def test_a_callback_subscribed_twice_is_called_once() -> None:
    class Shop:
        def __init__(self) -> None:
            self.seen: list[int] = []

        def paid(self, event: Paid) -> None:
            self.seen.append(event.number)

    async with AsyncEventBus("twice") as bus:
        shop, clerk = Shop(), await bus._home.spawn(Clerk)
        first = bus.subscribe(Paid, shop.paid)
        assert bus.subscribe(Paid, shop.paid) is first  # another method object, and an equal one
        assert bus.subscribe(Paid, clerk) is bus.subscribe(Paid, clerk)
        assert bus.subscriber_count() == 2
        await bus.publish(Paid(number=4))
        assert shop.seen == [4]
        assert await clerk.ask(Audit()) == [4]
        # When it has been cancelled, it can be subscribed anew, and is another subscription.
        first.cancel()
        assert bus.subscribe(Paid, shop.paid) is not first
        await bus.publish(Paid(number=5))
        assert shop.seen == [4, 5]


# Changes during a publication


async def test_who_subscribes_or_cancels_during_a_publication_does_so_from_the_next_event_on() -> None:
    seen: list[tuple[str, int]] = []

    async with AsyncEventBus("changes") as bus:

        def second(event: Paid) -> None:
            seen.append(("second", event.number))

        def third(event: Paid) -> None:
            seen.append(("third", event.number))

        def first(event: Paid) -> None:
            seen.append(("first", event.number))
            if event.number == 0:
                subscriptions[1].cancel()
                bus.subscribe(Paid, third)

        subscriptions = [bus.subscribe(Paid, first), bus.subscribe(Paid, second)]
        published = await bus.publish(Paid(number=0))
        assert [outcome.status for outcome in published.outcomes] == ["handled", "handled"]
        await bus.publish(Paid(number=1))
    assert [entry for entry in seen if entry[1] == 0] == [("first", 0), ("second", 0)]
    assert [entry for entry in seen if entry[1] == 1] == [("first", 1), ("third", 1)]


async def test_a_subscriber_that_cancels_itself_gets_what_was_published_before() -> None:
    seen: list[int] = []
    async with AsyncEventBus("self") as bus:

        def once(event: Paid) -> None:
            seen.append(event.number)
            subscription.cancel()

        subscription = bus.subscribe(Paid, once)
        for number in range(3):
            bus.publish_nowait(Paid(number=number))
        await settle()
        bus.publish_nowait(Paid(number=3))
        await settle()
    assert seen == [0, 1, 2]


# Dead subscribers


@pytest.mark.parametrize("how", ["stop", "drain", "kill"])
async def test_a_dead_subscriber_disappears_without_help(how: str) -> None:
    recorder = Recorder()
    async with ActorSystem(instruments=[recorder]) as system:
        bus = system.events
        clerk = await system.spawn(child(Clerk).options(restart="temporary"))
        subscription = bus.subscribe(Paid, clerk)
        await bus.publish(Paid(number=1))
        getattr(clerk, how)()
        await clerk.wait_stopped()
        assert bus.subscriber_count() == 0
        assert not subscription.active
        published = await bus.publish(Paid(number=2))
        assert published.outcomes == ()
    assert recorder.letters == []


async def test_an_actor_that_is_restarted_stays_subscribed() -> None:
    async with ActorSystem() as system:
        bus = system.events
        clerk = await system.spawn(Clerk)
        bus.subscribe(Paid, clerk)
        clerk.kill()
        await bus.publish(Paid(number=2))
        assert await clerk.ask(Audit()) == [2]


# Exactly n


async def test_n_publications_make_exactly_n_deliveries_for_each_subscriber() -> None:
    counts = [0] * 10

    def count(place: int) -> Any:
        def plain(event: Event) -> None:
            counts[place] += 1

        async def soon(event: Event) -> None:
            await asyncio.sleep(0)
            counts[place] += 1

        return plain if place % 2 else soon

    async with AsyncEventBus("n") as bus:
        for place in range(10):
            bus.subscribe(["*", Paid, Event][place % 3], count(place))
        for number in range(50):
            bus.publish_nowait(Paid(number=number))
            published = await bus.publish(Paid(number=number))
            assert len(published.outcomes) == 10
            assert published.handled
    assert counts == [100] * 10
