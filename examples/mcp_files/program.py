"""The tree: a session with the server, and a guest who uses it.

mcp_files       restarts the session, and with it the server, when either dies
    session     an MCP session; its server is a process of its own, which it starts and ends
    guest       reads files, and kills the server
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import tenacity

from understudy import ChildSpec, Supervisor, child
from understudy.transports.mcp import MCPSession, StdioServer

from .guest import Guest

__all__ = ["McpFiles", "program"]

HERE = Path(__file__).parent


def server() -> StdioServer:
    """The server in this Python, with the packages of this one."""
    return StdioServer(
        sys.executable,
        ("-m", "examples.mcp_files.server", str(HERE / "texts")),
        name="files",
        cwd=HERE.parents[1],
        env={"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )


class McpFiles(Supervisor):
    """See the module."""

    def children(self) -> list[ChildSpec]:
        pause = tenacity.wait_fixed(0.1)
        return [
            child(MCPSession, server()).options(name="session", backoff=pause, start_timeout=60.0),
            child(Guest).options(restart="temporary"),
        ]


program = McpFiles
