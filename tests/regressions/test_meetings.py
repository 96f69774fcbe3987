"""What went wrong with meetings in an earlier design, and must not again.

| then | the test here |
|---|---|
| E5 | test_not_all_have_joined_when_one_who_is_required_has_refused, |
| | test_an_optional_attendee_who_is_silent_does_not_time_the_meeting_out, |
| | test_who_has_gone_is_no_member_any_more |
"""

from __future__ import annotations

import asyncio

import pytest

from tests.cast import Gate, settle
from understudy import ActorSystem, child, handler
from understudy.agents import (
    Adjourn,
    AIAgent,
    AsyncAgent,
    Attendee,
    AwaitEnd,
    ByRequest,
    GetMeeting,
    Invitation,
    Leave,
    Meeting,
    MeetingRules,
    Prompt,
    RoundRobin,
    Rsvp,
    Said,
    Say,
    ScriptedModel,
)


class Guest(AsyncAgent[Invitation | Prompt | Say]):
    """Answers the invitation as it was told to: yes, no, or nothing until the gate is opened."""

    def __init__(self, answer: bool | Gate) -> None:
        self.answer = answer
        self.heard: list[str] = []

    @handler
    async def invited(self, message: Invitation) -> Rsvp:
        if isinstance(self.answer, Gate):
            await self.answer.hold()
        return Rsvp(coming=self.answer is not False)

    @handler
    def speak(self, message: Prompt) -> Said:
        return Said(text="hello", speaker=self.id)

    @handler
    def hear(self, message: Say) -> None:
        self.heard.append(message.text)


@pytest.mark.asyncio
async def test_not_all_have_joined_when_one_who_is_required_has_refused() -> None:
    """All required attendees had joined, it was said when one of them had refused, and the meeting began without it."""
    model = ScriptedModel()
    async with ActorSystem() as system:
        host = await system.spawn(child(AIAgent, model).options(name="host"))
        guest = await system.spawn(child(Guest, False).options(name="guest"))
        meeting = await system.spawn(Meeting, [host, guest])
        ended = await meeting.ask(AwaitEnd())
    assert (ended.outcome, ended.absent) == ("not_held", {"guest": "has declined"})
    assert "began" not in [minute.kind for minute in ended.minutes]
    assert not model.requests, "nobody was asked to speak"


@pytest.mark.asyncio
async def test_an_optional_attendee_who_is_silent_does_not_time_the_meeting_out() -> None:
    """A meeting waited for all whom it had invited, and was given up when one whom it did not need said nothing."""
    gate, loop = Gate(), asyncio.get_running_loop()
    async with ActorSystem() as system:
        host = await system.spawn(child(Guest, True).options(name="host"))
        silent = await system.spawn(child(Guest, gate).options(name="silent"))
        attendees = [host, Attendee(silent, required=False)]
        began = loop.time()
        meeting = await system.spawn(Meeting, attendees, turns=RoundRobin(1), rules=MeetingRules(invite_seconds=20.0))
        ended = await meeting.ask(AwaitEnd())
        assert loop.time() - began < 1, "it was held up"
        gate.open()
    assert (ended.outcome, [minute.text for minute in ended.minutes if minute.kind == "said"]) == ("held", ["hello"])
    assert ended.absent == {"silent": "has not answered yet"}


@pytest.mark.asyncio
async def test_who_has_gone_is_no_member_any_more() -> None:
    """Nobody was ever removed: who had left or ended was still told everything, and waited for."""
    async with ActorSystem() as system:
        refs = [
            await system.spawn(child(Guest, True).options(name=name)) for name in ("host", "leaves", "ends", "fails")
        ]
        attendees = [refs[0], *(Attendee(ref, required=False) for ref in refs[1:])]
        meeting = await system.spawn(Meeting, attendees, turns=ByRequest())
        await settle()
        await meeting.ask(Leave(member="leaves"))
        refs[2].stop()
        for _ in range(4):  # more often than its supervisor allows
            refs[3].kill()
            await settle()
        view = await meeting.ask(GetMeeting())
        assert view.members == ("host",)
        assert set(view.absent) == {"leaves", "ends", "fails"}
        heard = len(refs[1].debug.get_state().state["heard"])
        await meeting.ask(Adjourn())
        await settle()
        assert len(refs[1].debug.get_state().state["heard"]) == heard
