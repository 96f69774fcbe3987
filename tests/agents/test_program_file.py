"""Programs in TOML files: what may stand in them, and what is said of what may not."""

from __future__ import annotations

import copy
import pickle
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from understudy.agents import InvalidProgram, load_program
from understudy.cli._trees import draw

GOOD = """\
# Who is in it
[program]
name = "quarrel"
execute_timeout = 60
keep_going = true

[agents.writer]
class = "cast_of_a_file:Echo"
arguments = { log = ["a"] }

[agents.form]
class = "cast_of_a_file:Echo"
restart = "permanent"
shutdown = "brutal_kill"
mailbox = 10

[agents.content]
class = "cast_of_a_file:Echo"

[groups.panel]
agents = [
    "form",
    "content",
]
strategy = "one_for_all"
max_restarts = 1
"""


@pytest.fixture(autouse=True)
def cast(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(sys, "path", sys.path.copy())
    source = (Path(__file__).with_name("cast.py")).read_text("utf-8")
    (tmp_path / "cast_of_a_file.py").write_text(source, "utf-8")
    (tmp_path / "broken_of_a_file.py").write_text("raise OSError('no such luck')", "utf-8")
    yield
    sys.modules.pop("cast_of_a_file", None)


def problems(tmp_path: Path, text: str | bytes) -> list[str]:
    """What is said of a file with that text, without its path."""
    file = tmp_path / "program.toml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InvalidProgram) as caught:
        load_program(file)
    return [line.removeprefix(f"{file}:").strip() for line in str(caught.value).splitlines()]


def test_a_file_declares_what_a_class_would(tmp_path: Path) -> None:
    file = tmp_path / "program.toml"
    file.write_text(GOOD)
    program = load_program(file)
    assert (program.name, program.execute_timeout, program.keep_going) == ("quarrel", 60.0, True)
    assert program.front is None
    file.write_text(GOOD.replace("keep_going = true", 'front = "writer"'))
    assert load_program(file).front == "writer"
    assert draw(program.spec(), "x").splitlines()[2:] == [
        "├── writer  Echo, transient",
        "└── panel  AgentGroup, transient; one_for_all, 1 restarts in 5 s",
        "    ├── form  Echo, permanent",
        "    └── content  Echo, transient",
    ]


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ('"permanent"', '"always"', ["13: agents.form.restart: input should be 'permanent', 'transient' or"]),
        ("mailbox = 10", "mailbox = 0", ["15: agents.form.mailbox: input should be greater than or equal to 1, got 0"]),
        ('shutdown = "brutal_kill"', "shutdown = -1", ["14: agents.form.shutdown: must be a positive number"]),
        ("keep_going = true", 'keep_going = "yes"', ["5: program.keep_going: input should be a valid boolean"]),
        ("keep_going", "keep_gong", ["5: program.keep_gong: is no key that is known here"]),
        ('class = "cast_of_a_file:Echo"\nrestart', "restart", ["11: agents.form.class: field required"]),
        ('name = "quarrel"', 'name = "a b"', ["3: program.name: string should match pattern"]),
        ('log = ["a"]', "nonsense = 1", ["9: agents.writer.arguments: do not fit Echo"]),
        ("cast_of_a_file:Echo", "Echo", ["8: agents.writer.class: must be module:Class, got 'Echo'"]),
        ("cast_of_a_file:Echo", "cast_of_a_file:Gate", ["8: agents.writer.class: must name a class of agents"]),
        ("cast_of_a_file:Echo", "no_such_module:Echo", ["8: agents.writer.class: importing no_such_module raised"]),
        ("cast_of_a_file:Echo", "broken_of_a_file:Echo", ["8: agents.writer.class: importing broken_of_a_file raised"]),
        ('    "form",', '    "nobody",', ["21: groups.panel.agents: names 'nobody', which is no agent: there are"]),
        ('    "form",', '    "content",', ["21: groups.panel.agents: names 'content', which is in 'panel' already"]),
        ("[groups.panel]", "[groups.writer]", ["20: groups.writer: there is an agent 'writer' too"]),
        ("one_for_all", "all", ["25: groups.panel.strategy: input should be"]),
        ("mailbox = 10", 'depends_on = ["x"]', ["15: agents.form.depends_on: names 'x', which is no child"]),
        ("[agents.writer]", "[agents.a]\nb = 1\n[agents.writer]", ["7: agents.a.class: field", "8: agents.a.b: is no"]),
        ("keep_going = true", "keep_going = true\nkeep_going = true", ["6: Cannot overwrite a value"]),
        ("[program]", "[program", ["2: Expected"]),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_by_line_and_key(tmp_path: Path, before: str, after: str, said: list[str]) -> None:
    assert before in GOOD
    told = problems(tmp_path, GOOD.replace(before, after, 1))
    assert len(told) == len(said), told
    for line, beginning in zip(told, said, strict=True):
        assert line.startswith(beginning), told


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    text = GOOD.replace('"permanent"', '"always"').replace("mailbox = 10", "mailbox = 0").replace("true", "1")
    assert [line.partition(":")[0] for line in problems(tmp_path, text)] == ["5", "13", "15"]


def test_files_that_are_none_and_tables_that_are_missing_have_a_sentence(tmp_path: Path) -> None:
    assert problems(tmp_path, b"\xff\xfe")[0].startswith("is not UTF-8")
    assert problems(tmp_path, "x = 1") == ["agents: field required", "1: x: is no key that is known here"]
    assert problems(tmp_path, "#" * 1_000_001) == ["is larger than 1,000,000 bytes"]
    assert problems(tmp_path, "[agents]")[0].startswith("1: agents: dictionary should have at least 1 item")
    with pytest.raises(InvalidProgram, match="cannot be read"):
        load_program(tmp_path / "none.toml")


def test_the_error_survives_copying_and_pickling_with_its_facts(tmp_path: Path) -> None:
    with pytest.raises(InvalidProgram) as caught:
        load_program(tmp_path / "none.toml")
    for again in (copy.copy(caught.value), pickle.loads(pickle.dumps(caught.value))):
        assert (str(again), again.problems) == (str(caught.value), caught.value.problems)
    assert isinstance(caught.value, ValueError)
