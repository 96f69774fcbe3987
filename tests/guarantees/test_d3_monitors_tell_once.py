from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.cast import Gate, Recorder, settle
from understudy import (
    Actor,
    ActorRef,
    ActorStopped,
    ActorSystem,
    Crashed,
    Mailbox,
    Message,
    NotFound,
    RollingBatch,
    Shutdown,
    Terminated,
    child,
    handler,
    is_abnormal,
    supervisor,
)
from understudy.testing import Faults, Simulation, simulate


class Watch(Message):
    ref: ActorRef[Any]
    pact: bool = False


class Unwatch(Message): ...


class Said(Message):
    text: str


class Hold(Message): ...


class Fail(Message): ...


class Watcher(Actor[Watch | Unwatch | Said | Hold | Fail]):
    """Writes down what it hears, in order."""

    def __init__(self, heard: list[Any], gate: Gate | None = None) -> None:
        self.heard, self.gate = heard, gate
        self.monitors: list[Any] = []

    @handler
    def watch(self, message: Watch) -> None:
        self.monitors.append(self.context.watch(message.ref, pact=message.pact))

    @handler
    def unwatch(self, message: Unwatch) -> None:
        for monitor in self.monitors:
            self.context.unwatch(monitor)

    @handler
    def said(self, message: Said) -> None:
        self.heard.append(message.text)

    @handler
    async def hold(self, message: Hold) -> None:
        assert self.gate is not None
        await self.gate.hold()

    @handler
    def fail(self, message: Fail) -> None:
        raise ValueError("watcher")

    @handler
    def ended(self, news: Terminated) -> None:
        self.heard.append((news.ref.path, news.reason, self.context.system.find(news.ref.path)))


class Deaf(Actor[Watch | Said]):
    """Watches, and has no handler for what comes of it."""

    def __init__(self, heard: list[Any]) -> None:
        self.heard = heard

    @handler
    def watch(self, message: Watch) -> None:
        self.context.watch(message.ref, pact=message.pact)

    @handler
    def said(self, message: Said) -> None:
        self.heard.append(message.text)


class Speaker(Actor[Said | Fail]):
    """Tells another what it is told."""

    def __init__(self, listener: ActorRef[Any] | None = None) -> None:
        self.listener = listener

    @handler
    def said(self, message: Said) -> None:
        if self.listener is not None:
            self.listener.tell(message)

    @handler
    def fail(self, message: Fail) -> None:
        raise ValueError("speaker")


@pytest.mark.asyncio
async def test_each_monitor_gets_exactly_one_terminated_when_the_name_is_free() -> None:
    heard: list[Any] = []
    async with ActorSystem() as system:
        speaker = await system.spawn(Speaker)
        watcher = await system.spawn(Watcher, heard)
        watcher.tell(Watch(ref=speaker))
        watcher.tell(Watch(ref=speaker))
        await settle()
        assert heard == []
        speaker.stop()
        await settle()
        assert heard == [("/user/speaker", Shutdown("stopped"), None)] * 2


@pytest.mark.asyncio
async def test_a_restart_is_no_end() -> None:
    heard: list[Any] = []
    async with ActorSystem(supervisor("tree", child(Speaker).options(name="speaker"), max_restarts=1)) as system:
        speaker = system.lookup("tree/speaker", Speaker)
        watcher = await system.spawn(Watcher, heard)
        watcher.tell(Watch(ref=speaker))
        speaker.tell(Fail())
        await settle()
        assert speaker.status == "running"
        assert heard == []


@pytest.mark.asyncio
async def test_it_comes_behind_all_that_the_dead_actor_had_sent() -> None:
    heard: list[Any] = []
    gate = Gate()
    async with ActorSystem() as system:
        watcher = await system.spawn(child(Watcher, heard, gate).options(mailbox=3))
        speaker = await system.spawn(Speaker, watcher)
        watcher.tell(Watch(ref=speaker))
        await settle()
        watcher.tell(Hold())
        await gate.reached()
        for text in "abc":
            speaker.tell(Said(text=text))
        await settle()
        speaker.stop()
        await speaker.wait_stopped()
        # The mailbox is full, and the news is in it all the same.
        assert not watcher.tell(Said(text="refused"))
        gate.open()
        await settle()
        assert heard == ["a", "b", "c", ("/user/speaker", Shutdown("stopped"), None)]


@pytest.mark.asyncio
async def test_after_unwatch_nothing_comes_not_even_what_waits_already() -> None:
    heard: list[Any] = []
    gate = Gate()
    async with ActorSystem() as system:
        watcher = await system.spawn(Watcher, heard, gate)
        first, second = await system.spawn(Speaker), await system.spawn(Speaker)
        watcher.tell(Watch(ref=first))
        watcher.tell(Watch(ref=second))
        await settle()
        watcher.tell(Hold())
        watcher.tell(Unwatch())
        first.stop()
        await first.wait_stopped()
        gate.open()
        await settle()
        second.stop()
        await second.wait_stopped()
        await settle()
        assert heard == []


@pytest.mark.asyncio
async def test_of_somebody_who_has_ended_it_comes_at_once() -> None:
    heard: list[Any] = []
    async with ActorSystem() as system:
        speaker = await system.spawn(Speaker)
        speaker.stop()
        await speaker.wait_stopped()
        watcher = await system.spawn(Watcher, heard)
        watcher.tell(Watch(ref=speaker))
        await settle()
        assert heard == [("/user/speaker", NotFound(), None)]


@pytest.mark.asyncio
async def test_monitors_end_with_the_incarnation_that_made_them() -> None:
    heard: list[Any] = []
    async with ActorSystem() as system:
        speaker = await system.spawn(Speaker)
        await system.spawn(supervisor("tree", child(Watcher, heard).options(name="watcher")))
        watcher = system.lookup("tree/watcher", Watcher)
        watcher.tell(Watch(ref=speaker))
        watcher.tell(Fail())
        await settle()
        speaker.stop()
        await speaker.wait_stopped()
        await settle()
        assert watcher.status == "running"
        assert heard == []


@pytest.mark.asyncio
async def test_without_a_handler_it_is_passed_over_and_with_a_pact_it_is_a_failure() -> None:
    heard: list[Any] = []
    recorder = Recorder()
    async with ActorSystem(instruments=[recorder]) as system:
        first, second = await system.spawn(Speaker), await system.spawn(Speaker)
        deaf = await system.spawn(child(Deaf, heard).options(restart="temporary"))
        deaf.tell(Watch(ref=first))
        deaf.tell(Watch(ref=second, pact=True))
        await settle()
        first.stop()
        await settle()
        deaf.tell(Said(text="still here"))
        await settle()
        assert heard == ["still here"]
        assert recorder.letters == []
        second.stop()
        reason = await deaf.wait_stopped()
        assert isinstance(reason, Crashed)
        assert isinstance(reason.error, ActorStopped)
        assert "/user/speaker-2" in str(reason.error)


@pytest.mark.asyncio
async def test_nobody_can_send_a_signal() -> None:
    heard: list[Any] = []
    recorder = Recorder()
    async with ActorSystem(instruments=[recorder]) as system:
        watcher: ActorRef[Any] = await system.spawn(Watcher, heard)
        watcher.tell(Terminated(watcher, Shutdown()))
        await settle()
        assert heard == []
        assert [why for _, _, _, why in recorder.letters] == ["unhandled"]


@simulate(schedules=40, faults=Faults(stall=10.0))
async def test_every_watcher_hears_once_whenever_the_end_comes(sim: Simulation) -> None:
    heard: list[list[Any]] = [[] for _ in range(3)]
    speaker = await sim.system.spawn(child(Speaker).options(restart="temporary"))
    watchers = [await sim.system.spawn(Watcher, each) for each in heard]

    async def watch(number: int) -> None:
        await asyncio.sleep(0)
        watchers[number].tell(Watch(ref=speaker))

    async def end() -> None:
        await asyncio.sleep(0)
        if sim.random.random() < 0.5:
            speaker.stop()
        else:
            speaker.tell(Fail())

    await asyncio.gather(*(watch(number) for number in range(3)), end())
    await sim.quiesce()
    for each in heard:
        assert len(each) == 1
        assert each[0][0] == "/user/speaker"
        assert each[0][2] is None
        assert is_abnormal(each[0][1]) or isinstance(each[0][1], Shutdown | NotFound)


# Whatever the mailbox of the watcher is like


@pytest.mark.parametrize("policy", ["block", "fail", "drop_new", "drop_old"])
@pytest.mark.parametrize("priority", [False, True])
@pytest.mark.asyncio
async def test_no_policy_refuses_it_and_nothing_displaces_it(policy: Any, priority: bool) -> None:
    heard: list[Any] = []
    gate = Gate()
    mailbox = Mailbox(capacity=2, policy=policy, priority=(Hold, Said) if priority else None)
    async with ActorSystem() as system:
        watcher = await system.spawn(child(Watcher, heard, gate).options(mailbox=mailbox))
        speakers = [await system.spawn(Speaker) for _ in range(3)]
        for speaker in speakers:
            watcher.tell(Watch(ref=speaker))
            await settle()
        watcher.tell(Hold())
        await gate.reached()
        watcher.tell(Said(text="before"))
        for speaker in speakers:
            speaker.stop()
            await speaker.wait_stopped()
        for number in range(5):
            watcher.tell(Said(text=f"{number}"))
        gate.open()
        await settle()
        ends = [each[0] for each in heard if isinstance(each, tuple)]
        assert ends == [speaker.path for speaker in speakers]
        assert system.statistics().dead_letters == 5


@pytest.mark.asyncio
async def test_it_weighs_nothing_and_is_not_weighed() -> None:
    heard: list[Any] = []
    weighed: list[Any] = []

    def weigh(message: Any) -> float:
        weighed.append(type(message))
        return 1.0 if isinstance(message, Watch) else float(len(message.text))

    async with ActorSystem() as system:
        watcher = await system.spawn(child(Watcher, heard).options(mailbox=Mailbox(capacity=3, weigh=weigh)))
        speaker = await system.spawn(Speaker)
        watcher.tell(Watch(ref=speaker))
        await settle()
        speaker.stop()
        await settle()
        assert heard == [("/user/speaker", Shutdown("stopped"), None)]
        assert set(weighed) == {Watch}


@pytest.mark.asyncio
async def test_it_is_not_overtaken_by_what_is_more_urgent_and_came_before_it_from_the_same_actor() -> None:
    heard: list[Any] = []
    gate = Gate()
    mailbox = Mailbox(priority=(Hold,))  # all that is said is less urgent, and so would the news be
    async with ActorSystem() as system:
        watcher = await system.spawn(child(Watcher, heard, gate).options(mailbox=mailbox))
        speaker = await system.spawn(Speaker, watcher)
        watcher.tell(Watch(ref=speaker))
        await settle()
        watcher.tell(Hold())
        await gate.reached()
        for text in "ab":
            speaker.tell(Said(text=text))
        await settle()
        speaker.stop()
        await speaker.wait_stopped()
        gate.open()
        await settle()
        assert heard == ["a", "b", ("/user/speaker", Shutdown("stopped"), None)]


@pytest.mark.asyncio
async def test_it_ends_a_burst_that_is_being_collected() -> None:
    heard: list[Any] = []
    mailbox = Mailbox(batch=RollingBatch(quiet=60.0, cap=60.0))
    async with ActorSystem() as system:
        watcher = await system.spawn(child(Watcher, heard).options(mailbox=mailbox))
        speaker = await system.spawn(Speaker, watcher)
        watcher.tell(Watch(ref=speaker))
        await asyncio.sleep(61)
        speaker.tell(Said(text="last words"))
        await settle()
        assert heard == []
        speaker.stop()
        await settle()
        assert heard == ["last words", ("/user/speaker", Shutdown("stopped"), None)]


@pytest.mark.parametrize("end", ["stop", "kill"])
@pytest.mark.asyncio
async def test_what_the_dead_actor_was_still_waiting_to_send_was_never_sent(end: str) -> None:
    heard: list[Any] = []
    gate = Gate()

    class Patient(Speaker):
        @handler
        async def said(self, message: Said) -> None:  # type: ignore[override] - the same handler, but async
            assert self.listener is not None
            await self.listener.send(message)

    async with ActorSystem() as system:
        watcher = await system.spawn(child(Watcher, heard, gate).options(mailbox=1))
        patient = await system.spawn(child(Patient, watcher).options(restart="temporary", shutdown=1.0))
        watcher.tell(Watch(ref=patient))
        await settle()
        watcher.tell(Hold())
        await gate.reached()
        for text in "ab":
            patient.tell(Said(text=text))
            await settle()
        getattr(patient, end)()
        await patient.wait_stopped()
        gate.open()
        await settle()
        assert heard[0] == "a"
        assert heard[1][0] == "/user/patient"
        assert len(heard) == 2
