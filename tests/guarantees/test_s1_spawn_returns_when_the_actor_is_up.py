"""S1: `spawn` returns after `initialize` has ended, or raises and nothing is left."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.cast import Gate, Holder, Note, Recorder, settle
from understudy import (
    Actor,
    ActorStopped,
    ActorSystem,
    Message,
    Settings,
    StartError,
    StartFailed,
    StartTimeout,
    child,
    handler,
)


class Steps(Message[list[str]]): ...


class Slow(Actor[Steps]):
    """Goes through a gate on its way up."""

    def __init__(self, gate: Gate, log: list[str]) -> None:
        self.gate, self.steps = gate, log
        log.append("made")

    async def initialize(self) -> None:
        self.steps.append("initializing")
        try:
            await self.gate.hold()
        except asyncio.CancelledError:
            self.steps.append("cancelled")
            raise
        self.steps.append("initialized")

    def shutdown(self, reason: object) -> None:
        self.steps.append("shut down")

    @handler
    def tell_steps(self, message: Steps) -> list[str]:
        self.steps.append("asked")
        return list(self.steps)


class Stubborn(Slow):
    """Does not let itself be cancelled."""

    async def initialize(self) -> None:
        while not self.gate.went:
            try:
                await self.gate.hold()
            except asyncio.CancelledError:
                self.steps.append("cancelled")
        # What a zombie does with its context must not reach the actor that has its name now.
        try:
            self.context.stop()
        except Exception as error:
            self.steps.append(type(error).__name__)


class FailsInConstructor(Actor[Note]):
    def __init__(self, error: BaseException) -> None:
        raise error

    @handler
    def note(self, message: Note) -> int:
        raise AssertionError("it never came up")


class FailsPlainly(Actor[Note]):
    def __init__(self, error: BaseException) -> None:
        self.error = error

    def initialize(self) -> None:
        raise self.error

    @handler
    def note(self, message: Note) -> int:
        raise AssertionError("it never came up")


class FailsAfterAWait(FailsPlainly):
    async def initialize(self) -> None:  # type: ignore[override]
        await asyncio.sleep(1)
        raise self.error


class FailsWithChildren(FailsPlainly):
    """Has children and letters by the time it fails."""

    def __init__(self, error: BaseException, told: list[Any]) -> None:
        self.error, self.told = error, told

    async def initialize(self) -> None:  # type: ignore[override]
        await self.context.spawn(child(Holder).options(name="first"))
        await self.context.spawn(child(Holder).options(name="second"))
        self.told.append(self.context.ref)
        self.told.append(self.context.ref.tell(Note(value=1)))
        await asyncio.sleep(1)
        raise self.error


class Spawner(Actor[Note]):
    """Spawns what it was given and keeps the outcome."""

    def __init__(self, spec: Any, outcome: list[Any]) -> None:
        self.spec, self.outcome = spec, outcome

    @handler
    async def spawn(self, message: Note) -> int:
        try:
            self.outcome.append(await self.context.spawn(self.spec))
        except StartError as error:
            self.outcome.append(error)
        return len(self.context.children)


def nothing_is_left(system: ActorSystem, path: str) -> None:
    assert system.find(path, Actor) is None
    assert path.rsplit("/", 1)[-1] not in str(system.tree())
    assert [task.get_name() for task in asyncio.all_tasks() if path in task.get_name()] == []


@pytest.mark.asyncio
async def test_spawn_returns_only_after_initialize_has_ended() -> None:
    gate, log = Gate(), []
    async with ActorSystem() as system:
        spawning = asyncio.create_task(system.spawn(child(Slow, gate, log).options(name="slow")))
        await gate.reached()
        await asyncio.sleep(20)
        assert not spawning.done()
        assert log == ["made", "initializing"]

        gate.open()
        ref = await spawning

        assert log == ["made", "initializing", "initialized"]
        assert ref.status == "running"
        assert ref.path == "/user/slow"
        assert await ref.ask(Steps()) == ["made", "initializing", "initialized", "asked"]


@pytest.mark.asyncio
async def test_a_plain_initialize_has_ended_when_spawn_returns() -> None:
    class Plain(Actor[Steps]):
        def __init__(self) -> None:
            self.steps = ["made"]

        def initialize(self) -> None:
            self.steps.append("initialized")

        @handler
        def tell_steps(self, message: Steps) -> list[str]:
            return self.steps

    async with ActorSystem() as system:
        ref = await system.spawn(Plain)
        assert await ref.ask(Steps()) == ["made", "initialized"]


@pytest.mark.asyncio
async def test_messages_wait_until_initialize_has_ended() -> None:
    gate, log, told = Gate(), [], []

    class Early(Slow):
        async def initialize(self) -> None:
            told.append(self.context.ref.tell(Steps()))
            await super().initialize()

    async with ActorSystem() as system:
        spawning = asyncio.create_task(system.spawn(child(Early, gate, log)))
        await gate.reached()
        await settle()
        assert told == [True]
        assert "asked" not in log
        gate.open()
        await spawning
        await settle()
        assert log == ["made", "initializing", "initialized", "asked"]


@pytest.mark.parametrize("cls", [FailsInConstructor, FailsPlainly, FailsAfterAWait])
@pytest.mark.asyncio
async def test_a_failed_start_raises_with_its_cause_and_leaves_nothing(cls: type[Actor[Note]]) -> None:
    error, recorder = ValueError("no such meter"), Recorder()
    async with ActorSystem(instruments=[recorder]) as system:
        before = system.statistics().actors
        with pytest.raises(StartError) as caught:
            await system.spawn(child(cls, error).options(name="meter"))

        assert not isinstance(caught.value, StartTimeout)
        assert caught.value.path == "/user/meter"
        assert caught.value.__cause__ is error
        assert isinstance(caught.value.reason, StartFailed)
        assert caught.value.reason.error is error
        assert "no such meter" in str(caught.value)
        nothing_is_left(system, "/user/meter")
        assert system.statistics().actors == before
        assert recorder.of("actor_started", "/user/meter") == []
        assert recorder.of("actor_restarting") == []

        ref = await system.spawn(child(Holder).options(name="meter"))
        assert ref.path == "/user/meter"
        assert await ref.ask(Note(value=7)) == 7


@pytest.mark.asyncio
async def test_a_failed_start_stops_the_children_it_had_and_loses_no_letter_in_silence() -> None:
    error, recorder, told = ValueError("too late"), Recorder(), []
    async with ActorSystem(instruments=[recorder]) as system:
        with pytest.raises(StartError) as caught:
            await system.spawn(child(FailsWithChildren, error, told).options(name="parent"))

        assert caught.value.__cause__ is error
        nothing_is_left(system, "/user/parent")
        stopped = [path for path, _reason in recorder.of("actor_stopped")]
        assert [path for path in stopped if path.startswith("/user/parent/")] == [
            "/user/parent/second",
            "/user/parent/first",
        ]
        ref, accepted = told
        assert accepted is True
        assert [(message, to) for message, to, _, _ in recorder.letters] == [(Note(value=1), "/user/parent")]
        with pytest.raises(ActorStopped) as stopped_error:
            await ref.ask(Note(value=2))
        assert isinstance(stopped_error.value.reason, StartFailed)


@pytest.mark.asyncio
async def test_an_actor_that_spawns_gets_the_error_and_goes_on() -> None:
    error, outcome = ValueError("no such meter"), []
    async with ActorSystem() as system:
        ref = await system.spawn(Spawner, child(FailsPlainly, error).options(name="meter"), outcome)
        assert await ref.ask(Note()) == 0
        assert isinstance(outcome[0], StartError)
        assert outcome[0].__cause__ is error
        assert outcome[0].path == "/user/spawner/meter"
        nothing_is_left(system, "/user/spawner/meter")
        assert ref.status == "running"


@pytest.mark.asyncio
async def test_the_shutdown_hook_does_not_run_after_a_failed_initialize() -> None:
    log: list[str] = []

    class Unlucky(Slow):
        async def initialize(self) -> None:
            raise ValueError("unlucky")

    async with ActorSystem() as system:
        with pytest.raises(StartError):
            await system.spawn(Unlucky, Gate(), log)
    assert log == ["made"]


@pytest.mark.asyncio
async def test_a_spawn_that_is_cancelled_leaves_nothing() -> None:
    gate, log = Gate(), []
    async with ActorSystem() as system:
        spawning = asyncio.create_task(system.spawn(child(Slow, gate, log).options(name="slow")))
        await gate.reached()
        spawning.cancel()
        with pytest.raises(asyncio.CancelledError):
            await spawning
        await settle()
        nothing_is_left(system, "/user/slow")
        assert log == ["made", "initializing", "cancelled"]


@pytest.mark.asyncio
async def test_a_spawn_that_the_end_of_the_system_overtakes_fails() -> None:
    gate, log = Gate(), []
    async with ActorSystem() as system:
        spawning = asyncio.create_task(system.spawn(child(Slow, gate, log).options(name="slow")))
        await gate.reached()
    with pytest.raises((StartError, ActorStopped)):
        await spawning
    assert log == ["made", "initializing", "cancelled"]
    with pytest.raises((StartError, ActorStopped)):
        await system.spawn(child(Slow, gate, log))
    assert log == ["made", "initializing", "cancelled"]


@pytest.mark.asyncio
async def test_initialize_that_does_not_end_is_cancelled_at_its_deadline() -> None:
    gate, log = Gate(), []
    loop = asyncio.get_running_loop()
    async with ActorSystem() as system:
        begun = loop.time()
        with pytest.raises(StartTimeout) as caught:
            await system.spawn(child(Slow, gate, log).options(name="slow", start_timeout=2.0))

        assert loop.time() - begun == pytest.approx(2.0, abs=0.05)
        assert isinstance(caught.value, StartError)
        assert caught.value.path == "/user/slow"
        assert log == ["made", "initializing", "cancelled"]
        nothing_is_left(system, "/user/slow")
        assert system.statistics().abandoned == 0

        gate.open()
        await system.spawn(child(Slow, gate, log).options(name="slow", start_timeout=2.0))


@pytest.mark.asyncio
async def test_initialize_that_resists_the_cancel_is_abandoned_within_a_second() -> None:
    gate, log, recorder = Gate(), [], Recorder()
    loop = asyncio.get_running_loop()
    async with ActorSystem(instruments=[recorder]) as system:
        begun = loop.time()
        with pytest.raises(StartTimeout):
            await system.spawn(child(Stubborn, gate, log).options(name="slow", start_timeout=2.0))

        assert 2.0 <= loop.time() - begun <= 3.05
        assert log.count("cancelled") >= 2
        nothing_is_left(system, "/user/slow")
        assert system.statistics().abandoned == 1
        assert len(recorder.of("abandoned", "/user/slow")) == 1

        successor = await system.spawn(child(Holder).options(name="slow"))
        gate.open()  # the zombie comes to life, with a stop in its hands
        await settle()
        assert gate.went == 1
        assert successor.status == "running"
        assert await successor.ask(Note(value=3)) == 3
        assert "initialized" not in log
        assert "shut down" not in log
        assert recorder.of("actor_started", "/user/slow") == [("/user/slow", 1)]


@pytest.mark.parametrize(
    ("spec", "of_class", "of_system", "expected"),
    [
        (None, None, None, 30.0),
        (None, None, 7.0, 7.0),
        (None, 11.0, 7.0, 11.0),
        (3.0, 11.0, 7.0, 3.0),
    ],
)
@pytest.mark.asyncio
async def test_the_start_deadline_is_that_of_the_spec_else_of_the_class_else_of_the_system(
    spec: float | None, of_class: float | None, of_system: float | None, expected: float
) -> None:
    class Configured(Slow):
        defaults = {} if of_class is None else {"start_timeout": of_class}

    settings = Settings() if of_system is None else Settings(start_timeout=of_system)
    declared = child(Configured, Gate(), [])
    if spec is not None:
        declared = declared.options(start_timeout=spec)
    loop = asyncio.get_running_loop()
    async with ActorSystem(settings=settings) as system:
        begun = loop.time()
        with pytest.raises(StartTimeout) as caught:
            await system.spawn(declared)
        assert loop.time() - begun == pytest.approx(expected, abs=0.05)
        assert caught.value.seconds == expected
