"""Selective receive: those who wait for particular items, and a queue's items while there are such.

Nobody looks twice at an item. Who comes looks through what is there, once; who waits is asked about each item when that
comes in, in the order in which they began to wait, until somebody takes it. So an item that lies on the shelf has been
refused by all who wait, and need not be shown to them again. Who asks by key is found by key, so that an item is shown
to nobody whom it cannot concern.

An item that somebody takes is set aside for him until his task runs. If that task has been cancelled in the meantime,
the item is shown to those who came after him, who have not been asked yet, and else goes back to its old place.
"""

from __future__ import annotations

import bisect
import math
from collections import deque
from collections.abc import Callable, Hashable, Iterator
from typing import Any, Generic, TypeVar

from understudy.mailbox._line import Line, Turn
from understudy.mailbox._rules import Rules
from understudy.mailbox._seeker import Seeker, Seekers
from understudy.mailbox._shelf import NO_KEY, UNKNOWN, Node, Shelf

__all__ = ["Selective"]

T = TypeVar("T")


class Selective(Generic[T]):
    """The items of a queue on a shelf, and who waits for them.

    Who wants just the next item waits in the *line*, which is the queue's own; his turn is a promise of one of
    `promised`. All of the shelf is free: nobody who waits wants it.
    """

    __slots__ = ("_asking", "_complain", "_held", "_rules", "_seekers", "deque", "line", "promised", "shelf")

    def __init__(self, rules: Rules, line: Line, complain: Callable[[str, BaseException], None]) -> None:
        self._rules = rules
        self._complain = complain
        self._seekers: Seekers[T] = Seekers()
        self._held = 0
        # Above 0 while an item is shown around, which is nowhere else meanwhile.
        self._asking = 0
        self.deque: deque[T] = deque()
        """What the items were in before."""
        self.shelf: Shelf[T] = Shelf()
        self.line = line
        # As many as the line has granted turns, in their order.
        self.promised: list[Node[T]] = []

    @property
    def seeking(self) -> int:
        """How many wait and have not got what they wait for."""
        return sum(seeker.open for seeker in self._seekers)

    @property
    def handed_over(self) -> int:
        """How many items are set aside for somebody."""
        return self._held + len(self.promised)

    @property
    def idle(self) -> bool:
        """Whether there is nothing and nobody here."""
        return not (self.shelf or self._seekers.count or self.handed_over or self._asking)

    # Items

    def node(self, item: T, weight: float = 1) -> Node[T]:
        """What stands for *item*.

        Raises:
            BaseException: What the queue's `priority` raised, or a TypeError for what cannot be compared.
        """
        node = Node(item, weight)
        priority = self._rules.priority
        if priority is not None:
            node.level = level = priority(item)
            if level != level:
                raise ValueError(f"priority must give something that can be put in order, got {level!r}")
            self.shelf.check_level(node)
        return node

    def lay(self, node: Node[T]) -> bool:
        """Put *node* onto the shelf, while nobody stands in the line; False: it may concern somebody who seeks."""
        shelf = self.shelf
        if shelf.keeps_keys and node.key is UNKNOWN:
            self._find_key(node)
        if self._seekers.count and self._seekers.concerns(node.key):
            return False
        shelf.number(node)
        node.asked = self.line.last_ticket
        shelf.put(node)
        return True

    def keep_keys(self) -> None:
        """Somebody asks by key."""
        if not self.shelf.keeps_keys:
            self.shelf.keep_keys(self._find_key)

    def move_in(self, items: deque[T]) -> None:
        """Take over all *items*, the first of which are promised to those in line who have a turn; it stays empty."""
        for item in items:
            node = self.node(item)
            self.shelf.number(node)
            if len(self.promised) < self.line.granted:
                self.promised.append(node)
            else:
                if self.shelf.keeps_keys:
                    self._find_key(node)
                self.shelf.put(node)
        # Whoever holds the deque itself must not find in it what is not there any more.
        items.clear()
        self.deque = items

    def add(self, node: Node[T], *, front: bool = False) -> bool:
        """Let *node* come in: to the first who wants it, else to the shelf; whether it lies there."""
        if self.pass_on(node, front=front):
            return False
        self.shelf.put(node)
        return True

    def pass_on(self, node: Node[T], *, front: bool = False) -> bool:
        """Let *node* come in if there is somebody who wants it; whether there is."""
        self.shelf.number(node, front=front)
        return self.hand(node)

    def hand(self, node: Node[T]) -> bool:
        """Set *node* aside for the first who wants it and has not been asked; whether there is one."""
        if self.shelf.keeps_keys and node.key is UNKNOWN:
            self._find_key(node)
        if self._seekers.count:
            self._asking += 1
            try:
                if self._ask(node):
                    return True
            finally:
                self._asking -= 1
        if self.line.grant():
            bisect.insort(self.promised, node, key=_order)
            return True
        return False

    def _ask(self, node: Node[T]) -> bool:
        """Ask those who seek, up to the first in line, who takes anything."""
        first, asked = self.line.first, node.asked
        limit = math.inf if first is None else first[0]
        for seeker in self._seekers.concerned(node.key):
            if seeker.ticket > limit:
                return False
            if seeker.ticket <= asked or not seeker.open:
                continue
            node.asked = seeker.ticket
            taken = seeker.offer(node)
            if not seeker.open:
                self._seekers.discard(seeker)
            if taken:
                self._held += 1
                return True
        node.asked = max(node.asked, self.line.last_ticket)
        return False

    # What was promised is so many items, not these: whoever takes anything gets the next there is.

    def take(self) -> Node[T]:
        """The next one, for who has no promise. There must be a free one, which is promised then if need be."""
        node = self.shelf.first
        assert node is not None
        self.shelf.remove(node)
        if self.promised and self.promised[0].order < node.order:
            node.asked = self.line.last_ticket  # it lay there for all who wait to see
            bisect.insort(self.promised, node, key=_order)
            return self.promised.pop(0)
        return node

    def collect_promised(self) -> Node[T]:
        """The next one, for who has just used his turn in the line. `trim` sees to what is too much then."""
        node = self.shelf.first
        if node is None or self.promised[0].order < node.order:
            return self.promised.pop(0)
        self.shelf.remove(node)
        return node

    def candidates(self, key: Hashable) -> Iterator[Node[T]]:
        """The free ones with that key, or all, in their order."""
        if key is None:
            return iter(self.shelf)
        self.keep_keys()
        return self.shelf.with_key(key)

    def take_with(self, key: Hashable) -> Node[T] | None:
        """The first free one with that key, which is no longer on the shelf."""
        self.keep_keys()
        return self.shelf.take_with(key)

    # Who seeks

    def set_aside(self, seeker: Seeker[T], now: float) -> None:
        """Let it look through what is there.

        Raises:
            BaseException: What its predicate raised; what it holds by then is to be released.
        """
        for node in self.candidates(seeker.key):
            if seeker.wants(node.item) and node.lies:
                self.shelf.remove(node)
                seeker.hold(node, now)
                self._held += 1
                if seeker.full:
                    return

    def enlist(self, seeker: Seeker[T]) -> None:
        """From here on it is asked."""
        self._seekers.add(seeker)

    def discharge(self, seeker: Seeker[T]) -> None:
        """It is asked no more."""
        self._seekers.discard(seeker)

    def collect(self, seeker: Seeker[T]) -> list[Node[T]]:
        """What was set aside for it, in order; its own from here on."""
        nodes, seeker.held = seeker.held, []
        self._held -= len(nodes)
        if len(nodes) > 1:
            nodes.sort(key=_order)
        return nodes

    def release(self, seeker: Seeker[T]) -> None:
        """It does not want any more what was set aside for it."""
        for node in self.collect(seeker):
            self._give_back(node)

    def trim(self) -> None:
        """Some in line may have given up their turns: the last of what was promised is free again."""
        while len(self.promised) > self.line.granted:
            self._give_back(self.promised.pop())

    def _give_back(self, node: Node[T]) -> None:
        if not self.hand(node):
            self.shelf.put(node, back=True)

    def close(self) -> None:
        """Nothing more will come in: who has a part of what he waits for gets it; who waits in vain is sent away."""
        seekers = list(self._seekers)
        for seeker in seekers:
            if seeker.held:
                seeker.tell(Turn.GRANTED)
                self._seekers.discard(seeker)
        # What was set aside may come back, and be what somebody wants.
        if not self.handed_over:
            for seeker in seekers:
                seeker.tell(Turn.DISMISSED)
                self._seekers.discard(seeker)

    def _find_key(self, node: Node[T]) -> None:
        """An item whose key cannot be had has none; whoever puts it is not to blame."""
        node.key = NO_KEY
        assert self._rules.key is not None
        try:
            key = self._rules.key(node.item)
            hash(key)
        except Exception as error:
            self._complain("the key function of a queue raised", error)
        else:
            node.key = NO_KEY if key is None else key


def _order(node: Node[Any]) -> Any:
    return node.order
