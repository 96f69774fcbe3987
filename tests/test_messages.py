"""Messages as values, and what each is answered with."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from typing import Any, Generic, TypeVar

import pytest
from pydantic import BaseModel, Field, ValidationError

from tests.cast import Collector, Holder, Note
from understudy import ActorRef, ActorSystem, DeadLetter, Message
from understudy.messages import reply_type

T = TypeVar("T")


class Total(Message[int]):
    of: str
    rounds: int = Field(default=1, ge=1)


class SubTotal(Total):
    until: int = 0


class Done(Message):
    pass


class Names(Message[list[str]]):
    pass


class Perhaps(Message[int | None]):
    pass


class Mixin:
    colour = "red"


class Painted(Mixin, Message[str]):
    pass


class Wrapped(Message[T], Generic[T]):
    pass


class WrappedInt(Wrapped[int]):
    pass


class Opaque:
    """A class that pydantic knows nothing about."""


class Carrier(Message[Opaque]):
    load: Opaque


class PlainModel(BaseModel):
    value: int = 0


@pytest.mark.parametrize(
    ("message", "reply"),
    [
        (Total, int),
        (SubTotal, int),
        (Done, None),
        (Names, list[str]),
        (Perhaps, int | None),
        (Painted, str),
        (Carrier, Opaque),
        (WrappedInt, int),
        (Message, None),
        (PlainModel, None),
        (DeadLetter, None),
        (int, None),
    ],
)
def test_a_message_class_names_the_type_of_its_reply(message: type, reply: Any) -> None:
    assert reply_type(message) == reply


def test_a_message_is_checked_when_it_is_made() -> None:
    with pytest.raises(ValidationError, match="rounds"):
        Total(of="x", rounds=0)
    with pytest.raises(ValidationError, match="of"):
        Total()  # type: ignore[call-arg]


def test_a_field_that_does_not_exist_is_refused_by_name() -> None:
    with pytest.raises(ValidationError, match="colour"):
        Total(of="x", colour="red")  # type: ignore[call-arg]


def test_a_message_cannot_be_changed() -> None:
    message = Total(of="x")
    with pytest.raises(ValidationError, match="frozen"):
        message.of = "y"
    with pytest.raises(ValidationError):
        message.more = 1  # type: ignore[attr-defined]
    assert message == Total(of="x")


def test_equal_fields_make_equal_messages_of_one_class_only() -> None:
    assert Total(of="x") == Total(of="x", rounds=1)
    assert hash(Total(of="x")) == hash(Total(of="x", rounds=1))
    assert Total(of="x") != Total(of="y")
    assert Total(of="x") != SubTotal(of="x")
    assert Done() != Names()
    assert len({Total(of="x"), Total(of="x"), SubTotal(of="x")}) == 2


@pytest.mark.parametrize("remake", [copy.copy, copy.deepcopy, lambda message: pickle.loads(pickle.dumps(message))])
def test_a_message_survives_copying_and_pickling(remake: Any) -> None:
    message = SubTotal(of="x", rounds=3, until=9)
    assert remake(message) == message


def test_a_message_may_carry_any_object_and_does_not_copy_it() -> None:
    load = Opaque()
    assert Carrier(load=load).load is load
    with pytest.raises(ValidationError, match="load"):
        Carrier(load="no")  # type: ignore[arg-type]


def test_a_message_may_say_how_long_an_ask_of_it_waits_and_that_is_no_field() -> None:
    class Patient(Message[int]):
        reply_within = 60.0

    assert Message.reply_within is None
    assert Total(of="x").reply_within is None
    assert Patient().reply_within == 60.0
    assert list(Patient.model_fields) == []
    with pytest.raises(ValidationError):
        Patient(reply_within=1.0)  # type: ignore[call-arg]


def test_a_message_has_no_public_names_but_those_of_a_model_and_three_settings() -> None:
    assert {name for name in dir(Message) if not name.startswith("_")} - set(dir(BaseModel)) == {
        "reply_within",
        "resets_receive_timeout",
        "wire_name",
    }


@pytest.mark.asyncio
async def test_a_message_may_carry_a_ref() -> None:
    class Introduce(Message):
        whom: ActorRef[Note]

    async with ActorSystem() as system:
        ref = await system.spawn(Holder)
        assert Introduce(whom=ref).whom is ref
        assert Introduce(whom=ref) == Introduce(whom=ref)
        with pytest.raises(ValidationError, match="whom"):
            Introduce(whom="/user/holder")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "signal",
    [
        DeadLetter(message="m", recipient="/user/a", sender=None, why="unhandled"),
    ],
    ids=lambda signal: type(signal).__name__,
)
def test_what_the_runtime_says_cannot_be_changed_and_equals_its_like(signal: Any) -> None:
    twin = copy.copy(signal)

    names = [each.name for each in dataclasses.fields(signal)] if dataclasses.is_dataclass(signal) else signal._fields
    for name in names:
        with pytest.raises(AttributeError):
            setattr(signal, name, None)

    assert signal == twin
    assert hash(signal) == hash(twin)


@pytest.mark.asyncio
async def test_a_dead_letter_is_an_ordinary_message_that_an_actor_can_be_told() -> None:
    seen: list[Any] = []
    letter = DeadLetter(message=Note(value=1), recipient="/user/gone", sender=None, why="shut down")
    async with ActorSystem() as system:
        collector = await system.spawn(Collector, seen)
        assert collector.tell(letter) is True
        await collector.ask(Note())
    assert seen == [letter, Note()]
