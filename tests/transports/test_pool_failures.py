"""A pool whose factory, checks and closes fail, hang, resist, or come too late."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.cast import Gate, Recorder, settle
from tests.transports.pool_stage import Notes, Server, Wire, fixed, outcome
from understudy import ActorSystem
from understudy.transports import AsyncTransportPool, PoolInstrument, PoolSettings, PoolTimeout
from understudy.transports._pool_backoff import Backoff, default_wait


def now() -> float:
    return asyncio.get_running_loop().time()


def doubling(state: Any) -> float:
    """1, 2, 4, ... seconds."""
    return float(2 ** (state.attempt_number - 1))


async def numbers(pool: AsyncTransportPool[Wire], timeout: float) -> int:
    async with pool.acquire(timeout=timeout) as wire:
        return wire.number


# Connecting


@pytest.mark.asyncio
async def test_a_factory_that_fails_is_tried_again_one_at_a_time_with_growing_delays() -> None:
    server, notes = Server(), Notes()
    server.fail = error = OSError("nobody there")
    server.gate = Gate()
    async with server.pool(max_size=5, backoff=doubling, instruments=[notes], name="db") as pool:
        waiters = [asyncio.ensure_future(numbers(pool, 60.0)) for _ in range(3)]
        await server.gate.reached(3)
        server.gate.open()
        await settle()
        # They have failed together, which counts once.
        assert server.attempts == [0.0] * 3
        assert notes.of("connect_failed") == [("db", error, 1, 1.0), ("db", error, 1, None), ("db", error, 1, None)]
        assert pool.statistics().retry_in == pytest.approx(1.0, abs=0.01)
        await asyncio.sleep(8.0)
        assert server.attempts[3:] == [1.0, 3.0, 7.0]
        server.fail = None
        assert {await waiter for waiter in waiters} <= {1, 2, 3}
        assert server.attempts[6] == 15.0
        await settle()
        assert pool.statistics().connect_failures == 6
        assert (pool.statistics().retry_in, pool._engine._backoff.attempts) == (None, 0)


@pytest.mark.asyncio
async def test_who_waits_in_vain_learns_why() -> None:
    server = Server()
    server.fail = error = OSError("nobody there")
    async with server.pool(name="db", backoff=fixed(1.0)) as pool:
        with pytest.raises(PoolTimeout) as caught:
            await pool.acquire(timeout=2.5)
        assert caught.value.__cause__ is error
        assert error.__traceback__ is None
        assert str(caught.value) == (
            "pool 'db' had no connection within 2.5 s (0 of 10; 0 others wait): last failure: OSError: nobody there"
        )
        server.fail = None
        assert await numbers(pool, 2.0) == 1
        async with pool.acquire():
            pool.resize(1)
            with pytest.raises(PoolTimeout, match="release sooner"):  # that is long ago
                await pool.acquire(timeout=1.0)


@pytest.mark.asyncio
async def test_the_last_failure_keeps_nothing_alive_of_what_its_cause_had_in_hand() -> None:
    server = Server()
    server.fail = error = OSError("nobody there")
    try:
        raise ValueError("the name has no address")
    except ValueError as cause:
        error.__cause__ = cause
    async with server.pool(backoff=fixed(1.0)) as pool:
        with pytest.raises(PoolTimeout):
            await pool.acquire(timeout=0.5)
        assert error.__cause__.__traceback__ is None


@pytest.mark.asyncio
async def test_a_factory_that_hangs_is_cancelled_in_time() -> None:
    server, notes = Server(), Notes()
    server.gate = Gate()
    async with server.pool(connect_timeout=2.0, backoff=fixed(1.0), instruments=[notes]) as pool:
        waiter = asyncio.ensure_future(numbers(pool, 30.0))
        await asyncio.sleep(2.5)
        assert (server.connecting, pool.statistics().size) == (0, 0)
        (failed,) = notes.of("connect_failed")
        assert repr(failed[1]) == "TimeoutError('pool:pool:connect did not end within 2 s')"
        server.gate.open()
        assert await waiter == 1
        assert server.attempts == pytest.approx([0.0, 3.0], abs=0.01)


@pytest.mark.asyncio
async def test_a_factory_that_resists_is_abandoned_and_what_comes_late_is_closed_at_once() -> None:
    server, notes = Server(), Notes()
    server.gate = gate = Gate()
    server.stubborn = True
    settings: dict[str, Any] = {"connect_timeout": 2.0, "abandon_after": 1.0, "cancel_interval": 0.25}
    async with server.pool(max_size=1, backoff=fixed(1.0), instruments=[notes], name="db", **settings) as pool:
        waiter = asyncio.ensure_future(numbers(pool, 30.0))
        await asyncio.sleep(2.9)
        assert (pool.statistics().connecting, pool.statistics().abandoned) == (1, 0)
        await asyncio.sleep(0.2)
        assert (pool.statistics().connecting, pool.statistics().abandoned) == (0, 1)
        ((_, task, stack),) = notes.of("abandoned")
        assert task == "pool:db:connect"
        assert any("in hold" in line for line in stack)
        server.gate = None
        assert await waiter == 1
        assert now() == pytest.approx(4.0, abs=0.01)

        gate.open()
        await settle()
        assert [wire.closes for wire in server.wires] == [0, 1]
        assert pool.statistics().closed_by == {"late": 1}
        assert pool.statistics().size == 1


@pytest.mark.asyncio
async def test_what_comes_about_after_the_close_is_closed_at_once() -> None:
    server = Server()
    server.gate = gate = Gate()
    server.stubborn = True
    pool = server.pool(connect_timeout=2.0)
    waiter = asyncio.ensure_future(outcome(pool.acquire()))
    await server.gate.reached()
    await pool.close()
    assert now() == pytest.approx(1.0, abs=0.01)  # until it was abandoned
    assert waiter.done()
    gate.open()
    await settle()
    assert [wire.closes for wire in server.wires] == [1]
    assert pool.closed


@pytest.mark.asyncio
async def test_what_comes_about_in_spite_of_its_cancellation_is_closed_before_the_close_returns() -> None:
    server = Server()

    async def connect() -> Wire:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return await server.connect()
        raise AssertionError

    pool = AsyncTransportPool(connect, close=server.close)
    waiter = asyncio.ensure_future(outcome(pool.acquire()))
    await settle()
    await pool.close()
    assert [wire.closes for wire in server.wires] == [1]
    assert waiter.done()
    assert pool.statistics().closed_by == {"closed": 1}


@pytest.mark.asyncio
async def test_a_future_that_has_its_connection_in_the_tick_of_the_cancel_loses_it_not() -> None:
    server = Server()
    made: list[asyncio.Future[Wire]] = []

    def connect() -> asyncio.Future[Wire]:
        made.append(asyncio.get_running_loop().create_future())
        return made[0]

    pool = AsyncTransportPool(connect, close=server.close)
    waiter = asyncio.ensure_future(outcome(pool.acquire()))
    await settle()
    made[0].set_result(wire := Wire(1))
    await pool.close()
    assert wire.closes == 1
    assert waiter.done()


@pytest.mark.asyncio
@pytest.mark.parametrize("error", [SystemExit(3), asyncio.CancelledError(), MemoryError(), StopIteration()])
async def test_whatever_a_factory_raises_is_a_failure_of_that_attempt(error: BaseException) -> None:
    failures = [error]

    async def connect() -> Wire:
        if failures:
            raise failures.pop()
        return Wire(1)

    async with AsyncTransportPool(connect, close=lambda _: None, backoff=fixed(1.0)) as pool:
        assert await numbers(pool, 10.0) == 1
        assert now() == pytest.approx(1.0, abs=0.01)
        assert pool.statistics().connect_failures == 1


@pytest.mark.asyncio
async def test_without_any_delay_the_event_loop_still_turns() -> None:
    server = Server()
    server.fail = OSError()
    async with server.pool(backoff=fixed(0.0)) as pool:
        waiter = asyncio.ensure_future(numbers(pool, 10.0))
        for _ in range(20):
            await asyncio.sleep(0)
        server.fail = None
        assert await waiter == 1
        assert 3 < len(server.attempts) < 25


# What breaks


@pytest.mark.asyncio
async def test_one_that_breaks_young_is_replaced_under_back_off_and_an_old_one_at_once() -> None:
    server = Server()
    async with server.pool(max_size=1, backoff=doubling) as pool:
        reset_after = pool._engine._backoff.reset_after
        for delay in (1.0, 2.0, 4.0):
            (await pool.acquire(timeout=100.0)).release(broken=True)
            start = now()
            lease = await pool.acquire(timeout=100.0)
            assert now() - start == pytest.approx(delay, abs=0.01)
            lease.release(broken=True) if delay == 1.0 else None
            if delay == 1.0:
                lease = await pool.acquire(timeout=100.0)
                assert now() - start == pytest.approx(3.0, abs=0.01)
                # One that works is success: the delays begin anew.
                lease.release()
                lease = await pool.acquire()
                break
        await asyncio.sleep(reset_after)
        lease.release(broken=True)
        start = now()
        assert await numbers(pool, 1.0) == 4
        assert now() == start


@pytest.mark.asyncio
async def test_many_that_break_together_count_once() -> None:
    server = Server()
    async with server.pool(max_size=8, backoff=doubling) as pool:
        leases = [await pool.acquire() for _ in range(8)]
        for lease in leases:
            lease.release(broken=True)
        assert pool.statistics().retry_in == pytest.approx(1.0, abs=0.01)
        assert pool._engine._backoff.attempts == 1


@pytest.mark.asyncio
async def test_a_bug_of_a_borrower_does_not_hold_up_others() -> None:
    async with Server().pool(max_size=1, backoff=doubling) as pool:
        for _ in range(5):
            with pytest.raises(KeyError):
                async with pool.acquire(timeout=0.5):
                    raise KeyError
        assert now() == pytest.approx(0.0, abs=0.01)
        with pytest.raises(ConnectionResetError):
            async with pool.acquire():
                raise ConnectionResetError
        assert pool.statistics().retry_in == pytest.approx(1.0, abs=0.01)


def test_the_default_back_off_has_jitter_and_a_cap() -> None:
    backoff = Backoff(default_wait())
    delays: list[float] = []
    for number in range(10_000):
        delay = backoff.failed(number)
        assert delay is not None
        delays.append(delay)
    assert max(delays) <= 30.0
    assert delays[0] <= 0.1
    assert len({round(delay, 6) for delay in delays[100:200]}) > 90
    assert backoff.failed(5) is None
    backoff.succeeded(5)
    assert backoff.attempts == 10_000
    backoff.succeeded(10_000)
    assert backoff.attempts == 0


# Checking


@pytest.mark.asyncio
@pytest.mark.parametrize("how", ["raises", "hangs", "resists"])
async def test_a_check_that_raises_or_does_not_end_has_failed(how: str) -> None:
    notes = Notes()
    stubborn = asyncio.Event()

    async def check(wire: Wire) -> bool:
        if how == "raises":
            raise ConnectionResetError("gone")
        while not stubborn.is_set():
            try:
                await stubborn.wait()
            except asyncio.CancelledError:
                if how == "hangs":
                    raise
        return True

    server = Server()
    settings = PoolSettings(check_after=0.0, check_timeout=2.0, max_size=1)
    async with AsyncTransportPool(
        server.connect, close=server.close, check=check, settings=settings, instruments=[notes], backoff=fixed(0.5)
    ) as pool:
        (await pool.acquire()).release()
        assert await numbers(pool, 30.0) == 2
        assert now() == pytest.approx({"raises": 0.5, "hangs": 2.0, "resists": 3.0}[how], abs=0.01)
        ((_, number, error),) = notes.of("check_failed")
        assert number == 1
        assert type(error) is (ConnectionResetError if how == "raises" else TimeoutError)
        assert [wire.closes for wire in server.wires] == [1, 0]
        stubborn.set()


# Closing


@pytest.mark.asyncio
async def test_a_close_that_raises_is_counted_and_told_and_that_is_all() -> None:
    server, notes = Server(), Notes()
    server.close_error = error = OSError("no goodbye")
    async with server.pool(max_size=2, instruments=[notes], name="db") as pool:
        await numbers(pool, 1.0)
    assert notes.of("closed") == [("db", 1, "closed", error)]
    assert pool.statistics().close_failures == 1


@pytest.mark.asyncio
@pytest.mark.parametrize("resists", [False, True])
async def test_a_close_that_does_not_end_is_let_go(resists: bool) -> None:
    server, notes = Server(), Notes()
    server.close_gate = Gate()
    server.stubborn = resists
    pool = server.pool(max_size=1, close_timeout=2.0, instruments=[notes])
    (await pool.acquire()).release()
    await pool.close()
    assert now() == pytest.approx(3.0 if resists else 2.0, abs=0.01)
    assert (pool.closed, pool.statistics().abandoned, pool.statistics().close_failures) == (True, int(resists), 1)
    ((_, number, reason, error),) = notes.of("closed")
    assert (number, reason, type(error)) == (1, "closed", TimeoutError)
    server.close_gate.open()
    await settle()


@pytest.mark.asyncio
async def test_a_connection_counts_until_it_is_closed() -> None:
    server = Server()
    server.close_gate = Gate()
    async with server.pool(max_size=1) as pool:
        (await pool.acquire()).release(broken=True)
        waiter = asyncio.ensure_future(numbers(pool, 100.0))
        await asyncio.sleep(1.0)
        assert (pool.statistics().closing, len(server.attempts)) == (1, 1)
        server.close_gate.open()
        assert await waiter == 2


@pytest.mark.asyncio
async def test_what_a_cancel_reaches_before_its_first_step_is_cleaned_up() -> None:
    server = Server()
    pool = server.pool()
    waiter = asyncio.ensure_future(outcome(pool.acquire()))
    await asyncio.sleep(0)  # on 3.11 the task that connects has not begun
    pool._engine.shut(0.0)
    await pool.close()
    assert await waiter is not None
    assert server.open == []
    assert pool.statistics().size == 0


# Who listens


@pytest.mark.asyncio
@pytest.mark.leaks("exceptions")
async def test_an_instrument_that_raises_is_reported_and_changes_nothing() -> None:
    class Broken(PoolInstrument):
        def connected(self, pool: str, connection: int, seconds: float) -> None:
            raise KeyError(connection)

    told: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context["message"]))
    notes = Notes()
    async with Server().pool(instruments=[Broken(), notes]) as pool:
        assert await numbers(pool, 1.0) == 1
    assert told == [f"understudy: {Broken.__qualname__}.connected raised"]
    assert notes.of("connected") == [("pool", 1, 0.0)]


@pytest.mark.asyncio
async def test_an_instrument_hears_of_everything_once() -> None:
    notes, silent = Notes(), PoolInstrument()
    server = Server()
    async with server.pool(max_size=1, instruments=[notes, silent]) as pool:
        lease = await pool.acquire()
        error = None
        try:
            await pool.acquire(timeout=1.0)
        except PoolTimeout as timeout:
            error = timeout
        lease.release(broken=True)
    assert [each[0] for each in notes.heard] == ["connected", "acquired", "acquire_timed_out", "released", "closed"]
    assert notes.of("acquire_timed_out") == [("pool", error)]
    assert notes.of("released") == [("pool", 1, True)]
    assert notes.of("closed") == [("pool", 1, "broken", None)]


@pytest.mark.asyncio
async def test_in_a_system_the_tasks_are_the_system_s_and_it_hears_of_the_abandoned() -> None:
    recorder, server = Recorder(), Server()
    server.gate = gate = Gate()
    server.stubborn = True
    async with ActorSystem(instruments=[recorder]) as system:
        pool = server.pool(system=system, name="db", connect_timeout=1.0)
        waiter = asyncio.ensure_future(outcome(pool.acquire(timeout=1.5)))
        await server.gate.reached()
        assert "pool:db:connect" in [task.get_name() for task in system._running().env.tasks]
        assert await waiter is PoolTimeout
        await pool.close()
        assert [path for path, _ in recorder.of("abandoned")] == ["pool:db:connect"]
        assert system._running().env.tasks.abandoned == ["pool:db:connect"]
        gate.open()
        await settle()
    assert server.open == []
