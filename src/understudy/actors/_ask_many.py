"""Asking many at once, with one deadline for all."""

from __future__ import annotations

from contextvars import Context
from typing import TYPE_CHECKING, Any, TypeVar, overload

from understudy.actors._ref import check_ref
from understudy.actors._round import Round
from understudy.actors._waiting import check_timeout
from understudy.exceptions import AskCycle, InvalidSpec, UnderstudyError

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterable

    from understudy.actors._asks import FutureAsk
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
        InvalidSpec: There is something else than refs, or pairs of a ref and a message; nothing was sent.
    """
    timeout = check_timeout(timeout)
    pairs = [_pair(each if message is None else (each, message)) for each in asks]
    if not pairs:
        return []
    for ref, _ in pairs:
        ref._cell.check_loop()  # pyright: ignore[reportPrivateUsage]
    runtime = pairs[0][0]._cell.runtime  # pyright: ignore[reportPrivateUsage]
    puts: list[asyncio.Task[None]] = []
    with Round(runtime, timeout, [message for _, message in pairs]) as round_:
        try:
            for ref, message in pairs:
                put = _send(round_, ref, message)
                if put is not None:
                    puts.append(put)
            runtime.dispatcher.run_ahead()
            await round_.settled()
            return round_.take_all()
        finally:
            for put in puts:
                put.cancel()


def _pair(each: Any) -> tuple[ActorRef[Any], Any]:
    if not isinstance(each, tuple) or len(each) != 2:  # pyright: ignore[reportUnknownArgumentType]
        problem = f"must be pairs of a ref and a message, or refs with one message for all, got {each!r}"
        raise InvalidSpec(child="ask_many", field="asks", problem=problem)
    ref, message = each  # pyright: ignore[reportUnknownVariableType]
    return check_ref(ref, "ask_many"), message  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]


def _send(round_: Round, ref: ActorRef[Any], message: Any) -> asyncio.Task[None] | None:
    """Ask; where there is no room yet, a task does. There are few of those, so each has one of its own."""
    cell = ref._cell  # pyright: ignore[reportPrivateUsage]
    ask = round_.ask(cell, message)
    if cell.gate is not None:
        cell.refuse(message, ask.sender_path)
        ask.fail(cell.stopped_error(message))
        return None
    try:
        round_.waiting.begin(cell, ask, message)
    except AskCycle as error:
        ask.fail(error)
        return None
    if ref._queues:  # pyright: ignore[reportPrivateUsage]
        round_.sent(ask, ref._ask_now(ask))  # pyright: ignore[reportPrivateUsage]
        return None
    if not cell.make_mailbox().offer(ask):
        put = _put(round_, ref, ask)
        return cell.runtime.env.start_task(put, name=f"ask:{cell.path}", context=Context())
    _sent(round_, ask)
    return None


async def _put(round_: Round, ref: ActorRef[Any], ask: FutureAsk) -> None:
    try:
        await ref._put_ask(ask, ask.seconds)  # pyright: ignore[reportPrivateUsage]
    except UnderstudyError as error:
        ask.fail(error)
    else:
        _sent(round_, ask)


def _sent(round_: Round, ask: FutureAsk) -> None:
    ask.cell.wake()
    round_.sent(ask)
