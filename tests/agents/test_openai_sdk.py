"""Agents with OpenAI's SDK, through pydantic-ai, against a server on loopback that fails in the ways real ones do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from pydantic import BaseModel
from tenacity import wait_fixed

from tests.agents.cast import listen
from tests.agents.openai_stub import Answer, Stub, calling, cut_after, hanging, refusing, stub, texts
from understudy import ActorFailed, ActorRef
from understudy.agents import (
    AIAgent,
    Budget,
    Converse,
    ModelFailed,
    Prompt,
    PydanticAIModel,
    Structured,
    TextDelta,
    tool,
)

pytestmark = [pytest.mark.asyncio, pytest.mark.real_time]

KEY = "the key of nobody"


class Verdict(BaseModel):
    good: bool


class Judge(Structured[Verdict]): ...


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


class Impatient(AIAgent):
    """Does not wait for long."""

    retry_wait = wait_fixed(0.01)
    model_timeout = 5.0
    tools = (add,)


@asynccontextmanager
async def agent_at(
    *answers: Answer, cls: type[AIAgent] = Impatient, **options: Any
) -> AsyncIterator[tuple[ActorRef[Any], Stub]]:
    from openai import AsyncOpenAI
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai import OpenAIProvider

    async with stub(*answers) as server, AsyncOpenAI(base_url=server.url, api_key=KEY) as client:
        model = PydanticAIModel(
            OpenAIChatModel("stub", provider=OpenAIProvider(openai_client=client)), prices=(0.001, 0.01)
        )
        async with cls(model, **options) as agent:
            yield agent, server


async def heard(agent: ActorRef[Any], text: str) -> list[str]:
    return [part.text async for part in agent.stream(Converse(text=text)) if isinstance(part, TextDelta)]


async def test_a_stream_arrives_in_parts_and_the_key_is_sent() -> None:
    budget = Budget(tokens=100_000, cost=100.0)
    async with agent_at(texts("Five ", "kilo", "metres"), budget=budget) as (agent, server):
        assert await heard(agent, "how far?") == ["Five ", "kilo", "metres"]
    assert server.headers[0]["authorization"] == f"Bearer {KEY}"
    assert server.requests[0]["stream"] is True
    assert (budget.spent.tokens, budget.spent.calls) == (18, 1)
    assert budget.spent.cost == pytest.approx(11 * 0.001 + 7 * 0.01)


async def test_a_tool_is_called_with_arguments_that_came_in_pieces_and_its_result_sent_back() -> None:
    async with agent_at(calling("add", '{"a": 1', ', "b"', ": 2}"), texts("three")) as (agent, server):
        assert (await agent.ask(Prompt(text="1 + 2?"))).text == "three"
    asked, told = server.requests
    assert [each["function"]["name"] for each in asked["tools"]] == ["add"]
    *_, call, result = told["messages"]
    assert call["tool_calls"][0]["id"] == result["tool_call_id"] == "call-1"
    assert '"data": 3' in result["content"]


async def test_a_value_is_answered_by_a_tool_and_checked() -> None:
    async with agent_at(calling("final_answer", '{"good": "perhaps"}'), calling("final_answer", '{"good": true}')) as (
        agent,
        server,
    ):
        assert await agent.ask(Judge(text="is it?")) == Verdict(good=True)
    assert "good" in server.requests[1]["messages"][-1]["content"]


async def test_whoever_limits_the_rate_is_asked_again_and_no_sooner_than_he_has_said() -> None:
    began = asyncio.get_running_loop().time()
    async with agent_at(refusing(429, "slowly", Retry_After="1"), texts("now")) as (agent, server):
        assert (await agent.ask(Prompt(text="go"))).text == "now"
    assert asyncio.get_running_loop().time() - began >= 1.0
    assert len(server.requests) == 2


async def test_whoever_wants_to_be_left_alone_for_too_long_is_given_up_at_once() -> None:
    async with agent_at(refusing(429, "tomorrow", Retry_After="86400")) as (agent, server):
        with pytest.raises(ActorFailed) as failed:
            await agent.ask(Prompt(text="go"))
        assert isinstance(failed.value.__cause__, ModelFailed)
        assert "86400 s" in str(failed.value.__cause__)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "trouble", [refusing(503, "overloaded"), refusing(500, "oops"), cut_after()], ids=["503", "500", "cut"]
)
async def test_what_may_work_later_is_tried_three_times_by_us_and_by_nobody_else(trouble: Answer) -> None:
    async with agent_at(trouble, trouble, trouble) as (agent, server):
        with pytest.raises(ActorFailed) as failed:
            await agent.ask(Prompt(text="go"))
        assert isinstance(failed.value.__cause__, ModelFailed)
    assert len(server.requests) == 3


async def test_a_connection_that_is_cut_before_anybody_heard_anything_costs_nothing() -> None:
    async with agent_at(cut_after(), cut_after("half "), texts("whole")) as (agent, server):
        assert (await agent.ask(Prompt(text="go"))).text == "whole"
    assert len(server.requests) == 3


async def test_a_connection_that_is_cut_after_a_part_was_heard_is_not_repeated() -> None:
    async with agent_at(cut_after("half "), texts("again")) as (agent, server):
        parts: list[str] = []
        with pytest.raises(ActorFailed) as failed:
            await listen(agent, "go", parts)
        assert parts == ["half "]
        assert "heard already" in str(failed.value.__cause__)
        assert (await agent.ask(Prompt(text="and now?"))).text == "again"
    assert [message["role"] for message in server.requests[1]["messages"]].count("user") == 2


async def test_who_gives_up_closes_the_connection() -> None:
    begun, gone = asyncio.Event(), asyncio.Event()
    async with agent_at(hanging(begun, gone), texts("yes")) as (agent, _):
        asking = asyncio.create_task(agent.ask(Prompt(text="go")))
        await begun.wait()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        await asyncio.wait_for(gone.wait(), 5)
        assert (await agent.ask(Prompt(text="still there?"))).text == "yes"


@pytest.mark.parametrize("status", [400, 401, 404])
async def test_what_will_never_work_is_a_failure_of_the_agent_and_is_not_tried_again(status: int) -> None:
    async with agent_at(refusing(status, "no"), texts("yes")) as (agent, server):
        with pytest.raises(ActorFailed, match=str(status)):
            await agent.ask(Prompt(text="go"))
        assert len(server.requests) == 1
        assert KEY not in str(server.requests)
        assert (await agent.ask(Prompt(text="and the understudy?"))).text == "yes"


async def test_a_tool_is_never_without_its_result_in_what_is_sent() -> None:
    started = asyncio.Event()

    @tool
    async def wait() -> str:
        """Wait."""
        started.set()
        await asyncio.Event().wait()
        return "never"

    async with agent_at(calling("wait", "{}"), texts("back"), tools=[wait]) as (agent, server):
        asking = asyncio.create_task(agent.ask(Prompt(text="go")))
        await started.wait()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert (await agent.ask(Prompt(text="again"))).text == "back"
    roles = [message["role"] for message in server.requests[1]["messages"]]
    assert roles[-4:] == ["user", "assistant", "tool", "user"]
    assert "interrupted" in server.requests[1]["messages"][-2]["content"]
