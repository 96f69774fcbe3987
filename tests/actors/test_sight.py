"""Whose code the event loop runs, as another thread reads it from the frames: who, doing what, at which line.

The thread looks while the code waits for it, so that there is one moment to be seen and no other.
"""

from __future__ import annotations

import asyncio
import bdb
import contextlib
import contextvars
import json
import linecache
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import FrameType
from typing import Any

import pytest

from tests.cast import Gate, settle
from understudy import (
    Actor,
    ActorRef,
    ActorSystem,
    ChildSpec,
    ExitReason,
    LoopBlocked,
    Mailbox,
    Message,
    RollingBatch,
    StreamMessage,
    Supervisor,
    child,
    detached,
    environment,
    handler,
)
from understudy.actors._sight import is_held_by_debugger, sight_of
from understudy.environment import context_of_task, frames_in_hand

SECRET = "hunter2"


class Seer:
    """Looks from a thread of its own."""

    def __init__(self) -> None:
        self.seen: list[LoopBlocked | None] = []
        self.frames: list[FrameType] = []

    def thread(self, do: Any = None) -> threading.Thread:
        """A thread that looks at what this one does."""
        arguments = (asyncio.get_running_loop(), threading.get_ident())
        return threading.Thread(target=do or self.look, args=arguments)

    def look(self, loop: asyncio.AbstractEventLoop, thread: int) -> None:
        frames = frames_in_hand(loop, thread)
        self.seen.append(sight_of(frames, asyncio.current_task(loop), 1.5) if frames else None)

    def last(self) -> LoopBlocked:
        """What was seen last."""
        sight = self.seen[-1]
        assert sight is not None
        return sight


def line_of(sight: LoopBlocked) -> str:
    return linecache.getline(sight.file, sight.line).strip()


class Flat(Message[str]):
    secret: str = SECRET


class Waits(Message[str]):
    secret: str = SECRET


class Deep(Message[None]): ...


class Beside(Message[None]): ...


class OwnTask(Message[None]): ...


class Their(Message[None]): ...


class Parts(StreamMessage[int]): ...


class AskOther(Message[None]):
    other: ActorRef[Flat]


class Recursive(Message[None]):
    depth: int


class FromLibrary(Message[None]): ...


class Seen(Actor[Flat | Waits | Deep | Beside | OwnTask | Their | Parts | AskOther | Recursive | FromLibrary]):
    def __init__(self, seer: Seer, moment: str = "handler") -> None:
        self.seer = seer
        self.moment = moment
        self._see("constructor")

    def initialize(self) -> None:
        self._see("initialize")

    def shutdown(self, reason: ExitReason) -> None:
        self._see("shutdown")

    def _see(self, moment: str) -> None:
        if moment == self.moment:
            thread = self.seer.thread()
            thread.start() or thread.join()  # here: hook

    @handler
    def flat(self, message: Flat) -> str:
        secret = message.secret
        thread = self.seer.thread()
        thread.start() or thread.join()  # here: def
        return secret

    @handler
    async def waits(self, message: Waits) -> str:
        await asyncio.sleep(1)
        thread = self.seer.thread()
        thread.start() or thread.join()  # here: async
        return message.secret

    @handler
    def deep(self, message: Deep) -> None:
        json.loads("{}", object_hook=lambda _: self._look())

    def _look(self) -> None:
        thread = self.seer.thread()
        thread.start() or thread.join()  # here: deep

    @handler(reentrant=True)
    async def beside(self, message: Beside) -> None:
        await asyncio.sleep(1)
        self._look()

    @handler
    async def own_task(self, message: OwnTask) -> None:
        async def run() -> None:
            await asyncio.sleep(1)
            self._look()

        self.context.start_task(run(), name="digging")

    @handler
    async def their(self, message: Their) -> None:
        async def run() -> None:
            await asyncio.sleep(1)
            self._look()

        with detached():
            async with asyncio.TaskGroup() as group:
                group.create_task(run(), name="theirs")

    @handler
    async def parts(self, message: Parts) -> AsyncIterator[int]:
        yield 1
        self._look()

    @handler
    async def ask_other(self, message: AskOther) -> None:
        await message.other.ask(Flat())

    @handler
    def recursive(self, message: Recursive) -> None:
        self._down(message.depth)

    def _down(self, depth: int) -> None:
        if depth:
            self._down(depth - 1)
        else:
            self._look()

    @handler
    def from_library(self, message: FromLibrary) -> None:
        code = compile("thread.start() or thread.join()", "/usr/lib/site-packages/library.py", "exec")
        exec(code, {"thread": self.seer.thread()})  # here: library


@asynccontextmanager
async def stage(**options: Any) -> AsyncIterator[tuple[ActorSystem, ActorRef[Any], Seer]]:
    seer = Seer()
    async with ActorSystem() as system:
        yield system, await system.spawn(child(Seen, seer).options(name="seen", **options)), seer


# Handlers


@pytest.mark.asyncio
async def test_a_plain_handler_is_seen_with_actor_message_and_line() -> None:
    async with stage() as (_, ref, seer):
        ref.tell(Flat())
        await settle()
        sight = seer.last()
        assert (sight.actor, sight.doing, sight.message_type, sight.task) == ("/user/seen", "handler", "Flat", None)
        assert (sight.file, sight.function, sight.seconds) == (__file__, "Seen.flat", 1.5)
        assert line_of(sight).endswith("# here: def")
        assert sight.frames[0] == (sight.file, sight.line, sight.function)


@pytest.mark.asyncio
async def test_a_plain_handler_of_an_ask_is_seen_like_that_of_a_tell() -> None:
    async with stage() as (_, ref, seer):
        assert await ref.ask(Flat()) == SECRET
        sight = seer.last()
        assert (sight.actor, sight.doing, sight.message_type, sight.task) == ("/user/seen", "handler", "Flat", None)
        assert line_of(sight).endswith("# here: def")


@pytest.mark.parametrize("how", ["tell", "ask"])
@pytest.mark.asyncio
async def test_an_async_handler_is_seen_between_two_awaits(how: str) -> None:
    async with stage() as (_, ref, seer):
        if how == "ask":
            assert await ref.ask(Waits()) == SECRET
        else:
            ref.tell(Waits())
            await asyncio.sleep(2)
        sight = seer.last()
        assert (sight.actor, sight.doing, sight.message_type) == ("/user/seen", "handler", "Waits")
        assert sight.task == "actor:/user/seen"
        assert line_of(sight).endswith("# here: async")
        assert len(seer.seen) == 1


@pytest.mark.asyncio
async def test_the_line_is_the_innermost_in_user_code_and_the_frames_show_the_way_to_it() -> None:
    async with stage() as (_, ref, seer):
        await ref.ask(Deep())
        sight = seer.last()
        assert line_of(sight).endswith("# here: deep")
        functions = [function for _, _, function in sight.frames]
        assert functions[0] == "Seen.deep"
        assert functions.index("JSONDecoder.raw_decode") < functions.index("Seen._look") < len(functions) - 1
        assert not any(file.endswith("_inbox.py") for file, _, _ in sight.frames)


@pytest.mark.asyncio
async def test_code_of_a_library_is_not_the_users() -> None:
    async with stage() as (_, ref, seer):
        await ref.ask(FromLibrary())
        sight = seer.last()
        assert line_of(sight).endswith("# here: library")
        assert "/usr/lib/site-packages/library.py" in [file for file, _, _ in sight.frames]


@pytest.mark.asyncio
async def test_of_a_deep_recursion_the_first_and_the_last_frames_are_told() -> None:
    async with stage() as (_, ref, seer):
        await ref.ask(Recursive(depth=300))
        sight = seer.last()
        assert len(sight.frames) == 30
        assert sight.frames[0][2] == "Seen.recursive"
        assert (sight.file, sight.line, sight.function) in sight.frames
        assert line_of(sight).endswith("# here: deep")


@pytest.mark.asyncio
async def test_a_reentrant_handler_is_seen_with_its_own_message() -> None:
    async with stage() as (_, ref, seer):
        ref.tell(Beside())
        await settle()
        await ref.ask(Flat())
        await asyncio.sleep(2)
        _, sight = seer.seen
        assert sight is not None
        assert (sight.actor, sight.doing, sight.message_type) == ("/user/seen", "handler", "Beside")


@pytest.mark.asyncio
async def test_the_generator_of_a_stream_is_seen() -> None:
    async with stage() as (_, ref, seer):
        assert [part async for part in ref.stream(Parts())] == [1]
        sight = seer.last()
        assert (sight.actor, sight.doing, sight.message_type) == ("/user/seen", "handler", "Parts")


@pytest.mark.asyncio
async def test_who_is_asked_is_seen_though_the_asker_has_called_him() -> None:
    """The run queue takes its turn on the stack of who is about to wait."""
    async with stage() as (system, ref, seer):
        other = await system.spawn(child(Seen, seer).options(name="other"))
        await ref.ask(AskOther(other=other))
        sight = seer.last()
        assert (sight.actor, sight.message_type, sight.task) == ("/user/other", "Flat", None)
        assert sight.frames[0][2] == "Seen.flat"


class Many(Actor[Flat | Waits]):
    def __init__(self, seer: Seer) -> None:
        self.seer = seer

    @handler
    def flats(self, messages: list[Flat]) -> None:
        thread = self.seer.thread()
        thread.start() or thread.join()

    @handler
    async def waits(self, messages: list[Waits]) -> None:
        thread = self.seer.thread()
        thread.start() or thread.join()


@pytest.mark.parametrize("message", [Flat(), Waits()], ids=["def", "async def"])
@pytest.mark.asyncio
async def test_a_handler_of_many_messages_is_seen_with_their_type(message: Any) -> None:
    seer = Seer()
    async with ActorSystem() as system:
        mailbox = Mailbox(batch=RollingBatch(quiet=0.5))
        ref = await system.spawn(child(Many, seer).options(mailbox=mailbox))
        for _ in range(3):
            ref.tell(message)
        await asyncio.sleep(3)
        sight = seer.last()
        assert (sight.doing, sight.message_type) == ("handler", f"list[{type(message).__name__}]")


# Hooks


@pytest.mark.parametrize("moment", ["constructor", "initialize", "shutdown"])
@pytest.mark.asyncio
async def test_the_plain_hooks_are_seen(moment: str) -> None:
    seer = Seer()
    async with ActorSystem() as system:
        ref = await system.spawn(child(Seen, seer, moment).options(name="seen"))
        ref.stop()
        await ref.wait_stopped()
    [sight] = seer.seen
    assert sight is not None
    assert (sight.actor, sight.doing, sight.message_type, sight.task) == ("/user/seen", moment, None, None)
    assert line_of(sight).endswith("# here: hook")


class Hooked(Actor[Flat]):
    def __init__(self, seer: Seer) -> None:
        self.seer = seer

    def _see(self) -> None:
        thread = self.seer.thread()
        thread.start() or thread.join()

    async def initialize(self) -> None:
        self._see()
        await asyncio.sleep(1)
        self._see()

    async def shutdown(self, reason: ExitReason) -> None:
        self._see()

    @handler
    def flat(self, message: Flat) -> str:
        return ""


@pytest.mark.asyncio
async def test_the_async_hooks_are_seen_before_and_after_an_await() -> None:
    seer = Seer()
    async with ActorSystem() as system:
        await system.spawn(child(Hooked, seer).options(name="seen"))
    told = [(sight.actor, sight.doing, sight.function) for sight in seer.seen if sight is not None]
    assert told == [
        ("/user/seen", "initialize", "Hooked._see"),
        ("/user/seen", "initialize", "Hooked._see"),
        ("/user/seen", "shutdown", "Hooked._see"),
    ]


class Declares(Supervisor):
    def __init__(self, seer: Seer) -> None:
        self.seer = seer

    def children(self) -> list[ChildSpec]:
        thread = self.seer.thread()
        thread.start() or thread.join()
        return []


@pytest.mark.asyncio
async def test_children_is_seen_as_a_part_of_the_constructor() -> None:
    seer = Seer()
    async with ActorSystem(child(Declares, seer).options(name="top")):
        sight = seer.last()
        assert (sight.actor, sight.doing, sight.function) == ("/user/top", "constructor", "Declares.children")


# Tasks


@pytest.mark.asyncio
async def test_a_task_of_the_actors_own_is_seen() -> None:
    async with stage() as (_, ref, seer):
        ref.tell(OwnTask())
        await asyncio.sleep(2)
        sight = seer.last()
        assert (sight.actor, sight.doing, sight.message_type) == ("/user/seen", "task", None)
        assert sight.task == "task:/user/seen:digging"


@pytest.mark.asyncio
async def test_a_task_that_a_handler_has_made_is_seen_as_its_actors() -> None:
    async with stage() as (_, ref, seer):
        await ref.ask(Their())
        sight = seer.last()
        assert (sight.actor, sight.doing, sight.task) == ("/user/seen", "task", "theirs")


@pytest.mark.asyncio
async def test_a_task_that_is_no_actors_is_seen_by_its_name() -> None:
    seer = Seer()

    async def main() -> None:
        thread = seer.thread()
        thread.start() or thread.join()  # here: main

    async with ActorSystem():
        await asyncio.create_task(main(), name="main")
    sight = seer.last()
    assert (sight.actor, sight.doing, sight.message_type, sight.task) == (None, "task", None, "main")
    assert line_of(sight).endswith("# here: main")


@pytest.mark.asyncio
async def test_a_callback_of_the_event_loop_is_seen_as_such() -> None:
    seer = Seer()

    def call() -> None:
        thread = seer.thread()
        thread.start() or thread.join()  # here: callback

    async with ActorSystem():
        asyncio.get_running_loop().call_soon(call)
        await settle()
    sight = seer.last()
    assert (sight.actor, sight.doing, sight.task) == (None, "callback", None)
    assert line_of(sight).endswith("# here: callback")


class Stubborn(Actor[Flat]):
    """Resists every cancel, until the gate is open."""

    def __init__(self, seer: Seer, gate: Gate) -> None:
        self.seer = seer
        self.gate = gate

    @handler
    async def flat(self, message: Flat) -> str:
        while True:
            with contextlib.suppress(asyncio.CancelledError):
                await self.gate.hold()
                break
        thread = self.seer.thread()
        thread.start() or thread.join()
        return ""


@pytest.mark.asyncio
async def test_a_zombie_is_seen_as_what_was_abandoned() -> None:
    seer, gate = Seer(), Gate()
    async with ActorSystem() as system:
        ref = await system.spawn(child(Stubborn, seer, gate).options(name="seen"))
        ref.tell(Flat())
        await gate.reached()
        ref.kill()
        await asyncio.sleep(10)
        assert system.abandoned == ("actor:/user/seen",)
        gate.open()
        await settle()
    sight = seer.last()
    assert (sight.actor, sight.doing, sight.message_type) == ("/user/seen", "abandoned", None)


# What is not told, and what is not seen


@pytest.mark.asyncio
async def test_no_value_is_told_but_types_and_places() -> None:
    async with stage() as (_, ref, seer):
        await ref.ask(Flat())
        await ref.ask(Waits())
        assert len(seer.seen) == 2
        assert SECRET not in repr(seer.seen)


@pytest.mark.asyncio
async def test_a_loop_that_waits_has_nothing_in_hand() -> None:
    """As long as a thread that the loop waits for is looking, nothing else happens in the loop."""
    loop, ident = asyncio.get_running_loop(), threading.get_ident()
    async with ActorSystem():
        for _ in range(3):
            assert await asyncio.to_thread(wait_until_it_waits, loop, ident) == []


def wait_until_it_waits(loop: asyncio.AbstractEventLoop, thread: int) -> list[FrameType]:
    while frames := frames_in_hand(loop, thread):
        pass
    return frames


@pytest.mark.asyncio
async def test_a_handler_that_waits_is_not_in_hand() -> None:
    async with stage() as (_, ref, seer):
        ref.tell(Waits())
        await settle()
        loop, ident = asyncio.get_running_loop(), threading.get_ident()
        assert await asyncio.to_thread(wait_until_it_waits, loop, ident) == []
        assert seer.seen == []


def test_a_loop_that_does_not_run_has_nothing_in_hand() -> None:
    loop = asyncio.new_event_loop()
    try:
        assert frames_in_hand(loop, threading.get_ident()) == []
    finally:
        loop.close()


@pytest.mark.parametrize("debug", [False, True], ids=["plain", "debug mode"])
def test_asyncios_own_loop_tells_that_it_waits(debug: bool) -> None:
    def look(loop: asyncio.AbstractEventLoop, thread: int) -> list[FrameType]:
        return wait_until_it_waits(loop, thread)

    assert looked_at(look, debug=debug) == []


def test_a_loop_of_another_make_never_seems_to_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "_RUN_ONCE", wait_until_it_waits.__code__)
    assert len(looked_at(frames_in_hand)) > 0


def looked_at(look: Any, *, debug: bool = False) -> Any:
    """What *look* finds in another thread while a plain event loop waits for that."""
    ident = threading.get_ident()

    async def main() -> Any:
        return await asyncio.to_thread(look, asyncio.get_running_loop(), ident)

    with asyncio.Runner(debug=debug) as runner:
        return runner.run(main())


@pytest.mark.asyncio
async def test_a_debugger_that_has_stopped_the_program_is_noticed() -> None:
    seer, found = Seer(), []

    def look(loop: asyncio.AbstractEventLoop, thread: int) -> None:
        found.append(is_held_by_debugger(frames_in_hand(loop, thread)))

    class Debugger(bdb.Bdb):
        def user_line(self, frame: FrameType) -> None:
            thread = seer.thread(look)
            thread.start() or thread.join()
            self.set_quit()

    before = sys.gettrace()
    with contextlib.suppress(bdb.BdbQuit):
        try:
            Debugger().runcall(lambda: None)
        finally:
            sys.settrace(before)
    thread = seer.thread(look)
    thread.start()
    thread.join()
    assert found == [True, False]


# The private names on which this stands


@pytest.mark.asyncio
async def test_the_context_of_a_task_is_found() -> None:
    found = []

    async def main() -> None:
        task = asyncio.current_task()
        assert task is not None
        found.append(context_of_task(task))

    context = contextvars.Context()
    await asyncio.Task(main(), context=context)
    assert found == [context]
    assert found[0] is context
