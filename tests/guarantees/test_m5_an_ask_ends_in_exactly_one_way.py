"""M5: an ask ends once, in one way; a late reply hurts nobody and is one dead letter."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from tests.cast import Fail, Gate, Handled, Hold, Holder, Note, Recorder, Refuse, Unknown, settle
from understudy import (
    Actor,
    ActorFailed,
    ActorStopped,
    ActorSystem,
    AskCycle,
    AskTimeout,
    Message,
    Refused,
    Unhandled,
    handler,
)


class Ask(Message[str]):
    """Asks somebody and tells how it ended."""

    whom: Any
    what: Any
    timeout: float | None = None


class Asker(Actor[Ask]):
    def __init__(self, stray: list[object]) -> None:
        self.stray = stray

    @handler
    async def ask(self, message: Ask) -> str:
        try:
            return repr(await message.whom.ask(message.what, timeout=message.timeout))
        except Exception as error:
            return type(error).__name__

    def handle_message(self, message: object) -> object:
        self.stray.append(message)
        return None


@pytest.mark.asyncio
async def test_each_way_in_which_an_ask_ends() -> None:
    stray: list[object] = []
    async with ActorSystem() as system:
        asker = await system.spawn(Asker, stray)
        held, stopped = await system.spawn(Holder, Gate()), await system.spawn(Holder)
        target = await system.spawn(Holder)
        stopped.stop()
        await stopped.wait_stopped()
        ends = {
            "7": Ask(whom=target, what=Note(value=7)),
            "Refused": Ask(whom=target, what=Refuse()),
            "ActorFailed": Ask(whom=target, what=Fail(error=ValueError("boom"))),
            "Unhandled": Ask(whom=target, what=Unknown()),
            "AskTimeout": Ask(whom=held, what=Hold(), timeout=1.0),
            "ActorStopped": Ask(whom=stopped, what=Note()),
            "AskCycle": Ask(whom=asker, what=Ask(whom=target, what=Note())),
        }
        for expected, message in ends.items():
            assert await asker.ask(message) == expected
        await settle()
        assert stray == []


@pytest.mark.parametrize(
    "kind", [Refused, ActorFailed, Unhandled, AskTimeout, ActorStopped, AskCycle], ids=lambda kind: kind.__name__
)
def test_each_of_them_can_be_caught_by_one_root(kind: type[Exception]) -> None:
    from understudy import UnderstudyError

    assert issubclass(kind, UnderstudyError)
    others = {Refused, ActorFailed, Unhandled, AskTimeout, ActorStopped, AskCycle} - {kind}
    assert not any(issubclass(kind, other) for other in others)


@pytest.mark.asyncio
async def test_a_late_reply_is_one_dead_letter_and_reaches_nobody() -> None:
    gate, log, recorder, stray = Gate(), [], Recorder(), []
    async with ActorSystem(instruments=[recorder]) as system:
        asker = await system.spawn(Asker, stray)
        target = await system.spawn(Holder, gate, log)
        assert await asker.ask(Ask(whom=target, what=Hold(value=41), timeout=1.0)) == "AskTimeout"
        assert recorder.letters == []
        gate.open()
        await settle()
        assert log == [41]
        assert len(recorder.letters) == 1
        assert system.statistics().dead_letters == 1
        assert stray == []
        assert recorder.of("actor_crashed") == []
        assert await target.ask(Handled()) == [41]
        assert await asker.ask(Ask(whom=target, what=Note(value=1))) == "1"
        assert len(recorder.letters) == 1


@pytest.mark.parametrize(
    ("outcome", "crashes"),
    [(ValueError("late"), 1), (Refused("late no"), 0)],
)
@pytest.mark.asyncio
async def test_a_late_error_reaches_nobody_either(outcome: Exception, crashes: int) -> None:
    gate, recorder = Gate(), Recorder()

    class Late(Actor[Hold]):
        @handler
        async def hold(self, message: Hold) -> int:
            await gate.hold()
            raise outcome

    async with ActorSystem(instruments=[recorder]) as system:
        ref = await system.spawn(Late)
        with pytest.raises(AskTimeout):
            await ref.ask(Hold(), timeout=1.0)
        gate.open()
        await settle()
        assert len(recorder.of("actor_crashed")) == crashes
        assert len(recorder.letters) <= 1
        assert ref.status == "running"


@pytest.mark.asyncio
async def test_an_ask_that_was_cancelled_while_it_was_queued_is_not_started() -> None:
    gate, log = Gate(), []
    async with ActorSystem() as system:
        ref = await system.spawn(Holder, gate, log)
        ref.tell(Hold(value=1))
        await gate.reached()
        asked = asyncio.create_task(ref.ask(Note(value=2)))
        await settle()
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        ref.tell(Note(value=3))
        gate.open()
        await settle()
        assert log == [1, 3]


@pytest.mark.asyncio
async def test_the_queued_ask_of_an_actor_that_was_killed_is_not_started() -> None:
    gate, log = Gate(), []
    async with ActorSystem() as system:
        target = await system.spawn(Holder, gate, log)
        asker = await system.spawn(Asker, [])
        target.tell(Hold(value=1))
        await gate.reached()
        asked = asyncio.create_task(asker.ask(Ask(whom=target, what=Note(value=2))))
        await settle()
        asker.kill()
        with pytest.raises((ActorStopped, ActorFailed)):
            await asked
        gate.open()
        await settle()
        assert log == [1]


@pytest.mark.asyncio
async def test_an_ask_that_was_cancelled_in_handling_is_finished_and_its_reply_is_one_dead_letter() -> None:
    gate, log, recorder = Gate(), [], Recorder()
    async with ActorSystem(instruments=[recorder]) as system:
        ref = await system.spawn(Holder, gate, log)
        asked = asyncio.create_task(ref.ask(Hold(value=1)))
        await gate.reached()
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        assert log == []
        gate.open()
        await settle()
        assert log == [1]
        assert len(recorder.letters) == 1
        assert recorder.of("actor_crashed") == []


@pytest.mark.asyncio
async def test_an_ask_that_was_cancelled_while_it_waited_for_room_is_never_sent() -> None:
    from understudy import child

    gate, log = Gate(), []
    async with ActorSystem() as system:
        ref = await system.spawn(child(Holder, gate, log).options(mailbox=1))
        ref.tell(Hold(value=1))
        await gate.reached()
        ref.tell(Note(value=2))
        asked = asyncio.create_task(ref.ask(Note(value=3)))
        await settle()
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        gate.open()
        await settle()
        assert log == [1, 2]


@pytest.mark.parametrize("between", range(6))
@pytest.mark.parametrize("first", ["reply", "cancel"])
@pytest.mark.asyncio
async def test_a_reply_and_a_cancel_that_race_end_the_ask_once(first: str, between: int) -> None:
    gate, log, recorder = Gate(), [], Recorder()
    async with ActorSystem(instruments=[recorder]) as system:
        ref = await system.spawn(Holder, gate, log)
        asked = asyncio.create_task(ref.ask(Hold(value=1)))
        await gate.reached()
        steps: list[Callable[[], object]] = [gate.open, asked.cancel]
        for step in steps if first == "reply" else reversed(steps):
            step()
            for _ in range(between):
                await asyncio.sleep(0)
        [outcome] = await asyncio.gather(asked, return_exceptions=True)
        await settle()
        assert log == [1]
        assert outcome == 1 or isinstance(outcome, asyncio.CancelledError)
        assert len(recorder.letters) <= (0 if outcome == 1 else 1)
        assert await ref.ask(Handled()) == [1]


@pytest.mark.parametrize("offset", [-0.01, 0.0, 0.01])
@pytest.mark.asyncio
async def test_a_reply_and_a_timeout_that_race_end_the_ask_once(offset: float) -> None:
    gate, log, recorder = Gate(), [], Recorder()
    loop = asyncio.get_running_loop()
    async with ActorSystem(instruments=[recorder]) as system:
        ref = await system.spawn(Holder, gate, log)
        for round_ in range(10):
            recorder.events.clear()
            gate.shut()
            loop.call_later(2.0 + offset, gate.open)
            [outcome] = await asyncio.gather(ref.ask(Hold(value=round_), timeout=2.0), return_exceptions=True)
            await asyncio.sleep(1)
            assert outcome == round_ or isinstance(outcome, AskTimeout)
            assert len(recorder.letters) == (0 if outcome == round_ else 1)
        assert log == list(range(10))


@pytest.mark.asyncio
async def test_the_timeout_says_how_far_it_was_seen_to_get() -> None:
    gate = Gate()
    async with ActorSystem() as system:
        ref = await system.spawn(Holder, gate)
        in_hand = asyncio.create_task(ref.ask(Hold(value=1), timeout=2.0))
        await gate.reached()
        queued = asyncio.create_task(ref.ask(Note(value=2), timeout=2.0))
        for asked, name in ((in_hand, "Hold"), (queued, "Note")):
            with pytest.raises(AskTimeout) as caught:
                await asked
            assert caught.value.path == ref.path
            assert caught.value.seconds == 2.0
            assert caught.value.state
            assert isinstance(caught.value, TimeoutError)
            assert f"{ref.path} did not reply to {name} within 2 s" in str(caught.value)
        assert in_hand.exception().state != queued.exception().state  # type: ignore[union-attr]


@pytest.mark.asyncio
async def test_a_thousand_asks_get_each_its_own_reply() -> None:
    async with ActorSystem() as system:
        ref = await system.spawn(Holder)
        replies = await asyncio.gather(*(ref.ask(Note(value=value)) for value in range(1_000)))
        assert replies == list(range(1_000))


class Greet(Message[str]):
    """Answered in the very tick in which whoever asks is cancelled."""

    asker: Any


class Greeter(Actor[Greet]):
    @handler
    async def greet(self, message: Greet) -> str:
        await asyncio.sleep(0)  # a reply that came sooner would find an asker that does not wait yet
        asyncio.get_running_loop().call_soon(message.asker[0].cancel)
        return "hello"


@pytest.mark.asyncio
async def test_a_reply_of_the_tick_in_which_the_asker_is_cancelled_is_one_dead_letter() -> None:
    recorder = Recorder()
    async with ActorSystem(instruments=[recorder]) as system:
        greeter = await system.spawn(Greeter)
        asker: list[asyncio.Task[str]] = []
        asker.append(asyncio.create_task(greeter.ask(Greet(asker=asker))))
        await asyncio.wait(asker)
        assert asker[0].cancelled()
        assert recorder.letters == [("hello", "(asker)", "/user/greeter", "late reply")]
        assert greeter.status == "running"
