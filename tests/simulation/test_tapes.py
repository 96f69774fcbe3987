"""Runs that have failed once, each because of a bug of the runtime that has been mended: they pass now.

A tape holds the choices of a run, not the run: where the code has changed since, it is followed as far as it fits.
"""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from understudy.testing._campaign import Simulated
from understudy.testing._tape import Tape

TAPES = sorted((Path(__file__).parent / "tapes").glob("*.json"))


def simulated(test: str) -> Simulated:
    file, _, name = test.partition("::")
    module = importlib.import_module(".".join(Path(file).with_suffix("").parts))
    found: object = getattr(module, name).simulated
    assert isinstance(found, Simulated)
    return found


def test_there_are_tapes() -> None:
    assert len(TAPES) >= 30


@pytest.mark.parametrize("path", TAPES, ids=lambda path: path.stem)
def test_what_has_failed_once_passes(path: Path) -> None:
    tape = Tape.load(path)
    outcome = simulated(tape.test).replay(tape)
    if outcome.error is not None:
        outcome.error.add_note("\n".join(outcome.story))
        raise outcome.error
