"""R11: delays before restarts by any wait strategy of tenacity; they begin anew after a time of health."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from tenacity import (
    wait_chain,
    wait_combine,
    wait_exponential,
    wait_exponential_jitter,
    wait_fixed,
    wait_incrementing,
    wait_none,
    wait_random,
    wait_random_exponential,
)

from tests.guarantees.cast_of_supervision import Call, Flat, Gate, Note, Part, Player, boom, now, settle, takes
from tests.guarantees.cast_of_trees import later, listed, only, staged
from understudy import ActorStopped, AskTimeout, child, supervisor
from understudy._plans._backoff import next_delay
from understudy.testing import Faults, Simulation, simulate

DOUBLING = wait_exponential(multiplier=1, max=8)  # 1, 2, 4, 8, 8, ...


class Starts(list[float]):
    """When somebody has started."""

    def __init__(self) -> None:
        super().__init__()
        self._news = asyncio.Event()

    def note(self, actor: object) -> None:
        self.append(now())
        self._news.set()

    async def reached(self, count: int) -> None:
        while len(self) < count:
            self._news.clear()
            await self._news.wait()
        await settle()


def clocked(part: Part) -> Starts:
    """The times of its starts."""
    times = Starts()
    part.construct = times.note
    return times


def delays(times: list[float]) -> list[float]:
    return [round(late - early, 1) for early, late in pairwise(times)]


async def crash_and_wait(ref: Any, starts: Starts, count: int) -> None:
    ref.tell(Flat(what=boom))
    await starts.reached(count)


@pytest.mark.asyncio
async def test_without_a_backoff_a_restart_is_immediate() -> None:
    a = Part("a")
    times = clocked(a)
    async with staged(a.spec()) as stage:
        stage["a"].tell(Flat(what=boom))
        await settle()
        assert times == [0.0, 0.0]


@pytest.mark.asyncio
async def test_each_crash_waits_longer_by_the_strategy() -> None:
    a = Part("a")
    times = clocked(a)
    async with staged(a.spec(backoff=DOUBLING, reset_after=1000), max_restarts=100) as stage:
        for starts in range(2, 8):
            await crash_and_wait(stage["a"], times, starts)
        assert delays(times) == [1, 2, 4, 8, 8, 8]


@pytest.mark.asyncio
async def test_failed_starts_wait_longer_too_and_count() -> None:
    a = Part("a", initialize=lambda actor: boom() if 1 < actor.incarnation < 6 else None)
    times = clocked(a)
    async with staged(a.spec(backoff=DOUBLING), max_restarts=5, max_seconds=1000.0) as stage:
        stage["a"].tell(Flat(what=boom))
        await asyncio.sleep(100)
        assert delays(times) == [1, 2, 4, 8, 8]
        assert (a.starts, stage.top.status) == (6, "running")
        stage["a"].tell(Flat(what=boom))
        await settle()
        assert stage.top.status == "stopped"


@pytest.mark.asyncio
async def test_the_time_for_which_initialize_runs_is_no_health() -> None:
    """Twice as long as `reset_after`, and it fails each time."""

    async def fail_late(actor: object) -> None:
        await asyncio.sleep(20)
        boom()

    a = Part("a", initialize=later(fail_late))
    times = clocked(a)
    async with staged(a.spec(backoff=DOUBLING, reset_after=10), max_restarts=100) as stage:
        stage["a"].tell(Flat(what=boom))
        await asyncio.sleep(100)
        assert delays(times)[:4] == [1, 22, 24, 28]


@pytest.mark.parametrize(("healthy", "delay"), [(9.9, 2), (10.0, 1), (10.1, 1)])
@pytest.mark.asyncio
async def test_the_delays_begin_anew_after_reset_after_seconds_of_health(healthy: float, delay: float) -> None:
    a = Part("a")
    times = clocked(a)
    async with staged(a.spec(backoff=DOUBLING, reset_after=10), max_restarts=100) as stage:
        ref = stage["a"]
        ref.tell(Flat(what=boom))
        await times.reached(2)
        await asyncio.sleep(times[1] + healthy - now())
        ref.tell(Flat(what=boom))
        await asyncio.sleep(50)
        assert times[2] - times[1] - healthy == pytest.approx(delay, abs=0.01)


@pytest.mark.parametrize(
    ("wait", "reset"),
    [
        (wait_exponential(multiplier=1, max=9), 5.0),
        (wait_fixed(4), 4.0),
        (wait_chain(wait_fixed(2), wait_fixed(6)), 4.0),
    ],
    ids=["exponential", "fixed", "chain"],
)
@pytest.mark.asyncio
async def test_by_default_health_is_the_mean_of_the_first_and_the_longest_delay(wait: Any, reset: float) -> None:
    for healthy, anew in ((reset - 0.1, False), (reset + 0.1, True)):
        seen: list[int] = []

        def spy(state: Any, seen: list[int] = seen) -> float:
            seen.append(state.attempt_number)
            return float(wait(state))

        a = Part("a")
        times = clocked(a)
        async with staged(a.spec(backoff=spy), max_restarts=100) as stage:
            ref = stage["a"]
            ref.tell(Flat(what=boom))
            await times.reached(2)
            await asyncio.sleep(healthy)
            seen.clear()
            ref.tell(Flat(what=boom))
            await settle()
            assert seen[-1] == (1 if anew else 2)


@pytest.mark.asyncio
async def test_messages_wait_in_order_and_asks_with_them() -> None:
    a = Part("a")
    async with staged(a.spec(backoff=wait_fixed(20))) as stage:
        ref = stage["a"]
        ref.tell(Flat(what=boom))
        ref.tell(Note(number=0))
        await settle()
        for number in range(1, 50):
            assert ref.tell(Note(number=number)) is True
            await asyncio.sleep(0.1)
        asked = asyncio.ensure_future(ref.ask(Flat(what=lambda actor: len(actor.memory)), timeout=100))
        with pytest.raises(AskTimeout, match="restarting"):
            await ref.ask(Flat(what=boom), timeout=1)
        assert a.notes == []
        assert ref.status == "restarting"
        await asyncio.sleep(20)
        assert a.notes_by_incarnation == {2: list(range(50))}
        assert await asked == 50
        assert (a.starts, stage.diary.lost_notes()) == (2, [])


@pytest.mark.asyncio
async def test_an_ask_that_times_out_in_a_delay_says_which_attempt_comes_when() -> None:
    """M6: "restarting, attempt 3 in 12 s"."""
    a = Part("a", initialize=lambda actor: boom() if actor.incarnation in (2, 3) else None)
    async with staged(a.spec(backoff=wait_fixed(20)), max_restarts=10) as stage:
        ref = stage["a"]
        ref.tell(Flat(what=boom))
        await asyncio.sleep(47)  # two attempts have failed
        with pytest.raises(AskTimeout) as caught:
            await ref.ask(Flat(what=boom), timeout=1)
        assert "restarting, attempt 3 in 12 s" in str(caught.value)


@pytest.mark.asyncio
async def test_asks_that_wait_at_the_crash_fail_at_once_where_the_spec_says_so() -> None:
    a, gate = Part("a"), Gate()

    async def wait_and_crash(actor: object) -> None:
        await gate()
        boom()

    async with staged(a.spec(backoff=wait_fixed(20), on_restart="fail")) as stage:
        ref = stage["a"]
        ref.tell(Call(what=wait_and_crash))
        await gate.reached.wait()
        asked = asyncio.ensure_future(ref.ask(Flat(what=boom)))
        ref.tell(Note(number=1))
        await settle()
        gate.open()
        with pytest.raises(ActorStopped):
            await asked
        assert now() < 0.1
        await asyncio.sleep(21)
        assert (a.notes, a.starts) == ([1], 2)  # what was told waits as always


@pytest.mark.parametrize("how", ["stop", "terminate", "end of the supervisor", "end of the system"])
@pytest.mark.asyncio
async def test_whoever_waits_for_a_delay_ends_at_once(how: str) -> None:
    a = Part("a")
    async with staged(a.spec(backoff=wait_fixed(1000))) as stage:
        ref = stage["a"]
        ref.tell(Flat(what=boom))
        await settle()
        ref.tell(Note(number=1))
        began = now()
        match how:
            case "stop":
                ref.stop()
            case "terminate":
                await stage.top.terminate_child("a")
            case "end of the supervisor":
                stage.top.stop()
            case _:
                stage.system.stop()
        await ref.wait_stopped()
        assert now() - began < 0.1
        assert stage.diary.lost_notes() == [1]
    assert now() - began < 0.1
    await asyncio.sleep(2000)
    assert a.starts == 1


@pytest.mark.asyncio
async def test_a_kill_in_a_delay_changes_nothing() -> None:
    a = Part("a")
    async with staged(a.spec(backoff=wait_fixed(10)), max_restarts=1) as stage:
        ref = stage["a"]
        ref.tell(Flat(what=boom))
        await settle()
        ref.kill()
        await asyncio.sleep(11)
        assert (a.starts, ref.status, stage.top.status) == (2, "running", "running")


@pytest.mark.asyncio
async def test_siblings_have_delays_of_their_own() -> None:
    a, b = Part("a"), Part("b")
    times_a, times_b = clocked(a), clocked(b)
    async with staged(a.spec(backoff=DOUBLING), b.spec(backoff=DOUBLING), max_restarts=100) as stage:
        for starts in (2, 3):
            await crash_and_wait(stage["a"], times_a, starts)
        await crash_and_wait(stage["b"], times_b, 2)
        assert delays(times_a) == [1, 2]
        assert times_b[1] - times_a[2] == pytest.approx(1, abs=0.1)


@pytest.mark.asyncio
async def test_a_limit_of_its_own_ends_the_child_and_not_the_supervisor() -> None:
    a, b = Part("a"), Part("b")
    times = clocked(a)
    spec = a.spec(backoff=wait_fixed(1), max_restarts=2, max_seconds=100.0)
    async with staged(spec, b.spec(), max_restarts=10) as stage:
        ref = stage["a"]
        for starts in (2, 3):
            await crash_and_wait(ref, times, starts)
        ref.tell(Flat(what=boom))
        await settle()
        assert await listed(stage.top) == {"a": "stopped", "b": "running"}
        assert a.starts == 3
        assert stage.diary.given_up[0][0] == ref.path
        assert "/user/top/a failed 3 times" in str(await ref.wait_stopped())


@pytest.mark.asyncio
async def test_after_a_restart_by_hand_the_delays_begin_anew() -> None:
    a = Part("a")
    times = clocked(a)
    async with staged(a.spec(backoff=DOUBLING, reset_after=1000), max_restarts=100) as stage:
        for starts in (2, 3):
            await crash_and_wait(stage["a"], times, starts)
        await stage.top.terminate_child("a")
        await stage.top.restart_child("a")
        began = now()
        await crash_and_wait(stage["a"], times, 5)
        assert times[-1] - began == pytest.approx(1, abs=0.1)


@pytest.mark.asyncio
async def test_a_class_may_have_a_backoff_for_all_its_actors() -> None:
    class Patient(Player):
        defaults = {"backoff": wait_fixed(3)}

    a = Part("a")
    times = clocked(a)
    async with staged(child(Patient, a).options(name="a")) as stage:
        stage["a"].tell(Flat(what=boom))
        await asyncio.sleep(5)
        assert delays(times) == [3]


@pytest.mark.asyncio
async def test_an_actor_spawned_at_run_time_has_its_delays_too() -> None:
    a, host = Part("a"), Part("host")
    times = clocked(a)
    async with staged(host.spec()) as stage:
        low: Any = await stage["host"].ask(Call(what=lambda actor: actor.context.spawn(a.spec(backoff=DOUBLING))))
        for starts in (2, 3):
            await crash_and_wait(low, times, starts)
        assert delays(times) == [1, 2]


STRATEGIES: dict[str, tuple[Callable[[Any], float], float, float]] = {
    "exponential": (wait_exponential(multiplier=0.1, max=30), 0.1, 30.0),
    "exponential with jitter": (wait_exponential_jitter(multiplier=0.1, max=30), 0.0, 31.0),
    "random exponential": (wait_random_exponential(multiplier=0.1, max=30), 0.0, 30.0),
    "fixed": (wait_fixed(2), 2.0, 2.0),
    "none": (wait_none(), 0.0, 0.0),
    "random": (wait_random(1, 2), 1.0, 2.0),
    "incrementing": (wait_incrementing(start=1, increment=1, max=5), 1.0, 5.0),
    "combined": (wait_combine(wait_fixed(1), wait_random(0, 1)), 1.0, 2.0),
    "chain": (wait_chain(wait_fixed(1), wait_fixed(2)), 1.0, 2.0),
    "uncapped": (wait_exponential(multiplier=1), 1.0, math.inf),
    "a function": (lambda state: float(min(state.attempt_number, 7)), 1.0, 7.0),
}


@pytest.mark.parametrize("name", STRATEGIES)
def test_any_strategy_holds_its_bounds_for_ten_thousand_attempts(name: str) -> None:
    wait, low, high = STRATEGIES[name]
    attempts = 0
    for number in range(1, 10_001):
        delay = next_delay(wait, attempts, healthy_for=0.0, reset_after=1.0)
        attempts = delay.attempt
        assert attempts == number
        assert low <= delay.seconds <= high
        assert not math.isnan(delay.seconds)


@simulate(schedules=30, faults=Faults(stall=0.0))
async def test_messages_keep_their_order_through_any_delays(sim: Simulation) -> None:
    a = Part("a", initialize=only(3, boom), shutdown=takes(sim.random.choice([0, 0.2])))
    wait = sim.random.choice([wait_fixed(0.5), DOUBLING, wait_fixed(0)])
    await sim.system.spawn(supervisor("top", a.spec(backoff=wait), max_restarts=1000))
    ref = sim.system.lookup("top/a", Player)
    for number in range(20):
        assert ref.tell(Note(number=number))
        if sim.random.random() < 0.2:
            ref.tell(Flat(what=boom))
        if sim.random.random() < 0.3:
            await asyncio.sleep(sim.random.choice([0, 0.3, 5]))
    await asyncio.sleep(200)
    await sim.quiesce()
    assert a.notes == list(range(20))
