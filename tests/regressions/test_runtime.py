"""What went wrong in an earlier design of a runtime for agents, and must not again: actors, their ends, the program.

| then | the test here |
|---|---|
| A1 | test_an_actor_that_fails_leaves_the_others_alone |
| A2 | test_actors_can_be_added_while_the_system_runs |
| A3 | test_an_initialize_that_fails_halfway_leaves_nothing_behind |
| A4 | test_a_cancel_is_not_swallowed_by_anything_that_waits |
| A5 | test_a_crash_is_never_only_a_line_in_the_log |
| A6 | test_a_mailbox_that_is_closed_under_its_actor_does_not_freeze_the_loop |
| A7 | test_a_clean_end_says_nothing_wrong_loses_nothing_and_happens_once |
| A8 | test_what_is_asked_of_an_actor_runs_in_its_own_turn_and_never_in_the_asker |
| A10 | test_an_idle_actor_never_wakes_up |
| A12 | test_a_crash_while_another_actor_is_busy_ends_the_program, ..._can_be_cancelled |
| G1 | test_a_handler_that_raises_a_cancel_is_not_silently_gone |
| G2 | test_a_program_whose_work_is_done_ends |
| G3 | test_a_cancel_of_the_program_comes_out_as_a_cancel |
| G4 | test_half_a_start_is_cleaned_up..., test_a_second_cancel_..., test_a_clean_up_that_hangs_... |
| E7 | test_importing_is_quick_and_needs_no_network |
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.cast import Fail, Gate, Hold, Holder, Note, Recorder, settle
from understudy import (
    Actor,
    ActorFailed,
    ActorNotFound,
    ActorStopped,
    ActorSystem,
    Crashed,
    Message,
    StartError,
    SystemCollapsed,
    child,
    handler,
    supervisor,
)
from understudy.environment import running_loop


def holder(name: str, *args: Any, **options: Any) -> Any:
    return child(Holder, *args).options(name=name, **options)


class Tidy(Actor[Note]):
    """Writes down how it comes and goes."""

    def __init__(self, name: str, journal: list[str], gate: Gate | None = None, *, fails: bool = False) -> None:
        self.name = name
        self.journal = journal
        self.gate = gate
        self.fails = fails

    def initialize(self) -> None:
        if self.fails:
            raise OSError(f"{self.name} cannot start")
        self.journal.append(f"{self.name} up")

    async def shutdown(self, reason: object) -> None:
        if self.gate is not None:
            await self.gate.hold()
        self.journal.append(f"{self.name} down")

    @handler
    def note(self, message: Note) -> int:
        return message.value


def tidy(name: str, *args: Any, **kwargs: Any) -> Any:
    return child(Tidy, name, *args, **kwargs).options(name=name)


@pytest.mark.asyncio
async def test_an_actor_that_fails_leaves_the_others_alone() -> None:
    """One agent's exception cancelled all other agents and ended the program."""
    gate, logs = Gate(), [list[Any]() for _ in range(5)]
    tree = supervisor("all", *(holder(f"a{number}", gate, log) for number, log in enumerate(logs)))
    async with ActorSystem(tree) as system:
        refs = [system.lookup(f"all/a{number}", Holder) for number in range(5)]
        waiting = [asyncio.create_task(ref.ask(Hold(value=number))) for number, ref in enumerate(refs) if number != 2]
        await gate.reached(4)

        with pytest.raises(ActorFailed):
            await refs[2].ask(Fail(error=ValueError("x")))
        gate.open()

        assert await asyncio.gather(*waiting) == [0, 1, 3, 4]
        assert [ref.status for ref in refs] == ["running"] * 5
        assert await refs[2].ask(Note(value=2)) == 2
        statistics = system.statistics()
        assert (statistics.crashed, statistics.restarted, statistics.stopped) == (1, 1, 0)


@pytest.mark.asyncio
async def test_actors_can_be_added_while_the_system_runs() -> None:
    """The set of agents was fixed when the program began."""

    class Hire(Message[str]):
        name: str

    class Boss(Actor[Hire]):
        @handler
        async def hire(self, message: Hire) -> str:
            return (await self.context.spawn(holder(message.name))).path

    async with ActorSystem(child(Boss)) as system:
        late = await system.spawn(holder("late"))
        assert await late.ask(Note(value=1)) == 1
        path = await system.lookup("boss", Boss).ask(Hire(name="helper"))
        assert path == "/user/boss/helper"
        assert await system.lookup(path, Holder).ask(Note(value=2)) == 2
        assert late.status == "running"


@pytest.mark.asyncio
async def test_an_initialize_that_fails_halfway_leaves_nothing_behind() -> None:
    """An agent whose initialisation failed halfway leaked what it had opened by then."""
    journal: list[str] = []

    class Halfway(Actor[Note]):
        async def initialize(self) -> None:
            await self.context.spawn(tidy("helper", journal))
            raise OSError("the second half")

        def shutdown(self, reason: object) -> None:
            journal.append("shutdown of what never was")

        @handler
        def note(self, message: Note) -> int:
            return 0

    async with ActorSystem() as system:
        before, tasks = system.tree(), asyncio.all_tasks()
        for _ in range(3):  # the name is free each time
            with pytest.raises(StartError) as caught:
                await system.spawn(Halfway)
            assert isinstance(caught.value.__cause__, OSError)
            assert system.tree() == before
        assert journal == ["helper up", "helper down"] * 3
        assert asyncio.all_tasks() == tasks
        with pytest.raises(ActorNotFound):
            system.lookup("halfway")


@pytest.mark.parametrize("wait", ["ask", "send", "wait_stopped", "spawn", "body"])
@pytest.mark.asyncio
async def test_a_cancel_is_not_swallowed_by_anything_that_waits(wait: str) -> None:
    """`except CancelledError: break` in the agents' loops made a cancelled task end as if all were well."""
    gate, reached = Gate(), asyncio.Event()

    class SlowStart(Actor[Note]):
        async def initialize(self) -> None:
            await gate.hold()

        @handler
        def note(self, message: Note) -> int:
            return 0

    async def live() -> str:
        async with ActorSystem(holder("horn", gate, mailbox=1)) as system:
            horn = system.lookup("horn", Holder)
            horn.tell(Hold())
            await gate.reached()
            horn.tell(Note())
            reached.set()
            if wait == "ask":
                await horn.ask(Note(), timeout=60)
            elif wait == "send":
                await horn.send(Note(), timeout=60)
            elif wait == "wait_stopped":
                await horn.wait_stopped(timeout=60)
            elif wait == "spawn":
                await system.spawn(SlowStart)
            else:
                await asyncio.sleep(60)
        return "as if all were well"

    living = asyncio.create_task(live())
    await reached.wait()
    await settle()
    living.cancel()
    await asyncio.wait([living])

    assert living.cancelled()
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.mark.parametrize("by", ["tell", "ask"])
@pytest.mark.asyncio
async def test_a_crash_is_never_only_a_line_in_the_log(by: str) -> None:
    """`except Exception: log` around the agent's loop hid its crashes from the supervisor."""
    recorder = Recorder()
    async with ActorSystem(supervisor("top", holder("horn")), instruments=[recorder]) as system:
        horn = system.lookup("top/horn", Holder)
        await horn.ask(Note(value=1))
        if by == "tell":
            horn.tell(Fail(error=ValueError("x")))
        else:
            with pytest.raises(ActorFailed) as caught:
                await horn.ask(Fail(error=ValueError("x")))
            assert isinstance(caught.value.__cause__, ValueError)
        await settle()
        ((_, reason, failures),) = recorder.of("actor_restarting")
        assert isinstance(reason, Crashed)
        assert failures == 1
        assert recorder.of("actor_started", "/user/top/horn") == [("/user/top/horn", 1), ("/user/top/horn", 2)]


@pytest.mark.parametrize("way", ["stop", "drain"])
@pytest.mark.asyncio
async def test_a_mailbox_that_is_closed_under_its_actor_does_not_freeze_the_loop(way: str) -> None:
    """An agent whose queue was closed while it ran asked it again and again and froze the event loop."""
    gate, log = Gate(), list[Any]()
    loop = asyncio.get_running_loop()
    async with ActorSystem() as system:
        idle, busy = await system.spawn(holder("idle")), await system.spawn(holder("busy", gate, log, shutdown=20))
        busy.tell(Hold(value=1))
        busy.tell(Note(value=2))
        await gate.reached()

        turns = count_turns(loop)
        getattr(idle, way)()
        getattr(busy, way)()
        # On this clock time only goes on while nothing spins.
        await asyncio.sleep(15)

        assert len(turns) < 30
        assert (idle.status, busy.status) == ("stopped", "stopping" if way == "stop" else "running")
        gate.open()
        await busy.wait_stopped()
        assert log == ([1, 2] if way == "drain" else [1])


def count_turns(loop: Any) -> list[None]:
    """A list that grows with each turn of the loop from now on."""
    turns: list[None] = []
    turn = loop._run_once

    def counted() -> None:
        turns.append(None)
        turn()

    loop._run_once = counted
    return turns


@pytest.mark.asyncio
async def test_a_clean_end_says_nothing_wrong_loses_nothing_and_happens_once() -> None:
    """A clean shutdown logged an error, dropped the messages that were waiting, and ran twice."""
    journal: list[str] = []
    seen: list[Any] = []
    recorder = Recorder()
    with capture_logs() as logs:
        system = ActorSystem(tidy("tidy", journal), instruments=[recorder])
        async with system:
            ref = await system.spawn(holder("horn", None, seen))
            for value in range(10):
                ref.tell(Note(value=value))
            ref.drain()
            await ref.wait_stopped()
            system.stop()
            system.stop("again")
        system.stop("and again")
        await system.wait_stopped()

    assert seen == list(range(10))
    assert journal == ["tidy up", "tidy down"]
    assert recorder.letters == []
    phases = [phase for _, phase in recorder.of("system_phase")]
    assert len(set(phases)) == len(phases)
    assert [line for line in logs if line["log_level"] not in ("debug", "info")] == []


@pytest.mark.asyncio
async def test_what_is_asked_of_an_actor_runs_in_its_own_turn_and_never_in_the_asker() -> None:
    """A call to another agent ran in the caller's task, past the mailbox and beside what that agent was doing."""
    tasks: list[asyncio.Task[Any] | None] = []
    inside = 0

    class Account(Actor[Note]):
        def __init__(self) -> None:
            self.balance = 0

        @handler
        async def add(self, message: Note) -> int:
            nonlocal inside
            inside += 1
            assert inside == 1, "two messages at a time"
            tasks.append(asyncio.current_task())
            before = self.balance
            await asyncio.sleep(0)
            self.balance = before + message.value
            inside -= 1
            return self.balance

    async with ActorSystem(child(Account)) as system:
        account = system.lookup("account", Account)
        askers = [asyncio.create_task(account.ask(Note(value=1))) for _ in range(50)]
        assert await asyncio.gather(*askers) == list(range(1, 51))
        assert not {*askers, asyncio.current_task()} & set(tasks)


@pytest.mark.asyncio
async def test_an_idle_actor_never_wakes_up() -> None:
    """Each idle agent woke up every five seconds to look whether there was something to do."""
    loop: Any = running_loop()
    async with ActorSystem(supervisor("all", *(holder(f"a{number}") for number in range(100)))) as system:
        refs = [system.lookup(f"all/a{number}", Holder) for number in range(100)]
        for ref in refs:  # they have worked, waited and replied before
            await ref.ask(Note(), timeout=1.0)
        await asyncio.sleep(10)

        assert [timer for timer in loop._scheduled if not timer.cancelled()] == []
        turns = count_turns(loop)
        await asyncio.sleep(24 * 3600)
        assert len(turns) <= 3


@pytest.mark.asyncio
async def test_a_crash_while_another_actor_is_busy_ends_the_program() -> None:
    """When an agent crashed while another one was busy the program never ended."""
    gate = Gate()
    loop = asyncio.get_running_loop()
    tree = supervisor("top", holder("busy", gate, shutdown=2.0), holder("horn"), max_restarts=0)
    begin = loop.time()

    async def live() -> None:
        async with ActorSystem(tree) as system:
            system.lookup("top/busy", Holder).tell(Hold())
            await gate.reached()
            system.lookup("top/horn", Holder).tell(Fail(error=ValueError("x")))
            await asyncio.sleep(3600)

    with pytest.raises(SystemCollapsed, match="/user/top/horn failed once"):
        await live()
    assert loop.time() - begin == pytest.approx(2.0, abs=0.5)
    assert gate.went == 0
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.mark.asyncio
async def test_a_crash_while_another_actor_is_busy_leaves_a_program_that_can_be_cancelled() -> None:
    """After such a crash a cancel had no effect either."""
    gate, entered = Gate(), asyncio.Event()

    async def live() -> None:
        async with ActorSystem(supervisor("top", holder("busy", gate), holder("horn"))) as system:
            system.lookup("top/busy", Holder).tell(Hold())
            await gate.reached()
            system.lookup("top/horn", Holder).tell(Fail(error=ValueError("x")))
            await settle()
            entered.set()
            await asyncio.sleep(3600)

    living = asyncio.create_task(live())
    await entered.wait()
    begin = asyncio.get_running_loop().time()
    living.cancel()
    await asyncio.wait([living])
    assert living.cancelled()
    assert asyncio.get_running_loop().time() - begin < 6.5


@pytest.mark.parametrize("by", ["tell", "ask"])
@pytest.mark.asyncio
async def test_a_handler_that_raises_a_cancel_is_not_silently_gone(by: str) -> None:
    """`raise CancelledError` in an agent ended that agent's task without a word, and the program waited for ever."""
    recorder = Recorder()
    async with ActorSystem(supervisor("top", holder("horn")), instruments=[recorder]) as system:
        horn = system.lookup("top/horn", Holder)
        if by == "tell":
            horn.tell(Fail.model_construct(error=asyncio.CancelledError()))
        else:
            with pytest.raises(ActorFailed):
                await horn.ask(Fail.model_construct(error=asyncio.CancelledError()))
        assert await horn.ask(Note(value=1)) == 1
        ((_, reason, _),) = recorder.of("actor_crashed")
        assert isinstance(reason, Crashed)
        assert isinstance(reason.error, asyncio.CancelledError)
        assert system.statistics().restarted == 1
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0


@pytest.mark.asyncio
async def test_a_program_whose_work_is_done_ends() -> None:
    """Nothing ever set the event that a program waited for before it ended."""

    class Worker(Actor[Note]):
        @handler
        def last_job(self, message: Note) -> int:
            self.context.system.stop("the work is done")
            return message.value

    class Main(Actor[Note]):
        defaults = {"restart": "transient"}

        @handler
        def last_job(self, message: Note) -> int:
            self.context.stop()
            return message.value

    for actor in (Worker, Main):
        async with ActorSystem(child(actor).options(name="main")) as system:
            assert await system.lookup("main", actor).ask(Note(value=1)) == 1
            async with asyncio.timeout(10):
                await system.wait_stopped()
        assert system.statistics().actors == 0


@pytest.mark.parametrize("inside", ["body", "start", "end"])
@pytest.mark.asyncio
async def test_a_cancel_of_the_program_comes_out_as_a_cancel(inside: str) -> None:
    """`except* CancelledError` around the program swallowed the cancel of whoever ran it."""
    gate = Gate()

    class Slow(Actor[Note]):
        async def initialize(self) -> None:
            if inside == "start":
                await gate.hold()

        async def shutdown(self, reason: object) -> None:
            if inside == "end":
                await gate.hold()

        @handler
        def note(self, message: Note) -> int:
            return 0

    async def live() -> str:
        async with ActorSystem(child(Slow)):
            if inside == "body":
                await gate.hold()
        return "as if nothing had been"

    living = asyncio.create_task(live())
    await gate.reached()
    living.cancel("enough")
    await asyncio.wait([living])
    assert living.cancelled()
    assert living.cancelling() == 1


@pytest.mark.asyncio
async def test_half_a_start_is_cleaned_up_in_the_reverse_order_and_what_had_not_begun_is_left_alone() -> None:
    """Clean-up after half an initialisation touched what had never been, and gave up at the first error."""
    journal: list[str] = []
    tree = supervisor("top", tidy("a", journal), tidy("b", journal), tidy("c", journal, fails=True), tidy("d", journal))
    system = ActorSystem(tree)
    with pytest.raises(StartError, match="c cannot start") as caught:
        async with system:
            pytest.fail("entered")
    assert caught.value.path == "/user/top"
    assert journal == ["a up", "b up", "b down", "a down"]
    assert system.statistics().actors == 0
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.mark.asyncio
async def test_a_second_cancel_during_the_clean_up_shortens_it_and_leaves_nothing() -> None:
    """A second cancel during clean-up left it half done, and what it should have closed stayed open."""
    journal, gate, after = list[str](), Gate(), list[str]()
    recorder = Recorder()
    system = ActorSystem(supervisor("top", tidy("a", journal), tidy("b", journal, gate)), instruments=[recorder])

    async def close_the_rest() -> None:
        after.append("closed")

    system.phases.add("after", close_the_rest)
    inside = Gate()

    async def live() -> None:
        async with system:
            await inside.hold()

    living = asyncio.create_task(live())
    await inside.reached()
    living.cancel()
    await gate.reached()
    begin = asyncio.get_running_loop().time()
    living.cancel()
    await asyncio.wait([living])

    assert living.cancelled()
    assert asyncio.get_running_loop().time() - begin < 1.5
    assert "b down" not in journal
    assert after == ["closed"]
    assert system.statistics().actors == 0
    assert [phase for _, phase in recorder.of("system_phase")][-1] == "stopped"
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.mark.asyncio
async def test_a_clean_up_that_hangs_has_a_deadline_and_the_others_are_cleaned_up_all_the_same() -> None:
    """Clean-up had no deadline: one agent that hung in it kept the others, and the process, for ever."""
    journal, never = list[str](), Gate()
    loop = asyncio.get_running_loop()
    tree = supervisor("top", tidy("a", journal), tidy("b", journal, never), tidy("c", journal))
    async with ActorSystem(tree) as system:
        horn = system.lookup("top/a", Tidy)
        begin = loop.time()
    assert loop.time() - begin < 30
    assert journal == ["a up", "b up", "c up", "c down", "a down"]
    assert never.came == 1
    assert horn.tell(Note()) is False
    with pytest.raises(ActorStopped):
        await horn.ask(Note())


def test_importing_is_quick_and_needs_no_network() -> None:
    """Importing the package took 5.8 seconds, and 19.5 without a network."""
    source = """
import json, sys, time

def no_network(event, args):
    if event.startswith(("socket.connect", "socket.getaddrinfo", "socket.gethostby", "urllib.")):
        raise AssertionError(f"{event} {args}")

sys.addaudithook(no_network)
begin = time.process_time()
import understudy
print(json.dumps({"seconds": time.process_time() - begin, "threads": __import__("threading").active_count()}))
"""
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["seconds"] < 3.0
    assert told["threads"] == 1
    assert done.stderr == ""
