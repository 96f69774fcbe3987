"""The story of a run, as it is told to people."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.testing.sim_stage import Add, Slow, Sum, once
from understudy import child
from understudy.testing import Faults
from understudy.testing._simulation import Simulation
from understudy.testing._story import Story
from understudy.testing._strategies import Pos


def told(test: Any, **options: Any) -> list[str]:
    return list(once(test, story=True, **options).story)


def index(lines: list[str], part: str) -> int:
    (found,) = [number for number, line in enumerate(lines) if part in line]
    return found


async def small(sim: Simulation) -> None:
    ref = await sim.system.spawn(child(Sum).options(name="sum"))

    async def client() -> None:
        ref.tell(Add(amount=7))
        ref.tell(Slow(amount=3))

    await asyncio.create_task(client(), name="the client")
    await sim.clock.advance(1)
    ref.stop()
    ref.tell(Add(amount=9))
    await ref.wait_stopped()


def test_it_tells_who_started_sent_handled_crashed_and_ended_in_order() -> None:
    lines = told(small)
    order = [
        index(lines, part)
        for part in (
            "the client sends /user/sum Add(amount=7)",
            "/user/sum handles Add(amount=7)",
            "/user/sum crashes: ",
            "/user/sum is restarted",
            "/user/sum has started, incarnation 2",
            "Add(amount=9) for /user/sum becomes a dead letter",
            "/user/sum has ended for good",
        )
    ]
    assert order == sorted(order)
    assert "ValueError" in lines[order[2]]


def test_it_does_not_tell_what_is_the_same_in_every_run() -> None:
    lines = told(small)
    assert not any("/system/" in line and ("sends" in line or "handles" in line) for line in lines)
    assert lines[0].strip() == "/user/sum has started"
    assert not any("system is running" in line for line in lines)


def test_the_undisturbed_run_has_no_unusual_choice() -> None:
    assert not any(line.startswith("*") for line in told(small))


def test_what_came_out_of_its_turn_is_marked() -> None:
    async def test(sim: Simulation) -> None:
        async def one() -> None:
            await asyncio.sleep(0)

        async with asyncio.TaskGroup() as group:
            group.create_task(one(), name="first")
            group.create_task(one(), name="second")

    for seed in range(20):
        outcome = once(test, Pos(seed), seed=seed, story=True, system=False)
        if outcome.made:
            assert any(line.startswith("* ") for line in outcome.story)
            break
    else:
        raise AssertionError("nothing unusual happened")


def test_it_ends_with_the_failure_and_not_with_the_putting_away() -> None:
    async def test(sim: Simulation) -> None:
        await sim.system.spawn(child(Sum).options(name="sum"))
        raise ValueError("the end")

    lines = told(test)
    assert lines[-1].strip() == "the test fails: ValueError: the end"


def test_a_fault_is_told() -> None:
    lines: list[str] = []
    for seed in range(20):
        lines += told(small, chosen=Pos(seed), seed=seed, faults=Faults(crash=0.5, cancel=0.5))
    assert any("somebody cancels the task of /user/sum" in line for line in lines)
    assert any("injected" in line for line in lines)


def test_a_long_story_begins_with_how_much_was_left_out() -> None:
    story = Story()
    story.open = True
    for number in range(100):
        story.line(f"line {number}")
    lines = story.told(last=10)
    assert lines[0] == "... 90 lines before"
    assert [line.strip() for line in lines[1:]] == [f"line {number}" for number in range(90, 100)]
    assert len(story.told(last=100)) == 100


def test_a_line_is_one_line_and_not_too_long() -> None:
    story = Story()
    story.open = True
    story.line("a\nb\t c")
    story.line("x" * 5000)
    first, second = story.told()
    assert first.strip() == "a b c"
    assert len(second) < 200
    assert second.endswith("...")


def test_a_message_that_cannot_be_shown_does_not_change_the_run() -> None:
    class Shy:
        def __repr__(self) -> str:
            raise RuntimeError("do not look")

    async def test(sim: Simulation) -> None:
        ref = await sim.system.spawn(child(Sum).options(name="sum"))
        ref.tell(Shy())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        await sim.quiesce()

    silent, loud = once(test), once(test, story=True)
    assert silent.error is None
    assert loud.error is None
    assert loud.digest == silent.digest
