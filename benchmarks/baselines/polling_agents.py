"""Agents as they are often written first: an inbox behind a lock, and a loop that looks into it every half second.

That is how the design that came before this one did it. The lock is one for threads, since somebody in a thread might
put something in; the loop polls, since a lock cannot be awaited.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

__all__ = ["INTERVAL", "PollingAgent"]

INTERVAL = 0.5
"""Seconds between two looks."""


class PollingAgent:
    """Calls *handle* with each message, as soon as it has looked."""

    def __init__(self, handle: Callable[[Any], object]) -> None:
        self._handle = handle
        self._inbox: list[Any] = []
        self._lock = threading.RLock()
        self._stopped = threading.Event()
        self._history: dict[str, int] = {"received": 0, "handled": 0}
        self._task = asyncio.create_task(self._run())

    def send(self, message: Any) -> None:
        with self._lock:
            self._inbox.append(message)
            self._history["received"] += 1

    async def stop(self) -> None:
        self._stopped.set()
        self._task.cancel()
        await asyncio.wait({self._task})

    async def _run(self) -> None:
        while not self._stopped.is_set():
            message = self._next()
            if message is None:
                await asyncio.sleep(INTERVAL)
                continue
            self._handle(message)
            with self._lock:
                self._history["handled"] += 1

    def _next(self) -> Any:
        with self._lock:
            return self._inbox.pop(0) if self._inbox else None
