"""The example `examples/code_index`: its parts, and the whole of it on a small folder."""

from __future__ import annotations

import ast
import functools
import os
import re
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pytest

from examples.code_index.files import BROKEN, default_folders, python_files
from examples.code_index.parsing import Definition, definitions, parse
from examples.code_index.report import Failure, SumError, Tally, answer, check, summary
from examples.code_index.workers import Workers, WorkersLost
from tests.examples.stage import EXAMPLES, TIMEOUT, environment
from understudy.cli import main

EXAMPLE = str(BROKEN.parent)

BROKEN_FILES = sorted(path.name for path in BROKEN.glob("*.py"))


# Broken files


@pytest.mark.parametrize("name", BROKEN_FILES)
def test_each_broken_file_fails_on_this_python(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises((SyntaxError, ValueError, MemoryError, RecursionError)):
            parse(BROKEN / name)


def test_there_are_at_least_twelve_broken_files() -> None:
    assert len(BROKEN_FILES) >= 12


# Parsing


def test_functions_classes_and_imports_are_found_wherever_they_are() -> None:
    source = """
import os, sys as system
from pathlib import Path
class Outer:
    def method(self):
        class Inner: ...
try:
    import fast
except ImportError:
    async def slow(): ...
else:
    def other(): ...
finally:
    import json
match 1:
    case 1:
        def matched(): ...
if True: pass
elif True:
    def chosen(): ...
for _ in (): pass
else:
    with open("x"):
        while True:
            class Deep: ...
"""
    found = {(definition.kind, definition.name) for definition in definitions(ast.parse(source))}
    assert found == {
        *(("import", name) for name in ("os", "sys", "Path", "fast", "json")),
        *(("function", name) for name in ("method", "slow", "other", "matched", "chosen")),
        *(("class", name) for name in ("Outer", "Inner", "Deep")),
    }


def test_a_definition_knows_its_line(tmp_path: Path) -> None:
    file = tmp_path / "one.py"
    file.write_text("x = lambda: 0\n\ndef f(): return (lambda: 1)\n")
    module = parse(file)
    assert module.path == file
    assert module.definitions == (Definition("function", "f", 3),)


def test_a_file_is_read_in_the_encoding_that_it_declares(tmp_path: Path) -> None:
    file = tmp_path / "latin.py"
    file.write_bytes("# coding: latin-1\ndef für(): ...\n".encode("latin-1"))
    assert parse(file).definitions == (Definition("function", "für", 2),)


# Files


def test_each_file_is_found_once_though_folders_overlap(tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    for path in (tmp_path / "a.py", inner / "b.py", inner / "notes.txt"):
        path.write_text("")
    (tmp_path / "again.py").symlink_to(inner / "b.py")
    found = [path.resolve() for path in python_files([tmp_path, inner])]
    assert sorted(found) == [tmp_path / "a.py", inner / "b.py"]


def test_installed_packages_are_left_out_unless_given(tmp_path: Path) -> None:
    packages = tmp_path / "site-packages"
    packages.mkdir()
    (packages / "theirs.py").write_text("")
    assert list(python_files([tmp_path])) == []
    assert list(python_files([packages])) == [packages / "theirs.py"]


def test_what_only_looks_like_a_file_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "folder.py").mkdir()
    (tmp_path / "dangling.py").symlink_to(tmp_path / "gone")
    assert list(python_files([tmp_path])) == []


def test_a_folder_that_cannot_be_read_is_reported(tmp_path: Path) -> None:
    complaints: list[OSError] = []
    assert list(python_files([tmp_path / "gone"], complaints.append)) == []
    assert [complaint.filename for complaint in complaints] == [str(tmp_path / "gone")]


def test_by_default_the_standard_library_and_the_broken_files_are_read() -> None:
    files = {path.name for path in python_files(default_folders())}
    assert {"dataclasses.py", *BROKEN_FILES} <= files


# The report

Places = tuple[tuple[Path, Definition], ...]
A, B, C = Path("folder/a.py"), Path("folder/b.py"), Path("folder/c.py")


def tally(indexed: set[Path], failed: set[Path], twice: tuple[Path, ...] = (), places: Places = ()) -> Tally:
    failures = {path: Failure(path, "SyntaxError", "invalid syntax") for path in failed}
    return Tally(frozenset(indexed), failures, twice, {"function": 2, "class": 1, "import": 0}, places)


def test_a_sum_that_holds_is_a_sentence() -> None:
    assert check({A, B, C}, tally({A, B}, {C})).startswith("The sum holds: 3 seen = 2 indexed + 1 failed")


@pytest.mark.parametrize(
    ("counted", "complaint"),
    [
        (tally({A}, {C}), "lost: folder/b.py"),
        (tally({A, B}, {C, Path("d.py")}), "counted but never seen: d.py"),
        (tally({A, B, C}, {C}), "counted twice: folder/c.py"),
        (tally({A, B}, {C}, twice=(A,)), "counted twice: folder/a.py"),
    ],
)
def test_a_sum_that_does_not_hold_names_the_files(counted: Tally, complaint: str) -> None:
    with pytest.raises(SumError, match=complaint):
        check({A, B, C}, counted)


def test_the_summary_names_what_failed_and_counts_the_reasons() -> None:
    text = "\n".join(summary({A, B, C}, tally({A}, {B, C}), crashes=2, restarts=2, seconds=1.25))
    assert "folder/b.py  SyntaxError: invalid syntax" in text
    assert "failed            2  SyntaxError 2" in text
    assert "definitions         3  function 2, class 1, import 0" in text


def test_without_failures_the_summary_names_none() -> None:
    lines = list(summary({A}, tally({A}, set()), crashes=0, restarts=0, seconds=0.1))
    assert lines[0].startswith("files seen")
    assert not any("crashed on" in line for line in lines)


def test_an_answer_tells_definitions_from_imports() -> None:
    places = ((B, Definition("class", "X", 7)), (A, Definition("function", "X", 3)), (C, Definition("import", "X", 1)))
    assert list(answer("X", tally(set(), set(), places=places))) == [
        "X is defined in",
        "  folder/a.py:3  function",
        "  folder/b.py:7  class",
        "and imported in 1 place",
    ]


def test_an_answer_says_that_there_is_none() -> None:
    assert list(answer("X", tally(set(), set()))) == ["X is defined nowhere in these folders"]


def test_a_name_that_is_no_text_is_shown_escaped() -> None:
    path = Path("folder/bad\udcff\nname.py")
    failures = {path: Failure(path, "SyntaxError", "invalid syntax")}
    lines = summary({path}, Tally(frozenset(), failures, (), {}), crashes=1, restarts=1, seconds=0.1)
    assert r"'folder/bad\udcff\nname.py'" in next(line for line in lines if "bad" in line)


# The worker processes


@pytest.mark.asyncio
@pytest.mark.real_time
@pytest.mark.leaks("descriptors")  # that of multiprocessing's resource tracker, which stays
async def test_a_file_that_kills_its_process_costs_the_next_one_nothing() -> None:
    workers = Workers(1)
    workers.open()
    try:
        first = await workers.parse(Path(__file__))
        os.kill(workers._started[0].result(), signal.SIGKILL)
        with pytest.raises(BrokenProcessPool):
            await workers.parse(Path(__file__))
        workers.check()
        assert await workers.parse(Path(__file__)) == first
    finally:
        await workers.close()


@pytest.mark.asyncio
@pytest.mark.real_time
@pytest.mark.leaks("descriptors")
async def test_processes_that_do_not_come_up_are_not_started_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("examples.code_index.workers._settle_in", functools.partial(os._exit, 1))
    workers = Workers(1)
    workers.open()
    try:
        workers.check()
        with pytest.raises(BrokenProcessPool):
            await workers.parse(Path(__file__))
        with pytest.raises(WorkersLost):
            workers.check()
    finally:
        await workers.close()


# The program


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "inner").mkdir()
    (tmp_path / "one.py").write_text("import os\n\nclass Kept:\n    def method(self): ...\n")
    (tmp_path / "inner" / "two.py").write_text("from one import Kept\n\ndef function(): ...\n")
    (tmp_path / "inner" / "bad.py").write_text("def function(: ...\n")
    return tmp_path


def process(*args: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "understudy", "run", *args],
        env=environment(EXAMPLES),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        start_new_session=True,  # so that a signal can be sent to all its processes, as a terminal does
    )


def test_the_program_survives_each_broken_file_and_its_sum_holds(folder: Path) -> None:
    program = process(EXAMPLE, "--", "--workers", "2", "--query", "Kept", str(folder), str(BROKEN))
    out, err = program.communicate(timeout=TIMEOUT)
    assert program.returncode == 0, err
    failed = len(BROKEN_FILES) + 1
    assert f"The sum holds: {failed + 2} seen = 2 indexed + {failed} failed; none lost, none counted twice." in out
    assert re.search(rf"^restarts +{failed}$", out, re.MULTILINE)
    assert re.search(r"^definitions +5  function 2, class 1, import 2$", out, re.MULTILINE)
    for name in BROKEN_FILES:
        assert f"  broken/{name} " in out
    assert out.endswith(f"Kept is defined in\n  {folder}/one.py:3  class\nand imported in 1 place\n")
    assert "Traceback" not in err


def test_a_sum_that_does_not_hold_is_a_failure_of_the_program(folder: Path, tmp_path: Path) -> None:
    cheat = tmp_path / "cheat.py"
    cheat.write_text("""\
from code_index import crew
from code_index.program import program

honest = crew.python_files
crew.python_files = lambda *args: iter([*honest(*args), *honest(*args)])
""")
    program = process(str(cheat), "--", "--workers", "1", str(folder / "inner"))
    out, err = program.communicate(timeout=TIMEOUT)
    assert program.returncode == 1
    assert "The sum holds" not in out
    assert "SumError: counted twice: " in err
    assert f"{folder}/inner/two.py" in err


def test_ctrl_c_in_the_middle_is_an_orderly_end_of_all_processes() -> None:
    program = process(EXAMPLE)
    assert program.stderr is not None
    try:
        while "started" not in (line := program.stderr.readline()):
            assert line
        os.killpg(program.pid, signal.SIGINT)
        out, err = program.communicate(timeout=TIMEOUT)
        assert program.returncode == 0, err
        assert out == ""
        assert "ended actors=0" in err
        assert "Traceback" not in err
        assert ends(program.pid)
    finally:
        program.kill()
        program.communicate()


def ends(group: int) -> bool:
    """Whether no process of *group* is left, after a moment."""
    deadline = time.monotonic() + 10.0
    while time.monotonic() < deadline:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.02)
    return False


@pytest.fixture
def imports(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(sys, "path", sys.path.copy())
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] == "code_index"]:
        del sys.modules[name]


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (["--fast"], "unrecognized arguments: --fast"),
        (["--workers", "0"], "argument --workers: must be a number from 1 to 60, got '0'"),
        (["--workers", "many"], "argument --workers: must be a number from 1 to 60, got 'many'"),
        (["--workers"], "argument --workers: expected one argument"),
        (["--query"], "argument --query: expected one argument"),
        (["--query", ""], "argument --query: must be a name, got ''"),
        (["no/such/folder"], "there is no folder no/such/folder"),
        (["{folder}/one.py"], "{folder}/one.py is not a folder"),
        (["{folder}/empty"], "there are no Python files in {folder}/empty"),
    ],
)
@pytest.mark.usefixtures("imports")
def test_arguments_that_make_no_sense_give_one_sentence(
    args: list[str], sentence: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "empty").mkdir()
    assert main(["run", EXAMPLE, "--", *(arg.format(folder=folder) for arg in args)]) == 2
    assert capsys.readouterr() == ("", f"understudy: {sentence.format(folder=folder)}\n")


@pytest.mark.usefixtures("imports")
def test_its_tree_can_be_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", EXAMPLE, "--tree", "--", "--workers", "2"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("code_index  CodeIndex, ")
    assert out.count("  Parser, ") == 4
