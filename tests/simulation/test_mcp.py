"""MCP sessions under crashes, cancels, kills, stops and losses at every await: each ask has one outcome, in time, and
what a session has opened is closed by the task that has opened it."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Any

import pytest
from tenacity import wait_fixed

from tests.cast import Gate
from tests.transports.mcp_cast import EXPOSED, Desk
from understudy import ActorRef, ActorSystem, ChildSpec, UnderstudyError, child, supervisor
from understudy.testing import Faults, Simulation, simulate
from understudy.transports.mcp import (
    CallTool,
    CallToolProgress,
    Dialect,
    ListTools,
    MCPConnectionLost,
    MCPRefused,
    MCPSession,
    MCPSessionMessage,
    MemoryServer,
    Ping,
    ToolInfo,
    ToolProgress,
    ToolResult,
    Tools,
    expose,
)

OUTCOMES = {"result", "progress", "cancelled", "AskTimeout", "ActorFailed", "ActorStopped", "MCPRefused"}


@dataclass(eq=False)
class ScriptedLink:
    """A connection whose server does what chance says."""

    script: Script
    lost: asyncio.Future[str]
    task: asyncio.Task[Any] | None
    closed: bool = False
    calls: int = 0

    def gone(self) -> None:
        if not self.lost.done():
            self.lost.set_result("the script says so")

    async def _serve(self) -> None:
        """A request on its way: there, in the server, and back."""
        script, random = self.script, self.script.sim.random
        if self.closed or self.lost.done():
            raise MCPConnectionLost(server=script.name, problem="the script says so")
        self.calls += 1
        script.begun += 1
        try:
            for _ in range(random.randrange(3)):
                await script.pause()
                if random.random() < 0.03:
                    self.gone()
                if self.lost.done():
                    raise MCPConnectionLost(server=script.name, problem="the script says so")
            if random.random() < 0.1:
                await asyncio.get_running_loop().create_future()  # never answered
            if random.random() < 0.1:
                raise MCPRefused(server=script.name, request="it", code=1, problem="no")
        finally:
            self.calls -= 1
            script.ended += 1

    async def tools(self, seconds: float) -> tuple[ToolInfo, ...]:
        await self._serve()
        return ()

    async def ping(self, seconds: float) -> None:
        await self._serve()

    async def call(self, tool: str, arguments: dict[str, Any], seconds: float, on_progress: Any) -> ToolResult:
        for number in range(self.script.sim.random.randrange(4) if on_progress is not None else 0):
            on_progress(ToolProgress(progress=float(number)))
            await self.script.pause()
        await self._serve()
        return ToolResult(server=self.script.name, tool=tool)


@dataclass(eq=False)
class Script:
    """A server, and what has been opened of it."""

    sim: Simulation
    name: str = "script"
    call_timeout: float = 50.0
    links: list[ScriptedLink] = field(default_factory=list[ScriptedLink])
    opened: int = 0
    begun: int = 0
    ended: int = 0

    async def pause(self) -> None:
        await asyncio.sleep(self.sim.random.choice([0, 0, 0.01, 0.1]))

    @contextlib.asynccontextmanager
    async def connect(self, log: Any) -> AsyncGenerator[ScriptedLink, None]:
        await self.pause()
        if self.opened and self.sim.random.random() < 0.1:
            raise ConnectionError("nobody there")
        task = asyncio.current_task()
        link = ScriptedLink(self, asyncio.get_running_loop().create_future(), task)
        self.opened += 1
        self.links.append(link)
        if len(self.links) > 1:
            self.sim.violated("two sessions of one actor are open")
        try:
            yield link
            await self.pause()  # a close in order takes a while
        finally:
            link.closed = True
            self.links.remove(link)
            if asyncio.current_task() is not task:
                self.sim.violated("a session is closed by another task than has opened it")


async def outcome_of(session: ActorRef[MCPSessionMessage], sim: Simulation, timeout: float) -> str:
    """One request, and what came of it."""
    name = {"name": sim.random.choice(["add", "wait", "break"])}
    try:
        match sim.random.choice(["call", "call", "list", "ping", "stream", "leave"]):
            case "call":
                result = await session.ask(CallTool(**name, arguments={}), timeout=timeout)
                assert isinstance(result, ToolResult)
            case "list":
                await session.ask(ListTools(), timeout=timeout)
            case "ping":
                await session.ask(Ping(), timeout=timeout)
            case way:
                last: object = None
                async with session.stream(CallToolProgress(**name), timeout=timeout) as parts:
                    async for part in parts:
                        if isinstance(last, ToolResult):
                            sim.violated("something comes after the result")
                        last = part
                        if way == "leave":
                            return "progress"
                if not isinstance(last, ToolResult):
                    sim.violated("a stream ends without a result and without an error")
    except UnderstudyError as error:
        return type(error).__name__
    return "result"


async def trouble(sim: Simulation, session: ActorRef[Any], tasks: list[asyncio.Task[str]], script: Script) -> None:
    random = sim.random
    for _ in range(random.randrange(6)):
        await asyncio.sleep(random.choice([0, 0.01, 0.05, 0.2]))
        match random.choice(["kill", "cancel", "cancel", "lose", "lose", "stop"]):
            case "kill":
                session.kill()
            case "cancel":
                random.choice(tasks).cancel()
            case "stop" if random.random() < 0.3:
                session.stop()
            case _:
                for link in script.links:
                    link.gone()


@simulate(schedules=20, faults=Faults(crash=0.02, cancel=0.02, stall=0.2))
async def test_every_request_has_one_outcome_in_time_whatever_becomes_of_the_session(sim: Simulation) -> None:
    script = Script(sim)
    spec: ChildSpec[Any] = child(MCPSession, script).options(
        name="session", backoff=wait_fixed(0.05), shutdown=1.0, max_concurrency=sim.random.choice([2, 100])
    )
    async with ActorSystem(supervisor("root", spec, max_restarts=100_000)) as system:
        session: ActorRef[Any] = system.lookup("root/session")
        tasks = [
            asyncio.create_task(outcome_of(session, sim, sim.random.choice([0.05, 1.0, 20.0])), name=f"asker-{number}")
            for number in range(8)
        ]
        await trouble(sim, session, tasks, script)
        await asyncio.wait(tasks, timeout=100.0)
        assert all(task.done() for task in tasks), "somebody waits for ever"
        outcomes = ["cancelled" if task.cancelled() else task.result() for task in tasks]
        assert set(outcomes) <= OUTCOMES, outcomes
        await sim.quiesce()
        # Nothing is open but the session of an actor that runs, and nothing is under way at the server.
        assert len(script.links) == (session.status == "running")
        assert [link.calls for link in script.links if link.calls] == []
        assert script.begun == script.ended
    assert script.links == []


@dataclass
class Chance:
    """What the helpers above want of a simulation, on an ordinary event loop."""

    random: random.Random

    def violated(self, promise: str) -> None:
        pytest.fail(promise)


@pytest.mark.asyncio
@pytest.mark.parametrize("dialect", ["auto", "legacy"])
@pytest.mark.parametrize("seed", range(15))
async def test_the_same_holds_with_the_client_and_the_server_of_the_sdk_between_two_actors(
    seed: int, dialect: Dialect
) -> None:
    """Not simulated: anyio repeats a cancel in each turn of the loop until it is heeded, for ever if nobody is let."""
    chance: Any = Chance(random.Random(seed))
    gate, log = Gate(), list[str]()
    if seed % 2:
        gate.open()
    async with ActorSystem(supervisor("root", child(Desk, gate, log), max_restarts=100_000)) as system:
        tools = Tools(expose(system.lookup("root/desk", Desk), *EXPOSED))
        server = MemoryServer(tools, protocol=dialect)
        session = await system.spawn(
            child(MCPSession, server).options(backoff=wait_fixed(0.05), shutdown=1.0, max_restarts=100_000)
        )
        tasks = [
            asyncio.create_task(outcome_of(session, chance, chance.random.choice([0.05, 1.0, 20.0]))) for _ in range(8)
        ]
        await trouble(chance, session, tasks, Script(chance))
        await asyncio.wait(tasks, timeout=100.0)
        assert all(task.done() for task in tasks), "somebody waits for ever"
        outcomes = ["cancelled" if task.cancelled() else task.result() for task in tasks]
        assert set(outcomes) <= OUTCOMES, outcomes
        await asyncio.sleep(1.0)
        waiting, cancelled = gate.came - gate.went, log.count("wait cancelled")
        assert waiting == cancelled, "a handler runs for whoever does not wait any more"
