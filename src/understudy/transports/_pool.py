"""`AsyncTransportPool`: connections that are lent to one borrower at a time.

What holds without exception:

- There are never more connections than `max_size`, counting those that are being opened, checked or closed.
- No connection has two borrowers. One that was released as broken, or has failed a check, is never lent again.
- Who waits is served first come, first served; nobody overtakes, and nobody waits while there is room, unless attempts
  to connect fail, and the next one is not due.
- Whatever fails or is cancelled, at whatever await, no place is lost: what a borrower has set going is for the next.
- Each connection that the factory has returned is closed exactly once; when `close` has returned, none is open.

Not promised: which connection a borrower gets; that a call of the factory, of a check or of a close that resists its
cancellation does nothing any more. Such a call is abandoned, reported, and counts no more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

from understudy.exceptions import InvalidContext, InvalidSpec
from understudy.mailbox._line import check_timeout, deadline_of
from understudy.transports._pool_backoff import Backoff, default_wait
from understudy.transports._pool_engine import Stage
from understudy.transports._pool_lease import Acquisition
from understudy.transports._pool_settings import PoolSettings
from understudy.transports._pool_waits import PoolWaits

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from types import TracebackType
    from typing import Self

    from understudy.actors._context import System
    from understudy.transports._pool_instrument import PoolInstrument
    from understudy.transports._pool_statistics import PoolStatistics

__all__ = ["AsyncTransportPool"]

C = TypeVar("C")


class AsyncTransportPool(Generic[C]):
    """A bounded pool of connections of any kind, in one event loop, with an actor system or without.

    ::

        async with AsyncTransportPool(connect, close=Session.aclose, check=Session.is_alive) as pool:
            async with pool.acquire() as session:
                await session.send(b"hello")

    The one that was used last is lent first, so that those that are not needed grow old and are closed. Connections are
    opened, checked and closed in tasks of the pool, with a time limit each; one that would not end is abandoned. While
    nothing is being opened, checked or closed there is no task, and while nothing is idle, or nothing of it will ever
    be due, no timer.

    While attempts to connect fail, there is one at a time, after a delay that grows. A connection that breaks soon
    after it was made (before the mean of the first and the longest delay) counts as such a failure, if it was released
    as broken, has failed its check, or an ``OSError`` or ``EOFError`` has left the block of its borrower.

    A pool has to be closed. It belongs to the event loop in which it is first used.

    Args:
        factory: Makes a connection: a coroutine function without parameters, or anything like that. It may fail.
        close: Closes a connection; if it returns something to await, that is awaited. It may fail.
        check: Says whether a connection is in order; False, or an exception, means that it is not. None: nothing is
            checked.
        settings: The bounds.
        name: For errors, tasks and instruments.
        breaks: Asked about an exception that leaves the block of ``async with pool.acquire()``, a cancellation too:
            whether the connection is to be closed. By default each breaks it, since an exchange that was interrupted
            may have left an answer behind which the next borrower would take for his own.
        backoff: A wait strategy of tenacity, for the delays between attempts. By default up to 0.1 s before the second
            attempt, twice as much before each further one, up to 30 s, each by chance.
        instruments: Who is told what happens; see :class:`PoolInstrument`.
        system: The system whose tasks the pool's are: its shutdown then waits for them. In an actor,
            ``self.context.system``. None: the pool has its own.

    Raises:
        InvalidSpec: *factory*, *close*, *check* or *breaks* cannot be called.
    """

    __slots__ = ("_engine",)

    def __init__(
        self,
        factory: Callable[[], Awaitable[C] | C],
        *,
        close: Callable[[C], Awaitable[object] | None],
        check: Callable[[C], Awaitable[bool] | bool] | None = None,
        settings: PoolSettings = PoolSettings(),  # noqa: B008 - it is frozen
        name: str = "pool",
        breaks: Callable[[BaseException], bool] | None = None,
        backoff: Callable[[Any], float] | None = None,
        instruments: Sequence[PoolInstrument] = (),
        system: System | None = None,
    ) -> None:
        functions: dict[str, object] = {"factory": factory, "close": close, "check": check, "breaks": breaks}
        for field, function in functions.items():
            if not callable(function) and (function is not None or field in ("factory", "close")):
                raise InvalidSpec(child=f"pool {name!r}", field=field, problem=f"must be a function, got {function!r}")
        self._engine: PoolWaits[C] = PoolWaits(
            name,
            settings,
            factory=factory,
            close=close,
            check=check,
            breaks=breaks,
            backoff=Backoff(default_wait() if backoff is None else backoff),
            instruments=instruments,
            system=system,
        )

    @property
    def name(self) -> str:
        """What it is called."""
        return self._engine.name

    @property
    def settings(self) -> PoolSettings:
        """The bounds that are in force."""
        return self._engine.settings

    @property
    def closed(self) -> bool:
        """Whether the pool is closed and nothing of it is open."""
        return self._engine.stage is Stage.CLOSED

    def __repr__(self) -> str:
        now = self.statistics()
        facts = f"{now.size} of {now.max_size}, {now.idle} idle, {now.leased} leased, {now.waiters} wait"
        return f"<{type(self).__name__} {self.name!r}, {now.state}: {facts}>"

    # Borrowing

    def acquire(self, *, timeout: float | None = None) -> Acquisition[C]:
        """Borrow a connection: ``async with pool.acquire() as connection``, or ``lease = await pool.acquire()``.

        First come, first served. A cancellation wins over a connection of the same tick, which then goes to the next
        who waits. It does not suspend when there is a connection to be had at once.

        Args:
            timeout: Seconds to wait; 0 does not wait, and begins nothing; `math.inf` waits for ever. None: what
                the settings say.

        Raises:
            InvalidTimeout: The timeout is negative, NaN or no number; raised by this call.
            PoolTimeout: No connection in time; raised, as the others are, when it is awaited or entered.
            PoolClosed: The pool drains or is closed, or was closed while waiting.
            InvalidContext: Used in another event loop, thread or process than before.
        """
        if timeout is None:
            timeout = self._engine.settings.acquire_timeout
        else:
            check_timeout(timeout)
        return Acquisition(self._engine, timeout)

    # Its life

    async def open(self, *, timeout: float | None = None) -> None:
        """Wait until `min_idle` connections are there; without this, the first borrower sets the pool going.

        If it raises, for a cancellation too, the pool is closed.

        Args:
            timeout: Seconds to wait; None: as long as for a connection.

        Raises:
            PoolTimeout: They were not there in time.
            PoolClosed: The pool was closed before, or while waiting.
            InvalidTimeout: The timeout is negative, NaN or no number.
        """
        if timeout is None:
            timeout = self._engine.settings.acquire_timeout
        check_timeout(timeout)
        try:
            await self._engine.wait_open(timeout)
        except InvalidContext:  # it is in use elsewhere
            raise
        except BaseException:
            await self.close(timeout=0.0)
            raise

    def resize(self, max_size: int | None = None, *, min_idle: int | None = None) -> None:
        """Change the limits. What is too much is closed: what is idle now, and what is lent when it comes back.

        Args:
            max_size: How many connections there may be; None: as before.
            min_idle: How many are kept ready; None: as before.

        Raises:
            pydantic.ValidationError: A limit is out of range, or *min_idle* would be more than *max_size*; nothing has
                changed.
            PoolClosed: The pool drains or is closed.
            InvalidContext: Called outside of the event loop of the pool.
        """
        self._engine.here()
        if self._engine.stage is not Stage.OPEN:
            raise self._engine.refusal()
        changes = {"max_size": max_size, "min_idle": min_idle}
        given = {name: value for name, value in changes.items() if value is not None}
        self._engine.resize(PoolSettings.model_validate(self.settings.model_dump() | given))

    async def drain(self, *, timeout: float | None = None) -> None:
        """Lend no more but to those who wait already; when all is given back, close. Returns when nothing is open.

        A cancellation ends this wait, and not the drain.

        Args:
            timeout: Seconds until those who still wait are refused and what is lent is closed by force; None: for ever.

        Raises:
            InvalidTimeout: The timeout is negative, NaN or no number.
            InvalidContext: Called outside of the event loop of the pool.
        """
        if timeout is not None:
            check_timeout(timeout)
        self._engine.drain(self._moment(timeout))
        await self._engine.wait_closed()

    async def close(self, *, timeout: float | None = None) -> None:
        """Lend no more, refuse those who wait, and close everything. Returns when nothing is open.

        What is idle is closed, and attempts to connect are cancelled, at once; what is lent, when it comes back, or by
        force when time is up. May be called again, also with another timeout: the shorter one holds. After the timeout
        it takes no longer than *close_timeout* and *abandon_after* of the settings. A cancellation ends this wait, and
        not the closing, which the pool's own tasks do.

        Args:
            timeout: Seconds to wait for what is lent; 0: it is closed at once; `math.inf`: no limit. None: the *grace*
                of the settings.

        Raises:
            InvalidTimeout: The timeout is negative, NaN or no number.
            InvalidContext: Called outside of the event loop of the pool.
        """
        if timeout is None:
            timeout = self._engine.settings.grace
        check_timeout(timeout)
        self._engine.shut(self._moment(timeout))
        await self._engine.wait_closed()

    def _moment(self, timeout: float | None) -> float:
        """The point of time at which it will be up."""
        return deadline_of(self._engine.here().loop, timeout)

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    # Looking

    def statistics(self) -> PoolStatistics:
        """The state of this moment; a copy that does not change."""
        return self._engine.statistics()
