"""M3: `tell` never waits and never raises, `send` waits for room, `ask` waits for the reply."""

from __future__ import annotations

import asyncio

import pytest

from tests.cast import Fail, Gate, Hold, Holder, Note, Recorder, settle
from understudy import Actor, ActorStopped, ActorSystem, Message, Shutdown, child, handler


class Restartable(Actor[Note | Fail]):
    """Its second start waits at the gate."""

    def __init__(self, gate: Gate, starts: list[int], log: list[int]) -> None:
        self.gate, self.starts, self.handled = gate, starts, log
        starts.append(1)

    async def initialize(self) -> None:
        if len(self.starts) > 1:
            await self.gate.hold()

    @handler
    def note(self, message: Note) -> int:
        self.handled.append(message.value)
        return message.value

    @handler
    def fail(self, message: Fail) -> int:
        raise message.error


class Quiet(Message):
    """Answered with nothing."""


class Silent(Actor[Quiet]):
    @handler
    async def be_quiet(self, message: Quiet) -> None:
        return None


@pytest.mark.asyncio
async def test_tell_returns_before_the_message_is_handled() -> None:
    log: list[int] = []
    async with ActorSystem() as system:
        ref = await system.spawn(Holder, None, log)
        assert ref.tell(Note(value=1)) is True
        assert log == []
        await settle()
        assert log == [1]


@pytest.mark.asyncio
async def test_tell_to_a_stopped_actor_is_false_and_a_dead_letter() -> None:
    log: list[int] = []
    recorder = Recorder()
    async with ActorSystem(instruments=[recorder]) as system:
        ref = await system.spawn(Holder, None, log)
        ref.stop()
        await ref.wait_stopped()
        assert recorder.letters == []
        assert ref.tell(Note(value=1)) is False
        await settle()
        [(message, recipient, sender, why)] = recorder.letters
        assert message == Note(value=1)
        assert recipient == ref.path
        assert sender is None
        assert why
        assert system.statistics().dead_letters == 1
        assert log == []


@pytest.mark.asyncio
async def test_tell_to_a_stopping_actor_is_false_and_a_dead_letter() -> None:
    gate, log, recorder = Gate(), [], Recorder()
    async with ActorSystem(instruments=[recorder]) as system:
        ref = await system.spawn(Holder, gate, log)
        ref.tell(Hold(value=1))
        await gate.reached()
        ref.stop()
        assert ref.tell(Note(value=2)) is False
        gate.open()
        await ref.wait_stopped()
        assert [message for message, *_ in recorder.letters] == [Note(value=2)]
        assert log == [1]


@pytest.mark.asyncio
async def test_tell_to_a_full_mailbox_is_false_and_does_not_wait() -> None:
    gate, log, recorder = Gate(), [], Recorder()
    async with ActorSystem(instruments=[recorder]) as system:
        ref = await system.spawn(child(Holder, gate, log).options(mailbox=1))
        ref.tell(Hold(value=1))
        await gate.reached()
        assert ref.tell(Note(value=2)) is True
        assert ref.tell(Note(value=3)) is False
        gate.open()
        await settle()
        assert log == [1, 2]
        assert [message for message, *_ in recorder.letters] == [Note(value=3)]


@pytest.mark.asyncio
async def test_tell_and_send_to_a_restarting_actor_are_accepted_and_handled_after_it() -> None:
    gate, starts, log = Gate(), [], []
    recorder = Recorder()
    async with ActorSystem(instruments=[recorder]) as system:
        ref = await system.spawn(Restartable, gate, starts, log)
        ref.tell(Fail(error=ValueError("boom")))
        await gate.reached()
        assert ref.status == "restarting"
        assert ref.tell(Note(value=1)) is True
        await ref.send(Note(value=2))
        asked = asyncio.create_task(ref.ask(Note(value=3)))
        await settle()
        assert log == []
        gate.open()
        assert await asked == 3
        assert log == [1, 2, 3]
        assert [message for message, *_ in recorder.letters if isinstance(message, Note)] == []


@pytest.mark.asyncio
async def test_tell_goes_on_to_be_false_after_the_system_has_closed() -> None:
    async with ActorSystem() as system:
        ref = await system.spawn(Holder)
    assert ref.tell(Note(value=1)) is False
    assert ref.status == "stopped"


@pytest.mark.asyncio
async def test_send_returns_when_the_message_is_accepted_not_when_it_is_handled() -> None:
    gate, log = Gate(), []
    async with ActorSystem() as system:
        ref = await system.spawn(Holder, gate, log)
        assert await ref.send(Hold(value=1)) is None
        await gate.reached()
        assert await ref.send(Note(value=2)) is None
        assert log == []
        gate.open()
        await settle()
        assert log == [1, 2]


@pytest.mark.asyncio
async def test_send_waits_for_room() -> None:
    gate, log, recorder = Gate(), [], Recorder()
    async with ActorSystem(instruments=[recorder]) as system:
        ref = await system.spawn(child(Holder, gate, log).options(mailbox=1))
        await ref.send(Hold(value=1))
        await gate.reached()
        await ref.send(Note(value=2))
        waiting = asyncio.create_task(ref.send(Note(value=3)))
        await asyncio.sleep(100)
        assert not waiting.done()
        gate.open()
        await waiting
        await settle()
        assert log == [1, 2, 3]
        assert recorder.letters == []


@pytest.mark.asyncio
async def test_send_to_a_stopped_actor_raises_at_once_with_the_reason_and_the_message() -> None:
    loop = asyncio.get_running_loop()
    async with ActorSystem() as system:
        ref = await system.spawn(Holder)
        ref.stop()
        await ref.wait_stopped()
        begun = loop.time()
        with pytest.raises(ActorStopped) as caught:
            await ref.send(Note(value=1))
        assert loop.time() - begun < 0.1
        assert caught.value.path == ref.path
        assert isinstance(caught.value.reason, Shutdown)
        assert caught.value.message == Note(value=1)


@pytest.mark.asyncio
async def test_senders_that_wait_for_room_learn_that_the_target_has_stopped() -> None:
    gate, log, recorder = Gate(), [], Recorder()
    loop = asyncio.get_running_loop()
    async with ActorSystem(instruments=[recorder]) as system:
        ref = await system.spawn(child(Holder, gate, log).options(mailbox=1))
        await ref.send(Hold(value=1))
        await gate.reached()
        await ref.send(Note(value=2))
        waiting = [asyncio.create_task(ref.send(Note(value=value))) for value in (3, 4, 5)]
        await settle()
        begun = loop.time()
        ref.stop()
        gate.open()
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
        assert loop.time() - begun < 0.1
        assert all(isinstance(outcome, ActorStopped) for outcome in outcomes)
        assert [outcome.message.value for outcome in outcomes] == [3, 4, 5]  # type: ignore[union-attr]
        await ref.wait_stopped()
        assert log == [1]
        assert [message for message, *_ in recorder.letters].count(Note(value=2)) == 1
        for value in (3, 4, 5):
            assert [message for message, *_ in recorder.letters].count(Note(value=value)) <= 1


@pytest.mark.asyncio
async def test_ask_waits_for_the_reply() -> None:
    gate, log = Gate(), []
    async with ActorSystem() as system:
        ref = await system.spawn(Holder, gate, log)
        asked = asyncio.create_task(ref.ask(Hold(value=1), timeout=10))
        await gate.reached()
        await asyncio.sleep(9)
        assert not asked.done()
        gate.open()
        assert await asked == 1
        assert log == [1]


@pytest.mark.asyncio
async def test_an_ask_whose_reply_is_nothing_returns_none_after_it_was_handled() -> None:
    async with ActorSystem() as system:
        ref = await system.spawn(Silent)
        assert await ref.ask(Quiet()) is None


@pytest.mark.asyncio
async def test_ask_waits_five_seconds_by_default() -> None:
    loop = asyncio.get_running_loop()
    async with ActorSystem() as system:
        ref = await system.spawn(Holder, Gate())
        begun = loop.time()
        with pytest.raises(TimeoutError):
            await ref.ask(Hold())
        assert loop.time() - begun == pytest.approx(5.0, abs=0.3)


@pytest.mark.asyncio
async def test_the_reply_of_an_actor_that_was_stopped_in_between_still_arrives() -> None:
    gate = Gate()
    async with ActorSystem() as system:
        ref = await system.spawn(Holder, gate)
        asked = asyncio.create_task(ref.ask(Hold(value=1)))
        await gate.reached()
        ref.stop()
        gate.open()
        assert await asked == 1
        assert isinstance(await ref.wait_stopped(), Shutdown)
