"""The same seed is the same run: again, elsewhere, and from what was recorded of it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import secrets
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.cast import EAGER
from tests.testing.sim_stage import KINDS, PROGRAMS, error_of, once, run_program, strategy
from understudy.testing import EscapeError
from understudy.testing._simulation import Simulation
from understudy.testing._strategies import Fifo, Replay

programs = st.sampled_from(sorted(PROGRAMS))
seeds = st.integers(0, 2**32)


@settings(max_examples=40)
@given(programs, st.sampled_from(KINDS), seeds, st.sampled_from(EAGER))
def test_the_same_seed_is_the_same_run_and_so_is_what_was_recorded_of_it(
    name: str, kind: str, seed: int, eager: bool
) -> None:
    first = run_program(name, strategy(kind, seed), seed=seed, eager=eager)
    again = run_program(name, strategy(kind, seed), seed=seed, eager=eager)
    replayed = run_program(name, Replay(first.made), seed=seed, eager=eager)
    for other in (again, replayed):
        assert other.digest == first.digest
        assert other.steps == first.steps
        assert repr(other.error) == repr(first.error)
        assert other.made == first.made
    assert first.error is None


@settings(max_examples=10)
@given(programs, st.sampled_from(KINDS), seeds)
def test_the_story_of_a_run_changes_nothing_in_it_and_is_the_same_each_time(name: str, kind: str, seed: int) -> None:
    silent = run_program(name, strategy(kind, seed), seed=seed)
    told = [run_program(name, strategy(kind, seed), seed=seed, story=True) for _ in range(2)]
    assert {silent.digest} == {outcome.digest for outcome in told}
    assert told[0].story == told[1].story
    assert told[0].story


@pytest.mark.parametrize("name", PROGRAMS)
def test_other_seeds_are_other_runs(name: str) -> None:
    digests = {run_program(name, strategy("pos", seed), seed=seed).digest for seed in range(12)}
    assert len(digests) > 6
    assert len({run_program(name, Fifo(), seed=seed).digest for seed in range(3)}) == 1


DIGESTS = """
from tests.cast import EAGER
from tests.testing.sim_stage import PROGRAMS, run_program, strategy
for name in sorted(PROGRAMS):
    for kind in ("fifo", "pos"):
        for eager in EAGER:
            outcome = run_program(name, strategy(kind, 5), seed=5, eager=eager, story=True)
            print(name, kind, eager, outcome.digest, outcome.error, len(outcome.made), *outcome.story, sep="|")
"""


def digests(hash_seed: str) -> str:
    # Another amount of other things in memory, so that addresses differ as well.
    code = f"keep = [object() for _ in range({len(hash_seed) * 7919})]\n{DIGESTS}"
    root = Path(__file__).parents[2]
    env = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": os.pathsep.join([str(root / "src"), str(root)])}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=root, env=env, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_run_is_the_same_in_another_process_whatever_its_hash_seed() -> None:
    with ThreadPoolExecutor(2) as pool:
        one, two = pool.map(digests, ["0", "4711"])
    assert one.splitlines() == two.splitlines()
    assert len(one.splitlines()) == len(PROGRAMS) * 2 * len(EAGER)


# What is different elsewhere


def from_new_generator() -> object:
    return random.Random().random()


def from_reseeded_generator() -> object:
    generator = random.Random(1)
    generator.seed()
    return generator.random()


SOURCES: list[Callable[[], object]] = [
    random.random,
    lambda: random.sample(range(1000), 5),
    from_new_generator,
    from_reseeded_generator,
    lambda: random.SystemRandom().random(),
    uuid.uuid4,
    lambda: secrets.token_hex(8),
    lambda: secrets.randbelow(10**9),
    lambda: os.urandom(8),
    time.time,
    lambda: (time.time(), time.time_ns(), time.monotonic(), time.monotonic_ns()),
    lambda: (time.perf_counter(), time.perf_counter_ns()),
]


def values(source: Callable[[], object], seed: int) -> list[object]:
    found: list[object] = []

    async def test(sim: Simulation) -> None:
        for _ in range(3):
            found.append(source())
            await asyncio.sleep(0.5)

    assert once(test, seed=seed, system=False).error is None
    return found


@pytest.mark.parametrize("source", SOURCES)
def test_chance_and_clocks_repeat(source: Callable[[], object]) -> None:
    source = source if source is not time.time else lambda: time.time()  # looked up within the run
    first = values(source, 1)
    assert values(source, 1) == first
    assert len({repr(value) for value in first}) == 3


def test_chance_depends_on_the_seed() -> None:
    for source in (random.random, uuid.uuid4, lambda: os.urandom(8), lambda: secrets.token_hex(4)):
        assert values(source, 1) != values(source, 2)


def test_all_clocks_go_with_the_clock_of_the_loop() -> None:
    async def test(sim: Simulation) -> None:
        starts = time.time(), time.monotonic(), time.perf_counter()
        await sim.clock.advance(2.5)
        time.sleep(1)  # noqa: ASYNC251
        ends = time.time(), time.monotonic(), time.perf_counter()
        for start, end in zip(starts, ends, strict=True):
            assert end - start == pytest.approx(3.5)
        assert sim.now == sim.clock.now == pytest.approx(3.5)
        assert time.time_ns() == pytest.approx(time.time() * 1e9)

    assert once(test, system=False).error is None


# Sets


async def futures(make: Callable[[], Any]) -> list[int]:
    made = [make() for _ in range(12)]
    numbers = {id(each): number for number, each in enumerate(made)}
    order = [numbers[id(each)] for each in set(made)]
    for each in made:
        each.cancel()
    await asyncio.wait(made)
    return order


def a_gathering() -> object:
    return asyncio.gather(asyncio.sleep(0), asyncio.sleep(0))


MAKERS: list[Callable[[], Any]] = [
    lambda: asyncio.create_task(asyncio.sleep(1)),
    lambda: asyncio.ensure_future(asyncio.sleep(1)),
    lambda: asyncio.get_running_loop().create_future(),
    lambda: asyncio.shield(asyncio.get_running_loop().create_future()),
    a_gathering,
]


@pytest.mark.parametrize("make", MAKERS)
def test_sets_of_tasks_and_futures_have_the_same_order_in_each_run(make: Callable[[], Any]) -> None:
    found: set[tuple[int, ...]] = set()
    keep: list[object] = []  # so that addresses differ

    async def test(sim: Simulation) -> None:
        keep.extend(object() for _ in range(len(keep) * 3 + 101))
        found.add(tuple(await futures(make)))

    for _ in range(4):
        assert once(test, system=False).error is None
    assert len(found) == 1


def test_what_waits_for_a_set_of_tasks_is_woken_in_the_same_order_in_each_run() -> None:
    found: set[tuple[int, ...]] = set()
    keep: list[object] = []

    async def test(sim: Simulation) -> None:
        keep.extend(object() for _ in range(len(keep) * 3 + 101))
        ended: list[int] = []

        async def one(number: int) -> None:
            try:
                await asyncio.sleep(10)
            finally:
                ended.append(number)

        async def fail() -> None:
            await asyncio.sleep(1)
            raise ValueError

        with contextlib.suppress(ExceptionGroup):
            async with asyncio.TaskGroup() as group:
                for number in range(9):
                    group.create_task(one(number))
                group.create_task(fail())
        found.add(tuple(ended))

    for _ in range(4):
        assert once(test, system=False).error is None
    assert len(found) == 1


# Afterwards

REPLACED: list[tuple[Any, str]] = [
    (time, "time"), (time, "time_ns"), (time, "monotonic"), (time, "monotonic_ns"), (time, "perf_counter"),
    (time, "perf_counter_ns"), (time, "sleep"), (uuid, "uuid4"), (uuid, "uuid1"), (os, "urandom"), (random, "_urandom"),
    (random, "random"), (random, "seed"), (random.Random, "seed"), (random, "Random"), (socket.socket, "__init__"),
    (socket, "socketpair"), (subprocess.Popen, "__init__"), (threading.Thread, "start"), (asyncio, "Future"),
    (asyncio, "Task"), (asyncio.tasks, "Task"), (asyncio, "gather"),
]  # fmt: skip


def own(owner: Any, name: str) -> object:
    members: dict[str, object] = owner.__dict__
    return members.get(name)


def real() -> list[object]:
    return [own(owner, name) for owner, name in REPLACED]


async def passes(sim: Simulation) -> None:
    random.seed(99)


async def fails(sim: Simulation) -> None:
    random.seed(99)
    raise ValueError


async def hangs(sim: Simulation) -> None:
    await asyncio.Event().wait()


async def ends_the_process(sim: Simulation) -> None:
    raise SystemExit(3)


@pytest.mark.parametrize("test", [passes, fails, hangs, ends_the_process])
def test_the_real_functions_are_back_however_the_run_ends(test: Any) -> None:
    before, state = real(), random.getstate()
    with pytest.raises(SystemExit) if test is ends_the_process else contextlib.nullcontext():
        once(test)
    assert real() == before
    assert random.getstate() == state
    assert abs(time.time() - 1_800_000_000) > 1000


@pytest.mark.parametrize("test", [passes, fails])
def test_the_event_loop_of_the_thread_is_as_before(test: Any) -> None:
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    try:
        once(test)
        assert asyncio.get_event_loop() is loop
    finally:
        asyncio.set_event_loop(None)
        loop.close()


def test_a_thread_outside_sees_the_real_world() -> None:
    asked, answered = threading.Event(), threading.Event()
    seen: dict[str, Any] = {}

    def outside() -> None:
        assert asked.wait(20)
        start = time.monotonic()
        time.sleep(0.001)
        seen["slept"] = time.monotonic() - start
        seen["time"] = time.time()
        seen["bytes"] = os.urandom(8)
        socket.socket().close()
        answered.set()

    async def test(sim: Simulation) -> None:
        seen["within"] = time.time(), time.monotonic()
        asked.set()
        assert answered.wait(20)  # in the way of threads: the test does not go on meanwhile

    thread = threading.Thread(target=outside)
    thread.start()
    before = time.time()
    try:
        assert once(test, system=False).error is None
    finally:
        asked.set()
        thread.join()
    assert seen["slept"] >= 0.001
    assert 0 <= seen["time"] - before < 3600
    assert seen["within"] != (seen["time"], 0)
    assert seen["within"][1] == 0.0


def test_two_runs_in_two_threads_leave_the_real_functions() -> None:
    before = real()
    inside, leave = threading.Event(), threading.Event()
    outcomes: list[object] = []

    async def first(sim: Simulation) -> None:
        inside.set()
        assert leave.wait(20)

    async def second(sim: Simulation) -> None:
        leave.set()
        while thread.is_alive():
            thread.join(0.01)

    def run_first() -> None:
        outcomes.append(once(first, system=False).error)

    thread = threading.Thread(target=run_first)
    thread.start()
    assert inside.wait(20)
    # Either both may run, or the second is refused; the world is the real one afterwards.
    try:
        outcomes.append(once(second, system=False).error)
    except RuntimeError:
        leave.set()
    thread.join(20)
    after = real()
    for (owner, name), value in zip(REPLACED, before, strict=True):
        if own(owner, name) is not value:
            setattr(owner, name, value)  # so that the tests after this one are not affected
    assert after == before


def test_a_refused_thing_can_be_used_again_after_the_run() -> None:
    async def test(sim: Simulation) -> None:
        socket.socket()

    assert isinstance(error_of(test, system=False), EscapeError)
    socket.socket().close()
    thread = threading.Thread(target=print)
    thread.start()
    thread.join()
    assert subprocess.run([sys.executable, "-c", ""], check=False).returncode == 0
