"""Who wants to know of changes, and what goes with an actor at its end: for the registry and for groups."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Final, Generic, TypeAlias, TypeGuard, TypeVar, cast

from understudy.actors._ref import ActorRef, check_ref
from understudy.exceptions import InvalidSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable

    from understudy.reasons import ExitReason

__all__ = ["EVERYTHING", "Ends", "Listener", "Listeners"]

E = TypeVar("E")

Listener: TypeAlias = "Callable[[E], object] | ActorRef[E]"
"""A function to be called with each event, or the ref of an actor that shall be told of it."""


class _Everything:
    """The topic that contains all others."""

    __slots__ = ()


EVERYTHING: Final = _Everything()


class Ends:
    """A set of actors; when one of them has ended for good, *ended* is called with its ref, once."""

    __slots__ = ("_ended", "_watched")

    def __init__(self, ended: Callable[[ActorRef[Any]], object]) -> None:
        self._ended = ended
        self._watched: dict[ActorRef[Any], _Watch] = {}

    def add(self, ref: ActorRef[Any]) -> None:
        """Watch the actor at *ref*, if it is not watched yet.

        Raises:
            ActorStopped: It has ended already.
            InvalidContext: Called outside of the event loop of its system.
            InvalidSpec: It is no ref.
        """
        cell = check_ref(ref, "an entry")._cell  # pyright: ignore[reportPrivateUsage]
        cell.check_loop()
        if cell.dead:
            raise cell.stopped_error()
        if ref not in self._watched:
            watch = self._watched[ref] = _Watch(self, ref)
            cell.observe(watch)

    def discard(self, ref: ActorRef[Any]) -> None:
        """Forget it."""
        watch = self._watched.pop(ref, None)
        if watch is not None:
            ref._cell.unobserve(watch)  # pyright: ignore[reportPrivateUsage]

    def over(self, ref: ActorRef[Any]) -> None:
        """The actor at *ref* has ended, which may be noticed here before its turn comes to tell of it."""
        if self._watched.pop(ref, None) is not None:
            self._ended(ref)


class _Watch:
    """What an actor's cell calls at the end; one for each actor and set."""

    __slots__ = ("_ends", "_ref")

    def __init__(self, ends: Ends, ref: ActorRef[Any]) -> None:
        self._ends = ends
        self._ref = ref

    def __call__(self, reason: ExitReason) -> None:
        self._ends.over(self._ref)


class Listeners(Generic[E]):
    """Listeners by what they listen to; each gets the events that follow its call, in order, each once.

    Listeners may do anything, also change what they listen to: the events of that come behind those that are being
    delivered, for everybody.
    """

    __slots__ = ("_complain", "_delivering", "_ends", "_pending", "_serial", "_topics")

    def __init__(self, complain: Callable[[str, BaseException], object]) -> None:
        self._complain = complain
        # For each listener what it listens to, and the number of the last event before it did. An event that was made
        # earlier and has not been delivered yet is known to it already, from what it has looked at.
        self._topics: dict[Listener[E], dict[object, int]] = {}
        self._ends = Ends(self._topics.pop)
        self._pending: deque[tuple[int, object, E]] = deque()
        self._serial = 0
        self._delivering = False

    def add(self, listener: Listener[E], topic: Hashable = EVERYTHING) -> None:
        """From here on *listener* gets the events of *topic*. Doing it twice is doing it once.

        Raises:
            InvalidSpec: It is neither a function nor a ref.
        """
        if _is_ref(listener):
            self._ends.add(listener)
        elif not callable(listener):
            problem = f"must be a function, or the ref of an actor, got {listener!r}"
            raise InvalidSpec(child="a subscription", field="listener", problem=problem)
        self._topics.setdefault(listener, {})[topic] = self._serial

    def remove(self, listener: Listener[E], topic: Hashable = EVERYTHING) -> None:
        """*listener* gets none of them any more, not even those on their way; it is no error if it did not."""
        topics = self._topics.get(listener)
        if topics is None:
            return
        topics.pop(topic, None)
        if not topics:
            del self._topics[listener]
            if _is_ref(listener):
                self._ends.discard(listener)

    def announce(self, events: Iterable[tuple[Hashable, E]]) -> None:
        """Tell of *events*, each with its topic."""
        for topic, event in events:
            self._serial += 1
            if self._topics:
                self._pending.append((self._serial, topic, event))
        if self._delivering:
            return
        self._delivering = True
        try:
            while self._pending:
                self._deliver(*self._pending.popleft())
        finally:
            self._delivering = False

    def _deliver(self, serial: int, topic: object, event: E) -> None:
        for listener, topics in list(self._topics.items()):
            since = [topics[each] for each in (topic, EVERYTHING) if each in topics]
            if not since or max(since) >= serial:
                continue
            if _is_ref(listener):
                listener.tell(event)
                continue
            try:
                cast("Callable[[E], object]", listener)(event)
            except Exception as error:
                self._complain(f"a listener failed on {event!r}", error)


def _is_ref(listener: object) -> TypeGuard[ActorRef[Any]]:
    return isinstance(listener, ActorRef)
