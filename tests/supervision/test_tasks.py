"""Task supervisors: results and failures, ends, links, and maps that leave nothing behind."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import math
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator, Iterator
from contextvars import ContextVar
from functools import partial
from typing import Any

import pytest

from tests.cast import Recorder, settle
from understudy import (
    Actor,
    ActorFailed,
    ActorRef,
    ActorStopped,
    ActorSystem,
    AskCycle,
    ChildSpec,
    Crashed,
    InvalidContext,
    InvalidSpec,
    InvalidTimeout,
    Killed,
    Message,
    NameTaken,
    Normal,
    Refused,
    Settings,
    Shutdown,
    Supervisor,
    TooManyChildren,
    WrongActorType,
    child,
    handler,
)
from understudy.supervision._task import TaskHandle
from understudy.supervision._tasks import Tasks, TaskSupervisor
from understudy.testing import Faults, Gate, Simulation, simulate


class Oops(Exception):
    """What functions fail with."""


class Stage:
    """A system with a task supervisor in it, and functions to run whose lives are counted."""

    def __init__(self, system: ActorSystem, tasks: Tasks, ear: Recorder) -> None:
        self.system, self.tasks, self.ear = system, tasks, ear
        self.began: list[Any] = []
        self.over: list[Any] = []
        self.cancelled: list[Any] = []
        self.most = 0
        self.gate = Gate()

    @property
    def at_work(self) -> int:
        return len(self.began) - len(self.over)

    @contextlib.contextmanager
    def counted(self, item: Any) -> Generator[None, None, None]:
        self.began.append(item)
        self.most = max(self.most, self.at_work)
        try:
            yield
        except asyncio.CancelledError:
            self.cancelled.append(item)
            raise
        finally:
            self.over.append(item)

    async def wait(self, item: Any = None) -> Any:
        """Wait at the gate, and bring back what was given."""
        with self.counted(item):
            await self.gate.hold()
            return item

    async def nap(self, seconds: float) -> float:
        with self.counted(seconds):
            await asyncio.sleep(seconds)
            return seconds

    async def fail(self, seconds: float = 0.0) -> None:
        with self.counted(seconds):
            await asyncio.sleep(seconds)
            raise Oops(seconds)

    async def resist(self, cancels: int) -> str:
        """Hold out against so many cancels."""
        with self.counted(cancels):
            for _ in range(cancels + 1):
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.sleep(1000)
            return "in the end"

    def names(self) -> list[str]:
        """Of the tasks that there are."""
        prefix = f"{self.tasks.path}/"
        return [node.name for node in self.system.tree().walk() if node.path.startswith(prefix)]

    @property
    def crashes(self) -> list[str]:
        return [path for path, *_ in self.ear.of("actor_crashed")]


@contextlib.asynccontextmanager
async def stage(supervisor: type[TaskSupervisor] = TaskSupervisor, **settings: Any) -> AsyncGenerator[Stage, None]:
    ear = Recorder()
    async with ActorSystem(settings=Settings(**settings), instruments=[ear]) as system:
        tasks = Tasks(await system.spawn(child(supervisor).options(name="tasks")))
        yield Stage(system, tasks, ear)


async def double(number: int) -> int:
    await asyncio.sleep(0.01)
    return 2 * number


async def collect(results: list[Any], source: AsyncIterator[Any]) -> None:
    """All results, one after the other, so that those before a failure are there."""
    async for each in source:
        results.append(each)  # noqa: PERF401


async def items_of(*numbers: int) -> AsyncIterator[int]:
    for number in numbers:
        yield number


# Running


@pytest.mark.asyncio
async def test_run_returns_what_the_function_returns_and_leaves_nothing() -> None:
    async with stage() as on:
        assert await on.tasks.run(double, 21) == 42
        assert on.names() == []
        assert on.ear.of("actor_stopped", "/user/tasks/double") == [("/user/tasks/double", Normal())]
        assert on.ear.letters == []


@pytest.mark.asyncio
async def test_run_raises_what_the_function_raises_and_nobody_else_hears_of_it() -> None:
    async with stage() as on:
        with pytest.raises(Oops) as raised:
            await on.tasks.run(on.fail)
        assert raised.traceback[-1].name == "fail"
        assert raised.value.__cause__ is None
        assert on.crashes == []
        assert on.ear.of("actor_restarting") == []
        assert on.tasks.status == "running"


@pytest.mark.parametrize(
    "error", [Refused("no"), StopAsyncIteration(), TimeoutError("mine"), ExceptionGroup("", [Oops()])]
)
@pytest.mark.asyncio
async def test_errors_that_mean_something_elsewhere_are_only_errors_here(error: Exception) -> None:
    async def fail() -> None:
        raise error

    async with stage() as on:
        with pytest.raises(type(error)) as raised:
            await on.tasks.run(fail)
        assert raised.value is error
        assert on.names() == []
        assert on.ear.events[-1][0] == "actor_stopped"


@pytest.mark.parametrize("error", [SystemExit(3), asyncio.CancelledError("by nobody"), MemoryError()])
@pytest.mark.asyncio
async def test_what_is_not_meant_for_the_caller_reaches_it_as_a_failure_of_the_task(error: BaseException) -> None:
    async def fail() -> None:
        raise error

    async with stage() as on:
        with pytest.raises(ActorFailed if not isinstance(error, Exception) else MemoryError) as raised:
            await on.tasks.run(fail)
        assert error in (raised.value, raised.value.__cause__)
        assert on.tasks.status == "running"


@pytest.mark.asyncio
async def test_a_function_that_is_not_async_is_refused_by_name() -> None:
    def plain() -> int:
        return 1

    async with stage() as on:
        with pytest.raises(TypeError, match="plain must be an async function, it returned int"):
            await on.tasks.run(plain)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


@pytest.mark.asyncio
async def test_a_task_that_is_not_done_in_time_is_cancelled_and_has_ended_when_the_caller_hears_of_it() -> None:
    async with stage() as on:
        now = asyncio.get_running_loop().time()
        with pytest.raises(TimeoutError, match=r"/user/tasks/wait had not ended after 2 s, and was cancelled"):
            await on.tasks.run(on.wait, 1, timeout=2.0)
        assert asyncio.get_running_loop().time() - now == pytest.approx(2.0, abs=0.01)
        assert (on.cancelled, on.names(), on.crashes) == ([1], [], [])


@pytest.mark.asyncio
async def test_a_timeout_counts_although_the_function_makes_something_of_the_cancel() -> None:
    async def stubborn() -> int:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(1000)
        return 1

    async with stage() as on:
        with pytest.raises(TimeoutError):
            await on.tasks.run(stubborn, timeout=1.0)


@pytest.mark.asyncio
async def test_a_task_that_is_done_at_the_last_moment_has_its_result() -> None:
    async with stage() as on:
        assert await on.tasks.run(on.nap, 1.0, timeout=1.0 + 1e-6) == 1.0


@pytest.mark.parametrize("timeout", [0, -1, math.nan, True, "1"])
@pytest.mark.asyncio
async def test_a_bad_timeout_is_refused_before_anything_starts(timeout: Any) -> None:
    async with stage() as on:
        with pytest.raises(InvalidTimeout):
            await on.tasks.run(on.wait, 1, timeout=timeout)
        with pytest.raises(InvalidTimeout):
            on.tasks.map(on.wait, [1], timeout=timeout)
        await settle()
        assert on.began == []


@pytest.mark.asyncio
async def test_a_caller_that_is_cancelled_cancels_the_task_and_waits_for_its_end() -> None:
    async with stage() as on:
        caller = asyncio.create_task(on.tasks.run(on.resist, 2))
        await settle()
        caller.cancel()
        caller.cancel("again")
        await settle()
        assert not caller.done()
        with pytest.raises(asyncio.CancelledError):
            await caller
        assert (on.over, on.names()) == ([2], [])


@pytest.mark.asyncio
async def test_asyncio_timeout_around_run_ends_the_task_and_is_a_timeout() -> None:
    async with stage() as on:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1.0):
                await on.tasks.run(on.wait)
        assert (on.cancelled, on.names()) == ([None], [])


@pytest.mark.asyncio
async def test_a_task_that_resists_every_cancel_is_abandoned_and_the_caller_goes_on() -> None:
    async with stage() as on:
        with pytest.raises(TimeoutError):
            await on.tasks.run(on.resist, 20, timeout=1.0)
        assert on.ear.of("abandoned")[0][0] == "/user/tasks/resist"
        assert on.names() == []
        assert on.system.abandoned == ("actor:/user/tasks/resist",)
        await asyncio.sleep(20_000)
        assert on.over == [20]  # and its end has disturbed nobody


@pytest.mark.asyncio
async def test_tasks_see_no_context_variable_of_their_caller() -> None:
    variable = ContextVar("variable", default="none")

    async def look() -> str:
        return variable.get()

    async with stage() as on:
        variable.set("the caller's")
        assert await on.tasks.run(look) == "none"


@pytest.mark.asyncio
async def test_partial_gives_keyword_arguments_and_its_function_the_name() -> None:
    async def keyed(*, number: int) -> int:
        return number

    async with stage() as on:
        handle = await on.tasks.start(partial(keyed, number=3))
        assert (handle.name, await handle.result()) == ("keyed", 3)
        assert (await on.tasks.start(lambda: double(1))).name == "_lambda_"
        await settle()


# Starting


@pytest.mark.asyncio
async def test_a_handle_brings_the_result_as_often_as_it_is_asked_for() -> None:
    async with stage() as on:
        handle = await on.tasks.start(on.wait, 7)
        await on.gate.reached()
        assert (handle.done, handle.name, handle.path) == (False, "wait", "/user/tasks/wait")
        on.gate.open()
        assert [await handle.result(), await handle.result()] == [7, 7]
        assert handle.done
        assert repr(handle) == "<TaskHandle /user/tasks/wait done>"


@pytest.mark.asyncio
async def test_waiters_of_one_handle_all_get_it_and_one_that_is_cancelled_disturbs_none() -> None:
    async with stage() as on:
        handle = await on.tasks.start(on.wait, 7)
        waiters = [asyncio.create_task(handle.result()) for _ in range(3)]
        await settle()
        waiters[1].cancel()
        await settle()
        assert waiters[1].cancelled()
        on.gate.open()
        assert [await waiters[0], await waiters[2]] == [7, 7]


@pytest.mark.asyncio
async def test_tasks_are_in_the_tree_under_the_names_of_their_functions() -> None:
    async with stage() as on:
        for _ in range(3):
            await on.tasks.start(on.wait)
        await on.tasks.start(on.wait, name="special")
        await settle()
        assert on.names() == ["wait", "wait-2", "wait-3", "special"]
        assert "special  Task, running" in str(on.system.tree())
        with pytest.raises(NameTaken):
            await on.tasks.start(on.wait, name="special")
        with pytest.raises(InvalidSpec):
            await on.tasks.start(on.wait, name="not/a name")


@pytest.mark.asyncio
async def test_cancel_ends_the_task_at_once_and_says_so() -> None:
    async with stage() as on:
        handle = await on.tasks.start(on.wait, 1)
        await on.gate.reached()
        handle.cancel()
        handle.cancel()
        with pytest.raises(ActorStopped) as stopped:
            await handle.result()
        assert stopped.value.reason == Killed(first=Shutdown("cancelled"))
        assert (on.cancelled, on.crashes, on.ear.letters) == ([1], [], [])


@pytest.mark.asyncio
async def test_a_task_that_is_cancelled_before_it_began_never_runs() -> None:
    async with stage() as on:
        handle = await on.tasks.start(on.wait, 1)
        handle.cancel()
        with pytest.raises(ActorStopped):
            await handle.result()
        assert (on.began, on.names(), on.ear.letters) == ([], [], [])


@pytest.mark.asyncio
async def test_cancelling_a_task_that_has_ended_changes_nothing() -> None:
    async with stage() as on:
        handle = await on.tasks.start(double, 1)
        assert await handle.result() == 2
        handle.cancel()
        assert await handle.result() == 2


@pytest.mark.asyncio
async def test_no_more_than_max_children_run() -> None:
    class Two(TaskSupervisor):
        max_children = 2

    async with stage(Two) as on:
        await on.tasks.start(on.wait)
        await on.tasks.start(on.wait)
        with pytest.raises(TooManyChildren):
            await on.tasks.run(on.wait)
        on.gate.open()
        await settle()
        assert await on.tasks.run(double, 1) == 2
        # Whoever hears of an end finds the place free.
        for _ in range(5):
            await asyncio.gather(on.tasks.run(double, 1), on.tasks.run(double, 2))


@pytest.mark.asyncio
async def test_an_error_that_somebody_may_still_ask_for_is_not_reported() -> None:
    async with stage() as on:
        handle = await on.tasks.start(on.fail)
        await settle()
        assert (handle.done, on.crashes) == (True, [])
        with pytest.raises(Oops):
            await handle.result()
        del handle
        gc.collect()
        assert on.crashes == []


@pytest.mark.parametrize("early", [True, False])
@pytest.mark.asyncio
async def test_an_error_is_reported_once_when_nobody_can_ask_for_it_any_more(early: bool) -> None:
    async with stage() as on:
        handles = [await on.tasks.start(on.fail, 0.5)]
        if early:
            handles.clear()
        await asyncio.sleep(1.0)
        assert len(on.crashes) == early
        handles.clear()
        gc.collect()
        [(path, reason, label)] = on.ear.of("actor_crashed")
        assert (path, label) == ("/user/tasks/fail", "fail")
        assert isinstance(reason, Crashed)
        assert isinstance(reason.error, Oops)
        assert reason.error.__traceback__ is None
        assert [frame[2] for frame in reason.frames][-1].endswith("fail")
    assert on.ear.letters == []


@pytest.mark.asyncio
async def test_that_a_task_was_ended_is_no_failure_to_report() -> None:
    async with stage() as on:
        (await on.tasks.start(on.wait)).cancel()
        await on.tasks.start(on.wait)
        on.tasks.stop()
        await on.tasks.wait_stopped()
    assert on.crashes == []


# Ends of the supervisor


@pytest.mark.asyncio
async def test_a_supervisor_that_stops_gives_its_tasks_their_grace() -> None:
    async with stage() as on:
        handles = [await on.tasks.start(on.nap, seconds) for seconds in (4.0, 6.0)]
        await settle()
        on.tasks.stop()
        await on.tasks.wait_stopped()
        assert await handles[0].result() == 4.0
        with pytest.raises(ActorStopped) as stopped:
            await handles[1].result()
        assert stopped.value.reason == Killed(first=Shutdown("parent ended"))
        assert on.cancelled == [6.0]
        with pytest.raises(ActorStopped):
            await on.tasks.run(double, 1)


@pytest.mark.asyncio
async def test_a_supervisor_can_say_that_its_tasks_get_no_grace() -> None:
    class Hasty(TaskSupervisor):
        task_shutdown = "brutal_kill"

    async with stage(Hasty) as on:
        await on.tasks.start(on.nap, 4.0)
        await settle()
        on.tasks.stop()
        now = asyncio.get_running_loop().time()
        await on.tasks.wait_stopped()
        assert asyncio.get_running_loop().time() - now < 0.1
        assert on.cancelled == [4.0]


@pytest.mark.asyncio
async def test_a_restart_of_the_supervisor_ends_its_tasks_and_the_ref_serves_on() -> None:
    async with stage() as on:
        handle = await on.tasks.start(on.wait)
        await on.gate.reached()
        on.tasks.kill()
        assert await on.tasks.run(double, 1) == 2  # waits until it is up again
        with pytest.raises(ActorStopped):
            await handle.result()
        assert on.over == [None]


@pytest.mark.asyncio
async def test_a_bad_grace_is_refused_at_the_creation_of_the_class() -> None:
    with pytest.raises(InvalidSpec, match="task_shutdown of class"):
        type("Bad", (TaskSupervisor,), {"task_shutdown": -1})


@pytest.mark.asyncio
async def test_tasks_of_something_else_are_refused() -> None:
    class Other(Supervisor): ...

    async with ActorSystem() as system:
        with pytest.raises(WrongActorType, match="is a Other, not a TaskSupervisor"):
            Tasks(await system.spawn(Other))


# Actors and their tasks


class Begin(Message):
    """Start a task, linked or not, and keep its handle."""

    code: Any
    link: bool = False


class Await(Message[object]):
    """The result of the task that was begun."""


class Call(Message[object]):
    """Run this in the handler: it gets the actor."""

    code: Any


class Host(Actor[Begin | Await | Call]):
    def __init__(self, tasks: Tasks) -> None:
        self.tasks = tasks
        self.handle: TaskHandle[Any] | None = None

    @handler
    async def begin(self, message: Begin) -> None:
        self.handle = await self.tasks.start(message.code, link=message.link)

    @handler
    async def result(self, message: Await) -> object:
        assert self.handle is not None
        return await self.handle.result()

    @handler
    async def call(self, message: Call) -> object:
        return await message.code(self)


HostRef = ActorRef[Begin | Await | Call]


@contextlib.asynccontextmanager
async def hosted(**options: Any) -> AsyncGenerator[tuple[Stage, HostRef], None]:
    async with stage() as on:
        yield on, await on.system.spawn(child(Host, on.tasks).options(name="host", **options))


@pytest.mark.asyncio
async def test_a_failure_of_an_unlinked_task_does_not_touch_the_actor_that_started_it() -> None:
    async with hosted() as (on, host):
        await host.ask(Begin(code=on.fail))
        await settle()
        with pytest.raises(ActorFailed) as failed:
            await host.ask(Await())  # its handler raises it
        assert isinstance(failed.value.__cause__, Oops)
        assert on.crashes == ["/user/host"]


@pytest.mark.asyncio
async def test_a_failure_of_a_linked_task_fails_the_actor_once_and_interrupts_what_it_does() -> None:
    async with hosted() as (on, host):
        await host.ask(Begin(code=partial(on.fail, 1.0), link=True))

        async def sleep(actor: Host) -> None:
            await asyncio.sleep(100)

        busy = asyncio.create_task(host.ask(Call(code=sleep), timeout=math.inf))
        await asyncio.sleep(1.1)
        assert on.crashes == ["/user/host"]
        [(_, reason, _)] = on.ear.of("actor_crashed")
        assert isinstance(reason.error, ActorFailed)
        assert reason.error.path == "/user/tasks/fail"
        assert isinstance(reason.error.__cause__, Oops)
        assert len(on.ear.of("actor_restarting", "/user/host")) == 1
        with pytest.raises(ActorStopped):
            await busy
        assert host.status == "running"


@pytest.mark.asyncio
async def test_the_end_of_an_incarnation_ends_its_linked_tasks_and_no_others() -> None:
    async with hosted() as (on, host):
        await host.ask(Begin(code=partial(on.wait, "linked"), link=True))
        await host.ask(Begin(code=partial(on.wait, "free")))
        await on.gate.reached(2)
        host.kill()
        await settle()
        assert on.cancelled == ["linked"]
        assert on.names() == ["wait-2"]
        host.stop()
        await settle()
        assert on.cancelled == ["linked"]


@pytest.mark.asyncio
async def test_the_end_of_an_actor_that_has_never_had_a_message_ends_its_linked_tasks() -> None:
    class Early(Actor[Await]):
        def __init__(self, on: Stage) -> None:
            self.on = on

        async def initialize(self) -> None:
            self.handle = await self.on.tasks.start(partial(self.on.wait, "linked"), link=True)

        @handler
        async def result(self, message: Await) -> object:
            return await self.handle.result()

    async with ActorSystem() as system:  # without anybody who listens, to whom each step might matter
        on = Stage(system, Tasks(await system.spawn(TaskSupervisor)), Recorder())
        early = await system.spawn(Early, on)
        await on.gate.reached(1)
        early.stop()
        await settle()
        assert on.cancelled == ["linked"]


@pytest.mark.asyncio
async def test_a_linked_task_that_has_ended_well_holds_nothing_of_its_starter() -> None:
    async with hosted() as (on, host):
        for _ in range(3):
            await host.ask(Begin(code=partial(double, 1), link=True))
            assert await host.ask(Await()) == 2

        async def links(actor: Host) -> int:
            return len(vars(actor)["_understudy_leave"].ends)

        assert await host.ask(Call(code=links)) == 0
        host.stop()
        await host.wait_stopped()
        assert on.crashes == []


@pytest.mark.asyncio
async def test_a_linked_task_that_is_cancelled_or_stopped_has_not_failed() -> None:
    async with hosted() as (on, host):

        async def cancel(actor: Host) -> None:
            assert actor.handle is not None
            actor.handle.cancel()

        await host.ask(Begin(code=on.wait, link=True))
        await host.ask(Call(code=cancel))
        await host.ask(Begin(code=on.wait, link=True))
        on.tasks.stop()
        await on.tasks.wait_stopped()
        assert (on.crashes, host.status) == ([], "running")
        assert on.ear.of("actor_restarting") == []


@pytest.mark.asyncio
async def test_killing_a_linked_task_and_its_timeout_are_failures() -> None:
    async with hosted() as (on, host):
        await host.ask(Begin(code=on.wait, link=True))
        on.system.lookup("tasks/wait").kill()
        await settle()
        assert on.crashes == ["/user/host"]
        handle = await on.tasks.start(on.wait, link=host, timeout=1.0)
        await asyncio.sleep(1.1)
        assert on.crashes == ["/user/host"] * 2
        with pytest.raises(TimeoutError):
            await handle.result()


@pytest.mark.parametrize(("rule", "end"), [("resume", "running"), ("stop", "stopped")])
@pytest.mark.asyncio
async def test_the_rules_of_the_actor_say_what_a_failure_of_a_linked_task_means(rule: str, end: str) -> None:
    async with hosted(on_failure={ActorFailed: rule}) as (on, host):
        await host.ask(Begin(code=on.fail, link=True))
        await settle()
        assert host.status == end
        assert on.ear.of("actor_restarting") == []


@pytest.mark.asyncio
async def test_a_link_needs_an_actor_that_is_alive() -> None:
    async with hosted() as (on, host):
        with pytest.raises(InvalidContext, match="async handlers and hooks of an actor only"):
            await on.tasks.start(on.wait, link=True)
        host.stop()
        await host.wait_stopped()
        with pytest.raises(ActorStopped):
            await on.tasks.start(on.wait, link=host)
        assert on.began == []


@pytest.mark.asyncio
async def test_a_task_that_asks_the_actor_that_waits_for_it_is_a_circle() -> None:
    async with hosted() as (on, host):

        async def ask_back() -> object:
            return await host.ask(Await(), timeout=math.inf)

        async def run(actor: Host) -> object:
            return await actor.tasks.run(ask_back)

        async def map_(actor: Host) -> object:
            return [each async for each in actor.tasks.map(lambda _: ask_back(), [1, 2])]

        for code in (run, map_):
            with pytest.raises(ActorFailed) as failed:
                await host.ask(Call(code=code), timeout=math.inf)
            assert isinstance(failed.value.__cause__, AskCycle)
        assert on.names() == []


@pytest.mark.asyncio
async def test_an_actor_may_ask_for_results_while_others_ask_it() -> None:
    async with hosted() as (_, host):

        async def sums(actor: Host) -> int:
            return sum([each async for each in actor.tasks.map(double, range(10))])

        assert await asyncio.gather(*(host.ask(Call(code=sums)) for _ in range(3))) == [90] * 3


# Maps


@pytest.mark.asyncio
async def test_a_map_brings_the_results_in_the_order_of_the_items() -> None:
    async with stage() as on:
        naps = [0.5, 0.1, 0.3, 0.2, 0.4]
        assert [each async for each in on.tasks.map(on.nap, naps, max_concurrency=3)] == naps
        assert (on.most, on.names(), on.at_work) == (3, [], 0)


@pytest.mark.asyncio
async def test_an_unordered_map_brings_the_results_as_they_are_there() -> None:
    async with stage() as on:
        naps = [0.5, 0.1, 0.3, 0.2, 0.4]
        results = [each async for each in on.tasks.map(on.nap, naps, max_concurrency=5, ordered=False)]
        assert results == sorted(naps)


@pytest.mark.asyncio
async def test_a_map_takes_items_only_as_results_are_taken() -> None:
    taken: list[int] = []

    def endless() -> Iterator[int]:
        number = 0
        while True:
            taken.append(number)
            yield number
            number += 1

    async with stage() as on:
        results = on.tasks.map(double, endless(), max_concurrency=3)
        await settle()
        assert taken == []
        for number in range(4):
            assert await anext(results) == 2 * number
            await asyncio.sleep(1.0)
            assert len(taken) == number + 3
        await results.aclose()
        assert len(taken) == 6


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.asyncio
async def test_an_asynchronous_source_is_asked_for_no_more_than_there_is_room_for(ordered: bool) -> None:
    taken: list[int] = []
    closed: list[bool] = []

    async def endless() -> AsyncIterator[int]:
        try:
            while True:
                taken.append(len(taken))
                yield len(taken)
                await asyncio.sleep(0.001)
        finally:
            closed.append(True)

    async with stage() as on:
        results = on.tasks.map(double, endless(), max_concurrency=3, ordered=ordered)
        for number in range(4):
            assert await anext(results) == 2 * (number + 1)
            await asyncio.sleep(1.0)
            assert len(taken) == number + 4
        await results.aclose()
        assert (closed, on.names()) == ([True], [])


@pytest.mark.asyncio
async def test_a_slow_source_does_not_keep_results_back() -> None:
    async def slow() -> AsyncIterator[int]:
        for number in range(3):
            yield number
            await asyncio.sleep(10.0)

    async with stage() as on:
        start = asyncio.get_running_loop().time()
        times = [asyncio.get_running_loop().time() - start async for _ in on.tasks.map(double, slow())]
        assert times == pytest.approx([0.01, 10.01, 20.01], abs=0.01)


@pytest.mark.asyncio
async def test_the_first_failure_of_a_map_is_raised_in_its_turn_and_ends_the_others() -> None:
    async def work(number: int) -> int:
        with on.counted(number):
            if number == 1:
                raise Oops(number)
            await asyncio.sleep(1.0 if number == 0 else 100.0)
            return number

    async with stage() as on:
        results: list[int] = []
        with pytest.raises(Oops):
            await collect(results, on.tasks.map(work, range(10), max_concurrency=4))
        assert results == [0]
        assert on.at_work == 0
        assert on.names() == []
        assert on.began == [0, 1, 2, 3]
        assert on.crashes == []


@pytest.mark.asyncio
async def test_failures_can_come_as_results_and_a_timeout_is_one() -> None:
    async def work(number: int) -> int:
        if number % 3 == 1:
            raise Oops(number)
        await asyncio.sleep(100.0 if number % 3 == 2 else 0.1)
        return number

    async with stage() as on:
        results = [each async for each in on.tasks.map(work, range(6), timeout=1.0, return_exceptions=True)]
        assert [type(each) for each in results] == [int, Oops, TimeoutError] * 2
        assert on.crashes == []


@pytest.mark.asyncio
async def test_the_timeout_of_a_map_is_that_of_each_item() -> None:
    async with stage() as on:
        naps = [0.9] * 20
        assert [each async for each in on.tasks.map(on.nap, naps, timeout=1.0, max_concurrency=2)] == naps
        with pytest.raises(TimeoutError):
            await collect([], on.tasks.map(on.nap, [0.9, 1.1], timeout=1.0))


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("kind", ["plain", "async"])
@pytest.mark.asyncio
async def test_what_the_source_raises_comes_behind_the_results_before_it(ordered: bool, kind: str) -> None:
    def broken() -> Iterator[int]:
        yield 1
        yield 2
        raise Oops

    async def async_broken() -> AsyncIterator[int]:
        for each in broken():
            yield each

    async with stage() as on:
        results: list[int] = []
        source: Any = broken() if kind == "plain" else async_broken()
        with pytest.raises(Oops):
            await collect(results, on.tasks.map(double, source, ordered=ordered))
        assert results == [2, 4]
        assert on.names() == []
    assert on.crashes == []


async def leave_by_break(on: Stage, source: Any) -> None:
    async for _ in on.tasks.map(on.wait, source, max_concurrency=3):
        break


async def leave_by_error(on: Stage, source: Any) -> None:
    with contextlib.suppress(Oops):
        async for _ in on.tasks.map(on.wait, source, max_concurrency=3):
            raise Oops


async def leave_by_aclosing(on: Stage, source: Any) -> None:
    async with contextlib.aclosing(on.tasks.map(on.wait, source, max_concurrency=3)) as results:
        async for _ in results:
            break
    assert on.at_work == 0


async def leave_by_with(on: Stage, source: Any) -> None:
    async with on.tasks.map(on.wait, source, max_concurrency=3) as results:
        await anext(results)
    assert on.at_work == 0
    with pytest.raises(StopAsyncIteration):
        await anext(results)


async def leave_by_cancel(on: Stage, source: Any) -> None:
    async def consume() -> None:
        async for _ in on.tasks.map(on.wait, source, max_concurrency=3):
            pass

    consumer = asyncio.create_task(consume())
    await on.gate.reached(4)
    consumer.cancel()
    with pytest.raises(asyncio.CancelledError):
        await consumer
    assert on.at_work == 0


@pytest.mark.parametrize("kind", ["plain", "async"])
@pytest.mark.parametrize("leave", [leave_by_break, leave_by_error, leave_by_aclosing, leave_by_with, leave_by_cancel])
@pytest.mark.asyncio
async def test_nothing_is_left_running_when_the_consumer_leaves(
    leave: Callable[[Stage, Any], Awaitable[None]], kind: str
) -> None:
    asked: list[int] = []

    def items() -> Iterator[int]:
        for number in range(100):
            asked.append(number)
            yield number

    async def async_items() -> AsyncIterator[int]:
        for number in items():
            yield number

    async with stage() as on:
        on.gate.let(1)
        await leave(on, items() if kind == "plain" else async_items())
        await settle()
        assert (on.at_work, on.names()) == (0, [])
        assert len(on.began) <= 4
        assert len(asked) <= 5
        assert len(on.cancelled) == len(on.began) - 1
    assert on.crashes == []


@pytest.mark.asyncio
async def test_a_map_that_nobody_uses_runs_nothing() -> None:
    async with stage() as on:
        on.tasks.map(on.wait, [1, 2])
        await settle()
        assert on.began == []


@pytest.mark.asyncio
async def test_a_map_of_nothing_is_empty() -> None:
    async with stage() as on:
        assert [each async for each in on.tasks.map(double, [])] == []
        assert [each async for each in on.tasks.map(double, items_of())] == []


@pytest.mark.asyncio
async def test_a_map_has_one_consumer() -> None:
    async with stage() as on:
        results = on.tasks.map(on.wait, [1, 2])
        first = asyncio.ensure_future(anext(results))
        await settle()
        with pytest.raises(InvalidContext):
            await anext(results)
        on.gate.open()
        assert await first == 1
        assert [each async for each in results] == [2]


@pytest.mark.asyncio
async def test_the_end_of_the_supervisor_ends_a_map_with_its_reason() -> None:
    async def end(on: Stage) -> None:
        await on.gate.reached()
        on.tasks.stop()

    async with stage() as on:
        ender = asyncio.create_task(end(on))
        results: list[Any] = []
        with pytest.raises(ActorStopped):
            await collect(results, on.tasks.map(on.wait, range(5)))
        assert results == []
        await ender


@pytest.mark.parametrize("number", [0, -1, True, 1.5, "3"])
@pytest.mark.asyncio
async def test_a_bad_concurrency_is_refused(number: Any) -> None:
    async with stage() as on:
        with pytest.raises(InvalidSpec, match="max_concurrency must be an int from 1 up"):
            on.tasks.map(double, [1], max_concurrency=number)


@pytest.mark.asyncio
async def test_a_map_may_use_every_place_of_its_supervisor() -> None:
    class Three(TaskSupervisor):
        max_children = 3

    async with stage(Three) as on:
        naps = [0.1, 0.3, 0.2] * 20
        for ordered in (True, False):
            results = [each async for each in on.tasks.map(on.nap, naps, max_concurrency=3, ordered=ordered)]
            assert sorted(results) == sorted(naps)


@pytest.mark.asyncio
async def test_ten_thousand_tasks_leave_nothing() -> None:
    async def same(number: int) -> int:
        return number

    async with stage() as on:
        before = on.system.statistics().actors
        total = 0
        async for number in on.tasks.map(same, range(10_000), max_concurrency=100, ordered=False):
            total += number
        assert total == sum(range(10_000))
        assert on.system.statistics().actors == before


# Under many schedules


@simulate(schedules=40, faults=Faults(stall=0.01))
async def test_whatever_happens_each_task_ends_once_and_is_told_once(sim: Simulation) -> None:
    ear = Recorder()
    running: set[int] = set()

    async def work(number: int, seconds: float, fails: bool) -> int:
        running.add(number)
        try:
            await asyncio.sleep(seconds)
            if fails:
                raise Oops(number)
            return number
        finally:
            running.discard(number)

    tasks = Tasks(await sim.system.spawn(TaskSupervisor))
    host = await sim.system.spawn(child(Host, tasks).options(max_restarts=100))
    told: dict[int, object] = {}

    async def one(number: int, how: str, seconds: float, fails: bool) -> None:
        try:
            if how == "run":
                told[number] = await tasks.run(work, number, seconds, fails, timeout=0.02)
            elif how == "link":
                told[number] = await (await tasks.start(work, number, seconds, fails, link=host)).result()
            else:
                handle = await tasks.start(work, number, seconds, fails)
                if how == "cancel":
                    await asyncio.sleep(sim.random.choice([0, 0, 0.01]))
                    handle.cancel()
                told[number] = await handle.result()
        except (Oops, TimeoutError, ActorStopped) as error:
            told[number] = error

    async with asyncio.TaskGroup() as group:
        for number in range(6):
            how = sim.random.choice(["run", "start", "cancel", "link"])
            group.create_task(one(number, how, sim.random.choice([0, 0.01, 0.03]), sim.random.random() < 0.3))
        if sim.random.random() < 0.5:
            host.kill()
        if sim.random.random() < 0.3:
            tasks.kill()
    assert sorted(told) == list(range(6))
    assert not running
    await sim.quiesce()
    assert await tasks.which_children() == []
    assert ear.events == []


@simulate(schedules=40, faults=Faults(stall=0.01))
async def test_a_map_is_whole_or_left_with_nothing_running(sim: Simulation) -> None:
    class Narrow(TaskSupervisor):
        max_children = 4

    at_work: set[int] = set()

    async def work(number: int) -> int:
        at_work.add(number)
        assert len(at_work) <= 3
        try:
            await asyncio.sleep(sim.random.choice([0, 0.001, 0.002]))
            return number
        finally:
            at_work.discard(number)

    async def items() -> AsyncIterator[int]:
        for number in range(8):
            await asyncio.sleep(sim.random.choice([0, 0.001]))
            yield number

    ordered, leave = sim.random.random() < 0.5, sim.random.choice([3, 100])
    tasks = Tasks(await sim.system.spawn(Narrow))
    source: Any = items() if sim.random.random() < 0.5 else range(8)
    results: list[int] = []
    async with tasks.map(work, source, max_concurrency=3, ordered=ordered) as stream:
        async for each in stream:
            results.append(each)
            if len(results) == leave:
                break
    assert not at_work
    assert await tasks.which_children() == []
    expected = list(range(min(leave, 8)))
    if ordered:
        assert results == expected
    else:
        assert len(set(results)) == len(expected)


class App(Supervisor):
    def children(self) -> list[ChildSpec]:
        return [child(TaskSupervisor).options(name="tasks")]


@pytest.mark.asyncio
async def test_a_task_supervisor_can_be_declared_in_a_tree() -> None:
    async with ActorSystem(App) as system:
        assert await Tasks(system.lookup("app/tasks")).run(double, 4) == 8
        assert await Tasks(system.lookup("app/tasks", TaskSupervisor)).run(double, 4) == 8
