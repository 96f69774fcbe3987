"""M7: a queued ask that nobody waits for any more is not started; what is asked on the way gets what is left."""

from __future__ import annotations

import asyncio
import math
from contextlib import nullcontext
from typing import Any, ClassVar

import pytest

from tests.cast import Gate, Hold, Holder, Note, Recorder, settle
from understudy import (
    Actor,
    ActorFailed,
    ActorSystem,
    AskCycle,
    AskTimeout,
    InvalidActor,
    Killed,
    Message,
    Refused,
    Settings,
    child,
    detached,
    handler,
)
from understudy.testing import Faults, Simulation, simulate


class Forward(Message[str]):
    """Ask *whom* after *pause* seconds, with that timeout; tells when and how it ended."""

    whom: Any
    what: Any
    timeout: float | None = None
    pause: float = 0.0
    in_task: bool = False


class Relay(Actor[Forward]):
    def __init__(self, ends: list[tuple[str, float]]) -> None:
        self.ends = ends

    @handler
    async def forward(self, message: Forward) -> str:
        if message.pause:
            await asyncio.sleep(message.pause)
        asking = message.whom.ask(message.what, timeout=message.timeout)
        try:
            result = str(await (asyncio.ensure_future(asking) if message.in_task else asking))
        except AskTimeout:
            result = "AskTimeout"
        self.ends.append((result, asyncio.get_running_loop().time()))
        return result


class Quick(Message[int]):
    reply_within: ClassVar[float | None] = 1.5


class QuickHolder(Actor[Quick]):
    @handler
    async def hold(self, message: Quick) -> int:
        await asyncio.sleep(1_000)
        return 1


@pytest.mark.asyncio
async def test_a_queued_ask_whose_deadline_has_passed_is_not_started() -> None:
    gate, log = Gate(), []
    async with ActorSystem() as system:
        ref = await system.spawn(Holder, gate, log)
        ref.tell(Hold(value=0))
        await gate.reached()
        hopeless = asyncio.create_task(ref.ask(Note(value=1), timeout=1.0))
        patient = asyncio.create_task(ref.ask(Note(value=2), timeout=60.0))
        await settle()
        ref.tell(Note(value=3))
        with pytest.raises(AskTimeout):
            await hopeless
        gate.open()
        assert await patient == 2
        await settle()
        assert log == [0, 2, 3]


@pytest.mark.parametrize("capacity", [1, 2, 5])
@pytest.mark.asyncio
async def test_asks_whose_deadline_has_passed_do_not_keep_the_mailbox_full(capacity: int) -> None:
    gate, log = Gate(), []
    async with ActorSystem() as system:
        ref = await system.spawn(child(Holder, gate, log).options(mailbox=capacity))
        ref.tell(Hold(value=0))
        await gate.reached()
        hopeless = [asyncio.create_task(ref.ask(Note(value=value), timeout=1.0)) for value in range(1, capacity + 3)]
        sender = asyncio.create_task(ref.send(Note(value=99)))
        await asyncio.gather(*hopeless, return_exceptions=True)
        gate.open()
        await sender
        await settle()
        assert log == [0, 99]
        assert all(isinstance(ask.exception(), AskTimeout) for ask in hopeless)


@pytest.mark.parametrize("timeout", [None, 50.0, math.inf])
@pytest.mark.parametrize("in_task", [False, True])
@pytest.mark.asyncio
async def test_an_ask_made_while_handling_one_gets_no_more_than_what_is_left(
    timeout: float | None, in_task: bool
) -> None:
    loop = asyncio.get_running_loop()
    ends: list[tuple[str, float]] = []
    async with ActorSystem() as system:
        relay, target = await system.spawn(Relay, ends), await system.spawn(Holder, Gate())
        begun = loop.time()
        with pytest.raises(AskTimeout):
            await relay.ask(Forward(whom=target, what=Hold(), timeout=timeout, pause=0.6, in_task=in_task), timeout=2.0)
        assert loop.time() - begun == pytest.approx(2.0, abs=0.2)
        await asyncio.sleep(1)
        [(result, ended)] = ends
        assert result == "AskTimeout"
        assert ended - begun == pytest.approx(2.0, abs=0.2)


@pytest.mark.asyncio
async def test_an_ask_made_while_handling_one_gets_all_that_is_left_when_it_names_no_timeout() -> None:
    loop = asyncio.get_running_loop()
    ends: list[tuple[str, float]] = []
    async with ActorSystem() as system:
        relay, target = await system.spawn(Relay, ends), await system.spawn(Holder, Gate())
        begun = loop.time()
        with pytest.raises(AskTimeout):
            await relay.ask(Forward(whom=target, what=Hold()), timeout=60.0)
        await asyncio.sleep(1)
        assert ends[0][1] - begun == pytest.approx(60.0, abs=0.2)


@pytest.mark.asyncio
async def test_an_ask_made_while_handling_one_may_ask_for_less() -> None:
    loop = asyncio.get_running_loop()
    ends: list[tuple[str, float]] = []
    async with ActorSystem() as system:
        relay, target = await system.spawn(Relay, ends), await system.spawn(Holder, Gate())
        begun = loop.time()
        assert await relay.ask(Forward(whom=target, what=Hold(), timeout=1.0), timeout=60.0) == "AskTimeout"
        assert loop.time() - begun == pytest.approx(1.0, abs=0.2)


@pytest.mark.asyncio
async def test_the_deadline_goes_through_a_chain_of_asks() -> None:
    loop = asyncio.get_running_loop()
    ends: list[tuple[str, float]] = []
    async with ActorSystem() as system:
        relays = [await system.spawn(Relay, ends) for _ in range(3)]
        target = await system.spawn(Holder, Gate())
        message: Message[Any] = Hold()
        for relay in (target, *relays[:-1]):
            message = Forward(whom=relay, what=message, timeout=1_000.0, pause=0.1)
        begun = loop.time()
        with pytest.raises(AskTimeout):
            await relays[-1].ask(message, timeout=3.0)
        await asyncio.sleep(2_000)
        assert len(ends) == 3
        assert all(ended - begun == pytest.approx(3.0, abs=0.2) for _result, ended in ends)


@pytest.mark.asyncio
async def test_an_ask_made_after_the_deadline_fails_at_once_and_is_not_started() -> None:
    log: list[int] = []
    loop = asyncio.get_running_loop()
    ends: list[tuple[str, float]] = []
    async with ActorSystem() as system:
        relay, target = await system.spawn(Relay, ends), await system.spawn(Holder, None, log)
        begun = loop.time()
        with pytest.raises(AskTimeout):
            await relay.ask(Forward(whom=target, what=Note(value=1), pause=3.0), timeout=1.0)
        await asyncio.sleep(10)
        [(result, ended)] = ends
        assert result == "AskTimeout"
        assert ended - begun == pytest.approx(3.0, abs=0.05)
        assert log == []


@pytest.mark.asyncio
async def test_an_ask_of_a_full_mailbox_made_after_the_deadline_fails_at_once_too() -> None:
    log: list[int] = []
    gate = Gate()
    loop = asyncio.get_running_loop()
    ends: list[tuple[str, float]] = []
    async with ActorSystem() as system:
        relay = await system.spawn(Relay, ends)
        target = await system.spawn(child(Holder, gate, log).options(mailbox=1))
        target.tell(Hold(value=0))
        await gate.reached()
        assert target.tell(Note(value=1))
        begun = loop.time()
        with pytest.raises(AskTimeout):
            await relay.ask(Forward(whom=target, what=Note(value=2), pause=3.0), timeout=1.0)
        await asyncio.sleep(10)
        [(result, ended)] = ends
        assert result == "AskTimeout"
        assert ended - begun == pytest.approx(3.0, abs=0.05)
        gate.open()
        await settle()
        assert log == [0, 1]


@pytest.mark.asyncio
async def test_where_there_is_no_end_of_time_all_that_is_left_has_none_either() -> None:
    gate = Gate()
    ends: list[tuple[str, float]] = []
    async with ActorSystem() as system:
        relay, target = await system.spawn(Relay, ends), await system.spawn(Holder, gate)
        asked = asyncio.create_task(relay.ask(Forward(whom=target, what=Hold(value=7)), timeout=math.inf))
        await asyncio.sleep(3600)
        assert ends == []
        gate.open()
        assert await asked == "7"


@pytest.mark.asyncio
async def test_a_told_message_sets_no_deadline() -> None:
    loop = asyncio.get_running_loop()
    ends: list[tuple[str, float]] = []
    async with ActorSystem() as system:
        relay, target = await system.spawn(Relay, ends), await system.spawn(Holder, Gate())
        begun = loop.time()
        relay.tell(Forward(whom=target, what=Hold(), timeout=30.0))
        await asyncio.sleep(100)
        assert ends[0][0] == "AskTimeout"
        assert ends[0][1] - begun == pytest.approx(30.0, abs=0.2)


@pytest.mark.asyncio
async def test_the_deadline_of_one_message_is_not_that_of_the_next() -> None:
    loop = asyncio.get_running_loop()
    ends: list[tuple[str, float]] = []
    async with ActorSystem() as system:
        relay, target = await system.spawn(Relay, ends), await system.spawn(Holder, Gate())
        first = asyncio.create_task(relay.ask(Forward(whom=target, what=Note(value=1)), timeout=1.0))
        await settle()
        begun = loop.time()
        relay.tell(Forward(whom=target, what=Hold(), timeout=30.0))
        assert await first == "1"
        await asyncio.sleep(100)
        assert ends[1][1] - begun == pytest.approx(30.0, abs=0.2)


@pytest.mark.parametrize(
    ("inherited", "expected"),
    [(None, 1.5), (60.0, 60.0), (1.0, 1.0)],
)
@pytest.mark.asyncio
async def test_without_a_timeout_it_is_what_is_left_else_that_of_the_class(
    inherited: float | None, expected: float
) -> None:
    loop = asyncio.get_running_loop()
    ends: list[tuple[str, float]] = []
    async with ActorSystem() as system:
        relay, target = await system.spawn(Relay, ends), await system.spawn(QuickHolder)
        begun = loop.time()
        message = Forward(whom=target, what=Quick())
        if inherited is None:
            relay.tell(message)
        else:
            with pytest.raises(AskTimeout):
                await relay.ask(message, timeout=inherited)
        await asyncio.sleep(100)
        assert ends[0][1] - begun == pytest.approx(expected, abs=0.2)


@pytest.mark.parametrize(("of_system", "expected"), [(None, 5.0), (2.5, 2.5)])
@pytest.mark.asyncio
async def test_without_anything_it_is_that_of_the_system(of_system: float | None, expected: float) -> None:
    loop = asyncio.get_running_loop()
    settings = Settings() if of_system is None else Settings(ask_timeout=of_system)
    async with ActorSystem(settings=settings) as system:
        target = await system.spawn(Holder, Gate())
        begun = loop.time()
        with pytest.raises(AskTimeout) as caught:
            await target.ask(Hold())
        assert loop.time() - begun == pytest.approx(expected, abs=0.2)
        assert caught.value.seconds == expected


class Apart(Message[str]):
    """Ask *whom* apart from the ask in hand."""

    whom: Any
    what: Any
    timeout: float | None = None
    in_task: bool = False


class Independent(Actor[Apart]):
    def __init__(self, ends: list[tuple[str, float]]) -> None:
        self.ends = ends

    @handler
    async def ask_apart(self, message: Apart) -> str:
        asking = message.whom.ask(message.what, timeout=message.timeout)
        try:
            with detached():
                result = str(await (asyncio.ensure_future(asking) if message.in_task else asking))
        except AskTimeout:
            result = "AskTimeout"
        self.ends.append((result, asyncio.get_running_loop().time()))
        await asyncio.sleep(0)
        return result


@pytest.mark.parametrize("in_task", [False, True])
@pytest.mark.parametrize(("timeout", "expected"), [(None, 5.0), (30.0, 30.0)])
@pytest.mark.asyncio
async def test_detached_from_the_ask_in_hand_its_deadline_binds_nothing(
    timeout: float | None, expected: float, in_task: bool
) -> None:
    loop = asyncio.get_running_loop()
    ends: list[tuple[str, float]] = []
    async with ActorSystem() as system:
        ref, target = await system.spawn(Independent, ends), await system.spawn(Holder, Gate())
        begun = loop.time()
        with pytest.raises(AskTimeout):
            await ref.ask(Apart(whom=target, what=Hold(), timeout=timeout, in_task=in_task), timeout=1.0)
        assert loop.time() - begun == pytest.approx(1.0, abs=0.2)
        await asyncio.sleep(100)
        [(result, ended)] = ends
        assert result == "AskTimeout"
        assert ended - begun == pytest.approx(expected, abs=0.2)


@pytest.mark.asyncio
async def test_behind_detached_the_deadline_binds_again() -> None:
    seen: list[float] = []
    loop = asyncio.get_running_loop()

    class Careful(Actor[Apart]):
        @handler
        async def ask_apart(self, message: Apart) -> str:
            for within in (detached(), detached(), nullcontext()):
                begun = loop.time()
                with within, pytest.raises(AskTimeout):
                    await message.whom.ask(message.what, timeout=4.0)
                seen.append(loop.time() - begun)
            return ""

    async with ActorSystem() as system:
        ref, target = await system.spawn(Careful), await system.spawn(Holder, Gate())
        with pytest.raises(AskTimeout):
            await ref.ask(Apart(whom=target, what=Hold()), timeout=9.0)
        await asyncio.sleep(10)
        assert seen == pytest.approx([4.0, 4.0, 1.0], abs=0.2)


@pytest.mark.asyncio
async def test_detached_changes_nothing_where_no_ask_is_being_handled() -> None:
    loop = asyncio.get_running_loop()
    ends: list[tuple[str, float]] = []
    async with ActorSystem() as system:
        ref, target = await system.spawn(Independent, ends), await system.spawn(Holder, Gate())
        begun = loop.time()
        ref.tell(Apart(whom=target, what=Hold(), timeout=2.0))
        with detached(), pytest.raises(AskTimeout):
            await target.ask(Hold(), timeout=3.0)
        assert loop.time() - begun == pytest.approx(3.0, abs=0.2)
        assert ends[0][1] - begun == pytest.approx(2.0, abs=0.2)


@pytest.mark.asyncio
async def test_a_circle_is_found_in_detached_code_too() -> None:
    class Selfish(Actor[Apart]):
        @handler
        async def ask_apart(self, message: Apart) -> str:
            with detached():
                try:
                    await self.context.ref.ask(message)
                except AskCycle as error:
                    return str(error.chain)
            return ""

    async with ActorSystem() as system:
        ref = await system.spawn(Selfish)
        assert await ref.ask(Apart(whom=None, what=None), timeout=60.0) == str((ref.path, ref.path))


# Handlers that are not to go on when nobody waits for them.


class Work(Message[str]):
    """Work for so long; tell how it ended."""

    seconds: float = 1_000.0
    then: Any = None


class Worker(Actor[Work | Note]):
    def __init__(self, log: list[str]) -> None:
        self.log_of_all = log

    @handler(cancellable=True)
    async def work(self, message: Work) -> str:
        try:
            await asyncio.sleep(message.seconds)
        except asyncio.CancelledError:
            self.log_of_all.append("cancelled")
            if isinstance(message.then, Exception):
                raise message.then from None
            if message.then is not None:
                return str(message.then)
            raise
        self.log_of_all.append("done")
        return "done"

    @handler
    def note(self, message: Note) -> int:
        return message.value


@pytest.mark.parametrize("how", ["timeout", "cancel"])
@pytest.mark.asyncio
async def test_a_cancellable_handler_is_cancelled_when_its_asker_gives_up_and_that_is_no_crash(how: str) -> None:
    log: list[str] = []
    recorder = Recorder()
    async with ActorSystem(instruments=[recorder]) as system:
        worker = await system.spawn(Worker, log)
        asked = asyncio.create_task(worker.ask(Work(), timeout=2.0))
        queued = asyncio.create_task(worker.ask(Note(value=7), timeout=60.0))
        await settle()
        if how == "cancel":
            asked.cancel()
        with pytest.raises(asyncio.CancelledError if how == "cancel" else AskTimeout):
            await asked
        assert await queued == 7
        assert log == ["cancelled"]
        assert recorder.of("actor_crashed") == []
        assert recorder.letters == []
        assert await worker.ask(Work(seconds=0.5)) == "done"


@pytest.mark.parametrize("then", [ValueError("made of it"), Refused("made of it"), "a reply"])
@pytest.mark.asyncio
async def test_whatever_a_handler_makes_of_that_cancel_is_a_late_reply(then: Any) -> None:
    log: list[str] = []
    recorder = Recorder()
    async with ActorSystem(instruments=[recorder]) as system:
        worker = await system.spawn(Worker, log)
        with pytest.raises(AskTimeout):
            await worker.ask(Work(then=then), timeout=1.0)
        await settle()
        assert recorder.letters == [(then, "(asker)", worker.path, "late reply")]
        assert recorder.of("actor_crashed") == []
        assert await worker.ask(Work(seconds=0.5)) == "done"


@pytest.mark.asyncio
async def test_the_cancel_goes_down_a_chain_of_asks() -> None:
    log: list[str] = []

    class Middle(Actor[Forward]):
        @handler(cancellable=True)
        async def forward(self, message: Forward) -> str:
            return str(await message.whom.ask(message.what, timeout=60.0))

    async with ActorSystem() as system:
        worker, middle = await system.spawn(Worker, log), await system.spawn(Middle)
        asked = asyncio.create_task(middle.ask(Forward(whom=worker, what=Work()), timeout=60.0))
        await settle()
        asked.cancel()
        await asyncio.wait([asked])
        await settle()
        assert log == ["cancelled"]
        assert worker.status == middle.status == "running"


@pytest.mark.asyncio
async def test_nobody_gives_up_on_a_message_that_was_told_and_an_answer_is_no_giving_up() -> None:
    log: list[str] = []
    answered: list[bool] = []

    class Early(Actor[Work]):
        @handler(cancellable=True)
        async def work(self, message: Work) -> str:
            self.context.reply_later(message).send("early")
            await asyncio.sleep(1.0)
            answered.append(True)
            return ""

    async with ActorSystem() as system:
        worker, early = await system.spawn(Worker, log), await system.spawn(Early)
        worker.tell(Work(seconds=100.0))
        assert await early.ask(Work()) == "early"
        await asyncio.sleep(200.0)
        assert log == ["done"]
        assert answered == [True]


@pytest.mark.asyncio
async def test_a_crash_or_a_cancel_from_elsewhere_is_a_crash_of_a_cancellable_handler_too() -> None:
    class Fragile(Actor[Work]):
        @handler(cancellable=True)
        async def work(self, message: Work) -> str:
            raise message.then

    recorder = Recorder()
    async with ActorSystem(instruments=[recorder]) as system:
        ref = await system.spawn(Fragile)
        for error in (ValueError("boom"), asyncio.CancelledError()):
            with pytest.raises(ActorFailed):
                await ref.ask(Work(then=error))
        assert len(recorder.of("actor_crashed")) == 2
        frames = recorder.of("actor_crashed")[0][1].frames
        assert [function.rpartition(".")[2] for _file, _line, function in frames] == ["work"]


@pytest.mark.asyncio
async def test_a_kill_of_a_cancellable_handler_is_a_kill() -> None:
    log: list[str] = []
    async with ActorSystem() as system:
        worker = await system.spawn(child(Worker, log).options(restart="temporary"))
        asked = asyncio.create_task(worker.ask(Work()))
        await settle()
        asked.cancel()
        worker.kill()
        assert isinstance(await worker.wait_stopped(), Killed)
        assert log == ["cancelled"]


def test_a_plain_def_cannot_be_cancellable() -> None:
    with pytest.raises(InvalidActor, match="handler work is a plain def, which cannot be interrupted: make it async"):

        class Plain(Actor[Work]):
            @handler(cancellable=True)
            def work(self, message: Work) -> str:
                return ""


@pytest.mark.asyncio
async def test_a_method_that_overrides_a_cancellable_handler_is_cancellable() -> None:
    log: list[str] = []

    class Other(Worker):
        async def work(self, message: Work) -> str:
            return await super().work(message)

    class Not(Worker):
        @handler
        async def work(self, message: Work) -> str:
            return await super().work(message)

    async with ActorSystem() as system:
        for cls in (Other, Not):
            ref = await system.spawn(cls, log)
            with pytest.raises(AskTimeout):
                await ref.ask(Work(seconds=2.0), timeout=1.0)
            await asyncio.sleep(2.0)
        assert log == ["cancelled", "done"]


@simulate(schedules=40, faults=Faults(cancel=0.05))
async def test_in_every_order_a_recalled_handler_leaves_its_actor_unharmed(sim: Simulation) -> None:
    log: list[str] = []
    worker = await sim.system.spawn(child(Worker, log).options(max_restarts=100_000))

    async def ask(number: int) -> None:
        asking = worker.ask(Work(seconds=sim.random.choice([0.0, 0.1, 0.2])), timeout=60.0)
        task = asyncio.ensure_future(asking)
        await asyncio.sleep(sim.random.choice([0.0, 0.05, 0.1, 0.3]))
        task.cancel()
        await asyncio.wait([task])

    async with asyncio.TaskGroup() as group:
        for number in range(5):
            group.create_task(ask(number), name=f"asker-{number}")
    await sim.quiesce()
    assert worker.status == "running"
    assert await worker.ask(Note(value=1), timeout=60.0) == 1
