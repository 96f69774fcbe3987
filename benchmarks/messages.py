"""W9: a typed message of five fields, against a pydantic model of the same fields.

A codec is measured by an entry in `CODECS`: what it makes of a message, and what it makes of that again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar

from pydantic import BaseModel, ConfigDict, field_validator

from benchmarks.harness import Comparison, Plan, Row, Run, Side, Spread, Stopwatch, expect
from understudy import Actor, ActorSystem, Message, handler

__all__ = ["CODECS", "WORKLOADS", "Codec", "Order"]


class Order(Message):
    number: int
    customer: str
    price: float
    urgent: bool
    tags: tuple[str, ...]


class Plain(BaseModel):
    model_config = ConfigDict(frozen=True)

    number: int
    customer: str
    price: float
    urgent: bool
    tags: tuple[str, ...]


@dataclass(frozen=True)
class Codec:
    """How a message becomes bytes, and bytes a message."""

    label: str
    encode: Callable[[Order], bytes]
    decode: Callable[[bytes], Order]


CODECS = (Codec("as JSON", lambda order: order.model_dump_json().encode(), Order.model_validate_json),)
"""Each is held against the targets of encoding and decoding; the codec of the wire belongs here too."""

ORDER = Order(number=1, customer="somebody", price=9.5, urgent=False, tags=("a", "b"))
PLAIN = Plain(**dict(ORDER))


def made(cls: type[Order] | type[Plain]) -> Run:
    async def run(count: int, watch: Stopwatch) -> None:
        order: object = None
        with watch:
            for number in range(count):
                order = cls(number=number, customer="somebody", price=9.5, urgent=False, tags=("a", "b"))
        expect("the last number", getattr(order, "number", None), count - 1)

    return run


async def encode_plain(count: int, watch: Stopwatch) -> None:
    text = ""
    with watch:
        for _ in range(count):
            text = PLAIN.model_dump_json()
    expect("it", Plain.model_validate_json(text), PLAIN)


async def decode_plain(count: int, watch: Stopwatch) -> None:
    text, plain = PLAIN.model_dump_json(), None
    with watch:
        for _ in range(count):
            plain = Plain.model_validate_json(text)
    expect("it", plain, PLAIN)


def encoded(codec: Codec) -> Run:
    async def run(count: int, watch: Stopwatch) -> None:
        data, encode = b"", codec.encode
        with watch:
            for _ in range(count):
                data = encode(ORDER)
        expect("it", codec.decode(data), ORDER)

    return run


def decoded(codec: Codec) -> Run:
    async def run(count: int, watch: Stopwatch) -> None:
        data, order, decode = codec.encode(ORDER), None, codec.decode
        with watch:
            for _ in range(count):
                order = decode(data)
        expect("it", order, ORDER)

    return run


class Checked(Order):
    checks: ClassVar[int] = 0

    @field_validator("number")
    @classmethod
    def check(cls, number: int) -> int:
        Checked.checks += 1
        return number


class Clerk(Actor[Order]):
    handled: ClassVar[int] = 0

    @handler
    def order(self, message: Order) -> None:
        Clerk.handled += 1


class Validations:
    """How often a message is validated that is told and asked in one process: when it is made."""

    workload = "W9"

    def rows(self, plan: Plan) -> Iterator[Row]:
        count = asyncio.run(validations())
        yield Row(
            workload=self.workload,
            label="validations",
            what="validations of a message that is made, told and asked in one process",
            value=Spread.of([count]),
            unit="",
            baseline="1",
            own=f"{count:.0f}",
        )


async def validations() -> float:
    """Of one message."""
    Checked.checks = Clerk.handled = 0
    async with ActorSystem() as system:
        ref = await system.spawn(Clerk)
        message = Checked(number=1, customer="somebody", price=9.5, urgent=False, tags=())
        ref.tell(message)
        await ref.ask(message)
    expect("handled", Clerk.handled, 2)
    return Checked.checks


WORKLOADS = (
    Comparison(
        "W9",
        "a message of 5 fields; Q: a pydantic model",
        20_000,
        made(Plain),
        (Side("new", made(Order)),),
        shown="time",
        ratio="time",
    ),
    Comparison(
        "W9",
        "encode a message of 5 fields; Q: a pydantic model",
        20_000,
        encode_plain,
        tuple(Side(f"encode, {codec.label}", encoded(codec)) for codec in CODECS),
        shown="time",
        ratio="time",
    ),
    Comparison(
        "W9",
        "decode a message of 5 fields; Q: a pydantic model",
        20_000,
        decode_plain,
        tuple(Side(f"decode, {codec.label}", decoded(codec)) for codec in CODECS),
        shown="time",
        ratio="time",
    ),
    Validations(),
)
