"""Writes the figures into ``docs/performance.md``, between its marks, and draws the pictures beside it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmarks.buses import SUBSCRIBERS
from benchmarks.common import COMMON
from benchmarks.harness import OWN, Comparison, Row
from benchmarks.peers.stage import Outcome
from benchmarks.pictures import Bars, Lines, draw_bars, draw_lines
from benchmarks.report import as_markdown, number, table
from benchmarks.results import Results
from benchmarks.targets import ASYNC, SYNC

__all__ = ["DOCS", "PAGE", "fill", "keep", "write_page"]

DOCS = Path(__file__).parent.parent / "docs" / "performance"
"""Where the figures and the pictures are."""
PAGE = DOCS.parent / "performance.md"
BEST = {"W4": ("one after another",)}
"""The labels under which understudy is beside others; else those of ``def`` and ``async def`` handlers."""


def keep(rows: Sequence[Row], outcomes: Sequence[Outcome], file: Path | None, *, docs: bool) -> None:
    """Merge what was measured into *file*, and into what the docs show."""
    for path in filter(None, (file, DOCS / "results.json" if docs else None)):
        results = Results.read(path)
        results.merge(rows, outcomes)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(results.as_json(), encoding="utf-8")
        if docs and path.parent == DOCS:
            write_page(results)


def write_page(results: Results, page: Path = PAGE, folder: Path = DOCS) -> None:
    """Put *results* into the page, and the pictures into *folder*."""
    pictures = {"others.svg": _others(results), "latency.svg": _latency(results), "scaling.svg": _scaling(results)}
    for name, picture in pictures.items():
        if picture:
            (folder / name).write_text(picture, encoding="utf-8")
    text = page.read_text(encoding="utf-8")
    own = [row for row in results.rows if row.contender == OWN]
    text = fill(text, "targets", as_markdown(own))
    text = fill(text, "others", _matrix(results))
    page.write_text(text, encoding="utf-8")


def fill(text: str, name: str, content: str) -> str:
    """*text* with *content* between the marks of *name*.

    Raises:
        ValueError: There are no such marks.
    """
    pattern = re.compile(rf"(<!-- {name}: made by make bench -->\n).*?(<!-- end of {name} -->)", re.DOTALL)
    if not pattern.search(text):
        raise ValueError(f"the page has no marks of {name}")
    return pattern.sub(lambda found: f"{found[1]}\n{content.strip()}\n\n{found[2]}", text)


# --- Beside others ----------------------------------------------------------------------------------------------------


def _name(workload: Comparison) -> str:
    """Its words, whatever the count."""
    return re.sub(r",? *\{count:,\}( hops)?,?", "", workload.what).replace("  ", " ")


def _speeds(results: Results, workload: Comparison) -> dict[str, float]:
    """How many times as fast as Q each contender is, in the rows of *workload*."""
    start = workload.what.partition("{")[0]
    found: dict[str, float] = {}
    for row in results.rows:
        if row.workload != workload.workload or row.value is None or not row.what.startswith(start):
            continue
        ours = row.contender.startswith(OWN)
        if row.unit not in ("x", "x time") or (ours and not _is_shown(row)):
            continue
        end = "async def" if row.label.endswith(ASYNC) else "def"
        name = f"{row.contender}, {end}" if ours else row.contender
        speed = row.value.median if row.unit == "x" else 1 / row.value.median
        found.setdefault(name, speed)
    return found


def _is_shown(row: Row) -> bool:
    if row.workload in BEST:
        return row.label in BEST[row.workload]
    return row.label in (SYNC, ASYNC, f"until handled, {SYNC}", f"until handled, {ASYNC}")


def _others(results: Results) -> str:
    panels = [
        Bars(f"{each.workload}  {_name(each)}", speeds, frozenset(name for name in speeds if name.startswith(OWN)))
        for each in COMMON
        if (speeds := _speeds(results, each))
    ]
    return draw_bars(panels, "times as fast as a bare asyncio.Queue (Q) in the same process") if panels else ""


def _matrix(results: Results) -> str:
    """A line for each contender, a column for each workload, and notes."""
    speeds = {each: _speeds(results, each) for each in COMMON}
    names = list(dict.fromkeys(name for found in speeds.values() for name in found))
    names.sort(key=lambda name: not name.startswith(OWN))
    notes: list[str] = []
    lines = [
        [f"{name}{_facts(results, name)}", *(_cell(results, name, each, speeds[each], notes) for each in COMMON)]
        for name in names
    ]
    headings = ["", *(f"{each.workload} {_name(each)}" for each in COMMON)]
    told = [f"- {name}: {facts['note']}." for name, facts in results.peers.items() if facts["note"]]
    missing = {name: facts["skipped"].rstrip(".") for name, facts in results.peers.items() if facts["skipped"]}
    skipped = [f"- {name} was not measured: {why}." for name, why in missing.items()]
    numbered = [f"- [{number}] {note[0].upper()}{note[1:]}." for number, note in enumerate(notes, start=1)]
    return "\n".join([table(headings, lines), "", *numbered, *told, *skipped])


def _facts(results: Results, name: str) -> str:
    facts = results.peers.get(name)
    if facts is None:
        return ""
    ours, theirs = results.machine.get("python", ""), facts["python"]
    differs = theirs.rsplit(".", 1)[0] != ours.rsplit(".", 1)[0]
    return f" {facts['version']}" + (f" (Python {theirs})" if differs else "")


def _cell(results: Results, name: str, workload: Comparison, speeds: dict[str, float], notes: list[str]) -> str:
    if name in speeds:
        speed = speeds[name]
        return f"{number(speed)} x" if speed >= 0.01 else f"{speed:.1g} x"
    facts = results.peers.get(name, {"cannot": {}})
    start = workload.what.partition("{")[0]
    why = next((why for what, why in facts["cannot"].items() if what.startswith(start)), None)
    if why is None:
        return "-"
    if why not in notes:
        notes.append(why)
    return f"- [{notes.index(why) + 1}]"


# --- Curves -----------------------------------------------------------------------------------------------------------


def _latency(results: Results) -> str:
    def curve(rows: Iterable[Row], key: str) -> list[tuple[float, float]]:
        points = {row.label: row for row in rows if key in row.samples}
        found = [(each, points.get(f"p99 of {each}")) for each in SUBSCRIBERS]
        return [(x, sorted(row.samples[key])[len(row.samples[key]) // 2]) for x, row in found if row is not None]

    rows = [row for row in results.rows if row.workload == "W5" and row.label.startswith("p99 of")]
    names = list(dict.fromkeys(row.contender for row in rows))
    panels = [
        Lines(
            f"publish until handled, {word}",
            "subscribers",
            "us",
            {name: line for name in names if (line := curve((row for row in rows if row.contender == name), key))},
        )
        for word, key in (("median", "p50"), ("99th percentile", "p99"))
    ]
    return draw_lines(panels) if rows else ""


def _scaling(results: Results) -> str:
    panels: list[Lines] = []
    groups: dict[str, dict[str, Sequence[tuple[float, float]]]] = {}
    units: dict[str, tuple[str, str]] = {}
    for row in results.rows:
        if row.workload == "curve" and "x" in row.samples:
            group, _, name = row.label.partition(": ")
            groups.setdefault(group, {})[name] = list(zip(row.samples["x"], row.samples["y"], strict=True))
            units[group] = (group, row.baseline)
    for group, series in groups.items():
        panels.append(Lines(group, "how many", units[group][1], series))
    return draw_lines(panels) if panels else ""
