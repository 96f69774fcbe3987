"""What the plan of a meeting wants to be done."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from understudy.agents._meeting_messages import MeetingEnded

__all__ = ["AskToChoose", "AskToSpeak", "Close", "Dismiss", "Effect", "Invite", "TakeBack"]


@dataclass(frozen=True, slots=True)
class Invite:
    """Ask whether somebody comes."""

    name: str


@dataclass(frozen=True, slots=True)
class AskToSpeak:
    """A member has the floor."""

    ticket: int
    """For the answer: an old one is worth nothing."""
    turn: int
    name: str


@dataclass(frozen=True, slots=True)
class AskToChoose:
    """A moderator shall say who is next."""

    ticket: int
    name: str
    candidates: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TakeBack:
    """The turn under way is over: give up waiting for what comes of it."""


@dataclass(frozen=True, slots=True)
class Dismiss:
    """Somebody is no member any more; tell what has happened up to that, and nothing behind it."""

    name: str


@dataclass(frozen=True, slots=True)
class Close:
    """The meeting is over."""

    ended: MeetingEnded


Effect: TypeAlias = Invite | AskToSpeak | AskToChoose | TakeBack | Dismiss | Close
