"""What has been measured, kept in a file into which further runs are merged."""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.harness import Row, Spread
from benchmarks.peers.stage import Outcome
from benchmarks.report import reached
from benchmarks.targets import target

__all__ = ["Results", "row_of"]


@dataclass
class Results:
    """Rows, and what is to be known of those who are not understudy."""

    rows: list[Row] = field(default_factory=list[Row])
    peers: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    machine: dict[str, Any] = field(default_factory=dict[str, Any])

    @classmethod
    def read(cls, path: Path) -> Results:
        """Those in *path*; none if it is not there."""
        if not path.is_file():
            return cls()
        document = json.loads(path.read_text(encoding="utf-8"))
        rows = [row_of(each) for each in document["rows"]]
        return cls(rows, document["peers"], document["machine"])

    def merge(self, rows: Sequence[Row], outcomes: Iterable[Outcome]) -> None:
        """What a contender does in a workload takes the place of what it did in that before; the order stays."""
        new: dict[tuple[str, str], list[Row]] = {}
        for row in rows:
            new.setdefault(_key(row), []).append(row)
        kept: list[Row] = []
        placed: set[tuple[str, str]] = set()
        for row in (*self.rows, *rows):
            key = _key(row)
            if key not in new:
                kept.append(row)
            elif key not in placed:
                placed.add(key)
                kept += new[key]
        self.rows = kept
        for outcome in outcomes:
            known = self.peers.get(outcome.contender)
            if outcome.skipped and known is not None and not known["skipped"]:
                continue  # its figures stay, and what is to be known of them
            facts = asdict(outcome)
            del facts["rows"]
            self.peers[outcome.contender] = facts
        self.machine = {
            "python": platform.python_version(),
            "implementation": sys.implementation.name,
            "system": platform.system(),
            "machine": platform.machine(),
        }

    def as_json(self) -> str:
        """All of it, with targets and verdicts."""
        document = {
            "machine": self.machine,
            "peers": self.peers,
            "rows": [asdict(row) | _verdict(row) for row in self.rows],
        }
        return json.dumps(document, indent=1) + "\n"


def row_of(document: dict[str, Any]) -> Row:
    """What `asdict` has made of a row, and what came beside it, as a row again."""
    known = {name: value for name, value in document.items() if name in Row.__slots__}
    value = known["value"]
    return Row(**{**known, "value": None if value is None else Spread(**value)})


def _key(row: Row) -> tuple[str, str]:
    return row.workload, row.contender


def _verdict(row: Row) -> dict[str, object]:
    wanted = target(row)
    return {
        "must": wanted and wanted.must,
        "stretch": wanted and wanted.stretch,
        "more_is_better": wanted and wanted.more,
        "reached": reached(row) or None,
    }
