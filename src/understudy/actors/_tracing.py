"""Traces: what one actor receives, handles and answers, told to another."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from understudy.actors._asks import Ask, message_of, sender_of
from understudy.actors._handler import Handler, HandlerTable, WrappedTable
from understudy.actors._life import Turn
from understudy.actors._recall import Withdrawn
from understudy.actors._streams import StreamAsk
from understudy.actors._waiting import frame_now
from understudy.exceptions import Refused, Unhandled
from understudy.messages import Continue, DeadLetter, Traced

if TYPE_CHECKING:
    from collections.abc import Callable

    from understudy.actors._cell import Cell
    from understudy.actors._ref import ActorRef
    from understudy.messages import TraceEvent
    from understudy.reasons import ExitReason

__all__ = ["Trace", "plain"]


class Trace:
    """Tells a tracer what happens to one actor, until the tracer has ended.

    What tells of a trace is not told of itself: so actors that trace themselves, or each other, come to rest.
    """

    __slots__ = ("_cell", "_missed", "_on", "_over", "_to")

    def __init__(self, cell: Cell, to: ActorRef[Any], over: Callable[[Cell], object]) -> None:
        self._cell = cell
        self._to = to
        self._over = over
        self._missed = 0
        # Whether there is still something to tell: a handler that had begun before the end has not ended yet.
        self._on = True
        to._cell.observe(self._ended)  # pyright: ignore[reportPrivateUsage]

    def end(self) -> None:
        """Tell nothing more."""
        self._on = False
        self._to._cell.unobserve(self._ended)  # pyright: ignore[reportPrivateUsage]

    def _ended(self, reason: ExitReason) -> None:
        self._over(self._cell)

    def tell(self, event: TraceEvent, message: object = None, detail: object = None, sender: str | None = None) -> None:
        """*event* has happened."""
        if not self._on or _is_of_a_trace(message):
            return
        cell = self._cell
        told = Traced(
            event=event,
            path=cell.path,
            incarnation=cell.incarnation,
            time=cell.runtime.env.now(),
            message=message,
            sender=sender,
            detail=detail,
            missed=self._missed,
        )
        try:
            # Quietly: a dead letter for each that finds no room would be a flood of its own.
            accepted = self._to.tell_quietly(told)
        except Exception as error:  # of the tracer's mailbox, which asks for a priority or a weight
            accepted = False
            cell.runtime.complain(f"{self._to.path} cannot take a trace", error)
        self._missed = 0 if accepted else self._missed + 1

    # Handlers

    def shown(self, table: HandlerTable) -> HandlerTable:
        """*table*, with each handler telling of itself; what is not traced has the table as it is, and pays nothing."""
        traced = _TracedTable(table, self.wrap)
        traced.fallback = traced.fallback or self.wrap(_UNHANDLED)
        return traced

    def wrap(self, handler: Handler) -> Handler:
        """The same handler, telling of itself."""
        function = handler.function

        @functools.wraps(function)
        def call(actor: Any, message: Any) -> Any:
            hand = self._received(message)
            try:
                result = function(actor, message)
            except BaseException as error:
                self._raised(message, error)
                raise
            self._returned(hand, message, result)
            return result

        @functools.wraps(function)
        async def call_async(actor: Any, message: Any) -> Any:
            hand = self._received(message)
            try:
                result = await function(actor, message)
            except BaseException as error:
                if not isinstance(error, GeneratorExit) and self._lives:
                    self._raised(message, error)
                raise
            if self._lives:
                self._returned(hand, message, result)
            return result

        return replace(handler, function=call_async if handler.is_async else call)

    def _received(self, message: object) -> Any:
        """The envelope of *message*, if it has one."""
        frame = frame_now()
        hand = frame.hand if type(frame) is Turn else self._cell.hand
        if hand is None or message_of(hand) is not message:
            hand = None
        self.tell("received", message, None, sender_of(hand))
        return hand

    @property
    def _lives(self) -> bool:
        """Whether the async handler that runs has not been given up on: what a zombie does is not the actor's."""
        job, frame = self._cell.job, frame_now()
        if type(frame) is Turn:
            return not frame.over
        return job is not None and job.is_current

    def _returned(self, hand: Any, message: object, result: object) -> None:
        asked = isinstance(hand, Ask) and type(hand) is not StreamAsk and hand.in_hand and not hand.promised
        if asked:
            self.tell("late" if hand.future.done() else "replied", message, result)
        else:
            self.tell("handled", message, result if type(result) is Continue else None)

    @property
    def _interrupts(self) -> bool:
        """Whether the runtime has set its mark on the handler that runs: whatever that ends with means nothing."""
        ending, frame = self._cell.ending, frame_now()
        return (ending is not None and ending.interrupting) or (type(frame) is Turn and frame.recalled)

    def _raised(self, message: object, error: BaseException) -> None:
        if isinstance(error, Withdrawn) or self._interrupts:
            self.tell("interrupted", message)
        elif isinstance(error, Refused):
            self.tell("refused", message, error)
        elif isinstance(error, Unhandled) and error.message is message and error.path == self._cell.path:
            self.tell("unhandled", message)
        else:
            self.tell("failed", message, error)


def plain(table: HandlerTable) -> HandlerTable:
    """What is behind *table*, if that tells of itself."""
    return table.behind if isinstance(table, _TracedTable) else table


def _is_of_a_trace(message: object) -> bool:
    if isinstance(message, list):
        return any(map(_is_of_a_trace, cast("list[object]", message)))
    return type(message) is Traced or (type(message) is DeadLetter and _is_of_a_trace(message.message))


class _TracedTable(WrappedTable):
    """Handlers that tell of themselves."""


def _refuse(actor: Any, message: object) -> None:
    raise Unhandled(path=actor.context.path, message=message)


_UNHANDLED = Handler(_refuse, "nothing", is_async=False)
