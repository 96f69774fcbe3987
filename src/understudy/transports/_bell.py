"""The smallest way to wait for news."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Bell"]


class Bell:
    """What one task waits for until another, or a callback, rings it."""

    __slots__ = ("_loop", "_waiting")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: asyncio.Future[None] | None = None

    async def wait(self) -> None:
        """Wait for the next ring; whoever has waited before is forgotten."""
        self._waiting = self._loop.create_future()
        await self._waiting

    async def wait_while(self, held: Callable[[], bool], seconds: float) -> None:
        """Wait, from one ring to the next, as long as *held* says so.

        Raises:
            TimeoutError: It did for so many seconds.
        """
        if held():
            async with asyncio.timeout(seconds):
                while held():
                    await self.wait()

    def ring(self) -> None:
        """Wake who waits, if anybody does."""
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)
