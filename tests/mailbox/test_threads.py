"""The queue and other threads: what is refused, and what wakes the event loop."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import Callable
from typing import Any

import pytest

from tests.mailbox.stage import even, outcome, settle, started
from understudy.exceptions import InvalidContext
from understudy.mailbox import AsyncMessageQueue, PriorityMessageQueue, QueueClosed, QueueFull


def in_a_thread(function: Callable[[], Any]) -> Any:
    """What *function* returns or raises in a thread of its own."""
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        return pool.submit(function).result()


def step(coroutine: Any) -> None:
    try:
        coroutine.send(None)
    finally:
        coroutine.close()


CALLS: dict[str, Callable[[AsyncMessageQueue[int]], object]] = {
    "put_nowait": lambda queue: queue.put_nowait(1),
    "put": lambda queue: step(queue.put(1)),
    "get_nowait": lambda queue: queue.get_nowait(),
    "get_nowait(predicate)": lambda queue: queue.get_nowait(even),
    "get": lambda queue: step(queue.get()),
    "get(predicate)": lambda queue: step(queue.get(even)),
    "get_batch": lambda queue: step(queue.get_batch(2)),
    "get_burst": lambda queue: step(queue.get_burst()),
    "peek": lambda queue: queue.peek(),
    "remove": lambda queue: queue.remove(even),
    "clear": lambda queue: queue.clear(),
    "close": lambda queue: queue.close(),
    "join": lambda queue: step(queue.join()),
    "task_done": lambda queue: queue.task_done(),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.asyncio
async def test_a_plain_call_from_another_thread_is_refused_and_does_nothing(call: str) -> None:
    queue = AsyncMessageQueue[int]()
    queue.put_nowait(2)

    with pytest.raises(InvalidContext, match=r"AsyncMessageQueue: .* thread of its event loop: use put_threadsafe"):
        in_a_thread(lambda: CALLS[call](queue))

    assert not queue.closed
    assert queue.clear() == [2]


@pytest.mark.asyncio
async def test_a_put_from_another_thread_reaches_who_waits() -> None:
    queue = AsyncMessageQueue[int]()
    (getter,) = await started(queue.get())

    future = in_a_thread(lambda: queue.put_threadsafe(7))

    assert await asyncio.wrap_future(future) is True
    assert await getter == 7


@pytest.mark.real_time
@pytest.mark.timeout(20)
@pytest.mark.asyncio
async def test_a_put_from_another_thread_wakes_a_loop_in_which_nothing_else_happens() -> None:
    queue = AsyncMessageQueue[int]()
    thread = threading.Timer(0.05, lambda: queue.put_threadsafe(7))
    thread.start()

    assert await queue.get() == 7
    thread.join()


@pytest.mark.asyncio
async def test_puts_of_one_thread_go_in_in_their_order_also_when_they_wait_for_room() -> None:
    queue = AsyncMessageQueue[int](capacity=3)

    futures = in_a_thread(lambda: [queue.put_threadsafe(number) for number in range(20)])
    await settle()
    assert [future.done() for future in futures] == [True] * 3 + [False] * 17
    assert queue.statistics().putters_waiting == 17

    got: list[int] = []
    while len(got) < 20:
        got.append(await queue.get())
        assert len(queue) <= 3
        await settle()
    assert got == list(range(20))
    assert [future.result(0) for future in futures] == [True] * 20


@pytest.mark.asyncio
async def test_a_put_from_a_thread_and_one_from_a_task_wait_in_one_line() -> None:
    queue = AsyncMessageQueue[int](capacity=1)
    queue.put_nowait(0)
    (first,) = await started(queue.put(1))
    in_a_thread(lambda: queue.put_threadsafe(2))
    await settle()
    (third,) = await started(queue.put(3))

    for expected in range(4):
        assert await queue.get() == expected
        await settle()
    assert first.done()
    assert third.done()


@pytest.mark.asyncio
async def test_a_put_that_waits_for_room_can_be_withdrawn() -> None:
    queue = AsyncMessageQueue[int](capacity=1)
    queue.put_nowait(0)
    first, second = in_a_thread(lambda: [queue.put_threadsafe(1), queue.put_threadsafe(2)])
    await settle()

    assert in_a_thread(first.cancel)
    await settle()
    assert queue.statistics().putters_waiting == 1
    assert queue.get_nowait() == 0
    await settle()

    assert second.result(0) is True
    assert not second.cancel()
    assert queue.clear() == [2]


@pytest.mark.asyncio
async def test_a_put_withdrawn_with_its_room_leaves_the_room_to_the_next() -> None:
    queue = AsyncMessageQueue[int](capacity=1)
    queue.put_nowait(0)
    first, second = in_a_thread(lambda: [queue.put_threadsafe(1), queue.put_threadsafe(2)])
    await settle()

    queue.get_nowait()
    assert first.cancel()
    await settle()

    assert second.result(0) is True
    assert queue.clear() == [2]


@pytest.mark.asyncio
async def test_a_put_withdrawn_before_the_loop_has_seen_it_puts_nothing() -> None:
    queue = AsyncMessageQueue[int]()
    future = queue.put_threadsafe(1)
    assert future.cancel()
    await settle()
    assert queue.empty()
    assert queue.statistics().total_in == 0


@pytest.mark.asyncio
async def test_closing_fails_the_puts_of_threads_and_gives_their_items_back() -> None:
    queue = AsyncMessageQueue[int](capacity=1)
    queue.put_nowait(0)
    waiting = in_a_thread(lambda: queue.put_threadsafe(1))
    await settle()
    queue.close()
    late = in_a_thread(lambda: queue.put_threadsafe(2))
    await settle()

    for future, item in ((waiting, 1), (late, 2)):
        error = future.exception(0)
        assert isinstance(error, QueueClosed)
        assert error.message == item
    assert queue.clear() == [0]
    assert queue.statistics().refused == 2


@pytest.mark.parametrize(
    ("policy", "result"), [("fail", QueueFull), ("stop", QueueFull), ("drop_new", False), ("drop_old", True)]
)
@pytest.mark.asyncio
async def test_a_put_from_a_thread_follows_the_policy(policy: Any, result: Any) -> None:
    queue = AsyncMessageQueue[int](1, policy=policy)
    queue.put_nowait(0)

    future = in_a_thread(lambda: queue.put_threadsafe(1))

    assert await outcome(asyncio.wrap_future(future)) is result
    assert queue.clear() == [1 if policy == "drop_old" else 0]


@pytest.mark.parametrize("what", ["weigh", "priority"])
@pytest.mark.asyncio
async def test_what_the_functions_of_the_queue_raise_comes_out_of_the_future(what: str) -> None:
    def raises(_: object) -> int:
        raise ZeroDivisionError

    queue = AsyncMessageQueue[int](weigh=raises) if what == "weigh" else PriorityMessageQueue[int](priority=raises)

    future = in_a_thread(lambda: queue.put_threadsafe(1))

    assert await outcome(asyncio.wrap_future(future)) is ZeroDivisionError
    assert queue.empty()


@pytest.mark.asyncio
async def test_what_is_too_heavy_does_not_wait_in_a_thread_either() -> None:
    queue = AsyncMessageQueue[str](3, weigh=len)
    assert await outcome(asyncio.wrap_future(queue.put_threadsafe("much"))) is QueueFull


def test_a_queue_that_no_loop_has_used_yet_cannot_be_put_into_from_a_thread() -> None:
    queue = AsyncMessageQueue[int]()
    with pytest.raises(InvalidContext, match="put_threadsafe before any use in an event loop"):
        queue.put_threadsafe(1)


def test_a_queue_made_and_filled_before_the_loop_runs_belongs_to_that_loop() -> None:
    queue = AsyncMessageQueue[int]()
    queue.put_nowait(1)

    async def main() -> int:
        first = await queue.get()
        with pytest.raises(InvalidContext):
            in_a_thread(lambda: queue.put_nowait(2))
        return first

    assert in_a_thread(lambda: asyncio.run(main())) == 1
    # The loop is gone: whoever comes next may have it, and nobody is told to use the loop that is no more.
    with pytest.raises(InvalidContext, match="its event loop is closed"):
        queue.put_threadsafe(2)
    queue.put_nowait(3)

    async def again() -> int:
        return await queue.get()

    assert asyncio.run(again()) == 3


def test_two_loops_cannot_wait_in_one_queue() -> None:
    queue = AsyncMessageQueue[int]()
    first = asyncio.new_event_loop()
    try:
        getter = first.create_task(queue.get())
        first.run_until_complete(asyncio.sleep(0))
        for wait in (queue.get, lambda: queue.get(even), lambda: queue.get_batch(3, min_items=2)):
            with pytest.raises(InvalidContext, match="used in another event loop than before"):
                asyncio.run(wait())  # type: ignore[arg-type]
        queue.put_nowait(1)
        assert first.run_until_complete(getter) == 1
    finally:
        first.close()


def test_a_queue_that_keeps_times_needs_a_loop() -> None:
    queue = AsyncMessageQueue[int](track_age=True)
    with pytest.raises(InvalidContext, match="need the clock of a running event loop"):
        queue.put_nowait(1)
