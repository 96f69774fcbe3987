"""Supervisors with very many children: what a burst, a mass stop and a restart cost, and that they answer meanwhile.

Costs are counted, not timed: calls of functions, turns of the event loop, walks over all children.
"""

from __future__ import annotations

import asyncio
import gc
import math
import os
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from typing import Any, cast

import pytest
import structlog

from understudy import (
    Actor,
    ActorRef,
    ActorSystem,
    ChildSpec,
    DynamicSupervisor,
    ExitReason,
    Instrument,
    Message,
    RestartsExceeded,
    Settings,
    Supervisor,
    SupervisorRef,
    child,
    handler,
    supervisor,
)
from understudy._plans._intensity import count_failure

CAMPAIGN = os.environ.get("UNDERSTUDY_CAMPAIGN") == "1"
# Under coverage each line is dear, and what is counted here are calls, not seconds.
TRACED = sys.gettrace() is not None
MANY = 100_000 if CAMPAIGN else 1_000 if TRACED else 10_000
BURST = 1_000 if TRACED else 10_000
HANGING = 1_000
STOREYS = 700

pytestmark = pytest.mark.timeout(3600 if CAMPAIGN else 300)


class Boom(Message): ...


class Note(Message):
    number: int


class Count(Message[int]): ...


class Incarnation(Message[int]): ...


class Cell(Actor[Boom | Note | Count | Incarnation]):
    def __init__(self) -> None:
        self.notes = 0

    @handler
    def boom(self, message: Boom) -> None:
        raise ValueError

    @handler
    def note(self, message: Note) -> None:
        self.notes += 1

    @handler
    def count(self, message: Count) -> int:
        return self.notes

    @handler
    def incarnation(self, message: Incarnation) -> int:
        return self.context.incarnation


class Pool(DynamicSupervisor):
    max_restarts = 10**9


class Ear(Instrument):
    def __init__(self) -> None:
        self.seen: Counter[str] = Counter()
        self.gone: list[tuple[str, ExitReason]] = []

    def actor_started(self, path: str, incarnation: int) -> None:
        if path.startswith("/user/"):
            self.seen["started"] += 1

    def actor_crashed(self, path: str, reason: ExitReason, message_type: str | None) -> None:
        self.seen["crashed"] += 1

    def actor_restarting(self, path: str, reason: ExitReason, failures: int) -> None:
        self.seen["restarting"] += 1

    def actor_stopped(self, path: str, reason: ExitReason) -> None:
        if path.startswith("/user/"):
            self.seen["stopped"] += 1

    def gave_up(self, path: str, reason: ExitReason) -> None:
        self.gone.append((path, reason))

    def dead_letter(self, message: object, recipient: str, sender: str | None, why: str) -> None:
        self.seen["dead letters"] += 1


@pytest.fixture(autouse=True)
def silence() -> Iterator[None]:
    """Thousands of crashes make a lot of lines that nobody reads."""
    before = structlog.get_config()

    def drop(logger: Any, name: str, event: Any) -> Any:
        raise structlog.DropEvent

    structlog.configure(processors=[drop])
    yield
    structlog.configure(**before)


@contextmanager
def calls() -> Generator[Counter[str]]:
    """Counts what is called meanwhile, in Python and in C."""
    counted: Counter[str] = Counter()

    def count(frame: Any, event: str, argument: Any) -> None:
        if event in ("call", "c_call"):
            counted["calls"] += 1

    gc.collect()
    sys.setprofile(count)
    try:
        yield counted
    finally:
        sys.setprofile(None)


async def filled(system: ActorSystem, count: int, **options: Any) -> tuple[SupervisorRef[Any], list[ActorRef[Any]]]:
    """A pool and its *count* children."""
    pool = system.lookup("top/pool", Pool)
    assert isinstance(pool, SupervisorRef)
    return pool, [await pool.start_child(child(Cell).options(**options)) for _ in range(count)]


def stage(
    ear: Ear | None = None, pool: type[DynamicSupervisor[Any]] = Pool, *, slice_seconds: float = 0.0005, **tuning: Any
) -> ActorSystem:
    tree = supervisor("top", child(pool).options(name="pool"), **tuning)
    settings = Settings(shutdown_timeout=10_000.0, slice_seconds=slice_seconds)
    return ActorSystem(tree, settings=settings, instruments=[] if ear is None else [ear])


async def quiet(refs: list[ActorRef[Any]], within: int = 1_000) -> None:
    """Until all are up and nothing waits for them."""
    for _ in range(within):
        await asyncio.sleep(0.001)
        if all(ref.status == "running" for ref in refs):
            return
    raise AssertionError(Counter(ref.status for ref in refs))


# Very many.


@pytest.mark.asyncio
async def test_very_many_children_start_answer_and_stop() -> None:
    ear = Ear()
    async with stage(ear) as system:
        pool, refs = await filled(system, MANY)
        counts = await pool.count_children()
        assert (counts.specs, counts.active, counts.workers, counts.supervisors) == (MANY, MANY, MANY, 0)
        assert len({ref.path for ref in refs}) == MANY
        for ref in refs:
            assert ref.tell(Note(number=1))
        for ref in refs[:: MANY // 100]:
            assert await ref.ask(Count()) == 1
        await pool.terminate_child(refs[0])
        assert (await pool.count_children()).specs == MANY - 1
        pool.stop()
        await pool.wait_stopped()
        assert {ref.status for ref in refs} == {"stopped"}
    assert ear.seen["started"] == ear.seen["stopped"] == MANY + 2
    assert ear.seen["crashed"] == 0


# Taller than the stack: none of this may climb it


def tower(**options: Any) -> tuple[ChildSpec[Any], str]:
    """Supervisors within supervisors, with one actor at the bottom; and the path of that one."""
    spec: ChildSpec[Any] = child(Cell).options(name="cell")
    for _ in range(STOREYS):
        spec = supervisor("s", spec, **options)
    return spec, "s/" * STOREYS + "cell"


@pytest.mark.asyncio
@pytest.mark.parametrize("way", ["stop", "kill", "give up"])
async def test_a_tree_that_is_taller_than_the_stack_starts_and_ends(way: str) -> None:
    spec, path = tower(max_restarts=0)
    async with ActorSystem() as system:
        top = await system.spawn(spec.options(restart="temporary"))
        bottom = system.lookup(path, Cell)
        before = system.statistics()
        assert before.actors > STOREYS > sys.getrecursionlimit() / 2
        if way == "give up":
            bottom.tell(Boom())
        else:
            getattr(top, way)()
        reason = await top.wait_stopped()
        after = system.statistics()
        assert (bottom.status, before.actors - after.actors) == ("stopped", STOREYS + 1)
        assert system.abandoned == ()
        assert len(str(reason)) < 200 * len(path)


@pytest.mark.asyncio
async def test_a_tree_that_is_taller_than_the_stack_is_given_up_on_whole_when_time_is_up() -> None:
    release = asyncio.Event()

    class Sleeper(Actor[Note]):
        @handler
        async def note(self, message: Note) -> None:
            while not release.is_set():
                with suppress(asyncio.CancelledError):
                    await release.wait()

    spec: ChildSpec[Any] = child(Sleeper).options(name="cell", shutdown=2.0)
    for _ in range(STOREYS):
        spec = supervisor("s", spec)
    async with ActorSystem(spec, settings=Settings(shutdown=2.0, abandon_after=0.5, shutdown_timeout=3.0)) as system:
        system.lookup("s/" * STOREYS + "cell", Sleeper).tell(Note(number=1))
        await asyncio.sleep(0.1)
    assert len(system.abandoned) == 1
    release.set()
    await asyncio.sleep(0)


@pytest.mark.asyncio
async def test_a_burst_of_crashes_restarts_each_once_and_costs_the_message_in_hand_only() -> None:
    ear = Ear()
    async with stage(ear) as system:
        pool, refs = await filled(system, BURST)
        began = asyncio.get_running_loop().time()
        for ref in refs:
            for message in (Note(number=1), Boom(), Note(number=2)):
                assert ref.tell(message)
        await quiet(refs)
        assert ear.seen["crashed"] == ear.seen["restarting"] == BURST
        assert (await pool.count_children()).active == BURST
        for ref in refs[:: BURST // 100]:
            assert await ref.ask(Count()) == 1  # the one behind the crash; the state before it is gone
            assert await ref.ask(Incarnation()) == 2
        assert ear.seen["dead letters"] == 0
        assert asyncio.get_running_loop().time() - began < 1.0  # nobody was waited for
        assert pool.status == "running"


class Limited(DynamicSupervisor):
    max_restarts = BURST - 1
    max_seconds = 60.0


@pytest.mark.asyncio
async def test_a_burst_that_is_one_too_many_ends_the_supervisor_once_and_leaves_no_orphan() -> None:
    ear = Ear()
    async with stage(ear, Limited) as system:
        pool = system.lookup("top/pool", Limited)
        refs = [await pool.start_child(Cell) for _ in range(BURST)]
        for ref in refs:
            ref.tell(Boom())
        for _ in range(1_000):
            if ear.gone and pool.status == "running":
                break
            await asyncio.sleep(0.001)
        [(path, reason)] = ear.gone
        assert path == "/user/top/pool"
        assert isinstance(reason, RestartsExceeded)
        assert (reason.count, reason.seconds) == (BURST, 60.0)
        assert ear.seen["restarting"] == BURST  # all but the last of the children, and the supervisor
        # Its next incarnation begins with nothing: those that were started at run time have ended for good.
        assert {ref.status for ref in refs} == {"stopped"}
        assert (await pool.count_children()).specs == 0
        assert (await (await pool.start_child(Cell)).ask(Incarnation())) == 1


# Costs.


def test_to_count_a_failure_costs_the_same_however_many_there_were() -> None:
    """A burst of n failures is n decisions; each may not walk over all those before it."""

    class Seen(float):
        """A time that counts how often somebody looks at it."""

        looks = 0

        def __ge__(self, other: object) -> bool:
            Seen.looks += 1
            return float(self) >= cast("float", other)

        def __lt__(self, other: object) -> bool:
            Seen.looks += 1
            return float(self) < cast("float", other)

    times: Any = count_failure([], Seen(0.0), 10**9, 1_000.0).times
    for number in range(1, 1_000):
        times = count_failure(times, Seen(number / 1_000), 10**9, 1_000.0).times
    assert len(times) == 1_000
    assert Seen.looks <= 20 * 1_000


async def cost_of(count: int, act: Callable[[SupervisorRef[Any], list[ActorRef[Any]]], Awaitable[None]]) -> int:
    # Without an end of the slice, so that the same is done ahead of the turn however long the rest has taken.
    async with stage(slice_seconds=60.0) as system:
        pool, refs = await filled(system, count)
        with calls() as counted:
            await act(pool, refs)
    return counted["calls"]


async def stop_all(pool: SupervisorRef[Any], refs: list[ActorRef[Any]]) -> None:
    pool.stop()
    await pool.wait_stopped()
    assert refs[0].status == refs[-1].status == "stopped"


async def crash_all(pool: SupervisorRef[Any], refs: list[ActorRef[Any]]) -> None:
    for ref in refs:
        ref.tell(Boom())
    await asyncio.sleep(0.001)
    for ref in refs:
        assert ref.status == "running"


async def crash_one(pool: SupervisorRef[Any], refs: list[ActorRef[Any]]) -> None:
    ref = refs[len(refs) // 2]
    ref.tell(Boom())
    assert await ref.ask(Incarnation()) == 2


async def add_and_terminate_one(pool: SupervisorRef[Any], refs: list[ActorRef[Any]]) -> None:
    await pool.terminate_child(await pool.start_child(Cell))


@pytest.mark.parametrize("act", [stop_all, crash_all])
@pytest.mark.asyncio
async def test_what_is_done_to_all_costs_ten_times_as_much_for_ten_times_as_many(act: Any) -> None:
    few, many = await cost_of(300, act), await cost_of(3_000, act)
    assert many <= 12 * few, (few, many)


@pytest.mark.parametrize("act", [crash_one, add_and_terminate_one])
@pytest.mark.asyncio
async def test_what_is_done_to_one_costs_the_same_however_many_there_are(act: Any) -> None:
    few, many = await cost_of(10, act), await cost_of(3_000, act)
    assert many <= few + 50, (few, many)


class Walked(dict[str, Any]):
    """Counts how often somebody walks over it, or copies it."""

    walks = 0

    def _walk(self) -> None:
        Walked.walks += 1

    def __iter__(self) -> Iterator[str]:
        self._walk()
        return super().__iter__()

    def __reversed__(self) -> Iterator[str]:
        self._walk()
        return super().__reversed__()

    def keys(self) -> Any:
        self._walk()
        return super().keys()

    def values(self) -> Any:
        self._walk()
        return super().values()

    def items(self) -> Any:
        self._walk()
        return super().items()


@pytest.mark.parametrize("kind", ["dynamic", "static"])
@pytest.mark.asyncio
async def test_a_single_restart_does_not_walk_over_the_siblings(kind: str) -> None:
    specs = [child(Cell).options(name=f"c{number}") for number in range(100)]
    tree = supervisor("top", supervisor("pool", *specs) if kind == "static" else child(Pool).options(name="pool"))
    async with ActorSystem(tree) as system:
        if kind == "dynamic":
            _, refs = await filled(system, 100)
        else:
            refs = [system.lookup(f"top/pool/c{number}") for number in range(100)]
        pool: Any = system.lookup("top/pool")
        family = pool._cell.family
        family.children = Walked(family.children)
        Walked.walks = 0
        await crash_one(pool, refs)
        assert Walked.walks == 0
        assert len(await pool.which_children()) == 100
        assert Walked.walks == 1  # so it is what it is seen by


# Answers.


class Gate:
    """Holds whoever comes until it is opened."""

    def __init__(self) -> None:
        self.event = asyncio.Event()
        self.reached = 0

    async def __call__(self) -> None:
        self.reached += 1
        await self.event.wait()


class Slow(Actor[Boom | Incarnation]):
    def __init__(self, up: Gate | None = None, down: Gate | None = None, again: Gate | None = None) -> None:
        self.up, self.down, self.again = up, down, again

    async def initialize(self) -> None:
        if self.up is not None:
            await self.up()
        if self.again is not None and self.context.incarnation > 1:
            await self.again()

    async def shutdown(self, reason: ExitReason) -> None:
        if self.down is not None:
            await self.down()

    @handler
    def boom(self, message: Boom) -> None:
        raise ValueError

    @handler
    def incarnation(self, message: Incarnation) -> int:
        return self.context.incarnation


class Turns:
    """Counts the turns of the event loop, and the time that passes, while somebody is asked something."""

    async def __aenter__(self) -> Turns:
        self.loop = asyncio.get_running_loop()
        self.turns = 0
        self.began = self.loop.time()
        self._ticking = asyncio.create_task(self._tick())
        return self

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(0)
            self.turns += 1

    async def __aexit__(self, *_: object) -> None:
        self.passed = self.loop.time() - self.began
        self._ticking.cancel()
        await asyncio.wait([self._ticking])


async def answers(supervisor: SupervisorRef[Any], listed: int) -> None:
    """All calls are answered at once."""
    async with Turns() as turns:
        assert len(await supervisor.which_children()) == listed
        assert (await supervisor.count_children()).specs == listed
        added = await supervisor.start_child(child(Slow).options(name="added"))
        assert await added.ask(Incarnation()) == 1
        assert (await supervisor.get_childspec("added")).name == "added"
        await supervisor.terminate_child("added")
        assert added.status == "stopped"
        if (await supervisor.count_children()).specs > listed:  # a static one keeps its spec
            await supervisor.restart_child("added")
            await supervisor.terminate_child("added")
            await supervisor.delete_child("added")
        assert (await supervisor.count_children()).specs == listed
    assert turns.passed < 0.001
    assert turns.turns <= 50


@pytest.mark.asyncio
async def test_a_supervisor_answers_while_very_many_children_hang_in_their_starts() -> None:
    gate = Gate()
    async with stage() as system:
        pool = system.lookup("top/pool", Pool)
        spec = child(Slow, gate).options(start_timeout=math.inf)
        starts = [asyncio.create_task(pool.start_child(spec)) for _ in range(HANGING)]
        await asyncio.sleep(1.0)
        assert gate.reached == HANGING
        await answers(pool, HANGING)
        assert (await pool.count_children()).active == 0
        # One that hangs can be ended at once.
        victim = (await pool.which_children())[0].ref
        assert victim is not None
        async with Turns() as turns:
            await pool.terminate_child(victim)
        assert turns.passed < 0.001
        gate.event.set()
        done, pending = await asyncio.wait(starts, timeout=1.0)
        assert not pending
        assert sum(start.exception() is None for start in done) == HANGING - 1
        assert (await pool.count_children()).active == HANGING - 1


@pytest.mark.asyncio
async def test_a_supervisor_answers_while_very_many_children_hang_in_their_ends() -> None:
    gate = Gate()
    async with stage() as system:
        pool = system.lookup("top/pool", Pool)
        spec = child(Slow, None, gate).options(shutdown=600.0)
        refs = [await pool.start_child(spec) for _ in range(HANGING)]
        ends = [asyncio.create_task(pool.terminate_child(ref)) for ref in refs]
        await asyncio.sleep(1.0)
        assert gate.reached == HANGING
        await answers(pool, HANGING)
        gate.event.set()
        done, pending = await asyncio.wait(ends, timeout=1.0)
        assert not pending
        assert all(end.exception() is None for end in done)
        assert (await pool.count_children()).specs == 0


def group(strategy: str, gate: Gate, *, parallel: bool) -> ChildSpec[Any]:
    specs = [
        child(Slow, None, None, gate).options(name=f"s{number}", start_timeout=math.inf, shutdown=600.0)
        for number in range(HANGING)
    ]
    tuning: Any = {"strategy": strategy, "parallel_start": parallel}
    return supervisor("top", supervisor("group", *specs, **tuning))


@pytest.mark.parametrize("parallel", [False, True])
@pytest.mark.asyncio
async def test_a_supervisor_answers_while_its_whole_group_hangs_in_a_restart(parallel: bool) -> None:
    gate = Gate()
    settings = Settings(shutdown_timeout=10_000.0)
    async with ActorSystem(group("one_for_all", gate, parallel=parallel), settings=settings) as system:
        supervising = system.lookup("top/group", Supervisor)
        first = system.lookup("top/group/s0", Slow)
        first.tell(Boom())
        await asyncio.sleep(1.0)
        assert gate.reached == (HANGING if parallel else 1)
        counts = await supervising.count_children()
        assert (counts.specs, counts.active) == (HANGING, 0)
        assert {each.status for each in await supervising.which_children()} == {"restarting"}
        await answers(supervising, HANGING)
        async with Turns() as turns:
            await supervising.terminate_child("s0")  # which hangs
            await supervising.terminate_child(f"s{HANGING - 1}")  # which hangs, or waits for its turn
        assert turns.passed < 0.001
        assert (await supervising.count_children()).specs == HANGING
        gate.event.set()
        await asyncio.sleep(1.0)
        assert (await supervising.count_children()).active == HANGING - 2
        assert await system.lookup("top/group/s1", Slow).ask(Incarnation()) == 2


@pytest.mark.asyncio
async def test_the_end_of_a_supervisor_is_prompt_while_its_whole_group_hangs_in_a_restart() -> None:
    gate = Gate()
    settings = Settings(shutdown_timeout=10_000.0)
    async with ActorSystem(group("one_for_all", gate, parallel=True), settings=settings) as system:
        supervising = system.lookup("top/group", Supervisor)
        system.lookup("top/group/s0", Slow).tell(Boom())
        await asyncio.sleep(1.0)
        assert gate.reached == HANGING
        async with Turns() as turns:
            supervising.stop()
            await supervising.wait_stopped()
        assert turns.passed < 0.001
        assert system.statistics().abandoned == 0
