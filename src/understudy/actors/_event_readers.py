"""Those who take events themselves, when they like: ``wait_for`` and ``stream``."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

from understudy.actors._event import Event
from understudy.actors._subscriptions import Subscription, name_of
from understudy.exceptions import ActorStopped
from understudy.mailbox._errors import QueueClosed
from understudy.mailbox._queue import AsyncMessageQueue
from understudy.reasons import Shutdown

if TYPE_CHECKING:
    from collections.abc import Callable

    from understudy.actors._cell import Cell
    from understudy.actors._publication import Delivery
    from understudy.actors._subscriptions import Topic

__all__ = ["EventStream", "Once", "Tap"]

E_co = TypeVar("E_co", bound=Event, covariant=True)


class Once(Subscription):
    """Waits for one event."""

    __slots__ = ("_future", "_predicate")

    def __init__(
        self,
        topic: Topic,
        predicate: Callable[[Any], object] | None,
        bus: Cell,
        cancelled: Callable[[Subscription], None],
    ) -> None:
        super().__init__(topic, object(), f"wait_for({name_of(topic)})", bus, cancelled)
        self._predicate = predicate
        self._future: asyncio.Future[Event] = bus.runtime.env.loop.create_future()

    def put(self, item: Event | Delivery, *, quietly: bool = False) -> bool:
        """Take the event, if it is the one; an error of the predicate is for who waits."""
        event = cast("Event", item)
        if self._future.done():
            return True
        try:
            wanted = self._predicate is None or bool(self._predicate(event))
        except BaseException as error:
            self._failed(error)
            return True
        if wanted:
            self._future.set_result(event)
            self.cancel()
        return True

    def _failed(self, error: BaseException) -> None:
        self.failures += 1
        if isinstance(error, KeyboardInterrupt):
            self.bus.runtime.interrupt()
        if not isinstance(error, Exception) or isinstance(error, StopIteration):
            # No future takes a StopIteration, and the others would be taken for the end of who waits, or of the loop.
            cause, error = error, RuntimeError(f"the predicate of {self.name} raised {type(error).__name__}")
            error.__cause__ = cause
        self._future.set_exception(error)
        self.cancel()

    def end(self, *, drain: bool, timeout: float | None = None) -> None:
        """There will be none."""
        if not self._future.done():
            self._future.set_exception(ActorStopped(path=self.bus.path, reason=Shutdown("the event bus is closed")))

    async def wait(self, timeout: float | None) -> Event:
        """The event."""
        try:
            if timeout is None or timeout == math.inf:
                return await self._future
            async with asyncio.timeout(timeout):
                return await self._future
        except TimeoutError:
            if not self._future.cancelled():
                return self._future.result()  # it came in the very moment, or this is what the predicate has raised
            raise TimeoutError(f"no {name_of(self.topic)} within {timeout:g} s") from None
        finally:
            self.cancel()


class Tap(Subscription):
    """What a stream is fed from. It does not know the stream, so that one that nobody knows any more goes."""

    __slots__ = ("queue",)

    def __init__(self, topic: Topic, size: float, bus: Cell, cancelled: Callable[[Subscription], None]) -> None:
        super().__init__(topic, object(), f"stream({name_of(topic)})", bus, cancelled)
        self.queue: AsyncMessageQueue[Event] = AsyncMessageQueue(size)

    def put(self, item: Event | Delivery, *, quietly: bool = False) -> bool:
        """Queue the event for the reader."""
        if self.queue.offer(cast("Event", item)):
            return True
        self.refused += 1
        return False

    def end(self, *, drain: bool, timeout: float | None = None) -> None:
        """There will be no more; what is there can still be read."""
        self.queue.close()


class EventStream(AsyncIterator[E_co]):
    """The events of one topic, one after another: what ``bus.stream`` returns. A context manager: leaving cancels.

    Without ``with``, it is cancelled as soon as nothing refers to it any more, as after a ``break`` out of ``async
    for event in bus.stream(...)``.
    """

    __slots__ = ("__weakref__", "subscription")

    def __init__(self, tap: Tap) -> None:
        self.subscription: Subscription = tap

    async def __anext__(self) -> E_co:
        try:
            return cast("E_co", await cast("Tap", self.subscription).queue.get())
        except QueueClosed:
            raise StopAsyncIteration from None

    @property
    def refused(self) -> int:
        """How many events were lost, since they were not taken in time."""
        return self.subscription.refused

    def cancel(self) -> None:
        """No event that is published from now on is for this one; those that wait can still be read. Idempotent."""
        self.subscription.cancel()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.cancel()

    def __repr__(self) -> str:
        return f"<EventStream of {name_of(self.subscription.topic)}{'' if self.subscription.active else ', cancelled'}>"

    def __del__(self) -> None:
        tap = cast("Tap", self.subscription)
        env = tap.bus.runtime.env
        if not tap.active or env.loop.is_closed():
            return
        if env.is_here():
            tap.cancel()
        else:
            env.loop.call_soon_threadsafe(tap.cancel)
