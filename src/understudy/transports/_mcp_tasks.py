"""Tasks that hold something open for an actor: how they begin, and what a cancel means to them.

The runtime cancels a task of an actor once when the actor is to end, and again only when its grace is over, or when it
is killed. So the first cancel is the wish to close in order, and the next interrupts that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from understudy.transports._mcp_errors import root_of

__all__ = ["uncancel", "until_up"]


def uncancel() -> None:
    """The cancel of this task has been understood: what is left to do is not to be taken for cancelled."""
    task = asyncio.current_task()
    assert task is not None
    task.uncancel()


async def until_up(serving: Coroutine[Any, Any, None], up: asyncio.Future[Any]) -> None:
    """Await *serving*; an error that comes before it is *up* belongs to whoever waits for that."""
    try:
        await serving
    except Exception as error:
        cause = root_of(error)
        if up.done():
            raise cause from None
        up.set_exception(cause)
