"""The long job: how it ends in each of its ways, and what is on disk after that."""

from __future__ import annotations

import asyncio
import math
import re
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from examples.long_job.actors import Counter, Glitch, Workshop, primes_between
from examples.long_job.draft import Draft
from examples.long_job.messages import CalledOff, CallOff, Count, Progress, Where
from examples.long_job.program import LongJob
from tests.cast import Recorder
from tests.examples.stage import ROOT, TIMEOUT, environment
from understudy import ActorRef, ActorSystem, Crashed, Killed, NoReply, Refused, Shutdown, UsageError, child
from understudy.testing import TestProbe

BELOW, PARTS = 100, 5
PRIMES = [8, 4, 5, 5, 3]  # below 20, 40, ...
TITLE = "primes below 100 in 5 parts"


class Work:
    """Counts primes, but holds where it is told to, in its thread, until it is let go."""

    def __init__(self, hold_at: int | None = None) -> None:
        self.hold_at = hold_at
        self.calls: list[int] = []
        self.held = threading.Event()
        self.go = threading.Event()

    def __call__(self, first: int, last: int) -> int:
        self.calls.append(first)
        if first == self.hold_at:
            self.hold_at = None
            self.held.set()
            assert self.go.wait(TIMEOUT)
        return primes_between(first, last)


class Bench:
    """A counter, its follower, and a folder."""

    def __init__(self, system: ActorSystem, counter: ActorRef[Any], ear: TestProbe, folder: Path) -> None:
        self.system, self.counter, self.ear, self.folder = system, counter, ear, folder
        self.job = folder / "job.txt"

    def order(self, job: Path | None = None) -> asyncio.Task[int]:
        order = Count(job=job or self.job, below=BELOW, parts=PARTS, follower=self.ear.ref)
        return asyncio.create_task(self.counter.ask(order, timeout=math.inf))

    async def held(self, work: Work) -> None:
        """Wait until the thread is where it holds; before that, a call could still be taken back."""
        assert await asyncio.to_thread(work.held.wait, TIMEOUT)

    async def done(self, parts: int, *, resumed: int = 0) -> None:
        for number in range(resumed + 1, parts + 1):
            assert await self.ear.expect(Progress) == Progress(job=self.job, done=number, of=PARTS, resumed=resumed)

    @property
    def files(self) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir())


@asynccontextmanager
async def bench(work: Any, folder: Path, recorder: Recorder | None = None) -> AsyncIterator[Bench]:
    async with ActorSystem(instruments=[recorder] if recorder else []) as system:
        ear = await TestProbe.start(system, "ear")
        yield Bench(system, await system.spawn(Counter, work), ear, folder)


def test_the_numbers_of_these_tests_are_right() -> None:
    assert [primes_between(20 * part, 20 * part + 20) for part in range(PARTS)] == PRIMES


@pytest.mark.asyncio
async def test_at_the_end_there_is_the_file_and_nothing_else(tmp_path: Path) -> None:
    work = Work()
    async with bench(work, tmp_path) as b:
        answer = b.order()
        await b.done(PARTS)
        assert await answer == 25
        assert b.files == ["job.txt"]
        assert b.job.read_text().split("\n") == [TITLE, *map(str, PRIMES), ""]
        assert work.calls == [0, 20, 40, 60, 80]


@pytest.mark.asyncio
async def test_after_a_crash_the_asker_is_told_and_the_next_one_gets_the_rest(tmp_path: Path) -> None:
    work = Work()
    glitch = Glitch(work)
    glitch.at = 60
    recorder = Recorder()
    async with bench(glitch, tmp_path, recorder) as b:
        answer = b.order()
        await b.done(3)
        with pytest.raises(NoReply) as none:
            await answer
        assert isinstance(none.value.reason, Crashed)
        assert isinstance(none.value.reason.error, ArithmeticError)
        assert b.files == ["job.txt.draft"]
        again = b.order()
        await b.done(PARTS, resumed=3)
        assert await again == 25
        assert b.files == ["job.txt"]
        assert work.calls == [0, 20, 40, 60, 80]  # each part was done once
        assert len(recorder.of("actor_restarting")) == 1


@pytest.mark.asyncio
async def test_after_a_kill_the_draft_is_there_too_since_no_hook_has_run(tmp_path: Path) -> None:
    work = Work(hold_at=40)
    async with bench(work, tmp_path) as b:
        answer = b.order()
        await b.done(2)
        await b.held(work)
        b.counter.kill()
        with pytest.raises(NoReply) as none:
            await answer
        assert isinstance(none.value.reason, Killed)
        assert b.files == ["job.txt.draft"]
        work.go.set()  # what the thread has found belongs to nobody
        again = b.order()
        await b.done(PARTS, resumed=2)
        assert await again == 25
        assert work.calls == [0, 20, 40, 40, 60, 80]


@pytest.mark.asyncio
async def test_called_off_by_a_message_it_leaves_nothing_and_the_counter_is_free_at_once(tmp_path: Path) -> None:
    work = Work(hold_at=40)
    async with bench(work, tmp_path) as b:
        answer = b.order()
        await b.done(2)
        await b.held(work)
        assert await b.counter.ask(CallOff())
        with pytest.raises(Refused, match="called off"):
            await answer
        assert await b.ear.expect(CalledOff) == CalledOff(job=b.job, why="by a message")
        assert b.files == []
        # The thread of the first job is still at it, and what it finds is not taken for a part of the second.
        again = b.order()
        work.go.set()
        await b.done(PARTS)
        assert await again == 25
        assert not await b.counter.ask(CallOff())
        await b.ear.expect_no_message(1.0)


@pytest.mark.asyncio
async def test_when_the_asker_is_gone_it_is_called_off_after_the_part_in_hand(tmp_path: Path) -> None:
    work = Work(hold_at=40)
    async with bench(work, tmp_path) as b:
        answer = b.order()
        await b.done(2)
        await b.held(work)
        answer.cancel()
        with pytest.raises(asyncio.CancelledError):
            await answer
        assert b.files == ["job.txt.draft"]  # nobody has looked yet
        work.go.set()
        assert (await b.ear.expect(Progress)).done == 3
        assert (await b.ear.expect(CalledOff)).why == "nobody waits for it any more"
        assert b.files == []
        assert work.calls == [0, 20, 40]


@pytest.mark.asyncio
async def test_one_job_at_a_time_and_none_in_a_folder_that_is_not_there(tmp_path: Path) -> None:
    work = Work(hold_at=0)
    async with bench(work, tmp_path) as b:
        first = b.order()
        await b.held(work)
        with pytest.raises(Refused, match=r"busy with job\.txt"):
            await b.order(tmp_path / "other.txt")
        work.go.set()
        assert await first == 25
        with pytest.raises(Refused, match="there is no folder"):
            await b.order(tmp_path / "nowhere" / "job.txt")
        assert b.files == ["job.txt"]


@pytest.mark.asyncio
async def test_a_stop_does_not_wait_for_the_job_and_removes_the_draft(tmp_path: Path) -> None:
    work = Work(hold_at=40)
    async with bench(work, tmp_path) as b:
        answer = b.order()
        await b.done(2)
        await b.held(work)
        b.counter.stop()
        assert await b.counter.wait_stopped() == Shutdown("stopped")
        assert not work.go.is_set()
        assert b.files == []
        with pytest.raises(NoReply):
            await answer
        work.go.set()


# The program


@pytest.mark.asyncio
async def test_it_ends_by_itself_and_the_folder_of_the_run_is_gone(capsys: pytest.CaptureFixture[str]) -> None:
    recorder = Recorder()
    async with ActorSystem(child(LongJob, below=2000), instruments=[recorder]) as system:
        folder = await system.lookup("long_job/workshop", Workshop).ask(Where())
        await system.wait_stopped()
    assert not folder.exists()
    assert [(path, kind) for path, _, kind in recorder.of("actor_crashed")] == [("/user/long_job/counter", "Failed")]
    assert "whole and crash are the same" in capsys.readouterr().out


@pytest.mark.parametrize(
    "args", [["/nowhere/at/all"], ["--parts", "2"], ["--below", "5", "--parts", "6"], ["--speed", "9"]]
)
def test_arguments_that_make_no_sense_are_refused(args: list[str]) -> None:
    with pytest.raises(UsageError):
        LongJob.from_args(args)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_in_the_middle_ends_it_in_order_and_leaves_nothing(number: signal.Signals, tmp_path: Path) -> None:
    arguments = ["run", "examples/long_job", "--", str(tmp_path), "--below", "3000000", "--parts", "600"]
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "understudy", *arguments],
        cwd=ROOT,
        env=environment() | {"PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            while "2 of 600" not in (line := process.stdout.readline()):
                assert line, "it has ended too soon"
            assert [path.name for path in tmp_path.iterdir()] == ["whole.txt.draft"]
            process.send_signal(number)
            _, err = process.communicate(timeout=TIMEOUT)
        finally:
            process.kill()
    assert process.returncode == 0, err
    assert list(tmp_path.iterdir()) == []
    assert re.search(r"ended +actors=0", err)
    assert "Traceback" not in err
    assert "abandoned" not in err


# The draft


@pytest.mark.parametrize(
    ("found", "counts"),
    [
        (None, []),
        (b"", []),
        (b"\xff\xfe\x00", []),
        (b"primes below 7 in 5 parts\n8\n4\n", []),
        (f"{TITLE}\n".encode(), []),
        (TITLE.encode(), []),
        (f"{TITLE}\n8\n4\n".encode(), [8, 4]),
        (f"{TITLE}\n8\n4".encode(), [8]),
        (f"{TITLE}\n8\nx\n5\n".encode(), [8]),
    ],
    ids=["none", "empty", "no text", "of another job", "no part", "torn title", "two parts", "torn line", "bad line"],
)
def test_what_is_whole_of_a_draft_is_resumed(found: bytes | None, counts: list[int], tmp_path: Path) -> None:
    path = tmp_path / "job.txt"
    if found is not None:
        (tmp_path / "job.txt.draft").write_bytes(found)
    draft = Draft(path, TITLE)
    assert draft.counts == counts
    draft.add(9)
    assert Draft(path, TITLE).counts == [*counts, 9]
    assert not path.exists()
    draft.finish()
    assert path.read_text().split("\n") == [TITLE, *map(str, counts), "9", ""]
    assert [each.name for each in tmp_path.iterdir()] == ["job.txt"]
    draft.discard()  # there is nothing to discard, which is no error


@pytest.mark.asyncio
async def test_a_draft_that_was_whole_needs_no_more_work(tmp_path: Path) -> None:
    work = Work()
    (tmp_path / "job.txt.draft").write_text("\n".join([TITLE, *map(str, PRIMES), ""]))
    async with bench(work, tmp_path) as b:
        assert await b.order() == 25
        assert (work.calls, b.files) == ([], ["job.txt"])
