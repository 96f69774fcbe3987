"""Finding what a piece of code has left behind."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import threading
from typing import TYPE_CHECKING, Any, Self

from understudy.environment import running_loop
from understudy.testing._errors import LeakError
from understudy.testing._virtual import describe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from types import TracebackType

__all__ = ["KINDS", "leakcheck", "open_descriptors"]

KINDS = ("tasks", "timers", "descriptors", "threads", "exceptions")
"""What is looked for."""


class leakcheck:  # noqa: N801 - used like a function, as context managers are
    """Fail if the block leaves something behind.

    ::

        async with leakcheck():
            async with ActorSystem(Meters) as system:
                ...

    ``async with`` looks for tasks and timers of the running event loop, for file descriptors, for threads, and for
    exceptions that were dropped in the loop: those of tasks that nobody awaited, of callbacks, and what else is told to
    its exception handler. ``with`` looks for descriptors and threads, and for all if it is given the *loop*.

    What was there before does not count, nor the threads of the loop's own executor. A thread is given a moment to end,
    a task is not: one that has been cancelled and not awaited is left behind. Timers that an older task has set within
    the block count. If the block raises, nothing is said about leaks. Dropped exceptions are found by collecting
    garbage at the end, which takes some milliseconds.

    Args:
        allow: Kinds that may be left: ``"tasks"``, ``"timers"``, ``"descriptors"``, ``"threads"``, ``"exceptions"``.
        loop: For ``with``, the event loop to look at as well; it need not be running.

    Raises:
        LeakError: At the end; names each thing, where it stands, and where it was made if that is known.
        ValueError: *allow* names something else.
    """

    def __init__(self, *, allow: Iterable[str] = (), loop: asyncio.AbstractEventLoop | None = None) -> None:
        self._allow = frozenset(allow)
        if unknown := sorted(self._allow.difference(KINDS)):
            raise ValueError(f"leakcheck knows {', '.join(KINDS)}; got {', '.join(map(repr, unknown))}")
        self._loop = loop
        self._process: _Process | None = None
        self._in_loop: _InLoop | None = None

    def begin(self) -> None:
        """Remember what is there; for fixtures, which cannot use ``with`` around a test that may fail."""
        if self._process is not None:
            raise RuntimeError("a leakcheck can be used once: make a new one")
        self._process = _Process(self._allow)
        if self._loop is not None:
            self._in_loop = _InLoop(self._loop, record="exceptions" not in self._allow)

    def end(self, *, failed: bool = False) -> None:
        """Look for what has been added since :meth:`begin`; if that has *failed* anyway, only clean up.

        Raises:
            LeakError: Something was.
        """
        process, inside = self._process, self._in_loop
        if process is None:
            raise RuntimeError("this leakcheck has not begun")
        found: dict[str, list[str]] = {}
        try:
            if not failed:
                if inside is not None:
                    found |= inside.left()
                found |= process.left(self._loop)
        finally:
            if inside is not None:
                inside.close()
        told = [_told(kind, found[kind]) for kind in KINDS if found.get(kind) and kind not in self._allow]
        if told:
            raise LeakError("\n".join(told))

    def __enter__(self) -> Self:
        self.begin()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end(failed=error is not None)

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self.begin()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end(failed=error is not None)


def _told(kind: str, found: list[str]) -> str:
    return f"{kind} left behind ({len(found)}):\n  " + "\n  ".join(found)


# In the process


class _Process:
    """Descriptors and threads at one moment, but for the kinds that are not looked for: each look takes a while."""

    def __init__(self, allow: frozenset[str]) -> None:
        self._allow = allow
        self._descriptors = {} if "descriptors" in allow else open_descriptors()
        self._threads = set(threading.enumerate())

    def left(self, loop: asyncio.AbstractEventLoop | None) -> dict[str, list[str]]:
        """What is there and was not."""
        found: dict[str, list[str]] = {}
        if "threads" not in self._allow:
            executor: Any = getattr(loop, "_default_executor", None)
            known = self._threads.union(getattr(executor, "_threads", ()))
            threads = [thread for thread in threading.enumerate() if thread not in known and _outlives(thread)]
            found["threads"] = [_describe_thread(thread) for thread in threads]
        if "descriptors" not in self._allow:
            descriptors = open_descriptors().items() - self._descriptors.items()
            found["descriptors"] = [f"{number} -> {target}" for number, target in sorted(descriptors)]
        return found


def open_descriptors() -> dict[int, str]:
    """The open file descriptors of this process, and what each stands for where the system says so."""
    folder = next((name for name in ("/proc/self/fd", "/dev/fd") if os.path.isdir(name)), None)
    found: dict[int, str] = {}
    for name in os.listdir(folder) if folder is not None else ():
        try:
            status = os.fstat(int(name))
        except OSError:  # the one through which the folder was read
            continue
        try:
            found[int(name)] = os.readlink(f"{folder}/{name}")
        except OSError:
            found[int(name)] = f"device {status.st_dev}, inode {status.st_ino}"
    return found


def _outlives(thread: threading.Thread) -> bool:
    """Whether the thread lives on, although it had a moment to end."""
    thread.join(1.0)
    return thread.is_alive()


def _describe_thread(thread: threading.Thread) -> str:
    frame = sys._current_frames().get(thread.ident or 0)  # pyright: ignore[reportPrivateUsage]
    where = "" if frame is None else f" in {frame.f_code.co_qualname} ({frame.f_code.co_filename}:{frame.f_lineno})"
    return f"{thread.name!r}{where}"


# In the event loop


class _InLoop:
    """Tasks and timers at one moment, and what the loop's exception handler is told from then on."""

    def __init__(self, loop: asyncio.AbstractEventLoop, *, record: bool) -> None:
        self._loop = loop
        self._tasks = asyncio.all_tasks(loop)
        self._timers = set(map(id, _timers(loop)))
        self._kept = _timers(loop)  # so that no other gets the place of one in memory
        self._dropped: list[str] = []
        self._record = record
        self._before = loop.get_exception_handler()
        self._handler: Callable[[asyncio.AbstractEventLoop, dict[str, Any]], object] = self._hear
        if record:
            loop.set_exception_handler(self._handler)
        # Coroutines know where they were made from here on, and so do the tasks that are made of them.
        self._depth = sys.get_coroutine_origin_tracking_depth()
        sys.set_coroutine_origin_tracking_depth(max(self._depth, 1))

    def left(self) -> dict[str, list[str]]:
        """What is there and was not, and what was dropped."""
        ours = asyncio.current_task(self._loop) if running_loop() is self._loop else None
        tasks = [task for task in asyncio.all_tasks(self._loop) - self._tasks if task is not ours]
        timers = [timer for timer in _timers(self._loop) if id(timer) not in self._timers]
        found = {
            "tasks": sorted(f"{describe(task)}{_made(task)}" for task in tasks),
            "timers": [f"{timer!r}, due in {timer.when() - self._loop.time():g} s" for timer in timers],
        }
        gc.collect()  # an exception that nobody retrieved is told when its future is collected
        return found | {"exceptions": self._dropped}

    def close(self) -> None:
        """Take back what was changed in the loop."""
        sys.set_coroutine_origin_tracking_depth(self._depth)
        # Not what the block has set itself.
        if self._record and self._loop.get_exception_handler() is self._handler:
            self._loop.set_exception_handler(self._before)

    def _hear(self, loop: asyncio.AbstractEventLoop, context: Mapping[str, Any]) -> None:
        exception: BaseException | None = context.get("exception")
        self._dropped.append(f"{context['message']}" + (f": {exception!r}" if exception is not None else ""))


def _timers(loop: asyncio.AbstractEventLoop) -> list[asyncio.TimerHandle]:
    # An event loop of another make may keep them elsewhere; then none are found.
    timers: list[asyncio.TimerHandle] = getattr(loop, "_scheduled", [])
    return [timer for timer in timers if not timer.cancelled()]


def _made(task: asyncio.Task[Any]) -> str:
    origin: tuple[tuple[str, int, str], ...] | None = getattr(task.get_coro(), "cr_origin", None)
    if not origin:
        return ""
    file, line, function = origin[0]
    return f", made in {function} ({file}:{line})"
