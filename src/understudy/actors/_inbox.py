"""The half of a cell that deals with messages: it takes them, handles them, replies, and loses none in silence."""

from __future__ import annotations

from abc import abstractmethod
from asyncio import CancelledError
from functools import partial
from types import CoroutineType
from typing import TYPE_CHECKING, Any

from understudy._plans._directives import directive_for
from understudy.actors._asks import FRAME, Ask, FutureAsk, Letter, Onward, Private, is_plain, message_of, sender_of
from understudy.actors._bundles import Bundle, burst_over, next_bundle
from understudy.actors._handler import Handler
from understudy.actors._intake import Intake
from understudy.actors._monitors import News
from understudy.actors._plain_ask import ASKED, PENDING, PlainAsk
from understudy.actors._recall import Withdrawn
from understudy.actors._streams import StreamAsk
from understudy.exceptions import (
    ActorFailed,
    ActorStopped,
    InvalidActor,
    Refused,
    Unhandled,
)
from understudy.instrument import Instrument
from understudy.messages import Continue, StreamMessage, Terminated
from understudy.reasons import Crashed, ExitReason, StartFailed, frames_of, without_traceback

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable, Coroutine
    from typing import TypeAlias

    from understudy._plans._spec import ChildSpec
    from understudy.actors._belongings import Belongings
    from understudy.actors._handler import HandlerTable
    from understudy.actors._life import Ending, Job
    from understudy.actors._standing import Standing
    from understudy.actors._turns import Turns
    from understudy.environment import Halt
    from understudy.mailbox._queue import AsyncMessageQueue

    AsyncFunction: TypeAlias = Callable[[Any, Any], Coroutine[Any, Any, Any]]

__all__ = ["Inbox"]


_OURS = frozenset(
    __file__.replace("_inbox", name)
    for name in (
        "_inbox",
        "_mortal",
        "_cell",
        "_belongings",
        "_fan_out",
        "_owned",
        "_plain_ask",
        "_recall",
        "_replacing",
        "_state_machine",
        "_streams",
        "_subscriber",
        "_tracing",
        "_turns",
    )
)
_UNTAKEN = type("Untaken", (), {})()
"""Stands for a message that is in the mailbox still."""
_OVER = -1
"""No more messages for this pump."""
_NO_CRASH = (Refused, Withdrawn, Unhandled, KeyboardInterrupt)
"""What may mean something else than that the actor has failed."""
_SPECIAL = frozenset({Continue, CoroutineType})
"""What a ``def`` handler may return that is no reply, or by mistake."""


def _remedy(message: object, ask: Ask) -> str:
    """What to do instead, where an ask and a request for a stream have been mixed up."""
    streamed = isinstance(message, StreamMessage)
    if streamed == (type(ask) is StreamAsk):
        return ""
    return "it is answered in parts, use `stream`" if streamed else "it is not answered in parts, use `ask`"


def _find_nothing(kind: type) -> None:
    """No handler to be found without a closer look."""


def _die(actor: Any, news: Terminated) -> None:
    raise ActorStopped(path=news.ref.path, reason=news.reason)


def _pass_over(actor: Any, news: object) -> None:
    pass


_PACT = Handler(_die, "the pact of watch", is_async=False)
_NOTHING = Handler(_pass_over, "nothing", is_async=False)


class Inbox(Intake):
    """The part of :class:`understudy.actors._cell.Cell` that other actors can reach, and what they set in motion.

    ``def`` handlers run here, called by an activation; ``async def`` handlers in a job, the pump.
    """

    __slots__ = (
        "actor",
        "attention",
        "belongings",
        "control",
        "ending",
        "hand",
        "hand_since",
        "job",
        "spec",
        "standing",
        "table",
        "waits",
    )

    spec: ChildSpec[Any]
    actor: Any
    table: HandlerTable
    attention: bool
    """Before the next message something else is to be looked at: the end of the incarnation, an order that stands, or
    another set of handlers."""
    ending: Ending | None
    job: Job | None
    hand: Any
    """The message or envelope whose handler is running. Not set for a plain tell to a `def` handler, since nothing can
    look at it."""
    hand_since: float
    """Since when, for async handlers."""
    waits: dict[object, Any] | None
    """Whom the code of the handler in hand waits for, by the wait."""
    control: list[tuple[Any, int, Ending | None]] | None
    """News of children that could not be dealt with at once: whose, of which incarnation; None: it is up."""
    belongings: Belongings | None
    """What few actors have; of this incarnation."""
    standing: Standing | None
    """Likewise, through all of them."""

    # What the other half does

    @abstractmethod
    def enqueue(self) -> None: ...
    @abstractmethod
    def settle(self) -> None: ...
    @abstractmethod
    def why_not(self) -> ExitReason: ...
    @abstractmethod
    def end(self, reason: ExitReason, *, hook: bool) -> Ending: ...
    @abstractmethod
    def start_job(self, kind: str, body: Callable[..., Any], *args: Any) -> None: ...
    @abstractmethod
    def start_turn(self, item: Any, message: Any, ask: Ask | None, handler: Handler) -> bool: ...
    @abstractmethod
    def force(self, *, keep: bool) -> None: ...
    @abstractmethod
    def report_crash(self, reason: Crashed | StartFailed, message_type: str | None) -> None: ...

    # Accepting

    def make_mailbox(self) -> AsyncMessageQueue[Any]:
        """The mailbox, made with the first message."""
        if self.mailbox is None:
            self.mailbox = self.runtime.make_mailbox(self)
        return self.mailbox

    def refuse(self, message: object, sender: str | None, *, told: bool = False) -> None:
        """*message* was not accepted, which may be the end of this actor."""
        super().refuse(message, sender, told=told)
        if self.gate is None and self.policy == "stop":
            self._overflowed(message)

    # Handling

    def look_up(self) -> None:
        """Something else is to be looked at before the next message."""
        self.attention = True
        if self.job is not None:
            self.job.look = True

    def handle(self, mailbox: AsyncMessageQueue[Any], limit: int) -> int:  # noqa: C901 - each call tells
        direct, actor, context, items = self.table.direct, self.actor, self.runtime.dispatcher.context, mailbox.items
        if mailbox.collects:
            return self._handle_burst(mailbox, limit)
        if not direct and items and self._is_for_pump(mailbox.next_item()):
            self._start_pump()
            return 0
        find = direct.get
        kind: type | None = None
        function: Any = None
        for handled in range(limit):
            if not items:
                return handled
            item: object = items.popleft() if len(items) <= mailbox.take_up_to else mailbox.take()
            if type(item) is kind or (type(item) is not PlainAsk and (function := find(kind := type(item)))):
                # Nothing can look at the hand while this runs, so only what is answered or has a sender is put there.
                try:
                    result = function(actor, item)
                    if result is not None and type(result) in _SPECIAL:
                        self._check_sync(function, result)
                except BaseException as error:
                    self.failed(error, item, None)
            else:
                kind = None
                if type(item) is PlainAsk and (function := find(type(item.message))):
                    self._answer(function, item)
                elif type(item) is FutureAsk and (function := find(type(item.message))):
                    if self._admit(item):
                        self._run_sync(function, item, item.message, item)
                elif not self._handle_other(mailbox, item):
                    return handled
            if self.attention or context:
                return handled + 1
        return limit

    def answer_ahead(self, item: Ask) -> None:
        """Handle *item* with its ``def`` handler: an activation for it alone, past the mailbox.

        For one that is ready. See :meth:`understudy.actors._dispatcher.Dispatcher.answer_ahead`.
        """
        message = item.message
        mailbox: Any = self.mailbox
        mailbox.total_in += 1
        self.ready = False
        self.queued = item.in_hand = True
        self.hand = item
        function = self.table.direct[type(message)]
        try:
            result = function(self.actor, message)
            if result is not None and type(result) in _SPECIAL:
                self._check_sync(function, result)
        except BaseException as error:
            self.failed(error, message, item)
        else:
            if type(item) is PlainAsk and item.in_hand and not item.promised and item.value is PENDING:
                item.value = result  # all that `replied` would do: nobody waits yet
            else:
                self.replied(result, item)
        if self.belongings is None:
            item.in_hand = False
            self.hand = self.waits = None
        else:
            self.release()
        self.queued = False
        if self.attention or self.gate is not None:
            self.enqueue()
        elif mailbox.items or self.standing is not None:
            self.settle()
        else:
            self.ready = True

    def _is_for_pump(self, item: Any) -> bool:
        """Whether *item* is a message that an ``async def`` handler takes, to be seen without a closer look."""
        # Not of a `StreamAsk`: whether its handler is one for streams takes a closer look.
        return type(item.message if type(item) in ASKED else item) in self.table.pumped

    def _handle_burst(self, mailbox: AsyncMessageQueue[Any], limit: int) -> int:
        """The same for a mailbox that collects: what can be handled together is."""
        if not mailbox.items or not burst_over(mailbox, self.runtime.env.now()):
            return 0
        handled = 0
        while mailbox.items and handled < limit:
            bundle = next_bundle(mailbox, self.table)
            if bundle is None:
                if not self._handle_other(mailbox, mailbox.take()):
                    break
                handled += 1
            elif bundle.handler.is_async:
                self.give_back(mailbox, *bundle.items)
                self._start_pump()
                break
            else:
                self._run_sync(bundle.handler.function, bundle, bundle.messages, None)
                handled += len(bundle.items)
            if self.attention or self.runtime.dispatcher.context:
                break
        return handled

    def give_back(self, mailbox: AsyncMessageQueue[Any], *items: Any) -> None:
        """It is for somebody else to handle them, next."""
        for item in reversed(items):
            mailbox.push_front(item)
        if mailbox.collects:
            mailbox.flush_burst()

    def _handle_other(self, mailbox: AsyncMessageQueue[Any], item: Any) -> bool:
        """What is no plain tell of a type with a ``def`` handler; False when a pump has taken over."""
        if self._is_for_pump(item):
            self.give_back(mailbox, item)
            self._start_pump()
            return False
        message, ask, handler = self._open(item)
        if handler is not None and handler.reentrant:
            return (ask is not None and not self._admit(ask)) or self.start_turn(item, message, ask, handler)
        if handler is not None and handler.pumped:
            # A task that has not started may never start, so it gets the message when it runs.
            self.give_back(mailbox, item)
            self._start_pump()
            return False
        if type(item) is News or isinstance(item, Private):
            item.taken()
        if handler is None:
            self._unhandled(message, ask, item)
        elif ask is None or self._admit(ask):
            self._run_sync(handler.function, item, message, ask)
        return True

    def _start_pump(self) -> None:
        dispatcher = self.runtime.dispatcher
        if dispatcher.parked.pumps and (pump := dispatcher.parked.take(self)) is not None:
            self.job, halt, _ = pump
            halt.go_on()
            return
        limit, spare = self.spec.given.get("max_handling_seconds"), dispatcher.spare
        if limit is not None:
            self.start_job("messages", self._timed_pump, limit)
        elif spare is not None and spare[0] is self:
            self.job = spare[1]
        else:
            self.start_job("messages", self._pump, self.runtime.env.halt())

    def _open(self, item: Any) -> tuple[Any, Ask | None, Handler | None]:
        table = self.table
        if self.belongings is not None and not isinstance(item, News | Private):
            self.belongings.heard(message_of(item))
        if type(item) in ASKED:
            return item.message, item, table[type(item.message)] or table.fallback  # pyright: ignore[reportReturnType] - it is one
        if type(item) is News:
            return item.message, None, self._handler_of_news(item)
        if type(item) is StreamAsk:
            entry = table[type(item.message)]
            return item.message, item, entry if entry is not None and entry.streams else None
        if isinstance(item, Private):
            if item.void:
                return item.message, None, _NOTHING
            kind = type(item.message)
            found = table.private[kind] or (table[kind] if type(item) is Onward else None)
            return item.message, None, found or table.fallback
        own = table[type(item)]
        if own is not None or not isinstance(item, Letter):  # a subscriber has a handler for the envelope itself
            return item, None, own or table.fallback
        message = item.message
        return message, item if isinstance(item, Ask) else None, table[type(message)] or table.fallback

    def _handler_of_news(self, news: News) -> Handler:
        if news.void:
            return _NOTHING
        return self.table.signals[type(news.message)] or (_PACT if news.fatal else _NOTHING)

    def _admit(self, ask: Ask) -> bool:
        """Whether *ask* is still wanted; whom nobody waits for is not started."""
        if not ask.future.done() and self.runtime.env.now() < ask.deadline:
            ask.in_hand = True
            return True
        self._turn_down(ask)
        return False

    def _turn_down(self, ask: Ask) -> None:
        ask.expire()
        self.dead_letter(ask.message, ask.sender_path, "nobody waits for the reply any more")

    def _answer(self, function: Callable[[Any, Any], Any], ask: PlainAsk) -> None:
        """What becomes of an ask with a ``def`` handler: `_admit`, `_run_sync` and what these call, in one."""
        message = ask.message
        if ask.value is not PENDING or self.runtime.env.now() >= ask.deadline:
            self._turn_down(ask)
            return
        ask.in_hand = True
        self.hand = ask
        try:
            result = function(self.actor, message)
            if result is not None and type(result) in _SPECIAL:
                self._check_sync(function, result)
        except BaseException as error:
            self.failed(error, message, ask)
        else:
            self.replied(result, ask)
        if self.belongings is None:
            ask.in_hand = False
            self.hand = self.waits = None
        else:
            self.release()

    def _run_sync(self, function: Callable[[Any, Any], Any], item: Any, message: Any, ask: Ask | None) -> None:
        self.hand = item
        try:
            result = function(self.actor, message)
            if result is not None and type(result) in _SPECIAL:
                self._check_sync(function, result)
        except BaseException as error:
            self.failed(error, message, ask)
        else:
            self.replied(result, ask)
        self.release()

    async def _pump(self, job: Job, halt: Halt | None = None) -> None:  # noqa: C901 - each call for a message tells
        """Handle messages with ``async def`` handlers until there is none, or the next needs something else.

        With a *halt*, it waits there for a moment for more. What is done here for each message is what no message can
        do without; all else is looked at between two stretches of them.
        """
        job.begin()
        task: Any = job.task
        task.touched = False
        context, dispatcher, now = job.context, self.runtime.dispatcher, self.runtime.env.now
        FRAME.set(self)
        mailbox = self.make_mailbox()
        ask: Ask | None
        function: Any = None
        while self.job is job:
            handled, allowed = 0, 1 if not self.attention else self._next_stretch(job, halt, mailbox, 0, 0)
            while allowed > 0:
                job.look, self.hand_since, slices, actor, left = False, now(), dispatcher.slices, self.actor, allowed
                items: deque[object] = mailbox.items
                # Where more is to be done for each message, none is taken and let go as the usual ones are.
                usual = job.timer is None and self.belongings is None
                find: Callable[[type], Any] = self.table.pumped.get if usual else _find_nothing
                kind = ask = None
                asked = False  # the frame is that of the ask before: it is set back once for a row of them
                while items and left:
                    item = items.popleft() if len(items) <= mailbox.take_up_to else _UNTAKEN
                    # The usual cases of `_next_async`, without the call; most often there are many of one kind.
                    if type(item) is kind:
                        self.hand = message = item
                    elif type(item) is PlainAsk and (function := find(type(item.message))):
                        since = now()
                        if since >= item.deadline or item.value is not PENDING:
                            self.hand = None
                            FRAME.set(self)
                            self._turn_down(item)
                            break
                        kind, ask, message, asked = None, item, item.message, True
                        ask.in_hand = True
                        FRAME.set(ask)
                        self.hand, self.hand_since = ask, since
                    else:
                        if asked:
                            FRAME.set(self)
                            asked = False
                        if function := find(kind := type(item)):
                            self.hand = message = item
                        elif (taken := self._next_async(mailbox, item)) is not None:
                            message, ask, function = taken
                            kind, asked = None, ask is not None
                        else:
                            break
                    left -= 1
                    try:
                        result = await function(actor, message)
                    except BaseException as error:
                        self._pump_failed(job, error, message, ask)
                        break
                    # Of one that was taken as the usual ones are there is nothing more to do. A cancel that nobody here
                    # asked for, or a variable of the handler's, must not meet the next one.
                    if not usual or job.look or task.touched or len(context) > 1:
                        if not self._pump_handled(job, result, ask) or task.touched or len(context) > 1:
                            break
                        ask = None
                    else:  # all that the other would do, but for the hand, which the next is in
                        if ask is not None:
                            self.replied(result, ask)
                            ask.in_hand = False
                            ask = None
                        elif result is not None:
                            self.replied(result, None)
                        self.waits = None
                    if dispatcher.slices != slices:
                        # It has been suspended, so it begins anew, with one message: the event loop and all others have
                        # had their turn, and a loop of tasks would do no less for each.
                        slices, handled, allowed, left, self.hand_since = dispatcher.slices, 0, 1, 1, now()
                if asked:
                    FRAME.set(self)
                done = allowed - left
                handled = handled + done if dispatcher.slices == slices else 0
                allowed = self._next_stretch(job, halt, mailbox, handled, done)
            if allowed < 0 or halt is None:
                return
            # What it has handled is not kept while it stands still.
            message = result = taken = item = actor = ask = None
            await halt

    def _next_stretch(
        self, job: Job, halt: Halt | None, mailbox: AsyncMessageQueue[Any], handled: int, done: int
    ) -> int:
        """How many more messages a pump may handle before it asks again.

        0: none for now, and it is to wait at its halt for more; below that, it is at its end. Then it has been
        abandoned, or what comes next is for an activation.

        Args:
            handled: How many it has handled in its turn; 0 if it has been suspended since.
            done: How many since it asked last.
        """
        if self.job is not job:
            return _OVER
        self.hand = None
        task: Any = job.task
        dispatcher = self.runtime.dispatcher
        if task.touched:
            # A cancel that was taken back before it has struck is not counted, and before Python 3.13 strikes all the
            # same; what tells it is a private name.
            task.touched = task.cancelling() > 0 or task._must_cancel
        clean = not task.touched and len(job.context) == 1
        if clean and self.attention:
            # A restart has its own look at the clock.
            if self.ending is not None and self._outlives(job) and not self.attention:
                return 1
            if self.job is not job:
                return _OVER
        elif clean and done and mailbox.items:
            allowed = dispatcher.allowance(handled, done) if handled else 1
            if allowed:
                return allowed
        self._pump_ended()
        if halt is not None and clean and dispatcher.parked.add(self, job, halt):
            return 0
        if dispatcher.works_ahead and not dispatcher.under_way:
            self.runtime.env.tasks.leave(task)
        return _OVER

    def _next_async(self, mailbox: AsyncMessageQueue[Any], item: Any) -> tuple[Any, Ask | None, AsyncFunction] | None:
        """The next message for the pump, which is *item* if that has been taken; None: it is for an activation."""
        if item is not _UNTAKEN:
            return self._open_async(mailbox, item)
        if mailbox.collects:
            return self._next_bundle(mailbox)
        return self._open_async(mailbox, mailbox.take())

    def _open_async(self, mailbox: AsyncMessageQueue[Any], item: Any) -> tuple[Any, Ask | None, AsyncFunction] | None:
        """The same of *item*, which has been taken, whatever it is."""
        self.hand = None
        message, ask, handler = item, None, self.table[type(item)]
        if handler is None:
            message, ask, handler = self._open(item)
            if (type(item) is News or isinstance(item, Private)) and handler is not None and handler.pumped:
                item.taken()
        elif self.belongings is not None:
            self.belongings.heard(item)
        if handler is None or not handler.pumped:
            self.give_back(mailbox, item)
            return None
        if ask is not None:
            if not self._admit(ask):
                return None
            FRAME.set(ask)
        self.hand = item
        self.hand_since = self.runtime.env.now()
        return message, ask, handler.function

    def _next_bundle(self, mailbox: AsyncMessageQueue[Any]) -> tuple[Any, Ask | None, AsyncFunction] | None:
        """The same of a mailbox that collects: what can be handled together is."""
        self.hand = None
        if not burst_over(mailbox, self.runtime.env.now()):
            return None
        bundle = next_bundle(mailbox, self.table)
        return self._open_async(mailbox, mailbox.take()) if bundle is None else self._take_bundle(mailbox, bundle)

    def _take_bundle(self, mailbox: AsyncMessageQueue[Any], bundle: Bundle) -> tuple[Any, None, AsyncFunction] | None:
        if not bundle.handler.is_async:
            self.give_back(mailbox, *bundle.items)
            return None
        self.hand = bundle
        self.hand_since = self.runtime.env.now()
        return bundle.messages, None, bundle.handler.function

    def _pump_failed(self, job: Job, error: BaseException, message: Any, ask: Ask | None) -> None:
        """A handler has raised, which means nothing if the pump is not its cell's any more."""
        if isinstance(error, GeneratorExit) and not job.is_current:
            raise error
        if self.job is not job:
            return
        if self.ending is not None and self.ending.interrupting:
            self.interrupted()
        else:
            # The pump sees to what comes of it, as an activation would, so nobody need push; but for news of children.
            queued, self.queued = self.queued, True
            self.failed(error, message, ask)
            self.queued = queued
            if self.control is not None:
                self.enqueue()
        if self.job is job:
            self.release()
            FRAME.set(self)

    def _pump_handled(self, job: Job, result: Any, ask: Ask | None) -> bool:
        """A handler in the pump has returned *result*; whether nothing has changed that concerns the pump."""
        if self.job is not job:
            return False
        if ask is not None or result is not None:
            self.replied(result, ask)
        # In most cases all that `release` would do.
        if ask is not None and self.belongings is None:
            ask.in_hand = False
            self.hand = self.waits = None
        else:
            self.release()
        FRAME.set(self)
        return not job.look

    def _outlives(self, job: Job) -> bool:
        """The incarnation is about to end; whether the next one is up by now, and *job* is its pump.

        To end a task and begin another takes two turns of the event loop, and longer than all the rest of a restart.
        The steps between the two incarnations are those of any activation, and so is that the next message for a pump
        finds one. Nothing is left of the failed handler in the task: neither a cancel nor a variable.
        """
        dispatcher = self.runtime.dispatcher
        if job.timer is not None or self.queued or dispatcher.under_way:
            return False
        self.job = None
        self.queued = True
        dispatcher.spare = (self, job)
        dispatcher.run_first(self)
        dispatcher.spare = None
        return self.job is job  # pyright: ignore[reportUnnecessaryComparison] - it may be again

    def _pump_ended(self) -> None:
        self.job = None
        if self.control is not None:
            self.enqueue()
        elif not self.queued:
            self.settle()

    async def _timed_pump(self, job: Job, limit: float) -> None:
        """The pump, with an eye on how long each message takes: one timer for all of them."""
        self._look_later(job, limit, self.runtime.env.now() + limit)
        try:
            await self._pump(job)
        finally:
            if job.timer is not None:
                job.timer.cancel()

    def _look_later(self, job: Job, limit: float, when: float) -> None:
        job.timer = self.runtime.env.call_at(when, partial(self._look_at_hand, job, limit))

    def _look_at_hand(self, job: Job, limit: float) -> None:
        now, due = self.runtime.env.now(), self.hand_since + limit
        if self.job is not job or self.hand is None or now < due - 1e-9:
            self._look_later(job, limit, max(due, now + limit / 8))
            return
        job.timer = None
        message = message_of(self.hand)
        self.runtime.instruments.emit(Instrument.handling_too_long, self.path, type(message).__name__, limit)
        self.force(keep=True)

    def replied(self, result: Any, ask: Ask | None) -> None:
        """A handler has returned *result*."""
        if type(ask) is PlainAsk and ask.in_hand and not ask.promised and ask.value is PENDING:
            ask.set_result(result)
        elif ask is not None:
            # One that has been put aside is not answered by what the handler returns, nor one that is promised.
            if ask.in_hand and not ask.promised and not ask.reply(result):
                ask.late(result)
        elif type(result) is Continue:
            self.give_back(self.make_mailbox(), Onward(result.message, self))

    def failed(self, error: BaseException, message: Any, ask: Ask | None) -> None:
        """A handler has raised *error*."""
        if not isinstance(error, _NO_CRASH):
            self._crash(error, message, ask)
        elif isinstance(error, Refused):
            self._refused(error, message, ask)
        elif isinstance(error, Withdrawn):
            self._withdrawn(error.error, ask)
        elif isinstance(error, Unhandled) and error.message is message and error.path == self.path:
            self._unhandled(message, ask, self._envelope_of(message))
        else:
            if isinstance(error, KeyboardInterrupt):
                self.runtime.interrupt()
            self._crash(error, message, ask)

    def _refused(self, error: Refused, message: Any, ask: Ask | None) -> None:
        without_traceback(error)
        if ask is None:
            self.runtime.instruments.emit(Instrument.refused, self.path, type(message).__name__, str(error))
        elif not ask.fail(error):
            ask.late(error)

    def _withdrawn(self, error: BaseException, ask: Ask | None) -> None:
        """The handler was cancelled since nobody waits for it; an error of its own it made of that reaches nobody."""
        if ask is not None and not isinstance(error, CancelledError):
            without_traceback(error)
            ask.late(error)

    def _unhandled(self, message: Any, ask: Ask | None, item: Any) -> None:
        if ask is not None:
            ask.fail(Unhandled(path=self.path, message=message, remedy=_remedy(message, ask)))
        else:
            self.dead_letter(message, sender_of(item), "unhandled", told=is_plain(item))

    @property
    def turns(self) -> Turns | None:
        """The reentrant handlers under way."""
        return None if self.belongings is None else self.belongings.turns

    @property
    def hands(self) -> list[Any]:
        """What is being handled, by the pump or a ``def`` handler, None if by neither, and beside that."""
        turns = self.turns
        return [self.hand] if turns is None else [self.hand, *turns.hands]

    def _envelope_of(self, message: Any) -> Any:
        """What *message*, whose handler is running, came in."""
        return next((each for each in self.hands if message_of(each) is message), message)

    def _crash(self, error: BaseException, message: Any, ask: Ask | None) -> None:
        directive = self.directive(error) if self.spec.given else None
        reason = Crashed(error, frames_of(error.__traceback__, but=_OURS))
        without_traceback(error)
        name = type(message_of(message)).__name__
        if ask is not None and ask.in_hand:
            failure = ActorFailed(path=self.path, message_type=name, reason=reason)
            failure.__cause__ = error
            ask.fail(failure)
        if directive == "resume" and message is not None and self.ending is None:
            self.runtime.instruments.emit(Instrument.actor_resumed, self.path, reason, name)
            return
        self.report_crash(reason, name)
        if self.ending is None:
            self.end(reason, hook=True).directive = directive

    def directive(self, error: BaseException) -> str | None:
        """What the actor's own rules say of *error*; None: nothing but the usual."""
        rules = self.spec.given.get("on_failure")
        if not rules:
            return None
        found = directive_for(rules, error)
        return None if found == "restart" else found

    def interrupted(self) -> None:
        """The handler in hand was ended by the runtime: its message is dropped, and reported."""
        if self.hand is not None:
            self.lose(self.hand, self.ending.final_reason() if self.ending is not None else self.why_not())

    def release(self) -> None:
        """The handler has ended: nothing is in hand, and its code waits for nobody."""
        if isinstance(self.hand, Ask):
            self.hand.in_hand = False
        if self.belongings is not None and self.hand is not None and not isinstance(self.hand, News | Private):
            self.belongings.handled(message_of(self.hand))
        self.hand = None
        self.waits = None

    def use(self, table: HandlerTable) -> None:
        """Handle by *table*, from the next message on."""
        self.table = table if self.standing is None else self.standing.shown(table)
        self.look_up()

    def _check_sync(self, function: Callable[..., Any], result: Any) -> None:
        if type(result) is Continue and self.hand is None:
            self.replied(result, None)
        if type(result) is CoroutineType:
            result.close()
            problem = f"handler {function.__name__} returned a coroutine: declare it `async def`"
            raise InvalidActor(actor=type(self.actor).__qualname__, problem=problem)

    def _overflowed(self, message: object) -> None:
        """A full mailbox is this actor's failure, and what is in it goes before anybody is asked about a restart."""
        reason = Crashed(self._no_room(message))
        for item in self.make_mailbox().clear():
            self.lose(item, reason)
        self.report_crash(reason, None)
        if self.ending is None:
            self.end(reason, hook=True)

    def frames(self, error: BaseException) -> tuple[tuple[str, int, str], ...]:
        """Where *error* was raised, without the frames of the cell."""
        return frames_of(error.__traceback__, but=_OURS)

    def lose(self, item: Any, reason: ExitReason) -> None:
        """*item*, which had been accepted, is not handled."""
        if type(item) is Bundle:
            for each in item.items:
                self.lose(each, reason)
            return
        if isinstance(item, News | Private) and item.void:
            return
        message = message_of(item)
        self.dead_letter(message, sender_of(item), str(reason), told=is_plain(item))
        if isinstance(item, Ask):
            item.fail(ActorStopped(path=self.path, reason=reason, message=message))
