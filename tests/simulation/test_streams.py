"""M11: streams under crashes, cancels, kills and stops of either end; consumers leave, fail, are slow, or die."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from understudy import (
    Actor,
    ActorRef,
    ActorSystem,
    ChildSpec,
    Message,
    StreamMessage,
    UnderstudyError,
    child,
    handler,
    supervisor,
)
from understudy.testing import Faults, Simulation, simulate

PATIENCE = 2.0


@dataclass
class Book:
    """What the two ends of one stream have seen, each for itself."""

    number: int
    to: int
    buffer: int
    yielded: int = 0
    taken: int = 0
    opened: int = 0
    closed: int = 0
    complete: bool = False
    """The generator has come to its own end."""


class Parts(StreamMessage[int]):
    book: Any
    pause: float


class Work(Message[int]):
    number: int


class Follow(Message[str]):
    consumer: Any


@dataclass
class Ledger:
    """All streams, and who is at work."""

    sim: Simulation
    books: list[Book] = field(default_factory=list[Book])
    open: dict[str, list[Book]] = field(default_factory=dict[str, list[Book]])
    done: list[int] = field(default_factory=list[int])

    def begin(self, path: str, book: Book) -> None:
        book.opened += 1
        if book.opened > 1:
            self.sim.violated(f"stream {book.number} was begun twice")
        self.open.setdefault(path, []).append(book)

    def end(self, path: str, book: Book) -> None:
        book.closed += 1
        self.open[path].remove(book)


class Source(Actor[Parts | Work]):
    """Handles one thing at a time, so nothing else while a stream is open."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger

    def initialize(self) -> None:
        self.path = self.context.path
        if self.ledger.open.get(self.path):
            self.ledger.sim.violated(f"{self.path} begins again while a stream of the last incarnation is open")

    @handler
    async def parts(self, message: Parts) -> AsyncIterator[int]:
        book: Book = message.book
        self.check_alone()
        self.ledger.begin(self.path, book)
        try:
            for number in range(book.to):
                if message.pause:
                    await asyncio.sleep(message.pause)
                book.yielded += 1
                if book.yielded - book.taken > book.buffer:
                    self.ledger.sim.violated(f"stream {book.number} is {book.yielded - book.taken} parts ahead")
                yield number
            book.complete = True
        finally:
            if message.pause:
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.sleep(0)
            self.ledger.end(self.path, book)

    @handler
    async def work(self, message: Work) -> int:
        self.check_alone()
        self.ledger.done.append(message.number)
        return message.number

    def check_alone(self) -> None:
        if self.ledger.open.get(self.path):
            self.ledger.sim.violated(f"{self.path} handles something while a stream is open")


class Free(Source):
    """Its streams do not keep it busy."""

    @handler(reentrant=True)
    async def parts(self, message: Parts) -> AsyncIterator[int]:
        async with contextlib.aclosing(super().parts(message)) as parts:
            async for part in parts:
                yield part

    def check_alone(self) -> None: ...


class Consumer(Actor[Follow]):
    """Follows streams as an actor, which can die of anything."""

    @handler
    async def follow(self, message: Follow) -> str:
        outcome: str = await message.consumer()
        return outcome


@dataclass
class Scene:
    sim: Simulation
    ledger: Ledger
    sources: list[ActorRef[Any]]
    consumers: list[ActorRef[Any]]
    slow: set[int] = field(default_factory=set[int])

    async def follow(self, number: int, *, bare: bool) -> str:
        """One stream, followed to its end or not; what came of it.

        One that is not *bare* is closed by `async with`. A task that is cancelled between two parts keeps its frames,
        and a stream in them, as long as somebody keeps the task; an actor does not.
        """
        random = self.sim.random
        book = Book(number, to=random.randrange(6), buffer=random.randrange(1, 4))
        self.ledger.books.append(book)
        way = random.choice(["all", "all", "slow", "break", "fail", "aclose", "give up"])
        source = random.choice(self.sources)
        message = Parts(book=book, pause=random.choice([0.0, 0.0, 0.05]))
        leave = random.randrange(4)
        stream = source.stream(message, timeout=PATIENCE if way == "slow" else 1000.0, buffer=book.buffer)
        try:
            async with contextlib.nullcontext(stream) if bare else stream as parts:
                async with asyncio.timeout(0.1 if way == "give up" else None):
                    await self.take(parts, book, way, leave)
        except UnderstudyError as error:
            return type(error).__name__
        except (TimeoutError, LookupError) as error:
            return type(error).__name__
        finally:
            del stream
        if way in ("all", "slow") and (book.taken, book.complete) != (book.to, True):
            self.sim.violated(f"stream {number} ended without an error after {book.taken} of {book.to} parts")
        return "end"

    async def take(self, parts: Any, book: Book, way: str, leave: int) -> None:
        async for part in parts:
            if part != book.taken:
                self.sim.violated(f"stream {book.number} gives {part} instead of {book.taken}")
            book.taken += 1
            if way == "slow":
                await asyncio.sleep(PATIENCE * 2)
            elif way in ("break", "fail", "aclose") and part >= leave:
                if way == "fail":
                    raise LookupError(part)
                if way == "break":
                    return
                await parts.aclose()
            else:
                await asyncio.sleep(self.sim.random.choice([0, 0, 0.02]))

    async def anyhow(self, number: int) -> str:
        """In a task, or in the handler of an actor."""
        if self.sim.random.random() < 0.5:
            return await self.follow(number, bare=False)
        consumer = self.sim.random.choice(self.consumers)
        try:
            bare = self.sim.random.random() < 0.5
            return await consumer.ask(Follow(consumer=lambda: self.follow(number, bare=bare)), timeout=1000.0)
        except UnderstudyError as error:
            return type(error).__name__

    async def trouble(self, tasks: list[asyncio.Task[Any]]) -> None:
        random = self.sim.random
        for _ in range(random.randrange(5)):
            await asyncio.sleep(random.choice([0, 0.03, 0.1]))
            ref = random.choice([*self.sources, *self.consumers])
            match random.choice(["kill", "cancel", "cancel", "work", "stop", "drain"]):
                case "kill":
                    ref.kill()
                case "stop" if random.random() < 0.4:
                    ref.stop()
                case "drain" if random.random() < 0.4:
                    ref.drain(timeout=random.choice([None, 0.5]))
                case "cancel":
                    random.choice(tasks).cancel()
                case _:
                    random.choice(self.sources).tell(Work(number=random.randrange(100)))


@simulate(schedules=20, faults=Faults(crash=0.03, cancel=0.03, stall=0.3))
async def test_a_stream_is_a_prefix_and_ends_at_both_ends_whoever_stops_fails_dies_or_is_slow(sim: Simulation) -> None:
    ledger = Ledger(sim)
    kinds: list[ChildSpec[Any]] = [
        child(Source, ledger).options(name="busy", mailbox=sim.random.choice([2, 100]), shutdown=1.0),
        child(Free, ledger).options(name="free", shutdown=1.0),
        *(child(Consumer).options(name=f"consumer-{number}", shutdown=1.0) for number in range(2)),
    ]
    async with ActorSystem(supervisor("root", *kinds, max_restarts=100_000)) as system:
        refs: list[ActorRef[Any]] = [system.lookup(f"root/{spec.name}") for spec in kinds]
        scene = Scene(sim, ledger, refs[:2], refs[2:])
        tasks = [asyncio.create_task(scene.anyhow(number), name=f"follower-{number}") for number in range(6)]
        await scene.trouble(tasks)
        await asyncio.wait(tasks, timeout=300)
        assert all(task.done() for task in tasks), "a consumer waits for ever"
        outcomes = [task.result() for task in tasks if not task.cancelled()]
        await sim.quiesce()
        assert set(outcomes) <= {
            *("end", "TimeoutError", "LookupError", "AskTimeout"),
            *("ActorFailed", "ActorStopped", "ConsumerSlow", "NoReply"),
        }
        # Both ends are free.
        assert not any(ledger.open.values())
        for book in ledger.books:
            assert book.opened == book.closed <= 1
            assert book.taken <= book.yielded <= book.to
        for ref in refs[:2]:
            if ref.status == "running":
                assert await ref.ask(Work(number=-1), timeout=1000.0) == -1
