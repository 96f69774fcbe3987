"""``EventBus``: the synchronous interface of the old event bus."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Coroutine
from inspect import isawaitable, iscoroutine
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

import structlog
from typing_extensions import deprecated

from understudy.actors._event import Event
from understudy.actors._event_bus import AsyncEventBus, check_session_id
from understudy.actors._subscriptions import is_async, key_of
from understudy.compat._errors import EventBusClosed
from understudy.compat._routes import AsyncListener, Home, Listener, Listeners, Route
from understudy.environment import running_loop
from understudy.exceptions import InvalidSubscription

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator

__all__ = ["Closing", "EventBus"]

E = TypeVar("E")


class Closing(Coroutine[Any, Any, None]):
    """What ``close`` returns: await it where an event loop runs, or leave it. Whatever takes a coroutine takes it."""

    __slots__ = ("_body", "_route")

    def __init__(self, route: Route | None) -> None:
        self._route = route
        # Made when it is wanted: a coroutine that is left has something to say about that.
        self._body: Coroutine[Any, Any, None] | None = None

    async def _wait(self) -> None:
        route = self._route
        if route is not None and route.loop is running_loop():
            await route.released()

    def _begun(self) -> Coroutine[Any, Any, None]:
        if self._body is None:
            self._body = self._wait()
        return self._body

    def __await__(self) -> Generator[Any, Any, None]:
        return self._begun().__await__()

    def send(self, value: Any, /) -> Any:
        """As for any coroutine."""
        return self._begun().send(value)

    def throw(self, *error: Any) -> Any:
        """As for any coroutine."""
        return self._begun().throw(*error)

    def close(self) -> None:
        """As for any coroutine."""
        if self._body is not None:
            self._body.close()


@deprecated(
    "EventBus is the interface of the old design: use `system.events`, or `async with understudy.AsyncEventBus(...)`"
)
class EventBus:
    """The old event bus: ``publish`` is synchronous and takes objects of any class.

    Deprecated: use ``system.events``, or an :class:`understudy.AsyncEventBus`.

    It may be used before an event loop runs, inside of it, and after; who is subscribed stays so. The queues are those
    of an ``AsyncEventBus``, so each callback has the events in the order of their publication, one at a time, and one
    that raises, hangs or is slow hurts only itself.

    - While an event loop runs, ``publish`` puts the event into the queue of each callback and returns; the callbacks,
      plain or ``async``, run soon after. The ``AsyncEventBus`` behind it is started by the first ``publish`` and ends
      with ``close``, or with the event loop; what was published before that is still delivered.
    - Where no event loop runs, ``publish`` calls the callbacks in the order of their subscription and returns when all
      have returned; what has to be awaited is run to its end, in an event loop of its own. An event that a callback
      publishes is delivered after the one in hand.
    - In a thread without an event loop, while that of the bus runs in another, it hands the event over to that one.

    A callback that raises is logged. ``KeyboardInterrupt`` and ``SystemExit`` of a callback leave ``publish`` where no
    event loop runs; what is still to be delivered is so with the next ``publish``.

    What differs from the old one: a subscription to a class is one to its subclasses too; a callback that is subscribed
    twice is called once; the published object is never written to; closing works, and afterwards ``publish`` raises.

    Args:
        session_id: Which events that are subclasses of ``Event`` carry.
        bus: An ``AsyncEventBus`` to be used while its event loop runs, instead of one of its own, as ``system.events``:
            those who are subscribed there get what is published here, and the reverse; so on the bus of a system
            ``"*"`` is also each event of the runtime itself, such as ``ActorStartedEvent``. Events that are no
            subclasses of ``Event`` are carried by :class:`OldEvent` there. It is not closed by this one.

    Raises:
        InvalidSubscription: The session id cannot be used.
    """

    def __init__(self, session_id: str, *, bus: AsyncEventBus | None = None) -> None:
        self.session_id = check_session_id(session_id)
        self._bus = bus
        self._closing = False
        self._listeners: Listeners = {}
        self._route: Route | None = None
        # What is to be delivered where no event loop runs, and the right to do so, which one has at a time: whoever
        # takes it out. Taking is one step, also for threads.
        self._queue: deque[tuple[Listener, object]] = deque()
        self._turn: list[None] = [None]
        # The event loop that runs here for nothing but an awaitable of a callback, and the one that was ending when it
        # was last seen: nothing that begins in these would have the time to do its work.
        self._lent: asyncio.AbstractEventLoop | None = None
        self._ending: asyncio.AbstractEventLoop | None = None

    def __repr__(self) -> str:
        state = "closed" if self._closing else f"{len(self._listeners)} subscribers"
        return f"<EventBus {self.session_id!r}, {state}>"

    @property
    def is_closing(self) -> bool:
        """Whether :meth:`close` has been called."""
        return self._closing

    # Subscribing

    @overload
    def subscribe(self, event_type: type[E], callback: Callable[[E], object]) -> None: ...
    @overload
    def subscribe(self, event_type: Literal["*"], callback: Callable[[Any], object]) -> None: ...
    def subscribe(self, event_type: type[Any] | Literal["*"], callback: Callable[[Any], object]) -> None:
        """Call *callback* with each event of that class, or of a subclass, from the next one on; ``"*"``: with each.

        The callback is held until it is unsubscribed.

        Raises:
            EventBusClosed: The bus is closed.
            InvalidSubscription: No class and not ``"*"``, or no callback.
        """
        if self._closing:
            raise EventBusClosed(session_id=self.session_id)
        if not (isinstance(event_type, type) or event_type == "*"):
            raise InvalidSubscription(field="event_type", problem=f"must be a class or '*', got {event_type!r}")
        if not callable(callback):
            raise InvalidSubscription(field="callback", problem=f"must be a function, got {callback!r}")
        key = event_type, key_of(callback)
        if key not in self._listeners:
            kind = AsyncListener if is_async(callback) else Listener
            self._set({**self._listeners, key: kind(event_type, callback)})

    def unsubscribe(self, event_type: type[Any] | Literal["*"], callback: Callable[[Any], object]) -> None:
        """Call *callback* for that class, or for ``"*"``, no more, from the next event on; no error if it never was."""
        gone = event_type, key_of(callback)
        if gone in self._listeners:
            self._set({key: listener for key, listener in self._listeners.items() if key != gone})

    def clear_subscribers(self, event_type: type[Any] | Literal["*"] | None = None) -> None:
        """Unsubscribe all, or those to exactly that class or ``"*"``, from the next event on."""
        kept = self._listeners.items() if event_type is not None else ()
        self._set({key: listener for key, listener in kept if listener.event_type != event_type})

    def _set(self, listeners: Listeners) -> None:
        # On a bus that others publish on too, who subscribes must not have to wait for a `publish` here.
        route = self._route if self._bus is None else self._route_now()
        if route is not None:
            self._in_loop_of(route, route.align, listeners)
        self._listeners = listeners

    # Publishing

    def publish(self, event: object) -> None:
        """Let all who are subscribed to its class have *event*; the class says when they are called.

        No error of a callback leaves this call.

        Raises:
            EventBusClosed: The bus is closed; carries the event.
            ActorStopped: The ``AsyncEventBus`` that this one was given is closed, and its event loop runs.
        """
        if self._closing:
            raise EventBusClosed(session_id=self.session_id, event=event)
        listeners, route = self._listeners, self._route_now()
        if route is None or not self._in_loop_of(route, route.publish, event, listeners):
            self._publish_here(event, listeners)

    def _route_now(self) -> Route | None:
        """The way to the event loop that is to deliver: that of this thread, or one that runs elsewhere."""
        loop, route = running_loop(), self._route
        if route is not None and (route.loop is loop or route.loop.is_running()):
            return route
        if loop is None or loop in (self._lent, self._ending):
            return None
        if route is not None:  # of an event loop that stands still, or is closed
            self._in_loop_of(route, route.release)
        if self._bus is None:
            self._route = Home(self.session_id, loop, self._listeners, self._home_ended)
        else:
            self._route = Route(self._bus, loop, self._listeners)
        return self._route

    def _in_loop_of(self, route: Route, call: Callable[..., None], *args: object) -> bool:
        """Make *call* in the event loop of *route*; False: that is closed."""
        if route.loop is running_loop():
            call(*args)
            return True
        try:
            route.loop.call_soon_threadsafe(call, *args)
        except RuntimeError:
            return False
        return True

    def _home_ended(self, home: Home) -> None:
        """Its event loop is ending, or it is closed: what it could not deliver any more is delivered without it."""
        if self._route is home:
            self._route = None
            self._ending = home.loop
        for event, listeners in home.waiting:
            self._publish_here(event, listeners)

    def _publish_here(self, event: object, listeners: Listeners) -> None:
        if isinstance(event, Event):
            event = event.model_copy(update={"session_id": self.session_id})
        self._queue.extend((listener, event) for listener in listeners.values() if listener.wants(event))
        # Asked again after each turn: a thread that found it taken may have left something meanwhile.
        while self._queue and self._turn:
            self._take_turn()

    def _take_turn(self) -> None:
        try:
            self._turn.pop()
        except IndexError:
            return  # another thread was quicker
        try:
            while self._queue:
                self._call(*self._queue.popleft())
        finally:
            self._turn.append(None)

    def _call(self, listener: Listener, event: object) -> None:
        try:
            result = listener.callback(event)
            if isawaitable(result):
                self._finish(result)
        except (Exception, asyncio.CancelledError) as error:
            structlog.get_logger().error(
                "callback failed",
                bus=self.session_id,
                callback=listener.__name__,
                publishing=type(event).__name__,
                error=f"{type(error).__name__}: {error}",
                exc_info=error,
            )

    def _finish(self, result: Awaitable[object]) -> None:
        if running_loop() is None:
            asyncio.run(self._await(result))
            return
        if iscoroutine(result):
            result.close()
        raise RuntimeError("the event loop has ended before the callback could be awaited")

    async def _await(self, result: Awaitable[object]) -> None:
        self._lent = running_loop()
        try:
            await result
        finally:
            self._lent = None

    # Closing

    def close(self) -> Closing:
        """Take no more events, and forget the callbacks when they have had those that were published before.

        Synchronous; where an event loop runs, ``await bus.close()`` waits for the callbacks, which have 5 s to end. In
        a callback, and in the handlers of actors, it does not wait. Closing twice does no harm.
        """
        route = self._route
        if not self._closing:
            self._closing = True
            self._listeners = {}
            if route is not None:
                self._in_loop_of(route, route.release)
        return Closing(route)
