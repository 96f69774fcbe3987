"""The reference is what its tool makes of the source, has every public name, and shows what there is."""

from __future__ import annotations

import importlib
import inspect
import re
from pathlib import Path
from typing import Any

import pytest

from docs import _reference as reference
from tests.examples.stage import ROOT

PAGES = reference.pages()
ENTRIES = reference.entries()


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_the_page_is_what_the_tool_makes_of_the_source(path: Path) -> None:
    assert path.read_text("utf-8") == PAGES[path], "run `make docs`"


def test_there_is_no_page_that_the_tool_does_not_make() -> None:
    assert set((ROOT / "docs" / "reference").iterdir()) == set(PAGES) - {ROOT / "docs" / "reference.md"}


@pytest.mark.parametrize("facade", reference.FACADES)
def test_every_public_name_is_in_the_index_and_on_a_page(facade: str) -> None:
    names = set(importlib.import_module(facade).__all__) - reference.INTERNAL
    index = PAGES[ROOT / "docs" / "reference.md"]
    listed = index.partition(f"## {facade}\n")[2].partition("\n## ")[0]
    rows = dict(re.findall(r"^\| \[`(\w+)`\]\(reference/(\w+)\.md#\w+\) \| \S", listed, re.MULTILINE))
    assert rows.keys() == names
    for name, page in rows.items():
        assert f"\n## {name}\n" in PAGES[ROOT / "docs" / "reference" / f"{page}.md"]


def test_of_every_public_name_and_member_something_is_said() -> None:
    assert reference.undocumented() == []


def test_no_reference_in_a_docstring_is_left_as_it_was() -> None:
    for path, text in PAGES.items():
        assert re.findall(r":(?:class|func|meth|mod|attr):|``", text.replace("```", "")) == [], path


@pytest.mark.parametrize("name", ENTRIES)
def test_what_is_shown_is_what_there_is(name: str) -> None:
    entry = ENTRIES[name]
    found: Any = getattr(importlib.import_module(entry.modules[-1]), name)
    assert inspect.isclass(found) == (entry.kind == "class")
    if entry.kind == "function":
        check(entry.signatures, found)
    if entry.kind == "class":
        shown = {member.name: member for member in entry.members}
        assert {each for each in vars(found) if not each.startswith("_") and callable(getattr(found, each))} <= {*shown}
        for member in shown.values():
            method = inspect.getattr_static(found, member.name, None)
            if inspect.isfunction(method) and not member.is_attribute:
                check(member.signatures, method)


def check(signatures: tuple[str, ...], function: Any) -> None:
    """An overloaded function may name its parameters in another way than its overloads do."""
    if len(signatures) == 1:
        assert parameters(signatures[0]) == set(inspect.signature(function).parameters) - {"self"}


def parameters(signature: str) -> set[str]:
    """The names of the parameters that are shown."""
    inside = re.sub(r"^.*?\((.*)\).*$", r"\1", " ".join(signature.split()))
    while (less := re.sub(r"\[[^\[\]]*\]|\([^()]*\)|\"[^\"]*\"", "", inside)) != inside:
        inside = less
    names = {part.partition(":")[0].partition("=")[0].strip().lstrip("*") for part in inside.split(",")}
    return names - {"", "/"}


def test_a_stale_page_is_found_and_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(reference, "ROOT", tmp_path)
    monkeypatch.setattr(reference, "DOCS", tmp_path / "docs")
    (tmp_path / "docs" / "reference").mkdir(parents=True)
    (tmp_path / "docs" / "reference" / "gone.md").write_text("a page of what is not there any more")
    assert reference.main(["--check"]) == 1
    assert "reference/gone.md is not what" in capsys.readouterr().out
    assert reference.main([]) == 0
    assert reference.main(["--check"]) == 0
    assert not (tmp_path / "docs" / "reference" / "gone.md").exists()
    (tmp_path / "docs" / "reference" / "actors.md").write_text("by hand")
    assert reference.main(["--check"]) == 1
