"""Small parts for many tests: a gate, an actor to hold or crash, a collector, an instrument that records."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from understudy import Actor, DeadLetter, ExitReason, Instrument, Message, Refused, handler
from understudy.events import Published
from understudy.testing._schedule import EAGER_EXISTS

EAGER = (False, True) if EAGER_EXISTS else (False,)
"""Whether tasks start eagerly: the kinds of runs that this Python can tell apart."""


async def settle() -> None:
    """Let everything happen that needs no passing of time; for tests on the virtual clock."""
    await asyncio.sleep(0.001)


def cancel_in_vain(task: asyncio.Task[Any]) -> None:
    """Cancel it, and take that back: from Python 3.13 on as if nothing had been; before, it strikes all the same."""
    task.cancel()
    task.uncancel()


def statuses(published: Published[Any]) -> list[str]:
    """How it went with each subscriber."""
    return [outcome.status for outcome in published.outcomes]


def in_a_fork(uses: Iterable[Callable[[], object]]) -> list[str]:
    """What becomes of each use in a child that this process forks: the error, or that it has worked."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:  # pragma: no cover - in the child
        told: list[str] = []
        for use in uses:
            try:
                told.append(f"worked: {use()}")
            except BaseException as error:
                told.append(f"{type(error).__name__}: {error}")
        os.write(writer, "\n".join(told).encode())
        os._exit(0)
    os.close(writer)
    with open(reader) as pipe:
        said = pipe.read().split("\n")
    os.waitpid(pid, 0)
    return said


class Gate:
    """Holds whoever passes until it is opened, and knows how many have come."""

    def __init__(self) -> None:
        self.came = 0
        self.went = 0
        self._open = asyncio.Event()
        self._news = asyncio.Event()

    async def hold(self) -> None:
        """Wait until the gate is open."""
        self.came += 1
        self._news.set()
        await self._open.wait()
        self.went += 1

    async def reached(self, count: int = 1) -> None:
        """Wait until *count* have come."""
        while self.came < count:
            self._news.clear()
            await self._news.wait()

    def open(self) -> None:
        self._open.set()

    def shut(self) -> None:
        self._open.clear()


class Note(Message[int]):
    """Handled by a plain method; written down and answered with its value."""

    value: int = 0


class Hold(Message[int]):
    """Handled by an async method that waits at the gate; then written down and answered with its value."""

    value: int = 0


class Fail(Message[int]):
    """The handler raises this error."""

    error: BaseException


class Refuse(Message[int]):
    """The handler says no."""

    text: str = "no"


class Handled(Message[list[int]]):
    """What this incarnation has handled."""


class Unknown(Message[int]):
    """No actor of this cast handles it."""

    value: int = 0


class Holder(Actor[Note | Hold | Fail | Refuse | Handled]):
    """Writes down what it handles: in itself, lost in a restart, and in the log it was given, which stays."""

    def __init__(self, gate: Gate | None = None, log: list[Any] | None = None) -> None:
        self.gate = gate
        self.log_of_all: list[Any] = [] if log is None else log
        self.handled: list[int] = []

    def _write(self, value: int) -> int:
        self.handled.append(value)
        self.log_of_all.append(value)
        return value

    @handler
    def note(self, message: Note) -> int:
        return self._write(message.value)

    @handler
    async def wait(self, message: Hold) -> int:
        assert self.gate is not None, "this actor was given no gate"
        await self.gate.hold()
        return self._write(message.value)

    @handler
    def fail(self, message: Fail) -> int:
        raise message.error

    @handler
    def refuse(self, message: Refuse) -> int:
        raise Refused(message.text)

    @handler
    def tell_all(self, message: Handled) -> list[int]:
        return list(self.handled)


class Collector(Actor[DeadLetter | Note]):
    """Puts all it gets into the list it was given; subscribe it to dead letters, for one."""

    def __init__(self, seen: list[Any]) -> None:
        self.seen = seen

    @handler
    def collect_letter(self, message: DeadLetter) -> None:
        self.seen.append(message)

    @handler
    def collect_note(self, message: Note) -> int:
        self.seen.append(message)
        return message.value


class Recorder(Instrument):
    """Keeps what it hears, in order, as tuples: the name of the event and its arguments."""

    def __init__(self) -> None:
        self.events: list[tuple[Any, ...]] = []

    def of(self, kind: str, path: str | None = None) -> list[tuple[Any, ...]]:
        """The arguments of all events of one kind, of one actor if *path* is given."""
        found = [event[1:] for event in self.events if event[0] == kind]
        return found if path is None else [event for event in found if event[0] == path]

    @property
    def letters(self) -> list[tuple[object, str, str | None, str]]:
        """Dead letters: message, recipient, sender, why."""
        return [event[1:] for event in self.events if event[0] == "dead_letter"]  # type: ignore[misc]

    def actor_started(self, path: str, incarnation: int) -> None:
        self.events.append(("actor_started", path, incarnation))

    def actor_stopped(self, path: str, reason: ExitReason) -> None:
        self.events.append(("actor_stopped", path, reason))

    def actor_crashed(self, path: str, reason: ExitReason, message_type: str | None) -> None:
        self.events.append(("actor_crashed", path, reason, message_type))

    def actor_restarting(self, path: str, reason: ExitReason, failures: int) -> None:
        self.events.append(("actor_restarting", path, reason, failures))

    def gave_up(self, path: str, reason: ExitReason) -> None:
        self.events.append(("gave_up", path, reason))

    def shutdown_failed(self, path: str, error: BaseException) -> None:
        self.events.append(("shutdown_failed", path, error))

    def refused(self, path: str, message_type: str, text: str) -> None:
        self.events.append(("refused", path, message_type, text))

    def abandoned(self, path: str, stack: Sequence[str]) -> None:
        self.events.append(("abandoned", path, list(stack)))

    def mailbox_full(self, path: str, capacity: float) -> None:
        self.events.append(("mailbox_full", path, capacity))

    def dead_letter(self, message: object, recipient: str, sender: str | None, why: str) -> None:
        self.events.append(("dead_letter", message, recipient, sender, why))

    def system_phase(self, system: str, phase: str) -> None:
        self.events.append(("system_phase", system, phase))
