"""`AsyncMessageQueue`: bounded, first in first out, with waits that a cancellation cannot break.

What holds without exception:

- `put` returned: the item is in the queue, or was (but for the policy `drop_new`, where it says so). `put` raised, with
  whatever error: it never was.
- `get` returned: the caller has the item. `get` raised: the item is where it was, in front of those that came later.
  `get_batch` likewise: all of them or none.
- A cancellation wins over an item or a room of the same tick.
- Items leave in the order in which they came in, or, where somebody chooses, in that order among what he chose.
- Who waits is served first come, first served; nobody polls, and nobody is woken in vain.
- Each item that a policy throws away is reported once.

Not promised: which of several waiting getters that take anything ends up with which item (each gets one); anything
about other event loops: a queue belongs to the loop in which it is used, and other threads use `put_threadsafe`.
"""

from __future__ import annotations

import concurrent.futures
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Generic, TypeVar

from understudy.mailbox._errors import QueueClosed, QueueEmpty, QueueFull
from understudy.mailbox._line import GRANTED, check_timeout, start_timer
from understudy.mailbox._rolling import RollingBatch
from understudy.mailbox._rules import DEFAULT_CAPACITY, PLAIN, Policy, Rules, check_capacity, check_marks, check_policy
from understudy.mailbox._seeker import Seeker
from understudy.mailbox._statistics import QueueStatistics
from understudy.mailbox._waits import QueueWaits

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


class AsyncMessageQueue(QueueWaits[T], Generic[T]):
    """A bounded queue, first in first out, for many producers and many consumers in one event loop.

    `async for item in queue` gets items until the queue is closed and empty. `async with queue` closes it at the end;
    what is left can still be got.

    Functions that are given to it (`key`, `weigh`, predicates, what observes) are called on the spot by whoever puts or
    gets; they must be quick and leave the queue alone. What `key` raises costs the item its key, what `weigh` raises
    goes to the putter, what an observer raises goes to the event loop's exception handler.

    Args:
        capacity: How many items may wait: a whole number from 1 on, or `math.inf`. What is given *back* (by a cancelled
            `get`, by `push_front`) is taken back even when there is no room, and what is handed over to somebody who
            waits for it takes none.
        policy: What becomes of the item that finds no room. `"block"`: `put` waits, `put_nowait` raises `QueueFull`.
            `"fail"`: both raise it. `"drop_new"`: the item is dropped and both return False. `"drop_old"`: the oldest
            is dropped. `"stop"`: both raise it, and the queue is closed, with what is in it left to be got.
        key: Computes an item's key, for `get(key=...)`. None is no key.
        weigh: Computes how much of the capacity an item takes, a number from 0 on. By default each takes 1.
        high: When so much is taken, *on_high* is called, once ...
        low: ... until no more than this is taken, and *on_low* is called. By default half of *high*.
        on_high: Called with what is taken.
        on_low: Likewise.
        on_drop: Called with each item that the policy drops, and the policy's name.
        track_age: Note when each item comes in, for `statistics().oldest_age`.
        batch: When a burst is over, for `get_burst`.
        rules: All of the options but the capacity at once, checked; for the runtime.

    Raises:
        ValueError: A bad capacity, policy or mark; says what is allowed.
    """

    __slots__ = ()

    def __init__(
        self,
        capacity: float = DEFAULT_CAPACITY,
        *,
        policy: Policy = "block",
        key: Callable[[T], Hashable] | None = None,
        weigh: Callable[[T], float] | None = None,
        high: float | None = None,
        low: float | None = None,
        on_high: Callable[[float], object] | None = None,
        on_low: Callable[[float], object] | None = None,
        on_drop: Callable[[T, str], object] | None = None,
        track_age: bool = False,
        batch: RollingBatch | None = None,
        rules: Rules | None = None,
    ) -> None:
        if rules is not None:  # made by the runtime, which has checked it all
            super().__init__(capacity, rules)
            if rules is not PLAIN:
                self._follow(rules)
            return
        capacity, rules = check_capacity(capacity), PLAIN
        given = (key, weigh, high, low, on_high, on_low, on_drop, batch)
        if policy != "block" or track_age or given != _NONE_OF_THEM:
            high, low = check_marks(high, low, capacity)
            rules = Rules(
                policy=check_policy(policy),
                key=key,
                weigh=weigh,
                high=high,
                low=low,
                on_high=on_high,
                on_low=on_low,
                on_drop=on_drop,
                track_age=track_age,
                batch=batch,
            )
        super().__init__(capacity, rules)
        if rules is not PLAIN:
            self._follow(rules)
        self._begin()

    @property
    def capacity(self) -> float:
        """How many items may wait, or how much they may weigh: an int, or `math.inf`."""
        return self._capacity

    @property
    def closed(self) -> bool:
        """Whether `close` has been called; there may still be items to get."""
        return self._closed

    def empty(self) -> bool:
        """Whether `get_nowait` would fail."""
        return len(self) == 0

    def full(self) -> bool:
        """Whether there is no room for one more: the capacity is reached, or others wait in front."""
        return bool(self._putters) or not self._has_room(1)

    def __repr__(self) -> str:
        state = ", closed" if self._closed else ""
        return f"<{type(self).__name__} {len(self)} of {self._capacity:,}{state}>"

    # Putting

    def put_nowait(self, item: T) -> bool:
        """Put *item* at the end, now or not at all. Never overtakes a `put` that waits for room.

        Returns:
            False: the policy is `drop_new`, and the item was dropped (or, in a priority queue with `drop_old`, it is
            less urgent than all that would have had to go). Otherwise True.

        Raises:
            MailboxFull: There is no room, or others wait for it; carries the item.
            QueueClosed: The queue is closed; carries the item.
            InvalidContext: Called from another thread: use `put_threadsafe`.
        """
        if not self._here():
            self._check_thread()
        items = self.items
        if len(items) < self.append_below or (self.append_below < 0 and self._getters.grant()):
            items.append(item)
            self.total_in += 1
            return True
        node = None if self._selective is None else self._entry(item)
        return self._try(item, node) or self._refuse(item, node)

    async def put(self, item: T, *, timeout: float | None = None) -> bool:
        """Put *item* at the end; wait for room, first come first served, if the policy is `block`.

        If it returns, the item is in the queue. If it raises, also for a cancellation in the very tick in which room
        was made, the item is not in the queue and has never been: the item goes in when the waiting task has its turn,
        not when the room is promised to it, so there is nothing to withdraw from a consumer that may have seen it.

        It does not suspend when there is room: a loop around it gives others no turn until the queue is full.

        Args:
            item: What to put.
            timeout: Seconds to wait, counted from the call; 0 does not wait; None and `math.inf` wait for ever.

        Returns:
            As `put_nowait`.

        Raises:
            TimeoutError: No room in time.
            MailboxFull: The policy is to fail or to stop; or the item weighs more than the capacity.
            QueueClosed: The queue is closed, or was while waiting; carries the item.
            InvalidTimeout: The timeout is negative, NaN or no number.
        """
        if timeout is not None:
            check_timeout(timeout)
        if not self._here():
            self._check_thread()
        items = self.items
        if len(items) < self.append_below or (self.append_below < 0 and self._getters.grant()):
            items.append(item)
            self.total_in += 1
            return True
        node = None if self._selective is None else self._entry(item)
        if self._try(item, node):
            return True
        if self._closed or self._rules.policy != "block" or not self._fits(node):
            return self._refuse(item, node)
        turn = await self._stand_for_room(item, 1 if node is None else node.weight, timeout)
        # Closed after the promise of a room: the item is not in yet, so it stays out.
        if turn is not GRANTED or self._closed:
            raise self._no_room(item, turn, timeout)
        self._place_promised(item, node)
        return True

    def put_threadsafe(self, item: T) -> concurrent.futures.Future[bool]:
        """`put`, from any thread: it wakes the event loop, and who waits there, at once.

        What one thread puts in this way goes in in that order. There is no need to wait for the future: its result is
        what `put` returns or raises. Cancelling it withdraws the item as long as it waits for room. Waiting for it in
        the thread of the event loop would stop the loop for ever. If the loop ends first, it never has a result.

        Raises:
            InvalidContext: The queue has not been used in any event loop yet, or its loop is closed.
        """
        return self._order(item)

    # Getting. To forbid `key` and `timeout` by position would cost a tenth of a call that does not wait.

    def get_nowait(self, predicate: Callable[[T], object] | None = None, key: Hashable = None) -> T:
        """The item that has waited longest, now; or the first that is wanted, as with `get`.

        Raises:
            QueueEmpty: There is none, or none that is not promised to a getter that has waited for it.
            QueueClosed: There is none and there will be none.
            InvalidContext: Called from another thread.
        """
        if not self._here():
            self._check_thread()
        if predicate is not None or key is not None:
            node = self._find(predicate, key)
            if node is None:
                raise self._not_found()
            return self._went(node.item)
        items = self.items
        if len(items) <= self.take_up_to:
            try:
                return items.popleft()
            except IndexError:
                pass
        elif len(self):
            return self._take_slowly()
        raise self._closed_to_getters() if self._drained() else QueueEmpty()

    async def get(
        self, predicate: Callable[[T], object] | None = None, key: Hashable = None, timeout: float | None = None
    ) -> T:
        """The item that has waited longest; wait for one, first come first served.

        If it raises, also for a cancellation in the very tick in which an item came, the item is still in the queue, in
        its old place, or goes to the next getter who wants it. It does not suspend when there is an item.

        Args:
            predicate: Asked once about each item, until it says yes to one; the others stay for others. If it raises,
                this call raises that, and nobody else notices.
            key: Only items with this key, as computed by the queue's own `key`; found without looking at the others.
            timeout: Seconds to wait, counted from the call; 0 does not wait; None and `math.inf` wait for ever. An item
                that was handed over before the time was up is returned, however late the task runs.

        Raises:
            TimeoutError: No item in time.
            QueueClosed: The queue is closed, and there is no such item, or there was none left while waiting.
            InvalidTimeout: The timeout is negative, NaN or no number.
        """
        if timeout is not None:
            check_timeout(timeout)
        if not self._here():
            self._check_thread()
        if predicate is not None or key is not None:
            node = self._find(predicate, key)
            if node is not None:
                return self._went(node.item)
            return (await self._seek(Seeker(predicate, key), timeout, looked=True))[0]
        items = self.items
        if items:
            if len(items) <= self.take_up_to:
                return items.popleft()
            if len(self):
                return self._take_slowly()
        # What `Line.wait` does, since a coroutine in between makes itself felt in the commonest of all waits.
        turn = self._enter_for_item(timeout)
        timer = None if timeout is None else start_timer(turn.get_loop(), timeout, turn)
        try:
            how = await turn
        except BaseException:
            self._leave_getters(turn)
            raise
        finally:
            if timer is not None:
                timer.cancel()
        if how is not GRANTED:
            self._leave_getters(turn)
            raise self._no_item(how, timeout)
        self._getters.granted -= 1
        return self.items.popleft() if self.append_below < 0 else self._collect()

    async def get_batch(
        self,
        max_items: int,
        *,
        min_items: int = 1,
        timeout: float | None = None,
        predicate: Callable[[T], object] | None = None,
        linger: float = 0.0,
    ) -> list[T]:
        """Several items, in order; wait until there are *min_items*. All of them or, if it raises, none.

        Who waits for more than one has what has come so far set aside for him, so that those who came later do not keep
        taking it away. What is set aside takes no room, and goes back to its old place if the wait comes to nothing.

        Args:
            max_items: No more than so many.
            min_items: No fewer, unless the queue is closed, when the rest will do.
            timeout: Seconds to wait for *min_items*, counted from the call; 0 does not wait. It cuts *linger* too.
            predicate: As with `get`.
            linger: Seconds to wait for more, up to *max_items*, once there are enough.

        Raises:
            TimeoutError: Fewer than *min_items* in time. They stay.
            QueueClosed: The queue is closed, and there is nothing of the kind.
            InvalidTimeout: A time is negative, NaN or no number.
            ValueError: *max_items* or *min_items* is no whole number from 1 on, or the other way round.
        """
        _check_counts(max_items, min_items)
        check_timeout(linger)
        if timeout is not None:
            check_timeout(timeout)
        if not self._here():
            self._check_thread()
        if predicate is not None or min_items > 1 or (linger > 0 and len(self) < max_items):
            return await self._seek(Seeker(predicate, None, max_items, min_items, linger), timeout)
        items: list[T] = []
        if not len(self):
            items.append(await self.get(timeout=timeout))
        while len(items) < max_items and len(self):
            if len(self.items) <= self.take_up_to:
                take = self.items.popleft
                items += [take() for _ in range(min(max_items - len(items), len(self.items)))]
            else:
                items.append(self.take())
        return items

    async def get_burst(self, *, timeout: float | None = None) -> list[T]:
        """All that is there, as soon as the burst is over, as the queue's `batch` says; also when the queue is full.

        What is collected stays in the queue until then, so others may take of it.

        Raises:
            TimeoutError: No burst was over in time.
            QueueClosed: The queue is closed and empty.
            InvalidContext: The queue has no `batch`.
            InvalidTimeout: The timeout is negative, NaN or no number.
        """
        if timeout is not None:
            check_timeout(timeout)
        if not self._here():
            self._check_thread()
        await self._wait_for_burst(timeout)
        return self.take_burst()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        try:
            return await self.get()
        except QueueClosed:
            raise StopAsyncIteration from None

    # Looking

    def peek(self, predicate: Callable[[T], object] | None = None) -> T:
        """The item that `get_nowait` would give, which stays.

        Raises:
            QueueEmpty: There is none, or none like that.
        """
        if not self._here():
            self._check_thread()
        for item in self._free():
            if predicate is None or predicate(item):
                return item
        raise QueueEmpty(selected=predicate is not None)

    def remove(self, predicate: Callable[[T], object]) -> list[T]:
        """Remove all items that are like that and return them, oldest first; lets waiting putters in.

        They count as dropped. If the predicate raises, this raises that, and nothing is removed.
        """
        if not self._here():
            self._check_thread()
        return self._remove(predicate, "remove")

    # Ending

    def clear(self) -> list[T]:
        """Remove all items and return them, in order; lets waiting putters in. They count as dropped.

        An item that is promised to a getter is that getter's and stays.
        """
        if not self._here():
            self._check_thread()
        return self._remove(None, "clear")

    def close(self, *, drain: bool = True) -> list[T]:
        """Accept nothing more. Waiting putters fail with `QueueClosed`; closing twice does no harm.

        Args:
            drain: True: what is in the queue can be got, after which getters fail with `QueueClosed`; returns an empty
                list. False: what is in the queue is removed and returned, oldest first, and counts as dropped. (What a
                cancelled getter gives back after that can still be got.)
        """
        if not self._here():
            self._check_thread()
        self._closed = True
        if not drain:
            return self._remove(None, "close")
        self._settle()
        return []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


_NONE_OF_THEM = (None,) * 8


def _check_counts(max_items: object, min_items: object) -> None:
    counts: list[int] = []
    for name, value in (("max_items", max_items), ("min_items", min_items)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"{name} must be a whole number from 1 on, got {value!r}")
        counts.append(value)
    if counts[1] > counts[0]:
        raise ValueError(f"min_items ({min_items}) must not be more than max_items ({max_items})")
