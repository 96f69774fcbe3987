"""The actor around a callback: it has the queue, the order and the failures of one subscriber."""

from __future__ import annotations

from inspect import isawaitable
from typing import TYPE_CHECKING, Any

from understudy.actors._actor import Actor
from understudy.actors._asks import Ask
from understudy.actors._event import Event
from understudy.actors._handler import handler
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

    __slots__ = ("ask", "result")

    def __init__(self, result: Awaitable[object], ask: Ask | None) -> None:
        self.result = result
        self.ask = ask


class Subscriber(Actor[Event]):
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
        if result is not None and isawaitable(result):
            return Continue(self._promise(result))
        return None

    def _promise(self, result: Awaitable[object]) -> Pending:
        hand = self._understudy_cell.hand
        ask = hand if isinstance(hand, Ask) else None
        if ask is not None:
            ask.promised = True
        self._pending = Pending(result, ask)
        return self._pending

    @handler
    async def _await(self, message: Pending) -> None:
        ask = message.ask
        try:
            await message.result
        except BaseException as error:
            self._subscription.failed(error)
            if ask is not None:
                ask.fail(error)
            raise
        finally:
            self._pending = None
        if ask is not None:
            ask.reply(None)

    def _understudy_leave(self, reason: ExitReason) -> None:
        super()._understudy_leave(reason)
        pending, self._pending = self._pending, None
        if pending is not None and pending.ask is not None:
            pending.ask.fail(ActorStopped(path=pending.ask.cell.path, reason=reason, message=pending.ask.message))


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
