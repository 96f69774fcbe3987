"""The hot path takes no more instructions than it did; how many that are, is the same at every run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import gate

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.timeout(120)
def test_no_operation_takes_more_instructions_than_the_gate_allows() -> None:
    # In a process of its own: what was imported and cached before is then the same each time.
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "benchmarks.gate"],
        cwd=ROOT,
        env=os.environ,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("gate: ") in (1, len(gate.OPERATIONS))  # one, where there are no figures for this Python


def test_each_supported_python_has_a_figure_for_each_operation() -> None:
    figures = json.loads(gate.FIGURES.read_text(encoding="utf-8"))

    assert figures.keys() >= {"3.11", "3.12", "3.13"}
    assert all(each.keys() == gate.OPERATIONS.keys() for each in figures.values())


def test_what_is_worse_by_more_than_the_margin_is_named() -> None:
    worse = gate.compare({"tell": 106.0, "ask": 104.0, "new": 9.0}, {"tell": 100.0, "ask": 100.0})

    assert worse == ["tell: 106 instructions, +6% against 100"]


def test_a_failing_gate_says_how_to_renew_its_figures(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    figures = tmp_path / "gate.json"
    figures.write_text(json.dumps({gate.VERSION: {"tell": 100.0}}), encoding="utf-8")
    monkeypatch.setattr(gate, "FIGURES", figures)
    monkeypatch.setattr(gate, "OPERATIONS", {"tell": None})
    monkeypatch.setattr(gate, "count", lambda operation: 200.0)

    assert gate.main([]) == 1

    error = capsys.readouterr().err
    assert "tell: 200 instructions, +100% against 100" in error
    assert "make gate-renew" in error


def test_a_python_without_figures_passes_and_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    figures = tmp_path / "gate.json"
    figures.write_text("{}", encoding="utf-8")
    monkeypatch.setattr(gate, "FIGURES", figures)
    monkeypatch.setattr(gate, "OPERATIONS", {})

    assert gate.main([]) == 0
    assert "make gate-renew" in capsys.readouterr().out
