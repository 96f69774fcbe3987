"""The proof that JSON is harmless, against the slow check that it stands for."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from understudy.transports import ProtocolError
from understudy.transports._limits import check_json, is_harmless

EXAMPLES = 20_000 if os.environ.get("UNDERSTUDY_CAMPAIGN") else 100
ANYTHING: TypeAdapter[Any] = TypeAdapter(Any)
LONG = "some words of a message " * 3


def parsed(data: bytes) -> Any:
    """What the parser of the messages says *data* is, or a ValidationError."""
    return ANYTHING.validator.validate_json(data, strict=True)


def must_pass(data: bytes, max_depth: int = 32) -> None:
    """What is proven, and is JSON for the one, is JSON in order for the other, and says the same."""
    if not is_harmless(data, max_depth=max_depth):
        return
    try:
        value = parsed(data)
    except ValidationError:
        return
    assert check_json(data, max_depth=max_depth) == value


# Texts whose characters are those of JSON, so that they look like what they are not.
texts = st.text(st.sampled_from('ab{}[]:,"\\ 1eN\x1f\x7fä\u2028\ud83d'), max_size=4) | st.sampled_from(["NaN", "true"])
WORDS = ("true", "false", "null", "nul", "tr", "ue", "True", "NaN", "Infinity", "-Infinity")
FIGURES = (
    "0",
    "-0",
    "12",
    "-1.5",
    "1e5",
    "1E5",
    "1e999",
    "01",
    "1.",
    "-",
    ".5",
    "+1",
    "9" * 299 + ".0",
    "9" * 310 + ".0",
)
numbers = st.sampled_from(WORDS + FIGURES)


def written(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(text)
    return json.dumps(text, ensure_ascii=False)


blanks = st.sampled_from(["", "", "", "", "", " ", "\n", "\t"])
leaves = st.one_of(texts.map(written), numbers)


def containers(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    pairs = st.tuples(texts.map(written), blanks, values).map(lambda each: f"{each[0]}{each[1]}:{each[2]}")
    objects = st.lists(pairs, max_size=4).map(",".join).map(lambda inner: "{" + inner + "}")
    lists = st.lists(values, max_size=4).map(",".join).map(lambda inner: "[" + inner + "]")
    return objects | lists


def letters(element: str, count: int) -> str:
    return "[" + ",".join([element] * count) + "]"


documents = st.recursive(leaves, containers, max_leaves=20)


@settings(max_examples=EXAMPLES, deadline=None)
@given(documents)
@example('{"a":"x","a":"y"}')
@example('[{"a":"x","b":"y"},{"a":"x","a":"y"}]')
@example('[{"a":"x","b":"y"},{"b":"x","b":"y"}]')
@example('[{"a":{"b":"x"},"a":"y"},{"a":{"b":"x"},"a":"y"}]')
@example('{"a" :"x","a":"y"}')
@example('["etru",1e5,true]')
@example("::")
def test_what_is_proven_passes_the_slow_check(text: str) -> None:
    must_pass(text.encode(errors="surrogatepass"), max_depth=3)
    must_pass(text.encode(errors="surrogatepass"))


@settings(max_examples=EXAMPLES, deadline=None)
@given(containers(leaves), st.integers(1, 5), containers(leaves), st.integers(0, 60), st.binary(max_size=2))
def test_neither_does_a_letter_pass_of_which_one_element_is_not_in_order(
    element: str, count: int, other: str, at: int, noise: bytes
) -> None:
    data = letters(element, count).encode(errors="surrogatepass")
    must_pass(data)
    odd = f"[{element},{other},{element}]".encode(errors="surrogatepass")
    must_pass(odd)
    at %= len(odd)
    must_pass(odd[:at] + noise + odd[at + 1 :])
    must_pass(odd[:at] + noise + odd[at:])


@pytest.mark.parametrize("element", ['{"a":"x"},{"b":"y"}', '{"a":{"b":"y"}},{"c":"x"}', '{},{"a":"x"}'])
def test_elements_are_all_counted(element: str) -> None:
    data = letters(element, 10).encode()
    assert not is_harmless(data, max_elements=19)
    assert check_json(data) == parsed(data)


@settings(max_examples=EXAMPLES, deadline=None)
@given(
    st.lists(st.sampled_from(["{", "}", "[", "]", ":", ",", '"', "a", "1", ".", "e", " "]), max_size=24).map("".join)
)
def test_nothing_made_of_the_marks_of_json_passes_that_would_not(text: str) -> None:
    must_pass(text.encode(), max_depth=3)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.text("abcäß", min_size=1, max_size=9), min_size=1, max_size=3, unique=True),
    st.lists(st.sampled_from([LONG, 12, -1.5, True, None]), min_size=3, max_size=3),
    st.integers(2, 70),
)
def test_ordinary_letters_are_proven(names: list[str], values: list[Any], count: int) -> None:
    element: dict[str, Any] = dict(zip(names, values, strict=False))
    element |= {"text": LONG, "inner": {"words": [LONG, "z"], "empty": {}}}
    many = [element | {"number": number} for number in range(count)]
    data = json.dumps(many, ensure_ascii=False, separators=(",", ":")).encode()
    assert is_harmless(data)
    assert is_harmless(data, max_elements=count)
    assert not is_harmless(data, max_elements=count - 1)
    assert check_json(data) == many


@pytest.mark.parametrize(
    "data",
    [
        b'{"text":"%s","text":"%s"}',
        b'[{"text":"%s","text":"%s"},{"text":"%s","text":"%s"}]',
        b'[{"text":"%s","a":"%s"},{"text":"%s","text":"%s"}]',
        b'[{"text":"%s","number":NaN}]',
        b'[{"text":"%s","number":-Infinity}]',
        b'[{"text":"%s","number":1e999}]',
        b'[{"text":"%s","number":1' + b"0" * 400 + b".0}]",
        b'[{"text":"%s","other":"\\ud800"}]',
        b'[{"text":"%s","other":"\xed\xa0\x80"}]',
        b'[{"text":"%s","other":"\xff"}]',
        b'{"text":"%s","deep":' + b"[" * 40 + b"]" * 40 + b"}",
    ],
)
def test_what_the_slow_check_refuses_is_not_proven(data: bytes) -> None:
    data = data.replace(b"%s", LONG.encode())
    with pytest.raises(ProtocolError):
        check_json(data)
    assert not is_harmless(data)
