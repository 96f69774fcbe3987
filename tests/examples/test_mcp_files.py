"""The example of MCP: only what is meant is killed, it comes back, and the server reads no other files."""

from __future__ import annotations

from pathlib import Path

import pytest

from examples.mcp_files.program import McpFiles
from examples.mcp_files.server import Files, ListFiles, ReadFile
from tests.cast import Recorder
from tests.examples.stage import EXAMPLES, commands
from understudy import ActorSystem, Refused
from understudy.reasons import Crashed
from understudy.transports.mcp import MCPConnectionLost


@pytest.mark.asyncio
@pytest.mark.real_time
async def test_the_session_alone_crashes_once_and_comes_back(capsys: pytest.CaptureFixture[str]) -> None:
    recorder = Recorder()
    async with ActorSystem(McpFiles, instruments=[recorder]) as system:
        await system.wait_stopped()
    ((path, reason, _),) = recorder.of("actor_crashed")
    assert path == "/user/mcp_files/session"
    assert isinstance(reason, Crashed)
    assert isinstance(reason.error, MCPConnectionLost)
    printed = capsys.readouterr().out.splitlines()
    shown = commands(EXAMPLES / "mcp_files" / "README.md")["understudy run examples/mcp_files"]
    assert [line for line in shown.splitlines() if line not in printed] == []


@pytest.mark.asyncio
async def test_only_files_of_the_folder_are_read(tmp_path: Path) -> None:
    inside, outside = tmp_path / "inside", tmp_path / "outside.txt"
    inside.mkdir()
    outside.write_text("not yours")
    (inside / "a.txt").write_text("yours")
    (inside / "link.txt").symlink_to(outside)
    async with ActorSystem() as system:
        files = await system.spawn(Files, inside)
        assert await files.ask(ReadFile(name="a.txt")) == "yours"
        for name in ("../outside.txt", str(outside), "link.txt", "", ".", "..", "b.txt"):
            with pytest.raises(Refused):
                await files.ask(ReadFile(name=name))
        assert await files.ask(ListFiles()) == ["a.txt", "link.txt"]
