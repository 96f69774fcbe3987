"""A7: order of events, postponing, and the three kinds of timeouts of a state machine."""

from __future__ import annotations

import asyncio
import enum
import types
from typing import Any

import pytest

from tests.cast import Recorder, settle
from understudy import (
    ActorFailed,
    ActorStopped,
    ActorSystem,
    InvalidActor,
    InvalidTransition,
    Message,
    Normal,
    StateMachine,
    Unhandled,
    child,
    enter,
    handler,
    in_state,
)


class State(enum.Enum):
    LOCKED = 1
    CLOSED = 2
    OPEN = 3


class Turn(Message[str]): ...


class Push(Message[str]): ...


class Look(Message[str]): ...


class Fail(Message): ...


class TooLong: ...


class Inner:
    def __init__(self, number: int) -> None:
        self.number = number


class Door(StateMachine[Turn | Push | Look | Fail]):
    initial = State.LOCKED

    def __init__(self, log: list[Any] | None = None) -> None:
        self.seen: list[Any] = [] if log is None else log

    @in_state(State.LOCKED, to=State.CLOSED)
    def unlock(self, message: Turn) -> str:
        self.goto(State.CLOSED)
        return "unlocked"

    @in_state(State.CLOSED, to=State.LOCKED)
    async def lock(self, message: Turn) -> str:
        await asyncio.sleep(0)
        self.goto(State.LOCKED)
        return "locked"

    @in_state(State.CLOSED, to=State.OPEN)
    def open(self, message: Push) -> str:
        self.goto(State.OPEN)
        return "open"

    @in_state(State.LOCKED)
    def wait(self, message: Push) -> str:
        self.postpone(message)
        return ""

    @in_state(State.OPEN, to=State.CLOSED)
    def _close(self, message: TooLong) -> None:
        self.goto(State.CLOSED)

    @enter(State.OPEN)
    def hold(self) -> None:
        self.state_timeout(5.0, TooLong())

    @enter()
    def note(self) -> None:
        self.seen.append(self.state.name)

    @handler
    def look(self, message: Look) -> str:
        return str(self.state.name)

    @handler
    def fail(self, message: Fail) -> None:
        raise ValueError


@pytest.mark.asyncio
async def test_each_state_has_its_handlers_and_all_states_have_some_in_common() -> None:
    log: list[Any] = []
    async with ActorSystem() as system:
        door = await system.spawn(Door, log)
        assert await door.ask(Look()) == "LOCKED"
        assert [await door.ask(Turn()), await door.ask(Turn()), await door.ask(Turn())] == [
            "unlocked",
            "locked",
            "unlocked",
        ]
        assert await door.ask(Look()) == "CLOSED"
        assert await door.ask(Push()) == "open"
        with pytest.raises(Unhandled):
            await door.ask(Turn())
        assert log == ["LOCKED", "CLOSED", "LOCKED", "CLOSED", "OPEN"]


@pytest.mark.asyncio
async def test_what_waits_in_one_burst_meets_the_handlers_of_the_new_state() -> None:
    async with ActorSystem() as system:
        door = await system.spawn(Door)
        answers = await asyncio.gather(*(door.ask(message) for message in (Turn(), Look(), Push(), Look())))
        assert answers == ["unlocked", "CLOSED", "open", "OPEN"]


@pytest.mark.asyncio
async def test_what_is_postponed_is_handled_after_a_change_of_state_in_its_order_before_the_mailbox() -> None:
    async with ActorSystem() as system:
        door = await system.spawn(Door)
        early = asyncio.create_task(door.ask(Push()))
        await settle()
        assert not early.done()
        answers = await asyncio.gather(door.ask(Turn()), door.ask(Look()), early)
        assert answers == ["unlocked", "OPEN", "open"]  # the look comes after the push, which has opened it


@pytest.mark.asyncio
async def test_a_state_timeout_ends_with_the_state_and_an_entry_begins_it_anew() -> None:
    log: list[Any] = []
    async with ActorSystem() as system:
        door = await system.spawn(Door, log)
        await door.ask(Turn())
        await door.ask(Push())
        await asyncio.sleep(4.9)
        assert await door.ask(Look()) == "OPEN"
        await asyncio.sleep(0.2)
        assert await door.ask(Look()) == "CLOSED"
        await asyncio.sleep(100)
        assert log == ["LOCKED", "CLOSED", "OPEN", "CLOSED"]


@pytest.mark.asyncio
async def test_a_restart_begins_in_the_first_state_and_enters_it() -> None:
    log: list[Any] = []
    async with ActorSystem() as system:
        door = await system.spawn(Door, log)
        await door.ask(Turn())
        door.tell(Fail())
        assert await door.ask(Look()) == "LOCKED"
        assert log == ["LOCKED", "CLOSED", "LOCKED"]


@pytest.mark.asyncio
async def test_a_state_that_is_not_declared_cannot_be_gone_to_and_says_what_to_write() -> None:
    class Wild(Door):
        @in_state(State.LOCKED)
        def look(self, message: Look) -> str:
            self.goto(State.OPEN)
            return ""

    async with ActorSystem() as system:
        wild = await system.spawn(Wild)
        with pytest.raises(ActorFailed) as caught:
            await wild.ask(Look())
        cause = caught.value.__cause__
        assert isinstance(cause, InvalidTransition)
        assert "Wild does not go from LOCKED to OPEN" in str(cause)
        assert "@in_state(LOCKED, to=OPEN)" in str(cause)


class Sequence(StateMachine[Turn | Push | Look]):
    """Writes down the order in which things come."""

    initial = "a"

    def __init__(self, log: list[Any]) -> None:
        self.seen = log

    @in_state("a", to="b")
    def turn(self, message: Turn) -> str:
        self.next(Inner(1))
        self.next(Inner(2))
        self.goto("b")
        return ""

    @in_state("a")
    def push(self, message: Push) -> str:
        self.postpone(message)
        return ""

    @in_state("b")
    def pushed(self, message: Push) -> str:
        self.seen.append("postponed")
        return ""

    @in_state("b")
    def looked(self, message: Look) -> str:
        self.seen.append("mailbox")
        return ""

    @in_state("a")
    def look(self, message: Look) -> str:
        return ""

    @in_state("b")
    def _inner(self, message: Inner) -> None:
        self.seen.append(message.number)


@pytest.mark.asyncio
async def test_first_comes_what_it_tells_itself_next_then_what_was_postponed_then_the_mailbox() -> None:
    log: list[Any] = []
    async with ActorSystem() as system:
        machine = await system.spawn(Sequence, log)
        for message in (Push(), Push(), Turn(), Look()):
            machine.tell(message)
        await settle()
        assert log == [1, 2, "postponed", "postponed", "mailbox"]


class Patient(StateMachine[Push | Turn]):
    initial = "only"

    def __init__(self, log: list[float]) -> None:
        self.seen = log

    @in_state("only")
    def push(self, message: Push) -> str:
        self.event_timeout(2.0, TooLong())
        return "begun"

    @in_state("only")
    def turn(self, message: Turn) -> str:
        self.context.timers.after("named", 3.0, Inner(1))
        return ""

    @in_state("only")
    def _too_long(self, message: TooLong) -> None:
        self.seen.append(round(asyncio.get_running_loop().time(), 3))

    @in_state("only")
    def _named(self, message: Inner) -> None:
        self.seen.append(-1.0)


@pytest.mark.asyncio
async def test_an_event_timeout_is_cancelled_by_any_message_and_a_named_one_by_none() -> None:
    log: list[float] = []
    async with ActorSystem() as system:
        start = asyncio.get_running_loop().time()
        patient = await system.spawn(Patient, log)
        await patient.ask(Push())
        await asyncio.sleep(1.9)
        await patient.ask(Turn())
        await asyncio.sleep(10)
        assert log == [-1.0]
        await patient.ask(Push())
        await asyncio.sleep(1.9)
        await patient.ask(Push())  # begins it anew
        await asyncio.sleep(10)
        assert [log[0], round(log[1] - start, 1)] == [-1.0, 15.8]
        assert len(log) == 2


def test_the_diagram_is_drawn_from_the_class() -> None:
    assert Door.mermaid().splitlines() == [
        "stateDiagram-v2",
        "    [*] --> LOCKED",
        "    LOCKED --> CLOSED: Turn",
        "    CLOSED --> LOCKED: Turn",
        "    CLOSED --> OPEN: Push",
        "    OPEN --> CLOSED: TooLong",
    ]


def test_a_message_without_a_handler_in_any_state_is_refused() -> None:
    with pytest.raises(InvalidActor, match="no handler for Look"):

        class Incomplete(StateMachine[Turn | Look]):
            initial = "a"

            @in_state("a")
            def turn(self, message: Turn) -> str:
                return ""


def test_two_handlers_for_one_message_in_one_state_are_refused() -> None:
    with pytest.raises(InvalidActor, match="both handle"):

        class Double(StateMachine[Turn]):
            initial = "a"

            @in_state("a")
            def one(self, message: Turn) -> str:
                return ""

            @in_state("a", "b")
            def two(self, message: Turn) -> str:
                return ""


@pytest.mark.parametrize("first", [None, "c"])
def test_a_first_state_that_is_none_of_them_is_refused(first: Any) -> None:
    with pytest.raises(InvalidActor, match="initial must be one of a, b"):

        class Lost(StateMachine[Turn]):
            initial = first

            @in_state("a", to="b")
            def turn(self, message: Turn) -> str:
                return ""


def test_an_entry_that_cannot_be_called_is_refused() -> None:
    def make(**methods: Any) -> None:
        def turn(self: Any, message: Turn) -> str:
            return ""

        namespace = {"initial": "a", "turn": in_state("a")(turn), **methods}
        types.new_class("Made", (StateMachine[Turn],), exec_body=lambda made: made.update(namespace))

    async def later(self: Any) -> None: ...

    def takes(self: Any, message: Any) -> None: ...

    def fine(self: Any) -> None: ...

    for method, problem in (
        (enter("a")(later), "plain `def`"),
        (enter("a")(takes), "nothing besides self"),
        (enter("z")(fine), "which no handler goes to"),
    ):
        with pytest.raises(Exception, match=problem):
            make(hook=method)


@pytest.mark.asyncio
async def test_states_may_be_classes_and_initialize_runs_after_the_first_entry() -> None:
    log: list[str] = []

    class Idle: ...

    class Busy: ...

    class Machine(StateMachine[Turn]):
        initial = Idle

        @enter(Idle)
        def rest(self) -> None:
            log.append("enters Idle")

        async def initialize(self) -> None:
            await asyncio.sleep(0)
            log.append("initialize")

        @in_state(Idle, to=Busy)
        def turn(self, message: Turn) -> str:
            self.goto(Busy)
            return self.state.__name__

        @in_state(Busy, to=Idle)
        def again(self, message: Turn) -> str:
            self.goto(Idle)
            return self.state.__name__

    recorder = Recorder()
    async with ActorSystem(instruments=[recorder]) as system:
        machine = await system.spawn(Machine)
        assert log == ["enters Idle", "initialize"]
        assert [await machine.ask(Turn()), await machine.ask(Turn())] == ["Busy", "Idle"]
        assert log == ["enters Idle", "initialize", "enters Idle"]
        assert recorder.of("actor_crashed") == []


@pytest.mark.parametrize("way", ["plain", "async", "state"])
@pytest.mark.asyncio
async def test_a_reply_given_while_the_machine_stops_is_sent_first(way: str) -> None:
    class Leave(Message[str]): ...

    class Looked:
        @handler
        def look(self, message: Look) -> str:
            return "here"

    class Plain(Looked, StateMachine[Leave | Look]):
        initial = State.CLOSED

        @in_state(State.CLOSED)
        def leave(self, message: Leave) -> str:
            self.context.stop()
            return "goodbye"

    class Async(Looked, StateMachine[Leave | Look]):
        initial = State.CLOSED

        @in_state(State.CLOSED)
        async def leave(self, message: Leave) -> str:
            self.context.stop()
            await asyncio.sleep(0.1)
            return "goodbye"

    class Entering(Looked, StateMachine[Leave | Look]):
        initial = State.CLOSED

        @in_state(State.CLOSED, to=State.OPEN)
        def leave(self, message: Leave) -> str:
            self.goto(State.OPEN)
            return "goodbye"

        @enter(State.OPEN)
        def out(self) -> None:
            self.context.stop()

    kinds: dict[str, Any] = {"plain": Plain, "async": Async, "state": Entering}
    async with ActorSystem() as system:
        guest = await system.spawn(child(kinds[way]).options(restart="temporary"))
        asked = asyncio.ensure_future(guest.ask(Leave()))
        await asyncio.sleep(0)
        behind = asyncio.ensure_future(guest.ask(Look()))
        assert await asked == "goodbye"
        assert isinstance(await guest.wait_stopped(), Normal)
        with pytest.raises(ActorStopped):
            await behind
