"""How long to wait before a restart, and when a child counts as healthy again."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Delay", "Wait", "next_delay", "reset_default"]

Wait = "Callable[[Any], float]"
"""A wait strategy of tenacity, as ``wait_exponential(multiplier=0.1, max=30)``."""

_LONG = 86_400.0
"""Seconds. Strategies without a cap grow past any number; from here on their longest delay says nothing."""
_ATTEMPTS = (1, 4, 16, 64, 256, 1024)


class Delay(NamedTuple):
    """What comes before the next start.

    Attributes:
        seconds: To wait.
        attempt: The number of this attempt since the child was last healthy, from 1 on.
    """

    seconds: float
    attempt: int


def next_delay(wait: Callable[[Any], float], attempts: int, healthy_for: float, reset_after: float) -> Delay:
    """The delay before the next start of a child.

    Args:
        wait: The strategy; called with tenacity's ``RetryCallState``, of which the number of the attempt is set.
        attempts: Starts that were delayed since it was last healthy.
        healthy_for: Seconds for which it has been up.
        reset_after: Seconds after which it counts as healthy, so that the count begins anew.
    """
    attempt = 1 if healthy_for >= reset_after else attempts + 1
    return Delay(_seconds(wait, attempt), attempt)


def reset_default(wait: Callable[[Any], float]) -> float:
    """The mean of the first and the longest delay, in seconds; of a strategy without a cap, ten times the first."""
    first, *others = (_seconds(wait, attempt) for attempt in _ATTEMPTS)
    longest = max(others)
    return (first + longest) / 2 if longest <= _LONG else 10 * first


def _seconds(wait: Callable[[Any], float], attempt: int) -> float:
    from tenacity import RetryCallState  # noqa: PLC0415 - only where somebody uses it

    state = RetryCallState(retry_object=None, fn=None, args=(), kwargs={})  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    state.attempt_number = attempt
    try:
        seconds = float(wait(state))
    except OverflowError:
        return math.inf
    return max(seconds, 0.0)
