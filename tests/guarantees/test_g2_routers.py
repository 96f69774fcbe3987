"""G2: routers choose among a list, a group or children; a dead routee leaves by itself, and nobody is no silence."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from tests.cast import Collector, Fail, Gate, Hold, Holder, Note, Recorder, Refuse, settle
from understudy import (
    Actor,
    ActorFailed,
    ActorNotFound,
    ActorRef,
    ActorStopped,
    ActorSystem,
    AskCycle,
    AskTimeout,
    Broadcast,
    Children,
    MailboxFull,
    Message,
    Pool,
    Refused,
    Router,
    ScatterGather,
    StreamMessage,
    Supervisor,
    UnderstudyError,
    ask_many,
    child,
    handler,
    worker_pool,
)
from understudy.testing import Faults, Simulation, simulate


class Choir(Supervisor):
    max_restarts = 1000


async def holders(system: Any, count: int, gate: Gate | None = None, **options: Any) -> tuple[list[Any], list[Any]]:
    """So many holders, and the log of each."""
    logs: list[list[int]] = [[] for _ in range(count)]
    refs = [
        await system.spawn(child(Holder, gate, log).options(name=f"h{number}", **options))
        for number, log in enumerate(logs)
    ]
    return refs, logs


def of_value(message: Any) -> int:
    return int(message.value)


async def ended(ref: ActorRef[Any]) -> None:
    ref.stop()
    await ref.wait_stopped()


# One of many


@pytest.mark.asyncio
async def test_round_robin_gives_each_its_turn_and_goes_on_with_those_that_are_left() -> None:
    async with ActorSystem() as system:
        refs, logs = await holders(system, 3)
        router = Router(system, refs)
        for value in range(6):
            assert router.tell(Note(value=value))
        await settle()
        assert logs == [[0, 3], [1, 4], [2, 5]]
        await ended(refs[1])
        for value in range(6, 10):
            assert await router.ask(Note(value=value)) == value
        assert [len(log) for log in logs] == [4, 2, 4]
        assert router.refs == (refs[0], refs[2])
        assert system.statistics().dead_letters == 0


@pytest.mark.asyncio
async def test_random_draws_from_the_random_numbers_of_the_system_and_from_those_alive() -> None:
    async with ActorSystem() as system:
        refs, logs = await holders(system, 3)
        router = Router(system, refs, "random")
        for _ in range(300):
            router.tell(Note())
        await settle()
        assert min(len(log) for log in logs) > 50
        await ended(refs[0])
        before = len(logs[0])
        for _ in range(100):
            assert router.tell(Note())
        await settle()
        assert len(logs[0]) == before


@pytest.mark.asyncio
async def test_the_smallest_mailbox_is_that_with_the_fewest_messages_waiting_or_in_hand() -> None:
    gate = Gate()
    async with ActorSystem() as system:
        refs, logs = await holders(system, 3, gate)
        router = Router(system, refs, "smallest_mailbox")
        for ref, count in zip(refs, (3, 1, 2), strict=True):
            for _ in range(count):
                ref.tell(Hold(value=-1))
        await settle()
        for value in range(3):
            assert router.tell(Note(value=value))
        assert [ref._cell.waiting + 1 for ref in refs] == [3, 3, 3]
        gate.open()
        await settle()
        assert logs[0] == [-1, -1, -1]
        assert sorted(logs[1] + logs[2]) == [-1, -1, -1, 0, 1, 2]
        # Of equals each in its turn.
        for value in range(6):
            await router.ask(Note(value=10 + value))
        assert [sum(value >= 10 for value in log) for log in logs] == [2, 2, 2]


@pytest.mark.asyncio
async def test_the_smallest_mailbox_is_not_that_of_one_that_is_down_while_others_are_up() -> None:
    gate = Gate()
    async with ActorSystem() as system:
        top: Any = await system.spawn(Choir)

        class Slow(Holder):
            async def initialize(self) -> None:
                if self.context.incarnation > 1:
                    await gate.hold()

        log: list[Any] = []
        slow = await top.start_child(child(Slow, None, []).options(name="slow"))
        other = await top.start_child(child(Holder, None, log))
        slow.tell(Fail(error=ValueError()))
        await settle()
        router = Router(system, [slow, other], "smallest_mailbox")
        for value in range(4):
            router.tell(Note(value=value))
        assert slow._cell.waiting == 0
        await settle()
        assert log == [0, 1, 2, 3]
        gate.open()


@pytest.mark.asyncio
async def test_equal_keys_go_to_one_routee_and_only_the_keys_of_those_that_go_move() -> None:
    async with ActorSystem() as system:
        refs, logs = await holders(system, 5)
        group = system.groups.group("choir", Holder)
        for ref in reversed(refs):
            group.join(ref)
        router = Router(system, group, "consistent_hash", key=of_value)

        async def places() -> dict[int, int]:
            for log in logs:
                log.clear()
            for value in range(200):
                assert router.tell(Note(value=value))
            await settle()
            return {value: number for number, log in enumerate(logs) for value in log}

        first = await places()
        assert await places() == first
        shares = Counter(first.values())
        assert min(shares.values()) > 15
        assert len(shares) == 5
        group.leave(refs[2])
        second = await places()
        assert {value for value in first if first[value] != second[value]} == {
            value for value in first if first[value] == 2
        }
        await ended(refs[4])
        third = await places()
        assert {value for value in second if second[value] != third[value]} == {
            value for value in second if second[value] == 4
        }
        group.join(refs[2])
        fourth = await places()
        assert {value for value in third if third[value] != fourth[value]} == {
            value for value in fourth if fourth[value] == 2
        }


@pytest.mark.asyncio
async def test_the_choice_by_key_is_the_same_in_all_processes() -> None:
    async with ActorSystem() as system:
        refs, logs = await holders(system, 4)
        router = Router(system, refs, "consistent_hash", key=lambda message: ("user", message.value))
        for value in range(12):
            router.tell(Note(value=value))
        await settle()
        print(logs)
        assert logs == CHOICES


CHOICES: list[list[int]] = [[6, 8, 9, 11], [0], [2, 3, 5, 10], [1, 4, 7]]


@pytest.mark.asyncio
async def test_children_of_one_class_are_routees_from_their_start_to_their_end() -> None:
    async with ActorSystem() as system:
        top: Any = await system.spawn(Choir)
        router = Router(system, Children(top, Holder))
        assert not router.tell(Note())
        one = await top.start_child(child(Holder).options(name="one"))
        await top.start_child(Collector, [])
        assert router.refs == (one,)
        two = await top.start_child(child(Holder).options(name="two"))
        two.tell(Fail(error=ValueError()))
        assert router.refs == (one, two)
        await top.terminate_child("one")
        assert router.refs == (two,)
        assert await router.ask(Note(value=1)) == 1


@pytest.mark.asyncio
@pytest.mark.parametrize("routing", ["round_robin", "random", "smallest_mailbox", "consistent_hash"])
async def test_without_routees_a_tell_is_a_dead_letter_and_an_ask_says_so(routing: Any) -> None:
    recorder = Recorder()
    async with ActorSystem(instruments=[recorder]) as system:
        refs, _ = await holders(system, 2)
        router: Router[Any] = Router(system, refs, routing, key=of_value if routing == "consistent_hash" else None)
        for ref in refs:
            await ended(ref)
        assert router.tell(Note(value=1)) is False
        with pytest.raises(ActorNotFound, match="among the routees of a router"):
            await router.ask(Note(value=2))
        with pytest.raises(ActorNotFound):
            await router.send(Note(value=3))
        assert [(letter[0], letter[3]) for letter in recorder.letters] == [
            (Note(value=value), "nobody is there") for value in (1, 2, 3)
        ]


@pytest.mark.asyncio
async def test_a_routee_on_its_way_out_is_not_chosen_although_it_has_not_ended() -> None:
    gate = Gate()
    async with ActorSystem() as system:
        refs, logs = await holders(system, 2, gate)
        refs[0].tell(Hold())
        await gate.reached()
        refs[0].drain()
        router = Router(system, refs)
        for value in range(4):
            assert router.tell(Note(value=value))
        await settle()
        assert logs[1] == [0, 1, 2, 3]
        gate.open()
        await settle()
        assert logs[0] == [0]


@pytest.mark.asyncio
async def test_a_routee_that_fails_is_the_askers_news_and_stays_a_routee() -> None:
    async with ActorSystem() as system:
        refs, _ = await holders(system, 1)
        router = Router(system, refs)
        with pytest.raises(ActorFailed):
            await router.ask(Fail(error=ValueError("no tone")))
        assert await router.ask(Note(value=2)) == 2


# All of them


@pytest.mark.asyncio
async def test_a_broadcast_reaches_each_once_and_brings_what_each_has_answered() -> None:
    async with ActorSystem() as system:
        refs, logs = await holders(system, 3)
        group = system.groups.group("choir", Holder)
        for ref in (*refs, refs[0]):
            group.join(ref)
        everybody = Broadcast(system, group)
        assert everybody.tell(Note(value=1))
        await everybody.send(Note(value=2))
        assert await everybody.ask(Note(value=3)) == [3, 3, 3]
        assert logs == [[1, 2, 3]] * 3
        await ended(refs[1])
        assert await everybody.ask(Note(value=4)) == [4, 4]


@pytest.mark.asyncio
async def test_an_error_of_one_is_in_its_place_and_the_others_are_as_they_were() -> None:
    class Moody(Actor[Note]):
        def __init__(self, mood: str) -> None:
            self.mood = mood

        @handler
        async def note(self, message: Note) -> int:
            if self.mood == "fail":
                raise ValueError("no tone")
            if self.mood == "refuse":
                raise Refused("not today")
            if self.mood == "sleep":
                await asyncio.sleep(100)
            return message.value

    async with ActorSystem() as system:
        refs = [await system.spawn(Moody, mood) for mood in ("good", "fail", "refuse", "sleep", "good")]
        outcomes = await Broadcast(system, refs).ask(Note(value=1), timeout=2.0)
        assert [type(each) for each in outcomes] == [int, ActorFailed, Refused, AskTimeout, int]


@pytest.mark.asyncio
async def test_a_full_mailbox_is_not_waited_for_by_an_ask_and_is_by_a_send() -> None:
    gate = Gate()
    recorder = Recorder()
    async with ActorSystem(instruments=[recorder]) as system:
        refs, logs = await holders(system, 3, gate, mailbox=1)
        refs[1].tell(Hold(value=-1))
        await gate.reached()
        refs[1].tell(Note(value=-2))
        everybody = Broadcast(system, refs)
        assert everybody.tell(Note(value=1)) is False
        await settle()
        outcomes = await everybody.ask(Note(value=2))
        assert [type(each) for each in outcomes] == [int, MailboxFull, int]
        with pytest.raises(MailboxFull):
            await everybody.send(Note(value=3), timeout=1.0)
        sending = asyncio.ensure_future(everybody.send(Note(value=4)))
        await settle()
        assert logs[0] == logs[2] == [1, 2, 3, 4]
        assert not sending.done()
        gate.open()
        await sending
        await settle()
        assert logs[1] == [-1, -2, 4]
        assert [letter[:2] for letter in recorder.letters] == [(Note(value=value), "/user/h1") for value in (1, 2)]


@pytest.mark.asyncio
@pytest.mark.parametrize("kind", [Broadcast, ScatterGather])
async def test_a_crowd_of_nobody_says_so(kind: Callable[..., Any]) -> None:
    async with ActorSystem() as system:
        crowd = kind(system, [])
        assert crowd.tell(Note()) is False
        for call in (crowd.send, crowd.ask):
            with pytest.raises(ActorNotFound):
                await call(Note())
        assert system.statistics().dead_letters == 3


class Poll(Message[list[Any]]):
    """Ask all of the group, and say what came of it."""


class Member(Actor[Poll | Note]):
    def __init__(self, kind: Callable[..., Any]) -> None:
        self.kind = kind

    @handler
    async def poll(self, message: Poll) -> list[Any]:
        crowd = self.kind(self.context.system, self.context.system.groups.group("all"))
        reply = await crowd.ask(Note(value=1))
        return reply if isinstance(reply, list) else [reply]

    @handler
    def note(self, message: Note) -> int:
        return message.value


@pytest.mark.asyncio
async def test_who_is_a_member_of_the_group_it_asks_does_not_wait_for_itself() -> None:
    async with ActorSystem() as system:
        for kind in (Broadcast, ScatterGather):
            member = await system.spawn(Member, kind)
            system.groups.join("all", member)
        for member in system.groups.members("all"):
            outcomes = await member.ask(Poll(), timeout=1.0)
            assert [each if isinstance(each, int) else type(each) for each in outcomes] in ([AskCycle, 1], [1])


class Circle(Message[list[Any]]):
    """Ask all of them, then wait at the gate."""


class Back(Message[int]):
    """Ask the one who stands in the middle."""


class Middle(Actor[Circle | Note]):
    def __init__(self, gate: Gate, message: Message[int]) -> None:
        self.gate, self.message = gate, message

    @handler
    async def circle(self, message: Circle) -> list[Any]:
        crowd = Broadcast(self.context.system, self.context.system.groups.group("all"))
        outcomes: list[Any] = await crowd.ask(self.message)
        await self.gate.hold()
        return outcomes

    @handler
    def note(self, message: Note) -> int:
        return message.value


class Outer(Actor[Back | Note]):
    @handler
    async def back(self, message: Back) -> int:
        return await self.context.system.lookup("middle", Middle).ask(Note(value=7), timeout=50.0)

    @handler
    def note(self, message: Note) -> int:
        return message.value


@pytest.mark.asyncio
async def test_a_routee_that_asks_back_is_a_circle_while_it_is_waited_for_and_not_afterwards() -> None:
    gate = Gate()
    async with ActorSystem() as system:
        outer = await system.spawn(Outer)
        system.groups.join("all", outer)
        middle = await system.spawn(Middle, gate, Back())
        gate.open()
        (outcome,) = await middle.ask(Circle(), timeout=20.0)
        assert isinstance(outcome.__cause__, AskCycle)
        await ended(middle)
        gate.shut()
        middle = await system.spawn(Middle, gate, Note(value=1))
        asking = asyncio.ensure_future(middle.ask(Circle(), timeout=20.0))
        await gate.reached(2)
        back = asyncio.ensure_future(outer.ask(Back(), timeout=20.0))
        await settle()
        assert not back.done()
        gate.open()
        assert await back == 7
        assert await asking == [1]


# The first reply


@pytest.mark.asyncio
async def test_the_first_reply_wins_and_the_others_are_given_up() -> None:
    class After(Actor[Note]):
        def __init__(self, seconds: float) -> None:
            self.seconds = seconds

        @handler
        async def note(self, message: Note) -> int:
            await asyncio.sleep(self.seconds)
            if self.seconds < 1:
                raise Refused("too early")
            done.append(self.seconds)
            return int(self.seconds)

    done: list[float] = []
    recorder = Recorder()
    async with ActorSystem(instruments=[recorder]) as system:
        refs = [await system.spawn(After, seconds) for seconds in (3.0, 0.5, 2.0, 4.0)]
        loop = asyncio.get_running_loop()
        began = loop.time()
        quickest = ScatterGather(system, refs)
        assert await quickest.ask(Note(value=1), timeout=10.0) == 2
        assert loop.time() - began == pytest.approx(2.0, abs=0.01)
        assert done == [2.0]
        await asyncio.sleep(5)
        assert done == [2.0, 3.0, 4.0]
        assert [letter[3] for letter in recorder.letters] == ["late reply"] * 2


@pytest.mark.asyncio
async def test_where_none_replies_the_error_is_that_of_the_first_with_the_others_in_its_notes() -> None:
    gate = Gate()
    async with ActorSystem() as system:
        refs, _ = await holders(system, 3, gate)
        with pytest.raises(Refused) as refused:
            await ScatterGather(system, refs).ask(Refuse(text="no"))
        assert refused.value.__notes__ == ["/user/h1: Refused: no", "/user/h2: Refused: no"]
        loop = asyncio.get_running_loop()
        began = loop.time()
        with pytest.raises(AskTimeout):
            await ScatterGather(system, refs).ask(Hold(), timeout=2.0)
        assert loop.time() - began == pytest.approx(2.0, abs=0.01)
        gate.open()


@pytest.mark.asyncio
async def test_one_whose_asks_are_cancelled_leaves_nothing_that_is_started_later() -> None:
    gate = Gate()
    async with ActorSystem() as system:
        refs, logs = await holders(system, 3, gate)
        for ref in refs:
            ref.tell(Hold(value=-1))
        await gate.reached(3)
        for kind in (ScatterGather, Broadcast):
            crowd: Any = kind(system, refs)
            asking = asyncio.ensure_future(crowd.ask(Note(value=1), timeout=100.0))
            await settle()
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking
        gate.open()
        await settle()
        assert logs == [[-1]] * 3
        assert system.statistics().dead_letters == 6
        assert all(ref._cell.waits is None for ref in refs)


@pytest.mark.asyncio
async def test_all_routees_that_end_meanwhile_are_news_at_once() -> None:
    gate = Gate()
    async with ActorSystem() as system:
        refs, _ = await holders(system, 2, gate, restart="temporary")
        asking = asyncio.ensure_future(ScatterGather(system, refs).ask(Hold(), timeout=100.0))
        await gate.reached(2)
        loop = asyncio.get_running_loop()
        began = loop.time()
        for ref in refs:
            ref.kill()
        with pytest.raises(ActorStopped):
            await asking
        assert loop.time() - began < 1.0


# Whatever happens, in whatever order


@simulate(schedules=30, faults=Faults(stall=0.3))
async def test_each_message_reaches_one_routee_or_is_a_dead_letter_whoever_ends(sim: Simulation) -> None:
    system = sim.system
    logs: list[list[int]] = [[] for _ in range(4)]
    group = system.groups.group("all", Holder)
    refs = [await system.spawn(child(Holder, None, log).options(restart="temporary")) for log in logs]
    for ref in refs:
        group.join(ref)
    routing = sim.random.choice(["round_robin", "random", "smallest_mailbox", "consistent_hash"])
    router = Router(system, group, routing, key=of_value if routing == "consistent_hash" else None)
    accepted: set[int] = set()
    answered: set[int] = set()

    async def tell() -> None:
        for value in range(10):
            await asyncio.sleep(sim.random.choice([0, 0.1]))
            if router.tell(Note(value=value)):
                accepted.add(value)

    async def ask() -> None:
        for value in range(100, 110):
            try:
                assert await router.ask(Note(value=value)) == value
                answered.add(value)
            except UnderstudyError:
                pass

    async def end() -> None:
        for ref in refs[:3]:
            await asyncio.sleep(sim.random.choice([0, 0.2]))
            sim.random.choice([ref.stop, ref.kill, lambda ref=ref: ref.tell(Fail(error=ValueError()))])()

    await asyncio.gather(tell(), ask(), end())
    await sim.quiesce()
    handled = [value for log in logs for value in log]
    assert len(handled) == len(set(handled))
    assert answered <= set(handled)
    assert {value for value in handled if value < 100} <= accepted
    assert router.refs == tuple(ref for ref in refs if ref.status != "stopped")


# What can be a routee


@pytest.mark.asyncio
async def test_the_smallest_mailbox_counts_what_reentrant_handlers_have_in_hand() -> None:
    gate = Gate()

    class Juggler(Actor[Hold]):
        def __init__(self, log: list[int]) -> None:
            self.begun = log

        @handler(reentrant=True)
        async def hold(self, message: Hold) -> int:
            self.begun.append(message.value)
            await gate.hold()
            return message.value

    logs: list[list[int]] = [[], []]
    async with ActorSystem() as system:
        refs = [await system.spawn(Juggler, log) for log in logs]
        refs[0].tell(Hold(value=0))
        refs[0].tell(Hold(value=0))
        await settle()
        router = Router(system, refs, "smallest_mailbox")
        for value in range(1, 5):
            router.tell(Hold(value=value))
            await settle()
        assert [len(log) for log in logs] == [3, 3]
        gate.open()


@pytest.mark.asyncio
async def test_a_router_over_routers_chooses_among_the_routees_of_all() -> None:
    async with ActorSystem() as system:
        refs, logs = await holders(system, 3)
        inner = Router(system, refs[:2], "random")
        for outer in (Router(system, inner), Router(system, Broadcast(system, inner))):
            for value in range(4):
                assert await outer.ask(Note(value=value)) == value
        assert [len(log) for log in logs] == [4, 4, 0]
        assert await Broadcast(system, inner).ask(Note(value=5)) == [5, 5]
        assert await ScatterGather(system, inner).ask(Note(value=6)) == 6
        await ended(refs[0])
        assert await Broadcast(system, inner).ask(Note(value=7)) == [7]


@pytest.mark.parametrize("kind", ["router", "broadcast", "scatter", "ask_many"])
@pytest.mark.asyncio
async def test_what_is_routed_to_a_pool_is_a_job_of_its_workers(kind: str) -> None:
    log: list[int] = []
    async with ActorSystem() as system:
        pool = Pool(await system.spawn(worker_pool("pool", child(Holder, None, log), workers=2)), Holder)
        match kind:
            case "router":
                answer: Any = await Router(system, [pool]).ask(Note(value=1))
            case "broadcast":
                [answer] = await Broadcast(system, [pool]).ask(Note(value=1))
            case "scatter":
                answer = await ScatterGather(system, [pool]).ask(Note(value=1))
            case _:
                [answer] = await ask_many([pool], Note(value=1))
        assert (answer, log) == (1, [1])


@pytest.mark.asyncio
async def test_a_pool_among_routees_is_chosen_by_its_load_and_not_while_it_drains() -> None:
    gate = Gate()
    async with ActorSystem() as system:
        pools = [
            Pool(await system.spawn(worker_pool(name, child(Holder, gate), workers=1)), Holder)
            for name in ("north", "south")
        ]
        router = Router(system, pools, "smallest_mailbox")
        for value in range(4):
            assert router.tell(Hold(value=value))
        await settle()
        assert [pool.waiting for pool in pools] == [1, 1]
        pools[0].drain()
        assert router.refs == (pools[1],)
        for value in range(2):
            assert router.tell(Hold(value=value))
        assert [pool.waiting for pool in pools] == [1, 3]
        gate.open()
        await pools[0].wait_stopped()


@pytest.mark.parametrize("kind", ["broadcast", "ask_many"])
@pytest.mark.asyncio
async def test_a_pool_that_is_full_or_has_ended_is_an_error_in_its_place(kind: str) -> None:
    gate = Gate()
    recorder = Recorder()
    async with ActorSystem(instruments=[recorder]) as system:
        pool = Pool(await system.spawn(worker_pool("pool", child(Holder, gate), workers=1, limit=1)), Holder)
        other = await system.spawn(Holder)

        async def ask(value: int) -> list[Any]:
            if kind == "broadcast":
                return await Broadcast(system, [pool, other]).ask(Note(value=value))
            return await ask_many([pool, other], Note(value=value))

        pool.tell(Hold())
        waiting = asyncio.ensure_future(ask(1))
        await settle()
        full, reply = await ask(2)
        assert isinstance(full, MailboxFull)
        assert full.message == Note(value=2)
        assert reply == 2
        # What is given up is not started any more, and makes room.
        waiting.cancel()
        await settle()
        assert pool.waiting == 0
        gate.open()
        await settle()
        pool.stop()
        await pool.wait_stopped()
        if kind == "ask_many":
            stopped, reply = await ask(3)
            assert isinstance(stopped, ActorStopped)
            assert reply == 3
        else:
            assert await ask(3) == [3]
        assert [(letter[0].value, letter[3]) for letter in recorder.letters if letter[1] == "/user/pool"][:2] == [
            (2, "the queue of the pool is full"),
            (1, "nobody waits for the reply any more"),
        ]


@pytest.mark.asyncio
async def test_a_stream_may_be_asked_of_a_pool_and_keeps_one_worker_busy() -> None:
    class Count(StreamMessage[int]):
        to: int

    class Counter(Actor[Count | Note]):
        @handler
        async def count(self, message: Count) -> AsyncIterator[int]:
            for number in range(message.to):
                yield number

        @handler
        def note(self, message: Note) -> int:
            return message.value

    async with ActorSystem() as system:
        pool = Pool(await system.spawn(worker_pool("pool", child(Counter), workers=2, limit=1)), Counter)
        async with pool.stream(Count(to=5), buffer=1) as parts, pool.stream(Count(to=3), buffer=1) as others:
            assert [await anext(parts), await anext(others)] == [0, 0]
            waiting = asyncio.ensure_future(pool.ask(Note(value=7)))
            await settle()
            assert pool.waiting == 1
            with pytest.raises(MailboxFull):
                await anext(pool.stream(Count(to=1)))
            assert [part async for part in others] == [1, 2]
            assert await waiting == 7
            assert [part async for part in parts] == [1, 2, 3, 4]
        pool.kill()
        await settle()
        assert [part async for part in pool.stream(Count(to=2))] == [0, 1]
