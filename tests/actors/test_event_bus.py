"""The event bus: what may be subscribed and how, what becomes of failures, how it ends, and that nothing is left."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import math
import weakref
from collections.abc import Awaitable, Callable
from functools import partial, wraps
from typing import Any
from unittest.mock import AsyncMock, Mock

import pytest

from tests.cast import Gate, Holder, Recorder, settle, statuses
from understudy import (
    Actor,
    ActorFailed,
    ActorStopped,
    ActorSystem,
    Crashed,
    InvalidContext,
    InvalidTimeout,
    Killed,
    Mailbox,
    Message,
    RestartsExceeded,
    Settings,
    Supervisor,
    SystemCollapsed,
    child,
    handler,
    supervisor,
)
from understudy.environment import running_loop
from understudy.events import AsyncEventBus, Event
from understudy.exceptions import InvalidSubscription

pytestmark = pytest.mark.asyncio


class Paid(Event):
    number: int = 0


class Shipped(Event):
    number: int = 0


class Sink(Actor[Event]):
    def __init__(self, seen: list[Event]) -> None:
        self.seen = seen

    @handler
    def event(self, event: Event) -> None:
        self.seen.append(event)


def held_at(gate: Gate, seen: list[int]) -> Callable[[Paid], Awaitable[None]]:
    async def slow(event: Paid) -> None:
        await gate.hold()
        seen.append(event.number)

    return slow


def nothing(event: Event) -> None: ...


# Arguments


@pytest.mark.parametrize("session", ["", None, 7, b"x"])
async def test_a_session_is_a_text_that_is_not_empty(session: Any) -> None:
    with pytest.raises(InvalidSubscription) as caught:
        AsyncEventBus(session)
    assert str(caught.value) == f"session_id must be a text that is not empty, got {session!r}"


@pytest.mark.parametrize("keep", [-1, 1.5, "1", True, None, math.inf])
async def test_how_many_events_are_kept_is_a_number(keep: Any) -> None:
    with pytest.raises(InvalidSubscription) as caught:
        AsyncEventBus("x", keep=keep)
    assert str(caught.value) == f"keep must be a number of events from 0 on, got {keep!r}"


async def a_coroutine(event: Event) -> bool:
    return True


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"topic": 5}, "topic must be a class of events, '*' or a function, got 5"),
    ({"topic": "paid"}, "topic must be a class of events, '*' or a function, got 'paid'"),
    ({"topic": None}, "topic must be a class of events, '*' or a function, got None"),
    ({"topic": int}, "topic must be a subclass of Event, got int"),
    ({"topic": Message}, "topic must be a subclass of Event, got Message"),
    (
        {"topic": a_coroutine},
        "topic must be a plain function where it is one: it runs while the event is being published",
    ),
    ({"subscriber": None}, "subscriber must be a function or a ref, got None"),
    ({"subscriber": "print"}, "subscriber must be a function or a ref, got 'print'"),
    ({"mailbox": 0}, "mailbox must be a capacity (a whole number from 1 on, or math.inf) or a Mailbox, got 0"),
    ({"mailbox": "big"}, "mailbox must be a capacity (a whole number from 1 on, or math.inf) or a Mailbox, got 'big'"),
    (
        {"on_error": 0},
        "on_error must be 'keep', a number of failures from 1 on, or the ref of the actor that shall fail, got 0",
    ),
    ({"on_error": True}, "... got True"),
    ({"on_error": 1.5}, "... got 1.5"),
    ({"on_error": "drop"}, "... got 'drop'"),
    ({"on_error": None}, "... got None"),
    ({"after": -1}, "after must be the number of an event that was published, from 0 to 2, got -1"),
    ({"after": 3}, "... from 0 to 2, got 3"),
    ({"after": "1"}, "... got '1'"),
    ({"after": True}, "... got True"),
]


@pytest.mark.parametrize(("wrong", "text"), WRONG)
async def test_what_cannot_be_subscribed_is_refused_with_what_is_allowed_and_leaves_nothing(
    wrong: dict[str, Any], text: str
) -> None:
    async with AsyncEventBus("wrong") as bus:
        for number in range(2):
            bus.publish_nowait(Paid(number=number))
        arguments: dict[str, Any] = {"topic": Paid, "subscriber": nothing, **wrong}
        with pytest.raises(InvalidSubscription) as caught:
            bus.subscribe(arguments.pop("topic"), arguments.pop("subscriber"), **arguments)
        assert caught.value.field in wrong
        assert str(caught.value).endswith(text.removeprefix("..."))
        assert bus.subscriber_count() == 0
        assert bus._cell is not None
        assert not bus._cell.family


@pytest.mark.parametrize("kind", ["generator", "async generator", "async generator __call__", "partial"])
async def test_a_callback_whose_body_would_never_run_is_refused(kind: str) -> None:
    def generator(event: Event) -> Any:
        yield event

    async def async_generator(event: Event) -> Any:
        yield event

    class Callback:
        async def __call__(self, event: Event) -> Any:
            yield event

    callbacks = {
        "generator": generator,
        "async generator": async_generator,
        "async generator __call__": Callback(),
        "partial": partial(async_generator),
    }
    async with AsyncEventBus("yields") as bus:
        with pytest.raises(InvalidSubscription, match=r"subscriber must not `yield`: nobody would iterate over"):
            bus.subscribe(Paid, callbacks[kind])


async def test_an_actor_has_a_mailbox_and_a_supervisor_of_its_own() -> None:
    async with ActorSystem() as system:
        ref = await system.spawn(Sink, [])
        with pytest.raises(InvalidSubscription) as mailbox:
            system.events.subscribe(Paid, ref, mailbox=5)
        with pytest.raises(InvalidSubscription) as on_error:
            system.events.subscribe(Paid, ref, on_error=3)
        assert str(mailbox.value) == "mailbox belongs to a callback; /user/sink has one of its own"
        told = "on_error is about callbacks; what a failure of /user/sink means is its supervisor's decision"
        assert str(on_error.value) == told
        assert system.events.subscriber_count() == 0


@pytest.mark.parametrize("thing", [5, "event", None, Paid, object()])
async def test_only_events_can_be_published(thing: Any) -> None:
    async with AsyncEventBus("things") as bus:
        bus.subscribe("*", nothing)
        with pytest.raises(InvalidSubscription, match="event must be an Event, got"):
            bus.publish_nowait(thing)
        with pytest.raises(InvalidSubscription, match="event must be an Event, got"):
            await bus.publish(thing)
        assert bus.statistics().published == 0


async def test_a_dead_actor_cannot_be_subscribed() -> None:
    async with ActorSystem() as system:
        ref = await system.spawn(Sink, [])
        ref.stop()
        await ref.wait_stopped()
        with pytest.raises(ActorStopped, match="/user/sink has stopped"):
            system.events.subscribe(Paid, ref)
        assert system.events.subscriber_count() == 0


async def test_an_actor_of_another_system_can_be_subscribed_and_disappears_with_it() -> None:
    seen: list[Event] = []
    async with ActorSystem(name="one") as one:
        async with ActorSystem(name="two") as two:
            ref = await two.spawn(Sink, seen)
            one.events.subscribe(Paid, ref)
            assert statuses(await one.events.publish(Paid(number=3))) == ["handled"]
        assert one.events.subscriber_count() == 0
    assert [(event.session_id, event.number) for event in seen] == [("one", 3)]


async def test_a_bus_belongs_to_its_event_loop_and_refuses_to_be_used_from_another_thread() -> None:
    async with ActorSystem() as system:
        bus = system.events
        ref = await system.spawn(Sink, [])
        subscription = bus.subscribe(Paid, nothing)
        stream = bus.stream(Paid)
        calls: dict[Callable[[], object], str] = {
            lambda: bus.subscribe(Paid, print): "event bus 'system'",
            lambda: bus.publish_nowait(Paid()): "event bus 'system'",
            lambda: bus.stream(Paid): "event bus 'system'",
            lambda: asyncio.run(bus.publish(Paid())): "event bus 'system'",
            lambda: asyncio.run(bus.wait_for(Paid)): "event bus 'system'",
            lambda: asyncio.run(bus.close()): "event bus 'system'",
            bus.clear: "event bus 'system'",
            subscription.cancel: "the subscription of /system/events/nothing",
            lambda: subscription.__exit__(None, None, None): "the subscription of /system/events/nothing",
            stream.cancel: "stream(Paid)",
        }
        for call, what in calls.items():
            with pytest.raises(InvalidContext) as caught:
                await asyncio.to_thread(call)
            assert str(caught.value).startswith(f"{what}: used in the thread 'asyncio_")
            assert str(caught.value).endswith("and nothing was done: call it there, by loop.call_soon_threadsafe")
        assert bus.subscriber_count() == 2
        assert subscription.active
        assert not bus.is_closing

        async def elsewhere() -> None:
            async with AsyncEventBus("elsewhere") as other:
                with pytest.raises(InvalidContext, match=r"/user/sink: used .*tell_threadsafe"):
                    other.subscribe(Paid, ref)
                with pytest.raises(InvalidContext, match=r"/user/sink: used .*tell_threadsafe"):
                    other.subscribe(Paid, nothing, on_error=ref)
                assert other.subscriber_count() == 0

        await asyncio.to_thread(lambda: asyncio.run(elsewhere()))
        assert (await bus.publish(Paid(), timeout=1.0)).outcomes[0].status == "handled"
        stream.cancel()


async def test_a_bus_that_stands_alone_has_to_be_entered_and_can_be_entered_once() -> None:
    bus = AsyncEventBus("alone")
    for use in (lambda: bus.subscribe(Paid, nothing), lambda: bus.publish_nowait(Paid()), lambda: bus.ref):
        with pytest.raises(
            InvalidContext, match=r"event bus 'alone': it does not run yet: use it inside of `async with`"
        ):
            use()
    assert (bus.subscriber_count(), bus.is_closing) == (0, False)
    async with bus:
        with pytest.raises(InvalidContext, match="it runs already"):
            await bus.__aenter__()
        bus.subscribe(Paid, nothing)
        assert repr(bus) == "<AsyncEventBus 'alone', 1 subscribers>"
    with pytest.raises(InvalidContext, match="make a new one"):
        await bus.__aenter__()
    with pytest.raises(ActorStopped):
        bus.publish_nowait(Paid())

    closed = AsyncEventBus("closed before")
    await closed.close()
    with pytest.raises(InvalidContext, match="make a new one"):
        await closed.__aenter__()


# Callbacks of every kind


class Shop:
    """Something with methods that cannot be hashed."""

    __hash__ = None

    def __init__(self) -> None:
        self.seen: list[int] = []

    def __eq__(self, other: object) -> bool:
        return True

    def plain(self, event: Paid) -> None:
        self.seen.append(event.number)

    async def soon(self, event: Paid) -> None:
        await asyncio.sleep(0)
        self.seen.append(event.number)

    def __call__(self, event: Paid) -> None:
        self.seen.append(event.number)


class AsyncShop(Shop):
    async def __call__(self, event: Paid) -> None:
        await self.soon(event)


def decorated(shop: Shop) -> Any:
    @wraps(shop.soon)
    def call(event: Paid) -> Any:
        return shop.soon(event)

    return call


KINDS: dict[str, Callable[[Shop], Any]] = {
    "function": lambda shop: lambda event: shop.plain(event),
    "method": lambda shop: shop.plain,
    "async method": lambda shop: shop.soon,
    "static function with a default": lambda shop: lambda event, other=shop: other.plain(event),
    "partial": lambda shop: partial(Shop.plain, shop),
    "partial of a coroutine function": lambda shop: partial(Shop.soon, shop),
    "partial of a partial": lambda shop: partial(partial(Shop.soon, shop)),
    "object": lambda shop: shop,
    "decorated coroutine function": decorated,
    "returns a coroutine": lambda shop: lambda event: shop.soon(event),
    "returns a task": lambda shop: lambda event: asyncio.ensure_future(shop.soon(event)),
    "Mock": lambda shop: Mock(side_effect=shop.plain),
    "AsyncMock": lambda shop: AsyncMock(side_effect=shop.soon),
    "built-in": lambda shop: _Numbers(shop.seen).append,
    "class": lambda shop: type("Receipt", (), {"__init__": lambda self, event: shop.plain(event)}),
    "class with an async __call__": lambda shop: type(
        "Receipt", (), {"__init__": lambda self, event: shop.plain(event), "__call__": AsyncShop.__call__}
    ),
}


class _Numbers(list[Any]):
    """Keeps the numbers of what is appended."""

    def __init__(self, numbers: list[int]) -> None:
        super().__init__()
        self.numbers = numbers

    def append(self, event: Any) -> None:
        self.numbers.append(event.number)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_callback_can_be_anything_that_can_be_called(kind: str) -> None:
    shop = Shop()
    callback = KINDS[kind](shop)
    async with AsyncEventBus("kinds") as bus:
        subscription = bus.subscribe(Paid, callback)
        assert bus.subscribe(Paid, callback) is subscription
        for number in range(3):
            assert statuses(await bus.publish(Paid(number=number), timeout=1.0)) == ["handled"]
        for number in range(3, 6):
            bus.publish_nowait(Paid(number=number))
        await settle()
        assert shop.seen == [0, 1, 2, 3, 4, 5]
        subscription.cancel()
        await bus.publish(Paid(number=6))
        assert len(shop.seen) == 6
        assert bus.subscriber_count() == 0


async def test_an_object_with_an_async_call_that_cannot_be_hashed_is_known_again_and_told_from_its_like() -> None:
    first, second = AsyncShop(), AsyncShop()  # which are equal, and cannot be hashed
    async with AsyncEventBus("unhashable") as bus:
        assert bus.subscribe(Paid, first) is bus.subscribe(Paid, first)
        assert bus.subscribe(Paid, second) is not bus.subscribe(Paid, first)
        assert bus.subscribe(Paid, first.plain) is bus.subscribe(Paid, first.plain)
        assert bus.subscribe(Paid, second.plain) is not bus.subscribe(Paid, first.plain)
        await bus.publish(Paid(number=1))
        assert (first.seen, second.seen) == ([1, 1], [1, 1])


async def test_the_subscribers_are_named_after_their_callbacks() -> None:
    def size(event: Event) -> None: ...

    size.__name__ = "größe"

    def nameless(event: Event) -> None: ...

    nameless.__name__ = ""
    dots = partial(nameless)

    async with AsyncEventBus("names") as bus:
        names = [
            bus.subscribe(Paid, each).name.removeprefix("/system/events/")
            for each in (
                nothing,
                lambda event: None,
                lambda event: 1,
                size,
                nameless,
                dots,
                Shop(),
                Shop().plain,
                print,
            )
        ]
    assert names == ["nothing", "lambda", "lambda-2", "gr__e", "callback", "callback-2", "shop", "plain", "print"]


async def test_a_subscription_says_what_it_is() -> None:
    async with AsyncEventBus("repr") as bus:
        subscription = bus.subscribe(Paid, nothing)
        assert repr(subscription) == "<Subscription of /system/events/nothing to Paid>"
        with bus.subscribe("*", nothing) as star:
            assert repr(star) == "<Subscription of /system/events/nothing-2 to '*'>"
        assert repr(star) == "<Subscription of /system/events/nothing-2 to '*', cancelled>"
        star.cancel()  # once more does no harm
        assert bus.subscriber_count() == 1


async def test_a_callback_can_publish_and_subscribe_from_a_plain_function() -> None:
    seen: list[int] = []
    async with AsyncEventBus("plain") as bus:

        def relay(event: Paid) -> None:
            if event.number < 3:
                bus.publish_nowait(Paid(number=event.number + 1))
            bus.subscribe(Shipped, nothing)
            seen.append(event.number)

        bus.subscribe(Paid, relay)
        await bus.publish(Paid(number=0))
        await settle()
        assert seen == [0, 1, 2, 3]
        assert bus.subscriber_count() == 2


# What an event says


async def test_what_subscribers_see_says_when_where_and_by_whom_it_was_published() -> None:
    seen: list[Event] = []

    class Seller(Actor[Shipped]):
        @handler
        async def shipped(self, event: Shipped) -> None:
            self.context.system.events.publish_nowait(Paid(number=2))

    async with ActorSystem(name="shop") as system:
        bus = system.events
        bus.subscribe(Paid, seen.append)
        bus.publish_nowait(Paid(number=1))
        seller = await system.spawn(Seller)
        bus.subscribe(Shipped, seller)
        await bus.publish(Shipped())
        bus.publish_nowait(Paid(number=3, source="the till", id="receipt-3"))
        await settle()
        again = bus.publish_nowait(seen[1])
    assert [event.sequence for event in seen] == [1, 3, 4, 5]
    assert {event.session_id for event in seen} == {"shop"}
    assert [event.source for event in seen] == [None, "/user/seller", "the till", "/user/seller"]
    assert seen[2].id == "receipt-3"
    assert again.id == seen[1].id
    assert again.sequence == 5
    assert len({event.id for event in seen}) == 3
    assert all(event.time > 0 for event in seen)
    assert again.time >= seen[1].time


async def test_an_event_is_frozen() -> None:
    event = Paid(number=1)
    with pytest.raises(ValueError, match="frozen"):
        event.number = 2


# Failures


async def test_a_callback_that_is_kept_is_logged_and_gets_the_next_event() -> None:
    recorder, seen = Recorder(), list[int]()
    resumed: list[tuple[str, str]] = []

    class Ear(Recorder):
        def actor_resumed(self, path: str, reason: Any, message_type: str) -> None:
            resumed.append((path, message_type))

    def fails(event: Paid) -> None:
        seen.append(event.number)
        raise ValueError(event.number)

    async def fails_late(event: Paid) -> None:
        await asyncio.sleep(0)
        fails(event)

    async with ActorSystem(instruments=[recorder, Ear()]) as system:
        bus = system.events
        kinds = [fails, fails_late, lambda event: fails_late(event)]
        subscriptions = [bus.subscribe(Paid, kind) for kind in kinds]
        for number in range(5):
            bus.publish_nowait(Paid(number=number))
        await settle()
        assert sorted(seen) == sorted([*range(5)] * 3)
        assert [each.failures for each in subscriptions] == [5, 5, 5]
        assert bus.statistics().failures == 15
        assert bus.subscriber_count() == 3
    assert sorted(resumed) == sorted((each.name, "Paid") for each in subscriptions for _ in range(5))
    assert recorder.of("actor_restarting") == recorder.of("actor_crashed") == []


async def test_a_predicate_that_fails_is_logged_too_and_says_no() -> None:
    resumed: list[tuple[str, str, str]] = []

    class Ear(Recorder):
        def actor_resumed(self, path: str, reason: Any, message_type: str) -> None:
            resumed.append((path, str(reason), message_type))

    def wrong(event: Any) -> bool:
        return bool(event.nummer)  # which is not there

    seen: list[Event] = []
    async with ActorSystem(instruments=[Ear()]) as system:
        subscription = system.events.subscribe(wrong, seen.append)
        await system.events.publish(Paid())
        assert subscription.failures == 1
        assert subscription.active
        # That of the runtime's own events failed too; nobody asked for those.
        mine = [entry for entry in resumed if entry[2] == "Paid"]
        assert mine == [
            ("/system/events/append", "crashed: AttributeError: 'Paid' object has no attribute 'nummer'", "Paid")
        ]
    assert seen == []


@pytest.mark.parametrize("kind", ["def", "async def", "returns an awaitable", "predicate"])
@pytest.mark.parametrize(
    "error", [ValueError("no"), asyncio.CancelledError(), SystemExit(1)], ids=lambda e: type(e).__name__
)
async def test_after_so_many_failures_a_callback_is_not_called_again(kind: str, error: BaseException) -> None:
    recorder, calls = Recorder(), list[int]()

    def fails(event: Any) -> Any:
        if type(event) is Paid:
            calls.append(event.number)
            if event.number != 1:
                raise error

    async def fails_late(event: Any) -> None:
        await asyncio.sleep(0)
        fails(event)

    async with ActorSystem(instruments=[recorder]) as system:
        bus = system.events
        if kind == "predicate":
            subscription = bus.subscribe(fails, nothing, on_error=3)
        else:
            kinds: dict[str, Any] = {
                "def": fails,
                "async def": fails_late,
                "returns an awaitable": lambda e: fails_late(e),
            }
            subscription = bus.subscribe(Paid, kinds[kind], on_error=3)
        for number in range(8):
            bus.publish_nowait(Paid(number=number))
        await settle()
        assert calls == [0, 1, 2, 3]
        assert subscription.failures == 3
        assert not subscription.active
        assert bus.subscriber_count() == 0
        assert system.find(subscription.name) is None
    lost = [letter[0].number for letter in recorder.letters]
    assert lost == ([] if kind == "predicate" else [4, 5, 6, 7])
    assert recorder.of("actor_restarting") == []


async def test_a_failure_can_be_that_of_an_actor_and_its_supervisor_decides() -> None:
    recorder = Recorder()

    def fails(event: Paid) -> None:
        raise ValueError(event.number)

    async with ActorSystem(instruments=[recorder]) as system:
        bus = system.events
        await system.spawn(supervisor("desk", child(Holder).options(name="clerk"), max_restarts=1))
        clerk = system.lookup("desk/clerk", Holder)
        subscription = bus.subscribe(Paid, fails, on_error=clerk)
        published = await bus.publish(Paid(number=1))
        assert isinstance(published.outcomes[0].error, ValueError)
        await settle()
        (crash,) = recorder.of("actor_crashed")
        assert crash[0] == "/user/desk/clerk"
        assert isinstance(crash[1], Crashed)
        assert isinstance(crash[1].error, ValueError)
        assert crash[2] == subscription.name
        assert [function.rpartition(".")[2] for _, _, function in crash[1].frames] == ["fails"]
        assert len(recorder.of("actor_restarting", "/user/desk/clerk")) == 1
        assert clerk.status == "running"
        assert subscription.active
        # One more is too much for the supervisor.
        bus.publish_nowait(Paid(number=2))
        await settle()
        assert [path for path, _ in recorder.of("gave_up")] == ["/user/desk"]
        # When it has gone, a failure is nobody's but the callback's.
        clerk.stop()
        system.lookup("desk").stop()
        await clerk.wait_stopped()
        assert statuses(await bus.publish(Paid(number=3))) == ["failed"]
        assert subscription.failures == 3
        assert bus.subscriber_count() == 1


async def test_a_failure_can_be_the_systems() -> None:
    def fails(event: Paid) -> None:
        raise ValueError("the end")

    class Root(Supervisor):
        max_restarts = 0

    async def run() -> None:
        async with ActorSystem(supervisor("root", child(Holder).options(name="holder"), max_restarts=0)) as system:
            system.events.subscribe(Paid, fails, on_error=system.lookup("root/holder"))
            await system.events.publish(Paid())
            await asyncio.sleep(math.inf)

    with pytest.raises(SystemCollapsed) as caught:
        await run()
    assert isinstance(caught.value.__cause__, ValueError)


async def test_a_failure_that_is_the_bus_actors_own_restarts_it_and_subscriptions_stand() -> None:
    recorder, seen = Recorder(), list[int]()

    async def fails(event: Paid) -> None:
        seen.append(event.number)
        if event.number == 0:
            raise ValueError("no")

    async with ActorSystem(instruments=[recorder]) as system:
        bus = system.events
        bus.subscribe(Paid, fails, on_error=bus.ref)
        for number in range(3):
            bus.publish_nowait(Paid(number=number))
        assert (await bus.publish(Paid(number=3))).handled
        assert seen == [0, 1, 2, 3]
        assert len(recorder.of("actor_restarting", "/system/events")) == 1
    assert recorder.letters == []


@pytest.mark.parametrize("kind", ["async def", "returns an awaitable"])
@pytest.mark.parametrize("end", ["close", "kill of the bus", "kill of the subscriber"])
async def test_a_callback_that_the_runtime_interrupts_has_not_failed(end: str, kind: str) -> None:
    recorder, gate = Recorder(), Gate()

    async def hangs(event: Paid) -> None:
        await gate.hold()

    async with ActorSystem(instruments=[recorder]) as system:
        bus = system.events
        holder = await system.spawn(Holder)
        counted = bus.subscribe(Paid, hangs if kind == "async def" else lambda event: hangs(event), on_error=1)
        told = bus.subscribe(Paid, hangs if kind != "async def" else partial(hangs), on_error=holder)
        bus.publish_nowait(Paid())
        await gate.reached(2)
        if end == "close":
            await bus.close(timeout=0.5)
        elif end == "kill of the bus":
            bus.ref.kill()
        else:
            for subscription in (counted, told):
                system.lookup(subscription.name).kill()
        await settle()
        assert (counted.failures, told.failures) == (0, 0)
        assert (counted.active, told.active) == ((False, False) if end == "close" else (True, True))
        assert recorder.of("actor_crashed") == []
        assert recorder.of("actor_restarting", holder.path) == []
    assert [(type(letter[0]), letter[1]) for letter in recorder.letters] == [(Paid, counted.name), (Paid, told.name)]


async def test_a_callback_that_refuses_to_be_interrupted_is_abandoned_and_holds_up_nobody() -> None:
    recorder, gate, seen = Recorder(), Gate(), list[str]()

    async def stubborn(event: Paid) -> None:
        while not gate.went:
            with contextlib.suppress(asyncio.CancelledError):
                await gate.hold()
        seen.append("stubborn")

    settings = Settings(shutdown=1.0)
    async with ActorSystem(instruments=[recorder], settings=settings) as system:
        bus = system.events
        bus.subscribe(Paid, stubborn, on_error=1)
        task = asyncio.create_task(bus.publish(Paid()))
        await gate.reached()
        began = running_loop().time()
        await bus.close(timeout=0.5)
        assert running_loop().time() - began == pytest.approx(0.5 + 1.0 + 1.0)
        assert statuses(await task) == ["failed"]
        assert len(recorder.of("abandoned")) == 1
        gate.open()
        await settle()
        assert seen == ["stubborn"]  # it goes on as a zombie, and nobody minds


async def test_an_interrupt_in_a_callback_is_an_orderly_end_of_the_system() -> None:
    def interrupts(event: Any) -> None:
        raise KeyboardInterrupt

    async def run(topic: Any) -> None:
        async with ActorSystem() as system:
            system.events.subscribe(topic, interrupts)
            system.events.publish_nowait(Paid())
            await asyncio.sleep(math.inf)

    for topic in (Paid, lambda event: type(event) is Paid and interrupts(event)):
        with pytest.raises(KeyboardInterrupt):
            await run(topic)


async def test_a_full_queue_can_be_the_end_of_the_subscribers_incarnation() -> None:
    recorder, gate, seen = Recorder(), Gate(), list[int]()
    slow = held_at(gate, seen)
    async with ActorSystem(instruments=[recorder]) as system:
        bus = system.events
        subscription = bus.subscribe(Paid, slow, mailbox=Mailbox(capacity=1, policy="stop"))
        bus.publish_nowait(Paid(number=0))
        await gate.reached()
        bus.publish_nowait(Paid(number=1))
        assert statuses(await bus.publish(Paid(number=2), timeout=1.0)) == ["refused"]
        gate.open()
        await settle()
        assert subscription.active
        assert subscription.refused == 1
        assert (await bus.publish(Paid(number=3))).handled
        assert seen == [0, 3]
    assert sorted(letter[0].number for letter in recorder.letters) == [1, 2]


async def test_what_is_thrown_away_to_make_room_is_counted_and_told_to_who_publishes() -> None:
    recorder, gate, seen = Recorder(), Gate(), list[int]()
    slow = held_at(gate, seen)
    async with ActorSystem(instruments=[recorder]) as system:
        bus = system.events
        subscription = bus.subscribe(Paid, slow, mailbox=Mailbox(capacity=2, policy="drop_old"))
        bus.publish_nowait(Paid(number=0))
        await gate.reached()
        publications = [asyncio.create_task(bus.publish(Paid(number=number))) for number in range(1, 5)]
        await settle()
        gate.open()
        assert [statuses(await each) for each in publications] == [["refused"], ["refused"], ["handled"], ["handled"]]
        assert subscription.refused == 2
        assert bus.statistics().refused == 2
    assert seen == [0, 3, 4]
    assert [letter[0].number for letter in recorder.letters] == [1, 2]


async def test_an_awaitable_that_is_to_be_awaited_next_is_not_thrown_away_for_a_newer_event() -> None:
    seen: list[int] = []

    async def later(event: Paid) -> None:
        await asyncio.sleep(0)
        seen.append(event.number)

    async with AsyncEventBus("next") as bus:
        bus.subscribe(Paid, lambda event: later(event), mailbox=Mailbox(capacity=1, policy="drop_old"))
        first = asyncio.create_task(bus.publish(Paid(number=0)))
        await asyncio.sleep(0)  # the callback has been called, and what it returned waits
        bus.publish_nowait(Paid(number=1))
        bus.publish_nowait(Paid(number=2))
        assert statuses(await first) == ["handled"]
        await settle()
    assert seen == [0, 2]


# The end


@pytest.mark.parametrize("drain", [True, False])
async def test_close_refuses_what_comes_and_handles_what_is_there_or_gives_it_back(drain: bool) -> None:
    recorder, gate, seen = Recorder(), Gate(), list[int]()
    slow = held_at(gate, seen)
    async with ActorSystem(instruments=[recorder]) as system:
        bus = system.events
        bus.subscribe(Paid, slow)
        publications = [asyncio.create_task(bus.publish(Paid(number=number))) for number in range(3)]
        await gate.reached()
        closing = asyncio.create_task(bus.close(drain=drain))
        await settle()
        assert bus.is_closing
        assert bus.subscriber_count() == 0
        with pytest.raises(ActorStopped):
            bus.publish_nowait(Paid(number=9))
        assert not closing.done()  # the one in hand is waited for either way
        gate.open()
        await closing
        expected = [["handled"], ["handled"], ["handled"]] if drain else [["handled"], ["failed"], ["failed"]]
        assert [statuses(await each) for each in publications] == expected
        assert seen == ([0, 1, 2] if drain else [0])
        await bus.close()
        assert system.find("/system/events") is not None
    assert [letter[0].number for letter in recorder.letters] == ([] if drain else [1, 2])


@pytest.mark.parametrize(
    ("drain", "timeout", "seconds"), [(True, 2.0, 7.0), (True, math.inf, None), (True, None, None), (False, 2.0, 5.0)]
)
async def test_a_callback_that_hangs_gets_the_time_to_drain_and_then_its_grace(
    drain: bool, timeout: float | None, seconds: float | None
) -> None:
    recorder, gate = Recorder(), Gate()

    async def hangs(event: Paid) -> None:
        await gate.hold()

    async with ActorSystem(instruments=[recorder]) as system:
        bus = system.events
        bus.subscribe(Paid, hangs)
        publications = [asyncio.create_task(bus.publish(Paid(number=number))) for number in range(2)]
        await gate.reached()
        began = running_loop().time()
        closing = asyncio.create_task(bus.close(drain=drain, timeout=timeout))
        if seconds is None:
            await asyncio.sleep(1000.0)
            assert not closing.done()
            gate.open()
            await closing
            assert [statuses(await each) for each in publications] == [["handled"], ["handled"]]
            return
        await closing
        assert running_loop().time() - began == pytest.approx(seconds)
        for publication in publications:
            (outcome,) = (await publication).outcomes
            assert outcome.status == "failed"
            assert isinstance(outcome.error, ActorStopped)
    assert sorted(letter[0].number for letter in recorder.letters) == [0, 1]


async def test_a_second_close_waits_as_well_and_may_be_less_patient() -> None:
    gate, seen = Gate(), list[int]()
    slow = held_at(gate, seen)
    async with ActorSystem() as system:
        bus = system.events
        bus.subscribe(Paid, slow)
        for number in range(3):
            bus.publish_nowait(Paid(number=number))
        await gate.reached()
        first = asyncio.create_task(bus.close(timeout=None))
        await settle()
        second = asyncio.create_task(bus.close(timeout=None))
        await settle()
        assert not second.done()
        third = asyncio.create_task(bus.close(drain=False))
        await settle()
        gate.open()
        await asyncio.wait([first, second, third])
        assert seen == [0]


@pytest.mark.parametrize("timeout", [0, -1.0, math.nan, "5", False])
async def test_a_close_with_a_bad_timeout_closes_nothing(timeout: Any) -> None:
    async with AsyncEventBus("bad") as bus:
        bus.subscribe(Paid, nothing)
        with pytest.raises(InvalidTimeout):
            await bus.close(timeout=timeout)
        assert not bus.is_closing
        assert bus.subscriber_count() == 1


async def test_a_close_that_is_cancelled_has_closed_the_bus_all_the_same() -> None:
    gate, seen = Gate(), list[int]()
    slow = held_at(gate, seen)
    async with ActorSystem() as system:
        bus = system.events
        bus.subscribe(Paid, slow)
        bus.publish_nowait(Paid(number=1))
        bus.publish_nowait(Paid(number=2))
        await gate.reached()
        closing = asyncio.create_task(bus.close())
        await settle()
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        assert bus.is_closing
        gate.open()
        await settle()
        assert seen == [1, 2]


async def test_two_callbacks_that_both_close_the_bus_do_not_wait_for_each_other() -> None:
    seen: list[str] = []

    async def closes(name: str, event: Paid) -> None:
        await settle()
        await bus.close()
        seen.append(name)

    async with ActorSystem() as system:
        bus = system.events
        for name in ("first", "second"):
            bus.subscribe(Paid, partial(closes, name))
        began = running_loop().time()
        assert statuses(await bus.publish(Paid())) == ["handled", "handled"]
        assert running_loop().time() - began < 1.0
    assert sorted(seen) == ["first", "second"]


async def test_one_whom_a_callback_waits_for_can_close_the_bus() -> None:
    class Janitor(Actor[Shipped]):
        @handler
        async def close(self, event: Shipped) -> None:
            await self.context.system.events.close()

    seen: list[str] = []
    async with ActorSystem() as system:
        bus = system.events
        janitor = await system.spawn(Janitor)

        async def asks(event: Paid) -> None:
            await janitor.ask(Shipped(), timeout=math.inf)
            seen.append("asked")

        bus.subscribe(Paid, asks)
        began = running_loop().time()
        assert (await bus.publish(Paid())).handled
        assert running_loop().time() - began < 1.0
    assert seen == ["asked"]


async def test_a_body_that_raises_does_not_wait_for_what_is_queued() -> None:
    seen: list[int] = []

    async def slow(event: Paid) -> None:
        await asyncio.sleep(1.0)
        seen.append(event.number)

    async def run() -> None:
        async with AsyncEventBus("raises") as bus:
            bus.subscribe(Paid, slow)
            for number in range(5):
                bus.publish_nowait(Paid(number=number))
            await asyncio.sleep(0.5)
            raise LookupError("body")

    began = running_loop().time()
    with pytest.raises(LookupError, match="body"):
        await run()
    assert seen == [0]
    assert running_loop().time() - began < 2.0


async def test_a_body_that_ends_lets_all_be_handled() -> None:
    seen: list[int] = []

    async def slow(event: Paid) -> None:
        await asyncio.sleep(0.1)
        seen.append(event.number)

    async with AsyncEventBus("ends") as bus:
        bus.subscribe(Paid, slow)
        for number in range(5):
            bus.publish_nowait(Paid(number=number))
    assert seen == [0, 1, 2, 3, 4]


async def test_a_system_that_is_left_lets_the_events_that_wait_be_handled_also_those_of_cancelled_subscriptions() -> (
    None
):
    recorder, seen = Recorder(), list[tuple[str, int]]()

    async def slow(name: str, event: Paid) -> None:
        await asyncio.sleep(0.1)
        seen.append((name, event.number))

    async with ActorSystem(instruments=[recorder]) as system:
        bus = system.events
        bus.subscribe(Paid, partial(slow, "stays"))
        with bus.subscribe(Paid, partial(slow, "cancelled")):
            for number in range(5):
                bus.publish_nowait(Paid(number=number))
    assert [number for name, number in seen if name == "stays"] == [0, 1, 2, 3, 4]
    assert [number for name, number in seen if name == "cancelled"] == [0, 1, 2, 3, 4]
    assert recorder.letters == []


async def test_a_system_ends_in_time_whatever_a_callback_does() -> None:
    recorder, gate = Recorder(), Gate()

    async def hangs(event: Paid) -> None:
        await gate.hold()

    settings = Settings(shutdown=2.0, shutdown_timeout=4.0)
    began = running_loop().time()
    async with ActorSystem(instruments=[recorder], settings=settings) as system:
        system.events.subscribe(Paid, hangs)
        for number in range(3):
            system.events.publish_nowait(Paid(number=number))
        await gate.reached()
    assert running_loop().time() - began < 6.0
    assert sorted(letter[0].number for letter in recorder.letters) == [0, 1, 2]


async def test_actors_can_publish_until_they_have_ended_and_are_heard() -> None:
    seen: list[str] = []

    class Last(Event):
        path: str

    class Leaving(Actor[Paid]):
        async def shutdown(self, reason: Any) -> None:
            published = await self.context.system.events.publish(Last(path=self.context.path))
            seen.extend(statuses(published))

        @handler
        def paid(self, event: Paid) -> None: ...

    async with ActorSystem() as system:
        system.events.subscribe(Last, lambda event: seen.append(event.path))
        await system.spawn(Leaving)
    assert seen == ["/user/leaving", "handled"]


async def test_the_bus_actor_gives_up_after_too_many_failures_which_closes_the_bus() -> None:
    recorder, gate = Recorder(), Gate()

    async def held(event: Paid) -> None:
        await gate.hold()

    async with ActorSystem(instruments=[recorder]) as system:
        bus = system.events
        subscription = bus.subscribe(Paid, held)
        stream = bus.stream(Paid)
        waiting = asyncio.create_task(bus.wait_for(Shipped))
        publications = [asyncio.create_task(bus.publish(Paid(number=number))) for number in range(6)]
        await gate.reached()
        for _ in range(4):
            bus.ref.kill()
            await settle()
        assert [path for path, _ in recorder.of("gave_up")] == ["/system/events"]
        (stopped,) = recorder.of("actor_stopped", "/system/events")
        assert stopped[1] == RestartsExceeded("/system/events", Killed(), 4, 5.0)
        assert bus.is_closing
        assert bus.subscriber_count() == 0
        assert not subscription.active
        with pytest.raises(ActorStopped):
            bus.publish_nowait(Paid())
        with pytest.raises(ActorStopped):
            await waiting
        assert [event.number async for event in stream] == [0, 1, 2, 3, 4, 5]
        # The four in hand, and those that still waited: none of them is waited for in vain.
        for publication in publications:
            outcomes = (await publication).outcomes
            assert [outcome.status for outcome in outcomes] == ["failed", "queued"]
            assert isinstance(outcomes[0].error, ActorStopped)
        await bus.close()
        assert system.events is bus
    assert len(recorder.letters) == 6


async def test_the_bus_actor_can_be_stopped_which_closes_the_bus() -> None:
    recorder, seen = Recorder(), list[int]()
    async with ActorSystem(instruments=[recorder]) as system:
        bus = system.events
        bus.subscribe(Paid, lambda event: seen.append(event.number))
        bus.publish_nowait(Paid(number=0))
        ref = bus.ref
        ref.stop()
        await ref.wait_stopped()
        assert bus.is_closing
        with pytest.raises(ActorStopped):
            bus.subscribe(Paid, nothing)
    assert len(seen) + len(recorder.letters) == 1


async def test_while_the_bus_actor_is_between_two_lives_events_wait_and_nobody_can_subscribe() -> None:
    gate, seen = Gate(), list[int]()

    async def held(event: Paid) -> None:
        seen.append(event.number)
        with contextlib.suppress(asyncio.CancelledError):
            await gate.hold()
        await asyncio.sleep(0.5)  # takes its time to go

    async with ActorSystem() as system:
        bus = system.events
        subscription = bus.subscribe(Paid, held)
        bus.publish_nowait(Paid(number=0))
        await gate.reached()
        bus.ref.kill()
        waiting = asyncio.create_task(bus.publish(Paid(number=1)))
        await settle()
        assert bus.ref.status == "stopping"
        with pytest.raises(ActorStopped, match="/system/events has stopped"):
            bus.subscribe(Paid, nothing)
        assert bus.subscriber_count() == 1
        assert seen == [0]
        gate.open()
        assert statuses(await waiting) == ["handled"]
        assert seen == [0, 1]
        assert subscription.active
        assert bus.subscribe(Paid, nothing).active


async def test_who_is_cancelled_while_the_bus_actor_is_down_handles_what_waits_and_goes() -> None:
    gate, seen = Gate(), list[int]()

    async def held(event: Paid) -> None:
        seen.append(event.number)
        if event.number == 0:
            with contextlib.suppress(asyncio.CancelledError):
                await gate.hold()
            await asyncio.sleep(0.5)

    def other(event: Paid) -> None:
        seen.append(10 + event.number)

    async with ActorSystem() as system:
        bus = system.events
        bus.subscribe(Paid, held)
        subscription = bus.subscribe(Paid, other)
        bus.publish_nowait(Paid(number=0))
        await gate.reached()
        bus.ref.kill()
        await settle()
        bus.publish_nowait(Paid(number=1))
        subscription.cancel()
        bus.publish_nowait(Paid(number=2))
        gate.open()
        await asyncio.sleep(2.0)
        assert sorted(seen) == [0, 1, 2, 10, 11]
        assert system.find(subscription.name) is None


# Nothing is left


async def test_cancelled_subscriptions_leave_nothing() -> None:
    async with ActorSystem() as system:
        bus = system.events
        ref = await system.spawn(Sink, [])
        cell = bus.ref._cell
        actors = system.statistics().actors
        references: list[weakref.ref[Any]] = []
        for topic in (Paid, "*", lambda event: True):
            for subscriber in (ref, lambda event: None):
                with bus.subscribe(topic, subscriber) as subscription:
                    await bus.publish(Paid())
                references.append(weakref.ref(subscription))
            with bus.stream(Paid):
                bus.publish_nowait(Paid())
            with contextlib.suppress(TimeoutError):
                await bus.wait_for(Shipped, timeout=0.1)
        del subscription, subscriber, topic
        await settle()
        assert bus.subscriber_count() == 0
        assert system.statistics().actors == actors
        assert cell.family is not None
        assert not cell.family.children
        assert not bus._table._by_key
        assert ref._cell.observers is None
        assert not any(
            tally.heard for kind, tally in system._running().instruments._tallies.items() if kind in _announced(bus)
        )
        gc.collect()
        assert [reference() for reference in references] == [None] * 6


def _announced(bus: AsyncEventBus) -> Any:
    assert bus._announcer is not None
    # Those to which the log listens as well are heard anyway.
    return {
        kind for kind in bus._announcer._wanted if kind.__name__ in ("actor_started", "actor_stopped", "system_phase")
    }


async def test_ten_thousand_subscriptions_one_after_another_need_no_more_memory_than_ten() -> None:
    class Forgetful(Actor[Event]):
        @handler
        def event(self, event: Event) -> None: ...

    async with ActorSystem() as system:
        bus = system.events
        ref = await system.spawn(Forgetful)

        async def cycle(count: int) -> int:
            """So many subscriptions, and how many objects there are after that."""
            for number in range(count):
                callback = [lambda event: None, partial(nothing)][number % 2]
                with bus.subscribe(Paid, callback), bus.subscribe("*", ref):
                    bus.publish_nowait(Shipped())
                if number % 50 == 49:
                    await settle()
            gc.collect()
            return len(gc.get_objects())

        before = await cycle(200)
        assert await cycle(10_000) - before < 100
        assert bus.subscriber_count() == 0


async def test_an_asker_hears_of_the_crash_and_the_bus_of_nothing() -> None:
    """An actor that is subscribed is an actor like any other."""

    class Careless(Actor[Paid]):
        @handler
        async def paid(self, event: Paid) -> None:
            raise ValueError("careless")

    async with ActorSystem() as system:
        ref = await system.spawn(Careless)
        subscription = system.events.subscribe(Paid, ref)
        published = await system.events.publish(Paid())
        assert isinstance(published.outcomes[0].error, ValueError)
        assert subscription.failures == 0
        with pytest.raises(ActorFailed):
            await ref.ask(Paid())
        assert system.events.subscriber_count() == 1
