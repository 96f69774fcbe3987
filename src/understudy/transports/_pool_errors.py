"""What a pool of connections raises."""

from __future__ import annotations

from typing import Literal

from understudy.exceptions import UnderstudyError
from understudy.reasons import plain_seconds

__all__ = ["LeaseReleased", "PoolClosed", "PoolTimeout"]


class PoolTimeout(UnderstudyError, TimeoutError):
    """No connection could be had in time.

    ``state`` says how things stood. If the latest attempt to connect had failed, ``failure`` says how, and
    ``__cause__`` is the error.
    """

    def __init__(self, *, pool: str, seconds: float, state: str, failure: str | None = None) -> None:
        self.pool = pool
        self.seconds = seconds
        self.state = state
        self.failure = failure
        remedy = "release sooner, raise max_size, or wait longer" if failure is None else f"last failure: {failure}"
        super().__init__(f"pool {pool!r} had no connection within {plain_seconds(seconds)} ({state}): {remedy}")


class PoolClosed(UnderstudyError):
    """The pool lends no more: it drains, is being closed, or is closed."""

    def __init__(self, *, pool: str, state: Literal["draining", "closing", "closed"]) -> None:
        self.pool = pool
        self.state = state
        super().__init__(f"pool {pool!r} is {state} and lends no more connections: make another pool")


class LeaseReleased(UnderstudyError, RuntimeError):
    """A lease was used, or released once more, after its release; nothing was done."""

    def __init__(self, *, pool: str, connection: int) -> None:
        self.pool = pool
        self.connection = connection
        super().__init__(
            f"this lease of connection {connection} of pool {pool!r} has been released, and somebody else may have the "
            "connection by now: release once, and acquire again"
        )
