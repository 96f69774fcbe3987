"""The life of a pool: opening, growing old, resizing, draining, closing."""

from __future__ import annotations

import asyncio
import math

import pytest

from tests.cast import Gate, settle
from tests.transports.pool_stage import Notes, Server, Wire, fixed, outcome
from understudy.transports import AsyncTransportPool, Lease, PoolClosed, PoolSettings, PoolTimeout


def now() -> float:
    return asyncio.get_running_loop().time()


def timers() -> int:
    """How many timers are set."""
    loop = asyncio.get_running_loop()
    return sum(not timer.cancelled() for timer in loop._scheduled)


async def lent(pool: AsyncTransportPool[Wire], count: int) -> list[Lease[Wire]]:
    return [await pool.acquire() for _ in range(count)]


def give_back(leases: list[Lease[Wire]]) -> None:
    for lease in leases:
        lease.release()


# Opening


@pytest.mark.asyncio
async def test_opening_waits_for_the_connections_that_are_to_be_ready() -> None:
    server = Server()
    server.gate = Gate()
    pool = server.pool(max_size=5, min_idle=3)
    opening = asyncio.ensure_future(pool.open())
    await server.gate.reached(3)
    assert not opening.done()
    server.gate.open()
    await opening
    assert pool.statistics().idle == 3
    assert len(server.attempts) == 3
    await pool.open()  # they are there
    await pool.close()


@pytest.mark.asyncio
async def test_without_being_opened_a_pool_is_set_going_by_its_first_borrower() -> None:
    server = Server()
    pool = server.pool(max_size=5, min_idle=2)
    assert server.attempts == []
    (lease,) = await lent(pool, 1)
    await settle()
    assert (pool.statistics().idle, pool.statistics().leased) == (2, 1)
    more = await lent(pool, 3)
    await settle()
    assert (pool.statistics().idle, pool.statistics().leased) == (1, 4)  # as far as there is room
    give_back([lease, *more])
    await pool.close()


@pytest.mark.asyncio
async def test_a_pool_that_cannot_be_opened_in_time_is_closed() -> None:
    server = Server()
    server.fail = OSError("nobody there")
    pool = server.pool(min_idle=1, name="db", backoff=fixed(4.0))
    with pytest.raises(PoolTimeout, match="last failure: OSError: nobody there"):
        async with pool:
            raise AssertionError("never entered")
    assert pool.closed
    assert now() == pytest.approx(30.0)
    assert len(server.attempts) == 8


@pytest.mark.asyncio
async def test_a_pool_whose_opening_is_cancelled_is_closed() -> None:
    server = Server()
    server.gate = Gate()
    pool = server.pool(min_idle=2)
    opening = asyncio.ensure_future(pool.open())
    await server.gate.reached(2)
    opening.cancel()
    await asyncio.wait([opening])
    assert opening.cancelled()
    assert (pool.closed, server.connecting, server.wires) == (True, 0, [])


@pytest.mark.asyncio
async def test_a_pool_that_is_closed_while_it_is_opened_says_so() -> None:
    server = Server()
    server.gate = Gate()
    pool = server.pool(min_idle=2)
    opening = asyncio.ensure_future(outcome(pool.open()))
    await server.gate.reached(2)
    await pool.close()
    assert await opening is PoolClosed


# Growing old


@pytest.mark.asyncio
async def test_a_pool_with_nothing_to_do_has_no_task_and_no_timer() -> None:
    server = Server()
    before = asyncio.all_tasks()
    async with server.pool(max_size=3) as pool:
        give_back(await lent(pool, 3))
        assert (asyncio.all_tasks(), timers()) == (before, 0)
    async with server.pool(max_size=3, idle_timeout=10.0) as pool:
        leases = await lent(pool, 3)
        assert (asyncio.all_tasks(), timers()) == (before, 0)  # none is idle
        give_back(leases)
        assert (asyncio.all_tasks(), timers()) == (before, 1)
        await asyncio.sleep(10.0)
        assert (asyncio.all_tasks(), timers()) == (before, 0)
        assert pool.statistics().size == 0


@pytest.mark.asyncio
async def test_what_is_idle_for_too_long_is_closed_but_for_the_last_few() -> None:
    notes = Notes()
    async with Server().pool(max_size=4, min_idle=1, idle_timeout=10.0, instruments=[notes]) as pool:
        leases = await lent(pool, 4)
        for lease in leases:
            lease.release()
            await asyncio.sleep(1.0)
        await asyncio.sleep(7.5)  # the second is idle for more than 10 s
        assert [number for _, number, *_ in notes.of("closed")] == [1, 2]
        await asyncio.sleep(100.0)
        assert pool.statistics().closed_by == {"idle": 3}
        assert pool.statistics().idle == 1


@pytest.mark.asyncio
async def test_what_is_used_now_and_then_is_not_idle() -> None:
    async with Server().pool(idle_timeout=10.0) as pool:
        for _ in range(10):
            async with pool.acquire() as wire:
                assert wire.number == 1
            await asyncio.sleep(9.0)
        assert pool.statistics().idle == 1


@pytest.mark.asyncio
async def test_what_was_spared_goes_when_there_is_another() -> None:
    async with Server().pool(max_size=2, min_idle=1, idle_timeout=10.0) as pool:
        (one, other) = await lent(pool, 2)
        one.release()
        await asyncio.sleep(50.0)
        assert pool.statistics().idle == 1
        other.release()
        await settle()
        assert pool.statistics().closed_by == {"idle": 1}
        assert other.number == 2


@pytest.mark.asyncio
async def test_what_has_lived_for_too_long_is_closed_when_it_is_not_lent() -> None:
    server = Server()
    async with server.pool(max_size=2, max_lifetime=100.0, lifetime_jitter=0.0) as pool:
        one, other = await lent(pool, 2)
        one.release()
        await asyncio.sleep(99.0)
        assert server.open == server.wires
        await asyncio.sleep(51.0)
        assert [wire.closes for wire in server.wires] == [1, 0]
        other.release()
        await settle()
        assert [wire.closes for wire in server.wires] == [1, 1]
        assert pool.statistics().closed_by == {"lifetime": 2}


@pytest.mark.asyncio
async def test_what_comes_back_too_old_is_not_for_who_waits() -> None:
    async with Server().pool(max_size=1, max_lifetime=100.0, lifetime_jitter=0.0) as pool:
        (lease,) = await lent(pool, 1)
        waiter = asyncio.ensure_future(pool.acquire(timeout=200.0)._lend())
        await asyncio.sleep(100.0)
        lease.release()
        other = await waiter
        assert other.number == 2
        other.release()


@pytest.mark.asyncio
async def test_lifetimes_differ_by_chance() -> None:
    notes = Notes()
    ends: list[float] = []
    async with Server().pool(max_size=20, max_lifetime=100.0, lifetime_jitter=0.5, instruments=[notes]) as pool:
        give_back(await lent(pool, 20))
        for _ in range(101):
            ends += [now()] * (len(notes.of("closed")) - len(ends))
            await asyncio.sleep(1.0)
        assert pool.statistics().closed_by == {"lifetime": 20}
    assert len(set(ends)) > 5
    assert min(ends) > 50.0
    assert max(ends) <= 101.0


@pytest.mark.asyncio
async def test_only_what_was_not_seen_in_order_for_a_while_is_checked_before_it_is_lent() -> None:
    server = Server()
    async with server.pool(checked=True, check_after=5.0) as pool:
        give_back(await lent(pool, 1))
        await asyncio.sleep(4.9)
        give_back(await lent(pool, 1))
        assert server.checked == []
        await asyncio.sleep(5.0)
        give_back(await lent(pool, 1))
        assert server.checked == [1]
        assert len(server.wires) == 1


@pytest.mark.asyncio
async def test_what_fails_its_check_is_closed_and_the_borrower_gets_another() -> None:
    server, notes = Server(), Notes()
    async with server.pool(checked=True, check_after=5.0, instruments=[notes], backoff=fixed(1.0)) as pool:
        give_back(await lent(pool, 2))
        await asyncio.sleep(5.0)
        server.wires[1].well = False
        async with pool.acquire(timeout=3.0) as wire:
            assert wire.number == 1
        assert server.checked == [2, 1]
        assert notes.of("check_failed") == [("pool", 2, None)]
        assert pool.statistics().closed_by == {"unhealthy": 1}
        assert pool.statistics().check_failures == 1


@pytest.mark.asyncio
async def test_what_is_idle_is_checked_in_the_background() -> None:
    server = Server()
    async with server.pool(checked=True, check_interval=10.0, max_size=3, min_idle=2, backoff=fixed(1.0)) as pool:
        leases = sorted(await lent(pool, 3), key=lambda lease: lease.number)
        leases[0].release()
        await asyncio.sleep(9.0)
        leases[1].release()
        await asyncio.sleep(2.0)
        assert server.checked == [1]
        await asyncio.sleep(8.0)
        assert server.checked == [1, 2]
        server.wires[0].well = False
        await asyncio.sleep(2.0)
        assert pool.statistics().closed_by == {"unhealthy": 1}
        await asyncio.sleep(1.0)
        assert (pool.statistics().idle, pool.statistics().leased) == (2, 1)  # it was replaced
        leases[2].release()


@pytest.mark.asyncio
async def test_who_waits_gets_what_was_being_checked_in_the_background() -> None:
    server = Server()
    async with server.pool(checked=True, check_interval=10.0, max_size=1) as pool:
        give_back(await lent(pool, 1))
        server.check_gate = Gate()
        await asyncio.sleep(10.0)
        waiter = asyncio.ensure_future(lent(pool, 1))
        await settle()
        assert (pool.statistics().checking, pool.statistics().waiters) == (1, 1)
        server.check_gate.open()
        give_back(await waiter)
        assert len(server.wires) == 1


# Resizing


@pytest.mark.asyncio
async def test_a_larger_pool_serves_those_who_wait() -> None:
    async with Server().pool(max_size=1) as pool:
        (lease,) = await lent(pool, 1)
        waiters = [asyncio.ensure_future(lent(pool, 1)) for _ in range(3)]
        await settle()
        pool.resize(3)
        assert pool.settings.max_size == 3
        await settle()
        assert [waiter.done() for waiter in waiters] == [True, True, False]
        lease.release()
        await asyncio.wait(waiters)
        for waiter in waiters:
            give_back(waiter.result())


@pytest.mark.asyncio
async def test_a_smaller_pool_closes_what_is_idle_now_and_what_is_lent_when_it_comes_back() -> None:
    server = Server()
    async with server.pool(max_size=6) as pool:
        leases = await lent(pool, 6)
        give_back(leases[:2])
        pool.resize(2)
        await settle()
        assert pool.statistics().closed_by == {"surplus": 2}
        give_back(leases[2:5])
        await settle()
        assert pool.statistics().closed_by == {"surplus": 4}
        assert (pool.statistics().idle, pool.statistics().leased) == (1, 1)
        leases[5].release()
        assert server.open == [server.wires[4], server.wires[5]]


@pytest.mark.asyncio
async def test_a_limit_that_is_refused_changes_nothing() -> None:
    async with Server().pool(max_size=2, min_idle=1) as pool:
        with pytest.raises(ValueError, match="max_size"):
            pool.resize(0)
        with pytest.raises(ValueError, match=r"min_idle \(3\) must not be more than max_size \(2\)"):
            pool.resize(min_idle=3)
        assert (pool.settings.max_size, pool.settings.min_idle) == (2, 1)
        pool.resize(3, min_idle=3)
        await settle()
        assert pool.statistics().idle == 3


@pytest.mark.asyncio
async def test_with_less_to_be_kept_ready_what_is_idle_grows_old() -> None:
    async with Server().pool(max_size=3, min_idle=3, idle_timeout=10.0) as pool:
        await asyncio.sleep(50.0)
        assert pool.statistics().idle == 3
        pool.resize(min_idle=1)
        await settle()
        assert pool.statistics().closed_by == {"idle": 2}


# Draining


@pytest.mark.asyncio
async def test_a_drain_serves_those_who_wait_and_refuses_others() -> None:
    server = Server()
    pool = server.pool(max_size=1)
    (lease,) = await lent(pool, 1)
    waiter = asyncio.ensure_future(lent(pool, 1))
    await settle()
    draining = asyncio.ensure_future(pool.drain())
    await settle()
    with pytest.raises(PoolClosed, match="is draining"):
        await pool.acquire()
    lease.release(broken=True)  # also what has to be opened for them
    (other,) = await waiter
    assert (other.number, draining.done()) == (2, False)
    await asyncio.sleep(1_000.0)
    other.release()
    await draining
    assert pool.closed
    assert server.open == []


@pytest.mark.asyncio
async def test_a_drain_has_an_end_whoever_does_not_release() -> None:
    server = Server()
    pool = server.pool(max_size=1)
    (lease,) = await lent(pool, 1)
    waiter = asyncio.ensure_future(outcome(pool.acquire()))
    await settle()
    await pool.drain(timeout=3.0)
    assert (now(), await waiter) == (pytest.approx(3.0, abs=0.01), PoolClosed)
    assert pool.statistics().closed_by == {"revoked": 1}
    lease.release()
    assert server.wires[0].closes == 1


@pytest.mark.asyncio
async def test_a_drain_goes_on_when_nobody_waits_for_it() -> None:
    server = Server()
    pool = server.pool(max_size=1)
    leases = await lent(pool, 1)
    draining = asyncio.ensure_future(pool.drain(timeout=50.0))
    await settle()
    draining.cancel()
    await asyncio.wait([draining])
    give_back(leases)
    await settle()
    assert pool.closed
    assert timers() == 0


@pytest.mark.asyncio
async def test_a_close_cuts_a_drain_short() -> None:
    pool = Server().pool(max_size=1)
    (lease,) = await lent(pool, 1)
    draining = asyncio.ensure_future(pool.drain())
    await settle()
    await pool.close(timeout=2.0)
    assert draining.done() or await draining is None
    assert now() == pytest.approx(2.0, abs=0.01)
    lease.release()


# Closing


@pytest.mark.asyncio
async def test_a_close_refuses_who_waits_and_waits_for_what_is_lent() -> None:
    server = Server()
    pool = server.pool(max_size=2)
    one, other = await lent(pool, 2)
    one.release()
    (again,) = await lent(pool, 1)
    waiter = asyncio.ensure_future(outcome(pool.acquire()))
    await settle()
    closing = asyncio.ensure_future(pool.close())
    assert await waiter is PoolClosed
    with pytest.raises(PoolClosed, match="is closing"):
        await pool.acquire()
    again.release()
    await asyncio.sleep(3.0)
    assert (len(server.open), closing.done()) == (1, False)
    other.release()
    await closing
    assert (server.open, pool.statistics().closed_by) == ([], {"closed": 2})
    await pool.close()


@pytest.mark.asyncio
async def test_what_is_lent_is_closed_by_force_when_time_is_up() -> None:
    server = Server()
    async with server.pool(grace=2.0) as pool:
        (lease,) = await lent(pool, 1)
    assert (now(), server.wires[0].closes) == (pytest.approx(2.0, abs=0.01), 1)
    assert pool.statistics().closed_by == {"revoked": 1}
    assert lease.connection is server.wires[0]
    lease.release()  # nothing is left to do
    assert server.wires[0].closes == 1


@pytest.mark.asyncio
async def test_the_shorter_of_two_closes_holds_and_both_return_at_the_end() -> None:
    server = Server()
    pool = server.pool()
    (lease,) = await lent(pool, 1)
    first = asyncio.ensure_future(pool.close(timeout=math.inf))
    await settle()
    second = asyncio.ensure_future(pool.close(timeout=1.0))
    third = asyncio.ensure_future(pool.close(timeout=9.0))
    await asyncio.wait([first, second, third])
    assert (now(), server.wires[0].closes, timers()) == (pytest.approx(1.0, abs=0.01), 1, 0)
    lease.release()


@pytest.mark.asyncio
async def test_a_close_whose_wait_is_cancelled_goes_on() -> None:
    server = Server()
    server.close_gate = Gate()
    pool = server.pool()
    give_back(await lent(pool, 2))
    closing = asyncio.ensure_future(pool.close())
    await server.close_gate.reached(2)
    closing.cancel()
    await asyncio.wait([closing])
    assert closing.cancelled()
    server.close_gate.open()
    await settle()
    assert pool.closed


@pytest.mark.asyncio
async def test_what_is_promised_when_the_pool_is_closed_is_still_lent_unless_by_force() -> None:
    for timeout, expected in ((1.0, Lease), (0.0, PoolClosed)):
        server = Server()
        pool = server.pool(max_size=1)
        (lease,) = await lent(pool, 1)
        waiter = asyncio.ensure_future(outcome(pool.acquire()))
        await settle()
        closing = asyncio.ensure_future(pool.close(timeout=timeout))  # before the waiter has its turn
        lease.release()
        got = await waiter
        if isinstance(got, Lease):
            await settle()
            assert server.open == server.wires
            got.release()
        assert expected in (got, type(got))
        await closing
        assert [wire.closes for wire in server.wires] == [1]


@pytest.mark.asyncio
async def test_attempts_to_connect_and_checks_are_cancelled_by_a_close() -> None:
    server = Server()
    pool = server.pool(max_size=3, checked=True, check_after=0.0)
    give_back(await lent(pool, 1))
    server.gate, server.check_gate = Gate(), Gate()
    waiters = [asyncio.ensure_future(outcome(pool.acquire())) for _ in range(2)]
    await settle()
    assert (pool.statistics().checking, pool.statistics().connecting) == (1, 1)
    await pool.close()
    assert [await waiter for waiter in waiters] == [PoolClosed] * 2
    assert (now(), server.connecting) == (pytest.approx(0.0, abs=0.01), 0)
    now_ = pool.statistics()
    assert (now_.closed_by, now_.connect_failures, now_.check_failures) == ({"closed": 1}, 0, 0)


@pytest.mark.asyncio
async def test_a_pool_can_be_closed_by_its_own_factory() -> None:
    async def connect() -> Wire:
        closing.append(asyncio.ensure_future(pool.close()))
        await settle()
        return Wire(1)

    closing: list[asyncio.Future[None]] = []
    closed: list[Wire] = []
    pool = AsyncTransportPool(connect, close=closed.append)
    assert await outcome(pool.acquire()) is PoolClosed
    await closing[0]
    assert pool.closed
    assert len(closed) == pool.statistics().created


@pytest.mark.asyncio
async def test_a_pool_can_be_closed_by_what_it_calls_while_it_looks_at_what_is_idle() -> None:
    server = Server()

    async def close(wire: Wire) -> None:
        pool._engine.shut(0.0)  # what `close` does before its first wait
        await server.close(wire)

    async def check(wire: Wire) -> bool:
        return True

    settings = PoolSettings(max_size=3, idle_timeout=10.0, check_interval=10.5, max_lifetime=math.inf)
    pool = AsyncTransportPool(server.connect, close=close, check=check, settings=settings)
    leases = await lent(pool, 3)
    leases[0].release()
    await asyncio.sleep(9.0)
    leases[1].release()
    await asyncio.sleep(5.0)
    assert pool.statistics().closed_by == {"idle": 1, "closed": 1, "revoked": 1}
    assert (pool.closed, [wire.closes for wire in server.wires]) == (True, [1, 1, 1])
    leases[2].release()
