"""S5: declared children start one after the other; a failed start undoes what was done and names the child."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.cast import Gate, Note, Recorder, settle
from understudy import (
    Actor,
    ActorSystem,
    ChildSpec,
    StartError,
    StartFailed,
    StartTimeout,
    Supervisor,
    child,
    handler,
    supervisor,
)


class Member(Actor[Note]):
    """Writes its life down; goes through a gate on its way up, or fails there."""

    def __init__(self, log: list[str], gate: Gate | None = None, error: BaseException | None = None) -> None:
        self.steps, self.gate, self.error = log, gate, error

    async def initialize(self) -> None:
        self._write("initializing")
        if self.gate is not None:
            await self.gate.hold()
        if self.error is not None:
            raise self.error
        self._write("up")

    def shutdown(self, reason: object) -> None:
        self._write("down")

    def _write(self, step: str) -> None:
        self.steps.append(f"{self.context.path.rsplit('/', 1)[-1]} {step}")

    @handler
    def note(self, message: Note) -> int:
        return message.value


def causes(error: BaseException) -> list[BaseException]:
    """*error* and all its causes, the outermost first."""
    found = [error]
    while found[-1].__cause__ is not None:
        found.append(found[-1].__cause__)
    return found


@pytest.mark.asyncio
async def test_each_child_starts_only_after_the_one_before_it_is_up() -> None:
    log: list[str] = []
    gates = {name: Gate() for name in ("a", "b", "c")}
    tree = supervisor("root", *(child(Member, log, gate).options(name=name) for name, gate in gates.items()))
    async with ActorSystem() as system:
        starting = asyncio.create_task(system.spawn(tree))
        expected: list[str] = []
        for name, gate in gates.items():
            await gate.reached()
            await asyncio.sleep(1)  # time enough for a child that does not wait for its turn
            expected.append(f"{name} initializing")
            assert log == expected
            assert not starting.done()
            gate.open()
            expected.append(f"{name} up")
        await starting
        assert log == expected


@pytest.mark.asyncio
async def test_the_children_of_a_supervisor_class_start_after_its_initialize() -> None:
    log: list[str] = []

    class Root(Supervisor):
        async def initialize(self) -> None:
            log.append("root initializing")
            await asyncio.sleep(1)
            log.append("root initialized")

        def children(self) -> list[ChildSpec]:
            log.append("root declares")
            return [child(Member, log).options(name="a"), child(Member, log).options(name="b")]

    async with ActorSystem(Root):
        assert log == [
            "root declares",
            "root initializing",
            "root initialized",
            "a initializing",
            "a up",
            "b initializing",
            "b up",
        ]


@pytest.mark.asyncio
async def test_a_failed_start_stops_those_already_up_in_reverse_order_and_starts_no_other() -> None:
    log: list[str] = []
    recorder, error = Recorder(), ValueError("port in use")
    tree = supervisor(
        "root",
        child(Member, log).options(name="a"),
        child(Member, log).options(name="b"),
        child(Member, log, None, error).options(name="c"),
        child(Member, log).options(name="d"),
    )
    async with ActorSystem(instruments=[recorder]) as system:
        with pytest.raises(StartError) as caught:
            await system.spawn(tree)

        assert log == [
            "a initializing",
            "a up",
            "b initializing",
            "b up",
            "c initializing",
            "b down",
            "a down",
        ]
        assert caught.value.path == "/user/root"
        assert isinstance(caught.value.reason, StartFailed)
        assert "/user/root/c" in str(caught.value)
        assert "port in use" in str(caught.value)
        assert causes(caught.value)[-1] is error
        assert any(isinstance(cause, StartError) and cause.path == "/user/root/c" for cause in causes(caught.value))
        assert system.find("root", Actor) is None
        assert "root" not in str(system.tree())
        assert recorder.of("actor_started", "/user/root") == []
        assert recorder.of("actor_restarting") == []


@pytest.mark.asyncio
async def test_each_is_fully_stopped_before_the_next_is_told() -> None:
    log: list[str] = []
    gate = Gate()

    class Slow(Member):
        async def shutdown(self, reason: object) -> None:  # type: ignore[override]
            self._write("going down")
            await gate.hold()
            self._write("down")

    tree = supervisor(
        "root",
        child(Member, log).options(name="a"),
        child(Slow, log).options(name="b"),
        child(Member, log, None, ValueError("port in use")).options(name="c"),
    )
    async with ActorSystem() as system:
        starting = asyncio.create_task(system.spawn(tree))
        await gate.reached()
        await asyncio.sleep(1)
        assert log[-1] == "b going down"
        assert not starting.done()
        gate.open()
        with pytest.raises(StartError):
            await starting
        assert log[-2:] == ["b down", "a down"]


@pytest.mark.asyncio
async def test_a_start_that_fails_deep_in_the_tree_fails_the_whole_and_names_every_step() -> None:
    log: list[str] = []
    error = ValueError("port in use")
    tree = supervisor(
        "root",
        child(Member, log).options(name="a"),
        supervisor(
            "inner",
            child(Member, log).options(name="b"),
            child(Member, log, None, error).options(name="c"),
        ),
        child(Member, log).options(name="d"),
    )
    entered: list[Any] = []
    with pytest.raises(StartError) as caught:
        async with ActorSystem(tree) as system:
            entered.append(system)

    assert entered == []
    assert log == ["a initializing", "a up", "b initializing", "b up", "c initializing", "b down", "a down"]
    chain = causes(caught.value)
    assert chain[-1] is error
    paths = [cause.path for cause in chain if isinstance(cause, StartError)]
    assert paths == ["/user/root", "/user/root/inner", "/user/root/inner/c"]
    assert "/user/root/inner/c" in str(caught.value)
    assert "port in use" in str(caught.value)


@pytest.mark.asyncio
async def test_a_child_that_does_not_come_up_in_time_fails_the_start_as_well() -> None:
    log: list[str] = []
    tree = supervisor(
        "root",
        child(Member, log).options(name="a"),
        child(Member, log, Gate()).options(name="b", start_timeout=2.0),
    )
    loop = asyncio.get_running_loop()
    async with ActorSystem() as system:
        begun = loop.time()
        with pytest.raises(StartError) as caught:
            await system.spawn(tree)
        assert loop.time() - begun == pytest.approx(2.0, abs=0.1)
        assert any(isinstance(cause, StartTimeout) for cause in causes(caught.value))
        assert "/user/root/b" in str(caught.value)
        assert log == ["a initializing", "a up", "b initializing", "a down"]


@pytest.mark.asyncio
async def test_a_temporary_child_that_does_not_start_fails_the_start_too() -> None:
    log: list[str] = []
    tree = supervisor(
        "root",
        child(Member, log).options(name="a"),
        child(Member, log, None, ValueError("no")).options(name="b", restart="temporary"),
    )
    async with ActorSystem() as system:
        with pytest.raises(StartError):
            await system.spawn(tree)
        assert log[-1] == "a down"


@pytest.mark.asyncio
async def test_a_supervisor_without_children_starts() -> None:
    async with ActorSystem(supervisor("root")) as system:
        await settle()
        assert system.lookup("root", Supervisor).status == "running"
