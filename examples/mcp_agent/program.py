"""The program: the agent with the server, the agent with the model, and a visitor.

mcp_agent
    files           an agent with an MCP server, whose process it starts and ends
        session     the session with it; restarted when the server dies
    clerk           an agent with a model, to which the tools of the server are given
    visitor         asks the clerk, and kills the server
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import tenacity

from understudy import ChildSpec, child
from understudy.agents import AsyncProgram, MCPAgent, ToolPins
from understudy.transports.mcp import StdioServer

from .agents import Clerk, ListFiles, Visitor, Whoami, script

__all__ = ["McpAgent", "program"]


EXAMPLES = Path(__file__).parents[1]


def server() -> StdioServer:
    """The server of the example ``mcp_files``, in this Python, with the packages of this one."""
    return StdioServer(
        sys.executable,
        ("-m", "examples.mcp_files.server", str(EXAMPLES / "mcp_files" / "texts")),
        name="files",
        cwd=EXAMPLES.parent,
        env={"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )


class McpAgent(AsyncProgram):
    """See the module."""

    execute_timeout = 60.0

    def agents(self) -> list[ChildSpec]:
        files = child(
            MCPAgent,
            server(),
            id="files",
            tools=[ListFiles, Whoami],
            pins=ToolPins(),
            session={"backoff": tenacity.wait_fixed(0.1), "start_timeout": 60.0},
        )
        return [
            files.options(name="files", start_timeout=60.0),
            child(Clerk, script()),
            child(Visitor).options(depends_on=("files", "clerk")),
        ]


program = McpAgent
