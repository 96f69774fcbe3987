"""When to stop collecting: pure decisions about batches, told what came and when; they never look at a clock."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

__all__ = ["Burst", "Filling", "RollingBatch"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RollingBatch:
    """Collects a burst of messages: it is given out when nothing has come for a while, and in time in any case.

    Attributes:
        quiet: Seconds without a message after which the burst is over.
        cap: Seconds after its first message at which the burst is over although more keep coming.
        urgent: Called once with each message as it comes in; true: the burst is over at once, with this one in it. One
            that raises is taken for a yes, and what it raised is reported to the event loop's exception handler.

    Raises:
        ValueError: Says which of them, and what is allowed.
    """

    quiet: float = 0.5
    cap: float = 2.0
    urgent: Callable[[Any], object] | None = None

    def __post_init__(self) -> None:
        _check_seconds("quiet", self.quiet)
        _check_seconds("cap", self.cap)
        if self.quiet > self.cap:
            raise ValueError(f"quiet ({self.quiet:g} s) must not be longer than cap ({self.cap:g} s)")
        if self.urgent is not None and not callable(self.urgent):
            raise ValueError(f"urgent must be a function of a message, or None, got {self.urgent!r}")

    def begin(self) -> Burst:
        """A burst in which nothing has come yet."""
        return Burst(self)


class Burst:
    """What has come of one burst, and until when to wait for more."""

    __slots__ = ("_first", "_flushed", "_last", "_rule")

    def __init__(self, rule: RollingBatch) -> None:
        self._rule = rule
        self._first = math.inf
        self._last = math.inf
        self._flushed = False

    def add(self, item: object, now: float) -> None:
        """*item* has come.

        Raises:
            BaseException: What `urgent` raised; the burst is over, as if it had said yes.
        """
        if self._first == math.inf:
            self._first = now
        self._last = now
        if self._rule.urgent is not None and not self._flushed:
            self._flushed = True
            self._flushed = bool(self._rule.urgent(item))

    def resume(self, since: float) -> None:
        """Something has come back that came *since* then."""
        self._first = self._last = since

    def flush(self) -> None:
        """The burst is over."""
        self._flushed = True

    def clear(self) -> None:
        """It has been given out: begin again."""
        self._first = self._last = math.inf
        self._flushed = False

    @property
    def due(self) -> float:
        """When it is over: `math.inf` when nothing has come, `-math.inf` for at once."""
        if self._first == math.inf:
            return math.inf
        if self._flushed:
            return -math.inf
        return min(self._last + self._rule.quiet, self._first + self._rule.cap)


class Filling:
    """A batch of at least so many, and what comes within the *linger* seconds after that."""

    __slots__ = ("_linger", "_missing", "due")

    def __init__(self, min_items: int, linger: float) -> None:
        self._missing = min_items
        self._linger = linger
        self.due = math.inf
        """When to wait no more: `math.inf` while there are too few."""

    @property
    def enough(self) -> bool:
        """Whether it may be given out."""
        return self._missing <= 0

    def add(self, now: float) -> None:
        """One more has come."""
        self._missing -= 1
        if self._missing == 0:
            self.due = now + self._linger


def _check_seconds(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise ValueError(f"{name} must be a positive number of seconds, got {value!r}")
