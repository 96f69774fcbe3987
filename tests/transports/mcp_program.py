"""A server over this process's standard input and output: `ours` is a served actor system, `official` the SDK's.

python -m tests.transports.mcp_program ours
"""

from __future__ import annotations

import sys

import understudy
from tests.transports.mcp_cast import official_server, open_desk
from understudy import ActorSystem
from understudy.transports.mcp import MCPStdioService


async def ours() -> None:
    async with ActorSystem() as system:
        tools, gate, *_ = await open_desk(system)
        gate.open()
        service = await system.spawn(MCPStdioService, tools)
        print("this is not for the client")
        await service.wait_stopped()


if __name__ == "__main__":
    if sys.argv[1] == "ours":
        understudy.run(ours())
    else:
        official_server().run("stdio")
