"""The workers, who say when they start and stop, and the one who makes them fail."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Never

from understudy import Actor, ExitReason, Message, handler

__all__ = ["Curtain", "Director", "Scene", "Worker"]


class Fail(Message):
    """Crash."""


class Ready(Message):
    """Answered by whoever is up."""


class Curtain:
    """Whether anybody watches: what workers say before and after the performance is not printed."""

    def __init__(self) -> None:
        self.up = False

    def say(self, what: str) -> None:
        if self.up:
            print(f"  {what}")


class Worker(Actor[Fail | Ready]):
    def __init__(self, curtain: Curtain) -> None:
        self.curtain = curtain

    async def initialize(self) -> None:
        self.name = self.context.path.rpartition("/")[2]
        self.curtain.say(f"start {self.name}")

    async def shutdown(self, reason: ExitReason) -> None:
        self.curtain.say(f"stop {self.name}")

    @handler
    def fail(self, message: Fail) -> None:
        self.curtain.say(f"{self.name} fails")
        raise RuntimeError("as the director wished")

    @handler
    def ready(self, message: Ready) -> None: ...


@dataclass(frozen=True)
class Scene:
    """*who* fails, so many *times*; it is over when *last* is up again."""

    title: str
    who: str
    last: str
    times: int = 1


class Perform:
    """To the director, from itself: begin."""


class Director(Actor[Never]):
    """Plays the scenes one after the other, and then ends the program."""

    def __init__(self, curtain: Curtain, scenes: Sequence[Scene]) -> None:
        self.curtain = curtain
        self.scenes = scenes

    def initialize(self) -> None:
        self.context.tell_self(Perform())

    @handler
    async def _perform(self, message: Perform) -> None:
        self.curtain.up = True
        for scene in self.scenes:
            print(scene.title)
            for _ in range(scene.times):
                await self.play(scene)
        self.curtain.up = False
        self.context.system.stop("the end")

    async def play(self, scene: Scene) -> None:
        """An ask waits for a restart: first for that of the one who fails, then for that of the last to come up."""
        lookup = self.context.system.lookup
        failing, last = lookup(scene.who, Worker), lookup(scene.last, Worker)
        failing.tell(Fail())
        await failing.ask(Ready())
        await last.ask(Ready())
