"""The shop: a stock, a till, and a supplier who is slow."""

from __future__ import annotations

import asyncio

import tenacity

from understudy import Actor, ChildSpec, Mailbox, Message, Refused, Supervisor, child, handler

__all__ = ["Count", "Order", "Pay", "Shop", "Smash", "Stock", "Supplier", "Take", "Till", "UnknownItem"]

PAUSE = 5.0
"""Seconds between a crash of the stock or the till and its restart."""


class UnknownItem(Refused):
    def __init__(self, item: str) -> None:
        super().__init__(f"there is no {item} here")
        self.item = item


class Count(Message[int]):
    """How many there are."""

    item: str


class Take(Message[int]):
    """Take so many; answered with how many are left."""

    item: str
    amount: int


class Pay(Message[int]):
    """Pay so much; answered with what is in the till."""

    amount: int


class Order(Message[int]):
    """Have the supplier bring some; answered with how many there are then."""

    item: str


class Smash(Message):
    """An error of whoever gets it."""


class Stock(Actor[Count | Take | Smash]):
    def __init__(self) -> None:
        self.items = {"lamp": 3, "cord": 7}

    @handler
    def count(self, message: Count) -> int:
        if message.item not in self.items:
            raise UnknownItem(message.item)
        return self.items[message.item]

    @handler
    def take(self, message: Take) -> int:
        left = self.count(Count(item=message.item)) - message.amount
        if left < 0:
            raise Refused(f"only {left + message.amount} of {message.item} left")
        self.items[message.item] = left
        return left

    @handler
    def smash(self, message: Smash) -> None:
        raise RuntimeError("the shelf has come down")


class Till(Actor[Pay | Smash]):
    def __init__(self) -> None:
        self.total = 0

    @handler
    def pay(self, message: Pay) -> int:
        self.total += message.amount
        return self.total

    @handler
    def smash(self, message: Smash) -> None:
        raise RuntimeError("the drawer is stuck")


class Supplier(Actor[Order]):
    """Never comes before the customer has lost patience, and has room for two more who wait."""

    @handler(cancellable=True)  # free again as soon as nobody waits any more
    async def order(self, message: Order) -> int:
        await asyncio.sleep(3600.0)
        return 0


class Shop(Supervisor):
    """One accident is borne; the second within a minute is too much."""

    max_restarts, max_seconds = 1, 60.0

    def children(self) -> list[ChildSpec]:
        pause = tenacity.wait_fixed(PAUSE)
        return [
            child(Stock).options(mailbox=Mailbox(capacity=100, high=80), backoff=pause),
            child(Till).options(mailbox=Mailbox(capacity=100, high=80), backoff=pause),
            child(Supplier).options(mailbox=Mailbox(capacity=2, high=2, policy="fail"), shutdown="brutal_kill"),
        ]

    def shutdown(self, reason: object) -> None:
        print("the shop has closed", flush=True)
