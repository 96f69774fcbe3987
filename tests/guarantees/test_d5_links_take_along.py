from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest

from tests.cast import Gate, settle
from understudy import (
    Actor,
    ActorRef,
    ActorSystem,
    Crashed,
    ExitReason,
    LinkExit,
    Message,
    RestartsExceeded,
    Shutdown,
    child,
    handler,
    supervisor,
)


class Link(Message):
    ref: ActorRef[Any]


class Unlink(Message):
    ref: ActorRef[Any]


class Fail(Message): ...


class Partner(Actor[Link | Unlink | Fail]):
    def __init__(self, ends: list[str] | None = None) -> None:
        self.ends = [] if ends is None else ends

    def shutdown(self, reason: ExitReason) -> None:
        self.ends.append(self.context.path)

    @handler
    def link(self, message: Link) -> None:
        self.context.link(message.ref)

    @handler
    def unlink(self, message: Unlink) -> None:
        self.context.unlink(message.ref)

    @handler
    def fail(self, message: Fail) -> None:
        raise ValueError("partner")


class Trapper(Partner):
    defaults = {"trap_exits": True}

    def __init__(self, heard: list[LinkExit]) -> None:
        super().__init__()
        self.heard = heard

    @handler
    def partner_ended(self, news: LinkExit) -> None:
        self.heard.append(news)


async def pair(system: ActorSystem, ends: list[str] | None = None) -> tuple[ActorRef[Any], ActorRef[Any]]:
    one = await system.spawn(child(Partner, ends).options(name="one", restart="temporary"))
    two = await system.spawn(child(Partner, ends).options(name="two", restart="temporary"))
    one.tell(Link(ref=two))
    one.tell(Link(ref=two))
    await settle()
    return one, two


@pytest.mark.parametrize("first", ["one", "two"])
@pytest.mark.asyncio
async def test_an_abnormal_end_of_either_takes_the_other_along(first: str) -> None:
    async with ActorSystem() as system:
        one, two = await pair(system)
        failing, other = (one, two) if first == "one" else (two, one)
        failing.tell(Fail())
        reason = await other.wait_stopped()
        assert isinstance(reason, Crashed)
        assert await failing.wait_stopped() == reason


@pytest.mark.asyncio
async def test_a_normal_end_takes_nobody_along() -> None:
    async with ActorSystem() as system:
        one, two = await pair(system)
        one.stop()
        await one.wait_stopped()
        await settle()
        assert two.status == "running"


@pytest.mark.asyncio
async def test_the_shutdown_hook_of_who_is_taken_along_does_not_run() -> None:
    ends: list[str] = []
    async with ActorSystem() as system:
        one, two = await pair(system, ends)
        one.tell(Fail())
        await two.wait_stopped()
        assert ends == ["/user/one"]


@pytest.mark.asyncio
async def test_unlinked_actors_end_each_for_itself() -> None:
    async with ActorSystem() as system:
        one, two = await pair(system)
        two.tell(Unlink(ref=one))
        two.tell(Unlink(ref=one))
        await settle()
        one.tell(Fail())
        await one.wait_stopped()
        await settle()
        assert two.status == "running"


class Busy(Trapper):
    """Unlinks when the gate opens, behind which the news of the end waits."""

    def __init__(self, heard: list[LinkExit], gate: Gate) -> None:
        super().__init__(heard)
        self.gate = gate

    @handler
    async def unlink(self, message: Unlink) -> None:
        await self.gate.hold()
        self.context.unlink(message.ref)


@pytest.mark.asyncio
async def test_after_unlink_no_exit_is_heard_not_even_one_that_waits_and_those_of_others_are() -> None:
    heard: list[LinkExit] = []
    gate = Gate()
    async with ActorSystem() as system:
        one = await system.spawn(child(Partner).options(name="one", restart="temporary"))
        two = await system.spawn(child(Partner).options(name="two", restart="temporary"))
        busy = await system.spawn(Busy, heard, gate)
        for message in (Link(ref=one), Link(ref=two), Unlink(ref=one)):
            busy.tell(message)
        await gate.reached()
        for ref in (one, two):
            ref.tell(Fail())
            await ref.wait_stopped()
        gate.open()
        await settle()
        assert [exit.ref for exit in heard] == [two]


@pytest.mark.asyncio
async def test_a_restart_is_no_end_and_the_link_outlives_it() -> None:
    tree = supervisor("tree", child(Partner).options(name="one"), max_restarts=1, max_seconds=1000.0)
    async with ActorSystem() as system:
        await system.spawn(child(Partner).options(name="two", restart="temporary"))
        await system.spawn(tree.options(restart="temporary"))
        two, one = system.lookup("two", Partner), system.lookup("tree/one", Partner)
        two.tell(Link(ref=one))
        await settle()
        one.tell(Fail())
        await settle()
        assert (one.status, two.status) == ("running", "running")
        one.tell(Fail())
        reason = await two.wait_stopped()
        assert isinstance(reason, Crashed | RestartsExceeded)


@pytest.mark.asyncio
async def test_who_traps_exits_is_told_and_lives() -> None:
    heard: list[LinkExit] = []
    async with ActorSystem() as system:
        trapper = await system.spawn(Trapper, heard)
        partner = await system.spawn(child(Partner).options(restart="temporary"))
        trapper.tell(Link(ref=partner))
        await settle()
        partner.tell(Fail())
        await partner.wait_stopped()
        await settle()
        assert [(news.ref, type(news.reason)) for news in heard] == [(partner, Crashed)]
        assert trapper.status == "running"


@pytest.mark.asyncio
async def test_who_is_taken_along_is_restarted_by_its_restart_type() -> None:
    async with ActorSystem(supervisor("tree", child(Partner).options(name="two"))) as system:
        two = system.lookup("tree/two", Partner)
        one = await system.spawn(child(Partner).options(restart="temporary"))
        two.tell(Link(ref=one))
        await settle()
        one.tell(Fail())
        await one.wait_stopped()
        await settle()
        assert two.status == "running"
        assert system.statistics().restarted == 1


@pytest.mark.asyncio
async def test_the_end_of_a_system_leaves_no_link_behind() -> None:
    async with ActorSystem() as system:
        one, two = await pair(system)
    assert await one.wait_stopped() == await two.wait_stopped() == Shutdown("parent ended")


@pytest.mark.parametrize("ends", ["stop", "fail"])
@pytest.mark.asyncio
async def test_nothing_is_kept_of_the_links_to_those_that_have_ended(ends: str) -> None:
    """D7: memory is flat, however many an actor has been linked to."""

    class Hub(Partner):
        defaults = {"trap_exits": True}

        @handler
        def partner_ended(self, news: LinkExit) -> None: ...

    class Luggage: ...

    class Remembered(Partner):
        def __init__(self, luggage: Luggage) -> None:
            super().__init__()

    luggage: list[weakref.ref[Luggage]] = []

    async with ActorSystem() as system:
        hub = await system.spawn(Hub)
        for _ in range(20):
            held = Luggage()
            luggage.append(weakref.ref(held))
            partner = await system.spawn(child(Remembered, held).options(restart="temporary"))
            hub.tell(Link(ref=partner))
            await settle()
            if ends == "stop":
                partner.stop()
            else:
                partner.tell(Fail())
            await partner.wait_stopped()
            await settle()
            del partner, held
        gc.collect()
        assert hub.status == "running"
        assert [each for each in luggage if each() is not None] == []


@pytest.mark.asyncio
async def test_a_link_to_one_that_has_failed_already_takes_along_at_once() -> None:
    async with ActorSystem() as system:
        one, two = [await system.spawn(child(Partner).options(restart="temporary")) for _ in range(2)]
        one.tell(Fail())
        await one.wait_stopped()
        two.tell(Link(ref=one))
        assert isinstance(await two.wait_stopped(), Crashed)


@pytest.mark.asyncio
async def test_a_link_across_systems_of_one_event_loop_takes_along() -> None:
    async with ActorSystem(name="north") as north, ActorSystem(name="south") as south:
        one = await north.spawn(child(Partner).options(restart="temporary"))
        two = await south.spawn(child(Partner).options(restart="temporary"))
        one.tell(Link(ref=two))
        await settle()
        two.tell(Fail())
        assert isinstance(await one.wait_stopped(), Crashed)
