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
import math
from collections import deque
from collections.abc import Callable

from understudy.exceptions import InvalidTimeout

__all__ = ["GRANTED", "NOBODY", "Line", "Turn", "check_timeout", "deadline_of", "end", "start_timer", "was_granted"]

_CENTURIES = 1e10
"""Seconds. From here on no timer is set; this covers `math.inf` and whole numbers too large for a float."""


class Turn(enum.Enum):
    """How a wait ended."""

    GRANTED = enum.auto()
    DISMISSED = enum.auto()
    EXPIRED = enum.auto()
    FAILED = enum.auto()


GRANTED = Turn.GRANTED


class Line:
    """Tasks that wait for their turn, in the order in which they came.

    Each has a *size*, whose meaning is the caller's. Those who wait beside the line draw a *ticket*, larger than all
    before; who stands in the line has the last that was drawn when he came.
    """

    __slots__ = ("_excess", "_left", "granted", "last_ticket", "turns")

    def __init__(self) -> None:
        # Each with its ticket and size. Turns that are done (cancelled or expired) are passed over. Who leaves from the
        # middle stays there until he comes to the front or is swept out, so that no step depends on how many wait: the
        # first has not left, no more than half have, and a sweep looks at no more than twice as many as have left.
        # Empty: nobody can be granted a turn. Public for those who look at nothing else and look often.
        self.turns: deque[tuple[asyncio.Future[Turn], int, float]] = deque()
        self._left = 0
        """At least as many as stand there and have left."""
        self.last_ticket = 0
        self.granted = 0
        """Turns that were granted and whose task has not run since. Each becomes a normal end of `wait`, or ends with
        the cancellation of its task."""
        # By how much the sum of their sizes is more than their number.
        self._excess: float = 0

    def __bool__(self) -> bool:
        """Whether anybody waits or has a turn that is not used yet."""
        return self.granted > 0 or self.first is not None

    @property
    def granted_size(self) -> float:
        """The sum of the sizes of those who have a turn that is not used yet."""
        return self.granted + self._excess

    @property
    def waiting(self) -> int:
        """How many wait and have not been granted a turn."""
        return sum(not turn.done() for turn, _, _ in self.turns)

    @property
    def first(self) -> tuple[int, float] | None:
        """Ticket and size of the first who waits."""
        self._pass_over()
        return self.turns[0][1:] if self.turns else None

    def draw(self) -> int:
        """A ticket, for one who waits beside the line and not in it."""
        self.last_ticket += 1
        return self.last_ticket

    def grant(self) -> bool:
        """Give the first in line its turn; False when nobody waits."""
        turns = self.turns
        while turns:
            turn, _, size = turns.popleft()
            if not turn.done():
                turn.set_result(GRANTED)
                self.granted += 1
                if size != 1:
                    self._excess += size - 1
                if turns:
                    self._pass_over()
                return True
        return False

    def _pass_over(self) -> None:
        """Let one who waits be the first, if there is any."""
        turns = self.turns
        while turns and turns[0][0].done():
            turns.popleft()

    def dismiss(self) -> None:
        """Send away all who wait; turns that were granted stand."""
        turns = self.turns
        while turns:
            end(turns.popleft()[0], Turn.DISMISSED)

    def enter(self, loop: asyncio.AbstractEventLoop, size: float = 1) -> asyncio.Future[Turn]:
        """Stand at the end. To be left by `leave`, however it ends."""
        turn: asyncio.Future[Turn] = loop.create_future()
        self.turns.append((turn, self.last_ticket, size))
        return turn

    def leave(self, turn: asyncio.Future[Turn], size: float = 1) -> None:
        """Stand there no more. A turn that was granted is no longer counted: use it at once, or let it go on."""
        if was_granted(turn):
            self._use(size)
            return
        self._left += 1
        # Whose task is closed, and not cancelled, leaves with a turn that is not done.
        if not turn.done() or 2 * self._left > len(self.turns):
            self._left = 0
            self.turns = deque(entry for entry in self.turns if entry[0] is not turn and not entry[0].done())
        else:
            self._pass_over()

    def _use(self, size: float) -> None:
        self.granted -= 1
        if size != 1:
            self._excess -= size - 1

    async def wait(
        self,
        timeout: float | None,
        size: float = 1,
        given_up: Callable[[], object] = lambda: None,
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> Turn:
        """Wait for a turn, *timeout* seconds from now at most (None: without limit).

        When it returns `Turn.GRANTED` the turn is no longer counted: use it before the next await. When it raises, a
        turn that was granted is not used, and *given_up* is called so that it can go on to the next.
        """
        loop = asyncio.get_running_loop() if loop is None else loop
        turn: asyncio.Future[Turn] = loop.create_future()
        self.turns.append((turn, self.last_ticket, size))
        timer = None if timeout is None else start_timer(loop, timeout, turn)
        try:
            how = await turn
        except BaseException:
            # Not only while it waits: a task that is cancelled after its grant comes by here as well.
            self.leave(turn, size)
            given_up()
            raise
        finally:
            if timer is not None:
                timer.cancel()
        # What `leave` does, for each way in which it can have ended.
        if how is GRANTED:
            self._use(size)
        else:
            self.leave(turn, size)
        return how


NOBODY = Line()
"""An empty line that is never waited in: stands in until the first one comes, so that idle queues have no line."""


def check_timeout(timeout: object) -> None:
    """Refuse what is no number of seconds; None is for the caller to see.

    Raises:
        InvalidTimeout: It is negative, NaN or no number.
    """
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not timeout >= 0:
        raise InvalidTimeout(value=timeout, allowed="a number of seconds from 0 on, math.inf or None")


def deadline_of(loop: asyncio.AbstractEventLoop, timeout: float | None) -> float:
    """The point of the loop's time that is *timeout* seconds away; `math.inf` for never."""
    return math.inf if timeout is None or timeout >= _CENTURIES else loop.time() + timeout


def start_timer(
    loop: asyncio.AbstractEventLoop, timeout: float | None, turn: asyncio.Future[Turn]
) -> asyncio.TimerHandle | None:
    """Let *turn* expire; None when that is never."""
    if timeout is None or timeout >= _CENTURIES:
        return None
    return loop.call_at(loop.time() + timeout, end, turn, Turn.EXPIRED)


def end(turn: asyncio.Future[Turn], how: Turn) -> None:
    """End the wait for *turn*, unless it has ended."""
    if not turn.done():
        turn.set_result(how)


def was_granted(turn: asyncio.Future[Turn]) -> bool:
    """Whether it ended as its owner hoped."""
    return turn.done() and not turn.cancelled() and turn.result() is Turn.GRANTED
