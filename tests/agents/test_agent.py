"""Agents: actors with an identity, that others find by id, class and group."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from pydantic import ValidationError

from tests.agents.cast import Break, Echo, Finish, Slow
from tests.cast import Gate, Recorder, settle
from understudy import (
    ActorFailed,
    ActorNotFound,
    ActorStopped,
    ActorSystem,
    AskCycle,
    InvalidContext,
    InvalidSpec,
    KeyTaken,
    Killed,
    Normal,
    StartError,
    SystemCollapsed,
    WrongActorType,
    child,
    handler,
    supervisor,
)
from understudy.agents import AgentClass, AgentId, Agents, AsyncAgent, Prompt, Said, Say


class Loud(Echo):
    groups = ("choir",)


class Named(AsyncAgent[Prompt]):
    """First line.

    And more.
    """

    def __init__(self, id: str = "named") -> None:
        self.id = id

    @handler
    async def answer(self, message: Prompt) -> Said:
        if message.text == "yourself":
            return await self.context.ref.ask(message)
        if message.text.startswith("to "):
            return await self.agents.get(message.text.removeprefix("to ")).ask(Prompt(text="hello", speaker=self.id))
        return Said(text=f"{message.speaker}: {message.text}", speaker=self.id)


# Identity


@pytest.mark.asyncio
async def test_an_agent_is_known_by_the_path_below_user_unless_it_says_another_id() -> None:
    async with ActorSystem(supervisor("team", child(Echo))) as system:
        agents = Agents(system)
        await system.spawn(Named, "nina")
        assert agents.get("team/echo", Echo).path == "/user/team/echo"
        assert agents.get("nina", Named).path == "/user/named"
        assert agents.find("nobody") is None
        assert system.registry.lookup(AgentId("nina")) == agents.get("nina")
        with pytest.raises(ActorNotFound, match="agent id 'nobody'"):
            agents.get("nobody")
        with pytest.raises(WrongActorType):
            agents.get("nina", Echo)


@pytest.mark.asyncio
async def test_two_agents_cannot_have_one_id_and_the_first_is_undisturbed() -> None:
    async with ActorSystem() as system:
        first = await system.spawn(Named, "nina")
        with pytest.raises(StartError) as caught:
            await system.spawn(Named, "nina")
        assert isinstance(caught.value.__cause__, KeyTaken)
        assert Agents(system).get("nina") == first
        assert (await first.ask(Prompt(text="hi"))).text == ": hi"


@pytest.mark.asyncio
async def test_identity_is_there_in_initialize_stays_through_a_restart_and_goes_with_the_agent() -> None:
    log: list[str] = []
    async with ActorSystem() as system:
        agent = await system.spawn(Echo, log)
        agent.tell(Break(error=ValueError("x")))
        await settle()
        assert log == ["echo up", "echo down", "echo up"]
        assert Agents(system).of(Echo) == (agent,)
        agent.stop()
        await agent.wait_stopped()
        assert Agents(system).of(Echo) == ()
        assert Agents(system).find("echo") is None


@pytest.mark.asyncio
async def test_the_description_is_the_first_line_of_the_docstring_unless_it_is_given() -> None:
    class Bare(Echo):
        __doc__ = None

    class Given(Echo):
        description = "does it"

    async with ActorSystem() as system:
        for cls in (Named, Bare, Given):
            await system.spawn(cls)
        entries = [system.registry.values(AgentId(name)) for name in ("named", "bare", "given")]
        assert entries == [("First line.",), ("Bare",), ("does it",)]


# Life


@pytest.mark.asyncio
async def test_an_agent_whose_work_is_done_is_not_restarted_and_one_that_fails_is() -> None:
    log: list[str] = []
    async with ActorSystem() as system:
        agent = await system.spawn(Echo, log)
        agent.tell(Break(error=ValueError("x")))
        agent.tell(Finish())
        assert await agent.wait_stopped() == Normal()
        assert log == ["echo up", "echo down", "echo up", "echo down"]


@pytest.mark.asyncio
async def test_alone_an_agent_runs_in_a_system_of_its_own_and_leaves_nothing() -> None:
    log: list[str] = []
    async with Echo(log) as agent:
        assert await agent.ask(Prompt(text="hi")) == Said(text="hi", speaker="alone/echo")
        agent.tell(Break(error=ValueError("x")))
        assert (await agent.ask(Prompt(text="again"))).text == "again"
    assert log == ["alone/echo up", "alone/echo down"] * 2
    assert agent.status == "stopped"
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.mark.asyncio
async def test_alone_an_agent_that_fails_too_often_ends_the_block_and_one_that_is_done_does_not() -> None:
    async def fail_too_often() -> None:
        async with Echo() as agent:
            for _ in range(4):
                agent.tell(Break(error=ValueError("x")))
            await asyncio.sleep(60)

    with pytest.raises(SystemCollapsed):
        await fail_too_often()
    async with Echo() as agent:
        agent.tell(Finish())
        assert await agent.wait_stopped() == Normal()
        with pytest.raises(ActorStopped):
            await agent.ask(Prompt(text="hi"))


@pytest.mark.asyncio
async def test_alone_an_instance_can_be_entered_once_and_never_one_that_runs() -> None:
    agent = Echo()
    async with agent:
        with pytest.raises(InvalidContext, match="running already"):
            await agent.__aenter__()

    class Inside(AsyncAgent[Prompt]):
        @handler
        async def enter(self, message: Prompt) -> Said:
            async with self:
                return Said(text="inside")

    async with Inside() as ref:
        with pytest.raises(ActorFailed, match="running already"):
            await ref.ask(Prompt(text="enter"))


@pytest.mark.asyncio
async def test_a_start_that_fails_alone_leaves_nothing() -> None:
    class Unable(Echo):
        async def initialize(self) -> None:
            raise OSError("no")

    with pytest.raises(StartError):
        async with Unable():
            pass
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.mark.asyncio
async def test_classes_of_agents_may_be_dataclasses_frozen_ones_too() -> None:
    @dataclass(frozen=True)
    class Data(AsyncAgent[Prompt]):
        number: int

        @handler
        def answer(self, message: Prompt) -> Said:
            return Said(text=str(self.number), speaker=self.id)

    async with Data(3) as agent:
        assert await agent.ask(Prompt(text="?")) == Said(text="3", speaker="alone/data")


@pytest.mark.parametrize(
    "declare",
    [lambda: child(Named, 1, 2), lambda: child(Plain, 1), lambda: child(Echo, nonsense=1)],
)
def test_arguments_that_do_not_fit_are_refused_where_the_agent_is_declared(declare: Callable[[], Any]) -> None:
    with pytest.raises(InvalidSpec, match="do not fit"):
        declare()


class Plain(AsyncAgent[Say]):
    @handler
    def hear(self, message: Say) -> None: ...


def test_an_instance_of_a_class_without_a_constructor_takes_no_arguments() -> None:
    with pytest.raises(TypeError, match="takes no arguments"):
        Plain(1)


# One another


@pytest.mark.asyncio
async def test_a_call_between_agents_is_an_ask_and_one_of_oneself_a_circle() -> None:
    async with ActorSystem() as system:
        nina, olaf = await system.spawn(Named, "nina"), await system.spawn(Named, "olaf")
        assert await nina.ask(Prompt(text="to olaf")) == Said(text="nina: hello", speaker="olaf")
        with pytest.raises(ActorFailed) as caught:
            await olaf.ask(Prompt(text="yourself"))
        assert isinstance(caught.value.__cause__, AskCycle)
        with pytest.raises(ActorFailed) as caught:
            await olaf.ask(Prompt(text="to olaf"))
        assert isinstance(caught.value.__cause__, AskCycle)


@pytest.mark.asyncio
async def test_a_group_is_reached_whole_and_a_class_with_its_subclasses() -> None:
    async with ActorSystem() as system:
        one, two, three = await system.spawn(Loud), await system.spawn(Loud), await system.spawn(Echo)
        agents = Agents(system)
        assert agents.of(Loud) == (one, two)
        assert agents.of(Echo) == (one, two, three)
        assert system.groups.members(AgentClass(AsyncAgent)) == (one, two, three)
        answers = await agents.group("choir", Loud).ask(Prompt(text="la"))
        assert [answer.speaker for answer in answers if isinstance(answer, Said)] == ["loud", "loud-2"]


@pytest.mark.asyncio
async def test_any_of_a_class_is_an_idle_one_or_a_new_one_up_to_a_limit() -> None:
    gate = Gate()
    async with ActorSystem() as system:
        anybody = Agents(system).any_of(child(Echo, None, gate), most=2)
        assert (await anybody.ask(Prompt(text="a"))).speaker == "echo"
        assert (await anybody.ask(Prompt(text="b"))).speaker == "echo"
        first = asyncio.create_task(anybody.ask(Slow(), timeout=60))
        await gate.reached(1)
        assert (await anybody.ask(Prompt(text="c"))).speaker == "echo-2"
        second = asyncio.create_task(anybody.ask(Slow(), timeout=60))
        await gate.reached(2)
        third = asyncio.create_task(anybody.ask(Prompt(text="d"), timeout=60))
        await settle()
        assert not third.done()
        gate.open()
        assert [await first, await second] == ["done", "done"]
        assert (await third).text == "d"
        assert len(Agents(system).of(Echo)) == 2


@pytest.mark.asyncio
async def test_many_who_want_any_of_a_class_at_once_do_not_start_more_than_the_limit() -> None:
    async with ActorSystem() as system:
        anybody = Agents(system).any_of(SlowStart, most=3)
        answers = await asyncio.gather(*(anybody.ask(Prompt(text=str(number))) for number in range(10)))
        assert [answer.text for answer in answers] == [str(number) for number in range(10)]
        assert 1 <= len(Agents(system).of(SlowStart)) <= 3


class SlowStart(Echo):
    def __init__(self) -> None:
        super().__init__()

    async def initialize(self) -> None:
        await asyncio.sleep(0.01)


@pytest.mark.asyncio
async def test_any_of_a_class_that_does_not_start_is_an_error_unless_there_is_one() -> None:
    class Once(Echo):
        starts = 0

        def initialize(self) -> None:
            type(self).starts += 1
            if self.starts > 1:
                raise OSError("one is enough")

    gate = Gate()
    async with ActorSystem() as system:
        anybody = Agents(system).any_of(child(Once, None, gate))
        slow = asyncio.create_task(anybody.ask(Slow(), timeout=60))
        await gate.reached()
        waiting = asyncio.create_task(anybody.ask(Prompt(text="a"), timeout=60))
        await settle()
        gate.open()
        assert (await slow, (await waiting).text) == ("done", "a")
        (only,) = Agents(system).of(Once)
        only.stop()
        await only.wait_stopped()
        with pytest.raises(StartError):
            await anybody.ask(Prompt(text="b"))
        with pytest.raises(InvalidSpec, match="most"):
            Agents(system).any_of(Echo, most=0)


def test_messages_of_a_conversation_are_frozen_and_checked() -> None:
    said = Said(text="TERMINATE <eom> JOINED", end_of_turn=False)
    with pytest.raises(ValidationError):
        said.text = "other"
    with pytest.raises(ValidationError):
        Prompt(text="hi", signal="<eom>")
    assert Say(text="x").end_of_turn


@pytest.mark.asyncio
async def test_an_agent_can_end_the_system_that_it_is_in() -> None:
    class Ender(AsyncAgent[Say]):
        @handler
        def hear(self, message: Say) -> None:
            self.end_program()

    recorder = Recorder()
    async with ActorSystem(instruments=[recorder]) as system:
        ender = await system.spawn(Ender)
        ender.tell(Say(text="enough"))
        await system.wait_stopped()
    assert recorder.letters == []
    assert not isinstance(await ender.wait_stopped(), Killed)
