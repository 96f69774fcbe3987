"""Players whose part a test writes in line, what holds them, and what keeps a record of them."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from understudy import (
    Actor,
    ActorRef,
    ActorSystem,
    ChildSpec,
    ExitReason,
    Instrument,
    Killed,
    Message,
    Settings,
    Shutdown,
    Supervisor,
    child,
    handler,
    supervisor,
)


class Boom(Exception):
    """What players crash with."""


class Call(Message[object]):
    """Run *what*, with the actor as its argument, in an `async def` handler; the answer is what it returns."""

    what: Any


class Flat(Message[object]):
    """Run *what* in a `def` handler."""

    what: Any


class Note(Message):
    """To be written down."""

    number: int


async def result_of(outcome: Any) -> Any:
    return await outcome if inspect.isawaitable(outcome) else outcome


class Part:
    """What a player does in its hooks, and what became of it, over all its incarnations."""

    def __init__(
        self,
        name: str = "player",
        journal: list[str] | None = None,
        *,
        construct: Callable[..., object] | None = None,
        initialize: Callable[..., object] | None = None,
        shutdown: Callable[..., object] | None = None,
    ) -> None:
        self.name = name
        self.journal: list[str] = [] if journal is None else journal
        self.construct = construct
        self.initialize = initialize
        self.shutdown = shutdown
        self.starts = 0  # constructions
        self.instances: list[Actor[Any]] = []
        self.steps: dict[int, list[str]] = {}  # what each incarnation wrote into the journal
        self.notes: list[int] = []
        self.notes_by_incarnation: dict[int, list[int]] = {}
        self.ends: list[ExitReason] = []  # what the shutdown hook was told

    def spec(self, **options: Any) -> ChildSpec[Any]:
        return child(Player, self).options(name=self.name, **options)


class Player(Actor[Call | Flat | Note]):
    def __init__(self, part: Part) -> None:
        part.starts += 1
        part.instances.append(self)
        self.part = part
        self.incarnation = part.starts
        self.memory: list[int] = []
        if part.construct is not None:
            part.construct(self)

    def write(self, step: str) -> None:
        self.part.journal.append(f"{self.part.name} {step}")
        self.part.steps.setdefault(self.incarnation, []).append(step)

    async def initialize(self) -> None:
        self.write("starts")
        if self.part.initialize is not None:
            await result_of(self.part.initialize(self))
        self.write("up")

    async def shutdown(self, reason: ExitReason) -> None:
        self.write("stops")
        self.part.ends.append(reason)
        if self.part.shutdown is not None:
            await result_of(self.part.shutdown(self))
        self.write("down")

    @handler
    async def call(self, message: Call) -> object:
        return await result_of(message.what(self))

    @handler
    def flat(self, message: Flat) -> object:
        return message.what(self)

    @handler
    def note(self, message: Note) -> None:
        self.memory.append(message.number)
        self.part.notes.append(message.number)
        self.part.notes_by_incarnation.setdefault(self.incarnation, []).append(message.number)


class Troupe(Supervisor):
    """A supervisor whose children may differ from one incarnation to the next."""

    max_restarts = 0

    def __init__(self, declare: Callable[[int], Sequence[ChildSpec[Any]]], starts: list[Troupe]) -> None:
        starts.append(self)
        self.incarnation = len(starts)
        self.declare = declare

    def children(self) -> list[ChildSpec[Any]]:
        return list(self.declare(self.incarnation))


class Gate:
    """Holds whoever calls it until it is opened; resists the first *resists* cancels."""

    def __init__(self, resists: float = 0) -> None:
        self.resists = resists
        self.reached = asyncio.Event()
        self.passed = 0
        self.cancelled_at: list[float] = []
        self._open = asyncio.Event()

    def open(self) -> None:
        self._open.set()

    async def __call__(self, *_: object) -> str:
        self.reached.set()
        while not self._open.is_set():
            try:
                await self._open.wait()
            except asyncio.CancelledError:
                self.cancelled_at.append(now())
                if len(self.cancelled_at) > self.resists:
                    raise
        self.passed += 1
        return "passed"


STUBBORN = float("inf")


def boom(*_: object) -> None:
    raise Boom


def stop_yourself(actor: Actor[Any]) -> None:
    actor.context.stop()


def takes(seconds: float) -> Callable[..., object]:
    """What takes *seconds*, unless it is cancelled."""

    async def work(*_: object) -> float:
        await asyncio.sleep(seconds)
        return seconds

    return work


def forced(reason: ExitReason) -> bool:
    """Whether the actor was ended by force while it was stopping as it had been asked to."""
    return isinstance(reason, Killed) and isinstance(reason.first, Shutdown)


def now() -> float:
    return asyncio.get_running_loop().time()


async def settle() -> None:
    """Let happen what can happen before the next timer; on the virtual clock nothing else passes."""
    await asyncio.sleep(0.001)


@dataclass
class Diary(Instrument):
    """What the runtime reported."""

    started: list[tuple[str, int]] = field(default_factory=list)
    stopped: list[tuple[str, ExitReason]] = field(default_factory=list)
    crashed: list[tuple[str, ExitReason, str | None]] = field(default_factory=list)
    restarting: list[tuple[str, ExitReason, int]] = field(default_factory=list)
    given_up: list[tuple[str, ExitReason]] = field(default_factory=list)
    failed_hooks: list[tuple[str, BaseException]] = field(default_factory=list)
    zombies: list[tuple[str, str]] = field(default_factory=list)
    dead: list[tuple[object, str, str | None, str]] = field(default_factory=list)
    phases: list[str] = field(default_factory=list)

    def actor_started(self, path: str, incarnation: int) -> None:
        self.started.append((path, incarnation))

    def actor_stopped(self, path: str, reason: ExitReason) -> None:
        self.stopped.append((path, reason))

    def actor_crashed(self, path: str, reason: ExitReason, message_type: str | None) -> None:
        self.crashed.append((path, reason, message_type))

    def actor_restarting(self, path: str, reason: ExitReason, failures: int) -> None:
        self.restarting.append((path, reason, failures))

    def gave_up(self, path: str, reason: ExitReason) -> None:
        self.given_up.append((path, reason))

    def shutdown_failed(self, path: str, error: BaseException) -> None:
        self.failed_hooks.append((path, error))

    def abandoned(self, path: str, stack: Sequence[str]) -> None:
        self.zombies.append((path, "\n".join(stack)))

    def dead_letter(self, message: object, recipient: str, sender: str | None, why: str) -> None:
        self.dead.append((message, recipient, sender, why))

    def system_phase(self, system: str, phase: str) -> None:
        self.phases.append(phase)

    def lost_notes(self) -> list[int]:
        """The numbers of the notes that became dead letters."""
        return [message.number for message, *_ in self.dead if isinstance(message, Note)]

    def reasons(self, path: str) -> list[ExitReason]:
        """The final ends under *path*."""
        return [reason for at, reason in self.stopped if at == path]


@dataclass
class Stage:
    system: ActorSystem
    top: ActorRef[Any]
    diary: Diary

    def __getitem__(self, name: str) -> ActorRef[Any]:
        return self.system.lookup(f"top/{name}", Player)


@asynccontextmanager
async def staged(
    *children: ChildSpec[Any], restart: str = "temporary", settings: Settings | None = None, **how: Any
) -> AsyncIterator[Stage]:
    """A system with *children* under the supervisor `/user/top`, whose end does not take the system along."""
    diary = Diary()
    async with ActorSystem(settings=settings or Settings(), instruments=[diary]) as system:
        top = await system.spawn(supervisor("top", *children, **how).options(restart=restart))
        yield Stage(system, top, diary)
