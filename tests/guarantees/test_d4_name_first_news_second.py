from __future__ import annotations

import asyncio
from typing import Any

import pytest

from understudy import Actor, ActorRef, ActorSystem, Message, Terminated, child, handler


class Start(Message): ...


class Worker(Actor[Start]):
    @handler
    def start(self, message: Start) -> None:
        """Has nothing to do."""


class Phoenix(Actor[Start]):
    """Starts a worker under the same name each time when it hears that the last one has ended."""

    def __init__(self, rounds: int, done: asyncio.Future[int]) -> None:
        self.rounds, self.done = rounds, done
        self.count = 0

    @handler
    async def start(self, message: Start) -> None:
        await self.next()

    @handler
    async def again(self, news: Terminated) -> None:
        self.count += 1
        if self.count < self.rounds:
            await self.next()
        else:
            self.done.set_result(self.count)

    async def next(self) -> None:
        worker: ActorRef[Any] = await self.context.spawn(child(Worker).options(name="worker"))
        self.context.watch(worker)
        worker.stop()


@pytest.mark.asyncio
async def test_when_terminated_is_handled_the_name_is_free_three_thousand_times() -> None:
    done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    async with ActorSystem() as system:
        phoenix = await system.spawn(Phoenix, 3000, done)
        phoenix.tell(Start())
        assert await done == 3000
        assert system.statistics().crashed == 0
