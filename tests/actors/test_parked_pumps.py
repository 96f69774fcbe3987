"""The task of an actor that has nothing more to do stays for a moment."""

from __future__ import annotations

import asyncio
import itertools
import sys
from contextlib import suppress
from contextvars import ContextVar
from typing import Any

import pytest

from tests.cast import settle
from understudy import Actor, ActorRef, ActorSystem, Message, Settings, child, handler
from understudy.actors import _parked
from understudy.actors._runtime import runtime_of
from understudy.environment import Environment

WORD: ContextVar[str] = ContextVar("WORD", default="none")
SOON = 2.5 * _parked._PATIENCE


class Which(Message[Any]):
    """The task in which this is handled."""


class Boom(Message): ...


class Speak(Message[str]):
    """Say the word, and leave another behind."""

    word: str


class Resign(Message):
    """Cancel the task, and swallow that."""


class Wait(Message[str]):
    """With a timeout, a task group and a task of one's own."""


class Worker(Actor[Which | Boom | Speak | Resign | Wait]):
    @handler
    async def which(self, message: Which) -> Any:
        return asyncio.current_task()

    @handler
    async def boom(self, message: Boom) -> None:
        raise ValueError("boom")

    @handler
    async def speak(self, message: Speak) -> str:
        before = WORD.get()
        WORD.set(message.word)
        return before

    @handler
    async def resign(self, message: Resign) -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(0)

    @handler
    async def wait(self, message: Wait) -> str:
        async with asyncio.timeout(10.0), asyncio.TaskGroup() as group:
            task = group.create_task(asyncio.sleep(0.01, "waited"))
        return task.result()


def tasks_of(ref: ActorRef[Any]) -> list[asyncio.Task[Any]]:
    return [task for task in asyncio.all_tasks() if task.get_name() == f"actor:{ref.path}"]


@pytest.mark.asyncio
async def test_messages_that_come_soon_are_handled_in_the_same_task_and_without_a_turn_of_the_event_loop() -> None:
    async with ActorSystem(settings=Settings(slice_seconds=60.0)) as system:  # however busy the machine is
        ref = await system.spawn(Worker)
        task = await ref.ask(Which())
        turned: list[bool] = []
        handle = asyncio.get_running_loop().call_soon(turned.append, True)
        for _ in range(3):
            assert await ref.ask(Which()) is task
        assert turned == []
        handle.cancel()
        assert tasks_of(ref) == [task]


@pytest.mark.asyncio
async def test_it_is_a_task_like_any_other() -> None:
    async with ActorSystem() as system:
        ref = await system.spawn(Worker)
        task = await ref.ask(Which())
        assert await ref.ask(Wait()) == "waited"
        assert await ref.ask(Which()) is task
        assert await ref.ask(Wait()) == "waited"


@pytest.mark.asyncio
async def test_no_two_actors_share_one() -> None:
    async with ActorSystem() as system:
        refs = [await system.spawn(Worker) for _ in range(3)]
        tasks = [await ref.ask(Which()) for ref in refs]
        assert [await ref.ask(Which()) for ref in refs] == tasks
        assert len(set(tasks)) == 3


@pytest.mark.asyncio
async def test_an_idle_actor_soon_has_no_task_and_nobody_a_timer() -> None:
    async with ActorSystem() as system:
        refs = [await system.spawn(Worker) for _ in range(100)]
        for ref in refs:
            await ref.ask(Which())
        assert len(runtime_of(system).dispatcher.parked.pumps) == 100
        await asyncio.sleep(SOON)
        assert [task for ref in refs for task in tasks_of(ref)] == []
        parked = runtime_of(system).dispatcher.parked
        assert (parked.pumps, parked._timer) == ({}, None)
        assert await refs[0].ask(Which()) is not None


@pytest.mark.asyncio
async def test_one_that_is_wanted_again_and_again_stays() -> None:
    async with ActorSystem() as system:
        ref = await system.spawn(Worker)
        task = await ref.ask(Which())
        for _ in range(10):
            await asyncio.sleep(0.9 * _parked._PATIENCE)
            assert await ref.ask(Which()) is task


@pytest.mark.asyncio
async def test_there_is_room_for_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_parked, "_ROOM", 2)
    async with ActorSystem() as system:
        refs = [await system.spawn(Worker) for _ in range(4)]
        tasks = [await ref.ask(Which()) for ref in refs]
        await settle()
        assert [tasks_of(ref) for ref in refs] == [[tasks[0]], [tasks[1]], [], []]
        again = [await ref.ask(Which()) for ref in refs]
        assert [one is other for one, other in zip(again, tasks, strict=True)] == [True, True, False, False]


@pytest.mark.asyncio
async def test_a_variable_that_a_handler_has_set_is_gone_with_the_task() -> None:
    async with ActorSystem() as system:
        ref = await system.spawn(Worker)
        task = await ref.ask(Which())
        assert await ref.ask(Speak(word="one")) == "none"
        assert await ref.ask(Speak(word="two")) == "none"
        assert await ref.ask(Which()) is not task


@pytest.mark.asyncio
async def test_a_cancel_that_a_handler_has_swallowed_is_gone_with_the_task() -> None:
    async with ActorSystem() as system:
        ref = await system.spawn(Worker)
        task = await ref.ask(Which())
        ref.tell(Resign())
        other = await ref.ask(Which())
        assert other is not task
        assert other.cancelling() == 0
        assert await ref.ask(Wait()) == "waited"


@pytest.mark.parametrize("end", ["stop", "kill", "drain"])
@pytest.mark.asyncio
async def test_it_ends_with_its_actor(end: str) -> None:
    async with ActorSystem() as system:
        ref = await system.spawn(Worker)
        task = await ref.ask(Which())
        getattr(ref, end)()
        if end == "kill":  # which is a failure
            assert await ref.ask(Which()) is not None
            ref.stop()
        await ref.wait_stopped()
        await settle()
        assert task.done()
        assert not task.cancelled()
        assert tasks_of(ref) == []
        assert system.statistics().abandoned == 0


@pytest.mark.asyncio
async def test_one_whose_handler_fails_is_there_for_the_next_incarnation() -> None:
    async with ActorSystem(settings=Settings(slice_seconds=60.0)) as system:
        ref = await system.spawn(Worker)
        task = await ref.ask(Which())
        for incarnation in (2, 3):
            ref.tell(Boom())
            assert await ref.ask(Which()) is task
            assert ref._cell.incarnation == incarnation
        assert tasks_of(ref) == [task]


@pytest.mark.asyncio
async def test_one_whose_handler_fails_for_good_ends_with_its_actor() -> None:
    async with ActorSystem() as system:
        ref = await system.spawn(child(Worker).options(restart="temporary"))
        task = await ref.ask(Which())
        ref.tell(Boom())
        await ref.wait_stopped()
        await settle()
        assert task.done()
        assert tasks_of(ref) == []


@pytest.mark.asyncio
async def test_it_may_serve_the_next_incarnation() -> None:
    async with ActorSystem() as system:
        ref = await system.spawn(Worker)
        await ref.ask(Which())
        ref.tell(Boom())
        assert (await ref.ask(Which())).get_name() == f"actor:{ref.path}"
        assert await ref.ask(Wait()) == "waited"
        assert len(tasks_of(ref)) == 1


@pytest.mark.asyncio
async def test_one_that_somebody_cancels_is_replaced_and_that_is_no_crash() -> None:
    async with ActorSystem() as system:
        ref = await system.spawn(Worker)
        task = await ref.ask(Which())
        task.cancel()
        first = await ref.ask(Which())  # before the cancel has come through
        assert first is not task
        await settle()
        assert task.done()
        first.cancel()
        await settle()
        assert first.done()
        assert await ref.ask(Which()) not in (task, first)
        assert ref._cell.incarnation == 1


@pytest.mark.asyncio
async def test_none_is_left_when_the_system_has_closed() -> None:
    async with ActorSystem() as system:
        refs = [await system.spawn(Worker) for _ in range(3)]
        tasks = [await ref.ask(Which()) for ref in refs]
    assert all(task.done() for task in tasks)
    assert asyncio.all_tasks() == {asyncio.current_task()}


class Token(Message):
    left: int


class Node(Actor[Token]):
    """Notes how deep the stack is, and hands on to another."""

    def __init__(self, ring: list[ActorRef[Token]], depths: list[int], ended: asyncio.Event) -> None:
        self.ring, self.depths, self.ended = ring, depths, ended

    @handler
    async def hand_on(self, message: Token) -> None:
        self.depths.append(_depth())
        if message.left:
            self.ring[message.left % len(self.ring)].tell(Token(left=message.left - 1))
        else:
            self.ended.set()


def _depth() -> int:
    frame, depth = sys._getframe(), 0
    while frame.f_back is not None:
        frame, depth = frame.f_back, depth + 1
    return depth


@pytest.mark.asyncio
async def test_actors_that_hand_on_to_each_other_do_not_deepen_the_stack() -> None:
    async with ActorSystem() as system:
        ring: list[ActorRef[Token]] = []
        depths: list[int] = []
        ended = asyncio.Event()
        ring += [await system.spawn(Node, ring, depths, ended) for _ in range(10)]
        ring[0].tell(Token(left=3_000))
        await ended.wait()
        assert len(depths) == 3_001
        assert max(depths) - min(depths) < 20


class Pause(Message):
    """Suspend the handler for one turn of the event loop."""


class Pausing(Actor[Pause]):
    def __init__(self, tasks: list[Any]) -> None:
        self.tasks = tasks

    @handler
    async def pause(self, message: Pause) -> None:
        await asyncio.sleep(0)
        self.tasks.append(asyncio.current_task())


@pytest.mark.asyncio
async def test_handlers_that_are_suspended_keep_their_task_however_many_they_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Environment, "halt", lambda self: None)  # it would be kept anyway
    async with ActorSystem() as system:
        runtime_of(system).env.stopwatch = itertools.count(step=0.001).__next__  # each look is later than the slice
        tasks: list[list[Any]] = [[] for _ in range(100)]
        refs = [await system.spawn(Pausing, each) for each in tasks]
        for ref in refs:
            for _ in range(20):
                ref.tell(Pause())
            ref.drain()
        for ref in refs:
            await ref.wait_stopped()
        assert [len(each) for each in tasks] == [20] * 100
        assert sum(len(set(each)) for each in tasks) < 300  # each would have twenty, if it had one for each message
