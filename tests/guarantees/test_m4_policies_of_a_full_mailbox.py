"""The other columns of the table: what each policy does with the message after the last that has room."""

from __future__ import annotations

import asyncio
import contextlib
import math
from typing import Any

import pytest

from tests.cast import Gate, Recorder, settle
from understudy import (
    Actor,
    ActorFailed,
    ActorRef,
    ActorStopped,
    ActorSystem,
    Crashed,
    Mailbox,
    MailboxFull,
    Message,
    child,
    handler,
    supervisor,
)
from understudy.testing import Faults, Simulation, simulate


class Note(Message[int]):
    number: int


class Hold(Message): ...


class Urgent(Message[int]):
    number: int


class Clerk(Actor[Note | Hold | Urgent]):
    def __init__(self, seen: list[int], gate: Gate) -> None:
        self.seen, self.gate = seen, gate

    @handler
    def note(self, message: Note) -> int:
        self.seen.append(message.number)
        return message.number

    @handler
    async def hold(self, message: Hold) -> None:
        await self.gate.hold()

    @handler
    def urgent(self, message: Urgent) -> int:
        self.seen.append(message.number)
        return message.number


async def full(system: ActorSystem, seen: list[int], gate: Gate, mailbox: Mailbox, **options: Any) -> ActorRef[Any]:
    """A clerk with one message in hand and two, 0 and 1, in a mailbox for two."""
    spec = child(Clerk, seen, gate).options(name="clerk", mailbox=mailbox, **options)
    await system.spawn(supervisor("office", spec))
    clerk: ActorRef[Any] = system.lookup("office/clerk", Clerk)
    clerk.tell(Hold())
    await gate.reached()
    assert clerk.tell(Note(number=0))
    assert clerk.tell(Note(number=1))
    return clerk


REFUSING = ["fail", "drop_new"]


@pytest.mark.parametrize("policy", REFUSING)
@pytest.mark.asyncio
async def test_fail_and_drop_new_refuse_what_finds_no_room(policy: Any) -> None:
    seen: list[int] = []
    gate, recorder = Gate(), Recorder()
    async with ActorSystem(instruments=[recorder]) as system:
        clerk = await full(system, seen, gate, Mailbox(capacity=2, policy=policy))
        assert not clerk.tell(Note(number=2))
        with pytest.raises(MailboxFull) as sent:
            await clerk.send(Note(number=3))
        with pytest.raises(MailboxFull) as asked:
            await clerk.ask(Note(number=4), timeout=math.inf)
        assert sent.value.message == Note(number=3)
        assert asked.value.message == Note(number=4)
        assert asked.value.path == clerk.path
        assert [message.number for message, *_ in recorder.letters] == [2, 3, 4]
        assert {why for *_, why in recorder.letters} == {"mailbox full"}
        gate.open()
        await settle()
        assert seen == [0, 1]
        assert clerk.status == "running"


@pytest.mark.asyncio
async def test_drop_old_makes_room_and_a_displaced_ask_fails() -> None:
    seen: list[int] = []
    gate, recorder = Gate(), Recorder()
    async with ActorSystem(instruments=[recorder]) as system:
        clerk = await full(system, seen, gate, Mailbox(capacity=2, policy="drop_old"))
        assert clerk.tell(Note(number=2))
        await clerk.send(Note(number=3))
        ask = asyncio.ensure_future(clerk.ask(Note(number=4), timeout=math.inf))
        await settle()
        assert not ask.done()
        assert clerk.tell(Note(number=5))
        assert clerk.tell(Note(number=6))
        with pytest.raises(MailboxFull) as displaced:
            await ask
        assert displaced.value.message == Note(number=4)
        assert [message.number for message, *_ in recorder.letters] == [0, 1, 2, 3, 4]
        assert {why for *_, why in recorder.letters} == {"displaced by a newer message"}
        gate.open()
        await settle()
        assert seen == [5, 6]


@pytest.mark.parametrize("how", ["tell", "send", "ask"])
@pytest.mark.asyncio
async def test_stop_is_a_failure_of_the_actor_and_empties_its_mailbox_first(how: str) -> None:
    seen: list[int] = []
    gate, recorder = Gate(), Recorder()
    async with ActorSystem(instruments=[recorder]) as system:
        clerk = await full(system, seen, gate, Mailbox(capacity=2, policy="stop"))
        if how == "tell":
            assert not clerk.tell(Note(number=2))
        elif how == "send":
            with pytest.raises(ActorStopped):
                await clerk.send(Note(number=2))
        else:
            with pytest.raises(ActorStopped):
                await clerk.ask(Note(number=2), timeout=math.inf)
        assert sorted(message.number for message, *_ in recorder.letters) == [0, 1, 2]
        gate.open()
        await settle()
        assert clerk.status == "running"  # permanent: it has been restarted, with an empty mailbox
        assert seen == []
        [(path, reason, _)] = recorder.of("actor_crashed")
        assert path == clerk.path
        assert isinstance(reason, Crashed)
        assert isinstance(reason.error, MailboxFull)
        assert await clerk.ask(Note(number=7)) == 7


@pytest.mark.asyncio
async def test_stop_ends_a_temporary_actor_for_good() -> None:
    seen: list[int] = []
    gate = Gate()
    async with ActorSystem() as system:
        clerk = await full(system, seen, gate, Mailbox(capacity=2, policy="stop"), restart="temporary")
        clerk.tell(Note(number=2))
        gate.open()
        reason = await clerk.wait_stopped()
        assert isinstance(reason, Crashed)
        assert isinstance(reason.error, MailboxFull)


@pytest.mark.asyncio
async def test_what_is_urgent_is_handled_first_and_equals_in_their_order() -> None:
    seen: list[int] = []
    gate = Gate()
    async with ActorSystem() as system:
        clerk = await full(system, seen, gate, Mailbox(capacity=100, priority=(Urgent,)))
        for number in range(2, 5):
            clerk.tell(Note(number=number))
            clerk.tell(Urgent(number=10 * number))
        gate.open()
        await settle()
        assert seen == [20, 30, 40, 0, 1, 2, 3, 4]


@pytest.mark.asyncio
async def test_a_stop_is_above_every_priority() -> None:
    seen: list[int] = []
    gate = Gate()
    async with ActorSystem() as system:
        clerk = await full(system, seen, gate, Mailbox(capacity=100, priority=(Urgent,)))
        clerk.tell(Urgent(number=20))
        clerk.stop()
        gate.open()
        await clerk.wait_stopped()
        assert seen == []


@pytest.mark.asyncio
async def test_marks_are_reported_once_each_way() -> None:
    seen: list[int] = []
    gate = Gate()

    class Marks(Recorder):
        def mailbox_high(self, path: str, load: float) -> None:
            self.events.append(("high", path, load))

        def mailbox_low(self, path: str, load: float) -> None:
            self.events.append(("low", path, load))

    marks = Marks()
    async with ActorSystem(instruments=[marks]) as system:
        clerk = await full(system, seen, gate, Mailbox(capacity=100, high=5, low=2))
        for number in range(2, 10):
            clerk.tell(Note(number=number))
        assert marks.of("high") == [(clerk.path, 5)]
        assert marks.of("low") == []
        gate.open()
        await settle()
        assert [path for path, _ in marks.of("low")] == [clerk.path]
        assert seen == list(range(10))


@simulate(schedules=40, faults=Faults(crash=0.05, cancel=0.05, stall=1.0))
async def test_no_policy_loses_anything_in_silence(sim: Simulation) -> None:
    policy = sim.random.choice(["block", "fail", "drop_new", "drop_old", "stop"])
    seen: list[int] = []
    gate = Gate()
    gate.open()
    spec = child(Clerk, seen, gate).options(name="clerk", mailbox=Mailbox(capacity=2, policy=policy))
    await sim.system.spawn(supervisor("office", spec, max_restarts=100_000))
    clerk: ActorRef[Any] = sim.system.lookup("office/clerk", Clerk)

    async def talk(first: int) -> None:
        for number in range(first, first + 5):
            kind = sim.random.randrange(3)
            with contextlib.suppress(MailboxFull, ActorStopped, ActorFailed):
                if kind == 0:
                    clerk.tell(Note(number=number))
                elif kind == 1:
                    await clerk.send(Hold() if number % 2 else Note(number=number))
                else:
                    await clerk.ask(Note(number=number), timeout=60.0)

    async with asyncio.TaskGroup() as group:
        for sender in range(3):
            group.create_task(talk(100 * sender))
    await sim.quiesce()
    assert len(seen) == len(set(seen))
    assert clerk.status == "running"
