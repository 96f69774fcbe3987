"""What a borrower holds in his hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

from understudy.exceptions import InvalidContext
from understudy.transports._pool_errors import LeaseReleased

if TYPE_CHECKING:
    from collections.abc import Generator
    from types import TracebackType
    from typing import Self

    from understudy.transports._pool_engine import Entry, PoolEngine
    from understudy.transports._pool_waits import PoolWaits

__all__ = ["Acquisition", "Lease"]

C = TypeVar("C")


class Lease(Generic[C]):
    """A connection that is lent to one borrower, until `release`; what ``await pool.acquire()`` gives.

    One that is collected as garbage before that is a bug of the program: it is reported as a ``ResourceWarning``, and
    the pool closes the connection, since nobody knows in which state it is, so that no place is lost. That takes as
    long as the garbage collector does.
    """

    __slots__ = ("_connection", "_engine", "_entry")

    def __init__(self, engine: PoolEngine[C], entry: Entry[C]) -> None:
        self._engine = engine
        # None once it is released; for errors the number stays.
        self._entry: Entry[C] | None = entry
        self._connection = entry.number

    @property
    def connection(self) -> C:
        """The connection.

        Raises:
            LeaseReleased: The lease has been released.
        """
        entry = self._entry
        if entry is None:
            raise LeaseReleased(pool=self._engine.name, connection=self._connection)
        return entry.value

    @property
    def number(self) -> int:
        """The number of the connection in its pool, from 1 on."""
        return self._connection

    def release(self, *, broken: bool = False) -> None:
        """Give the connection back. There is nothing to wait for, and so nothing that a cancel could interrupt.

        If the pool has closed the connection meanwhile, by force, there is nothing to give back, and no error.

        Args:
            broken: It is of no more use, or nobody knows: the pool closes it, and connects anew if somebody waits.

        Raises:
            LeaseReleased: It has been released before; nothing was done.
            InvalidContext: This is not called in the event loop of the pool; nothing was done.
        """
        entry = self._entry
        if entry is None:
            raise LeaseReleased(pool=self._engine.name, connection=self._connection)
        self._engine.here()
        self._entry = None
        self._engine.give_back(entry, broken=broken, suspect=broken)

    def __repr__(self) -> str:
        state = ", released" if self._entry is None else ""
        return f"<Lease of connection {self._connection} of pool {self._engine.name!r}{state}>"

    # A copy would be a second lease of the same connection.

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def __reduce__(self) -> Any:
        raise InvalidContext(what=repr(self), problem="a lease belongs to its pool and cannot be pickled")

    def __del__(self) -> None:
        if self._entry is not None:
            self._engine.report_lost(self._entry, self)


class Acquisition(Generic[C]):
    """What ``pool.acquire()`` returns: to be entered, or to be awaited. Nothing happens before that.

    ``async with pool.acquire() as connection`` gives the connection back at the end of the block; an exception that
    leaves the block breaks it, unless the pool's *breaks* says otherwise. ``await pool.acquire()`` gives a
    :class:`Lease`, which is to be released.
    """

    __slots__ = ("_engine", "_entry", "_timeout")

    def __init__(self, engine: PoolWaits[C], timeout: float) -> None:
        self._engine = engine
        self._timeout = timeout
        # The connection while it is entered.
        self._entry: Entry[C] | None = None

    def __await__(self) -> Generator[Any, Any, Lease[C]]:
        return self._lend().__await__()

    async def _lend(self) -> Lease[C]:
        return Lease(self._engine, await self._engine.lend(self._timeout))

    async def __aenter__(self) -> C:
        if self._entry is not None:
            raise InvalidContext(what=self._engine.label, problem="this acquisition is entered: call `acquire` again")
        entry = self._engine.lend_now()
        if entry is None:
            entry = await self._engine.lend(self._timeout)
        self._entry = entry
        return entry.value

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        entry, engine = self._entry, self._engine
        if entry is None:
            return
        engine.here()
        self._entry = None
        if error is None:
            engine.give_back(entry, broken=False, suspect=False)
        else:
            # A bug of the borrower's says nothing about the other side.
            suspect = isinstance(error, OSError | EOFError)
            engine.give_back(entry, broken=engine.has_broken(error), suspect=suspect)

    def __repr__(self) -> str:
        state = "" if self._entry is None else f", connection {self._entry.number}"
        return f"<Acquisition of pool {self._engine.name!r}{state}>"

    def __del__(self) -> None:
        if self._entry is not None:
            self._engine.report_lost(self._entry, self)
