"""Trees under crashes, kills, stops and the end of the whole system."""

from __future__ import annotations

import asyncio
import contextlib
import math
from typing import Any

import pytest

from understudy import (
    Actor,
    ActorRef,
    ActorSystem,
    ChildSpec,
    Message,
    Settings,
    StartError,
    SystemCollapsed,
    UnderstudyError,
    child,
    handler,
    supervisor,
)
from understudy.reasons import ExitReason
from understudy.testing import Faults, InjectedCrash, Simulation, simulate


class Work(Message[int]):
    number: int


class Nap(Message[int]):
    number: int


class Boom(Message): ...


class Leaf(Actor[Work | Nap | Boom]):
    """Does as it is told; says in the log when its hooks run."""

    def __init__(self, log: list[tuple[str, str, int]], lazy: bool = False) -> None:
        self.log_of_all, self.lazy = log, lazy

    async def initialize(self) -> None:
        self.name, self.incarnation = self.context.path, self.context.incarnation
        if self.lazy:
            await asyncio.sleep(0)
        self.log_of_all.append(("up", self.name, self.incarnation))

    async def shutdown(self, reason: ExitReason) -> None:
        if self.lazy:
            await asyncio.sleep(0)
        self.log_of_all.append(("down", self.name, self.incarnation))

    @handler
    def work(self, message: Work) -> int:
        return message.number

    @handler
    async def nap(self, message: Nap) -> int:
        await asyncio.sleep(0.01)
        return message.number

    @handler
    def boom(self, message: Boom) -> None:
        raise ValueError("boom")


def leaves(log: list[Any], count: int, **options: Any) -> list[ChildSpec]:
    return [child(Leaf, log, lazy=number % 2 == 0).options(name=f"leaf-{number}", **options) for number in range(count)]


def meddle(sim: Simulation, refs: list[ActorRef[Any]]) -> Any:
    """Something happens to one of them."""
    ref = sim.random.choice(refs)
    number = sim.random.randrange(1000)
    what = sim.random.choice(["work", "nap", "boom", "kill", "ask", "ask"])
    if what == "kill":
        return ref.kill()
    if what == "ask":
        return asyncio.ensure_future(ask(ref, Nap(number=number) if number % 2 else Work(number=number)))
    return ref.tell({"work": Work(number=number), "nap": Nap(number=number), "boom": Boom()}[what])


async def ask(ref: ActorRef[Any], message: Any) -> None:
    with contextlib.suppress(UnderstudyError):
        assert await ref.ask(message, timeout=2.0) == message.number


@simulate(schedules=50, faults=Faults(crash=0.02, cancel=0.02, stall=0.5))
async def test_what_is_permanent_is_up_again_when_all_is_quiet(sim: Simulation) -> None:
    log: list[tuple[str, str, int]] = []
    inner = supervisor("inner", *leaves(log, 2), max_restarts=100_000)
    await sim.system.spawn(supervisor("outer", inner, *leaves(log, 2), max_restarts=100_000))
    paths = ["outer/inner/leaf-0", "outer/inner/leaf-1", "outer/leaf-0", "outer/leaf-1"]
    refs: list[ActorRef[Any]] = [sim.system.lookup(path, Leaf) for path in paths]
    asks = []
    for _ in range(12):
        done = meddle(sim, refs)
        if isinstance(done, asyncio.Future):
            asks.append(done)
        if sim.random.random() < 0.5:
            await asyncio.sleep(sim.random.choice([0, 0.005, 0.02]))
    await sim.quiesce()
    assert [ref.status for ref in refs] == ["running"] * 4
    # The refs are those of the beginning, and they answer.
    for ref in refs:
        assert await ref.ask(Work(number=7), timeout=math.inf) == 7
    await asyncio.gather(*asks)
    check_hooks(log)


@simulate(schedules=50, faults=Faults(stall=0.5))
async def test_who_fails_too_often_takes_the_tree_down_in_order(sim: Simulation) -> None:
    log: list[tuple[str, str, int]] = []
    restarts = 1 + sim.random.randrange(2)
    tree = supervisor("root", *leaves(log, 3), max_restarts=restarts, max_seconds=1000.0)

    async def overburden() -> None:
        async with ActorSystem(tree, name="doomed") as system:
            leaf: ActorRef[Any] = system.lookup("root/leaf-1", Leaf)
            for _ in range(restarts + 1):
                leaf.tell(Boom())
            await system.wait_stopped()

    with pytest.raises(SystemCollapsed, match="leaf-1"):
        await overburden()
    check_hooks(log)
    ups = [entry for entry in log if entry[0] == "up" and entry[1].endswith("leaf-1")]
    assert len(ups) == restarts + 1
    # The others start once, and their ends are the reverse of their starts.
    others = [entry for entry in log if not entry[1].endswith("leaf-1")]
    assert [kind for kind, _, _ in others] == ["up", "up", "down", "down"]
    assert [path for _, path, _ in others[2:]] == [path for _, path, _ in reversed(others[:2])]


@simulate(schedules=50, faults=Faults(stall=math.inf))
async def test_a_system_ends_whatever_is_going_on(sim: Simulation) -> None:
    log: list[tuple[str, str, int]] = []
    settings = Settings(shutdown=0.5, abandon_after=0.5, shutdown_timeout=5.0)
    tree = supervisor("root", *leaves(log, 2), max_restarts=100_000)
    others: list[asyncio.Future[Any]] = []

    async def spawn(system: ActorSystem, number: int) -> None:
        with contextlib.suppress(UnderstudyError):
            await system.spawn(child(Leaf, log, lazy=True).options(name=f"spawned-{number}"))

    refs: list[ActorRef[Any]] = []
    try:
        async with ActorSystem(tree, name="busy", settings=settings) as system:
            refs += [system.lookup(f"root/leaf-{number}", Leaf) for number in range(2)]
            for number in range(6):
                done = meddle(sim, refs)
                if isinstance(done, asyncio.Future):
                    others.append(done)
                others.append(asyncio.ensure_future(spawn(system, number)))
                if sim.random.random() < 0.3:
                    await asyncio.sleep(0)
            if sim.random.random() < 0.3:
                system.kill()
    except (StartError, SystemCollapsed):
        pass  # every deadline may strike in this test, that of a start too
    if others:
        await asyncio.wait(others)
    assert {ref.status for ref in refs} <= {"stopped"}


@simulate(schedules=50, faults=Faults(stall=0.2))
async def test_a_supervisor_starts_its_children_in_order_or_not_at_all(sim: Simulation) -> None:
    log: list[tuple[str, str, int]] = []

    class Refuses(Actor[Work]):
        async def initialize(self) -> None:
            await asyncio.sleep(0)
            raise InjectedCrash("cannot start")

        @handler
        def work(self, message: Work) -> int:
            return message.number

    await sim.system.spawn(supervisor("good", *leaves(log, 3)))
    assert [path[-1] for _, path, _ in log] == ["0", "1", "2"]
    log.clear()
    with pytest.raises(StartError, match="refuses"):
        await sim.system.spawn(supervisor("bad", *leaves(log, 3), child(Refuses).options(name="refuses")))
    assert [entry[:2] for entry in log] == [
        *(("up", f"/user/bad/leaf-{number}") for number in (0, 1, 2)),
        *(("down", f"/user/bad/leaf-{number}") for number in (2, 1, 0)),
    ]
    assert sim.system.find("bad") is None


def check_hooks(log: list[tuple[str, str, int]]) -> None:
    """No incarnation is up twice, or down without having been up; the next is not up before the last is down."""
    up: dict[str, int] = {}
    last: dict[str, int] = {}
    for kind, path, incarnation in log:
        if kind == "up":
            assert incarnation > last.get(path, 0), log
            last[path] = up[path] = incarnation
        else:
            assert up.pop(path, None) == incarnation, log
