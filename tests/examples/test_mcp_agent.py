"""The example of an agent with an MCP server: only the session crashes, and the page shows what is printed."""

from __future__ import annotations

import pytest

from examples.mcp_agent.program import McpAgent
from tests.cast import Recorder
from tests.examples.stage import EXAMPLES, commands


@pytest.mark.asyncio
@pytest.mark.real_time
async def test_the_clerk_gets_his_file_though_the_server_is_killed(capsys: pytest.CaptureFixture[str]) -> None:
    recorder = Recorder()
    report = await McpAgent().run(instruments=[recorder])
    assert report.outcome == "completed"
    assert {path for path, *_ in recorder.of("actor_crashed")} == {"/user/mcp_agent/files/session"}
    assert {path for path, *_ in recorder.of("actor_restarting")} == {"/user/mcp_agent/files/session"}
    shown = commands(EXAMPLES / "mcp_agent" / "README.md")["understudy run examples/mcp_agent"]
    printed = [line for line in capsys.readouterr().out.splitlines() if not line[:4].isdigit()]
    assert [line for line in shown.splitlines() if line not in printed] == []
