"""Sessions with servers in this process, on virtual time: what servers answer, what deadlines do, what a loss does."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import mcp_types
import pytest

from tests.cast import Gate, Recorder, settle
from tests.transports.mcp_cast import Odd, official_server, open_desk, open_session, quiet_sdk
from understudy import ActorRef, ActorSystem, AskTimeout, InvalidSpec
from understudy.transports.mcp import (
    CallTool,
    CallToolProgress,
    Dialect,
    GetPrompt,
    ImageContent,
    ListPrompts,
    ListResources,
    ListTools,
    MCPCallTimeout,
    MCPInvalidResult,
    MCPRefused,
    MCPSessionMessage,
    MemoryServer,
    Ping,
    ReadResource,
    ToolProgress,
    ToolResult,
    description_hash,
)

pytestmark = pytest.mark.asyncio

dialects = pytest.mark.parametrize("dialect", ["auto", "legacy"])


async def call(session: ActorRef[MCPSessionMessage], name: str, timeout: float | None = None, **arguments: Any) -> Any:
    return await session.ask(CallTool(name=name, arguments=arguments), timeout=timeout)


@dialects
async def test_a_session_lists_and_calls_the_tools_of_a_server_of_the_sdk(dialect: Dialect) -> None:
    async with ActorSystem() as system:
        session = await open_session(system, MemoryServer(official_server(), protocol=dialect))
        tools = {each.name: each for each in await session.ask(ListTools())}
        result = await call(session, "add", a=1, b=2)
    assert {"add", "nothing", "picture", "fail"} == set(tools)
    assert tools["add"].description == "Add."
    assert tools["add"].server == "official"
    assert (result.text, result.structured, result.is_error) == ("3", {"result": 3}, False)
    assert (result.server, result.tool) == ("official", "add")


@dialects
async def test_empty_non_text_and_error_results_are_values(dialect: Dialect) -> None:
    recorder = Recorder()
    with quiet_sdk():
        async with ActorSystem(instruments=[recorder]) as system:
            session = await open_session(system, MemoryServer(official_server(), protocol=dialect))
            nothing = await call(session, "nothing")
            picture = await call(session, "picture")
            failed = await call(session, "fail")
    assert (nothing.content, nothing.text, nothing.is_error) == ((), "", False)
    assert picture.content == (ImageContent(data=b"\0\1\2", mime_type="image/png"),)
    assert picture.text == ""
    assert failed.is_error
    assert "fail" in failed.text
    assert recorder.of("actor_crashed") == []


@dialects
async def test_a_session_reads_resources_and_prompts(dialect: Dialect) -> None:
    async with ActorSystem() as system:
        session = await open_session(system, MemoryServer(official_server(), protocol=dialect))
        (resource,) = await session.ask(ListResources())
        contents = await session.ask(ReadResource(uri="memo://one"))
        (prompt,) = await session.ask(ListPrompts())
        greeting = await session.ask(GetPrompt(name="greet", arguments={"name": "Ada"}))
    assert (resource.uri, resource.description) == ("memo://one", "A memo.")
    assert contents.text == "remember"
    assert [(each.name, each.required) for each in prompt.arguments] == [("name", True)]
    assert greeting.text == "Hello Ada"


@dialects
async def test_a_ping_is_answered(dialect: Dialect) -> None:
    async with ActorSystem() as system:
        session = await open_session(system, MemoryServer(official_server(), protocol=dialect))
        await session.ask(Ping())


@dialects
async def test_what_the_server_rejects_is_refused_and_the_session_goes_on(dialect: Dialect) -> None:
    with quiet_sdk():
        async with ActorSystem() as system:
            tools, *_ = await open_desk(system)
            session = await open_session(system, MemoryServer(tools, protocol=dialect))
            with pytest.raises(MCPRefused, match="there is no tool 'secret'") as caught:
                await call(session, "secret")
            with pytest.raises(MCPRefused):
                await session.ask(ListPrompts())
            assert (await call(session, "add", a=2, b=2)).text == "4"
    assert caught.value.code == mcp_types.INVALID_PARAMS


async def test_an_image_that_is_none_is_an_invalid_result() -> None:
    odd = Odd()
    odd.result = mcp_types.CallToolResult(content=[mcp_types.ImageContent(data="?!", mime_type="image/png")])
    async with ActorSystem() as system:
        session = await open_session(system, MemoryServer(odd.server()))
        with pytest.raises(MCPInvalidResult, match="tool 'odd'"):
            await call(session, "odd")
        await session.ask(Ping())


async def test_a_result_that_its_own_schema_does_not_allow_is_an_invalid_result() -> None:
    odd = Odd()
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    tool = mcp_types.Tool(name="odd", input_schema={"type": "object"}, output_schema=schema)
    odd.pages = {None: mcp_types.ListToolsResult(tools=[tool])}
    odd.result = mcp_types.CallToolResult(content=[], structured_content={"n": "one"})
    async with ActorSystem() as system:
        session = await open_session(system, MemoryServer(odd.server()))
        with pytest.raises(MCPInvalidResult, match="'one' is not of type 'integer'"):
            await call(session, "odd")


async def test_all_pages_of_a_list_are_read_and_one_that_never_ends_is_refused() -> None:
    odd = Odd()

    def page(name: str, following: str | None) -> mcp_types.ListToolsResult:
        tool = mcp_types.Tool(name=name, input_schema={"type": "object"})
        return mcp_types.ListToolsResult(tools=[tool], next_cursor=following)

    odd.pages = {None: page("a", "2"), "2": page("b", "3"), "3": page("c", None)}
    async with ActorSystem() as system:
        session = await open_session(system, MemoryServer(odd.server()))
        assert [each.name for each in await session.ask(ListTools())] == ["a", "b", "c"]
        odd.pages["3"] = page("c", "3")
        with pytest.raises(MCPInvalidResult, match="does not end"):
            await session.ask(ListTools())
        odd.pages["3"] = page("c", "2")
        with pytest.raises(MCPInvalidResult, match="does not end"):
            await session.ask(ListTools())


# Deadlines


@dialects
async def test_the_deadline_of_an_ask_cancels_the_call_at_the_server(dialect: Dialect) -> None:
    odd = Odd()
    odd.gate = Gate()
    async with ActorSystem() as system:
        session = await open_session(system, MemoryServer(odd.server(), protocol=dialect))
        with pytest.raises(AskTimeout):
            await call(session, "odd", timeout=2.0)
        assert asyncio.get_running_loop().time() < 100.0
        await settle()
        assert (odd.calls, odd.cancelled) == (1, 1)
        odd.gate.open()
        assert (await call(session, "odd")).text == ""


@dialects
async def test_an_asker_that_is_cancelled_cancels_the_call_at_the_server(dialect: Dialect) -> None:
    odd = Odd()
    odd.gate = Gate()
    async with ActorSystem() as system:
        session = await open_session(system, MemoryServer(odd.server(), protocol=dialect))
        asking = asyncio.create_task(call(session, "odd", timeout=60.0))
        await odd.gate.reached()
        asking.cancel()
        await settle()
        assert asking.cancelled()
        assert odd.cancelled == 1


async def test_the_server_is_told_how_long_the_answer_is_waited_for() -> None:
    odd = Odd()
    async with ActorSystem() as system:
        session = await open_session(system, MemoryServer(odd.server(), call_timeout=30.0))
        await call(session, "odd", timeout=7.0)
        assert odd.meta["understudy/seconds"] == pytest.approx(7.5, abs=0.1)
        await call(session, "odd", timeout=math.inf)
        assert odd.meta["understudy/seconds"] == 30.0


@dialects
async def test_a_call_that_nobody_waits_for_ends_at_the_limit_of_its_server(dialect: Dialect) -> None:
    odd = Odd()
    odd.gate = Gate()
    async with ActorSystem() as system:
        session = await open_session(system, MemoryServer(odd.server(), protocol=dialect, call_timeout=5.0))
        with pytest.raises(MCPCallTimeout, match="within 5 s, its limit"):
            await call(session, "odd", timeout=math.inf)
        session.tell(CallTool(name="odd"))
        await odd.gate.reached(2)
        assert odd.cancelled == 1
        await asyncio.sleep(5.1)
        assert odd.cancelled == 2
        await session.ask(Ping())


@dialects
async def test_calls_run_at_the_same_time(dialect: Dialect) -> None:
    odd = Odd()
    odd.gate = Gate()
    async with ActorSystem() as system:
        session = await open_session(system, MemoryServer(odd.server(), protocol=dialect))
        asking = [asyncio.create_task(call(session, "odd")) for _ in range(20)]
        await odd.gate.reached(20)
        await session.ask(Ping())
        odd.gate.open()
        results = [await each for each in asking]
    assert len(results) == 20
    assert {each.text for each in results} == {""}


# Progress


@dialects
async def test_progress_comes_before_the_result_and_the_result_ends_the_stream(dialect: Dialect) -> None:
    async with ActorSystem() as system:
        tools, gate, _, _ = await open_desk(system)
        gate.open()
        session = await open_session(system, MemoryServer(tools, protocol=dialect))
        parts = [part async for part in session.stream(CallToolProgress(name="steps", arguments={"to": 3}))]
    assert parts[:-1] == [ToolProgress(progress=n + 1.0, message=str(n)) for n in range(3)]
    result = parts[-1]
    assert isinstance(result, ToolResult)
    assert result.structured == {"result": [0, 1, 2]}


@dialects
async def test_who_leaves_the_stream_cancels_the_call(dialect: Dialect) -> None:
    async with ActorSystem() as system:
        tools, gate, log, _ = await open_desk(system)
        session = await open_session(system, MemoryServer(tools, protocol=dialect))
        async with session.stream(CallToolProgress(name="steps", arguments={"to": 5})) as stream:
            async for part in stream:
                assert isinstance(part, ToolProgress)
                break
        await settle()
        await settle()
        assert log == ["steps closed"]
        assert gate.went == 0
        await session.ask(Ping())


@dialects
async def test_the_error_of_a_call_is_the_error_of_its_stream(dialect: Dialect) -> None:
    async with ActorSystem() as system:
        tools, *_ = await open_desk(system)
        session = await open_session(system, MemoryServer(tools, protocol=dialect))
        stream = session.stream(CallToolProgress(name="nope"))
        with pytest.raises(MCPRefused, match="no tool 'nope'"):
            await anext(stream)
        await session.ask(Ping())


# Beginning and end


async def test_a_session_is_closed_by_the_task_that_has_opened_it() -> None:
    tasks: list[object] = []

    class Server:
        name, call_timeout = "noted", 5.0

        def connect(self, log: object) -> Any:
            from contextlib import asynccontextmanager

            @asynccontextmanager
            async def noting() -> Any:
                tasks.append(asyncio.current_task())
                async with MemoryServer(official_server()).connect(log) as link:
                    yield link
                tasks.append(asyncio.current_task())

            return noting()

    async with ActorSystem() as system:
        session = await open_session(system, Server())
        await session.ask(Ping())
        session.stop()
        await session.wait_stopped()
    assert len(tasks) == 2
    assert tasks[0] is tasks[1] is not None


async def test_a_killed_session_leaves_no_task() -> None:
    odd = Odd()
    odd.gate = Gate()
    async with ActorSystem() as system:
        session = await open_session(system, MemoryServer(odd.server(), protocol="legacy"), restart="temporary")
        asking = asyncio.create_task(call(session, "odd"))
        await odd.gate.reached()
        session.kill()
        with pytest.raises(Exception, match="killed"):
            await asking
        await session.wait_stopped()
        await settle()
        assert [each for each in asyncio.all_tasks() if "mcp" in each.get_name()] == []


@pytest.mark.parametrize(
    "wrong", [{"call_timeout": 0}, {"call_timeout": -1.0}, {"call_timeout": "5"}, {"protocol": "newest"}]
)
async def test_a_bad_setting_is_refused_when_the_server_is_declared(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidSpec, match=next(iter(wrong))):
        MemoryServer(official_server(), **wrong)


async def test_the_hash_of_a_description_is_that_of_what_a_model_is_told() -> None:
    async with ActorSystem() as system:
        first = await open_session(system, MemoryServer(official_server()), name="first")
        second = await open_session(system, MemoryServer(official_server(), name="elsewhere"), name="second")
        here = {each.name: description_hash(each) for each in await first.ask(ListTools())}
        there = {each.name: description_hash(each) for each in await second.ask(ListTools())}
    assert here == there
    assert len(set(here.values())) == len(here)
