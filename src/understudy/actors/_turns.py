"""Reentrant handlers: those during whose waits their actor handles further messages."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

from understudy.actors._asks import FRAME, Ask, message_of
from understudy.actors._life import Job, Turn
from understudy.instrument import Instrument
from understudy.reasons import is_abnormal

if TYPE_CHECKING:
    from understudy.actors._cell import Cell
    from understudy.actors._handler import Handler
    from understudy.actors._life import Ending

__all__ = ["Turns"]


class Turns:
    """The turns of one incarnation that are under way, each in a task of its own; made with the first of them.

    When there are as many as are allowed, the actor is busy until one of them has ended: its job is one that does
    nothing. A turn that is not in here any more has been abandoned, and returns in silence.
    """

    __slots__ = ("_actor", "_cell", "_full", "_limit", "_turns")

    def __init__(self, cell: Cell) -> None:
        self._cell = cell
        self._actor = cell.actor
        self._limit: int = cell.option("max_concurrency")
        self._turns: dict[Turn, None] = {}
        self._full: Job | None = None

    def __len__(self) -> int:
        return len(self._turns)

    def start(self, item: Any, message: Any, ask: Ask | None, handler: Handler) -> bool:
        """Handle *item*; False: there must be no more of them for now."""
        cell, env = self._cell, self._cell.runtime.env
        turn = Turn(cell, item, env.now())
        self._turns[turn] = None
        seconds = cell.spec.given.get("max_handling_seconds")
        if seconds is not None:
            turn.timer = env.call_at(turn.since + seconds, partial(self._too_long, turn, seconds))
        run, done = self._run(turn, message, ask, handler), partial(self._done, turn)
        env.start_task(run, name=f"actor:{cell.path}", context=turn.context, on_done=done)
        if len(self._turns) < self._limit:
            return True
        cell.job = self._full = Job("as many reentrant handlers as are allowed")
        return False

    @property
    def hands(self) -> list[Any]:
        """The messages and envelopes that are being handled."""
        return [turn.hand for turn in self._turns]

    @property
    def begun(self) -> list[tuple[Any, float]]:
        """The same, each with the time at which its handler began."""
        return [(turn.hand, turn.since) for turn in self._turns]

    def since(self, ask: Ask) -> float:
        """When the handler of *ask* began."""
        return next((turn.since for turn in self._turns if turn.hand is ask), 0.0)

    async def _run(self, turn: Turn, message: Any, ask: Ask | None, handler: Handler) -> None:
        turn.begin()
        FRAME.set(turn)
        cell = self._cell
        if turn not in self._turns:
            return
        if self._is_interrupted(turn):
            self._interrupted(turn)
            return
        try:
            result = await handler.function(self._actor, message)
        except BaseException as error:
            if isinstance(error, GeneratorExit) and not turn.is_current:
                raise
            if turn not in self._turns:
                return
            if self._is_interrupted(turn):
                self._interrupted(turn)
                return
            cell.failed(error, message, ask)
        else:
            if turn not in self._turns:
                return
            if ask is not None or result is not None:
                cell.replied(result, ask)
        self._over(turn)

    def _done(self, turn: Turn, task: asyncio.Task[None]) -> None:
        """The task has ended. Its last lines have seen to all, unless it was cancelled before its first one."""
        if turn not in self._turns:
            return
        if self._is_interrupted(turn):
            self._interrupted(turn)
            return
        ask = turn.hand if isinstance(turn.hand, Ask) else None
        defect = None if task.cancelled() else task.exception()
        error = defect or asyncio.CancelledError("cancelled by somebody before it began")
        self._cell.failed(error, message_of(turn.hand), ask)
        self._over(turn)

    def _too_long(self, turn: Turn, seconds: float) -> None:
        turn.timer = None
        cell, message = self._cell, message_of(turn.hand)
        cell.runtime.instruments.emit(Instrument.handling_too_long, cell.path, type(message).__name__, seconds)
        cell.force(keep=True)

    # The end

    def end(self, ending: Ending) -> None:
        """The incarnation is ending: they may end too, within its grace, unless it has failed."""
        if is_abnormal(ending.reason):
            for turn in self._turns:
                if not turn.recalled:
                    turn.recalled = True
                    turn.cancel()

    def cancel(self) -> None:
        """Interrupt them all, once more."""
        for turn in list(self._turns):
            turn.recalled = True
            turn.cancel()

    def abandon(self) -> None:
        """Give up on them all: from now on they are zombies."""
        env, instruments = self._cell.runtime.env, self._cell.runtime.instruments
        for turn in list(self._turns):
            if turn.started and turn.task is not None:
                instruments.emit(Instrument.abandoned, self._cell.path, env.tasks.abandon(turn.task))
            self._interrupted(turn)

    def _is_interrupted(self, turn: Turn) -> bool:
        """The mark: whatever a turn that was cancelled ends with, it means nothing."""
        ending = self._cell.ending
        return turn.recalled or (ending is not None and ending.interrupting)

    def _interrupted(self, turn: Turn) -> None:
        cell = self._cell
        cell.lose(turn.hand, cell.ending.final_reason() if cell.ending is not None else cell.why_not())
        self._over(turn)

    def _over(self, turn: Turn) -> None:
        del self._turns[turn]
        turn.end()
        cell, full = self._cell, self._full
        if full is not None:
            self._full = None
            if cell.job is full:
                cell.job = None
        if cell.attention or cell.draining is not None:
            cell.enqueue()
        elif full is not None:
            cell.settle()
