"""The workloads that understudy shares with other packages: what is done, how often, and Q.

Each of them is completed with the sides that do it: ``BURST.with_sides(Side(...))``.
"""

from __future__ import annotations

from benchmarks.baselines import bare, bare_lives
from benchmarks.harness import Comparison

__all__ = [
    "ASK",
    "ASK_AT_ONCE",
    "BURST",
    "COME_AND_GO",
    "COMMON",
    "DELIVER",
    "FEW",
    "MANY",
    "PACED",
    "PUBLISH",
    "RESTART",
    "RING",
    "RING_SIZE",
]

RING_SIZE = 1_000
MANY = 1_000
"""Subscribers of an event whose deliveries are counted."""
FEW = 10
"""Subscribers of an event whose publisher waits until they have handled it."""

BURST = Comparison("W1a", "tell, {count:,} at once, unlimited mailbox", 200_000, bare.burst)
PACED = Comparison("W1b", f"tell, {{count:,}}, the sender yields every {bare.BREATH}", 200_000, bare.paced)
ASK = Comparison("W2", "ask, one after another", 20_000, bare.asked_in_turn, shown="time")
ASK_AT_ONCE = Comparison("W2c", f"ask, {bare.ASKERS} at once", 50_000, bare.asked_at_once)
RING = Comparison("W3", f"a token goes round {RING_SIZE:,}, {{count:,}} hops", 100_000, bare.ring(RING_SIZE))
COME_AND_GO = Comparison("W4", "spawn and stop", 5_000, bare_lives.come_and_go, shown="time", ratio="time")
DELIVER = Comparison(
    "W5", f"an event to {MANY:,} subscribers, deliveries", 50 * MANY, bare_lives.deliver(MANY, each=True)
)
PUBLISH = Comparison(
    "W5", f"publish to {FEW} and wait", 2_000, bare_lives.deliver(FEW, each=False), shown="time", ratio="time"
)
RESTART = Comparison("W6", "from a crash to the next answer", 3_000, bare_lives.restarted, shown="time", ratio="time")

COMMON = (BURST, PACED, ASK, ASK_AT_ONCE, RING, COME_AND_GO, DELIVER, PUBLISH, RESTART)
"""In the order of their tables."""
