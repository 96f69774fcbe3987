"""``Registry``: actors by keys of your choice."""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Hashable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar, get_args, overload

from understudy._plans._spec import check_class
from understudy.actors._listeners import Ends, Listener, Listeners
from understudy.actors._runtime import runtime_of
from understudy.exceptions import ActorNotFound, InvalidSpec, KeyTaken

if TYPE_CHECKING:
    from collections.abc import Callable

    from understudy.actors._actor import Actor
    from understudy.actors._context import System
    from understudy.actors._ref import ActorRef

__all__ = ["Entry", "Keys", "Registered", "Registry", "Unregistered"]

M = TypeVar("M")

Keys: TypeAlias = Literal["unique", "duplicate"]
"""Whether a key has one actor at most, or any number of them."""

_NEAREST = 10_000
"""How many keys are looked through for those that come close to one that is not there."""


@dataclass(frozen=True, slots=True)
class Entry:
    """That an actor is registered under a key, with a value."""

    key: Hashable
    ref: ActorRef[Any]
    value: Any


@dataclass(frozen=True, slots=True)
class Registered:
    """For listeners of a registry: an actor has been registered under a key."""

    registry: str
    """The name of the registry."""
    key: Hashable
    ref: ActorRef[Any]
    value: Any


@dataclass(frozen=True, slots=True)
class Unregistered:
    """For listeners of a registry: an actor is not registered under that key any more."""

    registry: str
    key: Hashable
    ref: ActorRef[Any]


class Registry:
    """Actors by keys: any hashable object is a key, and an entry has a value besides the ref.

    ::

        system.registry.register(("meter", 7), north, value="north side")
        meter = system.registry.lookup(("meter", 7), Meter)

    An entry goes with its actor: through restarts it stays, and at the end for good it is gone before any watcher
    handles the ``Terminated``. An actor has any number of keys, and each of them once: to register it again under a key
    that it has only sets the value, so it may do so in ``initialize``, which runs for each incarnation.

    ``system.registry`` has unique keys. Whoever wants something else, or keys that cannot collide with those of others,
    makes a registry of his own; whether keys are unique is a matter of the whole registry, so that no call has to say
    what a key is. It lives in memory, and as long as its system.

    Args:
        system: The system, which is running.
        kind: ``"unique"``: a key has one actor at most. ``"duplicate"``: it has any number.
        name: For events and errors.

    Raises:
        InvalidSpec: There is no such kind.
    """

    def __init__(self, system: System, *, kind: Keys = "unique", name: str = "registry") -> None:
        if kind not in get_args(Keys):
            problem = f"must be 'unique' or 'duplicate', got {kind!r}"
            raise InvalidSpec(child=f"registry {name!r}", field="kind", problem=problem)
        self.runtime = runtime_of(system)
        self.kind: Keys = kind
        self.name = name
        # No dictionary of a key is empty; each ref in here is in `_keys` with that key, and the reverse.
        self._entries: dict[Hashable, dict[ActorRef[Any], Entry]] = {}
        self._keys: dict[ActorRef[Any], dict[Hashable, None]] = {}
        self._ends = Ends(self._ended)
        self._listeners: Listeners[Registered | Unregistered] = Listeners(self.runtime.complain)

    def __repr__(self) -> str:
        return f"<Registry {self.name!r}, {self.kind} keys, {self.count()} entries>"

    # Changing

    def register(self, key: Hashable, ref: ActorRef[Any], value: Any = None) -> None:
        """Enter the actor at *ref* under *key*, or set the *value* of that entry.

        Raises:
            KeyTaken: Keys are unique, and another actor has this one; carries its ref. It is undisturbed.
            ActorStopped: The actor has ended for good, so there is nothing to enter.
            TypeError: The key is not hashable.
            InvalidContext: Called outside of the event loop of the system.
        """
        self._check()
        holder = self._first(key) if self.kind == "unique" else None
        if holder is not None and holder != ref:
            raise KeyTaken(registry=self.name, key=key, ref=holder)
        hash(key)
        self._ends.add(ref)
        entries = self._entries.setdefault(key, {})
        known = ref in entries
        entries[ref] = Entry(key, ref, value)
        self._keys.setdefault(ref, {})[key] = None
        if not known:
            self._listeners.announce([(None, Registered(self.name, key, ref, value))])

    def unregister(self, key: Hashable, ref: ActorRef[Any]) -> bool:
        """Remove the entry of that actor under *key*; False: there was none."""
        self._check()
        if ref not in self._entries.get(key, ()):
            return False
        self._remove(key, ref)
        keys = self._keys[ref]
        del keys[key]
        if not keys:
            del self._keys[ref]
            self._ends.discard(ref)
        self._listeners.announce([(None, Unregistered(self.name, key, ref))])
        return True

    def update_value(self, key: Hashable, ref: ActorRef[Any], update: Callable[[Any], Any]) -> Any:
        """Replace the value of an entry by ``update(value)``, and return the new one. Listeners are not told.

        Raises:
            ActorNotFound: There is no such entry.
        """
        self._check()
        entry = self._entries.get(key, {}).get(ref)
        if entry is None:
            raise ActorNotFound(path=f"{ref.path} under key {key!r} of registry {self.name!r}")
        new = replace(entry, value=update(entry.value))
        if ref in self._entries.get(key, ()):  # the update may have removed it
            self._entries[key][ref] = new
        return new.value

    # Looking

    @overload
    def lookup(self, key: Hashable, actor: type[Actor[M]]) -> ActorRef[M]: ...
    @overload
    def lookup(self, key: Hashable) -> ActorRef[Any]: ...
    def lookup(self, key: Hashable, actor: type[Actor[Any]] | None = None) -> ActorRef[Any]:
        """The actor under *key*; of several, the one that has been there longest.

        It has not ended for good. It may be starting, being restarted or on its way out.

        Args:
            key: The key.
            actor: The class that it must have, for you and for the type checker.

        Raises:
            ActorNotFound: There is none; lists keys that come close.
            WrongActorType: Its class is another.
        """
        found = self._first(key)
        if found is None:
            known = [each for each in itertools.islice(self._entries, _NEAREST) if isinstance(each, str)]
            nearest = difflib.get_close_matches(key, known, n=3) if isinstance(key, str) else ()
            raise ActorNotFound(path=f"under key {key!r} of registry {self.name!r}", nearest=nearest)
        return _checked(found, actor)

    @overload
    def find(self, key: Hashable, actor: type[Actor[M]]) -> ActorRef[M] | None: ...
    @overload
    def find(self, key: Hashable) -> ActorRef[Any] | None: ...
    def find(self, key: Hashable, actor: type[Actor[Any]] | None = None) -> ActorRef[Any] | None:
        """Like :meth:`lookup`, with None where there is no actor."""
        found = self._first(key)
        return None if found is None else _checked(found, actor)

    def entries(self, key: Hashable) -> tuple[Entry, ...]:
        """All entries under *key*, those that have been there longest first."""
        return tuple(entry for entry in self._entries.get(key, {}).values() if entry.ref.status != "stopped")

    def values(self, key: Hashable) -> tuple[Any, ...]:
        """The values of :meth:`entries`."""
        return tuple(entry.value for entry in self.entries(key))

    def keys(self, ref: ActorRef[Any]) -> tuple[Hashable, ...]:
        """The keys under which that actor is registered, in the order in which it was."""
        return tuple(self._keys.get(ref, ()))

    def count(self) -> int:
        """How many entries there are, under all keys together."""
        return sum(len(keys) for keys in self._keys.values())

    # Listening

    def listen(self, listener: Listener[Registered | Unregistered]) -> None:
        """From here on *listener* gets :class:`Registered` and :class:`Unregistered`: each once, in order.

        A function is called at once, within the call that has made the change; what it raises is reported and goes
        nowhere. An actor is told, so its events wait in its mailbox behind what is there, and one that finds it full is
        a dead letter. It is forgotten when it ends for good. To listen twice is to listen once.

        Raises:
            ActorStopped: The actor that shall listen has ended for good.
        """
        self._check()
        self._listeners.add(listener)

    def unlisten(self, listener: Listener[Registered | Unregistered]) -> None:
        """Undo :meth:`listen`; it is no error if *listener* did not."""
        self._check()
        self._listeners.remove(listener)

    # Inside

    def _check(self) -> None:
        if self.runtime.elsewhere:
            raise self.runtime.misplaced(f"registry {self.name!r}")

    def _first(self, key: Hashable) -> ActorRef[Any] | None:
        self._check()
        while (found := next(iter(self._entries.get(key, ())), None)) is not None and found.status == "stopped":
            self._ends.over(found)  # it is telling others of its end at this moment
        return found

    def _remove(self, key: Hashable, ref: ActorRef[Any]) -> None:
        entries = self._entries[key]
        del entries[ref]
        if not entries:
            del self._entries[key]

    def _ended(self, ref: ActorRef[Any]) -> None:
        keys = self._keys.pop(ref)
        for key in keys:
            self._remove(key, ref)
        self._listeners.announce([(None, Unregistered(self.name, key, ref)) for key in keys])


def _checked(ref: ActorRef[Any], actor: type[Actor[M]] | None) -> ActorRef[M]:
    if actor is not None:
        check_class(ref._cell.spec, actor, ref.path)  # pyright: ignore[reportPrivateUsage]
    return ref
