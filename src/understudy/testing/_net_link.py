"""One direction of a connection."""

from __future__ import annotations

import enum
import math
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from understudy.testing._loop import SimLoop
    from understudy.testing._net_conditions import Conditions

__all__ = ["Link", "Signal"]


class Signal(enum.Enum):
    """What travels over a link besides data, in order with it."""

    OPEN = "open"
    ACCEPTED = "accepted"
    REFUSED = "refused"
    END = "end"
    """No more data comes."""
    RESET = "reset"
    """The other side knows of no such connection, or knows it no more."""
    BREAK = "break"
    """Here chance breaks the connection, both directions."""


class Link:
    """Carries data and signals from one host to the other, in order, each in its own time.

    While the hosts are cut off from each other what is sent waits, without limit in time, and goes on when they are
    reunited. What was sent and not yet taken by the reader fills the window; when that is full nothing more is accepted
    until the reader takes something.

    Args:
        lane: Of the loop, for what arrives.

    Attributes:
        on_arrival: Called when something has arrived. It runs as a step of the loop.
        on_room: Called when there is room in the window again, by whoever made it.
        on_break: Called when chance breaks the connection.
        on_stray: Called when data arrives for a reader that has closed.
        swallows: What arrives is lost, and its sender does not learn of it.
    """

    def __init__(self, loop: SimLoop, conditions: Conditions, lane: str, source: str, target: str) -> None:
        self._loop = loop
        self._conditions = conditions
        self._lane = lane
        self.source = source
        self.target = target
        self.on_arrival: Callable[[], None] = _nothing
        self.on_room: Callable[[], None] = _nothing
        self.on_break: Callable[[], None] = _nothing
        self.on_stray: Callable[[], None] = _nothing
        self.swallows = False
        self._dead = False
        self._deaf = False
        self._coming: deque[bytearray | Signal] = deque()
        self._arrived: deque[bytearray | Signal] = deque()
        # One step of the lane for each thing that is coming, but for those steps that found the hosts cut off, which
        # are only counted. Each step takes the oldest thing, so no order of steps can change the order of things.
        self._steps: deque[asyncio.Handle] = deque()
        self._missed = 0
        self._heals: asyncio.Handle | None = None
        self._filled = 0

    @property
    def has_arrived(self) -> bool:
        """Whether there is something to take."""
        return bool(self._arrived)

    @property
    def has_reset(self) -> bool:
        """Whether a reset has arrived and not been taken."""
        return bool(self._arrived) and self._arrived[-1] is Signal.RESET

    @property
    def filled(self) -> int:
        """How many bytes are on their way or unread."""
        return self._filled

    # For the writer

    def send(self, data: memoryview) -> int:
        """Accept as much of *data* as there is room for; return how many bytes that were."""
        if self._dead:
            return len(data)
        size = min(len(data), max(self._conditions.window - self._filled, 0))
        if not size:
            return 0
        self._filled += size
        begin = 0
        for piece in self._conditions.pieces(self._lane, size):
            self._send_piece(bytearray(data[begin : begin + piece]))
            begin += piece
        return size

    def signal(self, signal: Signal) -> None:
        """Send *signal*, for which there is always room."""
        # A coroutine that is collected after its loop was closed may give up its connection then.
        if not self._dead and not self._loop.is_closed():
            self._push(signal)

    def _send_piece(self, piece: bytearray) -> None:
        if self._conditions.breaks(self._lane):
            self._push(Signal.BREAK)
            return
        last = self._coming[-1] if self._coming else None
        if isinstance(last, bytearray) and self._conditions.merges(self._lane):
            last += piece
            return
        self._push(piece)

    def _push(self, thing: bytearray | Signal) -> None:
        self._conditions.sent(self._lane, self.source, self.target)
        self._coming.append(thing)
        self._step()

    # On the way

    def _step(self) -> None:
        self._steps.append(self._loop.call_in_lane(self._lane, self._arrive, delay=self._conditions.delay(self._lane)))

    def _arrive(self) -> None:
        self._steps.popleft()
        if self._waits():
            self._missed += 1
            return
        thing = self._coming.popleft()
        if self.swallows:
            return  # it stays in the window: nobody will ever acknowledge it
        if thing is Signal.BREAK:
            self.on_break()
        elif not self._deaf:
            self._arrived.append(thing)
            self.on_arrival()
        elif isinstance(thing, bytearray):
            self.on_stray()

    def _waits(self) -> bool:
        """Whether the hosts are cut off from each other; then someone will call :meth:`resume`."""
        until = self._conditions.apart_until(self.source, self.target)
        if until is not None and self._heals is None and until < math.inf:
            self._heals = self._loop.call_at(until, self.resume)
        return until is not None

    def resume(self) -> None:
        """The hosts may have been reunited."""
        if self._heals is not None:
            self._heals.cancel()
            self._heals = None
        if self._missed and not self._waits():
            missed, self._missed = self._missed, 0
            for _ in range(missed):
                self._step()

    def break_off(self) -> None:
        """What is on its way is lost; the reader learns of the reset, cut off or not."""
        if not self._dead:
            self.discard()
            self._loop.call_in_lane(self._lane, self._broken)

    def _broken(self) -> None:
        if not self._deaf:
            self._arrived.append(Signal.RESET)
            self.on_arrival()

    def discard(self) -> None:
        """What is on its way is lost, and nothing more is sent."""
        self._dead = True
        self._coming.clear()
        self._missed = 0
        if self._heals is not None:
            self._heals.cancel()
            self._heals = None
        while self._steps:
            self._steps.pop().cancel()

    # For the reader

    def take(self, limit: int) -> bytes | Signal | None:
        """What has arrived: up to *limit* bytes, a signal, or None for nothing."""
        if not self._arrived:
            return None
        taken = bytearray()
        while self._arrived and len(taken) < limit:
            first = self._arrived[0]
            if isinstance(first, Signal):
                break
            wanted = limit - len(taken)
            taken += first[:wanted]
            del first[:wanted]
            if not first:
                self._arrived.popleft()
        if not taken:
            signal = self._arrived.popleft()
            assert isinstance(signal, Signal)
            return signal
        self._filled -= len(taken)
        self.on_room()
        return bytes(taken)

    def stop_reading(self) -> bool:
        """Nobody will take anything any more. Return whether data was left unread."""
        self._deaf = True
        unread = any(isinstance(thing, bytearray) for thing in self._arrived)
        self._arrived.clear()
        return unread


def _nothing() -> None:
    pass
