"""M9: what an actor does not handle harms nobody: the asker is told, a tell becomes a dead letter."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest

from tests.cast import Handled, Holder, Note, Recorder, Unknown, settle
from understudy import Actor, ActorSystem, Message, Unhandled, handler


class Better(Note):
    """A subclass of a message that is handled."""


class Async(Actor[Note]):
    @handler
    async def note(self, message: Note) -> int:
        return message.value


@dataclass
class Anything:
    value: int


@pytest.mark.asyncio
async def test_the_asker_gets_unhandled_and_the_actor_is_unharmed() -> None:
    recorder = Recorder()
    loop = asyncio.get_running_loop()
    async with ActorSystem(instruments=[recorder]) as system:
        ref: Any = await system.spawn(Holder)
        await ref.ask(Note(value=1))
        begun = loop.time()
        with pytest.raises(Unhandled) as caught:
            await ref.ask(Unknown(value=2), timeout=60)
        assert loop.time() - begun < 0.1
        assert caught.value.path == ref.path
        assert caught.value.message == Unknown(value=2)
        assert "Unknown" in str(caught.value)
        assert await ref.ask(Handled()) == [1]
        assert recorder.of("actor_crashed") == []
        assert recorder.of("actor_started", ref.path) == [(ref.path, 1)]
        assert recorder.letters == []  # the asker knows


@pytest.mark.parametrize("message", [Unknown(value=2), Anything(2), "text", 17, None])
@pytest.mark.asyncio
async def test_an_unhandled_tell_becomes_one_dead_letter(message: object) -> None:
    recorder = Recorder()
    async with ActorSystem(instruments=[recorder]) as system:
        ref: Any = await system.spawn(Holder)
        ref.tell(Note(value=1))
        ref.tell(message)
        ref.tell(Note(value=3))
        await settle()
        [(lost, recipient, sender, why)] = recorder.letters
        assert lost == message
        assert recipient == ref.path
        assert sender is None
        assert why
        assert system.statistics().dead_letters == 1
        assert await ref.ask(Handled()) == [1, 3]
        assert recorder.of("actor_crashed") == []


@pytest.mark.asyncio
async def test_an_unhandled_send_becomes_one_dead_letter() -> None:
    recorder = Recorder()
    async with ActorSystem(instruments=[recorder]) as system:
        ref: Any = await system.spawn(Holder)
        await ref.send(Unknown(value=2))
        await settle()
        assert [message for message, *_ in recorder.letters] == [Unknown(value=2)]
        assert recorder.of("actor_crashed") == []


@pytest.mark.asyncio
async def test_an_actor_with_async_handlers_is_unharmed_too() -> None:
    recorder = Recorder()
    async with ActorSystem(instruments=[recorder]) as system:
        ref: Any = await system.spawn(Async)
        for value in range(3):
            ref.tell(Unknown(value=value))
            with pytest.raises(Unhandled):
                await ref.ask(Unknown(value=value))
            assert await ref.ask(Note(value=value)) == value
        assert len(recorder.letters) == 3
        assert recorder.of("actor_crashed") == []


@pytest.mark.asyncio
async def test_a_subclass_of_a_handled_message_is_handled() -> None:
    recorder = Recorder()
    async with ActorSystem(instruments=[recorder]) as system:
        ref = await system.spawn(Holder)
        assert await ref.ask(Better(value=5)) == 5
        assert recorder.letters == []


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.asyncio
async def test_handle_message_takes_what_no_handler_does(is_async: bool) -> None:
    class Noting:
        def __init__(self) -> None:
            self.rest: list[object] = []

        @handler
        def note(self, message: Note) -> int:
            return message.value

    class Plain(Noting, Actor[Note | Unknown]):
        def handle_message(self, message: object) -> object:
            self.rest.append(message)
            return len(self.rest)

    class Awaiting(Noting, Actor[Note | Unknown]):
        async def handle_message(self, message: object) -> object:
            await asyncio.sleep(0)
            self.rest.append(message)
            return len(self.rest)

    recorder = Recorder()
    async with ActorSystem(instruments=[recorder]) as system:
        ref: Any = await system.spawn(Awaiting if is_async else Plain)
        assert ref.tell("text") is True
        assert await ref.ask(Unknown(value=9)) == 2
        assert await ref.ask(Note(value=1)) == 1
        assert recorder.letters == []


@pytest.mark.asyncio
async def test_unhandled_is_about_the_actor_that_was_asked_not_about_one_behind_it() -> None:
    class Forward(Message[int]):
        pass

    async with ActorSystem() as system:
        target: Any = await system.spawn(Holder)

        class Relay(Actor[Forward]):
            @handler
            async def forward(self, message: Forward) -> int:
                try:
                    await target.ask(Unknown())
                except Unhandled as error:
                    return len(error.path)
                raise AssertionError("it was handled")

        relay = await system.spawn(Relay)
        assert await relay.ask(Forward()) == len("/user/holder")
