"""Another node, as this one sees it: its actors, what was asked of it, and the link, while there is one."""

from __future__ import annotations

import asyncio
import weakref
from typing import TYPE_CHECKING, Any

from understudy.actors._asks import forget
from understudy.actors._ref import ActorRef
from understudy.exceptions import ActorStopped
from understudy.reasons import ExitReason, NodeDown
from understudy.transports._errors import LinkDown
from understudy.transports._remote_cell import RemoteCell

if TYPE_CHECKING:
    from understudy.actors._asks import Ask
    from understudy.actors._runtime import Runtime
    from understudy.transports._address import Place
    from understudy.transports._handshake import NodeId
    from understudy.transports._link import Link

__all__ = ["Peer"]


class Peer:
    """One node from its start to its end, through all the links with it.

    A node that has been started anew under the same name is another peer.
    """

    def __init__(self, identity: NodeId, runtime: Runtime, outbox: int) -> None:
        self.id = identity
        self.runtime = runtime
        self.outbox = outbox
        self.link: Link | None = None
        self.down = NodeDown(identity.name)
        # Refs hold them; so do those below who watch, wait or have something to send.
        self._cells: weakref.WeakValueDictionary[Place, RemoteCell] = weakref.WeakValueDictionary()
        self.watched: dict[RemoteCell, None] = {}
        """The actors whose end somebody here wants to know of."""
        self.asks: dict[int, Ask] = {}
        """What was asked of its actors and has no answer."""
        self._numbers: dict[asyncio.Future[Any], int] = {}
        self._calls: dict[int, asyncio.Future[Any]] = {}
        self._last = 0

    # Actors

    def cell(self, at: Place) -> RemoteCell:
        """What stands for the actor at *at*; the same as long as anybody has it."""
        found = self._cells.get(at)
        if found is None:
            found = self._cells[at] = RemoteCell(self, at, None if self.link is not None else self.down)
        return found

    def known(self, at: Place) -> RemoteCell | None:
        """The same, if anybody has it."""
        return self._cells.get(at)

    def ref(self, at: Place) -> ActorRef[Any]:
        """A ref to the actor at *at*."""
        return ref_to(self.cell(at))

    # What was asked

    def next_number(self) -> int:
        """A number for a question, which no other has had."""
        self._last += 1
        return self._last

    def asked(self, number: int, ask: Ask) -> None:
        """*ask* was sent."""
        self.asks[number] = ask
        self._numbers[ask.future] = number
        ask.future.add_done_callback(self._settled)

    def answered(self, number: int) -> Ask | None:
        """The ask of that number, whose answer has come; None if nobody waits for it any more."""
        ask = self.asks.pop(number, None)
        if ask is not None:
            self._numbers.pop(ask.future, None)
            ask.future.remove_done_callback(self._settled)
        return ask

    def pending(self, number: int) -> Ask | None:
        """The ask of that number, if it is still open."""
        return self.asks.get(number)

    def is_pending(self, ask: Ask) -> bool:
        """Whether *ask* was sent and has no answer."""
        return ask.future in self._numbers

    def _settled(self, future: asyncio.Future[Any]) -> None:
        """Nobody waits for an answer any more, and none has come."""
        number = self._numbers.pop(future, None)
        if number is not None:
            del self.asks[number]
            if self.link is not None:
                self.link.cancel(number)

    def called(self, number: int) -> asyncio.Future[Any]:
        """Something was asked of the node itself: what will have the answer."""
        future: asyncio.Future[Any] = self.runtime.env.loop.create_future()
        self._calls[number] = future
        return future

    def returned(self, number: int) -> asyncio.Future[Any] | None:
        """Likewise: the answer has come."""
        future = self._calls.pop(number, None)
        return future if future is not None and not future.done() else None

    # The link

    def attach(self, link: Link) -> None:
        """There is a link from here on."""
        self.link = link
        for cell in list(self._cells.values()):
            cell.reopen()

    def detach(self, why: str) -> None:
        """There is none any more: whoever waits for something is told at once."""
        self.link = None
        asks, self.asks, self._numbers = list(self.asks.values()), {}, {}
        for ask in asks:
            ask.fail(ActorStopped(path=ask.cell.path, reason=self.down, message=ask.message))
        calls, self._calls = list(self._calls.values()), {}
        for future in calls:
            if not future.done():
                future.set_exception(LinkDown(node=self.id.name, why=why))
                forget(future)
        cells: list[RemoteCell] = list(self._cells.values())
        self.watched.clear()
        for cell in cells:
            cell.lost(self.down)

    def end(self, reason: ExitReason) -> None:
        """It will never be back: another node has its name."""
        for cell in list(self._cells.values()):
            if cell.final is None:
                cell.heard(None, reason)


def ref_to(cell: RemoteCell) -> ActorRef[Any]:
    """A ref like any other: it sees of a cell what *cell* has too."""
    behind: Any = cell
    return ActorRef(behind)
