"""The philosophers: who waits for ever and who is told, who gets a fork, and what many orders of events do to them."""

from __future__ import annotations

import asyncio
import contextlib
import math
from pathlib import Path
from typing import Any, Never

import pytest

from examples.philosophers.actors import Evening, Fork
from examples.philosophers.messages import Dine, Put, Take
from examples.philosophers.program import Philosophers, breathe, choking, meeting
from examples.philosophers.table import JealousTable, OrderedTable, Table
from tests.cast import Recorder, settle
from understudy import (
    Actor,
    ActorFailed,
    ActorRef,
    ActorSystem,
    AskCycle,
    AskTimeout,
    Normal,
    Refused,
    UnderstudyError,
    ask_many,
    child,
)
from understudy.testing import DeadlockError, FakeRef, Faults, Simulation, simulate, unit

NAMES = ("ada", "ben", "cas")


async def lay(system: ActorSystem, table: type[Table], evening: Evening, **options: Any) -> dict[str, ActorRef[Dine]]:
    await system.spawn(child(table, "table", NAMES, evening, **options).options(name="table"))
    return {name: system.lookup(f"table/guests/{name}") for name in NAMES}


# The program


@pytest.mark.asyncio
async def test_the_evening_ends_by_itself_and_only_guests_have_crashed() -> None:
    recorder = Recorder()
    async with ActorSystem(Philosophers, instruments=[recorder]) as system:
        await system.wait_stopped()
    crashed = [(path.rpartition("/")[2], kind) for path, _, kind in recorder.of("actor_crashed")]
    assert sorted(crashed[:5]) == [(name, "Dine") for name in ("ada", "ben", "cas", "dan", "eve")]
    assert sorted(crashed[5:]) == [("ben", "Dine"), ("dan", "Dine")]
    assert recorder.of("gave_up") == []
    assert ("/user/philosophers/host", Normal()) in recorder.of("actor_stopped")


@pytest.mark.asyncio
async def test_a_circle_of_handlers_that_wait_is_found_at_once_and_costs_one_meal() -> None:
    recorder = Recorder()
    begin = asyncio.get_running_loop().time()
    async with ActorSystem(instruments=[recorder]) as system:
        guests = await lay(system, JealousTable, Evening(meeting(3), breathe))
        ends = await ask_many(list(guests.values()), Dine(), timeout=math.inf)
        (refused,) = [end for end in ends if isinstance(end, Refused)]
        assert [end for end in ends if end is not refused] == [1, 1]
        assert isinstance(refused.__cause__, AskCycle)
        assert set(refused.__cause__.chain) == {f"/user/table/fork-{number}" for number in range(3)}
    assert asyncio.get_running_loop().time() == begin
    assert recorder.of("actor_crashed") == []


@pytest.mark.asyncio
async def test_a_circle_of_promised_replies_is_not_found_and_ends_at_the_deadline() -> None:
    begin = asyncio.get_running_loop().time()
    async with ActorSystem() as system:
        guests = await lay(system, Table, Evening(meeting(3), breathe))
        ends = await ask_many(list(guests.values()), Dine(), timeout=7.0)
        assert [type(end) for end in ends] == [AskTimeout] * 3
        assert asyncio.get_running_loop().time() - begin == pytest.approx(7.0)
        await settle()  # the guests have failed for it, and put down what they held
        for number in range(3):
            hand = await system.spawn(Hand, system.lookup(f"table/fork-{number}", Fork))
            hand.stop()


class Hand(Actor[Never]):
    """Is up when it has the fork."""

    def __init__(self, fork: ActorRef[Take | Put]) -> None:
        self.fork = fork

    async def initialize(self) -> None:
        await self.fork.ask(Take(), timeout=1.0)


@pytest.mark.asyncio
@pytest.mark.parametrize("visitors", [[], ["ben"]], ids=["who is restarted", "who ends for good"])
async def test_the_forks_of_a_guest_who_chokes_are_free_for_his_neighbours(visitors: list[str]) -> None:
    recorder = Recorder()
    async with ActorSystem(instruments=[recorder]) as system:
        guests = await lay(system, OrderedTable, Evening(breathe, choking("ben")), visitors=visitors)
        with pytest.raises(ActorFailed, match="ben chokes"):
            await guests["ben"].ask(Dine())
        others = [ref for name, ref in guests.items() if name not in visitors]
        assert await ask_many(others, Dine(meals=2), timeout=math.inf) == [2] * len(others)
        assert (guests["ben"].status == "stopped") == (visitors == ["ben"])
    assert [path for path, *_ in recorder.of("actor_crashed")] == [guests["ben"].path]


@pytest.mark.asyncio
async def test_when_a_fork_fails_the_guests_begin_anew_before_it_does() -> None:
    recorder = Recorder()
    async with ActorSystem(instruments=[recorder]) as system:
        evening = Evening(breathe, lambda who: asyncio.sleep(3600))
        guests = await lay(system, OrderedTable, evening)
        meal = asyncio.create_task(guests["ada"].ask(Dine(), timeout=math.inf))
        await settle()
        assert set(evening.hands) == {"/user/table/fork-0", "/user/table/fork-1"}
        begun = len(recorder.events)
        system.lookup("table/fork-1", Fork).kill()
        with pytest.raises(UnderstudyError):
            await meal
        await settle()
        assert evening.hands == {}
        started = [path for path, _ in recorder.of("actor_started")[-6:]]
        assert started[0] == "/user/table/fork-1"
        assert {guests[name].path for name in NAMES} < set(started)
        assert "/user/table/fork-0" not in [event[1] for event in recorder.events[begun:]]
        evening.eat = breathe
        assert await ask_many(list(guests.values()), Dine(), timeout=math.inf) == [1, 1, 1]


# One fork


def fork_in_a_unit() -> tuple[Any, list[FakeRef]]:
    u = unit(Fork)
    return u, [u.ref(name) for name in NAMES]


def take(u: Any, who: FakeRef) -> Any:
    u.sender = who
    u.actor.take(Take())
    return u.promised[-1]


def put(u: Any, who: FakeRef) -> None:
    u.sender = who
    u.actor.put(Put())


def test_a_fork_goes_to_whoever_has_waited_longest_also_before_one_who_comes_again() -> None:
    u, (ada, ben, cas) = fork_in_a_unit()
    first, second, third = take(u, ada), take(u, ben), take(u, cas)
    put(u, ada)
    again = take(u, ada)
    assert [each.state for each in (first, second, third, again)] == ["answered", "answered", "open", "open"]
    put(u, ben)
    assert (third.state, again.state) == ("answered", "open")
    put(u, cas)
    assert (again.state, u.actor.holder) == ("answered", ada)


def test_who_does_not_hold_a_fork_cannot_put_it_down_but_waits_no_more() -> None:
    u, (ada, ben, _) = fork_in_a_unit()
    take(u, ada)
    waits = take(u, ben)
    put(u, ben)
    assert (u.actor.holder, waits.state) == (ada, "dropped")
    put(u, ada)
    assert u.actor.holder is None


def test_who_has_given_up_is_passed_over() -> None:
    u, (ada, ben, cas) = fork_in_a_unit()
    take(u, ada)
    gone, next_one = take(u, ben), take(u, cas)
    gone.give_up()
    put(u, ada)
    assert (u.actor.holder, next_one.state) == (cas, "answered")


def test_a_fork_watches_each_guest_once() -> None:
    u, (ada, ben, _) = fork_in_a_unit()
    for who in (ada, ben, ada):
        take(u, who)
        put(u, who)
    assert [each.ref for each in u.watched] == [ada, ben]


def test_only_an_actor_can_take_a_fork() -> None:
    u, _ = fork_in_a_unit()
    with pytest.raises(Refused, match="hands"):
        u.actor.take(Take())
    assert (u.promised, u.actor.holder) == ([], None)


# Many orders of events


async def everybody_eats(sim: Simulation, guests: dict[str, ActorRef[Dine]], meals: int) -> None:
    """Each guest gets so many meals, whatever happens meanwhile."""

    async def dine(guest: ActorRef[Dine]) -> None:
        eaten = 0
        while eaten < meals:
            with contextlib.suppress(UnderstudyError):
                await guest.ask(Dine(), timeout=math.inf)
                eaten += 1

    async with asyncio.TaskGroup() as group:
        for guest in guests.values():
            group.create_task(dine(guest))
            await asyncio.sleep(0.01)  # they come one after the other


@simulate(schedules=20, faults=Faults(crash=0.03, cancel=0.03))
async def test_at_the_ordered_table_nobody_starves_and_no_fork_is_in_two_hands_through_crashes(sim: Simulation) -> None:
    evening = Evening(breathe, breathe)
    sim.always("no fork is in two hands", lambda: evening.quarrels == [])
    guests = await lay(sim.system, OrderedTable, evening)
    await everybody_eats(sim, guests, meals=3)
    await sim.quiesce()
    assert evening.hands == {}
    assert [await guest.ask(Dine(), timeout=math.inf) > 0 for guest in guests.values()] == [True] * 3


# One who is killed and does not come to his next step for a second is given up, and nobody knows what he still holds.
@simulate(schedules=20, faults=Faults(stall=0.5))
async def test_at_the_ordered_table_nobody_starves_while_a_visitor_leaves_at_any_moment(sim: Simulation) -> None:
    evening = Evening(breathe, breathe)
    sim.always("no fork is in two hands", lambda: evening.quarrels == [])
    guests = await lay(sim.system, OrderedTable, evening, visitors=["ben"])
    ben = guests.pop("ben")
    ben.tell(Dine(meals=8))

    async def leave() -> None:
        for _ in range(sim.random.randrange(20)):
            await asyncio.sleep(0)
        sim.random.choice([ben.kill, ben.stop])()

    async with asyncio.TaskGroup() as group:
        group.create_task(leave())
        group.create_task(everybody_eats(sim, guests, meals=3))
    await ben.wait_stopped()
    assert evening.hands == {}


@simulate(schedules=20)
async def test_at_the_jealous_table_each_ask_ends_in_every_order(sim: Simulation) -> None:
    guests = await lay(sim.system, JealousTable, Evening(breathe, breathe))
    ends = await ask_many(list(guests.values()), Dine(), timeout=math.inf)
    assert {type(end) for end in ends} <= {int, Refused}
    assert ends.count(1) >= 2


@simulate(schedules=50)
async def the_naive_table(sim: Simulation) -> None:
    await everybody_eats(sim, await lay(sim.system, Table, Evening(breathe, breathe)), meals=1)


def test_at_the_naive_table_simulation_finds_what_an_ordinary_test_does_not(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("UNDERSTUDY_TAPES", str(tmp_path))
    with pytest.raises(DeadlockError) as found:
        the_naive_table()
    assert str(found.value).count("/user/table/guests/") >= 3
    story = "\n".join(found.value.__notes__)
    assert "schedule 1 " not in story  # the undisturbed one passes
    assert "replay" in story
