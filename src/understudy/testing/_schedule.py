"""One run of a simulated test, from its loop to its end."""

from __future__ import annotations

import contextlib
import gc
import sys
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from understudy.environment import forget_task, running_loop
from understudy.system import ActorSystem
from understudy.testing._choices import Choices
from understudy.testing._determinism import determined
from understudy.testing._errors import Violation
from understudy.testing._loop import SimLoop
from understudy.testing._simulation import Simulation
from understudy.testing._story import Story

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from understudy.testing._choices import Departure
    from understudy.testing._faults import Faults
    from understudy.testing._strategies import Strategy

__all__ = ["EAGER_EXISTS", "Outcome", "Subject", "run"]

_ROUNDS = 12
"""Cancels after which a task that resists them is forgotten."""
_one_run = threading.Lock()
EAGER_EXISTS = sys.version_info >= (3, 12)

_PATIENCE = 5_000
"""Steps that a run which has failed gets to put its things away."""


@dataclass(frozen=True)
class Subject:
    """What is run: a test, and what it needs besides the simulation.

    Attributes:
        test: ``async def test(sim, **arguments)``.
        arguments: What else it takes, from fixtures or parameters; the same objects in each run.
        faults: What may go wrong.
        tree: For the system of each run; None for an empty one.
        system: Whether there is a system at all.
        budgets: How many messages an activation may handle; the first is the undisturbed case.
    """

    test: Callable[..., Awaitable[object]]
    faults: Faults
    arguments: dict[str, Any] = field(default_factory=dict[str, Any])
    tree: Any = None
    system: bool = True
    budgets: tuple[int, ...] = (64, 1, 2)


@dataclass(frozen=True)
class Outcome:
    """How a run ended, and what is needed to have it again."""

    error: BaseException | None
    made: tuple[Departure, ...]
    digest: str
    steps: int
    lanes: int
    story: tuple[str, ...]

    def fails_like(self, other: Outcome) -> bool:
        """Whether both have failed, and in the same way."""
        if self.error is None or other.error is None or type(self.error) is not type(other.error):
            return False
        return _kind(self.error) == _kind(other.error)


def run(subject: Subject, strategy: Strategy, *, seed: int, eager: bool, story: bool = False) -> Outcome:
    """Run *subject* once. What goes wrong in it is in the outcome; only what ends a process is raised.

    Raises:
        RuntimeError: An event loop is running in this thread, or another run is under way in this process.
    """
    if running_loop() is not None:
        raise RuntimeError(
            "a simulated test is an ordinary function with a loop of its own: call it outside of any other"
        )
    if not _one_run.acquire(blocking=False):
        raise RuntimeError("a simulated run is under way in this process: one at a time, since it replaces its clocks")
    collecting = gc.isenabled()
    gc.disable()  # what finalisers do shall not come at a moment that depends on earlier runs
    try:
        outcome = _run(subject, strategy, seed=seed, eager=eager, story=story)
        gc.collect(0)  # of this run and of nothing older, since the collector was off
    finally:
        if collecting:
            gc.enable()
        _one_run.release()
    return outcome


def _run(subject: Subject, strategy: Strategy, *, seed: int, eager: bool, story: bool) -> Outcome:
    choices = Choices(strategy, seed)
    loop = SimLoop(choices, stall=subject.faults.stall, eager=eager and EAGER_EXISTS)
    error: BaseException | None = None
    with determined(loop, seed):
        book = Story() if story else None
        sim = Simulation(loop, choices, seed=seed, faults=subject.faults, story=book)
        sim.budgets = subject.budgets
        main = loop.create_task(_main(subject, sim), name="test")
        try:
            loop.run_until_complete(main)
            sim.finish()
            error = loop.failures[0] if loop.failures else None
        except BaseException as failure:
            if _is_no_failure(failure):
                raise
            error = failure
        finally:
            digest, steps, lanes = loop.digest(), loop.steps, loop.lanes
            told = tuple(book.told()) if book is not None else ()
            _clean_up(loop, choices)
    return Outcome(error, choices.departures(), digest, steps, lanes, told)


async def _main(subject: Subject, sim: Simulation) -> None:
    if subject.system:
        async with ActorSystem(subject.tree) as system:
            await _body(subject, sim, system)
    else:
        await _body(subject, sim, None)
    await sim.loop.wait_idle()  # what was cancelled and not awaited has its last step before anybody looks for leaks


async def _body(subject: Subject, sim: Simulation, system: ActorSystem | None) -> None:
    sim.begin(system)
    try:
        await subject.test(sim, **subject.arguments)
    except BaseException as error:
        if _is_no_failure(error):
            raise
        sim.tell(f"the test fails: {type(error).__name__}: {error}".removesuffix(": "))
        sim.end_story()
        raise
    sim.tell("the test has ended; its system stops")


def _clean_up(loop: SimLoop, choices: Choices) -> None:
    """End what a failed run has left, and close the loop."""
    choices.started = False
    loop.when_idle.clear()
    loop.after_step = loop.on_choice = None
    loop.muted = True  # what comes now is no news
    if loop.net is not None:
        loop.net.abort()
    loop.last_step = loop.steps + _PATIENCE
    for _ in range(_ROUNDS):
        tasks = loop.tasks()
        if not tasks or loop.steps >= loop.last_step:
            break
        for task in tasks:
            task.cancel()
        before = loop.steps
        if not _run_quietly(loop, loop.wait_idle()) or loop.steps - before < 3:
            break
    for task in loop.tasks():
        forget_task(task)
        with contextlib.suppress(Exception):
            coroutine: Any = task.get_coro()
            coroutine.close()
    loop.last_step = loop.steps + _PATIENCE
    _run_quietly(loop, loop.shutdown_asyncgens())
    loop.close()


def _run_quietly(loop: SimLoop, coroutine: Coroutine[Any, Any, None]) -> bool:
    """Whether it has come to its end; what goes wrong while a failed run is put away is no news."""
    task = loop.create_task(coroutine)
    for _ in range(3):  # the end of the test may still stop the loop, when it ended in the very step of a failure
        if not task.done():
            with contextlib.suppress(Exception):
                loop.run_until_complete(task)
    return task.done()


def _is_no_failure(error: BaseException) -> bool:
    """Whether *error* ends the process or the test as a whole, as pytest's skip does."""
    if isinstance(error, KeyboardInterrupt | SystemExit | GeneratorExit):
        return True
    if type(error).__name__ == "Failed" and str(error).startswith("Timeout (>"):
        return True  # the alarm of pytest-timeout, which rings once
    names = {base.__name__ for base in type(error).__mro__}
    return ("OutcomeException" in names and "Skipped" in names) or (
        type(error).__name__ == "Exit" and "msg" in dir(error)
    )


def _kind(error: BaseException) -> str:
    # What a promise is called comes first in its text: "delivery: ...".
    return str(error).partition(":")[0] if isinstance(error, Violation) else ""
