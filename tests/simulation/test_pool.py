"""The pool of connections under all that can happen at once, with a model that sees it from outside.

The model is the other side: it makes the connections, knows which are open and who has them, and says which rule is
broken in the step in which it is: never more than the limit, nobody waits while there is room, first come first served,
no connection to two borrowers, each closed exactly once, nothing open after the end.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import warnings
from collections.abc import Callable
from typing import Any

import pytest
from tenacity import wait_exponential

from understudy.testing import Faults, Simulation, simulate
from understudy.testing._campaign import search
from understudy.testing._schedule import Subject
from understudy.transports import AsyncTransportPool, Lease, PoolClosed, PoolSettings, PoolTimeout

DEPARTURES = 4 if os.environ.get("UNDERSTUDY_CAMPAIGN") else 2


class Oops(Exception):
    """What the other side, and borrowers, do."""


class Wire:
    """A connection."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.holder: str | None = None
        self.lost = self.spoilt = self.dead = self.checking = False
        self.closes = 0
        self.open = True

    def __repr__(self) -> str:
        return f"wire {self.number}"


class Model:
    """The other side, and what it sees."""

    def __init__(self, sim: Simulation, settings: PoolSettings, *, harsh: bool, alone: bool = False) -> None:
        self.sim = sim
        # Everything is tried in all orders only if it is done without a break.
        self.pace = 0.0 if alone else 0.01
        self.harsh = harsh
        # What was there when the limit was lowered may stay there until it is used, and may have been on its way.
        self.limit = self.ceiling = settings.max_size
        self.wires: list[Wire] = []
        self.connecting = 0
        self.failing = False
        self.tickets = 0
        self.waiting: dict[int, float] = {}  # each ticket that waits, with the moment when it will not any more
        self.cancelled: set[int] = set()
        self.refusing = False
        self.force_at = math.inf
        self.pool: AsyncTransportPool[Wire] = AsyncTransportPool(
            self.connect,
            close=self.close,
            check=self.check,
            settings=settings,
            backoff=wait_exponential(multiplier=0.05, max=1.0),
            system=None if alone else sim.system,
        )
        sim.loop.when_idle.append(self.nobody_waits_in_vain)

    def chance(self, probability: float) -> bool:
        return self.harsh and self.sim.random.random() < probability

    def broken(self, rule: str) -> None:
        self.sim.violated(rule)

    @property
    def there(self) -> int:
        return self.connecting + sum(wire.open for wire in self.wires)

    # What the pool calls

    async def connect(self) -> Wire:
        if self.there >= self.ceiling:
            self.broken(f"limit: {self.there} of {self.limit} connections are there, and one more is being opened")
        self.connecting += 1
        try:
            if self.chance(0.1):
                with contextlib.suppress(asyncio.CancelledError):  # comes about although it is not wanted any more
                    await asyncio.sleep(10.0)
            elif self.chance(0.05):
                await asyncio.sleep(math.inf)
            else:
                await asyncio.sleep(self.pace)
            if self.failing or self.chance(0.1):
                raise Oops("no connection")
        finally:
            self.connecting -= 1
        wire = Wire(len(self.wires) + 1)
        self.wires.append(wire)
        return wire

    async def check(self, wire: Wire) -> bool:
        if wire.holder is not None or not wire.open or wire.closes:
            self.broken(f"check: {wire} is checked while {wire.holder} has it")
        wire.checking = True
        try:
            await asyncio.sleep(math.inf if self.chance(0.05) else self.pace)
            if self.chance(0.1):
                raise Oops("no answer")
            if wire.dead:
                wire.spoilt = True
            return not wire.dead
        except BaseException:
            wire.spoilt = True
            raise
        finally:
            wire.checking = False

    async def close(self, wire: Wire) -> None:
        wire.closes += 1
        if wire.closes > 1:
            self.broken(f"closed twice: {wire}")
        if wire.holder is not None and not wire.lost and self.sim.now < self.force_at:
            self.broken(f"taken away: {wire} is closed while {wire.holder} has it")
        try:
            await asyncio.sleep(math.inf if self.chance(0.05) else self.pace)
            if self.chance(0.1):
                raise Oops("cannot close")
        finally:
            wire.open = False

    # What borrowers do

    async def borrow(self, timeout: float) -> Lease[Wire]:
        """A lease, if that is how it comes."""
        self.tickets += 1
        ticket = self.tickets
        task: Any = asyncio.current_task()
        task.ticket = ticket
        self.waiting[ticket] = self.sim.now + timeout
        try:
            lease = await self.pool.acquire(timeout=timeout)
        except PoolTimeout:
            if self.sim.now < self.waiting[ticket]:
                self.broken(f"timeout: after {self.sim.now:g} s instead of {self.waiting[ticket]:g} s")
            raise
        except PoolClosed:
            if not self.refusing:
                self.broken("refused: a pool that is open has refused")
            raise
        finally:
            del self.waiting[ticket]
        self.served(ticket, lease.connection)
        return lease

    def served(self, ticket: int, wire: Wire) -> None:
        earlier = [
            each
            for each, until in self.waiting.items()
            if each < ticket and each not in self.cancelled and self.sim.now < until
        ]
        # Those whose turn is granted and who have not run since are served as well.
        if len(earlier) > self.pool._engine.line.granted and not self.refusing:
            self.broken(f"order: {ticket} is served before {earlier}")
        self.lent(wire, str(ticket))

    def lent(self, wire: Wire, holder: str) -> None:
        if wire.holder is not None:
            self.broken(f"two borrowers: {wire} is lent while {wire.holder} has it")
        if self.sim.now < self.force_at and (not wire.open or wire.closes or wire.spoilt or wire.checking):
            self.broken(f"lent: {wire}, which is of no use")
        wire.holder = holder

    def give_back(self, lease: Lease[Wire], *, broken: bool) -> None:
        wire = lease.connection
        wire.holder = None
        wire.spoilt = wire.spoilt or broken
        lease.release(broken=broken)

    async def use(self, times: int, timeout: float) -> None:
        for _ in range(times):
            try:
                lease = await self.borrow(timeout)
            except (PoolTimeout, PoolClosed):
                continue
            wire = lease.connection
            try:
                await asyncio.sleep(self.sim.random.choice([0.0, 0.0, 0.05, 0.3]))
            except asyncio.CancelledError:
                self.give_back(lease, broken=True)
                raise
            if self.chance(0.05):
                wire.lost = True
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", ResourceWarning)
                    del lease
            else:
                self.give_back(lease, broken=self.chance(0.15))

    async def use_in_a_block(self, times: int, timeout: float) -> None:
        """The same with ``async with``, of which the model sees less."""
        for _ in range(times):
            with contextlib.suppress(PoolTimeout, PoolClosed, Oops):
                async with self.pool.acquire(timeout=timeout) as wire:
                    self.lent(wire, "somebody")
                    try:
                        await asyncio.sleep(self.sim.random.choice([0.0, 0.05]))
                        if self.chance(0.1):
                            raise Oops("a bug")
                    finally:
                        wire.holder = None

    def resize(self, limit: int, min_idle: int = 0) -> None:
        self.limit = limit
        self.ceiling = max(limit, self.pool.statistics().size)
        self.pool.resize(limit, min_idle=min_idle)

    # What must hold

    def nobody_waits_in_vain(self) -> None:
        self.ceiling = max(self.limit, min(self.ceiling, self.there))
        if self.refusing:
            return
        waiting = [each for each, until in self.waiting.items() if each not in self.cancelled and self.sim.now < until]
        free = [wire for wire in self.wires if wire.open and not (wire.holder or wire.checking or wire.closes)]
        checking = sum(wire.checking for wire in self.wires)
        if len(waiting) <= self.connecting + checking:
            return  # each of them is for one who waits
        if free:
            self.broken(f"in vain: {waiting} wait, and {free} are free")
        held_off = self.pool.statistics().retry_in is not None
        one_at_a_time = self.pool._engine._backoff.attempts and self.connecting
        if self.there < self.limit and not held_off and not one_at_a_time:
            self.broken(f"in vain: {waiting} wait, and {self.there} of {self.limit} are there")

    async def end(self, timeout: float, *, drain: bool = False) -> None:
        self.refusing = True
        self.force_at = min(self.force_at, self.sim.now + timeout)
        await (self.pool.drain(timeout=timeout) if drain else self.pool.close(timeout=timeout))
        left = [wire for wire in self.wires if wire.open]
        if left:
            self.broken(f"left: {left} are open after the end")

    def check_books(self) -> None:
        now = self.pool.statistics()
        assert now.state == "closed"
        assert (now.size, now.idle, now.leased, now.connecting, now.checking, now.closing) == (0,) * 6
        assert now.created == len(self.wires) == sum(now.closed_by.values())
        assert [wire.closes for wire in self.wires] == [1] * len(self.wires)
        assert now.waiters == self.pool._engine.waiting == self.pool._engine.line.granted == 0
        assert not self.pool._engine._jobs
        self.sim.loop.when_idle.remove(self.nobody_waits_in_vain)


SETTINGS: dict[str, Any] = {
    "acquire_timeout": 5.0,
    "connect_timeout": 0.5,
    "check_timeout": 0.2,
    "check_after": 0.1,
    "check_interval": 0.4,
    "idle_timeout": 0.7,
    "max_lifetime": 2.0,
    "lifetime_jitter": 0.5,
    "close_timeout": 0.3,
    "grace": 0.5,
}


@simulate(schedules=50, faults=Faults(stall=0.3))
async def test_no_rule_is_broken_whatever_happens(sim: Simulation) -> None:
    size = 1 + sim.random.randrange(3)
    changes = {"min_idle": sim.random.randrange(size + 1), "check_after": sim.random.choice([0.0, 0.1])}
    settings = PoolSettings(max_size=size, **(SETTINGS | changes))
    model = Model(sim, settings, harsh=sim.random.random() < 0.8)
    users = [asyncio.create_task(model.use(4, 0.2 + number), name=f"user {number}") for number in range(4)]
    users.append(asyncio.create_task(model.use_in_a_block(4, 1.0), name="block"))
    for _ in range(6):
        await asyncio.sleep(sim.random.choice([0.0, 0.03, 0.4]))
        match sim.random.randrange(6):
            case 0 | 1:
                victim: Any = sim.random.choice(users)
                model.cancelled.add(getattr(victim, "ticket", 0))
                victim.cancel()
            case 2:
                limit = 1 + sim.random.randrange(3)
                model.resize(limit, sim.random.randrange(limit + 1))
            case 3:
                model.failing = not model.failing
            case 4:
                for wire in model.wires:
                    wire.dead = True
            case _:
                pass
    model.failing = False
    if sim.random.random() < 0.5:
        await asyncio.wait(users)
    ends = [asyncio.create_task(model.end(sim.random.choice([0.0, 0.1, 2.0]), drain=sim.random.random() < 0.4))]
    if sim.random.random() < 0.3:
        await asyncio.sleep(sim.random.choice([0.0, 0.05]))
        ends.append(asyncio.create_task(model.end(0.2)))
        if sim.random.random() < 0.5:
            ends[0].cancel()
    await asyncio.wait(ends)
    await asyncio.wait(users)
    for task in [*users, *ends]:
        assert task.cancelled() or task.exception() is None, task.exception()
    await model.pool.close()
    model.check_books()


# All orders


def scenario(*parts: str, size: int = 1, **changes: Any) -> Callable[[Any], Any]:
    """Tasks that each do one thing; small enough for all orders."""

    async def run(sim: Any) -> None:
        settings = PoolSettings(max_size=size, **(SETTINGS | {"check_after": 0.0} | changes))
        model = Model(sim, settings, harsh=False, alone=True)
        if "warm" in parts:
            model.give_back(await model.borrow(1.0), broken=False)

        async def borrower(broken: bool) -> None:
            try:
                lease = await model.borrow(1.0)
            except PoolClosed:
                return
            try:
                await asyncio.sleep(0)
            finally:
                model.give_back(lease, broken=broken)

        users = [
            asyncio.create_task(borrower(part == "breaks"), name=f"{part} {number}")
            for number, part in enumerate(parts)
            if part in ("borrows", "breaks")
        ]

        async def cancel() -> None:
            victim: Any = users[0]
            model.cancelled.add(getattr(victim, "ticket", 0))
            victim.cancel()

        async def close() -> None:
            await model.end(0.5)

        async def resize() -> None:
            model.resize(2)

        verbs = {"cancels": cancel, "closes": close, "resizes": resize}
        others = [asyncio.create_task(verbs[part](), name=part) for part in parts if part in verbs]
        await asyncio.wait([*users, *others])
        for task in [*users, *others]:
            assert task.cancelled() or task.exception() is None
        await model.end(0.0)
        model.check_books()

    return run


@pytest.mark.parametrize(
    "parts",
    [
        ("warm", "borrows", "borrows", "cancels"),
        ("borrows", "breaks", "closes"),
        ("warm", "breaks", "borrows", "cancels"),
        ("warm", "borrows", "cancels", "closes"),
        ("borrows", "borrows", "resizes", "cancels"),
    ],
    ids="-".join,
)
def test_no_rule_is_broken_in_any_order_of(parts: tuple[str, ...]) -> None:
    subject = Subject(scenario(*parts), Faults(stall=0.0), system=False)
    report = search(subject, departures=DEPARTURES, at_most=500_000, name=f"all orders of {', '.join(parts)}")
    print(report.summary())
    assert report.complete
