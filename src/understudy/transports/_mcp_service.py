"""The SDK's server in front of our tools."""

from __future__ import annotations

import math
from typing import Any

import mcp_types
from mcp.server import Server
from mcp.server.context import ServerRequestContext
from mcp.shared.exceptions import MCPError

from understudy.transports._mcp_client import DEADLINE
from understudy.transports._mcp_tools import ExposedTool, OnPart, Tools

__all__ = ["sdk_server"]


def sdk_server(tools: Tools) -> Server[Any]:
    """A server that lists *tools* and calls them; it has nothing else."""

    async def list_tools(
        context: ServerRequestContext[Any], params: mcp_types.PaginatedRequestParams | None
    ) -> mcp_types.ListToolsResult:
        return mcp_types.ListToolsResult(tools=[_described(each) for each in tools.tools.values()])

    async def call_tool(
        context: ServerRequestContext[Any], params: mcp_types.CallToolRequestParams
    ) -> mcp_types.CallToolResult:
        called = tools.tools.get(params.name)
        if called is None:
            raise MCPError(mcp_types.INVALID_PARAMS, f"there is no tool {params.name!r}")
        outcome = await called.call(params.arguments, _seconds(params), _telling(context, called))
        return mcp_types.CallToolResult(
            content=[mcp_types.TextContent(text=outcome.text)] if outcome.text else [],
            structured_content=outcome.structured,
            is_error=outcome.is_error,
        )

    return Server(
        tools.name,
        version=tools.version,
        instructions=tools.instructions,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
    )


def _described(exposed: ExposedTool) -> mcp_types.Tool:
    return mcp_types.Tool(
        name=exposed.name,
        description=exposed.description or None,
        input_schema=exposed.input_schema,
        output_schema=exposed.output_schema,
    )


def _telling(context: ServerRequestContext[Any], called: ExposedTool) -> OnPart | None:
    if not called.streams:
        return None

    async def tell(number: int, text: str) -> None:
        await context.session.report_progress(float(number), message=text)

    return tell


def _seconds(params: mcp_types.CallToolRequestParams) -> float | None:
    """How long the client waits, if it has said so in a way that makes sense."""
    meta: Any = params.meta
    seconds = meta.get(DEADLINE) if meta else None
    if isinstance(seconds, int | float) and not isinstance(seconds, bool) and 0 < seconds < math.inf:
        return float(seconds)
    return None
