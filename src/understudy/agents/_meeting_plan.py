"""``MeetingPlan``: who is in a meeting, whose turn it is, and when it is over. It does no I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pydantic import ValidationError

from understudy.agents._meeting_effects import AskToChoose, AskToSpeak, Close, Dismiss, Effect, Invite, TakeBack
from understudy.agents._meeting_messages import (
    MeetingEnded,
    MeetingOutcome,
    MeetingPhase,
    MeetingView,
    Minute,
    MinuteKind,
    NextSpeaker,
    NotInMeeting,
    NotYourTurn,
    StaleState,
)
from understudy.agents._turn_policies import AskModerator, CloseMeeting, GiveFloor, Table, WaitForRequest
from understudy.exceptions import InvalidSpec, Refused

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import BaseModel

    from understudy.agents._meeting_rules import MeetingRules
    from understudy.agents._turn_policies import TurnPolicy

__all__ = ["MeetingPlan"]

_MOST_MINUTES = 10_000
"""Minutes after which a meeting is over, since who joins late is told all of them."""


@dataclass(slots=True)
class _Seat:
    """One who was invited."""

    required: bool
    # invited: no answer yet; silent: none in time; away: declined, left, removed, or ended.
    status: Literal["invited", "silent", "present", "away"] = "invited"
    why: str = "was not invited"
    turns: int = 0
    misses: int = 0


class MeetingPlan:
    """A meeting without its actor: it is told what has happened, and says what is to be done.

    Each call may add to :meth:`effects`, which are to be taken and done in their order. Once there is a ``Close`` among
    them the meeting is over, and nothing changes any more.

    Invariants: minutes are numbered without a gap; there is one turn at most; who has it is a member; while the
    meeting is in session all who are required are members, and there is a quorum.

    Args:
        attendees: The names of those who are invited, each with whether it is required.
        rules: When it begins and ends.
        policy: Who speaks next.
        state: The shared state, a frozen pydantic model; None: there is none.
        meeting_id: For those who are told.
        topic: Likewise.
        conversation: Likewise.
    """

    def __init__(
        self,
        attendees: Mapping[str, bool],
        rules: MeetingRules,
        policy: TurnPolicy,
        state: BaseModel | None = None,
        *,
        meeting_id: str = "meeting",
        topic: str = "",
        conversation: str = "",
    ) -> None:
        self.now = 0.0
        """Seconds since the beginning; to be set before each call."""
        self.phase: MeetingPhase = "inviting"
        self.minutes: list[Minute] = []
        self.state = state
        self.version = 0
        self.rules = rules
        self._policy = policy
        self._id, self._topic, self._conversation = meeting_id, topic, conversation
        self._seats = {name: _Seat(required) for name, required in attendees.items()}
        self._quorum = max(sum(attendees.values()), 1) if rules.quorum is None else rules.quorum
        self._has_invited = False
        self._requests: list[str] = []
        # The turn under way: who has it, and whether it is to speak; and the number of the last one.
        self._turn: tuple[str, bool] | None = None
        self._ticket = 0
        self._turns = 0
        self._last: str | None = None
        # The moderator was asked before the next turn, and what came of it.
        self._asked = False
        self._answer: NextSpeaker | None = None
        self._effects: list[Effect] = []

    # What there is to be seen

    def effects(self) -> list[Effect]:
        """What is to be done; they are given once."""
        taken, self._effects = self._effects, []
        return taken

    @property
    def members(self) -> tuple[str, ...]:
        """Those who are there, in the order of the invitations."""
        return tuple(name for name, seat in self._seats.items() if seat.status == "present")

    @property
    def floor(self) -> str | None:
        """Whose turn it is to speak."""
        return self._turn[0] if self._turn is not None and self._turn[1] else None

    @property
    def audience(self) -> tuple[str, ...]:
        """Who is to be told of the end: all who were invited, and have not said no, left, or ended."""
        return tuple(name for name, seat in self._seats.items() if self._has_invited and seat.status != "away")

    @property
    def absent(self) -> dict[str, str]:
        """Who is not there, and why."""
        return {name: seat.why for name, seat in self._seats.items() if seat.status != "present"}

    def view(self) -> MeetingView:
        """The meeting as it is now."""
        return MeetingView(
            meeting_id=self._id,
            topic=self._topic,
            phase=self.phase,
            members=self.members,
            absent=self.absent,
            floor=self.floor,
            minutes=tuple(self.minutes),
            version=self.version,
            state=self.state,
        )

    # What has happened

    def begin(self, missing: Mapping[str, str]) -> None:
        """Invite all but those who are *missing*, for these reasons; nobody, if the meeting cannot be held then."""
        for name, why in missing.items():
            self._away(name, why)
        if self.phase == "ended" or self._cannot_go_on():
            return
        self._has_invited = True
        for name, seat in self._seats.items():
            if seat.status == "invited":
                seat.why = "has not answered yet"
                self._effects.append(Invite(name))

    def accepted(self, name: str) -> None:
        """Somebody comes, whether on being invited or later."""
        seat = self._seats[name]
        if self.phase == "ended" or seat.status == "present":
            return
        seat.status, seat.why, seat.misses = "present", "", 0
        self._write("joined", name)
        self._go_on()

    def declined(self, name: str, why: str) -> None:
        """Somebody who was invited does not come."""
        if self.phase != "ended" and self._seats[name].status in ("invited", "silent"):
            self._away(name, why)
            self._go_on()

    def silent(self, name: str, why: str) -> None:
        """Somebody has not answered in time."""
        seat = self._seats[name]
        if self.phase != "ended" and seat.status == "invited":
            seat.status, seat.why = "silent", why
            self._go_on()

    def left(self, name: str, why: str) -> None:
        """A member goes, by its own wish."""
        self._out(name, "left", why)

    def gone(self, name: str, why: str) -> None:
        """Somebody has ended, member or not."""
        if self._seats[name].status == "present":
            self._out(name, "removed", why)
        else:
            self.declined(name, why)

    def requested(self, name: str) -> int:
        """A member would like to speak; returns how many come before.

        Raises:
            NotInMeeting: It is no member.
        """
        self._check_member(name)
        if name not in self._requests:
            self._requests.append(name)
        before = self._requests.index(name)
        self._go_on()
        return before

    def spoke(self, ticket: int, text: str, *, more: bool = False) -> None:
        """Who has the floor has answered; with *more* to come it keeps it."""
        name = self._finish(ticket)
        if name is None:
            return
        self._seats[name].misses = 0
        self._write("said" if text.strip() else "passed", name, text)
        self._go_on(keeps=name if more else None)

    def missed(self, ticket: int, why: str) -> None:
        """Whoever was asked has not answered in time, or has failed."""
        name = self._finish(ticket)
        if name is None:
            return
        seat = self._seats[name]
        seat.misses += 1
        self._write("missed", name, why)
        if seat.misses >= self.rules.max_misses:
            self._out(name, "removed", f"{seat.misses} turn{'' if seat.misses == 1 else 's'} missed in a row")
        else:
            self._go_on()

    def chose(self, ticket: int, answer: NextSpeaker) -> None:
        """The moderator has answered."""
        if answer.name is not None and answer.name not in self.members:
            self.missed(ticket, f"{answer.name!r} is not there, and cannot speak")
            return
        name = self._finish(ticket)
        if name is not None:
            self._seats[name].misses = 0
            self._answer = answer
            self._go_on()

    def contributed(self, name: str, text: str) -> int:
        """Who has the floor says something, and keeps it; returns the number of the minute.

        Raises:
            NotInMeeting: It is no member.
            NotYourTurn: It has not the floor.
        """
        self._check_member(name)
        if name != self.floor:
            raise NotYourTurn(name, self.floor)
        number = self._write("said", name, text)
        self._go_on()
        return number

    def changed(self, name: str, changes: dict[str, Any], based_on: int | None = None) -> int:
        """A member changes the state; returns its new version.

        Raises:
            NotInMeeting: It is no member.
            StaleState: The state is not the one that it is based on.
            Refused: There is none, or its model does not accept it.
        """
        self._check_member(name)
        if self.state is None:
            raise Refused(f"{self._id} has no shared state: give it one by `state=`")
        if based_on is not None and based_on != self.version:
            raise StaleState(based_on, self.version)
        kind = type(self.state)
        unknown = [field for field in changes if field not in kind.model_fields]
        if unknown:
            raise Refused(f"{kind.__name__} has no {', '.join(unknown)}; it has {', '.join(kind.model_fields)}")
        fields = {field: getattr(self.state, field) for field in kind.model_fields}
        try:
            self.state = kind.model_validate(fields | changes, by_name=True)
        except ValidationError as error:
            told = "; ".join(
                f"{'.'.join(map(str, each['loc'])) or kind.__name__}: {each['msg']}" for each in error.errors()
            )
            raise Refused(f"{kind.__name__} does not accept that: {told}") from None
        self.version += 1
        self._write("changed", name, state=self.state)
        self._go_on()
        return self.version

    def adjourn(self, why: str) -> None:
        """Somebody says that it is over."""
        self._end("held" if self.phase == "in_session" else "not_held", why)

    def time_is_up(self) -> None:
        """It has taken as long as it may."""
        self.adjourn(f"the time is up, after {self.rules.max_seconds:g} s")

    def stopped(self, why: str, *, failed: bool) -> None:
        """Its actor ends, and it is over with that."""
        if failed:
            self._end("failed", why)
        else:
            self._end("broken_off" if self.phase == "in_session" else "not_held", why)

    # Inside

    def _write(self, kind: MinuteKind, who: str = "", text: str = "", state: Any = None) -> int:
        number = len(self.minutes) + 1
        self.minutes.append(
            Minute(number=number, seconds=self.now, kind=kind, who=who, text=text, version=self.version, state=state)
        )
        return number

    def _check_member(self, name: str) -> None:
        if self.phase != "in_session":
            raise NotInMeeting(self._id, name, "it has not begun" if self.phase == "inviting" else "it is over")
        if self._seats[name].status != "present":
            raise NotInMeeting(self._id, name, "it is no member: come by Join()")

    def _finish(self, ticket: int) -> str | None:
        """The turn with *ticket* is over; None: it was over already. Otherwise whose it was."""
        if self._turn is None or ticket != self._ticket:
            return None
        name, _ = self._turn
        self._turn = None
        return name

    def _take_back(self) -> None:
        self._turn = None
        self._effects.append(TakeBack())

    def _away(self, name: str, why: str) -> None:
        seat = self._seats[name]
        seat.status, seat.why = "away", why

    def _out(self, name: str, kind: Literal["left", "removed"], why: str) -> None:
        if self.phase == "ended" or self._seats[name].status != "present":
            return
        self._away(name, why or kind)
        if name in self._requests:
            self._requests.remove(name)
        if self._turn is not None and self._turn[0] == name:
            self._take_back()
        self._write(kind, name, why)
        self._effects.append(Dismiss(name))
        self._go_on()

    def _go_on(self, keeps: str | None = None) -> None:
        """Look at what follows from what has happened."""
        if self.phase == "ended" or self._cannot_go_on():
            return
        if self.phase == "inviting":
            members = self.members
            if len(members) < self._quorum or any(
                seat.required and seat.status != "present" for seat in self._seats.values()
            ):
                return
            self.phase = "in_session"
            self._write("began")
        if len(self.minutes) >= _MOST_MINUTES:
            self._end("held", f"there is no room for more than {_MOST_MINUTES:,} minutes")
        elif self._turn is None:
            self._next_turn(keeps)

    def _cannot_go_on(self) -> bool:
        """End it if somebody who is required will not be there, or not enough will."""
        inviting = self.phase == "inviting"
        outcome: MeetingOutcome = "not_held" if inviting else "broken_off"
        seats = self._seats
        lost = [name for name, seat in seats.items() if seat.required and seat.status in ("away", "silent")]
        if lost:
            told = "; ".join(f"{name} is required, and is not there: {seats[name].why}" for name in lost)
            self._end(outcome, told)
            return True
        possible = [
            name for name, seat in seats.items() if seat.status in ("present", *(("invited",) if inviting else ()))
        ]
        if len(possible) < self._quorum:
            told = "".join(f"; {name}: {why}" for name, why in self.absent.items())
            self._end(outcome, f"a quorum of {self._quorum} is not there, {len(self.members)} are{told}")
            return True
        return False

    def _next_turn(self, keeps: str | None) -> None:
        if self._turns >= self.rules.max_turns:
            self._end("held", f"all {self._turns} turns are over")
            return
        decision = GiveFloor(keeps) if keeps is not None else self._policy.next(self._table())
        match decision:
            case GiveFloor(name):
                self._check_decision(name)
                self._asked, self._answer, self._last = False, None, name
                self._requests = [each for each in self._requests if each != name]
                self._turns += 1
                self._seats[name].turns += 1
                self._ticket += 1
                self._turn = (name, True)
                self._effects.append(AskToSpeak(self._ticket, self._turns, name))
            case AskModerator(name):
                self._check_decision(name)
                if self._asked:
                    raise InvalidSpec(child=repr(self._policy), field="next", problem="must ask a moderator only once")
                self._asked = True
                self._ticket += 1
                self._turn = (name, False)
                self._effects.append(AskToChoose(self._ticket, name, self.members))
            case CloseMeeting(why):
                self._end("held", why)
            case WaitForRequest():
                pass
            case _:
                problem = f"must return a TurnDecision, got {decision!r}"
                raise InvalidSpec(child=repr(self._policy), field="next", problem=problem)

    def _check_decision(self, name: str) -> None:
        if name not in self.members:
            problem = f"must name a member who is there, one of {', '.join(self.members)}, got {name!r}"
            raise InvalidSpec(child=repr(self._policy), field="next", problem=problem)

    def _table(self) -> Table:
        answer = self._answer
        if answer is not None and answer.name is not None and answer.name not in self.members:
            answer = None  # a policy may have waited, and whoever was named has gone
        return Table(
            everybody=tuple(self._seats),
            members=self.members,
            requests=tuple(self._requests),
            turns={name: seat.turns for name, seat in self._seats.items()},
            last=self._last,
            answer=answer,
            asked=self._asked,
            state=self.state,
        )

    def _end(self, outcome: MeetingOutcome, reason: str) -> None:
        if self.phase == "ended":
            return
        self.phase = "ended"
        if self._turn is not None:
            self._take_back()
        verb = {"held": "is over", "not_held": "is not held", "broken_off": "was broken off", "failed": "has failed"}
        self._effects.append(
            Close(
                MeetingEnded(
                    text=f"The meeting {verb[outcome]}: {reason}.",
                    speaker=self._id,
                    conversation=self._conversation,
                    meeting_id=self._id,
                    outcome=outcome,
                    reason=reason,
                    minutes=tuple(self.minutes),
                    version=self.version,
                    state=self.state,
                    absent=self.absent,
                )
            )
        )
