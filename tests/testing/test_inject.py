from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from tests.cast import Gate, Hold, Holder, Note, Recorder, settle
from understudy import (
    Actor,
    ActorFailed,
    ActorRef,
    ActorSystem,
    InvalidContext,
    Mailbox,
    Message,
    ReceiveTimeout,
    RollingBatch,
    Terminated,
    child,
    handler,
)
from understudy.testing._errors import InjectedCrash
from understudy.testing._inject import inject


class Push(Message):
    """Makes the actor tell itself."""


class Pushed:
    pass


class Own(Actor[Push | Note]):
    """Has a private message, a fallback, hooks, and a note of each."""

    def __init__(self, log: list[str]) -> None:
        self.log_of_all = log

    def initialize(self) -> None:
        self.log_of_all.append("initialize")

    @handler
    def push(self, message: Push) -> None:
        self.context.tell_self(Pushed())

    @handler
    def _pushed(self, message: Pushed) -> None:
        self.log_of_all.append("pushed")

    def handle_message(self, message: Any) -> Any:
        self.log_of_all.append("fallback")
        return 7


@pytest_asyncio.fixture
async def system(recorder: Recorder) -> AsyncIterator[ActorSystem]:
    async with ActorSystem(instruments=[recorder]) as system:
        yield system


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


async def outcomes(ref: ActorRef[Any], count: int) -> list[str]:
    """What comes of so many asks, with so much time between them that no budget of restarts is used up."""
    found: list[str] = []
    for value in range(count):
        try:
            await ref.ask(Note(value=value))
            found.append("reply")
        except ActorFailed as error:
            found.append(type(error.__cause__).__name__)
        await asyncio.sleep(10)
    return found


@pytest.mark.asyncio
async def test_a_crash_comes_in_place_of_the_handler(system: ActorSystem) -> None:
    log: list[int] = []
    holder = await system.spawn(Holder, None, log)
    with inject(system, "/user/holder", crash=1.0) as injected:
        with pytest.raises(ActorFailed, match="/user/holder was made to crash at Note") as caught:
            await holder.ask(Note(value=1))
        assert isinstance(caught.value.__cause__, InjectedCrash)
        await settle()
        assert log == []
        assert (injected.messages, injected.crashes) == (1, 1)
    assert await holder.ask(Note(value=2)) == 2
    assert log == [2]


@pytest.mark.asyncio
async def test_the_same_seed_lets_the_same_messages_crash_whatever_others_do(system: ActorSystem) -> None:
    holder = await system.spawn(Holder)
    other = await system.spawn(child(Holder).options(name="other"))
    runs: list[list[str]] = []
    for seed, busy in ((1, False), (1, True), (2, False)):
        with inject(system, "*", crash=0.4, seed=seed) as injected:
            if busy:
                await outcomes(other, 3)
            runs.append(await outcomes(holder, 20))
            assert 0 < injected.crashes < injected.messages
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]
    assert {*runs[0]} == {"reply", "InjectedCrash"}


@pytest.mark.asyncio
async def test_only_what_fits_the_pattern_and_the_type_is_concerned(system: ActorSystem) -> None:
    gate = Gate()
    gate.open()
    names = ("worker-1", "worker-2", "boss")
    one, two, boss = [await system.spawn(child(Holder, gate).options(name=name)) for name in names]
    with inject(system, "worker-*", crash=1.0, only=Note):
        assert await boss.ask(Note(value=1)) == 1
        assert await one.ask(Hold(value=1)) == 1
        for ref in (one, two):
            with pytest.raises(ActorFailed):
                await ref.ask(Note(value=1))


@pytest.mark.asyncio
async def test_actors_started_later_and_later_incarnations_are_concerned_too(system: ActorSystem) -> None:
    with inject(system, "/user/late", crash=1.0) as injected:
        late = await system.spawn(child(Holder).options(name="late"))
        assert await outcomes(late, 3) == ["InjectedCrash"] * 3
        assert injected.crashes == 3
    assert await outcomes(late, 2) == ["reply"] * 2
    assert (await system.spawn(Holder)).path == "/user/holder"


@pytest.mark.asyncio
async def test_a_delay_comes_before_async_handlers_and_not_before_plain_ones(system: ActorSystem) -> None:
    gate = Gate()
    gate.open()
    holder = await system.spawn(Holder, gate)
    loop = asyncio.get_running_loop()
    with inject(system, "holder", delay=(2.0, 2.0)) as injected:
        began = loop.time()
        await holder.ask(Note(value=1))
        assert loop.time() == began
        await holder.ask(Hold(value=1))
        assert loop.time() == pytest.approx(began + 2)
        assert (injected.messages, injected.delays, injected.crashes) == (2, 1, 0)
    began = loop.time()
    await holder.ask(Hold(value=1))
    assert loop.time() == began


@pytest.mark.asyncio
async def test_a_delayed_message_is_still_handled_in_its_order(system: ActorSystem) -> None:
    gate, log = Gate(), list[int]()
    gate.open()
    holder = await system.spawn(Holder, gate, log)
    with inject(system, "holder", delay=(0.0, 1.0), seed=3):
        for value in range(20):
            holder.tell(Hold(value=value) if value % 2 else Note(value=value))
        await asyncio.sleep(30)
    assert log == [*range(20)]


@pytest.mark.parametrize("error", [KeyError("mine"), lambda: KeyError("made")])
@pytest.mark.asyncio
async def test_the_error_of_a_crash_can_be_chosen(system: ActorSystem, error: Any) -> None:
    holder = await system.spawn(Holder)
    with inject(system, "holder", crash=1.0, error=error):
        assert await outcomes(holder, 2) == ["KeyError", "KeyError"]


@pytest.mark.asyncio
async def test_private_messages_and_those_without_a_handler_are_concerned_and_hooks_are_not(
    system: ActorSystem, recorder: Recorder
) -> None:
    log: list[str] = []
    own = await system.spawn(Own, log)
    with inject(system, "own", crash=1.0, only=(Pushed, Note)) as injected:
        own.tell(Push())
        await asyncio.sleep(10)
        with pytest.raises(ActorFailed):
            await own.ask(Note())
        await asyncio.sleep(10)
        assert injected.crashes == 2
    assert log == ["initialize"] * 3
    assert [event[2] for event in recorder.of("actor_crashed")] == ["Pushed", "Note"]
    own.tell(Push())
    assert await own.ask(Note()) == 7
    await settle()
    assert log[3:] == ["fallback", "pushed"]


class Listener(Actor[Note]):
    """Notes when it has been quiet for five seconds."""

    def __init__(self, log: list[str]) -> None:
        self.log_of_all = log

    def initialize(self) -> None:
        self.context.receive_timeout(5.0)

    @handler
    def note(self, message: Note) -> int:
        self.log_of_all.append("note")
        return message.value

    @handler
    def quiet(self, signal: ReceiveTimeout) -> None:
        self.log_of_all.append("quiet")


@pytest.mark.asyncio
async def test_messages_end_the_quiet_while_something_is_injected(system: ActorSystem) -> None:
    log: list[str] = []
    listener = await system.spawn(Listener, log)
    with inject(system, listener.path, crash=1.0, only=Push):
        for _ in range(3):
            await asyncio.sleep(3)
            listener.tell(Note())
        await settle()
        assert log == ["note"] * 3
        await asyncio.sleep(6)
    assert log == [*["note"] * 3, "quiet"]


class Mourner(Actor[Note]):
    """Handles a signal, and bursts."""

    def __init__(self, log: list[str], whom: ActorRef[Any]) -> None:
        self.log_of_all = log
        self.whom = whom

    def initialize(self) -> None:
        self.context.watch(self.whom)

    @handler
    def ended(self, signal: Terminated) -> None:
        self.log_of_all.append("ended")

    @handler
    def notes(self, notes: list[Note]) -> None:
        self.log_of_all.append(f"{len(notes)} notes")


@pytest.mark.asyncio
async def test_signals_and_bursts_are_handled_while_something_is_injected_and_are_concerned_too(
    system: ActorSystem, recorder: Recorder
) -> None:
    log: list[str] = []
    first, second = await system.spawn(Holder), await system.spawn(Holder)
    mourners = [
        child(Mourner, log, whom).options(mailbox=Mailbox(batch=RollingBatch(quiet=1.0))) for whom in (first, second)
    ]
    spared, struck = [await system.spawn(spec) for spec in mourners]
    with inject(system, spared.path, crash=1.0, only=Push), inject(system, struck.path, crash=1.0, only=Terminated):
        for ref in (spared, struck):
            ref.tell(Note())
            ref.tell(Note())
        await asyncio.sleep(10)
        first.stop()
        second.stop()
        await asyncio.sleep(10)
    assert log == ["2 notes", "2 notes", "ended"]
    # Once for each incarnation, which hears at once that whom it watches is not there.
    assert {(event[0], event[2]) for event in recorder.of("actor_crashed")} == {(struck.path, "Terminated")}


@pytest.mark.parametrize("first_out", [0, 1])
@pytest.mark.asyncio
async def test_injections_into_one_actor_add_up_and_end_in_any_order(system: ActorSystem, first_out: int) -> None:
    gate = Gate()
    gate.open()
    holder = await system.spawn(Holder, gate)
    table_of = system._runtime.table_of  # type: ignore[union-attr]
    loop = asyncio.get_running_loop()
    injections = [inject(system, "holder", delay=(seconds, seconds)) for seconds in (1.0, 2.0)]
    for each in injections:
        each.__enter__()
    began = loop.time()
    await holder.ask(Hold())
    assert loop.time() == pytest.approx(began + 3)
    injections[first_out].__exit__(None, None, None)
    began = loop.time()
    await holder.ask(Hold())
    assert loop.time() == pytest.approx(began + (2 if first_out == 0 else 1))
    injections[1 - first_out].__exit__(None, None, None)
    began = loop.time()
    await holder.ask(Hold())
    assert loop.time() == began
    assert system._runtime.table_of == table_of  # type: ignore[union-attr]


@pytest.mark.asyncio
async def test_everything_is_taken_back_when_the_block_raises(system: ActorSystem) -> None:
    holder = await system.spawn(Holder)
    with pytest.raises(KeyError), inject(system, "holder", crash=1.0):
        raise KeyError
    assert await holder.ask(Note(value=1)) == 1


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"crash": 1.5}, "crash must be a probability from 0 to 1, got 1.5"),
        ({"crash": -0.1}, "crash must be a probability"),
        ({"crash": math.nan}, "crash must be a probability"),
        ({"delay": (2, 1)}, r"delay must be the least and the most seconds to wait, got \(2, 1\)"),
        ({"delay": (-1, 1)}, "delay must be"),
        ({"delay": (0, math.inf)}, "delay must be"),
        ({}, "there is nothing to inject"),
        ({"error": KeyError(), "delay": (0, 1)}, "error says what a crash raises"),
    ],
)
@pytest.mark.asyncio
async def test_what_makes_no_sense_is_refused(system: ActorSystem, options: Any, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        inject(system, "*", **options)


@pytest.mark.asyncio
async def test_a_system_must_run_and_an_injection_is_used_once(system: ActorSystem) -> None:
    with pytest.raises(InvalidContext, match="not running"):
        inject(ActorSystem(), "*", crash=1.0)
    injected = inject(system, "*", crash=1.0)
    with injected:
        pass
    with pytest.raises(RuntimeError, match="can be used once"), injected:
        pass
