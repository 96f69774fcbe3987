"""An event loop whose clock is virtual.

`VirtualLoop` runs what is ready, and then, where an ordinary loop would sleep until the next timer, it sets its clock
to that timer. A test that waits an hour takes no time, and its timers fire in the order of their deadlines however busy
the machine is. Where an ordinary loop would sleep for ever, it raises `Deadlock` and says who waits where.

What the clock cannot know is work outside the loop. Jobs handed to an executor (`asyncio.to_thread` and the like) are
seen: while one is in flight the loop really waits, for as long as the next timer is away, before it moves its clock; so
a job takes no virtual time, unless it takes longer than that. A test that waits for something else from outside (a
thread of its own, another process, a peer behind a socket) says so with `VirtualLoop.outside()`, or is marked
`real_time`.
"""

from __future__ import annotations

import asyncio
import math
import selectors
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import CodeType, FrameType
from typing import Any, TypeVarTuple, Unpack

Ts = TypeVarTuple("Ts")


class Deadlock(RuntimeError):
    """Nothing can happen in this loop any more: no callback is ready, no timer is set, nothing outside is at work."""

    def __init__(self, *, now: float, waiting: list[str]) -> None:
        self.now = now
        self.waiting = waiting
        who = "; ".join(waiting) or "no task"
        super().__init__(
            f"nothing can happen any more at virtual time {now:g}: "
            f"no callback is ready, no timer is set and no job is in flight; waiting: {who}"
        )


class VirtualLoop(asyncio.SelectorEventLoop):
    """A selector event loop that jumps to its next timer instead of sleeping until it is due."""

    patience = 1.0
    """Real seconds until a `Deadlock`, when another thread, a signal or a descriptor could still wake the loop."""

    def __init__(self) -> None:
        self._now = 0.0  # never goes back
        self._in_flight = 0
        super().__init__(_JumpingSelector(self))
        self._own_descriptors = len(self._selector.get_map())  # those through which the loop wakes itself

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._now

    @contextmanager
    def outside(self) -> Iterator[None]:
        """Say that something outside the loop is at work, so that the loop really waits for it."""
        self._in_flight += 1
        try:
            yield
        finally:
            self._in_flight -= 1

    def run_in_executor(self, executor: Any, func: Callable[[Unpack[Ts]], Any], *args: *Ts) -> asyncio.Future[Any]:
        future = super().run_in_executor(executor, func, *args)
        self._in_flight += 1
        future.add_done_callback(self._job_done)
        return future

    def _job_done(self, _future: asyncio.Future[Any]) -> None:
        self._in_flight -= 1

    async def shutdown_default_executor(self, *args: Any, **kwargs: Any) -> None:
        # Joins its threads from another thread, under a timeout that must not fire at once.
        with self.outside():
            await super().shutdown_default_executor(*args, **kwargs)

    # What the selector asks.

    def _next_deadline(self) -> float:
        return self._scheduled[0].when() if self._scheduled else math.inf

    def _jump(self, when: float) -> None:
        self._now = max(self._now, when)
        if when >= self._now + self._clock_resolution:
            # So late that the resolution is lost in rounding; without this step the timer would never be due.
            self._now = math.nextafter(when, math.inf)

    def _may_be_woken(self) -> bool:
        return (
            len(self._selector.get_map()) > self._own_descriptors
            or bool(self._signal_handlers)
            or threading.active_count() > 1
        )


class _JumpingSelector(selectors.DefaultSelector):  # type: ignore[misc, valid-type]
    """Never sleeps until a timer is due: it moves the loop's clock there."""

    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        events = super().select(0)
        if events or (timeout is not None and timeout <= 0):
            return events
        loop = self._loop
        deadline = loop._next_deadline()
        if deadline == math.inf:
            return self._wait_for_ever()
        if loop._in_flight:
            events = super().select(min(deadline - loop.time(), threading.TIMEOUT_MAX))
            if events:
                return events
        loop._jump(deadline)
        return []

    def _wait_for_ever(self) -> list[tuple[selectors.SelectorKey, int]]:
        loop = self._loop
        if loop._in_flight:
            return super().select(None)
        events = super().select(loop.patience) if loop._may_be_woken() else []
        if not events:
            raise Deadlock(now=loop.time(), waiting=[describe(task) for task in asyncio.all_tasks(loop)])
        return events


def describe(task: asyncio.Task[Any]) -> str:
    """Name a task and where it waits: `'Task-1' in main (test_x.py:12)`."""
    step = task.get_coro()
    code, line = None, 0
    while step is not None:
        code, line = _position(step) or (code, line)
        step = getattr(step, "cr_await", None) or getattr(step, "ag_await", None) or getattr(step, "gi_yieldfrom", None)
    where = f" in {code.co_qualname} ({code.co_filename}:{line})" if code is not None else ""
    return f"{task.get_name()!r}{where}"


def _position(step: object) -> tuple[CodeType, int] | None:
    for attribute in ("cr_frame", "ag_frame", "gi_frame"):
        frame: FrameType | None = getattr(step, attribute, None)
        if frame is not None:
            return frame.f_code, frame.f_lineno
    return None
