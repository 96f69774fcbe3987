"""Messages that are told to one actor go together, and nobody can tell from what becomes of them."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Iterator
from typing import Any, ClassVar

import pytest
from pydantic import field_serializer, field_validator, model_validator

from tests.transports.cast import MESSAGES, Add, Counter, Held, Total, WhoSent
from tests.transports.stage import QUICK, Pair, linked, until
from understudy import Actor, DeadLetter, Message, Refused, UnderstudyError, child, handler
from understudy.testing import Gate
from understudy.transports import LinkOptions, MessageNotAccepted, ProtocolError
from understudy.transports._codec import Codec, JsonHeaders, MsgpackHeaders
from understudy.transports._frames import Letter
from understudy.transports._limits import check_json, elements_of
from understudy.transports._wire import wire_type


class Odd(UnderstudyError):
    """What a user's own check may raise."""


class Sly(ProtocolError):
    """What only a user who knows too much would raise."""

    def __init__(self, text: str) -> None:
        super().__init__(problem=text)


class Even(Message[int]):
    """Is checked by the receiver, in its own way, and can be hard to write."""

    raises: ClassVar[type[Exception]] = ValueError
    number: int
    text: str = ""

    @field_validator("number")
    @classmethod
    def check(cls, value: int) -> int:
        if value % 2:
            raise cls.raises("odd")
        return value

    @field_serializer("text")
    def write(self, value: str) -> str:
        if value == "unwritable":
            raise ValueError(value)
        return value


class Evens(Actor[Even | Total]):
    def __init__(self, seen: list[int]) -> None:
        self.seen = seen

    @handler
    def even(self, message: Even) -> int:
        self.seen.append(message.number)
        return message.number

    @handler
    def total(self, message: Total) -> int:
        return len(self.seen)


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    yield
    Even.raises = ValueError


def letters_in(pair: Pair) -> list[int]:
    """How many messages there are in each letter that the shop has sent."""
    reader = Codec(MsgpackHeaders(), None)
    found: list[int] = []
    for batch in pair.wire.last.sent[2:]:  # behind the handshake
        found += [len(json.loads(body)) for frame, body in reader.unpack(batch, 17) if isinstance(frame, Letter)]
    return found


@pytest.mark.asyncio
async def test_messages_of_one_class_that_wait_go_in_one_letter() -> None:
    async with linked() as pair:
        seen: list[Any] = []
        await pair.bank.spawn(Counter, 0, seen)
        ref = await pair.node.lookup("counter", Counter)
        for number in range(12):
            ref.tell(Add(number=number))
        assert await ref.ask(Total()) == sum(range(12))
        assert seen == list(range(12))
        assert letters_in(pair) == [12]


@pytest.mark.asyncio
async def test_whatever_is_told_arrives_in_order_in_however_many_letters() -> None:
    async with linked() as pair:
        seen: list[Any] = []
        await pair.bank.spawn(Counter, 0, seen)
        friend = await pair.shop.spawn(child(Counter).options(name="friend"))
        ref = await pair.node.lookup("counter", Counter)
        expected: list[Any] = []
        for number in range(300):
            if number % 7 == 3:
                ref.tell(WhoSent(), sender=friend)
                expected.append("//shop/user/friend")
            elif number % 5 == 4:
                ref.tell(WhoSent())
                expected.append(None)
            else:
                ref.tell(Add(number=number))
                expected.append(number)
        await ref.ask(Total())
        assert seen == expected


@pytest.mark.asyncio
async def test_large_messages_go_alone_and_small_ones_together_again_behind_them() -> None:
    async with linked(messages=[*MESSAGES, Even]) as pair:
        seen: list[int] = []
        ref = await with_evens(pair, seen)
        for number in range(40):
            ref.tell(Even(number=number * 2, text="x" * 100_000 if number < 20 else ""))
        assert await ref.ask(Total()) == 40
        assert seen == [number * 2 for number in range(40)]
        assert pair.shop_letters.letters == []
        assert max(map(len, pair.wire.last.sent)) < 256 * 1024
        letters = letters_in(pair)
        assert sum(letters) == 40
        assert letters.count(1) >= 18
        assert max(letters[10:]) > 8


async def with_evens(pair: Pair, seen: list[int]) -> Any:
    await pair.bank.spawn(Evens, seen)
    return await pair.node.lookup("evens", Evens)


@pytest.mark.parametrize("spoilt", [Even(number=4, text="unwritable"), Even(number=4, text="y" * 300_000)])
@pytest.mark.asyncio
async def test_one_that_cannot_be_sent_is_a_dead_letter_and_takes_no_other_along(spoilt: Even) -> None:
    async with linked(messages=[*MESSAGES, Even]) as pair:
        seen: list[int] = []
        ref = await with_evens(pair, seen)
        for message in (Even(number=0), Even(number=2), spoilt, Even(number=6)):
            ref.tell(message)
        assert await ref.ask(Total()) == 3
        assert seen == [0, 2, 6]
        assert [letter.message for letter in pair.shop_letters.letters] == [spoilt]
        assert pair.bank_letters.letters == []


@pytest.mark.parametrize("error", [ValueError, KeyError, Odd, Refused, RecursionError, Sly])
@pytest.mark.asyncio
async def test_one_that_the_receiver_refuses_is_a_dead_letter_there_and_the_link_lives_on(error: Any) -> None:
    async with linked(messages=[*MESSAGES, Even]) as pair:
        Even.raises = error
        seen: list[int] = []
        ref = await with_evens(pair, seen)
        for number in range(6):
            ref.tell(Even.model_construct(number=number))
        with pytest.raises(MessageNotAccepted, match="Even"):
            await ref.ask(Even.model_construct(number=1))
        assert await ref.ask(Total()) == 3
        assert seen == [0, 2, 4]
        whys = [letter.why for letter in pair.bank_letters.letters]
        assert len(whys) == 3
        assert all("cannot cross a link" in why for why in whys)
        assert len(pair.wire.opened) == 1
        assert pair.node.is_up


@pytest.mark.asyncio
async def test_each_message_of_a_letter_counts_where_room_is_short() -> None:
    async with linked(options=LinkOptions(window=8, timing=QUICK.timing)) as pair:
        gate = Gate()
        seen: list[Any] = []
        await pair.bank.spawn(child(Held, gate, seen).options(mailbox=3))
        ref = await pair.node.lookup("held", Held)
        for number in range(100):
            ref.tell(Add(number=number))
        await until(lambda: sum(letters_in(pair)) >= 8)
        assert sum(letters_in(pair)) <= 1 + 3 + 8
        gate.open()
        assert await ref.ask(Total()) == 100
        assert seen == list(range(100))
        assert max(letters_in(pair)) <= 8


@pytest.mark.asyncio
async def test_what_waits_in_the_outbox_is_bounded_as_the_options_say() -> None:
    async with linked(options=LinkOptions(window=2, outbox=5, timing=QUICK.timing)) as pair:
        gate = Gate()
        seen: list[Any] = []
        await pair.bank.spawn(child(Held, gate, seen).options(mailbox=1))
        ref = await pair.node.lookup("held", Held)
        taken = 0
        for number in range(50):
            taken += ref.tell(Add(number=number))
            await until(lambda: True)
        assert taken <= 1 + 1 + 2 + 5
        assert len(pair.shop_letters.letters) == 50 - taken
        gate.open()
        assert await ref.ask(Total()) == taken


@pytest.mark.asyncio
async def test_letters_for_nobody_are_as_many_dead_letters_as_messages() -> None:
    async with linked() as pair:
        local = await pair.bank.spawn(Counter)
        ref = await pair.node.lookup("counter", Counter)
        local.stop()
        await local.wait_stopped()
        for number in range(5):
            ref.tell(Add(number=number))
        await until(lambda: len(pair.bank_letters.letters) == 5)
        assert [letter.message for letter in pair.bank_letters.letters] == [Add(number=number) for number in range(5)]
        assert isinstance(pair.bank_letters.letters[0], DeadLetter)
        await until(lambda: not ref.tell(Add()))  # it has learnt of the end


# The array


def test_elements_are_found_as_they_are_written() -> None:
    data = b' [ {"a": [1, 2.50]} ,\t"x]\\"," , [ ] ,1e3 , null ] '
    check_json(data)
    assert elements_of(data) == [b'{"a": [1, 2.50]}', b'"x]\\","', b"[ ]", b"1e3", b"null"]
    assert elements_of(b"[]") == []


@pytest.mark.parametrize("body", [b"[]", b"{}", b"1", b'"[1]"', b"null", b"[1", b"[" * 34 + b"]" * 34, b""])
def test_what_is_no_array_of_messages_is_no_letter(body: bytes) -> None:
    with pytest.raises(ProtocolError):
        Codec(JsonHeaders(), None).load_each(wire_type(Even), body, 64)


def test_a_message_in_a_letter_may_be_as_deep_as_one_alone() -> None:
    class Deep(Message[None]):
        wire_name: ClassVar[str | None] = "deep"
        tree: Any

    codec, wire = Codec(JsonHeaders(), None), wire_type(Deep)
    tree: Any = 1
    for _ in range(31):
        tree = [tree]
    assert codec.load_each(wire, codec.dump(wire.adapter_of_many, [Deep(tree=tree)], "deep"), 1) == [Deep(tree=tree)]
    with pytest.raises(ProtocolError, match="deep"):
        codec.load_each(wire, codec.dump(wire.adapter_of_many, [Deep(tree=[tree])], "deep"), 1)


@pytest.mark.parametrize("element", [b"1", b'"1"', b"{}", b'{"number":1}'])
def test_messages_are_counted_whatever_they_are_made_of(element: bytes) -> None:
    class Short(Message[None]):
        wire_name: ClassVar[str | None] = "short"
        number: int = 1

        @model_validator(mode="before")
        @classmethod
        def _from_number(cls, given: Any) -> Any:
            return {} if given in (1, "1") else given

    codec, wire = Codec(JsonHeaders(), None), wire_type(Short)
    assert codec.load_each(wire, b"[" + b",".join([element] * 64) + b"]", 64) == [Short()] * 64
    with pytest.raises(ProtocolError, match="64"):
        codec.load_each(wire, b"[" + b",".join([element] * 65) + b"]", 64)


def test_more_messages_than_may_be_under_way_are_counted_before_anything_is_made_of_them() -> None:
    codec, wire = Codec(JsonHeaders(), None), wire_type(Even)
    body = b"[" + b",".join([b"1"] * 100_000) + b"]"
    tracemalloc.start()
    try:
        with pytest.raises(ProtocolError, match="64"):
            codec.load_each(wire, body, 64)
        with pytest.raises(ProtocolError, match="64"):
            codec.count(body, 64)
        assert tracemalloc.get_traced_memory()[1] < 4_000_000
    finally:
        tracemalloc.stop()


def test_of_very_many_mistakes_only_the_number_is_told() -> None:
    class Many(Message[None]):
        wire_name: ClassVar[str | None] = "many"
        words: list[str]

    codec, wire = Codec(JsonHeaders(), None), wire_type(Many)
    with pytest.raises(MessageNotAccepted, match="a value with 50,000 mistakes"):
        codec.load(wire.adapter, b'{"words": [' + b",".join([b"1"] * 50_000) + b"]}", "Many")
