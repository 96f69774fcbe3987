"""The example of the worker pool reads any folder, and takes no arguments that make no sense."""

from __future__ import annotations

from pathlib import Path

import pytest

from examples.folder_of_files.program import FolderOfFiles
from tests.cast import Recorder
from understudy import ActorSystem, UsageError


@pytest.mark.real_time
@pytest.mark.asyncio
async def test_every_file_of_a_folder_is_read_once_however_many_crash_their_reader(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(60):
        broken = number % 4 == 0
        (tmp_path / f"{number:02}.txt").write_bytes(b"\xff" if broken else b"word " * number)
    recorder = Recorder()
    async with ActorSystem(
        FolderOfFiles.from_args([str(tmp_path), "--workers", "5"]), instruments=[recorder]
    ) as system:
        await system.wait_stopped()
    printed = capsys.readouterr().out.splitlines()
    assert [line for line in printed if "words" in line] == [
        f"{number:02}.txt: 1 lines, {number} words" for number in range(60) if number % 4
    ]
    assert "60 files, 15 could not be read" in printed
    assert len(recorder.of("actor_restarting")) == 15
    assert recorder.letters == []


@pytest.mark.parametrize("args", [["/nowhere/at/all"], ["--workers", "0"], ["--speed", "9"]])
def test_arguments_that_make_no_sense_are_refused(args: list[str]) -> None:
    with pytest.raises(UsageError):
        FolderOfFiles.from_args(args)
