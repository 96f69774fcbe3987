"""What is made of the figures: files into which runs are merged, the page of the docs, pictures."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from benchmarks import page
from benchmarks.common import BURST, RESTART
from benchmarks.harness import Row, Spread
from benchmarks.page import DOCS, PAGE, fill, keep, write_page
from benchmarks.peers.__main__ import main as measure_peers
from benchmarks.peers.environments import Package, Skipped
from benchmarks.peers.stage import Outcome
from benchmarks.pictures import Bars, Lines, draw_bars, draw_lines
from benchmarks.results import Results, row_of
from benchmarks.scaling import exponent
from benchmarks.targets import SYNC

PAGE_OF_MARKS = "\n".join(
    f"<!-- {name}: made by make bench -->\nold\n<!-- end of {name} -->" for name in ("targets", "others")
)


def _row(value: float, contender: str = "understudy", label: str = SYNC, what: str = "tell, 200,000 at once") -> Row:
    return Row("W1a", label, what, Spread(value, value, value), "x", "1 us", "1 us", contender=contender)


def test_a_run_takes_the_place_of_what_it_has_measured_again_and_leaves_the_rest(tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    keep([_row(1.0), _row(0.1, "pykka", "")], [Outcome("pykka", "4.5", "3.11.7")], file, docs=False)
    keep([_row(2.0)], [], file, docs=False)

    results = Results.read(file)

    assert [(row.contender, row.value) for row in results.rows] == [
        ("understudy", Spread(2.0, 2.0, 2.0)),
        ("pykka", Spread(0.1, 0.1, 0.1)),
    ]
    assert results.peers["pykka"]["version"] == "4.5"
    assert json.loads(file.read_text(encoding="utf-8"))["rows"][0]["reached"] == "stretch"


def test_a_peer_that_could_not_be_measured_again_keeps_its_figures() -> None:
    results = Results()
    results.merge([_row(0.1, "pykka", "")], [Outcome("pykka", "4.5", "3.11.7")])
    results.merge([], [Outcome("pykka", "", "", skipped="no network")])

    assert [row.contender for row in results.rows] == ["pykka"]
    assert results.peers["pykka"]["version"] == "4.5"


def test_only_understudy_is_held_against_targets() -> None:
    ours, theirs = json.loads(Results([_row(0.1), _row(0.1, "pykka")]).as_json())["rows"]

    assert (ours["reached"], theirs["reached"]) == ("falls short", None)


def test_the_page_shows_what_contenders_do_and_why_they_do_not(tmp_path: Path) -> None:
    written = tmp_path / "performance.md"
    written.write_text(PAGE_OF_MARKS, encoding="utf-8")
    what = BURST.what.format(count=BURST.count)
    outcomes = [
        Outcome("pykka", "4.5", "3.12.1", cannot={RESTART.what: "does not restart actors"}, note="a thread each"),
        Outcome("gone", "", "", skipped="there is none"),
    ]
    results = Results([_row(1.5, what=f"{what}, {SYNC}"), _row(0.25, "pykka", "", what)])
    results.merge([], outcomes)
    results.machine["python"] = "3.11.7"

    write_page(results, written, tmp_path)

    text = written.read_text(encoding="utf-8")
    assert "old" not in text
    (ours,) = [line for line in text.splitlines() if line.startswith("| understudy, def")]
    (theirs,) = [line for line in text.splitlines() if line.startswith("| pykka")]
    assert "1.50 x" in ours
    assert "pykka 4.5 (Python 3.12.1)" in theirs
    assert "0.25 x" in theirs
    assert "- [1]" in theirs
    assert "- [1] Does not restart actors." in text
    assert "- pykka: a thread each." in text
    assert "- gone was not measured: there is none." in text
    assert (tmp_path / "others.svg").is_file()


def test_a_page_without_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="the page has no marks of targets"):
        fill("nothing", "targets", "x")


def test_the_page_of_the_docs_has_the_marks_and_its_figures_are_those_in_the_file() -> None:
    results = Results.read(DOCS / "results.json")

    assert results.rows
    assert fill(PAGE.read_text(encoding="utf-8"), "others", page._matrix(results)) == PAGE.read_text(encoding="utf-8")


def test_pictures_are_well_formed_and_say_what_they_show() -> None:
    bars = draw_bars([Bars("one & two", {"a<b": 3.0, "c": 0.004}, frozenset({"c"}))], "times")
    lines = draw_lines([Lines("growth", "how many", "us", {"a": [(1, 2.0), (10, 3.0)], "b": [(1, 1.0), (10, 1.0)]})])

    texts = {element.text for svg in (bars, lines) for element in ET.fromstring(svg).iter() if element.text}
    assert {"one & two", "a<b", "growth", "how many"} <= texts


@pytest.mark.parametrize(("power", "wanted"), [(0.0, 0.0), (1.0, 1.0), (2.0, 2.0)])
def test_the_exponent_is_that_of_the_power_by_which_costs_grow(power: float, wanted: float) -> None:
    numbers = [10.0, 100.0, 1_000.0]

    assert exponent(numbers, [3 * number**power for number in numbers]) == pytest.approx(wanted)


def test_a_row_survives_being_written() -> None:
    row = _row(1.0, "pykka")

    assert row_of(json.loads(Results([row]).as_json())["rows"][0]) == row


# Peers


def test_a_peer_that_needs_a_python_which_is_not_there_is_skipped(tmp_path: Path) -> None:
    with pytest.raises(Skipped, match=r"it needs Python 9\.99 or newer"):
        Package("nobody", "nobody", (9, 99)).interpreter(tmp_path)


def test_a_peer_whose_script_cannot_run_is_skipped_with_a_note(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def no_interpreter(self: Package, folder: Path) -> Path:
        raise Skipped("pip install failed")

    monkeypatch.setattr(Package, "interpreter", no_interpreter)

    assert measure_peers(["--only", "pykka", "--quick", "--json", str(tmp_path / "found.json")]) == 0

    assert "- pykka was skipped: pip install failed" in capsys.readouterr().out
    assert Results.read(tmp_path / "found.json").peers["pykka"]["skipped"] == "pip install failed"


def test_erlang_is_skipped_where_it_is_not_installed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")

    assert measure_peers(["--only", "Erlang/OTP", "--quick"]) == 0
    assert "Erlang/OTP was skipped: there is no escript on the path" in capsys.readouterr().out


def test_a_peer_that_does_not_exist_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        measure_peers(["--only", "nobody"])

    assert ended.value.code == 2
    assert "there is no peer 'nobody'; there are pyventus, bubus" in capsys.readouterr().err
