"""An event loop whose clock is virtual, for ordinary tests.

:class:`VirtualLoop` runs what is ready, and then, where an ordinary loop would sleep until the next timer, it sets its
clock to that timer. A test that waits an hour takes no time, and its timers fire in the order of their deadlines
however busy the machine is. Where an ordinary loop would sleep for ever, it raises :class:`DeadlockError`.

What the clock cannot know is work outside the loop. Jobs handed to an executor (``asyncio.to_thread`` and the like) are
seen: while one is in flight the loop really waits, for as long as the next timer is away, before it moves its clock; so
a job takes no virtual time, unless it takes longer than that. A test that waits for something else from outside (a
thread of its own, another process, a peer behind a socket) says so with :meth:`VirtualLoop.outside`, or runs on an
ordinary loop; see :func:`loop_factories`.
"""

from __future__ import annotations

import asyncio
import math
import selectors
import sys
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from typing_extensions import TypeVarTuple, Unpack

from understudy.environment import running_loop
from understudy.testing._errors import DeadlockError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator, Mapping
    from concurrent.futures import Executor
    from types import CodeType, FrameType

__all__ = ["HeldClock", "RealTimeError", "VirtualLoop", "describe", "loop_factories"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class RealTimeError(AssertionError):
    """Code has blocked the thread of a loop whose time is virtual: real time would pass, and the loop's would not.

    Attributes:
        seconds: How long it wanted to sleep.
        place: The file and the line that called ``time.sleep``.
    """

    def __init__(self, seconds: float, place: str) -> None:
        super().__init__(seconds, place)
        self.seconds = seconds
        self.place = place

    def __str__(self) -> str:
        return (
            f"time.sleep({self.seconds:g}) at {self.place}: real time would pass while that of the event loop stands "
            "still and nothing else runs: use `await asyncio.sleep(...)` or `await asyncio.to_thread(...)`, "
            "or mark the test real_time"
        )


class HeldClock(Protocol):
    """Who moves the time of a loop, when the loop does not; see :class:`understudy.testing.ManualClock`."""

    def target(self) -> float | None:
        """The time up to which the loop may go; None: it has to stand still."""
        ...

    def arrived(self) -> None:
        """That time has come, and nothing that can happen then is left."""
        ...


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop that jumps to its next timer instead of sleeping until it is due.

    :meth:`time` begins at 0 and never goes back. Nothing is promised about the order of what is ready at the same time
    beyond what asyncio's own loop does. ``time.sleep`` of more than 0 seconds in its thread while it runs is a
    :class:`RealTimeError`, at the caller and, should that be caught, again at the end of the run; a function that was
    imported by ``from time import sleep`` before the loop ran gets past this. ``time.time`` and ``time.monotonic`` stay
    real.

    Raises:
        DeadlockError: Nothing is ready, no timer is set, nothing outside is known to be at work, and the loop is to
            run on.
    """

    patience = 1.0
    """Real seconds until a deadlock is declared when another thread, a signal or a descriptor could wake the loop."""

    _clock_resolution: float
    _scheduled: list[asyncio.TimerHandle]
    _selector: selectors.BaseSelector

    def __init__(self) -> None:
        self._now = 0.0  # never goes back
        self._in_flight = 0
        self._clock: HeldClock | None = None
        self._slept: RealTimeError | None = None
        super().__init__(_JumpingSelector(self))
        self._own_descriptors = len(self._selector.get_map())  # those through which the loop wakes itself

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._now

    @contextmanager
    def outside(self) -> Generator[None]:
        """Say that something outside the loop is at work, so that the loop really waits for it."""
        self._in_flight += 1
        try:
            yield
        finally:
            self._in_flight -= 1

    def run_forever(self) -> None:
        """Run until :meth:`stop`."""
        with _no_sleep():
            super().run_forever()

    def run_until_complete(self, future: Generator[Any, None, T] | Awaitable[T]) -> T:
        """Run until *future* is done, and return its result."""
        try:
            result = super().run_until_complete(future)
        except BaseException as error:
            slept, self._slept = self._slept, None
            if slept is not None and slept is not error:
                error.add_note(f"Before that: {slept}")
            raise
        slept, self._slept = self._slept, None
        if slept is not None:
            raise slept
        return result

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[Unpack[Ts]], T], *args: *Ts
    ) -> asyncio.Future[T]:
        """Run *func* in a thread or process; the loop really waits while it is at work."""
        future = super().run_in_executor(executor, func, *args)
        self._in_flight += 1
        future.add_done_callback(self._job_done)
        return future

    def _job_done(self, _future: asyncio.Future[Any]) -> None:
        self._in_flight -= 1

    async def shutdown_default_executor(self, *args: Any, **kwargs: Any) -> None:
        """Join the threads of :meth:`run_in_executor`."""
        # Joins its threads from another thread, under a timeout that must not fire at once.
        with self.outside():
            await super().shutdown_default_executor(*args, **kwargs)

    # Holding the clock

    def hold(self, clock: HeldClock) -> None:
        """Let *clock* say from here on how far time may go.

        Raises:
            RuntimeError: Another one does already.
        """
        if self._clock is not None:
            raise RuntimeError("the clock of this event loop is held already: release the other ManualClock first")
        self._clock = clock

    def release(self, clock: HeldClock) -> None:
        """Time passes by itself again, if *clock* was holding it."""
        if self._clock is clock:
            self._clock = None

    def is_held_by(self, clock: HeldClock) -> bool:
        """Whether *clock* says how far time may go."""
        return self._clock is clock

    # What the selector asks

    def idle(self, select: Callable[[float | None], list[Any]]) -> list[Any]:
        """Nothing is ready: really wait, or move the clock, or give up; return the events that came meanwhile.

        Raises:
            DeadlockError: Nothing can happen any more.
        """
        deadline = self._scheduled[0].when() if self._scheduled else math.inf
        target = math.inf if self._clock is None else self._clock.target()
        if target is None:
            return self._wait_for_ever(select, _held(deadline - self._now))
        # The loop fires what is due within a tick of its clock, so that belongs to the target too.
        arrives = deadline >= target + self._clock_resolution
        goal = target if arrives else deadline
        if goal == math.inf:
            return self._wait_for_ever(select)
        if self._in_flight:
            events = select(min(goal - self._now, threading.TIMEOUT_MAX))
            if events:
                return events
        self._jump(goal, due=not arrives)
        if arrives and self._clock is not None:
            self._clock.arrived()
        return []

    def _jump(self, when: float, *, due: bool) -> None:
        self._now = max(self._now, when)
        if due and when >= self._now + self._clock_resolution:
            # So late that the resolution is lost in rounding; without this step the timer would never be due.
            self._now = math.nextafter(when, math.inf)

    def _wait_for_ever(self, select: Callable[[float | None], list[Any]], doing: str = "") -> list[Any]:
        if self._in_flight:
            return select(None)
        events = select(self.patience) if self._may_be_woken() else []
        if not events:
            raise DeadlockError(self._now, sorted(describe(task) for task in asyncio.all_tasks(self)), doing)
        return events

    def _may_be_woken(self) -> bool:
        return (
            len(self._selector.get_map()) > self._own_descriptors
            or bool(getattr(self, "_signal_handlers", None))
            or threading.active_count() > 1
        )

    # What `time.sleep` asks

    def refuse_sleep(self, seconds: float, caller: FrameType) -> None:
        """Somebody has called ``time.sleep`` in this loop."""
        error = RealTimeError(seconds, f"{caller.f_code.co_filename}:{caller.f_lineno}")
        if self._slept is None:
            self._slept = error
        raise error


def _held(left: float) -> str:
    if left == math.inf:
        return ""
    return f"the clock is held: advance it (the next timer is due in {left:g} s)"


class _JumpingSelector(selectors.DefaultSelector):
    """Never sleeps until a timer is due: the loop moves its clock there."""

    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        events = super().select(0)
        if events or (timeout is not None and timeout <= 0):
            return events
        return self._loop.idle(super().select)


# No real sleep

_lock = threading.Lock()
_running = 0
"""How many virtual loops run, in all threads; while there is one, `time.sleep` is ours."""
_real_sleep = time.sleep
"""What `time.sleep` was before."""


def _sleep(seconds: Any, /) -> None:
    loop = running_loop()
    if isinstance(loop, VirtualLoop) and seconds > 0:
        loop.refuse_sleep(seconds, sys._getframe(1))  # pyright: ignore[reportPrivateUsage]
    _real_sleep(seconds)


@contextmanager
def _no_sleep() -> Generator[None]:
    global _running, _real_sleep  # noqa: PLW0603 - as global as what it replaces
    with _lock:
        _running += 1
        if time.sleep is not _sleep:
            _real_sleep, time.sleep = time.sleep, _sleep
    try:
        yield
    finally:
        with _lock:
            _running -= 1
            # Not if somebody else has replaced it meanwhile, who will put ours back; that does no harm.
            if not _running and time.sleep is _sleep:
                time.sleep = _real_sleep


# For pytest


class Marked(Protocol):
    """A test, as pytest hands it to its hooks."""

    def get_closest_marker(self, name: str) -> object | None:
        """Its marker of that name, or that of its class or module."""
        ...


def loop_factories(item: Marked) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """A :class:`VirtualLoop` for each async test, and an ordinary one for those marked ``real_time``.

    For pytest-asyncio, in a ``conftest.py``::

        from understudy.testing import loop_factories as pytest_asyncio_loop_factories

    The ini option ``understudy_virtual_time = true`` does the same for a whole project.
    """
    if item.get_closest_marker("real_time") is not None:
        return {"real": asyncio.SelectorEventLoop}
    return {"virtual": VirtualLoop}


# Describing what waits


def describe(task: asyncio.Task[Any]) -> str:
    """Name a task and where it waits: ``'Task-1' in main (test_x.py:12)``."""
    step: object = task.get_coro()
    code: CodeType | None = None
    line = 0
    while step is not None:
        code, line = _position(step) or (code, line)
        step = getattr(step, "cr_await", None) or getattr(step, "ag_await", None) or getattr(step, "gi_yieldfrom", None)
    where = "" if code is None else f" in {code.co_qualname} ({code.co_filename}:{line})"
    return f"{task.get_name()!r}{where}"


def _position(step: object) -> tuple[CodeType, int] | None:
    for attribute in ("cr_frame", "ag_frame", "gi_frame"):
        frame: FrameType | None = getattr(step, attribute, None)
        if frame is not None:
            return frame.f_code, frame.f_lineno
    return None
