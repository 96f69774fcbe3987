"""The gate: how many bytecode instructions an operation takes, against the figures in ``gate.json``.

Times depend on what else the machine does; how many instructions Python executes does not. Each operation is done a
number of times in a system whose clock stands still, so that no slice ends early and no timer is due, and the
instructions of all Python code are counted: of the runtime, of the handlers, of asyncio. What C code does is not seen.

    python -m benchmarks.gate            # compare; fails when something takes more than the margin more
    python -m benchmarks.gate --renew    # write the figures of each supported Python that is found; make gate-renew
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import subprocess
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from benchmarks.asks import ONE, Adder, AsyncAdder
from benchmarks.counter import Counter as Deliveries
from benchmarks.counter import awaited, plain
from benchmarks.events import TICK as EVENT
from benchmarks.events import Tick as Event
from benchmarks.harness import expect
from benchmarks.peers.environments import interpreters
from benchmarks.restarts import ANY_NUMBER, FAIL, WHICH, AsyncPlayer, Player, unwritten
from benchmarks.spawning import Idle, Ping, Pool
from understudy import ActorSystem, ChildSpec, Supervisor, child, supervisor

__all__ = ["FIGURES", "MARGIN", "OPERATIONS", "compare", "count", "main"]

FIGURES = Path(__file__).with_name("gate.json")
MARGIN = 0.05
"""How much more something may take; less is always welcome, and to be renewed."""
FEW = 64
VERSION = "{}.{}".format(*sys.version_info[:2])
SUPPORTED = ("3.11", "3.12", "3.13", "3.14")

Operation = Callable[["Meter"], Awaitable[None]]


class Meter:
    """Counts instructions while it is on."""

    def __init__(self) -> None:
        self.count = 0

    if sys.version_info >= (3, 12):

        @contextmanager
        def on(self) -> Generator[None]:
            """Count what is executed."""
            monitoring: Any = sys.monitoring
            tool, events = monitoring.PROFILER_ID, monitoring.events

            def executed(code: object, offset: int) -> None:
                self.count += 1

            monitoring.use_tool_id(tool, "understudy gate")
            monitoring.register_callback(tool, events.INSTRUCTION, executed)
            monitoring.set_events(tool, events.INSTRUCTION)
            try:
                yield
            finally:
                monitoring.set_events(tool, 0)
                monitoring.register_callback(tool, events.INSTRUCTION, None)
                monitoring.free_tool_id(tool)

    else:

        @contextmanager
        def on(self) -> Generator[None]:
            """Count what is executed."""
            before = sys.gettrace()

            def trace(frame: FrameType, event: str, argument: object) -> Any:
                frame.f_trace_opcodes, frame.f_trace_lines = True, False
                if event == "opcode":
                    self.count += 1
                return trace

            frames: list[FrameType] = []
            frame: FrameType | None = sys._getframe(2)
            while frame is not None:
                frames.append(frame)
                frame.f_trace = trace
                frame = frame.f_back
            sys.settrace(trace)
            try:
                yield
            finally:
                sys.settrace(before)
                for frame in frames:
                    frame.f_trace = None


class StillLoop(asyncio.SelectorEventLoop):
    """An event loop on which no time passes, so that what happens depends on nothing but the program."""

    def time(self) -> float:
        return 1_000.0


@asynccontextmanager
async def still(tree: type[Supervisor] | ChildSpec[Any] | None = None) -> AsyncGenerator[ActorSystem]:
    """A system for whose dispatcher no time passes either."""
    async with ActorSystem(tree) as system:
        system._running().env.stopwatch = lambda: 1_000.0
        yield system


async def tell(meter: Meter) -> None:
    async with still() as system:
        ref, ping, before = await system.spawn(Idle), Ping(), Idle.pings
        await _told(ref, ping)
        with meter.on():
            await _told(ref, ping)
        expect("handled", Idle.pings - before, 2 * FEW)


async def _told(ref: Any, message: object) -> None:
    for _ in range(FEW):
        ref.tell(message)
    await asyncio.sleep(0)
    await asyncio.sleep(0)


def ask(cls: type[Adder] | type[AsyncAdder]) -> Operation:
    async def operation(meter: Meter) -> None:
        async with still() as system:
            ref = await system.spawn(cls)
            await ref.ask(ONE)
            with meter.on():
                for _ in range(FEW):
                    await ref.ask(ONE)

    return operation


async def come_and_go(meter: Meter) -> None:
    async with still(Pool) as system:
        pool = system.lookup("pool", Pool)
        await _come_and_go(pool, 2)
        with meter.on():
            await _come_and_go(pool, FEW)


async def _come_and_go(pool: Any, times: int) -> None:
    for _ in range(times):
        ref = await pool.start_child(Idle)
        ref.stop()
        await ref.wait_stopped()


def crash(cls: type[Player] | type[AsyncPlayer]) -> Operation:
    async def operation(meter: Meter) -> None:
        tree = supervisor("top", child(cls).options(name="player"), max_restarts=ANY_NUMBER)
        with unwritten():
            async with still(tree) as system:
                ref = system.lookup("top/player")
                await _crash(ref, 2)
                with meter.on():
                    await _crash(ref, FEW)

    return operation


async def _crash(ref: Any, times: int) -> None:
    for _ in range(times):
        ref.tell(FAIL)
        await ref.ask(WHICH)


def publish(make: Callable[[Deliveries], Callable[[Any], object]]) -> Operation:
    async def operation(meter: Meter) -> None:
        counter = Deliveries(10)
        async with still() as system:
            for _ in range(counter.subscribers):
                system.events.subscribe(Event, make(counter))
            await system.events.publish(EVENT)
            with meter.on():
                for _ in range(FEW):
                    await system.events.publish(EVENT)
        expect("deliveries", counter.count, (FEW + 1) * counter.subscribers)

    return operation


OPERATIONS: dict[str, Operation] = {
    "tell, def handler": tell,
    "ask, def handler": ask(Adder),
    "ask, async def handler": ask(AsyncAdder),
    "spawn and stop": come_and_go,
    "crash and restart": crash(Player),
    "crash and restart, async def handler": crash(AsyncPlayer),
    "publish to 10 until handled": publish(plain),
    "publish to 10 until handled, async def": publish(awaited),
}


def count(operation: Operation) -> float:
    """Instructions of one *operation*."""
    meter = Meter()
    gc.collect()
    gc.disable()
    try:
        with asyncio.Runner(loop_factory=StillLoop) as runner:
            runner.run(operation(meter))  # type: ignore[arg-type]
    finally:
        gc.enable()
    return meter.count / FEW


def compare(found: dict[str, float], wanted: dict[str, float], margin: float = MARGIN) -> list[str]:
    """What is worse than it was by more than *margin*, a sentence each."""
    return [
        f"{name}: {value:,.0f} instructions, {value / wanted[name] - 1:+.0%} against {wanted[name]:,.0f}"
        for name, value in found.items()
        if name in wanted and value > wanted[name] * (1 + margin)
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare with the figures, or write them anew."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gate", description="Instructions of the hot path.")
    parser.add_argument("--renew", action="store_true", help="write the figures of each supported Python there is")
    parser.add_argument("--python", action="append", default=[], metavar="PATH", help="a further Python, for --renew")
    parser.add_argument("--print", action="store_true", help="only print what is counted, as JSON")
    options = parser.parse_args(arguments)
    found = {name: count(operation) for name, operation in OPERATIONS.items()}
    if options.print:
        print(json.dumps(found))
        return 0
    if options.renew:
        _renew({VERSION: found} | _of_others(options.python))
        return 0
    wanted = json.loads(FIGURES.read_text(encoding="utf-8")).get(VERSION)
    if wanted is None:
        print(f"gate: there are no figures for Python {VERSION}; make gate-renew writes them")
        return 0
    for name, value in found.items():
        change = f"{value / wanted[name] - 1:+.1%}" if name in wanted else "new"
        print(f"gate: {name}: {value:,.1f} instructions, {change}")
    worse = compare(found, wanted)
    for line in worse:
        print(f"gate: worse than {FIGURES.name} allows: {line}", file=sys.stderr)
    if worse:
        print("gate: if that is what it has to cost: make gate-renew", file=sys.stderr)
    return 1 if worse else 0


def _of_others(given: Sequence[str]) -> dict[str, dict[str, float]]:
    """What the other supported Pythons count that have what understudy needs."""
    figures: dict[str, dict[str, float]] = {}
    root = str(FIGURES.parent.parent)
    paths = os.pathsep.join([root, f"{root}/src"])
    for version in (each for each in SUPPORTED if each != VERSION):
        for python in (*given, *_beside(version), *interpreters(version)):
            done = subprocess.run(  # noqa: S603 - a Python
                [python, "-m", "benchmarks.gate", "--print"],
                env=os.environ | {"PYTHONPATH": paths},
                cwd=root,
                capture_output=True,
                text=True,
                check=False,
            )
            which = subprocess.run([python, "-V"], capture_output=True, text=True, check=False).stdout  # noqa: S603
            if done.returncode == 0 and which.startswith(f"Python {version}."):
                figures[version] = json.loads(done.stdout)
                break
        else:
            print(
                f"gate: Python {version}: none here that has what understudy needs; its figures stay", file=sys.stderr
            )
    return figures


def _beside(version: str) -> list[str]:
    """The environments that .ci/run makes."""
    python = FIGURES.parent.parent / ".venvs" / version / "bin" / "python"
    return [str(python)] if python.exists() else []


def _renew(figures: dict[str, dict[str, float]]) -> None:
    before = json.loads(FIGURES.read_text(encoding="utf-8")) if FIGURES.is_file() else {}
    rounded = {version: {name: round(value, 1) for name, value in each.items()} for version, each in figures.items()}
    FIGURES.write_text(json.dumps(before | rounded, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    for version, each in sorted(rounded.items()):
        print(f"gate: Python {version}: {', '.join(f'{name} {value:,.0f}' for name, value in each.items())}")


if __name__ == "__main__":
    sys.exit(main())
