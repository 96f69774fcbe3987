"""``Approvals``: the actor at which requests wait for a human, whichever way he answers."""

from __future__ import annotations

import math
from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel, ConfigDict

from understudy._plans._spec import check_seconds
from understudy.actors._actor import Actor
from understudy.actors._event import Event
from understudy.actors._handler import handler
from understudy.actors._reply import Reply
from understudy.actors._runtime import runtime_of
from understudy.agents._approving import ApprovalRequest, Decision
from understudy.agents._directory import Place
from understudy.agents._remembered import remember
from understudy.exceptions import ActorStopped, Refused
from understudy.messages import Message, Terminated

if TYPE_CHECKING:
    from understudy.actors._monitors import Monitor
    from understudy.actors._ref import ActorRef
    from understudy.agents._approving import Approver
    from understudy.reasons import ExitReason

__all__ = [
    "APPROVALS",
    "UNWANTED",
    "ApprovalDecided",
    "ApprovalRequested",
    "Approvals",
    "AskApprovals",
    "Decide",
    "ListPending",
    "NoSuchApproval",
    "PendingApproval",
    "RequestApproval",
    "Resolution",
    "WithdrawApproval",
    "approver_of",
    "decision_of",
]

APPROVALS = Place("approvals")
"""The key of the actor in ``system.registry``."""
UNWANTED = Decision(status="cancelled", comment="nobody waits for it any more")
"""What has become of a request whose asker has gone."""


class PendingApproval(BaseModel):
    """A request that nobody has decided yet."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    number: int
    """For :class:`Decide`."""
    request: ApprovalRequest
    expires_in: float
    """Seconds that are left."""


class Resolution(BaseModel):
    """What has become of a :class:`Decide`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    decision: Decision
    """The decision that holds."""
    accepted: bool
    """Whether it is this one; False: it had been decided before."""


class RequestApproval(Message[Decision]):
    """To :class:`Approvals`: wait for a decision. A *number* is used once."""

    reply_within: ClassVar[float | None] = math.inf
    """As long as whoever asks may wait."""

    number: int
    request: ApprovalRequest


class WithdrawApproval(Message):
    """To :class:`Approvals`: nobody waits for that decision any more."""

    number: int


class Decide(Message[Resolution]):
    """To :class:`Approvals`, through whatever channel: this is what a human says. The first answer counts."""

    number: int
    approve: bool
    by: str
    comment: str = ""


class ListPending(Message[tuple[PendingApproval, ...]]):
    """To :class:`Approvals`: what is there to be decided, oldest first."""


class ApprovalRequested(Event):
    """On the event bus: somebody has to decide."""

    number: int
    """For :class:`Decide`."""
    request: ApprovalRequest
    """What is to be decided."""


class ApprovalDecided(Event):
    """On the event bus: a request has got its one decision, whatever that is."""

    number: int
    """That of the request."""
    decision: Decision
    """What holds."""


class NoSuchApproval(Refused):
    """There is no request of that number, or it was long ago."""

    def __init__(self, number: int) -> None:
        super().__init__(f"there is no request {number}: ask for the pending ones by ListPending()")
        self.number = number


@dataclass
class _Waiting:
    """A request that is pending."""

    request: ApprovalRequest
    reply: Reply[Decision]
    deadline: float
    monitor: Monitor | None


@dataclass(frozen=True, slots=True)
class _Expire:
    number: int


class Approvals(Actor[RequestApproval | WithdrawApproval | Decide | ListPending]):
    """Holds requests until a human decides, through any channel: a terminal, a page, a chat, a test.

    ::

        system = ActorSystem(supervisor("team", child(Approvals, expires_after=300.0), child(Clerk, model)))
        pending = await approvals.ask(ListPending())
        await approvals.ask(Decide(number=pending[0].number, approve=True, by="nina"))

    A request is *pending*, and then for ever one of these: *approved* or *rejected*, by the first answer; *expired*,
    when nobody has answered in time; *cancelled*, when nobody waits for it any more, because the call was cancelled or
    the agent has ended. Later answers change nothing and are told so. Both the request and the decision are events on
    the bus, for channels to listen to.

    An :class:`AIAgent` without an approver of its own finds it by itself. If it crashes or is stopped, what was pending
    is cancelled: its tools are denied.

    Args:
        expires_after: Seconds after which a request expires; ``math.inf`` for never.
    """

    def __init__(self, *, expires_after: float = 300.0) -> None:
        self._patience = check_seconds("expires_after", expires_after, "approvals")
        self._pending: dict[int, _Waiting] = {}
        self._decided: OrderedDict[int, Decision] = OrderedDict()

    def initialize(self) -> None:
        """Be known to agents."""
        self.context.register(APPROVALS)

    def shutdown(self, reason: ExitReason) -> None:
        """Cancel what is pending: nobody can decide it any more."""
        with suppress(ActorStopped):  # the bus may have been closed before
            for number in list(self._pending):
                self._close(number, Decision(status="cancelled", comment=f"the approvals have ended: {reason}"))

    @handler
    def request(self, message: RequestApproval) -> Reply[Decision]:
        """Answer when it is decided."""
        if message.number in self._pending or message.number in self._decided:
            raise Refused(f"the number {message.number} was used already: take a new one")
        sender = self.context.sender
        self._pending[message.number] = _Waiting(
            message.request,
            reply := self.context.reply_later(message),
            self._now() + self._patience,
            None if sender is None else self.context.watch(sender),
        )
        if self._patience < math.inf:
            self.context.timers.after(f"expire {message.number}", self._patience, _Expire(message.number))
        self._publish(ApprovalRequested(number=message.number, request=message.request))
        return reply

    @handler
    def decide(self, message: Decide) -> Resolution:
        """Take the answer if it is the first."""
        decision = Decision(
            status="approved" if message.approve else "rejected", by=message.by, comment=message.comment
        )
        if message.number in self._pending:
            accepted = self._close(message.number, decision)
            return Resolution(decision=self._decided[message.number], accepted=accepted)
        if message.number not in self._decided:
            raise NoSuchApproval(message.number)
        return Resolution(decision=self._decided[message.number], accepted=False)

    @handler
    def withdraw(self, message: WithdrawApproval) -> None:
        """Cancel a request that is pending, or that an earlier incarnation has known."""
        if message.number in self._pending:
            self._close(message.number, UNWANTED)
        elif message.number not in self._decided:
            # Channels may still show it: an incarnation that was killed has told nobody of its end.
            self._decide(message.number, UNWANTED)

    @handler
    def list_pending(self, message: ListPending) -> tuple[PendingApproval, ...]:
        """Those that somebody waits for."""
        now = self._now()
        return tuple(
            PendingApproval(number=number, request=waiting.request, expires_in=waiting.deadline - now)
            for number, waiting in self._pending.items()
            if waiting.reply.open
        )

    @handler
    def _expire(self, message: _Expire) -> None:
        if message.number in self._pending:
            self._close(
                message.number, Decision(status="expired", comment=f"nobody has answered in {self._patience:g} s")
            )

    @handler
    def _terminated(self, message: Terminated) -> None:
        for number in [number for number, waiting in self._pending.items() if self._is_of(waiting, message.ref)]:
            self._close(number, Decision(status="cancelled", comment="the agent has ended"))

    def _is_of(self, waiting: _Waiting, ref: ActorRef[Any]) -> bool:
        return waiting.monitor is not None and waiting.monitor.ref == ref

    def _close(self, number: int, decision: Decision) -> bool:
        """It is decided; False: nobody waited for that any more, and it was cancelled instead."""
        waiting = self._pending.pop(number)
        wanted = waiting.reply.open
        if not wanted and decision.status != "cancelled":
            decision = UNWANTED
        if wanted:
            waiting.reply.send(decision)
        if waiting.monitor is not None:
            self.context.unwatch(waiting.monitor)
        self.context.timers.cancel(f"expire {number}")
        self._decide(number, decision)
        return wanted

    def _decide(self, number: int, decision: Decision) -> None:
        remember(self._decided, number, decision)
        self._publish(ApprovalDecided(number=number, decision=decision))

    def _publish(self, event: Event) -> None:
        self.context.system.events.publish_nowait(event)

    def _now(self) -> float:
        return runtime_of(self.context.system).env.now()


class AskApprovals:
    """The approver that asks :class:`Approvals`, on behalf of an agent."""

    def __init__(self, approvals: ActorRef[RequestApproval | WithdrawApproval], agent: Actor[Any]) -> None:
        self._approvals = approvals
        self._agent = agent

    async def decide(self, request: ApprovalRequest) -> Decision:
        """The decision; when nobody waits for it any more, the request is withdrawn."""
        number = runtime_of(self._agent.context.system).env.next_uid()
        try:
            return await self._approvals.ask(RequestApproval(number=number, request=request))
        except BaseException:  # most likely a cancel, or the deadline of who has prompted the agent
            self._approvals.tell(WithdrawApproval(number=number))
            raise


def approver_of(agent: Actor[Any], own: Approver | None) -> Approver | None:
    """Who decides for *agent* at this moment: its *own* approver, else the :class:`Approvals` of the system."""
    if own is not None:
        return own
    found = agent.context.system.registry.find(APPROVALS)
    return None if found is None else AskApprovals(found, agent)


async def decision_of(approver: Approver | None, request: ApprovalRequest) -> Decision:
    """What *approver* decides; who cannot be asked has not approved."""
    if approver is None:
        return Decision(status="rejected", comment="there is nobody who could allow it")
    try:
        return await approver.decide(request)
    except Exception as error:
        return Decision(status="rejected", comment=f"nobody could be asked: {type(error).__name__}: {error}")
