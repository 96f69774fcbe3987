"""D7: nothing leaks: no task is left when the system has closed, and nothing grows over 10,000 lives."""

# ruff: noqa: PT012 - what raises is the `async with` as a whole

from __future__ import annotations

import asyncio
import gc
import sys
import weakref
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.conftest import open_descriptors
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
    settle,
    takes,
)
from understudy import (
    Actor,
    ActorFailed,
    ActorRef,
    ActorSystem,
    AskTimeout,
    Message,
    Settings,
    StartError,
    SystemCollapsed,
    child,
    handler,
    supervisor,
)


def me() -> set[asyncio.Task[Any]]:
    task = asyncio.current_task()
    assert task is not None
    return {task}


def timers() -> int:
    """The timers of the loop, also those that were cancelled and are still in its heap."""
    return len(asyncio.get_running_loop()._scheduled)  # type: ignore[attr-defined]


@pytest.mark.asyncio
async def test_after_a_busy_life_all_tasks_are_just_the_caller() -> None:
    parts = [Part(f"child{number}", shutdown=takes(0.1)) for number in range(10)]
    async with ActorSystem(supervisor("root", *(part.spec() for part in parts), max_restarts=100)) as system:
        guests = [await system.spawn(Part(f"guest{number}").spec()) for number in range(10)]
        for guest in guests:
            guest.tell(Call(what=takes(0.5)))
            guest.tell(Call(what=boom))
            guest.tell(Note(number=1))
            with pytest.raises(ActorFailed):
                await guest.ask(Flat(what=boom))
            await guest.ask(Call(what=lambda actor: actor.context.spawn(Part("below").spec())))
        guests[0].tell(Call(what=Gate()))  # in hand to the end
        pending = asyncio.ensure_future(guests[0].ask(Note(number=1), timeout=1000))
    assert pending.done()
    pending.exception()
    assert asyncio.all_tasks() == me()
    assert system.abandoned in ([], ())


@pytest.mark.asyncio
async def test_an_idle_actor_has_no_task_and_no_timer() -> None:
    async with ActorSystem() as system:
        before = asyncio.all_tasks(), timers()
        refs = [await system.spawn(Part(f"child{number}").spec()) for number in range(100)]
        for ref in refs:
            await ref.ask(Call(what=takes(0.01)))
        await asyncio.sleep(100)
        assert (asyncio.all_tasks(), timers()) == before


@pytest.mark.asyncio
async def test_abandoned_tasks_are_the_only_exception_and_are_taken_out_of_all_tasks() -> None:
    gate = Gate(resists=STUBBORN)
    async with ActorSystem() as system:
        ref = await system.spawn(Part().spec(shutdown=1.0))
        ref.tell(Call(what=gate))
        await gate.reached.wait()
    assert asyncio.all_tasks() == me()
    assert [name for name in system.abandoned if "/user/player" in name] != []
    gate.open()
    await settle()


@pytest.mark.asyncio
async def test_after_a_collapse_all_tasks_are_just_the_caller() -> None:
    parts = [Part(f"child{number}") for number in range(5)]
    with pytest.raises(SystemCollapsed):
        async with ActorSystem(supervisor("root", *(part.spec() for part in parts), max_restarts=0)) as system:
            for part in parts[1:]:
                system.lookup(f"root/{part.name}", Player).tell(Call(what=takes(0.5)))
            system.lookup("root/child0", Player).tell(Flat(what=boom))
            await asyncio.sleep(1000)
    assert asyncio.all_tasks() == me()


@pytest.mark.asyncio
async def test_a_task_that_was_cancelled_before_its_first_step_leaves_nothing() -> None:
    async with ActorSystem() as system:
        refs = [await system.spawn(Part(f"child{number}").spec(restart="temporary")) for number in range(10)]
        for ref in refs:
            ref.tell(Call(what=takes(10)))
            ref.kill()
        for ref in refs:
            await ref.wait_stopped()
    assert asyncio.all_tasks() == me()


# Flat over 10,000 cycles.


class Echo(Message[int]):
    number: int


class Brief(Actor[Echo]):
    @handler
    def echo(self, message: Echo) -> int:
        return message.number


class BriefAndSuspended(Actor[Echo]):
    async def initialize(self) -> None:
        await asyncio.sleep(0)

    async def shutdown(self, reason: object) -> None:
        await asyncio.sleep(0)

    @handler
    async def echo(self, message: Echo) -> int:
        await asyncio.sleep(0)
        return message.number


class Parent(Actor[Echo]):
    async def initialize(self) -> None:
        await self.context.spawn(Brief)

    @handler
    def echo(self, message: Echo) -> int:
        return message.number


async def measure() -> tuple[int, int, int, int, int]:
    await asyncio.sleep(100)  # whatever timers there are have fired
    gc.collect()
    return len(asyncio.all_tasks()), timers(), len(open_descriptors()), len(gc.get_objects()), sys.getallocatedblocks()


async def flat(cycles: int, cycle: Callable[[int], Awaitable[object]]) -> None:
    """Check that the second half of the cycles adds nothing to what the first has left, caches filled and all."""
    for number in range(cycles // 2):
        await cycle(number)
    before = await measure()
    for number in range(cycles // 2, cycles):
        await cycle(number)
    after = await measure()
    assert after[:3] == before[:3]
    assert after[3] - before[3] < cycles // 50  # objects that the garbage collector knows
    assert (
        after[4] - before[4] < cycles // 2
    )  # blocks of memory: less than one for each cycle, whatever the allocator does


@pytest.mark.asyncio
async def test_ten_thousand_actors_that_come_and_go_leave_nothing() -> None:
    async with ActorSystem() as system:

        async def cycle(number: int) -> None:
            ref = await system.spawn(Brief)
            assert await ref.ask(Echo(number=number)) == number
            ref.stop()
            await ref.wait_stopped()

        await flat(10_000, cycle)
        assert system.statistics().stopped >= 10_000


@pytest.mark.parametrize("how", ["stop", "drain", "kill"])
@pytest.mark.asyncio
async def test_a_thousand_actors_with_async_hooks_and_handlers_leave_nothing(how: str) -> None:
    async with ActorSystem() as system:

        async def cycle(number: int) -> None:
            ref = await system.spawn(child(BriefAndSuspended).options(restart="temporary"))
            assert await ref.ask(Echo(number=number)) == number
            ref.tell(Echo(number=number))
            getattr(ref, how)()
            await ref.wait_stopped(timeout=10)

        await flat(1_000, cycle)


@pytest.mark.asyncio
async def test_a_thousand_actors_with_children_leave_nothing() -> None:
    async with ActorSystem() as system:

        async def cycle(number: int) -> None:
            ref = await system.spawn(Parent)
            ref.stop()
            await ref.wait_stopped()

        await flat(1_000, cycle)


@pytest.mark.asyncio
async def test_a_thousand_failed_starts_leave_nothing() -> None:
    async with ActorSystem() as system:
        part = Part(initialize=boom)

        async def cycle(number: int) -> None:
            for remembered in (part.instances, part.journal, part.steps):
                remembered.clear()
            with pytest.raises(StartError):
                await system.spawn(part.spec())

        await flat(1_000, cycle)


@pytest.mark.asyncio
async def test_a_thousand_crashes_and_restarts_leave_nothing() -> None:
    part = Part()
    async with ActorSystem(supervisor("root", part.spec(), max_restarts=1_000_000)) as system:
        ref: ActorRef[Any] = system.lookup("root/player", Player)

        async def cycle(number: int) -> None:
            with pytest.raises(ActorFailed):
                await ref.ask(Call(what=boom))
            await asyncio.sleep(6)  # what the intensity remembers is past
            for remembered in (part.instances, part.journal, part.ends, part.steps):
                remembered.clear()

        await flat(1_000, cycle)


@pytest.mark.asyncio
async def test_a_thousand_asks_that_time_out_leave_nothing() -> None:
    async with ActorSystem() as system:
        ref = await system.spawn(Part().spec())

        async def cycle(number: int) -> None:
            with pytest.raises(AskTimeout):
                await ref.ask(Call(what=takes(0.2)), timeout=0.1)

        await flat(1_000, cycle)


@pytest.mark.asyncio
async def test_dead_letters_are_counted_and_not_kept() -> None:
    async with ActorSystem() as system:
        ref = await system.spawn(Part().spec())
        ref.stop()
        await ref.wait_stopped()

        async def cycle(number: int) -> None:
            for _ in range(10):
                ref.tell(Note(number=number))
            await asyncio.sleep(0)

        await flat(1_000, cycle)
        assert system.statistics().dead_letters == 10_000


@pytest.mark.asyncio
async def test_a_hundred_systems_one_after_another_leave_nothing() -> None:
    async def cycle(number: int) -> None:
        async with ActorSystem(child(Brief), settings=Settings()) as system:
            await system.lookup("brief", Brief).ask(Echo(number=number))

    await flat(200, cycle)


@pytest.mark.asyncio
async def test_what_an_actor_held_is_free_when_it_has_ended() -> None:
    class Big:
        pass

    class Holder(Actor[Echo]):
        def __init__(self) -> None:
            self.big = Big()
            held.append(weakref.ref(self.big))

        @handler
        def echo(self, message: Echo) -> int:
            if message.number < 0:
                raise Boom
            return message.number

    held: list[weakref.ref[Big]] = []
    diary = Diary()
    async with ActorSystem(instruments=[diary]) as system:
        ref = await system.spawn(Holder)
        ref.tell(Echo(number=-1))
        await settle()
        gc.collect()
        assert [big() is None for big in held] == [True, False]  # the crashed instance, the present one
        ref.stop()
        await ref.wait_stopped()
        await settle()
        gc.collect()
        assert [big() is None for big in held] == [True, True]
        assert len(diary.crashed) == 1  # the reason is still held here, and pins nothing
