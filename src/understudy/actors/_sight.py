"""Whose code it is that the event loop runs: read from its frames, in any thread, while it runs.

Nothing is noted down per message for this. The frames of the runtime between the event loop and the user's code say who
is at work; a task says it by its context. Local variables are read of frames of the runtime only, and never those of
coroutines: up to 3.12, Python keeps what has been read of them for as long as they live.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any, TypeAlias

from understudy.actors._asks import FRAME, message_of
from understudy.actors._bundles import Bundle
from understudy.actors._cell import Cell
from understudy.actors._fan_out import AsyncFanOut, PlainFanOut
from understudy.actors._inbox import Inbox
from understudy.actors._life import Turn
from understudy.actors._mortal import Mortal
from understudy.actors._owned import Owned
from understudy.actors._turns import Turns
from understudy.actors._waiting import Detached
from understudy.environment import context_of_task
from understudy.instrument import LoopBlocked

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import CodeType, FrameType

    from understudy.reasons import Frame

__all__ = ["is_held_by_debugger", "sight_of"]

Work: TypeAlias = tuple[str | None, str, str | None]
"""The path of an actor, what it does, and the type of the message in hand."""

_MANY = 30
"""Frames that are told, at most."""
_DEBUGGERS = frozenset({"_pydevd_bundle", "_pydevd_frame_eval", "bdb", "debugpy", "pydevd"})
_OURS = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "")
_PYTHONS = (os.path.join(os.path.dirname(os.__file__), ""), "<frozen ")
_INSTALLED = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")


def _code(owner: type, name: str) -> CodeType:
    code: CodeType = getattr(owner, name).__code__
    return code


_ACTIVATE = _code(Cell, "activate")
_BOOT = _code(Cell, "_boot")
_SHUTDOWN = _code(Mortal, "_run_shutdown")
_FAN_OUT = _code(PlainFanOut, "activate")
# All have what they handle in the variable `item`.
_AHEAD = _code(Inbox, "answer_ahead")
_HANDLE = (_code(Inbox, "handle"), _code(Inbox, "_run_sync"), _AHEAD, _FAN_OUT)
_OUTERMOST = (_ACTIVATE, _AHEAD, _FAN_OUT)

_INNERMOST = frozenset(
    {_ACTIVATE, _BOOT, _SHUTDOWN, *_HANDLE}
    | {_code(Mortal, "_run_hook"), _code(Inbox, "_pump"), _code(AsyncFanOut, "_lead")}
    | {_code(Turns, "_run"), _code(Owned, "_run")}
)
"""From where the runtime calls the code of an actor: the frames within are its."""


def is_held_by_debugger(frames: Sequence[FrameType]) -> bool:
    """Whether the program stands still because somebody looks at it."""
    return any(str(frame.f_globals.get("__name__")).partition(".")[0] in _DEBUGGERS for frame in frames)


def sight_of(frames: Sequence[FrameType], task: asyncio.Task[Any] | None, seconds: float) -> LoopBlocked:
    """What *frames* show, innermost first and at least one, of a callback that has run for *seconds*.

    *task* is the current one of the event loop. If the loop has gone on meanwhile, it is the sight of no moment.
    """
    depth = next((number for number, frame in enumerate(frames) if frame.f_code in _INNERMOST), len(frames))
    actor, doing, message_type = _in_activation(frames[depth:]) if task is None else _in_task(task)
    within = [_place(frame) for frame in frames[:depth]] or [_place(frames[0])]
    places = [place for place in within if not place[0].startswith(_OURS)] or within
    file, line, function = next((place for place in places if _is_users(place[0])), places[-1])
    return LoopBlocked(
        actor=actor,
        doing=doing,
        message_type=message_type,
        task=None if task is None else task.get_name(),
        file=file,
        line=line,
        function=function,
        frames=_some(places[::-1]),
        seconds=seconds,
    )


def _in_activation(frames: Sequence[FrameType]) -> Work:
    """Outside of any task: a ``def`` handler or hook, if anything of an actor."""
    outer = next((frame for frame in frames if frame.f_code in _OUTERMOST), None)
    if outer is None:
        return None, "callback", None
    cell: Cell | None = outer.f_locals.get("cell" if outer.f_code is _FAN_OUT else "self")
    if cell is None:  # none has had its turn yet
        return None, "callback", None
    inner = frames[0]
    if inner.f_code is _BOOT:
        return cell.path, "constructor" if cell.actor is None else "initialize", None
    if inner.f_code is _SHUTDOWN:
        return cell.path, "shutdown", None
    if inner.f_code in _HANDLE:
        return cell.path, "handler", _type_of(inner.f_locals.get("item"))
    return cell.path, "runtime", None


def _in_task(task: asyncio.Task[Any]) -> Work:
    context = context_of_task(task)
    frame = None if context is None else context.get(FRAME)
    if type(frame) is Detached:
        frame = frame.frame
    cell: Cell | None = frame if frame is None or isinstance(frame, Cell) else frame.cell
    if cell is None:  # nobody's, or of callbacks and between two of them
        kind, _, rest = task.get_name().partition(":")
        return rest.partition(":")[0] if kind == "task" and rest.startswith("/") else None, "task", None
    if type(frame) is Turn and frame.task is task:
        return cell.path, "handler", _type_of(frame.hand)
    job = cell.job
    if job is not None and job.task is task:
        hand = cell.hand
        return (cell.path, "handler", _type_of(hand)) if job.kind == "messages" else (cell.path, job.kind, None)
    return cell.path, "abandoned" if task.get_name() == f"actor:{cell.path}" else "task", None


def _type_of(hand: Any) -> str | None:
    """The name of the type of what is in hand; of many, that of each."""
    if isinstance(hand, Bundle):
        return f"list[{', '.join(dict.fromkeys(type(each).__name__ for each in hand.messages))}]"
    return None if hand is None else type(message_of(hand)).__name__


def _place(frame: FrameType) -> Frame:
    code = frame.f_code
    return code.co_filename, frame.f_lineno or 0, code.co_qualname


def _is_users(file: str) -> bool:
    return not file.startswith((_OURS, *_PYTHONS)) and not any(part in file for part in _INSTALLED)


def _some(places: list[Frame]) -> tuple[Frame, ...]:
    return tuple(places if len(places) <= _MANY else places[: _MANY // 2] + places[-_MANY // 2 :])
