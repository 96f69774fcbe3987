"""The receive timeout: a signal when no message has come for a while."""

from __future__ import annotations

from typing import TYPE_CHECKING

from understudy.actors._monitors import News
from understudy.messages import ReceiveTimeout

if TYPE_CHECKING:
    import asyncio

    from understudy.actors._cell import Cell

__all__ = ["Quiet"]


class Quiet:
    """Tells once of each quiet period; the source of its signals.

    The timer is set once for each period, not for each message: when it fires too early it is set anew.
    """

    __slots__ = ("_cell", "_handle", "_last", "_seconds", "active", "pact")

    def __init__(self, cell: Cell, seconds: float) -> None:
        self._cell = cell
        self._seconds = seconds
        self._last = cell.runtime.env.now()
        self._handle: asyncio.TimerHandle | None = None
        self.active = False
        """Whether a signal waits in the mailbox and is still true."""
        self.pact = False
        self._arm(self._last + seconds)

    def heard(self, message: object) -> None:
        """*message* is about to be handled, or has just been."""
        if getattr(message, "resets_receive_timeout", True):
            self._last = self._cell.runtime.env.now()
            self.active = False
            if self._handle is None:
                self._arm(self._last + self._seconds)

    def cancel(self) -> None:
        """A signal is being handled: the next comes after a message, and a quiet period after that."""
        self.active = False

    def stop(self) -> None:
        """Tell nothing more."""
        self.active = False
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _arm(self, due: float) -> None:
        self._handle = self._cell.runtime.env.call_at(due, self._fire)

    def _fire(self) -> None:
        self._handle = None
        cell, due = self._cell, self._last + self._seconds
        if cell.runtime.env.now() < due - 1e-9:
            self._arm(due)
        else:  # also behind what waits or is in hand: if that is a message which ends the quiet, the signal is void
            self.active = True
            cell.inform(News(ReceiveTimeout(self._seconds), self))
