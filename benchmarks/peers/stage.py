"""What the script of a peer does: it measures the workloads that the package can do, and prints them as JSON."""

from __future__ import annotations

import argparse
import gc
import importlib.metadata
import json
import logging
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

from benchmarks.buses import Bus, Latency, deliveries, publications
from benchmarks.common import ASK, ASK_AT_ONCE, BURST, COME_AND_GO, COMMON, DELIVER, MANY, PACED, PUBLISH, RESTART, RING
from benchmarks.harness import Comparison, Plan, Row, Run, Side

__all__ = [
    "ASK",
    "ASK_AT_ONCE",
    "BURST",
    "COME_AND_GO",
    "DELIVER",
    "NO_ACTORS",
    "NO_EVENTS",
    "PACED",
    "PUBLISH",
    "RESTART",
    "RING",
    "Outcome",
    "Way",
    "bus_ways",
    "main",
]

NO_ACTORS: Mapping[Comparison, str] = dict.fromkeys(
    (BURST, PACED, ASK, ASK_AT_ONCE, RING, COME_AND_GO, RESTART), "is an event bus, and has no actors"
)
NO_EVENTS: Mapping[Comparison, str] = dict.fromkeys((DELIVER, PUBLISH), "has no event bus")


@dataclass(frozen=True)
class Way:
    """How a package does a workload."""

    run: Run
    share: float = 1.0
    """What part of the messages, where all of them would take for ever."""


@dataclass(frozen=True)
class Outcome:
    """What one process has found out."""

    contender: str
    version: str
    python: str
    rows: Sequence[Row] = ()
    cannot: Mapping[str, str] = field(default_factory=dict[str, str])
    """What it cannot do, by the words of the workload, and why."""
    note: str = ""
    """What has to be known to read its figures."""
    skipped: str = ""
    """Why it was not measured at all."""


def bus_ways(bus: Bus, share: float = 1.0) -> dict[Comparison, Way]:
    """What an event bus does."""
    return {DELIVER: Way(deliveries(bus), share), PUBLISH: Way(publications(bus), share)}


def main(
    package: str,
    ways: Mapping[Comparison, Way],
    cannot: Mapping[Comparison, str],
    *,
    bus: Bus | None = None,
    bus_share: float = 1.0,
    bus_up_to: int = MANY,
    note: str = "",
) -> None:
    """Measure *ways* and print an :class:`Outcome`; for *bus* the latencies too.

    What is neither among them nor in *cannot* is a mistake of the script.
    """
    parser = argparse.ArgumentParser(description=f"Measure {package}.")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--share", type=float, default=1.0)
    options = parser.parse_args()
    left_out = [each.what for each in COMMON if each not in ways and each not in cannot]
    assert not left_out, left_out
    plan = Plan(repeats=1, quick=True) if options.quick else Plan(repeats=options.repeats, share=options.share)
    logging.disable(logging.CRITICAL)
    gc.freeze()
    rows = [
        row
        for each in COMMON
        if each in ways
        for row in each.with_sides(Side("", ways[each].run, package, ways[each].share)).rows(plan)
    ]
    if bus is not None:
        rows += Latency(bus, package, bus_share, bus_up_to).rows(plan)
    outcome = Outcome(
        contender=package,
        version=importlib.metadata.version(package),
        python=platform.python_version(),
        rows=rows,
        cannot={each.what.format(count=plan.count(each.count)): why for each, why in cannot.items()},
        note=note,
    )
    print(json.dumps(asdict(outcome)))
