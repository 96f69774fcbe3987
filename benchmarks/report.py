"""The results as a Markdown table and as JSON."""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Sequence
from dataclasses import asdict

from benchmarks.harness import Row
from benchmarks.targets import Target, judge, target

__all__ = ["as_json", "as_markdown"]

HEADINGS = ("id", "workload", "Q", "understudy", "measured", "lowest to highest", "must", "stretch", "reached")


def as_markdown(rows: Sequence[Row]) -> str:
    """A table, and beneath it how many fall short."""
    lines = [HEADINGS, *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADINGS))]
    ruler = tuple("-" * width for width in widths)
    table = "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |"
        for line in (HEADINGS, ruler, *lines[1:])
    )
    return f"{table}\n\n{_summary(rows)}"


def as_json(rows: Sequence[Row]) -> str:
    """Everything that was measured, with the interpreter and the kind of machine it was measured on."""
    document = {
        "python": platform.python_version(),
        "implementation": sys.implementation.name,
        "system": platform.system(),
        "machine": platform.machine(),
        "rows": [asdict(row) | _verdict(row) for row in rows],
    }
    return json.dumps(document, indent=2) + "\n"


def _verdict(row: Row) -> dict[str, object]:
    wanted = target(row.workload, row.label)
    return {
        "must": wanted and wanted.must,
        "stretch": wanted and wanted.stretch,
        "more_is_better": wanted and wanted.more,
        "reached": judge(row.value.median, wanted) or None,
    }


def _cells(row: Row) -> tuple[str, ...]:
    wanted = target(row.workload, row.label)
    verdict = judge(row.value.median, wanted)
    value = row.value
    spread = "" if value.low == value.high else f"{_number(value.low)} to {_number(value.high)}"
    return (
        row.workload,
        row.what,
        row.baseline,
        row.own,
        f"{_number(value.median)} {row.unit}",
        spread,
        _bound(wanted, wanted.must) if wanted else "",
        _bound(wanted, wanted.stretch) if wanted else "",
        f"**{verdict}**" if verdict == "falls short" else verdict,
    )


def _bound(wanted: Target, goal: float) -> str:
    return f"{'>=' if wanted.more else '<='} {_number(goal)}"


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 100 or value == int(value) else f"{value:.2f}"


def _summary(rows: Sequence[Row]) -> str:
    verdicts = [(row, judge(row.value.median, target(row.workload, row.label))) for row in rows]
    judged = sum(verdict != "" for _, verdict in verdicts)
    short = [f"{row.workload} {row.what}" for row, verdict in verdicts if verdict == "falls short"]
    where = f"Python {platform.python_version()}, {platform.system()} {platform.machine()}"
    if short:
        return f"{where}: {len(short)} of {judged} fall short: {'; '.join(short)}."
    return f"{where}: {judged} of {judged} reach what they must."
