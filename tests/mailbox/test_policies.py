"""What a full queue does, by policy and by weight, and who hears of it."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import pytest

from tests.mailbox.stage import even, outcome, started
from understudy.exceptions import MailboxFull
from understudy.mailbox import AsyncMessageQueue, PriorityMessageQueue, QueueClosed, QueueFull

pytestmark = pytest.mark.asyncio

Drops = list[tuple[Any, str]]


def full(policy: Any, *numbers: int, **options: Any) -> tuple[AsyncMessageQueue[int], Drops]:
    """A queue that is full with those, and the list of what it drops."""
    drops: Drops = []
    queue = AsyncMessageQueue[int](
        len(numbers), policy=policy, on_drop=lambda item, reason: drops.append((item, reason)), **options
    )
    for number in numbers:
        assert queue.put_nowait(number)
    return queue, drops


# The table, row by row: offer, put_nowait, put.


async def test_block_refuses_who_does_not_wait() -> None:
    queue, drops = full("block", 1, 2)

    assert queue.offer(3) is False
    with pytest.raises(QueueFull) as caught:
        queue.put_nowait(4)
    assert await outcome(queue.put(5, timeout=1)) is TimeoutError

    assert caught.value.message == 4
    assert (queue.clear(), drops) == ([1, 2], [])
    assert queue.statistics().refused == 3


async def test_fail_refuses_at_once_and_leaves_the_item_to_its_putter() -> None:
    queue, drops = full("fail", 1, 2)

    assert queue.offer(3) is False
    for put in (queue.put_nowait, lambda item: queue.put(item).send(None)):
        with pytest.raises(QueueFull) as caught:
            put(4)
        assert caught.value.message == 4

    assert (queue.clear(), drops) == ([1, 2], [])
    statistics = queue.statistics()
    assert (statistics.refused, statistics.total_in, statistics.dropped_by) == (3, 2, {"clear": 2})


async def test_drop_new_drops_the_new_one_and_tells_once() -> None:
    queue, drops = full("drop_new", 1, 2)

    assert queue.put_nowait(3) is False
    assert await queue.put(4) is False
    assert queue.offer(5) is False, "what is offered stays the caller's"

    assert drops == [(3, "drop_new"), (4, "drop_new")]
    statistics = queue.statistics()
    assert (statistics.dropped_by, statistics.dropped, statistics.refused) == ({"drop_new": 2}, 2, 1)
    assert statistics.total_in == statistics.dropped + statistics.size == 4
    assert queue.clear() == [1, 2]


async def test_drop_old_drops_the_oldest_and_tells_once() -> None:
    queue, drops = full("drop_old", 1, 2)

    assert queue.put_nowait(3) is True
    assert await queue.put(4) is True
    assert queue.offer(5) is True

    assert drops == [(1, "drop_old"), (2, "drop_old"), (3, "drop_old")]
    assert queue.statistics().dropped_by == {"drop_old": 3}
    assert queue.clear() == [4, 5]


async def test_drop_old_spares_what_is_promised() -> None:
    queue, drops = full("drop_old", 1)
    queue.get_nowait()
    (getter,) = await started(queue.get())

    for number in (2, 3, 4):
        queue.put_nowait(number)

    assert await getter == 2
    assert drops == [(3, "drop_old")]
    assert queue.clear() == [4]


async def test_stop_closes_the_queue_and_keeps_what_is_in_it() -> None:
    queue, drops = full("stop", 1, 2)

    with pytest.raises(QueueFull) as caught:
        queue.put_nowait(3)

    assert caught.value.message == 3
    assert queue.closed
    with pytest.raises(QueueClosed, match=r"it was full, and its policy is 'stop'") as closed:
        queue.put_nowait(4)
    assert closed.value.overflowed
    assert [item async for item in queue] == [1, 2]
    with pytest.raises(QueueClosed, match="it was full"):
        await queue.get()
    assert drops == []
    assert queue.statistics().refused == 2


@pytest.mark.parametrize("how", ["offer", "put"])
async def test_stop_stops_however_it_is_put(how: str) -> None:
    queue, _ = full("stop", 1)

    if how == "offer":
        assert queue.offer(2) is False
    else:
        with pytest.raises(MailboxFull):
            await queue.put(2)

    assert queue.closed
    assert queue.clear() == [1]


@pytest.mark.parametrize("policy", ["fail", "drop_new", "drop_old", "stop"])
async def test_with_room_no_policy_does_anything(policy: Any) -> None:
    queue, drops = full(policy, 1, 2)
    queue.get_nowait()

    assert await queue.put(3)
    queue.get_nowait()
    assert queue.put_nowait(4)
    queue.get_nowait()
    assert queue.offer(5)

    assert (queue.clear(), drops, queue.closed) == ([4, 5], [], False)


@pytest.mark.parametrize("policy", ["fail", "drop_new", "drop_old", "stop"])
async def test_what_somebody_waits_for_finds_its_way_through_a_full_queue(policy: Any) -> None:
    queue, drops = full(policy, 1, 3)
    (getter,) = await started(queue.get(even))

    assert queue.put_nowait(4)

    assert await getter == 4
    assert (queue.clear(), drops, queue.closed) == ([1, 3], [], False)


async def test_who_observes_and_raises_changes_nothing_and_is_reported() -> None:
    told: list[BaseException] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context["exception"]))

    def raises(*_: object) -> None:
        raise ZeroDivisionError

    queue = AsyncMessageQueue[int](1, policy="drop_old", on_drop=raises, high=1, low=0, on_high=raises, on_low=raises)
    queue.put_nowait(1)
    queue.put_nowait(2)
    assert queue.get_nowait() == 2

    assert [type(error) for error in told] == [ZeroDivisionError] * 3


async def test_who_observes_may_use_the_queue() -> None:
    log: list[Any] = []
    queue = AsyncMessageQueue[int](2, policy="drop_old", on_drop=lambda item, _: log.append((item, queue.clear())))

    for number in (1, 2, 3):
        queue.put_nowait(number)

    assert log == [(1, [2, 3])]
    assert queue.empty()


@pytest.mark.parametrize("policy", ["reject", None, "", "Block", 3])
async def test_another_policy_is_refused_with_what_there_is(policy: Any) -> None:
    words = r"^policy must be 'block', 'fail', 'drop_new', 'drop_old' or 'stop', got "
    with pytest.raises(ValueError, match=words) as caught:
        AsyncMessageQueue[int](policy=policy)
    assert str(caught.value).endswith(repr(policy))


# Weight


async def test_the_capacity_is_of_weight() -> None:
    queue = AsyncMessageQueue[str](5, weigh=len)

    assert queue.offer("aaa")
    assert not queue.offer("bbb")
    assert queue.offer("cc")
    assert queue.offer("")
    assert not queue.offer("d")
    assert (queue.statistics().load, queue.statistics().size) == (5, 3)
    queue.get_nowait()
    assert queue.offer("ddd")
    assert queue.clear() == ["cc", "", "ddd"]
    assert queue.statistics().load == 0


async def test_who_waits_for_much_room_is_not_overtaken_by_who_needs_little() -> None:
    queue = AsyncMessageQueue[str](5, weigh=len)
    queue.put_nowait("aa")
    queue.put_nowait("bb")
    large, small = await started(queue.put("cccc"), queue.put("d"))

    assert queue.get_nowait() == "aa"
    await asyncio.sleep(0)
    assert not large.done()
    assert not small.done()
    assert queue.get_nowait() == "bb"
    await asyncio.gather(large, small)

    assert queue.clear() == ["cccc", "d"]


@pytest.mark.parametrize("policy", ["block", "fail", "drop_old", "drop_new", "stop"])
async def test_what_weighs_more_than_the_capacity_never_waits(policy: Any) -> None:
    drops: Drops = []
    queue = AsyncMessageQueue[str](3, policy=policy, weigh=len, on_drop=lambda *drop: drops.append(drop))
    queue.put_nowait("a")

    if policy == "drop_new":
        assert await queue.put("much too large") is False
        assert drops == [("much too large", "drop_new")]
    else:
        with pytest.raises(QueueFull, match=r"^the item weighs 14, more than the queue can take \(3\)") as caught:
            await queue.put("much too large")
        assert caught.value.size == 14
        assert drops == []
    assert queue.clear() == ["a"]


async def test_drop_old_drops_as_many_as_it_takes() -> None:
    drops: Drops = []
    queue = AsyncMessageQueue[str](6, policy="drop_old", weigh=len, on_drop=lambda *drop: drops.append(drop))
    for item in ("a", "bb", "ccc"):
        queue.put_nowait(item)

    queue.put_nowait("dd")

    assert drops == [("a", "drop_old"), ("bb", "drop_old")]
    assert queue.clear() == ["ccc", "dd"]


@pytest.mark.parametrize("weight", [-1, math.nan, math.inf, "1", None, True])
async def test_a_weight_that_cannot_be_fails_its_putter_and_puts_nothing(weight: Any) -> None:
    queue = AsyncMessageQueue[int](3, weigh=lambda _: weight)

    for put in (queue.put_nowait, queue.offer, lambda item: queue.put(item).send(None)):
        with pytest.raises(ValueError, match=r"^weigh must give a number from 0 on, got "):
            put(1)
    assert queue.empty()
    assert queue.statistics().total_in == 0


# Priority


async def test_drop_old_drops_the_oldest_of_the_least_urgent() -> None:
    drops: Drops = []
    queue = PriorityMessageQueue[int](
        3, priority=lambda number: number // 10, policy="drop_old", on_drop=lambda *drop: drops.append(drop)
    )
    for number in (21, 22, 1):
        queue.put_nowait(number)

    assert queue.put_nowait(11)
    assert queue.put_nowait(23)
    assert not queue.put_nowait(31), "less urgent than all that would have to go"
    assert not queue.offer(32)

    assert drops == [(21, "drop_old"), (22, "drop_old"), (31, "drop_old")]
    assert queue.clear() == [1, 11, 23]


# Marks


class Marks:
    def __init__(self, high: float | None, low: float | None, capacity: float = 10, **options: Any) -> None:
        self.log: list[tuple[str, float]] = []
        self.queue = AsyncMessageQueue[int](
            capacity,
            high=high,
            low=low,
            on_high=lambda load: self.log.append(("high", load)),
            on_low=lambda load: self.log.append(("low", load)),
            **options,
        )


@pytest.mark.parametrize("way", ["put_nowait", "put", "offer", "append"])
async def test_each_mark_is_told_once_each_time_it_is_crossed(way: str) -> None:
    marks = Marks(4, 1)
    queue = marks.queue
    for _ in range(2):
        marks.log.clear()
        for number in range(6):
            if way == "append":  # as a ref does it
                if len(queue.items) < queue.append_below:
                    queue.items.append(number)
                    queue.total_in += 1
                else:
                    queue.offer(number)
            elif way == "put":
                await queue.put(number)
            else:
                getattr(queue, way)(number)
            assert marks.log == ([("high", 4)] if number >= 3 else [])
        for left in range(5, -1, -1):
            queue.take() if left % 2 else queue.get_nowait()
            assert marks.log == ([("high", 4), ("low", 1)] if left <= 1 else [("high", 4)])


@pytest.mark.parametrize("way", ["clear", "remove", "get_batch", "close"])
async def test_the_low_mark_is_told_however_the_queue_is_emptied(way: str) -> None:
    marks = Marks(4, 1)
    for number in range(5):
        marks.queue.put_nowait(number)
    if way == "clear":
        marks.queue.clear()
    elif way == "remove":
        marks.queue.remove(lambda _: True)
    elif way == "close":
        marks.queue.close(drain=False)
    else:
        await marks.queue.get_batch(5, min_items=5)
    assert [name for name, _ in marks.log] == ["high", "low"]


async def test_the_marks_are_of_weight_where_the_capacity_is() -> None:
    marks = Marks(50, None, capacity=100, weigh=lambda number: number)
    for number in (20, 20, 20):
        marks.queue.put_nowait(number)
    marks.queue.get_nowait()
    assert marks.log == [("high", 60)]
    marks.queue.get_nowait()
    assert marks.log == [("high", 60), ("low", 20)]


@pytest.mark.parametrize(
    ("high", "low", "words"),
    [
        (0, None, r"^high must be a number above 0 and no more than the capacity \(10\), got 0$"),
        (11, None, r"^high must be a number above 0 and no more than the capacity \(10\), got 11$"),
        (math.nan, None, "^high must be a number"),
        (True, None, "^high must be a number"),
        ("5", None, "^high must be a number"),
        (5, 5, r"^low must be a number from 0 on and below high \(5\), got 5$"),
        (5, -1, "^low must be a number from 0 on and below high"),
        (None, 3, r"^low \(3\) means nothing without high"),
    ],
)
async def test_marks_that_cannot_be_are_refused(high: Any, low: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Marks(high, low)
