"""The session of an agent with an MCP server: it calls a tool only as the one that was approved."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from functools import cached_property
from typing import cast

from understudy.actors._handler import handler
from understudy.actors._runtime import runtime_of
from understudy.agents._pause import pause
from understudy.exceptions import Refused, UnderstudyError
from understudy.transports._mcp_errors import MCPCallTimeout, MCPInvalidResult, MCPRefused
from understudy.transports._mcp_frames import printable
from understudy.transports._mcp_session import CallTool, CallToolProgress, ListTools, MCPSession
from understudy.transports._mcp_values import ToolInfo, ToolProgress, ToolResult, description_hash

__all__ = ["AgentSession", "KnownTool", "PinnedCall", "PinnedCallProgress", "ToolChanged"]

_FRESH = 60.0
"""Seconds for which a list of tools is taken to be what the server offers, unless it says that it is another."""
_SELDOM = 1.0
"""Seconds between two lists that are read because the server says so: it may say it without end."""
_NO_SUCH_METHOD = -32601


class PinnedCall(CallTool):
    """Call a tool if its description has the hash *pin*."""

    pin: str


class PinnedCallProgress(CallToolProgress):
    """Likewise, and follow it."""

    pin: str


class ToolChanged(Refused):
    """The tool is not the one that was meant, and was not called; ``tool`` is what it is now, None if it is gone."""

    def __init__(self, tool: ToolInfo | None) -> None:
        super().__init__("the tool is another by now")
        self.tool = tool


class KnownTool:
    """A tool that a server has listed, and the hash of what it says of it, which is made once."""

    def __init__(self, tool: ToolInfo) -> None:
        self.tool = tool

    @cached_property
    def hash(self) -> str:
        """That of :func:`description_hash`."""
        return description_hash(self.tool)


class AgentSession(MCPSession):
    """A session that knows the tools of its server from the beginning on, and compares before it calls.

    The list belongs to this very session: what an agent knows may be from the one before, in which the server was
    another process, of another version. So it is here, in one step with the call, that they are compared.
    """

    async def initialize(self) -> None:
        """Open the session, and see what there is.

        Raises:
            MCPConnectionFailed: There is no session.
            MCPRefused: The server does not list its tools.
        """
        await super().initialize()
        # How often the server has said that its list is another: what was asked for before that counts no more.
        self._news = 0
        await self._look(self.server.call_timeout)
        self.context.start_task(self._link.follow_tools(self._read_again), name="tools")

    async def _read_again(self) -> None:
        self._news += 1
        self._seen_at = -math.inf  # whoever asks meanwhile, or if this fails, has it read too
        try:
            await self._look(self.server.call_timeout)
        except UnderstudyError as error:
            self.log.debug("tools not listed", server=self.server.name, why=printable(str(error)))
        await pause(_SELDOM)

    @handler(cancellable=True, reentrant=True)
    async def list_tools(self, message: ListTools) -> tuple[ToolInfo, ...]:
        """What the server offers, not older than a minute, nor than its word that this is another now."""
        while self._now() - self._seen_at > _FRESH:
            await self._look(self._seconds)
        return tuple(known.tool for known in self._tools.values())

    @handler(cancellable=True, reentrant=True)
    async def call_tool(self, message: CallTool) -> ToolResult:
        """See the message."""
        if isinstance(message, PinnedCall):
            self._compare(message.name, message.pin)
        return await super().call_tool(message)

    @handler(reentrant=True)
    async def call_tool_progress(self, message: CallToolProgress) -> AsyncIterator[ToolProgress | ToolResult]:
        """See the message."""
        if isinstance(message, PinnedCallProgress):
            self._compare(message.name, message.pin)
        parts = cast("AsyncGenerator[ToolProgress | ToolResult]", super().call_tool_progress(message))
        async with aclosing(parts):  # here and now, in this task: with it the call ends
            async for part in parts:
                yield part

    async def _look(self, seconds: float) -> None:
        """Read the list; to no effect, if the server says meanwhile that it is another."""
        news = self._news
        try:
            listed = await self._link.tools(seconds)
        except (MCPCallTimeout, MCPInvalidResult):
            raise
        except MCPRefused as error:
            if error.code != _NO_SUCH_METHOD:
                raise
            listed = ()  # a server of resources only
        if news != self._news:
            return
        # Of two with one name the first counts, here and for whoever approves.
        self._tools: dict[str, KnownTool] = {}
        for tool in listed:
            self._tools.setdefault(tool.name, KnownTool(tool))
        self._seen_at = self._now()

    def _compare(self, name: str, pin: str) -> None:
        known = self._tools.get(name)
        if known is None or known.hash != pin:
            raise ToolChanged(None if known is None else known.tool)

    def _now(self) -> float:
        return runtime_of(self.context.system).env.now()
