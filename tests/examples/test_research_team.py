"""The research team: it ends by itself, one crash is survived, and the page shows what it prints."""

from __future__ import annotations

import pytest

from examples.research_team.program import ResearchTeam
from tests.cast import Recorder
from tests.examples.stage import EXAMPLES, commands


@pytest.mark.asyncio
async def test_it_survives_the_crash_and_prints_what_the_page_says(capsys: pytest.CaptureFixture[str]) -> None:
    recorder = Recorder()
    program = ResearchTeam()
    report = await program.run(instruments=[recorder])
    assert report.outcome == "completed"
    assert report.result == "Bees are insects with two pairs of wings; spiders are arachnids with eight legs."
    assert [path for path, *_ in recorder.of("actor_crashed")] == ["/user/research_team/researchers/spiders"]
    assert [path for path, *_ in recorder.of("actor_restarting")] == ["/user/research_team/researchers/spiders"]
    assert recorder.letters == []
    shown = commands(EXAMPLES / "research_team" / "README.md")["understudy run examples/research_team"]
    printed = [line for line in capsys.readouterr().out.splitlines() if not line[:4].isdigit()]
    assert [line for line in shown.splitlines() if line not in printed] == []
    assert program.budget is not None
    assert program.budget.reserved.calls == 0
    assert program.budget.spent.tokens <= program.budget.limit.tokens
