"""W6: an actor fails and its understudy steps in."""

from __future__ import annotations

import asyncio
import io
import logging
import traceback
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from typing import Any, TypeAlias

import structlog

from benchmarks.baselines import bare, bare_lives
from benchmarks.common import RESTART
from benchmarks.harness import Comparison, Run, Side, Stopwatch, expect
from benchmarks.targets import ASYNC, SYNC
from understudy import Actor, ActorSystem, ChildSpec, Instrument, Message, child, handler, supervisor

__all__ = ["WORKLOADS"]

GROUP = 1_000
ANY_NUMBER = 10**9


class Fail(Message):
    pass


class Which(Message[int]):
    """Which incarnation are you?"""


FAIL, WHICH = Fail(), Which()


class Oops(Exception):
    pass


class Player(Actor[Fail | Which]):
    @handler
    def fail(self, message: Fail) -> None:
        raise Oops

    @handler
    def which(self, message: Which) -> int:
        return self.context.incarnation


class AsyncPlayer(Actor[Fail | Which]):
    @handler
    async def fail(self, message: Fail) -> None:
        raise Oops

    @handler
    async def which(self, message: Which) -> int:
        return self.context.incarnation


Spec: TypeAlias = Callable[[], ChildSpec[Fail | Which]]


def _sync() -> ChildSpec[Fail | Which]:
    return child(Player)


def _async() -> ChildSpec[Fail | Which]:
    return child(AsyncPlayer)


@contextmanager
def unwritten() -> Generator[None]:
    """No lines in the log: the event and the counter are made on the spot, and the line is measured apart."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        yield
    finally:
        structlog.configure(**before)


class Sink(io.StringIO):
    """Takes the log, and counts what it says of crashes."""

    def __init__(self) -> None:
        super().__init__()
        self.crashes = 0

    def write(self, text: str, /) -> int:
        self.crashes += "crashed" in text and "Oops" in text
        return len(text)


@contextmanager
def written() -> Generator[Sink]:
    """A log that is rendered, and goes nowhere."""
    before = structlog.get_config()
    sink = Sink()
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR),
        logger_factory=structlog.PrintLoggerFactory(file=sink),
        cache_logger_on_first_use=False,
    )
    try:
        yield sink
    finally:
        structlog.configure(**before)


# --- understudy -------------------------------------------------------------------------------------------------------


def crash_to_answer(spec: Spec) -> Run:
    async def run(count: int, watch: Stopwatch) -> None:
        tree = supervisor("top", spec().options(name="player"), max_restarts=ANY_NUMBER)
        with unwritten():
            async with ActorSystem(tree) as system:
                ref = system.lookup("top/player")
                incarnation = 1
                with watch:
                    for _ in range(count):
                        ref.tell(FAIL)
                        incarnation = await ref.ask(WHICH)
                expect("the incarnation that answers", incarnation, count + 1)
                statistics = system.statistics()
                expect("crashed and restarted", (statistics.crashed, statistics.restarted), (count, count))
                expect("dead letters", statistics.dead_letters, 0)

    return run


async def crash_to_line(count: int, watch: Stopwatch) -> None:
    specs = [child(Player).options(name=f"player-{number}") for number in range(count)]
    with written() as sink:
        async with ActorSystem(supervisor("top", *specs, max_restarts=ANY_NUMBER)) as system:
            refs = [system.lookup(f"top/player-{number}", Player) for number in range(count)]
            with watch:
                for ref in refs:
                    ref.tell(FAIL)
                    expect("the incarnation that answers", await ref.ask(WHICH), 2)
                while sink.crashes < count:  # noqa: ASYNC110 - the lines follow, and nobody tells when
                    await asyncio.sleep(0)
            expect("lines", sink.crashes, count)


class Ups(Instrument):
    """Knows when a group is up again."""

    def __init__(self) -> None:
        self.last = f"/user/top/player-{GROUP - 1}"
        self.up: asyncio.Future[int] | None = None

    def actor_started(self, path: str, incarnation: int) -> None:
        if path == self.last and self.up is not None:
            self.up.set_result(incarnation)


async def group(count: int, watch: Stopwatch) -> None:
    rounds = max(count // GROUP, 1)
    specs = [child(Player).options(name=f"player-{number}") for number in range(GROUP)]
    tree = supervisor("top", *specs, strategy="one_for_all", max_restarts=ANY_NUMBER)
    ups = Ups()
    loop = asyncio.get_running_loop()
    with unwritten():
        async with ActorSystem(tree, instruments=[ups]) as system:
            first = system.lookup("top/player-0", Player)
            before = system.statistics().started
            incarnation = 1
            with watch:
                for _ in range(rounds):
                    ups.up = loop.create_future()
                    first.tell(FAIL)
                    incarnation = await ups.up
            ups.up = None
            expect("the last incarnation", incarnation, rounds + 1)
            expect("started", system.statistics().started - before, rounds * GROUP)
            expect(
                "crashed and restarted", (system.statistics().crashed, system.statistics().restarted), (rounds, rounds)
            )
            expect("an answer of the first", await first.ask(WHICH), rounds + 1)


# --- Q ----------------------------------------------------------------------------------------------------------------

Requests: TypeAlias = "asyncio.Queue[Any]"


def _write(log: Any) -> Callable[[int], object]:
    return lambda incarnation: log.error("crashed", incarnation=incarnation, trace=traceback.format_exc())


async def by_hand_with_line(count: int, watch: Stopwatch) -> None:
    loop = asyncio.get_running_loop()
    with written() as sink:
        log = structlog.get_logger()
        queues: list[Requests] = [asyncio.Queue() for _ in range(count)]
        tasks = [asyncio.create_task(bare_lives.supervise(requests, on_failure=_write(log))) for requests in queues]
        await asyncio.sleep(0)
        with watch:
            for requests in queues:
                requests.put_nowait((bare.FAIL, None))
                reply: asyncio.Future[int] = loop.create_future()
                requests.put_nowait((bare.WHICH, reply))
                expect("the incarnation that answers", await reply, 2)
        expect("lines", sink.crashes, count)
        await bare.end(*tasks)


async def group_by_hand(count: int, watch: Stopwatch) -> None:
    rounds = max(count // GROUP, 1)
    queues: list[Requests] = [asyncio.Queue() for _ in range(GROUP)]
    started = 0
    tasks: list[asyncio.Task[None]] = []

    async def member(requests: Requests, incarnation: int) -> None:
        nonlocal started
        started += 1
        await bare_lives.serve_until_failure(requests, incarnation)

    async def start(incarnation: int) -> None:
        """One after another, each when the one before it is up."""
        for requests in queues:
            tasks.append(asyncio.create_task(member(requests, incarnation)))
            await asyncio.sleep(0)

    await start(1)
    begun = started
    with watch:
        for number in range(rounds):
            queues[0].put_nowait((bare.FAIL, None))
            with suppress(bare.Oops):
                await tasks[0]
            for task in reversed(tasks[1:]):
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
            tasks.clear()
            await start(number + 2)
    expect("started", started - begun, rounds * GROUP)
    await bare.end(*tasks)


WORKLOADS = (
    RESTART.with_sides(Side(SYNC, crash_to_answer(_sync)), Side(ASYNC, crash_to_answer(_async))),
    Comparison(
        "W6",
        "from a crash to the next answer, {count:,} actors",
        300,
        by_hand_with_line,
        (Side("with a line in the log", crash_to_line),),
        shown="time",
        ratio="time",
    ),
    Comparison(
        "W6",
        f"restart of a group of {GROUP:,}, for each member",
        10 * GROUP,
        group_by_hand,
        (Side("one_for_all", group),),
        shown="time",
        ratio="time",
    ),
)
