"""The process of the bank: python -m examples.remote_bank.bank PORT JOURNAL, with the token in BANK_TOKEN."""

from __future__ import annotations

import os
import sys

from understudy import ActorSystem, child, run, supervisor

from .accounts import Accounts
from .messages import Balance, Deposit

__all__ = ["main"]


async def main(port: str, journal: str, token: str) -> None:
    """Serve until somebody ends the process."""
    tree = supervisor("bank", child(Accounts, journal))
    async with ActorSystem(tree, name="bank") as system:
        listening = await system.listen(f"ws://127.0.0.1:{port}", token=token, messages=[Deposit, Balance])
        print(listening.url, flush=True)
        await system.wait_stopped()


if __name__ == "__main__":
    import structlog

    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    run(main(sys.argv[1], sys.argv[2], os.environ["BANK_TOKEN"]))
