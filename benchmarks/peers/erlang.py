"""Erlang/OTP, where it is installed: an escript does what the others do, Q is measured before and after it."""

from __future__ import annotations

import json
import platform
import shutil
import statistics
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.common import ASK, ASK_AT_ONCE, BURST, COME_AND_GO, DELIVER, PACED, PUBLISH, RESTART, RING
from benchmarks.harness import Comparison, Plan, Row, Side, compete
from benchmarks.peers.environments import Skipped
from benchmarks.peers.stage import Outcome

__all__ = ["NAME", "measure"]

NAME = "Erlang/OTP"
SCRIPT = Path(__file__).with_name("erlang.escript")
WORKLOADS = {
    "W1a": BURST,
    "W1b": PACED,
    "W2": ASK,
    "W2c": ASK_AT_ONCE,
    "W3": RING,
    "W4": COME_AND_GO,
    "W5 deliver": DELIVER,
    "W5 publish": PUBLISH,
    "W6": RESTART,
}
PATIENCE = 600


def measure(plan: Plan) -> Outcome:
    """What it takes here.

    Raises:
        Skipped: It is not installed, or does not run.
    """
    escript = shutil.which("escript")
    if escript is None:
        raise Skipped("there is no escript on the path; on Debian the package erlang-base brings it")
    before = {name: _reference(each, plan) for name, each in WORKLOADS.items()}
    scale = 100 if plan.quick else round(1 / plan.share)
    done = subprocess.run(  # noqa: S603 - our script
        [escript, str(SCRIPT), str(plan.repeats), str(scale)],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    if done.returncode != 0:
        raise Skipped(f"escript has ended with {done.returncode}: {(done.stderr or done.stdout)[-300:]}")
    head, *lines = (json.loads(line) for line in done.stdout.splitlines() if line.startswith("{"))
    after = {name: _reference(each, plan) for name, each in WORKLOADS.items()}
    return Outcome(
        contender=NAME,
        version=head["release"],
        python=platform.python_version(),
        rows=list(_rows(lines, before, after, plan)),
        note="one scheduler for each core; Q is measured before and after, not in between",
    )


def _reference(workload: Comparison, plan: Plan) -> list[float]:
    q = Side("", workload.baseline, "Q")
    seconds, wrong = compete((q,), plan.count(workload.count), max(plan.repeats // 2, 1))
    if wrong:
        raise wrong[q.name]
    return seconds[q.name]


def _rows(
    lines: list[dict[str, Any]], before: dict[str, list[float]], after: dict[str, list[float]], plan: Plan
) -> Iterator[Row]:
    for line in lines:
        workload = WORKLOADS[line["workload"]]
        reference = before[line["workload"]] + after[line["workload"]]
        middle = statistics.median(reference)
        own: list[float] = line["seconds"]
        what = workload.what.format(count=plan.count(workload.count))
        yield workload.row(what, "", NAME, reference, own, (middle / each for each in own))
