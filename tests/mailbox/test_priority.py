"""The most urgent first, and first in, first out among equals."""

from __future__ import annotations

import asyncio
import inspect
import random
from typing import Any

import pytest

from tests.mailbox.stage import cancelled, outcome, settle, started
from understudy.mailbox import AsyncMessageQueue, PriorityMessageQueue, QueueClosed

pytestmark = pytest.mark.asyncio


class Alarm(str):
    __slots__ = ()


class Order(str):
    __slots__ = ()


class Rumour(str):
    __slots__ = ()


def by_type() -> PriorityMessageQueue[str]:
    return PriorityMessageQueue[str](levels=(Alarm, (Order, bytes)))


def by_tens(capacity: float = 10_000) -> PriorityMessageQueue[int]:
    return PriorityMessageQueue[int](capacity, priority=lambda number: number // 10)


async def test_levels_are_types_and_what_is_none_of_them_comes_last() -> None:
    queue = by_type()
    for item in (Rumour("r1"), Order("o1"), Alarm("a1"), Rumour("r2"), Order("o2"), Alarm("a2"), b"o3"):
        queue.put_nowait(item)  # type: ignore[arg-type]

    assert [queue.get_nowait() for _ in range(7)] == ["a1", "a2", "o1", "o2", b"o3", "r1", "r2"]


async def test_equals_leave_in_the_order_in_which_they_came() -> None:
    queue = by_tens()
    luck = random.Random(3)
    numbers = [luck.randrange(50) for _ in range(500)]
    for number in numbers:
        queue.put_nowait(number)

    assert queue.clear() == sorted(numbers, key=lambda number: number // 10)


async def test_a_more_urgent_one_overtakes_at_any_time() -> None:
    queue = by_tens()
    for number in (20, 10, 21):
        queue.put_nowait(number)
    assert await queue.get() == 10
    queue.put_nowait(5)
    assert await queue.get() == 5
    queue.put_nowait(11)
    assert await queue.get_batch(3) == [11, 20, 21]


async def test_what_is_given_back_stands_in_front_of_its_equals_and_behind_the_more_urgent() -> None:
    queue = by_tens()
    for number in (10, 11):
        queue.put_nowait(number)
    taken = queue.take()
    queue.put_nowait(1)

    queue.push_front(taken)

    assert queue.clear() == [1, 10, 11]


async def test_who_waits_gets_what_comes_and_a_cancelled_one_gives_it_back_to_its_place() -> None:
    queue = by_tens()
    first, second = await started(queue.get(), queue.get())
    for number in (30, 20, 10, 31):
        queue.put_nowait(number)
    first.cancel()

    assert await second == 10
    assert queue.clear() == [20, 30, 31]


async def test_who_waited_gets_the_most_urgent_that_is_there_when_it_runs() -> None:
    queue = by_tens()
    (getter,) = await started(queue.get())
    queue.put_nowait(30)
    queue.put_nowait(1)

    assert await getter == 1
    assert queue.get_nowait() == 30


async def test_who_does_not_wait_gets_the_most_urgent_too_and_who_waited_gets_one() -> None:
    queue = by_tens()
    (getter,) = await started(queue.get())
    for number in (1, 30):
        queue.put_nowait(number)
    assert len(queue) == 1

    assert queue.get_nowait() == 1
    assert len(queue) == 0
    assert await getter == 30


async def test_urgency_is_asked_once_as_the_item_comes() -> None:
    asked: list[int] = []

    def priority(number: int) -> int:
        asked.append(number)
        return number

    queue = PriorityMessageQueue[int](priority=priority)
    for number in (3, 1, 2):
        queue.put_nowait(number)
    (getter,) = await started(queue.get(lambda number: number > 5))
    queue.put_nowait(7)
    await getter
    queue.clear()

    assert asked == [3, 1, 2, 7]


async def test_age_may_count_so_that_nothing_waits_for_ever() -> None:
    now = 0.0
    queue = PriorityMessageQueue[Any](priority=lambda item: now + 10 * item[0])
    queue.put_nowait((2, "old and slow"))
    for second in range(40):
        now = float(second)
        queue.put_nowait((0, f"urgent {second}"))

    order = [text for _, text in queue.clear()]

    assert order.index("old and slow") == 20


@pytest.mark.parametrize("bad", ["raises", "not comparable", "not a number", "not hashable"])
async def test_an_item_whose_urgency_cannot_be_had_is_not_put(bad: str) -> None:
    def priority(item: Any) -> Any:
        if item == "raises":
            raise ZeroDivisionError
        return {"not comparable": "text", "not a number": float("nan"), "not hashable": []}.get(item, item)

    queue = PriorityMessageQueue[Any](3, priority=priority)
    for number in (3, 1):
        queue.put_nowait(number)

    for put in (queue.put_nowait, queue.offer, lambda item: queue.put(item).send(None)):
        with pytest.raises((ZeroDivisionError, TypeError, ValueError)):
            put(bad)

    queue.put_nowait(2)
    assert queue.statistics().total_in == 3
    assert queue.clear() == [1, 2, 3]


async def test_many_levels_that_come_and_go_leave_nothing_behind() -> None:
    queue = PriorityMessageQueue[float](priority=lambda number: number, key=lambda number: number)
    queue.put_nowait(-1)  # stays on top
    for number in range(5_000):
        queue.put_nowait(number)
        assert queue.get_nowait(key=number) == number

    ranks: Any = queue.items
    assert len(ranks._nodes.rings) < 100
    assert len(ranks._nodes._heap) < 100
    assert queue.clear() == [-1]


async def test_it_waits_closes_and_counts_like_any_queue() -> None:
    queue = by_tens(capacity=2)
    putters = await started(queue.put(30), queue.put(20), queue.put(10), outcome(queue.put(1, timeout=1)))
    assert queue.statistics().putters_waiting == 2
    assert await putters[3] is TimeoutError

    got: list[int] = []
    for _ in range(3):
        got.append(await queue.get())
        await settle()
    assert got == [20, 10, 30]
    (getter,) = await started(outcome(queue.get()))
    async with queue:
        pass
    assert await getter is QueueClosed
    statistics = queue.statistics()
    assert (statistics.total_in, statistics.total_out, statistics.high_water) == (3, 3, 2)
    assert repr(queue) == "<PriorityMessageQueue 0 of 2, closed>"


async def test_it_has_the_whole_interface_of_the_plain_one() -> None:
    plain = {name for name, _ in inspect.getmembers(AsyncMessageQueue) if not name.startswith("_")}
    own = {name for name in vars(PriorityMessageQueue) if not name.startswith("_")}

    assert own == set(), "a method of its own could differ"
    assert plain <= set(dir(PriorityMessageQueue))
    options = set(inspect.signature(AsyncMessageQueue.__init__).parameters) - {"rules"}
    assert options <= set(inspect.signature(PriorityMessageQueue.__init__).parameters)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "either levels= or priority="),
        ({"levels": (int,), "priority": len}, "either levels= or priority="),
        ({"levels": ()}, "levels must be types, .* got none"),
        ({"levels": (int, "str")}, "levels must be types, .* got 'str'"),
        ({"levels": (int, ())}, r"levels must be types, .* got \(\)"),
        ({"priority": len, "capacity": 0}, "capacity must be"),
        ({"priority": len, "policy": "drop"}, "policy must be"),
        ({"priority": len, "low": 3}, "low"),
    ],
)
async def test_options_that_cannot_be_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        PriorityMessageQueue[Any](**options)


async def test_cancelled_getters_of_a_priority_queue_lose_nothing() -> None:
    queue = by_tens()
    getters = await started(*(queue.get() for _ in range(10)))
    for number in (30, 10, 20, 11, 31, 21):
        queue.put_nowait(number)

    await cancelled(*getters)

    assert queue.clear() == [10, 11, 20, 21, 30, 31]
    assert asyncio.all_tasks() == {asyncio.current_task()}
