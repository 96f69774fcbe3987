"""S2: a name in use gives `NameTaken` with the live ref; nobody is disturbed and nobody else comes up."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.cast import Gate, Handled, Hold, Holder, Note, Recorder, settle
from understudy import Actor, ActorSystem, NameTaken, child, handler, supervisor


class Second(Actor[Note]):
    def __init__(self, log: list[str]) -> None:
        self.steps = log

    def initialize(self) -> None:
        self.steps.append("initialized")

    @handler
    def note(self, message: Note) -> int:
        return -1


class Slow(Actor[Note]):
    def __init__(self, gate: Gate) -> None:
        self.gate = gate

    async def initialize(self) -> None:
        await self.gate.hold()

    @handler
    def note(self, message: Note) -> int:
        return message.value


class Spawner(Actor[Note]):
    """Spawns two children of one name."""

    def __init__(self, log: list[str], outcome: list[Any]) -> None:
        self.steps, self.outcome = log, outcome

    @handler
    async def spawn(self, message: Note) -> int:
        self.outcome.append(await self.context.spawn(child(Holder).options(name="one")))
        try:
            await self.context.spawn(child(Second, self.steps).options(name="one"))
        except NameTaken as error:
            self.outcome.append(error)
        return len(self.context.children)


@pytest.mark.asyncio
async def test_a_second_actor_of_a_name_is_refused_and_the_first_is_undisturbed() -> None:
    log: list[str] = []
    recorder = Recorder()
    async with ActorSystem(instruments=[recorder]) as system:
        first = await system.spawn(child(Holder).options(name="index"))
        await first.ask(Note(value=1))
        actors = system.statistics().actors

        with pytest.raises(NameTaken) as caught:
            await system.spawn(child(Second, log).options(name="index"))

        assert caught.value.path == "/user/index"
        assert caught.value.ref.uid == first.uid
        assert await caught.value.ref.ask(Note(value=2)) == 2
        assert await first.ask(Handled()) == [1, 2]
        assert log == []
        assert system.statistics().actors == actors
        assert recorder.of("actor_started", "/user/index") == [("/user/index", 1)]
        assert recorder.of("actor_stopped") == []
        assert system.lookup("index", Holder).uid == first.uid


@pytest.mark.asyncio
async def test_an_actor_cannot_have_two_children_of_one_name() -> None:
    log: list[str] = []
    outcome: list[Any] = []
    async with ActorSystem() as system:
        ref = await system.spawn(Spawner, log, outcome)
        assert await ref.ask(Note()) == 1
        first, error = outcome
        assert isinstance(error, NameTaken)
        assert error.ref.uid == first.uid
        assert log == []
        assert first.status == "running"


@pytest.mark.asyncio
async def test_the_name_of_an_actor_that_is_starting_is_taken() -> None:
    gate, log = Gate(), []
    async with ActorSystem() as system:
        starting = asyncio.create_task(system.spawn(child(Slow, gate).options(name="index")))
        await gate.reached()
        with pytest.raises(NameTaken) as caught:
            await system.spawn(child(Second, log).options(name="index"))
        assert caught.value.ref.status == "starting"
        assert not starting.done()

        gate.open()
        first = await starting
        assert first.uid == caught.value.ref.uid
        assert await first.ask(Note(value=5)) == 5
        assert log == []


@pytest.mark.asyncio
async def test_the_name_of_an_actor_that_is_stopping_is_taken() -> None:
    gate, log = Gate(), []
    async with ActorSystem() as system:
        first = await system.spawn(child(Holder, gate).options(name="index"))
        last = asyncio.create_task(first.ask(Hold(value=1)))
        await gate.reached()
        first.stop()
        with pytest.raises(NameTaken) as caught:
            await system.spawn(child(Second, log).options(name="index"))
        assert caught.value.ref == first
        assert log == []
        gate.open()
        assert await last == 1
        await first.wait_stopped()
        await system.spawn(child(Second, log).options(name="index"))
        assert log == ["initialized"]


@pytest.mark.asyncio
async def test_the_name_of_an_actor_that_restarts_is_taken() -> None:
    gate, log, starts = Gate(), [], []

    class SlowAgain(Slow):
        async def initialize(self) -> None:
            starts.append(1)
            if len(starts) > 1:
                await super().initialize()

    async with ActorSystem() as system:
        first = await system.spawn(child(SlowAgain, gate).options(name="index"))
        first.kill()
        await gate.reached()
        with pytest.raises(NameTaken):
            await system.spawn(child(Second, log).options(name="index"))
        gate.open()
        assert await first.ask(Note(value=3)) == 3
        assert log == []


@pytest.mark.asyncio
async def test_of_many_that_race_for_a_name_exactly_one_gets_it() -> None:
    gate = Gate()
    async with ActorSystem() as system:
        spec = child(Slow, gate).options(name="index")
        racing = [asyncio.create_task(system.spawn(spec)) for _ in range(10)]
        await settle()
        gate.open()
        outcomes = await asyncio.gather(*racing, return_exceptions=True)
        taken = [outcome for outcome in outcomes if isinstance(outcome, NameTaken)]
        assert len(taken) == 9
        assert gate.came == 1
        [winner] = [outcome for outcome in outcomes if not isinstance(outcome, BaseException)]
        assert {error.ref.uid for error in taken} == {winner.uid}


@pytest.mark.asyncio
async def test_the_name_of_a_declared_child_is_taken_too() -> None:
    log: list[str] = []
    async with ActorSystem(supervisor("root", child(Holder).options(name="index"))) as system:
        with pytest.raises(NameTaken) as caught:
            await system.spawn(child(Second, log).options(name="root"))
        assert caught.value.path == "/user/root"
        assert log == []
        assert await system.lookup("root/index", Holder).ask(Note(value=1)) == 1


@pytest.mark.asyncio
async def test_the_name_is_free_again_after_the_end_and_the_new_actor_is_another() -> None:
    async with ActorSystem() as system:
        first = await system.spawn(child(Holder).options(name="index"))
        first.stop()
        await first.wait_stopped()
        second = await system.spawn(child(Holder).options(name="index"))
        assert second.path == first.path
        assert second.uid != first.uid
        assert first.tell(Note(value=1)) is False
        assert await second.ask(Handled()) == []


@pytest.mark.asyncio
async def test_names_that_nobody_chose_never_collide() -> None:
    async with ActorSystem() as system:
        refs = [await system.spawn(Holder) for _ in range(3)]
        assert [ref.path for ref in refs] == ["/user/holder", "/user/holder-2", "/user/holder-3"]
