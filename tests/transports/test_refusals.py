"""Subclasses of ``Refused``: who has named one gets it with all that it says, everybody else gets a ``Refused``."""

from __future__ import annotations

import copy
import pickle
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any, ClassVar

import pytest

from tests.transports import twins_one
from tests.transports.stage import QUICK, linked
from understudy import Actor, ActorRef, ActorSystem, InvalidSpec, Message, Refused, StreamMessage, handler
from understudy.transports import MessageNotAccepted
from understudy.transports._refusals import RefusalType
from understudy.transports._wire import Registry

pytestmark = pytest.mark.asyncio


class Overdrawn(Refused):
    missing: Decimal
    accounts: list[str]
    who: ActorRef[Any] | None

    def __init__(self, missing: Decimal, accounts: list[str], who: ActorRef[Any] | None = None) -> None:
        self.missing, self.accounts, self.who = missing, accounts, who
        super().__init__(f"{missing} missing")


class Plain(Refused):
    """Adds nothing but its name."""


class Forgetful(Refused):
    missing: int


class Liar(Refused):
    missing: int

    def __init__(self) -> None:
        super().__init__("no number")
        self.__dict__["missing"] = "much"


class Odd(Refused):
    when: Unknown  # type: ignore[name-defined]  # noqa: F821


class Withdraw(Message[int]):
    how: str


class Statement(StreamMessage[int]): ...


MESSAGES = [Withdraw, Statement]


class Account(Actor[Withdraw | Statement]):
    @handler
    def withdraw(self, message: Withdraw) -> int:
        match message.how:
            case "overdrawn":
                raise Overdrawn(Decimal("1.10"), ["a", "b"], self.context.ref)
            case "plain":
                raise Plain("plainly no")
            case "forgetful":
                raise Forgetful("forgot")
            case "liar":
                raise Liar
            case "large":
                raise Overdrawn(Decimal(1), ["x" * 300_000])
            case "local":

                class Local(Refused): ...

                raise Local("local")
            case _:
                raise Odd("odd")

    @handler
    async def statement(self, message: Statement) -> AsyncIterator[int]:
        yield 1
        raise Overdrawn(Decimal(2), [])


async def test_a_refusal_that_both_sides_know_comes_with_all_that_it_says() -> None:
    async with linked(messages=MESSAGES, connect={"messages": [Overdrawn, Plain]}) as pair:
        await pair.bank.spawn(Account)
        ref = await pair.node.lookup("account", Account)
        with pytest.raises(Overdrawn, match=r"^1\.10 missing$") as caught:
            await ref.ask(Withdraw(how="overdrawn"))
        error = caught.value
        assert (error.missing, error.accounts, error.who) == (Decimal("1.10"), ["a", "b"], ref)
        assert copy.copy(error).missing == Decimal("1.10")
        with pytest.raises(Plain, match=r"^plainly no$"):
            await ref.ask(Withdraw(how="plain"))
        with pytest.raises(Overdrawn, match="2 missing"):
            async for _ in ref.stream(Statement()):
                pass
        plain = pickle.loads(pickle.dumps(Plain("x")))
        assert isinstance(plain, Plain)


@pytest.mark.parametrize(
    ("how", "text"),
    [("overdrawn", "1.10 missing"), ("forgetful", "forgot"), ("liar", "no number"), ("large", "1 missing"),
     ("local", "local"), ("odd", "odd")],
)  # fmt: skip
async def test_any_other_comes_as_a_refusal_with_its_words(how: str, text: str) -> None:
    known = [Forgetful, Liar, *([] if how == "overdrawn" else [Overdrawn])]
    async with linked(messages=MESSAGES, connect={"messages": known}) as pair:
        await pair.bank.spawn(Account)
        ref = await pair.node.lookup("account", Account)
        with pytest.raises(Refused) as caught:
            await ref.ask(Withdraw(how=how))
        assert type(caught.value) is Refused
        assert str(caught.value) == text
        assert pair.node.is_up


async def test_another_version_of_a_refusal_comes_with_its_words_only() -> None:
    class Changed(Refused):
        wire_name: ClassVar[str | None] = f"{Overdrawn.__module__}.Overdrawn"
        missing: list[int]

    async with linked(messages=MESSAGES, connect={"messages": [Changed]}) as pair:
        await pair.bank.spawn(Account)
        ref = await pair.node.lookup("account", Account)
        with pytest.raises(Refused) as caught:
            await ref.ask(Withdraw(how="overdrawn"))
        assert type(caught.value) is Refused
        assert pair.node.is_up


async def test_a_refusal_that_cannot_cross_is_an_error_where_it_is_named() -> None:
    with pytest.raises(MessageNotAccepted, match="annotations"):
        RefusalType(Odd)
    with pytest.raises(MessageNotAccepted, match="only a Message"):
        Registry([Refused])
    twin = type("Twin", (Refused,), {"__module__": Plain.__module__, "__qualname__": "Plain"})
    with pytest.raises(InvalidSpec, match="two classes"):
        Registry([Plain, twin])
    Registry([Plain, Plain, twins_one.Twin])
    async with ActorSystem(name="bank") as bank:
        with pytest.raises(MessageNotAccepted, match="annotations"):
            await bank.listen("memory://bank", messages=[Odd], options=QUICK)
