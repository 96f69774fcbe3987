"""What is remembered of what is over, to tell who comes too late."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections import OrderedDict

__all__ = ["REMEMBERED", "remember"]

K = TypeVar("K")
V = TypeVar("V")

REMEMBERED = 1_000
"""How many; of more, the oldest is forgotten."""


def remember(known: OrderedDict[K, V], key: K, what: V) -> None:
    """Add to what is *known*."""
    known[key] = what
    while len(known) > REMEMBERED:
        known.popitem(last=False)
