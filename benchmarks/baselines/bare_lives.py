"""Q where tasks come, go and fail, and where one thing goes to many; as :mod:`benchmarks.baselines.bare`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

from benchmarks.baselines.bare import FAIL, TICK, WHICH, Fail, Oops, Tick, end
from benchmarks.counter import Counter
from benchmarks.harness import Run, Stopwatch, expect

__all__ = [
    "come_and_go",
    "come_and_go_at_once",
    "consume_until_told",
    "deliver",
    "queues",
    "restarted",
    "serve_until_failure",
    "supervise",
]


# --- Come and go ------------------------------------------------------------------------------------------------------


async def consume_until_told(queue: asyncio.Queue[Any]) -> None:
    """Take from *queue* until None comes."""
    while await queue.get() is not None:
        pass


async def come_and_go(count: int, watch: Stopwatch) -> None:
    ended = 0
    with watch:
        for _ in range(count):
            queue: asyncio.Queue[Tick | None] = asyncio.Queue()
            task = asyncio.create_task(consume_until_told(queue))
            await asyncio.sleep(0)  # it is up when it waits
            queue.put_nowait(None)
            await task
            ended += 1
    expect("ended", ended, count)


async def come_and_go_at_once(count: int, watch: Stopwatch) -> None:
    with watch:
        queues: list[asyncio.Queue[Tick | None]] = [asyncio.Queue() for _ in range(count)]
        tasks = [asyncio.create_task(consume_until_told(queue)) for queue in queues]
        await asyncio.sleep(0)
        alive = sum(not task.done() for task in tasks)
        for queue in queues:
            queue.put_nowait(None)
        for task in tasks:
            await task
    expect("alive", alive, count)
    expect("ended", sum(task.done() for task in tasks), count)


# --- Fail and go on ---------------------------------------------------------------------------------------------------


async def serve_until_failure(requests: asyncio.Queue[Any], incarnation: int) -> None:
    """Answer with *incarnation*, until a message says to fail."""
    while True:
        message, reply = await requests.get()
        if isinstance(message, Fail):
            raise Oops
        reply.set_result(incarnation)


async def supervise(requests: asyncio.Queue[Any], *, on_failure: Callable[[int], object] = lambda _: None) -> None:
    """What one writes by hand: a task for each incarnation, and a loop around it."""
    incarnation = 0
    while True:
        incarnation += 1
        try:
            await asyncio.create_task(serve_until_failure(requests, incarnation))
        except Oops:
            on_failure(incarnation)


async def restarted(count: int, watch: Stopwatch) -> None:
    loop = asyncio.get_running_loop()
    requests: asyncio.Queue[Any] = asyncio.Queue()
    task = asyncio.create_task(supervise(requests))
    await asyncio.sleep(0)
    incarnation = 1
    with watch:
        for _ in range(count):
            requests.put_nowait((FAIL, None))
            reply: asyncio.Future[int] = loop.create_future()
            requests.put_nowait((WHICH, reply))
            incarnation = await reply
    expect("the incarnation that answers", incarnation, count + 1)
    await end(task)


# --- Events -----------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def queues(counter: Counter) -> AsyncGenerator[Callable[[], asyncio.Future[None]]]:
    """A queue and a task for each subscriber; gives what publishes."""

    async def consume(queue: asyncio.Queue[object]) -> None:
        while True:
            await queue.get()
            counter.one()

    each: list[asyncio.Queue[object]] = [asyncio.Queue() for _ in range(counter.subscribers)]
    tasks = [asyncio.create_task(consume(queue)) for queue in each]
    await asyncio.sleep(0)

    def publish() -> asyncio.Future[None]:
        reached = counter.next_event()
        for queue in each:
            queue.put_nowait(TICK)
        return reached

    yield publish
    await end(*tasks)


def deliver(subscribers: int, *, each: bool) -> Run:
    """To so many; *each*: what is counted is deliveries, else events."""

    async def run(count: int, watch: Stopwatch) -> None:
        counter = Counter(subscribers)
        events = max(count // subscribers, 1) if each else count
        async with queues(counter) as publish:
            with watch:
                for _ in range(events):
                    await publish()
            expect("deliveries", counter.count, events * subscribers)

    return run
