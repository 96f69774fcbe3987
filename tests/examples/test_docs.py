"""The pages: README.md and all below docs. Their examples run, their output is real, their links lead somewhere.

The rule of a page: its ```python blocks are one program, run from top to bottom, each in the names that those before it
have left. A block may stand for a file, whose name is the comment in its first line. Functions of a block whose names
begin with `test_` are called, as pytest would. The next ```text block, if it comes before the next ```python block, is
what the block prints. A ```console block is a command (after `$`) and what it prints. Other blocks are not run.

In the comparison the time of a log line does not matter, nor between which printed lines it stands: the log is written
by an actor of its own, so it is compared apart.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import io
import linecache
import re
import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from understudy import Settings, exceptions, reasons
from understudy.cli import main as understudy_command

ROOT = Path(__file__).parent.parent.parent
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
GUARANTEES = ROOT / "docs" / "semantics.md"

# Clauses whose tests are not in tests/guarantees.
ELSEWHERE = {"A5": "tests/actors/test_context_variables.py"}


@dataclass
class Block:
    """A fenced block of a page."""

    language: str
    text: str
    line: int  # of its first line


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of *page*, in their order."""
    text = page.read_text("utf-8")
    fences = re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [Block(each[1], each[2], text.count("\n", 0, each.start(2)) + 1) for each in fences]


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


all_pages = pytest.mark.parametrize("page", PAGES, ids=name_of)


# Examples


@all_pages
def test_the_examples_of_a_page_run_and_print_what_it_says(
    page: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("UNDERSTUDY_TAPES", str(tmp_path))  # of runs that are meant to fail
    module = ModuleType("program_of_the_page")
    monkeypatch.setitem(sys.modules, module.__name__, module)  # pydantic looks up where a class was made
    names = vars(module)
    parts = [block for block in blocks(page) if block.language in ("python", "text", "console")]
    for block, following in zip(parts, [*parts, None][1:], strict=True):
        if block.language == "python":
            printed = run(block, page, names)
            if following is not None and following.language == "text":
                assert split(printed) == split(following.text), f"{name_of(page)}, line {following.line}"


@all_pages
def test_the_commands_of_a_page_print_what_it_says(
    page: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    for block in blocks(page):
        if block.language == "console":
            command, _, expected = block.text.partition("\n")
            prompt, program, *arguments = shlex.split(command)
            assert (prompt, program) == ("$", "understudy"), f"{name_of(page)}, line {block.line}"
            assert understudy_command(arguments) == 0
            assert capsys.readouterr().out == expected, f"{name_of(page)}, line {block.line}"


def run(block: Block, page: Path, names: dict[str, Any]) -> str:
    """What *block* prints when it runs in *names*, which it changes."""
    first, _, _ = block.text.partition("\n")
    file = named[1] if (named := re.fullmatch(r"# ([\w.]+\.py)", first)) else f"{name_of(page)}, line {block.line}"
    linecache.cache[file] = (len(block.text), None, block.text.splitlines(keepends=True), file)
    before = set(names)
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        exec(compile(block.text, file, "exec", dont_inherit=True), names)
        for name in sorted(set(names) - before):
            if name.startswith("test_"):
                result = names[name]()
                if inspect.iscoroutine(result):
                    asyncio.run(result)
    return output.getvalue()


def split(text: str) -> tuple[list[str], list[str]]:
    """The lines that were printed, and those that were logged, without their time; indented ones belong to the log
    that they follow."""
    printed: list[str] = []
    logged: list[str] = []
    into = printed
    for line in re.sub(r"\x1b\[[\d;]*m", "", text).splitlines():
        if (rest := re.sub(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d ", "", line)) != line:
            into = logged
        elif not line.startswith("  "):
            into = printed
        into.append(rest.rstrip())
    return printed, logged


# Links


@all_pages
def test_the_links_of_a_page_lead_somewhere(page: Path) -> None:
    lost = [f"line {line}: {target}" for line, target in links(page) if "://" not in target and not leads(page, target)]
    assert lost == []


def links(page: Path) -> Iterator[tuple[int, str]]:
    """The targets of the links of *page*, with their lines."""
    text = re.sub(
        r"^```.*?^```$",
        lambda code: "\n" * code[0].count("\n"),
        page.read_text("utf-8"),
        flags=re.MULTILINE | re.DOTALL,
    )
    for link in re.finditer(r"\]\(([^)\s]+)\)", text):
        yield text.count("\n", 0, link.start()) + 1, link[1]


def leads(page: Path, target: str) -> bool:
    """Whether *target* is a file, and its anchor, if it has one, a heading in it."""
    path, _, anchor = target.partition("#")
    file = (page.parent / path).resolve() if path else page
    return file.exists() and file.is_relative_to(ROOT) and (not anchor or anchor in anchors(file))


@functools.cache
def anchors(page: Path) -> set[str]:
    """What headings of *page* can be linked to, as GitHub names them."""
    text = re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    found: set[str] = set()
    for heading in re.findall(r"^#+ +(.+?) *$", text, re.MULTILINE):
        name = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        number = 0
        while (unique := f"{name}-{number}" if number else name) in found:
            number += 1
        found.add(unique)
    return found


def test_a_dead_link_and_a_dead_anchor_are_found() -> None:
    readme = ROOT / "README.md"
    assert leads(readme, "docs/semantics.md")
    assert leads(readme, "docs/semantics.md#defaults")
    assert not leads(readme, "docs/nothing.md")
    assert not leads(readme, "docs/semantics.md#nothing")


def test_each_page_of_the_docs_can_be_reached_from_the_readme() -> None:
    assert set(PAGES) - linked(ROOT / "README.md") - linked(ROOT / "docs" / "reference.md") == {ROOT / "README.md"}
    assert ROOT / "docs" / "reference.md" in linked(ROOT / "README.md")


def linked(page: Path) -> set[Path]:
    """The files to which *page* has links."""
    return {(page.parent / target.partition("#")[0]).resolve() for _, target in links(page)}


# The page of guarantees against the code


def documented_clauses() -> set[str]:
    """The clauses that the page of guarantees states; each begins a paragraph in bold."""
    return set(re.findall(r"^\*\*([A-Z]\d+[a-z]?)\b", GUARANTEES.read_text("utf-8"), re.MULTILINE))


def test_each_documented_clause_has_tests_and_each_tested_clause_is_documented() -> None:
    files = (ROOT / "tests" / "guarantees").glob("test_*.py")
    tested = {file.name.split("_")[1] for file in files}
    tested = {clause[0].upper() + clause[1:] for clause in tested} | set(ELSEWHERE)
    assert documented_clauses() == tested
    for place in ELSEWHERE.values():
        assert (ROOT / place).exists()


def test_the_table_of_settings_is_that_of_the_code() -> None:
    table = section("Settings of a system")
    documented = dict(re.findall(r"^\| `(\w+)` \| `([^`]+)` \|", table, re.MULTILINE))
    settings = Settings()
    assert documented == {name: shown(getattr(settings, name)) for name in Settings.model_fields}


def shown(value: object) -> str:
    return repr(value).replace("capacity=10000", "capacity=10_000")


def test_each_exception_is_in_the_table_of_exceptions() -> None:
    documented = re.findall(r"^\| `(\w+)`", section("Exceptions"), re.MULTILINE)
    assert sorted(documented) == sorted(set(exceptions.__all__) - {"UnderstudyError"})


def test_each_exit_reason_is_in_the_table_of_exit_reasons() -> None:
    table = section("Exit reasons")
    documented = dict(re.findall(r"^\| `(\w+)[^|]*\| (yes|no) \|", table, re.MULTILINE))
    kinds = {kind.__name__: kind for kind in reasons.ExitReason.__args__}
    assert documented.keys() == kinds.keys()
    made = {name: kind.__new__(kind) for name, kind in kinds.items()}
    assert documented == {name: "yes" if reasons.is_abnormal(reason) else "no" for name, reason in made.items()}


def section(title: str) -> str:
    """The text under that heading of the page of guarantees."""
    text = GUARANTEES.read_text("utf-8")
    found = re.search(rf"^(#+) {re.escape(title)}$\n(.*?)(?=^\1 |\Z)", text, re.MULTILINE | re.DOTALL)
    assert found is not None, title
    return found[2]
