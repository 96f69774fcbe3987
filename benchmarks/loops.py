"""W1 to W3 on uvloop, if it is installed: the same actors, and Q on the same event loop."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec

from benchmarks import asks, ring, tells
from benchmarks.harness import Plan, Row, event_loops, say

__all__ = ["OnUvloop"]

CONTENDER = "understudy on uvloop"


class OnUvloop:
    """What the other event loop changes, as ratios to Q on it."""

    workload = "uvloop"

    def rows(self, plan: Plan) -> Iterator[Row]:
        if find_spec("uvloop") is None:
            say("uvloop is not installed, and not measured; make bench installs it")
            return
        with event_loops(import_module("uvloop").new_event_loop):
            for workload in (*tells.WORKLOADS, *asks.WORKLOADS, *ring.WORKLOADS):
                sides = tuple(replace(side, contender=CONTENDER) for side in workload.sides)
                yield from workload.with_sides(*sides).rows(plan)
