"""Handlers whose names begin with `_` take what the actor sends itself, and nothing from outside."""

from __future__ import annotations

from typing import Any

import pytest

from tests.cast import Note, Recorder, settle
from understudy import Actor, ActorSystem, Message, Unhandled, handler


class Tick(Message[int]):
    number: int


class Later(Message[int]):
    number: int


class Clock(Actor[Note]):
    """Sends itself a tick for each note; the types of its private messages are not declared."""

    def __init__(self, log: list[int]) -> None:
        self.ticks = log

    @handler
    def note(self, message: Note) -> int:
        self.context.tell_self(Tick(number=message.value))
        self.context.tell_self(Later(number=message.value * 100))
        return message.value

    @handler
    def _tick(self, message: Tick) -> int:
        self.ticks.append(message.number)
        return message.number

    @handler
    async def _later(self, message: Later) -> int:
        self.ticks.append(message.number)
        return message.number


@pytest.mark.asyncio
async def test_what_an_actor_sends_itself_waits_its_turn_in_the_mailbox() -> None:
    log: list[int] = []
    async with ActorSystem() as system:
        ref = await system.spawn(Clock, log)
        ref.tell(Note(value=1))
        ref.tell(Note(value=2))
        await settle()
        assert log == [1, 100, 2, 200]


@pytest.mark.parametrize("message", [Tick(number=7), Later(number=7)], ids=["def", "async def"])
@pytest.mark.asyncio
async def test_nobody_else_reaches_a_private_handler(message: Any) -> None:
    log: list[int] = []
    recorder = Recorder()
    async with ActorSystem(instruments=[recorder]) as system:
        ref: Any = await system.spawn(Clock, log)
        with pytest.raises(Unhandled):
            await ref.ask(message)
        ref.tell(message)
        ref.tell(message, sender=ref)
        await settle()
        assert log == []
        assert [lost for lost, *_ in recorder.letters] == [message, message]
        assert recorder.of("actor_crashed") == []
