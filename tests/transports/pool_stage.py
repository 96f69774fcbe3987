"""The other side of a pool, for its tests: it counts what is made and closed, and misbehaves on request."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from typing import Any

from tests.cast import Gate
from understudy.transports import AsyncTransportPool, CloseReason, PoolInstrument, PoolSettings, PoolTimeout

QUIET: dict[str, Any] = {
    "check_after": math.inf,
    "check_interval": math.inf,
    "idle_timeout": math.inf,
    "max_lifetime": math.inf,
}
"""Settings under which nothing happens by itself."""


class Wire:
    """A connection."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.closes = 0
        self.well = True

    def __repr__(self) -> str:
        return f"wire {self.number}"


class Server:
    """Makes wires."""

    def __init__(self) -> None:
        self.wires: list[Wire] = []
        self.attempts: list[float] = []
        self.checked: list[int] = []
        self.connecting = self.most = 0
        self.fail: BaseException | None = None
        self.gate: Gate | None = None  # for those who connect
        self.check_gate: Gate | None = None
        self.close_gate: Gate | None = None
        self.close_error: BaseException | None = None
        self.stubborn = False  # at a gate, cancels are resisted
        self.pools: list[AsyncTransportPool[Wire]] = []

    @property
    def open(self) -> list[Wire]:
        return [wire for wire in self.wires if not wire.closes]

    def count(self) -> None:
        """More are never there at a time."""
        self.most = max(self.most, len(self.open) + self.connecting)

    async def connect(self) -> Wire:
        self.attempts.append(asyncio.get_running_loop().time())
        self.connecting += 1
        self.count()
        try:
            await self.hold(self.gate)
            if self.fail is not None:
                raise self.fail
            self.wires.append(Wire(len(self.wires) + 1))
            return self.wires[-1]
        finally:
            self.connecting -= 1

    async def check(self, wire: Wire) -> bool:
        self.checked.append(wire.number)
        await self.hold(self.check_gate)
        return wire.well

    async def close(self, wire: Wire) -> None:
        wire.closes += 1
        await self.hold(self.close_gate)
        if self.close_error is not None:
            raise self.close_error

    async def hold(self, gate: Gate | None) -> None:
        if gate is None:
            return
        while True:
            try:
                await gate.hold()
            except asyncio.CancelledError:
                if not self.stubborn:
                    raise
            else:
                return

    def pool(self, *, checked: bool = False, **options: Any) -> AsyncTransportPool[Wire]:
        """A pool of wires; what is no parameter of a pool is a setting."""
        own = {name: options.pop(name) for name in list(options) if name not in PoolSettings.model_fields}
        settings = PoolSettings(**(QUIET | options))
        check = self.check if checked else None
        pool = AsyncTransportPool(self.connect, close=self.close, check=check, settings=settings, **own)
        self.pools.append(pool)
        return pool


class Notes(PoolInstrument):
    """Writes down what it hears."""

    def __init__(self) -> None:
        self.heard: list[tuple[Any, ...]] = []

    def of(self, kind: str) -> list[tuple[Any, ...]]:
        return [event[1:] for event in self.heard if event[0] == kind]

    def connected(self, pool: str, connection: int, seconds: float) -> None:
        self.heard.append(("connected", pool, connection, seconds))

    def connect_failed(self, pool: str, error: BaseException, attempt: int, retry_in: float | None) -> None:
        self.heard.append(("connect_failed", pool, error, attempt, retry_in))

    def acquired(self, pool: str, connection: int, waited: float) -> None:
        self.heard.append(("acquired", pool, connection, waited))

    def acquire_timed_out(self, pool: str, error: PoolTimeout) -> None:
        self.heard.append(("acquire_timed_out", pool, error))

    def released(self, pool: str, connection: int, broken: bool) -> None:
        self.heard.append(("released", pool, connection, broken))

    def lease_lost(self, pool: str, connection: int) -> None:
        self.heard.append(("lease_lost", pool, connection))

    def check_failed(self, pool: str, connection: int, error: BaseException | None) -> None:
        self.heard.append(("check_failed", pool, connection, error))

    def closed(self, pool: str, connection: int, reason: CloseReason, error: BaseException | None) -> None:
        self.heard.append(("closed", pool, connection, reason, error))

    def abandoned(self, pool: str, task: str, stack: Any) -> None:
        self.heard.append(("abandoned", pool, task, stack))


def fixed(seconds: float) -> Callable[[Any], float]:
    """A back-off that is always the same."""
    return lambda _: seconds


async def outcome(awaitable: Awaitable[object]) -> object:
    """What comes of it: the value, or the class of the error."""
    try:
        return await awaitable
    except Exception as error:
        return type(error)
