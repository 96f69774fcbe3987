"""What an actor sees of the runtime: ``self.context``."""

from __future__ import annotations

import asyncio
import inspect
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, TypeVar, overload

from understudy._plans._spec import ChildSpec, check_function
from understudy.actors._asks import Letter, Onward, Private, is_plain, message_of, trace_of
from understudy.actors._child import as_spec
from understudy.actors._life import Turn
from understudy.actors._monitors import Monitor, link, unlink
from understudy.actors._owned import PipeFailed
from understudy.actors._quiet import Quiet
from understudy.actors._ref import check_ref
from understudy.actors._reply import Promises, Reply, promise
from understudy.actors._supervisor_ref import ref_of, started
from understudy.actors._timers import check_delay
from understudy.actors._waiting import Waiting, check_timeout, frame_now, hand_now
from understudy.environment import place
from understudy.exceptions import ChildAlreadyPresent, InvalidContext, InvalidSpec, NameTaken

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Generator, Hashable, Mapping

    from understudy.actors._actor import Actor, Supervises
    from understudy.actors._cell import Cell
    from understudy.actors._event_bus import AsyncEventBus
    from understudy.actors._groups import Groups
    from understudy.actors._ref import ActorRef
    from understudy.actors._registry import Registry
    from understudy.actors._runtime import Runtime
    from understudy.actors._supervisor_ref import SupervisorRef
    from understudy.actors._timers import Timers
    from understudy.instrument import Statistics
    from understudy.messages import Asks

__all__ = ["Context", "System", "spawn_under"]

M = TypeVar("M")
T = TypeVar("T")
P = ParamSpec("P")
R = TypeVar("R")


class System(Protocol):
    """The system as an actor sees it: ``self.context.system``. It is an :class:`understudy.ActorSystem`."""

    @property
    def name(self) -> str:
        """The system's name."""
        ...

    @property
    def dead_letters(self) -> ActorRef[Any]:
        """The actor that knows of messages that were lost."""
        ...

    @property
    def events(self) -> AsyncEventBus:
        """The event bus."""
        ...

    @property
    def registry(self) -> Registry:
        """Actors by unique keys."""
        ...

    @property
    def groups(self) -> Groups:
        """The process groups."""
        ...

    def _running(self) -> Runtime: ...

    @overload
    async def spawn(self, actor: ChildSpec[M], /) -> ActorRef[M]: ...
    @overload
    async def spawn(
        self, actor: Callable[P, Supervises[M]], /, *args: P.args, **kwargs: P.kwargs
    ) -> SupervisorRef[M]: ...
    @overload
    async def spawn(self, actor: Callable[P, Actor[M]], /, *args: P.args, **kwargs: P.kwargs) -> ActorRef[M]: ...

    @overload
    def lookup(self, path: str, actor: type[Supervises[M]]) -> SupervisorRef[M]: ...
    @overload
    def lookup(self, path: str, actor: type[Actor[M]]) -> ActorRef[M]: ...
    @overload
    def lookup(self, path: str) -> ActorRef[Any]: ...

    @overload
    def find(self, path: str, actor: type[Supervises[M]]) -> SupervisorRef[M] | None: ...
    @overload
    def find(self, path: str, actor: type[Actor[M]]) -> ActorRef[M] | None: ...
    @overload
    def find(self, path: str) -> ActorRef[Any] | None: ...

    def statistics(self) -> Statistics:
        """Counts since the start, and how many actors there are."""
        ...

    def stop(self, detail: str = "") -> None:
        """Request the orderly end of the system; returns at once."""
        ...

    async def wait_stopped(self) -> None:
        """Wait until the system has ended."""
        ...


class Context:
    """The way from an actor to its ref, its children and its system.

    It belongs to one incarnation. When that has ended, whoever still holds it gets an ``InvalidContext``, so that code
    of an earlier incarnation that is still running cannot touch the next one.
    """

    __slots__ = ("_actor", "_cell")

    def __init__(self, cell: Cell, actor: object) -> None:
        self._actor = actor
        self._cell = cell

    @property
    def _alive(self) -> Cell:
        if self._cell.actor is not self._actor:
            raise InvalidContext(
                what=f"context of {self._cell.path}",
                problem="this incarnation has ended; what it holds is no longer its own",
            )
        return self._cell

    @property
    def _here(self) -> Cell:
        """For what does something, which only the event loop may; what merely tells who is there, threads may ask."""
        cell = self._alive
        if place() != cell.place:
            raise cell.runtime.misplaced(
                f"context of {cell.path}", "send a message by self.context.ref.tell_threadsafe"
            )
        return cell

    @property
    def _hand(self) -> Any:
        """The envelope that is being handled, or what needs none."""
        cell = self._alive
        return hand_now() if type(frame_now()) is Turn else cell.hand

    @property
    def ref(self) -> ActorRef[Any]:
        """The actor's own ref."""
        return ref_of(self._alive)

    @property
    def path(self) -> str:
        """The actor's path, like ``/user/meters/north``."""
        return self._cell.path

    @property
    def incarnation(self) -> int:
        """1 for the first start, 2 after the first restart, and so on."""
        return self._alive.incarnation

    @property
    def sender(self) -> ActorRef[Any] | None:
        """The actor that has asked, or that was named in ``tell(..., sender=)``; None for everybody else."""
        hand = self._hand
        return ref_of(hand.sender) if isinstance(hand, Letter) and hand.sender is not None else None

    @property
    def trace(self) -> Mapping[str, str]:
        """What the sender's :meth:`understudy.Instrument.trace_context` has sent along from another node, or nothing.

        It is what that node says, and no more than that: texts, of any size that a message may have.
        """
        return trace_of(self._hand) or {}

    @property
    def parent(self) -> ActorRef[Any] | None:
        """Who supervises this actor; None for those at the top."""
        parent = self._alive.parent
        return None if parent is None else ref_of(parent)

    @property
    def children(self) -> tuple[ActorRef[Any], ...]:
        """The actors that this one supervises, in the order of their starts."""
        family = self._alive.family
        if family is None:
            return ()
        return tuple(ref_of(child.cell) for child in family.children.values() if not child.cell.dead)

    @property
    def system(self) -> System:
        """The system in which the actor lives."""
        system: System = self._alive.runtime.system
        return system

    @overload
    async def spawn(self, actor: ChildSpec[M], /) -> ActorRef[M]: ...
    @overload
    async def spawn(
        self, actor: Callable[P, Supervises[M]], /, *args: P.args, **kwargs: P.kwargs
    ) -> SupervisorRef[M]: ...
    @overload
    async def spawn(self, actor: Callable[P, Actor[M]], /, *args: P.args, **kwargs: P.kwargs) -> ActorRef[M]: ...
    async def spawn(self, actor: Any, /, *args: Any, **kwargs: Any) -> ActorRef[Any]:
        """Start a child of this actor; returns when its ``initialize`` has ended.

        The child is restarted alone when it fails. Under a plain actor it has a budget of restarts of its own and ends
        for good when that is used up; under a supervisor it shares the supervisor's.

        Args:
            actor: The class, or what :func:`understudy.child` has made of it.
            *args: For the constructor of the class, passed to each incarnation as they are.
            **kwargs: Likewise.

        Raises:
            StartError: The constructor or ``initialize`` failed (``__cause__``); nothing is left.
            StartTimeout: ``initialize`` had not ended in time; nothing is left.
            NameTaken: A child has that name; carries its ref.
            InvalidSpec: The class is no actor, or the arguments do not fit its constructor.
            ActorStopped: This actor is on its way out.
            AskCycle: ``initialize`` waits for this actor.
        """
        return await spawn_under(self._alive, as_spec(actor, args, kwargs))

    def watch(self, ref: ActorRef[Any], *, pact: bool = False) -> Monitor:
        """Be told, by one :class:`understudy.Terminated`, when the actor at *ref* has ended for good.

        It is handled in the order of messages, behind all that the actor had sent to this one, and finds room in a
        mailbox that is full. A restart is not an end. Of an actor that has ended already it comes at once, with the
        reason ``NotFound``. Each call makes a monitor of its own; they end with this incarnation.

        Args:
            ref: Whom to watch.
            pact: Without a handler for ``Terminated``, the end of that actor is a failure of this one.

        Raises:
            InvalidSpec: *ref* is no ref.
            InvalidContext: It is of a system in another event loop.
        """
        cell, target = self._here, self._target(ref, "watch")
        book: dict[Monitor, None] = vars(self._actor).setdefault("_understudy_monitors", {})
        monitor = Monitor(cell, ref, target, book, pact=pact)
        monitor.begin()
        return monitor

    def unwatch(self, monitor: Monitor) -> None:
        """Cancel *monitor*: nothing of it is handled any more, not even what waits in the mailbox.

        Raises:
            InvalidSpec: It is not what :meth:`watch` has returned.
        """
        if not isinstance(monitor, Monitor):  # pyright: ignore[reportUnnecessaryIsInstance]
            problem = f"must be what `watch` has returned, got {monitor!r}"
            raise InvalidSpec(child=f"unwatch of {self.path}", field="monitor", problem=problem)
        monitor.cancel()

    def link(self, ref: ActorRef[Any]) -> None:
        """Tie the lives of this actor and the one at *ref*: an abnormal end for good of either is the other's failure.

        It is as if by ``kill``, with the reason of the first, and the restart type decides what follows. An actor with
        ``"trap_exits": True`` in its options gets a :class:`understudy.LinkExit` instead. Links are between identities:
        they outlive restarts. Linking twice is linking once.

        Raises:
            InvalidSpec: *ref* is no ref.
            InvalidContext: It is of a system in another event loop.
        """
        cell, target = self._here, self._target(ref, "link")
        link(cell, ref_of(cell), target, ref)

    def unlink(self, ref: ActorRef[Any]) -> None:
        """Undo :meth:`link`; it is no error if there is none.

        No ``LinkExit`` of it is handled from here on, not even one that waits in the mailbox.
        """
        cell, target = self._here, self._target(ref, "unlink")
        unlink(cell, ref_of(cell), target, ref)

    def _target(self, ref: ActorRef[Any], call: str) -> Cell:
        """Whom *call* is about."""
        cell = check_ref(ref, f"{call} of {self.path}")._cell  # pyright: ignore[reportPrivateUsage]
        cell.check_loop()
        return cell

    def tell_next(self, message: object) -> None:
        """Have *message* handled before all that waits, like :class:`understudy.Continue`; several in their order.

        It is gone with the incarnation. It reaches handlers whose names begin with ``_``, and the others.
        """
        cell = self._here
        before = cell.take_onward()
        cell.give_back(cell.make_mailbox(), *before, Onward(message, cell))
        cell.wake()

    # What comes later

    @property
    def timers(self) -> Timers:
        """Messages to oneself, later: ``self.context.timers.after("retry", 5.0, Retry())``."""
        return self._here.own().timers

    def receive_timeout(self, seconds: float | None) -> None:
        """Be told by a :class:`understudy.ReceiveTimeout` when no message has come for *seconds*; None: no more.

        There is one for each quiet period: the next comes after another message and as much quiet again. Messages whose
        class says ``resets_receive_timeout = False``, signals, and what the actor sends itself do not end the quiet.

        Raises:
            InvalidTimeout: Not a positive, finite number of seconds.
        """
        belongings = self._here.own()
        quiet = None if seconds is None else Quiet(self._here, check_delay(seconds))
        if belongings.quiet is not None:
            belongings.quiet.stop()
        belongings.quiet = quiet
        belongings.apply()

    # What waits

    def stash(self, message: object) -> None:
        """Put *message*, the one in hand, aside until :meth:`unstash_all`. Who has asked it goes on waiting.

        What the handler returns is no reply then. If the actor is restarted, what is stashed goes back into the
        mailbox, in front; if it ends for good, to the dead letters.

        Raises:
            MailboxFull: As many are stashed as the option ``stash`` allows (1,000 by default).
        """
        self._here.own().stash.add(message)

    def unstash_all(self) -> None:
        """Handle next, in their order, all that are stashed now. What is stashed again waits for the next time."""
        self._here.own().stash.release()

    @property
    def stashed(self) -> int:
        """How many messages are stashed."""
        return len(self._here.own().stash)

    async def receive(self, predicate: Callable[[Any], object], *, timeout: float | None = None) -> Any:
        """In an ``async def`` handler: the next message that *predicate* is true of, out of turn.

        The others stay in the mailbox, in their order. Each message is shown to *predicate* once. Asks are not shown to
        it, nor signals: they wait for their handlers.

        Args:
            predicate: Called with messages; it must be quick.
            timeout: Seconds to wait; None: without limit.

        Raises:
            TimeoutError: None came in time.
            InvalidTimeout: Not a positive number of seconds.
            InvalidContext: Not called in an ``async def`` handler or hook of this actor.
        """
        cell, timeout = self._here, check_timeout(timeout)
        if Waiting.now().cell is not cell:
            problem = "works in the actor's own async handlers and hooks only"
            raise InvalidContext(what=f"receive of {cell.path}", problem=problem)
        try:
            item = await cell.make_mailbox().get(
                lambda item: is_plain(item) and predicate(message_of(item)), timeout=timeout
            )
        except TimeoutError:
            raise TimeoutError(f"{cell.path} has received nothing like that within {timeout:g} s") from None
        return message_of(item)

    def become(self, function: Callable[[Any], Any], *, keep: bool = False) -> None:
        """From the next message on, let *function*, ``def`` or ``async def``, take all that the handlers take now.

        Signals and what the actor sends itself still go to their handlers. What *function* returns is the reply; what
        it does not want it refuses with ``return self.handle_message(message)``. A restart begins with the handlers of
        the class.

        Args:
            function: Usually a method.
            keep: Keep the present one beneath, for :meth:`unbecome`; by default the new one takes its place.

        Raises:
            InvalidSpec: *function* cannot be called.
        """
        self._check_callables("become", function=function)
        self._here.own().become(function, keep=keep)

    def unbecome(self) -> bool:
        """Go back to what was there before the last :meth:`become`; False: the handlers of the class are."""
        return self._here.own().unbecome()

    # What runs beside

    def start_task(self, coroutine: Coroutine[Any, Any, T], *, name: str | None = None) -> asyncio.Task[T]:
        """Run *coroutine* as a task that belongs to this incarnation.

        It is cancelled when the incarnation ends, which waits for it within its grace; one that resists is abandoned.
        If it fails, the actor does; that it is cancelled is no failure. It has neither a deadline nor the context
        variables of who starts it, and must not touch the actor's state across an ``await``.

        Raises:
            InvalidSpec: It is no coroutine.
        """
        if not asyncio.iscoroutine(coroutine):
            problem = f"must be what an `async def` returns when it is called, got {coroutine!r}"
            raise InvalidSpec(child=f"start_task of {self.path}", field="coroutine", problem=problem)
        with _started_or_closed(coroutine):
            return self._here.own().owned.start(coroutine, name)

    def pipe_to_self(
        self,
        awaitable: Awaitable[T],
        to: Callable[[T], object],
        *,
        failed: Callable[[Exception], object] = PipeFailed,
    ) -> None:
        """Wait for *awaitable* beside the handlers, and send the actor what becomes of it, as a message of its own.

        The message is handled by a handler whose name begins with ``_``. It is dropped when the incarnation has ended.

        Args:
            awaitable: What to wait for.
            to: Makes the message out of the result.
            failed: Makes it out of an error; by default a :class:`understudy.PipeFailed`. That what was awaited has
                been cancelled by somebody else is one too, a ``concurrent.futures.CancelledError``.

        Raises:
            InvalidSpec: *awaitable* cannot be awaited, or one of the others cannot be called.
        """
        with _started_or_closed(awaitable):
            self._check_callables("pipe_to_self", to=to, failed=failed)
            if not inspect.isawaitable(awaitable):
                problem = f"must be a coroutine, a task or a future, got {awaitable!r}"
                raise InvalidSpec(child=f"pipe_to_self of {self.path}", field="awaitable", problem=problem)
            self._here.own().owned.pipe(awaitable, to, failed)

    def run_blocking(
        self,
        function: Callable[[], T],
        to: Callable[[T], object],
        *,
        failed: Callable[[Exception], object] = PipeFailed,
    ) -> None:
        """Call *function* in a thread, and send the actor what becomes of it; otherwise as :meth:`pipe_to_self`.

        A thread cannot be interrupted: when the incarnation ends before it, its result goes nowhere, but it runs to its
        end, and the process does not end before it. No more than ``Settings.blocking_threads`` run at a time.

        Args:
            function: Called without arguments; it must not touch the actor.
            to: Makes the message out of the result, in the event loop.
            failed: Makes it out of an error.

        Raises:
            InvalidSpec: One of the three cannot be called, or *function* is an ``async def``.
        """
        self._check_callables("run_blocking", function=function, to=to, failed=failed)
        if inspect.iscoroutinefunction(function):
            problem = f"must not be an `async def`: use start_task or pipe_to_self, got {function!r}"
            raise InvalidSpec(child=f"run_blocking of {self.path}", field="function", problem=problem)
        cell = self._here
        cell.own().owned.pipe(cell.runtime.blocking.call(function), to, failed)

    def _check_callables(self, call: str, **functions: object) -> None:
        for name, function in functions.items():
            check_function(name, function, f"{call} of {self.path}")

    def register(self, key: Hashable, value: Any = None) -> None:
        """Enter this actor into ``system.registry`` under *key*, or set the value of that entry.

        It may be done in ``initialize``: an incarnation that enters what the last one has entered changes nothing but
        the value.

        Raises:
            KeyTaken: Another actor has the key; carries its ref.
        """
        cell = self._here
        cell.runtime.system.registry.register(key, ref_of(cell), value)

    def join(self, group: Hashable) -> None:
        """Make this actor a member of *group* in ``system.groups``, unless it is one; for ``initialize``."""
        cell = self._here
        groups, ref = cell.runtime.system.groups, ref_of(cell)
        if ref not in groups.members(group):
            groups.join(group, ref)

    @overload
    def reply_later(self) -> Reply[Any]: ...
    @overload
    def reply_later(self, message: Asks[Any, R]) -> Reply[R]: ...
    def reply_later(self, message: Any = None) -> Reply[Any]:
        """Promise a reply to the ask that is being handled, and let its handler end without one.

        What the handler returns then is not the reply; it may return the handle, and be annotated so:
        ``-> Reply[int]``. An error that leaves the handler still fails the ask, and is a crash. Whoever waits for a
        promised reply is not seen to wait for this actor: a circle of such waits ends at a deadline.

        Args:
            message: The message in hand, for the type checkers: they then know what type the reply must have.

        Raises:
            InvalidContext: The message in hand was not asked, or the reply to it has been promised already.
        """
        cell = self._here
        # A `def` handler has no frame; code of a message that is over has the frame of that.
        hand = cell.hand if frame_now() is None else hand_now()
        promises: Promises = vars(self._actor).setdefault("_understudy_promises", Promises())
        return promise(hand, promises, message)

    def stop(self) -> None:
        """End normally after the message in hand. A permanent actor is restarted then, and that counts."""
        self._here.request_end()

    def tell_self(self, message: object) -> bool:
        """Put *message* into the own mailbox; it reaches handlers whose names begin with ``_``, and only this way."""
        cell = self._here
        accepted = cell.accept(Private(message, cell))
        if not accepted:
            cell.refuse(message, cell.path)
        return accepted


@contextmanager
def _started_or_closed(awaitable: object) -> Generator[None, None, None]:
    """A coroutine that is refused is closed, or Python complains that nobody has awaited it."""
    try:
        yield
    except BaseException:
        if asyncio.iscoroutine(awaitable):
            awaitable.close()
        raise


async def spawn_under(parent: Cell, spec: ChildSpec[Any], *, declared: bool = False) -> ActorRef[Any]:
    """Start *spec* under *parent*, wait until it is up, and return its ref.

    One that is *declared* is stopped after those that are not.
    """
    parent.check_loop()
    taken = parent.family.children.get(spec.name) if parent.family is not None and spec.name is not None else None
    if taken is not None and taken.cell.dead:
        raise ChildAlreadyPresent(supervisor=parent.path, name=taken.cell.name)
    if taken is not None:
        raise NameTaken(path=taken.cell.path, ref=ref_of(taken.cell))
    child = parent.spawn(spec, declared=declared)
    return ref_of(child.cell) if child.up else await started(child)
