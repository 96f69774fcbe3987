"""The meeting: it ends by itself, one crash costs a turn, and the page shows what it prints."""

from __future__ import annotations

import pytest

from examples.meeting.plan import Plan
from examples.meeting.program import Council
from tests.cast import Recorder
from tests.examples.stage import EXAMPLES, commands
from understudy.agents import MeetingEnded


@pytest.mark.asyncio
async def test_it_comes_to_its_end_and_prints_what_the_page_says(capsys: pytest.CaptureFixture[str]) -> None:
    recorder = Recorder()
    report = await Council().run(instruments=[recorder])
    assert report.outcome == "completed"
    assert isinstance(report.result, MeetingEnded)
    assert (report.result.outcome, report.result.state) == ("held", Plan(place="the orchard", hives=3))
    assert report.result.absent == {}
    assert [path for path, *_ in recorder.of("actor_crashed")] == ["/user/meeting/treasurer"]
    assert recorder.letters == []
    shown = commands(EXAMPLES / "meeting" / "README.md")["understudy run examples/meeting"]
    printed = capsys.readouterr().out.splitlines()
    assert [line for line in shown.splitlines() if line not in printed] == []
