"""W4 and W8: what 100,000 idle actors take, in memory and in wake-ups.

Each figure is taken in a process of its own, since memory that was freed is not always given back, and a collector that
has seen much is slower. This module is also what those processes run.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import json
import os
import selectors
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Awaitable, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from benchmarks.baselines.bare_lives import consume_until_told
from benchmarks.harness import PATIENCE, Plan, Row, Spread, WrongResult, expect, say
from benchmarks.spawning import Idle, Ping, Pool
from understudy import ActorSystem, child

if TYPE_CHECKING:
    from _typeshed import FileDescriptorLike

__all__ = ["Memory", "Sleep"]

ROOT = Path(__file__).parent.parent
PING = Ping()
COUNT = 100_000


class Memory:
    """Bytes that an idle actor takes, beyond the user's own object; counted by tracemalloc, so the same every time."""

    workload = "W4"

    def rows(self, plan: Plan) -> Iterator[Row]:
        count = plan.count(COUNT)
        say(f"{self.workload}: memory of {count:,} idle actors")
        for label, kind, words in (
            ("unnamed", "unnamed", "unnamed"),
            ("named", "named", "named"),
            ("used", "unnamed", "unnamed, has handled a message"),
        ):
            what = f"memory of one of {count:,} idle, {words}"
            measured = Measured.of(plan)
            try:
                queue, own = measured.found("queue"), measured.found(kind)
            except WrongResult as error:
                yield Row.without_value(self.workload, label, what, error)
                continue
            size, tracked = ("used bytes", "used tracked") if label == "used" else ("bytes", "tracked")
            yield Row(
                workload=self.workload,
                label=label,
                what=what,
                value=Spread.of([own[size]]),
                unit="B",
                baseline=f"{queue[size]:.0f} B",
                own=f"{own[size]:.0f} B, {own[tracked]:.1f} tracked objects",
            )


class Sleep:
    """How often 100,000 idle actors wake the process; each of them has handled a message before."""

    workload = "W8"

    def rows(self, plan: Plan) -> Iterator[Row]:
        count = plan.count(COUNT)
        say(f"{self.workload}: {count:,} idle actors for {_seconds(plan):g} s")
        for label, words, unit in (
            ("wake-ups", "wake-ups", ""),
            ("threads", "threads", ""),
            ("cpu", "processor time", "ms"),
            ("collection", "one full garbage collection", "ms"),
        ):
            what = f"{count:,} idle for {_seconds(plan):g} s: {words}"
            measured = Measured.of(plan)
            try:
                queue, own = measured.found("queue"), measured.found("unnamed")
            except WrongResult as error:
                yield Row.without_value(self.workload, label, what, error)
                continue
            yield Row(
                workload=self.workload,
                label=label,
                what=what,
                value=Spread.of([own[label]]),
                unit=unit,
                baseline=f"{queue[label]:.0f} {unit}".strip(),
                own=f"{own[label]:.0f} {unit}".strip(),
            )


class Measured:
    """What the processes find. They count rather than time, so they may run at once; each kind is measured once."""

    def __init__(self, plan: Plan) -> None:
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            self._runs = {kind: pool.submit(_run, kind, plan.count(COUNT), _seconds(plan)) for kind in KINDS}

    @classmethod
    @functools.cache
    def of(cls, plan: Plan) -> Measured:
        """Those for *plan*, measured when they are first wanted."""
        return cls(plan)

    def found(self, kind: str) -> dict[str, float]:
        """What was found, or the :class:`WrongResult`."""
        return self._runs[kind].result()


def _seconds(plan: Plan) -> float:
    return 0.2 if plan.quick else 3.0


def _run(kind: str, count: int, seconds: float) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.idle", kind, str(count), str(seconds)]
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    try:
        done = subprocess.run(  # noqa: S603 - ourselves
            command, env=environment, stdout=subprocess.PIPE, text=True, check=False, timeout=10 * PATIENCE
        )
    except subprocess.TimeoutExpired:
        raise WrongResult(f"not done after {10 * PATIENCE:.0f} s") from None
    if done.returncode != 0:
        raise WrongResult(f"{' '.join(command[2:])} ended with exit code {done.returncode}")
    found: dict[str, float] = json.loads(done.stdout)
    return found


# --- In the process that measures -------------------------------------------------------------------------------------

Look: TypeAlias = Callable[[], Awaitable[None]]
Population: TypeAlias = Callable[[int, Look, Look], Awaitable[None]]
"""Brings so many to life, awaits the first look, sends each a message, awaits the second, and lets them go."""


async def actors(count: int, fresh: Look, used: Look, *, named: bool = False) -> None:
    async with ActorSystem(Pool) as system:
        pool = system.lookup("pool", Pool)
        before = system.statistics().actors
        refs = [
            await pool.start_child(child(Idle).options(name=f"idle-{number}") if named else child(Idle))
            for number in range(count)
        ]
        await fresh()
        pings = Idle.pings + count
        for ref in refs:
            ref.tell(PING)
        while Idle.pings < pings:  # noqa: ASYNC110 - to know it otherwise, each actor would have to hold more
            await asyncio.sleep(0)
        await used()
        expect("alive", system.statistics().actors - before, count)
        expect("handled", Idle.pings, pings)
        expect("dead letters", system.statistics().dead_letters, 0)


async def named_actors(count: int, fresh: Look, used: Look) -> None:
    await actors(count, fresh, used, named=True)


async def queues(count: int, fresh: Look, used: Look) -> None:
    waiting: list[asyncio.Queue[Ping | None]] = [asyncio.Queue() for _ in range(count)]
    tasks = [asyncio.create_task(consume_until_told(queue)) for queue in waiting]
    await asyncio.sleep(0)
    await fresh()
    for queue in waiting:
        queue.put_nowait(PING)
    for _ in range(3):
        await asyncio.sleep(0)
    await used()
    expect("alive", sum(not task.done() for task in tasks), count)
    expect("left", sum(queue.qsize() for queue in waiting), 0)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


KINDS: dict[str, Population] = {"queue": queues, "unnamed": actors, "named": named_actors}


class CountingSelector(selectors.BaseSelector):
    """Counts how often an event loop has woken up."""

    def __init__(self) -> None:
        self.calls = 0
        self._selector = selectors.DefaultSelector()

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self.calls += 1
        return self._selector.select(timeout)

    def register(self, fileobj: FileDescriptorLike, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._selector.register(fileobj, events, data)

    def unregister(self, fileobj: FileDescriptorLike) -> selectors.SelectorKey:
        return self._selector.unregister(fileobj)

    def modify(self, fileobj: FileDescriptorLike, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._selector.modify(fileobj, events, data)

    def get_map(self) -> Mapping[FileDescriptorLike, selectors.SelectorKey]:
        return self._selector.get_map()

    def close(self) -> None:
        self._selector.close()


async def measure(kind: str, count: int, seconds: float, selector: CountingSelector) -> dict[str, float]:
    """Bytes, and objects known to the garbage collector, of each; then what happens while nothing happens."""
    populate = KINDS[kind]
    await populate(10, _nothing, _nothing)  # what is made once only
    alone = await _doze(seconds / 10, selector)
    tracemalloc.start()
    own_bytes, own_objects = (0, 0) if kind == "queue" else _size_of(count)
    bytes_before, objects_before = _memory()
    found: dict[str, float] = {}

    def weigh(prefix: str) -> None:
        bytes_now, objects_now = _memory()
        found[f"{prefix}bytes"] = (bytes_now - bytes_before - own_bytes) / count
        found[f"{prefix}tracked"] = (objects_now - objects_before - own_objects) / count

    async def fresh() -> None:
        weigh("")

    async def used() -> None:
        weigh("used ")
        tracemalloc.stop()
        found.update(await _doze(seconds, selector))
        found["wake-ups"] = max(found["wake-ups"] - alone["wake-ups"], 0.0)

    await populate(count, fresh, used)
    return found


def _size_of(count: int) -> tuple[int, int]:
    """Bytes and objects of so many of the user's own objects."""
    bytes_before, objects_before = _memory()
    mine = [Idle() for _ in range(count)]
    bytes_now, objects_now = _memory()
    del mine
    return bytes_now - bytes_before, objects_now - objects_before


def _memory() -> tuple[int, int]:
    gc.collect()
    return tracemalloc.get_traced_memory()[0], len(gc.get_objects())


async def _nothing() -> None:
    pass


async def _doze(seconds: float, selector: CountingSelector) -> dict[str, float]:
    start = time.perf_counter()
    gc.collect()
    collection = (time.perf_counter() - start) * 1e3
    wake_ups, cpu = selector.calls, time.process_time()
    await asyncio.sleep(seconds)
    return {
        "collection": collection,
        "cpu": (time.process_time() - cpu) * 1e3,
        "wake-ups": float(selector.calls - wake_ups),
        "threads": float(threading.active_count()),
    }


def main(kind: str, count: str, seconds: str) -> None:
    """Measure, and print what was found as JSON."""
    gc.freeze()
    selector = CountingSelector()
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selector)) as runner:
        found = runner.run(measure(kind, int(count), float(seconds), selector))
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
