"""From other threads: results, errors, cancels, systems and loops that are closed, and who would wait for himself."""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import threading
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

import pytest

from tests.cast import Fail, Gate, Hold, Holder, Note, Recorder, in_a_fork, settle
from understudy import Actor, ActorFailed, ActorRef, ActorStopped, ActorSystem, InvalidContext, Message, handler


class Look(Message[str]):
    """Asks the actor itself, in its own thread, and waits for it the wrong way."""


class Narcissus(Actor[Look]):
    def __init__(self) -> None:
        self.complaints: list[str] = []

    @handler
    def look(self, message: Look) -> str:
        future: concurrent.futures.Future[str] = self.context.ref.ask_threadsafe(Look())
        try:
            return future.result(5)
        except InvalidContext as error:
            future.cancel()
            return str(error)


def in_a_loop(main: Callable[[], Coroutine[Any, Any, None]]) -> asyncio.AbstractEventLoop:
    """A loop that has run *main* and is left open."""
    loop = asyncio.new_event_loop()
    loop.run_until_complete(main())
    return loop


# Waiting


@pytest.mark.parametrize("wait", ["result", "exception"])
@pytest.mark.asyncio
async def test_to_wait_for_the_future_in_the_thread_of_the_loop_is_an_error_and_no_deadlock(wait: str) -> None:
    async with ActorSystem() as system:
        ref = await system.spawn(Holder)
        future = ref.ask_threadsafe(Note(value=1))
        with pytest.raises(InvalidContext, match=r"ask:/user/holder: to wait here would stop the event loop") as caught:
            getattr(future, wait)(5)
        assert "await" in str(caught.value)
        assert await asyncio.wrap_future(future) == 1, "it was not harmed"
        assert future.result() == 1, "what is there need not be waited for"
        assert future.exception() is None


@pytest.mark.asyncio
async def test_an_actor_that_waits_for_itself_through_a_future_is_told_so() -> None:
    async with ActorSystem() as system:
        told = await (await system.spawn(Narcissus)).ask(Look())
        assert "to wait here would stop the event loop" in told


@pytest.mark.asyncio
async def test_the_future_has_the_error_of_the_actor_with_its_cause() -> None:
    async with ActorSystem() as system:
        ref = await system.spawn(Holder)
        error = await asyncio.to_thread(lambda: ref.ask_threadsafe(Fail(error=ValueError("boom"))).exception(5))
        assert isinstance(error, ActorFailed)
        assert isinstance(error.__cause__, ValueError)


@pytest.mark.asyncio
async def test_many_threads_ask_and_tell_at_once_and_each_is_served_in_its_order() -> None:
    log: list[Any] = []
    async with ActorSystem() as system:
        ref = await system.spawn(Holder, None, log)

        def talk(first: int) -> list[int]:
            futures = []
            for value in range(first + 1, first + 51):
                ref.tell_threadsafe(Note(value=-value))
                futures.append(ref.ask_threadsafe(Note(value=value)))
            return [future.result(30) for future in futures]

        with concurrent.futures.ThreadPoolExecutor(16) as threads:
            loop = asyncio.get_running_loop()
            answers = await asyncio.gather(
                *(loop.run_in_executor(threads, talk, first) for first in range(0, 1_600, 100))
            )
        assert answers == [list(range(first + 1, first + 51)) for first in range(0, 1_600, 100)]
        for first in range(0, 1_600, 100):
            mine = [value for value in log if first < abs(value) <= first + 50]
            assert mine == [each for value in range(first + 1, first + 51) for each in (-value, value)]
        assert len(log) == 1_600


# Cancelling


@pytest.mark.asyncio
async def test_what_was_cancelled_before_the_loop_came_to_it_is_never_sent() -> None:
    log: list[Any] = []
    recorder = Recorder()
    async with ActorSystem(instruments=[recorder]) as system:
        ref = await system.spawn(Holder, None, log)
        future = ref.ask_threadsafe(Note(value=1))
        assert future.cancel()
        await settle()
        assert log == []
        assert recorder.letters == []


@pytest.mark.asyncio
async def test_those_who_wait_for_several_futures_see_that_one_is_cancelled() -> None:
    gate = Gate()
    async with ActorSystem() as system:
        ref = await system.spawn(Holder, gate)
        future = ref.ask_threadsafe(Hold())
        early = ref.ask_threadsafe(Hold())
        assert early.cancel()
        await gate.reached()
        assert await asyncio.to_thread(future.cancel)
        done, pending = await asyncio.to_thread(concurrent.futures.wait, [future, early], 5)
        assert (done, pending) == ({future, early}, set())
        with pytest.raises(concurrent.futures.CancelledError):
            future.result()
        gate.open()


@pytest.mark.asyncio
async def test_a_cancel_that_comes_after_the_reply_comes_too_late() -> None:
    async with ActorSystem() as system:
        ref = await system.spawn(Holder)
        future = ref.ask_threadsafe(Note(value=1))
        await asyncio.wrap_future(future)
        assert not future.cancel()
        assert future.result() == 1


def test_a_cancel_after_the_loop_has_been_closed_is_quiet(caplog: pytest.LogCaptureFixture) -> None:
    futures: list[concurrent.futures.Future[int]] = []

    async def main() -> None:
        gate = Gate()
        system = await ActorSystem().start()
        ref = await system.spawn(Holder, gate)
        futures.append(ref.ask_threadsafe(Hold()))
        await gate.reached()
        held.append((system, gate))

    held: list[tuple[ActorSystem, Gate]] = []
    loop = in_a_loop(main)
    loop._closed = True
    assert futures[0].cancel()
    loop._closed = False
    ((system, gate),) = held
    gate.open()  # the actor has not heard of the cancel, and would be waited for
    loop.run_until_complete(system.aclose())
    loop.close()
    assert caplog.records == []
    assert futures[0].cancelled()


# Closed systems and closed loops


@pytest.mark.asyncio
async def test_an_ask_of_a_system_that_has_closed_fails_at_once_and_carries_the_message() -> None:
    recorder = Recorder()
    async with ActorSystem(instruments=[recorder]) as system:
        ref = await system.spawn(Holder)
    message = Note(value=7)
    future = await asyncio.to_thread(ref.ask_threadsafe, message)
    with pytest.raises(ActorStopped, match="/user/holder has stopped") as caught:
        await asyncio.wrap_future(future)
    assert caught.value.message is message
    await asyncio.to_thread(ref.tell_threadsafe, Note(value=8))
    await settle()
    assert [message for message, *_ in recorder.letters] == [Note(value=7), Note(value=8)]


@pytest.mark.parametrize("ended", [True, False], ids=["after-the-system", "under-the-system"])
def test_with_a_closed_loop_both_raise_and_carry_the_message(ended: bool) -> None:
    refs: list[ActorRef[Any]] = []

    async def main() -> None:
        async with ActorSystem() as system:
            refs.append(await system.spawn(Holder))

    loop = in_a_loop(main)
    loop.close()
    message = Note(value=7)
    for use in (refs[0].tell_threadsafe, refs[0].ask_threadsafe):
        with pytest.raises(ActorStopped, match="/user/holder has stopped") as caught:
            use(message)
        assert caught.value.message is message


def test_an_ask_that_the_closing_loop_never_came_to_fails_and_does_not_hang() -> None:
    refs: list[ActorRef[Any]] = []
    outcome: list[object] = []

    async def main() -> None:
        async with ActorSystem() as system:
            refs.append(await system.spawn(Holder))

    loop = in_a_loop(main)
    message = Note(value=7)
    future = refs[0].ask_threadsafe(message)  # the loop has stopped, and is open
    waiter = threading.Thread(target=lambda: outcome.append(future.exception()))
    waiter.start()
    assert not future.done()
    loop.close()
    waiter.join(10)
    assert not waiter.is_alive()
    assert isinstance(outcome[0], ActorStopped)
    assert outcome[0].message is message


def test_an_ask_whose_task_is_cancelled_before_its_first_step_fails_and_does_not_hang() -> None:
    refs: list[ActorRef[Any]] = []
    gates: list[Gate] = []

    async def main() -> None:
        system = await ActorSystem().start()
        gates.append(Gate())
        refs.append(await system.spawn(Holder, gates[0]))

    async def end() -> None:
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        await asyncio.wait(asyncio.all_tasks() - {asyncio.current_task()})

    loop = in_a_loop(main)
    futures = [refs[0].ask_threadsafe(Hold()), refs[0].ask_threadsafe(Hold())]
    loop.run_until_complete(end())
    loop.close()
    for future in futures:
        assert isinstance(future.exception(0), ActorStopped)


@pytest.mark.real_time
@pytest.mark.asyncio
async def test_an_ask_that_waits_when_the_system_ends_says_so_and_is_not_just_cancelled() -> None:
    gate = Gate()
    async with ActorSystem() as system:
        ref = await system.spawn(Holder, gate)
        futures = [ref.ask_threadsafe(Hold(value=value)) for value in range(3)]
        await gate.reached()
        ref.kill()
        system.kill()
        await system.wait_stopped()
    for future in futures:
        with pytest.raises((ActorStopped, ActorFailed)):
            await asyncio.wrap_future(future)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.asyncio
async def test_a_forked_child_cannot_reach_the_system_of_its_parent() -> None:
    log: list[Any] = []
    async with ActorSystem() as system:
        ref = await system.spawn(Holder, None, log)
        told = in_a_fork(partial(use, Note(value=1)) for use in (ref.tell_threadsafe, ref.ask_threadsafe))
        here = f"InvalidContext: /user/holder: used in a fork of the process ({os.getpid()}) that runs its event loop"
        assert told == [f"{here}, and nothing was done: start a system of its own in this process"] * 2
        await settle()
        assert log == []


# Who is allowed to do what from a thread


class Work(Message[list[str]]):
    """Tries everything in a thread that only the event loop may do."""


class Note2(Message): ...


class Worker(Actor[Work | Note2]):
    def __init__(self) -> None:
        self.notes = 0

    @handler
    async def work(self, message: Work) -> list[str]:
        return await asyncio.to_thread(self._try_all)

    @handler
    def note(self, message: Note2) -> None:
        self.notes += 1

    def _try_all(self) -> list[str]:
        context, ref = self.context, self.context.ref
        ref.tell_threadsafe(Note2())
        told: list[str] = []
        for use in (
            lambda: context.tell_self(Note2()),
            lambda: context.tell_next(Note2()),
            lambda: context.watch(ref),
            lambda: context.link(ref),
            lambda: context.timers,
            lambda: context.stash(Note2()),
            lambda: context.become(print),
            lambda: context.receive_timeout(1.0),
            lambda: context.reply_later(),
            lambda: context.register("me"),
            lambda: context.join("us"),
            lambda: context.run_blocking(print, to=Note2),
            context.stop,
        ):
            try:
                told.append(f"worked: {use()}")
            except InvalidContext as error:
                told.append(str(error))
        return told


@pytest.mark.asyncio
async def test_in_a_thread_of_its_own_an_actor_finds_its_ref_and_can_do_nothing_else() -> None:
    async with ActorSystem() as system:
        worker = await system.spawn(Worker)
        told = await worker.ask(Work())
        await settle()
        for line in told:
            assert line.startswith("context of /user/worker: used in the thread"), line
            assert "self.context.ref.tell_threadsafe" in line
        assert worker.status == "running"
        assert system.registry.count() == 0
        assert system.groups.groups() == ()
        assert worker._cell.actor.notes == 1


# Systems in several threads


class Meets(Actor[Note]):
    """Is there until the other one is there too."""

    def __init__(self, here: threading.Event, other: threading.Event, over: asyncio.Future[bool]) -> None:
        self.here, self.other, self.over = here, other, over

    @handler
    def note(self, message: Note) -> int:
        self.here.set()
        self.over.set_result(self.other.wait(5))
        return 0


@pytest.mark.real_time
def test_systems_in_two_threads_have_their_turns_at_the_same_time() -> None:
    events = threading.Event(), threading.Event()
    met: list[bool] = []

    async def meet(here: threading.Event, other: threading.Event) -> None:
        over: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        async with ActorSystem() as system:
            (await system.spawn(Meets, here, other, over)).tell(Note(value=1))
            async with asyncio.timeout(10):
                met.append(await over)

    threads = [threading.Thread(target=lambda pair=pair: asyncio.run(meet(*pair))) for pair in (events, events[::-1])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert met == [True, True]
