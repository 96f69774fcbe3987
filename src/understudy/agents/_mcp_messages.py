"""What an agent with an MCP server is asked: its tools as messages, and what it knows of them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict
from typing_extensions import TypeVar

from understudy._plans._spec import snake_case
from understudy.agents._approving import Decision
from understudy.messages import Message
from understudy.transports._mcp_values import ToolInfo, ToolResult

__all__ = ["AnyMCPTool", "ApproveTool", "ListOffers", "MCPTool", "OfferState", "ToolOffer"]

R = TypeVar("R", default=ToolResult)

OfferState: TypeAlias = Literal["approved", "changed", "new"]


class MCPTool(Message[R], Generic[R]):
    """A tool of an MCP server as a message: its fields are the arguments, *R* is what the tool answers.

    ::

        class ReadFile(MCPTool[str], tool="read_file"):
            path: str

        text = await files.ask(ReadFile(path="notes.txt"))      # a str, for the type checker too

    Without ``tool=`` the name is that of the class, as ``read_file`` of ``ReadFile``. A field whose name cannot be that
    of the argument says it by ``Field(alias=...)``. One that was not given, and is None then, is left out.

    The answer is made of what the tool has answered by pydantic: of its structured content, if it has any, and of its
    text otherwise. A ``str`` is its text, None drops it, and a ``ToolResult``, which it is by default, is all of it,
    also when the tool has failed. Other types raise :class:`MCPToolFailed` then.
    """

    reply_within: ClassVar[float | None] = 60.0
    """Tools take their time."""
    mcp_tool: ClassVar[str] = ""
    """The name of the tool at the server."""

    def __init_subclass__(cls, *, tool: str = "", **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if tool or "mcp_tool" not in vars(cls):
            cls.mcp_tool = tool or snake_case(cls.__name__)

    @classmethod
    def __pydantic_init_subclass__(cls, *, tool: str = "", **kwargs: Any) -> None:
        # pydantic hands the keywords of a class to both of these.
        super().__pydantic_init_subclass__(**kwargs)


if TYPE_CHECKING:
    AnyMCPTool: TypeAlias = MCPTool[Any]
else:
    # At run time a message class must be a class; to the checkers it is the one with any reply.
    AnyMCPTool = MCPTool


class ToolOffer(BaseModel):
    """A tool that a server offers, and what has been decided about it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tool: ToolInfo
    """As the server describes it now: not to be shown to a model unless it is approved."""
    state: OfferState
    """``"approved"``; ``"changed"``: it is not what was approved; ``"new"``: nobody has seen it yet."""
    approved: ToolInfo | None = None
    """As it was approved. None: it never was, or only the hash of that is known."""


class ListOffers(Message[tuple[ToolOffer, ...]]):
    """To an :class:`MCPAgent`: all tools that the server is known to offer. Answered also while there is no session."""


class ApproveTool(Message[Decision]):
    """To an :class:`MCPAgent`: have a human decide about a tool as it is now, if that is needed."""

    reply_within: ClassVar[float | None] = math.inf
    """As long as whoever asks may wait."""

    name: str
    """The name of the tool at the server."""
