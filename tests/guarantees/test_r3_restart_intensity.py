"""R3: more than `max_restarts` failures within `max_seconds` end the supervisor, counted exactly."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.guarantees.cast_of_supervision import (
    Boom,
    Call,
    Flat,
    Part,
    Stage,
    boom,
    now,
    settle,
    staged,
    stop_yourself,
)
from understudy import ActorRef, Crashed, Killed, Normal, RestartsExceeded, StartFailed


async def crash(ref: ActorRef[Any]) -> None:
    ref.tell(Flat(what=boom))
    await settle()


def gave_up(stage: Stage) -> bool:
    """Whether the supervisor has ended, for that reason and no other."""
    reasons = stage.diary.reasons("/user/top")
    assert all(isinstance(reason, RestartsExceeded) for reason in reasons)
    assert (stage.top.status == "stopped") == bool(reasons)
    return bool(reasons)


@pytest.mark.asyncio
async def test_one_restart_a_second_is_exceeded_by_crashes_nine_tenths_of_a_second_apart() -> None:
    part = Part()
    async with staged(part.spec(), max_restarts=1, max_seconds=1.0) as stage:
        player = stage["player"]
        player.tell(Flat(what=boom))
        await asyncio.sleep(0.9)
        assert not gave_up(stage)
        await crash(player)
        assert gave_up(stage)
        assert part.starts == 2


@pytest.mark.asyncio
async def test_one_restart_a_second_is_never_exceeded_by_crashes_eleven_tenths_of_a_second_apart() -> None:
    part = Part()
    async with staged(part.spec(), max_restarts=1, max_seconds=1.0) as stage:
        for _ in range(200):
            stage["player"].tell(Flat(what=boom))
            await asyncio.sleep(1.1)
        assert not gave_up(stage)
        assert part.starts == 201


@pytest.mark.asyncio
async def test_a_failure_exactly_max_seconds_ago_still_counts() -> None:
    part = Part()
    async with staged(part.spec(), max_restarts=1, max_seconds=1.0) as stage:
        began = now()
        stage["player"].tell(Flat(what=boom))
        await asyncio.sleep(1.0)
        assert now() == began + 1.0
        await crash(stage["player"])
        assert gave_up(stage)


@pytest.mark.asyncio
async def test_the_window_slides_over_single_failures() -> None:
    part = Part()
    async with staged(part.spec(), max_restarts=2, max_seconds=10.0) as stage:
        for pause in (4.0, 7.0, 4.0, 7.0, 4.0):  # never three within ten seconds
            await crash(stage["player"])
            await asyncio.sleep(pause)
        assert not gave_up(stage)
        await crash(stage["player"])
        assert not gave_up(stage)
        await crash(stage["player"])
        assert gave_up(stage)


@pytest.mark.asyncio
async def test_with_max_restarts_0_the_first_crash_ends_the_supervisor_before_any_start_is_tried() -> None:
    part = Part()
    async with staged(part.spec(), max_restarts=0) as stage:
        await crash(stage["player"])
        assert gave_up(stage)
        assert part.starts == 1
        assert stage.diary.restarting == []


@pytest.mark.asyncio
async def test_three_failures_in_five_seconds_are_allowed_by_default_and_a_fourth_is_not() -> None:
    part = Part()
    async with staged(part.spec()) as stage:
        player = stage["player"]
        for _ in range(3):
            await crash(player)
        assert not gave_up(stage)
        assert part.starts == 4
        await crash(player)
        assert gave_up(stage)
        assert part.starts == 4
        reason = await stage.top.wait_stopped()
        assert isinstance(reason, RestartsExceeded)
        assert (reason.child, reason.count, reason.seconds) == (player.path, 4, 5.0)
        assert isinstance(reason.last_reason, Crashed)
        assert isinstance(reason.last_reason.error, Boom)


@pytest.mark.asyncio
async def test_the_failures_of_all_children_count_together() -> None:
    a, b = Part("a"), Part("b")
    async with staged(a.spec(), b.spec(), max_restarts=1) as stage:
        await crash(stage["a"])
        assert not gave_up(stage)
        await crash(stage["b"])
        assert gave_up(stage)
        assert (a.starts, b.starts) == (2, 1)


@pytest.mark.parametrize("where", ["construct", "initialize"])
@pytest.mark.asyncio
async def test_a_child_that_can_only_start_once_is_started_exactly_five_times_when_four_failures_are_allowed(
    where: str,
) -> None:
    part = Part(**{where: lambda actor: boom() if actor.incarnation > 1 else None})  # type: ignore[arg-type]
    async with staged(part.spec(), max_restarts=4) as stage:
        await crash(stage["player"])
        assert gave_up(stage)
        assert part.starts == 5
        reason = await stage.top.wait_stopped()
        assert isinstance(reason, RestartsExceeded)
        assert reason.count == 5
        assert isinstance(reason.last_reason, StartFailed)


@pytest.mark.asyncio
async def test_ends_of_temporary_children_do_not_count() -> None:
    from tests.guarantees.cast_of_supervision import Player

    parts = [Part(f"child{number}") for number in range(20)]
    async with staged(*(part.spec(restart="temporary") for part in parts), max_restarts=0) as stage:
        ends = [
            lambda ref: ref.tell(Flat(what=boom)),
            lambda ref: ref.tell(Call(what=boom)),
            lambda ref: ref.tell(Flat(what=stop_yourself)),
            lambda ref: ref.kill(),
        ]
        refs = [stage[part.name] for part in parts]
        for number, ref in enumerate(refs):
            ends[number % 4](ref)
        await settle()
        assert {type(await ref.wait_stopped()) for ref in refs} == {Crashed, Normal, Killed}
        assert not gave_up(stage)
        assert stage.system.find("top/child0", Player) is None


@pytest.mark.asyncio
async def test_normal_ends_of_transient_children_do_not_count() -> None:
    parts = [Part(f"child{number}") for number in range(20)]
    async with staged(*(part.spec(restart="transient") for part in parts), max_restarts=0) as stage:
        for part in parts:
            stage[part.name].tell(Flat(what=stop_yourself))
        await settle()
        assert not gave_up(stage)
        assert {part.starts for part in parts} == {1}


@pytest.mark.parametrize("request_", ["stop", "drain"])
@pytest.mark.parametrize("kind", ["permanent", "transient", "temporary"])
@pytest.mark.asyncio
async def test_terminations_that_were_asked_for_do_not_count(request_: str, kind: str) -> None:
    parts = [Part(f"child{number}") for number in range(20)]
    async with staged(*(part.spec(restart=kind) for part in parts), max_restarts=0) as stage:
        for part in parts:
            getattr(stage[part.name], request_)()
        await settle()
        assert not gave_up(stage)
        assert {part.starts for part in parts} == {1}


@pytest.mark.asyncio
async def test_kills_count() -> None:
    part = Part()
    async with staged(part.spec(), max_restarts=1) as stage:
        player = stage["player"]
        player.kill()
        await settle()
        assert not gave_up(stage)
        player.kill()
        await settle()
        assert gave_up(stage)
        reason = await stage.top.wait_stopped()
        assert isinstance(reason, RestartsExceeded)
        assert isinstance(reason.last_reason, Killed)


@pytest.mark.asyncio
async def test_the_number_of_failures_in_the_window_is_reported_with_each_restart() -> None:
    part = Part()
    async with staged(part.spec(), max_restarts=3, max_seconds=10.0) as stage:
        for pause in (1.0, 1.0, 30.0, 0.0):
            await crash(stage["player"])
            await asyncio.sleep(pause)
        assert [failures for *_, failures in stage.diary.restarting] == [1, 2, 3, 1]


@pytest.mark.asyncio
async def test_giving_up_is_reported_once_for_the_supervisor() -> None:
    part = Part()
    async with staged(part.spec(), max_restarts=0) as stage:
        await crash(stage["player"])
        assert [path for path, _ in stage.diary.given_up] == ["/user/top"]


@pytest.mark.asyncio
async def test_a_supervisor_that_is_started_anew_counts_from_zero() -> None:
    part = Part()
    async with staged(part.spec(), restart="permanent", max_restarts=1) as stage:
        player = stage["player"]
        await crash(player)
        await crash(player)  # the supervisor gives up and is restarted
        assert stage.top.status == "running"
        await crash(player)
        assert [path for path, _ in stage.diary.given_up] == ["/user/top"]
        assert player.status == "running"
