"""A waiting line must be empty again however a wait ends: a dead entry would close the fast path for ever."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from typing import Any

import pytest

from understudy.mailbox._line import Line, Turn

pytestmark = pytest.mark.asyncio


@pytest.mark.parametrize("end", ["grant", "dismiss", "cancel", "grant and cancel", "cancel and grant", "expire"])
async def test_a_line_is_empty_after_each_way_of_leaving_it(end: str) -> None:
    line = Line()
    waiter = asyncio.ensure_future(line.wait(0.01 if end == "expire" else None))
    await asyncio.sleep(0)
    assert line
    assert line.waiting == 1

    for step in end.split(" and "):
        if step != "expire":
            (waiter.cancel if step == "cancel" else getattr(line, step))()
    with suppress(asyncio.CancelledError):
        await waiter

    assert not line
    assert (line.waiting, line.granted) == (0, 0)
    assert not line.grant()


async def test_a_granted_turn_occupies_the_line_until_it_is_used() -> None:
    line = Line()
    waiter = asyncio.ensure_future(line.wait(None))
    await asyncio.sleep(0)

    assert line.grant()

    assert line
    assert (line.waiting, line.granted) == (0, 1)
    assert await waiter is Turn.GRANTED
    assert not line


async def test_dismissing_spares_who_has_been_granted_a_turn() -> None:
    line = Line()
    first, second = (asyncio.ensure_future(line.wait(None)) for _ in range(2))
    await asyncio.sleep(0)

    line.grant()
    line.dismiss()

    assert await first is Turn.GRANTED
    assert await second is Turn.DISMISSED


@pytest.mark.parametrize("first_stays", [True, False])
async def test_those_who_have_left_from_the_middle_do_not_pile_up(first_stays: bool) -> None:
    line = Line()
    waiters = [asyncio.ensure_future(line.wait(None)) for _ in range(100)]
    await asyncio.sleep(0)

    for waiter in waiters[first_stays:]:
        waiter.cancel()
        await asyncio.sleep(0)
        assert len(line.turns) <= 2 * line.waiting

    assert line.waiting == int(first_stays)
    assert line.grant() is first_stays
    assert not line.turns
    await asyncio.gather(*waiters, return_exceptions=True)


async def test_who_has_left_is_not_the_first_once_those_before_him_have_their_turns() -> None:
    line = Line()
    waiters = [asyncio.ensure_future(line.wait(None)) for _ in range(5)]
    await asyncio.sleep(0)
    waiters[1].cancel()
    await asyncio.sleep(0)

    assert line.grant()

    assert not line.turns[0][0].done()
    for waiter in waiters:
        waiter.cancel()
    await asyncio.gather(*waiters, return_exceptions=True)


async def test_a_sweep_for_each_of_many_who_leave_is_not_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    sweeps: list[int] = []

    def sweeping(entries: Any) -> deque[Any]:
        kept = deque(entries)
        sweeps.append(len(kept))
        return kept

    line = Line()
    waiters = [asyncio.ensure_future(line.wait(None)) for _ in range(1_000)]
    await asyncio.sleep(0)
    monkeypatch.setattr("understudy.mailbox._line.deque", sweeping)

    for waiter in reversed(waiters):
        waiter.cancel()
        await asyncio.sleep(0)

    assert not line
    assert len(sweeps) <= 10  # each time half as many are left
