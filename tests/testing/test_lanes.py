"""What keeps its order in a simulated run, and what does not."""

from __future__ import annotations

import asyncio
import itertools
import math
from collections.abc import Callable, Sequence
from typing import TypeVar

import pytest

from tests.cast import EAGER
from tests.testing.sim_stage import KINDS, Last, Spy, on_loop, once, orders, sim_loop, strategy
from understudy import Actor, ActorSystem, Message, Reply, handler
from understudy.testing import DeadlockError, simulate
from understudy.testing._loop import SimLoop
from understudy.testing._simulation import Simulation
from understudy.testing._strategies import Fifo, Pos

T = TypeVar("T")


def sim() -> asyncio.AbstractEventLoop:
    return asyncio.get_running_loop()


def in_lane(lane: str, callback: Callable[[T], object], value: T, delay: float = 0.0) -> asyncio.Handle:
    loop = sim()
    assert isinstance(loop, SimLoop)
    return loop.call_in_lane(lane, callback, value, delay=delay)


def interleavings(*lists: Sequence[str]) -> set[tuple[str, ...]]:
    """All merges that keep the order of each list."""
    everything = [(number, item) for number, items in enumerate(lists) for item in items]
    return {
        tuple(item for _, item in order)
        for order in itertools.permutations(everything)
        if all([item for at, item in order if at == number] == list(items) for number, items in enumerate(lists))
    }


# What keeps its order


@pytest.mark.parametrize("kind", KINDS)
def test_callbacks_of_nobody_run_first_in_first_out_whatever_the_strategy(kind: str) -> None:
    async def main() -> list[int]:
        out: list[int] = []
        for number in range(6):
            sim().call_soon(out.append, number)
            sim().call_soon_threadsafe(out.append, number + 100)
        await asyncio.sleep(1)
        return out

    assert orders(main, kind, 50) == {(0, 100, 1, 101, 2, 102, 3, 103, 4, 104, 5, 105)}


@pytest.mark.parametrize("kind", ["walk", "pos"])
def test_tasks_keep_their_own_order_and_are_mixed_in_every_way(kind: str) -> None:
    async def main() -> list[str]:
        out: list[str] = []

        async def steps(name: str) -> None:
            out.append(f"{name}1")
            await asyncio.sleep(0)
            out.append(f"{name}2")

        async with asyncio.TaskGroup() as group:
            group.create_task(steps("a"))
            group.create_task(steps("b"))
        return out

    assert orders(main, kind, 400) == interleavings(["a1", "a2"], ["b1", "b2"])


@pytest.mark.parametrize("kind", ["walk", "pos"])
def test_done_callbacks_of_one_future_keep_their_order_and_those_of_two_are_mixed(kind: str) -> None:
    async def main() -> list[str]:
        out: list[str] = []
        for name in ("a", "b"):
            future: asyncio.Future[None] = sim().create_future()
            future.add_done_callback(lambda _, name=name: out.append(f"{name}1"))  # type: ignore[misc]
            future.add_done_callback(lambda _, name=name: out.append(f"{name}2"))  # type: ignore[misc]
            future.set_result(None)
        await asyncio.sleep(1)
        return out

    assert orders(main, kind, 400) == interleavings(["a1", "a2"], ["b1", "b2"])


def test_a_task_group_hears_of_its_children_in_the_order_in_which_they_ended() -> None:
    async def main() -> list[str]:
        ended: list[str] = []

        async def fail(name: str) -> None:
            ended.append(name)
            raise ValueError(name)

        group = asyncio.TaskGroup()
        heard: list[str] = []
        try:
            async with group:
                for name in ("a", "b"):
                    group.create_task(fail(name))
        except* ValueError as errors:
            heard = [str(error) for error in errors.exceptions]
        assert heard == ended
        return heard

    assert {("a", "b"), ("b", "a")} <= orders(main)


class Note(Message):
    number: int


class Notebook(Actor[Note]):
    def __init__(self, out: list[int]) -> None:
        self.out = out

    @handler
    def note(self, message: Note) -> None:
        self.out.append(message.number)


class SlowNotebook(Actor[Note]):
    def __init__(self, out: list[int]) -> None:
        self.out = out

    @handler
    async def note(self, message: Note) -> None:
        await asyncio.sleep(0)
        self.out.append(message.number)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("eager", EAGER)
def test_an_actor_handles_what_one_sender_told_it_in_order_and_two_actors_are_mixed(kind: str, eager: bool) -> None:
    seen: set[tuple[int, ...]] = set()

    async def test(simulation: Simulation) -> None:
        out: list[int] = []
        plain = await simulation.system.spawn(Notebook, out)
        slow = await simulation.system.spawn(SlowNotebook, out)
        for number in range(3):
            plain.tell(Note(number=number))
            slow.tell(Note(number=number + 10))
        await simulation.quiesce()
        assert [number for number in out if number < 10] == [0, 1, 2]
        assert [number for number in out if number >= 10] == [10, 11, 12]
        seen.add(tuple(out))

    for seed in range(40):
        outcome = once(test, strategy(kind, seed), seed=seed, eager=eager)
        assert outcome.error is None
    if kind == "fifo":
        assert len(seen) == 1
    elif kind != "delay":  # which seldom delays anything three times
        assert len(seen) > 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_named_lane_keeps_the_order_of_the_calls_with_and_without_delays(kind: str) -> None:
    async def main() -> list[int]:
        out: list[int] = []
        for number, delay in enumerate([0.0, 1.0, 0.0, 0.5, 2.0, 0.0]):
            in_lane("a", out.append, number, delay=delay)
        await asyncio.sleep(5)
        return out

    assert orders(main, kind, 30) == {(0, 1, 2, 3, 4, 5)}


def test_a_lane_keeps_its_order_when_the_clock_was_put_forward_by_blocking_code() -> None:
    with sim_loop() as loop:
        out: list[int] = []
        loop.call_in_lane("a", out.append, 1, delay=1.0)
        loop.block(2.0)
        loop.call_in_lane("a", out.append, 2)
        loop.run_until_complete(asyncio.sleep(5))
    assert out == [1, 2]


def test_steps_of_two_lanes_are_exchanged() -> None:
    async def main() -> list[str]:
        out: list[str] = []
        for name in ("a", "b", "c"):
            in_lane(name, out.append, name)
        await asyncio.sleep(1)
        return out

    assert orders(main) == set(itertools.permutations("abc"))


# Timers


def test_timers_of_one_time_run_in_the_order_of_the_calls_when_undisturbed() -> None:
    async def main() -> list[int]:
        out: list[int] = []
        for number in range(20):
            sim().call_at(1.0, out.append, number)
        await asyncio.sleep(2)
        return out

    assert on_loop(main, Fifo()) == list(range(20))


def test_timers_of_one_time_are_exchanged_by_chance() -> None:
    async def main() -> list[int]:
        out: list[int] = []
        for number in range(3):
            sim().call_at(1.0, out.append, number)
        await asyncio.sleep(2)
        return out

    assert orders(main) == set(itertools.permutations(range(3)))


@pytest.mark.parametrize("kind", KINDS)
def test_timers_of_different_times_run_in_the_order_of_their_times_when_all_else_is_idle(kind: str) -> None:
    async def main() -> list[float]:
        out: list[float] = []
        for when in (3.0, 1.0, 2.0):
            sim().call_at(when, lambda: out.append(sim().time()))
        await asyncio.sleep(4)
        return out

    assert orders(main, kind, 20) == {(1.0, 2.0, 3.0)}


def test_a_cancelled_timer_neither_runs_nor_holds_the_clock() -> None:
    async def main() -> float:
        sim().call_later(1, pytest.fail, "it was cancelled").cancel()
        before = sim().call_later(5, print)
        before.cancel()
        before.cancel()  # again is no error
        await asyncio.sleep(0.5)
        return sim().time()

    assert on_loop(main) == 0.5


def test_a_timer_that_is_cancelled_when_it_is_due_but_has_not_run_does_not_run() -> None:
    async def main() -> list[str]:
        out: list[str] = []

        def first() -> None:
            out.append("first")
            second.cancel()

        sim().call_at(1.0, first)
        second = sim().call_at(1.0, out.append, "second")
        await asyncio.sleep(2)
        return out

    assert on_loop(main, Fifo()) == ["first"]
    assert {("first",), ("second", "first")} == orders(main, seeds=50)


def test_a_timer_that_is_never_due_is_no_way_out_of_a_deadlock() -> None:
    async def main() -> None:
        sim().call_at(math.inf, print)
        await sim().create_future()

    with pytest.raises(DeadlockError):
        on_loop(main)


@pytest.mark.parametrize("delay", [0, -1, -0.0])
def test_a_timer_that_is_due_already_runs(delay: float) -> None:
    async def main() -> tuple[list[str], float]:
        out: list[str] = []
        sim().call_later(delay, out.append, "ran")
        await asyncio.sleep(0.1)
        return out, sim().time()

    assert on_loop(main) == (["ran"], 0.1)


# Cancelled steps


def test_a_cancelled_step_does_not_run_and_is_no_choice() -> None:
    async def main() -> list[str]:
        out: list[str] = []
        in_lane("a", out.append, "a").cancel()
        in_lane("b", out.append, "b")
        await asyncio.sleep(1)
        return out

    spy = Spy()
    assert on_loop(main, spy) == ["b"]
    assert spy.seen == []


@pytest.mark.parametrize("cancelled", [0, 1, 2])
def test_a_step_that_is_cancelled_leaves_the_rest_of_its_lane_in_order(cancelled: int) -> None:
    async def main() -> list[int]:
        out: list[int] = []
        steps = [in_lane("a", out.append, number) for number in range(3)]
        in_lane("b", out.append, 10)
        steps[cancelled].cancel()
        await asyncio.sleep(1)
        return out

    rest = [number for number in range(3) if number != cancelled]
    # Undisturbed is the order of age: who moves up in its lane is no older for that.
    assert on_loop(main, Fifo()) == [*rest, 10]
    found = orders(main)
    assert {tuple(number for number in order if number < 10) for order in found} == {tuple(rest)}
    assert len(found) == 3


def test_a_lane_whose_head_was_cancelled_is_as_old_as_its_next_step() -> None:
    async def main() -> list[str]:
        out: list[str] = []
        head = in_lane("a", out.append, "a1")
        in_lane("b", out.append, "b")
        in_lane("a", out.append, "a2")
        head.cancel()
        await asyncio.sleep(1)
        return out

    assert on_loop(main, Fifo()) == ["b", "a2"]


def test_a_step_that_cancels_all_others_is_the_last() -> None:
    async def main() -> list[str]:
        out: list[str] = []
        steps = [in_lane(name, out.append, name) for name in "abc"]

        def stop() -> None:
            for step in steps:
                step.cancel()
            out.append("stop")

        sim().call_soon(stop)
        await asyncio.sleep(1)
        return out

    found = orders(main)
    assert all(order[-1] == "stop" for order in found)
    assert {len(order) for order in found} == {1, 2, 3, 4}


# Time


def test_time_goes_on_only_when_nothing_is_ready_unless_it_may_stall() -> None:
    async def main() -> list[str]:
        out: list[str] = []
        sim().call_later(0.5, out.append, "timer")
        for _ in range(10):
            out.append("busy")
            await asyncio.sleep(0)
            sim().call_soon(lambda: None)  # so that somebody else is ready, too
        await asyncio.sleep(1)
        return out

    assert on_loop(main, Last()) == ["busy"] * 10 + ["timer"]
    with_stall = on_loop(main, Last(), stall=1.0)
    assert with_stall.index("timer") < 9
    assert on_loop(main, Last(), stall=0.4) == ["busy"] * 10 + ["timer"]  # it is too far away
    assert on_loop(main, Fifo(), stall=math.inf) == ["busy"] * 10 + ["timer"]


def test_a_stall_is_counted_from_the_last_moment_without_work() -> None:
    async def main() -> list[float]:
        struck: list[float] = []
        await asyncio.sleep(10)
        for delay in (0.6, 0.9, 1.2):
            sim().call_later(delay, struck.append, delay)
        for _ in range(20):
            await asyncio.sleep(0)
            sim().call_soon(lambda: None)
        return struck

    # The first two are within a second of the moment at which it was idle last; the third is not, though it is within
    # a second of the second.
    assert on_loop(main, Last(), stall=1.0) == [0.9, 0.6]
    assert on_loop(main, Fifo(), stall=1.0) == []


def test_the_race_of_a_timeout_is_seen_only_with_a_stall() -> None:
    async def main() -> list[str]:
        try:
            async with asyncio.timeout(0.1):
                for _ in range(3):
                    await asyncio.sleep(0)
        except TimeoutError:
            return ["timeout"]
        return ["done"]

    assert {on_loop(main, Pos(seed), stall=0.0)[0] for seed in range(60)} == {"done"}
    assert {on_loop(main, Pos(seed), stall=1.0)[0] for seed in range(60)} == {"done", "timeout"}
    assert on_loop(main, Fifo(), stall=1.0) == ["done"]


def test_what_is_called_when_asks_are_over_comes_in_any_order_among_asks() -> None:
    class Get(Message[int]):
        number: int

    class Giver(Actor[Get]):
        def __init__(self, closed: Callable[[int], None]) -> None:
            self.closed = closed
            self.held: list[Reply[int]] = []

        @handler
        def get(self, message: Get) -> Reply[int]:
            reply = self.context.reply_later(message)
            reply.when_closed(lambda: self.closed(message.number))
            self.held.append(reply)
            if len(self.held) == 2:
                for each in sorted(self.held, key=lambda held: held._ask.message.number):  # pyright: ignore[reportPrivateUsage]
                    each.send(1)
            return reply

    seen: set[tuple[int, ...]] = set()

    async def scenario(sim: Simulation) -> None:
        closed: list[int] = []
        both = asyncio.Event()

        def close(number: int) -> None:
            closed.append(number)
            if len(closed) == 2:
                both.set()

        async with ActorSystem() as system:
            ref = await system.spawn(Giver, close)
            async with asyncio.TaskGroup() as group:
                for number in (1, 2):
                    group.create_task(ref.ask(Get(number=number)))
            await both.wait()
        seen.add(tuple(closed))

    simulate(schedules=100)(scenario)()
    assert seen == {(1, 2), (2, 1)}
