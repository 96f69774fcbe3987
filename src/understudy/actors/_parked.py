"""Pumps that have nothing to do for the moment."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio

    from understudy.actors._dispatcher import Runnable
    from understudy.actors._life import Job
    from understudy.environment import Environment

__all__ = ["ParkedPumps"]

_ROOM = 1_024
_PATIENCE = 0.2
"""Seconds after which those are ended that have not been wanted."""
_AT_ONCE = 64
"""How many are ended in one step of the event loop, so that it does not take long."""


class ParkedPumps:
    """Tasks that stay for a moment when the mailbox of their actor is empty, in case there is another message soon.

    Where Python cannot start a task at once, a new one for a message costs several times what the message does. One
    that stands still goes on at once, in the midst of an activation, as an eager task would begin. It belongs to its
    actor as ever, and neither a variable nor a cancel is left in it; the actor does not know of it, and is idle. There
    is room for so many only, and a timer, which runs while there are any, ends those that were not wanted.
    """

    __slots__ = ("_env", "_room", "_round", "_timer", "jobs")

    def __init__(self, env: Environment) -> None:
        self._env = env
        self.jobs: dict[Runnable, tuple[Job, int]] = {}
        """By their cells, with the number of the round in which they came; those who came last are at the end."""
        self._room = _ROOM
        self._round = 0
        self._timer: asyncio.TimerHandle | None = None

    def add(self, cell: Runnable, job: Job) -> bool:
        """The pump of *cell* is about to halt; False: there is no room, and it has to end."""
        if len(self.jobs) >= self._room:
            return False
        self.jobs[cell] = job, self._round
        if self._timer is None:
            self._timer = self._env.call_at(self._env.now() + _PATIENCE, self._look)
        return True

    def take(self, cell: Runnable) -> Job | None:
        """The pump of *cell*, if there is one: it goes on when its halt says so."""
        job, _ = self.jobs.pop(cell, _NONE)
        return None if job is None or job.halt is None or job.halt.cancelled else job

    def drop(self, cell: Runnable) -> None:
        """End the pump of *cell*, if there is one."""
        job = self.take(cell)
        if job is not None and job.halt is not None:
            job.halt.go_on_later()

    def close(self) -> None:
        """End all of them; there will be no more."""
        self._room = 0
        for cell in list(self.jobs):
            self.drop(cell)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        stale = [cell for cell, (_, number) in self.jobs.items() if number != self._round]
        for cell in stale[:_AT_ONCE]:
            self.drop(cell)
        more = len(stale) > _AT_ONCE
        if not more:
            self._round += 1
        self._timer = (
            self._env.call_at(self._env.now() + (0.0 if more else _PATIENCE), self._look) if self.jobs else None
        )


_NONE: tuple[None, int] = None, 0
