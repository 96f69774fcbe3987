"""W3: a token that 1,000 actors in a ring hand on, 100 times round."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from benchmarks.baselines.bare import Token
from benchmarks.common import RING, RING_SIZE
from benchmarks.harness import Run, Side, Stopwatch, expect
from benchmarks.targets import ASYNC, SYNC
from understudy import Actor, ActorRef, ActorSystem, Message, handler

__all__ = ["WORKLOADS"]


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
            first = last = await spawn(system, RING_SIZE - 1, None, done)
            for number in reversed(range(RING_SIZE - 1)):
                last = await spawn(system, number, last, done)
            first.tell(Close(neighbour=last))
            token = Token(count)
            await asyncio.sleep(0)
            with watch:
                last.tell(token)
                ended = await done
            expect("hops left", token.left, 0)
            expect("the last node", ended, (count - 1) % RING_SIZE)
            expect("dead letters", system.statistics().dead_letters, 0)

    return run


WORKLOADS = (RING.with_sides(Side(SYNC, ring(_sync)), Side(ASYNC, ring(_async))),)
