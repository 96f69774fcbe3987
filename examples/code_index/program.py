"""The supervision tree of the code index, and its arguments.

    code_index                  any failure but a parser's is a mistake in this program, and ends it
        reporter                says how far it is
        index                   collects
        parsers                 owns the worker processes
            parser-1 ...        crash on files that cannot be parsed
        walker                  finds the files
        feeders
            feeder-1 ...        take a file from the walker, ask a parser

**How the event loop stays responsive.** Parsing is computing: it would hold the loop for up to a fifth of a second a
file, and nothing else would run meanwhile, no other actor, no progress line, no Ctrl-C. A thread would not help, since
it holds the interpreter's lock just as long. So the parsers hand each file to a process and await the result, which is
an ordinary await to the loop. The processes belong to `Parsers`, the supervisor: it opens them before its first child
starts, and closes them after its last child has ended. What comes back from them is small: the names that a file
defines, not its syntax tree. There are twice as many parsers as processes, so that the next file is waiting at each
process when it has done the last one, although a parser has only one in hand.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from understudy import ChildSpec, ExitReason, Supervisor, UsageError, child, supervisor

from .crew import Feeder, Index, Parser, Reporter, Walker
from .files import default_folders, python_files
from .workers import Workers

__all__ = ["CodeIndex", "Parsers", "program"]

MOST = 60  # processes; the limit of Windows is 61


class Parsers(Supervisor):
    """The parsers and the processes they use."""

    # A crash is no news here: each file that cannot be parsed is one, and a folder may hold nothing else. The usual 3
    # in 5 seconds would take the fourth such file for a fault of the program. But a file is read and sent to a process
    # and back before it crashes a parser, which bounds their rate: of 4,000 files of one bad line each, some 50 did so
    # within 0.05 s. Parsers that cannot even start, because their processes do not come up, fail some 400 times in that
    # time, and restarts do not help them. The limit lies between the two.
    max_restarts, max_seconds = 150, 0.05

    def __init__(self, workers: int) -> None:
        self.workers = Workers(workers)

    def children(self) -> list[ChildSpec]:
        numbers = range(1, 2 * self.workers.count + 1)
        return [child(Parser, self.workers).options(name=f"parser-{number}") for number in numbers]

    def initialize(self) -> None:
        self.workers.open()

    async def shutdown(self, reason: ExitReason) -> None:
        await self.workers.close()


class CodeIndex(Supervisor):
    """Indexes all Python files in *folders* and prints a summary, and where *query* is defined."""

    max_restarts = 0

    def __init__(self, folders: Sequence[Path], *, workers: int, query: str | None = None) -> None:
        self.folders = folders
        self.workers = workers
        self.query = query

    @classmethod
    def from_args(cls, args: Sequence[str]) -> ChildSpec:
        """Understand the command line; `understudy run examples/code_index -- --help` prints what there is."""
        given = _arguments().parse_args(args)
        folders: list[Path] = given.folders or default_folders()
        for folder in folders:
            if not folder.is_dir():
                raise UsageError(f"{folder} is not a folder" if folder.exists() else f"there is no folder {folder}")
        if next(python_files(folders), None) is None:
            raise UsageError(f"there are no Python files in {', '.join(map(str, folders))}")
        return child(cls, folders, workers=given.workers, query=given.query)

    def children(self) -> list[ChildSpec]:
        numbers = range(1, 2 * self.workers + 1)
        feeders = [
            # What a feeder has in hand is a wait for its parser: there is nothing in it to be finished or put in order.
            child(Feeder, number).options(name=f"feeder-{number}", restart="transient", shutdown="brutal_kill")
            for number in numbers
        ]
        return [
            child(Reporter, self.query),
            child(Index),
            child(Parsers, self.workers),
            child(Walker, self.folders, len(feeders)),
            supervisor("feeders", *feeders, max_restarts=0),
        ]


class _Arguments(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(message)


def _arguments() -> argparse.ArgumentParser:
    parser = _Arguments("understudy run examples/code_index --", description=CodeIndex.__doc__, allow_abbrev=False)
    parser.add_argument("folders", nargs="*", type=Path, help="default: the standard library, and broken files")
    parser.add_argument("--query", type=_name, metavar="NAME", help="say where this name is defined")
    parser.add_argument("--workers", type=_count, default=_processors(), help="processes (default: %(default)s)")
    return parser


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= MOST:
        raise argparse.ArgumentTypeError(f"must be a number from 1 to {MOST}, got {text!r}")
    return int(text)


def _name(text: str) -> str:
    if not all(part.isidentifier() for part in text.split(".")):
        raise argparse.ArgumentTypeError(f"must be a name, got {text!r}")
    return text


def _processors() -> int:
    return min(os.cpu_count() or 1, MOST)


program = CodeIndex
