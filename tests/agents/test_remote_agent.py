"""Agents of other processes, over a link within this one and, once, with another process."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

import understudy
from tests.cast import Gate, Recorder, settle
from tests.transports.stage import QUICK, Wire
from understudy import (
    ActorFailed,
    ActorRef,
    ActorSystem,
    AskTimeout,
    InvalidSpec,
    Message,
    NodeDown,
    NotFound,
    Refused,
    StartError,
    StreamMessage,
    child,
    handler,
)
from understudy.agents import (
    CONVERSATION,
    Agents,
    AgentUnavailable,
    AIAgent,
    AsyncAgent,
    Converse,
    Prompt,
    Remote,
    RemoteAgent,
    Said,
    Say,
    ScriptedModel,
    Spoken,
    Structured,
    TextDelta,
    TurnEnded,
    UseTool,
    agent_tool,
    load_program,
)
from understudy.transports import HandshakeFailed, MessageNotAccepted, RemoteError
from understudy.transports._wire import tag_of

pytestmark = pytest.mark.asyncio

TOKEN = "a token of a good length"


class Length(Structured[int]): ...


class Numbered(Message[int]):
    number: int


class Endless(StreamMessage[int]): ...


class Critic(AsyncAgent[Prompt | Say | Converse | Length | Numbered | Endless]):
    """Says what it hears, in capitals; hangs, fails or refuses when it is told to."""

    def __init__(self, heard: list[Any], gate: Gate | None = None) -> None:
        self.heard = heard
        self.gate = gate or Gate()

    @handler(cancellable=True)
    async def answer(self, message: Prompt) -> Said:
        sender = self.context.sender
        self.heard.append((message.text, message.speaker, None if sender is None else sender.path))
        if message.text == "hang":
            try:
                await self.gate.hold()
            except asyncio.CancelledError:
                self.heard.append("cancelled")
                raise
        if message.text == "fail":
            raise ValueError("the critic is ill")
        if message.text == "refuse":
            raise Refused("I say nothing")
        return Said(text=message.text.upper(), speaker=self.id)

    @handler
    async def talk(self, message: Converse) -> AsyncIterator[Spoken]:
        for word in message.text.split():
            if word == "fail":
                raise ValueError("the critic is ill")
            yield TextDelta(text=word)
        yield TurnEnded(said=Said(text=message.text))

    @handler
    def note(self, message: Say) -> None:
        self.heard.append(message.text)

    @handler
    def length(self, message: Length) -> int:
        return len(message.text)

    @handler
    def number(self, message: Numbered) -> int:
        self.heard.append(message.number)
        return message.number

    @handler
    async def endless(self, message: Endless) -> AsyncIterator[int]:
        try:
            for number in range(1_000_000):
                self.heard.append(number)
                yield number
        finally:
            self.heard.append("closed")


class Stage:
    """A bank with a critic, and a shop that has an agent for it."""

    def __init__(self) -> None:
        self.heard: list[Any] = []
        self.gate = Gate()
        self.wire = Wire()
        self.recorder = Recorder()
        self.shop = ActorSystem(name="shop", instruments=[self.recorder])
        self.bank: ActorSystem
        self._bank = contextlib.AsyncExitStack()
        self.critic: ActorRef[Any]

    async def open_bank(self, **more: Any) -> None:
        self.bank = await self._bank.enter_async_context(ActorSystem(name="bank"))
        self.original = await self.bank.spawn(child(Critic, self.heard, self.gate).options(name="critic"))
        given: dict[str, Any] = {
            "messages": [*CONVERSATION, Length, Numbered, Endless],
            "options": QUICK,
            "transport": self.wire,
        }
        await self.bank.listen("memory://bank", **given | more)

    async def close_bank(self) -> None:
        await self._bank.aclose()

    async def open_agent(self, **more: Any) -> ActorRef[Any]:
        given: dict[str, Any] = {"id": "critic", "options": QUICK, "transport": self.wire}
        self.critic = await self.shop.spawn(RemoteAgent, "memory://bank", **given | more)
        return self.critic


@contextlib.asynccontextmanager
async def stage(*, bank: bool = True, agent: bool = True, **more: Any) -> AsyncIterator[Stage]:
    made = Stage()
    async with made.shop:
        try:
            if bank:
                await made.open_bank()
            if agent:
                await made.open_agent(**more)
            yield made
        finally:
            await made.close_bank()


def unavailable(outcome: object) -> AgentUnavailable:
    assert isinstance(outcome, AgentUnavailable), outcome
    return outcome


async def test_it_answers_as_the_agent_there_does() -> None:
    async with stage() as play:
        critic = Agents(play.shop).get("critic", RemoteAgent)
        said = await critic.ask(Prompt(text="good", speaker="nina"))
        parts = [part async for part in critic.stream(Converse(text="good and bad"))]
        length = await critic.ask(Length(text="four"))
        assert critic.tell(Say(text="by the way"))
        await settle()
    assert said == Said(text="GOOD", speaker="critic")
    assert [part.text for part in parts if isinstance(part, TextDelta)] == ["good", "and", "bad"]
    assert isinstance(parts[-1], TurnEnded)
    assert length == 4
    assert play.heard == [("good", "nina", "//shop/user/remote_agent"), "by the way"]


async def test_a_node_will_do_in_place_of_a_url_and_the_path_may_be_another() -> None:
    async with stage(agent=False) as play:
        node = await play.shop.connect("memory://bank", options=QUICK, transport=play.wire)
        reviewer = await play.shop.spawn(RemoteAgent, node, id="agents/reviewer", path="critic")
        assert (await reviewer.ask(Prompt(text="good"))).text == "GOOD"
        reviewer.stop()
        await reviewer.wait_stopped()
        assert node.is_up


async def test_messages_arrive_in_the_order_in_which_they_were_sent() -> None:
    async with stage() as play:
        asking: list[asyncio.Task[int]] = []
        for number in range(0, 60, 2):
            asking.append(asyncio.create_task(play.critic.ask(Numbered(number=number))))
            await asyncio.sleep(0)  # so that the ask is sent first
            play.critic.tell(Numbered(number=number + 1))
        assert [await each for each in asking] == list(range(0, 60, 2))
        await settle()
    assert play.heard == list(range(60))


async def test_messages_that_wait_for_a_link_are_not_overtaken() -> None:
    async with stage(bank=False, patience=30.0) as play:
        for number in range(20):
            play.critic.tell(Numbered(number=number))
        await settle()
        await play.open_bank()
        while not play.heard:  # in every moment until those that have waited are through, one more
            await asyncio.sleep(0.001)
            play.critic.tell(Numbered(number=20))
        await asyncio.sleep(1.0)  # until these have arrived too
    assert play.heard == sorted(play.heard)
    assert play.heard[:21] == list(range(21))


async def test_one_question_that_hangs_holds_no_other_and_is_withdrawn_with_its_asker() -> None:
    async with stage() as play:
        loop = asyncio.get_running_loop()
        began = loop.time()
        with pytest.raises(AskTimeout):
            await play.critic.ask(Prompt(text="hang"), timeout=2.0)
        assert loop.time() - began == pytest.approx(2.0, abs=0.01)
        asking = asyncio.create_task(play.critic.ask(Prompt(text="hang")))
        await asyncio.sleep(0.1)  # it hangs there
        asking.cancel()
        await asyncio.wait({asking})
        assert await play.critic.ask(Length(text="one"), timeout=1.0) == 3
    assert [each for each in play.heard if each == "cancelled"] == ["cancelled", "cancelled"]
    assert play.recorder.of("actor_crashed") == []


async def test_what_the_agent_there_fails_with_or_refuses_reaches_the_asker_and_fails_nobody_else() -> None:
    async with stage() as play:
        hanging = asyncio.create_task(play.critic.ask(Numbered(number=1)))
        with pytest.raises(ActorFailed) as failed:
            await play.critic.ask(Prompt(text="fail"))
        with pytest.raises(Refused, match="I say nothing"):
            await play.critic.ask(Prompt(text="refuse"))
        stream = play.critic.stream(Converse(text="all would fail here"))
        parts = [await anext(stream), await anext(stream)]
        with pytest.raises(ActorFailed) as streamed:
            await anext(stream)
        assert (await play.critic.ask(Prompt(text="well"))).text == "WELL"
        assert await hanging == 1
    assert parts == [TextDelta(text="all"), TextDelta(text="would")]
    for error in (failed.value, streamed.value):
        assert error.path == "/user/remote_agent"
        theirs = error.__cause__
        assert isinstance(theirs, ActorFailed)
        assert theirs.path == "//bank/user/critic"
        assert isinstance(theirs.__cause__, RemoteError)
        assert "the critic is ill" in str(theirs.__cause__)
    assert play.recorder.of("actor_crashed") == []


class Unknown(Message[int]): ...


async def test_a_message_that_cannot_cross_is_told_and_does_no_harm() -> None:
    async with stage() as play:
        with pytest.raises(ActorFailed) as failed:
            await play.critic.ask(Unknown())
        assert isinstance(failed.value.__cause__, MessageNotAccepted)
        assert (await play.critic.ask(Prompt(text="well"))).text == "WELL"


async def test_a_stream_is_not_further_ahead_than_its_buffers_and_is_closed_with_its_consumer() -> None:
    async with stage() as play:
        parts = play.critic.stream(Endless(), buffer=2)
        assert [await anext(parts) for _ in range(3)] == [0, 1, 2]
        await asyncio.sleep(5.0)  # as far ahead as it ever gets
        assert len(play.heard) < 60
        await parts.aclose()
        await asyncio.sleep(0.1)  # its end has to cross the link
    assert play.heard[-1] == "closed"


async def test_while_nobody_is_there_it_says_so_after_its_patience_and_begins_when_somebody_comes() -> None:
    with capture_logs() as logs:
        async with stage(bank=False, patience=2.0) as play:
            loop = asyncio.get_running_loop()
            began = loop.time()
            outcomes = await asyncio.gather(
                *(play.critic.ask(Prompt(text="well")) for _ in range(3)), return_exceptions=True
            )
            assert loop.time() - began == pytest.approx(2.0, abs=0.01)
            play.critic.tell(Say(text="lost"))
            await asyncio.sleep(3.0)  # longer than it has patience
            await play.open_bank()
            await asyncio.sleep(11.0)  # longer than the longest pause between two attempts
            assert (await play.critic.ask(Prompt(text="well"))).text == "WELL"
    for outcome in outcomes:
        error = unavailable(outcome)
        assert (error.reason, error.unknown) == (NodeDown("memory://bank"), False)
        assert str(error) == "agent 'critic' at memory://bank: it is not available: no link within 2 s"
    assert [line["event"] for line in logs].count("node not reached") == 1
    assert "lost" not in play.heard


async def test_what_is_on_its_way_when_the_link_is_lost_fails_at_once_and_is_never_sent_twice() -> None:
    async with stage() as play:
        other = await play.bank.spawn(child(Critic, play.heard).options(name="other"))
        parts = (await play.open_agent(id="other")).stream(Endless(), buffer=1)
        asking = asyncio.create_task(Agents(play.shop).get("critic").ask(Prompt(text="hang")))
        await anext(parts)
        await asyncio.sleep(0.1)  # both are under way there
        began = asyncio.get_running_loop().time()
        play.wire.last.cut()
        error = unavailable((await asyncio.gather(asking, return_exceptions=True))[0])
        with pytest.raises(AgentUnavailable):
            async for _ in parts:
                pass
        assert asyncio.get_running_loop().time() - began < 0.1
        assert other.status == "running"
        assert (await Agents(play.shop).get("critic").ask(Prompt(text="again"))).text == "AGAIN"
    assert (error.reason, error.unknown) == (NodeDown("bank"), True)
    assert [each[0] for each in play.heard if isinstance(each, tuple)] == ["hang", "again"]
    assert play.recorder.of("actor_crashed") == []


async def test_a_process_that_was_started_anew_is_found_again() -> None:
    async with stage(patience=15.0) as play:
        assert (await play.critic.ask(Prompt(text="one"))).text == "ONE"
        await play.close_bank()
        play._bank = contextlib.AsyncExitStack()  # pyright: ignore[reportPrivateUsage]
        asking = asyncio.create_task(play.critic.ask(Prompt(text="two")))
        await asyncio.sleep(2.0)  # it is away for a while
        await play.open_bank()
        assert (await asking).text == "TWO"


async def test_an_agent_there_that_has_ended_is_looked_up_again() -> None:
    async with stage() as play:
        assert (await play.critic.ask(Prompt(text="one"))).text == "ONE"
        for cut in (False, True):
            if cut:  # what is not watched any more, since the link was lost in between
                play.wire.last.cut()
                await asyncio.sleep(1.0)  # there is a link again
                assert (await play.critic.ask(Prompt(text="still"))).text == "STILL"
            play.original.stop()
            await play.original.wait_stopped()
            await settle()
            with pytest.raises(AgentUnavailable) as gone:
                await play.critic.ask(Prompt(text="two"))
            assert gone.value.reason == NotFound()
            play.original = await play.bank.spawn(child(Critic, play.heard).options(name="critic"))
            assert (await play.critic.ask(Prompt(text="three"))).text == "THREE"


async def test_a_restart_there_goes_unnoticed() -> None:
    async with stage() as play:
        play.original.kill()
        assert (await play.critic.ask(Prompt(text="one"))).text == "ONE"


async def test_agents_with_one_url_share_a_link_and_the_last_one_closes_it() -> None:
    async with stage() as play:
        other = await play.open_agent(id="other", path="critic")
        for agent in (play.critic, other, Agents(play.shop).get("critic")):
            assert (await agent.ask(Prompt(text="well"))).text == "WELL"
        await asyncio.sleep(30.0)  # two links would have taken each other's place by now
        assert len(play.wire.opened) == 1
        with pytest.raises(StartError) as caught:
            await play.open_agent(id="third", name="bank")
        assert isinstance(caught.value.__cause__, InvalidSpec)
        for agent in (Agents(play.shop).get("critic"), other):
            agent.stop()
            await agent.wait_stopped()
            await asyncio.sleep(1.0)  # the other side has to learn of it
        listening = play.bank._understudy_node  # pyright: ignore[reportPrivateUsage]
        assert listening is not None
        assert listening.link_with("shop") is None
        again = await play.open_agent(id="again", path="critic")
        assert (await again.ask(Prompt(text="well"))).text == "WELL"


async def test_a_restart_of_the_stand_in_keeps_the_link() -> None:
    async with stage() as play:
        play.critic.kill()
        assert (await play.critic.ask(Prompt(text="well"))).text == "WELL"
        assert len(play.wire.opened) == 1


async def test_a_process_that_does_not_trust_this_one_is_an_error_at_the_start() -> None:
    async with stage(bank=False, agent=False) as play:
        await play.open_bank(token=TOKEN)
        with pytest.raises(StartError) as caught:
            await play.open_agent(token="another token of a good length")
        assert isinstance(caught.value.__cause__, HandshakeFailed)
        assert (await (await play.open_agent(token=TOKEN)).ask(Prompt(text="well"))).text == "WELL"


async def test_a_model_there_is_prompted_streamed_and_used_as_a_tool_from_here() -> None:
    async with stage(bank=False, agent=False) as play:
        async with ActorSystem(name="bank") as bank:
            model = ScriptedModel(["one two", "three four", "five"])
            await bank.spawn(child(AIAgent, model).options(name="oracle"))
            await bank.listen("memory://bank", messages=CONVERSATION, options=QUICK, transport=play.wire)
            oracle = await play.open_agent(id="oracle")
            assert (await oracle.ask(Prompt(text="?", conversation="a"))).text == "one two"
            parts = [part async for part in oracle.stream(Converse(text="?", conversation="a"))]
            assert [getattr(part, "text", None) for part in parts[:-1]] == ["three", " four"]
            script = ScriptedModel([UseTool("oracle", text="what?"), "It says five."])
            tools = [agent_tool("oracle", name="oracle", description="Knows.")]
            asker = await play.shop.spawn(AIAgent, script, tools=tools)
            assert (await asker.ask(Prompt(text="Ask."))).text == "It says five."
        answer: Any = script.requests[-1].history[-1]
        assert (answer.content, answer.source) == ("five", "agent /user/remote_agent")
        assert [len(each.history) for each in model.requests] == [1, 3, 1]


async def test_a_class_of_ones_own_messages_is_passed_on_too() -> None:
    class Numbers(Remote[Numbered]):
        defaults = {"on_failure": {ValueError: "stop"}}

    async with stage(agent=False) as play:
        numbers = await play.shop.spawn(
            child(Numbers, "memory://bank", id="numbers", path="critic", options=QUICK, transport=play.wire)
        )
        assert await numbers.ask(Numbered(number=5)) == 5
        with pytest.raises(ActorFailed):
            await numbers.ask(Unknown())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        assert await numbers.ask(Numbered(number=6)) == 6


async def test_what_is_no_message_is_unhandled() -> None:
    async with stage() as play:
        play.critic.tell("just a text")
        await settle()
    assert [(letter[0], letter[-1]) for letter in play.recorder.letters] == [("just a text", "unhandled")]


async def test_a_process_that_does_not_answer_is_not_waited_for_longer_than_the_patience() -> None:
    async with stage(patience=1.0) as play:
        play.wire.last.swallows = True
        began = asyncio.get_running_loop().time()
        error = unavailable((await asyncio.gather(play.critic.ask(Prompt(text="x")), return_exceptions=True))[0])
        assert asyncio.get_running_loop().time() - began == pytest.approx(1.0, abs=0.01)
        play.wire.last.swallows = False
        await asyncio.sleep(5.0)  # what was swallowed costs the link, and there is another
        assert (await play.critic.ask(Prompt(text="well"))).text == "WELL"
    assert error.reason == NodeDown("bank")


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"node": 5}, "must be a URL"),
        ({"id": ""}, "must not be empty"),
        ({"patience": 0}, "patience"),
        ({"token_variable": "NO_SUCH_VARIABLE"}, "NO_SUCH_VARIABLE, which is not set"),
    ],
)
async def test_what_cannot_be_one_is_refused(arguments: dict[str, Any], problem: str) -> None:
    with pytest.raises(InvalidSpec, match=problem):
        RemoteAgent(**{"node": "memory://bank", "id": "x"} | arguments)


async def test_a_program_file_declares_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BANK_TOKEN", TOKEN)
    file = tmp_path / "play.toml"
    file.write_text(
        "[agents.critic]\n"
        'class = "understudy.agents:RemoteAgent"\n'
        'arguments = { node = "wss://bank.example.org:8700", id = "critic", token_variable = "BANK_TOKEN", '
        'tls = { ca = "ca.pem" }, patience = 3 }\n'
    )
    (spec,) = load_program(file).agents()
    agent = spec.factory(*spec.args, **spec.kwargs)
    terms = agent._terms
    assert (terms.token, terms.tls.ca, agent.id) == (TOKEN, "ca.pem", "critic")
    assert TOKEN not in repr(terms)


class Asker(AsyncAgent[Prompt]):
    """Asks whom a file has declared, and ends the program with the answer."""

    async def initialize(self) -> None:
        self.context.tell_self("ask")

    @handler
    def answer(self, message: Prompt) -> Said:
        return Said(text="")

    @handler
    async def _ask(self, message: str) -> None:
        said = await self.agents.get("critic", RemoteAgent).ask(Prompt(text="good"))
        self.end_program(said.text)


async def test_a_program_of_a_file_reaches_an_agent_of_another_process(tmp_path: Path) -> None:
    file = tmp_path / "play.toml"
    file.write_text(
        '[agents.critic]\nclass = "understudy.agents:RemoteAgent"\n'
        'arguments = { node = "memory://bank", id = "critic" }\n'
        '[agents.asker]\nclass = "tests.agents.test_remote_agent:Asker"\ndepends_on = ["critic"]\n'
    )
    heard: list[Any] = []
    async with ActorSystem(name="bank") as bank:
        await bank.spawn(child(Critic, heard).options(name="critic"))
        await bank.listen("memory://bank", messages=CONVERSATION)
        report = await load_program(file).run()
    assert (report.outcome, report.result) == ("completed", "GOOD")
    assert heard == [("good", "", "//play/user/play/critic")]


async def test_what_agents_say_has_a_name_of_its_own_over_links() -> None:
    assert [tag_of(each) for each in CONVERSATION] == ["understudy.Prompt", "understudy.Say", "understudy.Converse"]


OTHER_PROCESS = textwrap.dedent(
    f"""
    import understudy
    from understudy import ActorSystem, child, handler
    from understudy.agents import AIAgent, CONVERSATION, ScriptedModel

    async def main():
        async with ActorSystem(name="bank") as bank:
            model = ScriptedModel(lambda request: "you said: " + request.history[-1].text)
            await bank.spawn(child(AIAgent, model).options(name="oracle"))
            listening = await bank.listen("ws://127.0.0.1:0", token={TOKEN!r}, messages=CONVERSATION)
            print(listening.url, flush=True)
            await bank.wait_stopped()

    understudy.run(main())
    """
)


@pytest.mark.real_time
async def test_an_agent_of_another_process_over_websockets() -> None:
    source = str(Path(understudy.__file__).parent.parent)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", OTHER_PROCESS), stdout=subprocess.PIPE, env={"PYTHONPATH": source}
    )
    try:
        assert process.stdout is not None
        url = (await process.stdout.readline()).decode().strip()
        async with ActorSystem(name="shop") as shop:
            given: dict[str, Any] = {"id": "oracle", "token": TOKEN, "options": QUICK}
            oracle = await shop.spawn(RemoteAgent, url, **given)
            assert (await oracle.ask(Prompt(text="hello"))).text == "you said: hello"
            parts = [part async for part in oracle.stream(Converse(text="and now?"))]
            assert "".join(part.text for part in parts if isinstance(part, TextDelta)) == "you said: and now?"
            process.kill()
            await process.wait()
            outcome: object = None
            while not isinstance(outcome, AgentUnavailable):  # until this side has noticed
                outcome = (await asyncio.gather(oracle.ask(Prompt(text="hello")), return_exceptions=True))[0]
            assert isinstance(outcome.reason, NodeDown)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
