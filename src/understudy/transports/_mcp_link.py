"""The seam between a session actor and whoever speaks with its server."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from understudy.transports._mcp_values import (
    PromptInfo,
    PromptResult,
    ResourceInfo,
    ResourceResult,
    ToolInfo,
    ToolProgress,
    ToolResult,
)

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

__all__ = ["MCPLink", "MCPServerAddress", "OnProgress"]

OnProgress: TypeAlias = Callable[[ToolProgress], None]
"""Called with each news of a call's progress; must be quick, and must not raise."""


class MCPLink(Protocol):
    """An open connection with an MCP server.

    All methods may be called by several tasks at once. One whose task is cancelled has the request cancelled at the
    server. They raise :class:`MCPRefused` for what concerns the one request, and :class:`MCPConnectionLost` when the
    connection is gone.
    """

    @property
    def lost(self) -> asyncio.Future[str]:
        """Done, with the reason in words, when the connection has ended without anybody having closed it."""
        ...

    async def tools(self, seconds: float) -> tuple[ToolInfo, ...]:
        """All tools."""
        ...

    async def follow_tools(self, changed: Callable[[], Awaitable[None]]) -> None:
        """Call *changed* each time that the server has said that its list of tools is another.

        What it says meanwhile counts as once. It returns when the server will say nothing more, which may be at once.
        """
        ...

    async def call(
        self, tool: str, arguments: dict[str, Any], seconds: float, on_progress: OnProgress | None
    ) -> ToolResult:
        """Call *tool*. *seconds* is how long anybody waits for the answer; the server is told."""
        ...

    async def resources(self, seconds: float) -> tuple[ResourceInfo, ...]:
        """All resources."""
        ...

    async def read(self, uri: str, seconds: float) -> ResourceResult:
        """The contents of a resource."""
        ...

    async def prompts(self, seconds: float) -> tuple[PromptInfo, ...]:
        """All prompts."""
        ...

    async def prompt(self, name: str, arguments: dict[str, str], seconds: float) -> PromptResult:
        """A prompt, filled in."""
        ...

    async def ping(self, seconds: float) -> None:
        """Return when the server has answered."""
        ...


class MCPServerAddress(Protocol):
    """How to reach an MCP server: what an :class:`MCPSession` is given."""

    @property
    def name(self) -> str:
        """What its answers, errors and log lines call it."""
        ...

    @property
    def call_timeout(self) -> float:
        """Seconds that a request may take, whoever waits longer."""
        ...

    def connect(self, log: FilteringBoundLogger) -> AbstractAsyncContextManager[MCPLink]:
        """Open a connection; it is entered and left by the same task. *log* is for what the server has to say."""
        ...
