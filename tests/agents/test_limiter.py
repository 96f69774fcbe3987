"""The limiter of a provider: as fast as allowed, first come first served, and no lease is ever lost."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.cast import settle
from understudy import Actor, ActorRef, ActorSystem, AskTimeout, InvalidSpec, Message, NoReply, handler
from understudy.agents import Acquire, RateLimiter, Release
from understudy.agents._limiter import Pace


class Hold(Message[int]):
    """Take a lease, and keep it."""

    limiter: Any


class Caller(Actor[Hold]):
    @handler
    async def hold(self, message: Hold) -> int:
        lease: int = await message.limiter.ask(Acquire())
        return lease


@pytest.mark.asyncio
async def test_calls_come_as_fast_as_allowed_and_in_their_order() -> None:
    loop = asyncio.get_running_loop()
    async with ActorSystem() as system:
        limiter = await system.spawn(RateLimiter, "p", calls_per_minute=60)
        began, times = loop.time(), list[float]()
        order: list[int] = []

        async def call(number: int) -> None:
            limiter.tell(Release(lease=await limiter.ask(Acquire(), timeout=math.inf)))
            order.append(number)
            times.append(loop.time() - began)

        await asyncio.gather(*(call(number) for number in range(63)))
        assert order == list(range(63))
        assert times[59] == pytest.approx(0, abs=0.01)
        assert times[60:] == [pytest.approx(1, abs=0.01), pytest.approx(2, abs=0.01), pytest.approx(3, abs=0.01)]


@pytest.mark.asyncio
async def test_no_more_are_under_way_than_allowed_and_who_ends_gives_back_what_he_had() -> None:
    async with ActorSystem() as system:
        limiter = await system.spawn(RateLimiter, "p", at_once=2)
        callers: list[ActorRef[Hold]] = [await system.spawn(Caller) for _ in range(3)]
        await callers[0].ask(Hold(limiter=limiter))
        lease = await callers[1].ask(Hold(limiter=limiter))
        third = asyncio.create_task(callers[2].ask(Hold(limiter=limiter), timeout=60))
        await settle()
        assert not third.done()
        callers[0].stop()
        await third
        with pytest.raises(AskTimeout):
            await limiter.ask(Acquire(), timeout=1)
        limiter.tell(Release(lease=lease))
        limiter.tell(Release(lease=lease))  # twice is once
        await limiter.ask(Acquire(), timeout=1)
        with pytest.raises(AskTimeout):
            await limiter.ask(Acquire(), timeout=1)


@pytest.mark.asyncio
async def test_who_gives_up_waiting_is_passed_over() -> None:
    async with ActorSystem() as system:
        limiter = await system.spawn(RateLimiter, "p", at_once=1)
        lease = await limiter.ask(Acquire())
        with pytest.raises(AskTimeout):
            await limiter.ask(Acquire(), timeout=0.5)
        waiting = asyncio.create_task(limiter.ask(Acquire()))
        await settle()
        limiter.tell(Release(lease=lease))
        assert await waiting == lease - 1


@pytest.mark.asyncio
async def test_who_gives_up_in_the_moment_in_which_he_gets_leave_can_release_it() -> None:
    async with ActorSystem() as system:
        limiter = await system.spawn(RateLimiter, "p", at_once=1)
        first = asyncio.create_task(limiter.ask(Acquire(lease=7)))
        await settle()
        assert await first == 7
        second = asyncio.create_task(limiter.ask(Acquire(lease=8), timeout=60))
        await settle()
        limiter.tell(Release(lease=8))
        limiter.tell(Release(lease=7))
        assert await limiter.ask(Acquire(lease=9), timeout=1) == 9
        with pytest.raises(NoReply):
            await second


@given(st.lists(st.tuples(st.floats(0, 30), st.integers(0, 20)), max_size=40), st.integers(1, 30))
def test_in_no_minute_is_more_let_through_than_a_bucket_and_what_fills_it(
    steps: list[tuple[float, int]], per_minute: int
) -> None:
    pace, now = Pace(per_minute), 100.0
    taken: list[tuple[float, int]] = []
    for passes, amount in steps:
        now += passes
        now += pace.delay(amount, now)
        assert pace.delay(amount, now) == pytest.approx(0, abs=1e-6)
        pace.take(amount, now)
        taken.append((now, amount))
    for start, _ in taken:
        window = [amount for when, amount in taken if start <= when < start + 60]
        assert sum(window) <= 2 * per_minute + max(window) + 1e-6


@pytest.mark.parametrize("bad", [{"calls_per_minute": 0}, {"tokens_per_minute": math.nan}, {"at_once": 0}])
def test_limits_that_are_none_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(InvalidSpec):
        RateLimiter("p", **bad)
