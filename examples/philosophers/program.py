"""The tree: a host, who lays one table after the other below itself.

philosophers            ends with the host
    host                starts a table, asks guests to dine, and says what comes of it
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any, Never

from understudy import (
    Actor,
    ActorRef,
    ChildSpec,
    Refused,
    Supervisor,
    UnderstudyError,
    ask_many,
    child,
    handler,
)

from .actors import Doing, Evening
from .messages import Dine
from .table import JealousTable, OrderedTable, Table

__all__ = ["GUESTS", "Host", "Philosophers", "breathe", "choking", "meeting", "program"]

GUESTS = ("ada", "ben", "cas", "dan", "eve")
PATIENCE = 0.5
"""Seconds that the host gives those who may wait for ever."""


async def breathe(who: str) -> None:
    """A moment in which everybody else may do something."""
    await asyncio.sleep(0)


def meeting(count: int) -> Doing:
    """Nobody goes on before *count* have come: the moment in which everybody has one fork."""
    barrier = asyncio.Barrier(count)

    async def meet(who: str) -> None:
        await barrier.wait()

    return meet


def choking(*names: str) -> Doing:
    """Those of these *names* choke on their first bite; they have it in both hands then, a fork in each."""
    left = set(names)

    async def eat(who: str) -> None:
        name = who.rpartition("/")[2]
        if name in left:
            left.remove(name)
            raise RuntimeError(f"{name} chokes")

    return eat


class Begin:
    """To the host, from itself."""


class Host(Actor[Never]):
    """Lays one table after the other, and then ends the program."""

    def initialize(self) -> None:
        self.context.tell_self(Begin())

    @handler
    async def _begin(self, message: Begin) -> None:
        everybody_has_one = meeting(len(GUESTS))

        print("forks that wait for forks")
        guests = await self.lay(JealousTable, Evening(everybody_has_one, breathe))
        await self.dine(guests.values())

        print("forks that promise, everybody's left one first")
        guests = await self.lay(Table, Evening(everybody_has_one, breathe))
        await self.dine(guests.values(), timeout=PATIENCE)

        print("forks that promise, everybody's lower one first")
        guests = await self.lay(OrderedTable, Evening(breathe, breathe))
        await self.dine(guests.values(), meals=3)

        print("ben and dan choke with forks in their hands, and dan does not come back")
        guests = await self.lay(OrderedTable, Evening(breathe, choking("ben", "dan")), visitors=["dan"])
        await self.dine([guests["ben"], guests["dan"]])
        print("the others dine, and ben")
        await self.dine(ref for name, ref in guests.items() if name != "dan")

        self.context.stop()

    async def lay(
        self, table: type[Table], evening: Evening, *, visitors: Sequence[str] = ()
    ) -> dict[str, ActorRef[Dine]]:
        """Start a table in the place of the last; the guests, by name."""
        for old in self.context.children:
            old.stop()
            await old.wait_stopped()
        path = f"{self.context.path}/table"
        await self.context.spawn(child(table, path, GUESTS, evening, visitors=visitors).options(name="table"))
        lookup = self.context.system.lookup
        return {name: lookup(f"{path}/guests/{name}") for name in GUESTS}

    async def dine(self, guests: Iterable[ActorRef[Dine]], *, meals: int = 1, timeout: float = 60.0) -> None:
        """Ask them all at once, and say what comes of it."""
        ends = [said(end) for end in await ask_many(list(guests), Dine(meals=meals), timeout=timeout)]
        for end in sorted(set(ends), key=ends.count, reverse=True):
            print(f"    {ends.count(end)}: {end}")


def said(end: Any) -> str:
    """What an ask to dine has ended with, in words."""
    match end:
        case Refused():
            return str(end)
        case UnderstudyError():
            return type(end).__name__
        case _:
            return f"{end} eaten"


class Philosophers(Supervisor):
    """See the module."""

    auto_shutdown = "any_significant"

    def children(self) -> list[ChildSpec]:
        return [child(Host).options(restart="temporary", significant=True)]


program = Philosophers
