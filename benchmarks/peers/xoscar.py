"""xoscar: actors of a pool in this process; a tell is awaited, but not its handling."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import xoscar

from benchmarks.baselines.bare import Token
from benchmarks.harness import Comparison
from benchmarks.peers.actors import Counting, Done, actor_ways
from benchmarks.peers.stage import ASK, ASK_AT_ONCE, BURST, COME_AND_GO, NO_EVENTS, PACED, RESTART, RING, main

SHARES: dict[Comparison, float] = {
    BURST: 0.1, PACED: 0.1, ASK: 0.2, ASK_AT_ONCE: 0.2, RING: 0.1, COME_AND_GO: 0.2
}  # fmt: skip


class Counter(Counting, xoscar.Actor):
    pass


class Node(xoscar.Actor):
    def __init__(self, neighbour: Any, done: Done) -> None:
        self.neighbour = neighbour
        self.done = done

    async def take(self, message: Any) -> None:
        if not isinstance(message, Token):
            self.neighbour = message
            return
        message.left -= 1
        if message.left:
            await self.neighbour.take.tell(message)
        else:
            self.done.set_result(message.left)


class Actors:
    def __init__(self, pool: Any) -> None:
        self.address = pool.external_address

    async def counter(self, expected: int, done: Done) -> Any:
        return await xoscar.create_actor(Counter, expected, done, address=self.address)

    async def node(self, neighbour: Any, done: Done) -> Any:
        return await xoscar.create_actor(Node, neighbour, done, address=self.address)

    def tell(self, ref: Any) -> Callable[[Any], Any]:
        return ref.take.tell  # type: ignore[no-any-return]

    def ask(self, ref: Any) -> Callable[[Any], Awaitable[Any]]:
        return ref.take  # type: ignore[no-any-return]

    async def stop(self, ref: Any) -> None:
        await xoscar.destroy_actor(ref)


@asynccontextmanager
async def system() -> AsyncGenerator[Actors]:
    pool = await xoscar.create_actor_pool("127.0.0.1", n_process=0)
    async with pool:
        yield Actors(pool)


if __name__ == "__main__":
    main(
        "xoscar",
        actor_ways(system, SHARES),
        {**NO_EVENTS, RESTART: "an actor survives what a method of it raises; only processes are restarted"},
    )
