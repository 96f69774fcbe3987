"""Pumps that have nothing to do for the moment."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio

    from understudy.actors._dispatcher import Runnable
    from understudy.actors._life import Job
    from understudy.environment import Environment, Halt

__all__ = ["ParkedPumps"]

_ROOM = 1_024
_PATIENCE = 0.2
"""Seconds after which those are ended that have not been wanted."""
_AT_ONCE = 64
"""How many are ended in one step of the event loop, so that it does not take long."""


class ParkedPumps:
    """Tasks that stay for a moment when the mailbox of their actor is empty, in case there is another message soon.

    A new task for a message costs several times what the message does where Python cannot start one at once, and as
    much again where it can. One that stands still goes on at once, in the midst of an activation. It belongs to its
    actor as ever, and neither a variable nor a cancel is left in it; the actor does not know of it, and is idle. There
    is room for so many only, and a timer, which runs while there are any, ends those that were not wanted.
    """

    __slots__ = ("_env", "_room", "_round", "_timer", "pumps")

    def __init__(self, env: Environment) -> None:
        self._env = env
        self.pumps: dict[Runnable, tuple[Job, Halt, int]] = {}
        """By their cells: where they stand, and the number of the round in which they came, the last at the end."""
        self._room = _ROOM
        self._round = 0
        self._timer: asyncio.TimerHandle | None = None

    def add(self, cell: Runnable, job: Job, halt: Halt) -> bool:
        """The pump of *cell* is about to halt; False: there is no room, and it has to end."""
        if len(self.pumps) >= self._room:
            return False
        self.pumps[cell] = job, halt, self._round
        if self._timer is None:
            self._timer = self._env.call_at(self._env.now() + _PATIENCE, self._look)
        return True

    def take(self, cell: Runnable) -> tuple[Job, Halt, int] | None:
        """The pump of *cell*, if there is one: it goes on when its halt says so."""
        pump = self.pumps.pop(cell, None)
        return None if pump is None or pump[1].cancelled else pump

    def drop(self, cell: Runnable) -> None:
        """End the pump of *cell*, if there is one."""
        pump = self.take(cell)
        if pump is not None:
            pump[1].go_on_later()

    def close(self) -> None:
        """End all of them; there will be no more."""
        self._room = 0
        for cell in list(self.pumps):
            self.drop(cell)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        stale = [cell for cell, (_, _, number) in self.pumps.items() if number != self._round]
        for cell in stale[:_AT_ONCE]:
            self.drop(cell)
        more = len(stale) > _AT_ONCE
        if not more:
            self._round += 1
        self._timer = (
            self._env.call_at(self._env.now() + (0.0 if more else _PATIENCE), self._look) if self.pumps else None
        )
