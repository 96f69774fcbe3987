"""The program: who there is, and whom people talk to.

support_desk
    clerk               has a model, and tools; one of them needs a human's consent
    approvals           holds the requests for consent until somebody decides
    supervisor          a person; here functions answer for her
"""

from __future__ import annotations

from understudy import ChildSpec, child
from understudy.agents import Approvals, AsyncProgram, HumanAgent, Model

from .agents import Clerk, clerk_script
from .people import supervisor_at_her_desk

__all__ = ["SupportDesk", "program"]


class SupportDesk(AsyncProgram):
    """See the module."""

    front = Clerk
    model: Model | None = clerk_script()

    def agents(self) -> list[ChildSpec]:
        return [
            child(Clerk),
            child(Approvals, expires_after=120.0),
            child(HumanAgent, supervisor_at_her_desk(), id="supervisor").options(name="supervisor"),
        ]


program = SupportDesk
