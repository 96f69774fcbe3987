"""The example of the events: what is published comes to those who care, and nobody else."""

from __future__ import annotations

import asyncio
import re

import pytest

from examples.order_events.events import (
    DayBalanced,
    DayOver,
    OrderPaid,
    OrderPlaced,
    OrderShipped,
    PaymentRefused,
    ShopEvent,
    Trouble,
)
from examples.order_events.program import Shop
from examples.order_events.services import Accounts, Billing, Warehouse, congratulate
from tests.cast import Recorder, settle
from tests.examples.stage import EXAMPLES, commands
from understudy import ActorSystem


async def balance_of(system: ActorSystem, day: int) -> DayBalanced:
    with system.events.stream(DayBalanced) as balances:
        await system.events.publish(DayOver(day=day))
        async with asyncio.timeout(10):
            return await anext(balances)


@pytest.mark.asyncio
async def test_it_ends_by_itself_prints_what_its_readme_says_and_nobody_crashes(
    capsys: pytest.CaptureFixture[str],
) -> None:
    recorder = Recorder()
    async with ActorSystem(Shop, instruments=[recorder]) as system:
        await system.wait_stopped()
    shown = commands(EXAMPLES / "order_events" / "README.md")["understudy run examples/order_events"]
    printed = capsys.readouterr().out.splitlines()
    assert [line for line in printed if re.match(r" *\d+  \w", line)] == shown.splitlines()  # the others are the log
    assert recorder.of("actor_crashed") == []
    assert recorder.letters == []


@pytest.mark.asyncio
async def test_billing_takes_the_money_up_to_its_limit_and_the_warehouse_ships_what_is_paid() -> None:
    async with ActorSystem() as system:
        seen: list[ShopEvent] = []
        system.events.subscribe(ShopEvent, seen.append)
        await system.spawn(Billing, 100)
        await system.spawn(Warehouse)
        await system.events.publish(OrderPlaced(order=1, item="bell", cents=100))
        await system.events.publish(OrderPlaced(order=2, item="lamp", cents=101))
        await settle()
        assert [(type(event), event.source) for event in seen] == [
            (OrderPlaced, None),
            (OrderPaid, "/user/billing"),
            (OrderShipped, "/user/warehouse"),
            (OrderPlaced, None),
            (PaymentRefused, "/user/billing"),
        ]


@pytest.mark.asyncio
async def test_the_callback_is_removed_after_two_failures() -> None:
    async with ActorSystem() as system:
        subscription = system.events.subscribe(OrderPlaced, congratulate, on_error=2)
        for number in range(4):
            await system.events.publish(OrderPlaced(order=number, item="bell", cents=1))
        assert (subscription.active, subscription.failures) == (False, 2)
        assert system.events.subscriber_count() == 0


@pytest.mark.asyncio
async def test_the_accounts_read_each_payment_once_however_the_days_are_cut() -> None:
    async with ActorSystem() as system:
        await system.spawn(Accounts)
        assert (await balance_of(system, 1)).payments == 0
        for day, orders in enumerate((3, 0, 2), start=2):
            for number in range(orders):
                system.events.publish_nowait(OrderPaid(order=number, cents=10 * day))
            balance = await balance_of(system, day)
            assert (balance.day, balance.payments, balance.cents) == (day, orders, orders * 10 * day)
        assert system.statistics().dead_letters == 0


@pytest.mark.asyncio
async def test_payments_that_are_not_kept_any_more_are_said_to_be_missing() -> None:
    async with ActorSystem() as system:
        troubles: list[Trouble] = []
        system.events.subscribe(Trouble, troubles.append)
        await system.spawn(Accounts)
        for number in range(150):
            system.events.publish_nowait(OrderPaid(order=number, cents=1))
        balance = await balance_of(system, 1)
        await settle()
        assert balance.payments == 100
        assert [trouble.text for trouble in troubles] == ["payments are missing between 1 and 50: see the bank"]
        assert troubles[0].source == "/user/accounts"
