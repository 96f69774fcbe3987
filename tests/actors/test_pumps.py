"""What the pump of `async def` handlers looks at between two messages, though it looks at little."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from contextvars import ContextVar
from functools import partial
from typing import Any

import pytest

from tests.cast import settle
from understudy import Actor, ActorSystem, AskTimeout, Message, handler
from understudy.actors._asks import FRAME
from understudy.actors._runtime import runtime_of
from understudy.actors._waiting import hand_now
from understudy.instrument import Instrument

WORD: ContextVar[str] = ContextVar("WORD", default="none")


class Do(Message):
    """Do something in the handler, then note who has."""

    what: Any
    number: int


class Ask(Message[int]):
    number: int


class Plain(Message):
    number: int


class Worker(Actor[Do | Ask | Plain]):
    def __init__(self, book: list[int]) -> None:
        self.book = book

    @handler
    async def do(self, message: Do) -> None:
        self.book.append(message.number)
        outcome = message.what(self)
        if outcome is not None:
            await outcome

    @handler
    async def ask(self, message: Ask) -> int:
        self.book.append(message.number)
        return message.number

    @handler
    def plain(self, message: Plain) -> None:
        assert asyncio.current_task() is None
        self.book.append(message.number)


def nothing(actor: Worker) -> None:
    pass


@pytest.mark.asyncio
async def test_a_pump_that_has_not_begun_handles_nothing_once_its_actor_is_suspended() -> None:
    async with ActorSystem() as system:
        env = runtime_of(system).env
        env.new_task = partial(asyncio.Task, loop=env.loop)  # as where no task starts at once
        book: list[int] = []
        ref = await system.spawn(Worker, book)
        ref.tell(Do(what=nothing, number=1))
        await asyncio.sleep(0)  # the turn in which its task is made
        assert "actor:/user/worker" in {task.get_name() for task in asyncio.all_tasks()}
        ref.debug.suspend()
        await settle()
        assert book == []
        ref.debug.resume()
        await settle()
        assert book == [1]


@pytest.mark.asyncio
async def test_what_a_handler_does_takes_effect_before_the_next_of_many_messages() -> None:
    seen: list[Any] = []

    def leave_word(actor: Worker) -> None:
        WORD.set("left")

    def look(actor: Worker) -> None:
        task = asyncio.current_task()
        assert task is not None
        seen.append((WORD.get(), task.cancelling()))

    def cancel(actor: Worker) -> Any:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()

        async def swallow() -> None:
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(0)

        return swallow()

    async with ActorSystem() as system:
        book: list[int] = []
        runtime_of(system).env.stopwatch = lambda: 1_000.0  # so that no stretch of messages ends early
        ref = await system.spawn(Worker, book)
        deeds: list[Callable[[Worker], Any]]
        deeds = [nothing, nothing, leave_word, look, nothing, cancel, look, nothing, leave_word, look]
        for number, what in enumerate(deeds):
            ref.tell(Do(what=what, number=number))
        await settle()
        assert book == list(range(len(deeds)))
        assert seen == [("none", 0)] * 3


@pytest.mark.asyncio
async def test_a_handler_that_suspends_its_own_actor_is_the_last_for_now() -> None:
    async with ActorSystem() as system:
        book: list[int] = []
        ref = await system.spawn(Worker, book)
        for number in range(3):
            ref.tell(Do(what=nothing, number=number))
        ref.tell(Do(what=lambda actor: actor.context.ref.debug.suspend(), number=3))
        for number in range(4, 8):
            ref.tell(Do(what=nothing, number=number))
        await settle()
        assert book == [0, 1, 2, 3]
        ref.debug.resume()
        await settle()
        assert book == list(range(8))


@pytest.mark.asyncio
async def test_a_message_that_is_the_first_to_be_stashed_comes_back_before_what_waits() -> None:
    class Once(Message): ...

    class Stashing(Actor[Do | Once]):
        def __init__(self, book: list[int]) -> None:
            self.book = book
            self.stashed = False

        @handler
        async def do(self, message: Do) -> None:
            if message.number == 1 and not self.stashed:
                self.stashed = True
                self.context.stash(message)
                return
            self.book.append(message.number)

        @handler
        async def once(self, message: Once) -> None:
            self.context.unstash_all()

    async with ActorSystem() as system:
        book: list[int] = []
        ref = await system.spawn(Stashing, book)
        for number in range(4):
            ref.tell(Do(what=None, number=number))
        ref.tell(Once())
        ref.tell(Do(what=None, number=4))
        await settle()
        assert book == [0, 2, 3, 1, 4]


@pytest.mark.asyncio
async def test_asks_tells_and_messages_for_def_handlers_keep_their_order_in_one_burst() -> None:
    async with ActorSystem() as system:
        book: list[int] = []
        ref = await system.spawn(Worker, book)
        asks: list[asyncio.Task[int]] = []
        for number in range(0, 300, 3):
            asks.append(asyncio.ensure_future(ref.ask(Ask(number=number))))
            await asyncio.sleep(0)
            ref.tell(Do(what=nothing, number=number + 1))
            ref.tell(Plain(number=number + 2))
        assert await asyncio.gather(*asks) == list(range(0, 300, 3))
        await settle()
        assert book == list(range(300))


@pytest.mark.asyncio
async def test_a_task_left_over_from_the_handler_of_an_ask_is_no_part_of_the_next_message() -> None:
    class Start(Message[int]): ...

    class Target(Actor[Ask]):
        @handler
        async def ask(self, message: Ask) -> int:
            return message.number

    answers: list[int] = []
    frames: list[Any] = []

    class Leaving(Actor[Start | Do]):
        def __init__(self) -> None:
            self.left: asyncio.Task[None] | None = None

        @handler
        async def start(self, message: Start) -> int:
            async def later() -> None:
                for _ in range(5):
                    await asyncio.sleep(0)
                # The ask that made this task is over, and what is in hand now has not made it: nothing binds it.
                answers.append(await target.ask(Ask(number=7), timeout=3600.0))
                frames.append(hand_now())

            self.left = asyncio.ensure_future(later())
            return 1

        @handler
        async def do(self, message: Do) -> None:
            assert self.left is not None
            await self.left

    async with ActorSystem() as system:
        target = await system.spawn(Target)
        ref = await system.spawn(Leaving)
        asked = asyncio.ensure_future(ref.ask(Start(), timeout=0.5))
        await asyncio.sleep(0)
        ref.tell(Do(what=None, number=2))
        assert await asked == 1
        await settle()
        for _ in range(20):
            await asyncio.sleep(0)
        assert (answers, frames) == ([7], [None])


class _Watcher(Instrument):
    def __init__(self) -> None:
        self.seen: list[tuple[int, object, object]] = []
        self.cell: Any = None

    def dead_letter(self, message: object, recipient: str, sender: str | None, why: str, dropped: int = 0) -> None:
        assert isinstance(message, Ask)
        self.seen.append((message.number, self.cell.hand, FRAME.get()))


@pytest.mark.asyncio
async def test_a_question_that_was_given_up_is_not_begun_behind_others_and_nothing_of_them_is_seen() -> None:
    watcher = _Watcher()
    async with ActorSystem(instruments=[watcher]) as system:
        book: list[int] = []
        runtime_of(system).env.stopwatch = lambda: 1_000.0  # so that no stretch of messages ends early
        ref = await system.spawn(Worker, book)
        watcher.cell = ref._cell  # pyright: ignore[reportPrivateUsage]
        await ref.ask(Ask(number=1))
        ref.debug.suspend()
        asked = [asyncio.create_task(ref.ask(Ask(number=number))) for number in range(2, 6)]
        late = asyncio.create_task(ref.ask(Ask(number=9), timeout=0.5))
        await asyncio.sleep(0)
        asked[2].cancel()
        await asyncio.sleep(1.0)
        ref.debug.resume()
        outcomes = await asyncio.gather(*asked, late, return_exceptions=True)
        assert [type(each) for each in outcomes] == [int, int, asyncio.CancelledError, int, AskTimeout]
        assert book == [1, 2, 3, 5]
    assert watcher.seen == [(number, None, watcher.cell) for number in (4, 9)]
