"""D2: grace, cancel, cancel again, abandon: nothing can hang a shutdown for ever."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import pytest

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
    forced,
    now,
    settle,
    staged,
    stop_yourself,
    takes,
)
from understudy import (
    Actor,
    ActorFailed,
    ActorRef,
    ActorStopped,
    ActorSystem,
    Crashed,
    Killed,
    Settings,
    Shutdown,
    StartError,
    StartTimeout,
    supervisor,
)


def at(*times: float) -> Any:
    return pytest.approx(list(times), abs=0.01)


async def stop_while_in(gate: Gate, ref: ActorRef[Any]) -> float:
    """Have *ref* handle the gate, ask it to stop, and return how long that took."""
    ref.tell(Call(what=gate))
    await gate.reached.wait()
    began = now()
    ref.stop()
    await ref.wait_stopped()
    return now() - began


# The grace.


@pytest.mark.asyncio
async def test_a_handler_that_ends_within_the_grace_is_not_cancelled() -> None:
    part = Part()
    async with staged(part.spec()) as stage:
        player = stage["player"]
        asked = asyncio.ensure_future(player.ask(Call(what=takes(4.9)), timeout=100))
        await settle()
        player.stop()
        assert isinstance(await player.wait_stopped(), Shutdown)
        assert await asked == 4.9
        assert now() == pytest.approx(4.9, abs=0.01)
        assert part.journal[-1] == "player down"


@pytest.mark.parametrize(("settings", "option", "grace"), [(None, None, 5.0), (2.0, None, 2.0), (2.0, 3.0, 3.0)])
@pytest.mark.asyncio
async def test_the_grace_is_five_seconds_or_what_settings_or_spec_say(
    settings: float | None, option: float | None, grace: float
) -> None:
    gate = Gate()
    options = {} if option is None else {"shutdown": option}
    async with ActorSystem(settings=Settings() if settings is None else Settings(shutdown=settings)) as system:
        ref = await system.spawn(Part().spec(**options))
        assert await stop_while_in(gate, ref) == pytest.approx(grace, abs=0.01)
        assert forced(await ref.wait_stopped())
        assert len(gate.cancelled_at) == 1


@pytest.mark.asyncio
async def test_one_that_resists_is_cancelled_again_every_tenth_of_a_second() -> None:
    gate = Gate(resists=3)
    part = Part()
    async with staged(part.spec(shutdown=2.0)) as stage:
        player = stage["player"]
        player.tell(Call(what=gate))
        await gate.reached.wait()
        player.stop()
        assert forced(await player.wait_stopped())
        assert gate.cancelled_at == at(2.0, 2.1, 2.2, 2.3)
        assert now() == pytest.approx(2.3, abs=0.01)
        assert stage.diary.zombies == []
        assert stage.system.statistics().abandoned == 0
        assert part.ends == []


@pytest.mark.asyncio
async def test_the_interval_of_cancels_and_the_time_until_abandonment_can_be_set() -> None:
    gate = Gate(resists=STUBBORN)
    settings = Settings(cancel_interval=0.5, abandon_after=1.75)
    async with staged(Part().spec(shutdown=1.0), settings=settings) as stage:
        took = await stop_while_in(gate, stage["player"])
        assert took == pytest.approx(2.75, abs=0.01)
        assert gate.cancelled_at[:4] == at(1.0, 1.5, 2.0, 2.5)
        gate.open()
        await settle()


# Abandonment.


@pytest.mark.asyncio
async def test_one_that_resists_every_cancel_is_abandoned_one_second_after_the_grace() -> None:
    gate = Gate(resists=STUBBORN)
    part, other = Part(), Part("other")
    async with staged(part.spec(shutdown=2.0), other.spec(), max_restarts=0) as stage:
        player = stage["player"]
        watching = asyncio.ensure_future(player.wait_stopped())
        assert await stop_while_in(gate, player) == pytest.approx(3.0, abs=0.01)
        # Those who watch are told `Killed`.
        assert forced(await watching)
        # The zombie is counted, and reported with where it stands.
        assert stage.system.statistics().abandoned == 1
        [(path, stack)] = stage.diary.zombies
        assert path == player.path
        assert "__call__" in stack
        assert "cast_of_supervision.py" in stack
        assert [name for name in stage.system.abandoned if player.path in name] != []
        # The supervisor goes on, the sibling never noticed.
        assert (stage.top.status, other.starts) == ("running", 1)
        # The name is free.
        assert player.status == "stopped"
        assert stage.system.find("top/player", Player) is None
        assert player.path not in str(stage.system.tree())
        # It gets no more cancels, and asyncio does not wait for it.
        cancels = len(gate.cancelled_at)
        assert not any(player.path in task.get_name() for task in asyncio.all_tasks())
        await asyncio.sleep(10)
        assert len(gate.cancelled_at) == cancels
        assert part.ends == []
        gate.open()
        await settle()


@pytest.mark.asyncio
async def test_a_killed_one_that_resists_is_abandoned_after_one_second_and_restarted_under_its_name() -> None:
    gate = Gate(resists=STUBBORN)
    part = Part()
    async with staged(part.spec()) as stage:
        player = stage["player"]
        player.tell(Call(what=gate))
        player.tell(Note(number=1))
        await gate.reached.wait()
        player.kill()
        await asyncio.sleep(0.9)
        assert part.starts == 1
        await asyncio.sleep(0.2)
        assert part.starts == 2
        assert part.notes_by_incarnation == {2: [1]}
        assert gate.cancelled_at[:3] == at(0.0, 0.1, 0.2)
        assert len(stage.diary.zombies) == 1
        gate.open()
        await settle()
        assert part.notes == [1]


@pytest.mark.asyncio
async def test_the_name_of_an_abandoned_actor_can_be_used_while_the_zombie_lives() -> None:
    gate = Gate(resists=STUBBORN)
    first, second = Part(), Part()
    diary = Diary()
    async with ActorSystem(instruments=[diary]) as system:
        old = await system.spawn(first.spec(shutdown=1.0))
        await stop_while_in(gate, old)
        new = await system.spawn(second.spec())
        assert (new.path, new.uid == old.uid) == (old.path, False)
        assert await new.ask(Flat(what=lambda actor: actor.incarnation)) == 1
        gate.open()  # the zombie goes its way
        await settle()
        assert new.status == "running"
        assert await new.ask(Flat(what=lambda actor: actor.incarnation)) == 1


@pytest.mark.asyncio
async def test_the_context_of_a_zombie_is_detached() -> None:
    gate = Gate(resists=STUBBORN)
    outcomes: list[object] = []

    async def wait_and_meddle(actor: Actor[Any]) -> str:
        await gate()
        attempts: list[Callable[[], object]] = [
            lambda: actor.context.stop(),
            lambda: actor.context.spawn(Part("by-a-zombie").spec()),
            lambda: [ref.kill() for ref in actor.context.children],
        ]
        for attempt in attempts:
            try:
                outcome = attempt()
                outcomes.append(await outcome if asyncio.iscoroutine(outcome) else outcome)
            except Exception as error:
                outcomes.append(error)
        return "meddled"

    part = Part()
    async with staged(part.spec(), max_restarts=1) as stage:
        player = stage["player"]
        asked = asyncio.ensure_future(player.ask(Call(what=wait_and_meddle), timeout=100))
        await gate.reached.wait()
        player.kill()
        with pytest.raises((ActorFailed, ActorStopped)):
            await asked  # it is over for the asker as well
        await asyncio.sleep(2)
        assert part.starts == 2
        below: Any = await player.ask(Call(what=lambda actor: actor.context.spawn(Part("below").spec())))
        gate.open()
        await settle()
        assert len(outcomes) == 3
        # The new incarnation is untouched: not stopped, no child more, none less.
        assert player.status == "running"
        assert part.starts == 2
        assert below.status == "running"
        assert await player.ask(Flat(what=lambda actor: list(actor.context.children))) == [below]
        assert stage.system.find("top/player/by-a-zombie", Player) is None


@pytest.mark.parametrize("end", [boom, lambda: "late"])
@pytest.mark.asyncio
async def test_what_a_zombie_does_in_the_end_is_nobodys_crash_and_nobodys_reply(end: Callable[[], object]) -> None:
    gate = Gate(resists=STUBBORN)

    async def wait_and_end(_: object) -> object:
        await gate()
        return end()

    part = Part()
    async with staged(part.spec()) as stage:
        player = stage["player"]
        asked = asyncio.ensure_future(player.ask(Call(what=wait_and_end), timeout=100))
        await gate.reached.wait()
        player.kill()
        await asyncio.sleep(2)
        assert asked.done()
        with pytest.raises((ActorFailed, ActorStopped)):
            await asked
        crashes = len(stage.diary.crashed)
        gate.open()
        await settle()
        assert len(stage.diary.crashed) == crashes
        assert (player.status, part.starts) == ("running", 2)


@pytest.mark.asyncio
async def test_a_zombie_handles_no_further_message() -> None:
    gate = Gate(resists=STUBBORN)
    part = Part()
    async with staged(part.spec()) as stage:
        player = stage["player"]
        player.tell(Call(what=gate))
        await gate.reached.wait()
        player.kill()
        await asyncio.sleep(2)
        player.tell(Call(what=takes(1.0)))
        player.tell(Note(number=1))
        gate.open()
        await asyncio.sleep(2)
        assert part.notes_by_incarnation == {2: [1]}
        assert part.instances[0].memory == []  # type: ignore[attr-defined]


# The three kinds of grace.


@pytest.mark.asyncio
async def test_brutal_kill_gives_no_grace_and_runs_no_hook() -> None:
    gate = Gate()
    part = Part()
    async with staged(part.spec(shutdown="brutal_kill")) as stage:
        player = stage["player"]
        assert await stop_while_in(gate, player) == 0
        assert isinstance(await player.wait_stopped(), Killed)
        assert len(gate.cancelled_at) == 1
        assert part.ends == []
        assert part.starts == 1


@pytest.mark.asyncio
async def test_brutal_kill_of_an_idle_actor_runs_no_hook_either() -> None:
    part = Part()
    async with staged(part.spec(shutdown="brutal_kill")) as stage:
        player = stage["player"]
        player.stop()
        assert isinstance(await player.wait_stopped(), Killed)
        assert part.ends == []


@pytest.mark.asyncio
async def test_brutal_kill_of_one_that_resists_ends_in_abandonment_after_a_second() -> None:
    gate = Gate(resists=STUBBORN)
    async with staged(Part().spec(shutdown="brutal_kill")) as stage:
        assert await stop_while_in(gate, stage["player"]) == pytest.approx(1.0, abs=0.01)
        assert len(stage.diary.zombies) == 1
        gate.open()
        await settle()


@pytest.mark.asyncio
async def test_brutal_kill_is_about_stopping_a_crash_still_runs_the_hook() -> None:
    part = Part()
    async with staged(part.spec(shutdown="brutal_kill")) as stage:
        stage["player"].tell(Flat(what=boom))
        await settle()
        assert part.starts == 2
        assert stage["player"].status == "running"


@pytest.mark.asyncio
async def test_infinity_has_no_deadline_of_its_own() -> None:
    part = Part(shutdown=takes(3600.0))
    async with staged(part.spec(shutdown="infinity")) as stage:
        player = stage["player"]
        player.tell(Call(what=takes(3600.0)))
        await settle()
        player.stop()
        assert isinstance(await player.wait_stopped(), Shutdown)
        assert now() == pytest.approx(7200.0, abs=0.01)
        assert part.journal[-1] == "player down"


@pytest.mark.asyncio
async def test_infinity_is_still_cut_by_the_deadline_of_the_system() -> None:
    gate = Gate()
    async with ActorSystem() as system:
        ref = await system.spawn(Part().spec(shutdown="infinity"))
        ref.tell(Call(what=gate))
        await gate.reached.wait()
        began = now()
    assert now() - began <= 30.01
    assert isinstance(await ref.wait_stopped(), Killed)


@pytest.mark.asyncio
async def test_a_supervisor_waits_for_its_children_without_a_limit_of_its_own() -> None:
    parts = [Part(name, shutdown=takes(4.0)) for name in "abcde"]
    async with staged(*(part.spec() for part in parts)) as stage:
        stage.top.stop()
        assert isinstance(await stage.top.wait_stopped(), Shutdown)
        assert now() == pytest.approx(20.0, abs=0.01)
        assert [part.journal[-1] for part in parts] == [f"{name} down" for name in "abcde"]


@pytest.mark.asyncio
async def test_a_supervisor_may_be_given_a_grace() -> None:
    a, b = Part("a", shutdown=takes(4.0)), Part("b", shutdown=takes(4.0))
    async with staged(supervisor("inner", a.spec(), b.spec()).options(shutdown=6.0)) as stage:
        first = stage["inner/a"]
        stage.top.stop()
        await stage.top.wait_stopped()
        assert now() == pytest.approx(6.0, abs=0.01)
        assert b.journal[-1] == "b down"
        assert a.journal[-1] == "a stops"
        assert isinstance(await first.wait_stopped(), Killed)


# What may resist: handlers, hooks, `initialize`.


@pytest.mark.asyncio
async def test_a_shutdown_hook_that_resists_is_cancelled_again_and_abandoned() -> None:
    gate = Gate(resists=STUBBORN)
    part = Part(shutdown=gate)
    async with staged(part.spec(shutdown=2.0)) as stage:
        player = stage["player"]
        player.stop()
        assert forced(await player.wait_stopped())
        assert now() == pytest.approx(3.0, abs=0.01)
        assert gate.cancelled_at[:3] == at(2.0, 2.1, 2.2)
        [(path, stack)] = stage.diary.zombies
        assert path == player.path
        assert "in shutdown" in stack or "__call__" in stack
        gate.open()
        await settle()


@pytest.mark.asyncio
async def test_a_shutdown_hook_that_resists_after_a_crash_does_not_keep_the_actor_from_coming_back() -> None:
    gate = Gate(resists=STUBBORN)
    part = Part(shutdown=lambda actor: gate() if actor.incarnation == 1 else None)
    async with staged(part.spec(shutdown=2.0)) as stage:
        player = stage["player"]
        player.tell(Flat(what=boom))
        player.tell(Note(number=1))
        await asyncio.sleep(2.9)
        assert part.starts == 1
        await asyncio.sleep(0.2)
        assert part.starts == 2
        assert part.notes == [1]
        assert isinstance(stage.diary.restarting[0][1], Crashed)
        assert len(stage.diary.zombies) == 1
        gate.open()
        await settle()
        assert player.status == "running"


@pytest.mark.asyncio
async def test_an_initialize_that_resists_is_abandoned_one_second_after_its_deadline() -> None:
    gate = Gate(resists=STUBBORN)
    part = Part(initialize=gate)
    diary = Diary()
    async with ActorSystem(instruments=[diary]) as system:
        with pytest.raises(StartTimeout):
            await system.spawn(part.spec(start_timeout=3.0))
        assert now() == pytest.approx(4.0, abs=0.01)
        assert gate.cancelled_at[:3] == at(3.0, 3.1, 3.2)
        assert [path for path, _ in diary.zombies] == ["/user/player"]
        assert system.statistics().abandoned == 1
        again = Part()
        ref = await system.spawn(again.spec())  # the name is free
        gate.open()
        await settle()
        assert ref.status == "running"
        assert part.ends == []


@pytest.mark.asyncio
async def test_a_stop_of_one_whose_initialize_resists_takes_a_second() -> None:
    gate = Gate(resists=STUBBORN)
    part = Part(initialize=lambda actor: gate() if actor.incarnation == 2 else None)
    async with staged(part.spec()) as stage:
        player = stage["player"]
        player.tell(Flat(what=boom))
        await gate.reached.wait()
        began = now()
        player.stop()
        assert isinstance(await player.wait_stopped(), Killed)
        assert now() - began == pytest.approx(1.0, abs=0.01)
        assert gate.cancelled_at[:2] == at(began, began + 0.1)
        assert len(stage.diary.zombies) == 1
        gate.open()
        await settle()
        assert (part.starts, player.status) == (2, "stopped")


@pytest.mark.asyncio
async def test_an_initialize_that_swallows_one_cancel_and_returns_has_not_started() -> None:
    async def swallow(actor: object) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(100)

    part = Part(initialize=swallow)
    async with ActorSystem() as system:
        with pytest.raises(StartError):
            await system.spawn(part.spec(start_timeout=1.0))
        assert now() == pytest.approx(1.0, abs=0.01)
        assert system.find("player", Player) is None
        assert part.ends == []


@pytest.mark.asyncio
async def test_a_handler_that_resists_for_a_while_and_a_hook_share_one_clock() -> None:
    part = Part(shutdown=takes(100.0))
    async with staged(part.spec(shutdown=3.0)) as stage:
        player = stage["player"]
        player.tell(Call(what=takes(2.0)))
        await settle()
        began = now()
        player.stop()
        assert forced(await player.wait_stopped())
        assert now() - began == pytest.approx(3.0, abs=0.01)
        assert part.journal[-1] == "player stops"


@pytest.mark.asyncio
async def test_handler_children_and_hook_share_one_clock() -> None:
    parent = Part("parent", shutdown=takes(100.0))
    below = Part("below", shutdown=takes(1.0))
    async with staged(parent.spec(shutdown=4.0)) as stage:
        above = stage["parent"]
        await above.ask(Call(what=lambda actor: actor.context.spawn(below.spec())))
        above.tell(Call(what=takes(2.0)))
        await settle()
        began = now()
        above.stop()
        assert forced(await above.wait_stopped())
        assert now() - began == pytest.approx(4.0, abs=0.01)
        assert below.journal[-1] == "below down"
        assert parent.journal[-1] == "parent stops"  # the hook had the last second, and was cut


@pytest.mark.asyncio
async def test_children_that_outlast_the_grace_of_their_parent_are_killed_with_it() -> None:
    parent = Part("parent")
    below = Part("below", shutdown=takes(100.0))
    async with staged(parent.spec(shutdown=2.0)) as stage:
        above = stage["parent"]
        child: Any = await above.ask(Call(what=lambda actor: actor.context.spawn(below.spec(shutdown=20.0))))
        began = now()
        above.stop()
        assert forced(await above.wait_stopped())
        assert now() - began == pytest.approx(2.0, abs=0.01)
        assert isinstance(await child.wait_stopped(), Killed)
        assert parent.ends == []


@pytest.mark.asyncio
async def test_after_a_crash_the_grace_covers_children_and_hook() -> None:
    parent = Part("parent", shutdown=lambda actor: takes(100.0)() if actor.incarnation == 1 else None)
    below = Part("below", shutdown=takes(1.0))
    async with staged(parent.spec(shutdown=3.0)) as stage:
        above = stage["parent"]
        await above.ask(Call(what=lambda actor: actor.context.spawn(below.spec())))
        above.tell(Flat(what=boom))
        await asyncio.sleep(2.9)
        assert parent.starts == 1
        assert (below.journal[-1], parent.journal[-1]) == ("below down", "parent stops")
        await asyncio.sleep(0.2)
        assert parent.starts == 2


@pytest.mark.asyncio
async def test_children_of_a_plain_actor_that_will_not_end_are_abandoned_in_time() -> None:
    gate = Gate(resists=STUBBORN)
    parent, below = Part("parent"), Part("below")
    async with staged(parent.spec(shutdown=2.0)) as stage:
        above = stage["parent"]
        child: Any = await above.ask(Call(what=lambda actor: actor.context.spawn(below.spec(shutdown=1.0))))
        child.tell(Call(what=gate))
        await gate.reached.wait()
        began = now()
        above.stop()
        assert isinstance(await above.wait_stopped(), Shutdown | Killed)
        assert now() - began <= 3.01
        assert [path for path, _ in stage.diary.zombies] == [child.path]
        gate.open()
        await settle()


@pytest.mark.asyncio
async def test_one_that_ends_by_itself_during_its_grace_is_accepted() -> None:
    gate = Gate()

    async def wait_and_stop(actor: Actor[Any]) -> None:
        await gate()
        stop_yourself(actor)

    part = Part()
    async with staged(part.spec(), max_restarts=0) as stage:
        player = stage["player"]
        player.tell(Call(what=wait_and_stop))
        await gate.reached.wait()
        player.stop()
        await settle()
        gate.open()
        assert isinstance(await player.wait_stopped(), Shutdown)  # the first reason wins
        assert (part.starts, len(part.ends)) == (1, 1)
        assert stage.top.status == "running"


@pytest.mark.asyncio
async def test_one_that_crashes_during_its_grace_is_accepted_and_not_restarted() -> None:
    gate = Gate()

    async def wait_and_crash(actor: Actor[Any]) -> None:
        await gate()
        boom()

    part = Part()
    async with staged(part.spec(), max_restarts=0) as stage:
        player = stage["player"]
        player.tell(Call(what=wait_and_crash))
        await gate.reached.wait()
        player.stop()
        gate.open()
        await player.wait_stopped()
        await settle()
        assert part.starts == 1
        assert stage.top.status == "running"
        assert len(stage.diary.reasons(player.path)) == 1


@pytest.mark.asyncio
async def test_many_stubborn_actors_that_were_spawned_are_abandoned_at_the_same_time() -> None:
    gates = [Gate(resists=STUBBORN) for _ in range(20)]
    async with ActorSystem() as system:
        for number, gate in enumerate(gates):
            ref = await system.spawn(Part(f"child{number}").spec(shutdown=1.0))
            ref.tell(Call(what=gate))
            await gate.reached.wait()
        began = now()
        system.stop()
        await system.wait_stopped()
        assert now() - began == pytest.approx(2.0, abs=0.01)
        assert system.statistics().abandoned == 20
        assert len(system.abandoned) == 20
    for gate in gates:
        gate.open()
    await settle()


@pytest.mark.parametrize("depth", [2, 4])
@pytest.mark.asyncio
async def test_a_whole_family_that_resists_is_over_one_second_after_the_grace_of_its_head(depth: int) -> None:
    gates = [Gate(resists=STUBBORN) for _ in range(depth)]
    async with staged(Part("head").spec(shutdown=2.0)) as stage:
        family = [stage["head"]]
        for number in range(1, depth):
            spec = Part(f"child{number}").spec(shutdown=20.0)
            below: Any = await family[-1].ask(Call(what=lambda actor, spec=spec: actor.context.spawn(spec)))
            family.append(below)
        for ref, gate in zip(family, gates, strict=True):
            ref.tell(Call(what=gate))
            await gate.reached.wait()
        began = now()
        family[0].stop()
        assert forced(await family[0].wait_stopped())
        assert now() - began == pytest.approx(3.0, abs=0.01)
        assert {ref.status for ref in family} == {"stopped"}
        assert len(stage.diary.zombies) == depth
        for gate in gates:
            gate.open()
        await settle()


@pytest.mark.asyncio
async def test_the_children_of_a_killed_actor_are_killed_although_its_own_handler_resists() -> None:
    gates = [Gate(resists=STUBBORN), Gate()]
    head, below = Part("head"), Part("below")
    async with staged(head.spec(restart="temporary")) as stage:
        ref = stage["head"]
        child: Any = await ref.ask(Call(what=lambda actor: actor.context.spawn(below.spec())))
        for each, gate in zip((ref, child), gates, strict=True):
            each.tell(Call(what=gate))
            await gate.reached.wait()
        ref.kill()
        assert isinstance(await ref.wait_stopped(), Killed)
        assert now() == pytest.approx(1.0, abs=0.01)
        assert isinstance(await child.wait_stopped(), Killed)
        assert len(gates[1].cancelled_at) == 1
        gates[0].open()
        await settle()
