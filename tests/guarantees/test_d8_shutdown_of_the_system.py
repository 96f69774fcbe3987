"""D8: the shutdown of a system runs once, in phases, bounded; a cancel makes it orderly, a second one short."""

# ruff: noqa: PT012 - what raises is the `async with` as a whole

from __future__ import annotations

import asyncio
import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any, Literal

import pytest

import understudy
from tests.guarantees.cast_of_supervision import (
    STUBBORN,
    Call,
    Diary,
    Flat,
    Gate,
    Note,
    Part,
    Player,
    boom,
    now,
    settle,
    staged,
    takes,
)
from understudy import (
    ActorRef,
    ActorStopped,
    ActorSystem,
    InvalidSpec,
    Killed,
    Settings,
    Shutdown,
    StartError,
    Supervisor,
    child,
    supervisor,
)

ROOT = Path(__file__).parent.parent.parent


def me() -> asyncio.Task[Any]:
    task = asyncio.current_task()
    assert task is not None
    return task


# Once.


@pytest.mark.asyncio
async def test_further_requests_join_the_first() -> None:
    diary = Diary()
    part = Part(shutdown=takes(1.0))
    async with ActorSystem(part.spec(), instruments=[diary]) as system:
        system.stop()
        system.stop()
        waiting = [asyncio.ensure_future(system.wait_stopped()) for _ in range(3)]
        await asyncio.sleep(0.5)
        system.stop()
        assert not any(wait.done() for wait in waiting)
        await asyncio.gather(*waiting)
        assert now() == pytest.approx(1.0, abs=0.01)
        system.stop()
        await system.wait_stopped()
    assert len(part.ends) == 1
    assert [path for path, _ in diary.stopped].count("/user/player") == 1
    assert len(diary.phases) == len(set(diary.phases))  # each phase is entered once


@pytest.mark.asyncio
async def test_leaving_the_body_joins_a_shutdown_that_is_under_way() -> None:
    part = Part(shutdown=takes(1.0))
    async with ActorSystem(part.spec()) as system:
        system.stop()
        await asyncio.sleep(0.5)
    assert now() == pytest.approx(1.0, abs=0.01)
    assert len(part.ends) == 1


@pytest.mark.asyncio
async def test_force_during_an_orderly_shutdown_is_no_collapse() -> None:
    part = Part(shutdown=takes(100.0))
    async with ActorSystem(part.spec(shutdown=1.0)) as system:
        ref = system.lookup("player", Player)
        system.stop()
        await system.wait_stopped()
        assert isinstance(await ref.wait_stopped(), Killed)
    assert me().cancelling() == 0


@pytest.mark.asyncio
async def test_a_crash_during_an_orderly_shutdown_is_no_collapse() -> None:
    a, b = Part("a"), Part("b", shutdown=takes(1.0))
    async with ActorSystem(supervisor("root", a.spec(), b.spec(), max_restarts=0)) as system:
        ref = system.lookup("root/a", Player)
        system.stop()
        await settle()
        ref.tell(Flat(what=boom))  # its turn to stop has not come
        await system.wait_stopped()
    assert a.starts == 1


# In phases.


@pytest.mark.asyncio
async def test_the_phases_come_in_their_order() -> None:
    diary = Diary()
    async with ActorSystem(Part().spec(), instruments=[diary]) as system:
        started = list(diary.phases)
        system.stop()
        await system.wait_stopped()
    order = ["before", "links", "actors", "system", "after"]
    shutdown = [phase for phase in diary.phases[len(started) :] if phase in order]
    assert shutdown == [phase for phase in order if phase in shutdown]
    assert {"actors", "system"} <= set(shutdown)


@pytest.mark.asyncio
async def test_users_tasks_run_before_any_actor_stops_and_after_all_have_ended() -> None:
    part = Part()
    statuses: dict[str, str] = {}
    async with ActorSystem(part.spec()) as system:
        ref = system.lookup("player", Player)

        async def before() -> None:
            await asyncio.sleep(0.1)
            statuses["before"] = ref.status
            statuses["reply"] = await ref.ask(Flat(what=lambda actor: "served"))  # type: ignore[assignment]

        async def after() -> None:
            statuses["after"] = ref.status

        system.phases.add("before", before)
        system.phases.add("after", after)
    assert statuses == {"before": "running", "reply": "served", "after": "stopped"}


@pytest.mark.asyncio
async def test_users_tasks_are_bounded_and_their_failures_stop_nobody(capsys: pytest.CaptureFixture[str]) -> None:
    gate = Gate()
    ran: list[str] = []
    part = Part()

    async def hang_for_ever() -> None:
        await gate()

    async def fail() -> None:
        raise LookupError("of a phase")

    async def work() -> None:
        ran.append("work")

    complaints: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: complaints.append(str(context)))
    async with ActorSystem(part.spec()) as system:
        for task in (hang_for_ever, fail, work):
            system.phases.add("before", task)
        began = now()
    assert now() - began == pytest.approx(5.0, abs=0.2)
    assert ran == ["work"]
    assert part.journal[-1] == "player down"
    assert len(gate.cancelled_at) >= 1
    assert asyncio.all_tasks() == {me()}
    told = "".join((*capsys.readouterr(), *complaints))
    assert "hang_for_ever" in told
    assert "of a phase" in told


@pytest.mark.asyncio
async def test_users_tasks_that_resist_are_abandoned() -> None:
    gate = Gate(resists=STUBBORN)
    part = Part()

    async def never() -> None:
        await gate()

    async with ActorSystem(part.spec()) as system:
        system.phases.add("before", never)
        began = now()
    assert now() - began <= 30.01
    assert part.journal[-1] == "player down"
    assert asyncio.all_tasks() == {me()}
    assert len(system.abandoned) == 1
    gate.open()
    await settle()


# A cancel of the task inside.


def tree(*parts: Part, **options: Any) -> Any:
    return supervisor("root", *(part.spec(**options) for part in parts))


@pytest.mark.asyncio
async def test_a_cancel_of_the_task_inside_is_an_orderly_stop() -> None:
    journal: list[str] = []
    diary = Diary()
    a, b = Part("a", journal, shutdown=takes(1.0)), Part("b", journal, shutdown=takes(1.0))
    entered = asyncio.Event()

    async def main() -> None:
        async with ActorSystem(tree(a, b), instruments=[diary]):
            entered.set()
            await asyncio.sleep(1000)

    task = asyncio.ensure_future(main())
    await entered.wait()
    journal.clear()
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert journal == ["b stops", "b down", "a stops", "a down"]
    assert now() == pytest.approx(2.0, abs=0.01)
    assert {type(reason) for path, reason in diary.stopped if path.startswith("/user/root")} == {Shutdown}
    assert asyncio.all_tasks() == {me()}


@pytest.mark.asyncio
async def test_a_second_cancel_shortens_it_to_kill() -> None:
    journal: list[str] = []
    gate = Gate()
    a, b = Part("a", journal), Part("b", journal, shutdown=gate)
    entered = asyncio.Event()
    refs: list[ActorRef[Any]] = []

    async def main() -> None:
        async with ActorSystem(tree(a, b)) as system:
            refs.extend(system.lookup(f"root/{name}", Player) for name in "ab")
            entered.set()
            await asyncio.sleep(1000)

    task = asyncio.ensure_future(main())
    await entered.wait()
    journal.clear()
    task.cancel()
    await gate.reached.wait()
    await asyncio.sleep(1.0)
    assert not task.done()
    began = now()
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert now() - began == pytest.approx(0.0, abs=0.01)
    assert journal == ["b stops"]  # the hook was cut, the other one never ran
    assert len(gate.cancelled_at) == 1
    assert all([isinstance(await ref.wait_stopped(), Killed) for ref in refs])
    assert asyncio.all_tasks() == {me()}


@pytest.mark.asyncio
async def test_a_second_cancel_does_not_wait_for_those_who_resist_longer_than_until_their_abandonment() -> None:
    gate = Gate(resists=STUBBORN)
    entered = asyncio.Event()

    async def main() -> None:
        async with ActorSystem(tree(Part("a"))) as system:
            system.lookup("root/a", Player).tell(Call(what=gate))
            await gate.reached.wait()
            entered.set()
            await asyncio.sleep(1000)

    task = asyncio.ensure_future(main())
    await entered.wait()
    task.cancel()
    await asyncio.sleep(0.5)
    task.cancel()
    await asyncio.sleep(0.1)
    task.cancel()  # and further ones do no harm
    await asyncio.wait([task])
    assert task.cancelled()
    assert now() == pytest.approx(1.5, abs=0.01)
    assert asyncio.all_tasks() == {me()}
    gate.open()
    await settle()


@pytest.mark.asyncio
async def test_a_cancel_while_the_body_is_being_left_leaves_nothing_behind() -> None:
    part = Part(shutdown=takes(2.0))
    leaving = asyncio.Event()

    async def main() -> None:
        async with ActorSystem(tree(part)):
            leaving.set()

    task = asyncio.ensure_future(main())
    await leaving.wait()
    await asyncio.sleep(0.5)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert now() <= 2.01
    assert asyncio.all_tasks() == {me()}


@pytest.mark.asyncio
async def test_a_timeout_around_the_system_is_an_orderly_stop_and_a_timeout() -> None:
    part = Part(shutdown=takes(1.0))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(5.0):
            async with ActorSystem(tree(part)):
                await asyncio.sleep(1000)
    assert now() == pytest.approx(6.0, abs=0.01)
    assert part.journal[-1] == "player down"
    assert me().cancelling() == 0


@pytest.mark.asyncio
async def test_a_body_that_swallows_its_cancel_goes_on_in_a_running_system() -> None:
    part = Part()
    after: list[object] = []
    entered = asyncio.Event()

    async def main() -> None:
        async with ActorSystem(part.spec()) as system:
            entered.set()
            try:
                await asyncio.sleep(1000)
            except asyncio.CancelledError:
                after.append(await system.lookup("player", Player).ask(Flat(what=lambda actor: "served")))

    task = asyncio.ensure_future(main())
    await entered.wait()
    task.cancel()
    await task
    assert after == ["served"]
    assert part.journal[-1] == "player down"


# The overall deadline.


SHORT = Settings(shutdown=1.0, abandon_after=1.0, shutdown_timeout=3.0)


@pytest.mark.asyncio
async def test_at_the_overall_deadline_the_whole_tree_is_abandoned_and_buried(
    capsys: pytest.CaptureFixture[str],
) -> None:
    diary = Diary()
    gates = [Gate(resists=STUBBORN) for _ in range(4)]
    a, b, c, d = (Part(name) for name in "abcd")
    inner = supervisor("inner", c.spec(shutdown="infinity"), d.spec(shutdown="infinity"))
    root = supervisor("root", a.spec(), b.spec(shutdown="infinity"), inner)
    asks: list[asyncio.Future[Any]] = []
    async with ActorSystem(root, settings=SHORT, instruments=[diary]) as system:
        refs = [system.lookup(path, Player) for path in ("root/a", "root/b", "root/inner/c", "root/inner/d")]
        guest = await system.spawn(Part("guest").spec(shutdown="infinity"))
        above: list[ActorRef[Any]] = [system.lookup(path, Supervisor) for path in ("root", "root/inner")]
        for ref, gate in zip(refs, gates, strict=True):
            asks.append(asyncio.ensure_future(ref.ask(Call(what=gate), timeout=1000)))
            asks.append(asyncio.ensure_future(ref.ask(Note(number=1), timeout=1000)))
            await gate.reached.wait()
        began = now()
    assert now() - began == pytest.approx(3.0, abs=0.01)
    # Nothing is left of any of them: no task, no status, no pending ask.
    assert asyncio.all_tasks() == {me()}
    assert {ref.status for ref in (*refs, *above, guest)} == {"stopped"}
    assert all(ask.done() for ask in asks)
    for ask in asks:
        assert isinstance(ask.exception(), ActorStopped)
    for ref in (*refs, *above):
        assert isinstance(await ref.wait_stopped(), Killed)
    assert len(diary.stopped) == len({path for path, _ in diary.stopped})  # each end is reported once
    assert {ref.path for ref in (*refs, *above, guest)} <= {path for path, _ in diary.stopped}
    # The names of what did not stop in time are kept and printed.
    told = "".join(capsys.readouterr())
    for ref in refs:
        assert [name for name in system.abandoned if ref.path in name] != []
        assert ref.path in told
    assert sorted(diary.lost_notes() or [1, 1, 1, 1]) == [1, 1, 1, 1]
    # The zombies disturb nobody when they end at last.
    for gate in gates:
        gate.open()
    await settle()
    assert len(diary.stopped) == len({path for path, _ in diary.stopped})


@pytest.mark.parametrize("where", ["handler", "shutdown", "initialize of a restart"])
@pytest.mark.asyncio
async def test_the_overall_deadline_holds_wherever_an_actor_resists(where: str) -> None:
    gate = Gate(resists=STUBBORN)
    part = Part(
        initialize=lambda actor: gate() if where.startswith("initialize") and actor.incarnation == 2 else None,
        shutdown=lambda actor: gate() if where == "shutdown" else None,
    )
    other = Part("other")
    async with ActorSystem(supervisor("root", other.spec(), part.spec(shutdown="infinity")), settings=SHORT) as system:
        ref = system.lookup("root/player", Player)
        match where:
            case "handler":
                ref.tell(Call(what=gate))
                await gate.reached.wait()
            case "shutdown":
                pass
            case _:
                ref.tell(Flat(what=boom))
                await gate.reached.wait()
        began = now()
    assert now() - began <= 3.01
    assert asyncio.all_tasks() == {me()}
    assert ref.status == "stopped"
    assert [name for name in system.abandoned if "/user/root/player" in name] != []
    gate.open()
    await settle()


@pytest.mark.asyncio
async def test_actors_that_obey_are_not_lost_in_the_deadline() -> None:
    parts = [Part(name, shutdown=takes(4.0)) for name in "abcde"]
    async with ActorSystem(tree(*parts)):
        pass
    assert now() == pytest.approx(20.0, abs=0.01)  # within the 30 s, and nobody was cut
    assert [part.journal[-1] for part in parts] == [f"{name} down" for name in "abcde"]


@pytest.mark.asyncio
async def test_a_shutdown_that_would_take_longer_than_the_deadline_is_cut_there() -> None:
    parts = [Part(name, shutdown=takes(4.0)) for name in "abcdefghijkl"]
    async with ActorSystem(tree(*parts)):
        pass
    assert 28.9 <= now() <= 30.01
    assert parts[-1].journal[-1] == "l down"
    assert parts[0].journal[-1] == "a up"
    assert asyncio.all_tasks() == {me()}


@pytest.mark.asyncio
async def test_what_is_cut_at_the_deadline_has_been_cancelled() -> None:
    gate = Gate()
    diary = Diary()
    async with ActorSystem(Part().spec(shutdown="infinity"), settings=SHORT, instruments=[diary]) as system:
        system.lookup("player", Player).tell(Call(what=gate))
        await gate.reached.wait()
        began = now()
    assert now() - began <= 3.01
    assert len(gate.cancelled_at) >= 1  # so that its `finally` runs
    assert asyncio.all_tasks() == {me()}


@pytest.mark.parametrize(
    "settings",
    [
        {"shutdown_timeout": 5.5},
        {"shutdown": 29.5},
        {"shutdown": 2.0, "abandon_after": 2.0, "shutdown_timeout": 3.9},
        {"shutdown_timeout": 0},
        {"shutdown_timeout": -1},
        {"shutdown_timeout": float("nan")},
    ],
)
def test_settings_whose_deadline_is_shorter_than_the_ladder_of_one_actor_are_refused(
    settings: dict[str, float],
) -> None:
    with pytest.raises(ValueError, match="shutdown"):
        Settings(**settings)


def test_settings_whose_deadline_is_just_long_enough_are_taken() -> None:
    assert Settings(shutdown=29.0).shutdown_timeout == 30.0
    assert Settings(shutdown=2.0, abandon_after=0.5, shutdown_timeout=2.5).shutdown == 2.0


@pytest.mark.asyncio
async def test_a_child_whose_own_grace_is_longer_than_the_deadline_is_refused() -> None:
    part, before = Part(), Part("before")
    with pytest.raises((InvalidSpec, StartError)) as caught:
        async with ActorSystem(supervisor("root", before.spec(), part.spec(shutdown=29.5))):
            pytest.fail("the body must not be entered")
    told = ""
    error: BaseException | None = caught.value
    while error is not None:
        told, error = f"{told} {error}", error.__cause__
    assert "shutdown" in told
    assert "29.5" in told
    assert part.starts == 0


@pytest.mark.asyncio
async def test_an_actor_whose_own_grace_is_longer_than_the_deadline_cannot_be_spawned() -> None:
    part = Part()
    async with ActorSystem() as system:
        with pytest.raises((InvalidSpec, StartError), match="shutdown"):
            await system.spawn(part.spec(shutdown=40.0))
        assert part.starts == 0
        assert (await system.spawn(part.spec(shutdown=29.0))).status == "running"


# Signals.


@pytest.fixture
def handlers() -> Iterator[Callable[[], list[object]]]:
    """Read the handlers of SIGINT and SIGTERM, which are put back at the end."""
    numbers = signal.SIGINT, signal.SIGTERM
    before = [signal.getsignal(number) for number in numbers]
    yield lambda: [signal.getsignal(number) for number in numbers]
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


@pytest.mark.asyncio
async def test_a_system_installs_no_signal_handlers(handlers: Callable[[], list[object]]) -> None:
    before = handlers()
    async with ActorSystem(Part().spec()):
        assert handlers() == before
        assert not asyncio.get_running_loop()._signal_handlers  # type: ignore[attr-defined]
    assert handlers() == before


def test_run_installs_handlers_and_restores_what_was_there(handlers: Callable[[], list[object]]) -> None:
    def mine(number: int, frame: FrameType | None) -> None: ...

    signal.signal(signal.SIGTERM, mine)
    signal.signal(signal.SIGINT, mine)

    async def main() -> list[object]:
        return handlers()

    inside = understudy.run(main())
    assert mine not in inside
    assert handlers() == [mine, mine]


def test_run_restores_the_handlers_when_main_fails(handlers: Callable[[], list[object]]) -> None:
    before = handlers()

    async def main() -> None:
        raise LookupError

    with pytest.raises(LookupError):
        understudy.run(main())
    assert handlers() == before


def test_run_returns_the_result_of_main() -> None:
    async def main() -> str:
        async with ActorSystem(Part().spec()) as system:
            return str(await system.lookup("player", Player).ask(Flat(what=lambda actor: "result")))

    assert understudy.run(main()) == "result"


def test_run_may_be_called_again_and_again() -> None:
    async def main() -> int:
        return 1

    assert [understudy.run(main()) for _ in range(3)] == [1, 1, 1]


@pytest.mark.asyncio
async def test_run_in_a_running_loop_is_a_clear_error() -> None:
    async def main() -> None: ...

    with pytest.raises(RuntimeError, match="running"):
        understudy.run(main())


PROGRAM = """
import asyncio, sys
import understudy
from understudy import Actor, ActorSystem, Message, Settings, child, handler, supervisor

class Job(Message): ...

def say(*words):
    print(*words, flush=True)

class Tidy(Actor[Job]):
    def __init__(self, name, seconds):
        self.name, self.seconds = name, seconds

    async def shutdown(self, reason):
        say(self.name, "stops")
        await asyncio.sleep(self.seconds)
        say(self.name, "down")

    @handler
    async def job(self, message: Job) -> None:
        {handler}

async def main():
    settings = Settings(shutdown={grace}, abandon_after=0.3, shutdown_timeout={deadline})
    tree = supervisor("root", *(child(Tidy, name, {seconds}).options(name=name) for name in "ab"))
    async with ActorSystem(tree, settings=settings) as system:
        system.lookup("root/a", Tidy).tell(Job())
        await asyncio.sleep(0.05)
        say("ready")
        await asyncio.sleep(60)
    say("left")

understudy.run(main())
"""
OBEYS = "pass"
RESISTS = """
        while True:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                pass
"""
INTERRUPTS = """
        await asyncio.sleep(0.1)
        raise KeyboardInterrupt
"""


class Process:
    """A program of its own, to be sent signals."""

    def __init__(self, handler: str, *, seconds: float, grace: float = 5.0, deadline: float = 20.0) -> None:
        source = PROGRAM.format(handler=handler, seconds=seconds, grace=grace, deadline=deadline)
        self.process = subprocess.Popen(
            [sys.executable, "-c", source], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.lines: list[str] = []

    def read_until(self, wanted: str) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.strip())
            if line.strip() == wanted:
                return
        raise AssertionError(f"no {wanted!r} in {self.lines}; {self.process.communicate()}")

    def finish(self) -> tuple[int, str]:
        """Wait for the end; the exit code and what came on stderr."""
        out, err = self.process.communicate(timeout=15)
        self.lines += out.split("\n")
        return self.process.returncode, err

    def journal(self) -> list[str]:
        return [line for line in self.lines if line.split(" ")[-1] in ("stops", "down", "left")]


@pytest.fixture
def start() -> Iterator[Callable[..., Process]]:
    """Start programs; what still runs at the end is killed."""
    running: list[Process] = []

    def begin(*args: Any, **kwargs: Any) -> Process:
        running.append(Process(*args, **kwargs))
        return running[-1]

    yield begin
    for program in running:
        if program.process.poll() is None:
            program.process.kill()
        program.process.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_stops_the_system_in_good_order(number: int, start: Callable[..., Process]) -> None:
    program = start(OBEYS, seconds=0.05)
    program.read_until("ready")
    program.process.send_signal(number)
    code, _ = program.finish()
    assert program.journal() == ["b stops", "b down", "a stops", "a down"]
    assert code != 0


@pytest.mark.parametrize(
    "numbers", [(signal.SIGINT, signal.SIGINT), (signal.SIGTERM, signal.SIGTERM), (signal.SIGTERM, signal.SIGINT)]
)
def test_the_second_signal_kills(numbers: tuple[int, int], start: Callable[..., Process]) -> None:
    program = start(OBEYS, seconds=60.0, grace=19.0)
    program.read_until("ready")
    program.process.send_signal(numbers[0])
    program.read_until("b stops")
    began = time.monotonic()
    program.process.send_signal(numbers[1])
    code, _ = program.finish()
    assert time.monotonic() - began < 5
    assert program.journal() == ["b stops"]
    assert code != 0


def test_a_program_whose_actor_resists_ends_in_time_and_names_it(start: Callable[..., Process]) -> None:
    program = start(RESISTS, seconds=0.0, grace=0.3, deadline=1.0)
    program.read_until("ready")
    began = time.monotonic()
    program.process.send_signal(signal.SIGTERM)
    _, err = program.finish()
    assert time.monotonic() - began < 6
    assert "/user/root/a" in err + "\n".join(program.lines)
    assert program.journal()[:2] == ["b stops", "b down"]


def test_a_keyboard_interrupt_in_a_handler_ends_the_program_in_good_order(start: Callable[..., Process]) -> None:
    program = start(INTERRUPTS, seconds=0.0)
    code, _ = program.finish()
    assert [line for line in program.journal() if line.startswith("b")] == ["b stops", "b down"]
    # What was interrupted has ended, and what may have come in its place as well.
    assert program.journal().count("a down") == program.journal().count("a stops") >= 1
    assert code != 0


@pytest.mark.asyncio
async def test_stopping_a_subtree_leaves_the_system_alone() -> None:
    async with staged(Part("a").spec()) as stage:
        stage.top.stop()
        await stage.top.wait_stopped()
        other = await stage.system.spawn(child(Player, Part("other")))
        assert other.status == "running"


@pytest.mark.parametrize("phase", ["before", "after"])
@pytest.mark.parametrize("stubborn", [False, True])
@pytest.mark.asyncio
async def test_a_kill_in_the_middle_of_a_users_task_leaves_it_a_moment(
    phase: Literal["before", "after"], stubborn: bool
) -> None:
    loop = asyncio.get_running_loop()
    began, ended = asyncio.Event(), list[float]()

    async def slow() -> None:
        began.set()
        try:
            await asyncio.sleep(4.0)
        finally:
            ended.append(loop.time())
            if stubborn:
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.sleep(0.05)

    system = await ActorSystem().start()
    system.phases.add(phase, slow)
    system.stop()
    await began.wait()
    system.kill()
    killed = loop.time()
    await system.aclose()
    assert ended == [pytest.approx(killed + 0.1)]
    assert loop.time() < killed + 0.3
    assert system.abandoned == ()


@pytest.mark.asyncio
async def test_links_are_closed_though_users_tasks_have_taken_all_the_time_there_was() -> None:
    """The task that closes them was cancelled before its first step, and has closed nothing."""

    async def take_all() -> None:
        await asyncio.sleep(600)

    settings = Settings(shutdown=0.5, abandon_after=0.5, shutdown_timeout=2.0)
    for _ in range(2):  # the second finds the address free
        async with ActorSystem(name="here", settings=settings) as system:
            await system.listen("memory://here")
            system.phases.add("before", take_all, name="take all")
