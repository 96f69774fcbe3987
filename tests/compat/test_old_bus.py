"""The old event bus: what its callers may rely on, with and without an event loop, and none of its defects.

| then | the test here |
|---|---|
| B1 | test_unsubscribing_within_a_callback..., test_each_subscriber_gets_each_event_once |
| B2 | ..._one_to_its_subclasses..., ..._never_written_to, ..._hangs_..., test_an_awaitable_..., ..._own_cancel_... |
| B3 | test_no_error_of_a_callback_leaves_publish_and_the_others_get_the_event |
| B4 | test_a_callback_may_close_the_bus..., test_a_callback_may_wait_for_the_close |
| B5 | test_callbacks_are_held |
| B6 | test_each_callback_has_the_events_in_order_also_those_that_callbacks_publish |
| B7 | test_clearing_takes_all_or_those_of_exactly_one_topic, test_a_closed_bus_takes_nothing_more_and_says_so |
"""

from __future__ import annotations

import asyncio
import functools
import gc
import weakref
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.cast import Gate, settle
from understudy import ActorStopped, ActorSystem, AsyncEventBus, Event, InvalidSubscription
from understudy.compat import EventBus, EventBusClosed, OldEvent
from understudy.testing import VirtualLoop

pytestmark = pytest.mark.filterwarnings("ignore:EventBus is the interface:DeprecationWarning")


@dataclass(eq=False)
class Paid:
    """Of the old design: any class."""

    order: int
    session_id: str = "of the publisher"


class Refunded(Paid):
    pass


class Shipped(Event):
    order: int


Steps = Callable[[EventBus], Coroutine[Any, Any, None]]
"""What happens with a bus. Between two steps what was published is delivered."""


def play_without_a_loop(steps: Steps) -> None:
    """Take *steps* where no event loop runs: they must not wait for anything, and need not."""
    bus = EventBus("session-1")
    coroutine = steps(bus)
    try:
        while True:
            coroutine.send(None)
    except StopIteration:
        pass
    finally:
        coroutine.close()
        bus.close()


def play_in_a_loop(steps: Steps) -> None:
    async def main() -> None:
        bus = EventBus("session-1")
        coroutine = steps(bus)
        try:
            while True:
                coroutine.send(None)
                await settle()
        except StopIteration:
            pass
        finally:
            coroutine.close()
            await bus.close()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(main())


class delivered:
    """``await delivered()``: let what was published be delivered, wherever this is."""

    def __await__(self) -> Any:
        yield


everywhere = pytest.mark.parametrize("play", [play_without_a_loop, play_in_a_loop], ids=["no loop", "in a loop"])


@everywhere
def test_callbacks_are_called_with_the_published_object_in_the_order_of_their_subscription(play: Any) -> None:
    seen: list[tuple[str, object]] = []
    paid = Paid(1)

    async def steps(bus: EventBus) -> None:
        bus.subscribe(Paid, lambda event: seen.append(("first", event)))
        bus.subscribe("*", lambda event: seen.append(("second", event)))
        bus.subscribe(Paid, lambda event: seen.append(("third", event)))
        assert bus.publish(paid) is None
        await delivered()

    play(steps)

    assert seen == [("first", paid), ("second", paid), ("third", paid)]


@everywhere
def test_a_subscription_to_a_class_is_one_to_its_subclasses_and_to_nothing_else(play: Any) -> None:
    seen: list[str] = []

    async def steps(bus: EventBus) -> None:
        bus.subscribe(Paid, lambda event: seen.append(f"paid {event.order}"))
        bus.subscribe(Refunded, lambda event: seen.append(f"refunded {event.order}"))
        bus.subscribe(Shipped, lambda event: seen.append(f"shipped {event.order}"))
        for event in (Refunded(1), Paid(2), Shipped(order=3), "a text"):
            bus.publish(event)
            await delivered()

    play(steps)

    assert seen == ["paid 1", "refunded 1", "paid 2", "shipped 3"]


@everywhere
def test_the_published_object_is_never_written_to(play: Any) -> None:
    old, new, seen = Paid(1), Shipped(order=2), list[Any]()

    async def steps(bus: EventBus) -> None:
        bus.subscribe("*", seen.append)
        bus.publish(old)
        bus.publish(new)
        await delivered()

    play(steps)

    assert seen[0] is old
    assert old.session_id == "of the publisher"
    assert new.session_id == ""
    assert (seen[1].order, seen[1].session_id) == (2, "session-1")


@everywhere
def test_each_subscriber_gets_each_event_once(play: Any) -> None:
    seen: list[list[int]] = [[] for _ in range(5)]

    async def steps(bus: EventBus) -> None:
        for each in seen:
            callback = functools.partial(lambda to, event: to.append(event.order), each)
            bus.subscribe("*", callback)
            bus.subscribe("*", callback)  # a second time is no second subscription
        for order in range(10):
            bus.publish(Paid(order))
        await delivered()

    play(steps)

    assert seen == [list(range(10))] * 5


@everywhere
def test_each_callback_has_the_events_in_order_also_those_that_callbacks_publish(play: Any) -> None:
    seen: dict[str, list[int]] = {"plain": [], "async": []}

    async def steps(bus: EventBus) -> None:
        def chain(event: Paid) -> None:
            if event.order in (1, 2):
                bus.publish(Paid(event.order + 10))

        async def slowly(event: Paid) -> None:
            await asyncio.sleep(1e-4 if event.order % 2 else 0)
            seen["async"].append(event.order)

        bus.subscribe(Paid, chain)
        bus.subscribe(Paid, lambda event: seen["plain"].append(event.order))
        bus.subscribe(Paid, slowly)
        for order in (1, 2):
            bus.publish(Paid(order))
            await delivered()

    play(steps)

    assert seen == {"plain": [1, 11, 2, 12], "async": [1, 11, 2, 12]}


@everywhere
def test_unsubscribing_within_a_callback_takes_effect_from_the_next_event(play: Any) -> None:
    seen: list[str] = []

    async def steps(bus: EventBus) -> None:
        def last(event: Paid) -> None:
            seen.append(f"last {event.order}")

        def once(event: Paid) -> None:
            seen.append(f"once {event.order}")
            bus.unsubscribe(Paid, once)
            bus.unsubscribe(Paid, last)
            bus.subscribe(Paid, late)

        def late(event: Paid) -> None:
            seen.append(f"late {event.order}")

        bus.subscribe(Paid, once)
        bus.subscribe(Paid, last)
        bus.publish(Paid(1))
        await delivered()
        bus.publish(Paid(2))
        await delivered()

    play(steps)

    assert seen == ["once 1", "last 1", "late 2"]


@everywhere
def test_who_subscribes_or_unsubscribes_before_a_publish_counts_and_after_it_does_not(play: Any) -> None:
    seen: list[str] = []

    def early(event: Paid) -> None:
        seen.append(f"early {event.order}")

    def late(event: Paid) -> None:
        seen.append(f"late {event.order}")

    async def steps(bus: EventBus) -> None:
        bus.subscribe(Paid, early)
        bus.publish(Paid(1))
        bus.subscribe(Paid, late)
        bus.publish(Paid(2))
        bus.unsubscribe(Paid, early)
        bus.publish(Paid(3))
        await delivered()

    play(steps)

    assert [each for each in seen if "early" in each] == ["early 1", "early 2"]
    assert [each for each in seen if "late" in each] == ["late 2", "late 3"]


@everywhere
def test_unsubscribing_who_is_not_subscribed_does_nothing(play: Any) -> None:
    seen: list[object] = []

    async def steps(bus: EventBus) -> None:
        bus.unsubscribe(Paid, print)
        bus.subscribe(Paid, seen.append)
        bus.unsubscribe("*", seen.append)
        bus.unsubscribe(Refunded, seen.append)
        bus.publish(Refunded(1))
        await delivered()

    play(steps)

    assert len(seen) == 1


@everywhere
@pytest.mark.parametrize(
    ("topic", "left"),
    [(None, []), ("*", ["paid", "refunded"]), (Paid, ["refunded", "all"]), (Event, ["paid", "refunded", "all"])],
)
def test_clearing_takes_all_or_those_of_exactly_one_topic(play: Any, topic: Any, left: list[str]) -> None:
    seen: list[str] = []

    async def steps(bus: EventBus) -> None:
        bus.subscribe(Paid, lambda event: seen.append("paid"))
        bus.subscribe(Refunded, lambda event: seen.append("refunded"))
        bus.subscribe("*", lambda event: seen.append("all"))
        bus.publish(Refunded(1))
        await delivered()
        seen.clear()
        bus.clear_subscribers(*([] if topic is None else [topic]))
        bus.publish(Refunded(2))
        await delivered()

    play(steps)

    assert seen == left


class Callbacks:
    """Ways to fail."""

    async def fails(self, event: object) -> None:
        raise ValueError("async method")

    def __call__(self, event: object) -> None:
        raise ValueError("an object")


def boom(what: str, event: object) -> None:
    raise ValueError(what)


def failing_awaitable(event: object) -> Awaitable[None]:
    return Callbacks().fails(event)


@everywhere
@pytest.mark.parametrize(
    "callback",
    [
        functools.partial(boom, "a partial object"),
        functools.partial(functools.partial(boom), "a nested one"),
        functools.partial(Callbacks().fails),
        Callbacks(),
        Callbacks().fails,
        failing_awaitable,
        lambda event: boom("a lambda", event),
    ],
)
def test_no_error_of_a_callback_leaves_publish_and_the_others_get_the_event(play: Any, callback: Any) -> None:
    seen: list[object] = []

    async def steps(bus: EventBus) -> None:
        bus.subscribe(Paid, callback)
        bus.subscribe(Paid, lambda event: seen.append(event.order))
        for order in (1, 2):
            bus.publish(Paid(order))
            await delivered()

    with capture_logs() as log:
        play(steps)

    assert seen == [1, 2]
    assert len([entry for entry in log if "ValueError" in str(entry)]) == 2, "each failure is told once"


@everywhere
def test_an_awaitable_that_is_no_coroutine_is_awaited(play: Any) -> None:
    seen: list[str] = []

    class Later:
        def __await__(self) -> Any:
            yield from asyncio.sleep(0).__await__()
            seen.append("awaited")

    async def steps(bus: EventBus) -> None:
        bus.subscribe(Paid, lambda event: Later())
        bus.publish(Paid(1))
        await delivered()

    play(steps)

    assert seen == ["awaited"]


@everywhere
def test_a_callbacks_own_cancel_is_its_failure_and_not_silence(play: Any) -> None:
    seen: list[object] = []

    async def cancelled(event: object) -> None:
        raise asyncio.CancelledError("mine")

    def also(event: object) -> None:
        raise asyncio.CancelledError("mine too")

    async def steps(bus: EventBus) -> None:
        for callback in (cancelled, also, seen.append):
            bus.subscribe("*", callback)
        bus.publish(1)
        await delivered()
        bus.publish(2)
        await delivered()

    with capture_logs() as log:
        play(steps)

    assert seen == [1, 2]
    assert len([entry for entry in log if "CancelledError" in str(entry)]) == 4


@everywhere
def test_callbacks_are_held(play: Any) -> None:
    seen: list[object] = []

    class Keeper:
        def keep(self, event: object) -> None:
            seen.append(event)

        async def keep_later(self, event: object) -> None:
            await asyncio.sleep(1e-4)
            gc.collect()
            seen.append(event)

    keepers: list[weakref.ref[Keeper]] = []

    async def steps(bus: EventBus) -> None:
        for name in ("keep", "keep_later"):
            keeper = Keeper()
            keepers.append(weakref.ref(keeper))
            bus.subscribe("*", getattr(keeper, name))
            del keeper
        gc.collect()
        bus.publish(1)
        gc.collect()
        await delivered()

    play(steps)

    assert seen == [1, 1]
    gc.collect()
    assert [keeper() for keeper in keepers] == [None, None], "after the close nothing holds them"


@everywhere
def test_a_callback_may_close_the_bus_and_what_was_published_before_is_delivered(play: Any) -> None:
    seen: list[str] = []

    async def steps(bus: EventBus) -> None:
        def close(event: Paid) -> None:
            seen.append(f"closing {event.order}")
            bus.close()
            with pytest.raises(EventBusClosed):
                bus.publish(Paid(99))

        bus.subscribe(Paid, lambda event: bus.publish(Paid(2)) if event.order == 1 else None)
        bus.subscribe(Paid, close)
        bus.subscribe(Paid, lambda event: seen.append(f"after {event.order}"))
        bus.publish(Paid(1))
        await delivered()
        assert bus.is_closing

    play(steps)

    assert sorted(seen) == ["after 1", "after 2", "closing 1", "closing 2"]


@everywhere
def test_a_closed_bus_takes_nothing_more_and_says_so(play: Any) -> None:
    seen: list[object] = []

    async def steps(bus: EventBus) -> None:
        assert not bus.is_closing
        bus.subscribe("*", seen.append)
        bus.publish(1)
        bus.close()
        assert bus.is_closing
        await delivered()
        with pytest.raises(
            EventBusClosed, match="event bus 'session-1' is closed, and Paid was not published"
        ) as caught:
            bus.publish(Paid(2))
        assert isinstance(caught.value, RuntimeError), "which is what the old one raised"
        assert caught.value.event.order == 2
        with pytest.raises(EventBusClosed, match="nobody was subscribed"):
            bus.subscribe("*", seen.append)
        bus.unsubscribe("*", seen.append)
        bus.clear_subscribers()
        bus.close()

    play(steps)

    assert seen == [1]


@pytest.mark.parametrize(
    ("event_type", "callback", "problem"),
    [
        ("paid", print, r"event_type must be a class or '\*', got 'paid'"),
        (None, print, r"event_type must be a class or '\*', got None"),
        (Paid, None, "callback must be a function, got None"),
    ],
)
def test_what_cannot_be_subscribed_is_refused(event_type: Any, callback: Any, problem: str) -> None:
    bus = EventBus("session-1")
    with pytest.raises(InvalidSubscription, match=problem):
        bus.subscribe(event_type, callback)
    assert repr(bus) == "<EventBus 'session-1', 0 subscribers>"


def test_a_bus_needs_a_session_id() -> None:
    with pytest.raises(InvalidSubscription, match="session_id must be a text"):
        EventBus("")


# Without an event loop


def test_without_a_loop_publish_returns_when_all_have_been_called_and_awaited() -> None:
    seen: list[str] = []

    async def slowly(event: object) -> None:
        await asyncio.sleep(0.001)  # in real time: the loop is that of the bus
        seen.append("slow")

    bus = EventBus("session-1")
    bus.subscribe("*", slowly)
    bus.subscribe("*", lambda event: seen.append("quick"))
    bus.publish(1)
    assert seen == ["slow", "quick"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_without_a_loop_an_interrupt_leaves_publish_and_the_rest_is_delivered_next(error: type[BaseException]) -> None:
    seen: list[object] = []

    def interrupted(event: object) -> None:
        if event == 1:
            raise error

    bus = EventBus("session-1")
    bus.subscribe("*", interrupted)
    bus.subscribe("*", seen.append)
    with pytest.raises(error):
        bus.publish(1)
    assert seen == []
    bus.publish(2)
    assert seen == [1, 2]


def test_without_a_loop_a_long_chain_of_events_does_not_descend() -> None:
    bus, seen = EventBus("session-1"), list[int]()

    def count(event: int) -> None:
        seen.append(event)
        if event < 5000:
            bus.publish(event + 1)

    bus.subscribe(int, count)
    bus.publish(1)
    assert seen == list(range(1, 5001))


# In an event loop


@pytest.mark.asyncio
async def test_in_a_loop_publish_returns_at_once() -> None:
    bus, gate, seen = EventBus("session-1"), Gate(), list[int]()

    async def held(event: Paid) -> None:
        await gate.hold()
        seen.append(event.order)

    bus.subscribe(Paid, held)
    bus.publish(Paid(1))
    bus.publish(Paid(2))
    await gate.reached(1)
    assert seen == []
    gate.open()
    await bus.close()
    assert seen == [1, 2]


@pytest.mark.asyncio
async def test_a_callback_that_hangs_hurts_only_itself_and_the_close_has_a_bound() -> None:
    bus, gate, seen = EventBus("session-1"), Gate(), list[int]()
    loop = asyncio.get_running_loop()

    async def hang(event: Paid) -> None:
        await gate.hold()

    bus.subscribe(Paid, hang)
    bus.subscribe(Paid, lambda event: seen.append(event.order))
    for order in range(100):
        bus.publish(Paid(order))
    await settle()
    assert seen == list(range(100))

    before = loop.time()
    await bus.close()
    assert loop.time() - before < 31
    assert gate.went == 0
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.mark.asyncio
async def test_a_callback_may_wait_for_the_close() -> None:
    bus, seen = EventBus("session-1"), list[str]()
    loop = asyncio.get_running_loop()

    async def close(event: Paid) -> None:
        await bus.close()
        seen.append("closed")

    bus.subscribe(Paid, close)
    bus.subscribe(Paid, lambda event: seen.append("other"))
    bus.publish(Paid(1))
    before = loop.time()
    await settle()
    await bus.close()
    assert loop.time() - before < 0.1
    assert sorted(seen) == ["closed", "other"]


@pytest.mark.asyncio
async def test_a_cancel_of_who_waits_for_the_close_is_not_swallowed() -> None:
    bus, gate = EventBus("session-1"), Gate()

    async def held(event: Paid) -> None:
        await gate.hold()

    bus.subscribe(Paid, held)
    bus.publish(Paid(1))
    await gate.reached()

    async def close() -> None:
        await bus.close()

    closing = asyncio.create_task(close())
    await settle()
    closing.cancel()
    await asyncio.wait({closing})
    assert closing.cancelled()

    gate.open()
    await bus.close()
    assert gate.went == 1


@pytest.mark.asyncio
async def test_a_bus_that_nobody_has_published_on_starts_nothing() -> None:
    bus = EventBus("session-1")
    bus.subscribe("*", print)
    bus.unsubscribe("*", print)
    assert asyncio.all_tasks() == {asyncio.current_task()}
    await bus.close()
    assert bus.is_closing


@pytest.mark.asyncio
async def test_a_thousand_events_are_never_too_many() -> None:
    bus, seen = EventBus("session-1"), list[int]()
    bus.subscribe(int, seen.append)
    for number in range(20_000):
        bus.publish(number)
    await bus.close()
    assert seen == list(range(20_000))


# On the bus of a system


@pytest.mark.asyncio
async def test_old_and_new_code_share_the_bus_of_a_system() -> None:
    old: list[object] = []
    new: list[object] = []
    async with ActorSystem() as system:
        bus = EventBus("session-1", bus=system.events)
        bus.subscribe(Shipped, lambda event: old.append(event.order))
        bus.subscribe(Paid, lambda event: old.append(event.order))
        system.events.subscribe(Shipped, lambda event: new.append(event.order))
        system.events.subscribe(OldEvent, lambda event: new.append(event.value.order))

        system.events.publish_nowait(Shipped(order=1))  # nobody has published on the old bus before
        bus.publish(Shipped(order=2))
        bus.publish(Paid(3))
        await settle()
        assert (old, new) == ([1, 2, 3], [1, 2, 3])

        await bus.close()
        system.events.publish_nowait(Shipped(order=4))
        await settle()
        assert (old, new) == ([1, 2, 3], [1, 2, 3, 4])
        assert not system.events.is_closing


def test_the_old_code_of_a_system_goes_on_when_the_system_has_ended() -> None:
    seen: list[object] = []

    async def main() -> EventBus:
        async with ActorSystem() as system:
            bus = EventBus("session-1", bus=system.events)
            bus.subscribe(int, seen.append)
            bus.publish(1)
        with pytest.raises(ActorStopped):
            bus.publish(2)
        return bus

    bus = asyncio.run(main())
    bus.publish(3)
    assert seen == [1, 3]


@pytest.mark.asyncio
async def test_an_async_bus_that_is_given_has_to_run() -> None:
    async with AsyncEventBus("session-2") as new:
        bus, seen = EventBus("session-1", bus=new), list[Any]()
        bus.subscribe(Shipped, seen.append)
        bus.publish(Shipped(order=1))
        await settle()
    assert [(each.order, each.session_id) for each in seen] == [(1, "session-2")]
