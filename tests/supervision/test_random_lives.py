"""Random trees under random requests: what always holds is checked; a seed that fails can be run again."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from typing import Any

import pytest

from tests.guarantees.cast_of_supervision import Call, Diary, Flat, Note, Part, Player, boom, now, stop_yourself, takes
from understudy import (
    Actor,
    ActorRef,
    ActorStopped,
    ActorSystem,
    ChildSpec,
    MailboxFull,
    Settings,
    UnderstudyError,
    supervisor,
)

SETTINGS = Settings(shutdown=1.0, abandon_after=0.5, shutdown_timeout=20.0, start_timeout=2.0)


class Life:
    """One run: what was asked of whom, and what came of it."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.diary = Diary()
        self.parts: list[Part] = []
        self.refs: list[ActorRef[Any]] = []
        self.asks: list[asyncio.Task[Any]] = []
        self.number = 0
        self.accepted: set[int] = set()
        self.refused: set[int] = set()
        self.closing = False

    # Those who take part.

    def part(self, name: str) -> Part:
        part = Part(name, initialize=self.behave, shutdown=self.behave)
        self.parts.append(part)
        return part

    def behave(self, actor: Player) -> Any:
        """What a hook does: mostly nothing, sometimes something bad."""
        first = actor.incarnation == 1 and not self.closing
        kind = (
            "nothing" if first else self.random.choice(["nothing"] * 6 + ["short", "short", "long", "fail", "resist"])
        )
        return {
            "nothing": lambda: None,
            "short": takes(0.05),
            "long": takes(3.0),
            "fail": boom,
            "resist": lambda: self.resist(self.random.choice([0.3, 4.0])),
        }[kind]()

    async def resist(self, seconds: float) -> None:
        """Swallow every cancel for *seconds*."""
        end = now() + seconds
        while now() < end - 1e-6:
            try:
                await asyncio.sleep(end - now())
            except asyncio.CancelledError:
                continue

    def leaf(self, name: str) -> ChildSpec[Any]:
        restart = self.random.choice(["permanent", "permanent", "transient", "temporary"])
        shutdown = self.random.choice([0.5, 1.0, "infinity", "brutal_kill"])
        return self.part(name).spec(restart=restart, shutdown=shutdown, mailbox=self.random.choice([3, 1000]))

    def tree(self, depth: int, name: str) -> ChildSpec[Any]:
        children = [
            self.tree(depth - 1, f"s{number}") if depth and self.random.random() < 0.4 else self.leaf(f"a{number}")
            for number in range(self.random.randint(1, 4))
        ]
        limit = 10_000 if name == "root" else self.random.choice([0, 1, 3])
        return supervisor(name, *children, max_restarts=limit, max_seconds=2.0)

    # What is asked of them.

    def note(self) -> Note:
        self.number += 1
        return Note(number=self.number)

    def tell(self, ref: ActorRef[Any]) -> None:
        note = self.note()
        (self.accepted if ref.tell(note) else self.refused).add(note.number)

    async def send(self, ref: ActorRef[Any]) -> None:
        note = self.note()
        try:
            await ref.send(note, timeout=self.random.choice([None, 0.5]))
            self.accepted.add(note.number)
        except (ActorStopped, MailboxFull, TimeoutError, asyncio.CancelledError):
            self.refused.add(note.number)

    async def ask(self, ref: ActorRef[Any]) -> None:
        what = self.random.choice([takes(0.2), takes(0.2), boom, lambda actor: 1, lambda actor: self.resist(0.4)])
        with contextlib.suppress(UnderstudyError):
            await ref.ask(Call(what=what), timeout=self.random.choice([0.1, 2.0, 50.0]))

    async def spawn(self, system: ActorSystem, ref: ActorRef[Any]) -> None:
        spec = self.leaf(f"r{self.random.randint(0, 5)}")
        under = self.random.random() < 0.5
        try:
            if under:
                child: Any = await ref.ask(Call(what=lambda actor: actor.context.spawn(spec)))
            else:
                child = await system.spawn(spec)
            self.refs.append(child)
        except UnderstudyError:
            return

    def meddle(self, system: ActorSystem) -> None:
        """One random request to one random actor."""
        ref = self.random.choice(self.refs)
        start = asyncio.ensure_future
        match self.random.choices(
            ["tell", "send", "ask", "crash", "crash later", "end", "stop", "drain", "kill", "spawn", "give up"],
            [12, 4, 6, 4, 3, 1, 1, 1, 2, 2, 2],
        )[0]:
            case "tell":
                self.tell(ref)
            case "send":
                self.asks.append(start(self.send(ref)))
            case "ask":
                self.asks.append(start(self.ask(ref)))
            case "crash":
                ref.tell(Flat(what=boom))
            case "crash later":
                ref.tell(Call(what=self.crash_later))
            case "end":
                ref.tell(Flat(what=stop_yourself))
            case "stop":
                ref.stop()
            case "drain":
                ref.drain(self.random.choice([None, 0.5]))
            case "kill":
                ref.kill()
            case "spawn":
                self.asks.append(start(self.spawn(system, ref)))
            case _:
                if running := [ask for ask in self.asks if not ask.done()]:
                    self.random.choice(running).cancel()

    async def crash_later(self, _: Actor[Any]) -> None:
        await asyncio.sleep(self.random.choice([0.0, 0.1]))
        boom()

    async def live(self) -> None:
        async with ActorSystem(self.tree(2, "root"), settings=SETTINGS, instruments=[self.diary]) as system:
            self.refs = [ref for part in self.parts for ref in find(system, part)]
            for _ in range(150):
                for _ in range(self.random.choice([1, 1, 2, 5])):
                    self.meddle(system)
                if self.random.random() < 0.5:
                    await asyncio.sleep(self.random.choice([0, 0, 0.01, 0.1, 0.5]))
                for part in self.parts:
                    for ref in find(system, part):
                        if ref not in self.refs:
                            self.refs.append(ref)
            self.closing = True
            began = now()
        assert now() - began <= 20.01
        self.abandoned = system.abandoned
        self.statistics = system.statistics()


def find(system: ActorSystem, part: Part) -> list[ActorRef[Any]]:
    """The refs of the living instances of *part*."""
    found = []
    for instance in part.instances:
        try:
            found.append(instance.context.ref)
        except UnderstudyError:
            continue
    return found


@pytest.mark.parametrize("seed", range(25))
@pytest.mark.asyncio
async def test_what_always_holds(seed: int) -> None:
    life = Life(seed)
    await life.live()
    # Nobody who asked, sent or spawned waits any more.
    if life.asks:
        await asyncio.wait(life.asks, timeout=1.0)
    assert [ask for ask in life.asks if not ask.done()] == []
    for ask in life.asks:
        if not ask.cancelled():
            assert ask.exception() is None
    # All have ended, and nothing runs but the test; what was abandoned is known by name.
    assert {ref.status for ref in life.refs} == {"stopped"}
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert len(life.abandoned) == len(life.diary.zombies) == life.statistics.abandoned
    # Each note was handled or became a dead letter, exactly once; what was refused was not handled.
    handled = Counter(number for part in life.parts for number in part.notes)
    lost = Counter(life.diary.lost_notes())
    for number in life.accepted:
        assert handled[number] + lost[number] == 1, number
    for number in life.refused:
        assert handled[number] == 0, number
        assert lost[number] <= 1, number
    # Hooks come in their order, and none twice.
    for part in life.parts:
        check_hooks(part)
    # What the runtime reports adds up: each start of an incarnation belongs to an actor that has had its end.
    started = Counter(path for path, _ in life.diary.started if path.startswith("/user/"))
    stopped = Counter(path for path, _ in life.diary.stopped)
    assert set(started) <= set(stopped)
    await asyncio.sleep(10)  # let the zombies go


def check_hooks(part: Part) -> None:
    """Each incarnation starts, is perhaps up, stops, is down; a zombie may be late, but in this order."""
    for steps in part.steps.values():
        assert steps == ["starts", "up", "stops", "down"][: len(steps)], part.steps
    assert len(part.ends) <= part.starts
