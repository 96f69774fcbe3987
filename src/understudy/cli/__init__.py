"""The command ``understudy``: run a supervised program from a terminal.

    understudy run TARGET [--quiet] [--log-format console|json] [--tree] [-- ARGS]

It needs the extra ``cli``. What the program prints goes to stdout; log and progress go to stderr.

Exit codes:
    0       the program came to its end, or was stopped in order by Ctrl-C or SIGTERM
    1       its root collapsed or did not start; the chain of causes is on stderr
    2       the arguments make no sense; one sentence on stderr says why
    130     a second Ctrl-C killed it (143: a second SIGTERM)
"""

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
        for extra in ("rich", "typer"):
            import_module(extra)
    except ModuleNotFoundError as missing:
        print(f'understudy: the command line needs {missing.name}: pip install "understudy[cli]"', file=sys.stderr)
        return 2
    from understudy.cli._app import run_app

    return run_app(args)
