"""The support desk: a person's consent, by whichever of two channels is first, and a question to a person."""

from __future__ import annotations

import asyncio

import pytest

from examples.support_desk.agents import Clerk
from examples.support_desk.program import SupportDesk
from tests.cast import Recorder, settle
from understudy import child
from understudy.agents import Approvals, CallbackEndpoint, Decide, HumanAgent, ListPending, Prompt, QuestionClosed


@pytest.mark.asyncio
async def test_small_sums_are_allowed_by_the_supervisor_and_large_ones_by_whoever_is_there() -> None:
    recorder = Recorder()
    told: list[object] = []
    program = SupportDesk()
    program.guests = [child(HumanAgent, CallbackEndpoint(delivery=told.append)).options(name="page")]
    running = asyncio.create_task(program.run(instruments=[recorder]))
    await settle()
    clerk = program.runtime.agents.get("support_desk/clerk", Clerk)
    assert (await clerk.ask(Prompt(text="Please refund order 7."))).text == "Done: 24.00 EUR are on their way."
    assert "that much was not paid" in (await clerk.ask(Prompt(text="Please refund order 7."))).text
    asking = asyncio.create_task(clerk.ask(Prompt(text="Please refund order 8.")))
    await settle()
    assert not asking.done()
    approvals = program.runtime.system.lookup("support_desk/approvals", Approvals)
    (pending,) = await approvals.ask(ListPending())
    assert pending.request.arguments == '{"order": 8, "euros": 900.0}'
    assert (await approvals.ask(Decide(number=pending.number, approve=True, by="terminal"))).accepted
    assert (await asking).text == "Done: 900.00 EUR are on their way."
    assert "voucher" in (await clerk.ask(Prompt(text="The cups are broken!"))).text
    await settle()
    program.stop()
    assert (await running).outcome == "completed"
    assert [type(each).__name__ for each in told] == ["ApprovalOpened", "ApprovalClosed"] * 3
    assert not any(isinstance(each, QuestionClosed) for each in told)  # those are the supervisor's
    assert recorder.of("actor_crashed") == []


@pytest.mark.asyncio
async def test_where_nobody_decides_nothing_is_paid() -> None:
    program = SupportDesk()
    running = asyncio.create_task(program.run())
    await settle()
    clerk = program.runtime.agents.get("support_desk/clerk", Clerk)
    said = await clerk.ask(Prompt(text="Please refund order 8."), timeout=1_000)
    assert said.text == "I am sorry, I may not do that (expired: nobody has answered in 120 s)."
    program.stop()
    await running
