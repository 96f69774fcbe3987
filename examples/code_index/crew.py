"""The actors: who does what."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from understudy import Actor, ActorFailed, ActorStopped, handler

from .files import python_files
from .messages import Failed, Feed, Finished, NextFile, Parse, Parsed, Progress, TakeStock
from .parsing import Definition
from .report import Failure, Tally, answer, check, summary
from .workers import Workers

__all__ = ["Feeder", "Index", "Parser", "Reporter", "Walker"]


class Walker(Actor[NextFile]):
    """Finds the files and gives them out one by one, to whoever has nothing to do.

    Files are fetched, not pushed: so no mailbox fills up, a large file holds up nobody but its own parser, and when the
    last of the *feeders* comes in vain, all files have been dealt with.
    """

    def __init__(self, folders: Sequence[Path], feeders: int) -> None:
        self.folders = folders
        self.busy = feeders
        self.seen: set[Path] = set()

    def initialize(self) -> None:
        self.files = python_files(self.folders, lambda error: self.log.warning("folder passed over", why=str(error)))

    @handler
    def next_file(self, message: NextFile) -> Path | None:
        if (path := next(self.files, None)) is not None:
            self.seen.add(path)
            return path
        self.busy -= 1
        if self.busy == 0:
            reporter = self.context.system.lookup("code_index/reporter", Reporter)
            reporter.tell(Finished(seen=frozenset(self.seen)))
        return None


class Feeder(Actor[Feed]):
    """Takes a file, has its parser parse it, and tells the index when that failed; again and again.

    This is where a crash is seen from outside: as an ask that ends with ActorFailed. The parser itself need not be
    looked after, that is its supervisor's work: the same ref leads to its successor. One file makes one message, so
    that other messages have their turn in between, above all the request to stop.
    """

    def __init__(self, number: int) -> None:
        self.number = number

    def initialize(self) -> None:
        lookup = self.context.system.lookup
        self.walker = lookup("code_index/walker", Walker)
        self.parser = lookup(f"code_index/parsers/parser-{self.number}", Parser)
        self.index = lookup("code_index/index", Index)
        self.context.ref.tell(Feed())

    @handler
    async def feed(self, message: Feed) -> None:
        path = await self.walker.ask(NextFile())
        if path is None:
            return
        try:
            await self.parser.ask(Parse(path=path))
        except ActorFailed as failed:
            cause = failed.__cause__
            failure = Failure(path, type(cause).__name__, str(cause).partition("\n")[0])
            await self.index.send(Failed(failure=failure))
        except ActorStopped:
            self.context.stop()  # the parsers have been given up on; their supervisor has the reason
            return
        self.context.ref.tell(Feed())


class Parser(Actor[Parse]):
    """Parses one file at a time, in another process, and knows nothing of files that cannot be parsed.

    There is no `except` here. What the worker raises is raised by the handler: the actor crashes, whoever asked is
    told, the supervisor starts the next one.
    """

    def __init__(self, workers: Workers) -> None:
        self.workers = workers

    def initialize(self) -> None:
        self.workers.check()
        self.index = self.context.system.lookup("code_index/index", Index)

    @handler
    async def parse(self, message: Parse) -> None:
        module = await self.workers.parse(message.path)
        await self.index.send(Parsed(module=module))


class Index(Actor[Parsed | Failed | TakeStock]):
    """Collects what the parsers find, and what they failed at."""

    report_every = 250  # files

    def __init__(self) -> None:
        self.indexed: set[Path] = set()
        self.failures: dict[Path, Failure] = {}
        self.twice: list[Path] = []
        self.places: dict[str, list[tuple[Path, Definition]]] = {}
        self.found: Counter[str] = Counter(function=0, **{"class": 0, "import": 0})

    def initialize(self) -> None:
        self.reporter = self.context.system.lookup("code_index/reporter", Reporter)

    @handler
    def parsed(self, message: Parsed) -> None:
        path = message.module.path
        self._count(path)
        self.indexed.add(path)
        for definition in message.module.definitions:
            self.found[definition.kind] += 1
            self.places.setdefault(definition.name, []).append((path, definition))

    @handler
    def failed(self, message: Failed) -> None:
        self._count(message.failure.path)
        self.failures[message.failure.path] = message.failure

    @handler
    def take_stock(self, message: TakeStock) -> Tally:
        places = tuple(self.places.get(message.query, ())) if message.query is not None else ()
        return Tally(frozenset(self.indexed), dict(self.failures), tuple(self.twice), dict(self.found), places)

    def _count(self, path: Path) -> None:
        if path in self.indexed or path in self.failures:
            self.twice.append(path)
        indexed, failed = len(self.indexed), len(self.failures)
        if (indexed + failed) % self.report_every == self.report_every - 1:
            self.reporter.tell(Progress(indexed=indexed, failed=failed))


class Reporter(Actor[Progress | Finished]):
    """Says how far it is, and at the end what came of it; then ends the program."""

    def __init__(self, query: str | None) -> None:
        self.query = query
        self.began = time.perf_counter()

    @handler
    def progress(self, message: Progress) -> None:
        self.log.info("progress", indexed=message.indexed, failed=message.failed)

    @handler
    async def finished(self, message: Finished) -> None:
        index = self.context.system.lookup("code_index/index", Index)
        tally = await index.ask(TakeStock(query=self.query))
        counted = self.context.system.statistics()
        seconds = time.perf_counter() - self.began
        lines = summary(message.seen, tally, crashes=counted.crashed, restarts=counted.restarted, seconds=seconds)
        print(*lines, sep="\n")
        print(check(message.seen, tally))  # a sum that does not hold is a crash here, and ends the program
        if self.query is not None:
            print("", *answer(self.query, tally), sep="\n", flush=True)
        self.context.system.stop()
