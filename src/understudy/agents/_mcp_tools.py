"""``mcp_tools``: the tools of an MCP server, for a model."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from pydantic import BaseModel, ConfigDict

from understudy._plans._spec import check_seconds
from understudy.actors._ref import ActorRef
from understudy.agents._approving import Decision
from understudy.agents._mcp_errors import MCPCallLost, ToolWithheld
from understudy.agents._mcp_messages import ApproveTool, ListOffers
from understudy.agents._mcp_schema import unwrapped
from understudy.agents._model import ToolSchema
from understudy.agents._tools import Tool, ToolDenied, ToolError, ToolInterrupted, fitted
from understudy.exceptions import (
    ActorFailed,
    ActorNotFound,
    ActorStopped,
    InvalidSpec,
    NoReply,
    Refused,
    UnderstudyError,
)
from understudy.transports._mcp_frames import printable
from understudy.transports._mcp_session import CallTool
from understudy.transports._mcp_values import TextContent

if TYPE_CHECKING:
    from understudy.agents._agent import AsyncAgent
    from understudy.agents._mcp_messages import ToolOffer
    from understudy.agents._tools import ToolSource
    from understudy.transports._mcp_values import Content, ToolResult

__all__ = ["mcp_tools"]

_PATIENCE = 2.0
"""Seconds to wait for an agent to say what its server offers; then the model has to do without."""
_LONGEST = 64
_NOT_SHOWN = (
    "What this tool is for is not shown, since nobody has approved of what its server says. Using it asks a human."
)

Dangerous: TypeAlias = "bool | Collection[str] | None"


def mcp_tools(
    agent: str | ActorRef[Any],
    *,
    only: Collection[str] | None = None,
    dangerous: Dangerous = None,
    prefix: str = "",
    timeout: float | None = None,
    cost: float = 0.0,
) -> ToolSource:
    """Let a model use the tools of an :class:`MCPAgent`: ``AIAgent(model, tools=[mcp_tools("files")])``.

    They are looked up before each answer of the model, so they come and go with the server, and with what is approved.
    The model reads of a tool what was approved, and nothing else that a server says; of one that was never approved it
    reads the name only. If it uses a tool that is withheld, a human is asked first. While the agent is not there, or
    does not answer, its tools are left out.

    The result of a call has the source ``mcp <server>: <tool>``: it is data, whatever it says. It is an ``error`` when
    the tool has failed, ``denied`` when it is withheld, and ``interrupted`` when the session was lost: nobody knows
    whether the call was carried out.

    Args:
        agent: Its id, or its ref.
        only: The names of the tools that may be used; None for all that there are.
        dangerous: The names of those that need a human's consent for each call; True for all, False for none. Besides
            those that are named, a tool is dangerous whose server says itself that it destroys things
            (``destructiveHint``); so by default only these are.
        prefix: Put before the names, where several servers have tools of the same name. Characters that a model may not
            have in a name become ``_``.
        timeout: Seconds that a call may take; None: what the agent says that calls.
        cost: What each call costs a budget.

    Raises:
        InvalidSpec: *only* or *dangerous* is a single text, or *timeout* no number of seconds.
    """
    for name, value in (("only", only), ("dangerous", dangerous)):
        if isinstance(value, str):
            problem = f"must be a list of names, got {value!r}"
            raise InvalidSpec(child="mcp_tools", field=name, problem=problem)
    if timeout is not None:
        check_seconds("timeout", timeout, "mcp_tools")
    return _MCPTools(agent, only, dangerous, prefix, timeout, cost)


class _MCPTools:
    """See :func:`mcp_tools`."""

    def __init__(
        self,
        agent: str | ActorRef[Any],
        only: Collection[str] | None,
        dangerous: Dangerous,
        prefix: str,
        timeout: float | None,
        cost: float,
    ) -> None:
        self._agent = agent
        self._only = only
        self._dangerous = dangerous
        self._prefix = prefix
        self.timeout = timeout
        self.cost = cost

    def ref(self, asking: AsyncAgent[Any]) -> ActorRef[Any]:
        """The agent with the server.

        Raises:
            ActorNotFound: It is not there.
        """
        return asking.agents.get(self._agent) if isinstance(self._agent, str) else self._agent

    async def tools(self, agent: AsyncAgent[Any]) -> Sequence[Tool]:
        """See :class:`ToolSource`."""
        try:
            offers: tuple[ToolOffer, ...] = await self.ref(agent).ask(ListOffers(), timeout=_PATIENCE)
        except UnderstudyError as error:
            agent.log.warning("tools not available", agent=str(self._agent), why=printable(str(error)))
            return ()
        return [
            OfferedTool(self, offer, self._name_of(offer), dangerous=self._is_dangerous(offer))
            for offer in offers
            if self._only is None or offer.tool.name in self._only
        ]

    def _name_of(self, offer: ToolOffer) -> str:
        name = re.sub(r"[^A-Za-z0-9_-]", "_", self._prefix + offer.tool.name)
        return (name if name[:1].isalpha() or name[:1] == "_" else f"_{name}")[:_LONGEST]

    def _is_dangerous(self, offer: ToolOffer) -> bool:
        if isinstance(self._dangerous, bool):
            return self._dangerous
        named = self._dangerous is not None and offer.tool.name in self._dangerous
        said = [tool.annotations.get("destructiveHint") for tool in (offer.tool, offer.approved) if tool is not None]
        return named or True in said

    def __repr__(self) -> str:
        return f"<tools of {self._agent}>"


class _Arguments(BaseModel):
    """An object: the server checks what is in it."""

    model_config = ConfigDict(extra="allow")


class OfferedTool(Tool):
    """A tool of a server, as a model may use it.

    Args:
        origin: Where it is from.
        offer: What the server offers.
        name: What the model calls it.
        dangerous: Whether a human has to allow each use.
    """

    def __init__(self, origin: _MCPTools, offer: ToolOffer, name: str, *, dangerous: bool) -> None:
        shown = offer.tool if offer.state == "approved" else offer.approved
        super().__init__(
            self.use,
            _Arguments,
            name=name,
            description=_NOT_SHOWN if shown is None else shown.description,
            dangerous=dangerous,
            timeout=origin.timeout,
            cost=origin.cost,
        )
        # It says where a result is from: a server must not be able to make it say more than that.
        self.source = f"mcp {offer.tool.server}: {printable(offer.tool.name, 128)}"
        self.needs_consent = offer.state != "approved"
        parameters: dict[str, Any] = {"type": "object"} if shown is None else dict(shown.input_schema)
        self.schema = ToolSchema(name=name, description=self.description, parameters=parameters)
        self._origin = origin
        self._tool = offer.tool.name

    async def consent(self, agent: AsyncAgent[Any]) -> Decision:
        """Ask a human about the tool; never raises but for a cancel."""
        try:
            decision: Decision = await self._origin.ref(agent).ask(ApproveTool(name=self._tool))
        except UnderstudyError as error:
            return Decision(status="rejected", comment=f"nobody could be asked: {error}")
        return decision

    async def use(self, agent: AsyncAgent[Any], arguments: BaseModel) -> tuple[Any, str]:
        """Call it."""
        call = CallTool(name=self._tool, arguments=dict(arguments.model_extra or {}))
        try:
            # Whoever uses it bounds it: the seconds that a tool may take are what counts, and no other limit.
            result: ToolResult = await self._origin.ref(agent).ask(call, timeout=math.inf)
        except (MCPCallLost, ActorFailed, ActorStopped, NoReply) as error:
            raise ToolInterrupted(str(error)) from error
        except ToolWithheld as error:
            raise ToolDenied(str(error)) from error
        except (Refused, ActorNotFound) as error:
            raise ToolError(str(error)) from error
        if result.is_error:
            raise ToolError(result.text or "it has failed, and does not say why")
        return fitted(_content_of(result)), self.source


def _content_of(result: ToolResult) -> Any:
    """What a model gets to see: data if there is any, else text, with a word for each part that is none."""
    if result.structured is not None:
        return unwrapped(result.structured)
    return "\n".join(_words_for(part) for part in result.content)


def _words_for(part: Content) -> str:
    if isinstance(part, TextContent):
        return part.text
    mime_type = getattr(part, "mime_type", None)
    return f"[{part.type}{f', {mime_type}' if mime_type else ''}: not shown]"
