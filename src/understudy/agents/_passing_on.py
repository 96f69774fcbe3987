"""Asking somebody else for whoever has asked."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Any, TypeVar

from understudy.actors._waiting import Waiting, detached

if TYPE_CHECKING:
    from understudy.actors._ref import ActorRef
    from understudy.messages import Asks

__all__ = ["ask_on"]

R = TypeVar("R")

_LONGER = 0.5
"""Seconds."""


async def ask_on(ref: ActorRef[Any], message: Asks[Any, R]) -> R:
    """Ask *ref*, in a cancellable handler, for as long as the asker of the message in hand waits.

    It is a little longer, so that he gives up first, and the handler is cancelled; were it the very same deadline, this
    one might come first, and an ``AskTimeout`` leave the handler, which is a crash. For a message that was told there
    is no limit but that of *ref*.

    Raises:
        UnderstudyError: What ``ask`` of a ref raises.
    """
    ask = Waiting.now().ask
    if ask is None:
        return await ref.ask(message, timeout=math.inf)
    left = max(ask.deadline - asyncio.get_running_loop().time(), 0.0)
    with detached():
        return await ref.ask(message, timeout=left + _LONGER)
