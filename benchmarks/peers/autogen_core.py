"""autogen-core: agents of a single-threaded runtime; there is no tell to one agent but a publication to its topic."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from autogen_core import (
    AgentId,
    DefaultTopicId,
    MessageContext,
    RoutedAgent,
    SingleThreadedAgentRuntime,
    TypeSubscription,
    message_handler,
)

from benchmarks.baselines import bare
from benchmarks.common import RING_SIZE
from benchmarks.counter import Counter as Deliveries
from benchmarks.harness import Comparison, Stopwatch, expect
from benchmarks.peers.stage import (
    ASK,
    ASK_AT_ONCE,
    BURST,
    COME_AND_GO,
    PACED,
    RESTART,
    RING,
    Way,
    bus_ways,
    main,
)

SHARE = 0.02


@dataclass
class Tick:
    number: int


@dataclass
class Add:
    value: int


@dataclass
class Token:
    left: int


class Summing(RoutedAgent):
    def __init__(self) -> None:
        super().__init__("sums")
        self.total = 0

    @message_handler
    async def on_add(self, message: Add, ctx: MessageContext) -> Add:
        self.total += message.value
        return Add(self.total)


class Counting(RoutedAgent):
    def __init__(self, expected: int, done: asyncio.Future[int]) -> None:
        super().__init__("counts")
        self.count, self.expected, self.done = 0, expected, done

    @message_handler
    async def on_tick(self, message: Tick, ctx: MessageContext) -> None:
        self.count += 1
        if self.count == self.expected:
            self.done.set_result(self.count)


class Node(RoutedAgent):
    def __init__(self, done: asyncio.Future[int]) -> None:
        super().__init__("hands on")
        self.done = done

    @message_handler
    async def on_token(self, message: Token, ctx: MessageContext) -> None:
        if message.left == 1:
            self.done.set_result(0)
            return
        neighbour = str((int(self.id.key) + 1) % RING_SIZE)
        await self.publish_message(Token(message.left - 1), DefaultTopicId("ring", neighbour))


class Listening(RoutedAgent):
    def __init__(self, counter: Deliveries) -> None:
        super().__init__("listens")
        self.counter = counter

    @message_handler
    async def on_tick(self, message: Tick, ctx: MessageContext) -> None:
        self.counter.one()


@asynccontextmanager
async def runtime() -> AsyncGenerator[SingleThreadedAgentRuntime]:
    inner = SingleThreadedAgentRuntime()
    inner.start()
    yield inner
    await inner.stop_when_idle()


async def _counting(inner: Any, count: int) -> asyncio.Future[int]:
    done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    await Counting.register(inner, "counts", lambda: Counting(count, done))
    await inner.add_subscription(TypeSubscription("ticks", "counts"))
    return done


def told(breath: int | None) -> Callable[[int, Stopwatch], Awaitable[None]]:
    async def run(count: int, watch: Stopwatch) -> None:
        async with runtime() as inner:
            done = await _counting(inner, count)
            topic, tick = DefaultTopicId("ticks"), Tick(1)
            with watch:
                for number in range(count):
                    await inner.publish_message(tick, topic)
                    if breath is not None and number % breath == breath - 1:
                        await asyncio.sleep(0)
                await done
            expect("messages counted", done.result(), count)

    return run


async def ask(count: int, watch: Stopwatch) -> None:
    async with runtime() as inner:
        await Summing.register(inner, "sums", Summing)
        target, one, total = AgentId("sums", "default"), Add(1), 0
        with watch:
            for _ in range(count):
                total = (await inner.send_message(one, target)).value
        expect("the last reply", total, count)


async def ask_at_once(count: int, watch: Stopwatch) -> None:
    async with runtime() as inner:
        await Summing.register(inner, "sums", Summing)
        target, one, each = AgentId("sums", "default"), Add(1), -(-count // bare.ASKERS)

        async def asker() -> int:
            total = 0
            for _ in range(each):
                total = (await inner.send_message(one, target)).value
            return total

        with watch:
            totals = await asyncio.gather(*(asker() for _ in range(bare.ASKERS)))
        expect("the highest reply", max(totals), each * bare.ASKERS)


async def ring(count: int, watch: Stopwatch) -> None:
    async with runtime() as inner:
        done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        await Node.register(inner, "node", lambda: Node(done))
        await inner.add_subscription(TypeSubscription("ring", "node"))
        with watch:
            await inner.publish_message(Token(count), DefaultTopicId("ring", "0"))
            await done
        expect("hops left", done.result(), 0)


@asynccontextmanager
async def bus(counter: Deliveries) -> AsyncGenerator[Callable[[], Awaitable[object]]]:
    async with runtime() as inner:
        for number in range(counter.subscribers):
            await Listening.register(inner, f"listens-{number}", lambda: Listening(counter))
            await inner.add_subscription(TypeSubscription("ticks", f"listens-{number}"))
        topic, tick = DefaultTopicId("ticks"), Tick(1)

        async def publish() -> None:
            reached = counter.next_event()
            await inner.publish_message(tick, topic)
            await reached

        yield publish


if __name__ == "__main__":
    cannot: dict[Comparison, str] = {
        COME_AND_GO: "an agent is made by its first message and stays",
        RESTART: "does not restart agents",
    }
    main(
        "autogen-core",
        {
            BURST: Way(told(None), SHARE),
            PACED: Way(told(bare.BREATH), SHARE),
            ASK: Way(ask, SHARE),
            ASK_AT_ONCE: Way(ask_at_once, SHARE),
            RING: Way(ring, SHARE),
            **bus_ways(bus, 0.1),
        },
        cannot,
        bus=bus,
        bus_share=SHARE,
        note="a tell is a publication to a topic that one agent has subscribed to",
    )
