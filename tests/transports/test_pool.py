"""Borrowing from a pool: who gets what, and when; leases; where a pool can be used."""

from __future__ import annotations

import asyncio
import gc
import math
import sys
import threading
import warnings
from collections.abc import Coroutine
from typing import Any

import pytest

from tests.cast import Gate, in_a_fork, settle
from tests.transports.pool_stage import Notes, Server, Wire, outcome
from understudy import InvalidContext, InvalidSpec, InvalidTimeout
from understudy.transports import AsyncTransportPool, LeaseReleased, PoolClosed, PoolSettings, PoolTimeout


async def number_of(pool: AsyncTransportPool[Wire], **options: Any) -> int:
    async with pool.acquire(**options) as wire:
        return wire.number


@pytest.mark.asyncio
async def test_the_connection_that_was_used_last_is_lent_first() -> None:
    async with Server().pool() as pool:
        leases = [await pool.acquire() for _ in range(3)]
        for lease in (leases[1], leases[2], leases[0]):
            lease.release()
        assert [await number_of(pool) for _ in range(2)] == [1, 1]
        one, other = await pool.acquire(), await pool.acquire()
        assert (one.number, other.number) == (1, 3)
        one.release()
        other.release()


@pytest.mark.asyncio
async def test_a_lease_gives_its_connection_until_it_is_released() -> None:
    server = Server()
    async with server.pool(name="db") as pool:
        lease = await pool.acquire()
        assert lease.connection is server.wires[0]
        assert repr(lease) == "<Lease of connection 1 of pool 'db'>"
        assert repr(pool) == "<AsyncTransportPool 'db', open: 1 of 10, 0 idle, 1 leased, 0 wait>"
        lease.release()
        assert repr(lease) == "<Lease of connection 1 of pool 'db', released>"
        with pytest.raises(LeaseReleased, match="this lease of connection 1 of pool 'db' has been released"):
            _ = lease.connection


@pytest.mark.asyncio
async def test_nothing_happens_before_an_acquisition_is_awaited_or_entered() -> None:
    server = Server()
    async with server.pool() as pool:
        pool.acquire()
        await settle()
        assert server.attempts == []


@pytest.mark.asyncio
async def test_an_acquisition_cannot_be_entered_twice_at_a_time() -> None:
    async with Server().pool() as pool:
        acquisition = pool.acquire()
        async with acquisition:
            with pytest.raises(InvalidContext, match="call `acquire` again"):
                await acquisition.__aenter__()
        async with acquisition as wire:
            assert wire.number == 1
        assert pool.statistics().idle == 1


@pytest.mark.asyncio
@pytest.mark.parametrize("error", [ValueError("no"), ConnectionResetError(), asyncio.CancelledError(), SystemExit()])
async def test_what_leaves_the_block_as_an_exception_breaks_the_connection(error: BaseException) -> None:
    server = Server()
    async with server.pool() as pool:
        with pytest.raises(type(error)):
            async with pool.acquire():
                raise error
        await settle()
        assert [wire.closes for wire in server.wires] == [1]
        assert pool.statistics().closed_by == {"broken": 1}


@pytest.mark.asyncio
async def test_breaks_says_which_exceptions_break_it() -> None:
    server = Server()
    async with server.pool(breaks=lambda error: not isinstance(error, ValueError)) as pool:
        for error in (ValueError, KeyError):
            with pytest.raises(error):
                async with pool.acquire():
                    raise error
        await settle()
        assert server.wires[0].closes == 1
        assert pool.statistics().closed_by == {"broken": 1}
        assert len(server.wires) == 1


@pytest.mark.asyncio
@pytest.mark.leaks("exceptions")
async def test_a_breaks_that_raises_is_reported_and_the_connection_is_closed() -> None:
    def breaks(error: BaseException) -> bool:
        raise KeyError(error)

    told: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context["message"]))
    server = Server()
    async with server.pool(breaks=breaks) as pool:
        with pytest.raises(ValueError, match="mine"):
            async with pool.acquire():
                raise ValueError("mine")
    assert server.wires[0].closes == 1
    assert told == ["understudy: `breaks` of pool 'pool' raised"]


@pytest.mark.asyncio
async def test_functions_that_are_not_async_will_do() -> None:
    closed: list[int] = []
    async with AsyncTransportPool(lambda: 7, close=closed.append, check=lambda _: True) as pool:
        lease = await pool.acquire()
        assert lease.connection == 7
        lease.release()
    assert closed == [7]


def test_what_cannot_be_called_is_refused_when_the_pool_is_made() -> None:
    with pytest.raises(InvalidSpec, match=r"close must be a function, got None \(pool 'x'\)"):
        AsyncTransportPool(lambda: 7, close=None, name="x")


# Time


@pytest.mark.asyncio
async def test_a_timeout_of_zero_takes_what_is_there_and_begins_nothing() -> None:
    server = Server()
    async with server.pool() as pool:
        with pytest.raises(PoolTimeout, match=r"within 0 s \(0 of 10; 0 others wait\)"):
            await pool.acquire(timeout=0)
        await settle()
        assert server.attempts == []
        await number_of(pool)
        assert await number_of(pool, timeout=0) == 1


@pytest.mark.parametrize("timeout", [-1, math.nan, "1", True])
def test_a_bad_timeout_is_refused_by_the_call_itself(timeout: Any) -> None:
    with pytest.raises(InvalidTimeout):
        Server().pool().acquire(timeout=timeout)


@pytest.mark.asyncio
async def test_a_borrower_waits_as_long_as_it_says_or_as_the_settings_say() -> None:
    clock = asyncio.get_running_loop().time
    async with Server().pool(max_size=1, acquire_timeout=3.0) as pool, pool.acquire():
        for timeout, seconds in ((None, 3.0), (7.0, 7.0)):
            start = clock()
            with pytest.raises(PoolTimeout):
                await pool.acquire(timeout=timeout)
            assert clock() - start == pytest.approx(seconds)
        assert pool.statistics().timeouts == 2
        assert pool.statistics().waiters == 0


@pytest.mark.asyncio
async def test_infinity_waits_for_ever() -> None:
    async with Server().pool(max_size=1) as pool:
        lease = await pool.acquire()
        waiter = asyncio.ensure_future(number_of(pool, timeout=math.inf))
        await asyncio.sleep(1e7)
        assert not waiter.done()
        lease.release()
        assert await waiter == 1


@pytest.mark.asyncio
async def test_who_waited_counts_with_how_long() -> None:
    notes = Notes()
    async with Server().pool(max_size=1, instruments=[notes]) as pool:
        lease = await pool.acquire()
        waiter = asyncio.ensure_future(number_of(pool))
        await settle()
        assert pool.statistics().waiters == 1
        await asyncio.sleep(4.0)
        lease.release()
        await waiter
        now = pool.statistics()
        assert (now.acquired, now.waited, now.waiters) == (2, 2, 0)  # the first had to be made
        assert now.acquire_seconds == now.longest_acquire == pytest.approx(4.0, abs=0.01)
        assert now.mean_acquire == pytest.approx(2.0, abs=0.01)
        assert [waited for _, _, waited in notes.of("acquired")] == pytest.approx([0.0, 4.0], abs=0.01)
        assert notes.of("released") == [("pool", 1, False)] * 2


@pytest.mark.asyncio
async def test_a_timeout_of_zero_looks_past_what_is_too_old() -> None:
    async with Server().pool(max_lifetime=10.0, lifetime_jitter=0.0) as pool:
        old = await pool.acquire()
        await asyncio.sleep(5.0)
        young = await pool.acquire()
        young.release()
        old.release()
        pool._engine._look_at(1e9)  # as if the timer were late
        await asyncio.sleep(5.0)
        assert await number_of(pool, timeout=0) == 2
        assert pool.statistics().closed_by == {"lifetime": 1}


# In line


@pytest.mark.asyncio
async def test_nobody_overtakes_those_who_wait() -> None:
    async with Server().pool(max_size=1) as pool:
        order: list[str] = []

        async def borrow(name: str) -> None:
            async with pool.acquire():
                order.append(name)
                await asyncio.sleep(0)

        lease = await pool.acquire()
        first = asyncio.ensure_future(borrow("first"))
        await settle()
        lease.release()
        # It is promised to the first, who has not run yet.
        with pytest.raises(PoolTimeout):
            await pool.acquire(timeout=0)
        await asyncio.wait([first, asyncio.ensure_future(borrow("second"))])
        assert order == ["first", "second"]


@pytest.mark.asyncio
async def test_a_cancel_in_the_tick_of_the_release_gives_the_connection_to_the_next() -> None:
    async with Server().pool(max_size=1) as pool:
        lease = await pool.acquire()
        first, second = (asyncio.ensure_future(number_of(pool)) for _ in range(2))
        await settle()
        lease.release()
        first.cancel()
        assert await second == 1
        assert first.cancelled()
        assert (pool.statistics().idle, pool.statistics().size) == (1, 1)


@pytest.mark.asyncio
async def test_a_connection_that_nobody_waits_for_any_more_is_for_the_next() -> None:
    server = Server()
    server.gate = Gate()
    async with server.pool(max_size=1) as pool:
        borrower = asyncio.ensure_future(number_of(pool))
        await server.gate.reached()
        borrower.cancel()
        await asyncio.wait([borrower])
        other = asyncio.ensure_future(number_of(pool))
        server.gate.open()
        assert await other == 1
        assert len(server.attempts) == 1


@pytest.mark.asyncio
async def test_no_more_are_opened_than_borrowers_wait() -> None:
    server = Server()
    server.gate = Gate()
    async with server.pool(max_size=10) as pool:
        borrowers = [asyncio.ensure_future(number_of(pool)) for _ in range(3)]
        await settle()
        assert server.connecting == 3
        server.gate.open()
        await asyncio.wait(borrowers)
        assert len(server.attempts) == 3


def calls_of(work: Coroutine[Any, Any, None]) -> int:
    """How many calls of Python functions *work* makes, with all it sets going; a measure without a clock."""
    count = 0

    def note(frame: Any, event: str, argument: Any) -> None:
        nonlocal count
        count += event == "call"

    async def main() -> None:
        sys.setprofile(note)
        try:
            await work
        finally:
            sys.setprofile(None)

    asyncio.run(main())
    return count


async def a_crowd_that_gives_up(size: int) -> None:
    async with Server().pool(max_size=1) as pool:
        lease = await pool.acquire()
        crowd = [asyncio.ensure_future(number_of(pool)) for _ in range(size)]
        await asyncio.sleep(0)
        for each in crowd[::2]:
            each.cancel()
        await asyncio.sleep(0)
        for each in reversed(crowd):
            each.cancel()
        await asyncio.wait(crowd)
        lease.release()


async def a_crowd_that_is_served(size: int) -> None:
    async with Server().pool(max_size=3) as pool:
        await asyncio.wait([asyncio.ensure_future(number_of(pool)) for _ in range(size)])


@pytest.mark.parametrize("work", [a_crowd_that_gives_up, a_crowd_that_is_served])
def test_a_borrower_costs_the_same_in_any_crowd(work: Any) -> None:
    few, many = calls_of(work(100)), calls_of(work(800))
    assert 4 < many / few < 9


# Lost leases


@pytest.mark.asyncio
async def test_a_lease_that_is_collected_as_garbage_is_reported_and_its_place_is_free() -> None:
    notes, server = Notes(), Server()
    async with server.pool(max_size=1, instruments=[notes], name="db") as pool:
        lease = await pool.acquire()
        waiter = asyncio.ensure_future(number_of(pool))
        await settle()
        with pytest.warns(ResourceWarning, match="Lease of connection 1 of pool 'db'> was never released"):
            del lease
        assert await waiter == 2
        assert notes.of("lease_lost") == [("db", 1)]
        assert pool.statistics().closed_by == {"lost": 1}
        assert server.most == 1


@pytest.mark.asyncio
@pytest.mark.real_time
async def test_a_lease_may_be_collected_in_another_thread() -> None:
    async with Server().pool(max_size=1) as pool:
        held = [await pool.acquire()]

        def drop() -> None:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ResourceWarning)
                held.clear()
                gc.collect()

        thread = threading.Thread(target=drop)
        thread.start()
        assert await number_of(pool, timeout=5.0) == 2
        thread.join()


def test_a_lease_that_outlives_its_event_loop_is_reported_and_no_more() -> None:
    async def main() -> Any:
        return await Server().pool().acquire()

    with pytest.warns(ResourceWarning, match="was never released"):
        asyncio.run(main())


@pytest.mark.asyncio
async def test_a_task_that_is_closed_while_it_waits_leaves_the_line() -> None:
    async with Server().pool(max_size=1) as pool:
        lease = await pool.acquire()
        waiting = pool.acquire()._lend()
        waiting.send(None)
        assert pool.statistics().waiters == 1
        waiting.close()
        assert pool.statistics().waiters == 0
        lease.release()
        assert await number_of(pool) == 1


# Where


def test_a_pool_can_be_made_outside_of_any_event_loop_and_belongs_to_the_first() -> None:
    pool = Server().pool(name="db")

    async def use() -> int:
        return await number_of(pool)

    with pytest.raises(InvalidContext, match="pool 'db': used while no event loop runs"):
        pool.resize(3)
    assert asyncio.run(use()) == 1
    with pytest.raises(InvalidContext, match=r"after its event loop has been closed.*: make a pool there"):
        asyncio.run(use())


@pytest.mark.asyncio
@pytest.mark.real_time
async def test_a_pool_is_not_for_another_thread() -> None:
    async with Server().pool() as pool:
        lease = await pool.acquire()

        def elsewhere() -> list[object]:
            async def use() -> list[object]:
                return [await outcome(pool.acquire()), await outcome(pool.close()), await outcome(pool.drain())]

            told = asyncio.run(use())
            with pytest.raises(InvalidContext, match=r"in the thread .*: each event loop needs its own pool"):
                lease.release()
            with pytest.raises(InvalidContext):
                pool.resize(1)
            return told

        assert await asyncio.to_thread(elsewhere) == [InvalidContext] * 3
        assert (pool.statistics().leased, pool.statistics().state) == (1, "open")
        lease.release()


@pytest.mark.asyncio
async def test_a_fork_has_but_a_copy_of_a_pool() -> None:
    async with Server().pool(name="db") as pool:
        lease = await pool.acquire()
        told = in_a_fork([lease.release, lambda: pool.resize(1), lambda: asyncio.run(pool.close())])
        assert all("InvalidContext: pool 'db': used in a fork of the process" in each for each in told[:2])
        assert lease.connection.closes == 0
        lease.release()


@pytest.mark.asyncio
async def test_a_pool_that_is_closed_lends_nothing() -> None:
    pool = Server().pool(name="db")
    await pool.close()
    for use in (pool.acquire(), pool.open()):
        with pytest.raises(PoolClosed, match="pool 'db' is closed and lends no more connections: make another pool"):
            await use
    with pytest.raises(PoolClosed):
        pool.resize(3)
    assert pool.closed


# Settings


def test_settings_are_checked() -> None:
    for name, value in {"max_size": 0, "min_idle": -1, "connect_timeout": math.inf, "lifetime_jitter": 1.5}.items():
        with pytest.raises(ValueError, match=name):
            PoolSettings(**{name: value})
    for name in ("acquire_timeout", "check_after", "grace"):
        with pytest.raises(ValueError, match=name):
            PoolSettings(**{name: math.nan})
    with pytest.raises(ValueError, match=r"min_idle \(3\) must not be more than max_size \(2\)"):
        PoolSettings(max_size=2, min_idle=3)
    with pytest.raises(ValueError, match="maximum"):
        PoolSettings(maximum=3)
    with pytest.raises(ValueError, match="frozen"):
        PoolSettings().max_size = 3


def test_settings_are_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNDERSTUDY_POOL_MAX_SIZE", "20")
    monkeypatch.setenv("understudy_pool_max_lifetime", "inf")
    monkeypatch.setenv("DB_MIN_IDLE", "2")
    settings = PoolSettings.from_environment(grace=1.0)
    assert type(settings) is PoolSettings
    assert settings == PoolSettings(max_size=20, max_lifetime=math.inf, grace=1.0)
    assert PoolSettings.from_environment("DB_") == PoolSettings(min_idle=2)
    assert PoolSettings.from_environment(max_size=3).max_size == 3
    monkeypatch.setenv("UNDERSTUDY_POOL_MAX_SIZE", "many")
    with pytest.raises(ValueError, match=r"(?s)max_size.*valid integer"):
        PoolSettings.from_environment()


def test_without_the_extra_one_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pydantic_settings", None)
    with pytest.raises(
        ImportError, match=r'from_environment needs pydantic-settings: pip install "understudy\[settings\]"'
    ):
        PoolSettings.from_environment()
    assert PoolSettings().max_size == 10
