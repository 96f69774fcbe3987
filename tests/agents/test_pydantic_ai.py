"""The models of pydantic-ai behind our seam, with its own offline models; and what is said where it is missing."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest

from understudy.agents import (
    AIAgent,
    Converse,
    ModelRequest,
    ModelText,
    ModelTurn,
    ModelUnavailable,
    ModelUsage,
    Prompt,
    PydanticAIModel,
    TextDelta,
    ToolCall,
    ToolResult,
    ToolSchema,
    UserTurn,
    tool,
)
from understudy.exceptions import MissingExtra


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def function_model(answer: Any) -> Any:
    """A model of pydantic-ai's that calls *answer* with the messages."""
    from pydantic_ai.models.function import FunctionModel

    return FunctionModel(stream_function=answer)


@pytest.mark.asyncio
async def test_text_streams_and_tools_are_called_by_our_loop() -> None:
    from pydantic_ai.messages import ModelMessage, ToolReturnPart
    from pydantic_ai.models.function import AgentInfo, DeltaToolCall

    seen: list[Any] = []

    async def answer(messages: list[ModelMessage], info: AgentInfo) -> AsyncIterator[Any]:
        seen.append((messages, info))
        returns = [part for message in messages for part in message.parts if isinstance(part, ToolReturnPart)]
        if not returns:
            yield "let me "
            yield "see"
            yield {1: DeltaToolCall(name="add", json_args='{"a": 1, ', tool_call_id="c1")}
            yield {1: DeltaToolCall(json_args='"b": 2}')}
        else:
            yield "it is "
            yield "3"

    model = PydanticAIModel(function_model(answer))
    async with AIAgent(model, instructions="be exact", tools=[add]) as agent:
        parts = [part async for part in agent.stream(Converse(text="1 + 2?", speaker="nina"))]
    assert [part.text for part in parts if isinstance(part, TextDelta)] == ["let me ", "see", "it is ", "3"]
    first, second = seen
    assert [tool.name for tool in first[1].function_tools] == ["add"]
    assert [part.content for part in first[0][0].parts] == ["be exact", "nina: 1 + 2?"]
    returned = second[0][-1].parts[0]
    assert returned.tool_call_id == "c1"
    assert returned.content == '{"source": "tool add", "status": "ok", "data": 3}'


@pytest.mark.asyncio
async def test_the_test_model_of_pydantic_ai_uses_every_tool_and_comes_to_an_end() -> None:
    from pydantic_ai.models.test import TestModel

    model = PydanticAIModel(TestModel(), prices=(1.0, 2.0))
    async with AIAgent(model, tools=[add]) as agent:
        said = await agent.ask(Prompt(text="go"))
    assert "add" in said.text
    assert (model.name, model.provider) == ("test", "test")
    assert model.price(ModelUsage(input_tokens=3, output_tokens=4)) == 11.0


@pytest.mark.asyncio
async def test_a_history_is_told_in_the_others_terms_and_what_may_work_later_is_not_available() -> None:
    from pydantic_ai.exceptions import ModelRateLimitError

    seen: list[Any] = []

    async def answer(messages: Any, info: Any) -> AsyncIterator[Any]:
        seen.append(messages)
        if len(seen) > 1:
            raise ConnectionError("gone") if len(seen) > 2 else ModelRateLimitError("m", "slow down")
        yield "fine"

    model = PydanticAIModel(function_model(answer))
    call = ToolCall(id="1", tool="add", arguments='{"a": 1, "b": 1}')
    result = ToolResult(call="1", tool="add", status="error", content="no", source="tool add")
    history = (UserTurn(text="x"), ModelTurn(text="t", calls=(call,)), result, UserTurn(text="y"))
    schema = ToolSchema(name="add", description="", parameters={"type": "object", "properties": {}})
    request = ModelRequest(instructions="i", history=history, tools=(schema,), max_tokens=10)
    events = [event async for event in model.respond(request)]
    assert events[0] == ModelText(text="fine")
    assert isinstance(events[-1], ModelUsage)
    assert [[part.part_kind for part in message.parts] for message in seen[0]] == [
        *(["system-prompt", "user-prompt"], ["text", "tool-call"], ["tool-return", "user-prompt"])
    ]
    assert model.count(request) > 50
    for name in ("ModelRateLimitError", "ConnectionError"):
        with pytest.raises(ModelUnavailable, match=name):
            [event async for event in model.respond(request)]


def test_without_the_extra_there_is_one_helpful_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise ModuleNotFoundError(name=name)

    adapter = importlib.import_module("understudy.agents._pydantic_ai")
    monkeypatch.setattr(adapter, "import_module", missing)
    with pytest.raises(MissingExtra, match=r'needs pydantic-ai-slim: pip install "understudy\[ai\]"'):
        PydanticAIModel("openai:gpt-5-mini")


def test_importing_agents_imports_no_extra_and_importing_the_package_no_agents() -> None:
    code = "import sys, understudy; assert not any('agents' in name for name in sys.modules if 'understudy' in name); "
    code += "import understudy.agents; print([n for n in ('pydantic_ai', 'httpx', 'mcp', 'typer') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
