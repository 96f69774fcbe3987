"""Sessions with child processes: they talk, they die, and nothing of them is left."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from typing import Any

import pytest
from structlog.testing import capture_logs
from tenacity import wait_fixed

from tests.cast import Recorder
from tests.transports.mcp_cast import Wire, few_lines, is_running, open_desk, open_session, pipes, until
from understudy import ActorFailed, ActorRef, ActorSystem, AskTimeout, InvalidSpec, StartError, child
from understudy.reasons import Crashed
from understudy.transports.mcp import (
    CallTool,
    ListTools,
    MCPConnectionFailed,
    MCPConnectionLost,
    MCPSessionMessage,
    MCPStdioService,
    MessageTooLarge,
    Ping,
    StdioBinding,
    StdioServer,
)

pytestmark = [pytest.mark.asyncio, pytest.mark.real_time]


async def pid_of(session: ActorRef[MCPSessionMessage]) -> int:
    return int((await session.ask(CallTool(name="pid"), timeout=20.0)).text)


async def gone(pid: int) -> None:
    """Wait until there is no such process."""
    await until(lambda: not is_running(pid))


async def test_a_session_starts_its_server_talks_with_it_and_ends_it() -> None:
    async with ActorSystem() as system:
        session = await open_session(system, few_lines())
        assert [each.name for each in await session.ask(ListTools())] == ["pid"]
        pid = await pid_of(session)
        await session.ask(Ping())
        assert is_running(pid)
        session.stop()
        assert str(await session.wait_stopped()) == "shut down (stopped)"
        assert not is_running(pid)


async def test_a_server_that_ends_is_a_loss_and_the_next_incarnation_starts_another() -> None:
    recorder = Recorder()
    async with ActorSystem(instruments=[recorder]) as system:
        session = await open_session(system, few_lines(), backoff=wait_fixed(0.05))
        first = await pid_of(session)
        with pytest.raises(ActorFailed) as caught:
            await session.ask(CallTool(name="exit"), timeout=20.0)
        second = await pid_of(session)
        assert first != second
        assert not is_running(first)
    assert isinstance(caught.value.__cause__, MCPConnectionLost)
    assert str(caught.value.__cause__) == "the connection with the MCP server few was lost: it has ended with code 7"
    assert [path for path, *_ in recorder.of("actor_crashed")] == ["/user/mcp_session"]


async def test_a_server_that_is_killed_while_nobody_asks_is_noticed_at_once() -> None:
    recorder = Recorder()
    async with ActorSystem(instruments=[recorder]) as system:
        session = await open_session(system, few_lines(), backoff=wait_fixed(0.05))
        first = await pid_of(session)
        os.kill(first, signal.SIGKILL)
        await until(lambda: bool(recorder.of("actor_crashed")))
        assert await pid_of(session) != first
    ((_, reason, _),) = recorder.of("actor_crashed")
    assert isinstance(reason, Crashed)
    assert "signal 9" in str(reason.error)


async def test_asks_in_hand_fail_at_once_and_queued_ones_wait_for_the_next_incarnation() -> None:
    async with ActorSystem() as system:
        session = await open_session(system, few_lines(), backoff=wait_fixed(0.3), max_concurrency=2)
        pid = await pid_of(session)
        hanging = [asyncio.create_task(session.ask(CallTool(name="hang"), timeout=60.0)) for _ in range(2)]
        await asyncio.sleep(0.1)  # in real time: another process has to have them in hand
        queued = asyncio.create_task(session.ask(CallTool(name="pid"), timeout=60.0))
        await asyncio.sleep(0.05)  # it waits in the mailbox by now
        began = asyncio.get_running_loop().time()
        os.kill(pid, signal.SIGKILL)
        for each in hanging:
            with pytest.raises(ActorFailed, match="connection with the MCP server few was lost"):
                await each
        assert asyncio.get_running_loop().time() - began < 5.0
        assert int((await queued).text) != pid


@pytest.mark.parametrize("mode", ["dies", "speaks gibberish"])
async def test_a_server_that_does_not_begin_to_serve_is_a_failed_start(mode: str) -> None:
    server = few_lines("dies")
    if mode != "dies":
        server = StdioServer(sys.executable, ("-c", 'print(\'{"not": "it"}\')'), name="few")
    async with ActorSystem() as system:
        with pytest.raises(StartError) as caught:
            await open_session(system, server)
    cause = caught.value.__cause__
    assert isinstance(cause, MCPConnectionFailed)
    assert cause.problem == ("it has ended with code 3" if mode == "dies" else cause.problem)
    assert "few" in str(cause)


async def test_a_program_that_does_not_exist_is_a_failed_start() -> None:
    async with ActorSystem() as system:
        with pytest.raises(StartError) as caught:
            await open_session(system, StdioServer("/nowhere/to/be/found"))
    assert isinstance(caught.value.__cause__, MCPConnectionFailed)
    assert isinstance(caught.value.__cause__.__cause__, FileNotFoundError)


# Nothing is left


@pytest.mark.parametrize("mode", [(), ("lingers",), ("stubborn",), ("stubborn", "child")])
async def test_nothing_is_left_when_the_system_is_shut_down(mode: tuple[str, ...]) -> None:
    async with ActorSystem() as system:
        session = await open_session(system, few_lines(*mode, grace=0.2))
        pid = await pid_of(session)
        group = children_of(pid)
        assert len(group) == ("child" in mode)
    assert not is_running(pid)
    for each in group:
        await gone(each)


async def test_nothing_is_left_when_the_actor_is_killed() -> None:
    async with ActorSystem() as system:
        session = await open_session(system, few_lines("stubborn", "child", grace=60.0), restart="temporary")
        pid = await pid_of(session)
        group = children_of(pid)
        began = asyncio.get_running_loop().time()
        session.kill()
        assert "killed" in str(await session.wait_stopped())
        assert asyncio.get_running_loop().time() - began < 5.0
        assert not is_running(pid)
        for each in group:
            await gone(each)


async def test_nothing_is_left_when_the_actor_is_killed_while_it_starts() -> None:
    started: list[int] = []

    class Noted(type(few_lines())):
        def connect(self, log: Any) -> Any:
            from understudy.transports import _mcp_client

            @contextlib.asynccontextmanager
            async def noting() -> Any:
                async with _mcp_client.child_process(self, log) as process:
                    started.append(process.pid)
                    await asyncio.sleep(60.0)
                    yield

            return noting()

    async with ActorSystem() as system:
        server = Noted(sys.executable, ("-c", "import time; time.sleep(600)"), name="few")
        opening = asyncio.create_task(open_session(system, server))
        await until(lambda: bool(started))
        opening.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await opening
    await gone(started[0])


async def test_the_end_of_a_server_is_bounded_although_it_resists() -> None:
    async with ActorSystem() as system:
        session = await open_session(system, few_lines("stubborn", grace=0.2))
        pid = await pid_of(session)
        began = asyncio.get_running_loop().time()
        session.stop()
        await session.wait_stopped()
        assert 0.3 < asyncio.get_running_loop().time() - began < 5.0
        assert not is_running(pid)


# What a server says


async def test_standard_error_goes_to_the_log_with_control_characters_escaped() -> None:
    with capture_logs() as logs:
        async with ActorSystem() as system:
            session = await open_session(system, few_lines())
            await pid_of(session)
    (line,) = [each for each in logs if each["event"] == "mcp server says"]
    assert line["text"] == r"about to \x1b[31mserve\x07"
    assert (line["stream"], line["actor"]) == ("stderr", "/user/mcp_session")


async def test_words_on_standard_output_that_are_no_messages_are_logged_and_passed_over() -> None:
    with capture_logs() as logs:
        async with ActorSystem() as system:
            session = await open_session(system, few_lines())
            await session.ask(CallTool(name="print"), timeout=20.0)
    assert [each["text"] for each in logs if each.get("stream") == "stdout"] == ["stray words"]


async def test_a_deadline_cancels_the_call_at_the_server() -> None:
    with capture_logs() as logs:
        async with ActorSystem() as system:
            session = await open_session(system, few_lines())
            with pytest.raises(AskTimeout):
                await session.ask(CallTool(name="hang"), timeout=0.2)
            await pid_of(session)
    assert len([each for each in logs if each.get("text", "").startswith("cancelled ")]) == 1


@pytest.mark.parametrize(
    ("tool", "arguments", "problem"),
    [
        ("large", {"size": 5000}, "more than 4,096 bytes"),
        ("raw", {"text": '{"jsonrpc": "2.0", "id": 1, "id": 2, "result": {}}'}, "a duplicate key"),
        ("raw", {"text": '{"jsonrpc": "2.0", "id": 1, "result": {"a": NaN}}'}, "NaN"),
        ("raw", {"text": "[" * 40 + "]" * 40}, "more than 32 deep"),
        ("raw", {"text": '{"no": "message"}'}, "no message of JSON-RPC"),
    ],
)
async def test_a_server_that_sends_what_is_not_accepted_loses_its_session(
    tool: str, arguments: dict[str, Any], problem: str
) -> None:
    async with ActorSystem() as system:
        session = await open_session(system, few_lines(max_message_bytes=4096), backoff=wait_fixed(0.05))
        pid = await pid_of(session)
        with pytest.raises(ActorFailed) as caught:
            await session.ask(CallTool(name=tool, arguments=arguments), timeout=20.0)
        assert problem in str(caught.value.__cause__)
        assert await pid_of(session) != pid


async def test_a_server_inherits_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNDERSTUDY_CANARY", "sings")
    async with ActorSystem() as system:
        session = await open_session(system, few_lines(env={"GIVEN": "yes"}))
        result = await session.ask(CallTool(name="environment"), timeout=20.0)
    assert "sings" not in result.text
    assert "GIVEN" in result.text


@pytest.mark.parametrize("wrong", [{"grace": 0.0}, {"max_message_bytes": 3}, {"args": ("a\0b",)}])
async def test_a_bad_setting_is_refused_when_the_server_is_declared(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidSpec):
        StdioServer("server", **wrong)


async def test_the_environment_of_a_server_is_not_in_its_repr() -> None:
    assert "canary" not in repr(StdioServer("server", env={"TOKEN": "canary"}))


# Serving


async def test_a_served_system_ends_when_its_client_goes_and_not_before() -> None:
    async with pipes() as (server_in, client_out, client_in, server_out), ActorSystem() as system:
        tools, *_ = await open_desk(system)
        service = await system.spawn(MCPStdioService, tools, StdioBinding(stdin=server_in, stdout=server_out))
        os.close(server_in)
        os.close(server_out)
        session = await open_session(system, Wire(client_in, client_out), restart="temporary")
        result = await session.ask(CallTool(name="add", arguments={"a": 1, "b": 2}))
        assert result.structured == {"result": 3}
        assert service.status == "running"
        session.stop()
        assert str(await service.wait_stopped(timeout=10.0)) == "a normal end"


async def test_a_session_loses_a_served_system_that_is_stopped() -> None:
    async with pipes() as (server_in, client_out, client_in, server_out), ActorSystem() as system:
        tools, gate, *_ = await open_desk(system)
        service = await system.spawn(child(MCPStdioService, tools, StdioBinding(stdin=server_in, stdout=server_out)))
        os.close(server_in)
        os.close(server_out)
        session = await open_session(system, Wire(client_in, client_out), restart="temporary")
        asking = asyncio.create_task(session.ask(CallTool(name="wait"), timeout=30.0))
        await gate.reached()
        service.stop()
        await service.wait_stopped()
        with pytest.raises(ActorFailed, match="lost"):
            await asking
        await session.wait_stopped()


async def test_a_client_that_sends_too_much_is_given_up_and_that_is_a_crash() -> None:
    recorder = Recorder()
    async with pipes() as (server_in, client_out, _, server_out), ActorSystem(instruments=[recorder]) as system:
        tools, *_ = await open_desk(system)
        binding = StdioBinding(stdin=server_in, stdout=server_out, max_message_bytes=1024)
        service = await system.spawn(child(MCPStdioService, tools, binding).options(restart="temporary"))
        os.write(client_out, b"{" + b" " * 2000)
        await service.wait_stopped(timeout=10.0)
    ((_, reason, _),) = recorder.of("actor_crashed")
    assert isinstance(reason, Crashed)
    assert isinstance(reason.error, MessageTooLarge)


def children_of(pid: int) -> list[int]:
    with open(f"/proc/{pid}/task/{pid}/children") as listed:
        return [int(each) for each in listed.read().split()]
