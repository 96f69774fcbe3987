"""Reentrant handlers: during their waits the actor handles further messages."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from contextvars import ContextVar
from typing import Any

import pytest

from tests.cast import Fail, Gate, Note, Recorder, settle
from understudy import (
    Actor,
    ActorFailed,
    ActorRef,
    ActorStopped,
    ActorSystem,
    AskCycle,
    AskTimeout,
    Crashed,
    InvalidActor,
    Killed,
    Message,
    NoReply,
    Refused,
    Reply,
    StreamMessage,
    Terminated,
    UnderstudyError,
    child,
    handler,
)
from understudy.testing import Faults, Simulation, simulate


class Wait(Message[int]):
    """Waits at the gate; answered with its value."""

    value: int = 0
    error: Any = None


class Call(Message[Any]):
    """Runs a function of the actor, in a reentrant handler."""

    function: Any


class Serial(Message[int]):
    """Waits at the gate too, one after the other."""

    value: int = 0


class Numbers(StreamMessage[int]): ...


class Desk(Actor[Wait | Call | Serial | Numbers | Note | Fail]):
    def __init__(self, gate: Gate, log: list[Any]) -> None:
        self.gate, self.log_of_all = gate, log

    @handler(reentrant=True)
    async def wait(self, message: Wait) -> int:
        try:
            await self.gate.hold()
        except asyncio.CancelledError:
            self.log_of_all.append(f"cancelled {message.value}")
            raise
        if message.error is not None:
            raise message.error
        self.log_of_all.append(message.value)
        return message.value

    @handler(reentrant=True)
    async def call(self, message: Call) -> Any:
        return await message.function(self)

    @handler(reentrant=True)
    async def numbers(self, message: Numbers) -> AsyncIterator[int]:
        for number in range(3):
            yield number

    @handler
    async def serial(self, message: Serial) -> int:
        await self.gate.hold()
        return message.value

    @handler
    def note(self, message: Note) -> int:
        self.log_of_all.append(f"note {message.value}")
        return message.value

    @handler
    def fail(self, message: Fail) -> int:
        raise message.error

    def shutdown(self, reason: object) -> None:
        self.log_of_all.append("shutdown")


async def waiting(ref: ActorRef[Any], gate: Gate, count: int) -> list[asyncio.Task[int]]:
    came = gate.came
    asked = [asyncio.create_task(ref.ask(Wait(value=value), timeout=60.0)) for value in range(count)]
    await gate.reached(came + count)
    return asked


@pytest.mark.asyncio
async def test_while_it_waits_the_actor_handles_further_messages() -> None:
    gate, log = Gate(), []
    async with ActorSystem() as system:
        desk = await system.spawn(Desk, gate, log)
        asked = await waiting(desk, gate, 3)
        assert await desk.ask(Note(value=7)) == 7
        assert desk.status == "running"
        gate.open()
        assert await asyncio.gather(*asked) == [0, 1, 2]
        assert log == ["note 7", 0, 1, 2]


@pytest.mark.asyncio
async def test_a_handler_that_is_not_reentrant_is_not_interrupted_by_one_that_is() -> None:
    gate, other = Gate(), Gate()
    async with ActorSystem() as system:
        desk = await system.spawn(Desk, gate, [])
        serial = asyncio.create_task(desk.ask(Serial(value=5)))
        await gate.reached()
        later = asyncio.create_task(desk.ask(Call(function=lambda _desk: other.hold())))
        await settle()
        assert other.came == 0
        gate.open()
        assert await serial == 5
        await other.reached()
        other.open()
        await later


@pytest.mark.asyncio
async def test_each_runs_in_its_own_task_and_context_and_has_its_own_sender() -> None:
    variable: ContextVar[str] = ContextVar("variable", default="unset")
    seen: list[tuple[Any, ...]] = []
    gate = Gate()

    async def look(desk: Desk) -> None:
        before = variable.get()
        variable.set("set")
        first = desk.context.sender
        await gate.hold()
        assert desk.context.sender == first
        task = asyncio.current_task()
        assert task is not None
        seen.append((before, task, desk.context.sender, task.get_name()))

    async with ActorSystem() as system:
        desk = await system.spawn(Desk, gate, [])
        others = [await system.spawn(Desk, gate, []) for _ in range(2)]
        for other in others:
            desk.tell(Call(function=look), sender=other)
        await gate.reached(2)
        desk.tell(Note(), sender=desk)
        gate.open()
        await settle()
        assert [before for before, *_ in seen] == ["unset", "unset"]
        assert [sender for _, _, sender, _ in seen] == others
        assert len({id(task) for _, task, *_ in seen}) == 2
        assert {name for *_, name in seen} == {f"actor:{desk.path}"}


@pytest.mark.parametrize("limit", [1, 3])
@pytest.mark.asyncio
async def test_there_are_never_more_of_them_than_are_allowed(limit: int) -> None:
    gate, log = Gate(), []
    async with ActorSystem() as system:
        desk = await system.spawn(child(Desk, gate, log).options(max_concurrency=limit))
        asked = [asyncio.create_task(desk.ask(Wait(value=value), timeout=60.0)) for value in range(5)]
        noted = asyncio.create_task(desk.ask(Note(value=7), timeout=60.0))
        await settle()
        assert gate.came == limit
        assert not noted.done()
        gate.open()
        assert await asyncio.gather(*asked) == list(range(5))
        assert await noted == 7
        assert sorted(log, key=str) == [0, 1, 2, 3, 4, "note 7"]


@pytest.mark.asyncio
async def test_a_hundred_of_them_may_be_under_way_unless_somebody_says_otherwise() -> None:
    gate = Gate()
    async with ActorSystem() as system:
        desk = await system.spawn(Desk, gate, [])
        asked = [asyncio.create_task(desk.ask(Wait(value=value), timeout=60.0)) for value in range(150)]
        await settle()
        assert gate.came == 100
        gate.open()
        assert await asyncio.gather(*asked) == list(range(150))


# Ends.


@pytest.mark.asyncio
async def test_a_crash_of_one_crashes_the_actor_and_cancels_the_others() -> None:
    gate, log, recorder = Gate(), [], Recorder()
    async with ActorSystem(instruments=[recorder]) as system:
        desk = await system.spawn(Desk, gate, log)
        asked = await waiting(desk, gate, 2)
        own = Gate()

        async def crash(_desk: Desk) -> None:
            await own.hold()
            raise ValueError("boom")

        crashing = asyncio.create_task(desk.ask(Call(function=crash)))
        await own.reached()
        own.open()
        with pytest.raises(ActorFailed) as caught:
            await crashing
        assert isinstance(caught.value.__cause__, ValueError)
        for each in asked:
            with pytest.raises(ActorStopped) as stopped:
                await each
            assert isinstance(stopped.value.reason, Crashed)
        assert log == ["cancelled 0", "cancelled 1", "shutdown"]
        assert len(recorder.of("actor_crashed")) == 1
        assert len(recorder.of("actor_restarting")) == 1
        assert [type(letter[0]) for letter in recorder.letters] == [Wait, Wait]
        assert await desk.ask(Note(value=7)) == 7


@pytest.mark.asyncio
async def test_a_crash_of_another_handler_cancels_them() -> None:
    gate, log = Gate(), []
    async with ActorSystem() as system:
        desk = await system.spawn(Desk, gate, log)
        asked = await waiting(desk, gate, 2)
        desk.tell(Fail(error=ValueError("boom")))
        outcomes = await asyncio.gather(*asked, return_exceptions=True)
        assert [type(each) for each in outcomes] == [ActorStopped, ActorStopped]
        assert log == ["cancelled 0", "cancelled 1", "shutdown"]


@pytest.mark.asyncio
async def test_a_kill_cancels_them_and_no_hook_runs() -> None:
    gate, log = Gate(), []
    async with ActorSystem() as system:
        desk = await system.spawn(child(Desk, gate, log).options(restart="temporary"))
        asked = await waiting(desk, gate, 2)
        desk.kill()
        assert isinstance(await desk.wait_stopped(), Killed)
        outcomes = await asyncio.gather(*asked, return_exceptions=True)
        assert [type(each) for each in outcomes] == [ActorStopped, ActorStopped]
        assert log == ["cancelled 0", "cancelled 1"]


@pytest.mark.parametrize("in_time", [False, True])
@pytest.mark.asyncio
async def test_a_stop_completes_those_that_end_within_the_grace(in_time: bool) -> None:
    loop = asyncio.get_running_loop()
    gate, log = Gate(), []
    async with ActorSystem() as system:
        desk = await system.spawn(child(Desk, gate, log).options(shutdown=2.0))
        asked = await waiting(desk, gate, 2)
        begun = loop.time()
        desk.stop()
        assert not desk.tell(Note())
        await settle()
        assert desk.status == "stopping"
        if in_time:
            gate.open()
            assert await asyncio.gather(*asked) == [0, 1]
        reason = await desk.wait_stopped()
        if in_time:
            assert log == [0, 1, "shutdown"]
        else:
            assert loop.time() - begun == pytest.approx(2.0, abs=0.1)
            assert isinstance(reason, Killed)
            assert log == ["cancelled 0", "cancelled 1"]
            await asyncio.gather(*asked, return_exceptions=True)


@pytest.mark.asyncio
async def test_a_drain_completes_them_all() -> None:
    gate, log = Gate(), []
    async with ActorSystem() as system:
        desk = await system.spawn(child(Desk, gate, log).options(max_concurrency=2))
        asked = [asyncio.create_task(desk.ask(Wait(value=value), timeout=60.0)) for value in range(5)]
        await gate.reached(2)
        desk.drain()
        await asyncio.sleep(20.0)
        assert desk.status == "running"
        gate.open()
        assert await asyncio.gather(*asked) == list(range(5))
        await desk.wait_stopped()
        assert log == [0, 1, 2, 3, 4, "shutdown"]


@pytest.mark.leaks("tasks")
@pytest.mark.asyncio
async def test_one_that_resists_is_abandoned_and_the_next_incarnation_works() -> None:
    loop = asyncio.get_running_loop()
    gate, log, recorder, stubborn = Gate(), [], Recorder(), Gate()

    async def resist(desk: Desk) -> str:
        while not stubborn.went:
            with suppress(asyncio.CancelledError):
                await stubborn.hold()
        return "nobody waits"

    async with ActorSystem(instruments=[recorder]) as system:
        desk = await system.spawn(Desk, gate, log)
        asked = asyncio.create_task(desk.ask(Call(function=resist), timeout=60.0))
        await stubborn.reached()
        begun = loop.time()
        desk.kill()
        with pytest.raises(ActorStopped):
            await asked
        assert await desk.ask(Note(value=7)) == 7
        assert loop.time() - begun == pytest.approx(1.0, abs=0.2)
        assert len(recorder.of("abandoned")) == 1
        assert system.abandoned == (f"actor:{desk.path}",) or list(system.abandoned) == [f"actor:{desk.path}"]
        stubborn.open()
        await settle()
        assert recorder.of("actor_crashed") == []


@pytest.mark.asyncio
async def test_a_refusal_an_unhandled_error_and_a_resumed_failure_harm_nobody() -> None:
    gate, log = Gate(), []
    async with ActorSystem() as system:
        desk = await system.spawn(child(Desk, gate, log).options(on_failure={KeyError: "resume"}))
        asked = await waiting(desk, gate, 1)

        async def refuse(_desk: Desk) -> None:
            raise Refused("no")

        async def resume(_desk: Desk) -> None:
            raise KeyError("x")

        with pytest.raises(Refused):
            await desk.ask(Call(function=refuse))
        with pytest.raises(ActorFailed):
            await desk.ask(Call(function=resume))
        gate.open()
        assert await asyncio.gather(*asked) == [0]
        assert log == [0]


@pytest.mark.asyncio
async def test_one_that_hangs_is_ended_by_the_limit_of_its_actor() -> None:
    loop = asyncio.get_running_loop()
    gate, log, recorder = Gate(), [], Recorder()
    async with ActorSystem(instruments=[recorder]) as system:
        desk = await system.spawn(child(Desk, gate, log).options(max_handling_seconds=3.0))
        begun = loop.time()
        [asked] = await waiting(desk, gate, 1)
        with pytest.raises(ActorStopped) as caught:
            await asked
        assert isinstance(caught.value.reason, Killed)
        assert loop.time() - begun == pytest.approx(3.0, abs=0.1)
        assert await desk.ask(Note(value=7)) == 7


# Waits, replies, streams.


@pytest.mark.asyncio
async def test_reentrant_handlers_are_in_no_circle() -> None:
    async with ActorSystem() as system:
        one, two = [await system.spawn(Desk, Gate(), []) for _ in range(2)]

        async def ask_self(desk: Desk) -> int:
            return int(await desk.context.ref.ask(Note(value=7)))

        async def ask_back(_desk: Desk) -> int:
            return int(await two.ask(Call(function=lambda _: one.ask(Note(value=8)))))

        assert await one.ask(Call(function=ask_self)) == 7
        assert await one.ask(Call(function=ask_back)) == 8


@pytest.mark.asyncio
async def test_to_wait_in_a_reentrant_handler_for_its_own_actors_end_is_a_circle() -> None:
    async with ActorSystem() as system:
        desk = await system.spawn(Desk, Gate(), [])

        async def wait_for_self(desk: Desk) -> Any:
            with pytest.raises(AskCycle):
                await desk.context.ref.wait_stopped()
            return "refused"

        assert await desk.ask(Call(function=wait_for_self)) == "refused"


@pytest.mark.asyncio
async def test_the_deadline_travels_through_them_and_the_timeout_says_how_long_it_was_handled() -> None:
    loop = asyncio.get_running_loop()
    gate = Gate()
    async with ActorSystem() as system:
        desk, other = [await system.spawn(Desk, gate, []) for _ in range(2)]

        async def ask(_desk: Desk) -> Any:
            return await other.ask(Wait())

        begun = loop.time()
        with pytest.raises(AskTimeout, match=r"handling it for 2 s"):
            await desk.ask(Call(function=ask), timeout=2.0)
        await asyncio.sleep(1.0)
        assert loop.time() - begun < 3.1
        assert desk.status == "running"
        gate.open()
        await settle()


@pytest.mark.asyncio
async def test_they_may_promise_replies_each_to_its_own_ask() -> None:
    gate = Gate()
    replies: list[Reply[int]] = []

    async def promise(desk: Desk) -> None:
        await gate.hold()
        replies.append(desk.context.reply_later())

    async with ActorSystem() as system:
        desk = await system.spawn(Desk, gate, [])
        asked = [asyncio.create_task(desk.ask(Call(function=promise))) for _ in range(3)]
        await gate.reached(3)
        gate.open()
        await settle()
        for number, reply in enumerate(replies[:2]):
            assert reply.send(number)
        assert await asyncio.gather(*asked[:2]) == [0, 1]
        desk.stop()
        with pytest.raises(NoReply):
            await asked[2]


@pytest.mark.asyncio
async def test_a_reentrant_stream_leaves_its_actor_free() -> None:
    async with ActorSystem() as system:
        desk = await system.spawn(Desk, Gate(), [])
        one, two = desk.stream(Numbers(), buffer=1), desk.stream(Numbers(), buffer=1)
        assert await anext(one) == 0
        assert await desk.ask(Note(value=7)) == 7
        assert [part async for part in two] == [0, 1, 2]
        assert await anext(one) == 1
        await one.aclose()
        await settle()
        assert desk.status == "running"


@pytest.mark.asyncio
async def test_a_reentrant_handler_may_be_cancellable_too() -> None:
    log: list[str] = []
    recorder = Recorder()

    class Both(Actor[Wait]):
        @handler(reentrant=True, cancellable=True)
        async def wait(self, message: Wait) -> int:
            try:
                await asyncio.sleep(1_000.0)
            finally:
                log.append("cancelled")
            return 0

    async with ActorSystem(instruments=[recorder]) as system:
        ref = await system.spawn(Both)
        asked = [asyncio.create_task(ref.ask(Wait(), timeout=seconds)) for seconds in (1.0, 20.0)]
        await asyncio.wait(asked[:1])
        await settle()
        assert log == ["cancelled"]
        assert not asked[1].done()
        outcomes = await asyncio.gather(*asked, return_exceptions=True)
        assert [type(each) for each in outcomes] == [AskTimeout, AskTimeout]
        assert recorder.of("actor_crashed") == []


@pytest.mark.asyncio
async def test_an_ask_that_nobody_waits_for_any_more_is_not_started() -> None:
    gate, log = Gate(), []
    async with ActorSystem() as system:
        desk = await system.spawn(child(Desk, gate, log).options(max_concurrency=1))
        asked = await waiting(desk, gate, 1)
        late = asyncio.create_task(desk.ask(Wait(value=9), timeout=1.0))
        with pytest.raises(AskTimeout, match="accepted"):
            await late
        gate.open()
        assert await asyncio.gather(*asked) == [0]
        await settle()
        assert log == [0]


def test_only_an_async_handler_of_messages_can_be_reentrant() -> None:
    with pytest.raises(InvalidActor, match=r"handler note is a plain def, .* make it async def, or not reentrant"):

        class Plain(Actor[Note]):
            @handler(reentrant=True)
            def note(self, message: Note) -> int:
                return 0

    with pytest.raises(InvalidActor, match="handler many takes many messages at once"):

        class Many(Actor[Note]):
            @handler(reentrant=True)
            async def many(self, messages: list[Note]) -> None: ...

    with pytest.raises(InvalidActor, match="handler ended takes Terminated, which is a signal"):

        class Signals(Actor[Note]):
            @handler
            async def note(self, message: Note) -> int:
                return 0

            @handler(reentrant=True)
            async def ended(self, news: Terminated) -> None: ...


@simulate(schedules=30, faults=Faults(crash=0.03, cancel=0.05))
async def test_in_every_order_each_ask_ends_and_nothing_is_left_under_way(sim: Simulation) -> None:
    class Sleep(Message[int]):
        value: int

    class Sleeper(Actor[Sleep | Note]):
        @handler(reentrant=True)
        async def sleep(self, message: Sleep) -> int:
            for _ in range(3):
                await asyncio.sleep(sim.random.choice([0.0, 0.05]))
            return message.value

        @handler
        def note(self, message: Note) -> int:
            return message.value

    spec = child(Sleeper).options(max_concurrency=sim.random.choice([1, 2, 5]), max_restarts=100_000)
    sleeper = await sim.system.spawn(spec)

    async def ask(number: int) -> None:
        message = Sleep(value=number) if number % 3 else Note(value=number)
        with suppress(UnderstudyError):
            assert await sleeper.ask(message, timeout=60.0) == number

    async with asyncio.TaskGroup() as group:
        for number in range(8):
            group.create_task(ask(number), name=f"asker-{number}")
        if sim.random.random() < 0.3:
            await asyncio.sleep(0.05)
            sim.random.choice([sleeper.kill, sleeper.drain, sleeper.stop])()
    await sim.quiesce()
    assert sleeper.status in ("running", "stopped")
