"""What each strategy does, as far as it can be told from outside."""

from __future__ import annotations

import asyncio
import itertools
import math
import random
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.testing.sim_stage import PlainLoop, sim_loop
from understudy.testing._campaign import search
from understudy.testing._faults import Faults
from understudy.testing._lanes import Lane
from understudy.testing._loop import SimLoop
from understudy.testing._schedule import Subject
from understudy.testing._simulation import Simulation
from understudy.testing._strategies import DelayBounded, DepthFirst, Fifo, Pct, Pos, RandomWalk, Strategy

# First in, first out

Program = list[Any]

actions = st.recursive(
    st.sampled_from(["note", "yield", "set", "wait", "cancel", "thread"])
    | st.floats(0.0, 2.0).map(lambda delay: ("sleep", round(delay, 3))),
    lambda inner: st.tuples(
        st.sampled_from(["task", "soon", "later", "timeout", "group", "callback"]), st.lists(inner, max_size=4)
    ),
    max_leaves=25,
)


class Machine:
    """Does what a program says, and writes down when."""

    def __init__(self) -> None:
        self.log: list[tuple[float, str]] = []
        self.tasks: list[asyncio.Task[None]] = []
        self.event = asyncio.Event()
        self.random = random.Random(1)
        self.used_now = False

    def note(self, what: str) -> None:
        self.log.append((asyncio.get_running_loop().time(), what))

    def little(self) -> float:
        """So that no two times are the same, or nearly so: in which order timers then run is left open by asyncio."""
        return self.random.random() / 100

    async def run(self, program: Program, name: str) -> None:
        for at, action in enumerate(program):
            await self.do(action, f"{name}.{at}")
        self.note(f"{name} ends")

    async def do(self, action: Any, name: str) -> None:  # noqa: C901 - a line for each action
        loop = asyncio.get_running_loop()
        self.note(f"{name} {action if isinstance(action, str) else action[0]}")
        match action:
            case "yield":
                await asyncio.sleep(0)
            case "set":
                self.event.set()
                self.event = asyncio.Event()
            case "wait":
                try:
                    async with asyncio.timeout(0.5 + self.little()):
                        await self.event.wait()
                except TimeoutError:
                    self.note(f"{name} waited in vain")
            case "cancel" if self.tasks:
                self.tasks.pop(0).cancel()
            case ("sleep", seconds):
                await asyncio.sleep(seconds + self.little())
            case ("task", inner):
                self.tasks.append(asyncio.create_task(self.run(inner, name)))
            case ("soon", _):
                loop.call_soon(lambda: loop.call_soon(self.note, f"{name} soon"))
            case ("later", inner):
                delay = len(inner) / 7 + (self.little() if self.used_now or inner else 0)
                self.used_now = self.used_now or delay == 0
                loop.call_later(delay, self.note, f"{name} later")
            case ("callback", inner):
                task = asyncio.create_task(self.run(inner, name))
                task.add_done_callback(lambda _: self.note(f"{name} done"))
                self.tasks.append(task)
            case ("timeout", inner):
                try:
                    async with asyncio.timeout(0.3 + self.little()):
                        await self.run(inner, name)
                except TimeoutError:
                    self.note(f"{name} timeout")
            case ("group", inner):
                async with asyncio.TaskGroup() as group:
                    # One only: in which order a group cancels several is left open by asyncio.
                    group.create_task(self.run(inner, name))
            case _:
                pass


def log_on(loop: asyncio.AbstractEventLoop, program: Program) -> list[tuple[float, str]]:
    async def main() -> list[tuple[float, str]]:
        machine = Machine()
        await machine.run(program, "main")
        await asyncio.wait([*machine.tasks, asyncio.create_task(asyncio.sleep(50))])
        return [(round(when, 6), what) for when, what in machine.log]

    return loop.run_until_complete(main())


@settings(max_examples=60)
@given(st.lists(actions, max_size=6))
def test_fifo_is_step_by_step_the_order_of_asyncios_own_loop(program: Program) -> None:
    plain = PlainLoop()
    try:
        expected = log_on(plain, program)
    finally:
        plain.close()
    with sim_loop(Fifo(), stall=math.inf) as loop:
        assert log_on(loop, program) == expected


def chain(loop: asyncio.AbstractEventLoop, out: list[str], *names: str) -> None:
    """Callbacks that call the next."""
    out.append(names[0])
    if len(names) > 1:
        loop.call_soon(chain, loop, out, *names[1:])


def timer_of_now(loop: asyncio.AbstractEventLoop, out: list[str]) -> None:
    loop.call_later(0, out.append, "timer")
    loop.call_soon(chain, loop, out, "first", "second", "third")


def timer_of_the_past(loop: asyncio.AbstractEventLoop, out: list[str]) -> None:
    loop.call_soon(chain, loop, out, "first", "second", "third", "fourth")
    loop.call_soon(loop.call_at, -1.0, out.append, "timer")
    loop.call_soon(chain, loop, out, "1st", "2nd", "3rd")


@pytest.mark.parametrize("program", [timer_of_now, timer_of_the_past])
def test_fifo_runs_timers_that_are_due_already_when_asyncio_does(program: Callable[..., None]) -> None:
    async def main() -> list[str]:
        out: list[str] = []
        program(asyncio.get_running_loop(), out)
        await asyncio.sleep(1)
        return out

    plain = PlainLoop()
    try:
        expected = plain.run_until_complete(main())
    finally:
        plain.close()
    with sim_loop(Fifo()) as loop:
        assert loop.run_until_complete(main()) == expected


# Lanes without a loop


class Bare(asyncio.Handle):
    """A step that only has an age."""

    def __init__(self, order: int) -> None:
        self.order = order
        self.priority: float | None = None


def order_of(chosen: Strategy, *lanes: int) -> str:
    """In which order *chosen* runs lanes of so many steps, all ready from the beginning, in turn."""
    made: list[Lane] = []
    order = 0
    for number, steps in enumerate(lanes):
        lane = Lane("abcdefgh"[number], number + 1, "abcdefgh"[number])
        made.append(lane)
        for _ in range(steps):
            order += 1
            step: Any = Bare(order)
            lane.steps.append(step)
    out: list[str] = []
    while ready := sorted((lane for lane in made if lane.steps), key=lambda lane: lane.age):
        lane = ready[chosen.pick(ready) if len(ready) > 1 else 0]
        lane.steps.popleft()
        out.append(lane.label)
        chosen.ran((lane.label, lane.ran))
        lane.ran += 1
    return "".join(out)


def count(make: Callable[[int], Strategy], *lanes: int, seeds: int = 2000) -> Counter[str]:
    return Counter(order_of(make(seed), *lanes) for seed in range(seeds))


def test_a_random_walk_takes_each_of_those_that_are_ready_equally_often() -> None:
    found = count(RandomWalk, 1, 1, 1)
    assert set(found) == {"".join(order) for order in itertools.permutations("abc")}
    assert all(250 < times < 420 for times in found.values())  # 333 are expected
    # Each choice is among lanes, not among steps: a long one does not come first more often.
    assert 850 < sum(times for order, times in count(RandomWalk, 5, 1).items() if order[0] == "b") < 1150


def test_pos_orders_independent_steps_uniformly() -> None:
    found = count(Pos, 1, 1, 1, 1, seeds=4800)
    assert len(found) == 24
    assert all(140 < times < 265 for times in found.values())  # 200 are expected


def test_pos_draws_a_priority_for_each_step_so_a_single_step_is_seldom_overtaken_by_a_whole_lane() -> None:
    # b comes after all four of a only if its one number is below all of theirs: once in five, where a random walk
    # has it once in sixteen.
    last = sum(times for order, times in count(Pos, 4, 1).items() if order == "aaaab")
    assert 330 < last < 480
    assert 80 < count(RandomWalk, 4, 1)["aaaab"] < 175


def test_pct_of_depth_1_runs_one_lane_after_the_other_in_any_order() -> None:
    found = count(lambda seed: Pct(seed, depth=1, steps=9), 3, 3, 3)
    assert set(found) == {"".join(name * 3 for name in order) for order in itertools.permutations("abc")}
    assert all(250 < times < 420 for times in found.values())


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_pct_changes_the_lane_before_its_end_fewer_times_than_its_depth(depth: int) -> None:
    for order in count(lambda seed: Pct(seed, depth=depth, steps=12), 4, 4, 4, seeds=500):
        left = Counter(order)
        broken_off = 0
        for now, then in itertools.pairwise(order):
            left[now] -= 1
            broken_off += now != then and left[now] > 0
        assert broken_off <= depth - 1, order


@pytest.mark.parametrize("steps", [3, 5])
def test_pct_finds_each_bug_of_depth_2_as_often_as_its_bound_promises(steps: int) -> None:
    # The bug: b runs between the step i of a and the next, which needs one change at the right moment.
    total = steps + 1
    found = count(lambda seed: Pct(seed, depth=2, steps=total), steps, 1, seeds=3000)
    for at in range(1, steps):
        order = "a" * at + "b" + "a" * (steps - at)
        assert found[order] >= 0.8 * 3000 / (2 * total), order


def test_pct_keeps_the_rank_of_a_lane_that_comes_back() -> None:
    # What was sent to the bottom stays there: after its change a runs only when nobody else can.
    for seed in range(200):
        order = order_of(Pct(seed, depth=2, steps=4), 5, 5)
        runs = [name for name, _ in itertools.groupby(order)]
        assert len(runs) <= 3
        if len(runs) == 3:
            assert len(set(runs[1:])) == 2


@pytest.mark.parametrize("delays", [0, 1, 2])
def test_delay_bounded_departs_from_the_oldest_for_each_of_its_delays_at_most_once(delays: int) -> None:
    found = count(lambda seed: DelayBounded(seed, delays=delays, steps=6), 1, 1, 1, 1, seeds=600)
    reachable = {"abcd"}
    for _ in range(delays):
        # To send the head behind all others is to move one letter to the end of what follows.
        reachable |= {order[:at] + order[at + 1 :] + order[at] for order in reachable for at in range(len(order))}
    assert set(found) <= reachable
    assert "abcd" in found
    if delays:
        assert {"bcda", "acdb", "abdc"} <= set(found)


def pct(seed: int) -> Strategy:
    return Pct(seed, depth=3, steps=9)


@pytest.mark.parametrize("make", [Pos, RandomWalk, pct])
def test_the_same_seed_decides_the_same_and_another_one_otherwise(make: Callable[[int], Strategy]) -> None:
    assert [order_of(make(seed), 3, 3, 3) for seed in range(50)] == [
        order_of(make(seed), 3, 3, 3) for seed in range(50)
    ]
    assert len(count(make, 3, 3, 3, seeds=50)) > 5


def test_fifo_brings_no_faults_and_the_others_do_with_their_probability() -> None:
    assert not any(Fifo().flip("crash", number, 1.0) for number in range(50))
    assert {Fifo().draw("budget", number, 3) for number in range(50)} == {0}
    for make in (Pos, RandomWalk):
        chosen = make(3)
        assert 200 < sum(chosen.flip("crash", number, 0.25) for number in range(1000)) < 300
        assert not any(chosen.flip("crash", number, 0.0) for number in range(100))
        assert all(chosen.flip("crash", number, 1.0) for number in range(100))
        assert {chosen.draw("budget", number, 3) for number in range(100)} == {0, 1, 2}


# Depth first


def all_orders(departures: int, *lanes: int) -> tuple[list[str], bool]:
    found: list[str] = []
    chosen: DepthFirst | None = DepthFirst(departures=departures)
    while chosen is not None and len(found) < 5000:
        found.append(order_of(chosen, *lanes))
        chosen = chosen.following()
    return found, chosen is None


@pytest.mark.parametrize("lanes", [(1,), (1, 1), (1, 1, 1), (1, 1, 1, 1), (2, 2), (3, 2), (2, 2, 2), (1, 3, 1)])
def test_depth_first_has_each_order_exactly_once(lanes: Sequence[int]) -> None:
    found, complete = all_orders(99, *lanes)
    expected = {
        "".join(order) for order in itertools.permutations("".join("abcd"[at] * n for at, n in enumerate(lanes)))
    }
    assert complete
    assert len(found) == len(set(found))
    assert set(found) == expected


def departures_of(order: str, lanes: Sequence[int]) -> int:
    """How often not the oldest was taken, counted by hand."""
    ages = {"abcd"[at]: list(range(sum(lanes[:at]), sum(lanes[: at + 1]))) for at in range(len(lanes))}
    departures = 0
    for name in order:
        oldest = min((steps[0], lane) for lane, steps in ages.items() if steps)[1]
        departures += name != oldest
        ages[name].pop(0)
    return departures


@pytest.mark.parametrize("bound", [0, 1, 2, 3])
@pytest.mark.parametrize("lanes", [(1, 1, 1, 1), (2, 3), (2, 2, 2)])
def test_depth_first_keeps_its_bound_and_has_all_within(bound: int, lanes: Sequence[int]) -> None:
    found, complete = all_orders(bound, *lanes)
    everything, _ = all_orders(99, *lanes)
    assert complete
    assert sorted(found) == sorted(order for order in everything if departures_of(order, lanes) <= bound)


def lanes_in(names: str, found: list[str]) -> Subject:
    async def test(sim: Simulation) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SimLoop)
        out: list[str] = []
        for name in names:
            loop.call_in_lane(name, out.append, name)
        await loop.wait_idle()
        found.append("".join(out))

    return Subject(test, Faults(), system=False)


def test_a_search_runs_all_orders_once_and_says_that_it_is_complete() -> None:
    found: list[str] = []
    report = search(lanes_in("abcd", found), departures=99, at_most=1000, name="four")
    assert sorted(found) == sorted("".join(order) for order in itertools.permutations("abcd"))
    assert report.complete is True
    assert report.schedules == report.distinct == 24
    assert "all orders" in report.summary()


@pytest.mark.parametrize(("at_most", "complete"), [(1, False), (23, False), (24, True), (25, True)])
def test_a_search_that_is_cut_off_says_so(at_most: int, complete: bool) -> None:
    found: list[str] = []
    report = search(lanes_in("abcd", found), departures=99, at_most=at_most, name="four")
    assert len(found) == min(at_most, 24) == report.schedules
    assert report.complete is complete
    assert ("cut off" in report.summary()) is not complete


def test_a_search_finds_the_one_order_that_fails_and_repeats_it() -> None:
    found: list[str] = []
    subject = lanes_in("abc", found)

    async def test(sim: Simulation) -> None:
        await subject.test(sim)
        assert found[-1] != "cba"

    with pytest.raises(AssertionError) as caught:
        search(Subject(test, Faults(), system=False), departures=9, at_most=100, name="three")
    assert any("understudy replay" in note for note in caught.value.__notes__)
    assert found[-1] == "cba"
