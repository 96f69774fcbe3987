"""The example of the streams prints what its README says."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import understudy
from examples.token_stream.actors import Model, Tokens
from examples.token_stream.program import TokenStream
from tests.cast import Recorder
from tests.examples.test_docs import blocks
from understudy import ActorSystem
from understudy.cli import main

EXAMPLE = Path(__file__).parents[2] / "examples" / "token_stream"
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
    assert done.stdout == commands()["run examples/token_stream"]


@pytest.fixture
def imports(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(sys, "path", sys.path.copy())
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] == "token_stream"]:
        del sys.modules[name]


@pytest.mark.usefixtures("imports")
def test_its_tree_is_drawn_as_its_readme_says(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tree", str(EXAMPLE)]) == 0
    assert capsys.readouterr().out == commands()["tree examples/token_stream"]


@pytest.mark.asyncio
async def test_it_ends_by_itself_and_nobody_but_the_model_has_crashed(capsys: pytest.CaptureFixture[str]) -> None:
    recorder = Recorder()
    async with ActorSystem(TokenStream, instruments=[recorder]) as system:
        await system.wait_stopped()
    assert [path for path, *_ in recorder.of("actor_crashed")] == ["/user/token_stream/model"] * 2
    assert recorder.letters == []
    printed = capsys.readouterr().out.splitlines()
    assert [line for line in commands()["run examples/token_stream"].splitlines() if line not in printed] == []


@pytest.mark.asyncio
async def test_the_model_says_the_prompt_backwards() -> None:
    async with ActorSystem() as system:
        model = await system.spawn(Model)
        assert [word async for word in model.stream(Tokens(prompt="a b c"))] == ["c", "b", "a"]
