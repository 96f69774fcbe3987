"""The system actor that writes the log: events are made on the spot, their lines here, afterwards."""

from __future__ import annotations

import linecache
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from understudy.actors._actor import Actor
from understudy.actors._handler import handler
from understudy.instrument import Instrument
from understudy.reasons import Crashed, Frame, StartFailed

if TYPE_CHECKING:
    from asyncio import TimerHandle
    from collections.abc import Sequence

    from understudy.actors._ref import ActorRef
    from understudy.actors._runtime import Runtime
    from understudy.instrument import CrashReport
    from understudy.reasons import ExitReason

__all__ = ["Line", "LogInstrument", "Reporter"]

_LONG = 30.0
"""Seconds: the window for what goes on and on once it has begun, and is told soon enough the second time."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line to be written. Those of equal keys within *window* seconds after it become a count."""

    key: tuple[str, ...]
    level: str
    event: str
    fields: dict[str, Any]
    frames: tuple[Frame, ...] = ()
    window: float = 1.0


class Flush:
    """The first window has closed."""


@dataclass(slots=True)
class _Recent:
    line: Line
    until: float
    suppressed: int = field(default=0)


class Reporter(Actor[Line]):
    """Writes the first of equal lines at once and counts the others, told in one line when the window closes."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._env = runtime.env
        self._recent: dict[tuple[str, ...], _Recent] = {}
        self._timer: TimerHandle | None = None
        self._due = math.inf

    @handler
    def write(self, line: Line) -> None:
        now = self._env.now()
        recent = self._recent.get(line.key)
        if recent is not None and now < recent.until:
            recent.suppressed += 1
            return
        if recent is not None:
            self._summarise(recent)
        self._recent[line.key] = _Recent(line, now + line.window)
        _write(self._runtime, line, line.fields)
        if now + line.window < self._due:
            self._arm()

    @handler
    def _flush(self, message: Flush) -> None:
        now = self._env.now()
        self._due = math.inf
        for key, recent in list(self._recent.items()):
            if now >= recent.until - 0.001:
                self._summarise(recent)
                del self._recent[key]
        self._arm()

    def shutdown(self, reason: ExitReason) -> None:
        for recent in self._recent.values():
            self._summarise(recent)

    def _arm(self) -> None:
        """Wake up when the first window closes; not at all when none is open."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._recent:
            self._due = min(each.until for each in self._recent.values())
            self._timer = self._env.call_at(self._due, self._wake)

    def _understudy_leave(self) -> None:
        # Not in the hook, which does not run when the system's time is up.
        super()._understudy_leave()
        if self._timer is not None:
            self._timer.cancel()

    def _wake(self) -> None:
        self.context.tell_self(Flush())

    def _summarise(self, recent: _Recent) -> None:
        if recent.suppressed:
            line = recent.line
            again = Line(line.key, line.level, f"{line.event} again", {})
            _write(self._runtime, again, {**line.fields, "times": recent.suppressed})


class LogInstrument(Instrument):
    """Hands what a person should read to the :class:`Reporter`."""

    def __init__(self) -> None:
        self.ref: ActorRef[Line] | None = None
        """The reporter; before it has started there is nothing to report."""
        self.runtime: Runtime | None = None

    def crash_reported(self, report: CrashReport) -> None:
        reason = report.reason
        frames = reason.frames if isinstance(reason, Crashed | StartFailed) else ()
        fields = {"actor": report.path, "reason": str(reason), "handling": report.message_type}
        state = dict(report.description) or dict(report.state)
        self._put(
            Line(("crashed", *map(str, fields.values())), "error", "crashed", fields | {"state": state or None}, frames)
        )

    def actor_resumed(self, path: str, reason: ExitReason, message_type: str) -> None:
        self._report("error", "resumed", {"actor": path, "reason": str(reason), "handling": message_type})

    def handling_too_long(self, path: str, message_type: str, seconds: float) -> None:
        self._report("error", "handling takes too long", {"actor": path, "handling": message_type, "limit": seconds})

    def actor_restarting(self, path: str, reason: ExitReason, failures: int) -> None:
        # A failure of its own code has had a line already.
        why = None if isinstance(reason, Crashed | StartFailed) else str(reason)
        fields = {"actor": path, "reason": why, "failures": failures}
        line = Line(("restarting", path, str(reason)), "warning", "restarting", fields)
        self._put(line)

    def gave_up(self, path: str, reason: ExitReason) -> None:
        self._report("error", "gave up", {"actor": path, "reason": str(reason)})

    def shutdown_failed(self, path: str, error: BaseException) -> None:
        self._report("error", "shutdown hook failed", {"actor": path, "error": f"{type(error).__name__}: {error}"})

    def refused(self, path: str, message_type: str, text: str) -> None:
        self._report("info", "refused", {"actor": path, "handling": message_type, "why": text})

    def abandoned(self, path: str, stack: Sequence[str]) -> None:
        self._report("error", "abandoned a task that would not end", {"actor": path, "stack": "\n".join(stack)})

    def late(self, name: str) -> None:
        self._report("error", "cancelled, since it had not ended in time", {"task": name})

    def mailbox_full(self, path: str, capacity: float) -> None:
        remedy = "use `await ref.send(...)`, or set `mailbox=`"
        fields = {"actor": path, "capacity": capacity, "remedy": remedy}
        self._put(Line(("mailbox", path), "warning", "mailbox is full", fields, window=_LONG))

    def dead_letter(self, message: object, recipient: str, sender: str | None, why: str) -> None:
        fields = {"recipient": recipient, "message": type(message).__name__, "why": why}
        self._put(Line(("dead letter", *fields.values()), "info", "dead letter", fields, window=_LONG))

    def _report(self, level: str, event: str, fields: dict[str, Any], frames: tuple[Frame, ...] = ()) -> None:
        self._put(Line((event, *map(str, fields.values())), level, event, fields, frames))

    def _put(self, line: Line) -> None:
        if self.ref is not None and self.runtime is not None and not self.ref.tell_quietly(line):
            _write(self.runtime, line, line.fields)  # the reporter has ended


def _write(runtime: Runtime, line: Line, fields: dict[str, Any]) -> None:
    shown = {name: value for name, value in fields.items() if value is not None}
    if line.frames:
        shown["exception"] = "\n".join(_render(frame) for frame in line.frames)
    runtime.write_log(line.level, line.event, shown)


def _render(frame: Frame) -> str:
    file, number, where = frame
    source = linecache.getline(file, number).strip()
    return f'  File "{file}", line {number}, in {where}' + (f"\n    {source}" if source else "")
