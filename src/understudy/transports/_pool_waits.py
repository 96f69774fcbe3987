"""The waits of a pool: for a connection, for the first ones, and for the end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeVar

from understudy.mailbox._line import GRANTED, Turn, start_timer, was_granted
from understudy.transports._pool_engine import Entry, PoolEngine, Stage
from understudy.transports._pool_errors import PoolClosed, PoolTimeout
from understudy.transports._pool_instrument import PoolInstrument
from understudy.transports._pool_statistics import PoolStatistics

if TYPE_CHECKING:
    from understudy.environment import Environment

__all__ = ["PoolWaits"]

C = TypeVar("C")

_STATES: dict[Stage, Literal["draining", "closing", "closed"]] = {
    Stage.DRAINING: "draining",
    Stage.CLOSING: "closing",
    Stage.CLOSED: "closed",
}


class PoolWaits(PoolEngine[C]):
    """An engine that can be waited for."""

    def has_broken(self, error: BaseException) -> bool:
        """Whether a connection is of no more use after this has left the block of its borrower."""
        if self._breaks is None:
            return True
        try:
            return self._breaks(error)
        except Exception as failure:
            self.complain(f"`breaks` of {self.label} raised", failure)
            return True

    def lend_now(self) -> Entry[C] | None:
        """A connection, as `lend` gives it, if there is one to be had at once without overtaking anybody."""
        env = self.env
        if env is None or not env.is_here():
            env = self.here()
        if self.stage is not Stage.OPEN:
            raise self.refusal()
        if not self.idle:
            return None
        entry, now = self.idle[-1], env.now()
        if now >= entry.expires or not self.is_fresh(entry, now):
            return None
        self.idle.pop()
        self.leased[entry] = None
        self.acquired += 1
        if self.attended:
            self._note(entry, 0.0)
        return entry

    async def lend(self, timeout: float) -> Entry[C]:
        """A connection, which counts as lent; it has to come back by `give_back`."""
        env = self.here()
        self.drop_expired()
        entry = self.lend_now()
        if entry is not None:
            return entry
        if timeout == 0:
            raise self._too_late(timeout)
        began = env.now()
        entry = await self._stand_in_line(env, timeout)
        waited = env.now() - began
        self.leased[entry] = None
        self.acquired += 1
        self.counts["waited"] += 1
        self.acquire_seconds += waited
        self.longest_acquire = max(self.longest_acquire, waited)
        if self.attended:
            self._note(entry, waited)
        return entry

    def _note(self, entry: Entry[C], waited: float) -> None:
        if self.instruments:
            self.tell(PoolInstrument.acquired, entry.number, waited)
        if self.settings.min_idle:
            self.serve()

    async def _stand_in_line(self, env: Environment, timeout: float) -> Entry[C]:
        line = self.line
        turn = line.enter(env.loop)
        self.waiting += 1
        timer = start_timer(env.loop, timeout, turn)
        try:
            if self.idle or self.size < self.settings.max_size:
                self.serve()
            how = await turn
        except BaseException:
            granted = was_granted(turn)
            line.leave(turn)
            self.waiting -= 1
            if env.is_here():  # else the event loop has ended, and this coroutine was closed
                if granted:
                    self.break_promise()
                self.serve()
            raise
        finally:
            if timer is not None:
                timer.cancel()
        line.leave(turn)
        self.waiting -= 1
        entry = self.keep_promise() if how is GRANTED else None
        if entry is not None:
            return entry
        self.serve()
        raise self._too_late(timeout) if how is Turn.EXPIRED else self.refusal()

    def refusal(self) -> PoolClosed:
        """The error of who comes too late to get anything."""
        return PoolClosed(pool=self.name, state=_STATES.get(self.stage, "closing"))

    def _too_late(self, seconds: float) -> PoolTimeout:
        self.counts["timeouts"] += 1
        failure = None if self.failure is None else f"{type(self.failure).__name__}: {self.failure}"
        parts = {
            "leased": len(self.leased) + len(self.promised),
            "idle": len(self.idle),
            "being opened": self.connecting,
            "being checked": self.checking,
            "being closed": self.closing,
        }
        told = ", ".join(f"{count} {what}" for what, count in parts.items() if count)
        state = f"{self.size} of {self.settings.max_size}{': ' if told else ''}{told}; {self.unserved} others wait"
        error = PoolTimeout(pool=self.name, seconds=seconds, state=state, failure=failure)
        error.__cause__ = self.failure
        self.tell(PoolInstrument.acquire_timed_out, error)
        return error

    async def wait_open(self, timeout: float) -> None:
        """Begin, and wait until there are `min_idle` connections."""
        env = self.here()
        if self.stage is not Stage.OPEN:
            raise self.refusal()
        self.serve()
        if len(self.idle) + len(self.leased) + len(self.promised) >= self.settings.min_idle:
            return
        how = await self.opening.wait(timeout, loop=env.loop)
        if how is not GRANTED:
            raise self._too_late(timeout) if how is Turn.EXPIRED else self.refusal()

    async def wait_closed(self) -> None:
        """Wait until nothing is open; a cancel ends this wait, and nothing else."""
        env = self.here()
        if self.stage is not Stage.CLOSED:
            await self.closers.wait(None, loop=env.loop)

    def statistics(self) -> PoolStatistics:
        """The state of this moment."""
        count, settings = self.counts, self.settings
        retry_in = None if self.retry_at is None or self.env is None else max(self.retry_at - self.env.now(), 0.0)
        return PoolStatistics(
            size=self.size,
            max_size=settings.max_size,
            min_idle=settings.min_idle,
            idle=len(self.idle),
            leased=len(self.leased) + len(self.promised),
            connecting=self.connecting,
            checking=self.checking,
            closing=self.closing,
            waiters=self.line.waiting,
            retry_in=retry_in,
            acquired=self.acquired,
            waited=count["waited"],
            acquire_seconds=self.acquire_seconds,
            longest_acquire=self.longest_acquire,
            timeouts=count["timeouts"],
            created=count["created"],
            connect_failures=count["connect_failures"],
            check_failures=count["check_failures"],
            close_failures=count["close_failures"],
            abandoned=count["abandoned"],
            closed_by=dict(self.closed_by),
            state=_STATES.get(self.stage, "open"),
        )
