"""A server of files that needs no SDK: the test says what it offers, how long it takes, and when it is lost."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from tests.cast import Gate
from understudy.transports.mcp import MCPConnectionLost, MCPRefused, TextContent, ToolInfo, ToolProgress, ToolResult


def info(name: str, description: str = "", **more: Any) -> ToolInfo:
    """A tool that takes a path."""
    schema: Any = {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]}
    return ToolInfo(**{"server": "files", "name": name, "description": description, "input_schema": schema} | more)


READ = info("read_file", "The text of a file.")
WRITE = info("write_file", "Write a file.", annotations={"destructiveHint": True})


@dataclass(eq=False)
class Files:
    """The server: what a session is given as its address."""

    tools: list[ToolInfo] = field(default_factory=lambda: [READ, WRITE])
    texts: dict[str, str] = field(default_factory=lambda: {"a": "alpha", "b": "beta"})
    name: str = "files"
    call_timeout: float = 300.0
    gate: Gate | None = None
    """Held by each call that has begun."""
    listing: Gate | None = None
    """Held by each look at the tools."""
    refusal: MCPRefused | None = None
    """What looks at the tools are answered with."""
    news: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the server says that its tools are others."""
    listed: int = 0
    """How often they were looked at."""
    down: bool = False
    """Nobody can connect."""
    structured: Any = None
    """What answers have besides their text."""
    links: list[Link] = field(default_factory=list["Link"])
    called: list[tuple[str, dict[str, Any]]] = field(default_factory=list[tuple[str, dict[str, Any]]])
    cancelled: int = 0

    @contextlib.asynccontextmanager
    async def connect(self, log: Any) -> AsyncGenerator[Link, None]:
        if self.down:
            raise ConnectionError("nobody there")
        link = Link(self, asyncio.get_running_loop().create_future())
        self.links.append(link)
        yield link

    def lose(self) -> None:
        """The connection that stands is lost."""
        self.links[-1].lost.set_result("the server was killed")


@dataclass(eq=False)
class Link:
    """A connection with it."""

    files: Files
    lost: asyncio.Future[str]

    async def _unless_lost(self, gate: Gate | None) -> None:
        if gate is None:
            return
        held: asyncio.Future[Any] = asyncio.ensure_future(gate.hold())
        either: set[asyncio.Future[Any]] = {held, self.lost}
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            self.files.cancelled += 1
            raise
        finally:
            held.cancel()
        if self.lost.done():
            raise MCPConnectionLost(server="files", problem=self.lost.result())

    async def follow_tools(self, changed: Callable[[], Awaitable[None]]) -> None:
        while True:
            await self.files.news.wait()
            self.files.news.clear()
            await changed()

    async def tools(self, seconds: float) -> tuple[ToolInfo, ...]:
        self.files.listed += 1
        listed = tuple(self.files.tools)  # as they are when it is asked
        await self._unless_lost(self.files.listing)
        if self.files.refusal is not None:
            raise self.files.refusal
        return listed

    async def call(self, tool: str, arguments: dict[str, Any], seconds: float, on_progress: Any) -> ToolResult:
        files = self.files
        files.called.append((tool, arguments))
        if on_progress is not None:
            on_progress(ToolProgress(progress=1.0))
        await self._unless_lost(files.gate)
        if tool not in [each.name for each in files.tools]:
            raise MCPRefused(server="files", request=tool, code=-32602, problem="no such tool")
        path = arguments.get("path")
        if path not in files.texts:
            content = (TextContent(text=f"there is no file {path!r}"),)
            return ToolResult(server="files", tool=tool, content=content, is_error=True)
        content = (TextContent(text=files.texts[path]),)
        return ToolResult(server="files", tool=tool, content=content, structured=files.structured)
