"""The pairs of docs/migrating.md: what is there before runs on a stand-in for the old design, and prints the same.

What is there after is run by tests/examples/test_docs.py, like all pages.
"""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

import pytest

from tests.compat import old_design
from tests.compat.pairs import check_pairs
from tests.examples.test_docs import blocks

DOCS = Path(__file__).parent.parent.parent / "docs"
PAIRED = ["migrating.md", "coming-from-pykka.md", "coming-from-autogen.md"]


def test_what_is_there_before_does_what_the_page_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "old_design", old_design)
    assert check_pairs(DOCS / "migrating.md") >= 5


@pytest.mark.parametrize("name", PAIRED)
def test_what_is_there_before_is_followed_by_what_is_there_after_or_by_its_output(name: str) -> None:
    kinds = [block.language for block in blocks(DOCS / name)]
    after = [following for kind, following in itertools.pairwise(kinds) if kind == "py"]
    assert len(after) >= 4
    assert set(after) <= {"python", "text"}


def test_a_block_that_prints_something_else_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```py\n# before.py\nprint(1)\n```\n\n```text\n2\n```\n", "utf-8")
    with pytest.raises(AssertionError, match=r"page.md, line 2"):
        check_pairs(page)
