"""Approvals: each request is decided exactly once, by whatever channel, and what nobody allows is not done."""

from __future__ import annotations

import asyncio
import math

import pytest

from tests.agents.cast import delete
from tests.cast import settle
from understudy import ActorSystem, AskTimeout, InvalidSpec, Refused
from understudy.agents import (
    AIAgent,
    ApprovalDecided,
    ApprovalRequest,
    ApprovalRequested,
    Approvals,
    Decide,
    ListPending,
    NoSuchApproval,
    Prompt,
    RequestApproval,
    ScriptedModel,
    ToolResult,
    UseTool,
    WithdrawApproval,
)

REQUEST = ApprovalRequest(agent="/user/x", tool="delete", arguments="{}")


def outcome(model: ScriptedModel) -> tuple[str, object]:
    (found,) = [item for item in model.requests[-1].history if isinstance(item, ToolResult)]
    return found.status, found.content


@pytest.mark.asyncio
async def test_an_agent_waits_until_a_human_has_decided_and_both_are_events() -> None:
    model, heard = ScriptedModel([UseTool("delete", path="/x"), "done"]), list[object]()
    async with ActorSystem() as system:
        system.events.subscribe(ApprovalRequested, heard.append)
        system.events.subscribe(ApprovalDecided, heard.append)
        approvals = await system.spawn(Approvals)
        agent = await system.spawn(AIAgent, model, tools=[delete])
        asking = asyncio.create_task(agent.ask(Prompt(text="go")))
        await settle()
        (pending,) = await approvals.ask(ListPending())
        assert (pending.request.agent, pending.request.arguments) == ("/user/ai_agent", '{"path": "/x"}')
        assert pending.expires_in == pytest.approx(300, abs=1)
        assert not asking.done()
        resolution = await approvals.ask(Decide(number=pending.number, approve=True, by="nina"))
        assert resolution.accepted
        assert (await asking).text == "done"
        late = await approvals.ask(Decide(number=pending.number, approve=False, by="olaf"))
        assert (late.accepted, late.decision.by, late.decision.status) == (False, "nina", "approved")
        assert await approvals.ask(ListPending()) == ()
        await settle()
    assert outcome(model) == ("ok", "/x is gone")
    assert [type(event) for event in heard] == [ApprovalRequested, ApprovalDecided]


@pytest.mark.parametrize("how", ["rejected", "expired", "crash"])
@pytest.mark.asyncio
async def test_what_is_not_approved_is_not_done(how: str) -> None:
    model = ScriptedModel([UseTool("delete", path="/x"), "done"])
    async with ActorSystem() as system:
        approvals = await system.spawn(Approvals, expires_after=20.0)
        agent = await system.spawn(AIAgent, model, tools=[delete])
        asking = asyncio.create_task(agent.ask(Prompt(text="go"), timeout=100))
        await settle()
        if how == "rejected":
            (pending,) = await approvals.ask(ListPending())
            await approvals.ask(Decide(number=pending.number, approve=False, by="nina", comment="no"))
        elif how == "crash":
            approvals.kill()
        await asking
    status, content = outcome(model)
    assert status == "denied"
    assert {"rejected": "rejected by nina: no", "expired": "expired: nobody has answered in 20 s"}.get(
        how, content
    ) == (content)


@pytest.mark.parametrize("how", ["gives up", "stops"])
@pytest.mark.asyncio
async def test_a_request_that_nobody_waits_for_is_cancelled(how: str) -> None:
    model = ScriptedModel([UseTool("delete", path="/x"), "done"])
    async with ActorSystem() as system:
        approvals = await system.spawn(Approvals)
        agent = await system.spawn(AIAgent, model, tools=[delete])
        asking = asyncio.create_task(agent.ask(Prompt(text="go"), timeout=1 if how == "gives up" else 100))
        await settle()
        (pending,) = await approvals.ask(ListPending())
        if how == "stops":
            agent.kill()
            agent.stop()
        await asyncio.wait([asking])
        assert asking.exception() is not None
        await settle()
        assert await approvals.ask(ListPending()) == ()
        late = await approvals.ask(Decide(number=pending.number, approve=True, by="nina"))
        assert (late.accepted, late.decision.status) == (False, "cancelled")


@pytest.mark.asyncio
async def test_numbers_are_used_once_and_those_that_are_not_there_are_refused() -> None:
    async with ActorSystem() as system:
        approvals = await system.spawn(Approvals, expires_after=math.inf)
        with pytest.raises(NoSuchApproval, match="there is no request 7"):
            await approvals.ask(Decide(number=7, approve=True, by="nina"))
        with pytest.raises(AskTimeout):
            await approvals.ask(RequestApproval(number=7, request=REQUEST), timeout=1)
        late = await approvals.ask(Decide(number=7, approve=True, by="nina"))
        assert (late.accepted, late.decision.status) == (False, "cancelled")
        with pytest.raises(Refused, match="was used already"):
            await approvals.ask(RequestApproval(number=7, request=REQUEST), timeout=1)
        approvals.tell(WithdrawApproval(number=7))
    with pytest.raises(InvalidSpec):
        Approvals(expires_after=0)
