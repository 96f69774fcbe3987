"""M4: what happens to message n+1 under the policy `block`; nothing is lost in silence."""

from __future__ import annotations

import asyncio
import itertools
import logging
import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog.testing

from tests.cast import Fail, Gate, Hold, Holder, Note, Recorder, settle
from understudy import Actor, ActorRef, ActorSystem, AskTimeout, Mailbox, MailboxFull, Message, child, handler


class Call(Message[int]):
    """The handler calls this."""

    value: int
    what: Callable[[], object]


class Caller(Actor[Hold | Call | Note]):
    def __init__(self, gate: Gate, log: list[Any]) -> None:
        self.gate, self.handled = gate, log

    @handler
    async def hold(self, message: Hold) -> int:
        await self.gate.hold()
        self.handled.append(message.value)
        return message.value

    @handler
    def call(self, message: Call) -> int:
        self.handled.append(message.value)
        message.what()
        return message.value

    @handler
    def note(self, message: Note) -> int:
        self.handled.append(message.value)
        return message.value


async def full(system: ActorSystem, gate: Gate, log: list[Any], capacity: int = 3) -> ActorRef[Any]:
    """An actor with message 0 in hand and 1 to *capacity* in its mailbox, which is full with them."""
    ref = await system.spawn(child(Holder, gate, log).options(name="index", mailbox=capacity))
    assert ref.tell(Hold(value=0))
    await gate.reached()
    for value in range(1, capacity + 1):
        assert ref.tell(Note(value=value)) is True
    return ref


@pytest.fixture
def warned(caplog: pytest.LogCaptureFixture) -> Iterator[Callable[[], list[str]]]:
    """The warnings that were logged, by whichever way."""
    caplog.set_level(logging.WARNING)
    with structlog.testing.capture_logs() as entries:
        yield (
            lambda: (
                [str(entry) for entry in entries if entry["log_level"] == "warning"]
                + [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
            )
        )


# The table, row by row.


@pytest.mark.asyncio
async def test_tell_is_false_and_makes_a_dead_letter() -> None:
    gate, log, recorder = Gate(), [], Recorder()
    async with ActorSystem(instruments=[recorder]) as system:
        ref = await full(system, gate, log)
        assert ref.tell(Note(value=4)) is False
        [(message, recipient, _sender, why)] = recorder.letters
        assert message == Note(value=4)
        assert recipient == "/user/index"
        assert "full" in why
        assert recorder.of("mailbox_full") == [("/user/index", 3)]
        gate.open()
        await settle()
        assert log == [0, 1, 2, 3]
        assert len(recorder.letters) == 1
        assert recorder.of("actor_crashed") == []


@pytest.mark.asyncio
async def test_send_waits_without_limit() -> None:
    gate, log, recorder = Gate(), [], Recorder()
    async with ActorSystem(instruments=[recorder]) as system:
        ref = await full(system, gate, log)
        waiting = asyncio.create_task(ref.send(Note(value=4)))
        await asyncio.sleep(7 * 24 * 3600)
        assert not waiting.done()
        gate.open()
        await waiting
        await settle()
        assert log == [0, 1, 2, 3, 4]
        assert recorder.letters == []


@pytest.mark.asyncio
async def test_send_waits_no_longer_than_its_timeout_and_gives_the_message_back() -> None:
    gate, log = Gate(), []
    loop = asyncio.get_running_loop()
    async with ActorSystem() as system:
        ref = await full(system, gate, log)
        begun = loop.time()
        with pytest.raises((MailboxFull, TimeoutError)) as caught:
            await ref.send(Note(value=4), timeout=2.0)
        assert loop.time() - begun == pytest.approx(2.0, abs=0.2)
        assert caught.value.path == "/user/index"
        assert caught.value.message == Note(value=4)
        gate.open()
        await settle()
        assert log == [0, 1, 2, 3]


@pytest.mark.asyncio
async def test_send_with_a_timeout_is_accepted_when_room_comes_in_time() -> None:
    gate, log = Gate(), []
    async with ActorSystem() as system:
        ref = await full(system, gate, log)
        waiting = asyncio.create_task(ref.send(Note(value=4), timeout=2.0))
        await asyncio.sleep(1)
        gate.open()
        await waiting
        await asyncio.sleep(10)
        assert log == [0, 1, 2, 3, 4]


@pytest.mark.asyncio
async def test_ask_waits_for_room_within_its_timeout_which_then_says_never_accepted() -> None:
    gate, log, recorder = Gate(), [], Recorder()
    loop = asyncio.get_running_loop()
    async with ActorSystem(instruments=[recorder]) as system:
        ref = await full(system, gate, log)
        begun = loop.time()
        with pytest.raises(AskTimeout) as caught:
            await ref.ask(Note(value=4), timeout=2.0)
        assert loop.time() - begun == pytest.approx(2.0, abs=0.2)
        assert "never accepted" in str(caught.value)
        assert "never accepted" in caught.value.state
        assert caught.value.message == Note(value=4)
        assert caught.value.path == "/user/index"
        gate.open()
        await settle()
        assert log == [0, 1, 2, 3]
        assert len(recorder.letters) <= 1


@pytest.mark.asyncio
async def test_an_accepted_ask_does_not_say_that_it_was_never_accepted() -> None:
    gate, log = Gate(), []
    async with ActorSystem() as system:
        ref = await system.spawn(Holder, gate, log)
        for held in (Hold(value=0), Note(value=1)):  # the one starts, the other waits behind it
            asked = asyncio.create_task(ref.ask(held, timeout=2.0))
            with pytest.raises(AskTimeout) as caught:
                await asked
            assert "never accepted" not in str(caught.value)


@pytest.mark.asyncio
async def test_ask_is_answered_when_room_comes_in_time() -> None:
    gate, log, recorder = Gate(), [], Recorder()
    async with ActorSystem(instruments=[recorder]) as system:
        ref = await full(system, gate, log)
        asked = asyncio.create_task(ref.ask(Note(value=4), timeout=2.0))
        await asyncio.sleep(1.5)
        assert not asked.done()
        gate.open()
        assert await asked == 4
        assert log == [0, 1, 2, 3, 4]
        assert recorder.letters == []


class Bulk(Message[int]):
    """Cannot be hashed, as little as the list in it."""

    values: list[int]


class Porter(Actor[Bulk | Note]):
    """Takes bulk, and passes each note on as bulk."""

    def __init__(self, gate: Gate, log: list[Any], target: ActorRef[Any] | None = None) -> None:
        self.gate, self.handled, self.target = gate, log, target

    @handler
    async def take(self, message: Bulk) -> int:
        await self.gate.hold()
        self.handled.append(message.values)
        return 0

    @handler
    async def pass_on(self, message: Note) -> int:
        assert self.target is not None
        await self.target.send(Bulk(values=[message.value]))
        return message.value


@pytest.mark.asyncio
async def test_an_actor_may_wait_for_room_with_any_message() -> None:
    gate, log = Gate(), []
    async with ActorSystem() as system:
        target = await system.spawn(child(Porter, gate, log).options(mailbox=1))
        porter = await system.spawn(Porter, gate, log, target)
        assert [target.tell(Bulk(values=[0]))] == [True]
        await gate.reached()
        assert target.tell(Bulk(values=[1]))
        passing = asyncio.create_task(porter.ask(Note(value=2)))
        await settle()
        assert not passing.done()
        gate.open()
        assert await passing == 2
        await settle()
        assert log == [[0], [1], [2]]


# Who waits is served first come first served.


@pytest.mark.parametrize("ways", sorted(set(itertools.permutations(["send", "send", "ask", "ask"]))))
@pytest.mark.parametrize("capacity", [1, 2, 5])
@pytest.mark.asyncio
async def test_those_who_wait_are_served_in_the_order_in_which_they_came(ways: tuple[str, ...], capacity: int) -> None:
    gate, log = Gate(), []
    async with ActorSystem() as system:
        ref = await full(system, gate, log, capacity)
        waiting = []
        for value, way in enumerate(ways, capacity + 1):
            waiting.append(asyncio.create_task(getattr(ref, way)(Note(value=value))))
            await settle()
        gate.open()
        await asyncio.gather(*waiting)
        await settle()
        assert log == list(range(capacity + 1 + len(ways)))


@pytest.mark.parametrize("position", range(4))
@pytest.mark.asyncio
async def test_one_who_gives_up_waiting_is_skipped_and_its_place_is_not_lost(position: int) -> None:
    gate, log, recorder = Gate(), [], Recorder()
    async with ActorSystem(instruments=[recorder]) as system:
        ref = await full(system, gate, log, 1)
        waiting = [asyncio.create_task(ref.send(Note(value=value))) for value in range(2, 6)]
        await settle()
        waiting[position].cancel()
        gate.open()  # in the same tick: room and cancel race
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
        await settle()
        assert [type(outcome) for outcome in outcomes] == [
            asyncio.CancelledError if place == position else type(None) for place in range(4)
        ]
        assert log == [value for value in range(6) if value != position + 2]


@pytest.mark.parametrize("waiters", [1, 2, 5])
@pytest.mark.asyncio
async def test_a_tell_never_overtakes_those_who_wait(waiters: int) -> None:
    gate, log, recorder = Gate(), [], Recorder()
    told: list[bool] = []
    async with ActorSystem(instruments=[recorder]) as system:
        ref = await system.spawn(child(Caller, gate, log).options(mailbox=1))
        ref.tell(Hold(value=0))
        await gate.reached()
        # Handled while there is room in the mailbox, and before those who wait for it have had a turn.
        assert ref.tell(Call(value=1, what=lambda: told.append(ref.tell(Note(value=99)))))
        waiting = [asyncio.create_task(ref.send(Note(value=value))) for value in range(2, 2 + waiters)]
        await settle()
        assert ref.tell(Note(value=98)) is False
        gate.open()
        await asyncio.gather(*waiting)
        await settle()
        expected = list(range(2 + waiters))
        if told == [True]:
            expected.append(99)
        assert log == expected
        lost = [message.value for message, *_ in recorder.letters]
        assert lost == ([98] if told == [True] else [98, 99])


@pytest.mark.asyncio
async def test_tells_that_press_in_at_every_turn_do_not_overtake() -> None:
    gate, log = Gate(), []
    async with ActorSystem() as system:
        ref = await full(system, gate, log, 2)
        waiting = [asyncio.create_task(ref.send(Note(value=value))) for value in range(100, 120)]
        await settle()
        gate.open()
        value = 1000
        accepted = []
        while not all(task.done() for task in waiting):
            if ref.tell(Note(value=value)):
                accepted.append(value)
            value += 1
            await asyncio.sleep(0)
        await settle()
        assert [value for value in log if value < 1000] == [0, 1, 2, *range(100, 120)]
        assert [value for value in log if value >= 1000] == accepted


@pytest.mark.asyncio
async def test_those_who_wait_stay_in_line_across_a_restart() -> None:
    gate, log, recorder = Gate(), [], Recorder()
    async with ActorSystem(instruments=[recorder]) as system:
        ref = await system.spawn(child(Holder, gate, log).options(mailbox=1))
        ref.tell(Hold(value=0))
        await gate.reached()
        assert ref.tell(Fail(error=ValueError("boom")))
        waiting = [asyncio.create_task(ref.send(Note(value=value))) for value in range(2, 6)]
        await settle()
        gate.open()
        await asyncio.gather(*waiting)
        await settle()
        assert log == [0, 2, 3, 4, 5]
        assert len(recorder.of("actor_restarting")) == 1


# What is lost is seen.


@pytest.mark.asyncio
async def test_each_lost_message_makes_exactly_one_dead_letter() -> None:
    gate, log, recorder = Gate(), [], Recorder()
    async with ActorSystem(instruments=[recorder]) as system:
        ref = await full(system, gate, log)
        assert [ref.tell(Note(value=value)) for value in range(100, 150)] == [False] * 50
        await settle()
        assert [message.value for message, *_ in recorder.letters] == list(range(100, 150))
        assert all("full" in why for *_, why in recorder.letters)
        assert system.statistics().dead_letters == 50
        gate.open()
        await settle()
        assert log == [0, 1, 2, 3]
        assert len(recorder.letters) == 50


@pytest.mark.asyncio
async def test_the_first_refusal_of_a_target_is_a_warning_with_the_remedy(warned: Callable[[], list[str]]) -> None:
    gate = Gate()
    async with ActorSystem() as system:
        ref = await full(system, gate, [])
        assert [text for text in warned() if "/user/index" in text] == []
        ref.tell(Note(value=4))
        await settle()
        [text] = [text for text in warned() if "/user/index" in text]
        assert "full" in text
        assert "3" in text
        assert "await ref.send(...)" in text
        assert "mailbox=" in text


@pytest.mark.asyncio
async def test_to_wait_for_room_is_no_refusal(warned: Callable[[], list[str]]) -> None:
    gate = Gate()
    async with ActorSystem() as system:
        ref = await full(system, gate, [])
        waiting = [asyncio.create_task(way(Note(value=4))) for way in (ref.send, ref.ask)]
        await settle()
        assert [text for text in warned() if "full" in text] == []
        ref.tell(Note(value=5))
        await settle()
        assert len([text for text in warned() if "full" in text]) == 1
        gate.open()
        await asyncio.gather(*waiting)


@pytest.mark.asyncio
async def test_later_refusals_are_not_a_warning_each(warned: Callable[[], list[str]]) -> None:
    gate = Gate()
    async with ActorSystem() as system:
        ref = await full(system, gate, [])
        for value in range(1000):
            ref.tell(Note(value=value))
        await settle()
        assert len([text for text in warned() if "full" in text]) == 1


@pytest.mark.asyncio
async def test_later_refusals_are_counted_in_a_summary() -> None:
    gate = Gate()
    with structlog.testing.capture_logs() as entries:
        async with ActorSystem() as system:
            ref = await full(system, gate, [])
            for value in range(1000):
                ref.tell(Note(value=value))
            await asyncio.sleep(60)
            assert [entry for entry in entries if "full" in str(entry) and "999" in str(entry)]
            assert len([entry for entry in entries if "full" in str(entry)]) <= 4


@pytest.mark.asyncio
async def test_refusals_that_go_on_for_long_are_not_a_warning_each(warned: Callable[[], list[str]]) -> None:
    gate = Gate()
    async with ActorSystem() as system:
        ref = await full(system, gate, [])
        for value in range(100):
            ref.tell(Note(value=value))
            await asyncio.sleep(2)
        assert len([text for text in warned() if "full" in text]) < 50


@pytest.mark.asyncio
async def test_each_target_has_a_warning_of_its_own(warned: Callable[[], list[str]]) -> None:
    async with ActorSystem() as system:
        for name in ("left", "right"):
            gate = Gate()
            ref = await system.spawn(child(Holder, gate).options(name=name, mailbox=1))
            ref.tell(Hold())
            await gate.reached()
            assert [ref.tell(Note()) for _ in range(4)] == [True, False, False, False]
        await settle()
        assert len([text for text in warned() if "/user/left" in text and "full" in text]) == 1
        assert len([text for text in warned() if "/user/right" in text and "full" in text]) == 1


# How much fits.


@pytest.mark.asyncio
async def test_ten_thousand_messages_fit_by_default_and_one_more_does_not() -> None:
    gate, log = Gate(), []
    async with ActorSystem() as system:
        ref = await system.spawn(Holder, gate, log)
        ref.tell(Hold(value=-1))
        await gate.reached()
        assert [ref.tell(Note(value=value)) for value in range(10_001)] == [*[True] * 10_000, False]
        gate.open()
        await settle()
        assert log == list(range(-1, 10_000))


@pytest.mark.parametrize("mailbox", [math.inf, Mailbox(capacity=math.inf)])
@pytest.mark.asyncio
async def test_a_mailbox_without_limit_is_never_full(mailbox: Any) -> None:
    gate, log, recorder = Gate(), [], Recorder()
    async with ActorSystem(instruments=[recorder]) as system:
        ref = await system.spawn(child(Holder, gate, log).options(mailbox=mailbox))
        ref.tell(Hold(value=-1))
        await gate.reached()
        assert all(ref.tell(Note(value=value)) for value in range(10_500))
        gate.open()
        await settle()
        assert log == list(range(-1, 10_500))
        assert recorder.letters == []


@pytest.mark.asyncio
async def test_a_full_mailbox_that_has_emptied_takes_tells_again() -> None:
    gate, log = Gate(), []
    async with ActorSystem() as system:
        ref = await full(system, gate, log)
        assert ref.tell(Note(value=99)) is False
        gate.open()
        await settle()
        assert [ref.tell(Note(value=value)) for value in (4, 5, 6)] == [True] * 3
        await settle()
        assert log == list(range(7))
