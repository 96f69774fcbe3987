"""Tokens in files that only their owner can read."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from understudy.transports._files import create_file, replace_file

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["UnsafeFile", "read_token", "write_token"]

_MODE = 0o600
_MOST = 4_096
"""Bytes; what is larger is no token."""


class UnsafeFile(Exception):
    """What a file is, or cannot be, in words that go on after its name. They never say what is in it."""


def write_token(path: Path, token: str, *, overwrite: bool = False) -> None:
    """Write *token* into a file that nobody else can read at any moment, whatever the umask.

    A file that is there is replaced as a whole, with *overwrite*; one that a symbolic link leads to stays as it is.

    Raises:
        FileExistsError: There is something, and it is not to be overwritten.
        OSError: The file cannot be written.
    """
    write = replace_file if overwrite else create_file
    write(Path(path), f"{token}\n", mode=_MODE)


def read_token(path: os.PathLike[str]) -> str:
    """The token in the file at *path*, without white space around it.

    Raises:
        UnsafeFile: Others can read or change the file, or it has no token.
    """
    try:
        # What is no regular file may make whoever opens it wait.
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    except FileNotFoundError:
        raise UnsafeFile(f"is not there: `understudy token {os.fspath(path)}` makes one") from None
    except OSError as error:
        raise UnsafeFile(f"cannot be read: {error.strerror}") from None
    try:
        facts = os.fstat(handle)
        for check in _CHECKS:
            problem = check(facts)
            if problem is not None:
                raise UnsafeFile(problem.format(path=os.fspath(path)))
        data = os.read(handle, _MOST + 1)
    finally:
        os.close(handle)
    try:
        token = data.decode("utf-8").strip()
    except UnicodeDecodeError:
        token = ""
    if not token or len(data) > _MOST or not token.isprintable():
        raise UnsafeFile("has no token in it, a line of text")
    return token


def _is_regular(facts: os.stat_result) -> str | None:
    return None if stat.S_ISREG(facts.st_mode) else "is no file"


def _is_closed_to_others(facts: os.stat_result) -> str | None:
    mode = stat.S_IMODE(facts.st_mode)
    return f"can be read or changed by others (mode {mode:04o}): chmod 600 {{path}}" if mode & 0o077 else None


def _is_owned(facts: os.stat_result) -> str | None:
    return None if facts.st_uid in (os.geteuid(), 0) else "belongs to somebody else"


_CHECKS: tuple[Callable[[os.stat_result], str | None], ...] = (
    (_is_regular, _is_closed_to_others, _is_owned) if os.name == "posix" else (_is_regular,)
)
"""The modes that Windows makes up say nothing of who can read a file there."""
