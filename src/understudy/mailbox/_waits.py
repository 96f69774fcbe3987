"""How a queue waits: for room, for an item, for particular ones, for a burst, for the end of all work."""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar

from understudy.environment import running_loop
from understudy.exceptions import InvalidContext
from understudy.mailbox._engine import QueueEngine
from understudy.mailbox._errors import QueueClosed, QueueEmpty, QueueFull
from understudy.mailbox._line import NOBODY, Line, Turn, check_timeout, deadline_of, was_granted
from understudy.mailbox._seeker import Seeker
from understudy.mailbox._shelf import Node
from understudy.mailbox._threads import ForeignPut

__all__ = ["QueueWaits"]

T = TypeVar("T")


class QueueWaits(QueueEngine[T], Generic[T]):
    """The waits of a queue, and the errors in which they end."""

    __slots__ = ()

    # For room

    def _refuse(self, item: T, node: Node[T] | None) -> bool:
        """Do what the policy says with *item*, which cannot be let in now and must not wait: raise, or drop it."""
        if self._closed:
            self._refused += 1
            raise self._closed_to_putters(item)
        if self._rules.policy == "drop_new" or (self._rules.policy == "drop_old" and self._fits(node)):
            self.total_in += 1
            self._lose(1, self._rules.policy)
            self._report_loss(item, self._rules.policy)
            return False
        self._turn_away()
        raise QueueFull(
            capacity=self._capacity, message=item, size=None if node is None or self._fits(node) else node.weight
        )

    def _fits(self, node: Node[T] | None) -> bool:
        """Whether there could ever be room for it."""
        return node is None or node.weight <= self._capacity

    def _stand_for_room(self, item: T, size: float, timeout: float | None) -> Coroutine[Any, Any, Turn]:
        """Once it is granted, the caller must fill the room before its next await; or raise `_no_room`."""
        if timeout is not None and timeout == 0:
            raise self._no_room(item, Turn.EXPIRED, timeout)
        if self._putters is NOBODY:
            self._putters = Line()
        return self._stand(self._putters, timeout, size)

    def _no_room(self, item: T, turn: Turn, timeout: float | None) -> Exception:
        """Why *item* stays out; a room that was promised goes on to the next."""
        self._settle()
        self._refused += 1
        if turn is Turn.EXPIRED:
            return TimeoutError(f"no room in the queue within {timeout} s ({self._capacity:,} items)")
        return self._closed_to_putters(item)

    def _place_promised(self, item: T, node: Node[T] | None) -> None:
        """Fill the room that has just been promised."""
        try:
            self._place(item, node)
        except BaseException:
            self._settle()  # one of the user's functions raised: the room is the next one's
            raise

    def _closed_to_putters(self, item: T) -> QueueClosed:
        return QueueClosed(operation="put", message=item, overflowed=self._overflowed)

    def _order(self, item: T) -> concurrent.futures.Future[bool]:
        """Have *item* put by the event loop, whatever thread this is."""
        loop, node = self._loop, None
        if loop is None:
            raise InvalidContext(what=type(self).__name__, problem="put_threadsafe before any use in an event loop")

        def wait() -> asyncio.Future[Turn] | None:
            nonlocal node
            node = self._entry(item)
            size = 1 if node is None else node.weight
            waits = self._rules.policy == "block" and not self._closed and size <= self._capacity
            if not waits or not (self._putters or not self._has_room(size)):
                return None
            if self._putters is NOBODY:
                self._putters = Line()
            self.append_below, self.take_up_to, self._calm = 0, -1, False
            return self._putters.enter(loop, size)

        def put(turn: asyncio.Future[Turn] | None) -> bool:
            if turn is None:
                return self._try(item, node) or self._refuse(item, node)
            self._putters.leave(turn, 1 if node is None else node.weight)
            if was_granted(turn) and not self._closed:
                self._place_promised(item, node)
                return True
            raise self._no_room(item, Turn.DISMISSED, None)

        def withdraw(turn: asyncio.Future[Turn]) -> None:
            self._putters.leave(turn, 1 if node is None else node.weight)
            self._settle()

        order = ForeignPut(loop, wait, put, withdraw)
        try:
            loop.call_soon_threadsafe(order.begin)
        except RuntimeError:
            raise InvalidContext(what=type(self).__name__, problem="its event loop is closed") from None
        return order.future

    # For an item

    def _enter_for_item(self, timeout: float | None) -> asyncio.Future[Turn]:
        """Stand in the line of getters; once the turn is granted, the caller must collect before its next await."""
        if self._closed and self._drained():
            raise self._closed_to_getters()
        if timeout is not None and timeout == 0:
            raise self._no_item(Turn.EXPIRED, timeout)
        loop = running_loop()
        if loop is None or loop is not self._loop:
            loop = self._check_loop()
        getters = self._getters
        if getters is NOBODY:
            getters = self._getters = Line()
        if self.append_below:
            self.append_below = -1
        self.take_up_to, self._calm = -1, False
        turn: asyncio.Future[Turn] = loop.create_future()
        getters.turns.append((turn, getters.last_ticket, 1))
        return turn

    def _leave_getters(self, turn: asyncio.Future[Turn]) -> None:
        self._getters.leave(turn)
        self._settle()

    def _no_item(self, how: Turn, timeout: float | None) -> Exception:
        if how is Turn.EXPIRED:
            return TimeoutError(f"no item in the queue within {timeout} s")
        return self._closed_to_getters()

    def _closed_to_getters(self, *, selected: bool = False) -> QueueClosed:
        return QueueClosed(operation="get", overflowed=self._overflowed, selected=selected)

    def _stand(self, line: Line, timeout: float | None, size: float = 1) -> Coroutine[Any, Any, Turn]:
        loop = running_loop()
        if loop is None or loop is not self._loop:
            loop = self._check_loop()
        self.append_below, self.take_up_to, self._calm = 0, -1, False
        return line.wait(timeout, size, self._settle, loop)

    # For particular items

    def _find(self, predicate: Callable[[T], object] | None, key: Hashable) -> Node[T] | None:
        """The first that is wanted, taken off the shelf."""
        if self._calm and predicate is None:
            assert self._selective is not None
            node = self._selective.shelf.take_with(key)
            if node is not None:
                return node
        if key is not None and self._rules.key is None:
            raise InvalidContext(what=type(self).__name__, problem="get(key=...) needs a queue made with key=")
        selective = self._selective or self._be_selective()
        if predicate is None:
            return selective.take_with(key)
        for node in selective.candidates(key):
            if predicate(node.item) and node.lies:
                selective.shelf.remove(node)
                return node
        return None

    def _not_found(self) -> QueueEmpty | QueueClosed:
        self._settle()
        if self._closed and not self._handed_over():
            return self._closed_to_getters(selected=True)
        return QueueEmpty(selected=True)

    async def _seek(self, seeker: Seeker[T], timeout: float | None, *, looked: bool = False) -> list[T]:
        """What the seeker wants, as soon as there is enough of it; *looked*: it has seen what is there."""
        selective = self._be_selective()
        try:
            await self._search(seeker, timeout, looked)
        except BaseException:
            self._be_selective().release(seeker)
            self._settle()
            raise
        nodes = selective.collect(seeker)
        self._settle()
        return [node.item for node in nodes]

    async def _search(self, seeker: Seeker[T], timeout: float | None, looked: bool) -> None:
        """Return with what is set aside for the seeker, or raise."""
        selective = self._be_selective()
        loop = asyncio.get_running_loop()
        seeker.ticket = selective.line.draw()
        now = loop.time()
        if not looked:
            selective.set_aside(seeker, now)
        if seeker.satisfied(now) or (timeout == 0 and seeker.enough) or (self._closed and seeker.held):
            return
        if self._closed and not self._handed_over():
            raise self._closed_to_getters(selected=True)
        if timeout == 0:
            raise self._nothing_in_time(timeout)
        self._check_loop()
        selective.enlist(seeker)
        self._settle()  # what has just been set aside has made room
        turn = await seeker.wait(loop, timeout, functools.partial(selective.discharge, seeker))
        if turn is Turn.GRANTED:
            return
        if turn is Turn.FAILED:
            assert seeker.error is not None
            raise seeker.error
        if turn is Turn.EXPIRED:
            raise self._nothing_in_time(timeout)
        raise self._closed_to_getters(selected=True)

    def _nothing_in_time(self, timeout: float | None) -> TimeoutError:
        return TimeoutError(f"not enough of what was asked for in the queue within {timeout} s")

    def _remove(self, predicate: Callable[[T], object] | None, reason: str) -> list[T]:
        """Take out what is free and like that, and count it as lost."""
        self._note_size()
        selective = self._selective
        if selective is not None:
            nodes = [node for node in selective.shelf if predicate is None or predicate(node.item)]
            nodes = [node for node in nodes if node.lies]
            for node in nodes:
                selective.shelf.remove(node)
            removed = [node.item for node in nodes]
        elif predicate is None:
            removed = [self.items.pop() for _ in range(len(self))]
            removed.reverse()
        else:
            removed, kept = [], list[T]()
            for item in self._free():
                (removed if predicate(item) else kept).append(item)
            if removed:
                for _ in range(len(self)):
                    self.items.pop()
                self.items.extend(kept)
        self._lose(len(removed), reason)
        self._settle()
        return removed

    # For more than an item

    async def _wait_for_burst(self, timeout: float | None) -> None:
        """Return when there is a burst, which the caller must take before its next await."""
        bursts = self._bursts
        if bursts is None:
            raise InvalidContext(what=type(self).__name__, problem="get_burst needs a queue made with batch=")
        loop = asyncio.get_running_loop()
        deadline = deadline_of(loop, timeout)
        # Who comes while others wait stands behind them. Who was granted a burst that has been taken away stands again.
        while bursts.line or self.burst_due() > loop.time():
            if self._drained():
                raise self._closed_to_getters()
            left = max(deadline - loop.time(), 0.0)
            turn = Turn.EXPIRED
            if left > 0:
                bursts.expect(loop, self.burst_due())
                turn = await self._stand(bursts.line, left)
            if turn is Turn.GRANTED and len(self):
                return
            self._settle()
            if turn is Turn.EXPIRED:
                raise TimeoutError(f"no burst was over in the queue within {timeout} s")

    async def join(self, *, timeout: float | None = None) -> None:
        """Wait until all that was ever put has been dealt with: `task_done` was called for each item that was got.

        What was dropped, removed or cleared away needs no `task_done`. It goes on waiting when the queue is closed, for
        those who still work; if they never call `task_done`, it waits for ever.

        Raises:
            TimeoutError: Not in time.
            InvalidTimeout: The timeout is negative, NaN or no number.
        """
        if timeout is not None:
            check_timeout(timeout)
        if not self._here():
            self._check_thread()
        if not self._unfinished():
            return
        self._check_loop()
        if self._joiners is NOBODY:
            self._joiners = Line()
        if timeout == 0 or await self._joiners.wait(timeout) is Turn.EXPIRED:
            raise TimeoutError(f"{self._unfinished():,} items of the queue were not dealt with within {timeout} s")

    def task_done(self, count: int = 1) -> None:
        """One item that was got has been dealt with, or so many; see `join`.

        Raises:
            ValueError: Called more often than items were got.
        """
        if not self._here():
            self._check_thread()
        if count < 1 or self._done + count > self._total_out():
            raise ValueError(
                f"task_done({count}) is too much: {self._total_out():,} items were got, {self._done:,} are done"
            )
        self._done += count
        self._check_joiners()
