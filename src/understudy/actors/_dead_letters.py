"""The system actor that tells others of messages that were lost, and tells such messages again."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from understudy.actors._actor import Actor
from understudy.actors._asks import Letter
from understudy.actors._handler import handler
from understudy.actors._ref import ActorRef
from understudy.exceptions import InvalidContext, Refused
from understudy.instrument import Instrument
from understudy.messages import Message

if TYPE_CHECKING:
    from understudy.actors._runtime import KeptLetter, Runtime

__all__ = ["CountDeadLetters", "DeadLetters", "ReplayDeadLetters", "SubscribeDeadLetters", "UnsubscribeDeadLetters"]


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


class ReplayDeadLetters(Message[int]):
    """Tell the kept dead letters to *to*, in the order in which they were lost; the reply is how many that were.

    The system keeps the latest ``Settings.dead_letters_kept`` messages that were told and lost, or had been accepted
    and were not handled. Not kept is what its sender has got an error for: asks, for whose replies nobody waits any
    more, and sends that were refused. Neither is what an actor sends itself, or a signal.

    Each is told once: what *to* has accepted is not kept any more, whatever becomes of it, so one that is lost again
    is another dead letter and cannot be replayed again. At the first that finds no room, or when *to* has ended, it
    stops; that one and those behind it stay as they are. The sender of a message that is replayed is this actor.

    Raises:
        Refused: *to* belongs to another event loop.
    """

    to: ActorRef[Any]
    recipient: str | None = None
    """Only those that were sent to this path; None: to anybody."""
    kind: type[Any] | None = None
    """Only messages of this class and its subclasses; None: of any."""


class DeadLetters(Actor[SubscribeDeadLetters | UnsubscribeDeadLetters | CountDeadLetters | ReplayDeadLetters]):
    """Serves subscribers and the letters that are kept, which both outlive a restart.

    Letters do not pass through its mailbox.
    """

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

    @handler
    def replay(self, message: ReplayDeadLetters) -> int:
        target = message.to
        try:
            target._cell.check_loop()  # pyright: ignore[reportPrivateUsage]
        except InvalidContext as error:
            raise Refused(str(error)) from None
        told: list[KeptLetter] = []
        try:
            for letter in [each for each in self._runtime.kept_letters if _matches(each, message)]:
                if not target.tell_quietly(Letter(letter[0], self._understudy_cell)):
                    break
                told.append(letter)
        finally:
            self._forget(told)
        return len(told)

    def _forget(self, told: list[KeptLetter]) -> None:
        kept, gone = self._runtime.kept_letters, {id(letter) for letter in told}
        self._runtime.kept_letters = deque((each for each in kept if id(each) not in gone), kept.maxlen)

    def _without(self, subscriber: ActorRef[Any]) -> tuple[ActorRef[Any], ...]:
        subscribers = self._runtime.dead_letter_subscribers
        return tuple(each for each in subscribers if each != subscriber and each.status != "stopped")


def _matches(letter: KeptLetter, wanted: ReplayDeadLetters) -> bool:
    message, recipient = letter
    return wanted.recipient in (None, recipient) and (wanted.kind is None or isinstance(message, wanted.kind))
