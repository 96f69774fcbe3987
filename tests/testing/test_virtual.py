from __future__ import annotations

import asyncio
import os
import pickle
import signal
import threading
import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from understudy.testing._errors import DeadlockError
from understudy.testing._virtual import RealTimeError, VirtualLoop, loop_factories


def virtual() -> VirtualLoop:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    return loop


def run(main: object) -> object:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)  # type: ignore[arg-type]


@pytest.mark.asyncio
async def test_an_hour_takes_no_time() -> None:
    began = time.perf_counter()
    await asyncio.sleep(3600)
    assert virtual().time() == 3600
    assert time.perf_counter() - began < 5


@pytest.mark.asyncio
async def test_the_clock_stands_still_while_anything_is_ready() -> None:
    loop = virtual()
    for _ in range(1000):
        await asyncio.sleep(0)
    assert loop.time() == 0


@pytest.mark.asyncio
async def test_timers_fire_in_the_order_of_their_deadlines_each_at_its_own_time() -> None:
    loop = virtual()
    fired: list[float] = []
    for delay in (0.3, 0.1, 86_400.0 * 3, 0.2, 1e-12):
        loop.call_later(delay, lambda: fired.append(loop.time()))
    await asyncio.sleep(86_400 * 4)
    assert fired == [1e-12, 0.1, 0.2, 0.3, 86_400 * 3]


@pytest.mark.asyncio
async def test_a_cancelled_timer_does_not_move_the_clock() -> None:
    loop = virtual()
    loop.call_later(5, lambda: None).cancel()
    await asyncio.sleep(7)
    assert loop.time() == 7


@pytest.mark.asyncio
async def test_timers_are_due_even_when_the_clock_has_lost_its_resolution() -> None:
    await asyncio.sleep(1e9)
    await asyncio.sleep(0.5)
    assert virtual().time() == pytest.approx(1e9 + 0.5)


@pytest.mark.asyncio
async def test_a_timeout_fires_without_waiting() -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(60):
            await asyncio.get_running_loop().create_future()
    assert virtual().time() == 60


@pytest.mark.real_time
@pytest.mark.asyncio
async def test_a_test_marked_real_time_has_an_ordinary_loop() -> None:
    loop = asyncio.get_running_loop()
    assert not isinstance(loop, VirtualLoop)
    began = time.perf_counter()
    await asyncio.sleep(0.02)
    assert time.perf_counter() - began >= 0.01


@pytest_asyncio.fixture
async def started() -> AsyncIterator[asyncio.AbstractEventLoop]:
    await asyncio.sleep(1)
    yield asyncio.get_running_loop()
    await asyncio.sleep(1)


@pytest.mark.asyncio
async def test_async_fixtures_share_the_loop_of_the_test(started: asyncio.AbstractEventLoop) -> None:
    assert started is virtual()
    assert started.time() == 1


# What is outside the loop.


@pytest.mark.asyncio
async def test_a_job_in_an_executor_takes_no_virtual_time() -> None:
    async with asyncio.timeout(30):
        await asyncio.to_thread(time.sleep, 0.05)
    assert virtual().time() == 0


@pytest.mark.asyncio
async def test_a_job_that_outlasts_the_next_timer_does_not_hold_it_up() -> None:
    gate = threading.Event()
    job = asyncio.ensure_future(asyncio.to_thread(gate.wait))
    await asyncio.sleep(0.05)
    assert virtual().time() == 0.05
    assert not job.done()
    gate.set()
    assert await job


@pytest.mark.asyncio
async def test_the_loop_waits_for_a_thread_that_was_announced() -> None:
    loop = virtual()
    told = loop.create_future()

    def work() -> None:
        time.sleep(0.05)
        loop.call_soon_threadsafe(told.set_result, "done")

    thread = threading.Thread(target=work)
    with loop.outside():
        thread.start()
        async with asyncio.timeout(30):
            assert await told == "done"
    thread.join()
    assert loop.time() == 0


@pytest.mark.asyncio
async def test_a_thread_that_was_not_announced_still_wakes_a_loop_without_timers() -> None:
    loop = virtual()
    told = loop.create_future()
    thread = threading.Timer(0.05, loop.call_soon_threadsafe, (told.set_result, None))
    thread.start()
    await told
    thread.join()


@pytest.mark.asyncio
async def test_descriptors_that_are_ready_come_before_the_next_timer() -> None:
    loop = virtual()

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readline())
        writer.close()
        await writer.wait_closed()
        closed.set()

    closed = asyncio.Event()
    async with await asyncio.start_server(echo, "127.0.0.1", 0) as server:
        with loop.outside():
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            async with asyncio.timeout(30):
                writer.write(b"hello\n")
                assert await reader.readline() == b"hello\n"
            writer.close()
            await writer.wait_closed()
            await closed.wait()
    assert loop.time() == 0


@pytest.mark.asyncio
async def test_a_signal_wakes_the_loop() -> None:
    loop = virtual()
    came = asyncio.Event()
    loop.add_signal_handler(signal.SIGUSR1, came.set)
    try:
        os.kill(os.getpid(), signal.SIGUSR1)
        await came.wait()
    finally:
        loop.remove_signal_handler(signal.SIGUSR1)


# Where real time would pass.


def test_a_real_sleep_in_the_loop_is_an_error_that_names_the_line_and_the_remedy() -> None:
    async def main() -> None:
        time.sleep(5)  # noqa: ASYNC251

    line = main.__code__.co_firstlineno + 1
    with pytest.raises(
        RealTimeError, match=rf"time.sleep\(5\) at .*test_virtual.py:{line}: .*asyncio.sleep.*real_time"
    ):
        run(main())


def test_a_real_sleep_in_a_callback_is_an_error_of_the_run_although_nobody_saw_it() -> None:
    async def main() -> str:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda loop, context: None)
        loop.call_soon(time.sleep, 5)
        await asyncio.sleep(1)
        return "as if nothing had been"

    with pytest.raises(RealTimeError):
        run(main())


def test_a_real_sleep_that_was_swallowed_is_told_beside_the_error_that_came_of_it() -> None:
    async def main() -> None:
        try:
            time.sleep(5)  # noqa: ASYNC251
        except AssertionError:
            raise KeyError("itself") from None

    with pytest.raises(KeyError) as caught:
        run(main())
    assert "time.sleep(5)" in "".join(caught.value.__notes__)


def test_an_error_of_one_run_is_no_error_of_the_next() -> None:
    async def sleepy() -> None:
        time.sleep(5)  # noqa: ASYNC251

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        with pytest.raises(RealTimeError):
            runner.run(sleepy())
        assert runner.run(asyncio.sleep(1, "done")) == "done"


@pytest.mark.asyncio
async def test_a_sleep_of_no_time_passes() -> None:
    time.sleep(0)  # noqa: ASYNC251


def test_other_threads_other_loops_and_what_comes_after_may_sleep() -> None:
    real = time.sleep

    async def main() -> None:
        assert time.sleep is not real
        await asyncio.to_thread(time.sleep, 0.001)
        await asyncio.to_thread(asyncio.run, ordinary())

    async def ordinary() -> None:
        time.sleep(0.001)  # noqa: ASYNC251

    run(main())
    assert time.sleep is real


def test_a_fake_sleep_that_a_test_had_put_there_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    fake = time.sleep

    async def main() -> None:
        await asyncio.to_thread(time.sleep, 1)

    run(main())
    assert slept == [1]
    assert time.sleep is fake


def test_an_error_about_sleeping_survives_a_copy() -> None:
    error = RealTimeError(5, "x.py:12")
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


class Item:
    def __init__(self, *markers: str) -> None:
        self.markers = markers

    def get_closest_marker(self, name: str) -> object | None:
        return name if name in self.markers else None


def test_the_factories_of_loops_go_by_the_marker() -> None:
    assert loop_factories(Item("asyncio")) == {"virtual": VirtualLoop}
    assert loop_factories(Item("asyncio", "real_time")) == {"real": asyncio.SelectorEventLoop}


# Where an ordinary loop would hang.


async def wait_for_nothing() -> None:
    await asyncio.get_running_loop().create_future()


def test_waiting_for_nothing_is_a_deadlock_that_says_who_waits_where() -> None:
    async def main() -> None:
        await asyncio.sleep(3)
        await wait_for_nothing()

    with pytest.raises(
        DeadlockError, match=r"at virtual time 3: .*waiting:\n  'Task-\d+' in wait_for_nothing \(.*\.py:\d+\)"
    ):
        run(main())


def test_a_timer_that_is_never_due_is_a_deadlock() -> None:
    async def main() -> None:
        await asyncio.sleep(float("inf"))

    with pytest.raises(DeadlockError):
        run(main())


def test_an_idle_executor_or_listener_delays_a_deadlock_but_does_not_hide_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(VirtualLoop, "patience", 0.05)

    async def main() -> None:
        await asyncio.to_thread(int)
        async with await asyncio.start_server(lambda r, w: None, "127.0.0.1", 0):
            await wait_for_nothing()

    with pytest.raises(DeadlockError):
        run(main())


def test_closing_a_loop_joins_its_executor() -> None:
    before = threading.active_count()
    run(asyncio.to_thread(int))
    assert threading.active_count() == before
