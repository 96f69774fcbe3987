"""How an agent tells its program to end."""

from __future__ import annotations

from typing import Any

from understudy.agents._directory import Place
from understudy.messages import Message

__all__ = ["PROGRAM", "EndProgram"]

PROGRAM = Place("program")
"""The root of the agents of a runtime or program, in ``system.registry``."""


class EndProgram(Message):
    """To the root of a program: end in order, with this result."""

    by: str
    """The path of who says so."""
    result: Any = None
