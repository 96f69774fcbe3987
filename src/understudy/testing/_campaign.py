"""Campaigns: a simulated test, run under many schedules."""

from __future__ import annotations

import contextlib
import functools
import inspect
import os
import zlib
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from understudy.testing._faults import Faults
from understudy.testing._schedule import EAGER_EXISTS, Outcome, Subject, run
from understudy.testing._shrink import shrink
from understudy.testing._strategies import DelayBounded, DepthFirst, Fifo, Pct, Pos, RandomWalk, Replay, Strategy
from understudy.testing._tape import Tape, TapeError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping

    from understudy.testing._choices import Departure

__all__ = ["REPORTS", "Report", "Simulated", "explore", "plans", "run_once", "search", "simulate"]

_ATTEMPTS = 300
_SHRINKING_STEPS = 1_000_000
# Of ten schedules: four POS, three PCT, two random walks, one delay-bounded.
_MIX = ("pos", "pct", "pos", "walk", "pct", "pos", "delay", "pct", "pos", "walk")
_WHAT = "an `async def` whose first parameter is the simulation, as in `async def test(sim)`"

REPORTS: list[Report] = []
"""Of the campaigns of this process that ended without a failure."""


@dataclass
class Report:
    """What a campaign without a failure is worth.

    Attributes:
        test: What was run.
        schedules: How many runs there were.
        distinct: How many of them were different: the steps of no two were the same in the same order.
        steps: The steps of the longest run.
        lanes: The most lanes in any run.
        strategies: How many runs each strategy had.
        missed: The bound of probabilistic concurrency testing: if the test has a bug that needs two events in a certain
            order, the probability that these runs have missed it is at most this.
        complete: The search has seen all orders, within its bounds; only for searches.
    """

    test: str
    schedules: int = 0
    distinct: int = 0
    steps: int = 0
    lanes: int = 0
    strategies: Counter[str] = field(default_factory=Counter[str])
    missed: float = 1.0
    complete: bool | None = None
    _digests: set[str] = field(default_factory=set[str], repr=False)

    def count(self, outcome: Outcome, strategy: Strategy) -> None:
        """One more run."""
        self.schedules += 1
        self._digests.add(outcome.digest)
        self.distinct = len(self._digests)
        self.steps = max(self.steps, outcome.steps)
        self.lanes = max(self.lanes, outcome.lanes)
        self.strategies[strategy.name] += 1
        # A run longer than the moments it was drawn from says nothing: what comes behind them was never disturbed.
        if isinstance(strategy, Pct) and strategy.depth == 2 and outcome.steps <= strategy.moments:
            self.missed *= 1 - 1 / (outcome.lanes * strategy.moments)

    def summary(self) -> str:
        """One line for people."""
        text = f"{self.test}: {self.schedules:,} schedules, {self.distinct:,} distinct, up to {self.steps:,} steps"
        if self.complete is not None:
            return f"{text}; {'all orders within the bounds' if self.complete else 'cut off before the last order'}"
        return f"{text}; misses a bug of depth 2 with probability {self.missed:.2g} or less"


class Simulated:
    """A test with all that a campaign of it needs; ``simulate`` makes it, ``understudy replay`` looks for it."""

    def __init__(
        self, test: Callable[..., Awaitable[object]], *, schedules: int, seed: int | None, faults: Faults, tree: Any
    ) -> None:
        _check_test(test)
        if seed is not None and not _is_whole(seed):
            raise ValueError(f"seed must be a whole number, got {seed!r} ({test.__qualname__})")
        if not _is_whole(schedules) or schedules < 1:
            raise ValueError(f"schedules must be a whole number from 1 on, got {schedules!r} ({test.__qualname__})")
        if not isinstance(faults, Faults):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"faults must be Faults(...), got {faults!r} ({test.__qualname__})")
        self.name = _name_of(test)
        self._test = test
        self._schedules = schedules
        self._seed = zlib.crc32(test.__qualname__.encode()) if seed is None else seed
        self._faults = faults
        self._tree = tree

    @property
    def other_parameters(self) -> tuple[str, ...]:
        """What it takes besides the simulation."""
        signature = inspect.signature(self._test)
        return tuple(name for name in signature.parameters if name not in ("self", _simulation_of(signature)))

    def subject(
        self, arguments: Mapping[str, Any], faults: Faults | None = None, instance: tuple[Any, ...] = ()
    ) -> Subject:
        """What is run; *instance* is the object whose method the test is, if it is one."""
        return Subject(functools.partial(self._test, *instance), faults or self._faults, dict(arguments), self._tree)

    def campaign(self, arguments: Mapping[str, Any], instance: tuple[Any, ...] = ()) -> Report:
        """Run all schedules; raise what the first failing one raises, shrunk, with its story and the path of its tape.

        ``UNDERSTUDY_SCHEDULES`` and ``UNDERSTUDY_SEED`` in the environment override what the test says. With
        ``UNDERSTUDY_TAPE`` there, a tape of this test is replayed instead.
        """
        __tracebackhide__ = True
        replayed = self._replay_asked_for(arguments, instance)
        if replayed is not None:
            return replayed
        schedules = _from_environment("UNDERSTUDY_SCHEDULES", least=1)
        schedules = self._schedules if schedules is None else schedules
        seed = _from_environment("UNDERSTUDY_SEED")
        report = explore(
            self.subject(arguments, instance=instance),
            schedules=schedules,
            seed=self._seed if seed is None else seed,
            name=self.name,
        )
        REPORTS.append(report)
        return report

    def replay(
        self, tape: Tape, instance: tuple[Any, ...] = (), arguments: Mapping[str, Any] = MappingProxyType({})
    ) -> Outcome:
        """Run what is on *tape*."""
        subject = self.subject(arguments, tape.faults, instance)
        return run(subject, tape.strategy_of(), seed=tape.seed, eager=tape.eager, story=True)

    def _replay_asked_for(self, arguments: Mapping[str, Any], instance: tuple[Any, ...]) -> Report | None:
        __tracebackhide__ = True
        path = os.environ.get("UNDERSTUDY_TAPE")
        tape = Tape.load(Path(path)) if path else None
        if tape is None or tape.test != self.name:
            return None
        outcome = self.replay(tape, instance, arguments)
        if outcome.error is not None:
            outcome.error.add_note(f"replayed from {path}:")
            outcome.error.add_note("\n".join(outcome.story))
            raise outcome.error
        report = Report(f"{self.name}, replayed from {path}")
        report.count(outcome, tape.strategy_of())
        return report

    def shrink(self, tape: Tape, instance: tuple[Any, ...] = (), *, attempts: int) -> Tape:
        """A plainer tape that fails in the same way.

        Raises:
            TapeError: It does not fail.
        """
        subject = self.subject({}, tape.faults, instance)
        failed = self.replay(tape, instance)
        if failed.error is None:
            raise TapeError(f"the tape does not fail: {self.name} passes under its choices")
        plain = _shrunk(subject, failed, tape.seed, tape.eager, attempts)
        return Tape.of(
            plain, test=tape.test, seed=tape.seed, eager=tape.eager, strategy=tape.strategy, faults=subject.faults
        )


def simulate(
    test: Callable[..., Awaitable[object]] | None = None,
    *,
    schedules: int = 500,
    seed: int | None = None,
    faults: Faults = Faults(),  # noqa: B008 - it is frozen
    tree: Any = None,
) -> Any:
    """Run an async test under many schedules, each decided by a seed.

    ::

        @simulate(schedules=500, faults=Faults(crash=0.02))
        async def test_no_order_is_lost(sim):
            ref = await sim.system.spawn(Orders)
            ...

    The result is an ordinary test function, without the parameter ``sim``; other parameters are fixtures, and are the
    same objects in each run. The first run is the undisturbed one, in the order of an ordinary event loop and without
    faults. When a run fails, it is shrunk, a story of it is added to the error, and a tape is saved in ``.understudy``
    (or where ``UNDERSTUDY_TAPES`` says) for ``understudy replay``.

    Not promised: that there is no bug. A report says how many different runs there were, and how improbable it is that
    they have missed a bug of depth 2.

    Args:
        test: The test, when used without parentheses.
        schedules: How many runs.
        seed: The seed of the first run; by default it is derived from the name of the test, so that each campaign is
            the same.
        faults: What may go wrong.
        tree: The supervision tree of ``sim.system``, as for ``ActorSystem``.

    Raises:
        TypeError: *test* is not an ``async def`` with a parameter for the simulation, or *faults* are no ``Faults``.
        ValueError: *schedules* is not a positive whole number, or *seed* is no whole number.
    """
    if test is None:
        return functools.partial(simulate, schedules=schedules, seed=seed, faults=faults, tree=tree)
    simulated = Simulated(test, schedules=schedules, seed=seed, faults=faults, tree=tree)

    @functools.wraps(test)
    def campaign(*instance: Any, **arguments: Any) -> None:
        __tracebackhide__ = True
        simulated.campaign(arguments, instance)

    signature = inspect.signature(test)
    parameters = [each for each in signature.parameters.values() if each.name != _simulation_of(signature)]
    made: Any = campaign
    made.__signature__ = signature.replace(parameters=parameters, return_annotation=None)
    made.simulated = simulated
    del made.__wrapped__  # it has other parameters
    return made


def explore(subject: Subject, *, schedules: int, seed: int, name: str) -> Report:
    """Run *subject* under the default mix of strategies.

    Raises:
        BaseException: What the first failing run raised, shrunk and with notes.
    """
    __tracebackhide__ = True
    report = Report(name)
    for number, (strategy, eager) in enumerate(plans(seed, schedules, report)):
        outcome = run(subject, strategy, seed=seed + number, eager=eager)
        if outcome.error is not None:
            raise _explained(subject, outcome, name, seed + number, eager, strategy, number + 1)
        report.count(outcome, strategy)
    return report


def search(subject: Subject, *, departures: int, at_most: int, name: str, eager: bool = False) -> Report:
    """Run *subject* in all orders that depart from the undisturbed one no more than *departures* times.

    Args:
        subject: What is run; no faults happen.
        departures: How often something is chosen that is not the oldest.
        at_most: How many runs; the report says whether they were enough.
        name: For the report.
        eager: Start the runtime's tasks eagerly.

    Raises:
        BaseException: What the first failing run raised, with notes.
    """
    __tracebackhide__ = True
    report = Report(name, complete=False)
    strategy: DepthFirst | None = DepthFirst(departures=departures)
    while strategy is not None and report.schedules < at_most:
        outcome = run(subject, strategy, seed=0, eager=eager)
        if outcome.error is not None:
            raise _explained(subject, outcome, name, 0, eager, strategy, report.schedules + 1)
        report.count(outcome, strategy)
        strategy = strategy.following()
    report.complete = strategy is None
    return report


def run_once(test: Callable[..., Awaitable[object]], arguments: Mapping[str, Any]) -> None:
    """Run *test* in the order of an ordinary event loop, without faults."""
    __tracebackhide__ = True
    _check_test(test)
    subject = Subject(test, Faults(stall=0.0), dict(arguments))
    explore(subject, schedules=1, seed=0, name=_name_of(test))


def plans(seed: int, schedules: int, report: Report) -> Iterator[tuple[Strategy, bool]]:
    """The strategy of each run, and whether it starts tasks eagerly: the undisturbed one first, then the default mix.

    Args:
        seed: Of the first run; each has one more than the one before it.
        schedules: How many runs.
        report: What the runs before have counted; where a strategy strikes is drawn from how long they were.
    """
    yield Fifo(), False
    for number in range(1, schedules):
        kind = _MIX[(number - 1) % len(_MIX)]
        eager = EAGER_EXISTS and (number + number // len(_MIX)) % 2 == 1
        yield _strategy(kind, seed + number, number, report.steps), eager


def _strategy(kind: str, seed: int, number: int, steps: int) -> Strategy:
    if kind == "pct":
        return Pct(seed, depth=(2, 2, 3, 4)[number % 4], steps=steps)
    if kind == "delay":
        return DelayBounded(seed, delays=1 + number // len(_MIX) % 4, steps=steps)
    return Pos(seed) if kind == "pos" else RandomWalk(seed)


def _explained(
    subject: Subject, outcome: Outcome, name: str, seed: int, eager: bool, strategy: Strategy, number: int
) -> BaseException:
    """The error of a failing run, with all that helps to understand and to repeat it."""
    attempts = max(min(_ATTEMPTS, _SHRINKING_STEPS // max(outcome.steps, 1)), 10)
    plain = _shrunk(subject, outcome, seed, eager, attempts)
    tape = Tape.of(plain, test=name, seed=seed, eager=eager, strategy=strategy.name, faults=subject.faults)
    error = plain.error
    assert error is not None
    choices = len(plain.made)
    order = "in the order of an ordinary event loop" if not choices else f"in that order, except for {choices} choices"
    error.add_note(f"schedule {number} ({strategy.name}, seed {seed}) fails; it fails {order}:")
    error.add_note("\n".join(plain.story))
    try:
        path = tape.save(Path(os.environ.get("UNDERSTUDY_TAPES") or ".understudy"))
        error.add_note(f"to have it again: understudy replay {path}")
    except OSError as problem:
        error.add_note(f"its tape could not be saved: {problem}")
    return error


def _shrunk(subject: Subject, outcome: Outcome, seed: int, eager: bool, attempts: int) -> Outcome:
    def again(made: tuple[Departure, ...]) -> Outcome:
        return run(subject, Replay(made), seed=seed, eager=eager)

    plain = shrink(outcome, again, attempts=attempts)
    told = run(subject, Replay(plain.made), seed=seed, eager=eager, story=True)
    if not told.fails_like(outcome):
        # The story is told of another run than the one that failed: something is not under the seed's control.
        assert plain.error is not None
        plain.error.add_note("this run cannot be repeated: something in it is decided outside of the simulation")
        return plain
    return told


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _check_test(test: Any) -> None:
    if not inspect.iscoroutinefunction(test):
        raise TypeError(f"a simulated test must be {_WHAT}; got {getattr(test, '__qualname__', test)!r}")
    if _simulation_of(inspect.signature(test)) is None:
        raise TypeError(f"{test.__qualname__} takes no parameter: a simulated test must be {_WHAT}")


def _simulation_of(signature: inspect.Signature) -> str | None:
    """The name of the parameter that stands for the simulation: the first, or the one after ``self``."""
    names = [name for name in signature.parameters if name != "self"]
    return names[0] if names else None


def _name_of(test: Any) -> str:
    file = str(inspect.unwrap(test).__code__.co_filename)
    with contextlib.suppress(ValueError):  # on another drive
        file = os.path.relpath(file)
    return f"{Path(file).as_posix()}::{test.__qualname__}"


def _from_environment(name: str, least: int | None = None) -> int | None:
    value = os.environ.get(name)
    if not value:
        return None
    number = int(value) if value.lstrip("-").isdecimal() else None
    if number is None or (least is not None and number < least):
        allowed = "a whole number" if least is None else f"a whole number from {least} on"
        raise ValueError(f"{name} must be {allowed}, got {value!r}")
    return number
