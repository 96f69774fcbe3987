"""M13: an expected "no" is an answer: it reaches the asker as it is and touches nothing else."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.cast import Handled, Holder, Note, Recorder, Refuse, settle
from understudy import Actor, ActorSystem, Message, Refused, child, handler


class Insufficient(Refused):
    def __init__(self, missing: int, currency: str) -> None:
        super().__init__(f"{missing} {currency} short")
        self.missing = missing
        self.currency = currency


class Withdraw(Message[int]):
    amount: int


class WithdrawSlowly(Message[int]):
    amount: int


class Balance(Message[int]): ...


class Account(Actor[Withdraw | WithdrawSlowly | Balance]):
    def __init__(self, balance: int) -> None:
        self.balance = balance

    def _withdraw(self, amount: int) -> int:
        if amount > self.balance:
            raise Insufficient(amount - self.balance, "EUR")
        self.balance -= amount
        return self.balance

    @handler
    def withdraw(self, message: Withdraw) -> int:
        return self._withdraw(message.amount)

    @handler
    async def withdraw_slowly(self, message: WithdrawSlowly) -> int:
        await asyncio.sleep(1)
        return self._withdraw(message.amount)

    @handler
    def tell_balance(self, message: Balance) -> int:
        return self.balance


@pytest.mark.parametrize("kind", [Withdraw, WithdrawSlowly])
@pytest.mark.asyncio
async def test_a_typed_no_reaches_the_asker_as_that_exception_with_its_fields(kind: Any) -> None:
    recorder = Recorder()
    async with ActorSystem(instruments=[recorder]) as system:
        ref = await system.spawn(child(Account, 100).options(name="account"))
        await ref.ask(Withdraw(amount=10))
        before = system.statistics()
        with pytest.raises(Insufficient) as caught:
            await ref.ask(kind(amount=100))
        assert type(caught.value) is Insufficient
        assert caught.value.missing == 10
        assert caught.value.currency == "EUR"
        assert str(caught.value) == "10 EUR short"
        assert await ref.ask(Balance()) == 90
        after = system.statistics()
        assert (after.crashed, after.restarted, after.dead_letters) == (
            before.crashed,
            before.restarted,
            before.dead_letters,
        )
        assert recorder.of("actor_crashed") == []
        assert recorder.of("actor_started", "/user/account") == [("/user/account", 1)]
        assert recorder.letters == []
        assert recorder.of("refused") == []  # the asker knows


@pytest.mark.asyncio
async def test_the_plain_class_will_do_and_says_its_text() -> None:
    async with ActorSystem() as system:
        ref = await system.spawn(Holder)
        with pytest.raises(Refused, match=r"^insufficient funds$") as caught:
            await ref.ask(Refuse(text="insufficient funds"))
        assert type(caught.value) is Refused


@pytest.mark.parametrize("way", ["tell", "send"])
@pytest.mark.parametrize("kind", [Withdraw, WithdrawSlowly])
@pytest.mark.asyncio
async def test_on_a_tell_it_is_an_event_with_the_text(kind: Any, way: str) -> None:
    recorder = Recorder()
    async with ActorSystem(instruments=[recorder]) as system:
        ref = await system.spawn(child(Account, 90).options(name="account"))
        if way == "tell":
            assert ref.tell(kind(amount=100)) is True
        else:
            await ref.send(kind(amount=100))
        assert await ref.ask(Balance()) == 90
        assert recorder.of("refused") == [("/user/account", kind.__name__, "10 EUR short")]
        assert recorder.of("actor_crashed") == []
        assert recorder.letters == []
        statistics = system.statistics()
        assert (statistics.crashed, statistics.restarted) == (0, 0)


@pytest.mark.asyncio
async def test_no_number_of_refusals_wears_an_actor_out() -> None:
    recorder = Recorder()
    async with ActorSystem(instruments=[recorder]) as system:
        ref = await system.spawn(child(Account, 0).options(name="account"))
        for _ in range(50):
            with pytest.raises(Insufficient):
                await ref.ask(Withdraw(amount=1))
            ref.tell(Withdraw(amount=1))
        await settle()
        assert ref.status == "running"
        assert len(recorder.of("refused")) == 50
        assert recorder.of("actor_started", "/user/account") == [("/user/account", 1)]


@pytest.mark.asyncio
async def test_each_asker_gets_its_own_no() -> None:
    async with ActorSystem() as system:
        ref = await system.spawn(Account, 0)
        outcomes = await asyncio.gather(
            *(ref.ask(Withdraw(amount=amount)) for amount in range(1, 20)), return_exceptions=True
        )
        assert [outcome.missing for outcome in outcomes] == list(range(1, 20))  # type: ignore[union-attr]


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.asyncio
async def test_handle_message_may_say_no_too(is_async: bool) -> None:
    class Plain(Actor[Note]):
        def handle_message(self, message: object) -> object:
            raise Insufficient(1, "EUR")

    class Awaiting(Actor[Note]):
        async def handle_message(self, message: object) -> object:
            raise Insufficient(1, "EUR")

    recorder = Recorder()
    async with ActorSystem(instruments=[recorder]) as system:
        ref = await system.spawn(Awaiting if is_async else Plain)
        with pytest.raises(Insufficient):
            await ref.ask(Note())
        assert recorder.of("actor_crashed") == []


@pytest.mark.asyncio
async def test_a_no_among_other_messages_loses_none_of_them() -> None:
    async with ActorSystem() as system:
        ref = await system.spawn(Holder)
        for value in range(100):
            ref.tell(Refuse() if value % 10 == 5 else Note(value=value))
        assert await ref.ask(Handled()) == [value for value in range(100) if value % 10 != 5]
