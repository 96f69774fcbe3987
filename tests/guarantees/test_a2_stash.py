"""A2: the stash is bounded, first in first out; what is stashed again waits; a failing message keeps the rest."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.cast import Recorder, settle
from understudy import (
    Actor,
    ActorStopped,
    ActorSystem,
    AskTimeout,
    Event,
    InvalidContext,
    Mailbox,
    MailboxFull,
    Message,
    ReceiveTimeout,
    RollingBatch,
    child,
    handler,
)
from understudy.testing import Simulation, simulate


class Put(Message[int]):
    number: int


class PutLater(Message[int]):
    number: int


class Open(Message): ...


class Fail(Message): ...


class Count(Message[int]): ...


class Shop(Actor[Put | PutLater | Open | Fail | Count]):
    """Closed until it is opened; what comes before is put aside."""

    def __init__(self, handled: list[int], opens: int = 1) -> None:
        self.handled = handled
        self.missing = opens

    @handler
    def put(self, message: Put) -> int:
        return self._put(message)

    @handler
    async def put_later(self, message: PutLater) -> int:
        await asyncio.sleep(0)
        return self._put(message)

    def _put(self, message: Put | PutLater) -> int:
        if self.missing:
            self.context.stash(message)
            return -1
        self.handled.append(message.number)
        return message.number

    @handler
    def open(self, message: Open) -> None:
        self.missing -= 1
        self.context.unstash_all()

    @handler
    def fail(self, message: Fail) -> None:
        raise ValueError

    @handler
    def count(self, message: Count) -> int:
        return self.context.stashed


@pytest.mark.parametrize("kind", [Put, PutLater])
@pytest.mark.asyncio
async def test_what_is_stashed_is_handled_in_its_order_before_what_came_later(kind: Any) -> None:
    handled: list[int] = []
    async with ActorSystem() as system:
        shop: Any = await system.spawn(Shop, handled)
        for number in range(3):
            shop.tell(kind(number=number))
        assert await shop.ask(Count()) == 3
        shop.tell(Open())
        shop.tell(kind(number=3))
        await settle()
        assert handled == [0, 1, 2, 3]
        assert await shop.ask(Count()) == 0


@pytest.mark.parametrize("kind", [Put, PutLater])
@pytest.mark.asyncio
async def test_an_asker_waits_until_its_message_is_handled_and_gets_one_reply(kind: Any) -> None:
    async with ActorSystem() as system:
        shop: Any = await system.spawn(Shop, [])
        asking = asyncio.create_task(shop.ask(kind(number=7)))
        await settle()
        assert not asking.done()
        shop.tell(Open())
        assert await asking == 7
        assert system.statistics().dead_letters == 0


@pytest.mark.asyncio
async def test_what_is_stashed_again_waits_for_the_next_time() -> None:
    handled: list[int] = []
    async with ActorSystem() as system:
        shop = await system.spawn(Shop, handled, 2)
        shop.tell(Put(number=1))
        shop.tell(Open())
        shop.tell(Put(number=2))
        assert await shop.ask(Count()) == 2
        assert handled == []
        shop.tell(Open())
        await settle()
        assert handled == [1, 2]


@pytest.mark.parametrize("kind", [Put, PutLater])
@pytest.mark.asyncio
async def test_the_stash_is_bounded_and_the_message_that_finds_no_room_is_the_handlers_failure(kind: Any) -> None:
    handled: list[int] = []
    recorder = Recorder()
    async with ActorSystem(instruments=[recorder]) as system:
        shop: Any = await system.spawn(child(Shop, handled).options(stash=2))
        shop.tell(kind(number=1))
        shop.tell(kind(number=2))
        with pytest.raises(Exception, match="MailboxFull") as caught:
            await shop.ask(kind(number=3))
        cause = caught.value.__cause__
        assert isinstance(cause, MailboxFull)
        assert (cause.capacity, cause.message) == (2, kind(number=3))
        assert str(cause).startswith("the stash of /user/shop")
        await settle()
        # It has been restarted, and has them before it again: in the stash of the new incarnation.
        assert await shop.ask(Count()) == 2
        shop.tell(Open())
        await settle()
        assert handled == [1, 2]
        assert len(recorder.of("actor_crashed")) == 1


@pytest.mark.asyncio
async def test_a_failure_keeps_what_is_stashed_and_its_askers_for_the_next_incarnation() -> None:
    handled: list[int] = []
    async with ActorSystem() as system:
        shop = await system.spawn(Shop, handled)
        asking = asyncio.create_task(shop.ask(Put(number=1)))
        await settle()
        shop.tell(Put(number=2))
        shop.tell(Fail())
        shop.tell(Put(number=3))
        await settle()
        assert (await shop.ask(Count()), asking.done()) == (3, False)
        shop.tell(Open())
        assert await asking == 1
        await settle()
        assert handled == [1, 2, 3]
        assert system.statistics().dead_letters == 0


@pytest.mark.parametrize("way", ["stop", "drain"])
@pytest.mark.asyncio
async def test_what_is_stashed_at_the_end_becomes_dead_letters_and_its_askers_hear_of_it(way: str) -> None:
    recorder = Recorder()
    async with ActorSystem(instruments=[recorder]) as system:
        shop = await system.spawn(Shop, [])
        asking = asyncio.create_task(shop.ask(Put(number=1)))
        await settle()
        shop.tell(Put(number=2))
        await settle()
        getattr(shop, way)()
        await shop.wait_stopped()
        with pytest.raises(ActorStopped):
            await asking
        assert [lost for lost, *_ in recorder.letters] == [Put(number=1), Put(number=2)]


@pytest.mark.asyncio
async def test_an_ask_whose_time_is_up_while_it_is_stashed_is_not_handled_afterwards() -> None:
    handled: list[int] = []
    async with ActorSystem() as system:
        shop = await system.spawn(Shop, handled)
        with pytest.raises(AskTimeout):
            await shop.ask(Put(number=1), timeout=1.0)
        shop.tell(Put(number=2))
        shop.tell(Open())
        await settle()
        assert handled == [2]
        assert system.statistics().dead_letters == 1


@pytest.mark.asyncio
async def test_the_stash_of_an_incarnation_that_has_ended_is_nobodys() -> None:
    kept: list[Any] = []

    class Keeper(Actor[Fail]):
        def initialize(self) -> None:
            kept.append(self.context)

        @handler
        def fail(self, message: Fail) -> None:
            raise ValueError

    async with ActorSystem() as system:
        keeper = await system.spawn(Keeper)
        keeper.tell(Fail())
        await settle()
        with pytest.raises(InvalidContext):
            kept[0].stash(Fail())
        with pytest.raises(InvalidContext):
            kept[0].unstash_all()


@simulate(schedules=30)
async def test_nothing_that_is_stashed_is_lost_or_handled_twice(sim: Simulation) -> None:
    handled: list[int] = []
    shop = await sim.system.spawn(child(Shop, handled).options(max_restarts=100))

    async def visit(first: int) -> None:
        for number in range(first, first + 4):
            shop.tell(Put(number=number) if number % 2 else PutLater(number=number))
            await asyncio.sleep(0)
            if number % 4 == 1:
                shop.tell(Fail())

    await asyncio.gather(visit(0), visit(100))
    shop.tell(Open())
    await sim.quiesce()
    assert sorted(handled) == [*range(4), *range(100, 104)]
    assert [number for number in handled if number < 100] == list(range(4))


# What an actor sends itself


class Note:
    """What an actor sends itself; no message of others."""


@pytest.mark.parametrize("way", ["a timer", "a task", "itself", "itself, next"])
@pytest.mark.asyncio
async def test_what_an_actor_sends_itself_can_be_put_aside_too(way: str) -> None:
    handled: list[str] = []

    async def note() -> Note:
        return Note()

    class Closed(Actor[Open | Fail]):
        ready = False

        def initialize(self) -> None:
            match way:
                case "a timer":
                    self.context.timers.after("note", 0.5, Note())
                case "a task":
                    self.context.pipe_to_self(note(), lambda made: made)
                case "itself":
                    self.context.tell_self(Note())
                case _:
                    self.context.tell_next(Note())

        @handler
        def open(self, message: Open) -> None:
            self.ready = True
            self.context.unstash_all()

        @handler
        def fail(self, message: Fail) -> None:
            raise ValueError

        @handler
        def _note(self, message: Note) -> None:
            if self.ready:
                handled.append(way)
            else:
                self.context.stash(message)

    async with ActorSystem() as system:
        closed = await system.spawn(Closed)
        await asyncio.sleep(1)
        assert handled == []
        await closed.ask(Open())
        await settle()
        assert handled == [way]
        assert system.statistics().dead_letters == 0


@pytest.mark.parametrize("way", ["a timer", "a task"])
@pytest.mark.asyncio
async def test_what_an_earlier_incarnation_has_sent_itself_does_not_come_out_of_the_stash(way: str) -> None:
    handled: list[int] = []

    async def note() -> Note:
        return Note()

    class Closed(Actor[Open | Fail]):
        def initialize(self) -> None:
            if self.context.incarnation > 1:
                return
            if way == "a timer":
                self.context.timers.after("note", 0.5, Note())
            else:
                self.context.pipe_to_self(note(), lambda made: made)

        @handler
        def open(self, message: Open) -> None: ...

        @handler
        def fail(self, message: Fail) -> None:
            raise ValueError

        @handler
        def _note(self, message: Note) -> None:
            handled.append(self.context.incarnation)
            self.context.stash(message)

    recorder = Recorder()
    async with ActorSystem(instruments=[recorder]) as system:
        closed = await system.spawn(Closed)
        await asyncio.sleep(1)
        closed.tell(Fail())
        await settle()
        assert await closed.ask(Open()) is None
        await settle()
        assert handled == [1]
        assert recorder.letters == []


@pytest.mark.asyncio
async def test_a_signal_cannot_be_put_aside() -> None:
    errors: list[Exception] = []

    class Patient(Actor[Open]):
        def initialize(self) -> None:
            self.context.receive_timeout(1.0)

        @handler
        def open(self, message: Open) -> None: ...

        @handler
        def quiet(self, signal: ReceiveTimeout) -> None:
            try:
                self.context.stash(signal)
            except InvalidContext as error:
                errors.append(error)

    async with ActorSystem() as system:
        await system.spawn(Patient)
        await asyncio.sleep(2)
    [error] = errors
    assert str(error) == (
        "the stash of /user/patient: a signal cannot be put aside: keep what you need of the ReceiveTimeout on self"
    )


@pytest.mark.asyncio
async def test_messages_that_came_together_can_be_put_aside_one_by_one() -> None:
    handled: list[list[int]] = []

    class Parcel(Message[int]):
        number: int

    class Post(Actor[Parcel | Open]):
        defaults = {"mailbox": Mailbox(batch=RollingBatch(quiet=0.1))}
        ready = False

        @handler
        def parcels(self, messages: list[Parcel]) -> None:
            if self.ready:
                handled.append([message.number for message in messages])
                return
            for message in messages:
                self.context.stash(message)

        @handler
        def open(self, message: Open) -> None:
            self.ready = True
            self.context.unstash_all()

    async with ActorSystem() as system:
        post = await system.spawn(Post)
        for number in range(3):
            post.tell(Parcel(number=number))
        await asyncio.sleep(1)
        await post.ask(Open())
        await asyncio.sleep(1)
        assert handled == [[0, 1, 2]]
        assert system.statistics().dead_letters == 0


class Rang(Event):
    number: int = 0


@pytest.mark.parametrize("kind", ["def", "async def"])
@pytest.mark.asyncio
async def test_an_event_that_is_put_aside_is_handled_later_and_is_waited_for_until_then(kind: str) -> None:
    """G4: not before each subscriber has handled it."""
    handled: list[int] = []

    class Porter:
        ready = False
        context: Any

        def take(self, message: Rang) -> None:
            if self.ready:
                handled.append(message.number)
            else:
                self.context.stash(message)

        @handler
        def open(self, message: Open) -> None:
            self.ready = True
            self.context.unstash_all()

    class Quick(Porter, Actor[Rang | Open]):
        @handler
        def rang(self, message: Rang) -> None:
            self.take(message)

    class Later(Porter, Actor[Rang | Open]):
        @handler
        async def rang(self, message: Rang) -> None:
            await asyncio.sleep(0)
            self.take(message)

    async with ActorSystem() as system:
        porter = await system.spawn(Quick if kind == "def" else Later)
        system.events.subscribe(Rang, porter)
        publishing = asyncio.ensure_future(system.events.publish(Rang(number=7)))
        await settle()
        assert not publishing.done()
        await porter.ask(Open())
        assert (await publishing).handled
        assert handled == [7]
        assert system.statistics().dead_letters == 0
