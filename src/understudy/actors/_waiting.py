"""Who waits for whom, and until when: what the code that runs at this moment has in hand."""

from __future__ import annotations

import asyncio
import math
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from understudy._plans._spec import number_of
from understudy.actors._asks import FRAME, Ask, find_cycle
from understudy.actors._life import Turn
from understudy.actors._plain_ask import ASKED, PlainAsk
from understudy.exceptions import AskCycle, InvalidTimeout

if TYPE_CHECKING:
    from collections.abc import Generator
    from contextlib import AbstractContextManager

    from understudy.actors._cell import Cell
    from understudy.reasons import ExitReason

__all__ = [
    "NOBODY",
    "Detached",
    "Waiting",
    "check_timeout",
    "detached",
    "end_of",
    "frame_now",
    "hand_now",
    "longer_than_the_asker",
]

_LONGER = 0.5
"""Seconds."""


def check_timeout(timeout: object) -> float | None:
    """*timeout* as seconds, None for none; refuse what is no positive number."""
    if timeout is None:
        return None
    seconds = number_of(timeout)
    if seconds is None or seconds <= 0:
        raise InvalidTimeout(value=timeout)
    return seconds


async def end_of(cell: Cell) -> ExitReason:
    """Wait for the final end of *cell*, past all restarts, and return its reason."""
    ended: asyncio.Future[ExitReason] = cell.runtime.env.loop.create_future()

    def tell(reason: ExitReason) -> None:
        if not ended.done():
            ended.set_result(reason)

    cell.observe(tell)
    try:
        return await ended
    finally:
        cell.unobserve(tell)


class Detached:
    """A frame whose deadline binds nothing that is asked within."""

    __slots__ = ("frame",)

    def __init__(self, frame: Any) -> None:
        self.frame = frame


@contextmanager
def detached() -> Generator[None, None, None]:
    """Within the block, the deadline of the ask that is being handled binds nothing.

    An ask there waits as long as its own ``timeout`` says, or as it would anywhere else, also when nobody waits for the
    outer reply any more; so do asks of tasks that are made there. Waits that could never end are found as ever. In code
    that handles no ask it changes nothing.
    """
    frame = FRAME.get()
    if frame is None or type(frame) is Detached:
        yield
        return
    FRAME.set(Detached(frame))
    try:
        yield
    finally:
        FRAME.set(frame)


def frame_now() -> Any:
    """What the code that runs at this moment is part of, detached or not; None in a ``def`` handler and outside."""
    frame = FRAME.get()
    return frame.frame if type(frame) is Detached else frame


def hand_now() -> Any:
    """The envelope that the code which runs at this moment handles, if it is in one and still in hand."""
    frame = frame_now()
    if type(frame) is Turn:
        return None if frame.over else frame.hand
    return frame if isinstance(frame, Ask) and frame.in_hand else None


def longer_than_the_asker(now: float) -> float:
    """Seconds for what a cancellable handler asks of others: a little longer than the asker of what is in hand waits.

    So he gives up first, and the handler is cancelled. Were it the very same deadline, this one might come first, and a
    timeout leave the handler, which is a crash. Infinite where nobody waits.
    """
    return Waiting.now().seconds(None, None, now, math.inf) + _LONGER


class Waiting:
    """The actor whose code waits, if it is an actor's, and the ask that it is handling."""

    __slots__ = ("ask", "cell", "serial")

    def __init__(self, cell: Cell | None, ask: Ask | None, *, serial: bool = True) -> None:
        self.cell = cell
        # Whose deadline binds; None when there is none.
        self.ask = ask
        # The actor handles nothing else meanwhile, so that its waits can close a circle.
        self.serial = serial

    @classmethod
    def now(cls) -> Waiting:
        """Who runs at this moment.

        The handler of an ask is recognised in tasks that it has made too, as long as the message is in hand; that of a
        tell in its own task only.
        """
        frame = FRAME.get()
        if frame is None:
            return NOBODY
        if type(frame) is PlainAsk:  # what most are
            return cls(frame.cell, frame) if frame.in_hand else NOBODY
        if type(frame) is Detached:
            inner = cls._of(frame.frame)
            return cls(inner.cell, None, serial=inner.serial)
        return cls._of(frame)

    @classmethod
    def _of(cls, frame: Any) -> Waiting:
        if isinstance(frame, Ask):
            return cls(frame.cell, _binding(frame)) if frame.in_hand else NOBODY
        if type(frame) is Turn:
            return cls(frame.cell, _binding(frame.hand), serial=False) if not frame.over else NOBODY
        job = frame.job
        return cls(frame, None) if job is not None and job.task is asyncio.current_task() else NOBODY

    def seconds(self, timeout: float | None, message: object, now: float, default: float) -> float:
        """How long to wait, never longer than what is left of the ask in hand."""
        if self.ask is None:
            return timeout or getattr(message, "reply_within", None) or default
        left = max(self.ask.deadline - now, 0.0)
        return left if timeout is None else min(timeout, left)

    def begin(self, target: Cell, token: object, message: object) -> None:
        """From here on this actor waits for *target*.

        Raises:
            AskCycle: It would wait for ever.
        """
        cell = self.cell
        if cell is None or not self.serial:
            return
        chain = find_cycle(cell, target)
        if chain is not None:
            raise AskCycle(chain=chain, message=message)
        if cell.waits is None:
            cell.waits = {}
        cell.waits[token] = target

    def on(self, *targets: Cell) -> AbstractContextManager[None]:
        """Within the block, this actor waits for all of *targets*.

        Raises:
            AskCycle: It would wait for ever.
        """
        return self._on(targets) if self.cell is not None and self.serial else _NO_WAIT

    @contextmanager
    def _on(self, targets: tuple[Cell, ...]) -> Generator[None, None, None]:
        tokens = [object() for _ in targets]
        try:
            for target, token in zip(targets, tokens, strict=True):
                self.begin(target, token, None)
            yield
        finally:
            for token in tokens:
                self.end(token)

    def end(self, token: object) -> None:
        """The wait is over; it may have been forgotten before, when the handler ended."""
        if self.cell is not None and self.cell.waits is not None:
            self.cell.waits.pop(token, None)


def _binding(hand: Any) -> Ask | None:
    """The ask in hand, if its deadline is one for what is asked on the way.

    A stream whose consumer has no deadline has none, and what is asked for it has the usual one.
    """
    return hand if type(hand) in ASKED or (isinstance(hand, Ask) and hand.deadline < math.inf) else None


NOBODY = Waiting(None, None)
"""Code that is no actor's."""
_NO_WAIT = nullcontext()
