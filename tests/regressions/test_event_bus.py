"""What went wrong in an earlier design of an event bus, and must not again.

| then | the test here |
|---|---|
| B1: the list of subscribers changed under a publication: 10 publications made 55 calls | test_b1_... |
| B2: only the exact type matched | test_b2_a_subscription_to_a_class_... |
| B2: the session id of a shared event was overwritten | test_b2_one_event_can_be_published_to_two_buses... |
| B2: the publisher waited for the slowest callback, for ever | test_b2_a_publisher_waits_no_longer_... |
| B2: an awaitable that is no coroutine was never awaited | test_b2_whatever_a_callback_returns_is_awaited... |
| B2: a CancelledError of a callback vanished | test_b2_a_cancel_raised_by_a_callback_is_seen... |
| B3: a failing `functools.partial` raised out of the publication | test_b3_... |
| B4: a `close()` from a handler cancelled itself | test_b4_... |
| B5: async handlers of a synchronous publication were held weakly, and collected while pending | test_b5_... |
| B6: no order for each subscriber | test_b6_... |
| B7: clearing "*" did nothing; publishing after the close was accepted in silence | test_b7_... |
"""

from __future__ import annotations

import asyncio
import gc
import math
from collections.abc import Awaitable, Generator
from functools import partial
from typing import Any

import pytest

from tests.cast import Gate, Recorder, settle
from understudy import ActorStopped, ActorSystem
from understudy.environment import running_loop
from understudy.events import AsyncEventBus, Event

pytestmark = pytest.mark.asyncio


class Paid(Event):
    number: int = 0


class PaidLate(Paid): ...


class PaidVeryLate(PaidLate): ...


# B1


async def test_b1_ten_publications_make_ten_calls_for_each_subscriber_whoever_subscribes_meanwhile() -> None:
    calls: list[int] = []
    others: list[int] = []

    async with AsyncEventBus("b1") as bus:

        def call(event: Paid) -> None:
            calls.append(event.number)
            bus.subscribe("*", lambda event: others.append(event.number))  # another one each time
            bus.subscribe("*", call)

        bus.subscribe("*", call)
        for number in range(10):
            await bus.publish(Paid(number=number))
    assert calls == list(range(10))
    # The one that was subscribed at event n had all later ones: 9 + 8 + ... + 0.
    assert sorted(others) == sorted(number for number in range(10) for _ in range(number))


async def test_b1_whoever_cancels_during_a_publication_takes_no_event_away_from_another() -> None:
    calls: list[int] = []
    async with AsyncEventBus("b1") as bus:
        subscriptions: list[Any] = []

        def callback(place: int, event: Paid) -> None:
            calls.append(place)
            subscriptions[place].cancel()

        subscriptions += [bus.subscribe(Paid, partial(callback, place)) for place in range(10)]
        await bus.publish(Paid())
        assert sorted(calls) == list(range(10))
        await bus.publish(Paid())
        assert len(calls) == 10


# B2


async def test_b2_a_subscription_to_a_class_gets_the_events_of_its_subclasses() -> None:
    calls: list[str] = []
    async with AsyncEventBus("b2") as bus:
        bus.subscribe(Paid, lambda event: calls.append(type(event).__name__))
        for kind in (Paid, PaidLate, PaidVeryLate):
            await bus.publish(kind())
    assert calls == ["Paid", "PaidLate", "PaidVeryLate"]


async def test_b2_one_event_can_be_published_to_two_buses_and_keeps_what_it_says() -> None:
    seen: list[Event] = []
    async with AsyncEventBus("first") as first, AsyncEventBus("second") as second:
        first.subscribe(Paid, seen.append)
        second.subscribe(Paid, seen.append)
        event = Paid(number=7)
        before = event.model_dump()
        for bus in (first, second, first):
            await bus.publish(event)
    assert event.model_dump() == before
    assert event.session_id == ""
    assert [(each.session_id, each.sequence) for each in seen] == [("first", 1), ("second", 1), ("first", 2)]
    assert all(each is not event for each in seen)
    assert len({each.id for each in seen}) == 3


async def test_b2_a_publisher_waits_no_longer_than_it_wants() -> None:
    gate = Gate()

    async def slow(event: Paid) -> None:
        await gate.hold()

    async with AsyncEventBus("b2") as bus:
        bus.subscribe(Paid, slow)
        began = running_loop().time()
        bus.publish_nowait(Paid())
        assert running_loop().time() == began
        await bus.publish(Paid(), timeout=0.25)
        assert running_loop().time() - began == pytest.approx(0.25)
        gate.open()


class Odd:
    """Can be awaited, and is neither a coroutine nor a future."""

    def __init__(self, done: list[str]) -> None:
        self.done = done

    def __await__(self) -> Generator[Any, None, None]:
        yield from asyncio.sleep(1.0).__await__()
        self.done.append("odd")


async def test_b2_whatever_a_callback_returns_is_awaited_if_it_can_be() -> None:
    done: list[str] = []

    async def work(name: str) -> None:
        await asyncio.sleep(1.0)
        done.append(name)

    def future() -> Awaitable[None]:
        made: asyncio.Future[None] = running_loop().create_future()
        running_loop().call_later(1.0, lambda: (done.append("future"), made.set_result(None)))
        return made

    async with AsyncEventBus("b2") as bus:
        bus.subscribe(Paid, lambda event: work("coroutine"))
        bus.subscribe(Paid, lambda event: future())
        bus.subscribe(Paid, lambda event: asyncio.ensure_future(work("task")))
        bus.subscribe(Paid, lambda event: Odd(done))
        bus.subscribe(Paid, lambda event: "no awaitable")
        assert (await bus.publish(Paid())).handled
        assert sorted(done) == ["coroutine", "future", "odd", "task"]
        bus.publish_nowait(Paid())
        await asyncio.sleep(1.5)
        assert len(done) == 8


async def test_b2_a_cancel_raised_by_a_callback_is_seen_and_does_not_end_its_subscription() -> None:
    recorder, calls = Recorder(), list[int]()

    async def cancels(event: Paid) -> None:
        calls.append(event.number)
        raise asyncio.CancelledError

    async def cancels_its_task(event: Paid) -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(0)

    async with ActorSystem(instruments=[recorder]) as system:
        bus = system.events
        first, second = bus.subscribe(Paid, cancels), bus.subscribe(Paid, cancels_its_task)
        for number in range(2):
            published = await bus.publish(Paid(number=number))
            assert [outcome.status for outcome in published.outcomes] == ["failed", "failed"]
            assert all(isinstance(outcome.error, asyncio.CancelledError) for outcome in published.outcomes)
        assert calls == [0, 1]
        assert (first.failures, second.failures) == (2, 2)
        assert bus.subscriber_count() == 2
    assert asyncio.current_task().cancelling() == 0


# B3


async def test_b3_a_failing_partial_does_not_raise_out_of_the_publication() -> None:
    calls: list[int] = []

    def fails(reason: str, event: Paid) -> None:
        raise ValueError(reason)

    async def fails_later(reason: str, event: Paid) -> None:
        raise ValueError(reason)

    async with AsyncEventBus("b3") as bus:
        bus.subscribe(Paid, partial(fails, "first"))
        bus.subscribe(Paid, partial(fails_later, "second"))
        bus.subscribe(Paid, partial(partial(fails_later), reason="third"))  # which gets the event as its reason
        bus.subscribe(Paid, lambda event: calls.append(event.number))
        published = await bus.publish(Paid(number=5))
        bus.publish_nowait(Paid(number=6))
        await settle()
    assert [str(outcome.error) for outcome in published.failures[:2]] == ["first", "second"]
    assert isinstance(published.failures[2].error, TypeError)
    assert calls == [5, 6]


# B4


@pytest.mark.parametrize("kind", ["async def", "returns an awaitable"])
@pytest.mark.parametrize("drain", [True, False])
@pytest.mark.parametrize("by", ["publish", "publish_nowait"])
async def test_b4_a_handler_can_close_the_bus_and_goes_on_to_its_end(by: str, drain: bool, kind: str) -> None:
    seen: list[str] = []

    async def closes(event: Paid) -> None:
        seen.append(f"begun {event.number}")
        if event.number == 0:
            await settle()  # so that the other is at work too
            await bus.close(drain=drain)
            await asyncio.sleep(0.5)
        seen.append(f"ended {event.number}")

    async def other(event: Paid) -> None:
        await asyncio.sleep(0.1)
        seen.append(f"other {event.number}")

    async with ActorSystem() as system:
        bus = system.events
        bus.subscribe(Paid, closes if kind == "async def" else lambda event: closes(event))
        bus.subscribe(Paid, other)
        began = running_loop().time()
        if by == "publish":
            publications = [asyncio.create_task(bus.publish(Paid(number=number))) for number in range(3)]
            done = [await each for each in publications]
            expected = "handled" if drain else "failed"
            assert [outcome.status for outcome in done[0].outcomes] == ["handled", "handled"]
            assert [outcome.status for outcome in done[2].outcomes] == [expected, expected]
        else:
            for number in range(3):
                bus.publish_nowait(Paid(number=number))
            await asyncio.sleep(0.01)
        await bus.close(drain=drain)
        assert running_loop().time() - began < 2.0
    mine = [entry for entry in seen if not entry.startswith("other")]
    if drain:
        assert mine == ["begun 0", "ended 0", "begun 1", "ended 1", "begun 2", "ended 2"]
        assert len(seen) == 9
    else:
        assert mine == ["begun 0", "ended 0"]
        assert [entry for entry in seen if entry.startswith("other")] == ["other 0"]


async def test_b4_a_bus_that_stands_alone_can_be_closed_by_its_own_handler() -> None:
    seen: list[int] = []
    async with AsyncEventBus("b4") as bus:

        async def closes(event: Paid) -> None:
            await bus.close()
            seen.append(event.number)

        bus.subscribe(Paid, closes)
        assert (await bus.publish(Paid(number=1))).handled
        assert bus.is_closing
    assert seen == [1]


# B5


@pytest.mark.parametrize("kind", ["async def", "returns an awaitable", "async __call__"])
async def test_b5_a_pending_callback_is_not_collected(kind: str) -> None:
    done: list[int] = []

    class Callback:
        async def __call__(self, event: Paid) -> None:
            # Nothing but the runtime refers to what waits here.
            await asyncio.sleep(1.0)
            done.append(event.number)

        def later(self, event: Paid) -> Any:
            return self(event)

    async with AsyncEventBus("b5") as bus:
        if kind == "async def":

            async def callback(event: Paid) -> None:
                await asyncio.sleep(1.0)
                done.append(event.number)

            bus.subscribe(Paid, callback)
            del callback
        else:
            made = Callback()
            bus.subscribe(Paid, made if kind == "async __call__" else made.later)
            del made
        for number in range(3):
            bus.publish_nowait(Paid(number=number))
        for _ in range(8):
            gc.collect()
            await asyncio.sleep(0.5)
    assert done == [0, 1, 2]


# B6


async def test_b6_each_subscriber_gets_the_events_one_at_a_time_and_in_order() -> None:
    seen: list[int] = []
    under_way: list[int] = []

    async def callback(event: Paid) -> None:
        under_way.append(event.number)
        assert len(under_way) == 1
        await asyncio.sleep(1.0 / (event.number + 1))  # each is quicker than the one before
        seen.append(event.number)
        under_way.remove(event.number)

    async with AsyncEventBus("b6") as bus:
        subscription = bus.subscribe(Paid, callback)
        for number in range(0, 10, 2):
            bus.publish_nowait(Paid(number=number))
            asyncio.get_running_loop().call_soon(bus.publish_nowait, Paid(number=number + 1))
            await asyncio.sleep(0)
        assert (await bus.publish(Paid(number=10))).handled
        assert subscription.failures == 0
    assert seen == list(range(11))


# B7


async def test_b7_clearing_the_star_cancels_exactly_the_subscriptions_to_all_events() -> None:
    seen: list[str] = []
    async with AsyncEventBus("b7") as bus:
        star = [bus.subscribe("*", lambda event, name=name: seen.append(name)) for name in ("star", "star too")]
        typed = bus.subscribe(Paid, lambda event: seen.append("typed"))
        every = bus.subscribe(Event, lambda event: seen.append("Event"))
        assert (bus.subscriber_count(), bus.subscriber_count("*")) == (4, 2)
        bus.clear("*")
        assert (bus.subscriber_count(), bus.subscriber_count("*")) == (2, 0)
        await bus.publish(Paid())
        assert seen == ["typed", "Event"]
        assert not any(each.active for each in star)
        assert typed.active
        assert every.active
        bus.clear()
        await bus.publish(Paid())
        assert bus.subscriber_count() == 0
    assert len(seen) == 2


async def test_b7_nothing_is_accepted_after_the_close() -> None:
    seen: list[Event] = []
    async with ActorSystem() as system:
        bus = system.events
        bus.subscribe(Paid, seen.append)
        await bus.close()
        with pytest.raises(ActorStopped, match="the event bus is closed"):
            await bus.publish(Paid())
        with pytest.raises(ActorStopped, match="the event bus is closed"):
            bus.publish_nowait(Paid())
        with pytest.raises(ActorStopped, match="the event bus is closed"):
            bus.subscribe(Paid, seen.append)
        with pytest.raises(ActorStopped, match="the event bus is closed"):
            await bus.wait_for(Paid, timeout=math.inf)
        with pytest.raises(ActorStopped, match="the event bus is closed"):
            bus.stream(Paid)
    assert seen == []
