"""The system actor that writes the log: events are made on the spot, their lines here, afterwards."""

from __future__ import annotations

import linecache
import math
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

from understudy.actors._actor import Actor
from understudy.actors._handler import handler
from understudy.instrument import Instrument
from understudy.reasons import Crashed, Frame, StartFailed

if TYPE_CHECKING:
    from asyncio import TimerHandle
    from collections.abc import Sequence

    from understudy.actors._ref import ActorRef
    from understudy.actors._runtime import Runtime
    from understudy.instrument import CrashReport, LoopBlocked
    from understudy.reasons import ExitReason

__all__ = ["Line", "LogInstrument", "Reporter", "facts_of", "printable", "render"]

_LONG = 30.0
"""Seconds: the window for what goes on and on once it has begun, and is told soon enough the second time."""
_FEW = 5
"""How many dead letters that differ have a line of their own within their window."""
_TEXT = re.compile(r"(?<=crashed: )([^:(]*).*|(?<=did not start: )([^:(]*).*", re.DOTALL)
"""The text of an error, which may show what was in a message."""


_HAD_A_LINE = (Crashed, StartFailed)
"""Failures of an actor's own code, of which there is a report."""

Key: TypeAlias = tuple[str | None, ...]

_STORM: Key = ("dead letters",)


@dataclass(slots=True)
class Line:
    """A line to be written, and how many equal ones there have been *until* its window closes."""

    level: str
    event: str
    fields: dict[str, Any]
    frames: tuple[Frame, ...]
    until: float
    suppressed: int = 0

    def summary(self) -> Line:
        """How many there have been since."""
        return replace(self, event=f"{self.event} again", fields={**self.fields, "times": self.suppressed}, frames=())


@dataclass(slots=True)
class Storm(Line):
    """Lines that differ, of which a few are *written*; the others are only counted until the window closes."""

    written: int = 0

    def summary(self) -> Line:
        """How many have not been written."""
        return replace(self, fields={"number": self.suppressed})


class Flush:
    """The first window has closed."""


class Reporter(Actor[Line]):
    """Writes the first of equal lines at once; the others, which are only counted, in one line when the window closes.

    *recent* are the lines whose windows are open, and is kept by the :class:`LogInstrument`.
    """

    def __init__(self, runtime: Runtime, recent: dict[Key, Line]) -> None:
        self._runtime = runtime
        self._env = runtime.env
        self._recent = recent
        self._timer: TimerHandle | None = None
        self._due = math.inf

    @handler
    def write(self, line: Line) -> None:
        _write(self._runtime, line)
        if line.until < self._due:
            self._arm()

    @handler
    def _flush(self, message: Flush) -> None:
        now = self._env.now()
        self._due = math.inf
        for key, line in list(self._recent.items()):
            if now >= line.until - 0.001:
                summarise(self._runtime, line)
                del self._recent[key]
        self._arm()

    def shutdown(self, reason: ExitReason) -> None:
        for line in self._recent.values():
            summarise(self._runtime, line)

    def _arm(self) -> None:
        """Wake up when the first window closes; not at all when none is open."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._recent:
            self._due = min(each.until for each in self._recent.values())
            self._timer = self._env.call_at(self._due, self._wake)

    def _understudy_leave(self, reason: ExitReason) -> None:
        # Not in the hook, which does not run when the system's time is up.
        super()._understudy_leave(reason)
        self._recent.clear()  # from here on each line is written, by whoever has it
        if self._timer is not None:
            self._timer.cancel()

    def _wake(self) -> None:
        self.context.tell_self(Flush())


class LogInstrument(Instrument):
    """Hands what a person should read to the :class:`Reporter`; of equal lines, within a second, the first."""

    def __init__(self) -> None:
        self.ref: ActorRef[Line] | None = None
        """The reporter; before it has started there is nothing to report."""
        self.runtime: Runtime | None = None
        self.recent: dict[Key, Line] = {}
        """The lines whose windows are open. Those equal to one of them are counted here, on the spot, so that a storm
        of failures costs little."""

    def wants_crash_report(self, path: str, reason: ExitReason, message_type: str | None) -> bool:
        return not self._suppressed(("crashed", path, str(reason), message_type))

    def crash_reported(self, report: CrashReport) -> None:
        reason = report.reason
        key = ("crashed", report.path, str(reason), report.message_type)
        frames = reason.frames if isinstance(reason, _HAD_A_LINE) else ()
        state = dict(report.description) or dict(report.state)
        fields = {"actor": report.path, "reason": key[2], "handling": report.message_type, "state": state or None}
        self._put(key, "error", "crashed", fields, frames=frames)

    def actor_resumed(self, path: str, reason: ExitReason, message_type: str) -> None:
        self._report("error", "resumed", {"actor": path, "reason": str(reason), "handling": message_type})

    def handling_too_long(self, path: str, message_type: str, seconds: float) -> None:
        self._report("error", "handling takes too long", {"actor": path, "handling": message_type, "limit": seconds})

    def loop_blocked(self, report: LoopBlocked) -> None:
        facts = facts_of(report)
        key = ("blocked", report.actor, report.doing, report.message_type, facts["at"])
        if not self._suppressed(key):
            self._put(key, "warning", "event loop was blocked", facts)

    def actor_restarting(self, path: str, reason: ExitReason, failures: int) -> None:
        why = None if isinstance(reason, _HAD_A_LINE) else str(reason)
        key = ("restarting", path, why)
        if not self._suppressed(key):
            self._put(key, "warning", "restarting", {"actor": path, "reason": why, "failures": failures})

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
        key = ("mailbox", path)
        if not self._suppressed(key):
            self._put(key, "warning", "mailbox is full", fields, window=_LONG)

    def dead_letter(self, message: object, recipient: str, sender: str | None, why: str) -> None:
        # Types and paths: what was in the message is nobody's business.
        facts = recipient, type(message).__name__, _TEXT.sub(r"\1\2", why).rstrip()
        key = ("dead letter", *facts)
        if not self._suppressed(key) and not self._too_many():
            where, kind, cause = map(printable, facts)
            fields = {"recipient": where, "message": kind, "why": cause}
            self._put(key, "info", "dead letter", fields, window=_LONG)

    def _too_many(self) -> bool:
        """Whether there have been enough lines about dead letters; this one is counted then."""
        if self.ref is None or self.runtime is None:
            return False
        storm = self.recent.get(_STORM)
        if storm is None or self.runtime.env.now() >= storm.until:
            # The first, or the timer is late.
            if storm is not None:
                summarise(self.runtime, storm)
            until = self.runtime.env.now() + _LONG
            storm = self.recent[_STORM] = Storm("info", "dead letters not logged", {}, (), until)
        assert isinstance(storm, Storm)
        if storm.written < _FEW:
            storm.written += 1
            return False
        storm.suppressed += 1
        return True

    def _report(self, level: str, event: str, fields: dict[str, Any]) -> None:
        key = (event, *map(str, fields.values()))
        if not self._suppressed(key):
            self._put(key, level, event, fields)

    def _suppressed(self, key: Key) -> bool:
        """Whether a line like that has been written just now; this one is counted then."""
        line = self.recent.get(key)
        if line is None:
            return False
        assert self.runtime is not None  # since when there are lines
        if self.runtime.env.now() < line.until:
            line.suppressed += 1
            return True
        # Its window has closed, and the timer is late.
        summarise(self.runtime, line)
        return False

    def _put(
        self,
        key: Key,
        level: str,
        event: str,
        fields: dict[str, Any],
        *,
        frames: tuple[Frame, ...] = (),
        window: float = 1.0,
    ) -> None:
        if self.ref is None or self.runtime is None:
            return
        line = self.recent[key] = Line(level, event, fields, frames, self.runtime.env.now() + window)
        if not self.ref.tell_quietly(line):
            del self.recent[key]
            _write(self.runtime, line)  # the reporter has ended


def summarise(runtime: Runtime, line: Line) -> None:
    """Write how many lines have been like *line* since, if any."""
    if line.suppressed:
        _write(runtime, line.summary())


def _write(runtime: Runtime, line: Line) -> None:
    shown = {name: value for name, value in line.fields.items() if value is not None}
    if line.frames:
        shown["exception"] = "\n".join(render(frame) for frame in line.frames)
    runtime.write_log(line.level, line.event, shown)


def render(frame: Frame) -> str:
    """A frame with its line of source, as in a traceback."""
    file, number, where = frame
    source = _source(file, number)
    return f'  File "{file}", line {number}, in {where}' + (f"\n    {source}" if source else "")


def facts_of(report: LoopBlocked) -> dict[str, Any]:
    """What a line of the log says of it; what comes from outside the runtime cannot break the line."""
    facts = {
        "actor": report.actor,
        "doing": report.doing,
        "handling": report.message_type,
        "task": report.task,
        "at": f"{report.file}:{report.line} in {report.function}",
        "source": _source(report.file, report.line) or None,
    }
    shown: dict[str, Any] = {name: printable(fact) for name, fact in facts.items() if fact is not None}
    return {**shown, "seconds": round(report.seconds, 3)}


def _source(file: str, number: int) -> str:
    return linecache.getline(file, number).strip()


def printable(text: str) -> str:
    """*text* for a log: control characters escaped, so that none of them moves a terminal."""
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)
