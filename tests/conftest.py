"""What every test gets: a virtual clock, unless it is marked `real_time`, and a check that it leaves nothing behind."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import threading
from collections.abc import Callable, Generator, Iterator, Mapping
from typing import Any

import hypothesis
import pytest
import pytest_asyncio

from tests.virtual import VirtualLoop, describe

# The speed of an example depends on the machine, and each test has a timeout anyway.
hypothesis.settings.register_profile("understudy", deadline=None, print_blob=True)
hypothesis.settings.load_profile("understudy")

LEAKS = ("tasks", "timers", "descriptors", "threads", "exceptions")

_failed = pytest.StashKey[bool]()


def pytest_asyncio_loop_factories(item: pytest.Item) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    if item.get_closest_marker("real_time") is not None:
        return {"real": asyncio.SelectorEventLoop}
    return {"virtual": VirtualLoop}


def pytest_configure() -> None:
    """Hear Ctrl-C even if started in the background, where a shell has it ignored, which programs inherit."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish() -> None:
    # The leak check collects garbage after each test. What exists by now stays, so do not look at it every time.
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
    descriptors = open_descriptors()
    threads = set(threading.enumerate())
    yield
    if _checked(request, "descriptors"):
        left = open_descriptors().items() - descriptors.items()
        _report("descriptors", [f"{number} -> {target}" for number, target in sorted(left)])
    if _checked(request, "threads"):
        _report("threads", [thread.name for thread in set(threading.enumerate()) - threads if _outlives(thread)])


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
    loop: asyncio.BaseEventLoop = request.getfixturevalue("loop_of_test")
    dropped: list[str] = []
    loop.set_exception_handler(lambda _loop, context: dropped.append(_told(context)))
    yield
    if _checked(request, "tasks"):
        _report("tasks", [describe(task) for task in asyncio.all_tasks(loop)])
    if _checked(request, "timers"):
        timers = [timer for timer in loop._scheduled if not timer.cancelled()]  # type: ignore[attr-defined]
        _report("timers", [f"{timer!r}, due in {timer.when() - loop.time():g} s" for timer in timers])
    gc.collect()  # an exception that nobody retrieved is told when its future is collected
    if _checked(request, "exceptions"):
        _report("exceptions", dropped)


@pytest_asyncio.fixture
async def loop_of_test() -> asyncio.AbstractEventLoop:
    """The event loop in which this test runs."""
    return asyncio.get_running_loop()


def open_descriptors() -> dict[int, str]:
    """The open file descriptors of this process, and what each stands for where the system says so."""
    for folder in ("/proc/self/fd", "/dev/fd"):
        if os.path.isdir(folder):
            break
    else:
        return {}
    found: dict[int, str] = {}
    for name in os.listdir(folder):
        try:
            status = os.fstat(int(name))
        except OSError:  # the one through which the folder was read
            continue
        try:
            found[int(name)] = os.readlink(f"{folder}/{name}")
        except OSError:
            found[int(name)] = f"device {status.st_dev}, inode {status.st_ino}"
    return found


def _checked(request: pytest.FixtureRequest, kind: str) -> bool:
    """Whether to look for leaks of this kind; a test that failed has said enough."""
    allowed = {kind for marker in request.node.iter_markers("leaks") for kind in marker.args}
    if unknown := sorted(allowed.difference(LEAKS)):
        pytest.fail(f"the marker leaks takes {', '.join(LEAKS)}; got {', '.join(map(repr, unknown))}")
    return kind not in allowed and not request.node.stash.get(_failed, False)


def _report(kind: str, found: list[str]) -> None:
    if found:
        pytest.fail(f"this test left {kind} behind ({len(found)}):\n  " + "\n  ".join(found), pytrace=False)


def _outlives(thread: threading.Thread) -> bool:
    """Whether the thread lives on, although it had a moment to end."""
    thread.join(1.0)
    return thread.is_alive()


def _told(context: dict[str, Any]) -> str:
    """What a loop's exception handler was told, in one line."""
    exception = context.get("exception")
    return context["message"] + (f": {exception!r}" if exception is not None else "")
