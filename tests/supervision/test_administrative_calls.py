"""The administrative calls of a supervisor answer by the state of the child, however it has come into that state."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from tenacity import wait_fixed

from tests.guarantees.cast_of_supervision import (
    Boom,
    Call,
    Flat,
    Gate,
    Note,
    Part,
    Player,
    Troupe,
    boom,
    now,
    settle,
    stop_yourself,
    takes,
)
from tests.guarantees.cast_of_trees import Guest, Stage, first, guest, later, listed, only, staged
from understudy import (
    ActorRef,
    ActorStopped,
    ActorSystem,
    AskCycle,
    ChildAlreadyPresent,
    ChildAlreadyStarted,
    ChildCounts,
    ChildError,
    ChildNotFound,
    ChildRestarting,
    ChildRunning,
    ChildSpec,
    Ignore,
    InvalidSpec,
    InvalidTimeout,
    Killed,
    Shutdown,
    StartError,
    SupervisorRef,
    child,
    supervisor,
)

Bring = Callable[[Stage], Awaitable[object]]


@dataclass
class Case:
    """A supervisor with the child `a` among others, and how `a` is brought into its state."""

    a: Part
    specs: list[ChildSpec[Any]]
    bring: Bring
    how: dict[str, Any] = field(default_factory=dict[str, Any])
    gates: list[Gate] = field(default_factory=list[Gate])
    """What holds somebody; opened at the end."""


async def nothing(stage: Stage) -> None:
    """It is in that state as soon as it has started."""


def tell(name: str, what: Callable[..., object]) -> Bring:
    async def bring(stage: Stage) -> None:
        stage[name].tell(Flat(what=what))
        await settle()

    return bring


async def stop_a(stage: Stage) -> None:
    stage["a"].stop()
    await settle()


def ignore(*_: object) -> Ignore:
    return Ignore()


# Ways to be running.


def declared() -> Case:
    a = Part("a")
    return Case(a, [guest(a), Part("b").spec()], nothing)


def added_at_run_time() -> Case:
    a = Part("a")

    async def bring(stage: Stage) -> None:
        await stage.top.start_child(guest(a))

    return Case(a, [Part("b").spec()], bring)


def restarted_after_a_crash() -> Case:
    a = Part("a")
    return Case(a, [guest(a)], tell("a", boom))


def restarted_with_its_group() -> Case:
    a = Part("a")
    return Case(a, [guest(a), Part("b").spec()], tell("b", boom), {"strategy": "one_for_all"})


def restarted_by_hand() -> Case:
    a = Part("a")

    async def bring(stage: Stage) -> None:
        await stop_a(stage)
        await stage.top.restart_child("a")

    return Case(a, [guest(a)], bring)


def resumed() -> Case:
    a = Part("a")
    return Case(a, [guest(a, on_failure={Boom: "resume"})], tell("a", boom))


def busy() -> Case:
    a, gate = Part("a"), Gate()

    async def bring(stage: Stage) -> None:
        stage["a"].tell(Call(what=gate))
        await gate.reached.wait()

    return Case(a, [guest(a)], bring, gates=[gate])


RUNNING = [
    declared,
    added_at_run_time,
    restarted_after_a_crash,
    restarted_with_its_group,
    restarted_by_hand,
    resumed,
    busy,
]


# Ways to be not running, with the spec kept.


def terminated() -> Case:
    a = Part("a")

    async def bring(stage: Stage) -> None:
        await stage.top.terminate_child("a")

    return Case(a, [Part("z").spec(), guest(a), Part("b").spec()], bring)


def stopped_by_its_ref() -> Case:
    a = Part("a")
    return Case(a, [guest(a)], stop_a)


def drained() -> Case:
    a = Part("a")

    async def bring(stage: Stage) -> None:
        stage["a"].drain()
        await settle()

    return Case(a, [guest(a)], bring)


def ended_normally() -> Case:
    a = Part("a")
    return Case(a, [guest(a, restart="transient")], tell("a", stop_yourself))


def added_and_terminated() -> Case:
    a = Part("a")

    async def bring(stage: Stage) -> None:
        await stage.top.start_child(guest(a))
        await stage.top.terminate_child("a")

    return Case(a, [Part("b").spec()], bring)


def ignored() -> Case:
    a = Part("a", initialize=first(ignore))
    return Case(a, [guest(a), Part("b").spec()], nothing)


def added_and_ignored() -> Case:
    a = Part("a", initialize=first(ignore))

    async def bring(stage: Stage) -> None:
        await stage.top.start_child(guest(a))

    return Case(a, [Part("b").spec()], bring)


def ignored_at_a_restart() -> Case:
    a = Part("a", initialize=only(2, ignore))
    return Case(a, [guest(a)], tell("a", boom))


def stopped_by_a_directive() -> Case:
    a = Part("a")
    return Case(a, [guest(a, on_failure={Boom: "stop"})], tell("a", boom))


def out_of_its_own_restarts() -> Case:
    a = Part("a")
    return Case(a, [guest(a, max_restarts=0)], tell("a", boom))


def not_started_by_hand() -> Case:
    a = Part("a", initialize=only(2, boom))

    async def bring(stage: Stage) -> None:
        await stop_a(stage)
        with pytest.raises(StartError):
            await stage.top.restart_child("a")

    return Case(a, [guest(a)], bring)


def terminated_in_its_delay() -> Case:
    a = Part("a")

    async def bring(stage: Stage) -> None:
        stage["a"].tell(Flat(what=boom))
        await settle()
        await stage.top.terminate_child("a")

    return Case(a, [guest(a, backoff=wait_fixed(10))], bring)


def abandoned_while_it_stopped() -> Case:
    a, gate = Part("a"), Gate(resists=float("inf"))

    async def bring(stage: Stage) -> None:
        ref = stage["a"]
        ref.tell(Call(what=gate))
        await gate.reached.wait()
        ref.stop()
        await ref.wait_stopped()

    return Case(a, [guest(a)], bring, gates=[gate])


IDLE = [
    terminated,
    stopped_by_its_ref,
    drained,
    ended_normally,
    added_and_terminated,
    ignored,
    added_and_ignored,
    ignored_at_a_restart,
    stopped_by_a_directive,
    out_of_its_own_restarts,
    not_started_by_hand,
    terminated_in_its_delay,
    abandoned_while_it_stopped,
]


# Ways to be restarting.


def in_its_delay() -> Case:
    a = Part("a")
    return Case(a, [guest(a, backoff=wait_fixed(10)), Part("b").spec()], tell("a", boom))


def in_a_delay_that_never_ends() -> Case:
    a = Part("a")
    return Case(a, [guest(a, backoff=lambda state: float("inf"), reset_after=1.0)], tell("a", boom))


def in_the_delay_after_a_failed_start() -> Case:
    a = Part("a", initialize=only(2, boom))

    async def bring(stage: Stage) -> None:
        stage["a"].tell(Flat(what=boom))
        await asyncio.sleep(10.1)
        assert a.starts == 2

    return Case(a, [guest(a, backoff=wait_fixed(10))], bring)


def in_its_next_initialize() -> Case:
    gate = Gate()
    a = Part("a", initialize=later(gate))
    return Case(a, [guest(a)], tell("a", boom), gates=[gate])


def in_a_group_that_stops() -> Case:
    a, gate = Part("a"), Gate()
    b = Part("b", shutdown=first(gate))
    return Case(a, [guest(a), b.spec()], tell("a", boom), {"strategy": "one_for_all"}, [gate])


def in_a_group_before_its_turn() -> Case:
    a, gate = Part("a"), Gate()
    z = Part("z", initialize=later(gate))
    return Case(a, [z.spec(), guest(a)], tell("a", boom), {"strategy": "one_for_all"}, [gate])


def in_a_group_in_its_initialize() -> Case:
    gate = Gate()
    a, z = Part("a", initialize=later(gate)), Part("z")
    return Case(a, [z.spec(), guest(a)], tell("z", boom), {"strategy": "rest_for_one"}, [gate])


def in_a_group_in_its_delay() -> Case:
    a, z = Part("a"), Part("z")
    specs = [z.spec(backoff=wait_fixed(10)), guest(a)]
    return Case(a, specs, tell("z", boom), {"strategy": "rest_for_one"})


def stopped_and_called_back_by_its_group() -> Case:
    gate = Gate()
    a, z = Part("a", initialize=later(gate)), Part("z")

    async def bring(stage: Stage) -> None:
        await stop_a(stage)
        stage["z"].tell(Flat(what=boom))
        await gate.reached.wait()

    return Case(a, [z.spec(), guest(a)], bring, {"strategy": "one_for_all"}, [gate])


def stopped_and_waiting_for_its_turn_in_a_group() -> Case:
    gate = Gate()
    a, z = Part("a"), Part("z", initialize=later(gate))

    async def bring(stage: Stage) -> None:
        await stop_a(stage)
        stage["z"].tell(Flat(what=boom))
        await gate.reached.wait()

    return Case(a, [z.spec(), guest(a)], bring, {"strategy": "one_for_all"}, [gate])


RESTARTING = [
    in_its_delay,
    in_a_delay_that_never_ends,
    in_the_delay_after_a_failed_start,
    in_its_next_initialize,
    in_a_group_that_stops,
    in_a_group_before_its_turn,
    in_a_group_in_its_initialize,
    in_a_group_in_its_delay,
    stopped_and_called_back_by_its_group,
    stopped_and_waiting_for_its_turn_in_a_group,
]


class Played:
    """A case whose child is in its state."""

    def __init__(self, case: Case, stage: Stage) -> None:
        self.case, self.stage, self.a = case, stage, case.a
        self.top = stage.top

    async def status(self) -> str | None:
        return (await listed(self.top)).get("a")

    async def refuses(self, call: Awaitable[object], error: type[ChildError]) -> ChildError:
        """The call raises that, at once, and nothing has changed."""
        before = await listed(self.top), self.a.starts, now()
        with pytest.raises(error) as caught:
            await call
        assert type(caught.value) is error
        assert (caught.value.supervisor, caught.value.name) == ("/user/top", "a")
        assert (await listed(self.top), self.a.starts, now()) == before
        return caught.value


async def play(way: Callable[[], Case], act: Callable[[Played], Awaitable[None]]) -> None:
    case = way()
    async with staged(*case.specs, **{"max_restarts": 10, **case.how}) as stage:
        await case.bring(stage)
        await settle()
        await act(Played(case, stage))
        for gate in case.gates:
            gate.open()
        await settle()


def ways(all_of_them: list[Callable[[], Case]]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("way", all_of_them, ids=lambda way: way.__name__)


# What is listed.


@ways([*RUNNING, *IDLE, *RESTARTING])
@pytest.mark.asyncio
async def test_a_child_is_listed_with_its_status_and_counted(way: Callable[[], Case]) -> None:
    async def act(played: Played) -> None:
        expected = "running" if way in RUNNING else "stopped" if way in IDLE else "restarting"
        [info] = [info for info in await played.top.which_children() if info.name == "a"]
        assert (info.status, info.actor, info.supervisor) == (expected, "Guest", False)
        if way in IDLE:
            assert info.ref is None
            assert played.stage.system.find("top/a", Player) is None
        elif way is not stopped_and_waiting_for_its_turn_in_a_group:
            assert info.ref == played.stage["a"]
            assert info.ref is not None
            # A new actor under an old name is on its first way up, whatever the supervisor says of the child.
            own = "starting" if way is stopped_and_called_back_by_its_group else expected
            assert info.ref.status == own
        everybody = await listed(played.top)
        up = sum(status == "running" for status in everybody.values())
        counts = ChildCounts(specs=len(everybody), active=up, supervisors=0, workers=len(everybody))
        told = await played.top.count_children()
        assert (told.specs, told.supervisors, told.workers) == (counts.specs, 0, counts.workers)
        # One that is on its way down is up or not, as one sees it.
        stopping = sum(status == "stopping" for status in everybody.values())
        assert up <= told.active <= up + stopping

    await play(way, act)


@ways([*RUNNING, *IDLE, *RESTARTING])
@pytest.mark.asyncio
async def test_the_spec_of_a_child_can_be_had_in_every_state(way: Callable[[], Case]) -> None:
    async def act(played: Played) -> None:
        spec = await played.top.get_childspec("a")
        assert (spec.name, spec.factory, spec.args) == ("a", Guest, (played.a,))

    await play(way, act)


# start_child


@ways(RUNNING)
@pytest.mark.asyncio
async def test_start_child_of_a_running_child_is_refused_with_its_ref(way: Callable[[], Case]) -> None:
    async def act(played: Played) -> None:
        other = Part("a")
        error = await played.refuses(played.top.start_child(other.spec()), ChildAlreadyStarted)
        assert isinstance(error, ChildAlreadyStarted)
        assert error.ref == played.stage["a"]
        assert error.ref.status == "running"
        assert other.starts == 0

    await play(way, act)


@ways([*IDLE, *RESTARTING])
@pytest.mark.asyncio
async def test_start_child_of_one_that_is_not_running_is_refused(way: Callable[[], Case]) -> None:
    async def act(played: Played) -> None:
        other = Part("a")
        await played.refuses(played.top.start_child(other.spec()), ChildAlreadyPresent)
        assert other.starts == 0

    await play(way, act)


# terminate_child


@ways(RUNNING)
@pytest.mark.asyncio
async def test_terminate_child_ends_a_running_child_for_good_and_keeps_its_spec(way: Callable[[], Case]) -> None:
    async def act(played: Played) -> None:
        ref = played.stage["a"]
        starts, restarts = played.a.starts, len(played.stage.diary.restarting)
        assert await played.top.terminate_child("a") is None  # type: ignore[func-returns-value]
        assert ref.status == "stopped"
        assert played.stage.system.find("top/a", Player) is None
        assert isinstance(await ref.wait_stopped(), Shutdown | Killed)
        assert ref.tell(Note(number=1)) is False
        await asyncio.sleep(100)
        assert await played.status() == "stopped"
        assert played.a.starts == starts
        assert len(played.stage.diary.restarting) == restarts
        assert "running" in {played.top.status, *(await listed(played.top)).values()}

    await play(way, act)


@ways(IDLE)
@pytest.mark.asyncio
async def test_terminate_child_leaves_one_that_is_not_running_as_it_is(way: Callable[[], Case]) -> None:
    async def act(played: Played) -> None:
        before = await listed(played.top), now(), played.a.starts, list(played.a.ends)
        await played.top.terminate_child("a")
        await played.top.terminate_child("a")
        assert (await listed(played.top), now(), played.a.starts, list(played.a.ends)) == before

    await play(way, act)


@ways(RESTARTING)
@pytest.mark.asyncio
async def test_terminate_child_cancels_a_restart_at_once(way: Callable[[], Case]) -> None:
    async def act(played: Played) -> None:
        starts, began = played.a.starts, now()
        await played.top.terminate_child("a")
        assert now() - began < 0.1
        assert await played.status() == "stopped"
        assert played.stage.system.find("top/a", Player) is None
        for gate in played.case.gates:
            gate.open()
        await asyncio.sleep(100)
        assert await played.status() == "stopped"
        assert played.a.starts == starts
        assert played.top.status == "running"
        # The others are where they belong, whatever has become of this one.
        assert {status for name, status in (await listed(played.top)).items() if name != "a"} <= {"running"}
        # And it can be called back.
        back = await played.top.restart_child("a")
        assert back.status == "running"

    await play(way, act)


@ways(RESTARTING)
@pytest.mark.asyncio
async def test_a_terminated_restart_makes_its_messages_dead_letters(way: Callable[[], Case]) -> None:
    async def act(played: Played) -> None:
        ref = played.stage.system.find("top/a", Player)
        if ref is None:  # it had been stopped before: nobody could write to it
            assert way is stopped_and_waiting_for_its_turn_in_a_group
            return
        asked = asyncio.ensure_future(ref.ask(Flat(what=lambda actor: "never"), timeout=1000))
        assert ref.tell(Note(number=1)) is True
        await settle()
        await played.top.terminate_child("a")
        with pytest.raises(ActorStopped):
            await asked
        assert played.stage.diary.lost_notes() == [1]
        assert played.a.notes == []
        await ref.wait_stopped()

    await play(way, act)


@pytest.mark.asyncio
async def test_terminate_child_with_a_timeout_uses_force_when_it_is_over() -> None:
    a, gate = Part("a"), Gate()
    async with staged(a.spec(shutdown="infinity")) as stage:
        ref = stage["a"]
        ref.tell(Call(what=gate))
        await gate.reached.wait()
        began = now()
        await stage.top.terminate_child("a", timeout=2.0)
        assert now() - began == pytest.approx(2.0, abs=0.01)
        assert isinstance(await ref.wait_stopped(), Killed)
        assert (gate.passed, len(gate.cancelled_at)) == (0, 1)
        assert await listed(stage.top) == {"a": "stopped"}
        assert a.starts == 1


@pytest.mark.asyncio
async def test_a_timeout_that_is_not_needed_does_no_harm() -> None:
    a = Part("a", shutdown=takes(1.0))
    async with staged(a.spec()) as stage:
        ref = stage["a"]
        await stage.top.terminate_child("a", timeout=2.0)
        again = await stage.top.restart_child("a")
        await asyncio.sleep(10)
        assert again.status == "running"
        assert isinstance(await ref.wait_stopped(), Shutdown)


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), "5"])
@pytest.mark.asyncio
async def test_a_bad_timeout_is_refused_before_anything_is_done(timeout: Any) -> None:
    a = Part("a")
    async with staged(a.spec()) as stage:
        with pytest.raises(InvalidTimeout):
            await stage.top.terminate_child("a", timeout=timeout)
        await settle()
        assert await listed(stage.top) == {"a": "running"}


@pytest.mark.asyncio
async def test_all_who_terminate_a_child_wait_for_the_same_end() -> None:
    gate = Gate()
    a = Part("a", shutdown=gate)
    async with staged(a.spec()) as stage:
        calls = [asyncio.ensure_future(stage.top.terminate_child("a")) for _ in range(3)]
        await gate.reached.wait()
        await settle()
        assert [call.done() for call in calls] == [False] * 3
        gate.open()
        await asyncio.gather(*calls)
        assert len(a.ends) == 1


@pytest.mark.asyncio
async def test_whoever_gives_up_waiting_for_a_termination_does_not_undo_it() -> None:
    gate = Gate()
    a = Part("a", shutdown=gate)
    async with staged(a.spec()) as stage:
        call = asyncio.ensure_future(stage.top.terminate_child("a"))
        await gate.reached.wait()
        call.cancel()
        await settle()
        assert call.cancelled()
        gate.open()
        await settle()
        assert await listed(stage.top) == {"a": "stopped"}


@pytest.mark.asyncio
async def test_a_child_can_be_named_by_its_ref_but_not_by_that_of_an_earlier_one() -> None:
    a = Part("a")
    async with staged(a.spec()) as stage:
        old = stage["a"]
        await stage.top.terminate_child(old)
        new = await stage.top.restart_child("a")
        with pytest.raises(ChildNotFound):
            await stage.top.terminate_child(old)
        assert new.status == "running"
        await stage.top.terminate_child(new)
        assert new.status == "stopped"


# restart_child


@ways(RUNNING)
@pytest.mark.asyncio
async def test_restart_child_of_a_running_child_is_refused(way: Callable[[], Case]) -> None:
    async def act(played: Played) -> None:
        await played.refuses(played.top.restart_child("a"), ChildRunning)

    await play(way, act)


@ways(IDLE)
@pytest.mark.asyncio
async def test_restart_child_starts_a_new_actor_and_does_not_count(way: Callable[[], Case]) -> None:
    async def act(played: Played) -> None:
        starts = played.a.starts
        restarts = len(played.stage.diary.restarting)
        order = list(await listed(played.top))
        ref = await played.top.restart_child("a")
        assert ref.status == "running"
        assert ref == played.stage["a"]
        assert played.a.starts == starts + 1
        assert await ref.ask(Flat(what=lambda actor: actor.context.incarnation)) == 1
        assert len(played.stage.diary.restarting) == restarts
        assert list(await listed(played.top)) == order  # where it was
        await played.refuses(played.top.restart_child("a"), ChildRunning)

    await play(way, act)


@ways(IDLE)
@pytest.mark.asyncio
async def test_a_failing_restart_child_leaves_the_spec_stopped_and_does_not_count(way: Callable[[], Case]) -> None:
    async def act(played: Played) -> None:
        restarts = len(played.stage.diary.restarting)
        played.a.initialize = boom
        for _ in range(20):  # more than the supervisor would allow
            with pytest.raises(StartError) as caught:
                await played.top.restart_child("a")
            assert isinstance(caught.value.__cause__, Boom)
            assert caught.value.path == "/user/top/a"
        assert await played.status() == "stopped"
        assert (played.top.status, len(played.stage.diary.restarting)) == ("running", restarts)
        played.a.initialize = None
        assert (await played.top.restart_child("a")).status == "running"

    await play(way, act)


@ways(RESTARTING)
@pytest.mark.asyncio
async def test_restart_child_of_one_that_is_being_restarted_is_refused(way: Callable[[], Case]) -> None:
    async def act(played: Played) -> None:
        await played.refuses(played.top.restart_child("a"), ChildRestarting)

    await play(way, act)


@pytest.mark.asyncio
async def test_a_child_restarted_by_hand_is_a_new_actor_under_the_old_name_and_supervised_as_before() -> None:
    a = Part("a")
    async with staged(a.spec()) as stage:
        old = stage["a"]
        await stage.top.terminate_child("a")
        new = await stage.top.restart_child("a")
        assert (old.path, old.status) == (new.path, "stopped")
        assert old.uid != new.uid
        assert old != new
        assert old.tell(Note(number=1)) is False
        new.tell(Flat(what=boom))
        new.tell(Note(number=2))
        await settle()
        assert a.notes == [2]
        assert new.status == "running"


# delete_child


@ways(RUNNING)
@pytest.mark.asyncio
async def test_delete_child_of_a_running_child_is_refused(way: Callable[[], Case]) -> None:
    async def act(played: Played) -> None:
        await played.refuses(played.top.delete_child("a"), ChildRunning)

    await play(way, act)


@ways(IDLE)
@pytest.mark.asyncio
async def test_delete_child_forgets_one_that_is_not_running(way: Callable[[], Case]) -> None:
    async def act(played: Played) -> None:
        others = [name for name in await listed(played.top) if name != "a"]
        assert await played.top.delete_child("a") is None  # type: ignore[func-returns-value]
        assert list(await listed(played.top)) == others
        assert (await played.top.count_children()).specs == len(others)
        for call in (
            played.top.terminate_child("a"),
            played.top.restart_child("a"),
            played.top.delete_child("a"),
            played.top.get_childspec("a"),
        ):
            await played.refuses(call, ChildNotFound)
        other = Part("a")
        ref = await played.top.start_child(other.spec())
        assert (ref.path, other.starts) == ("/user/top/a", 1)
        assert list(await listed(played.top)) == [*others, "a"]

    await play(way, act)


@ways(RESTARTING)
@pytest.mark.asyncio
async def test_delete_child_of_one_that_is_being_restarted_is_refused(way: Callable[[], Case]) -> None:
    async def act(played: Played) -> None:
        await played.refuses(played.top.delete_child("a"), ChildRestarting)

    await play(way, act)


@pytest.mark.asyncio
async def test_a_deleted_child_does_not_come_back_with_its_group() -> None:
    a, b = Part("a"), Part("b")
    async with staged(a.spec(), b.spec(), strategy="one_for_all") as stage:
        await stage.top.terminate_child("a")
        await stage.top.delete_child("a")
        stage["b"].tell(Flat(what=boom))
        await settle()
        assert (a.starts, b.starts) == (1, 2)
        assert await listed(stage.top) == {"b": "running"}


# Names that nobody has.


@pytest.mark.asyncio
async def test_every_call_but_start_child_knows_no_child_of_an_unknown_name() -> None:
    async with staged(Part("a").spec()) as stage:
        top = stage.top
        for call in (
            top.terminate_child("x"),
            top.restart_child("x"),
            top.delete_child("x"),
            top.get_childspec("x"),
            top.replace_childspec(Part("x").spec()),
        ):
            with pytest.raises(ChildNotFound) as caught:
                await call
            assert (caught.value.supervisor, caught.value.name) == ("/user/top", "x")
        x = Part("x")
        ref = await top.start_child(x.spec())
        assert (ref.path, ref.status, x.starts) == ("/user/top/x", "running", 1)
        assert await listed(top) == {"a": "running", "x": "running"}


@pytest.mark.asyncio
async def test_start_child_without_a_name_takes_the_first_that_is_free_of_running_and_listed_ones() -> None:
    async with staged(Part("player").spec()) as stage:
        first_one = await stage.top.start_child(Player, Part())
        await stage.top.terminate_child(first_one)
        second = await stage.top.start_child(Player, Part())
        assert [first_one.path, second.path] == ["/user/top/player-2", "/user/top/player-3"]


@pytest.mark.parametrize("how", ["constructor", "initialize", "deadline"])
@pytest.mark.asyncio
async def test_a_failing_start_child_discards_the_spec_and_does_not_count(how: str) -> None:
    x = Part("x", initialize={"constructor": None, "initialize": boom, "deadline": takes(100)}[how])
    if how == "constructor":
        x.construct = boom
    async with staged(Part("a").spec(), max_restarts=0) as stage:
        for _ in range(3):
            with pytest.raises(StartError):
                await stage.top.start_child(x.spec(start_timeout=1.0))
            assert await listed(stage.top) == {"a": "running"}
        assert stage.top.status == "running"
        assert stage.diary.restarting == []
        with pytest.raises(ChildNotFound):
            await stage.top.restart_child("x")


@pytest.mark.asyncio
async def test_a_start_child_whose_caller_gives_up_leaves_nothing() -> None:
    gate = Gate()
    x = Part("x", initialize=gate)
    async with staged(Part("a").spec()) as stage:
        call = asyncio.ensure_future(stage.top.start_child(x.spec()))
        await gate.reached.wait()
        call.cancel()
        await settle()
        assert call.cancelled()
        assert await listed(stage.top) == {"a": "running"}
        assert len(gate.cancelled_at) == 1


@pytest.mark.asyncio
async def test_a_restart_child_whose_caller_gives_up_leaves_the_spec_stopped() -> None:
    gate = Gate()
    a = Part("a", initialize=later(gate))
    async with staged(a.spec()) as stage:
        await stage.top.terminate_child("a")
        call = asyncio.ensure_future(stage.top.restart_child("a"))
        await gate.reached.wait()
        call.cancel()
        await settle()
        assert await listed(stage.top) == {"a": "stopped"}
        gate.open()
        assert (await stage.top.restart_child("a")).status == "running"


# On the way up for the first time, and on the way down.


@pytest.mark.parametrize("how", ["start_child", "restart_child"])
@pytest.mark.asyncio
async def test_a_child_that_starts_by_hand_has_its_name_already(how: str) -> None:
    gate = Gate()
    a = Part("a", initialize=gate if how == "start_child" else later(gate))
    specs = [] if how == "start_child" else [a.spec()]
    async with staged(*specs) as stage:
        if how == "restart_child":
            await stage.top.terminate_child("a")
        call: asyncio.Future[ActorRef[Any]] = asyncio.ensure_future(
            stage.top.start_child(a.spec()) if how == "start_child" else stage.top.restart_child("a")
        )
        await gate.reached.wait()
        assert await listed(stage.top) == {"a": "starting"}
        assert (await stage.top.count_children()).active == 0
        with pytest.raises(ChildAlreadyStarted):
            await stage.top.start_child(a.spec())
        for refused in (stage.top.restart_child("a"), stage.top.delete_child("a")):
            with pytest.raises(ChildRunning):
                await refused
        assert not call.done()
        gate.open()
        ref = await call
        assert (ref.status, len(gate.cancelled_at)) == ("running", 0)


@pytest.mark.parametrize("how", ["start_child", "restart_child"])
@pytest.mark.asyncio
async def test_a_start_by_hand_can_be_terminated_and_its_starter_hears_of_it(how: str) -> None:
    gate = Gate()
    a = Part("a", initialize=gate if how == "start_child" else later(gate))
    specs = [] if how == "start_child" else [a.spec()]
    async with staged(*specs) as stage:
        if how == "restart_child":
            await stage.top.terminate_child("a")
        call = asyncio.ensure_future(
            stage.top.start_child(a.spec()) if how == "start_child" else stage.top.restart_child("a")
        )
        await gate.reached.wait()
        began = now()
        await stage.top.terminate_child("a")
        assert now() - began < 0.1
        with pytest.raises(StartError):
            await call
        assert await listed(stage.top) == ({} if how == "start_child" else {"a": "stopped"})
        assert len(gate.cancelled_at) == 1


@pytest.mark.asyncio
async def test_a_child_on_its_way_down_has_its_name_until_it_has_ended() -> None:
    gate = Gate()
    a = Part("a", shutdown=first(gate))
    async with staged(a.spec()) as stage:
        ref = stage["a"]
        call = asyncio.ensure_future(stage.top.terminate_child("a"))
        await gate.reached.wait()
        assert await listed(stage.top) == {"a": "stopping"}
        with pytest.raises(ChildAlreadyStarted) as caught:
            await stage.top.start_child(a.spec())
        assert caught.value.ref == ref
        for refused in (stage.top.restart_child("a"), stage.top.delete_child("a")):
            with pytest.raises(ChildRunning):
                await refused
        assert not call.done()
        gate.open()
        await call
        assert (await stage.top.restart_child("a")).status == "running"


@pytest.mark.asyncio
async def test_a_child_that_is_told_to_stop_while_it_cleans_up_after_a_crash_does_not_come_back() -> None:
    gate = Gate()
    a = Part("a", shutdown=first(gate))
    async with staged(a.spec(), max_restarts=0) as stage:
        stage["a"].tell(Flat(what=boom))
        await gate.reached.wait()
        call = asyncio.ensure_future(stage.top.terminate_child("a"))
        await settle()
        gate.open()
        await call
        assert await listed(stage.top) == {"a": "stopped"}
        assert (a.starts, stage.top.status, stage.diary.restarting) == (1, "running", [])


# Temporary children.

ENDS: dict[str, Callable[[Stage, ActorRef[Any]], object]] = {
    "normal end": lambda stage, ref: ref.tell(Flat(what=stop_yourself)),
    "crash": lambda stage, ref: ref.tell(Flat(what=boom)),
    "kill": lambda stage, ref: ref.kill(),
    "stop": lambda stage, ref: ref.stop(),
    "drain": lambda stage, ref: ref.drain(),
    "terminate": lambda stage, ref: asyncio.ensure_future(stage.top.terminate_child("a")),
    "crash of the group": lambda stage, ref: stage["b"].tell(Flat(what=boom)),
}


@pytest.mark.parametrize("added", [False, True], ids=["declared", "added"])
@pytest.mark.parametrize("end", ENDS)
@pytest.mark.asyncio
async def test_the_spec_of_a_temporary_child_goes_with_it(end: str, added: bool) -> None:
    a, b = Part("a"), Part("b")
    specs = [a.spec(restart="temporary"), b.spec()]
    async with staged(*specs[added:], strategy="one_for_all") as stage:
        ref = await stage.top.start_child(specs[0]) if added else stage["a"]
        assert (await listed(stage.top))["a"] == "running"
        done = ENDS[end](stage, ref)
        if isinstance(done, asyncio.Future):
            await done
        await settle()
        assert ref.status == "stopped"
        assert await listed(stage.top) == {"b": "running"}
        for call in (
            stage.top.terminate_child("a"),
            stage.top.restart_child("a"),
            stage.top.delete_child("a"),
            stage.top.get_childspec("a"),
        ):
            with pytest.raises(ChildNotFound):
                await call
        assert a.starts == 1
        again = await stage.top.start_child(a.spec(restart="temporary"))
        assert (again.status, a.starts) == ("running", 2)
        assert again.uid != ref.uid


@pytest.mark.asyncio
async def test_a_running_temporary_child_answers_like_any_other() -> None:
    a = Part("a")
    async with staged(a.spec(restart="temporary")) as stage:
        with pytest.raises(ChildAlreadyStarted):
            await stage.top.start_child(a.spec())
        for refused in (stage.top.restart_child("a"), stage.top.delete_child("a")):
            with pytest.raises(ChildRunning):
                await refused
        assert (await stage.top.get_childspec("a")).get("restart") == "temporary"


# Counts


@pytest.mark.asyncio
async def test_supervisors_and_workers_are_counted_by_their_class_running_or_not() -> None:
    specs = [
        Part("a").spec(),
        supervisor("inner", Part("deep").spec()),
        child(Troupe, lambda incarnation: [], []).options(name="troupe"),
        Part("b").spec(restart="temporary"),
        guest(Part("idle", initialize=ignore)),
    ]
    async with staged(*specs) as stage:
        assert await stage.top.count_children() == ChildCounts(specs=5, active=4, supervisors=2, workers=3)
        await stage.top.terminate_child("inner")
        assert await stage.top.count_children() == ChildCounts(specs=5, active=3, supervisors=2, workers=3)
        await stage.top.terminate_child("b")
        assert await stage.top.count_children() == ChildCounts(specs=4, active=2, supervisors=2, workers=2)
        infos = {info.name: (info.actor, info.supervisor) for info in await stage.top.which_children()}
        assert infos["troupe"] == ("Troupe", True)
        assert infos["inner"][1] is True
        assert infos["a"] == ("Player", False)


@pytest.mark.asyncio
async def test_a_child_supervisor_is_given_as_a_ref_with_the_same_calls() -> None:
    async with staged(supervisor("inner", Part("deep").spec())) as stage:
        [info] = await stage.top.which_children()
        assert isinstance(info.ref, SupervisorRef)
        assert await listed(info.ref) == {"deep": "running"}
        with pytest.raises(ChildAlreadyStarted) as caught:
            await stage.top.start_child(supervisor("inner"))
        assert isinstance(caught.value.ref, SupervisorRef)


# replace_childspec


@pytest.mark.asyncio
async def test_a_replaced_spec_counts_from_the_next_start_on_and_ref_and_mailbox_stay() -> None:
    old, new = Part("a"), Part("a")
    async with staged(old.spec()) as stage:
        ref = stage["a"]
        await stage.top.replace_childspec(new.spec())
        assert (old.starts, new.starts) == (1, 0)
        assert (await stage.top.get_childspec("a")).args == (new,)
        ref.tell(Note(number=1))
        ref.tell(Flat(what=boom))
        ref.tell(Note(number=2))
        await settle()
        assert (old.starts, new.starts) == (1, 1)
        assert (old.notes, new.notes) == ([1], [2])
        assert stage["a"] == ref


@pytest.mark.asyncio
async def test_a_spec_is_replaced_for_a_stopped_child_too() -> None:
    old, new = Part("a"), Part("a")
    async with staged(old.spec()) as stage:
        await stage.top.terminate_child("a")
        await stage.top.replace_childspec(new.spec())
        await stage.top.restart_child("a")
        assert (old.starts, new.starts) == (1, 1)


@pytest.mark.parametrize(
    "spec",
    [child(Guest, Part()).options(name="a"), supervisor("a"), child(Player, Part())],
    ids=["another class", "a supervisor", "without a name"],
)
@pytest.mark.asyncio
async def test_a_spec_that_cannot_take_the_place_of_another_is_refused(spec: Any) -> None:
    a = Part("a")
    async with staged(a.spec()) as stage:
        with pytest.raises(InvalidSpec):
            await stage.top.replace_childspec(spec)
        assert await stage.top.get_childspec("a") == a.spec()
        stage["a"].tell(Flat(what=boom))
        await settle()
        assert a.starts == 2


@pytest.mark.parametrize(
    "options",
    [{"significant": True, "restart": "transient"}, {"depends_on": ["b"]}],
    ids=["significant without auto_shutdown", "depends_on without parallel_start"],
)
@pytest.mark.asyncio
async def test_a_spec_that_does_not_fit_the_supervisor_is_refused_by_every_call(options: dict[str, Any]) -> None:
    a, b = Part("a"), Part("b")
    async with staged(a.spec(), b.spec()) as stage:
        with pytest.raises(InvalidSpec):
            await stage.top.start_child(Part("x").spec(**options))
        with pytest.raises(InvalidSpec):
            await stage.top.replace_childspec(a.spec(**options))
        assert await listed(stage.top) == {"a": "running", "b": "running"}
        assert await stage.top.get_childspec("a") == a.spec()


# Who answers, and who cannot.


@pytest.mark.asyncio
async def test_a_supervisor_answers_at_once_while_its_own_handler_and_many_children_hang() -> None:
    gate = Gate()
    parts = [Part(f"c{number}", initialize=later(gate)) for number in range(100)]
    hanging = Part("hanging", shutdown=first(gate))

    class Busy(Troupe):
        pass

    busy_one = child(Busy, lambda incarnation: [*(part.spec() for part in parts), hanging.spec()], []).options(
        name="busy"
    )
    async with staged(busy_one) as stage:
        busy = stage.system.lookup("top/busy", Busy)
        assert isinstance(busy, SupervisorRef)
        await busy.replace_childspec(hanging.spec())
        # Ends asked for one by one, so that nothing counts.
        for part in parts[:50]:
            await busy.terminate_child(part.name)
        starting = [asyncio.ensure_future(busy.restart_child(part.name)) for part in parts[:50]]
        stopping = asyncio.ensure_future(busy.terminate_child("hanging"))
        await gate.reached.wait()
        await settle()
        began = now()
        statuses = await listed(busy)
        assert [status for name, status in statuses.items() if name != "hanging"] == ["starting"] * 50 + [
            "running"
        ] * 50
        assert statuses["hanging"] == "stopping"
        assert (await busy.count_children()).specs == 101
        await busy.start_child(Part("new").spec())
        await busy.terminate_child("new")
        await busy.delete_child("new")
        await busy.terminate_child("c3")
        assert now() - began < 0.1
        gate.open()
        results = await asyncio.gather(*starting, stopping, return_exceptions=True)
        assert sum(isinstance(each, StartError) for each in results) == 1  # c3


@pytest.mark.parametrize("end", ["stopped", "stopping", "given up"])
@pytest.mark.asyncio
async def test_a_supervisor_that_has_ended_or_is_about_to_answers_nobody(end: str) -> None:
    gate = Gate()
    a, b = Part("a", shutdown=gate), Part("b")
    async with staged(a.spec(), b.spec(), max_restarts=0) as stage:
        if end == "given up":
            stage["b"].tell(Flat(what=boom))
        else:
            stage.top.stop()
        await gate.reached.wait()
        if end == "stopped":
            gate.open()
            await stage.top.wait_stopped()
        top: Any = stage.top
        for call in (
            top.which_children,
            top.count_children,
            lambda: top.get_childspec("a"),
            lambda: top.start_child(Part("x").spec()),
            lambda: top.terminate_child("a"),
            lambda: top.restart_child("a"),
            lambda: top.delete_child("a"),
            lambda: top.replace_childspec(a.spec()),
        ):
            with pytest.raises(ActorStopped):
                await call()
        gate.open()
        await stage.top.wait_stopped()


@pytest.mark.asyncio
async def test_who_waits_for_a_call_hears_of_the_end_of_the_supervisor() -> None:
    gate = Gate()
    x = Part("x", initialize=gate)
    down = Gate()
    a = Part("a", shutdown=down)
    async with staged(a.spec()) as stage:
        starting = asyncio.ensure_future(stage.top.start_child(x.spec()))
        ending = asyncio.ensure_future(stage.top.terminate_child("a"))
        await gate.reached.wait()
        await down.reached.wait()
        stage.top.kill()
        await stage.top.wait_stopped()
        with pytest.raises((StartError, ActorStopped)):
            await starting
        await ending  # it has ended, as was asked
        assert len(gate.cancelled_at) == 1


@pytest.mark.asyncio
async def test_an_actor_that_would_wait_for_its_own_end_is_told_so() -> None:
    a = Part("a")
    async with staged(a.spec()) as stage:
        top = stage.top

        async def end_myself(actor: Any) -> str:
            with pytest.raises(AskCycle):
                await top.terminate_child("a")
            return "I live"

        assert await stage["a"].ask(Call(what=end_myself)) == "I live"
        await settle()
        assert await listed(top) == {"a": "running"}
        assert a.starts == 1


@pytest.mark.asyncio
async def test_an_actor_may_administer_its_siblings() -> None:
    a, b, x = Part("a"), Part("b"), Part("x")

    async def administer(actor: Any) -> object:
        top = actor.context.parent
        await top.terminate_child("b")
        await top.restart_child("b")
        await top.start_child(x.spec())
        return await listed(top)

    async with staged(a.spec(), b.spec()) as stage:
        assert await stage["a"].ask(Call(what=administer)) == {"a": "running", "b": "running", "x": "running"}
        assert (b.starts, x.starts) == (2, 1)


@pytest.mark.asyncio
async def test_a_start_that_waits_for_the_actor_that_waits_for_it_is_found() -> None:
    a = Part("a")

    async with staged(a.spec()) as stage:
        x = Part("x", initialize=lambda actor: stage["a"].ask(Flat(what=lambda other: "never")))

        async def start(actor: Any) -> object:
            return await actor.context.parent.start_child(x.spec())

        with pytest.raises((StartError, AskCycle, Exception)) as caught:
            await stage["a"].ask(Call(what=start))
        told: BaseException | None = caught.value
        while told is not None and not isinstance(told, AskCycle):
            told = told.__cause__
        assert isinstance(told, AskCycle)
        assert now() < 1.0


@pytest.mark.asyncio
async def test_an_actor_that_starts_and_asks_the_supervisor_that_waits_for_it_is_told_so_and_nothing_is_left() -> None:
    reported: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: reported.append(context))

    async def ask_above(actor: Any) -> None:
        await actor.context.parent.which_children()

    async with ActorSystem() as system:
        with pytest.raises(StartError) as caught:
            await system.spawn(supervisor("top", Part("a", initialize=ask_above).spec()))
        told: BaseException | None = caught.value
        while told is not None and not isinstance(told, AskCycle):
            told = told.__cause__
        assert isinstance(told, AskCycle)
    del caught, told
    gc.collect()  # a future with an error that nobody has fetched reports it when it is collected
    await settle()
    assert reported == []


# Children of run time are children like the declared ones.


@pytest.mark.asyncio
async def test_an_added_child_is_restarted_counted_and_stopped_in_its_place() -> None:
    journal: list[str] = []
    a, x = Part("a", journal), Part("x", journal)
    async with staged(a.spec(), max_restarts=1) as stage:
        ref = await stage.top.start_child(x.spec())
        uid = ref.uid
        ref.tell(Flat(what=boom))
        await settle()
        assert (x.starts, ref.uid, ref.status) == (2, uid, "running")
        journal.clear()
        ref.tell(Flat(what=boom))  # one too many, for all of them
        await stage.top.wait_stopped()
        assert journal == ["x stops", "x down", "a stops", "a down"]


@pytest.mark.parametrize("strategy", ["one_for_all", "rest_for_one"])
@pytest.mark.asyncio
async def test_an_added_child_belongs_to_the_group_behind_the_declared_ones(strategy: Any) -> None:
    journal: list[str] = []
    a, b, x = (Part(name, journal) for name in "abx")
    async with staged(a.spec(), b.spec(), strategy=strategy) as stage:
        ref = await stage.top.start_child(x.spec())
        journal.clear()
        stage["b"].tell(Flat(what=boom))
        await settle()
        assert x.starts == 2
        assert ref.status == "running"
        assert [step for step in journal if step.startswith("x")] == ["x stops", "x down", "x starts", "x up"]
        assert journal.index("x up") > journal.index("b up")
