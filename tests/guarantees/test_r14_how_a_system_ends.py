"""R14: the collapse of the root is loud, its normal end is orderly, and a start that fails leaves nothing."""

# ruff: noqa: PT012 - what raises is the `async with` as a whole

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest
import structlog

from tests.guarantees.cast_of_supervision import (
    Boom,
    Call,
    Diary,
    Flat,
    Gate,
    Note,
    Part,
    Player,
    boom,
    now,
    settle,
    staged,
    stop_yourself,
    takes,
)
from understudy import (
    ActorStopped,
    ActorSystem,
    ChildSpec,
    Crashed,
    Killed,
    RestartsExceeded,
    StartError,
    StartFailed,
    Supervisor,
    SystemCollapsed,
    child,
    supervisor,
)


def fragile(*parts: Part) -> ChildSpec[Any]:
    """A tree `root` that ends with the first crash."""
    return supervisor("root", *(part.spec() for part in parts), max_restarts=0)


def me() -> asyncio.Task[Any]:
    task = asyncio.current_task()
    assert task is not None
    return task


# Collapse.


@pytest.mark.asyncio
async def test_collapse_cancels_the_body_and_leaving_raises_with_the_chain_of_causes() -> None:
    part = Part()
    cancelled = False
    with pytest.raises(SystemCollapsed) as caught:
        async with ActorSystem(fragile(part), name="shop") as system:
            system.lookup("root/player", Player).tell(Flat(what=boom))
            try:
                await asyncio.sleep(1000)
            except asyncio.CancelledError:
                cancelled = True
                raise
    assert cancelled
    assert now() < 1
    error = caught.value
    assert (error.system, error.path) == ("shop", "/user/root")
    assert isinstance(error.reason, RestartsExceeded)
    assert isinstance(error.reason.last_reason, Crashed)
    assert isinstance(error.reason.last_reason.error, Boom)
    assert isinstance(error.__cause__, Boom)
    text = str(error)
    for word in ("shop", "/user/root", "/user/root/player", "Boom"):
        assert word in text
    assert len(error.chain) == 2
    assert me().cancelling() == 0  # the cancel was the system's own and is over


@pytest.mark.parametrize("kind", [Call, Flat])
@pytest.mark.asyncio
async def test_a_tree_that_collapses_as_soon_as_it_is_up_collapses_the_system(kind: type[Call | Flat]) -> None:
    part = Part(initialize=lambda actor: actor.context.ref.tell(kind(what=boom)))
    with pytest.raises(SystemCollapsed):
        async with ActorSystem(fragile(part)):
            await asyncio.sleep(1000)
    assert part.starts == 1
    assert now() < 1
    assert me().cancelling() == 0


@pytest.mark.asyncio
async def test_a_tree_that_ends_as_soon_as_it_is_up_ends_the_system() -> None:
    part = Part(initialize=lambda actor: actor.context.ref.tell(Flat(what=stop_yourself)))
    async with ActorSystem(part.spec()) as system:
        await system.wait_stopped()
    assert part.journal[-1] == "player down"
    assert me().cancelling() == 0


@pytest.mark.asyncio
async def test_the_task_works_on_after_a_collapse_that_was_caught() -> None:
    part = Part()
    with pytest.raises(SystemCollapsed):
        async with ActorSystem(fragile(part)) as system:
            system.lookup("root/player", Player).tell(Flat(what=boom))
            await asyncio.sleep(1000)
    with pytest.raises(TimeoutError):  # would be a CancelledError, were a cancel left over
        async with asyncio.timeout(0.1):
            await asyncio.sleep(1)


@pytest.mark.asyncio
async def test_a_body_that_swallows_the_cancel_cannot_hide_the_collapse() -> None:
    part = Part()
    with pytest.raises(SystemCollapsed):
        async with ActorSystem(fragile(part)) as system:
            system.lookup("root/player", Player).tell(Flat(what=boom))
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(1000)
    assert me().cancelling() == 0


@pytest.mark.asyncio
async def test_a_body_that_ends_before_it_learns_of_the_collapse_still_raises_it() -> None:
    part = Part()
    with pytest.raises(SystemCollapsed):
        async with ActorSystem(fragile(part)) as system:
            system.lookup("root/player", Player).tell(Flat(what=boom))
            root = system.lookup("root", Supervisor)
            while root.status == "running":
                try:
                    await asyncio.sleep(0)
                except asyncio.CancelledError:
                    break
    assert me().cancelling() == 0


@pytest.mark.asyncio
async def test_an_error_of_the_body_is_not_lost_in_a_collapse() -> None:
    part = Part()
    with pytest.raises(BaseException) as caught:  # noqa: PT011
        async with ActorSystem(fragile(part)) as system:
            system.lookup("root/player", Player).tell(Flat(what=boom))
            try:
                await asyncio.sleep(1000)
            finally:
                raise LookupError("of the body")
    seen: list[BaseException] = []
    pending: list[BaseException | None] = [caught.value]
    while pending:
        error = pending.pop()
        if error is not None and error not in seen:
            seen.append(error)
            pending += [error.__cause__, error.__context__]
            if isinstance(error, BaseExceptionGroup):
                pending += error.exceptions
    assert any(isinstance(error, LookupError) for error in seen)
    assert any(isinstance(error, SystemCollapsed) for error in seen)


@pytest.mark.asyncio
async def test_a_cancel_from_outside_during_a_collapse_is_not_lost() -> None:
    part = Part(shutdown=takes(1.0))
    inside = asyncio.Event()

    async def main() -> None:
        async with ActorSystem(fragile(part, Part("other", shutdown=takes(1.0)))) as system:
            system.lookup("root/player", Player).tell(Flat(what=boom))
            inside.set()
            await asyncio.sleep(1000)

    task = asyncio.ensure_future(main())
    await inside.wait()
    await asyncio.sleep(0.5)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled() or isinstance(task.exception(), SystemCollapsed | BaseExceptionGroup)
    assert now() < 40


@pytest.mark.parametrize("restart", ["permanent", "transient", "temporary"])
@pytest.mark.asyncio
async def test_the_tree_given_to_the_system_is_never_restarted(restart: str) -> None:
    part = Part()
    with pytest.raises(SystemCollapsed) as caught:
        async with ActorSystem(part.spec(restart=restart)) as system:
            system.lookup("player", Player).tell(Flat(what=boom))
            await asyncio.sleep(1000)
    assert part.starts == 1
    assert isinstance(caught.value.reason, Crashed)


@pytest.mark.asyncio
async def test_killing_the_root_is_a_collapse() -> None:
    part = Part()
    with pytest.raises(SystemCollapsed) as caught:
        async with ActorSystem(part.spec()) as system:
            system.lookup("player", Player).kill()
            await asyncio.sleep(1000)
    assert isinstance(caught.value.reason, Killed)
    assert part.ends == []


@pytest.mark.asyncio
async def test_a_collapse_ends_what_was_spawned_beside_the_tree_in_good_order() -> None:
    guest = Part("guest", shutdown=takes(1.0))
    with pytest.raises(SystemCollapsed):
        async with ActorSystem(fragile(Part())) as system:
            ref = await system.spawn(guest.spec())
            system.lookup("root/player", Player).tell(Flat(what=boom))
            await asyncio.sleep(1000)
    assert guest.journal[-1] == "guest down"
    assert ref.status == "stopped"


@pytest.mark.asyncio
async def test_asks_that_wait_when_the_root_collapses_fail_at_once() -> None:
    gate = Gate()
    asked: list[BaseException] = []
    with pytest.raises(SystemCollapsed):
        async with ActorSystem(fragile(Part(), Part("other"))) as system:
            other = system.lookup("root/other", Player)
            other.tell(Call(what=gate))
            pending = asyncio.ensure_future(other.ask(Flat(what=lambda actor: 1), timeout=1000))
            await gate.reached.wait()
            system.lookup("root/player", Player).tell(Flat(what=boom))
            pending.add_done_callback(lambda done: asked.append(done.exception()))  # type: ignore[arg-type]
            await asyncio.sleep(1000)
    assert [type(error) for error in asked] == [ActorStopped]
    assert now() < 40


# The normal end.


@pytest.mark.parametrize("restart", ["permanent", "transient", "temporary"])
@pytest.mark.parametrize("how", ["itself", "ref.stop", "ref.drain", "system.stop"])
@pytest.mark.asyncio
async def test_a_normal_end_of_the_root_is_the_orderly_end_and_does_not_cancel_the_body(how: str, restart: str) -> None:
    diary = Diary()
    part, guest = Part(), Part("guest")
    async with ActorSystem(part.spec(restart=restart), instruments=[diary]) as system:
        player = system.lookup("player", Player)
        beside = await system.spawn(guest.spec())
        match how:
            case "itself":
                player.tell(Flat(what=stop_yourself))
            case "ref.stop":
                player.stop()
            case "ref.drain":
                player.drain()
            case _:
                system.stop()
        await system.wait_stopped()
        await asyncio.sleep(100)  # the body goes on
        assert (part.starts, len(part.ends)) == (1, 1)
        assert (player.status, beside.status) == ("stopped", "stopped")
        assert guest.journal[-1] == "guest down"
        assert player.tell(Note(number=1)) is False
        with pytest.raises(ActorStopped):
            await player.ask(Flat(what=lambda actor: 1))
        with pytest.raises(ActorStopped):
            await player.send(Note(number=1))
        assert system.find("player", Player) is None
    assert me().cancelling() == 0
    assert diary.crashed == []


@pytest.mark.asyncio
async def test_the_root_supervisor_may_be_stopped_through_its_ref() -> None:
    a, b = Part("a"), Part("b")
    async with ActorSystem(fragile(a, b)) as system:
        system.lookup("root", Supervisor).stop()
        await system.wait_stopped()
        assert (a.journal[-1], b.journal[-1]) == ("a down", "b down")


@pytest.mark.asyncio
async def test_leaving_the_body_stops_the_tree_in_good_order() -> None:
    a, b = Part("a", shutdown=takes(1.0)), Part("b", shutdown=takes(1.0))
    async with ActorSystem(fragile(a, b)):
        pass
    assert (a.journal[-1], b.journal[-1]) == ("a down", "b down")
    assert now() == pytest.approx(2.0, abs=0.01)


@pytest.mark.asyncio
async def test_an_error_of_the_body_stops_the_tree_in_good_order_and_comes_out_as_it_is() -> None:
    a = Part("a", shutdown=takes(1.0))
    with pytest.raises(LookupError, match="of the body"):
        async with ActorSystem(fragile(a)):
            raise LookupError("of the body")
    assert a.journal[-1] == "a down"


@pytest.mark.asyncio
async def test_the_end_of_what_was_spawned_beside_the_tree_is_not_the_end_of_the_system() -> None:
    async with ActorSystem(fragile(Part())) as system:
        guest = await system.spawn(supervisor("guests", Part("guest").spec(), max_restarts=0))
        for _ in range(10):
            if guest.status == "running":
                system.lookup("guests/guest", Player).tell(Flat(what=boom))
            await settle()
        assert guest.status == "stopped"
        assert system.lookup("root/player", Player).status == "running"


@pytest.mark.parametrize("kind", [Call, Flat])
@pytest.mark.asyncio
async def test_system_stop_from_a_handler_returns_at_once_and_the_handler_ends_first(kind: type[Call | Flat]) -> None:
    journal: list[str] = []
    a, b = Part("a", journal), Part("b", journal)

    def stop_all(actor: Player) -> None:
        assert actor.context.system.stop() is None
        journal.append("stop requested")

    async with ActorSystem(fragile(a, b)) as system:
        journal.clear()
        system.lookup("root/a", Player).tell(kind(what=stop_all))
        await system.wait_stopped()
        assert journal == ["stop requested", "b stops", "b down", "a stops", "a down"]


@pytest.mark.asyncio
async def test_a_handler_that_stops_the_system_may_still_reply() -> None:
    async def stop_and_work_on(actor: Player) -> str:
        actor.context.system.stop()
        await asyncio.sleep(1.0)
        return "done"

    part = Part()
    async with ActorSystem(part.spec()) as system:
        assert await system.lookup("player", Player).ask(Call(what=stop_and_work_on)) == "done"
        await system.wait_stopped()


@pytest.mark.asyncio
async def test_waiting_for_the_end_of_a_system_that_runs_waits() -> None:
    async with ActorSystem(Part().spec()) as system:
        waiting = asyncio.ensure_future(system.wait_stopped())
        await asyncio.sleep(100)
        assert not waiting.done()
        system.stop()
        await waiting


@pytest.mark.asyncio
async def test_nothing_can_be_spawned_in_a_system_that_has_stopped() -> None:
    part = Part()
    async with ActorSystem() as system:
        system.stop()
        await system.wait_stopped()
        with pytest.raises(Exception, match=r"(?i)stop"):
            await system.spawn(part.spec())
    assert part.starts == 0


# A start that fails.


@pytest.mark.asyncio
async def test_the_body_is_entered_when_the_whole_tree_has_started() -> None:
    a, b = Part("a", initialize=takes(1.0)), Part("b", initialize=takes(1.0))
    async with ActorSystem(supervisor("root", supervisor("inner", a.spec()), b.spec())) as system:
        assert now() == pytest.approx(2.0, abs=0.01)
        assert (a.journal[-1], b.journal[-1]) == ("a up", "b up")
        assert system.lookup("root", Supervisor).status == "running"


@pytest.mark.parametrize("where", ["construct", "initialize"])
@pytest.mark.asyncio
async def test_a_failing_start_raises_with_the_chain_and_leaves_nothing(where: str) -> None:
    journal: list[str] = []
    diary = Diary()
    a, b = Part("a", journal), Part("b", journal, **{where: boom})  # type: ignore[arg-type]
    c = Part("c", journal)
    entered = False
    before = asyncio.all_tasks()
    tree = supervisor("root", a.spec(), supervisor("inner", b.spec()), c.spec())
    with pytest.raises(StartError) as caught:
        async with ActorSystem(tree, instruments=[diary]):
            entered = True
    assert not entered
    assert (a.starts, b.starts, c.starts) == (1, 1, 0)
    assert journal[-2:] == ["a stops", "a down"]
    assert b.ends == []
    assert asyncio.all_tasks() == before
    assert me().cancelling() == 0
    chain: list[BaseException] = []
    error: BaseException | None = caught.value
    while error is not None:
        chain.append(error)
        error = error.__cause__
    assert isinstance(chain[-1], Boom)
    told = " ".join(map(str, chain))
    for path in ("/user/root", "/user/root/inner", "/user/root/inner/b"):
        assert path in told
    assert isinstance(caught.value.reason, StartFailed)


@pytest.mark.asyncio
async def test_a_start_that_fails_is_not_tried_again() -> None:
    part = Part(initialize=boom)
    with pytest.raises(StartError):
        async with ActorSystem(part.spec()):
            pytest.fail("the body must not be entered")
    assert part.starts == 1


@pytest.mark.asyncio
async def test_a_cancel_during_the_start_stops_what_has_started() -> None:
    gate = Gate()
    a, b = Part("a"), Part("b", initialize=gate)

    async def main() -> None:
        async with ActorSystem(fragile(a, b)):
            pytest.fail("the body must not be entered")

    task = asyncio.ensure_future(main())
    await gate.reached.wait()
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert a.journal[-1] == "a down"
    assert len(gate.cancelled_at) == 1
    assert asyncio.all_tasks() == {me()}


# Restarts are seen.


@pytest.mark.asyncio
async def test_every_restart_is_an_event_and_a_counter() -> None:
    part = Part()
    async with staged(part.spec(), max_restarts=10) as stage:
        for number in range(1, 6):
            stage["player"].tell(Flat(what=boom))
            await settle()
            assert len(stage.diary.restarting) == number
            assert stage.system.statistics().restarted == number
            assert stage.system.statistics().crashed == number


@pytest.mark.asyncio
async def test_every_restart_is_a_line_in_the_log_with_the_error_and_its_place() -> None:
    part = Part()
    with structlog.testing.capture_logs() as lines:
        async with staged(part.spec(), max_restarts=10) as stage:
            stage["player"].tell(Flat(what=boom))
            await asyncio.sleep(5)
    told = [line for line in lines if "/user/top/player" in str(line) and "Boom" in str(line)]
    assert len(told) >= 1
    assert any(line["log_level"] in ("warning", "error") for line in told)
    assert any("boom" in str(line) for line in told)


@pytest.mark.asyncio
async def test_equal_crashes_of_one_child_within_a_second_become_one_line_with_a_count() -> None:
    part = Part()
    with structlog.testing.capture_logs() as lines:
        async with staged(part.spec(), max_restarts=1000) as stage:
            for _ in range(50):
                stage["player"].tell(Flat(what=boom))
            await asyncio.sleep(5)
            assert stage.system.statistics().crashed == 50
    told = [line for line in lines if "/user/top/player" in str(line) and "Boom" in str(line)]
    assert 1 <= len(told) <= 2
    assert any("50" in str(line) or "49" in str(line) for line in told)


class Program(Supervisor):
    max_restarts = 0

    def children(self) -> list[ChildSpec[Any]]:
        return [child(Player, Part("leaf")).options(name="leaf")]


@pytest.mark.asyncio
async def test_a_supervisor_class_collapses_like_any_tree() -> None:
    with pytest.raises(SystemCollapsed) as caught:
        async with ActorSystem(Program) as system:
            system.lookup("program/leaf", Player).tell(Call(what=boom))
            await asyncio.sleep(1000)
    assert caught.value.path == "/user/program"


# Systems among other scopes.


@pytest.mark.asyncio
async def test_a_collapse_reaches_its_own_body_through_scopes_of_the_user() -> None:
    with pytest.raises(SystemCollapsed):
        async with ActorSystem(fragile(Part())) as system:
            asyncio.get_running_loop().call_later(1.0, system.lookup("root/player", Player).tell, Flat(what=boom))
            async with asyncio.timeout(100), asyncio.TaskGroup() as group:
                group.create_task(asyncio.sleep(1000))
                await asyncio.sleep(1000)
    assert now() < 2
    assert me().cancelling() == 0


@pytest.mark.parametrize("delay", [0.999, 1.0, 1.001])
@pytest.mark.asyncio
async def test_a_timeout_outside_that_meets_a_collapse_hides_nothing(delay: float) -> None:
    with pytest.raises((SystemCollapsed, TimeoutError, BaseExceptionGroup)):
        async with asyncio.timeout(1.0):
            async with ActorSystem(fragile(Part())) as system:
                asyncio.get_running_loop().call_later(delay, system.lookup("root/player", Player).tell, Flat(what=boom))
                await asyncio.sleep(1000)
    assert now() < 2
    assert me().cancelling() == 0
    await asyncio.sleep(100)  # no cancel is left over


@pytest.mark.asyncio
async def test_a_system_in_a_task_group_is_stopped_in_good_order_when_its_neighbour_fails() -> None:
    part = Part(shutdown=takes(1.0))

    async def with_a_system() -> None:
        async with ActorSystem(part.spec()):
            await asyncio.sleep(1000)

    async def neighbour() -> None:
        await asyncio.sleep(1.0)
        raise LookupError

    with pytest.raises(ExceptionGroup) as caught:
        async with asyncio.TaskGroup() as group:
            group.create_task(with_a_system())
            group.create_task(neighbour())
    assert [type(error) for error in caught.value.exceptions] == [LookupError]
    assert part.journal[-1] == "player down"
    assert now() == pytest.approx(2.0, abs=0.01)


@pytest.mark.asyncio
async def test_the_collapse_of_an_inner_system_is_no_affair_of_the_outer_one() -> None:
    async with ActorSystem(Part("outer").spec()) as outer:
        with pytest.raises(SystemCollapsed) as caught:
            async with ActorSystem(fragile(Part()), name="inner") as inner:
                inner.lookup("root/player", Player).tell(Flat(what=boom))
                await asyncio.sleep(1000)
        assert caught.value.system == "inner"
        await asyncio.sleep(10)
        assert await outer.lookup("outer", Player).ask(Flat(what=lambda actor: "untouched")) == "untouched"
    assert me().cancelling() == 0


@pytest.mark.asyncio
async def test_the_collapse_of_an_outer_system_stops_an_inner_one_in_good_order() -> None:
    part = Part("inner", shutdown=takes(1.0))
    left: list[str] = []
    with pytest.raises(SystemCollapsed) as caught:
        async with ActorSystem(fragile(Part()), name="outer") as outer:
            async with ActorSystem(part.spec(), name="inner"):
                outer.lookup("root/player", Player).tell(Flat(what=boom))
                await asyncio.sleep(1000)
            left.append("the inner body was left as if nothing had been")
    assert caught.value.system == "outer"
    assert left == []  # the cancel went through
    assert part.journal[-1] == "inner down"
    assert me().cancelling() == 0


@pytest.mark.asyncio
async def test_both_may_collapse_at_once() -> None:
    with pytest.raises((SystemCollapsed, BaseExceptionGroup)):
        async with (
            ActorSystem(fragile(Part()), name="outer") as outer,
            ActorSystem(fragile(Part()), name="inner") as inner,
        ):
            for system in (outer, inner):
                system.lookup("root/player", Player).tell(Flat(what=boom))
            await asyncio.sleep(1000)
    assert now() < 1
    assert me().cancelling() == 0
    await asyncio.sleep(100)


@pytest.mark.asyncio
async def test_two_systems_beside_one_another_do_not_touch() -> None:
    first, second = Part("same"), Part("same")
    async with ActorSystem(first.spec()) as one, ActorSystem(second.spec()) as two:
        one.lookup("same", Player).tell(Note(number=1))
        two.lookup("same", Player).tell(Note(number=2))
        one.stop()
        await one.wait_stopped()
        assert two.lookup("same", Player).status == "running"
        await settle()
    assert (first.notes, second.notes) == ([1], [2])


@pytest.mark.asyncio
async def test_a_system_can_be_used_once() -> None:
    system = ActorSystem(Part().spec())
    async with system:
        pass
    with pytest.raises(Exception, match=r"(?i)once|again|used"):
        async with system:
            pytest.fail("the body must not be entered")


@pytest.mark.asyncio
async def test_a_stop_in_the_tick_of_a_crash_that_would_be_the_collapse_ends_the_system_either_way() -> None:
    for order in (0, 1):
        part = Part()
        try:
            async with ActorSystem(fragile(part)) as system:
                acts = [lambda: system.lookup("root/player", Player).tell(Flat(what=boom)), system.stop]
                for act in acts if order else reversed(acts):
                    act()
                await system.wait_stopped()
        except SystemCollapsed:
            pass
        assert part.starts == 1
        assert me().cancelling() == 0
