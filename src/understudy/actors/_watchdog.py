"""The watchdog: a thread that says who blocks the event loop, while it is blocked."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from understudy.actors._reporter import facts_of, render
from understudy.actors._sight import is_held_by_debugger, sight_of
from understudy.actors._vigil import Question, Vigil
from understudy.environment import frames_in_hand
from understudy.instrument import Instrument

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType

    from understudy.actors._runtime import Runtime
    from understudy.instrument import LoopBlocked, LoopLag

__all__ = ["Watchdog"]

_LONGEST = 1.0
"""Seconds between two looks, at most; a process that has forgotten a watchdog ends no later."""


class Watchdog:
    """Looks twice in *limit* seconds at what the event loop does, and reports what has kept it from turning that long.

    A loop that waits is seen to wait and is not woken. One that is at work is asked to call back; as long as it has
    not, it has not turned. Reports are written at once, in the watchdog's thread; instruments are told by the event
    loop when it turns again.
    """

    __slots__ = ("_env", "_over", "_patrol", "_runtime", "_sight", "_told", "_vigil")

    def __init__(self, runtime: Runtime, limit: float, name: str) -> None:
        env = self._env = runtime.env
        self._runtime = runtime
        interval = min(limit / 2, _LONGEST)
        self._vigil = Vigil(limit, interval, env.stopwatch(), env.processor_time())
        # What the loop was seen to do since it was asked, and what has been told of that.
        self._sight: LoopBlocked | None = None
        self._told: LoopBlocked | None = None
        # What has ended and the instruments have not been told of.
        self._over: deque[LoopBlocked] = deque()
        self._patrol = env.patrol(self._look_on, interval, f"understudy-watchdog:{name}")

    def start(self) -> None:
        """Begin to look."""
        self._patrol.start()

    def stop(self, patience: float) -> bool:
        """Look no more, and tell what is to be told; whether the thread has ended within *patience* seconds."""
        if not self._patrol.stop(patience):
            return False
        if self._vigil.question is not None:
            self._vigil.question.answer()  # it is the event loop that calls this, so it turns
            self._settle()
        self._tell()
        return True

    def lag(self) -> LoopLag:
        """How late the loop has been."""
        return self._vigil.lag()

    # In the thread

    def _look_on(self) -> bool:
        try:
            self.look()
        except Exception as error:
            with contextlib.suppress(RuntimeError):  # the event loop has been closed
                self._env.loop.call_soon_threadsafe(self._runtime.complain, "the watchdog has failed", error)
            return False
        return True

    def look(self) -> None:
        """Look once; from any thread but that of the event loop."""
        env, vigil = self._env, self._vigil
        now = env.stopwatch()
        stood_still = vigil.resume(now, env.processor_time())
        self._settle()
        frames = frames_in_hand(env.loop, env.thread)
        if stood_still:
            self._report_standstill(stood_still, frames)
        if vigil.question is None and frames:
            self._ask(now, stood_still)
        if vigil.question is not None:
            self._watch(vigil.question, now, frames)
        else:
            vigil.waiting()

    def _ask(self, now: float, stood_still: float) -> None:
        # A slice of the run queue knows when it has begun, which may be long ago: while code computes that does not let
        # other threads run, nobody looks.
        began = self._runtime.dispatcher.under_way_since()
        question = Question(now if began is None else min(began + stood_still, now), self._env.stopwatch)
        self._vigil.ask(question)
        self._env.loop.call_soon_threadsafe(question.answer)

    def _watch(self, question: Question, now: float, frames: Sequence[FrameType]) -> None:
        """The loop has not turned, as far as is known: see what it does, and report that when it is time."""
        if not frames:
            return
        if is_held_by_debugger(frames):
            question.void = True
            return
        sight = self._see(frames, now - question.asked)
        if question.answered is not None:
            return  # it has turned meanwhile, and what was seen may be anything
        self._sight = sight
        if self._vigil.due(now):
            self._report(sight)

    def _see(self, frames: Sequence[FrameType], seconds: float) -> LoopBlocked:
        return sight_of(frames, asyncio.current_task(self._env.loop), seconds)

    def _settle(self) -> None:
        """If the loop has turned, it may have been blocked until then."""
        seconds = self._vigil.settle()
        if seconds is None:
            return
        # What was told of was at it for long; what was seen last may have come after it, before the loop turned.
        sight = self._told or self._sight
        self._sight = self._told = None
        if sight is not None and self._vigil.is_blocking(seconds):
            self._vigil.blocked += 1
            self._over.append(replace(sight, seconds=seconds))
            self._env.loop.call_soon_threadsafe(self._tell)

    def _report(self, sight: LoopBlocked) -> None:
        told, self._told = self._told, sight
        fields = facts_of(sight)
        if told is None or (told.file, told.line) != (sight.file, sight.line):
            fields["stack"] = "\n".join(render(frame) for frame in sight.frames)
        self._write("warning", "event loop is blocked", fields)

    def _report_standstill(self, seconds: float, frames: Sequence[FrameType]) -> None:
        at = facts_of(self._see(frames, seconds)) if frames else {}
        self._write("info", "process stood still", {**at, "seconds": round(seconds, 3)})

    def _write(self, level: str, event: str, fields: dict[str, Any]) -> None:
        try:
            self._runtime.write_log(level, event, fields)
        except Exception as error:  # of a logger of the program's own
            text = ", ".join(f"{name}={fact}" for name, fact in fields.items())
            with contextlib.suppress(Exception):
                sys.stderr.write(f"understudy: {event}: {text} (the logger raised {type(error).__name__})\n")

    # In the event loop

    def _tell(self) -> None:
        while self._over:
            self._runtime.instruments.emit(Instrument.loop_blocked, self._over.popleft())
