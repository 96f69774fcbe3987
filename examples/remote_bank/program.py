"""A bank in a process of its own, which is killed in the middle of it.

python -m examples.remote_bank.program
"""

from __future__ import annotations

import math
import secrets
import sys
import tempfile
from pathlib import Path

import structlog

from understudy import ActorSystem, ChildSpec, Supervisor, child, run

from .shop import BankProcess, KillIt, Pay, Teller, Url

__all__ = ["main"]

DEPOSITS = 60


class Office(Supervisor):
    """Starts the bank's process again when it dies."""

    def __init__(self, journal: str, token: str) -> None:
        self.journal, self.token = journal, token

    def children(self) -> list[ChildSpec]:
        return [child(BankProcess, [0], self.journal, self.token).options(name="process")]


async def main(folder: Path) -> None:
    """Pay in, with the bank killed twice."""
    token = secrets.token_urlsafe()
    async with ActorSystem(child(Office, str(folder / "journal"), token), name="shop") as system:
        process = system.lookup("office/process", BankProcess)
        bank = await system.connect(await process.ask(Url()), token=token, node="bank")
        teller = await system.spawn(Teller, bank)
        for number in range(1, DEPOSITS + 1):
            balance = await teller.ask(Pay(number=number, amount=number), timeout=math.inf)
            if number % 20 == 0:
                print(f"{number} deposits, balance {balance}", flush=True)
            if number in (10, 30):
                process.tell(KillIt())
                print("the process of the bank is killed", flush=True)
        print(f"restarts: {system.statistics().restarted}")


if __name__ == "__main__":
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    with tempfile.TemporaryDirectory() as made:
        run(main(Path(made)))
