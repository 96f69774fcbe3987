"""Who uses the session: reads what there is, kills the server in the middle of it, and reads on."""

from __future__ import annotations

import os
import signal
from typing import Any, Never

from pydantic import TypeAdapter

from understudy import Actor, ActorFailed, ActorRef, handler
from understudy.transports.mcp import CallTool, ListTools, MCPSession, MCPSessionMessage, ToolResult, description_hash

__all__ = ["Guest"]

PATIENCE = 60.0
"""Seconds that a request waits, also for a server that is only being started."""


LISTING = TypeAdapter(dict[str, list[str]])
"""What the tool that lists files is known to answer; to us it is JSON of somebody else."""


class Begin:
    """The guest's message to itself."""


class Guest(Actor[Never]):
    def initialize(self) -> None:
        self.context.tell_self(Begin())

    @handler
    async def _read(self, message: Begin) -> None:
        session = self.context.system.lookup("mcp_files/session", MCPSession)
        tools = await session.ask(ListTools(), timeout=PATIENCE)
        print("tools:", ", ".join(each.name for each in tools))
        pins = {each.name: description_hash(each) for each in tools}

        print("in the first process")
        names = await self.call(session, "list_files")
        for name in LISTING.validate_python(names.structured)["result"]:
            print("   ", name, "begins:", (await self.call(session, "read_file", name=name)).text.splitlines()[0])
        refused = await self.call(session, "read_file", name="../server.py")
        print("   ", "error:" if refused.is_error else "read:", refused.text)

        first = int((await self.call(session, "whoami")).text)
        os.kill(first, signal.SIGKILL)
        print("it is killed")
        try:
            await self.call(session, "whoami")
        except ActorFailed as error:  # at once: nobody knows what has become of a request that was on its way
            print("    the request in hand fails:", type(error.__cause__).__name__)
        # This one waits in the mailbox for the next incarnation of the session.
        second = int((await self.call(session, "whoami")).text)
        print("in another process:", second != first)
        print("    road.txt ends:", (await self.call(session, "read_file", name="road.txt")).text.splitlines()[-1])
        again = await session.ask(ListTools(), timeout=PATIENCE)
        print("    the same tools:", pins == {each.name: description_hash(each) for each in again})
        self.context.system.stop()

    async def call(self, session: ActorRef[MCPSessionMessage], tool: str, **arguments: Any) -> ToolResult:
        return await session.ask(CallTool(name=tool, arguments=arguments), timeout=PATIENCE)
