"""Several items at once: how many, how long to wait for them, and that it is all of them or none."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.mailbox.stage import Asked, cancelled, even, odd, outcome, settle, started
from understudy.exceptions import InvalidTimeout
from understudy.mailbox import AsyncMessageQueue, QueueClosed

pytestmark = pytest.mark.asyncio


def filled(*numbers: int, **options: Any) -> AsyncMessageQueue[int]:
    queue = AsyncMessageQueue[int](**options)
    for number in numbers:
        queue.put_nowait(number)
    return queue


async def test_a_batch_is_what_is_there_and_no_more_than_was_asked_for() -> None:
    queue = filled(1, 2, 3, 4, 5)

    assert await queue.get_batch(3) == [1, 2, 3]
    assert await queue.get_batch(3) == [4, 5]
    assert queue.statistics().total_out == 5


async def test_a_batch_waits_for_its_first_item_and_takes_what_came_with_it() -> None:
    queue = AsyncMessageQueue[int]()
    (getter,) = await started(queue.get_batch(3))

    for number in range(5):
        queue.put_nowait(number)

    assert await getter == [0, 1, 2]
    assert queue.clear() == [3, 4]
    assert queue.append_below == queue.capacity, "no shelf was needed for it"


async def test_a_batch_waits_until_there_are_enough() -> None:
    queue = filled(1)
    (getter,) = await started(queue.get_batch(5, min_items=3))

    queue.put_nowait(2)
    await settle()
    assert not getter.done()
    queue.put_nowait(3)
    queue.put_nowait(4)

    assert await getter == [1, 2, 3]
    assert queue.clear() == [4]


async def test_a_batch_lingers_for_more_and_no_longer() -> None:
    queue = AsyncMessageQueue[int]()
    loop = asyncio.get_running_loop()
    (getter,) = await started(queue.get_batch(10, min_items=2, linger=0.5))
    await asyncio.sleep(5)
    begin = loop.time()
    for number in range(8):
        queue.put_nowait(number)
        await asyncio.sleep(0.2)

    # From the second item, at 0.2, on.
    assert await getter == [0, 1, 2, 3]
    assert queue.clear() == [4, 5, 6, 7]
    (getter,) = await started(queue.get_batch(2, linger=60))
    begin = loop.time()
    queue.put_nowait(1)
    queue.put_nowait(2)
    assert await getter == [1, 2]
    assert loop.time() == begin, "it waited although it was full"


async def test_a_batch_that_lingers_takes_what_is_there_into_account() -> None:
    queue = filled(1, 2)
    loop = asyncio.get_running_loop()
    begin = loop.time()

    assert await queue.get_batch(10, linger=0.5) == [1, 2]
    assert loop.time() - begin == pytest.approx(0.5)


async def test_a_batch_of_what_is_wanted_leaves_the_rest() -> None:
    queue = filled(1, 2, 3)
    asked = Asked(even)
    (getter,) = await started(queue.get_batch(3, min_items=3, predicate=asked))

    for number in range(4, 10):
        queue.put_nowait(number)

    assert await getter == [2, 4, 6]
    assert asked.items == [1, 2, 3, 4, 5, 6]
    assert queue.clear() == [1, 3, 5, 7, 8, 9]


async def test_too_few_in_time_is_a_timeout_and_they_stay_in_order() -> None:
    queue = filled(1, 2)
    loop = asyncio.get_running_loop()
    begin = loop.time()
    (getter,) = await started(outcome(queue.get_batch(5, min_items=3, timeout=1)))
    assert len(queue) == 0
    assert queue.statistics().handed_over == 2

    assert await getter is TimeoutError
    assert loop.time() - begin == pytest.approx(1)
    queue.put_nowait(3)
    assert queue.clear() == [1, 2, 3]


async def test_the_timeout_cuts_the_linger_and_keeps_what_is_enough() -> None:
    queue = AsyncMessageQueue[int]()
    loop = asyncio.get_running_loop()
    begin = loop.time()
    (getter,) = await started(queue.get_batch(5, linger=10, timeout=1))
    queue.put_nowait(1)

    assert await getter == [1]
    assert loop.time() - begin == pytest.approx(1)


async def test_a_timeout_of_zero_takes_what_is_enough_and_does_not_wait() -> None:
    queue = filled(1, 2)
    for batch in (queue.get_batch(5, min_items=3, timeout=0), queue.get_batch(5, predicate=lambda _: False, timeout=0)):
        with pytest.raises(TimeoutError):
            batch.send(None)
    with pytest.raises(StopIteration) as done:
        queue.get_batch(5, min_items=2, linger=60, timeout=0).send(None)
    assert done.value.value == [1, 2]
    with pytest.raises(TimeoutError):
        queue.get_batch(5, timeout=0).send(None)


@pytest.mark.parametrize("end", ["cancel", "close"])
@pytest.mark.parametrize("complete", [False, True])
async def test_a_batch_that_comes_to_nothing_leaves_everything_where_it_was(end: str, complete: bool) -> None:
    queue = filled(1, 2, 3)
    batch = queue.get_batch(9, min_items=3, predicate=even, linger=60, timeout=60)
    task = None
    if end == "cancel":
        (task,) = await started(batch)
    else:
        batch.send(None)
    for number in (4, 5, 6)[: 3 if complete else 2]:
        queue.put_nowait(number)

    if task is not None:
        await cancelled(task)
    else:
        batch.close()

    statistics = queue.statistics()
    assert (statistics.total_out, statistics.handed_over, statistics.getters_waiting) == (0, 0, 0)
    assert queue.clear() == ([1, 2, 3, 4, 5, 6] if complete else [1, 2, 3, 4, 5])


async def test_cancelling_wins_over_the_item_that_completes_a_batch_in_the_same_tick() -> None:
    queue = filled(1)
    (task,) = await started(queue.get_batch(9, min_items=2))

    queue.put_nowait(2)
    await cancelled(task)

    assert queue.clear() == [1, 2]


async def test_a_predicate_that_raises_in_a_batch_loses_nothing() -> None:
    queue = filled(2, 4)

    def unless_six(number: int) -> bool:
        if number == 6:
            raise ValueError(number)
        return even(number)

    (getter,) = await started(outcome(queue.get_batch(9, min_items=5, predicate=unless_six)))
    for number in (1, 6, 8):
        queue.put_nowait(number)

    assert await getter is ValueError
    with pytest.raises(ValueError, match="6"):
        await queue.get_batch(9, predicate=unless_six)
    assert queue.clear() == [2, 4, 1, 6, 8]


async def test_what_a_batch_gives_up_goes_to_those_who_wait_behind_it() -> None:
    queue = filled(1, 2)
    batch, one, other = await started(outcome(queue.get_batch(9, min_items=3, timeout=1)), queue.get(), queue.get(even))

    assert await batch is TimeoutError

    assert await asyncio.gather(one, other) == [1, 2]


async def test_what_is_set_aside_takes_no_room_so_that_a_large_batch_comes_together() -> None:
    queue = AsyncMessageQueue[int](capacity=2)
    (batch,) = await started(queue.get_batch(10, min_items=10))
    (producer,) = await started(put_all(queue, 14))

    assert await batch == list(range(10))
    assert await queue.get_batch(10) == [10, 11]
    assert await queue.get_batch(10, min_items=2) == [12, 13]
    await producer


async def put_all(queue: AsyncMessageQueue[int], count: int) -> None:
    for number in range(count):
        await queue.put(number)


async def test_a_closed_queue_gives_a_batch_the_rest_and_then_says_so() -> None:
    queue = filled(1, 2)
    (waiting,) = await started(queue.get_batch(9, min_items=5))
    others = await started(outcome(queue.get_batch(9, min_items=2)), outcome(queue.get_batch(3)))

    queue.close()

    assert await waiting == [1, 2]
    assert await asyncio.gather(*others) == [QueueClosed] * 2
    queue = filled(1, 2, 3)
    queue.close()
    assert await queue.get_batch(9, min_items=9, predicate=odd) == [1, 3]
    assert await outcome(queue.get_batch(9, min_items=9, predicate=odd)) is QueueClosed
    assert await queue.get_batch(9) == [2]
    assert await outcome(queue.get_batch(9)) is QueueClosed


async def test_who_waits_for_a_batch_is_seen() -> None:
    queue = AsyncMessageQueue[int]()
    batches = await started(queue.get_batch(3), queue.get_batch(3, min_items=2), queue.get_batch(3, predicate=even))

    assert queue.statistics().getters_waiting == 3

    await cancelled(*batches)
    assert queue.statistics().getters_waiting == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"max_items": 0}, "max_items must be a whole number from 1 on, got 0"),
        ({"max_items": True}, "max_items must be a whole number from 1 on, got True"),
        ({"max_items": 2.0}, "max_items must be a whole number from 1 on, got 2.0"),
        ({"max_items": 2, "min_items": 0}, "min_items must be a whole number from 1 on, got 0"),
        ({"max_items": 2, "min_items": 3}, r"min_items \(3\) must not be more than max_items \(2\)"),
    ],
)
async def test_a_count_that_cannot_be_is_refused(arguments: dict[str, Any], words: str) -> None:
    queue = filled(1)
    with pytest.raises(ValueError, match=f"^{words}$"):
        await queue.get_batch(**arguments)
    with pytest.raises(InvalidTimeout):
        await queue.get_batch(1, linger=-1)
    with pytest.raises(InvalidTimeout):
        await queue.get_batch(1, timeout=-1)
    assert queue.clear() == [1]
