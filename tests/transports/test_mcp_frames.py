"""Text from strangers: what is accepted, and that it is cut into lines in one way only."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from understudy.transports._mcp_frames import LineSplitter, check_json, printable
from understudy.transports.mcp import InvalidFrame, MessageTooLarge

JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=20,
)


@settings(max_examples=40)
@given(JSON)
def test_what_json_writes_is_accepted(value: Any) -> None:
    for ascii_only in (True, False):
        check_json(json.dumps(value, ensure_ascii=ascii_only).encode(), source="x", limit=1_000_000)


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "should be JSON is not"),
        (b"{", "should be JSON is not"),
        (b"nonsense", "should be JSON is not"),
        (b"\x80\x04K\x01.", "not UTF-8"),
        (b'{"a": 1, "a": 2}', "a duplicate key"),
        (b'[{"b": {"a": 1, "a": 1}}]', "a duplicate key"),
        (b'{"a": 1, "\\u0061": 2}', "a duplicate key"),
        (b"[NaN]", "NaN"),
        (b"[Infinity]", "Infinity"),
        (b"[-Infinity]", "-Infinity"),
        (b'["\\ud800"]', "a lone surrogate"),
        (b'["\\udc00 and no other"]', "a lone surrogate"),
        (b"[" * 33 + b"]" * 33, "more than 32 deep"),
        (b'{"a":' * 33 + b"1" + b"}" * 33, "more than 32 deep"),
        (b"[" * 100_000, "more than 32 deep"),
        (b"9" * 5000, "should be JSON is not"),
        (b"[1] [2]", "should be JSON is not"),
    ],
)
def test_what_two_readers_could_understand_differently_is_refused(data: bytes, problem: str) -> None:
    with pytest.raises(InvalidFrame, match=problem):
        check_json(data, source="the peer", limit=1_000_000)


@pytest.mark.parametrize(
    "data",
    [
        b"[" * 32 + b"]" * 32,
        b'["' + b"[" * 100 + b'"]',
        b'["\\ud83d\\ude00"]',
        b'["\\"[[[[", "\\\\"]',
        b"[" + b"[]," * 99 + b"1]",
    ],
)
def test_what_only_looks_deep_or_broken_is_accepted(data: bytes) -> None:
    check_json(data, source="the peer", limit=1_000_000)


def test_the_size_is_looked_at_before_anything_else() -> None:
    with pytest.raises(MessageTooLarge, match="the peer sent a message of more than 10 bytes"):
        check_json(b"[" * 11, source="the peer", limit=10)


@given(st.lists(st.binary(max_size=20).filter(lambda line: b"\n" not in line and line.strip())), st.data())
def test_lines_are_the_same_however_the_bytes_come(lines: list[bytes], data: st.DataObject) -> None:
    text = b"".join(line + b"\n" for line in lines)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)))))
    splitter = LineSplitter(source="x", limit=20)
    found: list[bytes] = []
    for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True):
        found += splitter.feed(text[start:end])
    assert found == lines


def test_a_line_that_is_too_long_is_refused_before_its_end_has_come() -> None:
    splitter = LineSplitter(source="the peer", limit=10)
    assert list(splitter.feed(b"short\n12345")) == [b"short"]
    with pytest.raises(MessageTooLarge):
        list(splitter.feed(b"678901"))


def test_a_line_of_a_log_is_cut_and_never_refused() -> None:
    splitter = LineSplitter(source="", limit=10)
    found = [line for _ in range(5) for line in splitter.feed_cut(b"12345")]
    assert found == [b"1234512345", b"1234512345"]
    assert list(splitter.flush()) == [b"12345"]
    assert list(splitter.flush()) == []


@given(st.text())
def test_nothing_that_is_printable_moves_a_terminal(text: str) -> None:
    assert printable(text).isprintable()


def test_what_is_long_is_cut() -> None:
    assert printable("a" * 10, limit=4) == "aaaa... (6 more)"
    assert printable("a\nb\x1b[0m") == r"a\nb\x1b[0m"
