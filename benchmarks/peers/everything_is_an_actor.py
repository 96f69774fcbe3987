"""everything-is-an-actor: tells are awaited, children are restarted by their parent's strategy."""

from __future__ import annotations

import itertools
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, ClassVar

from actor_for_agents import Actor, ActorSystem, OneForOneStrategy

from benchmarks.baselines.bare import Add, Fail, Oops, Tick, Token
from benchmarks.peers.actors import Done, actor_ways, restart_way
from benchmarks.peers.stage import NO_EVENTS, RESTART, main

UNLIMITED = 1_000_000


class Counter(Actor):
    count = total = expected = 0
    done: Done

    async def on_receive(self, message: Any) -> int | None:
        if isinstance(message, Add):
            self.total += message.value
            return self.total
        if isinstance(message, Tick):
            self.count += 1
            if self.count == self.expected:
                self.done.set_result(self.count)
        else:  # a class is all that one can spawn here
            self.expected, self.done = message
        return None


class Node(Actor):
    neighbour: Any = None
    done: Done

    async def on_receive(self, message: Any) -> None:
        if isinstance(message, Token):
            message.left -= 1
            if message.left:
                await self.neighbour.tell(message)
            else:
                self.done.set_result(message.left)
        elif isinstance(message, tuple):
            self.neighbour, self.done = message
        else:
            self.neighbour = message


class Player(Actor):
    incarnations: ClassVar[int] = 0

    async def on_started(self) -> None:
        Player.incarnations += 1

    async def on_receive(self, message: Any) -> int:
        if isinstance(message, Fail):
            raise Oops
        return Player.incarnations


class Top(Actor):
    def supervisor_strategy(self) -> Any:
        return OneForOneStrategy(max_restarts=10**9, within_seconds=5.0)

    async def on_receive(self, message: Any) -> Any:
        return await self.context.spawn(Player, "player")


class Actors:
    def __init__(self, system: Any) -> None:
        self.system = system
        self.numbers = itertools.count()

    async def counter(self, expected: int, done: Done) -> Any:
        ref = await self.system.spawn(Counter, f"counter-{next(self.numbers)}", mailbox_size=UNLIMITED)
        if expected:
            await ref.tell((expected, done))
        return ref

    async def node(self, neighbour: Any, done: Done) -> Any:
        ref = await self.system.spawn(Node, f"node-{next(self.numbers)}")
        await ref.tell((neighbour, done))
        return ref

    def tell(self, ref: Any) -> Callable[[Any], Any]:
        return ref.tell  # type: ignore[no-any-return]

    def ask(self, ref: Any) -> Callable[[Any], Awaitable[Any]]:
        return ref.ask  # type: ignore[no-any-return]

    async def stop(self, ref: Any) -> None:
        ref.stop()
        await ref.join()


@asynccontextmanager
async def system() -> AsyncGenerator[Actors]:
    inner = ActorSystem("bench")
    yield Actors(inner)
    await inner.shutdown()


@asynccontextmanager
async def player() -> AsyncGenerator[tuple[Actors, Any]]:
    async with system() as actors:
        top = await actors.system.spawn(Top, "top")
        yield actors, await top.ask("start")


if __name__ == "__main__":
    main("everything-is-an-actor", {**actor_ways(system), RESTART: restart_way(player)}, NO_EVENTS)
