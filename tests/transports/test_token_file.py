"""Tokens in files: made for their owner only, and refused where others could have read them."""

from __future__ import annotations

import os
import stat
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.transports.cast import MESSAGES, Add, Counter
from tests.transports.stage import Wire
from understudy import ActorSystem
from understudy.cli import main
from understudy.transports import HandshakeFailed, UnsafeListener
from understudy.transports._security import check_token
from understudy.transports._token_file import UnsafeFile, read_token, write_token

posix = pytest.mark.skipif(os.name != "posix", reason="modes of files are those of POSIX")
TOKEN = "a token of a good length"
Output = pytest.CaptureFixture[str]


@contextmanager
def umask(mask: int) -> Generator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@posix
@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077, 0o777])
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_token_is_written_for_its_owner_only_whatever_the_umask(tmp_path: Path, mask: int, overwrite: bool) -> None:
    file = tmp_path / "token"
    with umask(mask):
        write_token(file, TOKEN, overwrite=overwrite)
    assert mode_of(file) == 0o600
    assert read_token(file) == TOKEN
    assert list(tmp_path.iterdir()) == [file]


@posix
def test_what_is_there_is_left_alone_unless_it_is_told_otherwise(tmp_path: Path) -> None:
    file, elsewhere = tmp_path / "token", tmp_path / "elsewhere"
    elsewhere.write_text("precious")
    elsewhere.chmod(0o644)
    for there in (lambda: file.write_text("old"), lambda: file.symlink_to(elsewhere), file.mkdir):
        there()
        with pytest.raises(FileExistsError):
            write_token(file, TOKEN)
        if file.is_dir():
            with pytest.raises(OSError):  # noqa: PT011 - the number depends on the operating system
                write_token(file, TOKEN, overwrite=True)
            continue
        write_token(file, TOKEN, overwrite=True)
        assert (read_token(file), mode_of(file), file.is_symlink()) == (TOKEN, 0o600, False)
        file.unlink()
    assert elsewhere.read_text() == "precious"
    assert sorted(tmp_path.iterdir()) == [elsewhere, file]


@posix
@pytest.mark.parametrize("mode", [0o604, 0o640, 0o602, 0o620, 0o644, 0o666, 0o777])
def test_a_file_that_others_can_read_or_change_is_refused(tmp_path: Path, mode: int) -> None:
    file = tmp_path / "token"
    write_token(file, TOKEN)
    file.chmod(mode)
    with pytest.raises(UnsafeListener) as refused:
        check_token(file, "ws://127.0.0.1:0")
    assert f"(mode {mode:04o}): chmod 600 {file}" in str(refused.value)
    assert TOKEN not in str(refused.value)
    file.chmod(0o400)
    assert check_token(file, "ws://127.0.0.1:0") == TOKEN


@posix
def test_what_is_no_file_with_a_token_is_refused_and_nothing_of_it_is_told(tmp_path: Path) -> None:
    with pytest.raises(UnsafeFile, match=r"is not there: `understudy token .*missing` makes one"):
        read_token(tmp_path / "missing")
    with pytest.raises(UnsafeFile, match="no file"):
        read_token(tmp_path)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe, 0o600)
    with pytest.raises(UnsafeFile, match="no file"):  # and nobody waits for who might write into it
        read_token(pipe)
    for data in (b"", b"  \n", b"\xff" * 20, b"two lines of\ncanary text", b"canary" * 1_000, b"\x00" * 30):
        file = tmp_path / "token"
        write_token(file, "x", overwrite=True)
        file.write_bytes(data)
        with pytest.raises(UnsafeFile, match="no token in it") as refused:
            read_token(file)
        assert "canary" not in str(refused.value)
    file.write_text("too short")
    with pytest.raises(UnsafeListener, match=r"at least 16 characters: `understudy token` makes one"):
        check_token(file, "ws://127.0.0.1:0")


@posix
def test_the_command_makes_a_token_and_never_shows_it(tmp_path: Path, capsys: Output) -> None:
    file = tmp_path / "link.token"
    with umask(0):
        assert main(["token", str(file)]) == 0
    first = read_token(file)
    assert len(first) >= 43
    assert mode_of(file) == 0o600
    assert main(["token", str(file)]) == 2
    assert read_token(file) == first
    assert main(["token", str(file), "--force"]) == 0
    second = read_token(file)
    assert second != first
    assert main(["token", str(tmp_path / "nowhere" / "token")]) == 2
    said = capsys.readouterr()
    assert f"{file} is there already" in said.err
    assert "--force" in said.err
    assert "cannot be written" in said.err
    assert all(secret not in said.out + said.err for secret in (first, second))


@posix
@pytest.mark.asyncio
async def test_two_systems_link_with_the_token_in_a_file(tmp_path: Path) -> None:
    file, other = tmp_path / "token", tmp_path / "other"
    write_token(file, TOKEN)
    write_token(other, TOKEN[::-1])
    wire = Wire()
    async with ActorSystem(name="bank") as bank, ActorSystem(name="shop") as shop:
        await bank.spawn(Counter)
        await bank.listen("memory://bank", token=file, messages=MESSAGES, transport=wire)
        with pytest.raises(HandshakeFailed):
            await shop.connect("memory://bank", token=other, transport=wire)
        node = await shop.connect("memory://bank", token=file, transport=wire)
        assert await (await node.lookup("counter", Counter)).ask(Add(number=2)) == 2
        other.chmod(0o644)
        for call in (bank.listen, shop.connect):
            with pytest.raises(UnsafeListener, match="chmod 600"):
                await call("ws://127.0.0.1:0", token=other)
