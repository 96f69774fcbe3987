"""Waiting on the clock of the event loop, which may be virtual."""

from __future__ import annotations

import asyncio

__all__ = ["pause"]


async def pause(seconds: float) -> None:
    """Return after *seconds*."""
    loop = asyncio.get_running_loop()
    over: asyncio.Future[None] = loop.create_future()
    timer = loop.call_later(seconds, lambda: None if over.done() else over.set_result(None))
    try:
        await over
    finally:
        timer.cancel()
