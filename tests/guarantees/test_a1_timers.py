"""A1: timers are keyed; what waits is void when its timer is cancelled or replaced, or its incarnation is over."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import pytest

from tests.cast import Gate, settle
from understudy import Actor, ActorSystem, InvalidTimeout, Mailbox, Message, child, handler
from understudy.testing import Simulation, simulate


class Ring:
    """What a timer sends."""

    def __init__(self, number: int = 0) -> None:
        self.number = number


class Do(Message):
    """Calls it with the actor, in a `def` handler."""

    what: Any


class Busy(Message):
    gate: Any


class Fail(Message): ...


class Clock(Actor[Do | Busy | Fail]):
    def __init__(self, rings: list[tuple[float, int]]) -> None:
        self.rings = rings

    @handler
    def do(self, message: Do) -> None:
        message.what(self)

    @handler
    async def busy(self, message: Busy) -> None:
        await message.gate.hold()

    @handler
    def fail(self, message: Fail) -> None:
        raise ValueError

    @handler
    def _ring(self, message: Ring) -> None:
        self.rings.append((round(asyncio.get_running_loop().time(), 6), message.number))


class Stage:
    def __init__(self, system: ActorSystem, ref: Any, rings: list[tuple[float, int]]) -> None:
        self.system, self.ref, self._rings = system, ref, rings
        self._start = asyncio.get_running_loop().time()

    async def do(self, what: Any) -> None:
        await self.ref.ask(Do(what=what))

    @property
    def rings(self) -> list[tuple[float, int]]:
        """When, in seconds since the start, and which."""
        return [(round(when - self._start, 3), number) for when, number in self._rings]


async def stage(system: ActorSystem, **options: Any) -> Stage:
    rings: list[tuple[float, int]] = []
    return Stage(system, await system.spawn(Clock, rings), rings)


@pytest.mark.asyncio
async def test_a_timer_rings_once_when_its_time_has_come() -> None:
    async with ActorSystem() as system:
        it = await stage(system)
        await it.do(lambda actor: actor.context.timers.after("tea", 3.0, Ring(1)))
        await asyncio.sleep(2.9)
        assert it.rings == []
        await asyncio.sleep(100)
        assert it.rings == [(3.0, 1)]
        await it.do(lambda actor: seen.append(("tea" in actor.context.timers, len(actor.context.timers))))
    assert seen.pop() == (False, 0)


seen: list[Any] = []


@pytest.mark.asyncio
async def test_timers_with_different_keys_ring_beside_each_other() -> None:
    async with ActorSystem() as system:
        it = await stage(system)

        def both(actor: Clock) -> None:
            actor.context.timers.after("a", 2.0, Ring(1))
            actor.context.timers.after("b", 1.0, Ring(2))
            seen.append(("a" in actor.context.timers, len(actor.context.timers)))

        await it.do(both)
        await asyncio.sleep(5)
        assert it.rings == [(1.0, 2), (2.0, 1)]
    assert seen.pop() == (True, 2)


@pytest.mark.asyncio
async def test_a_timer_takes_the_place_of_the_one_with_its_key() -> None:
    async with ActorSystem() as system:
        it = await stage(system)
        await it.do(lambda actor: actor.context.timers.after("tea", 1.0, Ring(1)))
        await it.do(lambda actor: actor.context.timers.after("tea", 2.0, Ring(2)))
        await asyncio.sleep(5)
        assert it.rings == [(2.0, 2)]


@pytest.mark.parametrize("how", ["cancel", "replace", "cancel all"])
@pytest.mark.asyncio
async def test_a_message_that_waits_already_is_not_handled_after_a_cancel_or_a_replacement(how: str) -> None:
    async with ActorSystem() as system:
        it, gate = await stage(system), Gate()
        await it.do(lambda actor: actor.context.timers.after("tea", 1.0, Ring(1)))
        it.ref.tell(Busy(gate=gate))

        def undo(actor: Clock) -> None:
            timers = actor.context.timers
            if how == "cancel":
                assert timers.cancel("tea")
                assert not timers.cancel("tea")
            elif how == "replace":
                timers.after("tea", 1.0, Ring(2))
            else:
                timers.cancel_all()

        it.ref.tell(Do(what=undo))  # in front of what the timer sends
        await asyncio.sleep(2)
        gate.open()
        await asyncio.sleep(5)
        assert it.rings == ([(3.0, 2)] if how == "replace" else [])


@pytest.mark.asyncio
async def test_what_an_earlier_incarnation_has_set_does_not_ring_in_the_next_one() -> None:
    async with ActorSystem() as system:
        it, gate = await stage(system), Gate()
        await it.do(lambda actor: actor.context.timers.after("soon", 1.0, Ring(1)))
        await it.do(lambda actor: actor.context.timers.every("often", 1.5, Ring(2)))
        it.ref.tell(Busy(gate=gate))
        it.ref.tell(Fail())
        await asyncio.sleep(2)  # both wait behind the failure
        gate.open()
        await asyncio.sleep(50)
        assert it.rings == []
        assert it.ref.status == "running"


@pytest.mark.asyncio
async def test_a_fixed_delay_counts_from_when_the_last_was_taken() -> None:
    async with ActorSystem() as system:
        it, gate = await stage(system), Gate()
        await it.do(lambda actor: actor.context.timers.every("beat", 1.0, Ring(1)))
        await asyncio.sleep(1.5)
        it.ref.tell(Busy(gate=gate))
        await asyncio.sleep(3)  # one waits, no more
        gate.open()
        await asyncio.sleep(2.2)
        assert [when for when, _ in it.rings] == [1.0, 4.5, 5.5, 6.5]
        await it.do(lambda actor: actor.context.timers.cancel("beat"))
        await asyncio.sleep(10)
        assert len(it.rings) == 4


@pytest.mark.asyncio
async def test_a_fixed_rate_keeps_its_times_and_leaves_out_what_is_missed() -> None:
    async with ActorSystem() as system:
        it, gate = await stage(system), Gate()
        await it.do(lambda actor: actor.context.timers.every("beat", 1.0, Ring(1), first=0.5, steady=True))
        await asyncio.sleep(1)
        it.ref.tell(Busy(gate=gate))
        await asyncio.sleep(3.2)
        gate.open()
        await asyncio.sleep(2)
        assert [when for when, _ in it.rings] == [0.5, 4.2, 4.5, 5.5]


@pytest.mark.asyncio
async def test_a_full_mailbox_has_room_for_a_timer() -> None:
    rings: list[tuple[float, int]] = []
    async with ActorSystem() as system:
        ref: Any = await system.spawn(child(Clock, rings).options(mailbox=1))
        gate = Gate()
        await ref.ask(Do(what=lambda actor: actor.context.timers.after("tea", 1.0, Ring(1))))
        ref.tell(Busy(gate=gate))
        await gate.reached()
        assert ref.tell(Do(what=lambda actor: None))
        assert not ref.tell(Do(what=lambda actor: None))
        await asyncio.sleep(2)
        gate.open()
        await settle()
        assert [number for _, number in rings] == [1]


@pytest.mark.parametrize("seconds", [0, -1, math.nan, math.inf, "1", None, True])
@pytest.mark.asyncio
async def test_a_bad_time_is_refused_and_changes_nothing(seconds: Any) -> None:
    async with ActorSystem() as system:
        it = await stage(system)

        def misuse(actor: Clock) -> None:
            timers = actor.context.timers
            timers.after("tea", 1.0, Ring(1))
            for set_it in (
                lambda: timers.after("tea", seconds, Ring(2)),
                lambda: timers.every("tea", seconds, Ring(2)),
                lambda: (
                    timers.every("tea", 1.0, Ring(2), first=seconds)
                    if seconds is not None
                    else timers.every("tea", 0, 1)
                ),
            ):
                with pytest.raises(InvalidTimeout):
                    set_it()

        await it.do(misuse)
        await asyncio.sleep(5)
        assert it.rings == [(1.0, 1)]


@pytest.mark.asyncio
async def test_nothing_is_left_of_the_timers_of_an_actor_that_has_ended() -> None:
    async with ActorSystem() as system:
        it = await stage(system)
        await it.do(lambda actor: actor.context.timers.every("beat", 1.0, Ring(1)))
        it.ref.stop()
        await it.ref.wait_stopped()
        await asyncio.sleep(10)
        assert it.rings == []
        assert system.statistics().dead_letters == 0


@simulate(schedules=30)
async def test_whenever_a_timer_is_cancelled_it_never_rings_afterwards(sim: Simulation) -> None:
    cancelled: list[bool] = []

    class Careful(Actor[Do | Fail]):
        def __init__(self) -> None:
            self.cancelled = False

        def initialize(self) -> None:
            self.context.timers.every("beat", 0.01, Ring(self.context.incarnation))

        @handler
        def do(self, message: Do) -> None:
            self.context.timers.cancel("beat")
            self.cancelled = True
            cancelled.append(True)

        @handler
        def fail(self, message: Fail) -> None:
            raise ValueError

        @handler
        def _ring(self, message: Ring) -> None:
            assert not self.cancelled
            assert message.number == self.context.incarnation

    ref = await sim.system.spawn(Careful)
    for number in range(6):
        await asyncio.sleep(sim.random.choice([0.0, 0.005, 0.01, 0.02]))
        ref.tell(Fail() if number == 2 else Do(what=None))
    await sim.quiesce()
    assert len(cancelled) == 5
    assert ref.status == "running"


@pytest.mark.parametrize("steady", [False, True])
@pytest.mark.asyncio
async def test_a_timers_message_is_never_displaced_so_that_it_goes_on(steady: bool) -> None:
    rings: list[tuple[float, int]] = []
    gate = Gate()
    async with ActorSystem() as system:
        clock = await system.spawn(child(Clock, rings).options(mailbox=Mailbox(capacity=2, policy="drop_old")))
        await clock.ask(Do(what=lambda actor: actor.context.timers.every("tick", 1.0, Ring(1), steady=steady)))
        clock.tell(Busy(gate=gate))
        await gate.reached()
        await asyncio.sleep(1.5)  # its message waits
        for _ in range(10):
            assert clock.tell(Do(what=lambda actor: None))
        gate.open()
        await asyncio.sleep(5.2)
        assert len(rings) == 6


@pytest.mark.asyncio
async def test_what_is_to_come_next_is_not_displaced() -> None:
    """S3, M4."""
    rings: list[tuple[float, int]] = []

    def fill(actor: Clock) -> None:
        actor.context.tell_next(Ring(7))
        for _ in range(5):
            actor.context.ref.tell(Do(what=lambda actor: None))

    async with ActorSystem() as system:
        clock = await system.spawn(child(Clock, rings).options(mailbox=Mailbox(capacity=2, policy="drop_old")))
        await clock.ask(Do(what=fill))
        await settle()
        assert [number for _, number in rings] == [7]
