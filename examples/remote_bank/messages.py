"""What crosses the link."""

from __future__ import annotations

from understudy import Message

__all__ = ["Balance", "Deposit"]


class Deposit(Message[int]):
    """Pay in; the reply is the balance. The number tells the bank one that it has had already."""

    number: int
    amount: int


class Balance(Message[int]):
    """How much there is."""
