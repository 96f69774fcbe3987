from __future__ import annotations

import errno
import functools
import io
import itertools
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.testing.net_stage import Script
from understudy.testing._choices import Choices
from understudy.testing._disk import SimDisk
from understudy.testing._strategies import RandomWalk, Strategy


def make_disk(strategy: Strategy | None = None, /, **answers: Any) -> SimDisk:
    choices = Choices(strategy or Script(**answers), 0)
    choices.started = True
    return SimDisk(choices)


def store(disk: SimDisk, path: str, content: bytes, *, sync: bool = True) -> None:
    """A file as a careful program writes it."""
    with disk.open(path, "wb") as file:
        file.write(content)
        if sync:
            file.sync()
    if sync:
        disk.sync_dir(os.path.dirname("/" + path.lstrip("/")))


def load(disk: SimDisk, path: str) -> bytes:
    with disk.open(path, "rb") as file:
        content = file.read()
    assert content is not None
    return content


# --- Files while nothing goes wrong -----------------------------------------------------------------------------------


def test_text_is_utf_8_and_comes_back_line_by_line() -> None:
    disk = make_disk()
    with disk.open("log.txt", "w") as file:
        assert file.write("grüß\n") == 5
        file.writelines(["dich\r\n", "end"])
        assert (file.name, file.mode, file.encoding) == ("/log.txt", "w", "utf-8")
    assert disk.size("log.txt") == 16
    with disk.open("log.txt") as file:
        assert list(file) == ["grüß\n", "dich\r\n", "end"]
        file.seek(0)
        assert file.readline() == "grüß\n"
    assert load(disk, "log.txt") == "grüß\ndich\r\nend".encode()


def test_what_is_written_is_seen_at_once_by_who_reads_the_same_file() -> None:
    disk = make_disk()
    with disk.open("a", "w") as writer, disk.open("a") as reader:
        writer.write("now")
        assert reader.read() == "now"


@pytest.mark.parametrize("mode", ["", "q", "rw", "rr", "r++", "bt", "b", "+", "wbt", "rU"])
def test_a_mode_that_is_none_is_refused(mode: str) -> None:
    with pytest.raises(ValueError, match="mode must be one of"):
        make_disk().open("a", mode)


def test_what_the_mode_does_not_allow_is_unsupported() -> None:
    disk = make_disk()
    store(disk, "a", b"x")
    with disk.open("a", "rb") as file:
        assert (file.readable(), file.writable(), file.seekable()) == (True, False, True)
        attempts: list[Callable[[], object]] = [lambda: file.write(b"y"), lambda: file.truncate(0)]
        for attempt in attempts:
            with pytest.raises(io.UnsupportedOperation, match="/a was opened with mode 'rb': not writable"):
                attempt()
    with disk.open("a", "ab") as file:
        with pytest.raises(io.UnsupportedOperation, match="not readable"):
            file.read()
        with pytest.raises(io.UnsupportedOperation):
            file.fileno()
    assert load(disk, "a") == b"x"


@pytest.mark.parametrize(("mode", "data"), [("w+", "x"), ("w+b", b"x")])
def test_a_closed_file_is_of_no_use(mode: str, data: Any) -> None:
    file: Any = make_disk().open("a", mode)
    file.close()
    file.close()
    assert file.closed
    attempts: list[Callable[[], object]] = [
        file.read, file.readline, file.tell, file.truncate, file.flush, lambda: file.write(data),
        lambda: file.seek(0), lambda: next(file), file.sync, file.__enter__,
    ]  # fmt: skip
    for attempt in attempts:
        with pytest.raises(ValueError, match="closed"):
            attempt()


def test_files_that_nobody_closed_are_listed_even_when_nobody_holds_them() -> None:
    disk = make_disk()
    file = disk.open("b", "w")
    disk.open("a", "xb")
    assert disk.open_files() == ["/b (mode 'w')", "/a (mode 'xb')"]
    file.close()
    assert disk.open_files() == ["/a (mode 'xb')"]


def test_a_removed_file_lives_on_for_who_has_it_open() -> None:
    disk = make_disk()
    store(disk, "a", b"old")
    with disk.open("a", "r+b") as file:
        disk.remove("a")
        assert not disk.exists("a")
        file.write(b"new")
        file.seek(0)
        assert file.read() == b"new"


@pytest.mark.parametrize("path", ["", "a\0b"])
def test_a_path_that_is_none_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="a path must be neither empty nor contain a null character"):
        make_disk().open(path)


def test_paths_count_from_the_root() -> None:
    disk = make_disk()
    disk.mkdir("/x")
    store(disk, "x/./../x//a", b"1")
    assert load(disk, "/x/a") == load(disk, "../../x/a") == b"1"
    assert disk.size(Path("/x/a")) == 1


def test_folders_above_are_made_on_demand_and_one_that_exists_may_be_accepted() -> None:
    disk = make_disk()
    with pytest.raises(FileNotFoundError):
        disk.mkdir("a/b/c")
    disk.mkdir("a/b/c", parents=True)
    disk.mkdir("a/b", exist_ok=True)
    store(disk, "a/f", b"")
    for path, options in (("a/b", {}), ("a/f", {"exist_ok": True})):
        with pytest.raises(FileExistsError):
            disk.mkdir(path, **options)
    assert (disk.listdir("a"), disk.listdir()) == (["b", "f"], ["a"])


@pytest.mark.parametrize(
    ("old", "new", "number"),
    [
        ("missing", "a", errno.ENOENT),
        ("a", "missing/a", errno.ENOENT),
        ("a", "b/a", errno.ENOTDIR),
        ("a", "d", errno.EISDIR),
        ("d", "a", errno.ENOTDIR),
        ("e", "d", errno.ENOTEMPTY),
        ("d", "d/f/g", errno.EINVAL),
        ("d/f/x", "d", errno.ENOTEMPTY),
        ("/", "a", errno.EBUSY),
        ("a", "/", errno.EBUSY),
    ],
)
def test_a_rename_that_is_impossible_changes_nothing(old: str, new: str, number: int) -> None:
    disk = make_disk()
    disk.mkdir("d/f", parents=True)
    disk.mkdir("e")
    for path in ("a", "b", "d/f/x"):
        store(disk, path, path.encode())
    with pytest.raises(OSError, match="Errno") as caught:
        disk.rename(old, new)
    assert caught.value.errno == number
    assert (disk.listdir(), disk.listdir("d"), disk.listdir("d/f")) == (["a", "b", "d", "e"], ["f"], ["x"])
    disk.rename("a", "a")
    disk.rename("a", "b")
    disk.rename("d", "e")
    assert (disk.listdir(), load(disk, "b"), load(disk, "e/f/x")) == (["b", "e"], b"a", b"d/f/x")


def test_a_position_that_is_impossible_is_refused() -> None:
    disk = make_disk()
    with disk.open("a", "wb") as file:
        with pytest.raises(OSError, match="seek before the beginning"):
            file.seek(-1)
        with pytest.raises(OSError, match="truncate to -1 bytes"):
            file.truncate(-1)
        with pytest.raises(ValueError, match="whence must be 0, 1 or 2, got 7"):
            file.seek(0, 7)
        assert repr(file) == "<SimFile '/a' mode='wb'>"
    with disk.open("a") as text:
        assert repr(text) == "<SimTextFile '/a' mode='r'>"
    for attempt in (lambda: disk.open("/", "w"), lambda: disk.size("/"), lambda: disk.remove("/")):
        with pytest.raises(IsADirectoryError):
            attempt()
    with pytest.raises(NotADirectoryError):
        disk.sync_dir("a")
    assert not disk.exists("a/b")


# --- Against a real file system ---------------------------------------------------------------------------------------

NAMES = ["a", "b", "d", "d/a", "d/e", "d/e/a", "a/x"]
MODES = [kind + plus + "b" for kind in "rwax" for plus in ("", "+")]

paths = st.sampled_from(NAMES)
file_steps = st.one_of(
    st.tuples(st.just("write"), st.binary(max_size=6)),
    st.tuples(st.just("read"), st.integers(-1, 6)),
    st.tuples(st.just("seek"), st.integers(-3, 8), st.integers(0, 2)),
    st.tuples(st.just("truncate"), st.one_of(st.none(), st.integers(-1, 8))),
    st.tuples(st.just("tell")),
    st.tuples(st.just("readline")),
)
steps = st.one_of(
    st.tuples(st.just("use"), paths, st.sampled_from(MODES), st.lists(file_steps, max_size=6)),
    st.tuples(st.just("mkdir"), paths),
    st.tuples(st.just("rename"), paths, paths),
    st.tuples(st.just("remove"), paths),
    st.tuples(st.just("listdir"), paths),
    st.tuples(st.just("exists"), paths),
)


class RealDisk:
    """The same operations on a folder of the real disk."""

    def __init__(self, root: str) -> None:
        self._root = root

    def _path(self, path: str) -> str:
        return os.path.join(self._root, path)

    def open(self, path: str, mode: str) -> Any:
        return open(self._path(path), mode, buffering=0)

    def mkdir(self, path: str) -> None:
        os.mkdir(self._path(path))

    def rename(self, path: str, new: str) -> None:
        os.rename(self._path(path), self._path(new))

    def remove(self, path: str) -> None:
        os.remove(self._path(path))

    def listdir(self, path: str) -> list[str]:
        return sorted(os.listdir(self._path(path)))

    def exists(self, path: str) -> bool:
        return os.path.exists(self._path(path))


def outcome(action: Callable[[], Any]) -> Any:
    try:
        return action()
    except io.UnsupportedOperation:
        return "unsupported"
    except OSError as error:
        return errno.errorcode[error.errno or 0]


def use(disk: Any, path: str, mode: str, uses: list[Any]) -> list[Any]:
    with disk.open(path, mode) as file:
        return [outcome(functools.partial(getattr(file, name), *args)) for name, *args in uses]


def perform(disk: Any, name: str, *args: Any) -> Any:
    return use(disk, *args) if name == "use" else getattr(disk, name)(*args)


def content(disk: Any, names: list[str]) -> Iterator[Any]:
    for name in names:
        yield outcome(functools.partial(use, disk, name, "rb", [("read", -1)]))


@settings(max_examples=150)
@given(st.lists(steps, max_size=15))
def test_without_crashes_it_behaves_like_a_real_file_system(program: list[Any]) -> None:
    disk = make_disk()
    with tempfile.TemporaryDirectory() as root:
        real = RealDisk(root)
        for name, *args in program:
            results = [outcome(functools.partial(perform, on, name, *args)) for on in (disk, real)]
            assert results[0] == results[1], (name, args)
        assert list(content(disk, NAMES)) == list(content(real, NAMES))
    assert disk.open_files() == []


# --- Crashes ----------------------------------------------------------------------------------------------------------


def test_undisturbed_a_crash_loses_all_that_was_not_synced() -> None:
    disk = make_disk()
    store(disk, "kept", b"kept")
    store(disk, "new", b"new", sync=False)
    disk.open("kept", "ab").write(b", and this not")
    disk.mkdir("folder")
    disk.crash()
    assert disk.listdir() == ["kept"]
    assert load(disk, "kept") == b"kept"


def test_a_synced_file_whose_folder_was_not_synced_may_be_gone() -> None:
    def crash(**answers: Any) -> list[str]:
        disk = make_disk(**answers)
        with disk.open("a", "wb") as file:
            file.write(b"x")
            file.sync()
        disk.crash()
        return [*disk.listdir(), *(load(disk, name).decode() for name in disk.listdir())]

    assert crash() == []
    assert crash(**{"disk.names": 1}) == ["a", "x"]


def test_a_file_whose_folder_was_synced_is_there_with_what_was_synced_of_it() -> None:
    disk = make_disk()
    store(disk, "a", b"x", sync=False)
    disk.sync_dir()
    disk.crash()
    assert load(disk, "a") == b""


def test_a_file_synced_by_its_path_is_as_safe_as_one_synced_by_itself() -> None:
    disk = make_disk()
    store(disk, "a", b"x", sync=False)
    disk.sync("a")
    disk.sync_dir("/")
    disk.crash()
    assert load(disk, "a") == b"x"


def test_text_is_synced_too() -> None:
    disk = make_disk()
    with disk.open("a", "w") as file:
        file.write("x")
        file.sync()
        file.write("y")
    disk.sync_dir()
    disk.crash()
    assert load(disk, "a") == b"x"


@pytest.mark.parametrize(
    ("keep", "tear", "expected"),
    [
        ([0, 0, 0], [], b"...."),
        ([1, 1, 1], [0], b"aab.c"),
        ([1, 0, 1], [0], b"aa..c"),
        ([0, 1, 0], [0], b"..b."),
        ([1, 1, 0], [1, 0], b"aa.."),
    ],
)
def test_each_unsynced_write_is_kept_or_lost_and_the_last_may_be_torn(
    keep: list[int], tear: list[int], expected: bytes
) -> None:
    disk = make_disk(**{"disk.keep": keep, "disk.tear": tear[:1], "disk.tear.at": tear[1:]})
    store(disk, "f", b"....")
    with disk.open("f", "r+b") as file:
        for position, data in ((0, b"aa"), (2, b"b"), (4, b"c")):
            file.seek(position)
            file.write(data)
    assert load(disk, "f") == b"aab.c"
    disk.crash()
    assert load(disk, "f") == expected
    disk.crash()
    assert load(disk, "f") == expected  # what has survived one crash survives all


def test_replacing_a_file_without_syncing_it_first_may_leave_an_empty_one() -> None:
    def crash(*, synced: bool, names: int) -> bytes:
        disk = make_disk(**{"disk.names": names})
        store(disk, "a", b"old")
        with disk.open("a.new", "wb") as file:
            file.write(b"new")
            if synced:
                file.sync()
        disk.replace("a.new", "a")
        disk.crash()
        return load(disk, "a")

    assert [crash(synced=False, names=names) for names in (0, 1, 2)] == [b"old", b"old", b""]
    assert [crash(synced=True, names=names) for names in (0, 1, 2)] == [b"old", b"old", b"new"]


def test_a_removed_file_may_come_back_until_its_folder_is_synced() -> None:
    disk = make_disk()
    store(disk, "a", b"x")
    store(disk, "b", b"y")
    disk.remove("a")
    disk.sync_dir()
    disk.remove("b")
    disk.crash()
    assert disk.listdir() == ["b"]


@pytest.mark.parametrize(("mode", "data"), [("r+", "y"), ("r+b", b"y")])
def test_open_files_are_dead_after_a_crash_and_can_still_be_closed(mode: str, data: Any) -> None:
    disk = make_disk()
    store(disk, "a", b"x")
    file: Any = disk.open("a", mode)
    disk.crash()
    assert disk.open_files() == []
    attempts: list[Callable[[], object]] = [
        file.read, file.tell, lambda: file.write(data), lambda: file.truncate(0), file.sync, file.flush,
    ]  # fmt: skip
    for attempt in attempts:
        with pytest.raises(OSError, match="the disk has crashed since this file was opened") as caught:
            attempt()
        assert caught.value.errno == errno.EIO
    file.close()
    assert file.closed
    assert load(disk, "a") == b"x"


writes = st.tuples(st.just("write"), st.integers(0, 6), st.binary(min_size=1, max_size=3))
changes = st.one_of(
    writes, writes, st.tuples(st.just("truncate"), st.integers(0, 6)), st.just(("sync",)), st.just(("fail",))
)


def survivors(program: list[Any]) -> set[bytes]:
    """All that a crash may leave of a file, from the promises in words: every subset of what is not certain."""
    log: list[list[Any]] = []  # an operation, and whether it is certain: yes, no, or never
    for name, *args in program:
        if name == "sync":
            for entry in log:
                entry[1] = "yes" if entry[1] == "no" else entry[1]
        elif name == "fail":
            for entry in log:
                entry[1] = "never" if entry[1] == "no" else entry[1]
        else:
            log.append([(name, *args), "no"])
    open_ones = [number for number, entry in enumerate(log) if entry[1] != "yes"]
    found: set[bytes] = set()
    for size in range(len(open_ones) + 1):
        for kept in itertools.combinations(open_ones, size):
            last = kept[-1] if kept else None
            lengths = len(log[last][0][2]) if last is not None and log[last][0][0] == "write" else 0
            for cut in range(lengths + 1):
                found.add(replay(log, kept, last, lengths - cut))
    return found


def replay(log: list[list[Any]], kept: tuple[int, ...], last: int | None, length: int) -> bytes:
    image: dict[int, int] = {}
    size = 0
    for number, (operation, certain) in enumerate(log):
        if certain != "yes" and number not in kept:
            continue
        if operation[0] == "truncate":
            size = operation[1]
            image = {at: byte for at, byte in image.items() if at < size}
        else:
            data = operation[2][:length] if number == last else operation[2]
            image.update(enumerate(data, operation[1]))
            size = max(size, operation[1] + len(data)) if data else size
    return bytes(image.get(at, 0) for at in range(size))


@settings(max_examples=150)
@given(st.lists(changes, max_size=7), st.integers(0, 2**32))
def test_what_a_crash_leaves_of_a_file_is_one_of_what_it_may_leave(program: list[Any], seed: int) -> None:
    disk = make_disk(RandomWalk(seed))
    store(disk, "f", b"")
    with disk.open("f", "r+b") as file:
        for name, *args in program:
            match name:
                case "write":
                    file.seek(args[0])
                    file.write(args[1])
                case "truncate":
                    file.truncate(args[0])
                case "sync":
                    file.sync()
                case _:
                    disk.fail("/f", errno.EIO, operation="sync")
                    with pytest.raises(OSError, match="Input/output error"):
                        file.sync()
    disk.crash()
    left = load(disk, "f")
    assert left in survivors(program)
    disk.crash()
    assert load(disk, "f") == left


def test_everything_that_a_crash_may_leave_of_a_file_does_happen() -> None:
    program: list[Any] = [
        ("write", 0, b"ab"),
        ("sync",),
        ("write", 1, b"cd"),
        ("fail",),
        ("write", 4, b"e"),
        ("truncate", 2),
    ]
    seen: set[bytes] = set()
    for seed in range(300):
        disk = make_disk(RandomWalk(seed))
        store(disk, "f", b"")
        with disk.open("f", "r+b") as file:
            for name, *args in program:
                if name == "write":
                    file.seek(args[0])
                    file.write(args[1])
                elif name == "truncate":
                    file.truncate(args[0])
                elif name == "sync":
                    file.sync()
                else:
                    disk.fail("/f", errno.EIO, operation="sync")
                    with pytest.raises(OSError, match="Input/output error"):
                        disk.sync("f")
        disk.crash()
        seen.add(load(disk, "f"))
    assert seen == survivors(program)


FOLDERS = ["/", "/d", "/e"]
places = st.tuples(st.sampled_from(FOLDERS), st.sampled_from("xyz")).map(lambda parts: os.path.join(*parts))
moves = st.one_of(
    st.tuples(st.just("make"), places),
    st.tuples(st.just("move"), places, places),
    st.tuples(st.just("move"), places, places),
    st.tuples(st.just("remove"), places),
    st.tuples(st.just("sync"), st.sampled_from(FOLDERS)),
    st.just(("sync all",)),
)


def tree(disk: SimDisk) -> dict[str, str]:
    """The content of each file, by its path."""
    found = [os.path.join(folder, name) for folder in FOLDERS for name in disk.listdir(folder)]
    return {path: load(disk, path).decode() for path in found if path not in FOLDERS}


def inside(files: dict[str, str], folder: str) -> dict[str, str]:
    return {path: content for path, content in files.items() if os.path.dirname(path) == folder}


class Keeper:
    """Runs a program on a disk, and keeps what may be expected of a crash at its end."""

    def __init__(self, disk: SimDisk) -> None:
        self.disk = disk
        self.names: dict[str, set[str]] = {}  # of each file, by its content: all that it has had
        self.safe: set[str] = set()  # files whose names were all synced, that were not removed or replaced since
        self.touched = dict.fromkeys(FOLDERS, False)  # changed since its last sync
        for folder in FOLDERS[1:]:
            disk.mkdir(folder)
        disk.sync_dir()

    def play(self, number: int, step: str, *args: str) -> None:
        match step:
            case "make":
                self.make(args[0], str(number))
            case "move":
                self.move(*args)
            case "remove" if self.disk.exists(args[0]):
                self.leave(args[0])
                self.disk.remove(args[0])
            case "sync":
                self.sync(args[0])
            case "sync all":
                for folder in FOLDERS:
                    self.sync(folder)
                self.safe = set(tree(self.disk).values())

    def make(self, path: str, content: str) -> None:
        if not self.disk.exists(path):
            with self.disk.open(path, "x") as file:
                file.write(content)
                file.sync()
            self.names[content] = {path}
            self.touched[os.path.dirname(path)] = True

    def move(self, path: str, new: str) -> None:
        if self.disk.exists(path) and path != new:
            if self.disk.exists(new):
                self.leave(new)
            self.names[load(self.disk, path).decode()].add(new)
            self.disk.rename(path, new)
            self.touched[os.path.dirname(path)] = self.touched[os.path.dirname(new)] = True

    def leave(self, path: str) -> None:
        self.safe.discard(load(self.disk, path).decode())
        self.touched[os.path.dirname(path)] = True

    def sync(self, folder: str) -> None:
        self.disk.sync_dir(folder)
        self.touched[folder] = False


@settings(max_examples=200)
@given(st.lists(moves, max_size=14), st.integers(0, 2**32))
def test_after_a_crash_each_file_is_under_one_of_its_names_and_synced_folders_are_as_they_were(
    program: list[Any], seed: int
) -> None:
    disk = make_disk(RandomWalk(seed))
    keeper = Keeper(disk)
    for number, step in enumerate(program):
        keeper.play(number, *step)
    before = tree(disk)
    disk.crash()
    after = tree(disk)
    assert len(set(after.values())) == len(after)  # none has two names
    assert [path for path, content in after.items() if path not in keeper.names[content]] == []
    assert keeper.safe - set(after.values()) == set()
    for folder in FOLDERS:
        if not keeper.touched[folder]:
            assert inside(after, folder) == inside(before, folder)
    disk.crash()
    assert tree(disk) == after


def test_a_file_moved_to_another_folder_is_after_a_crash_in_exactly_one_of_them() -> None:
    seen: set[tuple[bool, bool]] = set()
    for seed in range(40):
        disk = make_disk(RandomWalk(seed))
        disk.mkdir("d")
        disk.mkdir("e")
        store(disk, "d/x", b"x")
        disk.sync_dir()
        disk.rename("d/x", "e/y")
        store(disk, "d/x2", b"", sync=False)
        disk.crash()
        seen.add((disk.exists("d/x"), disk.exists("e/y")))
    assert seen == {(True, False), (False, True)}


def test_syncing_the_folder_that_a_file_has_left_makes_its_arrival_safe_too() -> None:
    disk = make_disk()
    disk.mkdir("d")
    store(disk, "x", b"x")
    disk.rename("x", "d/y")
    disk.sync_dir("/")
    disk.crash()
    assert (disk.listdir(), disk.listdir("d")) == (["d"], ["y"])


def test_a_file_that_went_on_and_on_has_left_all_places_but_the_one_where_a_crash_leaves_it() -> None:
    seen: set[str] = set()
    for seed in range(60):
        disk = make_disk(RandomWalk(seed))
        for folder in ("a", "b", "c"):
            disk.mkdir(folder)
        store(disk, "a/x", b"x")
        disk.sync_dir()
        disk.rename("a/x", "b/x")
        disk.rename("b/x", "c/x")
        disk.crash()
        (found,) = (folder for folder in ("a", "b", "c") if disk.exists(f"{folder}/x"))
        seen.add(found)
    assert seen == {"a", "b", "c"}


# --- Trouble on demand ------------------------------------------------------------------------------------------------


def test_a_full_disk_refuses_what_does_not_fit_and_writes_nothing_of_it() -> None:
    disk = make_disk()
    store(disk, "a", b"12345")
    disk.capacity = 8
    with disk.open("b", "wb") as file:
        assert file.write(b"123") == 3
        with pytest.raises(OSError, match="no room for 1 bytes") as caught:
            file.write(b"4")
        assert caught.value.errno == errno.ENOSPC
        with pytest.raises(OSError, match="no room for 4 bytes"):
            file.truncate(4)
        file.seek(0)
        file.write(b"abc")  # what replaces old bytes needs no room
    with disk.open("a", "r+") as text:
        text.seek(4)
        with pytest.raises(OSError, match="no room"):
            text.write("xyz")
    assert (load(disk, "a"), load(disk, "b")) == (b"12345", b"abc")
    disk.remove("a")
    store(disk, "c", b"54321")
    disk.capacity = None
    store(disk, "d", bytes(1000))


def test_a_write_to_a_full_disk_may_be_torn() -> None:
    disk = make_disk(**{"disk.full.tear": 1, "disk.full.tear.at": [1]})
    disk.capacity = 4
    store(disk, "a", b"1")
    with disk.open("a", "ab") as file:
        with pytest.raises(OSError, match="no room for 9 bytes"):
            file.write(b"abcdefghi")
        assert load(disk, "a") == b"1ab"
        with pytest.raises(OSError, match="no room for 2 bytes"):
            file.write(b"xy")
    assert load(disk, "a") == b"1abx"


@pytest.mark.parametrize(
    ("operation", "action"),
    [
        ("open", lambda disk, file: disk.open("d/f")),
        ("read", lambda disk, file: file.read()),
        ("write", lambda disk, file: file.write(b"y")),
        ("truncate", lambda disk, file: file.truncate(0)),
        ("sync", lambda disk, file: file.sync()),
        ("sync", lambda disk, file: disk.sync("d/f")),
        ("sync_dir", lambda disk, file: disk.sync_dir("d")),
        ("rename", lambda disk, file: disk.rename("d/f", "g")),
        ("remove", lambda disk, file: disk.remove("d/f")),
        ("mkdir", lambda disk, file: disk.mkdir("d/new")),
        ("listdir", lambda disk, file: disk.listdir("d")),
    ],
)
def test_an_operation_can_be_made_to_fail_and_does_nothing_then(operation: str, action: Callable[..., Any]) -> None:
    disk = make_disk()
    disk.mkdir("d")
    store(disk, "d/f", b"x")
    with disk.open("d/f", "r+b") as file:
        disk.fail("/elsewhere/*", errno.EIO, times=100)
        disk.fail("/d*", errno.EIO, operation=operation, times=2)
        for _ in range(2):
            with pytest.raises(OSError, match=os.strerror(errno.EIO)):
                action(disk, file)
            assert (disk.size("d/f"), file.tell()) == (1, 0)
        assert disk.listdir("/d") == ["f"] if operation != "listdir" else True
        done = action(disk, file)
        if isinstance(done, io.IOBase):
            done.close()
    assert disk.open_files() == []


def test_any_error_can_be_asked_for_and_any_operation_meets_it() -> None:
    disk = make_disk()
    disk.fail("*", PermissionError(errno.EACCES, "not you"))
    with pytest.raises(PermissionError, match="not you"):
        disk.listdir()
    assert disk.listdir() == []
    with pytest.raises(ValueError, match=r"operation must be one of open, read, .*, got 'fly'"):
        disk.fail("*", errno.EIO, operation="fly")
    with pytest.raises(ValueError, match="times must be at least 1, got 0"):
        disk.fail("*", errno.EIO, times=0)


def test_what_a_failed_sync_was_to_make_safe_is_not_made_safe_by_the_next() -> None:
    disk = make_disk()
    store(disk, "a", b"")
    with disk.open("a", "wb") as file:
        file.write(b"one")
        disk.fail("/a", errno.EIO, operation="sync")
        with pytest.raises(OSError, match=os.strerror(errno.EIO)):
            file.sync()
        file.write(b"two")
        file.sync()
    assert load(disk, "a") == b"onetwo"
    disk.crash()
    assert load(disk, "a") == b"\0\0\0two"
