"""A clock that moves by hand."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Self

from understudy._plans._spec import number_of
from understudy.environment import running_loop
from understudy.testing._virtual import VirtualLoop

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["ManualClock"]


class ManualClock:
    """Holds the time of the running :class:`VirtualLoop`, which from then on passes by :meth:`advance` alone.

    ::

        with ManualClock() as clock:
            reminder.tell(RemindMe(seconds=60))
            await clock.advance(59.9)
            assert probe.messages == []
            await clock.advance(0.1)

    It holds from its creation until :meth:`release`, or the end of the ``with`` block; then time goes by itself again.
    A test that waits meanwhile for what only time could bring, where nobody advances, ends in a :class:`DeadlockError`.

    Raises:
        RuntimeError: There is no running VirtualLoop, or another clock holds it.
    """

    def __init__(self) -> None:
        loop = running_loop()
        if not isinstance(loop, VirtualLoop):
            where = "no event loop is running here" if loop is None else f"a {type(loop).__name__} is running here"
            raise RuntimeError(
                f"a ManualClock moves the time of a VirtualLoop, but {where}: "
                "make it in an async test that runs on a VirtualLoop and is not marked real_time"
            )
        self._loop = loop
        self._target: float | None = None
        self._arrived: asyncio.Future[None] | None = None
        loop.hold(self)

    @property
    def now(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._loop.time()

    async def advance(self, seconds: float) -> None:
        """Let *seconds* pass.

        Timers that are due until then fire in their order, each at its own time, and everything that follows from one
        happens before the next. When this returns it is *seconds* later, and nothing is ready any more but the caller.
        After 0 seconds that is so too: it lets everything settle.

        Raises:
            ValueError: Not a number of seconds from 0 on.
            RuntimeError: The clock has been released, or somebody is advancing it at this moment.
        """
        number = number_of(seconds)
        if number is None or not 0 <= number < math.inf:
            raise ValueError(f"seconds must be a finite number that is not negative, got {seconds!r}")
        if not self._loop.is_held_by(self):
            raise RuntimeError("this clock has been released, and time passes by itself")
        if self._arrived is not None:
            raise RuntimeError("this clock is being advanced already: await that first")
        self._target = self.now + number
        self._arrived = self._loop.create_future()
        try:
            await self._arrived
        finally:
            self._target = self._arrived = None

    def release(self) -> None:
        """Let time pass by itself again; a second time it does nothing."""
        self._loop.release(self)
        if self._arrived is not None and not self._arrived.done():
            self._arrived.set_exception(RuntimeError("the clock was released before it had been advanced so far"))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    # For the loop

    def target(self) -> float | None:
        """The time up to which the loop may go; None: it has to stand still."""
        return self._target

    def arrived(self) -> None:
        """That time has come, and nothing that can happen then is left."""
        if self._arrived is not None and not self._arrived.done():
            self._arrived.set_result(None)
