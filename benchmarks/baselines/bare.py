"""Q: the least that asyncio offers for each workload, a bare queue and a task that takes from it.

Written with the standard library alone, so that the processes of other packages measure the same Q beside themselves.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TypeAlias

from benchmarks.harness import Run, Stopwatch, expect

__all__ = [
    "ASKERS",
    "BREATH",
    "FAIL",
    "ONE",
    "TICK",
    "WHICH",
    "Add",
    "Fail",
    "Oops",
    "Tick",
    "Token",
    "Which",
    "asked_at_once",
    "asked_in_turn",
    "burst",
    "end",
    "paced",
    "ring",
    "send",
]

ASKERS = 100
"""How many ask at once."""
BREATH = 100
"""After so many messages the paced sender lets others run."""


class Tick:
    """A message that says nothing but that it has come."""


class Add:
    """A message that is answered with the sum so far."""

    __slots__ = ("value",)

    def __init__(self, value: int) -> None:
        self.value = value


class Token:
    """Goes round until nothing of it is left; the same object on every hop."""

    __slots__ = ("left",)

    def __init__(self, hops: int) -> None:
        self.left = hops


class Fail:
    """Whoever handles it fails."""


class Which:
    """Which incarnation are you?"""


class Oops(Exception):
    """The failure."""


TICK, ONE, FAIL, WHICH = Tick(), Add(1), Fail(), Which()

Done: TypeAlias = "asyncio.Future[int]"


async def end(*tasks: asyncio.Task[None]) -> None:
    """Cancel *tasks* and wait for them."""
    for task in tasks:
        task.cancel()
    for task in tasks:
        with suppress(asyncio.CancelledError):
            await task


# --- Tell -------------------------------------------------------------------------------------------------------------


class _Consumer:
    """A queue, and the task that counts what comes out of it."""

    def __init__(self, expected: int, capacity: int = 0) -> None:
        self.queue: asyncio.Queue[Tick] = asyncio.Queue(capacity)
        self.done: Done = asyncio.get_running_loop().create_future()
        self.task = asyncio.create_task(_consume(self.queue, expected, self.done))

    async def end(self, expected: int) -> None:
        expect("messages counted", await self.done, expected)
        expect("messages left", self.queue.qsize(), 0)
        await end(self.task)


async def _consume(queue: asyncio.Queue[Tick], expected: int, done: Done) -> None:
    count = 0
    while True:
        await queue.get()
        count += 1
        if count == expected:
            done.set_result(count)


async def burst(count: int, watch: Stopwatch) -> None:
    consumer = _Consumer(count)
    queue, done = consumer.queue, consumer.done
    await asyncio.sleep(0)
    with watch:
        for _ in range(count):
            queue.put_nowait(TICK)
        await done
    await consumer.end(count)


async def paced(count: int, watch: Stopwatch) -> None:
    consumer = _Consumer(count)
    queue, done = consumer.queue, consumer.done
    await asyncio.sleep(0)
    with watch:
        for number in range(count):
            queue.put_nowait(TICK)
            if number % BREATH == BREATH - 1:
                await asyncio.sleep(0)
        await done
    await consumer.end(count)


def send(capacity: int) -> Run:
    async def run(count: int, watch: Stopwatch) -> None:
        consumer = _Consumer(count, capacity)
        queue, done = consumer.queue, consumer.done
        await asyncio.sleep(0)
        with watch:
            for _ in range(count):
                await queue.put(TICK)
            await done
        await consumer.end(count)

    return run


# --- Ask --------------------------------------------------------------------------------------------------------------

Requests: TypeAlias = "asyncio.Queue[tuple[Add, asyncio.Future[int]]]"


async def _serve(requests: Requests) -> None:
    total = 0
    while True:
        message, reply = await requests.get()
        total += message.value
        reply.set_result(total)


async def asked_in_turn(count: int, watch: Stopwatch) -> None:
    requests: Requests = asyncio.Queue()
    loop = asyncio.get_running_loop()
    task = asyncio.create_task(_serve(requests))
    await asyncio.sleep(0)
    total = 0
    with watch:
        for _ in range(count):
            reply: asyncio.Future[int] = loop.create_future()
            requests.put_nowait((ONE, reply))
            total = await reply
    expect("the last reply", total, count)
    await end(task)


async def asked_at_once(count: int, watch: Stopwatch) -> None:
    requests: Requests = asyncio.Queue()
    loop = asyncio.get_running_loop()
    task = asyncio.create_task(_serve(requests))
    await asyncio.sleep(0)
    each = -(-count // ASKERS)

    async def asker() -> int:
        total = 0
        for _ in range(each):
            reply: asyncio.Future[int] = loop.create_future()
            requests.put_nowait((ONE, reply))
            total = await reply
        return total

    with watch:
        totals = await asyncio.gather(*(asker() for _ in range(ASKERS)))
    expect("the highest reply", max(totals), each * ASKERS)
    await end(task)


# --- Ring -------------------------------------------------------------------------------------------------------------


async def _node(number: int, queue: asyncio.Queue[Token], neighbour: asyncio.Queue[Token], done: Done) -> None:
    while True:
        token = await queue.get()
        token.left -= 1
        if token.left:
            neighbour.put_nowait(token)
        else:
            done.set_result(number)


def ring(size: int) -> Run:
    async def run(count: int, watch: Stopwatch) -> None:
        done: Done = asyncio.get_running_loop().create_future()
        queues: list[asyncio.Queue[Token]] = [asyncio.Queue() for _ in range(size)]
        tasks = [
            asyncio.create_task(_node(number, queues[number], queues[(number + 1) % size], done))
            for number in range(size)
        ]
        token = Token(count)
        await asyncio.sleep(0)
        with watch:
            queues[0].put_nowait(token)
            ended = await done
        expect("hops left", token.left, 0)
        expect("the last node", ended, (count - 1) % size)
        await end(*tasks)

    return run
