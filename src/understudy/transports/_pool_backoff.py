"""When to try again to connect, after a failure: decisions, no waiting."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from understudy._plans._backoff import next_delay, reset_default

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Backoff", "default_wait"]


def default_wait() -> Callable[[Any], float]:
    """From nothing to 0.1 s before the second attempt, then twice as much each time, up to 30 s; by chance."""
    from tenacity import wait_random_exponential  # noqa: PLC0415 - only where somebody has a pool

    return wait_random_exponential(multiplier=0.1, max=30)


class Backoff:
    """Counts failures that say something new.

    All that is begun notes the *epoch*; each failure that counts begins another. So a hundred attempts, or a hundred
    young connections, that fail together count once, and only what was begun after the last failure is a success.
    """

    __slots__ = ("_wait", "attempts", "epoch", "reset_after")

    def __init__(self, wait: Callable[[Any], float]) -> None:
        self._wait = wait
        self.attempts = 0
        """Failures since there was success."""
        self.epoch = 0
        self.reset_after = reset_default(wait)
        """Seconds. A connection that has lived for longer breaks for reasons of its own, and can be replaced at
        once."""

    def failed(self, epoch: int) -> float | None:
        """What was begun in *epoch* has failed: seconds before the next attempt; None: that is known already."""
        if epoch != self.epoch:
            return None
        seconds, self.attempts = next_delay(self._wait, self.attempts, -1.0, self.reset_after)
        self.epoch += 1
        return seconds

    def succeeded(self, epoch: int) -> None:
        """A connection whose attempt was begun in *epoch* works."""
        if epoch == self.epoch:
            self.attempts = 0
