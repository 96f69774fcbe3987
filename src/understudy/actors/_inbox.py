"""The half of a cell that deals with messages: it takes them, handles them, replies, and loses none in silence."""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import CoroutineType
from typing import TYPE_CHECKING, Any

from understudy.actors._asks import FRAME, Ask, Letter, Private
from understudy.actors._handler import NO_HANDLERS
from understudy.environment import running_loop
from understudy.exceptions import ActorFailed, ActorStopped, InvalidActor, InvalidContext, Refused, Unhandled
from understudy.instrument import Instrument
from understudy.reasons import Crashed, ExitReason, Shutdown, frames_of, without_traceback

if TYPE_CHECKING:
    from collections.abc import Callable

    from understudy.actors._handler import Handler, HandlerTable
    from understudy.actors._life import Ending, Job
    from understudy.actors._runtime import Runtime
    from understudy.mailbox._queue import AsyncMessageQueue
    from understudy.messages import ChildEnded, ChildStarted

__all__ = ["Inbox"]


class Inbox(ABC):
    """The part of :class:`understudy.actors._cell.Cell` that other actors can reach, and what they set in motion.

    ``def`` handlers run here, called by an activation; ``async def`` handlers in a job, the pump.
    """

    __slots__ = (
        "actor",
        "attention",
        "control",
        "ending",
        "gate",
        "hand",
        "hand_since",
        "job",
        "mailbox",
        "queued",
        "ready",
        "reason",
        "runtime",
        "table",
        "thread",
        "waits",
    )

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.thread = runtime.env.thread
        self.actor: Any = None
        self.table: HandlerTable = NO_HANDLERS
        self.mailbox: AsyncMessageQueue[Any] | None = None
        # Why no message is accepted any more; None while messages are.
        self.gate: ExitReason | None = None
        # In the run queue, or being activated: whoever changes something need not push.
        self.queued = False
        # A message would be handled if it came: RUNNING, not queued, no job, nothing waiting. The next tell must push.
        self.ready = False
        # The end of the incarnation is under way, and is to be looked at before the next message.
        self.attention = False
        self.ending: Ending | None = None
        self.job: Job | None = None
        # The message or envelope whose handler is running, and since when (for async handlers). Not set for a
        # plain tell to a `def` handler, since nothing can look at it.
        self.hand: Any = None
        self.hand_since = 0.0
        # Whom the code of the handler in hand waits for, by the wait.
        self.waits: dict[object, Any] | None = None
        # Why the last incarnation ended; for a dead cell, why all did.
        self.reason: ExitReason | None = None
        self.control: list[ChildStarted | ChildEnded] | None = None

    # What the other half does

    @property
    @abstractmethod
    def path(self) -> str: ...
    @abstractmethod
    def option(self, name: str) -> Any: ...
    @abstractmethod
    def activate(self, limit: int) -> int: ...
    @abstractmethod
    def enqueue(self) -> None: ...
    @abstractmethod
    def settle(self) -> None: ...
    @abstractmethod
    def why_not(self) -> ExitReason: ...
    @abstractmethod
    def end(self, reason: ExitReason, *, hook: bool) -> None: ...
    @abstractmethod
    def start_job(self, kind: str, body: Callable[..., Any], *args: Any) -> None: ...

    # Accepting

    def make_mailbox(self) -> AsyncMessageQueue[Any]:
        """The mailbox, made with the first message."""
        if self.mailbox is None:
            self.mailbox = self.runtime.make_mailbox(self)
        return self.mailbox

    def check_loop(self) -> None:
        """Refuse to be used from another thread, event loop or process than the one that runs the system."""
        if running_loop() is not self.runtime.env.loop:
            raise InvalidContext(
                what=self.path,
                problem="used outside of the event loop of its system (another thread, loop or forked process): "
                "use tell_threadsafe or ask_threadsafe",
            )

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

    def refuse(self, message: object, sender: str | None) -> None:
        """*message* was not accepted and nobody waits to hear it."""
        if self.gate is None:
            self.report_full()
            self.runtime.dead_letter(message, self.path, sender, "mailbox full")
        else:
            self.runtime.dead_letter(message, self.path, sender, str(self.gate))

    def report_full(self) -> None:
        """Somebody found no room."""
        self.runtime.instruments.emit(Instrument.mailbox_full, self.path, self.make_mailbox().capacity)

    def stopped_error(self, message: object = None) -> ActorStopped:
        """What somebody gets who wants something of an actor that accepts nothing."""
        return ActorStopped(path=self.path, reason=self.gate or self.reason or Shutdown(), message=message)

    # Handling

    def handle(self, mailbox: AsyncMessageQueue[Any], limit: int) -> int:
        direct, actor, context = self.table.direct, self.actor, self.runtime.dispatcher.context
        items, take = mailbox.items, mailbox.take
        handled = 0
        while items and handled < limit:
            item: object = take()
            function = direct.get(type(item))
            if function is None:
                if not self._handle_other(mailbox, item):
                    break
            else:
                # Nothing can look at the hand while this runs, so only what is answered or has a sender is put there.
                try:
                    result = function(actor, item)
                    if result is not None:
                        self._check_sync(function, result)
                except BaseException as error:
                    self._failed(error, item, None)
            handled += 1
            if self.attention or context:
                break
        return handled

    def _handle_other(self, mailbox: AsyncMessageQueue[Any], item: Any) -> bool:
        """What is no plain tell of a type with a ``def`` handler; False when a pump has taken over."""
        message, ask, handler = self._open(item)
        if handler is not None and handler.is_async:
            # A task that has not started may never start, so it gets the message when it runs.
            mailbox.push_front(item)
            self.start_job("messages", self._pump)
            return False
        if handler is None:
            self._unhandled(message, ask, item)
        elif ask is None or self._admit(ask):
            self._run_sync(handler, item, message, ask)
        return True

    def _open(self, item: Any) -> tuple[Any, Ask | None, Handler | None]:
        table = self.table
        if type(item) is Ask:
            return item.message, item, table[type(item.message)] or table.fallback
        if type(item) is Private:
            return item.message, None, table.private[type(item.message)] or table.fallback
        message = item.message if type(item) is Letter else item
        return message, None, table[type(message)] or table.fallback

    def _admit(self, ask: Ask) -> bool:
        """Whether *ask* is still wanted; whom nobody waits for is not started."""
        if not ask.future.done() and self.runtime.env.now() < ask.deadline:
            ask.in_hand = True
            return True
        ask.expire()
        self.runtime.dead_letter(ask.message, self.path, ask.sender_path, "nobody waits for the reply any more")
        return False

    def _run_sync(self, handler: Handler, item: Any, message: Any, ask: Ask | None) -> None:
        self.hand = item
        self.hand_since = self.runtime.env.now()
        try:
            result = handler.function(self.actor, message)
            if result is not None:
                self._check_sync(handler.function, result)
        except BaseException as error:
            self._failed(error, message, ask)
        else:
            self._replied(result, ask)
        self.release()

    async def _pump(self, job: Job) -> None:
        """Handle messages with ``async def`` handlers until there is none, or the next needs something else."""
        job.begin()
        FRAME.set(self)
        mailbox, dispatcher, task = self.make_mailbox(), self.runtime.dispatcher, job.task
        assert task is not None
        if self.job is not job:
            return
        handled, since_last, allowed = 0, 0, 1
        while (taken := self._next_async(mailbox)) is not None:
            message, ask, handler = taken
            try:
                result = await handler.function(self.actor, message)
            except BaseException as error:
                if not self._pump_failed(job, error, message, ask):
                    return
            else:
                if self.job is not job:
                    return
                if ask is not None:
                    self._replied(result, ask)
            self.release()
            if ask is not None:
                FRAME.set(self)
            handled += 1
            since_last += 1
            # A cancel that nobody here asked for, or a variable of the handler's, must not meet the next message.
            if task.cancelling() or len(job.context) > 1:
                break
            if since_last >= allowed and mailbox.items:
                allowed, since_last = dispatcher.allowance(handled, since_last), 0
                if not allowed:
                    break
        self._pump_ended(job)

    def _next_async(self, mailbox: AsyncMessageQueue[Any]) -> tuple[Any, Ask | None, Handler] | None:
        """Take the next message for the pump; None when there is none, or when it is for an activation to deal with."""
        if self.attention or not mailbox.items:
            return None
        item = mailbox.take()
        message, ask, handler = item, None, self.table[type(item)]
        if handler is None:
            message, ask, handler = self._open(item)
        if handler is None or not handler.is_async:
            mailbox.push_front(item)
            return None
        if ask is not None:
            if not self._admit(ask):
                return None
            FRAME.set(ask)
        self.hand = item
        self.hand_since = self.runtime.env.now()
        return message, ask, handler

    def _pump_failed(self, job: Job, error: BaseException, message: Any, ask: Ask | None) -> bool:
        """A handler has raised; whether the pump is still its cell's."""
        if isinstance(error, GeneratorExit) and not job.is_current:
            raise error
        if self.job is not job:
            return False
        if self.ending is not None and self.ending.interrupting:
            self.interrupted()
        else:
            self._failed(error, message, ask)
        return True

    def _pump_ended(self, job: Job) -> None:
        if self.job is not job:
            return
        self.job = None
        if self.control is not None:
            self.enqueue()
        else:
            self.settle()

    def _replied(self, result: Any, ask: Ask | None) -> None:
        if ask is not None and not ask.reply(result):
            self.runtime.dead_letter(result, ask.sender_path or "(asker)", self.path, "late reply")

    def _failed(self, error: BaseException, message: Any, ask: Ask | None) -> None:
        if isinstance(error, Refused):
            self._refused(error, message, ask)
        elif isinstance(error, Unhandled) and error.message is message and error.path == self.path:
            self._unhandled(message, ask, message)
        else:
            if isinstance(error, KeyboardInterrupt):
                self.runtime.interrupt()
            self._crash(error, message, ask)

    def _refused(self, error: Refused, message: Any, ask: Ask | None) -> None:
        without_traceback(error)
        if ask is None:
            self.runtime.instruments.emit(Instrument.refused, self.path, type(message).__name__, str(error))
        elif not ask.fail(error):
            self.runtime.dead_letter(error, ask.sender_path or "(asker)", self.path, "late reply")

    def _unhandled(self, message: Any, ask: Ask | None, item: Any) -> None:
        if ask is not None:
            ask.fail(Unhandled(path=self.path, message=message))
        else:
            sender = item.sender_path if isinstance(item, Letter) else None
            self.runtime.dead_letter(message, self.path, sender, "unhandled")

    def _crash(self, error: BaseException, message: Any, ask: Ask | None) -> None:
        frames = self.frames(error)
        reason = Crashed(without_traceback(error), frames)
        name = type(message).__name__
        if ask is not None:
            failure = ActorFailed(path=self.path, message_type=name, reason=reason)
            failure.__cause__ = error
            ask.fail(failure)
        self.runtime.instruments.emit(Instrument.actor_crashed, self.path, reason, name)
        if self.ending is None:
            self.end(reason, hook=True)

    def interrupted(self) -> None:
        """The handler in hand was ended by the runtime: its message is dropped, and reported."""
        if self.hand is not None:
            self.lose(self.hand, self.ending.final_reason() if self.ending is not None else self.why_not())

    def release(self) -> None:
        """The handler has ended: nothing is in hand, and its code waits for nobody."""
        if type(self.hand) is Ask:
            self.hand.in_hand = False
        self.hand = None
        self.waits = None

    def _check_sync(self, function: Callable[..., Any], result: Any) -> None:
        if type(result) is CoroutineType:
            result.close()
            problem = f"handler {function.__name__} returned a coroutine: declare it `async def`"
            raise InvalidActor(actor=type(self.actor).__qualname__, problem=problem)

    def frames(self, error: BaseException) -> tuple[tuple[str, int, str], ...]:
        """Where *error* was raised, without the frames of this module."""
        return tuple(frame for frame in frames_of(error.__traceback__) if frame[0] != __file__)

    def lose(self, item: Any, reason: ExitReason) -> None:
        message, sender = item, None
        if isinstance(item, Letter):
            message, sender = item.message, item.sender_path
        self.runtime.dead_letter(message, self.path, sender, str(reason))
        if type(item) is Ask:
            item.fail(ActorStopped(path=self.path, reason=reason, message=message))
