"""The options of a queue, checked."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

from understudy.mailbox._rolling import RollingBatch

__all__ = [
    "DEFAULT_CAPACITY",
    "PLAIN",
    "Level",
    "Levels",
    "Policy",
    "Rules",
    "check_capacity",
    "check_marks",
    "check_policy",
    "check_weight",
    "whole",
]

Policy: TypeAlias = Literal["block", "fail", "drop_new", "drop_old", "stop"]
"""What becomes of the item that finds no room."""

Level: TypeAlias = "type | tuple[type, ...]"
"""What a type of message can be said to be an instance of."""

DEFAULT_CAPACITY = 10_000

_POLICIES: tuple[str, ...] = get_args(Policy)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """All that distinguishes one queue from another, but for its capacity; see `AsyncMessageQueue` for the meaning."""

    policy: Policy = "block"
    key: Callable[[Any], Hashable] | None = None
    weigh: Callable[[Any], float] | None = None
    priority: Callable[[Any], Any] | None = None
    high: float = math.inf
    low: float = -math.inf
    on_high: Callable[[float], object] | None = None
    on_low: Callable[[float], object] | None = None
    on_drop: Callable[[Any, str], object] | None = None
    exempt: Callable[[Any], bool] | None = None
    """Whether an item is one that `drop_old` never throws away; for the runtime and its signals."""
    track_age: bool = False
    batch: RollingBatch | None = None

    @property
    def indexed(self) -> bool:
        """Whether something must be known of each item besides the item, so that a bare deque never does."""
        return self.stamped or self.weigh is not None or self.priority is not None

    @property
    def stamped(self) -> bool:
        """Whether it must be known when an item came in."""
        return self.track_age or self.batch is not None

    @property
    def watched(self) -> bool:
        """Whether more must be done, when an item comes or goes, than to put it there or take it away."""
        return self.stamped or self.weigh is not None or self.high < math.inf


PLAIN = Rules()


class Levels:
    """Ranks items by their types: the first of the *levels* that one is an instance of; after them come the others.

    Raises:
        ValueError: One of them is neither a type nor a tuple of types, or there is none.
    """

    __slots__ = ("_levels", "_ranks")

    def __init__(self, levels: Sequence[Level]) -> None:
        for level in levels:
            if not _is_level(level):
                raise ValueError(f"levels must be types, or tuples of types, the most urgent first, got {level!r}")
        if not levels:
            raise ValueError("levels must be types, or tuples of types, the most urgent first, got none")
        self._levels = tuple(levels)
        self._ranks: dict[type, int] = {}

    def __call__(self, item: object) -> int:
        kind = type(item)
        rank = self._ranks.get(kind)
        if rank is None:
            found = (rank for rank, level in enumerate(self._levels) if issubclass(kind, level))
            rank = self._ranks[kind] = next(found, len(self._levels))
        return rank


def check_capacity(value: object) -> float:
    """Give back *value* if it can be a capacity.

    Raises:
        ValueError: It is neither a whole number from 1 on nor `math.inf`.
    """
    if isinstance(value, float) and value == math.inf:
        return value
    if isinstance(value, int) and not isinstance(value, bool) and value >= 1:
        return value
    raise ValueError(f"capacity must be a whole number from 1 on, or math.inf, got {value!r}")


def check_policy(value: object) -> Policy:
    """Give back *value* if it is a policy.

    Raises:
        ValueError: It is not; says what is.
    """
    for policy in get_args(Policy):
        if value == policy:
            found: Policy = policy
            return found
    raise ValueError(f"policy must be {', '.join(map(repr, _POLICIES[:-1]))} or {_POLICIES[-1]!r}, got {value!r}")


def check_marks(high: float | None, low: float | None, capacity: float) -> tuple[float, float]:
    """The two levels of a watermark, with what is left out put in.

    Raises:
        ValueError: One of them cannot be; says which, and what can.
    """
    if high is None:
        if low is not None:
            raise ValueError(f"low ({low!r}) means nothing without high: set `high=`, above it")
        return math.inf, -math.inf
    if not _is_number(high) or not 0 < high <= capacity or high == math.inf:
        raise ValueError(f"high must be a number above 0 and no more than the capacity ({capacity:,}), got {high!r}")
    if low is None:
        low = high // 2
    if not _is_number(low) or not 0 <= low < high:
        raise ValueError(f"low must be a number from 0 on and below high ({high:,}), got {low!r}")
    return high, low


def check_weight(value: object) -> float:
    """Give back *value* if something can weigh so much.

    Raises:
        ValueError: It is no number, negative or infinite.
    """
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < math.inf:
        return value
    raise ValueError(f"weigh must give a number from 0 on, got {value!r}")


def whole(capacity: float) -> int:
    """*capacity* as an int, since comparing with a float costs the hot path more; no deque can be as long."""
    return sys.maxsize if capacity == math.inf else int(capacity)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_level(value: object) -> bool:
    kinds: tuple[object, ...] = value if isinstance(value, tuple) else (value,)  # pyright: ignore[reportUnknownVariableType]
    return bool(kinds) and all(isinstance(kind, type) for kind in kinds)
