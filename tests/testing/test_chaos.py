from __future__ import annotations

import asyncio
import gc
import math
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from tests.cast import Hold, Holder, Note, Recorder, settle
from understudy import (
    Actor,
    ActorRef,
    ActorSystem,
    InvalidContext,
    Mailbox,
    Message,
    Refused,
    SubscribeDeadLetters,
    Supervisor,
    UnsubscribeDeadLetters,
    child,
    handler,
)
from understudy.testing._chaos import Chaos, Ledger
from understudy.testing._gate import Gate
from understudy.testing._probe import TestProbe


class Team(Supervisor):
    """Five holders, that may fail as often as they like."""

    max_restarts, max_seconds = 10_000, 1.0
    gate: Gate

    def children(self) -> list[Any]:
        return [child(Holder, self.gate).options(name=f"worker-{number}") for number in range(5)]


@pytest.fixture
def gate() -> Gate:
    gate = Gate()
    Team.gate = gate
    return gate


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest_asyncio.fixture
async def system(recorder: Recorder, gate: Gate) -> AsyncIterator[ActorSystem]:
    async with ActorSystem(Team, instruments=[recorder]) as system:
        yield system


def workers(system: ActorSystem) -> list[ActorRef[Any]]:
    return [system.lookup(f"team/worker-{number}", Holder) for number in range(5)]


# Failing actors


@pytest.mark.asyncio
async def test_some_actors_crash_and_their_supervisor_restarts_them(system: ActorSystem, recorder: Recorder) -> None:
    report = await Chaos(system, seed=1).crash_some("team/worker-*", count=10, seconds=5.0)
    await settle()
    crashed = [(path, type(reason.error).__name__) for path, reason, _ in recorder.of("actor_crashed")]
    assert crashed == [(path, "InjectedCrash") for path in report.paths]
    assert len(report.paths) == 10
    assert report.missed == 0
    assert len(recorder.of("actor_restarting")) == 10
    assert 0 < asyncio.get_running_loop().time() <= 5.1
    assert all([await worker.ask(Note(value=1)) == 1 for worker in workers(system)])


@pytest.mark.asyncio
async def test_the_same_seed_chooses_the_same_and_another_others(gate: Gate) -> None:
    found: list[tuple[str, ...]] = []
    for seed in (7, 7, 8):
        async with ActorSystem(Team) as system:
            found.append((await Chaos(system, seed).crash_some("team/*", count=12)).paths)
    assert found[0] == found[1]
    assert found[0] != found[2]


@pytest.mark.asyncio
async def test_an_actor_that_is_busy_is_killed(system: ActorSystem, recorder: Recorder, gate: Gate) -> None:
    busy = workers(system)[2]
    busy.tell(Hold(value=1))
    await gate.reached()
    report = await Chaos(system).crash_some(busy.path)
    await settle()
    assert report.paths == (busy.path,)
    assert [letter[0] for letter in recorder.letters] == [Hold(value=1)]
    assert len(recorder.of("actor_restarting", busy.path)) == 1


@pytest.mark.asyncio
async def test_handlers_that_wait_are_cancelled_which_is_a_crash_and_the_idle_are_spared(
    system: ActorSystem, recorder: Recorder, gate: Gate
) -> None:
    chaos = Chaos(system)
    assert (await chaos.cancel_some("team/*", count=3)).missed == 3
    busy = workers(system)[:2]
    for worker in busy:
        worker.tell(Hold(value=1))
    await gate.reached(2)
    report = await chaos.cancel_some("team/*", count=5)
    await settle()
    assert {*report.paths} == {worker.path for worker in busy}
    assert (len(report.paths), report.missed) == (2, 3)
    crashed = {path: type(reason.error) for path, reason, _ in recorder.of("actor_crashed")}
    assert crashed == dict.fromkeys(report.paths, asyncio.CancelledError)


@pytest.mark.asyncio
async def test_a_pattern_that_fits_nobody_misses_and_guardians_are_never_chosen(system: ActorSystem) -> None:
    chaos = Chaos(system)
    assert await chaos.crash_some("nobody", count=2) == await chaos.crash_some("/system", count=2)
    assert (await chaos.crash_some("/user", count=2)).missed == 2


# Cancelling callers


@pytest.mark.asyncio
async def test_a_storm_of_cancels_leaves_an_actor_that_works(system: ActorSystem, gate: Gate) -> None:
    worker = workers(system)[0]
    chaos = Chaos(system, seed=2)
    asyncio.get_running_loop().call_later(0.5, gate.open)
    report = await chaos.cancellation_storm(lambda: worker.ask(Hold(value=1)), count=50)
    assert report.finished > 0
    assert report.cancelled > 0
    assert report.finished + report.cancelled == 50
    assert (report.errors, report.resisted) == ((), 0)
    assert await worker.ask(Note(value=3)) == 3


@pytest.mark.asyncio
async def test_a_storm_tells_what_failed_and_what_resisted(system: ActorSystem, gate: Gate) -> None:
    async def fail() -> None:
        raise KeyError

    async def resist() -> None:
        while not gate.is_open:
            try:
                await gate.hold()
            except asyncio.CancelledError:
                continue

    chaos = Chaos(system, seed=1)
    report = await chaos.cancellation_storm(fail, count=20)
    assert {type(error) for error in report.errors} == {KeyError}
    assert len(report.errors) + report.cancelled == 20
    report = await chaos.cancellation_storm(resist, count=20, patience=5.0)
    assert report.resisted > 0
    assert report.resisted + report.cancelled == 20
    gate.open()
    await settle()


# Pressure


@pytest.mark.asyncio
async def test_under_memory_pressure_garbage_is_collected_often_and_all_is_restored(system: ActorSystem) -> None:
    before = gc.get_threshold(), gc.isenabled()
    gc.disable()
    try:
        with Chaos(system).memory_pressure(2, threshold=5) as report:
            assert gc.get_threshold() == (5, 1, 1)
            assert gc.isenabled()
            kept = [await worker.ask(Note(value=number)) for number, worker in enumerate(workers(system))]
            [[] for _ in range(1000)]
        assert not gc.isenabled()
    finally:
        gc.enable()
    assert kept == [0, 1, 2, 3, 4]
    assert report.collections > 0
    assert (gc.get_threshold(), gc.isenabled()) == before
    with pytest.raises(KeyError), Chaos(system).memory_pressure(1):
        raise KeyError
    assert gc.get_threshold() == before[0]


# Closing and subscribing


@pytest.mark.asyncio
async def test_what_can_be_closed_many_times_at_once_is_idempotent(system: ActorSystem) -> None:
    stopped = workers(system)[0]
    report = await Chaos(system).concurrent_close(stopped.stop, stopped.wait_stopped, times=5)
    assert (report.calls, report.idempotent) == (10, True)
    assert stopped.status == "stopped"


@pytest.mark.asyncio
async def test_what_cannot_is_told_with_its_errors_and_what_hangs(system: ActorSystem) -> None:
    closed: list[int] = []

    def once() -> None:
        assert not closed, "closed already"
        closed.append(1)

    async def hang() -> None:
        await asyncio.get_running_loop().create_future()

    report = await Chaos(system).concurrent_close(once, hang, times=2, patience=3.0)
    assert [(number, str(error)[:14]) for number, error in report.errors] == [(0, "closed already")]
    assert report.hung == (1, 1)
    assert not report.idempotent


@pytest.mark.asyncio
async def test_subscriptions_come_and_go_and_in_the_end_there_is_none(system: ActorSystem) -> None:
    probe = await TestProbe.start(system)
    letters = system.dead_letters
    report = await Chaos(system, seed=3).rapid_subscriptions(
        lambda: letters.ask(SubscribeDeadLetters(subscriber=probe.ref)),
        lambda: letters.ask(UnsubscribeDeadLetters(subscriber=probe.ref)),
        times=50,
    )
    assert (report.subscribed, report.unsubscribed, report.errors) == (50, 50, ())
    stopped = workers(system)[0]
    stopped.stop()
    await stopped.wait_stopped()
    stopped.tell(Note())
    await probe.expect_no_message()


@pytest.mark.asyncio
async def test_errors_of_subscribing_are_told_and_do_not_end_it(system: ActorSystem) -> None:
    def fail() -> None:
        raise KeyError

    done: list[int] = []
    report = await Chaos(system).rapid_subscriptions(fail, lambda: done.append(1), times=7)
    assert (report.subscribed, report.unsubscribed, len(report.errors), len(done)) == (0, 7, 7, 7)


# Working under failure


@pytest.mark.parametrize("how", ["tell", "send", "ask"])
@pytest.mark.asyncio
async def test_every_message_under_failure_has_exactly_one_fate(system: ActorSystem, how: Any, gate: Gate) -> None:
    gate.open()
    chaos = Chaos(system, seed=5)
    ledger, failed, cancelled = await asyncio.gather(
        chaos.producers_and_consumers(
            workers(system),
            lambda number: (Note, Hold)[number % 2](value=number),
            messages=300,
            how=how,
            crash=0.1,
            delay=(0.0, 0.05),
        ),
        Chaos(system, seed=6).crash_some("team/*", count=10),
        Chaos(system, seed=7).cancel_some("team/*", count=10),
    )
    assert sorted(ledger.sent) == [*range(300)]
    assert ledger.unaccounted == []
    assert ledger.doubled == []
    assert ledger.crashes > 0
    assert len(ledger.crashed) == ledger.crashes + len(cancelled.paths)
    assert len(failed.paths) == 10
    assert len(ledger.handled) + len(ledger.crashed) + len(ledger.lost) == 300
    assert len(ledger.errors) == (len(ledger.crashed) + len(ledger.lost) if how == "ask" else 0)
    assert "chaos" not in str(system.tree())


@pytest.mark.asyncio
async def test_the_same_seed_gives_the_same_ledger(gate: Gate) -> None:
    gate.open()
    ledgers: list[Ledger] = []
    for seed in (1, 1, 2):
        async with ActorSystem(Team) as system:
            chaos = Chaos(system, seed)
            ledgers.append(await chaos.producers_and_consumers(workers(system), lambda n: Hold(value=n), crash=0.2))
    assert ledgers[0] == ledgers[1]
    assert ledgers[0].handled != ledgers[2].handled


@pytest.mark.asyncio
async def test_messages_to_the_dead_and_to_the_full_are_accounted_for(system: ActorSystem, gate: Gate) -> None:
    dead = workers(system)[0]
    dead.stop()
    await dead.wait_stopped()
    ledger = await Chaos(system).producers_and_consumers([dead], lambda n: Note(value=n), messages=10)
    assert sorted(ledger.lost) == [*range(10)]
    assert len(ledger.errors) == 10
    full = await system.spawn(child(Holder, gate).options(name="full", mailbox=Mailbox(capacity=2)))
    ledger = await Chaos(system).producers_and_consumers(
        [full], lambda n: Hold(value=n), messages=10, how="tell", crash=0, patience=5.0
    )
    assert (len(ledger.lost), ledger.handled, len(ledger.unaccounted)) == (7, [], 3)
    gate.open()
    ledger = await Chaos(system).producers_and_consumers([full], lambda n: Hold(value=n), messages=10, crash=0)
    assert sorted(ledger.handled) == [*range(10)]


@pytest.mark.asyncio
async def test_a_refusal_is_handled_and_an_unhandled_ask_is_refused(system: ActorSystem) -> None:
    class Odd(Message[int]):
        value: int

    class Picky(Actor[Odd]):
        @handler
        def odd(self, message: Odd) -> int:
            if message.value % 2:
                raise Refused("odd")
            return message.value

    picky: ActorRef[Any] = await system.spawn(Picky)
    ledger = await Chaos(system).producers_and_consumers(
        [picky], lambda n: (Odd, Note)[n >= 10](value=n), messages=20, how="ask", crash=0
    )
    assert sorted(ledger.handled) == [*range(10)]
    assert sorted(ledger.refused) == [*range(10, 20)]
    assert (len(ledger.errors), ledger.unaccounted) == (15, [])


@pytest.mark.asyncio
async def test_what_makes_no_sense_is_refused(system: ActorSystem) -> None:
    chaos = Chaos(system)
    with pytest.raises(ValueError, match="give a count and a number of seconds from 0 on"):
        await chaos.crash_some(count=-1)
    with pytest.raises(ValueError, match="give a count and a number of seconds"):
        await chaos.cancel_some(seconds=math.inf)
    with pytest.raises(ValueError, match="give megabytes from 0 on"), chaos.memory_pressure(-1):
        pass
    note = Note()
    with pytest.raises(ValueError, match="make must return a new object for each number"):
        await chaos.producers_and_consumers(workers(system), lambda n: note)
    with pytest.raises(ValueError, match="there must be a consumer"):
        await chaos.producers_and_consumers([], lambda n: Note(value=n))
    with pytest.raises(InvalidContext, match="not running"):
        Chaos(ActorSystem())
    await settle()
    assert "chaos" not in str(system.tree())
