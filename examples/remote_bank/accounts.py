"""The accounts: an actor whose answers are on disk."""

from __future__ import annotations

import os
from pathlib import Path

from understudy import Actor, handler

from .messages import Balance, Deposit

__all__ = ["Accounts"]


class Accounts(Actor[Deposit | Balance]):
    """Answers when a deposit is on disk, and knows those that are: what was answered survives whatever happens."""

    def __init__(self, journal: str) -> None:
        self.journal = Path(journal)
        self.deposits: dict[int, int] = {}

    def initialize(self) -> None:
        self.journal.touch()
        lines = self.journal.read_text("utf-8").split("\n")
        for line in lines[:-1]:  # one that was being written when the process was killed has no end
            number, amount = line.split()
            self.deposits[int(number)] = int(amount)
        whole = "".join(f"{line}\n" for line in lines[:-1])
        self.journal.write_text(whole, "utf-8")

    @handler
    def deposit(self, message: Deposit) -> int:
        if message.number not in self.deposits:
            with self.journal.open("a", encoding="utf-8") as file:
                file.write(f"{message.number} {message.amount}\n")
                file.flush()
                os.fsync(file.fileno())
            self.deposits[message.number] = message.amount
        return self.balance(Balance())

    @handler
    def balance(self, message: Balance) -> int:
        return sum(self.deposits.values())
