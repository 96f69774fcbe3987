"""W3: a token that 1,000 actors in a ring hand on, 100 times round."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from benchmarks.harness import Comparison, Run, Side, Stopwatch, expect
from benchmarks.targets import ASYNC, SYNC
from understudy import Actor, ActorRef, ActorSystem, Message, handler

__all__ = ["WORKLOADS"]

SIZE = 1_000
ROUNDS = 100


class Token:
    """Goes round until nothing of it is left; a plain object, the same one on every hop."""

    __slots__ = ("left",)

    def __init__(self, hops: int) -> None:
        self.left = hops


class Close(Message):
    """Close the ring: the first learns who comes after it."""

    neighbour: ActorRef[Token]


Done: TypeAlias = "asyncio.Future[int]"


class Node(Actor[Token | Close]):
    def __init__(self, number: int, neighbour: ActorRef[Token] | None, done: Done) -> None:
        self.number = number
        self.neighbour = neighbour
        self.done = done

    @handler
    def close(self, message: Close) -> None:
        self.neighbour = message.neighbour

    @handler
    def hand_on(self, message: Token) -> None:
        message.left -= 1
        if message.left and self.neighbour is not None:
            self.neighbour.tell(message)
        else:
            self.done.set_result(self.number)


class AsyncNode(Actor[Token | Close]):
    def __init__(self, number: int, neighbour: ActorRef[Token] | None, done: Done) -> None:
        self.number = number
        self.neighbour = neighbour
        self.done = done

    @handler
    def close(self, message: Close) -> None:
        self.neighbour = message.neighbour

    @handler
    async def hand_on(self, message: Token) -> None:
        message.left -= 1
        if message.left and self.neighbour is not None:
            self.neighbour.tell(message)
        else:
            self.done.set_result(self.number)


Spawn: TypeAlias = Callable[
    [ActorSystem, int, ActorRef[Token] | None, Done],
    Awaitable[ActorRef[Token | Close]],
]


async def _sync(
    system: ActorSystem, number: int, neighbour: ActorRef[Token] | None, done: Done
) -> ActorRef[Token | Close]:
    return await system.spawn(Node, number, neighbour, done)


async def _async(
    system: ActorSystem, number: int, neighbour: ActorRef[Token] | None, done: Done
) -> ActorRef[Token | Close]:
    return await system.spawn(AsyncNode, number, neighbour, done)


def ring(spawn: Spawn) -> Run:
    async def run(count: int, watch: Stopwatch) -> None:
        async with ActorSystem() as system:
            done: Done = asyncio.get_running_loop().create_future()
            first = last = await spawn(system, SIZE - 1, None, done)
            for number in reversed(range(SIZE - 1)):
                last = await spawn(system, number, last, done)
            first.tell(Close(neighbour=last))
            token = Token(count)
            await asyncio.sleep(0)
            with watch:
                last.tell(token)
                ended = await done
            expect("hops left", token.left, 0)
            expect("the last node", ended, (count - 1) % SIZE)
            expect("dead letters", system.statistics().dead_letters, 0)

    return run


# --- Q ----------------------------------------------------------------------------------------------------------------


async def _node(number: int, queue: asyncio.Queue[Token], neighbour: asyncio.Queue[Token], done: Done) -> None:
    while True:
        token = await queue.get()
        token.left -= 1
        if token.left:
            neighbour.put_nowait(token)
        else:
            done.set_result(number)


async def queue_ring(count: int, watch: Stopwatch) -> None:
    done: Done = asyncio.get_running_loop().create_future()
    queues: list[asyncio.Queue[Token]] = [asyncio.Queue() for _ in range(SIZE)]
    tasks = [
        asyncio.create_task(_node(number, queues[number], queues[(number + 1) % SIZE], done)) for number in range(SIZE)
    ]
    token = Token(count)
    await asyncio.sleep(0)
    with watch:
        queues[0].put_nowait(token)
        ended = await done
    expect("hops left", token.left, 0)
    expect("the last node", ended, (count - 1) % SIZE)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


WORKLOADS = (
    Comparison(
        "W3",
        f"a token goes round {SIZE:,}, {{count:,}} hops",
        SIZE * ROUNDS,
        queue_ring,
        (Side(SYNC, ring(_sync)), Side(ASYNC, ring(_async))),
    ),
)
