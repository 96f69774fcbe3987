"""The seam for whoever wants to know what a pool does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Sequence

    from understudy.transports._pool_errors import PoolTimeout

__all__ = ["CloseReason", "PoolInstrument"]

CloseReason: TypeAlias = Literal[
    "broken", "unhealthy", "idle", "lifetime", "surplus", "lost", "closed", "revoked", "late"
]
"""Why a pool has closed a connection: it was released as broken; a health check has failed; it was idle, or has lived,
for too long; there were too many after `resize`; its lease was collected as garbage; the pool was closed, in time or
with the lease still out; or it came about after its attempt had been given up."""


class PoolInstrument:
    """What a pool reports, each exactly once, on the spot and synchronously.

    Override what you want to know. An instrument must not block and must not raise; what it raises is reported to the
    event loop's exception handler and changes nothing. Times are seconds; connections of a pool are numbered from 1.
    """

    def connected(self, pool: str, connection: int, seconds: float) -> None:
        """A connection is there; the factory took *seconds*."""

    def connect_failed(self, pool: str, error: BaseException, attempt: int, retry_in: float | None) -> None:
        """An attempt has failed, the *attempt*-th without success; the next is no sooner than *retry_in* from now.

        None: attempts that began at the same time have failed already, and what was said then stands.
        """

    def acquired(self, pool: str, connection: int, waited: float) -> None:
        """A connection is lent; its borrower has *waited*, 0.0 if it was there."""

    def acquire_timed_out(self, pool: str, error: PoolTimeout) -> None:
        """A borrower gets this error instead of a connection."""

    def released(self, pool: str, connection: int, broken: bool) -> None:
        """A connection has come back."""

    def lease_lost(self, pool: str, connection: int) -> None:
        """A lease was collected as garbage before its release; its connection is being closed."""

    def check_failed(self, pool: str, connection: int, error: BaseException | None) -> None:
        """A health check has failed: it said no (None), raised, or did not end in time (a ``TimeoutError``)."""

    def closed(self, pool: str, connection: int, reason: CloseReason, error: BaseException | None) -> None:
        """A connection is closed; *error*: that failed, or did not end in time, and the pool has let go of it."""

    def abandoned(self, pool: str, task: str, stack: Sequence[str]) -> None:
        """A factory, check or close would not end and was given up on; *stack* is where it stands."""
