"""The example of the strategies prints what its README says."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import understudy
from examples.strategies.actors import Curtain, Director, Scene
from examples.strategies.program import SCENES, Strategies
from tests.cast import Recorder
from tests.examples.test_docs import blocks
from understudy import ActorNotFound, ActorSystem, Crashed, child
from understudy.cli import main

EXAMPLE = Path(__file__).parents[2] / "examples" / "strategies"
TIMEOUT = 60.0


def commands() -> dict[str, str]:
    """The commands of the README and what they print."""
    texts = [block.text.partition("\n") for block in blocks(EXAMPLE / "README.md") if block.language == "console"]
    return {command.removeprefix("$ understudy "): output for command, _, output in texts}


def test_it_runs_and_prints_what_its_readme_says() -> None:
    path = os.pathsep.join([str(Path(understudy.__file__).parents[1]), str(EXAMPLE.parent)])
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "understudy", "run", str(EXAMPLE)],
        capture_output=True,
        encoding="utf-8",
        env=os.environ | {"PYTHONPATH": path, "PYTHONUTF8": "1"},
        timeout=TIMEOUT,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == commands()["run examples/strategies"]
    assert "Traceback" not in done.stderr


@pytest.fixture
def imports(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(sys, "path", sys.path.copy())
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] == "strategies"]:
        del sys.modules[name]


@pytest.mark.usefixtures("imports")
def test_its_tree_is_drawn_as_its_readme_says(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tree", str(EXAMPLE)]) == 0
    assert capsys.readouterr().out == commands()["tree examples/strategies"]


@pytest.mark.asyncio
async def test_only_those_that_the_strategy_concerns_are_restarted(capsys: pytest.CaptureFixture[str]) -> None:
    async with ActorSystem(Strategies) as system:
        await system.lookup("strategies/director", Director).wait_stopped()
    printed = capsys.readouterr().out.splitlines()
    titles = [scene.title for scene in SCENES]
    assert [line for line in printed if line in titles] == titles
    starts = [line.removeprefix("  start ") for line in printed if line.startswith("  start ")]
    assert {name for name in starts if starts.count(name) == 1} == {
        *("till-2", "reader", "parser", "writer", "cache", "web", "boiler", "turbine", "frame")
    }
    assert starts.count("pane") == 2


@pytest.mark.asyncio
async def test_a_scene_with_nobody_in_it_is_a_failure_of_the_director() -> None:
    ear = Recorder()
    async with ActorSystem(instruments=[ear]) as system:
        scene = Scene("nobody", "nobody", last="nobody")
        director = await system.spawn(child(Director, Curtain(), [scene]).options(restart="temporary"))
        async with asyncio.timeout(1.0):
            reason = await director.wait_stopped()
        assert isinstance(reason, Crashed)
        assert isinstance(reason.error, ActorNotFound)
