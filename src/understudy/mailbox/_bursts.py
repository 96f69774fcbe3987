"""Those who wait for a burst to be over, and the one timer that wakes them."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

from understudy.mailbox._line import Line
from understudy.mailbox._rolling import RollingBatch

__all__ = ["Bursts"]


class Bursts:
    """The burst that is collected in a queue: its items stay in the queue until it is over.

    Args:
        rule: When it is.
        tick: Called when it may be over because time has passed.
    """

    __slots__ = ("_burst", "_tick", "_timer", "line")

    def __init__(self, rule: RollingBatch, tick: Callable[[float], object]) -> None:
        self._burst = rule.begin()
        self._tick = tick
        self._timer: asyncio.TimerHandle | None = None
        self.line = Line()
        """Who waits for it."""

    @property
    def due(self) -> float:
        """When it is over."""
        return self._burst.due

    @property
    def idle(self) -> bool:
        """Whether nobody waits and no timer runs."""
        return not self.line and self._timer is None

    def came(self, item: object, now: float) -> None:
        """*item* has come.

        Raises:
            BaseException: What `urgent` raised; the burst is over.
        """
        self._burst.add(item, now)

    def flush(self) -> None:
        """It is over, if there is anything in it."""
        self._burst.flush()

    def follow(self, since: float | None) -> None:
        """Adapt to what has become of its items: None, there are none; else the first of them is there since then."""
        if since is None:
            self._burst.clear()
        elif self._burst.due == math.inf:
            self._burst.resume(since)

    def settle(self, loop: asyncio.AbstractEventLoop | None, now: float, due: float) -> None:
        """Let the first in line have it if it is *due*, else let time pass; one at a time."""
        line = self.line
        if not line.turns or line.granted or due == math.inf:
            self._stop()
        elif due <= now:
            self._stop()
            line.grant()
        elif loop is not None:
            self.expect(loop, due)

    def expect(self, loop: asyncio.AbstractEventLoop, due: float) -> None:
        """Somebody waits, or is about to: see to it that he is woken."""
        # A timer that fires too early does no harm: most bursts go on, and it is set anew once and not for each item.
        if due < math.inf and (self._timer is None or self._timer.when() > due):
            self._stop()
            self._timer = loop.call_at(due, self._due, due)

    def _due(self, when: float) -> None:
        self._timer = None
        self._tick(when)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
