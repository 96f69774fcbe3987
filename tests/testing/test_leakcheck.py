"""`leakcheck` as a context manager; what it finds in whole test suites is in tests/test_leak_check.py."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

from tests.cast import Holder, Note
from understudy import ActorSystem
from understudy.testing._errors import LeakError
from understudy.testing._leaks import leakcheck


async def forever() -> None:
    await asyncio.get_running_loop().create_future()


async def fail() -> None:
    raise ValueError("nobody looked")


async def end(task: asyncio.Task[Any]) -> None:
    task.cancel()
    await asyncio.wait([task])


@pytest.mark.asyncio
async def test_a_block_that_cleans_up_passes() -> None:
    async with leakcheck(), ActorSystem() as system:
        holder = await system.spawn(Holder)
        await holder.ask(Note(value=1))
        await asyncio.to_thread(int)


@pytest.mark.asyncio
async def test_a_task_that_is_left_is_named_with_where_it_waits_and_where_it_was_made() -> None:
    with pytest.raises(LeakError, match="tasks left behind") as caught:  # noqa: PT012
        async with leakcheck():
            task = asyncio.create_task(forever(), name="the leaked one")
            await asyncio.sleep(0)
    (line,) = str(caught.value).splitlines()[1:]
    here = test_a_task_that_is_left_is_named_with_where_it_waits_and_where_it_was_made.__code__
    assert f"'the leaked one' in forever ({__file__}:" in line
    assert f", made in {here.co_name} ({__file__}:{here.co_firstlineno + 4})" in line
    await end(task)


@pytest.mark.asyncio
async def test_a_timer_that_is_left_is_named_with_its_function() -> None:
    loop = asyncio.get_running_loop()
    with pytest.raises(
        LeakError, match=r"timers left behind \(1\):\n.*forever\(\) at .*test_leakcheck.py.*due in 42 s"
    ):
        async with leakcheck():
            timer = loop.call_later(42, forever)
    timer.cancel()


@pytest.mark.parametrize("open_block", ["async with", "with"])
@pytest.mark.asyncio
async def test_descriptors_and_threads_are_found_by_both_forms(open_block: str) -> None:
    gate = threading.Event()
    check = leakcheck()
    await check.__aenter__() if open_block == "async with" else check.__enter__()
    number = os.open(os.devnull, os.O_RDONLY)
    thread = threading.Thread(target=gate.wait, name="the leaked one", daemon=True)
    thread.start()
    with pytest.raises(LeakError) as caught:
        check.end()
    assert f"descriptors left behind (1):\n  {number} -> {os.devnull}" in str(caught.value)
    assert "threads left behind (1):\n  'the leaked one' in Condition.wait (" in str(caught.value)
    os.close(number)
    gate.set()
    thread.join()


async def never_awaited() -> None:
    asyncio.ensure_future(fail())  # noqa: RUF006
    await asyncio.sleep(0)


async def failing_callback() -> None:
    asyncio.get_running_loop().call_soon(int, "nobody looked")
    await asyncio.sleep(0)


@pytest.mark.parametrize("drop", [never_awaited, failing_callback])
@pytest.mark.asyncio
async def test_an_exception_that_nobody_sees_is_found(drop: Callable[[], Any]) -> None:
    heard: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    mine = lambda loop, context: heard.append(context)  # noqa: E731
    loop.set_exception_handler(mine)
    with pytest.raises(LeakError, match=r"exceptions left behind \(1\):\n.*nobody looked"):
        async with leakcheck():
            await drop()
    assert loop.get_exception_handler() is mine
    async with leakcheck(allow={"exceptions"}):
        await drop()
    assert len(heard) == 1


@pytest.mark.asyncio
async def test_a_handler_of_exceptions_that_the_block_sets_stays() -> None:
    loop = asyncio.get_running_loop()
    mine = lambda loop, context: None  # noqa: E731
    async with leakcheck():
        loop.set_exception_handler(mine)
    assert loop.get_exception_handler() is mine


@pytest.mark.asyncio
async def test_what_was_there_before_does_not_count() -> None:
    task = asyncio.create_task(forever())
    timer = asyncio.get_running_loop().call_later(42, int)
    number = os.open(os.devnull, os.O_RDONLY)
    async with leakcheck():
        await asyncio.sleep(1)
    os.close(number)
    timer.cancel()
    await end(task)


def test_a_thread_that_may_be_left_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[threading.Thread] = []
    gate = threading.Event()
    thread = threading.Thread(target=gate.wait, daemon=True)
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "join", lambda thread, timeout: waited.append(thread))
        with leakcheck(allow=["threads"]):
            thread.start()
    gate.set()
    thread.join()
    assert waited == []


@pytest.mark.asyncio
async def test_what_is_allowed_is_not_told_and_the_rest_is() -> None:
    with pytest.raises(LeakError) as caught:  # noqa: PT012
        async with leakcheck(allow=["tasks"]):
            task = asyncio.create_task(forever())
            timer = asyncio.get_running_loop().call_later(42, int)
    assert "tasks" not in str(caught.value)
    assert "timers" in str(caught.value)
    timer.cancel()
    await end(task)


@pytest.mark.asyncio
async def test_a_block_that_raises_is_not_blamed_for_leaks_too() -> None:
    tasks: list[asyncio.Task[None]] = []
    with pytest.raises(KeyError, match="itself"):  # noqa: PT012
        async with leakcheck():
            tasks.append(asyncio.create_task(forever()))
            raise KeyError("itself")
    assert asyncio.get_running_loop().get_exception_handler() is not None  # that of this test's own leak check
    await end(tasks[0])


@pytest.mark.asyncio
async def test_it_takes_back_what_it_changes() -> None:
    depth = sys.get_coroutine_origin_tracking_depth()
    handler = asyncio.get_running_loop().get_exception_handler()
    async with leakcheck():
        pass
    assert asyncio.get_running_loop().get_exception_handler() is handler
    assert sys.get_coroutine_origin_tracking_depth() == depth


def test_a_loop_that_is_not_running_can_be_looked_at_too() -> None:
    with asyncio.Runner() as runner:
        loop = runner.get_loop()

        async def leave() -> None:
            task = asyncio.create_task(forever(), name="the leaked one")
            kept.append(task)

        kept: list[asyncio.Task[None]] = []
        with pytest.raises(LeakError, match=r"tasks left behind.*\n.*the leaked one"), leakcheck(loop=loop):
            runner.run(leave())


def test_wrong_uses_are_refused() -> None:
    with pytest.raises(ValueError, match=r"leakcheck knows tasks, timers, .*; got 'takss'"):
        leakcheck(allow=["takss"])
    with pytest.raises(RuntimeError, match="has not begun"):
        leakcheck().end()
    with leakcheck() as check, pytest.raises(RuntimeError, match="can be used once"):
        check.begin()
