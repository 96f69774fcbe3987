"""What the answers of those whom a meeting has asked mean for its plan; each is a value, or an error."""

from __future__ import annotations

from typing import TYPE_CHECKING

from understudy.agents._conversation import Said
from understudy.agents._meeting_messages import NextSpeaker, Rsvp
from understudy.exceptions import ActorStopped, AskTimeout, Refused, Unhandled
from understudy.reasons import plain_seconds

if TYPE_CHECKING:
    from understudy.agents._meeting_plan import MeetingPlan

__all__ = ["take_choice", "take_rsvp", "take_words"]


def take_rsvp(plan: MeetingPlan, name: str, value: object) -> None:
    """What *name* has answered to an invitation. Who has no handler for one cannot decline, and comes."""
    match value:
        case Rsvp(coming=True) | Unhandled():
            plan.accepted(name)
        case Rsvp(comment=comment):
            plan.declined(name, f"has declined: {comment}" if comment else "has declined")
        case Refused():
            plan.declined(name, f"has declined: {value}")
        case AskTimeout():
            plan.silent(name, f"has not answered within {plain_seconds(plan.rules.invite_seconds)}")
        case ActorStopped():
            plan.gone(name, f"has ended: {value.reason}")
        case BaseException():
            plan.declined(name, f"could not be invited: {_told(value)}")
        case _:
            plan.declined(name, f"has answered an invitation with {value!r}, and not with an Rsvp")


def take_words(plan: MeetingPlan, ticket: int, value: object) -> None:
    """What whoever has the floor has answered."""
    if isinstance(value, Said):
        plan.spoke(ticket, value.text, more=not value.end_of_turn)
    else:
        plan.missed(ticket, _why_missed(value, plan.rules.turn_seconds))


def take_choice(plan: MeetingPlan, ticket: int, value: object) -> None:
    """What the moderator has answered."""
    if isinstance(value, NextSpeaker):
        plan.chose(ticket, value)
    else:
        plan.missed(ticket, _why_missed(value, plan.rules.turn_seconds))


def _why_missed(value: object, seconds: float) -> str:
    match value:
        case AskTimeout():
            return f"no answer within {plain_seconds(seconds)}"
        case BaseException():
            return _told(value)
        case _:
            return f"it has answered with {value!r}"


def _told(error: BaseException) -> str:
    cause = error.__cause__
    return str(error) if cause is None else f"{type(cause).__name__}: {cause}"
