"""What a queue decides: who gets which item, who gets in, and what has to give way. No method here waits or suspends.

How it works. Items are in a deque, or on a shelf (see `Selective`) from the first time that somebody wants a particular
one until the queue is empty again. Who finds no item, or no room, waits in a line (see `Line`); there is no lock, no
polling, no await between a decision and its effect. A hand-over is a promise: an item is promised to the getter that
has waited longest, a room to the putter that has waited longest, and nobody else can have it. Whoever was promised
something takes it when its task runs; if that task has been cancelled in the meantime, the promise goes to the next in
line. So an item is never in the hands of a task that may no longer want it.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Generic, TypeVar, cast

from understudy.mailbox._bursts import Bursts
from understudy.mailbox._line import NOBODY, Line
from understudy.mailbox._rules import PLAIN, Rules, check_weight
from understudy.mailbox._selective import Selective
from understudy.mailbox._state import QueueState

if TYPE_CHECKING:
    from understudy.mailbox._shelf import Node

__all__ = ["QueueEngine"]

T = TypeVar("T")


class QueueEngine(QueueState[T], Generic[T]):
    """How a queue changes. The public methods are those that the runtime uses beside `put`, `clear` and `close`."""

    __slots__ = ()

    def _follow(self, rules: Rules) -> None:
        """Begin with rules that are not the plain ones."""
        self._watched = rules.watched
        self._stamped = rules.stamped
        if rules.batch is not None:
            self._bursts = Bursts(rules.batch, self._tick)
            self.collects = True
        if rules.indexed:
            self._be_selective()

    # For the runtime

    def offer(self, item: T) -> bool:
        """Put *item* at the end if that is possible now.

        For the runtime, and for who wants an answer rather than an error. False: full, others wait for room, or closed.
        The item is the caller's then, and no observer hears of it, whatever the policy; but what `drop_old` threw away
        to make room for it is reported. Raises nothing but what the queue's `weigh` or `priority` raise.
        """
        items = self.items
        if len(items) < self.append_below:
            items.append(item)
            self.total_in += 1
            return True
        if self._try(item, self._entry(item)):
            return True
        self._turn_away()
        return False

    def offer_each(self, items: Sequence[T]) -> int:
        """`offer` them one after the other until one is not accepted; how many are. For the runtime."""
        count, waiting = len(items), self.items
        if len(waiting) + count <= self.append_below:
            waiting.extend(items)
            self.total_in += count
            return count
        return next((at for at, each in enumerate(items) if not self.offer(each)), count)

    def push_front(self, item: T) -> None:
        """Take back what was got last: it is the next to be got again. For the runtime.

        Works without room and after `close` too, since the item had been accepted before. To give back several, begin
        with the one got last.
        """
        if self._selective is None:
            self.items.appendleft(item)
        else:
            node = self._entry(item)
            assert node is not None
            self._selective.add(node, front=True)
        if self.take_up_to < 0:
            self._settle()

    def put_exempt(self, item: T) -> None:
        """Put *item* at the end although there may be no room; it ends a burst. For the runtime, and its signals only.

        Those who wait for room are not behind it: what they have is not in the queue yet.
        """
        if self._selective is None:
            self.items.append(item)
        else:
            node = self._entry(item)
            assert node is not None
            self._selective.add(node)
        self.total_in += 1
        self._settle()
        self.flush_burst()

    def take(self) -> T:
        """The item that has waited longest; for the runtime, whose mailboxes have one consumer.

        Raises:
            IndexError: There is none.
        """
        items = self.items
        if len(items) > self.take_up_to:
            if self.take_up_to < 0:
                return self._take_slowly()
            self._note_size()  # nobody is concerned, so that there is nothing to settle
            self._tune(False)
        return items.popleft()

    def next_item(self) -> T:
        """What `take` would give, if there is anything; for the runtime."""
        return self.items[0] if self._selective is None else next(self._free())

    def burst_due(self) -> float:
        """When the burst that is collected will be over, on the event loop's clock; `-math.inf`: it is.

        For the runtime, with `take_burst` and `flush_burst`. `math.inf`: there is nothing, or no `batch=`.
        """
        if self._bursts is None or not self.items:
            return math.inf
        return -math.inf if self._closed or not self._has_room(1) else self._bursts.due

    def take_burst(self) -> list[T]:
        """All that is there; for the runtime, see `burst_due`."""
        return [self.take() for _ in range(len(self))]

    def flush_burst(self) -> None:
        """What is there need not wait for more."""
        if self._bursts is not None:
            self._bursts.flush()
            self._settle()

    # Coming in

    def _entry(self, item: T) -> Node[T] | None:
        """What stands for *item* on the shelf, if there is one; raises what the user's functions raise."""
        selective, rules = self._selective, self._rules
        if selective is None:
            return None
        weigh = rules.weigh
        node = selective.node(item) if weigh is None else selective.node(item, check_weight(weigh(item)))
        if self._stamped:
            node.since = self._now()
        return node

    def _try(self, item: T, node: Node[T] | None) -> bool:
        """Let *item* in if it can be now, or make room for it if that is the policy."""
        if self._calm and node is not None and len(self.items) < self._limit:
            selective = self._selective
            if selective is not None and selective.lay(node):
                self.total_in += 1
                if len(self.items) > self._high_water:
                    self._note_size()
                return True
        if self._closed:
            return False
        # A putter that was promised a room counts as waiting until its item is in: nobody may slip in before it.
        putters, getters = self._putters, self._getters
        if not (putters.granted or (putters.turns and putters.first)):
            if getters.turns and self._selective is None and getters.grant():
                # There was nothing that was not promised, so there is room; and nothing else has changed.
                self.items.append(item)
                self.total_in += 1
                self._tune(False)
                return True
            if self._has_room(1 if node is None else node.weight):
                self._place(item, node)
                return True
            # What is handed over takes no room.
            if self._selective is not None and node is not None and self._selective.pass_on(node):
                self.total_in += 1
                self._settle()
                return True
            if self._rules.policy == "drop_old":
                return self._displace(item, node)
        return False

    def _turn_away(self) -> None:
        """An item was not let in, and is its putter's."""
        self._refused += 1
        if self._rules.policy == "stop" and not self._closed:
            self._closed = self._overflowed = True
            self._settle()

    def _place(self, item: T, node: Node[T] | None) -> None:
        """*item* is in."""
        selective = self._selective
        if selective is None:
            self.items.append(item)
        else:
            self._shelve(selective, item, node)
        self.total_in += 1
        self._settle()

    def _shelve(self, selective: Selective[T], item: T, node: Node[T] | None) -> None:
        if node is None:
            node = self._entry(item)
            assert node is not None
        lies = selective.add(node)
        self._note_size()
        if lies and self._bursts is not None:
            try:
                self._bursts.came(item, node.since)
            except Exception as error:
                self._complain("`urgent` of a RollingBatch raised", error)

    def _displace(self, item: T, node: Node[T] | None) -> bool:
        """Let *item* in and the oldest out, as many as it takes.

        False: it is less urgent than what would have to go, or too large.
        """
        if self._selective is None:
            victims = self._take_oldest()
        else:
            assert node is not None
            nodes = self._victims(self._selective, node)
            if nodes is None:
                return False
            victims = [each.item for each in nodes]
            for each in nodes:
                self._selective.shelf.remove(each)
        self._place(item, node)
        self._lose(len(victims), "drop_old")
        for victim in victims:
            self._report_loss(victim, "drop_old")
        return True

    def _take_oldest(self) -> list[T]:
        """Take as many as there are too many when one more comes, or as there are of them that can go."""
        # What was given back may have made them too many.
        at, count = self._getters.granted, len(self) + 1 - int(self._capacity)
        self._note_size()
        victims: list[T] = []
        while len(victims) < count and at < len(self.items):
            if self._rules.exempt is not None and self._rules.exempt(self.items[at]):
                at += 1
            else:
                victims.append(self.items[at])
                del self.items[at]
        return victims

    def _victims(self, selective: Selective[T], node: Node[T]) -> list[Node[T]] | None:
        """Who has to go for *node*: the oldest of the least urgent; None: that would not help, or be unfair."""
        found: list[Node[T]] = []
        load, spared = selective.shelf.load, 0.0
        for each in selective.shelf.worst():
            if load + node.weight <= self._capacity or each.level < node.level:
                break
            if self._rules.exempt is not None and self._rules.exempt(each.item):
                spared += each.weight
            else:
                found.append(each)
                load -= each.weight
        return found if load - spared + node.weight <= self._capacity else None

    # Going out

    def _take_slowly(self) -> T:
        size = len(self)
        if not size:
            raise IndexError("there is no item to take")
        if size > self._high_water:
            self._high_water = size
        if self._selective is None:
            return self._went(self.items.popleft())
        return self._went(self._selective.take().item)

    def _collect(self) -> T:
        """The item that was promised to a getter whose turn in the line has just been used.

        While `append_below` is below 0 this can be left out, but for the item: as much is free as before.
        """
        item = self.items.popleft() if self._selective is None else self._selective.collect_promised().item
        self._settle()
        return item

    def _went(self, item: T) -> T:
        # Who waits has refused all that lies on the shelf; an empty one may be given up.
        if not (self._calm and self.items):
            self._settle()
        return item

    def _lose(self, count: int, reason: str) -> None:
        """So many items are gone, and no consumer has got them."""
        if not count:
            return
        if self._losses is None:
            self._losses = {}
        self._losses[reason] = self._losses.get(reason, 0) + count
        self._check_joiners()

    def _report_loss(self, item: T, reason: str) -> None:
        if self._rules.on_drop is not None:
            self._call(self._rules.on_drop, item, reason)

    def _check_joiners(self) -> None:
        if self._joiners.turns and not self._unfinished():
            while self._joiners.grant():
                pass

    # Decisions

    def _settle(self) -> None:
        """Make the promises that can be made, send away who waits in vain, and work out the fast path again.

        To be called after each change outside the fast path, except between the end of a wait and its use.
        """
        if self._selective is not None or self._closed or self._rules is not PLAIN:
            self._settle_all()
            return
        getters, putters = self._getters, self._putters
        if getters.turns or putters.turns:
            items = self.items
            while getters.turns and len(items) > getters.granted and getters.grant():
                pass
            while putters.turns and len(items) - getters.granted + putters.granted < self._capacity and putters.grant():
                pass
        self._tune(False)

    def _settle_all(self) -> None:
        selective, getters, putters = self._selective, self._getters, self._putters
        if self._closed:
            putters.dismiss()
        if selective is not None:
            selective.trim()
        else:
            while len(self.items) > getters.granted and getters.grant():
                pass
        while (first := putters.first) is not None and self._has_room(first[1]):
            putters.grant()
        if self._closed:
            if selective is not None:
                selective.close()
            if self._drained():
                getters.dismiss()
        if selective is not None and selective.idle and not self._rules.indexed:
            selective = None
            self._be_plain()
        notice = self._cross_marks()
        self._tune(self._closed or selective is not None)
        if self._bursts is not None:
            self._settle_bursts(self._bursts, -math.inf)
        if notice is not None:
            self._call(notice, self._load())

    def _tune(self, busy: bool) -> None:
        """Work out the two numbers of the fast path."""
        getters, putters, limit = self._getters, self._putters, self._limit
        if busy or not limit or putters.turns or putters.granted:
            self.append_below = 0
        else:
            # What is promised is still among the items, and takes no room.
            self.append_below = -1 if getters.turns else limit + getters.granted
        # Putters that all have been promised a room do not care how much more there is.
        if busy or getters.turns or getters.granted or putters.turns or self._flooded:
            self.take_up_to = -1
        else:
            self.take_up_to = self._high_water
        if self._selective is not None:
            waited = getters.turns or getters.granted or putters.turns or putters.granted
            self._calm = not (waited or self._closed or self._watched)

    def _cross_marks(self) -> Callable[[float], object] | None:
        """Whom to tell that the load has crossed a mark."""
        rules = self._rules
        if not self._flooded and self._load() >= rules.high:
            self._flooded = True
            self._limit = self.append_limit()
            return rules.on_high
        if self._flooded and self._load() <= rules.low:
            self._flooded = False
            self._limit = self.append_limit()
            return rules.on_low
        return None

    def _settle_bursts(self, bursts: Bursts, when: float) -> None:
        assert self._selective is not None
        first = self._selective.shelf.first
        bursts.follow(None if first is None else first.since)
        if not bursts.idle:
            bursts.settle(self._loop, max(self._now(), when), self.burst_due())
            if self._drained():
                bursts.line.dismiss()

    def _tick(self, when: float) -> None:
        if self._bursts is not None:
            self._settle_bursts(self._bursts, when)

    # Two ways to keep the items

    def _be_selective(self) -> Selective[T]:
        """Put the items onto a shelf, if they are not on one."""
        if self._selective is not None:
            return self._selective
        self._note_size()
        if self._getters is NOBODY:
            self._getters = Line()
        selective = self._spare or Selective[T](self._rules, self._getters, self._complain)
        selective.move_in(self.items)
        self._selective = selective
        self.items = cast("deque[T]", selective.shelf)
        self.append_below, self.take_up_to = 0, -1
        self._tune(True)
        return selective

    def _be_plain(self) -> None:
        """There is nothing and nobody on the shelf: go back to the bare deque, and keep the shelf for the next time."""
        assert self._selective is not None
        self.items = self._selective.deque
        self._spare, self._selective = self._selective, None
        self._calm = False
