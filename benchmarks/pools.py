"""TP: borrowing and giving back, against what one does by hand with `asyncio.Queue` or `asyncio.Semaphore`; no actors.

Connections are objects that cost nothing, so that what is measured is the pool. The ways by hand know no time limit, no
health check and no lifetime, and nothing of who has what.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from benchmarks.harness import Comparison, Run, Side, Stopwatch, expect
from understudy.transports import AsyncTransportPool, PoolSettings

__all__ = ["WORKLOADS"]

CROWD = 50
"""How many tasks share the connections."""
SIZE = 10
"""How many connections they share."""


class Wire:
    """A connection, which counts how often it was lent."""

    def __init__(self) -> None:
        self.uses = 0


Use: TypeAlias = Callable[[int, bool], Awaitable[None]]
"""Borrows so many times, one after another; True: the event loop turns while it has the connection."""


def queued(wires: list[Wire]) -> Use:
    """Those that are free wait in a queue."""
    queue: asyncio.Queue[Wire] = asyncio.Queue()
    for each in wires:
        queue.put_nowait(each)

    async def use(count: int, waits: bool) -> None:
        for _ in range(count):
            wire = await queue.get()
            try:
                wire.uses += 1
                if waits:
                    await asyncio.sleep(0)
            finally:
                queue.put_nowait(wire)

    return use


def guarded(wires: list[Wire]) -> Use:
    """A semaphore counts them."""
    semaphore, free = asyncio.Semaphore(len(wires)), deque(wires)

    async def use(count: int, waits: bool) -> None:
        for _ in range(count):
            async with semaphore:
                wire = free.pop()
                try:
                    wire.uses += 1
                    if waits:
                        await asyncio.sleep(0)
                finally:
                    free.append(wire)

    return use


def pooled(wires: list[Wire]) -> Use:
    """Ours, with time limits and lifetimes, as it comes."""
    spare = deque(wires)
    pool = AsyncTransportPool(spare.popleft, close=spare.append, settings=PoolSettings(max_size=len(wires)))

    async def use(count: int, waits: bool) -> None:
        for _ in range(count):
            async with pool.acquire() as wire:
                wire.uses += 1
                if waits:
                    await asyncio.sleep(0)

    return use


def leased(wires: list[Wire]) -> Use:
    """The same by leases."""
    spare = deque(wires)
    pool = AsyncTransportPool(spare.popleft, close=spare.append, settings=PoolSettings(max_size=len(wires)))

    async def use(count: int, waits: bool) -> None:
        for _ in range(count):
            lease = await pool.acquire()
            try:
                lease.connection.uses += 1
                if waits:
                    await asyncio.sleep(0)
            finally:
                lease.release()

    return use


def alone(way: Callable[[list[Wire]], Use]) -> Run:
    """One task, which never has to wait."""

    async def run(count: int, watch: Stopwatch) -> None:
        wires = [Wire() for _ in range(SIZE)]
        use = way(wires)
        await use(1, False)  # what has to be opened is open
        with watch:
            await use(count, False)
        expect("uses", sum(wire.uses for wire in wires), count + 1)

    return run


def in_a_crowd(way: Callable[[list[Wire]], Use]) -> Run:
    """More tasks than connections, so that somebody waits all the time."""

    async def run(count: int, watch: Stopwatch) -> None:
        wires, each = [Wire() for _ in range(SIZE)], max(count // CROWD, 1)
        use = way(wires)
        tasks = [asyncio.ensure_future(use(each, True)) for _ in range(CROWD)]
        with watch:
            await asyncio.wait(tasks)
        expect("failures", [task.exception() for task in tasks if task.exception()], [])
        expect("uses", sum(wire.uses for wire in wires), each * CROWD)

    return run


def compared(workload: str, what: str, kind: Callable[[Callable[[list[Wire]], Use]], Run], count: int) -> Comparison:
    sides = (Side("async with", kind(pooled)), Side("lease", kind(leased)), Side("asyncio.Semaphore", kind(guarded)))
    return Comparison(workload, what, count, kind(queued), sides)


WORKLOADS = (
    compared("TPa", "{count} times borrow and give back, alone", alone, 20_000),
    compared("TPb", f"{{count}} times, {CROWD} tasks and {SIZE} connections", in_a_crowd, 10_000),
)
