"""A1 to A4: timers, stash, behaviours, quiet periods and tasks of an actor that is disturbed, against their own books.

The books are kept by the handlers. They are begun anew by each incarnation, as the actor's own things are.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

from understudy import (
    Actor,
    ActorRef,
    ActorSystem,
    ExitReason,
    Message,
    PipeFailed,
    ReceiveTimeout,
    UnderstudyError,
    child,
    handler,
    supervisor,
)
from understudy.testing import Faults, InjectedCrash, Simulation, simulate

EARLY = 1e-6
"""Timers of the event loop may fire that much too early."""


class Do(Message[None]):
    """Calls it with the actor, in a `def` handler."""

    what: Any


class DoLater(Message[None]):
    """Calls it with the actor, in an `async def` handler, after a while."""

    what: Any
    seconds: float


# Timers


@dataclass(frozen=True)
class Ring:
    number: int


@dataclass
class Timer:
    """What an actor has set, as the book knows it."""

    number: int
    key: str
    next: float
    """Not before then."""
    interval: float | None = None
    steady: bool = False
    first: float = 0.0
    rings: int = 0


class Clock(Actor[Do | DoLater]):
    def __init__(self, book: TimerBook) -> None:
        self.book = book

    def initialize(self) -> None:
        self.book.live.clear()

    @handler
    def do(self, message: Do) -> None:
        message.what(self)

    @handler
    async def do_later(self, message: DoLater) -> None:
        await asyncio.sleep(message.seconds)
        message.what(self)

    @handler
    def _ring(self, message: Ring) -> None:
        self.book.rang(message.number)


class AsyncClock(Clock):
    @handler
    async def _ring(self, message: Ring) -> None:
        self.book.rang(message.number)
        await asyncio.sleep(self.book.sim.random.choice([0, 0.3]))


@dataclass
class TimerBook:
    sim: Simulation
    live: dict[str, Timer] = field(default_factory=dict[str, Timer])
    set: int = 0

    def rang(self, number: int) -> None:
        now = self.sim.now
        timer = next((each for each in self.live.values() if each.number == number), None)
        if timer is None:
            self.sim.violated(f"timer {number} rings, which is cancelled, replaced, over, or of an earlier incarnation")
            return
        if now < timer.next - EARLY:
            self.sim.violated(f"timer {number} rings at {now}, before {timer.next}")
        timer.rings += 1
        if timer.interval is None:
            del self.live[timer.key]
        elif timer.steady:
            # Those that are missed are left out: no more of them than were due, and the next one in its place.
            due = 1 + math.floor((now - timer.first + EARLY) / timer.interval)
            if timer.rings > due:
                self.sim.violated(f"timer {number} has rung {timer.rings} times, and {due} were due")
        else:
            timer.next = now + timer.interval

    def random_act(self) -> Callable[[Clock], None]:
        random = self.sim.random
        key, seconds = random.choice("abc"), random.choice([0.1, 0.25, 1.0])
        act = random.choice(["after", "after", "every", "steady", "cancel", "cancel all"])

        def do(actor: Clock) -> None:
            timers = actor.context.timers
            if act == "cancel":
                assert timers.cancel(key) == (self.live.pop(key, None) is not None)
            elif act == "cancel all":
                timers.cancel_all()
                self.live.clear()
            else:
                self.start(timers, key, seconds, act)
            assert len(timers) == len(self.live)
            assert all(each in timers for each in self.live)

        return do

    def start(self, timers: Any, key: str, seconds: float, act: str) -> None:
        self.set += 1
        ring, now = Ring(self.set), self.sim.now
        if act == "after":
            timers.after(key, seconds, ring)
            self.live[key] = Timer(self.set, key, now + seconds)
        else:
            first = self.sim.random.choice([None, 0.05])
            timers.every(key, seconds, ring, first=first, steady=act == "steady")
            due = now + (first or seconds)
            self.live[key] = Timer(self.set, key, due, seconds, act == "steady", first=due)


@simulate(schedules=20, faults=Faults(crash=0.02, cancel=0.02, stall=0.3))
async def test_a_timer_rings_when_it_is_wanted_and_due_and_never_otherwise(sim: Simulation) -> None:
    book = TimerBook(sim)
    kind = sim.random.choice([Clock, AsyncClock])
    async with ActorSystem(supervisor("root", child(kind, book).options(name="clock"), max_restarts=10**6)) as system:
        clock: ActorRef[Any] = system.lookup("root/clock")
        for _ in range(12):
            act = book.random_act()
            if sim.random.random() < 0.3:
                clock.tell(DoLater(what=act, seconds=sim.random.choice([0, 0.1, 0.4])))
            elif sim.random.random() < 0.1:
                clock.kill()
            else:
                clock.tell(Do(what=act))
            await asyncio.sleep(sim.random.choice([0, 0, 0.1, 0.3]))
        await sim.quiesce()
        # From here on it is up all the time: what was to come comes.
        single = [timer.number for timer in book.live.values() if timer.interval is None]
        repeated = {timer.number: timer.rings for timer in book.live.values() if timer.interval is not None}
        await sim.clock.advance(5)
        await sim.quiesce()
        assert not [timer.number for timer in book.live.values() if timer.number in single]
        for timer in book.live.values():
            assert timer.rings > repeated[timer.number]
        clock.stop()
        await clock.wait_stopped()
        book.live.clear()
        await sim.clock.advance(5)


# Stash and behaviours


class Put(Message[int]):
    sender: int
    number: int


class PutLater(Message[int]):
    sender: int
    number: int


class Turn(Message[bool]):
    """Open the shop, or close it."""


class Stop(Message): ...


class Shop(Actor[Put | PutLater | Turn]):
    """Closed at first. While it is, all is put aside; `become` opens it."""

    def __init__(self, book: ShopBook) -> None:
        self.book = book

    def initialize(self) -> None:
        self.book.open = False
        self.book.stashed = 0

    @handler
    def put(self, message: Put) -> int:
        return self.aside(message)

    @handler
    async def put_later(self, message: PutLater) -> int:
        await asyncio.sleep(0)
        return self.aside(message)

    def aside(self, message: Put | PutLater) -> int:
        self.book.check(open=False)
        assert self.context.stashed == self.book.stashed
        self.context.stash(message)
        self.book.stashed += 1
        return -1  # no reply: it waits

    @handler
    def turn(self, message: Turn) -> bool:
        self.book.check(open=False)
        self.context.become(self.opened, keep=self.book.sim.random.random() < 0.5)
        self.context.unstash_all()
        self.book.open, self.book.stashed = True, 0
        return True

    async def opened(self, message: Any) -> Any:
        self.book.check(open=True)
        match message:
            case Put() | PutLater():
                self.book.handled.append((message.sender, message.number))
                if isinstance(message, PutLater):
                    await asyncio.sleep(self.book.sim.random.choice([0, 0.05]))
                return message.number
            case Turn():
                self.book.open = False
                assert self.context.unbecome()
                return False
            case _:
                return self.handle_message(message)


@dataclass
class ShopBook:
    sim: Simulation
    open: bool = False
    stashed: int = 0
    handled: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])

    def check(self, *, open: bool) -> None:
        if self.open != open:
            self.sim.violated(f"a message meets the shop {'closed' if open else 'open'}")


@simulate(schedules=20, faults=Faults(crash=0.02, cancel=0.02, stall=0.3))
async def test_what_is_stashed_is_handled_once_in_order_and_by_the_behaviour_of_its_time(sim: Simulation) -> None:
    book = ShopBook(sim)
    spec = child(Shop, book).options(name="shop", stash=sim.random.choice([3, 1000]))
    outcomes: Counter[str] = Counter()
    accepted: list[tuple[int, int]] = []
    sent: list[tuple[int, int]] = []
    async with ActorSystem(supervisor("root", spec, max_restarts=10**6)) as system:
        shop: ActorRef[Any] = system.lookup("root/shop")

        async def put(sender: int, number: int) -> None:
            message = sim.random.choice([Put, PutLater])(sender=sender, number=number)
            sent.append((sender, number))
            if sim.random.random() < 0.5:
                assert shop.tell(message)
                accepted.append((sender, number))
                return
            try:
                assert await shop.ask(message, timeout=math.inf) == number
                assert (sender, number) in book.handled
                outcomes["reply"] += 1
            except UnderstudyError as error:
                outcomes[type(error).__name__] += 1

        async def customer(sender: int) -> None:
            async with asyncio.TaskGroup() as group:
                for number in range(5):
                    group.create_task(put(sender, number), name=f"{sender}-{number}")
                    await asyncio.sleep(sim.random.choice([0, 0.02]))

        async def keeper() -> None:
            for _ in range(4):
                await asyncio.sleep(sim.random.choice([0, 0.03, 0.1]))
                if sim.random.random() < 0.15:
                    shop.kill()
                else:
                    shop.tell(Turn())

        async with asyncio.TaskGroup() as group:
            everybody = [group.create_task(customer(sender)) for sender in range(2)]
            await group.create_task(keeper())
            await sim.quiesce()
            while not book.open:  # a handler that was crashed after its own code has lost it again
                await shop.ask(Turn(), timeout=math.inf)
            await asyncio.wait(everybody)
        await sim.quiesce()
        crashes = system.statistics().crashed
        restarted = system.statistics().restarted
    # Each once, and none before one that was sent earlier, however often they have been put aside.
    places = [sent.index(each) for each in book.handled]
    assert places == sorted(set(places)), (book.handled, sent)
    assert set(outcomes) <= {"reply", "ActorFailed", "ActorStopped"}
    # What is missing was in hand at the end of an incarnation.
    assert len(set(accepted) - set(book.handled)) <= crashes + restarted
    assert sum(outcomes.values()) + len(accepted) == 10


# A receive timeout


class Knock(Message[None]):
    seconds: float = 0.0


class Whisper(Message[None]):
    resets_receive_timeout: ClassVar[bool] = False
    seconds: float = 0.0


class Sentry(Actor[Knock | Whisper | Do]):
    def __init__(self, book: QuietBook) -> None:
        self.book = book

    def initialize(self) -> None:
        self.context.receive_timeout(1.0)
        self.context.timers.every("tick", 0.7, Ring(0))
        self.book.noise()

    @handler
    async def knock(self, message: Knock) -> None:
        self.book.noise()
        await asyncio.sleep(message.seconds)
        self.book.noise()

    @handler
    async def whisper(self, message: Whisper) -> None:
        await asyncio.sleep(message.seconds)

    @handler
    def do(self, message: Do) -> None:
        self.book.noise()

    @handler
    async def _ring(self, message: Ring) -> None:
        await asyncio.sleep(self.book.sim.random.choice([0, 0.2]))

    @handler
    def quiet(self, signal: ReceiveTimeout) -> None:
        self.book.signal()


@dataclass
class QuietBook:
    sim: Simulation
    since: float = 0.0
    told: bool = False
    signals: int = 0

    def noise(self) -> None:
        self.since, self.told = self.sim.now, False

    def signal(self) -> None:
        self.signals += 1
        if self.sim.now < self.since + 1.0 - EARLY:
            self.sim.violated(f"it was quiet for {self.sim.now - self.since} s only")
        if self.told:
            self.sim.violated("one quiet period has two signals")
        self.told = True


@simulate(schedules=20, faults=Faults(crash=0.02, cancel=0.02, stall=0.3))
async def test_each_quiet_period_has_one_signal_and_no_other_time_has_one(sim: Simulation) -> None:
    book = QuietBook(sim)
    spec = child(Sentry, book).options(name="sentry")
    async with ActorSystem(supervisor("root", spec, max_restarts=10**6)) as system:
        sentry: ActorRef[Any] = system.lookup("root/sentry")
        for _ in range(10):
            kind = sim.random.choice([Knock, Whisper, Whisper, Do])
            seconds = sim.random.choice([0, 0, 0.4, 1.5])
            sentry.tell(Do(what=None) if kind is Do else kind(seconds=seconds))
            await asyncio.sleep(sim.random.choice([0, 0.3, 0.9, 1.3]))
        await sim.quiesce()
        await sim.clock.advance(5)
        await sim.quiesce()
        assert book.told


# Tasks, what is piped, and calls in threads


@dataclass(frozen=True)
class Piped:
    number: int


@dataclass(eq=False)
class TaskBook:
    sim: Simulation
    incarnation: int = 0
    running: Counter[int] = field(default_factory=Counter[int])
    """How many tasks of each incarnation run."""
    piped: dict[int, int] = field(default_factory=dict[int, int])
    """By the number of what was piped: which incarnation has piped it."""
    arrived: Counter[int] = field(default_factory=Counter[int])

    def up(self, incarnation: int) -> None:
        if any(count for of, count in self.running.items()):
            self.sim.violated(f"incarnation {incarnation} begins while tasks of an earlier one run: {self.running}")
        self.incarnation = incarnation

    def arrive(self, number: int, incarnation: int) -> None:
        self.arrived[number] += 1
        if self.piped[number] != incarnation:
            self.sim.violated(f"incarnation {incarnation} hears of what {self.piped[number]} has piped")
        if self.arrived[number] > 1:
            self.sim.violated(f"what was piped as {number} arrives twice")


class Boss(Actor[Do | DoLater]):
    def __init__(self, book: TaskBook) -> None:
        self.book = book

    async def initialize(self) -> None:
        self.number = self.context.incarnation
        self.book.up(self.number)
        await asyncio.sleep(0)

    async def shutdown(self, reason: ExitReason) -> None:
        if self.book.running[self.number]:
            self.book.sim.violated("the shutdown hook runs while tasks of its incarnation do")
        if self.book.sim.random.random() < 0.3:
            self.context.start_task(self.work(0.2, None))
        await asyncio.sleep(0)

    @handler
    def do(self, message: Do) -> None:
        message.what(self)

    @handler
    async def do_later(self, message: DoLater) -> None:
        await asyncio.sleep(message.seconds)
        message.what(self)

    async def work(self, seconds: float, error: Exception | None) -> int:
        """What a task does; cleaning up takes a while too."""
        number = self.number
        self.book.running[number] += 1
        try:
            await asyncio.sleep(seconds)
            if error is not None:
                raise error
        finally:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(self.book.sim.random.choice([0, 0.02]))
            self.book.running[number] -= 1
        return number

    @handler
    def _piped(self, message: Piped) -> None:
        self.book.arrive(message.number, self.context.incarnation)

    @handler
    async def _failed(self, message: PipeFailed) -> None:
        assert isinstance(message.error, LookupError | concurrent.futures.CancelledError), message.error
        [number] = message.error.args if isinstance(message.error, LookupError) else [-1]
        if number >= 0:
            self.book.arrive(number, self.context.incarnation)


def random_work(sim: Simulation, book: TaskBook, number: int) -> Callable[[Boss], None]:
    random = sim.random
    seconds = random.choice([0.0, 0.05, 0.3])
    fails = random.random() < 0.2

    async def result() -> int:
        await asyncio.sleep(seconds)
        if fails:
            raise LookupError(number)
        return number

    def call() -> int:
        if fails:
            raise LookupError(number)
        return number

    def do(actor: Boss) -> None:
        kind = random.choice(["task", "pipe", "pipe", "future", "blocking"])
        if kind == "task":
            actor.context.start_task(actor.work(seconds, InjectedCrash() if fails else None))
            return
        if kind == "future":
            future = asyncio.get_running_loop().create_future()
            asyncio.get_running_loop().call_later(seconds, future.cancel)
            actor.context.pipe_to_self(future, Piped)
            return
        book.piped[number] = actor.number
        if kind == "pipe":
            actor.context.pipe_to_self(result(), Piped)
        else:
            actor.context.run_blocking(call, Piped)

    return do


@simulate(schedules=20, faults=Faults(crash=0.02, cancel=0.02, stall=0.3))
async def test_what_an_actor_starts_ends_with_it_and_what_it_pipes_arrives_once_or_it_is_gone(sim: Simulation) -> None:
    book = TaskBook(sim)
    spec = child(Boss, book).options(name="boss", shutdown=2.0)
    async with ActorSystem(supervisor("root", spec, max_restarts=10**6)) as system:
        boss: ActorRef[Any] = system.lookup("root/boss")
        for number in range(12):
            work = random_work(sim, book, number)
            seconds = sim.random.choice([0, 0.05])
            boss.tell(sim.random.choice([Do(what=work), DoLater(what=work, seconds=seconds)]))
            await asyncio.sleep(sim.random.choice([0, 0, 0.05, 0.2]))
            if sim.random.random() < 0.05:
                boss.kill()
        await sim.quiesce()
        await sim.clock.advance(2)
        await sim.quiesce()
        for number, incarnation in book.piped.items():
            if incarnation == book.incarnation:
                assert book.arrived[number] == 1, (number, incarnation)
        boss.stop()
        await boss.wait_stopped()
        assert not +book.running
        assert system.statistics().blocking == 0
        assert system.abandoned == ()
