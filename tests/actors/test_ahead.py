"""What a caller is about to wait for is done at once, as if the event loop had taken its turn."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from contextlib import suppress
from contextvars import ContextVar
from typing import Any

import pytest

from understudy import Actor, ActorSystem, Message, Settings, handler

VAR: ContextVar[str] = ContextVar("VAR", default="nothing")


class Look(Message[list[Any]]):
    """What a handler can see of whoever runs it."""


class LookLater(Message[list[Any]]): ...


class Boom(Message): ...


class Spawn(Message[str]): ...


class Witness(Actor[Look | LookLater | Boom | Spawn]):
    def __init__(self, seen: list[Any] | None = None) -> None:
        self.seen = [] if seen is None else seen
        self.seen += _sight()

    def initialize(self) -> None:
        self.seen += _sight()

    def shutdown(self, reason: object) -> None:
        self.seen += _sight()

    @handler
    def look(self, message: Look) -> list[Any]:
        return _sight()

    @handler
    async def look_later(self, message: LookLater) -> list[Any]:
        return [asyncio.current_task() is not None, VAR.get()]

    @handler
    def boom(self, message: Boom) -> None:
        raise ValueError("boom")

    @handler
    async def spawn(self, message: Spawn) -> str:
        child = await self.context.spawn(Witness)
        return child.path


def _sight() -> list[Any]:
    return [asyncio.current_task(), VAR.get(), sys.exception()]


NOBODY = [None, "nothing", None]
UNHURRIED = Settings(slice_seconds=60.0)
"""However busy the machine is, the time for what is done ahead does not run out."""


class Turns:
    """Counts the turns of the event loop."""

    def __init__(self) -> None:
        self.taken = 0
        self._next()

    def _next(self) -> None:
        self._handle = asyncio.get_running_loop().call_soon(self._count)

    def _count(self) -> None:
        self.taken += 1
        self._next()

    def stop(self) -> int:
        self._handle.cancel()
        return self.taken


@pytest.mark.asyncio
async def test_a_start_an_answer_and_an_end_need_no_turn_of_the_event_loop() -> None:
    async with ActorSystem(settings=UNHURRIED) as system:
        await asyncio.sleep(0)
        turns = Turns()
        ref = await system.spawn(Witness)
        await ref.ask(Look())
        ref.stop()
        await ref.wait_stopped()
        assert turns.stop() == 0


@pytest.mark.asyncio
async def test_handlers_and_hooks_see_nothing_of_the_task_for_which_they_run() -> None:
    seen: list[Any] = []
    VAR.set("set by the caller")
    async with ActorSystem() as system:
        ref = await system.spawn(Witness, seen)
        assert await ref.ask(Look()) == NOBODY
        assert await ref.ask(LookLater()) == [True, "nothing"]
        ref.stop()
        await ref.wait_stopped()
        assert seen == 3 * NOBODY
        task = asyncio.current_task()
        assert task is not None
        assert task in asyncio.all_tasks()
        assert VAR.get() == "set by the caller"


@pytest.mark.asyncio
async def test_a_crash_has_nothing_to_do_with_the_error_that_a_caller_is_handling() -> None:
    async with ActorSystem() as system:
        ref = await system.spawn(Witness)
        error, turns = LookupError("the caller's"), Turns()
        with suppress(LookupError):
            try:
                raise error
            finally:
                ref.tell(Boom())
                assert await ref.ask(Look()) == NOBODY
        assert error.__traceback__ is not None
        assert turns.stop() > 0  # it was left to the event loop


@pytest.fixture
def deeper_recursion() -> Iterator[None]:
    """Room for a deep stack also where coverage is measured, which counts each frame twice."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(10 * before)
    yield
    sys.setrecursionlimit(before)


@pytest.mark.asyncio
async def test_where_the_stack_is_deep_it_is_left_to_the_event_loop(deeper_recursion: None) -> None:
    async with ActorSystem(settings=UNHURRIED) as system:
        ref = await system.spawn(Witness)

        async def descend(levels: int) -> list[Any]:
            return await descend(levels - 1) if levels else await ref.ask(Look())

        turns = Turns()
        assert await descend(100) == NOBODY
        assert turns.taken == 0
        assert await descend(600) == NOBODY
        assert turns.stop() > 0


@pytest.mark.asyncio
async def test_others_have_their_turns_however_many_questions_are_asked() -> None:
    async with ActorSystem(settings=Settings(slice_seconds=0.0001)) as system:
        ref = await system.spawn(Witness)
        turns = Turns()
        while turns.taken < 100:
            await ref.ask(Look())
        turns.stop()


@pytest.mark.asyncio
async def test_a_handler_may_wait_for_what_is_done_at_once() -> None:
    async with ActorSystem() as system:
        ref = await system.spawn(Witness)
        assert await ref.ask(Spawn()) == "/user/witness/witness"
        assert await ref.ask(Look()) == NOBODY


@pytest.mark.asyncio
async def test_what_was_told_first_is_handled_first() -> None:
    order: list[str] = []

    class Scribe(Actor[Look]):
        def __init__(self, name: str) -> None:
            self.name = name

        @handler
        def look(self, message: Look) -> list[Any]:
            order.append(self.name)
            return []

    async with ActorSystem() as system:
        first, second = await system.spawn(Scribe, "first"), await system.spawn(Scribe, "second")
        first.tell(Look())
        await second.ask(Look())
        assert order == ["first", "second"]
