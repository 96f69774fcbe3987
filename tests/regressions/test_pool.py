"""What went wrong with the connection pool of an earlier design, and must not again.

| then | the test here |
|---|---|
| P1 | test_who_waits_is_served_when_a_broken_connection_is_released |
| P2 | test_a_limit_of_two_opens_two_connections_for_eight_borrowers_at_once |
| P3 | test_a_cancel_during_the_health_check_loses_no_place |
| P4 | test_a_second_release_gives_the_connection_to_nobody, test_there_is_no_way_to_release_what_is_not_one_s_own |
| P5 | test_a_pool_has_close_lease_lifetime_fairness_and_timeout |
"""

from __future__ import annotations

import asyncio
import copy
import pickle

import pytest

from tests.cast import Gate, settle
from tests.transports.pool_stage import Server, Wire, fixed
from understudy import InvalidContext
from understudy.transports import AsyncTransportPool, Lease, LeaseReleased, PoolClosed, PoolTimeout


@pytest.mark.asyncio
async def test_who_waits_is_served_when_a_broken_connection_is_released() -> None:
    """The broken one was dropped, nobody was woken, and the borrower waited for ever."""
    server = Server()
    async with server.pool(max_size=1, backoff=fixed(0.5)) as pool:
        lease = await pool.acquire()

        async def wait() -> int:
            async with pool.acquire(timeout=10.0) as wire:
                return wire.number

        waiter = asyncio.ensure_future(wait())
        await settle()

        lease.release(broken=True)

        assert (await waiter, server.wires[0].closes) == (2, 1)
        assert asyncio.get_running_loop().time() < 1.0


@pytest.mark.asyncio
async def test_a_limit_of_two_opens_two_connections_for_eight_borrowers_at_once() -> None:
    """Between the look at the limit and the note of the new connection there was an await: 8 were opened."""
    server = Server()
    server.gate = Gate()
    async with server.pool(max_size=2) as pool:

        async def borrow() -> int:
            async with pool.acquire() as wire:
                await asyncio.sleep(0.01)
                return wire.number

        tasks = [asyncio.ensure_future(borrow()) for _ in range(8)]
        await server.gate.reached(2)
        await settle()
        assert server.connecting == 2
        server.gate.open()

        assert sorted([await task for task in tasks]) == [1] * 4 + [2] * 4
        assert (len(server.wires), server.most) == (2, 2)


@pytest.mark.asyncio
async def test_a_cancel_during_the_health_check_loses_no_place() -> None:
    """The connection was in nobody's hands while it was checked, and the cancel took it out of the world."""
    server = Server()
    server.check_gate = Gate()
    async with server.pool(max_size=1, checked=True, check_after=0.0) as pool:
        (await pool.acquire()).release()
        for _ in range(3):
            borrower = asyncio.ensure_future(pool.acquire()._lend())
            await settle()
            assert pool.statistics().checking == 1
            borrower.cancel()
            await asyncio.wait([borrower])
            assert borrower.cancelled()
        server.check_gate.open()

        async with pool.acquire(timeout=1.0) as wire:
            assert wire.number == 1
        assert (pool.statistics().size, pool.statistics().idle) == (1, 1)
        assert len(server.wires) == 1


@pytest.mark.asyncio
async def test_a_second_release_gives_the_connection_to_nobody() -> None:
    """It stood among the idle ones twice, and the next two borrowers both got it."""
    server = Server()
    async with server.pool(max_size=2) as pool:
        lease = await pool.acquire()
        lease.release()

        with pytest.raises(LeaseReleased, match="released"):
            lease.release()
        with pytest.raises(LeaseReleased):
            lease.release(broken=True)
        with pytest.raises(LeaseReleased):
            _ = lease.connection

        one, other = await pool.acquire(), await pool.acquire()
        assert one.connection is not other.connection
        with pytest.raises(LeaseReleased):
            lease.release()
        assert pool.statistics().leased == 2
        one.release()
        other.release()


@pytest.mark.asyncio
async def test_there_is_no_way_to_release_what_is_not_one_s_own() -> None:
    """Any connection was accepted, whoever brought it, and lent to the next."""
    assert not hasattr(AsyncTransportPool, "release")
    server, other = Server(), Server()
    async with server.pool(name="ours") as pool, other.pool(name="theirs") as their_pool:
        lease = await pool.acquire()
        # A copy is the lease itself, and does not travel.
        assert copy.copy(lease) is lease
        assert copy.deepcopy(lease) is lease
        with pytest.raises(InvalidContext, match="cannot be pickled"):
            pickle.dumps(lease)
        # It goes back to where it comes from.
        lease.release()
        assert (pool.statistics().idle, their_pool.statistics().size) == (1, 0)
        # One that was made by hand is nobody's.
        entry = pool._engine.idle[0]
        Lease(their_pool._engine, entry).release()
        Lease(pool._engine, entry).release()
        assert (pool.statistics().idle, their_pool.statistics().size) == (1, 0)
        assert [wire.closes for wire in server.wires] == [0]


@pytest.mark.asyncio
async def test_a_pool_has_close_lease_lifetime_fairness_and_timeout() -> None:
    """All of these were missing."""
    server = Server()
    pool = server.pool(max_size=1, max_lifetime=100.0, lifetime_jitter=0.0)
    lease = await pool.acquire()  # a lease
    with pytest.raises(PoolTimeout, match=r"within 2 s \(1 of 1: 1 leased; 0 others wait\)"):  # a timeout
        await pool.acquire(timeout=2.0)

    order: list[int] = []

    async def borrow(number: int) -> Wire:
        async with pool.acquire() as wire:
            order.append(number)
            return wire

    tasks = [asyncio.ensure_future(borrow(number)) for number in range(5)]
    await settle()
    lease.release()
    assert {(await task).number for task in tasks} == {1}
    assert order == [0, 1, 2, 3, 4]  # fairness

    await asyncio.sleep(100.0)  # a lifetime
    assert [wire.closes for wire in server.wires] == [1]

    lease = await pool.acquire()
    await pool.close(timeout=1.0)  # close
    assert [wire.closes for wire in server.wires] == [1, 1]
    lease.release()
    with pytest.raises(PoolClosed, match="is closed and lends no more"):
        await pool.acquire()
