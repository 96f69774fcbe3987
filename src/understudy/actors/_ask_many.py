"""Asking many at once, with one deadline for all."""

from __future__ import annotations

import asyncio
from contextvars import Context
from typing import TYPE_CHECKING, Any, TypeVar, overload

from understudy.actors._asks import Ask
from understudy.actors._waiting import Waiting, check_timeout
from understudy.exceptions import AskCycle, UnderstudyError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from understudy.actors._ref import ActorRef
    from understudy.messages import Asks

__all__ = ["ask_many"]

M = TypeVar("M")
R = TypeVar("R")


@overload
async def ask_many(
    asks: Iterable[tuple[ActorRef[M], Asks[M, R]]], /, *, timeout: float | None = None
) -> list[R | UnderstudyError]: ...
@overload
async def ask_many(
    refs: Iterable[ActorRef[M]], message: Asks[M, R], /, *, timeout: float | None = None
) -> list[R | UnderstudyError]: ...
async def ask_many(
    asks: Iterable[Any], message: Any = None, /, *, timeout: float | None = None
) -> list[Any | UnderstudyError]:
    """Ask many actors at once, and wait until each ask has ended.

    Each is an ask like any other, and all have the same deadline. One that fails disturbs no other, so what it has
    ended with stands among the results: whatever an ask raises is an :class:`understudy.UnderstudyError`, and
    ``isinstance(result, UnderstudyError)`` tells the two kinds apart, also to the type checkers. Messages to the same
    actor arrive in the order given. If the caller is cancelled, so are all asks, and replies that are there already
    become dead letters.

    Args:
        asks: Whom to ask and what, ``[(north, Total()), (south, Observe(value=1))]``; or only whom, with *message*.
        message: What to ask all of them.
        timeout: Seconds to wait. None: what is left of the ask being handled, else the longest that one of the asks
            would wait if it were alone. A given value is cut to what is left.

    Returns:
        The replies and errors, in the order of the asks; there is one for each.

    Raises:
        InvalidTimeout: Not a positive number of seconds; nothing was sent.
        InvalidContext: Called outside of the event loop of the system; nothing was sent.
    """
    timeout = check_timeout(timeout)
    pairs: list[tuple[ActorRef[Any], Any]] = list(asks) if message is None else [(ref, message) for ref in asks]
    if not pairs:
        return []
    for ref, _ in pairs:
        ref._cell.check_loop()  # pyright: ignore[reportPrivateUsage]
    return await _Round(pairs, timeout).run()


class _Round:
    """Asks with one deadline."""

    def __init__(self, pairs: list[tuple[ActorRef[Any], Any]], timeout: float | None) -> None:
        self.waiting = Waiting.now()
        self.refs = [ref for ref, _ in pairs]
        self.runtime = self.refs[0]._cell.runtime  # pyright: ignore[reportPrivateUsage]
        self.now = self.runtime.env.now()
        default = self.runtime.settings.ask_timeout
        seconds = max(self.waiting.seconds(timeout, message, self.now, default) for _, message in pairs)
        self.asks = [self._ask(ref, message, seconds) for ref, message in pairs]
        # Those that wait for room. There are few, so each has a task for it.
        self.puts: list[asyncio.Task[None]] = []

    def _ask(self, ref: ActorRef[Any], message: Any, seconds: float) -> Ask:
        future: asyncio.Future[Any] = self.runtime.env.loop.create_future()
        return Ask(message, self.waiting.cell, future, ref._cell, seconds, self.now + seconds)  # pyright: ignore[reportPrivateUsage]

    async def run(self) -> list[Any]:
        try:
            for ref, ask in zip(self.refs, self.asks, strict=True):
                self._send(ref, ask)
            self.runtime.dispatcher.run_ahead()
            pending = [ask.future for ask in self.asks if not ask.future.done()]
            if pending:
                await asyncio.wait(pending)
            return [_outcome(ask) for ask in self.asks]
        except asyncio.CancelledError:
            for ask in self.asks:
                if ask.answered:
                    path = ask.sender_path or "(asker)"
                    self.runtime.dead_letter(ask.future.result(), path, ask.cell.path, "late reply")
            raise
        finally:
            for put in self.puts:
                put.cancel()
            for ask in self.asks:
                self.waiting.end(ask)
                ask.give_up()

    def _send(self, ref: ActorRef[Any], ask: Ask) -> None:
        cell = ask.cell
        if cell.gate is not None:
            cell.refuse(ask.message, ask.sender_path)
            ask.fail(cell.stopped_error(ask.message))
            return
        try:
            self.waiting.begin(cell, ask, ask.message)
        except AskCycle as error:
            ask.fail(error)
            return
        if cell.make_mailbox().offer(ask):
            self._sent(ask)
        else:
            put = self._put(ref, ask)
            self.puts.append(self.runtime.env.start_task(put, name=f"ask:{cell.path}", context=Context()))

    def _sent(self, ask: Ask) -> None:
        ask.cell.wake()
        self.runtime.asks.add(ask, self.runtime.env.now())

    async def _put(self, ref: ActorRef[Any], ask: Ask) -> None:
        try:
            await ref._put_ask(ask, ask.seconds)  # pyright: ignore[reportPrivateUsage]
        except UnderstudyError as error:
            ask.fail(error)
        else:
            self._sent(ask)


def _outcome(ask: Ask) -> Any:
    error = ask.future.exception()
    return ask.future.result() if error is None else error
