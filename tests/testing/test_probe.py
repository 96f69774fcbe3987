from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from tests.cast import Fail, Hold, Holder, Note, Recorder, settle
from understudy import (
    Actor,
    ActorFailed,
    ActorRef,
    ActorStopped,
    ActorSystem,
    AskTimeout,
    DeadLetter,
    Message,
    NameTaken,
    Refused,
    Shutdown,
    SubscribeDeadLetters,
    handler,
)
from understudy.testing._probe import TestProbe


class Pass(Message[int]):
    """Passed on as a Note: asked, and the answer doubled."""

    value: int


class Middle(Actor[Pass | Note]):
    """Stands between the test and a probe."""

    def __init__(self, other: ActorRef[Any]) -> None:
        self.other = other

    @handler
    async def ask_on(self, message: Pass) -> int:
        return 2 * await self.other.ask(Note(value=message.value))

    @handler
    def tell_on(self, message: Note) -> int:
        self.other.tell(message, sender=self.context.ref)
        return 0


@pytest_asyncio.fixture
async def system(recorder: Recorder) -> AsyncIterator[ActorSystem]:
    async with ActorSystem(instruments=[recorder]) as system:
        yield system


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


# Expecting


@pytest.mark.asyncio
async def test_messages_are_expected_in_the_order_in_which_they_came(system: ActorSystem) -> None:
    probe = await TestProbe.start(system)
    for value in range(3):
        probe.ref.tell(Note(value=value))
    assert [(await probe.expect(Note)).value for _ in range(3)] == [0, 1, 2]
    await probe.expect_no_message()
    assert probe.messages == [Note(value=0), Note(value=1), Note(value=2)]


@pytest.mark.asyncio
async def test_a_message_that_comes_later_is_waited_for(system: ActorSystem) -> None:
    probe = await TestProbe.start(system)
    loop = asyncio.get_running_loop()
    loop.call_later(2.5, lambda: probe.ref.tell(Note(value=1)))
    assert await probe.expect(Note) == Note(value=1)
    loop.call_later(50, lambda: probe.ref.tell(Note(value=2)))
    assert await probe.expect(Note, timeout=60) == Note(value=2)
    assert loop.time() == pytest.approx(52.5)


@pytest.mark.asyncio
async def test_any_object_can_be_told_and_a_base_class_expected(system: ActorSystem) -> None:
    probe = await TestProbe.start(system)
    probe.ref.tell("a text")
    probe.ref.tell(Note())
    assert await probe.expect(str) == "a text"
    assert isinstance(await probe.expect(Message), Note)


@pytest.mark.asyncio
async def test_another_message_than_expected_is_an_error_that_shows_all_and_the_message_stays(
    system: ActorSystem,
) -> None:
    probe = await TestProbe.start(system, "listener")
    for message in (Note(value=1), Hold(value=2), Note(value=3)):
        probe.ref.tell(message)
    await probe.expect(Note)
    await settle()
    with pytest.raises(AssertionError) as caught:
        await probe.expect(Fail)
    assert str(caught.value) == (
        "probe /user/listener expected Fail, got Hold(value=2); "
        "it has got: Note(value=1), Hold(value=2), Note(value=3); not expected yet: Hold(value=2), Note(value=3)"
    )
    assert await probe.expect(Hold) == Hold(value=2)


@pytest.mark.asyncio
async def test_a_message_that_does_not_come_is_an_error_that_says_what_came(system: ActorSystem) -> None:
    probe = await TestProbe.start(system)
    probe.ref.tell(Note(value=1))
    await probe.expect(Note)
    with pytest.raises(AssertionError, match=r"waited 3 s for Hold; it has got: Note\(value=1\); not .*: nothing"):
        await probe.expect(Hold)
    assert asyncio.get_running_loop().time() >= 3


@pytest.mark.asyncio
async def test_no_message_means_none_now_none_in_time_and_none_behind_an_ask(system: ActorSystem) -> None:
    probe = await TestProbe.start(system)
    await probe.expect_no_message(5)
    assert asyncio.get_running_loop().time() >= 5
    asyncio.get_running_loop().call_later(0.05, lambda: probe.ref.tell(Note(value=1)))
    with pytest.raises(AssertionError, match=r"expected no message, got Note\(value=1\)"):
        await probe.expect_no_message()
    with pytest.raises(AssertionError, match=r"expected no message, got Note\(value=1\)"):
        await probe.expect_no_message()
    await probe.expect(Note)
    async with asyncio.TaskGroup() as group:
        group.create_task(probe.ref.ask(Hold(value=2)))
        await probe.expect(Hold)
        probe.ref.tell(Note(value=3))
        with pytest.raises(AssertionError, match=r"holds the ask Hold\(value=2\) .*, 1 waiting behind it"):
            await probe.expect_no_message()
        probe.reply(0)
    assert await probe.expect(Note) == Note(value=3)


@pytest.mark.asyncio
async def test_one_at_a_time_waits_for_a_message(system: ActorSystem) -> None:
    probe = await TestProbe.start(system)
    first = asyncio.ensure_future(probe.expect(Note))
    await asyncio.sleep(0)
    with pytest.raises(RuntimeError, match="waiting for this probe's next message already"):
        await probe.expect(Note)
    probe.ref.tell(Note(value=1))
    assert await first == Note(value=1)


# Replying


@pytest.mark.asyncio
async def test_an_ask_is_held_until_it_is_replied_to(system: ActorSystem, recorder: Recorder) -> None:
    probe = await TestProbe.start(system)
    middle = await system.spawn(Middle, probe.ref)
    asked = asyncio.ensure_future(middle.ask(Pass(value=4)))
    assert (await probe.expect(Note)).value == 4
    assert probe.last_sender == middle
    await settle()
    assert not asked.done()
    probe.reply(21)
    assert await asked == 42
    assert recorder.letters == []


@pytest.mark.asyncio
async def test_what_comes_after_an_ask_waits_until_it_is_answered(system: ActorSystem) -> None:
    probe = await TestProbe.start(system)
    async with asyncio.TaskGroup() as group:
        asks = [group.create_task(probe.ref.ask(Note(value=value))) for value in range(3)]
        for value in range(3):
            assert (await probe.expect(Note)).value == value
            assert len(probe.messages) == value + 1
            probe.reply(10 * value)
    assert [ask.result() for ask in asks] == [0, 10, 20]


@pytest.mark.asyncio
async def test_the_sender_of_a_told_message_is_the_one_that_was_named(system: ActorSystem) -> None:
    probe = await TestProbe.start(system)
    middle = await system.spawn(Middle, probe.ref)
    assert probe.last_sender is None
    middle.tell(Note(value=1))
    await probe.expect(Note)
    assert probe.last_sender == middle
    probe.ref.tell(Note(value=2))
    await probe.expect(Note)
    assert probe.last_sender is None


@pytest.mark.parametrize("error", [Refused("not today"), ActorStopped(path="/user/x", reason=Shutdown())])
@pytest.mark.asyncio
async def test_an_error_of_understudy_reaches_the_asker_as_it_is(
    system: ActorSystem, recorder: Recorder, error: Exception
) -> None:
    probe = await TestProbe.start(system)
    asked = asyncio.ensure_future(probe.ref.ask(Note()))
    await probe.expect(Note)
    probe.fail(error)
    with pytest.raises(type(error)) as caught:
        await asked
    assert caught.value is error
    await settle()
    assert recorder.of("actor_crashed") == []
    assert recorder.letters == []


@pytest.mark.asyncio
async def test_any_other_error_reaches_the_asker_like_a_crash_and_the_probe_lives_on(
    system: ActorSystem, recorder: Recorder
) -> None:
    probe = await TestProbe.start(system)
    for _ in range(20):
        asked = asyncio.ensure_future(probe.ref.ask(Note()))
        await probe.expect(Note)
        probe.fail(ValueError("broken"))
        with pytest.raises(ActorFailed, match=r"/user/probe.*Note.*broken") as caught:
            await asked
        assert isinstance(caught.value.__cause__, ValueError)
    await settle()
    assert recorder.of("actor_crashed") == []
    assert recorder.letters == []


@pytest.mark.asyncio
async def test_there_must_be_an_ask_to_reply_to(system: ActorSystem) -> None:
    probe = await TestProbe.start(system)
    with pytest.raises(AssertionError, match="has nothing to reply to: no message has been expected yet"):
        probe.reply(1)
    probe.ref.tell(Note(value=1))
    await probe.expect(Note)
    with pytest.raises(AssertionError, match=r"nothing to fail: Note\(value=1\) was told, so nobody waits"):
        probe.fail(ValueError())
    asked = asyncio.ensure_future(probe.ref.ask(Note(value=2)))
    await probe.expect(Note)
    probe.reply(1)
    with pytest.raises(AssertionError, match=r"nothing to reply to: Note\(value=2\) has its answer already"):
        probe.reply(2)
    assert await asked == 1
    asked = asyncio.ensure_future(probe.ref.ask(Note(value=3)))
    await probe.expect(Note)
    probe.fail(ValueError("once"))
    with pytest.raises(AssertionError, match=r"nothing to fail: .*Note\(value=3\) has its answer"):
        probe.fail(ValueError("twice"))
    with pytest.raises(ActorFailed, match="once"):
        await asked


@pytest.mark.parametrize("how", ["timeout", "cancel"])
@pytest.mark.asyncio
async def test_an_asker_that_has_given_up_gets_no_reply_and_the_next_message_comes(
    system: ActorSystem, recorder: Recorder, how: str
) -> None:
    probe = await TestProbe.start(system)
    asked = asyncio.ensure_future(probe.ref.ask(Note(value=1), timeout=2))
    await probe.expect(Note)
    probe.ref.tell(Hold(value=2))
    if how == "cancel":
        asked.cancel()
    await asyncio.wait([asked])
    with pytest.raises(AssertionError, match=r"the asker of Note\(value=1\) has its answer or has given up"):
        probe.reply(1)
    assert asked.cancelled() or isinstance(asked.exception(), AskTimeout)
    assert await probe.expect(Hold) == Hold(value=2)
    assert recorder.letters == []


# Life


@pytest.mark.asyncio
async def test_probes_have_names_like_other_actors_and_live_under_actors_too(system: ActorSystem) -> None:
    paths = [(await TestProbe.start(system, name)).ref.path for name in (None, None, "ear")]
    assert paths == ["/user/probe", "/user/probe-2", "/user/ear"]
    with pytest.raises(NameTaken):
        await TestProbe.start(system, "ear")

    probes: list[TestProbe] = []

    class Parent(Actor[Note]):
        async def initialize(self) -> None:
            probes.append(await TestProbe.start(self.context, "inner"))

        @handler
        def note(self, message: Note) -> int:
            probes[0].ref.tell(message, sender=self.context.ref)
            return 0

    parent = await system.spawn(Parent)
    parent.tell(Note(value=7))
    assert await probes[0].expect(Note) == Note(value=7)
    assert probes[0].ref.path == "/user/parent/inner"
    assert probes[0].last_sender == parent


@pytest.mark.asyncio
async def test_a_system_does_not_wait_for_a_probe_that_holds_an_ask() -> None:
    async with ActorSystem() as system:
        probe = await TestProbe.start(system)
        asked = asyncio.ensure_future(probe.ref.ask(Note()))
        await probe.expect(Note)
        before = asyncio.get_running_loop().time()
    assert asyncio.get_running_loop().time() == pytest.approx(before, abs=0.2)
    assert isinstance(asked.exception(), ActorStopped)
    with pytest.raises(AssertionError, match="has given up"):
        probe.reply(1)


@pytest.mark.asyncio
async def test_a_probe_remembers_what_came_before_a_restart(system: ActorSystem) -> None:
    probe = await TestProbe.start(system)
    probe.ref.tell(Note(value=1))
    await settle()
    probe.ref.kill()
    await settle()
    probe.ref.tell(Note(value=2))
    assert [(await probe.expect(Note)).value for _ in range(2)] == [1, 2]


@pytest.mark.asyncio
async def test_a_probe_can_subscribe_to_dead_letters(system: ActorSystem) -> None:
    probe = await TestProbe.start(system)
    holder = await system.spawn(Holder)
    await system.dead_letters.ask(SubscribeDeadLetters(subscriber=probe.ref))
    holder.stop()
    await holder.wait_stopped()
    assert not holder.tell(Note(value=1))
    letter = await probe.expect(DeadLetter)
    assert (letter.message, letter.recipient) == (Note(value=1), holder.path)
    assert "/user/probe, 1 messages" in repr(probe)


def test_pytest_does_not_take_it_for_a_class_of_tests() -> None:
    assert TestProbe.__test__ is False
