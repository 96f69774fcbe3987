"""The pytest plugin of understudy.

It lives outside of the package, because pytest imports it in every run of every project that has understudy installed:
importing a module of the package would import all of the package, before any measuring of coverage begins. So this file
imports nothing but pytest until something of it is used.

Fixtures: ``actor_system``, ``probe``, ``sim``. Marker: ``real_time``. Ini option: ``understudy_virtual_time``.
"""

from __future__ import annotations

import inspect
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping

    from understudy.system import ActorSystem
    from understudy.testing._probe import TestProbe

_NEEDS = "needs pytest-asyncio, which is not installed, or is switched off: pip install 'pytest-asyncio>=1.5'"
_CAMPAIGN = "understudy.testing._campaign"
_OUTPUT = "understudy_campaigns"
"""Under which a worker of pytest-xdist hands its summaries to the process that prints them."""

_summaries = pytest.StashKey[list[str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the ini option."""
    parser.addini(
        "understudy_virtual_time",
        "run all async tests on understudy's VirtualLoop, except those marked real_time",
        type="bool",
        default=False,
    )


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker, and add what depends on pytest-asyncio."""
    config.addinivalue_line(
        "markers", "real_time: run this async test on an ordinary event loop, in real time, instead of a virtual one"
    )
    config.stash[_summaries] = []
    has_asyncio = config.pluginmanager.hasplugin("asyncio")
    config.pluginmanager.register(_fixtures() if has_asyncio else _missing(), "understudy-fixtures")
    if config.getini("understudy_virtual_time"):
        if not hasattr(config.hook, "pytest_asyncio_loop_factories"):
            raise pytest.UsageError(f"understudy_virtual_time {_NEEDS}")
        config.pluginmanager.register(_VirtualTime(), "understudy-virtual-time")
    if config.pluginmanager.hasplugin("xdist"):
        config.pluginmanager.register(_FromWorkers(config), "understudy-workers")


class _VirtualTime:
    """Not part of the module: where there is such a hook, pytest-asyncio parametrises each async test with it."""

    @pytest.hookimpl(optionalhook=True, trylast=True)
    def pytest_asyncio_loop_factories(self, item: pytest.Item) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
        """A virtual loop for each test, unless a conftest.py knows better."""
        from understudy.testing._virtual import loop_factories  # noqa: PLC0415 - see the module

        return loop_factories(item)


# Fixtures


def _fixtures() -> ModuleType:
    """``actor_system`` and ``probe``; pytest-asyncio has been imported already, by pytest."""
    import pytest_asyncio  # noqa: PLC0415 - see the module

    @pytest_asyncio.fixture
    async def actor_system() -> AsyncIterator[ActorSystem]:
        """An empty, running ActorSystem on the test's event loop, closed after the test."""
        from understudy.system import ActorSystem  # noqa: PLC0415 - see the module

        async with ActorSystem() as system:
            yield system

    @pytest.fixture
    def probe(actor_system: ActorSystem) -> Callable[..., Awaitable[TestProbe]]:
        """Starts a TestProbe in the actor_system, when awaited; takes a name for it, or none."""
        from understudy.testing._probe import TestProbe  # noqa: PLC0415 - see the module

        async def start(name: str | None = None) -> TestProbe:
            return await TestProbe.start(actor_system, name)

        return start

    return _module(actor_system=actor_system, probe=probe)


def _missing() -> ModuleType:
    """The same names, to say what they need."""

    @pytest.fixture
    def actor_system() -> None:
        """Needs pytest-asyncio."""
        pytest.fail(f"the fixture actor_system {_NEEDS}", pytrace=False)

    @pytest.fixture
    def probe() -> None:
        """Needs pytest-asyncio."""
        pytest.fail(f"the fixture probe {_NEEDS}", pytrace=False)

    return _module(actor_system=actor_system, probe=probe)


def _module(**fixtures: object) -> ModuleType:
    module = ModuleType("understudy_fixtures")
    vars(module).update(fixtures)
    return module


# The simulation


class _Sim:
    """What pytest knows of the simulation: that the test wants one. It is made when the test runs."""

    def __repr__(self) -> str:
        return "<the simulation of the running test>"


_SIM = _Sim()


@pytest.fixture
def sim(request: pytest.FixtureRequest) -> object:
    """A simulation: `async def test(sim)` runs as one undisturbed schedule; `@simulate` runs many."""
    if _coroutine_of(request.function) is None:
        pytest.fail("the fixture sim is for `async def` tests, which run inside of the simulation", pytrace=False)
    return _SIM


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a test that wants a simulation; not one whose project has a fixture ``sim`` of its own."""
    if pyfuncitem.funcargs.get("sim") is not _SIM:
        return None
    function = _coroutine_of(pyfuncitem.obj)
    if function is None:
        return None
    from understudy.testing._campaign import run_once  # noqa: PLC0415 - see the module

    wanted = inspect.signature(function).parameters
    run_once(function, {name: value for name, value in pyfuncitem.funcargs.items() if name in wanted and name != "sim"})
    return True


def _coroutine_of(function: Any) -> Callable[..., Any] | None:
    """The ``async def`` that *function* is, or wraps: in its mode ``auto`` pytest-asyncio wraps every one."""
    while function is not None and not inspect.iscoroutinefunction(function):
        function = getattr(function, "__wrapped__", None)
    found: Callable[..., Any] | None = function
    return found


# The summary


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what the campaigns of this run have to report; nothing if there were none."""
    summaries = [*terminalreporter.config.stash[_summaries], *_reported()]
    if summaries:
        terminalreporter.section("understudy campaigns")
        for summary in summaries:
            terminalreporter.line(summary)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """In a worker of pytest-xdist: hand over what there is to print."""
    output: dict[str, Any] | None = getattr(session.config, "workeroutput", None)
    if output is not None and (summaries := _reported()):
        output[_OUTPUT] = summaries


class _FromWorkers:
    """Not part of the module: pytest refuses hooks that nobody has declared."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """A worker of pytest-xdist has ended."""
        output: dict[str, Any] = getattr(node, "workeroutput", None) or {}
        self._config.stash[_summaries].extend(output.get(_OUTPUT, ()))


def _reported() -> list[str]:
    reports: Iterable[Any] = getattr(sys.modules.get(_CAMPAIGN), "REPORTS", ())
    return [report.summary() for report in reports]
