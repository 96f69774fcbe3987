"""D3 to D5: monitors and links among actors that are restarted, killed and stopped, against a book of both."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Literal

from understudy import (
    Actor,
    ActorRef,
    ActorSystem,
    ExitReason,
    LinkExit,
    Mailbox,
    Message,
    NotFound,
    StartError,
    Terminated,
    UnderstudyError,
    child,
    handler,
    is_abnormal,
)
from understudy.testing import Faults, Simulation, simulate

Restart = Literal["permanent", "transient", "temporary"]


class Watch(Message[None]):
    ref: Any


class Unwatch(Message[None]):
    which: int


class Say(Message[None]):
    """Say something to somebody."""

    to: Any
    number: int


class Said(Message[None]):
    number: int
    sender: Any


class Bind(Message[None]):
    ref: Any
    bound: bool


class Do(Message[None]):
    what: Literal["crash", "end", "wait"]


@dataclass(eq=False)
class Handle:
    """One monitor, as the book knows it."""

    watcher: ActorRef[Any]
    incarnation: int
    target: ActorRef[Any]
    monitor: Any
    wanted: bool = True
    heard: int = 0


@dataclass
class Book:
    sim: Simulation
    handles: list[Handle] = field(default_factory=list[Handle])
    up: dict[ActorRef[Any], int] = field(default_factory=dict[Any, int])
    """The incarnation that is up, or was last."""
    said: dict[tuple[Any, Any], int] = field(default_factory=dict[tuple[Any, Any], int])
    over: set[tuple[Any, Any]] = field(default_factory=set[tuple[Any, Any]])
    """Whom a watcher knows to have ended."""
    links: set[frozenset[Any]] = field(default_factory=set[frozenset[Any]])
    exits: Counter[tuple[Any, Any]] = field(default_factory=Counter[tuple[Any, Any]])
    reasons: dict[ActorRef[Any], ExitReason] = field(default_factory=dict[Any, ExitReason])
    ends: list[ActorRef[Any]] = field(default_factory=list[ActorRef[Any]])

    def terminated(self, watcher: Person, news: Terminated) -> None:
        me, incarnation = watcher.context.ref, watcher.context.incarnation
        candidates = [
            each for each in self.handles
            if (each.watcher, each.incarnation, each.target) == (me, incarnation, news.ref) and each.wanted
        ]  # fmt: skip
        waiting = [each for each in candidates if not each.heard]
        if not waiting:
            self.sim.violated(f"{me.path} hears of the end of {news.ref.path} once more than it has asked to")
            return
        waiting[0].heard += 1
        found = watcher.context.system.find(news.ref.path)
        if found == news.ref or news.ref.status != "stopped":
            self.sim.violated(f"{me.path} hears of the end of {news.ref.path}, which has not ended")
        if not isinstance(news.reason, NotFound) and news.reason != self.reasons[news.ref]:
            self.sim.violated(f"{me.path} hears another reason than there was")
        self.over.add((me, news.ref))

    def hear(self, me: ActorRef[Any], message: Said) -> None:
        if (me, message.sender) in self.over:
            self.sim.violated(f"{me.path} hears {message.sender.path} after its end")
        last = self.said.get((me, message.sender), -1)
        if message.number <= last:
            self.sim.violated(f"{me.path} hears {message.number} from {message.sender.path} after {last}")
        self.said[me, message.sender] = message.number

    def exit(self, me: ActorRef[Any], news: LinkExit) -> None:
        self.exits[me, news.ref] += 1
        if self.exits[me, news.ref] > 1:
            self.sim.violated(f"{me.path} hears of the end of {news.ref.path} twice by one link")
        if not is_abnormal(news.reason) or frozenset({me, news.ref}) not in self.links:
            self.sim.violated(f"{me.path} hears of an end that does not concern it")


class Person(Actor[Watch | Unwatch | Say | Said | Bind | Do]):
    def __init__(self, book: Book) -> None:
        self.book = book

    def initialize(self) -> None:
        self.book.up[self.context.ref] = self.context.incarnation

    @handler
    def watch(self, message: Watch) -> None:
        me = self.context.ref
        handle = Handle(me, self.context.incarnation, message.ref, self.context.watch(message.ref))
        self.book.handles.append(handle)

    @handler
    def unwatch(self, message: Unwatch) -> None:
        mine = [
            each for each in self.book.handles
            if (each.watcher, each.incarnation) == (self.context.ref, self.context.incarnation)
        ]  # fmt: skip
        if mine:
            handle = mine[message.which % len(mine)]
            self.context.unwatch(handle.monitor)
            handle.wanted = False

    @handler
    async def say(self, message: Say) -> None:
        said = Said(number=message.number, sender=self.context.ref)
        if message.number % 2:
            message.to.tell(said)
        else:
            with contextlib.suppress(UnderstudyError):
                await message.to.send(said)

    @handler
    def said(self, message: Said) -> None:
        self.book.hear(self.context.ref, message)

    @handler
    def bind(self, message: Bind) -> None:
        pair = frozenset({self.context.ref, message.ref})
        if not message.bound:
            self.context.unlink(message.ref)
            self.book.links.discard(pair)
        elif message.ref.status != "stopped":
            self.book.links.add(pair)
            self.context.link(message.ref)

    @handler
    async def do(self, message: Do) -> None:
        if message.what == "crash":
            raise ValueError
        if message.what == "end":
            self.context.stop()
        await asyncio.sleep(self.book.sim.random.choice([0, 0.1]))

    @handler
    def terminated(self, news: Terminated) -> None:
        self.book.terminated(self, news)


class Trapper(Person):
    defaults = {"trap_exits": True}

    @handler
    def exit(self, news: LinkExit) -> None:
        self.book.exit(self.context.ref, news)


@dataclass
class Crowd:
    sim: Simulation
    system: ActorSystem
    book: Book
    everybody: list[ActorRef[Any]] = field(default_factory=list[ActorRef[Any]])
    traps: set[ActorRef[Any]] = field(default_factory=set[ActorRef[Any]])
    restart: dict[ActorRef[Any], Restart] = field(default_factory=dict[Any, Restart])
    number: int = 0

    async def add(self, name: str) -> None:
        """Somebody new; perhaps under the name of somebody who has ended."""
        random = self.sim.random
        restart: Restart = random.choice(["permanent", "transient", "temporary"])
        mailbox: Any = random.choice(
            [Mailbox(capacity=2), Mailbox(capacity=100), Mailbox(capacity=2, policy="drop_old"),
             Mailbox(priority=(Said,))]
        )  # fmt: skip
        kind = random.choice([Person, Person, Trapper])
        options: dict[str, Any] = {"max_restarts": random.choice([1, 1000]), "shutdown": 0.5}
        spec = child(kind, self.book).options(name=name, restart=restart, mailbox=mailbox, **options)
        try:
            ref = await self.system.spawn(spec)
        except (UnderstudyError, StartError):
            return
        self.everybody.append(ref)
        self.restart[ref] = restart
        if kind is Trapper:
            self.traps.add(ref)
        ref.when_stopped(lambda reason: self.ended(ref, reason))

    def ended(self, ref: ActorRef[Any], reason: ExitReason) -> None:
        self.book.reasons[ref] = reason
        self.book.ends.append(ref)

    async def act(self) -> None:
        random = self.sim.random
        one, other = random.choice(self.everybody), random.choice(self.everybody)
        match random.choice(
            ["watch"] * 4 + ["unwatch"] + ["say"] * 4 + ["bind"] * 3 + ["unbind"]
            + ["crash", "crash", "end", "wait", "kill", "stop", "add", "add"]
        ):  # fmt: skip
            case "watch":
                one.tell(Watch(ref=other))
            case "unwatch":
                one.tell(Unwatch(which=random.randrange(4)))
            case "say":
                self.number += 1
                one.tell(Say(to=other, number=self.number))
            case "bind" if one != other:
                one.tell(Bind(ref=other, bound=True))
            case "unbind":
                one.tell(Bind(ref=other, bound=False))
            case "kill":
                one.kill()
            case "stop":
                one.stop()
            case "add":
                await self.add(random.choice("abcde"))
            case "crash" | "end" | "wait" as what:
                one.tell(Do(what=what))
            case _:
                pass


@simulate(schedules=20, faults=Faults(crash=0.02, cancel=0.02, stall=0.3))
async def test_each_end_is_told_once_behind_all_else_and_links_take_along_whoever_ends_when(sim: Simulation) -> None:
    book = Book(sim)
    async with ActorSystem() as system:
        crowd = Crowd(sim, system, book)
        for name in "abcd":
            await crowd.add(name)
        for _ in range(25):
            await crowd.act()
            await asyncio.sleep(sim.random.choice([0, 0, 0, 0.02]))
        await sim.quiesce()
        for handle in book.handles:
            lives = handle.watcher.status == "running" and book.up[handle.watcher] == handle.incarnation
            due = lives and handle.wanted and handle.target.status == "stopped"
            assert handle.heard <= 1
            assert not handle.heard or handle.target.status == "stopped"
            # A message that was crashed before its handler is not heard, but ends the incarnation, too.
            assert not due or handle.heard == 1, (handle.watcher.path, handle.target.path)
        check_links(crowd)
        # Nothing is kept of those that have ended.
        for ref in crowd.everybody:
            assert ref.status in ("running", "stopped")


def check_links(crowd: Crowd) -> None:
    """An abnormal end has taken along who could not come back, and was told to who traps exits and has not failed."""
    book = crowd.book
    for pair in book.links:
        for one, other in (tuple(pair), tuple(pair)[::-1]):
            reason = book.reasons.get(one)
            if reason is None or not is_abnormal(reason) or other in crowd.traps:
                continue
            if crowd.restart[other] == "temporary":
                assert other.status == "stopped", (one.path, other.path, reason)
