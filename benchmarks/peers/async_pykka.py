"""async-pykka: Pykka's actors on asyncio tasks; nobody restarts anybody."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import async_pykka

from benchmarks.baselines.bare import Token
from benchmarks.peers.actors import Counting, Done, actor_ways
from benchmarks.peers.stage import NO_EVENTS, RESTART, main


class Counter(Counting, async_pykka.AsyncioActor):
    on_receive = Counting.take


class Node(async_pykka.AsyncioActor):
    def __init__(self, neighbour: Any, done: Done) -> None:
        super().__init__()
        self.neighbour = neighbour
        self.done = done

    async def on_receive(self, message: Any) -> None:
        if not isinstance(message, Token):
            self.neighbour = message
            return
        message.left -= 1
        if message.left:
            self.neighbour.tell(message)
        else:
            self.done.set_result(message.left)


class Actors:
    async def counter(self, expected: int, done: Done) -> Any:
        return Counter.start(expected, done)

    async def node(self, neighbour: Any, done: Done) -> Any:
        return Node.start(neighbour, done)

    def tell(self, ref: Any) -> Callable[[Any], Any]:
        return ref.tell  # type: ignore[no-any-return]

    def ask(self, ref: Any) -> Callable[[Any], Awaitable[Any]]:
        return ref.ask  # type: ignore[no-any-return]

    async def stop(self, ref: Any) -> None:
        await ref.stop()


@asynccontextmanager
async def system() -> AsyncGenerator[Actors]:
    yield Actors()
    await async_pykka.ActorRegistry.stop_all(current_loop_only=True)


if __name__ == "__main__":
    main("async-pykka", actor_ways(system), {**NO_EVENTS, RESTART: "does not restart actors"})
