"""Two bugs that CPython has had, found again by simulation: they are why the runtime uses neither of the two."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from typing import Any

import pytest

from understudy.testing._campaign import Report, plans
from understudy.testing._faults import Faults
from understudy.testing._schedule import Subject, run

HAS_THEM = sys.version_info < (3, 13)


def failures(test: Any, schedules: int = 300) -> int:
    """In how many schedules *test* fails."""
    subject, report = Subject(test, Faults(), system=False), Report("")
    return sum(
        run(subject, strategy, seed=number, eager=eager).error is not None
        for number, (strategy, eager) in enumerate(plans(0, schedules, report))
    )


async def condition_loses_a_notification(sim: Any) -> None:
    """Two wait and one is notified; if that one is cancelled, the other must be woken instead."""
    condition = asyncio.Condition()
    items: list[str] = []
    got: list[str] = []

    async def take() -> None:
        async with condition:
            while not items:
                await condition.wait()
            got.append(items.pop())
            # If more has come in the meantime, the next one is told by whoever puts it.

    first, second = asyncio.create_task(take(), name="first"), asyncio.create_task(take(), name="second")
    await asyncio.sleep(0.01)

    async def put() -> None:
        async with condition:
            items.append("news")
            condition.notify()

    putter = asyncio.create_task(put(), name="putter")
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.wait([putter, first])
    if got:
        second.cancel()
    await asyncio.wait([second], timeout=60.0)
    done = second.done()
    second.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await second
    assert done, "the news is there, and nobody has been woken"


async def nested_groups_lose_a_cancellation(sim: Any) -> None:
    """An inner group whose child fails while the outer task is cancelled must not swallow the cancellation."""

    async def fail() -> None:
        await asyncio.sleep(0)
        raise ValueError("inner")

    went_on: list[str] = []

    async def work() -> None:
        with contextlib.suppress(ExceptionGroup):
            async with asyncio.TaskGroup() as inner:
                inner.create_task(fail(), name="fails")
                await asyncio.sleep(10)
        await asyncio.sleep(0)
        went_on.append("went on")

    worker = asyncio.create_task(work(), name="worker")
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    was_done = worker.done()
    cancelled = worker.cancel()
    await asyncio.wait([worker])
    assert was_done or not cancelled or worker.cancelled(), "cancelled, and went on as if nothing had happened"


@pytest.mark.parametrize("test", [condition_loses_a_notification, nested_groups_lose_a_cancellation])
def test_simulation_finds_it_where_it_is(test: Any) -> None:
    assert (failures(test) > 0) == HAS_THEM
