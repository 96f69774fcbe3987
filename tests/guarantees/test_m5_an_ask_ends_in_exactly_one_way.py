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
    ActorRef,
    ActorStopped,
    ActorSystem,
    AskCycle,
    AskTimeout,
    InvalidContext,
    Message,
    NoReply,
    Refused,
    Reply,
    UnderstudyError,
    Unhandled,
    child,
    handler,
)
from understudy.testing import Faults, Simulation, simulate


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


# Replies that are given later.


class Later(Message[int]):
    """Promised; answered by `Answer` or by nobody."""

    value: int = 0


class Answer(Message[list[bool]]):
    """Answer what has been promised with these, one after the other."""

    answers: tuple[Any, ...]


class Forget(Message):
    """Let go of the handles."""


class Clerk(Actor[Later | Answer | Forget | Note | Fail]):
    def __init__(self, handles: list[Reply[int]] | None = None) -> None:
        self.handles = [] if handles is None else handles

    @handler
    def promise(self, message: Later) -> Reply[int]:
        reply = self.context.reply_later(message)
        self.handles.append(reply)
        return reply

    @handler
    def answer(self, message: Answer) -> list[bool]:
        handle = self.handles[0]
        return [handle.fail(each) if isinstance(each, Exception) else handle.send(each) for each in message.answers]

    @handler
    def forget(self, message: Forget) -> None:
        self.handles.clear()

    @handler
    def note(self, message: Note) -> int:
        return message.value

    @handler
    def fail(self, message: Fail) -> int:
        raise message.error


async def promised(system: ActorSystem, ref: ActorRef[Any], timeout: float = 60.0) -> asyncio.Task[Any]:
    asked = asyncio.create_task(ref.ask(Later(), timeout=timeout))
    await settle()
    assert not asked.done()
    return asked


@pytest.mark.asyncio
async def test_a_promised_reply_comes_when_it_is_sent_and_the_actor_works_on_meanwhile() -> None:
    recorder = Recorder()
    async with ActorSystem(instruments=[recorder]) as system:
        clerk = await system.spawn(Clerk)
        asked = await promised(system, clerk)
        assert await clerk.ask(Note(value=1)) == 1
        assert await clerk.ask(Answer(answers=(7,))) == [True]
        assert await asked == 7
        assert recorder.letters == []


@pytest.mark.asyncio
async def test_the_first_reply_wins_and_each_later_one_is_one_dead_letter() -> None:
    recorder = Recorder()
    async with ActorSystem(instruments=[recorder]) as system:
        clerk = await system.spawn(Clerk)
        asked = await promised(system, clerk)
        late = ValueError("late")
        assert await clerk.ask(Answer(answers=(1, 2, late))) == [True, False, False]
        assert await asked == 1
        assert recorder.letters == [(each, "(asker)", clerk.path, "late reply") for each in (2, late)]


@pytest.mark.asyncio
async def test_a_promised_reply_that_comes_after_the_timeout_is_one_dead_letter() -> None:
    recorder = Recorder()
    async with ActorSystem(instruments=[recorder]) as system:
        clerk = await system.spawn(Clerk)
        asked = await promised(system, clerk, timeout=1.0)
        with pytest.raises(AskTimeout):
            await asked
        assert recorder.letters == []
        assert await clerk.ask(Answer(answers=(7,))) == [False]
        assert recorder.letters == [(7, "(asker)", clerk.path, "late reply")]


@pytest.mark.asyncio
async def test_a_promised_reply_may_be_an_error_and_the_actor_is_unharmed() -> None:
    recorder = Recorder()
    async with ActorSystem(instruments=[recorder]) as system:
        clerk, other = await system.spawn(Clerk), await system.spawn(Clerk)
        asked = await promised(system, clerk)
        error = ValueError("no ink")
        assert await clerk.ask(Answer(answers=(error,))) == [True]
        with pytest.raises(ActorFailed, match=f"{clerk.path} failed while handling Later") as caught:
            await asked
        assert caught.value.__cause__ is error
        asked = await promised(system, other)
        assert await other.ask(Answer(answers=(Refused("not today"),))) == [True]
        with pytest.raises(Refused, match="not today"):
            await asked
        assert recorder.of("actor_crashed") == []


@pytest.mark.parametrize("how", ["answered", "timeout", "cancelled", "dropped", "killed"])
@pytest.mark.asyncio
async def test_who_has_promised_a_reply_hears_once_that_nobody_waits_any_more(how: str) -> None:
    handles: list[Reply[int]] = []
    heard: list[str] = []
    async with ActorSystem() as system:
        clerk = await system.spawn(Clerk, handles)
        asked = await promised(system, clerk, timeout=1.0)
        handles[0].when_closed(lambda: heard.append(how))
        assert heard == []
        match how:
            case "answered":
                assert await clerk.ask(Answer(answers=(7, 8))) == [True, False]
            case "cancelled":
                asked.cancel()
            case "dropped":
                clerk.tell(Forget())
            case "killed":
                clerk.kill()
            case _:
                pass
        await asyncio.wait([asked])
        await settle()
        assert heard == [how]
        assert asked.cancelled() or how == "answered" or asked.exception() is not None


@pytest.mark.asyncio
async def test_a_promise_that_is_dropped_fails_the_ask_at_once() -> None:
    loop = asyncio.get_running_loop()
    async with ActorSystem() as system:
        clerk = await system.spawn(Clerk)
        asked = await promised(system, clerk)
        begun = loop.time()
        clerk.tell(Forget())
        with pytest.raises(NoReply) as caught:
            await asked
        assert loop.time() - begun < 0.1
        assert str(caught.value) == f"{clerk.path} promised a reply to Later and dropped the promise"
        assert await clerk.ask(Note(value=1)) == 1


@pytest.mark.parametrize(
    "end",
    [lambda ref: ref.stop(), lambda ref: ref.kill(), lambda ref: ref.tell(Fail(error=ValueError("boom")))],
    ids=["stop", "kill", "crash"],
)
@pytest.mark.asyncio
async def test_the_end_of_its_incarnation_fails_a_promised_reply_whoever_holds_the_handle(
    end: Callable[[ActorRef[Any]], object],
) -> None:
    recorder, handles = Recorder(), list[Reply[int]]()
    loop = asyncio.get_running_loop()
    async with ActorSystem(instruments=[recorder]) as system:
        clerk = await system.spawn(Clerk, handles)
        asked = await promised(system, clerk)
        begun = loop.time()
        end(clerk)
        with pytest.raises(NoReply) as caught:
            await asked
        assert loop.time() - begun < 0.1
        assert caught.value.reason is not None
        assert "ended without one" in str(caught.value)
        assert not handles[0].open
        assert handles[0].send(7) is False
        assert recorder.letters[-1] == (7, "(asker)", clerk.path, "late reply")


@pytest.mark.asyncio
async def test_the_shutdown_hook_may_still_answer_what_was_promised() -> None:
    class Orderly(Actor[Later]):
        @handler
        async def promise(self, message: Later) -> int:
            self.reply = self.context.reply_later(message)
            return -1  # not the reply

        def shutdown(self, reason: object) -> None:
            self.reply.send(7)

    async with ActorSystem() as system:
        ref = await system.spawn(Orderly)
        asked = await promised(system, ref)
        ref.stop()
        assert await asked == 7


@pytest.mark.asyncio
async def test_a_handler_that_crashes_after_its_promise_fails_the_ask_as_a_crash() -> None:
    class Hasty(Actor[Later]):
        @handler
        def promise(self, message: Later) -> int:
            self.reply = self.context.reply_later(message)
            raise ValueError("boom")

    async with ActorSystem() as system:
        ref = await system.spawn(Hasty)
        with pytest.raises(ActorFailed):
            await ref.ask(Later())


@pytest.mark.asyncio
async def test_only_the_ask_in_hand_can_be_promised_a_reply_and_only_once() -> None:
    problems: list[str] = []

    class Confused(Actor[Later | Note]):
        def _try(self, message: Message[Any] | None) -> None:
            try:
                self.kept = self.context.reply_later(message)  # type: ignore[arg-type]
            except InvalidContext as error:
                problems.append(str(error))

        @handler
        async def later(self, message: Later) -> int:
            self._try(Note(value=1))
            self._try(message)
            self._try(None)
            return 0

        @handler
        def note(self, message: Note) -> int:
            self._try(None)
            return 0

    async with ActorSystem() as system:
        ref = await system.spawn(Confused)
        asked = await promised(system, ref)
        ref.tell(Note(value=1))
        ref.tell(Later())
        await settle()
        assert problems == [
            "reply_later: the Note it was given is not the message in hand",
            "reply_later: the reply to this Later has been promised already: use that handle",
            "reply_later: nobody waits for a reply to the message in hand: it was not asked",
            "reply_later: nobody waits for a reply to the message in hand: it was not asked",
            "reply_later: nobody waits for a reply to the message in hand: it was not asked",
            "reply_later: nobody waits for a reply to the message in hand: it was not asked",
        ]
        ref.stop()
        with pytest.raises(NoReply):
            await asked


@pytest.mark.asyncio
async def test_a_task_that_outlives_its_message_cannot_promise_a_reply_to_the_next() -> None:
    problems: list[str] = []
    gate, hold = Gate(), Gate()

    class Leaver(Actor[Later | Hold]):
        async def late(self) -> None:
            await gate.hold()
            try:
                self.context.reply_later()
            except InvalidContext as error:
                problems.append(str(error))

        @handler
        async def later(self, message: Later) -> int:
            self.task = asyncio.ensure_future(self.late())
            return 0

        @handler
        async def hold(self, message: Hold) -> int:
            await hold.hold()
            return 1

    async with ActorSystem() as system:
        ref = await system.spawn(Leaver)
        assert await ref.ask(Later()) == 0
        asked = asyncio.create_task(ref.ask(Hold()))
        await hold.reached()
        gate.open()
        await settle()
        assert len(problems) == 1
        hold.open()
        assert await asked == 1


@simulate(schedules=40, faults=Faults(crash=0.03, cancel=0.03))
async def test_in_every_order_each_promise_is_kept_or_the_asker_hears_that_it_is_not(sim: Simulation) -> None:
    handles: list[Reply[int]] = []
    clerk = await sim.system.spawn(child(Clerk, handles).options(max_restarts=100_000))
    outcomes: list[str] = []

    async def ask(number: int) -> None:
        try:
            assert await clerk.ask(Later(value=number), timeout=60.0) == 7
            outcomes.append("reply")
        except UnderstudyError as error:
            outcomes.append(type(error).__name__)

    async with asyncio.TaskGroup() as group:
        for number in range(6):
            group.create_task(ask(number), name=f"asker-{number}")
        for _ in range(4):
            await asyncio.sleep(0.01)
            what = sim.random.randrange(4)
            if what == 0:
                clerk.kill()
            elif handles:
                handle = handles.pop(sim.random.randrange(len(handles)))
                if what > 1:
                    handle.send(7)
                del handle
        handles.clear()
        await asyncio.sleep(0.01)
        handles.clear()
        clerk.stop()
    assert len(outcomes) == 6
    assert set(outcomes) <= {"reply", "NoReply", "ActorFailed", "ActorStopped"}
