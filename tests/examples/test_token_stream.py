"""The example of the streams: it ends by itself, and its model is one that can be asked."""

from __future__ import annotations

import pytest

from examples.token_stream.actors import Model, Tokens
from examples.token_stream.program import TokenStream
from tests.cast import Recorder
from tests.examples.stage import EXAMPLES, commands
from understudy import ActorSystem


@pytest.mark.asyncio
async def test_it_ends_by_itself_and_nobody_but_the_model_has_crashed(capsys: pytest.CaptureFixture[str]) -> None:
    recorder = Recorder()
    async with ActorSystem(TokenStream, instruments=[recorder]) as system:
        await system.wait_stopped()
    assert [path for path, *_ in recorder.of("actor_crashed")] == ["/user/token_stream/model"] * 2
    assert recorder.letters == []
    printed = capsys.readouterr().out.splitlines()
    shown = commands(EXAMPLES / "token_stream" / "README.md")["understudy run examples/token_stream"]
    assert [line for line in shown.splitlines() if line not in printed] == []


@pytest.mark.asyncio
async def test_the_model_says_the_prompt_backwards() -> None:
    async with ActorSystem() as system:
        model = await system.spawn(Model)
        assert [word async for word in model.stream(Tokens(prompt="a b c"))] == ["c", "b", "a"]
