"""Who wants to know of whose end: monitors, which tell once, and links, which take along."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from understudy.actors._asks import Arrival, Letter, Onward
from understudy.exceptions import InvalidContext
from understudy.messages import LinkExit, Terminated
from understudy.reasons import NotFound, is_abnormal

if TYPE_CHECKING:
    from collections.abc import Callable

    from understudy.actors._cell import Cell
    from understudy.actors._ref import ActorRef
    from understudy.reasons import ExitReason

__all__ = ["Link", "Monitor", "News", "is_exempt", "link", "placed", "unlink", "weighed"]


class _Edge:
    """Before, or behind, all that can be compared."""

    __slots__ = ("_first",)

    def __init__(self, *, first: bool) -> None:
        self._first = first

    def __lt__(self, other: object) -> bool:
        return self._first and other is not self

    def __gt__(self, other: object) -> bool:
        return not self._first and other is not self


_FIRST, _LAST = _Edge(first=True), _Edge(first=False)


def placed(priority: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """*priority* of messages; what comes next in any case is the first, and news of an end is behind all else."""

    def place(item: Any) -> Any:
        if type(item) is News:
            return _LAST
        return _FIRST if type(item) is Onward else priority(item)

    return place


def is_exempt(item: object) -> bool:
    """Whether *item* gets into a mailbox whether there is room or not, and is never thrown away to make some."""
    return isinstance(item, News | Arrival | Onward)


def weighed(weigh: Callable[[Any], float]) -> Callable[[Any], float]:
    """*weigh* of messages; what is exempt from the capacity weighs nothing, and is none of its business."""
    return lambda item: 0 if is_exempt(item) else weigh(item)


class Heard(Protocol):
    """What a signal is a matter of: a :class:`Monitor`, or whoever wants to know when its turn has come."""

    active: bool
    """Whether an actor shall handle it."""
    pact: bool

    def cancel(self) -> None:
        """Its turn has come."""
        ...


class News(Letter):
    """A signal on its way to an actor: exempt from the capacity of the mailbox, and void once its monitor is."""

    __slots__ = ("monitor",)

    def __init__(self, message: object, monitor: Heard | None) -> None:
        super().__init__(message, None)
        self.monitor = monitor

    @property
    def void(self) -> bool:
        """Nobody wants to hear it any more."""
        return self.monitor is not None and not self.monitor.active

    def taken(self) -> None:
        """It is being handled: its monitor has done its duty."""
        if self.monitor is not None:
            self.monitor.cancel()

    @property
    def fatal(self) -> bool:
        """It is the failure of an actor that has no handler for it."""
        return self.monitor is not None and self.monitor.pact


class Monitor:
    """What ``context.watch`` returns: one ``Terminated`` will come for it, or it is cancelled before.

    It belongs to the incarnation that has made it.
    """

    __slots__ = ("_book", "_cell", "_incarnation", "_target", "active", "pact", "ref")

    def __init__(self, cell: Cell, ref: ActorRef[Any], target: Cell, book: dict[Monitor, None], *, pact: bool) -> None:
        # All monitors of the incarnation that are active, so that they end with it.
        self._book = book
        self._cell = cell
        self._incarnation = cell.incarnation
        self._target = target
        self.ref = ref
        """Who is watched."""
        self.pact = pact
        """Whether a ``Terminated`` that the actor has no handler for is its failure."""
        self.active = True
        """Whether its ``Terminated`` has still to be handled."""

    def begin(self) -> None:
        """Wait for the end, or tell at once that there is nothing to wait for; for the runtime."""
        self._book[self] = None
        if self._target.dead:
            self._tell(NotFound())
        else:
            self._target.observe(self._tell, self._cell)

    def cancel(self) -> None:
        """No ``Terminated`` of it is handled from here on, not even one that waits in the mailbox."""
        self.active = False
        self._book.pop(self, None)
        self._target.unobserve(self._tell)

    def _tell(self, reason: ExitReason) -> None:
        if self.active and self._cell.incarnation == self._incarnation:
            self._cell.inform(News(Terminated(self.ref, reason), self))


class Link:
    """One direction of a link: the end of somebody reaches *cell*. Two of them to the same cell are equal."""

    __slots__ = ("_cell", "_ref")

    def __init__(self, cell: Cell, ref: ActorRef[Any]) -> None:
        self._cell = cell
        self._ref = ref

    def __call__(self, reason: ExitReason) -> None:
        # The other direction has nobody to tell of any more, and would keep the dead actor.
        self._cell.unobserve(Link(self._ref._cell, self._ref))  # pyright: ignore[reportPrivateUsage]
        if not is_abnormal(reason) or self._cell.dead:
            return
        if self._cell.traps_exits:
            self._cell.inform(News(LinkExit(self._ref, reason), None))
        else:
            self._cell.exit(reason)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Link) and self._cell is other._cell

    def __hash__(self) -> int:
        return hash(self._cell)


def link(one: Cell, its_ref: ActorRef[Any], other: Cell, others_ref: ActorRef[Any]) -> None:
    """From here on, an abnormal end of either takes the other along. Linking twice is linking once.

    Raises:
        InvalidContext: One of them is in another process, which could not promise that.
    """
    for each in (one, other):
        if each.remote:
            raise InvalidContext(what=each.path, problem="links do not reach other processes: use watch")
    if other.dead:
        Link(one, others_ref)(other.reason or NotFound())
        return
    one.observe(Link(other, its_ref))
    other.observe(Link(one, others_ref))


def unlink(one: Cell, its_ref: ActorRef[Any], other: Cell, others_ref: ActorRef[Any]) -> None:
    """Undo :func:`link`, for *one*; it is no error if there is none. A ``LinkExit`` that waits there is not handled."""
    one.unobserve(Link(other, its_ref))
    other.unobserve(Link(one, others_ref))
    if one.mailbox is not None and one.traps_exits:
        one.mailbox.remove(lambda item: type(item) is News and _is_exit_of(others_ref, item.message))


def _is_exit_of(ref: ActorRef[Any], message: object) -> bool:
    return isinstance(message, LinkExit) and message.ref == ref
