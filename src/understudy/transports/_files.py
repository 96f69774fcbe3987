"""Files that are written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["create_file", "replace_file"]

_USUAL = 0o666
"""What the umask takes from."""


def create_file(path: Path, text: str, *, mode: int | None = None) -> None:
    """Write *text* into a file that is not there yet; blocks. If it cannot be written whole, nothing is left of it.

    Args:
        path: Where; a symbolic link is something that is there.
        text: What; as UTF-8.
        mode: Who may do what with it at any moment, whatever the umask; None: what the umask leaves.

    Raises:
        FileExistsError: There is something.
        OSError: It cannot be written.
    """
    # To create it and to find that it is there are one step, so that nobody can slip in a file, or a link, of his own.
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _USUAL if mode is None else mode)
    try:
        with open(handle, "w", encoding="utf-8") as file:
            if mode is not None and os.name == "posix":
                os.fchmod(handle, mode)  # an umask can have taken the owner's rights away, too
            file.write(text)
    except BaseException:
        path.unlink()
        raise


def replace_file(path: Path, text: str, *, mode: int | None = None) -> None:
    """Likewise, in place of what is there; blocks. If it cannot be written whole, that stays, and nothing else is left.

    A symbolic link is replaced, and what it leads to stays as it is.

    Raises:
        OSError: It cannot be written.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.new")
    beside.unlink(missing_ok=True)
    create_file(beside, text, mode=mode)
    try:
        os.replace(beside, path)
    except BaseException:
        beside.unlink()
        raise
