"""What went wrong in an earlier design of agents and their programs, and must not again: with agents as they are now.

``test_runtime.py`` has the same for actors, ``tests/compat`` for agents of the old kind.

| then | the test here |
|---|---|
| A1 | test_one_agents_failure_cancels_no_other |
| A2 | test_the_set_of_agents_is_not_fixed_at_the_start |
| A3 | test_an_agent_whose_initialization_fails_halfway_leaves_nothing_open |
| A4, G3 | test_a_cancel_of_a_program_comes_out_as_a_cancel |
| A5 | test_a_crash_of_an_agent_reaches_its_supervisor_and_whoever_asked |
| A6 | test_an_agent_that_is_stopped_while_it_is_busy_does_not_spin |
| A7 | test_a_clean_end_of_a_program_says_nothing_wrong_loses_nothing_and_happens_once |
| A8 | test_a_call_of_another_agent_runs_in_its_turn_and_never_in_the_caller |
| A9 | test_no_text_is_a_signal |
| A10, A11 | test_idle_agents_and_a_program_that_waits_for_them_set_no_timer |
| A12 | test_a_crash_while_another_agent_is_busy_ends_the_program, ..._leaves_a_program_that_can_be_cancelled |
| G1 | test_an_agent_that_raises_a_cancel_has_failed |
| G2 | test_a_program_whose_agents_are_done_ends |
| G4 | test_a_clean_up_is_done_after_half_a_start_bounded_and_once, |
| | test_a_second_cancel_does_not_break_the_clean_up, test_the_bus_is_closed_with_its_program |
| E1 | test_a_call_of_a_model_holds_nobody_else |
| E2 | test_no_chunk_is_heard_twice |
| E6 | test_what_is_said_to_an_agent_that_nobody_prompts_has_a_bound, ..._to_a_person_who_reads_nothing_has_a_bound |
| E7 | test_importing_agents_loads_nothing_that_most_of_them_have_no_use_for |
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.agents.cast import Break, Echo, Finish, Slow, listen
from tests.cast import Gate, Recorder, settle
from understudy import ActorFailed, ActorRef, ActorStopped, Crashed, StartError, child, handler
from understudy.agents import (
    AIAgent,
    AsyncAgent,
    AsyncProgram,
    DeliveryGap,
    HumanAgent,
    Memory,
    ModelUnavailable,
    ProgramFailed,
    Prompt,
    Said,
    Say,
    ScriptedModel,
    Seat,
    StructuredAgentRuntime,
)
from understudy.events import Event


def program(*specs: Any, **attributes: Any) -> AsyncProgram:
    class Play(AsyncProgram):
        def agents(self) -> Any:
            return specs

    made = Play()
    for name, value in attributes.items():
        setattr(made, name, value)
    return made


class Failing(Echo):
    """Fails at once, each time."""

    def initialize(self) -> None:
        self.context.ref.tell(Break(error=ValueError("x")))


@pytest.mark.asyncio
async def test_one_agents_failure_cancels_no_other() -> None:
    """One agent's exception cancelled all others and ended the program."""
    gate = Gate()
    play = program(child(Failing), child(Echo, None, gate), keep_going=True)
    running = asyncio.create_task(play.run())
    await settle()
    echo = play.runtime.agents.get("play/echo", Echo)
    waiting = asyncio.create_task(echo.ask(Slow(), timeout=60))
    await gate.reached()
    gate.open()
    assert await waiting == "done"
    echo.tell(Finish())
    assert (await running).outcome == "completed"


@pytest.mark.asyncio
async def test_the_set_of_agents_is_not_fixed_at_the_start() -> None:
    """The set of agents was fixed when the program began."""
    async with StructuredAgentRuntime(child(Echo)) as runtime:
        late = await runtime.start_agent(child(Echo).options(name="late"))
        assert (await runtime.agents.get(late.path.removeprefix("/user/"), Echo).ask(Prompt(text="hi"))).text == "hi"


@pytest.mark.asyncio
async def test_an_agent_whose_initialization_fails_halfway_leaves_nothing_open() -> None:
    """What an agent had opened, when its initialization failed, stayed open; here its children, tasks and names."""

    class Half(AsyncAgent[Prompt]):
        async def initialize(self) -> None:
            await self.context.spawn(Echo)
            self.context.start_task(asyncio.sleep(60))
            raise OSError("the second half")

        @handler
        def answer(self, message: Prompt) -> Said:
            return Said(text="")

    async with StructuredAgentRuntime() as runtime:
        before = runtime.tree()
        for _ in range(2):
            with pytest.raises(StartError):
                await runtime.start_agent(Half)
        assert runtime.tree() == before
        assert runtime.agents.of(AsyncAgent) == ()


@pytest.mark.asyncio
async def test_a_cancel_of_a_program_comes_out_as_a_cancel() -> None:
    """`except CancelledError: break` in agents, and `except*` in the program, made it end as if all were well."""
    running = asyncio.create_task(program(child(Echo)).run())
    await settle()
    running.cancel()
    await asyncio.wait([running])
    assert running.cancelled()


@pytest.mark.asyncio
async def test_a_crash_of_an_agent_reaches_its_supervisor_and_whoever_asked() -> None:
    """`except Exception: log` around each message hid the crashes of agents from whoever could have mended them."""
    recorder = Recorder()
    model = ScriptedModel([KeyError("a bug"), "fine"])
    async with StructuredAgentRuntime(child(AIAgent, model), instruments=[recorder]) as runtime:
        agent = runtime.agents.get("agents/ai_agent", AIAgent)
        with pytest.raises(ActorFailed) as caught:
            await agent.ask(Prompt(text="go"))
        assert isinstance(caught.value.__cause__, KeyError)
        assert [path for path, *_ in recorder.of("actor_crashed")] == [agent.path]
        assert (await agent.ask(Prompt(text="go"))).text == "fine"


@pytest.mark.asyncio
async def test_an_agent_that_is_stopped_while_it_is_busy_does_not_spin() -> None:
    """A queue that was closed while its agent ran made that spin, and froze the loop."""
    gate, turns = Gate(), 0
    async with StructuredAgentRuntime(child(Echo, None, gate)) as runtime:
        echo = runtime.agents.get("agents/echo", Echo)
        waiting = asyncio.create_task(echo.ask(Slow(), timeout=60))
        await gate.reached()
        echo.stop()
        for _ in range(100):
            await asyncio.sleep(0.01)
            turns += 1
        assert turns == 100
        gate.open()
        assert await waiting == "done"


@pytest.mark.asyncio
async def test_a_clean_end_of_a_program_says_nothing_wrong_loses_nothing_and_happens_once() -> None:
    """A clean shutdown logged an error, dropped the backlog, and ran twice."""
    log: list[str] = []
    recorder = Recorder()
    play = program(child(Echo, log))
    with capture_logs() as lines:
        running = asyncio.create_task(play.run(instruments=[recorder]))
        await settle()
        echo = play.runtime.agents.get("play/echo", Echo)
        waiting = [asyncio.create_task(echo.ask(Prompt(text=str(number)))) for number in range(5)]
        await settle()
        echo.tell(Finish())
        await running
    assert [(await each).text for each in waiting] == ["0", "1", "2", "3", "4"]
    assert log == ["play/echo up", "play/echo down"]
    assert [line for line in lines if line["log_level"] in ("warning", "error")] == []
    assert recorder.letters == []


@pytest.mark.asyncio
async def test_a_call_of_another_agent_runs_in_its_turn_and_never_in_the_caller() -> None:
    """A call of another agent ran in the caller's task, past the mailbox, in the middle of what that agent did."""
    tasks: dict[str, object] = {}

    class Callee(AsyncAgent[Prompt]):
        busy = False

        @handler
        async def answer(self, message: Prompt) -> Said:
            assert not self.busy, "in the middle of another message"
            self.busy = True
            await asyncio.sleep(0.01)
            self.busy = False
            tasks[message.text] = asyncio.current_task()
            return Said(text=message.text, speaker=self.id)

    class Caller(AsyncAgent[Prompt]):
        @handler
        async def answer(self, message: Prompt) -> Said:
            tasks[self.id] = asyncio.current_task()
            return await self.agents.get("agents/callee", Callee).ask(message)

    callers = [child(Caller).options(name=name) for name in "abc"]
    async with StructuredAgentRuntime(child(Callee), *callers) as runtime:
        refs: list[ActorRef[Prompt]] = [runtime.agents.get(f"agents/{name}", Caller) for name in "abc"]
        answers = await asyncio.gather(*(ref.ask(Prompt(text=str(number))) for number, ref in enumerate(refs)))
        assert [answer.speaker for answer in answers] == ["agents/callee"] * 3
        callees = {tasks[str(number)] for number in range(3)}
        assert callees.isdisjoint({tasks[f"agents/{name}"] for name in "abc"})


@pytest.mark.parametrize("text", ["<eom>", "JOINED nina", "TERMINATE", "exit", "", "\x00"])
@pytest.mark.asyncio
async def test_no_text_is_a_signal(text: str) -> None:
    """Control signals were plain text, and a user's message that looked like one was swallowed."""
    model = ScriptedModel(lambda request: getattr(request.history[-1], "text", "?"))
    async with StructuredAgentRuntime(child(Echo), child(AIAgent, model)) as runtime:
        echo, agent = runtime.agents.get("agents/echo", Echo), runtime.agents.get("agents/ai_agent", AIAgent)
        assert (await echo.ask(Prompt(text=text))).text == text
        assert await agent.ask(Prompt(text=text)) == Said(text=text, speaker="agents/ai_agent")
        agent.tell(Say(text=text))
        assert (await agent.ask(Prompt(text="still there?"))).text == "still there?"


@pytest.mark.asyncio
async def test_idle_agents_and_a_program_that_waits_for_them_set_no_timer() -> None:
    """Idle agents woke every 5 s, and the program asked each of them every second, twice, whether it was idle."""
    play = program(*(child(Echo) for _ in range(10)), child(AIAgent, ScriptedModel(["hi"])))
    running = asyncio.create_task(play.run())
    await settle()
    await play.runtime.agents.get("play/ai_agent", AIAgent).ask(Prompt(text="hi"))
    await asyncio.sleep(300)  # past the deadline of that ask
    loop: Any = asyncio.get_running_loop()
    assert [timer for timer in loop._scheduled if not timer.cancelled()] == []
    names = {task.get_name() for task in asyncio.all_tasks()} - {running.get_name()}
    assert not any(name.startswith(("actor:", "task:")) for name in names), names
    play.stop()
    await running


@pytest.mark.asyncio
async def test_a_crash_while_another_agent_is_busy_ends_the_program() -> None:
    """Then the program never ended."""
    gate = Gate()
    play = program(child(Echo), child(Echo, None, gate).options(name="busy"))
    running = asyncio.create_task(play.run())
    await settle()
    waiting = asyncio.create_task(play.runtime.agents.get("play/busy", Echo).ask(Slow(), timeout=600))
    await gate.reached()
    for _ in range(4):
        play.runtime.agents.get("play/echo", Echo).tell(Break(error=ValueError("x")))
    with pytest.raises(ProgramFailed, match="/user/play/echo has ended"):
        await running
    await asyncio.wait([waiting])
    assert waiting.exception() is not None


@pytest.mark.asyncio
async def test_a_crash_while_another_agent_is_busy_leaves_a_program_that_can_be_cancelled() -> None:
    """Then it could not even be cancelled."""
    gate = Gate()
    play = program(child(Failing), child(Echo, None, gate), keep_going=True)
    running = asyncio.create_task(play.run())
    await settle()
    waiting = asyncio.create_task(play.runtime.agents.get("play/echo", Echo).ask(Slow(), timeout=600))
    await gate.reached()
    running.cancel()
    await asyncio.wait([running, waiting])
    assert running.cancelled()
    assert waiting.exception() is not None


@pytest.mark.asyncio
async def test_an_agent_that_raises_a_cancel_has_failed() -> None:
    """An agent that raised CancelledError was gone without a word, and the program never ended."""

    class Gone(Echo):
        def initialize(self) -> None:
            self.context.ref.tell(Break(error=asyncio.CancelledError()))

    with pytest.raises(ProgramFailed) as caught:
        await program(child(Gone).options(restart="temporary")).run()
    assert isinstance(caught.value.reason, Crashed)


@pytest.mark.asyncio
async def test_a_program_whose_agents_are_done_ends() -> None:
    """Nothing ever set the event that said that the program was complete."""

    class Done(Echo):
        def initialize(self) -> None:
            self.context.ref.tell(Finish())

    assert (await program(*(child(Done) for _ in range(5))).run()).outcome == "completed"


@pytest.mark.asyncio
async def test_a_clean_up_is_done_after_half_a_start_bounded_and_once() -> None:
    """After half an initialization nothing was cleaned up; a clean-up had no deadline, and a second cancel broke it."""
    log: list[str] = []

    class Half(AsyncProgram):
        clean_up_timeout = 0.5

        async def initialize(self) -> None:
            self.resources.callback(log.append, "closed")
            raise OSError("half")

        async def clean_up(self) -> None:
            log.append("clean_up")
            await asyncio.sleep(60)

    loop = asyncio.get_running_loop()
    began = loop.time()
    with pytest.raises(ProgramFailed, match="half"):
        await Half().run()
    assert log == ["clean_up", "closed"]
    assert loop.time() - began == pytest.approx(0.5, abs=0.05)


@pytest.mark.asyncio
async def test_a_second_cancel_does_not_break_the_clean_up() -> None:
    """A second cancel in the middle of the clean-up left open what was not closed by then."""
    gate, log = Gate(), list[str]()

    class Slowly(AsyncProgram):
        def agents(self) -> Any:
            return [child(Echo, log)]

        async def initialize(self) -> None:
            for name in ("first", "second"):
                self.resources.callback(log.append, f"{name} closed")

        async def clean_up(self) -> None:
            await gate.hold()

    running = asyncio.create_task(Slowly().run())
    await settle()
    running.cancel()
    await gate.reached()
    running.cancel()
    await asyncio.wait([running])
    assert running.cancelled()
    assert log == ["slowly/echo up", "slowly/echo down", "second closed", "first closed"]


@pytest.mark.asyncio
async def test_the_bus_is_closed_with_its_program() -> None:
    """The event bus was never closed: what was published after the program had ended was accepted, and went nowhere."""

    class Heard(Event): ...

    heard: list[Heard] = []
    play = program(child(Echo))
    running = asyncio.create_task(play.run())
    await settle()
    events = play.runtime.system.events
    events.subscribe(Heard, heard.append)
    events.publish_nowait(Heard())
    await settle()
    play.stop()
    await running
    with pytest.raises(ActorStopped, match="event bus is closed"):
        events.publish_nowait(Heard())
    assert len(heard) == 1


@pytest.mark.asyncio
async def test_a_call_of_a_model_holds_nobody_else() -> None:
    """A call of a model that did not stream blocked the event loop."""
    models = [ScriptedModel(["a b c"], delay=5.0) for _ in range(10)]
    async with StructuredAgentRuntime(child(Echo), *(child(AIAgent, model) for model in models)) as runtime:
        loop = asyncio.get_running_loop()
        agents = runtime.agents.of(AIAgent)
        began = loop.time()
        asking = [asyncio.create_task(ref.ask(Prompt(text="go"))) for ref in agents]
        await settle()
        assert (await runtime.agents.get("agents/echo", Echo).ask(Prompt(text="hi"), timeout=1)).text == "hi"
        await asyncio.gather(*asking)
        assert loop.time() - began == pytest.approx(5, abs=0.1)


@pytest.mark.asyncio
async def test_no_chunk_is_heard_twice() -> None:
    """A retry after a part of the output had been streamed repeated it."""
    model = ScriptedModel([["one two", ModelUnavailable("gone")], "one two three"])
    heard: list[str] = []
    async with AIAgent(model) as agent:
        with pytest.raises(ActorFailed):
            await listen(agent, "count", heard)
        assert heard == ["one", " two"]
        assert len(model.requests) == 1


@pytest.mark.asyncio
async def test_what_is_said_to_an_agent_that_nobody_prompts_has_a_bound() -> None:
    """What others said to one who never read it was kept, all of it, for ever."""
    memory = Memory(budget=1_000, conversations=3)
    async with StructuredAgentRuntime(child(AIAgent, ScriptedModel(["ok"]), memory=memory)) as runtime:
        agent = runtime.agents.get("agents/ai_agent", AIAgent)
        for number in range(2_000):
            await agent.send(Say(text=f"number {number}", conversation=str(number % 10)))
        await agent.ask(Prompt(text="still there?"))
    assert len(memory) <= 3
    assert sum(len(item.model_dump_json()) for item in memory.history("9").items) < 10_000


@pytest.mark.asyncio
async def test_what_is_said_to_a_person_who_reads_nothing_has_a_bound() -> None:
    """The queue of a human was never read, and grew; nobody was told."""

    class Absent:
        seat: Seat

        async def run(self, seat: Seat) -> None:
            self.seat = seat
            await asyncio.Event().wait()

    absent, recorder = Absent(), Recorder()
    async with StructuredAgentRuntime(child(HumanAgent, absent, outbox=50), instruments=[recorder]) as runtime:
        human = runtime.agents.get("agents/human_agent", HumanAgent)
        for number in range(2_000):
            await human.send(Say(text=f"number {number}"))  # and nobody waits for the reader
        asking = asyncio.create_task(human.ask(Prompt(text="tea?"), timeout=10))
        await settle()
        outbox: Any = human.debug.get_state().state["_outbox"]
        assert len(outbox._kept) == 50
        first = await anext(absent.seat.read())
        assert isinstance(first, DeliveryGap)
        assert first.missed == 2_001 - 50
        for number in range(100):
            await human.send(Say(text=f"and {number}"))
        await settle()
        gap = await anext(absent.seat.read(after=2_000))  # the question was dropped, and is not lost
        assert isinstance(gap, DeliveryGap)
        assert [each.kind for each in gap.waiting] == ["question"]
        absent.seat.answer(gap.waiting[0].number, "yes")  # type: ignore[union-attr]
        assert (await asking).text == "yes"
    assert recorder.of("mailbox_full") == []
    assert recorder.letters == []


def test_importing_agents_loads_nothing_that_most_of_them_have_no_use_for() -> None:
    """Importing took seconds, since each kind of agent imported all that it could ever need."""
    source = """
import json, sys
import understudy.agents
loaded = set(sys.modules)
from understudy.agents import MCPAgent, RemoteAgent, mcp_tools
print(json.dumps([sorted(loaded), sorted(sys.modules)]))
"""
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, timeout=30, check=True)
    before, after = map(set, json.loads(done.stdout))
    assert {name for name in before if name.startswith("understudy.transports")} == set()
    assert "understudy.transports" in after
    assert {name.partition(".")[0] for name in after} & {
        "mcp",
        "websockets",
        "httpx2",
        "starlette",
        "pydantic_ai",
    } == set()
