"""A pool that an actor owns: opened in `initialize`, closed in `shutdown`, through crashes, kills and the end."""

from __future__ import annotations

import asyncio

import pytest

from tests.cast import Fail, Gate, Hold, Note
from tests.transports.pool_stage import Server
from understudy import Actor, ActorFailed, ActorStopped, ActorSystem, ExitReason, StartError, child, handler


class Owner(Actor[Note | Hold | Fail]):
    """Uses a connection for each message."""

    def __init__(self, server: Server, gate: Gate) -> None:
        self.server, self.gate = server, gate

    async def initialize(self) -> None:
        self.pool = self.server.pool(
            max_size=2, min_idle=1, name=self.context.path, system=self.context.system, acquire_timeout=1.0
        )
        await self.pool.open()

    async def shutdown(self, reason: ExitReason) -> None:
        await self.pool.close()

    @handler(reentrant=True)
    async def note(self, message: Note) -> int:
        async with self.pool.acquire() as wire:
            return wire.number

    @handler(reentrant=True)
    async def wait(self, message: Hold) -> int:
        async with self.pool.acquire() as wire:
            await self.gate.hold()
            return wire.number

    @handler(reentrant=True)
    async def fail(self, message: Fail) -> int:
        async with self.pool.acquire():
            raise message.error


class Keeper(Owner):
    """Lets a task of its own hold the pool, which ends with the incarnation however that ends."""

    async def initialize(self) -> None:
        self.pool = self.server.pool(max_size=2, name=self.context.path, system=self.context.system)
        self.context.start_task(self.keep(), name="pool")

    async def shutdown(self, reason: ExitReason) -> None:
        """The task sees to it."""

    async def keep(self) -> None:
        async with self.pool:
            await asyncio.Event().wait()


@pytest.mark.asyncio
async def test_a_crash_closes_all_that_the_incarnation_had_open() -> None:
    server, gate = Server(), Gate()
    async with ActorSystem() as system:
        ref = await system.spawn(child(Owner, server, gate).options(restart="permanent"))
        held = asyncio.ensure_future(ref.ask(Hold()))
        await gate.reached()
        first = list(server.wires)
        with pytest.raises(ActorFailed):
            await ref.ask(Fail(error=ValueError("a bug")))
        with pytest.raises(ActorStopped):
            await held
        assert await ref.ask(Note()) > len(first)
        assert [wire.closes for wire in first] == [1] * len(first)
        assert [pool.closed for pool in server.pools] == [True, False]
        assert server.most <= 2
    assert server.open == []
    assert all(pool.closed for pool in server.pools)


@pytest.mark.asyncio
async def test_an_actor_whose_pool_cannot_be_opened_does_not_start_and_leaves_nothing() -> None:
    server = Server()
    server.fail = OSError("nobody there")
    async with ActorSystem() as system:
        with pytest.raises(StartError, match="last failure: OSError: nobody there"):
            await system.spawn(child(Owner, server, Gate()).options(restart="permanent"))
        assert [pool.closed for pool in server.pools] == [True]
        names = [task.get_name() for task in system._running().env.tasks]
        assert [name for name in names if name.startswith("pool:")] == []


@pytest.mark.asyncio
async def test_a_pool_that_a_task_of_the_actor_holds_is_closed_by_a_kill_too() -> None:
    server, gate = Server(), Gate()
    async with ActorSystem() as system:
        ref = await system.spawn(child(Keeper, server, gate).options(restart="permanent"))
        held = asyncio.ensure_future(ref.ask(Hold()))
        await gate.reached()
        ref.kill()
        with pytest.raises(ActorStopped):
            await held
        assert await ref.ask(Note()) == 2
        assert server.wires[0].closes == 1
    assert server.open == []


@pytest.mark.asyncio
async def test_an_actor_that_waits_for_a_connection_can_be_stopped() -> None:
    server = Server()
    server.gate = Gate()
    async with ActorSystem() as system:
        ref = await system.spawn(child(Keeper, server, Gate()).options(shutdown=0.5))
        asked = asyncio.ensure_future(ref.ask(Note(), timeout=20.0))
        await server.gate.reached()
        ref.stop()
        await ref.wait_stopped()
        await asyncio.wait([asked])
        assert asked.exception() is not None
    assert (server.connecting, server.open) == (0, [])
