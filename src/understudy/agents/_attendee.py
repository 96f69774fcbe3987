"""``Attendee``: one who is invited to a meeting."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from understudy.actors._ref import ActorRef
from understudy.exceptions import InvalidSpec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from understudy.agents._meeting_rules import MeetingRules

__all__ = ["Attendee", "by_name"]


@dataclass(frozen=True, slots=True)
class Attendee:
    """One who is invited to a meeting.

    Args:
        agent: Its ref, or its id, which is looked up when the meeting begins.
        required: Whether the meeting is not held without.
        name: Under which it is known in the meeting; by default its id, or what its path is below ``/user``.

    Raises:
        InvalidSpec: *agent* is neither.
    """

    agent: ActorRef[Any] | str
    required: bool = True
    name: str = ""

    def __post_init__(self) -> None:
        agent: object = self.agent
        default: object = agent.path.removeprefix("/user/") if isinstance(agent, ActorRef) else agent
        if not isinstance(default, str) or not default:  # pyright: ignore[reportUnnecessaryIsInstance]
            problem = f"must be a ref or the id of an agent, got {self.agent!r}"
            raise InvalidSpec(child="attendee of a meeting", field="agent", problem=problem)
        object.__setattr__(self, "name", self.name or default)


def by_name(attendees: Sequence[Attendee | ActorRef[Any] | str], rules: MeetingRules) -> dict[str, Attendee]:
    """*attendees* by their names.

    Raises:
        InvalidSpec: There are none, two have one name, or there are fewer than *rules* want.
    """
    found: dict[str, Attendee] = {}
    for given in attendees:
        each = given if isinstance(given, Attendee) else Attendee(given)
        if each.name in found:
            raise InvalidSpec(child="meeting", field="attendees", problem=f"has two with the name {each.name!r}")
        found[each.name] = each
    if not found:
        raise InvalidSpec(child="meeting", field="attendees", problem="must be one at least")
    if rules.quorum is not None and rules.quorum > len(found):
        problem = f"must be {len(found)} at most, as many as are invited, got {rules.quorum}"
        raise InvalidSpec(child="meeting", field="quorum", problem=problem)
    return found
