"""Where messages wait until the node of their actor takes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from understudy.actors._asks import Letter
from understudy.mailbox._queue import AsyncMessageQueue

if TYPE_CHECKING:
    from understudy.instrument import Instruments

__all__ = ["TracedOutbox"]


class TracedOutbox(AsyncMessageQueue[Any]):
    """Notes with each message the trace context of who sends it, at the moment in which he does."""

    def __init__(self, capacity: int, instruments: Instruments) -> None:
        self._instruments = instruments
        super().__init__(capacity)

    def append_limit(self) -> int:
        """None: all has to pass here."""
        return 0

    def offer(self, item: Any) -> bool:
        """Put *item* at the end if there is room."""
        return super().offer(self._traced(item))

    async def put(self, item: Any, *, timeout: float | None = None) -> bool:
        """Put *item* at the end when there is room."""
        return await super().put(self._traced(item), timeout=timeout)

    def _traced(self, item: Any) -> Any:
        trace = self._instruments.trace_context()
        if trace is None:
            return item
        letter = item if isinstance(item, Letter) else Letter(item, None)
        letter.trace = trace
        return letter
