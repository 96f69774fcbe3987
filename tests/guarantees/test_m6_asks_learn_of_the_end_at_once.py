"""M6: asking the dead fails at once; an end fails all pending asks, a restart only the one in hand."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.cast import Fail, Gate, Hold, Holder, Note, Recorder, settle
from understudy import (
    Actor,
    ActorFailed,
    ActorRef,
    ActorStopped,
    ActorSystem,
    AskTimeout,
    Crashed,
    Killed,
    Message,
    Normal,
    RestartsExceeded,
    Shutdown,
    child,
    handler,
    supervisor,
)


class Leave(Message): ...


class Bomb(Message[int]):
    """The handler waits at the gate and then raises."""


class Patient(Actor[Note | Hold | Fail | Bomb | Leave]):
    """Every start after the first goes through `slow_start`, if there is one."""

    def __init__(self, gate: Gate, log: list[Any], slow_start: Gate | None = None) -> None:
        self.gate, self.handled, self.slow_start = gate, log, slow_start
        self.first = "born" not in log
        log.append("born")

    async def initialize(self) -> None:
        if self.slow_start is not None and not self.first:
            await self.slow_start.hold()

    @handler
    def note(self, message: Note) -> int:
        self.handled.append(message.value)
        return message.value

    @handler
    async def hold(self, message: Hold) -> int:
        await self.gate.hold()
        self.handled.append(message.value)
        return message.value

    @handler
    def fail(self, message: Fail) -> int:
        raise message.error

    @handler
    async def explode(self, message: Bomb) -> int:
        await self.gate.hold()
        raise ValueError("boom")

    @handler
    def leave(self, message: Leave) -> None:
        self.context.stop()


async def stop(ref: ActorRef[Any]) -> None:
    ref.stop()


async def drain(ref: ActorRef[Any]) -> None:
    ref.drain()


async def kill(ref: ActorRef[Any]) -> None:
    ref.kill()


async def crash(ref: ActorRef[Any]) -> None:
    ref.tell(Fail(error=ValueError("boom")))


async def leave(ref: ActorRef[Any]) -> None:
    ref.tell(Leave())


@pytest.mark.parametrize(
    ("restart", "end", "expected"),
    [
        ("permanent", stop, Shutdown),
        ("permanent", drain, Shutdown),
        ("transient", leave, Normal),
        ("temporary", leave, Normal),
        ("temporary", kill, Killed),
        ("temporary", crash, Crashed),
    ],
)
@pytest.mark.asyncio
async def test_asking_a_dead_actor_fails_at_once_with_its_reason(
    restart: Any, end: Callable[[ActorRef[Any]], Awaitable[None]], expected: type
) -> None:
    loop = asyncio.get_running_loop()
    async with ActorSystem() as system:
        ref = await system.spawn(child(Patient, Gate(), []).options(restart=restart))
        await end(ref)
        reason = await ref.wait_stopped()
        assert isinstance(reason, expected)
        begun = loop.time()
        with pytest.raises(ActorStopped) as caught:
            await ref.ask(Note(value=1), timeout=60)
        assert loop.time() - begun < 0.1
        assert caught.value.path == ref.path
        assert caught.value.reason == reason
        assert caught.value.message == Note(value=1)


@pytest.mark.asyncio
async def test_asking_an_actor_whose_system_has_closed_fails_at_once() -> None:
    async with ActorSystem() as system:
        ref = await system.spawn(Holder)
    loop = asyncio.get_running_loop()
    begun = loop.time()
    with pytest.raises(ActorStopped):
        await ref.ask(Note(value=1), timeout=60)
    assert loop.time() - begun < 0.1


async def three_asks(ref: ActorRef[Any], gate: Gate, first: Any) -> list[asyncio.Task[Any]]:
    """One in handling, two queued."""
    asks = [asyncio.create_task(ref.ask(first, timeout=60))]
    await gate.reached()
    asks += [asyncio.create_task(ref.ask(Note(value=value), timeout=60)) for value in (1, 2)]
    await settle()
    return asks


@pytest.mark.asyncio
async def test_a_crash_for_good_fails_all_three_within_a_tenth_of_a_second() -> None:
    gate, log = Gate(), []
    loop = asyncio.get_running_loop()
    async with ActorSystem() as system:
        ref = await system.spawn(child(Patient, gate, log).options(restart="temporary"))
        asks = await three_asks(ref, gate, Bomb())
        begun = loop.time()
        gate.open()
        outcomes = await asyncio.gather(*asks, return_exceptions=True)
        assert loop.time() - begun < 0.1
        reason = await ref.wait_stopped()
        assert isinstance(reason, Crashed)
        assert [type(outcome) for outcome in outcomes] == [ActorFailed, ActorStopped, ActorStopped]
        assert [outcome.reason for outcome in outcomes] == [reason] * 3
        assert len({id(outcome) for outcome in outcomes}) == 3
        assert log == ["born"]


@pytest.mark.asyncio
async def test_a_kill_for_good_fails_all_three_within_a_tenth_of_a_second() -> None:
    gate, log = Gate(), []
    loop = asyncio.get_running_loop()
    async with ActorSystem() as system:
        ref = await system.spawn(child(Patient, gate, log).options(restart="temporary"))
        asks = await three_asks(ref, gate, Hold(value=0))
        begun = loop.time()
        ref.kill()
        outcomes = await asyncio.gather(*asks, return_exceptions=True)
        assert loop.time() - begun < 0.1
        assert all(isinstance(outcome, ActorStopped | ActorFailed) for outcome in outcomes)
        assert [outcome.reason for outcome in outcomes] == [Killed()] * 3
        assert log == ["born"]


@pytest.mark.asyncio
async def test_out_of_restarts_fails_the_queued_asks_with_that_reason() -> None:
    gate, log = Gate(), []
    loop = asyncio.get_running_loop()
    async with ActorSystem() as system:
        tree = supervisor("group", child(Patient, gate, log).options(name="one"), max_restarts=0)
        group = await system.spawn(child_of_system(tree))
        ref = system.lookup("group/one", Patient)
        asks = await three_asks(ref, gate, Bomb())
        begun = loop.time()
        gate.open()
        outcomes = await asyncio.gather(*asks, return_exceptions=True)
        assert loop.time() - begun < 0.1
        assert [type(outcome) for outcome in outcomes] == [ActorFailed, ActorStopped, ActorStopped]
        assert isinstance(outcomes[0].__cause__, ValueError)
        assert isinstance(await group.wait_stopped(), RestartsExceeded)
        assert log == ["born"]


def child_of_system(tree: Any) -> Any:
    """A group whose end is its end."""
    return tree.options(restart="temporary")


@pytest.mark.asyncio
async def test_a_stop_lets_the_ask_in_hand_end_and_fails_the_others_at_once() -> None:
    gate, log = Gate(), []
    loop = asyncio.get_running_loop()
    async with ActorSystem() as system:
        ref = await system.spawn(Patient, gate, log)
        in_hand, *queued = await three_asks(ref, gate, Hold(value=0))
        begun = loop.time()
        ref.stop()
        outcomes = await asyncio.gather(*queued, return_exceptions=True)
        assert loop.time() - begun < 0.1
        assert [type(outcome) for outcome in outcomes] == [ActorStopped, ActorStopped]
        assert all(isinstance(outcome.reason, Shutdown) for outcome in outcomes)
        assert not in_hand.done()
        gate.open()
        assert await in_hand == 0
        assert log == ["born", 0]


@pytest.mark.asyncio
async def test_the_end_of_the_parent_fails_the_asks_of_its_children_at_once() -> None:
    gate, log = Gate(), []
    loop = asyncio.get_running_loop()
    async with ActorSystem() as system:
        group = await system.spawn(supervisor("group", child(Patient, gate, log).options(name="one")))
        in_hand, *queued = await three_asks(system.lookup("group/one", Patient), gate, Hold(value=0))
        begun = loop.time()
        group.stop()
        outcomes = await asyncio.gather(*queued, return_exceptions=True)
        assert loop.time() - begun < 0.1
        assert [type(outcome) for outcome in outcomes] == [ActorStopped, ActorStopped]
        gate.open()
        assert await in_hand == 0
        assert log == ["born", 0]


@pytest.mark.asyncio
async def test_the_end_of_the_system_fails_all_asks_at_once() -> None:
    gate, log = Gate(), []
    loop = asyncio.get_running_loop()
    async with ActorSystem() as system:
        ref = await system.spawn(child(Patient, gate, log).options(shutdown="brutal_kill"))
        asks = await three_asks(ref, gate, Hold(value=0))
        begun = loop.time()
    outcomes = await asyncio.gather(*asks, return_exceptions=True)
    assert loop.time() - begun < 0.1
    assert all(isinstance(outcome, ActorStopped | ActorFailed) for outcome in outcomes)
    assert log == ["born"]


@pytest.mark.asyncio
async def test_a_stop_that_runs_out_of_grace_fails_the_ask_in_hand_then() -> None:
    gate, log = Gate(), []
    loop = asyncio.get_running_loop()
    async with ActorSystem() as system:
        ref = await system.spawn(child(Patient, gate, log).options(shutdown=2.0))
        in_hand, *queued = await three_asks(ref, gate, Hold(value=0))
        begun = loop.time()
        ref.stop()
        with pytest.raises((ActorStopped, ActorFailed)) as caught:
            await in_hand
        assert loop.time() - begun == pytest.approx(2.0, abs=0.1)
        assert isinstance(caught.value.reason, Killed)
        assert isinstance(caught.value.reason.first, Shutdown)
        await asyncio.gather(*queued, return_exceptions=True)


@pytest.mark.parametrize("how", ["crash", "kill"])
@pytest.mark.asyncio
async def test_a_restart_fails_only_the_ask_in_hand_and_the_queued_ones_wait_for_it(how: str) -> None:
    gate, slow_start, log, recorder = Gate(), Gate(), [], Recorder()
    loop = asyncio.get_running_loop()
    async with ActorSystem(instruments=[recorder]) as system:
        ref = await system.spawn(Patient, gate, log, slow_start)
        in_hand, *queued = await three_asks(ref, gate, Bomb() if how == "crash" else Hold(value=0))
        begun = loop.time()
        if how == "crash":
            gate.open()
        else:
            ref.kill()
        with pytest.raises((ActorFailed, ActorStopped)) as caught:
            await in_hand
        assert loop.time() - begun < 0.1
        assert isinstance(caught.value.reason, Crashed if how == "crash" else Killed)
        await slow_start.reached()
        await asyncio.sleep(20)
        assert not any(ask.done() for ask in queued)
        late = asyncio.create_task(ref.ask(Note(value=3), timeout=60))  # asked while it restarts
        await settle()
        slow_start.open()
        assert await asyncio.gather(*queued, late) == [1, 2, 3]
        assert log == ["born", "born", 1, 2, 3]


@pytest.mark.asyncio
async def test_the_deadlines_of_queued_asks_run_on_through_a_restart() -> None:
    gate, slow_start, log = Gate(), Gate(), []
    loop = asyncio.get_running_loop()
    async with ActorSystem() as system:
        ref = await system.spawn(Patient, gate, log, slow_start)
        begun = loop.time()
        ref.tell(Bomb())
        await gate.reached()
        short = asyncio.create_task(ref.ask(Note(value=1), timeout=2.0))
        long = asyncio.create_task(ref.ask(Note(value=2), timeout=20.0))
        await settle()
        gate.open()
        with pytest.raises(AskTimeout) as caught:
            await short
        assert loop.time() - begun == pytest.approx(2.0, abs=0.2)
        assert "restarting" in caught.value.state
        slow_start.open()
        assert await long == 2
        assert log == ["born", "born", 2]


@pytest.mark.asyncio
async def test_a_restart_that_does_not_come_up_fails_the_queued_asks_with_its_reason() -> None:
    gate = Gate()
    starts: list[int] = []

    class Once(Actor[Bomb | Note]):
        def initialize(self) -> None:
            starts.append(1)
            if len(starts) > 1:
                raise ValueError("only once")

        @handler
        async def explode(self, message: Bomb) -> int:
            await gate.hold()
            raise ValueError("boom")

        @handler
        def note(self, message: Note) -> int:
            return message.value

    loop = asyncio.get_running_loop()
    async with ActorSystem() as system:
        ref = await system.spawn(Once)
        _in_hand, *queued = asks = await three_asks(ref, gate, Bomb())
        begun = loop.time()
        gate.open()
        await asyncio.gather(*asks, return_exceptions=True)
        assert loop.time() - begun < 0.1
        reason = await ref.wait_stopped()
        assert isinstance(reason, RestartsExceeded)
        for ask in queued:
            error = ask.exception()
            assert isinstance(error, ActorStopped)
            assert error.reason == reason


@pytest.mark.parametrize("how", ["crash", "kill"])
@pytest.mark.asyncio
async def test_an_actor_may_be_declared_so_that_its_restart_fails_queued_asks_at_once_and_keeps_tells(how: str) -> None:
    gate, slow_start, log = Gate(), Gate(), []
    loop = asyncio.get_running_loop()
    async with ActorSystem() as system:
        ref = await system.spawn(child(Patient, gate, log, slow_start).options(on_restart="fail"))
        in_hand, *queued = await three_asks(ref, gate, Bomb() if how == "crash" else Hold(value=0))
        ref.tell(Note(value=7))
        begun = loop.time()
        if how == "crash":
            gate.open()
        else:
            ref.kill()
        outcomes = await asyncio.gather(in_hand, *queued, return_exceptions=True)
        assert loop.time() - begun < 0.1
        assert [type(outcome) for outcome in outcomes[1:]] == [ActorStopped, ActorStopped]
        assert {outcome.message.value for outcome in outcomes[1:]} == {1, 2}
        await slow_start.reached()
        slow_start.open()
        assert await ref.ask(Note(value=8)) == 8
        assert log == ["born", "born", 7, 8]
        assert system.statistics().dead_letters == (2 if how == "crash" else 3)
