"""Meetings under members who are slow, hang, fail, leave, come late and end, and under kills and crashes of their own.

Every meeting ends; whoever is to be told the end is told once; nobody speaks out of turn; each member is told all
minutes in their order; and the versions of the shared state have no gap.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, ConfigDict

from understudy import (
    ActorRef,
    ActorStopped,
    ActorSystem,
    NoReply,
    Refused,
    UnderstudyError,
    child,
    handler,
    supervisor,
)
from understudy.agents import (
    Adjourn,
    AIAgent,
    AsyncAgent,
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
    Minute,
    ModeratorChooses,
    NextSpeaker,
    RequestTurn,
    RoundRobin,
    Rsvp,
    Said,
    Say,
    ScriptedModel,
    Table,
    TurnDecision,
    TurnPolicy,
    YourTurn,
)
from understudy.testing import Faults, Simulation, simulate

NAMES = ("a", "b", "c", "d")
RULES = MeetingRules(
    invite_seconds=0.5, turn_seconds=0.4, max_misses=2, max_turns=12, max_seconds=15.0, keep_seconds=1.0
)
LONGEST = 60.0
"""Seconds after which a meeting is surely over: what it may take, and what its members and their restarts do."""


class Sheet(BaseModel):
    model_config = ConfigDict(frozen=True)

    lines: tuple[str, ...] = ()


class Act(Say):
    """Send the meeting this message."""

    message: Any


@dataclass
class Log:
    """What one member has seen, whatever has become of it meanwhile."""

    sim: Simulation
    name: str
    all_of_it: bool = True
    """Whether no message can be lost by a crash in its hand."""
    ends: list[MeetingEnded] = field(default_factory=list[MeetingEnded])
    invitations: int = 0
    last: int = 0
    """The number of the minute that was told last."""

    def news(self, minutes: tuple[Minute, ...]) -> None:
        numbers = [minute.number for minute in minutes]
        if numbers != list(range(numbers[0], numbers[-1] + 1)):
            self.sim.violated(f"{self.name} is told minutes with a gap: {numbers}")
        if self.all_of_it and numbers[0] not in (1, self.last + 1):
            self.sim.violated(f"{self.name} is told minute {numbers[0]} after {self.last}")
        if self.ends:
            self.sim.violated(f"{self.name} is told news after the end")
        self.last = numbers[-1]


class Member(AsyncAgent[Invitation | YourTurn | MeetingNews | MeetingEnded | ChooseSpeaker | Act]):
    """Does what chance says."""

    def __init__(self, log: Log) -> None:
        self.seen = log
        self.random = log.sim.random

    @handler(cancellable=True)
    async def invited(self, message: Invitation) -> Rsvp:
        self.seen.invitations += 1
        await self.dawdle()
        return Rsvp(coming=self.random.random() < 0.9)

    @handler(cancellable=True)
    async def speak(self, message: YourTurn) -> Said:
        await self.dawdle()
        if self.random.random() < 0.2:
            with contextlib.suppress(Refused):
                await message.meeting.ask(Contribute(text=f"{self.seen.name} {message.turn}"), timeout=1.0)
        if self.random.random() < 0.2:
            with contextlib.suppress(Refused):
                change = ChangeState(changes={"lines": (*message.state.lines, "x")}, based_on=message.version)
                await message.meeting.ask(change, timeout=1.0)
        return Said(text=f"{self.seen.name} {message.turn}", end_of_turn=self.random.random() < 0.8)

    @handler(cancellable=True)
    async def choose(self, message: ChooseSpeaker) -> NextSpeaker:
        await self.dawdle()
        return NextSpeaker(name=self.random.choice([*message.candidates, *NAMES, None]))

    @handler
    def news(self, message: MeetingNews) -> None:
        self.seen.news(message.minutes)

    @handler
    def ended(self, message: MeetingEnded) -> None:
        self.seen.ends.append(message)

    @handler
    async def act(self, message: Act) -> None:
        meeting = self.agents.find("root/meeting") or self.agents.find("meeting")
        if meeting is not None:
            with contextlib.suppress(UnderstudyError):
                await meeting.ask(message.message, timeout=1.0)

    async def dawdle(self) -> None:
        match self.random.choice(["", "", "", "slow", "late", "hang", "resist", "fail"]):
            case "slow":
                await asyncio.sleep(0.05)
            case "late":
                await asyncio.sleep(0.45)
            case "hang":
                await asyncio.get_running_loop().create_future()
            case "resist":
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.sleep(0.5)
            case "fail":
                raise ValueError("stage fright")
            case _:
                pass


def chances(sim: Simulation) -> Callable[[], Any]:
    """What a member may send the meeting at any time."""
    random = sim.random
    return lambda: random.choice(
        [
            Join(),
            Join(),
            Leave(),
            RequestTurn(),
            RequestTurn(),
            Contribute(text="out of turn?"),
            ChangeState(changes={"lines": ("y",)}, based_on=random.choice([None, 0, 1])),
            ChangeState(changes={"lines": 3}),
        ]
    )


async def trouble(sim: Simulation, refs: list[ActorRef[Any]], meeting: ActorRef[Any]) -> None:
    random, message = sim.random, chances(sim)
    for _ in range(random.randrange(12)):
        await asyncio.sleep(random.choice([0, 0.05, 0.2, 0.6]))
        ref = random.choice(refs)
        match random.choice(["act"] * 8 + ["kill", "kill", "stop", "adjourn", "end"]):
            case "kill":
                ref.kill()
            case "stop":
                ref.stop()
            case "adjourn" if random.random() < 0.3:
                meeting.tell(Adjourn())
            case "end" if random.random() < 0.3:
                random.choice([meeting.stop, meeting.kill])()
            case _:
                ref.tell(Act(text="", message=message()))


def check_minutes(ended: MeetingEnded) -> None:
    """What must be true of all minutes."""
    assert [minute.number for minute in ended.minutes] == list(range(1, len(ended.minutes) + 1))
    versions = [minute.version for minute in ended.minutes if minute.kind == "changed"]
    assert versions == list(range(1, ended.version + 1))
    there: set[str] = set()
    turn = 0
    for minute in ended.minutes:
        match minute.kind:
            case "joined":
                assert minute.who not in there
                there.add(minute.who)
            case "left" | "removed":
                there.remove(minute.who)
            case "said" | "missed" | "changed":
                assert minute.who in there, f"{minute.who} is no member"
            case _:
                pass
        name, _, number = minute.text.partition(" ")
        if minute.kind == "said" and number.isdigit():
            assert name == minute.who
            assert int(number) >= turn, "somebody has spoken out of turn"
            turn = int(number)
    assert turn <= RULES.max_turns


@dataclass
class Shaky:
    """Fails now and then, and the meeting with it."""

    sim: Simulation
    policy: TurnPolicy

    def next(self, table: Table) -> TurnDecision:
        if self.sim.random.random() < 0.05:
            raise ValueError("the policy has a bug")
        return self.policy.next(table)


def policy(sim: Simulation) -> TurnPolicy:
    sound: TurnPolicy = sim.random.choice([RoundRobin(), RoundRobin(2), ByRequest(), ModeratorChooses("a")])
    return Shaky(sim, sound) if sim.random.random() < 0.2 else sound


def attendees(sim: Simulation, refs: list[ActorRef[Any]]) -> list[Attendee]:
    return [
        Attendee(ref, required=sim.random.random() < 0.2, name=name) for ref, name in zip(refs, NAMES, strict=False)
    ]


@simulate(schedules=20, faults=Faults(stall=0.2))
async def test_every_meeting_ends_and_each_member_is_told_all_of_it_and_the_end_once(sim: Simulation) -> None:
    logs = [Log(sim, name) for name in NAMES]
    tree = supervisor(
        "root", *(child(Member, log).options(name=log.name, shutdown=0.5) for log in logs), max_restarts=100_000
    )
    async with ActorSystem(tree) as system:
        refs: list[ActorRef[Any]] = [system.lookup(f"root/{name}") for name in NAMES]
        meeting = await system.spawn(
            Meeting, attendees(sim, refs), rules=RULES, turns=policy(sim), state=Sheet(), topic="chance"
        )
        waiting = asyncio.create_task(meeting.ask(AwaitEnd()), name="waiting")
        causing = asyncio.create_task(trouble(sim, refs, meeting), name="trouble")
        await asyncio.wait({waiting, causing}, timeout=LONGEST)
        assert waiting.done(), "the meeting does not end"
        await asyncio.wait({causing})
        await meeting.wait_stopped()
        await asyncio.sleep(2)  # by then each has come to what it was told, however it dawdles
        await sim.quiesce()
        if isinstance(waiting.exception(), ActorStopped | NoReply):  # killed before it has come to that, or has begun
            ended = next((end for log in logs for end in log.ends), None)
            if ended is None:
                assert not any(log.invitations for log in logs), "somebody was invited and is not told the end"
                return
        else:
            ended = waiting.result()
        check_minutes(ended)
        for log, ref in zip(logs, refs, strict=True):
            if ref.status == "stopped":
                assert len(log.ends) <= 1
                continue
            why = ended.absent.get(log.name)
            waiting_for = why is not None and why.startswith("has not answered")
            if why is None or (waiting_for and log.invitations):
                assert log.ends == [ended], f"{log.name} ({why}) is told {len(log.ends)} ends"
            else:  # it has said no, has left, was removed; or the invitation was taken back before it has come to it
                assert log.ends in ([], [ended] if waiting_for else [])
            if why is None:
                assert log.last == len(ended.minutes), f"{log.name} was not told all"


@simulate(schedules=20, faults=Faults(crash=0.02, cancel=0.02, stall=0.2))
async def test_a_meeting_ends_whatever_fails_itself_its_members_and_their_models(sim: Simulation) -> None:
    logs = [Log(sim, name, all_of_it=False) for name in NAMES[:2]]

    def answer(request: Any) -> Any:
        return sim.random.choice(["Aye.", "Nay.", "", LookupError("a bug"), ["Well", "then"]])

    model = ScriptedModel(answer, pace=sim.random.choice([0.0, 0.1]))
    tree = supervisor(
        "root",
        *(child(Member, log).options(name=log.name, shutdown=0.5) for log in logs),
        *(child(AIAgent, model).options(name=name, shutdown=0.5) for name in NAMES[2:]),
        max_restarts=100_000,
    )
    async with ActorSystem(tree) as system:
        refs: list[ActorRef[Any]] = [system.lookup(f"root/{name}") for name in NAMES]
        meeting = await system.spawn(Meeting, attendees(sim, refs), rules=RULES, turns=policy(sim), state=Sheet())
        waiting = asyncio.create_task(meeting.ask(AwaitEnd()), name="waiting")
        causing = asyncio.create_task(trouble(sim, refs[:2], meeting), name="trouble")
        await asyncio.wait({waiting, causing}, timeout=LONGEST)
        assert causing.done()
        assert waiting.done(), "the meeting does not end"
        with contextlib.suppress(UnderstudyError):
            check_minutes(waiting.result())
        with contextlib.suppress(UnderstudyError):
            await meeting.ask(GetMeeting(), timeout=1.0)
        await asyncio.sleep(2)  # longer than it stays to tell of its end
        await sim.quiesce()  # nobody is left in the middle of a turn
        assert meeting.status == "stopped"
        assert all(len(log.ends) <= 1 for log in logs)
