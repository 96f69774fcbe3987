"""What the runtime itself publishes, as long as somebody wants it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from understudy.actors._event import Event
from understudy.actors._subscriptions import Subscription, may_be
from understudy.instrument import Instrument

if TYPE_CHECKING:
    from collections.abc import Callable

    from understudy.instrument import Instruments
    from understudy.reasons import ExitReason as _Reason
else:
    _Reason = Any  # it is no business of pydantic's

__all__ = [
    "ActorCrashedEvent",
    "ActorGaveUpEvent",
    "ActorRestartingEvent",
    "ActorStartedEvent",
    "ActorStoppedEvent",
    "Announcer",
    "DeadLetterEvent",
    "MailboxFullEvent",
    "RuntimeEvent",
    "SlowHandlerEvent",
    "SystemPhaseEvent",
    "UnhandledEvent",
]


class RuntimeEvent(Event):
    """What the runtime publishes on the bus of its system: exactly once, when it happens.

    It costs nothing while nobody subscribes to it. What concerns the bus itself and its subscribers is not published,
    nor what becomes of such an event: it is no dead letter where it finds no room, and where it becomes one, or fills a
    mailbox, that is not published in its turn. All this could go on for ever.
    """


class ActorStartedEvent(RuntimeEvent):
    """An incarnation is up: ``initialize`` has ended, and so have the starts of all declared children."""

    path: str
    incarnation: int


class ActorStoppedEvent(RuntimeEvent):
    """The final end of an actor; its name is free."""

    path: str
    reason: _Reason


class ActorCrashedEvent(RuntimeEvent):
    """An incarnation has failed."""

    path: str
    reason: _Reason
    message_type: str | None
    """What was in hand; None outside of a handler."""


class ActorRestartingEvent(RuntimeEvent):
    """Its supervisor has decided to start an actor anew."""

    path: str
    reason: _Reason
    failures: int
    """How many there have been within the supervisor's window."""


class ActorGaveUpEvent(RuntimeEvent):
    """An actor has exceeded its restarts, or a supervisor those of its children."""

    path: str
    reason: _Reason


class MailboxFullEvent(RuntimeEvent):
    """A message has found no room."""

    path: str
    capacity: float
    """In messages, or in the weight of them where the mailbox weighs them."""


class SlowHandlerEvent(RuntimeEvent):
    """A handler has exceeded ``max_handling_seconds``, for which the actor is being killed."""

    path: str
    message_type: str
    seconds: float
    """The limit."""


class DeadLetterEvent(RuntimeEvent):
    """A message was not handled; of a late reply the reply."""

    message: Any
    recipient: str
    """Its path, or what says where it was to go."""
    sender: str | None
    """Its path, where that is known."""
    why: str


class UnhandledEvent(DeadLetterEvent):
    """It had reached the actor, which has no handler for it."""


class SystemPhaseEvent(RuntimeEvent):
    """The system has entered a phase of its life."""

    system: str
    phase: str


def _dead_letter(message: object, recipient: str, sender: str | None, why: str) -> DeadLetterEvent:
    kind = UnhandledEvent if why == "unhandled" else DeadLetterEvent
    return kind.model_construct(message=message, recipient=recipient, sender=sender, why=why)


_KINDS: dict[Callable[..., None], tuple[type[RuntimeEvent], Callable[..., RuntimeEvent]]] = {}


def _of(event: Callable[..., None], kind: type[RuntimeEvent], *fields: str) -> None:
    def make(*values: object) -> RuntimeEvent:
        given: dict[str, Any] = dict(zip(fields, values, strict=True))
        return kind.model_construct(**given)

    _KINDS[event] = kind, make


_of(Instrument.actor_started, ActorStartedEvent, "path", "incarnation")
_of(Instrument.actor_stopped, ActorStoppedEvent, "path", "reason")
_of(Instrument.actor_crashed, ActorCrashedEvent, "path", "reason", "message_type")
_of(Instrument.actor_restarting, ActorRestartingEvent, "path", "reason", "failures")
_of(Instrument.gave_up, ActorGaveUpEvent, "path", "reason")
_of(Instrument.mailbox_full, MailboxFullEvent, "path", "capacity")
_of(Instrument.handling_too_long, SlowHandlerEvent, "path", "message_type", "seconds")
_of(Instrument.system_phase, SystemPhaseEvent, "system", "phase")
_KINDS[Instrument.dead_letter] = DeadLetterEvent, _dead_letter


class Announcer:
    """Listens to the runtime for what is subscribed to, and to nothing else."""

    __slots__ = ("_bus", "_instruments", "_listening", "_own", "_publish", "_publishing", "_wanted")

    def __init__(self, instruments: Instruments, publish: Callable[[RuntimeEvent], None], bus: str) -> None:
        self._instruments = instruments
        self._publish = publish
        # The path of the bus; where it begins another, that is a subscriber's.
        self._bus, self._own = bus, f"{bus}/"
        # How many subscriptions there are for each event.
        self._wanted = dict.fromkeys(_KINDS, 0)
        self._listening: dict[Callable[..., None], Callable[..., None]] = {}
        # What is reported meanwhile comes of an event being put into a mailbox.
        self._publishing = False

    def subscribed(self, subscription: Subscription) -> None:
        """Listen to what it may want."""
        for event, (kind, make) in _KINDS.items():
            if _touches(subscription, kind):
                self._wanted[event] += 1
                if self._wanted[event] == 1:
                    self._listen(event, make)

    def unsubscribed(self, subscription: Subscription) -> None:
        """Listen no more to what nobody else wants."""
        for event, (kind, _) in _KINDS.items():
            if _touches(subscription, kind):
                self._wanted[event] -= 1
                if not self._wanted[event]:
                    self._instruments.ignore(event, self._listening.pop(event))

    def _listen(self, event: Callable[..., None], make: Callable[..., RuntimeEvent]) -> None:
        about = 1 if event is Instrument.dead_letter else 0

        def tell(*values: object) -> None:
            path = str(values[about])
            if (
                path == self._bus
                or path.startswith(self._own)
                or self._publishing
                or isinstance(values[0], RuntimeEvent)
            ):
                return
            self._publishing = True
            try:
                self._publish(make(*values))
            finally:
                self._publishing = False

        self._listening[event] = tell
        self._instruments.listen(event, tell)


def _touches(subscription: Subscription, kind: type[RuntimeEvent]) -> bool:
    """Whether *subscription* may want events of *kind* or of a class below it."""
    topic = subscription.topic
    return may_be(topic, kind) or (isinstance(topic, type) and issubclass(topic, kind))
