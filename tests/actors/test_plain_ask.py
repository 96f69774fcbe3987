"""The usual ask is its own future, and who waits for it goes on at the end of the turn in which the reply is given."""

from __future__ import annotations

import asyncio
import gc
import sys
import traceback
import types
import weakref
from collections.abc import Callable, Coroutine, Generator
from contextlib import suppress
from contextvars import Context, ContextVar
from typing import Any

import pytest

from tests.cast import settle
from understudy import (
    Actor,
    ActorRef,
    ActorSystem,
    AskTimeout,
    InvalidContext,
    Message,
    Refused,
    Reply,
    Settings,
    handler,
)
from understudy.actors._plain_ask import PlainAsk
from understudy.actors._runtime import runtime_of
from understudy.instrument import Instrument
from understudy.testing import Simulation, simulate

COLOUR: ContextVar[str] = ContextVar("colour", default="none")
UNHURRIED = Settings(slice_seconds=60.0)


class Get(Message[int]): ...


class Decline(Message[int]): ...


class Hold(Message[int]): ...


class Call(Message[int]):
    model_config = {"arbitrary_types_allowed": True}
    what: Callable[[], object]


NO = Refused("not today")


class Giver(Actor[Get | Decline | Call | Hold]):
    def __init__(self, held: list[Reply[int]] | None = None) -> None:
        self.given = 0
        self.held = [] if held is None else held

    @handler
    def get(self, message: Get) -> int:
        self.given += 1
        return self.given

    @handler
    def hold(self, message: Hold) -> int:
        self.held.append(self.context.reply_later())
        return 0

    @handler
    def decline(self, message: Decline) -> int:
        raise NO

    @handler
    def call(self, message: Call) -> int:
        message.what()
        self.given += 1
        return self.given


class Letters(Instrument):
    def __init__(self) -> None:
        self.seen: list[tuple[object, str]] = []

    def dead_letter(self, message: object, recipient: str, sender: str | None, why: str, dropped: int = 0) -> None:
        self.seen.append((message, why))


async def ready(system: ActorSystem) -> ActorRef[Any]:
    """One that is up, has a mailbox, and has given 1; no turn is to come."""
    ref: ActorRef[Any] = await system.spawn(Giver)
    await ref.ask(Get())
    await asyncio.sleep(0)
    return ref


async def waiting(
    system: ActorSystem, ref: ActorRef[Any], *questions: Coroutine[Any, Any, int]
) -> list[asyncio.Task[Any]]:
    """Tasks that have asked and wait for the next turn, none of them having been answered ahead."""
    runtime_of(system).dispatcher.crowded = True
    tasks = [asyncio.ensure_future(question) for question in questions]
    await asyncio.sleep(0)
    assert not any(task.done() for task in tasks)
    assert all(type(item) is PlainAsk for item in ref._cell.make_mailbox().items)  # pyright: ignore[reportPrivateUsage]
    return tasks


@pytest.mark.asyncio
async def test_who_waits_goes_on_in_the_turn_of_the_reply_as_itself() -> None:
    loop, seen = asyncio.get_running_loop(), list[Any]()

    async def ask(ref: ActorRef[Any], colour: str) -> int:
        COLOUR.set(colour)
        reply = await ref.ask(Get())
        seen.append((reply, COLOUR.get(), asyncio.current_task()))
        async with asyncio.timeout(1.0):
            await asyncio.sleep(0)
        return reply

    async with ActorSystem(settings=UNHURRIED) as system:
        ref = await ready(system)
        tasks = await waiting(system, ref, ask(ref, "red"), ask(ref, "blue"))
        # What is ordered now has its turn after that of the dispatcher, and before whatever a future would call.
        loop.call_soon(lambda: seen.append((asyncio.current_task(), COLOUR.get())))
        assert await asyncio.gather(*tasks) == [2, 3]
    assert seen == [(2, "red", tasks[0]), (3, "blue", tasks[1]), (None, "none")]


@pytest.mark.asyncio
async def test_a_cancel_in_the_turn_of_the_reply_wins_and_the_reply_is_late() -> None:
    letters = Letters()
    async with ActorSystem(settings=UNHURRIED, instruments=[letters]) as system:
        ref = await ready(system)
        victim: list[asyncio.Task[int]] = []
        asks = ref.ask(Get()), ref.ask(Call(what=lambda: victim[0].cancel()))
        first, second = await waiting(system, ref, *asks)
        victim.append(first)
        with pytest.raises(asyncio.CancelledError):
            await first
        assert await second == 3
    assert letters.seen == [(2, "late reply")]


@pytest.mark.asyncio
async def test_a_cancel_before_the_reply_has_its_text_and_the_question_is_not_begun() -> None:
    letters = Letters()
    async with ActorSystem(settings=UNHURRIED, instruments=[letters]) as system:
        ref = await ready(system)
        [asked] = await waiting(system, ref, ref.ask(Get()))
        assert asked.cancel("not wanted")
        with pytest.raises(asyncio.CancelledError, match="not wanted"):
            await asked
        assert await ref.ask(Get()) == 2
    assert [why for _, why in letters.seen] == ["nobody waits for the reply any more"]


def test_what_ends_the_event_loop_does_not_lose_those_who_go_on_after_it() -> None:
    """Of a task that raises KeyboardInterrupt or SystemExit asyncio lets the error out of its loop."""
    seen: list[int] = []

    async def ask(ref: ActorRef[Any], error: BaseException | None = None) -> None:
        seen.append(await ref.ask(Get()))
        if error is not None:
            raise error

    async def main() -> None:
        async with ActorSystem(settings=UNHURRIED) as system:
            ref = await ready(system)
            tasks = await waiting(system, ref, ask(ref), ask(ref, SystemExit(3)), *(ask(ref) for _ in range(20)))
            await asyncio.wait(tasks)
            with suppress(SystemExit):
                tasks[1].result()

    loop = asyncio.new_event_loop()
    task = loop.create_task(main())
    with pytest.raises(SystemExit):
        loop.run_until_complete(task)
    loop.run_until_complete(task)
    loop.close()
    assert sorted(seen) == list(range(2, 24))


@pytest.mark.asyncio
async def test_those_for_whom_the_slice_is_too_short_go_on_in_the_next_turns() -> None:
    now, order = 0.0, list[int]()

    async def ask(ref: ActorRef[Any], number: int) -> None:
        nonlocal now
        await ref.ask(Get())
        now += 1.0
        order.append(number)

    async with ActorSystem() as system:
        ref = await ready(system)
        runtime_of(system).env.stopwatch = lambda: now
        tasks = await waiting(system, ref, *(ask(ref, number) for number in range(50)))
        between: list[int] = []
        asyncio.get_running_loop().call_soon(lambda: between.append(len(order)))
        await asyncio.gather(*tasks)
    assert order == list(range(50))
    assert between == [8]


@pytest.mark.asyncio
async def test_an_error_that_is_raised_again_and_again_does_not_grow() -> None:
    depths: list[int] = []
    async with ActorSystem(settings=UNHURRIED) as system:
        ref = await system.spawn(Giver)
        await ref.ask(Get())
        for crowd in (False, True) * 3:
            runtime_of(system).dispatcher.crowded = crowd
            with pytest.raises(Refused) as caught:
                await ref.ask(Decline())
            assert caught.value is NO
            depths.append(len(caught.traceback))
            await settle()
    assert len(set(depths[::2])) == len(set(depths[1::2])) == 1


@pytest.mark.asyncio
async def test_callbacks_of_others_are_called_by_the_event_loop_and_can_be_taken_back() -> None:
    seen: list[str] = []
    async with ActorSystem(settings=UNHURRIED) as system:
        held: list[Reply[int]] = []
        ref = await system.spawn(Giver, held)
        asked = asyncio.ensure_future(ref.ask(Hold()))
        await settle()
        [reply] = held
        ask: Any = reply._ask  # pyright: ignore[reportPrivateUsage]

        def gone(_: object) -> None:
            seen.append("gone")

        ask.add_done_callback(gone)
        ask.add_done_callback(lambda _: seen.append(COLOUR.get()), context=Context())
        reply.when_closed(lambda: seen.append("closed"))
        assert ask.remove_done_callback(gone) == 1
        assert ask.remove_done_callback(gone) == 0
        assert (ask.done(), ask.cancelled(), reply.open) == (False, False, True)
        assert reply.send(7)
        assert (seen, reply.open) == ([], False)
        ask.add_done_callback(lambda _: seen.append("late"))
        assert await asked == 7
        await settle()
        assert (ask.result(), ask.exception(), ask.cancel()) == (7, None, False)
        assert not reply.send(8)
    assert seen == ["none", "closed", "late"]


@pytest.mark.asyncio
async def test_one_that_was_given_up_says_so_to_whoever_looks() -> None:
    async with ActorSystem(settings=UNHURRIED) as system:
        held: list[Reply[int]] = []
        ref = await system.spawn(Giver, held)
        closed = asyncio.Event()
        asked = asyncio.ensure_future(ref.ask(Hold()))
        await settle()
        held[0].when_closed(closed.set)
        ask = held[0]._ask  # pyright: ignore[reportPrivateUsage]
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        await closed.wait()
        assert (ask.future.done(), ask.future.cancelled(), ask.answered) == (True, True, False)
        with pytest.raises(asyncio.CancelledError):
            ask.future.exception()
        with pytest.raises(asyncio.CancelledError):
            ask.future.result()


@pytest.mark.asyncio
async def test_what_was_answered_is_not_kept_for_its_deadline_and_what_was_not_is() -> None:
    async with ActorSystem(settings=UNHURRIED) as system:
        ref = await system.spawn(Giver)
        deadlines = runtime_of(system).asks
        await asyncio.gather(*(ref.ask(Get()) for _ in range(50)))
        assert not deadlines.fresh
        asked = asyncio.ensure_future(ref.ask(Hold(), timeout=3.0))
        endless = asyncio.ensure_future(ref.ask(Hold(), timeout=float("inf")))
        await settle()
        assert len(deadlines.fresh) == 2
        with pytest.raises(AskTimeout):
            await asked
        assert (asyncio.get_running_loop().time(), endless.done()) == (pytest.approx(3.0), False)
        assert not deadlines.fresh
        endless.cancel()


@pytest.mark.asyncio
async def test_a_task_of_pure_python_waits_in_the_same_way() -> None:
    loop = asyncio.get_running_loop()
    pure: Any = getattr(asyncio.tasks, "_PyTask")  # noqa: B009 - a private name
    async with ActorSystem(settings=UNHURRIED) as system:
        ref = await ready(system)
        runtime_of(system).dispatcher.crowded = True
        tasks = [pure(ref.ask(Get()), loop=loop) for _ in range(3)]
        stopped = pure(ref.ask(Hold()), loop=loop)
        await settle()
        assert [task.result() for task in tasks] == [2, 3, 4]
        stopped.cancel()
        await settle()
        assert stopped.cancelled()


def test_who_asks_in_another_loop_of_the_thread_is_told_so_also_where_a_turn_is_to_come() -> None:
    first, second = asyncio.new_event_loop(), asyncio.new_event_loop()

    async def begin() -> tuple[ActorSystem, ActorRef[Any]]:
        system = ActorSystem(settings=UNHURRIED)
        await system.__aenter__()
        ref = await ready(system)
        runtime_of(system).dispatcher.crowded = True
        return system, ref

    async def end(system: ActorSystem, ref: ActorRef[Any]) -> int:
        reply = await ref.ask(Get())
        await system.__aexit__(None, None, None)
        return reply

    async def elsewhere(ref: ActorRef[Any]) -> None:
        with pytest.raises(InvalidContext, match="in another event loop"):
            await ref.ask(Get())

    system, ref = first.run_until_complete(begin())
    # Not by `tell`: the message has to be there although the loop stands still.
    ref._cell.make_mailbox().offer(Get())  # pyright: ignore[reportPrivateUsage]
    ref._cell.enqueue()  # pyright: ignore[reportPrivateUsage]
    second.run_until_complete(elsewhere(ref))
    assert first.run_until_complete(end(system, ref)) == 3
    first.close()
    second.close()


def test_nothing_is_done_ahead_for_who_asks_in_another_loop_of_the_thread() -> None:
    first, second = asyncio.new_event_loop(), asyncio.new_event_loop()
    seen: list[object] = []

    async def begin() -> tuple[ActorSystem, ActorRef[Any]]:
        system = ActorSystem()
        await system.__aenter__()
        return system, await system.spawn(Giver)

    async def tell_at_the_end(ref: ActorRef[Any]) -> None:
        # What is told in the last iteration of a loop has its turn when that runs again.
        task: Any = asyncio.current_task()
        task.add_done_callback(lambda _: ref.tell(Call(what=lambda: seen.append(asyncio.get_running_loop()))))

    async def elsewhere(ref: ActorRef[Any]) -> None:
        with pytest.raises(InvalidContext, match="in another event loop"):
            await ref.ask(Get())
        assert seen == []

    system, ref = first.run_until_complete(begin())
    first.run_until_complete(tell_at_the_end(ref))
    second.run_until_complete(elsewhere(ref))
    first.run_until_complete(system.__aexit__(None, None, None))
    assert seen == [first]
    first.close()
    second.close()


@types.coroutine
def _rest_of(coroutine: Any, waits: Any) -> Generator[Any, Any, Any]:
    while True:
        try:
            yield waits
            waits = coroutine.send(None)
        except StopIteration as stop:
            return stop.value


@pytest.mark.asyncio
async def test_a_question_that_was_begun_before_its_task_holds_nobody_up() -> None:
    """As a hand-made eager start does, which goes on with the coroutine in a task a turn later."""
    async with ActorSystem(settings=UNHURRIED) as system:
        held: list[Reply[int]] = []
        ref = await system.spawn(Giver, held)
        await ref.ask(Get())
        await asyncio.sleep(0)
        for early in (True, False):
            closed = list[int]()
            runtime_of(system).dispatcher.crowded = True
            before = asyncio.ensure_future(ref.ask(Get()))
            await asyncio.sleep(0)
            begun = ref.ask(Get()) if early else ref.ask(Hold())
            waits = begun.send(None)
            after = asyncio.ensure_future(ref.ask(Get()))
            await settle()
            assert (before.done(), after.done()) == (True, True)
            if not early:
                held[-1].when_closed(lambda: closed.append(1))  # noqa: B023 - called in this round
            task: asyncio.Task[Any] = asyncio.ensure_future(_rest_of(begun, waits))
            await settle()
            if not early:
                assert held[-1].send(7)
            assert await task > 1
            await settle()
            assert closed == [1] * (not early)


@pytest.mark.asyncio
async def test_an_ask_that_is_over_keeps_nothing_of_the_asker_alive() -> None:
    class Request:
        pass

    request: ContextVar[Request] = ContextVar("request")
    async with ActorSystem(settings=UNHURRIED) as system:
        held: list[Reply[int]] = []
        ref = await system.spawn(Giver, held)

        async def ask() -> weakref.ref[Request]:
            request.set(Request())
            await ref.ask(Hold(), timeout=3_600.0)
            return weakref.ref(request.get())

        task = asyncio.create_task(ask())
        await asyncio.sleep(1.0)  # it is among those that are waited for longer
        assert held[0].send(1)
        found = await task
        del task
        await settle()
        gc.collect()
        assert found() is None
        assert not held[0].open


@pytest.mark.parametrize("crowded", [False, True])
@pytest.mark.asyncio
async def test_an_ask_that_is_cancelled_leaves_no_circle_of_references(crowded: bool) -> None:
    async with ActorSystem(settings=UNHURRIED) as system:
        held: list[Reply[int]] = []
        ref = await system.spawn(Giver, held)

        async def give_up() -> None:
            runtime_of(system).dispatcher.crowded = crowded
            task = asyncio.ensure_future(ref.ask(Hold()))
            await settle()
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            held.clear()

        await give_up()
        gc.collect()
        gc.disable()
        try:
            await give_up()
            await asyncio.sleep(10.0)
            assert gc.collect() == 0
        finally:
            gc.enable()


@pytest.mark.asyncio
async def test_an_ask_leaves_no_circle_of_references() -> None:
    async with ActorSystem(settings=UNHURRIED) as system:
        ref = await system.spawn(Giver)
        await ref.ask(Get())
        runtime_of(system).dispatcher.crowded = True
        await ref.ask(Get())
        await asyncio.sleep(0)
        gc.collect()
        gc.disable()
        try:
            for crowd in (False, True):
                runtime_of(system).dispatcher.crowded = crowd
                assert await ref.ask(Get()) > 0
                await asyncio.sleep(0)
            assert gc.collect() == 0
        finally:
            gc.enable()


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with Python 3.12")
@pytest.mark.asyncio
async def test_an_eager_task_waits_in_the_same_way() -> None:
    loop = asyncio.get_running_loop()
    factory = loop.get_task_factory()
    async with ActorSystem(settings=UNHURRIED) as system:
        ref = await ready(system)
        runtime_of(system).dispatcher.crowded = True
        loop.set_task_factory(getattr(asyncio, "eager_task_factory"))  # noqa: B009 - not on 3.11
        try:
            assert await asyncio.gather(*(ref.ask(Get()) for _ in range(3))) == [2, 3, 4]
        finally:
            loop.set_task_factory(factory)


def test_a_simulated_asker_goes_on_in_the_step_of_his_reply_or_later() -> None:
    within: set[bool] = set()

    async def ask(ref: ActorRef[Any]) -> None:
        await ref.ask(Get())
        within.add("_go_on" in {frame.name for frame in traceback.extract_stack()})

    async def scenario(sim: Simulation) -> None:
        async with ActorSystem() as system:
            ref = await system.spawn(Giver)
            async with asyncio.TaskGroup() as group:
                for _ in range(3):
                    group.create_task(ask(ref))

    simulate(schedules=100)(scenario)()
    assert within == {False, True}
