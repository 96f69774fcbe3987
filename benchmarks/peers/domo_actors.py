"""DomoActors: calling a method of a proxy sends a message; what it gives can be awaited for the reply."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, ClassVar

from domo_actors import Actor, Definition, LocalStage, Protocol
from domo_actors.actors.address import Uuid7Address
from domo_actors.actors.protocol import ProtocolInstantiator
from domo_actors.actors.supervisor import DefaultSupervisionStrategy, DefaultSupervisor

from benchmarks.baselines.bare import Fail, Oops, Token
from benchmarks.peers.actors import Counting, Done, actor_ways, restart_way
from benchmarks.peers.stage import BURST, NO_EVENTS, RESTART, main


class Counter(Counting, Actor):
    pass


class Node(Actor):
    def __init__(self, neighbour: Any, done: Done) -> None:
        super().__init__()
        self.neighbour = neighbour
        self.done = done

    async def take(self, message: Any) -> None:
        if not isinstance(message, Token):
            self.neighbour = message
            return
        message.left -= 1
        if message.left:
            self.neighbour.take(message)
        else:
            self.done.set_result(message.left)


class Player(Actor):
    incarnations: ClassVar[int] = 0

    async def after_restart(self) -> None:
        Player.incarnations += 1

    async def take(self, message: Any) -> int:
        if isinstance(message, Fail):
            raise Oops
        return Player.incarnations


class Often(DefaultSupervisionStrategy):
    def intensity(self) -> int:
        return -1


class Top(DefaultSupervisor):
    async def supervision_strategy(self) -> Any:
        return Often()


class Made(Protocol):
    """One of that class."""

    def __init__(self, cls: type) -> None:
        self.cls = cls

    def type(self) -> str:
        return self.cls.__name__

    def instantiator(self) -> Any:
        cls = self.cls

        class Instantiator(ProtocolInstantiator):
            def instantiate(self, definition: Any) -> Any:
                return cls(*definition.parameters())

        return Instantiator()


class Actors:
    def __init__(self) -> None:
        self.stage = LocalStage(logger=Silent())

    def make(self, cls: type, *arguments: Any, supervisor: str | None = None) -> Any:
        definition = Definition(cls.__name__, Uuid7Address(), arguments)
        return self.stage.actor_for(Made(cls), definition, None, supervisor)

    async def counter(self, expected: int, done: Done) -> Any:
        return self.make(Counter, expected, done)

    async def node(self, neighbour: Any, done: Done) -> Any:
        return self.make(Node, neighbour, done)

    def tell(self, ref: Any) -> Callable[[Any], Any]:
        take = ref.take

        def tell(message: Any) -> None:
            take(message)

        return tell

    def ask(self, ref: Any) -> Callable[[Any], Awaitable[Any]]:
        return ref.take  # type: ignore[no-any-return]

    async def stop(self, ref: Any) -> None:
        await ref.stop()


class Silent:
    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_, **__: None


@asynccontextmanager
async def system() -> AsyncGenerator[Actors]:
    actors = Actors()
    yield actors
    await actors.stage.close()


@asynccontextmanager
async def player() -> AsyncGenerator[tuple[Actors, Any]]:
    async with system() as actors:
        actors.stage.register_supervisor("top", actors.make(Top))
        yield actors, actors.make(Player, supervisor="top")


if __name__ == "__main__":
    ways = actor_ways(system)
    del ways[BURST]
    main(
        "domo-actors",
        {**ways, RESTART: restart_way(player)},
        {**NO_EVENTS, BURST: "handles what waits by recursion: RecursionError, from some hundred messages on"},
    )
