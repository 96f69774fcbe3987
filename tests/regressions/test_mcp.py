"""Defects of the earlier design's tool client; the letters are those of the list they were found by."""

from __future__ import annotations

import asyncio

import mcp_types
import pytest

from tests.cast import Gate, settle
from tests.transports.mcp_cast import Odd, open_desk, open_session
from understudy import ActorSystem, AskTimeout
from understudy.agents import AIAgent, MCPAgent, Prompt, ScriptedModel, ToolResult, UseTool, mcp_tools
from understudy.transports.mcp import CallTool, HttpBinding, HttpServer, MCPHttpService, MemoryServer, WhereServed

TOKEN = "a token of the tests"

pytestmark = pytest.mark.asyncio


@pytest.mark.real_time
@pytest.mark.parametrize("way", ["token", "headers"])
async def test_e3_authentication_that_is_configured_is_sent(way: str) -> None:
    async with ActorSystem() as system:
        tools, *_ = await open_desk(system)
        service = await system.spawn(MCPHttpService, tools, HttpBinding(token=TOKEN))
        url = await service.ask(WhereServed())
        if way == "token":
            server = HttpServer(url, token=TOKEN)
        else:
            server = HttpServer(url, headers={"Authorization": f"Bearer {TOKEN}"})
        session = await open_session(system, server)
        result = await session.ask(CallTool(name="add", arguments={"a": 1, "b": 2}))
    assert result.text == "3"


async def test_e3_the_timeout_of_a_tool_is_heeded() -> None:
    odd = Odd()
    odd.gate = Gate()
    async with ActorSystem() as system:
        session = await open_session(system, MemoryServer(odd.server()))
        began = asyncio.get_running_loop().time()
        with pytest.raises(AskTimeout):
            await session.ask(CallTool(name="odd"), timeout=0.5)
        assert asyncio.get_running_loop().time() - began == pytest.approx(0.5, abs=0.01)
        await settle()
        assert odd.cancelled == 1


@pytest.mark.parametrize("is_error", [False, True])
async def test_e3_an_empty_result_of_a_tool_is_a_value(is_error: bool) -> None:
    odd = Odd()
    odd.result = mcp_types.CallToolResult(content=[], is_error=is_error)
    async with ActorSystem() as system:
        session = await open_session(system, MemoryServer(odd.server()))
        result = await session.ask(CallTool(name="odd"))
    assert (result.content, result.text, result.structured, result.is_error) == ((), "", None, is_error)


@pytest.mark.parametrize("is_error", [False, True])
async def test_e3_an_empty_result_of_a_tool_reaches_a_model_as_one(is_error: bool) -> None:
    odd = Odd()
    odd.result = mcp_types.CallToolResult(content=[], is_error=is_error)
    tool = mcp_types.Tool(name="odd", input_schema={"type": "object"})
    odd.pages = {None: mcp_types.ListToolsResult(tools=[tool])}
    model = ScriptedModel([UseTool("odd"), "Done."])
    async with ActorSystem() as system:
        await system.spawn(MCPAgent, MemoryServer(odd.server()), id="odd")
        clerk = await system.spawn(AIAgent, model, tools=[mcp_tools("odd")])
        assert (await clerk.ask(Prompt(text="Go."))).text == "Done."
    (result,) = [each for each in model.requests[-1].history if isinstance(each, ToolResult)]
    told = "it has failed, and does not say why" if is_error else ""
    assert (result.status, result.content) == ("error" if is_error else "ok", told)


async def test_e3_the_timeout_of_a_tool_that_a_model_calls_is_heeded_and_no_other() -> None:
    odd = Odd()
    odd.gate = Gate()
    tool = mcp_types.Tool(name="odd", input_schema={"type": "object"})
    odd.pages = {None: mcp_types.ListToolsResult(tools=[tool])}
    model = ScriptedModel([UseTool("odd"), "Done."])
    loop = asyncio.get_running_loop()
    async with ActorSystem() as system:
        await system.spawn(MCPAgent, MemoryServer(odd.server()), id="odd")
        clerk = await system.spawn(AIAgent, model, tools=[mcp_tools("odd", timeout=20.0)])
        began = loop.time()
        await clerk.ask(Prompt(text="Go."))
        assert loop.time() - began == pytest.approx(20.0, abs=0.1)
        await settle()
    assert odd.cancelled == 1
