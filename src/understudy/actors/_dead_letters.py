"""The system actor that tells others of messages that were lost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from understudy.actors._actor import Actor
from understudy.actors._handler import handler
from understudy.actors._ref import ActorRef
from understudy.instrument import Instrument
from understudy.messages import Message

if TYPE_CHECKING:
    from understudy.actors._runtime import Runtime

__all__ = ["CountDeadLetters", "DeadLetters", "SubscribeDeadLetters", "UnsubscribeDeadLetters"]


class SubscribeDeadLetters(Message):
    """Tell *subscriber* of each message that is lost from now on, as a :class:`understudy.DeadLetter`.

    A letter that finds no room in the subscriber's own mailbox is lost, since it cannot become a dead letter itself.
    Subscribing twice changes nothing; a subscriber that has ended is forgotten.
    """

    subscriber: ActorRef[Any]


class UnsubscribeDeadLetters(Message):
    """Take *subscriber* off the list; it is no error if it is not on it."""

    subscriber: ActorRef[Any]


class CountDeadLetters(Message[int]):
    """How many messages have been lost since the system started."""


class DeadLetters(Actor[SubscribeDeadLetters | UnsubscribeDeadLetters | CountDeadLetters]):
    """Keeps the list of subscribers, which outlives a restart; letters do not pass through its mailbox."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    @handler
    def subscribe(self, message: SubscribeDeadLetters) -> None:
        others = self._without(message.subscriber)
        self._runtime.dead_letter_subscribers = (*others, message.subscriber)

    @handler
    def unsubscribe(self, message: UnsubscribeDeadLetters) -> None:
        self._runtime.dead_letter_subscribers = self._without(message.subscriber)

    @handler
    def count(self, message: CountDeadLetters) -> int:
        return self._runtime.instruments.count(Instrument.dead_letter)

    def _without(self, subscriber: ActorRef[Any]) -> tuple[ActorRef[Any], ...]:
        subscribers = self._runtime.dead_letter_subscribers
        return tuple(each for each in subscribers if each != subscriber and each.status != "stopped")
