"""The stash: messages that an actor puts aside until it can deal with them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from understudy.actors._asks import Arrival, Ask, message_of
from understudy.actors._streams import StreamAsk
from understudy.exceptions import InvalidContext, MailboxFull
from understudy.instrument import Instrument
from understudy.messages import Signal

if TYPE_CHECKING:
    from understudy.actors._cell import Cell

__all__ = ["Stash"]


class Stash:
    """What one incarnation has put aside, first in, first out."""

    __slots__ = ("_cell", "_incarnation", "_items", "_limit")

    def __init__(self, cell: Cell) -> None:
        self._cell = cell
        self._incarnation = cell.incarnation
        self._items: list[Any] = []
        self._limit: int = cell.option("stash")

    def __len__(self) -> int:
        """How many there are."""
        return len(self._items)

    @property
    def contents(self) -> tuple[Any, ...]:
        """What is in it, in its order: messages and envelopes."""
        return tuple(self._items)

    def add(self, message: object) -> None:
        """Put *message*, which is in hand, aside; an ask with its asker, who goes on waiting.

        Raises:
            MailboxFull: There are as many as there may be; the message is still in hand.
            InvalidContext: It is a stream, or its handler is reentrant.
        """
        cell = self._cell
        if type(cell.hand) is StreamAsk or (
            cell.turns and any(message_of(each) is message for each in cell.turns.hands)
        ):
            problem = "a stream, or what a reentrant handler has in hand, cannot be put aside"
            raise InvalidContext(what=f"the stash of {cell.path}", problem=problem)
        if isinstance(message, Signal):
            problem = f"a signal cannot be put aside: keep what you need of the {type(message).__name__} on self"
            raise InvalidContext(what=f"the stash of {cell.path}", problem=problem)
        if len(self._items) >= self._limit:
            raise MailboxFull(path=f"the stash of {cell.path}", capacity=self._limit, message=message)
        hand = cell.hand
        if hand is not None and message_of(hand) is message:
            # It is in hand no more: what the handler returns is no reply, and its end is not the message's.
            cell.hand = None
            if isinstance(hand, Ask):
                hand.in_hand = False
            # What the actor's timers and tasks have sent, they are done with: it is a matter of the stash now.
            self._items.append(Arrival(message, cell, self) if isinstance(hand, Arrival) else hand)
        else:
            self._items.append(message)  # a plain tell to a `def` handler, of which the cell knows nothing
        cell.runtime.instruments.emit(Instrument.stashed, cell.path, message)

    def wants(self, arrival: Arrival) -> bool:
        """Whether *arrival* is to be handled, which the actor had sent itself and put aside."""
        return self._cell.incarnation == self._incarnation

    def taken(self, arrival: Arrival) -> None:
        """*arrival* is being handled."""

    def release(self) -> None:
        """Put all back into the mailbox, in front of what waits there but for what is to come next, in their order."""
        items, self._items = self._items, []
        cell = self._cell
        if items:
            cell.give_back(cell.make_mailbox(), *cell.take_onward(), *items)
