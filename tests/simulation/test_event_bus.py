"""The event bus under all that can happen at once: a model that knows what was published, and who was there to get it.

The model is told of what the test does and what the callbacks see, and nothing of how the bus works: who is subscribed
to what, and for each event, who has to get it. Each rule that is broken fails the run in the step in which it is.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from tests.cast import EAGER
from understudy import Actor, ActorStopped, ActorSystem, ExitReason, Instrument, Mailbox, child, handler
from understudy.events import AsyncEventBus, Event, EventGap, EventStream, Published, Subscription
from understudy.testing import Faults, Simulation, simulate
from understudy.testing._campaign import search
from understudy.testing._schedule import Subject

DEPARTURES = 3 if os.environ.get("UNDERSTUDY_CAMPAIGN") else 2
STARTS = EAGER if os.environ.get("UNDERSTUDY_CAMPAIGN") else EAGER[-1:]  # how the runtime starts tasks on this Python


class Numbered(Event):
    number: int
    depth: int = 0


class Red(Numbered): ...


class Blue(Numbered): ...


class DarkBlue(Blue): ...


KINDS = (Red, Blue, DarkBlue)


class Oops(Exception):
    """A failure of a callback."""


class Ticket:
    """One subscriber, as the model sees it."""

    def __init__(self, topic: Any, limit: int | None = None) -> None:
        self.topic = topic
        self.limit = limit
        self.subscription: Subscription | None = None
        self.active = True
        self.expected: list[int] = []
        self.begun: list[int] = []
        self.done: set[int] = set()
        self.lost: set[int] = set()
        self.failures = 0

    def wants(self, event: Numbered) -> bool:
        """What the topic means, said once more."""
        if isinstance(self.topic, type):
            return isinstance(event, self.topic)
        return self.topic == "*" or event.number % 2 == 0

    @property
    def is_actor(self) -> bool:
        """Whether it was an actor before it was a subscriber."""
        return self.path.startswith("/user/")

    @property
    def path(self) -> str:
        assert self.subscription is not None
        return self.subscription.name


def even(event: Event) -> bool:
    return isinstance(event, Numbered) and event.number % 2 == 0


class Model(Instrument):
    """What has happened, and what must not happen."""

    def __init__(self, sim: Simulation) -> None:
        self.sim = sim
        self.tickets: list[Ticket] = []
        self.numbers = 0
        self.closed = False
        self.crashes: Counter[str] = Counter()
        self.bus: AsyncEventBus | None = None

    def broken(self, rule: str) -> None:
        self.sim.violated(rule)

    # What the runtime says

    def actor_stopped(self, path: str, reason: ExitReason) -> None:
        """Who has ended for good is subscribed no more; if that is the bus, so is nobody."""
        if path == "/system/events":
            self.closed = True
        for ticket in self.tickets:
            if self.closed or (ticket.subscription is not None and ticket.path == path):
                ticket.active = False

    def actor_crashed(self, path: str, reason: ExitReason, message_type: str | None) -> None:
        self.crashes[path] += 1

    def dead_letter(self, message: object, recipient: str, sender: str | None, why: str) -> None:
        if not isinstance(message, Numbered):
            return
        for ticket in self.tickets:
            if ticket.subscription is not None and ticket.path == recipient and message.number in ticket.expected:
                ticket.lost.add(message.number)

    # What the test says

    def make(self, depth: int) -> Numbered:
        self.numbers += 1
        return self.sim.random.choice(KINDS)(number=self.numbers, depth=depth)

    def expect(self, event: Numbered) -> list[Ticket]:
        """It is being published now: who has to get it."""
        for ticket in self.tickets:
            if ticket.limit is not None and ticket.active:
                # Whether a failure counts depends on whether the runtime has interrupted the callback before.
                assert ticket.subscription is not None
                ticket.active = ticket.subscription.active
                if not ticket.active and ticket.subscription.failures != ticket.limit:
                    self.broken(f"{ticket.path} is removed after {ticket.subscription.failures} failures")
        targets = [each for each in self.tickets if each.active and each.wants(event)]
        for ticket in targets:
            ticket.expected.append(event.number)
        return targets

    def published(self, targets: list[Ticket], done: Published[Any], *, bounded: bool, nested: bool) -> None:
        """What a publication reports must be true."""
        number = done.event.number
        told = {outcome.subscription: outcome for outcome in done.outcomes}
        if set(told) != {ticket.subscription for ticket in targets} or len(done.outcomes) != len(targets):
            self.broken(f"event {number} is reported for {[*told]}, and was for {[each.path for each in targets]}")
            return
        for ticket in targets:
            outcome = told[ticket.subscription]
            if outcome.status == "handled" and number not in ticket.done:
                self.broken(f"{ticket.path} is said to have handled event {number}, and has not")
            # An actor may crash, or be killed, when its handler has come to its end.
            if outcome.status == "failed" and number in ticket.done and not ticket.is_actor:
                self.broken(f"{ticket.path} is said to have failed with event {number}, and has handled it")
            if outcome.status == "refused" and number not in ticket.lost:
                self.broken(f"{ticket.path} is said to have refused event {number}, which is no dead letter")
            if outcome.status == "pending" and not bounded:
                self.broken(f"event {number} is pending at {ticket.path} without any limit of time")
            if outcome.status == "queued" and not nested:
                self.broken(f"nobody waits for event {number} at {ticket.path}, though no subscriber has published it")

    def begins(self, ticket: Ticket, event: Numbered) -> None:
        """A subscriber begins with an event: one that it has to get, and none before it."""
        if event.number not in ticket.expected:
            self.broken(f"{ticket.path} gets event {event.number}, which was not for it")
        if ticket.begun and event.number <= ticket.begun[-1]:
            self.broken(f"{ticket.path} gets event {event.number} after event {ticket.begun[-1]}")
        if event.session_id != self.sim.system.name or event.sequence == 0:
            self.broken(f"event {event.number} is not stamped")
        ticket.begun.append(event.number)

    def check(self) -> None:
        """All is quiet: each event has come to something at each of those that had to get it."""
        assert self.bus is not None
        for ticket in self.tickets:
            missing = [each for each in ticket.expected if each not in ticket.begun and each not in ticket.lost]
            # A crash may strike before the handler's own code, and what was in hand is not redelivered.
            if missing and not (ticket.is_actor and len(missing) <= self.crashes[ticket.path]):
                self.broken(f"events {missing} have never reached {ticket.path}, and are no dead letters")
        active = sum(ticket.subscription.active for ticket in self.tickets if ticket.subscription is not None)
        if self.bus.subscriber_count() != active:
            self.broken(f"there are {self.bus.subscriber_count()} subscribers, and {active} should be there")


class Player:
    """Does at random what can be done with a bus, in callbacks, in handlers and outside."""

    def __init__(self, sim: Simulation, model: Model, *, harsh: bool) -> None:
        self.sim, self.model, self.harsh = sim, model, harsh
        self.bus = sim.system.events
        self.beside: set[asyncio.Task[None]] = set()
        model.bus = self.bus
        instruments = sim.system._running().instruments
        instruments.listen(Instrument.actor_stopped, model.actor_stopped)
        instruments.listen(Instrument.actor_crashed, model.actor_crashed)
        instruments.listen(Instrument.dead_letter, model.dead_letter)

    def chance(self, probability: float) -> bool:
        return self.sim.random.random() < probability

    # Subscribing

    def subscribe(self) -> None:
        """A callback of some kind, with some topic and some options."""
        limit = 2 if self.chance(0.2) else None
        topic: Any = self.sim.random.choice([*KINDS, Numbered, "*", even])
        ticket = Ticket("even" if topic is even else topic, limit)
        self.add(ticket, topic, self.callback(ticket), on_error="keep" if limit is None else limit)

    def add(self, ticket: Ticket, topic: Any, subscriber: Any, **options: Any) -> None:
        if self.chance(0.2) and options:
            policy = self.sim.random.choice(["block", "drop_new", "drop_old"])
            options["mailbox"] = Mailbox(capacity=1 + self.sim.random.randrange(2), policy=policy)
        try:
            ticket.subscription = self.bus.subscribe(topic, subscriber, **options)
        except ActorStopped:
            # The bus is closed, or its actor is just between two of its lives.
            if not self.bus.is_closing and self.bus._cell.running:
                self.model.broken("nobody can subscribe to a bus that runs")
        else:
            self.model.tickets.append(ticket)

    def cancel(self, ticket: Ticket | None = None) -> None:
        if ticket is None:
            ticket = self.sim.random.choice(self.model.tickets) if self.model.tickets else None
        if ticket is not None and ticket.subscription is not None:
            ticket.subscription.cancel()
            ticket.active = False

    def callback(self, ticket: Ticket) -> Callable[[Any], Any]:
        async def later(event: Any) -> None:
            with self.handling(ticket, event):
                await self.misbehave(ticket, event)

        def plain(event: Any) -> None:
            with self.handling(ticket, event):
                self.misbehave_at_once(ticket, event)

        return self.sim.random.choice([later, plain, lambda event: later(event)])

    @contextlib.contextmanager
    def handling(self, ticket: Ticket, event: Any) -> Any:
        """Around what a callback does with an event of ours; the runtime's are none of our business."""
        if isinstance(event, Numbered):
            self.model.begins(ticket, event)
            yield
            ticket.done.add(event.number)
        else:
            yield

    # Misbehaving

    def misbehave_at_once(self, ticket: Ticket | None, event: Any) -> None:
        if not isinstance(event, Numbered):
            return
        what = self.sim.random.choice(
            ["nothing", "nothing", "raise", "tell", "cancel", "cancel me", "subscribe", "kill"]
        )
        if what == "raise" and ticket is not None:
            raise self.sim.random.choice([Oops(), asyncio.CancelledError(), SystemExit(1)])
        if what == "tell" and event.depth < 2:
            self.publish_nowait(event.depth + 1)
        if what == "cancel":
            self.cancel()
        if what == "cancel me" and ticket is not None:
            self.cancel(ticket)
        if what == "subscribe" and len(self.model.tickets) < 10:
            self.subscribe()
        if what == "kill" and self.harsh and self.chance(0.3):
            self.kill_somebody()

    async def misbehave(self, ticket: Ticket | None, event: Any) -> None:
        if not isinstance(event, Numbered):
            return
        what = self.sim.random.choice(
            ["at once", "at once", "yield", "nap", "publish", "publish", "gather", "beside", "close"]
        )
        if what == "at once":
            self.misbehave_at_once(ticket, event)
        if what == "yield":
            await asyncio.sleep(0)
        if what == "nap":
            await asyncio.sleep(0.01)
        if what == "publish" and event.depth < 2:
            await self.publish(event.depth + 1, nested=True)
        if what == "gather" and event.depth < 2 and ticket is not None:
            # Not in an actor: what a task waits for that was made for a message which was told, is nobody's wait.
            await asyncio.gather(*(self.publish(event.depth + 1, nested=True) for _ in range(2)))
        if what == "beside" and event.depth < 2 and ticket is not None:
            self.start_beside(event.depth + 1)
        if what == "close" and self.harsh and self.chance(0.1):
            await self.close()
        if self.chance(0.2):
            self.misbehave_at_once(ticket, event)

    def start_beside(self, depth: int) -> None:
        """Start a task that publishes when the callback which has made it is over: that is no wait of any callback."""
        task = asyncio.ensure_future(self.publish(depth))
        self.beside.add(task)
        task.add_done_callback(self.ended_beside)

    def ended_beside(self, task: asyncio.Task[None]) -> None:
        self.beside.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self.model.broken(f"a publication beside a callback has raised {task.exception()!r}")

    def kill_somebody(self) -> None:
        """The actor of a subscriber, or the bus's own."""
        path = self.sim.random.choice([ticket.path for ticket in self.model.tickets] + ["/system/events"])
        ref = self.sim.system.find(path)
        if ref is not None and ref.status != "starting":  # who has never been up is not restarted
            ref.kill()

    # Publishing

    def publish_nowait(self, depth: int = 0) -> None:
        event = self.model.make(depth)
        if self.model.closed:
            with pytest.raises(ActorStopped):
                self.bus.publish_nowait(event)
        else:
            self.model.expect(event)
            self.bus.publish_nowait(event)

    async def publish(self, depth: int = 0, *, nested: bool = False) -> None:
        event, timeout = self.model.make(depth), self.sim.random.choice([None, None, None, 0.005, 1.0])
        if self.model.closed:
            with pytest.raises(ActorStopped):
                await self.bus.publish(event)
            return
        targets = self.model.expect(event)
        done = await self.bus.publish(event, timeout=timeout)
        self.model.published(targets, done, bounded=timeout is not None, nested=nested)

    async def close(self) -> None:
        self.model.closed = True
        for ticket in self.model.tickets:
            ticket.active = False
        await self.bus.close(drain=self.chance(0.7), timeout=self.sim.random.choice([0.5, 5.0]))


class Witness(Actor[Numbered]):
    """Subscribed by its ref."""

    def __init__(self, player: Player, ticket: Ticket) -> None:
        self.player, self.ticket = player, ticket

    @handler
    async def numbered(self, event: Numbered) -> None:
        with self.player.handling(self.ticket, event):
            await self.player.misbehave(None, event)


async def play(sim: Simulation, model: Model, player: Player, rounds: int) -> None:
    """Some actors, some callbacks, and much that happens."""
    for number in range(2):
        ticket = Ticket(sim.random.choice([*KINDS, Numbered]))
        spec = child(Witness, player, ticket).options(name=f"witness-{number}", max_restarts=100_000)
        ref = await sim.system.spawn(spec)
        player.add(ticket, ticket.topic, ref)
    for _ in range(1 + sim.random.randrange(3)):
        player.subscribe()

    async def work() -> None:
        for _ in range(rounds):
            what = sim.random.choice(["tell", "tell", "publish", "publish", "subscribe", "cancel", "nap", "interrupt"])
            if what == "tell":
                player.publish_nowait()
            elif what == "publish":
                await player.publish()
            elif what == "subscribe" and len(model.tickets) < 10:
                player.subscribe()
            elif what == "cancel" and sim.random.random() < 0.5:
                player.cancel()
            elif what == "nap":
                await asyncio.sleep(sim.random.choice([0, 0.005]))
            elif what == "interrupt":
                task = asyncio.ensure_future(player.publish())
                await asyncio.sleep(0)
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task

    async with asyncio.TaskGroup() as group:
        for number in range(2):
            group.create_task(work(), name=f"work-{number}")


@simulate(schedules=20, faults=Faults(crash=0.02, cancel=0.02, stall=1.0))
async def test_every_event_reaches_those_who_were_there_once_and_in_order(sim: Simulation) -> None:
    model = Model(sim)
    player = Player(sim, model, harsh=False)
    await play(sim, model, player, rounds=5)
    await sim.quiesce()
    model.check()
    await player.close()
    await sim.quiesce()
    model.check()


@simulate(schedules=20, faults=Faults(crash=0.05, cancel=0.05, stall=math.inf))
async def test_nothing_is_lost_in_silence_when_the_bus_and_its_subscribers_are_killed_and_closed(
    sim: Simulation,
) -> None:
    model = Model(sim)
    player = Player(sim, model, harsh=True)

    async def meddle() -> None:
        for _ in range(2):
            await asyncio.sleep(sim.random.choice([0, 0.005]))
            player.kill_somebody()
        if player.chance(0.3):
            await player.close()

    async with asyncio.TaskGroup() as group:
        group.create_task(play(sim, model, player, rounds=4), name="play")
        group.create_task(meddle(), name="meddle")
    await sim.quiesce()
    model.check()
    if not model.closed:
        # It is as good as new.
        ticket = Ticket("*")

        def witness(event: Event) -> None:
            with player.handling(ticket, event):
                pass

        player.add(ticket, "*", witness)
        await player.publish()
        await sim.quiesce()
        model.check()


@simulate(schedules=20, faults=Faults(stall=math.inf))
async def test_a_system_ends_with_events_on_their_way(sim: Simulation) -> None:
    handled: list[int] = []
    outcomes: list[str] = []
    async with ActorSystem(name="busy") as system:
        bus = system.events

        async def callback(event: Numbered) -> None:
            await asyncio.sleep(sim.random.choice([0, 0.01]))
            if event.depth < 2 and sim.random.random() < 0.3:
                with contextlib.suppress(ActorStopped):
                    await bus.publish(Red(number=100 + event.number, depth=event.depth + 1))
            handled.append(event.number)

        async def publish(number: int) -> None:
            try:
                done = await bus.publish(Blue(number=number))
            except ActorStopped:
                outcomes.append("closed")
            else:
                outcomes.extend(outcome.status for outcome in done.outcomes)

        for _ in range(2):
            bus.subscribe(Numbered, lambda event: callback(event))
        tasks = [asyncio.create_task(publish(number), name=f"publish-{number}") for number in range(3)]
        if sim.random.random() < 0.5:
            await asyncio.sleep(0)
        if sim.random.random() < 0.2:
            system.kill()
    await asyncio.wait(tasks)
    assert all(task.exception() is None for task in tasks)
    assert set(outcomes) <= {"handled", "failed", "refused", "closed"}
    assert bus.is_closing
    assert bus.subscriber_count() == 0


class Reader:
    """Reads until it has seen the event of number *until*, leaving the stream now and then, and resuming behind it."""

    def __init__(self, sim: Simulation, bus: AsyncEventBus, until: int) -> None:
        self.sim, self.bus, self.until = sim, bus, until
        self.last = 0
        self.read: list[int] = []
        self.missed: set[int] = set()

    async def follow(self) -> None:
        while self.last < self.until:
            with self.bus.stream(Numbered, after=self.last) as stream:
                await self.some(stream)
            await asyncio.sleep(self.sim.random.choice([0, 0.01]))

    async def some(self, stream: EventStream[Numbered]) -> None:
        async for event in stream:
            if isinstance(event, EventGap):
                assert event.first_missed == self.last + 1
                assert event.last_missed >= event.first_missed
                self.missed |= {*range(event.first_missed, event.last_missed + 1)}
                continue
            self.read.append(event.sequence)
            self.last = event.sequence
            if self.last >= self.until or self.sim.random.random() < 0.5:
                return


@simulate(schedules=20, faults=Faults(stall=1.0))
async def test_readers_get_all_that_comes_in_order_and_who_is_late_resumes_where_he_was(sim: Simulation) -> None:
    keep = sim.random.choice([0, 1, 2, 1_000])
    async with AsyncEventBus("readers", keep=keep) as bus:
        reader = Reader(sim, bus, until=12)

        async def publish() -> None:
            for _ in range(6):
                bus.publish_nowait(sim.random.choice(KINDS)(number=0))
                if sim.random.random() < 0.5:
                    await asyncio.sleep(0)

        async def wait() -> int | None:
            try:
                return (await bus.wait_for(Numbered, lambda event: event.sequence == 9, timeout=5.0)).sequence
            except TimeoutError:
                return None

        waiting = asyncio.create_task(wait(), name="wait")
        following = asyncio.create_task(reader.follow(), name="follow")
        await asyncio.sleep(0)
        async with asyncio.TaskGroup() as group:
            for number in range(2):
                group.create_task(publish(), name=f"publish-{number}")
        while not following.done():  # one who reads not all the time has to be there at some time
            bus.publish_nowait(Red(number=0))
            await asyncio.sleep(0.02)
        await following
        assert await waiting in (9, None)
        assert bus.subscriber_count() == 0
    assert reader.read == sorted(set(reader.read))
    missing = set(range(1, 13)) - set(reader.read)
    assert missing <= reader.missed
    assert keep < 1_000 or not missing


async def cancel_against_publish_and_close(sim: Any) -> None:
    """Small enough for all orders: whoever was subscribed when an event was published gets it, and nobody else."""
    bus: AsyncEventBus = sim.system.events
    seen: list[int] = []
    sent: list[int] = []

    async def callback(event: Numbered) -> None:
        seen.append(event.number)
        await asyncio.sleep(0)

    subscription = bus.subscribe(Numbered, callback)

    async def publish(number: int) -> None:
        active = subscription.active
        try:
            if number:
                bus.publish_nowait(Red(number=number))
            else:
                await bus.publish(Red(number=number))
        except ActorStopped:
            assert bus.is_closing
        else:
            sent.extend([number] if active else [])

    async def cancel() -> None:
        subscription.cancel()

    async def close() -> None:
        await bus.close(timeout=None)

    steps = {"publish": publish(0), "tell": publish(1), "cancel": cancel(), "close": close()}
    tasks = [asyncio.create_task(step, name=name) for name, step in steps.items()]
    await asyncio.wait(tasks)
    for task in tasks:
        task.result()
    assert sorted(seen) == sorted(sent), (seen, sent)
    assert bus.subscriber_count() == 0


def test_all_orders_of_two_publications_a_cancel_and_a_close() -> None:
    subject = Subject(cancel_against_publish_and_close, Faults(stall=0.0), budgets=(1,))
    for eager in STARTS:
        name = "all orders of publish, cancel and close"
        report = search(subject, departures=DEPARTURES, at_most=30_000, name=name, eager=eager)
        print(report.summary())
        assert report.complete
