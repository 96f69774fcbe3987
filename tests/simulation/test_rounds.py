"""M5 and M7: many asks at once, replies that are given later or never, and deadlines that travel, under trouble."""

from __future__ import annotations

import asyncio
import gc
import math
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from understudy import (
    Actor,
    ActorRef,
    ActorSystem,
    AskTimeout,
    Instrument,
    Mailbox,
    Message,
    Reply,
    UnderstudyError,
    ask_many,
    child,
    detached,
    handler,
    supervisor,
)
from understudy.testing import Faults, Simulation, simulate

STALL = 0.3


class Work(Message[int]):
    number: int
    seconds: float = 0.0


class Later(Message[int]):
    """Answered by and by, by somebody, or not at all."""

    number: int
    seconds: float
    way: str


class Delegate(Message[list[int]]):
    """Ask others, and wait for all."""

    numbers: tuple[int, ...]
    deadline: float
    detached: bool = False


@dataclass(frozen=True)
class Answer:
    number: int


class Book(Instrument):
    """What has been answered, and what has become a dead letter."""

    def __init__(self, sim: Simulation) -> None:
        self.sim = sim
        self.late: Counter[str] = Counter()
        self.unwanted = 0
        self.answers: Counter[int] = Counter()
        self.outcomes: dict[int, str] = {}

    def dead_letter(self, message: object, recipient: str, sender: str | None, why: str) -> None:
        self.late[why] += 1

    def answered(self, number: int, wanted: bool) -> None:
        """A handle was used; only one use of it can be the reply."""
        if wanted:
            self.answers[number] += 1
            if self.answers[number] > 1:
                self.sim.violated(f"{number} has got two replies")
        else:
            self.unwanted += 1

    def outcome(self, number: int, what: object, kind: str) -> None:
        if number in self.outcomes:
            self.sim.violated(f"the ask {number} ends twice")
        if isinstance(what, int) and what != number:
            self.sim.violated(f"the ask {number} gets the reply of {what}")
        self.outcomes[number] = kind


class Helper(Actor[Work | Later | Delegate]):
    def __init__(self, book: Book, others: list[ActorRef[Any]]) -> None:
        self.book, self.others = book, others
        self.kept: dict[int, Reply[int]] = {}

    @handler
    async def work(self, message: Work) -> int:
        await asyncio.sleep(message.seconds)
        return message.number

    @handler
    def later(self, message: Later) -> Reply[int]:
        promised = self.context.reply_later(message)
        match message.way:
            case "timer" | "twice":
                self.kept[message.number] = promised
                self.context.timers.after(message.number, message.seconds or 0.001, Answer(message.number))
                if message.way == "twice":
                    self.use(message.number, promised)
            case "task":
                self.context.start_task(self.answer(message, promised))
            case _:
                pass  # forgotten: the asker hears of it at once
        return promised

    async def answer(self, message: Later, promised: Reply[int]) -> None:
        await asyncio.sleep(message.seconds)
        self.use(message.number, promised)

    def use(self, number: int, promised: Reply[int]) -> None:
        self.book.answered(number, promised.send(number))

    @handler
    def _answer(self, message: Answer) -> None:
        self.use(message.number, self.kept.pop(message.number))

    @handler
    async def delegate(self, message: Delegate) -> list[int]:
        if message.detached:
            with detached():
                return await self.ask_all(message)
        began = self.book.sim.now
        try:
            return await self.ask_all(message)
        finally:
            # A deadline binds what is asked on the way, though nobody can be quicker than the clock lets him.
            if self.book.sim.now > max(message.deadline, began) + STALL:
                self.book.sim.violated(f"asks made by {self.context.path} end after the deadline of what it handles")

    async def ask_all(self, message: Delegate) -> list[int]:
        # They take longer than some of the deadlines; those that are detached wait for all of it.
        asks = [
            (self.others[number % len(self.others)], Work(number=number, seconds=0.4 * (number % 3)))
            for number in message.numbers
        ]
        results = await ask_many(asks, timeout=1000.0)
        assert len(results) == len(asks)
        for number, result in zip(message.numbers, results, strict=True):
            assert isinstance(result, UnderstudyError) or result == number
        return [result for result in results if isinstance(result, int)]


@dataclass
class Scene:
    sim: Simulation
    book: Book
    helpers: list[ActorRef[Any]]
    timeouts: set[int] = field(default_factory=set[int])

    async def ask(self, number: int) -> None:
        random = self.sim.random
        helper = random.choice(self.helpers)
        timeout = random.choice([0.2, 1.0, math.inf])
        message: Any
        kind = random.choice(["work", "later", "later", "later", "delegate"])
        if kind == "work":
            message = Work(number=number, seconds=random.choice([0.0, 0.1]))
        elif kind == "later":
            way = random.choice(["timer", "twice", "task", "forget", "forget"])
            message = Later(number=number, seconds=random.choice([0.0, 0.1, 0.5]), way=way)
        else:
            numbers = tuple(1000 * number + each for each in range(random.randrange(1, 5)))
            deadline = self.sim.now + timeout
            message = Delegate(numbers=numbers, deadline=deadline, detached=random.random() < 0.2)
        began = self.sim.now
        try:
            reply: Any = await helper.ask(message, timeout=timeout)
        except UnderstudyError as error:
            reply = error
        if isinstance(reply, AskTimeout):
            assert self.sim.now >= began + timeout - 1e-6
        elif timeout < math.inf and self.sim.now > began + timeout + STALL:
            self.sim.violated(f"the ask {number} ends {self.sim.now - began} s after it was made")
        self.book.outcome(number, None if kind == "delegate" else reply, type(reply).__name__)

    async def ask_many(self, first: int) -> None:
        random = self.sim.random
        numbers = range(first, first + 4)
        asks: list[tuple[ActorRef[Any], Any]] = [(random.choice(self.helpers), self.kind(number)) for number in numbers]
        timeout = random.choice([0.3, math.inf])
        began = self.sim.now
        results = await ask_many(asks, timeout=timeout)
        assert len(results) == 4
        if timeout < math.inf and self.sim.now > began + timeout + STALL:
            self.sim.violated("a round of asks goes on after its deadline")
        for number, result in zip(numbers, results, strict=True):
            self.book.outcome(number, result, type(result).__name__)

    def kind(self, number: int) -> Any:
        random = self.sim.random
        if random.random() < 0.5:
            return Work(number=number, seconds=random.choice([0.0, 0.1, 1.5]))
        seconds = random.choice([0.1, 1.5])
        return Later(number=number, seconds=seconds, way=random.choice(["timer", "task", "forget"]))


@simulate(schedules=20, faults=Faults(crash=0.02, cancel=0.02, stall=STALL))
async def test_each_of_many_asks_ends_once_and_in_time_and_a_late_reply_is_one_dead_letter(sim: Simulation) -> None:
    book = Book(sim)
    helpers: list[ActorRef[Any]] = []
    specs = [
        child(Helper, book, helpers).options(
            name=f"helper-{number}", mailbox=sim.random.choice([Mailbox(capacity=2), Mailbox(capacity=100)])
        )
        for number in range(3)
    ]
    async with ActorSystem(supervisor("root", *specs, max_restarts=10**6), instruments=[book]) as system:
        helpers += [system.lookup(f"root/helper-{number}") for number in range(3)]
        scene = Scene(sim, book, helpers)
        tasks = [asyncio.create_task(scene.ask(number), name=f"asker-{number}") for number in range(1, 9)]
        tasks += [asyncio.create_task(scene.ask_many(number), name=f"round-{number}") for number in (100, 200)]
        for _ in range(3):
            await asyncio.sleep(sim.random.choice([0, 0.1]))
            if sim.random.random() < 0.3:
                sim.random.choice(helpers).kill()
            if sim.random.random() < 0.3:
                sim.random.choice(tasks).cancel()
        await sim.quiesce()
        gc.collect()  # a promise that was dropped in a circle of references is dropped when that is found
        await asyncio.wait(tasks, timeout=60)
        assert all(task.done() for task in tasks), "an ask waits for ever"
        await asyncio.sleep(2)
        await sim.quiesce()
        for task in tasks:
            if not task.cancelled():
                task.result()
    assert set(book.outcomes.values()) <= {
        *("int", "list", "AskTimeout", "ActorFailed", "ActorStopped", "NoReply", "AskCycle"),
    }
    # Each late answer of a handle is one dead letter; those that handlers return come in addition.
    assert book.late["late reply"] >= book.unwanted
