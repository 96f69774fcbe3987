"""Traps 1 to 11: what tasks, groups and cancels do to those who trust them."""

# ruff: noqa: PT012 - what raises is the `async with` as a whole

from __future__ import annotations

import asyncio
import contextlib
import gc
import sys
import weakref
from collections.abc import Callable
from typing import Any

import pytest

import understudy
from tests.guarantees.cast_of_supervision import (
    STUBBORN,
    Boom,
    Call,
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
    takes,
)
from understudy import (
    Actor,
    ActorFailed,
    ActorStopped,
    ActorSystem,
    AskTimeout,
    Crashed,
    Killed,
    Settings,
    Shutdown,
    StartTimeout,
    UnderstudyError,
)

# 1: one failing child of a group cancels its siblings.


@pytest.mark.asyncio
async def test_01_one_failing_actor_among_a_hundred_cancels_no_other() -> None:
    gates = [Gate() for _ in range(100)]
    async with ActorSystem() as system:
        refs = [await system.spawn(Part(f"child{number}").spec()) for number in range(100)]
        asks = [asyncio.ensure_future(ref.ask(Call(what=gate))) for ref, gate in zip(refs, gates, strict=True)]
        await settle()
        failing = await system.spawn(Part("failing").spec())
        for make in (Boom, SystemExit, asyncio.CancelledError):
            failing.tell(Call(what=raising(make)))
        await settle()
        assert failing.status == "running"
        assert not any(gate.cancelled_at for gate in gates)
        for gate in gates:
            gate.open()
        assert set(await asyncio.gather(*asks)) == {"passed"}


def raising(make: Callable[[], BaseException]) -> Callable[[object], object]:
    def what(_: object) -> object:
        raise make()

    return what


# 2: a child that ends in CancelledError leaves the group clean and silent.


@pytest.mark.asyncio
async def test_02_an_actor_that_ends_in_a_cancel_is_not_silently_gone() -> None:
    part = Part()
    async with staged(part.spec()) as stage:
        stage["player"].tell(Call(what=raising(asyncio.CancelledError)))
        stage["player"].tell(Note(number=1))
        await settle()
        assert [type(reason) for _, reason, _ in stage.diary.crashed] == [Crashed]
        assert part.notes_by_incarnation == {2: [1]}


# 3: `create_task` on a group that is dying raises, and leaks the coroutine.


@pytest.mark.parametrize("when", ["stopping", "stopped"])
@pytest.mark.asyncio
async def test_03_a_spawn_that_comes_too_late_is_refused_and_leaks_no_coroutine(when: str) -> None:
    late = Part("late")
    slow = Part("slow", shutdown=takes(1.0))
    async with ActorSystem(slow.spec()) as system:
        system.stop()
        await (settle() if when == "stopping" else system.wait_stopped())
        with pytest.raises(UnderstudyError):
            await system.spawn(late.spec())
    assert late.starts == 0
    gc.collect()  # a coroutine that was never awaited would be a warning, and thus an error


@pytest.mark.parametrize("where", ["handler", "shutdown"])
@pytest.mark.asyncio
async def test_03_a_spawn_under_an_actor_that_stops_is_refused(where: str) -> None:
    late = Part("late")
    outcomes: list[object] = []
    gate = Gate()

    async def spawn_late(actor: Actor[Any]) -> None:
        if where == "handler":
            await gate()
        try:
            outcomes.append(await actor.context.spawn(late.spec()))
        except UnderstudyError as error:
            outcomes.append(error)

    part = Part(shutdown=spawn_late if where == "shutdown" else None)
    async with staged(part.spec()) as stage:
        player = stage["player"]
        if where == "handler":
            player.tell(Call(what=spawn_late))
            await gate.reached.wait()
        player.stop()
        gate.open()
        await player.wait_stopped()
        await settle()
        assert stage.system.find("top/player/late", Player) is None
        if where == "shutdown":
            assert [isinstance(outcome, UnderstudyError) for outcome in outcomes] == [True]
            assert late.starts == 0
        assert late.journal.count("late up") == late.journal.count("late down")
    gc.collect()


@pytest.mark.asyncio
async def test_03_a_system_that_collapses_while_actors_are_spawned_in_it_leaks_nothing() -> None:
    spawned: list[asyncio.Future[Any]] = []
    with pytest.raises(understudy.SystemCollapsed):
        async with ActorSystem(Part("root").spec()) as system:
            system.lookup("root", Player).tell(Flat(what=boom))
            for number in range(20):
                spec = Part(f"child{number}", initialize=takes(0.1)).spec()
                spawned.append(asyncio.ensure_future(system.spawn(spec)))
            await asyncio.sleep(1000)
    await settle()
    for spawning in spawned:
        assert spawning.done()
        assert spawning.cancelled() or isinstance(spawning.exception(), UnderstudyError | None)
    gc.collect()


# 4: code that swallows CancelledError needs several cancels.


@pytest.mark.parametrize("resists", [0, 1, 2, 5, 9])
@pytest.mark.asyncio
async def test_04_one_that_swallows_some_cancels_is_cancelled_until_it_obeys(resists: int) -> None:
    gate = Gate(resists=resists)
    part = Part()
    async with staged(part.spec(restart="temporary")) as stage:
        player = stage["player"]
        player.tell(Call(what=gate))
        await gate.reached.wait()
        player.kill()
        assert await player.wait_stopped() == Killed()
        assert len(gate.cancelled_at) == resists + 1
        assert now() == pytest.approx(resists * 0.1, abs=0.01)
        assert stage.diary.zombies == []


@pytest.mark.asyncio
async def test_04_one_that_swallows_all_is_logged_with_actor_and_stack(capsys: pytest.CaptureFixture[str]) -> None:
    async def resisting_by_name(gate: Gate) -> None:
        await gate()

    gate = Gate(resists=STUBBORN)
    part = Part()
    async with staged(part.spec(restart="temporary")) as stage:
        player = stage["player"]
        player.tell(Call(what=lambda actor: resisting_by_name(gate)))
        await gate.reached.wait()
        player.kill()
        assert isinstance(await player.wait_stopped(), Killed)
        [(path, stack)] = stage.diary.zombies
        assert path == player.path
        assert "resisting_by_name" in stack
        await asyncio.sleep(2)
    told = "".join(capsys.readouterr())
    assert player.path in told
    assert "resisting_by_name" in told
    gate.open()
    await settle()


# 5: a library turns the cancel into another error, and the task lives on with `cancelling() == 1`.


async def turned_into_an_error(gate: Gate) -> str:
    try:
        await gate()
    except asyncio.CancelledError:
        raise ConnectionError("the library was interrupted") from None
    return "never"


async def turned_into_an_error_and_handled(gate: Gate) -> str:
    try:
        return await turned_into_an_error(gate)
    except ConnectionError:
        return "handled"


async def turned_into_a_timeout(gate: Gate) -> str:
    try:
        await gate()
    except asyncio.CancelledError:
        raise TimeoutError from None
    return "never"


TURNED = [turned_into_an_error, turned_into_an_error_and_handled, turned_into_a_timeout]


@pytest.mark.parametrize("turned", TURNED)
@pytest.mark.parametrize("way", ["kill", "stop"])
@pytest.mark.asyncio
async def test_05_a_library_that_turns_the_cancel_into_an_error_does_not_save_the_actor(
    turned: Callable[[Gate], Any], way: str
) -> None:
    gate = Gate()
    part = Part()
    async with staged(part.spec(restart="temporary", shutdown=1.0)) as stage:
        player = stage["player"]
        player.tell(Call(what=lambda actor: turned(gate)))
        player.tell(Note(number=1))
        await gate.reached.wait()
        getattr(player, way)()
        reason = await player.wait_stopped()
        assert reason == Killed() if way == "kill" else forced(reason)
        assert part.notes == []  # it did not go on to the next message
        assert len(gate.cancelled_at) == 1


@pytest.mark.parametrize("turned", TURNED)
@pytest.mark.asyncio
async def test_05_the_next_incarnation_is_not_haunted_by_the_cancel(turned: Callable[[Gate], Any]) -> None:
    gate = Gate()
    part = Part()
    async with staged(part.spec()) as stage:
        player = stage["player"]
        player.tell(Call(what=lambda actor: turned(gate)))
        await gate.reached.wait()
        player.kill()
        assert await player.ask(Call(what=takes(0.5))) == 0.5
        assert await player.ask(Call(what=lambda actor: asyncio.current_task().cancelling())) == 0  # type: ignore[union-attr]
        assert part.starts == 2


# 6: `finally: await ...` outlives the deadline, and another cancel breaks it.


@pytest.mark.asyncio
async def test_06_a_cleanup_shorter_than_the_interval_of_cancels_ends_undisturbed() -> None:
    cleaned: list[str] = []
    gate = Gate()

    async def with_cleanup(_: object) -> None:
        try:
            await gate()
        finally:
            await asyncio.sleep(0.09)
            cleaned.append("up")

    part = Part()
    async with staged(part.spec(shutdown=1.0)) as stage:
        player = stage["player"]
        player.tell(Call(what=with_cleanup))
        await gate.reached.wait()
        player.stop()
        assert forced(await player.wait_stopped())
        assert cleaned == ["up"]
        assert now() == pytest.approx(1.09, abs=0.01)


@pytest.mark.asyncio
async def test_06_a_longer_cleanup_is_broken_by_the_next_cancel() -> None:
    cleaned: list[str] = []
    gate = Gate()

    async def with_long_cleanup(_: object) -> None:
        try:
            await gate()
        finally:
            await asyncio.sleep(100)
            cleaned.append("up")

    part = Part()
    async with staged(part.spec(shutdown=1.0)) as stage:
        player = stage["player"]
        player.tell(Call(what=with_long_cleanup))
        await gate.reached.wait()
        player.stop()
        assert forced(await player.wait_stopped())
        assert cleaned == []
        assert now() == pytest.approx(1.1, abs=0.01)
        assert stage.diary.zombies == []


# 7: a bound that waits for the code it bounds is none.


async def slow_to_obey(_: object) -> str:
    began = now()
    while now() < began + 0.45:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(began + 0.45 - now())
    return "a result after all"


@pytest.mark.asyncio
async def test_07_the_timeout_of_an_ask_holds_however_long_the_handler_takes() -> None:
    part = Part()
    async with staged(part.spec()) as stage:
        began = now()
        with pytest.raises(AskTimeout):
            await stage["player"].ask(Call(what=slow_to_obey), timeout=0.05)
        assert now() - began == pytest.approx(0.05, abs=0.001)
        assert await stage["player"].ask(Flat(what=lambda actor: actor.incarnation)) == 1


@pytest.mark.asyncio
async def test_07_the_deadline_of_a_start_holds_up_to_abandonment_however_long_initialize_resists() -> None:
    gate = Gate(resists=STUBBORN)
    async with ActorSystem() as system:
        with pytest.raises(StartTimeout):
            await system.spawn(Part(initialize=gate).spec(start_timeout=0.05))
        assert now() == pytest.approx(1.05, abs=0.01)
        gate.open()
        await settle()


@pytest.mark.asyncio
async def test_07_the_timeout_of_wait_stopped_holds_however_long_the_actor_resists() -> None:
    part = Part()
    async with staged(part.spec()) as stage:
        player = stage["player"]
        player.tell(Call(what=slow_to_obey))
        await settle()
        player.stop()
        began = now()
        with pytest.raises(TimeoutError):
            await player.wait_stopped(timeout=0.05)
        assert now() - began == pytest.approx(0.05, abs=0.001)


# 8: a pending task that nobody refers to is collected.


@pytest.mark.asyncio
async def test_08_actors_that_only_wait_for_one_another_are_not_collected_as_garbage() -> None:
    async def wait_for_itself(_: object) -> str:
        # Nobody else holds the future strongly, so that its task, if nothing held that, would be a mere cycle.
        future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        futures.append(weakref.ref(future))
        return await future

    futures: list[weakref.ref[asyncio.Future[str]]] = []
    parts = [Part(f"child{number}") for number in range(50)]
    async with ActorSystem() as system:
        for part in parts:
            (await system.spawn(part.spec())).tell(Call(what=wait_for_itself))
        await settle()
        for _ in range(3):
            gc.collect()
        alive = [future for future in (reference() for reference in futures) if future is not None]
        assert len(alive) == 50
        for future in alive:
            future.set_result("done")
        await settle()
        assert {
            await system.lookup(part.name, Player).ask(Flat(what=lambda actor: actor.incarnation)) for part in parts
        } == {1}


@pytest.mark.asyncio
async def test_08_an_initialize_and_a_shutdown_hook_are_not_collected_either() -> None:
    async def wait_for_itself(_: object) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        futures.append(weakref.ref(future))
        await future

    futures: list[weakref.ref[asyncio.Future[None]]] = []
    part = Part(initialize=wait_for_itself, shutdown=wait_for_itself)
    async with ActorSystem() as system:
        spawning = asyncio.ensure_future(system.spawn(part.spec()))
        for step in range(2):
            await settle()
            gc.collect()
            future = futures[step]()
            assert future is not None
            future.set_result(None)
            if step == 0:
                del future
                (await spawning).stop()
        await settle()
        assert part.journal == ["player starts", "player up", "player stops", "player down"]


# 9: a task that is cancelled before its first step runs neither its body nor its `finally`.


@pytest.mark.asyncio
async def test_09_a_message_told_in_the_tick_of_a_kill_is_not_lost() -> None:
    part = Part()
    async with staged(part.spec(), max_restarts=10) as stage:
        player = stage["player"]
        ran: list[int] = []
        player.tell(Call(what=lambda actor: ran.append(actor.incarnation)))
        asked = asyncio.ensure_future(player.ask(Call(what=lambda actor: actor.incarnation)))
        player.kill()
        assert await asked == 2
        assert ran == [2]
        assert part.starts == 2


@pytest.mark.parametrize("ticks", range(5))
@pytest.mark.asyncio
async def test_09_each_message_is_handled_or_reported_whenever_the_kill_comes(ticks: int) -> None:
    ran: list[int] = []
    part = Part()
    async with staged(part.spec(restart="temporary")) as stage:
        player = stage["player"]

        async def work(number: int) -> None:
            ran.append(number)
            await asyncio.sleep(0)
            await asyncio.sleep(0)

        calls = [Call(what=lambda actor, number=number: work(number)) for number in range(4)]
        asks = [asyncio.ensure_future(player.ask(call)) for call in calls]
        for _ in range(ticks):
            await asyncio.sleep(0)
        player.kill()
        await player.wait_stopped()
        await asyncio.wait(asks, timeout=1)
        assert all(ask.done() for ask in asks)
        for number, ask in enumerate(asks):
            if ask.exception() is None:
                assert number in ran
            else:
                assert isinstance(ask.exception(), ActorStopped)
        assert ran == list(range(len(ran)))
    gc.collect()


@pytest.mark.asyncio
async def test_09_a_start_that_is_stopped_in_its_first_tick_leaves_nothing() -> None:
    for ticks in range(4):
        part = Part(initialize=takes(10))
        async with ActorSystem() as system:
            spawning = asyncio.ensure_future(system.spawn(part.spec()))
            for _ in range(ticks):
                await asyncio.sleep(0)
            system.stop()
            await system.wait_stopped()
            await asyncio.wait([spawning], timeout=1)
            assert spawning.done()
            assert isinstance(spawning.exception(), UnderstudyError)
        assert part.journal in ([], ["player starts"])
    gc.collect()


@pytest.mark.parametrize("ticks", range(6))
def test_09_an_event_loop_ends_whatever_a_system_in_it_has_come_to(ticks: int) -> None:
    journal: list[str] = []

    async def live() -> None:
        # What is done ahead of a turn is bounded by the slice, which on a slow machine is over before the system is up.
        async with ActorSystem(settings=Settings(slice_seconds=10.0)) as system:
            journal.append("up")
            try:
                await system.wait_stopped()
            finally:
                journal.append("down")

    async def main() -> asyncio.Task[None]:
        living = asyncio.create_task(live())
        for _ in range(ticks):
            await asyncio.sleep(0)
        return living

    living = asyncio.run(main())  # which cancels all that is left, also what has not had its first step

    assert living.cancelled()
    assert journal == ["up", "down"]


# 10: SystemExit in a task leaves `asyncio.run` although somebody awaits the task.


@pytest.mark.parametrize("run", [asyncio.run, understudy.run])
@pytest.mark.parametrize("kind", [Call, Flat])
def test_10_a_system_exit_in_a_handler_does_not_end_the_program(
    run: Callable[..., Any], kind: type[Call | Flat]
) -> None:
    async def main() -> object:
        part = Part()
        async with ActorSystem() as system:
            ref = await system.spawn(part.spec())
            with pytest.raises(ActorFailed) as caught:
                await ref.ask(kind(what=raising(SystemExit)))
            assert isinstance(caught.value.__cause__, SystemExit)
            return await ref.ask(kind(what=lambda actor: actor.incarnation))

    assert run(main()) == 2


# 11: an exception in `finally` replaces the cancel.


@pytest.mark.parametrize(("way", "restart"), [("kill", "temporary"), ("kill", "permanent"), ("stop", "permanent")])
@pytest.mark.asyncio
async def test_11_an_error_in_the_cleanup_does_not_replace_the_reason(way: str, restart: str) -> None:
    gate = Gate()

    async def fail_in_cleanup(_: object) -> None:
        try:
            await gate()
        finally:
            raise Boom

    part = Part()
    async with staged(part.spec(restart=restart, shutdown=1.0)) as stage:
        player = stage["player"]
        player.tell(Call(what=fail_in_cleanup))
        await gate.reached.wait()
        getattr(player, way)()
        if restart == "permanent" and way == "kill":
            await settle()
            [(_, reason, _)] = stage.diary.restarting
            assert reason == Killed()
        else:
            reason = await player.wait_stopped()
            assert reason == Killed() if way == "kill" else forced(reason)
        assert [why for _, why, _ in stage.diary.crashed if isinstance(why, Crashed)] == []


@pytest.mark.asyncio
async def test_11_an_error_in_the_cleanup_of_initialize_does_not_replace_the_timeout() -> None:
    async def fail_in_cleanup(_: object) -> None:
        try:
            await asyncio.sleep(100)
        finally:
            raise Boom

    async with ActorSystem() as system:
        with pytest.raises(StartTimeout):
            await system.spawn(Part(initialize=fail_in_cleanup).spec(start_timeout=1.0))


@pytest.mark.asyncio
async def test_11_an_error_in_the_cleanup_of_a_shutdown_hook_does_not_replace_the_reason() -> None:
    async def fail_in_cleanup(_: object) -> None:
        try:
            await asyncio.sleep(100)
        finally:
            raise Boom

    part = Part(shutdown=fail_in_cleanup)
    async with staged(part.spec(shutdown=1.0)) as stage:
        player = stage["player"]
        player.stop()
        reason = await player.wait_stopped()
        assert forced(reason) or isinstance(reason, Shutdown)
        assert now() == pytest.approx(1.0, abs=0.01)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="there are no eager tasks yet")
@pytest.mark.asyncio
async def test_an_eager_task_factory_of_the_user_changes_nothing() -> None:
    loop = asyncio.get_running_loop()
    loop.set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined]
    part = Part(shutdown=takes(0.1))
    async with staged(part.spec()) as stage:
        player = stage["player"]
        with pytest.raises(ActorFailed):
            await player.ask(Call(what=boom))
        assert await player.ask(Call(what=takes(0.1))) == 0.1
        assert part.starts == 2
    assert part.journal[-1] == "player down"
