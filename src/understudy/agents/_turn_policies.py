"""Who speaks next in a meeting: policies, which are pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from understudy._plans._spec import check_count
from understudy.agents._meeting_messages import NextSpeaker
from understudy.exceptions import InvalidSpec

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "AskModerator",
    "ByRequest",
    "CloseMeeting",
    "GiveFloor",
    "ModeratorChooses",
    "RoundRobin",
    "Table",
    "TurnDecision",
    "TurnPolicy",
    "WaitForRequest",
]


@dataclass(frozen=True, slots=True)
class Table:
    """What a policy knows when it decides."""

    everybody: tuple[str, ...]
    """The names of all who were invited, in that order."""
    members: tuple[str, ...]
    """Those who are there, in the same order; never empty."""
    requests: tuple[str, ...]
    """The members who would like to speak, in the order in which they have said so."""
    turns: Mapping[str, int]
    """How many turns each of *everybody* has had."""
    last: str | None
    """Who had the last one."""
    answer: NextSpeaker | None
    """What the moderator has said, if it was asked just now and what it has said was of use."""
    asked: bool
    """Whether a moderator was asked just now."""
    state: Any
    """The shared state."""


@dataclass(frozen=True, slots=True)
class GiveFloor:
    """A member speaks next."""

    name: str


@dataclass(frozen=True, slots=True)
class AskModerator:
    """A member is asked by :class:`ChooseSpeaker` first, and the policy then again."""

    name: str


@dataclass(frozen=True, slots=True)
class WaitForRequest:
    """Nobody, until somebody asks for a turn, joins, leaves or changes the state."""


@dataclass(frozen=True, slots=True)
class CloseMeeting:
    """The meeting has come to its end."""

    why: str


TurnDecision: TypeAlias = GiveFloor | AskModerator | WaitForRequest | CloseMeeting
"""What a policy can decide."""


class TurnPolicy(Protocol):
    """Decides who speaks next: anything with this method. Pure: all that it may depend on is the table."""

    def next(self, table: Table) -> TurnDecision:
        """Called when nobody has the floor. To name somebody who is not there is a failure of the meeting."""
        ...


@dataclass(frozen=True)
class RoundRobin:
    """One after the other, in the order of the invitations.

    Args:
        rounds: The meeting is over when each member has had so many turns; None: it goes on until something else ends
            it.

    Raises:
        InvalidSpec: *rounds* is no whole number from 1 on.
    """

    rounds: int | None = None

    def __post_init__(self) -> None:
        if self.rounds is not None:
            check_count("rounds", self.rounds, "RoundRobin", least=1)

    def next(self, table: Table) -> TurnDecision:
        """The next one behind the last who still has turns."""
        everybody = table.everybody
        start = 0 if table.last is None else everybody.index(table.last) + 1
        for name in everybody[start:] + everybody[:start]:
            if name in table.members and (self.rounds is None or table.turns[name] < self.rounds):
                return GiveFloor(name)
        return CloseMeeting(f"each member has had {self.rounds} turn{'' if self.rounds == 1 else 's'}")


@dataclass(frozen=True)
class ByRequest:
    """Who asks for a turn gets one, first come, first served; between these nobody speaks."""

    def next(self, table: Table) -> TurnDecision:
        """The first who has asked."""
        return GiveFloor(table.requests[0]) if table.requests else WaitForRequest()


@dataclass(frozen=True)
class ModeratorChooses:
    """A member chooses before each turn who speaks, or closes the meeting.

    That one needs a handler for :class:`ChooseSpeaker`; each :class:`AIAgent` has one. While it is not there, or when
    it gives no answer that is of use, the others speak one after the other.

    Args:
        moderator: Its name, as it is in the invitations.

    Raises:
        InvalidSpec: *moderator* is no name.
    """

    moderator: str

    def __post_init__(self) -> None:
        given: object = self.moderator
        if not isinstance(given, str) or not given:  # pyright: ignore[reportUnnecessaryIsInstance]
            problem = f"must be the name of a member, got {self.moderator!r}"
            raise InvalidSpec(child="ModeratorChooses", field="moderator", problem=problem)

    def next(self, table: Table) -> TurnDecision:
        """What the moderator has said, after it was asked."""
        if self.moderator in table.members and not table.asked:
            return AskModerator(self.moderator)
        answer = table.answer
        if answer is None:
            return RoundRobin().next(table)
        if answer.name is None:
            return CloseMeeting(answer.why or f"{self.moderator} has closed it")
        return GiveFloor(answer.name)
