"""The simulated disk: files in memory, of which a crash leaves what was synced, and of the rest what chance likes.

It keeps the promises that POSIX makes about crashes, and no others:

- What is in a file is safe once the *file* is synced (``file.sync()``, ``disk.sync(path)``).
- That a name is there, or gone, or another file's, is safe once its *folder* is synced (``disk.sync_dir(path)``).
- A rename is all or nothing.

Everything else is open until then: each write that was not synced may be lost whatever becomes of the others, and the
last that is left may be torn. Undisturbed, a crash loses all of it. Operations take no time and never suspend.
"""

from __future__ import annotations

import copy
import errno
import os
import posixpath
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Literal, overload

from understudy.testing._disk_files import FileMode, SimFile, SimTextFile
from understudy.testing._disk_nodes import File, Folder

if TYPE_CHECKING:
    from understudy.testing._choices import Choices
    from understudy.testing._disk_nodes import Node

__all__ = ["BinaryMode", "SimDisk", "TextMode"]

BinaryMode = Literal["rb", "wb", "ab", "xb", "r+b", "w+b", "a+b", "x+b", "rb+", "wb+", "ab+", "xb+"]
TextMode = Literal["r", "w", "a", "x", "r+", "w+", "a+", "x+", "rt", "wt", "at", "xt"]

Path = str | os.PathLike[str]

OPERATIONS = ("open", "read", "write", "truncate", "sync", "sync_dir", "rename", "remove", "mkdir", "listdir")
TEAR_PROBABILITY = 0.5


@dataclass
class _Failure:
    pattern: str
    error: OSError
    operation: str | None
    times: int


class SimDisk:
    """The disk of one simulated run; see the module for what survives a crash.

    A path is absolute or counts from the root; ``.`` and ``..`` are resolved in the text. The root is there, all other
    folders are made with :meth:`mkdir`. There are no links, permissions or times.

    Attributes:
        capacity: How many bytes all files together may hold; None for no limit.
    """

    def __init__(self, choices: Choices) -> None:
        self.capacity: int | None = None
        self._choices = choices
        self._root = Folder()
        # In the order in which they were opened, with what the program got, so that only the program can close it.
        self._open: dict[SimFile, SimFile | SimTextFile] = {}
        self._failures: list[_Failure] = []

    # Files

    @overload
    def open(self, path: Path, mode: BinaryMode) -> SimFile: ...
    @overload
    def open(self, path: Path, mode: TextMode = "r") -> SimTextFile: ...
    @overload
    def open(self, path: Path, mode: str) -> SimFile | SimTextFile: ...
    def open(self, path: Path, mode: str = "r") -> SimFile | SimTextFile:
        """Open a file, as the function of that name does, but for its mode only: text is UTF-8.

        Raises:
            FileExistsError: It was to be made (``x``), and is there.
            FileNotFoundError: It was to be read, or its folder is missing.
            IsADirectoryError: It is a folder.
        """
        wanted = FileMode(mode)
        name = _clean(path)
        self.check("open", name)
        raw = SimFile(name, wanted, self._file_to_open(name, wanted), self, self._closed)
        file = self._open[raw] = SimTextFile(raw) if wanted.text else raw
        return file

    def _file_to_open(self, path: str, mode: FileMode) -> File:
        node = self._find(path)
        if node is not None and mode.kind == "x":
            raise _error(errno.EEXIST, path)
        if isinstance(node, Folder):
            raise _error(errno.EISDIR, path)
        if node is None:
            if mode.kind == "r":
                raise _error(errno.ENOENT, path)
            folder, name = self._place(path)
            node = File()
            folder.link(name, node)
        elif mode.kind == "w" and node.content:
            node.truncate(0)
        return node

    def sync(self, path: Path) -> None:
        """Make what a file contains survive crashes, as :meth:`SimFile.sync`; not its name."""
        name = _clean(path)
        file = self._file(name)
        try:
            self.check("sync", name)
        except OSError:
            file.strand()
            raise
        file.sync()

    def size(self, path: Path) -> int:
        """How many bytes a file holds."""
        return len(self._file(_clean(path)).content)

    # Names

    def sync_dir(self, path: Path = "/") -> None:
        """Make the names in a folder survive crashes as they are; not what is in the files, nor the folder's own name.

        Raises:
            NotADirectoryError: It is a file.
        """
        name = _clean(path)
        folder = self._folder(name)
        self.check("sync_dir", name)
        folder.sync()

    def rename(self, path: Path, new: Path) -> None:
        """Give a file or folder a new name, as POSIX does: a file of that name is replaced, an empty folder too."""
        old_name, new_name = _clean(path), _clean(new)
        folder, name = self._place(old_name)
        new_folder, final = self._place(new_name)
        node, there = folder.names.get(name), new_folder.names.get(final)
        if node is None:
            raise _error(errno.ENOENT, old_name)
        self.check("rename", old_name)
        if node is there:
            return
        if isinstance(node, Folder) and new_folder in node.folders():
            raise _error(errno.EINVAL, new_name)
        _check_replacement(node, there, new_name)
        folder.move(name, new_folder, final)

    replace = rename

    def remove(self, path: Path) -> None:
        """Remove a file. Who has it open can still use it."""
        name = _clean(path)
        self._file(name)
        self.check("remove", name)
        folder, last = self._place(name)
        folder.unlink(last)

    def mkdir(self, path: Path, *, parents: bool = False, exist_ok: bool = False) -> None:
        """Make a folder; with *parents*, those above it too."""
        name = _clean(path)
        self.check("mkdir", name)
        node = self._find(name, make=parents)
        if node is not None:
            if exist_ok and isinstance(node, Folder):
                return
            raise _error(errno.EEXIST, name)
        folder, last = self._place(name)
        folder.link(last, Folder())

    def listdir(self, path: Path = "/") -> list[str]:
        """The names in a folder, sorted."""
        name = _clean(path)
        folder = self._folder(name)
        self.check("listdir", name)
        return sorted(folder.names)

    def exists(self, path: Path) -> bool:
        """Whether there is a file or folder of that name."""
        try:
            return self._find(_clean(path)) is not None
        except OSError:
            return False

    # Trouble

    def crash(self) -> None:
        """The machine loses its power and starts again.

        Of each file's writes that were not synced, each is kept or lost, and the last that is kept may be torn: only
        its beginning is there. Of each folder's changes that were not synced, the first few are kept. Open files are
        of no use any more. Undisturbed, all that was not synced is lost.
        """
        for file in self._open:
            file.die()
        self._open.clear()
        for folder in self._root.folders():
            folder.choose(self._choices)
        self._root.crash(self._choices)

    def fail(self, path_pattern: str, error: OSError | int, *, operation: str | None = None, times: int = 1) -> None:
        """Make the next operations on matching paths raise *error*, and do nothing.

        Args:
            path_pattern: As for :mod:`fnmatch`, for whole paths from the root on; ``*`` matches slashes, too.
            error: To be raised, or its number, like ``errno.EIO``.
            operation: Only this one: ``"open"``, ``"read"``, ``"write"``, ``"truncate"``, ``"sync"``, ``"sync_dir"``,
                ``"rename"`` (by the old path), ``"remove"``, ``"mkdir"`` or ``"listdir"``.
            times: How often.
        """
        if operation is not None and operation not in OPERATIONS:
            raise ValueError(f"operation must be one of {', '.join(OPERATIONS)}, got {operation!r}")
        if times < 1:
            raise ValueError(f"times must be at least 1, got {times!r}")
        raised = OSError(error, os.strerror(error)) if isinstance(error, int) else error
        self._failures.append(_Failure(path_pattern, raised, operation, times))

    def open_files(self) -> list[str]:
        """A line for each open file; at the end of a run these leak. Those that were open in a crash are gone."""
        return [f"{file.name} (mode {file.mode!r})" for file in self._open]

    # For the open files

    def check(self, operation: str, path: str) -> None:
        """Raise what :meth:`fail` has put here."""
        for failure in self._failures:
            if failure.operation in (None, operation) and fnmatchcase(path, failure.pattern):
                failure.times -= 1
                if not failure.times:
                    self._failures.remove(failure)
                raise copy.copy(failure.error)

    def admit(self, path: str, growth: int) -> int | None:
        """None if there is room for *growth* bytes more, else how many are written before the disk is full."""
        if self.capacity is None or growth <= 0:
            return None
        room = max(self.capacity - sum(len(file.content) for file in self._root.files()), 0)
        if growth <= room:
            return None
        torn = room and self._choices.flip("disk.full.tear", TEAR_PROBABILITY)
        return 1 + self._choices.draw("disk.full.tear.at", room) if torn else 0

    def _closed(self, file: SimFile) -> None:
        self._open.pop(file, None)

    # Paths

    def _find(self, path: str, *, make: bool = False) -> Node | None:
        """The node of that path, None if only its name is missing; *make* the folders above it."""
        node: Node = self._root
        parts = path.split("/")[1:] if path != "/" else []
        for depth, part in enumerate(parts, 1):
            if isinstance(node, File):
                raise _error(errno.ENOTDIR, path)
            following = node.names.get(part)
            if following is None:
                if depth == len(parts):
                    return None
                if not make:
                    raise _error(errno.ENOENT, path)
                following = Folder()
                node.link(part, following)
            node = following
        return node

    def _node(self, path: str) -> Node:
        node = self._find(path)
        if node is None:
            raise _error(errno.ENOENT, path)
        return node

    def _file(self, path: str) -> File:
        node = self._node(path)
        if isinstance(node, Folder):
            raise _error(errno.EISDIR, path)
        return node

    def _folder(self, path: str) -> Folder:
        node = self._node(path)
        if isinstance(node, File):
            raise _error(errno.ENOTDIR, path)
        return node

    def _place(self, path: str) -> tuple[Folder, str]:
        """The folder of that path and the name in it, which may be free."""
        if path == "/":
            raise _error(errno.EBUSY, path)
        above, name = posixpath.split(path)
        return self._folder(above), name


def _check_replacement(node: Node, there: Node | None, path: str) -> None:
    """Whether *node* may have the name of *there*."""
    if isinstance(there, Folder):
        if there.names and (isinstance(node, Folder) or any(node in each.names.values() for each in there.folders())):
            raise _error(errno.ENOTEMPTY, path)
        if not isinstance(node, Folder):
            raise _error(errno.EISDIR, path)
    elif there is not None and isinstance(node, Folder):
        raise _error(errno.ENOTDIR, path)


def _clean(path: Path) -> str:
    text = os.fspath(path)
    if not text or "\0" in text:
        raise ValueError(f"a path must be neither empty nor contain a null character, got {text!r}")
    return posixpath.normpath("/" + text.lstrip("/"))


def _error(number: int, path: str) -> OSError:
    # Python picks the subclass: FileNotFoundError and so on.
    return OSError(number, os.strerror(number), path)
