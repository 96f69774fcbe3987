"""What runs on behalf of an actor beside its handlers, and ends with its incarnation: tasks, and calls in threads."""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import Coroutine
from contextvars import Context
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from understudy.actors._asks import Arrival
from understudy.exceptions import ActorFailed
from understudy.instrument import Instrument
from understudy.reasons import Crashed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from understudy.actors._cell import Cell

__all__ = ["Owned", "PipeFailed"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class PipeFailed:
    """What was piped to the actor itself has failed, and nobody had said what to make of that."""

    error: BaseException


class Owned:
    """The tasks of one incarnation that are not its handlers."""

    __slots__ = ("_cell", "_ended", "_tasks", "interrupting")

    def __init__(self, cell: Cell) -> None:
        self._cell = cell
        # With what each is to run, until it has begun: one that is cancelled before its first step never looks at it.
        self._tasks: dict[asyncio.Task[Any], tuple[object, ...]] = {}
        # The incarnation is over: what still comes is nobody's.
        self._ended = False
        # The mark that is set before they are cancelled, so that what they end with then is no failure.
        self.interrupting = False

    def __bool__(self) -> bool:
        """Whether any of them runs."""
        return bool(self._tasks)

    def start(self, body: Coroutine[Any, Any, T], name: str | None, *within: object) -> asyncio.Task[T]:
        """Run *body*, and what it is going to await *within*, as a task of the actor; if it fails, the actor does."""
        path = self._cell.path
        begun: list[bool] = []
        task = self._cell.runtime.env.start_task(
            self._run(body, begun),
            name=f"task:{path}" if name is None else f"task:{path}:{name}",
            context=Context(),
            on_done=self._done,
        )
        if task.done():
            self._done(task)
        else:
            self._tasks[task] = () if begun else (body, *within)
        return task

    async def _run(self, body: Coroutine[Any, Any, T], begun: list[bool]) -> T:
        begun.append(True)
        task = asyncio.current_task()
        assert task is not None
        if task in self._tasks:
            self._tasks[task] = ()
        try:
            return await body
        except (KeyboardInterrupt, SystemExit) as error:
            # A task that ends with one of these lets it out of the event loop too.
            name, reason = task.get_name(), Crashed(error, self._cell.frames(error))
            if not self._ended:
                self._cell.task_failed(error, name)
            raise ActorFailed(path=self._cell.path, message_type=name, reason=reason) from error

    def pipe(
        self,
        awaitable: Awaitable[T],
        to: Callable[[T], object],
        failed: Callable[[Exception], object],
    ) -> None:
        """Send the actor what becomes of *awaitable*, as a message."""
        self.start(self._piped(awaitable, to, failed), "pipe", awaitable)

    async def _piped(
        self, awaitable: Awaitable[T], to: Callable[[T], object], failed: Callable[[Exception], object]
    ) -> None:
        try:
            message = to(await awaitable)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            assert task is not None
            if self.interrupting or task.cancelling():
                raise
            # It is what was piped that somebody has cancelled, and the actor waits to hear of it.
            message = failed(concurrent.futures.CancelledError("what was piped was cancelled"))
        except Exception as error:
            message = failed(error)
        if not self._ended:
            self._cell.inform(Arrival(message, self._cell, self))

    def wants(self, arrival: Arrival) -> bool:
        """Whether *arrival*, which one of them has sent, is to be handled."""
        return not self._ended

    def taken(self, arrival: Arrival) -> None:
        """*arrival* is being handled."""

    def cancel(self) -> None:
        """Interrupt them all."""
        self.interrupting = True
        for task in list(self._tasks):
            task.cancel()

    def abandon(self) -> None:
        """Give up on those that have not ended."""
        tasks, self._tasks = self._tasks, {}
        for task in tasks:
            stack = self._cell.runtime.env.tasks.abandon(task)
            self._cell.runtime.instruments.emit(Instrument.abandoned, self._cell.path, stack)

    def end(self) -> None:
        """The incarnation is over."""
        self._ended = True

    def _done(self, task: asyncio.Task[Any]) -> None:
        for unused in self._tasks.pop(task, ()):
            if isinstance(unused, Coroutine):
                unused.close()
        error = None if task.cancelled() else task.exception()
        if self._ended:
            return
        if self.interrupting:
            self._cell.enqueue()
        elif error is not None:
            self._cell.task_failed(error, task.get_name())
