"""casty: an actor is an async function that reads its inbox, found by a key; messages are serialized on the way.

A body that raises is started anew after a delay; here that is 1 ms, the least that is worth the name, where the default
is 100 ms.
"""

import itertools
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from casty import ActorSystem, Askable, Backoff, Context, actor

from benchmarks.baselines import bare
from benchmarks.peers.actors import Done, actor_ways, restart_way
from benchmarks.peers.stage import COME_AND_GO, NO_EVENTS, RESTART, RING, main


@dataclass(frozen=True)
class Expect:
    count: int


@dataclass(frozen=True)
class Tick:
    pass


@dataclass(frozen=True)
class Add(Askable[int]):
    value: int


@dataclass(frozen=True)
class Token:
    left: int


@dataclass(frozen=True)
class Next:
    key: str


@dataclass(frozen=True)
class Fail:
    pass


@dataclass(frozen=True)
class Which(Askable[int]):
    pass


DONE: dict[str, Done] = {}
"""What counters and rings are waited for by; only data reaches an actor in a message."""
STARTED: list[str] = []


@actor(initial=0)
async def counter(ctx: Context[int, Expect | Tick | Add]) -> None:
    count = total = expected = 0
    async for message in ctx.inbox:
        match message:
            case Tick():
                count += 1
                if count == expected:
                    DONE[ctx.key].set_result(count)
            case Add(value):
                total += value
                message.reply_to.tell(total)
            case Expect(expected):
                pass


@actor(initial=0)
async def node(ctx: Context[int, Next | Token]) -> None:
    neighbour: Any = None
    async for message in ctx.inbox:
        match message:
            case Token(left):
                if left > 1:
                    neighbour.tell(Token(left - 1))
                else:
                    DONE["ring"].set_result(0)
            case Next(key):
                neighbour = ctx.system.ref(node, key)


@actor(initial=0, backoff=Backoff(timedelta(milliseconds=1), timedelta(milliseconds=1)))
async def player(ctx: Context[int, Fail | Which]) -> None:
    STARTED.append(ctx.key)
    async for message in ctx.inbox:
        match message:
            case Fail():
                raise bare.Oops
            case Which():
                message.reply_to.tell(len(STARTED))


TRANSLATED = {bare.TICK: Tick(), bare.ONE: Add(1), bare.FAIL: Fail(), bare.WHICH: Which()}
"""Messages are dataclasses here; to look them up costs next to nothing beside a message."""


class Actors:
    def __init__(self, system: Any) -> None:
        self.system = system
        self.numbers = itertools.count()

    async def counter(self, expected: int, done: Done) -> Any:
        key = f"counter-{next(self.numbers)}"
        ref = self.system.ref(counter, key)
        DONE[key] = done
        ref.tell(Expect(expected))
        return ref

    async def node(self, neighbour: Any, done: Done) -> Any:
        DONE["ring"] = done
        key = f"node-{next(self.numbers)}"
        ref = self.system.ref(node, key)
        if neighbour is not None:
            ref.tell(Next(neighbour[0]))
        return key, ref

    def tell(self, ref: Any) -> Callable[[Any], Any]:
        if isinstance(ref, tuple):
            ref = ref[1]

        def tell(message: Any) -> None:
            if type(message) is bare.Token:
                ref.tell(Token(message.left))
            elif type(message) is tuple:
                ref.tell(Next(message[0]))
            else:
                ref.tell(TRANSLATED[message])

        return tell

    def ask(self, ref: Any) -> Callable[[Any], Awaitable[Any]]:
        def ask(message: Any) -> Any:
            return ref.ask(TRANSLATED[message])

        return ask

    async def stop(self, ref: Any) -> None:
        raise NotImplementedError


@asynccontextmanager
async def system() -> AsyncGenerator[Actors]:
    async with ActorSystem(observer=lambda event: None) as inner:
        yield Actors(inner)


@asynccontextmanager
async def one() -> AsyncGenerator[tuple[Actors, Any]]:
    async with system() as actors:
        yield actors, actors.system.ref(player, "player")


if __name__ == "__main__":
    ways = actor_ways(system, {RING: 0.2})
    del ways[COME_AND_GO]
    main(
        "casty",
        {**ways, RESTART: restart_way(one, 0.1)},
        {**NO_EVENTS, COME_AND_GO: "has virtual actors, which nobody stops"},
        note="the runtime is written in Rust and serializes messages; a restart waits for a delay, here 1 ms",
    )
