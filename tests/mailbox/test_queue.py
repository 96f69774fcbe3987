"""The queue in one task: what goes in, what comes out, what is refused."""

from __future__ import annotations

import copy
import math
import pickle

import pytest

from understudy.exceptions import MailboxFull, UnderstudyError
from understudy.mailbox import AsyncMessageQueue, QueueClosed, QueueEmpty, QueueFull


def full_queue(*items: int) -> AsyncMessageQueue[int]:
    queue = AsyncMessageQueue[int](capacity=len(items))
    for item in items:
        queue.put_nowait(item)
    return queue


def test_items_leave_in_the_order_in_which_they_came() -> None:
    queue = full_queue(1, 2, 3)

    assert [queue.get_nowait() for _ in range(3)] == [1, 2, 3]
    assert queue.empty()


@pytest.mark.asyncio
async def test_put_and_get_do_not_suspend_when_they_need_not_wait() -> None:
    queue = AsyncMessageQueue[int](capacity=1)
    put, get = queue.put(1), queue.get()

    for step in (put, get):
        with pytest.raises(StopIteration) as end:
            step.send(None)

    assert end.value.value == 1


def test_the_capacity_is_ten_thousand_unless_given() -> None:
    assert AsyncMessageQueue[int]().capacity == 10_000


@pytest.mark.parametrize("capacity", [1, 7, math.inf, 10**30])
def test_a_capacity_is_a_whole_number_from_one_on_or_infinite(capacity: float) -> None:
    queue = AsyncMessageQueue[int](capacity)

    assert queue.capacity == capacity
    assert queue.offer(1)


@pytest.mark.parametrize("capacity", [0, -1, 2.0, 1.5, math.nan, -math.inf, True, "3", None])
def test_any_other_capacity_is_refused_with_a_sentence(capacity: object) -> None:
    with pytest.raises(ValueError, match=r"^capacity must be a whole number from 1 on, or math\.inf, got ") as caught:
        AsyncMessageQueue[int](capacity)  # type: ignore[arg-type]

    assert str(caught.value).endswith(repr(capacity))


def test_an_unlimited_queue_is_never_full() -> None:
    queue = AsyncMessageQueue[int](capacity=math.inf)

    assert all(queue.offer(number) for number in range(20_000))
    assert not queue.full()


def test_put_nowait_into_a_full_queue_raises_and_gives_the_item_back() -> None:
    queue = full_queue(1)

    with pytest.raises(MailboxFull, match=r"^the queue is full \(1\): use `await queue.put") as caught:
        queue.put_nowait(2)

    assert caught.value.message == 2
    assert caught.value.capacity == 1
    assert queue.clear() == [1]


def test_offer_says_no_to_a_full_and_to_a_closed_queue() -> None:
    queue = full_queue(1)
    assert not queue.offer(2)

    queue.get_nowait()
    queue.close()

    assert not queue.offer(3)
    assert queue.empty()
    assert queue.statistics().refused == 2


def test_get_nowait_from_an_empty_queue_raises() -> None:
    with pytest.raises(QueueEmpty, match=r"the queue is empty: use `await queue.get"):
        AsyncMessageQueue[int]().get_nowait()


@pytest.mark.parametrize("closed", [False, True])
def test_take_from_an_empty_queue_is_an_index_error(closed: bool) -> None:
    queue = AsyncMessageQueue[int]()
    if closed:
        queue.close()

    with pytest.raises(IndexError):
        queue.take()


def test_an_item_pushed_to_the_front_is_the_next_one() -> None:
    queue = full_queue(1, 2, 3)
    first, second = queue.take(), queue.take()

    queue.push_front(second)
    queue.push_front(first)

    assert queue.clear() == [1, 2, 3]


def test_pushing_to_the_front_needs_no_room_and_no_open_queue() -> None:
    queue = full_queue(1, 2)
    taken = queue.take()
    queue.put_nowait(3)
    queue.close()

    queue.push_front(taken)

    assert len(queue) == 3
    assert [queue.get_nowait() for _ in range(3)] == [1, 2, 3]


def test_pushing_to_the_front_undoes_a_take_in_the_counters() -> None:
    queue = full_queue(1, 2)

    queue.push_front(queue.take())

    statistics = queue.statistics()
    assert (statistics.total_in, statistics.total_out, statistics.size) == (2, 0, 2)


def test_a_full_queue_over_its_capacity_takes_nothing_more() -> None:
    queue = full_queue(1, 2)
    taken = queue.take()
    queue.put_nowait(3)
    queue.push_front(taken)

    queue.take()

    assert queue.full()
    assert not queue.offer(4)


def test_clear_returns_all_items_in_order() -> None:
    queue = full_queue(1, 2, 3)

    assert queue.clear() == [1, 2, 3]
    assert queue.clear() == []
    assert not queue.full()


def test_none_and_other_falsy_items_are_items() -> None:
    queue = AsyncMessageQueue[object]()
    for item in (None, 0, ()):
        queue.put_nowait(item)

    assert queue.close(drain=False) == [None, 0, ()]
    with pytest.raises(QueueClosed) as caught:
        queue.put_nowait(None)
    assert caught.value.operation == "put"


def test_a_closed_queue_gives_what_it_has_and_then_says_so() -> None:
    queue = full_queue(1, 2)

    assert queue.close() == []
    assert queue.closed
    assert [queue.get_nowait(), queue.get_nowait()] == [1, 2]
    with pytest.raises(QueueClosed, match=r"^the queue is closed and empty"):
        queue.get_nowait()


def test_a_closed_queue_refuses_a_put_and_gives_the_item_back() -> None:
    queue = AsyncMessageQueue[int]()
    queue.close()

    with pytest.raises(QueueClosed, match=r"^the queue is closed: put") as caught:
        queue.put_nowait(5)

    assert caught.value.message == 5


def test_closing_without_draining_returns_what_was_left() -> None:
    queue = full_queue(1, 2)

    assert queue.close(drain=False) == [1, 2]
    with pytest.raises(QueueClosed):
        queue.get_nowait()


def test_closing_again_does_no_harm_and_may_give_up_the_drain() -> None:
    queue = full_queue(1, 2)
    queue.close()
    queue.get_nowait()

    assert queue.close(drain=False) == [2]
    assert queue.close() == []
    assert queue.close(drain=False) == []


@pytest.mark.asyncio
async def test_put_into_and_get_from_a_closed_queue_raise_at_once() -> None:
    queue = AsyncMessageQueue[int]()
    queue.close()

    with pytest.raises(QueueClosed):
        await queue.put(1)
    with pytest.raises(QueueClosed):
        await queue.get()


@pytest.mark.asyncio
async def test_iterating_ends_when_the_queue_is_closed_and_empty() -> None:
    queue = full_queue(1, 2, 3)
    queue.close()

    assert [item async for item in queue] == [1, 2, 3]
    assert [item async for item in queue] == []


@pytest.mark.asyncio
async def test_leaving_the_context_closes_the_queue_and_keeps_its_items() -> None:
    async with AsyncMessageQueue[int]() as queue:
        await queue.put(1)

    assert queue.closed
    assert await queue.get() == 1


@pytest.mark.asyncio
async def test_leaving_the_context_by_an_error_closes_the_queue_and_lets_the_error_pass() -> None:
    queue = AsyncMessageQueue[int]()

    with pytest.raises(ZeroDivisionError):
        async with queue:
            raise ZeroDivisionError

    assert queue.closed


def test_statistics_count_what_came_went_and_was_refused() -> None:
    queue = full_queue(1, 2, 3)
    queue.get_nowait()
    queue.put_nowait(4)
    queue.offer(5)
    queue.take()
    queue.clear()
    queue.put_nowait(6)

    statistics = queue.statistics()

    assert (statistics.total_in, statistics.total_out, statistics.dropped, statistics.refused) == (5, 2, 2, 1)
    assert (statistics.size, statistics.capacity, statistics.high_water, statistics.closed) == (1, 3, 3, False)
    assert (statistics.putters_waiting, statistics.getters_waiting, statistics.handed_over) == (0, 0, 0)


def test_statistics_are_a_copy_that_cannot_be_changed() -> None:
    queue = full_queue(1)
    before = queue.statistics()
    queue.clear()

    assert before.size == 1
    with pytest.raises(AttributeError):
        before.size = 5  # type: ignore[misc]


@pytest.mark.parametrize("remove", ["take", "get_nowait", "clear", "close"])
def test_the_high_water_mark_is_the_largest_size_there_has_been(remove: str) -> None:
    queue = AsyncMessageQueue[int]()
    for round_, size in enumerate((2, 5, 3)):
        for number in range(size):
            queue.put_nowait(number)
        if remove == "close":
            queue.close(drain=False)
            assert queue.statistics().high_water == 2
            return
        while queue:
            getattr(queue, remove)()
        assert queue.statistics().high_water == (2, 5, 5)[round_]


def test_the_high_water_mark_includes_the_present() -> None:
    queue = AsyncMessageQueue[int]()
    queue.put_nowait(1)
    assert queue.statistics().high_water == 1

    queue.put_nowait(2)

    assert queue.statistics().high_water == 2


def test_a_queue_shows_how_full_it_is() -> None:
    queue = AsyncMessageQueue[int]()
    queue.put_nowait(1)
    assert repr(queue) == "<AsyncMessageQueue 1 of 10,000>"

    queue.close()

    assert repr(queue) == "<AsyncMessageQueue 1 of 10,000, closed>"


@pytest.mark.parametrize(
    "error", [QueueEmpty(), QueueFull(capacity=3, message="m"), QueueClosed(operation="put", message="m")], ids=repr
)
@pytest.mark.parametrize("remake", [copy.copy, lambda error: pickle.loads(pickle.dumps(error))], ids=["copy", "pickle"])
def test_errors_survive_copying_and_pickling(error: UnderstudyError, remake: object) -> None:
    again = remake(error)  # type: ignore[operator]

    assert type(again) is type(error)
    assert str(again) == str(error)
    assert vars(again) == vars(error)


@pytest.mark.parametrize(
    ("error", "facts"),
    [
        (QueueEmpty(selected=True), {"selected": True}),
        (QueueFull(capacity=3, message="much", size=4), {"size": 4}),
        (QueueClosed(operation="get", overflowed=True), {"overflowed": True}),
    ],
    ids=repr,
)
def test_facts_of_rare_cases_survive_copying_and_pickling_too(error: UnderstudyError, facts: dict[str, object]) -> None:
    for again in (error, copy.copy(error), pickle.loads(pickle.dumps(error))):
        assert {name: getattr(again, name) for name in facts} == facts
        assert str(again) == str(error)


@pytest.mark.parametrize(("waiting", "offered", "accepted"), [(0, 3, 3), (0, 4, 3), (2, 1, 1), (3, 2, 0), (1, 0, 0)])
def test_of_several_that_are_offered_those_are_accepted_that_find_room(
    waiting: int, offered: int, accepted: int
) -> None:
    queue = AsyncMessageQueue[int](3)
    for number in range(waiting):
        queue.put_nowait(number)
    assert queue.offer_each(range(waiting, waiting + offered)) == accepted
    assert queue.statistics().total_in == waiting + accepted
    assert [queue.get_nowait() for _ in range(len(queue))] == list(range(waiting + accepted))
