"""The example of the strategies, scene by scene."""

from __future__ import annotations

import asyncio

import pytest

from examples.strategies.actors import Curtain, Director, Scene
from examples.strategies.program import SCENES, Strategies
from tests.cast import Recorder
from understudy import ActorNotFound, ActorSystem, Crashed, child


@pytest.mark.asyncio
async def test_only_those_that_the_strategy_concerns_are_restarted(capsys: pytest.CaptureFixture[str]) -> None:
    async with ActorSystem(Strategies) as system:
        await system.lookup("strategies/director", Director).wait_stopped()
    printed = capsys.readouterr().out.splitlines()
    titles = [scene.title for scene in SCENES]
    assert [line for line in printed if line in titles] == titles
    starts = [line.removeprefix("  start ") for line in printed if line.startswith("  start ")]
    assert {name for name in starts if starts.count(name) == 1} == {
        *("till-2", "reader", "parser", "writer", "cache", "web", "boiler", "turbine", "frame")
    }
    assert starts.count("pane") == 2


@pytest.mark.asyncio
async def test_a_scene_with_nobody_in_it_is_a_failure_of_the_director() -> None:
    ear = Recorder()
    async with ActorSystem(instruments=[ear]) as system:
        scene = Scene("nobody", "nobody", last="nobody")
        director = await system.spawn(child(Director, Curtain(), [scene]).options(restart="temporary"))
        async with asyncio.timeout(1.0):
            reason = await director.wait_stopped()
        assert isinstance(reason, Crashed)
        assert isinstance(reason.error, ActorNotFound)
