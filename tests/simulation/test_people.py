"""People behind mailboxes, under crashes, cancels, slow readers and channels that answer at once.

No question is answered twice or by somebody else's answer, none is left open when its asker has gone, each reader is
told of every delivery or of the gap, what is kept has its bound, each turn has one end, each approval one decision.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from understudy import ActorRef, ActorSystem, UnderstudyError, child
from understudy.agents import (
    AIAgent,
    ApprovalDecided,
    ApprovalOpened,
    Approvals,
    DeliveryGap,
    HumanAgent,
    Prompt,
    QuestionNotOpen,
    QuestionOpened,
    Say,
    ScriptedModel,
    Seat,
    SeatClosed,
    SeatEnded,
    TurnOver,
    TurnStarted,
    UseTool,
    tool,
)
from understudy.testing import Faults, Simulation, simulate


@dataclass
class Person:
    """Sits at every seat that he is given: reads in three ways, answers, decides, says things, and interrupts."""

    sim: Simulation
    name: str
    size: int
    seats: list[Seat] = field(default_factory=list[Seat])
    answered: dict[int, str] = field(default_factory=dict[int, str])
    """The answers that were taken, by the number of the question."""
    decided: list[tuple[int, bool]] = field(default_factory=list[tuple[int, bool]])
    """Decisions that were accepted."""
    turns: Counter[int] = field(default_factory=Counter[int])
    """How often each turn was seen to end."""
    begun: set[int] = field(default_factory=set[int])
    missed: bool = False

    async def run(self, seat: Seat) -> None:
        self.seats.append(seat)
        random = self.sim.random
        for channel in ("terminal", "page"):
            seat.start_task(self.follow(seat, channel), name=channel)
        while True:
            await asyncio.sleep(random.choice([0.1, 0.5, 2.0]))
            match random.choice(["say", "interrupt", "rest", "fail"]):
                case "say":
                    await seat.say(random.choice(["hello", "delete it"]))
                case "interrupt":
                    await seat.interrupt()
                case "fail" if random.random() < 0.3:
                    raise OSError("the line is cut")
                case _:
                    pass

    async def follow(self, seat: Seat, channel: str) -> None:
        random = self.sim.random
        cursor = 0
        async for delivery in seat.read():
            gap = isinstance(delivery, DeliveryGap)
            if isinstance(delivery, SeatEnded):
                return
            if delivery.cursor != cursor + 1 and not gap:
                self.sim.violated(f"{channel} is given {delivery.cursor} after {cursor}, and is not told of a gap")
            if gap and delivery.cursor != cursor + delivery.missed:
                self.sim.violated(f"a gap of {delivery.missed} from {cursor} to {delivery.cursor}")
            cursor = delivery.cursor
            if channel == "terminal":
                self.note(delivery)
            for request in delivery.waiting if isinstance(delivery, DeliveryGap) else [delivery]:
                if isinstance(request, QuestionOpened | ApprovalOpened):
                    seat.start_task(self.deal(seat, request, channel), name=f"{channel}-{request.kind}")
            await asyncio.sleep(random.choice([0, 0, 0, 0.3]))

    def note(self, delivery: Any) -> None:
        self.missed = self.missed or isinstance(delivery, DeliveryGap)
        if isinstance(delivery, TurnStarted):
            self.begun.add(delivery.turn)
        if isinstance(delivery, TurnOver):
            self.turns[delivery.turn] += 1

    async def deal(self, seat: Seat, request: QuestionOpened | ApprovalOpened, channel: str) -> None:
        random = self.sim.random
        await asyncio.sleep(random.choice([0, 0.05, 0.6]))
        if isinstance(request, ApprovalOpened):
            approve = random.random() < 0.5
            with contextlib.suppress(UnderstudyError):
                if (await seat.decide(request.number, approve)).accepted:
                    self.decided.append((request.number, approve))
            return
        answer = f"{request.text} by {channel}"
        with contextlib.suppress(QuestionNotOpen, SeatClosed):
            seat.answer(request.number, answer)
            if request.number in self.answered:
                self.sim.violated(f"question {request.number} is answered twice")
            self.answered[request.number] = answer

    def within_bounds(self) -> bool:
        return all(len(seat._outbox._kept) <= self.size for seat in self.seats)


async def ask(sim: Simulation, human: ActorRef[Any], text: str) -> str | None:
    """The answer; None: there was none, and whoever asks has been told why."""
    try:
        return str((await human.ask(Prompt(text=text), timeout=sim.random.choice([0.1, 1.0, 30.0]))).text)
    except UnderstudyError:
        return None


@simulate(schedules=20, faults=Faults(crash=0.02, cancel=0.02, stall=0.2))
async def test_no_question_is_answered_twice_and_none_is_left_open(sim: Simulation) -> None:
    random = sim.random
    person = Person(sim, "nina", random.choice([3, 1_000]))
    sim.always("what is kept has its bound", person.within_bounds)
    async with ActorSystem() as system:
        await system.spawn(child(AIAgent, ScriptedModel(pace=0.1), id="clerk").options(max_restarts=10_000))
        human: ActorRef[Any] = await system.spawn(
            child(HumanAgent, person, to="clerk", outbox=person.size, id="nina").options(max_restarts=10_000)
        )
        asks = {
            f"question {number}": asyncio.create_task(ask(sim, human, f"question {number}"), name=f"ask-{number}")
            for number in range(8)
        }
        for number in range(10):
            await asyncio.sleep(random.choice([0, 0.05, 0.3]))
            match random.choice(["say", "kill", "cancel", "stop asking"]):
                case "kill" if random.random() < 0.3:
                    human.kill()
                case "cancel":
                    asks[f"question {random.randrange(8)}"].cancel()
                case _:
                    human.tell(Say(text=f"remark {number}"))
        await asyncio.wait(asks.values(), timeout=300)
        assert all(task.done() for task in asks.values()), "somebody asks for ever"
        await asyncio.sleep(1)  # for what is on its way to be told
        seat = person.seats[-1]
        assert [each for each in seat.waiting if each.kind == "question"] == [], "a question is left open"
        given = set(person.answered.values())
        for text, task in asks.items():
            reply = None if task.cancelled() else task.result()
            assert reply is None or (reply in given and reply.startswith(f"{text} by ")), reply
        human.stop()
        await human.wait_stopped()
        await sim.quiesce()
        assert all(count >= 1 for count in person.turns.values())
        assert seat.turn is None, "a turn has no end"


@simulate(schedules=15, faults=Faults(crash=0.0, cancel=0.02, stall=0.2))
async def test_an_approval_is_decided_once_by_whatever_channel_and_closed_in_all(sim: Simulation) -> None:
    random = sim.random
    people = [Person(sim, name, 1_000) for name in ("nina", "olaf")]
    done: list[str] = []

    @tool(dangerous=True)
    def delete(path: str) -> str:
        """Delete a file."""
        done.append(path)
        return "gone"

    paths = [f"/{number}" for number in range(4)]
    script = [[UseTool("delete", path=path)] for path in paths]
    decisions: dict[int, list[Any]] = {}
    async with ActorSystem() as system:
        system.events.subscribe(
            ApprovalDecided, lambda event: decisions.setdefault(event.number, []).append(event.decision)
        )
        await system.spawn(child(Approvals, expires_after=random.choice([0.3, 20.0])).options(max_restarts=10_000))
        agent = await system.spawn(child(AIAgent, ScriptedModel(script), tools=[delete]).options(max_restarts=10_000))
        humans = [
            await system.spawn(child(HumanAgent, person, id=person.name).options(max_restarts=10_000))
            for person in people
        ]

        async def use() -> None:
            for _ in paths:
                with contextlib.suppress(UnderstudyError):
                    await agent.ask(Prompt(text="go"), timeout=random.choice([0.2, 60.0]))

        using = asyncio.create_task(use(), name="use")
        while not using.done():  # faults come at any time, also while nobody tells of anything
            await asyncio.sleep(random.choice([0.1, 1.0]))
            if random.random() < 0.2:
                random.choice(humans).kill()
            elif random.random() < 0.05:
                system.lookup("approvals", Approvals).kill()
        await asyncio.sleep(30)  # longer than a request waits, and the timeouts of whoever is restarted
        accepted = Counter(number for person in people for number, _ in person.decided)
        assert all(count == 1 for count in accepted.values()), accepted
        assert all(len(each) == 1 for each in decisions.values()), decisions
        for person in people:
            for number, approve in person.decided:
                if number in decisions:
                    assert decisions[number][0].status == ("approved" if approve else "rejected")
            assert person.seats[-1].waiting == (), "an approval is left open"
        assert len(done) == len(set(done))
        # Whoever has decided may have been killed before he learned that it counts; the event tells all the same.
        assert len(done) <= sum(each[0].approved for each in decisions.values())
