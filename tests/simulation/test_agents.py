"""Agents with scripted models under crashes, cancels, slow and failing tools, and readers who leave.

No conversation is ever wedged, no request to a model has a call without exactly one result, no budget is exceeded, and
every program ends.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tenacity import wait_fixed

from understudy import ActorRef, ChildSpec, UnderstudyError, child
from understudy.agents import (
    AIAgent,
    AsyncProgram,
    Budget,
    Converse,
    Memory,
    ModelRequest,
    ModelUnavailable,
    ProgramFailed,
    Prompt,
    RateLimiter,
    ScriptedModel,
    Structured,
    StructuredAgentRuntime,
    Tool,
    UseTool,
    agent_group,
    agent_tool,
    problems_of,
    tool,
)
from understudy.testing import Faults, Simulation, simulate

OUTCOMES = {
    *("end", "AskTimeout", "ActorFailed", "ActorStopped", "NoReply", "CancelledError"),
    *("ConsumerSlow", "TimeoutError", "left"),
}


class Number(Structured[int]): ...


class Agent(AIAgent):
    """Impatient, so that much happens."""

    retry_wait = wait_fixed(0.1)
    tool_timeout = 0.5
    model_timeout = 2.0
    max_steps = 6


@dataclass
class Stage:
    """What agents, models and tools do, by chance; and what must be true of it at all times."""

    sim: Simulation
    budgets: list[Budget] = field(default_factory=list[Budget])
    requests: int = 0
    answered: int = 0

    def model(self, tools: Sequence[str]) -> ScriptedModel:
        def answer(request: ModelRequest) -> Any:
            self.requests += 1
            problems = problems_of(request.history)
            if problems:
                self.sim.violated(f"a model is asked with a history that is not sound: {problems}")
            if request.history and request.history[0].kind != "user":
                self.sim.violated("a history does not begin with a user")
            return self.next_answer(request, tools)

        return ScriptedModel(answer, pace=self.sim.random.choice([0.0, 0.05]), prices=(0.1, 0.2), max_tokens=30)

    def next_answer(self, request: ModelRequest, tools: Sequence[str]) -> Any:
        random = self.sim.random
        wanted = [each.name for each in request.tools if each.name == "final_answer"]
        way = random.choice(["text", "text", "tools", "tools", "down", "half", "error"])
        if way == "down":
            return ModelUnavailable("overloaded")
        if way == "half":
            return ["a part of it", ModelUnavailable("gone")]
        if way == "error" and random.random() < 0.2:
            return LookupError("the client has a bug")
        if way == "tools":
            return [
                "well",
                *(UseTool(random.choice(list(tools)), **self.arguments()) for _ in range(random.randrange(1, 4))),
            ]
        if wanted:
            return UseTool("final_answer", answer=random.choice([1, "x"]))
        return "this is what I think of it"

    def arguments(self) -> dict[str, Any]:
        return {"text": "x"} if self.sim.random.random() < 0.9 else {"nonsense": 1}

    def tools(self) -> list[Tool]:
        random = self.sim.random

        @tool
        async def slow(text: str) -> str:
            await asyncio.sleep(random.choice([0, 0.01, 0.3, 5.0]))
            return text

        @tool(cost=0.5)
        async def failing(text: str) -> str:
            await asyncio.sleep(0.01)
            raise random.choice([ValueError("no"), asyncio.CancelledError(), TimeoutError("late")])

        @tool
        async def stubborn(text: str) -> str:
            for _ in range(random.randrange(1, 4)):
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.sleep(0.4)
            return text

        @tool
        def quick(text: str) -> str:
            return text

        return [slow, failing, stubborn, quick]

    def budget(self, name: str) -> Budget:
        random = self.sim.random
        budget = Budget(
            tokens=random.choice([None, 400, 3_000]),
            cost=random.choice([None, 60.0, 500.0]),
            calls=random.choice([None, 10, 60]),
            seconds=random.choice([None, 5.0, 60.0]),
            name=name,
        )
        self.budgets.append(budget)
        return budget

    def check_budgets(self) -> bool:
        for budget in self.budgets:
            for what in ("tokens", "cost", "calls", "seconds"):
                spent, limit = getattr(budget.spent, what), getattr(budget.limit, what)
                if spent + getattr(budget.reserved, what) > limit + 1e-6:
                    return False
        return True

    def specs(self) -> list[ChildSpec[Any]]:
        """Two agents who can ask each other and themselves, and a limiter."""
        names = ("one", "two")
        others = [agent_tool(f"play/team/{name}", name=name, description=name, timeout=1.0) for name in names]
        tools = [*self.tools(), *others]
        members = [
            child(
                Agent,
                self.model([*(each.name for each in tools), "unknown"]),
                tools=tools,
                memory=self.sim.random.choice([None, Memory(), Memory(budget=200)]),
                budget=self.budget(f"of-{name}"),
            ).options(name=name, shutdown=0.5)
            for name in names
        ]
        limiter = child(RateLimiter, "scripted", calls_per_minute=2_000, at_once=2).options(name="limiter")
        return [agent_group("team", *members, max_restarts=1_000, budget=self.budget("of-team")), limiter]

    async def talk(self, ref: ActorRef[Any], number: int) -> str:
        random = self.sim.random
        way = random.choice(["ask", "ask", "stream", "leave", "structured", "hurry"])
        conversation = random.choice(["", "other"])
        text = f"question {number}"
        try:
            if way in ("stream", "leave"):
                async with ref.stream(Converse(text=text, conversation=conversation), timeout=100) as parts:
                    async for _ in parts:
                        if way == "leave" and random.random() < 0.5:
                            return "left"
            elif way == "structured":
                await ref.ask(Number(text=text, conversation=conversation), timeout=100)
            else:
                seconds = 0.2 if way == "hurry" else 100
                await ref.ask(Prompt(text=text, conversation=conversation), timeout=seconds)
            self.answered += 1
        except UnderstudyError as error:
            return type(error).__name__
        return "end"


@simulate(schedules=20, faults=Faults(crash=0.02, cancel=0.02, stall=0.2))
async def test_no_conversation_is_ever_wedged_and_no_budget_exceeded(sim: Simulation) -> None:
    stage = Stage(sim)
    runtime = StructuredAgentRuntime(*stage.specs(), name="play")
    sim.always("no budget is exceeded", stage.check_budgets)
    async with runtime:
        refs: list[ActorRef[Any]] = [runtime.system.lookup(f"play/team/{name}") for name in ("one", "two")]
        tasks = [
            asyncio.create_task(stage.talk(sim.random.choice(refs), number), name=f"talk-{number}")
            for number in range(6)
        ]
        for _ in range(sim.random.randrange(4)):
            await asyncio.sleep(sim.random.choice([0, 0.1, 0.5]))
            match sim.random.choice(["kill", "cancel"]):
                case "kill":
                    sim.random.choice(refs).kill()
                case _:
                    sim.random.choice(tasks).cancel()
        await asyncio.wait(tasks, timeout=600)
        assert all(task.done() for task in tasks), "a conversation is wedged"
        assert {task.result() for task in tasks if not task.cancelled()} <= OUTCOMES
        await sim.quiesce()
        limiter = runtime.system.lookup("play/limiter", RateLimiter)
        assert not limiter.debug.get_state().state["_leases"], "a lease is never given back"
        for budget in stage.budgets:
            assert budget.reserved.calls == 0, budget
            assert abs(budget.reserved.tokens) < 1e-6, budget
        for ref in refs:
            if ref.status == "running":  # it answers, or says why not
                with contextlib.suppress(UnderstudyError):
                    await ref.ask(Prompt(text="still there?"), timeout=100)


class Play(AsyncProgram):
    """Has the agents talk for a while; then it ends, or an agent ends it, or it is cancelled."""

    name = "play"

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.opened = 0
        self.keep_going = stage.sim.random.random() < 0.5
        self.clean_up_timeout = 1.0

    def agents(self) -> Sequence[ChildSpec[Any]]:
        return self.stage.specs()

    async def initialize(self) -> None:
        self.opened += 1
        self.resources.callback(self.close)
        await asyncio.sleep(0.01)
        if self.stage.sim.random.random() < 0.1:
            raise OSError("not today")

    def close(self) -> None:
        self.opened -= 1

    async def clean_up(self) -> None:
        await asyncio.sleep(self.stage.sim.random.choice([0, 0.05, 30.0]))

    async def execute(self) -> object:
        random = self.stage.sim.random
        for number in range(random.randrange(4)):
            ref = self.runtime.system.find(f"play/team/{random.choice(['one', 'two'])}")
            if ref is not None:
                await self.stage.talk(ref, number)
        return "enough"


@simulate(schedules=20, faults=Faults(crash=0.01, cancel=0.02, stall=0.2))
async def test_every_program_ends_and_leaves_nothing_open_whatever_happens_to_it(sim: Simulation) -> None:
    stage = Stage(sim)
    program = Play(stage)
    sim.always("no budget is exceeded", stage.check_budgets)
    running = asyncio.create_task(program.run(), name="program")
    for _ in range(sim.random.randrange(3)):
        await asyncio.sleep(sim.random.choice([0, 0.01, 0.1, 1.0]))
        running.cancel()
    await asyncio.wait({running}, timeout=3_000)
    assert running.done(), "the program does not end"
    assert program.opened == 0
    if running.cancelled():
        assert program.report is None or program.report.outcome == "cancelled"
    elif (error := running.exception()) is not None:
        assert isinstance(error, ProgramFailed), error
        assert program.report is not None
        assert program.report.outcome == "failed"
    else:
        assert running.result().outcome == "completed"
