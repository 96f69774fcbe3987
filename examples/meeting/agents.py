"""The members: four with a model, of which two change the shared state by a tool, and one without, who is busy."""

from __future__ import annotations

from understudy import handler
from understudy.agents import (
    AIAgent,
    AsyncAgent,
    ChangeState,
    Invitation,
    Join,
    Meeting,
    MeetingNews,
    Prompt,
    Rsvp,
    Said,
    Say,
    YourTurn,
    agent_tool,
    tool,
)

__all__ = ["Expert", "Gardener", "Neighbour"]


class Expert(AIAgent):
    """A member that may change the plan."""

    instructions = "You are in a meeting. Be brief, and decide by changing the plan."

    @tool
    async def place_hives(self, hives: int) -> int:
        """Set the number of hives in the plan."""
        return await self._change(hives=hives)

    @tool
    async def choose_place(self, place: str) -> int:
        """Set the place in the plan."""
        return await self._change(place=place)

    async def _change(self, **changes: object) -> int:
        return await self.agents.get("council", Meeting).ask(ChangeState(changes=changes))


class Gardener(Expert):
    """Knows who has to be asked."""

    tools = (agent_tool("meeting/neighbour", name="call_the_neighbour", description="Lives next to the orchard."),)


class Neighbour(AsyncAgent[Invitation | Prompt | YourTurn | MeetingNews | Say]):
    """Has no time, and comes when it is called; it has no model, and knows what a meeting is."""

    def initialize(self) -> None:
        self.heard: list[int] = []

    @handler
    def decline(self, message: Invitation) -> Rsvp:
        return Rsvp(coming=False, comment="call me if it is about my fence")

    @handler
    async def come(self, message: Prompt) -> Said:
        view = await self.agents.get("council", Meeting).ask(Join())
        return Said(text=f"I am coming, you are {len(view.members)} then.", speaker=self.id)

    @handler
    def listen(self, message: MeetingNews) -> None:
        self.heard += [minute.number for minute in message.minutes]

    @handler
    def speak(self, message: YourTurn) -> Said:
        complete = self.heard == list(range(1, len(self.heard) + 1))
        known = f"I have heard all {len(self.heard)} minutes" if complete else "I have missed something"
        return Said(text=f"{known}, and {message.state.place} is fine.", speaker=self.id)

    @handler
    def hear(self, message: Say) -> None: ...
