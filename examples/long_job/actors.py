"""The counter, who has a long job, and the client, who follows it."""

from __future__ import annotations

import asyncio
import math
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from understudy import Actor, Crashed, ExitReason, NoReply, Refused, Reply, UnderstudyError, handler

from .draft import Draft
from .messages import CalledOff, CallOff, Count, Progress, Where

__all__ = ["Client", "Counter", "Glitch", "Work", "Workshop", "primes_between"]

Work = Callable[[int, int], int]


def primes_between(first: int, last: int) -> int:
    """How many primes there are from *first* up to *last*, without it; in no clever way, so that it takes its time."""
    return sum(n > 1 and all(n % d for d in range(2, int(n**0.5) + 1)) for n in range(first, last))


class Glitch:
    """Work that fails once, where it is told to."""

    def __init__(self, work: Work) -> None:
        self.work = work
        self.at: int | None = None

    def __call__(self, first: int, last: int) -> int:
        if self.at is not None and first <= self.at < last:
            self.at = None
            raise ArithmeticError(f"a glitch between {first} and {last}")
        return self.work(first, last)


@dataclass(eq=False)
class Job:
    """The job in hand."""

    order: Count
    reply: Reply[int]
    draft: Draft
    resumed: int

    def part(self) -> tuple[int, int]:
        """From where to where the next part goes."""
        below, parts, done = self.order.below, self.order.parts, len(self.draft.counts)
        return below * done // parts, below * (done + 1) // parts

    def progress(self) -> Progress:
        done = len(self.draft.counts)
        return Progress(job=self.order.job, done=done, of=self.order.parts, resumed=self.resumed)


@dataclass(frozen=True)
class Counted:
    """From the thread: a part is done."""

    job: Job
    count: int


@dataclass(frozen=True)
class Failed:
    """From the thread: a part could not be done."""

    job: Job
    error: Exception


class Counter(Actor[Count | CallOff]):
    """Works in a thread, one part at a time, and is there for messages meanwhile.

    What is called off leaves nothing behind. What a failure interrupts, of the work or of this actor, leaves its draft,
    and whoever asks for the same again has it resumed from there.
    """

    def __init__(self, work: Work) -> None:
        self.work = work
        self.job: Job | None = None

    @handler
    def count(self, message: Count) -> Reply[int]:
        if self.job is not None:
            raise Refused(f"busy with {self.job.order.job.name}")
        if not message.job.parent.is_dir():
            raise Refused(f"there is no folder {message.job.parent}")
        draft = Draft(message.job, f"primes below {message.below} in {message.parts} parts")
        job = self.job = Job(message, self.context.reply_later(message), draft, len(draft.counts))
        self.go_on(job)
        return job.reply

    def go_on(self, job: Job) -> None:
        """Begin with the next part, or come to the end."""
        if len(job.draft.counts) < job.order.parts:
            self.context.run_blocking(
                partial(self.work, *job.part()), to=partial(Counted, job), failed=partial(Failed, job)
            )
        else:
            job.draft.finish()
            self.job = None
            job.reply.send(sum(job.draft.counts))

    @handler
    def _counted(self, message: Counted) -> None:
        job = message.job
        if job is not self.job:
            return  # it was called off meanwhile; a thread cannot be interrupted
        job.draft.add(message.count)
        job.order.follower.tell(job.progress())
        if job.reply.open:
            self.go_on(job)
        else:
            self.call_it_off(job, "nobody waits for it any more")

    @handler
    def _failed(self, message: Failed) -> None:
        if message.job is self.job:
            raise message.error

    @handler
    def call_off(self, message: CallOff) -> bool:
        if self.job is None:
            return False
        self.job.reply.fail(Refused("called off"))
        self.call_it_off(self.job, "by a message")
        return True

    def call_it_off(self, job: Job, why: str) -> None:
        self.job = None
        job.draft.discard()
        job.order.follower.tell(CalledOff(job=job.order.job, why=why))

    def shutdown(self, reason: ExitReason) -> None:
        if self.job is not None and not isinstance(reason, Crashed):
            self.call_it_off(self.job, str(reason))


class Workshop(Actor[Where]):
    """Has the folder. It is up before all others, so it ends after them, and cleans up what is only for this run."""

    def __init__(self, folder: Path | None) -> None:
        self.given = folder

    def initialize(self) -> None:
        self.temporary: tempfile.TemporaryDirectory[str] | None = None
        if self.given is None:
            self.temporary = tempfile.TemporaryDirectory()
            self.folder = Path(self.temporary.name)
        else:
            self.folder = self.given

    @handler
    def where(self, message: Where) -> Path:
        return self.folder

    def shutdown(self, reason: ExitReason) -> None:
        if self.temporary is not None:
            self.temporary.cleanup()


class Begin:
    """To the client, from itself."""


class Client(Actor[Progress | CalledOff]):
    """Orders jobs and follows them: to the end, through a crash, and until it has enough; then the program is over."""

    def __init__(self, glitch: Glitch, below: int, parts: int) -> None:
        self.glitch = glitch
        self.below, self.parts = below, parts

    async def initialize(self) -> None:
        lookup = self.context.system.lookup
        self.counter = lookup("long_job/counter", Counter)
        self.folder = await lookup("long_job/workshop", Workshop).ask(Where())
        self.context.tell_self(Begin())

    @handler
    async def _begin(self, message: Begin) -> None:
        await self.to_the_end(self.folder / "whole.txt")
        await self.through_a_crash(self.folder / "crash.txt")
        await self.until_a_message(self.folder / "message.txt")
        await self.until_nobody_waits(self.folder / "nobody.txt")
        same = (self.folder / "whole.txt").read_text() == (self.folder / "crash.txt").read_text()
        print(f"in the folder: {', '.join(sorted(path.name for path in self.folder.iterdir()))}")
        print("whole and crash are the same" if same else "whole and crash differ")
        self.context.stop()

    async def to_the_end(self, job: Path) -> None:
        print("to the end")
        answer = self.order(job)
        await self.follow(job, self.parts)
        print("   ", said(await answer))

    async def through_a_crash(self, job: Path) -> None:
        print("through a crash")
        before = self.parts * 2 // 3
        self.glitch.at = self.below * before // self.parts  # where the next part begins
        for parts in (before, self.parts - before):
            answer = self.order(job)
            await self.follow(job, parts)
            print("   ", said(await answer))

    async def until_a_message(self, job: Path) -> None:
        print("until it is called off")
        answer = self.order(job)
        await self.follow(job, 2)
        await self.counter.ask(CallOff())
        print("   ", said(await answer))

    async def until_nobody_waits(self, job: Path) -> None:
        print("until nobody waits for it")
        answer = self.order(job)
        await self.follow(job, 2)
        answer.cancel()
        off = await self.context.receive(lambda each: isinstance(each, CalledOff) and each.job == job)
        print("    called off:", off.why)

    def order(self, job: Path) -> asyncio.Task[int | UnderstudyError]:
        """Ask for *job*; the ask is a task of this actor, so that it can be followed, and given up."""
        order = Count(job=job, below=self.below, parts=self.parts, follower=self.context.ref)
        return self.context.start_task(self.answer(order))

    async def answer(self, order: Count) -> int | UnderstudyError:
        try:
            return await self.counter.ask(order, timeout=math.inf)
        except UnderstudyError as error:
            return error

    async def follow(self, job: Path, parts: int) -> None:
        """Print the progress of *job*, for so many parts."""
        for _ in range(parts):
            news = await self.context.receive(lambda each: isinstance(each, Progress) and each.job == job)
            before = f", {news.resumed} of them in the life before" if news.resumed else ""
            print(f"    {news.done} of {news.of}{before}")

    @handler
    def late(self, message: Progress | CalledOff) -> None:
        """News of a job that nobody follows any more."""


def said(end: int | UnderstudyError) -> str:
    """What an order has ended with, in words."""
    match end:
        case Refused():
            return f"refused: {end}"
        case NoReply(reason=Crashed(error=error)):
            return f"no reply, since the counter has crashed: {type(error).__name__}"
        case UnderstudyError():
            return type(end).__name__
        case _:
            return f"{end} primes"
