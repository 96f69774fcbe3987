"""Those who wait for particular items, or for several."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Hashable, Iterator
from typing import Generic, TypeVar

from understudy.mailbox._line import Turn, deadline_of, end, was_granted
from understudy.mailbox._rolling import Filling
from understudy.mailbox._shelf import NO_KEY, Node, Place, Ring

__all__ = ["Seeker", "Seekers"]

T = TypeVar("T")


class Seeker(Place, Generic[T]):
    """One who waits for particular items, or for several.

    Args:
        predicate: Says of an item whether it is wanted; None: each is.
        key: Asked about items with this key only; None: about all.
        max_items: Until it has so many.
        min_items: The wait is for so many.
        linger: Seconds to wait for more after that.
    """

    __slots__ = ("_filling", "_future", "_timer", "error", "held", "key", "max_items", "predicate", "ticket", "waits")

    def __init__(
        self,
        predicate: Callable[[T], object] | None,
        key: Hashable,
        max_items: int = 1,
        min_items: int = 1,
        linger: float = 0.0,
    ) -> None:
        super().__init__()
        self.ticket = 0
        """Who has the smaller one is asked first."""
        self.predicate = predicate
        self.key = key
        self.max_items = max_items
        self.held: list[Node[T]] = []
        """What is set aside for it."""
        self.error: BaseException | None = None
        """What its predicate raised."""
        self.waits = False
        """Whether it stands among those who are asked."""
        self._filling = Filling(min_items, linger)
        self._future: asyncio.Future[Turn] | None = None
        self._timer: asyncio.TimerHandle | None = None

    @property
    def enough(self) -> bool:
        """Whether it may end with what it has."""
        return self._filling.enough

    @property
    def full(self) -> bool:
        """Whether it can take no more."""
        return len(self.held) >= self.max_items

    def wants(self, item: T) -> bool:
        """Ask it.

        Raises:
            BaseException: What its predicate raised.
        """
        return self.predicate is None or bool(self.predicate(item))

    def hold(self, node: Node[T], now: float) -> None:
        """Set *node* aside for it."""
        node.asked = self.ticket
        self.held.append(node)
        self._filling.add(now)

    def satisfied(self, now: float) -> bool:
        """Whether there is nothing more to wait for."""
        return self.full or self._filling.due <= now

    # While its task waits

    @property
    def open(self) -> bool:
        """Whether its task waits, and has not been told yet that it need not any more."""
        return self._future is not None and not self._future.done()

    def tell(self, how: Turn) -> None:
        """Let its task go on; it is to be taken out of those who are asked."""
        if self._future is not None:
            end(self._future, how)

    def offer(self, node: Node[T]) -> bool:
        """Ask it about *node*, while its task waits; whether it has taken it."""
        try:
            wanted = self.wants(node.item)
        except BaseException as error:
            self.error = error
            self.tell(Turn.FAILED)
            return False
        # A predicate is a stranger: it may have ended the very wait that it was asked for.
        if not wanted or self._future is None or self._future.done():
            return False
        loop = self._future.get_loop()
        now = 0.0 if self.max_items == 1 else loop.time()
        self.hold(node, now)
        if self.satisfied(now):
            self.tell(Turn.GRANTED)
        elif self.enough and len(self.held) >= 1:
            self._start_timer(loop, self._filling.due, Turn.GRANTED)
        return True

    async def wait(self, loop: asyncio.AbstractEventLoop, timeout: float | None, leave: Callable[[], None]) -> Turn:
        """Wait to be told; *leave* is called at the end, however it ends.

        What is held when the time is up makes it a success if it is enough.
        """
        self._future = loop.create_future()
        deadline = deadline_of(loop, timeout)
        if self.enough:
            self._start_timer(loop, min(self._filling.due, deadline), Turn.GRANTED)
        expiry = None if deadline == math.inf else loop.call_at(deadline, self._expire)
        try:
            return await self._future
        finally:
            if expiry is not None:
                expiry.cancel()
            if self._timer is not None:
                self._timer.cancel()
            leave()

    @property
    def granted(self) -> bool:
        """Whether it has been told that it has what it waits for."""
        return self._future is not None and was_granted(self._future)

    def _expire(self) -> None:
        self.tell(Turn.GRANTED if self.enough else Turn.EXPIRED)

    def _start_timer(self, loop: asyncio.AbstractEventLoop, due: float, how: Turn) -> None:
        # It has enough only once, so there is one timer at most.
        if self._timer is None and due < math.inf:
            self._timer = loop.call_at(due, self.tell, how)


class Seekers(Generic[T]):
    """All who wait for particular items: those who ask by key, found by it, and the others."""

    __slots__ = ("_by_key", "_others", "count")

    def __init__(self) -> None:
        self._by_key: dict[Hashable, Ring[Seeker[T]]] = {}
        self._others: Ring[Seeker[T]] = Ring()
        self.count = 0

    def __iter__(self) -> Iterator[Seeker[T]]:
        for ring in [self._others, *self._by_key.values()]:
            yield from ring

    def concerns(self, key: Hashable) -> bool:
        """Whether an item with that key concerns anybody."""
        return bool(self._others) or key in self._by_key

    def add(self, seeker: Seeker[T]) -> None:
        """Ask it, last, from here on."""
        ring = self._others if seeker.key is None else self._by_key.setdefault(seeker.key, Ring())
        ring.append(seeker)
        seeker.waits = True
        self.count += 1

    def discard(self, seeker: Seeker[T]) -> None:
        """Ask it no more."""
        if seeker.waits:
            seeker.waits = False
            seeker.leave()
            self.count -= 1
            if seeker.key is not None and not self._by_key[seeker.key]:
                del self._by_key[seeker.key]

    def concerned(self, key: Hashable) -> Iterator[Seeker[T]]:
        """Those whom an item with that key may concern, in the order in which they came."""
        ring = self._by_key.get(key) if self._by_key and key is not NO_KEY else None
        if ring is None:
            yield from self._others
            return
        mine, others = iter(ring), iter(self._others)
        one, other = next(mine, None), next(others, None)
        while one is not None or other is not None:
            if other is None or (one is not None and one.ticket < other.ticket):
                assert one is not None
                yield one
                one = next(mine, None)
            else:
                yield other
                other = next(others, None)
