"""Those who listen. None of them has a ref of another; all they know is the bus."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Never

from understudy import Actor, AsyncEventBus, Message, handler
from understudy.events import EventGap, EventStream

from .events import (
    DayBalanced,
    DayOver,
    OrderPaid,
    OrderPlaced,
    OrderShipped,
    PaymentRefused,
    ShopClosed,
    ShopEvent,
    Trouble,
)

__all__ = ["Accounts", "Billing", "Customers", "Journal", "Order", "Warehouse", "congratulate"]


class Begin(Message): ...


class Balance(Message):
    """What was missed has been read: sum up that day."""

    day: int


class Billing(Actor[OrderPlaced]):
    """Takes the money, up to a limit."""

    def __init__(self, limit: int = 50_000) -> None:
        self.limit = limit

    def initialize(self) -> None:
        self.context.system.events.subscribe(OrderPlaced, self.context.ref)

    @handler
    async def charge(self, event: OrderPlaced) -> None:
        bus = self.context.system.events
        if event.cents > self.limit:
            await bus.publish(PaymentRefused(order=event.order, why="over the limit"))
        else:
            await bus.publish(OrderPaid(order=event.order, cents=event.cents))


class Warehouse(Actor[OrderPaid]):
    """Ships what is paid."""

    def initialize(self) -> None:
        self.context.system.events.subscribe(OrderPaid, self.context.ref)

    @handler
    async def ship(self, event: OrderPaid) -> None:
        await self.context.system.events.publish(OrderShipped(order=event.order))


class Accounts(Actor[DayOver | OrderPaid | EventGap]):
    """Works at night: at the end of a day it reads the payments that it has not read yet, and is gone again."""

    def __init__(self) -> None:
        self.read_up_to = 0
        self.payments: list[int] = []

    def initialize(self) -> None:
        self.context.system.events.subscribe(DayOver, self.context.ref)

    @handler
    def day_over(self, event: DayOver) -> None:
        # What it has missed goes into its mailbox at once, and what it tells itself comes behind that.
        with self.context.system.events.subscribe(OrderPaid, self.context.ref, after=self.read_up_to):
            self.context.tell_self(Balance(day=event.day))
        self.read_up_to = event.sequence

    @handler
    def paid(self, event: OrderPaid) -> None:
        self.payments.append(event.cents)

    @handler
    def missed(self, event: EventGap) -> None:
        text = f"payments are missing between {event.first_missed} and {event.last_missed}: see the bank"
        self.context.system.events.publish_nowait(Trouble(text=text, source=self.context.path))

    @handler
    async def _balance(self, message: Balance) -> None:
        payments, self.payments = self.payments, []
        balanced = DayBalanced(day=message.day, payments=len(payments), cents=sum(payments))
        await self.context.system.events.publish(balanced)


async def congratulate(event: OrderPlaced) -> None:
    """Write a letter to the customer; a callback, which knows the event and nothing else."""
    raise ConnectionError("no mail server")


class Journal(Actor[Never]):
    """Prints what happens, in the order in which it does, until the shop is closed; then the program is over."""

    def initialize(self) -> None:
        self.stream: EventStream[ShopEvent] = self.context.system.events.stream(ShopEvent)
        self.context.tell_self(Begin())

    @handler
    async def _print(self, message: Begin) -> None:
        with self.stream:
            async for event in self.stream:
                publisher = (event.source or "nobody").rpartition("/")[2]
                print(f"{event.sequence:3}  {publisher:9}  {event}")
                if isinstance(event, ShopClosed):
                    break
        self.context.system.stop()


Order = tuple[str, int]
"""What is ordered, and its price in cents."""


class Customers(Actor[Never]):
    """Place the orders of some days, and wait until each day has been balanced."""

    def __init__(self, days: Sequence[Sequence[Order]]) -> None:
        self.days = days

    def initialize(self) -> None:
        self.context.tell_self(Begin())

    @handler
    async def _shop(self, message: Begin) -> None:
        bus = self.context.system.events
        number = 0
        for day, orders in enumerate(self.days, start=1):
            for item, cents in orders:
                number += 1
                await self.place(bus, OrderPlaced(order=number, item=item, cents=cents))
            with bus.stream(DayBalanced) as balances:  # before the day is over, or the event might come too early
                await bus.publish(DayOver(day=day))
                await anext(balances)
        await bus.publish(ShopClosed())

    async def place(self, bus: AsyncEventBus, event: OrderPlaced) -> None:
        """Publish *event*, and wait until all who want to know have dealt with it."""
        published = await bus.publish(event)
        for outcome in published.failures:
            who = outcome.subscription.name.rpartition("/")[2]
            await bus.publish(Trouble(text=f"{who} failed: {outcome.error}"))
