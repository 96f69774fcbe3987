"""A queue as a plain list, which looks at everything again each time: what `AsyncMessageQueue` has to agree with.

It knows no futures and no tasks. Whoever drives it says what happens, in the order in which it happens to the queue.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field


class Closed(Exception):
    """Nothing comes any more."""


class Full(Exception):
    """There is no room."""


class Empty(Exception):
    """There is nothing of the kind now."""


@dataclass(eq=False)
class Waiter:
    """Somebody who waits for items."""

    wants: Callable[[int], bool] | None
    """None: for the next, whichever it is."""
    enough: int = 1
    most: int = 1
    held: list[int] = field(default_factory=list)
    over: bool = False
    """Whether the wait has ended, though the task may not have run."""
    sent_away: bool = False


@dataclass(eq=False)
class Putter:
    """Somebody who waits for room."""

    item: int
    granted: bool = False
    sent_away: bool = False


class ListOfItems:
    """The model."""

    def __init__(self, capacity: float, policy: str, level: Callable[[int], int]) -> None:
        self.capacity = capacity
        self.policy = policy
        self.level = level
        self.free: list[int] = []
        self.promised: list[int] = []  # to those who wait for the next
        self.waiters: list[Waiter] = []
        self.holders: list[Waiter] = []  # all who have something set aside
        self.putters: list[Putter] = []  # those with a promise of room first
        self.dropped: list[int] = []
        self.closed = False
        self.came: dict[int, int] = {}  # when, as a number

    # What there is

    def order(self, item: int) -> tuple[int, int]:
        """By which they are given out."""
        return self.level(item), self.came[item]

    @property
    def handed_over(self) -> int:
        return len(self.promised) + sum(len(holder.held) for holder in self.holders)

    def has_room(self) -> bool:
        return len(self.free) + sum(putter.granted for putter in self.putters) < self.capacity

    # Coming in

    def put_now(self, item: int) -> bool:
        """False: dropped."""
        if self.closed:
            raise Closed
        if not self.putters:
            if self.has_room() or any(waiter.wants is None or waiter.wants(item) for waiter in self.waiters):
                self.give(item)
                self.settle()
                return True
            if self.policy == "drop_old":
                return self.displace(item)
        if self.policy == "stop":
            self.close()
        if self.policy == "drop_new":
            self.dropped.append(item)
            return False
        raise Full

    def displace(self, item: int) -> bool:
        victims: list[int] = []
        left = list(self.free)
        while len(left) >= self.capacity:  # there may be too many, after something was given back
            worst = max(self.level(each) for each in left)
            victims.append(next(each for each in left if self.level(each) == worst))
            left.remove(victims[-1])
            if worst < self.level(item):
                self.dropped.append(item)
                return False
        self.free = left
        self.dropped += victims
        self.give(item)
        self.settle()
        return True

    def give(self, item: int) -> None:
        """To the first who wants it, else to the others."""
        self.came.setdefault(item, len(self.came))
        for waiter in self.waiters:
            if waiter.wants is None:
                self.promised = sorted([*self.promised, item], key=self.order)
                self.waiters.remove(waiter)
                waiter.over = True
                return
            if waiter.wants(item):
                waiter.held = sorted([*waiter.held, item], key=self.order)
                if len(waiter.held) >= waiter.enough:
                    self.waiters.remove(waiter)
                    waiter.over = True
                return
        self.free = sorted([*self.free, item], key=self.order)

    def settle(self) -> None:
        if self.closed:
            for putter in self.putters:
                putter.sent_away = not putter.granted
            self.putters = [putter for putter in self.putters if putter.granted]
        for putter in self.putters:
            if not putter.granted and self.has_room():
                putter.granted = True
        if self.closed:
            for waiter in [waiter for waiter in self.waiters if waiter.held]:
                self.waiters.remove(waiter)
                waiter.over = True
            if not self.handed_over:
                for waiter in self.waiters:
                    waiter.over = waiter.sent_away = True
                self.waiters.clear()

    # Going out

    def get_now(self, wants: Callable[[int], bool] | None) -> int:
        if wants is None and self.free:
            return self.next_items(1)[0]
        for item in self.free:
            if wants is not None and wants(item):
                self.free.remove(item)
                self.settle()
                return item
        self.settle()
        if self.closed and not self.handed_over and (wants is not None or not self.free):
            raise Closed
        raise Empty

    def next_items(self, most: int) -> list[int]:
        """For who wants just the next ones, and finds some."""
        found: list[int] = []
        while len(found) < most and self.free:
            # What is promised is so many, not these.
            pool = sorted([*self.promised, *self.free], key=self.order)
            if pool[0] in self.promised:
                self.promised.remove(pool[0])
                self.promised = sorted([*self.promised, self.free.pop(0)], key=self.order)
            else:
                self.free.remove(pool[0])
            found.append(pool[0])
            self.settle()
        return found

    def seek(self, waiter: Waiter) -> list[int] | None:
        """What it finds at once; None: it waits."""
        assert waiter.wants is not None
        waiter.held = [item for item in self.free if waiter.wants(item)][: waiter.most]
        self.free = [item for item in self.free if item not in waiter.held]
        if len(waiter.held) >= waiter.enough or (self.closed and waiter.held):
            found, waiter.held = waiter.held, []
            self.settle()
            return found
        if self.closed and not self.handed_over:
            raise Closed
        self.waiters.append(waiter)
        self.holders.append(waiter)
        self.settle()
        return None

    def stop_waiting(self, waiter: Waiter) -> None:
        """Its task is cancelled: from now on it gets nothing; it has what it has until it runs."""
        if waiter in self.waiters:
            self.waiters.remove(waiter)

    def collect(self, waiter: Waiter) -> list[int]:
        """Its task runs, and has what it waited for."""
        if waiter.wants is None:
            found = [min([*self.promised, *self.free], key=self.order)]
            if found[0] in self.promised:
                self.promised.remove(found[0])
            else:
                self.free.remove(found[0])
                self.give(self.promised.pop())
        else:
            found, waiter.held = waiter.held, []
            self.holders.remove(waiter)
        self.settle()
        return found

    def release(self, waiter: Waiter) -> None:
        """Its task runs, and wants nothing any more."""
        if waiter.wants is None:
            if waiter.over and not waiter.sent_away:
                self.give(self.promised.pop())
        elif waiter in self.holders:
            self.holders.remove(waiter)
            held, waiter.held = waiter.held, []
            for item in held:
                self.give(item)
        self.settle()

    def remove(self, unwanted: Callable[[int], bool]) -> list[int]:
        found = [item for item in self.free if unwanted(item)]
        self.free = [item for item in self.free if not unwanted(item)]
        self.settle()
        return found

    def close(self) -> None:
        self.closed = True
        self.settle()
