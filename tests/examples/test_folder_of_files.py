"""The example of the worker pool prints what its README says, and reads any folder."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import understudy
from examples.folder_of_files.program import FolderOfFiles
from tests.cast import Recorder
from tests.examples.test_docs import blocks
from understudy import ActorSystem, UsageError
from understudy.cli import main

EXAMPLE = Path(__file__).parents[2] / "examples" / "folder_of_files"
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
    assert done.stdout == commands()["run examples/folder_of_files"]
    assert "Traceback" not in done.stderr


@pytest.fixture
def imports(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(sys, "path", sys.path.copy())
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] == "folder_of_files"]:
        del sys.modules[name]


@pytest.mark.usefixtures("imports")
def test_its_tree_is_drawn_as_its_readme_says(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tree", str(EXAMPLE)]) == 0
    assert capsys.readouterr().out == commands()["tree examples/folder_of_files"]


@pytest.mark.real_time
@pytest.mark.asyncio
async def test_every_file_of_a_folder_is_read_once_however_many_crash_their_reader(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(60):
        broken = number % 4 == 0
        (tmp_path / f"{number:02}.txt").write_bytes(b"\xff" if broken else b"word " * number)
    recorder = Recorder()
    async with ActorSystem(
        FolderOfFiles.from_args([str(tmp_path), "--workers", "5"]), instruments=[recorder]
    ) as system:
        await system.wait_stopped()
    printed = capsys.readouterr().out.splitlines()
    assert [line for line in printed if "words" in line] == [
        f"{number:02}.txt: 1 lines, {number} words" for number in range(60) if number % 4
    ]
    assert "60 files, 15 could not be read" in printed
    assert len(recorder.of("actor_restarting")) == 15
    assert recorder.letters == []


@pytest.mark.parametrize("args", [["/nowhere/at/all"], ["--workers", "0"], ["--speed", "9"]])
def test_arguments_that_make_no_sense_are_refused(args: list[str]) -> None:
    with pytest.raises(UsageError):
        FolderOfFiles.from_args(args)
