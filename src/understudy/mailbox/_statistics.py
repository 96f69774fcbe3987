"""What a queue says about itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["QueueStatistics"]


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueStatistics:
    """A queue at one moment. At each of them `total_in == total_out + dropped + size + handed_over`."""

    size: int
    """Items that can be got."""
    capacity: float
    """How many may wait, or how much they may weigh together; `math.inf` for no limit."""
    load: float
    """What counts against the capacity: the weights of the items that can be got, or their number."""
    high_water: int
    """The largest size there has ever been; items handed over to a waiting getter at once do not add to it."""
    total_in: int
    """Items accepted since the start."""
    total_out: int
    """Items that a consumer got."""
    unfinished: int
    """Items accepted that nobody has called `task_done` for, without those dropped; `join` waits for 0."""
    handed_over: int
    """Items promised to getters that have not run since, and those set aside for a `get_batch` that waits for more."""
    dropped: int
    """Items that came in and no consumer got: the sum of `dropped_by`."""
    dropped_by: Mapping[str, int] = field(default_factory=dict[str, int])
    """How many of them by reason: `drop_old` and `drop_new` are the policies; `clear`, `remove` and `close` have
    returned the items to their caller."""
    refused: int
    """Items not accepted, and left to their putter: full, closed, or no room in time. A cancelled `put` is not
    counted."""
    putters_waiting: int
    """Tasks, and calls from other threads, that wait for room."""
    getters_waiting: int
    """Tasks that wait for an item, for some or for a burst, without those that have got all they wait for."""
    oldest_age: float | None
    """Seconds since the oldest item that can be got came in; None without items, and without `track_age`."""
    closed: bool
    """Whether nothing more is accepted."""
