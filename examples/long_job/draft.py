"""What is on disk of a job that has not ended: its results so far, a line for each part."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

__all__ = ["Draft"]


class Draft:
    """A file beside that of the job, which takes its place when all parts are there.

    Each line is written whole and handed to the operating system before the part counts as done. So it survives a crash
    of the actor and of the process; of a power failure it does not know (there is no ``fsync``). A line that was torn
    in the middle is dropped, and so is a draft of another job under the same name.
    """

    def __init__(self, path: Path, title: str) -> None:
        self.path = path
        self.title = title
        self.draft = path.with_name(f"{path.name}.draft")
        self.counts = self._found()
        self._write_anew()

    def add(self, count: int) -> None:
        """The next part is done."""
        with self.draft.open("a") as file:
            file.write(f"{count}\n")
        self.counts.append(count)

    def finish(self) -> None:
        """All parts are done: the draft becomes the file, which is there whole or not at all."""
        os.replace(self.draft, self.path)

    def discard(self) -> None:
        """Leave nothing."""
        self.draft.unlink(missing_ok=True)

    def _found(self) -> list[int]:
        """The parts that an earlier life has left behind."""
        try:
            title, *lines = self.draft.read_text().splitlines(keepends=True)
        except (FileNotFoundError, ValueError):  # none; or empty, or no text
            return []
        if title != f"{self.title}\n":
            return []
        counts: list[int] = []
        with contextlib.suppress(ValueError):
            for line in lines:
                if not line.endswith("\n"):
                    break
                counts.append(int(line))
        return counts

    def _write_anew(self) -> None:
        other = self.draft.with_name(f"{self.draft.name}.new")
        other.write_text("".join(f"{line}\n" for line in [self.title, *self.counts]))
        os.replace(other, self.draft)
