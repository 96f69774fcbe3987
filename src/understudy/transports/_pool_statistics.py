"""What a pool says about itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from understudy.transports._pool_instrument import CloseReason

__all__ = ["PoolStatistics"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolStatistics:
    """A pool at one moment. At each of them `size == idle + leased + connecting + checking + closing`.

    Counts are of all time since the pool was made. When a pool has closed, `created` is the sum of `closed_by`.
    """

    size: int
    """Connections that are open, or are being opened or closed; no more than `max_size`, unless that was lowered."""
    max_size: int
    min_idle: int
    idle: int
    """Ready to be lent."""
    leased: int
    """Lent, or promised to a borrower that has not run since."""
    connecting: int
    checking: int
    """In a health check, before they are lent or in the background."""
    closing: int
    waiters: int
    """Borrowers that wait and have been promised nothing."""
    retry_in: float | None
    """Seconds until the next attempt to connect may begin, after one that failed; None: at any time."""
    acquired: int
    """Connections lent."""
    waited: int
    """How many of them could not be had at once."""
    acquire_seconds: float
    """What all borrowers that got one have waited, together."""
    longest_acquire: float
    """The longest of these waits, in seconds."""
    timeouts: int
    """Borrowers that got `PoolTimeout`."""
    created: int
    """Connections that the factory has made."""
    connect_failures: int
    check_failures: int
    close_failures: int
    """Connections whose closing raised, or did not end in time."""
    abandoned: int
    """Calls of a factory, check or close that would not end, and were given up on."""
    closed_by: Mapping[CloseReason, int] = field(default_factory=dict["CloseReason", int])
    """Connections closed, or being closed, by reason."""
    state: str = "open"
    """`open`, `draining`, `closing` or `closed`."""

    @property
    def mean_acquire(self) -> float:
        """Seconds that a borrower has waited, on average; most wait 0."""
        return self.acquire_seconds / self.acquired if self.acquired else 0.0
