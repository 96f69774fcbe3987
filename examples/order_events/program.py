"""The tree: services beside each other, in no order but that of their start.

shop                restarts whoever fails, and has somebody congratulate
    journal         prints what happens, then ends the program
    billing         takes the money
    warehouse       ships what is paid
    accounts        sums up at the end of a day
    customers       place orders
"""

from __future__ import annotations

from understudy import ChildSpec, Supervisor, child

from .events import OrderPlaced
from .services import Accounts, Billing, Customers, Journal, Order, Warehouse, congratulate

__all__ = ["DAYS", "Shop", "program"]

DAYS: list[list[Order]] = [
    [("lamp", 4_900), ("rug", 12_000), ("piano", 90_000)],
    [("bell", 700), ("chair", 6_000)],
]


class Shop(Supervisor):
    """See the module."""

    def initialize(self) -> None:
        # A callback that fails twice is not called again.
        self.context.system.events.subscribe(OrderPlaced, congratulate, on_error=2)

    def children(self) -> list[ChildSpec]:
        return [
            child(Journal).options(restart="temporary"),
            child(Billing),
            child(Warehouse),
            child(Accounts),
            child(Customers, DAYS).options(restart="temporary"),
        ]


program = Shop
