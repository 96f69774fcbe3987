"""Putting something into a queue from another thread."""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import Callable
from contextlib import suppress

from understudy.mailbox._line import Turn

__all__ = ["ForeignPut"]


class ForeignPut:
    """A put that another thread has ordered and the event loop carries out, without a task.

    Args:
        loop: That of the queue.
        wait: Stand in the line for room; None when there is no need to.
        put: Leave the line with that turn, if there is one, and put the item in now; False: it was dropped, by policy.
            Or say by an error why not.
        withdraw: Leave the line, with nothing put.
    """

    __slots__ = ("_loop", "_put", "_turn", "_wait", "_withdraw", "future")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        wait: Callable[[], asyncio.Future[Turn] | None],
        put: Callable[[asyncio.Future[Turn] | None], bool],
        withdraw: Callable[[asyncio.Future[Turn]], object],
    ) -> None:
        self._loop = loop
        self._wait = wait
        self._put = put
        self._withdraw = withdraw
        self._turn: asyncio.Future[Turn] | None = None
        self.future: concurrent.futures.Future[bool] = concurrent.futures.Future()
        """Its result is that of *put*. Cancelling it takes it out of the line, or comes too late and says so."""

    def begin(self) -> None:
        """In the event loop: put the item in, or wait for room."""
        try:
            turn = None if self.future.cancelled() else self._wait()
        except BaseException as error:
            if self.future.set_running_or_notify_cancel():
                self.future.set_exception(error)
            return
        if turn is None:
            self._finish(None)
            return
        self._turn = turn
        turn.add_done_callback(self._finish)
        self.future.add_done_callback(self._is_done)

    def _finish(self, turn: asyncio.Future[Turn] | None) -> None:
        # Whoever ordered it may have given up at any time until now, and cannot from now on. To the end of this nothing
        # else runs in the event loop: a room that was promised is used, or goes on to the next.
        if not self.future.set_running_or_notify_cancel():
            if turn is not None:
                self._withdraw(turn)
            return
        try:
            done = self._put(turn)
        except BaseException as error:
            self.future.set_exception(error)
        else:
            self.future.set_result(done)

    def _is_done(self, future: concurrent.futures.Future[bool]) -> None:
        if future.cancelled() and self._turn is not None:
            with suppress(RuntimeError):  # the loop is closed, and nobody stands in its lines
                self._loop.call_soon_threadsafe(self._turn.cancel)
