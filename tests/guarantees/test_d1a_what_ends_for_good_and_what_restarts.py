"""D1a: which call ends an actor for good, which restarts it, what counts, and what becomes of the queue."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

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
from understudy import ActorSystem, Killed, Normal, RestartsExceeded, Shutdown, supervisor


@dataclass(frozen=True)
class Row:
    call: str
    restart: str
    comes_back: bool
    handled: list[int]
    lost: list[int]
    reason: type | None  # of the final end

    def __str__(self) -> str:
        return f"{self.call} of a {self.restart} one"


QUEUED = [1, 2, 3]
TABLE = [
    *(Row("stop", restart, False, [], QUEUED, Shutdown) for restart in ("permanent", "transient", "temporary")),
    *(Row("drain", restart, False, QUEUED, [], Shutdown) for restart in ("permanent", "transient", "temporary")),
    Row("context.stop", "permanent", True, QUEUED, [], None),
    Row("context.stop", "transient", False, [], QUEUED, Normal),
    Row("context.stop", "temporary", False, [], QUEUED, Normal),
    Row("kill", "permanent", True, QUEUED, [], None),
    Row("kill", "transient", True, QUEUED, [], None),
    Row("kill", "temporary", False, [], QUEUED, Killed),
]


@pytest.mark.parametrize("row", TABLE, ids=str)
@pytest.mark.asyncio
async def test_each_call_does_what_the_table_says(row: Row) -> None:
    gate = Gate()

    async def stop_after_the_gate(actor: object) -> None:
        await gate()
        if row.call == "context.stop":
            stop_yourself(actor)  # type: ignore[arg-type]

    part = Part()
    async with staged(part.spec(restart=row.restart), max_restarts=10) as stage:
        player = stage["player"]
        uid = player.uid
        player.tell(Call(what=stop_after_the_gate))
        await gate.reached.wait()
        for number in QUEUED:
            player.tell(Note(number=number))
        if row.call != "context.stop":
            assert getattr(player, row.call)() is None
        gate.open()
        await settle()
        assert part.notes == row.handled
        assert stage.diary.lost_notes() == row.lost
        assert part.starts == (2 if row.comes_back else 1)
        assert [failures for *_, failures in stage.diary.restarting] == ([1] if row.comes_back else [])
        assert player.status == ("running" if row.comes_back else "stopped")
        assert player.uid == uid
        if row.reason is None:
            assert stage.diary.reasons(player.path) == []
            assert part.notes_by_incarnation == {2: QUEUED}
        else:
            assert isinstance(await player.wait_stopped(), row.reason)
            assert [type(reason) for reason in stage.diary.reasons(player.path)] == [row.reason]


@pytest.mark.parametrize("row", TABLE, ids=str)
@pytest.mark.asyncio
async def test_each_call_counts_as_the_table_says(row: Row) -> None:
    part = Part()
    async with staged(part.spec(restart=row.restart), max_restarts=0) as stage:
        player = stage["player"]
        if row.call == "context.stop":
            player.tell(Flat(what=stop_yourself))
        else:
            getattr(player, row.call)()
        await settle()
        assert stage.top.status == ("stopped" if row.comes_back else "running")
        if row.comes_back:
            assert isinstance(await stage.top.wait_stopped(), RestartsExceeded)


@pytest.mark.parametrize("call", ["stop", "drain"])
@pytest.mark.parametrize("restart", ["permanent", "transient", "temporary"])
@pytest.mark.asyncio
async def test_an_actor_may_end_itself_for_good_through_its_ref(call: str, restart: str) -> None:
    part = Part()
    async with staged(part.spec(restart=restart), max_restarts=0) as stage:
        player = stage["player"]
        player.tell(Flat(what=lambda actor: getattr(actor.context.ref, call)()))
        assert isinstance(await player.wait_stopped(), Shutdown)
        await settle()
        assert part.starts == 1
        assert stage.top.status == "running"


@pytest.mark.asyncio
async def test_context_stop_lets_the_message_in_hand_end_first() -> None:
    async def stop_and_work_on(actor: object) -> str:
        stop_yourself(actor)  # type: ignore[arg-type]
        await asyncio.sleep(1.0)
        return "done"

    part = Part()
    async with staged(part.spec(restart="transient")) as stage:
        player = stage["player"]
        assert await player.ask(Call(what=stop_and_work_on)) == "done"
        assert await player.wait_stopped() == Normal()
        assert part.ends == [Normal()]


@pytest.mark.asyncio
async def test_a_handler_that_crashes_after_context_stop_has_crashed_or_ended_but_ends_once() -> None:
    def stop_and_crash(actor: object) -> None:
        stop_yourself(actor)  # type: ignore[arg-type]
        boom()

    part = Part()
    async with staged(part.spec(restart="temporary")) as stage:
        player = stage["player"]
        player.tell(Flat(what=stop_and_crash))
        await player.wait_stopped()
        assert len(stage.diary.reasons(player.path)) == 1
        assert len(part.ends) == 1


@pytest.mark.asyncio
async def test_a_stop_wins_over_a_kill_that_came_before_it_in_that_the_actor_does_not_come_back() -> None:
    gate = Gate(resists=3)
    part = Part()
    async with staged(part.spec(), max_restarts=10) as stage:
        player = stage["player"]
        player.tell(Call(what=gate))
        player.tell(Note(number=1))
        await gate.reached.wait()
        player.kill()
        await settle()
        player.stop()
        assert isinstance(await player.wait_stopped(), Killed)
        await asyncio.sleep(10)
        assert part.starts == 1
        assert part.notes == []
        assert stage.diary.lost_notes() == [1]


@pytest.mark.asyncio
async def test_a_stop_while_the_actor_goes_down_after_a_crash_ends_it_for_good() -> None:
    gate = Gate()
    part = Part(shutdown=gate)
    async with staged(part.spec(), max_restarts=10) as stage:
        player = stage["player"]
        player.tell(Flat(what=boom))
        player.tell(Note(number=1))
        await gate.reached.wait()
        player.stop()
        gate.open()
        await player.wait_stopped()
        await settle()
        assert part.starts == 1
        assert stage.diary.lost_notes() == [1]
        assert stage.diary.restarting == []


@pytest.mark.asyncio
async def test_a_stopped_child_may_come_back_with_its_supervisor_as_a_new_actor() -> None:
    a, b = Part("a"), Part("b")
    async with staged(supervisor("inner", a.spec(), b.spec(), max_restarts=0)) as stage:
        old = stage["inner/a"]
        old.stop()
        await old.wait_stopped()
        stage["inner/b"].tell(Flat(what=boom))
        await settle()
        new = stage["inner/a"]
        assert (old.status, new.status) == ("stopped", "running")
        assert old.uid != new.uid
        assert old.path == new.path
        assert old.tell(Note(number=1)) is False
        assert new.tell(Note(number=2)) is True
        await settle()
        assert a.notes == [2]


@pytest.mark.asyncio
async def test_wait_stopped_waits_for_the_final_end_through_any_number_of_restarts() -> None:
    part = Part()
    async with staged(part.spec(restart="transient"), max_restarts=10) as stage:
        player = stage["player"]
        waiting = [asyncio.ensure_future(player.wait_stopped()) for _ in range(3)]
        for end in (lambda: player.tell(Flat(what=boom)), player.kill, lambda: player.tell(Call(what=boom))):
            end()
            await settle()
        assert part.starts == 4
        assert not any(wait.done() for wait in waiting)
        player.tell(Flat(what=stop_yourself))
        assert await asyncio.gather(*waiting) == [Normal()] * 3
        assert await player.wait_stopped() == Normal()  # and at once when it is over


@pytest.mark.asyncio
async def test_wait_stopped_gives_up_at_its_timeout_and_changes_nothing() -> None:
    part = Part()
    async with staged(part.spec()) as stage:
        with pytest.raises(TimeoutError):
            await stage["player"].wait_stopped(timeout=1.0)
        assert stage["player"].status == "running"


@pytest.mark.asyncio
async def test_a_cancelled_wait_for_the_end_leaves_the_other_waits_alone() -> None:
    part = Part()
    async with staged(part.spec()) as stage:
        player = stage["player"]
        first, second = (asyncio.ensure_future(player.wait_stopped()) for _ in range(2))
        await settle()
        first.cancel()
        await settle()
        assert first.cancelled()
        player.stop()
        assert isinstance(await second, Shutdown)


@pytest.mark.asyncio
async def test_the_calls_are_requests_that_return_at_once_and_may_be_repeated() -> None:
    gate = Gate()
    diary = Diary()
    part = Part()
    async with ActorSystem(instruments=[diary]) as system:
        ref = await system.spawn(part.spec())
        ref.tell(Call(what=gate))
        await gate.reached.wait()
        for _ in range(5):
            assert ref.stop() is None
            assert ref.drain() is None
        assert ref.status == "stopping"
        gate.open()
        assert isinstance(await ref.wait_stopped(), Shutdown)
        assert len(part.ends) == 1
        assert len(diary.stopped) == 1
