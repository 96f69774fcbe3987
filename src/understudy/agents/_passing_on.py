"""Asking somebody else for whoever has asked."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

from understudy.actors._waiting import detached, longer_than_the_asker

if TYPE_CHECKING:
    from understudy.actors._ref import ActorRef
    from understudy.messages import Asks

__all__ = ["ask_on"]

R = TypeVar("R")


async def ask_on(ref: ActorRef[Any], message: Asks[Any, R]) -> R:
    """Ask *ref*, in a cancellable handler, for as long as the asker of the message in hand waits.

    It is :func:`a little longer <longer_than_the_asker>`. For a message that was told there is no limit but that of
    *ref*.

    Raises:
        UnderstudyError: What ``ask`` of a ref raises.
    """
    seconds = longer_than_the_asker(asyncio.get_running_loop().time())
    with detached():
        return await ref.ask(message, timeout=seconds)
