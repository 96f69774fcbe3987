"""What happens in the shop. Each event has one publisher, and any number of those who want to know."""

from __future__ import annotations

from understudy import Event

__all__ = [
    "DayBalanced",
    "DayOver",
    "OrderPaid",
    "OrderPlaced",
    "OrderShipped",
    "PaymentRefused",
    "ShopClosed",
    "ShopEvent",
    "Trouble",
]


class ShopEvent(Event):
    """All that happens here: who subscribes to this class hears of everything."""

    def __str__(self) -> str:
        return type(self).__name__


class OrderPlaced(ShopEvent):
    order: int
    item: str
    cents: int

    def __str__(self) -> str:
        return f"order {self.order} placed: {self.item} for {self.cents / 100:.2f}"


class OrderPaid(ShopEvent):
    order: int
    cents: int

    def __str__(self) -> str:
        return f"order {self.order} paid"


class PaymentRefused(ShopEvent):
    order: int
    why: str

    def __str__(self) -> str:
        return f"order {self.order} refused: {self.why}"


class OrderShipped(ShopEvent):
    order: int

    def __str__(self) -> str:
        return f"order {self.order} shipped"


class DayOver(ShopEvent):
    day: int

    def __str__(self) -> str:
        return f"day {self.day} is over"


class DayBalanced(ShopEvent):
    day: int
    payments: int
    cents: int

    def __str__(self) -> str:
        return f"day {self.day}: {self.payments} payments, {self.cents / 100:.2f}"


class Trouble(ShopEvent):
    """Something that a person should look at."""

    text: str

    def __str__(self) -> str:
        return self.text


class ShopClosed(ShopEvent):
    def __str__(self) -> str:
        return "the shop is closed"
