"""The bank in a process of its own: what it has answered survives its being killed."""

from __future__ import annotations

import asyncio
import math
from pathlib import Path

import pytest

from examples.remote_bank.accounts import Accounts
from examples.remote_bank.messages import Balance, Deposit
from examples.remote_bank.shop import BankProcess, KillIt, Pay, Teller, Url
from understudy import ActorSystem, child, supervisor

TOKEN = "a token of a good length"


@pytest.mark.asyncio
async def test_accounts_begin_with_what_is_on_disk_and_take_no_deposit_twice(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    journal.write_text("1 10\n2 20\n3 3", "utf-8")  # the last was being written when the process was killed
    async with ActorSystem() as system:
        accounts = await system.spawn(Accounts, str(journal))
        assert await accounts.ask(Balance()) == 30
        assert await accounts.ask(Deposit(number=2, amount=20)) == 30
        assert await accounts.ask(Deposit(number=3, amount=30)) == 60
    assert journal.read_text("utf-8") == "1 10\n2 20\n3 30\n"


@pytest.mark.asyncio
@pytest.mark.real_time
async def test_a_bank_that_is_killed_again_and_again_loses_nothing_that_it_has_answered(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    process = child(BankProcess, [0], str(journal), TOKEN).options(name="process")
    async with ActorSystem(supervisor("office", process, max_restarts=100), name="shop") as system:
        owner = system.lookup("office/process", BankProcess)
        bank = await system.connect(await owner.ask(Url()), token=TOKEN)
        teller = await system.spawn(Teller, bank)
        kills = 2

        async def kill() -> None:
            for _ in range(kills):
                await asyncio.sleep(0.05)
                await bank.wait_up(30.0)
                owner.tell(KillIt())

        killing = asyncio.ensure_future(kill())
        number = 0
        while not killing.done() or number % 10:
            number += 1
            balance = await teller.ask(Pay(number=number, amount=number), timeout=math.inf)
            assert balance == number * (number + 1) // 2
        await killing
    lines = journal.read_text("utf-8").splitlines()
    assert lines == [f"{each} {each}" for each in range(1, number + 1)]
