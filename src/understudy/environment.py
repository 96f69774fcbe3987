"""The ports to the outside: clock, random numbers, ids, tasks and their registry.

Nothing else in the core may read a clock, draw a random number or create a task. Whoever replaces this object decides
when anything happens, which is what makes a run repeatable.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
import gc
import itertools
import math
import os
import random
import secrets
import sys
import threading
import time
import traceback
from contextvars import Context
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator, Iterator
    from types import CodeType, FrameType

__all__ = [
    "Blocking",
    "Environment",
    "Halt",
    "OwnedTask",
    "Patrol",
    "TaskRegistry",
    "Thread",
    "context_of_task",
    "environment_of",
    "forget_task",
    "frames_in_hand",
    "frames_of_task",
    "not_now",
    "nowhere",
    "place",
    "running_loop",
    "start_thread",
    "thread_id",
    "thread_test",
    "variables_of",
]

T = TypeVar("T")

running_loop: Callable[[], asyncio.AbstractEventLoop | None] = asyncio._get_running_loop
"""The event loop that runs in this thread and process, or None. It asks for the process id on 3.11, which costs as much
as all the rest of a tell."""

thread_id = threading.get_ident
"""The number of this thread; nearly free."""

place: Callable[[], object] = running_loop if sys.version_info >= (3, 12) else thread_id
"""Where this code runs, as exactly as can be told for next to nothing: the event loop, on 3.11 the thread."""


class _ThreadTest(threading.local):
    """Asks a lock, which the thread takes once and keeps, for its owner: cheaper than to make and compare numbers."""

    def __init__(self) -> None:
        lock: Any = threading.RLock()
        lock.acquire()
        self.here: Callable[[], bool] = lock._is_owned


_thread_test = _ThreadTest()
_nobodys: Any = threading.RLock()

nowhere: Callable[[], bool] = _nobodys._is_owned
"""Says no in every thread."""


not_now = object()
"""It has not been done, and has to be done in another way."""

Thread = threading.Thread


def start_thread(function: Callable[[], object], name: str) -> Thread:
    """Call *function* in a thread of its own, which does not keep the process from ending."""
    thread = Thread(target=function, name=name, daemon=True)
    thread.start()
    return thread


def thread_test() -> Callable[[], bool]:
    """What says whether it is called in this thread, the one that calls this; the same for all who ask in a thread."""
    return _thread_test.here


# What who writes a task class of his own has to call around each of its steps.
_leave_task: Callable[[asyncio.AbstractEventLoop, asyncio.Task[Any]], None] = getattr(asyncio.tasks, "_leave_task")  # noqa: B009
_enter_task: Callable[[asyncio.AbstractEventLoop, asyncio.Task[Any]], None] = getattr(asyncio.tasks, "_enter_task")  # noqa: B009

_DEEP = 500
"""Frames; half of what Python allows by default."""
_NEAR = 5
"""Frames between `_is_deep` and a callback of the event loop, where a coroutine asks that is not awaited by another."""

# Which task runs. On 3.11 `current_task` is a function of Python's around this.
_task_in: Callable[[asyncio.AbstractEventLoop], asyncio.Task[Any] | None] = (
    asyncio.current_task if sys.version_info >= (3, 12) else getattr(asyncio.tasks, "_current_tasks").get  # noqa: B009
)

_EAGER: dict[str, Any] = {"eager_start": True} if sys.version_info >= (3, 12) else {}


if sys.version_info >= (3, 12):

    def _is_deep(env: Environment) -> bool:
        """Whether the stack is so deep that what runs on it now might not have room."""
        # It says None where there is no such frame, for a fifth of what an exception costs.
        return sys._getframemodulename(_DEEP) is not None  # pyright: ignore[reportPrivateUsage]

else:

    def _is_deep(env: Environment) -> bool:
        """Whether the stack is so deep that what runs on it now might not have room."""
        try:
            # An exception costs as much as two handlers. The event loop is as far down as it was, if this is its step.
            if env.is_shallow:
                frame: FrameType | None = sys._getframe(_NEAR)  # pyright: ignore[reportPrivateUsage]
                for _ in range(_NEAR):
                    if frame is None or frame.f_code is _RUN_CALLBACK:
                        return False
                    frame = frame.f_back
            sys._getframe(_DEEP)  # pyright: ignore[reportPrivateUsage]
        except ValueError:
            env.is_shallow = True
            return False
        return True


_process = [os.getpid()]
"""The number of this process, also in a fork of it."""
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: _process.__setitem__(0, os.getpid()))


class Environment:
    """One for each system, bound to the event loop that runs it."""

    __slots__ = (
        "_process",
        "is_shallow",
        "loop",
        "neutral",
        "new_task",
        "next_uid",
        "now",
        "place",
        "processor_time",
        "random",
        "stopwatch",
        "tasks",
        "thread",
        "token_bytes",
        "wall",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.is_shallow = False
        """Whether the event loop itself has been seen not to be deep in the stack; to be forgotten now and then."""
        self.thread = thread_id()
        self.place = loop if place is running_loop else self.thread
        """What :data:`place` says here."""
        self._process = _process[0]
        # Of this environment alone: no two threads can be in one context at a time.
        self.neutral = Context()
        """Where timers and turns begin, which would else keep the variables of whoever was the first to need one."""
        # What asyncio's own loops do, without the call in between.
        own = getattr(type(loop), "time", None) is asyncio.BaseEventLoop.time
        self.now: Callable[[], float] = time.monotonic if own else loop.time
        """Seconds on the event loop's clock, which may be virtual. All deadlines are points on it."""
        self.wall: Callable[[], float] = time.time
        """Seconds since 1970, to tell people when something was; no deadline depends on it."""
        self.stopwatch: Callable[[], float] = time.perf_counter
        """Seconds of real time, to measure how long this process has been computing."""
        self.processor_time: Callable[[], float] = time.process_time
        """Seconds for which this process has had a processor, all its threads together."""
        self.random = random.Random()  # noqa: S311 - jitter and routing, no secrets
        self.token_bytes: Callable[[int], bytes] = secrets.token_bytes
        """So many bytes that nobody can guess."""
        self.new_task: Callable[..., asyncio.Task[Any]] = functools.partial(OwnedTask, loop=loop, **_EAGER)
        """Make a task out of a coroutine, a ``name`` and a ``context``; for :meth:`start_task`."""
        self.tasks = TaskRegistry()
        self.next_uid: Callable[[], int] = itertools.count(1).__next__
        """A number that no other actor of this system has had."""

    if sys.version_info >= (3, 12):

        def is_here(self) -> bool:
            """Whether this is called in the event loop."""
            return running_loop() is self.loop

    else:

        def is_here(self) -> bool:
            """Whether this is called in the event loop."""
            # In its thread while it runs: no two loops of a thread do. To ask which does costs three times as much.
            return thread_id() == self.thread and self.loop.is_running() and _process[0] == self._process

    @property
    def still(self) -> bool:
        """Whether nothing can change while one looks: the event loop is closed, or stands still in this thread."""
        return self.loop.is_closed() or (running_loop() is None and thread_id() == self.thread and not self.forked)

    @property
    def forked(self) -> bool:
        """Whether this is another process, which has but a copy of the event loop."""
        return _process[0] != self._process

    def whereabouts(self) -> str:
        """Where this is called, outside of the event loop, in words."""
        if self.forked:
            return f"in a fork of the process ({self._process}) that runs its event loop"
        if self.loop.is_closed():
            return "after its event loop has been closed"
        if thread_id() != self.thread:
            return f"in the thread {threading.current_thread().name!r}, outside of its event loop"
        return "while its event loop does not run" if running_loop() is None else "in another event loop than its own"

    def call_at(self, when: float, callback: Callable[[], object]) -> asyncio.TimerHandle | None:
        """Call *callback* at *when* on the clock of :attr:`now`; None when that is never."""
        return None if when == math.inf else self.loop.call_at(when, callback, context=self.neutral)

    def call_from_thread(self, function: Callable[[T], object], argument: T) -> None:
        """In any thread: call *function* in the event loop, when a task would begin that is ordered now.

        Raises:
            RuntimeError: The event loop is closed.
        """
        if _EAGER:
            self.loop.call_soon_threadsafe(function, argument)
        else:  # a task begins a turn later than it is made
            self.loop.call_soon_threadsafe(self.loop.call_soon, function, argument)

    def call_aside(self, function: Callable[[T], object], argument: T, context: Context) -> object:
        """Call *function* in *context* in the middle of a task, as if the event loop had: there is no current task.

        Not called at all while an exception is being handled, which would become the context of what is raised in
        there, or where the stack is so deep that it might not have room.

        Returns:
            What *function* does; :data:`not_now` if it has not been called.
        """
        if sys.exception() is not None or _is_deep(self):
            return not_now
        loop = self.loop
        task = _task_in(loop)
        if task is None:
            return context.run(function, argument)
        _leave_task(loop, task)
        try:
            return context.run(function, argument)
        finally:
            _enter_task(loop, task)

    def start_task(
        self,
        coroutine: Coroutine[Any, Any, T],
        *,
        name: str,
        context: Context,
        on_done: Callable[[asyncio.Task[T]], object] | None = None,
    ) -> asyncio.Task[T]:
        """Run *coroutine* as an owned task, eagerly where Python can (3.12 and later).

        The registry holds it until it ends. It must not raise: the caller wraps user code so that an exception becomes
        a value. *on_done* is called when the task was still running on return from here and has ended since; it is
        called also when the task was cancelled before its first step, which no line of *coroutine* can notice.
        """
        task: asyncio.Task[T] = self.new_task(coroutine, name=name, context=context)
        if not task.done():
            self.tasks.add(task, on_done)
            task.add_done_callback(self.tasks.ended, context=context)
        return task

    def halt(self) -> Halt | None:
        """Where a task can wait for more to do; None where it is as well ended."""
        return Halt(self.loop)

    def patrol(self, look: Callable[[], bool], interval: float, name: str) -> Patrol:
        """A thread, not yet started, that calls *look* again and again; see :class:`Patrol`."""
        return Patrol(look, interval, name, self.loop)


def environment_of(loop: asyncio.AbstractEventLoop) -> Environment:
    """The ports for what runs in *loop* without a system; a simulated event loop has its own kind."""
    kind: Callable[[asyncio.AbstractEventLoop], Environment] = getattr(loop, "understudy_environment", Environment)
    return kind(loop)


class OwnedTask(asyncio.Task[T]):
    """A task that knows at once that somebody has cancelled it."""

    __slots__ = ("touched",)

    touched: bool
    """Whether somebody has, since this was set to False; also if it has been taken back, or has not struck yet."""

    def cancel(self, msg: Any = None) -> bool:
        """As for any task."""
        self.touched = True
        return super().cancel(msg)


class Halt:
    """Where one task stands still until it is made to go on, in the midst of a step of the event loop.

    Who waits for a future goes on a turn of the event loop after that is done. This is no more than a future to the
    task that waits, which gives it what it would have the event loop call; it is called here instead, in the same way:
    in the context of the task, and with no other task under way. Private names; a test on each Python guards them.
    """

    __slots__ = ("_asyncio_future_blocking", "_context", "_going", "_loop", "_step", "cancelled")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._asyncio_future_blocking = False
        # Its next step has been ordered, and there must be no second one.
        self._going = False
        self._loop = loop
        self._step: Callable[[Halt], object] | None = None
        self._context: Context | None = None
        self.cancelled = False
        """Whether somebody has cancelled the task that stands here: it is not to go on."""

    def __await__(self) -> Generator[Halt, None, None]:
        self._going = False
        self._asyncio_future_blocking = True
        yield self

    def go_on(self) -> None:
        """Let the task go on, now; to be called where no task runs."""
        assert self._context is not None
        assert self._step is not None
        self._context.run(self._step, self)

    def go_on_later(self) -> None:
        """Let the task go on in the next turn of the event loop."""
        assert self._step is not None
        self._going = True
        self._loop.call_soon(self._step, self, context=self._context)

    # What the task calls

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """The loop of the task."""
        return self._loop

    def add_done_callback(self, step: Callable[[Halt], object], *, context: Context | None = None) -> None:
        """The task stands still; *step* is its next."""
        self._step, self._context = step, context

    def result(self) -> None:
        """Nothing, or the cancel."""
        if self.cancelled:
            raise asyncio.CancelledError

    def cancel(self, msg: object = None) -> bool:
        """The task is cancelled; False: it is about to go on, and sees to that itself."""
        if self._going:
            return False
        self.cancelled = True
        self.go_on_later()
        return True


class Patrol:
    """A thread of its own that calls *look* every *interval* seconds of real time until that says False, or `stop`.

    No daemon, so whoever starts it has to stop it. One that was forgotten ends by itself when *loop* is closed or the
    main thread has ended, and so does not hold up the end of the process for longer than the interval.
    """

    __slots__ = ("_interval", "_look", "_loop", "_stopped", "_thread")

    def __init__(self, look: Callable[[], bool], interval: float, name: str, loop: asyncio.AbstractEventLoop) -> None:
        self._look = look
        self._interval = interval
        self._loop = loop
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=False)

    def start(self) -> None:
        """Begin; the first look is after the interval."""
        self._thread.start()

    def stop(self, patience: float) -> bool:
        """End, and wait for that for no more than *patience* seconds; whether it has."""
        self._stopped.set()
        self._thread.join(patience)
        return not self._thread.is_alive()

    def _run(self) -> None:
        main = threading.main_thread()
        while not self._stopped.wait(self._interval) and main.is_alive() and not self._loop.is_closed():
            if not self._look():
                return


class Blocking:
    """Threads for calls that block, no more than *limit* at a time; made with the first call."""

    __slots__ = ("_calls", "_env", "_executor", "_limit")

    def __init__(self, env: Environment, limit: int) -> None:
        self._env = env
        self._limit = limit
        self._executor: concurrent.futures.ThreadPoolExecutor | None = None
        # Those that run, or wait for a thread. Threads change it too, each by one operation that cannot be interrupted.
        self._calls: set[object] = set()

    @property
    def calls(self) -> int:
        """How many run, or wait for a thread; whether or not anybody still waits for them."""
        return len(self._calls)

    async def call(self, function: Callable[[], T]) -> T:
        """Call *function* in a thread and wait for it; if that is cancelled, the thread is not."""
        if self._executor is None:
            self._executor = concurrent.futures.ThreadPoolExecutor(self._limit, "understudy-blocking")
        call, calls = object(), self._calls
        began = False

        def counted() -> T:
            nonlocal began
            began = True
            calls.add(call)  # once more, if it was cancelled in the very moment in which it began
            try:
                return function()
            finally:
                calls.discard(call)

        calls.add(call)
        try:
            return await self._env.loop.run_in_executor(self._executor, counted)
        finally:
            if not began:  # it never will
                calls.discard(call)

    def close(self) -> None:
        """Start no more; what runs in a thread runs on."""
        if self._executor is not None:
            self._executor.shutdown(wait=self.calls == 0, cancel_futures=True)


class TaskRegistry:
    """All tasks of a system that have not ended, in the order in which they began.

    A pending task that nobody refers to is collected as garbage; these references keep them alive.
    """

    __slots__ = ("_tasks", "abandoned", "closed")

    def __init__(self) -> None:
        self.closed = False
        """Whether no task is to begin any more, of those that come from other threads."""
        # What to call when one has ended.
        self._tasks: dict[asyncio.Task[Any], Callable[[asyncio.Task[Any]], object] | None] = {}
        self.abandoned: list[str] = []
        """Names of the tasks that would not end and were given up on."""

    def __len__(self) -> int:
        return len(self._tasks)

    def __iter__(self) -> Iterator[asyncio.Task[Any]]:
        return iter(list(self._tasks))

    def add(self, task: asyncio.Task[Any], on_done: Callable[[asyncio.Task[Any]], object] | None = None) -> None:
        """Own *task*; *on_done* is for :meth:`ended`."""
        self._tasks[task] = on_done

    def ended(self, task: asyncio.Task[Any]) -> None:
        """*task* has ended: call what wants to know of it."""
        on_done = self._tasks.pop(task, None)
        if on_done is not None:
            on_done(task)

    def leave(self, task: asyncio.Task[Any]) -> None:
        """*task* is at its last line and has seen to all itself: spare the event loop the call of :meth:`ended`."""
        if task.remove_done_callback(self.ended):
            self._tasks.pop(task, None)

    def close(self) -> None:
        """The event loop is about to be closed."""
        self.closed = True

    def abandon(self, task: asyncio.Task[Any]) -> list[str]:
        """Give up on *task*, which goes on running as a zombie, and return where it stands, a line for each frame."""
        stack = [line.rstrip() for line in _lines(frames_of_task(task))]
        self.abandoned.append(task.get_name())
        forget_task(task)
        self._tasks.pop(task, None)
        return stack


def forget_task(task: asyncio.Task[Any]) -> None:
    """Take *task* out of ``asyncio.all_tasks()``.

    ``asyncio.run`` would otherwise wait at its end for a task that resists every cancel, for ever. A
    private name; a test on each Python guards it.
    """
    unregister: Callable[[asyncio.Task[Any]], None] = getattr(asyncio.tasks, "_unregister_task")  # noqa: B009
    unregister(task)
    # It may be destroyed pending, when the loop is closed under it; that has been reported already.
    setattr(task, "_log_destroy_pending", False)  # noqa: B010


def frames_of_task(task: asyncio.Task[Any]) -> list[FrameType]:
    """Where *task* stands: its frames, from the outermost coroutine to the innermost."""
    frames: list[FrameType] = []
    waiting: Any = task.get_coro()
    while waiting is not None:
        frame = _frame_of(waiting)
        if frame is not None:
            frames.append(frame)
            waiting = _first(waiting, ("cr_await", "gi_yieldfrom", "ag_await"))
        else:
            # What `async for` and `__await__` put between two of them has no frame; the garbage collector sees through.
            waiting = next((each for each in gc.get_referents(waiting) if _frame_of(each) is not None), None)
    return frames


def context_of_task(task: asyncio.Task[Any]) -> Context | None:
    """The context in which *task* runs; Python says it from 3.12 on, and the garbage collector always."""
    return next((each for each in gc.get_referents(task) if isinstance(each, Context)), None)


def variables_of(context: Context) -> object:
    """What holds the variables of *context* and their values; another object as soon as one of them is another.

    Copies of the context share it until they differ, so somebody else refers to it as long as there is a copy that
    still has these variables. Who keeps it keeps the values. A private thing; a test on each Python guards it.
    """
    return next(each for each in gc.get_referents(context) if type(each).__name__ == "hamt")


_RUN_ONCE: CodeType = getattr(asyncio.BaseEventLoop, "_run_once").__code__  # noqa: B009
_RUN_CALLBACK: CodeType = getattr(asyncio.Handle, "_run").__code__  # noqa: B009


def frames_in_hand(loop: asyncio.AbstractEventLoop, thread: int) -> list[FrameType]:
    """What *loop*, which belongs to *thread*, is running: the frames of the callback, innermost first; none: it waits.

    Can be called from any thread. An event loop of another make does not tell that it waits: then these are all the
    frames of the thread. Private names; a test on each Python guards them.
    """
    frames: list[FrameType] = []
    if not loop.is_running():
        return frames
    frame = sys._current_frames().get(thread)  # pyright: ignore[reportPrivateUsage]
    while frame is not None:
        if frame.f_code is _RUN_CALLBACK and frame.f_back is not None and frame.f_back.f_code is _RUN_ONCE:
            return frames
        if frame.f_code is _RUN_ONCE:
            return []
        frames.append(frame)
        frame = frame.f_back
    return frames


def _lines(frames: list[FrameType]) -> list[str]:
    return traceback.StackSummary.extract(((frame, frame.f_lineno) for frame in frames), lookup_lines=False).format()


def _frame_of(waiting: Any) -> FrameType | None:
    """The frame of a coroutine, generator or asynchronous generator, each of which has its own name for it."""
    frame: FrameType | None = _first(waiting, ("cr_frame", "gi_frame", "ag_frame"))
    return frame


def _first(thing: Any, names: tuple[str, ...]) -> Any:
    return next((value for name in names if (value := getattr(thing, name, None)) is not None), None)
