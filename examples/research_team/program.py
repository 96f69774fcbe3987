"""The program: who there is, who is restarted with whom, and what they may spend together.

research_team
    researchers         a group with its own limit of restarts
        bees
        spiders         crashes the first time, and is asked again
    critic
    chief               asks the researchers
    editor              gives the task, and ends the program
"""

from __future__ import annotations

from understudy import ChildSpec, child
from understudy.agents import AsyncProgram, Budget, agent_group

from .agents import Chief, Critic, Editor, Researcher
from .scripts import chief, critic, researcher

__all__ = ["ResearchTeam", "program"]


class ResearchTeam(AsyncProgram):
    """See the module."""

    execute_timeout = 60.0

    def __init__(self) -> None:
        self.budget = Budget(tokens=2_000, calls=50, name="team")

    def agents(self) -> list[ChildSpec]:
        return [
            agent_group(
                "researchers",
                child(Researcher, researcher("bees")).options(name="bees"),
                child(Researcher, researcher("spiders", crashes=True)).options(name="spiders"),
                max_restarts=5,
            ),
            child(Critic, critic()),
            child(Chief, chief()),
            child(Editor).options(depends_on=("chief", "critic", "researchers")),
        ]

    async def clean_up(self) -> None:
        spent = self.budget.spent if self.budget is not None else None
        if spent is not None:
            print(f"spent: {spent.calls:g} calls, {spent.tokens:g} tokens")


program = ResearchTeam
