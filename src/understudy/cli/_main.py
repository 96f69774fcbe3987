"""Where the command begins: it imports neither typer nor rich, but sees whether they are there."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]


def main(args: Sequence[str] | None = None) -> int:
    """Do what *args* say, by default those of this process, and return the exit code."""
    try:
        return _main(args)
    except KeyboardInterrupt:  # before there was anything to stop
        return 130


def _main(args: Sequence[str] | None) -> int:
    try:
        for extra in ("rich", "typer"):
            import_module(extra)
    except ModuleNotFoundError as missing:
        print(f'understudy: the command line needs {missing.name}: pip install "understudy[cli]"', file=sys.stderr)
        return 2
    from understudy.cli._app import run_app

    return run_app(args)
