"""What a caller is about to wait for is done at once, as if the event loop had taken its turn."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.cast import Gate, Hold, Recorder
from understudy import (
    Actor,
    ActorRef,
    ActorStopped,
    ActorSystem,
    DynamicSupervisor,
    ExitReason,
    Instrument,
    Killed,
    Message,
    Normal,
    Settings,
    Shutdown,
    child,
    handler,
    supervisor,
)
from understudy.actors._runtime import runtime_of

VAR: ContextVar[str] = ContextVar("VAR", default="nothing")


class Look(Message[list[Any]]):
    """What a handler can see of whoever runs it."""


class LookLater(Message[list[Any]]): ...


class Boom(Message): ...


class Spawn(Message[str]): ...


class Witness(Actor[Look | LookLater | Boom | Spawn]):
    def __init__(self, seen: list[Any] | None = None) -> None:
        self.seen = [] if seen is None else seen
        self.seen += _sight()

    def initialize(self) -> None:
        self.seen += _sight()

    def shutdown(self, reason: object) -> None:
        self.seen += _sight()

    @handler
    def look(self, message: Look) -> list[Any]:
        return _sight()

    @handler
    async def look_later(self, message: LookLater) -> list[Any]:
        return [asyncio.current_task() is not None, VAR.get()]

    @handler
    def boom(self, message: Boom) -> None:
        raise ValueError("boom")

    @handler
    async def spawn(self, message: Spawn) -> str:
        child = await self.context.spawn(Witness)
        return child.path


def _sight() -> list[Any]:
    return [asyncio.current_task(), VAR.get(), sys.exception()]


NOBODY = [None, "nothing", None]
STOPPED = Shutdown("stopped")
UNHURRIED = Settings(slice_seconds=60.0)
"""However busy the machine is, the time for what is done ahead does not run out."""


class Turns:
    """Counts the turns of the event loop."""

    def __init__(self) -> None:
        self.taken = 0
        self._next()

    def _next(self) -> None:
        self._handle = asyncio.get_running_loop().call_soon(self._count)

    def _count(self) -> None:
        self.taken += 1
        self._next()

    def stop(self) -> int:
        self._handle.cancel()
        return self.taken


@pytest.mark.asyncio
async def test_a_start_an_answer_and_an_end_need_no_turn_of_the_event_loop() -> None:
    async with ActorSystem(settings=UNHURRIED) as system:
        await asyncio.sleep(0)
        turns = Turns()
        ref = await system.spawn(Witness)
        await ref.ask(Look())
        ref.stop()
        await ref.wait_stopped()
        assert turns.stop() == 0


@pytest.mark.asyncio
async def test_handlers_and_hooks_see_nothing_of_the_task_for_which_they_run() -> None:
    seen: list[Any] = []
    VAR.set("set by the caller")
    async with ActorSystem() as system:
        ref = await system.spawn(Witness, seen)
        assert await ref.ask(Look()) == NOBODY
        assert await ref.ask(LookLater()) == [True, "nothing"]
        ref.stop()
        await ref.wait_stopped()
        assert seen == 3 * NOBODY
        task = asyncio.current_task()
        assert task is not None
        assert task in asyncio.all_tasks()
        assert VAR.get() == "set by the caller"


@pytest.mark.asyncio
async def test_a_crash_has_nothing_to_do_with_the_error_that_a_caller_is_handling() -> None:
    async with ActorSystem() as system:
        ref = await system.spawn(Witness)
        await asyncio.sleep(0)  # the turn is over ahead of which the actor has started
        error, turns = LookupError("the caller's"), Turns()
        with suppress(LookupError):
            try:
                raise error
            finally:
                ref.tell(Boom())
                assert await ref.ask(Look()) == NOBODY
        assert error.__traceback__ is not None
        assert turns.stop() > 0  # it was left to the event loop


@pytest.fixture
def deeper_recursion() -> Iterator[None]:
    """Room for a deep stack also where coverage is measured, which counts each frame twice."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(10 * before)
    yield
    sys.setrecursionlimit(before)


@pytest.mark.asyncio
async def test_where_the_stack_is_deep_it_is_left_to_the_event_loop(deeper_recursion: None) -> None:
    async with ActorSystem(settings=UNHURRIED) as system:
        ref = await system.spawn(Witness)

        async def descend(levels: int) -> list[Any]:
            return await descend(levels - 1) if levels else await ref.ask(Look())

        await asyncio.sleep(0)  # the turn is over ahead of which the actor has started
        turns = Turns()
        assert await descend(100) == NOBODY
        assert turns.taken == 0
        assert await descend(600) == NOBODY
        assert turns.stop() > 0


@pytest.mark.asyncio
async def test_others_have_their_turns_however_many_questions_are_asked() -> None:
    async with ActorSystem(settings=Settings(slice_seconds=0.0001)) as system:
        ref = await system.spawn(Witness)
        turns = Turns()
        while turns.taken < 100:
            await ref.ask(Look())
        turns.stop()


@pytest.mark.asyncio
async def test_where_many_wait_for_actors_that_are_busy_nobody_is_served_ahead_of_the_others() -> None:
    async with ActorSystem() as system:
        ref = await system.spawn(Witness)
        await asyncio.sleep(0)  # the turn is over ahead of which the actor has started
        now = 0.0
        runtime_of(system).env.stopwatch = lambda: now
        turns = Turns()

        async def waits() -> bool:
            before = turns.taken
            ref.tell(Look())
            await ref.ask(Look())
            return turns.taken > before

        async def asker() -> list[bool]:
            nonlocal now
            first = await waits()
            if not first:
                now += 1.0  # there is no time for more ahead of this turn
            return [first, await waits()]

        asked = await asyncio.gather(*(asker() for _ in range(20)))
        assert asked == [[False, True], *[[True, True]] * 19]
        assert await waits()  # it cannot know yet that the others have gone
        assert not await waits()
        turns.stop()


@pytest.mark.asyncio
async def test_in_a_crowd_all_are_answered_in_turn_and_nobody_twice_before_the_others() -> None:
    order: list[int] = []
    async with ActorSystem() as system:
        ref = await system.spawn(Bare)
        await ref.ask(Look())
        await asyncio.sleep(0)
        now = 0.0
        runtime_of(system).env.stopwatch = lambda: now

        async def asker(number: int) -> None:
            nonlocal now
            now += 1.0  # all of them wait for the first turn, so that there is a crowd
            for _ in range(100):
                await ref.ask(Look())
                order.append(number)

        # The first question begins the time ahead of the turn that all others have to wait for.
        await asyncio.gather(ref.ask(Look()), *(asker(number) for number in range(20)))
    assert order == list(range(20)) * 100


@pytest.mark.asyncio
async def test_a_handler_may_wait_for_what_is_done_at_once() -> None:
    async with ActorSystem() as system:
        ref = await system.spawn(Witness)
        assert await ref.ask(Spawn()) == "/user/witness/witness"
        assert await ref.ask(Look()) == NOBODY


@pytest.mark.asyncio
async def test_what_was_told_first_is_handled_first() -> None:
    order: list[str] = []

    class Scribe(Actor[Look]):
        def __init__(self, name: str) -> None:
            self.name = name

        @handler
        def look(self, message: Look) -> list[Any]:
            order.append(self.name)
            return []

    async with ActorSystem() as system:
        first, second = await system.spawn(Scribe, "first"), await system.spawn(Scribe, "second")
        first.tell(Look())
        await second.ask(Look())
        assert order == ["first", "second"]


# What no code of a user's has a part in


class Bare(Actor[Look]):
    @handler
    def look(self, message: Look) -> list[Any]:
        return _sight()


class Keen(Bare):
    def shutdown(self, reason: object) -> None: ...


class Listener(Instrument):
    """Looks around whenever it is told of a start or an end."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def actor_started(self, path: str, incarnation: int) -> None:
        self.seen += _sight() if path.startswith("/user/") else []

    def actor_stopped(self, path: str, reason: ExitReason) -> None:
        self.seen += _sight() if path.startswith("/user/") else []


@pytest.mark.asyncio
async def test_who_has_nothing_to_do_and_no_hooks_is_gone_when_stop_returns() -> None:
    async with ActorSystem(settings=UNHURRIED) as system:
        ref = await system.spawn(Bare)
        before = system.statistics()
        ref.stop()
        assert ref.status == "stopped"
        assert system.find("bare") is None
        after = system.statistics()
        assert (after.stopped - before.stopped, before.actors - after.actors) == (1, 1)
        ref.stop()
        assert await ref.wait_stopped() == STOPPED
        assert system.statistics().stopped == after.stopped
        assert ref.tell(Look()) is False


@pytest.mark.asyncio
async def test_whose_end_anybody_has_a_part_in_ends_in_an_activation() -> None:
    async with ActorSystem(settings=UNHURRIED) as system:
        hooked, busy, watched = await system.spawn(Keen), await system.spawn(Bare), await system.spawn(Bare)
        brutal = await system.spawn(child(Bare).options(shutdown="brutal_kill"))
        busy.tell(Look())
        seen: list[str] = []
        watched.when_stopped(lambda reason: seen.append(watched.status))
        refs = [hooked, busy, watched, brutal]
        for ref in refs:
            ref.stop()
        assert [ref.status for ref in refs] == ["stopping"] * 4
        assert [await ref.wait_stopped() for ref in refs] == [STOPPED] * 3 + [Killed(first=STOPPED)]
        assert seen == ["stopped"]


@pytest.mark.asyncio
async def test_those_who_stop_their_siblings_may_do_so_in_any_order() -> None:
    class Stopper(Actor[Boom]):
        def __init__(self, others: list[ActorRef[Any]]) -> None:
            self.others = others

        @handler
        def boom(self, message: Boom) -> None:
            for each in self.others:
                each.stop()
            self.context.stop()

    async with ActorSystem(DynamicSupervisor, settings=UNHURRIED) as system:
        pool = system.lookup("dynamic_supervisor", DynamicSupervisor)
        others: list[ActorRef[Any]] = [await pool.start_child(Bare) for _ in range(10)]
        stopper = await pool.start_child(child(Stopper, others[:5]).options(restart="temporary"))
        for each in others[5:]:
            each.stop()
        stopper.tell(Boom())
        assert await stopper.wait_stopped() == Normal()
        assert {each.status for each in others} == {"stopped"}
        assert (await pool.count_children()).specs == 0


@pytest.mark.asyncio
async def test_an_instrument_that_hears_of_starts_and_ends_sees_nothing_of_the_caller() -> None:
    listener = Listener()
    VAR.set("set by the caller")
    async with ActorSystem(settings=UNHURRIED, instruments=[listener]) as system:
        ref = await system.spawn(Bare)
        ref.stop()
        assert ref.status == "stopping"
        await ref.wait_stopped()
        assert listener.seen == 2 * NOBODY


@pytest.mark.asyncio
async def test_a_constructor_that_a_decorator_makes_sees_nothing_of_the_caller() -> None:
    seen: list[Any] = []

    def note() -> list[Any]:
        seen.extend(_sight())
        return seen

    @dataclass
    class Made(Actor[Look]):
        sight: list[Any] = field(default_factory=note)

        @handler
        def look(self, message: Look) -> list[Any]:
            return self.sight

    class Called(type(Bare)):
        def __call__(cls, *args: Any, **kwargs: Any) -> Any:
            seen.extend(_sight())
            return super().__call__(*args, **kwargs)

    class Odd(Bare, metaclass=Called): ...

    VAR.set("set by the caller")
    async with ActorSystem() as system:
        ref = await system.spawn(Made)
        assert await ref.ask(Look()) == NOBODY
        await system.spawn(Odd)
        assert seen == 2 * NOBODY


@pytest.mark.asyncio
async def test_others_have_their_turns_however_many_bare_actors_are_started() -> None:
    async with ActorSystem(settings=Settings(slice_seconds=0.0001)) as system:
        turns = Turns()
        while turns.taken < 20:
            (await system.spawn(Bare)).stop()
        turns.stop()


# A pump and the incarnation after its own


class Leave(Message):
    """Leave something in the task, and fail."""

    cancel: bool = False
    variable: bool = False


class Relay(Actor[Leave | LookLater | Hold]):
    def __init__(self, made: list[Any], gate: Gate) -> None:
        made += _sight()
        self.gate = gate

    @handler
    async def leave(self, message: Leave) -> None:
        if message.variable:
            VAR.set("left by the failed handler")
        if message.cancel:
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
        raise ValueError("boom")

    @handler
    async def look_later(self, message: LookLater) -> list[Any]:
        task = asyncio.current_task()
        assert task is not None
        await asyncio.sleep(0)
        return [task.cancelling(), VAR.get(), self.context.incarnation]

    @handler
    async def hold(self, message: Hold) -> int:
        await self.gate.hold()
        return message.value


@pytest.mark.parametrize("cancel", [False, True])
@pytest.mark.parametrize("variable", [False, True])
@pytest.mark.asyncio
async def test_nothing_that_a_failed_handler_leaves_meets_the_next_incarnation(cancel: bool, variable: bool) -> None:
    made: list[Any] = []
    recorder = Recorder()
    async with ActorSystem(settings=UNHURRIED, instruments=[recorder]) as system:
        ref = await system.spawn(Relay, made, Gate())
        for number in (2, 3):
            ref.tell(Leave(cancel=cancel, variable=variable))
            assert await ref.ask(LookLater()) == [0, "nothing", number]
        assert made == 3 * NOBODY
        assert [event[1:] for event in recorder.of("actor_started", ref.path)] == [(1,), (2,), (3,)]
        assert len(recorder.of("actor_crashed", ref.path)) == len(recorder.of("actor_restarting", ref.path)) == 2


@pytest.mark.asyncio
async def test_an_incarnation_can_be_interrupted_whose_pump_was_the_one_before() -> None:
    gate = Gate()
    async with ActorSystem(settings=UNHURRIED) as system:
        ref = await system.spawn(Relay, [], gate)
        ref.tell(Leave())
        held = asyncio.create_task(ref.ask(Hold()))
        await gate.reached()
        ref.kill()
        assert await ref.ask(LookLater()) == [0, "nothing", 3]
        with pytest.raises(ActorStopped):
            await held
        ref.stop()
        assert await ref.wait_stopped() == STOPPED


@pytest.mark.asyncio
async def test_others_have_their_turns_however_often_an_actor_fails() -> None:
    class Failing(Actor[Leave]):
        @handler
        async def leave(self, message: Leave) -> None:
            self.context.ref.tell(message)
            raise ValueError("boom")

    specs = child(Failing).options(name="failing")
    tree = supervisor("top", specs, max_restarts=10**6)
    async with ActorSystem(tree, settings=Settings(slice_seconds=0.0001)) as system:
        turns = Turns()
        system.lookup("top/failing", Failing).tell(Leave())
        for _ in range(20):
            await asyncio.sleep(0)
        assert turns.taken > 1
        turns.stop()
        assert system.statistics().restarted > 1
