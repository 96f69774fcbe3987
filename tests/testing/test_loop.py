"""SimLoop as an event loop: it does what asyncio promises, and refuses what would leave the simulation."""

from __future__ import annotations

import asyncio
import contextvars
import os
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

import pytest

from tests.testing.sim_stage import KINDS, PlainLoop, error_of, on_loop, once, sim_loop, strategy
from understudy import Actor, AskTimeout, Message, child, handler, supervisor
from understudy.testing import DeadlockError, EscapeError, LivenessError
from understudy.testing._loop import SimLoop
from understudy.testing._simulation import Simulation

Main = Callable[[], Awaitable[object]]


# What asyncio promises


async def timeouts() -> object:
    async with asyncio.timeout(2):
        await asyncio.sleep(1)
    outcome: list[str] = []
    try:
        async with asyncio.timeout(1):
            await asyncio.sleep(2)
    except TimeoutError:
        outcome.append("late")
    async with asyncio.timeout(None) as scope:
        scope.reschedule(asyncio.get_running_loop().time() + 1)
        await asyncio.sleep(0.5)
    try:
        await asyncio.wait_for(asyncio.Event().wait(), 0.1)
    except TimeoutError:
        outcome.append("never")
    return outcome, round(asyncio.get_running_loop().time(), 6)


async def groups() -> object:
    out: list[str] = []

    async def wait_long() -> None:
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            out.append("cancelled")
            raise

    async def fail() -> None:
        await asyncio.sleep(1)
        raise ValueError

    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(wait_long(), name="long")
            group.create_task(fail())
    except* ValueError as errors:
        out.append(f"{len(errors.exceptions)} failed")
    return out


async def gathering() -> object:
    async def one(number: int) -> int:
        await asyncio.sleep(1 / number)
        if number == 3:
            raise ValueError(number)
        return number

    results = await asyncio.gather(*(one(number) for number in range(1, 5)), return_exceptions=True)
    return [repr(result) for result in results]


async def waiting() -> object:
    tasks = [asyncio.create_task(asyncio.sleep(number, number)) for number in (3, 1, 2)]
    done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    first = [task.result() for task in done]
    done, pending = await asyncio.wait(pending, timeout=0.5)
    none = len(done)
    order = [await task for task in asyncio.as_completed(tasks)]
    return first, none, sorted(order)


async def locks() -> object:
    out: list[object] = []
    event, condition, semaphore, lock = asyncio.Event(), asyncio.Condition(), asyncio.Semaphore(2), asyncio.Lock()

    async def use(number: int) -> None:
        async with semaphore:
            await event.wait()
            async with lock:
                await asyncio.sleep(0.1)
            async with condition:
                out.append(number)
                condition.notify_all()

    async def count() -> None:
        async with condition:
            await condition.wait_for(lambda: len(out) == 4)

    tasks = [asyncio.create_task(use(number)) for number in range(4)]
    counter = asyncio.create_task(count())
    await asyncio.sleep(1)
    assert out == []
    event.set()
    await asyncio.gather(counter, *tasks)
    return sorted(map(str, out))


async def queues() -> object:
    queue: asyncio.Queue[int] = asyncio.Queue(1)
    got: list[int] = []

    async def consume() -> None:
        while True:
            got.append(await queue.get())
            queue.task_done()

    consumer = asyncio.create_task(consume())
    for number in range(5):
        await queue.put(number)
    await queue.join()
    consumer.cancel()
    await asyncio.wait([consumer])
    return got, consumer.cancelled()


async def shields() -> object:
    inner = asyncio.create_task(asyncio.sleep(1, "inner"))
    outer = asyncio.ensure_future(asyncio.shield(inner))
    await asyncio.sleep(0)
    outer.cancel()
    await asyncio.wait([outer])
    return outer.cancelled(), await inner


async def threads() -> object:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")
    variable.set("mine")

    def fail() -> None:
        raise KeyError("in a thread")

    (failed,) = await asyncio.gather(asyncio.to_thread(fail), return_exceptions=True)
    loop = asyncio.get_running_loop()
    return await asyncio.to_thread(variable.get), repr(failed), await loop.run_in_executor(None, max, 3, 7)


PROMISES: list[Main] = [timeouts, groups, gathering, waiting, locks, queues, shields, threads]


@pytest.mark.parametrize("program", PROMISES)
def test_what_asyncio_promises_holds_in_every_order(program: Main) -> None:
    async def main() -> object:
        return await program()

    with asyncio.Runner(loop_factory=asyncio.new_event_loop if program is threads else PlainLoop) as runner:
        expected = runner.run(main())
    for kind in KINDS:
        for seed in range(8):
            assert on_loop(main, strategy(kind, seed)) == expected, (kind, seed)


def test_a_loop_runs_more_than_once() -> None:
    with sim_loop() as loop:
        assert loop.run_until_complete(asyncio.sleep(1, "one")) == "one"
        task = loop.create_task(asyncio.sleep(1, "two"))
        assert loop.run_until_complete(asyncio.sleep(0.5, "three")) == "three"
        assert not task.done()
        assert loop.run_until_complete(task) == "two"
        assert loop.time() == 2.0
        loop.call_later(1, loop.stop)
        loop.run_forever()
        assert loop.time() == 3.0
        with pytest.raises(ZeroDivisionError):
            loop.run_until_complete(asyncio.to_thread(lambda: 1 / 0))


def test_a_closed_loop_says_so() -> None:
    with sim_loop() as loop:
        pass
    for call in (loop.call_soon, loop.call_soon_threadsafe):
        with pytest.raises(RuntimeError, match="closed"):
            call(print)
    with pytest.raises(RuntimeError, match="closed"):
        loop.call_later(1, print)
    assert loop.is_closed()


def test_async_generators_are_closed_at_the_end() -> None:
    ended: list[str] = []

    async def numbers() -> AsyncGenerator[int, None]:
        try:
            yield 1
            yield 2
        finally:
            await asyncio.sleep(0)
            ended.append("closed")

    generator = numbers()

    async def main() -> None:
        await anext(generator)

    with sim_loop() as loop:
        loop.run_until_complete(main())
        assert ended == []
        loop.run_until_complete(loop.shutdown_asyncgens())
        assert ended == ["closed"]


def test_an_async_generator_that_nobody_holds_any_more_is_closed_by_the_loop() -> None:
    ended: list[str] = []

    async def numbers() -> AsyncGenerator[int, None]:
        try:
            yield 1
        finally:
            await asyncio.sleep(0)
            ended.append("closed")

    async def main() -> None:
        async for _ in numbers():
            break
        await asyncio.sleep(1)

    on_loop(main)
    assert ended == ["closed"]


# Threads that are none


def test_to_thread_calls_within_the_loop_in_a_step_of_its_own() -> None:
    async def main() -> list[str]:
        out: list[str] = []
        here = threading.get_ident()

        def call(name: str) -> None:
            assert threading.get_ident() == here
            out.append(name)

        first = asyncio.create_task(asyncio.to_thread(call, "a"))
        second = asyncio.create_task(asyncio.to_thread(call, "b"))
        await asyncio.sleep(0)
        await asyncio.gather(first, second)
        return out

    assert {tuple(on_loop(main, strategy("walk", seed))) for seed in range(50)} == {("a", "b"), ("b", "a")}
    before = threading.active_count()
    on_loop(main)
    assert threading.active_count() == before


def test_to_thread_that_is_cancelled_before_its_step_is_not_called() -> None:
    async def main() -> list[str]:
        called: list[str] = []
        task = asyncio.create_task(asyncio.to_thread(called.append, "called"))

        async def cancel() -> None:
            task.cancel()

        canceller = asyncio.create_task(cancel())
        await asyncio.wait([task, canceller])
        return called if not task.cancelled() else [*called, "cancelled"]

    # Cancelled before it was called, or after, when its caller hears of the cancel only; or too late.
    found = {tuple(on_loop(main, strategy("walk", seed))) for seed in range(80)}
    assert found == {("cancelled",), ("called", "cancelled"), ("called",)}


def test_a_function_in_a_thread_that_blocks_puts_the_clock_forward() -> None:
    import time

    seen: list[float] = []

    async def test(sim: Simulation) -> None:
        await asyncio.to_thread(lambda: time.sleep(3))
        seen.append(sim.now)

    assert once(test).error is None
    assert seen == [3.0]


# Deadlocks


def test_a_deadlock_names_each_task_and_the_chain_of_what_it_awaits() -> None:
    async def inner(event: asyncio.Event) -> None:
        await event.wait()

    async def outer(event: asyncio.Event) -> None:
        await inner(event)

    async def test(sim: Simulation) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(outer(asyncio.Event()), name="first")
            group.create_task(inner(asyncio.Event()), name="second")

    error = error_of(test, system=False)
    assert isinstance(error, DeadlockError)
    lines = {line.partition(" in ")[0]: line for line in error.waiting}
    assert set(lines) == {"'test'", "'first'", "'second'"}
    first = lines["'first'"]
    assert first.index("outer") < first.index("inner") < first.index("Event.wait")
    assert "test_loop.py:" in first
    assert "outer" not in lines["'second'"]
    assert all(line in str(error) for line in error.waiting)
    assert "virtual time 0" in str(error)


class Ping(Message[int]): ...


class Idle(Actor[Ping]):
    @handler
    def ping(self, message: Ping) -> int:
        return 1


class Stuck(Actor[Ping]):
    """Waits for what never comes."""

    @handler
    async def ping(self, message: Ping) -> int:
        await asyncio.Event().wait()
        return 1


def waiting_in(test: Callable[[Simulation], Awaitable[object]], **options: Any) -> list[str]:
    error = error_of(test, **options)
    assert isinstance(error, DeadlockError), error
    return error.waiting


def test_an_idle_actor_is_no_deadlock_and_no_line_of_one() -> None:
    async def settles(sim: Simulation) -> None:
        await sim.system.spawn(child(Idle).options(name="sleeper"))

    assert once(settles).error is None

    async def test(sim: Simulation) -> None:
        await settles(sim)
        await asyncio.Event().wait()

    waiting = waiting_in(test)
    assert not any("sleeper" in line for line in waiting)
    assert any(line.startswith("'test'") for line in waiting)


def test_a_blocked_ask_is_a_deadlock_that_names_asker_and_asked() -> None:
    import math

    async def test(sim: Simulation) -> None:
        ref = await sim.system.spawn(child(Stuck).options(name="stuck"))
        await ref.ask(Ping(), timeout=math.inf)

    waiting = waiting_in(test)
    assert any("/user/stuck is handling Ping()" in line for line in waiting)
    assert any("'actor:/user/stuck'" in line and "Stuck.ping" in line for line in waiting)
    assert any(line.startswith("'test'") and "ask" in line for line in waiting)


def test_an_ask_with_a_timeout_is_no_deadlock() -> None:
    async def test(sim: Simulation) -> None:
        ref = await sim.system.spawn(child(Stuck).options(name="stuck"))
        with pytest.raises(AskTimeout):
            await ref.ask(Ping(), timeout=1.0)
        ref.kill()

    assert once(test).error is None


def test_a_full_mailbox_is_a_deadlock_that_names_the_actor_and_how_many_wait() -> None:
    async def test(sim: Simulation) -> None:
        ref = await sim.system.spawn(child(Stuck).options(name="stuck", mailbox=1))
        for _ in range(3):
            await ref.send(Ping())

    waiting = waiting_in(test)
    assert any("/user/stuck" in line and "Ping()" in line for line in waiting)
    assert any(line.startswith("'test'") and "send" in line for line in waiting)


class HangsAtStart(Actor[Ping]):
    async def initialize(self) -> None:
        await asyncio.Event().wait()

    @handler
    def ping(self, message: Ping) -> int:
        return 1


def test_a_start_that_hangs_is_a_deadlock_that_names_child_and_supervisor() -> None:
    import math

    async def test(sim: Simulation) -> None:
        spec = supervisor("boss", child(HangsAtStart).options(name="hangs", start_timeout=math.inf))
        await sim.system.spawn(spec.options(start_timeout=math.inf))

    waiting = waiting_in(test)
    assert any("/user/boss/hangs is starting" in line for line in waiting)
    assert any(line.startswith("/user/boss is starting") for line in waiting)
    assert any("HangsAtStart.initialize" in line for line in waiting)


def test_two_actors_that_wait_for_each_other_are_both_named() -> None:
    class Partner(Actor[Ping]):
        def __init__(self, gates: list[asyncio.Event], own: int) -> None:
            self.gates, self.own = gates, own

        @handler
        async def ping(self, message: Ping) -> int:
            await self.gates[1 - self.own].wait()
            self.gates[self.own].set()
            return 1

    async def test(sim: Simulation) -> None:
        gates = [asyncio.Event(), asyncio.Event()]
        for number in range(2):
            ref = await sim.system.spawn(child(Partner, gates, number).options(name=f"partner-{number}"))
            ref.tell(Ping())
        await gates[0].wait()

    waiting = waiting_in(test)
    for number in range(2):
        assert any(line.startswith(f"/user/partner-{number} is handling Ping()") for line in waiting)


# Work without end


def test_work_without_end_is_an_error_and_is_put_away() -> None:
    async def test(sim: Simulation) -> None:
        while True:  # noqa: ASYNC110 - that is the mistake
            await asyncio.sleep(0)

    error = error_of(test, system=False)
    assert isinstance(error, LivenessError)
    assert "'test'" in str(error)


# Outside


async def thread_from_outside(loop: SimLoop) -> None:
    raised: list[BaseException] = []

    def call() -> None:
        try:
            loop.call_soon_threadsafe(print)
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    thread.join()
    assert isinstance(raised[0], EscapeError)
    await asyncio.sleep(1)


def test_a_call_from_another_thread_fails_in_the_thread_and_in_the_run() -> None:
    with sim_loop() as loop, pytest.raises(EscapeError, match="another thread"):
        loop.run_until_complete(thread_from_outside(loop))


def subprocess_of_asyncio() -> Awaitable[object]:
    return asyncio.create_subprocess_exec("true")


def add_signal_handler() -> None:
    asyncio.get_running_loop().add_signal_handler(2, print)


def datagrams() -> Awaitable[object]:
    return asyncio.get_running_loop().create_datagram_endpoint(asyncio.DatagramProtocol, ("127.0.0.1", 0))


def unix_server() -> Awaitable[object]:
    return asyncio.start_unix_server(print, "/tmp/nowhere")


def start_thread() -> None:
    threading.Thread(target=print).start()


def run_process() -> None:
    subprocess.run([sys.executable, "-c", "pass"], check=True)


def start_process() -> None:
    os.waitpid(os.posix_spawn("/bin/true", ["true"], {}), 0)


def fork() -> None:
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)


def look_up_host() -> None:
    socket.getaddrinfo("127.0.0.1", 1)


def watch_reader() -> None:
    asyncio.get_running_loop().add_reader(0, print)


OUTSIDE: list[Callable[[], object]] = [
    socket.socket,
    lambda: socket.create_connection(("127.0.0.1", 1)),
    run_process,
    start_thread,
    subprocess_of_asyncio,
    add_signal_handler,
    datagrams,
    unix_server,
    watch_reader,
    start_process,
    fork,
    look_up_host,
]


@pytest.mark.parametrize("reach", OUTSIDE)
def test_what_would_leave_the_simulation_is_an_error_that_names_it_and_a_remedy(reach: Callable[[], Any]) -> None:
    async def test(sim: Simulation) -> None:
        result = reach()
        if result is not None:
            await result

    error = error_of(test, system=False)
    assert isinstance(error, EscapeError)
    assert error.what in str(error)
    assert error.remedy in str(error)


def test_a_refused_socket_leaves_no_descriptor() -> None:
    async def test(sim: Simulation) -> None:
        socket.socketpair()

    assert isinstance(error_of(test, system=False), EscapeError)  # the leak check of each test counts


def test_no_method_of_an_event_loop_is_left_unimplemented() -> None:
    names = [name for name in dir(asyncio.AbstractEventLoop) if not name.startswith("_")]
    assert [name for name in names if getattr(SimLoop, name) is getattr(asyncio.AbstractEventLoop, name)] == []


# What is reported to the loop


def test_what_is_reported_to_the_loop_fails_the_run() -> None:
    async def test(sim: Simulation) -> None:
        def fail() -> None:
            raise ZeroDivisionError("in a callback")

        asyncio.get_running_loop().call_soon(fail)
        await asyncio.sleep(1)

    error = error_of(test, system=False)
    assert isinstance(error, ZeroDivisionError)


def test_a_message_to_the_loop_without_an_exception_fails_the_run_too() -> None:
    async def test(sim: Simulation) -> None:
        asyncio.get_running_loop().call_exception_handler({"message": "all is lost"})
        await asyncio.sleep(1)

    assert "all is lost" in str(error_of(test, system=False))


def test_a_task_whose_failure_nobody_looks_at_fails_the_run() -> None:
    async def fail() -> None:
        raise ZeroDivisionError

    async def test(sim: Simulation) -> None:
        task = asyncio.create_task(fail())
        await asyncio.sleep(1)
        assert task.done()

    assert isinstance(error_of(test, system=False), ZeroDivisionError)


def test_the_first_of_several_reports_is_the_error() -> None:
    async def test(sim: Simulation) -> None:
        for number in range(3):
            asyncio.get_running_loop().call_exception_handler({"message": "x", "exception": ValueError(number)})
        raise KeyError

    assert error_of(test, system=False).args == (0,)
