"""A stopped actor is gone when nobody refers to it: nothing of it waits for the garbage collector."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable, Iterator

import pytest

from understudy import Actor, ActorRef, ActorSystem, DynamicSupervisor, Message, handler

pytestmark = pytest.mark.asyncio


class Add(Message[int]):
    value: int = 1


class Fail(Message): ...


class Adder(Actor[Add | Fail]):
    def __init__(self) -> None:
        self.total = 0

    @handler
    def add(self, message: Add) -> int:
        self.total += message.value
        return self.total

    @handler
    def fail(self, message: Fail) -> None:
        raise ValueError("on purpose")


class Waiter(Actor[Add | Fail]):
    def __init__(self) -> None:
        self.total = 0

    @handler
    async def add(self, message: Add) -> int:
        await asyncio.sleep(0)
        self.total += message.value
        return self.total

    @handler
    async def fail(self, message: Fail) -> None:
        raise ValueError("on purpose")


class Pool(DynamicSupervisor):
    max_restarts = 1_000_000


Ref = ActorRef[Add | Fail]


async def idle(ref: Ref) -> None:
    pass


async def told(ref: Ref) -> None:
    for _ in range(3):
        ref.tell(Add())
    await asyncio.sleep(0)


async def asked(ref: Ref) -> None:
    assert await ref.ask(Add()) == 1


async def restarted(ref: Ref) -> None:
    ref.tell(Fail())
    assert await ref.ask(Add()) == 1


async def debugged(ref: Ref) -> None:
    assert ref.debug.get_state().status == "running"
    ref.debug.suspend()
    ref.debug.resume()


@pytest.fixture
def collected() -> Iterator[Callable[[], int]]:
    """How many objects the garbage collector finds that nothing else has freed."""
    gc.collect()
    gc.disable()
    try:
        yield gc.collect
    finally:
        gc.enable()


@pytest.mark.parametrize("use", [idle, told, asked, debugged])
@pytest.mark.parametrize("cls", [Adder, Waiter])
async def test_a_stopped_actor_leaves_no_reference_cycle(
    cls: type[Actor[Add | Fail]], use: Callable[[Ref], Awaitable[None]], collected: Callable[[], int]
) -> None:
    async with ActorSystem(Pool) as system:
        pool = system.lookup("pool", Pool)
        await _come_and_go(pool, cls, use)
        collected()

        for _ in range(10):
            await _come_and_go(pool, cls, use)

        assert collected() == 0


@pytest.mark.leaks("exceptions")
@pytest.mark.parametrize("cls", [Adder, Waiter])
async def test_what_a_restart_leaves_does_not_grow(cls: type[Actor[Add | Fail]], collected: Callable[[], int]) -> None:
    async with ActorSystem(Pool) as system:
        pool = system.lookup("pool", Pool)
        await _come_and_go(pool, cls, restarted)
        collected()

        for _ in range(10):
            await _come_and_go(pool, cls, restarted)

        assert collected() == 0


async def _come_and_go(pool: object, cls: type[Actor[Add | Fail]], use: Callable[[Ref], Awaitable[None]]) -> None:
    ref: Ref = await pool.start_child(cls)
    await use(ref)
    ref.stop()
    await ref.wait_stopped()
