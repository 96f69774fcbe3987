"""Lines that a person types, or that are piped in: read without a thread, and without blocking the event loop."""

from __future__ import annotations

import codecs
import contextlib
import os
import stat
from abc import ABC, abstractmethod
from collections import deque
from typing import TYPE_CHECKING, Any, TextIO, TypeAlias

from understudy.exceptions import InvalidContext

try:
    import termios
except ImportError:  # there are none on Windows
    termios = None  # type: ignore[assignment]

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Coroutine

    Start: TypeAlias = Callable[[Coroutine[Any, Any, None], str], asyncio.Task[None]]

__all__ = ["LineSource", "PlainLines", "flush_typed"]

_LONGEST = 1_000_000
"""Characters of a line; one that is longer comes in pieces."""
_CHUNK = 65_536
_ENOUGH = 1_000
"""Lines that wait to be taken, from which on no more are read."""


class LineSource(ABC):
    """Where lines come from. It is opened and closed by each run of its endpoint, and keeps what was not taken."""

    terminal = False
    """Whether a person types them, who may have typed some before he was shown what they shall answer."""
    ended = False
    """Whether there will be no more, besides those that can be taken."""

    @abstractmethod
    def open(self, news: Callable[[], None], start: Start) -> None:
        """Begin to read. *news* is called when something has changed; *start* starts a task."""

    @abstractmethod
    def close(self) -> None:
        """Read no more."""

    @abstractmethod
    def take(self) -> str | None:
        """The next line without its end, None if there is none yet."""

    @abstractmethod
    def peek(self) -> str | None:
        """The same line, which stays."""

    @abstractmethod
    def discard(self) -> None:
        """Forget what has been typed and not been taken."""

    @abstractmethod
    def ask(self, prompt: str | None) -> None:
        """A line is wanted now, and *prompt* shall say so; None: none is."""

    @abstractmethod
    async def show(self, write: Callable[[], None]) -> None:
        """Have *write* write something, and do not let the prompt be in its way."""


class PlainLines(LineSource):
    """The lines of a descriptor: a pipe, a terminal, a file, a socket.

    The descriptor is read when it is readable, and left as it is: it is not made non-blocking, which would be so for
    everybody who has the same terminal, standard output too. Files are always readable.

    Args:
        descriptor: The number.
        notes: Where the prompt goes to, if it is a terminal.
        loop: Watches the descriptor.
    """

    def __init__(self, descriptor: int, notes: TextIO, loop: asyncio.AbstractEventLoop) -> None:
        self.terminal = os.isatty(descriptor)
        self._descriptor = descriptor
        self._notes = notes
        self._loop = loop
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._lines: deque[str] = deque()
        self._rest = ""
        self._news: Callable[[], None] | None = None
        self._watched = False
        # No event loop can watch it, and none has to: it is read when a line is taken.
        self._always = False
        self._prompt: str | None = None

    def open(self, news: Callable[[], None], start: Start) -> None:
        """Begin to read.

        Raises:
            InvalidContext: The event loop cannot watch descriptors, as on Windows.
        """
        self._news = news
        try:
            self._always = stat.S_ISREG(os.fstat(self._descriptor).st_mode)
        except OSError:  # it is closed
            self.ended = True
        self._watch()

    def close(self) -> None:
        """Read no more."""
        self._unwatch()
        self._news = None
        self._prompt = None

    def take(self) -> str | None:
        """The next line."""
        while self._always and not self._lines and not self.ended:
            self._read()
        if not self._lines:
            return None
        self._prompt = None
        line = self._lines.popleft()
        if len(self._lines) < _ENOUGH // 2:
            self._watch()
        return line

    def peek(self) -> str | None:
        """The next line, which stays."""
        return self._lines[0] if self._lines else None

    def discard(self) -> None:
        """Forget what has been typed."""
        self._lines.clear()
        flush_typed(self._descriptor)
        self._watch()

    def ask(self, prompt: str | None) -> None:
        """Write the prompt, once."""
        if self.terminal and prompt is not None and prompt != self._prompt:
            self._notes.write(prompt if self._prompt is None else f"\n{prompt}")
            self._notes.flush()
        self._prompt = prompt

    async def show(self, write: Callable[[], None]) -> None:
        """Write on a line of its own, below the prompt if that is there."""
        if self.terminal and self._prompt is not None:
            self._notes.write("\n")
            self._notes.flush()
        self._prompt = None
        write()

    def _watch(self) -> None:
        if self._watched or self._always or self.ended or self._news is None:
            return
        try:
            self._loop.add_reader(self._descriptor, self._read)
        except PermissionError:  # /dev/null, for one
            self._always = True
        except NotImplementedError:
            problem = 'this event loop cannot watch standard input: pip install "understudy[chat]", and use a terminal'
            raise InvalidContext(what="TerminalEndpoint", problem=problem) from None
        else:
            self._watched = True

    def _unwatch(self) -> None:
        if self._watched:
            self._watched = False
            self._loop.remove_reader(self._descriptor)

    def _read(self) -> None:
        try:
            data = os.read(self._descriptor, _CHUNK)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:  # the terminal has gone
            data = b""
        *lines, self._rest = (self._rest + self._decoder.decode(data, final=not data)).split("\n")
        self._lines.extend(line.removesuffix("\r") for line in lines)
        while len(self._rest) > _LONGEST:
            self._lines.append(self._rest[:_LONGEST])
            self._rest = self._rest[_LONGEST:]
        if not data:
            self.ended = True
            if self._rest:
                self._lines.append(self._rest)
                self._rest = ""
        if self.ended or len(self._lines) >= _ENOUGH:
            self._unwatch()
        if self._news is not None:
            self._news()


def flush_typed(descriptor: int) -> None:
    """Have the terminal forget what was typed and not been read; where there are such things."""
    if termios is not None:
        with contextlib.suppress(OSError, termios.error):
            termios.tcflush(descriptor, termios.TCIFLUSH)
