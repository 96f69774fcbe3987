"""Waiting until all is done, looking without taking, taking out from anywhere, and what statistics say of it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.mailbox.stage import cancelled, even, odd, outcome, settle, started
from understudy.exceptions import InvalidTimeout
from understudy.mailbox import AsyncMessageQueue, PriorityMessageQueue, QueueEmpty

pytestmark = pytest.mark.asyncio


def filled(*numbers: int, selective: bool = False, **options: Any) -> AsyncMessageQueue[int]:
    queue = AsyncMessageQueue[int](**options)
    for number in numbers:
        queue.put_nowait(number)
    if selective:
        queue.put_nowait(-1)
        assert queue.get_nowait(lambda number: number < 0) == -1
    return queue


both = pytest.mark.parametrize("selective", [False, True])


@both
async def test_looking_takes_nothing(selective: bool) -> None:
    queue = filled(1, 2, 3, selective=selective)

    assert queue.peek() == 1
    assert queue.peek(even) == 2
    assert queue.contents() == [1, 2, 3]
    with pytest.raises(QueueEmpty):
        queue.peek(lambda number: number > 3)
    assert queue.clear() == [1, 2, 3]
    with pytest.raises(QueueEmpty, match="the queue is empty"):
        queue.peek()


async def test_what_is_promised_is_not_seen_and_not_removed() -> None:
    queue = AsyncMessageQueue[int]()
    (getter,) = await started(queue.get())
    queue.put_nowait(1)
    queue.put_nowait(3)

    assert queue.peek() == 3
    assert queue.contents() == [3]
    assert queue.remove(odd) == [3]
    assert await getter == 1


@both
async def test_removing_takes_all_that_are_like_that_and_leaves_the_order(selective: bool) -> None:
    queue = filled(1, 2, 3, 4, 5, selective=selective)

    assert queue.remove(even) == [2, 4]
    assert queue.remove(even) == []
    assert queue.statistics().dropped_by == {"remove": 2}
    assert queue.clear() == [1, 3, 5]


@both
async def test_removing_lets_a_putter_in(selective: bool) -> None:
    queue = filled(1, 2, capacity=2)
    if selective:
        assert queue.get_nowait(even) == 2
        queue.put_nowait(2)
    (putter,) = await started(queue.put(3))

    queue.remove(even)

    await putter
    assert queue.clear() == [1, 3]


@both
async def test_a_predicate_that_raises_removes_nothing(selective: bool) -> None:
    queue = filled(2, 0, 4, selective=selective)
    for look in (queue.remove, queue.peek):
        with pytest.raises(ZeroDivisionError):
            look(lambda number: 1 / number > 5)
    assert queue.clear() == [2, 0, 4]


# Join


async def test_join_waits_until_each_item_that_was_got_is_done() -> None:
    queue = filled(1, 2)
    (join,) = await started(queue.join())
    for _ in range(2):
        await settle()
        assert not join.done()
        queue.get_nowait()
        queue.task_done()
    await join
    with pytest.raises(StopIteration):
        queue.join().send(None)


async def test_an_empty_queue_whose_items_are_still_worked_on_is_not_done() -> None:
    queue = filled(1, 2, 3)
    await queue.get_batch(3)
    joins = await started(queue.join(), queue.join())
    assert queue.statistics().unfinished == 3
    queue.task_done(2)
    await settle()
    assert not any(join.done() for join in joins)
    queue.task_done()
    await asyncio.gather(*joins)


@pytest.mark.parametrize("loss", ["clear", "remove", "close", "drop_old"])
async def test_what_is_lost_needs_no_work(loss: str) -> None:
    queue = filled(1, capacity=1, policy="drop_old")
    (join,) = await started(queue.join())
    if loss == "drop_old":
        queue.put_nowait(2)
        await settle()
        assert not join.done()
        queue.clear()
    elif loss == "remove":
        queue.remove(odd)
    elif loss == "close":
        queue.close(drain=False)
    else:
        queue.clear()
    await join


async def test_what_is_set_aside_is_not_done() -> None:
    queue = filled(1)
    (batch,) = await started(queue.get_batch(2, min_items=2))
    (join,) = await started(queue.join())
    queue.put_nowait(2)
    assert await batch == [1, 2]
    await settle()
    assert not join.done()
    queue.task_done(2)
    await join


async def test_more_done_than_was_got_is_an_error() -> None:
    queue = filled(1, 2)
    with pytest.raises(ValueError, match=r"^task_done\(1\) is too much: 0 items were got, 0 are done$"):
        queue.task_done()
    queue.get_nowait()
    queue.task_done()
    for count in (1, 0, -1):
        with pytest.raises(ValueError, match="is too much: 1 items were got, 1 are done"):
            queue.task_done(count)


async def test_join_gives_up_in_time_and_can_be_cancelled() -> None:
    queue = filled(1)
    assert await outcome(queue.join(timeout=0)) is TimeoutError
    with pytest.raises(TimeoutError, match="1 items of the queue were not dealt with within 2 s"):
        await queue.join(timeout=2)
    with pytest.raises(InvalidTimeout):
        await queue.join(timeout=-1)
    (join,) = await started(queue.join())
    await cancelled(join)
    queue.get_nowait()
    queue.task_done()
    await queue.join(timeout=0)


# Statistics


async def test_the_oldest_age_is_that_of_the_oldest_that_can_be_got() -> None:
    queue = AsyncMessageQueue[int](track_age=True)
    assert queue.statistics().oldest_age is None
    queue.put_nowait(1)
    await asyncio.sleep(3)
    queue.put_nowait(2)
    assert queue.statistics().oldest_age == pytest.approx(3)
    queue.get_nowait()
    assert queue.statistics().oldest_age == pytest.approx(0)
    assert filled(1).statistics().oldest_age is None


async def test_the_oldest_in_a_priority_queue_need_not_be_the_first() -> None:
    queue = PriorityMessageQueue[int](priority=lambda number: number, track_age=True)
    queue.put_nowait(5)
    await asyncio.sleep(3)
    queue.put_nowait(1)
    assert queue.peek() == 1
    assert queue.statistics().oldest_age == pytest.approx(3)


async def test_statistics_know_what_is_waited_for_and_what_was_lost_by_reason() -> None:
    queue = filled(1, 3, capacity=3, policy="drop_old")
    (chooser,) = await started(queue.get(even))
    for number in (5, 7, 8, 9):
        queue.put_nowait(number)
    statistics = queue.statistics()
    assert (statistics.size, statistics.handed_over, statistics.getters_waiting) == (3, 1, 0)
    assert statistics.dropped_by == {"drop_old": 2}
    assert await chooser == 8
    queue.close(drain=False)
    assert queue.statistics().dropped_by == {"drop_old": 2, "close": 3}
    assert queue.statistics().dropped == 5
    assert statistics.dropped_by == {"drop_old": 2}, "a copy changes with its queue"


async def test_the_high_water_mark_is_the_same_on_a_shelf() -> None:
    queue = filled(1, 2, 3)
    queue.get_nowait(even)
    for number in range(4, 10):
        queue.put_nowait(number)
    for _ in range(5):
        queue.get_nowait(lambda _: True)
    assert queue.statistics().high_water == 8
