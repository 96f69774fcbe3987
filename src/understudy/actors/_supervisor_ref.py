"""The address of a supervisor, with the calls that administer its children."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ParamSpec, overload

from typing_extensions import TypeVar

from understudy._plans._spec import ChildSpec, check_name
from understudy._plans._strategies import check_place
from understudy.actors._child import as_spec
from understudy.actors._life import RUNNING
from understudy.actors._ref import ActorRef
from understudy.actors._waiting import Waiting, check_timeout
from understudy.exceptions import (
    ActorStopped,
    ChildAlreadyPresent,
    ChildAlreadyStarted,
    ChildNotFound,
    ChildRestarting,
    ChildRunning,
    InvalidSpec,
    StartError,
)
from understudy.reasons import Shutdown

if TYPE_CHECKING:
    from collections.abc import Callable

    from understudy.actors._actor import Actor
    from understudy.actors._cell import Cell
    from understudy.actors._child_record import Child
    from understudy.actors._family import Family

__all__ = ["ChildCounts", "ChildInfo", "SupervisorRef", "ref_of", "started"]

M_contra = TypeVar("M_contra", contravariant=True)
M = TypeVar("M")
P = ParamSpec("P")


@dataclass(frozen=True, slots=True)
class ChildInfo:
    """One child of a supervisor at one moment."""

    name: str
    ref: ActorRef[Any] | None
    """None: it is not running and nobody is starting it."""
    status: str
    """As of :attr:`ActorRef.status`; ``"stopped"`` for a spec whose child has ended for good."""
    actor: str
    """The name of its class."""
    supervisor: bool


@dataclass(frozen=True, slots=True)
class ChildCounts:
    """How many children a supervisor has at one moment."""

    specs: int
    """Children that are listed, running or not."""
    active: int
    """Those that are up."""
    supervisors: int
    """Those whose class is a supervisor, running or not."""
    workers: int
    """The others."""


class SupervisorRef(ActorRef[M_contra]):
    """The ref of a supervisor; what ``lookup`` and ``spawn`` give for a ``Supervisor`` class.

    The calls are served whatever the supervisor's own handler is doing, and while any number of its children are
    starting, stopping or hanging: no user code of the supervisor runs in them. While the supervisor itself is starting,
    or being restarted, they wait until it is up. A child is named by its name, or by its ref. All raise
    ``ActorStopped`` when the supervisor has ended or is about to, and ``AskCycle`` when the caller is an actor and
    would wait for ever.
    """

    __slots__ = ()

    @overload
    async def start_child(self, actor: ChildSpec[M], /) -> ActorRef[M]: ...
    @overload
    async def start_child(self, actor: Callable[P, Actor[M]], /, *args: P.args, **kwargs: P.kwargs) -> ActorRef[M]: ...
    async def start_child(self, actor: Any, /, *args: Any, **kwargs: Any) -> ActorRef[Any]:
        """Add a child and start it; returns when its ``initialize`` has ended.

        Its spec stays when it ends, as if it had been declared, unless it is temporary or the supervisor is dynamic.

        Raises:
            StartError: It did not start; its spec is discarded.
            ChildAlreadyStarted: A child of that name is running; carries its ref.
            ChildAlreadyPresent: There is a spec of that name, whose child is not running or is being restarted.
            TooManyChildren: There are as many as ``max_children`` allows.
            InvalidSpec: The spec does not fit this supervisor.
        """
        spec = as_spec(actor, args, kwargs)
        family = self._family_now() or await self._family()
        if spec.name is not None and spec.name in family.children:
            child = family.children[spec.name]
            if child.cell.down or family.restarting(spec.name):
                raise ChildAlreadyPresent(supervisor=self.path, name=spec.name)
            raise ChildAlreadyStarted(supervisor=self.path, name=spec.name, ref=ref_of(child.cell))
        child = self._cell.spawn(spec, kept=True)
        return ref_of(child.cell) if child.up else await started(child)

    async def terminate_child(self, child: str | ActorRef[Any], *, timeout: float | None = None) -> None:
        """End a child for good, by its own shutdown rule, and wait until it has ended.

        Nobody restarts it. Its spec stays, for :meth:`restart_child` or a restart of its group, unless it is temporary.
        One that is not running is left as it is; one that is being restarted is not any more.

        Args:
            child: Its name or its ref.
            timeout: Seconds after which force is used, whatever its own rule says.

        Raises:
            ChildNotFound: There is no such child.
            InvalidTimeout: Not a positive number of seconds.
        """
        timeout = check_timeout(timeout)
        family = await self._family()
        name, record = self._find(family, child)
        cell, env = record.cell, self._cell.runtime.env
        with Waiting.now().on(cell):
            waiter = env.loop.create_future()
            family.terminate(name, waiter)
            timer = None if timeout is None else env.call_at(env.now() + timeout, lambda: cell.force(keep=False))
            try:
                await waiter
            finally:
                if timer is not None:
                    timer.cancel()

    async def restart_child(self, child: str) -> ActorRef[Any]:
        """Start a child that has ended for good; it is a new actor under the old name.

        A failure leaves the spec as it is, not running, and does not count.

        Raises:
            StartError: It did not start.
            ChildRunning: It is running.
            ChildRestarting: It is being restarted anyway.
            ChildNotFound: There is no such spec.
        """
        family = await self._family()
        name, _ = self._idle(family, child)
        return await started(family.restart(name))

    async def delete_child(self, child: str) -> None:
        """Forget the spec of a child that has ended for good.

        Raises:
            ChildRunning: It is running: terminate it first.
            ChildRestarting: It is being restarted: terminate it first.
            ChildNotFound: There is no such spec.
        """
        family = await self._family()
        family.forget(self._idle(family, child)[0])

    async def replace_childspec(self, spec: ChildSpec[Any]) -> None:
        """*spec* takes the place of the one of the same name, from the next start of the child on.

        The class must be the same: the ref and the mailbox stay.

        Raises:
            ChildNotFound: There is no such spec.
            InvalidSpec: It has no name, or another class, or does not fit this supervisor.
        """
        family = await self._family()
        name = check_name(spec.name, f"child of {self.path}")
        _, record = self._find(family, name)
        if spec.factory is not record.spec.factory:
            problem = f"must stay {record.spec.factory.__qualname__}, got {spec.factory.__qualname__}"
            raise InvalidSpec(child=f"child {name!r} of {self.path}", field="actor", problem=problem)
        check_place(self.path, spec, parallel=family.plan.parallel, auto_shutdown=family.plan.auto_shutdown)
        record.cell.spec = spec

    async def which_children(self) -> list[ChildInfo]:
        """The children, in the order of their declaration, those added later behind."""
        family = await self._family()
        return [
            ChildInfo(
                name=name,
                ref=None if child.cell.dead else ref_of(child.cell),
                status="restarting" if family.restarting(name) else child.cell.status,
                actor=child.cell.class_name,
                supervisor=child.cell.spec.factory.supervises,
            )
            for name, child in family.children.items()
        ]

    async def count_children(self) -> ChildCounts:
        """How many there are."""
        children = (await self._family()).children.values()
        supervisors = sum(bool(child.cell.spec.factory.supervises) for child in children)
        return ChildCounts(
            specs=len(children),
            active=sum(bool(child.up) for child in children),
            supervisors=supervisors,
            workers=len(children) - supervisors,
        )

    async def get_childspec(self, child: str) -> ChildSpec[Any]:
        """The spec of a child.

        Raises:
            ChildNotFound: There is no such spec.
        """
        return self._find(await self._family(), child)[1].spec

    async def _family(self) -> Family[Cell]:
        """The children, once the supervisor is up: what is asked of one that starts or is restarted waits for that."""
        family = self._family_now()
        while family is None:
            await self._up_again()
            family = self._family_now()
        return family

    def _family_now(self) -> Family[Cell] | None:
        """The children, if the supervisor is up."""
        cell = self._cell
        if not cell.runtime.env.is_here():
            cell.check_loop()
        return cell.family if cell.life is RUNNING and cell.ending is None else None

    async def _up_again(self) -> None:
        cell = self._cell
        family = cell.parent.family if cell.parent is not None else None
        record = family.children.get(cell.name) if family is not None else None
        if cell.dead or cell.for_good or record is None or record.cell is not cell:
            raise ActorStopped(path=cell.path, reason=cell.why_not())
        with Waiting.now().on(cell):
            waiter = record.waiter(cell.runtime.env)
            try:
                await waiter
            except StartError as error:
                raise ActorStopped(path=cell.path, reason=error.reason) from error
            finally:
                if waiter.cancelled() and record.waiters is not None and waiter in record.waiters:
                    record.waiters.remove(waiter)

    def _find(self, family: Family[Cell], child: str | ActorRef[Any]) -> tuple[str, Child[Cell]]:
        name = child if isinstance(child, str) else child.path.rpartition("/")[2]
        found = family.children.get(name)
        if found is None or not (isinstance(child, str) or found.cell is child._cell):
            raise ChildNotFound(supervisor=self.path, name=name)
        return name, found

    def _idle(self, family: Family[Cell], child: str) -> tuple[str, Child[Cell]]:
        name, found = self._find(family, child)
        if family.restarting(name):
            raise ChildRestarting(supervisor=self.path, name=name)
        if not found.cell.dead:
            raise ChildRunning(supervisor=self.path, name=name)
        return name, found


def ref_of(cell: Cell) -> ActorRef[Any]:
    """The ref of *cell*, of the kind that its class has."""
    return SupervisorRef(cell) if cell.spec.factory.supervises else ActorRef(cell)


async def started(child: Child[Cell]) -> ActorRef[Any]:
    """Wait until *child*, which has been told to start, is up; whoever gives up waiting must not be left with it."""
    cell = child.cell
    if child.up:
        return ref_of(cell)
    waiting, dispatcher, waiter = Waiting.now(), cell.runtime.dispatcher, child.waiter(cell.runtime.env)
    if waiting.cell is None:
        dispatcher.run_ahead()
        if waiter.done():
            waiter.result()
            return ref_of(cell)
    try:
        # The wait stands before anything runs: who would wait in a circle is the child, not its parent.
        with waiting.on(cell):
            dispatcher.run_ahead()
            await waiter
            return ref_of(cell)
    except BaseException:
        if waiter.cancelled() or not waiter.done() or waiter.exception() is None:
            cell.request_stop(Shutdown("its start was cancelled"))
        raise
