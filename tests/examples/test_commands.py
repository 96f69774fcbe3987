"""The commands of the READMEs in `examples` print what stands below them."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import pytest

from tests.examples.stage import EXAMPLES, ROOT, commands, run
from understudy.cli import main

PAGES = sorted(EXAMPLES.glob("*/README.md"))
COMMANDS = {command: output for page in PAGES for command, output in commands(page).items()}
TREES = [command for command in COMMANDS if command.startswith("understudy tree ")]
RUNS = [command for command in COMMANDS if command.startswith("understudy run ")]
"""These need no process of their own: `tests/cli` shows that the command is the same in one. A process takes as long to
start as most of them to run."""
LOGGING = {"python -m examples.remote_bank.program"}
"""Programs whose log tells of the crashes that they are about."""


@pytest.mark.parametrize("command", [command for command in COMMANDS if command not in TREES + RUNS])
def test_it_prints_what_its_readme_says(command: str) -> None:
    program, *arguments = shlex.split(command)
    done = run(*({"understudy": ["-m", "understudy"], "python": []}[program]), *arguments, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert done.stdout == COMMANDS[command]
    if command in LOGGING:
        assert "Traceback" not in done.stderr  # but the log
    else:
        assert done.stderr == ""


@pytest.fixture
def in_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "path", sys.path.copy())


@pytest.mark.parametrize("command", RUNS)
@pytest.mark.usefixtures("in_the_root")
def test_the_program_prints_what_its_readme_says(command: str, capfd: pytest.CaptureFixture[str]) -> None:
    status = main(shlex.split(command)[1:])
    out, err = capfd.readouterr()
    assert status == 0, err
    assert out == COMMANDS[command]
    assert "Traceback" not in err  # but the log


@pytest.mark.parametrize("command", TREES)
@pytest.mark.usefixtures("in_the_root")
def test_it_shows_the_tree_that_its_readme_shows(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(shlex.split(command)[1:]) == 0
    assert capsys.readouterr() == (COMMANDS[command], "")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.parent.name)
def test_each_readme_has_a_command(page: Path) -> None:
    assert commands(page) != {}
