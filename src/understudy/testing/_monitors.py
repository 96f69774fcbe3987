"""What is watched in every simulated run, whatever the test itself asserts.

Each monitor is an independent statement of a promise of the runtime. It keeps its own books from what it sees and
never asks the runtime what it thinks.
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from typing import TYPE_CHECKING, Any, ClassVar

from understudy.actors._asks import Ask, message_of
from understudy.actors._cell import Cell
from understudy.actors._life import Life, Turn
from understudy.actors._waiting import frame_now
from understudy.instrument import Instrument
from understudy.reasons import RestartsExceeded
from understudy.testing._story import shown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from understudy.actors._handler import HandlerTable
    from understudy.actors._inbox import Inbox
    from understudy.reasons import ExitReason
    from understudy.testing._simulation import Simulation

__all__ = ["Asks", "Delivery", "Lives", "Monitor", "Order", "Restarts", "WakeUps", "Watch"]


class Watch:
    """All monitors of one system.

    Attributes:
        cells: Those that have started, by their paths.
        refusing: The dead letter that comes now is of a message that was never accepted.
    """

    def __init__(self, sim: Simulation) -> None:
        self.sim = sim
        self.cells: dict[str, Cell] = {}
        self.refusing = False
        self.monitors: list[Monitor] = [kind(self) for kind in (Delivery, Order, Asks, Lives, Restarts, WakeUps)]

    def met(self, cell: Inbox) -> None:
        """*cell* starts an incarnation."""
        assert isinstance(cell, Cell)
        self.cells[cell.path] = cell

    def accepted(self, cell: Inbox, item: Any) -> None:
        """*item* goes into the mailbox of *cell*."""
        self.sim.sent(cell.path, message_of(item))
        for monitor in self.monitors:
            monitor.accepted(cell, item)

    def began(self, cell: Inbox, message: Any) -> None:
        """The handler of *message* is called."""
        self.sim.handles(cell.path, message)
        for monitor in self.monitors:
            monitor.began(cell, message)

    def put_off(self, cell: Inbox, message: Any) -> None:
        """*cell* will go on with *message*, with which it has begun."""
        for monitor in self.monitors:
            monitor.put_off(cell, message)

    def took_up(self, cell: Inbox, message: Any) -> None:
        """*cell* goes on with *message*, if it is one that it has put off."""
        for monitor in self.monitors:
            monitor.took_up(cell, message)

    def idle(self) -> None:
        """Nothing is ready."""
        for monitor in self.monitors:
            monitor.idle()

    def finish(self) -> None:
        """The run has ended."""
        for monitor in self.monitors:
            monitor.finish()

    def busy(self) -> list[str]:
        """What is not settled, a line for each."""
        told: list[str] = []
        for path, cell in sorted(self.cells.items()):
            if cell.life not in (Life.RUNNING, Life.DEAD) or cell.ending is not None:
                told.append(f"{path} is {cell.status}")
            elif cell.hand is not None:
                told.append(f"{path} is handling {shown(message_of(cell.hand))}{_waits_for(cell)}")
            elif cell.turns:
                told.append(f"{path} has {len(cell.turns)} reentrant handlers under way")
            elif cell.waiting and cell.life is not Life.DEAD and not cell.suspended:
                told.append(f"{path} has {cell.waiting} messages waiting")
        return told


def _has_handler(cell: Inbox, message: Any) -> bool:
    table: HandlerTable = cell.spec.factory.__understudy_handlers__
    return (table[type(message)] or table.fallback) is not None


def _waiting_at(cell: Inbox) -> Iterator[Any]:
    """What is in the mailbox of *cell*, is put aside, or has been taken out for whoever wants what is left over."""
    assert isinstance(cell, Cell)
    if cell.mailbox is not None:
        yield from cell.mailbox.contents()
    if cell.belongings is not None:
        yield from cell.belongings.aside
    for letter in cell.left:
        yield letter.message


def _waits_for(cell: Cell) -> str:
    targets = [target.path for target in cell.awaited()]
    return f", and waits for {', '.join(targets)}" if targets else ""


class Monitor(Instrument):
    """Sees what happens in a run, and says which promise it breaks.

    An instrument that also sees messages: :meth:`accepted` when one is in a mailbox, :meth:`began` when its handler is
    called. :meth:`idle` is called when nothing is ready, :meth:`finish` at the end, when all systems have closed.
    """

    _understudy_unobtrusive: ClassVar[bool] = True

    def __init__(self, watch: Watch) -> None:
        self.watch = watch

    def accepted(self, cell: Inbox, item: Any) -> None:
        """*item* is in the mailbox of *cell*."""

    def began(self, cell: Inbox, message: Any) -> None:
        """The handler of *message* is being called."""

    def put_off(self, cell: Inbox, message: Any) -> None:
        """*cell* has begun with *message*, and will go on with it next."""

    def took_up(self, cell: Inbox, message: Any) -> None:
        """It goes on with it, if that has been put off."""

    def idle(self) -> None:
        """Nothing is ready."""

    def finish(self) -> None:
        """The run has ended."""

    def broken(self, promise: str) -> None:
        """*promise* does not hold in this run."""
        self.watch.sim.violated(f"{type(self).__name__.lower()}: {promise}")


class Delivery(Monitor):
    """What was accepted is handled, becomes a dead letter, or waits. Nothing is lost in silence, or handled twice."""

    def __init__(self, watch: Watch) -> None:
        super().__init__(watch)
        # By the path of the recipient and the identity of the message; the messages are kept so that identities stay.
        self._accepted: Counter[tuple[str, int]] = Counter()
        self._began: Counter[tuple[str, int]] = Counter()
        self._lost: Counter[tuple[str, int]] = Counter()
        self._put_off: Counter[tuple[str, int]] = Counter()
        self._kept: dict[int, Any] = {}
        self._cells: dict[str, list[Inbox]] = defaultdict(list)

    def accepted(self, cell: Inbox, item: Any) -> None:
        """One more that has to come to something, unless nothing can: who has asked is told so, and nobody else."""
        message = message_of(item)
        if isinstance(item, Ask) and not _has_handler(cell, message):
            return
        self._kept[id(message)] = message
        self._accepted[cell.path, id(message)] += 1
        if cell not in self._cells[cell.path]:
            self._cells[cell.path].append(cell)

    def began(self, cell: Inbox, message: Any) -> None:
        """One more has come to something."""
        key = (cell.path, id(message))
        self._began[key] += 1
        if self._began[key] > self._accepted[key]:
            self.broken(f"{cell.path} handles {shown(message)} for the {self._began[key]}. time, and was sent it "
                        f"{self._accepted[key]} times")  # fmt: skip

    def stashed(self, path: str, message: object) -> None:
        """It is still to be handled."""
        self._began[path, id(message)] -= 1

    def put_off(self, cell: Inbox, message: Any) -> None:
        """Likewise: until it goes on, it waits."""
        key = (cell.path, id(message))
        self._began[key] -= 1
        self._put_off[key] += 1

    def took_up(self, cell: Inbox, message: Any) -> None:
        """It waits no more."""
        key = (cell.path, id(message))
        if self._put_off[key]:
            self._put_off[key] -= 1
            self._began[key] += 1

    def dead_letter(self, message: object, recipient: str, sender: str | None, why: str) -> None:
        """Likewise, unless it had not been accepted to begin with."""
        if not self.watch.refusing:
            self._ended(message, recipient, f"becomes a dead letter ({why})")

    def left_over(self, message: object, recipient: str, sender: str | None, why: str) -> None:
        """Likewise."""
        self._ended(message, recipient, "is left over")

    def _ended(self, message: object, recipient: str, how: str) -> None:
        key = (recipient, id(message))
        self._kept[id(message)] = message
        self._lost[key] += 1
        cell = self.watch.cells.get(recipient)
        in_hand = cell is not None and any(message_of(hand) is message for hand in cell.hands)
        if self._accepted[key] and self._began[key] + self._lost[key] > self._accepted[key] and not in_hand:
            self.broken(f"{shown(message)} for {recipient} {how}, and has been handled")

    def idle(self) -> None:
        """Look at the books."""
        waiting: Counter[tuple[str, int]] | None = None
        for key, accepted in self._accepted.items():
            missing = accepted - self._began[key] - self._lost[key]
            if missing <= 0:
                continue
            if waiting is None:
                waiting = self._waiting()
            if missing > waiting[key]:
                message = shown(self._kept[key[1]])
                self.broken(
                    f"{message} for {key[0]} was accepted, and has neither been handled nor become a dead letter; "
                    "it does not wait either"
                )
                return

    def finish(self) -> None:
        """Nothing can wait any more, but in mailboxes of actors that were abandoned."""
        self.idle()

    def _waiting(self) -> Counter[tuple[str, int]]:
        return Counter(
            (path, id(message_of(item)))
            for path, cells in self._cells.items()
            for cell in cells
            for item in _waiting_at(cell)
        )


class Order(Monitor):
    """Messages from one sender to one recipient are handled in the order in which they were sent."""

    def __init__(self, watch: Watch) -> None:
        super().__init__(watch)
        self._number = 0
        self._sent: dict[tuple[Inbox, int], deque[tuple[str, int]]] = {}
        self._last: dict[tuple[Inbox, str], int] = {}

    def accepted(self, cell: Inbox, item: Any) -> None:
        """The next number; a mailbox with priorities has an order of its own."""
        if cell.option("mailbox").priority is not None:
            return
        self._number += 1
        key = (cell, id(message_of(item)))
        self._sent.setdefault(key, deque()).append((self.watch.sim.who(), self._number))

    def began(self, cell: Inbox, message: Any) -> None:
        """Its number must be higher than that of the one before."""
        sent = self._sent.get((cell, id(message)))
        if not sent:
            return
        sender, number = sent.popleft()
        if type(frame_now()) is Turn:  # a task of its own, whose first step may come behind that of a later one
            return
        last = self._last.get((cell, sender), 0)
        if number < last:
            self.broken(f"{cell.path} handles {shown(message)} from {sender} after one that was sent later")
        self._last[cell, sender] = number


class Asks(Monitor):
    """Each ask that was accepted has an outcome; that it has no second one is the nature of a future."""

    def __init__(self, watch: Watch) -> None:
        super().__init__(watch)
        self._open: list[tuple[str, Ask]] = []

    def accepted(self, cell: Inbox, item: Any) -> None:
        """One more that has to end."""
        if isinstance(item, Ask):
            self._open.append((cell.path, item))

    def finish(self) -> None:
        """All must have ended."""
        for path, ask in self._open:
            if not ask.future.done():
                self.broken(f"the ask of {shown(ask.message)} to {path} has no outcome although its system has closed")


class Lives(Monitor):
    """An actor starts before it stops, stops once, and not before its children."""

    def __init__(self, watch: Watch) -> None:
        super().__init__(watch)
        self._alive: set[str] = set()

    def actor_started(self, path: str, incarnation: int) -> None:
        """Up."""
        if incarnation == 1 and path in self._alive:
            self.broken(f"{path} has started, and one of that name was alive")
        self._alive.add(path)

    def actor_stopped(self, path: str, reason: ExitReason) -> None:
        """Down, for good."""
        if path not in self._alive:
            self.broken(f"{path} has stopped without having started, or twice")
        self._alive.discard(path)
        children = sorted(other for other in self._alive if other.startswith(f"{path}/"))
        if children:
            self.broken(f"{path} has stopped before {', '.join(children)}")

    def finish(self) -> None:
        """Nobody is left."""
        if self._alive:
            self.broken(f"the systems have closed, and {', '.join(sorted(self._alive))} has not stopped")


class Restarts(Monitor):
    """Restart intensity: no more than *max_restarts* within *max_seconds*, and no giving up before that."""

    def __init__(self, watch: Watch) -> None:
        super().__init__(watch)
        self._times: dict[tuple[object, ...], list[float]] = defaultdict(list)

    def actor_restarting(self, path: str, reason: ExitReason, failures: int) -> None:
        """It must have been allowed."""
        child = self.watch.cells.get(path)
        counted: list[int] = []
        for _, times, most, seconds in self._windows(child):
            counted.append(recent := self._count(times, seconds))
            if recent > most:
                self.broken(f"{path} is restarted, the {recent}. time within {seconds:g} s, where {most} are allowed")
        if counted and counted[0] != failures:
            self.broken(f"{path}: {failures} failures were reported, and there have been {counted[0]}")

    def gave_up(self, path: str, reason: ExitReason) -> None:
        """There must have been one too many."""
        if not isinstance(reason, RestartsExceeded):
            return
        for who, times, most, seconds in self._windows(self.watch.cells.get(reason.child)):
            recent = self._count(times, seconds)
            if who == path:  # what comes after it is not counted any more
                if recent <= most:
                    self.broken(f"{path} gives up after {recent} failures within {seconds:g} s; {most} are allowed")
                return

    def _windows(self, child: Cell | None) -> Iterator[tuple[str, list[float], int, float]]:
        """Who gives up by it, the failures so far, how many are allowed, and in how many seconds; for each limit."""
        if child is None or child.parent is None or child.parent.family is None:
            return
        parent, plan = child.parent, child.parent.family.plan
        if plan.shared:
            # A supervisor's count begins anew with each incarnation; an actor of its own budget keeps it.
            yield parent.path, self._times[parent.uid, parent.incarnation], plan.max_restarts, plan.max_seconds
        most, seconds = child.spec.get("max_restarts"), child.spec.get("max_seconds")
        if not plan.shared or most is not None:
            most = plan.max_restarts if most is None else most
            yield child.path, self._times[child.uid, 0], most, plan.max_seconds if seconds is None else seconds

    def _count(self, times: list[float], seconds: float) -> int:
        now = self.watch.sim.loop.time()
        times.append(now)
        return sum(1 for time in times if now - seconds <= time)


def _is_held(cell: Cell) -> bool:
    """Whether messages are to wait, for who resumes the actor or for a change between them and those in hand."""
    standing = cell.standing
    return standing is not None and (standing.suspended or bool(standing.changes and cell.turns))


class WakeUps(Monitor):
    """When nothing is ready, no actor that could handle a message has one."""

    def idle(self) -> None:
        """Look at all of them."""
        for cell in self.watch.cells.values():
            mailbox = cell.mailbox
            if mailbox is None or (mailbox.collects and mailbox.burst_due() > self.watch.sim.loop.time()):
                continue
            if cell.life is Life.RUNNING and cell.job is None and mailbox.items and not _is_held(cell):
                self.broken(f"{cell.path} is idle, and {len(mailbox.items)} messages wait: a wake-up was lost")
