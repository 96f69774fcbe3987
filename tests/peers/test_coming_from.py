"""The first block of each pair on the pages about Pykka and AutoGen, run with the real thing.

`make test-peers` installs what they need, in an environment of its own: autogen-core brings a fixed protobuf and more.
"""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.compat.pairs import check_pairs

DOCS = Path(__file__).parent.parent.parent / "docs"
PEERS = {"coming-from-pykka.md": "pykka", "coming-from-autogen.md": "autogen_core"}


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("page", PEERS)
def test_what_a_page_says_of_another_package_is_what_that_does(page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if importlib.util.find_spec(PEERS[page]) is None:
        pytest.skip(f"{PEERS[page]} is not installed here; make test-peers installs it")
    monkeypatch.chdir(DOCS.parent)
    assert check_pairs(DOCS / page) >= 4
