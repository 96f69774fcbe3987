"""A8: the debugging verbs overtake what waits, and what touches the state is done between two messages."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import pytest

from tests.cast import Fail, Gate, Hold, Holder, Note, settle
from understudy import (
    Actor,
    ActorRef,
    ActorStopped,
    ActorSystem,
    AskCycle,
    AskTimeout,
    InvalidTimeout,
    Killed,
    Message,
    NotReplaced,
    ReplaceTimeout,
    Settings,
    Shutdown,
    Traced,
    child,
    handler,
    supervisor,
)
from understudy.actors._cell import Cell
from understudy.actors._supervisor_ref import ref_of

State = dict[str, Any]


def put(**attributes: Any) -> Callable[[State], State]:
    """What gives a state these attributes too."""
    return lambda state: {**state, **attributes}


def shown(ref: ActorRef[Any]) -> Mapping[str, Any]:
    """The attributes of the actor at *ref*."""
    return ref.debug.get_state().state


class Slow(Holder):
    """Waits at gates in its hooks, too, if it has them."""

    def __init__(
        self, gate: Gate | None = None, log: list[Any] | None = None, up: Gate | None = None, down: Gate | None = None
    ) -> None:
        super().__init__(gate, log)
        self.up, self.down = up, down

    async def initialize(self) -> None:
        if self.up is not None:
            await self.up.hold()

    async def shutdown(self, reason: object) -> None:
        if self.down is not None:
            await self.down.hold()


class Better(Holder):
    """Another class for the same messages, with the same constructor."""

    @handler
    def note(self, message: Note) -> int:
        return -super().note(message)


# --- They overtake what waits -----------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_a_verb_is_served_before_ten_thousand_messages_that_wait() -> None:
    seen: list[int] = []
    async with ActorSystem() as system:
        holder = await system.spawn(child(Holder, Gate(), seen).options(mailbox=math.inf))
        for number in range(10_000):
            holder.tell(Note(value=number))
        assert holder.debug.get_state().waiting == 10_000
        assert holder.debug.statistics().high_water == 10_000
        await holder.debug.replace_state(lambda state: {**state, "waited": len(seen)})
        assert shown(holder)["waited"] == 0
        holder.debug.suspend()
        handled = len(seen)
        await settle()
        assert len(seen) == handled < 10_000
        holder.stop()
        await holder.wait_stopped()
        assert len(seen) == handled


@pytest.mark.asyncio
async def test_what_is_at_once_is_served_while_a_handler_waits() -> None:
    gate, traces = Gate(), list[Any]()
    async with ActorSystem() as system:
        holder = await system.spawn(Holder, gate)
        tracer = await system.spawn(Tracer, traces)
        holder.tell(Hold())
        holder.tell(Note())
        await gate.reached()
        await asyncio.sleep(4.8)
        state = holder.debug.get_state()
        (hand,) = state.in_hand
        assert (hand.what, round(hand.seconds, 3)) == ("Hold", 4.8)
        assert (state.status, state.waiting, state.suspended) == ("running", 1, False)
        assert holder.debug.statistics().handled == 0
        holder.debug.trace(tracer)
        holder.debug.suspend()
        assert holder.debug.get_state().suspended
        gate.open()
        await settle()
        assert traces == []
        assert holder.debug.get_state().in_hand == ()
        assert shown(holder)["handled"] == [0]
        assert holder.debug.statistics().handled == 1
        holder.debug.resume()
        await settle()
        assert [each.event for each in traces] == ["received", "handled"]


# --- replace_state ----------------------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_a_state_is_replaced_after_the_message_in_hand_and_before_the_next() -> None:
    gate, log = Gate(), list[Any]()
    async with ActorSystem() as system:
        holder = await system.spawn(Holder, gate, log)
        holder.tell(Hold(value=1))
        holder.tell(Note(value=2))
        await gate.reached()
        changed = asyncio.create_task(holder.debug.replace_state(note_the_time(log)))
        await settle()
        assert log == []
        gate.open()
        state = await changed
        await settle()
        assert log == [1, "replaced", 2]
        assert state["seen"] == shown(holder)["seen"] == (1,)


def note_the_time(log: list[Any]) -> Callable[[State], State]:
    def change(state: State) -> State:
        log.append("replaced")
        return {**state, "seen": tuple(state["handled"])}

    return change


@pytest.mark.asyncio
async def test_a_replacement_that_raises_leaves_the_old_state_and_the_actor_unharmed() -> None:
    def change(state: State) -> State:
        state["handled"] = "nonsense"
        del state["gate"]
        raise ValueError("no such state")

    async with ActorSystem() as system:
        holder = await system.spawn(Holder)
        await holder.ask(Note(value=1))
        before = shown(holder)
        with pytest.raises(NotReplaced, match="state of /user/holder was not replaced, and is as it was") as caught:
            await holder.debug.replace_state(change)
        assert isinstance(caught.value.__cause__, ValueError)
        assert shown(holder) == before
        assert all(shown(holder)[name] is value for name, value in before.items())
        assert await holder.ask(Note(value=2)) == 2
        assert holder.debug.statistics().restarts == 0


@pytest.mark.parametrize(
    ("result", "problem"),
    [
        (None, "must return a mapping of names to values, got NoneType"),
        ([("handled", [])], "got list"),
        ({1: 2}, "names of the actor's own attributes, got 1"),
        ({"_understudy_cell": None}, "got '_understudy_cell'"),
    ],
)
@pytest.mark.asyncio
async def test_what_cannot_be_a_state_is_refused_and_the_old_one_stays(result: Any, problem: str) -> None:
    async with ActorSystem() as system:
        holder = await system.spawn(Holder)
        before = shown(holder)
        with pytest.raises(NotReplaced, match=problem) as caught:
            await holder.debug.replace_state(lambda state: result)
        assert caught.value.__cause__ is None
        assert shown(holder) == before
        assert await holder.ask(Note(value=2)) == 2


@pytest.mark.asyncio
async def test_a_coroutine_is_no_change() -> None:
    async def change(state: State) -> State:
        return state

    wrong: Any = change
    async with ActorSystem() as system:
        holder = await system.spawn(Holder)
        with pytest.raises(NotReplaced, match="plain function, not a coroutine"):
            await holder.debug.replace_state(wrong)
        assert await holder.ask(Note(value=2)) == 2


@pytest.mark.asyncio
async def test_what_is_left_out_is_gone_and_a_restart_begins_as_ever() -> None:
    async with ActorSystem() as system:
        holder = await system.spawn(Holder)
        await holder.debug.replace_state(lambda state: {"handled": [7], "log_of_all": []})
        assert dict(shown(holder)) == {"handled": [7], "log_of_all": []}
        holder.tell(Fail(error=ValueError()))
        await settle()
        assert dict(shown(holder)) == {"gate": None, "handled": [], "log_of_all": []}


@pytest.mark.asyncio
async def test_who_waits_in_vain_hears_what_is_in_hand_and_nothing_is_replaced_any_more() -> None:
    gate = Gate()
    async with ActorSystem() as system:
        holder = await system.spawn(Holder, gate)
        holder.tell(Hold())
        holder.tell(Note())
        await gate.reached()
        await asyncio.sleep(3.8)
        with pytest.raises(
            ReplaceTimeout, match=r"no turn within 1 s \(handling Hold for 4\.8 s, 1 waiting\)"
        ) as caught:
            await holder.debug.replace_state(put(late=True), timeout=1.0)
        assert isinstance(caught.value, TimeoutError)
        gate.open()
        await settle()
        assert "late" not in shown(holder)
        assert shown(holder)["handled"] == [0, 0]


@pytest.mark.asyncio
async def test_the_time_is_that_of_an_ask_when_nobody_says_how_long() -> None:
    gate = Gate()
    async with ActorSystem(settings=Settings(ask_timeout=2.0)) as system:
        holder = await system.spawn(Holder, gate)
        holder.tell(Hold())
        await gate.reached()
        with pytest.raises(ReplaceTimeout, match="no turn within 2 s"):
            await holder.debug.replace_state(put())
        gate.open()


@pytest.mark.asyncio
async def test_whoever_gives_up_withdraws_what_he_wanted_and_no_flood_builds_up() -> None:
    gate = Gate()
    async with ActorSystem() as system:
        holder = await system.spawn(Holder, gate)
        holder.tell(Hold())
        await gate.reached()
        for _ in range(100):
            with pytest.raises(ReplaceTimeout):
                await holder.debug.replace_state(put(late=True), timeout=0.01)
        given_up = asyncio.create_task(holder.debug.replace_state(put(late=True)))
        await settle()
        given_up.cancel()
        await settle()
        assert given_up.cancelled()
        standing = holder._cell.standing
        assert standing is not None
        assert standing.changes == []
        gate.open()
        await settle()
        assert "late" not in shown(holder)
        assert await holder.ask(Note(value=2)) == 2


@pytest.mark.asyncio
async def test_changes_are_made_in_the_order_of_the_calls() -> None:
    gate = Gate()
    async with ActorSystem() as system:
        holder = await system.spawn(Holder, gate)
        holder.tell(Hold())
        await gate.reached()
        changes = [
            asyncio.create_task(holder.debug.replace_state(lambda state, n=n: {**state, "n": (*state.get("n", ()), n)}))
            for n in range(5)
        ]
        await settle()
        gate.open()
        await asyncio.gather(*changes)
        assert shown(holder)["n"] == (0, 1, 2, 3, 4)


@pytest.mark.parametrize("timeout", [0, -1, math.nan, "soon"])
@pytest.mark.asyncio
async def test_a_bad_timeout_is_refused_before_anything(timeout: Any) -> None:
    async with ActorSystem() as system:
        holder = await system.spawn(Holder)
        holder.stop()
        await holder.wait_stopped()
        with pytest.raises(InvalidTimeout):
            await holder.debug.replace_state(put(), timeout=timeout)
        with pytest.raises(InvalidTimeout):
            await holder.debug.replace_behaviour(Better, timeout=timeout)


class Change(Message[str]):
    """The actor tries to replace the state of that actor, or its own."""

    ref: Any = None
    after: Any = None


class Meddler(Actor[Change]):
    """Reports what it got."""

    async def initialize(self) -> None:
        self.asked = 0

    @handler
    async def change(self, message: Change) -> str:
        ref = message.ref or self.context.ref
        if message.after is not None:
            await message.after.hold()
        try:
            await ref.debug.replace_state(put(asked=5), timeout=math.inf)
        except AskCycle as error:
            return str(error)
        return "replaced"


@pytest.mark.asyncio
async def test_a_wait_for_oneself_can_never_end_and_is_refused_at_once() -> None:
    async with ActorSystem() as system:
        meddler = await system.spawn(Meddler)
        other = await system.spawn(child(Meddler).options(name="other"))
        assert await meddler.ask(Change()) == "waiting in a circle: /user/meddler -> /user/meddler"
        assert await meddler.ask(Change(ref=other)) == "replaced"
        assert shown(other)["asked"] == 5
        gate = Gate()
        first = asyncio.create_task(meddler.ask(Change(ref=other, after=gate)))
        second = asyncio.create_task(other.ask(Change(ref=meddler, after=gate)))
        await gate.reached(2)
        gate.open()
        answers = [await first, await second]
        assert sorted(answers) == ["replaced", "waiting in a circle: /user/other -> /user/meddler -> /user/other"]


@pytest.mark.asyncio
async def test_a_verb_in_a_handler_has_no_longer_than_what_the_asker_waits() -> None:
    gate = Gate()
    async with ActorSystem() as system:
        holder, meddler = await system.spawn(Holder, gate), await system.spawn(Meddler)
        holder.tell(Hold())
        await gate.reached()
        with pytest.raises(AskTimeout):
            await meddler.ask(Change(ref=holder), timeout=1.0)
        await settle()
        assert meddler.debug.get_state().in_hand == ()
        assert meddler.debug.statistics().crashes == 1  # by the ReplaceTimeout, in the same moment
        gate.open()


# --- suspend and resume -----------------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_messages_wait_while_an_actor_is_suspended_and_are_handled_in_order_afterwards() -> None:
    log: list[Any] = []
    async with ActorSystem() as system:
        holder = await system.spawn(child(Holder, Gate(), log).options(mailbox=3))
        holder.debug.suspend()
        holder.debug.suspend()
        told = [holder.tell(Note(value=number)) for number in range(5)]
        await asyncio.sleep(100)
        assert log == []
        assert told == [True, True, True, False, False]
        assert "holder  Holder, running, suspended, 3 waiting" in str(system.tree())
        assert holder.status == "running"
        holder.debug.resume()
        holder.debug.resume()
        assert await holder.ask(Note(value=9)) == 9
        assert log == [0, 1, 2, 9]
        assert "suspended" not in str(system.tree())


@pytest.mark.asyncio
async def test_whoever_asks_a_suspended_actor_in_vain_hears_why() -> None:
    async with ActorSystem() as system:
        holder = await system.spawn(child(Holder).options(mailbox=1))
        holder.debug.suspend()
        with pytest.raises(AskTimeout, match=r"\(accepted, suspended, 1 waiting\)"):
            await holder.ask(Note(), timeout=1.0)
        with pytest.raises(AskTimeout, match=r"never accepted: 1 waiting, and no room for more, suspended"):
            await holder.ask(Note(), timeout=1.0)
        state = await holder.debug.replace_state(put(seen=True))
        assert state["seen"]
        assert state["handled"] == []


@pytest.mark.parametrize("ending", ["stop", "kill"])
@pytest.mark.asyncio
async def test_a_suspended_actor_can_be_stopped_and_killed(ending: str) -> None:
    log: list[Any] = []
    async with ActorSystem() as system:
        holder = await system.spawn(child(Holder, Gate(), log).options(restart="temporary"))
        holder.debug.suspend()
        holder.tell(Note())
        getattr(holder, ending)()
        assert await holder.wait_stopped() == (Shutdown("stopped") if ending == "stop" else Killed())
        assert log == []


@pytest.mark.asyncio
async def test_a_drain_waits_for_resume_or_for_its_own_end() -> None:
    log: list[Any] = []
    async with ActorSystem() as system:
        holder = await system.spawn(Holder, Gate(), log)
        holder.debug.suspend()
        holder.tell(Note(value=1))
        holder.drain()
        await asyncio.sleep(100)
        assert (holder.status, log) == ("running", [])
        holder.debug.resume()
        await holder.wait_stopped()
        assert log == [1]

        empty = await system.spawn(Holder)
        empty.debug.suspend()
        empty.drain()
        assert await empty.wait_stopped(timeout=1.0) == Shutdown("drained")

        hasty = await system.spawn(Holder, Gate(), log)
        hasty.debug.suspend()
        hasty.tell(Note(value=2))
        hasty.drain(timeout=5.0)
        assert await hasty.wait_stopped(timeout=6.0) == Shutdown("drained")
        assert log == [1]


@pytest.mark.asyncio
async def test_an_actor_stays_suspended_through_restarts_and_a_new_one_of_its_name_is_not() -> None:
    log: list[Any] = []
    async with ActorSystem() as system:
        band = await system.spawn(supervisor("band", child(Holder, Gate(), log).options(name="horn"), max_restarts=9))
        horn: Any = system.lookup("band/horn")
        horn.debug.suspend()
        horn.tell(Note(value=1))
        horn.kill()
        await settle()
        assert (horn.debug.get_state().incarnation, log) == (2, [])
        horn.debug.resume()
        await settle()
        assert log == [1]
        horn.debug.suspend()
        supervises: Any = band
        await supervises.terminate_child("horn")
        again = await supervises.restart_child("horn")
        assert await again.ask(Note(value=2)) == 2


@pytest.mark.asyncio
async def test_an_actor_that_suspends_itself_ends_the_message_in_hand() -> None:
    class Shy(Holder):
        @handler
        def note(self, message: Note) -> int:
            if message.value == 1:
                self.context.ref.debug.suspend()
            return super().note(message)

    log: list[Any] = []
    async with ActorSystem() as system:
        shy = await system.spawn(Shy, Gate(), log)
        for number in range(3):
            shy.tell(Note(value=number))
        await settle()
        assert log == [0, 1]
        shy.debug.resume()
        await settle()
        assert log == [0, 1, 2]


# --- statistics -------------------------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_statistics_count_through_all_incarnations() -> None:
    async with ActorSystem() as system:
        holder = await system.spawn(child(Holder).options(mailbox=5))
        start = asyncio.get_running_loop().time()
        for number in range(7):
            holder.tell(Note(value=number))
        await settle()
        counted = holder.debug.statistics()
        assert (counted.handled, counted.waiting, counted.high_water, counted.dead_letters) == (5, 0, 5, 2)
        assert (counted.restarts, counted.crashes, counted.zombies, counted.up_since) == (0, 0, 0, None)
        await asyncio.sleep(3)
        holder.tell(Fail(error=ValueError()))
        wrong: Any = holder
        wrong.tell("nobody handles that")
        await settle()
        holder.kill()
        await settle()
        counted = holder.debug.statistics()
        assert (counted.handled, counted.restarts, counted.crashes, counted.dead_letters) == (7, 2, 1, 3)
        assert counted.up_since is not None
        assert round(counted.up_since - start, 2) == 3.0


@pytest.mark.asyncio
async def test_statistics_count_the_zombies() -> None:
    class Stubborn(Actor[Note]):
        @handler
        async def note(self, message: Note) -> int:
            while True:
                try:
                    await message_gate.hold()
                    return 0
                except asyncio.CancelledError:
                    continue

    message_gate = Gate()
    async with ActorSystem() as system:
        stubborn = await system.spawn(Stubborn)
        stubborn.tell(Note())
        await message_gate.reached()
        stubborn.kill()
        await asyncio.sleep(2)
        assert stubborn.debug.statistics().zombies == 1
        message_gate.open()
        await settle()


# --- trace ------------------------------------------------------------------------------------------------------------


class Tracer(Actor[Traced | Note]):
    """Keeps what it is told."""

    def __init__(self, traces: list[Traced]) -> None:
        self.traces = traces

    @handler
    def traced(self, message: Traced) -> None:
        self.traces.append(message)

    @handler
    def note(self, message: Note) -> int:
        return message.value


def events(traces: list[Traced]) -> list[tuple[str, str]]:
    """What was told, in short; and forget it."""
    told = [(each.event, type(each.message).__name__ if each.message is not None else "") for each in traces]
    traces.clear()
    return told


@pytest.mark.asyncio
async def test_a_tracer_is_told_what_an_actor_receives_handles_and_replies_and_how_it_ends() -> None:
    traces: list[Traced] = []
    async with ActorSystem() as system:
        gate = Gate()
        holder, tracer = await system.spawn(Holder, gate), await system.spawn(Tracer, traces)
        holder.debug.trace(tracer)
        gate.open()
        holder.tell(Note(value=1), sender=tracer)
        await holder.ask(Hold(value=2))
        wrong: Any = holder
        wrong.tell("nobody handles that")
        holder.tell(Fail(error=ValueError("no")))
        await settle()
        assert [(each.event, each.incarnation) for each in traces if each.message is None] == [
            ("ended", 1),
            ("started", 2),
        ]
        received, handled, asked, replied, *_ = traces
        assert received == Traced(
            event="received", path="/user/holder", incarnation=1, time=received.time, message=Note(value=1),
            sender="/user/tracer",
        )  # fmt: skip
        assert (handled.event, handled.message, handled.detail) == ("handled", Note(value=1), None)
        assert (asked.event, asked.sender) == ("received", None)
        assert (replied.event, replied.detail) == ("replied", 2)
        failed = next(each for each in traces if each.event == "failed")
        assert str(failed.detail) == "no"
        assert events(traces) == [
            ("received", "Note"), ("handled", "Note"), ("received", "Hold"), ("replied", "Hold"),
            ("received", "str"), ("unhandled", "str"), ("lost", "str"), ("received", "Fail"), ("failed", "Fail"),
            ("ended", ""), ("started", ""),
        ]  # fmt: skip
        holder.debug.suspend()
        holder.tell(Note(value=3))
        holder.stop()
        await holder.wait_stopped()
        await settle()
        assert events(traces) == [("lost", "Note"), ("ended", ""), ("stopped", "")]
        holder.tell(Note(value=4))
        await settle()
        assert traces == []


@pytest.mark.asyncio
async def test_a_trace_ends_with_none_with_another_and_with_its_tracer() -> None:
    first: list[Traced] = []
    second: list[Traced] = []
    async with ActorSystem() as system:
        holder = await system.spawn(Holder)
        one, two = await system.spawn(Tracer, first), await system.spawn(Tracer, second)
        holder.debug.trace(one)
        holder.debug.trace(two)
        await holder.ask(Note())
        await settle()
        assert first == []
        assert events(second) == [("received", "Note"), ("replied", "Note")]
        two.stop()
        await two.wait_stopped()
        await holder.ask(Note())
        standing = holder._cell.standing
        assert standing is not None
        assert standing.trace is None
        holder.debug.trace(one)
        holder.debug.trace(None)
        holder.debug.trace(None)
        await holder.ask(Note())
        await settle()
        assert first == second == []
        assert system.statistics().dead_letters == 0
        with pytest.raises(ActorStopped):
            holder.debug.trace(two)


@pytest.mark.asyncio
async def test_actors_that_trace_themselves_or_each_other_come_to_rest() -> None:
    first: list[Traced] = []
    second: list[Traced] = []
    async with ActorSystem() as system:
        one, two = await system.spawn(Tracer, first), await system.spawn(Tracer, second)
        one.debug.trace(one)
        await one.ask(Note())
        await settle()
        assert events(first) == [("received", "Note"), ("replied", "Note")]
        one.debug.trace(two)
        two.debug.trace(one)
        await one.ask(Note())
        await settle()
        assert events(second) == [("received", "Note"), ("replied", "Note")]
        assert first == []


@pytest.mark.asyncio
async def test_a_tracer_without_room_is_told_how_much_it_has_missed() -> None:
    traces: list[Traced] = []
    async with ActorSystem() as system:
        holder = await system.spawn(Holder)
        tracer = await system.spawn(child(Tracer, traces).options(mailbox=2))
        tracer.debug.suspend()
        holder.debug.trace(tracer)
        for number in range(3):
            await holder.ask(Note(value=number))
        tracer.debug.resume()
        await settle()
        await holder.ask(Note(value=3))
        await settle()
        assert [(each.event, each.missed) for each in traces] == [
            ("received", 0), ("replied", 0), ("received", 4), ("replied", 0),
        ]  # fmt: skip
        assert system.statistics().dead_letters == 0


@pytest.mark.asyncio
async def test_an_actor_that_is_not_traced_has_the_very_handlers_of_its_class() -> None:
    async with ActorSystem() as system:
        holder, tracer = await system.spawn(Holder), await system.spawn(Tracer, [])
        table = holder._cell.table
        assert table is Holder.__understudy_handlers__
        holder.debug.trace(tracer)
        assert holder._cell.table is not table
        holder.debug.trace(None)
        await holder.ask(Note())
        assert holder._cell.table is table
        assert not holder._cell.attention


# --- replace_behaviour ------------------------------------------------------------------------------------------------


class Count(Message[int]): ...


class Meter(Actor[Note | Count | Hold]):
    def __init__(self, gate: Gate | None = None) -> None:
        self.gate = gate
        self.total = 0

    @handler
    def note(self, message: Note) -> int:
        self.total += message.value
        return self.total

    @handler
    def count(self, message: Count) -> int:
        return self.total

    @handler
    async def hold(self, message: Hold) -> int:
        assert self.gate is not None
        await self.gate.hold()
        return self.total


class CentiMeter(Meter):
    """Counts in hundredths."""

    def __init__(self, gate: Gate | None = None) -> None:
        super().__init__(gate)
        self.cents = 0

    @staticmethod
    def migrate(old: Meter) -> State:
        return {"gate": old.gate, "cents": old.total * 100}

    @handler
    def note(self, message: Note) -> int:
        self.cents += 100 * message.value
        return self.cents

    @handler
    def count(self, message: Count) -> int:
        return self.cents


@pytest.mark.asyncio
async def test_a_behaviour_is_replaced_between_two_messages_with_its_state_migrated() -> None:
    gate = Gate()
    async with ActorSystem() as system:
        meter = await system.spawn(Meter, gate)
        await meter.ask(Note(value=2))
        held = asyncio.create_task(meter.ask(Hold()))
        await gate.reached()
        counted = asyncio.create_task(meter.ask(Count()))
        replaced = asyncio.create_task(meter.debug.replace_behaviour(CentiMeter, CentiMeter.migrate))
        await settle()
        assert not replaced.done()
        gate.open()
        assert (await held, await counted, await replaced) == (2, 200, None)
        assert meter.debug.get_state().actor == "CentiMeter"
        assert dict(shown(meter)) == {"gate": gate, "cents": 200}
        assert system.lookup("meter", Meter) == meter


@pytest.mark.asyncio
async def test_a_restart_makes_the_new_class_with_the_same_arguments() -> None:
    gate = Gate()
    async with ActorSystem() as system:
        meter = await system.spawn(Meter, gate)
        await meter.debug.replace_behaviour(CentiMeter, CentiMeter.migrate)
        meter.kill()
        assert await meter.ask(Note(value=1)) == 100
        assert shown(meter)["gate"] is gate
        assert meter.debug.get_state().actor == "CentiMeter"


@pytest.mark.asyncio
async def test_without_a_migration_the_state_stays_as_it_is() -> None:
    class Loud(Meter):
        @handler
        def count(self, message: Count) -> int:
            return self.total * 1000

    async with ActorSystem() as system:
        meter = await system.spawn(Meter)
        await meter.ask(Note(value=2))
        await meter.debug.replace_behaviour(Loud)
        assert await meter.ask(Count()) == 2000


def raises(old: Meter) -> State:
    old.total = 77
    raise ValueError("no")


@pytest.mark.parametrize(
    ("migrate", "problem"), [(raises, "ValueError: no"), (lambda old: None, "migrate must return a mapping")]
)
@pytest.mark.asyncio
async def test_a_migration_that_fails_leaves_class_and_state(migrate: Any, problem: str) -> None:
    async with ActorSystem() as system:
        meter = await system.spawn(Meter)
        await meter.ask(Note(value=2))
        with pytest.raises(
            NotReplaced, match=f"behaviour of /user/meter was not replaced, and is as it was: {problem}"
        ):
            await meter.debug.replace_behaviour(CentiMeter, migrate)
        assert await meter.ask(Count()) == 2
        meter.kill()
        assert await meter.ask(Note(value=1)) == 1


class Deaf(Actor[Note | Hold]):
    def __init__(self, gate: Gate | None = None) -> None: ...

    @handler
    def note(self, message: Note) -> int:
        return 0

    @handler
    def hold(self, message: Hold) -> int:
        return 0


class Needy(Meter):
    def __init__(self, gate: Gate, more: int) -> None: ...


class Slotted(Meter):
    __slots__ = ("extra",)


@pytest.mark.parametrize(
    ("cls", "problem"),
    [
        (Deaf, "Deaf has no handler for Count, which may wait in the mailbox: add one"),
        (Needy, r"a restart could not make a Needy: arguments do not fit Needy\(.*more"),
        (Slotted, "Slotted must have the same __slots__ as Meter"),
        (supervisor("top").factory, "supervisor"),
        (int, "must be a subclass of Actor, got <class 'int'>"),
    ],
)
@pytest.mark.asyncio
async def test_a_class_that_cannot_take_the_place_is_refused(cls: Any, problem: str) -> None:
    async with ActorSystem() as system:
        meter = await system.spawn(Meter)
        await meter.ask(Note(value=2))
        with pytest.raises(NotReplaced, match=problem):
            await meter.debug.replace_behaviour(cls)
        assert await meter.ask(Count()) == 2
        assert meter.debug.get_state().actor == "Meter"


# --- The table of states ----------------------------------------------------------------------------------------------

Replacement = Callable[[ActorRef[Any]], Awaitable[Any]]
REPLACEMENTS: list[Replacement] = [
    lambda ref: ref.debug.replace_state(put(replaced=True)),
    lambda ref: ref.debug.replace_behaviour(Sharp),
]
replacements = pytest.mark.parametrize("replace", REPLACEMENTS, ids=["state", "behaviour"])


class Sharp(Slow):
    """What a Slow becomes."""


def is_replaced(ref: ActorRef[Any]) -> bool:
    return "replaced" in shown(ref) or ref.debug.get_state().actor == "Sharp"


def at_once(ref: ActorRef[Any], tracer: ActorRef[Any], status: str) -> None:
    """What is served now, in each state but the last."""
    state = ref.debug.get_state()
    assert (state.status, state.suspended) == (status, False)
    assert ref.debug.statistics().path == ref.path
    ref.debug.trace(tracer)
    ref.debug.trace(None)
    ref.debug.suspend()
    assert ref.debug.get_state().suspended
    ref.debug.resume()
    assert not ref.debug.get_state().suspended


@replacements
@pytest.mark.asyncio
async def test_new(replace: Replacement) -> None:
    async with ActorSystem() as system:
        tracer = await system.spawn(Tracer, [])
        parent = system._guardians["user"]
        cell = Cell(parent.runtime, parent, child(Slow), "new")
        ref = ref_of(cell)
        at_once(ref, tracer, "starting")
        with pytest.raises(NotReplaced, match="it is starting: wait until it is running"):
            await replace(ref)
        ref.debug.suspend()
        assert ref.debug.get_state().suspended
        cell.runtime.population -= 1


@replacements
@pytest.mark.asyncio
async def test_starting(replace: Replacement) -> None:
    up = Gate()
    async with ActorSystem() as system:
        tracer = await system.spawn(Tracer, [])
        spawned = asyncio.create_task(system.spawn(Slow, None, None, up))
        await up.reached()
        await asyncio.sleep(2)
        slow = system.lookup("slow", Slow)
        at_once(slow, tracer, "starting")
        assert [hand.what for hand in slow.debug.get_state().in_hand] == ["initialize"]
        with pytest.raises(ReplaceTimeout, match="handling initialize for 3 s, 0 waiting"):
            await slow.debug.replace_state(put(), timeout=1.0)
        slow.tell(Note(value=1))
        slow.debug.suspend()
        replaced = asyncio.ensure_future(replace(slow))
        await settle()
        assert not replaced.done()
        up.open()
        await replaced
        await spawned
        assert is_replaced(slow)
        assert shown(slow)["handled"] == []
        slow.debug.resume()
        await settle()
        assert shown(slow)["handled"] == [1]


@replacements
@pytest.mark.asyncio
async def test_a_start_that_fails_is_the_end_of_what_waits_for_it(replace: Replacement) -> None:
    up = Gate()
    async with ActorSystem() as system:
        spawned = asyncio.create_task(system.spawn(Slow, None, None, up))
        await up.reached()
        slow = system.lookup("slow", Slow)
        replaced = asyncio.ensure_future(replace(slow))
        await settle()
        slow.stop()
        with pytest.raises(ActorStopped):
            await replaced
        assert (await asyncio.gather(spawned, return_exceptions=True))[0] is not None


@replacements
@pytest.mark.asyncio
async def test_running_without_a_handler(replace: Replacement) -> None:
    async with ActorSystem() as system:
        slow, tracer = await system.spawn(Slow), await system.spawn(Tracer, [])
        at_once(slow, tracer, "running")
        await replace(slow)
        assert is_replaced(slow)
        assert await slow.ask(Note(value=3)) == 3


@replacements
@pytest.mark.asyncio
async def test_running_with_a_handler_that_waits(replace: Replacement) -> None:
    gate = Gate()
    async with ActorSystem() as system:
        slow, tracer = await system.spawn(Slow, gate), await system.spawn(Tracer, [])
        slow.tell(Hold(value=1))
        await gate.reached()
        at_once(slow, tracer, "running")
        replaced = asyncio.ensure_future(replace(slow))
        await settle()
        assert not replaced.done()
        assert not is_replaced(slow)
        gate.open()
        await replaced
        assert is_replaced(slow)
        assert shown(slow)["handled"] == [1]


@replacements
@pytest.mark.asyncio
async def test_a_handler_that_crashes_is_the_end_of_what_waits_for_it(replace: Replacement) -> None:
    gate = Gate()

    class Fragile(Slow):
        @handler
        async def wait(self, message: Hold) -> int:
            await gate.hold()
            raise ValueError("no")

    async with ActorSystem() as system:
        fragile = await system.spawn(Fragile)
        fragile.tell(Hold())
        await gate.reached()
        replaced = asyncio.ensure_future(replace(fragile))
        await settle()
        gate.open()
        with pytest.raises(NotReplaced, match="it has ended"):
            await replaced
        await settle()
        assert fragile.status == "running"
        assert not is_replaced(fragile)


@replacements
@pytest.mark.parametrize("final", [True, False])
@pytest.mark.asyncio
async def test_stopping(replace: Replacement, final: bool) -> None:
    down = Gate()
    async with ActorSystem() as system:
        slow, tracer = await system.spawn(Slow, None, None, None, down), await system.spawn(Tracer, [])
        if final:
            slow.stop()
        else:
            slow.tell(Fail(error=ValueError()))
        await down.reached()
        at_once(slow, tracer, "stopping")
        assert [hand.what for hand in slow.debug.get_state().in_hand] == ["shutdown"]
        with pytest.raises(ActorStopped if final else NotReplaced):
            await replace(slow)
        slow.debug.suspend()
        down.open()
        await settle()
        if not final:
            assert slow.debug.get_state().suspended


@replacements
@pytest.mark.asyncio
async def test_down(replace: Replacement) -> None:
    async with ActorSystem() as system:
        tracer = await system.spawn(Tracer, [])
        slow = await system.spawn(child(Slow).options(backoff=lambda state: 10.0))
        slow.kill()
        await settle()
        at_once(slow, tracer, "restarting")
        assert dict(shown(slow)) == {}
        with pytest.raises(NotReplaced, match="it is restarting: wait until it is running"):
            await replace(slow)
        slow.debug.suspend()
        slow.tell(Note(value=1))
        await asyncio.sleep(11)
        assert (slow.status, slow.debug.get_state().suspended) == ("running", True)
        assert not is_replaced(slow)
        assert shown(slow)["handled"] == []


@replacements
@pytest.mark.asyncio
async def test_dead(replace: Replacement) -> None:
    async with ActorSystem() as system:
        slow, tracer = await system.spawn(Slow), await system.spawn(Tracer, [])
        slow.debug.suspend()
        slow.stop()
        await slow.wait_stopped()
        for verb in (slow.debug.get_state, slow.debug.statistics, lambda: slow.debug.trace(tracer)):
            with pytest.raises(ActorStopped, match="stopped"):
                verb()
        with pytest.raises(ActorStopped):
            await replace(slow)
        slow.debug.suspend()
        slow.debug.resume()
        slow.debug.trace(None)
        assert slow._cell.standing is None
