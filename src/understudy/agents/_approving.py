"""Who allows what is dangerous: the seam between a tool and the human who decides."""

from __future__ import annotations

from typing import Literal, Protocol, TypeAlias

from pydantic import BaseModel, ConfigDict

__all__ = ["ApprovalRequest", "ApprovalStatus", "Approver", "Decision"]

ApprovalStatus: TypeAlias = Literal["approved", "rejected", "expired", "cancelled"]


class ApprovalRequest(BaseModel):
    """An agent wants to use a tool that is dangerous."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    agent: str
    """The path of the agent."""
    tool: str
    arguments: str
    """A JSON object: what the tool will be called with, exactly."""
    conversation: str = ""
    call: str = ""
    """The id of the call."""
    reason: str = ""
    """Why this is asked, in words, where it is not just that the tool is dangerous."""


class Decision(BaseModel):
    """The one answer to a request."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    status: ApprovalStatus
    by: str = ""
    """Who has decided; empty where nobody has."""
    comment: str = ""

    @property
    def approved(self) -> bool:
        """Whether the tool may be used."""
        return self.status == "approved"

    @property
    def in_words(self) -> str:
        """What was decided, by whom and why."""
        said = f"{self.status}{f' by {self.by}' if self.by else ''}"
        return f"{said}: {self.comment}" if self.comment else said


class Approver(Protocol):
    """Decides what may be done. Whatever it does not approve of is not done."""

    async def decide(self, request: ApprovalRequest) -> Decision:
        """The decision; it may take as long as a human takes, and is cancelled when nobody waits for it any more."""
        ...
