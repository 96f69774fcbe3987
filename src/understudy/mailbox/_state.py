"""What a queue knows, and says about itself."""

from __future__ import annotations

import asyncio
import logging
import math
from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from understudy.environment import nowhere, running_loop, thread_test
from understudy.exceptions import InvalidContext
from understudy.mailbox._line import NOBODY
from understudy.mailbox._rules import Rules, whole
from understudy.mailbox._statistics import QueueStatistics

if TYPE_CHECKING:
    from understudy.mailbox._bursts import Bursts
    from understudy.mailbox._selective import Selective

__all__ = ["QueueState"]

T = TypeVar("T")


class QueueState(Generic[T]):
    """All that a queue knows; how it changes is decided in `QueueEngine`."""

    __slots__ = (
        "_bursts",
        "_calm",
        "_capacity",
        "_closed",
        "_done",
        "_flooded",
        "_getters",
        "_here",
        "_high_water",
        "_joiners",
        "_limit",
        "_loop",
        "_losses",
        "_overflowed",
        "_putters",
        "_refused",
        "_rules",
        "_selective",
        "_spare",
        "_stamped",
        "_watched",
        "append_below",
        "collects",
        "items",
        "take_up_to",
        "total_in",
    )

    def __init__(self, capacity: float, rules: Rules) -> None:
        self._capacity = capacity
        self._rules = rules
        # The first `_getters.granted` items are promised to getters that have not run yet; the others are free. While a
        # getter waits without a promise no item is free; while a putter waits without one, there is no room for it.
        self.items: deque[T] = deque()  # public for the runtime: to look, and below `append_below` to append and count
        # While this is set, `items` is its shelf, of which only the length is used, and all of them are free.
        self._selective: Selective[T] | None = None
        self._spare: Selective[T] | None = None
        # Whether more is to be noted of an item than the item, or to be looked at after each that comes or goes; and
        # whether that is when it came.
        self._watched = self._stamped = False
        self._getters = self._putters = self._joiners = NOBODY
        self._closed = self._overflowed = self._flooded = False
        # Where it is used: a test for its thread, and its event loop; `nowhere` and None until it is known.
        self._here = nowhere
        self._loop: asyncio.AbstractEventLoop | None = None
        # The largest size before the last removal. A size is largest just before a removal, so it is enough to look
        # there (and in `statistics`), and the mark is exact in spite of it. A removal from a larger size than ever is
        # not a simple one: `take_up_to` is never more than the mark.
        self._high_water = 0
        # Items accepted, also those that were given back or dropped since; to be counted by whoever appends one. What
        # went out is not counted: it is what came in and is neither here nor dropped.
        self.total_in: int = 0
        self._refused: int = 0
        self._done: int = 0
        self._losses: dict[str, int] | None = None
        # Set while there is a shelf and an item only has to be put there, if no seeker is concerned, or taken from it.
        self._calm = False
        # The two numbers that the hot path looks at. An item may simply be appended while there are fewer items than
        # `append_below`, and simply be removed while there are no more than `take_up_to`. They are 0 and -1 while the
        # queue is closed or anybody could be concerned; all else is then decided in one place, `_settle`. Below 0,
        # `append_below` says that an item may be appended too if a getter can be granted a turn for it: no putter
        # waits, and while a getter waits, all that is there is promised, so that there is room.
        self._limit = self.append_limit()
        self.append_below = self._limit
        self.take_up_to = 0
        self._bursts: Bursts | None = None
        self.collects = False
        """Whether what comes is collected until a burst is over; for the runtime."""

    def append_limit(self) -> int:
        """How many items there may be for the next to be appended by whoever puts it, past `offer` and all else here.

        For subclasses: return 0, and everything the runtime does with a mailbox goes through `offer`, `put`, `take`,
        `push_front`, `clear` and `close`, which may be overridden; it has no other way in or out.
        """
        limit = whole(self._capacity)
        if self._flooded or self._rules.high == math.inf:
            return limit
        return min(limit, math.ceil(self._rules.high) - 1)

    # What is there

    def __len__(self) -> int:
        """How many items can be got now; those promised to a getter that has waited for one are not among them."""
        if self._selective is not None:
            return len(self.items)
        return len(self.items) - self._getters.granted

    def contents(self) -> list[T]:
        """The items that can be got, in order; a copy."""
        return list(self._free())

    def _free(self) -> Iterator[T]:
        """The items that can be got, in order."""
        if self._selective is not None:
            return (node.item for node in self._selective.shelf)
        items = iter(self.items)
        for _ in range(self._getters.granted):
            next(items)
        return items

    def _load(self) -> float:
        return len(self) if self._selective is None else self._selective.shelf.load

    def _has_room(self, size: float) -> bool:
        return self._load() + self._putters.granted_size + size <= self._capacity

    def _handed_over(self) -> int:
        return self._getters.granted if self._selective is None else self._selective.handed_over

    def _drained(self) -> bool:
        # A promised item may come back, so the queue is not drained before its getter has it.
        return self._closed and not len(self) and not self._handed_over()

    def _dropped(self) -> int:
        return sum(self._losses.values()) if self._losses else 0

    def _total_out(self) -> int:
        there = len(self.items) if self._selective is None else len(self.items) + self._selective.handed_over
        return self.total_in - self._dropped() - there

    def _unfinished(self) -> int:
        return self.total_in - self._dropped() - self._done

    def _note_size(self) -> None:
        self._high_water = max(self._high_water, len(self))

    def statistics(self) -> QueueStatistics:
        """The state of this moment; a copy that does not change."""
        self._note_size()
        size = len(self)
        waiting, age = self._getters.waiting, None
        if self._selective is not None:
            waiting += self._selective.seeking
            if self._rules.track_age and size:
                age = self._now() - min(node.since for node in self._selective.shelf)
        if self._bursts is not None:
            waiting += self._bursts.line.waiting + self._bursts.line.granted
        return QueueStatistics(
            size=size,
            capacity=self._capacity,
            load=self._load(),
            high_water=self._high_water,
            total_in=self.total_in,
            total_out=self._total_out(),
            unfinished=self._unfinished(),
            handed_over=self._handed_over(),
            dropped=self._dropped(),
            dropped_by=dict(self._losses or {}),
            refused=self._refused,
            putters_waiting=self._putters.waiting + self._putters.granted,
            getters_waiting=waiting,
            oldest_age=age,
            closed=self._closed,
        )

    # Outside

    def _now(self) -> float:
        loop = self._loop or running_loop()
        if loop is None:
            raise InvalidContext(
                what=type(self).__name__, problem="track_age= and batch= need the clock of a running event loop"
            )
        return loop.time()

    def _begin(self) -> None:
        """It belongs to the event loop in which it is made, if there is one, else to that in which it is used first."""
        loop = running_loop()
        if loop is not None:
            self._loop, self._here = loop, thread_test()

    def _check_thread(self) -> None:
        """To be called when this thread is not the one that was noted: note it, or refuse to be used in it."""
        loop = running_loop()
        if self._here is not nowhere and not (self._loop is not None and self._loop.is_closed()):
            raise InvalidContext(
                what=type(self).__name__, problem="used outside of the thread of its event loop: use put_threadsafe"
            )
        if loop is not None:
            self._loop, self._here = loop, thread_test()

    def _check_loop(self) -> asyncio.AbstractEventLoop:
        """To be called before a wait: it can only end in the loop in which the others wait."""
        loop = asyncio.get_running_loop()
        if loop is self._loop:
            return loop
        if self._loop is not None and not self._loop.is_closed():
            raise InvalidContext(what=type(self).__name__, problem="used in another event loop than before")
        self._loop, self._here = loop, thread_test()
        return loop

    def _call(self, function: Callable[..., object], *args: object) -> None:
        """Call one who observes; what he raises is his own affair, and changes nothing here."""
        try:
            function(*args)
        except Exception as error:
            self._complain(f"{getattr(function, '__qualname__', function)} raised", error)

    def _complain(self, what: str, error: BaseException) -> None:
        """Report an error that has nobody else to go to."""
        loop: Any = self._loop or running_loop()
        if loop is None:
            logging.getLogger("understudy").error(what, exc_info=error)
        else:
            loop.call_exception_handler({"message": f"understudy: {what}", "exception": error})
