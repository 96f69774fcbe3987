"""The README's first example is a program: it runs as it is written, in a process of its own, and prints what it says.

Its other examples are run by `test_docs.py`, with those of the other pages.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.examples.stage import ROOT, run
from tests.examples.test_docs import Block, blocks

README = ROOT / "README.md"


def first_example() -> tuple[Block, Block]:
    """The first example and what it prints."""
    program, output = [block for block in blocks(README) if block.language in ("python", "text")][:2]
    assert (program.language, output.language) == ("python", "text")
    return program, output


def printed_by(program: str, folder: Path) -> str:
    (folder / "meters.py").write_text(program, "utf-8")
    done = run("meters.py", cwd=folder)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_the_first_example_runs_as_written_and_prints_what_the_readme_says(tmp_path: Path) -> None:
    program, output = first_example()
    assert printed_by(program.text, tmp_path) == output.text


def test_the_first_example_runs_under_asyncio_run_as_well(tmp_path: Path) -> None:
    program, output = first_example()
    changed = program.text.replace("\nunderstudy.run(", "\nimport asyncio\nasyncio.run(")
    assert changed != program.text
    assert printed_by(changed, tmp_path) == output.text


@pytest.mark.parametrize("target", ["demo", "test"])
def test_the_make_targets_that_the_readme_names_exist(target: str) -> None:
    assert re.search(rf"^make {target}\b", README.read_text("utf-8"), re.MULTILINE)
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
