"""Why an actor ended: a closed set of frozen values.

A reason is data. It is never raised; the exceptions of :mod:`understudy.exceptions` carry one in ``.reason``.

    Normal              it ended by itself
    Shutdown            it was asked to stop, or to drain
    Killed              it was ended by force                                   abnormal
    Crashed             a handler or hook raised                                abnormal
    StartFailed         its constructor or ``initialize`` raised                abnormal
    RestartsExceeded    a child failed too often and it gave up                 abnormal
    NodeDown            the node it lived on is out of reach                    abnormal
    NotFound            there was no such actor to begin with

The first reason given to a stopping actor stays, with two exceptions: a forced end becomes ``Killed(first=that
reason)``, and ``Crashed`` and ``RestartsExceeded`` are never overwritten.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias, cast

if TYPE_CHECKING:
    from collections.abc import Container
    from types import TracebackType

__all__ = [
    "Crashed",
    "ExitReason",
    "Frame",
    "Killed",
    "NodeDown",
    "Normal",
    "NotFound",
    "RestartsExceeded",
    "Shutdown",
    "StartFailed",
    "describe",
    "frames_of",
    "is_abnormal",
    "plain_seconds",
    "root_error",
    "without_traceback",
]

_MANY = 12
"""How many steps of an escalation a sentence tells of; `describe` knows them all."""

Frame: TypeAlias = tuple[str, int, str]
"""File, line and function: what is kept of a traceback. The source text is read when a report is rendered."""


@dataclass(frozen=True, slots=True)
class Normal:
    """The actor ended by itself: ``self.context.stop()``, or nothing was left to do."""

    def __str__(self) -> str:
        return "a normal end"


@dataclass(frozen=True, slots=True)
class Shutdown:
    """Somebody asked the actor to end for good."""

    detail: str = ""

    def __str__(self) -> str:
        return f"shut down ({self.detail})" if self.detail else "shut down"


@dataclass(frozen=True, slots=True)
class Killed:
    """The actor was ended by force; *first* is the reason it was already stopping for, if it was."""

    first: ExitReason | None = None

    def __str__(self) -> str:
        return "killed" if self.first is None else f"killed while ending ({self.first})"


@dataclass(frozen=True, slots=True)
class Crashed:
    """User code raised *error*.

    The error's traceback has been cut off, because it would keep every local variable of the handler alive;
    *frames* is what is left of it, innermost last.
    """

    error: BaseException
    frames: tuple[Frame, ...] = field(default=(), compare=False, repr=False)

    def __str__(self) -> str:
        return f"crashed: {_headline(self.error)}"


@dataclass(frozen=True, slots=True)
class NotFound:
    """There was no such actor."""

    def __str__(self) -> str:
        return "not found"


@dataclass(frozen=True, slots=True)
class NodeDown:
    """The node on which the actor lived cannot be reached."""

    node: str

    def __str__(self) -> str:
        return f"node {self.node} is down"


@dataclass(frozen=True, slots=True)
class StartFailed:
    """The constructor, ``children`` or ``initialize`` raised *error*, or a child did not start."""

    error: BaseException
    frames: tuple[Frame, ...] = field(default=(), compare=False, repr=False)

    def __str__(self) -> str:
        return f"did not start: {_headline(self.error)}"


@dataclass(frozen=True, slots=True)
class RestartsExceeded:
    """*child* (a path) failed *count* times within *seconds*, the last time for *last_reason*."""

    child: str
    last_reason: ExitReason
    count: int
    seconds: float

    def __str__(self) -> str:
        parts = describe(self)
        if len(parts) > _MANY:
            parts[_MANY // 2 : -(_MANY // 2)] = [f"... ({len(parts) - _MANY} more)"]
        return ", last: ".join(parts)

    def headline(self) -> str:
        """Who and how often, without what lies under it."""
        often = "once" if self.count == 1 else f"{self.count} times in {self.seconds:g} s"
        return f"{self.child} failed {often}"


ExitReason: TypeAlias = Normal | Shutdown | Killed | Crashed | NotFound | NodeDown | StartFailed | RestartsExceeded
"""Why an actor has ended: one of these values, never raised. :func:`is_abnormal` tells failures from other ends."""

_REASONS = (Normal, Shutdown, Killed, Crashed, NotFound, NodeDown, StartFailed, RestartsExceeded)
_ABNORMAL = (Killed, Crashed, NodeDown, StartFailed, RestartsExceeded)


def is_abnormal(reason: ExitReason) -> bool:
    """Whether a transient child is restarted after *reason*."""
    return isinstance(reason, _ABNORMAL)


def root_error(reason: ExitReason) -> BaseException | None:
    """The exception at the bottom of *reason*, for use as a ``__cause__``."""
    beneath: ExitReason | None = reason
    while isinstance(beneath, RestartsExceeded | Killed):
        beneath = beneath.last_reason if isinstance(beneath, RestartsExceeded) else beneath.first
    return beneath.error if isinstance(beneath, Crashed | StartFailed) else None


def describe(reason: ExitReason) -> list[str]:
    """*reason* and what lies under it, outermost first, a line each."""
    lines: list[str] = []
    while isinstance(reason, RestartsExceeded):
        lines.append(reason.headline())
        reason = reason.last_reason
    return [*lines, str(reason)]


def frames_of(traceback: TracebackType | None, *, but: Container[str] = ()) -> tuple[Frame, ...]:
    """The frames of *traceback* as plain data, outermost first, without those of the files in *but*."""
    frames: list[Frame] = []
    while traceback is not None:
        code = traceback.tb_frame.f_code
        file = code.co_filename
        if file not in but:
            frames.append((file, traceback.tb_lineno, code.co_qualname))
        traceback = traceback.tb_next
    return tuple(frames)


def without_traceback(error: BaseException) -> BaseException:
    """*error* itself, with its traceback and those of all its causes cut off, so that it holds no local variable."""
    error.__traceback__ = None
    cause, context, members = error.__cause__, error.__context__, _members(error)
    if cause is not None or context is not None or members:
        _cut([cause, context, *members])
    return error


def _members(error: BaseException) -> tuple[BaseException, ...]:
    return cast("BaseExceptionGroup[BaseException]", error).exceptions if isinstance(error, BaseExceptionGroup) else ()


def _cut(pending: list[BaseException | None]) -> None:
    seen: set[int] = set()
    while pending:
        current = pending.pop()
        if current is None or id(current) in seen:
            continue
        seen.add(id(current))
        current.__traceback__ = None
        pending += [current.__cause__, current.__context__, *_members(current)]


def plain_seconds(seconds: float) -> str:
    """A time for people: three digits, and never in powers of ten."""
    return f"{seconds:.3g} s" if seconds < 1000 else f"{seconds:.0f} s"


def _headline(error: BaseException) -> str:
    text = str(error)
    if getattr(error, "path", None) and isinstance(getattr(error, "reason", None), _REASONS):
        return text  # one of the runtime's own sentences: it says who and what
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
