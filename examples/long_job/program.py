"""The tree: a place for the results, the counter, and the client.

long_job                ends with the client
    workshop            has the folder; up first, so it goes last
    counter             counts primes, part by part, in a thread
    client              orders and follows; it has nothing to lose, so it goes at once
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from understudy import ChildSpec, Supervisor, UsageError, child

from .actors import Client, Counter, Glitch, Work, Workshop, primes_between

__all__ = ["LongJob", "program"]


class LongJob(Supervisor):
    """Counts primes: to the end, through a crash, and until it is called off."""

    auto_shutdown = "any_significant"

    def __init__(
        self, folder: Path | None = None, below: int = 100_000, parts: int = 5, work: Work = primes_between
    ) -> None:
        self.folder = folder
        self.below, self.parts = below, parts
        self.work = work

    @classmethod
    def from_args(cls, args: Sequence[str]) -> ChildSpec:
        """Understand the command line."""
        given = _arguments().parse_args(args)
        folder: Path | None = given.folder
        if folder is not None and not folder.is_dir():
            raise UsageError(f"there is no folder {folder}")
        if not 3 <= given.parts <= given.below:
            raise UsageError(f"parts must be from 3 up to {given.below}, got {given.parts}")
        return child(cls, folder, given.below, given.parts)

    def children(self) -> list[ChildSpec]:
        glitch = Glitch(self.work)
        return [
            child(Workshop, self.folder),
            child(Counter, glitch),
            child(Client, glitch, self.below, self.parts).options(
                restart="temporary", significant=True, shutdown="brutal_kill"
            ),
        ]


class _Arguments(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(message)


def _arguments() -> argparse.ArgumentParser:
    parser = _Arguments("understudy run examples/long_job --", description=LongJob.__doc__)
    parser.add_argument("folder", nargs="?", type=Path, help="for the results; by default one that is removed again")
    parser.add_argument("--below", type=int, default=100_000, help="count primes below that (default: %(default)s)")
    parser.add_argument("--parts", type=int, default=5, help="in so many parts (default: %(default)s)")
    return parser


program = LongJob
