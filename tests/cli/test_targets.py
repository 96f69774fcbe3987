"""From a text to a tree: which forms there are, and what is said when there is nothing to run."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from understudy._plans._spec import ChildSpec
from understudy.cli._targets import Target, declare, load
from understudy.exceptions import UsageError
from understudy.supervision._supervisor import Supervisor, supervisor

Write = Callable[..., Path]

HEAD = "from understudy import Actor, ChildSpec, Supervisor, UsageError, child, supervisor\n"
ALPHA = "class Alpha(Supervisor): ...\n"
BETA = "class Beta(Supervisor): ...\n"


@pytest.fixture(autouse=True)
def unchanged_imports(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Each test works in a folder of its own and leaves no modules behind."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path.copy())
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        del sys.modules[name]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(name: str, *parts: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(HEAD + "".join(map(dedent, parts)))
        return path

    return write


def named(target: Target) -> str:
    return target.tree.__name__ if isinstance(target.tree, type) else str(target.tree.name)


def complaint(text: str) -> str:
    with pytest.raises(UsageError) as caught:
        load(text)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# Forms


@pytest.mark.parametrize(
    "text",
    [
        "app:Alpha",
        "app",
        "app.py",
        "./app.py",
        "app.py:Alpha",
        "folder",
        "folder/",
        "folder:Alpha",
        "folder/program.py:Alpha",
        "package.inner:Alpha",
        "package",
    ],
)
def test_each_form_of_a_target_leads_to_its_tree(text: str, write: Write) -> None:
    for name in ("app.py", "folder/program.py", "package/__init__.py", "package/inner.py"):
        write(name, ALPHA)
    if text == "package":
        write("package/program.py", ALPHA)
    assert named(load(text)) == "Alpha"


def test_an_absolute_path_is_a_target(write: Write) -> None:
    assert named(load(str(write("deep/app.py", ALPHA)))) == "Alpha"


def test_a_folder_with_a_program_wins_over_a_module_of_its_name(write: Write) -> None:
    write("json/program.py", ALPHA)
    assert named(load("json")) == "Alpha"


def test_what_is_called_program_is_run(write: Write) -> None:
    write("app.py", ALPHA, BETA, "program = Beta\n")
    assert named(load("app.py")) == "Beta"


def test_program_may_be_imported(write: Write) -> None:
    write("helper.py", ALPHA)
    write("app.py", "from helper import Alpha as program\n", BETA)
    assert named(load("app.py")) == "Alpha"


def test_the_only_supervisor_class_is_run(write: Write) -> None:
    write("app.py", "class Worker(Actor[int]):\n    def handle_message(self, message): ...\n", ALPHA)
    assert named(load("app.py")) == "Alpha"


def test_the_only_declared_tree_is_run(write: Write) -> None:
    write("app.py", "tree = supervisor('tree')\n")
    assert named(load("app.py")) == "tree"


def test_imported_supervisors_and_trees_do_not_count(write: Write) -> None:
    write("helper.py", BETA, "tree = supervisor('tree')\n")
    write("app.py", "from helper import Beta, tree\nimport helper\n", ALPHA)
    assert named(load("app.py")) == "Alpha"


def test_a_second_name_for_the_same_tree_does_not_count(write: Write) -> None:
    write("app.py", ALPHA, "Again = Alpha\n")
    assert named(load("app.py")) == "Alpha"


def test_the_spec_of_a_single_actor_counts_only_by_name(write: Write) -> None:
    worker = """
        class Worker(Actor[int]):
            def handle_message(self, message): ...

        spare = child(Worker).options(name="spare")
    """
    write("app.py", worker, ALPHA)
    assert named(load("app.py")) == "Alpha"
    assert named(load("app.py:spare")) == "spare"


# Modules of their own


def test_a_file_sees_the_modules_beside_it(write: Write) -> None:
    write("folder/helper.py", ALPHA)
    write("folder/program.py", "from helper import Alpha\n\nclass Root(Alpha): ...\n")
    assert named(load("folder")) == "Root"


def test_a_program_in_a_package_uses_relative_imports(write: Write) -> None:
    write("outer/package/__init__.py")
    write("outer/package/inner/__init__.py")
    write("outer/package/helper.py", ALPHA)
    write("outer/package/inner/program.py", "from ..helper import Alpha\n\nclass Root(Alpha): ...\n")
    target = load("outer/package/inner")
    assert isinstance(target.tree, type)
    assert target.tree.__module__ == "package.inner.program"


def test_a_file_called_like_a_standard_module_does_not_take_its_place(write: Write) -> None:
    import queue

    write("queue.py", ALPHA)
    assert named(load("queue.py")) == "Alpha"
    assert sys.modules["queue"] is queue


def test_a_package_called_like_another_is_refused(write: Write) -> None:
    write("json/__init__.py")
    write("json/program.py", ALPHA)
    assert "its package cannot be called json, another module is" in complaint("json")


def test_two_programs_of_the_same_file_name_do_not_mix(write: Write) -> None:
    write("one/program.py", ALPHA)
    write("two/program.py", BETA)
    assert [named(load(text)) for text in ("one", "two", "one")] == ["Alpha", "Beta", "Alpha"]


def test_spawned_processes_can_import_what_is_beside_the_program(write: Write) -> None:
    write("folder/helper.py", "def double(number): return 2 * number\n")
    program = """
        import multiprocessing
        from concurrent.futures import ProcessPoolExecutor
        from helper import double

        def triple(number): return 3 * number

        class Root(Supervisor):
            def __init__(self):
                with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
                    assert pool.submit(double, 4).result() == 8
                    assert pool.submit(triple, 4).result() == 12
    """
    write("folder/program.py", program)
    script = "from understudy.cli._targets import load\nif __name__ == '__main__': load('folder').tree()"
    Path("main.py").write_text(script)
    subprocess.run([sys.executable, "main.py"], check=True, timeout=60)


# What is said when there is nothing to run


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("gone.py", "there is no file gone.py"),
        ("gone/folder", "there is no file or folder gone/folder"),
        ("gone", "there is no module gone"),
        ("gone:Alpha", "there is no module gone"),
        ("app.gone:Alpha", "there is no module app.gone"),
        ("notes.txt", "notes.txt is not a Python file"),
        ("empty", "the folder empty has no program.py"),
        ("app.py:Gamma", "app.py:Gamma: there is no Gamma in it, it defines Alpha, Beta, tree"),
        ("app.py", "app.py defines several trees: Alpha, Beta, tree; say which: app.py:Alpha"),
        ("app", "app defines several trees: Alpha, Beta, tree; say which: app:Alpha"),
        (
            "app.py:number",
            "app.py:number is of type int, not a supervisor class or a tree declared with",
        ),
        ("app.py:Worker", "app.py:Worker is the class Worker, not a supervisor class or a tree declared with"),
        ("none.py", "none.py defines no supervisor class and no tree declared with supervisor(...)"),
        ("none.py:Alpha", "none.py:Alpha: there is no Alpha in it, it defines no tree"),
        ("odd.py", "odd.py:program is of type str, not a supervisor class"),
        ("", "TARGET is empty"),
    ],
)
def test_a_bad_target_gives_one_clear_sentence(text: str, sentence: str, write: Write) -> None:
    worker = "class Worker(Actor[int]):\n    def handle_message(self, message): ...\n"
    write("app.py", ALPHA, BETA, worker, "tree = supervisor('tree')\nnumber = 1\n")
    write("none.py", "from app import Alpha as Imported\n")
    write("odd.py", "program = 'Alpha'\n", ALPHA)
    write("notes.txt")
    write("empty/other.py")
    assert complaint(text).startswith(sentence)


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("x = 1\nraise ValueError('no good')\n", "importing it raised ValueError: no good ({folder}/app.py:3)"),
        (
            "x = 1\nint('one')\n",
            "importing it raised ValueError: invalid literal for int() with base 10: 'one' ({folder}",
        ),
        (
            "import nothing_of_the_kind\n",
            "importing it raised ModuleNotFoundError: No module named 'nothing_of_the_kind' (",
        ),
        ("def f(:\n    pass\n", "importing it raised SyntaxError: invalid syntax ({folder}/app.py:2)"),
        ("import sys\nsys.exit('no')\n", "importing it raised SystemExit: no ({folder}/app.py:3)"),
        ("assert False\n", "importing it raised AssertionError ({folder}/app.py:2)"),
        (
            "import json\njson.loads('')\n",
            "importing it raised JSONDecodeError: Expecting value: line 1 column 1 (char 0)",
        ),
        ("supervisor('x', 1)\n", "declares what cannot work: children must be a list of child(...), got 1 in it"),
    ],
)
@pytest.mark.parametrize("text", ["app.py", "app:Alpha"])
def test_an_import_that_fails_gives_one_sentence_with_the_place(
    text: str, source: str, sentence: str, write: Write, tmp_path: Path
) -> None:
    write("app.py", source)
    told = complaint(text)
    assert told.startswith(f"{text} " if "declares" in sentence else f"{text}: ")
    assert sentence.format(folder=tmp_path) in told
    assert "app.py:" in told or "declares" in told


def test_a_failed_import_leaves_no_module(write: Write) -> None:
    write("app.py", "1 / 0\n")
    complaint("app.py")
    assert "app" not in sys.modules


# Arguments


class Taking(Supervisor):
    def __init__(self, number: int = 0) -> None:
        self.number = number

    @classmethod
    def from_args(cls, args: Any) -> Any:
        (text,) = args
        match text:
            case "usage":
                raise UsageError("a number is needed")
            case "leave":
                raise SystemExit(0)
            case "nothing":
                return None
            case _:
                return supervisor(text) if not text.isdecimal() else declare(Target("inner", Plain), ())


class Plain(Supervisor):
    pass


class Needing(Supervisor):
    def __init__(self, number: int) -> None: ...


TREE = supervisor("tree")


def test_arguments_become_a_spec() -> None:
    assert declare(Target("app.py", Taking), ["tree"]).name == "tree"


def test_without_from_args_the_class_itself_is_declared() -> None:
    spec = declare(Target("app.py", Plain), [])
    assert isinstance(spec, ChildSpec)
    assert spec.factory is Plain


def test_a_declared_tree_is_run_as_it_is() -> None:
    assert declare(Target("app.py", TREE), []) is TREE


@pytest.mark.parametrize(
    ("tree", "args", "sentence"),
    [
        (Plain, ["--fast"], "app.py takes no arguments (it has no from_args), got: --fast"),
        (TREE, ["--fast"], "app.py takes no arguments (it has no from_args), got: --fast"),
        (Needing, [], "app.py needs a from_args: arguments do not fit Needing(number:"),
        (Taking, ["usage"], "a number is needed"),
        (Taking, ["nothing"], "app.py: from_args must return a ChildSpec or an AsyncProgram, got NoneType"),
        (Taking, ["no name"], "app.py declares what cannot work: name must be letters"),
        (Taking, [], "app.py: its from_args raised ValueError: not enough values to unpack (expected 1, got 0) ("),
    ],
)
def test_arguments_that_do_not_fit_give_one_sentence(tree: Any, args: list[str], sentence: str) -> None:
    with pytest.raises(UsageError) as caught:
        declare(Target("app.py", tree), args)
    assert str(caught.value).startswith(sentence)


def test_a_program_may_print_its_help_and_leave() -> None:
    with pytest.raises(SystemExit):
        declare(Target("app.py", Taking), ["leave"])
