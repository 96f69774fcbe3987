"""What is demanded of each workload, and what is hoped for."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Literal, TypeAlias

from benchmarks.harness import OWN, Row

__all__ = ["SYNC", "ASYNC", "Target", "Verdict", "judge", "target"]

SYNC = "def handler"
ASYNC = "async def handler"

Verdict: TypeAlias = Literal["stretch", "must", "falls short", "wrong result", ""]


@dataclass(frozen=True, slots=True)
class Target:
    """The value that must be reached, and the one that is wanted."""

    must: float
    stretch: float
    more: bool = True
    """Whether more is better."""

    def reached(self, value: float, goal: float) -> bool:
        """Whether *value* is at least as good as *goal*."""
        return value >= goal if self.more else value <= goal


EAGER = sys.version_info >= (3, 12)
"""A task may run to its first suspension where it is made, which spares a turn of the event loop for each pump."""

NOISE = 0.15
"""What two runs of the same may differ by; where a thing must not cost more than another, it is taken for no more."""

QUEUE = (
    "put_nowait, then get_nowait",
    "put_nowait alone",
    "get_nowait alone",
    "await put, then await get",
    "await put alone",
    "await get alone",
    "put_nowait to a waiting getter",
    "there and back through two queues",
    "a putter and a getter",
    "10 putters and 10 getters",
    *(
        f"{call}{waits}, against {other}"
        for other in ("wait_for", "asyncio.timeout")
        for call in ("get(timeout=)", "put(timeout=)")
        for waits in ("", " that waits")
    ),
    "get_batch(100), against as many get_nowait",
)
"""What the queue must do at least as fast as `asyncio.Queue`, or what is done with that by hand."""

CURVES = (
    "cost of a message by number of actors: a message",
    "cost of a message by messages that wait: a message",
    "a restart by number of siblings: one_for_one",
    "trees by levels: start, a level",
    "trees by levels: stop, a level",
    "trees by levels: restart of the leaf",
    "memory by number: an idle actor",
    "memory by number: a waiting message",
)
"""What must not grow faster than the number does."""

TARGETS: dict[tuple[str, str], Target] = {
    ("W1a", SYNC): Target(1.2, 1.5),
    ("W1a", ASYNC): Target(0.85, 1.0),
    ("W1b", SYNC): Target(1.4, 1.8),
    ("W1b", ASYNC): Target(0.9, 1.1),
    ("W2", SYNC): Target(0.9, 1.1),
    ("W2", ASYNC): Target(0.65 if EAGER else 0.5, 0.85),
    ("W2c", SYNC): Target(0.7, 1.0),
    ("W2c", ASYNC): Target(0.6, 1.0),
    ("W3", SYNC): Target(3.5, 4.5),
    ("W3", ASYNC): Target(1.2 if EAGER else 0.45, 2.0),
    ("W4", "one after another"): Target(1.5, 1.0, more=False),
    ("W4", "at once"): Target(0.7, 0.4, more=False),
    ("W4", "unnamed"): Target(700, 500, more=False),
    ("W4", "named"): Target(800, 500, more=False),
    ("W5", SYNC): Target(3.5, 5.0),
    ("W5", ASYNC): Target(2.5 if EAGER else 1.6, 4.0),
    ("W5", f"until handled, {SYNC}"): Target(0.6, 0.6, more=False),
    ("W5", f"until handled, {ASYNC}"): Target(1.2 if EAGER else 1.9, 1.2, more=False),
    ("W6", SYNC): Target(1.6, 1.2, more=False),
    ("W6", ASYNC): Target(2.5, 1.2, more=False),
    ("W7", "get_nowait(key=)"): Target(1.0, 0.5, more=False),
    ("W7", "await get(key=)"): Target(1.0, 0.5, more=False),
    ("W7", "put_nowait"): Target(1.0 + NOISE, 1.0, more=False),
    ("A6", "p99"): Target(10, 2, more=False),
    ("W8", "wake-ups"): Target(0, 0, more=False),
    ("W8", "threads"): Target(1, 1, more=False),
    ("W9", "new"): Target(1.0 + NOISE, 1.0, more=False),
    ("W9", "encode, as JSON"): Target(1.5, 1.2, more=False),
    ("W9", "decode, as JSON"): Target(3.0, 2.0, more=False),
    ("W9", "validations"): Target(1, 1, more=False),
    ("W10", "ask"): Target(1.5, 1.2, more=False),
    ("W10", "tell"): Target(3.0, 5.0),
    ("W11", "import"): Target(2.0, 1.5, more=False),
    ("W11", "start"): Target(100, 50, more=False),
    ("W12", "idle"): Target(0.5, 0.1, more=False),
    ("W12", "for load"): Target(0.5, 0.1, more=False),
    ("W12", "memory"): Target(0.8, 0.8, more=False),
    ("W12", "p99"): Target(1.0, 1.0, more=False),
    ("W13", ASYNC): Target(0.9 if EAGER else 0.8, 1.1),
    **{("curve", label): Target(1.1, 1.0, more=False) for label in CURVES},
    **{("MQ", label): Target(1.0, 1.2) for label in QUEUE},
}


def target(row: Row) -> Target | None:
    """What is asked of it; None where a line is for information, as that of anybody else is."""
    return TARGETS.get((row.workload, row.label)) if row.contender == OWN else None


def judge(value: float, wanted: Target | None) -> Verdict:
    """The better of the two that *value* reaches."""
    if wanted is None:
        return ""
    if wanted.reached(value, wanted.stretch):
        return "stretch"
    return "must" if wanted.reached(value, wanted.must) else "falls short"
