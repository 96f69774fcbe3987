"""What an agent with an MCP server answers instead of a result.

    MCPRefused
    +-- MCPCallLost         the connection was lost while the call was under way
    +-- MCPToolFailed       the tool has failed, in its own words; only typed calls say so by an error
    +-- ToolMismatch        the server's tool is not the one that a class of messages describes
    +-- ToolWithheld        nobody has approved of the tool as the server describes it now

Each is a :class:`understudy.Refused`: the agent is as it was, and takes the next message.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from understudy.transports._mcp_errors import MCPRefused

if TYPE_CHECKING:
    from understudy.agents._approving import Decision

__all__ = ["MCPCallLost", "MCPToolFailed", "ToolMismatch", "ToolWithheld", "unknown_tool"]

_UNKNOWN = -32602
_OURS = -32000
"""Codes of the protocol: bad parameters, and what is ours to say."""


class MCPCallLost(MCPRefused):
    """The connection was lost while the call was under way: nobody knows whether it was carried out.

    It is never sent again by itself. ``__cause__`` says what has happened to the session.
    """

    def __init__(self, *, server: str, request: str, problem: str) -> None:
        super().__init__(server=server, request=request, code=_OURS, problem=problem)
        self.args = (
            f"the MCP server {server} was lost during {request}, which may have been carried out or not: {problem}",
        )


class MCPToolFailed(MCPRefused):
    """A tool has failed; ``text`` is what it says: data from outside."""

    def __init__(self, *, server: str, tool: str, text: str) -> None:
        self.tool = tool
        self.text = text
        super().__init__(server=server, request=f"tool {tool!r}", code=_OURS, problem=text)
        self.args = (f"the tool {tool!r} of the MCP server {server} has failed: {text or 'it does not say why'}",)


class ToolMismatch(MCPRefused):
    """A class of messages, and the tool of the server that it is for, do not fit each other; nothing was called.

    ``problems`` has them all, a sentence each.
    """

    def __init__(self, *, server: str, tool: str, message: str, problems: tuple[str, ...]) -> None:
        self.tool = tool
        self.message = message
        self.problems = problems
        told = "; ".join(problems)
        super().__init__(server=server, request=f"tool {tool!r}", code=_OURS, problem=told)
        self.args = (f"{message} does not fit the tool {tool!r} of the MCP server {server}: {told}",)


class ToolWithheld(MCPRefused):
    """The tool was not called, since nobody has approved of what the server now says of it.

    ``changed`` is whether it was approved as it was before; otherwise it is new. ``decision`` is what came of asking.
    """

    def __init__(self, *, server: str, tool: str, changed: bool, decision: Decision) -> None:
        self.tool = tool
        self.changed = changed
        self.decision = decision
        why = "its description has changed since it was approved" if changed else "it is new"
        super().__init__(server=server, request=f"tool {tool!r}", code=_OURS, problem=why)
        self.args = (f"the tool {tool!r} of the MCP server {server} is withheld, as {why}: {decision.in_words}",)


def unknown_tool(server: str, tool: str) -> MCPRefused:
    """The server lists no such tool."""
    return MCPRefused(server=server, request=f"tool {tool!r}", code=_UNKNOWN, problem="it lists no such tool")
