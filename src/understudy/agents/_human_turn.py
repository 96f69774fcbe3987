"""One turn of a person: something is said to another agent, and what that says and does is delivered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from understudy.agents._conversation import Converse, Prompt, Said, TextDelta, ToolEnded, ToolStarted, TurnEnded
from understudy.agents._deliveries import TurnOver, TurnStarted, TurnText, TurnToolEnded, TurnToolStarted
from understudy.exceptions import UnderstudyError, Unhandled

if TYPE_CHECKING:
    from collections.abc import Callable

    from understudy.actors._ref import ActorRef
    from understudy.agents._conversation import Spoken
    from understudy.agents._deliveries import TurnStatus
    from understudy.agents._outbox import Outbox

__all__ = ["HumanTurn"]


class HumanTurn:
    """One turn.

    Args:
        outbox: Where to what is said goes.
        message: What the person says.
        target: Finds out who answers.
        patience: Seconds to wait for the next part of the answer.
    """

    def __init__(self, outbox: Outbox, message: Converse, target: Callable[[], ActorRef[Any]], patience: float) -> None:
        self.number = outbox.next_turn()
        self._outbox = outbox
        self._message = message
        self._target = target
        self._patience = patience
        self._heard = False
        self._texts: list[str] = []
        self._said: Said | None = None
        outbox.post(TurnStarted, turn=self.number, text=message.text, conversation=message.conversation)

    async def run(self) -> None:
        """Take it to its end, which is delivered whatever it is. A cancel interrupts it."""
        status: TurnStatus = "interrupted"
        problem = ""
        try:
            await self._converse()
            status = "completed"
        except UnderstudyError as error:
            status, problem = "failed", str(error)
        finally:
            self.over(status, problem)

    def over(self, status: TurnStatus, problem: str = "") -> None:
        """Deliver the end, unless that has been done."""
        if not self._is_current:
            return
        said = self._said or Said(text="".join(self._texts), conversation=self._message.conversation)
        self._outbox.post(
            TurnOver,
            turn=self.number,
            status=status,
            text=said.text,
            speaker=said.speaker,
            conversation=self._message.conversation,
            problem=problem,
        )

    async def _converse(self) -> None:
        target = self._target()
        try:
            async with target.stream(self._message, timeout=self._patience) as parts:
                async for part in parts:
                    self._take(part)
        except Unhandled as error:
            if self._heard or error.message != self._message:
                raise
        else:
            return
        said = await target.ask(Prompt(**self._message.model_dump()), timeout=self._patience)
        self._take(TextDelta(text=said.text))
        self._take(TurnEnded(said=said))

    def _take(self, part: Spoken) -> None:
        self._heard = True
        match part:
            case TextDelta():
                self._texts.append(part.text)
                self._post(TurnText, text=part.text)
            case ToolStarted():
                self._post(TurnToolStarted, call=part.call, tool=part.tool)
            case ToolEnded():
                self._post(TurnToolEnded, call=part.call, tool=part.tool, status=part.status)
            case TurnEnded():
                self._said = part.said

    @property
    def _is_current(self) -> bool:
        current = self._outbox.turn
        return current is not None and current.turn == self.number

    def _post(self, kind: Callable[..., Any], **facts: Any) -> None:
        if self._is_current:  # not what an incarnation of before has left running
            self._outbox.post(kind, turn=self.number, **facts)
