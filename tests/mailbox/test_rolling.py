"""Bursts: when they are over, as a decision and in a queue."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.mailbox.stage import cancelled, outcome, settle, started
from understudy.exceptions import InvalidContext
from understudy.mailbox import AsyncMessageQueue, Burst, PriorityMessageQueue, QueueClosed, RollingBatch

# The decision


def arrivals(rule: RollingBatch, *times: float) -> Burst:
    burst = rule.begin()
    for time in times:
        burst.add("message", time)
    return burst


def test_a_burst_is_over_after_a_quiet_period() -> None:
    assert arrivals(RollingBatch(), 10.0).due == 10.5
    assert arrivals(RollingBatch(), 10.0, 10.2).due == 10.7
    assert arrivals(RollingBatch(quiet=1, cap=5), 10.0, 10.9, 11.8).due == 12.8


def test_a_burst_is_never_later_than_its_cap() -> None:
    times = [10 + 0.4 * number for number in range(10)]

    assert arrivals(RollingBatch(), *times).due == 12.0


def test_an_urgent_message_ends_the_burst_at_once_and_is_asked_about_once() -> None:
    asked: list[str] = []

    def urgent(message: str) -> bool:
        asked.append(message)
        return message == "!"

    burst = RollingBatch(urgent=urgent).begin()
    burst.add("a", 1.0)
    assert burst.due == 1.5
    burst.add("!", 1.1)
    burst.add("b", 1.2)

    assert burst.due == -math.inf
    assert asked == ["a", "!"]


def test_an_urgency_that_raises_counts_as_urgent() -> None:
    def urgent(_: object) -> bool:
        raise ZeroDivisionError

    burst = RollingBatch(urgent=urgent).begin()
    with pytest.raises(ZeroDivisionError):
        burst.add("a", 1.0)
    assert burst.due == -math.inf


def test_nothing_is_never_due_and_a_burst_can_be_ended_and_begun_again() -> None:
    burst = RollingBatch().begin()
    assert burst.due == math.inf
    burst.flush()
    assert burst.due == math.inf
    burst.add("a", 1.0)
    assert burst.due == -math.inf
    burst.clear()
    assert burst.due == math.inf
    burst.add("b", 5.0)
    assert burst.due == 5.5


@given(gaps=st.lists(st.floats(0, 3), min_size=1, max_size=20), quiet=st.floats(0.1, 2), more=st.floats(0, 5))
def test_due_is_within_quiet_of_the_last_and_cap_of_the_first(gaps: list[float], quiet: float, more: float) -> None:
    rule = RollingBatch(quiet=quiet, cap=quiet + more)
    burst, now, first = rule.begin(), 0.0, None
    for gap in gaps:
        now += gap
        first = now if first is None else first
        burst.add("message", now)
        assert burst.due <= now + rule.quiet
        assert burst.due <= first + rule.cap
        assert burst.due in (now + rule.quiet, first + rule.cap)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"quiet": 0}, "^quiet must be a positive number of seconds, got 0$"),
        ({"quiet": math.nan}, "^quiet must be a positive number of seconds, got nan$"),
        ({"quiet": True}, "^quiet must be"),
        ({"quiet": "1"}, "^quiet must be"),
        ({"cap": math.inf}, "^cap must be a positive number of seconds, got inf$"),
        ({"quiet": 3}, r"^quiet \(3 s\) must not be longer than cap \(2 s\)$"),
        ({"urgent": True}, "^urgent must be a function of a message, or None, got True$"),
    ],
)
def test_times_that_cannot_be_are_refused_by_name(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        RollingBatch(**options)


def test_a_rolling_batch_is_a_value() -> None:
    assert RollingBatch(quiet=1) == RollingBatch(quiet=1)
    assert hash(RollingBatch(quiet=1)) == hash(RollingBatch(quiet=1))
    with pytest.raises(AttributeError):
        RollingBatch().quiet = 3  # type: ignore[misc]


# In a queue


def rolling(capacity: float = 10_000, **options: Any) -> AsyncMessageQueue[Any]:
    return AsyncMessageQueue[Any](capacity, batch=RollingBatch(**options))


async def put_each(queue: AsyncMessageQueue[Any], pause: float, items: range | str) -> None:
    for item in items:
        await queue.put(item)
        await asyncio.sleep(pause)


@pytest.mark.asyncio
async def test_a_burst_is_got_after_the_quiet_period() -> None:
    queue, loop = rolling(), asyncio.get_running_loop()
    (getter,) = await started(queue.get_burst())
    await asyncio.sleep(100)
    begin = loop.time()
    (producer,) = await started(put_each(queue, 0.3, range(4)))

    assert await getter == [0, 1, 2, 3]
    assert loop.time() - begin == pytest.approx(0.9 + 0.5)
    await producer


@pytest.mark.asyncio
async def test_a_burst_that_does_not_end_is_got_at_its_cap_and_the_rest_is_the_next() -> None:
    queue, loop = rolling(), asyncio.get_running_loop()
    begin = loop.time()
    (producer,) = await started(put_each(queue, 0.35, range(8)))

    assert await queue.get_burst() == [0, 1, 2, 3, 4, 5]
    assert loop.time() - begin == pytest.approx(2.0)
    assert await queue.get_burst() == [6, 7]
    assert loop.time() - begin == pytest.approx(2.45 + 0.5)
    await producer


@pytest.mark.asyncio
async def test_an_urgent_message_is_not_kept_waiting() -> None:
    queue, loop = rolling(urgent=lambda item: item == "!"), asyncio.get_running_loop()
    (getter,) = await started(queue.get_burst())
    begin = loop.time()
    (producer,) = await started(put_each(queue, 0.1, "ab!c"))

    assert await getter == ["a", "b", "!"]
    assert loop.time() - begin == pytest.approx(0.2)
    await producer
    assert await queue.get_burst() == ["c"]


@pytest.mark.asyncio
async def test_what_came_while_nobody_waited_has_waited_already() -> None:
    queue, loop = rolling(), asyncio.get_running_loop()
    queue.put_nowait(1)
    await asyncio.sleep(0.4)
    begin = loop.time()
    assert await queue.get_burst() == [1]
    assert loop.time() - begin == pytest.approx(0.1)
    queue.put_nowait(2)
    await asyncio.sleep(60)
    with pytest.raises(StopIteration) as done:
        queue.get_burst().send(None)
    assert done.value.value == [2]


@pytest.mark.asyncio
async def test_a_full_queue_does_not_wait_for_quiet() -> None:
    queue, loop = rolling(capacity=3), asyncio.get_running_loop()
    (producer,) = await started(put_each(queue, 0, range(5)))
    begin = loop.time()

    assert await queue.get_burst() == [0, 1, 2]
    assert loop.time() == begin
    await producer
    assert await queue.get_burst() == [3, 4]


@pytest.mark.asyncio
async def test_closing_gives_out_what_is_there_at_once() -> None:
    queue, loop = rolling(), asyncio.get_running_loop()
    getters = await started(queue.get_burst(), outcome(queue.get_burst()))
    queue.put_nowait(1)
    queue.close()

    assert await asyncio.gather(*getters) == [[1], QueueClosed]
    assert loop.time() < 0.1
    assert await outcome(queue.get_burst()) is QueueClosed


@pytest.mark.asyncio
async def test_a_timeout_leaves_the_burst_as_it_is() -> None:
    queue, loop = rolling(), asyncio.get_running_loop()
    assert await outcome(queue.get_burst(timeout=1)) is TimeoutError
    assert loop.time() == pytest.approx(1)
    queue.put_nowait(1)
    assert await outcome(queue.get_burst(timeout=0.2)) is TimeoutError
    assert await outcome(queue.get_burst(timeout=0)) is TimeoutError
    assert await queue.get_burst(timeout=10) == [1]
    assert loop.time() == pytest.approx(1.5)


@pytest.mark.asyncio
async def test_a_cancelled_one_leaves_the_burst_to_the_next() -> None:
    queue = rolling()
    first, second = await started(queue.get_burst(), queue.get_burst())
    queue.put_nowait(1)
    await asyncio.sleep(0.1)
    await cancelled(first)
    assert await second == [1]

    first, second = await started(queue.get_burst(), queue.get_burst())
    queue.put_nowait(2)
    queue.flush_burst()  # the first has it, and is cancelled in that tick
    await cancelled(first)
    assert await second == [2]


@pytest.mark.asyncio
async def test_bursts_go_to_those_who_wait_in_turn() -> None:
    queue = rolling()
    first, second = await started(queue.get_burst(), queue.get_burst())
    queue.put_nowait(1)
    assert await first == [1]
    await asyncio.sleep(10)
    assert not second.done()
    queue.put_nowait(2)
    assert await second == [2]


@pytest.mark.asyncio
async def test_what_others_take_is_missing_and_who_waited_for_it_waits_on() -> None:
    queue = rolling()
    (getter,) = await started(queue.get_burst())
    queue.put_nowait(1)
    assert queue.get_nowait() == 1
    await asyncio.sleep(10)
    assert not getter.done()
    queue.put_nowait(2)
    queue.flush_burst()
    assert queue.get_nowait() == 2  # in the tick in which the burst was over
    await settle()
    assert not getter.done()
    queue.put_nowait(3)
    assert await getter == [3]


@pytest.mark.asyncio
async def test_what_a_cancelled_getter_gives_back_is_part_of_the_burst() -> None:
    queue = rolling()
    (single,) = await started(queue.get())
    queue.put_nowait(1)
    single.cancel()
    assert await queue.get_burst() == [1]


@pytest.mark.asyncio
async def test_who_waits_for_a_burst_is_seen_and_no_timer_is_left() -> None:
    queue = rolling()
    (getter,) = await started(queue.get_burst())
    queue.put_nowait(1)
    assert queue.statistics().getters_waiting == 1
    assert queue.statistics().size == 1
    await cancelled(getter)
    assert queue.statistics().getters_waiting == 0


@pytest.mark.asyncio
async def test_an_urgency_that_raises_is_reported_and_the_item_is_in() -> None:
    told: list[BaseException] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context["exception"]))

    def urgent(_: object) -> bool:
        raise ZeroDivisionError

    queue = rolling(urgent=urgent)
    assert queue.put_nowait(1)
    assert await queue.get_burst(timeout=0.1) == [1]
    assert [type(error) for error in told] == [ZeroDivisionError]


@pytest.mark.asyncio
async def test_the_runtime_asks_when_a_burst_is_due_and_takes_it() -> None:
    queue, loop = rolling(capacity=3), asyncio.get_running_loop()
    assert queue.burst_due() == math.inf
    queue.offer(1)
    assert queue.burst_due() == loop.time() + 0.5
    queue.offer(2)
    queue.flush_burst()
    assert queue.burst_due() == -math.inf
    assert queue.take_burst() == [1, 2]
    assert queue.burst_due() == math.inf
    for item in range(3):
        queue.offer(item)
    assert queue.burst_due() == -math.inf, "it is full"
    assert queue.take_burst() == [0, 1, 2]
    assert AsyncMessageQueue[int]().burst_due() == math.inf


@pytest.mark.asyncio
async def test_a_burst_of_a_priority_queue_is_in_the_order_of_urgency() -> None:
    queue = PriorityMessageQueue[int](priority=lambda number: -number, batch=RollingBatch())
    for number in (1, 3, 2):
        queue.put_nowait(number)
    assert await queue.get_burst() == [3, 2, 1]


@pytest.mark.asyncio
async def test_a_queue_without_a_rule_has_no_bursts() -> None:
    with pytest.raises(InvalidContext, match="get_burst needs a queue made with batch="):
        await AsyncMessageQueue[int]().get_burst()
