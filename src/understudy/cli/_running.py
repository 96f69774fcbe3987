"""A declared tree, from its start to the exit code."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import structlog

from understudy.cli._progress import facts, progress_on
from understudy.exceptions import InvalidSpec, StartError, SystemCollapsed
from understudy.runner import run
from understudy.system import ActorSystem

if TYPE_CHECKING:
    from understudy._plans._spec import ChildSpec
    from understudy.cli._progress import Progress

__all__ = ["run_tree"]


def run_tree(spec: ChildSpec[Any], progress: Progress) -> int:
    """Start the tree, wait for its end, and return the exit code."""
    raise NotImplementedError
