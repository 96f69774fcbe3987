"""Those who take events themselves, when they like: ``wait_for`` and ``stream``."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar, cast

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

__all__ = ["EventStream", "Once"]

E_co = TypeVar("E_co", bound=Event, covariant=True)


class Once(Subscription):
    """Waits for one event."""

    __slots__ = ("_future", "_path", "_predicate")

    def __init__(
        self,
        topic: Topic,
        predicate: Callable[[Any], object] | None,
        bus: Cell,
        cancelled: Callable[[Subscription], None],
    ) -> None:
        super().__init__(topic, object(), f"wait_for({name_of(topic)})", cancelled)
        self._predicate = predicate
        self._path = bus.path
        self._future: asyncio.Future[Event] = bus.runtime.env.loop.create_future()

    def put(self, item: Event | Delivery) -> bool:
        """Take the event, if it is the one; an error of the predicate is for who waits."""
        event = cast("Event", item)
        if self._future.done():
            return True
        try:
            wanted = self._predicate is None or bool(self._predicate(event))
        except Exception as error:
            self._future.set_exception(error)
            self.cancel()
            return True
        if wanted:
            self._future.set_result(event)
            self.cancel()
        return True

    def end(self, *, drain: bool, timeout: float | None = None) -> Cell | None:
        """There will be none."""
        if not self._future.done():
            self._future.set_exception(ActorStopped(path=self._path, reason=Shutdown("the event bus is closed")))
        return None

    async def wait(self, timeout: float | None) -> Event:
        """The event."""
        try:
            if timeout is None or timeout == math.inf:
                return await self._future
            async with asyncio.timeout(timeout):
                return await self._future
        except TimeoutError:
            if not self._future.cancelled():
                raise
            raise TimeoutError(f"no {name_of(self.topic)} within {timeout:g} s") from None
        finally:
            self.cancel()


class EventStream(Subscription, Generic[E_co]):
    """The events of one topic, one after another: what ``bus.stream`` returns. A context manager: leaving cancels."""

    __slots__ = ("_queue",)

    def __init__(self, topic: Topic, size: int, bus: Cell, cancelled: Callable[[Subscription], None]) -> None:
        super().__init__(topic, object(), f"stream({name_of(topic)})", cancelled)
        self._queue: AsyncMessageQueue[Event] = AsyncMessageQueue(size)

    def put(self, item: Event | Delivery) -> bool:
        """Queue the event for the reader."""
        if self._queue.offer(cast("Event", item)):
            return True
        self.refused += 1
        return False

    def end(self, *, drain: bool, timeout: float | None = None) -> Cell | None:
        """There will be no more; what is there can still be read."""
        self._queue.close()
        return None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> E_co:
        try:
            return cast("E_co", await self._queue.get())
        except QueueClosed:
            raise StopAsyncIteration from None
