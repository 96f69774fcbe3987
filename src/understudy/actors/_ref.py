"""The address of an actor."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Any, Generic, Never, Protocol, Self

from pydantic_core import core_schema
from typing_extensions import TypeVar

from understudy.actors._asks import FRAME, Ask, Letter
from understudy.actors._debug import Debug
from understudy.actors._plain_ask import PENDING, PlainAsk
from understudy.actors._streams import Stream
from understudy.actors._threads import Errand
from understudy.actors._waiting import NOBODY, Waiting, check_timeout, end_of
from understudy.environment import not_now, place
from understudy.exceptions import (
    ActorStopped,
    AskCycle,
    AskTimeout,
    InvalidContext,
    InvalidSpec,
    MailboxFull,
    UnderstudyError,
)
from understudy.mailbox._errors import QueueClosed, QueueFull
from understudy.reasons import Shutdown

if TYPE_CHECKING:
    import concurrent.futures
    from collections.abc import Callable

    from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler

    from understudy.actors._cell import Cell
    from understudy.messages import Asks, Streams
    from understudy.reasons import ExitReason

__all__ = ["REF_FORMAT", "ActorRef", "Carrier", "check_ref", "letter_from"]

M_contra = TypeVar("M_contra", contravariant=True)
R = TypeVar("R")
T = TypeVar("T")


class ActorRef(Generic[M_contra]):
    """The address of an actor that takes messages of type *M_contra*.

    It outlives restarts: the same ref reaches the next incarnation, through the same mailbox. It belongs to the event
    loop of its system; other threads use :meth:`tell_threadsafe` and :meth:`ask_threadsafe`. Two refs to one actor are
    equal. It may be a field of a message; it cannot be pickled.
    """

    __slots__ = ("__weakref__", "_cell")

    def __init__(self, cell: Cell) -> None:
        self._cell = cell

    @property
    def path(self) -> str:
        """Like ``/user/meters/north``."""
        return self._cell.path

    @property
    def uid(self) -> int:
        """Tells two actors apart that have had the same path, one after the other."""
        return self._cell.uid

    @property
    def status(self) -> str:
        """``"starting"``, ``"running"``, ``"restarting"``, ``"stopping"`` or ``"stopped"``, at this moment."""
        return self._cell.status

    # Messages

    def tell(self, message: M_contra, *, sender: ActorRef[Any] | None = None) -> bool:
        """Put *message* into the mailbox, at once or not at all.

        At most once, in the order sent. Never waits, and never raises for the state of the actor.

        Args:
            message: An object of a type that the actor handles. It is not copied.
            sender: Whom the handler shall find in ``self.context.sender``.

        Returns:
            False: the actor has stopped or its mailbox is full, and the message has become a dead letter.

        Raises:
            InvalidContext: Called outside of the event loop of the system.
            InvalidSpec: *sender* is no ref.
        """
        cell = self._cell
        # Whoever makes the event loop take a turn must be in it. On 3.11, that another loop of this very thread puts a
        # message behind others that wait already is not noticed: to ask for the loop costs as much as all the rest.
        if place() != cell.place or (cell.ready and not cell.runtime.dispatcher.marked):
            cell.check_loop()
        mailbox = cell.mailbox
        # The usual case of what is done below, without the calls.
        if sender is None and mailbox is not None and cell.gate is None:
            items = mailbox.items
            if len(items) < mailbox.append_below:
                items.append(message)
                mailbox.total_in += 1
                if cell.ready:
                    cell.ready = False
                    cell.queued = True
                    cell.runtime.dispatcher.push(cell)
                return True
        if cell.gate is None and cell.accept(message if sender is None else letter_from(sender, message, self)):
            return True
        path = None if sender is None else check_ref(sender, f"tell to {self.path}", "sender").path
        cell.refuse(message, path, told=True)
        return False

    def tell_quietly(self, message: M_contra) -> bool:
        """:meth:`tell`, but a message that is not accepted leaves no trace; for messages about lost messages."""
        return self._cell.accept(message)

    async def send(self, message: M_contra, *, timeout: float | None = None) -> None:
        """Put *message* into the mailbox; wait for room while it is full (back-pressure).

        Who waits is served first come, first served, and no ``tell`` overtakes. If this raises, the message was not
        put. That it returns does not say that the message has been handled, or will be.

        Args:
            message: An object of a type that the actor handles.
            timeout: Seconds to wait for room; by default without limit.

        Raises:
            MailboxFull: No room in time, or the policy of the mailbox refuses the message; carries it.
            ActorStopped: The actor was, or went, down for good; carries the message.
            AskCycle: The actor is, directly or not, waiting for this one.
            InvalidTimeout: Not a positive number of seconds.
        """
        if timeout is not None:
            timeout = check_timeout(timeout)
        cell = self._cell
        if not cell.runtime.env.is_here():
            cell.check_loop()
        if cell.gate is not None:
            cell.refuse(message, None)
            raise cell.stopped_error(message)
        mailbox = cell.mailbox
        # The usual case of `offer`, without the call.
        if mailbox is not None and len(mailbox.items) < mailbox.append_below:
            mailbox.items.append(message)
            mailbox.total_in += 1
        elif not cell.make_mailbox().offer(message):
            await self._send_later(message, timeout)
        if cell.ready:
            cell.wake()

    async def ask(  # noqa: C901 - each call tells
        self, message: Asks[M_contra, R], *, timeout: float | None = None
    ) -> R:
        """Send *message* and wait for the reply.

        At most once. Messages from one sender arrive in the order sent; nothing is promised between senders. A timeout
        says nothing about whether the actor handled the message; a late reply becomes a dead letter. An ask whose
        deadline has passed, or whose asker was cancelled, is not started any more.

        Args:
            message: A :class:`understudy.Message` that the actor handles.
            timeout: Seconds to wait. None: what is left of the ask being handled, else the message class's
                ``reply_within``, else the system's ``ask_timeout`` (5.0). A given value is cut to what is left;
                ``math.inf`` waits as long as that allows.

        Raises:
            AskTimeout: No reply in time; says whether the message was accepted, started, or waiting behind a restart.
            Refused: The actor said no; its state is untouched.
            ActorFailed: The handler crashed; ``__cause__`` is what it raised.
            Unhandled: The actor has no handler for it.
            MailboxFull: The policy of the mailbox has refused the message, or thrown it away.
            ActorStopped: The actor was, or went, down before replying; carries the reason.
            AskCycle: The actor is, directly or not, waiting for this one.
            InvalidTimeout: Not a positive number of seconds.
        """
        if timeout is not None:
            timeout = check_timeout(timeout)
        cell = self._cell
        runtime = cell.runtime
        env, dispatcher = runtime.env, runtime.dispatcher
        # Where others have put messages before and a turn is to come, it is enough to look closer once this fails.
        if place() != cell.place or not ((cell.queued and dispatcher.crowded) or env.is_here()):
            cell.check_loop()
        now, default = env.now(), runtime.settings.ask_timeout
        if FRAME.get() is None:  # what `seconds` does for nobody, without the call
            waiting, asker = NOBODY, None
            seconds = timeout or getattr(message, "reply_within", None) or default
        else:
            waiting = Waiting.now()
            asker, seconds = waiting.cell, waiting.seconds(timeout, message, now, default)
        ask = PlainAsk(message, asker, cell, seconds, now + seconds)
        if cell.gate is not None:
            cell.refuse(message, ask.sender_path)
            raise cell.stopped_error(message)
        direct = cell.ready and type(message) in cell.table.direct and seconds > 0
        if direct and dispatcher.answer_ahead(cell, ask) is not not_now:
            # Nobody has waited, so nobody could wait for ever: no circle is looked for.
            there = ask.value is not PENDING and ask.error is None
            reply: R = ask.value if there else await _answered(ask, now, waiting)
            return reply
        if asker is not None:
            waiting.begin(cell, ask, message)
        try:
            if not (cell.ready and cell.remote and dispatcher.send_ahead(cell, ask)):
                mailbox = cell.mailbox
                # The usual case of `offer`, without the call.
                if mailbox is not None and len(items := mailbox.items) < mailbox.append_below:
                    items.append(ask)
                    mailbox.total_in += 1
                elif not cell.make_mailbox().offer(ask):
                    await self._put_ask(ask, seconds)
                if cell.ready:
                    cell.ready = False
                    cell.queued = True
                    dispatcher.push(cell)
                if dispatcher.crowded:
                    dispatcher.waiting += 1
                else:
                    dispatcher.run_ahead()
            if ask.value is PENDING:
                asks = runtime.asks
                # The usual case of `add`, without the call.
                if asks.fresh and ask.deadline >= asks.due:
                    asks.fresh[ask] = None
                else:
                    asks.add(ask, now)
                await ask
            if ask.error is not None:
                raise ask.error.with_traceback(None)
            reply = ask.value
        except BaseException as error:
            _give_up(ask, error)
            raise
        finally:
            runtime.asks.fresh.pop(ask, None)
            if asker is not None:
                waiting.end(ask)
        return reply

    def stream(
        self, message: Streams[M_contra, T], *, timeout: float | None = None, buffer: int | None = None
    ) -> Stream[T]:
        """Ask for a stream of replies: ``async for part in ref.stream(Tokens(prompt="...")): ...``.

        The handler is an asynchronous generator; what it yields are the parts. It is never further ahead than *buffer*
        parts, and is closed when the consumer leaves the loop, fails, is cancelled or dies: see
        :class:`understudy.Stream`. The parts come in order; those that were yielded before an error come before it. The
        actor handles nothing else for the life of the stream, unless its handler is reentrant.

        The deadline of the ask that is being handled when the first part is asked for bounds the whole. Without one
        there is no such bound.

        Args:
            message: A :class:`understudy.StreamMessage` that the actor handles.
            timeout: Seconds, the longest wait for the next part, also for the first; and the longest that the generator
                waits for a part to be taken. None: the system's ``stream_timeout`` (30.0).
            buffer: How many parts may have been yielded and not yet been taken. None: the system's ``stream_buffer``
                (16).

        Raises:
            InvalidTimeout: *timeout* is not a positive number of seconds.
            InvalidSpec: *buffer* is no whole number from 1 on.

        The loop raises:
            AskTimeout: No part in time, or the inherited deadline has come.
            ConsumerSlow: A part was not taken in time.
            Refused, ActorFailed, Unhandled, MailboxFull, ActorStopped, AskCycle: As from :meth:`ask`.
        """
        settings = self._cell.runtime.settings
        patience = check_timeout(timeout) or settings.stream_timeout
        limit = settings.stream_buffer if buffer is None else check_buffer(buffer, self.path)
        return Stream(self, message, patience, limit)

    _queues = False
    """Whether messages go into a queue of somebody else's instead of the actor's mailbox."""

    @property
    def _accepts(self) -> bool:
        """Whether messages are accepted; not by who has ended for good or is about to."""
        return self._cell.gate is None

    @property
    def _load(self) -> tuple[bool, int]:
        """What makes one preferable to others, the smaller the more: whether it is down, and what it has to do."""
        cell = self._cell
        return not cell.running, cell.waiting + (cell.hand is not None) + len(cell.turns or ())

    def _ask_now(self, ask: Ask) -> UnderstudyError | None:
        """Put *ask* where it belongs, or return what its asker gets: there is no room, or nobody. Never waits."""
        cell = self._cell
        if cell.accept(ask):
            return None
        cell.refuse(ask.message, ask.sender_path)
        return cell.stopped_error(ask.message) if cell.gate is not None else cell.full_error(ask.message)

    async def _send_later(self, message: M_contra, timeout: float | None) -> None:
        cell, waiting, token = self._cell, Waiting.now(), object()
        if cell.policy != "block":
            cell.refuse(message, None)
            raise cell.full_error(message)
        waiting.begin(cell, token, message)
        try:
            await self._put(message, message, timeout)
        except TimeoutError:
            capacity = cell.make_mailbox().capacity
            raise MailboxFull(path=cell.path, capacity=capacity, message=message, seconds=timeout) from None
        finally:
            waiting.end(token)

    async def _put_ask(self, ask: Ask, seconds: float) -> None:
        cell = self._cell
        if cell.policy != "block":
            cell.refuse(ask.message, ask.sender_path)
            raise cell.full_error(ask.message)
        # Not counted from now: who asks many may come late to this one.
        left = min(seconds, max(ask.deadline - cell.runtime.env.now(), _SHORTEST))
        try:
            await self._put(ask, ask.message, None if left == math.inf else left)
        except TimeoutError:
            suspended = ", suspended" if cell.suspended else ""
            state = f"never accepted: {cell.waiting:,} waiting, and no room for more{suspended}"
            raise AskTimeout(path=cell.path, message=ask.message, seconds=seconds, state=state) from None

    async def _put(self, item: object, message: object, timeout: float | None) -> None:
        cell = self._cell
        try:
            await cell.make_mailbox().put(item, timeout=timeout)
        except QueueClosed:
            cell.refuse(message, None)
            raise cell.stopped_error(message) from None
        except QueueFull:  # it weighs more than the mailbox can ever take
            cell.refuse(message, None)
            raise cell.full_error(message) from None

    # Life

    def stop(self) -> None:
        """Ask the actor to end for good; returns at once.

        The message in hand is completed, the others become dead letters, ``shutdown`` runs. Nobody restarts it. Its
        grace (the spec's ``shutdown``) bounds all of that. One that has nothing to do, and not that hook, may have
        ended when this returns.
        """
        cell = self._cell
        if not cell.runtime.env.is_here():
            cell.check_loop()
        cell.stop(_STOPPED)

    def drain(self, timeout: float | None = None) -> None:
        """Ask the actor to handle what is in its mailbox, accept nothing more, and end for good; returns at once.

        A restart in between does not end the draining.

        Args:
            timeout: Seconds after which what is left is treated as by :meth:`stop`; by default there is no limit but
                the system's.

        Raises:
            InvalidTimeout: Not a positive number of seconds.
        """
        timeout = check_timeout(timeout)
        self._cell.check_loop()
        self._cell.request_drain(timeout)

    def kill(self) -> None:
        """End the incarnation by force; returns at once.

        The handler in hand is interrupted at its next ``await`` (a ``def`` handler always ends first), ``shutdown``
        does not run. It is a failure: the parent restarts the actor, or does not, by its restart type.
        """
        self._cell.check_loop()
        self._cell.force(keep=True)

    async def wait_stopped(self, timeout: float | None = None) -> ExitReason:
        """Wait for the final end, past all restarts, and return its reason.

        Raises:
            TimeoutError: It has not ended in time.
            AskCycle: Called in a handler of that very actor.
            InvalidTimeout: Not a positive number of seconds.
        """
        if timeout is not None:
            timeout = check_timeout(timeout)
        cell = self._cell
        if not cell.runtime.env.is_here():
            cell.check_loop()
        dead = cell.dead
        if not dead:
            if Waiting.now().cell is cell:
                raise AskCycle(chain=(cell.path, cell.path))
            cell.runtime.dispatcher.run_ahead()
            dead = cell.dead
        if dead:
            return cell.reason or Shutdown()
        try:
            if timeout is None or timeout == math.inf:
                return await end_of(cell)
            async with asyncio.timeout(timeout):
                return await end_of(cell)
        except TimeoutError:
            raise TimeoutError(f"{cell.path} has not stopped within {timeout:g} s ({cell.status})") from None

    def when_stopped(self, callback: Callable[[ExitReason], object]) -> None:
        """Call *callback* with the reason at the final end, at once when that has come; for the runtime."""
        self._cell.observe(callback)

    @property
    def debug(self) -> Debug:
        """The debugging verbs: look at the actor, suspend it, trace it, replace its state or its class."""
        return Debug(self._cell)

    # Other threads

    def tell_threadsafe(self, message: M_contra) -> None:
        """:meth:`tell`, from any thread, also from that of the event loop.

        Messages of one thread arrive in the order sent, those of :meth:`ask_threadsafe` among them. Nothing is known of
        the outcome: a refused message becomes a dead letter. One that is still on its way when the event loop is closed
        is lost.

        Raises:
            ActorStopped: The event loop of the system is closed; carries the message.
            InvalidContext: This is a fork of the process of the system.
        """
        self._order(lambda: self._cell.runtime.env.call_from_thread(self.tell, message), message)

    def ask_threadsafe(
        self, message: Asks[M_contra, R], *, timeout: float | None = None
    ) -> concurrent.futures.Future[R]:
        """:meth:`ask`, from any thread. The future has the reply, or what :meth:`ask` would have raised.

        Cancelling the future cancels the ask: one that is still queued is not started any more. The deadline of an ask
        that is being handled does not bind it, and that its caller waits for an actor is seen by nobody: a circle of
        such waits ends at the timeout.

        In the thread of the event loop, ``await asyncio.wrap_future(future)`` waits for it, and ``future.result()``
        raises ``InvalidContext`` until it is done, as that would stop the loop for ever.

        Args:
            message: As for :meth:`ask`.
            timeout: As for :meth:`ask`; it begins when the event loop comes to it. To bound how long a loop that hangs
                is waited for, give ``future.result()`` a timeout too.

        Raises:
            ActorStopped: The event loop of the system is closed; carries the message. From the future, also: it was
                closed before the reply came.
            InvalidContext: This is a fork of the process of the system.
            InvalidTimeout: Not a positive number of seconds.
        """
        timeout = check_timeout(timeout)
        errand: Errand[R] = Errand(
            self._cell.runtime.env,
            f"ask:{self.path}",
            lambda: self.ask(message, timeout=timeout),
            lambda: self._loop_ended(message),
        )
        self._order(errand.order, message)
        return errand.future

    def _order(self, order: Callable[[], object], message: object) -> None:
        env = self._cell.runtime.env
        if env.forked:
            raise self._cell.runtime.misplaced(self.path, "")
        try:
            order()
        except RuntimeError:
            if not env.loop.is_closed():
                raise
            raise self._loop_ended(message) from None

    def _loop_ended(self, message: object) -> ActorStopped:
        reason = self._cell.gate or Shutdown("its event loop has ended")
        return ActorStopped(path=self.path, reason=reason, message=message)

    # As a value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ActorRef) and self._cell is other._cell

    def __hash__(self) -> int:
        return self._cell.uid

    def __repr__(self) -> str:
        return f"ActorRef({self._cell.path})"

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __reduce__(self) -> Never:
        raise InvalidContext(
            what=f"ActorRef {self.path}",
            problem="a ref belongs to the event loop of its system and cannot be pickled: send its path",
        )

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.json_or_python_schema(
            json_schema=core_schema.with_info_after_validator_function(_arrive, core_schema.str_schema()),
            python_schema=core_schema.is_instance_schema(ActorRef),
            serialization=core_schema.plain_serializer_function_ser_schema(
                _leave, info_arg=True, return_schema=core_schema.str_schema(), when_used="json"
            ),
        )

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {"type": "string", "format": REF_FORMAT}


async def _answered(ask: PlainAsk, now: float, waiting: Waiting) -> Any:
    """The handler of *ask*, which came *now*, has been called: wait for the reply if there is none yet."""
    runtime = ask.cell.runtime
    try:
        if not ask.done():
            if not ask.promised:  # it has been put aside; else whoever has the handle is waited for, not the actor
                waiting.begin(ask.cell, ask, ask.message)
            runtime.asks.add(ask, now)
            await ask
        return ask.result()
    except BaseException as error:
        _give_up(ask, error)
        raise
    finally:
        runtime.asks.fresh.pop(ask, None)
        waiting.end(ask)


def _give_up(ask: Ask, error: BaseException) -> None:
    """The asker waits no more, because of *error*."""
    if isinstance(error, asyncio.CancelledError) and ask.answered:  # in the tick of that, which wins
        ask.late(ask.future.result())
    ask.give_up()
    if type(error) is RuntimeError:  # of asyncio's: his is another loop
        ask.cell.check_loop()


REF_FORMAT = "understudy-ref"
"""What tells a ref from other strings in a JSON schema."""


class Carrier(Protocol):
    """What takes refs to other processes, and brings them back; the pydantic context of what crosses over."""

    def address_of(self, ref: ActorRef[Any]) -> str:
        """What stands for *ref* on the way."""
        ...

    def ref_at(self, address: str) -> ActorRef[Any]:
        """The ref for which *address* stands."""
        ...


def _leave(ref: ActorRef[Any], info: core_schema.SerializationInfo) -> str:
    return _carrier(info.context).address_of(ref)


def _arrive(address: str, info: core_schema.ValidationInfo) -> ActorRef[Any]:
    return _carrier(info.context).ref_at(address)


def _carrier(context: Any) -> Carrier:
    if context is None or not hasattr(context, "ref_at"):
        problem = "a ref becomes JSON, and comes back, only over a link between systems"
        raise InvalidContext(what="ActorRef", problem=problem)
    carrier: Carrier = context
    return carrier


def check_ref(ref: ActorRef[R], where: str, field: str = "ref") -> ActorRef[R]:
    """*ref*, if it is one; *where* it was given, and as what."""
    if isinstance(ref, ActorRef):  # pyright: ignore[reportUnnecessaryIsInstance]
        return ref
    raise InvalidSpec(child=where, field=field, problem=f"must be the ref of an actor, got {ref!r}")


def letter_from(sender: ActorRef[Any], message: object, to: ActorRef[Any]) -> Letter:
    """*message* with its *sender*, for the actor at *to*."""
    return Letter(message, check_ref(sender, f"tell to {to.path}", "sender")._cell)  # pyright: ignore[reportPrivateUsage]


def check_buffer(buffer: object, path: str) -> int:
    """*buffer*, if it is a number of parts."""
    if isinstance(buffer, int) and not isinstance(buffer, bool) and buffer >= 1:
        return buffer
    problem = f"must be a whole number of parts from 1 on, got {buffer!r}"
    raise InvalidSpec(child=f"a stream of {path}", field="buffer", problem=problem)


_STOPPED = Shutdown("stopped")
_SHORTEST = 1e-9
"""Seconds: the shortest wait."""
