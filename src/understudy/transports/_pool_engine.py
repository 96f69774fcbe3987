"""What a pool knows, and decides; nothing in here waits.

Every change is one of a few events (somebody waits, a lease comes back, a call of the user's code has ended, a timer is
due), and ends in :meth:`PoolEngine.serve`, which does all that can be done now. So there is no await between a decision
and its effect, and nothing to lose when somebody is cancelled: connections are opened, checked and closed by jobs of
the pool, never by a borrower.
"""

from __future__ import annotations

import enum
import math
import warnings
from collections import Counter, deque
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, TypeVar

from understudy.actors._runtime import runtime_of
from understudy.environment import environment_of, running_loop
from understudy.exceptions import InvalidContext
from understudy.instrument import Instrument
from understudy.mailbox._line import Line
from understudy.reasons import without_traceback
from understudy.transports._pool_backoff import Backoff
from understudy.transports._pool_instrument import PoolInstrument
from understudy.transports._pool_jobs import Job

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable, Sequence

    from understudy.actors._context import System
    from understudy.actors._runtime import Runtime
    from understudy.environment import Environment
    from understudy.transports._pool_instrument import CloseReason
    from understudy.transports._pool_settings import PoolSettings

__all__ = ["Entry", "PoolEngine", "Stage"]

C = TypeVar("C")
P = ParamSpec("P")


class Stage(enum.IntEnum):
    """How far the life of a pool has come."""

    OPEN = 0
    DRAINING = 1
    CLOSING = 2
    CLOSED = 3


class Entry(Generic[C]):
    """One connection."""

    __slots__ = ("born", "epoch", "expires", "good", "idle_since", "number", "value")

    def __init__(self, value: C, number: int, epoch: int, now: float, expires: float) -> None:
        self.value = value
        self.number = number
        self.epoch = epoch
        """That of the back-off in which its attempt was begun."""
        self.born = self.good = self.idle_since = now
        """*good*: when it was last seen in order."""
        self.expires = expires


class PoolEngine(Generic[C]):
    """The state of a pool.

    A connection is in exactly one place: `idle`, `promised`, `leased`, or in the hands of a job that connects, checks
    or closes it. `size` is the number of all these; a job to connect is begun only while it is below the limit.
    """

    def __init__(
        self,
        name: str,
        settings: PoolSettings,
        *,
        factory: Callable[[], Awaitable[C] | C],
        close: Callable[[C], Awaitable[object] | None],
        check: Callable[[C], Awaitable[bool] | bool] | None,
        breaks: Callable[[BaseException], bool] | None,
        backoff: Backoff,
        instruments: Sequence[PoolInstrument],
        system: System | None,
    ) -> None:
        self.name = name
        self.settings = settings
        self._factory = factory
        self._close = close
        self._check = check
        self._breaks = breaks
        self._backoff = backoff
        self.instruments = tuple(instruments)
        self._system = system
        self._runtime: Runtime | None = None
        self.env: Environment | None = None
        self.stage = Stage.OPEN
        self.size = 0
        self.idle: deque[Entry[C]] = deque()
        """The one that was used last is on the right and is lent first, so that the others may grow old. While somebody
        waits who has been promised nothing, none of them is fresh, so who takes a fresh one overtakes nobody."""
        self.promised: deque[Entry[C]] = deque()
        """One for each turn that is granted in `line`, unless the pool was closed by force."""
        self.leased: dict[Entry[C], None] = {}
        self.connecting = self.checking = self.closing = 0
        self.line = Line()
        self.waiting: int = 0
        """Those who are in `line` and have not left; whose turn is granted, or is over in other ways, is among them."""
        self.opening = Line()
        """Those who wait for `min_idle` connections."""
        self.counts: Counter[str] = Counter()
        self.acquired: int = 0
        self.acquire_seconds: float = 0.0
        self.longest_acquire: float = 0.0
        self.closed_by: Counter[CloseReason] = Counter()
        self.failure: BaseException | None = None
        """Of the latest attempt to connect, if that has failed."""
        self._jobs: dict[Job[Any], None] = {}
        """Those that connect and check, to be cancelled when the pool closes."""
        self._number = 0
        self.retry_at: float | None = None
        """No attempt begins while this is set."""
        self._retry: asyncio.TimerHandle | None = None
        self._sweep: asyncio.TimerHandle | None = None
        self._sweep_at = math.inf
        """Never later than anything is due of those that are idle."""
        self.force_at = math.inf
        self._force: asyncio.TimerHandle | None = None
        self.closers = Line()
        self._serving = self._again = False
        self._patience = math.inf
        """What is released, and used no more, is due no sooner than after so many seconds, unless it expires before."""
        self.attended = False
        """Whether anybody, or anything, is to be told of what is lent."""
        self._heed(settings)

    def _heed(self, settings: PoolSettings) -> None:
        self.settings = settings
        self._patience = settings.idle_timeout
        if self._check is not None:
            self._patience = min(self._patience, settings.check_interval)
        if settings.min_idle:  # something else may become due at the same time
            self._patience = -math.inf
        self.attended = bool(self.instruments) or settings.min_idle > 0

    # Where it is

    def here(self) -> Environment:
        """The ports of the event loop to which the pool belongs: the one in which it is used first.

        Raises:
            InvalidContext: This is not called in it; nothing was done.
        """
        env = self.env
        if env is None:
            return self._begin()
        if not env.is_here():
            remedy = "make a pool there" if env.forked or env.loop.is_closed() else "each event loop needs its own pool"
            raise InvalidContext(what=self.label, problem=f"used {env.whereabouts()}, and nothing was done: {remedy}")
        return env

    @property
    def label(self) -> str:
        """For errors."""
        return f"pool {self.name!r}"

    def _begin(self) -> Environment:
        if self._system is not None:
            self._runtime = runtime_of(self._system)
            env = self._runtime.env
        else:
            loop = running_loop()
            if loop is None:
                raise InvalidContext(what=self.label, problem="used while no event loop runs, and nothing was done")
            env = environment_of(loop)
        if not env.is_here():
            problem = f"used {env.whereabouts()}, and nothing was done: use it in the event loop of its system"
            raise InvalidContext(what=self.label, problem=problem)
        self.env = env
        return env

    def _now(self) -> float:
        assert self.env is not None
        return self.env.now()

    # Lending

    @property
    def unserved(self) -> int:
        """Those who wait and have been promised nothing, at most: some may just have given up."""
        return self.waiting - self.line.granted

    @property
    def coming(self) -> int:
        """Connections of which it is not known yet what becomes of them."""
        return self.connecting + self.checking

    def drop_expired(self) -> None:
        """Close what would be lent next and has lived for too long."""
        while self.idle and self._now() >= self.idle[-1].expires:
            self.retire(self.idle.pop(), "lifetime")

    def give_back(self, entry: Entry[C], *, broken: bool, suspect: bool) -> None:
        """A lease has ended. If the pool was closed by force there is nothing left to do.

        *suspect*: if it is broken, the other side may be the reason.
        """
        if self.leased.pop(entry, self) is self:
            return
        if self.instruments:
            self.tell(PoolInstrument.released, entry.number, broken)
        if broken:
            if suspect:
                self._suspect(entry)
            self.retire(entry, "broken")
            self.serve()
            return
        assert self.env is not None
        entry.good = entry.idle_since = now = self.env.now()
        failing = self._backoff.attempts > 0
        if failing:
            self._backoff.succeeded(entry.epoch)
        if failing or self.stage is not Stage.OPEN or now >= entry.expires or self.size > self.settings.max_size:
            self._place(entry)
            self.serve()
        elif not self._promise(entry):
            self.idle.append(entry)
            if now + self._patience < self._sweep_at or entry.expires < self._sweep_at:
                self._wake_at(entry)
            # Else that is all there is to do; and if it was promised, nobody else has anything of it.

    def lose(self, entry: Entry[C]) -> None:
        """Its lease was collected as garbage: nobody knows in which state it is."""
        if self.leased.pop(entry, self) is self:
            return
        self.tell(PoolInstrument.lease_lost, entry.number)
        self.retire(entry, "lost")
        self.serve()

    def report_lost(self, entry: Entry[C], holder: object) -> None:
        """*holder* is being collected as garbage, in whatever thread and in the middle of anything."""
        env = self.env
        if entry not in self.leased or env is None or env.forked:
            return
        with suppress(RuntimeError):  # the event loop is closed, and nothing can be done
            env.call_from_thread(self.lose, entry)
        problem = "was never released, and the connection is closed: use `async with pool.acquire()`"
        warnings.warn(f"{holder!r} {problem}", ResourceWarning, stacklevel=2, source=holder)

    def keep_promise(self) -> Entry[C] | None:
        """For one whose turn was granted and is over: his connection; None: it was taken from him by force."""
        return self.promised.popleft() if self.promised else None

    def break_promise(self) -> None:
        """The same for one who does not want it any more."""
        if self.promised:
            self._place(self.promised.popleft())

    def is_fresh(self, entry: Entry[C], now: float) -> bool:
        """Whether it may be lent without being checked."""
        return self._check is None or now - entry.good < self.settings.check_after

    def _place(self, entry: Entry[C], *, unused: bool = False) -> None:
        """Find a place for a connection that is in order: with the first who waits, or among the idle."""
        if self.stage >= Stage.CLOSING:
            self.retire(entry, "closed")
        elif self.size - self.closing > self.settings.max_size:
            self.retire(entry, "surplus")
        elif self._now() >= entry.expires:
            self.retire(entry, "lifetime")
        elif not self._promise(entry):
            if unused:  # in the background, and others were used since
                self.idle.appendleft(entry)
            else:
                self.idle.append(entry)
            self._wake_at(entry)

    def _promise(self, entry: Entry[C]) -> bool:
        if self.waiting == 0 or not self.line.grant():
            return False
        self.promised.append(entry)
        return True

    # Deciding

    def serve(self) -> None:
        """Do all that can be done now. What it starts may end before it returns, and call this again."""
        self._again = True
        if self._serving:
            return
        self._serving = True
        try:
            while self._again:
                self._again = False
                self._hand_out()
                self._open_more()
        finally:
            self._serving = False
        if self.opening and len(self.idle) + len(self.promised) + len(self.leased) >= self.settings.min_idle:
            while self.opening.grant():
                pass
        if self.stage is not Stage.OPEN:
            self._end_if_done()

    def _hand_out(self) -> None:
        while self.unserved > 0:
            self.drop_expired()
            if not self.idle:
                return
            entry = self.idle[-1]
            if self.is_fresh(entry, self._now()):
                if not self._promise(entry):
                    return
                self.idle.pop()
            elif self.unserved > self.coming:
                self._begin_check(self.idle.pop())
            else:
                return

    def _open_more(self) -> None:
        while self.retry_at is None and self.size < self.settings.max_size and self.stage < Stage.CLOSING:
            if self._backoff.attempts and self.connecting:
                return  # one at a time until one is known to work
            spare = self.settings.min_idle if self.stage is Stage.OPEN else 0
            if self.unserved + spare <= len(self.idle) + self.coming:
                return
            self._connect()

    # Connecting

    def _connect(self) -> None:
        self.size += 1
        self.connecting += 1
        self._start(
            "connect",
            self._factory,
            self.settings.connect_timeout,
            then=partial(self._connect_ended, self._backoff.epoch, self._now()),
            late=self._came_late,
        )

    def _connect_ended(self, epoch: int, began: float, job: Job[C]) -> None:
        self._jobs.pop(job)
        self.connecting -= 1
        if job.error is None:
            self.failure = None
            self._place(self._made(job.value, epoch, self._now() - began))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        else:
            self.size -= 1
            if self.stage < Stage.CLOSING:
                self._connect_failed(epoch, job.error)
        self.serve()

    def _made(self, value: C, epoch: int, seconds: float) -> Entry[C]:
        env, settings = self.env, self.settings
        assert env is not None
        self._number += 1
        now, life = env.now(), settings.max_lifetime
        expires = math.inf if life == math.inf else now + life * (1 - settings.lifetime_jitter * env.random.random())
        self.counts["created"] += 1
        self.tell(PoolInstrument.connected, self._number, seconds)
        return Entry(value, self._number, epoch, now, expires)

    def _connect_failed(self, epoch: int, error: BaseException) -> None:
        self.counts["connect_failures"] += 1
        delay = self._hold_off(epoch)
        self.tell(PoolInstrument.connect_failed, error, self._backoff.attempts, delay)
        self.failure = without_traceback(error)

    def _came_late(self, value: C) -> None:
        """An attempt that was abandoned has made a connection after all; its place is taken."""
        self.size += 1
        self.retire(self._made(value, -1, math.nan), "late")
        self.serve()

    def _hold_off(self, epoch: int) -> float | None:
        """Connect no sooner than the back-off says, if this failure says something new."""
        delay = self._backoff.failed(epoch)
        if delay is not None and self.stage < Stage.CLOSING:
            assert self.env is not None
            self.retry_at = self.env.now() + delay
            self._retry = self.env.call_at(self.retry_at, self._retry_now)
        return delay

    def _retry_now(self) -> None:
        self.retry_at = self._retry = None
        self.serve()

    # Checking

    def _begin_check(self, entry: Entry[C]) -> None:
        assert self._check is not None
        self.checking += 1
        call = partial(self._check, entry.value)
        self._start("check", call, self.settings.check_timeout, then=partial(self._check_ended, entry))

    def _check_ended(self, entry: Entry[C], job: Job[bool]) -> None:
        self._jobs.pop(job)
        self.checking -= 1
        if job.error is None and job.value:
            entry.good = self._now()
            self._backoff.succeeded(entry.epoch)
            self._place(entry, unused=True)
        elif self.stage >= Stage.CLOSING:  # which has cancelled it
            self.retire(entry, "closed")
        else:
            self.counts["check_failures"] += 1
            self.tell(PoolInstrument.check_failed, entry.number, job.error)
            self._suspect(entry)
            self.retire(entry, "unhealthy")
        self.serve()

    def _suspect(self, entry: Entry[C]) -> None:
        # One that has hardly lived says as much about the other side as an attempt that fails.
        if self._now() - entry.born < self._backoff.reset_after:
            self._hold_off(entry.epoch)

    # Closing

    def retire(self, entry: Entry[C], reason: CloseReason) -> None:
        """Close a connection that has been taken from where it was."""
        self.closing += 1
        self.closed_by[reason] += 1
        call = partial(self._close, entry.value)
        self._start("close", call, self.settings.close_timeout, then=partial(self._retired, entry, reason))

    def _retired(self, entry: Entry[C], reason: CloseReason, job: Job[object]) -> None:
        self.closing -= 1
        self.size -= 1
        self.counts["close_failures"] += job.error is not None
        self.tell(PoolInstrument.closed, entry.number, reason, job.error)
        self.serve()

    # Growing old

    def _wake_at(self, entry: Entry[C]) -> None:
        """Look at the idle connections when this one will be due, or sooner."""
        due = self._due(entry)
        if self.settings.min_idle:  # the oldest may have been spared so far, and is one too many now
            due = min(due, self._due(self.idle[0]))
        if due < self._sweep_at:
            self._look_at(due)

    def _look_at(self, due: float) -> None:
        if self._sweep is not None:
            self._sweep.cancel()
        self._sweep_at = due
        assert self.env is not None
        self._sweep = self.env.call_at(due, self._look)

    def _look(self) -> None:
        """Something may be due of those that are idle; each look costs as much as there are."""
        # A timer may be early by what the clock cannot tell apart, and what is due has to be found due.
        now, settings = max(self._now(), self._sweep_at), self.settings
        self._sweep, self._sweep_at = None, math.inf
        entries, self.idle = self.idle, deque()
        spare = len(entries) - settings.min_idle
        due: list[tuple[Entry[C], CloseReason | None]] = []
        for entry in entries:  # the one that was used longest ago is on the left
            if now >= entry.expires:
                due.append((entry, "lifetime"))
                spare -= 1
            elif spare > 0 and now >= entry.idle_since + settings.idle_timeout:
                due.append((entry, "idle"))
                spare -= 1
            elif self._check is not None and now >= entry.good + settings.check_interval:
                due.append((entry, None))
            else:
                self.idle.append(entry)
        self._serving = True  # nothing is decided while some of them are in nobody's hands
        for entry, reason in due:
            if reason is not None or self.stage >= Stage.CLOSING:  # what was called before may have closed the pool
                self.retire(entry, reason or "closed")
            else:
                self._begin_check(entry)
        self._serving = False
        following = min(map(self._due, self.idle), default=math.inf)
        if following < self._sweep_at and self.stage < Stage.CLOSING:
            self._look_at(following)
        self.serve()

    def _due(self, entry: Entry[C]) -> float:
        """When something will have to be done about an idle connection."""
        due = entry.expires
        if len(self.idle) > self.settings.min_idle:
            due = min(due, entry.idle_since + self.settings.idle_timeout)
        return due if self._check is None else min(due, entry.good + self.settings.check_interval)

    # Fewer, and none

    def resize(self, settings: PoolSettings) -> None:
        """From now on other limits are in force; nothing that is lent is taken back."""
        self._heed(settings)
        while self.idle and self.size - self.closing > settings.max_size:
            self.retire(self.idle.popleft(), "surplus")
        if self.idle:
            self._look_at(min(self._sweep_at, self._now()))
        self.serve()

    def drain(self, force_at: float) -> None:
        """Lend no more but to those who wait; when all is given back, and at *force_at* in any case, close."""
        self.stage = max(self.stage, Stage.DRAINING)
        self._force_by(force_at)
        self.serve()

    def shut(self, force_at: float) -> None:
        """Close what is not lent now, and what is lent when it comes back, at *force_at* in any case."""
        self._refuse_all()
        self._force_by(force_at)
        self.serve()

    def _refuse_all(self) -> None:
        if self.stage >= Stage.CLOSING:
            return
        self.stage = Stage.CLOSING
        self.line.dismiss()
        self.opening.dismiss()
        for timer in (self._sweep, self._retry):
            if timer is not None:
                timer.cancel()
        self._sweep = self._retry = self.retry_at = None
        for job in list(self._jobs):
            job.cancel()
        while self.idle:
            self.retire(self.idle.popleft(), "closed")

    def _force_by(self, when: float) -> None:
        if when >= self.force_at or self.stage is Stage.CLOSED:
            return
        self.force_at = when
        if self._force is not None:
            self._force.cancel()
        assert self.env is not None
        if when > self.env.now():
            self._force = self.env.call_at(when, self._force_now)
        else:
            self._force_now()

    def _force_now(self) -> None:
        self._force = None
        self._refuse_all()
        self._revoke()
        self.serve()

    def _revoke(self) -> None:
        """Close what is lent under the hands of who has it."""
        revoked = [*self.promised, *self.leased]
        self.promised.clear()
        self.leased.clear()
        for entry in revoked:
            self.retire(entry, "revoked")

    def _end_if_done(self) -> None:
        if self.stage is Stage.DRAINING and not (self.waiting or self.promised or self.leased):
            self.shut(math.inf)
        elif self.stage is Stage.CLOSING and self.size == 0:
            self.stage = Stage.CLOSED
            if self._force is not None:
                self._force.cancel()
            while self.closers.grant():
                pass

    # The user's code

    def _start(
        self,
        what: str,
        call: Callable[[], Any],
        seconds: float,
        *,
        then: Callable[[Job[Any]], object],
        late: Callable[[C], object] | None = None,
    ) -> None:
        assert self.env is not None
        job: Job[Any] = Job(
            self.env,
            self.settings,
            name=f"pool:{self.name}:{what}",
            call=call,
            seconds=seconds,
            then=then,
            abandoned=self._abandoned,
            late=late,
        )
        if what != "close":
            self._jobs[job] = None
        job.start()

    def _abandoned(self, name: str, stack: Sequence[str]) -> None:
        self.counts["abandoned"] += 1
        self.tell(PoolInstrument.abandoned, name, stack)
        if self._runtime is not None:
            self._runtime.instruments.emit(Instrument.abandoned, name, stack)

    def tell(
        self, event: Callable[Concatenate[PoolInstrument, str, P], None], *args: P.args, **kwargs: P.kwargs
    ) -> None:
        """Call the method *event* of all instruments."""
        for each in self.instruments:
            try:
                getattr(each, event.__name__)(self.name, *args, **kwargs)
            except Exception as error:
                self.complain(f"{type(each).__qualname__}.{event.__name__} raised", error)

    def complain(self, what: str, error: BaseException) -> None:
        """Report an error that has nobody else to go to."""
        assert self.env is not None
        self.env.loop.call_exception_handler({"message": f"understudy: {what}", "exception": error})
