"""The leak check of conftest.py, tried on a suite that leaks in every way it knows."""

from __future__ import annotations

import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

LEAKING = """
import asyncio, os, threading
import pytest, pytest_asyncio

kept = []

async def forever():
    await asyncio.get_running_loop().create_future()

async def fail():
    raise ValueError("nobody looked")

@pytest.mark.asyncio
async def test_nothing():
    await asyncio.sleep(1)

def test_nothing_sync():
    pass

@pytest_asyncio.fixture
async def helper():
    task = asyncio.create_task(forever())
    yield
    task.cancel()
    await asyncio.wait([task])

@pytest.mark.asyncio
async def test_nothing_with_a_fixture_that_cleans_up(helper):
    await asyncio.sleep(0)

@pytest.mark.asyncio
async def test_task():
    kept.append(asyncio.create_task(forever(), name="the leaked one"))
    await asyncio.sleep(0)

@pytest.mark.real_time
@pytest.mark.asyncio
async def test_task_in_real_time():
    kept.append(asyncio.create_task(forever(), name="the leaked one"))
    await asyncio.sleep(0)

@pytest.mark.asyncio
async def test_timer():
    asyncio.get_running_loop().call_later(42, print)

@pytest.mark.asyncio
async def test_cancelled_timer():
    asyncio.get_running_loop().call_later(42, print).cancel()

@pytest.mark.asyncio
async def test_descriptor():
    kept.append(os.open(os.devnull, os.O_RDONLY))

def test_descriptor_sync():
    kept.append(os.open(os.devnull, os.O_RDONLY))

def test_thread():
    kept.append(threading.Event())
    threading.Thread(target=kept[-1].wait, name="the leaked one", daemon=True).start()

@pytest.mark.asyncio
async def test_exception():
    task = asyncio.create_task(fail())
    await asyncio.sleep(0)

@pytest.mark.asyncio
async def test_exception_in_a_callback():
    asyncio.get_running_loop().call_soon(int, "nobody looked")
    await asyncio.sleep(0)

@pytest.mark.asyncio
async def test_coroutine():
    fail()

def test_coroutine_sync():
    fail()

def test_unraisable():
    class Bad:
        def __del__(self):
            raise ValueError("nobody looked")
    bad = Bad()
    bad.itself = bad

@pytest.mark.leaks("tasks", "exceptions")
@pytest.mark.asyncio
async def test_allowed():
    kept.append(asyncio.create_task(forever()))
    asyncio.create_task(fail())
    await asyncio.sleep(0)

@pytest.mark.leaks("takss")
@pytest.mark.asyncio
async def test_misspelt():
    pass

@pytest.mark.asyncio(loop_scope="module")
async def test_shared_loop():
    pass

@pytest.mark.asyncio
async def test_failed():
    kept.append(asyncio.create_task(forever()))
    assert False, "itself"

@pytest.mark.asyncio
async def test_deadlock():
    await forever()
"""


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Each test of the leaking suite, with what it failed of; empty for those that passed."""
    folder = tmp_path_factory.mktemp("leaking")
    (folder / "conftest.py").write_text((ROOT / "tests" / "conftest.py").read_text())
    (folder / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text())
    (folder / "test_leaking.py").write_text(LEAKING)
    subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--junit-xml=report.xml", "test_leaking.py"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "src")])},
        capture_output=True,
        timeout=50,
    )
    report = ET.parse(folder / "report.xml")
    found: dict[str, str] = {}
    for case in report.iter("testcase"):
        told = "".join(part.get("message", "") + (part.text or "") for part in case)
        found[case.attrib["name"]] = found.get(case.attrib["name"], "") + told
    assert len(found) == LEAKING.count("def test_")
    return found


@pytest.mark.parametrize(
    "name",
    [
        "test_nothing",
        "test_nothing_sync",
        "test_nothing_with_a_fixture_that_cleans_up",
        "test_cancelled_timer",
        "test_allowed",
    ],
)
def test_what_leaves_nothing_behind_passes(outcomes: dict[str, str], name: str) -> None:
    assert outcomes[name] == ""


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("test_task", "tasks left behind (1):\n  'the leaked one' in forever ("),
        ("test_task_in_real_time", "tasks left behind (1):\n  'the leaked one' in forever ("),
        ("test_timer", "due in 42 s"),
        ("test_descriptor", "descriptors left behind (1):"),
        ("test_descriptor_sync", "descriptors left behind (1):"),
        ("test_thread", "threads left behind (1):\n  'the leaked one' in "),
        ("test_exception", "Task exception was never retrieved: ValueError('nobody looked')"),
        ("test_exception_in_a_callback", "nobody looked"),
        ("test_coroutine", "coroutine 'fail' was never awaited"),
        ("test_coroutine_sync", "coroutine 'fail' was never awaited"),
        ("test_unraisable", "nobody looked"),
        ("test_misspelt", "leakcheck knows tasks, timers, descriptors, threads, exceptions; got 'takss'"),
        ("test_shared_loop", "a test must have a loop of its own"),
        ("test_deadlock", "nothing can happen any more at virtual time 0"),
    ],
)
def test_what_leaks_fails_and_names_the_leak(outcomes: dict[str, str], name: str, message: str) -> None:
    assert message in outcomes[name]


def test_a_test_that_failed_by_itself_is_not_blamed_for_leaks_too(outcomes: dict[str, str]) -> None:
    assert "itself" in outcomes["test_failed"]
    assert "this test left" not in outcomes["test_failed"]
