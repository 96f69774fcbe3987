"""What tests of whole families need beside the players: looks at a supervisor's list, hooks that answer, counting."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

from tests.guarantees import cast_of_supervision
from tests.guarantees.cast_of_supervision import Diary, Part, Player, result_of
from understudy import ActorRef, ActorSystem, ChildSpec, Continue, Ignore, SupervisorRef, child

__all__ = ["Guest", "Stage", "Work", "first", "guest", "later", "listed", "only", "staged"]


@dataclass
class Stage:
    """As that of the other cast, with a supervisor at the top whose children can be administered."""

    system: ActorSystem
    top: SupervisorRef[Any]
    diary: Diary

    def __getitem__(self, name: str) -> ActorRef[Any]:
        return self.system.lookup(f"top/{name}", Player)


@asynccontextmanager
async def staged(*children: ChildSpec[Any], **how: Any) -> AsyncIterator[Stage]:
    """A system with *children* under the supervisor `/user/top`, whose end does not take the system along."""
    async with cast_of_supervision.staged(*children, **how) as stage:
        assert isinstance(stage.top, SupervisorRef)
        yield Stage(stage.system, stage.top, stage.diary)


class Guest(Player):
    """A player whose `initialize` answers with what its part says."""

    async def initialize(self) -> Any:
        self.write("starts")
        result = None
        if self.part.initialize is not None:
            result = await result_of(self.part.initialize(self))
        self.write("up")
        return result if isinstance(result, Continue | Ignore) else None


def guest(part: Part, **options: Any) -> ChildSpec[Any]:
    return child(Guest, part).options(name=part.name, **options)


def only(incarnation: int, what: Callable[..., object]) -> Callable[..., object]:
    """What happens in that incarnation and in no other."""
    return lambda actor: what(actor) if actor.incarnation == incarnation else None


def first(what: Callable[..., object]) -> Callable[..., object]:
    """What happens in the first incarnation alone."""
    return only(1, what)


def later(what: Callable[..., object]) -> Callable[..., object]:
    """What happens in all incarnations but the first."""
    return lambda actor: what(actor) if actor.incarnation > 1 else None


async def listed(top: SupervisorRef[Any]) -> dict[str, str]:
    """The status of each child that is listed, in the order of the list."""
    return {info.name: info.status for info in await top.which_children()}


class Work:
    """Counts the lines that are run, so that costs can be compared on a machine that is busy otherwise.

    Each turn of a loop is a line, in comprehensions too; what a single call of C code does is not seen.
    """

    def __init__(self) -> None:
        self.steps = 0

    def __enter__(self) -> Work:
        self._before = sys.gettrace()
        sys.settrace(self._trace)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(self._before)

    def _trace(self, frame: FrameType, event: str, argument: object) -> Any:
        self.steps += 1
        return self._trace
