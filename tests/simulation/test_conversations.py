"""Agents that ask humans, each other, and MCP servers, under crashes, cancels and losses: no conversation is wedged.

``test_agents.py`` is about tools, budgets and programs, ``test_meetings.py`` about meetings.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import dataclass, field
from typing import Any

from tenacity import wait_fixed

from tests.simulation.test_mcp import Script
from understudy import ActorRef, ActorSystem, AskTimeout, UnderstudyError, child, supervisor
from understudy.agents import (
    AIAgent,
    Approvals,
    Converse,
    Decide,
    ListPending,
    Memory,
    ModelRequest,
    ModelUnavailable,
    Prompt,
    ScriptedModel,
    Tool,
    ToolResult,
    UseTool,
    agent_tool,
    problems_of,
    tool,
)
from understudy.testing import Faults, Simulation, simulate
from understudy.transports.mcp import CallTool, MCPSession, MCPSessionMessage

FAULTS = Faults(crash=0.02, cancel=0.02, stall=0.2)
LONGEST = 300.0
"""Seconds after which a conversation is wedged."""


class Agent(AIAgent):
    """Impatient, so that much happens."""

    retry_wait = wait_fixed(0.1)
    tool_timeout = 2.0
    model_timeout = 2.0
    max_steps = 5


@dataclass
class Stage:
    """Models that use tools by chance, and what must be true of their histories at all times."""

    sim: Simulation
    ways: tuple[str, ...] = ("ask", "ask", "hurry", "stream", "leave")
    """How they are talked to; who is in a hurry gives up soon."""
    number: int = 0
    timeouts: list[str] = field(default_factory=list[str])
    """Asks that had no answer in time, of those who talk and of agents."""
    calm: bool = False
    """Whether models have stopped to misbehave."""

    def model(self, *tools: str, pace: float = 0.0) -> ScriptedModel:
        def answer(request: ModelRequest) -> Any:
            problems = problems_of(request.history)
            self.timeouts += [
                item.content
                for item in request.history
                if isinstance(item, ToolResult) and "did not reply" in str(item)
            ]
            if problems:
                self.sim.violated(f"a model is asked with a history that is not sound: {problems}")
            random = self.sim.random
            match "text" if self.calm else random.choice(["text", "tools", "tools", "down"]):
                case "down":
                    return ModelUnavailable("overloaded")
                case "tools":
                    return [UseTool(random.choice(tools), text=self.fresh()) for _ in range(random.randrange(1, 3))]
                case _:
                    return "that is it"

        return ScriptedModel(answer, pace=pace, max_tokens=100)

    def fresh(self) -> str:
        """A text like no other."""
        self.number += 1
        return f"number-{self.number}"

    async def talk(self, ref: ActorRef[Any], *, timeout: float = 100.0) -> str:
        """One question, and what has become of it."""
        way = self.sim.random.choice(self.ways)
        try:
            if way in ("stream", "leave"):
                async with ref.stream(Converse(text=self.fresh()), timeout=timeout) as parts:
                    async for _ in parts:
                        if way == "leave":
                            return "left"
            else:
                await ref.ask(Prompt(text=self.fresh()), timeout=0.2 if way == "hurry" else timeout)
        except UnderstudyError as error:
            if isinstance(error, AskTimeout):
                self.timeouts.append(str(error))
            return type(error).__name__
        return "end"


async def all_end(sim: Simulation, tasks: list[asyncio.Task[Any]], *refs: ActorRef[Any]) -> None:
    """Cancel and kill a few, and wait for *tasks*."""
    random = sim.random
    for _ in range(random.randrange(5)):
        await asyncio.sleep(random.choice([0, 0.05, 0.3, 1.0]))
        match random.choice(["cancel", "cancel", "kill"]):
            case "kill":
                random.choice(refs).kill()
            case _:
                random.choice(tasks).cancel()
    await asyncio.wait(tasks, timeout=LONGEST)
    assert all(task.done() for task in tasks), "a conversation is wedged"
    for task in tasks:
        if not task.cancelled():
            task.result()
    await sim.quiesce()


async def all_answer(stage: Stage, *refs: ActorRef[Any]) -> None:
    """Whatever has happened before, each agent goes on."""
    stage.calm = True
    for ref in refs:
        assert (await ref.ask(Prompt(text="still there?"), timeout=LONGEST)).text == "that is it"


# Humans


@dataclass
class Channel:
    """Where humans decide, at once, late, or never."""

    sim: Simulation
    approved: set[str] = field(default_factory=set[str])
    ran: list[str] = field(default_factory=list[str])
    open: bool = True

    def tools(self) -> list[Tool]:
        @tool(dangerous=True)
        async def delete(text: str) -> str:
            if text not in self.approved:
                self.sim.violated(f"{text} is deleted, and nobody has allowed it")
            if text in self.ran:
                self.sim.violated(f"{text} is deleted twice, and was allowed once")
            self.ran.append(text)
            await asyncio.sleep(self.sim.random.choice([0, 0.05]))
            return text

        return [delete]

    async def decide(self, name: str, approvals: ActorRef[Any]) -> None:
        random = self.sim.random
        while self.open:
            await asyncio.sleep(random.choice([0.02, 0.1, 0.4]))
            with contextlib.suppress(UnderstudyError):
                for pending in await approvals.ask(ListPending(), timeout=1.0):
                    if random.random() < 0.3:
                        continue
                    approve = random.random() < 0.6
                    if approve:
                        self.approved.add(json.loads(pending.request.arguments)["text"])
                    await approvals.ask(Decide(number=pending.number, approve=approve, by=name), timeout=1.0)


@simulate(schedules=20, faults=FAULTS)
async def test_nothing_dangerous_is_done_that_nobody_has_allowed_and_nobody_waits_for_ever(sim: Simulation) -> None:
    stage, channel = Stage(sim), Channel(sim)
    tree = supervisor(
        "root",
        child(Approvals, expires_after=sim.random.choice([0.3, 3.0])).options(name="approvals"),
        *(
            child(Agent, stage.model("delete"), tools=channel.tools()).options(name=name, shutdown=0.5)
            for name in ("one", "two")
        ),
        max_restarts=100_000,
    )
    async with ActorSystem(tree) as system:
        approvals: ActorRef[Any] = system.lookup("root/approvals")
        refs: list[ActorRef[Any]] = [system.lookup(f"root/{name}") for name in ("one", "two")]
        humans = [asyncio.create_task(channel.decide(name, approvals), name=name) for name in ("terminal", "page")]
        tasks: list[asyncio.Task[Any]] = [
            asyncio.create_task(stage.talk(sim.random.choice(refs)), name=f"talk-{number}") for number in range(5)
        ]
        await all_end(sim, tasks, approvals, *refs)
        channel.open = False
        await asyncio.wait(humans, timeout=60)
        await asyncio.sleep(5)  # longer than any request stays open
        assert await approvals.ask(ListPending()) == (), "a request waits, and nobody for it"
        await all_answer(stage, *refs)


# Each other


@simulate(schedules=20, faults=Faults(crash=0.02, cancel=0.02, stall=0.0))
async def test_agents_who_ask_each_other_in_circles_come_to_an_end_without_a_timeout(sim: Simulation) -> None:
    stage, names = Stage(sim, ways=("ask", "stream", "leave")), ("one", "two", "three")
    tools = [agent_tool(f"root/{name}", name=name, description=name) for name in names]
    pace = sim.random.choice([0.0, 0.001])
    tree = supervisor(
        "root",
        *(
            child(
                Agent, stage.model(*names, pace=pace), tools=tools, memory=sim.random.choice([None, Memory()])
            ).options(name=name, shutdown=0.5)
            for name in names
        ),
        max_restarts=100_000,
    )
    async with ActorSystem(tree) as system:
        refs: list[ActorRef[Any]] = [system.lookup(f"root/{name}") for name in names]
        tasks: list[asyncio.Task[Any]] = [
            asyncio.create_task(stage.talk(sim.random.choice(refs), timeout=1_000.0), name=f"talk-{number}")
            for number in range(4)
        ]
        await all_end(sim, tasks, *refs)
        await all_answer(stage, *refs)
        assert stage.timeouts == [], "somebody has waited in a circle"


# MCP servers


@simulate(schedules=20, faults=FAULTS)
async def test_a_conversation_survives_the_loss_of_the_mcp_server_that_its_tools_come_from(sim: Simulation) -> None:
    stage, script = Stage(sim), Script(sim, call_timeout=1.0)
    sessions: list[ActorRef[MCPSessionMessage]] = []

    @tool
    async def look_up(text: str) -> str:
        """Call a tool of the server."""
        result = await sessions[0].ask(CallTool(name="look_up", arguments={"text": text}), timeout=1.5)
        return result.tool

    session = child(MCPSession, script).options(name="session", backoff=wait_fixed(0.05), shutdown=1.0)
    agents = [
        child(Agent, stage.model("look_up"), tools=[look_up]).options(name=name, shutdown=0.5)
        for name in ("one", "two")
    ]
    async with ActorSystem(supervisor("root", session, *agents, max_restarts=100_000)) as system:
        sessions.append(system.lookup("root/session"))
        refs: list[ActorRef[Any]] = [system.lookup(f"root/{name}") for name in ("one", "two")]
        tasks: list[asyncio.Task[Any]] = [
            asyncio.create_task(stage.talk(sim.random.choice(refs)), name=f"talk-{number}") for number in range(5)
        ]

        async def lose() -> None:
            for _ in range(sim.random.randrange(5)):
                await asyncio.sleep(sim.random.choice([0.01, 0.1, 0.5]))
                for link in script.links:
                    link.gone()

        losing = asyncio.create_task(lose(), name="lose")
        await all_end(sim, tasks, sessions[0], *refs)
        await asyncio.wait({losing})
        await sim.quiesce()
        assert script.begun == script.ended, "a call is under way, and nobody waits for it"
        await all_answer(stage, *refs)
    assert script.links == []
