"""The workloads of actors, for packages that run them on asyncio; what a package calls things is its own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any, Protocol, TypeAlias

from benchmarks.baselines.bare import ASKERS, BREATH, FAIL, ONE, TICK, WHICH, Add, Tick, Token
from benchmarks.common import RING_SIZE
from benchmarks.harness import Comparison, Run, Stopwatch, expect
from benchmarks.peers.stage import ASK, ASK_AT_ONCE, BURST, COME_AND_GO, PACED, RING, Way

__all__ = ["Actors", "Counting", "Done", "Open", "actor_ways", "done", "restart_way"]

Done: TypeAlias = "asyncio.Future[int]"


class Actors(Protocol):
    """A system of actors. Refs are whatever the package has; what is called per message is fetched once before."""

    async def counter(self, expected: int, done: Done) -> Any:
        """An actor that counts ``Tick``, sets *done* when there are as many as *expected*, and sums up ``Add``."""
        ...

    async def node(self, neighbour: Any, done: Done) -> Any:
        """One that hands a ``Token`` on to *neighbour*, or to the ref that it is told."""
        ...

    def tell(self, ref: Any) -> Callable[[Any], Any]:
        """What sends; it gives something to be awaited if the package wants that."""
        ...

    def ask(self, ref: Any) -> Callable[[Any], Awaitable[Any]]:
        """What sends and waits for the reply."""
        ...

    async def stop(self, ref: Any) -> None:
        """End the actor and wait until it has."""
        ...


class Counting:
    """What a counter does, beside the class of actors of a package where one makes actors with arguments."""

    def __init__(self, expected: int, done: Done) -> None:
        super().__init__()
        self.count = self.total = 0
        self.expected = expected
        self.done = done

    async def take(self, message: object) -> int | None:
        if isinstance(message, Add):
            self.total += message.value
            return self.total
        if isinstance(message, Tick):
            self.count += 1
            if self.count == self.expected:
                self.done.set_result(self.count)
        return None


Open: TypeAlias = Callable[[], AbstractAsyncContextManager[Actors]]


def done() -> Done:
    """A future of the event loop that runs."""
    return asyncio.get_running_loop().create_future()


def actor_ways(open_: Open, shares: dict[Comparison, float] | None = None) -> dict[Comparison, Way]:
    """All workloads but the restart."""
    ways: dict[Comparison, Callable[[Open], Run]] = {
        BURST: told,
        PACED: partial(told, breath=BREATH),
        ASK: ask,
        ASK_AT_ONCE: ask_at_once,
        RING: ring,
        COME_AND_GO: come_and_go,
    }
    return {each: Way(make(open_), (shares or {}).get(each, 1.0)) for each, make in ways.items()}


def restart_way(open_: Callable[[], AbstractAsyncContextManager[tuple[Actors, Any]]], share: float = 1.0) -> Way:
    """From a crash to the next answer; *open_* gives a supervised actor too, which fails and tells its incarnation."""

    async def run(count: int, watch: Stopwatch) -> None:
        async with open_() as (actors, ref):
            tell, ask = actors.tell(ref), actors.ask(ref)
            first = last = await ask(WHICH)
            with watch:
                for _ in range(count):
                    sent = tell(FAIL)
                    if sent is not None:
                        await sent
                    last = await ask(WHICH)
            expect("restarts", last - first, count)

    return Way(run, share)


def told(open_: Open, breath: int | None = None) -> Run:
    """Messages at once; with *breath*, the sender lets others run after so many."""

    async def run(count: int, watch: Stopwatch) -> None:
        async with open_() as actors:
            counted = done()
            ref = await actors.counter(count, counted)
            tell, many = actors.tell(ref), breath or count
            with watch:
                for number in range(count):
                    sent = tell(TICK)
                    if sent is not None:
                        await sent
                    if number % many == many - 1:
                        await asyncio.sleep(0)
                await counted
            expect("messages counted", counted.result(), count)

    return run


def ask(open_: Open) -> Run:
    async def run(count: int, watch: Stopwatch) -> None:
        async with open_() as actors:
            ask = actors.ask(await actors.counter(0, done()))
            total = 0
            with watch:
                for _ in range(count):
                    total = await ask(ONE)
            expect("the last reply", total, count)

    return run


def ask_at_once(open_: Open) -> Run:
    async def run(count: int, watch: Stopwatch) -> None:
        async with open_() as actors:
            ask = actors.ask(await actors.counter(0, done()))
            each = -(-count // ASKERS)

            async def asker() -> int:
                total = 0
                for _ in range(each):
                    total = await ask(ONE)
                return total

            with watch:
                totals = await asyncio.gather(*(asker() for _ in range(ASKERS)))
            expect("the highest reply", max(totals), each * ASKERS)

    return run


def ring(open_: Open) -> Run:
    async def run(count: int, watch: Stopwatch) -> None:
        async with open_() as actors:
            ended = done()
            first = last = await actors.node(None, ended)
            for _ in range(RING_SIZE - 1):
                last = await actors.node(last, ended)
            closed = actors.tell(first)(last)
            if closed is not None:
                await closed
            token = Token(count)
            with watch:
                sent = actors.tell(last)(token)
                if sent is not None:
                    await sent
                await ended
            expect("hops left", ended.result(), 0)

    return run


def come_and_go(open_: Open) -> Run:
    async def run(count: int, watch: Stopwatch) -> None:
        async with open_() as actors:
            never, ended = done(), 0
            with watch:
                for _ in range(count):
                    await actors.stop(await actors.counter(0, never))
                    ended += 1
            expect("ended", ended, count)

    return run
