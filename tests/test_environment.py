"""The ports to the outside: who owns a task, who lets go of it, and where one stands that would not end."""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import math
import subprocess
import sys
import traceback
from collections.abc import AsyncIterator, Generator
from contextlib import asynccontextmanager
from contextvars import Context, ContextVar
from typing import Any

import pytest

from tests.cast import Gate, settle
from understudy.environment import (
    Environment,
    Halt,
    TaskRegistry,
    forget_task,
    nowhere,
    running_loop,
    thread_test,
    variables_of,
)

EAGER = sys.version_info >= (3, 12)

COLOUR: ContextVar[str] = ContextVar("colour", default="none")


def environment() -> Environment:
    return Environment(asyncio.get_running_loop())


def start(env: Environment, coroutine: Any, name: str = "job", **options: Any) -> asyncio.Task[Any]:
    return env.start_task(coroutine, name=name, context=options.pop("context", Context()), **options)


# Tasks and their registry


@pytest.mark.asyncio
async def test_a_task_is_owned_until_it_ends_and_then_forgotten() -> None:
    env, gate = environment(), Gate()

    task = start(env, gate.hold())

    assert (len(env.tasks), list(env.tasks), task.get_name()) == (1, [task], "job")
    gate.open()
    await task
    await settle()
    assert (len(env.tasks), list(env.tasks), env.tasks.abandoned) == (0, [], [])


@pytest.mark.asyncio
async def test_tasks_are_listed_in_the_order_in_which_they_began() -> None:
    env, gate = environment(), Gate()
    tasks = [start(env, gate.hold(), f"job-{number}") for number in range(20)]
    tasks[7].cancel()
    await settle()

    assert list(env.tasks) == [*tasks[:7], *tasks[8:]]

    for task in env.tasks:  # a copy: tasks may end meanwhile
        task.cancel()
        await asyncio.wait([task])
    await settle()
    assert len(env.tasks) == 0


@pytest.mark.asyncio
async def test_a_task_that_nobody_refers_to_is_not_collected() -> None:
    env, ended = environment(), asyncio.get_running_loop().create_future()

    async def wait() -> None:
        await asyncio.sleep(10)
        ended.set_result("ended")

    start(env, wait())
    gc.collect()

    assert await ended == "ended"


@pytest.mark.asyncio
async def test_a_task_runs_in_the_context_that_it_was_given() -> None:
    env, seen = environment(), []

    async def look() -> None:
        seen.append(COLOUR.get())
        COLOUR.set("blue")
        await asyncio.sleep(0)
        seen.append(COLOUR.get())

    COLOUR.set("red")
    context = Context()
    context.run(COLOUR.set, "green")
    await start(env, look(), context=context)

    assert seen == ["green", "blue"]
    assert (COLOUR.get(), context[COLOUR]) == ("red", "blue")


@pytest.mark.asyncio
async def test_who_started_a_task_hears_of_its_end_once_and_in_its_context() -> None:
    env, gate = environment(), Gate()
    heard: list[tuple[object, str]] = []
    context = Context()
    context.run(COLOUR.set, "green")
    done = lambda task: heard.append((task, COLOUR.get()))  # noqa: E731

    task = start(env, gate.hold(), context=context, on_done=done)
    await gate.reached()
    assert heard == []
    gate.open()
    await settle()

    assert heard == [(task, "green")]


@pytest.mark.asyncio
async def test_a_task_that_leaves_by_itself_is_forgotten_without_a_call_of_the_event_loop() -> None:
    env = Environment(asyncio.get_running_loop())
    heard: list[asyncio.Task[None]] = []

    async def body() -> None:
        await asyncio.sleep(0)
        task = asyncio.current_task()
        assert task is not None
        assert len(env.tasks) == 1
        env.tasks.leave(task)
        env.tasks.leave(task)
        assert len(env.tasks) == 0

    task = env.start_task(body(), name="leaves", context=Context(), on_done=heard.append)
    await task
    await asyncio.sleep(0)
    assert heard == []
    stranger = asyncio.current_task()
    assert stranger is not None
    env.tasks.leave(stranger)  # one that was never owned


@pytest.mark.asyncio
async def test_who_started_a_task_hears_also_when_it_was_cancelled_before_its_first_step() -> None:
    env, began = environment(), []
    heard: list[asyncio.Task[Any]] = []

    async def work() -> None:
        began.append("began")
        await asyncio.sleep(3600)

    task = start(env, work(), on_done=heard.append)
    task.cancel()
    await settle()

    assert heard == [task]
    assert task.cancelled()
    assert began == (["began"] if EAGER else [])
    assert len(env.tasks) == 0


@pytest.mark.asyncio
async def test_a_task_that_has_ended_on_return_is_never_owned_and_is_no_news() -> None:
    env = environment()
    heard: list[asyncio.Task[Any]] = []

    async def nothing() -> str:
        return "result"

    task = start(env, nothing(), on_done=heard.append)
    assert task.done() is EAGER
    assert len(env.tasks) == (0 if EAGER else 1)
    assert await task == "result"
    await settle()
    assert heard == ([] if EAGER else [task])
    assert len(env.tasks) == 0


# Giving up


@asynccontextmanager
async def scope() -> AsyncIterator[None]:
    yield


async def in_a_coroutine(gate: Gate) -> None:
    await gate.hold()  # the user's line


async def numbers(gate: Gate) -> AsyncIterator[int]:
    yield 1
    await gate.hold()  # the user's line
    yield 2


async def in_an_async_generator(gate: Gate) -> None:
    async for _ in numbers(gate):
        pass


class Awaitable:
    def __init__(self, gate: Gate) -> None:
        self.gate = gate

    def __await__(self) -> Generator[Any, None, None]:
        yield from self.gate.hold().__await__()  # the user's line


async def in_an_awaitable(gate: Gate) -> None:
    await Awaitable(gate)


async def in_scopes(gate: Gate) -> None:
    async with scope(), asyncio.timeout(None):
        await in_a_coroutine(gate)


async def delegated(gate: Gate) -> AsyncIterator[int]:
    async for number in numbers(gate):
        yield number


async def in_nested_generators(gate: Gate) -> None:
    async for _ in delegated(gate):
        pass


async def outermost(kind: Any, gate: Gate) -> None:
    await kind(gate)


@pytest.mark.parametrize(
    "kind", [in_a_coroutine, in_an_async_generator, in_an_awaitable, in_scopes, in_nested_generators]
)
@pytest.mark.asyncio
async def test_a_task_that_is_given_up_on_is_out_of_sight_and_its_stack_names_the_users_line(kind: Any) -> None:
    env, gate = environment(), Gate()
    task = start(env, outermost(kind, gate), "actor:/user/horn")
    await gate.reached()

    stack = env.tasks.abandon(task)

    text = "\n".join(stack)
    assert "the user's line" in text
    assert "in outermost" in stack[0]
    assert "in hold" in text
    assert __file__ in text
    assert all(line == line.rstrip() for line in stack)
    assert task not in asyncio.all_tasks()
    assert task not in list(env.tasks)
    assert env.tasks.abandoned == ["actor:/user/horn"]
    # It is a zombie and goes on as it likes; its end changes nothing.
    assert not task.done()
    gate.open()
    await task
    await settle()
    assert len(env.tasks) == 0
    assert env.tasks.abandoned == ["actor:/user/horn"]


@pytest.mark.asyncio
async def test_giving_up_leaves_the_other_tasks_alone() -> None:
    env, gate = environment(), Gate()
    first, second, third = (start(env, gate.hold(), f"job-{number}") for number in range(3))
    await settle()

    env.tasks.abandon(second)

    assert list(env.tasks) == [first, third]
    assert asyncio.all_tasks() == {first, third, asyncio.current_task()}
    gate.open()
    await asyncio.gather(first, second, third)
    assert gate.went == 3


@pytest.mark.asyncio
async def test_a_task_that_has_ended_can_be_given_up_on_too() -> None:
    registry = TaskRegistry()
    task = asyncio.create_task(settle(), name="quick")
    registry.add(task)
    await task
    assert registry.abandon(task) == []
    assert (registry.abandoned, len(registry)) == (["quick"], 0)
    registry.ended(task)


@pytest.mark.asyncio
async def test_a_forgotten_task_still_works_and_can_be_cancelled() -> None:
    gate = Gate()
    task = asyncio.create_task(gate.hold())
    await gate.reached()

    forget_task(task)
    forget_task(task)

    assert task not in asyncio.all_tasks()
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()


def test_a_run_of_asyncio_ends_although_a_forgotten_task_resists() -> None:
    source = """
import asyncio
from understudy.environment import forget_task

async def resist():
    while True:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            pass

async def main():
    task = asyncio.create_task(resist())
    await asyncio.sleep(0)
    forget_task(task)
    kept.append(task)

kept = []
asyncio.run(main())
assert not kept[0].done()
del kept
print("ended")
"""
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, timeout=20)
    assert (done.returncode, done.stdout) == (0, "ended\n"), done.stderr
    assert "destroyed" not in done.stderr


# Ids and time


@pytest.mark.asyncio
async def test_an_id_never_repeats() -> None:
    env = environment()
    uids = [env.next_uid() for _ in range(10_000)]
    assert len(set(uids)) == 10_000
    assert uids == sorted(uids)
    assert environment().next_uid() == uids[0], "each system counts for itself"


@pytest.mark.asyncio
async def test_deadlines_are_points_on_the_clock_of_the_loop() -> None:
    env, loop, rung = environment(), asyncio.get_running_loop(), []
    assert env.now() == loop.time()

    timer = env.call_at(env.now() + 5, lambda: rung.append(env.now()))
    cancelled = env.call_at(env.now() + 3, lambda: rung.append("never"))
    assert timer is not None
    assert cancelled is not None
    cancelled.cancel()
    begin = env.now()
    await asyncio.sleep(4.9)
    assert rung == []
    await asyncio.sleep(0.2)

    assert rung == [pytest.approx(begin + 5)]


@pytest.mark.asyncio
async def test_what_is_due_never_needs_no_timer() -> None:
    env = environment()
    assert env.call_at(math.inf, lambda: traceback.print_stack()) is None


@pytest.mark.asyncio
async def test_the_stopwatch_measures_real_time_whatever_the_clock_of_the_loop_says() -> None:
    env = environment()
    begin, real = env.now(), env.stopwatch()
    await asyncio.sleep(3600)
    assert env.now() - begin == pytest.approx(3600)
    assert 0 <= env.stopwatch() - real < 60


@pytest.mark.asyncio
async def test_the_running_loop_is_known_inside() -> None:
    assert running_loop() is asyncio.get_running_loop()
    assert await asyncio.to_thread(running_loop) is None


def test_a_thread_is_told_from_all_others() -> None:
    here = thread_test()
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        there = pool.submit(thread_test).result()

        assert here()
        assert thread_test() is here
        assert not there()
        assert not nowhere()
        assert [pool.submit(test).result() for test in (here, there, nowhere)] == [False, True, False]


def test_there_is_no_running_loop_outside() -> None:
    assert running_loop() is None


# Standing still


async def stands_still(halt: Halt) -> None:
    await halt


@pytest.mark.asyncio
async def test_a_task_that_stands_still_goes_on_at_once_as_itself() -> None:
    loop, halt, seen = asyncio.get_running_loop(), Halt(asyncio.get_running_loop()), list[Any]()

    async def body() -> None:
        COLOUR.set("red")
        for _ in range(2):
            await halt
            seen.append((asyncio.current_task(), COLOUR.get()))
        async with asyncio.timeout(1.0):
            await asyncio.sleep(0)
        seen.append("waited")

    def go_on() -> None:
        assert asyncio.current_task() is None
        halt.go_on()
        assert len(seen) == 1
        halt.go_on()
        assert len(seen) == 2
        assert asyncio.current_task() is None

    task = loop.create_task(body())
    await settle()
    assert asyncio.isfuture(halt)
    assert "wait_for=<" in repr(task)
    loop.call_soon(go_on)
    await task
    assert seen == [(task, "red"), (task, "red"), "waited"]
    assert COLOUR.get() == "none"


@pytest.mark.asyncio
async def test_one_that_stands_still_can_be_cancelled() -> None:
    halt = Halt(asyncio.get_running_loop())
    task = asyncio.create_task(stands_still(halt))
    await settle()
    assert not halt.cancelled
    task.cancel()
    task.cancel()
    assert (task.done(), halt.cancelled) == (False, True)
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.asyncio
async def test_one_that_is_about_to_go_on_and_is_cancelled_is_cancelled_there() -> None:
    halt = Halt(asyncio.get_running_loop())
    task = asyncio.create_task(stands_still(halt))
    await settle()
    halt.go_on_later()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not halt.cancelled


# What holds the variables of a context


def test_copies_of_a_context_share_what_holds_its_variables_until_they_differ() -> None:
    context = Context()
    context.run(COLOUR.set, "red")
    variables = variables_of(context)
    alone = sys.getrefcount(variables)

    copy = context.copy()
    assert sys.getrefcount(variables) == alone + 1
    assert variables_of(copy) is variables_of(context) is variables

    copy.run(COLOUR.set, "green")
    assert sys.getrefcount(variables) == alone
    assert variables_of(copy) is not variables
    context.run(COLOUR.set, "red")
    assert variables_of(context) is variables  # it is the same value
    context.run(COLOUR.set, "blue")
    assert variables_of(context) is not variables
    assert sys.getrefcount(variables) == alone - 1
