"""The queue among several tasks: who waits, who is served first, what a cancellation or a deadline may not break."""

from __future__ import annotations

import asyncio
import math
from typing import Any
from unittest import mock

import pytest

from tests.mailbox.stage import cancelled, outcome, settle, started
from understudy.exceptions import InvalidTimeout, MailboxFull
from understudy.mailbox import AsyncMessageQueue, QueueClosed, QueueEmpty, QueueFull

pytestmark = pytest.mark.asyncio

SOON = 0.02


def full_queue(*items: int) -> AsyncMessageQueue[int]:
    queue = AsyncMessageQueue[int](capacity=len(items))
    for item in items:
        queue.put_nowait(item)
    return queue


# Waiting for an item


async def test_getters_are_served_in_the_order_in_which_they_came() -> None:
    queue = AsyncMessageQueue[int]()
    getters = await started(*(queue.get() for _ in range(3)))

    for number in range(3):
        queue.put_nowait(number)

    assert await asyncio.gather(*getters) == [0, 1, 2]


async def test_an_item_handed_over_is_not_there_for_others() -> None:
    queue = AsyncMessageQueue[int](capacity=1)
    (getter,) = await started(queue.get())

    queue.put_nowait(1)

    assert len(queue) == 0
    assert queue.empty()
    assert queue.clear() == []
    with pytest.raises(QueueEmpty):
        queue.get_nowait()
    with pytest.raises(IndexError):
        queue.take()
    assert await getter == 1


async def test_an_item_handed_over_takes_no_room() -> None:
    queue = AsyncMessageQueue[int](capacity=1)
    getters = await started(queue.get(), queue.get())

    assert [queue.offer(number) for number in range(4)] == [True, True, True, False]
    assert await asyncio.gather(*getters) == [0, 1]
    assert queue.clear() == [2]


async def test_each_way_of_putting_wakes_a_getter() -> None:
    queue = AsyncMessageQueue[str]()
    getters = await started(*(queue.get() for _ in range(4)))

    queue.put_nowait("put_nowait")
    queue.offer("offer")
    await queue.put("put")
    queue.push_front("push_front")

    # What is pushed to the front is the next, even for a getter that was promised its item before.
    assert await asyncio.gather(*getters) == ["push_front", "put_nowait", "offer", "put"]


async def test_one_item_wakes_one_getter_and_no_herd() -> None:
    queue = AsyncMessageQueue[int]()
    getters = await started(*(queue.get() for _ in range(300)))
    loop = asyncio.get_running_loop()

    with mock.patch.object(loop, "call_soon", wraps=loop.call_soon) as call_soon:
        queue.put_nowait(1)

    assert call_soon.call_count == 1
    assert await getters[0] == 1
    assert queue.statistics().getters_waiting == 299
    await cancelled(*getters[1:])


# Waiting for room


async def test_putters_are_let_in_in_the_order_in_which_they_came() -> None:
    queue = full_queue(0)
    putters = await started(*(queue.put(number) for number in (1, 2, 3)))

    assert [await queue.get() for _ in range(4)] == [0, 1, 2, 3]
    await asyncio.gather(*putters)


@pytest.mark.parametrize("remove", ["take", "get_nowait", "clear"])
async def test_each_way_of_removing_lets_a_putter_in(remove: str) -> None:
    queue = full_queue(0)
    (putter,) = await started(queue.put(1))

    getattr(queue, remove)()

    await putter
    assert queue.clear() == [1]


async def test_a_put_nowait_never_overtakes_a_waiting_put() -> None:
    queue = full_queue(1, 2)
    (putter,) = await started(queue.put(3))
    queue.clear()

    # There is room for one more besides the waiting item, but it came later.
    assert queue.full()
    assert not queue.offer(4)
    with pytest.raises(MailboxFull):
        queue.put_nowait(4)
    await putter
    queue.put_nowait(4)

    assert queue.clear() == [3, 4]


async def test_a_put_never_overtakes_a_waiting_put() -> None:
    queue = full_queue(1, 2)
    (first,) = await started(queue.put(3))
    queue.clear()

    await queue.put(4)

    assert first.done()
    assert queue.clear() == [3, 4]


async def test_the_capacity_holds_with_many_waiting_putters() -> None:
    queue = AsyncMessageQueue[int](capacity=3)
    putters = await started(*(queue.put(number) for number in range(20)))

    for expected in range(20):
        assert len(queue) <= 3
        assert await queue.get() == expected
        await settle()

    await asyncio.gather(*putters)
    assert queue.statistics().high_water == 3


async def test_a_producer_and_a_consumer_pass_everything_through_a_queue_of_one() -> None:
    queue = AsyncMessageQueue[int](capacity=1)

    async def produce() -> None:
        async with queue:
            for number in range(1_000):
                await queue.put(number)

    (producer,) = await started(produce())

    assert [item async for item in queue] == list(range(1_000))
    await producer


# Cancellation


async def test_a_cancelled_getter_leaves_the_line() -> None:
    queue = AsyncMessageQueue[int]()
    first, second = await started(queue.get(), queue.get())

    await cancelled(first)
    queue.put_nowait(1)

    assert await second == 1
    assert queue.statistics().getters_waiting == 0


@pytest.mark.parametrize("interlude", ["nothing", "put", "putter", "close", "get by predicate", "cancel"])
async def test_what_comes_between_a_promise_and_its_use_changes_neither(interlude: str) -> None:
    queue = AsyncMessageQueue[int](capacity=2)
    getter, late = await started(queue.get(), queue.get())
    queue.put_nowait(1)

    others: list[asyncio.Task[Any]] = []
    if interlude == "put":
        queue.put_nowait(2)
        queue.put_nowait(3)
        queue.put_nowait(4)
        with pytest.raises(QueueFull):
            queue.put_nowait(5)
    elif interlude == "putter":
        others = [asyncio.ensure_future(queue.put(number)) for number in range(2, 7)]
    elif interlude == "close":
        queue.close()
    elif interlude == "get by predicate":
        with pytest.raises(QueueEmpty):
            queue.get_nowait(lambda _: True)
    elif interlude == "cancel":
        late.cancel()

    assert await getter == 1
    for other in others:
        other.cancel()
    if interlude in ("put", "putter"):
        assert await late == 2
    elif interlude == "close":
        assert await outcome(late) is QueueClosed
    else:
        late.cancel()
    await asyncio.wait([late, *others])
    assert queue.statistics().getters_waiting == queue.statistics().handed_over == 0
    left = queue.clear()
    if interlude != "close":
        for number in (1, 2):
            queue.put_nowait(number)
        with pytest.raises(QueueFull):
            queue.put_nowait(3)
        assert (await queue.get(), queue.get_nowait()) == (1, 2)
    statistics = queue.statistics()
    assert statistics.total_in == statistics.total_out + len(left)


async def test_cancelling_a_getter_wins_over_an_item_of_the_same_tick() -> None:
    queue = AsyncMessageQueue[int]()
    (getter,) = await started(queue.get())

    queue.put_nowait(1)
    await cancelled(getter)

    assert queue.clear() == [1]


async def test_a_getter_cancelled_before_the_item_of_the_same_tick_does_not_get_it() -> None:
    queue = AsyncMessageQueue[int]()
    (getter,) = await started(queue.get())

    getter.cancel()
    queue.put_nowait(1)

    assert queue.get_nowait() == 1
    await cancelled(getter)


@pytest.mark.parametrize("timeout", [None, 30.0, math.inf])
async def test_cancelling_a_getter_wins_with_a_timeout_too(timeout: float | None) -> None:
    queue = AsyncMessageQueue[int]()
    (getter,) = await started(queue.get(timeout=timeout))

    queue.put_nowait(1)
    await cancelled(getter)

    assert queue.clear() == [1]


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2), (0, 2), (2,), (1,), (0,)], ids=str)
async def test_cancelled_getters_give_their_items_back_to_the_front_in_order(order: tuple[int, ...]) -> None:
    queue = AsyncMessageQueue[int]()
    getters = await started(*(queue.get() for _ in range(3)))
    for number in range(5):
        queue.put_nowait(number)

    await cancelled(*(getters[index] for index in order))

    got = [await getter for index, getter in enumerate(getters) if index not in order]
    assert got + queue.clear() == [0, 1, 2, 3, 4]


async def test_a_cancelled_getters_item_goes_to_the_next_getter() -> None:
    queue = AsyncMessageQueue[int]()
    first, second, third = await started(queue.get(), queue.get(), queue.get())

    queue.put_nowait(1)
    queue.put_nowait(2)
    await cancelled(first)

    assert await second == 1
    assert await third == 2


async def test_items_given_back_may_exceed_the_capacity_and_close_the_door() -> None:
    queue = AsyncMessageQueue[int](capacity=1)
    (getter,) = await started(queue.get())
    queue.put_nowait(1)
    queue.put_nowait(2)

    await cancelled(getter)

    assert len(queue) == 2
    assert not queue.offer(3)
    queue.get_nowait()
    assert not queue.offer(3)
    queue.get_nowait()
    assert queue.offer(3)


async def test_a_cancelled_putter_has_put_nothing() -> None:
    queue = full_queue(0)
    first, second = await started(queue.put(1), queue.put(2))

    await cancelled(first)
    queue.get_nowait()
    await second

    assert queue.clear() == [2]


async def test_cancelling_a_putter_wins_over_room_of_the_same_tick_and_the_next_one_gets_it() -> None:
    queue = full_queue(0)
    first, second = await started(queue.put(1), queue.put(2))

    queue.get_nowait()
    await cancelled(first)
    await second

    assert queue.clear() == [2]
    assert queue.statistics().total_in == 2


async def test_a_putter_cancelled_with_its_room_leaves_the_room_to_a_put_nowait() -> None:
    queue = full_queue(0)
    (putter,) = await started(queue.put(1))

    queue.get_nowait()
    await cancelled(putter)

    queue.put_nowait(2)
    assert queue.clear() == [2]


async def test_a_waiting_coroutine_that_is_closed_leaves_the_line() -> None:
    queue = AsyncMessageQueue[int]()
    getter = queue.get()
    getter.send(None)

    queue.put_nowait(1)
    getter.close()

    assert queue.clear() == [1]
    assert queue.offer(2)
    assert queue.statistics().getters_waiting == 0


async def test_a_thousand_waiters_may_leave_from_anywhere() -> None:
    queue = AsyncMessageQueue[int]()
    getters = await started(*(queue.get() for _ in range(1_000)))

    await cancelled(*getters[1::2], *getters[-2:0:-2])
    queue.put_nowait(1)

    assert await getters[0] == 1


# Timeouts


@pytest.mark.parametrize("timeout", [-1, -0.5, math.nan, -math.inf, "1", True, [1]])
async def test_a_timeout_that_is_no_number_of_seconds_is_refused_before_anything_else(timeout: Any) -> None:
    queue = AsyncMessageQueue[int](capacity=1)

    with pytest.raises(InvalidTimeout, match=r"^timeout must be a number of seconds from 0 on"):
        await queue.put(1, timeout=timeout)
    assert queue.empty()
    queue.put_nowait(2)
    with pytest.raises(InvalidTimeout):
        await queue.get(timeout=timeout)
    assert queue.clear() == [2]


async def test_a_timeout_of_zero_does_not_wait() -> None:
    queue = AsyncMessageQueue[int](capacity=1)
    get, put = queue.get(timeout=0), queue.put(2, timeout=0)

    with pytest.raises(TimeoutError):
        get.send(None)
    await queue.put(1, timeout=0)
    with pytest.raises(TimeoutError):
        put.send(None)

    assert await queue.get(timeout=0) == 1
    assert queue.empty()


async def test_a_getter_gives_up_at_its_deadline() -> None:
    queue = AsyncMessageQueue[int]()
    loop = asyncio.get_running_loop()
    start = loop.time()

    with pytest.raises(TimeoutError, match=f"^no item in the queue within {SOON} s$"):
        await queue.get(timeout=SOON)

    assert loop.time() - start >= SOON * 0.9
    queue.put_nowait(1)
    assert queue.get_nowait() == 1


async def test_a_putter_gives_up_at_its_deadline_and_has_put_nothing() -> None:
    queue = full_queue(0)

    with pytest.raises(TimeoutError, match=rf"^no room in the queue within {SOON} s \(1 items\)$"):
        await queue.put(1, timeout=SOON)

    assert queue.clear() == [0]
    assert queue.statistics().refused == 1
    assert queue.offer(2)


async def test_an_expired_putter_does_not_block_those_behind_it() -> None:
    queue = full_queue(0)
    short, long = await started(outcome(queue.put(1, timeout=SOON)), outcome(queue.put(2)))

    assert await short is TimeoutError
    queue.get_nowait()
    await long

    assert queue.clear() == [2]


async def test_the_deadline_is_fixed_at_the_call_whatever_goes_by() -> None:
    queue = AsyncMessageQueue[int]()
    loop = asyncio.get_running_loop()
    hungry = await started(*(queue.get() for _ in range(5)))
    start = loop.time()
    (getter,) = await started(outcome(queue.get(timeout=SOON * 2)))

    for number in range(5):
        await asyncio.sleep(SOON / 4)
        queue.put_nowait(number)

    assert await getter is TimeoutError
    assert loop.time() - start < SOON * 20
    assert await asyncio.gather(*hungry) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("timeout", [None, math.inf, 10**400, 1e300])
async def test_waiting_without_limit_sets_no_timer(timeout: float | None) -> None:
    queue = AsyncMessageQueue[int]()
    timers = len(live_timers())
    (getter,) = await started(queue.get(timeout=timeout))

    assert len(live_timers()) == timers
    queue.put_nowait(1)
    assert await getter == 1


async def test_no_timer_is_left_however_a_wait_ends() -> None:
    queue = AsyncMessageQueue[int]()
    before = live_timers()
    served, dropped, closed = await started(*(outcome(queue.get(timeout=600)) for _ in range(3)))
    assert len(live_timers()) == len(before) + 3

    queue.put_nowait(1)
    await cancelled(dropped)
    queue.close()

    assert await served == 1
    assert await closed is QueueClosed
    assert live_timers() == before


def live_timers() -> list[asyncio.TimerHandle]:
    scheduled: list[asyncio.TimerHandle] = asyncio.get_running_loop()._scheduled  # type: ignore[attr-defined]
    return [timer for timer in scheduled if not timer.cancelled()]


# Closing


@pytest.mark.parametrize("drain", [True, False])
async def test_closing_wakes_all_getters_with_an_error_and_cancels_nobody(drain: bool) -> None:
    queue = AsyncMessageQueue[int]()
    getters = await started(*(outcome(queue.get()) for _ in range(3)))

    queue.close(drain=drain)

    assert await asyncio.gather(*getters) == [QueueClosed] * 3
    assert queue.statistics().getters_waiting == 0


@pytest.mark.parametrize("drain", [True, False])
async def test_closing_fails_waiting_putters_and_gives_their_items_back(drain: bool) -> None:
    queue = full_queue(0)
    putters = await started(queue.put(1), queue.put(2))

    left = queue.close(drain=drain)

    errors = await asyncio.gather(*putters, return_exceptions=True)
    assert [error.message for error in errors if isinstance(error, QueueClosed)] == [1, 2]
    assert left + queue.clear() == [0]


async def test_closing_in_the_tick_in_which_room_was_made_leaves_the_putter_outside() -> None:
    queue = full_queue(0)
    (putter,) = await started(outcome(queue.put(1)))

    queue.get_nowait()
    queue.close()

    assert await putter is QueueClosed
    assert queue.clear() == []


@pytest.mark.parametrize("drain", [True, False])
async def test_an_item_handed_over_before_closing_arrives(drain: bool) -> None:
    queue = AsyncMessageQueue[int]()
    (getter,) = await started(queue.get())
    queue.put_nowait(1)
    queue.put_nowait(2)

    assert queue.close(drain=drain) == ([] if drain else [2])

    assert await getter == 1


@pytest.mark.parametrize("drain", [True, False])
async def test_a_closed_queue_lets_getters_wait_for_an_item_that_may_come_back(drain: bool) -> None:
    queue = AsyncMessageQueue[int]()
    first, second, third = await started(queue.get(), queue.get(), outcome(queue.get()))
    queue.put_nowait(1)
    queue.close(drain=drain)
    with pytest.raises(QueueEmpty):
        queue.get_nowait()

    await cancelled(first)

    assert await second == 1
    assert await third is QueueClosed
    with pytest.raises(QueueClosed):
        queue.get_nowait()


async def test_getters_that_come_after_closing_drain_the_queue_and_never_spin() -> None:
    queue = full_queue(1, 2)
    queue.close()

    results = await asyncio.gather(*(outcome(queue.get(timeout=600)) for _ in range(4)))

    assert results == [1, 2, QueueClosed, QueueClosed]


async def test_a_closed_queue_is_no_timeout() -> None:
    queue = AsyncMessageQueue[int]()
    (getter,) = await started(outcome(queue.get(timeout=600)))

    queue.close()

    assert await getter is QueueClosed
    assert await outcome(queue.get(timeout=0)) is QueueClosed
    assert await outcome(queue.put(1, timeout=0)) is QueueClosed


async def test_several_consumers_iterate_until_the_queue_is_closed() -> None:
    queue = AsyncMessageQueue[int](capacity=2)

    async def consume() -> list[int]:
        return [item async for item in queue]

    consumers = await started(consume(), consume(), consume())
    for number in range(50):
        await queue.put(number)
    queue.close()

    shares = await asyncio.gather(*consumers)
    assert sorted(item for share in shares for item in share) == list(range(50))
    assert all(share == sorted(share) for share in shares)


# Statistics


async def test_statistics_show_who_waits_and_what_is_under_way() -> None:
    queue = AsyncMessageQueue[int](capacity=1)
    getters = await started(queue.get(), queue.get())
    assert queue.statistics().getters_waiting == 2

    queue.put_nowait(0)
    statistics = queue.statistics()
    assert (statistics.getters_waiting, statistics.handed_over, statistics.size) == (1, 1, 0)
    queue.put_nowait(1)
    await asyncio.gather(*getters)
    putters = await started(*(queue.put(number) for number in range(3)))

    assert queue.statistics().putters_waiting == 2
    await cancelled(*putters[1:])
    assert queue.statistics().putters_waiting == 0


async def test_an_item_handed_over_at_once_does_not_raise_the_high_water_mark() -> None:
    queue = AsyncMessageQueue[int]()
    (getter,) = await started(queue.get())

    queue.put_nowait(1)
    await getter

    statistics = queue.statistics()
    assert (statistics.high_water, statistics.total_in, statistics.total_out) == (0, 1, 1)


async def test_a_putter_that_was_promised_room_still_counts_as_waiting() -> None:
    queue = full_queue(0)
    (putter,) = await started(queue.put(1))

    queue.get_nowait()

    assert queue.statistics().putters_waiting == 1
    await putter
    assert queue.statistics().putters_waiting == 0
