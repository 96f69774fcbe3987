"""Debugging verbs among messages, crashes, cancels and ends, in every order of them.

The book is kept by the actors, by what the verbs call, and by whoever calls them; it asks the runtime nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from typing import Any

from understudy import (
    Actor,
    ActorRef,
    ActorStopped,
    Message,
    NotReplaced,
    Traced,
    UnderstudyError,
    child,
    handler,
    supervisor,
)
from understudy.testing import Faults, Simulation, simulate

HARSH = Faults(crash=0.05, cancel=0.05, stall=math.inf)
State = dict[str, Any]


class Quick(Message[int]):
    number: int


class Slow(Message[int]):
    number: int
    seconds: float = 0.0


class Beside(Message[int]):
    number: int
    seconds: float = 0.0


class Oops(Exception):
    """A change fails."""


class Book:
    """What has happened, and what must not happen."""

    def __init__(self, sim: Simulation) -> None:
        self.sim = sim
        self.suspended = False
        self.lives = 0
        """How many instances have been made."""
        self.inside: Counter[int] = Counter()
        """By the instance, how many handlers have begun and not ended; those of a zombie end at any time."""
        self.cls: type[Actor[Any]] = Worker
        """What the actor is an instance of."""
        self.ran: Counter[int] = Counter()
        """By the number of a change, how often it was made."""
        self.begun: list[int] = []

    def begins(self, worker: Worker, number: int) -> None:
        """A handler begins."""
        if self.suspended and number >= 100:  # what is handled beside others begins later than it is taken in hand
            self.sim.violated(f"{number} is handled although the actor is suspended")
        if type(worker) is not self.cls:
            self.sim.violated(f"{number} is handled by a {type(worker).__name__}, not by a {self.cls.__name__}")
        if worker.left != worker.right:
            self.sim.violated(f"{number} meets half a state: {worker.left} and {worker.right}")
        self.begun.append(number)

    def between(self, change: int) -> None:
        """A change is made."""
        if self.inside[self.lives]:
            self.sim.violated(f"the change {change} is made while {self.inside[self.lives]} handlers are under way")
        self.ran[change] += 1


class Worker(Actor[Quick | Slow | Beside]):
    """Its attributes `left` and `right` are always the same."""

    def __init__(self, book: Book) -> None:
        book.lives += 1
        self.book, self.life = book, book.lives
        self.left = self.right = 0

    @handler
    def quick(self, message: Quick) -> int:
        self.book.begins(self, message.number)
        return message.number

    @handler
    async def slow(self, message: Slow) -> int:
        return await self._wait(message)

    @handler(reentrant=True)
    async def beside(self, message: Beside) -> int:
        return await self._wait(message)

    async def _wait(self, message: Slow | Beside) -> int:
        book, life = self.book, self.life
        book.begins(self, message.number)
        book.inside[life] += 1
        try:
            await asyncio.sleep(message.seconds)
        finally:
            book.inside[life] -= 1
        return message.number


class Other(Worker):
    """Does the same, and is another class."""


class Operator:
    """Calls verbs at random, and holds them to their word."""

    def __init__(self, sim: Simulation, book: Book, ref: ActorRef[Any], first: int) -> None:
        self.sim, self.book, self.ref, self.number = sim, book, ref, first

    async def act(self, count: int) -> None:
        verbs: list[Callable[[], Awaitable[None]]] = [self.state, self.state, self.behaviour, self.pause, self.look]
        for _ in range(count):
            await self.sim.random.choice(verbs)()
            await asyncio.sleep(self.sim.random.choice([0, 0, 0.05]))

    async def pause(self) -> None:
        """Let the actor rest for a while."""
        self.ref.debug.suspend()
        self.book.suspended = True
        await asyncio.sleep(self.sim.random.choice([0, 0.1]))
        self.book.suspended = False
        self.ref.debug.resume()

    async def look(self) -> None:
        """See that what is at once is at once."""
        with contextlib.suppress(ActorStopped):
            state = self.ref.debug.get_state()
            assert state.suspended == self.book.suspended
            assert state.state.get("left") == state.state.get("right")
            assert self.ref.debug.statistics().restarts == max(state.incarnation - 1, 0)

    async def state(self) -> None:
        """Replace the state, or fail half-way."""
        self.number += 1
        number, fails = self.number, self.sim.random.random() < 0.3

        def change(state: State) -> State:
            self.book.between(number)
            state["left"] = number
            if fails:
                raise Oops
            state["right"] = number
            return state

        await self._call(number, lambda timeout: self.ref.debug.replace_state(change, timeout=timeout))

    async def behaviour(self) -> None:
        """Replace the class, or fail half-way."""
        self.number += 1
        number, fails = self.number, self.sim.random.random() < 0.3
        cls = self.sim.random.choice([Worker, Other])

        def migrate(old: Worker) -> State:
            self.book.between(number)
            old.left = number
            if fails:
                raise Oops
            self.book.cls = cls
            return {"book": old.book, "life": old.life, "left": number, "right": number}

        await self._call(number, lambda timeout: self.ref.debug.replace_behaviour(cls, migrate, timeout=timeout))

    async def _call(self, number: int, verb: Callable[[float], Awaitable[object]]) -> None:
        book, allowed, cancelled = self.book, {0}, False
        called = asyncio.ensure_future(verb(self.sim.random.choice([0.02, 1.0, math.inf])))
        if self.sim.random.random() < 0.2:
            await asyncio.sleep(self.sim.random.choice([0, 0.01]))
            cancelled = called.cancel()
        try:
            await called
        except asyncio.CancelledError:
            allowed = {0, 1}  # by the change, or just before it: nobody is told
            assert cancelled
        except NotReplaced as error:
            allowed = {1} if isinstance(error.__cause__, Oops) else {0}
        except ActorStopped:
            allowed = {0}
        else:
            allowed = {1}
        if book.ran[number] not in allowed:
            self.sim.violated(
                f"the change {number} was made {book.ran[number]} times, and its caller was told otherwise"
            )


def talk(sim: Simulation, book: Book, ref: ActorRef[Any], group: asyncio.TaskGroup) -> None:
    """Let some send numbered messages, one after another, and others one each that is handled beside them."""

    async def send(message: Any) -> None:
        if sim.random.random() < 0.5:
            ref.tell(message)
        else:
            with contextlib.suppress(UnderstudyError):
                assert await ref.ask(message, timeout=math.inf) == message.number

    async def send_some(first: int) -> None:
        for number in range(first, first + 6):
            slow = Slow(number=number, seconds=sim.random.choice([0, 0.01]))
            await send(sim.random.choice([Quick(number=number), slow]))

    for sender in (100, 200):
        group.create_task(send_some(sender), name=f"sender-{sender}")
    for number in range(4):
        message = Beside(number=number, seconds=sim.random.choice([0, 0.01]))
        group.create_task(send(message), name=f"beside-{number}")


@simulate(schedules=20, faults=HARSH)
async def test_verbs_keep_their_word_among_messages_crashes_and_restarts(sim: Simulation) -> None:
    book = Book(sim)
    spec = child(Worker, book).options(name="worker", max_concurrency=2)
    root = await sim.system.spawn(supervisor("root", spec, max_restarts=100_000))
    worker: ActorRef[Any] = sim.system.lookup(f"{root.path}/worker", Worker)
    async with asyncio.TaskGroup() as group:
        talk(sim, book, worker, group)
        group.create_task(Operator(sim, book, worker, 1000).act(6), name="operator")
        group.create_task(replacer(sim, book, worker), name="replacer")
    await sim.quiesce()
    assert worker.status == "running"
    assert not worker.debug.get_state().suspended
    assert worker.debug.get_state().waiting == 0
    assert len(book.begun) == len(set(book.begun))
    standing = worker._cell.standing
    assert standing is None or standing.changes == []


async def replacer(sim: Simulation, book: Book, worker: ActorRef[Any]) -> None:
    """A second operator, who only replaces."""
    operator = Operator(sim, book, worker, 2000)
    for _ in range(4):
        await sim.random.choice([operator.state, operator.behaviour])()


@simulate(schedules=20, faults=Faults(crash=0.02, cancel=0.02, stall=10.0))
async def test_verbs_have_an_outcome_when_the_actor_ends(sim: Simulation) -> None:
    book = Book(sim)
    worker = await sim.system.spawn(child(Worker, book).options(shutdown=0.5, restart="temporary"))
    async with asyncio.TaskGroup() as group:
        talk(sim, book, worker, group)
        group.create_task(Operator(sim, book, worker, 1000).act(4), name="operator")
        group.create_task(replacer(sim, book, worker), name="replacer")
        await asyncio.sleep(sim.random.choice([0, 0.02, 0.1]))
        ending = sim.random.choice([worker.stop, worker.drain, worker.kill])
        ending()
        await asyncio.sleep(0.3)
        worker.stop()
    await worker.wait_stopped()
    assert worker._cell.standing is None


class Tracer(Actor[Traced]):
    """Is suspended, so that what it was told waits to be looked at."""

    @handler
    def traced(self, message: Traced) -> None: ...


@simulate(schedules=20, faults=HARSH)
async def test_a_trace_tells_of_each_message_that_it_began_and_how_it_ended(sim: Simulation) -> None:
    book = Book(sim)
    tracer = await sim.system.spawn(child(Tracer).options(mailbox=math.inf))
    tracer.debug.suspend()
    spec = child(Worker, book).options(name="worker", mailbox=3)
    root = await sim.system.spawn(supervisor("root", spec, max_restarts=100_000))
    worker: ActorRef[Any] = sim.system.lookup(f"{root.path}/worker", Worker)
    worker.debug.trace(tracer)
    async with asyncio.TaskGroup() as group:
        talk(sim, book, worker, group)
        group.create_task(Operator(sim, book, worker, 1000).pause(), name="operator")
        group.create_task(replacer(sim, book, worker), name="replacer")
    await sim.quiesce()
    mailbox = tracer._cell.mailbox
    told: defaultdict[int, list[str]] = defaultdict(list)
    for each in [] if mailbox is None else mailbox.contents():
        if isinstance(each.message, Quick | Slow | Beside):
            told[each.message.number].append(each.event)
    ends = [[each] for each in ("handled", "replied", "late", "failed")]
    # A handler that was interrupted has lost its message, and one that was given up on does not end.
    ends += [["interrupted", "lost"], ["lost"]]
    for number, events in told.items():
        assert events == ["lost"] or (events[0] == "received" and events[1:] in ends), (number, events)
    assert not [number for number in book.begun if told[number] == ["lost"]]
