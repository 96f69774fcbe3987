"""A served type of message is asked by a client, over every way: each case has the same outcome everywhere.

MCP is no transport of ours: it carries questions and answers, and no connection with two equal ends. Of what each
transport has to do (`tests/transports/conformance`) this holds for it, in its own words:

- Messages arrive whole and once, whatever is in them; each answer is that of its question; here.
- Sessions do not see each other's messages; here.
- Both ends learn of the end, whoever closes, and what was asked fails or is cancelled; here. To close twice, and from
  several sides, raises nothing; here.
- A message that is too large is not handled; here. A compressed one is not unpacked: `test_bombs`.
- A listener that is closed ends what it serves; here. An address that is taken is refused, and there are no more
  connections than the limit: `test_mcp_http`, and here.
- Who waits is bounded: an ask by its deadline, which also reaches the other side; here. Half a request, and a body that
  trickles, by the deadlines of the service: `test_mcp_http`.

And this does not make sense for it: an order between questions that are under way at the same time, each of which is a
request of its own over HTTP; to receive after the end what was sent before it, since what is not answered then has
failed; back-pressure from one message to the next, where the sender waits for an answer to each anyway; a deadline for
who sends nothing, as a session may be silent for as long as it likes; the certificate of a client, which MCP does not
ask for. Over pipes there are neither addresses nor limits of connections.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest

from tests.cast import Gate
from tests.transports.mcp_cast import DeskMessage, Wire, open_desk, open_session, pipes, until
from understudy import ActorFailed, ActorRef, ActorStopped, ActorSystem, AskTimeout
from understudy.reasons import is_abnormal
from understudy.transports.mcp import (
    CallTool,
    HttpBinding,
    HttpServer,
    MCPHttpService,
    MCPRefused,
    MCPSessionMessage,
    MCPStdioService,
    MemoryServer,
    Ping,
    StdioBinding,
    ToolResult,
    WhereServed,
)

pytestmark = [pytest.mark.asyncio, pytest.mark.real_time]

TOKEN = "a token for the tests"
LARGE = 4096


@dataclass
class Stage:
    """Both ends of one connection."""

    session: ActorRef[MCPSessionMessage]
    desk: ActorRef[DeskMessage]
    gate: Gate
    log: list[str]
    end_server: Callable[[], object] | None
    """Ends what serves; None where nothing stands between the session and the desk."""
    another: Callable[[], Awaitable[ActorRef[MCPSessionMessage]]] | None = None
    """Opens another session with the same desk; None where there can be but one."""

    async def call(self, name: str, timeout: float = 20.0, **arguments: Any) -> ToolResult:
        return await self.session.ask(CallTool(name=name, arguments=arguments), timeout=timeout)


@contextlib.asynccontextmanager
async def memory(dialect: Any) -> AsyncGenerator[Stage, None]:
    async with ActorSystem() as system:
        tools, gate, log, desk = await open_desk(system)
        server = MemoryServer(tools, protocol=dialect)
        session = await open_session(system, server, restart="temporary")
        yield Stage(session, desk, gate, log, None, lambda: open_session(system, server, name="another"))


@contextlib.asynccontextmanager
async def stdio(dialect: Any) -> AsyncGenerator[Stage, None]:
    async with pipes() as (server_in, client_out, client_in, server_out), ActorSystem() as system:
        tools, gate, log, desk = await open_desk(system)
        binding = StdioBinding(stdin=server_in, stdout=server_out, max_message_bytes=LARGE)
        service = await system.spawn(MCPStdioService, tools, binding)
        os.close(server_in)
        os.close(server_out)
        session = await open_session(system, Wire(client_in, client_out), restart="temporary")
        yield Stage(session, desk, gate, log, service.stop)


@contextlib.asynccontextmanager
async def http(dialect: Any) -> AsyncGenerator[Stage, None]:
    async with ActorSystem() as system:
        tools, gate, log, desk = await open_desk(system)
        service = await system.spawn(MCPHttpService, tools, HttpBinding(token=TOKEN, max_message_bytes=LARGE))
        url = await service.ask(WhereServed())
        server = HttpServer(url, token=TOKEN, protocol=dialect)
        session = await open_session(system, server, restart="temporary")
        another = partial(open_session, system, server, name="another")
        yield Stage(session, desk, gate, log, service.stop, another)


WAYS = {
    "memory": lambda: memory("auto"),
    "memory, legacy": lambda: memory("legacy"),
    "stdio": lambda: stdio("auto"),
    "http": lambda: http("auto"),
    "http, legacy": lambda: http("legacy"),
}
each_way = pytest.mark.parametrize("way", WAYS)


@each_way
async def test_what_can_be_answered_or_refused_is_and_the_connection_goes_on(way: str) -> None:
    async with WAYS[way]() as stage:
        # A reply.
        assert (await stage.call("add", a=1, b=2)).structured == {"result": 3}
        assert (await stage.call("forget")).content == ()
        assert stage.log == ["forgotten"]
        # A refusal.
        refused = await stage.call("deny")
        assert (refused.is_error, refused.text) == (True, "the desk is closed")
        # A crash of the handler, which tells nothing of the inside; the next one is answered by the next incarnation.
        crashed = await stage.call("break")
        assert (crashed.is_error, crashed.text) == (True, "break has failed; the log of its server says why")
        assert (await stage.call("add", a=2, b=2)).text == "4"
        # An unknown type, also one that the actor would handle.
        for name in ("nothing", "secret", "Secret", "../secret"):
            with pytest.raises(MCPRefused, match="there is no tool"):
                await stage.call(name)
        assert "secret told" not in stage.log
        # An invalid message, of which not a word comes back.
        for arguments in ({}, {"a": "canary", "b": 2}, {"a": 1.5, "b": 2}, {"a": 1, "b": 2, "c": 3}):
            invalid = await stage.call("add", **arguments)
            assert invalid.is_error
            assert invalid.text.startswith("the arguments of add are not what its schema says: ")
            assert "canary" not in invalid.text
        # An answer that is too large.
        large = await stage.call("say", text="x", times=300_000)
        assert (large.is_error, large.text) == (True, "the answer of say is larger than 262,144 bytes, its limit")
        # Concurrent asks.
        asking = [asyncio.create_task(stage.call("wait")) for _ in range(10)]
        await stage.gate.reached(10)
        assert (await stage.call("add", a=1, b=1)).text == "2"
        stage.gate.open()
        assert [(await each).text for each in asking] == ["1"] * 10


@each_way
async def test_messages_arrive_whole_and_once_and_each_answer_is_that_of_its_question(way: str) -> None:
    texts = ["", "\x00\x1f\x7f", '\r\n\n{}[]"\\', "ä€😀\u2028", "x" * 126, "y" * 3_000, *map(str, range(15))]
    async with WAYS[way]() as stage:
        answers = await asyncio.gather(*(stage.call("say", text=text, times=1) for text in texts))
        assert [answer.structured for answer in answers] == [{"result": text} for text in texts]
        await asyncio.gather(*(stage.call("forget") for _ in range(10)))
        assert stage.log == ["forgotten"] * 10


@pytest.mark.parametrize("way", ["memory", "memory, legacy", "http", "http, legacy"])
async def test_sessions_do_not_see_each_others_messages_and_end_each_for_itself(way: str) -> None:
    async with WAYS[way]() as stage:
        assert stage.another is not None
        another = await stage.another()

        async def say(session: ActorRef[MCPSessionMessage], text: str) -> ToolResult:
            return await session.ask(CallTool(name="say", arguments={"text": text, "times": 1}), timeout=20.0)

        both = [say(session, f"{name} {number}") for number in range(20) for name, session in
                (("one", stage.session), ("another", another))]  # fmt: skip
        said = [answer.text for answer in await asyncio.gather(*both)]
        assert said == [f"{name} {number}" for number in range(20) for name in ("one", "another")]
        another.stop()
        await another.wait_stopped(10.0)
        assert (await say(stage.session, "still here")).text == "still here"


async def test_there_are_no_more_connections_than_the_limit_and_who_says_nothing_is_let_go() -> None:
    async with ActorSystem() as system:
        tools, *_ = await open_desk(system)
        binding = HttpBinding(token=TOKEN, max_connections=2, body_timeout=1.0)
        service = await system.spawn(MCPHttpService, tools, binding)
        url = await service.ask(WhereServed())
        port = int(url.rpartition(":")[2].partition("/")[0])
        # Twice as many sockets as connections, so that those who wait for an answer can be told that there is no room.
        silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(4)]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with contextlib.suppress(ConnectionError):
            assert await asyncio.wait_for(reader.read(), 0.7) == b""
        writer.close()
        for reader, writer in silent:
            assert await asyncio.wait_for(reader.read(), 5.0) == b""
            writer.close()
        session = await open_session(system, HttpServer(url, token=TOKEN))
        await session.ask(Ping())


@each_way
async def test_to_close_twice_and_from_several_sides_raises_nothing(way: str) -> None:
    async with WAYS[way]() as stage:
        if stage.end_server is not None:
            stage.end_server()
        for _ in range(2):
            stage.session.stop()
        if stage.end_server is not None:
            stage.end_server()
        await stage.session.wait_stopped(10.0)
        stage.session.stop()
        with pytest.raises(ActorStopped):
            await stage.call("add", a=1, b=1)


@each_way
async def test_deadline_and_cancel_reach_the_handler(way: str) -> None:
    async with WAYS[way]() as stage:
        with pytest.raises(AskTimeout):
            await stage.call("wait", timeout=0.2)
        await until(lambda: stage.log == ["wait cancelled"])
        asking = asyncio.create_task(stage.call("wait"))
        await stage.gate.reached(2)
        asking.cancel()
        await until(lambda: stage.log == ["wait cancelled"] * 2)
        assert asking.cancelled()
        await stage.session.ask(Ping())
        assert stage.gate.went == 0


@pytest.mark.parametrize("way", ["stdio", "http", "http, legacy"])
async def test_a_message_that_is_too_large_is_never_handled(way: str) -> None:
    async with WAYS[way]() as stage:
        # Over HTTP one request is refused; a pipe whose lines are too long is given up.
        with pytest.raises((MCPRefused, ActorFailed)):
            await stage.call("say", text="x" * 5000)
        if way != "stdio":
            assert (await stage.call("add", a=1, b=1)).text == "2"


@each_way
async def test_the_client_closes_and_what_it_has_asked_is_cancelled(way: str) -> None:
    async with WAYS[way]() as stage:
        asking = asyncio.create_task(stage.call("wait"))
        await stage.gate.reached()
        stage.session.kill()
        with pytest.raises((ActorFailed, ActorStopped)):
            await asking
        await stage.session.wait_stopped()
        await until(lambda: stage.log == ["wait cancelled"])


@pytest.mark.parametrize("way", ["stdio", "http", "http, legacy"])
async def test_the_server_dies_and_what_was_asked_fails_at_once(way: str) -> None:
    async with WAYS[way]() as stage:
        asking = asyncio.create_task(stage.call("wait", timeout=60.0))
        await stage.gate.reached()
        assert stage.end_server is not None
        stage.end_server()
        with pytest.raises((ActorFailed, ActorStopped), match="lost"):
            await asking
        assert is_abnormal(await stage.session.wait_stopped())
        with pytest.raises(ActorStopped):
            await stage.call("add", a=1, b=1)


@each_way
async def test_an_actor_that_has_stopped_is_an_error_of_its_tools(way: str) -> None:
    async with WAYS[way]() as stage:
        stage.desk.stop()
        await stage.desk.wait_stopped()
        gone = await stage.call("add", a=1, b=1)
        assert (gone.is_error, gone.text) == (True, "add is not available any more: what answers it has stopped")
