"""While a simulated run goes on, what is different in each run elsewhere is the same: clocks, random numbers, ids.

What a module has taken for itself by ``from time import monotonic`` and the like before is out of reach, and so is
``datetime.now``. Threads that are not part of the run see the real functions.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import random
import socket
import subprocess
import threading
import time
import uuid
from typing import TYPE_CHECKING, Any

from understudy.environment import thread_id
from understudy.testing._errors import EscapeError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from understudy.testing._loop import SimLoop

__all__ = ["EPOCH", "determined"]

_PROCESSES = ("fork", "forkpty", "posix_spawn", "posix_spawnp", "system")

EPOCH = 1_800_000_000.0
"""What ``time.time()`` says at the beginning of each run."""


@contextlib.contextmanager
def determined(loop: SimLoop, seed: int) -> Generator[None]:
    """Put simulated clocks and seeded chance in the place of the real ones, and refuse what is outside."""
    chance = random.Random(f"outside {seed}")  # noqa: S311 - it has to be repeatable
    state = random.getstate()
    replacements = [(owner, name, getattr(owner, name), value) for owner, name, value in _replacements(loop, chance)]
    try:
        for owner, name, real, value in replacements:
            setattr(owner, name, value if isinstance(value, type) else _only_here(real, value))
        random.seed(seed)
        yield
    finally:
        for owner, name, real, _ in replacements:
            setattr(owner, name, real)
        random.setstate(state)


def _replacements(loop: SimLoop, chance: random.Random) -> list[tuple[Any, str, Callable[..., Any]]]:
    def wall() -> float:
        return EPOCH + loop.time()

    class Seeded(random.Random):
        """A generator that takes its seed from the run, not from the system."""

        def seed(self, a: Any = None, version: int = 2) -> None:
            super().seed(chance.getrandbits(64) if a is None else a, version)

    gathering: Any = getattr(asyncio.tasks, "_GatheringFuture")  # noqa: B009

    reset = random.seed

    def reseed(a: Any = None, version: int = 2) -> None:
        reset(chance.getrandbits(64) if a is None else a, version)

    class Gathering(gathering):  # type: ignore[misc]
        """What ``gather`` returns, with a hash that is the same in each run."""

        def __init__(self, *args: Any, **options: Any) -> None:
            self._number = loop.next_number()
            super().__init__(*args, **options)  # pyright: ignore[reportUnknownMemberType]

        def __hash__(self) -> int:
            return self._number

    def nanoseconds(clock: Callable[[], float]) -> Callable[[], int]:
        return lambda: int(clock() * 1e9)

    return [
        (time, "time", wall),
        (time, "time_ns", nanoseconds(wall)),
        (time, "monotonic", loop.time),
        (time, "monotonic_ns", nanoseconds(loop.time)),
        (time, "perf_counter", loop.time),
        (time, "perf_counter_ns", nanoseconds(loop.time)),
        (time, "sleep", loop.block),
        (random, "Random", Seeded),
        (random, "seed", reseed),
        (asyncio.tasks, "_GatheringFuture", Gathering),
        (uuid, "uuid4", lambda: uuid.UUID(int=chance.getrandbits(128), version=4)),
        (os, "urandom", chance.randbytes),
        (random, "_urandom", chance.randbytes),  # for random.SystemRandom, and with it for secrets
        (socket.socket, "__init__", _refusing("a raw socket", "use the event loop's connections, or `sim.net`")),
        (socket, "socketpair", _refusing("a pair of sockets", "use the event loop's connections, or `sim.net`")),
        (socket, "fromfd", _refusing("a socket of a descriptor", "use the event loop's connections, or `sim.net`")),
        (socket, "getaddrinfo", _refusing("a look-up of an address", "use the event loop's getaddrinfo")),
        *((os, name, _refusing(f"os.{name}", "put a fake in its place")) for name in _PROCESSES if hasattr(os, name)),
        (subprocess.Popen, "__init__", _refusing("a subprocess", "put a fake in its place")),
        (threading.Thread, "start", _refusing("a thread", "use asyncio.to_thread, which runs within the loop here")),
    ]


def _only_here(real: Any, simulated: Callable[..., Any]) -> Callable[..., Any]:
    thread = thread_id()

    @functools.wraps(real)
    def function(*args: Any, **options: Any) -> Any:
        return (simulated if thread_id() == thread else real)(*args, **options)

    return function


def _refusing(what: str, remedy: str) -> Callable[..., Any]:
    def refuse(*args: object, **options: object) -> None:
        raise EscapeError(what, remedy)

    return refuse
