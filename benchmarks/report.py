"""The results as a Markdown table and as JSON."""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Sequence
from dataclasses import asdict

from benchmarks.harness import Row
from benchmarks.targets import Target, Verdict, judge, target

__all__ = ["as_json", "as_markdown"]

HEADINGS = ("id", "workload", "who", "Q", "takes", "measured", "lowest to highest", "must", "stretch", "reached")


def as_markdown(rows: Sequence[Row]) -> str:
    """A table, and beneath it how many fall short and what went wrong."""
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
    wanted = target(row)
    return {
        "must": wanted and wanted.must,
        "stretch": wanted and wanted.stretch,
        "more_is_better": wanted and wanted.more,
        "reached": _reached(row) or None,
    }


def _reached(row: Row) -> Verdict:
    return judge(row.value.median, target(row)) if row.value else "wrong result"


def _cells(row: Row) -> tuple[str, ...]:
    wanted = target(row)
    value, reached = row.value, _reached(row)
    return (
        row.workload,
        row.what,
        row.contender,
        row.baseline,
        row.own,
        f"{_number(value.median)} {row.unit}" if value else "",
        f"{_number(value.low)} to {_number(value.high)}" if value and value.low < value.high else "",
        _bound(wanted, wanted.must) if wanted else "",
        _bound(wanted, wanted.stretch) if wanted else "",
        f"**{reached}**" if reached in ("falls short", "wrong result") else reached,
    )


def _bound(wanted: Target, goal: float) -> str:
    return f"{'>=' if wanted.more else '<='} {_number(goal)}"


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 100 or value == int(value) else f"{value:.2f}"


def _summary(rows: Sequence[Row]) -> str:
    judged = sum(target(row) is not None for row in rows)
    short = [row for row in rows if _reached(row) == "falls short"]
    wrong = [f"- {row.workload} {row.what}: {row.wrong}\n" for row in rows if row.wrong]
    where = f"Python {platform.python_version()}, {platform.system()} {platform.machine()}"
    return f"{where}: {judged} have targets, {len(short)} fall short, {len(wrong)} wrong.\n{''.join(wrong)}"
