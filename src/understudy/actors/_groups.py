"""``Groups``: actors that belong together under a name, for whoever wants to reach all of them."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from understudy.actors._listeners import Ends, Listener, Listeners

if TYPE_CHECKING:
    from understudy.actors._actor import Actor
    from understudy.actors._ref import ActorRef
    from understudy.actors._runtime import Runtime

__all__ = ["Group", "Groups", "Joined", "Left"]

M = TypeVar("M")


@dataclass(frozen=True, slots=True)
class Joined:
    """For subscribers of groups: an actor has become a member."""

    group: Hashable
    ref: ActorRef[Any]


@dataclass(frozen=True, slots=True)
class Left:
    """For subscribers of groups: a membership is over. An actor that had joined twice has one left, or gets two."""

    group: Hashable
    ref: ActorRef[Any]


class Groups:
    """The process groups of a system: ``system.groups``.

    ::

        system.groups.join("meters", north)
        for meter in system.groups.members("meters"):
            meter.tell(Read())

    Any hashable object names a group, which exists while it has members. An actor that has joined twice is a member
    twice, and has to leave twice. Members stay through restarts; at the end for good all memberships of the actor are
    over, before any watcher handles the ``Terminated``.

    All calls are for the event loop of the system, and none of them waits.
    """

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        # Memberships by their numbers, so that they are in the order of joining; no dictionary of a group is empty, and
        # each number in here is in `_numbers` of its member, and the reverse.
        self._members: dict[Hashable, dict[int, ActorRef[Any]]] = {}
        self._numbers: dict[ActorRef[Any], dict[int, Hashable]] = {}
        self._tuples: dict[Hashable, tuple[ActorRef[Any], ...]] = {}
        self._serial = 0
        self._ends = Ends(self._ended)
        self._listeners: Listeners[Joined | Left] = Listeners(runtime.complain)

    def __repr__(self) -> str:
        return f"<Groups, {len(self._members)} of them>"

    # Changing

    def join(self, group: Hashable, ref: ActorRef[Any]) -> None:
        """Make the actor at *ref* a member, once more if it is one.

        Where ``initialize`` does this, each incarnation does: see ``self.context.join``.

        Raises:
            ActorStopped: The actor has ended for good.
            TypeError: The group is not hashable.
            InvalidContext: Called outside of the event loop of the system.
        """
        self._check()
        hash(group)
        self._ends.add(ref)
        self._serial += 1
        self._members.setdefault(group, {})[self._serial] = ref
        self._numbers.setdefault(ref, {})[self._serial] = group
        self._tuples.pop(group, None)
        self._listeners.announce([(group, Joined(group, ref))])

    def leave(self, group: Hashable, ref: ActorRef[Any]) -> bool:
        """End one membership, the last if there are several; False: there was none."""
        self._check()
        numbers = self._numbers.get(ref, {})
        number = next((number for number in reversed(numbers) if numbers[number] == group), None)
        if number is None:
            return False
        self._remove(number, group)
        del numbers[number]
        if not numbers:
            del self._numbers[ref]
            self._ends.discard(ref)
        self._listeners.announce([(group, Left(group, ref))])
        return True

    # Looking

    def members(self, group: Hashable) -> tuple[ActorRef[Any], ...]:
        """The members, in the order in which they have joined; who has joined twice is in it twice."""
        self._check()
        found = self._tuples.get(group)
        if found is None:
            found = tuple(self._members.get(group, {}).values())
            if found:
                self._tuples[group] = found
        return found

    def groups(self) -> tuple[Hashable, ...]:
        """The groups that have members."""
        return tuple(self._members)

    @overload
    def group(self, name: Hashable, actor: type[Actor[M]]) -> Group[M]: ...
    @overload
    def group(self, name: Hashable) -> Group[Any]: ...
    def group(self, name: Hashable, actor: type[Actor[Any]] | None = None) -> Group[Any]:
        """One group by itself, with a type for its members; for routers, for one.

        Args:
            name: Its name. It need not have members.
            actor: The class of its members, for the type checker only.
        """
        return Group(self, name)

    # Listening

    def subscribe(self, listener: Listener[Joined | Left], group: Hashable) -> tuple[ActorRef[Any], ...]:
        """The members of *group* at this moment; from here on *listener* gets each change, in order and once.

        So who applies the changes to what was returned knows the members at any time: nothing is missed between the
        two, and nothing is in both. How a listener gets its events, and when not, is said at :meth:`Registry.listen`.

        Args:
            listener: A function, or the ref of an actor that takes ``Joined`` and ``Left``.
            group: The group; it need not have members.

        Raises:
            ActorStopped: The actor that shall listen has ended for good.
        """
        members = self.members(group)
        self._listeners.add(listener, group)
        return members

    def subscribe_all(self, listener: Listener[Joined | Left]) -> dict[Hashable, tuple[ActorRef[Any], ...]]:
        """The same for all groups, also for those to come. Who subscribes to all and to one gets each change once."""
        self._check()
        snapshot = {group: self.members(group) for group in self._members}
        self._listeners.add(listener)
        return snapshot

    def unsubscribe(self, listener: Listener[Joined | Left], group: Hashable) -> None:
        """Undo :meth:`subscribe`; it is no error if *listener* had not."""
        self._check()
        self._listeners.remove(listener, group)

    def unsubscribe_all(self, listener: Listener[Joined | Left]) -> None:
        """Undo :meth:`subscribe_all`; what it has subscribed to by name stays."""
        self._check()
        self._listeners.remove(listener)

    # Inside

    def _check(self) -> None:
        if self.runtime.elsewhere:
            raise self.runtime.misplaced("the groups")

    def _remove(self, number: int, group: Hashable) -> None:
        members = self._members[group]
        del members[number]
        if not members:
            del self._members[group]
        self._tuples.pop(group, None)

    def _ended(self, ref: ActorRef[Any]) -> None:
        numbers = self._numbers.pop(ref)
        for number, group in numbers.items():
            self._remove(number, group)
        self._listeners.announce([(group, Left(group, ref)) for group in numbers.values()])


class Group(Generic[M]):
    """One group of a system, with the type of messages that its members take; made by :meth:`Groups.group`."""

    __slots__ = ("groups", "name")

    def __init__(self, groups: Groups, name: Hashable) -> None:
        self.groups = groups
        self.name = name

    @property
    def refs(self) -> tuple[ActorRef[M], ...]:
        """The members: see :meth:`Groups.members`."""
        return self.groups.members(self.name)

    def join(self, ref: ActorRef[M]) -> None:
        """:meth:`Groups.join`."""
        self.groups.join(self.name, ref)

    def leave(self, ref: ActorRef[M]) -> bool:
        """:meth:`Groups.leave`."""
        return self.groups.leave(self.name, ref)

    def __repr__(self) -> str:
        return f"Group({self.name!r})"
