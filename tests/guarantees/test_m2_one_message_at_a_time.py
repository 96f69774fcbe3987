"""M2: an actor handles one message at a time, whatever its handlers wait for."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.cast import Gate, settle
from understudy import Actor, ActorSystem, Message, child, handler


class Add(Message[int]): ...


class AddAtOnce(Message[int]): ...


class Total(Message[int]): ...


class Account(Actor[Add | AddAtOnce | Total]):
    def __init__(self, log: list[Any] | None = None) -> None:
        self.total = 0
        self.inside = 0
        self.seen: list[Any] = [] if log is None else log

    async def initialize(self) -> None:
        self._enter()
        await asyncio.sleep(0.01)
        self._leave()

    async def shutdown(self, reason: object) -> None:
        self._enter()
        await asyncio.sleep(0.01)
        self._leave()

    def _enter(self) -> None:
        self.inside += 1
        self.seen.append(self.inside)

    def _leave(self) -> None:
        self.inside -= 1

    @handler
    async def add(self, message: Add) -> int:
        self._enter()
        before = self.total
        await asyncio.sleep(0)
        self.total = before + 1
        self._leave()
        return self.total

    @handler
    def add_at_once(self, message: AddAtOnce) -> int:
        self._enter()
        self.total += 1
        self._leave()
        return self.total

    @handler
    def tell_total(self, message: Total) -> int:
        return self.total


@pytest.mark.asyncio
async def test_a_thousand_told_increments_with_an_await_in_them_make_a_thousand() -> None:
    log: list[Any] = []
    async with ActorSystem() as system:
        ref = await system.spawn(Account, log)
        for _ in range(1_000):
            ref.tell(Add())
        assert await ref.ask(Total()) == 1_000
    assert set(log) == {1}


@pytest.mark.asyncio
async def test_a_thousand_askers_get_a_thousand_different_totals() -> None:
    log: list[Any] = []
    async with ActorSystem() as system:
        ref = await system.spawn(Account, log)
        totals = await asyncio.gather(*(ref.ask(Add()) for _ in range(1_000)))
        assert sorted(totals) == list(range(1, 1_001))
    assert set(log) == {1}


@pytest.mark.parametrize("capacity", [1, 7])
@pytest.mark.asyncio
async def test_a_thousand_sends_through_a_small_mailbox_make_a_thousand(capacity: int) -> None:
    log: list[Any] = []
    async with ActorSystem() as system:
        ref = await system.spawn(child(Account, log).options(mailbox=capacity))

        async def send_all() -> None:
            for number in range(100):
                await ref.send(Add() if number % 2 else AddAtOnce())

        await asyncio.gather(*(send_all() for _ in range(10)))
        assert await ref.ask(Total()) == 1_000
    assert set(log) == {1}


@pytest.mark.asyncio
async def test_a_plain_handler_waits_for_the_suspended_one() -> None:
    gate = Gate()

    class Mixed(Actor[Add | AddAtOnce]):
        def __init__(self) -> None:
            self.steps: list[str] = []

        @handler
        async def slow(self, message: Add) -> int:
            self.steps.append("slow begins")
            await gate.hold()
            self.steps.append("slow ends")
            return len(self.steps)

        @handler
        def quick(self, message: AddAtOnce) -> int:
            self.steps.append("quick")
            return len(self.steps)

    async with ActorSystem() as system:
        ref = await system.spawn(Mixed)
        slow = asyncio.create_task(ref.ask(Add()))
        await gate.reached()
        quick = asyncio.create_task(ref.ask(AddAtOnce()))
        await asyncio.sleep(1)
        assert not quick.done()
        gate.open()
        assert await slow == 2
        assert await quick == 3


@pytest.mark.asyncio
async def test_no_message_is_handled_while_the_shutdown_hook_runs() -> None:
    log: list[Any] = []
    async with ActorSystem() as system:
        ref = await system.spawn(Account, log)
        for _ in range(10):
            ref.tell(Add())
        await asyncio.sleep(0)
        ref.drain()
        await settle()
        await ref.wait_stopped()
        assert len(log) == 12  # initialize, ten messages, shutdown
    assert set(log) == {1}


@pytest.mark.asyncio
async def test_the_next_incarnation_begins_when_the_handler_of_the_last_has_ended() -> None:
    steps: list[str] = []
    gate = Gate()

    class Tidy(Actor[Add | AddAtOnce]):
        def initialize(self) -> None:
            steps.append("initialize")

        @handler
        async def add(self, message: Add) -> int:
            try:
                await gate.hold()
            finally:
                await asyncio.sleep(0.05)  # within the time until it is cancelled again
                steps.append("tidied up")
            return 1

        @handler
        def add_at_once(self, message: AddAtOnce) -> int:
            steps.append("next")
            return 1

    async with ActorSystem() as system:
        ref = await system.spawn(Tidy)
        ref.tell(Add())
        await gate.reached()
        ref.tell(AddAtOnce())
        ref.kill()
        await asyncio.sleep(1)
        assert steps == ["initialize", "tidied up", "initialize", "next"]


@pytest.mark.asyncio
async def test_two_actors_do_work_at_the_same_time() -> None:
    gate = Gate()

    class Worker(Actor[Add]):
        @handler
        async def work(self, message: Add) -> int:
            await gate.hold()
            return 1

    async with ActorSystem() as system:
        refs = [await system.spawn(Worker) for _ in range(10)]
        asking = [asyncio.create_task(ref.ask(Add())) for ref in refs]
        await gate.reached(10)
        gate.open()
        assert await asyncio.gather(*asking) == [1] * 10
