"""An event bus as it is often written: a list of callbacks for each type, and ``gather`` over them.

That is how the design that came before this one did it. There are no queues: whoever publishes calls everybody, and an
event is as slow as its slowest subscriber.
"""

from __future__ import annotations

import asyncio
import inspect
from collections import defaultdict
from collections.abc import Callable
from typing import Any

__all__ = ["GatheringBus"]


class GatheringBus:
    """Callbacks by the exact type of the event, and by ``"*"``."""

    def __init__(self) -> None:
        self._subscribers: defaultdict[object, list[Callable[[Any], object]]] = defaultdict(list)
        self._lock = asyncio.Lock()

    def subscribe(self, topic: object, callback: Callable[[Any], object]) -> None:
        self._subscribers[topic].append(callback)

    async def publish(self, event: object) -> None:
        async with self._lock:
            callbacks = [*self._subscribers[type(event)], *self._subscribers["*"]]
        await asyncio.gather(*(self._call(callback, event) for callback in callbacks), return_exceptions=True)

    async def _call(self, callback: Callable[[Any], object], event: object) -> None:
        result = callback(event)
        if inspect.isawaitable(result):
            await result
