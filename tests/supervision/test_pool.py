"""Worker pools: one queue, several workers, and no job lost or done twice."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import pytest

from tests.cast import Collector, Fail, Gate, Handled, Hold, Holder, Note, Recorder, Refuse, Unknown, settle
from understudy import (
    Actor,
    ActorFailed,
    ActorRef,
    ActorStopped,
    ActorSystem,
    AskCycle,
    AskTimeout,
    ChildSpec,
    InvalidContext,
    InvalidSpec,
    Mailbox,
    MailboxFull,
    Message,
    Pool,
    Refused,
    RestartsExceeded,
    Shutdown,
    Supervisor,
    SupervisorRef,
    UnderstudyError,
    Unhandled,
    WorkerPool,
    WrongActorType,
    child,
    handler,
    worker_pool,
)
from understudy.testing import Faults, Simulation, simulate


class Stage:
    """A pool of holders, with one gate and one log for all."""

    def __init__(self) -> None:
        self.gate = Gate()
        self.log: list[Any] = []
        self.recorder = Recorder()

    async def pool(self, system: ActorSystem, workers: int = 2, **options: Any) -> Pool[Any]:
        spec = child(Holder, self.gate, self.log).options(**options.pop("worker", {}))
        return Pool(await system.spawn(worker_pool("pool", spec, workers=workers, **options)), Holder)

    def system(self) -> ActorSystem:
        return ActorSystem(instruments=[self.recorder])

    @property
    def letters(self) -> list[tuple[Any, str]]:
        return [(letter[0], letter[3]) for letter in self.recorder.letters]


@pytest.fixture
def stage() -> Stage:
    return Stage()


def by_value(message: Any) -> Any:
    return message.value % 10 if isinstance(message, Note | Hold) else None


# Sharing work


@pytest.mark.asyncio
async def test_jobs_are_done_by_whoever_is_idle_and_others_wait_in_the_queue(stage: Stage) -> None:
    async with stage.system() as system:
        pool = await stage.pool(system, 3)
        asks = [asyncio.ensure_future(pool.ask(Hold(value=value))) for value in range(5)]
        await stage.gate.reached(3)
        await settle()
        assert stage.gate.came == 3
        assert pool.waiting == 2
        assert [ref.path for ref in pool.refs] == ["/user/pool/0", "/user/pool/1", "/user/pool/2"]
        stage.gate.open()
        assert await asyncio.gather(*asks) == [0, 1, 2, 3, 4]
        assert pool.waiting == 0
        assert stage.letters == []


@pytest.mark.asyncio
async def test_a_told_job_is_done_once_and_nobody_is_told_what_came_of_it(stage: Stage) -> None:
    async with stage.system() as system:
        pool = await stage.pool(system, 2)
        for value in range(10):
            assert pool.tell(Note(value=value))
        await pool.send(Note(value=10))
        await settle()
        assert sorted(stage.log) == list(range(11))
        assert stage.letters == []


@pytest.mark.asyncio
async def test_one_worker_does_jobs_in_the_order_in_which_they_came(stage: Stage) -> None:
    async with stage.system() as system:
        pool = await stage.pool(system, 1)
        pool.tell(Hold(value=-1))
        for value in range(20):
            assert pool.tell(Note(value=value))
        stage.gate.open()
        await settle()
        assert stage.log == [-1, *range(20)]


@pytest.mark.asyncio
async def test_an_answer_that_is_no_reply_reaches_the_asker_as_from_the_worker(stage: Stage) -> None:
    async with stage.system() as system:
        pool = await stage.pool(system, 1)
        with pytest.raises(Refused, match="no"):
            await pool.ask(Refuse())
        with pytest.raises(Unhandled):
            await pool.ask(Unknown())
        pool.tell(Refuse())
        pool.tell(Unknown())
        assert await pool.ask(Note(value=1)) == 1
        assert stage.letters == [(Unknown(), "unhandled")]
        assert stage.recorder.of("refused") == [("/user/pool/0", "Refuse", "no")]


class Asks(Message[int]):
    """Ask the pool of the one who handles it."""


class Insider(Actor[Asks | Note]):
    @handler
    async def ask(self, message: Asks) -> int:
        parent: Any = self.context.parent
        return await Pool(parent, Insider).ask(Note(value=1))

    @handler
    def note(self, message: Note) -> int:
        sender = self.context.sender
        return message.value if sender is None else 100


@pytest.mark.asyncio
async def test_a_worker_may_ask_its_own_pool_and_the_sender_is_known() -> None:
    async with ActorSystem() as system:
        pool = Pool(await system.spawn(worker_pool("pool", child(Insider), workers=2)), Insider)
        assert await pool.ask(Asks()) == 100
        alone = Pool(await system.spawn(worker_pool("alone", child(Insider), workers=1)), Insider)
        with pytest.raises(AskTimeout):
            await alone.ask(Asks(), timeout=1.0)
        assert await alone.ask(Note(value=1)) == 1


@pytest.mark.asyncio
async def test_a_job_with_a_key_that_only_its_asker_could_do_is_a_circle() -> None:
    async with ActorSystem() as system:
        pool = Pool(await system.spawn(worker_pool("pool", child(Insider), workers=2, key=lambda _: 1)), Insider)
        with pytest.raises(ActorFailed) as failed:
            await pool.ask(Asks(), timeout=1.0)
        assert isinstance(failed.value.__cause__, AskCycle)
        assert await pool.ask(Note(value=1)) == 1


# Failing


@pytest.mark.asyncio
async def test_a_crash_is_the_news_of_the_one_whose_job_was_in_hand_and_the_others_go_on(stage: Stage) -> None:
    async with stage.system() as system:
        pool = await stage.pool(system, 1)
        asks: list[Any] = [
            asyncio.ensure_future(pool.ask(message))
            for message in (Note(value=1), Fail(error=ValueError("no tone")), Note(value=2), Note(value=3))
        ]
        results = await asyncio.gather(*asks, return_exceptions=True)
        assert results[0] == 1
        assert isinstance(results[1], ActorFailed)
        assert str(results[1].__cause__) == "no tone"
        assert results[2:] == [2, 3]
        assert stage.log == [1, 2, 3]
        assert stage.letters == []


@pytest.mark.asyncio
async def test_while_a_worker_is_being_restarted_the_others_do_its_work() -> None:
    gate = Gate()

    class Slow(Holder):
        async def initialize(self) -> None:
            if self.context.incarnation > 1:
                await gate.hold()

    async with ActorSystem() as system:
        log: list[Any] = []
        pool = Pool(await system.spawn(worker_pool("pool", child(Slow, None, log), workers=2)), Slow)
        pool.tell(Fail(error=ValueError()))
        await gate.reached()
        for value in range(5):
            assert await pool.ask(Note(value=value), timeout=1.0) == value
        assert pool.refs[0].status == "restarting"
        assert pool.refs[0]._cell.waiting <= 1  # the signal, and no job
        pool.refs[1].tell(Fail(error=ValueError()))
        await gate.reached(2)
        asking = asyncio.ensure_future(pool.ask(Note(value=9)))
        await settle()
        assert pool.waiting == 1
        gate.open()
        assert await asking == 9


@pytest.mark.asyncio
async def test_a_killed_worker_and_one_that_ends_for_good_take_only_their_own_job_along(stage: Stage) -> None:
    async with stage.system() as system:
        pool = await stage.pool(system, 2)
        first, second = (asyncio.ensure_future(pool.ask(Hold(value=value))) for value in (1, 2))
        await stage.gate.reached(2)
        third = asyncio.ensure_future(pool.ask(Note(value=3)))
        pool.refs[0].kill()
        with pytest.raises(ActorStopped):
            await first
        assert await third == 3
        await pool.terminate_child("1", timeout=0.1)
        with pytest.raises(ActorStopped):
            await second
        assert [ref.path for ref in pool.refs] == ["/user/pool/0"]
        assert await pool.ask(Note(value=4)) == 4
        await pool.terminate_child("0")
        waiting = asyncio.ensure_future(pool.ask(Note(value=5)))
        await settle()
        assert not waiting.done()
        await pool.restart_child("1")
        assert pool.tell(Note(value=6))
        assert await waiting == 5
        assert len(pool.refs) == 1


class Top(Supervisor):
    def __init__(self, spec: ChildSpec[Any]) -> None:
        self.spec = spec

    def children(self) -> list[ChildSpec]:
        return [self.spec]


@pytest.mark.asyncio
async def test_the_queue_outlives_a_restart_of_the_pool(stage: Stage) -> None:
    async with stage.system() as system:
        spec = worker_pool("pool", child(Holder, stage.gate, stage.log), workers=2)
        await system.spawn(Top, spec)
        pool = Pool(system.lookup("top/pool", WorkerPool), Holder)
        held = [asyncio.ensure_future(pool.ask(Hold(value=value))) for value in (1, 2)]
        await stage.gate.reached(2)
        waiting = [asyncio.ensure_future(pool.ask(Note(value=value))) for value in (3, 4, 5)]
        await settle()
        pool.kill()
        for each in held:
            with pytest.raises(ActorStopped):
                await each
        assert await asyncio.gather(*waiting) == [3, 4, 5]
        assert stage.log == [3, 4, 5]
        assert await pool.ask(Note(value=6)) == 6


@pytest.mark.asyncio
async def test_a_pool_that_gives_up_gives_its_jobs_back(stage: Stage) -> None:
    class Fragile(WorkerPool):
        workers = 1
        max_restarts = 0

        def worker(self) -> ChildSpec:
            return child(Holder, stage.gate, stage.log)

    async with stage.system() as system:
        pool = Pool(await system.spawn(child(Fragile).options(restart="temporary")), Holder)
        pool.tell(Hold())
        await stage.gate.reached()
        failing = asyncio.ensure_future(pool.ask(Fail(error=ValueError())))
        waiting = asyncio.ensure_future(pool.ask(Note(value=1)))
        await settle()
        pool.tell(Note(value=2))
        stage.gate.open()
        results = await asyncio.gather(failing, waiting, return_exceptions=True)
        assert [type(each) for each in results] == [ActorFailed, ActorStopped]
        assert [letter[0] for letter in stage.letters] == [Note(value=1), Note(value=2)]
        assert pool.tell(Note(value=3)) is False
        with pytest.raises(ActorStopped):
            await pool.send(Note(value=4))
        with pytest.raises(ActorStopped):
            Pool(pool, Holder)
        assert stage.log == [0]


# The queue


async def full(stage: Stage, system: ActorSystem, **options: Any) -> Pool[Any]:
    """A pool of one worker that is held, and two jobs that wait, for which there is just room."""
    pool = await stage.pool(system, 1, limit=2, **options)
    pool.tell(Hold(value=0))
    await stage.gate.reached()
    assert pool.tell(Note(value=1))
    assert pool.tell(Note(value=2))
    return pool


@pytest.mark.asyncio
async def test_refuse_a_tell_is_a_dead_letter_an_ask_raises_and_a_send_waits(stage: Stage) -> None:
    async with stage.system() as system:
        pool = await full(stage, system)
        assert pool.tell(Note(value=3)) is False
        with pytest.raises(MailboxFull, match="or set `limit`") as caught:
            await pool.ask(Note(value=4))
        assert (caught.value.path, caught.value.capacity) == ("/user/pool", 2)
        with pytest.raises(MailboxFull, match=r"no room for Note within 1 s"):
            await pool.send(Note(value=5), timeout=1)
        sends = [asyncio.ensure_future(pool.send(Note(value=value))) for value in (6, 7)]
        await settle()
        assert not any(send.done() for send in sends)
        assert stage.letters == [(Note(value=value), "the queue of the pool is full") for value in (3, 4)]
        stage.gate.open()
        await asyncio.gather(*sends)
        await settle()
        assert stage.log == [0, 1, 2, 6, 7]


@pytest.mark.asyncio
async def test_discard_newest_refuses_a_send_too(stage: Stage) -> None:
    async with stage.system() as system:
        pool = await full(stage, system, overflow="discard_newest")
        assert pool.tell(Note(value=3)) is False
        for call in (pool.ask, pool.send):
            with pytest.raises(MailboxFull):
                await call(Note(value=4))
        stage.gate.open()
        await settle()
        assert stage.log == [0, 1, 2]
        assert [letter[0].value for letter in stage.letters] == [3, 4, 4]


@pytest.mark.asyncio
async def test_discard_oldest_lets_the_oldest_make_way_and_its_asker_know(stage: Stage) -> None:
    async with stage.system() as system:
        pool = await stage.pool(system, 1, limit=2, overflow="discard_oldest", key=by_value)
        pool.tell(Hold(value=0))
        await stage.gate.reached()
        oldest = asyncio.ensure_future(pool.ask(Note(value=1)))
        await settle()
        for value in (2, 3, 4):
            assert pool.tell(Note(value=value))
        with pytest.raises(MailboxFull):
            await oldest
        await pool.send(Note(value=5))
        stage.gate.open()
        await settle()
        assert stage.log == [0, 4, 5]
        assert stage.letters == [(Note(value=value), "displaced by a newer message") for value in (1, 2, 3)]


@pytest.mark.asyncio
async def test_with_a_limit_of_nothing_only_who_is_idle_gets_a_job(stage: Stage) -> None:
    async with stage.system() as system:
        pool = await stage.pool(system, 2, limit=0)
        asks = [asyncio.ensure_future(pool.ask(Hold(value=value))) for value in range(2)]
        await stage.gate.reached(2)
        assert pool.tell(Note()) is False
        sending = asyncio.ensure_future(pool.send(Note(value=9)))
        await settle()
        assert not sending.done()
        stage.gate.open()
        assert await asyncio.gather(*asks) == [0, 1]
        await sending
        await settle()
        assert stage.log == [0, 1, 9]


@pytest.mark.asyncio
async def test_what_is_given_up_in_the_queue_is_not_started_and_makes_room(stage: Stage) -> None:
    async with stage.system() as system:
        pool = await full(stage, system)
        sending = asyncio.ensure_future(pool.send(Note(value=7)))
        await settle()
        pool2 = Pool(pool, Holder)
        assert pool2 == pool
        assert pool2.waiting == 2
        stage.gate.open()
        stage.gate.shut()
        await settle()
        pool.tell(Hold(value=10))
        await stage.gate.reached(2)
        with pytest.raises(AskTimeout, match=r"in the queue of the pool, 1 waiting"):
            await pool.ask(Note(value=11), timeout=1.0)
        cancelled = asyncio.ensure_future(pool.ask(Note(value=12)))
        await settle()
        cancelled.cancel()
        await asyncio.wait([cancelled])
        assert pool.waiting == 0
        stage.gate.open()
        await settle()
        assert sending.done()
        assert stage.log == [0, 1, 2, 7, 10]
        assert stage.letters == [(Note(value=value), "nobody waits for the reply any more") for value in (11, 12)]


@pytest.mark.asyncio
async def test_an_ask_that_times_out_in_hand_says_so_and_the_worker_is_not_given_another_meanwhile(
    stage: Stage,
) -> None:
    async with stage.system() as system:
        pool = await stage.pool(system, 2)
        with pytest.raises(AskTimeout, match=r"/user/pool/0 .*handling it for 1 s"):
            await pool.ask(Hold(value=1), timeout=1.0)
        for value in range(2, 6):
            assert await pool.ask(Note(value=value)) == value
        assert pool.refs[0]._cell.waiting == 1  # the signal
        stage.gate.open()
        await settle()
        assert stage.log == [2, 3, 4, 5, 1]
        assert [why for _, why in stage.letters] == ["late reply"]


@pytest.mark.asyncio
async def test_senders_that_are_cancelled_leave_the_line(stage: Stage) -> None:
    async with stage.system() as system:
        pool = await full(stage, system)
        sends = [asyncio.ensure_future(pool.send(Note(value=value))) for value in (5, 6, 7)]
        await settle()
        sends[1].cancel()
        stage.gate.open()
        await asyncio.wait(sends)
        await settle()
        assert stage.log == [0, 1, 2, 5, 7]


# Keys


@pytest.mark.asyncio
async def test_jobs_of_one_key_are_done_one_at_a_time_in_order_by_one_worker(stage: Stage) -> None:
    done: dict[int, list[tuple[int, str]]] = {}
    now: set[int] = set()

    class Keyed(Actor[Note]):
        @handler
        async def note(self, message: Note) -> int:
            key = by_value(message)
            assert key not in now
            now.add(key)
            await asyncio.sleep(0.1)
            now.remove(key)
            done.setdefault(key, []).append((message.value, self.context.path))
            return message.value

    async with stage.system() as system:
        pool = Pool(await system.spawn(worker_pool("pool", child(Keyed), workers=4, key=by_value)), Keyed)
        for value in range(60):
            assert pool.tell(Note(value=value))
        await asyncio.sleep(10)
        for key in range(10):
            assert [value for value, _ in done[key]] == list(range(key, 60, 10))
            assert len({path for _, path in done[key]}) == 1
        assert len({path for each in done.values() for _, path in each}) > 2


@pytest.mark.asyncio
async def test_a_busy_key_does_not_hold_up_the_others_and_no_key_is_no_bond(stage: Stage) -> None:
    async with stage.system() as system:
        pool = await stage.pool(system, 2, key=by_value)
        pool.tell(Hold(value=1))
        await stage.gate.reached()
        pool.tell(Note(value=11))
        other = next(value for value in range(2, 10) if pool._jobs.worker_for(value) != pool._jobs.worker_for(1))
        assert await pool.ask(Note(value=other)) == other
        assert await pool.ask(Handled()) == [other]
        assert pool.waiting == 1
        stage.gate.open()
        await settle()
        assert stage.log == [other, 1, 11]


@pytest.mark.asyncio
async def test_a_key_that_cannot_be_one_is_raised_to_the_sender(stage: Stage) -> None:
    async with stage.system() as system:
        pool = await stage.pool(system, 2, key=lambda _: object())
        with pytest.raises(TypeError, match="a key must be"):
            pool.tell(Note())
        with pytest.raises(TypeError):
            await pool.ask(Note())
        assert pool.waiting == 0
        assert stage.log == []


# More and fewer


@pytest.mark.asyncio
async def test_more_workers_take_jobs_that_wait_and_fewer_complete_what_they_have(stage: Stage) -> None:
    async with stage.system() as system:
        pool = await stage.pool(system, 1)
        asks = [asyncio.ensure_future(pool.ask(Hold(value=value), timeout=100.0)) for value in range(5)]
        await stage.gate.reached(1)
        await pool.resize(3)
        await stage.gate.reached(3)
        assert len(pool.refs) == 3
        shrinking = asyncio.ensure_future(pool.resize(1))
        await settle()
        assert not shrinking.done()
        assert stage.gate.came == 3
        stage.gate.open()
        await shrinking
        assert await asyncio.gather(*asks) == [0, 1, 2, 3, 4]
        assert [ref.path for ref in pool.refs] == ["/user/pool/0"]
        assert stage.letters == []
        with pytest.raises(InvalidSpec, match="workers must be an int from 1 up"):
            await pool.resize(0)


@pytest.mark.asyncio
async def test_jobs_of_those_that_go_are_done_by_those_that_stay_before_they_have_gone(stage: Stage) -> None:
    async with stage.system() as system:
        pool = await stage.pool(system, 2, key=by_value)
        moving = next(value for value in range(10) if pool._jobs.worker_for(value) == pool.refs[1]._cell)
        same, other = next(
            (a, b)
            for a in range(10)
            for b in range(10)
            if a != b
            and a != moving
            and b != moving
            and pool._jobs.worker_for(a) == pool.refs[1]._cell == pool._jobs.worker_for(b)
        )
        pool.tell(Hold(value=same))
        await stage.gate.reached()
        pool.tell(Note(value=same + 10))
        pool.tell(Note(value=other))
        shrinking = asyncio.ensure_future(pool.resize(1))
        await settle()
        # Its turn comes although the one before it of another key waits for the worker that goes.
        assert stage.log == []
        assert pool.waiting == 2
        stage.gate.open()
        await shrinking
        await settle()
        assert stage.log == [same, same + 10, other]


@pytest.mark.asyncio
async def test_the_number_of_workers_stays_through_a_restart_of_the_pool(stage: Stage) -> None:
    async with stage.system() as system:
        pool = await stage.pool(system, 1)
        await pool.resize(3)
        pool.kill()
        await settle()
        assert len(pool.refs) == 3
        assert await pool.ask(Note(value=1)) == 1


# Ending


@pytest.mark.asyncio
async def test_drain_does_what_waits_refuses_what_comes_and_ends_the_pool(stage: Stage) -> None:
    async with stage.system() as system:
        pool = await full(stage, system)
        sending = asyncio.ensure_future(pool.send(Note(value=7)))
        await settle()
        pool.drain()
        pool.drain()
        with pytest.raises(ActorStopped, match="drained"):
            await sending
        assert pool.tell(Note(value=8)) is False
        with pytest.raises(ActorStopped):
            await pool.ask(Note(value=9))
        stage.gate.open()
        assert await pool.wait_stopped(1.0) == Shutdown("drained")
        assert stage.log == [0, 1, 2]
        assert [letter[0].value for letter in stage.letters] == [7, 8, 9]


@pytest.mark.asyncio
async def test_a_drain_goes_on_through_a_crash_and_ends_at_its_deadline(stage: Stage) -> None:
    async with stage.system() as system:
        pool = await stage.pool(system, 1)
        for message in (Fail(error=ValueError()), Note(value=1)):
            pool.tell(message)
        pool.drain()
        await pool.wait_stopped(1.0)
        assert stage.log == [1]
    async with stage.system() as system:
        pool = await stage.pool(system, 1, worker={"shutdown": 1.0})
        pool.tell(Hold(value=2))
        pool.tell(Note(value=3))
        loop = asyncio.get_running_loop()
        began = loop.time()
        pool.drain(5.0)
        await pool.wait_stopped()
        assert 5.9 < loop.time() - began < 6.5
        assert stage.log == [1]
        assert (Note(value=3), "shut down (drained)") in stage.letters


@pytest.mark.asyncio
async def test_an_idle_pool_is_drained_at_once(stage: Stage) -> None:
    async with stage.system() as system:
        pool = await stage.pool(system, 3)
        await settle()
        pool.drain()
        assert await pool.wait_stopped(0.1) == Shutdown("drained")
        pool.drain()
        assert stage.letters == []


@pytest.mark.asyncio
async def test_stop_completes_what_is_in_hand_and_the_rest_becomes_dead_letters_in_order(stage: Stage) -> None:
    async with stage.system() as system:
        pool = await stage.pool(system, 2)
        held = [asyncio.ensure_future(pool.ask(Hold(value=value))) for value in range(2)]
        await stage.gate.reached(2)
        waiting = asyncio.ensure_future(pool.ask(Note(value=2)))
        await settle()
        pool.tell(Note(value=3))
        pool.stop()
        assert pool.tell(Note(value=4)) is False
        stage.gate.open()
        assert await asyncio.gather(*held) == [0, 1]
        with pytest.raises(ActorStopped):
            await waiting
        assert stage.log == [0, 1]
        assert stage.letters == [
            (Note(value=4), "shut down (stopped)"),
            (Note(value=2), "shut down (stopped)"),
            (Note(value=3), "shut down (stopped)"),
        ]


# Declaring


class Named(WorkerPool):
    workers = 2
    limit = 1
    overflow = "discard_oldest"

    def worker(self) -> ChildSpec:
        return child(Holder)


@pytest.mark.asyncio
async def test_a_class_of_pools_is_declared_and_drawn_as_a_supervisor() -> None:
    async with ActorSystem(Named) as system:
        pool = Pool(system.lookup("named", Named), Holder)
        assert repr(pool) == "Pool(/user/named)"
        assert await pool.ask(Note(value=1)) == 1
        assert (await pool.count_children()).active == 2
        assert "1  Holder" in str(system.tree())
        with pytest.raises(WrongActorType, match="a worker of /user/named is a Holder, not a Collector"):
            Pool(pool, Collector)


@pytest.mark.asyncio
async def test_what_is_no_pool_is_refused(stage: Stage) -> None:
    async with ActorSystem() as system:
        top: Any = await system.spawn(Top, child(Holder))
        with pytest.raises(WrongActorType, match="is a Top, not a WorkerPool"):
            Pool(top, Holder)

        class Late(Named):
            async def initialize(self) -> None:
                await stage.gate.hold()

        starting = asyncio.ensure_future(system.spawn(Late))
        await stage.gate.reached()
        with pytest.raises(InvalidContext, match="has not started yet"):
            Pool(system.lookup("late", Late), Holder)
        stage.gate.open()
        await starting


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"workers": 0}, "workers must be an int from 1 up"),
        ({"limit": -1}, "limit must be a number from 0 up, or math.inf"),
        ({"limit": math.nan}, "limit must be a number from 0 up, or math.inf"),
        ({"limit": True}, "limit must be a number from 0 up, or math.inf"),
        ({"overflow": "drop"}, "overflow must be 'refuse', 'discard_oldest', 'discard_newest', got 'drop'"),
    ],
)
def test_a_bad_declaration_says_what_is_allowed(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(InvalidSpec, match=problem):
        worker_pool("pool", child(Holder), **{"workers": 1, **options})
    with pytest.raises(InvalidSpec, match=problem):
        type("Bad", (Named,), options)


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        (Holder, "must be a child"),
        (child(Holder).options(name="x"), "workers are named after their numbers"),
        (child(Holder).options(restart="temporary"), "must be 'permanent' or 'transient'"),
        (child(Holder).options(mailbox=Mailbox(capacity=10, policy="stop")), "must not have the policy 'stop'"),
    ],
)
def test_what_cannot_be_a_worker_is_refused(spec: Any, problem: str) -> None:
    with pytest.raises(InvalidSpec, match=problem):
        worker_pool("pool", spec, workers=1)


def test_a_pool_declares_workers_and_no_partitions() -> None:
    with pytest.raises(InvalidSpec, match="define `worker"):
        type("Bad", (WorkerPool,), {"partitions": 3})
    with pytest.raises(InvalidSpec, match="define `worker"):
        type("Bad", (WorkerPool,), {"partition": lambda self, number: child(Holder)})


@pytest.mark.asyncio
async def test_nothing_is_kept_of_jobs_that_are_done(stage: Stage) -> None:
    async with stage.system() as system:
        pool = await stage.pool(system, 3, key=by_value)
        for value in range(100):
            await pool.ask(Note(value=value))
        await pool.resize(1)
        await pool.resize(3)
        await settle()
        jobs = pool._jobs
        assert not jobs._keys
        assert not jobs._senders
        assert not jobs._common
        assert len(jobs._slots) == len(jobs._idle) == 3
        assert all(len(slot.cell.observers or ()) == 1 for slot in jobs._slots)


# Awkward moments


class Sleeper(Actor[Hold | Note]):
    """Its jobs take as many seconds as their value says; those of a Note take none."""

    def __init__(self, log: list[tuple[int, float]]) -> None:
        self.done = log

    @handler
    async def hold(self, message: Hold) -> int:
        await asyncio.sleep(message.value)
        return message.value

    @handler
    def note(self, message: Note) -> int:
        self.done.append((message.value, round(asyncio.get_running_loop().time(), 1)))
        return message.value


def by_note(message: Any) -> Any:
    return message.value if isinstance(message, Note) else None


@pytest.mark.asyncio
@pytest.mark.parametrize("after", [0, 2])
@pytest.mark.parametrize("how", ["resize", "terminate"])
async def test_jobs_whose_worker_goes_do_not_wait_for_it(how: str, after: int) -> None:
    log: list[tuple[int, float]] = []
    async with ActorSystem() as system:
        pool = Pool(await system.spawn(worker_pool("pool", child(Sleeper, log), workers=2, key=by_note)), Sleeper)
        began = asyncio.get_running_loop().time()
        for seconds in (1, 10):
            pool.tell(Hold(value=seconds))
        await settle()
        hand = [ref._cell.hand.value for ref in pool.refs]
        assert hand == [1, 10]
        await asyncio.sleep(after)
        going = pool.refs[1]._cell
        mine = next(value for value in range(10) if pool._jobs.worker_for(value) is going)
        pool.tell(Note(value=mine))
        if how == "resize":
            await pool.resize(1)
        else:
            await pool.terminate_child("1", timeout=0.1)
        await asyncio.sleep(20)
        (done,) = log
        assert done[0] == mine
        assert max(1, after) <= done[1] - began < max(1, after) + 0.3


@pytest.mark.asyncio
async def test_a_sender_that_waits_is_not_let_in_by_a_pool_that_is_stopping(stage: Stage) -> None:
    async with stage.system() as system:
        pool = await stage.pool(system, 1, limit=1)
        pool.tell(Hold())
        await stage.gate.reached()
        asking = asyncio.ensure_future(pool.ask(Note(value=1)))
        await settle()
        sending = asyncio.ensure_future(pool.send(Note(value=2)))
        await settle()
        pool.stop()
        asking.cancel()
        await settle()
        assert not sending.done()
        stage.gate.open()
        with pytest.raises(ActorStopped):
            await sending
        assert stage.log == [0]


@pytest.mark.asyncio
async def test_a_pool_that_gives_up_while_it_drains_has_given_up(stage: Stage) -> None:
    class Fragile(WorkerPool):
        workers = 2
        max_restarts = 0

        def worker(self) -> ChildSpec:
            return child(Holder, stage.gate, stage.log)

    complaints: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: complaints.append(context))
    async with stage.system() as system:
        pool = Pool(await system.spawn(child(Fragile).options(restart="temporary")), Holder)
        await settle()
        pool.tell(Fail(error=ValueError()))
        pool.drain()
        assert isinstance(await pool.wait_stopped(), RestartsExceeded)
        assert complaints == []


@pytest.mark.asyncio
async def test_a_drain_is_over_when_the_worker_that_had_the_last_job_has_ended(stage: Stage) -> None:
    async with stage.system() as system:
        pool = await stage.pool(system, 2)
        await settle()
        pool.tell(Hold())
        await stage.gate.reached()
        pool.drain()
        busy = next(ref for ref in pool.refs if ref._cell.hand is not None)
        await pool.terminate_child(busy, timeout=0.1)
        assert await pool.wait_stopped(1.0) == Shutdown("drained")


class Round(Message[int]):
    """Ask the pool, whose worker asks back."""


class Back(Message[int]):
    """Ask that one."""

    whom: Any


class Asker(Actor[Round | Note]):
    def __init__(self, pool: Pool[Any]) -> None:
        self.pool = pool

    @handler
    async def round(self, message: Round) -> int:
        return await self.pool.ask(Back(whom=self.context.ref))

    @handler
    def note(self, message: Note) -> int:
        return message.value


class Answerer(Actor[Back]):
    @handler
    async def back(self, message: Back) -> int:
        reply: int = await message.whom.ask(Note(value=1))
        return reply


@pytest.mark.asyncio
async def test_a_worker_that_asks_back_is_a_circle_and_found_at_once() -> None:
    async with ActorSystem() as system:
        pool = Pool(await system.spawn(worker_pool("pool", child(Answerer), workers=2)), Answerer)
        asker = await system.spawn(Asker, pool)
        began = asyncio.get_running_loop().time()
        with pytest.raises(ActorFailed) as failed:
            await asker.ask(Round(), timeout=100.0)
        inner = failed.value.__cause__
        assert isinstance(inner, ActorFailed)
        assert isinstance(inner.__cause__, AskCycle)
        assert asyncio.get_running_loop().time() - began < 0.1


# Whatever happens, in whatever order


async def trouble(sim: Simulation, pool: Pool[Any]) -> None:
    """Crashes, kills, resizes, restarts of the whole pool, and at last perhaps a drain."""
    for _ in range(4):
        await asyncio.sleep(sim.random.choice([0, 0.1]))
        choice = sim.random.random()
        if choice < 0.3:
            pool.tell(Fail(error=ValueError()))
        elif choice < 0.5:
            sim.random.choice(pool.refs).kill()
        elif choice < 0.7:
            await pool.resize(sim.random.choice([1, 2, 3]))
        elif choice < 0.8:
            pool.kill()
    if sim.random.random() < 0.5:
        pool.drain()


@simulate(schedules=40, faults=Faults(crash=0.2, cancel=0.2, stall=0.3))
async def test_each_job_is_done_once_or_given_back_whatever_happens(sim: Simulation) -> None:
    stage = Stage()
    in_hand: set[Any] = set()

    class Worker(Actor[Note | Hold | Fail]):
        @handler
        async def hold(self, message: Hold) -> int:
            key = message.value % 3
            assert key not in in_hand, "two jobs of one key at once"
            in_hand.add(key)
            try:
                await asyncio.sleep(sim.random.choice([0, 0.1]))
            finally:
                in_hand.remove(key)
            stage.log.append(message.value)
            return message.value

        @handler
        def note(self, message: Note) -> int:
            stage.log.append(message.value)
            return message.value

        @handler
        def fail(self, message: Fail) -> int:
            raise message.error

    class Workers(WorkerPool):
        workers = 2
        limit = sim.random.choice([2, 100])
        max_restarts = 1000

        def worker(self) -> ChildSpec:
            return child(Worker)

        def key(self, message: Any) -> int | None:
            return message.value % 3 if isinstance(message, Hold) else None

    pool = Pool(await sim.system.spawn(Workers), Worker)
    outcomes: dict[int, Any] = {}

    async def ask(value: int) -> None:
        await asyncio.sleep(sim.random.choice([0, 0.05]))
        message = sim.random.choice([Note, Hold])(value=value)
        try:
            outcomes[value] = await pool.ask(message, timeout=100.0)
        except UnderstudyError as error:
            outcomes[value] = error

    await asyncio.gather(*(ask(value) for value in range(12)), trouble(sim, pool))
    await sim.quiesce()
    assert sorted(stage.log) == sorted(set(stage.log))
    answered = {value for value, outcome in outcomes.items() if outcome == value}
    assert answered <= set(stage.log)
    assert len(outcomes) == 12
    assert all(isinstance(outcomes[value], UnderstudyError) for value in set(outcomes) - answered)
    assert not [error for error in outcomes.values() if isinstance(error, AskTimeout)]
    assert pool.waiting == 0


@simulate(schedules=30, faults=Faults(stall=0.3))
async def test_jobs_of_one_key_stay_in_order_while_workers_come_and_go(sim: Simulation) -> None:
    log: list[int] = []

    class Worker(Actor[Note]):
        @handler
        async def note(self, message: Note) -> int:
            await asyncio.sleep(sim.random.choice([0, 0.1]))
            log.append(message.value)
            return message.value

    pool = Pool(
        await sim.system.spawn(worker_pool("pool", child(Worker), workers=2, key=lambda message: message.value % 3)),
        Worker,
    )

    async def tell() -> None:
        for value in range(15):
            await asyncio.sleep(sim.random.choice([0, 0.05]))
            assert pool.tell(Note(value=value))

    async def resize() -> None:
        for _ in range(3):
            await pool.resize(sim.random.choice([1, 2, 3, 4]))
            await asyncio.sleep(sim.random.choice([0, 0.1]))

    await asyncio.gather(tell(), resize())
    await sim.quiesce()
    for key in range(3):
        assert [value for value in log if value % 3 == key] == list(range(key, 15, 3))


def refs_are_refs(pool: Pool[Note]) -> ActorRef[Note]:
    return pool


@pytest.mark.parametrize("way", ["by hand", "with its group"])
@pytest.mark.asyncio
async def test_who_takes_the_place_of_a_worker_that_has_ended_does_the_jobs_that_wait(stage: Stage, way: str) -> None:
    async with stage.system() as system:

        class Workers(WorkerPool):
            strategy = "one_for_all"
            workers = 2

            def worker(self) -> ChildSpec:
                return child(Holder, stage.gate, stage.log)

        pool = Pool(await system.spawn(Workers), Holder)
        first, second = pool.refs
        first.stop()
        await first.wait_stopped()
        if way == "by hand":
            second.stop()
            await second.wait_stopped()
        else:
            pool.tell(Hold(value=1))
            await stage.gate.reached()
        waiting = [asyncio.ensure_future(pool.ask(Note(value=value))) for value in (2, 3)]
        await settle()
        assert pool.waiting == 2
        if way == "by hand":
            await SupervisorRef(pool._cell).restart_child("0")  # also by a ref that knows nothing of jobs
        else:
            second.kill()
        assert await asyncio.gather(*waiting) == [2, 3]
        assert pool.waiting == 0
