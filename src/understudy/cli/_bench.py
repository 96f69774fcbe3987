"""What `understudy bench` tells of a tree that has run."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from understudy.cli._profile import Histogram, Measured, Profile

__all__ = ["Report", "Row", "as_json", "show"]


@dataclass(frozen=True, slots=True)
class Row:
    """The messages of one type to the actors of one class. Times are seconds."""

    actor: str
    message: str
    handled: int
    rate: float
    """Handled in a second."""
    busy: float
    """For how long the event loop was busy with their handlers."""
    share: float
    """Of the whole run, from 0 to 1."""
    handling_p50: float
    handling_p99: float
    waiting_p50: float
    waiting_p99: float


@dataclass(frozen=True, slots=True)
class Report:
    """A run; the rows begin with what has kept the event loop busiest."""

    target: str
    seconds: float
    handled: int
    rate: float
    busy: float
    """What part of the run the event loop was busy with handlers, from 0 to 1."""
    handlers: tuple[Row, ...]

    @classmethod
    def of(cls, target: str, profile: Profile) -> Report:
        """What *profile* has found."""
        seconds = max(profile.seconds, 1e-9)
        rows = [_row(actor, message, each, seconds) for (actor, message), each in profile.measured.items()]
        rows.sort(key=lambda row: (-row.busy, row.actor, row.message))
        handled = sum(row.handled for row in rows)
        busy = sum(row.share for row in rows)
        return cls(target, seconds, handled, handled / seconds, busy, tuple(row for row in rows if row.handled))


def as_json(report: Report) -> str:
    """One object; times are seconds."""
    return json.dumps(asdict(report), indent=2)


def show(report: Report) -> None:
    """A table on stdout, as wide as it has to be where that is no terminal."""
    print(
        f"{report.target}: {report.handled:,} messages in {report.seconds:.1f} s, {report.rate:,.0f} a second; "
        f"handlers kept the event loop busy for {report.busy:.0%} of that"
    )
    if not report.handlers:
        return
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for heading in ("actor", "message"):
        table.add_column(heading, no_wrap=True)
    for heading in ("handled", "a second", "busy", "share", "handling p50", "p99", "waiting p50", "p99"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in report.handlers:
        times = (row.handling_p50, row.handling_p99, row.waiting_p50, row.waiting_p99)
        counts = (f"{row.handled:,}", f"{row.rate:,.0f}", _time(row.busy), f"{row.share:.1%}")
        table.add_row(row.actor, row.message, *counts, *map(_time, times))
    Console(width=None if sys.stdout.isatty() else 160).print(table)


def _row(actor: str, message: str, measured: Measured, seconds: float) -> Row:
    handling: Histogram = measured.handling
    return Row(
        actor=actor,
        message=message,
        handled=handling.count,
        rate=handling.count / seconds,
        busy=measured.busy * 1e-9,
        share=measured.busy * 1e-9 / seconds,
        handling_p50=handling.percentile(0.5),
        handling_p99=handling.percentile(0.99),
        waiting_p50=measured.waiting.percentile(0.5),
        waiting_p99=measured.waiting.percentile(0.99),
    )


def _time(seconds: float) -> str:
    for size, unit in ((1.0, "s"), (1e-3, "ms")):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds * 1e6:.3g} us"
