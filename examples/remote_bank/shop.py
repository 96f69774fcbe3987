"""What lives in the process of the shop: who keeps the process of the bank alive, and who pays in."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from dataclasses import dataclass

from understudy import (
    Actor,
    ActorNotFound,
    ActorStopped,
    AskTimeout,
    ExitReason,
    Message,
    handler,
)
from understudy.transports import LinkDown, RemoteNode

from .accounts import Accounts
from .messages import Deposit

__all__ = ["BankProcess", "KillIt", "Pay", "Teller", "Url"]


class Url(Message[str]):
    """Where the bank listens."""


class KillIt(Message[None]):
    """As ``kill -9`` would."""


@dataclass(frozen=True)
class Ended:
    """The process is no more."""

    code: int


class BankProcess(Actor[Url | KillIt]):
    """Owns the process of the bank: it fails when that does, and its supervisor starts both anew."""

    def __init__(self, port: list[int], journal: str, token: str) -> None:
        self.port = port  # kept from one incarnation to the next
        self.journal, self.token = journal, token

    async def initialize(self) -> None:
        self.process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "examples.remote_bank.bank",
            str(self.port[0]),
            self.journal,
            env=os.environ | {"BANK_TOKEN": self.token},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        assert self.process.stdout is not None
        self.url = (await self.process.stdout.readline()).decode().strip()
        if not self.url:
            raise RuntimeError("the bank did not start")
        self.port[0] = int(self.url.rpartition(":")[2])
        self.context.pipe_to_self(self.process.wait(), Ended)

    @handler
    def where(self, message: Url) -> str:
        return self.url

    @handler
    def kill_it(self, message: KillIt) -> None:
        self.process.send_signal(signal.SIGKILL)

    @handler
    def _ended(self, message: Ended) -> None:
        raise RuntimeError(f"the process of the bank has ended with {message.code}")

    async def shutdown(self, reason: ExitReason) -> None:
        if self.process.returncode is None:
            self.process.terminate()
            await self.process.wait()


class Pay(Message[int]):
    """Have that deposit made, whatever happens; the reply is the balance."""

    number: int
    amount: int


class Teller(Actor[Pay]):
    """Asks until there is an answer. The number of the deposit makes it safe to ask again."""

    def __init__(self, bank: RemoteNode) -> None:
        self.bank = bank

    @handler
    async def pay(self, message: Pay) -> int:
        while True:
            try:
                await self.bank.wait_up(10.0)
                accounts = await self.bank.lookup("bank/accounts", Accounts)
                return await accounts.ask(Deposit(number=message.number, amount=message.amount), timeout=2.0)
            except (ActorNotFound, ActorStopped, AskTimeout, LinkDown) as error:
                self.log.info("once more", number=message.number, why=type(error).__name__)
