"""``python -m benchmarks``: measure, print a table, say what falls short."""

from __future__ import annotations

import argparse
import gc
import logging
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import structlog

from benchmarks import (
    asks,
    events,
    fairness,
    idle,
    imports,
    loops,
    messages,
    old_design,
    pools,
    queues,
    remote,
    restarts,
    ring,
    scaling,
    spawning,
    starting,
    suspending,
    tells,
)
from benchmarks.harness import Plan, Row, say
from benchmarks.page import keep
from benchmarks.report import as_markdown


class Workload(Protocol):
    """Something to measure."""

    @property
    def workload(self) -> str:
        """Its id, such as ``W1a``."""
        ...

    def rows(self, plan: Plan) -> Iterator[Row]:
        """Measure it."""
        ...


WORKLOADS: tuple[Workload, ...] = (
    *tells.WORKLOADS,
    *asks.WORKLOADS,
    *ring.WORKLOADS,
    *spawning.WORKLOADS,
    *events.WORKLOADS,
    *restarts.WORKLOADS,
    *queues.WORKLOADS,
    *pools.WORKLOADS,
    *remote.WORKLOADS,
    fairness.Fairness(),
    idle.Memory(),
    idle.Sleep(),
    *messages.WORKLOADS,
    imports.ImportTime(),
    starting.StartTime(),
    old_design.OldDesign(),
    *suspending.WORKLOADS,
    *scaling.CURVES,
    loops.OnUvloop(),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what *arguments* ask for.

    What falls short is marked and is no failure, since machines are noisy; a wrong result is one.
    """
    known = list(dict.fromkeys(workload.workload for workload in WORKLOADS))
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Ratios against a bare asyncio.Queue.")
    parser.add_argument("--only", metavar="IDS", help=f"only these, with commas: {', '.join(known)}; W1 is W1a and W1b")
    parser.add_argument("--json", type=Path, metavar="FILE", help="merge all that was measured into this file")
    parser.add_argument("--docs", action="store_true", help="merge it into the page and the pictures of the docs")
    parser.add_argument("--full", action="store_true", help="scaling up to a million actors, which takes minutes")
    parser.add_argument("--repeats", type=int, default=5, help="samples of each")
    parser.add_argument("--share", type=float, default=1.0, help="what part of the usual number to do in each")
    parser.add_argument("--quick", action="store_true", help="few and small samples: does it work at all?")
    options = parser.parse_args(arguments)
    wanted = options.only.split(",") if options.only else known
    for name in wanted:
        if not any(_means(name, workload) for workload in known):
            parser.error(f"there is no workload {name!r}; there are {', '.join(known)}")

    prepare()
    start = time.perf_counter()
    thorough = Plan(repeats=options.repeats, full=options.full, share=options.share)
    plan = Plan(repeats=1, quick=True) if options.quick else thorough
    rows = [
        row
        for workload in WORKLOADS
        if any(_means(name, workload.workload) for name in wanted)
        for row in workload.rows(plan)
    ]
    say(f"measured for {time.perf_counter() - start:.0f} s\n")
    print(as_markdown(rows))
    keep(rows, (), options.json, docs=options.docs)
    return 1 if any(row.wrong for row in rows) else 0


def prepare() -> None:
    """Quieten this process."""
    # Lines in a log are no part of any workload, and those that these workloads cause repeat themselves.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    # What is alive now is the same for both sides, so the collector need not look at it in either.
    gc.freeze()


def _means(name: str, workload: str) -> bool:
    """Whether *name* is the workload's id, or that without its last letter."""
    return name == workload or name == workload.rstrip("abcdefghijklmnopqrstuvwxyz")


if __name__ == "__main__":
    sys.exit(main())
