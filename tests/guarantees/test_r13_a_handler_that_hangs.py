"""R13: an async handler that exceeds `max_handling_seconds` is killed; then the ordinary restart, and what is queued
survives."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from tenacity import wait_fixed

from tests.guarantees.cast_of_supervision import (
    STUBBORN,
    Call,
    Diary,
    Flat,
    Gate,
    Note,
    Part,
    Player,
    now,
    settle,
    takes,
)
from tests.guarantees.cast_of_trees import listed, staged
from understudy import (
    Actor,
    ActorStopped,
    ActorSystem,
    Instrument,
    InvalidActor,
    InvalidSpec,
    Killed,
    LoopBlocked,
    Message,
    Settings,
    child,
    handler,
)
from understudy.actors._runtime import Runtime


class Long(Diary):
    def __init__(self) -> None:
        super().__init__()
        self.long: list[tuple[str, str, float]] = []

    def handling_too_long(self, path: str, message_type: str, seconds: float) -> None:
        self.long.append((path, message_type, seconds))


@pytest.mark.asyncio
async def test_a_hung_handler_is_killed_and_what_is_queued_survives() -> None:
    gate, part = Gate(), Part()
    async with staged(part.spec(max_handling_seconds=2.0)) as stage:
        ref = stage["player"]
        uid = ref.uid
        ref.tell(Call(what=gate))
        for number in range(5):
            ref.tell(Note(number=number))
        await asyncio.sleep(1.9)
        assert (part.starts, gate.cancelled_at) == (1, [])
        await asyncio.sleep(0.2)
        assert gate.cancelled_at == [pytest.approx(2.0, abs=0.01)]
        assert part.notes_by_incarnation == {2: [0, 1, 2, 3, 4]}
        assert (ref.status, ref.uid) == ("running", uid)
        [(path, reason, failures)] = stage.diary.restarting
        assert (path, failures) == (ref.path, 1)
        assert isinstance(reason, Killed)
        assert part.ends == []  # a kill runs no hook


@pytest.mark.asyncio
async def test_the_asker_of_a_hung_handler_hears_of_it_at_once() -> None:
    async with staged(Part().spec(max_handling_seconds=2.0)) as stage:
        hanging = asyncio.ensure_future(stage["player"].ask(Call(what=takes(1000)), timeout=500))
        queued = asyncio.ensure_future(stage["player"].ask(Flat(what=lambda actor: actor.incarnation), timeout=500))
        with pytest.raises(ActorStopped):
            await hanging
        assert now() == pytest.approx(2.0, abs=0.01)
        assert await queued == 2


@pytest.mark.asyncio
async def test_it_counts_and_the_supervisor_may_give_up() -> None:
    async with staged(Part().spec(max_handling_seconds=1.0), max_restarts=1, max_seconds=100.0) as stage:
        for _ in range(3):
            stage["player"].tell(Call(what=takes(1000)))
        await stage.top.wait_stopped()
        assert now() == pytest.approx(2.0, abs=0.01)


@pytest.mark.parametrize(("restart", "starts"), [("permanent", 2), ("transient", 2), ("temporary", 1)])
@pytest.mark.asyncio
async def test_the_restart_type_decides(restart: Any, starts: int) -> None:
    part = Part()
    async with staged(part.spec(max_handling_seconds=1.0, restart=restart)) as stage:
        stage["player"].tell(Call(what=takes(1000)))
        await asyncio.sleep(2)
        assert part.starts == starts


@pytest.mark.asyncio
async def test_the_time_is_of_each_message_not_of_all() -> None:
    part = Part()
    async with staged(part.spec(max_handling_seconds=1.0)) as stage:
        for _ in range(10):
            stage["player"].tell(Call(what=takes(0.9)))
        await asyncio.sleep(20)
        assert part.starts == 1


@pytest.mark.asyncio
async def test_the_time_between_messages_and_in_hooks_does_not_count() -> None:
    part = Part(initialize=takes(3.0), shutdown=takes(3.0))
    async with staged(part.spec(max_handling_seconds=1.0)) as stage:
        await stage["player"].ask(Call(what=takes(0.5)))
        await asyncio.sleep(10)
        assert part.starts == 1
        stage["player"].stop()
        await stage["player"].wait_stopped()
        assert part.journal[-1] == "player down"


@pytest.mark.asyncio
async def test_it_is_told_who_was_handling_what_and_for_how_long() -> None:
    diary = Long()
    async with ActorSystem(instruments=[diary]) as system:
        ref = await system.spawn(Part().spec(max_handling_seconds=2.0))
        ref.tell(Call(what=takes(1000)))
        await asyncio.sleep(3)
        [(path, message_type, seconds)] = diary.long
        assert (path, message_type) == ("/user/player", "Call")
        assert seconds == pytest.approx(2.0, abs=0.01)


@pytest.mark.asyncio
async def test_one_that_resists_is_abandoned_and_the_next_incarnation_works() -> None:
    gate, part = Gate(resists=STUBBORN), Part()
    async with staged(part.spec(max_handling_seconds=2.0)) as stage:
        ref = stage["player"]
        ref.tell(Call(what=gate))
        ref.tell(Note(number=1))
        await asyncio.sleep(2.9)
        assert part.starts == 1
        await asyncio.sleep(0.2)
        assert part.notes_by_incarnation == {2: [1]}
        assert len(stage.diary.zombies) == 1
        gate.open()
        await settle()


@pytest.mark.asyncio
async def test_a_message_that_is_done_in_time_leaves_no_timer() -> None:
    """Ten thousand of them: the leak check of each test looks at the end, this one on the way."""
    part = Part()
    loop = asyncio.get_running_loop()
    async with staged(part.spec(max_handling_seconds=1000.0)) as stage:
        for number in range(10_000):
            stage["player"].tell(Call(what=lambda actor, number=number: takes(0)(actor)))
        await stage["player"].ask(Flat(what=lambda actor: None), timeout=100)
        pending = [handle for handle in loop._scheduled if not handle.cancelled()]  # type: ignore[attr-defined]
        assert len(pending) < 20
        assert len(loop._scheduled) < 1_000  # type: ignore[attr-defined]
        assert part.starts == 1


@pytest.mark.asyncio
async def test_a_stop_while_it_hangs_goes_by_the_grace_or_the_limit_whichever_is_first() -> None:
    for limit, grace, expected in ((2.0, 5.0, 2.0), (7.0, 3.0, 3.0)):
        part = Part()
        async with staged(part.spec(max_handling_seconds=limit, shutdown=grace)) as stage:
            ref = stage["player"]
            ref.tell(Call(what=takes(1000)))
            began = now()
            await settle()
            ref.stop()
            await ref.wait_stopped()
            assert now() - began == pytest.approx(expected, abs=0.05)
            assert part.starts == 1
            assert await listed(stage.top) == {"player": "stopped"}


@pytest.mark.asyncio
async def test_a_backoff_follows_as_after_any_failure() -> None:
    part = Part()
    async with staged(part.spec(max_handling_seconds=1.0, backoff=wait_fixed(10))) as stage:
        stage["player"].tell(Call(what=takes(1000)))
        await asyncio.sleep(10.9)
        assert part.starts == 1
        await asyncio.sleep(0.2)
        assert part.starts == 2


@pytest.mark.asyncio
async def test_a_class_may_limit_all_its_actors_and_the_spec_has_the_last_word() -> None:
    class Quick(Player):
        defaults = {"max_handling_seconds": 1.0}

    one, two = Part("one"), Part("two")
    specs = [child(Quick, one).options(name="one"), child(Quick, two).options(name="two", max_handling_seconds=5.0)]
    async with staged(*specs) as stage:
        for name in ("one", "two"):
            stage[name].tell(Call(what=takes(3.0)))
        await asyncio.sleep(4)
        assert (one.starts, two.starts) == (2, 1)


@pytest.mark.asyncio
async def test_a_plain_handler_is_not_interrupted() -> None:
    """Nothing else can run meanwhile, so nothing is killed afterwards either."""
    part = Part()

    def long(actor: object) -> str:
        return "done"

    async with staged(part.spec(max_handling_seconds=0.001)) as stage:
        assert await stage["player"].ask(Flat(what=long)) == "done"
        await asyncio.sleep(1)
        assert part.starts == 1


class Hangs(Instrument):
    def __init__(self) -> None:
        self.reports: list[LoopBlocked] = []

    def loop_blocked(self, report: LoopBlocked) -> None:
        self.reports.append(report)


@pytest.mark.real_time
@pytest.mark.asyncio
async def test_the_watchdog_reports_a_plain_handler_that_hangs_and_does_not_end_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    part, hangs, reported = Part(), Hangs(), threading.Event()

    def hear(self: Runtime, level: str, event: str, fields: dict[str, Any]) -> None:
        if event == "event loop is blocked" and fields.get("handling") == "Flat":
            reported.set()

    monkeypatch.setattr(Runtime, "write_log", hear)
    async with ActorSystem(settings=Settings(watchdog=0.02), instruments=[hangs]) as system:
        ref = await system.spawn(part.spec(max_handling_seconds=0.001))
        assert await ref.ask(Flat(what=lambda actor: reported.wait(50)), timeout=50) is True
        assert part.starts == 1
    assert "/user/player" in [report.actor for report in hangs.reports if report.message_type == "Flat"]


class Wait(Message): ...


class OnlyPlain(Actor[Wait]):
    @handler
    def wait(self, message: Wait) -> None: ...


def test_it_is_refused_for_a_class_that_has_only_plain_handlers_where_it_is_declared() -> None:
    with pytest.raises(InvalidSpec) as caught:
        child(OnlyPlain).options(name="plain", max_handling_seconds=1.0)
    assert caught.value.field == "max_handling_seconds"
    assert "plain" in str(caught.value)


def test_it_is_refused_in_the_defaults_of_such_a_class() -> None:
    with pytest.raises((InvalidSpec, InvalidActor), match="max_handling_seconds"):

        class Plain(Actor[Wait]):
            defaults = {"max_handling_seconds": 1.0}

            @handler
            def wait(self, message: Wait) -> None: ...
