"""`PriorityMessageQueue`: the most urgent first, and first in, first out among those that are equally urgent."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any, Generic, TypeVar

from understudy.mailbox._queue import AsyncMessageQueue
from understudy.mailbox._rolling import RollingBatch
from understudy.mailbox._rules import (
    DEFAULT_CAPACITY,
    Level,
    Levels,
    Policy,
    Rules,
    check_capacity,
    check_marks,
    check_policy,
)

__all__ = ["PriorityMessageQueue"]

T = TypeVar("T")


class PriorityMessageQueue(AsyncMessageQueue[T], Generic[T]):
    """An `AsyncMessageQueue` that gives out the most urgent item first; all else is as there.

    Equally urgent items leave in the order in which they came in. Batches, bursts, `peek`, iteration, and what a
    predicate or a key has left, are in the order of urgency too. What is given back stands in front of its equals.
    Under `drop_old` the oldest of the least urgent goes; an item that is less urgent than all that would have to go is
    itself what is dropped, and `put` and `put_nowait` return False. How urgent an item is, is asked once, as it comes.

    Args:
        levels: Types, or tuples of types, the most urgent first; what is an instance of none of them comes last.
        priority: Instead of *levels*: computes something of an item that can be compared; the smallest is the most
            urgent. What it raises goes to the putter, and the item is not put.
        capacity: This and all others as in `AsyncMessageQueue`.

    Raises:
        ValueError: Neither or both of *levels* and *priority*; or as in `AsyncMessageQueue`.
    """

    __slots__ = ()

    def __init__(
        self,
        capacity: float = DEFAULT_CAPACITY,
        *,
        levels: Sequence[Level] | None = None,
        priority: Callable[[T], Any] | None = None,
        policy: Policy = "block",
        key: Callable[[T], Hashable] | None = None,
        weigh: Callable[[T], float] | None = None,
        high: float | None = None,
        low: float | None = None,
        on_high: Callable[[float], object] | None = None,
        on_low: Callable[[float], object] | None = None,
        on_drop: Callable[[T, str], object] | None = None,
        track_age: bool = False,
        batch: RollingBatch | None = None,
    ) -> None:
        if (levels is None) == (priority is None):
            raise ValueError("a priority queue needs either levels= or priority=")
        capacity = check_capacity(capacity)
        high, low = check_marks(high, low, capacity)
        rules = Rules(
            priority=priority if levels is None else Levels(levels),
            policy=check_policy(policy),
            key=key,
            weigh=weigh,
            high=high,
            low=low,
            on_high=on_high,
            on_low=on_low,
            on_drop=on_drop,
            track_age=track_age,
            batch=batch,
        )
        super().__init__(capacity, rules=rules)
        self._begin()
