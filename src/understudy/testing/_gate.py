"""A gate: holds whoever passes, so that a test decides what happens meanwhile."""

from __future__ import annotations

import asyncio
from collections import deque

__all__ = ["Gate"]


class Gate:
    """Holds whoever comes until it is opened, and knows how many have come and how many have gone on.

    A test hands it to an actor whose ``async def`` handler awaits :meth:`hold`, waits until the actor is there with
    :meth:`reached`, does what shall happen meanwhile, and opens it. Those held go on in the order in which they came.
    It is shut at first. It belongs to the event loop in which it is used.
    """

    def __init__(self) -> None:
        self._came = 0
        self._went = 0
        self._open = False
        self._passes = 0  # for those who come next; 0 while anybody is held
        self._held: deque[asyncio.Future[None]] = deque()
        self._watchers: list[tuple[int, asyncio.Future[None]]] = []

    @property
    def came(self) -> int:
        """How many have come."""
        return self._came

    @property
    def went(self) -> int:
        """How many have gone on; those who were cancelled while they were held never do."""
        return self._went

    @property
    def held(self) -> int:
        """How many are held at this moment."""
        return sum(not each.done() for each in self._held)

    @property
    def is_open(self) -> bool:
        """Whether it holds nobody."""
        return self._open

    async def hold(self) -> None:
        """Wait here until the gate is open, or lets one more pass; does not wait if that is so already."""
        self._came += 1
        self._tell()
        if self._open or self._passes:
            self._passes -= not self._open
        else:
            await self._wait()
        self._went += 1

    async def _wait(self) -> None:
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._held.append(place)
        try:
            await place
        except asyncio.CancelledError:
            if place in self._held:
                self._held.remove(place)
            elif not place.cancelled() and not self._open:
                self.let(1)  # let go and cancelled in the same tick: its pass is for another
            raise

    async def reached(self, count: int = 1) -> None:
        """Wait until *count* have come, since the gate was made."""
        if self._came >= count:
            return
        news: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._watchers.append((count, news))
        await news

    def open(self) -> None:
        """Let go all that are held, and hold nobody who comes from here on."""
        self._open = True
        self._passes = 0
        self._release(len(self._held))

    def shut(self) -> None:
        """Hold whoever comes from here on; passes that nobody has used are taken back."""
        self._open = False
        self._passes = 0

    def let(self, count: int = 1) -> None:
        """Let exactly *count* pass: those who are held, the first first, and if they are fewer, those who come next.

        Raises:
            ValueError: *count* is negative.
        """
        if count < 0:
            raise ValueError(f"count must not be negative, got {count}")
        if not self._open:
            self._passes += count - self._release(count)

    def _release(self, count: int) -> int:
        released = 0
        while self._held and released < count:
            place = self._held.popleft()
            if not place.done():  # cancelled, and has not noticed yet
                place.set_result(None)
                released += 1
        return released

    def _tell(self) -> None:
        due = [news for count, news in self._watchers if count <= self._came]
        self._watchers = [(count, news) for count, news in self._watchers if count > self._came]
        for news in due:
            if not news.done():
                news.set_result(None)
