"""Work that a handler does in tasks beside it, each of which can be cancelled, and none of which it leaves behind."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from understudy.actors._asks import FRAME

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable

    from understudy.actors._actor import Actor

__all__ = ["Beside", "Outcome"]

T = TypeVar("T")

_PATIENCE = 1.0
"""Seconds that a task gets to end, when it is cancelled again and again."""
_INTERVAL = 0.1


@dataclass(frozen=True, slots=True)
class Outcome(Generic[T]):
    """What has become of some work: a value, or an error."""

    value: T | None = None
    error: BaseException | None = None

    def get(self) -> T:
        """The value.

        Raises:
            BaseException: The error, if it has failed.
        """
        if self.error is not None:
            raise self.error
        return self.value  # type: ignore[return-value]  # pyright: ignore[reportReturnType]


class Beside:
    """Starts tasks for the handler in hand.

    They are tasks of its incarnation, and end with that at the latest. What they ask is asked on behalf of the message
    in hand: with its deadline, and seen by whoever looks for waits that could never end.
    """

    __slots__ = ("_actor", "_frame")

    def __init__(self, actor: Actor[Any]) -> None:
        self._actor = actor
        self._frame = FRAME.get()

    def start(self, work: Callable[[], Coroutine[Any, Any, T]], name: str) -> asyncio.Task[Outcome[T]]:
        """Begin *work*; its error is an outcome, and no failure of the actor.

        A task that is cancelled before its first step never calls *work*.
        """
        return self._actor.context.start_task(self._run(work), name=name)

    async def run(self, work: Callable[[], Coroutine[Any, Any, T]], name: str, seconds: float | None = None) -> T:
        """Do *work*, for no longer than *seconds*.

        Raises:
            TimeoutError: It has not ended in time, and was cancelled.
            BaseException: What it raises.
        """
        task = self.start(work, name)
        try:
            await asyncio.wait({task}, timeout=seconds)
            if not task.done():
                raise TimeoutError
            return task.result().get()
        finally:
            await self.end([task])

    async def end(self, tasks: Iterable[asyncio.Task[Any]]) -> None:
        """Cancel *tasks* that still run, and wait until they have ended.

        One that resists for long is left to the incarnation, whose end gives it up; that is told in the log.
        """
        for _ in range(round(_PATIENCE / _INTERVAL)):
            running = [task for task in tasks if not task.done()]
            if not running:
                return
            for task in running:
                task.cancel()
            await asyncio.wait(running, timeout=_INTERVAL)
        for task in tasks:
            if not task.done():
                self._actor.log.warning("does not end", task=task.get_name())

    async def _run(self, work: Callable[[], Coroutine[Any, Any, T]]) -> Outcome[T]:
        FRAME.set(self._frame)
        try:
            return Outcome(await work())
        except GeneratorExit:
            raise
        except BaseException as error:
            return Outcome(error=error)
