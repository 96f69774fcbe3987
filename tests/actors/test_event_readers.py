"""``wait_for`` and ``stream``: who takes events himself, when he likes."""

from __future__ import annotations

import asyncio
import gc
import math
from typing import Any

import pytest

from tests.cast import settle
from understudy import ActorStopped, ActorSystem, InvalidTimeout
from understudy.environment import running_loop
from understudy.events import AsyncEventBus, Event
from understudy.exceptions import InvalidSubscription

pytestmark = pytest.mark.asyncio


class Paid(Event):
    number: int = 0


class PaidLate(Paid): ...


class Shipped(Event): ...


# wait_for


async def test_wait_for_gives_the_next_event_of_the_topic_for_which_the_predicate_says_yes() -> None:
    async with AsyncEventBus("wait") as bus:
        bus.publish_nowait(Paid(number=5))  # before anybody waits
        plain = asyncio.create_task(bus.wait_for(Paid))
        picky = asyncio.create_task(bus.wait_for(Paid, lambda event: event.number > 2, timeout=9.0))
        await settle()
        assert bus.subscriber_count() == 2
        for event in (Shipped(), PaidLate(number=1), Paid(number=2), Paid(number=3), Paid(number=4)):
            bus.publish_nowait(event)
        assert bus.subscriber_count() == 0
        first = await plain
        assert (type(first), first.number) == (PaidLate, 1)
        assert (await picky).number == 3


async def test_wait_for_says_what_has_not_come_in_time_and_leaves_nothing() -> None:
    async with AsyncEventBus("late") as bus:
        began = running_loop().time()
        with pytest.raises(TimeoutError) as caught:
            await bus.wait_for(Paid, timeout=1.5)
        assert str(caught.value) == "no Paid within 1.5 s"
        assert running_loop().time() - began == pytest.approx(1.5)
        assert bus.subscriber_count() == 0


async def test_an_event_that_comes_in_the_very_moment_in_which_the_time_is_up_counts() -> None:
    async with AsyncEventBus("moment") as bus:
        task = asyncio.create_task(bus.wait_for(Paid, timeout=1.0))
        await settle()
        # Timers of the same time fire in one turn of the loop, in the order in which they were set.
        running_loop().call_at(running_loop().time() - 0.001 + 1.0, bus.publish_nowait, Paid(number=7))
        done = (await asyncio.gather(task, return_exceptions=True))[0]
        # It was in time, or it was late; never an error without a word.
        assert str(done) == "no Paid within 1 s" or (isinstance(done, Paid) and done.number == 7)
        assert bus.subscriber_count() == 0


@pytest.mark.parametrize("timeout", [0, -1, math.nan, "1", True])
async def test_wait_for_refuses_a_bad_timeout(timeout: Any) -> None:
    async with AsyncEventBus("bad") as bus:
        with pytest.raises(InvalidTimeout):
            await bus.wait_for(Paid, timeout=timeout)
        assert bus.subscriber_count() == 0


async def test_wait_for_can_wait_for_ever_and_can_be_cancelled() -> None:
    async with AsyncEventBus("ever") as bus:
        for timeout in (None, math.inf):
            task = asyncio.create_task(bus.wait_for(Paid, timeout=timeout))
            await asyncio.sleep(1e6)
            assert not task.done()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert bus.subscriber_count() == 0


@pytest.mark.parametrize("error", [ValueError("no"), TimeoutError("mine")], ids=lambda error: type(error).__name__)
async def test_an_error_of_the_predicate_is_for_who_waits_and_for_nobody_else(error: Exception) -> None:
    seen: list[int] = []

    def fails(event: Paid) -> bool:
        raise error

    async with AsyncEventBus("fails") as bus:
        task = asyncio.create_task(bus.wait_for(Paid, fails, timeout=5.0))
        await settle()
        bus.subscribe(Paid, lambda event: seen.append(event.number))
        published = await bus.publish(Paid(number=1))
        assert [outcome.status for outcome in published.outcomes] == ["queued", "handled"]
        with pytest.raises(type(error)) as caught:
            await task
        assert caught.value is error
        assert seen == [1]
        assert bus.subscriber_count() == 1


@pytest.mark.parametrize(
    "error", [StopIteration(), asyncio.CancelledError(), SystemExit(2), GeneratorExit()], ids=lambda e: type(e).__name__
)
async def test_what_would_be_taken_for_something_else_comes_as_the_cause_of_an_error(error: BaseException) -> None:
    def fails(event: Paid) -> bool:
        raise error

    async with AsyncEventBus("odd") as bus:
        task = asyncio.create_task(bus.wait_for(Paid, fails))
        await settle()
        bus.publish_nowait(Paid())
        with pytest.raises(RuntimeError) as caught:
            await task
        assert str(caught.value) == f"the predicate of wait_for(Paid) raised {type(error).__name__}"
        assert caught.value.__cause__ is error


@pytest.mark.parametrize("how", ["close", "system"])
async def test_who_waits_hears_that_the_bus_is_closed(how: str) -> None:
    async with ActorSystem() as system:
        bus = system.events
        task = asyncio.create_task(bus.wait_for(Paid))
        await settle()
        if how == "close":
            await bus.close()
            with pytest.raises(ActorStopped, match="the event bus is closed"):
                await task
    if how == "system":
        with pytest.raises(ActorStopped, match="the event bus is closed"):
            await task


@pytest.mark.parametrize("topic", ["*", lambda event: True, int, "Paid", None])
async def test_readers_take_a_class_of_events(topic: Any) -> None:
    async with AsyncEventBus("topics") as bus:
        with pytest.raises(InvalidSubscription, match="topic must be a"):
            await bus.wait_for(topic)
        with pytest.raises(InvalidSubscription, match="topic must be a"):
            bus.stream(topic)
        assert bus.subscriber_count() == 0


# stream


async def test_a_stream_gives_all_events_of_its_topic_in_order_and_ends_with_the_bus() -> None:
    read: list[int] = []
    async with AsyncEventBus("stream") as bus:
        with bus.stream(Paid) as stream:
            for number in range(5):
                bus.publish_nowait(Paid(number=number) if number % 2 else PaidLate(number=number))
                bus.publish_nowait(Shipped())
            async for event in stream:
                read.append(event.number)
                if event.number == 2:
                    bus.publish_nowait(Paid(number=5))
                if event.number == 5:
                    await bus.close()
    assert read == [0, 1, 2, 3, 4, 5]
    with pytest.raises(StopAsyncIteration):
        await anext(stream)


async def test_what_is_not_taken_in_time_waits_up_to_the_size_of_the_mailbox() -> None:
    async with AsyncEventBus("small") as bus:
        with bus.stream(Paid, mailbox=3) as stream:
            published = [bus.publish_nowait(Paid(number=number)) for number in range(5)]
            last = await bus.publish(Paid(number=5))
            assert [outcome.status for outcome in last.outcomes] == ["refused"]
            assert stream.refused == 3
            assert [await anext(stream) for _ in range(3)] == published[:3]
            bus.publish_nowait(Paid(number=6))
            assert (await anext(stream)).number == 6


@pytest.mark.parametrize("mailbox", [0, -1, 1.5, "3", True, None])
async def test_the_mailbox_of_a_stream_is_a_capacity(mailbox: Any) -> None:
    async with AsyncEventBus("capacity") as bus:
        with pytest.raises(InvalidSubscription) as caught:
            bus.stream(Paid, mailbox=mailbox)
        assert (
            str(caught.value) == f"mailbox must be a capacity (a whole number from 1 on, or math.inf), got {mailbox!r}"
        )
        with pytest.raises(InvalidSubscription, match="after must be the number of an event that was published"):
            bus.stream(Paid, after=1)
        assert bus.subscriber_count() == 0


async def test_a_stream_that_is_cancelled_can_be_read_to_its_end() -> None:
    async with AsyncEventBus("cancelled") as bus:
        stream = bus.stream(Paid)
        assert repr(stream) == "<EventStream of Paid>"
        for number in range(3):
            bus.publish_nowait(Paid(number=number))
        stream.cancel()
        stream.cancel()
        bus.publish_nowait(Paid(number=3))
        assert [event.number async for event in stream] == [0, 1, 2]
        assert repr(stream) == "<EventStream of Paid, cancelled>"
        assert bus.subscriber_count() == 0


async def test_leaving_the_loop_leaves_nothing_behind() -> None:
    async with AsyncEventBus("break") as bus:
        asyncio.get_running_loop().call_later(0.1, bus.publish_nowait, Paid(number=1))
        async for event in bus.stream(Paid):
            assert event.number == 1
            break
        assert bus.subscriber_count() == 0

        async def read() -> None:
            async for _ in bus.stream(Paid):
                raise LookupError

        asyncio.get_running_loop().call_later(0.1, bus.publish_nowait, Paid())
        with pytest.raises(LookupError):
            await read()
        gc.collect()
        assert bus.subscriber_count() == 0

        async def wait() -> None:
            async for _ in bus.stream(Paid):
                pass

        task = asyncio.create_task(wait())
        await settle()
        assert bus.subscriber_count() == 1
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        del task
        await settle()  # the event loop knows its last step for one turn more
        gc.collect()
        assert bus.subscriber_count() == 0

        stream = bus.stream(Paid)
        bus.publish_nowait(Paid())
        del stream
        assert bus.subscriber_count() == 0


async def test_a_stream_that_is_dropped_in_another_thread_is_cancelled_in_the_loop() -> None:
    async with AsyncEventBus("thread") as bus:
        holder = [bus.stream(Paid)]
        await asyncio.to_thread(holder.clear)
        await settle()
        assert bus.subscriber_count() == 0


async def test_a_stream_may_outlive_its_bus() -> None:
    async with AsyncEventBus("outlived") as bus:
        stream = bus.stream(Paid)
        bus.publish_nowait(Paid(number=1))
    assert [event.number async for event in stream] == [1]
    del stream
