"""The state of a cell, and what belongs to one incarnation of it."""

from __future__ import annotations

import asyncio
import enum
import math
from contextvars import Context
from typing import TYPE_CHECKING, Any

from understudy.actors._asks import Ask
from understudy.environment import running_loop
from understudy.reasons import Crashed, Killed, RestartsExceeded, StartFailed

if TYPE_CHECKING:
    from understudy.reasons import ExitReason

__all__ = [
    "CHILDREN",
    "DEAD",
    "DOWN",
    "HANDLER",
    "HOOK",
    "NEW",
    "REST",
    "RUNNING",
    "STARTING",
    "STOPPING",
    "Ending",
    "Job",
    "Life",
    "Step",
    "Turn",
]


class Life(enum.Enum):
    """The state of a cell."""

    NEW = "new"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    DOWN = "down"
    DEAD = "dead"


# A member of an enumeration is slow to look up.
NEW, STARTING, RUNNING, STOPPING, DOWN, DEAD = Life


class Step(enum.Enum):
    """How far the end of an incarnation has come; each waits for what the one before has begun."""

    HANDLER = enum.auto()
    CHILDREN = enum.auto()
    HOOK = enum.auto()
    REST = enum.auto()


HANDLER, CHILDREN, HOOK, REST = Step


_STAYS = (Crashed, RestartsExceeded, StartFailed, Killed)
"""Reasons that no force overwrites."""


class Ending:
    """The end of an incarnation, from the request on."""

    # What most ends never change is said here, once for all.
    interrupting = False
    """The mark: set before the runtime cancels a job, so that what the job ends with means nothing."""
    abandon_at = math.inf
    since = 0.0
    """When it began, and its grace with it."""
    watched = False
    """The end of its grace has been seen to."""
    forced = False
    """The grace was over, or there was none."""
    step = HANDLER
    directive: str | None = None
    """What the actor's own rules say of the failure, for its parent: stop or escalate."""
    ignored = False
    """`initialize` wished not to run, which is no failure."""

    def __init__(self, reason: ExitReason, *, hook: bool) -> None:
        self.reason = reason
        # Whether the shutdown hook is to run.
        self.hook = hook

    def final_reason(self) -> ExitReason:
        """The first reason given; a forced end is `Killed`, unless the actor had failed by then."""
        if self.forced and not isinstance(self.reason, _STAYS):
            return Killed(first=self.reason)
        return self.reason


class Job:
    """The task of a cell, and the context it runs in.

    Not ``started``: no line of it has run yet, so it must not be cancelled.
    """

    __slots__ = ("context", "kind", "look", "result", "started", "task", "timer")

    def __init__(self, kind: str, context: Context | None = None) -> None:
        self.kind = kind
        self.context = Context() if context is None else context
        self.started = False
        # For a pump: something has changed since its stretch of messages began. Its cell has given it up, has got
        # belongings, or something else is to be looked at before the next message.
        self.look = False
        self.task: asyncio.Task[None] | None = None
        # What a hook has returned.
        self.result: object = None
        self.timer: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        """The first line of the task."""
        self.started = True
        self.task = asyncio.current_task()

    @property
    def is_current(self) -> bool:
        """Whether it runs now. A coroutine that is being destroyed does not: it sees a GeneratorExit from nowhere."""
        return running_loop() is not None and asyncio.current_task() is self.task

    def cancel(self) -> None:
        """Interrupt it; if it has not started, its first look at the mark does."""
        if self.started and self.task is not None:
            self.task.cancel()


class Turn(Job):
    """The run of one reentrant handler, beside the job of its cell and other turns.

    It is the frame of the code that runs in it, and of the tasks made there.
    """

    __slots__ = ("cell", "hand", "over", "recalled", "since")

    def __init__(self, cell: Any, hand: Any, since: float) -> None:
        super().__init__("turn")
        self.cell = cell
        self.hand = hand
        self.since = since
        # The mark: set before the runtime cancels it because its incarnation has failed.
        self.recalled = False
        # The message is not in hand any more.
        self.over = False

    def end(self) -> None:
        """Let go of the message."""
        self.over = True
        if isinstance(self.hand, Ask):
            self.hand.in_hand = False
        if self.timer is not None:
            self.timer.cancel()
