"""What the page of comparisons says of the OpenAI Agents SDK, by what that does; ``make test-peers`` installs it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

pytest.importorskip("agents", reason="openai-agents is not installed here; make test-peers installs it")

from agents import Agent, Runner, SQLiteSession, function_tool, set_tracing_disabled
from agents.exceptions import MaxTurnsExceeded, UserError
from agents.testing import ModelStep, ScriptedModel, assistant_message, function_call

set_tracing_disabled(True)

CALL = [function_call("look_up", {"place": "castle"}, call_id="c1")]
DONE = [assistant_message("done")]


def guide(tool: Any, *steps: Any) -> tuple[Agent[Any], ScriptedModel]:
    model = ScriptedModel(list(steps) or [CALL, DONE])
    return Agent(name="guide", model=model, tools=[tool]), model


def test_an_error_of_a_tool_is_told_to_the_model_without_saying_what_it_was() -> None:
    @function_tool
    async def look_up(place: str) -> str:
        raise ValueError("no map")

    agent, model = guide(look_up)
    asyncio.run(Runner.run(agent, "where?"))
    result = model.calls[-1].input[-1]
    assert result["call_id"] == "c1"
    assert result["output"].startswith("An error occurred while running the tool")
    assert "no map" not in result["output"]


def test_a_tool_that_is_too_slow_is_told_of_and_one_that_resists_is_waited_for() -> None:
    @function_tool(timeout=0.05)
    async def look_up(place: str) -> str:
        try:
            await asyncio.sleep(60)  # until it is cancelled
        except asyncio.CancelledError:
            if place == "castle":
                await asyncio.sleep(0.3)  # longer than it may take
                return "late"
            raise
        return "never"

    agent, model = guide(look_up)
    asyncio.run(Runner.run(agent, "where?"))
    assert model.calls[-1].input[-1]["output"] == "late"
    agent, model = guide(look_up, [function_call("look_up", {"place": "town"}, call_id="c1")], DONE)
    asyncio.run(Runner.run(agent, "where?"))
    assert "timed out after 0.05 seconds" in model.calls[-1].input[-1]["output"]


def test_a_call_that_was_cancelled_is_forgotten() -> None:
    started = asyncio.Event()

    @function_tool
    async def look_up(place: str) -> str:
        started.set()
        await asyncio.sleep(60)  # until it is cancelled
        return "never"

    async def interrupted() -> list[Any]:
        agent, model = guide(look_up)
        session = SQLiteSession("a conversation")
        asking = asyncio.create_task(Runner.run(agent, "where?", session=session))
        await started.wait()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        await Runner.run(agent, "and now?", session=session)
        session.close()
        return list(model.calls[-1].input)

    assert [item["content"] for item in asyncio.run(interrupted())] == ["where?", "and now?"]


def test_an_error_that_nobody_expects_ends_the_run_and_cancels_the_tools_beside_it() -> None:
    ends: list[str] = []

    @function_tool
    async def slow() -> str:
        try:
            await asyncio.sleep(60)  # until it is cancelled
        except asyncio.CancelledError:
            ends.append("cancelled")
            raise
        return "never"

    @function_tool(failure_error_function=None)
    async def bad() -> str:
        raise ValueError("bad")

    model = ScriptedModel([[function_call("slow", {}, call_id="c1"), function_call("bad", {}, call_id="c2")], DONE])
    with pytest.raises(UserError):
        asyncio.run(Runner.run(Agent(name="guide", model=model, tools=[slow, bad]), "go"))
    assert ends == ["cancelled"]
    assert len(model.calls) == 1


def test_a_model_that_cannot_be_reached_ends_the_run_unless_asked_otherwise() -> None:
    model = ScriptedModel([ModelStep(error=ConnectionError("cut")), DONE])
    with pytest.raises(ConnectionError):
        asyncio.run(Runner.run(Agent(name="guide", model=model), "go"))
    assert len(model.calls) == 1


def test_a_loop_over_tools_ends_after_ten_answers() -> None:
    @function_tool
    async def again() -> str:
        return "ok"

    model = ScriptedModel([[function_call("again", {}, call_id=f"c{number}")] for number in range(20)])
    with pytest.raises(MaxTurnsExceeded):
        asyncio.run(Runner.run(Agent(name="guide", model=model, tools=[again]), "go"))
    assert len(model.calls) == 10


def test_an_approval_ends_the_run_with_a_state_that_can_be_stored_and_resumed() -> None:
    done: list[str] = []

    @function_tool(needs_approval=True)
    async def look_up(place: str) -> str:
        done.append(place)
        return "gone"

    async def asked() -> tuple[Any, str]:
        agent, model = guide(look_up)
        result = await Runner.run(agent, "go")
        state = result.to_state()
        stored = state.to_string()
        assert done == []
        state.reject(result.interruptions[0])
        await Runner.run(agent, state)
        return model.calls[-1].input[-1], stored

    result, stored = asyncio.run(asked())
    assert "not approved" in result["output"]
    assert done == []
    assert stored.startswith("{")
