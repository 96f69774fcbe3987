"""What few actors have, and what belongs to one incarnation only; made late, so that an idle actor stays small."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from understudy.actors._handler import Handler, HandlerTable
from understudy.actors._owned import Owned
from understudy.actors._stash import Stash
from understudy.actors._timers import Timers
from understudy.actors._tracing import plain

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from understudy.actors._cell import Cell
    from understudy.actors._quiet import Quiet
    from understudy.actors._turns import Turns

__all__ = ["Behaviour", "Belongings"]


class Belongings:
    """Timers, stash, behaviours, tasks, reentrant handlers, and the receive timeout of one incarnation."""

    __slots__ = ("_base", "_behaviours", "_cell", "_owned", "_stash", "_timers", "quiet", "turns", "until_event")

    def __init__(self, cell: Cell) -> None:
        self._cell = cell
        # The handlers of its class, and those that have taken their place, the last on top, with what they are called.
        self._base = plain(cell.table)
        self._behaviours: list[tuple[str, HandlerTable]] = []
        self._timers: Timers | None = None
        self._stash: Stash | None = None
        self._owned: Owned | None = None
        self.turns: Turns | None = None
        self.quiet: Quiet | None = None
        # The key of a timer that the next message cancels.
        self.until_event: Hashable | None = None

    @property
    def timers(self) -> Timers:
        """Its timers."""
        if self._timers is None:
            self._timers = Timers(self._cell)
        return self._timers

    @property
    def stash(self) -> Stash:
        """Its stash."""
        if self._stash is None:
            self._stash = Stash(self._cell)
        return self._stash

    @property
    def aside(self) -> tuple[Any, ...]:
        """What is in its stash, in its order."""
        return () if self._stash is None else self._stash.contents

    @property
    def owned(self) -> Owned:
        """Its tasks."""
        if self._owned is None:
            self._owned = Owned(self._cell)
        return self._owned

    @property
    def busy(self) -> bool:
        """Whether a task of it runs, or a reentrant handler."""
        return bool(self._owned) or bool(self.turns)

    # Behaviour

    def become(self, function: Callable[[Any], Any], *, keep: bool) -> None:
        """From the next message on, *function* takes the messages that handlers take now."""
        table = HandlerTable()
        table.private, table.signals = self._base.private, self._base.signals
        is_async = inspect.iscoroutinefunction(function)

        def call(actor: Any, message: Any) -> Any:
            return function(message)

        table.fallback = Handler(call, _name_of(function), is_async)
        if not keep and self._behaviours:
            self._behaviours.pop()
        self._behaviours.append((table.fallback.name, self._table(table)))
        self.apply()

    def be(self, table: HandlerTable, name: str) -> None:
        """From the next message on, handle by *table*, with nothing beneath."""
        self._behaviours = [(name, self._table(table))]
        self.apply()

    def begin_anew(self, table: HandlerTable) -> None:
        """From the next message on, handle by *table*, which is that of the class now."""
        self._base, self._behaviours = table, []
        self.apply()

    @property
    def behaviours(self) -> tuple[str, ...]:
        """What those that have taken the place of its handlers are called."""
        return tuple(name for name, _ in self._behaviours)

    def _table(self, table: HandlerTable) -> HandlerTable:
        return self._cell.runtime.table_of(self._cell, Behaviour(table))

    def unbecome(self) -> bool:
        """Undo the last `become`; False: there was none."""
        if not self._behaviours:
            return False
        self._behaviours.pop()
        self.apply()
        return True

    def apply(self) -> None:
        """Let the cell have the handlers that are meant now, from the next message on."""
        table = self._behaviours[-1][1] if self._behaviours else self._base
        if self.quiet is not None or self.until_event is not None:
            table = table.without_shortcuts()
        self._cell.use(table)

    def heard(self, message: object) -> None:
        """A message of a user is about to be handled."""
        if self.until_event is not None:
            key, self.until_event = self.until_event, None
            self.timers.cancel(key)
        if self.quiet is not None:
            self.quiet.heard(message)

    def handled(self, message: object) -> None:
        """A message of a user has been handled."""
        if self.quiet is not None:
            self.quiet.heard(message)

    # Ending

    def interrupt(self) -> None:
        """The incarnation is on its way out."""
        if self.turns:
            self.turns.cancel()
        if self._timers is not None:
            self._timers.cancel_all()
        if self.quiet is not None:
            self.quiet.stop()
        if self._owned is not None:
            self._owned.cancel()

    def abandon(self) -> None:
        """Give up on what has not ended."""
        if self.turns:
            self.turns.abandon()
        if self._owned is not None:
            self._owned.abandon()

    def end(self) -> None:
        """The incarnation is over: the stash goes back into the mailbox, and the rest is void."""
        self.interrupt()
        if self._owned is not None:
            self._owned.end()
        if self._stash is not None:
            self._stash.release()


class Behaviour:
    """Stands for an actor whose class has other handlers, for who asks for an actor's table."""

    def __init__(self, table: HandlerTable) -> None:
        self.__understudy_handlers__ = table


def _name_of(function: Callable[..., object]) -> str:
    return str(getattr(function, "__name__", type(function).__name__))
