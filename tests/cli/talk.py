"""Programs of agents for the tests of the command line; each is a target, `talk.py:Name`."""

from __future__ import annotations

from collections.abc import Sequence

from understudy import AskTimeout, ChildSpec, Supervisor, child, handler
from understudy.agents import (
    AIAgent,
    AsyncAgent,
    AsyncProgram,
    HumanAgent,
    ModelRequest,
    NotInteractive,
    Prompt,
    Said,
    ScriptedModel,
    UserTurn,
    UseTool,
    agent_group,
    agent_tool,
    tool,
)


@tool(dangerous=True)
def delete(path: str) -> str:
    """Delete a file."""
    return f"{path} is gone"


def answer(request: ModelRequest) -> object:
    last = request.history[-1]
    if not isinstance(last, UserTurn):
        return f"so it is {getattr(last, 'status', '')}"
    match last.text:
        case "delete it":
            return ["well", UseTool("delete", path="/x")]
        case "ask":
            return UseTool("ask_person", text="really?")
        case "fail":
            return KeyError("a bug")
        case text:
            return f"you said {text}"


class Clerk(AIAgent):
    """Answers."""

    model = ScriptedModel(answer)
    tools = (delete, agent_tool("terminal", name="ask_person", description="Asks a person."))


class Blank(AIAgent):
    """Was given no model."""


class Echo(AsyncAgent[Prompt]):
    @handler
    def answer(self, message: Prompt) -> Said:
        return Said(text=message.text)


class Desk(AsyncProgram):
    front = Clerk

    def agents(self) -> Sequence[ChildSpec]:
        return [agent_group("desk", child(Clerk), child(Echo))]


class Named(Desk):
    front = "echo"


class Unsure(Desk):
    front = None


class Nobody(AsyncProgram):
    def agents(self) -> Sequence[ChildSpec]:
        return [child(HumanAgent)]


class Short(Desk):
    """Ends by itself before anybody has said anything."""

    async def execute(self) -> str:
        return "done"


class Asking(AsyncProgram):
    """Asks a person of its own."""

    def agents(self) -> Sequence[ChildSpec]:
        return [child(HumanAgent, Patient(), id="nina")]

    async def execute(self) -> None:
        try:
            await self.runtime.agents.get("nina", HumanAgent).ask(Prompt(text="x"), timeout=0.1)
        except (AskTimeout, NotInteractive) as error:
            print(error)


class Patient:
    async def run(self, seat: object) -> None:
        import asyncio

        await asyncio.Event().wait()


class Tree(Supervisor):
    def children(self) -> list[ChildSpec]:
        return [child(Echo)]
