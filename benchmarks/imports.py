"""W11: how long the import takes, against that of what understudy cannot do without."""

from __future__ import annotations

import statistics
import subprocess
import sys
from collections.abc import Iterator

from benchmarks.harness import Plan, Row, Spread, expect, say

__all__ = ["ImportTime"]

DEPENDENCIES = "import asyncio, structlog, tenacity, typing_extensions; from pydantic import BaseModel, ConfigDict"
PACKAGE = "import understudy; understudy.Actor, understudy.ActorSystem, understudy.Supervisor"

TIMED = """
import sys, time
start = time.perf_counter()
{statement}
print(time.perf_counter() - start, "understudy" in sys.modules)
"""


class ImportTime:
    """Seconds from before the import to after it, in a fresh interpreter each time, in turns."""

    workload = "W11"

    def rows(self, plan: Plan) -> Iterator[Row]:
        say(f"{self.workload}: import time")
        if not plan.quick:
            for statement in (DEPENDENCIES, PACKAGE):
                _seconds(statement)  # writes the bytecode
        dependencies: list[float] = []
        package: list[float] = []
        for _ in range(1 if plan.quick else 2 * plan.repeats):
            dependencies.append(_seconds(DEPENDENCIES))
            package.append(_seconds(PACKAGE))
        yield Row(
            workload=self.workload,
            label="import",
            what="import understudy, against its dependencies alone",
            value=Spread.of(ours / theirs for ours, theirs in zip(package, dependencies, strict=True)),
            unit="x time",
            baseline=f"{statistics.median(dependencies) * 1e3:.0f} ms",
            own=f"{statistics.median(package) * 1e3:.0f} ms",
            samples={"dependencies": dependencies, "understudy": package},
        )


def _seconds(statement: str) -> float:
    command = [sys.executable, "-c", TIMED.format(statement=statement)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603 - ourselves
    seconds, imported = done.stdout.split()
    expect("understudy is imported", imported == "True", statement == PACKAGE)
    return float(seconds)
