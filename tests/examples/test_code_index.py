"""The example `examples/code_index`: its parts, and the whole of it on a small folder."""

from __future__ import annotations

import ast
import warnings
from pathlib import Path

import pytest

from examples.code_index.files import BROKEN, default_folders, python_files
from examples.code_index.parsing import Definition, definitions, parse
from examples.code_index.report import Failure, SumError, Tally, answer, check, summary

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
