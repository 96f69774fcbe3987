"""The connections of a listener that are served, for transports whose library does not keep them."""

from __future__ import annotations

import asyncio
from contextvars import Context
from functools import partial
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from understudy.transports._connection import Connection, serve_out

if TYPE_CHECKING:
    from collections.abc import Callable

    from understudy.environment import Environment
    from understudy.transports._connection import Serve

__all__ = ["Serving"]


class Served(Connection, Protocol):
    """A connection that can be ended at once."""

    def cut(self, why: str, *, clean: bool = False) -> None:
        """End both directions."""
        ...


C = TypeVar("C", bound=Served)


class Serving(Generic[C]):
    """Each of them has a task of its own, and ends with it."""

    def __init__(self, serve: Serve, env: Environment) -> None:
        self._serve = serve
        self._env = env
        self._tasks: dict[asyncio.Task[None], C] = {}

    def __len__(self) -> int:
        return len(self._tasks)

    @property
    def connections(self) -> list[C]:
        """Those that are served now."""
        return list(self._tasks.values())

    def start(self, connection: C, label: str, on_end: Callable[[], object] = lambda: None) -> None:
        """Serve *connection*; *on_end* is called when that is over, which it may be at once."""
        task = self._env.start_task(
            serve_out(self._serve, connection, self._env),
            name=f"link:{label}",
            context=Context(),
            on_done=partial(self._ended, on_end),
        )
        if task.done():
            on_end()
        else:
            self._tasks[task] = connection

    async def join(self) -> None:
        """Wait until all are over; whoever waits may be one of them."""
        pending = [task for task in self._tasks if task is not asyncio.current_task()]
        if pending:
            await asyncio.wait(pending)

    def _ended(self, on_end: Callable[[], object], task: asyncio.Task[None]) -> None:
        # One that was cancelled before its first step has closed nothing.
        self._tasks.pop(task).cut("the listener was closed", clean=True)
        on_end()
