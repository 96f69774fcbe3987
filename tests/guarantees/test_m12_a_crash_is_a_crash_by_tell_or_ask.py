"""M12: a crash has the same consequence for the actor whether the message was told, sent or asked."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.cast import Fail, Gate, Handled, Holder, Note, Recorder, settle
from understudy import (
    Actor,
    ActorFailed,
    ActorRef,
    ActorSystem,
    AskTimeout,
    Crashed,
    Message,
    RestartsExceeded,
    child,
    handler,
)

WAYS = ["tell", "send", "ask", "ask, given up"]


class Explode(Message[int]):
    error: BaseException


class Async(Actor[Explode | Note | Handled]):
    """Waits at the gate before it crashes."""

    def __init__(self, gate: Gate) -> None:
        self.gate, self.handled = gate, list[int]()

    @handler
    async def explode(self, message: Explode) -> int:
        await self.gate.hold()
        raise message.error

    @handler
    async def note(self, message: Note) -> int:
        self.handled.append(message.value)
        return message.value

    @handler
    async def tell_all(self, message: Handled) -> list[int]:
        return self.handled


async def deliver(ref: ActorRef[Any], message: Any, way: str) -> BaseException | None:
    """Send *message*; what the sender gets of it."""
    if way == "tell":
        assert ref.tell(message) is True
        return None
    if way == "send":
        await ref.send(message)
        return None
    asked = asyncio.create_task(ref.ask(message, timeout=1.0 if way == "ask, given up" else 60.0))
    await asyncio.wait([asked])
    return asked.exception()


def without_letters(recorder: Recorder) -> list[tuple[Any, ...]]:
    return [event for event in recorder.events if event[0] not in ("dead_letter", "system_phase")]


async def one_crash(way: str, restart: Any) -> tuple[list[tuple[Any, ...]], list[int], BaseException | None]:
    """All that is to be seen of one crash."""
    error, recorder = ValueError("boom"), Recorder()
    async with ActorSystem(instruments=[recorder]) as system:
        ref = await system.spawn(child(Holder).options(name="one", restart=restart))
        assert await ref.ask(Note(value=1)) == 1
        got = await deliver(ref, Fail(error=error), "ask" if way == "ask, given up" else way)
        await settle()
        survived = await ref.ask(Handled()) if ref.status == "running" else [-1]
        [crash] = recorder.of("actor_crashed")
        assert crash[0] == "/user/one"
        assert isinstance(crash[1], Crashed)
        assert crash[1].error is error
        assert crash[2] == "Fail"
        statistics = system.statistics()
        assert (statistics.crashed, statistics.restarted) == (1, 0 if restart == "temporary" else 1)
        events = [(event[0], event[1]) for event in without_letters(recorder)]
    return events, survived, got


@pytest.mark.parametrize("restart", ["permanent", "transient", "temporary"])
@pytest.mark.asyncio
async def test_the_actor_fares_the_same_however_the_message_came(restart: str) -> None:
    outcomes = {way: await one_crash(way, restart) for way in ("tell", "send", "ask")}
    events, survived, _ = outcomes["tell"]
    assert survived == ([-1] if restart == "temporary" else [])  # fresh state
    assert ("actor_restarting", "/user/one") in events or restart == "temporary"
    for way, (other_events, other_survived, got) in outcomes.items():
        assert other_events == events
        assert other_survived == survived
        if way == "ask":
            assert isinstance(got, ActorFailed)
        else:
            assert got is None


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.asyncio
async def test_an_async_handler_crashes_alike_also_when_its_asker_is_gone(way: str) -> None:
    gate, recorder, error = Gate(), Recorder(), ValueError("boom")
    async with ActorSystem(instruments=[recorder]) as system:
        ref = await system.spawn(child(Async, gate).options(name="one"))
        await ref.ask(Note(value=1))
        delivering = asyncio.create_task(deliver(ref, Explode(error=error), way))
        await gate.reached()
        ref.tell(Note(value=2))
        if way == "ask, given up":
            assert isinstance(await delivering, AskTimeout)
        gate.open()
        got = await delivering
        if way == "ask":
            assert isinstance(got, ActorFailed)
            assert got.__cause__ is error
        await settle()
        assert await ref.ask(Handled()) == [2]
        [(_, reason, failures)] = recorder.of("actor_restarting", "/user/one")
        assert isinstance(reason, Crashed)
        assert reason.error is error
        assert failures == 1
        assert len(recorder.of("actor_crashed")) == 1
        assert recorder.of("actor_started", "/user/one") == [("/user/one", 1), ("/user/one", 2)]


@pytest.mark.parametrize("way", ["tell", "send", "ask"])
@pytest.mark.asyncio
async def test_crashes_count_alike_towards_giving_up(way: str) -> None:
    async with ActorSystem() as system:
        ref = await system.spawn(Holder)
        for _ in range(3):
            await deliver(ref, Fail(error=ValueError("boom")), way)
            await settle()
            assert ref.status == "running"
        await deliver(ref, Fail(error=ValueError("boom")), way)
        reason = await ref.wait_stopped()
        assert isinstance(reason, RestartsExceeded)
        assert reason.count == 4
