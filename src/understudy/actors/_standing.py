"""What few cells have, and what outlives an incarnation; made late, so that an idle actor stays small."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from understudy.actors._life import RUNNING
from understudy.actors._replacing import Problem
from understudy.actors._tracing import Trace, plain

if TYPE_CHECKING:
    from understudy.actors._cell import Cell
    from understudy.actors._handler import HandlerTable
    from understudy.actors._ref import ActorRef
    from understudy.actors._replacing import Change
    from understudy.messages import TraceEvent
    from understudy.reasons import ExitReason

__all__ = ["Standing"]


class Standing:
    """Orders that stand until they are carried out or withdrawn, and what is counted of one actor.

    It does not know its cell, so that a dead one is not kept by a circle of references.
    """

    __slots__ = ("changes", "crashes", "dead_letters", "draining", "suspended", "trace", "up_since")

    def __init__(self) -> None:
        # Drain until then and stop.
        self.draining: float | None = None
        # Nothing is handled.
        self.suspended = False
        # What is to be done between two messages, in the order of the calls. Those of an incarnation that ends fail.
        self.changes: list[Change[Any]] = []
        self.trace: Trace | None = None
        self.crashes = 0
        self.dead_letters = 0
        # When the present incarnation has come up, unless it is the first and nothing has been noted of it by then.
        self.up_since: float | None = None

    # Between two messages

    def holds(self, cell: Cell) -> bool:
        """Carry out what waits for its turn, if this is it; whether user messages are to wait, now and afterwards."""
        while self.changes and cell.running and cell.job is None and not cell.turns:
            self.changes.pop(0).carry_out()
        return self.suspended or bool(self.changes)

    def withdraw(self, cell: Cell, change: Change[Any]) -> None:
        """Whoever has waited for *change* does so no more, and neither do the messages behind it."""
        if change in self.changes:
            self.changes.remove(change)
            cell.interpose()

    def dismiss(self, reason: ExitReason) -> None:
        """The incarnation ends: what waits for its turn will have none."""
        while self.changes:
            self.changes.pop(0).fail(Problem(f"it has ended ({reason})"))

    # What is seen

    def follow(self, cell: Cell, to: ActorRef[Any] | None) -> None:
        """Trace *cell* to that ref from here on, or to nobody."""
        if self.trace is not None:
            self.trace.end()
        self.trace = None if to is None else Trace(cell, to, self._followed)
        if cell.actor is not None:
            cell.use(plain(cell.table))
            cell.interpose()

    def _followed(self, cell: Cell) -> None:
        """The tracer has ended."""
        self.follow(cell, None)

    def shown(self, table: HandlerTable) -> HandlerTable:
        """*table*, for an actor that may be traced."""
        return table if self.trace is None else self.trace.shown(table)

    def saw(self, event: TraceEvent, message: object = None, detail: object = None) -> None:
        """Tell the tracer, if there is one."""
        if self.trace is not None:
            self.trace.tell(event, message, detail)

    # What happens

    def lost(self, message: object, why: str) -> None:
        """A message for the actor has become a dead letter."""
        self.dead_letters += 1
        self.saw("lost", message, why)

    def came_up(self, cell: Cell) -> None:
        """An incarnation has; what stands concerns it too."""
        assert cell.life is RUNNING
        self.up_since = cell.runtime.env.now()
        if self.suspended or self.changes:
            cell.attention = True
        if self.trace is not None:
            self.saw("started")

    def left(self, reason: ExitReason) -> None:
        """An incarnation has ended."""
        self.up_since = None
        if self.changes:
            self.dismiss(reason)
        if self.trace is not None:
            self.saw("ended", None, reason)

    def close(self, reason: ExitReason) -> None:
        """The actor has ended for good."""
        if self.trace is not None:
            self.trace.tell("stopped", None, reason)
            self.trace.end()
