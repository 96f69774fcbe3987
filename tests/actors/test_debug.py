"""The debugging verbs among the other things that an actor can do."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from tests.cast import Fail, Gate, Hold, Holder, Note, Recorder, Refuse, settle
from understudy import (
    Actor,
    ActorFailed,
    ActorRef,
    ActorStopped,
    ActorSystem,
    AskCycle,
    Continue,
    Crashed,
    DeadLetter,
    InvalidContext,
    Mailbox,
    Message,
    NotReplaced,
    ReceiveTimeout,
    ReplaceTimeout,
    Reply,
    RollingBatch,
    StateMachine,
    StreamMessage,
    SubscribeDeadLetters,
    Terminated,
    Traced,
    child,
    enter,
    handler,
    in_state,
)
from understudy.testing import FakeRef, TestProbe, inject

State = dict[str, Any]


def put(**attributes: Any) -> Callable[[State], State]:
    """What gives a state these attributes too."""
    return lambda state: {**state, **attributes}


class Watcher(Actor[Traced | DeadLetter]):
    """Keeps what it is told, in short."""

    def __init__(self, traces: list[Any]) -> None:
        self.traces = traces

    @handler
    def traced(self, message: Traced) -> None:
        self.traces.append((message.event, message.message, message.detail))

    @handler
    def letter(self, message: DeadLetter) -> None:
        self.traces.append(("letter", message.message, message.why))


async def traced(system: ActorSystem, *refs: ActorRef[Any]) -> list[Any]:
    """What happens to *refs* from here on: event, message and detail of each."""
    traces: list[Any] = []
    watcher = await system.spawn(child(Watcher, traces).options(name=f"watcher-{refs[0].uid}"))
    for ref in refs:
        ref.debug.trace(watcher)
    return traces


def pairs(traces: list[Any]) -> list[tuple[str, Any]]:
    """Event and message; and forget them."""
    told = [(event, message) for event, message, _ in traces]
    traces.clear()
    return told


# --- State, wherever it is kept ---------------------------------------------------------------------------------------


class Slotted(Actor[Note]):
    __slots__ = ("__hidden", "here", "never")

    def __init__(self) -> None:
        self.here = 1
        self.__hidden = 2
        self.there = 3

    @handler
    def note(self, message: Note) -> int:
        return self.here + self.__hidden + self.there


@pytest.mark.asyncio
async def test_attributes_in_slots_are_state_too() -> None:
    async with ActorSystem() as system:
        ref = await system.spawn(Slotted)
        assert dict(ref.debug.get_state().state) == {"here": 1, "_Slotted__hidden": 2, "there": 3}
        await ref.debug.replace_state(put(here=10, _Slotted__hidden=20))
        assert await ref.ask(Note()) == 33
        assert "never" not in await ref.debug.replace_state(put())
        assert dict(await ref.debug.replace_state(put(never=4)))["never"] == 4


class Frozen(Actor[Note]):
    """Its attributes can be set once."""

    def __init__(self) -> None:
        self.value = 1

    def __setattr__(self, name: str, value: Any) -> None:
        if hasattr(self, name):
            raise AttributeError(name)
        super().__setattr__(name, value)

    @handler
    def note(self, message: Note) -> int:
        return self.value


class Icy(Frozen):
    @handler
    def note(self, message: Note) -> int:
        return -self.value


@pytest.mark.asyncio
async def test_a_class_that_protects_its_attributes_can_be_replaced_all_the_same() -> None:
    async with ActorSystem() as system:
        ref = await system.spawn(Frozen)
        await ref.debug.replace_state(put(value=2))
        assert await ref.ask(Note()) == 2
        await ref.debug.replace_behaviour(Icy)
        assert await ref.ask(Note()) == -2


@pytest.mark.asyncio
async def test_the_view_of_a_state_is_read_only_and_of_one_moment_with_the_actors_own_values() -> None:
    async with ActorSystem() as system:
        ref = await system.spawn(Holder)
        view: Any = ref.debug.get_state().state
        with pytest.raises(TypeError):
            view["handled"] = [9]
        await ref.ask(Note(value=1))
        assert view["handled"] == [1]
        await ref.debug.replace_state(put(more=1))
        assert "more" not in view
        assert not [name for name in view if name.startswith("_understudy")]
        assert repr(ref.debug) == "<Debug /user/holder>"


# --- What is seen -----------------------------------------------------------------------------------------------------


class Ask(Message[int]):
    ref: Any


class Caller(Actor[Ask | Hold | Note]):
    """Waits for others, and handles further messages meanwhile if it is asked to hold."""

    @handler
    async def ask(self, message: Ask) -> int:
        answer: int = await message.ref.ask(Hold(value=7))
        return answer

    @handler(reentrant=True)
    async def hold(self, message: Hold) -> int:
        await self.gate.hold()
        return message.value

    @handler
    def note(self, message: Note) -> int:
        return message.value

    def __init__(self, gate: Gate) -> None:
        self.gate = gate


@pytest.mark.asyncio
async def test_a_state_says_for_whom_the_handler_waits() -> None:
    gate = Gate()
    async with ActorSystem() as system:
        caller, holder = await system.spawn(Caller, gate), await system.spawn(Holder, gate)
        asked = asyncio.create_task(caller.ask(Ask(ref=holder)))
        await gate.reached()
        assert caller.debug.get_state().waits_for == ("/user/holder",)
        assert holder.debug.get_state().waits_for == ()
        gate.open()
        assert await asked == 7
        assert caller.debug.get_state().waits_for == ()


@pytest.mark.asyncio
async def test_reentrant_handlers_are_all_seen_and_all_waited_for() -> None:
    gate = Gate()
    async with ActorSystem() as system:
        caller = await system.spawn(Caller, gate)
        held = [asyncio.create_task(caller.ask(Hold(value=number))) for number in range(2)]
        await gate.reached(2)
        assert [hand.what for hand in caller.debug.get_state().in_hand] == ["Hold", "Hold"]
        assert caller.debug.statistics().handled == 0
        with pytest.raises(ReplaceTimeout, match=r"handling Hold for .* and Hold for .*, 0 waiting"):
            await caller.debug.replace_state(put(), timeout=1.0)
        assert await caller.ask(Note(value=3)) == 3  # nobody waits any more, so neither do messages
        changed = asyncio.create_task(caller.debug.replace_state(put(changed=True)))
        await settle()
        noted = asyncio.create_task(caller.ask(Note(value=4)))
        await settle()
        assert not noted.done()
        gate.open()
        assert (await changed)["changed"]
        assert [await each for each in (*held, noted)] == [0, 1, 4]
        assert caller.debug.statistics().handled == 4


class Own(Message[str]): ...


class Impatient(Actor[Own | Hold]):
    @handler(reentrant=True)
    async def own(self, message: Own) -> str:
        try:
            await self.context.ref.debug.replace_state(put())
        except AskCycle as error:
            return str(error)
        return "replaced"

    @handler
    async def hold(self, message: Hold) -> int:
        await asyncio.sleep(2.0)
        return 0


@pytest.mark.asyncio
async def test_a_reentrant_handler_cannot_wait_for_its_own_end_either() -> None:
    async with ActorSystem() as system:
        impatient = await system.spawn(Impatient)
        assert await impatient.ask(Own()) == "waiting in a circle: /user/impatient -> /user/impatient"


@pytest.mark.asyncio
async def test_whoever_waits_for_a_turn_hears_at_once_that_there_will_be_none() -> None:
    async with ActorSystem() as system:
        impatient = await system.spawn(Impatient)
        impatient.tell(Hold())
        await settle()
        waits = asyncio.create_task(impatient.debug.replace_state(put()))
        await settle()
        impatient.stop()
        await settle()
        assert waits.done()
        assert isinstance(waits.exception(), ActorStopped)
        assert impatient.status == "stopping"


@pytest.mark.asyncio
async def test_a_suspended_actor_with_reentrant_handlers_drains_when_they_have_ended() -> None:
    gate = Gate()
    async with ActorSystem() as system:
        caller = await system.spawn(Caller, gate)
        caller.tell(Hold())
        await gate.reached()
        caller.debug.suspend()
        caller.drain()
        await asyncio.sleep(10)
        assert caller.status == "running"
        gate.open()
        await caller.wait_stopped(timeout=1.0)


@pytest.mark.asyncio
async def test_the_limit_of_reentrant_handlers_and_a_verb_do_not_get_in_each_others_way() -> None:
    gate = Gate()
    async with ActorSystem() as system:
        caller = await system.spawn(child(Caller, gate).options(max_concurrency=1))
        caller.tell(Hold())
        await gate.reached()
        changed = asyncio.create_task(caller.debug.replace_state(put(changed=True)))
        noted = asyncio.create_task(caller.ask(Note(value=4)))
        await settle()
        assert not changed.done()
        gate.open()
        await changed
        assert await noted == 4


class Late(Message[int]): ...


class Put(Message):
    aside: bool = True


class Next: ...


class Every(Actor[Note | Late | Put | Hold]):
    """Has timers, a stash, promises and other behaviours."""

    def __init__(self, gate: Gate | None = None) -> None:
        self.gate = gate
        self.seen: list[Any] = []
        self.promise: Any = None

    @handler
    def note(self, message: Note) -> Any:
        self.seen.append(message.value)
        return message.value

    @handler
    async def hold(self, message: Hold) -> int:
        assert self.gate is not None
        await self.gate.hold()
        return message.value

    @handler
    def late(self, message: Late) -> Reply[int]:
        self.promise = self.context.reply_later(message)
        return self.promise

    @handler
    def aside(self, message: Put) -> Continue | None:
        if message.aside:
            self.context.stash(message)
            self.context.become(self.other)
            self.context.timers.after("tick", 5.0, Next())
            self.context.receive_timeout(60.0)
        return None

    @handler
    def _tick(self, message: Next) -> None:
        self.seen.append("tick")

    @handler
    def silence(self, signal: ReceiveTimeout) -> None:
        self.seen.append("quiet")

    @handler
    def gone(self, signal: Terminated) -> None:
        self.seen.append("gone")

    async def other(self, message: Any) -> Any:
        if isinstance(message, Note):
            return message.value * 10
        return self.handle_message(message)


class Other(Every):
    """The same, but for what it says of a note."""

    @handler
    def note(self, message: Note) -> int:
        return -message.value


@pytest.mark.asyncio
async def test_a_state_shows_the_behaviours_and_the_stash() -> None:
    async with ActorSystem() as system:
        every = await system.spawn(Every)
        every.tell(Put())
        await settle()
        state = every.debug.get_state()
        assert (state.behaviours, state.stashed) == (("other",), 1)
        assert every.debug.statistics().handled == 0


@pytest.mark.asyncio
async def test_another_class_keeps_timers_stash_and_quiet_and_begins_with_its_own_handlers() -> None:
    async with ActorSystem() as system:
        every = await system.spawn(Every)
        every.tell(Put())
        assert await every.ask(Note(value=2)) == 20
        await every.debug.replace_behaviour(Other)
        state = every.debug.get_state()
        assert (state.behaviours, state.stashed) == ((), 1)
        assert await every.ask(Note(value=2)) == -2
        await asyncio.sleep(5.1)
        assert every.debug.get_state().state["seen"] == ["tick"]
        await asyncio.sleep(60)
        assert every.debug.get_state().state["seen"] == ["tick", "quiet"]


@pytest.mark.asyncio
async def test_a_class_must_handle_what_the_old_one_sends_itself() -> None:
    class Untimely(Actor[Note | Late | Put | Hold]):
        def __init__(self, gate: Gate | None = None) -> None: ...

        @handler
        def note(self, message: Note) -> int:
            return 0

        @handler
        def late(self, message: Late | Hold) -> int:
            return 0

        @handler
        def put(self, message: Put) -> None: ...

    class Anything(Untimely):
        def handle_message(self, message: Any) -> None: ...

    async with ActorSystem() as system:
        every = await system.spawn(Every)
        with pytest.raises(NotReplaced, match="Untimely has no handler for Next"):
            await every.debug.replace_behaviour(Untimely)
        await every.debug.replace_behaviour(Anything)


@pytest.mark.asyncio
async def test_options_of_the_spec_stay_and_those_of_the_class_change() -> None:
    class Patient(Every):
        defaults = {"stash": 7, "shutdown": 2.0, "restart": "transient"}

    async with ActorSystem() as system:
        every = await system.spawn(child(Every).options(shutdown=1.0))
        await every.debug.replace_behaviour(Patient)
        assert [every._cell.option(name) for name in ("stash", "shutdown", "restart")] == [7, 1.0, "transient"]
        await every.debug.replace_behaviour(Every)
        assert [every._cell.option(name) for name in ("stash", "shutdown", "restart")] == [1000, 1.0, "permanent"]


@pytest.mark.asyncio
async def test_what_restarts_nobody_need_not_take_its_arguments() -> None:
    class Bare(Every):
        def __init__(self) -> None: ...

    async with ActorSystem() as system:
        every = await system.spawn(child(Every, None).options(restart="temporary"))
        await every.debug.replace_behaviour(Bare)
        assert every.debug.get_state().actor == "Bare"
        lasting = await system.spawn(child(Every, None).options(name="lasting"))
        with pytest.raises(NotReplaced, match=r"a restart could not make a \S*Bare: arguments do not fit") as caught:
            await lasting.debug.replace_behaviour(Bare)
        assert caught.value.__cause__ is not None


# --- State machines ---------------------------------------------------------------------------------------------------


class Press(Message[str]): ...


class Lamp(StateMachine[Press | Note]):
    initial = "off"

    def __init__(self) -> None:
        self.entered = 0

    @in_state("off", to="on")
    def switch_on(self, message: Press) -> str:
        self.goto("on")
        self.state_timeout(5.0, Next())
        return "on"

    @in_state("on", to=("off", "broken"))
    def switch_off(self, message: Press) -> str:
        self.goto("off")
        return "off"

    @enter("on")
    def shine(self) -> None:
        self.entered += 1

    @in_state("on", to="off")
    def _nobody(self, message: Next) -> None:
        self.goto("off")

    @in_state("on", "off")
    def later(self, message: Note) -> int:
        self.postpone(message)
        return 0

    @in_state("broken")
    def mend(self, message: Note) -> int:
        return message.value


class Flasher(StateMachine[Press | Note]):
    initial = "off"

    @in_state("off", to="on")
    def switch_on(self, message: Press) -> str:
        self.goto("on")
        return "flash"

    @in_state("on", to="off")
    def switch_off(self, message: Press) -> str:
        self.goto("off")
        return "dark"

    @handler
    def note(self, message: Note) -> int:
        return -message.value

    @handler
    def _nobody(self, message: Next) -> None: ...


@pytest.mark.asyncio
async def test_the_state_of_a_machine_is_state() -> None:
    async with ActorSystem() as system:
        lamp = await system.spawn(Lamp)
        assert dict(lamp.debug.get_state().state) == {"entered": 0, "state": "off"}
        await lamp.ask(Press())
        assert dict(lamp.debug.get_state().state) == {"entered": 1, "state": "on"}
        assert lamp.debug.get_state().behaviours == ("on",)
        with pytest.raises(NotReplaced, match="Lamp has the states off, on, broken, and not burnt"):
            await lamp.debug.replace_state(put(state="burnt"))
        with pytest.raises(NotReplaced, match=r"and not \[\]"):
            await lamp.debug.replace_state(put(state=[]))
        waits = asyncio.create_task(lamp.ask(Note(value=5)))
        await settle()
        assert await lamp.debug.replace_state(lambda state: {"entered": 9}) == {"entered": 9, "state": "on"}
        assert not waits.done()
        await lamp.debug.replace_state(put(state="broken"))
        assert await waits == 5
        await asyncio.sleep(10)  # no timeout of the state that it was in
        assert dict(lamp.debug.get_state().state) == {"entered": 9, "state": "broken"}


@pytest.mark.asyncio
async def test_a_machine_becomes_another_where_it_is_if_that_has_such_a_state() -> None:
    async with ActorSystem() as system:
        lamp = await system.spawn(Lamp)
        await lamp.ask(Press())
        await lamp.debug.replace_behaviour(Flasher)
        assert await lamp.ask(Press()) == "dark"
        assert await lamp.ask(Press()) == "flash"
        assert await lamp.ask(Note(value=1)) == -1

        broken = await system.spawn(child(Lamp).options(name="broken"))
        await broken.debug.replace_state(put(state="broken"))
        with pytest.raises(NotReplaced, match="Flasher has the states off, on, and not broken"):
            await broken.debug.replace_behaviour(Flasher)
        assert await broken.ask(Note(value=1)) == 1
        await broken.debug.replace_behaviour(Flasher, lambda old: {})
        assert await broken.ask(Press()) == "flash"


@pytest.mark.asyncio
async def test_a_plain_actor_may_become_a_machine_and_the_other_way_round() -> None:
    class Plain(Actor[Press | Note]):
        @handler
        def press(self, message: Press) -> str:
            return "plain"

        @handler
        def note(self, message: Note) -> int:
            return 0

        @handler
        def _nobody(self, message: Next) -> None: ...

    async with ActorSystem() as system:
        ref = await system.spawn(Plain)
        await ref.debug.replace_behaviour(Flasher)
        assert await ref.ask(Press()) == "flash"
        await ref.debug.replace_behaviour(Plain)
        assert await ref.ask(Press()) == "plain"
        await ref.debug.replace_behaviour(Flasher, lambda old: {"state": "on"})
        assert await ref.ask(Press()) == "dark"


# --- Traces -----------------------------------------------------------------------------------------------------------


class Tokens(StreamMessage[int]):
    count: int


class Source(Actor[Tokens | Note]):
    @handler
    async def tokens(self, message: Tokens) -> AsyncIterator[int]:
        for number in range(message.count):
            yield number

    @handler
    def notes(self, messages: list[Note]) -> None: ...


@pytest.mark.asyncio
async def test_streams_and_bursts_are_traced_as_one_message_each() -> None:
    async with ActorSystem() as system:
        batch = Mailbox(batch=RollingBatch())
        source = await system.spawn(child(Source).options(mailbox=batch))
        traces = await traced(system, source)
        assert [part async for part in source.stream(Tokens(count=2))] == [0, 1]
        source.tell(Note(value=1))
        source.tell(Note(value=2))
        await asyncio.sleep(10)
        notes = [Note(value=1), Note(value=2)]
        assert pairs(traces) == [
            ("received", Tokens(count=2)), ("handled", Tokens(count=2)), ("received", notes), ("handled", notes),
        ]  # fmt: skip


@pytest.mark.asyncio
async def test_whatever_an_actor_does_with_a_message_is_told() -> None:
    async with ActorSystem() as system:
        gate = Gate()
        every = await system.spawn(Every, gate)
        gate.open()
        traces = await traced(system, every)
        late = asyncio.create_task(every.ask(Late()))
        await settle()
        every.debug.get_state().state["promise"].send(5)
        assert await late == 5
        assert traces == [("received", Late(), None), ("handled", Late(), None), ("replied", Late(), 5)]
        traces.clear()
        every.tell(Put())
        await every.ask(Note(value=2))  # by another behaviour
        await asyncio.sleep(66)
        told = [(event, type(message).__name__) for event, message, _ in traces]
        assert told == [
            ("received", "Put"), ("handled", "Put"), ("received", "Note"), ("replied", "Note"),
            ("received", "Next"), ("handled", "Next"), ("received", "ReceiveTimeout"), ("handled", "ReceiveTimeout"),
        ]  # fmt: skip


@pytest.mark.asyncio
async def test_a_refusal_an_interruption_and_a_late_reply_are_told() -> None:
    gate = Gate()
    async with ActorSystem() as system:
        holder = await system.spawn(Holder, gate)
        traces = await traced(system, holder)
        holder.tell(Refuse(text="never"))
        await settle()
        assert [(event, str(detail)) for event, _, detail in traces] == [("received", "None"), ("refused", "never")]
        traces.clear()
        with pytest.raises(TimeoutError):
            await holder.ask(Hold(value=1), timeout=1.0)
        gate.open()
        await settle()
        assert traces == [("received", Hold(value=1), None), ("late", Hold(value=1), 1)]
        traces.clear()
        gate.shut()
        holder.tell(Hold(value=2))
        await gate.reached(2)
        holder.kill()
        await settle()
        assert pairs(traces) == [
            ("received", Hold(value=2)), ("interrupted", Hold(value=2)), ("lost", Hold(value=2)),
            ("ended", None), ("started", None),
        ]  # fmt: skip


@pytest.mark.asyncio
async def test_nothing_is_told_of_a_zombie_but_that_its_message_is_lost() -> None:
    class Stubborn(Actor[Note]):
        @handler
        async def note(self, message: Note) -> int:
            while not gate.went:
                with contextlib.suppress(asyncio.CancelledError):
                    await gate.hold()
            return 0

    gate = Gate()
    async with ActorSystem() as system:
        stubborn = await system.spawn(Stubborn)
        traces = await traced(system, stubborn)
        stubborn.tell(Note())
        await gate.reached()
        stubborn.kill()
        await asyncio.sleep(2)
        gate.open()
        await settle()
        assert gate.went
        told = [("received", Note()), ("lost", Note()), ("ended", None), ("started", None)]
        assert pairs(traces) == told


@pytest.mark.asyncio
async def test_a_trace_leaves_no_mark_on_a_crash_report() -> None:
    recorder = Recorder()
    async with ActorSystem(instruments=[recorder]) as system:
        holder = await system.spawn(Holder)
        await traced(system, holder)
        holder.tell(Fail(error=ValueError("no")))
        await settle()
    ((_, reason, _),) = recorder.of("actor_crashed")
    assert isinstance(reason, Crashed)
    assert [where for _, _, where in reason.frames] == ["Holder.fail"]


@pytest.mark.asyncio
async def test_a_trace_is_no_flood_where_lost_traces_are_looked_at() -> None:
    async with ActorSystem() as system:
        seen: list[Any] = []
        watcher = await system.spawn(child(Watcher, seen).options(mailbox=1))
        holder = await system.spawn(Holder)
        await system.dead_letters.ask(SubscribeDeadLetters(subscriber=watcher))
        holder.debug.trace(watcher)
        watcher.debug.trace(watcher)
        for number in range(20):
            holder.tell(Note(value=number))
        await settle()
        assert len(seen) < 45
        assert not [message for event, message, _ in seen if event == "letter" and isinstance(message, Traced)]


@pytest.mark.asyncio
async def test_a_tracer_whose_mailbox_chokes_on_traces_harms_nobody() -> None:
    complaints: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: complaints.append(context["message"]))
    async with ActorSystem() as system:
        mailbox = Mailbox(priority=lambda message: message.no_such_field)
        watcher = await system.spawn(child(Watcher, []).options(mailbox=mailbox))
        holder = await system.spawn(Holder)
        holder.debug.trace(watcher)
        assert await holder.ask(Note(value=1)) == 1
        assert complaints == ["understudy: /user/watcher cannot take a trace"] * 2
        assert holder.debug.statistics().crashes == 0


@pytest.mark.asyncio
async def test_a_trace_goes_through_another_class_and_through_behaviours() -> None:
    async with ActorSystem() as system:
        every = await system.spawn(Every)
        traces = await traced(system, every)
        await every.debug.replace_behaviour(Other)
        assert await every.ask(Note(value=1)) == -1
        every.tell(Put())
        assert await every.ask(Note(value=2)) == 20
        every.debug.trace(None)
        assert await every.ask(Note(value=3)) == 30
        every.kill()
        await settle()
        assert every.debug.get_state().actor == "Other"
        assert [(event, getattr(message, "value", None)) for event, message, _ in traces] == [
            ("received", 1), ("replied", 1), ("received", None), ("handled", None), ("received", 2), ("replied", 2),
        ]  # fmt: skip


@pytest.mark.asyncio
async def test_traces_and_injected_failures_do_not_get_in_each_others_way() -> None:
    async with ActorSystem() as system:
        holder = await system.spawn(Holder)
        traces = await traced(system, holder)
        with inject(system, "holder", crash=1.0, only=Refuse):
            assert await holder.ask(Note(value=1)) == 1
            holder.debug.trace(None)
            assert await holder.ask(Note(value=2)) == 2
            with pytest.raises(ActorFailed):
                await holder.ask(Refuse())
        assert await holder.ask(Note(value=3)) == 3
        assert pairs(traces) == [("received", Note(value=1)), ("replied", Note(value=1))]


# --- Contexts and places ----------------------------------------------------------------------------------------------

MARK: contextvars.ContextVar[str] = contextvars.ContextVar("mark", default="clean")


@pytest.mark.asyncio
async def test_a_change_sees_nothing_of_the_contexts_of_caller_and_handler_and_leaves_nothing_there() -> None:
    class Marks(Actor[Note]):
        @handler
        def note(self, message: Note) -> int:
            found = MARK.get()
            MARK.set("of the handler")
            # Where a task begins at once, the change has its turn in the very activation of this handler.
            self.context.start_task(self.context.ref.debug.replace_state(change))
            return 1 if found == "clean" else 0

    found: list[str] = []

    def change(state: State) -> State:
        found.append(MARK.get())
        MARK.set("of the change")
        return state

    async with ActorSystem() as system:
        marks = await system.spawn(Marks)
        MARK.set("of the caller")
        asked = asyncio.create_task(marks.ask(Note()))
        await marks.debug.replace_state(change)
        assert (await asked, await marks.ask(Note())) == (1, 1)
        await settle()
        assert found == ["clean"] * 3
        assert MARK.get() == "of the caller"


@pytest.mark.asyncio
async def test_a_change_may_stop_the_actor_that_it_changes() -> None:
    async with ActorSystem() as system:
        holder = await system.spawn(Holder)

        def change(state: State) -> State:
            holder.stop()
            return state

        first = asyncio.create_task(holder.debug.replace_state(change))
        second = asyncio.create_task(holder.debug.replace_state(put()))
        await first
        with pytest.raises(ActorStopped):
            await second
        await holder.wait_stopped()


@pytest.mark.asyncio
async def test_the_end_of_a_system_is_the_end_of_what_waits() -> None:
    gate = Gate()
    system = ActorSystem()
    async with system:
        holder = await system.spawn(Holder, gate)
        holder.tell(Hold())
        await gate.reached()
        waits = asyncio.create_task(holder.debug.replace_state(put()))
        holder.debug.suspend()
        await settle()
    with pytest.raises(ActorStopped):
        await waits


def test_verbs_are_refused_in_another_event_loop() -> None:
    async def main() -> None:
        async with ActorSystem() as system:
            holder = await system.spawn(Holder)

            def elsewhere() -> list[str]:
                refused: list[str] = []
                debug = holder.debug
                for verb in (debug.get_state, debug.statistics, debug.suspend, debug.resume, lambda: debug.trace(None)):
                    try:
                        verb()
                    except InvalidContext as error:
                        refused.append(str(error))
                return refused

            refused = await asyncio.to_thread(elsewhere)
            assert len(refused) == 5

    asyncio.run(main())


@pytest.mark.asyncio
async def test_a_dead_actor_that_was_looked_at_is_not_kept() -> None:
    async with ActorSystem() as system:
        holder, watcher = await system.spawn(Holder), await system.spawn(Watcher, [])
        holder.debug.trace(watcher)
        holder.debug.suspend()
        holder.stop()
        await holder.wait_stopped()
        cell = holder._cell
        del holder
        await settle()
        gc.collect()
        assert not [each for each in gc.get_referrers(cell) if type(each).__name__ in ("Trace", "Standing", "Change")]
        assert watcher._cell.observers is None


@pytest.mark.asyncio
async def test_a_probe_may_be_a_tracer() -> None:
    async with ActorSystem() as system:
        holder, probe = await system.spawn(Holder), await TestProbe.start(system)
        holder.debug.trace(probe.ref)
        holder.tell(Note(value=1))
        told = await probe.expect(Traced)
        assert str(told) == "/user/holder #1 received Note(value=1)"
        assert str(await probe.expect(Traced)) == "/user/holder #1 handled Note(value=1)"


def test_a_fake_ref_has_nothing_to_debug() -> None:
    fake = FakeRef("office")
    with pytest.raises(AssertionError, match="/user/office is a fake ref: its debugging verbs need a system"):
        _ = fake.debug
