"""The example of the checkout prints what its README says."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import understudy
from tests.examples.test_docs import blocks

ROOT = Path(__file__).parents[2]


def test_it_runs_and_prints_what_its_readme_says() -> None:
    (block,) = (each for each in blocks(ROOT / "examples" / "checkout" / "README.md") if each.language == "console")
    command, _, output = block.text.partition("\n")
    path = os.pathsep.join([str(Path(understudy.__file__).parents[1]), str(ROOT)])
    done = subprocess.run(
        [sys.executable, "-W", "error", *command.removeprefix("$ python ").split()],
        cwd=ROOT,
        capture_output=True,
        encoding="utf-8",
        env=os.environ | {"PYTHONPATH": path, "PYTHONUTF8": "1"},
        timeout=60.0,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == output
    assert done.stderr == ""
