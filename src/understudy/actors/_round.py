"""Several asks with one deadline, which are over together."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from understudy.actors._asks import FutureAsk
from understudy.actors._waiting import Waiting

if TYPE_CHECKING:
    from collections.abc import Iterable

    from understudy.actors._cell import Cell
    from understudy.actors._runtime import Runtime
    from understudy.exceptions import UnderstudyError

__all__ = ["Round"]


class Round:
    """The asks of one caller who waits for many, and sends them in its block.

    After the block none of them is waited for any longer, and a reply that was not taken is a dead letter.
    """

    __slots__ = ("_now", "_seconds", "_taken", "asks", "runtime", "waiting")

    def __init__(self, runtime: Runtime, timeout: float | None, messages: Iterable[object]) -> None:
        """*timeout* as for one ask; without one, what the most patient of *messages* has by itself."""
        self.runtime = runtime
        self.waiting = Waiting.now()
        self.asks: list[FutureAsk] = []
        self._now = runtime.env.now()
        default = runtime.settings.ask_timeout
        self._seconds = max(self.waiting.seconds(timeout, message, self._now, default) for message in messages)
        self._taken: set[FutureAsk] = set()

    def ask(self, cell: Cell, message: object) -> FutureAsk:
        """One more of them, which is still to be sent."""
        future: asyncio.Future[Any] = self.runtime.env.loop.create_future()
        ask = FutureAsk(message, self.waiting.cell, future, cell, self._seconds, self._now + self._seconds)
        self.asks.append(ask)
        return ask

    def sent(self, ask: FutureAsk, problem: UnderstudyError | None = None) -> None:
        """The mailbox has it, and from here on its deadline counts; or it has not, for *problem*."""
        if problem is None:
            self.runtime.asks.add(ask, self.runtime.env.now())
        else:
            ask.fail(problem)

    async def settled(self) -> None:
        """Wait until all have ended."""
        pending = [ask.future for ask in self.asks if not ask.future.done()]
        if pending:
            await asyncio.wait(pending)

    def take(self, ask: FutureAsk) -> Any:
        """What came of *ask*, which has ended: the reply, or the error."""
        self._taken.add(ask)
        error = ask.future.exception()
        return ask.future.result() if error is None else error

    def take_all(self) -> list[Any]:
        """What came of each, in their order; all have ended."""
        return [self.take(ask) for ask in self.asks]

    def __enter__(self) -> Round:
        return self

    def __exit__(self, *_: object) -> None:
        """Nobody waits from here on; a reply that is there and was not taken has come too late."""
        for ask in self.asks:
            self.waiting.end(ask)
            if ask.answered and ask not in self._taken:
                ask.late(ask.future.result())
            ask.give_up()
