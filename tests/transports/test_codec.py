"""Bytes from strangers: what becomes a message, what becomes an error, and that there is nothing in between."""

from __future__ import annotations

import dataclasses
import json
import os
import pickle
import random
import tracemalloc
from datetime import UTC, datetime
from enum import Enum
from typing import Any, ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.transports import twins_one, twins_two
from understudy import Actor, ActorRef, InvalidContext, InvalidSpec, Message, StreamMessage, handler
from understudy.transports import MessageNotAccepted, ProtocolError
from understudy.transports._address import Address, check_path
from understudy.transports._codec import Codec, JsonHeaders, MsgpackHeaders
from understudy.transports._frames import FRAMES, Ask, Fault, Letter, Offer, Open
from understudy.transports._limits import check_json
from understudy.transports._tags import tag_of
from understudy.transports._wire import Registry, wire_type

MUTATIONS = 1_000_000 if os.environ.get("UNDERSTUDY_CAMPAIGN") else 4_000


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Inner(Message[None]):
    words: tuple[str, ...] = ()
    number: float = 0.0


class Order(Message[list[int]]):
    name: str
    count: int
    colour: Colour = Colour.RED
    at: datetime | None = None
    inner: Inner = Inner()
    table: dict[str, int] = {}
    anything: Any = None


class Parts(StreamMessage[Inner]):
    count: int


class Named(Message[str]):
    wire_name: ClassVar[str | None] = "shop.named"
    text: str


class Heir(Named):
    more: int = 0


class Shop(Actor[Order | Named]):
    @handler
    def order(self, message: Order) -> list[int]:
        return [message.count]

    @handler
    def named(self, message: Named) -> str:
        return message.text


HEADERS = [JsonHeaders, MsgpackHeaders]
both_formats = pytest.mark.parametrize("headers", HEADERS, ids=lambda each: each.name)


def codec(headers: Any = JsonHeaders, **limits: Any) -> Codec:
    return Codec(headers(), None, **limits)


# Text that UTF-8 can say: no lone surrogates.
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
numbers = st.floats(allow_nan=False, allow_infinity=False)
scalars = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | numbers | texts
inners = st.builds(
    Inner,
    words=st.lists(texts, max_size=3).map(tuple),
    number=numbers,
)
orders = st.builds(
    Order,
    name=texts,
    count=st.integers(-(10**30), 10**30),
    colour=st.sampled_from(Colour),
    at=st.none() | st.datetimes(timezones=st.just(UTC)),
    inner=inners,
    table=st.dictionaries(texts, st.integers(), max_size=3),
    anything=st.recursive(scalars, lambda each: st.lists(each, max_size=3), max_leaves=5),
)


@given(orders)
def test_what_goes_in_comes_out(order: Order) -> None:
    found = wire_type(Order)
    body = codec().dump(found.adapter, order, "Order")
    assert codec().load(found.adapter, body, "Order") == order


@given(st.lists(st.integers()))
def test_replies_come_out_as_they_went_in(reply: list[int]) -> None:
    found = wire_type(Order)
    assert codec().load(found.answer, codec().dump(found.answer, reply, "reply"), "reply") == reply


def frames() -> st.SearchStrategy[Any]:
    fields: dict[str, st.SearchStrategy[Any]] = {
        "Place": st.tuples(texts, st.integers(0, 2**40)),
        "Place | None": st.none() | st.tuples(texts, st.integers(0, 2**40)),
        "str": texts,
        "int": st.integers(0, 2**40),
        "bool": st.booleans(),
        "float": st.floats(0, 1e9),
        "float | None": st.none() | st.floats(0, 1e9),
        "tuple[str, ...]": st.lists(texts, max_size=3).map(tuple),
        "dict[str, str]": st.dictionaries(texts, texts, max_size=3),
        "Mapping[str, str] | None": st.none() | st.dictionaries(texts, texts, max_size=3),
    }

    def build(cls: Any) -> st.SearchStrategy[Any]:
        known = {field.name: fields[str(field.type)] for field in dataclasses.fields(cls) if str(field.type) in fields}
        literals: dict[str, Any] = {"Fault": {"kind": st.sampled_from(["refused", "full"])}}
        literals["Call"] = {"verb": st.sampled_from(["lookup", "spawn"])}
        literals["Stop"] = {"how": st.sampled_from(["stop", "kill"])}
        rest = {"reason": st.just(())} if any(field.name == "reason" for field in dataclasses.fields(cls)) else {}
        return st.builds(cls, **known, **literals.get(cls.__name__, {}), **rest)

    return st.one_of([build(cls) for cls in FRAMES.values()])


@both_formats
@given(st.lists(st.tuples(frames(), st.binary(max_size=50)), max_size=4))
def test_frames_come_out_as_they_went_in_one_after_the_other(headers: Any, sent: list[Any]) -> None:
    data = b"".join(codec(headers).pack(frame, body) for frame, body in sent)
    assert codec(headers).unpack(data) == sent


# What JSON must not be


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b'{"a": 1, "a": 2}', "duplicate key"),
        (b'{"b": {"a": 1, "\\u0061": 2}}', "duplicate key"),
        (b"NaN", "NaN"),
        (b"[Infinity]", "Infinity"),
        (b'{"a": -Infinity}', "Infinity"),
        (b"1e999", "too large"),
        (b"[-1e999]", "too large"),
        (b'"\\ud800"', "surrogate"),
        (b'{"\\uDFFF": 1}', "surrogate"),
        (b'["\\ud83d", "\\ude00"]', "surrogate"),
        (b'"\xed\xa0\x80"', "UTF-8"),
        (b'"\xff"', "UTF-8"),
        (b"\xef\xbb\xbf{}", "not"),
        (b"", "not"),
        (b"{}{}", "not"),
        (b"{'a': 1}", "not"),
        (b"9" * 5_000, "not"),
        (b"[" * 33 + b"]" * 33, "deep"),
        (b'{"a":' * 33 + b"1" + b"}" * 33, "deep"),
        (b"[" * 100_000, "deep"),
        (b'"' + b"x" * 300_000 + b'"', "bytes"),
        (pickle.dumps({"a": 1}), "not"),
    ],
)
def test_json_that_decoders_might_read_differently_is_refused(data: bytes, problem: str) -> None:
    with pytest.raises(ProtocolError, match=problem):
        check_json(data)


@pytest.mark.parametrize(
    "data",
    [
        b"[" * 32 + b"]" * 32,
        b"[" + b",".join([b"{}"] * 1_000) + b"]",
        json.dumps("[" * 100 + '{\\"' * 50).encode(),
        b'"\\ud83d\\ude00"',
        b'"\\\\ud800"',
        b"1e308",
        b"-0.0",
        b'"\\u0000"',
    ],
)
def test_json_that_only_looks_odd_passes(data: bytes) -> None:
    assert check_json(data) == json.loads(data)


quoted = st.text(st.sampled_from('[]{}"\\\\xn,:'), max_size=12).map(json.dumps)
# Nothing but brackets and such texts: each object has one key.
trees = st.recursive(
    quoted | st.just("0"),
    lambda each: (
        st.lists(each, max_size=4).map(lambda them: f"[{', '.join(them)}]")
        | st.tuples(quoted, each).map(lambda pair: f"{{{pair[0]} :{pair[1]}}}")
    ),
    max_leaves=60,
)


def depth_of(value: Any) -> int:
    parts: Any = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if parts is None else 1 + max(map(depth_of, parts), default=0)


@given(trees, st.integers(0, 6))
def test_depth_is_that_of_the_brackets_outside_of_texts(text: str, limit: int) -> None:
    if depth_of(json.loads(text)) > limit:
        with pytest.raises(ProtocolError, match="deep"):
            check_json(text.encode(), max_depth=limit)
    else:
        assert check_json(text.encode(), max_depth=limit) == json.loads(text)


def test_what_lies_too_deep_is_found_before_it_is_read_whatever_stands_before_it() -> None:
    deep = b"[" * 200_000
    for before in (b"", b'{"a\\\\":', b'["\\"", ', b'"', b'\\"', b'"\\', b"]]]]", b'["[", ', b'{}"\\\\"'):
        with pytest.raises(ProtocolError):
            check_json(before + deep)


def test_an_error_does_not_show_the_data() -> None:
    with pytest.raises(ProtocolError) as caught:
        check_json(b'{"password": "canary", "password": "canary"}')
    assert "canary" not in str(caught.value)
    found = wire_type(Order)
    with pytest.raises(MessageNotAccepted) as refused:
        codec().load(found.adapter, b'{"name": "x", "count": "canary"}', "Order")
    assert "canary" not in str(refused.value)
    assert "count" in str(refused.value)


@pytest.mark.parametrize(
    "body",
    [
        {"name": "x", "count": "1"},
        {"name": "x", "count": 1.0},
        {"name": "x", "count": True},
        {"name": 1, "count": 1},
        {"name": "x"},
        {"name": "x", "count": 1, "surplus": 2},
        {"name": "x", "count": 1, "inner": {"words": "no list"}},
        {"name": "x", "count": 1, "colour": "green"},
        ["x", 1],
        None,
    ],
)
def test_a_body_of_another_shape_is_no_message(body: object) -> None:
    with pytest.raises(MessageNotAccepted):
        codec().load(wire_type(Order).adapter, json.dumps(body).encode(), "Order")


@pytest.mark.parametrize(
    "order",
    [
        Order(name="\ud800", count=1),
        Order(name="x", count=1, anything=object()),
        Order(name="x", count=1, anything={1: "a"}, inner=Inner.model_construct(number="no number")),
    ],
)
def test_what_has_no_form_in_json_is_an_error_of_the_sender(order: Order) -> None:
    with pytest.raises(MessageNotAccepted, match="Order"):
        codec().dump(wire_type(Order).adapter, order, "Order")


def test_a_ref_becomes_json_over_a_link_only() -> None:
    class Carries(Message[None]):
        wire_name: ClassVar[str | None] = "carries"
        to: ActorRef[Any]

    adapter = wire_type(Carries).adapter
    with pytest.raises(MessageNotAccepted) as refused:
        codec().load(adapter, b'{"to": "//a@0123456789abcdef/user/x#1"}', "Carries")
    assert isinstance(refused.value.__cause__, InvalidContext)
    assert "over a link" in str(refused.value.__cause__)
    assert wire_type(Carries).hash


# Frames


@both_formats
def test_frames_that_are_none_are_refused_each_with_a_word_on_why(headers: Any) -> None:
    good = codec(headers).pack(Ask(("/user/x", 1), "tag", 1, 5.0), b"{}")
    for bad in (
        good[:-1],
        good[:5],
        b"\x00" + good[1:],
        b"\xff" + good[1:],
        good[:1] + b"\xff\xff\xff\xff" + good[5:],
        bytes([Offer.code]) + good[1:],
        pickle.dumps(good),
    ):
        with pytest.raises(ProtocolError):
            list(codec(headers).unpack(bad))


@both_formats
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_times_without_limit_or_sense_cannot_be_said(headers: Any, value: float) -> None:
    for frame in (
        Ask(("/user/x", 1), "tag", 1, value),
        Open(("/user/x", 1), "t", 1, None, value, 1),
        Fault(1, "full", number=value),
    ):
        data = codec(headers).pack(frame)
        if isinstance(frame, Fault) or headers is MsgpackHeaders:
            with pytest.raises(ProtocolError):
                list(codec(headers).unpack(data))


def test_a_frame_cannot_name_a_sender_of_another_node() -> None:
    sender = {"node": "other", "path": "/user/x", "uid": 1}
    for header in (
        {"to": ["/user/x", 1], "tag": "t", "sender": sender},
        {"to": ["/user/x", 1], "tag": "t", "sender": ["/user/x", 1, "other"]},
        {"to": ["/user/x", 1], "tag": "t", "node": "other"},
    ):
        data = json.dumps(header).encode()
        with pytest.raises(ProtocolError):
            JsonHeaders().load(Letter.code, data, 32)


def test_a_frame_that_is_too_large_is_neither_sent_nor_read() -> None:
    with pytest.raises(MessageNotAccepted, match="1,000"):
        codec(max_size=1_000).pack(Letter(("/user/x", 1), "t"), bytes(1_000))
    data = codec().pack(Letter(("/user/x", 1), "t"), bytes(1_000))
    with pytest.raises(ProtocolError, match="1,000"):
        list(codec(max_size=1_000).unpack(data))


# Classes


def test_a_class_has_its_own_name_or_that_of_its_module() -> None:
    assert tag_of(Named) == "shop.named"
    assert tag_of(Order) == f"{Order.__module__}.Order"
    assert tag_of(Heir) == f"{Heir.__module__}.Heir"


def test_a_class_that_nobody_else_could_find_needs_a_name_and_is_told_so() -> None:
    class Local(Message[None]): ...

    with pytest.raises(MessageNotAccepted, match=r"in a function.*wire_name"):
        tag_of(Local)
    main = type("Main", (Message,), {"__module__": "__main__"})
    with pytest.raises(MessageNotAccepted, match=r"in __main__.*wire_name"):
        tag_of(main)


@pytest.mark.parametrize("name", ["", 1, "a\nb", "x" * 256])
def test_a_name_is_a_short_text(name: Any) -> None:
    cls = type("Odd", (Message,), {"wire_name": name, "__annotations__": {}})
    with pytest.raises(MessageNotAccepted, match="wire_name"):
        tag_of(cls)


def test_two_classes_with_one_name_are_refused_and_both_are_told() -> None:
    with pytest.raises(InvalidSpec, match=r"twins_one\.Twin and .*twins_two\.Twin"):
        Registry([twins_one.Twin, twins_two.Twin])
    Registry([twins_one.Twin, twins_one.Twin])


def test_only_what_was_named_can_be_decoded_and_what_named_actors_handle() -> None:
    registry = Registry([Parts], [Shop])
    assert set(registry.hashes) == {tag_of(Parts), tag_of(Order), "shop.named"}
    assert registry.find("shop.named").cls is Named
    with pytest.raises(MessageNotAccepted, match="messages="):
        registry.find(tag_of(Inner))
    assert list(registry.actors) == [tag_of(Shop)]


@pytest.mark.parametrize("cls", [int, dict, Shop, "Order", None])
def test_nothing_but_messages_can_be_named(cls: Any) -> None:
    with pytest.raises(MessageNotAccepted, match="Message"):
        Registry([cls])


def test_a_message_that_has_no_form_in_json_is_refused_at_the_beginning() -> None:
    class Holder:
        pass

    class Bad(Message[None]):
        wire_name: ClassVar[str | None] = "bad"
        holder: Holder

    with pytest.raises(MessageNotAccepted, match="no form in JSON"):
        Registry([Bad])


def test_the_hash_tells_shapes_apart_and_not_words() -> None:
    def made(*, doc: str = "", kind: type = int, reply: Any = None, field: str = "title") -> str:
        space = {"wire_name": "x", "__doc__": doc, "__annotations__": {field: kind, "wire_name": ClassVar[str]}}
        return wire_type(type("X", (Message[reply],), space)).hash

    assert made() == made(doc="Other words.")
    assert len({made(), made(kind=str), made(reply=int), made(field="description")}) == 4


# Addresses


def test_an_address_can_be_written_and_read() -> None:
    address = Address("bank", "0123456789abcdef", "/user/a/b-1.x", 17)
    assert str(address) == "//bank@0123456789abcdef/user/a/b-1.x#17"
    assert Address.parse(str(address)) == address


@pytest.mark.parametrize(
    "text",
    ["", "/user/x", "//bank/user/x#1", "//bank@0123456789abcdef/user/../x y#1", "//b\n@0123456789abcdef/user/x#1",
     "//bank@0123456789abcdef/user/x#-1", "//bank@0123456789ABCDEF/user/x#1", "//bank@0123456789abcdef/user//x#1"],
)  # fmt: skip
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ProtocolError):
        Address.parse(text)


def test_what_the_runtime_keeps_to_itself_cannot_be_named() -> None:
    assert check_path("/user/system")
    others = ("/system", "/system/reporter", "/user", "/systems/x", "", "/", "/user/", "/user/\n", "/user/<img>")
    assert not any(check_path(path) for path in others)


# Fuzz


@both_formats
def test_mutated_frames_make_a_frame_or_an_error_and_nothing_else(headers: Any) -> None:
    chance = random.Random(7)
    reader = codec(headers)
    adapter = wire_type(Order).adapter
    body = reader.dump(adapter, Order(name="näme", count=12, table={"a": 1}, anything=[1, {"b": [None, 2.5]}]), "Order")
    seeds = [
        reader.pack(frame, b"[" + b", ".join([body] * 3) + b"]" if isinstance(frame, Letter) else body)
        for frame in (
            Ask(("/user/x", 1), "shop.named", 7, 4.5, ("/user/y", 3), ("//a@0123456789abcdef/user/z#1",), {"t": "1"}),
            Letter(("/user/x", 1), "t", number=3, channel="c"),
            Offer({"a": "b"}, ("x",), 64, 1_000),
            Fault(3, "refused", text="no"),
        )
    ]
    # As our own side writes it, with no blanks between.
    seeds.append(reader.pack(Letter(("/user/x", 1), "t"), b"[" + b",".join([body] * 3) + b"]"))
    corpus = [b'"\\ud800"', b"NaN", b"1e999", b"[" * 40, b'{"a":1,"a":2}', b"\x80\x04N.", b"\xff", b"\x00" * 9]
    outcomes = {"read": 0, "refused": 0}
    share = MUTATIONS // len(HEADERS)
    tracemalloc.start()
    try:
        for number in range(share):
            data = _mutated(bytearray(chance.choice(seeds)), chance, corpus)
            try:
                for frame, found in reader.unpack(data):
                    if isinstance(frame, Letter):
                        said = reader.load_each(wire_type(Order), found, 64)
                        assert {type(each) for each in said} <= {Order, MessageNotAccepted}
                    else:
                        reader.load(adapter, found, "Order")
                    check_json(found, max_depth=33)  # however little was looked at, this would not have refused it
                outcomes["read"] += 1
            except (ProtocolError, MessageNotAccepted):
                outcomes["refused"] += 1
            if number == share // 10:
                before = tracemalloc.get_traced_memory()[0]
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert sum(outcomes.values()) == share
    assert min(outcomes.values()) > 0
    assert grown < 200_000


def _mutated(data: bytearray, chance: random.Random, corpus: list[bytes]) -> bytes:
    for _ in range(chance.choice((1, 1, 1, 2, 5))):
        at = chance.randrange(len(data)) if data else 0
        match chance.randrange(6):
            case 0 if data:
                data[at] = chance.randrange(256)
            case 1 if data:
                data[at] ^= 1 << chance.randrange(8)
            case 2:
                del data[at : at + chance.randrange(8)]
            case 3:
                data[at:at] = chance.choice(corpus)
            case 4:
                data[at:at] = data[at : at + chance.randrange(30)]
            case _:
                data = data[: chance.randrange(len(data) + 1)]
    return bytes(data)


@settings(max_examples=200)
@given(st.binary(max_size=300))
def test_noise_is_refused(data: bytes) -> None:
    for headers in HEADERS:
        try:
            list(codec(headers).unpack(data))
        except ProtocolError:
            continue
        assert data == b"" or data[0] in FRAMES
