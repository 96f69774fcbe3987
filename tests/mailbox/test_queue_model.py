"""The queue against a plain list, under every mixture of puts, gets, cancellations, deadlines and closing.

A `World` drives one queue by hand: actions start tasks, cancel them, let the loop turn, let time pass. What happens is
done to a list at the moment at which a caller would know of it: an item that comes out must be the first of the list.
So nothing is lost, doubled or overtaken, in whatever order things happen.
"""

from __future__ import annotations

import asyncio
import math
import os
import random
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from understudy.exceptions import MailboxFull
from understudy.mailbox import AsyncMessageQueue, QueueClosed, QueueEmpty

if TYPE_CHECKING:
    from collections.abc import Callable


SEEDS = 5_000 if os.environ.get("UNDERSTUDY_CAMPAIGN") else 125
"""Of each of four blocks."""


class HandTurnedLoop(asyncio.SelectorEventLoop):
    now = 0.0

    def time(self) -> float:
        return self.now


class World:
    def __init__(self, capacity: float) -> None:
        self.loop = HandTurnedLoop()
        self.queue = AsyncMessageQueue[int](capacity)
        self.capacity = capacity
        self.number = self.turns = 0
        self.inside: list[int] = []  # the model
        self.largest = self.accepted = self.gone = self.removed = 0
        self.closed = False
        # Who waits, in the order in which they began, with the deadline; who is cancelled is taken out at once.
        self.putters: dict[asyncio.Task[None], float] = {}
        self.getters: dict[asyncio.Task[None], float] = {}
        self.cancelled: list[asyncio.Task[None]] = []

    # The model

    def came(self, item: int) -> None:
        assert not self.closed, "put after closing"
        self.accepted += 1
        self.inside.append(item)
        self.note_size()

    def note_size(self) -> None:
        self.largest = max(self.largest, len(self.queue))

    def went(self, item: int) -> None:
        assert self.inside, f"{item} came out of an empty queue"
        assert self.inside.pop(0) == item
        self.gone += 1

    # Actions

    def fresh(self) -> int:
        self.number += 1
        return self.number

    def put_nowait(self) -> None:
        item, others_wait = self.fresh(), self.somebody_waits_for_room()
        try:
            self.queue.put_nowait(item)
        except QueueClosed:
            assert self.closed
        except MailboxFull:
            assert not self.closed
        else:
            assert not others_wait, "overtook a waiting put"
            self.came(item)

    def offer(self) -> None:
        item, others_wait = self.fresh(), self.somebody_waits_for_room()
        if self.queue.offer(item):
            assert not others_wait, "overtook a waiting put"
            self.came(item)

    def somebody_waits_for_room(self) -> bool:
        return any(deadline > self.loop.now for deadline in self.putters.values())

    def get_nowait(self) -> None:
        try:
            item = self.queue.get_nowait()
        except QueueClosed:
            assert self.closed
            assert not self.inside
        except QueueEmpty:
            assert len(self.queue) == 0
        else:
            self.went(item)

    def take(self) -> None:
        try:
            item = self.queue.take()
        except IndexError:
            assert len(self.queue) == 0
        else:
            self.went(item)

    def take_and_give_back(self) -> None:
        if len(self.queue):
            self.queue.push_front(self.queue.take())

    def clear(self) -> None:
        self.take_out(self.queue.clear())

    def close(self) -> None:
        assert self.queue.close() == []
        self.closed = True

    def close_without_drain(self) -> None:
        left = self.queue.close(drain=False)
        self.take_out(left)
        self.closed = True

    def take_out(self, items: list[int]) -> None:
        # What is promised to a getter is the oldest and stays.
        kept = len(self.inside) - len(items)
        assert self.inside[kept:] == items
        del self.inside[kept:]
        self.removed += len(items)

    def start_put(self, timeout: float | None = None) -> None:
        item = self.fresh()

        async def put() -> None:
            self.putters[task] = self.deadline(timeout)
            try:
                await self.queue.put(item, timeout=timeout)
            except QueueClosed:
                assert self.closed
            except TimeoutError:
                assert self.deadline(timeout) < math.inf
            else:
                assert next(iter(self.putters)) is task, "a put overtook another"
                self.came(item)
            finally:
                self.putters.pop(task, None)

        task = self.loop.create_task(put())

    def start_get(self, timeout: float | None = None) -> None:
        async def get() -> None:
            self.getters[task] = self.deadline(timeout)
            begin = self.turns
            try:
                item = await self.queue.get(timeout=timeout)
            except QueueClosed:
                assert self.closed
                assert not self.inside
            except TimeoutError:
                assert self.deadline(timeout) < math.inf
            else:
                # One that finds an item need not wait for those who only have to collect theirs.
                assert begin == self.turns or next(iter(self.getters)) is task, "a get overtook another"
                self.went(item)
            finally:
                self.getters.pop(task, None)
                self.note_size()  # it may have given an item back

        task = self.loop.create_task(get())

    def deadline(self, timeout: float | None) -> float:
        return self.loop.now + (math.inf if timeout is None else timeout)

    def cancel_put(self, which: int) -> None:
        self.cancel_one_of(self.putters, which)

    def cancel_get(self, which: int) -> None:
        self.cancel_one_of(self.getters, which)

    def cancel_one_of(self, tasks: dict[asyncio.Task[None], float], which: int) -> None:
        if tasks:
            task = list(tasks)[which % len(tasks)]
            del tasks[task]
            assert task.cancel()
            self.cancelled.append(task)

    def turn(self) -> None:
        """One turn of the event loop."""
        self.turns += 1
        self.loop.call_soon(self.loop.stop)
        self.loop.run_forever()
        for task in [task for task in self.cancelled if task.done()]:
            assert task.cancelled(), "a cancellation was lost"
            self.cancelled.remove(task)

    def pass_time(self) -> None:
        self.loop.now += 1.0
        self.turn()

    # What must hold

    def check(self) -> None:
        """At every moment."""
        statistics = self.queue.statistics()
        assert statistics.total_in == self.accepted
        assert statistics.total_out == self.gone
        assert statistics.dropped == self.removed
        assert statistics.size + statistics.handed_over == len(self.inside)
        assert statistics.size == len(self.queue)
        assert statistics.high_water == self.largest
        assert statistics.size == 0 or statistics.getters_waiting == 0, "an item and a getter wait for each other"

    def check_at_rest(self) -> None:
        """When all tasks have gone as far as they can."""
        while self.loop._ready or self.cancelled:  # type: ignore[attr-defined]
            self.turn()
        self.check()
        statistics = self.queue.statistics()
        assert statistics.handed_over == 0
        assert statistics.getters_waiting == len(self.getters)
        assert statistics.putters_waiting == len(self.putters)
        assert not (self.getters and self.inside), "an item and a getter wait for each other"
        assert not self.putters or len(self.inside) >= self.capacity, "room and a putter wait for each other"
        assert not (self.closed and (self.getters or self.putters)), "somebody waits in vain"

    def end(self) -> None:
        try:
            self.check_at_rest()
            while self.putters or self.getters:
                self.cancel_put(0)
                self.cancel_get(0)
            self.check_at_rest()
            assert not [timer for timer in self.loop._scheduled if not timer.cancelled()]  # type: ignore[attr-defined]
            assert self.queue.close(drain=False) == self.inside
        finally:
            self.loop.close()


class QueueMachine(RuleBasedStateMachine):
    world: World

    @initialize(capacity=st.sampled_from([1, 2, 3, float("inf")]))
    def begin(self, capacity: float) -> None:
        self.world = World(capacity)

    @rule(how=st.sampled_from(["put_nowait", "offer", "get_nowait", "take", "take_and_give_back", "turn", "pass_time"]))
    def at_once(self, how: str) -> None:
        getattr(self.world, how)()

    @rule()
    def clear(self) -> None:
        self.world.clear()

    @rule(timeout=st.sampled_from([None, None, 0, 0.5, 1.0, 2.5]), putting=st.booleans())
    def start(self, timeout: float | None, putting: bool) -> None:
        (self.world.start_put if putting else self.world.start_get)(timeout)

    @rule(which=st.integers(0, 5), putting=st.booleans())
    def cancel(self, which: int, putting: bool) -> None:
        (self.world.cancel_put if putting else self.world.cancel_get)(which)

    @precondition(lambda self: self.world.number > 5)
    @rule(drain=st.booleans())
    def close(self, drain: bool) -> None:
        (self.world.close if drain else self.world.close_without_drain)()

    @rule()
    def rest(self) -> None:
        self.world.check_at_rest()

    @invariant()
    def holds(self) -> None:
        if hasattr(self, "world"):
            self.world.check()

    def teardown(self) -> None:
        if hasattr(self, "world"):
            self.world.end()


QueueMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestTheQueueIsAList = QueueMachine.TestCase


def play(world: World, luck: random.Random, steps: int) -> None:
    actions: list[tuple[int, Callable[[], object]]] = [
        (6, world.put_nowait),
        (3, world.offer),
        (4, world.get_nowait),
        (3, world.take),
        (1, world.take_and_give_back),
        (1, world.clear),
        (8, lambda: world.start_put(luck.choice([None, None, 0, 0.5, 2.0]))),
        (8, lambda: world.start_get(luck.choice([None, None, 0, 0.5, 2.0]))),
        (5, lambda: world.cancel_put(luck.randrange(6))),
        (5, lambda: world.cancel_get(luck.randrange(6))),
        (6, world.turn),
        (1, world.pass_time),
        (1, world.check_at_rest),
    ]
    weights = [weight for weight, _ in actions]
    for _, action in luck.choices(actions, weights, k=steps):
        action()
        world.check()
    if luck.random() < 0.5:
        luck.choice([world.close, world.close_without_drain])()
        for _, action in luck.choices(actions, weights, k=steps // 3):
            action()
            world.check()


@pytest.mark.parametrize("block", range(4))
def test_nothing_is_lost_doubled_or_overtaken_in_hundreds_of_interleavings(block: int) -> None:
    for seed in range(block * SEEDS, (block + 1) * SEEDS):
        luck = random.Random(seed)
        world = World(luck.choice([1, 2, 3, 5, float("inf")]))
        try:
            play(world, luck, steps=60)
            world.end()
        except BaseException as error:
            error.add_note(f"seed {seed}")
            raise
        finally:
            world.loop.close()


def test_an_item_handed_over_before_the_deadline_arrives_although_the_task_runs_later() -> None:
    world = World(capacity=1)
    world.start_get(timeout=1.0)
    world.turn()

    world.put_nowait()
    world.pass_time()
    world.end()

    assert world.gone == 1


def test_an_item_that_comes_after_the_deadline_stays_although_the_task_has_not_run_yet() -> None:
    world = World(capacity=1)
    world.start_get(timeout=1.0)
    world.turn()

    world.pass_time()
    assert world.getters
    world.put_nowait()
    world.end()

    assert (world.gone, len(world.inside)) == (0, 1)


def test_room_that_comes_after_the_deadline_is_for_others_although_the_task_has_not_run_yet() -> None:
    world = World(capacity=1)
    world.put_nowait()
    world.start_put(timeout=1.0)
    world.turn()

    world.pass_time()
    assert world.putters
    world.get_nowait()
    world.put_nowait()
    world.end()

    assert (world.accepted, world.gone) == (2, 1)


@pytest.mark.asyncio
async def test_each_producers_items_arrive_once_and_in_order_among_cancelled_consumers() -> None:
    queue = AsyncMessageQueue[tuple[int, int]](capacity=3)
    luck = random.Random(7)
    received: list[tuple[int, int]] = []

    async def produce(name: int) -> None:
        for number in range(300):
            await queue.put((name, number))
            if luck.random() < 0.3:
                await asyncio.sleep(0)

    async def consume() -> None:
        async for item in queue:
            received.append(item)
            if luck.random() < 0.3:
                await asyncio.sleep(0)

    producers = [asyncio.ensure_future(produce(name)) for name in range(4)]
    consumers = [asyncio.ensure_future(consume()) for _ in range(4)]
    while not all(producer.done() for producer in producers):
        victim = consumers.pop(luck.randrange(len(consumers)))
        victim.cancel()
        consumers.append(asyncio.ensure_future(consume()))
        await asyncio.sleep(0)
    queue.close()
    await asyncio.gather(*consumers, *producers)

    assert len(received) == 1_200
    for name in range(4):
        assert [number for producer, number in received if producer == name] == list(range(300))
