"""``python -m benchmarks.peers``: measure other packages, each in an environment of its own; ``make bench-peers``."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.harness import Plan, WrongResult, say
from benchmarks.page import keep
from benchmarks.peers import erlang
from benchmarks.peers.environments import PACKAGES, Package, Skipped
from benchmarks.peers.stage import Outcome
from benchmarks.report import as_markdown
from benchmarks.results import row_of

ROOT = Path(__file__).parents[2]
PATIENCE = 1200
"""Seconds after which a peer is given up."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what *arguments* ask for; who is not there is skipped with a note."""
    names = [*(each.name for each in PACKAGES), erlang.NAME]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description="What other packages take.")
    parser.add_argument("--only", metavar="NAMES", help=f"only these, with commas: {', '.join(names)}")
    parser.add_argument("--quick", action="store_true", help="few and small samples: does it work at all?")
    parser.add_argument("--repeats", type=int, default=5, help="samples of each")
    parser.add_argument("--share", type=float, default=1.0, help="what part of the usual number to do in each")
    parser.add_argument("--venvs", type=Path, default=Path(".venv-bench-peers"), help="where their environments are")
    parser.add_argument("--json", type=Path, metavar="FILE", help="merge what was measured into this file")
    parser.add_argument("--docs", action="store_true", help="merge it into the page and the pictures of the docs")
    options = parser.parse_args(arguments)
    wanted = options.only.split(",") if options.only else names
    if unknown := [name for name in wanted if name not in names]:
        parser.error(f"there is no peer {unknown[0]!r}; there are {', '.join(names)}")
    plan = Plan(repeats=1, quick=True) if options.quick else Plan(repeats=options.repeats, share=options.share)
    outcomes: list[Outcome] = []
    for name in wanted:
        say(f"{name}:")
        try:
            outcomes.append(_measured(name, plan, options.venvs))
        except (Skipped, WrongResult, subprocess.TimeoutExpired) as problem:
            say(f"{name} is skipped: {problem}")
            outcomes.append(Outcome(name, "", "", skipped=str(problem)))
    rows = [row for outcome in outcomes for row in outcome.rows]
    print(as_markdown(rows))
    for outcome in outcomes:
        if outcome.skipped:
            print(f"- {outcome.contender} was skipped: {outcome.skipped}")
    keep(rows, outcomes, options.json, docs=options.docs)
    return 1 if any(row.wrong for row in rows) else 0


def _measured(name: str, plan: Plan, venvs: Path) -> Outcome:
    package = next((each for each in PACKAGES if each.name == name), None)
    return erlang.measure(plan) if package is None else _in_environment(package, plan, venvs)


def _in_environment(package: Package, plan: Plan, venvs: Path) -> Outcome:
    python = package.interpreter(venvs.resolve())
    arguments = ["--quick"] if plan.quick else ["--repeats", str(plan.repeats), "--share", str(plan.share)]
    done = subprocess.run(  # noqa: S603 - our script
        [str(python), "-W", "ignore", "-m", package.module, *arguments],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    if done.returncode != 0:
        raise Skipped(f"its script has failed: {' '.join(done.stderr.splitlines()[-1:])}")
    document = json.loads(done.stdout.splitlines()[-1])
    return Outcome(**{**document, "rows": [row_of(each) for each in document["rows"]]})


if __name__ == "__main__":
    sys.exit(main())
