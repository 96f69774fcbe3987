"""A virtual environment for each peer, with the oldest Python that is there and new enough for it."""

from __future__ import annotations

import shutil
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path

__all__ = ["PACKAGES", "Package", "Skipped", "interpreters"]

NEWER = ("3.12", "3.13", "3.14")


class Skipped(Exception):
    """A peer cannot be measured here; says why."""


@dataclass(frozen=True)
class Package:
    """Something to install and to measure."""

    name: str
    """What it is called where it is installed from."""
    requirement: str
    python: tuple[int, int] = (3, 11)
    """What it needs at least."""

    @property
    def module(self) -> str:
        """The script that measures it."""
        return f"benchmarks.peers.{self.name.replace('-', '_')}"

    def interpreter(self, folder: Path) -> Path:
        """The Python of its environment in *folder*, which is made if need be.

        Raises:
            Skipped: There is no Python for it, or it cannot be installed.
        """
        home = folder / self.name
        python, stamp = home / "bin" / "python", home / ".made"
        if stamp.is_file() and stamp.read_text(encoding="utf-8") == self.requirement:
            return python
        self._make(home)
        command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", self.requirement]
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - ourselves
        if done.returncode != 0:
            errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR: ")]
            raise Skipped(f"pip install '{self.requirement}' failed: {' '.join(errors) or done.stderr[-300:]}")
        stamp.write_text(self.requirement, encoding="utf-8")
        return python

    def _make(self, home: Path) -> None:
        if sys.version_info[:2] >= self.python:
            venv.create(home, clear=True, with_pip=True)
            return
        for version in NEWER:
            if tuple(map(int, version.split("."))) < self.python:
                continue
            for found in interpreters(version):
                done = subprocess.run([found, "-m", "venv", "--clear", str(home)], capture_output=True, check=False)  # noqa: S603
                if done.returncode == 0:
                    return
        raise Skipped(f"it needs Python {self.python[0]}.{self.python[1]} or newer, and there is none here")


def interpreters(version: str) -> list[str]:
    """The one on the path, and those of pyenv, newest first."""
    found = [path] if (path := shutil.which(f"python{version}")) else []
    if pyenv := shutil.which("pyenv"):
        done = subprocess.run([pyenv, "root"], capture_output=True, text=True, check=False)  # noqa: S603
        versions = Path(done.stdout.strip() or "/nowhere") / "versions"
        found += [str(each / "bin" / "python") for each in sorted(versions.glob(f"{version}*"), reverse=True)]
    return found


PACKAGES = (
    Package("pyventus", "pyventus>=0.8"),
    Package("bubus", "bubus>=1.5"),
    Package("pykka", "pykka>=4.5"),
    Package("async-pykka", "async-pykka>=0.1.4", (3, 12)),
    Package("otpylib", "otpylib>=0.5.18"),
    Package("casty", "casty>=0.30.2", (3, 12)),
    Package("domo-actors", "domo-actors>=1.0.1"),
    Package("everything-is-an-actor", "everything-is-an-actor>=0.1.6", (3, 12)),
    Package("autogen-core", "autogen-core>=0.7.5"),
    Package("xoscar", "xoscar>=0.12"),
    Package("thespian", "thespian>=4.0.1"),
)
