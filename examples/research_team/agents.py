"""The agents: researchers with a tool, a critic who gives structured answers, and a chief who has them for tools."""

from __future__ import annotations

from typing import Never

from pydantic import BaseModel

from understudy import Message, handler
from understudy.agents import AIAgent, AsyncAgent, Converse, Structured, TextDelta, ToolEnded, agent_tool, tool

from .scripts import LIBRARY

__all__ = ["Chief", "Critic", "Editor", "Judge", "Researcher", "Verdict"]


class Verdict(BaseModel):
    """What the critic says."""

    good: bool
    why: str


class Judge(Structured[Verdict]):
    """Ask the critic whether a text is good."""


class Researcher(AIAgent):
    """Finds out what is known about a topic."""

    instructions = "Read before you answer, and say nothing that you have not read."

    @tool(timeout=5.0)
    async def read(self, topic: str) -> list[str]:
        """Read what the library has about a topic."""
        return LIBRARY[topic]


class Critic(AIAgent):
    """Judges texts."""

    instructions = "Be strict and be brief."


class Chief(AIAgent):
    """Has others find out, and writes it down."""

    instructions = "Ask the researchers. Do not make anything up."
    tools = (
        agent_tool("research_team/researchers/bees", name="ask_bees", description="Knows bees."),
        agent_tool("research_team/researchers/spiders", name="ask_spiders", description="Knows spiders."),
    )


class Begin(Message): ...


class Editor(AsyncAgent[Never]):
    """Has no model: gives the chief the task, shows what he says and does, and ends the program."""

    def initialize(self) -> None:
        self.context.tell_self(Begin())

    @handler
    async def _begin(self, message: Begin) -> None:
        chief = self.agents.get("research_team/chief", Chief)
        text = ""
        async for part in chief.stream(Converse(text="Compare bees and spiders.", speaker=self.id)):
            match part:
                case TextDelta():
                    text += part.text
                case ToolEnded():
                    print(f"{text:20}{part.tool}: {part.status}")
                    text = ""
                case _:
                    pass
        print(text)
        critic = self.agents.get("research_team/critic", Critic)
        verdict = await critic.ask(Judge(text=f"Is this good? {text}", speaker=self.id))
        print(f"the critic finds it {'good' if verdict.good else 'bad'}: {verdict.why}")
        self.end_program(text)
