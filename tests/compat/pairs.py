"""Pages with pairs: how it is done elsewhere, in ```py blocks, and how here, in ```python blocks.

The ```py blocks are one program, as the ```python blocks are another; tests/examples/test_docs.py runs those. What a
```py block prints is in the next ```text block, also if a ```python block is in between, which prints the same.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

from tests.examples.test_docs import Block, blocks, run, split


def check_pairs(page: Path) -> int:
    """Run the ```py blocks of *page* and compare what they print; how many there are."""
    module = ModuleType("program_before")
    sys.modules[module.__name__] = module
    try:
        before = [(block, _printed_after(block, page)) for block in blocks(page) if block.language == "py"]
        for block, printed in before:
            shown, _ = split(run(block, page, vars(module)))
            assert shown == printed, f"{page.name}, line {block.line}"
    finally:
        del sys.modules[module.__name__]
    return len(before)


def _printed_after(block: Block, page: Path) -> list[str]:
    following = [each for each in blocks(page) if each.line > block.line]
    text = next(each for each in following if each.language == "text")
    assert "py" not in [each.language for each in following[: following.index(text)]], f"line {block.line}: no output"
    assert text.text.strip(), f"line {block.line}: an output that says nothing"
    return split(text.text)[0]
