"""The runtime of agents: they start together, fail apart, come and go, and end in order."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.agents.cast import Break, Echo, Finish, Slow
from tests.cast import Gate, Recorder, settle
from understudy import (
    ActorFailed,
    ActorStopped,
    ChildAlreadyStarted,
    InvalidSpec,
    Killed,
    Normal,
    RestartsExceeded,
    StartError,
    SystemCollapsed,
    child,
)
from understudy.agents import Agents, AsyncAgent, Prompt, Said, StructuredAgentRuntime, agent_group


class Slowly(Echo):
    """Takes 10 ms to initialize."""

    async def initialize(self) -> None:
        await asyncio.sleep(0.01)


class Unable(Echo):
    async def initialize(self) -> None:
        await asyncio.sleep(0.005)
        raise OSError("no")


def echo(name: str, *args: Any, **options: Any) -> Any:
    return child(Echo, *args).options(name=name, **options)


@pytest.mark.asyncio
async def test_a_hundred_agents_start_in_the_time_of_one() -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    async with StructuredAgentRuntime(*(child(Slowly) for _ in range(100))) as runtime:
        assert loop.time() - began == pytest.approx(0.01, abs=0.001)
        assert len(runtime.agents.of(Slowly)) == 100


@pytest.mark.asyncio
async def test_an_agent_that_depends_on_another_starts_after_it() -> None:
    log: list[str] = []
    agents = [echo("second", log, depends_on=("first",)), child(Logged, log).options(name="first")]
    async with StructuredAgentRuntime(*agents):
        assert log == ["agents/first up", "agents/second up"]
    assert log[2:] == ["agents/second down", "agents/first down"]


class Logged(Echo):
    async def initialize(self) -> None:
        await asyncio.sleep(0.01)
        super().initialize()


@pytest.mark.asyncio
async def test_one_that_does_not_start_stops_those_that_did_and_nothing_is_left() -> None:
    log: list[str] = []
    with pytest.raises(StartError, match="unable"):
        async with StructuredAgentRuntime(echo("one", log), child(Unable), child(Slowly, log)):
            pass
    assert log == ["agents/one up", "agents/one down"]
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.mark.asyncio
async def test_an_agent_that_fails_too_often_ends_alone() -> None:
    gate = Gate()
    async with StructuredAgentRuntime(echo("good", None, gate), echo("bad")) as runtime:
        good, bad = runtime.agents.get("agents/good", Echo), runtime.agents.get("agents/bad", Echo)
        waiting = asyncio.create_task(good.ask(Slow(), timeout=60))
        await gate.reached()
        for _ in range(4):
            bad.tell(Break(error=ValueError("x")))
        reason = await bad.wait_stopped()
        assert isinstance(reason, RestartsExceeded)
        assert (reason.count, reason.seconds) == (4, 5.0)
        assert runtime.failures == {"/user/agents/bad": reason}
        gate.open()
        assert await waiting == "done"
        with pytest.raises(ActorStopped):
            await bad.ask(Prompt(text="hi"))


@pytest.mark.asyncio
async def test_one_agent_of_many_that_fails_costs_the_others_no_restart_however_many_fail() -> None:
    async with StructuredAgentRuntime(*(echo(f"a{number}") for number in range(10))) as runtime:
        agents = runtime.agents.of(Echo)
        for ref in agents:
            ref.tell(Break(error=ValueError("x")))
        await settle()
        assert [(await ref.ask(Prompt(text="hi"))).text for ref in agents] == ["hi"] * 10
        assert runtime.failures == {}


@pytest.mark.asyncio
async def test_a_group_has_a_strategy_and_a_limit_of_its_own() -> None:
    log: list[str] = []
    group = agent_group("panel", echo("one", log), echo("two", log), strategy="one_for_all", max_restarts=1)
    async with StructuredAgentRuntime(group, echo("alone", log)) as runtime:
        one = runtime.agents.get("agents/panel/one", Echo)
        del log[:]
        one.tell(Break(error=ValueError("x")))
        await settle()
        assert sorted(log) == [f"agents/panel/{name} {what}" for name in ("one", "two") for what in ("down", "up")]
        one.tell(Break(error=ValueError("x")))  # one too many: the group as a whole is restarted
        await settle()
        assert (await one.ask(Prompt(text="hi"))).text == "hi"
        assert runtime.failures == {}
        for _ in range(20):
            one.tell(Break(error=ValueError("x")))
        await settle()
        assert list(runtime.failures) == ["/user/agents/panel/one", "/user/agents/panel"]
        assert (await runtime.agents.get("agents/alone", Echo).ask(Prompt(text="hi"))).text == "hi"


@pytest.mark.asyncio
async def test_agents_come_and_go_while_it_runs_under_the_same_rules() -> None:
    async with StructuredAgentRuntime(echo("there")) as runtime:
        late = await runtime.start_agent(echo("late"))
        assert late.path == "/user/agents/dynamic_agents/late"
        with pytest.raises(ChildAlreadyStarted) as caught:
            await runtime.start_agent(echo("late"))
        assert caught.value.ref == late
        with pytest.raises(StartError):
            await runtime.start_agent(Unable)
        assert await runtime.stop_agent(late) != Normal()
        again = await runtime.start_agent(Echo)
        for _ in range(4):
            again.tell(Break(error=ValueError("x")))
        assert isinstance(await again.wait_stopped(), RestartsExceeded)
        assert (await runtime.agents.get("agents/there", Echo).ask(Prompt(text="hi"))).text == "hi"


@pytest.mark.asyncio
async def test_an_agent_that_does_not_stop_in_time_is_stopped_by_force() -> None:
    gate = Gate()
    async with StructuredAgentRuntime() as runtime:
        agent = await runtime.start_agent(Echo, None, gate)
        waiting = asyncio.create_task(agent.ask(Slow(), timeout=60))
        await gate.reached()
        assert isinstance(await runtime.stop_agent(agent, timeout=0.5), Killed)
        with pytest.raises(ActorStopped):
            await waiting
        assert runtime.failures == {}


@pytest.mark.asyncio
async def test_any_of_a_class_is_started_by_the_runtime() -> None:
    class Boss(AsyncAgent[Prompt]):
        async def initialize(self) -> None:
            self.first = (await self.agents.any_of(Echo).ask(Prompt(text="early"))).speaker

        _answer = None

        async def handle_message(self, message: Prompt) -> Said:
            return Said(text=self.first)

    async with StructuredAgentRuntime(child(Boss)) as runtime:
        boss = runtime.agents.get("agents/boss", Boss)
        assert (await boss.ask(Prompt(text="who?"))).text == "agents/dynamic_agents/echo"


@pytest.mark.asyncio
async def test_it_ends_by_itself_when_all_that_can_have_ended_if_it_shall() -> None:
    recorder = Recorder()
    agents = [echo("one"), agent_group("pair", echo("two"), echo("three")), echo("service", restart="permanent")]
    runtime = StructuredAgentRuntime(*agents, auto_end=True, instruments=[recorder])
    async with runtime:
        two = runtime.agents.get("agents/pair/two", Echo)
        two.tell(Finish())
        assert await two.wait_stopped() == Normal()
        await runtime.stop_agent(runtime.agents.get("agents/pair/three"))  # asked to: the group is left without agents
        pair = runtime.system.lookup("agents/pair")
        pair.stop()
        runtime.agents.get("agents/one", Echo).tell(Finish())
        await runtime.wait_stopped()
    assert runtime.failures == {}
    assert recorder.of("actor_crashed") == []


@pytest.mark.asyncio
async def test_it_ends_when_the_last_one_is_stopped_by_somebody() -> None:
    async with StructuredAgentRuntime(echo("only"), auto_end=True) as runtime:
        await runtime.stop_agent(runtime.agents.get("agents/only"))
        await runtime.wait_stopped()


@pytest.mark.asyncio
async def test_an_agent_can_end_it_and_a_failure_that_escalates_is_loud() -> None:
    class Ender(Echo):
        def finish(self, message: Finish) -> None:
            self.end_program()

    async with StructuredAgentRuntime(child(Ender)) as runtime:
        runtime.agents.get("agents/ender", Ender).tell(Finish())
        await runtime.wait_stopped()

    async def escalate() -> None:
        async with StructuredAgentRuntime(echo("loud", on_failure={ValueError: "escalate"})) as runtime:
            with pytest.raises(ActorFailed):
                await runtime.agents.get("agents/loud", Echo).ask(Break(error=ValueError("x")))
            await asyncio.sleep(60)

    with pytest.raises(SystemCollapsed):
        await escalate()


@pytest.mark.asyncio
async def test_a_cancel_is_an_orderly_end_and_a_kill_the_quickest() -> None:
    log: list[str] = []
    up = asyncio.Event()

    async def live() -> None:
        async with StructuredAgentRuntime(echo("one", log)):
            up.set()
            await asyncio.sleep(60)

    living = asyncio.create_task(live())
    await up.wait()
    living.cancel()
    await asyncio.wait([living])
    assert living.cancelled()
    assert log == ["agents/one up", "agents/one down"]
    async with StructuredAgentRuntime(echo("one", log)) as runtime:
        runtime.kill()
        await runtime.wait_stopped()
    assert log[2:] == ["agents/one up"]


def test_what_is_not_allowed_is_refused_where_it_is_declared() -> None:
    with pytest.raises(InvalidSpec, match="strategy"):
        agent_group("x", child(Echo), strategy="none")
    with pytest.raises(InvalidSpec, match="must be unique"):
        StructuredAgentRuntime(echo("one"), echo("one"))
    with pytest.raises(InvalidSpec, match="must be unique"):
        StructuredAgentRuntime(echo("dynamic_agents"))
    with pytest.raises(InvalidSpec, match="names 'nobody'"):
        StructuredAgentRuntime(echo("one", depends_on=("nobody",)))
    with pytest.raises(InvalidSpec, match="name"):
        StructuredAgentRuntime(name="a b")
    with pytest.raises(InvalidSpec, match="subclass of Actor"):
        StructuredAgentRuntime(int)
    assert Agents.__doc__
