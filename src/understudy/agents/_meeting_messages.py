"""What is said in meetings: invitations, turns, news of what has happened, and what members tell the meeting."""

from __future__ import annotations

import math
from typing import Any, ClassVar, Generic, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import to_json
from typing_extensions import TypeVar

from understudy.actors._ref import ActorRef
from understudy.agents._conversation import Prompt, Say, Structured
from understudy.exceptions import Refused
from understudy.messages import Message

__all__ = [
    "Adjourn",
    "AwaitEnd",
    "ChangeState",
    "ChooseSpeaker",
    "Contribute",
    "GetMeeting",
    "Invitation",
    "Join",
    "Leave",
    "MeetingEnded",
    "MeetingMessage",
    "MeetingNews",
    "MeetingOutcome",
    "MeetingPhase",
    "MeetingView",
    "MemberMessage",
    "Minute",
    "NextSpeaker",
    "NotInMeeting",
    "NotYourTurn",
    "RequestTurn",
    "Rsvp",
    "StaleState",
    "YourTurn",
]

R = TypeVar("R", default=Any)

MeetingPhase: TypeAlias = Literal["inviting", "in_session", "ended"]
MeetingOutcome: TypeAlias = Literal["held", "not_held", "broken_off", "failed"]
MinuteKind: TypeAlias = Literal["joined", "began", "said", "passed", "missed", "changed", "left", "removed"]

_FROZEN = ConfigDict(frozen=True, extra="forbid")


class Minute(BaseModel):
    """One thing that has happened in a meeting."""

    model_config = _FROZEN

    number: int = Field(ge=1)
    """1, 2, 3, ... without a gap: its place in the minutes."""
    seconds: float
    """When, counted from the beginning of the meeting."""
    kind: MinuteKind
    """``"joined"``, ``"left"``, ``"removed"``: who is a member has changed. ``"began"``: enough are there. ``"said"``,
    ``"passed"``, ``"missed"``: what somebody has made of a turn. ``"changed"``: the shared state is another one."""
    who: str = ""
    """The name of the member that it is about; empty for the meeting itself."""
    text: str = ""
    """What was said; or why, in the other cases."""
    version: int = 0
    """Of the shared state, after this."""
    state: Any = None
    """The shared state, where it has changed: a pydantic model, plain data in another process."""

    def __str__(self) -> str:
        why = f": {self.text}" if self.text else ""
        match self.kind:
            case "said":
                return f"{self.who}: {self.text}"
            case "began":
                return "The meeting begins."
            case "passed":
                return f"{self.who} has nothing to say."
            case "missed":
                return f"{self.who} has missed a turn{why}."
            case "changed":
                shown = to_json(self.state).decode()
                return f"{self.who} has changed the shared state, which is now number {self.version}: {shown}"
            case "joined":
                return f"{self.who} has joined."
            case "left" | "removed":
                return f"{self.who} {'has left' if self.kind == 'left' else 'is no member any more'}{why}."


# What the meeting sends to those whom it invites


class Rsvp(BaseModel):
    """The answer to an :class:`Invitation`."""

    model_config = _FROZEN

    coming: bool = True
    """Whether it does."""
    comment: str = ""
    """Why, or why not."""


class Invitation(Message[Rsvp]):
    """A meeting asks somebody to come. Who has no handler for it, and so no way to say no, is taken to come."""

    meeting: ActorRef[Any]
    """Takes :class:`Join` from who could not answer in time, and what else there is for members."""
    meeting_id: str
    """The id of the meeting."""
    topic: str
    """What it is about."""
    name: str
    """Under which whoever is invited is known in the meeting."""
    required: bool
    """Whether it is not held without."""
    attendees: tuple[str, ...]
    """The names of all who are invited."""
    seconds: float
    """How long the meeting waits for an answer."""


class YourTurn(Prompt):
    """A meeting gives the floor to a member. It is a :class:`Prompt`: whoever takes those takes part."""

    meeting: ActorRef[Any]
    """Takes what members may say besides their answer."""
    turn: int
    """1, 2, 3, ...: the number of the turn."""
    seconds: float
    """How long it may take."""
    version: int = 0
    """Of the shared state."""
    state: Any = None
    """The shared state, as it is now."""


class NextSpeaker(BaseModel):
    """Whom a moderator gives the floor."""

    model_config = _FROZEN

    name: str | None
    """One of the candidates; None: the meeting is over."""
    why: str = ""
    """Why."""


class ChooseSpeaker(Structured[NextSpeaker]):
    """A meeting asks its moderator who shall speak next, or whether it is over."""

    meeting: ActorRef[Any]
    """Whose speaker is chosen."""
    candidates: tuple[str, ...]
    """The names of those who are there, the moderator among them."""


class MeetingNews(Say):
    """A meeting tells a member what has happened. It is a :class:`Say`: whoever takes those is kept informed.

    *minutes* are those behind what the member was told last, in their order and without a gap. Who joins late, or has
    been restarted and forgotten what was told before, is told all of them.
    """

    meeting_id: str
    """The id of the meeting."""
    minutes: tuple[Minute, ...]
    """What has happened."""


class MeetingEnded(Say):
    """A meeting is over; told once to each member, to those who have not answered, and to who waits for the end."""

    meeting_id: str
    """The id of the meeting."""
    outcome: MeetingOutcome
    """``"held"``: it came to its end in order. ``"not_held"``: it never began. ``"broken_off"``: it had begun, and
    could not go on, or was stopped. ``"failed"``: the meeting itself has crashed, or was killed."""
    reason: str
    """Why it is over, in words."""
    minutes: tuple[Minute, ...] = ()
    """All of them."""
    version: int = 0
    """How often the shared state was changed."""
    state: Any = None
    """The shared state, at last."""
    absent: dict[str, str] = Field(default_factory=dict)
    """Who was invited and is not there at the end, and why."""


class MeetingView(BaseModel):
    """A meeting as it is now; the answer to :class:`Join` and :class:`GetMeeting`."""

    model_config = _FROZEN

    meeting_id: str
    """The id of the meeting."""
    topic: str
    """What it is about."""
    phase: MeetingPhase
    """``"inviting"``, ``"in_session"`` or ``"ended"``."""
    members: tuple[str, ...]
    """The names of those who are there, in the order of the invitations."""
    absent: dict[str, str]
    """The others, and why they are not."""
    floor: str | None
    """Whose turn it is."""
    minutes: tuple[Minute, ...]
    """All of them."""
    version: int
    """How often the shared state was changed."""
    state: Any = None
    """The shared state."""


# What others send to the meeting


class MemberMessage(Message[R], Generic[R]):
    """To a meeting, by somebody who was invited."""

    member: str = ""
    """Whose message it is, where it is not sent by the handler of an actor; of actors the meeting knows it itself."""


class Join(MemberMessage[MeetingView]):
    """To a meeting: somebody who was invited comes after all, or wants to be told again what has happened so far."""


class Leave(MemberMessage[None]):
    """To a meeting: a member goes."""

    why: str = ""
    """The reason, for the others."""


class RequestTurn(MemberMessage[int]):
    """To a meeting: a member would like to speak; the answer is how many come before. Once is enough until it has."""


class Contribute(MemberMessage[int]):
    """To a meeting: whoever has the floor says something, besides the answer to :class:`YourTurn`.

    The answer is the number of the minute. At any other time it is refused, with :class:`NotYourTurn`.
    """

    text: str
    """What it says."""


class ChangeState(MemberMessage[int]):
    """To a meeting: a member changes the shared state; the answer is the new version.

    The new state is validated by its model, and refused whole if that does not accept it. Members may do it at any time
    while the meeting is in session.
    """

    changes: dict[str, Any]
    """The new values of fields; the others stay."""
    based_on: int | None = None
    """Refuse it, with :class:`StaleState`, unless the state has this version."""


class Adjourn(Message):
    """To a meeting: it is over now, in order. Anybody may say so."""

    why: str = "it was adjourned"
    """The reason, for all."""


class GetMeeting(Message[MeetingView]):
    """To a meeting: how is it going?"""


class AwaitEnd(Message[MeetingEnded]):
    """To a meeting: wait for its end."""

    reply_within: ClassVar[float | None] = math.inf
    """As long as it takes; a meeting always ends."""


MeetingMessage: TypeAlias = Join | Leave | RequestTurn | Contribute | ChangeState | Adjourn | GetMeeting | AwaitEnd
"""What a meeting takes."""


class NotInMeeting(Refused):
    """Only members may do that."""

    def __init__(self, meeting: str, who: str, problem: str) -> None:
        super().__init__(f"{who or 'somebody unknown'} cannot do that in {meeting}: {problem}")
        self.meeting = meeting
        self.who = who


class NotYourTurn(Refused):
    """Somebody else has the floor, or nobody."""

    def __init__(self, who: str, floor: str | None) -> None:
        super().__init__(f"{who} has not the floor, {floor or 'nobody'} has: ask for it by RequestTurn()")
        self.who = who
        self.floor = floor


class StaleState(Refused):
    """The shared state is not the one that a change was based on."""

    def __init__(self, based_on: int, version: int) -> None:
        super().__init__(f"the change is based on state {based_on}, which is now {version}: look at it and try again")
        self.based_on = based_on
        self.version = version
