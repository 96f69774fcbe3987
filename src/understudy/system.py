"""``ActorSystem``: the root. It owns every task, the names, the clock, the dispatcher and the shutdown."""

from __future__ import annotations

import asyncio
import difflib
import itertools
import math
from collections import deque
from contextvars import Context
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, Self, TypeAlias, TypeVar, get_args, overload

from understudy._plans._instant import INSTANT
from understudy._plans._spec import ChildSpec, check_class, check_name
from understudy._tree import Tree, node_of
from understudy.actors._actor import Actor
from understudy.actors._addresses import absolute
from understudy.actors._cell import Cell
from understudy.actors._child import as_spec, child
from understudy.actors._context import spawn_under
from understudy.actors._dead_letters import (
    CountDeadLetters,
    DeadLetters,
    ReplayDeadLetters,
    SubscribeDeadLetters,
    UnsubscribeDeadLetters,
)
from understudy.actors._event_bus import AsyncEventBus
from understudy.actors._groups import Groups
from understudy.actors._guardian import Guardian
from understudy.actors._registry import Registry
from understudy.actors._reporter import LogInstrument, Reporter
from understudy.actors._runtime import Runtime
from understudy.actors._settings import Settings
from understudy.actors._supervisor_ref import ref_of
from understudy.actors._watchdog import Watchdog
from understudy.exceptions import (
    ActorNotFound,
    ActorStopped,
    InvalidContext,
    InvalidSpec,
    StartError,
    SystemCollapsed,
)
from understudy.instrument import Instrument, LoopLag, Statistics
from understudy.reasons import ExitReason, Shutdown, is_abnormal, root_error

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
    from os import PathLike
    from types import TracebackType

    from understudy.actors._actor import Supervises
    from understudy.actors._ref import ActorRef
    from understudy.actors._supervisor_ref import SupervisorRef
    from understudy.transports._connection import Transport
    from understudy.transports._connector import Listening
    from understudy.transports._remote_node import RemoteNode
    from understudy.transports._terms import LinkOptions
    from understudy.transports._tls import Tls

    _Chore: TypeAlias = Callable[[], Coroutine[Any, Any, object]]

__all__ = ["ActorSystem", "Phases"]

M = TypeVar("M")
P = ParamSpec("P")
Phase: TypeAlias = Literal["before", "after"]

_MOMENT = 0.1
"""Seconds that what is quick gets even where there is no time left."""
_PATIENCE = 1.0
"""Seconds of real time for the watchdog's thread to end, which may be writing to a log that does not go on."""
_NEAREST = 10_000
"""How many paths are looked through for names that come close to one that is not there."""


class Phases:
    """What users want done during the shutdown, besides the ends of actors.

    ``before`` any actor is stopped, and ``after`` all have ended. The tasks of a phase run at once, each phase within
    ``Settings.phase_timeout``; one that fails or does not end in time is reported and does not stop the others.
    """

    def __init__(self) -> None:
        self._tasks: dict[str, list[tuple[str, Callable[[], Awaitable[object]]]]] = {
            name: [] for name in get_args(Phase)
        }

    def add(self, phase: Phase, task: Callable[[], Awaitable[object]], *, name: str | None = None) -> None:
        """Call *task* and await what it returns in that phase; *name* is for reports."""
        if phase not in self._tasks:
            problem = f"must be 'before' or 'after', got {phase!r}"
            raise InvalidSpec(child="phases", field="phase", problem=problem)
        self._tasks[phase].append((name or str(getattr(task, "__qualname__", task)), task))

    def of(self, phase: Phase) -> Sequence[tuple[str, Callable[[], Awaitable[object]]]]:
        """What was added, in that order."""
        return self._tasks[phase]


class ActorSystem:
    """A supervision tree, running for as long as the body of ``async with``.

    ::

        async with ActorSystem(Meters) as system:
            north = system.lookup("meters/north", Meter)

    It enters when the whole tree has started. Leaving it stops everything in order: first what was spawned, then the
    tree in the reverse order of its start, within ``Settings.shutdown_timeout`` whatever user code does. When it has
    closed, no task of it is left but those that would not end (``abandoned``).

    The tree is never restarted. Its abnormal end is the collapse of the system: the body is cancelled, and leaving it
    raises ``SystemCollapsed`` with the chain of causes. Its normal end is the end of the system: actors stop, the body
    goes on. It installs no signal handlers; a cancel of the task inside ``async with`` is an orderly stop, and a second
    one shortens it by force. It can be used once.

    Where ``async with`` does not fit, since beginning and end are in different tasks, there are :meth:`start` and
    :meth:`aclose`. All calls are for the event loop in which it was entered; for programs without one there is
    :class:`understudy.Background`.

    Args:
        tree: A supervisor class, a spec, or what :func:`understudy.supervisor` has declared; None for an empty system.
        name: Its name, for people.
        settings: Defaults for its actors and the bounds of its shutdown.
        instruments: Who else shall be told what happens.

    Raises:
        InvalidSpec: The tree or the name cannot be used.
        StartError: On entering: an actor of the tree did not start; everything has been stopped again.
        SystemCollapsed: On leaving: the tree ended abnormally.
    """

    def __init__(
        self,
        tree: ChildSpec[Any] | Callable[[], Actor[Any]] | None = None,
        *,
        name: str = "system",
        settings: Settings | None = None,
        instruments: Iterable[Instrument] = (),
    ) -> None:
        self.name = check_name(name, "system")
        self.phases = Phases()
        self._spec = None if tree is None else as_spec(tree, (), {}).options(restart="temporary")
        self._settings = settings if settings is not None else Settings()
        self._instruments = tuple(instruments)
        self._runtime: Runtime | None = None
        self._guardians: dict[str, Cell] = {}
        self._dead_letters: ActorRef[Any] | None = None
        self._events: AsyncEventBus | None = None
        self._watchdog: Watchdog | None = None
        self._understudy_node: Any = None
        # The tree's abnormal end, or an interrupt, if that is why the system stops.
        self._collapse: tuple[str, ExitReason] | None = None
        self._interrupted = False
        self._stopping: str | None = None
        self._forced = False
        # When force was first asked for; users' tasks that are under way have a moment from then on.
        self._forced_at = math.inf
        self._phase_now = ""
        self._phase_began = 0.0
        # One group with one child: its structure holds, and whatever happens to the actors' tasks cannot reach it. None
        # where the beginning and the end are in different tasks, as a group must be left by who has entered it.
        self._group: asyncio.TaskGroup | None = None
        # Nobody else holds the steward then.
        self._steward_task: asyncio.Task[None] | None = None
        # The task inside `async with`, while it is inside, and whether we have cancelled it.
        self._body: asyncio.Task[Any] | None = None
        self._body_cancelled = False

    # Entering and leaving

    async def __aenter__(self) -> Self:
        self._check_fresh()
        self._group = asyncio.TaskGroup()
        await self._group.__aenter__()
        await self._enter()
        self._body = asyncio.current_task()
        self._check_body()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        body, self._body = self._body, None
        self.stop("left")
        pending = 0
        if self._body_cancelled:
            assert body is not None
            body.uncancel()
            pending = 0 if isinstance(error, asyncio.CancelledError) else 1
        await self._close(swallow=pending, error=error)
        outside = body is not None and body.cancelling() > 0 and isinstance(error, asyncio.CancelledError)
        if not outside:
            self._raise_end(error)

    async def start(self) -> Self:
        """Start everything, and return the system; it goes on until :meth:`aclose`.

        For where ``async with`` does not fit: the hooks of a framework, the cells of a notebook. Prefer ``async with``,
        which cannot be forgotten, and whose body is cancelled when the tree collapses. Here nobody is: the log tells of
        it, the actors have stopped, :meth:`wait_stopped` returns, and :meth:`aclose` raises.

        Raises:
            InvalidSpec: The tree or the name cannot be used.
            StartError: An actor of the tree did not start; everything has been stopped again.
            InvalidContext: It has been started before.
        """
        self._check_fresh()
        await self._enter()
        return self

    async def aclose(self) -> None:
        """After :meth:`start`, in any task: stop everything in order; returns when all has ended.

        It takes no longer than leaving ``async with`` does, and a cancel shortens it by force. It may be called again,
        and tells the same again.

        Raises:
            SystemCollapsed: The tree had ended abnormally.
            KeyboardInterrupt: A handler had raised it.
            InvalidContext: It was not started, or by ``async with``.
        """
        self._here()
        if self._group is not None:
            problem = "its `async with` closes it: leave that, or request its end with stop()"
            raise InvalidContext(what=f"system {self.name!r}", problem=problem)
        self.stop("closed")
        await self._close(swallow=0, error=None)
        self._raise_end(None)

    def _check_fresh(self) -> None:
        if self._runtime is not None:
            raise InvalidContext(what=f"system {self.name!r}", problem="a system can be entered once; make a new one")

    async def _enter(self) -> None:
        self._open()
        try:
            await self._start()
        except BaseException as error:
            self.stop("it did not start")
            await self._close(swallow=0, error=error)
            raise

    def _open(self) -> None:
        loop = asyncio.get_running_loop()
        log = LogInstrument()
        runtime = self._runtime = Runtime.of(loop)(loop, self._settings, (log, *self._instruments), self)
        log.runtime = runtime
        if self._settings.watchdog is not None:  # first of all: where there is no thread to be had, nothing has begun
            self._watchdog = Watchdog(runtime, self._settings.watchdog, self.name)
            self._watchdog.start()
        runtime.interrupt = self._interrupt
        self._registry, self._groups = Registry(self), Groups(runtime)
        self._stop_requested: asyncio.Future[None] = loop.create_future()
        self._force_requested: asyncio.Future[None] = loop.create_future()
        self._closed: asyncio.Future[None] = loop.create_future()
        self._start_steward(runtime)
        for name in ("system", "user"):
            spec = child(Guardian).options(name=name)
            self._guardians[name] = cell = Cell(runtime, None, spec, name)
            cell.start()
        self._log = log

    async def _start(self) -> None:
        runtime, guardians = self._running(), self._guardians
        # Their ends are quick and are not to be forced, however late the event loop is.
        reporter = child(Reporter, runtime, self._log.recent).options(
            name="reporter", mailbox=100_000, shutdown="infinity"
        )
        self._log.ref = await spawn_under(guardians["system"], reporter)
        letters = child(DeadLetters, runtime).options(name="dead_letters", shutdown="infinity")
        self._dead_letters = await spawn_under(guardians["system"], letters)
        self._begin("starting")
        if self._spec is not None:
            tree = await self._start_tree(self._spec)
            tree.when_stopped(lambda reason: self._tree_ended(tree.path, reason))
        self._begin("running")

    async def _start_tree(self, spec: ChildSpec[Any]) -> ActorRef[Any]:
        try:
            return await spawn_under(self._guardians["user"], spec, declared=True)
        except ActorStopped as stopped:  # by a stop that came first
            raise StartError(path=f"/user/{spec.name or spec.label}", reason=stopped.reason) from None

    async def _close(self, *, swallow: int, error: BaseException | None) -> None:
        """Wait for the steward, whatever cancels come; the last of them is raised afterwards."""
        cancelled: asyncio.CancelledError | None = None
        while not self._closed.done():
            try:
                await asyncio.wait({self._closed})
            except asyncio.CancelledError as cancel:
                if swallow:
                    swallow -= 1  # our own, which came too late for the body
                    continue
                self.kill()
                cancelled = cancel
        if self._group is not None:
            await self._group.__aexit__(None, None, None)
        if cancelled is not None and not isinstance(error, asyncio.CancelledError):
            raise cancelled

    def _raise_end(self, error: BaseException | None) -> None:
        """Raise what has ended the system, if anything has; *error* is that of the body."""
        if self._interrupted:
            raise KeyboardInterrupt
        if self._collapse is None:
            return
        path, reason = self._collapse
        collapsed = SystemCollapsed(system=self.name, path=path, reason=reason)
        if error is not None and not isinstance(error, asyncio.CancelledError):
            collapsed.add_note(f"the body of `async with` had failed too: {type(error).__name__}: {error}")
        raise collapsed from root_error(reason)

    # Actors

    @overload
    async def spawn(self, actor: ChildSpec[M], /) -> ActorRef[M]: ...
    @overload
    async def spawn(
        self, actor: Callable[P, Supervises[M]], /, *args: P.args, **kwargs: P.kwargs
    ) -> SupervisorRef[M]: ...
    @overload
    async def spawn(self, actor: Callable[P, Actor[M]], /, *args: P.args, **kwargs: P.kwargs) -> ActorRef[M]: ...
    async def spawn(self, actor: Any, /, *args: Any, **kwargs: Any) -> ActorRef[Any]:
        """Start an actor beside the tree, under ``/user``; returns when its ``initialize`` has ended.

        It is restarted alone when it fails, within a budget of its own, and ends with the system.

        Args:
            actor: The class, or what :func:`understudy.child` has made of it.
            *args: For the constructor of the class, passed to each incarnation as they are.
            **kwargs: Likewise.

        Raises:
            StartError: The constructor or ``initialize`` failed (``__cause__``); nothing is left.
            StartTimeout: ``initialize`` had not ended in time; nothing is left.
            NameTaken: Something under ``/user`` has that name; carries its ref.
            InvalidSpec: The class is no actor, or the arguments do not fit its constructor.
            ActorStopped: The system is on its way out.
        """
        spec = as_spec(actor, args, kwargs)
        self._here()
        return await spawn_under(self._guardians["user"], spec)

    @overload
    def lookup(self, path: str, actor: type[Supervises[M]]) -> SupervisorRef[M]: ...
    @overload
    def lookup(self, path: str, actor: type[Actor[M]]) -> ActorRef[M]: ...
    @overload
    def lookup(self, path: str) -> ActorRef[Any]: ...
    def lookup(self, path: str, actor: type[Actor[Any]] | None = None) -> ActorRef[Any]:
        """The ref of the actor at *path*, like ``/user/meters/north`` or, for short, ``meters/north``.

        Args:
            path: Absolute, or below ``/user``.
            actor: The class that it must have, for you and for the type checker.

        Raises:
            ActorNotFound: Nothing is alive there; lists names that come close.
            WrongActorType: Its class is another.
        """
        cell = self._resolve(path)
        if cell is None:
            missing = absolute(path)
            nodes = itertools.islice(self.tree().walk(), _NEAREST)
            known = [node.path for node in nodes if node.status != "stopped"]
            raise ActorNotFound(path=missing, nearest=difflib.get_close_matches(missing, known, n=3))
        if actor is not None:
            check_class(cell.spec, actor, cell.path)
        return ref_of(cell)

    @overload
    def find(self, path: str, actor: type[Supervises[M]]) -> SupervisorRef[M] | None: ...
    @overload
    def find(self, path: str, actor: type[Actor[M]]) -> ActorRef[M] | None: ...
    @overload
    def find(self, path: str) -> ActorRef[Any] | None: ...
    def find(self, path: str, actor: type[Actor[Any]] | None = None) -> ActorRef[Any] | None:
        """Like :meth:`lookup`, with None for an actor that is not there."""
        if self._resolve(path) is None:
            return None
        return self.lookup(path) if actor is None else self.lookup(path, actor)

    # Other processes

    async def listen(
        self,
        url: str = "ws://127.0.0.1:0",
        *,
        token: str | PathLike[str] | None = None,
        messages: Sequence[type[Any]] = (),
        actors: Sequence[type[Actor[Any]]] = (),
        tls: Tls | None = None,
        origins: Sequence[str] = (),
        hosts: Sequence[str] = (),
        debug: bool = False,
        options: LinkOptions | None = None,
        transport: Transport | None = None,
    ) -> Listening:
        """Let other systems connect to this one, and send messages to its actors.

        The name of the system is that of the node, which no two that are linked may share. Who is linked may look up
        any actor below ``/user`` by its path, and stop it.

        Args:
            url: ``ws://`` on this machine, ``wss://`` anywhere (both need the extra ``websocket``), or ``memory://name``
                within the process. Port 0 is a free one.
            token: What both sides must know; at least 16 characters. It is never sent. There is none by default, and
                without one nothing listens on a socket. A path is that of a file which has it, and which nobody else
                can read; ``understudy token FILE`` makes one.
            messages: The classes of messages that others may send; nothing else is decoded. And subclasses of
                ``Refused``, which then come with the attributes that the class annotates; others come as ``Refused``.
            actors: The classes of actors that others may start; the messages that they handle need not be named.
            tls: Certificates; with a ``ca`` each client has to show one, for the name of its node.
            origins: Web pages that may connect, by their ``Origin``; by default none.
            hosts: Names under which this is reached, besides that of the URL.
            debug: Let others use the debugging verbs, except those that replace something.
            options: Bounds.
            transport: Another way to connect, in place of that of the URL's scheme.

        Raises:
            UnsafeListener: A protection is missing; nothing was opened.
            MessageNotAccepted: A class cannot cross a link.
            InvalidSpec: Two classes have the same name over links.
            MissingExtra: A library is missing.
            OSError: The address is not to be had.
        """
        from understudy.transports._opening import listen  # noqa: PLC0415 - a layer above; only where it is wanted

        self._here()
        return await listen(
            self,
            url,
            token=token,
            messages=messages,
            actors=actors,
            tls=tls,
            origins=origins,
            hosts=hosts,
            debug=debug,
            options=options,
            transport=transport,
        )

    async def connect(
        self,
        url: str,
        *,
        token: str | PathLike[str] | None = None,
        messages: Sequence[type[Any]] = (),
        tls: Tls | None = None,
        node: str | None = None,
        options: LinkOptions | None = None,
        transport: Transport | None = None,
    ) -> RemoteNode:
        """Link with the system that listens at *url*; returns when the link is up.

        One attempt is made, so that a wrong token or address is an error here. Afterwards the link is made again
        whenever it is lost, until the system stops or the :class:`understudy.transports.RemoteNode` is closed.

        Who connects to a URL to which others of the system have connected shares their link, which ends when all of
        them have closed theirs. If it is lost at the time, an attempt is made at once, and fails for this call alone.

        Args:
            url: As for :meth:`listen`.
            token: Likewise.
            messages: The classes of messages that the other side may send here; what is sent from here need not be
                named. Replies come as the classes of the requests say.
            tls: Certificates.
            node: The name that the other side must have; by default any.
            options: Bounds.
            transport: As for :meth:`listen`.

        Raises:
            HandshakeFailed: One side does not trust the other, or does not understand it.
            ConnectionLost: Nobody is there.
            InvalidSpec: The link would be shared with others who have given other arguments; and as for :meth:`listen`.
            UnsafeListener, MessageNotAccepted, MissingExtra: As for :meth:`listen`.
        """
        from understudy.transports._opening import connect  # noqa: PLC0415 - likewise
        from understudy.transports._terms import NodeTerms  # noqa: PLC0415 - likewise

        self._here()
        asked = NodeTerms(
            url, token, messages=tuple(messages), tls=tls, node=node, options=options, transport=transport
        )
        return await connect(self, asked)

    @property
    def dead_letters(
        self,
    ) -> ActorRef[SubscribeDeadLetters | UnsubscribeDeadLetters | CountDeadLetters | ReplayDeadLetters]:
        """The actor that tells others of messages that were lost: ask it ``SubscribeDeadLetters(subscriber=ref)``.

        It keeps the latest of them (``Settings.dead_letters_kept``): ask it ``ReplayDeadLetters(to=ref)``.
        """
        self._here()
        assert self._dead_letters is not None
        return self._dead_letters

    @property
    def events(self) -> AsyncEventBus:
        """The event bus, with the name of the system for its session; its actor starts when this is first looked at."""
        self._running()
        if self._events is None:
            self._here()  # its actor starts, which only the event loop may do
            self._understudy_adopt(AsyncEventBus(self.name))
        assert self._events is not None
        return self._events

    def _understudy_adopt(self, bus: AsyncEventBus) -> None:
        """*bus* is the event bus of this system."""
        self._events = bus
        bus._begin(self._guardians["system"])  # pyright: ignore[reportPrivateUsage]

    @property
    def registry(self) -> Registry:
        """Actors by unique keys, one registry for all who like to use it."""
        self._here()
        return self._registry

    @property
    def groups(self) -> Groups:
        """The process groups: actors that belong together under a name."""
        self._here()
        return self._groups

    # Looking

    def tree(self) -> Tree:
        """All actors at this moment; ``str()`` of it draws them, and it has ``.mermaid()`` and ``.json()``."""
        self._here()
        return Tree(self.name, tuple(node_of(cell) for cell in self._guardians.values()))

    snapshot = tree

    def statistics(self) -> Statistics:
        """Counts since the start; guardians and system actors are counted too."""
        runtime = self._here()
        return runtime.instruments.statistics(actors=runtime.population, blocking=runtime.blocking.calls)

    def loop_lag(self) -> LoopLag | None:
        """How late the event loop has been, as its watchdog has seen it; None without ``Settings.watchdog``."""
        self._running()
        return None if self._watchdog is None else self._watchdog.lag()

    @property
    def abandoned(self) -> tuple[str, ...]:
        """Names of the tasks that would not end and were given up on."""
        return tuple(self._running().env.tasks.abandoned)

    # Ending

    def stop(self, detail: str = "") -> None:
        """Request the orderly end; returns at once, also in a handler. A second request joins the first.

        From another thread: ``loop.call_soon_threadsafe(system.stop)``.
        """
        self._here()
        if self._stopping is None:
            self._stopping = detail
            if not self._stop_requested.done():
                self._stop_requested.set_result(None)

    def kill(self) -> None:
        """Request the end by force: no grace, no ``shutdown`` hooks; also in the middle of an orderly one.

        Tasks of users in a phase of the shutdown are cancelled after a moment.
        """
        self.stop("killed")
        if not self._forced:
            self._forced, self._forced_at = True, self._running().env.now()
            self._force_requested.set_result(None)
        if self._phase_now == "actors":
            self._guardians["user"].force(keep=False)

    async def wait_stopped(self) -> None:
        """Wait until the system has ended: every actor, and every task."""
        self._here()
        await asyncio.wait({self._closed})

    # The steward

    def _start_steward(self, runtime: Runtime) -> None:
        body, name = self._steward(runtime), f"system:{self.name}"
        if self._group is None:
            steward = self._steward_task = runtime.env.new_task(body, name=name, context=Context())
        else:
            steward = self._group.create_task(body, name=name)
        steward.add_done_callback(lambda task: self._check_steward(task, runtime))

    def _check_steward(self, steward: asyncio.Task[None], runtime: Runtime) -> None:
        # One that is cancelled before its first step, as at the end of an event loop, has done nothing, not even that.
        if steward.cancelled() and not self._closed.done():
            self.stop("cancelled")
            self._start_steward(runtime)

    async def _steward(self, runtime: Runtime) -> None:
        """Wait for the request to stop, take the phases of the shutdown, return when no task is left."""
        await self._undisturbed(self._stop_requested, None)
        deadline = runtime.env.now() + self._settings.shutdown_timeout
        await self._run_tasks("before", deadline)
        await self._close_links(deadline)
        self._phase("actors")
        in_time = deadline - self._settings.abandon_after
        await self._end_guardian(self._guardians["user"], runtime.env.now() if self._forced else in_time, deadline)
        self._phase("system")
        # They are ours and quick, and the log shall be complete: they are not forced and have a moment of their own.
        deadline = max(deadline, runtime.env.now() + _MOMENT)
        if self._events is not None:
            await self._join(await self._begun([("system:events", self._events.close)]), deadline)
        await self._write_rest(deadline)
        await self._end_guardian(self._guardians["system"], deadline, deadline)
        await self._run_tasks("after", deadline)
        await self._end_tasks(runtime)
        runtime.asks.close()
        runtime.kept_letters = deque(maxlen=0)
        runtime.dispatcher.close()
        runtime.blocking.close()
        if self._watchdog is not None and not self._watchdog.stop(_PATIENCE):
            runtime.complain("the watchdog's thread does not end", TimeoutError("it cannot write its report"))
        self._phase("stopped")
        self._closed.set_result(None)

    async def _end_guardian(self, guardian: Cell, force_at: float, deadline: float) -> None:
        """Stop all below *guardian*; use force at *force_at*, and give up on what is left at *deadline*."""
        ended: asyncio.Future[None] = guardian.runtime.env.loop.create_future()
        guardian.observe(lambda _: ended.set_result(None))
        guardian.request_stop(Shutdown(self._stopping or "system shutdown"))
        await self._undisturbed(ended, force_at)
        if not ended.done():
            guardian.force(keep=False)
        await self._undisturbed(ended, deadline)
        if not ended.done():
            guardian.abandon_tree()

    async def _write_rest(self, deadline: float) -> None:
        """Let the log be written to its end."""
        reporter = self._log.ref
        if reporter is None:
            return
        ended: asyncio.Future[None] = self._running().env.loop.create_future()
        reporter.when_stopped(lambda _: ended.set_result(None))
        reporter.drain()
        await self._undisturbed(ended, deadline)

    async def _run_tasks(self, phase: Phase, deadline: float) -> None:
        self._phase(phase)
        chores = [(f"{phase}:{name}", partial(self._run_task, name, task)) for name, task in self.phases.of(phase)]
        await self._run_chores(chores, deadline)

    async def _close_links(self, deadline: float) -> None:
        self._phase("links")
        if self._understudy_node is not None:
            await self._run_chores([("links:close", self._understudy_node.aclose)], deadline)

    async def _run_chores(self, chores: Sequence[tuple[str, _Chore]], deadline: float) -> None:
        """Do *chores* at the same time, for as long as a phase may take."""
        tasks = await self._begun(chores)
        now = self._running().env.now()
        # However long others have taken before, who cleans up has a moment.
        await self._join(tasks, min(now + self._settings.phase_timeout, max(deadline, now + _MOMENT)))

    async def _begun(self, chores: Sequence[tuple[str, _Chore]]) -> list[asyncio.Task[None]]:
        """Tasks for *chores*, all of which have begun.

        One that is cancelled before its first step does nothing at all, and leaves open what it is there to close.
        """
        env = self._running().env
        tasks: dict[asyncio.Task[None], asyncio.Future[None]] = {}
        for name, chore in chores:
            begun: asyncio.Future[None] = env.loop.create_future()
            task = env.start_task(_noted(begun, chore), name=name, context=Context())
            task.add_done_callback(partial(_note, begun))  # also if somebody else has cancelled it
            tasks[task] = begun
        for begun in tasks.values():
            await self._undisturbed(begun, None)
        return list(tasks)

    async def _run_task(self, name: str, task: Callable[[], Awaitable[object]]) -> None:
        try:
            await task()
        except asyncio.CancelledError:
            pass
        except BaseException as error:
            self._running().complain(f"the shutdown task {name} failed", error)

    async def _end_tasks(self, runtime: Runtime) -> None:
        """No actor is left; what is, are asks from other threads."""
        await self._join(set(runtime.env.tasks), runtime.env.now())

    async def _join(self, tasks: Iterable[asyncio.Task[Any]], deadline: float) -> None:
        """Wait for *tasks*; after *deadline* cancel them, again at intervals, and abandon them in the end."""
        runtime = self._running()
        env = runtime.env
        await self._wait_all(tasks, deadline, hurried=True)
        for task in tasks:
            if not task.done():
                runtime.instruments.emit(Instrument.late, task.get_name())
        abandon_at = env.now() + self._settings.abandon_after
        while abandon_at - env.now() > INSTANT and (pending := [task for task in tasks if not task.done()]):
            for task in pending:
                task.cancel()
            await self._wait_all(pending, min(env.now() + self._settings.cancel_interval, abandon_at))
        for task in tasks:
            if not task.done():
                runtime.instruments.emit(Instrument.abandoned, task.get_name(), env.tasks.abandon(task))

    async def _wait_all(self, tasks: Iterable[asyncio.Task[Any]], deadline: float, *, hurried: bool = False) -> None:
        for task in tasks:
            await self._undisturbed(task, deadline, hurried=hurried)

    async def _undisturbed(self, future: asyncio.Future[Any], deadline: float | None, *, hurried: bool = False) -> None:
        """Wait for *future*. A cancel of the steward, which only somebody outside can do, is a request to stop.

        What is *hurried* has a moment left when force is asked for.
        """
        env = self._running().env
        while not future.done():
            news: list[asyncio.Future[Any]] = [future]
            if hurried and deadline is not None:
                deadline = min(deadline, max(self._forced_at, self._phase_began) + _MOMENT)
                news += [] if self._forced else [self._force_requested]
            left = None if deadline is None else deadline - env.now()
            if left is not None and left <= INSTANT:
                return
            try:
                await asyncio.wait(news, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            except asyncio.CancelledError:
                if self._stopping is None:
                    self.stop("cancelled")
                else:
                    self.kill()

    # What ends a system

    def _tree_ended(self, path: str, reason: ExitReason) -> None:
        if self._stopping is not None:
            return
        if is_abnormal(reason):
            self._collapse = (path, reason)
            self.stop(f"{path} has ended")
            self._cancel_body()
        else:
            self.stop(f"{path} has ended")

    def _interrupt(self) -> None:
        self._interrupted = True
        self.stop("KeyboardInterrupt")
        self._cancel_body()

    def _cancel_body(self) -> None:
        if self._body is not None and not self._body_cancelled:
            self._body_cancelled = True
            self._body.cancel()

    def _check_body(self) -> None:
        # It may have ended between the start of the tree and here.
        if self._collapse is not None or self._interrupted:
            self._cancel_body()

    # Odds and ends

    def _begin(self, phase: str) -> None:
        if self._stopping is None:
            self._phase(phase)

    def _phase(self, phase: str) -> None:
        self._phase_now, self._phase_began = phase, self._running().env.now()
        self._running().instruments.emit(Instrument.system_phase, self.name, phase)

    def _running(self) -> Runtime:
        if self._runtime is None:
            problem = "it is not running: use it inside of `async with`, or after start()"
            raise InvalidContext(what=f"system {self.name!r}", problem=problem)
        return self._runtime

    def _here(self) -> Runtime:
        """For what users call: one who does it in another thread would read, or change, what is being changed."""
        runtime = self._running()
        if runtime.elsewhere and not runtime.env.still:
            raise runtime.misplaced(f"system {self.name!r}")
        return runtime

    def _resolve(self, path: str) -> Cell | None:
        self._here()
        first, *rest = absolute(path).strip("/").split("/")
        cell = self._guardians.get(first)
        for name in rest:
            family = cell.family if cell is not None else None
            found = family.children.get(name) if family is not None else None
            if found is None:
                return None
            cell = found.cell
        return None if cell is None or cell.status == "stopped" else cell


async def _noted(begun: asyncio.Future[None], chore: _Chore) -> None:
    _note(begun)
    await chore()


def _note(begun: asyncio.Future[None], _: object = None) -> None:
    if not begun.done():
        begun.set_result(None)


def _home(name: str) -> ActorSystem:
    """A system for an event bus that stands alone."""
    return ActorSystem(name=name)


AsyncEventBus._understudy_home = staticmethod(_home)  # pyright: ignore[reportPrivateUsage]
