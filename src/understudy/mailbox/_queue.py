"""`AsyncMessageQueue`: bounded, first in first out, with waits that a cancellation cannot break.

How it works. Items are in a deque. Who finds no item, or no room, waits in a line (see `Line`); there is no lock, no
polling, no await between a decision and its effect. A hand-over is a promise: an item is promised to the getter that
has waited longest, a room to the putter that has waited longest, and nobody else can have it. Whoever was promised
something takes it when its task runs; if that task has been cancelled in the meantime, the promise goes to the next in
line.

So an item is never in the hands of a task that may no longer want it, and these hold without exception:

- `put` returned: the item is in the queue, or was. `put` raised, with whatever error: it never was.
- `get` returned: the caller has the item. `get` raised: the item is where it was, in front of those that came later.
- A cancellation wins over an item or a room of the same tick.
- Items leave in the order in which they came in.

Not promised: which of several waiting getters ends up with which item (each gets one, the first come are served first);
anything about other threads or another event loop: a queue belongs to the loop in which it is used.
"""

from __future__ import annotations

import math
import sys
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, Literal, TypeVar

from understudy.exceptions import MailboxFull, UnderstudyError
from understudy.mailbox._line import NOBODY, Line, Turn, check_timeout

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

__all__ = [
    "DEFAULT_CAPACITY",
    "AsyncMessageQueue",
    "QueueClosed",
    "QueueEmpty",
    "QueueFull",
    "QueueStatistics",
    "check_capacity",
]

T = TypeVar("T")

DEFAULT_CAPACITY = 10_000


class AsyncMessageQueue(Generic[T]):
    """A bounded queue, first in first out, for many producers and many consumers in one event loop.

    `async for item in queue` gets items until the queue is closed and empty. `async with queue` closes it at the end;
    what is left can still be got.

    Args:
        capacity: How many items may wait: a whole number from 1 on, or `math.inf`. What is given *back* (by a cancelled
            `get`, by `push_front`) is taken back even when there is no room.

    Raises:
        ValueError: For any other capacity.
    """

    __slots__ = (
        "_capacity",
        "_closed",
        "_dropped",
        "_getters",
        "_high_water",
        "_putters",
        "_refused",
        "_take_up_to",
        "_total_out",
        "append_below",
        "items",
    )

    def __init__(self, capacity: float = DEFAULT_CAPACITY) -> None:
        self._capacity = check_capacity(capacity)
        # The first `_getters.granted` items are promised to getters that have not run yet; the others are free. While a
        # getter waits without a promise no item is free; while a putter waits without one, there is no room.
        self.items: deque[T] = deque()  # public for the runtime, to look and, below `append_below`, to append
        self._getters = NOBODY
        self._putters = NOBODY
        self._closed = False
        # The two numbers that the hot path looks at. An item may simply be appended while there are fewer items than
        # `append_below`, and simply be removed while there are no more than `_take_up_to`. They are 0 and -1 while the
        # queue is closed or anybody in a line could be concerned; all else is then decided in one place, `_settle`.
        self.append_below = _whole(self._capacity)
        self._take_up_to = 0
        # The largest size before the last removal. A size is largest just before a removal, so it is enough to look
        # there (and in `statistics`), and the mark is exact in spite of it. A removal from a larger size than ever is
        # not a simple one: `_take_up_to` is never more than the mark.
        self._high_water = 0
        # What came in is not counted but is the sum of what left, what was dropped and what is there.
        self._total_out = 0
        self._dropped = 0
        self._refused = 0

    @property
    def capacity(self) -> float:
        """How many items may wait: an int, or `math.inf`."""
        return self._capacity

    @property
    def closed(self) -> bool:
        """Whether `close` has been called; there may still be items to get."""
        return self._closed

    def __len__(self) -> int:
        """How many items can be got now; those promised to a getter that has waited for one are not among them."""
        return len(self.items) - self._getters.granted

    def empty(self) -> bool:
        """Whether `get_nowait` would fail."""
        return len(self) == 0

    def full(self) -> bool:
        """Whether there is no room for one more: the capacity is reached, or others wait in front."""
        return bool(self._putters) or not self._has_room()

    def __repr__(self) -> str:
        state = ", closed" if self._closed else ""
        return f"<{type(self).__name__} {len(self)} of {self._capacity:,}{state}>"

    # Putting

    def put_nowait(self, item: T) -> None:
        """Put *item* at the end, now or not at all. Never overtakes a `put` that waits for room.

        Raises:
            MailboxFull: There is no room, or others wait for it; carries the item.
            QueueClosed: The queue is closed; carries the item.
        """
        if not self.offer(item):
            if self._closed:
                raise QueueClosed(operation="put", message=item)
            raise QueueFull(capacity=self._capacity, message=item)

    async def put(self, item: T, *, timeout: float | None = None) -> None:
        """Put *item* at the end; wait for room, first come first served.

        If it returns, the item is in the queue. If it raises, also for a cancellation in the very tick in which room
        was made, the item is not in the queue and has never been: the item goes in when the waiting task has its turn,
        not when the room is promised to it, so there is nothing to withdraw from a consumer that may have seen it.

        It does not suspend when there is room: a loop around it gives others no turn until the queue is full.

        Args:
            timeout: Seconds to wait, counted from the call; 0 does not wait; None and `math.inf` wait for ever.

        Raises:
            TimeoutError: No room in time.
            QueueClosed: The queue is closed, or was while waiting; carries the item.
            InvalidTimeout: The timeout is negative, NaN or no number.
        """
        if timeout is not None:
            check_timeout(timeout)
        if len(self.items) < self.append_below:
            self.items.append(item)
            return
        if not self._admits():
            await self._wait_for_room(item, timeout)
        self._append(item)

    def offer(self, item: T) -> bool:
        """Put *item* at the end if that is possible now; never raises.

        For the runtime, and for who wants an answer rather than an error. False: full, others wait for room, or closed.
        """
        items = self.items
        if len(items) < self.append_below:
            items.append(item)
            return True
        if self._admits():
            self._append(item)
            return True
        self._refused += 1
        return False

    def push_front(self, item: T) -> None:
        """Take back what was got last: it is the next to be got again. For the runtime.

        Works without room and after `close` too, since the item had been accepted before. To give back several, begin
        with the one got last.
        """
        self.items.appendleft(item)
        self._total_out -= 1
        if self._take_up_to < 0:
            self._settle()

    # Getting

    def get_nowait(self) -> T:
        """The item that has waited longest, now.

        Raises:
            QueueEmpty: There is none, or none that is not promised to a getter that has waited for it.
            QueueClosed: There is none and there will be none.
        """
        if self.empty():
            raise QueueClosed(operation="get") if self._drained() else QueueEmpty()
        return self.take()

    async def get(self, *, timeout: float | None = None) -> T:
        """The item that has waited longest; wait for one, first come first served.

        If it raises, also for a cancellation in the very tick in which an item came, the item is still in the queue, in
        its old place in front, or goes to the next getter in line. It does not suspend when there is an item.

        Args:
            timeout: Seconds to wait, counted from the call; 0 does not wait; None and `math.inf` wait for ever. An item
                that was handed over before the time was up is returned, however late the task runs.

        Raises:
            TimeoutError: No item in time.
            QueueClosed: The queue is closed and empty, or became so while waiting.
            InvalidTimeout: The timeout is negative, NaN or no number.
        """
        if timeout is not None:
            check_timeout(timeout)
        if len(self.items) > self._getters.granted:
            return self.take()
        await self._wait_for_item(timeout)
        return self._remove_first()

    def take(self) -> T:
        """The item that has waited longest; for the runtime, whose mailboxes have one consumer.

        Raises:
            IndexError: There is none.
        """
        items = self.items
        if len(items) > self._take_up_to:
            return self._take_slowly()
        item = items.popleft()
        self._total_out += 1
        return item

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        try:
            return await self.get()
        except QueueClosed:
            raise StopAsyncIteration from None

    # Ending

    def clear(self) -> list[T]:
        """Remove all items and return them, oldest first; lets waiting putters in. They count as dropped.

        An item that is promised to a getter is that getter's and stays.
        """
        self._note_size()
        removed = [self.items.pop() for _ in range(len(self))]
        removed.reverse()
        self._dropped += len(removed)
        self._settle()
        return removed

    def close(self, *, drain: bool = True) -> list[T]:
        """Accept nothing more. Waiting putters fail with `QueueClosed`; closing twice does no harm.

        Args:
            drain: True: what is in the queue can be got, after which getters fail with `QueueClosed`; returns an empty
                list. False: what is in the queue is removed and returned, oldest first, and counts as dropped. (What a
                cancelled getter gives back after that can still be got.)
        """
        self._closed = True
        if not drain:
            return self.clear()
        self._settle()
        return []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def statistics(self) -> QueueStatistics:
        """The state of this moment; a copy that does not change."""
        self._note_size()
        return QueueStatistics(
            size=len(self),
            capacity=self._capacity,
            high_water=self._high_water,
            total_in=self._total_out + self._dropped + len(self.items),
            total_out=self._total_out,
            handed_over=self._getters.granted,
            dropped=self._dropped,
            refused=self._refused,
            putters_waiting=self._putters.waiting + self._putters.granted,
            getters_waiting=self._getters.waiting,
            closed=self._closed,
        )

    # Decisions

    def _has_room(self) -> bool:
        return len(self) + self._putters.granted < self._capacity

    def _admits(self) -> bool:
        # A putter that was promised a room counts as waiting until its item is in: nobody may slip in before it.
        return self._has_room() and not (self._closed or self._putters)

    def _drained(self) -> bool:
        # A promised item may come back, so the queue is not drained before its getter has it.
        return self._closed and not self.items

    def _settle(self) -> None:
        """Make the promises that can be made, send away who waits in vain, and work out the fast path again.

        To be called after each change outside the fast path, except between the end of a wait and its use.
        """
        if self._closed:
            self._putters.dismiss()
        while len(self) and self._getters.grant():
            pass
        while self._has_room() and self._putters.grant():
            pass
        if self._drained():
            self._getters.dismiss()
        busy = self._closed or self._getters
        self.append_below = 0 if busy or self._putters else _whole(self._capacity)
        # Putters that all have been promised a room do not care how much more there is.
        self._take_up_to = -1 if busy or self._putters.hopes else self._high_water

    # Effects

    def _append(self, item: T) -> None:
        self.items.append(item)
        self._settle()

    def _take_slowly(self) -> T:
        if self.empty():
            raise IndexError("there is no item to take")
        self._note_size()
        return self._remove_first()

    def _remove_first(self) -> T:
        item = self.items.popleft()
        self._total_out += 1
        self._settle()
        return item

    def _note_size(self) -> None:
        self._high_water = max(self._high_water, len(self))

    async def _wait_for_room(self, item: T, timeout: float | None) -> None:
        """Return with a room that the caller must fill before its next await, or raise."""
        if self._putters is NOBODY:
            self._putters = Line()
        turn = Turn.DISMISSED if self._closed else await self._wait(self._putters, timeout)
        # Closed after the promise of a room: the item is not in yet, so it stays out.
        if turn is Turn.GRANTED and not self._closed:
            return
        self._settle()
        self._refused += 1
        if turn is Turn.EXPIRED:
            raise TimeoutError(f"no room in the queue within {timeout} s ({self._capacity:,} items)")
        raise QueueClosed(operation="put", message=item)

    async def _wait_for_item(self, timeout: float | None) -> None:
        """Return with a free item that the caller must take before its next await, or raise."""
        if self._getters is NOBODY:
            self._getters = Line()
        turn = Turn.DISMISSED if self._drained() else await self._wait(self._getters, timeout)
        if turn is Turn.GRANTED:
            return
        self._settle()
        if turn is Turn.EXPIRED:
            raise TimeoutError(f"no item in the queue within {timeout} s")
        raise QueueClosed(operation="get")

    async def _wait(self, line: Line, timeout: float | None) -> Turn:
        if timeout == 0:
            return Turn.EXPIRED
        self.append_below, self._take_up_to = 0, -1
        try:
            return await line.wait(timeout)
        except BaseException:
            self._settle()  # the promise, if there was one, goes to the next in line
            raise


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueStatistics:
    """A queue at one moment. At each of them `total_in == total_out + dropped + size + handed_over`."""

    size: int
    """Items that can be got."""
    capacity: float
    """How many may wait; `math.inf` for no limit."""
    high_water: int
    """The largest size there has ever been; items handed over to a waiting getter at once do not add to it."""
    total_in: int
    """Items accepted since the start."""
    total_out: int
    """Items that a consumer got."""
    handed_over: int
    """Items promised to getters that have not run since; 0 once the loop has had its turn."""
    dropped: int
    """Items accepted and then returned by `clear` or `close`."""
    refused: int
    """Items not accepted: full, closed, or no room in time. A cancelled `put` is not counted."""
    putters_waiting: int
    """Tasks that wait for room."""
    getters_waiting: int
    """Tasks that wait for an item, without those an item was handed over to."""
    closed: bool
    """Whether nothing more is accepted."""


class QueueEmpty(UnderstudyError):
    """There is no item now; one may come."""

    def __init__(self) -> None:
        super().__init__("the queue is empty: use `await queue.get()` to wait for an item")


class QueueFull(MailboxFull):
    """There is no room in a queue that is used on its own. ``message`` is the item that did not get in."""

    def __init__(self, *, capacity: float, message: object) -> None:
        super().__init__(path="queue", capacity=capacity, message=message)
        self.args = (f"the queue is full ({capacity:,}): use `await queue.put(...)`, or set `capacity=`",)


class QueueClosed(UnderstudyError):
    """The queue is closed. ``message`` is the item that did not get in, None after a `get`."""

    def __init__(self, *, operation: Literal["get", "put"], message: object = None) -> None:
        self.operation = operation
        self.message = message
        state = "closed and empty" if operation == "get" else "closed"
        super().__init__(f"the queue is {state}: {operation} can do nothing more")


def check_capacity(value: object) -> float:
    """Give back *value* if it can be a capacity.

    Raises:
        ValueError: It is neither a whole number from 1 on nor `math.inf`.
    """
    if isinstance(value, float) and value == math.inf:
        return value
    if isinstance(value, int) and not isinstance(value, bool) and value >= 1:
        return value
    raise ValueError(f"capacity must be a whole number from 1 on, or math.inf, got {value!r}")


def _whole(capacity: float) -> int:
    # An int, since comparing with a float costs the hot path more; no deque can be as long.
    return sys.maxsize if capacity == math.inf else int(capacity)
