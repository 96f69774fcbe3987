"""R1: the ref and the mailbox outlive a restart, the state does not; the message in hand is never redelivered."""

from __future__ import annotations

import asyncio

import pytest

from tests.guarantees.cast_of_supervision import Boom, Call, Diary, Flat, Gate, Note, Part, boom, settle, staged
from understudy import Actor, ActorFailed, ActorSystem, Crashed, Message, handler


class Step(Message):
    number: int


class Steps(Message[list[int]]): ...


class Walker:
    """Breaks at step 50, at the first attempt and at every other."""

    def __init__(self, tried: list[int], done: list[int]) -> None:
        self.tried, self.done = tried, done
        self.own: list[int] = []

    def take(self, number: int) -> None:
        self.tried.append(number)
        if number == 50:
            raise Boom
        self.done.append(number)
        self.own.append(number)

    @handler
    def steps(self, message: Steps) -> list[int]:
        return self.own


class FlatWalker(Walker, Actor[Step | Steps]):
    @handler
    def step(self, message: Step) -> None:
        self.take(message.number)


class SuspendedWalker(Walker, Actor[Step | Steps]):
    @handler
    async def step(self, message: Step) -> None:
        await asyncio.sleep(0)
        self.take(message.number)
        await asyncio.sleep(0)


@pytest.mark.parametrize("walker", [FlatWalker, SuspendedWalker])
@pytest.mark.asyncio
async def test_one_crash_among_a_hundred_tells_loses_that_message_only_and_keeps_the_order(
    walker: type[FlatWalker | SuspendedWalker],
) -> None:
    diary = Diary()
    tried: list[int] = []
    done: list[int] = []
    async with ActorSystem(instruments=[diary]) as system:
        ref = await system.spawn(walker, tried, done)
        assert [ref.tell(Step(number=number)) for number in range(100)] == [True] * 100
        remembered = await ref.ask(Steps())
    others = [number for number in range(100) if number != 50]
    assert done == others
    assert tried == list(range(100))  # the one that failed was not given to the next incarnation
    assert remembered == list(range(51, 100))
    assert [(path, type(reason), message) for path, reason, message in diary.crashed] == [(ref.path, Crashed, "Step")]
    assert len(diary.restarting) == 1
    assert [message for message, *_ in diary.dead if message != Step(number=50)] == []


@pytest.mark.asyncio
async def test_a_hundred_tells_and_many_crashes_lose_only_the_messages_that_crashed() -> None:
    part = Part()
    async with staged(part.spec(), max_restarts=1000) as stage:
        player = stage["player"]
        for number in range(100):
            player.tell(Flat(what=boom) if number % 10 == 0 else Note(number=number))
        await settle()
        assert part.notes == [number for number in range(100) if number % 10]
        assert part.starts == 11
        assert stage.diary.lost_notes() == []


@pytest.mark.asyncio
async def test_a_restart_makes_a_fresh_instance_through_the_constructor() -> None:
    part = Part()
    async with staged(part.spec()) as stage:
        player = stage["player"]
        player.tell(Note(number=1))
        player.tell(Flat(what=boom))
        player.tell(Note(number=2))
        memory = await player.ask(Flat(what=lambda actor: (actor.incarnation, actor.memory)))
    assert memory == (2, [2])
    assert part.instances[0] is not part.instances[1]
    assert part.starts == 2


@pytest.mark.asyncio
async def test_the_ref_taken_before_the_crash_is_the_ref_after_it() -> None:
    part = Part()
    async with staged(part.spec()) as stage:
        before = stage["player"]
        path, uid = before.path, before.uid
        before.tell(Flat(what=boom))
        await settle()
        after = stage["player"]
        assert after == before
        assert hash(after) == hash(before)
        assert (before.path, before.uid) == (after.path, after.uid) == (path, uid)
        assert await after.ask(Flat(what=lambda actor: actor.context.ref == before)) is True
        assert before.status == "running"


@pytest.mark.asyncio
async def test_what_is_told_while_the_actor_is_down_waits_for_the_next_incarnation() -> None:
    gate = Gate()
    part = Part(initialize=lambda actor: gate() if actor.incarnation == 2 else None)
    async with staged(part.spec()) as stage:
        player = stage["player"]
        player.tell(Note(number=1))
        player.tell(Flat(what=boom))
        player.tell(Note(number=2))
        await gate.reached.wait()
        assert player.status == "restarting"
        assert player.tell(Note(number=3)) is True
        await settle()
        assert part.notes == [1]  # nothing is handled before `initialize` has ended
        gate.open()
        await settle()
        assert part.notes == [1, 2, 3]
        assert part.notes_by_incarnation == {1: [1], 2: [2, 3]}
        assert stage.diary.dead == []


@pytest.mark.parametrize("kind", [Call, Flat])
@pytest.mark.asyncio
async def test_the_asker_of_the_message_in_hand_gets_the_error_and_the_others_their_replies(
    kind: type[Call | Flat],
) -> None:
    part = Part()
    async with staged(part.spec()) as stage:
        player = stage["player"]
        failed = asyncio.ensure_future(player.ask(kind(what=boom)))
        behind = asyncio.ensure_future(player.ask(kind(what=lambda actor: actor.incarnation)))
        with pytest.raises(ActorFailed) as caught:
            await failed
        assert isinstance(caught.value.__cause__, Boom)
        assert await behind == 2


@pytest.mark.asyncio
async def test_the_message_in_hand_is_reported_with_its_type_and_its_error() -> None:
    part = Part()
    async with staged(part.spec()) as stage:
        stage["player"].tell(Call(what=boom))
        await settle()
        [(path, reason, message_type)] = stage.diary.crashed
        assert (path, message_type) == ("/user/top/player", "Call")
        assert isinstance(reason, Crashed)
        assert isinstance(reason.error, Boom)
        assert reason.frames[-1][2].endswith("boom")


@pytest.mark.asyncio
async def test_nobody_learns_of_an_end_when_an_actor_is_restarted() -> None:
    part = Part()
    async with staged(part.spec()) as stage:
        player = stage["player"]
        waiting = asyncio.ensure_future(player.wait_stopped())
        player.tell(Flat(what=boom))
        await settle()
        assert part.starts == 2
        assert not waiting.done()
        assert stage.diary.stopped == []
        player.stop()
        await waiting
        assert len(stage.diary.reasons(player.path)) == 1
