"""An actor without a system, so that its handlers can be tested as plain methods."""

from __future__ import annotations

import inspect
import itertools
import types
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Any, Generic, Never, ParamSpec, TypeVar, cast

from understudy._plans._strategies import free_name
from understudy.actors._actor import Actor
from understudy.actors._addresses import absolute
from understudy.actors._child import as_spec
from understudy.actors._context import Context
from understudy.actors._event_bus import AsyncEventBus
from understudy.actors._groups import Groups
from understudy.actors._ref import ActorRef, check_buffer
from understudy.actors._registry import Registry
from understudy.actors._settings import Settings
from understudy.actors._waiting import check_timeout
from understudy.exceptions import ActorNotFound, InvalidContext, MailboxFull, NameTaken
from understudy.reasons import ExitReason, Shutdown
from understudy.testing._fakes import FakeMonitor, FakePromise, FakeReply, FakeStream, Told

if TYPE_CHECKING:
    import concurrent.futures

    from understudy._plans._spec import ChildSpec
    from understudy.actors._debug import Debug
    from understudy.actors._reply import Reply
    from understudy.actors._streams import Stream
    from understudy.messages import Asks, Streams

__all__ = ["FakeContext", "FakeRef", "FakeSystem", "Unit", "unit"]

A = TypeVar("A", bound=Actor[Any])
P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

_STOPPED = Shutdown("stopped")
_SETTINGS = Settings()
_uids = itertools.count(1)


def unit(actor: Callable[P, A], /, *args: P.args, **kwargs: P.kwargs) -> Unit[A]:
    """Make an actor that belongs to no system: ``unit(Meter, "north")``.

    Its handlers are called by the test, ``u.actor.observe(Observe(value=5))``, and what it does to others is written
    down instead of done. Nothing runs by itself: no mailbox, no supervision, no hooks until they are called. A ref that
    its constructor wants is a :class:`FakeRef`: ``unit(Meter, FakeRef("office"))``.

    Raises:
        InvalidSpec: The class is no actor, or the arguments do not fit its constructor.
        ValueError: A FakeRef among the arguments belongs to another unit, or two of them have the same path.
    """
    spec = as_spec(actor, args, kwargs)
    limit: int = spec.given.get("stash", _SETTINGS.stash)
    return Unit(cast("Callable[..., A]", spec.factory), args, kwargs, name=spec.label, stash=limit)


class Unit(Generic[A]):
    """An actor without a system, and all that it has done.

    Attributes:
        actor: The instance.
        told: What it told or sent to others, in order.
        asked: What it asked others, in order.
        streamed: The streams it has begun to read, in order, with the parts that it has taken.
        promised: The replies that it has promised by ``reply_later``, in order, and what has become of them.
        stashed: What it has put aside and not brought back.
        unstashed: What it has brought back, in order; hand it to the handlers as the mailbox would.
        told_self: What it put into its own mailbox.
        watched: The monitors that it has made.
        linked: With whom it is linked.
        spawned: The specs of the actors that it has started, in order.
        registered: Under which keys it has registered itself, with the values.
        joined: Which groups it has joined by its context.
        stopped: Whether it has ended itself.
        ended: Whom it wanted to end, and how: ``"stop"``, ``"drain"`` or ``"kill"``.
        sender: Whom ``self.context.sender`` shall be; set it before calling a handler.
    """

    def __init__(self, factory: Callable[..., A], args: Any, kwargs: Any, *, name: str, stash: int) -> None:
        self.told: list[Told] = []
        self.asked: list[Told] = []
        self.streamed: list[FakeStream] = []
        self.promised: list[FakePromise] = []
        self.stashed: list[Any] = []
        self.unstashed: list[Any] = []
        self.told_self: list[Any] = []
        self.watched: list[FakeMonitor] = []
        self.linked: list[ActorRef[Any]] = []
        self.spawned: list[ChildSpec[Any]] = []
        self.ended: list[tuple[ActorRef[Any], str]] = []
        self.registered: dict[Hashable, Any] = {}
        self.joined: list[Hashable] = []
        self.stopped = False
        self.sender: ActorRef[Any] | None = None
        self._refs: dict[str, FakeRef] = {}
        self._answers: list[tuple[str, type, Any]] = []
        self._stash_limit = stash
        for each in (*args, *kwargs.values()):
            if isinstance(each, FakeRef):
                self._adopt(each)
        self.context = FakeContext(self, self.ref(name).path)
        self.actor: A = _detached(cast("type[A]", factory))(*args, **kwargs)
        object.__setattr__(self.actor, "_understudy_cell", self)

    def ref(self, path: str, *, accepts: bool = True) -> FakeRef:
        """A ref to give to the actor; the same for the same path.

        Args:
            path: Like ``/user/meters/north``, or below ``/user``.
            accepts: False: its mailbox is full, so that ``tell`` returns False and ``send`` raises.
        """
        path = absolute(path)
        ref = self._refs.get(path)
        if ref is None:
            ref = FakeRef(path)
            self._adopt(ref)
        ref.accepts = accepts
        return ref

    def _adopt(self, ref: FakeRef) -> None:
        ref.belong_to(self)
        if self._refs.setdefault(ref.path, ref) is not ref:
            raise ValueError(f"two fake refs have the path {ref.path}: give the unit one of them, twice")

    def answer(self, ref: ActorRef[Any] | str, message: type, reply: Any) -> None:
        """Say what an ask of the class *message* to *ref* (or its path) is answered with; the last word counts.

        Args:
            ref: To whom.
            message: The class of the asks.
            reply: The reply, or an exception to raise. For a stream, its parts: a list or another iterable, which is
                gone through for each stream; a part that is an exception is raised in its place.
        """
        path = ref if isinstance(ref, str) else ref.path
        self._answers.insert(0, (absolute(path), message, reply))

    async def initialize(self) -> None:
        """Run the hook ``initialize``, be it ``def`` or ``async def``."""
        await _finish(self.actor.initialize())

    async def shutdown(self, reason: ExitReason = _STOPPED) -> None:
        """Run the hook ``shutdown``, be it ``def`` or ``async def``."""
        await _finish(self.actor.shutdown(reason))

    def __repr__(self) -> str:
        return f"<Unit of {type(self.actor).__qualname__}>"

    # What the fakes do

    def reply_to(self, ref: FakeRef, message: Any, what: str = "reply") -> Any:
        """The answer of *ref* to *message*; *what* is the word for it.

        Raises:
            AssertionError: None was given.
        """
        for path, kind, reply in self._answers:
            if path == ref.path and isinstance(message, kind):
                if isinstance(reply, BaseException):
                    raise reply
                return reply
        name = type(message).__name__
        raise AssertionError(
            f"{ref.path} was asked {message!r}, and nobody has said what it answers: unit.answer(ref, {name}, {what})"
        )

    def start(self, parent: str, actor: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> FakeRef:
        """Write down that an actor is to be started under *parent*."""
        spec = as_spec(actor, args, kwargs)
        taken = {path.rpartition("/")[2] for path in self._refs if path.rpartition("/")[0] == parent}
        name = spec.name or (spec.label if spec.label not in taken else free_name(spec.label, taken, {}))
        path = f"{parent}/{name}"
        if path in self._refs:
            raise NameTaken(path=path, ref=self._refs[path])
        self.spawned.append(spec)
        return self.ref(path)

    def put_aside(self, message: object) -> None:
        """Write down that *message* is stashed.

        Raises:
            MailboxFull: As many are stashed as the option ``stash`` of the class allows.
        """
        if len(self.stashed) >= self._stash_limit:
            raise MailboxFull(path=f"the stash of {self.context.path}", capacity=self._stash_limit, message=message)
        self.stashed.append(message)

    def promise(self, message: Any) -> FakeReply:
        """Write down that a reply to *message* is promised.

        Raises:
            InvalidContext: It has been promised already.
        """
        if message is not None and any(each.message is message for each in self.promised):
            problem = f"the reply to this {type(message).__name__} has been promised already: use that handle"
            raise InvalidContext(what="reply_later", problem=problem)
        promise = FakePromise(message)
        self.promised.append(promise)
        return FakeReply(promise)

    def look(self, path: str) -> FakeRef | None:
        """The fake ref with that path, if there is one."""
        return self._refs.get(absolute(path))

    def under(self, parent: str) -> tuple[FakeRef, ...]:
        """The fake refs right below *parent*."""
        return tuple(ref for path, ref in self._refs.items() if path.rpartition("/")[0] == parent)


class FakeRef(ActorRef[Any]):
    """A ref with nobody behind it: it writes down, in its unit, what it gets.

    It belongs to the unit whose ``ref`` has made it, or among whose arguments it was.

    Args:
        path: Like ``/user/meters/north``, or below ``/user``.
    """

    __slots__ = ("_observers", "_owner", "accepts")

    def __init__(self, path: str) -> None:
        super().__init__(cast("Any", _Nobody(absolute(path), next(_uids))))
        self._owner: Unit[Any] | None = None
        self._observers: list[Callable[[ExitReason], object]] = []
        self.accepts = True

    def belong_to(self, unit: Unit[Any]) -> None:
        """Write down in *unit* what comes; for the unit.

        Raises:
            ValueError: It belongs to another one.
        """
        if self._owner not in (None, unit):
            raise ValueError(f"the fake ref {self.path} belongs to another unit: make one for each")
        self._owner = unit

    @property
    def _unit(self) -> Unit[Any]:
        if self._owner is None:
            raise AssertionError(f"the fake ref {self.path} belongs to no unit: give it to unit(...) as an argument")
        return self._owner

    @property
    def status(self) -> str:
        """``"running"``, or ``"stopped"`` once somebody wanted it to end."""
        return "stopped" if self._is_ended else "running"

    def tell(self, message: Any, *, sender: ActorRef[Any] | None = None) -> bool:
        """Write it down in ``told``."""
        self._unit.told.append(Told(self, message, sender))
        return self.accepts

    def tell_quietly(self, message: Any) -> bool:
        """Write it down in ``told``."""
        return self.tell(message)

    async def send(self, message: Any, *, timeout: float | None = None) -> None:
        """Write it down in ``told``."""
        check_timeout(timeout)
        if not self.accepts:
            raise MailboxFull(path=self.path, capacity=0, message=message, seconds=timeout)
        self._unit.told.append(Told(self, message))

    async def ask(self, message: Asks[Any, R], *, timeout: float | None = None) -> R:
        """Write it down in ``asked``, and give the answer that the test has set."""
        check_timeout(timeout)
        self._unit.asked.append(Told(self, message))
        reply: R = self._unit.reply_to(self, message)
        return reply

    def stream(self, message: Streams[Any, T], *, timeout: float | None = None, buffer: int | None = None) -> Stream[T]:
        """Write it down in ``streamed`` when the first part is wanted, and give the parts that the test has set."""
        patience = check_timeout(timeout) or _SETTINGS.stream_timeout
        limit = _SETTINGS.stream_buffer if buffer is None else check_buffer(buffer, self.path)
        return FakeStream(self._unit, self, message, patience, limit)

    def stop(self) -> None:
        """Write it down in ``ended``."""
        self._end("stop")

    def drain(self, timeout: float | None = None) -> None:
        """Write it down in ``ended``."""
        check_timeout(timeout)
        self._end("drain")

    def kill(self) -> None:
        """Write it down in ``ended``."""
        self._end("kill")

    async def wait_stopped(self, timeout: float | None = None) -> ExitReason:
        """Return at once if somebody wanted it to end."""
        check_timeout(timeout)
        if not self._is_ended:
            raise AssertionError(f"{self.path} is waited for, and nobody has stopped it")
        return _STOPPED

    def when_stopped(self, callback: Callable[[ExitReason], object]) -> None:
        """Call *callback* when somebody wants it to end."""
        if self._is_ended:
            callback(_STOPPED)
        else:
            self._observers.append(callback)

    @property
    def debug(self) -> Debug:
        """Not without a system."""
        raise AssertionError(f"{self.path} is a fake ref: its debugging verbs need a system")

    def tell_threadsafe(self, message: Any) -> None:
        """Write it down in ``told``."""
        self.tell(message)

    def ask_threadsafe(self, message: Asks[Any, R], *, timeout: float | None = None) -> concurrent.futures.Future[R]:
        """Not without a system."""
        raise AssertionError(f"{self.path} is a fake ref: ask_threadsafe needs a system")

    @property
    def _is_ended(self) -> bool:
        return any(ref is self for ref, _ in self._unit.ended)

    def _end(self, how: str) -> None:
        observers, self._observers = self._observers, []
        self._unit.ended.append((self, how))
        for callback in observers:
            callback(_STOPPED)


class FakeContext(Context):
    """``self.context`` of an actor without a system."""

    __slots__ = ("_path", "_unit")

    def __init__(self, unit: Unit[Any], path: str) -> None:
        self._unit = unit
        self._path = path

    @property
    def _alive(self) -> Never:
        raise InvalidContext(what=f"context of {self._path}", problem="a unit has no system: test this with one")

    @property
    def ref(self) -> ActorRef[Any]:
        """A fake ref with the actor's path; what is told to it is in ``told``."""
        return self._unit.ref(self._path)

    @property
    def path(self) -> str:
        """``/user/`` and the name of the class, in snake_case."""
        return self._path

    @property
    def incarnation(self) -> int:
        """Always the first."""
        return 1

    @property
    def sender(self) -> ActorRef[Any] | None:
        """What the test has set as ``unit.sender``."""
        return self._unit.sender

    @property
    def parent(self) -> ActorRef[Any] | None:
        """A fake ref with the path ``/user``."""
        return self._unit.ref("/user")

    @property
    def children(self) -> tuple[ActorRef[Any], ...]:
        """The fake refs that ``spawn`` has returned, and those that the test has made with such a path."""
        return self._unit.under(self._path)

    @property
    def system(self) -> FakeSystem:
        """A fake system."""
        return FakeSystem(self._unit)

    async def spawn(self, actor: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Write the spec down in ``spawned``; nothing is started."""
        return self._unit.start(self._path, actor, args, kwargs)

    def watch(self, ref: ActorRef[Any], *, pact: bool = False) -> Any:
        """Write it down in ``watched``; what it returns can be cancelled."""
        monitor = FakeMonitor(ref, pact)
        self._unit.watched.append(monitor)
        return monitor

    def link(self, ref: ActorRef[Any]) -> None:
        """Write it down in ``linked``."""
        self._unit.linked.append(ref)

    def unlink(self, ref: ActorRef[Any]) -> None:
        """Take it out of ``linked``."""
        self._unit.linked = [each for each in self._unit.linked if each != ref]

    def register(self, key: Hashable, value: Any = None) -> None:
        """Write it down in ``registered``."""
        self._unit.registered[key] = value

    def join(self, group: Hashable) -> None:
        """Write it down in ``joined``."""
        if group not in self._unit.joined:
            self._unit.joined.append(group)

    def stash(self, message: object) -> None:
        """Write it down in ``stashed``, up to as many as the class's option ``stash`` allows."""
        self._unit.put_aside(message)

    def unstash_all(self) -> None:
        """Move all that are in ``stashed`` to ``unstashed``."""
        self._unit.unstashed += self._unit.stashed
        self._unit.stashed = []

    @property
    def stashed(self) -> int:
        """How many messages are stashed."""
        return len(self._unit.stashed)

    def reply_later(self, message: Any = None) -> Reply[Any]:
        """Write it down in ``promised``; what it returns can be answered."""
        return self._unit.promise(message)

    def stop(self) -> None:
        """Write it down: ``stopped``."""
        self._unit.stopped = True

    def tell_self(self, message: object) -> bool:
        """Write it down in ``told_self``."""
        self._unit.told_self.append(message)
        return True


class FakeSystem:
    """``self.context.system`` of an actor without a system."""

    def __init__(self, unit: Unit[Any]) -> None:
        self._unit = unit

    @property
    def name(self) -> str:
        """Always ``unit``."""
        return "unit"

    @property
    def dead_letters(self) -> ActorRef[Any]:
        """A fake ref."""
        return self._unit.ref("/system/dead_letters")

    @property
    def events(self) -> AsyncEventBus:
        """Not without a system."""
        return self._running()

    @property
    def registry(self) -> Registry:
        """Not without a system."""
        return self._running()

    @property
    def groups(self) -> Groups:
        """Not without a system."""
        return self._running()

    def _running(self) -> Never:
        raise AssertionError("a unit has no system, and so no event bus, no registry and no groups: test this with one")

    async def spawn(self, actor: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Write the spec down in ``spawned``; nothing is started."""
        return self._unit.start("/user", actor, args, kwargs)

    def lookup(self, path: str, actor: type[Any] | None = None) -> Any:
        """The fake ref that ``unit.ref`` has made for that path.

        Raises:
            ActorNotFound: There is none.
        """
        found = self._unit.look(path)
        if found is None:
            raise ActorNotFound(path=absolute(path), nearest=[])
        return found

    def find(self, path: str, actor: type[Any] | None = None) -> Any:
        """The same, or None."""
        return self._unit.look(path)

    def statistics(self) -> Never:
        """Not without a system."""
        raise AssertionError("a unit has no system, and so no statistics: test this with one")

    def stop(self, detail: str = "") -> None:
        """Write it down in ``ended``, with the path ``/``."""
        self._unit.ended.append((self._unit.ref("/"), "stop"))

    async def wait_stopped(self) -> None:
        """Return at once if somebody wanted it to end."""
        await self._unit.ref("/").wait_stopped()


class _Nobody:
    """What a fake ref has in the place of a cell: enough to be equal, to hash and to be shown."""

    def __init__(self, path: str, uid: int) -> None:
        self.path = path
        self.uid = uid

    def __getattr__(self, name: str) -> Never:
        if name.startswith("__"):
            raise AttributeError(name)
        raise AssertionError(f"{self.path} is a fake ref and cannot do this: test it in a system, with a TestProbe")


def _detached(actor: type[A]) -> type[A]:
    """A subclass whose context is a fake one; else it is the same in all that can be seen."""

    def context(self: Any) -> Context:
        owner = self._understudy_cell
        if owner is None:
            problem = "exists from initialize on and until the end of the incarnation"
            raise InvalidContext(what=f"{actor.__qualname__}.context", problem=problem)
        found: Context = owner.context
        return found

    names = {"__module__": actor.__module__, "__qualname__": actor.__qualname__, "context": property(context)}
    return cast("type[A]", types.new_class(actor.__name__, (actor,), exec_body=lambda body: body.update(names)))


async def _finish(result: Any) -> None:
    if inspect.isawaitable(result):
        await result
