"""G1: entries, memberships and their listeners while actors come, are restarted and go."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any

import pytest

from understudy import (
    Actor,
    ActorRef,
    ActorStopped,
    ActorSystem,
    Joined,
    KeyTaken,
    Left,
    Message,
    Registered,
    Registry,
    StartError,
    Terminated,
    UnderstudyError,
    Unregistered,
    child,
    handler,
)
from understudy.testing import Faults, Simulation, simulate

KEYS = "xyz"


class Enter(Message[None]):
    key: str
    value: int


class Do(Message[None]):
    """Calls it with the actor."""

    what: Any


class Member(Actor[Enter | Do]):
    """Enters itself in `initialize` and at work; whoever is restarted does so again."""

    def __init__(self, keys: tuple[str, ...], group: str | None) -> None:
        self.keys, self.group = keys, group

    async def initialize(self) -> None:
        for key in self.keys:
            self.register(key, self.context.incarnation)
        if self.group is not None:
            self.context.join(self.group)
        await asyncio.sleep(0)

    @handler
    def enter(self, message: Enter) -> None:
        self.register(message.key, message.value)

    def register(self, key: str, value: int) -> None:
        try:
            self.context.register(key, value)
        except KeyTaken as error:
            if error.ref.status == "stopped":
                raise RuntimeError("a key is taken by somebody who has ended") from None
            raise

    @handler
    def do(self, message: Do) -> None:
        message.what(self)


@dataclass
class Ledger:
    """What a listener knows from what it was told."""

    sim: Simulation
    who: str
    entries: set[tuple[Hashable, ActorRef[Any]]] = field(default_factory=set[tuple[Hashable, Any]])
    members: Counter[tuple[Hashable, ActorRef[Any]]] = field(default_factory=Counter[tuple[Hashable, Any]])
    whole: bool = True
    """No event was in the hand of an actor that has failed."""

    def hear(self, event: Registered | Unregistered | Joined | Left) -> None:
        if not self.whole:
            return
        match event:
            case Registered(_, key, ref):
                if (key, ref) in self.entries:
                    self.sim.violated(f"{self.who} hears twice that {ref.path} is under {key!r}")
                self.entries.add((key, ref))
            case Unregistered(_, key, ref):
                if (key, ref) not in self.entries:
                    self.sim.violated(f"{self.who} hears that {ref.path} is not under {key!r}, where it was not")
                self.entries.discard((key, ref))
            case Joined(group, ref):
                self.members[group, ref] += 1
            case Left(group, ref):
                self.members[group, ref] -= 1
                if self.members[group, ref] < 0:
                    self.sim.violated(f"{self.who} hears that {ref.path} leaves {group!r}, where it was not")


class Reader(Actor[Registered | Unregistered | Joined | Left]):
    """A listener that is an actor; its mailbox holds all events in their order."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger

    def initialize(self) -> None:
        self.ledger.whole = self.context.incarnation == 1

    @handler
    def registered(self, message: Registered) -> None:
        self.ledger.hear(message)

    @handler
    def unregistered(self, message: Unregistered) -> None:
        self.ledger.hear(message)

    @handler
    async def joined(self, message: Joined) -> None:
        self.ledger.hear(message)

    @handler
    async def left(self, message: Left) -> None:
        self.ledger.hear(message)


class Watcher(Actor[Do]):
    """When it hears of an end, nothing is left of that actor, and its keys are free."""

    def __init__(self, office: Office) -> None:
        self.office = office

    @handler
    def do(self, message: Do) -> None:
        message.what(self)

    @handler
    def ended(self, news: Terminated) -> None:
        for registry in self.office.registries:
            if registry.keys(news.ref):
                self.office.sim.violated(f"{news.ref.path} has ended and has keys: {registry.keys(news.ref)}")
        for group in self.office.system.groups.groups():
            if news.ref in self.office.system.groups.members(group):
                self.office.sim.violated(f"{news.ref.path} has ended and is a member of {group!r}")


@dataclass
class Office:
    sim: Simulation
    system: ActorSystem
    duplicate: Registry
    everybody: list[ActorRef[Any]] = field(default_factory=list[ActorRef[Any]])
    ledgers: list[Ledger] = field(default_factory=list[Ledger])
    watcher: ActorRef[Any] = field(init=False)

    @property
    def registries(self) -> tuple[Registry, Registry]:
        return self.system.registry, self.duplicate

    async def open(self) -> None:
        self.watcher = await self.system.spawn(Watcher, self)
        self.listen(self.ledger("the first function").hear)
        ledger = self.ledger("an actor")
        self.listen(await self.system.spawn(Reader, ledger))
        self.sim.always("a unique key has one actor, and no dead one is found", self.is_sound)

    def ledger(self, who: str) -> Ledger:
        ledger = Ledger(self.sim, who)
        self.ledgers.append(ledger)
        # What is there already; from here on each change is told.
        registry = self.system.registry
        ledger.entries |= {(key, entry.ref) for key in KEYS for entry in registry.entries(key)}
        for group in self.system.groups.groups():
            for ref in self.system.groups.members(group):
                ledger.members[group, ref] += 1
        return ledger

    def listen(self, listener: Any) -> None:
        self.system.registry.listen(listener)
        self.system.groups.subscribe_all(listener)
        self.system.groups.subscribe(listener, "g")  # of both it hears once

    def is_sound(self) -> bool:
        unique = self.system.registry
        for key in KEYS:
            entries = unique.entries(key)
            found = unique.find(key)
            if len(entries) > 1 or (found is not None) != bool(entries):
                return False
            if any(entry.ref.status == "stopped" for entry in (*entries, *self.duplicate.entries(key))):
                return False
        return True

    async def add(self, number: int) -> None:
        random = self.sim.random
        keys = tuple(random.sample(KEYS, random.randrange(3)))
        spec = child(Member, keys, random.choice([None, "g", "h"]))
        options: dict[str, Any] = {"restart": random.choice(["permanent", "temporary"])}
        try:
            ref = await self.system.spawn(spec.options(name=f"m{number}", max_restarts=5, shutdown=0.5, **options))
        except (StartError, UnderstudyError):
            return
        self.everybody.append(ref)
        self.watcher.tell(Do(what=lambda actor: actor.context.watch(ref)))

    def act(self) -> None:
        random = self.sim.random
        ref, key = random.choice(self.everybody), random.choice(KEYS)
        groups, registry = self.system.groups, random.choice(self.registries)
        match random.choice(["enter", "register", "register", "unregister", "join", "join", "leave", "kill", "stop"]):
            case "enter":
                ref.tell(Enter(key=key, value=random.randrange(10)))
            case "register":
                holder = None if registry is self.duplicate else registry.find(key)
                if holder is not None and holder != ref:
                    with pytest.raises(KeyTaken) as taken:
                        registry.register(key, ref)
                    assert taken.value.ref == holder
                elif ref.status == "stopped":
                    with pytest.raises(ActorStopped):
                        registry.register(key, ref)
                else:
                    registry.register(key, ref, random.randrange(10))
            case "unregister":
                was_there = key in registry.keys(ref)
                assert registry.unregister(key, ref) == was_there
                assert key not in registry.keys(ref)
            case "join":
                if ref.status == "stopped":
                    with pytest.raises(ActorStopped):
                        groups.join("g", ref)
                else:
                    groups.join(random.choice("gh"), ref)
            case "leave":
                was = groups.members("g").count(ref)
                assert groups.leave("g", ref) == (was > 0)
                assert groups.members("g").count(ref) == max(was - 1, 0)
            case "kill":
                ref.kill()
            case _:
                ref.stop()


@simulate(schedules=20, faults=Faults(crash=0.02, cancel=0.02, stall=0.3))
async def test_what_listeners_know_is_what_there_is_and_nobody_is_found_who_has_ended(sim: Simulation) -> None:
    async with ActorSystem() as system:
        office = Office(sim, system, Registry(system, kind="duplicate", name="many"))
        await office.open()
        await office.add(0)
        adding: list[asyncio.Task[None]] = []
        for number in range(1, 20):
            if sim.random.random() < 0.4 or not office.everybody:
                adding.append(asyncio.create_task(office.add(number)))
            else:
                office.act()
            if number == 10:
                office.listen(office.ledger("who comes late").hear)
            await asyncio.sleep(sim.random.choice([0, 0, 0.02]))
        await asyncio.wait(adding)
        await sim.quiesce()
        registry, groups = system.registry, system.groups
        there = {(key, entry.ref) for key in KEYS for entry in registry.entries(key)}
        members = Counter((group, ref) for group in groups.groups() for ref in groups.members(group))
        for ledger in office.ledgers:
            assert ledger.entries == there or not ledger.whole, ledger.who
            assert +ledger.members == members or not ledger.whole, ledger.who
        assert registry.count() == len(there)
        for ref in office.everybody:
            ref.stop()
            await ref.wait_stopped()
        await sim.quiesce()
        assert (registry.count(), office.duplicate.count(), groups.groups()) == (0, 0, ())
