"""What a ref needs of whatever stands behind it: something that takes messages, or says why not."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from understudy.actors._asks import Arrival, Ask, is_plain, message_of, sender_of
from understudy.exceptions import ActorStopped, MailboxFull
from understudy.instrument import Instrument
from understudy.reasons import ExitReason, Shutdown

if TYPE_CHECKING:
    from understudy.actors._monitors import News
    from understudy.actors._runtime import Runtime
    from understudy.mailbox._queue import AsyncMessageQueue
    from understudy.mailbox._rules import Policy

__all__ = ["Intake"]


class Intake(ABC):
    """A mailbox with a gate, in the run queue when there is something in it.

    The cell of an actor is one; so is what stands here for an actor in another process.
    """

    __slots__ = ("gate", "mailbox", "place", "queued", "ready", "reason", "runtime")

    remote = False
    """Whether it stands for an actor in another process."""

    runtime: Runtime
    place: object
    mailbox: AsyncMessageQueue[Any] | None
    gate: ExitReason | None
    """Why no message is accepted any more; None while messages are."""
    queued: bool
    """In the run queue, or being activated: whoever changes something need not push."""
    ready: bool
    """A message would be handled if it came: RUNNING, not queued, no job, nothing waiting. The next tell must push."""
    reason: ExitReason | None
    """Why the last incarnation ended; for a dead cell, why all did."""

    @property
    @abstractmethod
    def path(self) -> str: ...
    @abstractmethod
    def option(self, name: str) -> Any: ...
    @abstractmethod
    def activate(self, limit: int) -> int: ...
    @abstractmethod
    def make_mailbox(self) -> AsyncMessageQueue[Any]: ...
    @abstractmethod
    def note_loss(self, message: object, why: str) -> None: ...

    def check_loop(self) -> None:
        """Refuse to be used from another thread, event loop or process than the one that runs the system."""
        if not self.runtime.env.is_here():
            raise self.runtime.misplaced(self.path, "use tell_threadsafe or ask_threadsafe")

    def wake(self) -> None:
        """A message has been put into the mailbox."""
        if self.ready:
            self.ready = False
            self.queued = True
            self.runtime.dispatcher.push(self)

    def accept(self, item: object) -> bool:
        """Put *item* into the mailbox, to be handled; False: the gate is closed, or there is no room."""
        if self.gate is not None or not self.make_mailbox().offer(item):
            return False
        self.wake()
        return True

    def inform(self, news: News | Arrival) -> None:
        """Put what the runtime or the actor itself has to say behind all that waits, whether there is room or not."""
        if self.gate is None:
            self.make_mailbox().put_exempt(news)
            self.wake()

    def send_ahead(self, ask: Ask) -> bool:
        """Where it stands for an actor elsewhere: send *ask* before anything else; False: it has to wait."""
        return False

    def refuse(self, message: object, sender: str | None, *, told: bool = False) -> None:
        """*message* was not accepted; whoever has not *told* it gets an error."""
        why = "mailbox full" if self.gate is None else str(self.gate)
        self.note_loss(message, why)
        if self.gate is None:
            self.report_full()
        self.runtime.dead_letter(message, self.path, sender, why, told=told)

    def dead_letter(self, message: object, sender: str | None, why: str, *, told: bool = False) -> None:
        """*message*, which had been accepted, is lost."""
        self.note_loss(message, why)
        self.runtime.dead_letter(message, self.path, sender, why, told=told)

    @property
    def policy(self) -> Policy:
        """What becomes of messages that find no room."""
        policy: Policy = self.option("mailbox").policy
        return policy

    def full_error(self, message: object) -> MailboxFull | ActorStopped:
        """What the sender of a message gets that the policy has refused."""
        if self.policy == "stop":
            return self.stopped_error(message)
        return self._no_room(message)

    def displaced(self, item: Any, policy: str) -> None:
        """*item* has been thrown away to make room for another."""
        self.report_full()
        message = message_of(item)
        if isinstance(item, Ask):
            item.fail(self._no_room(message))
        self.dead_letter(message, sender_of(item), "displaced by a newer message", told=is_plain(item))

    def _no_room(self, message: object) -> MailboxFull:
        return MailboxFull(path=self.path, capacity=self.make_mailbox().capacity, message=message)

    def report_full(self) -> None:
        """Somebody found no room."""
        self.runtime.instruments.emit(Instrument.mailbox_full, self.path, self.make_mailbox().capacity)

    def stopped_error(self, message: object = None) -> ActorStopped:
        """What somebody gets who wants something of an actor that accepts nothing."""
        return ActorStopped(path=self.path, reason=self.gate or self.reason or Shutdown(), message=message)
