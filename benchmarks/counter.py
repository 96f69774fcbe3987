"""Counts deliveries of events, whatever delivers them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

__all__ = ["Counter", "awaited", "plain"]


class Counter:
    """Counts deliveries, and tells when an event has reached all."""

    def __init__(self, subscribers: int) -> None:
        self.subscribers = subscribers
        self.count = 0
        self._wanted = 0
        self._reached: asyncio.Future[None] | None = None

    def next_event(self) -> asyncio.Future[None]:
        """Done when each subscriber has had one more."""
        self._wanted += self.subscribers
        self._reached = asyncio.get_running_loop().create_future()
        return self._reached

    def one(self) -> None:
        self.count += 1
        if self.count == self._wanted and self._reached is not None:
            self._reached.set_result(None)


def plain(counter: Counter) -> Callable[[Any], None]:
    """One more subscriber."""

    def callback(event: object) -> None:
        counter.one()

    return callback


def awaited(counter: Counter) -> Callable[[Any], Any]:
    """One more subscriber, that could wait."""

    async def callback(event: object) -> None:
        counter.one()

    return callback
