"""The readers, and the one who wants to know what is in the files."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Never

from understudy import Actor, ActorFailed, Message, Pool, Tasks, handler

__all__ = ["Facts", "Read", "Reader", "Survey"]


@dataclass(frozen=True)
class Facts:
    """What is to be said of a file."""

    lines: int
    words: int
    digest: str


class Read(Message[Facts]):
    """Read a file."""

    path: Path


class Reader(Actor[Read]):
    """Reads text files. One that is no text, or cannot be read, crashes it, which costs that one job."""

    @handler
    async def read(self, message: Read) -> Facts:
        # A file is read in a thread, so that a slow disk holds up nobody else.
        data = await asyncio.to_thread(message.path.read_bytes)
        text = data.decode()
        return Facts(len(text.splitlines()), len(text.split()), hashlib.sha256(data).hexdigest())


class Begin:
    """To the survey, from itself."""


class Survey(Actor[Never]):
    """Has all files read, prints what there is to say, and ends the program."""

    def __init__(self, folder: Path, files: Sequence[Path]) -> None:
        self.folder = folder
        self.files = files

    def initialize(self) -> None:
        self.context.tell_self(Begin())

    @handler
    async def _begin(self, message: Begin) -> None:
        lookup = self.context.system.lookup
        readers: Pool[Read] = Pool(lookup("folder_of_files/readers"), Reader)
        tasks = Tasks(lookup("folder_of_files/tasks"))

        async def read(path: Path) -> Facts | ActorFailed:
            try:
                return await readers.ask(Read(path=path), timeout=60.0)
            except ActorFailed as failed:
                return failed

        same: dict[str, list[str]] = {}
        failed = 0
        # Twice as many at a time as there are readers: then each finds its next file in the queue.
        found = tasks.map(read, self.files, max_concurrency=2 * len(readers.refs))
        for path in self.files:
            facts = await anext(found)
            name = path.relative_to(self.folder).as_posix()
            if isinstance(facts, ActorFailed):
                failed += 1
                print(f"{name}: {type(facts.__cause__).__name__}")
            else:
                same.setdefault(facts.digest, []).append(name)
                print(f"{name}: {facts.lines} lines, {facts.words} words")
        for names in same.values():
            if len(names) > 1:
                print(f"the same: {', '.join(names)}")
        print(f"{len(self.files)} files, {failed} could not be read")
        self.context.system.stop("all is read")
