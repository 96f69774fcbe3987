"""``PartitionSupervisor``: the same actor several times, each for its share of the keys."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Generic, Never

from typing_extensions import TypeVar, Unpack

from understudy._plans._keys import encoded
from understudy._plans._spec import ChildSpec, check_class, check_count
from understudy._plans._strategies import Plan, plan
from understudy.actors._child import child
from understudy.actors._ref import ActorRef, check_ref
from understudy.actors._supervisor_ref import SupervisorRef, ref_of, started
from understudy.actors._waiting import Waiting, check_timeout
from understudy.exceptions import (
    ActorStopped,
    ChildNotFound,
    InvalidContext,
    InvalidSpec,
    NameTaken,
)
from understudy.reasons import Shutdown
from understudy.supervision._supervisor import Supervisor, Tuning

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from understudy._plans._keys import Key
    from understudy.actors._actor import Actor
    from understudy.actors._cell import Cell
    from understudy.actors._family import Family

__all__ = ["PartitionSupervisor", "Partitions", "partition_of", "partition_supervisor"]

M = TypeVar("M", default=Never)
M_contra = TypeVar("M_contra", contravariant=True)


class PartitionSupervisor(Supervisor[M]):
    """A supervisor of several partitions: actors of one class, among which the keys are divided.

    ::

        class Carts(PartitionSupervisor):
            partitions = 8

            def partition(self, number: int) -> ChildSpec:
                return child(Cart, number)

        carts = Partitions(system.lookup("shop/carts"), Cart)
        carts.route("anna").tell(Add(item="lamp"))

    The partitions are named after their numbers, from ``0`` up. Each has its ref and its mailbox, keeps them through
    restarts, and is restarted as the strategy says. Their number can be changed at run time: see :class:`Partitions`.
    """

    partitions: int
    """How many there are at first; said by the class, or set on ``self`` in ``__init__``."""

    _resizing = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        who = f"class {cls.__qualname__}"
        if cls.children is not PartitionSupervisor.children:
            problem = "are its partitions: define `partition(self, number)` instead, or use Supervisor"
            raise InvalidSpec(child=who, field="children", problem=problem)
        if "partitions" in cls.__dict__:
            _check_partitions(cls.__dict__["partitions"], who)

    def partition(self, number: int) -> ChildSpec:
        """The declaration of partition *number*; like ``children`` it only declares, and may be called at any time.

        All are of one class. They get their names from the supervisor, and are permanent or transient.
        """
        raise NotImplementedError(f"{type(self).__qualname__} must define partition(self, number)")

    def children(self) -> Sequence[ChildSpec]:
        """The partitions with which it begins."""
        who = f"class {type(self).__qualname__}"
        return self._declare(range(_check_partitions(getattr(self, "partitions", None), who)))

    def _understudy_plan(self, path: str, before: Plan | None = None) -> Plan:
        """With as many partitions as the incarnation *before* had in the end."""
        if before is None or not before.children:
            return super()._understudy_plan(path)
        return self._plan_of(path, self, self._declare(range(len(before.children))))

    def _declare(self, numbers: Iterable[int]) -> list[ChildSpec[Any]]:
        specs: list[ChildSpec[Any]] = []
        for number in numbers:
            spec: ChildSpec[Any] = self.partition(number)
            who = f"partition {number} of class {type(self).__qualname__}"
            _check_partition(spec, who)
            if specs and spec.factory is not specs[0].factory:
                problem = f"must be {specs[0].factory.__qualname__}, as that of the others, got {spec.factory!r}"
                raise InvalidSpec(child=who, field="actor", problem=problem)
            specs.append(spec.options(name=str(number)))
        return specs


class DeclaredPartitions(PartitionSupervisor):
    """What :func:`partition_supervisor` declares."""

    def __init__(self, spec: ChildSpec[Any], partitions: int, declared: Plan) -> None:
        self.spec = spec
        self.partitions = partitions
        self.declared = declared

    def partition(self, number: int) -> ChildSpec[Any]:
        return self.spec

    def _understudy_plan(self, path: str, before: Plan | None = None) -> Plan:
        return replace(self.declared, children=super()._understudy_plan(path, before).children)


def partition_supervisor(
    name: str, partition: ChildSpec[Any], *, partitions: int, **tuning: Unpack[Tuning]
) -> ChildSpec[Never]:
    """Declare a :class:`PartitionSupervisor` in line; all partitions are made with the same arguments.

    ::

        partition_supervisor("carts", child(Cart), partitions=8, max_restarts=10)

    Args:
        name: Its name.
        partition: The declaration of a partition, without a name.
        partitions: How many there are at first.
        **tuning: As for :func:`understudy.supervisor`.

    Raises:
        InvalidSpec: Something in it is not allowed; it says what, where, and what is.
    """
    who = f"supervisor {name!r}"
    _check_partition(partition, f"partition of {who}")
    declared = plan(
        who,
        tuning.pop("strategy", "one_for_one"),
        tuning.pop("max_restarts", 3),
        tuning.pop("max_seconds", 5.0),
        (),
        parallel_start=tuning.pop("parallel_start", False),
        auto_shutdown=tuning.pop("auto_shutdown", "never"),
    )
    if tuning:
        problem = f"are partitions, {', '.join(Tuning.__annotations__)}, got {next(iter(tuning))!r}"
        raise InvalidSpec(child=who, field="options", problem=problem)
    return child(DeclaredPartitions, partition, _check_partitions(partitions, who), declared).options(name=name)


class Partitions(SupervisorRef[Never], Generic[M_contra]):
    """The ref of a :class:`PartitionSupervisor`, with the calls that only such a one has.

    ::

        carts = Partitions(system.lookup("shop/carts"), Cart)
        total = await carts.route("anna").ask(Total())

    Args:
        supervisor: The ref of a partition supervisor that has started.
        partition: The class of its partitions, for you and for the type checker.

    Raises:
        WrongActorType: It is another supervisor, or its partitions are of another class.
        InvalidContext: It has not started yet.
        ActorStopped: It has ended.
    """

    __slots__ = ()

    def __init__(self, supervisor: ActorRef[Never], partition: type[Actor[M_contra]]) -> None:
        super().__init__(check_ref(supervisor, "Partitions", "supervisor")._cell)
        check_class(self._cell.spec, PartitionSupervisor, self.path)
        check_class(self._members().plan.children[0], partition, f"a partition of {self.path}")

    @property
    def partitions(self) -> int:
        """How many there are at this moment."""
        return len(self._members().plan.children)

    @property
    def refs(self) -> tuple[ActorRef[M_contra], ...]:
        """All partitions, in the order of their numbers; for a message to all of them."""
        return tuple(self._partition(number) for number in range(self.partitions))

    def route(self, key: Key) -> ActorRef[M_contra]:
        """The partition to which *key* belongs.

        Equal keys have the same partition until the number of partitions is changed, in all processes and whatever
        ``PYTHONHASHSEED`` is. So ask for it each time instead of keeping the ref. It is there while the partition, or
        the supervisor, is being restarted: messages wait.

        Args:
            key: A str, bytes, an int, a member of an enumeration, or a tuple of these.

        Raises:
            TypeError: The key is of another type.
            ActorStopped: The supervisor has ended.
            ChildNotFound: Somebody has deleted that partition.
        """
        return self._partition(partition_of(key, self.partitions))

    async def resize(self, partitions: int, *, timeout: float | None = None) -> None:
        """Change the number of partitions; returns when those that came are up, or those that went have ended.

        As few keys as possible move: to a larger number only keys that go to the new partitions, to a smaller one only
        those of the partitions that end, which are the highest. States do not move; a key's new partition begins
        without what the old one knew. Nor is there an order between what a key's old partition still has in its
        mailbox and what the new one gets.

        More: keys are routed to the new partitions when all are up. Fewer: keys are routed to the others at once; those
        that go accept nothing more, handle what is in their mailboxes, and end. A message that reaches one of them
        later, through a ref that somebody has kept, is refused as by any actor that has stopped. A caller that is
        cancelled meanwhile leaves the number as it was (more), or the partitions to end by themselves (fewer).

        The number stays through restarts of the supervisor.

        Args:
            partitions: How many there shall be, from 1 up.
            timeout: Seconds for the partitions that go to handle what they have; what is left then becomes dead
                letters. By default there is no limit.

        Raises:
            StartError: A new partition did not start; the number is as it was, and nothing is left of the new ones.
            InvalidSpec: Not a number from 1 up, or ``partition`` declares something that does not fit.
            InvalidContext: Another resize is under way.
            ActorStopped: The supervisor has ended, or is about to.
            AskCycle: Called in a handler of a partition that would have to end.
            InvalidTimeout: Not a positive number of seconds.
        """
        count = _check_partitions(partitions, f"resize of {self.path}")
        timeout = check_timeout(timeout)
        family = await self._family()
        if self._cell.actor._resizing:
            raise InvalidContext(what=self.path, problem="is being resized already: wait until that has ended")
        if count > self.partitions:
            await self._grow(family, count)
        elif count < self.partitions:
            await self._shrink(family, count, timeout)

    async def _grow(self, family: Family[Cell], count: int) -> None:
        supervisor: Any = self._cell.actor
        specs: list[ChildSpec[Any]] = supervisor._declare(range(count))[self.partitions :]
        begun: list[Cell] = []
        object.__setattr__(supervisor, "_resizing", True)  # not by setattr: the class may have made itself frozen
        try:
            for spec in specs:
                cell = await self._start(family, spec)
                begun.append(cell)
            if self._cell.actor is not supervisor or self._cell.ending is not None:
                raise ActorStopped(path=self.path, reason=self._cell.why_not())
        except BaseException as error:
            for cell in reversed(begun):
                cell.request_stop(Shutdown("the resize has failed"))
            if isinstance(error, Exception):
                await _ended(begun)
            raise
        finally:
            object.__setattr__(supervisor, "_resizing", False)
        for cell in begun:
            if (record := family.children.get(cell.name)) is not None:
                record.declared = record.kept = True
        family.plan = replace(family.plan, children=(*family.plan.children, *specs))

    async def _start(self, family: Family[Cell], spec: ChildSpec[Any]) -> Cell:
        taken = family.children.get(str(spec.name))
        if taken is not None and not taken.cell.dead:
            if taken.cell.draining is None and not taken.cell.for_good:
                raise NameTaken(path=taken.cell.path, ref=ref_of(taken.cell))
            with Waiting.now().on(taken.cell):
                await _ended([taken.cell])  # by a resize that was not waited for
        child = self._cell.spawn(spec)
        await started(child)
        return child.cell

    async def _shrink(self, family: Family[Cell], count: int, timeout: float | None) -> None:
        names = [str(spec.name) for spec in family.plan.children[count:]]
        records = [family.children[name] for name in names if name in family.children]
        cells = [record.cell for record in records]
        with Waiting.now().on(*cells):
            family.plan = replace(family.plan, children=family.plan.children[:count])
            for record in reversed(records):
                record.declared = record.kept = False
                if record.cell.dead:
                    family.forget(record.cell.name)
                elif record.cell.down and not record.cell.waiting:
                    record.cell.request_stop(Shutdown("drained"))
                else:
                    record.cell.request_drain(timeout)
            await _ended(cells)

    def _members(self) -> Family[Cell]:
        cell = self._cell
        if cell.dead:
            raise cell.stopped_error()
        if cell.family is None or not cell.family.plan.children:
            raise InvalidContext(what=self.path, problem="has not started yet, so it has no partitions")
        return cell.family

    def _partition(self, number: int) -> ActorRef[M_contra]:
        record = self._members().children.get(str(number))
        if record is None:
            raise ChildNotFound(supervisor=self.path, name=str(number))
        ref: ActorRef[M_contra] = ref_of(record.cell)
        return ref


async def _ended(cells: list[Cell]) -> None:
    for cell in cells:
        await ref_of(cell).wait_stopped()


def partition_of(key: Key, partitions: int) -> int:
    """To which of so many partitions *key* belongs: the same everywhere and always.

    From *n* to *n + 1* partitions a key stays where it is, or goes to the new one; there is about an equal share of
    keys in each.
    """
    state = int.from_bytes(hashlib.blake2b(encoded(key), digest_size=8).digest(), "big")
    # A key that is in `here` stays there as partitions are added, until there are more than `there`: then it moves to
    # the one that is added. With the chance of (here + 1) / n to be still unmoved among n, all shares are equal.
    here, there = 0, 0
    while there < partitions:
        here = there
        state = (state * 0x5851F42D4C957F2D + 0x14057B7EF767814F) % 2**64
        there = (here + 1) * 2**32 // ((state >> 32) + 1)
    return here


def _check_partitions(value: object, owner: str) -> int:
    return check_count("partitions", value, owner, least=1)


def _check_partition(spec: object, who: str) -> None:
    check_numbered(spec, who, "partition", "the keys of a temporary partition would have nowhere to go")


def check_numbered(spec: object, who: str, what: str, loss: str) -> None:
    """Refuse what cannot be one of several children with numbers for names; *loss* is why none may be temporary."""
    if not isinstance(spec, ChildSpec):
        raise InvalidSpec(child=who, field=what, problem=f"must be a child(...), got {spec!r}")
    if spec.name is not None:
        problem = f"must be left alone: {what}s are named after their numbers, got {spec.name!r}"
        raise InvalidSpec(child=who, field="name", problem=problem)
    if spec.get("restart") == "temporary":
        raise InvalidSpec(child=who, field="restart", problem=f"must be 'permanent' or 'transient': {loss}")
