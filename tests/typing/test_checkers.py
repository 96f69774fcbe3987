"""Both type checkers accept what is right, with the types that we want, and refuse what is wrong."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent.parent
README = ROOT / "README.md"
RIGHT = Path(__file__).with_name("right_uses.py")
OLD = Path(__file__).with_name("old_uses.py")
WRONG = Path(__file__).with_name("wrong_uses.py")

Errors = set[tuple[str, int, str]]
"""Of each the file's name, the line, and the checker's code for it."""

CHECKERS = {"mypy": "type", "pyright": "pyright"}
"""The word that each checker has before its `ignore[code]`."""

COMMENT = re.compile(r"\s*#\s*(?P<word>type|pyright): ignore\[(?P<codes>[\w, -]+)\]")


@pytest.mark.checkers
@pytest.mark.timeout(240)
@pytest.mark.parametrize("checker", CHECKERS)
def test_a_type_checker_finds_exactly_the_errors_that_are_announced(checker: str, tmp_path: Path) -> None:
    # Without the comments nothing is silenced: the checker has to say all that it finds.
    wrong = tmp_path / WRONG.name
    wrong.write_text(COMMENT.sub("", WRONG.read_text(encoding="utf-8")), encoding="utf-8")

    found = RUN[checker](RIGHT, OLD, wrong, *_readme(tmp_path))

    announced = _announced(CHECKERS[checker])
    assert announced, "nothing is announced"
    assert found - announced == set(), "not announced"
    assert announced - found == set(), "announced, but not found"


def test_every_line_that_one_checker_must_refuse_the_other_must_refuse_too() -> None:
    mypy, pyright = ({line for _, line, _ in _announced(word)} for word in CHECKERS.values())
    assert mypy == pyright


def _readme(folder: Path) -> list[Path]:
    """The first example of the README, as a file."""
    example = re.search(r"^```python\n(.*?)^```$", README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    if example is None:
        return []
    file = folder / "readme_example.py"
    file.write_text(example[1], encoding="utf-8")
    return [file]


def _announced(word: str) -> Errors:
    return {
        (WRONG.name, number, code.strip())
        for number, line in enumerate(WRONG.read_text(encoding="utf-8").splitlines(), start=1)
        for comment in COMMENT.finditer(line)
        if comment["word"] == word
        for code in comment["codes"].split(",")
    }


def _mypy(*files: Path) -> Errors:
    printed = _printed("mypy", "--output", "json", "--no-error-summary", "--hide-error-context", *map(str, files))
    errors: Errors = set()
    for line in printed.splitlines():
        assert line.startswith("{"), printed
        error: dict[str, Any] = json.loads(line)
        if error["severity"] == "error":
            errors.add((Path(error["file"]).name, error["line"], error["code"]))
    return errors


def _pyright(*files: Path) -> Errors:
    printed = _printed("pyright", "--outputjson", "--pythonpath", sys.executable, *map(str, files))
    assert printed.startswith("{"), printed
    diagnostics: list[dict[str, Any]] = json.loads(printed)["generalDiagnostics"]
    return {
        (Path(found["file"]).name, found["range"]["start"]["line"] + 1, found.get("rule", found["message"]))
        for found in diagnostics
        if found["severity"] == "error"
    }


RUN: dict[str, Callable[..., Errors]] = {"mypy": _mypy, "pyright": _pyright}


def _printed(checker: str, *arguments: str) -> str:
    """What the checker prints, with the settings of this project."""
    command = [sys.executable, "-m", checker, *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), f"{checker} did not do its work:\n{done.stdout}{done.stderr}"
    return done.stdout
