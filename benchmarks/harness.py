"""Takes samples of two or more ways to do the same thing, and compares them."""

from __future__ import annotations

import asyncio
import gc
import platform
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias

__all__ = [
    "OWN",
    "PATIENCE",
    "Comparison",
    "Plan",
    "Row",
    "Run",
    "Side",
    "Spread",
    "Stopwatch",
    "WrongResult",
    "compete",
    "event_loops",
    "expect",
    "say",
]

PATIENCE = 60.0
"""Seconds after which a sample will not end any more: something got lost."""


OWN = "understudy"
"""The contender that the targets are for."""


class WrongResult(Exception):
    """A workload did not do what it claims to measure."""


def expect(what: str, found: object, wanted: object) -> None:
    """Raise :class:`WrongResult` unless *found* is *wanted*."""
    if found != wanted:
        raise WrongResult(f"{what}: {found!r} instead of {wanted!r}")


def say(text: str) -> None:
    """Tell whoever waits what is going on."""
    print(text, file=sys.stderr, flush=True)


@dataclass(frozen=True, slots=True)
class Plan:
    """How thoroughly to measure."""

    repeats: int = 5
    quick: bool = False
    full: bool = False
    """Whether to take the minutes for what is largest."""
    share: float = 1.0
    """What part of the usual number to do in each sample."""

    def count(self, full: int) -> int:
        """How many to do where a thorough run does *full*."""
        return max(full // 100 if self.quick else int(full * self.share), 1)


class Stopwatch:
    """Measures what is done ``with`` it: seconds that passed, and seconds that this process computed."""

    __slots__ = ("_cpu", "_wall", "cpu", "wall")

    def __init__(self) -> None:
        self.wall = self.cpu = 0.0
        self._wall = self._cpu = 0.0

    def __enter__(self) -> None:
        self._cpu = time.process_time()
        self._wall = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self.wall += time.perf_counter() - self._wall
        self.cpu += time.process_time() - self._cpu

    @property
    def disturbed(self) -> bool:
        """Whether the processor did something else for more than a tenth of the time."""
        return self.wall > 1.1 * self.cpu + 0.001


Run: TypeAlias = Callable[[int, Stopwatch], Awaitable[None]]
"""Does a workload so many times, measures the part that counts, and checks the result."""


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of some values, and the lowest and highest of them."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        """Of at least one value."""
        ordered = sorted(values)
        return cls(statistics.median(ordered), ordered[0], ordered[-1])


@dataclass(frozen=True, slots=True)
class Side:
    """One way to do a workload; its targets are found by the label."""

    label: str
    run: Run
    contender: str = OWN
    """Whose way it is."""
    share: float = 1.0
    """What part of the workload it does, where it would take for ever; what is compared is the time for one."""

    def count(self, full: int) -> int:
        """How many it does where others do *full*."""
        return max(int(full * self.share), 1)

    @property
    def name(self) -> str:
        """Of this side among those of its workload."""
        return f"{self.contender} {self.label}"


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table."""

    workload: str
    label: str
    """Which of the workload's targets it is held against."""
    what: str
    value: Spread | None
    """None when there is no right result to take a value from."""
    unit: str
    baseline: str
    """What Q takes, for information."""
    own: str
    """What the contender takes, for information."""
    samples: Mapping[str, Sequence[float]] = field(default_factory=dict[str, Sequence[float]])
    """Seconds for one, by who took them; or what else was measured."""
    wrong: str | None = None
    """What is wrong with the result."""
    contender: str = OWN
    python: str = platform.python_version()

    @classmethod
    def without_value(cls, workload: str, label: str, what: str, wrong: WrongResult, contender: str = OWN) -> Row:
        """The line of something that was done wrong."""
        say(f"{workload}: {what}: {wrong}")
        return cls(workload, label, what, None, "", "", "", wrong=str(wrong), contender=contender)


@dataclass(frozen=True, slots=True)
class Comparison:
    """A workload that actors do in some ways, and that Q does too."""

    workload: str
    what: str
    """In words; ``{count}`` stands for how many."""
    count: int
    baseline: Run
    sides: tuple[Side, ...] = ()
    shown: Literal["rate", "time"] = "rate"
    """Whether to show how many are done in a second, or how long one takes."""
    ratio: Literal["speed", "time"] = "speed"
    """How many times as fast as Q, or how many times as long."""

    def with_sides(self, *sides: Side) -> Comparison:
        """The same workload, done in these ways."""
        return replace(self, sides=sides)

    def rows(self, plan: Plan) -> Iterator[Row]:
        """Measure and compare."""
        count = plan.count(self.count)
        what = self.what.format(count=count)
        say(f"{self.workload}: {what}")
        q = Side("", self.baseline, "Q")
        seconds, wrong = compete((q, *self.sides), count, plan.repeats)
        reference = seconds[q.name]
        for side in self.sides:
            mistake = wrong.get(q.name) or wrong.get(side.name)
            words = ", ".join(filter(None, (what, side.label)))
            if mistake is not None:
                yield Row.without_value(self.workload, side.label, words, mistake, side.contender)
                continue
            own = seconds[side.name]
            speeds = [theirs / ours for theirs, ours in zip(reference, own, strict=True)]
            yield self.row(words, side.label, side.contender, reference, own, speeds)

    def row(
        self,
        what: str,
        label: str,
        contender: str,
        reference: Sequence[float],
        own: Sequence[float],
        speeds: Iterable[float],
    ) -> Row:
        """The line of a contender: seconds for one, of Q and its own, and how many times as fast it was."""
        return Row(
            workload=self.workload,
            label=label,
            what=what,
            value=Spread.of(speeds if self.ratio == "speed" else (1 / speed for speed in speeds)),
            unit="x" if self.ratio == "speed" else "x time",
            baseline=self.figure(statistics.median(reference)),
            own=self.figure(statistics.median(own)),
            samples={"Q": reference, contender: own},
            contender=contender,
        )

    def figure(self, seconds: float) -> str:
        """*seconds* for one, as it is shown."""
        if self.shown == "time":
            return f"{seconds * 1e6:,.1f} us"
        if seconds > 1e-3:
            return f"{1 / seconds:,.0f} /s"
        return f"{1e-6 / seconds:.2f} M/s" if seconds < 1e-6 else f"{1e-3 / seconds:.0f} k/s"


def compete(sides: Sequence[Side], count: int, repeats: int) -> tuple[dict[str, list[float]], dict[str, WrongResult]]:
    """Seconds that each side takes for one, by name, *repeats* of each; and what was wrong, which ends its part.

    They take turns, and each begins equally often, so that a machine that gets slower meanwhile is unfair to nobody.
    """
    seconds: dict[str, list[float]] = {side.name: [] for side in sides}
    wrong: dict[str, WrongResult] = {}
    spare = iter(range(repeats))  # on a machine that is busy all the time it would not help to take more again
    for turn in range(repeats + 1):
        first = turn % len(sides)
        for side in (*sides[first:], *sides[:first]):
            many = side.count(count)
            try:
                if side.name in wrong:
                    continue
                if turn == 0:
                    _sample(side.run, max(many // 10, 1))  # warms up
                else:
                    seconds[side.name].append(_undisturbed(side.run, many, spare) / many)
            except WrongResult as error:
                wrong[side.name] = error
    return seconds, wrong


def _undisturbed(run: Run, count: int, spare: Iterator[object]) -> float:
    """Seconds that passed in a sample; in the less disturbed of two, as long as there is one to *spare*.

    Waiting counts: a workload that waits is never undisturbed, and its time is the time that passed.
    """
    best = _sample(run, count)
    if best.disturbed and next(spare, None) is not None:
        best = min(best, _sample(run, count), key=lambda watch: watch.wall / (watch.cpu or 1e-9))
    return best.wall


def _sample(run: Run, count: int) -> Stopwatch:
    watch = Stopwatch()

    async def main() -> None:
        try:
            async with asyncio.timeout(PATIENCE):
                await run(count, watch)
        except TimeoutError:
            raise WrongResult(f"not done after {PATIENCE:.0f} s") from None

    gc.collect()
    with asyncio.Runner(loop_factory=_loop_factory[-1]) as runner:
        runner.run(main())
    return watch


_loop_factory: list[Callable[[], asyncio.AbstractEventLoop] | None] = [None]


@contextmanager
def event_loops(factory: Callable[[], asyncio.AbstractEventLoop]) -> Generator[None]:
    """Take samples on event loops of that make."""
    _loop_factory.append(factory)
    try:
        yield
    finally:
        _loop_factory.pop()
