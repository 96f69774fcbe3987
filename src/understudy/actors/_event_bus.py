"""``AsyncEventBus``: who publishes does not know who listens.

An event goes from its publisher straight into the queue of each subscriber. The bus actor, at ``/system/events``, has
no part in that: it is the supervisor of the subscribers, and says how things stand.
"""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, TypeVar, cast, overload

from understudy._plans._spec import check_mailbox
from understudy._plans._strategies import Plan, free_name
from understudy.actors._actor import Supervises
from understudy.actors._child import child
from understudy.actors._event import Event, EventGap
from understudy.actors._event_log import EventLog
from understudy.actors._event_readers import EventStream, Once, Tap
from understudy.actors._fan_out import AsyncFanOut, PlainFanOut
from understudy.actors._handler import handler
from understudy.actors._publication import Publication, Published
from understudy.actors._ref import ActorRef
from understudy.actors._runtime_events import Announcer
from understudy.actors._subscriber import AsyncSubscriber, Subscriber
from understudy.actors._subscriptions import (
    ActorSubscription,
    OnError,
    Subscription,
    Table,
    Topic,
    check_callback,
    check_kind,
    check_loop,
    check_on_error,
    check_topic,
    check_whole,
    close_down,
    is_async,
    key_of,
    label_of,
    put_all,
)
from understudy.actors._waiting import Waiting, check_timeout, end_of
from understudy.exceptions import ActorStopped, AskCycle, InvalidContext, InvalidSpec, InvalidSubscription
from understudy.mailbox._rules import check_capacity
from understudy.messages import Message
from understudy.reasons import Shutdown

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable
    from types import TracebackType

    from understudy._plans._spec import ChildSpec, Options
    from understudy.actors._cell import Cell
    from understudy.actors._runtime_events import RuntimeEvent
    from understudy.mailbox._overflow import Mailbox
    from understudy.reasons import ExitReason

__all__ = ["AsyncEventBus", "BusStatistics", "CountEvents", "check_session_id"]

E = TypeVar("E", bound=Event)

DEFAULT_KEEP = 100


@dataclass(frozen=True, slots=True)
class BusStatistics:
    """How things stand at one moment."""

    subscribers: int
    published: int
    """Events since the start."""
    refused: int
    """Deliveries for which there was no room, of the subscribers there are."""
    failures: int
    """How often callbacks and predicates of the subscribers there are have raised."""


class CountEvents(Message[BusStatistics]):
    """Asked of the bus actor: how things stand."""


class Events(Supervises[CountEvents]):
    """The bus actor. Subscribers outlive its restarts, with what waits in their queues."""

    defaults: ClassVar[Options] = {"shutdown": "infinity"}

    def __init__(self, bus: AsyncEventBus) -> None:
        self._bus = bus

    def _understudy_plan(self, path: str, before: Plan | None = None) -> Plan:
        return Plan(children=self._bus._kept())  # pyright: ignore[reportPrivateUsage]

    @handler
    def count(self, message: CountEvents) -> BusStatistics:
        return self._bus.statistics()


class AsyncEventBus:
    """Publish and subscribe, inside one process and one event loop.

    That of a system is ``system.events``. One that stands alone is entered::

        async with AsyncEventBus("session-1") as bus:
            bus.subscribe(OrderPaid, ship)
            await bus.publish(OrderPaid(order=17, cents=4200))

    Each subscriber has a queue of its own, which is bounded, and gets the events in the order of their publication,
    one at a time. One that fails, hangs or is slow hurts only itself. Who subscribes or cancels during a publication
    does so from the next event on. Nothing is promised of the order between two subscribers.

    At most once: an event that finds no room in the queue of a subscriber is a dead letter, is counted in
    ``subscription.refused``, and goes to the others all the same. Nothing survives the process. A bus belongs to one
    event loop and can be used once; what is published before it is entered, or after it is closed, is refused.

    Args:
        session_id: A text that all events of this bus carry, and that is not empty.
        keep: How many events of each class are kept in memory for those who subscribe with ``after=``; 0: none.

    Raises:
        InvalidSubscription: One of the two cannot be used.
    """

    _understudy_home: ClassVar[Callable[[str], Any]]
    """Makes the system of a bus that stands alone; set by the layer above."""

    def __init__(self, session_id: str, *, keep: int = DEFAULT_KEEP) -> None:
        self.session_id = check_session_id(session_id)
        # For errors.
        self._label = f"event bus {session_id!r}"
        self._table = Table()
        self._log = EventLog(check_whole("keep", keep, "a number of events from 0 on"))
        self._sequence = 0
        # What makes the ids of this bus's events differ from all others.
        self._token = ""
        self._numbers: dict[str, int] = {}
        self._cell: Cell | None = None
        # The system of one that stands alone; else what publishes the events of the system that has it.
        self._home: Any = None
        self._announcer: Announcer | None = None
        self._closed = False

    def __repr__(self) -> str:
        state = "closed" if self._closed else "not entered" if self._cell is None else f"{len(self._table)} subscribers"
        return f"<AsyncEventBus {self.session_id!r}, {state}>"

    # Its life

    async def __aenter__(self) -> Self:
        if self._cell is not None or self._home is not None or self._closed:
            problem = "it runs already, or has run; make a new one"
            raise InvalidContext(what=self._label, problem=problem)
        self._home = AsyncEventBus._understudy_home("events")
        system = await self._home.__aenter__()
        system._understudy_adopt(self)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self.close(drain=error is None)
        finally:
            if self._home is not None:
                await self._home.__aexit__(kind, error, trace)

    def _begin(self, guardian: Cell) -> None:
        """Start the bus actor below *guardian*; for the system, whose events it publishes unless it is its own."""
        runtime = guardian.runtime
        self._token = f"{runtime.env.random.getrandbits(64):016x}"
        self._plain_line, self._async_line = PlainFanOut(runtime), AsyncFanOut(runtime)
        self._cell = cell = guardian.spawn(child(Events, self).options(name="events"), declared=True).cell
        cell.observe(self._ended)
        if self._home is None:
            self._announcer = Announcer(runtime.instruments, self._announce, cell.path)
        runtime.dispatcher.run_ahead()

    def _ended(self, reason: ExitReason) -> None:
        self._closed = True
        for subscription in self._table:
            self._end(subscription, drain=False, timeout=None)

    def _kept(self) -> tuple[ChildSpec[Any], ...]:
        """The subscribers of the incarnation before, for the next one."""
        family = None if self._cell is None else self._cell.family
        own = [] if family is None else [each.cell for each in family.children.values()]
        return tuple(cell.spec for cell in own if cell.down and not cell.dead and not cell.for_good)

    async def close(self, *, drain: bool = True, timeout: float | None = 5.0) -> None:
        """Refuse further events, and end all subscriptions; returns when the subscribers have ended.

        A callback that calls this is not waited for, nor is one that waits for it.

        Args:
            drain: Let the subscribers handle what waits in their queues; else it becomes dead letters.
            timeout: Seconds for that, after which what is left is dead letters. None: no limit. A callback that is
                under way then, or without *drain* at once, has the grace ``Settings.shutdown``, and is cancelled after
                that.

        Raises:
            InvalidTimeout: Not a positive number of seconds.
            InvalidContext: Called outside of the event loop of the bus.
        """
        timeout = check_timeout(timeout)
        cell = self._cell
        if cell is not None:
            check_loop(cell, self._label)
        self._closed = True
        if cell is None:
            return
        for subscription in self._table:
            self._end(subscription, drain=drain, timeout=timeout)
        # Also those whose subscriptions have been cancelled before, or by a close that is under way.
        ending = [] if cell.family is None else [each.cell for each in cell.family.children.values()]
        for each in ending:
            close_down(each, drain=drain, timeout=timeout)
        waiting = Waiting.now()
        cell.runtime.dispatcher.run_ahead()
        for each in ending:
            with suppress(AskCycle), waiting.on(each):
                await end_of(each)

    def _end(self, subscription: Subscription, *, drain: bool, timeout: float | None) -> None:
        subscription.active = False
        self._forget(subscription)
        subscription.end(drain=drain, timeout=timeout)

    def _forget(self, subscription: Subscription) -> None:
        if self._table.remove(subscription) and self._announcer is not None:
            self._announcer.unsubscribed(subscription)

    @property
    def is_closing(self) -> bool:
        """Whether :meth:`close` has been called, or the bus has ended otherwise: it takes no more events."""
        return self._closed

    @property
    def ref(self) -> ActorRef[CountEvents]:
        """The bus actor, to be watched, or asked :class:`CountEvents`; events do not pass through it."""
        return ActorRef(self._running())

    # Subscribing

    @overload
    def subscribe(
        self,
        topic: type[E],
        subscriber: Callable[[E], object] | ActorRef[E],
        *,
        mailbox: Mailbox | float | None = None,
        on_error: OnError = "keep",
        after: None = None,
    ) -> Subscription: ...
    @overload
    def subscribe(
        self,
        topic: type[E],
        subscriber: Callable[[E | EventGap], object] | Callable[[E], object] | ActorRef[E],
        *,
        mailbox: Mailbox | float | None = None,
        on_error: OnError = "keep",
        after: int,
    ) -> Subscription: ...
    @overload
    def subscribe(
        self,
        topic: Literal["*"] | Callable[[Any], object],
        subscriber: Callable[[Any], object] | ActorRef[Any],
        *,
        mailbox: Mailbox | float | None = None,
        on_error: OnError = "keep",
        after: int | None = None,
    ) -> Subscription: ...
    def subscribe(
        self,
        topic: Topic,
        subscriber: Callable[[Any], object] | ActorRef[Any],
        *,
        mailbox: Mailbox | float | None = None,
        on_error: OnError = "keep",
        after: int | None = None,
    ) -> Subscription:
        """Let *subscriber* have the events of *topic*, from the next one on. Never waits.

        The same callback or actor is subscribed to the same topic once: the second call gives the subscription that
        there is.

        Args:
            topic: A class of events, which stands for its subclasses too; ``"*"`` for all events; or a function that
                says whether it wants an event, which runs while the event is being published and has to be quick.
            subscriber: A function of the event, a coroutine function, anything that can be called and perhaps returns
                something to be awaited; or the ref of an actor, which is told the event.
            mailbox: The queue of a callback: a capacity, or a ``Mailbox``. An actor has its own.
            on_error: What becomes of a callback that raises. ``"keep"``: it is logged, and gets the next event. A
                number: that many failures end the subscription, and what waits in its queue becomes dead letters. A
                ref: the failure is that actor's too, as if a task of its own had raised it, and its supervisor decides.
            after: Begin with the events after that sequence number, as far as they are kept. If some that may belong to
                the topic are not, an :class:`EventGap` comes first.

        Raises:
            InvalidSubscription: The topic, the subscriber or an option cannot be used.
            ActorStopped: The bus is closed, or its actor is just between two lives; or the actor has ended.
            InvalidContext: Called outside of the event loop of the bus.
        """
        cell = self._running()
        check_loop(cell, self._label)
        topic, on_error, after = check_topic(topic), check_on_error(on_error), self._check_after(after)
        key: Hashable = (key_of(topic), key_of(subscriber))
        known = self._table.get(key)
        if known is not None:
            return known
        if isinstance(subscriber, ActorRef):
            ref = cast("ActorRef[Any]", subscriber)  # type: ignore[redundant-cast]  # pyright sees ActorRef[Unknown]
            subscription = self._subscribe_actor(cell, topic, key, ref, mailbox, on_error)
        else:
            callback = check_callback(subscriber)
            subscription = self._subscribe_callback(cell, topic, key, callback, mailbox, on_error)
        return self._add(subscription, after)

    def _subscribe_actor(
        self, bus: Cell, topic: Topic, key: Hashable, ref: ActorRef[Any], mailbox: object, on_error: OnError
    ) -> ActorSubscription:
        if mailbox is not None:
            raise InvalidSubscription(field="mailbox", problem=f"belongs to a callback; {ref.path} has one of its own")
        if on_error != "keep":
            problem = f"is about callbacks; what a failure of {ref.path} means is its supervisor's decision"
            raise InvalidSubscription(field="on_error", problem=problem)
        target = ref._cell  # pyright: ignore[reportPrivateUsage]
        target.check_loop()
        if target.gate is not None:
            raise target.stopped_error()
        subscription = ActorSubscription(topic, key, ref.path, bus, self._cancelled)
        subscription.begin(target)
        return subscription

    def _subscribe_callback(
        self,
        bus: Cell,
        topic: Topic,
        key: Hashable,
        callback: Callable[[Any], Any],
        mailbox: Mailbox | float | None,
        on_error: OnError,
    ) -> ActorSubscription:
        taken = bus.family.children if bus.family is not None else {}
        name = free_name(label_of(callback), taken, self._numbers)
        path = f"{bus.path}/{name}"
        subscription = ActorSubscription(topic, key, path, bus, self._cancelled, callback=callback, on_error=on_error)
        around, line = (AsyncSubscriber, self._async_line) if is_async(callback) else (Subscriber, self._plain_line)
        spec: ChildSpec[Any] = child(around, subscription)
        spec = spec.options(name=name, on_failure={BaseException: "resume"})
        if mailbox is not None:
            spec = spec.options(mailbox=_check_queue(mailbox))
        subscription.begin(bus.spawn(spec, declared=True).cell, line)
        return subscription

    def _add(self, subscription: Subscription, after: int | None) -> Subscription:
        self._table.add(subscription)
        if self._announcer is not None:
            self._announcer.subscribed(subscription)
        if after is not None:
            for event in self._log.since(after, subscription.topic, self._gap):
                if subscription.wants(event) or isinstance(event, EventGap):
                    subscription.put(event)
        return subscription

    def _cancelled(self, subscription: Subscription) -> None:
        self._forget(subscription)
        subscription.end(drain=True)

    def subscriber_count(self, topic: Topic | None = None) -> int:
        """How many subscriptions there are, or how many to exactly that *topic*."""
        return len(self._table) if topic is None else sum(each.topic == topic for each in self._table)

    def clear(self, topic: Topic | None = None) -> None:
        """Cancel all subscriptions, or those to exactly that *topic*.

        Raises:
            InvalidContext: Called outside of the event loop of the bus.
        """
        if self._cell is not None:
            check_loop(self._cell, self._label)
        for subscription in self._table:
            if topic is None or subscription.topic == topic:
                subscription.cancel()

    # Publishing

    def publish_nowait(self, event: E) -> E:
        """Put *event* into the queues of its subscribers, and return it as they see it; *event* is left as it is.

        Never waits, and calls no subscriber, but asks predicates and those who ``wait_for`` it. Where there is no room
        it is refused, which is no error here: see ``Subscription.refused``.

        Raises:
            InvalidSubscription: It is no :class:`Event`.
            ActorStopped: The bus is closed; carries the event.
            InvalidContext: Called outside of the event loop of the bus.
        """
        stamped = self._stamp(event, Waiting.now())
        put_all(stamped, self._table.of(type(stamped)).subscriptions)
        return stamped

    async def publish(self, event: E, *, timeout: float | None = None) -> Published[E]:
        """Put *event* into the queues of its subscribers, and wait until each has handled it or failed.

        What a subscriber raises is not raised here; it is in its outcome. It does not wait for room in a queue.

        A subscriber that is itself waiting for this publication, directly or not, is not waited for: its event is
        queued like all others, so that a publication inside a callback never waits for ever; nor does one in a task
        that the callback makes. (In a task that the handler of an *actor* makes for a message it was told, nobody can
        see whose it is: give it a *timeout*.) When the time is up, or the caller is cancelled, those that have not
        handled the event yet will still do so.

        Args:
            timeout: Seconds to wait at most; what is left of the ask in hand is another bound. None: no other.

        Returns:
            The event as subscribers see it, and what has become of it at each of those to whose topic it belongs.

        Raises:
            InvalidSubscription: It is no :class:`Event`.
            ActorStopped: The bus is closed; carries the event.
            InvalidTimeout: Not a positive number of seconds.
            InvalidContext: Called outside of the event loop of the bus.
        """
        if timeout is not None:
            timeout = check_timeout(timeout)
        waiting = Waiting.now()
        stamped = self._stamp(event, waiting)
        runtime = self._running().runtime
        deadline = math.inf if timeout is None else runtime.env.now() + timeout
        if waiting.ask is not None:
            deadline = min(deadline, waiting.ask.deadline)
        publication = Publication(runtime, stamped, waiting, self._table.of(type(stamped)))
        publication.deliver()
        runtime.dispatcher.run_ahead()
        if publication.pending:
            await publication.wait(deadline)
        return Published(stamped, publication.report())

    def _stamp(self, event: E, waiting: Waiting) -> E:
        if not isinstance(event, Event):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidSubscription(field="event", problem=f"must be an Event, got {type(event).__name__}")
        cell = self._cell
        if cell is None or self._closed:
            raise self._not_running(event)
        env = cell.runtime.env
        if not env.is_here():
            raise cell.runtime.misplaced(self._label)
        self._sequence = sequence = self._sequence + 1
        stamped = event._understudy_stamped(  # pyright: ignore[reportPrivateUsage]
            event.id or f"{self._token}-{sequence}",
            self.session_id,
            sequence,
            env.wall(),
            event.source or (None if waiting.cell is None else waiting.cell.path),
        )
        self._log.add(stamped)
        return stamped

    def _announce(self, event: RuntimeEvent) -> None:
        """Publish what the runtime says; that one finds no room for it is no dead letter."""
        if not self._closed:
            stamped = self._stamp(event, Waiting.now())
            for subscription in self._table.of(type(stamped)).subscriptions:
                if subscription.wants(stamped):
                    subscription.put(stamped, quietly=True)

    def _gap(self, first: int, last: int) -> EventGap:
        assert self._cell is not None
        return EventGap(
            session_id=self.session_id, time=self._cell.runtime.env.wall(), first_missed=first, last_missed=last
        )

    # Reading

    async def wait_for(
        self, topic: type[E], predicate: Callable[[E], object] | None = None, *, timeout: float | None = None
    ) -> E:
        """The next event of *topic* for which *predicate* says yes, published from now on.

        It listens from the first step of this coroutine on: an event that you bring about before that has gone by. What
        *predicate* raises is raised here.

        Raises:
            InvalidSubscription: *topic* is no class of events.
            TimeoutError: There was none in time.
            ActorStopped: The bus is, or was, closed.
            InvalidTimeout: Not a positive number of seconds.
        """
        timeout = check_timeout(timeout)
        cell = self._running()
        check_loop(cell, self._label)
        once = Once(check_kind(topic), predicate, cell, self._forget)
        self._add(once, None)
        return cast("E", await once.wait(timeout))

    @overload
    def stream(self, topic: type[E], *, mailbox: float = 1_000, after: None = None) -> EventStream[E]: ...
    @overload
    def stream(self, topic: type[E], *, mailbox: float = 1_000, after: int) -> EventStream[E | EventGap]: ...
    def stream(self, topic: type[E], *, mailbox: float = 1_000, after: int | None = None) -> EventStream[Any]:
        """The events of *topic* from now on, for ``async for``; it ends when the bus is closed.

        ::

            with bus.stream(OrderPaid) as paid:
                async for event in paid:
                    ...

        What is not taken in time waits, up to *mailbox* events; further ones are lost and counted in ``refused``. A
        stream that nothing refers to any more is cancelled, so ``with`` can be left out where the loop is its only use.

        Args:
            topic: A class of events; ``Event`` for all.
            mailbox: How many events may wait.
            after: As for :meth:`subscribe`: an :class:`EventGap` may come first.

        Raises:
            InvalidSubscription: The topic or an option cannot be used.
            ActorStopped: The bus is closed.
        """
        cell = self._running()
        check_loop(cell, self._label)
        kind, after = check_kind(topic), self._check_after(after)
        tap = Tap(kind, _check_capacity(mailbox), cell, self._cancelled)
        self._add(tap, after)
        return EventStream(tap)

    def statistics(self) -> BusStatistics:
        """How things stand."""
        table = list(self._table)
        return BusStatistics(
            subscribers=len(table),
            published=self._sequence,
            refused=sum(each.refused for each in table),
            failures=sum(each.failures for each in table),
        )

    def _check_after(self, after: object) -> int | None:
        if after is None:
            return None
        allowed = f"the number of an event that was published, from 0 to {self._sequence}"
        return check_whole("after", after, allowed, most=self._sequence)

    def _running(self) -> Cell:
        if self._cell is None or self._closed:
            raise self._not_running(None)
        return self._cell

    def _not_running(self, event: object) -> ActorStopped | InvalidContext:
        if self._cell is None and not self._closed:
            return InvalidContext(what=self._label, problem="it does not run yet: use it inside of `async with`")
        path = "/system/events" if self._cell is None else self._cell.path
        return ActorStopped(path=path, reason=Shutdown("the event bus is closed"), message=event)


def check_session_id(session_id: object) -> str:
    """*session_id*, if it can be one.

    Raises:
        InvalidSubscription: It cannot.
    """
    if isinstance(session_id, str) and session_id:
        return session_id
    raise InvalidSubscription(field="session_id", problem=f"must be a text that is not empty, got {session_id!r}")


def _check_queue(mailbox: object) -> Mailbox:
    try:
        return check_mailbox(mailbox, "a subscriber")
    except InvalidSpec as error:
        raise InvalidSubscription(field="mailbox", problem=error.problem) from None


def _check_capacity(mailbox: object) -> float:
    try:
        return check_capacity(mailbox)
    except ValueError:
        problem = f"must be a capacity (a whole number from 1 on, or math.inf), got {mailbox!r}"
        raise InvalidSubscription(field="mailbox", problem=problem) from None
