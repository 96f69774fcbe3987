"""Leftovers: what an actor has not handled at its final end goes to a function; if that fails, to the dead letters."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from typing import Any

import pytest

from tests.cast import Fail, Gate, Hold, Holder, Note, Recorder, settle
from understudy import (
    Actor,
    ActorRef,
    ActorStopped,
    ActorSystem,
    ChildSpec,
    DeadLetter,
    InvalidSpec,
    Killed,
    Message,
    ReplayDeadLetters,
    Settings,
    Supervisor,
    Terminated,
    child,
    handler,
)
from understudy._plans._spec import Options
from understudy.testing import Simulation, simulate


class Hand:
    """Takes leftovers, and keeps what it was given at each call."""

    def __init__(self, then: Callable[[], object] | None = None) -> None:
        self.calls: list[Sequence[DeadLetter]] = []
        self.then = then

    def __call__(self, letters: Sequence[DeadLetter]) -> object:
        self.calls.append(letters)
        return None if self.then is None else self.then()

    @property
    def values(self) -> list[list[int]]:
        return [[letter.message.value for letter in letters] for letters in self.calls]


class Ear(Recorder):
    """Hears of leftovers too."""

    def left_over(self, message: object, recipient: str, sender: str | None, why: str) -> None:
        self.events.append(("left_over", message, recipient, sender, why))


async def busy(system: ActorSystem, gate: Gate, hand: Any, **options: Any) -> ActorRef[Any]:
    """An actor that is held in its first message."""
    spec = child(Holder, gate).options(leftovers=hand, **options)
    ref = await system.spawn(spec)
    ref.tell(Hold())
    await gate.reached()
    return ref


@pytest.mark.asyncio
async def test_what_is_left_in_the_mailbox_is_taken_once_in_order_with_recipient_sender_and_reason() -> None:
    gate, hand, ear = Gate(), Hand(), Ear()
    async with ActorSystem(instruments=[ear]) as system:
        ref = await busy(system, gate, hand)
        other = await system.spawn(child(Holder).options(name="other"))
        ref.tell(Note(value=1))
        ref.tell(Note(value=2), sender=other)
        ref.stop()
        await settle()
        assert hand.calls == []  # not before the end
        gate.open()
        await ref.wait_stopped()
        assert hand.calls == [
            (
                DeadLetter(Note(value=1), "/user/holder", None, "shut down (stopped)"),
                DeadLetter(Note(value=2), "/user/holder", "/user/other", "shut down (stopped)"),
            )
        ]
        assert ear.letters == []
        assert system.statistics().dead_letters == 0
        assert [event[0] for event in ear.of("left_over")] == [Note(value=1), Note(value=2)]
        assert await system.dead_letters.ask(ReplayDeadLetters(to=other)) == 0


@pytest.mark.parametrize("way", ["kill", "crash", "abandonment", "drain in vain", "itself"])
@pytest.mark.asyncio
async def test_whatever_way_it_ends_for_good_the_rest_is_taken(way: str) -> None:
    gate, hand = Gate(), Hand()
    async with ActorSystem() as system:
        if way in ("crash", "itself"):
            actor = Quitter if way == "itself" else Holder
            ref: ActorRef[Any] = await system.spawn(child(actor).options(restart="temporary", leftovers=hand))
            ref.tell(Fail(error=ValueError()) if way == "crash" else Note())
        elif way == "abandonment":
            ref = await system.spawn(child(Stubborn, gate).options(restart="temporary", leftovers=hand))
            ref.tell(Hold())
            await gate.reached()
        else:
            ref = await busy(system, gate, hand, restart="temporary")
        for value in (1, 2):
            ref.tell(Note(value=value))
        if way in ("kill", "abandonment"):
            ref.kill()
        elif way == "drain in vain":
            ref.drain(timeout=1.0)
            await asyncio.sleep(2)
            assert hand.calls == []  # the handler in hand has its grace
        await ref.wait_stopped()
        assert hand.values == [[1, 2]]
        assert system.statistics().dead_letters == (1 if way in ("kill", "abandonment", "drain in vain") else 0)
        gate.open()


class Quitter(Actor[Note]):
    @handler
    def note(self, message: Note) -> int:
        self.context.stop()
        return 0


class Stubborn(Actor[Note | Hold]):
    def __init__(self, gate: Gate) -> None:
        self.gate = gate

    @handler
    def note(self, message: Note) -> int:
        return 0

    @handler
    async def wait(self, message: Hold) -> int:
        while True:
            try:
                await self.gate.hold()
            except asyncio.CancelledError:
                continue
            return 0


@pytest.mark.asyncio
async def test_a_restart_leaves_nothing_over() -> None:
    hand = Hand()
    log: list[Any] = []
    async with ActorSystem() as system:
        ref = await system.spawn(child(Holder, None, log).options(leftovers=hand))
        ref.tell(Fail(error=ValueError()))
        ref.tell(Note(value=1))
        await settle()
        ref.kill()
        ref.tell(Note(value=2))
        await settle()
        assert (log, hand.calls) == ([1, 2], [])
        ref.stop()
        await ref.wait_stopped()
        assert hand.calls == []  # there is nothing to take


class Squirrel(Actor[Note | Hold]):
    """Puts all notes aside."""

    def __init__(self, gate: Gate) -> None:
        self.gate = gate

    @handler
    def note(self, message: Note) -> int:
        self.context.stash(message)
        return 0

    @handler
    async def wait(self, message: Hold) -> int:
        await self.gate.hold()
        return 0


@pytest.mark.parametrize("way", ["stop", "kill"])
@pytest.mark.asyncio
async def test_what_was_stashed_comes_before_what_was_behind_it(way: str) -> None:
    gate, hand = Gate(), Hand()
    async with ActorSystem() as system:
        ref = await system.spawn(child(Squirrel, gate).options(leftovers=hand, restart="temporary"))
        for value in (1, 2):
            ref.tell(Note(value=value))
        ref.tell(Hold())
        await gate.reached()
        for value in (3, 4):
            ref.tell(Note(value=value))
        getattr(ref, way)()
        gate.open()
        await ref.wait_stopped()
        assert hand.values == [[1, 2, 3, 4]]


@pytest.mark.asyncio
async def test_asks_are_not_left_over_they_fail_as_ever() -> None:
    gate, hand, ear = Gate(), Hand(), Ear()
    async with ActorSystem(instruments=[ear]) as system:
        ref = await busy(system, gate, hand)
        asked = asyncio.ensure_future(ref.ask(Note(value=1)))
        await settle()
        ref.tell(Note(value=2))
        ref.stop()
        with pytest.raises(ActorStopped):
            await asked
        gate.open()
        await ref.wait_stopped()
        assert hand.values == [[2]]
        assert [letter[0] for letter in ear.letters] == [Note(value=1)]


@pytest.mark.asyncio
async def test_what_comes_after_the_end_is_a_dead_letter_and_not_left_over() -> None:
    gate, hand, ear = Gate(), Hand(), Ear()
    async with ActorSystem(instruments=[ear]) as system:
        ref = await busy(system, gate, hand)
        ref.tell(Note(value=1))
        ref.stop()
        assert ref.tell(Note(value=2)) is False
        gate.open()
        await ref.wait_stopped()
        assert ref.tell(Note(value=3)) is False
        assert hand.values == [[1]]
        assert [letter[0] for letter in ear.letters] == [Note(value=2), Note(value=3)]


@pytest.mark.parametrize("how", ["raises", "coroutine"])
@pytest.mark.asyncio
async def test_a_function_that_fails_is_reported_and_makes_dead_letters_of_them_once_each(how: str) -> None:
    async def late() -> None: ...

    def boom() -> None:
        raise ValueError("no hands")

    reported: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: reported.append(context))
    gate, hand, ear = Gate(), Hand(late if how == "coroutine" else boom), Ear()
    async with ActorSystem(instruments=[ear]) as system:
        ref = await busy(system, gate, hand)
        for value in (1, 2):
            ref.tell(Note(value=value))
        ref.stop()
        gate.open()
        await ref.wait_stopped()
        assert len(hand.calls) == 1
        assert [letter[0] for letter in ear.letters] == [Note(value=1), Note(value=2)]
        assert ear.of("left_over") == []
        (context,) = reported
        assert "/user/holder" in context["message"]
        assert ("no hands" if how == "raises" else "coroutine") in str(context["exception"])
        reported.clear()
        ear.events.clear()
        heir = await system.spawn(child(Holder).options(name="heir"))
        assert await system.dead_letters.ask(ReplayDeadLetters(to=heir)) == 2


@pytest.mark.asyncio
async def test_they_are_taken_when_the_name_is_free_and_before_a_watcher_hears_of_the_end() -> None:
    found: list[Any] = []
    gate = Gate()
    async with ActorSystem() as system:
        watcher = await system.spawn(child(Watcher, found).options(name="watcher"))

        def pass_on(letters: Sequence[DeadLetter]) -> None:
            found.append(system.find("holder"))
            for letter in letters:
                watcher.tell(letter.message)

        ref = await busy(system, gate, pass_on)
        await watcher.ask(Watch(ref=ref))
        ref.tell(Note(value=1))
        ref.stop()
        gate.open()
        await ref.wait_stopped()
        await settle()
        assert found == [None, 1, "ended"]


class Watch(Message):
    ref: ActorRef[Any]


class Watcher(Actor[Note | Watch]):
    def __init__(self, found: list[Any]) -> None:
        self.found = found

    @handler
    def watch(self, message: Watch) -> None:
        self.context.watch(message.ref)

    @handler
    def note(self, message: Note) -> int:
        self.found.append(message.value)
        return 0

    @handler
    def ended(self, signal: Terminated) -> None:
        self.found.append("ended")


@pytest.mark.asyncio
async def test_the_function_sees_no_context_variable_of_who_stops_the_actor() -> None:
    variable = ContextVar("variable", default="nobody's")
    seen: list[str] = []
    gate = Gate()

    def look(letters: Sequence[DeadLetter]) -> None:
        seen.append(variable.get())
        variable.set("the function's")

    async with ActorSystem() as system:
        backing_off = await system.spawn(
            child(Holder).options(name="one", leftovers=look, backoff=lambda state: 100.0, reset_after=1.0)
        )
        backing_off.tell(Fail(error=ValueError()))
        await settle()
        backing_off.tell(Note())
        ref = await busy(system, gate, look)
        ref.tell(Note())
        gate.open()
        variable.set("the stopper's")
        backing_off.stop()  # which ends it on the spot
        assert seen == ["nobody's"]
        ref.stop()
        await ref.wait_stopped()
        assert variable.get() == "the stopper's"
    assert seen == ["nobody's", "nobody's"]


@pytest.mark.asyncio
async def test_it_may_stop_and_kill_others_and_the_system_too() -> None:
    gate = Gate()
    async with ActorSystem(Siblings) as system:
        siblings = system.lookup("siblings")

        def end_all(letters: Sequence[DeadLetter]) -> None:
            for name in ("siblings/other", "siblings"):
                found = system.find(name)
                assert found is not None
                found.kill()
                found.stop()
            system.stop()

        ref = await busy(system, gate, end_all)
        ref.tell(Note())
        ref.stop()
        gate.open()
        async with asyncio.timeout(10):
            await siblings.wait_stopped()
            await system.wait_stopped()


class Siblings(Supervisor):
    strategy = "rest_for_one"

    def children(self) -> list[ChildSpec]:
        return [child(Holder).options(name="one"), child(Holder).options(name="other")]


@pytest.mark.asyncio
async def test_at_the_end_of_the_system_they_are_taken_too_also_when_its_time_is_up() -> None:
    gate, gates, hand = Gate(), Gate(), Hand()
    settings = Settings(shutdown_timeout=3.0, shutdown=1.0)
    async with ActorSystem(settings=settings) as system:
        ref = await busy(system, gate, hand, name="one")
        ref.tell(Note(value=1))
        stubborn = await system.spawn(child(Stubborn, gates).options(name="two", leftovers=hand, shutdown="infinity"))
        stubborn.tell(Hold())
        await gates.reached()
        stubborn.tell(Note(value=2))
    assert sorted(hand.values) == [[1], [2]]
    assert isinstance(await stubborn.wait_stopped(), Killed)
    gates.open()


@pytest.mark.asyncio
async def test_a_class_may_say_it_for_all_its_actors_and_a_spec_has_the_last_word() -> None:
    mine, other = Hand(), Hand()

    class Prudent(Actor[Note]):
        defaults: Options = {"leftovers": mine}

        @handler
        def note(self, message: Note) -> int:
            self.context.ref.stop()
            return 0

    async with ActorSystem() as system:
        for spec in (child(Prudent), child(Prudent).options(leftovers=other)):
            ref = await system.spawn(spec)
            for value in range(3):
                ref.tell(Note(value=value))
            await ref.wait_stopped()
    assert (mine.values, other.values) == ([[1, 2]], [[1, 2]])


@pytest.mark.parametrize("value", [1, "save", None])
def test_what_is_no_function_is_refused_when_it_is_declared(value: Any) -> None:
    with pytest.raises(InvalidSpec, match="leftovers"):
        child(Holder).options(leftovers=value)


def test_a_coroutine_function_is_refused_when_it_is_declared() -> None:
    async def save(letters: Sequence[DeadLetter]) -> None: ...

    with pytest.raises(InvalidSpec, match="leftovers must be a `def` function"):
        child(Holder).options(leftovers=save)


@simulate(schedules=20)
async def test_in_every_order_each_note_is_handled_or_left_over_and_nothing_is_lost(sim: Simulation) -> None:
    hand = Hand()
    log: list[Any] = []
    gate = Gate()
    gate.open()
    async with ActorSystem() as system:
        ref = await system.spawn(child(Holder, gate, log).options(leftovers=hand, restart="transient"))

        async def tell(start: int) -> list[int]:
            told: list[int] = []
            for value in range(start, start + 5):
                if ref.tell((Note, Hold)[value % 2](value=value)):
                    told.append(value)
                await asyncio.sleep(0)
            return told

        tellers = [asyncio.create_task(tell(start)) for start in (0, 100)]
        await asyncio.sleep(0)
        ref.stop()
        told = [value for each in tellers for value in await each]
        await ref.wait_stopped()
        left = [value for call in hand.values for value in call]
        assert len(hand.calls) <= 1
        assert set(left) | set(log) == set(told)
        assert len(left) + len(log) == len(told)
