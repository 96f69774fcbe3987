"""Open files of a simulated disk."""

from __future__ import annotations

import errno
import io
import operator
from typing import TYPE_CHECKING, Protocol, SupportsIndex

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Buffer

    from understudy.testing._disk_nodes import File

__all__ = ["FileMode", "SimFile", "SimTextFile", "Volume"]


class Volume(Protocol):
    """What an open file asks of its disk."""

    def check(self, operation: str, path: str) -> None:
        """Raise the error that a test has put here."""
        ...

    def admit(self, path: str, growth: int) -> int | None:
        """None if there is room for *growth* bytes more, else how many bytes are written before the disk is full."""
        ...


class FileMode:
    """What ``open`` was asked for."""

    def __init__(self, mode: str) -> None:
        letters = sorted(mode)
        self.text = "b" not in mode
        self.kind = next((letter for letter in "rwax" if letter in mode), "")
        wanted = [self.kind, *("+" * ("+" in mode)), *("b" * (not self.text)), *("t" * ("t" in mode))]
        if not self.kind or letters != sorted(wanted) or ("b" in mode and "t" in mode):
            raise ValueError(f"mode must be one of 'r', 'w', 'a', 'x', with '+' and 'b' or 't' if wanted, got {mode!r}")
        self.name = mode
        self.reads = self.kind == "r" or "+" in mode
        self.writes = self.kind != "r" or "+" in mode
        self.appends = self.kind == "a"


class SimFile(io.RawIOBase):
    """A file that was opened in binary mode.

    It has no buffer: what is written is seen by all who read the file, at once. It outlasts the program that wrote it,
    but not a crash of the machine, unless it is synced; closing does not sync. ``fileno`` raises, since there is none.
    After a crash of the disk every operation but ``close`` raises ``OSError`` (``EIO``).
    """

    def __init__(
        self, path: str, mode: FileMode, file: File, volume: Volume, on_close: Callable[[SimFile], None]
    ) -> None:
        super().__init__()
        self.name = path
        self.mode = mode.name
        self._mode = mode
        self._file = file
        self._volume = volume
        self._on_close = on_close
        self._position = len(file.content) if mode.appends else 0
        self._dead = False

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r} mode={self.mode!r}{' closed' if self.closed else ''}>"

    def readable(self) -> bool:
        """Whether it was opened for reading."""
        self._check_open()
        return self._mode.reads

    def writable(self) -> bool:
        """Whether it was opened for writing."""
        self._check_open()
        return self._mode.writes

    def seekable(self) -> bool:
        """It is."""
        self._check_open()
        return True

    def readinto(self, buffer: Buffer, /) -> int:
        """Read into *buffer*; return how many bytes that were, 0 at the end."""
        self._check_open()
        if not self._mode.reads:
            raise io.UnsupportedOperation(f"{self.name} was opened with mode {self.mode!r}: not readable")
        self._volume.check("read", self.name)
        view = memoryview(buffer).cast("B")
        data = self._file.content[self._position : self._position + len(view)]
        view[: len(data)] = data
        self._position += len(data)
        return len(data)

    def write(self, data: Buffer, /) -> int:
        """Write all of *data*, at the end if the file was opened for appending.

        Raises:
            OSError: The disk is full (``ENOSPC``). Nothing was written, or the beginning of *data*.
        """
        self._check_writable()
        self._volume.check("write", self.name)
        content = bytes(data)
        size = len(self._file.content)
        if self._mode.appends and content:
            self._position = size
        room = self._volume.admit(self.name, self._position + len(content) - size)
        if room is not None:
            # What falls onto old bytes needs no room, but a write that fails is cut where the disk is.
            self._put(content[: max(size + room - self._position, 0)] if room else b"")
            raise OSError(errno.ENOSPC, f"no room for {len(content)} bytes on the disk", self.name)
        self._put(content)
        return len(content)

    def _put(self, data: bytes) -> None:
        if data:
            self._file.write(self._position, data)
            self._position += len(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Go to *offset* from the beginning, from here, or from the end; return where that is."""
        self._check_open()
        bases = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: len(self._file.content)}
        if whence not in bases:
            raise ValueError(f"whence must be 0, 1 or 2, got {whence!r}")
        if bases[whence] + offset < 0:
            raise OSError(errno.EINVAL, "seek before the beginning", self.name)
        self._position = bases[whence] + offset
        return self._position

    def tell(self) -> int:
        """The position."""
        self._check_open()
        return self._position

    def truncate(self, size: SupportsIndex | None = None, /) -> int:
        """Make the file *size* bytes long, or end it here. The position stays."""
        self._check_writable()
        length = self._position if size is None else operator.index(size)
        if length < 0:
            raise OSError(errno.EINVAL, f"truncate to {length} bytes", self.name)
        self._volume.check("truncate", self.name)
        if self._volume.admit(self.name, length - len(self._file.content)) is not None:
            raise OSError(errno.ENOSPC, f"no room for {length} bytes on the disk", self.name)
        self._file.truncate(length)
        return length

    def flush(self) -> None:
        """Nothing is to be done: there is no buffer."""
        self._check_open()

    def sync(self) -> None:
        """Make what the file contains survive crashes, whoever wrote it; not its name, see ``sync_dir``.

        Raises:
            OSError: A test has made it fail. What was to be made certain stays uncertain then, even when a later sync
                succeeds: so do real disks.
        """
        self._check_open()
        try:
            self._volume.check("sync", self.name)
        except OSError:
            self._file.strand()
            raise
        self._file.sync()

    def close(self) -> None:
        """Let go of the file. Nothing is synced."""
        if not self.closed:
            self._on_close(self)
            self._dead = False  # closing flushes, which must not raise
        super().close()

    def die(self) -> None:
        """The disk has crashed."""
        self._dead = True

    def _check_open(self) -> None:
        if self.closed:
            raise ValueError(f"{self.name} is closed")
        if self._dead:
            raise OSError(errno.EIO, "the disk has crashed since this file was opened; open it again", self.name)

    def _check_writable(self) -> None:
        self._check_open()
        if not self._mode.writes:
            raise io.UnsupportedOperation(f"{self.name} was opened with mode {self.mode!r}: not writable")


class SimTextFile(io.TextIOWrapper):
    """A file that was opened in text mode: UTF-8, lines end in a plain newline.

    What is written goes at once to the :class:`SimFile` below, in ``buffer``, of which all that is promised holds.
    """

    def __init__(self, raw: SimFile) -> None:
        self._raw = raw
        super().__init__(raw, encoding="utf-8", newline="\n", write_through=True)

    @property
    def mode(self) -> str:
        """As given to ``open``."""
        return self._raw.mode

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._raw.name!r} mode={self.mode!r}{' closed' if self.closed else ''}>"

    def sync(self) -> None:
        """As :meth:`SimFile.sync`."""
        self._raw.sync()

    def close(self) -> None:
        """As :meth:`SimFile.close`."""
        # First the file, or else it would be flushed, which fails after a crash. There is nothing to flush.
        self._raw.close()
        super().close()
