"""The way from the old event bus to an ``AsyncEventBus``, while an event loop runs."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping
from contextvars import Context
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from understudy.actors._event import Event
from understudy.actors._event_bus import AsyncEventBus
from understudy.actors._subscriptions import label_of
from understudy.actors._waiting import Waiting
from understudy.environment import Environment

if TYPE_CHECKING:
    from collections.abc import Hashable

    from understudy.actors._subscriptions import Subscription, Topic

__all__ = ["AsyncListener", "Home", "Listener", "Listeners", "OldEvent", "Route"]


class OldEvent(Event):
    """Carries an event of any class over a bus that takes subclasses of ``Event`` only."""

    value: Any
    """The object that was published; the very same one."""


class Listener:
    """A callback of the old bus and what it wants; called by the new bus, it takes the old event out of the new."""

    def __init__(self, event_type: type[Any] | Literal["*"], callback: Callable[[Any], Any]) -> None:
        self.event_type = event_type
        self.callback = callback
        # What the actor around it is called.
        self.__name__ = label_of(callback)

    @property
    def topic(self) -> Topic:
        """What it wants, for an ``AsyncEventBus``."""
        if isinstance(self.event_type, str):
            return "*"
        return self.event_type if issubclass(self.event_type, Event) else self.wants

    def wants(self, event: object) -> bool:
        """Whether *event*, carried or not, is for it."""
        return isinstance(self.event_type, str) or isinstance(_carried(event), self.event_type)

    def __call__(self, event: Event) -> Any:
        return self.callback(_carried(event))


class AsyncListener(Listener):
    """The same for a callback that is ``async``."""

    async def __call__(self, event: Event) -> None:
        await self.callback(_carried(event))


Listeners: TypeAlias = Mapping["Hashable", Listener]
"""All that are subscribed, in their order. Replaced as a whole at each change, so whoever has one keeps what was."""


class Route:
    """From an old bus to an ``AsyncEventBus`` that somebody else has entered, and will close."""

    def __init__(self, bus: AsyncEventBus, loop: asyncio.AbstractEventLoop, listeners: Listeners) -> None:
        self.loop = loop
        self._bus: AsyncEventBus | None = bus
        self._subscribed: dict[Listener, Subscription] = {}
        self.align(listeners)

    def publish(self, event: object, listeners: Listeners) -> None:
        """Let *listeners*, those that are subscribed now, have *event*."""
        assert self._bus is not None
        self._bus.publish_nowait(event if isinstance(event, Event) else OldEvent(value=event))

    def align(self, listeners: Listeners) -> None:
        """From the next event on, these are subscribed and no others. The event loop has to be running here."""
        bus = self._bus
        if bus is None or bus.is_closing:
            return
        wanted = dict.fromkeys(listeners.values())
        for listener in [each for each in self._subscribed if each not in wanted]:
            self._subscribed.pop(listener).cancel()
        for listener in wanted:
            if listener not in self._subscribed:
                # Whoever publishes on the old bus cannot wait for room, and never had to.
                self._subscribed[listener] = bus.subscribe(listener.topic, listener, mailbox=math.inf)

    def release(self) -> None:
        """The old bus is closed: what was published before is still delivered."""
        self.align({})

    async def released(self) -> None:
        """Wait for that, as far as it is this bus's business."""


class Home(Route):
    """The same with an ``AsyncEventBus`` of its own, in a task that runs until the old bus is closed, or the loop ends.

    What is published before that bus is up waits for it, with those who were subscribed at the time.
    """

    def __init__(
        self, session_id: str, loop: asyncio.AbstractEventLoop, listeners: Listeners, ended: Callable[[Home], None]
    ) -> None:
        self.loop = loop
        self.waiting: list[tuple[object, Listeners]] = []
        """What was published and is not in the queues of its subscribers."""
        self._session_id = session_id
        self._bus = None
        self._subscribed = {}
        self._listeners = listeners
        self._released: asyncio.Future[None] = loop.create_future()
        # Kept for its registry, which keeps the task.
        self._environment = Environment(loop)
        # In a context of its own: the deadline of an ask that somebody is handling here is none of its business.
        self._task = self._environment.start_task(
            self._run(), name=f"event bus:{session_id}", context=Context(), on_done=lambda _: ended(self)
        )

    async def _run(self) -> None:
        async with AsyncEventBus(self._session_id, keep=0) as bus:
            self._bus = bus
            waiting, self.waiting = self.waiting, []
            for event, listeners in waiting:
                super().align(listeners)
                super().publish(event, listeners)
            self.align(self._listeners)
            try:
                await self._released
            except asyncio.CancelledError:
                # The event loop is ending. Callbacks have always been called for what was published before that.
                await bus.close()
                raise

    def publish(self, event: object, listeners: Listeners) -> None:
        """Let *listeners*, those that are subscribed now, have *event*."""
        if self._bus is None or self._bus.is_closing:
            self.waiting.append((event, listeners))
        else:
            super().publish(event, listeners)

    def align(self, listeners: Listeners) -> None:
        """From the next event on, these are subscribed and no others. The event loop has to be running here."""
        self._listeners = listeners
        super().align(listeners)

    def release(self) -> None:
        """The old bus is closed: what was published before is still delivered, and then the task ends."""
        if not self._released.done():
            self._released.set_result(None)

    async def released(self) -> None:
        """Wait for that; in the code of an actor, which a callback is too, it would perhaps be waiting for itself."""
        if Waiting.now().cell is None:
            await asyncio.wait({self._task})


def _carried(event: object) -> Any:
    return event.value if isinstance(event, OldEvent) else event
