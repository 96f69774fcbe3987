from __future__ import annotations

import asyncio
import threading
import time

import pytest

from understudy.testing._clock import ManualClock
from understudy.testing._errors import DeadlockError
from understudy.testing._virtual import VirtualLoop


def later(delay: float, log: list[object], what: object) -> asyncio.TimerHandle:
    return asyncio.get_running_loop().call_later(delay, log.append, what)


async def sleeper(delay: float, log: list[object]) -> None:
    clock = asyncio.get_running_loop()
    for _ in range(3):
        await asyncio.sleep(delay)
        log.append((delay, clock.time()))


@pytest.mark.asyncio
async def test_time_stands_still_until_it_is_advanced() -> None:
    fired: list[object] = []
    with ManualClock() as clock:
        later(1, fired, "one")
        for _ in range(100):
            await asyncio.sleep(0)
        assert clock.now == 0
        assert fired == []
        await clock.advance(0.999)
        assert fired == []
        await clock.advance(0.001)
        assert fired == ["one"]
        assert clock.now == 1


@pytest.mark.asyncio
async def test_advancing_fires_all_timers_until_then_in_order_each_at_its_own_time() -> None:
    log: list[object] = []
    with ManualClock() as clock:
        async with asyncio.TaskGroup() as group:
            group.create_task(sleeper(2.0, log))
            group.create_task(sleeper(1.5, log))
            await clock.advance(4.0)
            assert log == [(1.5, 1.5), (2.0, 2.0), (1.5, 3.0), (2.0, 4.0)]
            assert clock.now == 4.0
            await clock.advance(10)
    assert len(log) == 6


@pytest.mark.asyncio
async def test_what_follows_from_a_timer_happens_before_the_next_one() -> None:
    log: list[object] = []
    loop = asyncio.get_running_loop()

    async def follow() -> None:
        for step in range(50):
            await asyncio.sleep(0)
            log.append(step)

    with ManualClock() as clock:
        tasks: list[asyncio.Task[None]] = []
        loop.call_later(1, lambda: tasks.append(loop.create_task(follow())))
        later(1 + 1e-6, log, "next")
        await clock.advance(2)
    assert log == [*range(50), "next"]
    assert tasks[0].done()


@pytest.mark.asyncio
async def test_advancing_by_nothing_lets_all_settle() -> None:
    log: list[object] = []

    async def hops() -> None:
        for _ in range(100):
            await asyncio.sleep(0)
        log.append("settled")

    with ManualClock() as clock:
        task = asyncio.ensure_future(hops())
        await clock.advance(0)
        assert log == ["settled"]
        assert clock.now == 0
    await task


@pytest.mark.asyncio
async def test_many_small_steps_reach_a_timer_that_one_large_one_reaches() -> None:
    fired: list[object] = []
    with ManualClock() as clock:
        later(0.8, fired, "due")
        for _ in range(8):
            await clock.advance(0.1)
        assert fired == ["due"]


@pytest.mark.asyncio
async def test_the_clock_goes_by_itself_again_after_the_block() -> None:
    with ManualClock() as clock:
        await clock.advance(1)
    await asyncio.sleep(5)
    assert asyncio.get_running_loop().time() == 6
    clock.release()  # once more does nothing
    with ManualClock() as clock:
        assert clock.now == 6


@pytest.mark.asyncio
async def test_a_job_in_a_thread_is_waited_for_before_time_goes_on() -> None:
    log: list[object] = []
    with ManualClock() as clock:
        job = asyncio.ensure_future(asyncio.to_thread(time.sleep, 0.02))
        job.add_done_callback(lambda _: log.append("job"))
        later(60, log, "timer")
        await clock.advance(60)
    assert log == ["job", "timer"]


@pytest.mark.asyncio
async def test_a_thread_that_was_announced_is_waited_for_while_the_clock_is_held() -> None:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    told: asyncio.Future[None] = loop.create_future()
    thread = threading.Timer(0.02, loop.call_soon_threadsafe, (told.set_result, None))
    with ManualClock() as clock, loop.outside():
        thread.start()
        await told
        assert clock.now == 0
    thread.join()


# Errors


def test_waiting_for_what_only_time_can_bring_is_a_deadlock_that_says_so() -> None:
    async def main() -> None:
        with ManualClock() as clock:
            await clock.advance(2)
            await asyncio.sleep(5)

    with (
        asyncio.Runner(loop_factory=VirtualLoop) as runner,
        pytest.raises(DeadlockError, match=r"time 2: the clock is held: advance it \(the next timer is due in 5 s\)"),
    ):
        runner.run(main())


def test_waiting_for_what_not_even_time_can_bring_is_an_ordinary_deadlock() -> None:
    async def main() -> None:
        with ManualClock():
            await asyncio.get_running_loop().create_future()

    with asyncio.Runner(loop_factory=VirtualLoop) as runner, pytest.raises(DeadlockError, match="no timer is set"):
        runner.run(main())


def test_a_clock_without_a_loop_says_what_it_needs() -> None:
    with pytest.raises(RuntimeError, match="VirtualLoop, but no event loop is running here"):
        ManualClock()


@pytest.mark.real_time
@pytest.mark.asyncio
async def test_a_clock_on_an_ordinary_loop_says_what_it_needs() -> None:
    with pytest.raises(RuntimeError, match=r"VirtualLoop, but a .*EventLoop is running here.*real_time"):
        ManualClock()


@pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf"), "1", None, True])
@pytest.mark.asyncio
async def test_seconds_must_be_a_finite_number(seconds: object) -> None:
    with ManualClock() as clock:
        with pytest.raises(ValueError, match="seconds must be a finite number that is not negative, got"):
            await clock.advance(seconds)  # type: ignore[arg-type]
        assert clock.now == 0


@pytest.mark.asyncio
async def test_a_clock_is_held_by_one_and_advanced_by_one() -> None:
    with ManualClock() as clock:
        with pytest.raises(RuntimeError, match="held already"):
            ManualClock()
        first = asyncio.ensure_future(clock.advance(1))
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="being advanced already"):
            await clock.advance(1)
        await first
        assert clock.now == 1


@pytest.mark.asyncio
async def test_a_released_clock_cannot_be_advanced() -> None:
    clock = ManualClock()
    going = asyncio.ensure_future(clock.advance(1))
    await asyncio.sleep(0)
    clock.release()
    with pytest.raises(RuntimeError, match="was released before"):
        await going
    with pytest.raises(RuntimeError, match="has been released"):
        await clock.advance(1)


@pytest.mark.asyncio
async def test_an_advance_that_was_cancelled_leaves_the_clock_where_it_was() -> None:
    with ManualClock() as clock:
        task = asyncio.ensure_future(clock.advance(1))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        assert clock.now == 0
        await clock.advance(2)
        assert clock.now == 2
