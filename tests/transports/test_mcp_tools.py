"""Messages as tools: schemas, descriptions, what a call comes to, and what can be exposed at all."""

from __future__ import annotations

import asyncio
import hashlib
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
from pydantic import BaseModel

from tests.cast import Gate
from tests.transports.mcp_cast import Add, Say, Steps, Wait, open_desk
from understudy import Actor, ActorRef, ActorSystem, InvalidSpec, Mailbox, Message, StreamMessage, child, handler
from understudy.exceptions import MissingExtra
from understudy.transports.mcp import (
    HttpServer,
    MCPSessionFactory,
    MemoryServer,
    Tools,
    description_hash,
    expose,
    tool,
)
from understudy.transports.mcp import (
    ToolInfo as Info,
)

pytestmark = pytest.mark.asyncio


class Point(BaseModel):
    x: int
    y: int = 0


@dataclass
class Span:
    length: float


class Where(Message[Point]):
    """Where it is.

    In two dimensions.
    """

    near: Point


class HowLong(Message[Span]):
    pass


class All(Message[list[Point]]):
    pass


class Maybe(Message[Point | None]):
    pass


class Points(StreamMessage[Point]):
    pass


class Liar(Message[int]):
    """Answered with something else."""


class Opaque(Message[asyncio.Task[Any]]):
    """JSON has nothing for its reply."""


class Carrier(Message[int]):
    """JSON has nothing for its field."""

    ref: ActorRef[Any]


class Geo(Actor[Where | HowLong | All | Maybe | Points | Liar | Opaque | Carrier]):
    @handler
    def where(self, message: Where) -> Point:
        return Point(x=message.near.x + 1)

    @handler
    def how_long(self, message: HowLong) -> Span:
        return Span(1.5)

    @handler
    def all_of_them(self, message: All) -> list[Point]:
        return [Point(x=1), Point(x=2)]

    @handler
    def maybe(self, message: Maybe) -> Point | None:
        return None

    @handler
    async def points(self, message: Points) -> AsyncIterator[Point]:
        yield Point(x=1)

    @handler
    def lie(self, message: Liar) -> Any:
        return "a canary, not a number"

    @handler
    def opaque(self, message: Opaque) -> Any:
        return None

    @handler
    def carry(self, message: Carrier) -> int:
        return 0


async def test_schemas_and_description_come_from_the_message() -> None:
    async with ActorSystem() as system:
        geo = await system.spawn(Geo)
        where, long, every, maybe, points = expose(geo, Where, HowLong, All, Maybe, Points)
        assert (where.name, where.description) == ("where", "Where it is.\n\nIn two dimensions.")
        assert (long.name, long.description) == ("how_long", "")
        assert where.input_schema["required"] == ["near"]
        assert where.input_schema["additionalProperties"] is False
        assert where.output_schema is not None
        assert (where.output_schema["type"], where.wrapped) == ("object", False)
        assert (long.wrapped, every.wrapped, maybe.wrapped, points.wrapped) == (False, True, True, True)
        assert (await where.call({"near": {"x": 1}}, None, None)).structured == {"x": 2, "y": 0}
        assert (await long.call({}, None, None)).structured == {"length": 1.5}
        assert (await every.call(None, None, None)).structured == {"result": [{"x": 1, "y": 0}, {"x": 2, "y": 0}]}
        nothing = await maybe.call(None, None, None)
        assert (nothing.structured, nothing.text, nothing.is_error) == ({"result": None}, "null", False)
        assert (await points.call(None, None, None)).structured == {"result": [{"x": 1, "y": 0}]}


async def test_output_schemas_are_valid_for_what_is_answered() -> None:
    import jsonschema

    async with ActorSystem() as system:
        geo = await system.spawn(Geo)
        for each in expose(geo, Where, HowLong, All, Maybe, Points):
            arguments = {"near": {"x": 1}} if each.name == "where" else {}
            outcome = await each.call(arguments, None, None)
            jsonschema.validate(outcome.structured, each.output_schema or {})


async def test_a_reply_that_is_not_what_the_message_declares_is_an_error_without_the_reply() -> None:
    async with ActorSystem() as system:
        (liar,) = expose(await system.spawn(Geo), Liar)
        outcome = await liar.call({}, None, None)
    assert outcome.is_error
    assert outcome.text == "liar has failed: its answer is not what it declares"


@pytest.mark.parametrize(
    ("message", "options", "field"),
    [
        (Opaque, {}, "message"),
        (Carrier, {}, "message"),
        (Add, {}, "message"),
        (int, {}, "message"),
        ("Where", {}, "message"),
        (Where, {"name": "a b"}, "name"),
        (Where, {"name": ""}, "name"),
        (Where, {"name": "x" * 129}, "name"),
        (Where, {"call_timeout": 0}, "call_timeout"),
        (Where, {"max_result_bytes": 0}, "max_result_bytes"),
    ],
)
async def test_what_cannot_be_a_tool_is_refused_when_it_is_declared(
    message: Any, options: dict[str, Any], field: str
) -> None:
    async with ActorSystem() as system:
        geo = await system.spawn(Geo)
        with pytest.raises(InvalidSpec) as caught:
            tool(geo, message, **options)
    assert caught.value.field == field


async def test_two_tools_of_one_name_are_refused() -> None:
    async with ActorSystem() as system:
        one, two = await system.spawn(Geo), await system.spawn(Geo)
        with pytest.raises(InvalidSpec, match=r"'where' stands for /user/geo and for /user/geo-2"):
            Tools(expose(one, Where), expose(two, Where))
        assert set(Tools(expose(one, Where), tool(two, Where, name="there")).tools) == {"where", "there"}


async def test_only_what_is_exposed_is_there() -> None:
    async with ActorSystem() as system:
        tools, _, _, _ = await open_desk(system)
    assert "secret" not in tools.tools


@pytest.mark.parametrize(("own", "callers", "expected"), [(5.0, None, 5.0), (5.0, 2.0, 2.0), (5.0, 60.0, 5.0)])
async def test_a_call_ends_at_the_shorter_of_the_limits(own: float, callers: float | None, expected: float) -> None:
    async with ActorSystem() as system:
        _, _, log, desk = await open_desk(system)
        waiting = tool(desk, Wait, call_timeout=own)
        began = asyncio.get_running_loop().time()
        outcome = await waiting.call({}, callers, None)
        assert asyncio.get_running_loop().time() - began == pytest.approx(expected, abs=0.01)
        await asyncio.sleep(0.01)
    assert outcome.text == f"wait gave no answer within {expected:g} s; whether it was done is unknown"
    assert log == ["wait cancelled"]


async def test_a_stream_ends_at_the_limit_too_and_is_closed() -> None:
    async with ActorSystem() as system:
        _, gate, log, desk = await open_desk(system)
        outcome = await tool(desk, Steps, call_timeout=3.0).call({"to": 5}, None, None)
        await asyncio.sleep(0.01)
    assert outcome.text == "steps gave no answer within 3 s; whether it was done is unknown"
    assert (log, gate.went) == (["steps closed"], 0)


async def test_a_stream_that_grows_too_large_is_closed_and_not_kept() -> None:
    async with ActorSystem() as system:
        _, gate, log, desk = await open_desk(system)
        gate.open()
        outcome = await tool(desk, Steps, max_result_bytes=100).call({"to": 100_000}, None, None)
        await asyncio.sleep(0.01)
    assert outcome.text == "the answer of steps is larger than 100 bytes, its limit"
    assert log == ["steps closed"]


async def test_a_full_mailbox_and_a_stopped_actor_are_told_as_such() -> None:
    class Busy(Actor[Say]):
        def __init__(self, gate: Gate) -> None:
            self.gate = gate

        @handler
        async def say(self, message: Say) -> str:
            await self.gate.hold()
            return message.text

    gate = Gate()
    async with ActorSystem() as system:
        busy = await system.spawn(child(Busy, gate).options(mailbox=Mailbox(capacity=1, policy="fail")))
        (say,) = expose(busy, Say)
        calls = [asyncio.create_task(say.call({"text": "a"}, None, None))]
        await gate.reached()
        calls += [asyncio.create_task(say.call({"text": "a"}, None, None)) for _ in range(2)]
        await asyncio.sleep(0.01)
        gate.open()
        told = sorted([(await each).text for each in calls])
        assert told == ["a", "a", "say has too much to do at present: try again later"]
        busy.stop()
        await busy.wait_stopped()
        assert (await say.call({"text": "a"}, None, None)).text.startswith("say is not available any more")


async def test_a_cancelled_call_is_not_started_any_more() -> None:
    handled: list[str] = []

    class Serial(Actor[Wait | Say]):
        def __init__(self, gate: Gate) -> None:
            self.gate = gate

        @handler
        async def wait(self, message: Wait) -> int:
            await self.gate.hold()
            return 1

        @handler
        def say(self, message: Say) -> str:
            handled.append(message.text)
            return message.text

    gate = Gate()
    async with ActorSystem() as system:
        wait, say = expose(await system.spawn(child(Serial, gate)), Wait, Say)
        first = asyncio.create_task(wait.call({}, None, None))
        await gate.reached()
        second = asyncio.create_task(say.call({"text": "never"}, None, None))
        await asyncio.sleep(0.01)
        second.cancel()
        gate.open()
        await first
        await asyncio.sleep(0.01)
    assert handled == []


# The hash of a description

TOOL = Info(server="s", name="t", description="d", input_schema={"type": "object", "properties": {"a": {}, "b": {}}})


async def test_a_hash_is_stable_and_does_not_look_at_the_order_of_names() -> None:
    turned = TOOL.model_copy(update={"input_schema": {"properties": {"b": {}, "a": {}}, "type": "object"}})
    assert description_hash(TOOL) == description_hash(turned)
    told = (
        '{"annotations":{},"description":"d","input_schema":{"properties":{"a":{},"b":{}},"type":"object"},'
        '"name":"t","output_schema":null,"title":null}'
    )
    assert description_hash(TOOL) == f"sha256:{hashlib.sha256(told.encode()).hexdigest()}"
    assert description_hash(TOOL) == description_hash(TOOL.model_copy(update={"server": "another"}))


@pytest.mark.parametrize(
    "change",
    [{"name": "u"}, {"title": "T"}, {"description": "e"}, {"description": "d "}, {"input_schema": {"type": "object"}},
     {"output_schema": {}}, {"annotations": {"readOnlyHint": True}}],
)  # fmt: skip
async def test_a_hash_changes_with_whatever_a_model_is_told(change: dict[str, Any]) -> None:
    assert description_hash(TOOL) != description_hash(TOOL.model_copy(update=change))


# A pool's factory


async def test_the_factory_of_a_pool_opens_checks_and_closes_sessions() -> None:
    async with ActorSystem() as system:
        tools, _, _, _ = await open_desk(system)
        factory = MCPSessionFactory(system, MemoryServer(tools), patience=1.0)
        one, two = await factory.open(), await factory.open()
        assert one != two
        assert await factory.is_healthy(one)
        await factory.close(one)
        assert one.status == "stopped"
        assert not await factory.is_healthy(one)
        await factory.close(one)
        assert await factory.is_healthy(two)


# What is missing


@pytest.mark.parametrize(
    "make",
    [
        lambda: MemoryServer(object()),
        lambda: HttpServer("https://example.org"),
        lambda: Tools().sdk_server(),
    ],
)
async def test_a_missing_extra_is_one_helpful_error(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mcp", None)
    with pytest.raises(MissingExtra, match=r'needs mcp: pip install "understudy\[mcp\]"$'):
        make()


async def test_importing_the_facades_imports_no_extra() -> None:
    code = (
        "import sys, understudy.transports, understudy.transports.mcp as it\n"
        "it.HttpServer('https://example.org'); it.HttpBinding(); it.StdioServer('x')\n"
        "print({'mcp', 'mcp_types', 'anyio', 'httpx2', 'starlette', 'uvicorn', 'sse_starlette'} & set(sys.modules))"
    )
    done = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", code], check=True, capture_output=True, text=True
    )
    assert done.stdout == "set()\n"
