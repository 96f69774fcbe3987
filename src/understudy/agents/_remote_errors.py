"""What stands for an answer of an agent in another process that cannot be reached."""

from __future__ import annotations

from typing import TYPE_CHECKING

from understudy.exceptions import Refused

if TYPE_CHECKING:
    from understudy.reasons import ExitReason

__all__ = ["AgentUnavailable"]


class AgentUnavailable(Refused):
    """The agent of another process cannot be reached, or was lost while it had the message in hand.

    ``reason`` is a ``NodeDown`` where its process is out of reach, and why the agent has ended where that is the
    matter; ``unknown`` whether the message may have been handled all the same.
    """

    def __init__(self, *, agent: str, problem: str, reason: ExitReason, unknown: bool = False) -> None:
        self.agent = agent
        self.problem = problem
        self.reason = reason
        self.unknown = unknown
        told = "it was lost, and the message may have been handled or not" if unknown else "it is not available"
        super().__init__(f"{agent}: {told}: {problem}")
