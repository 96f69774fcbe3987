"""The checkout: from a basket to a receipt, or to nothing."""

from __future__ import annotations

import enum
from collections.abc import Callable

from understudy import Message, Refused, StateMachine, enter, handler, in_state

__all__ = ["Add", "Cancel", "Checkout", "Paid", "Pay", "State", "Status"]

PATIENCE = 0.2
"""Seconds that a customer has to pay."""


class State(enum.Enum):
    BASKET = "basket"
    PAYMENT = "payment"
    PAID = "paid"
    CANCELLED = "cancelled"


class Add(Message[int]):
    """Put something into the basket; answered with what all costs."""

    item: str
    price: int


class Pay(Message[str]):
    """Go to the till; answered with the receipt."""


class Paid(Message):
    """The bank says that so much has been paid."""

    amount: int


class Cancel(Message): ...


class Status(Message[str]): ...


class TooLate:
    """Nobody has paid in time."""


class Checkout(StateMachine[Add | Pay | Paid | Cancel | Status]):
    """What the bank says before anybody has gone to the till waits until then."""

    initial = State.BASKET

    def __init__(self, tell: Callable[[str], object]) -> None:
        self.tell = tell
        self.items: dict[str, int] = {}
        self.due = 0

    @in_state(State.BASKET)
    def add(self, message: Add) -> int:
        if message.price <= 0:
            raise Refused(f"{message.item} must cost something")
        self.items[message.item] = message.price
        return sum(self.items.values())

    @in_state(State.BASKET, to=State.PAYMENT)
    def pay(self, message: Pay) -> str:
        if not self.items:
            raise Refused("the basket is empty")
        self.due = sum(self.items.values())
        self.goto(State.PAYMENT)
        return f"please pay {self.due}"

    @in_state(State.BASKET)
    def too_early(self, message: Paid) -> None:
        self.postpone(message)

    @in_state(State.PAYMENT, to=State.PAID)
    def paid(self, message: Paid) -> None:
        self.due -= message.amount
        if self.due <= 0:
            self.goto(State.PAID)

    @in_state(State.BASKET, State.PAYMENT, to=State.CANCELLED)
    def cancel(self, message: Cancel) -> None:
        self.goto(State.CANCELLED)

    @in_state(State.PAYMENT, to=State.CANCELLED)
    def _too_late(self, message: TooLate) -> None:
        self.goto(State.CANCELLED)

    @handler
    def status(self, message: Status) -> str:
        return f"{self.state.value}, {len(self.items)} items, {self.due} due"

    @enter(State.PAYMENT)
    def begin_to_wait(self) -> None:
        self.state_timeout(PATIENCE, TooLate())

    @enter(State.PAYMENT, State.PAID, State.CANCELLED)
    def report(self) -> None:
        self.tell(f"-> {self.state.value}")
