"""The usual ask: one task waits for the reply of one actor."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from understudy.actors._asks import Ask, FutureAsk

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from contextvars import Context

__all__ = ["ASKED", "PENDING", "PlainAsk"]

PENDING: Any = object()
"""The reply as long as there is none."""
_COMES: Any = object()
"""In place of the context: the task that waits is about to give its step, with that."""


class PlainAsk(Ask):
    """An ask that is its own future, awaited by the one task that has made it.

    Whom a future wakes goes on in the next turn of the event loop, and the way there costs as much as all the rest of
    an ask. Who waits here goes on at the end of the turn of the dispatcher in which the reply is given, if it is given
    in one. The task gives this what it would have the event loop call, as it does with any future; the dispatcher calls
    it in the same way, in the context of the task and with no other task under way. Private names; a test on each
    Python guards them.
    """

    __slots__ = ("_asyncio_future_blocking", "_callbacks", "context", "error", "step", "value")

    _asyncio_future_blocking: bool
    context: Any
    """Of the task that waits, once it has given its step."""

    def __init__(self, message: object, sender: Any, cell: Any, seconds: float, deadline: float) -> None:
        self.message = message
        self.sender = sender
        self.cell = cell
        self.seconds = seconds
        self.deadline = deadline
        self.in_hand = self.promised = False
        self.value: Any = PENDING
        """The reply."""
        self.error: BaseException | None = None
        """Why there is none, once that is so."""
        self.context = None
        self.step: Callable[[object], object] | None = None
        """What lets the task go on that waits, if one does: called with a future that is done, where no task runs."""
        self._callbacks: list[tuple[Callable[[Any], object], Context | None]] | None = None

    @property
    def future(self) -> Any:
        """Itself."""
        return self

    # Waiting

    def __await__(self) -> Generator[PlainAsk, None, None]:
        """Wait until it is done. That raises nothing but a cancel of the task; the outcome is looked at afterwards."""
        if self.value is PENDING:
            self.context = _COMES
            self._asyncio_future_blocking = True
            try:
                yield self
            finally:
                self.step = self.context = None

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """The loop of the task."""
        loop: asyncio.AbstractEventLoop = self.cell.runtime.env.loop
        return loop

    def add_done_callback(self, callback: Callable[[Any], object], *, context: Context | None = None) -> None:
        """Let the event loop call *callback* when this is done."""
        # Whoever goes on with a coroutine that others have begun may come when there is an outcome already.
        if self.context is _COMES and context is not None and self.value is PENDING:
            self.step, self.context = callback, context
        elif self.value is not PENDING:
            self.get_loop().call_soon(callback, self, context=context)
        else:
            self._callbacks = [*(self._callbacks or ()), (callback, context)]

    def remove_done_callback(self, callback: Callable[[Any], object]) -> int:
        """Do not; how often it would have been called."""
        there = self._callbacks or []
        self._callbacks = [each for each in there if each[0] != callback] or None
        return len(there) - len(self._callbacks or ())

    def go_on_later(self, done: object) -> None:
        """Let the task that waits, if one does, go on in the next turn of the event loop."""
        if self.step is not None:
            self.get_loop().call_soon(self.step, done, context=self.context)

    # The outcome

    def done(self) -> bool:
        """Whether there is one."""
        return self.value is not PENDING

    def set_result(self, value: object) -> None:
        """The reply. To be called once, if this is not done."""
        self.value = value
        if self.step is not None:
            dispatcher = self.cell.runtime.dispatcher
            if dispatcher.answered is not None:
                dispatcher.answered.append(self)
            else:
                self.go_on_later(dispatcher.done)
        if self._callbacks is not None:
            self._call_back(self._callbacks)

    def set_exception(self, error: BaseException) -> None:
        """Why there is no reply. To be called once, if this is not done."""
        self.error = error
        self.set_result(None)

    def cancel(self, msg: object = None) -> bool:
        """Nobody waits any more, as the task has been cancelled; False: there is an outcome already."""
        if self.value is not PENDING:
            return False
        self.value = None
        self.error = asyncio.CancelledError() if msg is None else asyncio.CancelledError(msg)
        self.go_on_later(self)
        if self._callbacks is not None:
            self._call_back(self._callbacks)
        return True

    def cancelled(self) -> bool:
        """Whether nobody has waited for it."""
        return isinstance(self.error, asyncio.CancelledError)

    def exception(self) -> BaseException | None:
        """Why there is no reply, if there is none; to be called when this is done."""
        if isinstance(self.error, asyncio.CancelledError):
            # One for whoever asks: kept here, it would keep his frames, and these keep this ask.
            raise asyncio.CancelledError(*self.error.args)
        return self.error

    def result(self) -> Any:
        """The reply, or the error is raised; to be called when this is done."""
        error = self.exception()
        if error is not None:
            raise error.with_traceback(None)
        return self.value

    def _call_back(self, callbacks: list[tuple[Callable[[Any], object], Context | None]]) -> None:
        self._callbacks = None
        for callback, context in callbacks:
            self.get_loop().call_soon(callback, self, context=context)


ASKED = frozenset({PlainAsk, FutureAsk})
"""What is waited for until there is one reply; no stream and no delivery, which are asks in other respects."""
