"""Where a task waits, in one line."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any

from understudy.environment import frames_of_task

if TYPE_CHECKING:
    from types import FrameType

__all__ = ["await_chain", "where"]

_OURS = os.path.dirname(os.path.dirname(__file__)) + os.sep
_ASYNCIO = os.path.dirname(asyncio.__file__) + os.sep


def await_chain(task: asyncio.Task[Any]) -> str:
    """The task's name and what it is waiting in, from the outermost coroutine to the innermost."""
    frames = frames_of_task(task)
    chain = " > ".join(_told(frame) for frame in frames)
    return f"{task.get_name()!r} in {chain}" if chain else f"{task.get_name()!r}"


def where(task: asyncio.Task[Any]) -> str:
    """The task's name and the line of the user's own code in which it stands."""
    frames = frames_of_task(task)
    users = [frame for frame in frames if not frame.f_code.co_filename.startswith((_OURS, _ASYNCIO))]
    stands = users[-1:] or frames[:1]
    return f"{task.get_name()!r} goes on" + (f" in {_told(stands[0])}" if stands else "")


def _told(frame: FrameType) -> str:
    code = frame.f_code
    return f"{code.co_qualname} ({os.path.basename(code.co_filename)}:{frame.f_lineno})"
