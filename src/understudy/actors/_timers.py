"""Timers: messages that an actor sends itself, later."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from understudy._plans._spec import number_of
from understudy.actors._asks import Arrival
from understudy.exceptions import InvalidTimeout

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Hashable

    from understudy.actors._cell import Cell

__all__ = ["Timers"]


class Timers:
    """The timers of one incarnation, each with a key; ``self.context.timers``.

    The message comes in the order of the mailbox, whether there is room or not, and is handled by a handler whose name
    begins with ``_``, like all that an actor sends itself. Once a timer is cancelled or replaced its message is not
    handled, not even if it waits in the mailbox already. All timers end with the incarnation.

    No more than one message of a timer waits at a time. Times are seconds on the event loop's clock; a message is never
    early, and late by as much as the actor and the event loop are busy.
    """

    __slots__ = ("_cell", "_timers")

    def __init__(self, cell: Cell) -> None:
        self._cell = cell
        self._timers: dict[Hashable, _Timer] = {}

    def after(self, key: Hashable, seconds: float, message: object) -> None:
        """Send *message* once, in *seconds*; takes the place of a timer with that key.

        Raises:
            InvalidTimeout: Not a positive, finite number of seconds; a timer with that key stays.
        """
        self._start(key, _Timer(self, key, check_delay(seconds), message, None, steady=False))

    def every(
        self, key: Hashable, seconds: float, message: object, *, first: float | None = None, steady: bool = False
    ) -> None:
        """Send *message* again and again; takes the place of a timer with that key.

        Args:
            key: Names the timer.
            seconds: Between two of them. By default that is a fixed delay: counted from the moment at which the last
                was taken from the mailbox. When *steady* it is a fixed rate: counted from when the last was due, so
                that the times do not drift; those that are missed are left out, never made up for by a burst.
            message: What is sent.
            first: Seconds until the first; by default as many as between two.
            steady: Whether it is a fixed rate.

        Raises:
            InvalidTimeout: Not a positive, finite number of seconds; a timer with that key stays.
        """
        seconds = check_delay(seconds)
        delay = seconds if first is None else check_delay(first)
        self._start(key, _Timer(self, key, delay, message, seconds, steady=steady))

    def cancel(self, key: Hashable) -> bool:
        """Forget the timer with that key; False: there is none."""
        timer = self._timers.pop(key, None)
        if timer is not None:
            timer.stop()
        return timer is not None

    def cancel_all(self) -> None:
        """Forget them all."""
        while self._timers:
            self._timers.popitem()[1].stop()

    def __contains__(self, key: Hashable) -> bool:
        """Whether a message with that key is still to come, or waits to be handled."""
        return key in self._timers

    def __len__(self) -> int:
        """How many timers there are."""
        return len(self._timers)

    def _start(self, key: Hashable, timer: _Timer) -> None:
        self.cancel(key)
        self._timers[key] = timer
        timer.start(self._cell)

    def over(self, key: Hashable) -> None:
        """The only message of that timer is being handled."""
        self._timers.pop(key, None)


class _Timer:
    """One of them; the source of its messages."""

    __slots__ = ("_book", "_cell", "_due", "_handle", "_interval", "_key", "_message", "_steady", "_waiting")

    def __init__(
        self, book: Timers, key: Hashable, delay: float, message: object, interval: float | None, *, steady: bool
    ) -> None:
        self._book = book
        self._key = key
        self._message = message
        # None: there is only one message.
        self._interval = interval
        self._steady = steady
        self._due = delay
        self._handle: asyncio.TimerHandle | None = None
        # Its message that waits in the mailbox, if there is one; the only one that is to be handled.
        self._waiting: Arrival | None = None

    def start(self, cell: Cell) -> None:
        """Begin to count."""
        self._cell = cell
        self._due += cell.runtime.env.now()
        self._arm()

    def stop(self) -> None:
        """Nothing more comes."""
        self._waiting = None
        if self._handle is not None:
            self._handle.cancel()

    def wants(self, arrival: Arrival) -> bool:
        """Whether *arrival* is to be handled."""
        return arrival is self._waiting

    def taken(self, arrival: Arrival) -> None:
        """*arrival* is being handled."""
        if arrival is not self._waiting:
            return
        self._waiting = None
        if self._interval is None:
            self._book.over(self._key)
        elif not self._steady:
            self._due = self._cell.runtime.env.now() + self._interval
            self._arm()

    def _arm(self) -> None:
        self._handle = self._cell.runtime.env.call_at(self._due, self._fire)

    def _fire(self) -> None:
        if self._waiting is None:
            self._waiting = Arrival(self._message, self._cell, self)
            self._cell.inform(self._waiting)
        if self._interval is not None and self._steady:
            late = self._cell.runtime.env.now() - self._due
            self._due += self._interval * (1 + math.floor(max(late, 0.0) / self._interval))
            self._arm()


def check_delay(seconds: object) -> float:
    """*seconds*, if it is a time after which something can happen.

    Raises:
        InvalidTimeout: Not a positive, finite number.
    """
    number = number_of(seconds)
    if number is None or not 0 < number < math.inf:
        raise InvalidTimeout(value=seconds, allowed="a positive, finite number of seconds")
    return number
