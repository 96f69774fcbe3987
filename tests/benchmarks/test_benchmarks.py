"""The benchmarks work, and measure what they say; how fast anything is, is not tested here."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from benchmarks import __main__ as command
from benchmarks.harness import Comparison, Plan, Row, Run, Side, Spread, Stopwatch, expect
from benchmarks.report import as_markdown
from benchmarks.results import Results
from benchmarks.targets import ASYNC, SYNC, TARGETS, Target, Verdict, judge

ROOT = Path(__file__).parent.parent.parent

QUICK = Plan(repeats=3, quick=True)


@pytest.mark.timeout(120)
def test_every_workload_runs_and_agrees_with_its_own_result(tmp_path: Path) -> None:
    written = tmp_path / "results.json"

    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "benchmarks", "--quick", "--json", str(written)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    rows = json.loads(written.read_text(encoding="utf-8"))["rows"]
    assert {row["workload"] for row in rows} == {workload.workload for workload in command.WORKLOADS} - {"uvloop"}
    assert any(row["contender"] == "understudy on uvloop" for row in rows) == (find_spec("uvloop") is not None)
    assert {(row["workload"], row["label"]) for row in rows} >= TARGETS.keys()
    assert all(row["value"]["low"] <= row["value"]["median"] <= row["value"]["high"] for row in rows)
    assert len([line for line in done.stdout.splitlines() if line.startswith("|")]) == len(rows) + 2


def test_the_ratio_is_that_of_the_times_and_more_than_one_is_faster() -> None:
    (row,) = _comparison(_takes(0.2), _takes(0.1)).rows(QUICK)

    assert row.value == Spread(2.0, 2.0, 2.0)
    assert row.samples == {"Q": [0.2, 0.2, 0.2], "understudy": [0.1, 0.1, 0.1]}


def test_a_ratio_of_times_is_less_than_one_when_faster() -> None:
    (row,) = _comparison(_takes(0.2), _takes(0.1), ratio_of_times=True).rows(QUICK)

    assert row.value == Spread(0.5, 0.5, 0.5)


def test_the_sides_take_turns_and_each_begins_equally_often() -> None:
    order: list[str] = []

    list(_comparison(_notes(order, "Q"), _notes(order, "own")).rows(Plan(repeats=4)))

    warmed_up, measured = order[:2], order[2:]
    assert warmed_up == ["Q", "own"]
    assert measured == ["own", "Q", "Q", "own", "own", "Q", "Q", "own"]


def test_who_does_a_part_of_a_workload_is_compared_by_the_time_for_one() -> None:
    counts: list[int] = []

    async def run(count: int, watch: Stopwatch) -> None:
        counts.append(count)
        watch.wall = watch.cpu = 0.1 * count

    comparison = Comparison("W0", "nothing", 100, run, (Side("part", run, "another", share=0.1),))
    (row,) = comparison.rows(Plan(repeats=1))

    assert sorted(counts[2:]) == [10, 100]
    assert row.value == Spread(1.0, 1.0, 1.0)
    assert row.contender == "another"


def test_a_disturbed_sample_is_taken_again_and_the_least_disturbed_counts() -> None:
    waits = iter([0.0, 9.0, 0.3])  # in the warm-up, then in the two attempts

    async def run(count: int, watch: Stopwatch) -> None:
        watch.cpu, watch.wall = 0.1, 0.1 + next(waits)

    (row,) = _comparison(_takes(0.1), run).rows(Plan(repeats=1))

    (seconds,) = row.samples["understudy"]
    assert seconds == pytest.approx(0.4)


def test_a_wrong_result_is_an_error_and_no_figure() -> None:
    async def run(count: int, watch: Stopwatch) -> None:
        expect("messages counted", count - 1, count)

    (row,) = _comparison(_takes(0.1), run).rows(QUICK)

    assert row.value is None
    assert row.wrong == "messages counted: 0 instead of 1"
    assert "**wrong result**" in as_markdown([row])
    assert json.loads(Results([row]).as_json())["rows"][0]["reached"] == "wrong result"


def test_what_never_ends_is_a_wrong_result(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.harness.PATIENCE", 0.0)

    async def run(count: int, watch: Stopwatch) -> None:
        await asyncio.get_running_loop().create_future()

    (row,) = _comparison(_takes(0.1), run).rows(QUICK)

    assert row.wrong == "not done after 0 s"


def test_the_command_fails_when_a_result_is_wrong(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def run(count: int, watch: Stopwatch) -> None:
        expect("replies", 0, 1)

    monkeypatch.setattr(command, "WORKLOADS", (_comparison(_takes(0.1), run),))
    monkeypatch.setattr(command, "prepare", lambda: None)

    assert command.main([]) == 1
    assert "1 wrong.\n- W0 nothing, own: replies: 0 instead of 1" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("value", "wanted", "verdict"),
    [
        (1.5, Target(1.2, 1.5), "stretch"),
        (1.49, Target(1.2, 1.5), "must"),
        (1.19, Target(1.2, 1.5), "falls short"),
        (500, Target(700, 500, more=False), "stretch"),
        (700, Target(700, 500, more=False), "must"),
        (701, Target(700, 500, more=False), "falls short"),
        (0, Target(0, 0, more=False), "stretch"),
        (1.0, None, ""),
    ],
)
def test_a_value_is_judged_by_the_best_target_that_it_reaches(
    value: float, wanted: Target | None, verdict: Verdict
) -> None:
    assert judge(value, wanted) == verdict


def test_what_falls_short_is_marked_in_the_table_and_named_beneath_it() -> None:
    table = as_markdown([_row("W1a", SYNC, 1.0), _row("W1a", ASYNC, 1.0), _row("W2", "for information", 1.0)])

    heading, ruler, short, reached, information, _, summary = table.rstrip().splitlines()
    assert len({len(line) for line in (heading, ruler, short, reached, information)}) == 1
    assert "**falls short**" in short
    assert "stretch" in reached
    assert "**" not in information
    assert summary.endswith("2 have targets, 1 fall short, 0 wrong.")


def test_the_json_holds_targets_and_verdicts() -> None:
    (row,) = json.loads(Results([_row("W4", "named", 900.0)]).as_json())["rows"]

    assert (row["must"], row["more_is_better"], row["reached"]) == (800, False, "falls short")


def test_a_workload_that_does_not_exist_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        command.main(["--only", "W1a,W99"])

    assert ended.value.code == 2
    assert "there is no workload 'W99'; there are W1a, W1b" in capsys.readouterr().err


# --- Fakes ------------------------------------------------------------------------------------------------------------


def _takes(seconds: float) -> Run:
    async def run(count: int, watch: Stopwatch) -> None:
        watch.wall = watch.cpu = seconds

    return run


def _notes(order: list[str], name: str) -> Run:
    async def run(count: int, watch: Stopwatch) -> None:
        order.append(name)
        watch.wall = watch.cpu = 0.1

    return run


def _comparison(baseline: Run, own: Run, *, ratio_of_times: bool = False) -> Comparison:
    return Comparison("W0", "nothing", 1, baseline, (Side("own", own),), ratio="time" if ratio_of_times else "speed")


def _row(workload: str, label: str, value: float) -> Row:
    return Row(workload, label, label, Spread(value, value, value), "x", "1 us", "1 us")
