"""Requests that come while an actor is on its way up or down, and what must not be lost or come back."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest

from tests.guarantees.cast_of_supervision import (
    STUBBORN,
    Call,
    Flat,
    Gate,
    Note,
    Part,
    Player,
    boom,
    now,
    settle,
    staged,
    stop_yourself,
    takes,
)
from understudy import (
    Actor,
    ActorStopped,
    ActorSystem,
    ChildSpec,
    NameTaken,
    Shutdown,
    Supervisor,
    child,
    handler,
    supervisor,
)


@pytest.mark.parametrize("way", ["stop", "drain", "kill"])
@pytest.mark.asyncio
async def test_a_child_that_waits_for_its_turn_in_a_restart_of_its_supervisor_can_be_ended(way: str) -> None:
    gate = Gate()
    a = Part("a", initialize=lambda actor: gate() if actor.incarnation == 2 else None)
    b, c = Part("b"), Part("c")
    async with staged(supervisor("inner", a.spec(), b.spec(restart="temporary"), c.spec(), max_restarts=0)) as stage:
        waiting, last = stage["inner/b"], stage["inner/c"]
        last.tell(Flat(what=boom))
        await gate.reached.wait()  # a starts; b and c wait
        getattr(waiting, way)()
        gate.open()
        await settle()
        # The supervisor comes back all the same, with the others.
        assert stage.system.lookup("top/inner", Supervisor).status == "running"
        assert (a.starts, c.starts) == (2, 2)
        assert await last.ask(Flat(what=lambda actor: actor.incarnation)) == 2
        if way != "kill":  # a kill is a failure, and one that is down cannot fail
            assert waiting.status == "stopped"
            assert isinstance(await waiting.wait_stopped(), Shutdown)


@pytest.mark.asyncio
async def test_a_child_stopped_while_its_supervisor_goes_down_to_be_restarted_ends_for_good() -> None:
    gate = Gate()
    a, b, c = Part("a"), Part("b", shutdown=lambda actor: gate() if actor.incarnation == 1 else None), Part("c")
    async with staged(supervisor("inner", a.spec(), b.spec(), c.spec(), max_restarts=0)) as stage:
        first = stage["inner/a"]
        stage["inner/c"].tell(Flat(what=boom))
        await gate.reached.wait()  # b goes down, a has its turn after it
        first.tell(Note(number=1))
        first.stop()
        gate.open()
        assert isinstance(await first.wait_stopped(), Shutdown)
        await settle()
        assert a.notes == []
        assert stage.diary.lost_notes() == [1]
        assert (b.starts, c.starts) == (2, 2)


@pytest.mark.asyncio
async def test_a_supervisor_that_is_stopped_while_it_waits_for_a_restart_ends_its_children_for_good() -> None:
    gate = Gate()
    a = Part("a", initialize=lambda actor: gate() if actor.incarnation == 2 else None)
    b = Part("b")
    async with staged(supervisor("inner", a.spec(), b.spec(), max_restarts=0)) as stage:
        inner = stage.system.lookup("top/inner", Supervisor)
        first, second = stage["inner/a"], stage["inner/b"]
        second.tell(Flat(what=boom))
        second.tell(Note(number=1))
        await gate.reached.wait()
        inner.stop()
        await inner.wait_stopped()
        assert (first.status, second.status) == ("stopped", "stopped")
        assert (a.starts, b.starts) == (2, 1)
        assert stage.diary.lost_notes() == [1]
        assert stage.top.status == "running"


@pytest.mark.asyncio
async def test_an_actor_that_was_buried_never_comes_back() -> None:
    part = Part()
    async with ActorSystem() as system:
        refs = []
        for _ in range(5):
            ref = await system.spawn(part.spec())
            refs.append(ref)
            ref.stop()
            await ref.wait_stopped()
        assert len({ref.uid for ref in refs}) == 5
        alive = await system.spawn(part.spec())
        for ref in refs:
            ref.kill()
            ref.stop()
            assert ref.tell(Note(number=1)) is False
            with pytest.raises(ActorStopped):
                await ref.ask(Note(number=1))
        await settle()
        assert alive.status == "running"
        assert part.notes == []


@pytest.mark.parametrize("way", ["stop", "kill", "crash"])
@pytest.mark.asyncio
async def test_the_name_is_free_when_the_end_is_known(way: str) -> None:
    async with ActorSystem() as system:
        for _ in range(200):
            ref = await system.spawn(Part().spec(restart="temporary"))
            if way == "crash":
                ref.tell(Flat(what=boom))
            else:
                getattr(ref, way)()
            await ref.wait_stopped()
            assert system.find("player", Player) is None


@pytest.mark.asyncio
async def test_the_name_is_not_free_while_the_old_one_goes_down() -> None:
    gate = Gate()
    second = Part()
    async with ActorSystem() as system:
        ref = await system.spawn(Part(shutdown=gate).spec())
        ref.stop()
        await gate.reached.wait()
        with pytest.raises(NameTaken) as caught:
            await system.spawn(second.spec())
        assert caught.value.ref == ref
        assert second.starts == 0
        gate.open()
        await ref.wait_stopped()
        await system.spawn(second.spec())
        assert second.starts == 1


REQUESTS = ["tell", "crash", "stop", "drain", "kill", "end"]


@pytest.mark.parametrize("order", list(itertools.permutations(REQUESTS, 3)), ids=" ".join)
@pytest.mark.parametrize("busy", [False, True], ids=["idle", "busy"])
@pytest.mark.asyncio
async def test_any_three_requests_in_one_tick_leave_the_actor_in_one_of_two_states(
    order: tuple[str, ...], busy: bool
) -> None:
    """It runs and answers, or it has ended once; and each message is accounted for."""
    part = Part()
    async with staged(part.spec(), max_restarts=10) as stage:
        player = stage["player"]
        if busy:
            player.tell(Call(what=takes(0.5)))
            await settle()
        for request in order:
            match request:
                case "tell":
                    player.tell(Note(number=1))
                case "crash":
                    player.tell(Flat(what=boom))
                case "end":
                    player.tell(Flat(what=stop_yourself))
                case _:
                    getattr(player, request)()
        await asyncio.sleep(10)
        final = {"stop", "drain"} & set(order)
        if final:
            assert player.status == "stopped"
            assert len(stage.diary.reasons(player.path)) == 1
            assert isinstance(await player.wait_stopped(), object)
        else:
            assert player.status == "running"
            assert await player.ask(Flat(what=lambda actor: "here")) == "here"
            assert stage.diary.reasons(player.path) == []
        if "tell" in order:
            assert sorted([*part.notes, *stage.diary.lost_notes()]) == [1]
        # Hooks: never two for one instance, none for one that was not up.
        assert len(part.ends) <= part.starts
        assert stage.top.status == "running"


@pytest.mark.asyncio
async def test_a_stubborn_initialize_during_a_restart_of_a_supervisor_does_not_hold_up_its_end() -> None:
    gate = Gate(resists=STUBBORN)
    a = Part("a", initialize=lambda actor: gate() if actor.incarnation == 2 else None)
    b = Part("b")
    async with staged(supervisor("inner", a.spec(), b.spec(), max_restarts=0)) as stage:
        stage["inner/b"].tell(Flat(what=boom))
        await gate.reached.wait()
        began = now()
        stage.top.stop()
        await stage.top.wait_stopped()
        assert now() - began == pytest.approx(1.0, abs=0.01)
        assert [path for path, _ in stage.diary.zombies] == ["/user/top/inner/a"]
        gate.open()
        await settle()


@pytest.mark.asyncio
async def test_a_start_that_never_ends_during_a_restart_fails_at_its_deadline_and_counts() -> None:
    gate = Gate()
    a = Part("a", initialize=lambda actor: gate() if actor.incarnation == 2 else None)
    async with staged(a.spec(start_timeout=2.0), max_restarts=2) as stage:
        player = stage["a"]
        player.tell(Flat(what=boom))
        player.tell(Note(number=1))
        await asyncio.sleep(1.9)
        assert a.starts == 2
        await asyncio.sleep(0.2)
        assert a.starts == 3
        assert a.notes_by_incarnation == {3: [1]}
        assert [failures for *_, failures in stage.diary.restarting] == [1, 2]


@pytest.mark.asyncio
async def test_a_child_spawned_by_a_handler_that_is_then_killed_does_not_survive_its_parent() -> None:
    gate = Gate()
    below = Part("below", initialize=gate)
    outcomes: list[object] = []

    async def spawn_below(actor: Actor[Any]) -> None:
        try:
            outcomes.append(await actor.context.spawn(below.spec()))
        except BaseException as error:
            outcomes.append(error)
            raise

    parent = Part("parent")
    async with staged(parent.spec(restart="temporary")) as stage:
        above = stage["parent"]
        above.tell(Call(what=spawn_below))
        await gate.reached.wait()
        above.kill()
        await above.wait_stopped()
        await settle()
        assert below.journal == ["below starts"]
        assert len(gate.cancelled_at) == 1
        assert stage.system.find("top/parent/below", Player) is None
        assert len(outcomes) == 1
        assert isinstance(outcomes[0], BaseException)


class Idle(Actor[Note]):
    """Has nothing to do in its end, which may so have come before whoever has asked for it goes on."""

    @handler
    def note(self, message: Note) -> None:
        pass


class Foreman(Supervisor[Flat | Call]):
    strategy = "one_for_all"

    def children(self) -> list[ChildSpec[Any]]:
        return [child(Idle).options(name=name) for name in ("one", "two")]

    @handler
    def flat(self, message: Flat) -> object:
        return message.what(self)

    @handler
    async def call(self, message: Call) -> object:
        return await message.what(self)


@pytest.mark.parametrize("told", [False, True])
@pytest.mark.asyncio
async def test_the_end_of_a_child_that_a_supervisor_stops_in_a_handler_is_dealt_with_behind_that_handler(
    told: bool,
) -> None:
    async with ActorSystem() as system:
        top = await system.spawn(Foreman)
        one, two = (system.lookup(f"{top.path}/{name}", Idle) for name in ("one", "two"))
        await top.ask(Flat(what=lambda actor: None))
        await settle()
        stopped = Flat(what=lambda actor: one.stop())
        if told:
            top.tell(stopped)
        else:
            await top.ask(stopped)
        await settle()
        assert (one.status, two.status) == ("stopped", "running")
        assert [each.status for each in await top.which_children()] == ["stopped", "running"]


@pytest.mark.asyncio
async def test_the_end_of_a_child_that_a_supervisor_stops_and_waits_for_is_dealt_with_meanwhile() -> None:
    async with ActorSystem() as system:
        top = await system.spawn(Foreman)
        one = system.lookup(f"{top.path}/one", Idle)

        async def stop_and_wait(actor: Foreman) -> str:
            one.stop()
            return str(await one.wait_stopped(1.0))

        assert await top.ask(Call(what=stop_and_wait)) == "shut down (stopped)"
