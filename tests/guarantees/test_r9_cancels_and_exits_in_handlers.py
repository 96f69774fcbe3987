"""R9: a CancelledError that the runtime did not ask for is a crash, and so is whatever else a handler may raise."""

# ruff: noqa: PT012 - what raises is the `async with` as a whole

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import pytest

from tests.cast import cancel_in_vain
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
    takes,
)
from understudy import (
    ActorFailed,
    ActorStopped,
    ActorSystem,
    Crashed,
    Killed,
    Shutdown,
    StartError,
    StartFailed,
    supervisor,
)


class Odd(BaseException):
    """Neither an Exception nor one of those that Python knows."""


ODD_ONES: list[Callable[[], BaseException]] = [
    asyncio.CancelledError,
    SystemExit,
    lambda: SystemExit(3),
    MemoryError,
    RecursionError,
    GeneratorExit,
    StopIteration,
    StopAsyncIteration,
    lambda: BaseExceptionGroup("several", [SystemExit(1), ValueError()]),
    Odd,
]
NAMES = [repr(make()) for make in ODD_ONES]


def raising(make: Callable[[], BaseException]) -> Callable[[object], object]:
    def what(_: object) -> object:
        raise make()

    return what


def raising_later(make: Callable[[], BaseException]) -> Callable[[object], object]:
    async def what(_: object) -> object:
        await asyncio.sleep(0.1)
        raise make()

    return what


HANDLERS: dict[str, Callable[[Callable[[], BaseException]], Call | Flat]] = {
    "def": lambda make: Flat(what=raising(make)),
    "async def": lambda make: Call(what=raising(make)),
    "suspended": lambda make: Call(what=raising_later(make)),
}


@pytest.mark.parametrize("handler", HANDLERS)
@pytest.mark.parametrize("make", ODD_ONES, ids=NAMES)
@pytest.mark.asyncio
async def test_whatever_a_handler_raises_is_the_crash_of_that_actor_alone(
    make: Callable[[], BaseException], handler: str
) -> None:
    part, other = Part(), Part("other")
    async with staged(part.spec(), other.spec()) as stage:
        player = stage["player"]
        with pytest.raises(ActorFailed) as caught:
            await player.ask(HANDLERS[handler](make))
        [(path, reason, _)] = stage.diary.crashed
        assert path == player.path
        assert isinstance(reason, Crashed)
        # `raise StopIteration` in a coroutine becomes a RuntimeError before anybody can see it.
        error = reason.error.__cause__ if isinstance(reason.error, RuntimeError) and handler != "def" else reason.error
        expected = RecursionError if isinstance(make(), RecursionError) else type(make())
        assert isinstance(reason.error if expected is RecursionError else error, expected)
        assert caught.value.reason == reason
        assert await player.ask(Flat(what=lambda actor: actor.incarnation)) == 2
        assert other.starts == 1
        assert stage.system.statistics().crashed == 1


@pytest.mark.parametrize("make", ODD_ONES, ids=NAMES)
@pytest.mark.asyncio
async def test_whatever_a_handler_raises_on_a_tell_is_a_crash_too(make: Callable[[], BaseException]) -> None:
    part = Part()
    async with staged(part.spec()) as stage:
        stage["player"].tell(Flat(what=raising(make)))
        stage["player"].tell(Note(number=1))
        stage["player"].tell(Call(what=raising(make)))
        stage["player"].tell(Note(number=2))
        await settle()
        assert part.notes_by_incarnation == {2: [1], 3: [2]}


@pytest.mark.parametrize("where", ["construct", "initialize"])
@pytest.mark.parametrize("make", ODD_ONES, ids=NAMES)
@pytest.mark.asyncio
async def test_whatever_a_start_raises_is_a_failed_start(make: Callable[[], BaseException], where: str) -> None:
    part = Part(**{where: raising(make)})  # type: ignore[arg-type]
    async with ActorSystem() as system:
        with pytest.raises(StartError) as caught:
            await system.spawn(part.spec())
        assert isinstance(caught.value.reason, StartFailed)
        assert part.ends == []
        assert system.find("player", Player) is None
        assert (await system.spawn(Part("other").spec())).status == "running"


@pytest.mark.parametrize("make", ODD_ONES, ids=NAMES)
@pytest.mark.asyncio
async def test_whatever_a_shutdown_hook_raises_is_reported_and_the_end_goes_on(
    make: Callable[[], BaseException],
) -> None:
    diary = Diary()
    part = Part(shutdown=raising(make))
    async with ActorSystem(instruments=[diary]) as system:
        ref = await system.spawn(part.spec())
        ref.stop()
        assert isinstance(await ref.wait_stopped(), Shutdown)
    assert [path for path, _ in diary.failed_hooks] == [ref.path]


@pytest.mark.asyncio
async def test_endless_recursion_in_a_handler_is_that_actors_crash() -> None:
    def again(actor: object) -> object:
        return again(actor)

    part = Part()
    async with staged(part.spec()) as stage:
        for kind in (Call, Flat):
            with pytest.raises(ActorFailed) as caught:
                await stage["player"].ask(kind(what=again))
            assert isinstance(caught.value.__cause__, RecursionError)
        await settle()
        assert part.starts == 3


# Cancels that come from somewhere else.


@pytest.mark.asyncio
async def test_a_cancel_of_the_handlers_task_by_user_code_is_a_crash() -> None:
    gate = Gate()
    part = Part()
    async with staged(part.spec()) as stage:
        player = stage["player"]
        asked = asyncio.ensure_future(player.ask(Call(what=gate)))
        await gate.reached.wait()
        player.tell(Note(number=1))
        [task] = [task for task in asyncio.all_tasks() if task.get_name() == f"actor:{player.path}"]
        task.cancel()
        with pytest.raises(ActorFailed):
            await asked
        await settle()
        [(_, reason, message_type)] = stage.diary.crashed
        assert isinstance(reason, Crashed)
        assert isinstance(reason.error, asyncio.CancelledError)
        assert message_type == "Call"
        assert part.notes_by_incarnation == {2: [1]}


@pytest.mark.asyncio
async def test_a_handler_that_cancels_itself_and_then_waits_crashes() -> None:
    async def cancel_and_wait(_: object) -> None:
        current().cancel()
        await asyncio.sleep(1)

    part = Part()
    async with staged(part.spec()) as stage:
        with pytest.raises(ActorFailed):
            await stage["player"].ask(Call(what=cancel_and_wait))
        await settle()
        assert part.starts == 2
        assert isinstance(stage.diary.crashed[0][1], Crashed)


@pytest.mark.asyncio
async def test_waiting_for_a_task_that_somebody_cancelled_is_a_crash() -> None:
    async def wait_for_a_cancelled_task(_: object) -> None:
        task = asyncio.ensure_future(asyncio.sleep(1))
        task.cancel()
        await task

    part = Part()
    async with staged(part.spec()) as stage:
        with pytest.raises(ActorFailed) as caught:
            await stage["player"].ask(Call(what=wait_for_a_cancelled_task))
        assert isinstance(caught.value.__cause__, asyncio.CancelledError)
        await settle()
        assert part.starts == 2


def current() -> asyncio.Task[Any]:
    task = asyncio.current_task()
    assert task is not None
    return task


async def cancel_and_return(_: object) -> str:
    current().cancel()
    return "given"


async def cancel_and_swallow(_: object) -> str:
    current().cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.sleep(1)
    return "given"


async def cancel_many_times(_: object) -> str:
    for _attempt in range(3):
        current().cancel()
        try:
            await asyncio.sleep(1)
        except asyncio.CancelledError:
            continue
    current().cancel()
    return "given"


@pytest.mark.parametrize("leaving", [cancel_and_return, cancel_and_swallow, cancel_many_times])
@pytest.mark.asyncio
async def test_a_cancel_that_a_handler_leaves_behind_does_not_reach_the_next_message(
    leaving: Callable[[object], object],
) -> None:
    async def times_out(_: object) -> tuple[int, str]:
        before = current().cancelling()
        try:
            async with asyncio.timeout(0.1):
                await asyncio.sleep(10)
        except TimeoutError:
            return before, "timed out"
        except asyncio.CancelledError:
            return before, "cancelled"
        return before, "neither"

    part = Part()
    async with staged(part.spec()) as stage:
        player = stage["player"]
        first = asyncio.ensure_future(player.ask(Call(what=leaving)))
        second = asyncio.ensure_future(player.ask(Call(what=times_out)))
        third = asyncio.ensure_future(player.ask(Call(what=takes(0.5))))
        assert await first == "given"  # a reply already given stands
        assert await second == (0, "timed out")
        assert await third == 0.5
        assert part.starts == 1
        assert stage.diary.crashed == []


@pytest.mark.parametrize("leaving", [cancel_and_return, cancel_and_swallow, cancel_many_times])
@pytest.mark.asyncio
async def test_a_cancel_that_initialize_leaves_behind_does_not_reach_the_first_message(
    leaving: Callable[[object], object],
) -> None:
    part = Part(initialize=leaving)
    async with staged(part.spec()) as stage:
        assert await stage["player"].ask(Call(what=lambda actor: current().cancelling())) == 0
        assert await stage["player"].ask(Call(what=takes(0.5))) == 0.5
        assert part.starts == 1


@pytest.mark.asyncio
async def test_the_task_that_carries_a_foreign_cancel_is_replaced() -> None:
    tasks: list[asyncio.Task[Any]] = []

    async def look(_: object) -> None:
        tasks.append(current())

    async def look_and_cancel(_: object) -> None:
        tasks.append(current())
        current().cancel()

    part = Part()
    async with staged(part.spec()) as stage:
        player = stage["player"]
        for what in (look_and_cancel, look, look_and_cancel, look):
            player.tell(Call(what=what))
        await settle()
        assert len(tasks) == 4
        assert tasks[0] is not tasks[1]
        assert tasks[2] is not tasks[3]
        assert stage.diary.crashed == []


@pytest.mark.asyncio
async def test_a_reply_given_before_a_crash_by_cancel_of_the_next_message_stands() -> None:
    gate = Gate()
    part = Part()
    async with staged(part.spec()) as stage:
        player = stage["player"]
        first = asyncio.ensure_future(player.ask(Call(what=lambda actor: "given")))
        second = asyncio.ensure_future(player.ask(Call(what=gate)))
        await gate.reached.wait()
        [task] = [task for task in asyncio.all_tasks() if task.get_name() == f"actor:{player.path}"]
        task.cancel()
        assert await first == "given"
        with pytest.raises(ActorFailed):
            await second


# With the runtime's own mark, whatever the handler ends with, the reason is the mark's.


async def raise_another(gate: Gate) -> None:
    try:
        await gate()
    except asyncio.CancelledError:
        raise Boom from None


async def return_normally(gate: Gate) -> str:
    try:
        await gate()
    except asyncio.CancelledError:
        return "swallowed"
    return "never"


async def raise_in_finally(gate: Gate) -> None:
    try:
        await gate()
    finally:
        boom()


ENDS = [raise_another, return_normally, raise_in_finally]


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.asyncio
async def test_whatever_a_killed_handler_ends_with_it_was_killed(end: Callable[[Gate], object]) -> None:
    gate = Gate()
    part = Part()
    async with staged(part.spec(restart="temporary")) as stage:
        player = stage["player"]
        asked = asyncio.ensure_future(player.ask(Call(what=lambda actor: end(gate))))
        await gate.reached.wait()
        player.kill()
        assert await player.wait_stopped() == Killed()
        assert asked.done()  # with what the handler returned, if it did
        assert asked.exception() is None or isinstance(asked.exception(), ActorStopped)
        assert part.ends == []


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.asyncio
async def test_whatever_a_handler_ends_with_after_its_grace_it_was_killed_while_stopping(
    end: Callable[[Gate], object],
) -> None:
    gate = Gate()
    part = Part()
    async with staged(part.spec(shutdown=1.0), max_restarts=0) as stage:
        player = stage["player"]
        player.tell(Call(what=lambda actor: end(gate)))
        await gate.reached.wait()
        began = now()
        player.stop()
        assert forced(await player.wait_stopped())
        assert now() - began == pytest.approx(1.0, abs=0.01)
        assert part.starts == 1
        assert stage.top.status == "running"


@pytest.mark.asyncio
async def test_a_killed_handler_that_ends_with_a_foreign_cancel_was_killed() -> None:
    async def cancel_again(gate: Gate) -> None:
        try:
            await gate()
        finally:
            current().cancel()

    gate = Gate()
    part = Part()
    async with staged(part.spec(restart="temporary")) as stage:
        player = stage["player"]
        player.tell(Call(what=lambda actor: cancel_again(gate)))
        await gate.reached.wait()
        player.kill()
        assert await player.wait_stopped() == Killed()


# KeyboardInterrupt: as the first Ctrl-C, it stops the system in good order and then ends the program.


def interrupt(_: object) -> None:
    raise KeyboardInterrupt


async def interrupt_later(_: object) -> None:
    await asyncio.sleep(0.1)
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    "message",
    [Flat(what=interrupt), Call(what=interrupt), Call(what=interrupt_later)],
    ids=["def", "async def", "suspended"],
)
@pytest.mark.asyncio
async def test_a_keyboard_interrupt_in_a_handler_becomes_an_orderly_stop_of_the_system(message: Call | Flat) -> None:
    diary = Diary()
    journal: list[str] = []
    a, b, c = (Part(name, journal, shutdown=takes(1.0)) for name in "abc")
    with pytest.raises(KeyboardInterrupt):
        async with ActorSystem(supervisor("root", a.spec(), b.spec(), c.spec()), instruments=[diary]) as system:
            first, second, third = (system.lookup(f"root/{name}", Player) for name in "abc")
            journal.clear()
            second.tell(message)
            await asyncio.sleep(1000)
    assert now() < 5
    assert [line for line in journal if not line.startswith("b")] == ["c stops", "c down", "a stops", "a down"]
    assert {ref.status for ref in (first, second, third)} == {"stopped"}
    assert (a.starts, b.starts, c.starts) == (1, 1, 1)
    assert isinstance(diary.reasons(first.path)[0], Shutdown)
    assert isinstance(diary.reasons(third.path)[0], Shutdown)
    assert current().cancelling() == 0


@pytest.mark.asyncio
async def test_who_asked_for_what_was_interrupted_does_not_wait_for_ever() -> None:
    with pytest.raises(KeyboardInterrupt):
        async with ActorSystem() as system:
            ref = await system.spawn(Part().spec())
            asked = asyncio.ensure_future(ref.ask(Call(what=interrupt), timeout=1000))
            await asyncio.sleep(1000)
    assert now() < 1
    with pytest.raises((ActorFailed, ActorStopped)):
        await asked


@pytest.mark.asyncio
async def test_a_handler_that_is_suspended_may_finish_after_an_interrupt() -> None:
    gate = Gate()
    with pytest.raises(KeyboardInterrupt):
        async with ActorSystem() as system:
            first, second = await system.spawn(Part("a").spec()), await system.spawn(Part("b").spec())
            asked = asyncio.ensure_future(second.ask(Call(what=gate)))
            await gate.reached.wait()
            asyncio.get_running_loop().call_later(1.0, gate.open)
            first.tell(Flat(what=interrupt))
            await asyncio.sleep(1000)
    assert await asked == "passed"
    assert gate.cancelled_at == []


@pytest.mark.asyncio
async def test_a_keyboard_interrupt_in_a_hook_stops_the_system_in_good_order_too() -> None:
    other = Part("other")
    with pytest.raises(KeyboardInterrupt):
        async with ActorSystem() as system:
            await system.spawn(other.spec())
            with pytest.raises(StartError):
                await system.spawn(Part(initialize=interrupt).spec())
            await asyncio.sleep(1000)
    assert other.journal[-1] == "other down"
    assert now() < 1


@pytest.mark.asyncio
async def test_a_keyboard_interrupt_in_a_shutdown_hook_ends_the_program_too() -> None:
    other = Part("other")
    with pytest.raises(KeyboardInterrupt):
        async with ActorSystem() as system:
            await system.spawn(other.spec())
            ref = await system.spawn(Part(shutdown=interrupt).spec())
            ref.stop()
            await asyncio.sleep(1000)
    assert other.journal[-1] == "other down"
    assert now() < 1


@pytest.mark.asyncio
async def test_an_actor_that_cannot_be_cancelled_is_no_crash_of_its_supervisor() -> None:
    gate = Gate(resists=STUBBORN)
    part, other = Part(), Part("other")
    async with staged(part.spec(), other.spec()) as stage:
        player = stage["player"]
        player.tell(Call(what=gate))
        await gate.reached.wait()
        player.kill()
        await asyncio.sleep(2.0)
        assert await player.ask(Flat(what=lambda actor: actor.incarnation)) == 2
        assert (stage.top.status, other.starts) == ("running", 1)
        gate.open()
        await settle()


@pytest.mark.parametrize("then", ["returns", "raises"])
@pytest.mark.parametrize("asked", [False, True], ids=["told", "asked"])
@pytest.mark.asyncio
async def test_a_cancel_that_a_handler_takes_back_at_once_meets_no_later_message(asked: bool, then: str) -> None:
    """Before Python 3.13 it strikes at the next await of the task, whoever's that is."""
    part = Part()

    async def takes_back(actor: object) -> None:
        task = asyncio.current_task()
        assert task is not None
        cancel_in_vain(task)
        if then == "raises":
            raise boom()

    async def waits(actor: Player) -> None:
        await asyncio.sleep(0.1)
        seen.append(actor.incarnation)

    seen: list[int] = []
    async with staged(part.spec()) as stage:
        player = stage["player"]
        for _ in range(2):
            if asked:
                with contextlib.suppress(ActorFailed):
                    await player.ask(Call(what=takes_back))
            else:
                player.tell(Call(what=takes_back))
            player.tell(Call(what=waits))
        await asyncio.sleep(1.0)  # longer than all of it takes
        assert seen == ([1, 1] if then == "returns" else [2, 3])
        assert len(stage.diary.crashed) == (0 if then == "returns" else 2)
