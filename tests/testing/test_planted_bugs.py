"""The races of docs/races.md: each passes under plain asyncio and is found by simulation; what mends it does."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest

from understudy.testing._campaign import Report, explore, plans
from understudy.testing._faults import Faults
from understudy.testing._schedule import Subject, run
from understudy.testing._virtual import VirtualLoop

PAGE = Path(__file__).parents[2] / "docs" / "races.md"
RANGES, SCHEDULES = 10, 200


def races() -> dict[str, dict[str, Any]]:
    """The programs of the page, by the titles of their sections."""
    found = {}
    for title, code in re.findall(r"^## (.+?)$.*?^```python\n(.+?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL):
        program: dict[str, Any] = {"__name__": title}
        exec(compile(code, str(PAGE), "exec"), program)
        found[title] = program
    return found


RACES = races()


def subject(program: dict[str, Any], kind: str) -> Subject:
    async def test(sim: object) -> None:
        await program["scenario"](program[kind])

    return Subject(test, Faults(), system=False)


def found_after(program: dict[str, Any], seed: int) -> int | None:
    """The number of the first schedule that fails."""
    report = Report("")
    for number, (strategy, eager) in enumerate(plans(seed, SCHEDULES, report), 1):
        outcome = run(subject(program, "Wrong"), strategy, seed=seed + number, eager=eager)
        if outcome.error is not None:
            return number
        report.count(outcome, strategy)
    return None


def test_the_page_has_all_six() -> None:
    assert len(RACES) == 6


@pytest.mark.parametrize("title", RACES)
@pytest.mark.parametrize("kind", ["Wrong", "Right"])
def test_it_passes_under_plain_asyncio(title: str, kind: str) -> None:
    program = RACES[title]
    # In virtual time, or a busy machine, for which two timers are due at once, finds it too.
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        for _ in range(3):
            runner.run(program["scenario"](program[kind]))


@pytest.mark.parametrize("title", RACES)
def test_simulation_finds_it_from_any_seed(title: str) -> None:
    numbers = [found_after(RACES[title], seed * 1_000_000) for seed in range(RANGES)]
    assert None not in numbers, numbers
    found = [number for number in numbers if number is not None]
    print(f"{title}: mean {sum(found) / len(found):.1f}, worst {max(found)}")


@pytest.mark.parametrize("title", RACES)
def test_simulation_finds_nothing_once_it_is_mended(title: str) -> None:
    report = explore(subject(RACES[title], "Right"), schedules=SCHEDULES, seed=7, name=title)
    assert report.schedules == SCHEDULES
