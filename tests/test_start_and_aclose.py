"""`start` and `aclose`: a system that begins and ends in different tasks, as in a notebook or a framework's hooks."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest

from tests.cast import Fail, Gate, Hold, Holder, Note, Recorder, settle
from understudy import (
    ActorStopped,
    ActorSystem,
    ChildSpec,
    InvalidContext,
    StartError,
    Supervisor,
    SystemCollapsed,
    child,
)

T = TypeVar("T")


class Fragile(Supervisor):
    max_restarts = 0

    def children(self) -> list[ChildSpec]:
        return [child(Holder)]


async def cell(of_a_notebook: Coroutine[Any, Any, T]) -> T:
    """Run this as a task of its own, as each cell of a notebook is."""
    return await asyncio.create_task(of_a_notebook)


async def started(system: ActorSystem) -> tuple[int, asyncio.Task[Any] | None]:
    await system.start()
    ref = await system.spawn(Holder)
    return await ref.ask(Note(value=1)), asyncio.current_task()


@pytest.mark.asyncio
async def test_a_system_can_be_started_in_one_task_used_in_others_and_closed_in_another() -> None:
    recorder = Recorder()
    system = ActorSystem(instruments=[recorder])

    async def use() -> int:
        return await system.lookup("holder", Holder).ask(Note(value=2))

    assert (await cell(started(system)))[0] == 1
    await settle()
    assert await cell(use()) == 2
    await cell(system.aclose())
    assert [phase for _, phase in recorder.of("system_phase")][-1] == "stopped"
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.mark.asyncio
async def test_start_returns_the_system() -> None:
    system = await ActorSystem(name="show").start()
    assert system.name == "show"
    await system.aclose()


@pytest.mark.asyncio
async def test_a_collapse_cancels_nobody_and_aclose_raises_it_each_time() -> None:
    system = ActorSystem(Fragile)
    _, starter = await cell(started(system))
    ref = system.lookup("fragile/holder", Holder)
    ref.tell(Fail(error=ValueError("boom")))
    await system.wait_stopped()
    current = asyncio.current_task()
    assert current is not None
    assert current.cancelling() == 0
    assert starter is not None
    assert starter.cancelling() == 0
    with pytest.raises(ActorStopped):
        await ref.ask(Note())
    for _ in range(2):
        with pytest.raises(SystemCollapsed, match="/user/fragile ended"):
            await cell(system.aclose())


@pytest.mark.asyncio
async def test_a_collapse_in_the_task_that_has_started_it_leaves_that_alone() -> None:
    system = await ActorSystem(Fragile).start()
    system.lookup("fragile/holder", Holder).tell(Fail(error=ValueError("boom")))
    await asyncio.sleep(1.0)  # not cancelled
    with pytest.raises(SystemCollapsed):
        await system.aclose()


@pytest.mark.asyncio
async def test_a_start_that_fails_leaves_nothing_and_aclose_has_nothing_to_add() -> None:
    class Broken(Holder):
        def initialize(self) -> None:
            raise ValueError("no")

    system = ActorSystem(child(Broken))
    with pytest.raises(StartError):
        await cell(system.start())
    assert asyncio.all_tasks() == {asyncio.current_task()}
    await system.aclose()


@pytest.mark.asyncio
async def test_a_start_that_is_cancelled_leaves_nothing() -> None:
    begun = asyncio.Event()

    class Slow(Holder):
        async def initialize(self) -> None:
            begun.set()
            await asyncio.Event().wait()

    starting = asyncio.create_task(ActorSystem(child(Slow)).start())
    await begun.wait()
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.mark.asyncio
async def test_a_cancel_of_aclose_shortens_the_end_by_force_and_is_raised_when_all_has_ended() -> None:
    gate = Gate()
    system = await ActorSystem().start()
    holder = await system.spawn(child(Holder, gate).options(shutdown="infinity"))
    holder.tell(Hold())
    await gate.reached()
    closing = asyncio.create_task(system.aclose())
    await settle()
    assert not closing.done()
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    assert holder.status == "stopped"
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.mark.asyncio
async def test_aclose_after_the_normal_end_and_a_second_aclose_are_quiet() -> None:
    system = await ActorSystem(child(Holder).options(name="only")).start()
    system.lookup("only").stop()
    await system.wait_stopped()
    await system.aclose()
    await system.aclose()


@pytest.mark.asyncio
async def test_a_keyboard_interrupt_in_a_handler_comes_out_of_aclose() -> None:
    system = await ActorSystem().start()
    (await system.spawn(Holder)).tell(Fail(error=KeyboardInterrupt()))
    await system.wait_stopped()
    with pytest.raises(KeyboardInterrupt):
        await system.aclose()


@pytest.mark.asyncio
async def test_either_the_pair_or_async_with_and_each_once() -> None:
    fresh = ActorSystem(name="show")
    with pytest.raises(InvalidContext, match="it is not running"):
        await fresh.aclose()
    async with fresh:
        with pytest.raises(InvalidContext, match=r"its `async with` closes it: leave that, or request its end"):
            await fresh.aclose()
        with pytest.raises(InvalidContext, match="can be entered once"):
            await fresh.start()
        assert (await (await fresh.spawn(Holder)).ask(Note(value=3))) == 3
    system = await ActorSystem().start()
    with pytest.raises(InvalidContext, match="can be entered once"):
        async with system:
            pass
    assert (await (await system.spawn(Holder)).ask(Note(value=3))) == 3
    await system.aclose()


def test_a_program_that_forgets_aclose_still_ends_in_order() -> None:
    stopped: list[str] = []

    class Careful(Holder):
        def shutdown(self, reason: object) -> None:
            stopped.append(str(reason))

    async def main() -> None:
        await ActorSystem(child(Careful)).start()

    asyncio.run(main())
    assert stopped == ["shut down (parent ended)"]


@pytest.mark.asyncio
async def test_enter_and_exit_of_async_with_in_different_tasks_work_too() -> None:
    system = ActorSystem()
    await cell(system.__aenter__())
    assert (await (await system.spawn(Holder)).ask(Note(value=3))) == 3
    await cell(system.__aexit__(None, None, None))
    assert asyncio.all_tasks() == {asyncio.current_task()}
