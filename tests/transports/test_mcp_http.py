"""Sessions and services over streamable HTTP: tokens, origins, addresses, limits, ends."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from tenacity import wait_fixed

from tests.cast import Recorder
from tests.transports.mcp_cast import few_certificates, open_desk, open_session, until
from understudy import ActorFailed, ActorRef, ActorSystem, AskTimeout, InvalidSpec, StartError, child
from understudy.transports.mcp import (
    AddressBlocked,
    CallTool,
    CallToolProgress,
    Dialect,
    HttpBinding,
    HttpServer,
    InvalidFrame,
    ListTools,
    MCPConnectionFailed,
    MCPHttpService,
    MessageTooLarge,
    Ping,
    ToolResult,
    Tools,
    WhereServed,
)

pytestmark = [pytest.mark.asyncio, pytest.mark.real_time]

TOKEN = "a token of the tests"
dialects = pytest.mark.parametrize("dialect", ["auto", "legacy"])


async def serve(system: ActorSystem, tools: Tools, **binding: Any) -> tuple[ActorRef[WhereServed], str]:
    service = await system.spawn(MCPHttpService, tools, HttpBinding(**binding))
    return service, await service.ask(WhereServed())


@contextlib.asynccontextmanager
async def web(answer: Callable[[str, dict[str, str], bytes], bytes]) -> AsyncGenerator[tuple[str, list[Any]], None]:
    """A server that answers each request with what *answer* says to it, and the requests it has had."""
    requests: list[Any] = []

    async def serve_one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
            body = await reader.readexactly(int(headers.get("content-length", "0")))
            requests.append((head[0], headers, body))
            writer.write(answer(head[0], headers, body))
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve_one, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}/mcp", requests
    finally:
        server.close()
        await server.wait_closed()
        await asyncio.sleep(0.01)  # before 3.12 that does not wait for the connections


def reply(status: str, body: bytes = b"", **headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


async def failed_start(system: ActorSystem, server: HttpServer) -> BaseException:
    """Why there is no session."""
    with pytest.raises(StartError) as caught:
        await open_session(system, server)
    cause = caught.value.__cause__
    assert isinstance(cause, MCPConnectionFailed)
    return cause


# Both of ours


@dialects
async def test_a_session_calls_tools_follows_progress_and_is_closed(dialect: Dialect) -> None:
    async with ActorSystem() as system:
        tools, gate, _, _ = await open_desk(system)
        gate.open()
        _, url = await serve(system, tools, token=TOKEN)
        session = await open_session(system, HttpServer(url, token=TOKEN, protocol=dialect))
        assert {each.name for each in await session.ask(ListTools())} == set(tools.tools)
        result = await session.ask(CallTool(name="add", arguments={"a": 1, "b": 2}))
        parts = [part async for part in session.stream(CallToolProgress(name="steps", arguments={"to": 3}))]
        await session.ask(Ping())
        session.stop()
        assert str(await session.wait_stopped()) == "shut down (stopped)"
    assert result.structured == {"result": 3}
    assert len(parts) == 4
    assert isinstance(parts[-1], ToolResult)


@dialects
@pytest.mark.parametrize("how", ["deadline", "cancel"])
async def test_an_asker_that_gives_up_cancels_the_handler_at_the_server(dialect: Dialect, how: str) -> None:
    async with ActorSystem() as system:
        tools, gate, log, _ = await open_desk(system)
        _, url = await serve(system, tools)
        session = await open_session(system, HttpServer(url, protocol=dialect))
        timeout = 0.3 if how == "deadline" else 60.0
        asking = asyncio.create_task(session.ask(CallTool(name="wait"), timeout=timeout))
        await gate.reached()
        if how == "cancel":
            asking.cancel()
        with pytest.raises((AskTimeout, asyncio.CancelledError)):
            await asking
        await until(lambda: log == ["wait cancelled"])
        await session.ask(Ping())


async def test_a_service_that_dies_is_a_loss_and_both_come_back() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    recorder = Recorder()
    async with ActorSystem(instruments=[recorder]) as system:
        tools, gate, _, _ = await open_desk(system)
        spec = child(MCPHttpService, tools, HttpBinding(port=port)).options(backoff=wait_fixed(0.2))
        service = await system.spawn(spec)
        url = await service.ask(WhereServed())
        session = await open_session(system, HttpServer(url), backoff=wait_fixed(0.4))
        asking = asyncio.create_task(session.ask(CallTool(name="wait"), timeout=60.0))
        await gate.reached()
        service.kill()
        with pytest.raises(ActorFailed, match="lost"):
            await asking
        result = await session.ask(CallTool(name="add", arguments={"a": 1, "b": 2}), timeout=30.0)
    assert result.text == "3"
    assert {path for path, *_ in recorder.of("actor_restarting")} == {"/user/mcp_http_service", "/user/mcp_session"}


async def test_a_server_that_has_forgotten_the_session_is_a_loss_and_the_next_session_is_another() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    async with ActorSystem() as system:
        tools, *_ = await open_desk(system)
        spec = child(MCPHttpService, tools, HttpBinding(port=port)).options(backoff=wait_fixed(0.05))
        service = await system.spawn(spec)
        server = HttpServer(await service.ask(WhereServed()), protocol="legacy")
        session = await open_session(system, server, backoff=wait_fixed(0.1))
        add = CallTool(name="add", arguments={"a": 1, "b": 2})
        assert (await session.ask(add)).text == "3"
        service.kill()
        await service.ask(WhereServed(), timeout=20.0)  # it has come back, and knows no sessions
        with pytest.raises(ActorFailed, match="was lost"):
            await session.ask(add, timeout=20.0)
        assert (await session.ask(add, timeout=20.0)).text == "3"


async def test_a_service_that_is_stopped_lets_go_of_its_port_and_of_hanging_calls() -> None:
    async with ActorSystem() as system:
        tools, gate, log, _ = await open_desk(system)
        service, url = await serve(system, tools)
        session = await open_session(system, HttpServer(url), restart="temporary")
        asking = asyncio.create_task(session.ask(CallTool(name="wait"), timeout=60.0))
        await gate.reached()
        service.stop()
        await service.wait_stopped()
        with pytest.raises(ActorFailed):
            await asking
        await until(lambda: log == ["wait cancelled"])
        with socket.create_server(("127.0.0.1", int(url.rsplit(":", 1)[1].removesuffix("/mcp")))):
            pass


async def test_a_port_that_is_taken_is_a_failed_start() -> None:
    async with ActorSystem() as system:
        tools, *_ = await open_desk(system)
        with socket.create_server(("127.0.0.1", 0)) as taken:
            binding = HttpBinding(port=taken.getsockname()[1])
            with pytest.raises(StartError) as caught:
                await system.spawn(MCPHttpService, tools, binding)
    assert isinstance(caught.value.__cause__, OSError)


async def test_a_service_with_tls_is_reached_by_its_name_and_nobody_else_is_believed(tmp_path: Path) -> None:
    certificate, key = few_certificates(tmp_path, "localhost")
    async with ActorSystem() as system:
        tools, *_ = await open_desk(system)
        _, url = await serve(system, tools, token=TOKEN, certificate=certificate, key=key)
        assert url.startswith("https://127.0.0.1:")
        named = url.replace("127.0.0.1", "localhost")
        session = await open_session(system, HttpServer(named, token=TOKEN, ca_file=certificate))
        assert (await session.ask(CallTool(name="add", arguments={"a": 1, "b": 2}))).text == "3"
        problem = await failed_start(system, HttpServer(url, token=TOKEN, ca_file=certificate))
        assert "certificate verify failed" in str(problem)
        problem = await failed_start(system, HttpServer(named, token=TOKEN))
        assert "certificate verify failed" in str(problem)


# The SDK's client at our service


@dialects
async def test_the_client_of_the_sdk_talks_with_a_served_system(dialect: Dialect) -> None:
    async with ActorSystem() as system:
        tools, gate, _, _ = await open_desk(system)
        gate.open()
        _, url = await serve(system, tools, token=TOKEN)
        headers = {"Authorization": f"Bearer {TOKEN}"}
        seen: list[float] = []

        async def progress(done: float, total: float | None, message: str | None) -> None:
            seen.append(done)

        async with (
            httpx2.AsyncClient(headers=headers, trust_env=False) as http,
            Client(streamable_http_client(url, http_client=http), mode=dialect) as client,
        ):
            assert {each.name for each in (await client.list_tools()).tools} == set(tools.tools)
            added = await client.call_tool("add", {"a": 1, "b": 2})
            steps = await client.call_tool("steps", {"to": 2}, progress_callback=progress)
    assert added.structured_content == {"result": 3}
    assert steps.structured_content == {"result": [0, 1]}
    assert seen == [1.0, 2.0]


async def test_no_route_and_no_verb_is_open_without_the_token() -> None:
    async with ActorSystem() as system:
        tools, *_ = await open_desk(system)
        _, url = await serve(system, tools, token=TOKEN)
        base = url.removesuffix("/mcp")
        bearing = {"Authorization": f"Bearer {TOKEN}"}
        cases: list[tuple[dict[str, str], int]] = [
            ({}, 401),
            ({"Authorization": "Bearer wrong"}, 401),
            ({"Authorization": f"Basic {TOKEN}"}, 401),
            ({**bearing, "Origin": "https://evil.example"}, 403),
            ({**bearing, "Host": "evil.example"}, 421),
        ]
        async with httpx2.AsyncClient(base_url=base, trust_env=False) as http:
            for method in ("GET", "POST", "DELETE", "PUT", "OPTIONS", "HEAD"):
                for path in ("/mcp", "/", "/mcp/", "/favicon.ico"):
                    for headers, status in cases:
                        response = await http.request(method, path, headers=headers)
                        assert response.status_code == status, (method, path, headers)
                    assert (await http.request(method, path, headers=bearing)).status_code not in (401, 403, 421)


async def test_a_body_that_is_too_large_too_slow_or_ambiguous_is_refused() -> None:
    async with ActorSystem() as system:
        tools, *_ = await open_desk(system)
        _, url = await serve(system, tools, max_message_bytes=2048, body_timeout=0.2)
        async with httpx2.AsyncClient(trust_env=False) as http:
            assert (await http.post(url, content=b"x" * 3000)).status_code == 413
            assert (await http.post(url, content=b'{"a": 1, "a": 2}')).status_code == 400
            assert (await http.post(url, content=b"[" * 40 + b"]" * 40)).status_code == 400
        host, port = url.removeprefix("http://").removesuffix("/mcp").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(f"POST /mcp HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Length: 100\r\n\r\n{{".encode())
        assert (await reader.readline()).startswith(b"HTTP/1.1 408")
        writer.close()
        await writer.wait_closed()


# Bindings


@pytest.mark.parametrize(
    ("binding", "field"),
    [
        ({"host": "0.0.0.0"}, "host"),
        ({"host": "0.0.0.0", "token": TOKEN}, "host"),
        ({"host": "::", "certificate": "a", "key": "b"}, "host"),
        ({"host": "0.0.0.0", "token": TOKEN, "certificate": "a", "key": "b"}, "hosts"),
        ({"host": "10.0.0.1"}, "host"),
        ({"host": "tools.example.org"}, "host"),
        ({"certificate": "a"}, "key"),
        ({"token": "short"}, "token"),
        ({"token": "with\na line feed in it"}, "token"),
        ({"port": 70000}, "port"),
        ({"path": "mcp"}, "path"),
        ({"max_connections": 0}, "max_connections"),
    ],
)
async def test_a_binding_that_is_not_safe_is_refused_when_it_is_made(binding: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidSpec) as caught:
        HttpBinding(**binding)
    assert caught.value.field == field


async def test_secrets_are_not_in_a_repr() -> None:
    assert TOKEN not in repr(HttpBinding(token=TOKEN))
    assert TOKEN not in repr(HttpServer("https://example.org/mcp", token=TOKEN, headers={"X-Key": TOKEN}))


# Where a session connects to


async def test_a_wrong_token_is_a_failed_start_that_says_so() -> None:
    async with ActorSystem() as system:
        tools, *_ = await open_desk(system)
        _, url = await serve(system, tools, token=TOKEN)
        problem = await failed_start(system, HttpServer(url, token="another token here"))
    assert "it answers 401 Unauthorized: check `token=`" in str(problem)


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "307 Temporary Redirect", "308 Permanent Redirect"])
async def test_token_and_headers_are_not_passed_on_to_another_origin(status: str) -> None:
    async with (
        web(lambda *_: reply("200 OK")) as (elsewhere, heard),
        web(lambda *_: reply(status, Location=elsewhere)) as (url, requests),
        ActorSystem() as system,
    ):
        await failed_start(system, HttpServer(url, token=TOKEN, headers={"X-Key": "canary"}))
    assert requests
    assert all(headers["authorization"] == f"Bearer {TOKEN}" for _, headers, _ in requests)
    assert all(headers["x-key"] == "canary" for _, headers, _ in requests)
    assert heard == []


async def test_a_redirect_to_the_metadata_of_a_cloud_is_not_followed() -> None:
    location = "http://169.254.169.254/latest/meta-data/"
    async with web(lambda *_: reply("307 Temporary Redirect", Location=location)) as (url, _), ActorSystem() as system:
        problem = await failed_start(system, HttpServer(url))
    assert "not followed" in str(problem)


async def test_a_redirect_within_the_origin_is_followed_with_the_token() -> None:
    def answer(line: str, headers: dict[str, str], body: bytes) -> bytes:
        return reply("307 Temporary Redirect", Location="/mcp/") if "/mcp " in line else reply("418 Teapot")

    async with web(answer) as (url, requests), ActorSystem() as system:
        await failed_start(system, HttpServer(url, token=TOKEN))
    assert [line.split()[1] for line, *_ in requests][:2] == ["/mcp", "/mcp/"]
    assert all(headers["authorization"] == f"Bearer {TOKEN}" for _, headers, _ in requests)


@pytest.mark.parametrize(
    ("addresses", "why"),
    [
        (["127.0.0.1"], "this machine"),
        (["169.254.169.254"], "link-local"),
        (["10.0.0.1"], "not public"),
        (["::ffff:10.0.0.1"], "not public"),
        (["93.184.216.34", "192.168.0.1"], "not public"),
        ([], "no address"),
    ],
)
async def test_a_name_that_leads_inside_is_not_connected_to(addresses: list[str], why: str) -> None:
    async with ActorSystem() as system:
        problem = await failed_start(system, HttpServer("http://rebind.example:1/", resolver=lambda *_: addresses))
    assert isinstance(problem.__cause__, AddressBlocked)
    assert why in str(problem)


async def test_a_name_is_resolved_once_and_the_connection_is_made_to_what_was_checked() -> None:
    """A name that is public when it is checked and leads inside when it is connected to."""
    asked: list[str] = []

    async with ActorSystem() as system:
        tools, *_ = await open_desk(system)
        _, url = await serve(system, tools, hosts=("rebind.example",))
        port = url.rsplit(":", 1)[1]

        def resolve(host: str, port: int) -> list[str]:
            asked.append(host)
            return ["127.0.0.1"] if len(asked) == 1 else ["169.254.169.254"]

        server = HttpServer(f"http://rebind.example:{port}", allow=("127.0.0.1",), resolver=resolve)
        session = await open_session(system, server)
        for _ in range(3):
            await session.ask(CallTool(name="add", arguments={"a": 1, "b": 2}))
    assert asked == ["rebind.example"]


async def test_the_next_of_several_addresses_is_tried() -> None:
    async with ActorSystem() as system:
        tools, *_ = await open_desk(system)
        _, url = await serve(system, tools, hosts=("two.example",))
        port = url.rsplit(":", 1)[1]
        addresses = ["127.0.0.2", "127.0.0.1"]
        server = HttpServer(f"http://two.example:{port}", allow=("127.0.0.0/8",), resolver=lambda *_: addresses)
        await open_session(system, server)


async def test_the_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async with web(lambda *_: reply("200 OK")) as (proxy, heard), ActorSystem() as system:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy)
        tools, *_ = await open_desk(system)
        _, url = await serve(system, tools)
        await open_session(system, HttpServer(url, token=TOKEN))
    assert heard == []


async def test_a_server_that_is_not_there_is_a_failed_start() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    async with ActorSystem() as system:
        problem = await failed_start(system, HttpServer(f"http://127.0.0.1:{port}/mcp"))
    assert isinstance(problem.__cause__, httpx2.ConnectError)


# What an answer may be


@pytest.mark.parametrize(
    ("body", "headers", "error"),
    [
        (b'{"jsonrpc": "2.0", "id": 1, "result": {"x": "' + b"x" * 5000 + b'"}}', {}, MessageTooLarge),
        (b'{"jsonrpc": "2.0", "id": 1, "id": 1, "result": {}}', {}, InvalidFrame),
        (b"x", {"Content_Encoding": "gzip"}, InvalidFrame),
    ],
)
async def test_an_answer_that_is_not_accepted_ends_the_session(
    body: bytes, headers: dict[str, str], error: type[Exception]
) -> None:
    def answer(*_: Any) -> bytes:
        return reply("200 OK", body, Content_Type="application/json", **headers)

    async with web(answer) as (url, requests), ActorSystem() as system:
        problem = await failed_start(system, HttpServer(url, max_message_bytes=4096))
    assert isinstance(problem.__cause__, error)
    assert requests[0][1]["accept-encoding"] == "identity"


@pytest.mark.parametrize(
    "wrong",
    [
        {"url": "ftp://example.org"},
        {"url": "https://user:secret@example.org"},
        {"url": "https://"},
        {"url": "http://example.org:port"},
        {"url": "http://exa\nmple.org"},
        {"url": "http://example.org", "token": TOKEN},
        {"url": "https://example.org", "token": "line\r\nfeed"},
        {"url": "https://example.org", "headers": {"Host": "elsewhere"}},
        {"url": "https://example.org", "headers": {"X\r\nY": "z"}},
        {"url": "https://example.org", "allow": ("somewhere",)},
        {"url": "https://example.org", "connect_timeout": 0},
    ],
)
async def test_a_server_that_cannot_be_meant_is_refused_when_it_is_declared(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidSpec):
        HttpServer(**wrong)


async def test_a_token_may_be_sent_over_plain_http_to_this_machine_only() -> None:
    assert HttpServer("http://localhost:1", token=TOKEN).secret_headers == {"authorization": f"Bearer {TOKEN}"}
