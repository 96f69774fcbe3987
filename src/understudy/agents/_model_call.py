"""One call of a model: its parts as they come, and what it costs."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from understudy.agents._budget import Amount
from understudy.agents._errors import ModelUnavailable
from understudy.agents._model import ModelUsage
from understudy.mailbox._queue import AsyncMessageQueue

if TYPE_CHECKING:
    from understudy.agents._model import Model, ModelEvent, ModelRequest

__all__ = ["ModelCall", "affordable"]

_BUFFER = 16
"""Parts that may have been given and not been taken."""


class ModelCall:
    """One call of a model: its parts, as they come, and what it has taken."""

    def __init__(self, model: Model, request: ModelRequest) -> None:
        self.events: AsyncMessageQueue[ModelEvent] = AsyncMessageQueue(_BUFFER)
        self._model = model
        self._request = request
        self._usage: ModelUsage | None = None
        self._began = False
        self._refused = False
        self._answered = False

    async def run(self) -> None:
        """Put the parts into the queue, and close it at the end."""
        self._began = True
        try:
            parts: Any = self._model.respond(self._request)
            try:
                async for event in parts:
                    self._answered = True
                    if isinstance(event, ModelUsage):
                        self._usage = event
                    await self.events.put(event)
            finally:
                if hasattr(parts, "aclose"):
                    await parts.aclose()
        except ModelUnavailable:
            self._refused = True
            raise
        finally:
            self.events.close()

    def used(self, granted: Amount, seconds: float) -> Amount:
        """What is to be paid. Of a call that was interrupted that is all that it might have taken."""
        if not self._began or (self._refused and not self._answered):
            return Amount(calls=1 if self._began else 0, seconds=min(seconds, granted.seconds) if self._began else 0.0)
        if self._usage is None:
            return Amount(granted.tokens, granted.cost, 1, min(seconds, granted.seconds))
        tokens = self._usage.input_tokens + self._usage.output_tokens
        return Amount(tokens, self._model.price(self._usage), 1, min(seconds, granted.seconds))


def affordable(model: Model, inputs: int, most: int, money: float) -> int:
    """The most output tokens up to *most* that *money* pays for; 1 if not even that."""

    def price(number: int) -> float:
        return model.price(ModelUsage(input_tokens=inputs, output_tokens=number))

    if money == math.inf or price(most) <= money:
        return most
    low, high = 1, most
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if price(middle) <= money else (low, middle)
    return low
