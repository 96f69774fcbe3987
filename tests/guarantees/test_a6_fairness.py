"""A6: all actors share one slice of a turn of the event loop, and nobody waits long for the flooded ones.

The time here is that of a stopwatch which goes on when a handler works, and otherwise stands still. What it is on a
real machine, `make bench` says.
"""

from __future__ import annotations

import asyncio
import itertools
import math

import pytest

from understudy import Actor, ActorRef, ActorSystem, Message, Settings, child, handler

WORK = 10e-6
SLICE = Settings().slice_seconds


class Stopwatch:
    """Goes on by as much as is worked."""

    def __init__(self, system: ActorSystem) -> None:
        self.now = 0.0
        runtime = system._runtime
        assert runtime is not None
        runtime.env.stopwatch = self

    def __call__(self) -> float:
        return self.now


class Drop(Message): ...


class Wait(Message): ...


class Flooded(Actor[Drop | Wait]):
    def __init__(self, watch: Stopwatch, done: list[str], work: float = WORK) -> None:
        self.watch, self.done, self.work = watch, done, work

    @handler
    def drop(self, message: Drop) -> None:
        self.watch.now += self.work
        self.done.append(self.context.path)

    @handler
    async def wait(self, message: Wait) -> None:
        self.drop(Drop())


class Beat(Message): ...


class Heart(Actor[Beat]):
    """Writes down when it beats, and how much of the flood was done then."""

    def __init__(self, watch: Stopwatch, done: list[str], beats: list[tuple[float, int]]) -> None:
        self.watch, self.done, self.beats = watch, done, beats

    @handler
    def beat(self, message: Beat) -> None:
        self.beats.append((self.watch.now, len(self.done)))


async def flood(
    system: ActorSystem, watch: Stopwatch, done: list[str], actors: int, messages: int, message: Message
) -> list[ActorRef[Drop | Wait]]:
    spec = child(Flooded, watch, done).options(mailbox=math.inf)
    flooded = [await system.spawn(spec.options(name=f"flooded-{number}")) for number in range(actors)]
    for ref in flooded:
        for _ in range(messages):
            ref.tell(message)
    return flooded


async def until(done: list[str], count: int) -> None:
    while len(done) < count:  # noqa: ASYNC110 - what is looked at is what happens between turns of the loop
        await asyncio.sleep(0)


@pytest.mark.asyncio
@pytest.mark.parametrize("message", [Drop(), Wait()], ids=["def", "async def"])
async def test_a_flooded_actor_gives_way_after_its_share_of_messages(message: Message) -> None:
    async with ActorSystem() as system:
        watch, done, beats = Stopwatch(system), list[str](), list[tuple[float, int]]()
        heart = await system.spawn(Heart, watch, done, beats)
        await flood(system, watch, done, actors=1, messages=10_000, message=message)
        heart.tell(Beat())
        await until(done, 10_000)
    ((_, before),) = beats
    # Where a pump starts in the activation itself (Python 3.12), it handles one message there and its share after that.
    assert before <= Settings().messages_per_activation + 1
    assert len(done) == 10_000


@pytest.mark.asyncio
@pytest.mark.parametrize("message", [Drop(), Wait()], ids=["def", "async def"])
@pytest.mark.parametrize("actors", [1, 100])
async def test_a_heart_beats_within_ten_milliseconds_however_many_are_flooded(actors: int, message: Message) -> None:
    async with ActorSystem() as system:
        watch, done, beats = Stopwatch(system), list[str](), list[tuple[float, int]]()
        heart = await system.spawn(Heart, watch, done, beats)
        await flood(system, watch, done, actors, messages=20_000 // actors, message=message)
        due: list[float] = []
        for number in range(1, 20):
            await until(done, number * 500)
            due.append(watch.now)
            heart.tell(Beat())
        await until(done, 20_000)
    assert max(at - when for (at, _), when in zip(beats, due, strict=True)) < 0.010


@pytest.mark.asyncio
@pytest.mark.parametrize("actors", [1, 100])
async def test_the_event_loop_has_its_turn_about_once_in_a_slice(actors: int) -> None:
    async with ActorSystem() as system:
        watch, done = Stopwatch(system), list[str]()
        await flood(system, watch, done, actors, messages=10_000 // actors, message=Drop())
        turns = [watch.now]
        while len(done) < 10_000:
            await asyncio.sleep(0)
            turns.append(watch.now)
    pauses = [after - before for before, after in itertools.pairwise(turns)]
    assert max(pauses) <= 1.5 * SLICE
    assert len(pauses) >= 10_000 * WORK / (1.5 * SLICE)


@pytest.mark.asyncio
async def test_one_handler_that_computes_for_long_is_not_interrupted_and_nobody_else_runs_meanwhile() -> None:
    async with ActorSystem() as system:
        watch, done, beats = Stopwatch(system), list[str](), list[tuple[float, int]]()
        slow = await system.spawn(child(Flooded, watch, done, work=0.5).options(name="slow"))
        heart = await system.spawn(Heart, watch, done, beats)
        slow.tell(Drop())
        heart.tell(Beat())
        await until(done, 1)
        await heart.ask(Beat())
    assert beats == [(0.5, 1), (0.5, 1)]
