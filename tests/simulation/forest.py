"""Random trees whose actors misbehave, and a book that is kept by the actors themselves.

The book knows what the hooks and handlers have done and what an instrument hears, and of the runtime nothing but the
status that a ref shows. Each rule that is broken raises, in the step in which it is broken.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter, defaultdict
from collections.abc import AsyncGenerator, Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from tenacity import wait_exponential, wait_fixed

from understudy import (
    Actor,
    ActorRef,
    ActorStopped,
    ActorSystem,
    ChildSpec,
    DynamicSupervisor,
    ExitReason,
    Instrument,
    Message,
    Settings,
    Shutdown,
    StartError,
    Supervisor,
    SupervisorRef,
    UnderstudyError,
    child,
    handler,
)
from understudy.testing import Simulation

__all__ = ["SETTINGS", "Book", "Forest", "Place", "Work"]

SETTINGS = Settings(shutdown=0.5, abandon_after=0.5, shutdown_timeout=20.0, start_timeout=1.0)
ENOUGH = 10**6
"""Restarts that are allowed where giving up is not what is looked at."""

Strategy = Literal["one_for_one", "one_for_all", "rest_for_one"]
STRATEGIES: tuple[Strategy, ...] = ("one_for_one", "one_for_all", "rest_for_one")


class Work(Message[int]):
    number: int


class Nap(Message[int]):
    number: int


class Do(Message):
    """Something bad: what it is, is drawn from how one can fail."""

    what: str


class Oops(Exception):
    """A failure."""


class Minor(Exception):
    """A failure after which one goes on."""


class Fatal(Exception):
    """A failure of the supervisor."""


@dataclass(frozen=True, eq=False)
class Place:
    """A declaration."""

    path: str
    kind: Literal["leaf", "host", "pool"]
    strategy: Strategy = "one_for_one"
    parallel: bool = False
    restart: Literal["permanent", "transient", "temporary"] = "permanent"
    after: tuple[str, ...] = ()
    """Names of siblings on which it depends; all before it where the supervisor starts one after another."""
    options: tuple[tuple[str, Any], ...] = ()
    children: tuple[Place, ...] = ()

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]

    @property
    def parent(self) -> str:
        return self.path.rpartition("/")[0]

    def walk(self) -> Iterator[Place]:
        yield self
        for each in self.children:
            yield from each.walk()

    def behind(self, name: str) -> list[Place]:
        """The children that stop before *name* does, as they depend on it, directly or not.

        Not by way of a temporary one: it may have gone, and then nobody knows any more that it stood in between.
        """
        bases, found = {name}, list[Place]()
        for each in self.children:  # dependencies are declared before what depends on them
            if bases & {*each.after}:
                found.append(each)
                if each.restart != "temporary":
                    bases.add(each.name)
        return found


@dataclass(eq=False)
class Identity:
    """An actor from its first start to its end."""

    path: str
    ref: ActorRef[Any]
    parent: ActorRef[Any] | None
    parent_instance: int


class Book(Instrument):
    """What has happened, and what must not happen."""

    def __init__(self, sim: Simulation) -> None:
        self.sim = sim
        self.system: ActorSystem | None = None
        self.places: dict[str, Place] = {}
        self.calm = False
        """Whether hooks behave."""
        self.strict = True
        """Nobody but supervisors stops anybody: then whatever is told to stop is told in the order of the group."""
        self.made: Counter[str] = Counter()
        """By path: how many instances."""
        self.ups: Counter[tuple[str, int]] = Counter()
        """By path and instance of the parent: how often it has come up."""
        self.inside: defaultdict[str, set[int]] = defaultdict(set)
        """By path: the instances whose code is running or suspended."""
        self.owes: set[str] = set()
        """Those that were told to stop by their supervisor, and have not come up again."""
        self.identities: dict[tuple[str, int], Identity] = {}
        self.zombies: set[str] = set()
        """The paths of those of whom a task was given up on; it may go on for a while."""
        self.done: list[int] = []
        self.lost: list[int] = []
        self.crashes: Counter[str | None] = Counter()
        """By the type of what was in hand."""
        self.given_up: list[str] = []

    # What instruments hear

    def actor_crashed(self, path: str, reason: ExitReason, message_type: str | None) -> None:
        self.crashes[message_type] += 1

    def actor_resumed(self, path: str, reason: ExitReason, message_type: str) -> None:
        self.crashes[message_type] += 1

    def abandoned(self, path: str, stack: Sequence[str]) -> None:
        self.zombies.add(path)
        self.inside.pop(path, None)

    def dead_letter(self, message: object, recipient: str, sender: str | None, why: str) -> None:
        if isinstance(message, Work | Nap):
            self.lost.append(message.number)

    def actor_restarting(self, path: str, reason: ExitReason, failures: int) -> None:
        self.none_below(path, "is about to start anew")

    def gave_up(self, path: str, reason: ExitReason) -> None:
        self.given_up.append(path)

    # What actors write down

    def status(self, path: str) -> str:
        """As what the runtime shows it; ``stopped`` for one that is not there."""
        assert self.system is not None
        ref = self.system.find(path)
        return "stopped" if ref is None else ref.status

    def broken(self, rule: str) -> None:
        """Fail the run, although whoever has broken it may be supervised."""
        self.sim.violated(rule)

    def construct(self, path: str) -> int:
        """A new instance; R12: of the last one, and of all below it, no code may be running."""
        if self.inside[path]:
            self.broken(f"{path} starts anew while code of its last incarnation runs")
        self.none_below(path, "starts anew")
        parent = path.rpartition("/")[0]
        if parent != "/user" and self.status(parent) == "stopped":
            self.broken(f"{path} starts under a parent that has ended")
        self.made[path] += 1
        return self.made[path]

    def none_below(self, path: str, moment: str) -> None:
        """R12: nobody below *path* is left."""
        for other in self.made:
            if other.startswith(f"{path}/") and self.alive(other):
                self.broken(f"{path} {moment} while {other} is {self.status(other)}")

    def alive(self, path: str) -> bool:
        """Whether it is up or code of it runs; the status of one on its way up again is ``restarting``."""
        return self.status(path) not in ("restarting", "stopped") or bool(self.inside[path])

    def starting(self, part: Part) -> None:
        """`initialize` begins: is it the turn of *part*? S5, S6, R5."""
        path = part.path
        key = (path, part.me.context.ref.uid)
        if key not in self.identities:
            self.identities[key] = Identity(path, part.me.context.ref, part.me.context.parent, part.parent_instance)
        parent, place = self.places.get(path.rpartition("/")[0]), self.places.get(path)
        if parent is None or place is None or parent.kind != "host":
            return
        if self.strict and not self.ups[path, part.parent_instance]:
            for name in place.after:
                if not self.ups[f"{parent.path}/{name}", part.parent_instance]:
                    self.broken(f"{path} starts before {name} has started")
        if self.strict and parent.strategy != "one_for_one":
            for each in parent.behind(place.name):
                if self.alive(each.path):
                    self.broken(f"{path} starts while {each.name}, which comes after it, is {self.status(each.path)}")
            for name in place.after:
                if f"{parent.path}/{name}" in self.owes:
                    self.broken(f"{path} starts before {name}, which was stopped with it, has started")

    def up(self, part: Part) -> None:
        self.ups[part.path, part.parent_instance] += 1
        self.owes.discard(part.path)

    def stopping(self, part: Part, reason: ExitReason) -> None:
        """`shutdown` begins: has everybody ended who depends on *part*? R5, R7."""
        parent, place = self.places.get(part.path.rpartition("/")[0]), self.places.get(part.path)
        if parent is None or place is None or parent.kind != "host":
            return
        if self.strict and isinstance(reason, Shutdown):
            for each in parent.behind(place.name):
                if self.alive(each.path):
                    self.broken(f"{part.path} stops while {each.name}, which stops first, is {self.status(each.path)}")
            if place.restart != "temporary":
                self.owes.add(part.path)

    def here(self, part: Part) -> None:
        """Code of *part* runs: it must be alive, and its parent too (R12, D1b)."""
        if part.path in self.zombies:
            return
        if part.instance != self.made[part.path]:
            self.broken(f"code of an earlier incarnation of {part.path} runs")
        if self.status(part.path) == "stopped":
            self.broken(f"code of {part.path} runs, which has ended")
        parent = part.path.rpartition("/")[0]
        if parent in self.made and part.parent_instance != self.made[parent]:
            self.broken(f"code of {part.path} runs, whose parent has started anew")

    # At each step

    def no_orphan(self) -> bool:
        """Nobody is alive whose parent has ended."""
        for each in self.identities.values():
            if each.parent is None:
                continue
            if each.parent.status == "stopped" and (status := each.ref.status) != "stopped":
                self.broken(f"{each.path} is {status}, and its parent has ended")
        return True


class Part:
    """What all players have in common."""

    def __init__(self, book: Book, path: str) -> None:
        self.book, self.path = book, path
        self.me: Any = self
        """This, as the actor that it is in every class made of it."""
        self.parent_instance = book.made[path.rpartition("/")[0]]
        self.instance = book.construct(path)
        if self.misbehaves(0.02):
            raise Oops("constructor")

    def misbehaves(self, probability: float) -> bool:
        """Never at the first start, which nobody would repeat."""
        return not self.book.calm and self.instance > 1 and self.book.sim.random.random() < probability

    @contextlib.contextmanager
    def code(self) -> Generator[None]:
        """While code of this instance runs."""
        self.book.here(self)
        self.book.inside[self.path].add(self.instance)
        try:
            yield
            self.book.here(self)
        except asyncio.CancelledError:
            self.book.here(self)
            raise
        finally:
            self.book.inside[self.path].discard(self.instance)

    async def resist(self, seconds: float) -> None:
        """Swallow every cancel for so long."""
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while loop.time() < end - 1e-6:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(end - loop.time())

    async def behave(self, *, limited: bool = True) -> None:
        """What a hook does: mostly nothing, sometimes something bad, and only for ever where that is *limited*."""
        random = self.book.sim.random
        kind = random.choice(["", "", "", "", "yields", "yields", "short"])
        if self.misbehaves(0.25):
            kind = random.choice(["fails", "fails", "hangs", "resists", "resists for long"])
        match kind:
            case "yields":
                await asyncio.sleep(0)
            case "short":
                await asyncio.sleep(0.05)
            case "fails":
                raise Oops("in a hook")
            case "hangs" if limited:
                await asyncio.Event().wait()
            case "hangs" | "resists":
                await self.resist(random.choice([0.3, 1.2]))
            case "resists for long":
                await self.resist(3.0)
            case _:
                pass

    async def initialize(self) -> None:
        with self.code():
            self.book.starting(self)
            await self.behave()
        self.book.up(self)

    async def shutdown(self, reason: ExitReason) -> None:
        with self.code():
            self.book.stopping(self, reason)
            await self.behave(limited=not isinstance(self, Supervisor))  # which has all the time that it needs

    def work(self, message: Work) -> int:
        with self.code():
            self.book.done.append(message.number)
        return message.number

    async def nap(self, message: Nap) -> int:
        with self.code():
            await asyncio.sleep(0.01)
            self.book.done.append(message.number)
        return message.number

    async def do(self, message: Do) -> None:
        with self.code():
            match message.what:
                case "minor":
                    raise Minor
                case "fatal":
                    raise Fatal
                case "ends":
                    self.me.context.stop()
                case "hangs":
                    await asyncio.Event().wait()
                case "resists":
                    await self.resist(1.5)
                case _:
                    raise Oops(message.what)


class Leaf(Part, Actor[Work | Nap | Do]):
    work = handler(Part.work)
    nap = handler(Part.nap)
    do = handler(Part.do)


class Host(Part, Supervisor[Work | Nap | Do]):
    max_restarts = ENOUGH
    work = handler(Part.work)
    nap = handler(Part.nap)
    do = handler(Part.do)

    def __init__(self, book: Book, place: Place, specs: tuple[ChildSpec[Any], ...]) -> None:
        super().__init__(book, place.path)
        self.specs = specs

    def children(self) -> Sequence[ChildSpec[Any]]:
        return self.specs


class Pool(Part, DynamicSupervisor[Work | Nap | Do]):
    max_restarts = ENOUGH
    work = handler(Part.work)
    nap = handler(Part.nap)
    do = handler(Part.do)


HOSTS = {
    (strategy, parallel): type("HostOf", (Host,), {"strategy": strategy, "parallel_start": parallel})
    for strategy in STRATEGIES
    for parallel in (False, True)
}


@dataclass
class Forest:
    """A random tree, and what is done to it."""

    sim: Simulation
    restarts: Sequence[Literal["permanent", "transient", "temporary"]] = ("permanent",)
    pools: bool = False
    book: Book = field(init=False)
    top: Place = field(init=False)
    number: int = 0
    refs: list[ActorRef[Any]] = field(default_factory=list[ActorRef[Any]])
    waiting: list[asyncio.Future[Any]] = field(default_factory=list[asyncio.Future[Any]])
    accepted: set[int] = field(default_factory=set[int])
    ended: set[str] = field(default_factory=set[str])
    """The paths of those that somebody has asked to end for good, or that may not come back."""

    def __post_init__(self) -> None:
        self.book = Book(self.sim)
        self.top = self._host("/user/top", 2)
        self.book.places = {place.path: place for place in self.top.walk()}

    # Growing

    def _host(self, path: str, depth: int) -> Place:
        random = self.sim.random
        parallel = random.random() < 0.4
        children: list[Place] = []
        for number in range(random.choice([2, 3, 4] if depth == 2 else [1, 2, 3])):
            name = f"{path}/{'abcd'[number]}"
            kind = random.random()
            if depth and kind < 0.35:
                made = self._host(name, depth - 1)
            elif self.pools and kind < 0.5:
                made = Place(name, "pool")
            else:
                made = Place(name, "leaf", restart=random.choice(self.restarts), options=self._options())
            names = tuple(each.name for each in children)
            if parallel:
                names = tuple(each for each in names if random.random() < 0.4)
            children.append(Place(name, made.kind, made.strategy, made.parallel, made.restart, names, made.options,
                                  made.children))  # fmt: skip
        return Place(path, "host", random.choice(STRATEGIES), parallel, children=tuple(children))

    def _options(self) -> tuple[tuple[str, Any], ...]:
        random = self.sim.random
        options: dict[str, Any] = {}
        if random.random() < 0.3:
            options["backoff"] = random.choice([wait_fixed(0.1), wait_exponential(multiplier=0.05, max=0.4)])
        if random.random() < 0.5:
            options["shutdown"] = random.choice([0.2, 0.8, "brutal_kill"])
        if random.random() < 0.2:
            options["on_restart"] = "fail"
        return tuple(options.items())

    def spec(self, place: Place) -> ChildSpec[Any]:
        """The declaration of *place* and of all below it."""
        options: dict[str, Any] = {"name": place.name, "restart": place.restart, **dict(place.options)}
        options |= {"max_handling_seconds": 1.0, "on_failure": {Minor: "resume"}}
        parent = self.book.places.get(place.parent)
        if parent is not None and parent is not self.top:
            options["on_failure"][Fatal] = "escalate"
        if parent is not None and parent.parallel and place.after:
            options["depends_on"] = place.after
        match place.kind:
            case "leaf":
                return child(Leaf, self.book, place.path).options(**options)
            case "pool":
                return child(Pool, self.book, place.path).options(**options)
            case "host":
                made = HOSTS[place.strategy, place.parallel]
                specs = tuple(self.spec(each) for each in place.children)
                return child(made, self.book, place, specs).options(**options)

    @contextlib.asynccontextmanager
    async def system(self) -> AsyncGenerator[ActorSystem]:
        """A system with the tree in it."""
        book = self.book
        book.system = ActorSystem(self.spec(self.top), name="forest", settings=SETTINGS, instruments=[book])
        async with book.system as system:
            yield system

    def enter(self, system: ActorSystem) -> None:
        """The tree stands."""
        self.refs = [system.lookup(place.path) for place in self.top.walk() if place is not self.top]
        self.sim.always("no child outlives its parent", self.book.no_orphan)

    # Acting

    def next(self) -> int:
        self.number += 1
        return self.number

    def say(self, ref: ActorRef[Any], message: Any) -> None:
        if ref.tell(message) and isinstance(message, Work | Nap):
            self.accepted.add(message.number)

    async def ask(self, ref: ActorRef[Any], message: Any) -> None:
        try:
            assert await ref.ask(message, timeout=5.0) == message.number
        except UnderstudyError:
            return
        self.accepted.add(message.number)

    async def spawn(self, pool: SupervisorRef[Any]) -> None:
        """A child of a pool."""
        path = f"{pool.path}/w{self.next()}"
        self.book.places[path] = place = Place(path, "leaf", restart=self.sim.random.choice(self.restarts))
        try:
            ref = await pool.start_child(self.spec(place))
        except (UnderstudyError, StartError):
            return
        self.refs.append(ref)

    def disturb(self) -> None:
        """A message, or a failure, for somebody."""
        random = self.sim.random
        ref = random.choice(self.refs)
        match random.choice(["work", "work", "nap", "ask", "ask", "do", "do", "kill"]):
            case "work":
                self.say(ref, Work(number=self.next()))
            case "nap":
                self.say(ref, Nap(number=self.next()))
            case "ask":
                kind = random.choice([Work, Nap])
                self.waiting.append(asyncio.ensure_future(self.ask(ref, kind(number=self.next()))))
            case "do":
                what = random.choice(["crash", "crash", "minor", "fatal", "ends", "hangs", "resists"])
                place = self.book.places[ref.path]
                if what == "ends" and place.restart != "permanent":
                    self.ended.add(ref.path)
                self.say(ref, Do(what=what))
            case _:
                self.sim.note(f"kill {ref.path}")
                ref.kill()

    def administer(self, system: ActorSystem) -> None:
        """A request about somebody's children, or about somebody's end."""
        random = self.sim.random
        ref = random.choice(self.refs)
        match random.choice(["stop", "drain", "admin", "admin", "admin", "spawn", "spawn"]):
            case "stop":
                self.sim.note(f"stop {ref.path}")
                self.ended.add(ref.path)
                ref.stop()
            case "drain":
                self.sim.note(f"drain {ref.path}")
                self.ended.add(ref.path)
                ref.drain(timeout=random.choice([None, 0.3]))
            case kind:
                places = [each for each in self.top.walk() if each.kind == ("pool" if kind == "spawn" else "host")]
                found = system.find(random.choice(places).path) if places else None
                if not isinstance(found, SupervisorRef):
                    return  # nobody, or a leaf that somebody has started under a name that was free
                act = self.spawn(found) if kind == "spawn" else self.call(found)
                self.waiting.append(asyncio.ensure_future(act))

    async def call(self, ref: SupervisorRef[Any]) -> None:
        """One administrative call: the answer must be that of the table, and do what it says."""
        random = self.sim.random
        verb = random.choice(["terminate", "terminate", "restart", "restart", "delete", "start"])
        name = random.choice([*"abcd", "nobody"])
        path = f"{ref.path}/{name}"
        try:
            listed = {each.name: each for each in await ref.which_children()}
            counted = await ref.count_children()
        except ActorStopped:
            return
        # Nothing can come between these calls: a supervisor that is up answers without waiting.
        assert counted.specs == len(listed)
        assert counted.workers + counted.supervisors == counted.specs
        assert counted.active <= counted.specs
        before = listed.get(name)
        state = "unknown" if before is None else before.status
        if verb != "start":
            self.ended.add(path)
        elif name not in "abcd":
            return
        self.sim.note(f"{verb}_child({name!r}) of {ref.path}, {state}")
        answer = await self.answer(ref, verb, name)
        self.sim.note(f"{verb}_child({name!r}) of {ref.path} answers {answer}")
        allowed = ANSWERS[verb][state]
        if answer not in allowed:
            self.book.broken(f"{verb}_child of {path}, which was {state}, answers {answer} instead of {allowed}")
        gone = before.ref if verb == "terminate" and answer == "ok" and before is not None else None
        if gone is not None and gone.status != "stopped":
            self.book.broken(f"{path} is {gone.status} after terminate_child has returned")

    async def answer(self, ref: SupervisorRef[Any], verb: str, name: str) -> str:
        timeout = self.sim.random.choice([None, None, 0.1])
        act: Callable[[], Any]
        match verb:
            case "terminate":
                act = lambda: ref.terminate_child(name, timeout=timeout)  # noqa: E731
            case "restart":
                act = lambda: ref.restart_child(name)  # noqa: E731
            case "delete":
                act = lambda: ref.delete_child(name)  # noqa: E731
            case _:
                place = self.book.places.get(f"{ref.path}/{name}") or Place(f"{ref.path}/{name}", "leaf")
                self.ended.add(place.path)
                act = lambda: ref.start_child(child(Leaf, self.book, place.path).options(name=name))  # noqa: E731
        try:
            await act()
        except UnderstudyError as error:
            return type(error).__name__
        return "ok"

    # Looking

    def restarting(self) -> list[str]:
        """Those that are to start again."""
        # Not by those who have begun: one that has failed before its `initialize` has not, and is to start anyway.
        system = self.book.system
        assert system is not None
        return [node.path for node in system.tree().walk() if node.status == "restarting"]

    def check_messages(self) -> None:
        """Nothing comes twice, and what is missing was in hand at a failure."""
        book = self.book
        assert len(book.done) == len(set(book.done))
        missing = self.accepted.difference(book.done, book.lost)
        assert len(missing) <= book.crashes["Work"] + book.crashes["Nap"], missing

    async def check_all_is_up(self, system: ActorSystem) -> None:
        """Who should be up is up, as who it was, and answers through its old ref."""
        for ref in self.refs:
            if self.may_be_gone(ref):
                continue
            assert ref.status == "running", (ref.path, ref.status)
            assert await ref.ask(Work(number=self.next()), timeout=5.0) == self.number
        # Of those that may be gone, and of new actors under old names: what is there is there as a whole.
        for place in self.top.walk():
            found = system.find(place.path)
            if found is None:
                continue
            assert found.status == "running", (place.path, found.status)
            if not isinstance(found, SupervisorRef):
                continue  # a leaf, which somebody has started under a name that was free
            for each in place.children:
                if each.restart == "permanent" and each.path not in self.ended:
                    below = system.find(each.path)
                    assert below is not None, each.path
                    assert below.status == "running", (each.path, below.status)
                    assert await below.ask(Work(number=self.next()), timeout=5.0) == self.number

    def may_be_gone(self, ref: ActorRef[Any]) -> bool:
        """Whether it, or one above it, has been asked to end or does not have to come back."""
        path = ref.path
        while path != "/user/top":
            place = self.book.places[path]
            if path in self.ended or place.restart != "permanent":
                return True
            path = place.parent
            if self.book.places[path].kind == "pool":
                identity = self.book.identities[ref.path, ref.uid]
                if identity.parent_instance != self.book.made[path]:
                    assert ref.status == "stopped", (ref.path, ref.status)  # R12a
                    return True
        return False


ANSWERS: dict[str, dict[str, set[str]]] = {
    "terminate": {
        "unknown": {"ChildNotFound"},
        **{state: {"ok"} for state in ("running", "starting", "stopping", "restarting", "stopped")},
    },
    "restart": {
        "unknown": {"ChildNotFound"},
        "running": {"ChildRunning"},
        "starting": {"ChildRunning", "ChildRestarting"},
        "stopping": {"ChildRunning", "ChildRestarting"},
        "restarting": {"ChildRestarting"},
        # Its start may fail, or its supervisor may end meanwhile.
        "stopped": {"ok", "StartError", "StartTimeout", "ActorStopped"},
    },
    "delete": {
        "unknown": {"ChildNotFound"},
        "running": {"ChildRunning"},
        "starting": {"ChildRunning", "ChildRestarting"},
        "stopping": {"ChildRunning", "ChildRestarting"},
        "restarting": {"ChildRestarting"},
        "stopped": {"ok"},
    },
    "start": {
        "unknown": {"ok", "StartError", "StartTimeout", "ActorStopped", "InvalidSpec"},
        "running": {"ChildAlreadyStarted"},
        "starting": {"ChildAlreadyStarted", "ChildAlreadyPresent"},
        "stopping": {"ChildAlreadyStarted", "ChildAlreadyPresent"},
        "restarting": {"ChildAlreadyPresent"},
        "stopped": {"ChildAlreadyPresent"},
    },
}
