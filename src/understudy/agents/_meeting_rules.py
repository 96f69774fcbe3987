"""``MeetingRules``: when a meeting begins, and when it is over."""

from __future__ import annotations

import math
from dataclasses import dataclass

from understudy._plans._spec import check_count, check_seconds
from understudy.exceptions import InvalidSpec

__all__ = ["MeetingRules"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MeetingRules:
    """When a meeting begins, and when it is over at the latest.

    Raises:
        InvalidSpec: Something in it is not allowed; it says what, and what is.
    """

    quorum: int | None = None
    """How many must be there, required or not; None: those who are required, and one at least."""
    invite_seconds: float = 30.0
    """How long an answer to an invitation may take."""
    turn_seconds: float = 120.0
    """How long a turn may take; it is lost then."""
    max_misses: int = 3
    """Who has lost so many turns in a row is no member any more."""
    max_turns: int = 100
    """How many turns there are at most."""
    max_seconds: float = 3_600.0
    """How long the meeting takes at most, from the first invitation on."""
    keep_seconds: float = 5.0
    """How long the actor stays up after the end to tell of it, unless somebody has waited for that."""

    def __post_init__(self) -> None:
        where = "rules of a meeting"
        if self.quorum is not None:
            check_count("quorum", self.quorum, where, least=1)
        check_count("max_misses", self.max_misses, where, least=1)
        check_count("max_turns", self.max_turns, where, least=1)
        for name in ("invite_seconds", "turn_seconds", "max_seconds", "keep_seconds"):
            if check_seconds(name, getattr(self, name), where) == math.inf:
                raise InvalidSpec(child=where, field=name, problem="must be finite: a meeting comes to an end")
