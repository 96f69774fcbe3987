"""The children of a cell: a machine that is told what happened and tells cells what to do. It never waits.

It is in one of these, and what a child's end means depends on it:

- *booting*: the declared children of a new incarnation are starting; the first that fails is the owner's failure;
- *open*: each end is decided by the plan, see :class:`understudy.actors._restarts.Restarts`;
- *closing*: all children end, because the owner does.

Starts and stops in progress are kept as an :class:`understudy._plans._order.Order`, which knows who may go next.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from understudy._plans._order import Order, one_after_another
from understudy._plans._strategies import Plan, check_place
from understudy.actors._child_record import Child, Member, Owner, start_error
from understudy.actors._restarts import Restarts
from understudy.exceptions import InvalidSpec, TooManyChildren
from understudy.reasons import Shutdown, StartFailed

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Collection

    from understudy._plans._spec import ChildSpec
    from understudy.actors._life import Ending
    from understudy.actors._runtime import Runtime

__all__ = ["Family"]

C = TypeVar("C", bound=Member)


class Family(Restarts[C]):
    """The children of one cell, through all its incarnations."""

    __slots__ = ("_boot", "_closing", "_declared", "_deferred", "_failed", "_record")

    def __init__(self, owner: Owner, make: Callable[[Runtime, Any, ChildSpec[Any], str], C]) -> None:
        super().__init__(owner, make)
        # While booting: who may start next, from which specs, and who has come up, in that order.
        self._boot: Order | None = None
        self._declared: dict[str, ChildSpec[Any]] = {}
        self._record: list[str] = []
        # The boot has failed, and the owner is about to close.
        self._failed = False
        # Ends that came while booting and concern a group, which is complete only afterwards.
        self._deferred: list[tuple[C, int, Ending]] = []
        self._closing: Order | None = None

    # Booting

    def boot(self, plan: Plan) -> None:
        """Start the declared children of a new incarnation, in the order of the plan.

        Those that the last incarnation left and that are declared again under their name and class keep their identity;
        the others end for good first.
        """
        self.plan = plan
        self.times = []
        self._open = True
        self._closing = None
        self._failed = False
        self._record = []
        self._declared = {str(spec.name): spec for spec in plan.children}
        for name, child in list(self.children.items()):
            spec = self._declared.get(name)
            if child.cell.dead:
                self.forget(name)
            elif child.cell.down and (spec is None or spec.factory is not child.cell.spec.factory):
                self._bury(name, child.cell.reason or Shutdown("no longer declared"))
        self._boot = Order(plan.start_after(self._declared, self._declared))
        self._boot_some(self._boot.begin())

    def _boot_some(self, names: list[str]) -> None:
        for name in names:
            if self._boot is None:
                return  # one of them could not even begin
            self._boot_one(name, self._declared[name])
        if self._boot is not None and not self._boot:
            self._booted()

    def _boot_one(self, name: str, spec: ChildSpec[Any]) -> None:
        child = self.children.pop(name, None)
        if child is None:
            child = Child(self._cell(spec, name), True)
        elif not child.cell.down:
            self.children[name] = child
            problem = f"{name!r} is taken by a child that initialize has spawned"
            self._boot_failed(InvalidSpec(child=self._owner.path, field="name", problem=problem))
            return
        child.cell.spec = spec
        child.started = False
        self.children[name] = child
        child.start()

    def _boot_step(self, name: str) -> None:
        """Nobody has to wait for *name* any more."""
        if self._boot is not None and name in self._boot:
            self._boot_some(self._boot.done(name))

    def _booted(self) -> None:
        self._boot = None
        self._owner.family_started()
        deferred, self._deferred = self._deferred, []
        for cell, incarnation, ending in deferred:
            child = self._find(cell, incarnation)
            if child is not None and self._open:
                self._decide(cell.name, child, ending)

    def _boot_failed(self, error: BaseException) -> None:
        # Those that are starting are stopped with the others, by the end of the owner; until then nobody is restarted,
        # and those whose ends come meanwhile are kept for its next incarnation.
        self._boot = None
        self._open, self._keep, self._failed = False, True, True
        self._owner.family_failed(StartFailed(error))

    @property
    def booting(self) -> C | None:
        """A child whose start the owner waits for, if it does."""
        if self._boot is None or not self._boot.active:
            return None
        child = self.children.get(next(iter(self._boot.active)))
        return child.cell if child is not None else None

    # At run time

    def spawn(self, spec: ChildSpec[Any], *, declared: bool = False, kept: bool = False) -> Child[C]:
        """Start a child. The name must be free. *kept*: its spec shall outlive it.

        Raises:
            InvalidSpec: The spec says something of its place that does not fit this supervisor.
            TooManyChildren: There are as many as there may be.
        """
        plan = self.plan
        if plan.shared and spec.given:
            check_place(self._owner.path, spec, parallel=False, auto_shutdown=plan.auto_shutdown)
        if len(self.children) >= plan.max_children:
            raise TooManyChildren(path=self._owner.path, limit=int(plan.max_children))
        name = spec.name or self._free_name(spec.label)
        owner = self._owner
        cell = self._make(owner.runtime, owner, spec, name)
        child = Child(cell, declared)
        child.kept = None if kept and plan.shared and not plan.dynamic else False
        child.up = None
        self.children[name] = child
        cell.start(child)
        return child

    def restart(self, name: str) -> Child[C]:
        """Start a new actor for a spec whose last one has ended for good."""
        child = self.children[name]
        assert child.cell.dead
        child.renew(self._cell(child.spec, name))
        child.start()
        return child

    def terminate(self, name: str, waiter: asyncio.Future[None]) -> None:
        """End a child for good; *waiter* is told when it has ended. Its spec stays, unless it is temporary."""
        child = self.children[name]
        if child.cell.dead:
            self._leave_group(name)
            waiter.set_result(None)
            return
        if self._terminated is None:
            self._terminated = {}
        self._terminated.setdefault(name, []).append(waiter)
        child.cell.request_stop(Shutdown("terminated"), keep=False)

    # What happened

    @property
    def calm(self) -> bool:
        """Nothing is being decided, and nobody waits for anything: news of one child is a matter of its record only."""
        plan = self.plan
        return (
            self._open
            and self._boot is None
            and self._group is None
            and not self._terminated
            and plan.strategy == "one_for_one"
            and plan.on_start is None
        )

    def child_started(self, cell: C) -> None:
        """A child has come up."""
        child = self.children.get(cell.name)
        if child is None or child.cell is not cell:
            return
        child.started = child.up = True
        if child.kept is None:
            child.kept = True
        spec = cell.spec
        if self.plan.dynamic and (spec.args or spec.kwargs) and cell.option("restart") == "temporary":
            cell.spec = replace(spec, args=(), kwargs={})  # never needed again, and perhaps large
        if child.trouble is not None:
            child.trouble.up_since = self._now()
        if child.waiters is not None:
            child.settle(None)
        if self.plan.on_start is not None:
            self.plan.on_start()
        if self._boot is not None and cell.name not in self._record:
            self._record.append(cell.name)  # a restart meanwhile does not change its place
        if self._group is not None:
            self._member_started(cell.name)
        if self._boot is not None:
            self._boot_step(cell.name)

    def child_ended(self, cell: C, ending: Ending) -> None:
        """The incarnation of a child has ended: bury it, keep it or start it anew. Told exactly once of each."""
        name, group = cell.name, self._group
        child = self.children.get(name)
        if child is None or child.cell is not cell:
            return
        child.up = False
        if not self._open:
            self._ended_while_closing(name, child)
        elif ending.ignored or cell.for_good:
            if child.kept is None and ending.ignored:
                child.kept = True
            self._let_go(name, child, ending.reason, ignored=ending.ignored)
            if self._boot is not None:
                self._boot_step(name)
        elif self._boot is not None and name in self._boot.active:
            self._boot_failed(start_error(cell.path, ending.reason))
        elif group is not None and name in group.stops:
            self._member_stopped(group, name)
        elif not child.started and not (group is not None and group.starting(name)):
            self._let_go(name, child, ending.reason)
        elif self._boot is not None and self.plan.strategy != "one_for_one":
            self._deferred.append((cell, cell.incarnation, ending))
        else:
            self._decide(name, child, ending)

    def end_kept(self, name: str) -> None:
        """A child that is down shall end for good: now, if it waits for the owner, for a delay or for its turn.

        One whose end has not been seen yet is buried then.
        """
        child = self.children[name]
        booting = self._boot is not None and name in self._boot.waiting
        in_group = self._group is not None and name in self._group.names and name not in self._group.stops
        closed = not self._open and child.rests
        if booting or in_group or closed or child.delayed:
            self._let_go(name, child, child.cell.reason or Shutdown())
            self._boot_step(name)

    # Closing

    @property
    def stopped(self) -> bool:
        """Whether :meth:`stop_all` or :meth:`kill_all` was called and no child is up any more."""
        return self._closing is not None and not self._closing

    def stop_all(self, *, keep: bool) -> None:
        """Stop the children in order, each by its own rule; the owner is told when none is up, unless none was.

        With *keep* those that were declared stay listed, with their mailboxes, until the parent of the owner has
        decided; everything else ends for good.
        """
        # Those that are down are not to be waited for; by way of them others may depend on each other all the same, so
        # this is found out before those that have ended for good are forgotten.
        up = {
            name: (child.spec, child.declared)
            for name, child in self.children.items()
            if self.plan.parallel or not child.cell.down
        }
        after: dict[str, Collection[str]] = self.plan.stop_after(up)
        if self.plan.parallel and self._failed:
            after = self._after_failed_boot(list(up), self._record)
        self._close(keep=keep)
        self._closing = Order(after)
        self._close_some(self._closing.begin())

    def kill_all(self, *, keep: bool) -> list[tuple[C, bool]]:
        """The same at once and by force, which the caller has to use: on whom, and whether to keep him.

        Also in the middle of :meth:`stop_all`.
        """
        self._close(keep=keep)
        up = [name for name, child in self.children.items() if not child.cell.down]
        self._closing = Order(dict.fromkeys(up, ()))
        children = [self.children[name] for name in self._closing.begin()]
        return [(child.cell, keep and child.declared) for child in children]

    def _after_failed_boot(self, up: list[str], record: list[str]) -> dict[str, Collection[str]]:
        """Those that are still starting end first, then those that have come up, the last of them first."""
        # One that has come up, and whose parent has not heard of it yet, is the last of them.
        unheard = [name for name in up if self.children[name].cell.running and name not in record]
        started = [*reversed(unheard), *(name for name in reversed(record) if name in up)]
        starting = [name for name in up if name not in started]
        after: dict[str, Collection[str]] = {**dict.fromkeys(starting, ()), **one_after_another(started)}
        if started:
            after[started[0]] = starting
        return after

    def bury_all(self) -> None:
        """The owner ends for good, so those that were kept for its next incarnation do too, last first."""
        # The lowest first, and without recursion: a tree may be taller than the stack.
        families: list[Family[Any]] = [self]
        for family in families:
            families += [below for each in family.children.values() if (below := each.cell.family) is not None]
        for family in reversed(families):
            for name in list(reversed(family.children)):
                family._bury(name, family.children[name].cell.reason or Shutdown("parent ended"))

    def abandon_all(self) -> None:
        """Give up on everything that is left, now."""
        self._close(keep=False)
        self._closing = None
        for name in list(reversed(self.children)):
            child = self.children.pop(name)
            child.cell.abandon_tree()
            child.settle(start_error(child.cell.path, Shutdown("system shutdown")))
            self._tell_terminated(name)

    def _close(self, *, keep: bool) -> None:
        self._open = False
        self._keep = keep
        self._boot = None
        self._record.clear()
        self._failed = False
        self._deferred.clear()
        self._drop_group()
        for name, child in list(self.children.items()):
            child.cancel_timer()
            seen = self._closing is None or name not in self._closing
            if child.cell.dead or (child.cell.down and seen and not self._stays(child)):
                self._bury(name, child.cell.reason or Shutdown())

    def _stays(self, child: Child[C]) -> bool:
        """Whether *child* waits for the next incarnation of the owner."""
        return self._keep and child.declared and not child.cell.for_good

    def _ended_while_closing(self, name: str, child: Child[C]) -> None:
        if not self._stays(child):
            self._bury(name, child.cell.reason or Shutdown())
        closing = self._closing
        if closing is not None and name in closing:
            self._close_some(closing.done(name))
            if not closing and self._closing is closing:
                self._owner.family_stopped()

    def _close_some(self, names: list[str]) -> None:
        """Stop those whose turn it is; one that has ended meanwhile makes way for the next at once."""
        closing = self._closing
        assert closing is not None
        pending = list(reversed(names))
        while pending:
            name = pending.pop()
            child = self.children.get(name)
            if child is None or child.cell.down:
                pending.extend(reversed(closing.done(name)))
            else:
                child.cell.request_stop(Shutdown("parent ended"), keep=self._keep and child.declared)
