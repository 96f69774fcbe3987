"""The pytest plugin, tried on small projects of their own."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
PLUGIN = "_understudy_pytestplugin"
INSTALLED = any(entry.value == PLUGIN for entry in metadata.entry_points(group="pytest11"))

INI = """
[pytest]
asyncio_mode = strict
asyncio_default_fixture_loop_scope = function
addopts = --strict-markers -p no:cacheprovider
"""

CAST = """
import asyncio
import pytest
from understudy import Actor, Message, handler

class Note(Message[int]):
    value: int = 0

class Echo(Actor[Note]):
    @handler
    def note(self, message: Note) -> int:
        return message.value
"""


def project(pytester: pytest.Pytester, test: str, ini: str = "", conftest: str = "") -> None:
    pytester.makefile(".ini", pytest=INI + ini)
    pytester.makepyfile(test_it=CAST + test)
    pytester.makeconftest(conftest)


# Where the package is not installed but on the path, there is no entry point.
WITH_PLUGIN = () if INSTALLED else ("-p", PLUGIN)


def run(pytester: pytest.Pytester, *args: str) -> pytest.RunResult:
    """Run the project here, which is ten times as fast as in a process of its own."""
    return pytester.runpytest_inprocess(*WITH_PLUGIN, *args)


def run_apart(pytester: pytest.Pytester, *args: str) -> pytest.RunResult:
    """Run the project where nothing has been imported yet, and no simulation been reported."""
    return pytester.runpytest_subprocess(*WITH_PLUGIN, *args)


# Fixtures


def test_a_test_gets_a_running_system_and_probes_in_it(pytester: pytest.Pytester) -> None:
    project(
        pytester,
        """
systems = []

@pytest.mark.asyncio
async def test_it(actor_system, probe):
    systems.append(actor_system)
    echo = await actor_system.spawn(Echo)
    assert await echo.ask(Note(value=3)) == 3
    ear, other = await probe("ear"), await probe()
    assert (ear.ref.path, other.ref.path) == ("/user/ear", "/user/probe")
    ear.ref.tell(Note(value=1))
    assert (await ear.expect(Note)).value == 1
    await other.expect_no_message()

@pytest.mark.asyncio
async def test_another_gets_another(actor_system):
    assert actor_system is not systems[0]
    assert systems[0]._closed.done()
    assert actor_system.find("/user/ear") is None
""",
    )
    run(pytester).assert_outcomes(passed=2)


def test_a_project_can_have_fixtures_of_its_own_with_these_names(pytester: pytest.Pytester) -> None:
    project(
        pytester,
        """
import pytest_asyncio

@pytest.fixture
def actor_system():
    return "mine"

@pytest.fixture
def probe():
    return "mine too"

@pytest.fixture
def sim():
    return "and this"

@pytest.mark.asyncio
async def test_it(actor_system, probe, sim):
    assert (actor_system, probe, sim) == ("mine", "mine too", "and this")
    await asyncio.sleep(0)
""",
    )
    run(pytester).assert_outcomes(passed=1)


def test_without_pytest_asyncio_the_fixtures_say_what_they_need(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_system(actor_system): ...\n\ndef test_probe(probe): ...\n\ndef test_nothing(): ...")
    result = run(pytester, "-p", "no:asyncio", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=1, errors=2)
    result.stdout.fnmatch_lines(
        ["*fixture actor_system needs pytest-asyncio*pip install*", "*fixture probe needs pytest-asyncio*pip install*"],
    )


def test_the_fixtures_and_the_marker_are_listed_with_what_they_are(pytester: pytest.Pytester) -> None:
    pytester.makefile(".ini", pytest=INI)
    result = run(pytester, "--fixtures")
    result.stdout.fnmatch_lines(
        ["*sim*", "*An empty, running ActorSystem*", "*Starts a TestProbe in the actor_system*"]
    )
    run(pytester, "--markers").stdout.fnmatch_lines(["@pytest.mark.real_time: run this async test on an ordinary*"])


# Virtual time

LOOPS = """
from understudy.testing._virtual import VirtualLoop

@pytest.mark.asyncio
async def test_virtual():
    assert isinstance(asyncio.get_running_loop(), VirtualLoop) is EXPECTED
    await asyncio.sleep(3600 if EXPECTED else 0)

@pytest.mark.real_time
@pytest.mark.asyncio
async def test_real():
    assert not isinstance(asyncio.get_running_loop(), VirtualLoop)
"""


def test_virtual_time_is_for_projects_that_ask_for_it(pytester: pytest.Pytester) -> None:
    project(pytester, "EXPECTED = True" + LOOPS, ini="understudy_virtual_time = true\n")
    run(pytester).assert_outcomes(passed=2)


def test_a_project_that_does_not_ask_for_virtual_time_keeps_its_loops_and_the_names_of_its_tests(
    pytester: pytest.Pytester,
) -> None:
    project(pytester, "EXPECTED = False" + LOOPS)
    result = run(pytester, "-v")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["test_it.py::test_virtual PASSED*", "test_it.py::test_real PASSED*"])


def test_factories_of_a_conftest_win_over_virtual_time(pytester: pytest.Pytester) -> None:
    project(
        pytester,
        "EXPECTED = False" + LOOPS,
        ini="understudy_virtual_time = true\n",
        conftest="import asyncio\ndef pytest_asyncio_loop_factories(): return {'mine': asyncio.SelectorEventLoop}",
    )
    run(pytester).assert_outcomes(passed=2)


def test_virtual_time_without_pytest_asyncio_says_what_it_needs(pytester: pytest.Pytester) -> None:
    pytester.makefile(".ini", pytest="[pytest]\nunderstudy_virtual_time = true\n")
    result = run(pytester, "-p", "no:asyncio")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*understudy_virtual_time needs pytest-asyncio*"])


def test_a_deadlock_fails_the_test_and_not_the_next_one(pytester: pytest.Pytester) -> None:
    project(
        pytester,
        """
@pytest.mark.asyncio
async def test_hangs(actor_system):
    await asyncio.get_running_loop().create_future()

@pytest.mark.asyncio
async def test_passes(actor_system):
    await asyncio.sleep(1)
""",
        ini="understudy_virtual_time = true\n",
    )
    result = run(pytester)
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*DeadlockError: nothing can happen any more*"])


# Simulation

CAMPAIGN = """
import sys, types

class Report:
    def __init__(self, text):
        self.text = text
    def summary(self):
        return self.text

campaign = sys.modules["understudy.testing._campaign"] = types.ModuleType("understudy.testing._campaign")
campaign.REPORTS = []

def run_once(function, kwargs):
    campaign.REPORTS.append(Report(f"ran {function.__name__} with {kwargs}"))
    coroutine = function(sim="the simulation", **kwargs)
    try:
        coroutine.send(None)
    except StopIteration:
        pass

campaign.run_once = run_once
"""

SIMULATED = """
@pytest.fixture
def number():
    return 7

async def test_simulated(sim, number):
    assert (sim, number) == ("the simulation", 7)

class TestClass:
    async def test_method(self, sim):
        assert sim == "the simulation"

async def test_failing(sim):
    assert sim == "another"

def test_sync(sim):
    pass
"""


@pytest.mark.parametrize("mode", ["strict", "auto", "off"])
def test_an_async_test_that_wants_a_simulation_is_run_in_one(pytester: pytest.Pytester, mode: str) -> None:
    project(pytester, SIMULATED, conftest=CAMPAIGN)
    if mode == "off":
        pytester.makefile(".ini", pytest="[pytest]")
    args = ("-p", "no:asyncio") if mode == "off" else ("--asyncio-mode", mode)
    result = run(pytester, *args)
    result.assert_outcomes(passed=2, failed=1, errors=1)
    result.stdout.fnmatch_lines(
        [
            "*the fixture sim is for `async def` tests*",
            "*AssertionError: assert 'the simulation' == 'another'*",
            "*= understudy campaigns =*",
            "ran test_simulated with {'number': 7}",
            "ran test_method with {}",
        ]
    )


def test_the_simulation_of_the_package_is_the_one(pytester: pytest.Pytester) -> None:
    project(
        pytester,
        """
from understudy.testing._campaign import simulate

async def test_once(sim):
    before = asyncio.get_running_loop().time()
    await asyncio.sleep(3600)
    assert asyncio.get_running_loop().time() - before >= 3600
    echo = await sim.system.spawn(Echo)
    assert await echo.ask(Note(value=3)) == 3

async def test_failing(sim):
    assert sim is None

@simulate(schedules=5)
async def test_many(sim):
    await asyncio.sleep(1)
""",
    )
    result = run_apart(pytester)
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(
        ["*AssertionError: assert <*Simulation*> is None*", "*= understudy campaigns =*", "*test_many: 5 schedules*"]
    )


def test_what_workers_have_to_report_is_printed_once(pytester: pytest.Pytester) -> None:
    pytest.importorskip("xdist")
    project(pytester, SIMULATED, conftest=CAMPAIGN)
    result = run_apart(pytester, "-n", "2")
    assert [line for line in result.outlines if line.startswith("ran test_simulated")] == [
        "ran test_simulated with {'number': 7}"
    ]


def test_nothing_is_printed_when_nothing_was_simulated(pytester: pytest.Pytester) -> None:
    project(pytester, "def test_it(): pass", conftest=CAMPAIGN)
    assert "campaigns" not in run(pytester).stdout.str()


# The guide


def test_the_tests_of_the_guide_pass_as_they_stand(pytester: pytest.Pytester) -> None:
    text = (ROOT / "docs" / "testing.md").read_text("utf-8")
    files = re.findall(r"^```(?:python|py|ini)\n# ([\w.]+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    names = [name for name, _ in files]
    assert names == ["meters.py", "test_system.py", "test_probe.py", "pytest.ini", "conftest.py", "test_clock.py"]
    for name, body in files:
        (pytester.path / name).write_text(body)
    result = run_apart(pytester, "-p", "no:cacheprovider")
    result.assert_outcomes(passed=4)


# Cost


def test_the_plugin_costs_nothing_when_it_is_not_used(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(
        """
import sys

def pytest_sessionfinish():
    modules = {name.partition(".")[0] for name in sys.modules}
    print("LOADED", sorted(modules & {"understudy", "pydantic", "structlog", "tenacity", "_understudy_pytestplugin"}))
"""
    )
    pytester.makepyfile("def test_it(): pass")
    result = run_apart(pytester, "-s", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=1)
    assert f"LOADED ['{PLUGIN}']" in result.stdout.str()


def test_importing_the_plugin_loads_nothing_but_pytest() -> None:
    code = f"""
import sys, pytest
before = set(sys.modules)
import {PLUGIN}
print(sorted(set(sys.modules) - before - {{"{PLUGIN}"}}))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=50, check=True)
    assert done.stdout.strip() == "[]"


def test_the_project_names_the_plugin_and_ships_it() -> None:
    table = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    assert table["project"]["entry-points"]["pytest11"] == {"understudy": PLUGIN}
    assert f"src/{PLUGIN}.py" in table["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert (ROOT / "src" / f"{PLUGIN}.py").exists()
