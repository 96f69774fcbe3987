"""M1: at most once and in order for each pair; a stop or a kill does not wait behind messages."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any

import pytest

from tests.cast import Fail, Gate, Hold, Holder, Note, Recorder, settle
from understudy import Actor, ActorRef, ActorSystem, Killed, Message, Shutdown, child, handler

MANY = 10_000


class From(Message[int]):
    sender: int
    number: int


class Call(Message[int]):
    """The handler calls this with the actor."""

    what: Callable[[Any], object]


class Counter(Actor[From | Call]):
    def __init__(self, log: list[Any]) -> None:
        self.seen = log

    @handler
    def count(self, message: From) -> int:
        self.seen.append((message.sender, message.number))
        return message.number

    @handler
    def call(self, message: Call) -> int:
        message.what(self)
        return 0


class AsyncCounter(Counter):
    @handler
    async def count(self, message: From) -> int:  # type: ignore[override]
        return super().count(message)

    @handler
    async def call(self, message: Call) -> int:  # type: ignore[override]
        return super().call(message)


class Source(Actor[Call]):
    """Sends from inside an actor."""

    @handler
    async def call(self, message: Call) -> int:
        await message.what(self)  # type: ignore[misc]
        return 0


def fill(ref: ActorRef[Any]) -> None:
    assert all(ref.tell(From(sender=0, number=number)) for number in range(MANY))


def in_order_for_each(seen: list[tuple[int, int]]) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for sender, number in seen:
        found.setdefault(sender, []).append(number)
    return found


@pytest.mark.asyncio
async def test_a_stop_overtakes_ten_thousand_messages() -> None:
    log: list[Any] = []
    recorder = Recorder()
    async with ActorSystem(instruments=[recorder]) as system:
        ref = await system.spawn(Counter, log)
        fill(ref)
        assert ref.tell(From(sender=0, number=MANY)) is False  # full to the brim: control needs no room
        ref.stop()
        assert isinstance(await ref.wait_stopped(), Shutdown)
        assert log == []
        lost = [message.number for message, _, _, _ in recorder.letters]
        assert sorted(lost) == list(range(MANY + 1))


@pytest.mark.asyncio
async def test_a_stop_waits_for_the_message_in_hand_alone() -> None:
    gate, log, recorder = Gate(), [], Recorder()
    async with ActorSystem(instruments=[recorder]) as system:
        ref = await system.spawn(Holder, gate, log)
        in_hand = asyncio.create_task(ref.ask(Hold(value=-1)))
        await gate.reached()
        assert all(ref.tell(Note(value=number)) for number in range(MANY))
        ref.stop()
        await settle()
        assert ref.status == "stopping"
        gate.open()
        assert await in_hand == -1
        await ref.wait_stopped()
        assert log == [-1]
        assert len(recorder.letters) == MANY


@pytest.mark.parametrize("cls", [Counter, AsyncCounter])
@pytest.mark.parametrize("verb", ["stop", "kill", "context.stop"])
@pytest.mark.asyncio
async def test_control_from_a_handler_is_served_before_the_next_of_ten_thousand(verb: str, cls: Any) -> None:
    log: list[Any] = []
    recorder = Recorder()

    def end(actor: Counter) -> None:
        if verb == "context.stop":
            actor.context.stop()
        else:
            getattr(actor.context.ref, verb)()
        log.append("still here")  # what does not await always ends first

    async with ActorSystem(instruments=[recorder]) as system:
        ref = await system.spawn(child(cls, log).options(restart="temporary", mailbox=MANY + 1))
        for number in range(100):
            ref.tell(From(sender=0, number=number))
        ref.tell(Call(what=end))
        for number in range(100, MANY):
            ref.tell(From(sender=0, number=number))
        await ref.wait_stopped()
        assert log == [*((0, number) for number in range(100)), "still here"]
        assert len(recorder.letters) == MANY - 100


@pytest.mark.asyncio
async def test_a_kill_interrupts_the_message_in_hand_before_ten_thousand_others() -> None:
    gate, log, recorder = Gate(), [], Recorder()
    async with ActorSystem(instruments=[recorder]) as system:
        ref = await system.spawn(child(Holder, gate, log).options(restart="temporary"))
        ref.tell(Hold(value=-1))
        await gate.reached()
        assert all(ref.tell(Note(value=number)) for number in range(MANY))
        ref.kill()
        assert await ref.wait_stopped() == Killed()
        assert log == []
        assert gate.went == 0
        lost = [message for message, _, _, _ in recorder.letters if isinstance(message, Note)]
        assert [note.value for note in lost] == list(range(MANY))


@pytest.mark.asyncio
async def test_a_kill_is_served_before_the_next_message_and_the_new_incarnation_handles_them_all() -> None:
    gate, log, recorder = Gate(), [], Recorder()
    async with ActorSystem(instruments=[recorder]) as system:
        ref = await system.spawn(Holder, gate, log)
        ref.tell(Hold(value=-1))
        await gate.reached()
        assert all(ref.tell(Note(value=number)) for number in range(MANY))
        ref.kill()
        await settle()
        assert log == list(range(MANY))
        assert gate.went == 0
        assert recorder.of("actor_restarting") == [(ref.path, Killed(), 1)]
        assert recorder.of("actor_started", ref.path) == [(ref.path, 1), (ref.path, 2)]


@pytest.mark.asyncio
async def test_a_kill_of_a_flooded_idle_actor_reaches_it_before_any_message() -> None:
    log: list[Any] = []
    async with ActorSystem() as system:
        ref = await system.spawn(child(Counter, log).options(restart="temporary"))
        fill(ref)
        ref.kill()
        assert await ref.wait_stopped() == Killed()
        assert log == []


@pytest.mark.asyncio
async def test_state_is_answered_while_ten_thousand_messages_wait() -> None:
    gate = Gate()
    async with ActorSystem() as system:
        ref = await system.spawn(Holder, gate)
        ref.tell(Hold())
        await gate.reached()
        assert all(ref.tell(Note(value=number)) for number in range(MANY))
        assert ref.status == "running"
        assert "holder" in str(system.tree())
        gate.open()


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.asyncio
async def test_each_sender_is_heard_in_its_own_order_and_nothing_twice(seed: int) -> None:
    order = random.Random(seed)
    log: list[Any] = []
    async with ActorSystem() as system:
        ref = await system.spawn(child(Counter, log).options(mailbox=3))

        async def talk(sender: int) -> list[int]:
            sent = []
            for number in range(50):
                way = order.choice(["tell", "send", "ask"])
                message = From(sender=sender, number=number)
                if way == "tell":
                    accepted = ref.tell(message)
                elif way == "send":
                    await ref.send(message)
                    accepted = True
                else:
                    assert await ref.ask(message) == number
                    accepted = True
                if accepted:
                    sent.append(number)
                if order.random() < 0.3:
                    await asyncio.sleep(0)
            return sent

        sent = await asyncio.gather(*(talk(sender) for sender in range(6)))
        await settle()
        assert in_order_for_each(log) == dict(enumerate(sent))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.asyncio
async def test_actors_are_heard_in_their_own_order(seed: int) -> None:
    order = random.Random(seed)
    log: list[Any] = []
    async with ActorSystem() as system:
        target = await system.spawn(child(Counter, log).options(mailbox=2))

        def talk(sender: int) -> Callable[[Any], Any]:
            async def run(_actor: Source) -> None:
                for number in range(30):
                    await target.send(From(sender=sender, number=number))
                    if order.random() < 0.5:
                        await asyncio.sleep(0)

            return run

        sources = [await system.spawn(Source) for _ in range(5)]
        await asyncio.gather(*(ref.ask(Call(what=talk(sender))) for sender, ref in enumerate(sources)))
        await settle()
        assert in_order_for_each(log) == {sender: list(range(30)) for sender in range(5)}


@pytest.mark.parametrize("at", [0, 1, 50, 99])
@pytest.mark.asyncio
async def test_order_holds_across_a_crash_and_nothing_is_handled_twice(at: int) -> None:
    log: list[Any] = []
    async with ActorSystem() as system:
        ref = await system.spawn(Holder, None, log)
        for number in range(100):
            ref.tell(Fail(error=ValueError("boom")) if number == at else Note(value=number))
        await settle()
        assert log == [number for number in range(100) if number != at]


@pytest.mark.asyncio
async def test_plain_and_async_handlers_keep_the_order_between_them() -> None:
    gate, log = Gate(), []
    gate.open()
    async with ActorSystem() as system:
        ref = await system.spawn(Holder, gate, log)
        for number in range(300):
            ref.tell(Hold(value=number) if number % 3 else Note(value=number))
        await settle()
        assert log == list(range(300))
