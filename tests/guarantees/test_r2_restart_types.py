"""R2: permanent restarts always, transient after an abnormal end only, temporary never; whatever way it ended."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from tests.guarantees.cast_of_supervision import (
    Call,
    Diary,
    Flat,
    Note,
    Part,
    Player,
    boom,
    settle,
    staged,
    stop_yourself,
)
from understudy import (
    Actor,
    ActorRef,
    ActorStopped,
    ActorSystem,
    Crashed,
    Killed,
    Message,
    Normal,
    Shutdown,
    child,
    handler,
)

WAYS: dict[str, tuple[Callable[[ActorRef[Any]], object], type]] = {
    "ends by itself": (lambda ref: ref.tell(Flat(what=stop_yourself)), Normal),
    "ends by itself while suspended": (lambda ref: ref.tell(Call(what=stop_yourself)), Normal),
    "crashes": (lambda ref: ref.tell(Flat(what=boom)), Crashed),
    "crashes while suspended": (lambda ref: ref.tell(Call(what=boom)), Crashed),
    "is killed": (lambda ref: ref.kill(), Killed),
    "is stopped": (lambda ref: ref.stop(), Shutdown),
    "is drained": (lambda ref: ref.drain(), Shutdown),
}
RESTARTED_AFTER = {
    "permanent": {
        "ends by itself",
        "ends by itself while suspended",
        "crashes",
        "crashes while suspended",
        "is killed",
    },
    "transient": {"crashes", "crashes while suspended", "is killed"},
    "temporary": set[str](),
}
TABLE = [(kind, way, way in RESTARTED_AFTER[kind]) for kind in RESTARTED_AFTER for way in WAYS]


async def check(ref: ActorRef[Any], part: Part, diary: Diary, way: str, restarted: bool) -> None:
    uid = ref.uid
    end, reason = WAYS[way]
    end(ref)
    await settle()
    if restarted:
        assert part.starts == 2
        assert [type(why) for path, why, _ in diary.restarting if path == ref.path] == [reason]
        assert (ref.status, ref.uid) == ("running", uid)
        assert await ref.ask(Flat(what=lambda actor: actor.incarnation)) == 2
        assert diary.reasons(ref.path) == []
    else:
        assert part.starts == 1
        assert diary.restarting == []
        assert ref.status == "stopped"
        assert isinstance(await ref.wait_stopped(), reason)
        assert [type(why) for why in diary.reasons(ref.path)] == [reason]
        assert ref.tell(Note(number=1)) is False
        with pytest.raises(ActorStopped):
            await ref.ask(Flat(what=lambda actor: None))
        assert part.starts == 1


@pytest.mark.parametrize(("kind", "way", "restarted"), TABLE)
@pytest.mark.asyncio
async def test_a_declared_child_comes_back_as_its_restart_type_says(kind: str, way: str, restarted: bool) -> None:
    part = Part()
    async with staged(part.spec(restart=kind)) as stage:
        await check(stage["player"], part, stage.diary, way, restarted)
        assert stage.top.status == "running"


@pytest.mark.parametrize(("kind", "way", "restarted"), TABLE)
@pytest.mark.asyncio
async def test_an_actor_spawned_at_run_time_comes_back_as_its_restart_type_says(
    kind: str, way: str, restarted: bool
) -> None:
    part = Part()
    diary = Diary()
    async with ActorSystem(instruments=[diary]) as system:
        ref = await system.spawn(part.spec(restart=kind))
        await check(ref, part, diary, way, restarted)


@pytest.mark.parametrize(("kind", "way", "restarted"), TABLE)
@pytest.mark.asyncio
async def test_a_child_of_a_plain_actor_comes_back_as_its_restart_type_says(
    kind: str, way: str, restarted: bool
) -> None:
    part, parent = Part("child"), Part("parent")
    diary = Diary()
    async with ActorSystem(instruments=[diary]) as system:
        above = await system.spawn(parent.spec())
        ref: Any = await above.ask(Call(what=lambda actor: actor.context.spawn(part.spec(restart=kind))))
        await check(ref, part, diary, way, restarted)
        assert parent.starts == 1


@pytest.mark.asyncio
async def test_an_actor_is_permanent_unless_it_says_otherwise() -> None:
    part = Part()
    async with staged(part.spec()) as stage:
        stage["player"].tell(Flat(what=stop_yourself))
        await settle()
        assert part.starts == 2


class Go(Message): ...


class Passing(Actor[Go]):
    defaults = {"restart": "temporary"}

    @handler
    def go(self, message: Go) -> None:
        raise ValueError


@pytest.mark.asyncio
async def test_the_class_sets_the_restart_type_and_the_spec_overrides_it() -> None:
    async with staged(child(Passing), child(Passing).options(name="lasting", restart="permanent")) as stage:
        passing = stage.system.lookup("top/passing", Passing)
        lasting = stage.system.lookup("top/lasting", Passing)
        passing.tell(Go())
        lasting.tell(Go())
        await settle()
        assert (passing.status, lasting.status) == ("stopped", "running")


@pytest.mark.asyncio
async def test_a_normal_end_of_a_permanent_child_counts_as_a_failure() -> None:
    part = Part()
    async with staged(part.spec(), max_restarts=2) as stage:
        for _ in range(3):
            assert stage.top.status == "running"
            stage["player"].tell(Flat(what=stop_yourself))
            await settle()
        assert part.starts == 3
        assert stage.top.status == "stopped"


@pytest.mark.asyncio
async def test_a_temporary_child_that_has_ended_is_no_longer_listed() -> None:
    gone, stays = Part("gone"), Part("stays")
    async with staged(gone.spec(restart="temporary"), stays.spec()) as stage:
        assert "gone" in str(stage.system.tree())
        stage["gone"].tell(Flat(what=boom))
        await settle()
        assert "gone" not in str(stage.system.tree())
        assert "stays" in str(stage.system.tree())
        assert stage.system.find("top/gone", Player) is None


@pytest.mark.asyncio
async def test_a_temporary_child_does_not_come_back_when_messages_are_left_for_it() -> None:
    part = Part()
    async with staged(part.spec(restart="temporary")) as stage:
        player = stage["player"]
        player.tell(Flat(what=boom))
        asked = asyncio.ensure_future(player.ask(Flat(what=lambda actor: "never")))
        player.tell(Note(number=1))
        with pytest.raises(ActorStopped) as caught:
            await asked
        assert isinstance(caught.value.reason, Crashed)
        assert part.notes == []
        assert stage.diary.lost_notes() == [1]


@pytest.mark.parametrize("kind", ["permanent", "transient"])
@pytest.mark.asyncio
async def test_a_failed_start_during_a_restart_is_tried_again(kind: str) -> None:
    part = Part(construct=lambda actor: boom() if actor.incarnation in (2, 3) else None)
    async with staged(part.spec(restart=kind), max_restarts=3) as stage:
        player = stage["player"]
        player.tell(Flat(what=boom))
        player.tell(Note(number=1))
        await settle()
        assert part.starts == 4
        assert part.notes_by_incarnation == {4: [1]}
        assert player.status == "running"
