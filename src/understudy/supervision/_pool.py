"""``WorkerPool``: workers of one class behind one queue."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Never, TypeVar

from understudy._plans._spec import ChildSpec, check_class, check_function
from understudy._plans._strategies import Plan
from understudy.actors._asks import Ask, FutureAsk, message_of, sender_of
from understudy.actors._child import child
from understudy.actors._ref import ActorRef, check_ref, letter_from
from understudy.actors._supervisor_ref import SupervisorRef, ref_of
from understudy.actors._waiting import Waiting, check_timeout
from understudy.exceptions import AskTimeout, InvalidContext, InvalidSpec, UnderstudyError
from understudy.supervision._jobs import Job, JobQueue, Overflow, check_queue, check_worker, check_workers
from understudy.supervision._partition import Partitions, PartitionSupervisor

if TYPE_CHECKING:
    from collections.abc import Callable

    from understudy._plans._keys import Key
    from understudy.actors._actor import Actor
    from understudy.messages import Asks

__all__ = ["Overflow", "Pool", "WorkerPool", "worker_pool"]

M_contra = TypeVar("M_contra", contravariant=True)
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class PoolPlan(Plan):
    """A plan that takes the queue along from one incarnation of the pool to the next."""

    jobs: JobQueue | None = None


class WorkerPool(PartitionSupervisor):
    """A supervisor of workers that take their jobs from one queue.

    ::

        class Hashers(WorkerPool):
            workers = 4
            limit = 1_000

            def worker(self) -> ChildSpec:
                return child(Hasher)

        pool = Pool(system.lookup("app/hashers"), Hasher)
        digest = await pool.ask(Hash(path="a.txt"))

    It is used through :class:`Pool`. A job is a message; who is idle gets the oldest. When a worker fails, it is
    restarted as the strategy says, the asker of the job in its hands gets ``ActorFailed``, and all other jobs go on; a
    job is never done twice. The queue outlives restarts of the pool.

    The workers are named after their numbers, from ``0`` up. What is sent to one of them directly, by its own ref, goes
    past the queue.
    """

    workers: int
    """How many there are at first; said by the class, or set on ``self`` in ``__init__``."""
    limit: float = 10_000
    """How many jobs may wait, those not counted that workers have in hand; 0: none, ``math.inf``: any number."""
    overflow: Overflow = "refuse"
    """What becomes of a job for which there is no room. ``"refuse"``: ``tell`` returns False, ``ask`` raises
    ``MailboxFull``, ``send`` waits. ``"discard_newest"``: the same, but ``send`` raises too. ``"discard_oldest"``: the
    job that has waited longest makes way, as a dead letter, and its asker gets ``MailboxFull``."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        who = f"class {cls.__qualname__}"
        if "partition" in cls.__dict__ or "partitions" in cls.__dict__:
            problem = "are workers here: define `worker(self)` and `workers` instead"
            raise InvalidSpec(child=who, field="partitions", problem=problem)
        if "workers" in cls.__dict__:
            check_workers(cls.__dict__["workers"], who)
        check_queue(cls.limit, cls.overflow, who)

    def worker(self) -> ChildSpec:
        """The declaration of a worker; like ``children`` it only declares, and may be called at any time.

        It has no name. Workers are permanent or transient.
        """
        raise NotImplementedError(f"{type(self).__qualname__} must define worker(self)")

    def key(self, message: Any) -> Key | None:
        """What *message* has to do with others; None: nothing.

        Jobs with equal keys are done one at a time, in the order in which they came, and by the same worker as long as
        the number of workers stays the same. It is called when a job comes, depends on nothing but the message, and
        what it raises is raised to the sender.
        """
        return None

    def partition(self, number: int) -> ChildSpec:
        """The worker of that number."""
        spec: ChildSpec[Any] = self.worker()
        check_worker(spec, f"worker of class {type(self).__qualname__}")
        return spec

    def _understudy_plan(self, path: str, before: Plan | None = None) -> Plan:
        """With the queue of the incarnation *before*."""
        who = f"class {type(self).__qualname__}"
        workers = check_workers(getattr(self, "workers", None), who)
        object.__setattr__(self, "partitions", workers)  # not by setattr: the class may have made itself frozen
        plan = super()._understudy_plan(path, before)
        check_queue(self.limit, self.overflow, who)
        jobs = before.jobs if isinstance(before, PoolPlan) else None
        if jobs is None:
            jobs = JobQueue(self.limit, self.overflow)
        else:
            jobs.restarted()
        jobs.key_of = self.key
        plan = replace(plan, on_start=jobs.worker_started)
        return PoolPlan(**{field.name: getattr(plan, field.name) for field in fields(Plan)}, jobs=jobs)


class DeclaredPool(WorkerPool):
    """What :func:`worker_pool` declares."""

    def __init__(
        self,
        spec: ChildSpec[Any],
        workers: int,
        limit: float,
        overflow: Overflow,
        key: Callable[[Any], Key | None] | None,
    ) -> None:
        self.spec = spec
        self.workers = workers
        self.limit = limit
        self.overflow = overflow
        self.get_key = key

    def worker(self) -> ChildSpec[Any]:
        return self.spec

    def key(self, message: Any) -> Key | None:
        return None if self.get_key is None else self.get_key(message)


def worker_pool(
    name: str,
    worker: ChildSpec[Any],
    *,
    workers: int,
    limit: float = 10_000,
    overflow: Overflow = "refuse",
    key: Callable[[Any], Key | None] | None = None,
) -> ChildSpec[Never]:
    """Declare a :class:`WorkerPool` in line.

    ::

        worker_pool("hashers", child(Hasher), workers=4, limit=1_000)

    Args:
        name: Its name.
        worker: The declaration of a worker, without a name.
        workers: How many there are at first.
        limit: How many jobs may wait.
        overflow: What becomes of a job for which there is no room: see :attr:`WorkerPool.overflow`.
        key: What a message has to do with others: see :meth:`WorkerPool.key`.

    Raises:
        InvalidSpec: Something in it is not allowed; it says what, where, and what is.
    """
    who = f"pool {name!r}"
    check_worker(worker, f"worker of {who}")
    check_queue(limit, overflow, who)
    if key is not None:
        check_function("key", key, who)
    return child(DeclaredPool, worker, check_workers(workers, who), limit, overflow, key).options(name=name)


class Pool(SupervisorRef[M_contra]):
    """The ref of a :class:`WorkerPool`: what is sent to it goes to one of the workers, by way of the queue.

    ::

        pool = Pool(system.lookup("app/hashers"), Hasher)

    All of them for one pool have the same queue. ``stop`` ends the pool: jobs in hand are completed within the workers'
    grace, those that wait become dead letters, and their askers get ``ActorStopped``, when the pool has ended.

    Args:
        supervisor: The ref of a worker pool that has started.
        worker: The class of its workers, for you and for the type checker.

    Raises:
        WrongActorType: It is another supervisor, or its workers are of another class.
        InvalidContext: It has not started yet.
        ActorStopped: It has ended.
    """

    __slots__ = ("_jobs", "_worker")

    def __init__(self, supervisor: ActorRef[Never], worker: type[Actor[M_contra]]) -> None:
        super().__init__(check_ref(supervisor, "Pool", "supervisor")._cell)
        cell = self._cell
        check_class(cell.spec, WorkerPool, self.path)
        if cell.dead:
            raise cell.stopped_error()
        plan = None if cell.family is None else cell.family.plan
        if not isinstance(plan, PoolPlan) or plan.jobs is None:
            raise InvalidContext(what=self.path, problem="has not started yet, so it has no workers")
        check_class(plan.children[0], worker, f"a worker of {self.path}")
        self._worker = worker
        self._jobs = plan.jobs
        self._jobs.belong_to(cell)

    # Jobs

    def tell(self, message: M_contra, *, sender: ActorRef[Any] | None = None) -> bool:
        """Let a worker handle *message*; never waits.

        Returns:
            False: the pool has stopped or drains, or its queue is full, and the message has become a dead letter.
        """
        self._cell.check_loop()
        item: Any = message if sender is None else letter_from(sender, message, self)
        if self._jobs.gate is None and self._jobs.submit(self._jobs.job(item)):
            return True
        self._jobs.report_refused(item, told=True)
        return False

    def tell_quietly(self, message: M_contra) -> bool:
        """:meth:`tell`, but a message that is not accepted leaves no trace."""
        return self._jobs.gate is None and self._jobs.submit(self._jobs.job(message))

    async def send(self, message: M_contra, *, timeout: float | None = None) -> None:
        """Let a worker handle *message*; wait for room in the queue while it is full, unless newest ones are discarded.

        Who waits is served first come, first served. If this raises, the message was not accepted.

        Args:
            message: A message that the workers handle.
            timeout: Seconds to wait for room; by default without limit.

        Raises:
            MailboxFull: No room in time, or newest ones are discarded; carries the message.
            ActorStopped: The pool has ended, or drains; carries the message.
            AskCycle: The pool is, directly or not, waiting for this actor.
            InvalidTimeout: Not a positive number of seconds.
        """
        seconds = check_timeout(timeout)
        cell, jobs = self._cell, self._jobs
        cell.check_loop()
        job = jobs.job(message)
        if jobs.gate is None and jobs.submit(job):
            return
        if jobs.gate is None and jobs.overflow == "refuse":
            env, waiting, token = cell.runtime.env, Waiting.now(), object()
            waiting.begin(cell, token, message)
            room = jobs.line_up(job)
            timer = None if seconds is None else env.call_at(env.now() + seconds, lambda: _give_up(room))
            try:
                if await room:
                    return
            except asyncio.CancelledError:
                if not room.cancelled():
                    jobs.forget(job)  # accepted in the tick of the cancellation, which wins
                raise
            finally:
                waiting.end(token)
                if timer is not None:
                    timer.cancel()
            if jobs.gate is None:
                raise jobs.full_error(message, seconds)
        jobs.report_refused(message)
        raise jobs.full_error(message) if jobs.gate is None else jobs.stopped_error(message)

    async def ask(self, message: Asks[M_contra, R], *, timeout: float | None = None) -> R:
        """Let a worker handle *message*, and wait for the reply.

        What is given up while it waits in the queue is not started any more.

        Args:
            message: A message that the workers handle.
            timeout: Seconds to wait, as for :meth:`ActorRef.ask`; the time in the queue counts.

        Raises:
            MailboxFull: There is no room in the queue, or it had to make way for another.
            ActorStopped: The pool had ended or drains, or it, or the worker, ended before replying.
            AskTimeout: No reply in time; says whether it was still waiting in the queue.
            UnderstudyError: What else ``ask`` of the worker raises; ``ActorFailed`` if it has crashed.
        """
        if timeout is not None:
            timeout = check_timeout(timeout)
        cell, jobs, runtime = self._cell, self._jobs, self._cell.runtime
        cell.check_loop()
        now, waiting = runtime.env.now(), Waiting.now()
        seconds = waiting.seconds(timeout, message, now, runtime.settings.ask_timeout)
        ask = FutureAsk(message, waiting.cell, runtime.env.loop.create_future(), cell, seconds, now + seconds)
        job = jobs.job(ask)
        if jobs.gate is not None:
            jobs.report_refused(ask)
            raise jobs.stopped_error(message)
        # Who asks for what only he could do waits for ever; otherwise another worker may be the one.
        waiting.begin(jobs.worker_for(job.key) or cell, ask, message)
        try:
            if not jobs.submit(job):
                jobs.report_refused(ask)
                raise jobs.full_error(message)
            runtime.dispatcher.run_ahead()
            if not ask.future.done():
                runtime.asks.add(ask, now)
            reply: R = await ask.future
            return reply
        except AskTimeout:
            if job.line is None:
                raise
            state = f"in the queue of the pool, {jobs.waiting} waiting"
            raise AskTimeout(path=self.path, message=message, seconds=seconds, state=state) from None
        except asyncio.CancelledError:
            if ask.answered:  # in the tick of the cancellation, which wins
                ask.late(ask.future.result(), cell.path)
            raise
        finally:
            waiting.end(ask)
            ask.give_up()
            self._given_up(job)

    _queues = True

    @property
    def _accepts(self) -> bool:
        """Whether jobs are accepted."""
        return self._jobs.gate is None

    @property
    def _load(self) -> tuple[bool, int]:
        """Whether the pool is down, and how many jobs wait or are being done."""
        return not self._cell.running, self._jobs.load

    def _ask_now(self, ask: Ask) -> UnderstudyError | None:
        """Put *ask* into the queue, or return what its asker gets; for whoever asks many at once, or for a stream."""
        jobs, message = self._jobs, ask.message
        job = jobs.job(ask)
        if jobs.gate is not None or not jobs.submit(job):
            jobs.report_refused(ask)
            return jobs.full_error(message) if jobs.gate is None else jobs.stopped_error(message)
        ask.future.add_done_callback(lambda _: self._given_up(job))
        return None

    def _given_up(self, job: Job) -> None:
        """*job* has ended; if it waits, nobody waits for it any more."""
        if self._jobs.forget(job):
            why = "nobody waits for the reply any more"
            self._cell.runtime.dead_letter(message_of(job.item), self.path, sender_of(job.item), why)

    # The pool

    @property
    def refs(self) -> tuple[ActorRef[M_contra], ...]:
        """The workers, in the order of their numbers. What is sent to one of them goes past the queue."""
        return tuple(ref_of(cell) for cell in self._jobs.cells)

    @property
    def waiting(self) -> int:
        """How many jobs wait in the queue."""
        return self._jobs.waiting

    async def resize(self, workers: int, *, timeout: float | None = None) -> None:
        """Change the number of workers; returns when those that came are up, or those that went have ended.

        Who goes completes the job in hand; no job in the queue is lost. Of jobs with keys as few as possible change
        their worker, and never while a job of that key is in hand. The number stays through restarts of the pool.

        Args:
            workers: How many there shall be, from 1 up.
            timeout: Seconds for the workers that go; by default there is no limit.

        Raises:
            StartError: A new worker did not start; the number is as it was.
            InvalidSpec: Not a number from 1 up.
            InvalidContext: Another resize is under way.
            ActorStopped: The pool has ended, or is about to.
            AskCycle: Called in a handler of a worker that would have to end.
            InvalidTimeout: Not a positive number of seconds.
        """
        count = check_workers(workers, f"resize of {self.path}")
        plain: ActorRef[Never] = SupervisorRef(self._cell)
        # It begins before it waits: then those that stay get the jobs of those that go.
        self._cell.runtime.env.loop.call_soon(self._jobs.go_on)
        try:
            await Partitions(plain, self._worker).resize(count, timeout=timeout)
        finally:
            self._jobs.go_on()

    def drain(self, timeout: float | None = None) -> None:
        """Ask the pool to do all jobs that it has, accept no more, and end for good; returns at once.

        Args:
            timeout: Seconds after which what is left is treated as by :meth:`stop`; by default there is no limit but
                the system's.

        Raises:
            InvalidTimeout: Not a positive number of seconds.
        """
        seconds = check_timeout(timeout)
        self._cell.check_loop()
        self._jobs.drain(seconds)

    def __repr__(self) -> str:
        return f"Pool({self.path})"


def _give_up(room: asyncio.Future[bool]) -> None:
    if not room.done():
        room.set_result(False)
