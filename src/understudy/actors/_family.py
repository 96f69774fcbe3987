"""The children of a cell: a machine that is told what happened and tells cells what to do. It never waits."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from understudy._plans._intensity import count_failure
from understudy._plans._strategies import PLAIN, Plan, free_name, restarts, stop_order
from understudy.exceptions import InvalidSpec, StartError, StartTimeout
from understudy.instrument import Instrument
from understudy.reasons import ExitReason, RestartsExceeded, Shutdown, StartFailed, root_error

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from understudy._plans._spec import ChildSpec
    from understudy.actors._runtime import Runtime
    from understudy.messages import ChildEnded, ChildStarted

__all__ = ["Child", "Family", "Member", "Owner", "start_error"]


class Member(Protocol):
    """A child's cell, as its family sees it."""

    spec: ChildSpec[Any]

    @property
    def uid(self) -> int: ...
    @property
    def incarnation(self) -> int: ...
    @property
    def for_good(self) -> bool: ...
    @property
    def reason(self) -> ExitReason | None: ...
    @property
    def path(self) -> str: ...
    @property
    def down(self) -> bool: ...
    def option(self, name: str) -> Any: ...
    def start(self) -> None: ...
    def request_stop(self, reason: ExitReason, *, keep: bool) -> None: ...
    def force(self, *, keep: bool) -> None: ...
    def bury(self, reason: ExitReason) -> None: ...
    def abandon_tree(self) -> None: ...


C = TypeVar("C", bound=Member)


class Owner(Protocol):
    """The parent's cell, as the family sees it."""

    runtime: Runtime

    @property
    def path(self) -> str: ...
    def family_started(self) -> None: ...
    def family_failed(self, reason: ExitReason) -> None: ...
    def family_stopped(self) -> None: ...
    def give_up(self, reason: RestartsExceeded) -> None: ...


class Child(Generic[C]):
    """What a parent knows of a child. It is listed until its name is free again."""

    __slots__ = ("cell", "declared", "started", "times", "waiter")

    def __init__(self, cell: C, *, declared: bool, waiter: asyncio.Future[None] | None) -> None:
        self.cell = cell
        self.declared = declared
        # Whether an incarnation has ever come up: until then a failure is its starter's, not the plan's.
        self.started = False
        self.times: list[float] | None = None
        self.waiter = waiter

    def settle(self, error: BaseException | None) -> None:
        """Tell whoever waits for the first start how it went, once."""
        waiter, self.waiter = self.waiter, None
        if waiter is None or waiter.done():
            return
        if error is None:
            waiter.set_result(None)
        else:
            waiter.set_exception(error)


class Family(Generic[C]):
    """The children of one cell, through all its incarnations.

    ``children`` is in the order of the declaration, what was added at run time behind; a restart does not change it.
    While ``_booting`` is not None, that declared child is starting and those in ``_to_boot`` wait for it. ``_open``
    from a start of the owner to its end: only then is a child restarted. While ``_batch`` is not empty those named in
    it are being stopped, those of ``_batches`` come next; each name in it is of a child whose end has not been seen.
    """

    __slots__ = (
        "_batch",
        "_batches",
        "_booting",
        "_keep",
        "_make",
        "_numbers",
        "_open",
        "_owner",
        "_to_boot",
        "children",
        "plan",
        "times",
    )

    def __init__(self, owner: Owner, make: Callable[[ChildSpec[Any], str], C]) -> None:
        self._owner = owner
        self._make = make
        self.plan: Plan = PLAIN
        self.children: dict[str, Child[C]] = {}
        self.times: list[float] = []
        self._numbers: dict[str, int] | None = None
        self._booting: Child[C] | None = None
        self._to_boot: deque[ChildSpec[Any]] = deque()
        self._open = True
        self._batch: set[str] = set()
        self._batches: deque[list[str]] = deque()
        self._keep = False

    # Starting

    def boot(self, plan: Plan) -> None:
        """Start the declared children of a new incarnation in order, each after the one before it has come up.

        Those that the last incarnation left and that are declared again under their name and class keep their identity;
        the others end for good first.
        """
        self.plan = plan
        self.times = []
        self._open = True
        declared = {spec.name: spec for spec in plan.children}
        for name, child in list(self.children.items()):
            spec = declared.get(name)
            if child.cell.down and (spec is None or spec.factory is not child.cell.spec.factory):
                self._bury(name, child.cell.reason or Shutdown("no longer declared"))
        self._to_boot = deque(plan.children)
        self._boot_next()

    def _boot_next(self) -> None:
        self._booting = None
        if not self._to_boot:
            self._owner.family_started()
            return
        spec = self._to_boot.popleft()
        name = spec.name or spec.label
        child = self.children.pop(name, None)
        if child is None:
            child = Child(self._make(spec, name), declared=True, waiter=None)
        elif not child.cell.down:
            self.children[name] = child
            problem = f"{name!r} is taken by a child that initialize has spawned"
            self._boot_failed(InvalidSpec(child=self._owner.path, field="name", problem=problem))
            return
        child.cell.spec = spec
        child.started = False
        self.children[name] = child
        self._booting = child
        child.cell.start()

    def spawn(self, spec: ChildSpec[Any], waiter: asyncio.Future[None], *, declared: bool = False) -> Child[C]:
        """Start a child at run time; *waiter* is told how it went. The name must be free."""
        name = spec.name or self._free_name(spec.label)
        child = Child(self._make(spec, name), declared=declared, waiter=waiter)
        self.children[name] = child
        child.cell.start()
        return child

    def _free_name(self, label: str) -> str:
        if label not in self.children:
            return label
        if self._numbers is None:
            self._numbers = {}
        return free_name(label, self.children, self._numbers)

    @property
    def booting(self) -> C | None:
        """The child whose start the owner waits for, if it does."""
        return self._booting.cell if self._booting is not None else None

    # What happened

    def child_started(self, signal: ChildStarted) -> None:
        """A child has come up."""
        child = self._find(signal)
        if child is None or child.cell.down:
            return
        child.started = True
        child.settle(None)
        if child is self._booting:
            self._boot_next()

    def child_ended(self, signal: ChildEnded) -> None:
        """An incarnation of a child has ended: bury it, keep it or start it anew."""
        child = self._find(signal)
        if child is None:
            return
        if not self._open:
            self._ended_while_stopping(signal.name, child)
        elif child.cell.for_good:
            self._bury(signal.name, signal.reason)
            if child is self._booting:
                self._boot_next()
        elif child is self._booting:
            self._boot_failed(start_error(child.cell.path, signal.reason))
        elif not child.started:
            self._bury(signal.name, signal.reason)
        else:
            self._decide(signal.name, child, signal.reason)

    def _boot_failed(self, error: BaseException) -> None:
        self._booting = None
        self._to_boot.clear()
        self._owner.family_failed(StartFailed(error))

    def _decide(self, name: str, child: Child[C], reason: ExitReason) -> None:
        plan = self.plan
        if not restarts(child.cell.option("restart"), reason):
            self._bury(name, reason)
            return
        shared = plan.shared
        now = self._owner.runtime.env.now()
        window = count_failure(self.times if shared else child.times or [], now, plan.max_restarts, plan.max_seconds)
        if shared:
            self.times = window.times
        else:
            child.times = window.times
        emit = self._owner.runtime.instruments.emit
        if not window.exceeded:
            emit(Instrument.actor_restarting, child.cell.path, reason, len(window.times))
            child.cell.start()
            return
        exceeded = RestartsExceeded(child.cell.path, reason, len(window.times), plan.max_seconds)
        emit(Instrument.gave_up, self._owner.path if shared else child.cell.path, exceeded)
        if shared:
            # Decided once: what else has ended by now waits for the decision of the owner's parent.
            self._open, self._keep = False, True
            self._owner.give_up(exceeded)
        else:
            self._bury(name, exceeded)

    # Stopping

    @property
    def stopped(self) -> bool:
        """Whether :meth:`stop_all` or :meth:`kill_all` was called and no child is up any more."""
        return not (self._open or self._batch or self._batches)

    def stop_all(self, *, keep: bool) -> None:
        """Stop the children in order, each by its own rule; the owner is told when none is up, unless none was.

        With *keep* those that were declared stay listed, with their mailboxes, until the parent of the owner has
        decided; everything else ends for good.
        """
        self._close(keep=keep)
        order = [(name, child.declared) for name, child in self.children.items()]
        self._batches = deque(stop_order(order, one_by_one=self.plan.shared))
        self._stop_next()

    def kill_all(self, *, keep: bool) -> None:
        """The same at once and by force; also in the middle of :meth:`stop_all`."""
        self._close(keep=keep)
        self._batches.clear()
        self._batch = {name for name, child in self.children.items() if not child.cell.down}
        for name in [name for name in self.children if name in self._batch]:
            child = self.children[name]
            child.cell.force(keep=keep and child.declared)

    def end_kept(self, name: str) -> None:
        """A child that is down shall end for good: now, if it waits for the owner, or for its turn to start.

        One whose end has not been seen yet is buried then.
        """
        waits_for_turn = any(spec.name == name for spec in self._to_boot)
        if waits_for_turn:
            self._to_boot = deque(spec for spec in self._to_boot if spec.name != name)
        if waits_for_turn or (not self._open and name not in self._batch):
            self._bury(name, self.children[name].cell.reason or Shutdown())

    def bury_all(self) -> None:
        """The owner ends for good, so those that were kept for its next incarnation do too, last first."""
        for name in list(reversed(self.children)):
            self._bury(name, self.children[name].cell.reason or Shutdown("parent ended"))

    def abandon_all(self) -> None:
        """Give up on everything that is left, now."""
        self._close(keep=False)
        self._batch.clear()
        self._batches.clear()
        for name in list(reversed(self.children)):
            child = self.children.pop(name)
            child.cell.abandon_tree()
            child.settle(start_error(child.cell.path, Shutdown("system shutdown")))

    def _close(self, *, keep: bool) -> None:
        self._open = False
        self._keep = keep
        self._booting = None
        self._to_boot.clear()
        for name, child in list(self.children.items()):
            if child.cell.down and name not in self._batch and not self._keeps(child):
                self._bury(name, child.cell.reason or Shutdown())

    def _keeps(self, child: Child[C]) -> bool:
        return self._keep and child.declared and not child.cell.for_good

    def _ended_while_stopping(self, name: str, child: Child[C]) -> None:
        if not self._keeps(child):
            self._bury(name, child.cell.reason or Shutdown())
        if name in self._batch:
            self._batch.discard(name)
            self._stop_next()
            if self.stopped:
                self._owner.family_stopped()

    def _stop_next(self) -> None:
        while self._batches and not self._batch:
            alive = [name for name in self._batches.popleft() if self._is_up(name)]
            self._batch = set(alive)
            for name in alive:
                child = self.children[name]
                child.cell.request_stop(Shutdown("parent ended"), keep=self._keep and child.declared)

    def _is_up(self, name: str) -> bool:
        child = self.children.get(name)
        return child is not None and not child.cell.down

    def _bury(self, name: str, reason: ExitReason) -> None:
        # First the name is free, then anybody can hear of the death.
        child = self.children.pop(name)
        child.cell.bury(reason)
        if child.waiter is not None:
            child.settle(start_error(child.cell.path, reason))

    def _find(self, signal: ChildStarted | ChildEnded) -> Child[C] | None:
        child = self.children.get(signal.name)
        if child is None or child.cell.uid != signal.uid or child.cell.incarnation != signal.incarnation:
            return None
        return child


def start_error(path: str, reason: ExitReason) -> StartError:
    """What the starter of *path* gets."""
    if isinstance(reason, StartFailed) and isinstance(reason.error, StartTimeout):
        return reason.error
    error = StartError(path=path, reason=reason)
    error.__cause__ = root_error(reason)
    return error
