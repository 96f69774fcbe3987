"""MQ and W7: the queue on its own, against `asyncio.Queue` and what one does with that by hand; no actors.

Both sides of a line run the same code, but for the call that is compared: how the queue is made, how something is put,
and how it is got. Items are numbers, and each sample checks that the last of them has come out and that none is left.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import statistics
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Generic, Literal, Protocol, TypeAlias, TypeVar

from benchmarks.harness import Comparison, Plan, Row, Run, Side, Spread, Stopwatch, WrongResult, compete, expect, say
from understudy.mailbox import AsyncMessageQueue, PriorityMessageQueue

__all__ = ["WORKLOADS", "InMicroseconds"]

PATIENT = 30.0
"""Seconds of every timeout here; none of them comes true."""
FEW = 10
"""The capacity of a small queue, and how many make a crowd."""
OTHERS = 1_000
"""Items in front of the wanted one; tasks that wait for other keys."""
BATCH = 100
"""Items that are got at once, or that are put before their turn to be got comes."""


class Pipe(Protocol):
    """What both kinds of queue have in common."""

    def put_nowait(self, item: int, /) -> object: ...
    def get_nowait(self) -> int: ...
    async def put(self, item: int, /) -> object: ...
    async def get(self) -> int: ...
    def empty(self) -> bool: ...


P = TypeVar("P", bound=Pipe)
Own: TypeAlias = AsyncMessageQueue[int]


@dataclass(frozen=True)
class Way(Generic[P]):
    """A kind of queue, and how to use it."""

    make: Callable[[int], P]
    """With that capacity; 0 for no limit, as in `asyncio.Queue`."""
    put: Callable[[P, int], Awaitable[None]]
    """Puts all numbers below that."""
    get: Callable[[P, int], Awaitable[int]]
    """Gets so many items; returns the last."""


def bare(capacity: int) -> asyncio.Queue[int]:
    return asyncio.Queue(capacity)


def own(capacity: int) -> Own:
    return AsyncMessageQueue(capacity or math.inf)


# --- Ways to put and to get -------------------------------------------------------------------------------------------


async def put(queue: Pipe, count: int) -> None:
    for number in range(count):
        await queue.put(number)


async def put_nowait(queue: Pipe, count: int) -> None:
    for number in range(count):
        queue.put_nowait(number)


async def put_one_at_a_time(queue: Pipe, count: int) -> None:
    """The getter has had its turn, and waits again, before the next one comes."""
    for number in range(count):
        queue.put_nowait(number)
        await asyncio.sleep(0)


async def put_in_time(queue: Own, count: int) -> None:
    for number in range(count):
        await queue.put(number, timeout=PATIENT)


async def put_with_wait_for(queue: Pipe, count: int) -> None:
    for number in range(count):
        await asyncio.wait_for(queue.put(number), PATIENT)


async def put_within_timeout(queue: Pipe, count: int) -> None:
    for number in range(count):
        async with asyncio.timeout(PATIENT):
            await queue.put(number)


async def get(queue: Pipe, count: int) -> int:
    item = -1
    for _ in range(count):
        item = await queue.get()
    return item


async def get_nowait(queue: Pipe, count: int) -> int:
    item = -1
    for _ in range(count):
        item = queue.get_nowait()
    return item


async def get_in_time(queue: Own, count: int) -> int:
    item = -1
    for _ in range(count):
        item = await queue.get(timeout=PATIENT)
    return item


async def get_with_wait_for(queue: Pipe, count: int) -> int:
    item = -1
    for _ in range(count):
        item = await asyncio.wait_for(queue.get(), PATIENT)
    return item


async def get_within_timeout(queue: Pipe, count: int) -> int:
    item = -1
    for _ in range(count):
        async with asyncio.timeout(PATIENT):
            item = await queue.get()
    return item


async def get_batches(queue: Own, count: int) -> int:
    left, items = count, [-1]
    while left:
        items = await queue.get_batch(BATCH)
        left -= len(items)
    return items[-1]


async def get_lists(queue: Pipe, count: int) -> int:
    left, items = count, [-1]
    while left:
        items = [queue.get_nowait() for _ in range(min(BATCH, left))]
        left -= len(items)
    return items[-1]


# --- What is done with them -------------------------------------------------------------------------------------------

Part: TypeAlias = Literal["all", "put", "get"]


def in_turn(way: Way[P], part: Part = "all", *, bounded: bool = False) -> Run:
    """First all are put and then all are got, in one task; nothing has to wait. Only that part is timed."""

    async def run(count: int, watch: Stopwatch) -> None:
        queue = way.make(count if bounded else 0)
        with nullcontext() if part == "get" else watch:
            await way.put(queue, count)
        with nullcontext() if part == "put" else watch:
            last = await way.get(queue, count)
        expect("last item", last, count - 1)
        expect("all got", queue.empty(), True)

    return run


def side_by_side(way: Way[P], capacity: int = 0, crowd: int = 1) -> Run:
    """So many tasks put and as many get, each the same number of items; all getters wait before the first item."""

    async def run(count: int, watch: Stopwatch) -> None:
        queue, each = way.make(capacity), max(count // crowd, 1)
        getters = [asyncio.ensure_future(way.get(queue, each)) for _ in range(crowd)]
        await asyncio.sleep(0)
        with watch:
            putters = [asyncio.ensure_future(way.put(queue, each)) for _ in range(crowd)]
            lasts = await asyncio.gather(*getters)
        await asyncio.gather(*putters)
        expect("last item", max(lasts), each - 1)
        expect("all got", queue.empty(), True)

    return run


def there_and_back(way: Way[P]) -> Run:
    """A number goes to another task and comes back, through two queues; each time somebody waits for it."""

    async def run(count: int, watch: Stopwatch) -> None:
        there, back = way.make(0), way.make(0)

        async def echo() -> None:
            for _ in range(count):
                back.put_nowait(await there.get())

        echoing, item = asyncio.ensure_future(echo()), -1
        await asyncio.sleep(0)
        with watch:
            for number in range(count):
                there.put_nowait(number)
                item = await back.get()
        await echoing
        expect("last item", item, count - 1)

    return run


# --- Priority ---------------------------------------------------------------------------------------------------------


class Urgent:
    pass


class Normal:
    pass


class Late:
    pass


LEVELS = (Urgent, Normal, Late)
RANKS: dict[type, int] = {level: rank for rank, level in enumerate(LEVELS)}


def _mixed(count: int) -> list[object]:
    """The least urgent first, in turn, so that every order but the right one is noticed."""
    kinds = itertools.cycle(reversed(LEVELS))
    return [next(kinds)() for _ in range(count)]


def _check_order(items: Sequence[object], put: Sequence[object]) -> None:
    expect("in the order of urgency", items == sorted(put, key=lambda item: RANKS[type(item)]), True)


def bare_priority(part: Part) -> Run:
    async def run(count: int, watch: Stopwatch) -> None:
        queue: asyncio.PriorityQueue[tuple[int, int, object]] = asyncio.PriorityQueue()
        items, numbers = _mixed(count), itertools.count()
        with nullcontext() if part == "get" else watch:
            for item in items:
                queue.put_nowait((RANKS[type(item)], next(numbers), item))
        with nullcontext() if part == "put" else watch:
            got = [queue.get_nowait()[2] for _ in range(count)]
        _check_order(got, items)

    return run


def own_priority(part: Part) -> Run:
    async def run(count: int, watch: Stopwatch) -> None:
        queue: PriorityMessageQueue[object] = PriorityMessageQueue(math.inf, levels=LEVELS)
        items = _mixed(count)
        with nullcontext() if part == "get" else watch:
            for item in items:
                queue.put_nowait(item)
        with nullcontext() if part == "put" else watch:
            got = [queue.get_nowait() for _ in range(count)]
        _check_order(got, items)

    return run


# --- Particular items -------------------------------------------------------------------------------------------------


def _identity(item: int) -> int:
    return item


def _keyed() -> Own:
    """A queue from which somebody has got by key before, with others in it: the numbers below 0."""
    queue: Own = AsyncMessageQueue(math.inf, key=_identity)
    for number in range(OTHERS + 1):
        queue.put_nowait(-number - 1)
    queue.get_nowait(key=-OTHERS - 1)
    return queue


async def drain_and_refill(count: int, watch: Stopwatch) -> None:
    """What one does with an `asyncio.Queue`: take out what is in front, and put it in again in its old order."""
    queue: asyncio.Queue[int] = asyncio.Queue()
    for number in range(OTHERS):
        queue.put_nowait(-number - 1)
    for wanted in range(count):
        queue.put_nowait(wanted)
        with watch:
            passed: list[int] = []
            while (item := queue.get_nowait()) != wanted:
                passed.append(item)
            for each in passed:
                queue.put_nowait(each)
    expect("others", queue.qsize(), OTHERS)


def by_key(*, later: bool) -> Run:
    """Behind the others are some, each of another key, and all of them are got, one after another; again and again."""

    async def run(count: int, watch: Stopwatch) -> None:
        queue, item = _keyed(), -1
        for first in range(0, count, BATCH):
            some = range(first, min(first + BATCH, count))
            for wanted in some:
                queue.put_nowait(wanted)
            with watch:
                if later:
                    for wanted in some:
                        item = await queue.get(key=wanted)
                else:
                    for wanted in some:
                        item = queue.get_nowait(key=wanted)
        expect("last item", item, count - 1)
        expect("others", len(queue), OTHERS)

    return run


async def by_predicate(count: int, watch: Stopwatch) -> None:
    """A task waits that has refused all others; from the put to the return of its `get`, two turns of the loop."""
    queue, asked = _keyed(), 0

    def wanted(item: int) -> bool:
        nonlocal asked
        asked += 1
        return item >= 0

    async def consume() -> int:
        return await queue.get(wanted)

    for number in range(count):
        waiting = asyncio.ensure_future(consume())
        await asyncio.sleep(0)
        asked = 0
        with watch:
            queue.put_nowait(number)
            item = await waiting
        expect("item", item, number)
        expect("asked", asked, 1)
    expect("others", len(queue), OTHERS)


def put_behind(waiters: int) -> Run:
    """Puts what nobody waits for."""

    async def run(count: int, watch: Stopwatch) -> None:
        queue = _keyed()

        async def wait(number: int) -> int:
            return await queue.get(key=f"other {number}")

        waiting = [asyncio.ensure_future(wait(number)) for number in range(waiters)]
        await asyncio.sleep(0)
        expect("waiting", queue.statistics().getters_waiting, waiters)
        with watch:
            for number in range(count):
                queue.put_nowait(number)
        expect("in the queue", len(queue), OTHERS + count)
        for task in waiting:
            task.cancel()
        ended = await asyncio.gather(*waiting, return_exceptions=True)
        expect("cancelled", sum(isinstance(end, asyncio.CancelledError) for end in ended), waiters)

    return run


@dataclass(frozen=True, slots=True)
class InMicroseconds:
    """What one call takes, where Q can do it only in another way; so that is shown beside it and is no measure."""

    workload: str
    what: str
    count: int
    baseline: Run
    baseline_count: int
    sides: tuple[Side, ...]

    def rows(self, plan: Plan) -> Iterator[Row]:
        """Measure."""
        say(f"{self.workload}: {self.what}")
        q = Side("", self.baseline, "Q")
        seconds, wrong = compete((q,), plan.count(self.baseline_count), plan.repeats)
        own_seconds, own_wrong = compete(self.sides, plan.count(self.count), plan.repeats)
        for side in self.sides:
            mistake: WrongResult | None = wrong.get(q.name) or own_wrong.get(side.name)
            if mistake is not None:
                yield Row.without_value(self.workload, side.label, f"{self.what}, {side.label}", mistake)
                continue
            each = [value * 1e6 for value in own_seconds[side.name]]
            reference = [value * 1e6 for value in seconds[q.name]]
            yield Row(
                workload=self.workload,
                label=side.label,
                what=f"{self.what}, {side.label}",
                value=Spread.of(each),
                unit="us",
                baseline=f"{statistics.median(reference):.0f} us",
                own=f"{statistics.median(each):.2f} us",
                samples={"Q": reference, "understudy": each},
            )


# --- The table --------------------------------------------------------------------------------------------------------

AT_ONCE = "{count:,} items, none waits"
ONE_WAITS = "{count:,} items, a getter waits for each"
SMALL = f"{{count:,}} items through a capacity of {FEW}"


def _compare(what: str, label: str, count: int, baseline: Run, run: Run) -> Comparison:
    return Comparison("MQ", what, count, baseline, (Side(label, run),))


def _at_once(label: str, way: Way[asyncio.Queue[int]], mine: Way[Own], part: Part = "all") -> Comparison:
    return _compare(AT_ONCE, label, 100_000, in_turn(way, part), in_turn(mine, part))


def _timeouts() -> Iterator[Comparison]:
    """`timeout=` against both ways to put a timeout around a call."""
    own_get, own_put = Way(own, put_nowait, get_in_time), Way(own, put_in_time, get)
    slow_get, slow_put = Way(own, put_one_at_a_time, get_in_time), own_put
    for name, put_, get_ in (
        ("wait_for", put_with_wait_for, get_with_wait_for),
        ("asyncio.timeout", put_within_timeout, get_within_timeout),
    ):
        label = f"get(timeout=), against {name}"
        baseline = in_turn(Way(bare, put_nowait, get_), "get")
        yield _compare(AT_ONCE, label, 10_000, baseline, in_turn(own_get, "get"))
        label = f"get(timeout=) that waits, against {name}"
        baseline = side_by_side(Way(bare, put_one_at_a_time, get_))
        yield _compare(ONE_WAITS, label, 5_000, baseline, side_by_side(slow_get))
        label = f"put(timeout=), against {name}"
        baseline = in_turn(Way(bare, put_, get), "put", bounded=True)
        yield _compare(AT_ONCE, label, 10_000, baseline, in_turn(own_put, "put", bounded=True))
        label = f"put(timeout=) that waits, against {name}"
        baseline = side_by_side(Way(bare, put_, get), FEW)
        yield _compare(SMALL, label, 5_000, baseline, side_by_side(slow_put, FEW))


PARTS: tuple[tuple[Part, str], ...] = (("put", "put alone"), ("get", "get alone"))

WORKLOADS: tuple[Comparison | InMicroseconds, ...] = (
    _at_once("put_nowait, then get_nowait", Way(bare, put_nowait, get_nowait), Way(own, put_nowait, get_nowait)),
    _at_once("put_nowait alone", Way(bare, put_nowait, get_nowait), Way(own, put_nowait, get_nowait), "put"),
    _at_once("get_nowait alone", Way(bare, put_nowait, get_nowait), Way(own, put_nowait, get_nowait), "get"),
    _at_once("await put, then await get", Way(bare, put, get), Way(own, put, get)),
    _at_once("await put alone", Way(bare, put, get), Way(own, put, get), "put"),
    _at_once("await get alone", Way(bare, put, get), Way(own, put, get), "get"),
    _compare(
        ONE_WAITS,
        "put_nowait to a waiting getter",
        20_000,
        side_by_side(Way(bare, put_one_at_a_time, get)),
        side_by_side(Way(own, put_one_at_a_time, get)),
    ),
    _compare(
        ONE_WAITS,
        "there and back through two queues",
        10_000,
        there_and_back(Way(bare, put, get)),
        there_and_back(Way(own, put, get)),
    ),
    _compare(
        SMALL,
        "a putter and a getter",
        20_000,
        side_by_side(Way(bare, put, get), FEW),
        side_by_side(Way(own, put, get), FEW),
    ),
    # Q is not fair here: whoever runs takes what others have waited for, ten items in a go, and the others are woken in
    # vain. To serve each in turn takes two turns of tasks for each item.
    _compare(
        SMALL,
        f"{FEW} putters and {FEW} getters",
        20_000,
        side_by_side(Way(bare, put, get), FEW, FEW),
        side_by_side(Way(own, put, get), FEW, FEW),
    ),
    *_timeouts(),
    _at_once(
        f"get_batch({BATCH}), against as many get_nowait",
        Way(bare, put_nowait, get_lists),
        Way(own, put_nowait, get_batches),
        "get",
    ),
    *(
        _compare("{count:,} items of 3 levels", f"priority, {words}", 50_000, bare_priority(part), own_priority(part))
        for part, words in PARTS
    ),
    InMicroseconds(
        "W7",
        f"one behind {OTHERS:,} others",
        20_000,
        drain_and_refill,
        200,
        (Side("get_nowait(key=)", by_key(later=False)), Side("await get(key=)", by_key(later=True))),
    ),
    InMicroseconds(
        "W7",
        f"one behind {OTHERS:,} others, all of them refused before",
        5_000,
        drain_and_refill,
        200,
        (Side("from put to get(predicate)", by_predicate),),
    ),
    Comparison(
        "W7",
        f"{{count:,}} puts, {OTHERS:,} tasks wait for other keys; Q: none waits",
        20_000,
        put_behind(0),
        (Side("put_nowait", put_behind(OTHERS)),),
        ratio="time",
    ),
)
