"""A waiting line must be empty again however a wait ends: a dead entry would close the fast path for ever."""

from __future__ import annotations

import asyncio
from contextlib import suppress

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
