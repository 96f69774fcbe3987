"""What every test gets: a virtual clock, unless it is marked `real_time`, and a check that it leaves nothing behind."""

from __future__ import annotations

import asyncio
import gc
import signal
from collections.abc import Generator, Iterator
from importlib import import_module
from importlib.util import find_spec

import hypothesis
import pytest
import pytest_asyncio

from understudy.testing._errors import LeakError
from understudy.testing._leaks import leakcheck, open_descriptors
from understudy.testing._virtual import loop_factories as pytest_asyncio_loop_factories

__all__ = ["open_descriptors", "pytest_asyncio_loop_factories"]

pytest_plugins = ["pytester"]

# The speed of an example depends on the machine, and each test has a timeout anyway.
hypothesis.settings.register_profile("understudy", deadline=None, print_blob=True)
hypothesis.settings.load_profile("understudy")

OF_THE_LOOP = {"tasks", "timers", "exceptions"}
OF_THE_PROCESS = {"descriptors", "threads"}

_failed = pytest.StashKey[bool]()


def pytest_configure() -> None:
    """Hear Ctrl-C even if started in the background, where a shell has it ignored, which programs inherit."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    # The first loop of libuv in a process makes a pipe for signals, and that stays: no test has left it behind.
    if find_spec("uvloop") is not None:
        import_module("uvloop").new_event_loop().close()


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collect no garbage while ten thousand tests are made: next to nothing of it is any."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        settle()


def pytest_runtest_logfinish() -> None:
    settle()


def settle() -> None:
    """Take what exists by now out of the collector's sight: modules, tests, what pytest keeps of them.

    The leak check collects garbage after each test, which takes as long as there is to look at: so it is only what the
    test itself has made.
    """
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.when in ("setup", "call") and not report.passed:
        item.stash[_failed] = True
    return report


@pytest.fixture(autouse=True)
def process_leak_check(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test that leaves descriptors or threads."""
    # Made before the loop and finished after it has closed.
    yield from checked(request, leakcheck(allow=allowed(request) | OF_THE_LOOP))


@pytest.fixture(autouse=True)
def loop_leak_check(request: pytest.FixtureRequest, process_leak_check: None) -> Iterator[None]:
    """Fail an async test that leaves tasks or timers in its loop, and any test that drops an exception."""
    if not pytest_asyncio.is_async_test(request.node):
        yield
        gc.collect()  # pytest reports what the garbage has to say: coroutines never awaited, files never closed
        return

    marker = request.node.get_closest_marker("asyncio")
    if marker is not None and marker.kwargs.get("loop_scope", "function") != "function":
        pytest.fail("a test must have a loop of its own, or nobody can tell which test leaks: drop loop_scope")
    # Through the fixture, so that the check comes before the runner cancels what is left and closes the loop.
    loop: asyncio.AbstractEventLoop = request.getfixturevalue("loop_of_test")
    yield from checked(request, leakcheck(allow=allowed(request) | OF_THE_PROCESS, loop=loop))


@pytest_asyncio.fixture
async def loop_of_test() -> asyncio.AbstractEventLoop:
    """The event loop in which this test runs."""
    return asyncio.get_running_loop()


def checked(request: pytest.FixtureRequest, check: leakcheck) -> Iterator[None]:
    """Fail the test with what *check* finds after it; one that has failed has said enough."""
    check.begin()
    yield
    try:
        check.end(failed=request.node.stash.get(_failed, False))
    except LeakError as error:
        pytest.fail(f"this test left something behind\n{error}", pytrace=False)


def allowed(request: pytest.FixtureRequest) -> set[str]:
    """What the test may leave, by its marker."""
    return {kind for marker in request.node.iter_markers("leaks") for kind in marker.args}
