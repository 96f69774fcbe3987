"""Each monitor finds the fault that it is there for, planted into the runtime, and is silent without it."""

from __future__ import annotations

import asyncio
import contextlib
import math
import sys
from collections.abc import Callable
from typing import Any

import pytest

from tests.testing.sim_stage import KINDS, Test, once, strategy
from understudy import (
    Actor,
    ActorFailed,
    ActorRef,
    ActorStopped,
    ActorSystem,
    Mailbox,
    Message,
    Unhandled,
    child,
    handler,
    supervisor,
)
from understudy._plans._intensity import Window
from understudy.actors._asks import Ask
from understudy.actors._cell import Cell
from understudy.actors._family import Family
from understudy.actors._inbox import Inbox
from understudy.actors._life import Ending
from understudy.instrument import Instrument
from understudy.mailbox._queue import AsyncMessageQueue
from understudy.testing import Faults, Violation
from understudy.testing._schedule import Outcome
from understudy.testing._simulation import Simulation

Plant = Callable[[pytest.MonkeyPatch], None]


class Put(Message[int]):
    number: int


class Slow(Message[int]):
    number: int


class Fail(Message): ...


class Shelf(Actor[Put | Slow | Fail]):
    @handler
    def put(self, message: Put) -> int:
        return message.number

    @handler
    async def slow(self, message: Slow) -> int:
        await asyncio.sleep(0.01)
        return message.number

    @handler
    def fail(self, message: Fail) -> None:
        raise ValueError


async def spawn(sim: Simulation, name: str = "shelf", **options: Any) -> ActorRef[Put | Slow | Fail]:
    return await sim.system.spawn(child(Shelf).options(name=name, **options))


def violations(test: Test, seeds: int = 6, **options: Any) -> list[str]:
    """What is broken under a few seeds of each strategy; the same thing each time."""
    found: list[str] = []
    for kind in KINDS:
        for seed in range(1 if kind == "fifo" else seeds):
            outcome = once(test, strategy(kind, seed), seed=seed, **options)
            if outcome.error is not None:
                assert isinstance(outcome.error, Violation), outcome.error
                found.append(str(outcome.error))
    return found


# Traffic of every kind, and the faults that can be planted under it


async def tells(sim: Simulation) -> None:
    ref = await spawn(sim)

    async def produce(first: int) -> None:
        for number in range(first, first + 5):
            ref.tell(Put(number=number) if number % 2 else Slow(number=number))
            await asyncio.sleep(0)

    await asyncio.gather(produce(0), produce(100))
    await sim.quiesce()


async def sends(sim: Simulation) -> None:
    ref = await spawn(sim, mailbox=Mailbox(capacity=2), max_restarts=100)

    async def produce(first: int) -> None:
        for number in range(first, first + 5):
            await ref.send(Slow(number=number))

    await asyncio.gather(produce(0), produce(100))
    await sim.quiesce()


async def asks(sim: Simulation) -> None:
    ref = await spawn(sim)

    async def ask(message: Put | Slow) -> None:
        await ref.ask(message, timeout=math.inf)

    tasks = [asyncio.create_task(ask(Put(number=number))) for number in range(3)]
    tasks += [asyncio.create_task(ask(Slow(number=number))) for number in range(3, 6)]
    await asyncio.wait(tasks, timeout=10)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


async def asks_to_the_end(sim: Simulation) -> None:
    """The system closes while somebody waits."""
    ref = await spawn(sim)

    async def wait() -> None:
        with contextlib.suppress(ActorStopped):
            await ref.ask(Slow(number=1), timeout=math.inf)

    waiting = sim.loop.create_task(wait(), name="waits")
    await asyncio.sleep(0)
    sim.note(waiting.get_name())


async def failures(sim: Simulation) -> None:
    spec = supervisor("boss", child(Shelf).options(name="shelf"), max_restarts=2, max_seconds=1.0)
    boss = await sim.system.spawn(spec.options(restart="temporary"))
    ref = sim.system.lookup("/user/boss/shelf", Shelf)
    for pause in (0.6, 0.6, 0.3, 0.3, 0.3):
        ref.tell(Fail())
        await asyncio.sleep(pause)
    boss.stop()


async def alone(sim: Simulation) -> None:
    """An actor with a budget of its own."""
    ref = await spawn(sim)
    for _ in range(4):
        ref.tell(Fail())
        await asyncio.sleep(0.1)
    await ref.wait_stopped()


async def limits_of_their_own(sim: Simulation) -> None:
    """A child whose limit is below its supervisor's, one whose limit is above it, and one that has no supervisor."""
    low = child(Shelf).options(name="low", max_restarts=1, max_seconds=5.0)
    high = child(Shelf).options(name="high", max_restarts=9)
    boss = await sim.system.spawn(supervisor("boss", low, high, max_restarts=4).options(restart="temporary"))
    alone = await spawn(sim, "alone", max_restarts=6)
    for name, failures in (("low", 2), ("high", 3)):
        ref = sim.system.lookup(f"/user/boss/{name}", Shelf)
        for _ in range(failures):
            ref.tell(Fail())
            alone.tell(Fail())
            await asyncio.sleep(0.1)
    await boss.wait_stopped()
    await sim.quiesce()
    assert alone.status == "running"


async def families(sim: Simulation) -> None:
    spec = supervisor("boss", child(Shelf).options(name="one"), child(Shelf).options(name="two"))
    boss = await sim.system.spawn(spec)
    sim.system.lookup("/user/boss/one", Shelf).tell(Slow(number=1))
    boss.stop()
    await boss.wait_stopped()


async def everything(sim: Simulation) -> None:
    for part in (tells, asks, failures, families):
        async with ActorSystem(name=part.__name__) as system:
            await part(_Within(sim, system))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


class _Within:
    """A simulation with another system in it."""

    def __init__(self, sim: Simulation, system: ActorSystem) -> None:
        self.sim, self.system = sim, system

    def __getattr__(self, name: str) -> Any:
        return getattr(self.sim, name)


TRAFFIC: list[Test] = [
    tells,
    sends,
    asks,
    asks_to_the_end,
    failures,
    alone,
    limits_of_their_own,
    families,
    everything,
]


@pytest.mark.parametrize("traffic", TRAFFIC)
def test_without_a_fault_in_the_runtime_nothing_is_broken(traffic: Test) -> None:
    assert violations(traffic, 8) == []


@pytest.mark.parametrize("traffic", [tells, sends])
def test_crashes_and_cancels_break_nothing(traffic: Test) -> None:
    assert violations(traffic, 10, faults=Faults(crash=0.05, cancel=0.1, stall=math.inf)) == []


def patch_take(patch: pytest.MonkeyPatch, take: Callable[[AsyncMessageQueue[Any]], Any]) -> None:
    """Put *take* in its place, and let nobody take past it, as a pump does while there is little in the queue."""
    tune = AsyncMessageQueue[Any]._tune

    def tuned(self: AsyncMessageQueue[Any], busy: bool) -> None:
        tune(self, busy)
        self.take_up_to = min(self.take_up_to, 0)

    patch.setattr(AsyncMessageQueue, "take", take)
    patch.setattr(AsyncMessageQueue, "_tune", tuned)


def drops_in_silence(patch: pytest.MonkeyPatch) -> None:
    real = AsyncMessageQueue[Any].take

    def take(self: AsyncMessageQueue[Any]) -> Any:
        item = real(self)
        return real(self) if getattr(item, "number", None) == 2 and self.items else item

    patch_take(patch, take)


def accepts_and_forgets(patch: pytest.MonkeyPatch) -> None:
    real = AsyncMessageQueue[Any].offer

    def offer(self: AsyncMessageQueue[Any], item: Any) -> bool:
        return True if getattr(item, "number", None) == 3 else real(self, item)

    patch.setattr(AsyncMessageQueue, "offer", offer)


def delivers_twice(patch: pytest.MonkeyPatch) -> None:
    real, given = AsyncMessageQueue[Any].take, set[int]()

    def take(self: AsyncMessageQueue[Any]) -> Any:
        item = real(self)
        if getattr(item, "number", None) == 3 and id(item) not in given:
            given.add(id(item))
            self.push_front(item)
        return item

    patch_take(patch, take)


def reorders(patch: pytest.MonkeyPatch) -> None:
    real = AsyncMessageQueue[Any].offer

    def offer(self: AsyncMessageQueue[Any], item: Any) -> bool:
        accepted = real(self, item)
        self.items.rotate(1)
        return accepted

    patch.setattr(AsyncMessageQueue, "offer", offer)


def is_both_handled_and_a_dead_letter(patch: pytest.MonkeyPatch) -> None:
    real = AsyncMessageQueue[Any].take

    def take(self: AsyncMessageQueue[Any]) -> Any:
        item = real(self)
        cell = vars(type(self))["_cell"].__get__(self)
        if getattr(item, "number", None) == 3 and cell.path == "/user/shelf":
            cell.runtime.dead_letter(item, cell.path, None, "planted")
        return item

    patch_take(patch, take)


def forgets_to_wake(patch: pytest.MonkeyPatch) -> None:
    real = Cell.settle

    def settle(self: Cell) -> None:
        real(self)
        if self.path == "/user/shelf" and self.mailbox is not None:
            self.ready = False

    patch.setattr(Cell, "settle", settle)


def leaves_asks_open(patch: pytest.MonkeyPatch) -> None:
    def ignore(*args: object) -> bool:
        return True

    for name in ("reply", "fail", "give_up"):
        patch.setattr(Ask, name, ignore)
    patch.setattr(Inbox, "replied", ignore)  # it sets the future by itself


def count_failures_with(count: Callable[..., Window], patch: pytest.MonkeyPatch) -> None:
    """Wherever failures are counted."""
    where = [module for name, module in sys.modules.items() if name.startswith("understudy.actors.")]
    where = [module for module in where if hasattr(module, "count_failure")]
    assert where
    for module in where:
        patch.setattr(module, "count_failure", count)


def counts(too_many: int) -> Plant:
    """Restarts so many times more often than it may."""

    def plant(patch: pytest.MonkeyPatch) -> None:
        def count(times: list[float], now: float, max_restarts: int, max_seconds: float) -> Window:
            times = [*(time for time in times if time >= now - max_seconds), now]
            return Window(times, len(times) > max_restarts + too_many)

        count_failures_with(count, patch)

    return plant


def forgets_failures_too_soon(patch: pytest.MonkeyPatch) -> None:
    def count(times: list[float], now: float, max_restarts: int, max_seconds: float) -> Window:
        times = [*(time for time in times if time >= now - max_seconds / 100), now]
        return Window(times, len(times) > max_restarts)

    count_failures_with(count, patch)


def ends_before_its_children(patch: pytest.MonkeyPatch) -> None:
    real = Cell._stop_children  # pyright: ignore[reportPrivateUsage]

    def stop(self: Cell, family: Family[Cell], ending: Ending) -> None:
        if self.path == "/user/boss":
            self.runtime.instruments.emit(Instrument.actor_stopped, self.path, ending.final_reason())
        real(self, family, ending)

    patch.setattr(Cell, "_stop_children", stop)


def ends_twice(patch: pytest.MonkeyPatch) -> None:
    real = Cell.bury

    def bury(self: Cell, reason: Any) -> None:
        real(self, reason)
        if self.path.startswith("/user/"):
            self.runtime.instruments.emit(Instrument.actor_stopped, self.path, reason)

    patch.setattr(Cell, "bury", bury)


def never_says_that_it_ended(patch: pytest.MonkeyPatch) -> None:
    real = Cell.bury

    def bury(self: Cell, reason: Any) -> None:
        self.came_up = self.came_up and self.path != "/user/shelf"
        real(self, reason)

    patch.setattr(Cell, "bury", bury)


PLANTED: list[tuple[Plant, Test, str]] = [
    (drops_in_silence, tells, "delivery: Slow(number=2) for /user/shelf was accepted"),
    (accepts_and_forgets, tells, "delivery: Put(number=3) for /user/shelf was accepted"),
    (delivers_twice, tells, "delivery: /user/shelf handles Put(number=3) for the 2. time"),
    (is_both_handled_and_a_dead_letter, tells, "delivery: "),
    (reorders, tells, "order: /user/shelf handles "),
    (forgets_to_wake, tells, "wakeups: /user/shelf is idle"),
    (leaves_asks_open, asks_to_the_end, "asks: the ask of "),
    (counts(+1), failures, "restarts: /user/boss/shelf is restarted, the 3. time within 1 s"),
    (counts(-1), failures, "restarts: /user/boss gives up after 2 failures"),
    (counts(+1), alone, "restarts: /user/shelf is restarted, the 4. time within 5 s"),
    (counts(-1), alone, "restarts: /user/shelf gives up after 3 failures"),
    (counts(+1), limits_of_their_own, "restarts: /user/boss/low is restarted, the "),
    (counts(-1), limits_of_their_own, "restarts: /user/boss"),
    (forgets_failures_too_soon, alone, "restarts: /user/shelf"),
    (ends_before_its_children, families, "lives: /user/boss has stopped before /user/boss/one"),
    (ends_twice, tells, "lives: /user/shelf has stopped without having started, or twice"),
    (never_says_that_it_ended, tells, "lives: /user has stopped before /user/shelf"),
]


@pytest.mark.parametrize(
    ("plant", "traffic", "broken"), PLANTED, ids=[f"{traffic.__name__}-{broken[:40]}" for _, traffic, broken in PLANTED]
)
def test_a_planted_fault_is_found(plant: Plant, traffic: Test, broken: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)
    found = violations(traffic, 5)
    assert len(found) >= 2, found  # of 21; it may need a certain order
    assert {message[: len(broken)] for message in found} == {broken}


# What is left behind


async def leaks_a_task(sim: Simulation) -> None:
    sim.loop.create_task(asyncio.Event().wait(), name="forgotten")
    await asyncio.sleep(0)


async def leaks_a_timer(sim: Simulation) -> None:
    sim.loop.call_later(100, print)


async def leaks_a_file(sim: Simulation) -> None:
    sim.disk.open("/forgotten", "wb")


async def leaks_a_connection(sim: Simulation) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "host", 80)
    _, writer = await asyncio.open_connection("host", 80)
    server.close()
    sim.loop.kept = writer  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    await asyncio.sleep(1)


async def leaks_a_server(sim: Simulation) -> None:
    await asyncio.start_server(lambda reader, writer: None, "host", 80)


@pytest.mark.parametrize(
    ("test", "told"),
    [
        (leaks_a_task, "'forgotten' in Event.wait"),
        (leaks_a_timer, "a timer of print, due at 100 s"),
        (leaks_a_file, "/forgotten"),
        (leaks_a_connection, "host"),
        (leaks_a_server, "host:80"),
    ],
)
def test_what_is_left_behind_is_found(test: Test, told: str) -> None:
    for kind in ("fifo", "pos"):
        error = once(test, strategy(kind, 1)).error
        assert isinstance(error, Violation)
        assert "left behind at the end" in str(error)
        assert told in str(error)


async def tidies_up(sim: Simulation) -> None:
    task = sim.loop.create_task(asyncio.Event().wait(), name="ended")
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    sim.loop.call_later(100, print).cancel()
    with sim.disk.open("/closed", "wb"):
        pass


def test_what_is_put_away_is_not() -> None:
    assert violations(tidies_up, 4) == []


# Where a monitor might see a ghost


async def equal_names(sim: Simulation) -> None:
    """Two senders of one name are two senders."""
    ref = await spawn(sim, mailbox=Mailbox(capacity=1))

    async def produce() -> None:
        for number in range(4):
            await ref.send(Slow(number=number))

    await asyncio.gather(*(asyncio.create_task(produce(), name="same") for _ in range(3)))
    await sim.quiesce()


async def one_message_many_times(sim: Simulation) -> None:
    ref, other = await spawn(sim), await spawn(sim, "other")
    message = Put(number=1)
    for _ in range(3):
        ref.tell(message)
        other.tell(message)
        await asyncio.sleep(0)
    await sim.quiesce()


async def refused_and_sent_again(sim: Simulation) -> None:
    ref = await spawn(sim, mailbox=Mailbox(capacity=1))
    message = Slow(number=1)
    for _ in range(5):
        ref.tell(message)
        ref.tell(message)
        await asyncio.sleep(0.007)
    await sim.quiesce()


async def stopped_with_full_hands(sim: Simulation) -> None:
    ref = await spawn(sim)
    for number in range(5):
        ref.tell(Slow(number=number))
    await asyncio.sleep(0.005)
    ref.stop()
    ref.tell(Slow(number=5))
    await ref.wait_stopped()


async def killed_and_named_again(sim: Simulation) -> None:
    for _ in range(3):
        ref = await spawn(sim)
        ref.tell(Slow(number=1))
        ref.stop()
        ref.tell(Slow(number=2))
        await ref.wait_stopped()


async def asks_that_fail(sim: Simulation) -> None:
    ref = await spawn(sim)
    with pytest.raises(ActorFailed):
        await ref.ask(Fail())
    asked = asyncio.ensure_future(ref.ask(Slow(number=1)))
    await asyncio.sleep(0)
    asked.cancel()
    await asyncio.wait([asked])
    ref.stop()
    await ref.wait_stopped()


class Strange(Message[int]): ...


async def asks_that_nobody_handles(sim: Simulation) -> None:
    ref: ActorRef[Any] = await spawn(sim)
    with pytest.raises(Unhandled):
        await ref.ask(Strange())
    asked = asyncio.ensure_future(ref.ask(Strange()))
    await asyncio.sleep(0)  # by now it may be in the mailbox, or be handled
    asked.cancel()
    await asyncio.wait([asked])
    await sim.quiesce()


class Drawer(Actor[Put]):
    """Puts everything aside."""

    @handler
    def put(self, message: Put) -> int:
        self.context.stash(message)
        return 0


async def put_aside_for_long(sim: Simulation) -> None:
    drawer = await sim.system.spawn(Drawer)
    for number in range(3):
        drawer.tell(Put(number=number))
    await sim.quiesce()
    await asyncio.sleep(1.0)


class Juggler(Actor[Slow]):
    @handler(reentrant=True)
    async def slow(self, message: Slow) -> int:
        await asyncio.sleep(0.01)
        return message.number


async def handled_beside_each_other(sim: Simulation) -> None:
    juggler = await sim.system.spawn(Juggler)
    for number in range(4):
        juggler.tell(Slow(number=number))
    await sim.quiesce()


GHOSTS: list[Test] = [
    equal_names, one_message_many_times, refused_and_sent_again, stopped_with_full_hands,
    killed_and_named_again, asks_that_fail, asks_that_nobody_handles, put_aside_for_long, handled_beside_each_other,
]  # fmt: skip


@pytest.mark.parametrize("test", GHOSTS)
def test_what_is_allowed_is_no_violation(test: Test) -> None:
    assert violations(test, 12) == []


def test_a_violation_ends_the_run_where_it_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    delivers_twice(monkeypatch)
    reached: list[bool] = []

    async def test(sim: Simulation) -> None:
        await tells(sim)
        reached.append(True)

    outcome: Outcome = once(test, story=True)
    assert isinstance(outcome.error, Violation)
    assert reached == []
    assert "broken: delivery" in outcome.story[-1]
