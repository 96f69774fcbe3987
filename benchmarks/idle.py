"""W4 and W8: what 100,000 idle actors take, in memory and in wake-ups.

Each figure is taken in a process of its own, since memory that was freed is not always given back, and a collector that
has seen much is slower. This module is also what those processes run.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import selectors
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

from benchmarks.harness import PATIENCE, Plan, Row, Spread, WrongResult, expect, say
from benchmarks.spawning import Idle, Ping, idle_task
from understudy import ActorRef, ActorSystem, child

if TYPE_CHECKING:
    from _typeshed import FileDescriptorLike

__all__ = ["IdleCpu", "Memory"]

ROOT = Path(__file__).parent.parent
PING = Ping()


class Memory:
    """Bytes that an idle actor takes, beyond the user's own object; counted by tracemalloc, so the same every time."""

    workload = "W4"
    count = 100_000
    kinds: ClassVar = {"unnamed": "unnamed", "named": "named", "used": "unnamed, has handled a message"}

    def rows(self, plan: Plan) -> Iterator[Row]:
        count = plan.count(self.count)
        say(f"{self.workload}: memory of {count:,} idle actors")
        # They are counted, not timed, so they do not disturb one another.
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            kinds = {kind: pool.submit(_measured, "memory", kind, count) for kind in ("queue", *self.kinds)}
        for label, words in self.kinds.items():
            what = f"memory of one of {count:,} idle, {words}"
            try:
                queue, found = kinds["queue"].result()["bytes"], kinds[label].result()
            except WrongResult as error:
                yield Row.without_value(self.workload, label, what, error)
                continue
            yield Row(
                workload=self.workload,
                label=label,
                what=what,
                value=Spread.of([found["bytes"]]),
                unit="B",
                baseline=f"{queue:.0f} B",
                own=f"{found['bytes']:.0f} B, {found['tracked']:.1f} tracked objects",
            )


class IdleCpu:
    """How often 100,000 idle actors wake the process."""

    workload = "W8"
    count = 100_000
    seconds = 4.0

    def rows(self, plan: Plan) -> Iterator[Row]:
        count = plan.count(self.count)
        seconds = 0.2 if plan.quick else self.seconds
        say(f"{self.workload}: {count:,} idle actors for {seconds} s")
        try:
            queue = _measured("sleep", "queue", count, seconds)
            found = _measured("sleep", "used", count, seconds)
        except WrongResult as error:
            yield Row.without_value(self.workload, "wake-ups", f"{count:,} idle for {seconds:g} s", error)
            return
        for label, what, unit in (
            ("wake-ups", "wake-ups", ""),
            ("threads", "threads", ""),
            ("cpu", "processor time", "ms"),
            ("collection", "one full garbage collection", "ms"),
        ):
            yield Row(
                workload=self.workload,
                label=label,
                what=f"{count:,} idle for {seconds:g} s: {what}",
                value=Spread.of([found[label]]),
                unit=unit,
                baseline=f"{queue[label]:.0f} {unit}".strip(),
                own=f"{found[label]:.0f} {unit}".strip(),
            )


def _measured(what: str, kind: str, count: int, seconds: float = 0.0) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.idle", what, kind, str(count), str(seconds)]
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    try:
        done = subprocess.run(  # noqa: S603 - ourselves
            command, env=environment, stdout=subprocess.PIPE, text=True, check=False, timeout=2 * PATIENCE
        )
    except subprocess.TimeoutExpired:
        raise WrongResult(f"not done after {2 * PATIENCE:.0f} s") from None
    if done.returncode != 0:
        raise WrongResult(f"{' '.join(command[2:])} ended with exit code {done.returncode}")
    found: dict[str, float] = json.loads(done.stdout)
    return found


# --- In the process that measures -------------------------------------------------------------------------------------

Population: TypeAlias = Callable[[int, Callable[[], Awaitable[None]]], Awaitable[None]]
"""Brings so many to life, awaits what it is given, and lets them go."""


def actors(*, named: bool = False, used: bool = False) -> Population:
    async def populate(count: int, meanwhile: Callable[[], Awaitable[None]]) -> None:
        async with ActorSystem() as system:
            before = system.statistics().actors
            refs = [
                await system.spawn(child(Idle).options(name=f"idle-{number}") if named else child(Idle))
                for number in range(count)
            ]
            if used:
                await _use(refs)
            expect("alive", system.statistics().actors - before, count)
            await meanwhile()
            expect("alive", system.statistics().actors - before, count)
            expect("dead letters", system.statistics().dead_letters, 0)

    return populate


async def _use(refs: Sequence[ActorRef[Ping]]) -> None:
    pings = Idle.pings + len(refs)
    for ref in refs:
        ref.tell(PING)
    while Idle.pings < pings:  # noqa: ASYNC110 - to know it otherwise, each actor would have to hold more
        await asyncio.sleep(0)


async def queues(count: int, meanwhile: Callable[[], Awaitable[None]]) -> None:
    waiting: list[asyncio.Queue[Ping | None]] = [asyncio.Queue() for _ in range(count)]
    tasks = [asyncio.create_task(idle_task(queue)) for queue in waiting]
    await asyncio.sleep(0)
    await meanwhile()
    expect("alive", sum(not task.done() for task in tasks), count)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


POPULATIONS: dict[str, Population] = {
    "queue": queues,
    "unnamed": actors(),
    "named": actors(named=True),
    "used": actors(used=True),
}


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


async def memory(kind: str, count: int) -> dict[str, float]:
    """Bytes and objects known to the garbage collector, for each; of an actor what is beyond the user's own object."""
    populate = POPULATIONS[kind]
    await populate(10, _nothing)  # what is made once only
    gc.collect()
    found: dict[str, float] = {}
    tracemalloc.start()
    own_bytes = own_objects = 0.0
    if kind != "queue":
        start, objects = _memory()
        mine = [Idle() for _ in range(count)]
        bytes_now, objects_now = _memory()
        own_bytes, own_objects = bytes_now - start, objects_now - objects
        del mine
    start, objects = _memory()

    async def look() -> None:
        bytes_now, objects_now = _memory()
        found["bytes"] = (bytes_now - start - own_bytes) / count
        found["tracked"] = (objects_now - objects - own_objects) / count
        tracemalloc.stop()

    await populate(count, look)
    return found


def _memory() -> tuple[int, int]:
    gc.collect()
    return tracemalloc.get_traced_memory()[0], len(gc.get_objects())


async def _nothing() -> None:
    pass


async def sleep(kind: str, count: int, seconds: float, selector: CountingSelector) -> dict[str, float]:
    """What happens while nothing happens."""
    found: dict[str, float] = {}

    async def doze() -> None:
        # Several garbage collections and all that was only just handled lie behind.
        for _ in range(3):
            await asyncio.sleep(0)
        start = time.perf_counter()
        gc.collect()
        found["collection"] = (time.perf_counter() - start) * 1e3
        wake_ups, cpu = selector.calls, time.process_time()
        await asyncio.sleep(seconds)
        found["cpu"] = (time.process_time() - cpu) * 1e3
        found["wake-ups"] = float(selector.calls - wake_ups)
        found["threads"] = float(threading.active_count())

    await doze()
    alone = found["wake-ups"]
    await POPULATIONS[kind](count, doze)
    found["wake-ups"] = max(found["wake-ups"] - alone, 0.0)
    return found


def main(what: str, kind: str, count: str, seconds: str) -> None:
    """Measure, and print what was found as JSON."""
    gc.freeze()
    selector = CountingSelector()
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selector)) as runner:
        if what == "memory":
            found = runner.run(memory(kind, int(count)))
        else:
            found = runner.run(sleep(kind, int(count), float(seconds), selector))
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
