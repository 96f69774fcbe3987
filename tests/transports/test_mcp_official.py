"""The SDK's own client and server at the other end, over all three ways."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
import uvicorn
from mcp import Client, StdioServerParameters

from tests.transports.mcp_cast import SOURCE, official_server, open_desk, open_session, quiet_sdk
from understudy import ActorSystem
from understudy.transports._mcp_http_service import Server, end_watcher
from understudy.transports._web_server import SocketLimits, bounded_protocol
from understudy.transports.mcp import (
    CallTool,
    Dialect,
    GetPrompt,
    HttpServer,
    ListTools,
    MCPServerAddress,
    MemoryServer,
    ReadResource,
    StdioServer,
)

pytestmark = [pytest.mark.asyncio, pytest.mark.real_time]

ROOT = Path(__file__).parent.parent.parent
PROGRAM = ("-m", "tests.transports.mcp_program")
ENVIRONMENT = {"PYTHONPATH": SOURCE, "PYTHONDONTWRITEBYTECODE": "1"}
SOCKETS = SocketLimits(head_timeout=30.0, total=100, per_address=100)
dialects = pytest.mark.parametrize("dialect", ["auto", "legacy"])


@contextlib.asynccontextmanager
async def official_http() -> AsyncGenerator[str, None]:
    """The SDK's server behind uvicorn; its URL."""
    app = official_server().streamable_http_app()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        server = Server(
            uvicorn.Config(app, http=bounded_protocol(SOCKETS), log_config=None, timeout_graceful_shutdown=1)
        )
        up = asyncio.Event()
        server.on_started = up.set
        serving = asyncio.create_task(server.serve_all([listening]))
        await up.wait()
        try:
            yield f"http://127.0.0.1:{port}/mcp"
        finally:
            serving.cancel()
            await asyncio.wait([serving])
            await end_watcher()


async def check_session(server: MCPServerAddress) -> None:
    """Everything that a session can do, with the SDK's server."""
    async with ActorSystem() as system:
        session = await open_session(system, server, start_timeout=60.0)
        names = {each.name for each in await session.ask(ListTools(), timeout=20.0)}
        added = await session.ask(CallTool(name="add", arguments={"a": 1, "b": 2}), timeout=20.0)
        nothing = await session.ask(CallTool(name="nothing"), timeout=20.0)
        failed = await session.ask(CallTool(name="fail"), timeout=20.0)
        memo = await session.ask(ReadResource(uri="memo://one"), timeout=20.0)
        greeting = await session.ask(GetPrompt(name="greet", arguments={"name": "Ada"}), timeout=20.0)
    assert names == {"add", "nothing", "picture", "fail"}
    assert (added.text, added.structured) == ("3", {"result": 3})
    assert (nothing.content, nothing.is_error, failed.is_error) == ((), False, True)
    assert (memo.text, greeting.text) == ("remember", "Hello Ada")


@dialects
async def test_our_session_talks_with_the_server_of_the_sdk_in_memory(dialect: Dialect) -> None:
    with quiet_sdk():
        await check_session(MemoryServer(official_server(), protocol=dialect))


async def test_our_session_talks_with_the_server_of_the_sdk_over_stdio() -> None:
    await check_session(StdioServer(sys.executable, (*PROGRAM, "official"), env=ENVIRONMENT, cwd=ROOT))


@dialects
async def test_our_session_talks_with_the_server_of_the_sdk_over_http(dialect: Dialect) -> None:
    with quiet_sdk():
        async with official_http() as url:
            await check_session(HttpServer(url, protocol=dialect))


async def check_client(client: Client, names: set[str]) -> None:
    """Everything that a served system can do, with the SDK's client."""
    assert {each.name for each in (await client.list_tools()).tools} >= names
    added = await client.call_tool("add", {"a": 1, "b": 2})
    assert added.structured_content == {"result": 3}
    denied = await client.call_tool("deny")
    assert denied.is_error
    assert [getattr(each, "text", None) for each in denied.content] == ["the desk is closed"]
    forgotten = await client.call_tool("forget")
    assert (forgotten.content, forgotten.is_error) == ([], False)
    seen: list[float] = []

    async def progress(progress: float, total: float | None, message: str | None) -> None:
        seen.append(progress)

    steps = await client.call_tool("steps", {"to": 2}, progress_callback=progress)
    assert steps.structured_content == {"result": [0, 1]}
    assert seen == [1.0, 2.0]


@dialects
async def test_the_client_of_the_sdk_talks_with_a_served_system_in_memory(dialect: Dialect) -> None:
    async with ActorSystem() as system:
        tools, gate, *_ = await open_desk(system)
        gate.open()
        async with Client(tools.sdk_server(), mode=dialect) as client:
            await check_client(client, set(tools.tools))


async def test_the_client_of_the_sdk_talks_with_a_served_system_over_stdio() -> None:
    parameters = StdioServerParameters(command=sys.executable, args=[*PROGRAM, "ours"], env=ENVIRONMENT, cwd=ROOT)
    async with Client(parameters, read_timeout_seconds=20.0) as client:
        await check_client(client, {"add", "deny", "forget", "steps"})
