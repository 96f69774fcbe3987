"""Mailboxes that collect, and handlers of many messages at once.

Bursts are told apart by when messages come: each sleep moves the virtual clock, and nothing waits for real.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.cast import Recorder, settle
from understudy import Actor, ActorRef, ActorSystem, InvalidActor, Mailbox, Message, child, handler, supervisor
from understudy.mailbox import RollingBatch
from understudy.testing import Faults, Simulation, simulate


class Row(Message[int]):
    number: int


class Flush(Message): ...


class Sync(Actor[Row | Flush]):
    """Writes rows in bulk."""

    def __init__(self, seen: list[Any]) -> None:
        self.seen = seen

    @handler
    def rows(self, rows: list[Row]) -> None:
        self.seen.append([row.number for row in rows])
        if any(row.number == 13 for row in rows):
            raise ValueError("13")

    @handler
    def row(self, row: Row) -> int:
        self.seen.append(row.number)
        return row.number

    @handler
    def flush(self, message: Flush) -> None:
        self.seen.append("flush")


class Async(Sync):
    @handler
    async def rows(self, rows: list[Row]) -> None:  # type: ignore[override] - the same handler, but async
        await asyncio.sleep(0.01)
        Sync.rows(self, rows)


BATCH = Mailbox(batch=RollingBatch(quiet=0.5, cap=2.0, urgent=lambda message: isinstance(message, Flush)))


@pytest.mark.parametrize("kind", [Sync, Async])
@pytest.mark.asyncio
async def test_a_burst_comes_as_one_list_after_a_quiet_period(kind: type[Sync]) -> None:
    seen: list[Any] = []
    async with ActorSystem() as system:
        writer = await system.spawn(child(kind, seen).options(mailbox=BATCH))
        for number in range(5):
            writer.tell(Row(number=number))
            await asyncio.sleep(0.1)
        await asyncio.sleep(0.3)
        assert seen == []
        await asyncio.sleep(0.2)
        assert seen == [[0, 1, 2, 3, 4]]


@pytest.mark.parametrize("kind", [Sync, Async])
@pytest.mark.asyncio
async def test_never_later_than_the_cap_and_at_once_for_what_is_urgent(kind: type[Sync]) -> None:
    seen: list[Any] = []
    async with ActorSystem() as system:
        writer = await system.spawn(child(kind, seen).options(mailbox=BATCH))
        for number in range(30):
            writer.tell(Row(number=number))
            await asyncio.sleep(0.1)
        assert len(seen) == 1
        assert 19 <= len(seen[0]) <= 21
        writer.tell(Flush())
        await asyncio.sleep(0.05)
        assert seen[0] + seen[1] == list(range(30))
        assert seen[2] == "flush"


@pytest.mark.parametrize("kind", [Sync, Async])
@pytest.mark.asyncio
async def test_an_ask_in_a_burst_has_its_own_reply_and_its_place(kind: type[Sync]) -> None:
    seen: list[Any] = []
    async with ActorSystem() as system:
        writer = await system.spawn(child(kind, seen).options(mailbox=BATCH))
        writer.tell(Row(number=1))
        writer.tell(Row(number=2))
        ask = asyncio.ensure_future(writer.ask(Row(number=3)))
        await settle()
        writer.tell(Row(number=4))
        assert await ask == 3
        await asyncio.sleep(0.1)
        assert seen == [[1, 2], 3, [4]]


@pytest.mark.parametrize("kind", [Sync, Async])
@pytest.mark.asyncio
async def test_a_crash_costs_the_list_in_hand_and_no_other(kind: type[Sync]) -> None:
    seen: list[Any] = []
    recorder = Recorder()
    spec = child(kind, seen).options(name="writer", mailbox=BATCH)
    async with ActorSystem(supervisor("tree", spec), instruments=[recorder]) as system:
        writer: ActorRef[Any] = system.lookup("tree/writer", kind)
        writer.tell(Row(number=13))
        writer.tell(Flush())
        writer.tell(Row(number=14))
        await asyncio.sleep(3)
        assert seen == [[13], "flush", [14]]
        assert len(recorder.of("actor_crashed")) == 1


@pytest.mark.asyncio
async def test_what_is_collected_becomes_dead_letters_or_is_drained() -> None:
    seen: list[Any] = []
    recorder = Recorder()
    async with ActorSystem(instruments=[recorder]) as system:
        first = await system.spawn(child(Sync, seen).options(mailbox=BATCH))
        second = await system.spawn(child(Sync, seen).options(mailbox=BATCH))
        for number in range(3):
            first.tell(Row(number=number))
            second.tell(Row(number=number + 10))
        first.stop()
        second.drain()
        await first.wait_stopped()
        await second.wait_stopped()
        assert [message.number for message, *_ in recorder.letters] == [0, 1, 2]
        assert seen == [[10, 11, 12]]


def test_a_handler_of_a_list_must_take_messages_that_the_class_declares() -> None:
    class Other(Message): ...

    with pytest.raises(InvalidActor, match="Other"):

        class Wrong(Actor[Row]):
            @handler
            def row(self, row: Row) -> int:
                return 1

            @handler
            def many(self, rows: list[Other]) -> None: ...


@simulate(schedules=40, faults=Faults(crash=0.1, cancel=0.1, stall=3.0))
async def test_bursts_lose_nothing_but_what_is_in_hand(sim: Simulation) -> None:
    seen: list[Any] = []
    kind = sim.random.choice([Sync, Async])
    spec = child(kind, seen).options(name="writer", mailbox=BATCH)
    await sim.system.spawn(supervisor("tree", spec, max_restarts=1000))
    writer: ActorRef[Any] = sim.system.lookup("tree/writer", kind)
    for number in range(20, 32):
        writer.tell(Row(number=number))
        if sim.random.random() < 0.4:
            await asyncio.sleep(sim.random.choice([0, 0.3, 0.6]))
        if sim.random.random() < 0.1:
            writer.tell(Flush())
    await sim.quiesce()
    numbers = [number for each in seen if isinstance(each, list) for number in each]
    assert numbers == sorted(set(numbers))
