"""Channels in which nothing is lost and nothing comes twice, whatever happens to the link."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.transports.cast import MESSAGES, Add, Counter, Held, Unknown
from tests.transports.stage import QUICK, linked
from understudy import ActorSystem, MailboxFull, child
from understudy.testing import Gate
from understudy.transports import LinkError, MessageNotAccepted

pytestmark = pytest.mark.asyncio


async def test_what_a_channel_has_accepted_arrives_once_and_in_order_through_lost_links() -> None:
    async with linked() as pair:
        seen: list[Any] = []
        await pair.bank.spawn(Counter, 0, seen)
        channel = pair.node.channel("counter", Counter)
        sent = 0
        for cycle in range(40):
            for _ in range(7):
                await channel.send(Add(number=sent))
                sent += 1
            if cycle % 3 == 0:
                await asyncio.sleep(0.03 * (cycle % 5))
            connection = pair.wire.last
            if cycle % 4 == 0:  # what is on its way is lost, in both directions, and nobody notices for a while
                connection.swallows = True
            else:
                connection.cut()
        await channel.flush(60.0)
        assert seen == list(range(sent))
        assert channel.unconfirmed == 0
        assert pair.shop_letters.letters == []


async def test_what_was_sent_before_there_is_anybody_waits_for_him() -> None:
    async with linked() as pair:
        channel = pair.node.channel("counter", Counter)
        for number in range(5):
            await channel.send(Add(number=number))
        await asyncio.sleep(10.0)
        assert channel.unconfirmed == 5
        seen: list[Any] = []
        await pair.bank.spawn(Counter, 0, seen)
        await channel.flush(5.0)
        assert seen == [0, 1, 2, 3, 4]
        assert pair.bank_letters.letters == []


async def test_a_full_mailbox_is_waited_for() -> None:
    async with linked() as pair:
        gate, seen = Gate(), []
        await pair.bank.spawn(child(Held, gate, seen).options(mailbox=2))
        channel = pair.node.channel("held", Held)
        for number in range(50):
            await channel.send(Add(number=number))
        await asyncio.sleep(5.0)
        assert channel.unconfirmed == 47
        gate.open()
        await channel.flush(200.0)
        assert seen == list(range(50))


async def test_a_successor_gets_what_was_not_confirmed_and_nothing_again() -> None:
    async with linked() as pair:
        first: list[Any] = []
        local = await pair.bank.spawn(Counter, 0, first)
        channel = pair.node.channel("counter", Counter)
        for number in range(10):
            await channel.send(Add(number=number))
        await channel.flush(5.0)
        local.stop()
        await local.wait_stopped()
        for number in range(10, 20):
            await channel.send(Add(number=number))
        second: list[Any] = []
        await pair.bank.spawn(Counter, 0, second)
        await channel.flush(5.0)
        assert first + second == list(range(20))


async def test_a_node_started_anew_gets_what_the_old_one_has_not_confirmed() -> None:
    async with linked() as pair:
        first: list[Any] = []
        await pair.bank.spawn(Counter, 0, first)
        channel = pair.node.channel("counter", Counter)
        for number in range(10):
            await channel.send(Add(number=number))
        await channel.flush(5.0)
        await pair.listening.aclose()
        for number in range(10, 20):
            await channel.send(Add(number=number))
        second: list[Any] = []
        async with ActorSystem(name="bank") as again:
            await again.spawn(Counter, 0, second)
            await again.listen("memory://bank", messages=MESSAGES, options=QUICK, transport=pair.wire)
            await channel.flush(60.0)
        assert (first, second) == (list(range(10)), list(range(10, 20)))


async def test_a_message_that_the_other_side_does_not_accept_is_a_dead_letter_and_holds_up_nobody() -> None:
    async with linked() as pair:
        seen: list[Any] = []
        await pair.bank.spawn(Counter, 0, seen)
        channel: Any = pair.node.channel("counter")
        await channel.send(Add(number=1))
        await channel.send(Unknown())
        await channel.send(Add(number=2))
        await channel.flush(5.0)
        assert seen == [1, 2]
        assert [letter.message for letter in pair.shop_letters.letters] == [Unknown()]
        with pytest.raises(MessageNotAccepted):
            await channel.send("no message at all")


async def test_a_channel_that_is_full_makes_its_sender_wait() -> None:
    async with linked() as pair:
        channel = pair.node.channel("counter", Counter, capacity=3)
        for number in range(3):
            await channel.send(Add(number=number))
        with pytest.raises(MailboxFull, match="//bank/user/counter"):
            await channel.send(Add(number=3), timeout=1.0)
        sending = asyncio.ensure_future(channel.send(Add(number=3)))
        seen: list[Any] = []
        await pair.bank.spawn(Counter, 0, seen)
        await sending
        await channel.flush(5.0)
        assert seen == [0, 1, 2, 3]


async def test_a_channel_that_is_closed_gives_back_what_is_not_confirmed() -> None:
    async with linked() as pair:
        channel = pair.node.channel("counter", Counter, capacity=1)
        await channel.send(Add(number=1))
        sending = asyncio.ensure_future(channel.send(Add(number=2)))
        flushing = asyncio.ensure_future(channel.flush())
        await asyncio.sleep(0.1)
        channel.close()
        channel.close()
        for waiting in (sending, flushing):
            with pytest.raises(LinkError, match="closed"):
                await waiting
        assert [letter.message for letter in pair.shop_letters.letters] == [Add(number=1)]
        with pytest.raises(LinkError, match="closed"):
            await channel.send(Add())
