"""The clerk: what it can do by itself, and what a person has to allow."""

from __future__ import annotations

import re
from dataclasses import dataclass

from understudy.agents import (
    AIAgent,
    Answer,
    ModelRequest,
    ScriptedModel,
    ToolError,
    ToolResult,
    UseTool,
    agent_tool,
    tool,
)

__all__ = ["Clerk", "Order", "clerk_script", "orders"]


@dataclass
class Order:
    """What somebody has bought."""

    what: str
    euros: float
    refunded: bool = False


def orders() -> dict[int, Order]:
    """Those of today."""
    return {7: Order("two cups", 24.0), 8: Order("a piano", 900.0)}


class Clerk(AIAgent):
    """Answers customers."""

    instructions = "Be short and friendly. Look orders up before you speak of them."
    tools = (agent_tool("supervisor", name="ask_supervisor", description="Asks the supervisor, a person."),)

    def initialize(self) -> None:
        self.orders = orders()

    @tool
    def look_up(self, order: int) -> str:
        """What an order is."""
        found = self._order(order)
        return f"{found.what}, {found.euros:.2f} EUR, {'refunded' if found.refunded else 'delivered'}"

    @tool(dangerous=True)
    def refund(self, order: int, euros: float) -> str:
        """Pay an order back; somebody has to allow it."""
        found = self._order(order)
        if found.refunded or euros > found.euros:
            raise ToolError("that much was not paid")
        found.refunded = True
        return f"{euros:.2f} EUR are on their way"

    def _order(self, number: int) -> Order:
        if number not in self.orders:
            raise ToolError(f"there is no order {number}")
        return self.orders[number]


def clerk_script() -> ScriptedModel:
    """What the model of the clerk says here, where none is connected."""
    return ScriptedModel(_answer, name="clerk")


def _answer(request: ModelRequest) -> Answer:
    last = request.history[-1]
    if isinstance(last, ToolResult):
        return _about(last)
    text = getattr(last, "text", "")
    number = re.search(r"order (\d+)", text)
    if number is None:
        return UseTool("ask_supervisor", text=f"A customer says: {text}")
    order = int(number[1])
    if "refund" not in text:
        return UseTool("look_up", order=order)
    return ["One moment.", UseTool("refund", order=order, euros=orders()[order].euros if order in orders() else 0.0)]


def _about(result: ToolResult) -> str:
    match result.tool, result.status:
        case "look_up", "ok":
            return f"Your order: {result.content}."
        case "refund", "ok":
            return f"Done: {result.content}."
        case "refund", "denied":
            return f"I am sorry, I may not do that ({result.content})."
        case _, "ok":
            return f"The supervisor says: {result.content}"
        case _:
            return f"I am sorry: {result.content}."
