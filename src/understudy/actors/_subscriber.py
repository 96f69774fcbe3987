"""The actor around a callback: it has the queue, the order and the failures of one subscriber."""

from __future__ import annotations

from inspect import isawaitable
from typing import TYPE_CHECKING, Any

from understudy.actors._actor import Actor
from understudy.actors._event import Event
from understudy.actors._handler import handler
from understudy.actors._publication import Delivery
from understudy.exceptions import ActorStopped
from understudy.messages import Continue

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from understudy.actors._subscriptions import ActorSubscription
    from understudy.reasons import ExitReason

__all__ = ["AsyncSubscriber", "Subscriber"]


def _called(subscription: ActorSubscription) -> Callable[[Event], Any]:
    callback = subscription.callback
    assert callback is not None
    return callback


class Pending:
    """What a callback has returned that is still to be awaited, and who waits for that."""

    __slots__ = ("delivery", "result")

    def __init__(self, result: Awaitable[object], delivery: Delivery | None) -> None:
        self.result = result
        self.delivery = delivery


class Subscriber(Actor[Event | Delivery]):
    """Around a callback that is no coroutine function. What it returns is awaited all the same, if it can be."""

    def __init__(self, subscription: ActorSubscription) -> None:
        self._subscription = subscription
        self._callback = _called(subscription)
        self._pending: Pending | None = None

    @handler
    def event(self, event: Event) -> Any:
        try:
            result: Any = self._callback(event)
        except BaseException as error:
            self._subscription.failed(error)
            raise
        return None if result is None else self._go_on(result, None)

    @handler
    def deliver(self, delivery: Delivery) -> Any:
        """The same for an event that is waited for; without what else an ask needs, since all is known of who waits."""
        try:
            result: Any = self._callback(delivery.message)
        except BaseException as error:
            self._subscription.failed(error)
            delivery.fail(error)
            raise
        if result is not None and (onward := self._go_on(result, delivery)) is not None:
            return onward
        delivery.reply(None)
        return None

    def _go_on(self, result: object, delivery: Delivery | None) -> Continue | None:
        """If the callback has returned something to be awaited, that comes next."""
        if not isawaitable(result):
            return None
        self._pending = Pending(result, delivery)
        return Continue(self._pending)

    @handler
    async def _await(self, message: Pending) -> None:
        delivery = message.delivery
        try:
            await message.result
        except BaseException as error:
            self._subscription.failed(error)
            if delivery is not None:
                delivery.fail(error)
            raise
        finally:
            self._pending = None
        if delivery is not None:
            delivery.reply(None)

    def _understudy_leave(self, reason: ExitReason) -> None:
        super()._understudy_leave(reason)
        pending, self._pending = self._pending, None
        delivery = None if pending is None else pending.delivery
        if delivery is not None:
            delivery.fail(ActorStopped(path=delivery.cell.path, reason=reason, message=delivery.message))


class AsyncSubscriber(Actor[Event]):
    """Around a coroutine function."""

    def __init__(self, subscription: ActorSubscription) -> None:
        self._subscription = subscription
        self._callback = _called(subscription)

    @handler
    async def event(self, event: Event) -> None:
        try:
            await self._callback(event)
        except BaseException as error:
            self._subscription.failed(error)
            raise
