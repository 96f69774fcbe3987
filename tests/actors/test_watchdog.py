"""The watchdog: what it reports, when, to whom, and what it does not.

Where a thread looks in real time, the code that it is to catch blocks until the report has arrived. All else is looked
at by hand, on a stopwatch of the test's.
"""

from __future__ import annotations

import asyncio
import ctypes
import math
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from pydantic import ValidationError

import understudy
from tests.cast import Gate, Hold, Holder, settle
from understudy import (
    Actor,
    ActorRef,
    ActorSystem,
    ExitReason,
    Instrument,
    LoopBlocked,
    LoopLag,
    Message,
    Settings,
    StartError,
    child,
    handler,
    run,
)
from understudy.actors._runtime import runtime_of
from understudy.actors._watchdog import Watchdog
from understudy.environment import frames_in_hand
from understudy.testing import EscapeError, Simulation, simulate

TIMEOUT = 50.0  # seconds: the only bound, where a test waits for another thread
SECRET = "hunter2"
BLOCKED = "event loop is blocked"


class Log:
    """What is logged, whichever thread says it."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []
        self.on_line: Callable[[dict[str, Any]], object] = lambda line: None

    def __call__(self, logger: object, method: str, event: Any) -> Any:
        line = {"level": method, "thread": threading.current_thread().name, **event}
        self.lines.append(line)
        self.on_line(line)
        raise structlog.DropEvent

    def of(self, event: str) -> list[dict[str, Any]]:
        return [line for line in self.lines if line["event"] == event]

    @property
    def reports(self) -> list[dict[str, Any]]:
        return self.of(BLOCKED)


@pytest.fixture
def log() -> Iterator[Log]:
    before = structlog.get_config()
    log = Log()
    structlog.configure(processors=[log])
    yield log
    structlog.configure(**before)


class Diary(Instrument):
    def __init__(self) -> None:
        self.reports: list[LoopBlocked] = []
        self.threads: list[threading.Thread] = []
        self._told = asyncio.Event()

    def of(self, path: str) -> list[LoopBlocked]:
        return [report for report in self.reports if (report.actor, report.doing) == (path, "handler")]

    async def heard_of(self, path: str) -> None:
        while not self.of(path):
            self._told.clear()
            await self._told.wait()

    def loop_blocked(self, report: LoopBlocked) -> None:
        self.reports.append(report)
        self.threads.append(threading.current_thread())
        self._told.set()


class Flat(Message[None]):
    """The handler calls this, and the event loop waits for it."""

    block: Any
    secret: str = SECRET


class Waits(Flat):
    """Likewise, in an ``async def`` handler, between two awaits."""


class Blocks(Actor[Flat | Waits]):
    def __init__(self, on_start: Callable[[], object] = bool, on_end: Callable[[], object] = bool) -> None:
        self.on_start, self.on_end = on_start, on_end

    def initialize(self) -> None:
        self.on_start()

    def shutdown(self, reason: ExitReason) -> None:
        self.on_end()

    @handler
    def flat(self, message: Flat) -> None:
        message.block()

    @handler
    async def waits(self, message: Waits) -> None:
        await asyncio.sleep(0)
        message.block()
        await asyncio.sleep(0)


# In real time, by the watchdog's own thread


class Until:
    """Blocks until the watchdog has reported it so often.

    On a machine that is busy anything may take long enough to be reported, and this more often than wished for.
    """

    def __init__(self, log: Log, reports: int = 1) -> None:
        self._log = log
        self._left = reports
        self._reported = threading.Event()
        log.on_line = self._hear

    def _hear(self, line: dict[str, Any]) -> None:
        if line["event"] == BLOCKED and line["source"].endswith("# here"):
            self._left -= 1
            if not self._left:
                self._reported.set()

    def __call__(self) -> None:
        assert self._reported.wait(TIMEOUT)  # here


@pytest.mark.parametrize("kind", [Flat, Waits], ids=["def", "async def"])
@pytest.mark.real_time
@pytest.mark.asyncio
async def test_who_blocks_is_reported_while_he_blocks_and_instruments_hear_of_it_afterwards(
    kind: type[Flat], log: Log
) -> None:
    diary = Diary()
    async with ActorSystem(settings=Settings(watchdog=0.02), instruments=[diary]) as system:
        ref = await system.spawn(child(Blocks).options(name="slow"))
        await ref.ask(kind(block=Until(log, reports=2)), timeout=TIMEOUT)
        await diary.heard_of("/user/slow")
        lag = system.loop_lag()

    first, second = [line for line in log.reports if line.get("handling") is not None][:2]
    assert first["actor"] == "/user/slow"
    assert (first["doing"], first["handling"], first["level"]) == ("handler", kind.__name__, "warning")
    assert first["at"].startswith(f"{__file__}:")
    assert first["at"].endswith(" in Until.__call__")
    assert first["source"] == "assert self._reported.wait(TIMEOUT)  # here"
    assert f", in Blocks.{'flat' if kind is Flat else 'waits'}\n" in first["stack"]
    assert first["thread"] == "understudy-watchdog:system"
    assert first["seconds"] >= 0.02
    assert second["seconds"] >= 2 * 0.02
    assert "stack" not in second  # it is where it was
    assert SECRET not in repr(log.lines)

    [report] = diary.of("/user/slow")
    assert report.message_type == kind.__name__
    assert (report.file, report.function) == (__file__, "Until.__call__")
    assert report.seconds >= 2 * 0.02
    assert set(diary.threads) == {threading.current_thread()}
    assert "/user/slow" in [line.get("actor") for line in log.of("event loop was blocked")]
    assert lag is not None
    assert lag.blocked >= 1
    assert lag.longest >= report.seconds > 0


@pytest.mark.real_time
@pytest.mark.asyncio
async def test_hooks_that_block_are_reported_from_the_start_of_the_system_to_its_end(log: Log) -> None:
    actor = child(Blocks, Until(log), lambda: Until(log)()).options(name="slow")
    async with ActorSystem(actor, settings=Settings(watchdog=0.02)):
        pass
    told = dict.fromkeys(line["doing"] for line in log.reports if line.get("actor") == "/user/slow")
    assert list(told) == ["initialize", "shutdown"]


@pytest.mark.real_time
@pytest.mark.asyncio
async def test_what_is_no_actor_is_reported_by_its_task(log: Log) -> None:
    async with ActorSystem(settings=Settings(watchdog=0.02)):
        block = Until(log)

        async def main() -> None:
            block()

        await asyncio.create_task(main(), name="loader\x1b[2J\n")
    line = next(line for line in log.reports if line["source"].endswith("# here"))
    assert "actor" not in line
    assert line["task"] == r"loader\x1b[2J\n"  # nothing that a terminal would obey


@pytest.mark.real_time
@pytest.mark.asyncio
async def test_the_thread_begins_with_the_system_and_ends_with_it() -> None:
    before = set(threading.enumerate())
    async with ActorSystem(name="one", settings=Settings(watchdog=5.0)):
        [thread] = set(threading.enumerate()) - before
        assert (thread.name, thread.daemon) == ("understudy-watchdog:one", False)
    assert not thread.is_alive()


@pytest.mark.asyncio
async def test_without_a_watchdog_there_is_no_thread_and_no_lag() -> None:
    before = set(threading.enumerate())
    async with ActorSystem() as system:
        assert set(threading.enumerate()) == before
        assert system.loop_lag() is None


@pytest.mark.asyncio
async def test_a_system_that_does_not_start_leaves_no_thread() -> None:
    def fail() -> None:
        raise OSError("no")

    before = set(threading.enumerate())
    with pytest.raises(StartError):
        async with ActorSystem(child(Blocks, fail), settings=Settings(watchdog=5.0)):
            pass
    assert set(threading.enumerate()) == before


@pytest.mark.asyncio
async def test_where_there_is_no_thread_to_be_had_nothing_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", fail)
    with pytest.raises(RuntimeError, match="can't start new thread"):
        async with ActorSystem(settings=Settings(watchdog=5.0)):
            pytest.fail("it has started")
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.mark.asyncio
async def test_systems_side_by_side_have_a_watchdog_each() -> None:
    before = set(threading.enumerate())
    async with (
        ActorSystem(name="one", settings=Settings(watchdog=5.0)),
        ActorSystem(name="two", settings=Settings(watchdog=5.0)),
        ActorSystem(name="three"),
    ):
        names = sorted(thread.name for thread in set(threading.enumerate()) - before)
        assert names == ["understudy-watchdog:one", "understudy-watchdog:two"]
    assert set(threading.enumerate()) == before


def test_a_system_that_is_never_left_does_not_keep_the_process_alive(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        textwrap.dedent("""
            import asyncio, os
            from understudy import ActorSystem, Settings

            loop = asyncio.new_event_loop()
            system = ActorSystem(settings=Settings(watchdog=3600.0))
            loop.run_until_complete(system.__aenter__())
            print("left open", flush=True)
            # Neither stopped nor closed, as when somebody forgets `async with`.
        """)
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(program)],
        env={"PYTHONPATH": str(Path(understudy.__file__).parents[1])},
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=True,
    )
    assert done.stdout == "left open\n"


# By hand: what is seen and what is said


def staged(**options: Any) -> ActorSystem:
    """A system whose times are sums of powers of two, so that none is a little less than it should be."""
    return ActorSystem(settings=Settings(slice_seconds=2**-11), **options)


class Eye:
    """A watchdog that looks when it is told to, on a stopwatch that goes when it is told to."""

    def __init__(self, system: ActorSystem, limit: float = 1.0) -> None:
        runtime = runtime_of(system)
        self._env = runtime.env
        self.now = math.ceil(self._env.stopwatch()) + 1.0
        self.processor = 0.0
        self._env.stopwatch = lambda: self.now
        self._env.processor_time = lambda: self.processor
        self.interval = limit / 2
        self.watchdog = Watchdog(runtime, limit, "by hand")

    def look_after(self, seconds: float | None = None, *, worked: float = 0.0) -> None:
        """Let time pass and look, in a thread, while this one waits for that."""
        self.now += self.interval if seconds is None else seconds
        self.processor += worked
        thread = threading.Thread(target=self.watchdog.look)
        thread.start() or thread.join()  # one line, whichever of them it is in

    async def look_at_idle(self, seconds: float | None = None) -> None:
        """The same while the event loop waits."""
        await asyncio.to_thread(self._look, self.interval if seconds is None else seconds)

    def _look(self, seconds: float) -> None:
        question = self.watchdog._vigil.question
        while frames_in_hand(self._env.loop, self._env.thread) or (question is not None and question.answered is None):
            pass  # it has not come to waiting for this thread yet
        self.now += seconds
        self.watchdog.look()


async def eye_on(system: ActorSystem, limit: float = 1.0) -> tuple[Eye, ActorRef[Any]]:
    ref = await system.spawn(child(Blocks).options(name="slow"))
    return Eye(system, limit), ref


@pytest.mark.asyncio
async def test_a_blocking_is_reported_once_and_again_whenever_it_is_twice_as_long(log: Log) -> None:
    async with staged() as system:
        eye, ref = await eye_on(system)

        def block() -> None:
            for _ in range(20):
                eye.look_after()

        await ref.ask(Flat(block=block))
        assert [line["seconds"] for line in log.reports] == [1.0, 2.0, 4.0, 8.0]
        assert [line["actor"] for line in log.reports] == ["/user/slow"] * 4
        assert ["stack" in line for line in log.reports] == [True, False, False, False]


@pytest.mark.asyncio
async def test_a_plain_handler_is_timed_from_the_beginning_of_its_slice(log: Log) -> None:
    """It need not have been looked at before: code that lets no other thread run is reported when it does again."""
    diary = Diary()
    async with staged(instruments=[diary]) as system:
        eye, ref = await eye_on(system)

        await ref.ask(Flat(block=lambda: eye.look_after(10.0, worked=10.0)))
        [line] = log.reports
        assert (line["actor"], line["seconds"]) == ("/user/slow", 10.0)

        await eye.look_at_idle()
        await settle()
        [report] = diary.reports
        assert (report.actor, report.message_type, report.seconds) == ("/user/slow", "Flat", 10.0)


@pytest.mark.asyncio
async def test_less_than_the_limit_is_not_reported(log: Log) -> None:
    diary = Diary()
    async with staged(instruments=[diary]) as system:
        eye, ref = await eye_on(system)
        for kind in (Flat, Waits):
            await ref.ask(kind(block=lambda: eye.look_after(0.9)))
            await eye.look_at_idle()
        await settle()
        assert log.reports == []
        assert diary.reports == []
        lag = eye.watchdog.lag()
        assert (lag.blocked, lag.longest) == (0, pytest.approx(0.9))


@pytest.mark.asyncio
async def test_many_short_handlers_are_not_taken_for_a_long_one(log: Log) -> None:
    """Each look finds the same handler at work, and the loop has turned in between."""
    async with staged() as system:
        eye, ref = await eye_on(system)
        for _ in range(50):
            await ref.ask(Flat(block=lambda: eye.look_after(0.7)))
            await asyncio.sleep(1)
        assert log.reports == []
        assert eye.watchdog.lag().blocked == 0


@pytest.mark.asyncio
async def test_an_idle_loop_is_not_reported_and_not_woken(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    loop = asyncio.get_running_loop()
    woken: list[object] = []
    call_soon = loop.call_soon_threadsafe

    def note(callback: Any, *args: Any, **options: Any) -> Any:
        if getattr(callback, "__qualname__", "").startswith(("Question", "Watchdog")):
            woken.append(callback)
        return call_soon(callback, *args, **options)

    async with staged() as system:
        eye, _ = await eye_on(system)
        await eye.look_at_idle()
        eye.watchdog.look()  # while this task is at work: what is asked then costs no wake-up
        await asyncio.sleep(1)
        monkeypatch.setattr(loop, "call_soon_threadsafe", note)
        for _ in range(20):
            await eye.look_at_idle()
        assert woken == []
        assert log.reports == []
        lag = eye.watchdog.lag()
        assert (lag.longest, lag.blocked) == (0.0, 0)
        assert lag.looks > 20


@pytest.mark.asyncio
async def test_an_async_handler_that_waits_for_long_is_not_reported(log: Log) -> None:
    gate = Gate()
    async with staged() as system:
        eye, _ = await eye_on(system)
        holder = await system.spawn(child(Holder, gate))
        holder.tell(Hold())
        await gate.reached()
        for _ in range(100):
            await eye.look_at_idle(10.0)
        gate.open()
        await settle()
        assert log.reports == []
        assert eye.watchdog.lag().blocked == 0


@pytest.mark.real_time
@pytest.mark.asyncio
async def test_nothing_is_reported_after_the_end(log: Log) -> None:
    diary = Diary()
    async with ActorSystem(settings=Settings(watchdog=0.02), instruments=[diary]) as system:
        ref = await system.spawn(Blocks)
        await ref.ask(Flat(block=Until(log)), timeout=TIMEOUT)
    told, reports = len(log.lines), len(diary.reports)
    assert not threading.Event().wait(0.1)  # blocks as long as five reports take
    await asyncio.sleep(0)
    assert (len(log.lines), len(diary.reports)) == (told, reports)


@pytest.mark.asyncio
async def test_what_has_ended_just_before_the_watchdog_is_told_all_the_same() -> None:
    diary = Diary()
    async with staged(instruments=[diary]) as system:
        eye, ref = await eye_on(system)

        def block() -> None:
            for _ in range(3):
                eye.look_after()

        await ref.ask(Flat(block=block))
        assert diary.reports == []
        # As the system does at its end; the thread of this watchdog has never been started.
        eye.watchdog._patrol._thread.start()
        assert eye.watchdog.stop(TIMEOUT)
        [report] = diary.reports
        assert (report.actor, report.seconds) == ("/user/slow", 1.5)
        await settle()
        assert len(diary.reports) == 1


@pytest.mark.asyncio
async def test_a_suspended_process_blames_nobody_and_says_how_long_it_was(log: Log) -> None:
    async with staged() as system:
        eye, ref = await eye_on(system)
        await ref.ask(Flat(block=lambda: eye.look_after(3600.0, worked=0.01)))
        await settle()
        assert log.reports == []
        assert eye.watchdog.lag().blocked == 0
        [line] = log.of("process stood still")
        assert (line["level"], line["actor"]) == (
            "info",
            "/user/slow",
        )  # it may have been a call that let no thread run
        assert line["seconds"] == 3599.5


@pytest.mark.asyncio
async def test_a_suspended_process_that_was_idle_names_nobody(log: Log) -> None:
    async with staged() as system:
        eye, _ = await eye_on(system)
        await eye.look_at_idle()
        await eye.look_at_idle(3600.0)
        [line] = log.of("process stood still")
        assert "actor" not in line
        assert log.reports == []


@pytest.mark.asyncio
async def test_a_debugger_that_holds_the_program_is_no_blocking(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    diary = Diary()
    monkeypatch.setattr("understudy.actors._sight._DEBUGGERS", frozenset({__name__.partition(".")[0]}))
    async with staged(instruments=[diary]) as system:
        eye, ref = await eye_on(system)
        for _ in range(3):
            await ref.ask(Flat(block=lambda: eye.look_after(100.0, worked=100.0)))
        await eye.look_at_idle()
        await settle()
        assert log.reports == []
        assert diary.reports == []
        assert eye.watchdog.lag().longest == 0.0


@pytest.mark.asyncio
async def test_a_logger_that_fails_does_not_end_the_watchdog(capsys: pytest.CaptureFixture[str], log: Log) -> None:
    def fail(line: dict[str, Any]) -> None:
        raise OSError("disk full")

    diary = Diary()
    async with staged(instruments=[diary]) as system:
        eye, ref = await eye_on(system)
        log.on_line = fail
        await ref.ask(Flat(block=lambda: eye.look_after(10.0, worked=10.0)))
        log.on_line = lambda line: None
        await eye.look_at_idle()
        await settle()
        assert len(diary.reports) == 1
    told = capsys.readouterr().err
    assert told.startswith("understudy: event loop is blocked: actor=/user/slow, doing=handler, handling=Flat")
    assert told.endswith("(the logger raised OSError)\n")


@pytest.mark.leaks("exceptions")
@pytest.mark.asyncio
async def test_a_defect_of_the_watchdog_ends_it_and_is_told(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    loop, told = asyncio.get_running_loop(), asyncio.Event()
    complaints: list[Any] = []

    def hear(loop: asyncio.AbstractEventLoop, context: Any) -> None:
        complaints.append(context)
        told.set()

    loop.set_exception_handler(hear)

    def fail(*_: object) -> Any:
        raise ZeroDivisionError

    async with staged() as system:
        eye, _ = await eye_on(system)
        monkeypatch.setattr(Watchdog, "look", fail)
        assert await asyncio.to_thread(eye.watchdog._look_on) is False
        await told.wait()
    [complaint] = complaints
    assert complaint["message"] == "understudy: the watchdog has failed"
    assert isinstance(complaint["exception"], ZeroDivisionError)


@pytest.mark.asyncio
async def test_the_same_place_over_and_over_is_one_line_of_the_log_and_a_count(log: Log) -> None:
    """The lines that are written afterwards; each blocking has one of its own while it lasts."""
    diary = Diary()
    async with staged(instruments=[diary]) as system:
        eye, ref = await eye_on(system)
        for _ in range(5):
            await ref.ask(Flat(block=lambda: eye.look_after(10.0, worked=10.0)))
            await eye.look_at_idle()
            await settle()
        assert len(diary.reports) == len(log.reports) == 5
        await asyncio.sleep(2)
        assert len(log.of("event loop was blocked")) == 1
        [again] = log.of("event loop was blocked again")
        assert again["times"] == 4


@pytest.mark.real_time
@pytest.mark.asyncio
async def test_a_call_that_waits_and_lets_no_other_thread_run_is_told_of_when_it_has_ended(log: Log) -> None:
    """The watchdog cannot run meanwhile, and cannot tell it from a process that was suspended; so it says both."""
    told = threading.Event()

    def hear(line: dict[str, Any]) -> None:
        if line["event"] == "process stood still" and line.get("actor") == "/user/slow":
            told.set()

    usleep = ctypes.PyDLL(None).usleep  # holds the lock of the interpreter

    def block() -> None:
        usleep(200_000)
        assert told.wait(TIMEOUT)

    async with ActorSystem(settings=Settings(watchdog=0.02)) as system:
        ref = await system.spawn(child(Blocks).options(name="slow"))
        log.on_line = hear
        await ref.ask(Flat(block=block), timeout=TIMEOUT)


# How it is set


@pytest.mark.parametrize("value", [0, -1, 0.009, float("nan"), float("inf"), "soon"])
def test_a_bad_limit_is_refused_at_once_and_what_is_allowed_is_named(value: Any) -> None:
    with pytest.raises(ValidationError, match=r"watchdog\n.*(greater than or equal to 0\.01|valid number|finite)"):
        Settings(watchdog=value)


def test_there_is_none_unless_it_is_asked_for() -> None:
    assert Settings().watchdog is None


# In simulation


def test_a_simulated_system_refuses_a_watchdog_and_says_what_to_do() -> None:
    @simulate(schedules=2)
    async def program(sim: Simulation) -> None:
        with pytest.raises(EscapeError, match=r"a watchdog would leave the simulation: .*watchdog=None"):
            async with ActorSystem(settings=Settings(watchdog=0.1)):
                pytest.fail("it has started")
        async with ActorSystem(settings=Settings(watchdog=None)) as system:
            assert system.loop_lag() is None

    program()


@pytest.mark.asyncio
async def test_on_a_loop_of_virtual_time_it_looks_in_real_time(log: Log) -> None:
    diary = Diary()
    async with ActorSystem(settings=Settings(watchdog=0.02), instruments=[diary]) as system:
        ref = await system.spawn(child(Blocks).options(name="slow"))
        await ref.ask(Flat(block=Until(log)), timeout=TIMEOUT)
    assert "/user/slow" in [line.get("actor") for line in log.reports]
    assert len(diary.of("/user/slow")) == 1  # told before the system has ended


def test_the_lag_is_a_frozen_value() -> None:
    lag = LoopLag(0.1, 0.2, 0.3, 0.4, 5, 6)
    with pytest.raises(AttributeError):
        lag.last = 1.0


def test_it_works_in_a_program_that_understudy_run_runs(log: Log) -> None:
    async def main() -> LoopLag | None:
        async with ActorSystem(settings=Settings(watchdog=0.02)) as system:
            ref = await system.spawn(Blocks)
            await ref.ask(Flat(block=Until(log)), timeout=TIMEOUT)
            return system.loop_lag()

    assert run(main()) is not None
    assert log.reports
