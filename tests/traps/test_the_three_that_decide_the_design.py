"""Task groups lose a cancel, conditions lose a wake-up, `wait_for` eats a cancel: the runtime uses none of them."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from typing import Any

import pytest

from tests.guarantees.cast_of_supervision import (
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
    takes,
)
from understudy import ActorFailed, ActorSystem, AskTimeout, Crashed, Killed, SystemCollapsed, supervisor

# Nested task groups lose a cancel when a child fails in the same tick as something outside. (3.11, 3.12)

ORDERS = list(itertools.permutations(["a crash below", "a cancel from outside", "a crash beside", "a stop"]))


@pytest.mark.parametrize("order", ORDERS, ids=lambda order: ", ".join(order))
@pytest.mark.asyncio
async def test_a_cancel_is_never_lost_when_all_happens_in_one_tick(order: tuple[str, ...]) -> None:
    """Four things in one tick, in every order: the task ends as cancelled, and everything has ended."""
    leaf, beside = Part("leaf"), Part("beside")
    tree = supervisor("root", supervisor("inner", leaf.spec()), beside.spec(), max_restarts=10)
    entered = asyncio.Event()
    systems: list[ActorSystem] = []

    async def main() -> None:
        async with ActorSystem(tree) as system:
            systems.append(system)
            entered.set()
            await asyncio.sleep(1000)

    task = asyncio.ensure_future(main())
    await entered.wait()
    [system] = systems
    below, other = system.lookup("root/inner/leaf", Player), system.lookup("root/beside", Player)
    acts: dict[str, Callable[[], object]] = {
        "a crash below": lambda: below.tell(Call(what=boom)),
        "a crash beside": lambda: other.tell(Flat(what=boom)),
        "a cancel from outside": task.cancel,
        "a stop": system.stop,
    }
    for act in order:
        acts[act]()
    await asyncio.wait([task], timeout=100)
    assert task.done()
    assert task.cancelled()
    assert now() < 1
    assert (below.status, other.status) == ("stopped", "stopped")


@pytest.mark.parametrize("ticks", range(6))
@pytest.mark.asyncio
async def test_a_cancel_that_meets_a_collapse_ends_the_system_all_the_same(ticks: int) -> None:
    leaf = Part("leaf")
    tree = supervisor("root", supervisor("inner", leaf.spec(), max_restarts=0), max_restarts=0)
    entered = asyncio.Event()
    refs: list[Any] = []

    async def main() -> None:
        async with ActorSystem(tree) as system:
            refs.append(system.lookup("root/inner/leaf", Player))
            entered.set()
            await asyncio.sleep(1000)

    task = asyncio.ensure_future(main())
    await entered.wait()
    refs[0].tell(Flat(what=boom))
    for _ in range(ticks):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task], timeout=100)
    assert task.done()
    assert task.cancelled() or isinstance(task.exception(), SystemCollapsed)
    assert now() < 1
    assert refs[0].status == "stopped"


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.asyncio
async def test_a_kill_ends_a_handler_that_is_inside_task_groups_of_its_own(depth: int) -> None:
    gate = Gate()

    async def nested(levels: int) -> None:
        if levels == 0:
            await gate()
            return
        async with asyncio.TaskGroup() as group:
            group.create_task(nested(levels - 1))
            group.create_task(asyncio.sleep(1000))

    part = Part()
    async with staged(part.spec(restart="temporary")) as stage:
        player = stage["player"]
        player.tell(Call(what=lambda actor: nested(depth)))
        await gate.reached.wait()
        player.kill()
        assert await player.wait_stopped() == Killed()
        assert now() < 3
        assert len(asyncio.all_tasks()) <= 3  # the group's own tasks are gone: the test, the system


@pytest.mark.asyncio
async def test_a_failure_in_a_task_group_of_a_handler_is_the_crash_of_its_actor_alone() -> None:
    async def fan_out(_: object) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(takes(1000)())  # type: ignore[arg-type]
            group.create_task(failing())

    async def failing() -> None:
        boom()

    part, other = Part(), Part("other")
    async with staged(part.spec(), other.spec()) as stage:
        with pytest.raises(ActorFailed) as caught:
            await stage["player"].ask(Call(what=fan_out))
        assert isinstance(caught.value.__cause__, ExceptionGroup)
        await settle()
        assert (part.starts, other.starts) == (2, 1)
        assert len(stage.diary.restarting) == 1


# `Condition.notify` is lost when the one it woke is cancelled. (3.11, 3.12)


@pytest.mark.parametrize("cancelled", [[0], [1], [0, 1], [0, 2]])
@pytest.mark.asyncio
async def test_room_in_a_mailbox_is_not_lost_with_a_sender_that_was_cancelled_as_it_got_it(
    cancelled: list[int],
) -> None:
    gate = Gate()
    part = Part()
    async with staged(part.spec(mailbox=1)) as stage:
        player = stage["player"]
        player.tell(Call(what=gate))
        await gate.reached.wait()
        player.tell(Note(number=-1))
        senders = [asyncio.ensure_future(player.send(Note(number=number))) for number in range(5)]
        await settle()
        gate.open()
        for number in cancelled:
            senders[number].cancel()  # in the tick in which the room is made
        await asyncio.wait(senders, timeout=10)
        await settle()
        arrived = [number for number in range(5) if not senders[number].cancelled()]
        assert part.notes == [-1, *arrived]
        assert set(range(5)) - set(arrived) <= set(cancelled)


@pytest.mark.parametrize("ticks", range(8))
@pytest.mark.asyncio
async def test_no_wake_up_of_an_actor_is_lost_whenever_a_sender_or_asker_is_cancelled(ticks: int) -> None:
    part = Part()
    async with staged(part.spec(mailbox=2)) as stage:
        player = stage["player"]
        tasks = [asyncio.ensure_future(player.send(Note(number=number))) for number in range(6)]
        tasks += [asyncio.ensure_future(player.ask(Call(what=takes(0.1)))) for _ in range(6)]
        for _ in range(ticks):
            await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        await asyncio.wait(tasks, timeout=10)
        assert all(task.done() for task in tasks)
        assert await player.ask(Flat(what=lambda actor: "awake"), timeout=5) == "awake"
        assert all(not task.cancelled() for task in tasks[1::2])
        assert part.starts == 1


# `wait_for` returns a value and eats the cancel when both come in one tick. (3.11)


@pytest.mark.parametrize("timeout", [None, 10.0])
@pytest.mark.asyncio
async def test_a_cancel_in_the_tick_of_the_reply_is_not_eaten(timeout: float | None) -> None:
    gate = Gate()
    part = Part()
    async with staged(part.spec()) as stage:
        for ticks in range(6):
            gate = Gate()
            asked = asyncio.ensure_future(stage["player"].ask(Call(what=gate), timeout=timeout))
            await gate.reached.wait()
            gate.open()
            for _ in range(ticks):
                await asyncio.sleep(0)
            if not asked.done():
                asked.cancel()
                await asyncio.wait([asked])
                assert asked.cancelled()
            await settle()
        assert part.starts == 1
        assert await stage["player"].ask(Flat(what=lambda actor: "well")) == "well"


@pytest.mark.asyncio
async def test_a_cancel_in_the_tick_of_the_end_is_not_eaten_by_wait_stopped() -> None:
    async with ActorSystem() as system:
        for ticks in range(6):
            ref = await system.spawn(Part().spec())
            waiting = asyncio.ensure_future(ref.wait_stopped(timeout=10))
            await settle()
            ref.stop()
            for _ in range(ticks):
                await asyncio.sleep(0)
            if not waiting.done():
                waiting.cancel()
                await asyncio.wait([waiting])
                assert waiting.cancelled()
            await ref.wait_stopped()


@pytest.mark.asyncio
async def test_a_cancel_of_the_asker_in_the_tick_of_its_timeout_is_a_cancel() -> None:
    part = Part()
    async with staged(part.spec()) as stage:
        asked = asyncio.ensure_future(stage["player"].ask(Call(what=takes(5)), timeout=1.0))
        asyncio.get_running_loop().call_later(1.0, asked.cancel)
        await asyncio.wait([asked])
        assert asked.cancelled() or isinstance(asked.exception(), AskTimeout)
        cancelled_first = asyncio.ensure_future(stage["player"].ask(Call(what=takes(5)), timeout=1.0))
        await asyncio.sleep(0.999)
        cancelled_first.cancel()
        await asyncio.wait([cancelled_first])
        assert cancelled_first.cancelled()


@pytest.mark.asyncio
async def test_a_handler_runs_in_the_task_in_which_it_is_cancelled_and_times_out() -> None:
    async def look(_: object) -> tuple[bool, bool]:
        task = asyncio.current_task()
        try:
            async with asyncio.timeout(0.1):
                await asyncio.sleep(10)
        except TimeoutError:
            return task is not None, asyncio.current_task() is task
        return False, False

    part = Part()
    async with staged(part.spec()) as stage:
        assert await stage["player"].ask(Call(what=look)) == (True, True)
        assert stage.diary.crashed == []


@pytest.mark.parametrize("ticks", range(4))
@pytest.mark.asyncio
async def test_a_kill_in_the_tick_in_which_the_handler_ends_is_not_lost(ticks: int) -> None:
    gate = Gate()
    part = Part()
    async with staged(part.spec(restart="temporary")) as stage:
        player = stage["player"]
        player.tell(Call(what=gate))
        await gate.reached.wait()
        gate.open()
        for _ in range(ticks):
            await asyncio.sleep(0)
        player.kill()
        assert isinstance(await player.wait_stopped(timeout=1), Killed)
        assert [reason for _, reason, _ in stage.diary.crashed if isinstance(reason, Crashed)] == []
