"""`understudy bench`: what it measures of a tree, and that a tree which is not measured knows nothing of it."""

from __future__ import annotations

import asyncio
import json
import random
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from understudy import Actor, ActorSystem, Mailbox, Message, StreamMessage, child, handler
from understudy.actors._runtime import Runtime
from understudy.cli import main
from understudy.cli._bench import Report
from understudy.cli._profile import Histogram, Profile, stepped
from understudy.mailbox import RollingBatch

Output = pytest.CaptureFixture[str]

PROGRAM = """
from understudy import Actor, ActorSystem, Message, Supervisor, child, handler


class Hot(Message[int]): ...


class Cold(Message): ...


class Go(Message): ...


class Worker(Actor[Hot | Cold]):
    @handler
    async def hot(self, message: Hot) -> int:
        return sum(range(20_000))

    @handler
    def cold(self, message: Cold) -> None:
        pass


class Boss(Actor[Go]):
    def initialize(self) -> None:
        self.context.ref.tell(Go())

    @handler
    async def go(self, message: Go) -> None:
        worker = self.context.system.lookup("program/worker", Worker)
        for _ in range(10):
            await worker.ask(Hot())
            worker.tell(Cold())
        await worker.ask(Hot())
        {end}


class Program(Supervisor):
    def children(self) -> list:
        return [child(Worker), child(Boss)]
"""


@pytest.fixture(autouse=True)
def unchanged_imports(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(sys, "path", sys.path.copy())
    yield
    sys.modules.pop("benched", None)


@pytest.fixture
def program(tmp_path: Path) -> Callable[[str], str]:
    def write(end: str) -> str:
        path = tmp_path / "benched.py"
        path.write_text(PROGRAM.replace("{end}", end), encoding="utf-8")
        return str(path)

    return write


# The command


def test_it_reports_each_type_of_message_the_busiest_first(program: Callable[[str], str], capsys: Output) -> None:
    assert main(["bench", program("self.context.system.stop()"), "--json"]) == 0

    report = json.loads(capsys.readouterr().out)
    rows = {(row["actor"], row["message"]): row for row in report["handlers"]}
    assert [row["busy"] for row in report["handlers"]] == sorted((row["busy"] for row in rows.values()), reverse=True)
    assert {key: row["handled"] for key, row in rows.items()} == {
        ("Worker", "Hot"): 11,
        ("Worker", "Cold"): 10,
        ("Boss", "Go"): 1,
    }
    assert report["handled"] == 22
    assert 0 < report["busy"] <= 1
    for row in rows.values():
        assert 0 <= row["handling_p50"] <= row["handling_p99"]
        assert 0 < row["waiting_p50"] <= row["waiting_p99"]
    # It waits for the worker, which keeps it in hand and the event loop free. (A duration is off by up to 1 in 32.)
    assert rows["Boss", "Go"]["busy"] <= rows["Boss", "Go"]["handling_p50"] * 33 / 32


def test_a_tree_that_runs_on_is_stopped_after_the_given_seconds(program: Callable[[str], str], capsys: Output) -> None:
    assert main(["bench", program("pass"), "--seconds", "0.2"]) == 0

    out, _ = capsys.readouterr()
    first, *table = out.splitlines()
    assert "22 messages in 0.2 s" in first
    assert any("Worker" in line and "Hot" in line and "11" in line for line in table)


def test_a_tree_that_collapses_is_an_error_and_no_report(program: Callable[[str], str], capsys: Output) -> None:
    assert main(["bench", program("raise RuntimeError('on purpose')"), "--json"]) == 1

    out, err = capsys.readouterr()
    assert out == ""
    assert "failed 4 times" in err


def test_a_target_that_is_not_there_is_refused(tmp_path: Path, capsys: Output) -> None:
    assert main(["bench", str(tmp_path / "nothing.py")]) == 2
    assert "there is no file" in capsys.readouterr().err


# What is measured


class Add(Message[int]):
    value: int = 1


class Parts(StreamMessage[int]): ...


class Adder(Actor[Add | Parts]):
    def __init__(self) -> None:
        self.total = 0

    @handler
    def add(self, message: Add) -> int:
        if message.value < 0:
            raise ValueError("on purpose")
        self.total += message.value
        return self.total

    @handler
    async def parts(self, message: Parts) -> Any:
        yield 1
        await asyncio.sleep(0)
        yield 2


class Many(Actor[Add]):
    @handler
    async def add(self, messages: list[Add]) -> None:
        await asyncio.sleep(0)


@contextmanager
def measured() -> Iterator[tuple[Profile, Callable[[Any], None]]]:
    profile = Profile()

    def run(main: Any) -> None:
        with asyncio.Runner(loop_factory=profile.new_event_loop) as runner:
            runner.run(main)

    yield profile, run


def test_what_a_handler_does_is_the_same_when_it_is_measured() -> None:
    async def use() -> None:
        async with ActorSystem() as system:
            ref = await system.spawn(Adder)
            assert await ref.ask(Add(value=2)) == 2
            assert [part async for part in ref.stream(Parts())] == [1, 2]
            ref.tell(Add(value=-1))
            assert await ref.ask(Add()) == 1  # of the next incarnation
            assert system.statistics().restarted == 1

    with measured() as (profile, run):
        run(use())

    counts = {key[1]: found.handling.count for key, found in profile.measured.items() if key[0] == "Adder"}
    assert counts == {"Add": 3, "Parts": 1}


def test_a_batch_is_handled_once_and_each_of_it_has_waited() -> None:
    async def use() -> None:
        async with ActorSystem() as system:
            collecting = Mailbox(batch=RollingBatch(quiet=0.01, cap=0.1))
            ref = await system.spawn(child(Many).options(mailbox=collecting))
            for _ in range(3):
                ref.tell(Add())
            ref.drain()
            await ref.wait_stopped()

    with measured() as (profile, run):
        run(use())

    assert profile.measured["Many", "list[Add]"].handling.count == 1
    assert profile.measured["Many", "Add"].waiting.count == 3


def test_a_message_for_a_pump_is_given_back_and_has_waited_once() -> None:
    class Slow(Actor[Add]):
        @handler
        async def add(self, message: Add) -> int:
            await asyncio.sleep(0)
            return message.value

    async def use() -> None:
        async with ActorSystem() as system:
            ref = await system.spawn(Slow)
            same = Add()
            for _ in range(5):
                ref.tell(same)
            assert await ref.ask(same) == 1

    with measured() as (profile, run):
        run(use())

    found = profile.measured["Slow", "Add"]
    assert (found.handling.count, found.waiting.count) == (6, 6)
    assert found.busy < found.handling.total


def test_a_loop_that_nobody_measures_has_the_ordinary_runtime() -> None:
    async def use() -> None:
        assert Runtime.of(asyncio.get_running_loop()) is Runtime

    asyncio.run(use())


def test_what_comes_after_the_end_does_not_count() -> None:
    async def use() -> None:
        async with ActorSystem() as system:
            ref = await system.spawn(Adder)
            await ref.ask(Add())
            profile.end()
            await ref.ask(Add())

    with measured() as (profile, run):
        run(use())

    assert Report.of("x", profile).handled == 1


# Steps of a coroutine


def test_errors_and_cancellations_reach_a_coroutine_whose_steps_are_timed() -> None:
    seen: list[str] = []

    async def wait() -> str:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            seen.append("cancelled")
            await asyncio.sleep(0)
        async with asyncio.timeout(0):
            await asyncio.sleep(3600)
        return "never"

    async def use() -> None:
        steps: list[str] = []
        task = asyncio.ensure_future(_awaited(wait(), _Noted(steps)))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(TimeoutError):
            await task
        assert len(steps) == 4  # to the first wait, the second, the third, the end

    asyncio.run(use())
    assert seen == ["cancelled"]


class _Noted(AbstractContextManager[None]):
    def __init__(self, steps: list[str]) -> None:
        self.steps = steps

    def __exit__(self, *_: object) -> None:
        self.steps.append("step")


async def _awaited(coroutine: Any, steps: AbstractContextManager[None]) -> Any:
    return await stepped(coroutine, steps)


# Durations


def test_percentiles_are_off_by_no_more_than_a_thirtysecond() -> None:
    durations = [random.Random(1).randrange(1, 10**9) for _ in range(1)] + list(range(1, 100_000, 37))
    histogram = Histogram()
    for duration in durations:
        histogram.add(duration)

    ordered = sorted(durations)
    for part in (0.01, 0.5, 0.99, 1.0):
        exact = ordered[min(int(part * len(ordered)), len(ordered) - 1)]
        assert histogram.percentile(part) * 1e9 == pytest.approx(exact, rel=1 / 16, abs=40)
    assert histogram.total == sum(durations)


def test_there_are_no_percentiles_of_nothing() -> None:
    assert Histogram().percentile(0.99) == 0.0
