"""D6: what a stopped actor has not handled becomes dead letters, with the reason; nobody who writes to it hangs."""

from __future__ import annotations

import asyncio

import pytest

from tests.guarantees.cast_of_supervision import (
    Call,
    Diary,
    Flat,
    Gate,
    Note,
    Part,
    boom,
    settle,
    staged,
    stop_yourself,
)
from understudy import ActorStopped, ActorSystem, Shutdown


@pytest.mark.asyncio
async def test_leftovers_become_dead_letters_once_each_in_order_with_recipient_sender_and_reason() -> None:
    gate = Gate()
    part, sender = Part(), Part("sender")
    async with staged(part.spec(), sender.spec()) as stage:
        player = stage["player"]
        player.tell(Call(what=gate))
        await gate.reached.wait()
        player.tell(Note(number=1))
        player.tell(Note(number=2), sender=stage["sender"])
        await stage["sender"].ask(Flat(what=lambda actor: player.tell(Note(number=3), sender=actor.context.ref)))
        player.stop()
        gate.open()
        await player.wait_stopped()
        await settle()
        assert [letter[:3] for letter in stage.diary.dead] == [
            (Note(number=1), player.path, None),
            (Note(number=2), player.path, "/user/top/sender"),
            (Note(number=3), player.path, "/user/top/sender"),
        ]
        for *_, why in stage.diary.dead:
            assert str(Shutdown()) in why or "stop" in why
        assert part.notes == []


@pytest.mark.parametrize("way", ["itself", "crash", "kill"])
@pytest.mark.asyncio
async def test_leftovers_become_dead_letters_whatever_way_it_ended(way: str) -> None:
    part = Part()
    async with staged(part.spec(restart="temporary")) as stage:
        player = stage["player"]
        if way != "kill":
            player.tell(Flat(what=stop_yourself if way == "itself" else boom))
        for number in range(5):
            player.tell(Note(number=number))
        if way == "kill":
            player.kill()
        await player.wait_stopped()
        assert stage.diary.lost_notes() == [0, 1, 2, 3, 4]
        assert stage.system.statistics().dead_letters == 5
        reason = str(stage.diary.reasons(player.path)[0])
        assert all(reason in why or way in why for *_, why in stage.diary.dead)


@pytest.mark.asyncio
async def test_leftovers_of_a_whole_tree_become_dead_letters_at_the_end_of_the_system() -> None:
    diary = Diary()
    gates = [Gate(), Gate()]
    async with ActorSystem(instruments=[diary]) as system:
        for number, gate in enumerate(gates):
            ref = await system.spawn(Part(f"child{number}").spec(shutdown=1.0))
            ref.tell(Call(what=gate))
            ref.tell(Note(number=number))
            await gate.reached.wait()
    assert sorted(diary.lost_notes()) == [0, 1]


@pytest.mark.asyncio
async def test_a_tell_after_the_stop_is_refused_and_is_one_dead_letter() -> None:
    part = Part()
    async with staged(part.spec()) as stage:
        player = stage["player"]
        player.stop()
        await player.wait_stopped()
        for number in range(3):
            assert player.tell(Note(number=number)) is False
        assert stage.diary.lost_notes() == [0, 1, 2]
        assert {recipient for _, recipient, *_ in stage.diary.dead} == {player.path}
        assert part.notes == []


@pytest.mark.asyncio
async def test_a_send_or_ask_after_the_stop_fails_at_once_with_the_reason_and_the_message() -> None:
    part = Part()
    async with staged(part.spec()) as stage:
        player = stage["player"]
        player.stop()
        await player.wait_stopped()
        began = asyncio.get_running_loop().time()
        for write in (player.send(Note(number=1)), player.ask(Note(number=1)), player.ask(Note(number=1), timeout=9)):
            with pytest.raises(ActorStopped) as caught:
                await write
            assert isinstance(caught.value.reason, Shutdown)
            assert caught.value.message == Note(number=1)
            assert caught.value.path == player.path
        assert asyncio.get_running_loop().time() == began


@pytest.mark.parametrize("way", ["stop", "kill", "crash"])
@pytest.mark.asyncio
async def test_those_who_wait_for_room_or_for_a_reply_are_released_when_the_actor_ends(way: str) -> None:
    gate = Gate()

    async def wait_and_crash(_: object) -> None:
        await gate()
        boom()

    part = Part()
    async with staged(part.spec(restart="temporary", mailbox=1)) as stage:
        player = stage["player"]
        player.tell(Call(what=wait_and_crash))
        await gate.reached.wait()
        assert player.tell(Note(number=0)) is True
        assert player.tell(Note(number=1)) is False  # full
        senders = [asyncio.ensure_future(player.send(Note(number=number))) for number in (2, 3)]
        asked = asyncio.ensure_future(player.ask(Flat(what=lambda actor: 1), timeout=1000))
        await settle()
        if way == "crash":
            gate.open()
        else:
            getattr(player, way)()
        await settle()
        for waiting in (*senders, asked):
            assert waiting.done()
            with pytest.raises(ActorStopped):
                await waiting
        gate.open()
        await player.wait_stopped()
        assert part.notes == []


@pytest.mark.asyncio
async def test_those_who_wait_for_room_stay_in_line_over_a_restart() -> None:
    gate = Gate()

    async def wait_and_crash(_: object) -> None:
        await gate()
        boom()

    part = Part()
    async with staged(part.spec(mailbox=1)) as stage:
        player = stage["player"]
        player.tell(Call(what=wait_and_crash))
        await gate.reached.wait()
        player.tell(Note(number=0))
        senders = [asyncio.ensure_future(player.send(Note(number=number))) for number in (1, 2)]
        await settle()
        assert not any(sender.done() for sender in senders)
        gate.open()
        await asyncio.gather(*senders)
        await settle()
        assert part.notes_by_incarnation == {2: [0, 1, 2]}
        assert stage.diary.dead == []


@pytest.mark.asyncio
async def test_a_message_to_an_old_ref_does_not_reach_a_new_actor_of_the_same_name() -> None:
    first, second = Part(), Part()
    diary = Diary()
    async with ActorSystem(instruments=[diary]) as system:
        old = await system.spawn(first.spec())
        old.stop()
        await old.wait_stopped()
        new = await system.spawn(second.spec())
        assert old.tell(Note(number=1)) is False
        with pytest.raises(ActorStopped):
            await old.ask(Note(number=2))
        assert new.tell(Note(number=3)) is True
        await settle()
        assert (first.notes, second.notes) == ([], [3])
        assert old != new


@pytest.mark.asyncio
async def test_a_tell_after_the_end_of_the_system_does_not_hang_or_raise() -> None:
    async with ActorSystem() as system:
        ref = await system.spawn(Part().spec())
    assert ref.tell(Note(number=1)) is False
    with pytest.raises(ActorStopped):
        await ref.send(Note(number=1))
    with pytest.raises(ActorStopped):
        await ref.ask(Note(number=1))
    ref.stop()
    ref.drain()
    ref.kill()
    assert ref.status == "stopped"
    assert isinstance(await ref.wait_stopped(), Shutdown)
