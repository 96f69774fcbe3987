"""The program: who there is, who has to come, and who speaks when.

meeting
    chair           moderates: it says before each turn who speaks
    gardener        required
    beekeeper       required
    treasurer       optional; crashes in its first turn, and its understudy is told all that was said
    neighbour       optional; declines, and comes late
    council         the meeting itself
"""

from __future__ import annotations

from understudy import ChildSpec, child
from understudy.agents import (
    AIAgent,
    AsyncProgram,
    Attendee,
    AwaitEnd,
    Meeting,
    MeetingEnded,
    MeetingRules,
    ModeratorChooses,
)

from .agents import Expert, Gardener, Neighbour
from .plan import Plan
from .scripts import beekeeper, chair, gardener, treasurer

__all__ = ["Council", "program"]


class Council(AsyncProgram):
    """See the module."""

    name = "meeting"
    execute_timeout = 60.0

    def agents(self) -> list[ChildSpec]:
        members: dict[str, ChildSpec] = {
            "chair": child(AIAgent, chair()),
            "gardener": child(Gardener, gardener()),
            "beekeeper": child(Expert, beekeeper()),
            "treasurer": child(Expert, treasurer()),
            "neighbour": child(Neighbour),
        }
        optional = ("treasurer", "neighbour")
        meeting = child(
            Meeting,
            [Attendee(f"meeting/{name}", name=name, required=name not in optional) for name in members],
            topic="bees in the village",
            rules=MeetingRules(quorum=4, invite_seconds=5.0, turn_seconds=10.0, max_turns=20),
            turns=ModeratorChooses("chair"),
            state=Plan(),
            id="council",
        )
        return [
            *(spec.options(name=name) for name, spec in members.items()),
            meeting.options(name="council", depends_on=tuple(members)),
        ]

    async def execute(self) -> MeetingEnded:
        ended = await self.runtime.agents.get("council", Meeting).ask(AwaitEnd())
        for minute in ended.minutes:
            print(f"{minute.number:2}  {minute}")
        print(ended.text)
        print(f"decided: {ended.state}")
        return ended


program = Council
