"""Meetings: who comes, who speaks, what members are told, and that there is an end."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict

from tests.cast import Gate, Recorder, settle
from understudy import (
    ActorRef,
    ActorStopped,
    ActorSystem,
    Crashed,
    InvalidSpec,
    Killed,
    Mailbox,
    Normal,
    Refused,
    child,
    handler,
    supervisor,
)
from understudy.agents import (
    Adjourn,
    AIAgent,
    AsyncAgent,
    AsyncProgram,
    Attendee,
    AwaitEnd,
    ByRequest,
    ChangeState,
    ChooseSpeaker,
    Contribute,
    GetMeeting,
    Invitation,
    Join,
    Leave,
    Meeting,
    MeetingEnded,
    MeetingNews,
    MeetingRules,
    MeetingView,
    Minute,
    ModeratorChooses,
    NextSpeaker,
    NotInMeeting,
    NotYourTurn,
    Prompt,
    RequestTurn,
    RoundRobin,
    Rsvp,
    Said,
    Say,
    ScriptedModel,
    StaleState,
    Table,
    TurnDecision,
    UserTurn,
    UseTool,
    YourTurn,
    tool,
)


class Draft(BaseModel):
    model_config = ConfigDict(frozen=True)

    title: str = ""
    pages: int = 0


class Plain(AsyncAgent[Prompt | Say]):
    """Takes what every agent takes, and knows nothing of meetings."""

    def __init__(self, log: list[Any] | None = None, gate: Gate | None = None) -> None:
        self.heard: list[Any] = [] if log is None else log
        self.gate = gate
        self.number = 0

    @handler(cancellable=True)
    async def speak(self, message: Prompt) -> Said:
        self.heard.append(message)
        if self.gate is not None:
            await self.gate.hold()
        self.number += 1
        return Said(text=f"{self.id} says {self.number}", speaker=self.id)

    @handler
    def hear(self, message: Say) -> None:
        self.heard.append(message)


class Act(Say):
    """Send the meeting this message, and note what it says."""

    message: Any


class Member(AsyncAgent[Invitation | YourTurn | MeetingNews | MeetingEnded | ChooseSpeaker | Act]):
    """Knows meetings, and does in its turn what a script says."""

    def __init__(self, rsvp: Any = None, turns: list[Any] | None = None, log: list[Any] | None = None) -> None:
        self.rsvp = Rsvp() if rsvp is None else rsvp
        self.turns = [] if turns is None else turns
        self.log_of_all: list[Any] = [] if log is None else log
        self.meeting: ActorRef[Any] | None = None

    @handler
    async def invited(self, message: Invitation) -> Any:
        self.meeting = message.meeting
        self.log_of_all.append(message)
        if isinstance(self.rsvp, Gate):
            await self.rsvp.hold()
            return Rsvp()
        if isinstance(self.rsvp, Exception):
            raise self.rsvp
        return self.rsvp

    @handler(cancellable=True)
    async def speak(self, message: YourTurn) -> Said:
        self.log_of_all.append(message)
        turn = self.turns.pop(0) if self.turns else "nothing new"
        if isinstance(turn, Exception):
            raise turn
        if isinstance(turn, Gate):
            await turn.hold()
            turn = "at last"
        if isinstance(turn, Said):
            return turn
        if not isinstance(turn, str):
            turn = repr(await message.meeting.ask(turn))
        return Said(text=turn, speaker=self.id)

    @handler
    def choose(self, message: ChooseSpeaker) -> NextSpeaker:
        self.log_of_all.append(message)
        return self.turns.pop(0)  # type: ignore[no-any-return]

    @handler
    def news(self, message: MeetingNews) -> None:
        self.log_of_all.append(message)

    @handler
    def ended(self, message: MeetingEnded) -> None:
        self.log_of_all.append(message)

    @handler
    async def act(self, message: Act) -> None:
        assert self.meeting is not None
        try:
            self.log_of_all.append(await self.meeting.ask(message.message))
        except Refused as error:
            self.log_of_all.append(error)


def minutes_in(log: list[Any]) -> list[Minute]:
    return [minute for each in log if isinstance(each, MeetingNews) for minute in each.minutes]


def lines(minutes: list[Minute] | tuple[Minute, ...]) -> list[str]:
    return [str(minute) for minute in minutes]


def ends_in(log: list[Any]) -> list[MeetingEnded]:
    return [each for each in log if isinstance(each, MeetingEnded)]


async def members(system: ActorSystem, *logs: list[Any], **more: Any) -> list[ActorRef[Any]]:
    """A member for each log, known as a, b, c and so on."""
    return [
        await system.spawn(child(Member, log=log, **more).options(name=name))
        for name, log in zip("abcdef", logs, strict=False)
    ]


# Who comes


@pytest.mark.asyncio
async def test_whoever_takes_prompts_and_news_takes_part() -> None:
    models = [ScriptedModel(["Two wings."]), ScriptedModel(["Four."])]
    async with ActorSystem() as system:
        refs = [
            await system.spawn(child(AIAgent, model).options(name=name))
            for name, model in zip(("ann", "bob"), models, strict=True)
        ]
        meeting = await system.spawn(Meeting, refs, topic="bees", turns=RoundRobin(rounds=1))
        ended = await meeting.ask(AwaitEnd())
        assert (ended.outcome, ended.reason) == ("held", "each member has had 1 turn")
        assert lines(ended.minutes) == [
            "ann has joined.",
            "bob has joined.",
            "The meeting begins.",
            "ann: Two wings.",
            "bob: Four.",
        ]
        assert ended.text == "The meeting is over: each member has had 1 turn."
        # What the second has heard when it speaks: who is there, and what the first has said.
        heard = [item for item in models[1].requests[0].history if isinstance(item, UserTurn)]
        assert [(item.speaker, item.text) for item in heard][-2:] == [
            ("ann", "Two wings."),
            ("meeting", "You are bob, in a meeting about bees with ann. It is your turn."),
        ]
        assert await meeting.wait_stopped() == Normal()


@pytest.mark.asyncio
async def test_members_are_told_all_in_order_and_the_end_once() -> None:
    logs: list[list[Any]] = [[], [], []]
    async with ActorSystem() as system:
        refs = await members(system, *logs)
        ended = await (await system.spawn(Meeting, refs, turns=RoundRobin(2))).ask(AwaitEnd())
        await settle()
    assert ended.outcome == "held"
    for log in logs:
        assert minutes_in(log) == list(ended.minutes)
        assert ends_in(log) == [ended]
        assert log[-1] is ended
        assert [each.turn for each in log if isinstance(each, YourTurn)] != []
    assert [minute.number for minute in ended.minutes] == list(range(1, 11))


@pytest.mark.parametrize(
    ("rsvp", "why"),
    [
        (Rsvp(coming=False, comment="no time"), "has declined: no time"),
        (Rsvp(coming=False), "has declined"),
        (Refused("never"), "has declined: never"),
        (ValueError("a bug"), "could not be invited: ValueError: a bug"),
        ("yes", "has answered an invitation with 'yes', and not with an Rsvp"),
    ],
)
@pytest.mark.asyncio
async def test_one_who_is_required_and_does_not_come_ends_it_at_once_and_all_are_told(rsvp: Any, why: str) -> None:
    log: list[Any] = []
    async with ActorSystem() as system:
        (first,) = await members(system, log)
        second = await system.spawn(child(Member, rsvp).options(name="second"))
        meeting = await system.spawn(Meeting, [first, second])
        began = asyncio.get_running_loop().time()
        ended = await meeting.ask(AwaitEnd())
        assert asyncio.get_running_loop().time() == began
        await settle()
    assert (ended.outcome, ended.absent["second"]) == ("not_held", why)
    assert ended.reason == f"second is required, and is not there: {why}"
    assert ends_in(log) == [ended]
    assert not [each for each in log if isinstance(each, YourTurn)]


@pytest.mark.asyncio
async def test_one_who_is_required_and_silent_ends_it_when_the_time_for_answers_is_over() -> None:
    gate = Gate()
    async with ActorSystem() as system:
        (first,) = await members(system, [])
        silent = await system.spawn(child(Member, gate).options(name="silent"))
        meeting = await system.spawn(Meeting, [first, silent], rules=MeetingRules(invite_seconds=7.0))
        began = asyncio.get_running_loop().time()
        ended = await meeting.ask(AwaitEnd())
        assert asyncio.get_running_loop().time() - began == pytest.approx(7, abs=0.1)
        gate.open()
    assert (ended.outcome, ended.absent) == ("not_held", {"silent": "has not answered within 7 s"})


@pytest.mark.asyncio
async def test_one_who_is_optional_and_silent_holds_nobody_up_and_may_come_late_and_hear_all() -> None:
    gate, log, late_log = Gate(), list[Any](), list[Any]()
    async with ActorSystem() as system:
        (first,) = await members(system, log)
        late = await system.spawn(child(Member, gate, log=late_log).options(name="late"))
        rules = MeetingRules(invite_seconds=1.0)
        meeting = await system.spawn(
            Meeting, [first, Attendee(late, required=False)], rules=rules, turns=ByRequest(), state=Draft()
        )
        await settle()
        view = await meeting.ask(GetMeeting())
        assert (view.phase, view.members) == ("in_session", ("a",))
        await meeting.ask(RequestTurn(member="a"))
        await settle()
        await meeting.ask(ChangeState(member="a", changes={"pages": 1}))
        await asyncio.sleep(2)  # longer than an answer may take
        assert (await meeting.ask(GetMeeting())).absent == {"late": "has not answered within 1 s"}
        gate.open()
        late.tell(Act(text="", message=Join()))
        await settle()
        await meeting.ask(Adjourn())
        await settle()
    joined = next(each for each in late_log if isinstance(each, MeetingView))
    assert joined.members == ("a", "late")
    # What the answer says, and what comes as news: the same, whole, in order.
    assert lines(minutes_in(late_log)) == lines(joined.minutes)
    assert lines(joined.minutes) == [
        "a has joined.",
        "The meeting begins.",
        "a: nothing new",
        'a has changed the shared state, which is now number 1: {"title":"","pages":1}',
        "late has joined.",
    ]
    assert joined.state == Draft(pages=1)
    assert len(ends_in(late_log)) == 1


@pytest.mark.asyncio
async def test_nobody_is_invited_to_a_meeting_without_somebody_who_is_required() -> None:
    log: list[Any] = []
    async with ActorSystem() as system:
        (first,) = await members(system, log)
        meeting = await system.spawn(Meeting, [first, "nobody"])
        ended = await meeting.ask(AwaitEnd())
    assert ended.absent == {"a": "was not invited", "nobody": "there is no agent with that id"}
    assert log == []


@pytest.mark.asyncio
async def test_agents_are_found_by_their_ids_and_nobody_comes_twice() -> None:
    async with ActorSystem() as system:
        (first,) = await members(system, [])
        meeting = await system.spawn(
            Meeting, [Attendee("a", name="Ann"), Attendee(first, required=False, name="Bob")], turns=RoundRobin(1)
        )
        ended = await meeting.ask(AwaitEnd())
    assert lines(ended.minutes)[-1] == "Ann: nothing new"
    assert ended.absent == {"Bob": "is known as Ann already"}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"attendees": []}, "must be one at least"),
        ({"attendees": ["a", "a"]}, "has two with the name 'a'"),
        ({"attendees": ["a"], "rules": MeetingRules(quorum=2)}, "must be 1 at most"),
        ({"attendees": [1]}, "must be a ref or the id of an agent, got 1"),
        ({"attendees": [""]}, "must be a ref or the id of an agent, got ''"),
        ({"attendees": ["a"], "state": {"a": 1}}, "must be a frozen pydantic model"),
        ({"attendees": ["a"], "state": type("Loose", (BaseModel,), {})()}, "must be a frozen pydantic model"),
    ],
)
def test_what_cannot_be_a_meeting_is_refused(arguments: Any, told: str) -> None:
    with pytest.raises(InvalidSpec, match=told):
        Meeting(**arguments)


# Turns


@pytest.mark.asyncio
async def test_nobody_speaks_out_of_turn() -> None:
    gate, log = Gate(), list[Any]()
    async with ActorSystem() as system:
        first = await system.spawn(child(Member, turns=[gate]).options(name="first"))
        second = await system.spawn(child(Member, log=log).options(name="second"))
        meeting = await system.spawn(Meeting, [first, second], turns=RoundRobin(1))
        await gate.reached()
        second.tell(Act(text="", message=Contribute(text="but")))
        await settle()
        refused = next(each for each in log if isinstance(each, NotYourTurn))
        assert str(refused) == "second has not the floor, first has: ask for it by RequestTurn()"
        assert await meeting.ask(Contribute(text="listen", member="first")) == 4
        gate.open()
        ended = await meeting.ask(AwaitEnd())
    assert lines(ended.minutes)[3:] == ["first: listen", "first: at last", "second: nothing new"]


@pytest.mark.asyncio
async def test_a_member_changes_the_state_in_its_own_turn() -> None:
    log: list[Any] = []
    async with ActorSystem() as system:
        (listener,) = await members(system, log)
        speaker = await system.spawn(
            child(Member, turns=[ChangeState(changes={"title": "Bees"}, based_on=0)]).options(name="speaker")
        )
        meeting = await system.spawn(Meeting, [speaker, listener], turns=RoundRobin(1), state=Draft())
        ended = await meeting.ask(AwaitEnd())
        await settle()
    assert (ended.version, ended.state) == (1, Draft(title="Bees"))
    turns = [each for each in log if isinstance(each, YourTurn)]
    assert [(each.version, each.state) for each in turns] == [(1, Draft(title="Bees"))]
    assert 'The shared state is number 1: {"title":"Bees","pages":0}.' in turns[0].text


@pytest.mark.asyncio
async def test_of_two_changes_based_on_the_same_state_one_is_refused() -> None:
    logs: list[list[Any]] = [[], []]
    async with ActorSystem() as system:
        refs = await members(system, *logs)
        meeting = await system.spawn(Meeting, refs, turns=ByRequest(), state=Draft())
        await settle()
        for number, ref in enumerate(refs):
            ref.tell(Act(text="", message=ChangeState(changes={"pages": number}, based_on=0)))
        await settle()
        assert [each for log in logs for each in log if isinstance(each, int)] == [1]
        assert [each.version for log in logs for each in log if isinstance(each, StaleState)] == [1]
        meeting.tell(Adjourn())


@pytest.mark.asyncio
async def test_who_takes_too_long_loses_the_turn_is_cancelled_and_after_some_of_these_removed() -> None:
    gate, log = Gate(), list[Any]()
    async with ActorSystem() as system:
        slow = await system.spawn(child(Plain, log, gate).options(name="slow"))
        (other,) = await members(system, [])
        rules = MeetingRules(turn_seconds=3.0, max_misses=2)
        meeting = await system.spawn(Meeting, [Attendee(slow, required=False), other], rules=rules, turns=RoundRobin(3))
        ended = await meeting.ask(AwaitEnd())
        await settle()
        assert gate.came == 2
        assert gate.went == 0
        assert slow.status == "running"
    assert lines(ended.minutes)[3:] == [
        "slow has missed a turn: no answer within 3 s.",
        "a: nothing new",
        "slow has missed a turn: no answer within 3 s.",
        "slow is no member any more: 2 turns missed in a row.",
        "a: nothing new",
        "a: nothing new",
    ]
    assert lines(minutes_in(log))[-1] == "slow is no member any more: 2 turns missed in a row."
    assert ends_in(log) == []


@pytest.mark.asyncio
async def test_who_crashes_in_its_turn_misses_it_and_its_understudy_is_told_all_from_the_beginning() -> None:
    log: list[Any] = []
    turns: list[Any] = [ValueError("stage fright"), "here again"]
    async with ActorSystem() as system:
        first = await system.spawn(child(Member, turns=turns, log=log).options(name="first"))
        (second,) = await members(system, [])
        meeting = await system.spawn(Meeting, [first, second], turns=RoundRobin(2))
        ended = await meeting.ask(AwaitEnd())
        await settle()
    assert lines(ended.minutes)[3:6] == [
        "first has missed a turn: ValueError: stage fright.",
        "a: nothing new",
        "first: here again",
    ]
    crash = next(number for number, each in enumerate(log) if isinstance(each, YourTurn))
    assert [minute.number for minute in minutes_in(log[:crash])] == [1, 2, 3]
    told = [minute.number for minute in minutes_in(log[crash:])]
    assert told[-len(ended.minutes) :] == list(range(1, len(ended.minutes) + 1))


@pytest.mark.asyncio
async def test_who_ends_is_removed_at_once_and_the_floor_goes_on() -> None:
    gate = Gate()
    async with ActorSystem() as system:
        first = await system.spawn(child(Plain, None, gate).options(name="first"))
        (second,) = await members(system, [])
        meeting = await system.spawn(Meeting, [Attendee(first, required=False), second], turns=RoundRobin(1))
        await gate.reached()
        first.stop()
        gate.open()
        ended = await meeting.ask(AwaitEnd())
    assert ended.outcome == "held"
    assert ended.absent == {"first": "has ended: shut down (stopped)"}
    assert ended.minutes[-1].text == "nothing new"


@pytest.mark.asyncio
async def test_who_has_more_to_say_keeps_the_floor() -> None:
    turns: list[Any] = [Said(text="first", end_of_turn=False), Said(text="second"), Said(text=" ")]
    async with ActorSystem() as system:
        one = await system.spawn(child(Member, turns=turns).options(name="one"))
        (other,) = await members(system, [])
        meeting = await system.spawn(Meeting, [one, other], rules=MeetingRules(max_turns=4))
        ended = await meeting.ask(AwaitEnd())
    assert lines(ended.minutes)[3:] == ["one: first", "one: second", "a: nothing new", "one has nothing to say."]


@pytest.mark.asyncio
async def test_a_member_without_a_handler_for_prompts_misses_its_turns() -> None:
    class Deaf(AsyncAgent[Say]):
        @handler
        def hear(self, message: Say) -> None: ...

    async with ActorSystem() as system:
        deaf = await system.spawn(Deaf)
        (other,) = await members(system, [])
        meeting = await system.spawn(
            Meeting, [Attendee(deaf, required=False), other], rules=MeetingRules(max_misses=1), turns=RoundRobin(1)
        )
        ended = await meeting.ask(AwaitEnd())
    assert "has no handler for YourTurn" in ended.minutes[3].text
    assert ended.absent == {"deaf": "1 turn missed in a row"}


@pytest.mark.asyncio
async def test_members_ask_for_turns() -> None:
    async with ActorSystem() as system:
        refs = await members(system, [], [], [])
        meeting = await system.spawn(Meeting, refs, turns=ByRequest())
        await settle()
        for name in "cab":
            refs["abc".index(name)].tell(Act(text="", message=RequestTurn()))
            await settle()
        meeting.tell(Adjourn(why="all have spoken"))
        ended = await meeting.ask(AwaitEnd())
    assert [minute.who for minute in ended.minutes if minute.kind == "said"] == ["c", "a", "b"]
    assert ended.reason == "all have spoken"


@pytest.mark.asyncio
async def test_a_model_moderates() -> None:
    chair = ScriptedModel(
        [
            UseTool("final_answer", name="b", why="she knows"),
            UseTool("final_answer", name="chair", why=""),
            "I sum up.",
            UseTool("final_answer", name=None, why="all is said"),
        ]
    )
    async with ActorSystem() as system:
        moderator = await system.spawn(child(AIAgent, chair).options(name="chair"))
        refs = await members(system, [], [])
        meeting = await system.spawn(Meeting, [moderator, *refs], turns=ModeratorChooses("chair"))
        ended = await meeting.ask(AwaitEnd())
    assert lines(ended.minutes)[4:] == ["b: nothing new", "chair: I sum up."]
    assert (ended.outcome, ended.reason) == ("held", "all is said")


@pytest.mark.asyncio
async def test_a_moderator_who_cannot_choose_misses_it_and_the_others_speak_in_turn() -> None:
    async with ActorSystem() as system:
        moderator = await system.spawn(child(Plain).options(name="moderator"))
        (other,) = await members(system, [])
        meeting = await system.spawn(
            Meeting,
            [Attendee(moderator, required=False), other],
            rules=MeetingRules(max_turns=2, max_misses=5),
            turns=ModeratorChooses("moderator"),
        )
        ended = await meeting.ask(AwaitEnd())
    kinds = [f"{minute.kind} {minute.who}" for minute in ended.minutes[3:]]
    assert kinds == ["missed moderator", "said moderator", "missed moderator", "said a"]


@pytest.mark.asyncio
async def test_a_model_changes_the_state_by_a_tool() -> None:
    class Clerk(AIAgent):
        @tool
        async def set_title(self, title: str) -> int:
            """Set the title."""
            meeting = self.agents.get("meeting", Meeting)
            return await meeting.ask(ChangeState(changes={"title": title}))

    model = ScriptedModel([UseTool("set_title", title="Bees"), "It is set."])
    async with ActorSystem() as system:
        clerk = await system.spawn(Clerk, model)
        meeting = await system.spawn(Meeting, [clerk], turns=RoundRobin(1), state=Draft())
        ended = await meeting.ask(AwaitEnd())
    assert ended.state == Draft(title="Bees")
    assert [minute.kind for minute in ended.minutes] == ["joined", "began", "changed", "said"]


# Members


@pytest.mark.asyncio
async def test_strangers_are_told_that_they_were_not_invited_and_nobody_speaks_for_another() -> None:
    class Stranger(AsyncAgent[Prompt]):
        @handler
        async def answer(self, message: Prompt) -> Said:
            meeting = self.agents.get("meeting", Meeting)
            for each in (Join(member="a"), Contribute(member="a", text="x"), Leave(member="a")):
                with pytest.raises(NotInMeeting, match="/user/stranger cannot do that in meeting: it was not invited"):
                    await meeting.ask(each)
            return Said(text="refused")

    async with ActorSystem() as system:
        refs = await members(system, [])
        meeting = await system.spawn(Meeting, refs, turns=ByRequest())
        await settle()
        stranger = await system.spawn(Stranger)
        assert (await stranger.ask(Prompt(text="go"))).text == "refused"
        with pytest.raises(NotInMeeting, match="somebody unknown"):
            await meeting.ask(Join())
        assert (await meeting.ask(GetMeeting())).members == ("a",)
        meeting.tell(Adjourn())


@pytest.mark.asyncio
async def test_who_leaves_is_told_nothing_more_and_may_come_again() -> None:
    logs: list[list[Any]] = [[], []]
    async with ActorSystem() as system:
        refs = await members(system, *logs)
        meeting = await system.spawn(Meeting, [refs[0], Attendee(refs[1], required=False)], turns=ByRequest())
        await settle()
        await meeting.ask(Leave(member="b", why="lunch"))
        await meeting.ask(RequestTurn(member="a"))
        await settle()
        assert lines(minutes_in(logs[1]))[-1] == "b has left: lunch."
        await meeting.ask(Join(member="b"))
        await settle()
        assert [minute.number for minute in minutes_in(logs[1])[-6:]] == [1, 2, 3, 4, 5, 6]
        await meeting.ask(Leave(member="b"))
        ended = await meeting.ask(Adjourn())
        await settle()
        assert ended is None
        assert (len(ends_in(logs[0])), ends_in(logs[1])) == (1, [])


@pytest.mark.asyncio
async def test_what_a_full_mailbox_does_not_take_is_told_later() -> None:
    gate, log = Gate(), list[Any]()
    async with ActorSystem() as system:
        small = await system.spawn(
            child(Plain, log, gate).options(name="small", mailbox=Mailbox(capacity=2, policy="drop_new"))
        )
        (other,) = await members(system, [])
        meeting = await system.spawn(Meeting, [small, other], turns=ByRequest())
        await settle()
        await meeting.ask(RequestTurn(member="small"))
        await gate.reached()
        for number in range(5):
            await meeting.ask(Contribute(member="small", text=str(number)))
        gate.open()
        await settle()
        await meeting.ask(RequestTurn(member="a"))
        await settle()
        told = minutes_in(log)
        assert [minute.number for minute in told] == list(range(1, told[-1].number + 1))
        assert len(told) == len((await meeting.ask(GetMeeting())).minutes)
        meeting.tell(Adjourn())


# The end


@pytest.mark.asyncio
async def test_time_is_up_in_the_middle_of_a_turn_and_whoever_speaks_is_interrupted() -> None:
    gate, log = Gate(), list[Any]()
    async with ActorSystem() as system:
        slow = await system.spawn(child(Plain, log, gate).options(name="slow"))
        meeting = await system.spawn(Meeting, [slow], rules=MeetingRules(max_seconds=10.0))
        ended = await meeting.ask(AwaitEnd())
        await settle()
        assert (ended.outcome, ended.reason) == ("held", "the time is up, after 10 s")
        assert ends_in(log) == [ended], "it hears of it, since it was interrupted"
        assert gate.went == 0


@pytest.mark.parametrize(
    ("end", "outcome", "reason", "exit_reason"),
    [
        ("stop", "broken_off", "its actor has ended: shut down (stopped)", "Shutdown"),
        ("kill", "failed", "its actor has ended: killed", "Killed"),
        ("crash", "failed", "its actor has ended: crashed: InvalidSpec", "Crashed"),
        ("cancel", "failed", "its actor has ended: killed", "Killed"),
    ],
)
@pytest.mark.asyncio
async def test_members_are_told_once_however_its_actor_ends(
    end: str, outcome: str, reason: str, exit_reason: str
) -> None:
    class Odd:
        def next(self, table: Table) -> TurnDecision:
            if table.last is None:
                return RoundRobin().next(table)
            raise InvalidSpec(child="Odd", field="next", problem="is odd")

    logs: list[list[Any]] = [[], []]
    gate = Gate()
    async with ActorSystem() as system:
        first = await system.spawn(child(Member, turns=[gate], log=logs[0]).options(name="first"))
        second = await system.spawn(child(Member, log=logs[1]).options(name="second"))
        meeting = await system.spawn(Meeting, [first, second], turns=Odd())
        waiting = asyncio.create_task(meeting.ask(AwaitEnd()))
        await gate.reached()
        if end == "crash":
            gate.open()
        elif end == "cancel":  # of the one task that sees to the end
            (task,) = [each for each in asyncio.all_tasks() if each.get_name() == f"task:{meeting.path}:end"]
            task.cancel()
        else:
            getattr(meeting, end)()
        ended = await waiting
        assert type(await meeting.wait_stopped()).__name__ == exit_reason
        await asyncio.sleep(10)  # longer than it would take to restart it
        assert meeting.status == "stopped", "nobody could go on with it"
        assert (ended.outcome, ended.reason[: len(reason)]) == (outcome, reason)
        assert lines(ended.minutes)[:3] == ["first has joined.", "second has joined.", "The meeting begins."]
        for log in logs:
            assert ends_in(log) == [ended]
            assert minutes_in(log) == list(ended.minutes), "they are told all that was written by then"


@pytest.mark.asyncio
async def test_a_cancel_in_the_moment_of_its_end_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    close = Meeting._close

    def close_and_cancel(self: Meeting, ended: MeetingEnded) -> None:
        close(self, ended)
        (task,) = [each for each in asyncio.all_tasks() if each.get_name() == f"task:{self.context.path}:end"]
        task.cancel()

    monkeypatch.setattr(Meeting, "_close", close_and_cancel)
    async with ActorSystem() as system:
        meeting = await system.spawn(Meeting, await members(system, []), turns=RoundRobin(1))
        await asyncio.sleep(1)  # of the five seconds that one stays by default
        assert (await meeting.ask(AwaitEnd())).outcome == "held"
        assert str(await meeting.wait_stopped()) == "a normal end"


@pytest.mark.asyncio
async def test_it_stays_for_a_moment_to_tell_of_its_end_and_not_for_long() -> None:
    async with ActorSystem() as system:
        refs = await members(system, [])
        meeting = await system.spawn(Meeting, refs, turns=RoundRobin(1), rules=MeetingRules(keep_seconds=2.0))
        await asyncio.sleep(1)  # of the two seconds that it stays
        assert (await meeting.ask(GetMeeting())).phase == "ended"
        with pytest.raises(NotInMeeting, match="it is over"):
            await meeting.ask(Join(member="a"))
        await asyncio.sleep(1.1)  # and with that they are over
        with pytest.raises(ActorStopped):
            await meeting.ask(AwaitEnd())

        again = await system.spawn(Meeting, refs, turns=ByRequest())
        waiting = asyncio.create_task(again.ask(AwaitEnd()))
        await settle()
        waiting.cancel()  # who has given up is not told, and does not count
        await again.ask(Adjourn())
        await asyncio.sleep(1)  # of the five seconds that one stays by default
        assert (await again.ask(AwaitEnd())).outcome == "held"
        await settle()
        assert again.status == "stopped"


@pytest.mark.asyncio
async def test_a_program_ends_with_its_meeting() -> None:
    class Council(AsyncProgram):
        def agents(self) -> Any:
            speakers = [child(AIAgent, ScriptedModel(["Aye."])).options(name=name) for name in ("ann", "bob")]
            names = tuple(f"council/{name}" for name in ("ann", "bob"))
            meeting = child(Meeting, names, turns=RoundRobin(1)).options(depends_on=("ann", "bob"))
            return [*speakers, meeting]

        async def execute(self) -> MeetingEnded:
            return await self.runtime.agents.get("council/meeting", Meeting).ask(AwaitEnd())

    report = await Council().run()
    assert report.outcome == "completed"
    assert isinstance(report.result, MeetingEnded)
    assert lines(report.result.minutes)[-2:] == ["council/ann: Aye.", "council/bob: Aye."]


@pytest.mark.asyncio
async def test_with_another_restart_type_each_incarnation_is_a_meeting_of_its_own() -> None:
    log: list[Any] = []
    async with ActorSystem(supervisor("root", child(Member, log=log).options(name="a"))) as system:
        a: ActorRef[Any] = system.lookup("root/a")
        spec = child(Meeting, [a], turns=ByRequest()).options(name="m", restart="permanent")
        meeting = await system.spawn(spec)
        await settle()
        meeting.kill()
        await settle()
        assert [each.outcome for each in ends_in(log)] == ["failed"]
        assert len([each for each in log if isinstance(each, Invitation)]) == 2
        assert (await meeting.ask(GetMeeting())).phase == "in_session"


@pytest.mark.asyncio
async def test_a_system_that_shuts_down_ends_its_meeting_without_a_dead_letter() -> None:
    recorder = Recorder()
    async with ActorSystem(instruments=[recorder]) as system:
        await system.spawn(Meeting, await members(system, [], []), turns=ByRequest())
        await settle()
    assert recorder.letters == []
    assert Killed() not in [reason for _, reason in recorder.of("actor_stopped")]
    assert not any(isinstance(reason, Crashed) for _, reason in recorder.of("actor_stopped"))


# Elsewhere


@pytest.mark.asyncio
async def test_an_agent_of_another_system_is_a_member_like_any_other() -> None:
    log: list[Any] = []
    turns: list[Any] = [ChangeState(changes={"title": "Bees"}), "we agree"]
    async with ActorSystem(name="there") as there, ActorSystem(name="here") as here:
        await there.spawn(child(Member, turns=turns, log=log).options(name="far"))
        await there.listen("memory://there", messages=[Invitation, YourTurn, MeetingNews, MeetingEnded, ChooseSpeaker])
        node = await here.connect("memory://there", messages=[ChangeState, Join, Leave, Contribute, RequestTurn])
        far: ActorRef[Any] = await node.lookup("far")
        (near,) = await members(here, [])
        meeting = await here.spawn(Meeting, [Attendee(far, name="far"), near], turns=RoundRobin(2), state=Draft())
        ended = await meeting.ask(AwaitEnd())
        await asyncio.sleep(1)  # until the end has come to the other system
    assert lines(ended.minutes)[-5:] == [
        'far has changed the shared state, which is now number 1: {"title":"Bees","pages":0}',
        "far: 1",
        "a: nothing new",
        "far: we agree",
        "a: nothing new",
    ]
    assert lines(minutes_in(log)) == lines(ended.minutes)
    assert [(each.outcome, each.reason, each.state) for each in ends_in(log)] == [
        ("held", ended.reason, {"title": "Bees", "pages": 0})
    ]


@pytest.mark.asyncio
async def test_an_agent_whose_system_is_lost_is_removed() -> None:
    gate = Gate()
    async with ActorSystem(name="here") as here:
        (near,) = await members(here, [])
        async with ActorSystem(name="there") as there:
            await there.spawn(child(Plain, None, gate).options(name="far"))
            await there.listen("memory://there", messages=[Invitation, YourTurn, MeetingNews, MeetingEnded])
            node = await here.connect("memory://there")
            far: ActorRef[Any] = await node.lookup("far")
            attendees = [Attendee(far, name="far", required=False), near]
            meeting = await here.spawn(Meeting, attendees, turns=RoundRobin(1), rules=MeetingRules(quorum=2))
            await gate.reached()
            there.kill()
        ended = await meeting.ask(AwaitEnd())
    assert (ended.outcome, ended.absent["far"]) == ("broken_off", "has ended: node there is down")
    assert lines(ended.minutes)[-1] == "far is no member any more: has ended: node there is down."
    assert ended.reason.startswith("a quorum of 2 is not there, 1 are; far: has ended")
