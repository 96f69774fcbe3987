"""A6: all actors share one slice of each turn of the event loop; a single handler that computes longer is not
interrupted, and the watchdog names it.

Time is that of a stopwatch which only handlers move, so it is the same on any machine.
"""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from tests.cast import settle
from understudy import Actor, ActorRef, ActorSystem, Instrument, LoopBlocked, Message, Settings, child, handler
from understudy.actors._runtime import runtime_of

COST = 10e-6  # seconds that a handler takes
SLICE = Settings().slice_seconds
TIMEOUT = 50.0  # seconds, where a test waits for another thread


class Stopwatch:
    def __init__(self, system: ActorSystem) -> None:
        self.now = 0.0
        runtime_of(system).env.stopwatch = lambda: self.now


class Work(Message):
    seconds: float = COST


class Worker(Actor[Work]):
    def __init__(self, stopwatch: Stopwatch) -> None:
        self.stopwatch = stopwatch
        self.done = 0

    @handler
    def work(self, message: Work) -> None:
        self.stopwatch.now += message.seconds
        self.done += 1


class AsyncWorker(Actor[Work]):
    def __init__(self, stopwatch: Stopwatch) -> None:
        self.stopwatch = stopwatch

    @handler
    async def work(self, message: Work) -> None:
        self.stopwatch.now += message.seconds


class Turns:
    """How long each turn of the event loop has taken, while it has something to do."""

    def __init__(self, stopwatch: Stopwatch) -> None:
        self.stopwatch = stopwatch
        self.seconds: list[float] = []
        self.last = stopwatch.now

    def turn(self) -> None:
        now = self.stopwatch.now
        self.seconds.append(now - self.last)
        self.last = now

    async def until(self, end: asyncio.Future[Any]) -> None:
        while not end.done():
            await asyncio.sleep(0)
            self.turn()


@pytest.mark.parametrize("flooded", [1, 100])
@pytest.mark.parametrize("kind", [Worker, AsyncWorker], ids=["def", "async def"])
@pytest.mark.asyncio
async def test_however_many_are_flooded_the_event_loop_turns_in_time(kind: Any, flooded: int) -> None:
    async with ActorSystem() as system:
        stopwatch = Stopwatch(system)
        refs: list[ActorRef[Work]] = [await system.spawn(kind, stopwatch) for _ in range(flooded)]
        for ref in refs:
            for _ in range(20_000 // flooded):
                assert ref.tell(Work()) or flooded == 1  # one mailbox has room for half of it
        for ref in refs:
            ref.drain()
        turns = Turns(stopwatch)
        await turns.until(asyncio.gather(*(ref.wait_stopped() for ref in refs)))
        handled = min(20_000 // flooded, 10_000) * flooded
        assert sum(turns.seconds) == pytest.approx(handled * COST)
        assert max(turns.seconds) < 0.010
        # The clock is read every few messages, and what is done ahead of a turn has a slice of its own.
        assert sum(turns.seconds) / len(turns.seconds) <= 2 * SLICE


@pytest.mark.asyncio
async def test_a_handler_that_computes_longer_is_not_interrupted() -> None:
    async with ActorSystem() as system:
        stopwatch = Stopwatch(system)
        slow = await system.spawn(Worker, stopwatch)
        other = await system.spawn(child(Worker, stopwatch).options(name="other"))
        turns = Turns(stopwatch)
        slow.tell(Work(seconds=3.0))
        other.tell(Work())
        await asyncio.sleep(0)
        turns.turn()
        assert turns.seconds[0] >= 3.0  # one turn of the event loop, and nothing could come in between
        await settle()
        assert stopwatch.now == pytest.approx(3.0 + COST)


class Blocked(Instrument):
    def __init__(self) -> None:
        self.reports: list[LoopBlocked] = []

    def loop_blocked(self, report: LoopBlocked) -> None:
        self.reports.append(report)


class Wait(Message):
    until: Any


class Waiter(Actor[Wait]):
    @handler
    def wait(self, message: Wait) -> None:
        assert message.until.wait(TIMEOUT)


@pytest.mark.real_time
@pytest.mark.asyncio
async def test_the_watchdog_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    named, blocked = threading.Event(), Blocked()
    async with ActorSystem(settings=Settings(watchdog=0.02), instruments=[blocked]) as system:
        runtime = runtime_of(system)

        def hear(level: str, event: str, fields: dict[str, Any]) -> None:
            if event == "event loop is blocked" and fields.get("handling") == "Wait":
                named.set()

        monkeypatch.setattr(type(runtime), "write_log", staticmethod(hear))
        waiter = await system.spawn(Waiter)
        await waiter.ask(Wait(until=named), timeout=TIMEOUT)
    report = next(each for each in blocked.reports if each.message_type == "Wait")
    assert (report.actor, report.doing, report.function) == ("/user/waiter", "handler", "Waiter.wait")
