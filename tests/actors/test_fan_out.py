"""Callbacks of a bus have their turns together, and notice nothing of it."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import sys
import threading
import weakref
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest

from tests.cast import Gate, Note, Recorder, cancel_in_vain, settle, statuses
from understudy import Actor, ActorSystem, Crashed, ExitReason, Instrument, LoopBlocked, Traced, detached, handler
from understudy.actors._sight import sight_of
from understudy.environment import context_of_task, frames_in_hand
from understudy.events import AsyncEventBus, Event

pytestmark = pytest.mark.asyncio

MANY = 20


class Paid(Event):
    number: int = 0


class Seen:
    """Callbacks that write down in which task they run."""

    def __init__(self) -> None:
        self.tasks: dict[str, list[asyncio.Task[Any] | None]] = {}

    def note(self, name: str) -> None:
        self.tasks.setdefault(name, []).append(asyncio.current_task())

    def one(self, name: str, after: Callable[[], Any] | None = None) -> Callable[[Paid], Any]:
        """A coroutine function that notes, and then does what is given, or awaits it."""

        async def callback(event: Paid) -> None:
            self.note(name)
            if after is not None:
                result = after()
                if result is not None:
                    await result

        callback.__name__ = name
        return callback


@contextmanager
def counted_tasks(bus: AsyncEventBus) -> Generator[list[str]]:
    """The first names of the tasks that the bus makes."""
    made: list[str] = []
    assert bus._cell is not None
    env = bus._cell.runtime.env
    new_task = env.new_task

    def counting(*arguments: Any, **options: Any) -> asyncio.Task[Any]:
        made.append(options["name"])
        return new_task(*arguments, **options)

    env.new_task = counting
    yield made
    env.new_task = new_task


async def test_coroutine_functions_that_are_not_suspended_share_a_task_that_bears_the_name_of_each() -> None:
    names: dict[str, list[str]] = {}

    def one(name: str) -> Callable[[Paid], Any]:
        async def callback(event: Paid) -> None:
            task = asyncio.current_task()
            assert task is not None
            names.setdefault(name, []).append(task.get_name())
            async with asyncio.timeout(10), asyncio.TaskGroup():  # which leave nothing behind
                pass

        callback.__name__ = name
        return callback

    async with AsyncEventBus("shared") as bus:
        for number in range(MANY):
            bus.subscribe(Paid, one(f"c{number}"))
        await bus.publish(Paid())  # at the first event they are just being started
        with counted_tasks(bus) as made:
            for _ in range(2):
                assert (await bus.publish(Paid())).handled
    assert names == {f"c{number}": [f"actor:/system/events/c{number}"] * 3 for number in range(MANY)}
    assert len(made) < MANY  # one for each event, unless a slice was over


leaked = contextvars.ContextVar[str]("leaked", default="")


def cancel_later(task: asyncio.Task[Any]) -> object:
    return asyncio.get_running_loop().call_later(0.001, task.cancel)


def share_context(task: asyncio.Task[Any]) -> object:
    context = context_of_task(task)
    assert context is not None
    return lambda: context.run(leaked.set, "leaked")


@pytest.mark.parametrize(
    "keep",
    [lambda task: task, weakref.ref, lambda task: task.cancel, cancel_later, cancel_in_vain, share_context],
    ids=["the task", "a weak reference", "its cancel", "a timer that cancels it", "a cancel taken back", "its context"],
)
async def test_a_task_of_which_a_callback_has_kept_anything_is_no_other_callbacks(keep: Callable[[Any], Any]) -> None:
    kept: list[Any] = []
    found: list[int] = []
    reached: list[int] = []

    async def keeps(event: Paid) -> None:
        kept.append(keep(asyncio.current_task()))

    async def looks(event: Paid) -> None:
        task = asyncio.current_task()
        assert task is not None
        found.append(task.cancelling())
        if event.number == 2:
            await asyncio.sleep(0.01)  # where a cancel would strike, now or later
            assert leaked.get() == ""
        reached.append(event.number)

    recorder = Recorder()
    async with ActorSystem(instruments=[recorder]) as system:
        bus = system.events
        for _ in range(3):
            bus.subscribe(Paid, partial(keeps))
            bus.subscribe(Paid, partial(looks))
        assert (await bus.publish(Paid(number=1))).handled  # at the first event they are just being started
        kept.clear()
        publication = asyncio.create_task(bus.publish(Paid(number=2)))
        await settle()
        for each in kept:
            task = each() if isinstance(each, weakref.ref) else each
            if callable(task):
                task()
            elif isinstance(task, asyncio.Task):
                task.cancel()
        assert (await publication).handled
    assert found == [0] * 6
    assert reached == [1] * 3 + [2] * 3
    assert recorder.of("actor_resumed") == []


TRACES: dict[str, tuple[Callable[[Any], Any], bool]] = {
    "nothing": (lambda task: None, False),
    "a look": (lambda task: [task.get_name(), task.cancelling(), task.done()], False),
    "a copy of its context": (lambda task: asyncio.get_running_loop().call_soon(int), False),
    "a variable set and reset": (lambda task: leaked.reset(leaked.set("leaked")), False),
    "a reference": (lambda task: task, True),
    "a method": (lambda task: task.cancel, True),
    "a weak reference": (weakref.ref, True),
    "a key in a weak dictionary": (lambda task: weakref.WeakKeyDictionary({task: 1}), True),
    "its context": (context_of_task, True),
    "a variable": (lambda task: leaked.set("leaked") and None, True),
    "a cancel": (lambda task: task.cancel() and None, True),
    "a cancel taken back": (cancel_in_vain, sys.version_info < (3, 13)),
    "a callback": (lambda task: task.add_done_callback(id), True),
    "a timer": (lambda task: asyncio.get_running_loop().call_later(60, task.cancel), True),
}


@pytest.mark.parametrize("what", TRACES)
async def test_the_next_callback_runs_in_another_task_if_anything_has_been_left_in_that_one(what: str) -> None:
    leave, is_seen = TRACES[what]
    kept: list[Any] = []

    async def leaves(event: Paid) -> None:
        kept.append(leave(asyncio.current_task()))

    async def finds(event: Paid) -> None:
        assert leaked.get() == ""

    async with AsyncEventBus("traces") as bus:
        bus.subscribe(Paid, leaves)
        bus.subscribe(Paid, finds)
        assert bus._cell is not None
        bus._cell.runtime.env.stopwatch = lambda: 0.0  # no slice is ever over
        await bus.publish(Paid())  # at the first event they are just being started
        with counted_tasks(bus) as made:
            assert (await bus.publish(Paid())).handled
        assert [name.rpartition("/")[2] for name in made] == (["leaves", "finds"] if is_seen else ["leaves"])
    for each in kept:
        if isinstance(each, asyncio.Handle):
            each.cancel()


def set_and_reset() -> None:
    leaked.reset(leaked.set("leaked"))


def detach() -> None:
    with detached():
        pass


@pytest.mark.parametrize(
    "after",
    [lambda: None, lambda: leaked.set("leaked"), set_and_reset, detach],
    ids=["nothing more", "a variable set", "a variable set and reset", "a block without deadline"],
)
@pytest.mark.parametrize("awaited", [True, False])
async def test_a_copy_of_the_context_that_a_callback_keeps_is_no_other_callbacks(
    awaited: bool, after: Callable[[], object]
) -> None:
    copies: list[contextvars.Context] = []
    gate = Gate()

    async def copies_context(event: Paid) -> None:
        if event.number == 1:
            copies.append(contextvars.copy_context())
            after()

    async def holds(event: Paid) -> None:
        assert leaked.get() == ""
        if event.number == 1:
            await gate.hold()

    async with AsyncEventBus("copies") as bus:
        for callback in (copies_context, holds):
            bus.subscribe(Paid, callback)
        await bus.publish(Paid())
        if awaited:
            publication = asyncio.create_task(bus.publish(Paid(number=1)))
        else:
            bus.publish_nowait(Paid(number=1))
        await gate.reached()
        # Whoever publishes with it is not the callback that is under way now, nor that which is over.
        (copy,) = copies
        assert copy.run(bus.publish_nowait, Paid(number=2)).source is None
        waiting = asyncio.get_running_loop().create_task(bus.publish(Paid(number=3)), context=copy)
        await settle()
        assert not waiting.done()
        gate.open()
        assert statuses(await waiting) == ["handled", "handled"]
        if awaited:
            assert (await publication).handled


async def test_what_a_callback_makes_before_it_ends_publishes_in_its_name_as_long_as_it_runs_only() -> None:
    sources: list[str | None] = []

    async def makes_tasks(event: Paid) -> None:
        if event.number == 1:
            tasks.append(asyncio.create_task(publishes()))
            sources.append(bus.publish_nowait(Paid(number=2)).source)

    async def publishes() -> None:
        sources.append(bus.publish_nowait(Paid(number=3)).source)

    tasks: list[asyncio.Task[None]] = []
    async with AsyncEventBus("names") as bus:
        for _ in range(3):
            bus.subscribe(Paid, partial(makes_tasks))
        for number in range(2):
            await bus.publish(Paid(number=number))
        await settle()
    paths = ["/system/events/makes_tasks", "/system/events/makes_tasks-2", "/system/events/makes_tasks-3"]
    assert [each for each in sources if each is not None] == paths
    assert sources.count(None) == 3


async def test_what_waits_for_the_end_of_a_callbacks_task_does_not_wait_for_another_callback() -> None:
    ended, gate = list[bool](), Gate()

    async def wants_to_know(event: Paid) -> None:
        task = asyncio.current_task()
        assert task is not None
        task.add_done_callback(lambda _: ended.append(True))

    async def holds(event: Paid) -> None:
        if event.number == 2:
            await gate.hold()

    async with AsyncEventBus("ends") as bus:
        bus.subscribe(Paid, wants_to_know)
        bus.subscribe(Paid, holds)
        await bus.publish(Paid(number=1))
        await settle()
        ended.clear()
        bus.publish_nowait(Paid(number=2))
        await gate.reached()
        await settle()
        assert ended == [True]
        gate.open()


async def test_what_a_callback_does_with_its_own_task_works_as_everywhere() -> None:
    seen: list[str] = []

    async def cancels_itself(event: Paid) -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            seen.append(f"cancelled {task.uncancel()}")

    async def times_out(event: Paid) -> None:
        try:
            async with asyncio.timeout(0.001):
                await asyncio.Event().wait()
        except TimeoutError:
            seen.append("timed out")

    async def fails_in_a_group(event: Paid) -> None:
        async def fail() -> None:
            raise LookupError

        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(fail())
                group.create_task(asyncio.Event().wait())
        except* LookupError:
            seen.append("failed")

    async def looks(event: Paid) -> None:
        task = asyncio.current_task()
        assert task is not None
        seen.append(f"cancelling {task.cancelling()}")

    async with AsyncEventBus("own") as bus:
        for callback in (cancels_itself, times_out, fails_in_a_group):
            bus.subscribe(Paid, callback)
            bus.subscribe(Paid, partial(looks))
        for _ in range(3):
            assert (await bus.publish(Paid())).handled
    assert {each: seen.count(each) for each in seen} == {
        "cancelled 0": 3,
        "timed out": 3,
        "failed": 3,
        "cancelling 0": 9,
    }


async def test_one_that_is_suspended_keeps_the_task_to_itself_and_the_others_go_on_at_once() -> None:
    seen, gate, holding = Seen(), Gate(), list[bool]()
    async with AsyncEventBus("kept") as bus:
        for number in range(MANY):
            bus.subscribe(Paid, seen.one(f"before{number}"))
        bus.subscribe(Paid, seen.one("held", lambda: gate.hold() if holding else None))
        for number in range(MANY):
            bus.subscribe(Paid, seen.one(f"after{number}"))
        await bus.publish(Paid())  # at the first event they are just being started
        holding.append(True)
        publication = asyncio.create_task(bus.publish(Paid(), timeout=1.0))
        await gate.reached()
        await settle()
        assert all(len(tasks) == 2 for tasks in seen.tasks.values())  # all had their turn while it was held
        held = seen.tasks["held"][1]
        assert held is not None
        assert held.get_name() == "actor:/system/events/held"
        assert all(tasks[1] is not held for name, tasks in seen.tasks.items() if name.startswith("after"))
        gate.open()
        assert (await publication).handled
        assert held.done()
        # From then on it has a task of its own, in which nobody else runs.
        await bus.publish(Paid())
        own = seen.tasks["held"][2]
        assert all(tasks[2] is not own for name, tasks in seen.tasks.items() if name != "held")


async def test_all_of_a_line_can_be_suspended_and_each_gets_all_in_order() -> None:
    seen: list[list[int]] = [[] for _ in range(MANY)]

    def often(place: int) -> Any:
        async def callback(event: Paid) -> None:
            if (event.number + place) % 3 == 0:
                await asyncio.sleep(0.001 * (place % 4))
            seen[place].append(event.number)

        return callback

    async with AsyncEventBus("all") as bus:
        for place in range(MANY):
            bus.subscribe(Paid, often(place))
        for number in range(10):
            bus.publish_nowait(Paid(number=number))
            if number % 3 == 0:
                await bus.publish(Paid(number=100 + number), timeout=0.001)
        await asyncio.sleep(1.0)
    wanted = [0, 100, 1, 2, 3, 103, 4, 5, 6, 106, 7, 8, 9, 109]
    assert seen == [wanted] * MANY


async def test_what_a_callback_leaves_in_its_task_meets_nobody_else() -> None:
    variable = contextvars.ContextVar[str]("variable", default="clean")
    found: list[tuple[str, int]] = []

    def sets() -> None:
        variable.set("dirty")

    def cancels() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()

    async def looks(event: Paid) -> None:
        task = asyncio.current_task()
        assert task is not None
        found.append((variable.get(), task.cancelling()))
        await asyncio.sleep(0)  # where a cancel would strike
        found.append((variable.get(), task.cancelling()))

    recorder, seen = Recorder(), Seen()
    async with ActorSystem(instruments=[recorder]) as system:
        bus = system.events
        for _ in range(3):
            bus.subscribe(Paid, seen.one("sets", sets))
            bus.subscribe(Paid, seen.one("cancels", cancels))
            bus.subscribe(Paid, partial(looks))
        for _ in range(2):
            assert (await bus.publish(Paid())).handled
    assert found == [("clean", 0)] * 12
    assert recorder.of("actor_crashed") == []


async def test_a_variable_that_a_plain_function_sets_is_not_seen_by_the_next() -> None:
    variable = contextvars.ContextVar[str]("variable", default="clean")
    found: list[str] = []

    def sets(event: Paid) -> None:
        found.append(variable.get())
        variable.set("dirty")

    async with AsyncEventBus("plain") as bus:
        for _ in range(MANY):
            bus.subscribe(Paid, lambda event: sets(event))
        assert (await bus.publish(Paid())).handled
    assert found == ["clean"] * MANY


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="a task begins where it is made")
async def test_a_task_that_is_cancelled_before_it_begins_costs_nobody_an_event() -> None:
    seen = Seen()
    async with AsyncEventBus("early") as bus:
        for number in range(MANY):
            bus.subscribe(Paid, seen.one(f"c{number}"))
        await bus.publish(Paid())
        bus.publish_nowait(Paid())
        tasks: list[asyncio.Task[Any]] = []
        for _ in range(3):  # turns of the loop, at most, until there is the task
            await asyncio.sleep(0)
            tasks = tasks or [task for task in asyncio.all_tasks() if task.get_name().startswith("actor:/system/ev")]
            if tasks:
                break
        assert tasks
        assert all(len(each) == 1 for each in seen.tasks.values())
        for task in tasks:
            task.cancel()
        await settle()
    assert all(len(each) == 2 for each in seen.tasks.values())


@pytest.mark.parametrize("kind", ["def", "async def"])
async def test_callbacks_that_publish_in_a_circle_delay_nobody_else(kind: str) -> None:
    rounds = 0

    class Echo(Actor[Note]):
        @handler
        def note(self, message: Note) -> int:
            return message.value

    async with ActorSystem() as system:
        bus = system.events

        def again(event: Paid) -> None:
            nonlocal rounds
            rounds += 1
            if rounds < 5_000:
                bus.publish_nowait(Paid())

        async def again_async(event: Paid) -> None:
            again(event)

        for _ in range(3):
            bus.subscribe(Paid, (lambda event: again(event)) if kind == "def" else partial(again_async))
        bus.publish_nowait(Paid())
        echo = await system.spawn(Echo)
        for number in range(5):
            assert await echo.ask(Note(value=number)) == number
            await asyncio.sleep(0)
        assert 5 < rounds < 5_000
        rounds = 5_000


@pytest.mark.parametrize("kind", ["def", "async def"])
@pytest.mark.parametrize("what", ["suspend", "kill", "stop", "cancel"])
async def test_one_in_line_can_be_dealt_with_by_another(kind: str, what: str) -> None:
    recorder, seen = Recorder(), list[str]()

    async with ActorSystem(instruments=[recorder]) as system:
        bus = system.events

        def subscribe(name: str, then: Callable[[], None] | None = None) -> Any:
            def plain(event: Paid) -> None:
                seen.append(f"{name}{event.number}")
                if then is not None and event.number == 1:
                    then()

            async def coroutine(event: Paid) -> None:
                plain(event)

            return bus.subscribe(Paid, plain if kind == "def" else coroutine)

        def deal() -> None:
            ref: Any = system.lookup(second.name)
            if what == "suspend":
                ref.debug.suspend()
            elif what == "kill":
                ref.kill()
            elif what == "stop":
                ref.stop()
            else:
                second.cancel()

        subscribe("a", deal)
        second = subscribe("b")
        subscribe("c")
        await bus.publish(Paid(number=0))
        published = await bus.publish(Paid(number=1), timeout=0.01)
        await settle()
        assert seen[:4] == ["a0", "b0", "c0", "a1"]
        assert "c1" in seen
        if what == "suspend":
            assert statuses(published) == ["handled", "pending", "handled"]
            assert "b1" not in seen
            system.lookup(second.name).debug.resume()
            await settle()
        if what == "stop":
            assert statuses(published) == ["handled", "failed", "handled"]
            assert [(letter[0].number, letter[1]) for letter in recorder.letters] == [(1, second.name)]
            assert seen.count("b1") == 0
        else:
            assert seen.count("b1") == 1
            assert recorder.letters == []
        assert len(recorder.of("actor_restarting", second.name)) == (what == "kill")


@pytest.mark.parametrize("kind", ["def", "async def"])
async def test_a_failure_is_told_from_the_callback_on(kind: str) -> None:
    resumed: list[tuple[ExitReason, str]] = []

    class Listener(Instrument):
        def actor_resumed(self, path: str, reason: ExitReason, message_type: str) -> None:
            resumed.append((reason, message_type))

    def fails(event: Paid) -> None:
        raise ValueError("no")

    async def fails_async(event: Paid) -> None:
        raise ValueError("no")

    async with ActorSystem(instruments=[Listener()]) as system:
        bus = system.events
        subscription = bus.subscribe(Paid, fails if kind == "def" else fails_async)
        bus.subscribe(Paid, lambda event: None)
        for _ in range(2):
            published = await bus.publish(Paid())
            assert statuses(published) == ["failed", "handled"]
            bus.publish_nowait(Paid())
            await settle()
        assert subscription.failures == 4
    assert len(resumed) == 4
    for reason, message_type in resumed:
        assert message_type == "Paid"
        assert isinstance(reason, Crashed)
        assert reason.frames[-1][2].endswith("fails" if kind == "def" else "fails_async")
    assert [len(reason.frames) for reason, _ in resumed if isinstance(reason, Crashed)][1:] == [1, 1, 1]


async def test_a_callback_that_blocks_is_seen_as_itself() -> None:
    sights: dict[str, LoopBlocked] = {}
    loop, own = asyncio.get_running_loop(), threading.get_ident()

    def look(name: str) -> None:
        def see() -> None:
            sights[name] = sight_of(frames_in_hand(loop, own), asyncio.current_task(loop), 1.0)

        thread = threading.Thread(target=see)
        thread.start()
        thread.join()

    def plain(event: Paid) -> None:
        look("plain")

    async def idle(event: Paid) -> None:
        pass

    async def coroutine(event: Paid) -> None:
        look("coroutine")

    async with AsyncEventBus("seen") as bus:
        for callback in (lambda event: None, plain, idle, coroutine):
            bus.subscribe(Paid, callback)
        for _ in range(2):
            await bus.publish(Paid())
            for name, sight in sights.items():
                assert sight.actor == f"/system/events/{name}"
                assert (sight.doing, sight.message_type) == ("handler", "Paid")
            assert set(sights) == {"plain", "coroutine"}
            sights.clear()


async def test_a_task_that_a_callback_has_made_is_seen_as_its_own_when_all_callbacks_are_over() -> None:
    sights: list[LoopBlocked] = []
    tasks: list[asyncio.Task[None]] = []
    loop, own = asyncio.get_running_loop(), threading.get_ident()

    async def blocks() -> None:
        await asyncio.sleep(1.0)
        seen = partial(sight_of, frames_in_hand(loop, own), asyncio.current_task(), 1.0)
        thread = threading.Thread(target=lambda: sights.append(seen()))
        thread.start()
        thread.join()

    async def makes_a_task(event: Paid) -> None:
        tasks.append(asyncio.create_task(blocks()))

    async with AsyncEventBus("later") as bus:
        bus.subscribe(Paid, lambda event: None)
        bus.subscribe(Paid, makes_a_task)
        for _ in range(2):
            await bus.publish(Paid())
        await asyncio.wait(tasks)
    assert [(sight.actor, sight.doing) for sight in sights] == [("/system/events/makes_a_task", "task")] * 2


async def test_an_event_that_all_have_handled_is_not_held_by_the_bus() -> None:
    class Big(Paid):
        pass

    async def coroutine(event: Big) -> None:
        pass

    async with AsyncEventBus("gone", keep=0) as bus:
        bus.subscribe(Big, coroutine)
        bus.subscribe(Big, lambda event: None)
        for _ in range(2):
            held = weakref.ref((await bus.publish(Big())).event)
            await settle()
            gc.disable()
            try:
                assert held() is None
            finally:
                gc.enable()


async def test_who_is_killed_in_the_middle_of_an_event_is_alone_with_that() -> None:
    recorder, gate, seen = Recorder(), Gate(), Seen()
    async with ActorSystem(instruments=[recorder]) as system:
        bus = system.events
        bus.subscribe(Paid, seen.one("first"))
        held = bus.subscribe(Paid, seen.one("held", gate.hold))
        bus.subscribe(Paid, seen.one("last"))
        bus.publish_nowait(Paid(number=1))
        await gate.reached()
        bus.publish_nowait(Paid(number=2))
        system.lookup(held.name).kill()
        gate.open()
        await settle()
        assert {name: len(tasks) for name, tasks in seen.tasks.items()} == {"first": 2, "held": 2, "last": 2}
        assert gate.went == 1
    assert [letter[0].number for letter in recorder.letters] == [1]
    assert len(recorder.of("actor_restarting")) == 1


@pytest.mark.parametrize("traced", [True, False])
async def test_a_callback_that_returns_an_awaitable_which_fails_has_failed_also_if_it_is_traced(traced: bool) -> None:
    class Tracer(Actor[Traced]):
        @handler
        def on_trace(self, message: Traced) -> None: ...

    async def fail() -> None:
        await asyncio.sleep(1)
        raise LookupError("no till")

    async with ActorSystem() as system:
        subscription = system.events.subscribe(Paid, lambda event: fail())
        if traced:
            system.lookup(subscription.name).debug.trace(await system.spawn(Tracer))
        (outcome,) = (await system.events.publish(Paid(), timeout=5.0)).outcomes
        assert outcome.status == "failed"
        assert isinstance(outcome.error, LookupError)
        assert subscription.failures == 1
