"""`Background`: a system in a thread of its own, for programs without an event loop."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NoReturn

import pytest

from tests.cast import Fail, Gate, Hold, Holder, Note
from understudy import (
    ActorFailed,
    ActorNotFound,
    ActorStopped,
    ActorSystem,
    Background,
    ChildSpec,
    InvalidContext,
    InvalidSpec,
    StartError,
    Supervisor,
    SystemCollapsed,
    child,
)
from understudy import background as background_module
from understudy.environment import start_thread

ROOT = Path(__file__).parent.parent


class Fragile(Supervisor):
    max_restarts = 0

    def children(self) -> list[ChildSpec]:
        return [child(Holder)]


class Careful(Holder):
    """Says that it has been stopped in order."""

    def shutdown(self, reason: object) -> None:
        self.log_of_all.append(str(reason))


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("system:")]


# Using it


def test_a_program_without_an_event_loop_looks_up_spawns_asks_and_leaves() -> None:
    log: list[Any] = []
    with Background(ActorSystem(child(Careful, None, log).options(name="careful"), name="show")) as background:
        system = background.system
        careful = background.call(system.lookup, "careful", Careful)
        assert careful.ask_threadsafe(Note(value=5)).result(5) == 5
        spawned = background.call(lambda: system.spawn(Holder))
        assert spawned.ask_threadsafe(Note(value=6)).result(5) == 6
        assert "careful  Careful, running" in str(background.call(system.tree))
        assert threads() == ["system:show"]
    assert log == [5, "shut down (parent ended)"]
    assert threads() == []


def test_call_returns_what_a_function_or_a_coroutine_returns_and_raises_what_it_raises() -> None:
    async def slowly(number: int, *, times: int) -> int:
        await asyncio.sleep(0)
        return number * times

    def fail() -> NoReturn:
        raise LookupError("no")

    with Background(ActorSystem()) as background:
        assert background.call(slowly, 3, times=2) == 6
        assert background.call(max, 3, 4) == 4
        with pytest.raises(LookupError, match="no"):
            background.call(fail)
        with pytest.raises(ActorNotFound):
            background.call(background.system.lookup, "nobody")


def test_many_threads_call_and_ask_at_once() -> None:
    with Background(ActorSystem()) as background, ThreadPoolExecutor(8) as pool:
        ref = background.call(lambda: background.system.spawn(Holder))

        def talk(value: int) -> tuple[int, str]:
            return ref.ask_threadsafe(Note(value=value)).result(10), background.call(threading.current_thread).name

        assert list(pool.map(talk, range(40))) == [(value, "system:system") for value in range(40)]


def test_in_the_event_loop_itself_call_says_that_it_would_wait_for_itself_and_calls_nothing() -> None:
    called: list[int] = []
    with Background(ActorSystem(name="show")) as background:

        def inner() -> None:
            background.call(called.append, 1)

        with pytest.raises(InvalidContext, match="call to system 'show': this is its event loop, which would wait for"):
            background.call(inner)
        assert called == []


def test_outside_of_with_call_says_how_it_is_to_be_used() -> None:
    background = Background(ActorSystem(name="show"))
    with pytest.raises(InvalidContext, match=r"'show' in the background: it is not running: use it inside of `with`"):
        background.call(print)
    with background:
        pass
    with pytest.raises(InvalidContext, match=r"'show' in the background: its `with` has been left"):
        background.call(print)
    with pytest.raises(InvalidContext, match="can be entered once"), background:
        pass


@pytest.mark.asyncio
async def test_in_a_running_event_loop_it_refuses_to_block() -> None:
    with pytest.raises(InvalidContext, match=r"an event loop runs here and would stand still: use `async with`"):
        Background(ActorSystem()).__enter__()
    assert threads() == []


def test_it_takes_the_loop_that_it_is_given() -> None:
    made: list[asyncio.AbstractEventLoop] = []

    def make() -> asyncio.AbstractEventLoop:
        made.append(asyncio.new_event_loop())
        return made[-1]

    with Background(ActorSystem(), loop_factory=make) as background:
        assert background.call(asyncio.get_running_loop) is made[0]
        assert not made[0].is_closed()
    assert made[0].is_closed()


# Not starting


def test_a_tree_that_does_not_start_raises_on_entering_and_leaves_no_thread() -> None:
    class Broken(Holder):
        def initialize(self) -> None:
            raise ValueError("no")

    with pytest.raises(StartError, match="ValueError: no") as caught, Background(ActorSystem(child(Broken))):
        pytest.fail("entered")
    assert isinstance(caught.value.__cause__, ValueError)
    assert threads() == []


def test_a_tree_that_declares_nonsense_raises_too() -> None:
    class Odd(Supervisor):
        def children(self) -> list[ChildSpec]:
            return [child(Holder).options(name="a"), child(Holder).options(name="a")]

    with pytest.raises((StartError, InvalidSpec)), Background(ActorSystem(Odd)):
        pytest.fail("entered")
    assert threads() == []


# Ending


def test_a_collapse_is_raised_on_leaving_and_asks_fail_until_then() -> None:
    with (  # noqa: PT012 - what raises is the `with` as a whole
        pytest.raises(SystemCollapsed, match="/user/fragile ended") as caught,
        Background(ActorSystem(Fragile)) as background,
    ):
        ref = background.call(background.system.lookup, "fragile/holder", Holder)
        with pytest.raises(ActorFailed):
            ref.ask_threadsafe(Fail(error=ValueError("boom"))).result(5)
        background.call(background.system.wait_stopped)
        with pytest.raises(ActorStopped):
            ref.ask_threadsafe(Note()).result(5)
        assert "fragile" not in str(background.call(background.system.tree))
    assert isinstance(caught.value.__cause__, ValueError)
    assert not hasattr(caught.value, "__notes__")


def test_the_error_of_the_body_is_noted_on_the_collapse() -> None:
    with pytest.raises(SystemCollapsed) as caught, Background(ActorSystem(Fragile)) as background:  # noqa: PT012 - what raises is the `with` as a whole
        ref = background.call(background.system.lookup, "fragile/holder", Holder)
        ref.tell_threadsafe(Fail(error=ValueError("boom")))
        background.call(background.system.wait_stopped)
        raise LookupError("lost")
    assert caught.value.__notes__ == ["the body of `with` had failed too: LookupError: lost"]
    assert isinstance(caught.value.__context__, LookupError)


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_that_leaves_the_body_goes_before_a_collapse(error: type[BaseException]) -> None:
    with pytest.raises(error), Background(ActorSystem(Fragile)) as background:  # noqa: PT012 - what raises is the `with` as a whole
        ref = background.call(background.system.lookup, "fragile/holder", Holder)
        ref.tell_threadsafe(Fail(error=ValueError("boom")))
        background.call(background.system.wait_stopped)
        raise error
    assert threads() == []


def test_an_error_of_the_body_stops_everything_in_order_and_is_raised() -> None:
    log: list[Any] = []
    with pytest.raises(LookupError), Background(ActorSystem(child(Careful, None, log))):
        raise LookupError
    assert log == ["shut down (parent ended)"]
    assert threads() == []


def test_a_call_and_an_ask_that_are_waited_for_by_other_threads_end_with_the_system() -> None:
    outcomes: list[BaseException | None] = []
    begun = threading.Event()

    def keep(function: Any) -> None:
        try:
            function()
        except BaseException as error:
            outcomes.append(error)

    async def never() -> None:
        begun.set()
        await asyncio.Event().wait()

    with Background(ActorSystem()) as background:
        gate = background.call(Gate)
        ref = background.call(lambda: background.system.spawn(child(Holder, gate).options(shutdown="brutal_kill")))
        future = ref.ask_threadsafe(Hold())
        background.call(gate.reached)
        waiting = [
            threading.Thread(target=keep, args=[lambda: background.call(never)]),
            threading.Thread(target=keep, args=[future.result]),
        ]
        for thread in waiting:
            thread.start()
        begun.wait(10)
    for thread in waiting:
        thread.join(10)
        assert not thread.is_alive()
    kinds = sorted(type(error).__name__ for error in outcomes)
    assert kinds in (["ActorFailed", "InvalidContext"], ["ActorStopped", "InvalidContext"])


def test_a_thread_that_calls_and_calls_gets_an_answer_or_a_no_to_the_last() -> None:
    answers: list[int] = []
    told: list[str] = []
    begun = threading.Event()

    def talk(background: Background) -> None:
        try:
            while True:
                answers.append(background.call(int, 7))
                begun.set()
        except InvalidContext as error:
            told.append(error.problem)

    for _ in range(10):
        begun.clear()
        with Background(ActorSystem()) as background:
            talker = threading.Thread(target=talk, args=[background])
            talker.start()
            begun.wait(10)
        talker.join(10)
        assert not talker.is_alive()
    assert told == ["its `with` has been left: nothing runs there any more"] * 10
    assert set(answers) == {7}


# Processes

PROGRAM = """
import signal, sys, threading, time
from tests.test_background import Careful
from tests.cast import Hold, Note
from understudy import ActorSystem, Background, child

class Loud(Careful):
    def shutdown(self, reason):
        print("stopped in order", flush=True)

class Stubborn(Careful):
    async def shutdown(self, reason):
        print("stopping", flush=True)
        import asyncio
        await asyncio.sleep(3600)

def main():
    {main}

main()
"""


def process(main: str) -> subprocess.Popen[str]:
    program = PROGRAM.format(main=main.strip().replace("\n", "\n    "))
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", program],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


WAIT = """
with Background(ActorSystem(child({actor}).options(shutdown="infinity"))) as background:
    print("up", flush=True)
    background.call(background.system.wait_stopped)
"""


@pytest.mark.real_time
def test_ctrl_c_in_the_main_thread_is_an_orderly_end() -> None:
    with process(WAIT.format(actor="Loud")) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "up\n"
        program.send_signal(signal.SIGINT)
        out, err = program.communicate(timeout=30)
    assert out == "stopped in order\n"
    assert err.rstrip().endswith("KeyboardInterrupt")
    assert program.returncode in (-signal.SIGINT, 128 + signal.SIGINT, 1)


@pytest.mark.real_time
def test_a_second_ctrl_c_shortens_the_end_by_force() -> None:
    with process(WAIT.format(actor="Stubborn")) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "up\n"
        program.send_signal(signal.SIGINT)
        assert program.stdout.readline() == "stopping\n"
        program.send_signal(signal.SIGINT)
        _, err = program.communicate(timeout=30)
    assert err.rstrip().endswith("KeyboardInterrupt")
    assert program.returncode != 0


@pytest.mark.real_time
def test_an_interrupt_between_the_order_to_end_and_the_wait_for_it_leaves_no_thread_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Endless(Holder):
        async def shutdown(self, reason: object) -> None:
            await asyncio.sleep(3_600)

    posted: list[str] = []
    post = Background._post

    def interrupted(self: Background, function: Any) -> None:
        post(self, function)
        posted.append(function.__name__)
        if len(posted) == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), Background(ActorSystem(child(Endless).options(shutdown="infinity"))):
        monkeypatch.setattr(Background, "_post", interrupted)
    assert posted == ["_leave", "kill"]
    assert threads() == []


@pytest.mark.real_time
@pytest.mark.parametrize("begun", [True, False])
def test_an_interrupt_while_its_thread_is_being_started_leaves_nothing_behind(
    monkeypatch: pytest.MonkeyPatch, begun: bool
) -> None:
    initializing, ended, started = threading.Event(), list[str](), list[Any]()

    class Slow(Holder):
        async def initialize(self) -> None:
            initializing.set()
            try:
                await asyncio.sleep(3_600)
            finally:
                ended.append("cancelled")

    def interrupted(function: Any, name: str) -> threading.Thread:
        started.append((function, name))
        if begun:
            start_thread(function, name)
            assert initializing.wait(30)
        raise KeyboardInterrupt

    monkeypatch.setattr(background_module, "start_thread", interrupted)
    background = Background(ActorSystem(child(Slow)))
    with pytest.raises(KeyboardInterrupt), background:
        pytest.fail("it has not started")
    if not begun:  # a thread that comes late has nothing to do any more
        start_thread(*started[0]).join()
        assert not initializing.is_set()
    assert ended == ["cancelled"] * begun
    with pytest.raises(InvalidContext, match="it can be entered once"), background:
        pytest.fail("it has been entered")


@pytest.mark.real_time
def test_ctrl_c_while_it_starts_leaves_nothing_behind() -> None:
    main = """
class Slow(Careful):
    async def initialize(self):
        import asyncio
        print("starting", flush=True)
        await asyncio.sleep(3600)

with Background(ActorSystem(child(Slow))):
    print("entered", flush=True)
"""
    with process(main) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "starting\n"
        program.send_signal(signal.SIGINT)
        out, err = program.communicate(timeout=30)
    assert out == ""
    assert err.rstrip().endswith("KeyboardInterrupt")
    assert program.returncode != 0


@pytest.mark.real_time
def test_a_process_that_does_not_leave_the_body_is_not_held_up() -> None:
    with process('background = Background(ActorSystem(child(Loud)))\nbackground.__enter__()\nprint("done")') as program:
        out, err = program.communicate(timeout=30)
    assert (program.returncode, out, err) == (0, "done\n", "")
