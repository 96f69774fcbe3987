"""D1: stop completes what is in hand, drain completes all, kill interrupts."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import pytest

from tests.guarantees.cast_of_supervision import (
    STUBBORN,
    Call,
    Diary,
    Flat,
    Gate,
    Note,
    Part,
    boom,
    now,
    settle,
    staged,
)
from understudy import (
    Actor,
    ActorRef,
    ActorStopped,
    ActorSystem,
    InvalidTimeout,
    Killed,
    Message,
    Settings,
    Shutdown,
    child,
    handler,
    supervisor,
)


class Job(Message):
    number: int


class Worker(Actor[Job]):
    """Each job takes it a tenth of a second."""

    def __init__(self, begun: list[int], done: list[tuple[int, float]], failing: int | None = None) -> None:
        self.begun, self.done, self.failing = begun, done, failing

    @handler
    async def work(self, message: Job) -> None:
        self.begun.append(message.number)
        await asyncio.sleep(0.1)
        if message.number == self.failing:
            raise ValueError
        self.done.append((message.number, round(now(), 2)))


class Bench:
    """A worker with ten jobs in its queue."""

    def __init__(self) -> None:
        self.diary = Diary()
        self.system = ActorSystem(instruments=[self.diary])
        self.begun: list[int] = []
        self.done: list[tuple[int, float]] = []
        self.worker: ActorRef[Any]

    async def fill(self, restart: str = "permanent", failing: int | None = None) -> ActorRef[Any]:
        spec = child(Worker, self.begun, self.done, failing).options(restart=restart)  # type: ignore[typeddict-item]
        self.worker = await self.system.spawn(spec)
        assert now() == 0
        for number in range(10):
            assert self.worker.tell(Job(number=number)) is True
        return self.worker

    @property
    def lost(self) -> list[int]:
        return [message.number for message, *_ in self.diary.dead if isinstance(message, Job)]

    @property
    def finished(self) -> list[int]:
        return [number for number, _ in self.done]


@pytest.mark.asyncio
async def test_stop_completes_the_job_in_hand_and_the_rest_becomes_dead_letters() -> None:
    bench = Bench()
    async with bench.system:
        worker = await bench.fill()
        await asyncio.sleep(0.05)
        worker.stop()
        assert bench.lost == list(range(1, 10))  # at once
        assert isinstance(await worker.wait_stopped(), Shutdown)
        assert now() == pytest.approx(0.1)
        assert bench.done == [(0, 0.1)]
        assert bench.begun == [0]
        assert bench.lost == list(range(1, 10))
        assert bench.diary.restarting == []


@pytest.mark.asyncio
async def test_stop_refuses_what_comes_after_it() -> None:
    bench = Bench()
    async with bench.system:
        worker = await bench.fill()
        await asyncio.sleep(0.05)
        worker.stop()
        assert worker.tell(Job(number=10)) is False
        with pytest.raises(ActorStopped) as caught:
            await worker.send(Job(number=11))
        assert caught.value.message == Job(number=11)
        with pytest.raises(ActorStopped):
            await worker.ask(Job(number=12))
        await worker.wait_stopped()
        assert bench.begun == [0]
        assert bench.lost.count(10) == 1


@pytest.mark.asyncio
async def test_drain_refuses_new_jobs_and_completes_all_it_had() -> None:
    bench = Bench()
    async with bench.system:
        worker = await bench.fill()
        await asyncio.sleep(0.05)
        worker.drain()
        assert worker.tell(Job(number=10)) is False
        with pytest.raises(ActorStopped):
            await worker.send(Job(number=11))
        with pytest.raises(ActorStopped):
            await worker.ask(Job(number=12))
        assert isinstance(await worker.wait_stopped(), Shutdown)
        assert now() == pytest.approx(1.0)
        assert bench.finished == list(range(10))
        assert bench.lost.count(10) == 1
        assert set(bench.lost) <= {10, 11, 12}
        assert bench.diary.restarting == []


@pytest.mark.asyncio
async def test_a_drain_with_time_enough_is_a_drain() -> None:
    bench = Bench()
    async with bench.system:
        worker = await bench.fill()
        worker.drain(timeout=2.0)
        await worker.wait_stopped()
        assert now() == pytest.approx(1.0)
        assert bench.finished == list(range(10))
        assert bench.lost == []
        await asyncio.sleep(10)  # its timer does nothing any more
        assert len(bench.diary.reasons(worker.path)) == 1


@pytest.mark.asyncio
async def test_when_the_time_of_a_drain_runs_out_what_is_left_is_handled_as_by_stop() -> None:
    bench = Bench()
    async with bench.system:
        worker = await bench.fill()
        worker.drain(timeout=0.35)
        assert isinstance(await worker.wait_stopped(), Shutdown)
        assert now() == pytest.approx(0.4)
        assert bench.finished == [0, 1, 2, 3]
        assert bench.begun == [0, 1, 2, 3]
        assert bench.lost == [4, 5, 6, 7, 8, 9]


@pytest.mark.asyncio
async def test_kill_interrupts_the_job_in_hand_and_the_rest_becomes_dead_letters_when_nobody_restarts_it() -> None:
    bench = Bench()
    async with bench.system:
        worker = await bench.fill(restart="temporary")
        await asyncio.sleep(0.05)
        worker.kill()
        assert await worker.wait_stopped() == Killed()
        assert now() == pytest.approx(0.05)
        assert bench.begun == [0]
        assert bench.done == []
        assert bench.lost[-9:] == list(range(1, 10))


@pytest.mark.asyncio
async def test_kill_loses_the_job_in_hand_only_when_the_actor_is_restarted() -> None:
    bench = Bench()
    async with bench.system:
        worker = await bench.fill()
        await asyncio.sleep(0.05)
        worker.kill()
        await asyncio.sleep(2.0)
        assert bench.begun == list(range(10))  # none twice
        assert bench.finished == list(range(1, 10))
        assert worker.status == "running"
        assert [number for number in bench.lost if number] == []


@pytest.mark.asyncio
async def test_a_def_handler_always_ends_before_a_kill_takes_effect() -> None:
    def kill_and_work_on(actor: Actor[Any]) -> str:
        actor.context.ref.kill()
        reached.append("end")
        return "reply"

    reached: list[str] = []
    part = Part()
    async with staged(part.spec(restart="temporary")) as stage:
        player = stage["player"]
        player.tell(Flat(what=kill_and_work_on))
        player.tell(Note(number=1))
        assert await player.wait_stopped() == Killed()
        assert reached == ["end"]
        assert part.notes == []
        assert part.ends == []


@pytest.mark.asyncio
async def test_drain_goes_on_across_a_restart() -> None:
    bench = Bench()
    async with bench.system:
        worker = await bench.fill(failing=3)
        await asyncio.sleep(0.05)
        worker.drain()
        await asyncio.sleep(0.4)  # after the crash
        assert worker.tell(Job(number=10)) is False
        assert isinstance(await worker.wait_stopped(), Shutdown)
        assert now() == pytest.approx(1.0)
        assert bench.finished == [0, 1, 2, 4, 5, 6, 7, 8, 9]
        assert bench.lost in ([10], [3, 10])
        assert len(bench.diary.restarting) == 1
        assert len(bench.diary.reasons(worker.path)) == 1


@pytest.mark.asyncio
async def test_the_time_of_a_drain_runs_on_across_a_restart() -> None:
    bench = Bench()
    async with bench.system:
        worker = await bench.fill(failing=3)
        worker.drain(timeout=0.55)
        await worker.wait_stopped()
        assert now() == pytest.approx(0.6)
        assert bench.finished == [0, 1, 2, 4, 5]
        assert [number for number in bench.lost if number != 3] == [6, 7, 8, 9]


@pytest.mark.asyncio
async def test_a_drain_whose_last_job_crashes_ends_for_good() -> None:
    bench = Bench()
    async with bench.system:
        worker = await bench.fill(failing=9)
        worker.drain()
        await worker.wait_stopped()
        await asyncio.sleep(10)
        assert worker.status == "stopped"
        assert bench.finished == list(range(9))
        assert len(bench.diary.reasons(worker.path)) == 1


@pytest.mark.asyncio
async def test_a_stop_during_a_drain_cuts_it_short() -> None:
    bench = Bench()
    async with bench.system:
        worker = await bench.fill()
        worker.drain()
        await asyncio.sleep(0.25)
        worker.stop()
        await worker.wait_stopped()
        assert now() == pytest.approx(0.3)
        assert bench.finished == [0, 1, 2]
        assert bench.lost == [3, 4, 5, 6, 7, 8, 9]


@pytest.mark.asyncio
async def test_a_kill_during_a_drain_interrupts_it() -> None:
    bench = Bench()
    async with bench.system:
        worker = await bench.fill(restart="temporary")
        worker.drain()
        await asyncio.sleep(0.25)
        worker.kill()
        assert isinstance(await worker.wait_stopped(), Killed)
        assert now() == pytest.approx(0.25)
        assert bench.finished == [0, 1]


@pytest.mark.asyncio
async def test_a_drain_of_an_idle_actor_ends_it_at_once() -> None:
    part = Part()
    async with staged(part.spec()) as stage:
        player = stage["player"]
        player.drain()
        assert isinstance(await player.wait_stopped(), Shutdown)
        assert now() == 0
        assert len(part.ends) == 1


@pytest.mark.asyncio
async def test_queued_asks_fail_at_a_stop_and_are_answered_by_a_drain() -> None:
    a, b = Part("a"), Part("b")
    async with staged(a.spec(), b.spec()) as stage:
        gates = Gate(), Gate()
        refs = stage["a"], stage["b"]
        in_hand = [asyncio.ensure_future(ref.ask(Call(what=gate))) for ref, gate in zip(refs, gates, strict=True)]
        queued = [asyncio.ensure_future(ref.ask(Flat(what=lambda actor: "answer"))) for ref in refs]
        await settle()
        refs[0].stop()
        refs[1].drain()
        with pytest.raises(ActorStopped):
            await queued[0]
        assert not queued[1].done()
        for gate in gates:
            gate.open()
        assert await queued[1] == "answer"
        assert await asyncio.gather(*in_hand) == ["passed", "passed"]  # the one in hand is answered either way


@pytest.mark.parametrize("timeout", [0, -1, math.nan, "soon", True])
@pytest.mark.asyncio
async def test_a_bad_timeout_of_a_drain_is_refused_and_nothing_is_drained(timeout: Any) -> None:
    part = Part()
    async with staged(part.spec()) as stage:
        player = stage["player"]
        with pytest.raises(InvalidTimeout):
            player.drain(timeout)
        await settle()
        assert player.status == "running"
        assert await player.ask(Flat(what=lambda actor: "here")) == "here"


@pytest.mark.asyncio
async def test_a_drain_may_take_for_ever() -> None:
    bench = Bench()
    async with bench.system:
        worker = await bench.fill()
        worker.drain(timeout=math.inf)
        await worker.wait_stopped()
        assert bench.finished == list(range(10))


@pytest.mark.asyncio
async def test_the_end_of_the_system_bounds_a_drain_without_limit() -> None:
    gate = Gate()
    part = Part()
    async with ActorSystem(settings=Settings(shutdown=1.0, shutdown_timeout=3.0)) as system:
        ref = await system.spawn(part.spec())
        ref.tell(Call(what=gate))
        ref.tell(Note(number=1))
        await gate.reached.wait()
        ref.drain()
        await asyncio.sleep(100)  # no limit of its own
        assert ref.status in ("running", "stopping")
        began = now()
    assert now() - began <= 3.01
    assert ref.status == "stopped"


# A drain that comes at an awkward moment.


@pytest.mark.asyncio
async def test_a_drain_while_the_actor_starts_again_waits_until_it_can_work() -> None:
    gate = Gate()
    part = Part(initialize=lambda actor: gate() if actor.incarnation == 2 else None)
    async with staged(part.spec()) as stage:
        player = stage["player"]
        player.tell(Flat(what=boom))
        player.tell(Note(number=1))
        player.tell(Note(number=2))
        await gate.reached.wait()
        player.drain()
        await settle()
        assert player.tell(Note(number=3)) is False
        assert player.status != "stopped"
        gate.open()
        assert isinstance(await player.wait_stopped(), Shutdown)
        assert part.notes == [1, 2]
        assert gate.cancelled_at == []
        assert stage.diary.lost_notes() == [3]


@pytest.mark.asyncio
async def test_a_drain_while_the_actor_goes_down_to_be_restarted_is_not_lost() -> None:
    gate = Gate()
    part = Part(shutdown=lambda actor: gate() if actor.incarnation == 1 else None)
    async with staged(part.spec()) as stage:
        player = stage["player"]
        player.tell(Flat(what=boom))
        player.tell(Note(number=1))
        await gate.reached.wait()
        player.drain()
        await settle()
        assert player.tell(Note(number=2)) is False
        gate.open()
        assert isinstance(await player.wait_stopped(), Shutdown)
        assert part.notes_by_incarnation == {2: [1]}
        assert part.starts == 2


@pytest.mark.asyncio
async def test_a_drain_while_the_actor_is_down_and_waits_for_its_supervisor_is_not_lost() -> None:
    gate = Gate()
    a = Part("a", initialize=lambda actor: gate() if actor.incarnation == 2 else None)
    b = Part("b")
    async with staged(supervisor("inner", a.spec(), b.spec(), max_restarts=0)) as stage:
        ref = stage["inner/b"]
        ref.tell(Flat(what=boom))
        ref.tell(Note(number=1))
        await gate.reached.wait()  # the supervisor comes back, and b waits until a is up
        ref.drain()
        assert ref.tell(Note(number=2)) is False
        await settle()
        assert b.notes == []
        gate.open()
        assert isinstance(await ref.wait_stopped(), Shutdown)
        assert b.notes_by_incarnation == {2: [1]}
        assert stage.diary.lost_notes() == [2]
        assert stage["inner/a"].status == "running"


@pytest.mark.asyncio
async def test_a_drain_of_an_actor_that_is_being_killed_is_not_lost() -> None:
    gate = Gate(resists=2)
    part = Part()
    async with staged(part.spec()) as stage:
        player = stage["player"]
        player.tell(Call(what=gate))
        player.tell(Note(number=1))
        await gate.reached.wait()
        player.kill()
        player.drain()
        assert player.tell(Note(number=2)) is False
        await player.wait_stopped()
        assert part.notes_by_incarnation == {2: [1]}
        assert part.starts == 2


@pytest.mark.asyncio
async def test_a_drain_of_one_that_swallows_every_cancel_ends_when_its_time_is_up() -> None:
    gate = Gate(resists=STUBBORN)
    part = Part()
    async with staged(part.spec(shutdown=1.0)) as stage:
        player = stage["player"]
        player.tell(Call(what=gate))
        player.tell(Note(number=1))
        await gate.reached.wait()
        began = now()
        player.drain(timeout=2.0)
        assert isinstance(await player.wait_stopped(), Killed)
        assert now() - began == pytest.approx(4.0, abs=0.01)  # the drain, the grace, until abandonment
        assert [path for path, _ in stage.diary.zombies] == [player.path]
        assert stage.diary.lost_notes() == [1]
        gate.open()
        await settle()


@pytest.mark.asyncio
async def test_a_drain_of_one_that_has_stopped_changes_nothing() -> None:
    part = Part()
    async with staged(part.spec()) as stage:
        player = stage["player"]
        player.stop()
        await player.wait_stopped()
        for _ in range(3):
            player.drain()
            player.drain(timeout=1.0)
            player.stop()
            player.kill()
        await asyncio.sleep(10)
        assert player.status == "stopped"
        assert isinstance(await player.wait_stopped(), Shutdown)
        assert len(stage.diary.reasons(player.path)) == 1
        assert (part.starts, len(part.ends)) == (1, 1)


@pytest.mark.asyncio
async def test_a_handler_may_drain_its_own_actor() -> None:
    part = Part()
    async with staged(part.spec()) as stage:
        player = stage["player"]
        player.tell(Call(what=lambda actor: actor.context.ref.drain()))
        player.tell(Note(number=1))
        assert isinstance(await player.wait_stopped(), Shutdown)
        assert part.notes == [1]
        assert part.starts == 1


@pytest.mark.asyncio
async def test_a_drain_during_the_first_start_lets_it_end_and_handles_what_is_queued() -> None:
    gate = Gate()
    refs: list[ActorRef[Any]] = []

    def start(actor: Actor[Any]) -> object:
        refs.append(actor.context.ref)
        return gate()

    part = Part(initialize=start)
    async with ActorSystem() as system:
        spawning = asyncio.ensure_future(system.spawn(part.spec()))
        await gate.reached.wait()
        [ref] = refs
        assert ref.tell(Note(number=1)) is True
        ref.drain()
        assert ref.tell(Note(number=2)) is False
        await asyncio.sleep(1.0)
        assert gate.cancelled_at == []
        gate.open()
        assert isinstance(await ref.wait_stopped(), Shutdown)
        await spawning
        assert part.notes == [1]
        assert len(part.ends) == 1


@pytest.mark.asyncio
async def test_an_actor_that_kills_itself_is_interrupted_at_its_next_await() -> None:
    reached: list[str] = []

    async def kill_yourself(actor: Actor[Any]) -> None:
        actor.context.ref.kill()
        reached.append("after the call")
        await asyncio.sleep(0)
        reached.append("after the await")

    part = Part()
    async with staged(part.spec(restart="temporary")) as stage:
        player = stage["player"]
        player.tell(Call(what=kill_yourself))
        assert isinstance(await player.wait_stopped(), Killed)
        assert reached == ["after the call"]


@pytest.mark.asyncio
async def test_an_actor_may_wait_for_the_end_of_its_child() -> None:
    below = Part("below")

    async def spawn_and_stop(actor: Actor[Any]) -> object:
        child = await actor.context.spawn(below.spec())
        child.tell(Note(number=1))
        child.drain()
        return await child.wait_stopped()

    async with staged(Part().spec()) as stage:
        assert isinstance(await stage["player"].ask(Call(what=spawn_and_stop)), Shutdown)
        assert below.notes == [1]
        assert await stage["player"].ask(Flat(what=lambda actor: actor.context.children)) == ()
