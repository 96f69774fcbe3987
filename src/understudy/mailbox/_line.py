"""A waiting line: tasks that wait for their turn, first come first served.

What a granted turn is good for (an item, a room) is the caller's business. The line promises that

- nobody polls: one grant wakes one task, and a task sleeps until it is granted, dismissed, or its time is up;
- a cancellation wins over a grant of the same tick: `wait` then raises `CancelledError` and the grant is no longer
  counted, so that the caller can give it to the next one;
- nothing is left behind, neither a future nor a running timer, however the wait ends.
"""

from __future__ import annotations

import asyncio
import enum
from collections import OrderedDict

from understudy.exceptions import InvalidTimeout

__all__ = ["NOBODY", "Line", "Turn", "check_timeout"]

_CENTURIES = 1e10
"""Seconds. From here on no timer is set; this covers `math.inf` and whole numbers too large for a float."""


class Turn(enum.Enum):
    """How a wait ended."""

    GRANTED = enum.auto()
    DISMISSED = enum.auto()
    EXPIRED = enum.auto()


class Line:
    """Tasks that wait for their turn, in the order in which they came."""

    __slots__ = ("_turns", "granted")

    def __init__(self) -> None:
        # Ordered, since who came first is served first; a mapping, since a waiter leaves from the middle in one step.
        # May hold turns that are done (cancelled or expired) and whose task has not run yet; they are passed over.
        self._turns: OrderedDict[asyncio.Future[Turn], None] = OrderedDict()
        self.granted = 0
        """Turns that were granted and whose task has not run since. Each becomes a normal end of `wait`, or ends with
        the cancellation of its task."""

    def __bool__(self) -> bool:
        """Whether anybody waits or has a turn that is not used yet."""
        return bool(self._turns) or self.granted > 0

    @property
    def hopes(self) -> bool:
        """Whether anybody in it may still be granted a turn; some may have given up and not run yet."""
        return bool(self._turns)

    @property
    def waiting(self) -> int:
        """How many wait and have not been granted a turn."""
        return sum(not turn.done() for turn in self._turns)

    def grant(self) -> bool:
        """Give the first in line its turn; False when nobody waits."""
        while self._turns:
            turn, _ = self._turns.popitem(last=False)
            if not turn.done():
                turn.set_result(Turn.GRANTED)
                self.granted += 1
                return True
        return False

    def dismiss(self) -> None:
        """Send away all who wait; turns that were granted stand."""
        while self._turns:
            turn, _ = self._turns.popitem(last=False)
            _end(turn, Turn.DISMISSED)

    async def wait(self, timeout: float | None) -> Turn:
        """Wait for a turn, *timeout* seconds from now at most (None: without limit).

        When it returns `Turn.GRANTED` the turn is no longer counted: use it before the next await.
        """
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[Turn] = loop.create_future()
        timer = _start_timer(loop, timeout, turn)
        self._turns[turn] = None
        try:
            return await turn
        finally:
            if timer is not None:
                timer.cancel()
            self._turns.pop(turn, None)
            # Not "when the await returned": a task that is cancelled after its grant comes by here as well.
            self.granted -= _was_granted(turn)


NOBODY = Line()
"""An empty line that is never waited in: stands in until the first one comes, so that idle queues have no line."""


def check_timeout(timeout: object) -> None:
    """Refuse what is no number of seconds; None is for the caller to see.

    Raises:
        InvalidTimeout: It is negative, NaN or no number.
    """
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not timeout >= 0:
        raise InvalidTimeout(value=timeout, allowed="a number of seconds from 0 on, math.inf or None")


def _start_timer(
    loop: asyncio.AbstractEventLoop, timeout: float | None, turn: asyncio.Future[Turn]
) -> asyncio.TimerHandle | None:
    if timeout is None or timeout >= _CENTURIES:
        return None
    return loop.call_at(loop.time() + timeout, _end, turn, Turn.EXPIRED)


def _end(turn: asyncio.Future[Turn], how: Turn) -> None:
    if not turn.done():
        turn.set_result(how)


def _was_granted(turn: asyncio.Future[Turn]) -> bool:
    return turn.done() and not turn.cancelled() and turn.result() is Turn.GRANTED
