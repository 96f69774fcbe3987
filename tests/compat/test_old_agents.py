"""Agents of the old design as actors: what they may go on doing, and which of the old design's defects they lose.

| then | the test here |
|---|---|
| A1 | test_an_agent_that_fails_leaves_the_others_alone |
| A2 | test_agents_can_be_added_while_the_system_runs |
| A3 | test_an_initialize_that_fails_halfway_is_cleaned_up |
| A4 | test_an_agent_that_swallows_a_stray_cancel_has_failed, test_an_agent_that_resists_every_cancel_is_given_up |
| A5 | test_a_crash_in_begin_or_handle_message_is_a_failure_that_the_supervisor_sees |
| A6 | test_an_agent_that_reads_on_when_it_is_stopped_does_not_spin |
| A7 | test_a_clean_end_is_told_once_says_nothing_wrong_and_loses_nothing_in_silence |
| A8 | test_agents_reach_each_other_by_messages_only |
| A9 | test_no_text_is_a_signal |
| A10 | test_an_idle_agent_never_wakes_up |
| A11, G2 | test_the_program_ends_when_an_agent_says_so |
| A12 | test_a_crash_while_another_agent_is_busy_ends_the_program |
"""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Callable
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.cast import Gate, Recorder, settle
from understudy import (
    Actor,
    ActorSystem,
    Crashed,
    CrashReport,
    Instrument,
    InvalidSpec,
    KeyTaken,
    Killed,
    Normal,
    Shutdown,
    StartError,
    SystemCollapsed,
    child,
    handler,
    supervisor,
)
from understudy.compat import AgentMessage, BaseAgent, ExecutionFinished, Inboxes, agent

pytestmark = [
    pytest.mark.filterwarnings("ignore:BaseAgent is the interface:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:agent.. runs an agent:DeprecationWarning"),
]

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)

    class Old(BaseAgent):
        """An old agent that writes down what it does into what it was given."""

        def __init__(self, agent_id: str, journal: list[Any], **kwargs: Any) -> None:
            super().__init__(agent_id, **kwargs)
            self.journal = journal

        async def cleanup(self) -> None:
            self.journal.append(f"{self.id} cleaned up")

    class Echo(Old):
        """Reads one inbox, handles what it reads by methods, answers."""

        async def begin(self) -> None:
            self.journal.append(f"{self.id} begins")
            while True:
                await self.on_text(await self.inboxes["human"].get())

        async def on_text(self, text: str) -> None:
            if text.startswith("fail"):
                raise ValueError(text)
            self.journal.append(text)
            await self.SendMessage("human", f"you said {text}")

    class Talker(Old):
        """Handles messages as they come."""

        async def handle_message(self, message: AgentMessage) -> None:
            if message.content.startswith("fail"):
                raise ValueError(message.content)
            self.journal.append((message.sender_id, message.content))

    class Nothing(BaseAgent):
        pass


class Human(Actor[AgentMessage]):
    """A new actor among old agents."""

    def __init__(self, heard: list[str], agent_id: str = "human") -> None:
        self.heard = heard
        self.id = agent_id

    def initialize(self) -> None:
        self.context.register(self.id)

    @handler
    def hear(self, message: AgentMessage) -> None:
        self.heard.append(f"{message.sender_id}: {message.content}")


def says(text: str, sender: str = "human") -> AgentMessage:
    return AgentMessage(sender_id=sender, content=text)


both = pytest.mark.parametrize("cls", [Echo, Talker])


# What goes on as it was


@pytest.mark.asyncio
async def test_an_agent_begins_reads_the_inbox_of_a_sender_and_answers() -> None:
    journal: list[Any] = []
    heard: list[str] = []
    async with ActorSystem(supervisor("all", child(Human, heard), agent(Echo, "1000", journal))) as system:
        echo = system.lookup("all/echo")
        for text in ("one", "two"):
            echo.tell(says(text))
        echo.tell(says("not for its eyes", sender="somebody"))
        await settle()
        assert journal == ["1000 begins", "one", "two"]
        assert heard == ["1000: you said one", "1000: you said two"]
        assert echo.status == "running"
        assert "Echo, running" in str(system.tree())
    assert journal[-1] == "1000 cleaned up"


@pytest.mark.asyncio
async def test_an_agent_with_handle_message_gets_them_one_at_a_time_after_begin() -> None:
    journal: list[Any] = []
    gate = Gate()

    class Slow(Talker):
        async def begin(self) -> None:
            await gate.hold()
            self.journal.append("begun")

        async def handle_message(self, message: AgentMessage) -> None:
            self.journal.append(f"in {message.content}")
            await asyncio.sleep(1)
            self.journal.append(f"out {message.content}")

    async with ActorSystem() as system:
        slow = await system.spawn(agent(Slow, "1000", journal))
        for text in ("a", "b"):
            slow.tell(says(text))
        await gate.reached()
        await settle()
        assert journal == []
        gate.open()
        await asyncio.sleep(3)
        assert journal == ["begun", "in a", "out a", "in b", "out b"]
        assert slow.status == "running"


@pytest.mark.asyncio
async def test_handlers_may_be_plain_methods() -> None:
    journal: list[Any] = []

    class Plain(BaseAgent):
        def initialize(self) -> None:
            journal.append("initialized")

        def begin(self) -> None:
            journal.append("begun")

        def handle_message(self, message: AgentMessage) -> None:
            journal.append(message.content)

        def cleanup(self) -> None:
            journal.append("cleaned up")

    async with ActorSystem() as system:
        (await system.spawn(agent(Plain, "1000"))).tell(says("hi"))
        await settle()
    assert journal == ["initialized", "begun", "hi", "cleaned up"]


@pytest.mark.asyncio
async def test_a_class_of_another_base_will_do_if_it_has_an_id() -> None:
    heard: list[str] = []

    class Foreign:
        """Of the old package: it sends by what it finds in `program`."""

        inboxes: Inboxes
        program: Any

        def __init__(self) -> None:
            self.id = "1000"

        async def begin(self) -> None:
            text = await self.inboxes["human"].get()
            await self.program.route_message(self.id, "human", text.upper())

    async with ActorSystem(supervisor("all", child(Human, heard), agent(Foreign))) as system:
        system.lookup("all/foreign").tell(says("hi"))
        await settle()
    assert heard == ["1000: HI"]


@pytest.mark.asyncio
async def test_agents_declared_together_find_each_other_whatever_their_order() -> None:
    journal: list[Any] = []

    class Polite(Old):
        """Greets the other at once, as all old agents could: they were all made before any began."""

        async def begin(self) -> None:
            other = self.kwargs["other"]
            await self.SendMessage(other, f"I am {self.id}")
            self.journal.append(await self.WaitForMessage(other))

    pair = [
        agent(Polite, "a", journal, other="b").options(name="a"),
        agent(Polite, "b", journal, other="a").options(name="b"),
    ]
    tree = supervisor("top", supervisor("one", pair[0]), supervisor("two", pair[1]))
    async with ActorSystem(tree) as system:
        await settle()
        assert sorted(journal) == ["I am a", "I am b", "a cleaned up", "b cleaned up"]
        assert system.find("top/one/a") is None, "it has done its work"
        assert system.statistics().crashed == 0


@pytest.mark.asyncio
async def test_waiting_for_a_message_takes_all_that_wait_from_that_sender_and_leaves_the_rest() -> None:
    got: list[str] = []

    class Waits(BaseAgent):
        async def begin(self) -> None:
            got.append(await self.WaitForMessage("b"))
            got.append(await self.WaitForMessage("*"))
            got.append(await self.WaitForMessage("a"))

    async with ActorSystem() as system:
        waits = await system.spawn(agent(Waits, "1000"))
        for sender, text in (("a", "1"), ("a", "2"), ("c", "3"), ("b", "4"), ("b", "5")):
            waits.tell(says(text, sender))
        await settle()
        assert got == ["4\n5", "1\n2\n3"]
        waits.tell(says("6", "a"))
        await settle()
        assert got[2:] == ["6"]
        assert await waits.wait_stopped() == Normal()


@pytest.mark.parametrize("listens", [False, True])
@pytest.mark.asyncio
async def test_inboxes_say_what_is_in_them_and_give_it(listens: bool) -> None:
    looked: list[Any] = []
    gate = Gate()

    async def begin(self: BaseAgent) -> None:
        await gate.hold()
        inboxes = self.inboxes
        looked.append((list(inboxes), len(inboxes), inboxes["a"].qsize(), inboxes["z"].empty(), repr(inboxes["a"])))
        looked.append([inboxes["a"].get_nowait(), await inboxes["c"].get(), inboxes.all.get_nowait()])
        with pytest.raises(asyncio.QueueEmpty):
            inboxes["z"].get_nowait()
        with pytest.raises(asyncio.QueueEmpty):
            inboxes.all.get_nowait()

    methods: dict[str, Any] = {"begin": begin}
    if listens:
        methods["handle_message"] = lambda self, message: looked.append(message.content)
    async with ActorSystem() as system:
        looks = await system.spawn(agent(type("Looks", (BaseAgent,), methods), "1000"))
        for sender, text in (("a", "1"), ("c", "2"), ("a", "3")):
            looks.tell(says(text, sender))
        await gate.reached()
        await settle()
        gate.open()
        await settle()
        assert looked == [(["a", "c"], 2, 2, True, "<Inbox of a, 2 unread>"), ["1", "2", "3"]]


@pytest.mark.asyncio
async def test_a_cancelled_read_loses_nothing() -> None:
    got: list[str] = []

    class Impatient(BaseAgent):
        async def begin(self) -> None:
            for _ in range(3):
                try:
                    async with asyncio.timeout(1):
                        got.append(await self.inboxes["a"].get())
                except TimeoutError:
                    got.append("nothing")

    async with ActorSystem() as system:
        impatient = await system.spawn(agent(Impatient, "1000"))
        await asyncio.sleep(1.5)
        impatient.tell(says("1", "a"))
        await asyncio.sleep(1.5)
        assert got == ["nothing", "1", "nothing"]


@pytest.mark.asyncio
async def test_an_agent_may_wait_for_an_answer_while_it_handles_a_message() -> None:
    journal: list[Any] = []
    heard: list[str] = []

    class Asks(BaseAgent):
        async def handle_message(self, message: AgentMessage) -> None:
            await self.SendMessage("human", "which one?")
            journal.append((message.content, await self.WaitForMessage("human")))

    async with ActorSystem(supervisor("all", child(Human, heard), agent(Asks, "1000"))) as system:
        asks = system.lookup("all/asks")
        asks.tell(says("order 1", "shop"))
        asks.tell(says("order 2", "shop"))
        await settle()
        for answer in ("red", "blue"):
            asks.tell(says(answer))
            await settle()
    assert journal == [("order 1", "red"), ("order 2", "blue")]


# What it loses


@both
@pytest.mark.asyncio
async def test_an_agent_that_fails_leaves_the_others_alone(cls: Any) -> None:
    journals: list[list[Any]] = [[], [], []]
    agents = [agent(cls, str(number), journal).options(name=f"a{number}") for number, journal in enumerate(journals)]
    async with ActorSystem(supervisor("all", *agents)) as system:
        refs = [system.lookup(f"all/a{number}") for number in range(3)]
        refs[1].tell(says("fail"))
        await settle()
        for ref in refs:
            ref.tell(says("still there"))
        await settle()
        assert [str(journal).count("still there") for journal in journals] == [1, 1, 1]
        assert system.statistics().restarted == 1
        assert system.statistics().stopped == 0


@both
@pytest.mark.asyncio
async def test_a_crash_in_begin_or_handle_message_is_a_failure_that_the_supervisor_sees(cls: Any) -> None:
    journal: list[Any] = []
    recorder = Recorder()
    async with ActorSystem(supervisor("all", agent(cls, "1000", journal)), instruments=[recorder]) as system:
        ref = system.lookup(f"all/{cls.__name__.lower()}")
        for text in ("1", "fail", "2", "3"):
            ref.tell(says(text))
        await settle()
        assert [str(entry) for entry in journal if "2" in str(entry) or "3" in str(entry)], "what waited is handled"
        assert str(journal).index("1000 cleaned up") < str(journal).index("2")
        ((_, reason, failures),) = recorder.of("actor_restarting")
        assert isinstance(reason, Crashed)
        assert (repr(reason.error), failures) == ("ValueError('fail')", 1)


@pytest.mark.asyncio
async def test_what_is_unread_outlives_a_restart_in_its_order() -> None:
    journal: list[Any] = []

    class Two(Old):
        async def begin(self) -> None:
            first = await self.inboxes["a"].get()
            self.journal.append(first)
            if first == "1":
                raise ValueError(first)
            for sender in ("b", "a", "b"):
                self.journal.append(await self.inboxes[sender].get())

    async with ActorSystem() as system:
        two = await system.spawn(agent(Two, "1000", journal))
        for sender, text in (("b", "x"), ("a", "1"), ("b", "y"), ("a", "2"), ("a", "3")):
            two.tell(says(text, sender))
        await settle()
    assert journal == ["1", "1000 cleaned up", "2", "x", "3", "y", "1000 cleaned up"]


@both
@pytest.mark.asyncio
async def test_agents_can_be_added_while_the_system_runs(cls: Any) -> None:
    journal: list[Any] = []
    async with ActorSystem() as system:
        for number in range(3):
            ref = await system.spawn(agent(cls, str(number), journal))
            ref.tell(says(f"hi {number}"))
        await settle()
        assert all(f"hi {number}" in str(journal) for number in range(3))
        name = cls.__name__.lower()
        assert [system.find(f"{name}{suffix}") is not None for suffix in ("", "-2", "-3")] == [True] * 3
        with pytest.raises(StartError) as caught:
            await system.spawn(agent(cls, "0", journal))
        assert isinstance(caught.value.__cause__, KeyTaken)


@pytest.mark.parametrize("how", ["raises", "is cancelled", "is cancelled, and cleaning up fails too"])
@pytest.mark.asyncio
async def test_an_initialize_that_fails_halfway_is_cleaned_up(how: str) -> None:
    journal: list[str] = []

    class Halfway(BaseAgent):
        async def initialize(self) -> None:
            journal.append("opened")
            if how == "raises":
                raise OSError("the second half")
            await asyncio.sleep(3600)

        async def begin(self) -> None:
            journal.append("begins")

        async def cleanup(self) -> None:
            journal.append("closed")
            if "too" in how:
                raise ValueError("not even that")

    async with ActorSystem() as system:
        tree, tasks = system.tree(), asyncio.all_tasks()
        with pytest.raises(StartError) as caught:
            await system.spawn(agent(Halfway, "1000"))
        assert journal == ["opened", "closed"]
        if how == "raises":
            assert isinstance(caught.value.__cause__, OSError)
        assert system.tree() == tree
        assert asyncio.all_tasks() == tasks
        assert system.registry.count() == 0


@pytest.mark.parametrize("swallows", [True, False])
@pytest.mark.asyncio
async def test_an_agent_that_swallows_a_stray_cancel_has_failed(swallows: bool) -> None:
    """`except CancelledError: break` made a cancelled agent end as if all were well, and the supervisor saw nothing."""
    tasks: list[asyncio.Task[Any]] = []
    recorder = Recorder()

    class Loops(BaseAgent):
        async def begin(self) -> None:
            task = asyncio.current_task()
            assert task is not None
            tasks.append(task)
            while True:
                try:
                    await self.inboxes["human"].get()
                except asyncio.CancelledError:
                    if swallows:
                        break
                    raise

    async with ActorSystem(instruments=[recorder]) as system:
        ref = await system.spawn(agent(Loops, "1000"))
        await settle()
        tasks[0].cancel()
        await settle()
        ((_, reason, _),) = recorder.of("actor_restarting", ref.path)
        assert isinstance(reason, Crashed)
        assert isinstance(reason.error, asyncio.CancelledError)
        assert (ref.status, len(tasks)) == ("running", 2)

        ref.stop()
        assert await ref.wait_stopped() == Shutdown("stopped")
        assert len(recorder.of("actor_crashed")) == 1, "what the runtime itself has cancelled is no failure"


@pytest.mark.parametrize("way", ["CancelledError", "SystemExit"])
@pytest.mark.asyncio
async def test_whatever_begin_raises_is_a_crash(way: str) -> None:
    recorder = Recorder()
    raised: list[str] = []

    class Raises(BaseAgent):
        async def begin(self) -> None:
            if not raised:
                raised.append(way)
                raise asyncio.CancelledError if way == "CancelledError" else SystemExit(3)
            await self.inboxes["human"].get()

    async with ActorSystem(instruments=[recorder]) as system:
        ref = await system.spawn(agent(Raises, "1000"))
        await settle()
        ((_, reason, _),) = recorder.of("actor_crashed")
        assert type(reason.error).__name__ == way
        assert ref.status == "running"


@pytest.mark.asyncio
async def test_an_agent_that_resists_every_cancel_is_given_up() -> None:
    stop = asyncio.Event()
    recorder = Recorder()

    class Stubborn(BaseAgent):
        async def begin(self) -> None:
            while not stop.is_set():
                try:
                    await stop.wait()
                except asyncio.CancelledError:
                    continue
            await self.inboxes["human"].get()

    loop = asyncio.get_running_loop()
    zombies: set[asyncio.Task[Any]] = set()
    async with ActorSystem(instruments=[recorder]) as system:
        before = asyncio.all_tasks()
        ref = await system.spawn(agent(Stubborn, "1000"))
        await settle()
        zombies = asyncio.all_tasks() - before
        ref.tell(says("unread"))
        await settle()
        started = loop.time()
        ref.stop()
        assert await ref.wait_stopped() == Killed(first=Shutdown("stopped"))
        assert loop.time() - started < 7
        assert system.abandoned == ("task:/user/stubborn:begin",)
        assert [letter[0] for letter in recorder.letters] == [says("unread")]
    stop.set()
    await settle()
    (zombie,) = zombies
    zombie.cancel()
    await settle()
    assert zombie.done()


@both
@pytest.mark.parametrize("way", ["stop", "drain"])
@pytest.mark.asyncio
async def test_an_agent_that_reads_on_when_it_is_stopped_does_not_spin(cls: Any, way: str) -> None:
    """An agent whose queue was closed while it ran asked it again and again, and froze the event loop."""
    reads: list[int] = []

    async def read(self: BaseAgent, *message: AgentMessage) -> None:
        while len(reads) < 1000:
            reads.append(1)
            try:
                await self.inboxes["nobody"].get()
            except (Exception, asyncio.CancelledError):
                continue

    kind = type("Reads", (BaseAgent,), {"begin" if cls is Echo else "handle_message": read})
    async with ActorSystem() as system:
        ref = await system.spawn(agent(kind, "1000").options(shutdown=2.0))
        ref.tell(says("go"))
        await settle()
        getattr(ref, way)()
        await asyncio.sleep(30)
        system.kill()
    assert len(reads) < 40


@both
@pytest.mark.asyncio
async def test_a_clean_end_is_told_once_says_nothing_wrong_and_loses_nothing_in_silence(cls: Any) -> None:
    journal: list[Any] = []
    recorder = Recorder()
    with capture_logs() as log:
        async with ActorSystem(instruments=[recorder]) as system:
            loop = asyncio.get_running_loop()
            ref = await system.spawn(agent(cls, "1000", journal))
            for text, sender in (("1", "human"), ("2", "bob"), ("3", "human")):
                ref.tell(says(text, sender))
            await settle()
            before = loop.time()
            ref.stop()
            assert await ref.wait_stopped() == Shutdown("stopped")
            assert loop.time() - before < 0.1
            assert journal.count("1000 cleaned up") == 1
            lost = [letter[0] for letter in recorder.letters if letter[1] == ref.path]
            assert lost == ([says("2", "bob")] if cls is Echo else []), "who reads no inbox of bob's leaves it unread"
    assert [entry for entry in log if entry["log_level"] in ("warning", "error")] == []


@pytest.mark.asyncio
async def test_a_drain_lets_handle_message_have_what_waits() -> None:
    journal: list[Any] = []
    async with ActorSystem() as system:
        ref = await system.spawn(agent(Talker, "1000", journal))
        for number in range(10):
            ref.tell(says(str(number)))
        ref.drain()
        assert await ref.wait_stopped() == Shutdown("drained")
    assert journal == [*[("human", str(number)) for number in range(10)], "1000 cleaned up"]


@pytest.mark.asyncio
async def test_one_that_waits_for_an_answer_is_stopped_at_once() -> None:
    loop = asyncio.get_running_loop()

    class Waits(BaseAgent):
        async def handle_message(self, message: AgentMessage) -> None:
            await self.WaitForMessage("nobody")

    with capture_logs() as log:
        async with ActorSystem() as system:
            ref = await system.spawn(agent(Waits, "1000"))
            ref.tell(says("go"))
            await settle()
            before = loop.time()
        assert loop.time() - before < 0.1
    assert log == []


@pytest.mark.asyncio
async def test_agents_reach_each_other_by_messages_only() -> None:
    recorder = Recorder()
    public: list[str] = []

    class Asks(BaseAgent):
        async def begin(self) -> None:
            public.extend(name for name in dir(self.program) if not name.startswith("_"))
            await self.SendMessage("1001", "nobody has that id")

    async with ActorSystem(instruments=[recorder]) as system:
        ref = await system.spawn(agent(Asks, "1000"))
        assert await ref.wait_stopped() == Normal()
        assert public == ["route_message"]
        ((message, recipient, sender, why),) = recorder.letters
        assert message == says("nobody has that id", "1000")
        assert (recipient, sender, why) == ("agent 1001", "/user/asks", "no agent has that id")


@pytest.mark.asyncio
async def test_to_send_to_one_that_has_stopped_is_a_dead_letter_and_no_failure() -> None:
    recorder = Recorder()
    journal: list[Any] = []
    async with ActorSystem(instruments=[recorder]) as system:
        human = await system.spawn(Human, [])
        echo = await system.spawn(agent(Echo, "1000", journal))
        human.stop()
        await human.wait_stopped()
        for text in ("1", "2"):
            echo.tell(says(text))
        await settle()
        assert journal == ["1000 begins", "1", "2"]
        assert [letter[1] for letter in recorder.letters] == ["agent human"] * 2
        assert echo.status == "running"


@pytest.mark.asyncio
async def test_who_sends_waits_while_the_mailbox_of_the_other_is_full() -> None:
    gate, heard, sent = Gate(), list[str](), list[int]()

    class Held(Actor[AgentMessage]):
        def initialize(self) -> None:
            self.context.register("held")

        @handler
        async def hear(self, message: AgentMessage) -> None:
            await gate.hold()
            heard.append(message.content)

    class Floods(BaseAgent):
        async def begin(self) -> None:
            for number in range(10):
                await self.SendMessage("held", str(number))
                sent.append(number)

    async with ActorSystem() as system:
        await system.spawn(child(Held).options(mailbox=2))
        await system.spawn(agent(Floods, "1000"))
        await settle()
        assert len(sent) == 3
        gate.open()
        await settle()
        assert heard == [str(number) for number in range(10)]


@pytest.mark.asyncio
async def test_what_an_agent_does_not_read_has_a_bound() -> None:
    recorder = Recorder()
    async with ActorSystem(instruments=[recorder]) as system:
        ref = await system.spawn(agent(Echo, "1000", []).options(mailbox=3))
        for number in range(5):
            await ref.send(says(str(number), "bob"))
            await settle()
        assert [letter[0] for letter in recorder.letters] == [says("3", "bob"), says("4", "bob")]
        assert ref.status == "running"


@pytest.mark.parametrize("text", ["<eom>", "EOM", "JOINED ", ""])
@both
@pytest.mark.asyncio
async def test_no_text_is_a_signal(text: str, cls: Any) -> None:
    journal: list[Any] = []
    async with ActorSystem() as system:
        ref = await system.spawn(agent(cls, "1000", journal))
        ref.tell(says(text))
        await settle()
        assert journal[-1] in (text, ("human", text))


@both
@pytest.mark.asyncio
async def test_an_idle_agent_never_wakes_up(cls: Any) -> None:
    async with ActorSystem() as system:
        await system.spawn(agent(cls, "1000", []))
        await asyncio.sleep(1)  # where tasks are slow to begin, the pump of an actor stays for a moment
        loop: Any = asyncio.get_running_loop()
        turns: list[None] = []
        turn = loop._run_once
        loop._run_once = lambda: (turns.append(None), turn())
        await asyncio.sleep(3600)
        assert len(turns) < 5


@pytest.mark.parametrize("where", ["begin", "handle_message"])
@pytest.mark.asyncio
async def test_the_program_ends_when_an_agent_says_so(where: str) -> None:
    journal: list[Any] = []

    async def finish(self: BaseAgent, *message: AgentMessage) -> None:
        raise ExecutionFinished("all done")

    finishes = agent(type("Finishes", (BaseAgent,), {where: finish}), "1")
    with capture_logs() as log:
        async with ActorSystem(supervisor("all", agent(Echo, "2", journal), finishes)) as system:
            if (ref := system.find("all/finishes")) is not None:
                ref.tell(says("go"))
            await system.wait_stopped()
    assert journal[-1] == "2 cleaned up"
    assert [entry for entry in log if entry["log_level"] in ("warning", "error")] == []


@pytest.mark.asyncio
async def test_a_crash_while_another_agent_is_busy_ends_the_program() -> None:
    journal: list[Any] = []

    class Busy(Old):
        async def begin(self) -> None:
            await asyncio.sleep(3600)

    tree = supervisor("all", agent(Busy, "1", journal), agent(Echo, "2", journal), max_restarts=0)
    with pytest.raises(SystemCollapsed):  # noqa: PT012 - what raises is the `async with` as a whole
        async with ActorSystem(tree) as system:
            system.lookup("all/echo").tell(says("fail"))
            await asyncio.sleep(60)
    assert "1 cleaned up" in journal


@pytest.mark.asyncio
async def test_a_group_restart_takes_old_agents_along_at_once() -> None:
    journal: list[Any] = []
    loop = asyncio.get_running_loop()
    agents = [agent(Echo, name, journal).options(name=name) for name in ("a", "b")]
    async with ActorSystem(supervisor("all", *agents, strategy="one_for_all")) as system:
        await settle()
        before = loop.time()
        system.lookup("all/a").tell(says("fail"))
        await settle()
        assert loop.time() - before < 0.1
        assert journal == ["a begins", "b begins", "a cleaned up", "b cleaned up", "a begins", "b begins"]


@pytest.mark.parametrize("restart", ["transient", "permanent", "temporary"])
@pytest.mark.asyncio
async def test_the_end_of_begin_is_a_normal_end(restart: Any) -> None:
    begun: list[int] = []

    class Brief(BaseAgent):
        async def begin(self) -> None:
            begun.append(1)
            if len(begun) > 1:
                await asyncio.sleep(3600)

    async with ActorSystem() as system:
        ref = await system.spawn(agent(Brief, "1000").options(restart=restart))
        await settle()
        assert len(begun) == (2 if restart == "permanent" else 1)
        assert ref.status == ("running" if restart == "permanent" else "stopped")


@pytest.mark.asyncio
async def test_a_crash_report_tells_of_the_agent_and_not_of_what_is_around_it() -> None:
    reports: list[CrashReport] = []

    class Reports(Instrument):
        def crash_reported(self, report: CrashReport) -> None:
            reports.append(report)

    class Tells(Echo):
        def describe(self) -> dict[str, object]:
            return {"lines": len(self.journal)}

    async with ActorSystem(instruments=[Reports()]) as system:
        for number, cls in enumerate((Echo, Tells)):
            ref = await system.spawn(agent(cls, str(number), []))
            ref.tell(says("fail"))
            await settle()
    assert [report.actor.rpartition(".")[2] for report in reports] == ["Echo", "Tells"]
    assert reports[0].description.keys() >= {"id", "journal", "kwargs"}
    assert reports[0].description["journal"] == "'list'"
    assert reports[1].description == {"lines": "1"}


# What is refused


@pytest.mark.parametrize(
    ("declare", "problem"),
    [
        (lambda: agent(Nothing, "1000"), "cls must have `begin` or `handle_message`"),
        (lambda: agent(Echo), "arguments do not fit .*Echo"),
        (lambda: agent(Echo, "1000", [], 3), "arguments do not fit .*Echo"),
        (lambda: agent(lambda: None), "cls must be a class, got <function"),
        (lambda: agent(Echo, "1000", []).options(restart="always"), "restart must be 'permanent'"),
    ],
)
def test_what_cannot_be_an_agent_is_refused_where_it_is_declared(declare: Callable[[], Any], problem: str) -> None:
    with pytest.raises(InvalidSpec, match=problem):
        declare()


# Deprecated


def test_all_of_it_is_deprecated_and_says_what_to_use_instead() -> None:
    with pytest.warns(DeprecationWarning, match=r"write an `understudy.Actor`, and declare it with `understudy.child`"):
        agent(Echo, "1000", [])
    with pytest.warns(DeprecationWarning, match=r"write an `understudy.Actor` with a handler for each type of message"):
        type("Another", (BaseAgent,), {})
