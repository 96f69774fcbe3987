"""``run``: like ``asyncio.run``, with an end that nothing can hold up."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any, TypeVar

from understudy.environment import forget_task, running_loop

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

__all__ = ["run"]

T = TypeVar("T")

_PATIENCE = 5.0
_INTERVAL = 0.1


def run(
    main: Coroutine[Any, Any, T],
    *,
    debug: bool | None = None,
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None,
    interrupted: Callable[[], bool] | None = None,
) -> T:
    """Run *main* in a new event loop and return its result.

    In the main thread SIGINT and SIGTERM cancel *main*, so that systems in it stop in order; the second of them
    shortens that by force, as does each after it. What was installed for them before is restored. When *main* has
    ended, tasks that are left are cancelled, repeatedly; those that would not end within five seconds are named on
    stderr and left behind, where ``asyncio.run`` would wait for ever.

    Not promised: an end of the process while threads of ``asyncio.to_thread`` or of an executor are running; they are
    waited for here for five seconds, and by Python itself, without limit, when the interpreter exits.

    Args:
        main: The coroutine.
        debug: The debug mode of the event loop; None: as it is.
        loop_factory: Makes the event loop; by default it is an ordinary one.
        interrupted: Asked first for each SIGINT, in the event loop: True says that it was of use, and is no reason to
            end, as when a chat gives up the answer that is under way.

    Raises:
        KeyboardInterrupt: *main* was cancelled by SIGINT, and ended.
        SystemExit: Likewise by SIGTERM, with the exit code 143.
        RuntimeError: An event loop is running in this thread already.
        TypeError: *main* is no coroutine.
    """
    if not inspect.iscoroutine(main):
        raise TypeError(f"understudy.run takes a coroutine, as in run(main()), got {main!r}")
    if running_loop() is not None:
        main.close()
        raise RuntimeError("understudy.run cannot be called from a running event loop: await the coroutine instead")
    loop = loop_factory() if loop_factory is not None else asyncio.new_event_loop()
    if debug is not None:
        loop.set_debug(debug)
    asyncio.set_event_loop(loop)
    task: asyncio.Task[T] = loop.create_task(main, name="main")
    signals = _Signals(loop, task, interrupted)
    try:
        with signals:
            return loop.run_until_complete(task)
    except asyncio.CancelledError:
        signals.raise_exit()
        raise
    finally:
        _close(loop)


class _Signals:
    """SIGINT and SIGTERM, for the time of a ``with``."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, task: asyncio.Task[Any], interrupted: Callable[[], bool] | None
    ) -> None:
        self._loop = loop
        self._task = task
        self._interrupted = interrupted
        self._previous: dict[int, Any] = {}
        self._first: int | None = None

    def __enter__(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        for number in (signal.SIGINT, signal.SIGTERM):
            previous = signal.getsignal(number)
            if previous is signal.SIG_IGN:
                continue  # whoever started this in the background wants it left alone
            try:
                self._loop.add_signal_handler(number, self._on_signal, number)
            except NotImplementedError:  # an event loop on Windows
                signal.signal(number, lambda got, _: self._loop.call_soon_threadsafe(self._on_signal, got))
            self._previous[number] = previous

    def __exit__(self, *_: object) -> None:
        for number, previous in self._previous.items():
            with contextlib.suppress(NotImplementedError):
                self._loop.remove_signal_handler(number)
            if previous is not None:  # None: not installed from Python, and out of its reach
                signal.signal(number, previous)

    def _on_signal(self, number: int) -> None:
        if number == signal.SIGINT and self._interrupted is not None and self._interrupted():
            return
        self._first = self._first or number
        self._task.cancel()

    def raise_exit(self) -> None:
        """Say that a signal was the end of it, if one was."""
        if self._first == signal.SIGINT:
            raise KeyboardInterrupt from None
        if self._first is not None:
            raise SystemExit(128 + self._first) from None


def _close(loop: asyncio.AbstractEventLoop) -> None:
    try:
        left = loop.run_until_complete(_cancel_rest())
        loop.run_until_complete(_bounded(loop.shutdown_asyncgens()))
        loop.run_until_complete(_bounded(loop.shutdown_default_executor()))
        if left:
            sys.stderr.write(f"understudy: would not end and were left behind: {', '.join(left)}\n")
    finally:
        asyncio.set_event_loop(None)
        loop.close()


async def _cancel_rest() -> list[str]:
    """Cancel all tasks that are left, at intervals; return the names of those that would not end."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _PATIENCE
    while rest := [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]:
        if loop.time() >= deadline:
            for task in rest:
                forget_task(task)
            return [task.get_name() for task in rest]
        for task in rest:
            task.cancel()
        await asyncio.wait(rest, timeout=_INTERVAL)
        for task in rest:
            _report(loop, task)
    return []


def _report(loop: asyncio.AbstractEventLoop, task: asyncio.Task[Any]) -> None:
    if task.done() and not task.cancelled() and (error := task.exception()) is not None:
        what = f"{task.get_name()} failed while the event loop was closing"
        loop.call_exception_handler({"message": what, "exception": error, "task": task})


async def _bounded(closing: Coroutine[Any, Any, None]) -> None:
    task = asyncio.ensure_future(closing)
    _, pending = await asyncio.wait({task}, timeout=_PATIENCE)
    for each in pending:
        forget_task(each)
