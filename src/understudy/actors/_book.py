"""The names of a cell's children, and how one gets off the list."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

from understudy._plans._strategies import PLAIN, Plan, free_name
from understudy.actors._child_record import Child, Member, Owner, start_error

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from understudy._plans._spec import ChildSpec
    from understudy.actors._runtime import Runtime
    from understudy.reasons import ExitReason

__all__ = ["Book"]

C = TypeVar("C", bound=Member)


class Book(Generic[C]):
    """Who the children are.

    ``children`` is in the order of the declaration, what was added at run time behind; a restart does not change it.
    """

    __slots__ = ("_make", "_numbers", "_owner", "_terminated", "children", "plan")

    def __init__(self, owner: Owner, make: Callable[[Runtime, Any, ChildSpec[Any], str], C]) -> None:
        self._owner = owner
        self._make = make
        self.plan: Plan = PLAIN
        self.children: dict[str, Child[C]] = {}
        self._numbers: dict[str, int] | None = None
        # Who waits for the end of a child that is being terminated.
        self._terminated: dict[str, list[asyncio.Future[None]]] | None = None

    def forget(self, name: str) -> None:
        """Take the spec of a child that has ended for good off the list."""
        assert self.children[name].cell.dead
        del self.children[name]

    def _free_name(self, label: str) -> str:
        if label not in self.children:
            return label
        if self._numbers is None:
            self._numbers = {}
        return free_name(label, self.children, self._numbers)

    def _cell(self, spec: ChildSpec[Any], name: str) -> C:
        return self._make(self._owner.runtime, self._owner, spec, name)

    def _find(self, cell: C, incarnation: int) -> Child[C] | None:
        """Whom the news is about; None when it is about an incarnation that is not there any more."""
        child = self.children.get(cell.name)
        return child if child is not None and child.cell is cell and cell.incarnation == incarnation else None

    def _stays_listed(self, child: Child[C]) -> bool:
        return bool(child.cell.option("restart") != "temporary")

    def _bury(self, name: str, reason: ExitReason, *, listed: bool = False, ignored: bool = False) -> None:
        """*name* has ended for good; it may stay *listed*. Whoever waits for its start hears that it did not."""
        # First the name is free, then anybody can hear of the death.
        child = self.children[name]
        if child.trouble is not None:
            child.cancel_timer()
        child.up = False
        if not listed:
            del self.children[name]
        child.cell.bury(reason)
        if child.waiters is not None:
            child.settle(None if ignored else start_error(child.cell.path, reason))
        if self._terminated is not None:
            self._tell_terminated(name)

    def _tell_terminated(self, name: str) -> None:
        if self._terminated is not None:
            for waiter in self._terminated.pop(name, ()):
                if not waiter.done():
                    waiter.set_result(None)

    def _now(self) -> float:
        return self._owner.runtime.env.now()
