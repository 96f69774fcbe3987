"""What the tests of the simulation share: loops, single runs, a loop to compare with, and programs."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from understudy import Actor, ActorFailed, ActorSystem, Message, UnderstudyError, child, handler, supervisor
from understudy.testing._choices import Choices
from understudy.testing._faults import Faults
from understudy.testing._lanes import Lane
from understudy.testing._loop import SimLoop
from understudy.testing._schedule import Outcome, Subject, run
from understudy.testing._simulation import Simulation
from understudy.testing._strategies import DelayBounded, Fifo, Pct, Pos, RandomWalk, Strategy

T = TypeVar("T")
Test = Callable[..., Awaitable[object]]

KINDS = ("fifo", "walk", "pos", "pct", "delay")


def strategy(kind: str, seed: int = 0) -> Strategy:
    """One of each kind."""
    if kind == "pct":
        return Pct(seed, depth=3, steps=60)
    if kind == "delay":
        return DelayBounded(seed, delays=3, steps=60)
    return {"fifo": Fifo, "walk": RandomWalk, "pos": Pos}[kind](seed)


@contextmanager
def sim_loop(chosen: Strategy | None = None, *, stall: float = 0.0) -> Generator[SimLoop]:
    """A loop in which *chosen* decides from the first step on."""
    choices = Choices(chosen or Fifo(), 0)
    choices.started = True
    loop = SimLoop(choices, stall=stall)
    try:
        yield loop
    finally:
        loop.failures.clear()
        choices.started = False
        while tasks := asyncio.all_tasks(loop):
            for task in tasks:
                task.cancel()
            loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


def on_loop(main: Callable[[], Awaitable[T]], chosen: Strategy | None = None, *, stall: float = 0.0) -> T:
    """What *main* returns on a loop of its own."""

    async def body() -> T:
        return await main()

    with sim_loop(chosen, stall=stall) as loop:
        return loop.run_until_complete(body())


def orders(main: Callable[[], Awaitable[Sequence[Any]]], kind: str = "walk", seeds: int = 200) -> set[tuple[Any, ...]]:
    """All that *main* returns under many seeds."""
    return {tuple(on_loop(main, strategy(kind, seed))) for seed in range(seeds)}


def once(
    test: Test,
    chosen: Strategy | None = None,
    *,
    seed: int = 1,
    eager: bool = False,
    faults: Faults = Faults(),  # noqa: B008 - it is frozen
    story: bool = False,
    tree: Any = None,
    system: bool = True,
) -> Outcome:
    """One run of *test*."""
    subject = Subject(test, faults, tree=tree, system=system)
    return run(subject, chosen or Fifo(), seed=seed, eager=eager, story=story)


def error_of(test: Test, chosen: Strategy | None = None, **options: Any) -> BaseException:
    """What *test* fails with."""
    outcome = once(test, chosen, **options)
    assert outcome.error is not None, "it did not fail"
    return outcome.error


class Spy(Fifo):
    """Writes down who could have been next, each time that there was a choice."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[list[str]] = []

    def pick(self, lanes: Sequence[Lane]) -> int:
        self.seen.append([lane.label for lane in lanes])
        return 0


class Last(Fifo):
    """Always the youngest; the clock whenever it may go on."""

    def pick(self, lanes: Sequence[Lane]) -> int:
        return len(lanes) - 1


class PlainLoop(asyncio.SelectorEventLoop):
    """asyncio's own loop on which waiting takes no time: the selector is asked, and then the clock put forward."""

    def __init__(self) -> None:
        super().__init__()
        self._virtual = 0.0
        selector: Any = vars(self)["_selector"]
        real: Callable[[float], object] = selector.select

        def select(timeout: float | None = None) -> object:
            assert timeout is not None, "nothing would ever happen"
            self._virtual += timeout
            return real(0)

        selector.select = select

    def time(self) -> float:
        return self._virtual


# Programs: they must not be decided by anything but the seed.


async def tasks(sim: Simulation) -> None:
    """Tasks, futures, sets of both, groups, a race."""
    log: list[str] = []

    async def worker(name: str, turns: int) -> str:
        for _ in range(turns):
            log.append(name)
            await asyncio.sleep(0)
        return name

    async with asyncio.TaskGroup() as group:
        for number in range(3):
            group.create_task(worker(str(number), number + 1))
    waiting = {asyncio.create_task(worker(f"w{number}", 2)) for number in range(5)}
    while waiting:
        done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        log.extend(task.result() for task in done)
    await asyncio.gather(*(asyncio.to_thread(log.append, f"t{number}") for number in range(3)))


async def timers(sim: Simulation) -> None:
    """Timeouts that race with what they wait for."""
    for number in range(4):
        event = asyncio.Event()
        handle = asyncio.get_running_loop().call_later(0.1 * number, event.set)
        try:
            async with asyncio.timeout(0.15):
                await event.wait()
                await asyncio.sleep(0)
                await asyncio.sleep(0.01)
        except TimeoutError:
            handle.cancel()


class Add(Message[int]):
    amount: int


class Slow(Message[int]):
    amount: int


class Sum(Actor[Add | Slow]):
    """A plain handler and an async one."""

    def __init__(self) -> None:
        self.total = 0

    @handler
    def add(self, message: Add) -> int:
        self.total += message.amount
        return self.total

    @handler
    async def slow(self, message: Slow) -> int:
        self.total += message.amount
        await asyncio.sleep(0.01)
        if message.amount == 3:
            raise ValueError(message.amount)
        return self.total


async def actors(sim: Simulation) -> None:
    """Tells, asks and crashes under a supervisor."""
    spec = supervisor("sums", *(child(Sum).options(name=name) for name in ("a", "b")), max_restarts=1000)
    await sim.system.spawn(spec)
    refs = [sim.system.lookup(f"/user/sums/{name}", Sum) for name in ("a", "b")]

    async def client(number: int) -> None:
        for amount in range(1, 4):
            refs[amount % 2].tell(Add(amount=number))
            with suppress(ActorFailed, UnderstudyError):
                await refs[number % 2].ask(Slow(amount=amount))

    async with asyncio.TaskGroup() as group:
        for number in range(3):
            group.create_task(client(number), name=f"client {number}")
    await sim.quiesce()


async def network(sim: Simulation) -> None:
    """An echo over the simulated network."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(10):
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(echo, "server", 80)
    try:
        reader, writer = await asyncio.open_connection("server", 80)
        try:
            for number in range(3):
                writer.write(f"hello {number}".encode())
                await writer.drain()
                async with asyncio.timeout(20):
                    await reader.readexactly(7)
        finally:
            writer.close()
    except (OSError, TimeoutError, asyncio.IncompleteReadError):
        pass
    finally:
        server.close()
    await asyncio.sleep(300)


PROGRAMS: dict[str, tuple[Test, Faults]] = {
    "tasks": (tasks, Faults()),
    "timers": (timers, Faults(stall=math.inf)),
    "actors": (actors, Faults()),
    "actors under faults": (actors, Faults(crash=0.2, cancel=0.2, stall=math.inf)),
    "network": (network, Faults()),
    "network under faults": (network, Faults(reset=0.1, partition=True)),
}


def run_program(name: str, chosen: Strategy, *, seed: int, eager: bool = False, story: bool = False) -> Outcome:
    """One run of one of the programs."""
    test, faults = PROGRAMS[name]
    return run(Subject(test, faults), chosen, seed=seed, eager=eager, story=story)


def systems_in(sim: Simulation) -> ActorSystem:
    """A second system in the run of *sim*."""
    return ActorSystem(name="second")
