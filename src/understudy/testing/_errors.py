"""What goes wrong in a test. None of it is an error of the runtime, so none is an ``UnderstudyError``."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["DeadlockError", "EscapeError", "InjectedCrash", "LeakError", "LivenessError", "NotQuiescent", "Violation"]


class DeadlockError(AssertionError):
    """Nothing can happen any more: no callback is ready, no timer is set, and somebody still waits.

    Attributes:
        now: Virtual time in seconds.
        waiting: Who waits where, a line for each.
    """

    def __init__(self, now: float, waiting: Sequence[str], doing: str = "") -> None:
        self.now = now
        self.waiting = list(waiting)
        who = "".join(f"\n  {line}" for line in self.waiting) or " nobody"
        reason = doing or "no callback is ready and no timer is set"
        super().__init__(f"nothing can happen any more at virtual time {now:g}: {reason}; waiting:{who}")

    def __reduce__(self) -> tuple[Callable[..., BaseException], tuple[object, ...]]:
        return _rebuild, (type(self), self.args, self.__dict__)


class EscapeError(RuntimeError):
    """Code of a simulation has reached for the real world, which no seed can repeat."""

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(f"{what} would leave the simulation: {remedy}")
        self.what = what
        self.remedy = remedy

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        return type(self), (self.what, self.remedy)


class InjectedCrash(Exception):
    """A crash that a test has injected into a handler."""


class LeakError(AssertionError):
    """Something was left behind."""


class LivenessError(AssertionError):
    """There was work all the time and it did not get done: somebody runs in circles."""


class NotQuiescent(AssertionError):
    """Faults were off and there was time enough, and still not everything has settled."""


class Violation(AssertionError):
    """One of the promises that are watched in every simulated run has been broken."""


def _rebuild(kind: type[BaseException], args: tuple[object, ...], facts: dict[str, object]) -> BaseException:
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(facts)
    return error
