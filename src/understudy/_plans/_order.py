"""In which order things are done, when some have to wait for others."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

__all__ = ["Order", "circle_in", "dependents_of", "one_after_another"]


class Order:
    """Names, each of which can begin when those before it are done.

    ::

        order = Order({"a": (), "b": ("a",)})
        order.begin()       # ["a"]
        order.done("a")     # ["b"]

    What a name waits for and is not part of the order counts as done.
    """

    __slots__ = ("_followers", "_missing", "active")

    def __init__(self, after: Mapping[str, Collection[str]]) -> None:
        # What has to be done before each that has not begun, and who waits for each.
        self._missing: dict[str, set[str]] = {}
        self._followers: dict[str, list[str]] = {}
        self.active: dict[str, None] = {}
        """Those that have begun and are not done, in order."""
        for name, before in after.items():
            known = [each for each in before if each in after]
            self._missing[name] = set(known)
            for each in known:
                self._followers.setdefault(each, []).append(name)

    def __bool__(self) -> bool:
        """Whether anything is left to do or to wait for."""
        return bool(self._missing or self.active)

    def __contains__(self, name: object) -> bool:
        return name in self._missing or name in self.active

    @property
    def waiting(self) -> list[str]:
        """Those that have not begun, in the order in which they were given."""
        return list(self._missing)

    def begin(self) -> list[str]:
        """Those that can begin at once; they have begun now."""
        return self._begin([name for name, missing in self._missing.items() if not missing])

    def done(self, name: str) -> list[str]:
        """*name* is done, or shall not be waited for any more; returns those that can begin now, and have.

        If it had not begun, those that wait for it wait for what it was waiting for.
        """
        self.active.pop(name, None)
        rest = self._missing.pop(name, set())
        freed: list[str] = []
        for follower in self._followers.pop(name, ()):
            missing = self._missing.get(follower)
            if missing is None:
                continue
            missing.discard(name)
            for other in rest - missing:
                self._followers.setdefault(other, []).append(follower)
            missing |= rest
            if not missing:
                freed.append(follower)
        return self._begin(freed)

    def _begin(self, names: list[str]) -> list[str]:
        for name in names:
            del self._missing[name]
            self.active[name] = None
        return names


def one_after_another(names: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Each after the one before it."""
    after: dict[str, tuple[str, ...]] = {}
    last: tuple[str, ...] = ()
    for name in names:
        after[name] = last
        last = (name,)
    return after


def dependents_of(after: Mapping[str, Collection[str]]) -> dict[str, list[str]]:
    """The opposite of *after*: who waits for each, directly. Stops run by this."""
    before: dict[str, list[str]] = {name: [] for name in after}
    for name, others in after.items():
        for other in others:
            if other in before:
                before[other].append(name)
    return before


def circle_in(after: Mapping[str, Collection[str]]) -> list[str] | None:
    """Names that wait for each other in a circle, the first repeated at the end; None if there is none."""
    order = Order(after)
    pending = order.begin()
    while pending:
        pending.extend(order.done(pending.pop()))
    stuck = set(order.waiting)
    if not stuck:
        return None
    path = [next(iter(order.waiting))]
    while True:
        following = next(each for each in after[path[-1]] if each in stuck)
        if following in path:
            return [*path[path.index(following) :], following]
        path.append(following)
