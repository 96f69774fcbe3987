"""A declared tree, from its start to the exit code."""

from __future__ import annotations

import asyncio
import math
import signal
import time
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import structlog

from understudy.cli._progress import facts
from understudy.exceptions import InvalidSpec, StartError, UsageError
from understudy.reasons import Crashed, Killed, RestartsExceeded, StartFailed
from understudy.runner import run
from understudy.system import ActorSystem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from understudy._plans._spec import ChildSpec
    from understudy.actors._settings import Settings
    from understudy.agents._program import AsyncProgram
    from understudy.agents._report import ProgramReport
    from understudy.cli._profile import Profile
    from understudy.cli._progress import Progress
    from understudy.reasons import ExitReason

__all__ = ["causes", "run_program", "run_tree"]

KILLED = 128
"""Plus the number of the signal: what a shell says of a process that died of it."""


def run_tree(
    spec: ChildSpec[Any],
    progress: Progress,
    settings: Settings,
    profile: Profile | None = None,
    seconds: float | None = None,
) -> int:
    """Start the tree, wait for its end, and return the exit code.

    The first SIGINT or SIGTERM stops it in order, which is as good an end as its own: 0. The second kills: 130, 143.

    Args:
        spec: The declared tree.
        progress: What shows that it runs.
        settings: Those of the system.
        profile: Measures what the actors do, until the tree begins to stop.
        seconds: After how many of them to stop it; by default it is its own affair.

    Raises:
        UsageError: Its declaration does not validate.
        StartError: It did not start.
        SystemCollapsed: It ended abnormally.
    """
    return _exit_code(_TreeRun(spec, progress, settings, profile, seconds), progress)


def run_program(
    program: AsyncProgram, progress: Progress, settings: Settings, interrupted: Callable[[], bool] | None = None
) -> int:
    """Run a program of agents through its phases, and return the exit code, as for a tree.

    Args:
        program: The program.
        progress: What shows that it runs.
        settings: Those of its system.
        interrupted: Asked first for each SIGINT; see :func:`understudy.run`.

    Raises:
        UsageError: Its declaration does not validate.
        ProgramFailed: An agent or a phase has failed.
    """
    return _exit_code(_ProgramRun(program, progress, settings), progress, interrupted)


def _exit_code(attempt: _Run, progress: Progress, interrupted: Callable[[], bool] | None = None) -> int:
    try:
        progress.start()
        run(attempt.main(), loop_factory=attempt.loop_factory, interrupted=interrupted)
    except KeyboardInterrupt:
        return KILLED + signal.SIGINT if attempt.signals > 1 else 0
    except SystemExit:  # from SIGTERM; a SystemExit in an actor is that actor's crash
        return KILLED + signal.SIGTERM if attempt.signals > 1 else 0
    except InvalidSpec as error:
        raise UsageError(f"it declares what cannot work: {error}") from error
    except StartError as error:
        if invalid := _invalid_spec(error):
            raise UsageError(f"{error.path} declares what cannot work: {invalid}") from error
        raise
    finally:
        progress.stop()
    return 0


class _Run(ABC):
    """One run of a tree, or of a program."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self.loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None
        """What makes the event loop; None: as usual."""
        self._began = time.monotonic()
        self.signals = 0
        """How many have come; known at the end."""

    async def main(self) -> None:
        """From the start to the end."""
        try:
            await self._live()
        finally:
            task = asyncio.current_task()
            assert task is not None
            # The runner cancels this task for each signal; the system takes back its own cancel, that of a collapse.
            self.signals = task.cancelling()
            self._log("ended")

    @abstractmethod
    async def _live(self) -> None: ...

    @property
    @abstractmethod
    def _system(self) -> ActorSystem | None:
        """The system, once there is one."""

    def _show(self) -> None:
        if self._system is not None:
            self._progress.show(self._system.statistics(), self._seconds())

    def _log(self, event: str) -> None:
        numbers = {} if self._system is None else facts(self._system.statistics(), self._seconds())
        structlog.get_logger().info(event, **numbers)

    def _seconds(self) -> float:
        return time.monotonic() - self._began


class _TreeRun(_Run):
    def __init__(
        self,
        spec: ChildSpec[Any],
        progress: Progress,
        settings: Settings,
        profile: Profile | None,
        seconds: float | None,
    ) -> None:
        super().__init__(progress)
        self._profile = profile
        if profile is not None:
            self.loop_factory = profile.new_event_loop
        self._limit = math.inf if seconds is None else seconds
        self._tree = ActorSystem(spec, name=spec.name or spec.label, settings=settings)

    @property
    def _system(self) -> ActorSystem:
        return self._tree

    async def _live(self) -> None:
        async with self._tree:
            self._log("started")
            await self._watch()

    async def _watch(self) -> None:
        """Show how things are, until the system has ended."""
        ended = asyncio.ensure_future(self._tree.wait_stopped())
        try:
            end = self._seconds() + self._limit
            while not ended.done() and (left := end - self._seconds()) > 0:
                await asyncio.wait({ended}, timeout=min(self._progress.interval, left))
                if not ended.done():
                    self._show()
        except asyncio.CancelledError:
            self._log("stopping")
            raise
        finally:
            ended.cancel()
            if self._profile is not None:
                self._profile.end()


class _ProgramRun(_Run):
    def __init__(self, program: AsyncProgram, progress: Progress, settings: Settings) -> None:
        super().__init__(progress)
        self._program = program
        self._settings = settings

    @property
    def _system(self) -> ActorSystem | None:
        return self._program.runtime.system if self._program.has_begun else None

    async def _live(self) -> None:
        watching = asyncio.ensure_future(self._watch())
        try:
            await self._program.run(settings=self._settings)
        finally:
            watching.cancel()
            if self._program.report is not None:
                structlog.get_logger().info("report", **_phases(self._program.report))

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self._progress.interval)
            self._show()


def _phases(report: ProgramReport) -> dict[str, object]:
    seconds: dict[str, object] = {phase.name: round(phase.seconds, 3) for phase in report.phases}
    return {"outcome": report.outcome, **seconds}


def _invalid_spec(error: BaseException | None) -> InvalidSpec | None:
    while error is not None and not isinstance(error, InvalidSpec):
        error = error.__cause__
    return error


def causes(error: BaseException) -> Iterator[str]:
    """*error* and the chain of what led to it, a line each, outermost first, and where the last of it happened."""
    yield from str(error).splitlines()
    reason: ExitReason | None = getattr(error, "reason", None)
    while isinstance(reason, RestartsExceeded | Killed):
        reason = reason.last_reason if isinstance(reason, RestartsExceeded) else reason.first
    if isinstance(reason, Crashed | StartFailed) and reason.frames:
        file, line, function = reason.frames[-1]
        yield f"  at {file}:{line} in {function}"
    inner = error.__cause__
    while inner is not None and (inner := inner.__cause__) is not None:
        yield f"  because {type(inner).__name__}: {inner}"
    yield from getattr(error, "__notes__", ())
