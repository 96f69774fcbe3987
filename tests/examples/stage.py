"""What the tests of the examples share: the commands of a README, and a process to run them in."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import understudy
from tests.examples.test_docs import blocks

__all__ = ["EXAMPLES", "ROOT", "TIMEOUT", "commands", "environment", "run"]

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
TIMEOUT = 60.0  # seconds


def commands(page: Path) -> dict[str, str]:
    """The commands of *page*, and what it says that they print."""
    texts = [block.text.partition("\n") for block in blocks(page) if block.language == "console"]
    return {command.removeprefix("$ "): output for command, _, output in texts}


def environment(*folders: Path) -> dict[str, str]:
    """That of a process which imports understudy as it is tested here, and what is in *folders*."""
    path = [str(Path(understudy.__file__).parents[1]), *map(str, folders)]
    return os.environ | {"PYTHONPATH": os.pathsep.join(path), "PYTHONUTF8": "1"}


def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run this Python in *cwd*, with every warning an error, to its end."""
    return subprocess.run(
        [sys.executable, "-W", "error", *arguments],
        cwd=cwd,
        capture_output=True,
        encoding="utf-8",
        env=environment(),
        timeout=TIMEOUT,
        check=False,
    )
