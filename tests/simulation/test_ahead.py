"""What is done ahead of its turn, by chance: nobody can tell it from what is not.

The actors have neither constructor nor hooks, so that their starts and ends may be made at once; callers get what they
wait for without a turn of the event loop, and a pump may go on for the next incarnation.
"""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Literal

from understudy import (
    Actor,
    ActorRef,
    ActorSystem,
    DynamicSupervisor,
    Message,
    SupervisorRef,
    UnderstudyError,
    child,
    handler,
)
from understudy.testing import Faults, Simulation, simulate

VAR: ContextVar[str] = ContextVar("VAR", default="nothing")

Kind = Literal["answer", "crash", "end"]
Restart = Literal["permanent", "transient", "temporary"]


@dataclass
class Book:
    sim: Simulation
    handled: Counter[tuple[ActorRef[Any], int]] = field(default_factory=Counter[tuple[Any, int]])
    """How many messages each incarnation has handled."""
    number: int = 0

    def begins(self, actor: Bare, *, task: bool) -> None:
        """A handler of *actor* has been called."""
        me, incarnation = actor.context.ref, actor.context.incarnation
        if actor.seen != self.handled[me, incarnation]:
            self.sim.violated(f"{me.path} has the state of another incarnation")
        self.handled[me, incarnation] += 1
        actor.seen += 1
        if VAR.get() != "nothing":
            self.sim.violated(f"a handler of {me.path} sees a variable of somebody else's")
        if sys.exception() is not None:
            self.sim.violated(f"a handler of {me.path} runs while an error is handled that is none of its own")
        current = asyncio.current_task()
        if (current is not None) is not task:
            self.sim.violated(f"a handler of {me.path} runs in {current}")
        if current is not None and current.cancelling():
            self.sim.violated(f"a handler of {me.path} begins with a cancel that was meant for another")


class Do(Message[int]):
    what: Kind
    number: int
    book: Any


class DoLater(Message[int]):
    what: Kind
    number: int
    book: Any
    pause: float


class Raise(Message[int]):
    """Start a child, ask it, and let it go or leave it."""

    book: Any
    number: int


class Bare(Actor[Do | DoLater | Raise]):
    seen = 0

    @handler
    def do(self, message: Do) -> int:
        message.book.begins(self, task=False)
        VAR.set("set by a def handler")
        return self._done(message.what, message.number)

    @handler
    async def do_later(self, message: DoLater) -> int:
        message.book.begins(self, task=True)
        if message.number % 3 == 0:
            VAR.set("set by an async handler")
        if message.pause >= 0:
            await asyncio.sleep(message.pause)
        return self._done(message.what, message.number)

    @handler
    async def raise_child(self, message: Raise) -> int:
        message.book.begins(self, task=True)
        ref = await self.context.spawn(Bare)
        number = await ref.ask(Do(what="answer", number=message.number, book=message.book))
        if number % 2:
            ref.stop()
            await ref.wait_stopped()
        return number

    def _done(self, what: Kind, number: int) -> int:
        if what == "crash":
            raise ValueError("crash")
        if what == "end":
            self.context.stop()
        return number


class Pool(DynamicSupervisor):
    max_restarts = 10**6


@dataclass
class Client:
    """Somebody who does this and that to whoever is there, and is told the truth."""

    sim: Simulation
    pool: SupervisorRef[Any]
    book: Book
    everybody: list[ActorRef[Any]]

    async def run(self) -> None:
        VAR.set("set by a client")
        for _ in range(self.sim.random.choice([4, 8])):
            try:
                await self._act()
            except UnderstudyError:
                pass
            except ValueError:
                # Nobody who is called from here may see that an error is being handled.
                await self._add()
            if self.sim.random.random() < 0.3:
                await asyncio.sleep(self.sim.random.choice([0, 0.1]))

    async def _act(self) -> None:
        random, book = self.sim.random, self.book
        ref = random.choice(self.everybody)
        book.number += 1
        number = book.number
        what: Kind = random.choice(["answer", "answer", "crash", "crash", "end"])
        message: Any = random.choice(
            [
                Do(what=what, number=number, book=book),
                DoLater(what=what, number=number, book=book, pause=random.choice([-1, -1, 0, 0.1])),
                Raise(number=number, book=book),
            ]
        )
        match random.choice(
            ["tell"] * 3 + ["burst"] * 3 + ["ask"] * 4 + ["add", "add", "stop", "stop", "end", "kill", "raise"]
        ):
            case "tell":
                ref.tell(message)
            case "burst":
                for _ in range(4):
                    book.number += 1
                    what = random.choice(["answer", "crash"])
                    ref.tell(DoLater(what=what, number=book.number, book=book, pause=-1))
            case "ask":
                reply = await ref.ask(message, timeout=30.0)
                if reply != number:
                    self.sim.violated(f"{ref.path} answers {reply} and not {number}")
            case "add":
                await self._add()
            case "stop":
                ref.stop()
                if random.random() < 0.5:
                    await ref.wait_stopped()
                    self._is_over(ref)
            case "end":
                await self.pool.terminate_child(ref)
                self._is_over(ref)
            case "kill":
                ref.kill()
            case _:
                raise ValueError

    async def _add(self) -> None:
        restart: Restart = self.sim.random.choice(["permanent", "transient", "temporary"])
        ref = await self.pool.start_child(child(Bare).options(restart=restart))
        if ref.status == "starting":
            self.sim.violated(f"{ref.path} is said to be up and is {ref.status}")
        self.everybody.append(ref)

    def _is_over(self, ref: ActorRef[Any]) -> None:
        if ref.status != "stopped" or ref.tell(Do(what="answer", number=0, book=self.book)):
            self.sim.violated(f"{ref.path} has ended for good and is {ref.status}")


@simulate(schedules=20, faults=Faults(crash=0.05, cancel=0.1, stall=0.3))
async def test_nobody_can_tell_whether_something_was_done_ahead_of_its_turn(sim: Simulation) -> None:
    book = Book(sim)
    async with ActorSystem(Pool) as system:
        pool = system.lookup("pool", Pool)
        before = system.statistics().actors
        everybody = [await pool.start_child(Bare), await pool.start_child(Bare)]
        clients = [Client(sim, pool, book, everybody) for _ in range(3)]
        async with asyncio.TaskGroup() as group:
            for client in clients:
                group.create_task(client.run())
        await sim.quiesce()
        alive = [ref for ref in everybody if ref.status != "stopped"]
        assert {each.ref for each in await pool.which_children()} == set(alive)
        assert all(ref.status == "running" for ref in alive)
        for ref in alive:
            ref.stop()
        for ref in alive:
            await ref.wait_stopped()
        assert (await pool.count_children()).specs == 0
        assert system.statistics().actors == before
