"""M11: a stream is a reply in parts: bounded, in order, and closed at both ends when either is gone."""

from __future__ import annotations

import asyncio
import gc
import math
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from contextlib import aclosing, suppress
from typing import Any

import pytest

from tests.cast import Gate, Note, Recorder, settle
from understudy import (
    Actor,
    ActorFailed,
    ActorRef,
    ActorStopped,
    ActorSystem,
    AskCycle,
    AskTimeout,
    ConsumerSlow,
    InvalidActor,
    InvalidContext,
    InvalidSpec,
    InvalidTimeout,
    Killed,
    Mailbox,
    MailboxFull,
    Message,
    Refused,
    StreamMessage,
    UnderstudyError,
    Unhandled,
    child,
    handler,
)
from understudy.testing import Faults, Simulation, simulate


class Count(StreamMessage[int]):
    """Numbers from 0 on, up to *to*; before each it waits so long, or at the gate."""

    to: float = math.inf
    pause: float = 0.0
    gate_at: int | None = None
    error: Any = None


class Counter(Actor[Count | Note]):
    """Writes down what it does."""

    def __init__(self, log: list[Any], gate: Gate | None = None) -> None:
        self.log_of_all, self.gate = log, gate

    @handler
    async def count(self, message: Count) -> AsyncIterator[int]:
        number = 0
        try:
            while number < message.to:
                if message.pause:
                    await asyncio.sleep(message.pause)
                if self.gate is not None and number == message.gate_at:
                    await self.gate.hold()
                self.log_of_all.append(number)
                yield number
                number += 1
            if message.error is not None:
                raise message.error
        finally:
            await asyncio.sleep(0)  # it may wait
            self.log_of_all.append("closed")

    @handler
    def note(self, message: Note) -> int:
        self.log_of_all.append(f"note {message.value}")
        return message.value


async def take(parts: AsyncIterator[int], count: int) -> list[int]:
    return [await anext(parts) for _ in range(count)]


# To the end.


@pytest.mark.parametrize("buffer", [None, 1, 2, 100])
@pytest.mark.asyncio
async def test_the_parts_come_in_order_and_the_loop_ends_with_the_generator(buffer: int | None) -> None:
    log: list[Any] = []
    recorder = Recorder()
    async with ActorSystem(instruments=[recorder]) as system:
        counter = await system.spawn(Counter, log)
        assert [part async for part in counter.stream(Count(to=50), buffer=buffer)] == list(range(50))
        assert log == [*range(50), "closed"]
        assert [part async for part in counter.stream(Count(to=0))] == []
        assert await counter.ask(Note(value=1)) == 1
        assert recorder.letters == []


@pytest.mark.asyncio
async def test_nothing_is_sent_before_the_first_part_is_asked_for() -> None:
    log: list[Any] = []
    async with ActorSystem() as system:
        counter = await system.spawn(Counter, log)
        parts = counter.stream(Count())
        async with counter.stream(Count()):
            await settle()
        assert log == []
        assert repr(parts) == "<Stream of Count from /user/counter>"
        await parts.aclose()
        assert [part async for part in parts] == []
        assert log == []


@pytest.mark.parametrize("buffer", [1, 2, 16])
@pytest.mark.asyncio
async def test_the_generator_is_never_further_ahead_than_the_buffer(buffer: int) -> None:
    log: list[Any] = []
    async with ActorSystem() as system:
        counter = await system.spawn(Counter, log)
        async with counter.stream(Count(), buffer=buffer) as parts:
            for taken in range(1, 2 * buffer):
                assert await anext(parts) == taken - 1
                await settle()
                assert log == list(range(taken + buffer))


@pytest.mark.asyncio
async def test_a_stream_has_sixteen_parts_in_flight_unless_somebody_says_otherwise() -> None:
    from understudy import Settings

    for settings, expected in ((None, 16), (Settings(stream_buffer=3), 3)):
        log: list[Any] = []
        async with ActorSystem(settings=settings) as system:
            counter = await system.spawn(Counter, log)
            async with counter.stream(Count()) as parts:
                await anext(parts)
                await settle()
                assert log == list(range(expected + 1))


@pytest.mark.asyncio
async def test_the_actor_is_busy_for_the_life_of_the_stream() -> None:
    log: list[Any] = []
    async with ActorSystem() as system:
        counter = await system.spawn(Counter, log)
        asked: asyncio.Task[int]
        async with counter.stream(Count(), buffer=1) as parts:
            assert await take(parts, 2) == [0, 1]
            asked = asyncio.create_task(counter.ask(Note(value=7)))
            await settle()
            assert not asked.done()
        assert await asked == 7
        assert log == [0, 1, 2, "closed", "note 7"]


# The consumer leaves.


async def breaks_out(parts: Any) -> None:
    async for part in parts:
        if part == 2:
            break


async def breaks_out_of_with(parts: Any) -> None:
    async with parts:
        await breaks_out(parts)


async def is_closed(parts: Any) -> None:
    async with aclosing(parts):
        await breaks_out(parts)


async def fails(parts: Any) -> None:
    async with parts:
        async for part in parts:
            if part == 2:
                raise ValueError("of the consumer")


async def waits(parts: Any) -> None:
    async for part in parts:
        if part == 2:
            await asyncio.sleep(1_000)


async def goes_on(parts: Any) -> None:
    async for _part in parts:
        await asyncio.sleep(0.01)


Consumer = Callable[[Any], Coroutine[Any, Any, None]]


@pytest.mark.parametrize("gate_at", [None, 3], ids=["while it waits for room", "while it awaits"])
@pytest.mark.parametrize("consumer", [breaks_out, breaks_out_of_with, is_closed, fails, waits, goes_on])
@pytest.mark.asyncio
async def test_the_generator_is_closed_when_the_consumer_leaves_fails_or_is_cancelled(
    consumer: Consumer, gate_at: int | None
) -> None:
    log: list[Any] = []
    recorder = Recorder()
    async with ActorSystem(instruments=[recorder]) as system:
        counter = await system.spawn(Counter, log, Gate())
        consuming = asyncio.create_task(consumer(counter.stream(Count(gate_at=gate_at), buffer=2)))
        await settle()
        if consumer in (waits, goes_on):
            assert "closed" not in log
            consuming.cancel()
        with suppress(asyncio.CancelledError, ValueError):
            await consuming
        await settle()
        assert log[-1] == "closed"
        assert log.count("closed") == 1
        assert await counter.ask(Note(value=1)) == 1
        assert recorder.of("actor_crashed") == []
        assert recorder.letters == []


@pytest.mark.asyncio
async def test_a_stream_that_is_kept_is_open_until_it_is_forgotten() -> None:
    log: list[Any] = []
    async with ActorSystem() as system:
        counter = await system.spawn(Counter, log)
        parts = counter.stream(Count(), buffer=1)
        await breaks_out(parts)
        await settle()
        assert "closed" not in log
        assert await anext(parts) == 3
        del parts
        await settle()
        assert log[-1] == "closed"


class Follow(Message):
    """Follow a stream of *whom*."""

    whom: Any
    message: Any
    timeout: float | None = None
    hold: bool = False
    buffer: int = 2


class Follower(Actor[Follow | Note]):
    def __init__(self, log: list[Any], gate: Gate | None = None) -> None:
        self.log_of_all, self.gate = log, gate

    @handler
    async def follow(self, message: Follow) -> None:
        try:
            async for part in message.whom.stream(message.message, timeout=message.timeout, buffer=message.buffer):
                self.log_of_all.append(part)
                if message.hold:
                    assert self.gate is not None
                    await self.gate.hold()
        except UnderstudyError as error:
            self.log_of_all.append(type(error).__name__)

    @handler
    def note(self, message: Note) -> int:
        return message.value


@pytest.mark.parametrize("hold", [False, True])
@pytest.mark.asyncio
async def test_the_generator_is_closed_when_the_consuming_actor_dies(hold: bool) -> None:
    log: list[Any] = []
    async with ActorSystem() as system:
        counter = await system.spawn(Counter, log, Gate())
        follower = await system.spawn(Follower, [], Gate())
        follower.tell(Follow(whom=counter, message=Count(gate_at=1), hold=hold))
        await settle()
        assert log == [0]
        follower.kill()
        await settle()
        assert log == [0, "closed"]
        assert follower.status == "running"


@pytest.mark.parametrize("error", [ValueError("of the clean-up"), Refused("no"), RuntimeError("x")])
@pytest.mark.asyncio
async def test_an_error_while_it_is_being_closed_is_no_crash_and_not_lost(error: Exception) -> None:
    class Sloppy(Actor[Count]):
        @handler
        async def count(self, message: Count) -> AsyncIterator[int]:
            try:
                yield 1
                await asyncio.sleep(1_000)
            finally:
                raise error

    recorder = Recorder()
    async with ActorSystem(instruments=[recorder]) as system:
        ref = await system.spawn(Sloppy)
        async with ref.stream(Count()) as parts:
            assert await anext(parts) == 1
        await settle()
        assert recorder.of("actor_crashed") == []
        assert recorder.letters == [(error, "(asker)", ref.path, "late reply")]


@pytest.mark.asyncio
async def test_a_generator_that_swallows_the_cancel_is_closed_at_its_next_part() -> None:
    log: list[Any] = []

    class Stubborn(Actor[Count]):
        @handler
        async def count(self, message: Count) -> AsyncIterator[int]:
            try:
                yield 1
                try:
                    await asyncio.sleep(1_000)
                except asyncio.CancelledError:
                    log.append("cancelled")
                for number in range(100):
                    log.append(number)
                    yield number
            finally:
                log.append("closed")

    async with ActorSystem() as system:
        ref = await system.spawn(Stubborn)
        async with ref.stream(Count()) as parts:
            assert await anext(parts) == 1
        await settle()
        assert log == ["cancelled", 0, "closed"]
        assert ref.status == "running"


# The actor fails.


@pytest.mark.parametrize(
    ("error", "expected"), [(ValueError("boom"), ActorFailed), (Refused("no more"), Refused)], ids=["crash", "refused"]
)
@pytest.mark.asyncio
async def test_an_error_of_the_generator_comes_behind_the_parts_before_it(error: Exception, expected: type) -> None:
    log: list[Any] = []
    recorder = Recorder()
    async with ActorSystem(instruments=[recorder]) as system:
        counter = await system.spawn(Counter, log)
        parts = counter.stream(Count(to=3, error=error))
        assert await take(parts, 3) == [0, 1, 2]
        with pytest.raises(expected) as caught:
            await anext(parts)
        if expected is ActorFailed:
            assert caught.value.__cause__ is error
            assert caught.value.message_type == "Count"
        assert len(recorder.of("actor_crashed")) == (1 if expected is ActorFailed else 0)
        assert await counter.ask(Note(value=1)) == 1
        assert log == [0, 1, 2, "closed", "note 1"]


@pytest.mark.asyncio
async def test_a_kill_reaches_the_consumer_and_a_stop_after_its_grace() -> None:
    loop = asyncio.get_running_loop()
    for end, after in ((lambda ref: ref.kill(), 0.0), (lambda ref: ref.stop(), 2.0)):
        log: list[Any] = []
        async with ActorSystem() as system:
            counter = await system.spawn(child(Counter, log, Gate()).options(restart="temporary", shutdown=2.0))
            parts = counter.stream(Count(gate_at=1))
            assert await anext(parts) == 0
            begun = loop.time()
            end(counter)
            with pytest.raises(ActorStopped) as caught:
                await anext(parts)
            assert isinstance(caught.value.reason, Killed)
            assert loop.time() - begun == pytest.approx(after, abs=0.1)
            assert log == [0, "closed"]


@pytest.mark.asyncio
async def test_a_stop_lets_a_stream_come_to_its_end() -> None:
    log: list[Any] = []
    async with ActorSystem() as system:
        counter = await system.spawn(Counter, log)
        parts = counter.stream(Count(to=5), buffer=1)
        assert await anext(parts) == 0
        counter.stop()
        assert [part async for part in parts] == [1, 2, 3, 4]


@pytest.mark.asyncio
async def test_a_request_that_is_not_handled_fails_as_an_ask_does() -> None:
    class Other(StreamMessage[int]): ...

    log: list[Any] = []
    async with ActorSystem() as system:
        counter = await system.spawn(child(Counter, log, Gate()).options(mailbox=Mailbox(capacity=1, policy="fail")))
        with pytest.raises(Unhandled):
            await anext(counter.stream(Other()))  # type: ignore[arg-type]
        with pytest.raises(Unhandled):
            await anext(counter.stream(Note()))  # type: ignore[arg-type]
        first, second, third = [counter.stream(Count(gate_at=0)) for _ in range(3)]
        running: list[asyncio.Task[list[int]]] = []
        for parts in (first, second):
            running.append(asyncio.create_task(take(parts, 1)))
            await settle()
        with pytest.raises(MailboxFull):
            await anext(third)
        counter.stop()
        with pytest.raises(ActorStopped):
            await running[1]
        counter.kill()
        with pytest.raises(ActorStopped):
            await running[0]
        await counter.wait_stopped()
        with pytest.raises(ActorStopped):
            await anext(counter.stream(Count()))
        assert log == ["closed"]


@pytest.mark.parametrize("on_restart", ["wait", "fail"])
@pytest.mark.asyncio
async def test_a_request_that_is_queued_outlives_a_restart_as_an_ask_does(on_restart: Any) -> None:
    log: list[Any] = []
    gate = Gate()
    async with ActorSystem() as system:
        counter = await system.spawn(child(Counter, log, gate).options(on_restart=on_restart))
        first, second = counter.stream(Count(gate_at=1)), counter.stream(Count(to=2))
        assert await anext(first) == 0
        queued = asyncio.create_task(take(second, 2))
        await settle()
        counter.kill()
        with pytest.raises(ActorStopped):
            await anext(first)
        if on_restart == "wait":
            assert await queued == [0, 1]
        else:
            with pytest.raises(ActorStopped):
                await queued


@pytest.mark.asyncio
async def test_a_stream_begun_after_the_deadline_fails_at_once_and_is_not_started() -> None:
    log: list[Any] = []
    seen: list[Any] = []

    class Late(Actor[Follow]):
        @handler
        async def follow(self, message: Follow) -> None:
            await asyncio.sleep(2.0)
            begun = asyncio.get_running_loop().time()
            for whom in message.whom:
                with suppress(AskTimeout):
                    seen.append(await anext(whom.stream(Count())))
            seen.append(asyncio.get_running_loop().time() - begun)

    async with ActorSystem() as system:
        gate = Gate()
        free = await system.spawn(Counter, log)
        full = await system.spawn(child(Counter, log, gate).options(mailbox=1))
        first = full.stream(Count(to=1, gate_at=0))
        running = asyncio.create_task(take(first, 1))
        await gate.reached()
        full.tell(Note(value=1))
        late = await system.spawn(Late)
        with pytest.raises(AskTimeout):
            await late.ask(Follow(whom=(free, full), message=None), timeout=1.0)
        await asyncio.sleep(5.0)
        assert seen == [pytest.approx(0.0, abs=0.1)]
        gate.open()
        assert await running == [0]
        await first.aclose()
        await settle()
        assert log == [0, "closed", "note 1"]


@pytest.mark.asyncio
async def test_a_request_that_is_told_or_asked_is_unhandled() -> None:
    log: list[Any] = []
    recorder = Recorder()
    async with ActorSystem(instruments=[recorder]) as system:
        counter: Any = await system.spawn(Counter, log)
        assert counter.tell(Count())
        with pytest.raises(Unhandled):
            await counter.ask(Count())
        assert [why for *_, why in recorder.letters] == ["unhandled"]
        assert log == []
        assert recorder.of("actor_crashed") == []


@pytest.mark.asyncio
async def test_a_request_for_what_is_answered_at_once_is_unhandled_and_holds_nobody_up() -> None:
    class Get(Message[int]): ...

    class Giver(Actor[Get]):
        @handler
        async def get(self, message: Get) -> int:
            return 1

    async with ActorSystem() as system:
        giver: Any = await system.spawn(Giver)
        with pytest.raises(Unhandled, match="use `ask`"):
            await anext(giver.stream(Get()))
        assert await giver.ask(Get()) == 1


# Time.


@pytest.mark.asyncio
async def test_the_timeout_is_of_each_part_and_not_of_all() -> None:
    async with ActorSystem() as system:
        counter = await system.spawn(Counter, [])
        parts = counter.stream(Count(to=10, pause=4.0), timeout=5.0)
        assert [part async for part in parts] == list(range(10))


@pytest.mark.parametrize("timeout", [None, 5.0])
@pytest.mark.asyncio
async def test_a_part_that_does_not_come_in_time_is_a_timeout_and_closes_the_stream(timeout: float | None) -> None:
    loop = asyncio.get_running_loop()
    log: list[Any] = []
    async with ActorSystem() as system:
        counter = await system.spawn(Counter, log, Gate())
        parts = counter.stream(Count(gate_at=2), timeout=timeout)
        assert await take(parts, 2) == [0, 1]
        begun = loop.time()
        with pytest.raises(AskTimeout, match="handling it for") as caught:
            await anext(parts)
        assert caught.value.seconds == (timeout or 30.0)
        assert loop.time() - begun == pytest.approx(timeout or 30.0, abs=0.1)
        await settle()
        assert log == [0, 1, "closed"]
        assert [part async for part in parts] == []
        assert await counter.ask(Note(value=1)) == 1


@pytest.mark.asyncio
async def test_a_request_that_nobody_waits_for_any_more_is_not_started() -> None:
    log: list[Any] = []
    async with ActorSystem() as system:
        counter = await system.spawn(Counter, log, Gate())
        first, second = counter.stream(Count(gate_at=1)), counter.stream(Count(), timeout=1.0)
        assert await anext(first) == 0
        with pytest.raises(AskTimeout, match="handling another message"):
            await anext(second)
        await first.aclose()
        await settle()
        assert log == [0, "closed"]


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.asyncio
async def test_a_request_that_finds_no_room_waits_for_it(full: bool) -> None:
    log: list[Any] = []
    gate = Gate()
    async with ActorSystem() as system:
        counter = await system.spawn(child(Counter, log, gate).options(mailbox=1))
        first = counter.stream(Count(to=1, gate_at=0))
        running = asyncio.create_task(take(first, 1))
        await gate.reached()
        counter.tell(Note(value=1))
        second = counter.stream(Count(to=1), timeout=1.0)
        if full:
            with pytest.raises(AskTimeout, match="never accepted"):
                await anext(second)
            gate.open()
        else:
            waiting = asyncio.create_task(take(second, 1))
            await settle()
            gate.open()
            assert await waiting == [0]
        assert await running == [0]
        await settle()
        assert log == [0, "closed", "note 1", *([] if full else [0, "closed"])]


@pytest.mark.asyncio
async def test_a_consumer_that_takes_nothing_in_time_loses_the_stream_but_no_part() -> None:
    log: list[Any] = []
    recorder = Recorder()
    async with ActorSystem(instruments=[recorder]) as system:
        counter = await system.spawn(Counter, log)
        parts = counter.stream(Count(), timeout=5.0, buffer=2)
        assert await anext(parts) == 0
        await asyncio.sleep(4.0)
        assert await anext(parts) == 1
        await asyncio.sleep(4.0)
        assert "closed" not in log
        await asyncio.sleep(2.0)
        assert log == [0, 1, 2, 3, "closed"]
        assert await counter.ask(Note(value=1)) == 1
        assert await take(parts, 2) == [2, 3]
        with pytest.raises(ConsumerSlow) as caught:
            await anext(parts)
        assert caught.value.path == counter.path
        assert caught.value.seconds == 5.0
        assert recorder.of("actor_crashed") == []
        assert recorder.letters == []


@pytest.mark.asyncio
async def test_the_inherited_deadline_bounds_the_whole() -> None:
    loop = asyncio.get_running_loop()
    log: list[Any] = []
    seen: list[Any] = []
    async with ActorSystem() as system:
        counter, follower = await system.spawn(Counter, log), await system.spawn(Follower, seen)
        begun = loop.time()
        with pytest.raises(AskTimeout):
            await follower.ask(Follow(whom=counter, message=Count(pause=1.5)), timeout=4.0)
        await settle()
        assert loop.time() - begun == pytest.approx(4.0, abs=0.1)
        assert seen == [0, 1, "AskTimeout"]
        assert log == [0, 1, "closed"]
        follower.tell(Follow(whom=counter, message=Count(to=10, pause=1.5)))
        await asyncio.sleep(20)
        assert seen[3:] == list(range(10))


@pytest.mark.asyncio
async def test_what_is_asked_for_a_stream_without_a_deadline_has_the_usual_one() -> None:
    class Patient(Actor[Count]):
        def __init__(self, whom: ActorRef[Any]) -> None:
            self.whom = whom

        @handler
        async def count(self, message: Count) -> AsyncIterator[int]:
            begun = asyncio.get_running_loop().time()
            with suppress(AskTimeout):
                async for _ in self.whom.stream(Count(gate_at=0), timeout=7.0):
                    pass
            yield round(asyncio.get_running_loop().time() - begun)
            with suppress(AskTimeout):
                await self.whom.ask(Note(), timeout=None)
            yield round(asyncio.get_running_loop().time() - begun)

    async with ActorSystem() as system:
        counter = await system.spawn(Counter, [], Gate())
        patient = await system.spawn(Patient, counter)
        other = counter.stream(Count(gate_at=1))
        assert await anext(other) == 0
        assert [part async for part in patient.stream(Count(), timeout=20.0)] == [7, 12]
        await other.aclose()


@pytest.mark.parametrize("timeout", [0, -1.0, math.nan, "soon"])
@pytest.mark.asyncio
async def test_a_bad_timeout_or_buffer_is_refused_before_anything_is_sent(timeout: Any) -> None:
    async with ActorSystem() as system:
        counter = await system.spawn(Counter, [])
        with pytest.raises(InvalidTimeout):
            counter.stream(Count(), timeout=timeout)
        for buffer in (0, -1, 1.5, True, "many"):
            with pytest.raises(InvalidSpec, match="whole number of parts"):
                counter.stream(Count(), buffer=buffer)  # type: ignore[arg-type]


# Who waits for whom.


class AskBack(StreamMessage[Any]):
    """Ask *whom* for the part."""

    whom: Any


class Curious(Actor[AskBack]):
    @handler
    async def ask_back(self, message: AskBack) -> AsyncGenerator[Any, None]:
        yield "first"
        try:
            yield await message.whom.ask(Note(value=1), timeout=3.0)
        except AskCycle as error:
            yield error.chain


@pytest.mark.asyncio
async def test_to_wait_for_the_next_part_is_to_wait_for_the_actor() -> None:
    seen: list[Any] = []
    async with ActorSystem() as system:
        curious, follower = await system.spawn(Curious), await system.spawn(Follower, seen)
        follower.tell(Follow(whom=curious, message=AskBack(whom=follower), buffer=1))
        await settle()
        assert seen == ["first", (curious.path, follower.path, curious.path)]


@pytest.mark.asyncio
async def test_a_part_that_would_never_come_is_a_circle() -> None:
    gate, seen = Gate(), list[Any]()
    async with ActorSystem() as system:
        curious, follower = await system.spawn(Curious), await system.spawn(Follower, seen, gate)
        follower.tell(Follow(whom=curious, message=AskBack(whom=follower), hold=True))
        await gate.reached()
        await settle()  # the generator asks a follower that is not waiting for it at the moment
        gate.open()
        await settle()
        assert seen == ["first", "AskCycle"]
        assert await follower.ask(Note(value=2)) == 2


@pytest.mark.asyncio
async def test_to_follow_oneself_is_a_circle() -> None:
    seen: list[Any] = []

    class Selfish(Actor[Count | Note]):
        @handler
        async def count(self, message: Count) -> AsyncIterator[int]:
            yield 1

        @handler
        async def follow(self, message: Note) -> int:
            try:
                await anext(self.context.ref.stream(Count()))
            except AskCycle as error:
                seen.append(error.chain)
            return 0

    async with ActorSystem() as system:
        ref = await system.spawn(Selfish)
        assert await ref.ask(Note()) == 0
        assert seen == [(ref.path, ref.path)]


@pytest.mark.asyncio
async def test_who_does_not_wait_for_a_part_is_in_no_circle() -> None:
    gate, log = Gate(), list[Any]()
    async with ActorSystem() as system:
        counter, follower = await system.spawn(Counter, log), await system.spawn(Follower, [], gate)
        follower.tell(Follow(whom=counter, message=Count(to=1), hold=True))
        await gate.reached()
        await settle()
        assert log == [0, "closed"]

        class Asker(Actor[Note]):
            @handler
            async def note(self, message: Note) -> int:
                assert await counter.ask(Note(value=1)) == 1
                return await follower.ask(Note(value=2), timeout=60.0)

        asked = asyncio.create_task((await system.spawn(Asker)).ask(Note(), timeout=60.0))
        await settle()
        assert not asked.done()
        gate.open()
        assert await asked == 2


# Use and declaration.


@pytest.mark.asyncio
async def test_a_stream_has_one_consumer_at_a_time() -> None:
    gate = Gate()
    async with ActorSystem() as system:
        counter = await system.spawn(Counter, [], gate)
        parts = counter.stream(Count(to=1, gate_at=0))
        first = asyncio.create_task(take(parts, 1))
        await gate.reached()
        with pytest.raises(InvalidContext, match="somebody waits for its next part already"):
            await anext(parts)
        gate.open()
        assert await first == [0]


@pytest.mark.asyncio
async def test_closing_it_ends_the_wait_of_its_consumer() -> None:
    gate = Gate()
    async with ActorSystem() as system:
        counter = await system.spawn(Counter, [], gate)
        parts = counter.stream(Count(gate_at=1))
        following = asyncio.create_task(goes_on(parts))
        await gate.reached()
        await parts.aclose()
        await following


@pytest.mark.asyncio
async def test_the_last_parts_outlive_the_actor() -> None:
    async with ActorSystem() as system:
        counter = await system.spawn(Counter, [])
        parts = counter.stream(Count(to=3))
        assert await anext(parts) == 0
        counter.stop()
        await counter.wait_stopped()
        assert [part async for part in parts] == [1, 2]


def test_a_handler_of_a_stream_yields_parts_of_its_type_and_others_do_not_yield() -> None:
    with pytest.raises(InvalidActor, match=r"handler count does not yield, but .*Count is answered with a stream"):

        class Returns(Actor[Count]):
            @handler
            async def count(self, message: Count) -> AsyncIterator[int]:
                raise NotImplementedError

    with pytest.raises(InvalidActor, match=r"handler note is a generator, but Note is no StreamMessage"):

        class Yields(Actor[Note]):
            @handler
            async def note(self, message: Note) -> AsyncIterator[int]:
                yield 1

    with pytest.raises(InvalidActor, match=r"handler count returns .*str.*, but .*Count is answered with .*int"):

        class OtherParts(Actor[Count]):
            @handler
            async def count(self, message: Count) -> AsyncIterator[str]:
                yield ""

    with pytest.raises(InvalidActor, match="handler count takes many messages at once"):

        class Many(Actor[Count]):
            @handler
            async def count(self, message: list[Count]) -> AsyncIterator[int]:
                yield 1

    class Fitting(Actor[Count]):
        @handler
        async def count(self, message: Count) -> AsyncGenerator[bool, None]:
            yield True


@pytest.mark.asyncio
async def test_nothing_of_a_stream_is_left_in_memory() -> None:
    import weakref

    class Part:
        pass

    class Parts(StreamMessage[Any]):
        pass

    seen: list[weakref.ref[Part]] = []

    class Maker(Actor[Parts]):
        @handler
        async def make(self, message: Parts) -> AsyncIterator[Any]:
            for _ in range(5):
                part = Part()
                seen.append(weakref.ref(part))
                yield part
                del part

    async with ActorSystem() as system:
        maker = await system.spawn(Maker)
        async for _part in maker.stream(Parts()):
            del _part
        async with maker.stream(Parts()) as parts:
            await anext(parts)
        await settle()
        gc.collect()
        assert [each() for each in seen if each() is not None] == []


# In every order.


@simulate(schedules=40, faults=Faults(crash=0.03, cancel=0.03))
async def test_whatever_happens_a_stream_is_a_prefix_and_both_ends_are_free_after_it(sim: Simulation) -> None:
    log: list[Any] = []
    spec = child(Counter, log).options(mailbox=2, max_restarts=100_000)
    counter = await sim.system.spawn(spec)

    async def follow(leave_at: int) -> None:
        seen: list[int] = []
        message = Count(to=8, pause=sim.random.choice([0.0, 0.1]))
        with suppress(UnderstudyError):
            async with counter.stream(message, buffer=sim.random.randrange(1, 4), timeout=60.0) as parts:
                async for part in parts:
                    seen.append(part)
                    if part == leave_at:
                        break
                    await asyncio.sleep(sim.random.choice([0.0, 0.05]))
                else:
                    assert len(seen) == 8
        assert seen == list(range(len(seen)))

    async with asyncio.TaskGroup() as group:
        for number in range(4):
            group.create_task(follow(sim.random.choice([3, 100])), name=f"consumer-{number}")
        if sim.random.random() < 0.3:
            await asyncio.sleep(0.2)
            counter.kill()
    await sim.quiesce()
    assert counter.status == "running"
