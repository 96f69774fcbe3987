"""The actor around a callback: it has the queue, the order and the failures of one subscriber."""

from __future__ import annotations

import math
from inspect import isawaitable
from types import CoroutineType
from typing import TYPE_CHECKING, Any, TypeVar

from understudy.actors._actor import Actor
from understudy.actors._asks import FRAME, Ask, Onward
from understudy.actors._event import Event
from understudy.actors._handler import handler
from understudy.actors._publication import Delivery
from understudy.exceptions import ActorStopped
from understudy.messages import Continue

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from understudy.actors._cell import Cell
    from understudy.actors._subscriptions import ActorSubscription
    from understudy.reasons import ExitReason

__all__ = ["AsyncSubscriber", "Subscriber"]

M = TypeVar("M")


class Hand(Ask):
    """The frame of a callback for whose event nobody waits; a context manager around the callback's code.

    With it the waits of tasks that the callback makes are its own, as they are in the handler of an ask. Without, a
    publication in such a task would wait for the callback, and the callback for the task.
    """

    __slots__ = ("_outer",)

    # Likewise for all. There is one of these for each event that a coroutine function gets.
    sender = None
    seconds = deadline = math.inf
    promised = False

    def __init__(self, event: Event | None, cell: Cell | None) -> None:
        self.message = event
        self.cell = cell
        self.in_hand = False

    def __enter__(self) -> None:
        self._outer: Any = FRAME.get()
        if not isinstance(self._outer, Ask):  # else somebody waits for this event, and that is the frame
            self.in_hand = True
            FRAME.set(self)

    def __exit__(self, *_: object) -> None:
        if self.in_hand:
            self.in_hand = False
            FRAME.set(self._outer)


class Around(Actor[M]):
    """What both kinds have in common."""

    def __init__(self, subscription: ActorSubscription) -> None:
        self._subscription = subscription
        callback = subscription.callback
        assert callback is not None
        self._callback: Callable[[Event], Any] = callback

    def _raised(self, error: BaseException) -> bool:
        """An await has raised *error*: the callback's failure, unless the runtime has interrupted it or given it up."""
        cell: Cell | None = self._understudy_cell
        if cell is None or (cell.ending is not None and cell.ending.interrupting):
            return False
        self._subscription.failed(error)
        return True


class Subscriber(Around[Event | Delivery]):
    """Around a callback that is no coroutine function. What it returns is awaited all the same, if it can be."""

    def __init__(self, subscription: ActorSubscription) -> None:
        super().__init__(subscription)
        # What the callback has returned that is still to be awaited, and who waits for that.
        self._rest: Awaitable[object] | None = None
        self._delivery: Delivery | None = None

    @handler
    def event(self, event: Event) -> Any:
        try:
            result: Any = self._callback(event)
        except BaseException as error:
            self._subscription.failed(error)
            raise
        return None if result is None else self.go_on(result, event, None)

    @handler
    def deliver(self, delivery: Delivery) -> Any:
        """The same for an event that is waited for; without what else an ask needs, since all is known of who waits."""
        try:
            result: Any = self._callback(delivery.message)
        except BaseException as error:
            self._subscription.failed(error)
            delivery.fail(error)
            raise
        if result is not None and (onward := self.go_on(result, delivery.message, delivery)) is not None:
            return onward
        delivery.reply(None)
        return None

    def go_on(self, result: object, event: Event, delivery: Delivery | None) -> Continue | None:
        """If the callback has returned something to be awaited, that comes next."""
        if not isawaitable(result):
            return None
        self._rest, self._delivery = result, delivery
        return Continue(event)  # the event itself, so that it is what a report says is in hand, or lost

    @handler
    async def _await(self, event: Event) -> None:
        rest, self._rest = self._rest, None
        assert rest is not None
        try:
            with Hand(event, self._understudy_cell):
                await rest
        except BaseException as error:
            if self._raised(error):
                self._settle(error)
            raise
        self._settle(None)

    def _settle(self, error: BaseException | None) -> None:
        delivery, self._delivery = self._delivery, None
        if delivery is None:
            return
        if error is None:
            delivery.reply(None)
        else:
            delivery.fail(error)

    def _understudy_leave(self, reason: ExitReason) -> None:
        super()._understudy_leave(reason)
        rest, delivery = self._rest, self._delivery
        if rest is not None:
            self._rest = None
            self._leave(rest, reason)
        if delivery is not None:
            self._settle(ActorStopped(path=delivery.cell.path, reason=reason, message=delivery.message))

    def _leave(self, rest: Awaitable[object], reason: ExitReason) -> None:
        """The callback has been called, and *rest* has not begun and never will."""
        if type(rest) is CoroutineType:
            rest.close()
        cell: Cell = self._understudy_cell
        mailbox = cell.mailbox
        if mailbox is not None and mailbox.items and type(onward := mailbox.next_item()) is Onward:
            # It would go without a word; if it is not there any more, that has been said.
            cell.runtime.dead_letter(onward.message, cell.path, None, str(reason))


class AsyncSubscriber(Around[Event]):
    """Around a coroutine function."""

    @handler
    async def event(self, event: Event) -> None:
        try:
            with Hand(event, self._understudy_cell):
                await self._callback(event)
        except BaseException as error:
            self._raised(error)
            raise
