"""The results as a Markdown table."""

from __future__ import annotations

import platform
from collections.abc import Sequence

from benchmarks.harness import Row
from benchmarks.targets import Target, Verdict, judge, target

__all__ = ["as_markdown", "number", "reached", "table"]

HEADINGS = ("id", "workload", "who", "Q", "takes", "measured", "lowest to highest", "must", "stretch", "reached")


def as_markdown(rows: Sequence[Row]) -> str:
    """A table, and beneath it how many fall short and what went wrong."""
    return f"{table(HEADINGS, [_cells(row) for row in rows])}\n\n{_summary(rows)}"


def table(headings: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A Markdown table, its columns aligned."""
    widths = [max(len(line[column]) for line in (headings, *lines)) for column in range(len(headings))]
    ruler = ["-" * width for width in widths]
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |"
        for line in (headings, ruler, *lines)
    )


def reached(row: Row) -> Verdict:
    """How good it is."""
    return judge(row.value.median, target(row)) if row.value else "wrong result"


def _cells(row: Row) -> tuple[str, ...]:
    wanted = target(row)
    value, verdict = row.value, reached(row)
    return (
        row.workload,
        row.what,
        row.contender,
        row.baseline,
        row.own,
        f"{number(value.median)} {row.unit}" if value else "",
        f"{number(value.low)} to {number(value.high)}" if value and value.low < value.high else "",
        _bound(wanted, wanted.must) if wanted else "",
        _bound(wanted, wanted.stretch) if wanted else "",
        f"**{verdict}**" if verdict in ("falls short", "wrong result") else verdict,
    )


def _bound(wanted: Target, goal: float) -> str:
    return f"{'>=' if wanted.more else '<='} {number(goal)}"


def number(value: float) -> str:
    """With as many digits as say something."""
    return f"{value:.0f}" if value >= 100 or value == int(value) else f"{value:.2f}"


def _summary(rows: Sequence[Row]) -> str:
    judged = sum(target(row) is not None for row in rows)
    short = [row for row in rows if reached(row) == "falls short"]
    wrong = [f"- {row.workload} {row.what}: {row.wrong}\n" for row in rows if row.wrong]
    where = f"Python {platform.python_version()}, {platform.system()} {platform.machine()}"
    return f"{where}: {judged} have targets, {len(short)} fall short, {len(wrong)} wrong.\n{''.join(wrong)}"
