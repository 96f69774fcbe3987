"""`understudy replay` and `understudy shrink`, as somebody sees them who has only a tape."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from understudy.cli import main
from understudy.testing import _campaign as campaigns
from understudy.testing._tape import Tape

PROGRAM = """
import asyncio
from understudy import Actor, Message, child, handler
from understudy.testing import Faults, simulate

SIZE = 4


class Put(Message):
    number: int


class Shelf(Actor[Put]):
    def __init__(self, out: list[int]) -> None:
        self.out = out

    @handler
    def put(self, message: Put) -> None:
        self.out.append(message.number)


@simulate(schedules=300, faults=Faults(crash=0.1))
async def test_order(sim):
    out = []
    ref = await sim.system.spawn(child(Shelf, out).options(name="shelf"))

    async def produce(number):
        await asyncio.sleep(0)
        ref.tell(Put(number=number))

    async with asyncio.TaskGroup() as group:
        for number in range(SIZE):
            group.create_task(produce(number), name=f"producer {number}")
    await sim.clock.advance(1)
    assert out.index(SIZE - 1) > out.index(0) if {0, SIZE - 1} <= set(out) else True, "out of order"


@simulate(schedules=2)
async def test_fine(sim):
    await asyncio.sleep(1)


@simulate(schedules=2)
async def test_with_fixture(sim, tmp_path):
    raise ValueError(tmp_path)


class TestClass:
    @simulate(schedules=2)
    async def test_method(self, sim):
        raise ValueError(type(self).__name__)


def test_plain():
    pass
"""

MADE: list[tuple[str, bytes]] = []
"""The tape, once it has been made."""

Output = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A project whose tests lie in a folder that is no package."""
    folder = tmp_path / "tests"
    folder.mkdir()
    (folder / "test_program.py").write_text(PROGRAM)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path.copy())
    for name in ("UNDERSTUDY_SEED", "UNDERSTUDY_SCHEDULES", "UNDERSTUDY_TAPES"):
        monkeypatch.delenv(name, raising=False)
    modules, reports = set(sys.modules), list(campaigns.REPORTS)
    yield tmp_path
    for name in set(sys.modules) - modules:
        if name.endswith(("test_program", "helper_of_tapes", "test_other")):
            del sys.modules[name]
    campaigns.REPORTS[:] = reports


@pytest.fixture
def tape(project: Path) -> Path:
    """Of a run that failed, as `simulate` has saved it."""
    folder = project / ".understudy"
    if not MADE:
        program: dict[str, Any] = {"__name__": "test_program"}
        exec(compile(PROGRAM, str(project / "tests" / "test_program.py"), "exec"), program)
        with pytest.raises(AssertionError, match="out of order"):
            program["test_order"]()
        MADE.extend((path.name, path.read_bytes()) for path in folder.iterdir())
    ((name, content),) = MADE
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(content)
    return folder / name


def rewritten(path: Path, **changes: Any) -> Path:
    """Another tape, with other values."""
    made = path.with_name("other.json")
    made.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    return made


def said(capsys: Output) -> str:
    """What was printed; no traceback is ever part of it."""
    out, err = capsys.readouterr()
    assert "Traceback" not in out + err
    assert 'File "' not in out + err
    return out + err


def refused(capsys: Output, *args: object) -> str:
    """What is said of *args*, which are of no use: one line, on stderr."""
    assert main([str(arg) for arg in args]) == 2
    out, err = capsys.readouterr()
    assert "Traceback" not in out + err
    assert out == "" or out.startswith("note: ")
    return err


# Replay


def test_replay_tells_the_story_and_fails_as_it_failed(tape: Path, capsys: Output) -> None:
    assert main(["replay", str(tape)]) == 1
    text = said(capsys)
    assert re.search(r"^fails: AssertionError: out of order", text, re.MULTILINE)
    assert "/user/shelf handles Put(number=0)" in text
    assert "producer 0" in text
    assert "not the same run" not in text
    assert "note:" not in text


def test_replay_says_the_same_each_time(tape: Path, capsys: Output) -> None:
    assert main(["replay", str(tape)]) == 1
    first = said(capsys)
    assert main(["replay", str(tape)]) == 1
    assert said(capsys) == first


def test_replay_of_what_has_been_mended_says_that_it_passes(tape: Path, project: Path, capsys: Output) -> None:
    program = project / "tests" / "test_program.py"
    program.write_text(PROGRAM.replace("out.index(SIZE - 1) > out.index(0)", "True"))
    assert main(["replay", str(tape)]) == 0
    text = said(capsys)
    assert re.search(r"^passes", text, re.MULTILINE)
    assert "out of order" in text


def test_replay_of_code_that_has_changed_says_so(tape: Path, project: Path, capsys: Output) -> None:
    program = project / "tests" / "test_program.py"
    program.write_text(PROGRAM.replace("    out = []\n", "    out = []\n    await asyncio.sleep(0)\n"))
    main(["replay", str(tape)])
    text = said(capsys)
    assert "not the same run" in text or "passes" in text


def test_replay_under_another_python_says_so(tape: Path, capsys: Output) -> None:
    other = rewritten(tape, python="CPython 3.99.1")
    assert main(["replay", str(other)]) == 1
    assert re.search("CPython 3.99.1.*CPython 3.1", said(capsys))


def test_replay_does_not_write_anything(tape: Path, project: Path) -> None:
    before = {path: path.read_bytes() for path in project.rglob("*") if path.is_file() and path.suffix != ".pyc"}
    main(["replay", str(tape)])
    after = {path: path.read_bytes() for path in project.rglob("*") if path.is_file() and path.suffix != ".pyc"}
    assert after == before


def test_replay_of_a_method_of_a_test_class(tape: Path, capsys: Output) -> None:
    other = rewritten(tape, test="tests/test_program.py::TestClass.test_method", choices=[])
    assert main(["replay", str(other)]) == 1
    assert "ValueError: TestClass" in said(capsys)


def test_replay_of_a_test_that_imports_what_lies_beside_it_as_pytest_allows(
    tape: Path, project: Path, capsys: Output
) -> None:
    (project / "tests" / "helper_of_tapes.py").write_text("SIZE = 4\n")
    program = project / "tests" / "test_program.py"
    program.write_text(PROGRAM.replace("SIZE = 4\n", "from helper_of_tapes import SIZE\n"))
    assert main(["replay", str(tape)]) == 1
    assert "out of order" in said(capsys)


# Shrink


def test_shrink_writes_a_plainer_tape_that_still_fails(tape: Path, project: Path, capsys: Output) -> None:
    before = Tape.load(tape)
    noisy = rewritten(tape, choices=[*json.loads(tape.read_text())["choices"], ["draw", "budget/0", "1"]])
    assert main(["shrink", str(noisy), "--output", str(project / "plain.json")]) == 0
    text = said(capsys)
    plain = Tape.load(project / "plain.json")
    assert len(plain.choices) <= len(before.choices)
    assert f"{len(before.choices) + 1} choices before, {len(plain.choices)} now" in text
    assert "plain.json" in text
    assert len(Tape.load(noisy).choices) == len(before.choices) + 1
    assert main(["replay", str(project / "plain.json")]) == 1
    assert "out of order" in said(capsys)


def test_shrink_takes_the_place_of_the_tape_and_then_finds_nothing_more(tape: Path, capsys: Output) -> None:
    assert main(["shrink", str(tape)]) == 0
    plain = Tape.load(tape)
    assert main(["shrink", str(tape)]) == 0
    assert Tape.load(tape).choices == plain.choices
    said(capsys)


def test_shrink_keeps_to_its_attempts(tape: Path, capsys: Output) -> None:
    assert main(["shrink", str(tape), "--attempts", "1"]) == 0
    assert "choices before" in said(capsys)


def test_a_tape_that_does_not_fail_cannot_be_shrunk(tape: Path, capsys: Output) -> None:
    other = rewritten(tape, test="tests/test_program.py::test_fine", choices=[])
    content = other.read_bytes()
    assert "does not fail" in refused(capsys, "shrink", other)
    assert other.read_bytes() == content


def test_an_output_that_cannot_be_written_is_named(tape: Path, project: Path, capsys: Output) -> None:
    content = tape.read_bytes()
    where = project / "missing" / "plain.json"
    assert f"{where} cannot be written: No such file" in refused(capsys, "shrink", tape, "-o", where)
    assert tape.read_bytes() == content


# What is of no use

COMMANDS = ["replay", "shrink"]


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("content", ["", "{", "[]", '{"version": 1}', "\x00"])
def test_junk_is_no_tape(command: str, content: str, project: Path, capsys: Output) -> None:
    (project / "junk.json").write_text(content)
    text = refused(capsys, command, "junk.json")
    assert text.startswith("understudy: junk.json is no tape")
    assert text.count("\n") == 1


@pytest.mark.parametrize("command", COMMANDS)
def test_a_missing_tape_is_named(command: str, capsys: Output) -> None:
    assert "missing.json cannot be read: No such file" in refused(capsys, command, "missing.json")
    assert "cannot be read" in refused(capsys, command, ".")


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"version": 99}, "version"),
        ({"faults": {"wind": 1}}, "faults"),
        ({"choices": [["draw", "a/0", "many"]]}, "choices"),
        ({"test": "tests/nowhere.py::test_x"}, "nowhere.py"),
        ({"test": "tests/test_program.py::test_nowhere"}, "test_nowhere"),
        ({"test": "tests/test_program.py::test_plain"}, "@simulate"),
        ({"test": "tests/test_program.py"}, "test_program.py"),
        ({"test": "tests/test_program.py::"}, "test_program.py"),
        ({"test": "tests::test_x"}, "tests"),
        ({"test": ""}, "test"),
        ({"test": "tests/test_program.py::make.<locals>.test_x"}, "test_x"),
    ],
    ids=str,
)
def test_what_does_not_fit_is_told_in_a_line(
    command: str, changes: dict[str, Any], told: str, tape: Path, capsys: Output
) -> None:
    text = refused(capsys, command, rewritten(tape, **changes))
    assert text.startswith("understudy: ")
    assert told in text


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    "code",
    [
        "import nothing_of_that_name",
        "raise SystemExit(5)",
        "syntax error",
        "import pytest; pytest.skip(allow_module_level=True)",  # the text of a file that skips itself; nothing here is
    ],
)
def test_a_test_file_that_cannot_be_imported_is_told_in_a_line(
    command: str, code: str, tape: Path, project: Path, capsys: Output
) -> None:
    (project / "tests" / "test_other.py").write_text(code)
    text = refused(capsys, command, rewritten(tape, test="tests/test_other.py::test_x"))
    assert "tests/test_other.py cannot be imported" in text


@pytest.mark.parametrize("command", COMMANDS)
def test_a_file_that_is_no_python_is_told_in_a_line(command: str, tape: Path, project: Path, capsys: Output) -> None:
    (project / "tests" / "notes.txt").write_text("no code")
    assert "notes.txt" in refused(capsys, command, rewritten(tape, test="tests/notes.txt::test_x"))


@pytest.mark.parametrize("command", COMMANDS)
def test_a_test_that_takes_more_from_pytest_says_how_to_run_it(command: str, tape: Path, capsys: Output) -> None:
    text = refused(capsys, command, rewritten(tape, test="tests/test_program.py::test_with_fixture"))
    assert "tmp_path" in text
    assert "pytest" in text


def test_what_is_advised_for_tests_with_fixtures_exists(tape: Path, capsys: Output, pytester: pytest.Pytester) -> None:
    text = refused(capsys, "replay", rewritten(tape, test="tests/test_program.py::test_with_fixture"))
    options = re.findall(r"(--[a-z-]+)", text)
    known = pytester.runpytest_inprocess("--help", "-p", "no:cacheprovider").stdout.str()
    assert [option for option in options if option not in known] == []


BAD_ARGUMENTS: list[list[str]] = [
    ["replay"], ["replay", "a", "b"], ["replay", "--wrong", "a"], ["shrink"], ["shrink", "a", "--attempts", "0"],
    ["shrink", "a", "--attempts", "many"], ["shrink", "a", "--output"],
]  # fmt: skip


@pytest.mark.parametrize("args", BAD_ARGUMENTS, ids=" ".join)
def test_bad_arguments_are_told_with_the_usage(args: list[str], capsys: Output) -> None:
    assert main(args) == 2
    text = said(capsys)
    assert f"Usage: understudy {args[0]}" in text or "--output" in text


@pytest.mark.parametrize("command", COMMANDS)
def test_help_says_what_it_does(command: str, capsys: Output) -> None:
    assert main([command, "--help"]) == 0
    text = said(capsys)
    assert "TAPE" in text
    assert "simulated test" in text or "plainer run" in text
