"""`understudy.run`: what it gives back, what it restores, and that it ends."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
import uvloop

import understudy
from tests.cast import Holder, Note
from understudy import ActorSystem
from understudy.testing._virtual import VirtualLoop

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@pytest.fixture(autouse=True)
def handlers() -> Iterator[list[Any]]:
    """What is installed for the signals; fails a test that leaves something else."""
    # Not those of whoever started the tests: a shell lets what runs in its background ignore SIGINT.
    whose = [signal.signal(signal.SIGINT, signal.default_int_handler), signal.signal(signal.SIGTERM, signal.SIG_DFL)]
    before = [signal.getsignal(number) for number in SIGNALS]
    yield before
    after = [signal.getsignal(number) for number in SIGNALS]
    for number, handler in zip(SIGNALS, whose, strict=True):
        signal.signal(number, handler)
    assert after == before


class Loops:
    """A factory of virtual loops that remembers them."""

    def __init__(self) -> None:
        self.made: list[VirtualLoop] = []

    def __call__(self) -> VirtualLoop:
        self.made.append(VirtualLoop())
        return self.made[-1]

    def assert_closed(self) -> VirtualLoop:
        (loop,) = self.made
        assert loop.is_closed()
        return loop


@pytest.fixture
def loops() -> Iterator[Loops]:
    made = Loops()
    yield made
    for loop in made.made:  # those that a failing test has left open shall not fail the next one
        loop.close()


# Results


def test_it_returns_the_result_of_main(loops: Loops) -> None:
    async def main() -> int:
        async with ActorSystem() as system:
            return await (await system.spawn(Holder)).ask(Note(value=7))

    assert understudy.run(main(), loop_factory=loops) == 7
    loops.assert_closed()


def test_it_makes_an_ordinary_loop_by_itself_and_another_one_each_time() -> None:
    async def main() -> asyncio.AbstractEventLoop:
        await asyncio.sleep(0)
        return asyncio.get_running_loop()

    first, second = understudy.run(main()), understudy.run(main())

    assert first is not second
    assert first.is_closed()
    assert second.is_closed()


@pytest.mark.parametrize("error", [ValueError("x"), understudy.Refused("no"), SystemExit(3), KeyError()])
def test_it_raises_what_main_has_raised(error: BaseException, loops: Loops) -> None:
    async def main() -> None:
        await asyncio.sleep(1)
        raise error

    with pytest.raises(type(error)) as caught:
        understudy.run(main(), loop_factory=loops)

    assert caught.value is error
    loops.assert_closed()


def test_a_main_that_is_cancelled_without_a_signal_is_just_that(loops: Loops) -> None:
    async def main() -> None:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        understudy.run(main(), loop_factory=loops)

    loops.assert_closed()


@pytest.mark.asyncio
async def test_in_a_running_loop_it_refuses_and_closes_the_coroutine() -> None:
    began: list[str] = []

    async def main() -> None:
        began.append("began")

    coroutine = main()
    with pytest.raises(RuntimeError, match=r"understudy\.run cannot be called from a running event loop: await"):
        understudy.run(coroutine)

    assert coroutine.cr_frame is None, "closed, so that nobody warns that it was never awaited"
    assert began == []
    assert asyncio.get_running_loop().is_running()


def test_what_is_no_coroutine_is_refused_and_leaves_no_loop_open(loops: Loops) -> None:
    async def main() -> None: ...

    with pytest.raises((TypeError, ValueError), match="coroutine"):
        understudy.run(main, loop_factory=loops)  # type: ignore[arg-type]

    assert all(loop.is_closed() for loop in loops.made)


def test_no_loop_is_current_afterwards(loops: Loops) -> None:
    async def main() -> None: ...

    understudy.run(main(), loop_factory=loops)

    with pytest.raises(RuntimeError):
        asyncio.get_running_loop()
    assert loops.assert_closed() not in _current_loops()


def _current_loops() -> list[object]:
    try:
        policy = asyncio.events._get_event_loop_policy()  # type: ignore[attr-defined]
    except AttributeError:
        policy = asyncio.get_event_loop_policy()
    return [getattr(policy._local, "_loop", None)]


@pytest.mark.parametrize("debug", [True, False])
def test_debug_is_handed_to_the_loop(debug: bool, loops: Loops) -> None:
    async def main() -> bool:
        return asyncio.get_running_loop().get_debug()

    assert understudy.run(main(), debug=debug, loop_factory=loops) is debug


def test_without_debug_the_loop_decides(loops: Loops) -> None:
    async def main() -> bool:
        return asyncio.get_running_loop().get_debug()

    def in_debug() -> VirtualLoop:
        loop = loops()
        loop.set_debug(True)
        return loop

    assert understudy.run(main(), loop_factory=in_debug) is True


def test_the_task_of_main_is_called_main(loops: Loops) -> None:
    async def main() -> str:
        task = asyncio.current_task()
        assert task is not None
        return task.get_name()

    assert understudy.run(main(), loop_factory=loops) == "main"


# Signals


@pytest.mark.parametrize("fails", [False, True])
def test_signal_handlers_are_installed_while_it_runs_and_restored_afterwards(fails: bool, loops: Loops) -> None:
    calls: list[int] = []
    mine = lambda number, frame: calls.append(number)  # noqa: E731
    theirs = {number: signal.signal(number, mine) for number in SIGNALS}

    async def main() -> list[Any]:
        during = [signal.getsignal(number) for number in SIGNALS]
        if fails:
            raise ValueError("failed")
        return during

    try:
        if fails:
            with pytest.raises(ValueError, match="failed"):
                understudy.run(main(), loop_factory=loops)
        else:
            assert mine not in understudy.run(main(), loop_factory=loops)
        assert [signal.getsignal(number) for number in SIGNALS] == [mine, mine]
        signal.raise_signal(signal.SIGTERM)
        assert calls == [signal.SIGTERM]
    finally:
        for number, handler in theirs.items():
            signal.signal(number, handler)


@pytest.mark.parametrize(
    ("number", "expected"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)], ids=["INT", "TERM"]
)
def test_a_signal_cancels_main_and_says_so_in_the_end(
    number: signal.Signals, expected: type[BaseException], loops: Loops
) -> None:
    seen: list[str] = []

    async def main() -> None:
        try:
            signal.raise_signal(number)
            await asyncio.sleep(3600)
            seen.append("went on")
        finally:
            await asyncio.sleep(1)
            seen.append("cleaned up")

    with pytest.raises(expected) as caught:
        understudy.run(main(), loop_factory=loops)

    assert seen == ["cleaned up"]
    assert loops.assert_closed().time() < 10
    if expected is SystemExit:
        assert caught.value.args == (143,)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_who_has_the_first_say_at_an_interrupt_may_find_it_of_use_but_has_none_at_a_sigterm(loops: Loops) -> None:
    asked: list[int] = []

    def interrupted() -> bool:
        asked.append(len(asked))
        return len(asked) == 1

    async def main() -> None:
        signal.raise_signal(signal.SIGINT)
        await asyncio.sleep(1)  # goes on
        asked.append(100)
        signal.raise_signal(signal.SIGINT)
        await asyncio.sleep(3600)
        asked.append(200)

    with pytest.raises(KeyboardInterrupt):
        understudy.run(main(), loop_factory=loops, interrupted=interrupted)
    assert asked == [0, 100, 2]

    async def terminated() -> None:
        signal.raise_signal(signal.SIGTERM)
        await asyncio.sleep(3600)

    with pytest.raises(SystemExit):
        understudy.run(terminated(), loop_factory=loops, interrupted=interrupted)
    assert asked == [0, 100, 2]


def test_a_main_that_takes_the_signal_as_a_request_may_still_return(loops: Loops) -> None:
    async def main() -> str:
        try:
            signal.raise_signal(signal.SIGTERM)
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            return "ended well"
        return "was not told"

    assert understudy.run(main(), loop_factory=loops) == "ended well"


def test_an_error_of_main_is_not_hidden_by_a_signal(loops: Loops) -> None:
    async def main() -> None:
        try:
            signal.raise_signal(signal.SIGINT)
            await asyncio.sleep(3600)
        finally:
            raise ValueError("in the cleanup")

    with pytest.raises(ValueError, match="in the cleanup"):
        understudy.run(main(), loop_factory=loops)


def test_a_signal_that_was_ignored_stays_ignored(loops: Loops) -> None:
    async def main() -> str:
        signal.raise_signal(signal.SIGINT)
        await asyncio.sleep(1)
        return "undisturbed"

    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert understudy.run(main(), loop_factory=loops) == "undisturbed"
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


class WithoutSignals(VirtualLoop):
    """Like an event loop on Windows."""

    def add_signal_handler(self, *args: Any) -> None:
        raise NotImplementedError

    def remove_signal_handler(self, sig: int) -> bool:
        raise NotImplementedError


def test_a_loop_that_knows_no_signals_is_told_of_them_all_the_same(loops: Loops) -> None:
    def factory() -> VirtualLoop:
        loops.made.append(WithoutSignals())
        return loops.made[-1]

    async def main() -> None:
        signal.raise_signal(signal.SIGTERM)
        await asyncio.sleep(3600)

    with pytest.raises(SystemExit):
        understudy.run(main(), loop_factory=factory)

    assert loops.assert_closed().time() < 10


def test_a_handler_that_was_not_installed_from_python_does_no_harm(
    loops: Loops, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> str:
        return "result"

    with monkeypatch.context() as patch:
        patch.setattr(signal, "getsignal", lambda number: None)
        result = understudy.run(main(), loop_factory=loops)

    assert result == "result"
    # What was there cannot be put back from Python, and nothing of ours may stay.
    for number, default in zip(SIGNALS, (signal.default_int_handler, signal.SIG_DFL), strict=True):
        assert signal.getsignal(number) in (default, signal.SIG_DFL)
        signal.signal(number, default)


def test_in_another_thread_it_runs_without_signals(loops: Loops, handlers: list[Any]) -> None:
    found: list[Any] = []

    async def main() -> str:
        found.extend(signal.getsignal(number) for number in SIGNALS)
        await asyncio.sleep(10)
        return "result"

    results: list[str] = []
    thread = threading.Thread(target=lambda: results.append(understudy.run(main(), loop_factory=loops)))
    thread.start()
    thread.join(20)

    assert results == ["result"]
    assert found == handlers
    loops.assert_closed()


PROGRAM = """
import asyncio, signal, sys
import understudy
from understudy import Actor, ActorSystem, Message, child, handler

class Job(Message): ...

class Tidy(Actor[Job]):
    async def shutdown(self, reason):
        print("closing", flush=True)
        await asyncio.sleep({seconds})
        print("closed", flush=True)

    @handler
    def job(self, message: Job) -> None: ...

async def main():
    async with ActorSystem(child(Tidy)) as system:
        {hook}
        print("ready", flush=True)
        await asyncio.sleep(60)
        print("went on", flush=True)
    print("left", flush=True)

signal.signal(signal.SIGINT, signal.default_int_handler)
try:
    understudy.run(main())
finally:
    print("handlers restored", signal.getsignal(signal.SIGINT) is signal.default_int_handler,
          signal.getsignal(signal.SIGTERM) is signal.SIG_DFL, flush=True)
"""


@pytest.fixture
def program() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start a program and wait until it is ready; it is killed at the end if it still runs."""
    running: list[subprocess.Popen[str]] = []

    def begin(*, seconds: float, hook: str = "pass") -> subprocess.Popen[str]:
        source = PROGRAM.format(seconds=seconds, hook=hook)
        process = subprocess.Popen(
            [sys.executable, "-c", source], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        running.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        return process

    yield begin
    for process in running:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, -signal.SIGINT), (signal.SIGTERM, 143)], ids=["INT", "TERM"]
)
def test_a_program_ends_in_good_order_at_the_first_signal(
    number: signal.Signals, code: int, program: Callable[..., subprocess.Popen[str]]
) -> None:
    process = program(seconds=0.05)
    process.send_signal(number)
    out, err = process.communicate(timeout=20)
    assert out.splitlines() == ["closing", "closed", "handlers restored True True"]
    assert process.returncode == code
    assert "CancelledError" not in err
    assert ("KeyboardInterrupt" in err) is (number == signal.SIGINT)


def test_the_second_signal_cuts_the_shutdown_hooks_short(program: Callable[..., subprocess.Popen[str]]) -> None:
    process = program(seconds=4)
    process.send_signal(signal.SIGTERM)
    assert process.stdout is not None
    assert process.stdout.readline() == "closing\n"
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=20)
    assert out.splitlines() == ["handlers restored True True"]
    assert process.returncode == 143, "the first one decides"


# What is left behind


def test_tasks_that_are_left_are_cancelled_and_waited_for(loops: Loops) -> None:
    ended: list[str] = []

    async def linger(name: str) -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            await asyncio.sleep(0.05)
            ended.append(name)

    async def main() -> str:
        kept.extend(asyncio.create_task(linger(name)) for name in "ab")
        await asyncio.sleep(1)
        return "result"

    kept: list[asyncio.Task[None]] = []
    assert understudy.run(main(), loop_factory=loops) == "result"

    assert sorted(ended) == ["a", "b"]
    assert all(task.cancelled() for task in kept)
    assert loops.assert_closed().time() < 2


def test_a_task_that_is_left_by_another_that_is_left_is_cancelled_too(loops: Loops) -> None:
    kept: list[asyncio.Task[None]] = []

    async def linger(depth: int) -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            if depth:
                kept.append(asyncio.create_task(linger(depth - 1)))

    async def main() -> None:
        kept.append(asyncio.create_task(linger(5)))
        await asyncio.sleep(1)

    understudy.run(main(), loop_factory=loops)

    assert len(kept) == 6
    assert all(task.cancelled() for task in kept)


def test_tasks_are_cancelled_also_when_main_has_failed(loops: Loops) -> None:
    kept: list[asyncio.Task[None]] = []

    async def main() -> None:
        kept.append(asyncio.create_task(asyncio.sleep(3600)))
        await asyncio.sleep(1)
        raise ValueError("failed")

    with pytest.raises(ValueError, match="failed"):
        understudy.run(main(), loop_factory=loops)

    assert kept[0].cancelled()
    loops.assert_closed()


def test_the_error_of_a_task_that_fails_at_the_end_is_reported_once(loops: Loops) -> None:
    told: list[dict[str, Any]] = []

    async def fail() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            raise ValueError("in the cleanup")

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
        kept.append(asyncio.create_task(fail(), name="the failing one"))
        await asyncio.sleep(1)

    kept: list[asyncio.Task[None]] = []
    understudy.run(main(), loop_factory=loops)
    kept.clear()

    assert [str(context.get("exception")) for context in told] == ["in the cleanup"]
    assert "the failing one" in told[0]["message"]


def test_tasks_that_resist_are_named_and_left_behind(loops: Loops, capsys: pytest.CaptureFixture[str]) -> None:
    released: list[asyncio.Future[None]] = []

    async def resist() -> None:
        while True:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                released.append(asyncio.get_running_loop().create_future())

    async def main() -> str:
        kept.extend([asyncio.create_task(resist(), name=name) for name in ("mule", "goat")])
        kept.append(asyncio.create_task(asyncio.sleep(3600), name="lamb"))
        await asyncio.sleep(1)
        return "result"

    kept: list[asyncio.Task[None]] = []
    assert understudy.run(main(), loop_factory=loops) == "result"

    printed = capsys.readouterr()
    (line,) = printed.err.splitlines()
    assert line.startswith("understudy: would not end and were left behind: ")
    assert set(line.partition("behind: ")[2].split(", ")) == {"mule", "goat"}
    assert "lamb" not in printed.err
    assert printed.out == ""
    assert loops.assert_closed().time() == pytest.approx(6, abs=0.2)
    assert len(released) > 20, "cancelled again and again, before it was given up"


def test_a_process_whose_tasks_and_generators_resist_ends_in_bounded_time() -> None:
    source = """
import asyncio
import understudy
import understudy.runner

understudy.runner._PATIENCE = 0.3

async def resist():
    while True:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            pass

async def numbers():
    try:
        yield 1
    finally:
        await resist()

async def main():
    global kept
    generator = numbers()
    await anext(generator)
    kept = [asyncio.create_task(resist(), name="mule"), generator]
    await asyncio.sleep(0)

understudy.run(main())
print("ended")
"""
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, timeout=20)
    assert (done.returncode, done.stdout) == (0, "ended\n"), done.stderr
    assert "left behind: mule" in done.stderr
    assert "destroyed" not in done.stderr
    assert "never awaited" not in done.stderr


def test_generators_that_were_left_open_are_closed(loops: Loops) -> None:
    closed: list[str] = []

    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
            yield 2
        finally:
            await asyncio.sleep(1)
            closed.append("closed")

    async def main() -> int:
        kept.append(numbers())
        return await anext(kept[0])

    kept: list[AsyncIterator[int]] = []
    assert understudy.run(main(), loop_factory=loops) == 1
    assert closed == ["closed"]


def test_the_threads_of_the_default_executor_have_ended(loops: Loops) -> None:
    before = set(threading.enumerate())

    async def main() -> str:
        return await asyncio.to_thread(lambda: threading.current_thread().name)

    name = understudy.run(main(), loop_factory=loops)

    assert name != threading.main_thread().name
    assert {thread.name for thread in set(threading.enumerate()) - before} == set()


def test_a_thread_that_works_on_does_not_hold_up_the_end_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("understudy.runner._PATIENCE", 0.1)
    release = threading.Event()
    threads: list[threading.Thread] = []

    def work() -> None:
        threads.append(threading.current_thread())
        release.wait(30)

    async def main() -> str:
        kept.append(asyncio.get_running_loop().run_in_executor(None, work))
        return "result"

    kept: list[asyncio.Future[None]] = []
    try:
        assert understudy.run(main()) == "result"
        assert not release.is_set()
        assert threads[0].is_alive()
    finally:
        release.set()
        for thread in threads:
            thread.join(10)
        kept.clear()


# Other event loops


def test_a_system_runs_on_uvloop() -> None:
    async def main() -> str:
        async with ActorSystem() as system:
            holder = await system.spawn(Holder)
            assert type(asyncio.get_running_loop()).__module__.startswith("uvloop")
            holder.stop()
            return str(await holder.wait_stopped())

    assert understudy.run(main(), loop_factory=uvloop.new_event_loop) == "shut down (stopped)"


@pytest.mark.parametrize(("number", "error"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)])
def test_a_signal_stops_a_system_on_uvloop_in_order(number: signal.Signals, error: type[BaseException]) -> None:
    stopped: list[str] = []

    async def main() -> None:
        async with ActorSystem() as system:
            holder = await system.spawn(Holder)
            asyncio.get_running_loop().call_soon(signal.raise_signal, number)
            try:
                await asyncio.sleep(3600)
            finally:
                stopped.append(holder.status)

    with pytest.raises(error):
        understudy.run(main(), loop_factory=uvloop.new_event_loop)

    assert stopped == ["running"]
