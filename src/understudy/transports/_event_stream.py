"""What one side of a connection over server-sent events has said: numbered, with the latest kept to be said again."""

from __future__ import annotations

from collections import deque

__all__ = ["EventStream", "Gap"]


class Gap(Exception):
    """What is to come next has been thrown away; from *first* to *last*, both included."""

    def __init__(self, first: int, last: int) -> None:
        self.first = first
        self.last = last
        super().__init__(f"the events {first} to {last} are not kept any more")


class EventStream:
    """Events in order, numbered from 1.

    What was not sent yet is always kept; of what was sent, the latest, so that a reader who has lost his connection can
    go on where he was. It does no I/O and never waits.

    Args:
        keep: How many events that were sent are kept.
        keep_bytes: How large they may be, together.
    """

    __slots__ = ("_bytes", "_events", "_first", "_keep", "_keep_bytes", "_sent")

    def __init__(self, *, keep: int, keep_bytes: int) -> None:
        self._keep = keep
        self._keep_bytes = keep_bytes
        self._events: deque[bytes] = deque()
        # The number of the oldest that is kept; those kept have numbers without a hole.
        self._first = 1
        # The number up to which all have been sent at least once.
        self._sent = 0
        # The size of those kept that were sent.
        self._bytes = 0

    @property
    def last(self) -> int:
        """The number of the latest; 0 when there was none."""
        return self._first + len(self._events) - 1

    @property
    def unsent(self) -> int:
        """How many have not been sent."""
        return self.last - self._sent

    def add(self, data: bytes) -> int:
        """One more; its number."""
        self._events.append(data)
        return self.last

    def after(self, number: int) -> tuple[int, bytes] | None:
        """The one that comes after that of the given *number*, with its own; None when there is none yet.

        Raises:
            Gap: It was there, and is kept no more.
            ValueError: There is nothing of that *number*.
        """
        if not 0 <= number <= self.last:
            raise ValueError(f"there is no event {number}: the latest is {self.last}")
        if number == self.last:
            return None
        if number + 1 < self._first:
            raise Gap(number + 1, self._first - 1)
        return number + 1, self._events[number + 1 - self._first]

    def sent(self, number: int) -> None:
        """That of *number* has been handed to the network, and so have all before."""
        while self._sent < number:
            self._sent += 1
            self._bytes += len(self._events[self._sent - self._first])
        while self._first <= self._sent and (self._sent - self._first >= self._keep or self._bytes > self._keep_bytes):
            self._bytes -= len(self._events.popleft())
            self._first += 1
