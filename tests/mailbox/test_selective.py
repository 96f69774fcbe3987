"""Getting particular items: who is asked about what, how often, and what a cancellation may not break."""

from __future__ import annotations

import asyncio
import random
import weakref
from typing import Any

import pytest

from tests.mailbox.stage import Asked, cancelled, even, nothing, odd, outcome, settle, started
from understudy.exceptions import InvalidContext
from understudy.mailbox import AsyncMessageQueue, PriorityMessageQueue, QueueClosed, QueueEmpty

pytestmark = pytest.mark.asyncio


def tens(number: int) -> int:
    return number // 10


def filled(*numbers: int, **options: Any) -> AsyncMessageQueue[int]:
    queue = AsyncMessageQueue[int](**options)
    for number in numbers:
        queue.put_nowait(number)
    return queue


# At once


async def test_the_first_that_is_wanted_is_got_and_the_others_stay_in_order() -> None:
    queue = filled(1, 3, 4, 5, 6)

    assert await queue.get(even) == 4
    assert queue.get_nowait(even) == 6
    assert queue.clear() == [1, 3, 5]


async def test_a_get_by_key_looks_at_no_other_item() -> None:
    queue = filled(11, 21, 12, 22, key=tens)
    asked = Asked(lambda number: number == 22)

    assert queue.get_nowait(key=2) == 21
    assert await queue.get(asked, key=2) == 22
    assert asked.items == [22]
    assert queue.clear() == [11, 12]


async def test_a_key_may_be_asked_for_before_and_after_it_comes_and_again() -> None:
    queue = AsyncMessageQueue[int](key=tens)
    for round_ in range(3):
        (getter,) = await started(queue.get(key=4))
        queue.put_nowait(51)
        queue.put_nowait(40 + round_)
        assert await getter == 40 + round_
        assert queue.get_nowait(key=5) == 51
    assert queue.empty()


async def test_nothing_wanted_is_an_empty_queue_for_who_does_not_wait() -> None:
    queue = filled(1, 3)

    with pytest.raises(QueueEmpty, match=r"^nothing in the queue is what was asked for"):
        queue.get_nowait(even)
    with pytest.raises(TimeoutError):
        await queue.get(even, timeout=0)
    assert queue.clear() == [1, 3]


async def test_a_get_by_key_needs_a_queue_that_knows_keys() -> None:
    queue = filled(1)

    with pytest.raises(InvalidContext, match=r"get\(key=\.\.\.\) needs a queue made with key="):
        await queue.get(key=1)
    with pytest.raises(InvalidContext):
        queue.get_nowait(key=1)
    assert queue.get_nowait() == 1


async def test_an_item_whose_key_cannot_be_had_has_none_and_troubles_nobody() -> None:
    complaints: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context["exception"]))

    def key(item: Any) -> Any:
        if item == "raises":
            raise KeyError(item)
        return [] if item == "unhashable" else item

    queue = AsyncMessageQueue[Any](key=key)
    for item in ("raises", 7, "unhashable"):
        queue.put_nowait(item)

    assert queue.get_nowait(key=7) == 7
    assert [type(error) for error in complaints] == [KeyError, TypeError]
    queue.put_nowait("raises")
    assert queue.clear() == ["raises", "unhashable", "raises"]


# Waiting


async def test_who_waits_is_asked_once_about_each_item_and_the_rest_is_for_others() -> None:
    queue = filled(1, 3)
    asked = Asked(even)
    (getter,) = await started(queue.get(asked))
    for number in (5, 7, 8, 9, 10):
        queue.put_nowait(number)

    assert await getter == 8
    assert asked.items == [1, 3, 5, 7, 8]
    assert queue.clear() == [1, 3, 5, 7, 9, 10]


async def test_an_item_goes_to_the_first_who_wants_it_and_wakes_nobody_else() -> None:
    queue = AsyncMessageQueue[int]()
    asked = [Asked(lambda number, mine=mine: number == mine) for mine in (1, 2, 2, 3)]
    getters = await started(*(queue.get(each) for each in asked))

    queue.put_nowait(2)
    await settle()

    assert [getter.done() for getter in getters] == [False, True, False, False]
    assert [each.items for each in asked] == [[2], [2], [], []]
    await cancelled(getters[0], *getters[2:])


async def test_who_takes_anything_and_who_chooses_stand_in_one_line() -> None:
    queue = AsyncMessageQueue[int]()
    first, second, third, fourth = await started(queue.get(even), queue.get(), queue.get(even), queue.get())

    for number in (1, 2, 4, 6):
        queue.put_nowait(number)

    assert await second == 1
    assert await first == 2
    assert await third == 4
    assert await fourth == 6


async def test_who_waited_before_anybody_chose_is_still_served_first() -> None:
    queue = AsyncMessageQueue[int]()
    plain = await started(queue.get(), queue.get())
    queue.put_nowait(0)  # promised to the first, whose task has not run
    asked = Asked(even)
    chooser = asyncio.ensure_future(queue.get(asked))
    await settle()

    queue.put_nowait(2)
    queue.put_nowait(4)

    assert await asyncio.gather(*plain, chooser) == [0, 2, 4]
    assert asked.items == [4]


async def test_an_item_promised_before_somebody_chooses_is_not_shown_to_him() -> None:
    queue = AsyncMessageQueue[int]()
    (plain,) = await started(queue.get())
    queue.put_nowait(2)
    queue.put_nowait(3)

    with pytest.raises(QueueEmpty):
        queue.get_nowait(even)
    assert await plain == 2
    assert queue.get_nowait(odd) == 3


async def test_a_put_asks_only_those_whom_its_key_concerns() -> None:
    queue = AsyncMessageQueue[int](key=tens)
    others = [Asked(nothing) for _ in range(1_000)]
    getters = await started(*(queue.get(each, key=5 + number) for number, each in enumerate(others)))
    mine = Asked(even)
    (getter,) = await started(queue.get(mine, key=1))

    for number in (10, 20, 11):
        queue.put_nowait(number)

    assert await getter == 10
    assert mine.items == [10]
    assert not any(each.items for each in others)
    assert queue.clear() == [20, 11]
    await cancelled(*getters)


async def test_who_asks_by_key_and_who_asks_by_predicate_are_asked_in_the_order_in_which_they_came() -> None:
    queue = AsyncMessageQueue[int](key=tens)
    first, second, third, fourth = await started(queue.get(even), queue.get(key=1), queue.get(even), queue.get(key=1))

    for number in (10, 12, 14, 16):
        queue.put_nowait(number)

    assert await asyncio.gather(first, second, third, fourth) == [10, 12, 14, 16]


async def test_three_hundred_who_choose_are_asked_no_more_often_than_there_are_pairs() -> None:
    queue = AsyncMessageQueue[int]()
    asked = [Asked(lambda number, mine=mine: number == mine) for mine in range(300)]
    getters = await started(*(queue.get(each) for each in asked))

    for number in reversed(range(300)):
        queue.put_nowait(number)

    assert await asyncio.gather(*getters) == list(range(300))
    assert sum(len(each.items) for each in asked) == 300 * 301 // 2  # each about those that came before its own


async def test_the_deadline_is_fixed_at_the_call_whatever_is_refused() -> None:
    queue = AsyncMessageQueue[int]()
    loop = asyncio.get_running_loop()
    begin = loop.time()
    (getter,) = await started(outcome(queue.get(even, timeout=0.2)))
    for _ in range(3):
        await asyncio.sleep(0.05)
        queue.put_nowait(1)

    assert await getter is TimeoutError
    assert loop.time() - begin == pytest.approx(0.2)
    assert queue.clear() == [1, 1, 1]


# Predicates that go wrong


async def test_a_predicate_that_raises_fails_its_own_getter_and_nobody_else() -> None:
    queue = AsyncMessageQueue[int]()

    def bad(number: int) -> bool:
        raise ZeroDivisionError(number)

    before, failing, after = await started(queue.get(odd), outcome(queue.get(bad)), queue.get(even))

    queue.put_nowait(2)
    queue.put_nowait(3)

    assert await failing is ZeroDivisionError
    assert await asyncio.gather(before, after) == [3, 2]
    queue.put_nowait(4)
    with pytest.raises(ZeroDivisionError):
        await queue.get(bad)
    with pytest.raises(ZeroDivisionError):
        queue.get_nowait(bad)
    assert queue.clear() == [4]


async def test_an_answer_that_cannot_be_judged_counts_as_an_error_of_the_predicate() -> None:
    class Unsure:
        def __bool__(self) -> bool:
            raise ValueError("neither")

    queue = AsyncMessageQueue[int]()
    (getter,) = await started(outcome(queue.get(lambda _: Unsure())))

    queue.put_nowait(1)

    assert await getter is ValueError
    assert queue.clear() == [1]


async def test_a_predicate_that_uses_the_queue_loses_nothing() -> None:
    queue = filled(1, 2, 3, 4)

    def greedy(number: int) -> bool:
        taken.append(queue.get_nowait())
        return number == 2

    taken: list[int] = []
    with pytest.raises(QueueEmpty):
        queue.get_nowait(greedy)
    assert taken == [1, 2, 3, 4]

    def closing(_: int) -> bool:
        queue.close()
        return False

    (getter,) = await started(outcome(queue.get(closing)))
    queue.put_nowait(5)
    assert await getter is QueueClosed
    assert queue.get_nowait() == 5


# Cancellation


async def test_a_cancelled_choosers_item_goes_to_the_next_who_wants_it_and_has_not_been_asked() -> None:
    queue = AsyncMessageQueue[int]()
    before, after, last = Asked(odd), Asked(odd), Asked(even)
    refusing, victim, others, heir = await started(
        queue.get(before), queue.get(even), queue.get(after), queue.get(last)
    )

    queue.put_nowait(2)
    await cancelled(victim)

    assert await heir == 2
    assert (before.items, after.items, last.items) == ([2], [2], [2])
    await cancelled(refusing, others)


async def test_a_cancelled_choosers_item_goes_back_to_its_old_place() -> None:
    queue = filled(1, 3, key=tens)
    first, second = await started(queue.get(even), queue.get(key=0))
    assert await second == 1
    for number in (2, 5):
        queue.put_nowait(number)

    await cancelled(first)

    assert queue.peek() == 3
    assert queue.get_nowait(key=0) == 3
    assert [queue.get_nowait(key=0) for _ in range(2)] == [2, 5]


@pytest.mark.parametrize("seed", range(20))
async def test_any_number_of_cancelled_choosers_leave_the_order_as_it_was(seed: int) -> None:
    luck = random.Random(seed)
    queue = AsyncMessageQueue[int](key=tens)
    getters = await started(
        *(queue.get(even) if luck.random() < 0.5 else queue.get(key=luck.randrange(5)) for _ in range(30)),
        *(queue.get() for _ in range(3)),
    )
    for number in range(50):
        queue.put_nowait(number)
    victims = luck.sample(getters, 25)

    await cancelled(*victims)

    # The places of those that came back are given to others who wait, as long as there are any.
    await settle()
    got = [getter.result() for getter in getters if getter.done() and not getter.cancelled()]
    left = queue.clear()
    assert left == sorted(left)
    assert sorted([*got, *left]) == list(range(50))
    await cancelled(*(getter for getter in getters if not getter.done()), *await started(queue.get()))


async def test_cancelling_wins_over_an_item_of_the_same_tick_with_a_timeout_too() -> None:
    queue = AsyncMessageQueue[int]()
    (getter,) = await started(queue.get(even, timeout=60))

    queue.put_nowait(2)
    await cancelled(getter)

    assert queue.clear() == [2]


async def test_a_waiting_coroutine_that_is_closed_leaves_nothing_behind() -> None:
    queue = AsyncMessageQueue[int](key=tens)
    for getter in (queue.get(even, timeout=60), queue.get(key=0)):
        getter.send(None)
        queue.put_nowait(2)
        getter.close()
        assert queue.clear() == [2]
    assert queue.statistics().getters_waiting == 0


async def test_an_item_comes_to_who_waits_although_the_queue_is_full_of_others() -> None:
    queue = filled(1, 3, capacity=2)
    (getter,) = await started(queue.get(even))

    assert not queue.offer(5)
    assert queue.offer(6)

    assert await getter == 6
    asked = Asked(even)
    (getter,) = await started(queue.get(asked))
    (putter,) = await started(queue.put(7))
    assert queue.get_nowait() == 1
    await putter
    assert asked.items == [1, 3, 7], "what waited for room was shown twice"
    await cancelled(getter)
    assert queue.clear() == [3, 7]


# Closing


async def test_who_chooses_is_sent_away_when_nothing_can_come_any_more() -> None:
    queue = filled(1)
    waiting, promised = await started(outcome(queue.get(even)), queue.get(lambda number: number == 3))
    queue.put_nowait(3)

    queue.close()
    await settle()

    assert await promised == 3
    assert await waiting is QueueClosed
    with pytest.raises(QueueClosed, match="closed, and nothing in it is what was asked for"):
        queue.get_nowait(even)
    assert await outcome(queue.get(even)) is QueueClosed
    assert await queue.get(odd) == 1


async def test_what_a_cancelled_chooser_gives_back_to_a_closed_queue_is_for_who_still_waits() -> None:
    queue = AsyncMessageQueue[int]()
    first, second = await started(queue.get(even), queue.get(even))
    queue.put_nowait(2)
    queue.close()

    first.cancel()

    assert await second == 2
    assert await outcome(queue.get()) is QueueClosed


# What it costs


async def test_a_queue_is_a_bare_deque_again_when_what_was_chosen_from_is_gone() -> None:
    queue = filled(1, 2, 3, capacity=5)
    assert queue.get_nowait(even) == 2
    assert queue.append_below == 0
    queue.clear()

    assert queue.append_below == 5
    queue.items.append(4)
    assert queue.take() == 4
    (getter,) = await started(queue.get(odd))
    assert queue.append_below == 0
    await cancelled(getter)
    assert queue.append_below == 5


async def test_an_item_that_was_got_by_key_is_not_kept_until_a_garbage_collection() -> None:
    class Item:
        pass

    queue = AsyncMessageQueue[Item](key=type)
    queue.put_nowait(Item())
    item = weakref.ref(queue.get_nowait(key=Item))

    assert item() is None


@pytest.mark.parametrize("size", [100, 10_000])
async def test_getting_from_the_middle_by_key_takes_the_same_steps_in_a_long_queue(size: int) -> None:
    """Counted in calls of Python functions, which do not depend on the machine."""
    queue = AsyncMessageQueue[int](capacity=size + 1, key=lambda number: number)
    for number in range(size):
        queue.put_nowait(number)
    queue.get_nowait(key=0)

    calls = count_calls(lambda: queue.get_nowait(key=size // 2))
    calls += count_calls(lambda: queue.put_nowait(size))

    assert calls < 80


def count_calls(function: Any) -> int:
    import sys

    calls = 0

    def trace(_frame: Any, event: str, _arg: Any) -> None:
        nonlocal calls
        calls += event == "call"

    sys.setprofile(trace)
    try:
        function()
    finally:
        sys.setprofile(None)
    return calls


async def test_who_chooses_from_a_priority_queue_gets_the_most_urgent_that_is_wanted() -> None:
    queue = PriorityMessageQueue[int](priority=lambda number: -number, key=lambda number: number % 3)
    for number in (1, 8, 6, 4, 9, 2):
        queue.put_nowait(number)

    assert queue.get_nowait(key=0) == 9
    assert await queue.get(even) == 8
    assert queue.get_nowait(key=1) == 4
    assert queue.clear() == [6, 2, 1]
