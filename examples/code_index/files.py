"""Which files are read."""

from __future__ import annotations

import os
import sysconfig
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

__all__ = ["BROKEN", "default_folders", "python_files"]

BROKEN = Path(__file__).resolve().parent / "broken"
"""Files that no supported Python can parse, each in its own way."""

_LEFT_OUT = {"__pycache__", "dist-packages", "site-packages"}


def default_folders() -> list[Path]:
    """The standard library of the Python that runs this, its tests included, and the broken files."""
    return [Path(sysconfig.get_path("stdlib")), BROKEN]


def python_files(folders: Iterable[Path], complain: Callable[[OSError], object] | None = None) -> Iterator[Path]:
    """Each Python file in *folders* and below, once, also when the folders overlap; lazily, a folder at a time.

    Folders of installed packages are left out, unless they are given themselves. Links to folders are not followed.
    A folder that cannot be read is reported to *complain* and passed over.
    """
    seen: set[Path] = set()
    for top in folders:
        for folder, inner, names in os.walk(top, onerror=complain):
            inner[:] = sorted(set(inner) - _LEFT_OUT)
            for name in sorted(names):
                path = Path(folder, name)
                if name.endswith(".py") and path.is_file() and (real := path.resolve()) not in seen:
                    seen.add(real)
                    yield path
