"""``Acts``: what a person does on the page, each of it once, however often it is said."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from understudy.agents._chat_frames import AnswerFrame, DecideFrame, Done, InterruptFrame, SayFrame
from understudy.agents._remembered import remember
from understudy.exceptions import UnderstudyError

if TYPE_CHECKING:
    from collections.abc import Callable

    from understudy.agents._chat_frames import Act
    from understudy.agents._seat import Seat

__all__ = ["Acts", "Outcomes"]

PENDING = 32
"""Acts that may be under way: what the person says waits for the turn before it."""
_TEXT = 2_000
"""Characters of a problem that the page is told."""


class Outcomes(OrderedDict[str, Done]):
    """What has become of the latest acts, by their ids, for a page that has lost the answer."""

    def note(self, done: Done) -> None:
        """One more; the oldest is forgotten."""
        remember(self, done.id, done)


class Acts:
    """The acts of one person at one seat.

    An act goes on when the connection that has said it is lost: the page says it again with the same id, and is told
    what has become of it.

    Args:
        seat: Where they are done, as tasks of its agent.
        outcomes: Of those that are done, also at the seat before.
    """

    def __init__(self, seat: Seat, outcomes: Outcomes) -> None:
        self._seat = seat
        self._outcomes = outcomes
        # Of those under way, by their ids: who wants to know of the end.
        self._waiting: dict[str, list[Callable[[Done], None]]] = {}

    def begin(self, act: Act, tell: Callable[[Done], None]) -> None:
        """Do *act*, unless that was begun already, and *tell* what has become of it.

        Raises:
            SeatClosed: The agent has ended.
        """
        if act.id in self._outcomes:
            tell(self._outcomes[act.id])
        elif act.id in self._waiting:
            self._waiting[act.id].append(tell)
        elif len(self._waiting) >= PENDING:
            tell(Done(id=act.id, ok=False, text="too much waits to be done: try again later"))
        else:
            self._waiting[act.id] = [tell]
            self._seat.start_task(self._do(act), name=act.kind)

    async def _do(self, act: Act) -> None:
        done = Done(id=act.id, ok=False, text="it was given up, since the agent has ended")
        try:
            done = await self._perform(act)
        except UnderstudyError as error:
            done = Done(id=act.id, ok=False, text=str(error)[:_TEXT])
        finally:
            self._outcomes.note(done)
            for tell in self._waiting.pop(act.id):
                tell(done)

    async def _perform(self, act: Act) -> Done:
        match act:
            case SayFrame():
                await self._seat.say(act.text, conversation=act.conversation)
            case AnswerFrame():
                self._seat.answer(act.number, act.text)
            case InterruptFrame():
                await self._seat.interrupt()
            case DecideFrame():
                resolution = await self._seat.decide(act.number, act.approve, act.comment)
                if not resolution.accepted:
                    held = resolution.decision
                    by = f" by {held.by}" if held.by else ""
                    return Done(id=act.id, ok=False, text=f"it had been {held.status}{by} before")
        return Done(id=act.id, ok=True)
