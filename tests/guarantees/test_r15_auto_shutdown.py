"""R15: the end of significant children by themselves may end their supervisor, orderly."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from tests.guarantees.cast_of_supervision import Boom, Flat, Gate, Part, boom, settle, stop_yourself
from tests.guarantees.cast_of_trees import guest, listed, staged
from understudy import (
    ActorSystem,
    Ignore,
    InvalidSpec,
    Shutdown,
    StartError,
    Supervisor,
    child,
    supervisor,
)

Act = Callable[[Any], object]


def tell(what: Callable[..., object]) -> Act:
    return lambda ref: ref.tell(Flat(what=what))


def kill(ref: Any) -> None:
    ref.kill()


BY_ITSELF = [
    ("transient", tell(stop_yourself)),
    ("temporary", tell(stop_yourself)),
    ("temporary", tell(boom)),
    ("temporary", kill),
]
IDS = ["transient ends normally", "temporary ends normally", "temporary crashes", "temporary is killed"]


@pytest.mark.parametrize(("restart", "act"), BY_ITSELF, ids=IDS)
@pytest.mark.asyncio
async def test_any_significant_the_first_that_ends_by_itself_ends_the_supervisor(restart: Any, act: Act) -> None:
    journal: list[str] = []
    a, b, c = (Part(name, journal) for name in "abc")
    specs = [a.spec(), b.spec(significant=True, restart=restart), c.spec(significant=True, restart=restart)]
    async with staged(*specs, auto_shutdown="any_significant", restart="permanent") as stage:
        journal.clear()
        act(stage["b"])
        await settle()
        assert [step for step in journal if not step.startswith("b")] == ["c stops", "c down", "a stops", "a down"] or (
            # The top is permanent, so its parent starts it again: only the way down is looked at.
            journal.index("c down") < journal.index("a stops")
        )
        assert stage.diary.given_up == []


@pytest.mark.parametrize(("restart", "act"), BY_ITSELF, ids=IDS)
@pytest.mark.asyncio
async def test_the_reason_is_a_shutdown_which_is_no_failure(restart: Any, act: Act) -> None:
    a, b = Part("a"), Part("b")
    specs = [a.spec(), b.spec(significant=True, restart=restart)]
    async with staged(*specs, auto_shutdown="any_significant", restart="transient") as stage:
        act(stage["b"])
        reason = await stage.top.wait_stopped()
        assert isinstance(reason, Shutdown)
        assert (a.starts, b.starts) == (1, 1)
        assert len(a.ends) == 1


@pytest.mark.asyncio
async def test_all_significant_the_last_that_ends_by_itself_ends_the_supervisor() -> None:
    parts = [Part(name) for name in "abcd"]
    specs = [parts[0].spec(), *(part.spec(significant=True, restart="transient") for part in parts[1:])]
    async with staged(*specs, auto_shutdown="all_significant") as stage:
        for name in "cb":
            stage[name].tell(Flat(what=stop_yourself))
            await settle()
            assert stage.top.status == "running"
        stage["d"].tell(Flat(what=stop_yourself))
        assert isinstance(await stage.top.wait_stopped(), Shutdown)


@pytest.mark.asyncio
async def test_all_significant_one_that_was_started_again_counts_again() -> None:
    a, b = Part("a"), Part("b")
    specs = [part.spec(significant=True, restart="transient") for part in (a, b)]
    async with staged(*specs, auto_shutdown="all_significant") as stage:
        stage["a"].tell(Flat(what=stop_yourself))
        await settle()
        await stage.top.restart_child("a")
        stage["b"].tell(Flat(what=stop_yourself))
        await settle()
        assert stage.top.status == "running"
        stage["a"].tell(Flat(what=stop_yourself))
        await stage.top.wait_stopped()


@pytest.mark.parametrize("rule", ["any_significant", "all_significant"])
@pytest.mark.asyncio
async def test_the_end_of_one_that_is_not_significant_means_nothing(rule: Any) -> None:
    a, b = Part("a"), Part("b")
    specs = [a.spec(restart="transient"), b.spec(significant=True, restart="transient")]
    async with staged(*specs, auto_shutdown=rule) as stage:
        stage["a"].tell(Flat(what=stop_yourself))
        await settle()
        assert await listed(stage.top) == {"a": "stopped", "b": "running"}


@pytest.mark.parametrize("rule", ["any_significant", "all_significant"])
@pytest.mark.parametrize("how", ["terminate_child", "stop", "drain"])
@pytest.mark.parametrize("restart", ["transient", "temporary"])
@pytest.mark.asyncio
async def test_an_end_that_was_asked_for_means_nothing(rule: Any, how: str, restart: Any) -> None:
    a = Part("a")
    async with staged(a.spec(significant=True, restart=restart), auto_shutdown=rule) as stage:
        if how == "terminate_child":
            await stage.top.terminate_child("a")
        else:
            getattr(stage["a"], how)()
        await settle()
        assert stage.top.status == "running"


@pytest.mark.asyncio
async def test_all_significant_one_ended_by_api_is_not_waited_for() -> None:
    """As in OTP: it is the last *active* one whose end matters."""
    a, b = Part("a"), Part("b")
    specs = [part.spec(significant=True, restart="transient") for part in (a, b)]
    async with staged(*specs, auto_shutdown="all_significant") as stage:
        await stage.top.terminate_child("a")
        assert stage.top.status == "running"
        stage["b"].tell(Flat(what=stop_yourself))
        assert isinstance(await stage.top.wait_stopped(), Shutdown)


@pytest.mark.parametrize("rule", ["any_significant", "all_significant"])
@pytest.mark.asyncio
async def test_a_restart_means_nothing(rule: Any) -> None:
    a = Part("a")
    async with staged(a.spec(significant=True, restart="transient"), auto_shutdown=rule) as stage:
        stage["a"].tell(Flat(what=boom))
        await settle()
        assert (a.starts, stage.top.status) == (2, "running")


@pytest.mark.parametrize("rule", ["any_significant", "all_significant"])
@pytest.mark.parametrize("restart", ["transient", "temporary"])
@pytest.mark.parametrize("strategy", ["one_for_all", "rest_for_one"])
@pytest.mark.asyncio
async def test_a_restart_of_the_group_means_nothing(rule: Any, restart: Any, strategy: Any) -> None:
    a, b = Part("a"), Part("b")
    specs = [a.spec(), b.spec(significant=True, restart=restart)]
    async with staged(*specs, auto_shutdown=rule, strategy=strategy) as stage:
        stage["a"].tell(Flat(what=boom))
        await settle()
        assert (a.starts, stage.top.status) == (2, "running")
        expected = {"a": "running", "b": "running"} if restart == "transient" else {"a": "running"}
        assert await listed(stage.top) == expected


@pytest.mark.parametrize("rule", ["any_significant", "all_significant"])
@pytest.mark.asyncio
async def test_one_that_wishes_not_to_run_means_nothing(rule: Any) -> None:
    a, b = Part("a", initialize=lambda actor: Ignore()), Part("b")
    specs = [guest(a, significant=True, restart="transient"), b.spec(significant=True, restart="transient")]
    async with staged(*specs, auto_shutdown=rule) as stage:
        assert await listed(stage.top) == {"a": "stopped", "b": "running"}


@pytest.mark.asyncio
async def test_by_default_nothing_ends_the_supervisor() -> None:
    a = Part("a")
    async with staged(a.spec(restart="transient")) as stage:
        stage["a"].tell(Flat(what=stop_yourself))
        await settle()
        assert stage.top.status == "running"


@pytest.mark.asyncio
async def test_an_added_significant_child_counts_too() -> None:
    async with staged(Part("a").spec(), auto_shutdown="any_significant") as stage:
        x = await stage.top.start_child(Part("x").spec(significant=True, restart="temporary"))
        x.tell(Flat(what=boom))
        assert isinstance(await stage.top.wait_stopped(), Shutdown)


@pytest.mark.asyncio
async def test_a_permanent_supervisor_is_restarted_by_its_parent_and_a_transient_one_is_not() -> None:
    parts = {kind: Part("a") for kind in ("permanent", "transient")}
    specs = [
        supervisor(kind, part.spec(significant=True, restart="temporary"), auto_shutdown="any_significant").options(
            restart=kind  # type: ignore[arg-type]
        )
        for kind, part in parts.items()
    ]
    async with staged(*specs) as stage:
        for kind in parts:
            stage[f"{kind}/a"].tell(Flat(what=boom))
        await settle()
        assert {kind: part.starts for kind, part in parts.items()} == {"permanent": 2, "transient": 1}
        assert await listed(stage.top) == {"permanent": "running", "transient": "stopped"}


@pytest.mark.asyncio
async def test_a_significant_supervisor_that_ends_so_ends_its_parent_in_turn() -> None:
    """As in OTP: an automatic shutdown goes up as long as supervisors are significant."""
    a = Part("a")
    inner = supervisor("inner", a.spec(significant=True, restart="temporary"), auto_shutdown="any_significant")
    async with staged(inner.options(significant=True, restart="transient"), auto_shutdown="any_significant") as stage:
        stage["inner/a"].tell(Flat(what=stop_yourself))
        assert isinstance(await stage.top.wait_stopped(), Shutdown)
        assert a.starts == 1


@pytest.mark.asyncio
async def test_the_root_that_ends_so_is_the_orderly_end_of_the_program() -> None:
    a = Part("a")
    tree = supervisor("root", a.spec(significant=True, restart="temporary"), auto_shutdown="any_significant")
    async with ActorSystem(tree) as system:
        system.lookup("root/a").tell(Flat(what=stop_yourself))
        await system.wait_stopped()
        body = "goes on"
    assert body == "goes on"


@pytest.mark.asyncio
async def test_others_may_take_their_time_to_stop() -> None:
    gate = Gate()
    a, b = Part("a", shutdown=gate), Part("b")
    specs = [a.spec(), b.spec(significant=True, restart="transient")]
    async with staged(*specs, auto_shutdown="any_significant") as stage:
        stage["b"].tell(Flat(what=stop_yourself))
        await gate.reached.wait()
        assert stage.top.status == "stopping"
        gate.open()
        await stage.top.wait_stopped()
        assert a.journal[-1] == "a down"


@pytest.mark.asyncio
async def test_a_directive_and_a_limit_of_its_own_are_ends_by_itself() -> None:
    for options in ({"on_failure": {Boom: "stop"}}, {"max_restarts": 0}):
        a = Part("a")
        spec = a.spec(significant=True, restart="transient", **options)
        async with staged(spec, auto_shutdown="any_significant") as stage:
            stage["a"].tell(Flat(what=boom))
            assert isinstance(await asyncio.wait_for(stage.top.wait_stopped(), 5), Shutdown)


# Refused


@pytest.mark.parametrize(
    ("options", "rule", "field"),
    [
        ({"significant": True, "restart": "permanent"}, "any_significant", "significant"),
        ({"significant": True}, "any_significant", "significant"),
        ({"significant": True, "restart": "transient"}, "never", "significant"),
        ({"significant": True, "restart": "temporary"}, "never", "significant"),
        ({}, "some_significant", "auto_shutdown"),
        ({}, None, "auto_shutdown"),
    ],
    ids=str,
)
def test_bad_combinations_are_refused_where_they_are_declared(options: dict[str, Any], rule: Any, field: str) -> None:
    with pytest.raises(InvalidSpec) as caught:
        supervisor("top", Part("a").spec(**options), auto_shutdown=rule)
    assert caught.value.field == field
    assert "top" in str(caught.value)


@pytest.mark.asyncio
async def test_bad_combinations_are_refused_in_a_class_and_by_start_child() -> None:
    a = Part("a")

    class Pool(Supervisor):
        def children(self) -> Any:
            return [a.spec(significant=True, restart="transient")]

    async with staged(Part("b").spec(), auto_shutdown="any_significant") as stage:
        with pytest.raises(StartError, match="auto_shutdown"):
            await stage.system.spawn(child(Pool))
        with pytest.raises(InvalidSpec):
            await stage.top.start_child(a.spec(significant=True))
    assert a.starts == 0
