"""The clerk, who has a model and the server's tools; and the visitor, who asks him, and kills the server."""

from __future__ import annotations

import os
import signal
from typing import Never

from understudy import handler
from understudy.agents import (
    AIAgent,
    AsyncAgent,
    Converse,
    MCPAgent,
    MCPTool,
    Prompt,
    ScriptedModel,
    TextDelta,
    ToolEnded,
    ToolStarted,
    TurnEnded,
    UseTool,
    mcp_tools,
)

__all__ = ["Clerk", "ListFiles", "Visitor", "Whoami", "script"]


PATIENCE = 60.0
"""Seconds that a part of an answer may take, also while a server is only being started."""


class ListFiles(MCPTool[list[str]]):
    """The tool ``list_files``; that it fits is checked when the server has come up."""


class Whoami(MCPTool[int]):
    """The tool ``whoami``."""


class Clerk(AIAgent):
    """Reads files, as often as it takes."""

    instructions = "Answer from the files. If a call was interrupted, and does no harm, make it again."
    tools = (mcp_tools("files", only=("list_files", "read_file")),)


def script() -> ScriptedModel:
    """What the model of the clerk says; a language model would find these words by itself."""
    return ScriptedModel(
        [
            UseTool("list_files"),
            [UseTool("read_file", name="harbour.txt"), UseTool("read_file", name="../server.py")],
            "The harbour begins: The tide comes in. The other one I may not read.",
            UseTool("read_file", name="road.txt"),
            ["It was interrupted, and reading does no harm: once more. ", UseTool("read_file", name="road.txt")],
            "The road ends: Then straight on.",
        ]
    )


class Begin:
    """The visitor's message to himself."""


class Visitor(AsyncAgent[Never]):
    """Asks, and makes trouble."""

    def initialize(self) -> None:
        self.context.tell_self(Begin())

    @handler
    async def _visit(self, message: Begin) -> None:
        files = self.agents.get("files", MCPAgent)
        clerk = self.agents.get("mcp_agent/clerk", Clerk)
        print("files:", ", ".join(await files.ask(ListFiles())))
        print("clerk:", (await clerk.ask(Prompt(text="How do harbour.txt and ../server.py begin?"))).text)

        first = await files.ask(Whoami())
        os.kill(first, signal.SIGSTOP)  # from here on it answers nobody
        text = ""
        async for part in clerk.stream(Converse(text="And how does road.txt end?"), timeout=PATIENCE):
            match part:
                case ToolStarted():
                    print("      ", part.tool, "...")
                    if first:
                        os.kill(first, signal.SIGKILL)
                        print("       the server is killed")
                        first = 0
                case ToolEnded():
                    print("      ", part.tool, part.status)
                case TextDelta():
                    text += part.text
                case TurnEnded():
                    print("clerk:", text)
        self.end_program("read")
