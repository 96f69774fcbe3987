"""``AsyncProgram``: agents and what they work with, from the first thing opened to the last one closed."""

from __future__ import annotations

import asyncio
import math
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Never

from understudy._plans._spec import check_name, check_seconds, snake_case
from understudy._plans._strategies import unique_names
from understudy.actors._actor import Actor
from understudy.actors._child import child
from understudy.actors._handler import handler
from understudy.actors._settings import Settings
from understudy.agents._ending import EndProgram
from understudy.agents._errors import ProgramFailed
from understudy.agents._report import PhaseReport, ProgramReport
from understudy.agents._runtime import Hooks, StructuredAgentRuntime
from understudy.exceptions import InvalidContext, StartError, SystemCollapsed
from understudy.messages import Message
from understudy.reasons import Shutdown, plain_seconds, root_error

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from understudy._plans._spec import ChildSpec
    from understudy.agents._budget import Budget
    from understudy.agents._report import Outcome, PhaseName
    from understudy.instrument import Instrument
    from understudy.reasons import ExitReason

__all__ = ["AsyncProgram"]

_MAIN = "main"
"""The name of the actor that runs the hook ``execute``."""


class AsyncProgram:
    """A program made of agents. It runs in three phases, each of which is bounded and reported, and always the last.

    ::

        class Research(AsyncProgram):
            def agents(self) -> list[ChildSpec]:
                return [child(Writer), agent_group("panel", child(Critic, "form"), child(Critic, "content"))]

            async def initialize(self) -> None:
                self.index = await self.resources.enter_async_context(open_index())

        report = await Research().run()

    1. *initialize*: the hook of that name opens what the agents work with; then all agents start, in parallel.
    2. *execute*: the agents work. The phase ends when all of them have ended by themselves (those that are permanent
       are not waited for), when an agent calls ``self.end_program(result)``, when somebody calls :meth:`stop`, or when
       the hook ``execute`` returns, if the program has one. It also ends when an agent has ended for good by a failure,
       unless *keep_going* is set; the others are then stopped in order, each within its grace.
    3. *clean up*: the agents are stopped, then comes the hook ``clean_up``, then what was entered into ``resources`` is
       left, last first. This happens once, whatever the end was, also after half an initialization.

    A cancel is an orderly end: it goes through the third phase, and then on. A second one shortens that: agents are
    killed, the hook is cancelled after a moment, and ``resources`` are left all the same; each may wait for a moment.
    What resists every cancel is abandoned and named in the report. Nothing else is left.

    An instance runs once.
    """

    name: str = ""
    """Its name, and that of the root of its tree. By default that of the class in snake_case."""
    initialize_timeout: float = 30.0
    """Seconds that the first phase may take, hook and agents together."""
    execute_timeout: float = math.inf
    """Seconds that the second phase may take. When they are over the program has failed, and cleans up."""
    clean_up_timeout: float = 5.0
    """Seconds that the hook ``clean_up`` and ``resources`` may take together, when the agents have ended; these have
    what ``Settings.shutdown_timeout`` allows."""
    keep_going: bool = False
    """Whether the others go on when an agent has ended for good by a failure."""
    budget: Budget | None = None
    """What all agents together may spend."""
    report: ProgramReport | None = None
    """How it went; None until it has ended."""

    _runtime: StructuredAgentRuntime | None = None
    _course: _Course | None = None
    _resources: AsyncExitStack | None = None

    # What a program declares

    def agents(self) -> Sequence[ChildSpec[Any]]:
        """The agents: what ``child``, ``agent_group`` and ``supervisor`` have made. It only declares."""
        return []

    async def initialize(self) -> None:
        """Open what the agents work with; before any of them starts. What it enters into ``resources`` is closed."""

    async def execute(self) -> object:
        """What the program does besides its agents, while they are up; its end is that of the program.

        Without it the program ends when its agents have. It runs as an actor: it may ask, and its failure is one of the
        program. It is cancelled when the program ends otherwise.
        """
        raise NotImplementedError

    async def clean_up(self) -> None:
        """Close what ``initialize`` has opened; when all agents have ended. Called if ``initialize`` has begun."""

    # What it has

    @property
    def resources(self) -> AsyncExitStack:
        """What is entered here is left at the end, last first: ``await self.resources.enter_async_context(...)``."""
        if self._resources is None:
            self._resources = AsyncExitStack()
        return self._resources

    @property
    def runtime(self) -> StructuredAgentRuntime:
        """What runs the agents: from ``initialize`` on.

        Raises:
            InvalidContext: The program has not begun.
        """
        if self._runtime is None:
            raise InvalidContext(
                what=f"program {self._label}", problem="it has not begun: use runtime from initialize on"
            )
        return self._runtime

    @property
    def has_begun(self) -> bool:
        """Whether ``run`` has begun, and ``runtime`` can be looked at."""
        return self._runtime is not None

    def stop(self, result: object = None) -> None:
        """Request the orderly end, with *result*; returns at once. The first result counts.

        Raises:
            InvalidContext: The program has not begun.
        """
        runtime = self.runtime
        assert self._course is not None
        self._course.end(result)
        runtime.system.stop("the program was stopped")

    def spec(self) -> ChildSpec[Any]:
        """The tree of its agents, as it is declared; nothing is started.

        Raises:
            InvalidSpec: Something that it declares is not allowed.
        """
        return self._make_runtime(None, (), None).spec

    # Running

    async def run(self, *, settings: Settings | None = None, instruments: Iterable[Instrument] = ()) -> ProgramReport:
        """Run it, from the first phase to the last, and return the report.

        Args:
            settings: For the system of the agents. ``phase_timeout`` is that of the program.
            instruments: Who else shall be told what happens.

        Raises:
            ProgramFailed: An agent has failed for good, or a phase has failed, or was not done in time; it has cleaned
                up. ``__cause__`` is the first error.
            InvalidSpec: Something that it declares is not allowed; nothing was started.
            InvalidContext: It has run before.
        """
        if self._runtime is not None:
            raise InvalidContext(what=f"program {self._label}", problem="it runs once: make a new one")
        course = self._course = _Course(self)
        self._runtime = course.runtime = self._make_runtime(settings, instruments, course)
        return await course.whole()

    @property
    def _label(self) -> str:
        return self.name or snake_case(type(self).__name__)

    def _make_runtime(
        self, settings: Settings | None, instruments: Iterable[Instrument], course: _Course | None
    ) -> StructuredAgentRuntime:
        name = check_name(self._label, f"program {type(self).__qualname__}")
        for field in ("initialize_timeout", "execute_timeout", "clean_up_timeout"):
            check_seconds(field, getattr(self, field), f"program {name}")
        given = Settings() if settings is None else settings
        specs = list(unique_names(f"program {name}", self.agents()))
        custom = type(self).execute is not AsyncProgram.execute
        if custom:
            everybody = tuple(str(spec.name) for spec in specs)
            main = child(Main, self).options(name=_MAIN, restart="temporary", significant=False, depends_on=everybody)
            specs.append(main)
        bounds = {
            "phase_timeout": self.clean_up_timeout,
            "shutdown_timeout": given.shutdown_timeout + self.clean_up_timeout,
        }
        return StructuredAgentRuntime(
            *specs,
            name=name,
            auto_end=not custom,
            budget=self.budget,
            settings=given.model_copy(update=bounds),
            instruments=instruments,
            _hooks=course,
        )


class Begin(Message):
    """To the actor of a program's own work: begin."""


class Main(Actor[Never]):
    """Runs the hook ``execute`` of a program."""

    def __init__(self, program: AsyncProgram) -> None:
        self.program = program

    def initialize(self) -> None:
        self.context.tell_self(Begin())

    @handler
    async def _begin(self, message: Begin) -> None:
        result = await self.program.execute()
        self.program.stop(result)


class _Course(Hooks):
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
        if self._phase == "initialize":
            self._next("execute")
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

    async def _end_execution(self) -> None:
        if self._phase != "clean_up":
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
        if self._phase == "clean_up" or (self.program.keep_going and not path.endswith(f"/{_MAIN}")):
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
