"""Crashes and delays put into the handlers of a running system, by the paths of its actors."""

from __future__ import annotations

import asyncio
import fnmatch
import functools
import math
import random
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

from understudy.actors._addresses import absolute
from understudy.actors._handler import Handler, HandlerTable, WrappedTable
from understudy.exceptions import InvalidContext
from understudy.testing._errors import InjectedCrash

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

    from understudy.actors._cell import Cell
    from understudy.actors._inbox import Inbox
    from understudy.actors._runtime import Runtime
    from understudy.system import ActorSystem

__all__ = ["Injection", "Intervention", "cells_of", "inject", "runtime_of"]


class Intervention:
    """What stands between the messages and the handlers of some actors, inside of ``with``.

    Args:
        system: The running system.
        pattern: Of paths, as for files; without a ``/`` at the beginning it is below ``/user``.
    """

    def __init__(self, system: ActorSystem, pattern: str) -> None:
        self._runtime = runtime_of(system)
        self._system = system
        self._pattern = absolute(pattern)
        self._injector: _Injector | None = None

    def concerns(self, path: str) -> bool:
        """Whether the actor at *path* is one of those."""
        return fnmatch.fnmatchcase(path, self._pattern)

    def before(self, path: str, message: object, *, may_wait: bool) -> float:
        """A handler is about to get *message*: raise to let it crash; return the seconds that it shall wait.

        A plain ``def`` handler cannot wait, which *may_wait* says.
        """
        return 0.0

    def after(self, path: str, message: object, error: BaseException | None) -> None:
        """The handler has returned, or raised *error*."""

    def __enter__(self) -> Self:
        if self._injector is not None:
            raise RuntimeError("an injection can be used once: make a new one")
        self._injector = _Injector.of(self._runtime)
        self._injector.add(self, cells_of(self._system))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._injector is not None
        self._injector.remove(self, cells_of(self._system))


class Injection(Intervention):
    """What :func:`inject` gives; it counts what it does."""

    def __init__(
        self,
        system: ActorSystem,
        pattern: str,
        *,
        crash: float,
        delay: tuple[float, float] | None,
        error: BaseException | Callable[[], BaseException] | None,
        only: type | tuple[type, ...],
        seed: int,
    ) -> None:
        super().__init__(system, pattern)
        self._crash = crash
        self._delay = delay
        self._error = error
        self._only = only
        self._seed = seed
        self._chances: dict[str, random.Random] = {}
        self.messages = 0
        """How many messages have come by."""
        self.crashes = 0
        """How many handlers have crashed."""
        self.delays = 0
        """How many have had to wait."""

    def before(self, path: str, message: object, *, may_wait: bool) -> float:
        """Crash, or say how long to wait, by chance."""
        if not isinstance(message, self._only):
            return 0.0
        self.messages += 1
        chance = self._chances.get(path)
        if chance is None:
            chance = self._chances[path] = random.Random(f"{self._seed} {path}")  # noqa: S311 - no secrets
        if chance.random() < self._crash:
            self.crashes += 1
            raise self._made(path, message)
        if self._delay is None or not may_wait:
            return 0.0
        self.delays += 1
        return chance.uniform(*self._delay)

    def _made(self, path: str, message: object) -> BaseException:
        error = self._error
        if error is None:
            return InjectedCrash(f"{path} was made to crash at {type(message).__name__}")
        return error if isinstance(error, BaseException) else error()


def inject(
    system: ActorSystem,
    pattern: str,
    *,
    crash: float = 0.0,
    delay: tuple[float, float] | None = None,
    error: BaseException | Callable[[], BaseException] | None = None,
    only: type | tuple[type, ...] = object,
    seed: int = 0,
) -> Injection:
    """Let handlers of some actors crash, or wait, at random, for the time of a ``with`` block.

    ::

        with inject(system, "/user/index/worker-*", crash=0.1, delay=(0.0, 0.5)) as injected:
            await index_everything(system)
        assert injected.crashes > 0

    It concerns the actors that are there and those that are started within the block, in all their incarnations, and
    their messages, not their hooks. A crash comes *before* the handler, in its place. A delay comes before an
    ``async def`` handler; a plain ``def`` handler cannot wait and is not delayed. Several injections may concern one
    actor.

    By chance, but repeatable: the fate of an actor's n-th message depends on *seed*, its path and n, not on what others
    do meanwhile.

    Args:
        system: A running system.
        pattern: Of paths, as for files: ``*`` is any text, also with ``/`` in it. Without a ``/`` at its beginning it
            is below ``/user``.
        crash: The probability for each message, from 0 to 1.
        delay: The least and the most seconds to wait.
        error: What to raise instead of :class:`InjectedCrash`: an exception, or a callable that makes one each time.
        only: The class, or classes, of messages that it is about.
        seed: Another one, other fates.

    Raises:
        ValueError: A number is out of its range, or nothing is to be injected.
        InvalidContext: The system is not running.
    """
    if not 0 <= crash <= 1:
        raise ValueError(f"crash must be a probability from 0 to 1, got {crash!r}")
    if delay is not None and not 0 <= delay[0] <= delay[1] < math.inf:
        raise ValueError(f"delay must be the least and the most seconds to wait, got {delay!r}")
    if not crash and delay is None:
        raise ValueError("there is nothing to inject: give a probability to crash, a delay, or both")
    if error is not None and not crash:
        raise ValueError("error says what a crash raises: give the probability to crash too")
    return Injection(system, pattern, crash=crash, delay=delay, error=error, only=only, seed=seed)


def runtime_of(system: ActorSystem) -> Runtime:
    """The runtime of a system that has been entered."""
    runtime = system._runtime  # pyright: ignore[reportPrivateUsage]
    if runtime is None:
        raise InvalidContext(what=f"system {system.name!r}", problem="it is not running: use it inside `async with`")
    return runtime


def cells_of(system: ActorSystem) -> Iterator[Cell]:
    """The cells of all actors that are there, parents before children, in the order of their starts."""
    guardians = system._guardians  # pyright: ignore[reportPrivateUsage]
    pending = [*reversed(guardians.values())]
    while pending:
        cell = pending.pop()
        yield cell
        if cell.family is not None:
            pending.extend(child.cell for child in reversed(cell.family.children.values()))


class _Injector:
    """Stands between the actors of one system and their handlers, for all its interventions."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._before = runtime.table_of
        self._active: list[Intervention] = []

    @classmethod
    def of(cls, runtime: Runtime) -> _Injector:
        """The one that is there, or a new one."""
        owner: object = getattr(runtime.table_of, "__self__", None)
        return owner if isinstance(owner, _Injector) else cls(runtime)

    def add(self, intervention: Intervention, cells: Iterator[Cell]) -> None:
        """From here on *intervention* is asked."""
        if not self._active and self._runtime.table_of == self._before:
            self._runtime.table_of = self.table_of
        self._active.append(intervention)
        self._renew(intervention, cells)

    def remove(self, intervention: Intervention, cells: Iterator[Cell]) -> None:
        """It is not asked any more."""
        self._active.remove(intervention)
        self._renew(intervention, cells)
        # Somebody else may stand before this one by now; then it stays, and does nothing.
        if not self._active and self._runtime.table_of == self.table_of:
            self._runtime.table_of = self._before

    def table_of(self, cell: Inbox, actor: Any) -> HandlerTable:
        """The handlers of an incarnation that is about to start."""
        return self._wrapped(cell, self._before(cell, actor))

    def _renew(self, intervention: Intervention, cells: Iterator[Cell]) -> None:
        for cell in cells:
            if cell.actor is not None and intervention.concerns(cell.path):
                cell.table = self._wrapped(cell, _plain(cell.table))

    def _wrapped(self, cell: Inbox, table: HandlerTable) -> HandlerTable:
        path = cell.path
        if not any(each.concerns(path) for each in self._active):
            return table
        return _InjectedTable(table, lambda handler: self._wrap(path, handler))

    def _wrap(self, path: str, handler: Handler) -> Handler:
        function, injector = handler.function, self

        @functools.wraps(function)
        def plain(actor: Any, message: Any) -> Any:
            asked = injector._concerned(path)
            error: BaseException | None = None
            try:
                for each in asked:
                    each.before(path, message, may_wait=False)
                return function(actor, message)
            except BaseException as raised:
                error = raised
                raise
            finally:
                for each in asked:
                    each.after(path, message, error)

        @functools.wraps(function)
        async def waiting(actor: Any, message: Any) -> Any:
            asked = injector._concerned(path)
            error: BaseException | None = None
            try:
                seconds = sum([each.before(path, message, may_wait=True) for each in asked])
                if seconds:
                    await asyncio.sleep(seconds)
                return await function(actor, message)
            except BaseException as raised:
                error = raised
                raise
            finally:
                for each in asked:
                    each.after(path, message, error)

        return replace(handler, function=waiting if handler.is_async else plain)

    def _concerned(self, path: str) -> list[Intervention]:
        return [each for each in self._active if each.concerns(path)]


class _InjectedTable(WrappedTable):
    """The handlers of an actor, each with something put before it."""


def _plain(table: HandlerTable) -> HandlerTable:
    return table.behind if isinstance(table, _InjectedTable) else table
