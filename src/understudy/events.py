"""The event bus, what is published on it, and what the runtime itself publishes."""

from understudy.actors._event import Event, EventGap
from understudy.actors._event_bus import AsyncEventBus, BusStatistics, CountEvents
from understudy.actors._event_readers import EventStream
from understudy.actors._publication import Published
from understudy.actors._runtime_events import (
    ActorCrashedEvent,
    ActorGaveUpEvent,
    ActorRestartingEvent,
    ActorStartedEvent,
    ActorStoppedEvent,
    DeadLetterEvent,
    MailboxFullEvent,
    RuntimeEvent,
    SlowHandlerEvent,
    SystemPhaseEvent,
    UnhandledEvent,
)
from understudy.actors._subscriptions import OnError, Outcome, Status, Subscription, Topic

__all__ = [
    "ActorCrashedEvent",
    "ActorGaveUpEvent",
    "ActorRestartingEvent",
    "ActorStartedEvent",
    "ActorStoppedEvent",
    "AsyncEventBus",
    "BusStatistics",
    "CountEvents",
    "DeadLetterEvent",
    "Event",
    "EventGap",
    "EventStream",
    "MailboxFullEvent",
    "OnError",
    "Outcome",
    "Published",
    "RuntimeEvent",
    "SlowHandlerEvent",
    "Status",
    "Subscription",
    "SystemPhaseEvent",
    "Topic",
    "UnhandledEvent",
]
