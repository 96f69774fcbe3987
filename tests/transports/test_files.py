"""Files that are written whole or not at all."""

from __future__ import annotations

import errno
import io
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.agents.mcp_stage import READ
from understudy.agents import ToolPins
from understudy.transports import _files
from understudy.transports._files import create_file, replace_file
from understudy.transports._token_file import write_token

OLD = "what was there"


def pinned(path: Path) -> None:
    pins = ToolPins(file=path)
    pins.approve(READ)
    pins.write()


WRITERS: dict[str, Callable[[Path], None]] = {
    "replace": lambda path: replace_file(path, "new"),
    "create": lambda path: create_file(path, "new"),
    "token": lambda path: write_token(path, "a token of a good length", overwrite=True),
    "first token": lambda path: write_token(path, "a token of a good length"),
    "pins": pinned,
}


class FullDisk(io.TextIOWrapper):
    """Takes some of what is written, and then no more."""

    def write(self, text: str) -> int:
        super().write(text[:2])
        super().flush()
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def full_disk(handle: int, mode: str, *, encoding: str) -> FullDisk:
    return FullDisk(open(handle, "wb"), encoding=encoding)


def refuse(*_: Any) -> None:
    raise OSError(errno.EIO, os.strerror(errno.EIO))


@pytest.mark.parametrize(
    ("writer", "at"),
    [*((writer, "write") for writer in WRITERS), *((writer, "replace") for writer in ("replace", "token", "pins"))],
)
def test_what_cannot_be_written_leaves_all_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writer: str, at: str
) -> None:
    file = tmp_path / "file"
    replaces = writer not in ("create", "first token")
    if replaces:
        file.write_text(OLD)
    before = list(tmp_path.iterdir())
    if at == "write":
        monkeypatch.setattr(_files, "open", full_disk, raising=False)
    else:
        monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(OSError, match=r"space left|Input/output"):
        WRITERS[writer](file)
    assert list(tmp_path.iterdir()) == before
    assert not replaces or file.read_text() == OLD


def test_what_an_earlier_life_has_left_beside_is_no_hindrance(tmp_path: Path) -> None:
    file = tmp_path / "file"
    (tmp_path / f".file.{os.getpid()}.new").write_text("half")
    replace_file(file, "new")
    assert [(each.name, each.read_text()) for each in tmp_path.iterdir()] == [("file", "new")]


@pytest.mark.skipif(os.name != "posix", reason="modes of files are those of POSIX")
@pytest.mark.parametrize(("mode", "found"), [(None, 0o640), (0o600, 0o600), (0o644, 0o644)])
def test_the_mode_is_the_one_asked_for_or_what_the_umask_leaves(tmp_path: Path, mode: int | None, found: int) -> None:
    before = os.umask(0o027)
    try:
        replace_file(tmp_path / "file", "new", mode=mode)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == found
