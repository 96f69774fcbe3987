"""The tree: a pool of readers, tasks that ask it, and the survey.

folder_of_files
    readers             a worker pool
        0 ...           read a file, or crash on it
    tasks               one for each file that is under way
    survey              prints what they have found
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from understudy import ChildSpec, Supervisor, TaskSupervisor, UsageError, WorkerPool, child

from .actors import Reader, Survey

__all__ = ["FolderOfFiles", "Readers", "program"]

LETTERS = Path(__file__).with_name("letters")


class Readers(WorkerPool):
    """Shares the files out."""

    # Each file that is no text is a crash, and a folder may hold nothing else.
    max_restarts, max_seconds = 10_000, 1.0

    def __init__(self, workers: int) -> None:
        self.workers = workers

    def worker(self) -> ChildSpec:
        return child(Reader)


class FolderOfFiles(Supervisor):
    """Says what is in the text files of a folder."""

    max_restarts = 0

    def __init__(self, folder: Path, workers: int) -> None:
        self.folder = folder
        self.workers = workers

    @classmethod
    def from_args(cls, args: Sequence[str]) -> ChildSpec:
        """Understand the command line."""
        given = _arguments().parse_args(args)
        folder: Path = given.folder
        if not folder.is_dir():
            raise UsageError(f"there is no folder {folder}")
        if given.workers < 1:
            raise UsageError(f"workers must be a number from 1 up, got {given.workers}")
        return child(cls, folder, given.workers)

    def children(self) -> list[ChildSpec]:
        files = sorted(path for path in self.folder.rglob("*.txt") if path.is_file())
        return [
            child(Readers, self.workers),
            child(TaskSupervisor).options(name="tasks"),
            child(Survey, self.folder, files),
        ]


class _Arguments(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(message)


def _arguments() -> argparse.ArgumentParser:
    parser = _Arguments("understudy run examples/folder_of_files --", description=FolderOfFiles.__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=LETTERS, help="default: some letters")
    parser.add_argument("--workers", type=int, default=2, help="how many files are read at once (default: %(default)s)")
    return parser


program = FolderOfFiles
