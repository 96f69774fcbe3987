"""How many failures are too many."""

from __future__ import annotations

from bisect import bisect_left
from typing import NamedTuple

__all__ = ["Window", "count_failure"]


class Window(NamedTuple):
    """The failures that count, oldest first, and whether they are too many."""

    times: list[float]
    exceeded: bool


def count_failure(times: list[float], now: float, max_restarts: int, max_seconds: float) -> Window:
    """Add a failure at *now* to *times*, which are in order, and forget those more than *max_seconds* ago.

    The list that is given is the one that is returned, changed: a burst of failures must not cost their square.

    A failure exactly *max_seconds* ago still counts, as in OTP's ``supervisor``. More than *max_restarts* are too many,
    so 0 allows none.
    """
    since = now - max_seconds
    if times and times[0] < since:
        del times[: bisect_left(times, since)]
    times.append(now)
    return Window(times, len(times) > max_restarts)
