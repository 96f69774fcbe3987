"""Random trees of every strategy under crashes, stray cancels, kills, hangs, failing starts and whoever administers."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import Any

import pytest

from tests.simulation.forest import SETTINGS, STRATEGIES, Do, Forest, Work
from understudy import (
    Actor,
    ActorSystem,
    ChildSpec,
    ExitReason,
    Instrument,
    RestartsExceeded,
    StartError,
    Supervisor,
    child,
    handler,
    supervisor,
)
from understudy.testing import Faults, Simulation, simulate

HARSH = Faults(crash=0.02, cancel=0.02, stall=0.2)


async def settle(sim: Simulation, forest: Forest) -> None:
    """Faults end, and then everything comes to rest: waits, too, of those that are to start after a delay."""
    forest.book.calm = True
    await sim.quiesce()
    for each in forest.waiting:
        await each
    for _ in range(100):
        await sim.quiesce()
        if not forest.restarting():
            return
        await asyncio.sleep(0.2)
    raise AssertionError(f"for ever restarting: {forest.restarting()}")


@simulate(schedules=30, faults=HARSH)
async def test_all_is_up_again_when_all_is_quiet_and_groups_keep_their_order(sim: Simulation) -> None:
    forest = Forest(sim, restarts=("permanent", "permanent", "transient", "temporary"))
    async with forest.system() as system:
        forest.enter(system)
        for _ in range(12):
            forest.disturb()
            if sim.random.random() < 0.5:
                await asyncio.sleep(sim.random.choice([0, 0.01, 0.1, 0.6]))
        await settle(sim, forest)
        await forest.check_all_is_up(system)
        forest.check_messages()
    await asyncio.sleep(5.0)  # for those who resist longest


@simulate(schedules=30, faults=HARSH)
async def test_whoever_administers_gets_the_answer_of_the_table_at_any_moment(sim: Simulation) -> None:
    forest = Forest(sim, restarts=("permanent", "permanent", "transient", "temporary"), pools=True)
    forest.book.strict = False
    async with forest.system() as system:
        forest.enter(system)
        for _ in range(14):
            if sim.random.random() < 0.5:
                forest.disturb()
            else:
                forest.administer(system)
            if sim.random.random() < 0.5:
                await asyncio.sleep(sim.random.choice([0, 0.01, 0.1, 0.6]))
        await settle(sim, forest)
        await forest.check_all_is_up(system)
        forest.check_messages()
    await asyncio.sleep(5.0)


@simulate(schedules=30, faults=Faults(crash=0.05, cancel=0.05, stall=0.5))
async def test_whatever_is_going_on_a_system_ends_and_leaves_nothing(sim: Simulation) -> None:
    forest = Forest(sim, restarts=("permanent", "permanent", "transient", "temporary"), pools=True)
    forest.book.strict = False
    began = 0.0
    try:
        async with forest.system() as system:
            forest.enter(system)
            for _ in range(sim.random.randrange(1, 12)):
                forest.disturb() if sim.random.random() < 0.6 else forest.administer(system)
                if sim.random.random() < 0.3:
                    await asyncio.sleep(sim.random.choice([0, 0.01, 0.3]))
            began = sim.now
            match sim.random.choice(["leave", "stop", "kill", "fail", "stop and kill"]):
                case "stop":
                    system.stop()
                case "kill":
                    system.kill()
                case "fail":
                    raise LookupError
                case "stop and kill":
                    system.stop()
                    await asyncio.sleep(sim.random.choice([0, 0.1]))
                    system.kill()
                case _:
                    pass
    except LookupError:
        pass
    # Deadlines that strike late, by up to the stall each time, and what resists until it is given up on.
    assert sim.now - began <= SETTINGS.shutdown_timeout + 5.0
    for each in forest.waiting:
        await each
    assert {identity.ref.status for identity in forest.book.identities.values()} == {"stopped"}
    forest.check_messages()
    await asyncio.sleep(5.0)


@simulate(schedules=30, faults=Faults(stall=0.2))
async def test_nobody_is_orphaned_when_supervisors_are_killed_in_the_middle_of_a_restart(sim: Simulation) -> None:
    forest = Forest(sim, pools=True)
    forest.book.strict = False
    async with forest.system() as system:
        forest.enter(system)
        leaves = [ref for ref in forest.refs if forest.book.places[ref.path].kind == "leaf"]
        hosts = [ref for ref in forest.refs if forest.book.places[ref.path].kind != "leaf"]
        for _ in range(6):
            forest.say(sim.random.choice(leaves or forest.refs), Do(what="crash"))
            # From the crash on through hooks that take their time, of anybody.
            await asyncio.sleep(sim.random.choice([0, 0, 0.01, 0.06, 0.3]))
            for ref in hosts:
                if sim.random.random() < 0.5:
                    ref.kill()
            if sim.random.random() < 0.3:
                await asyncio.sleep(1.0)
        await settle(sim, forest)
        await forest.check_all_is_up(system)
    await asyncio.sleep(5.0)


class Limits(Instrument):
    """R3, from what happens and when: one list of times for each incarnation of a supervisor."""

    def __init__(self, sim: Simulation, limits: dict[str, tuple[int, float]]) -> None:
        self.sim, self.limits = sim, limits
        self.times: defaultdict[str, list[float]] = defaultdict(list)
        self.gone: list[str] = []

    def actor_restarting(self, path: str, reason: ExitReason, failures: int) -> None:
        over, counted = self.count(path.rpartition("/")[0])
        if over or counted != failures:
            self.sim.violated(f"{path} is restarted, {counted} within the window (told {failures}), {over=}")

    def gave_up(self, path: str, reason: ExitReason) -> None:
        self.gone.append(path)
        over, counted = self.count(path)
        if not over or not (isinstance(reason, RestartsExceeded) and reason.count == counted):
            self.sim.violated(f"{path} gives up after {counted}: {reason}")

    def count(self, path: str) -> tuple[bool, int]:
        most, seconds = self.limits[path]
        now = self.sim.now
        self.times[path] = [time for time in self.times[path] if time >= now - seconds] + [now]
        return len(self.times[path]) > most, len(self.times[path])


class Group(Supervisor):
    """Says when an incarnation begins, and with it a new count."""

    def __init__(self, book: Limits, path: str, specs: list[ChildSpec[Any]]) -> None:
        book.times.pop(path, None)
        self.specs = specs

    def children(self) -> list[ChildSpec[Any]]:
        return self.specs


class Stuttering(Actor[Do]):
    """Fails as often as it is told to, and at so many of its next starts."""

    def __init__(self, failing: list[int]) -> None:
        self.failing = failing

    async def initialize(self) -> None:
        await asyncio.sleep(0)
        if self.context.incarnation > 1 and self.failing[0]:
            self.failing[0] -= 1
            raise LookupError

    @handler
    def do(self, message: Do) -> None:
        raise LookupError


@simulate(schedules=30, faults=Faults(stall=0.3))
async def test_restarts_and_failing_starts_are_counted_as_the_clause_says_at_every_level(sim: Simulation) -> None:
    random = sim.random
    limits: dict[str, tuple[int, float]] = {"/user/top": (10**6, 1.0)}
    failing: dict[str, list[int]] = {}
    groups: list[ChildSpec[Any]] = []
    book = Limits(sim, limits)
    for name in "ab":
        most, seconds = random.choice([0, 1, 2, 4]), random.choice([0.25, 1.0, 4.0])
        limits[f"/user/top/{name}"] = (most, seconds)
        for leaf in "xyz":
            failing[f"{name}/{leaf}"] = [0]
        specs = [child(Stuttering, failing[f"{name}/{leaf}"]).options(name=leaf) for leaf in "xyz"]
        says = {"strategy": random.choice(STRATEGIES), "parallel_start": random.random() < 0.5}
        group = type("Counted", (Group,), {**says, "max_restarts": most, "max_seconds": seconds})
        groups.append(child(group, book, f"/user/top/{name}", specs).options(name=name))
    tree = supervisor("top", *groups, strategy=random.choice(STRATEGIES), max_restarts=10**6, max_seconds=1.0)
    async with ActorSystem(tree, name="counted", instruments=[book]) as system:
        refs = {name: system.lookup(f"top/{name}", Stuttering) for name in failing}
        for _ in range(10):
            name = random.choice([*failing])
            failing[name][0] = random.choice([0, 0, 0, 1, 3])
            refs[name].tell(Do(what="crash"))
            await asyncio.sleep(random.choice([0, 0, 0.125, 0.25, 1.0]))
        for each in failing.values():
            each[0] = 0
        await sim.quiesce()
        # Whoever gave up was restarted with all that is below, under the old refs.
        assert {ref.status for ref in refs.values()} == {"running"}
        sim.note(f"{len(book.gone)} have given up")


class Record(Instrument):
    """The order in which children came up."""

    def __init__(self) -> None:
        self.up: list[str] = []

    def actor_started(self, path: str, incarnation: int) -> None:
        if path.startswith("/user/group/"):
            self.up.append(path.rpartition("/")[2])


@simulate(schedules=30, faults=Faults(stall=0.2))
async def test_a_parallel_start_keeps_to_the_dependencies_and_undoes_itself_when_one_fails(sim: Simulation) -> None:
    random = sim.random
    journal: list[tuple[str, str]] = []
    names = "abcde"[: random.randrange(2, 6)]
    after = {
        name: tuple(each for each in names[:number] if random.random() < 0.35) for number, name in enumerate(names)
    }
    bad = random.choice([None, *names])

    class Slow(Actor[Work]):
        def __init__(self, name: str) -> None:
            self.name = name

        async def initialize(self) -> None:
            journal.append(("starts", self.name))
            try:
                await asyncio.sleep(random.choice([0, 0.01, 0.1]))
            except asyncio.CancelledError:
                journal.append(("cancelled", self.name))
                raise
            if self.name == bad:
                journal.append(("fails", self.name))
                raise LookupError
            journal.append(("up", self.name))

        async def shutdown(self, reason: ExitReason) -> None:
            journal.append(("stops", self.name))
            await asyncio.sleep(random.choice([0, 0.01]))
            journal.append(("down", self.name))

        @handler
        def work(self, message: Work) -> int:
            return message.number

    specs = [child(Slow, name).options(name=name, depends_on=after[name]) for name in names]
    tree = supervisor("group", *specs, parallel_start=True)
    record = Record()
    if bad is None:
        async with ActorSystem(tree, name="parallel", instruments=[record]):
            assert sorted(record.up) == [*names]
    else:
        with pytest.raises(StartError, match=f"group/{bad}"):
            await ActorSystem(tree, name="parallel", instruments=[record]).__aenter__()
    moment = {entry: number for number, entry in enumerate(journal)}
    for name in names:
        for each in after[name]:
            if ("starts", name) in moment:
                assert moment["up", each] < moment["starts", name], journal
            # Dependents end first, and nobody stops while somebody is still starting.
            if ("stops", each) in moment and ("stops", name) in moment:
                assert moment["down", name] < moment["stops", each], journal
    stops = [number for (what, _), number in moment.items() if what == "stops"]
    starts = [number for (what, _), number in moment.items() if what in ("starts", "up", "cancelled", "fails")]
    assert not stops or max(starts) < min(stops), journal
    # Whoever has come up has ended again, and whoever has not has no part in that.
    assert sorted(name for what, name in journal if what == "down") == sorted(record.up)
