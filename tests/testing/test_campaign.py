"""Campaigns: `simulate` and what it reports."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import inspect
import math
import os
import re
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from time import monotonic as captured_before
from typing import Any

import pytest

from tests.testing.sim_stage import Sum, Test, once, run_program, strategy
from understudy import child, supervisor
from understudy.testing import DeadlockError, Faults, InjectedCrash, LivenessError, Report, Violation, simulate
from understudy.testing import _campaign as campaigns
from understudy.testing._campaign import Simulated, explore
from understudy.testing._schedule import EAGER_EXISTS, Outcome, Subject
from understudy.testing._simulation import Simulation
from understudy.testing._strategies import Pct, Strategy
from understudy.testing._tape import Tape

PLUGIN = "_understudy_pytestplugin"


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Tapes are written into the folder of each test; reports of these campaigns are nobody's."""
    monkeypatch.chdir(tmp_path)
    for name in ("UNDERSTUDY_SEED", "UNDERSTUDY_SCHEDULES", "UNDERSTUDY_TAPES", "UNDERSTUDY_TAPE"):
        monkeypatch.delenv(name, raising=False)
    before = list(campaigns.REPORTS)
    yield
    campaigns.REPORTS[:] = before


def simulated(test: Test, **options: Any) -> Callable[..., None]:
    made: Callable[..., None] = simulate(**options)(test)
    return made


def failure(test: Test, **options: Any) -> BaseException:
    """What a campaign raises."""
    with pytest.raises(BaseException) as caught:  # noqa: PT011 - that is what is looked at
        simulated(test, **options)()
    return caught.value


def notes(error: BaseException) -> str:
    return "\n".join(getattr(error, "__notes__", []))


def tapes() -> list[Path]:
    return sorted(Path().rglob("*.json"))


async def nothing(sim: Simulation) -> None:
    """A test."""


async def fails_when_overtaken(sim: Simulation) -> None:
    out: list[str] = []

    async def one(name: str) -> None:
        await asyncio.sleep(0)
        out.append(name)

    async with asyncio.TaskGroup() as group:
        for name in ("first", "second", "third"):
            group.create_task(one(name), name=name)
    assert out[-1] != "first", "first was last"


# What it takes


@pytest.mark.parametrize("schedules", [0, -1, True, False, 1.5, "5", None, math.inf])
def test_schedules_must_be_a_whole_number_from_1_on(schedules: Any) -> None:
    with pytest.raises(ValueError, match=f"schedules must be .* got {re.escape(repr(schedules))}.*nothing"):
        simulate(schedules=schedules)(nothing)


@pytest.mark.parametrize("seed", [1.5, True, "x"])
def test_the_seed_must_be_a_whole_number(seed: Any) -> None:
    with pytest.raises((ValueError, TypeError), match="seed"):
        simulate(seed=seed)(nothing)


@pytest.mark.parametrize("faults", [None, 0.02, {"crash": 0.02}, Faults])
def test_faults_must_be_faults(faults: Any) -> None:
    with pytest.raises(TypeError, match=r"faults must be Faults\(\.\.\.\).*nothing"):
        simulate(faults=faults)(nothing)


def not_async(sim: Simulation) -> None: ...


async def generator(sim: Simulation) -> Any:
    yield 1


async def without_parameter() -> None: ...


@pytest.mark.parametrize("test", [not_async, generator, without_parameter, 5, Simulation])
def test_what_is_no_async_def_with_a_parameter_is_refused(test: Any) -> None:
    with pytest.raises(TypeError, match="async def"):
        simulate(test)
    with pytest.raises(TypeError, match="async def"):
        simulate(schedules=3)(test)


def test_it_may_be_used_with_and_without_parentheses() -> None:
    for made in (simulate(nothing), simulate()(nothing), simulate(schedules=3)(nothing)):
        assert made.__name__ == "nothing"
        assert made.__doc__ == "A test."
        assert not inspect.iscoroutinefunction(made)
        assert not inspect.signature(made).parameters
        assert made is not nothing


def test_other_parameters_are_left_to_pytest_and_passed_on() -> None:
    seen: list[tuple[object, int]] = []

    async def test(sim: Simulation, fixture: object, *, number: int = 3) -> None:
        seen.append((fixture, number))

    made = simulated(test, schedules=4)
    assert list(inspect.signature(made).parameters) == ["fixture", "number"]
    thing = object()
    made(fixture=thing, number=5)
    assert seen == [(thing, 5)] * 4
    made(fixture=thing)
    assert seen[4:] == [(thing, 3)] * 4


def test_in_pytest_it_takes_fixtures_parameters_and_methods(pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]\nasyncio_default_fixture_loop_scope = function\n")
    pytester.makepyfile(
        """
        import pytest
        from understudy.testing import simulate

        @pytest.fixture
        def ten():
            return [10]

        @pytest.mark.parametrize("number", [1, 2])
        @simulate(schedules=3)
        async def test_function(sim, ten, number, tmp_path):
            ten.append(number)
            assert number in (1, 2) and tmp_path.exists()

        @simulate
        @pytest.mark.parametrize("number", [1])
        async def test_mark_within(sim, number):
            assert number == 1

        class TestClass:
            @simulate(schedules=3)
            async def test_method(self, sim, ten):
                assert isinstance(self, TestClass)
                await sim.clock.advance(1)
        """
    )
    installed = any(entry.value == PLUGIN for entry in metadata.entry_points(group="pytest11"))
    plugin = () if installed else ("-p", PLUGIN)
    result = pytester.runpytest_inprocess(*plugin, "-p", "no:cacheprovider", "-q")
    result.assert_outcomes(passed=4)
    result.stdout.fnmatch_lines(["*test_function: 3 schedules, * distinct, *misses a bug of depth 2 with probability*"])


# What is run


class Recorder:
    """Stands in the place of `run`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, lanes: int = 7, steps: int = 100) -> None:
        self.runs: list[tuple[Strategy, int, bool]] = []
        self.lanes, self.steps = lanes, steps
        monkeypatch.setattr(campaigns, "run", self.run)

    def run(self, subject: Subject, strategy: Strategy, *, seed: int, eager: bool, story: bool = False) -> Outcome:
        self.runs.append((strategy, seed, eager))
        return Outcome(None, (), f"digest {len(self.runs) // 2}", self.steps, self.lanes, ())


def test_the_first_schedule_is_undisturbed_and_the_mix_is_as_promised(monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder(monkeypatch)
    report = explore(Subject(nothing, Faults()), schedules=1001, seed=5, name="mix")
    assert recorder.runs[0][0].name == "fifo"
    assert recorder.runs[0][2] is False
    names = Counter(chosen.name for chosen, _, _ in recorder.runs)
    assert names == {"fifo": 1, "pos": 400, "pct": 300, "random walk": 200, "delay-bounded": 100}
    assert report.strategies == names
    assert len({seed for _, seed, _ in recorder.runs}) == 1001
    # The mix holds from the beginning, not only in the end.
    assert set(Counter(chosen.name for chosen, _, _ in recorder.runs[1:11]).values()) == {4, 3, 2, 1}


@pytest.mark.skipif(not EAGER_EXISTS, reason="tasks cannot start eagerly before 3.12")
def test_every_strategy_runs_in_both_modes(monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder(monkeypatch)
    explore(Subject(nothing, Faults()), schedules=401, seed=5, name="modes")
    modes = Counter((chosen.name, eager) for chosen, _, eager in recorder.runs[1:])
    for name, times in {"pos": 160, "pct": 120, "random walk": 80, "delay-bounded": 40}.items():
        assert modes[name, True] == modes[name, False] == times // 2
    assert {eager for _, _, eager in recorder.runs[:3]} == {True, False}


def test_the_first_schedule_has_no_faults_and_no_chance() -> None:
    runs: list[tuple[bool, int]] = []

    async def test(sim: Simulation) -> None:
        runs.append((sim.choices.flip("crash", 1.0), sim.choices.draw("x", 1000)))

    simulated(test, schedules=30)()
    assert runs[0] == (False, 0)
    assert all(flip for flip, _ in runs[1:])
    assert len({value for _, value in runs}) > 10


def test_each_campaign_is_the_same_until_it_is_given_another_seed() -> None:
    seen: list[float] = []

    async def test(sim: Simulation) -> None:
        seen.append(sim.random.random())

    def values(**options: Any) -> list[float]:
        seen.clear()
        simulated(test, schedules=5, **options)()
        return list(seen)

    assert values() == values()
    assert values(seed=1) == values(seed=1) != values()
    assert values(seed=2) != values(seed=1)
    assert values(seed=0) == values(seed=0) != values()


def test_the_environment_overrides_schedules_and_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    seeds: list[int] = []

    async def test(sim: Simulation) -> None:
        seeds.append(sim.seed)

    monkeypatch.setenv("UNDERSTUDY_SCHEDULES", "3")
    monkeypatch.setenv("UNDERSTUDY_SEED", "100")
    simulated(test, schedules=7, seed=5)()
    assert seeds == [100, 101, 102]
    monkeypatch.setenv("UNDERSTUDY_SEED", "0")
    seeds.clear()
    simulated(test, seed=5)()
    assert seeds == [0, 1, 2]
    monkeypatch.setenv("UNDERSTUDY_SCHEDULES", "")
    monkeypatch.setenv("UNDERSTUDY_SEED", "")
    seeds.clear()
    simulated(test, schedules=2, seed=5)()
    assert seeds == [5, 6]


@pytest.mark.parametrize("value", ["0", "-3", "x", "1.5"])
def test_a_number_of_schedules_in_the_environment_that_is_none_is_refused(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("UNDERSTUDY_SCHEDULES", value)
    with pytest.raises(ValueError, match="UNDERSTUDY_SCHEDULES"):
        simulated(nothing)()


def test_the_tree_is_started_in_each_run() -> None:
    seen: list[bool] = []

    async def test(sim: Simulation) -> None:
        seen.append(sim.system.find("/user/tree/leaf", Sum) is not None)

    simulated(test, schedules=5, tree=supervisor("tree", child(Sum).options(name="leaf")))()
    assert seen == [True] * 5


# The report


def test_the_report_counts_schedules_distinct_runs_steps_and_lanes(monkeypatch: pytest.MonkeyPatch) -> None:
    Recorder(monkeypatch, lanes=7, steps=50)
    report = explore(Subject(nothing, Faults()), schedules=21, seed=1, name="counted")
    assert (report.schedules, report.distinct, report.steps, report.lanes) == (21, 11, 50, 7)
    text = report.summary()
    assert text.startswith("counted: 21 schedules, 11 distinct, up to 50 steps")
    assert "passed" not in text


def test_distinct_runs_are_those_with_different_digests() -> None:
    runs = [run_program("tasks", strategy("pos", seed), seed=seed) for seed in (1, 1, 2, 3)]
    report = Report("x")
    for outcome in runs:
        report.count(outcome, strategy("pos"))
    assert report.distinct == 3
    assert report.schedules == 4


def bound(outcomes: list[tuple[Outcome, Strategy]]) -> float:
    """That of probabilistic concurrency testing for depth 2, by hand: moments are drawn from as many as were seen."""
    missed, longest = 1.0, 0
    for outcome, chosen in outcomes:
        if isinstance(chosen, Pct) and chosen.depth == 2:
            missed *= 1 - 1 / (outcome.lanes * max(longest, outcome.steps))
        longest = max(longest, outcome.steps)
    return missed


def test_the_report_promises_no_more_than_pct_does(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[Outcome, Strategy]] = []
    lengths = iter([90, *([10, 60, 30, 90] * 100)])

    def run(subject: Subject, chosen: Strategy, *, seed: int, eager: bool, story: bool = False) -> Outcome:
        outcome = Outcome(None, (), str(seed), next(lengths), 4, ())
        seen.append((outcome, chosen))
        return outcome

    monkeypatch.setattr(campaigns, "run", run)
    report = explore(Subject(nothing, Faults()), schedules=201, seed=1, name="bound")
    assert 0 < report.missed < 1
    assert report.missed >= bound(seen) - 1e-12
    assert report.missed == pytest.approx(bound(seen), rel=0.2)
    assert f"{report.missed:.2g}" in report.summary()


def test_a_single_schedule_promises_nothing() -> None:
    report = explore(Subject(nothing, Faults()), schedules=1, seed=1, name="one")
    assert report.missed == 1.0
    assert report.distinct == 1


def test_a_campaign_that_fails_reports_nothing_and_one_that_does_not_is_in_the_reports() -> None:
    campaigns.REPORTS.clear()
    failure(fails_when_overtaken, schedules=200)
    assert campaigns.REPORTS == []
    simulated(nothing, schedules=2)()
    assert [report.schedules for report in campaigns.REPORTS] == [2]
    assert "test_campaign.py::nothing" in campaigns.REPORTS[0].test


# Failures


def test_the_error_keeps_its_type_and_tells_choices_story_and_tape() -> None:
    error = failure(fails_when_overtaken, schedules=200)
    assert type(error) is AssertionError
    assert "first was last" in str(error)
    told = notes(error)
    (path,) = tapes()
    assert path.parent == Path(".understudy")
    assert f"understudy replay {path}" in told
    tape = Tape.load(path)
    number = len(tape.choices)
    assert 1 <= number <= 4
    assert re.search(rf"\b{number} choices?\b", told)
    assert re.search(r"schedule \d+ \((pos|pct|random walk|delay-bounded), seed \d+\)", told)
    assert "\n".join(tape.story) in told
    assert "'first'" in told
    assert "cannot be repeated" not in told


def test_a_test_that_fails_undisturbed_says_so() -> None:
    async def test(sim: Simulation) -> None:
        raise KeyError("always")

    error = failure(test)
    assert isinstance(error, KeyError)
    assert "schedule 1 (fifo" in notes(error)
    assert "in the order of an ordinary event loop" in notes(error)
    assert "except for" not in notes(error)
    assert Tape.load(tapes()[0]).choices == ()


def test_the_story_is_in_terms_of_actors() -> None:
    async def test(sim: Simulation) -> None:
        from tests.testing.sim_stage import Add, Slow

        ref = await sim.system.spawn(child(Sum).options(name="sum"))
        ref.tell(Add(amount=5))
        ref.tell(Slow(amount=3))
        sim.note("now it is told")
        await sim.quiesce()
        raise ValueError

    told = notes(failure(test))
    for line in (
        "test sends /user/sum Add(amount=5)", "/user/sum handles Add(amount=5)", "now it is told",
        "/user/sum crashes", "the test fails: ValueError",
    ):  # fmt: skip
        assert line in told
    assert "/system/" not in told
    assert told.index("sends /user/sum Add") < told.index("handles Add") < told.index("crashes")


async def with_pytest_fail(sim: Simulation) -> None:
    pytest.fail("as it should")


async def with_raises_that_does_not(sim: Simulation) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        await asyncio.sleep(0)


async def with_a_cancelled_task(sim: Simulation) -> None:
    task = asyncio.create_task(asyncio.sleep(1))
    task.cancel()
    await task


async def with_a_group_of_base_errors(sim: Simulation) -> None:
    raise BaseExceptionGroup("several", [asyncio.CancelledError(), ValueError()])


async def with_a_deadlock(sim: Simulation) -> None:
    await asyncio.Event().wait()


async def with_a_broken_promise(sim: Simulation) -> None:
    sim.always("never", lambda: False)
    await asyncio.sleep(0)


FAILING: list[tuple[Test, type[BaseException]]] = [
    (with_pytest_fail, pytest.fail.Exception),
    (with_raises_that_does_not, pytest.fail.Exception),
    (with_a_cancelled_task, asyncio.CancelledError),
    (with_a_group_of_base_errors, BaseExceptionGroup),
    (with_a_deadlock, DeadlockError),
    (with_a_broken_promise, Violation),
]


@pytest.mark.parametrize(("test", "kind"), FAILING)
def test_every_way_to_fail_has_a_story_and_a_tape(test: Test, kind: type[BaseException]) -> None:
    error = failure(test, schedules=5)
    assert isinstance(error, kind)
    assert len(tapes()) == 1
    assert "understudy replay" in notes(error)


def test_a_skip_is_no_failure() -> None:
    async def test(sim: Simulation) -> None:
        pytest.skip("not here")

    with pytest.raises(pytest.skip.Exception, match="not here"):
        simulated(test)()
    assert tapes() == []


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_what_ends_a_process_is_not_looked_at(kind: type[BaseException]) -> None:
    async def test(sim: Simulation) -> None:
        raise kind

    with pytest.raises(kind):
        simulated(test)()
    assert tapes() == []


def test_tapes_go_where_the_environment_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("UNDERSTUDY_TAPES", str(tmp_path / "else" / "where"))
    error = failure(fails_when_overtaken, schedules=200)
    (path,) = (tmp_path / "else" / "where").iterdir()
    assert str(path) in notes(error)
    assert not Path(".understudy").exists()


def test_nothing_but_the_tape_is_written(capfd: pytest.CaptureFixture[str]) -> None:
    simulated(nothing, schedules=3)()
    assert list(Path().rglob("*")) == []
    failure(fails_when_overtaken, schedules=200)
    assert len([path for path in Path().rglob("*") if path.is_file()]) == 1
    assert capfd.readouterr() == ("", "")


def a_file_in_the_way(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.write_text("")


def a_full_disk(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNDERSTUDY_TAPES", "/proc/self")  # nobody can write there, not even root


@pytest.mark.parametrize("obstacle", [a_file_in_the_way, a_full_disk])
def test_a_tape_that_cannot_be_written_hides_no_failure(
    obstacle: Callable[[Path, pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    obstacle(Path(".understudy"), monkeypatch)
    error = failure(fails_when_overtaken, schedules=200)
    assert type(error) is AssertionError
    assert "could not be saved" in notes(error)
    assert "'first'" in notes(error)
    assert "understudy replay" not in notes(error)


def test_a_disk_that_is_full_while_it_is_written_hides_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    def write(self: Path, *args: Any, **options: Any) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", write)
    monkeypatch.setattr(Path, "write_bytes", write)
    error = failure(fails_when_overtaken, schedules=200)
    assert type(error) is AssertionError
    assert "No space left on device" in notes(error)


def test_a_run_that_nobody_can_repeat_says_so() -> None:
    started: list[float] = []

    async def test(sim: Simulation) -> None:
        # It fails once, when the real clock says something else than it did before; monotonic was taken before the run.
        started.append(captured_before())
        assert len(started) != 4 or started[3] == started[0]

    error = failure(test, schedules=10)
    assert isinstance(error, AssertionError)
    assert "cannot be repeated" in notes(error)


def test_a_failure_that_comes_and_goes_with_the_test_s_own_state_says_so() -> None:
    runs: list[int] = []

    async def test(sim: Simulation, kept: list[int]) -> None:
        kept.append(1)
        if len(kept) == 3:
            raise ValueError("only once")

    with pytest.raises(ValueError, match="only once") as caught:
        simulated(test, schedules=10)(kept=runs)
    assert "cannot be repeated" in notes(caught.value)


def test_an_error_object_that_is_raised_each_time_has_its_notes_once() -> None:
    the_error = ValueError("one for all")

    async def test(sim: Simulation) -> None:
        raise the_error

    error = failure(test)
    assert notes(error).count("understudy replay") == 1


def test_work_without_end_is_found_and_told_without_end_of_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("understudy.testing._loop.MAX_STEPS", 3000)

    async def test(sim: Simulation) -> None:
        going = True

        async def stop() -> None:
            nonlocal going
            going = False

        stopping = asyncio.create_task(stop())
        while going and sim.choices.draw("never", 2) == 0:
            stopping.cancel()
            await asyncio.sleep(0)
        while stopping.cancelled():  # noqa: ASYNC110 - that is the mistake
            await asyncio.sleep(0)

    error = failure(test, schedules=20)
    assert isinstance(error, LivenessError)
    assert len(notes(error)) < 20_000


# What is left


def count_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


async def fails_with_much_left(sim: Simulation) -> None:
    ref = await sim.system.spawn(child(Sum).options(name="sum"))
    from tests.testing.sim_stage import Slow

    kept = bytearray(50_000)
    for number in range(20):
        asyncio.get_running_loop().create_task(asyncio.sleep(100 + number), name=f"left {number}")
        ref.tell(Slow(amount=number))
    asyncio.get_running_loop().call_later(1000, kept.clear)
    await asyncio.sleep(0.05)
    raise ValueError("with much left")


async def fails_within_its_runtime(sim: Simulation) -> None:
    ref = await sim.system.spawn(child(Sum).options(name="sum"))
    waiting = asyncio.create_task(asyncio.Event().wait(), name="left waiting")
    bad: Any = 5
    await ref.ask(bad)
    await waiting


async def resists(sim: Simulation) -> None:
    async def stubborn() -> None:
        while True:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(1000)

    task = asyncio.create_task(stubborn(), name="stubborn")
    await asyncio.sleep(0)
    raise ValueError(task.get_name())


@pytest.mark.parametrize("test", [fails_with_much_left, fails_within_its_runtime, resists])
def test_a_failed_run_leaves_nothing_behind(test: Test, recwarn: pytest.WarningsRecorder) -> None:
    before = count_descriptors()
    for number in range(3):
        assert once(test, strategy("pos", number), seed=number).error is not None
    gc.collect()
    assert [str(each.message) for each in recwarn.list] == []
    assert count_descriptors() == before
    with pytest.raises(RuntimeError):
        asyncio.get_running_loop()


@pytest.mark.parametrize("enabled", [True, False])
def test_the_garbage_collector_is_as_before(enabled: bool) -> None:
    was = gc.isenabled()
    (gc.enable if enabled else gc.disable)()
    try:
        once(nothing)
        assert gc.isenabled() is enabled
        once(fails_with_much_left)
        assert gc.isenabled() is enabled
    finally:
        (gc.enable if was else gc.disable)()


def test_memory_does_not_grow_with_failing_runs() -> None:
    def runs(count: int) -> None:
        for number in range(count):
            assert once(fails_with_much_left, strategy("pos", number), seed=number).error is not None

    runs(20)
    gc.collect()
    tracemalloc.start()
    try:
        runs(5)
        gc.collect()
        before, _ = tracemalloc.get_traced_memory()
        runs(60)
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 60 * 2000  # a run's loop, tasks and system are hundreds of kilobytes


def test_a_campaign_within_a_running_loop_says_so_and_is_no_failure_of_the_test() -> None:
    async def main() -> BaseException:
        return failure(nothing, schedules=3)

    error = asyncio.run(main())
    assert isinstance(error, RuntimeError)
    assert "loop" in str(error)
    assert tapes() == []


def test_a_failure_is_repeated_from_its_tape_with_all_that_it_was_made_with() -> None:
    async def test(sim: Simulation) -> None:
        ref = await sim.system.spawn(child(Sum).options(name="sum"))
        from tests.testing.sim_stage import Add

        for number in range(5):
            ref.tell(Add(amount=number))
        await sim.clock.advance(1)
        assert ref.status == "running", "it crashed too often"

    made = simulated(test, schedules=300, faults=Faults(crash=0.4))
    with pytest.raises(AssertionError, match="too often") as caught:
        made()
    tape = Tape.load(tapes()[0])
    assert tape.faults == Faults(crash=0.4)
    assert "crashes: " in notes(caught.value)
    assert InjectedCrash.__name__ in notes(caught.value)
    again: Outcome = made.simulated.replay(tape)  # type: ignore[attr-defined]  # pyright: ignore[reportFunctionMemberAccess]
    assert again.digest == tape.digest
    assert again.made == tape.choices
    assert str(again.error).splitlines()[0] == str(caught.value).splitlines()[0]


def test_the_alarm_of_pytest_timeout_is_no_failure_to_look_into() -> None:
    runs: list[int] = []

    async def test(sim: Simulation) -> None:
        runs.append(1)
        pytest.fail("Timeout (>60.0s) from pytest-timeout.")

    with pytest.raises(pytest.fail.Exception, match="Timeout"):
        simulated(test)()
    assert len(runs) == 1
    assert tapes() == []


def test_a_tape_in_the_environment_is_replayed_instead_of_the_campaign(monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[int] = []

    async def test(sim: Simulation, limit: int) -> None:
        runs.append(1)
        assert sum(sim.choices.draw("number", 4) for _ in range(10)) < limit

    made = simulated(test, schedules=50)
    with pytest.raises(AssertionError):
        made(limit=20)
    (path,) = tapes()
    monkeypatch.setenv("UNDERSTUDY_TAPE", str(path))
    runs.clear()
    with pytest.raises(AssertionError) as caught:
        made(limit=20)
    assert len(runs) == 1
    assert str(path) in notes(caught.value)
    assert tapes() == [path]
    runs.clear()
    made(limit=100)  # it has been mended
    assert len(runs) == 1

    async def other(sim: Simulation) -> None:
        runs.append(1)

    runs.clear()
    simulated(other, schedules=7)()
    assert len(runs) == 7
    monkeypatch.setenv("UNDERSTUDY_TAPE", "missing.json")
    with pytest.raises(ValueError, match=r"missing\.json"):
        made(limit=20)


def test_what_simulate_made_is_known_by_its_attribute() -> None:
    made = simulate(nothing)
    assert isinstance(made.simulated, Simulated)
    assert made.simulated.other_parameters == ()
