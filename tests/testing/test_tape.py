"""Tapes: what is written can be read, and what is none is refused in one sentence."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.testing.sim_stage import once, strategy
from understudy.testing import Faults
from understudy.testing._schedule import Outcome
from understudy.testing._simulation import Simulation
from understudy.testing._strategies import RandomWalk
from understudy.testing._tape import Tape, TapeError, this_python

words = st.text(st.characters(codec="utf-8"), max_size=30)
departures = st.one_of(
    st.tuples(st.just("hold"), words, words),
    st.tuples(st.just("clock"), words, st.just("")),
    st.tuples(st.just("draw"), words, st.integers(1, 10**6).map(str)),
)


def tape(made: Any = (), **changes: Any) -> Tape:
    outcome = Outcome(ValueError("why"), tuple(made), "abc", 3, 2, ("  it was so",))
    options: dict[str, Any] = {
        "test": "tests/test_a.py::test_x", "seed": 5, "eager": False, "strategy": "pos", "faults": Faults(), **changes,
    }  # fmt: skip
    return Tape.of(outcome, **options)


def changed(path: Path, **changes: Any) -> Path:
    """A tape in a file, with other values."""
    content = json.loads(tape().model_dump_json())
    path.write_text(json.dumps({**content, **changes}))
    return path


@given(st.lists(departures, max_size=8), st.integers(0, 2**64), st.booleans(), words)
def test_what_is_written_is_read_again(
    tmp_path_factory: pytest.TempPathFactory, made: Any, seed: int, eager: bool, text: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "round_trip.json"
    written = tape(made, seed=seed, eager=eager, strategy=text)
    written.write(path)
    assert Tape.load(path) == written


@pytest.mark.parametrize("stall", [0.0, 1.5, math.inf])
def test_faults_are_read_again(tmp_path: Path, stall: float) -> None:
    faults = Faults(crash=0.25, cancel=1.0, reset=0.5, partition=True, stall=stall)
    written = tape(faults=faults)
    written.write(tmp_path / "tape")
    assert Tape.load(tmp_path / "tape").faults == faults


def test_a_tape_says_what_python_what_error_and_what_story() -> None:
    made = tape()
    assert made.python == this_python()
    assert made.python.startswith("CPython 3.")
    assert made.error == "ValueError: why"
    assert made.story == ("  it was so",)


def test_a_run_is_repeated_from_its_tape(tmp_path: Path) -> None:
    async def test(sim: Simulation) -> None:
        assert sum(sim.choices.draw("number", 4) for _ in range(20)) < 20

    runs = {seed: once(test, RandomWalk(seed), seed=seed, system=False) for seed in range(10)}
    seed, failed = next((seed, outcome) for seed, outcome in runs.items() if outcome.error is not None)
    path = Tape.of(failed, test="a::b", seed=seed, eager=False, strategy="walk", faults=Faults()).save(tmp_path)
    again = once(test, Tape.load(path).strategy_of(), seed=seed, system=False)
    assert again.digest == failed.digest
    assert again.made == failed.made
    assert again.fails_like(failed)


# What is no tape


@pytest.mark.parametrize(
    "content", [b"", b"{", b"\x00\xff\xfe", b"[]", b"null", b'{"version": 1}', b'"tape"', b"9" * 5000]
)
def test_junk_is_no_tape(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "junk.json"
    path.write_bytes(content)
    with pytest.raises(TapeError) as caught:
        Tape.load(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_a_folder_are_no_tape(tmp_path: Path) -> None:
    for path, why in ((tmp_path / "missing.json", "No such file"), (tmp_path, "directory")):
        with pytest.raises(TapeError, match=why) as caught:
            Tape.load(path)
        assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"version": 2}, {"version": 0}, {"version": "one"}, {"seed": "x"}, {"seed": 1.5}, {"eager": "perhaps"},
        {"choices": "abc"}, {"choices": [["hold", "a"]]}, {"choices": [["draw", "a/0", "many"]]},
        {"choices": [["draw", "a/0", "-1"]]}, {"choices": [["unknown", "a/0", "b/0"]]},
        {"faults": {"crash": 2}}, {"faults": {"wind": 1}}, {"faults": {"stall": "long"}}, {"faults": []},
        {"surplus": 1}, {"test": None},
    ],
    ids=str,
)  # fmt: skip
def test_what_a_tape_cannot_hold_is_refused_when_it_is_read(tmp_path: Path, changes: dict[str, Any]) -> None:
    path = changed(tmp_path / "tape.json", **changes)
    with pytest.raises(TapeError) as caught:
        Tape.load(path)
    assert str(path) in str(caught.value)
    assert next(iter(changes)) in str(caught.value)


@pytest.mark.parametrize("missing", ["test", "seed", "choices", "faults", "python", "digest"])
def test_what_a_tape_must_hold_is_named_when_it_is_missing(tmp_path: Path, missing: str) -> None:
    content = json.loads(tape().model_dump_json())
    del content[missing]
    (tmp_path / "tape.json").write_text(json.dumps(content))
    with pytest.raises(TapeError, match=missing):
        Tape.load(tmp_path / "tape.json")


# Where it is written


@pytest.mark.parametrize(
    "test",
    [
        "tests/test_a.py::test_x",
        "a.py::Class.test_x",
        "a.py::f.<locals>.test_x",
        "a.py::ünï/../../x",
        "a.py::" + "x" * 50,
    ],
)
def test_its_file_lies_in_the_folder_whatever_the_name_of_the_test(tmp_path: Path, test: str) -> None:
    folder = tmp_path / "deep" / "folder"
    path = tape(test=test).save(folder)
    assert path.parent == folder
    assert [each.name for each in folder.iterdir()] == [path.name]
    assert Tape.load(path).test == test


def test_tapes_of_two_tests_of_one_name_do_not_overwrite_each_other(tmp_path: Path) -> None:
    paths = {tape(test=f"{file}::test_x").save(tmp_path) for file in ("tests/a.py", "tests/b.py")}
    assert len(paths) == 2


def test_a_tape_of_the_same_run_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    assert tape().save(tmp_path) == tape().save(tmp_path)


def test_a_recorded_choice_is_in_words() -> None:
    async def test(sim: Simulation) -> None:
        import asyncio

        async with asyncio.TaskGroup() as group:
            for name in ("first", "second"):
                group.create_task(asyncio.sleep(0), name=name)

    made = {departure for seed in range(20) for departure in once(test, strategy("pos", seed), system=False).made}
    holds = [departure for departure in made if departure[0] == "hold"]
    assert holds
    assert all("/" in what and "/" in until for _, what, until in holds)
