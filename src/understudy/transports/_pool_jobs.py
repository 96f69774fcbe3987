"""A call of the user's code that takes its time: within a bound, and with an end whatever it does."""

from __future__ import annotations

import asyncio
import inspect
from contextvars import Context
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from understudy.environment import Environment
    from understudy.transports._pool_settings import PoolSettings

__all__ = ["Job"]

T = TypeVar("T")


class Job(Generic[T]):
    """Runs `call` in an owned task of its own.

    `then` is called exactly once, with this job, when the call has ended or was abandoned: `error` is None, and `value`
    what the call gave, or `error` says why there is no value. That may be before `start` returns. If a value comes
    after the call was abandoned, `late` is called with it.

    A call that is over time, or is to be cancelled, is cancelled, again at intervals, and in the end abandoned, as
    *settings* say. Not promised: that code which resists a cancel does nothing any more.
    """

    __slots__ = (
        "_abandoned",
        "_begun",
        "_call",
        "_cancelled",
        "_env",
        "_give_up_at",
        "_late",
        "_name",
        "_over",
        "_seconds",
        "_settings",
        "_task",
        "_then",
        "_timer",
        "error",
        "value",
    )

    def __init__(
        self,
        env: Environment,
        settings: PoolSettings,
        *,
        name: str,
        call: Callable[[], Awaitable[T] | T],
        seconds: float,
        then: Callable[[Job[T]], object],
        abandoned: Callable[[str, Sequence[str]], object],
        late: Callable[[T], object] | None = None,
    ) -> None:
        self._env = env
        self._settings = settings
        self._name = name
        self._call = call
        self._seconds = seconds
        self._then = then
        self._abandoned = abandoned
        self._late = late
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._give_up_at = 0.0
        self._begun = self._cancelled = self._over = False
        self.value: T | None = None
        self.error: BaseException | None = None

    def start(self) -> None:
        """Begin."""
        task = self._env.start_task(self._run(), name=self._name, context=Context(), on_done=self._not_begun)
        if self._over:
            return
        self._task = task
        if self._cancelled:  # by what the call has done before its first wait
            self._cancel_now()
        elif self._begun:
            self._limit()

    def _limit(self) -> None:
        """The time counts from the first step, however late that comes: what is to be closed has to be tried."""
        self._timer = self._env.call_at(self._env.now() + self._seconds, self._expired)

    def cancel(self) -> None:
        """It is not wanted any more; `then` will be called all the same."""
        if self._cancelled or self._over:
            return
        self._cancelled = True
        if self._task is not None:
            self._cancel_now()

    def _cancel_now(self) -> None:
        self._give_up_at = self._env.now() + self._settings.abandon_after
        self._press()

    def _expired(self) -> None:
        self.error = TimeoutError(f"{self._name} did not end within {self._seconds:g} s")
        self.cancel()

    def _press(self) -> None:
        """Cancel it, now and again."""
        if self._timer is not None:
            self._timer.cancel()
        assert self._task is not None
        self._task.cancel()
        again = self._env.now() + self._settings.cancel_interval
        # Decided here and not when it fires: a timer may be early by what the clock cannot tell apart.
        if again < self._give_up_at:
            self._timer = self._env.call_at(again, self._press)
        else:
            self._timer = self._env.call_at(self._give_up_at, self._give_up)

    def _give_up(self) -> None:
        assert self._task is not None
        stack = self._env.tasks.abandon(self._task)
        self._end(None, TimeoutError(f"{self._name} resisted its cancellation and was abandoned"))
        self._abandoned(self._name, stack)

    async def _run(self) -> None:
        value: Any = None
        failure: BaseException | None = None
        self._begun = True
        if self._task is not None:
            self._limit()
        try:
            value = await self._called()
        except GeneratorExit:  # the event loop is gone, and with it all who could be told
            raise
        except BaseException as error:  # `SystemExit` too: it is the end of this call, not of the program
            failure = error
        try:
            self._end(value, failure)
            if isinstance(failure, KeyboardInterrupt):
                raise failure
        finally:
            del failure  # its traceback refers to this frame

    async def _called(self) -> T:
        result: Any = self._call()
        if not inspect.isawaitable(result):
            value: T = result
            return value
        try:
            return await result  # type: ignore[no-any-return]
        except asyncio.CancelledError:
            # A future may have its result in the tick of the cancel; a connection would be lost.
            if asyncio.isfuture(result) and result.done() and not result.cancelled() and result.exception() is None:
                return result.result()  # type: ignore[no-any-return]
            raise

    def _not_begun(self, task: asyncio.Task[None]) -> None:
        """Its task has ended; if that was cancelled before its first step, nobody has been told."""
        if not self._over and task.cancelled():
            self._end(None, asyncio.CancelledError())

    def _end(self, value: T | None, error: BaseException | None) -> None:
        if self._over:
            if error is None and self._late is not None:
                self._late(value)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
            return
        self._over = True
        if self._timer is not None:
            self._timer.cancel()
        self.value = value
        # That time was up is said rather than the cancel which that has led to.
        if error is None or self.error is None or not isinstance(error, asyncio.CancelledError):
            self.error = error
        self._then(self)
