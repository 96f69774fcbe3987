"""The forks, and the guests who need two of them."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from typing import Any

from understudy import Actor, ActorRef, AskCycle, Refused, Reply, Terminated, handler

from .messages import Dine, Put, Take, Use

__all__ = ["Doing", "Evening", "Fork", "Greedy", "JealousFork", "Philosopher"]

Doing = Callable[[str], Awaitable[object]]


class Evening:
    """What guests do between their first fork and the second, and with both; and what an onlooker sees of it.

    Args:
        pause: Awaited with the path of a guest who has one fork.
        eat: Likewise, with both; an error in it is a guest who chokes.
    """

    def __init__(self, pause: Doing, eat: Doing) -> None:
        self.pause = pause
        self.eat = eat
        self.hands: dict[str, str] = {}
        """Whose hand each fork is in, as the guests see it."""
        self.quarrels: list[str] = []
        """Forks that were in two hands."""

    @contextmanager
    def hold(self, fork: ActorRef[Any], who: str) -> Generator[None, None, None]:
        """*fork* is in the hand of *who*.

        Raises:
            AssertionError: It is in another's.
        """
        if fork.path in self.hands:
            self.quarrels.append(f"{fork.path} is in the hands of {self.hands[fork.path]} and of {who}")
            raise AssertionError(self.quarrels[-1])
        self.hands[fork.path] = who
        try:
            yield
        finally:
            del self.hands[fork.path]


# Forks that promise


class Fork(Actor[Take | Put]):
    """Is in one hand at a time. Who comes later waits, first come, first served."""

    def __init__(self) -> None:
        self.holder: ActorRef[Any] | None = None
        self.waiting: deque[tuple[ActorRef[Any], Reply[None]]] = deque()
        self.guests: set[ActorRef[Any]] = set()

    @handler
    def take(self, message: Take) -> Reply[None]:
        who = self.context.sender
        if who is None:
            raise Refused("only an actor has hands")
        if who not in self.guests:
            self.guests.add(who)
            self.context.watch(who)
        reply = self.context.reply_later(message)
        self.waiting.append((who, reply))
        self.give()
        return reply

    @handler
    def put(self, message: Put) -> None:
        self.free(self.context.sender)

    @handler
    def gone(self, signal: Terminated) -> None:
        self.guests.discard(signal.ref)
        self.free(signal.ref)

    def free(self, who: ActorRef[Any] | None) -> None:
        if self.holder == who:
            self.holder = None
        self.waiting = deque(each for each in self.waiting if each[0] != who)
        self.give()

    def give(self) -> None:
        while self.holder is None and self.waiting:
            who, reply = self.waiting.popleft()
            if reply.send(None):  # else he has given up
                self.holder = who


class Philosopher(Actor[Dine]):
    """Takes one fork, then the other, eats, and puts them down. If it crashes it leaves them in the air."""

    def __init__(self, evening: Evening, first: str, second: str) -> None:
        self.evening = evening
        self.paths = first, second
        self.meals = 0

    def initialize(self) -> None:
        lookup = self.context.system.lookup
        self.first, self.second = (lookup(path, Fork) for path in self.paths)
        self.put_down()  # what a life before this one may have held

    @handler
    async def dine(self, message: Dine) -> int:
        for _ in range(message.meals):
            await self.meal(self.context.path)
            self.put_down()
            self.meals += 1
        return self.meals

    async def meal(self, me: str) -> None:
        await self.first.ask(Take(), timeout=math.inf)
        with self.evening.hold(self.first, me):
            await self.evening.pause(me)
            await self.second.ask(Take(), timeout=math.inf)
            with self.evening.hold(self.second, me):
                await self.evening.eat(me)

    def put_down(self) -> None:
        for fork in (self.second, self.first):
            fork.tell(Put(), sender=self.context.ref)


# Forks that wait


class JealousFork(Actor[Use]):
    """Is in a hand as long as it handles a message, and asks for the other fork meanwhile."""

    def __init__(self, evening: Evening) -> None:
        self.evening = evening

    @handler
    async def use(self, message: Use) -> None:
        if message.other is None:
            await self.evening.eat(self.context.path)
            return
        await self.evening.pause(self.context.path)
        try:
            await message.other.ask(Use(), timeout=math.inf)
        except AskCycle as circle:
            raise Refused(f"would wait for ever: {len(set(circle.chain))} forks, each for the next") from circle


class Greedy(Actor[Dine]):
    """Asks its left fork, and leaves the rest to the forks."""

    def __init__(self, left: str, right: str) -> None:
        self.paths = left, right
        self.meals = 0

    def initialize(self) -> None:
        lookup = self.context.system.lookup
        self.left, self.right = (lookup(path, JealousFork) for path in self.paths)

    @handler
    async def dine(self, message: Dine) -> int:
        for _ in range(message.meals):
            await self.left.ask(Use(other=self.right), timeout=math.inf)
            self.meals += 1
        return self.meals
