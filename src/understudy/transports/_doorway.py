"""Where messages from a link wait for room in the mailbox of an actor."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any

from understudy.actors._asks import Ask, message_of, sender_of
from understudy.mailbox._errors import QueueClosed, QueueFull
from understudy.transports._errors import ProtocolError

if TYPE_CHECKING:
    from collections.abc import Callable

    from understudy.actors._cell import Cell
    from understudy.transports._address import Place
    from understudy.transports._inbound import Inbound

__all__ = ["Doorway", "admit"]


def admit(cell: Cell, item: Any) -> bool:
    """Put *item* into the mailbox of *cell*, or let it come to an end; False: it has to wait for room."""
    if cell.gate is None:
        if cell.make_mailbox().offer(item):
            cell.wake()
            return True
        if cell.policy == "block":
            return False
    turn_away(cell, item)
    return True


def turn_away(cell: Cell, item: Any) -> None:
    """*item* is not accepted by *cell*."""
    message = message_of(item)
    cell.refuse(message, sender_of(item), told=not isinstance(item, Ask))
    if isinstance(item, Ask):
        item.fail(cell.stopped_error(message) if cell.gate is not None else cell.full_error(message))


class Doorway:
    """The queue before one actor, as long as there is one. How long it can become, the credit of the sender says."""

    def __init__(self, inbound: Inbound, cell: Cell, at: Place, window: int, first: Any) -> None:
        self._inbound = inbound
        self._cell = cell
        self._at = at
        self._window = window
        # Messages, and what is to be called when all before it are in.
        self._items: deque[Any] = deque([first])

    def start(self) -> None:
        """Begin to let in."""
        self._inbound.link.own(self._let_in(), f"door:{self._cell.path}")

    def put(self, item: Any) -> None:
        """Behind all that waits.

        Raises:
            ProtocolError: More has come than was allowed.
        """
        if len(self._items) > self._window:
            raise ProtocolError(problem=f"more messages for one actor than the {self._window} that may be under way")
        self._items.append(item)

    def call(self, callback: Callable[[], object]) -> None:
        """Call *callback* when all that waits now is in."""
        self._items.append(_Marker(callback))

    def close(self, why: str) -> None:
        """The link is over; what waits has not been accepted."""
        items, self._items = self._items, deque()
        for item in items:
            if type(item) is not _Marker:
                told = not isinstance(item, Ask)
                self._cell.dead_letter(message_of(item), sender_of(item), why, told=told)

    async def _let_in(self) -> None:
        try:
            while self._items:
                item = self._items[0]
                if type(item) is _Marker:
                    item.callback()
                    self._items.popleft()
                    continue
                if not isinstance(item, Ask) or not item.future.done():
                    await self._let_one_in(item)
                if self._items:  # else the link has ended meanwhile
                    self._items.popleft()
                    self._inbound.placed(self._at)
        except asyncio.CancelledError:
            pass
        finally:
            self._inbound.forget_door(self._at, self)

    async def _let_one_in(self, item: Any) -> None:
        try:
            await self._cell.make_mailbox().put(item)
            self._cell.wake()
        except (QueueClosed, QueueFull):
            turn_away(self._cell, item)


class _Marker:
    """A place in the queue."""

    __slots__ = ("callback",)

    def __init__(self, callback: Callable[[], object]) -> None:
        self.callback = callback
