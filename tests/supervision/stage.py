"""The stage on which the model of supervision is played for real: actors, what they write down, and a system."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.supervision.model import SLOW, Event, Item, Reason, Role, Script
from understudy import (
    Actor,
    ActorRef,
    ActorSystem,
    ChildAlreadyPresent,
    ChildSpec,
    Crashed,
    ExitReason,
    Instrument,
    Killed,
    Message,
    NameTaken,
    Normal,
    RestartsExceeded,
    Settings,
    Shutdown,
    StartError,
    StartFailed,
    Supervisor,
    child,
    handler,
    supervisor,
)
from understudy.testing._virtual import VirtualLoop

MOMENT = 2.0**-10
"""Longer than anything that takes no time, and a power of two, so that sums of times are exact."""


# Those who play.


class Oops(Exception):
    """What actors fail with."""


class Note(Message):
    number: int


class Hold(Message):
    """Keep the handler busy for so many seconds; then it counts as a note."""

    number: int
    seconds: float


class Crash(Message[None]):
    """Raise."""


class End(Message):
    """End normally, from inside."""


class Spawn(Message[object]):
    """Start a child at run time; the answer is its ref, or why there is none."""

    spec: Any


class World:
    """What the actors of one example do at their starts, and what they have written down."""

    def __init__(self, scripts: dict[str, Script]) -> None:
        self.scripts = scripts
        self.journal: list[str] = []
        self.handled: list[tuple[int, str, int]] = []
        self.hosts: dict[Role, type[Host]] = {}

    def spec(self, role: Role) -> ChildSpec[Any]:
        """The declaration of *role* and of what is below it."""
        options: dict[str, Any] = {"restart": role.restart, "shutdown": role.shutdown}
        tuning: dict[str, Any] = {
            "strategy": role.strategy,
            "max_restarts": role.max_restarts,
            "max_seconds": role.max_seconds,
        }
        match role.kind:
            case "worker":
                made: ChildSpec[Any] = child(Worker, self, role)
            case "supervisor":
                return supervisor(role.name, *map(self.spec, role.children), **tuning).options(**options)
            case "host":
                if role not in self.hosts:
                    self.hosts[role] = type("HostOf" + role.name, (Host,), tuning)
                made = child(self.hosts[role], self, role)
        return made.options(name=role.name, start_timeout=role.start_timeout, **options)


@dataclass
class Hooks:
    """What every player does when it is made, starts and stops."""

    world: World
    role: Role
    instance: int = field(init=False)

    def __post_init__(self) -> None:
        script = self.world.scripts.setdefault(self.role.name, Script())
        script.constructed += 1
        self.instance = script.constructed
        self.mode = script.starts.pop(0) if script.starts else None
        if self.mode == "constructor":
            raise Oops

    def write(self, what: str) -> None:
        self.world.journal.append(f"{self.role.name} {what}")

    async def start(self) -> None:
        self.write("starts")
        if self.mode == "hangs":
            await asyncio.Event().wait()
        if self.mode == "slow":
            await asyncio.sleep(SLOW)
        if self.mode == "raises":
            raise Oops

    async def stop(self) -> None:
        self.write("stops")
        if self.role.hook == "hangs":
            await asyncio.Event().wait()
        if self.role.hook == "raises":
            raise Oops
        self.write("down")

    def handled(self, number: int) -> None:
        self.world.handled.append((number, self.role.name, self.instance))


async def outcome_of(
    spawning: Awaitable[ActorRef[Any]],
) -> ActorRef[Any] | StartError | NameTaken | ChildAlreadyPresent:
    try:
        return await spawning
    except (StartError, NameTaken, ChildAlreadyPresent) as error:
        return error


class Worker(Actor[Note | Hold | Crash | End | Spawn]):
    def __init__(self, world: World, role: Role) -> None:
        self.hooks = Hooks(world, role)

    async def initialize(self) -> None:
        await self.hooks.start()

    async def shutdown(self, reason: ExitReason) -> None:
        await self.hooks.stop()

    @handler
    def note(self, message: Note) -> None:
        self.hooks.handled(message.number)

    @handler
    async def hold(self, message: Hold) -> None:
        await asyncio.sleep(message.seconds)
        self.hooks.handled(message.number)

    @handler
    def crash(self, message: Crash) -> None:
        raise Oops

    @handler
    def end(self, message: End) -> None:
        self.context.stop()

    @handler
    async def spawn(self, message: Spawn) -> object:
        return await outcome_of(self.context.spawn(message.spec))


class Host(Supervisor[Note | Crash | End | Spawn]):
    def __init__(self, world: World, role: Role) -> None:
        self.hooks = Hooks(world, role)

    def children(self) -> list[ChildSpec[Any]]:
        return [self.hooks.world.spec(each) for each in self.hooks.role.children]

    async def initialize(self) -> None:
        await self.hooks.start()

    async def shutdown(self, reason: ExitReason) -> None:
        await self.hooks.stop()

    @handler
    def note(self, message: Note) -> None:
        self.hooks.handled(message.number)

    @handler
    def crash(self, message: Crash) -> None:
        raise Oops

    @handler
    def end(self, message: End) -> None:
        self.context.stop()

    @handler
    async def spawn(self, message: Spawn) -> object:
        return await outcome_of(self.context.spawn(message.spec))


class Ear(Instrument):
    """What the runtime reports of everything under `/user`, in the words of the model."""

    def __init__(self) -> None:
        self.log: list[Event] = []
        self.lost: list[int] = []

    def _hear(self, kind: str, path: str, *details: Any) -> None:
        if path.startswith("/user/"):
            self.log.append((kind, path, *details))

    def actor_started(self, path: str, incarnation: int) -> None:
        self._hear("started", path, incarnation)

    def actor_stopped(self, path: str, reason: ExitReason) -> None:
        self._hear("stopped", path, plain(reason))

    def actor_crashed(self, path: str, reason: ExitReason, message_type: str | None) -> None:
        self._hear("crashed", path, plain(reason))

    def actor_restarting(self, path: str, reason: ExitReason, failures: int) -> None:
        self._hear("restarting", path, plain(reason), failures)

    def gave_up(self, path: str, reason: ExitReason) -> None:
        self._hear("gave up", path, plain(reason))

    def shutdown_failed(self, path: str, error: BaseException) -> None:
        self._hear("hook failed", path)

    def abandoned(self, path: str, stack: Sequence[str]) -> None:
        self._hear("abandoned", path)

    def dead_letter(self, message: object, recipient: str, sender: str | None, why: str) -> None:
        if isinstance(message, Note | Hold):
            self.lost.append(message.number)


def plain(reason: ExitReason) -> Reason:
    """An exit reason in the words of the model."""
    match reason:
        case Normal():
            return ("normal",)
        case Shutdown():
            return ("shutdown",)
        case Killed(first):
            return ("killed", None if first is None else plain(first))
        case Crashed(error):
            assert isinstance(error, Oops), error
            return ("crashed",)
        case StartFailed():
            return ("start failed",)
        case RestartsExceeded(path, last, count, seconds):
            return ("exceeded", path, plain(last), count, seconds)
        case _:
            raise AssertionError(f"nobody can end like this: {reason!r}")


def message_of(item: Item) -> Any:
    return Crash() if item == "crash" else End() if item == "end" else Note(number=int(item))


# The stage.


class Stage:
    """A loop of its own, and a system in it that stays open from one act to the next."""

    def __init__(self, tree: ChildSpec[Any]) -> None:
        self.loop = VirtualLoop()
        self.complaints: list[str] = []
        self.loop.set_exception_handler(lambda _, context: self.complaints.append(str(context)))
        self.ear = Ear()
        self.outcome: BaseException | None = None
        self.cancelled = False
        self.system = ActorSystem(tree, settings=Settings(shutdown_timeout=600.0), instruments=[self.ear])
        self._leave = self.loop.create_future()
        self.body = self.loop.create_task(self._body())
        self.run_until(self.loop.time() + MOMENT)

    async def _body(self) -> None:
        try:
            async with self.system:
                try:
                    await self._leave
                except asyncio.CancelledError:
                    self.cancelled = True
                    raise
        except Exception as error:
            self.outcome = error

    def run_until(self, when: float) -> None:
        """Let everything happen until exactly then."""
        reached = self.loop.create_future()
        self.loop.call_at(when, reached.set_result, None)
        self.loop.run_until_complete(reached)

    def call(self, act: Callable[[], object]) -> None:
        """Run *act* inside the loop."""

        async def inside() -> None:
            act()

        self.loop.run_until_complete(inside())

    def task(self, what: Awaitable[Any]) -> asyncio.Future[Any]:
        return asyncio.ensure_future(what, loop=self.loop)

    def leave(self) -> None:
        if not self._leave.done():
            self.call(lambda: self._leave.set_result(None))

    def close(self) -> None:
        """End what is left by force, and the loop in any case."""
        try:
            if not self.body.done():
                # Without hooks: what fails while another error is handled would have that as its context.
                self.call(self.system.kill)
                self.leave()
                self.run_until(self.loop.time() + 1000.0)
            left = asyncio.all_tasks(self.loop)
            for task in left:
                task.cancel()
            if left:
                self.loop.run_until_complete(asyncio.wait(left))
        finally:
            self.loop.close()


def tell_all(ref: ActorRef[Any], items: Sequence[Item]) -> None:
    for item in items:
        ref.tell(message_of(item))
