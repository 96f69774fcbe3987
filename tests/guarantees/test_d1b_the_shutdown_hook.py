"""D1b: the `shutdown` hook runs after stop, drain, a normal end and a crash; not after force or a failed start."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.guarantees.cast_of_supervision import (
    STUBBORN,
    Boom,
    Call,
    Diary,
    Flat,
    Gate,
    Note,
    Part,
    Player,
    boom,
    forced,
    now,
    settle,
    staged,
    stop_yourself,
    takes,
)
from understudy import (
    Actor,
    ActorRef,
    ActorStopped,
    ActorSystem,
    Crashed,
    ExitReason,
    Killed,
    Normal,
    Settings,
    Shutdown,
    StartError,
    Supervisor,
    handler,
    supervisor,
)


@pytest.mark.parametrize(
    ("way", "reason"),
    [("stop", Shutdown), ("drain", Shutdown), ("itself", Normal), ("crash", Crashed), ("crash suspended", Crashed)],
)
@pytest.mark.asyncio
async def test_the_hook_runs_once_and_is_told_why(way: str, reason: type) -> None:
    part = Part()
    async with staged(part.spec(restart="temporary")) as stage:
        player = stage["player"]
        match way:
            case "stop":
                player.stop()
            case "drain":
                player.drain()
            case "itself":
                player.tell(Flat(what=stop_yourself))
            case "crash":
                player.tell(Flat(what=boom))
            case _:
                player.tell(Call(what=boom))
        await player.wait_stopped()
        assert [type(told) for told in part.ends] == [reason]
        assert part.journal[-2:] == ["player stops", "player down"]


@pytest.mark.asyncio
async def test_the_hook_runs_at_the_end_of_the_system() -> None:
    part = Part()
    async with ActorSystem() as system:
        await system.spawn(part.spec())
    assert [type(told) for told in part.ends] == [Shutdown]


@pytest.mark.asyncio
async def test_after_a_crash_the_hook_of_the_old_instance_runs_before_the_new_one_is_made() -> None:
    order: list[tuple[str, int]] = []
    part = Part(
        construct=lambda actor: order.append(("made", actor.incarnation)),
        shutdown=lambda actor: order.append(("shut down", actor.incarnation)),
    )
    async with staged(part.spec()) as stage:
        stage["player"].tell(Flat(what=boom))
        await settle()
        assert order == [("made", 1), ("shut down", 1), ("made", 2)]
        assert isinstance(part.ends[0], Crashed)
        assert isinstance(part.ends[0].error, Boom)


@pytest.mark.parametrize("busy", [False, True])
@pytest.mark.asyncio
async def test_the_hook_does_not_run_after_a_kill(busy: bool) -> None:
    gate = Gate()
    part = Part()
    async with staged(part.spec()) as stage:
        player = stage["player"]
        if busy:
            player.tell(Call(what=gate))
            await gate.reached.wait()
        player.kill()
        await settle()
        assert part.starts == 2
        assert part.ends == []


@pytest.mark.asyncio
async def test_the_hook_does_not_run_after_abandonment() -> None:
    gate = Gate(resists=STUBBORN)
    part = Part()
    async with staged(part.spec(shutdown=1.0)) as stage:
        player = stage["player"]
        player.tell(Call(what=gate))
        await gate.reached.wait()
        player.stop()
        await player.wait_stopped()
        gate.open()
        await settle()
        assert part.ends == []


@pytest.mark.asyncio
async def test_the_hook_does_not_run_when_the_grace_was_used_up_by_the_handler() -> None:
    gate = Gate()
    part = Part()
    async with staged(part.spec(shutdown=1.0)) as stage:
        player = stage["player"]
        player.tell(Call(what=gate))
        await gate.reached.wait()
        player.stop()
        assert forced(await player.wait_stopped())
        assert part.ends == []


@pytest.mark.parametrize("where", ["construct", "initialize"])
@pytest.mark.asyncio
async def test_the_hook_does_not_run_after_a_failed_start(where: str) -> None:
    part = Part(**{where: boom})  # type: ignore[arg-type]
    async with ActorSystem() as system:
        with pytest.raises(StartError):
            await system.spawn(part.spec())
    assert part.ends == []


@pytest.mark.asyncio
async def test_the_hook_does_not_run_after_a_start_that_was_too_slow() -> None:
    part = Part(initialize=takes(100))
    async with ActorSystem() as system:
        with pytest.raises(StartError):
            await system.spawn(part.spec(start_timeout=1.0))
    assert part.ends == []


@pytest.mark.parametrize("way", ["stop", "drain", "crash"])
@pytest.mark.asyncio
async def test_a_hook_that_takes_too_long_is_cut_off_at_the_grace(way: str) -> None:
    gate = Gate()
    part = Part(shutdown=lambda actor: gate() if actor.incarnation == 1 else None)
    async with staged(part.spec(shutdown=2.0)) as stage:
        player = stage["player"]
        began = now()
        if way == "crash":
            player.tell(Flat(what=boom))
            player.tell(Note(number=1))
            await asyncio.sleep(1.9)
            assert part.starts == 1
            await asyncio.sleep(0.2)
            assert part.starts == 2
            assert part.notes == [1]
            assert isinstance(stage.diary.restarting[0][1], Crashed)  # a crash is never overwritten
        else:
            getattr(player, way)()
            assert forced(await player.wait_stopped())
            assert now() - began == pytest.approx(2.0, abs=0.01)
        assert gate.cancelled_at == [pytest.approx(began + 2.0, abs=0.01)]


@pytest.mark.asyncio
async def test_a_hook_that_raises_is_reported_and_the_reason_stays() -> None:
    part = Part(shutdown=boom)
    async with staged(part.spec()) as stage:
        player = stage["player"]
        player.tell(Flat(what=boom))
        await settle()
        assert part.starts == 2
        player.stop()
        assert isinstance(await player.wait_stopped(), Shutdown)
        assert [(path, type(error)) for path, error in stage.diary.failed_hooks] == [(player.path, Boom)] * 2
        assert len(stage.diary.crashed) == 1


@pytest.mark.asyncio
async def test_the_hook_may_be_a_plain_method() -> None:
    told: list[ExitReason] = []

    class Plain(Actor[Note]):
        def shutdown(self, reason: ExitReason) -> None:
            told.append(reason)

        @handler
        def note(self, message: Note) -> None: ...

    async with ActorSystem() as system:
        ref = await system.spawn(Plain)
        ref.stop()
        await ref.wait_stopped()
    assert [type(reason) for reason in told] == [Shutdown]


@pytest.mark.asyncio
async def test_a_plain_hook_that_raises_is_reported_and_the_reason_stays() -> None:
    class Plain(Actor[Note]):
        def shutdown(self, reason: ExitReason) -> None:
            raise Boom

        @handler
        def note(self, message: Note) -> None:
            raise LookupError

    diary = Diary()
    async with ActorSystem(instruments=[diary]) as system:
        ref = await system.spawn(Plain)
        ref.tell(Note(number=1))
        await settle()
        assert (ref.status, len(diary.restarting)) == ("running", 1)
        ref.stop()
        assert isinstance(await ref.wait_stopped(), Shutdown)
    assert [(path, type(error)) for path, error in diary.failed_hooks] == [("/user/plain", Boom)] * 2


@pytest.mark.asyncio
async def test_no_message_is_handled_while_the_hook_runs() -> None:
    gate = Gate()
    part = Part(shutdown=lambda actor: gate() if actor.incarnation == 1 else None)
    async with staged(part.spec()) as stage:
        player = stage["player"]
        player.tell(Flat(what=boom))
        player.tell(Note(number=1))
        await gate.reached.wait()
        await settle()
        assert part.notes == []
        gate.open()
        await settle()
        assert part.notes_by_incarnation == {2: [1]}


@pytest.mark.asyncio
async def test_a_kill_cuts_the_hook_short() -> None:
    gate = Gate()
    part = Part(shutdown=gate)
    async with staged(part.spec()) as stage:
        player = stage["player"]
        player.stop()
        await gate.reached.wait()
        began = now()
        player.kill()
        assert forced(await player.wait_stopped())
        assert now() == began
        assert part.journal[-1] == "player stops"
        assert part.starts == 1


# A stop while the actor starts.


@pytest.mark.parametrize("way", ["stop", "kill"])
@pytest.mark.asyncio
async def test_a_stop_during_the_first_start_cancels_initialize_at_once(way: str) -> None:
    gate = Gate()
    refs: list[ActorRef[Any]] = []

    def start(actor: Player) -> object:
        refs.append(actor.context.ref)
        return gate()

    part = Part(initialize=start)
    async with ActorSystem() as system:
        spawning = asyncio.ensure_future(system.spawn(part.spec()))
        await gate.reached.wait()
        [ref] = refs
        assert ref.status == "starting"
        assert ref.tell(Note(number=1)) is True
        await asyncio.sleep(1.0)
        began = now()
        getattr(ref, way)()
        with pytest.raises((StartError, ActorStopped)):
            await spawning
        assert now() == began
        assert gate.cancelled_at == [began]
        await ref.wait_stopped()
        assert part.ends == []
        assert part.notes == []
        assert (part.starts, ref.status) == (1, "stopped")
        assert system.find("player", Player) is None


@pytest.mark.asyncio
async def test_a_stop_during_a_restart_cancels_initialize_at_once_and_ends_for_good() -> None:
    gate = Gate()
    part = Part(initialize=lambda actor: gate() if actor.incarnation == 2 else None)
    async with staged(part.spec(), max_restarts=10) as stage:
        player = stage["player"]
        player.tell(Flat(what=boom))
        player.tell(Note(number=1))
        await gate.reached.wait()
        began = now()
        player.stop()
        await player.wait_stopped()
        assert now() == began
        assert gate.cancelled_at == [began]
        assert len(part.ends) == 1  # of the first incarnation, after the crash
        assert part.starts == 2
        assert stage.diary.lost_notes() == [1]
        await asyncio.sleep(10)
        assert part.starts == 2


@pytest.mark.asyncio
async def test_a_supervisor_that_is_stopped_while_a_child_starts_stops_those_that_are_up() -> None:
    journal: list[str] = []
    gate = Gate()
    a, b = Part("a", journal), Part("b", journal, initialize=gate)
    refs: list[ActorRef[Any]] = []

    class Above(Supervisor):
        def initialize(self) -> None:
            refs.append(self.context.ref)

        def children(self) -> Any:
            return [a.spec(), b.spec()]

    async with ActorSystem() as system:
        spawning = asyncio.ensure_future(system.spawn(Above))
        await gate.reached.wait()
        began = now()
        refs[0].stop()
        with pytest.raises((StartError, ActorStopped)):
            await spawning
        assert now() == began
        assert journal == ["a starts", "a up", "b starts", "a stops", "a down"]
        assert len(gate.cancelled_at) == 1


# Force.


@pytest.mark.asyncio
async def test_a_forced_end_keeps_the_first_reason_inside_it() -> None:
    gate = Gate()
    part = Part()
    async with staged(part.spec()) as stage:
        player = stage["player"]
        player.tell(Call(what=gate))
        await gate.reached.wait()
        player.stop()
        player.kill()
        assert forced(await player.wait_stopped())
        assert part.starts == 1  # asked to end for good, and then only by force


@pytest.mark.asyncio
async def test_a_kill_without_an_earlier_reason_is_just_that() -> None:
    part = Part()
    async with staged(part.spec(restart="temporary")) as stage:
        stage["player"].kill()
        await settle()
        assert stage.diary.reasons("/user/top/player") == [Killed()]


@pytest.mark.asyncio
async def test_killing_a_parent_kills_its_children_and_theirs() -> None:
    journal: list[str] = []
    gates = Gate(), Gate()
    diary = Diary()
    parts = [Part(name, journal) for name in "abc"]

    async def spawn(part: Part, under: ActorRef[Any]) -> Any:
        return await under.ask(Call(what=lambda actor: actor.context.spawn(part.spec(shutdown="infinity"))))

    async with ActorSystem(instruments=[diary]) as system:
        a = await system.spawn(parts[0].spec(restart="temporary"))
        b = await spawn(parts[1], a)
        c = await spawn(parts[2], b)
        journal.clear()
        b.tell(Call(what=gates[0]))
        c.tell(Call(what=gates[1]))
        c.tell(Note(number=1))
        for gate in gates:
            await gate.reached.wait()
        began = now()
        a.kill()
        await a.wait_stopped()
        assert now() == began
        assert journal == []  # no hook
        assert [path for path, _ in diary.stopped] == [c.path, b.path, a.path]
        assert all(isinstance(reason, Killed) for _, reason in diary.stopped)
        assert [len(gate.cancelled_at) for gate in gates] == [1, 1]
        assert diary.lost_notes() == [1]
        assert [part.starts for part in parts] == [1, 1, 1]


@pytest.mark.asyncio
async def test_killing_a_supervisor_kills_its_children() -> None:
    journal: list[str] = []
    a, b = Part("a", journal), Part("b", journal)
    inner = supervisor("inner", a.spec(), b.spec()).options(restart="temporary")
    async with staged(inner) as stage:
        first, second = stage["inner/a"], stage["inner/b"]
        journal.clear()
        below = stage.system.lookup("top/inner", Supervisor)
        below.kill()
        assert isinstance(await below.wait_stopped(), Killed)
        assert journal == []
        assert isinstance(await first.wait_stopped(), Killed)
        assert isinstance(await second.wait_stopped(), Killed)
        assert (a.starts, b.starts) == (1, 1)


@pytest.mark.asyncio
async def test_a_kill_while_the_children_of_a_stopping_actor_take_their_time_cuts_them_short() -> None:
    gate = Gate()
    parent, below = Part("parent"), Part("below", shutdown=gate)
    async with ActorSystem(settings=Settings(shutdown_timeout=100.0)) as system:
        above = await system.spawn(parent.spec(shutdown=50.0))
        child: Any = await above.ask(Call(what=lambda actor: actor.context.spawn(below.spec(shutdown=40.0))))
        above.stop()
        await gate.reached.wait()
        began = now()
        above.kill()
        assert forced(await above.wait_stopped())
        assert isinstance(await child.wait_stopped(), Killed)
        assert now() == began
        assert parent.ends == []
