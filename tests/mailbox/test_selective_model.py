"""The queue against a list that looks at everything again each time, under all policies and ways to choose.

A `World` does the same to both, at the same moments, and they must agree at each moment on everything: who has what,
who waits, what is there, in which order, what was dropped. And nobody may be asked twice about one item.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.mailbox.model import Closed, Empty, Full, ListOfItems, Putter, Waiter
from understudy.mailbox import AsyncMessageQueue, PriorityMessageQueue, QueueClosed, QueueEmpty, QueueFull

Wants = Callable[[int], bool]

ERRORS: tuple[tuple[type[Exception], type[Exception]], ...] = (
    (Closed, QueueClosed),
    (Full, QueueFull),
    (Empty, QueueEmpty),
)
SEEDS = 5_000 if os.environ.get("UNDERSTUDY_CAMPAIGN") else 125
"""Of each of four blocks."""
POLICIES = ("block", "block", "fail", "drop_new", "drop_old", "stop")


def key_of(item: int) -> int:
    return 1 + item % 3


class Once:
    """A predicate that may not be asked twice about an item."""

    def __init__(self, wants: Wants) -> None:
        self.wants = wants
        self.asked: set[int] = set()

    def __call__(self, item: int) -> bool:
        assert item not in self.asked, f"asked twice about {item}"
        self.asked.add(item)
        return self.wants(item)


class World:
    def __init__(self, capacity: float, policy: Any, levels: int) -> None:
        self.loop = asyncio.SelectorEventLoop()
        self.drops: list[int] = []

        def drop(item: int, _: str) -> None:
            self.drops.append(item)

        if levels > 1:
            self.queue: AsyncMessageQueue[int] = PriorityMessageQueue(
                capacity, priority=lambda item: item % levels, policy=policy, key=key_of, on_drop=drop
            )
        else:
            self.queue = AsyncMessageQueue(capacity, policy=policy, key=key_of, on_drop=drop)
        self.model = ListOfItems(capacity, policy, lambda item: item % levels)
        self.number = 0
        self.tasks: dict[asyncio.Task[None], Waiter | Putter] = {}
        self.errors: list[BaseException] = []

    def both(self, in_the_model: Callable[[], object], in_the_queue: Callable[[], object]) -> None:
        """Do it in both, and let both have the same result."""
        expected: object
        try:
            expected = in_the_model()
        except Exception as error:
            expected = dict(ERRORS)[type(error)]
        found: object
        try:
            found = in_the_queue()
        except (QueueClosed, QueueFull, QueueEmpty) as error:
            found = type(error)
        assert found == expected

    # At once

    def put(self) -> None:
        self.number += 1
        item = self.number
        self.both(lambda: self.model.put_now(item), lambda: self.queue.put_nowait(item))

    def get(self, wants: Wants | None, key: int | None) -> None:
        self.both(lambda: self.model.get_now(chosen(wants, key)), lambda: self.queue.get_nowait(wants, key=key))

    def peek(self, wants: Wants) -> None:
        found = [item for item in self.model.free if wants(item)]
        if found:
            assert self.queue.peek(wants) == found[0]
        else:
            with pytest.raises(QueueEmpty):
                self.queue.peek(wants)

    def remove(self, wants: Wants) -> None:
        self.both(lambda: self.model.remove(wants), lambda: self.queue.remove(wants))

    def clear(self) -> None:
        self.both(lambda: self.model.remove(lambda _: True), self.queue.clear)

    def close(self) -> None:
        self.model.close()
        self.queue.close()

    # In tasks

    def start(self, waits: Waiter | Putter, body: Callable[[], Coroutine[Any, Any, None]]) -> None:
        async def run() -> None:
            try:
                await body()
            except asyncio.CancelledError:
                raise
            except BaseException as error:
                self.errors.append(error)
            finally:
                self.tasks.pop(task, None)

        task = self.loop.create_task(run())
        self.tasks[task] = waits

    def start_put(self) -> None:
        self.number += 1
        putter = Putter(self.number)
        model = self.model

        async def body() -> None:
            item = putter.item
            waits = model.policy == "block"
            try:
                expected: Any = model.put_now(item)
            except Full:
                expected = QueueFull
                if waits:
                    model.putters.append(putter)
            except Closed:
                expected, waits = QueueClosed, False
            else:
                waits = False
            try:
                found: Any = await self.queue.put(item)
            except (QueueFull, QueueClosed) as error:
                found = type(error)
            except asyncio.CancelledError:
                if putter in model.putters:
                    model.putters.remove(putter)
                model.settle()
                raise
            if waits:
                expected = QueueClosed if putter.sent_away or model.closed else True
                if putter in model.putters:
                    model.putters.remove(putter)
                if expected is True:
                    assert putter.granted, "a put overtook another"
                    model.give(item)
                model.settle()
            assert found == expected

        self.start(putter, body)

    def start_get(self, wants: Wants | None, key: int | None, most: int | None = None, enough: int = 1) -> None:
        """*most*: a batch."""
        chooses = chosen(wants, key)
        if most is not None and chooses is None and enough > 1:
            chooses = everything
        waiter = Waiter(chooses, enough, most or 1)
        once = None if wants is None else Once(wants)

        async def body() -> None:
            expected: Any
            try:
                expected = self.at_once(waiter)
            except Closed:
                expected = QueueClosed
            try:
                if most is None:
                    found: Any = [await self.queue.get(once, key=key)]
                else:
                    found = await self.queue.get_batch(most, min_items=enough, predicate=once)
            except QueueClosed as error:
                found = type(error)
            except asyncio.CancelledError:
                self.model.release(waiter)
                raise
            if expected is None:
                assert waiter.over
                if waiter.sent_away:
                    expected = QueueClosed
                else:
                    expected = self.model.collect(waiter)
                    if waiter.wants is None:
                        expected += self.model.next_items(waiter.most - 1)
            assert found == expected, f"{found} instead of {expected}, {waiter}"

        self.start(waiter, body)

    def at_once(self, waiter: Waiter) -> list[int] | None:
        model = self.model
        if waiter.wants is not None:
            return model.seek(waiter)
        if model.free:
            return model.next_items(waiter.most)
        if model.closed and not model.handed_over:
            raise Closed
        model.waiters.append(waiter)
        return None

    def cancel(self, which: int) -> None:
        if self.tasks:
            task = list(self.tasks)[which % len(self.tasks)]
            waits = self.tasks.pop(task)
            if isinstance(waits, Waiter):
                self.model.stop_waiting(waits)
            elif not waits.granted and waits in self.model.putters:
                self.model.putters.remove(waits)
            task.cancel()

    def turn(self) -> None:
        """One turn of the event loop."""
        self.loop.call_soon(self.loop.stop)
        self.loop.run_forever()

    # What must hold

    def check(self) -> None:
        if self.errors:
            raise self.errors[0]
        model, queue, statistics = self.model, self.queue, self.queue.statistics()
        assert list(queue._free()) == model.free
        assert self.drops == model.dropped
        assert (statistics.size, statistics.handed_over) == (len(model.free), model.handed_over)
        assert (
            statistics.total_in == statistics.total_out + statistics.dropped + statistics.size + statistics.handed_over
        )
        assert statistics.getters_waiting == len(model.waiters)
        assert statistics.putters_waiting == len(model.putters)
        assert queue.closed == model.closed
        if not model.closed and not model.putters and not model.waiters and not model.handed_over:
            assert queue.full() == (len(model.free) >= model.capacity)

    def rest(self) -> None:
        """Let all tasks go as far as they can."""
        while self.loop._ready:  # type: ignore[attr-defined]
            self.turn()
            self.check()

    def end(self) -> None:
        try:
            self.rest()
            while self.tasks:
                self.cancel(0)
            self.rest()
            assert self.queue.statistics().handed_over == 0
            assert not self.queue.statistics().getters_waiting
            assert not self.loop._scheduled  # type: ignore[attr-defined]
            left = self.model.free
            assert self.queue.close(drain=False) == left
        finally:
            for task in asyncio.all_tasks(self.loop):
                task.cancel()
            self.loop.run_until_complete(asyncio.sleep(0))
            self.loop.close()


def everything(_: int) -> bool:
    return True


def chosen(wants: Wants | None, key: int | None) -> Wants | None:
    """Predicate and key in one."""
    if key is None:
        return wants
    return lambda item: key_of(item) == key and (wants is None or wants(item))


WISHES: tuple[Wants | None, ...] = (
    None,
    lambda item: item % 2 == 0,
    lambda item: item % 3 == 1,
    lambda item: item % 5 > 2,
    lambda item: False,
)
wishes = st.sampled_from(range(len(WISHES)))
keys = st.sampled_from([None, None, 1, 2, 3])


class ChoosingMachine(RuleBasedStateMachine):
    world: World

    @initialize(
        capacity=st.sampled_from([1, 2, 3, 6, float("inf")]),
        policy=st.sampled_from(POLICIES),
        levels=st.sampled_from([1, 1, 3]),
    )
    def begin(self, capacity: float, policy: str, levels: int) -> None:
        self.world = World(capacity, policy, levels)

    @rule()
    def put(self) -> None:
        self.world.put()

    @rule()
    def start_put(self) -> None:
        self.world.start_put()

    @rule(wish=wishes, key=keys)
    def get(self, wish: int, key: int | None) -> None:
        self.world.get(WISHES[wish], key)

    @rule(wish=wishes, key=keys)
    def start_get(self, wish: int, key: int | None) -> None:
        self.world.start_get(WISHES[wish], key)

    @rule(wish=wishes, most=st.integers(1, 4), enough=st.integers(1, 4))
    def start_batch(self, wish: int, most: int, enough: int) -> None:
        self.world.start_get(WISHES[wish], None, max(most, enough), min(most, enough))

    @rule(which=st.integers(0, 7))
    def cancel(self, which: int) -> None:
        self.world.cancel(which)

    @rule(wish=st.integers(1, len(WISHES) - 1))
    def look(self, wish: int) -> None:
        wants = WISHES[wish]
        assert wants is not None
        self.world.peek(wants)
        self.world.remove(wants)

    @rule()
    def clear(self) -> None:
        self.world.clear()

    @rule()
    def turn(self) -> None:
        self.world.turn()

    @rule()
    def rest(self) -> None:
        self.world.rest()

    @precondition(lambda self: self.world.number > 8)
    @rule()
    def close(self) -> None:
        self.world.close()

    @invariant()
    def agrees(self) -> None:
        if hasattr(self, "world"):
            self.world.check()

    def teardown(self) -> None:
        if hasattr(self, "world"):
            self.world.end()


ChoosingMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestTheQueueAgreesWithTheList = ChoosingMachine.TestCase


def play(world: World, luck: random.Random, steps: int) -> None:
    def wish() -> Wants | None:
        return luck.choice(WISHES)

    def batch() -> None:
        enough = luck.randrange(1, 4)
        world.start_get(wish(), None, enough + luck.randrange(3), enough)

    def key() -> int | None:
        return luck.choice([None, None, 1, 2, 3])

    actions: list[tuple[int, Callable[[], object]]] = [
        (10, world.put),
        (6, world.start_put),
        (4, lambda: world.get(wish(), key())),
        (8, lambda: world.start_get(wish(), key())),
        (4, batch),
        (5, lambda: world.cancel(luck.randrange(8))),
        (1, lambda: world.peek(wish() or everything)),
        (1, lambda: world.remove(luck.choice([even_fifth, WISHES[1] or everything]))),
        (8, world.turn),
        (1, world.rest),
    ]
    weights = [weight for weight, _ in actions]
    for _, action in luck.choices(actions, weights, k=steps):
        action()
        world.check()
    if luck.random() < 0.5:
        world.close()
        for _, action in luck.choices(actions, weights, k=steps // 3):
            action()
            world.check()


def even_fifth(item: int) -> bool:
    return item % 10 == 0


@pytest.mark.parametrize("block", range(4))
def test_both_agree_in_hundreds_of_interleavings(block: int) -> None:
    for seed in range(block * SEEDS, (block + 1) * SEEDS):
        luck = random.Random(seed)
        world = World(luck.choice([1, 2, 3, 6, float("inf")]), luck.choice(POLICIES), luck.choice([1, 1, 3]))
        try:
            play(world, luck, steps=60)
            world.end()
        except BaseException as error:
            error.add_note(f"seed {seed}")
            raise
        finally:
            world.loop.close()
