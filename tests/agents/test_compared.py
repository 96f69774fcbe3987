"""Our column on the page of comparisons; the other columns are held by tests/peers."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.cast import settle
from understudy import ActorFailed, ActorSystem, AskTimeout, child, handler
from understudy.agents import (
    AIAgent,
    ApprovalRequested,
    Approvals,
    AsyncAgent,
    Decide,
    ModelFailed,
    ModelUnavailable,
    Prompt,
    Said,
    ScriptedModel,
    StructuredAgentRuntime,
    Tool,
    ToolResult,
    UserTurn,
    UseTool,
    tool,
)

pytestmark = pytest.mark.asyncio

CALL = UseTool("look_up", place="castle")


def results(model: ScriptedModel) -> list[ToolResult]:
    return [item for item in model.requests[-1].history if isinstance(item, ToolResult)]


async def answer(look_up: Tool, *answers: Any) -> ScriptedModel:
    model = ScriptedModel([*(answers or (CALL, "done"))])
    async with AIAgent(model, tools=[look_up]) as agent:
        assert (await agent.ask(Prompt(text="where?"))).text == "done"
    return model


async def test_an_error_of_a_tool_is_told_to_the_model_with_what_it_was() -> None:
    @tool
    async def look_up(place: str) -> str:
        raise ValueError("no map")

    (result,) = results(await answer(look_up))
    assert (result.status, result.source) == ("error", "tool look_up")
    assert "no map" in str(result.content)


async def test_a_tool_that_is_too_slow_is_told_of_and_one_that_resists_is_left_behind() -> None:
    freed = asyncio.Event()

    @tool(timeout=0.05)
    async def look_up(place: str) -> str:
        while not freed.is_set():  # whoever cancels it
            try:
                await freed.wait()
            except asyncio.CancelledError:
                if place == "town":
                    raise
        return "late"

    model = await answer(look_up)
    freed.set()
    assert [result.status for result in results(model)] == ["error"]
    assert "late" not in str(results(model)[0].content)
    freed.clear()
    assert [result.status for result in results(await answer(look_up, UseTool("look_up", place="town"), "done"))] == [
        "error"
    ]


async def test_a_call_that_was_cancelled_stays_in_the_history_with_a_result_that_says_so() -> None:
    started = asyncio.Event()

    @tool
    async def look_up(place: str) -> str:
        started.set()
        await asyncio.Event().wait()
        return "never"

    model = ScriptedModel([CALL, "done"])
    async with AIAgent(model, tools=[look_up]) as agent:
        asking = asyncio.create_task(agent.ask(Prompt(text="where?")))
        await started.wait()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        await agent.ask(Prompt(text="and now?"))
    assert [result.status for result in results(model)] == ["interrupted"]
    assert [item.text for item in model.requests[-1].history if isinstance(item, UserTurn)] == ["where?", "and now?"]


class Guide(AsyncAgent[Prompt]):
    """Counts who has asked."""

    def __init__(self) -> None:
        self.asked, self.inside, self.most = 0, 0, 0

    @handler
    async def tell_the_way(self, message: Prompt) -> Said:
        self.asked += 1
        self.inside += 1
        self.most = max(self.most, self.inside)
        if message.text == "nowhere":
            raise ValueError("no map")
        if message.text == "further":
            await asyncio.Event().wait()
        await asyncio.sleep(0.01)  # so that the next one would come in between, if it could
        self.inside -= 1
        return Said(text=str(self.most if message.text == "how many" else self.asked))


async def test_an_agent_that_fails_begins_anew_and_the_one_beside_it_goes_on() -> None:
    async with StructuredAgentRuntime(child(Guide).options(name="one"), child(Guide).options(name="other")) as runtime:
        one, other = runtime.agents.get("agents/one", Guide), runtime.agents.get("agents/other", Guide)
        assert (await one.ask(Prompt(text="castle"))).text == "1"
        beside = asyncio.create_task(other.ask(Prompt(text="castle")))
        await settle()
        with pytest.raises(ActorFailed) as failed:
            await one.ask(Prompt(text="nowhere"))
        assert repr(failed.value.__cause__) == "ValueError('no map')"
        assert (await one.ask(Prompt(text="castle"))).text == "1"
        assert (await beside).text == "1"
        assert (await other.ask(Prompt(text="castle"))).text == "2"


async def test_a_model_that_cannot_be_reached_is_called_three_times() -> None:
    model = ScriptedModel(ModelUnavailable("cut") for _ in range(5))
    async with AIAgent(model) as agent:
        with pytest.raises(ActorFailed) as failed:
            await agent.ask(Prompt(text="go"))
        assert isinstance(failed.value.__cause__, ModelFailed)
    assert len(model.requests) == 3


async def test_a_loop_over_tools_ends_after_twenty_answers() -> None:
    @tool
    async def look_up(place: str) -> str:
        return "ok"

    model = ScriptedModel(CALL for _ in range(30))
    async with AIAgent(model, tools=[look_up]) as agent:
        with pytest.raises(ActorFailed, match="20"):
            await agent.ask(Prompt(text="go"))
    assert len(model.requests) == 20


async def test_an_approval_waits_beside_the_run_and_nothing_is_done_twice() -> None:
    done: list[str] = []

    @tool(dangerous=True)
    async def look_up(place: str) -> str:
        done.append(place)
        return "gone"

    async with ActorSystem() as system:
        approvals = await system.spawn(Approvals)
        model = ScriptedModel([CALL, "done"])
        agent = await system.spawn(AIAgent, model, tools=[look_up])
        asking = asyncio.create_task(agent.ask(Prompt(text="go")))
        requested = await system.events.wait_for(ApprovalRequested)
        assert done == []
        await approvals.ask(Decide(number=requested.number, approve=True, by="nina"))
        await asking
    assert done == ["castle"]
    assert len(model.requests) == 2


async def test_an_agent_handles_one_message_at_a_time_and_who_asks_waits_no_longer_than_he_has_said() -> None:
    async with Guide() as guide:
        await asyncio.gather(*(guide.ask(Prompt(text="castle")) for _ in range(20)))
        assert (await guide.ask(Prompt(text="how many"))).text == "1"
        with pytest.raises(AskTimeout):
            await guide.ask(Prompt(text="further"), timeout=1.0)


async def test_a_mailbox_has_a_bound() -> None:
    async with ActorSystem() as system:
        guide = await system.spawn(child(Guide).options(mailbox=3))
        guide.tell(Prompt(text="further"))
        await settle()
        assert [guide.tell(Prompt(text="castle")) for _ in range(4)] == [True, True, True, False]
        guide.kill()
