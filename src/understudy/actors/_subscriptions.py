"""Who gets which events: subscriptions, and the table that is looked up at each publication."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from inspect import isasyncgenfunction, iscoroutinefunction, isgeneratorfunction
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias, cast

from understudy._plans._spec import snake_case
from understudy.actors._asks import message_of
from understudy.actors._event import Event
from understudy.actors._ref import ActorRef
from understudy.exceptions import InvalidSubscription
from understudy.instrument import Instrument
from understudy.reasons import Crashed, Shutdown, frames_of, without_traceback

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator, Sequence

    from understudy.actors._cell import Cell
    from understudy.actors._fan_out import FanOut
    from understudy.actors._publication import Delivery
    from understudy.mailbox._queue import AsyncMessageQueue
    from understudy.reasons import ExitReason

__all__ = [
    "ActorSubscription",
    "Audience",
    "OnError",
    "Outcome",
    "Status",
    "Subscription",
    "Table",
    "Topic",
    "check_callback",
    "check_kind",
    "check_loop",
    "check_on_error",
    "check_topic",
    "check_whole",
    "close_down",
    "is_async",
    "key_of",
    "label_of",
    "may_be",
    "name_of",
    "put_all",
]

Topic: TypeAlias = "type[Event] | Literal['*'] | Callable[[Any], object]"
"""A class of events, with its subclasses; all events; or those for which a function says yes."""

OnError: TypeAlias = "Literal['keep'] | int | ActorRef[Any]"
"""What becomes of a callback that raises: it is kept, removed after so many times, or its failure is an actor's."""


Status: TypeAlias = Literal["handled", "failed", "refused", "queued", "pending"]
"""
- ``handled``: it has been handled.
- ``failed``: the callback or the actor has raised; ``error`` says what. Or it has ended first: an ``ActorStopped``.
- ``refused``: there was no room for it, or it was thrown away to make room for others; it is a dead letter.
- ``queued``: it is in the queue and nobody waits for it to be handled: a reader of ``stream`` or ``wait_for`` takes it
  when it likes, and a subscriber that itself waits for this publication would have been waited for in vain.
- ``pending``: the time was up; it will still be handled.
"""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What has become of one event at one subscriber."""

    subscription: Subscription
    status: Status
    error: BaseException | None = None
    """What was raised, or why it was refused, where that is known."""


class Subscription:
    """One subscriber, until it is cancelled: what ``subscribe`` returns. A context manager: leaving cancels."""

    __slots__ = (
        "__weakref__",
        "_cancelled",
        "active",
        "bus",
        "cell",
        "direct",
        "failures",
        "handled",
        "key",
        "line",
        "name",
        "predicate",
        "refused",
        "topic",
    )

    def __init__(
        self, topic: Topic, key: Hashable, name: str, bus: Cell, cancelled: Callable[[Subscription], None]
    ) -> None:
        self.topic = topic
        # Where the topic is one.
        self.predicate: Callable[[Event], object] | None = None if isinstance(topic, str | type) else topic
        # The actor that handles the events, where it is one.
        self.cell: Cell | None = None
        # Where it waits for its turn if it is a callback; None: by itself, in the run queue.
        self.line: FanOut | None = None
        # Where an event may be put by whoever publishes it, past `wants` and `put`: the queue of a callback that waits
        # in a line and wants all events of its topic, once there is one. A gate that closes closes the queue too.
        self.direct: AsyncMessageQueue[Any] | None = None
        # The usual outcome, which is always the same.
        self.handled = Outcome(self, "handled")
        # What makes two subscriptions the same.
        self.key = key
        self.name = name
        """For reports: the path of the actor that gets the events."""
        self.active = True
        """Whether events that are published from now on go to it."""
        self.refused = 0
        """How many events it has not got, for want of room in its queue.

        What an actor's own mailbox has thrown away to make room for others is not among them.
        """
        self.failures = 0
        """How often its callback, or its predicate, has raised."""
        self.bus = bus
        self._cancelled = cancelled

    def put(self, item: Event | Delivery, *, quietly: bool = False) -> bool:
        """Queue an event; False: there was no room, or nobody is there any more.

        *Quietly*: an event that is refused leaves no trace but in ``refused``.
        """
        raise NotImplementedError

    def end(self, *, drain: bool, timeout: float | None = None) -> None:
        """Where the subscriber is the bus's own, end it: at once, or when it has handled what waits."""

    def cancel(self) -> None:
        """No event that is published from now on is for this one; those that wait are still handled. Idempotent.

        Raises:
            InvalidContext: Called outside of the event loop of the bus.
        """
        if self.active:
            check_loop(self.bus, self._label)
            self.active = False
            self._cancelled(self)

    @property
    def _label(self) -> str:
        """What it is called in errors."""
        return self.name

    def wants(self, event: Event) -> bool:
        """Whether *event*, whose class is of the topic, is one of those."""
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.cancel()

    def __repr__(self) -> str:
        return f"<Subscription of {self.name} to {name_of(self.topic)}{'' if self.active else ', cancelled'}>"


class ActorSubscription(Subscription):
    """That of an actor: one that was there, or one that the bus has made around a callback."""

    __slots__ = ("_throws_away", "callback", "on_error", "target", "task_name")

    target: Cell
    """The actor that handles the events; not None as ``cell`` may be for others."""
    callback: Any
    """What the actor is around, where the bus has made it."""

    def __init__(
        self,
        topic: Topic,
        key: Hashable,
        name: str,
        bus: Cell,
        cancelled: Callable[[Subscription], None],
        *,
        callback: Callable[[Any], Any] | None = None,
        on_error: OnError = "keep",
    ) -> None:
        super().__init__(topic, key, name, bus, cancelled)
        self.callback = callback
        self.on_error = on_error
        # Of a task in which the callback runs.
        self.task_name = f"actor:{name}" if callback is not None else ""

    def begin(self, cell: Cell, line: FanOut | None = None) -> None:
        """*cell* is the actor; when it ends for good, so does this. Those in *line* have their turns together."""
        self.cell = self.target = cell
        self.line = line if cell.option("mailbox").batch is None else None
        # To make room in its own queue, where what goes is an event of this subscription.
        self._throws_away = self.callback is not None and cell.policy == "drop_old"
        cell.observe(self._gone)

    def leave_line(self) -> None:
        """From now on it waits for its turns by itself."""
        self.line = self.direct = None

    def put(self, item: Event | Delivery, *, quietly: bool = False) -> bool:
        """Queue an event; one that is refused becomes a dead letter."""
        cell = self.target
        mailbox = cell.mailbox
        # The usual case of `accept`, without the calls.
        if mailbox is not None and cell.gate is None and len(mailbox.items) < mailbox.append_below:
            mailbox.items.append(item)
            mailbox.total_in += 1
        elif not self._offer(item):
            if not quietly:
                event: Event = message_of(item)
                cell.refuse(event, event.source, told=True)
            return False
        if cell.ready:
            cell.ready = False
            cell.queued = True
            line = self.line
            if line is None:
                cell.runtime.dispatcher.push(cell)
            else:
                line.open()(self)
        return True

    def _offer(self, item: Event | Delivery) -> bool:
        cell = self.target
        thrown_away = self._thrown_away() if self._throws_away else 0
        accepted = cell.gate is None and cell.make_mailbox().offer(item)
        if self.predicate is None and self.line is not None:
            self.direct = cell.mailbox
        if not accepted:
            self.refused += 1
        elif self._throws_away:
            self.refused += self._thrown_away() - thrown_away
        return accepted

    def _thrown_away(self) -> int:
        """How many events its queue has thrown away so far, to make room for others."""
        return self.target.make_mailbox().statistics().dropped_by.get("drop_old", 0)

    @property
    def _label(self) -> str:
        return f"the subscription of {self.name}"

    def wants(self, event: Event) -> bool:
        """Whether *event*, of a class of the topic, is one of those; not if its predicate fails, which is logged."""
        try:
            return self.predicate is None or bool(self.predicate(event))
        except BaseException as error:
            self._predicate_failed(error, event)
            return False

    def _predicate_failed(self, error: BaseException, event: Event) -> None:
        runtime = self.target.runtime
        if isinstance(error, KeyboardInterrupt):
            runtime.interrupt()
        reason = Crashed(error, frames_of(error.__traceback__))
        self.failed(error)
        without_traceback(error)
        runtime.instruments.emit(Instrument.actor_resumed, self.target.path, reason, type(event).__name__)

    def failed(self, error: BaseException) -> None:
        """Its callback or its predicate has raised *error*: see to it as ``on_error`` says."""
        self.failures += 1
        if isinstance(self.on_error, int):
            if self.failures >= self.on_error:
                self.cancel()
                close_down(self.target, drain=False)
        elif isinstance(self.on_error, ActorRef):
            self.on_error._cell.task_failed(error, self.name)  # pyright: ignore[reportPrivateUsage]

    def _gone(self, reason: ExitReason) -> None:
        self.cancel()

    def end(self, *, drain: bool, timeout: float | None = None) -> None:
        """Where the subscriber is the bus's own, end it: at once, or when it has handled what waits."""
        if self.callback is None:
            self.target.unobserve(self._gone)
        else:
            close_down(self.target, drain=drain, timeout=timeout)


def put_all(event: Event, subscriptions: Sequence[Subscription]) -> None:
    """Queue *event* for each of *subscriptions* that wants it."""
    line: Any = None
    join: Any = None
    for subscription in subscriptions:
        mailbox = subscription.direct
        if mailbox is None or len(mailbox.items) >= mailbox.append_below:
            if subscription.wants(event):
                subscription.put(event)
            line = None  # a predicate may have let those in it have their turn
            continue
        # What `put` does, without the call.
        mailbox.items.append(event)
        mailbox.total_in += 1
        cell: Any = subscription.cell
        if cell.ready:
            cell.ready = False
            cell.queued = True
            if line is not subscription.line:
                line = subscription.line
                join = line.open()
            join(subscription)


def check_loop(cell: Cell, what: str) -> None:
    """Refuse that *what*, which is a matter of *cell*, is used outside of its event loop.

    Raises:
        InvalidContext: It is.
    """
    if not cell.runtime.env.is_here():
        raise cell.runtime.misplaced(what)


def close_down(cell: Cell, *, drain: bool, timeout: float | None = None) -> None:
    """End the actor around a callback: at once, or when it has handled what waits. As often as you like."""
    if drain:
        cell.request_drain(timeout)
    else:
        cell.request_stop(Shutdown("its subscription has ended"))


class Audience:
    """Those whose topic events of one class may belong to, in their order."""

    __slots__ = ("handled", "subscriptions")

    def __init__(self, subscriptions: tuple[Subscription, ...]) -> None:
        self.subscriptions = subscriptions
        # What becomes of most events: each of them has handled it.
        self.handled = tuple(each.handled for each in subscriptions)


class Table:
    """All subscriptions in their order. What a publication has looked up does not change under its hands."""

    __slots__ = ("_by_key", "_of")

    def __init__(self) -> None:
        self._by_key: dict[Hashable, Subscription] = {}
        # For each class of events that has been published since the last change, those that may want them.
        self._of: dict[type[Event], Audience] = {}

    def __iter__(self) -> Iterator[Subscription]:
        return iter(tuple(self._by_key.values()))

    def __len__(self) -> int:
        return len(self._by_key)

    def get(self, key: Hashable) -> Subscription | None:
        """The subscription with that key."""
        return self._by_key.get(key)

    def add(self, subscription: Subscription) -> None:
        """One more, from the next publication on."""
        self._by_key[subscription.key] = subscription
        self._of = {}

    def remove(self, subscription: Subscription) -> bool:
        """One less, from the next publication on; False: it was not there."""
        if self._by_key.get(subscription.key) is not subscription:
            return False
        del self._by_key[subscription.key]
        self._of = {}
        return True

    def of(self, kind: type[Event]) -> Audience:
        """Those whose topic events of the class *kind* may belong to."""
        found = self._of.get(kind)
        if found is None:
            members = tuple(each for each in self._by_key.values() if may_be(each.topic, kind))
            found = self._of[kind] = Audience(members)
        return found


def may_be(topic: Topic, kind: type[Event]) -> bool:
    """Whether an event of the class *kind* may belong to *topic*; of a predicate that is only known for each event."""
    return issubclass(kind, topic) if isinstance(topic, type) else True


def name_of(topic: object) -> str:
    """For people."""
    if isinstance(topic, str):
        return repr(topic)
    return str(getattr(topic, "__qualname__", None) or repr(topic))


def check_topic(topic: object) -> Topic:
    """*topic*, if it is one.

    Raises:
        InvalidSubscription: It is no class of events, not ``"*"`` and no function.
    """
    if isinstance(topic, type):
        if issubclass(topic, Event):
            return topic
        raise InvalidSubscription(field="topic", problem=f"must be a subclass of Event, got {topic.__qualname__}")
    if topic == "*":
        return "*"
    if callable(topic):
        if is_async(topic):
            problem = "must be a plain function where it is one: it runs while the event is being published"
            raise InvalidSubscription(field="topic", problem=problem)
        return topic
    raise InvalidSubscription(field="topic", problem=f"must be a class of events, '*' or a function, got {topic!r}")


def check_kind(topic: object) -> type[Event]:
    """*topic*, if it is a class of events.

    Raises:
        InvalidSubscription: It is not.
    """
    checked = check_topic(topic)
    if isinstance(checked, type):
        return checked
    raise InvalidSubscription(field="topic", problem=f"must be a class of events, Event for all, got {topic!r}")


def check_callback(callback: object) -> Callable[[Any], Any]:
    """*callback*, if calling it does something.

    Raises:
        InvalidSubscription: It cannot be called, or is a generator function, whose body would never run.
    """
    if not callable(callback):
        raise InvalidSubscription(field="subscriber", problem=f"must be a function or a ref, got {callback!r}")
    inner = _inner(callback)
    if any(isgeneratorfunction(each) or isasyncgenfunction(each) for each in (inner, _call_of(inner))):
        problem = f"must not `yield`: nobody would iterate over what {name_of(inner)} returns"
        raise InvalidSubscription(field="subscriber", problem=problem)
    return callback


def check_on_error(value: object) -> OnError:
    """*value*, if it says what becomes of a callback that raises.

    Raises:
        InvalidSubscription: It does not.
    """
    if isinstance(value, ActorRef):
        cell: Cell = cast("Any", value)._cell
        cell.check_loop()
        return cast("OnError", value)
    if value == "keep":
        return "keep"
    allowed = "'keep', a number of failures from 1 on, or the ref of the actor that shall fail"
    return check_whole("on_error", value, allowed, least=1)


def check_whole(field: str, value: object, allowed: str, *, least: int = 0, most: float = math.inf) -> int:
    """*value*, if it is a whole number from *least* to *most*; *allowed* says so in words.

    Raises:
        InvalidSubscription: It is not.
    """
    if isinstance(value, int) and not isinstance(value, bool) and least <= value <= most:
        return value
    raise InvalidSubscription(field=field, problem=f"must be {allowed}, got {value!r}")


def key_of(callback: Any) -> Hashable:
    """What makes two callbacks the same: being equal, or being one object if that cannot be found out."""
    try:
        hash(callback)
    except TypeError:
        owner = getattr(callback, "__self__", None)  # a method of something that has no hash
        return id(callback) if owner is None else (id(owner), getattr(callback, "__func__", None))
    return cast("Hashable", callback)


def is_async(callback: Callable[..., object]) -> bool:
    """Whether *callback* is declared ``async``; what is not may return something to be awaited all the same."""
    inner = _inner(callback)
    return iscoroutinefunction(inner) or iscoroutinefunction(_call_of(inner))


def label_of(callback: Callable[..., object]) -> str:
    """What the actor around *callback* is called, unless that is taken."""
    inner = _inner(callback)
    label = snake_case(str(getattr(inner, "__name__", type(inner).__name__)).strip("<>"))
    return label if label.strip(".") else "callback"


def _call_of(callback: Any) -> Any:
    # Of its class, where Python looks too; a class has the method as well, but calling the class does not call that.
    return getattr(cast("type[object]", type(callback)), "__call__", None)  # noqa: B004


def _inner(callback: Any) -> Any:
    while isinstance(callback, partial):
        callback = callback.func
    return callback
