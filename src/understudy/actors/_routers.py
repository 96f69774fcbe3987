"""Routers: one address for several actors that can do the same. Plain objects, with no actor in between."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, Literal, Protocol, TypeAlias, TypeVar, get_args

from understudy._plans._keys import encoded
from understudy._plans._spec import check_function, check_type
from understudy.actors._addresses import Address
from understudy.actors._asks import find_cycle
from understudy.actors._ref import check_ref
from understudy.actors._round import Round
from understudy.actors._runtime import runtime_of
from understudy.actors._supervisor_ref import ref_of
from understudy.actors._waiting import check_timeout
from understudy.exceptions import ActorNotFound, AskCycle, InvalidSpec, UnderstudyError

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Sequence

    from understudy._plans._keys import Key
    from understudy.actors._actor import Actor
    from understudy.actors._asks import FutureAsk
    from understudy.actors._context import System
    from understudy.actors._ref import ActorRef
    from understudy.actors._runtime import Runtime
    from understudy.messages import Asks

__all__ = ["Broadcast", "Children", "Routees", "Router", "Routing", "ScatterGather"]

M = TypeVar("M")
M_contra = TypeVar("M_contra", contravariant=True)
R = TypeVar("R")

Routing: TypeAlias = Literal["round_robin", "random", "smallest_mailbox", "consistent_hash"]
"""How a :class:`Router` chooses."""


class Routees(Protocol[M_contra]):
    """Actors that come and go: a :class:`Group`, :class:`Partitions`, :class:`Children`, or something of yours."""

    @property
    def refs(self) -> Sequence[ActorRef[M_contra]]:
        """Those that are there now; looked up for each message."""
        ...


class Children(Generic[M]):
    """The children of a supervisor that are of one class, whenever they were started; for routers.

    Args:
        supervisor: The ref of the supervisor, or of any actor with children.
        actor: Their class; children of other classes are passed over.
    """

    __slots__ = ("_actor", "_supervisor")

    def __init__(self, supervisor: ActorRef[Any], actor: type[Actor[M]]) -> None:
        self._supervisor = check_ref(supervisor, "Children", "supervisor")
        self._actor = check_type(actor, "Children")

    @property
    def refs(self) -> tuple[ActorRef[M], ...]:
        """Those that have not ended for good; one that is being restarted is among them."""
        family = self._supervisor._cell.family  # pyright: ignore[reportPrivateUsage]
        cells = [] if family is None else [child.cell for child in family.children.values()]
        return tuple(ref_of(cell) for cell in cells if not cell.dead and issubclass(cell.spec.factory, self._actor))

    def __repr__(self) -> str:
        return f"Children({self._supervisor.path}, {self._actor.__name__})"


class _Crowd(Generic[M_contra]):
    """The routees of a router: a list of its own, or what somebody else keeps."""

    __slots__ = ("_given", "_others")

    def __init__(self, routees: Iterable[ActorRef[M_contra]] | Routees[M_contra]) -> None:
        # One of the two is None.
        self._given: list[ActorRef[M_contra]] | None = None
        self._others: Routees[M_contra] | None = None
        if isinstance(routees, Iterable):
            self._given = [check_ref(ref, "a router", "routees") for ref in routees]
        elif inspect.getattr_static(routees, "refs", None) is None:
            problem = f"must be refs, or what has them as `refs`, like a Group or another router, got {routees!r}"
            raise InvalidSpec(child="a router", field="routees", problem=problem)
        else:
            self._others = routees

    @property
    def all(self) -> Sequence[ActorRef[M_contra]]:
        """Perhaps with some that have ended."""
        if self._given is not None:
            return self._given
        assert self._others is not None
        return self._others.refs

    @property
    def accepting(self) -> list[ActorRef[M_contra]]:
        """Those that are there and not on their way out for good; each once."""
        if self._given is not None:
            self._given = [ref for ref in self._given if ref.status != "stopped"]
        return [ref for ref in dict.fromkeys(self.all) if ref._accepts]  # pyright: ignore[reportPrivateUsage]


class Router(Address[M_contra]):
    """An address for several actors: each message goes to one of them.

    ::

        meters = Router(system, system.groups.group("meters", Meter), "smallest_mailbox")
        total = await meters.ask(Total())

    Who has ended for good, or is about to, is not chosen any more. One that is being restarted is, and its messages
    wait as those of any ref; where others are up, ``"smallest_mailbox"`` prefers them. A message goes to the one that
    was chosen and nowhere else: with that one's mailbox full it is refused, as by a ref, although others may have room.
    Without any routee a ``tell`` is a dead letter, ``send`` and ``ask`` raise ``ActorNotFound``.

    - ``"round_robin"``: in turn, as long as the routees stay the same. Who is in a group twice has two turns.
    - ``"random"``: any of them, with equal chances.
    - ``"smallest_mailbox"``: the one with the fewest messages, waiting or in hand; of equals each in its turn.
    - ``"consistent_hash"``: messages with equal keys go to the same routee, by rendezvous hashing (Thaler and
      Ravishankar, 1998): each routee, known by its path, draws a number for the key, and the highest gets it. So the
      others keep their keys when one comes or goes, and equal lists of paths mean equal choices in all processes. A
      choice costs one hash for each routee.

    Args:
        system: The system, which is running.
        routees: Refs; or a group, partitions or children, which are looked up for each message.
        routing: How to choose.
        key: For ``"consistent_hash"``: what a message is routed by, a str, bytes, an int, a member of an enumeration,
            or a tuple of these.

    Raises:
        InvalidSpec: There is no such way to choose, or the key is missing or of no use.
    """

    __slots__ = ("_crowd", "_key", "_turn", "routing")

    def __init__(
        self,
        system: System,
        routees: Iterable[ActorRef[M_contra]] | Routees[M_contra],
        routing: Routing = "round_robin",
        *,
        key: Callable[[M_contra], Key] | None = None,
    ) -> None:
        super().__init__(runtime_of(system))
        if routing not in get_args(Routing):
            problem = f"must be {', '.join(map(repr, get_args(Routing)))}, got {routing!r}"
            raise InvalidSpec(child="router", field="routing", problem=problem)
        if (key is None) == (routing == "consistent_hash"):
            problem = "goes with routing='consistent_hash', and with nothing else"
            raise InvalidSpec(child=f"router {routing}", field="key", problem=problem)
        if key is not None:
            check_function("key", key, f"router {routing}")
        self._crowd = _Crowd(routees)
        self._key = key
        self._turn = 0
        self.routing: Routing = routing

    @property
    def refs(self) -> tuple[ActorRef[M_contra], ...]:
        """The routees among which it chooses at this moment, each once."""
        return tuple(self._crowd.accepting)

    def _choose(self, message: M_contra) -> ActorRef[M_contra] | None:
        refs = self._crowd.all
        if self.routing == "round_robin":
            return self._next(refs)
        if self.routing == "random" and refs:
            chosen = refs[self._runtime.env.random.randrange(len(refs))]
            if chosen._accepts:  # pyright: ignore[reportPrivateUsage]
                return chosen
        accepting = self._crowd.accepting
        if not accepting:
            return None
        if self.routing == "random":
            return accepting[self._runtime.env.random.randrange(len(accepting))]
        if self._key is not None:
            return by_rendezvous(self._key(message), accepting)
        self._turn += 1
        turn = self._turn % len(accepting)
        return min(accepting[turn:] + accepting[:turn], key=lambda ref: ref._load)  # pyright: ignore[reportPrivateUsage]

    def _next(self, refs: Sequence[ActorRef[M_contra]]) -> ActorRef[M_contra] | None:
        for _ in refs:
            self._turn = (self._turn + 1) % len(refs)
            chosen = refs[self._turn - 1]
            if chosen._accepts:  # pyright: ignore[reportPrivateUsage]
                return chosen
        return None

    @property
    def _place(self) -> str:
        return f"among the routees of a router ({self.routing})"

    def __repr__(self) -> str:
        return f"<Router {self.routing}, {len(self.refs)} routees>"


class _Fan(Generic[M_contra]):
    """What sends each message to all routees."""

    __slots__ = ("_crowd", "_runtime")

    _says = "router"

    def __init__(self, system: System, routees: Iterable[ActorRef[M_contra]] | Routees[M_contra]) -> None:
        self._runtime: Runtime = runtime_of(system)
        self._crowd = _Crowd(routees)

    @property
    def refs(self) -> tuple[ActorRef[M_contra], ...]:
        """The routees at this moment, each once."""
        return tuple(self._crowd.accepting)

    def tell(self, message: M_contra, *, sender: ActorRef[Any] | None = None) -> bool:
        """:meth:`ActorRef.tell` to each.

        Returns:
            False: there is none, or not all have accepted the message. It is a dead letter for each that has not.
        """
        refs = self._now()
        if not refs:
            self._lost(message, None if sender is None else sender.path, told=True)
        accepted = [ref.tell(message, sender=sender) for ref in refs]
        return bool(accepted) and all(accepted)

    async def send(self, message: M_contra, *, timeout: float | None = None) -> None:
        """:meth:`ActorRef.send` to each; those that have room get it at once, and do not wait for the others.

        Args:
            message: An object of a type that the routees handle.
            timeout: Seconds to wait for room, for all of them together; by default without limit.

        Raises:
            ActorNotFound: There is no routee; the message has become a dead letter.
            UnderstudyError: What ``send`` of a ref raises, of the first that has not got it; the others have been
                tried, and what became of them is in its notes.
            InvalidTimeout: Not a positive number of seconds.
        """
        seconds = check_timeout(timeout)
        refs = self._some(message)
        now = self._runtime.env.now
        deadline = None if seconds is None else now() + seconds
        errors: list[tuple[str, UnderstudyError]] = []
        for ref in [ref for ref in refs if not ref.tell_quietly(message)]:
            try:
                await ref.send(message, timeout=None if deadline is None else max(deadline - now(), 1e-9))
            except UnderstudyError as error:
                errors.append((ref.path, error))
        _raise_first(errors)

    def _some(self, message: object) -> tuple[ActorRef[M_contra], ...]:
        refs = self._now()
        if not refs:
            self._lost(message, None)
            raise ActorNotFound(path=self._place)
        return refs

    def _now(self) -> tuple[ActorRef[M_contra], ...]:
        if self._runtime.elsewhere:
            raise self._runtime.misplaced(f"{type(self).__name__} ({self._place})")
        return self.refs

    def _lost(self, message: object, sender: str | None, *, told: bool = False) -> None:
        self._runtime.dead_letter(message, self._place, sender, "nobody is there", told=told)

    @property
    def _place(self) -> str:
        return f"among the routees of a {self._says}"

    def __repr__(self) -> str:
        return f"<{type(self).__name__}, {len(self.refs)} routees>"


class Broadcast(_Fan[M_contra]):
    """An address for several actors: each message goes to all of them, and to each once.

    ::

        everybody = Broadcast(system, system.groups.group("meters", Meter))
        everybody.tell(Reset())
        totals = await everybody.ask(Total(), timeout=1.0)

    Who has ended for good, or is about to, does not get it. Nothing is promised about the order among routees.

    Args:
        system: The system, which is running.
        routees: Refs; or a group, partitions or children, which are looked up for each message.
    """

    __slots__ = ()

    _says = "broadcast"

    async def ask(self, message: Asks[M_contra, R], *, timeout: float | None = None) -> list[R | UnderstudyError]:
        """Ask all, and return what came of it, in the order of :attr:`refs`: a reply, or the error in its place.

        An error is what ``ask`` of a ref would have raised. A mailbox that is full is not waited for: that is a
        ``MailboxFull``. Where this actor is a member itself, its own outcome is an ``AskCycle``.

        Args:
            message: A message that the routees handle.
            timeout: Seconds to wait, as for a ref; those that have not replied by then are an ``AskTimeout``.

        Raises:
            ActorNotFound: There is no routee; the message has become a dead letter.
            InvalidTimeout: Not a positive number of seconds.
        """
        seconds = check_timeout(timeout)
        refs = self._some(message)
        with Round(self._runtime, seconds, [message]) as round_:
            _ask_all(round_, refs, message, holds=True)
            await round_.settled()
            return round_.take_all()


class ScatterGather(_Fan[M_contra]):
    """An address for several actors that could answer the same question: all are asked, and the first reply wins.

    ::

        quickest = ScatterGather(system, mirrors)
        page = await quickest.ask(Fetch(name="index"), timeout=2.0)

    When it is there, the other asks are given up: what has not been started is not started any more, and what comes
    later is a dead letter, as for any ask that nobody waits for. ``tell`` and ``send`` are those of a
    :class:`Broadcast`.

    Args:
        system: The system, which is running.
        routees: Refs; or a group, partitions or children, which are looked up for each message.
    """

    __slots__ = ()

    _says = "scatter-gather"

    async def ask(self, message: Asks[M_contra, R], *, timeout: float | None = None) -> R:
        """Ask all, and return the first reply. Errors, a ``Refused`` too, do not count while others may still reply.

        A mailbox that is full is not waited for. Where this actor is a member itself, it is not asked.

        Args:
            message: A message that the routees handle.
            timeout: Seconds to wait, as for a ref.

        Raises:
            ActorNotFound: There is no routee; the message has become a dead letter.
            UnderstudyError: None has replied: what ``ask`` of the first routee would have raised, with the others in
                its notes. After the deadline that is usually an ``AskTimeout``.
            InvalidTimeout: Not a positive number of seconds.
        """
        seconds = check_timeout(timeout)
        refs = self._some(message)
        with Round(self._runtime, seconds, [message]) as round_:
            _ask_all(round_, refs, message, holds=False)
            first = await _first(round_)
            if first is None:
                _raise_first([(ask.cell.path, ask.future.exception()) for ask in round_.asks])
            assert first is not None
            reply: R = round_.take(first)
            return reply


def _ask_all(round_: Round, refs: Sequence[ActorRef[Any]], message: object, *, holds: bool) -> None:
    """Ask all at once. *holds*: each of them is waited for, so a circle with one of them is for ever."""
    waiting = round_.waiting
    for ref in refs:
        cell = ref._cell  # pyright: ignore[reportPrivateUsage]
        cell.check_loop()
        ask = round_.ask(cell, message)
        circle = None if waiting.cell is None else find_cycle(waiting.cell, cell)
        if circle is not None:
            ask.fail(AskCycle(chain=circle, message=message))
            continue
        if holds:
            waiting.begin(cell, ask, message)
        round_.sent(ask, ref._ask_now(ask))  # pyright: ignore[reportPrivateUsage]
    round_.runtime.dispatcher.run_ahead()


async def _first(round_: Round) -> FutureAsk | None:
    """The ask that is answered first; None if all end without a reply."""
    over: asyncio.Future[FutureAsk | None] = round_.runtime.env.loop.create_future()
    left = len(round_.asks)

    def ended(ask: FutureAsk, _: object) -> None:
        nonlocal left
        left -= 1
        if not over.done() and (ask.answered or not left):
            over.set_result(ask if ask.answered else None)

    for ask in round_.asks:
        ask.future.add_done_callback(partial(ended, ask))
    return await over


def by_rendezvous(key: Key, refs: Sequence[ActorRef[M]]) -> ActorRef[M]:
    """The one of *refs* to which *key* belongs; the others keep theirs, whoever comes or goes."""
    suffix = encoded(key)

    def draw(ref: ActorRef[M]) -> tuple[bytes, str]:
        path = ref.path.encode()
        return hashlib.blake2b(b"%d:%b%b" % (len(path), path, suffix), digest_size=8).digest(), ref.path

    return max(refs, key=draw)


def _raise_first(errors: Sequence[tuple[str, BaseException | None]]) -> None:
    """Raise the first error, with the others in its notes."""
    if not errors:
        return
    first = errors[0][1]
    assert first is not None
    for path, error in errors[1:]:
        first.add_note(f"{path}: {type(error).__name__}: {error}")
    raise first
