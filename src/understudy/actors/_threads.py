"""What other threads have the event loop do, and the futures that tell them what has come of it."""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
from contextlib import suppress
from contextvars import Context
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from understudy.environment import running_loop
from understudy.exceptions import InvalidContext

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from understudy.environment import Environment

__all__ = ["Errand", "ThreadFuture"]

T = TypeVar("T")


class ThreadFuture(concurrent.futures.Future[T]):
    """A future for other threads, which says so where waiting for it would last for ever.

    Args:
        loop: The event loop that is to bring the result.
        what: What is waited for, for the error.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, what: str) -> None:
        super().__init__()
        self._loop = loop
        self._what = what

    def result(self, timeout: float | None = None) -> T:
        """The result, or what has been raised instead; wait for it, at most *timeout* seconds.

        Raises:
            InvalidContext: It is not there yet, and this is the thread of the event loop, which would have to bring it.
            TimeoutError: It is not there in time.
            CancelledError: It has been cancelled.
        """
        self._check_thread()
        return super().result(timeout)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """What has been raised, None if nothing; otherwise as :meth:`result`."""
        self._check_thread()
        return super().exception(timeout)

    def _check_thread(self) -> None:
        if running_loop() is self._loop and not self.done():
            problem = (
                "to wait here would stop the event loop that has to bring the result: "
                "await it instead, or `await asyncio.wrap_future(future)`"
            )
            raise InvalidContext(what=self._what, problem=problem)


class Errand(Generic[T]):
    """A coroutine that another thread has ordered, and which the event loop runs in a task.

    Its future is done exactly once, whatever becomes of the task and of the loop: also when the task is cancelled
    before its first step, and when the loop is closed before it has begun.

    Args:
        env: Where to run it.
        name: Of the task.
        body: Makes the coroutine, in the event loop.
        lost: Makes the error for an errand that was not run to its end.
    """

    __slots__ = ("_body", "_env", "_lost", "_name", "_over", "future")

    def __init__(
        self, env: Environment, name: str, body: Callable[[], Awaitable[T]], lost: Callable[[], Exception]
    ) -> None:
        self._env = env
        self._name = name
        self._body = body
        self._lost = lost
        self._over = False
        self.future: concurrent.futures.Future[T] = ThreadFuture(env.loop, name)
        """Its result is that of the coroutine; cancelling it cancels the task, or what has not begun."""

    def order(self) -> None:
        """In any thread: have the event loop begin.

        Raises:
            RuntimeError: It is closed.
        """
        # From here on only the loop holds this: see `__del__`.
        self._env.loop.call_soon_threadsafe(self._begin)

    def _begin(self) -> None:
        if self.future.cancelled() or self._env.tasks.closed:
            self._end(None)
            return
        task = self._env.start_task(_outcome(self._body), name=self._name, context=Context(), on_done=self._end)
        if task.done():
            self._end(task)
            return
        self.future.add_done_callback(functools.partial(_pass_on, task))

    def _end(self, task: asyncio.Task[T | _Failure] | None) -> None:
        self._over = True
        if not self.future.set_running_or_notify_cancel():  # which tells those in `concurrent.futures.wait`
            return
        if task is None or task.cancelled():
            self.future.set_exception(self._lost())
            return
        outcome = task.result()
        if isinstance(outcome, _Failure):
            self.future.set_exception(outcome.error)
        else:
            self.future.set_result(outcome)

    def __del__(self) -> None:
        # The loop has been closed with the call still in its queue, and forgotten it.
        if not self._over:
            self._end(None)


class _Failure:
    """What the coroutine has raised: an owned task must not."""

    __slots__ = ("error",)

    def __init__(self, error: BaseException) -> None:
        self.error = error


async def _outcome(body: Callable[[], Awaitable[T]]) -> T | _Failure:
    # No method, and no task in its variables: its frame, which the error keeps, would hold what will hold the error.
    try:
        return await body()
    except BaseException as error:
        if isinstance(error, asyncio.CancelledError) and _is_cancelled():
            raise
        return _Failure(error)


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _pass_on(task: asyncio.Task[Any], future: concurrent.futures.Future[Any]) -> None:
    """Cancel *task* if *future* has been."""
    if future.cancelled():
        with suppress(RuntimeError):  # the loop is closed, and so nothing runs in it
            task.get_loop().call_soon_threadsafe(task.cancel)
