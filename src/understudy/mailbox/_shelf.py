"""Items in an order from which any of them can be taken away in one step.

A queue that gives out its oldest item and nothing else keeps a bare deque. As soon as somebody wants a particular item,
or the items differ in urgency, they stand on a `Shelf`: each in a `Node` of a ring, one ring for each level of
urgency, and, once somebody has asked by key, in a second ring among those with the same key. What is taken off can be
put back to where it was; that costs steps in proportion to how far it is from the nearer end.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Hashable, Iterator
from typing import Any, Generic, TypeVar

__all__ = ["NO_KEY", "UNKNOWN", "Node", "Place", "Ring", "Shelf"]

T = TypeVar("T")
P = TypeVar("P", bound="Place")

NO_KEY: Any = object()
"""Stands for the key of an item that has none."""
UNKNOWN: Any = object()
"""Stands for the key of an item that nobody has computed."""


class Place:
    """Something that can stand in a ring. One that has left still leads on to those that stood behind it."""

    __slots__ = ("after", "before")

    before: Place
    after: Place

    def __init__(self) -> None:
        self.before = self.after = self

    def insert_before(self, other: Place) -> None:
        """Stand before *other*."""
        before = other.before
        self.before = before
        self.after = other
        before.after = other.before = self

    def leave(self) -> None:
        """Stand nowhere; to be called once."""
        before, after = self.before, self.after
        before.after = after
        after.before = before


class Ring(Generic[P]):
    """Places in an order, from the first to the last and round to the first."""

    __slots__ = ("_end",)

    def __init__(self) -> None:
        self._end = Place()

    def __bool__(self) -> bool:
        return self._end.after is not self._end

    def __iter__(self) -> Iterator[P]:
        """From first to last. Those that leave, and those that come at the end, meanwhile are no problem."""
        place: Any = self._end.after
        while place is not self._end:
            yield place
            place = place.after

    @property
    def first(self) -> P:
        """The first, if there is any."""
        first: Any = self._end.after
        return first  # type: ignore[no-any-return]

    def append(self, place: P) -> None:
        """Let *place* be the last."""
        end = self._end
        before = end.before
        place.before = before
        place.after = end
        before.after = end.before = place

    def prepend(self, place: P) -> None:
        """Let *place* be the first."""
        place.insert_before(self._end.after)

    def insert(self, place: P, rank: Callable[[Any], int]) -> None:
        """Put *place* where it belongs by *rank*, by which the others stand in order; looked for from both ends."""
        front, back, end, wanted = self._end.after, self._end.before, self._end, rank(place)
        while front is not end and rank(front) < wanted:
            if back is end or rank(back) < wanted:
                place.insert_before(back.after)
                return
            front, back = front.after, back.before
        place.insert_before(front)


class Node(Place, Generic[T]):
    """An item, and what the queue knows of it."""

    __slots__ = (
        "asked",
        "item",
        "key",
        "key_after",
        "key_before",
        "level",
        "lies",
        "number",
        "since",
        "weight",
    )

    # Its neighbours among those with the same key, while it is kept by key; the first and the last are neighbours.
    key_before: Node[T]
    key_after: Node[T]
    # When it came in, where somebody wants to know.
    since: float

    def __init__(self, item: T, weight: float = 1) -> None:
        self.item = item
        self.weight = weight
        # Grows from one item to the next; those that are pushed to the front count downwards.
        self.number = 0
        self.level: Any = 0
        self.key: Any = UNKNOWN
        # All who wait and have a ticket up to this one have been asked about it, or it does not concern them.
        self.asked = 0
        self.lies = False
        """Whether it is on the shelf."""

    @property
    def order(self) -> tuple[Any, int]:
        """By which they are given out."""
        return self.level, self.number


def _number(node: Node[Any]) -> int:
    return node.number


class _Ranks(Generic[T]):
    """A ring of nodes for each level, the smallest first."""

    __slots__ = ("_heap", "rings", "size")

    def __init__(self) -> None:
        self.rings: dict[Any, Ring[Node[T]]] = {}
        # The levels of the rings. One that is empty stays until it comes to the top, or until they become too many.
        self._heap: list[Any] = []
        self.size = 0

    def __iter__(self) -> Iterator[Node[T]]:
        for level in sorted(self.rings) if len(self.rings) > 1 else list(self.rings):
            if (ring := self.rings.get(level)) is not None:
                yield from ring

    @property
    def first(self) -> Node[T] | None:
        if not self.size:
            return None
        while not (ring := self.rings[self._heap[0]]):
            del self.rings[heapq.heappop(self._heap)]
        return ring.first

    def worst(self) -> Iterator[Node[T]]:
        """Those of the level that is given out last, oldest first, then those of the level before it."""
        for level in sorted(self.rings, reverse=True):
            yield from self.rings[level]

    def ring(self, level: Any) -> Ring[Node[T]]:
        """That of *level*, made if need be.

        Raises:
            TypeError: The level cannot be compared with the others.
        """
        ring = self.rings.get(level)
        if ring is None:
            if len(self.rings) > 2 * self.size + 16:
                self.rings = {level: ring for level, ring in self.rings.items() if ring}
                self._heap = sorted(self.rings)
            try:
                heapq.heappush(self._heap, level)
            except BaseException:
                self._heap = sorted(self.rings)
                raise
            ring = self.rings[level] = Ring()
        return ring


class Shelf(Generic[T]):
    """Nodes in the order in which they are given out. Its length is what the runtime asks a deque for."""

    __slots__ = ("_back", "_front", "_nodes", "by_key", "load")

    def __init__(self) -> None:
        self._nodes: _Ranks[T] = _Ranks()
        self.by_key: dict[Hashable, Node[T]] | None = None
        """The first of each key, once somebody has asked by key."""
        self._front = self._back = 0
        self.load: float = 0
        """The weights of all."""

    def __len__(self) -> int:
        return self._nodes.size

    def __iter__(self) -> Iterator[Node[T]]:
        return iter(self._nodes)

    def number(self, node: Node[T], *, front: bool = False) -> None:
        """Give *node* its number: behind all others, or before them."""
        if front:
            self._front -= 1
            node.number = self._front
        else:
            self._back += 1
            node.number = self._back

    def check_level(self, node: Node[T]) -> None:
        """Make sure that *node* can be put in.

        Raises:
            TypeError: Its level cannot be compared with the others.
        """
        if node.level not in self._nodes.rings:
            self._nodes.ring(node.level)

    def put(self, node: Node[T], *, back: bool = False) -> None:
        """Put *node* in by its level and number; *back*: it may have to go between others."""
        nodes = self._nodes
        ring = nodes.rings.get(node.level)
        if ring is None:
            ring = nodes.ring(node.level)
        if back:
            ring.insert(node, _number)
        elif node.number < 0:
            ring.prepend(node)
        else:
            ring.append(node)
        nodes.size += 1
        node.lies = True
        self.load += node.weight
        if self.by_key is not None and node.key is not NO_KEY:
            self._put_by_key(self.by_key, node)

    def remove(self, node: Node[T]) -> None:
        """Take *node* away."""
        before, after = node.before, node.after
        before.after, after.before = after, before
        node.lies = False
        nodes = self._nodes
        nodes.size -= 1
        self.load = self.load - node.weight if nodes.size else 0
        if self.by_key is not None and node.key is not NO_KEY:
            self._remove_by_key(self.by_key, node)

    @property
    def first(self) -> Node[T] | None:
        """The one that is given out next."""
        return self._nodes.first

    def worst(self) -> Iterator[Node[T]]:
        """From the oldest of the least urgent to the youngest of the most urgent."""
        return self._nodes.worst()

    # By key

    @property
    def keeps_keys(self) -> bool:
        """Whether somebody has asked by key."""
        return self.by_key is not None

    def keep_keys(self, set_key: Callable[[Node[T]], object]) -> None:
        """From here on they can be found by key, which *set_key* has to set in each node that comes."""
        if self.by_key is None:
            for node in self:
                set_key(node)
            self.by_key = {}
            for node in self:
                if node.key is not NO_KEY:
                    self._put_by_key(self.by_key, node)

    def first_with(self, key: Hashable) -> Node[T] | None:
        """The first with that key."""
        return None if self.by_key is None else self.by_key.get(key)

    def with_key(self, key: Hashable) -> Iterator[Node[T]]:
        """Those with that key, in order; as they are now."""
        first = node = self.first_with(key)
        found: list[Node[T]] = []
        while node is not None:
            found.append(node)
            node = None if node.key_after is first else node.key_after
        return iter(found)

    def take_with(self, key: Hashable) -> Node[T] | None:
        """The first with that key, taken away; what `remove` does, all in one step."""
        by_key = self.by_key
        if by_key is None:
            return None
        node = by_key.get(key)
        if node is None:
            return None
        next_one = node.key_after
        if next_one is node:
            del by_key[key]
            del node.key_before, node.key_after  # as in `_remove_by_key`
        else:
            before = node.key_before
            before.key_after, next_one.key_before = next_one, before
            by_key[key] = next_one
        before_it, after_it = node.before, node.after
        before_it.after, after_it.before = after_it, before_it
        node.lies = False
        nodes = self._nodes
        nodes.size -= 1
        self.load = self.load - node.weight if nodes.size else 0
        return node

    def _put_by_key(self, by_key: dict[Hashable, Node[T]], node: Node[T]) -> None:
        first = by_key.get(node.key)
        if first is None:
            by_key[node.key] = node.key_before = node.key_after = node
            return
        # Nearly always it is the last.
        order, before = node.order, first.key_before
        while order < before.order:
            if before is first:
                by_key[node.key] = node
                before = first.key_before
                break
            before = before.key_before
        node.key_before, node.key_after = before, before.key_after
        before.key_after.key_before = before.key_after = node

    def _remove_by_key(self, by_key: dict[Hashable, Node[T]], node: Node[T]) -> None:
        after = node.key_after
        if after is node:
            del by_key[node.key]
            del node.key_before, node.key_after  # it leads to itself, and would stay until a garbage collection
            return
        node.key_before.key_after, after.key_before = after, node.key_before
        if by_key[node.key] is node:
            by_key[node.key] = after
