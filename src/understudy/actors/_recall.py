"""Handlers that are not to go on when nobody waits for them any more."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Self

from understudy.actors._asks import Ask
from understudy.actors._waiting import hand_now
from understudy.exceptions import AskTimeout, ConsumerSlow

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import TracebackType

__all__ = ["Recall", "Withdrawn", "run_cancellable"]


class Withdrawn(Exception):
    """The handler was cancelled because nobody waited for it any more; *error* is what it ended with."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error


class Recall:
    """Within the block, the running task is cancelled when whoever waits for *ask* gives up.

    The mark (``_called``) is set before the cancel. With it, whatever error leaves the block means nothing for the
    actor: it leaves as :class:`Withdrawn`.
    """

    __slots__ = ("_ask", "_called", "_task")

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._called = False
        self._task: asyncio.Task[Any] | None = None

    def __enter__(self) -> Self:
        self._task = asyncio.current_task()
        self._ask.future.add_done_callback(self._look)
        return self

    def disarm(self) -> None:
        """The handler ends already: a cancel would only disturb its clean-up."""
        self._task = None
        self._called = self._called or (self._ask.future.done() and _given_up(self._ask.future))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._task = None
        self._ask.future.remove_done_callback(self._look)
        if self._called and isinstance(error, Exception | asyncio.CancelledError):
            raise Withdrawn(error) from None

    def _look(self, future: asyncio.Future[Any]) -> None:
        # The block may have been left since this call was scheduled.
        if self._task is not None and _given_up(future):
            self._called = True
            self._task.cancel()


def _given_up(future: asyncio.Future[Any]) -> bool:
    """Whether the ask has ended by somebody else than its actor."""
    return future.cancelled() or isinstance(future.exception(), AskTimeout | ConsumerSlow)


async def run_cancellable(function: Callable[[Any, Any], Awaitable[Any]], actor: Any, message: Any) -> Any:
    """Run a handler, and cancel it when its asker gives up. A message that was told has none."""
    ask = hand_now()
    if not isinstance(ask, Ask):
        return await function(actor, message)
    with Recall(ask):
        return await function(actor, message)
