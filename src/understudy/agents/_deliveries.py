"""What a person is told: ``Delivery``, each with a cursor, in one order."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from understudy.agents._approving import ApprovalRequest, Decision

__all__ = [
    "ApprovalClosed",
    "ApprovalOpened",
    "Delivery",
    "DeliveryGap",
    "OpenRequest",
    "QuestionClosed",
    "QuestionOpened",
    "Remark",
    "SeatEnded",
    "TurnOver",
    "TurnStarted",
    "TurnStatus",
    "TurnText",
    "TurnToolEnded",
    "TurnToolStarted",
    "key_of",
]

TurnStatus: TypeAlias = Literal["completed", "interrupted", "failed"]


class _Delivered(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    cursor: int
    """1, 2, 3, ...: its place among all that this person was told."""


class Remark(_Delivered):
    """Somebody has said something, and waits for nothing."""

    kind: Literal["said"] = "said"
    """Tells the deliveries apart."""
    text: str
    """What was said."""
    speaker: str = ""
    """The id of who speaks; empty for somebody who is no agent."""
    conversation: str = ""
    """Which conversation it belongs to."""
    end_of_turn: bool = True
    """False: he has more to say."""


class TurnStarted(_Delivered):
    """The person has said something, here or through another channel, and somebody begins to answer."""

    kind: Literal["turn_started"] = "turn_started"
    """Tells the deliveries apart."""
    turn: int
    """The number of the turn."""
    text: str
    """What the person has said."""
    conversation: str = ""
    """Which conversation it belongs to."""


class TurnText(_Delivered):
    """Some more text of the answer. All of them together are the text; only with the delivery ``"stream"``."""

    kind: Literal["text"] = "text"
    """Tells the deliveries apart."""
    turn: int
    """The number of the turn."""
    text: str
    """Some more text."""


class TurnToolStarted(_Delivered):
    """Whoever answers begins to use a tool."""

    kind: Literal["tool_started"] = "tool_started"
    """Tells the deliveries apart."""
    turn: int
    """The number of the turn."""
    call: str
    """The id of the call."""
    tool: str
    """Its name."""


class TurnToolEnded(_Delivered):
    """The call of a tool has got its one result."""

    kind: Literal["tool_ended"] = "tool_ended"
    """Tells the deliveries apart."""
    turn: int
    """The number of the turn."""
    call: str
    """The id of the call."""
    tool: str
    """Its name."""
    status: str
    """``"ok"``, ``"error"``, ``"denied"`` or ``"interrupted"``."""


class TurnOver(_Delivered):
    """The turn is over; each that has started has exactly one end, as long as the agent lives."""

    kind: Literal["turn_ended"] = "turn_ended"
    """Tells the deliveries apart."""
    turn: int
    """The number of the turn."""
    status: TurnStatus
    """``"completed"``; ``"interrupted"``: by the person, or because the agent was restarted; ``"failed"``."""
    text: str = ""
    """All that was said, if it was completed; as far as it came otherwise."""
    speaker: str = ""
    """The id of who has answered."""
    conversation: str = ""
    """Which conversation it belongs to."""
    problem: str = ""
    """Why it has failed."""


class QuestionOpened(_Delivered):
    """Somebody waits for an answer, by ``seat.answer(number, ...)``."""

    kind: Literal["question"] = "question"
    """Tells the deliveries apart."""
    number: int
    """The number of the question."""
    text: str
    """What is asked."""
    speaker: str = ""
    """The id of who speaks; empty for somebody who is no agent."""
    conversation: str = ""
    """Which conversation it belongs to."""


class QuestionClosed(_Delivered):
    """Nobody waits for that answer any more."""

    kind: Literal["question_closed"] = "question_closed"
    """Tells the deliveries apart."""
    number: int
    """The number of the question."""
    why: Literal["answered", "given_up", "refused"]
    """``"answered"``, with the answer in *text*; ``"given_up"``: whoever has asked waits no longer, or the agent was
    restarted; ``"refused"``: nobody is there to answer."""
    text: str = ""
    """The answer, if there was one."""


class ApprovalOpened(_Delivered):
    """Somebody has to decide, here by ``seat.decide(number, ...)``, or through another channel."""

    kind: Literal["approval"] = "approval"
    """Tells the deliveries apart."""
    number: int
    """The number of the request."""
    request: ApprovalRequest
    """What is to be decided."""


class ApprovalClosed(_Delivered):
    """It is decided, through whatever channel."""

    kind: Literal["approval_decided"] = "approval_decided"
    """Tells the deliveries apart."""
    number: int
    """The number of the request."""
    decision: Decision
    """What holds."""


OpenRequest: TypeAlias = QuestionOpened | ApprovalOpened
"""What waits for the person."""


def key_of(request: OpenRequest | QuestionClosed | ApprovalClosed) -> tuple[str, int]:
    """What tells a request from all others of the same person; that it is closed has the same."""
    return "question" if isinstance(request, QuestionOpened | QuestionClosed) else "approval", request.number


class DeliveryGap(_Delivered):
    """Deliveries are lost: they were dropped from the outbox before they were read. *cursor* is that of the last one.

    It is told to the one reader who has missed them, and is not kept.
    """

    kind: Literal["gap"] = "gap"
    """Tells the deliveries apart."""
    missed: int
    """How many were dropped."""
    waiting: tuple[OpenRequest, ...] = ()
    """Those among them that still wait for the person, with their own cursors."""


class SeatEnded(_Delivered):
    """The last delivery to each reader of a seat; it is not kept. *cursor* is that of the latest before."""

    kind: Literal["ended"] = "ended"
    """Tells the deliveries apart."""
    reason: str
    """Why it has ended."""


Delivery: TypeAlias = Annotated[
    Remark
    | TurnStarted
    | TurnText
    | TurnToolStarted
    | TurnToolEnded
    | TurnOver
    | QuestionOpened
    | QuestionClosed
    | ApprovalOpened
    | ApprovalClosed
    | DeliveryGap
    | SeatEnded,
    Field(discriminator="kind"),
]
"""What a person is told; *kind* tells them apart, also as JSON."""
