"""Lanes: the steps that are ready to run, sorted by what must stay in order.

An event loop runs ready callbacks first in, first out. Which of them may be exchanged without doing what no loop would
do? Those of one lane may not: the steps of one task, the activations of one actor, the callbacks of one future or
task group, and all callbacks that nobody can attribute, since transports rely on their order. Between lanes any order
is possible in principle; what picks one is a :mod:`strategy <understudy.testing._strategies>`.
"""

from __future__ import annotations

import asyncio
from bisect import insort
from collections import deque
from operator import attrgetter
from typing import TYPE_CHECKING, Any, TypeVar

from understudy.environment import OwnedTask

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextvars import Context

    from understudy.testing._loop import SimLoop

__all__ = ["Lane", "Ready", "SimFuture", "SimTask", "Step", "Timer"]

T = TypeVar("T")


class Lane:
    """Steps that run in the order in which they became ready."""

    __slots__ = ("behind", "due", "is_clock", "key", "label", "number", "priority", "ran", "steps")

    def __init__(self, label: str, number: int, key: str) -> None:
        self.label = label
        self.number = number
        # Its name in tapes: the label, numbered if others have it too. It stays when other lanes come and go.
        self.key = key
        # How many of its steps have run.
        self.ran = 0
        self.is_clock = False
        self.steps: deque[Step | Timer] = deque()
        # For the strategies: a rank that lasts, and up to which step it was made to wait.
        self.priority: float | None = None
        self.behind = 0
        # When the last of its delayed steps becomes ready: none that comes later may be earlier.
        self.due = 0.0

    @property
    def head(self) -> Step | Timer:
        """The step that would run next."""
        return self.steps[0]

    @property
    def age(self) -> int:
        """The number of the head; smaller is older."""
        return self.steps[0].order

    def __repr__(self) -> str:
        return f"<Lane {self.label} ({len(self.steps)})>"


class _InLane(asyncio.Handle):
    """What steps and timers have in common."""

    __slots__ = ()
    lane: Lane

    def cancel(self) -> None:
        """It shall not run, and is no choice any more."""
        if not self.cancelled():
            super().cancel()
            loop: SimLoop = self._loop  # type: ignore[attr-defined]
            loop.ready.drop_cancelled(self.lane)


class Step(_InLane):
    """A callback that is ready."""

    __slots__ = ("lane", "order", "priority")

    def __init__(
        self,
        callback: Callable[..., object],
        args: tuple[Any, ...],
        loop: SimLoop,
        context: Context | None,
        lane: Lane,
        order: int,
    ) -> None:
        super().__init__(callback, args, loop, context)
        self.lane = lane
        self.order = order
        self.priority: float | None = None


class Timer(_InLane, asyncio.TimerHandle):
    """A callback that becomes ready at its time. Equal times are in the order of the calls."""

    __slots__ = ("lane", "order", "priority")

    def __init__(
        self,
        when: float,
        callback: Callable[..., object],
        args: tuple[Any, ...],
        loop: SimLoop,
        context: Context | None,
        lane: Lane,
        order: int,
    ) -> None:
        super().__init__(when, callback, args, loop, context)
        self.lane = lane
        self.order = order
        self.priority: float | None = None

    @property
    def what(self) -> str:
        """What it would call, for people."""
        callback: Any = getattr(self, "_callback", None)
        callback = getattr(callback, "func", callback)
        return str(getattr(callback, "__qualname__", callback))

    def __lt__(self, other: object) -> bool:
        assert isinstance(other, Timer)
        return (self.when(), self.order) < (other.when(), other.order)


class Ready:
    """The lanes that have a step, oldest first. No head is a cancelled step."""

    __slots__ = ("lanes",)

    def __init__(self) -> None:
        self.lanes: list[Lane] = []

    def add(self, step: Step | Timer) -> None:
        """*step* is ready; it is newer than all others, so its lane comes last unless it has older ones."""
        steps = step.lane.steps
        steps.append(step)
        if len(steps) == 1:
            self.lanes.append(step.lane)

    def take(self, index: int) -> Step | Timer:
        """The head of the lane at *index*, which is no longer ready then."""
        lane = self.lanes.pop(index)
        step = lane.steps.popleft()
        self._insert(lane)
        return step

    def drop_cancelled(self, lane: Lane) -> None:
        """A step of *lane* was cancelled."""
        if lane.steps and lane.steps[0].cancelled():
            self.lanes.remove(lane)
            self._insert(lane)

    def _insert(self, lane: Lane) -> None:
        steps = lane.steps
        while steps and steps[0].cancelled():
            steps.popleft()
        if steps:
            insort(self.lanes, lane, key=attrgetter("age"))


class SimTask(OwnedTask[T]):
    """A task with a lane, and a number for its hash, so that sets of tasks have the same order in each run."""

    def __init__(self, coroutine: Any, *, loop: SimLoop, name: str | None = None, **options: Any) -> None:
        # Before the constructor, which schedules the first step.
        self.number = loop.next_number()
        name = name or f"task-{self.number}"
        self.lane = loop.new_lane(name)
        super().__init__(coroutine, loop=loop, name=name, **options)

    def __hash__(self) -> int:
        return self.number

    def set_name(self, value: object) -> None:
        """Task groups give the name afterwards on Python 3.11."""
        super().set_name(value)
        self.lane.label = self.get_name()


class SimFuture(asyncio.Future[T]):
    """A future with a number for its hash."""

    def __init__(self, *, loop: SimLoop) -> None:
        self.number = loop.next_number()
        super().__init__(loop=loop)

    def __hash__(self) -> int:
        return self.number
