"""The jobs of a worker pool: what waits, who works on what, and who gets the next. It never waits itself."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

from understudy._plans._keys import encoded
from understudy._plans._spec import ChildSpec, check_count
from understudy.actors._asks import Ask, is_plain, message_of, sender_of
from understudy.actors._monitors import News
from understudy.exceptions import ActorStopped, InvalidSpec, MailboxFull
from understudy.instrument import Instrument
from understudy.reasons import Shutdown
from understudy.supervision._partition import check_numbered, partition_of

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterator

    from understudy._plans._keys import Key
    from understudy.actors._cell import Cell
    from understudy.reasons import ExitReason

__all__ = ["Job", "JobQueue", "Overflow", "Slot", "check_queue", "check_worker", "check_workers"]

Overflow: TypeAlias = Literal["refuse", "discard_oldest", "discard_newest"]
"""What becomes of a job that finds no room in the queue of a pool."""


class Job:
    """A message for whichever worker comes to it, in its envelope if it has one."""

    __slots__ = ("item", "key", "line", "number")

    def __init__(self, item: Any, key: Key | None, number: int) -> None:
        self.item = item
        self.key = key
        self.number = number
        """Jobs are numbered in the order of their coming."""
        self.line: deque[Job] | None = None
        """Where it waits; None before, and from the moment on at which a worker gets it."""


class Slot:
    """A worker, as the queue sees it: one job at a time is put into its mailbox.

    Behind each job goes a signal of ours, so that its turn means: the worker is up, and the job has been dealt with,
    however that went. Exactly one such signal is on its way while the slot is not idle. To the mailbox this object is
    the monitor of the signal.
    """

    __slots__ = ("active", "busy", "cell", "key", "line", "pact", "queue")

    def __init__(self, queue: JobQueue, cell: Cell) -> None:
        self.queue = queue
        self.cell = cell
        self.line: deque[Job] = deque()
        """Jobs whose keys belong to it."""
        self.key: Key | None = None
        """That of the job in its hands."""
        self.busy = False
        """Whether there is a job in its hands."""
        self.active = self.pact = False

    def signal(self) -> None:
        """Let the worker tell when it has come so far."""
        self.cell.inform(News(None, self))

    def cancel(self) -> None:
        """It has come so far; called by the mailbox."""
        self.queue.ready(self)

    def __call__(self, reason: ExitReason) -> None:
        """Its worker has ended for good."""
        self.queue.lost(self)

    @property
    def usable(self) -> bool:
        """Its worker could begin now."""
        return self.cell.running and self.cell.gate is None


class _Again:
    """What the pool itself is signalled with, so that it goes on when it is up again."""

    __slots__ = ("active", "pact", "queue")

    def __init__(self, queue: JobQueue) -> None:
        self.queue = queue
        self.active = self.pact = False

    def cancel(self) -> None:
        self.queue.go_on()


class JobQueue:
    """One for each pool; it outlives the restarts of the pool."""

    def __init__(self, limit: float, overflow: Overflow) -> None:
        self.limit = limit
        self.overflow: Overflow = overflow
        self.key_of: Callable[[Any], Key | None] = _no_key
        self.waiting = 0
        """How many jobs wait: in `_common`, and in the lines of slots."""
        self._pool: Cell | None = None
        # Jobs without a key, and all jobs while there is no worker.
        self._common: deque[Job] = deque()
        # By the number of the worker; those that resize lets go are not in here any more.
        self._slots: list[Slot] = []
        # Those with nothing to do, who has been idle longest first.
        self._idle: dict[Slot, None] = {}
        # The keys of the jobs in hand; a job whose key is in here waits.
        self._keys: dict[Key, Slot] = {}
        # Who waits for room, and with what.
        self._senders: deque[tuple[asyncio.Future[bool], Job]] = deque()
        self._declared: tuple[Any, ...] = ()
        self._stale = True
        self._number = 0
        self._draining = False
        self._timer: asyncio.TimerHandle | None = None

    # The pool

    def belong_to(self, pool: Cell) -> None:
        """*pool* has started; for whoever finds it first."""
        if self._pool is None:
            self._pool = pool
            pool.observe(self.close)
            self.go_on()

    def restarted(self) -> None:
        """The pool begins its next incarnation: go on when that is up."""
        if self._pool is not None:
            self._pool.inform(News(None, _Again(self)))

    @property
    def pool(self) -> Cell:
        assert self._pool is not None
        return self._pool

    @property
    def gate(self) -> ExitReason | None:
        """Why no job is accepted any more."""
        return self.pool.gate or (Shutdown("drained") if self._draining else None)

    def drain(self, timeout: float | None) -> None:
        """Accept nothing more, and end the pool when nothing is left to do, or at the latest after *timeout*."""
        if self._draining or self.pool.dead:
            return
        self._draining = True
        if timeout is not None:
            env = self.pool.runtime.env
            self._timer = env.call_at(env.now() + timeout, self._drained)
        self._refuse_senders()
        self._look_if_drained()

    @property
    def load(self) -> int:
        """How many jobs wait, or are in the hands of workers."""
        return self.waiting + sum(slot.busy for slot in self._slots)

    def _look_if_drained(self) -> None:
        done = not self.waiting and len(self._idle) == len(self._slots) and not self._keys
        # Not while the pool is down: it may be about to be buried. If it comes up again, this is looked at again.
        if self._draining and done and not self.pool.down:
            self._drained()

    def _drained(self) -> None:
        self.pool.request_stop(Shutdown("drained"))

    def close(self, reason: ExitReason) -> None:
        """The pool has ended for good: so have its jobs."""
        if self._timer is not None:
            self._timer.cancel()
        for job in self._all():
            self._take_out(job)
            self.pool.lose(job.item, reason)
        self._refuse_senders()

    def _refuse_senders(self) -> None:
        senders, self._senders = self._senders, deque()
        for future, _ in senders:
            if not future.done():
                future.set_result(False)

    # Jobs

    def job(self, item: Any) -> Job:
        """A new job, the last of all.

        Raises:
            TypeError: Its key cannot be one.
        """
        key = self.key_of(message_of(item))
        if key is not None:
            encoded(key)  # refused now, if it cannot be one
        self._number += 1
        return Job(item, key, self._number)

    def submit(self, job: Job) -> bool:
        """Hand *job* to a worker, or let it wait; False: there is no room."""
        self._look()
        if not self._senders and self._place(job):
            return True
        if self.overflow == "discard_oldest" and self.waiting:
            self._displace(min(self._heads(), key=_number))
            return self._place(job)
        return False

    def line_up(self, job: Job) -> asyncio.Future[bool]:
        """*job* waits for room, behind those that do already; the future is whether it has been accepted."""
        future: asyncio.Future[bool] = self.pool.runtime.env.loop.create_future()
        self._senders.append((future, job))
        return future

    def forget(self, job: Job) -> bool:
        """Nobody wants *job* any more; False: a worker has got it."""
        if job.line is None:
            return False
        self._take_out(job)
        self._let_in()
        return True

    def worker_for(self, key: Key | None) -> Cell | None:
        """Who will do a job with that key, as far as that is certain."""
        self._look()
        home = self._home(key)
        return None if home is None else home.cell

    @property
    def cells(self) -> tuple[Cell, ...]:
        """The workers, by their numbers."""
        self._look()
        return tuple(slot.cell for slot in self._slots)

    def full_error(self, message: object, seconds: float | None = None) -> MailboxFull:
        """What the sender of a message gets for which there is no room."""
        return MailboxFull(path=self.pool.path, capacity=self.limit, message=message, seconds=seconds, setting="limit")

    def stopped_error(self, message: object) -> ActorStopped:
        """What the sender of a message gets when no more are accepted."""
        return ActorStopped(path=self.pool.path, reason=self.gate or self.pool.why_not(), message=message)

    def report_refused(self, item: Any, *, told: bool = False) -> None:
        """It was not accepted: for that reason it is a dead letter."""
        pool, gate = self.pool, self.gate
        if gate is None:
            pool.runtime.instruments.emit(Instrument.mailbox_full, pool.path, self.limit)
        why = "the queue of the pool is full" if gate is None else str(gate)
        pool.runtime.dead_letter(message_of(item), pool.path, sender_of(item), why, told=told)

    def _displace(self, job: Job) -> None:
        pool, message = self.pool, message_of(job.item)
        self._take_out(job)
        if isinstance(job.item, Ask):
            job.item.fail(self.full_error(message))
        pool.runtime.instruments.emit(Instrument.mailbox_full, pool.path, self.limit)
        why = "displaced by a newer message"
        pool.runtime.dead_letter(message, pool.path, sender_of(job.item), why, told=is_plain(job.item))

    def _place(self, job: Job) -> bool:
        """Hand *job* to a worker at once, or let it wait if there is room."""
        slot = self._free_slot(job.key)
        if slot is not None:
            self._hand_over(job, slot)
        elif self.waiting < self.limit:
            self._put(job)
        else:
            return False
        return True

    def _put(self, job: Job) -> None:
        home = self._home(job.key)
        job.line = self._common if home is None else home.line
        job.line.append(job)
        self.waiting += 1

    def _take_out(self, job: Job) -> None:
        assert job.line is not None
        if job.line[0] is job:
            job.line.popleft()
        else:
            job.line.remove(job)
        job.line = None
        self.waiting -= 1

    def _heads(self) -> Iterator[Job]:
        for line in (self._common, *(slot.line for slot in self._slots)):
            if line:
                yield line[0]

    def _all(self) -> list[Job]:
        """All that wait, in the order of their coming."""
        lines = (self._common, *(slot.line for slot in self._slots))
        return sorted((job for line in lines for job in line), key=_number)

    # Workers

    def ready(self, slot: Slot) -> None:
        """The worker of *slot* is up and has done what it had."""
        kept = self._release(slot)
        if slot in self._slots:
            self._idle[slot] = None
            self._serve(slot)
        self._look()
        if kept is not None:
            self._serve_all()  # a resize may have left jobs of that key with somebody else
        self._let_in()
        self._look_if_drained()

    def lost(self, slot: Slot) -> None:
        """The worker of *slot* has ended for good."""
        self._release(slot)
        self._stale = True
        self.go_on()

    def go_on(self) -> None:
        """Whatever has happened, do what can be done."""
        self._stale = True
        self._look()
        self._let_in()
        self._look_if_drained()

    def worker_started(self) -> None:
        """A worker has come up, perhaps in the place of one that had ended for good."""
        if self._pool is not None and len(self._slots) < len(self._declared):
            self.go_on()

    def _release(self, slot: Slot) -> Key | None:
        key, slot.key, slot.busy = slot.key, None, False
        if key is not None:
            del self._keys[key]
        return key

    def _look(self) -> None:
        """See who works for the pool now."""
        family = self.pool.family
        if family is None or self.pool.dead:
            return
        changed = self._stale or family.plan.children is not self._declared
        if not changed and len(self._slots) == len(self._declared):
            return
        self._stale, self._declared = False, family.plan.children
        known = {slot.cell: slot for slot in self._slots}
        records = [family.children.get(str(spec.name)) for spec in self._declared]
        cells = [each.cell for each in records if each is not None and not each.cell.dead]
        slots = [known[cell] if cell in known else self._new_slot(cell) for cell in cells]
        if slots != self._slots:
            jobs = self._all()
            for job in jobs:
                self._take_out(job)
            self._slots = slots
            self._idle = {slot: None for slot in self._idle if slot in slots}
            for job in jobs:
                self._put(job)
        self._serve_all()

    def _new_slot(self, cell: Cell) -> Slot:
        slot = Slot(self, cell)
        cell.observe(slot)
        slot.signal()
        return slot

    def _home(self, key: Key | None) -> Slot | None:
        if key is None or not self._slots:
            return None
        return self._slots[partition_of(key, len(self._slots))]

    def _free_slot(self, key: Key | None) -> Slot | None:
        """Who can begin a job with that key at once, with none waiting before it."""
        home = self._home(key)
        if home is not None:
            free = home in self._idle and not home.line and key not in self._keys
            return home if free and self._can_begin(home) else None
        if self._common or key is not None:
            return None
        return next((slot for slot in list(self._idle) if self._can_begin(slot)), None)

    def _can_begin(self, slot: Slot) -> bool:
        if not self.pool.running:
            return False
        if slot.usable:
            return True
        if slot.cell.gate is None:  # it is being restarted, and will tell when it is up
            del self._idle[slot]
            slot.signal()
        return False

    def _serve_all(self) -> None:
        for slot in list(self._idle):
            if not self.waiting:
                break
            self._serve(slot)

    def _serve(self, slot: Slot) -> None:
        """Give *slot*, which is idle, the oldest job that it may do."""
        lines = [line for line in (slot.line, self._common) if line and line[0].key not in self._keys]
        if lines and self._can_begin(slot):
            job = min((line[0] for line in lines), key=_number)
            self._take_out(job)
            self._hand_over(job, slot)

    def _hand_over(self, job: Job, slot: Slot) -> None:
        del self._idle[slot]
        item, cell, slot.busy = job.item, slot.cell, True
        if job.key is not None:
            slot.key = job.key
            self._keys[job.key] = slot
        if isinstance(item, Ask):
            item.cell = cell
            if item.sender is not None and item in (item.sender.waits or ()):
                item.sender.waits[item] = cell  # from here on it is that one for whom it waits
        mailbox = cell.make_mailbox()
        if not mailbox.offer(item):  # somebody has filled it, past the queue
            mailbox.put_exempt(item)
        slot.signal()

    def _let_in(self) -> None:
        """Those who wait for room get it, first come, first served."""
        while self._senders and self.gate is None:
            future, job = self._senders[0]
            if not future.done():
                if not self._place(job):
                    return
                future.set_result(True)
            self._senders.popleft()


def _number(job: Job) -> int:
    return job.number


def _no_key(message: object) -> None:
    return None


def check_workers(value: object, owner: str) -> int:
    """*value*, if it can be a number of workers."""
    return check_count("workers", value, owner, least=1)


def check_queue(limit: object, overflow: object, owner: str) -> None:
    """Refuse what cannot bound a queue."""
    if isinstance(limit, bool) or not isinstance(limit, int | float) or not limit >= 0:
        raise InvalidSpec(child=owner, field="limit", problem=f"must be a number from 0 up, or math.inf, got {limit!r}")
    if overflow not in get_args(Overflow):
        problem = f"must be {', '.join(map(repr, get_args(Overflow)))}, got {overflow!r}"
        raise InvalidSpec(child=owner, field="overflow", problem=problem)


def check_worker(spec: ChildSpec[Any], who: str) -> None:
    """Refuse what cannot be a worker of a pool."""
    check_numbered(spec, who, "worker", "a pool would lose its workers one after another")
    if getattr(spec.get("mailbox"), "policy", None) == "stop":
        problem = "must not have the policy 'stop': the queue of the pool says what becomes of too many jobs"
        raise InvalidSpec(child=who, field="mailbox", problem=problem)
