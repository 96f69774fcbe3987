"""S6: children that start at once, but for those that depend on others; stops run the other way round."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.guarantees.cast_of_supervision import STUBBORN, Boom, Flat, Gate, Part, Player, boom, now, settle, takes
from tests.guarantees.cast_of_trees import first, later, listed, only, staged
from understudy import (
    ActorSystem,
    ChildSpec,
    InvalidSpec,
    StartError,
    Supervisor,
    child,
    supervisor,
)
from understudy.testing import Faults, Simulation, simulate

DIAMOND: dict[str, list[str]] = {"a": [], "b": ["a"], "c": ["a"], "d": ["b", "c"], "x": []}


def nothing(*_: object) -> None:
    """Nothing happens."""


def parts_of(after: dict[str, list[str]], journal: list[str], **hooks: Any) -> dict[str, Part]:
    return {name: Part(name, journal, **hooks) for name in after}


def specs_of(after: dict[str, list[str]], parts: dict[str, Part], **options: Any) -> list[ChildSpec[Any]]:
    return [
        part.spec(**options, **({"depends_on": after[name]} if after[name] else {})) for name, part in parts.items()
    ]


# Starts


@pytest.mark.asyncio
async def test_all_children_start_at_once() -> None:
    parts = [Part(f"c{number}", initialize=takes(1.0)) for number in range(100)]
    async with staged(*(part.spec() for part in parts), parallel_start=True) as stage:
        assert now() == pytest.approx(1.0, abs=0.01)
        assert set((await listed(stage.top)).values()) == {"running"}


@pytest.mark.asyncio
async def test_without_parallel_start_they_start_one_after_the_other() -> None:
    async with staged(*(Part(f"c{number}", initialize=takes(1.0)).spec() for number in range(5))):
        assert now() == pytest.approx(5.0, abs=0.01)


@pytest.mark.asyncio
async def test_a_child_waits_for_those_it_depends_on_and_for_nobody_else() -> None:
    journal: list[str] = []
    gates = {name: Gate() for name in DIAMOND}
    parts = {name: Part(name, journal, initialize=gates[name]) for name in DIAMOND}
    tree = supervisor("top", *specs_of(DIAMOND, parts), parallel_start=True)
    async with ActorSystem() as system:
        spawning = asyncio.ensure_future(system.spawn(tree))
        await settle()
        assert journal == ["a starts", "x starts"]
        gates["a"].open()
        await settle()
        assert journal[2:] == ["a up", "b starts", "c starts"]
        gates["b"].open()
        await asyncio.sleep(1)
        assert journal[5:] == ["b up"]  # d waits for c as well
        gates["c"].open()
        await settle()
        assert journal[6:] == ["c up", "d starts"]
        gates["d"].open()
        await settle()
        assert not spawning.done()  # x has never been waited for by anybody but the supervisor
        gates["x"].open()
        await spawning
        assert journal[-1] == "x up"


@pytest.mark.asyncio
async def test_a_child_may_depend_on_one_that_is_declared_later() -> None:
    journal: list[str] = []
    after = {"a": ["b"], "b": []}
    parts = parts_of(after, journal)
    async with staged(*specs_of(after, parts), parallel_start=True):
        assert journal == ["b starts", "b up", "a starts", "a up"]


# Stops


@pytest.mark.asyncio
async def test_who_depends_by_way_of_one_that_has_ended_for_good_still_stops_first() -> None:
    journal: list[str] = []
    gate = Gate()
    after = {"a": [], "b": ["a"], "c": ["b"]}
    parts = {"a": Part("a", journal), "b": Part("b", journal), "c": Part("c", journal, shutdown=gate)}
    async with staged(*specs_of(after, parts, restart="transient"), parallel_start=True) as stage:
        stage["b"].stop()
        await stage["b"].wait_stopped()
        journal.clear()
        stage.top.stop()
        await settle()
        assert journal == ["c stops"]
        gate.open()
        await settle()
        assert journal == ["c stops", "c down", "a stops", "a down"]


@pytest.mark.asyncio
async def test_stops_run_in_reverse_of_the_dependencies_independent_ones_at_once() -> None:
    journal: list[str] = []
    gates = {name: Gate() for name in DIAMOND}
    parts = {name: Part(name, journal, shutdown=gates[name]) for name in DIAMOND}
    async with staged(*specs_of(DIAMOND, parts), parallel_start=True) as stage:
        journal.clear()
        stage.top.stop()
        await settle()
        assert sorted(journal) == ["d stops", "x stops"]
        gates["x"].open()
        await settle()
        assert sorted(journal) == ["d stops", "x down", "x stops"]
        gates["d"].open()
        await settle()
        assert sorted(journal[3:]) == ["b stops", "c stops", "d down"]
        gates["b"].open()
        await settle()
        assert journal[-1] == "b down"
        gates["c"].open()
        await settle()
        assert journal[-2:] == ["c down", "a stops"]
        gates["a"].open()
        await stage.top.wait_stopped()


@pytest.mark.asyncio
async def test_independent_children_need_the_longest_of_their_times_to_stop() -> None:
    parts = [Part(f"c{number}", shutdown=takes(1.0)) for number in range(50)]
    async with staged(*(part.spec() for part in parts), parallel_start=True) as stage:
        stage.top.stop()
        await stage.top.wait_stopped()
        assert now() == pytest.approx(1.0, abs=0.01)


@simulate(schedules=40, faults=Faults(stall=0.0))
async def test_any_graph_starts_and_stops_by_its_dependencies(sim: Simulation) -> None:
    names = [f"n{number}" for number in range(sim.random.randint(1, 8))]
    after = {
        name: sim.random.sample(names[:index], sim.random.randint(0, min(index, 3))) for index, name in enumerate(names)
    }
    journal: list[str] = []
    parts = {
        name: Part(
            name, journal, initialize=takes(sim.random.choice([0, 0.1])), shutdown=takes(sim.random.choice([0, 0.1]))
        )
        for name in names
    }
    specs = specs_of(after, parts)
    sim.random.shuffle(specs)
    top: Any = await sim.system.spawn(supervisor("top", *specs, parallel_start=True))
    assert set(await listed(top)) == set(names)
    at = {step: number for number, step in enumerate(journal)}
    for name, others in after.items():
        for other in others:
            assert at[f"{other} up"] < at[f"{name} starts"], journal
    journal.clear()
    top.stop()
    await top.wait_stopped()
    at = {step: number for number, step in enumerate(journal)}
    assert len(at) == 2 * len(names)
    for name, others in after.items():
        for other in others:
            assert at[f"{name} down"] < at[f"{other} stops"], journal


# Failures


@pytest.mark.asyncio
async def test_the_first_failed_start_cancels_the_others_waits_for_them_and_stops_those_that_are_up_in_reverse() -> (
    None
):
    journal: list[str] = []
    hanging, slow = Gate(), Gate(resists=1)

    async def fail(actor: object) -> None:
        await asyncio.sleep(3)
        raise ValueError("no port")

    hooks: dict[str, Any] = {"a": takes(2), "b": takes(1), "bad": fail, "hanging": hanging, "slow": slow}
    parts = {name: Part(name, journal, initialize=hook) for name, hook in hooks.items()}
    parts["waiting"] = Part("waiting", journal)
    specs = [part.spec(**({"depends_on": ["bad"]} if name == "waiting" else {})) for name, part in parts.items()]
    async with ActorSystem() as system:
        with pytest.raises(StartError) as caught:
            await system.spawn(supervisor("top", *specs, parallel_start=True))
        assert "/user/top/bad" in str(caught.value)
        assert "no port" in str(caught.value)
        assert parts["waiting"].starts == 0
        assert (len(hanging.cancelled_at), hanging.passed) == (1, 0)
        assert [time == pytest.approx(3.0, abs=0.01) for time in hanging.cancelled_at] == [True]
        # b came up first, so it goes last; those that never came up have no hook to run.
        stops = [step for step in journal if "stops" in step or "down" in step]
        assert stops == ["a stops", "a down", "b stops", "b down"]
        assert len(slow.cancelled_at) == 2
        assert system.find("top", Supervisor) is None


@pytest.mark.asyncio
async def test_those_that_are_up_are_told_only_when_those_that_were_starting_have_gone() -> None:
    journal: list[str] = []
    stubborn = Gate(resists=STUBBORN)
    a, bad = Part("a", journal), Part("bad", journal, initialize=lambda actor: takes_and_fails())
    slow = Part("slow", journal, initialize=stubborn)

    async def takes_and_fails() -> None:
        await asyncio.sleep(1)
        boom()

    async with ActorSystem() as system:
        tree = supervisor("top", a.spec(), bad.spec(), slow.spec(), parallel_start=True)
        spawning = asyncio.ensure_future(system.spawn(tree))
        await asyncio.sleep(1.5)
        assert a.ends == []
        with pytest.raises(StartError):
            await spawning
        assert now() == pytest.approx(2.0, abs=0.01)  # abandoned a second later
        assert len(a.ends) == 1
        stubborn.open()
        await settle()


@pytest.mark.asyncio
async def test_a_stop_during_a_parallel_start_ends_all() -> None:
    gates = [Gate() for _ in range(5)]
    parts = [Part(f"c{number}", initialize=gate) for number, gate in enumerate(gates)]
    up = Part("up")
    async with ActorSystem() as system:
        tree = supervisor("top", up.spec(), *(part.spec() for part in parts), parallel_start=True)
        spawning = asyncio.ensure_future(system.spawn(tree))
        await settle()
        spawning.cancel()
        await settle()
        assert [len(gate.cancelled_at) for gate in gates] == [1] * 5
        assert len(up.ends) == 1
        assert system.find("top", Supervisor) is None


@pytest.mark.asyncio
async def test_a_failed_restart_of_a_parallel_supervisor_is_tried_again_as_a_whole() -> None:
    a, b = Part("a"), Part("b", initialize=lambda actor: boom() if actor.incarnation == 2 else None)
    inner = supervisor("inner", a.spec(), b.spec(), parallel_start=True, max_restarts=0)
    async with staged(inner) as stage:
        refs = [stage["inner/a"], stage["inner/b"]]
        refs[0].tell(Flat(what=boom))
        await settle()
        assert {ref.status for ref in refs} == {"running"}
        assert b.starts == 3
        assert [stage["inner/a"], stage["inner/b"]] == refs


# Groups


@pytest.mark.parametrize(
    ("failed", "expected"),
    [("a", {"a", "b", "c", "d"}), ("b", {"b", "d"}), ("c", {"c", "d"}), ("d", {"d"}), ("x", {"x"})],
)
@pytest.mark.asyncio
async def test_rest_for_one_means_those_that_depend_on_it_directly_or_not(failed: str, expected: set[str]) -> None:
    journal: list[str] = []
    parts = parts_of(DIAMOND, journal)
    specs = specs_of(DIAMOND, parts)
    async with staged(*specs, parallel_start=True, strategy="rest_for_one", max_restarts=1) as stage:
        journal.clear()
        stage[failed].tell(Flat(what=boom))
        await settle()
        assert {name for name, part in parts.items() if part.starts == 2} == expected
        assert set((await listed(stage.top)).values()) == {"running"}
        at = {step: number for number, step in enumerate(journal)}
        for name in expected:
            for other in set(DIAMOND[name]) & expected:
                assert at[f"{other} up"] < at[f"{name} starts"]
                if other != failed:
                    assert at[f"{name} down"] < at[f"{other} stops"]


@pytest.mark.asyncio
async def test_one_for_all_restarts_at_once_what_does_not_depend_on_another() -> None:
    parts = [Part(f"c{number}", initialize=later(takes(1.0)), shutdown=first(takes(1.0))) for number in range(20)]
    async with staged(*(part.spec() for part in parts), parallel_start=True, strategy="one_for_all") as stage:
        stage["c7"].tell(Flat(what=boom))
        await asyncio.sleep(2.9)
        assert {part.starts for part in parts} == {2}
        assert "restarting" in (await listed(stage.top)).values()
        await asyncio.sleep(0.2)  # a second for the failed one, one for the others, one for all to start
        assert set((await listed(stage.top)).values()) == {"running"}


@pytest.mark.asyncio
async def test_one_for_one_restarts_only_the_failed_one_whatever_depends_on_it() -> None:
    parts = parts_of(DIAMOND, [])
    async with staged(*specs_of(DIAMOND, parts), parallel_start=True) as stage:
        stage["a"].tell(Flat(what=boom))
        await settle()
        assert {name: part.starts for name, part in parts.items()} == {"a": 2, "b": 1, "c": 1, "d": 1, "x": 1}


@pytest.mark.parametrize("slow", [False, True], ids=["up", "still starting"])
@pytest.mark.asyncio
async def test_a_member_that_fails_to_start_leaves_those_alone_that_do_not_depend_on_it(slow: bool) -> None:
    parts = parts_of(DIAMOND, [])
    gate = Gate()
    parts["b"].initialize = only(2, boom)
    parts["c"].initialize = only(2, gate if slow else nothing)
    specs = specs_of(DIAMOND, parts)
    async with staged(*specs, parallel_start=True, strategy="rest_for_one", max_restarts=2) as stage:
        stage["a"].tell(Flat(what=boom))
        await settle()
        assert gate.cancelled_at == []
        gate.open()
        await settle()
        assert set((await listed(stage.top)).values()) == {"running"}
        assert {name: part.starts for name, part in parts.items()} == {"a": 2, "b": 3, "c": 2, "d": 2, "x": 1}


# Refused


@pytest.mark.parametrize(
    ("after", "words"),
    [
        ({"a": ["nobody"]}, ["'a'", "nobody"]),
        ({"a": ["a"]}, ["circle", "a -> a"]),
        ({"a": ["b"], "b": ["c"], "c": ["a"]}, ["circle", "->"]),
        ({"x": [], "a": ["x", "b"], "b": ["a"]}, ["circle"]),
    ],
    ids=str,
)
def test_unknown_names_and_circles_are_refused_where_they_are_declared(
    after: dict[str, list[str]], words: list[str]
) -> None:
    parts = parts_of(after, [])
    with pytest.raises(InvalidSpec) as caught:
        supervisor("top", *specs_of(after, parts), parallel_start=True)
    assert caught.value.field == "depends_on"
    for word in words:
        assert word in str(caught.value)
    assert {part.starts for part in parts.values()} == {0}


def test_depends_on_without_parallel_start_is_refused() -> None:
    with pytest.raises(InvalidSpec, match="parallel_start") as caught:
        supervisor("top", Part("a").spec(), Part("b").spec(depends_on=["a"]))
    assert caught.value.field == "depends_on"
    assert "'b'" in str(caught.value)


@pytest.mark.asyncio
async def test_a_class_whose_children_cannot_be_ordered_does_not_start_any_of_them() -> None:
    a, b = Part("a"), Part("b")

    class Knot(Supervisor):
        parallel_start = True

        def children(self) -> list[ChildSpec[Any]]:
            return [a.spec(depends_on=["b"]), b.spec(depends_on=["a"])]

    async with ActorSystem() as system:
        with pytest.raises(StartError, match="circle"):
            await system.spawn(child(Knot))
    assert (a.starts, b.starts) == (0, 0)


@pytest.mark.asyncio
async def test_default_names_can_be_depended_on() -> None:
    one, two = Part("one"), Part("two")
    specs = [child(Player, one), child(Player, two).options(depends_on=["player"])]
    async with staged(*specs, parallel_start=True) as stage:
        assert await listed(stage.top) == {"player": "running", "player-2": "running"}


# What happens meanwhile


@pytest.mark.asyncio
async def test_a_child_that_crashes_while_its_siblings_still_start_is_restarted() -> None:
    gate = Gate()
    a, b = Part("a"), Part("b", initialize=gate)
    async with ActorSystem() as system:
        tree = supervisor("top", a.spec(), b.spec(), parallel_start=True)
        spawning = asyncio.ensure_future(system.spawn(tree))
        await gate.reached.wait()
        system.lookup("top/a", Player).tell(Flat(what=boom))
        await settle()
        gate.open()
        await spawning
        await settle()
        assert (a.starts, b.starts) == (2, 1)
        assert system.lookup("top/a", Player).status == "running"


@pytest.mark.parametrize("strategy", ["one_for_all", "rest_for_one"])
@pytest.mark.asyncio
async def test_a_crash_in_a_group_that_still_starts_is_decided_when_it_is_complete(strategy: Any) -> None:
    gate = Gate()
    a, b, c = Part("a"), Part("b", initialize=first(gate)), Part("c")
    async with ActorSystem() as system:
        tree = supervisor(
            "top",
            a.spec(),
            b.spec(),
            c.spec(depends_on=["a"]),
            parallel_start=True,
            strategy=strategy,
        )
        spawning = asyncio.ensure_future(system.spawn(tree))
        await gate.reached.wait()
        system.lookup("top/a", Player).tell(Flat(what=boom))
        await settle()
        gate.open()
        await spawning
        await settle()
        assert (a.starts, c.starts) == (2, 2)
        assert b.starts == (2 if strategy == "one_for_all" else 1)


@pytest.mark.asyncio
async def test_an_added_child_may_not_depend_on_others_yet_and_starts_at_once() -> None:
    gate = Gate()
    async with staged(Part("a", initialize=later(gate)).spec(), parallel_start=True) as stage:
        x = await stage.top.start_child(Part("x").spec())
        assert x.status == "running"
        stage.top.stop()
        await stage.top.wait_stopped()


@pytest.mark.asyncio
async def test_one_that_is_down_while_others_stop_before_it_ends_at_once_when_it_is_stopped() -> None:
    a, b = Part("a"), Part("b", shutdown=takes(1.0))
    inner = supervisor(
        "inner", a.spec(on_failure={Boom: "escalate"}), b.spec(depends_on=["a"], shutdown=5.0), parallel_start=True
    )
    async with staged(inner) as stage:
        ref = stage["inner/a"]
        ref.tell(Flat(what=boom))
        await settle()
        assert ref.status == "restarting"  # with its supervisor, when b has stopped
        began = now()
        ref.stop()
        await ref.wait_stopped()
        assert (now(), b.starts) == (began, 1)
        await asyncio.sleep(2.0)
        assert (a.starts, b.starts) == (2, 2)
        assert ref.status == "stopped"
        assert stage["inner/a"] != ref
