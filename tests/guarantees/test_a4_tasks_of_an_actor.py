"""A4: tasks that an actor starts belong to it and end with it; `pipe_to_self` turns an outcome into a message."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from contextlib import suppress
from typing import Any

import pytest

from tests.cast import Gate, Hold, Holder, Recorder, settle
from understudy import (
    Actor,
    ActorFailed,
    ActorSystem,
    Crashed,
    InvalidContext,
    Killed,
    Message,
    PipeFailed,
    Settings,
    child,
    handler,
)
from understudy.testing import Simulation, simulate


class Do(Message[object]):
    """Calls it with the actor."""

    what: Any


class Fail(Message): ...


class Note(Message):
    number: int


class Done:
    def __init__(self, value: object) -> None:
        self.value = value


class Worker(Actor[Do | Fail | Note]):
    def __init__(self, log: list[Any]) -> None:
        self.log_of = log

    @handler
    def do(self, message: Do) -> object:
        return message.what(self)

    @handler
    def fail(self, message: Fail) -> None:
        raise ValueError("on request")

    @handler
    async def note(self, message: Note) -> None:
        self.log_of.append(message.number)

    @handler
    def _done(self, message: Done) -> None:
        self.log_of.append((self.context.incarnation, message.value))

    @handler
    def _failed(self, message: PipeFailed) -> None:
        self.log_of.append((self.context.incarnation, message.error))

    def shutdown(self, reason: object) -> None:
        self.log_of.append("shutdown")


async def wait(gate: Gate, log: list[Any], name: str = "task") -> str:
    try:
        await gate.hold()
    except asyncio.CancelledError:
        log.append(f"{name} cancelled")
        raise
    return name


@pytest.mark.parametrize("way", ["stop", "crash", "kill", "own stop"])
@pytest.mark.asyncio
async def test_tasks_end_with_the_incarnation_before_its_shutdown_hook(way: str) -> None:
    log: list[Any] = []
    gate = Gate()
    async with ActorSystem() as system:
        worker = await system.spawn(Worker, log)
        await worker.ask(Do(what=lambda actor: actor.context.start_task(wait(gate, log), name="one") and None))
        await gate.reached()
        if way == "stop":
            worker.stop()
        elif way == "crash":
            worker.tell(Fail())
        elif way == "kill":
            worker.kill()
        else:
            worker.tell(Do(what=lambda actor: actor.context.stop()))
        await settle()
        assert log == (["task cancelled"] if way == "kill" else ["task cancelled", "shutdown"])
        assert worker.status == ("stopped" if way == "stop" else "running")
        assert [task.get_name() for task in asyncio.all_tasks() if task.get_name().startswith("task:")] == []


@pytest.mark.asyncio
async def test_a_task_that_fails_is_the_failure_of_its_actor() -> None:
    log: list[Any] = []
    recorder = Recorder()
    gate = Gate()

    async def fail() -> None:
        await gate.hold()
        raise LookupError("not there")

    async with ActorSystem(instruments=[recorder]) as system:
        worker = await system.spawn(Worker, log)
        await worker.ask(Do(what=lambda actor: actor.context.start_task(fail(), name="search") and None))
        gate.open()
        await settle()
        [(path, reason, message_type)] = recorder.of("actor_crashed")
        assert (path, message_type) == ("/user/worker", "task:/user/worker:search")
        assert isinstance(reason, Crashed)
        assert isinstance(reason.error, LookupError)
        assert await worker.ask(Do(what=lambda actor: actor.context.incarnation)) == 2


@pytest.mark.asyncio
async def test_the_report_of_a_task_that_fails_says_where() -> None:
    async def fail() -> None:
        raise ValueError("on request")

    async with ActorSystem() as system:
        ref = await system.spawn(child(Worker, []).options(restart="temporary"))
        await ref.ask(Do(what=lambda actor: bool(actor.context.start_task(fail()))))
        reason = await ref.wait_stopped()
    assert isinstance(reason, Crashed)
    assert [where.rpartition(".")[2] for _, _, where in reason.frames] == ["fail"]


@pytest.mark.asyncio
@pytest.mark.parametrize("awaited", [True, False])
async def test_a_system_exit_in_a_task_is_the_failure_of_its_actor_and_not_the_end_of_the_event_loop(
    awaited: bool,
) -> None:
    log: list[Any] = []
    recorder = Recorder()
    errors: list[BaseException] = []

    async def leave() -> None:
        await asyncio.sleep(1)
        raise SystemExit(3)

    async with ActorSystem(instruments=[recorder]) as system:
        ref = await system.spawn(child(Worker, log).options(restart="temporary"))
        task = await ref.ask(Do(what=lambda actor: actor.context.start_task(leave(), name="leaver")))
        assert isinstance(task, asyncio.Task)
        if awaited:
            with pytest.raises(
                ActorFailed, match=r"/user/worker failed while handling task:/user/worker:leaver"
            ) as info:
                await task
            errors.append(info.value)
            assert isinstance(info.value.__cause__, SystemExit)
        reason = await ref.wait_stopped()
        assert isinstance(reason, Crashed)
        assert isinstance(reason.error, SystemExit)
        assert [event[0] for event in recorder.of("actor_crashed")] == ["/user/worker"]
    assert len(errors) == awaited


@pytest.mark.asyncio
async def test_an_interrupt_in_a_task_is_an_orderly_end_of_the_system() -> None:
    async def interrupt() -> None:
        await asyncio.sleep(1)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):  # noqa: PT012 - it comes when the block is left
        async with ActorSystem() as system:
            ref = await system.spawn(Worker, [])
            await ref.ask(Do(what=lambda actor: bool(actor.context.start_task(interrupt()))))
            await asyncio.sleep(60)
    assert ref.status == "stopped"


@pytest.mark.asyncio
async def test_a_task_that_is_cancelled_by_its_actor_is_no_failure_and_one_that_ends_is_forgotten() -> None:
    gate = Gate()
    kept: list[asyncio.Task[str]] = []
    async with ActorSystem() as system:
        worker = await system.spawn(Worker, [])
        for _ in range(2):
            await worker.ask(Do(what=lambda actor: kept.append(actor.context.start_task(wait(gate, [])))))
        await gate.reached(2)
        kept[0].cancel()
        gate.open()
        await settle()
        assert (kept[0].cancelled(), kept[1].result()) == (True, "task")
        assert await worker.ask(Do(what=lambda actor: actor.context.incarnation)) == 1


@pytest.mark.parametrize("way", ["stop", "cancel"])
@pytest.mark.asyncio
async def test_what_is_cancelled_before_its_first_step_leaves_no_coroutine_behind(way: str) -> None:
    log: list[Any] = []

    def start(actor: Worker) -> None:
        task = actor.context.start_task(wait(Gate(), log))
        actor.context.pipe_to_self(wait(Gate(), log), Done)
        if way == "cancel":
            task.cancel()
        actor.context.stop()

    async with ActorSystem() as system:
        worker = await system.spawn(child(Worker, log).options(restart="temporary"))
        worker.tell(Do(what=start))
        await worker.wait_stopped()
        await settle()
        assert set(log) <= {"shutdown", "task cancelled"}


@pytest.mark.asyncio
async def test_a_task_that_resists_is_abandoned_and_holds_nobody_up() -> None:
    release = asyncio.Event()

    async def resist() -> None:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue

    recorder = Recorder()
    async with ActorSystem(instruments=[recorder]) as system:
        worker = await system.spawn(child(Worker, []).options(shutdown=1.0))
        await worker.ask(Do(what=lambda actor: actor.context.start_task(resist(), name="deaf") and None))
        await settle()
        start = asyncio.get_running_loop().time()
        worker.stop()
        reason = await worker.wait_stopped()
        assert isinstance(reason, Killed)
        assert asyncio.get_running_loop().time() - start == pytest.approx(2.0, abs=0.01)
        assert system.abandoned == ("task:/user/worker:deaf",)
        release.set()
        await settle()


@pytest.mark.asyncio
async def test_an_outcome_comes_as_a_message_behind_those_that_wait() -> None:
    log: list[Any] = []
    gate = Gate()

    def pipe(actor: Worker) -> None:
        actor.context.pipe_to_self(wait(gate, log, "fetched"), Done)

    async with ActorSystem() as system:
        worker = await system.spawn(Worker, log)
        await worker.ask(Do(what=pipe))
        await gate.reached()
        gate.open()
        for number in range(3):
            worker.tell(Note(number=number))
        await settle()
        assert log == [0, 1, 2, (1, "fetched")]


@pytest.mark.asyncio
async def test_a_failure_comes_as_a_message_too_and_harms_nobody() -> None:
    log: list[Any] = []

    async def fail() -> None:
        raise LookupError("not there")

    def pipe(actor: Worker) -> None:
        actor.context.pipe_to_self(fail(), Done)
        actor.context.pipe_to_self(fail(), Done, failed=lambda error: Done(str(error)))

    async with ActorSystem() as system:
        worker = await system.spawn(Worker, log)
        await worker.ask(Do(what=pipe))
        await settle()
        [(_, error), (_, text)] = log
        assert isinstance(error, LookupError)
        assert text == "not there"
        assert worker.status == "running"


@pytest.mark.asyncio
async def test_what_an_earlier_incarnation_has_piped_is_dropped() -> None:
    log: list[Any] = []
    gate, busy = Gate(), Gate()

    async def stubborn() -> str:
        try:
            await gate.hold()
        except asyncio.CancelledError:
            return "too late"
        return "in time"

    class Busy(Worker):
        @handler
        async def note(self, message: Note) -> None:
            await busy.hold()

    async with ActorSystem() as system:
        worker = await system.spawn(Busy, log)
        await worker.ask(Do(what=lambda actor: actor.context.pipe_to_self(stubborn(), Done)))
        await gate.reached()
        worker.tell(Note(number=1))
        worker.tell(Fail())
        gate.open()  # it waits behind the failure
        await settle()
        busy.open()
        await settle()
        assert log == ["shutdown"]
        assert system.statistics().dead_letters == 0
        assert worker.status == "running"


@pytest.mark.asyncio
async def test_a_blocking_call_runs_in_a_thread_and_is_counted_while_it_does() -> None:
    log: list[Any] = []
    release = threading.Event()
    loop = asyncio.get_running_loop()
    begun: asyncio.Future[int] = loop.create_future()

    def block() -> int:
        loop.call_soon_threadsafe(begun.set_result, threading.get_ident())
        release.wait(30)
        return 42

    async with ActorSystem() as system:
        worker = await system.spawn(Worker, log)
        await worker.ask(Do(what=lambda actor: actor.context.run_blocking(block, Done)))
        assert await begun != threading.get_ident()
        assert system.statistics().blocking == 1
        assert await worker.ask(Do(what=lambda actor: "meanwhile")) == "meanwhile"
        release.set()
        while not log:  # noqa: ASYNC110 - a thread is on its way, which is no matter of virtual time
            await asyncio.sleep(0)
        assert log == [(1, 42)]
        assert system.statistics().blocking == 0


@pytest.mark.asyncio
async def test_no_more_threads_than_allowed_block_at_a_time() -> None:
    log: list[Any] = []
    lock, running, most = threading.Lock(), 0, 0

    def block() -> int:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        threading.Event().wait(0.002)
        with lock:
            running -= 1
        return running

    async with ActorSystem(settings=Settings(blocking_threads=2)) as system:
        worker = await system.spawn(Worker, log)
        for _ in range(20):
            await worker.ask(Do(what=lambda actor: actor.context.run_blocking(block, Done)))
        while len(log) < 20:  # noqa: ASYNC110 - two threads are on their way
            await asyncio.sleep(0)
    assert most <= 2


class Two(Actor[Do | Note]):
    """Waits for two of a kind, out of turn."""

    def __init__(self, log: list[Any]) -> None:
        self.seen = log

    @handler
    async def do(self, message: Do) -> object:
        return await message.what(self)

    @handler
    def note(self, message: Note) -> None:
        self.seen.append(message.number)


@pytest.mark.asyncio
async def test_receive_takes_what_is_wanted_out_of_turn_and_leaves_the_others_in_their_order() -> None:
    log: list[Any] = []

    async def pair(actor: Two) -> list[int]:
        wanted = [await actor.context.receive(lambda message: isinstance(message, Note) and message.number > 10)]
        wanted.append(await actor.context.receive(lambda message: message == Note(number=1)))
        return [message.number for message in wanted]

    async with ActorSystem() as system:
        two = await system.spawn(Two, log)
        asking = asyncio.create_task(two.ask(Do(what=pair)))
        await settle()
        for number in (1, 2, 3, 20, 4):
            two.tell(Note(number=number))
        other = asyncio.create_task(two.ask(Do(what=pair), timeout=0.5))
        assert await asking == [20, 1]
        await settle()
        assert log == [2, 3, 4]
        other.cancel()


@pytest.mark.asyncio
async def test_receive_has_a_timeout_that_is_not_begun_anew_and_loses_nothing() -> None:
    log: list[Any] = []

    async def hope(actor: Two) -> str:
        with pytest.raises(TimeoutError, match="/user/two has received nothing like that within 1 s"):
            await actor.context.receive(lambda message: False, timeout=1.0)
        return "in vain"

    async with ActorSystem() as system:
        two = await system.spawn(Two, log)
        start = asyncio.get_running_loop().time()
        asking = asyncio.create_task(two.ask(Do(what=hope)))
        for number in range(4):
            await asyncio.sleep(0.3)
            two.tell(Note(number=number))
        assert await asking == "in vain"
        assert asyncio.get_running_loop().time() - start == pytest.approx(1.2, abs=0.01)
        await settle()
        assert log == [0, 1, 2, 3]


@pytest.mark.asyncio
async def test_receive_belongs_to_the_handlers_of_the_actor() -> None:
    kept: list[Any] = []

    async def keep(actor: Two) -> None:
        kept.append(actor.context)

    async with ActorSystem() as system:
        two = await system.spawn(Two, [])
        await two.ask(Do(what=keep))
        with pytest.raises(InvalidContext, match="async handlers"):
            await kept[0].receive(lambda message: True)


@simulate(schedules=40)
async def test_no_task_outlives_its_incarnation_whatever_happens(sim: Simulation) -> None:
    alive: dict[int, int] = {}

    class Busy(Actor[Note | Fail]):
        def initialize(self) -> None:
            self.mine = self.context.incarnation
            alive[self.mine] = 0

        async def work(self) -> None:
            mine = self.mine
            alive[mine] += 1
            try:
                await asyncio.sleep(0.01)
            finally:
                alive[mine] -= 1

        @handler
        async def note(self, message: Note) -> None:
            assert [number for number, count in alive.items() if count and number != self.mine] == []
            self.context.start_task(self.work())
            self.context.pipe_to_self(asyncio.sleep(0.005, message.number), Done)
            await asyncio.sleep(0)

        @handler
        def fail(self, message: Fail) -> None:
            raise ValueError

        @handler
        def _done(self, message: Done) -> None:
            assert [number for number, count in alive.items() if count and number != self.mine] == []

    ref = await sim.system.spawn(child(Busy).options(max_restarts=100))
    for number in range(8):
        ref.tell(Fail() if number % 3 == 2 else Note(number=number))
        await asyncio.sleep(sim.random.choice([0.0, 0.004]))
    await sim.quiesce()
    ref.stop()
    await ref.wait_stopped()
    assert set(alive.values()) == {0}


@pytest.mark.asyncio
async def test_that_what_was_piped_has_been_cancelled_by_somebody_else_is_a_failure_of_it() -> None:
    log: list[Any] = []
    futures: list[asyncio.Future[str]] = []

    def pipe(actor: Worker) -> None:
        futures.append(asyncio.get_running_loop().create_future())
        actor.context.pipe_to_self(futures[0], Done)

    async with ActorSystem() as system:
        worker = await system.spawn(Worker, log)
        await worker.ask(Do(what=pipe))
        await settle()
        futures[0].cancel()
        await settle()
        [(incarnation, error)] = log
        assert incarnation == 1
        assert isinstance(error, concurrent.futures.CancelledError)
        assert worker.status == "running"


@pytest.mark.asyncio
async def test_an_error_in_making_the_message_is_a_failure_too() -> None:
    log: list[Any] = []

    async def fetch() -> int:
        return 0

    async with ActorSystem() as system:
        worker = await system.spawn(Worker, log)
        await worker.ask(Do(what=lambda actor: actor.context.pipe_to_self(fetch(), lambda value: Done(1 // value))))
        await settle()
        assert [type(error) for _, error in log] == [ZeroDivisionError]


@pytest.mark.parametrize("ending", ["crash", "stop"])
@pytest.mark.asyncio
async def test_a_task_that_the_shutdown_hook_starts_ends_before_the_incarnation(ending: str) -> None:
    log: list[Any] = []

    class Farewell(Worker):
        def initialize(self) -> None:
            log.append("up")

        async def shutdown(self, reason: object) -> None:
            self.context.start_task(self.clean_up())
            await asyncio.sleep(0)
            log.append("shutdown")

        async def clean_up(self) -> None:
            try:
                await asyncio.sleep(100)
            finally:
                await asyncio.sleep(0.05)
                log.append("cleaned up")

    async with ActorSystem() as system:
        worker = await system.spawn(Farewell, log)
        if ending == "crash":
            worker.tell(Fail())
            await asyncio.sleep(1)
            assert log == ["up", "shutdown", "cleaned up", "up"]
        else:
            worker.stop()
            await worker.wait_stopped()
            assert log == ["up", "shutdown", "cleaned up"]


@pytest.mark.asyncio
async def test_a_task_of_the_shutdown_hook_that_resists_is_abandoned_within_the_grace() -> None:
    release = asyncio.Event()

    class Farewell(Worker):
        async def shutdown(self, reason: object) -> None:
            self.context.start_task(self.resist(), name="deaf")
            await asyncio.sleep(0)

        async def resist(self) -> None:
            while not release.is_set():
                with suppress(asyncio.CancelledError):
                    await release.wait()

    async with ActorSystem() as system:
        worker = await system.spawn(child(Farewell, []).options(shutdown=1.0))
        start = asyncio.get_running_loop().time()
        worker.stop()
        assert isinstance(await worker.wait_stopped(), Killed)
        assert asyncio.get_running_loop().time() - start == pytest.approx(2.0, abs=0.01)
        assert system.abandoned == ("task:/user/farewell:deaf",)
        release.set()
        await settle()


@pytest.mark.asyncio
async def test_a_blocking_call_is_counted_until_it_ends_and_holds_up_no_end() -> None:
    release, begun = threading.Event(), threading.Event()

    def block() -> None:
        begun.set()
        release.wait(30)

    try:
        async with ActorSystem() as system:
            worker = await system.spawn(Worker, [])
            await worker.ask(Do(what=lambda actor: actor.context.run_blocking(block, Done)))
            await asyncio.to_thread(begun.wait, 30)
            worker.stop()
            await worker.wait_stopped()
            assert system.statistics().blocking == 1
        assert not release.is_set()
    finally:
        release.set()


@pytest.mark.asyncio
async def test_a_blocking_call_that_had_no_thread_yet_never_begins_when_its_actor_has_ended() -> None:
    release, begun = threading.Event(), threading.Event()
    late: list[str] = []

    def block() -> None:
        begun.set()
        release.wait(30)

    try:
        async with ActorSystem(settings=Settings(blocking_threads=1)) as system:
            first, second = await system.spawn(Worker, []), await system.spawn(Worker, [])
            await first.ask(Do(what=lambda actor: actor.context.run_blocking(block, Done)))
            await asyncio.to_thread(begun.wait, 30)
            await second.ask(Do(what=lambda actor: actor.context.run_blocking(lambda: late.append("ran"), Done)))
            await settle()
            assert system.statistics().blocking == 2
            second.stop()
            await second.wait_stopped()
            assert system.statistics().blocking == 1
    finally:
        release.set()
    assert late == []


# They are no part of the handler that has started them.


@pytest.mark.parametrize("way", ["pipe_to_self", "start_task", "a timer"])
@pytest.mark.asyncio
async def test_what_runs_beside_has_no_deadline_of_the_ask_in_which_it_was_begun(way: str) -> None:
    """M7."""
    log: list[Any] = []
    gate = Gate()

    async with ActorSystem() as system:
        target = await system.spawn(Holder, gate)

        class Asker(Worker):
            @handler
            async def _begin(self, message: Begin) -> None:
                self.log_of.append(await target.ask(Hold(value=7), timeout=60.0))

        async def ask(actor: Any) -> None:
            actor.log_of.append(await target.ask(Hold(value=7), timeout=60.0))

        def begin(actor: Any) -> None:
            match way:
                case "pipe_to_self":
                    actor.context.pipe_to_self(target.ask(Hold(value=7), timeout=60.0), Done)
                case "start_task":
                    actor.context.start_task(ask(actor))
                case _:
                    actor.context.timers.after("begin", 0.5, Begin())

        asker = await system.spawn(Asker, log)
        await asker.ask(Do(what=begin), timeout=1.0)
        await asyncio.sleep(30)
        assert log == []
        gate.open()
        await settle()
        assert log in ([7], [(1, 7)])


@pytest.mark.parametrize("way", ["pipe_to_self", "start_task"])
@pytest.mark.asyncio
async def test_an_actor_may_ask_itself_beside_its_handlers(way: str) -> None:
    """M8: no edge."""
    log: list[Any] = []

    async def ask(actor: Any) -> None:
        actor.log_of.append(await actor.context.ref.ask(Do(what=lambda _: 5)))

    def begin(actor: Any) -> None:
        if way == "pipe_to_self":
            actor.context.pipe_to_self(actor.context.ref.ask(Do(what=lambda _: 5)), Done)
        else:
            actor.context.start_task(ask(actor))

    async with ActorSystem() as system:
        worker = await system.spawn(Worker, log)
        await worker.ask(Do(what=begin))
        await settle()
        assert log in ([5], [(1, 5)])


class Begin: ...
