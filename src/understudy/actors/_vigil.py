"""When the event loop counts as blocked, and how late it is: pure decisions, told the time."""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING

from understudy.instrument import LoopLag

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Question", "Vigil"]

_WINDOW = 1_000
_AT_WORK = 0.5
"""Of a time in which the watchdog did not get to run, the share for which this process must have had a processor: else
all of it stood still, and the event loop is not to blame."""


class Question:
    """A callback in the event loop: as long as it has not been called, the loop has not turned since *asked*."""

    __slots__ = ("_clock", "answered", "asked", "void")

    def __init__(self, asked: float, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.asked = asked
        # Whatever the answer, it says nothing about the program.
        self.void = False
        # Set once, by the thread of the event loop, and read by the other.
        self.answered: float | None = None

    def answer(self) -> None:
        """The event loop has come to it."""
        if self.answered is None:
            self.answered = self._clock()


class Vigil:
    """What a watchdog knows from one look to the next; all but `lag` is for its thread.

    A look is: `resume`, `settle` the question that is open, `ask` one if there is none and the loop is at work, and see
    whether a report is `due`.
    """

    __slots__ = ("_due", "_interval", "_lags", "_limit", "_looked", "_processor", "blocked", "question")

    def __init__(self, limit: float, interval: float, now: float, processor: float) -> None:
        self._limit = limit
        self._interval = interval
        # When it looked last, and how long this process had had a processor by then.
        self._looked = now
        self._processor = processor
        # For how long the question may be open before the next report.
        self._due = limit
        self._lags: deque[float] = deque(maxlen=_WINDOW)
        self.question: Question | None = None
        """The one that is open, if one is."""
        self.blocked = 0
        """How often the loop was blocked."""

    def resume(self, now: float, processor: float) -> float:
        """Begin a look; seconds for which this whole process has stood still since the last one.

        Nobody is to blame for them: the question that is open is younger by as much.
        """
        late, worked = now - self._looked - self._interval, processor - self._processor
        self._looked, self._processor = now, processor
        if late < self._limit or worked >= late * _AT_WORK:
            return 0.0
        if self.question is not None:
            self.question.asked += late
        return late

    def settle(self) -> float | None:
        """Close the question if it has been answered; after how many seconds it was, 0.0 if that means nothing."""
        question = self.question
        if question is None or question.answered is None:
            return None
        self.question = None
        if question.void:
            return 0.0
        seconds = max(question.answered - question.asked, 0.0)
        # Who had come at a look in between would have waited for the rest: those waits count too, or a blocking of ten
        # seconds would weigh no more than one look at a loop that waits.
        missed = min(int(seconds / self._interval), _WINDOW - 1)
        self._lags.extend(seconds - number * self._interval for number in range(missed, -1, -1))
        return seconds

    def is_blocking(self, seconds: float) -> bool:
        """Whether so long is too long."""
        return seconds >= self._limit

    def waiting(self) -> None:
        """The loop waits: what came now would be called at once."""
        self._lags.append(0.0)

    def ask(self, question: Question) -> None:
        """*question* is open from here on."""
        self.question = question
        self._due = self._limit

    def due(self, now: float) -> float | None:
        """For how many seconds the loop has been blocked, if that is to be reported now.

        It is at the limit, and whenever that has become twice as long as it was at the last report.
        """
        question = self.question
        if question is None or question.answered is not None or now - question.asked < self._due:
            return None
        seconds = now - question.asked
        self._due = 2 * seconds
        return seconds

    def lag(self) -> LoopLag:
        """The statistic of this moment; for other threads too."""
        lags = tuple(self._lags)  # in one go: nothing can be added meanwhile
        if not lags:
            return LoopLag(0.0, 0.0, 0.0, 0.0, 0, self.blocked)
        ordered = sorted(lags)
        p99 = ordered[math.ceil(len(ordered) * 0.99) - 1]
        return LoopLag(lags[-1], math.fsum(ordered) / len(ordered), p99, ordered[-1], len(ordered), self.blocked)
