"""The course of one run of a program: its phases, and what is known of its end."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING

from understudy.agents._errors import ProgramFailed
from understudy.agents._report import PhaseReport, ProgramReport
from understudy.agents._runtime import Hooks
from understudy.exceptions import StartError, SystemCollapsed
from understudy.reasons import Shutdown, plain_seconds, root_error

if TYPE_CHECKING:
    from understudy.agents._ending import EndProgram
    from understudy.agents._program import AsyncProgram
    from understudy.agents._report import Outcome, PhaseName
    from understudy.agents._runtime import StructuredAgentRuntime
    from understudy.reasons import ExitReason

__all__ = ["MAIN", "Course"]

MAIN = "main"
"""The name of the actor that runs the hook ``execute`` of a program."""


class Course(Hooks):
    """One run of a program: its phases, and what is known of its end."""

    runtime: StructuredAgentRuntime

    def __init__(self, program: AsyncProgram) -> None:
        self.program = program
        self.phases: list[PhaseReport] = []
        self.problem = ""
        """The first thing that went wrong."""
        self.cause: BaseException | None = None
        self.reason: ExitReason | None = None
        self._results: list[object] = []
        self._opened = False
        # Somebody has asked for the end, perhaps before all were up.
        self._asked = False
        self._loop = asyncio.get_running_loop()
        self._executed: asyncio.Future[None] = self._loop.create_future()
        self._phase: PhaseName = "initialize"
        self._began = self._loop.time()
        self._problem_of_phase = ""

    def end(self, result: object) -> None:
        """It ends with *result*, unless there is one already."""
        self._asked = True
        if not self._results:
            self._results.append(result)

    async def whole(self) -> ProgramReport:
        """All three phases."""
        outcome: Outcome = "cancelled"
        # The first thing that happens when the system is to end, and the last.
        self.runtime.system.phases.add("before", self._end_execution, name="execute")
        self.runtime.system.phases.add("after", self._clean_up, name="clean_up")
        try:
            await self._live()
            outcome = "failed" if self.problem else "completed"
        except asyncio.CancelledError:
            raise
        except BaseException:
            outcome = "failed"
            raise
        finally:
            self._next("clean_up")
            report = self.program.report = self._report(outcome)
        if self.problem:
            failed = ProgramFailed(program=self.runtime.name, problem=self.problem, report=report, reason=self.reason)
            raise failed from self.cause
        return report

    async def _live(self) -> None:
        program, system = self.program, self.runtime.system
        bound = asyncio.timeout(_bound(program.initialize_timeout))
        try:
            async with bound:
                await system.__aenter__()
        except (StartError, TimeoutError) as error:
            if bound.expired():
                self._blame(
                    "initialize", f"not done within {plain_seconds(program.initialize_timeout)}", None, first=True
                )
            elif not (self._asked and isinstance(error, StartError) and isinstance(error.reason, Shutdown)):
                self._blame("initialize", str(error), error, first=not self._asked)
            return
        self.up()
        thrown: BaseException | None = None
        try:
            await self._execute()
        except BaseException as caught:
            thrown = caught
        try:
            await system.__aexit__(None if thrown is None else type(thrown), thrown, None)
        except SystemCollapsed as collapsed:
            self._blame("execute", str(collapsed), collapsed)
            self.reason = self.reason or collapsed.reason
            return
        if thrown is not None:
            raise thrown

    async def _execute(self) -> None:
        try:
            async with asyncio.timeout(_bound(self.program.execute_timeout)):
                await asyncio.wait({self._executed})
        except TimeoutError:
            self._blame("execute", f"not done within {plain_seconds(self.program.execute_timeout)}", None)

    # The hooks

    async def open(self) -> None:
        self._opened = True
        await self.program.initialize()

    def up(self) -> None:
        if self._phase == "initialize":
            self._next("execute")

    async def _end_execution(self) -> None:
        self._next("clean_up")
        if not self._executed.done():
            self._executed.set_result(None)

    async def _clean_up(self) -> None:
        program = self.program
        try:
            if self._opened:
                await program.clean_up()
            task = asyncio.current_task()
            if task is not None and task.cancelling():  # it has swallowed that
                self._blame("clean_up", "the hook was not done in time", None)
        except asyncio.CancelledError:
            self._blame("clean_up", "the hook was not done in time", None)
            raise
        except Exception as error:
            self._blame("clean_up", f"{type(error).__name__}: {error}", error)
        finally:
            await self._leave_resources()

    async def _leave_resources(self) -> None:
        try:
            await self.program.resources.aclose()
        except asyncio.CancelledError:
            self._blame("clean_up", "the resources were not left in time", None)
            raise
        except Exception as error:
            self._blame("clean_up", f"{type(error).__name__}: {error}", error)

    def ended(self, message: EndProgram) -> None:
        self.end(message.result)

    def failed(self, path: str, reason: ExitReason) -> None:
        if self._phase == "clean_up" or (self.program.keep_going and not path.endswith(f"/{MAIN}")):
            return
        if not self.problem:
            self.reason = reason
        self._asked = True
        self._blame(self._phase, f"{path} has ended: {reason}", root_error(reason))
        self.runtime.system.stop(f"{path} has failed")

    # The report

    def _blame(self, phase: PhaseName, problem: str, error: BaseException | None, *, first: bool = False) -> None:
        """That *problem* has come up; what came before it, though it is heard of later, is *first*."""
        if not self.problem or first:
            self.problem, self.cause = f"{phase}: {problem}", error
        if phase == self._phase:
            self._problem_of_phase = self._problem_of_phase or problem
            return
        for number, known in enumerate(self.phases):
            if known.name == phase and not known.problem:
                self.phases[number] = PhaseReport(phase, known.seconds, problem)

    def _next(self, phase: PhaseName) -> None:
        """The phase now ends, and *phase* begins."""
        if self._phase == phase:
            return
        self._close_phase()
        self._phase = phase

    def _close_phase(self) -> None:
        now = self._loop.time()
        self.phases.append(PhaseReport(self._phase, now - self._began, self._problem_of_phase))
        self._began, self._problem_of_phase = now, ""

    def _report(self, outcome: Outcome) -> ProgramReport:
        self._close_phase()
        return ProgramReport(
            program=self.runtime.name,
            outcome="failed" if self.problem and outcome == "completed" else outcome,
            result=self._results[0] if self._results else None,
            phases=tuple(self.phases),
            failures=self.runtime.failures,
            abandoned=self.runtime.system.abandoned,
        )


def _bound(seconds: float) -> float | None:
    return None if seconds == math.inf else seconds
