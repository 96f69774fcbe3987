"""``AsyncProgram``: agents and what they work with, from the first thing opened to the last one closed."""

from __future__ import annotations

import math
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Never

from understudy._plans._spec import check_name, check_seconds, snake_case
from understudy._plans._strategies import unique_names
from understudy.actors._actor import Actor
from understudy.actors._child import child
from understudy.actors._handler import handler
from understudy.actors._settings import Settings
from understudy.agents._course import MAIN, Course
from understudy.agents._report import ProgramReport
from understudy.agents._runtime import StructuredAgentRuntime
from understudy.exceptions import InvalidContext
from understudy.messages import Message

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from understudy._plans._spec import ChildSpec
    from understudy.agents._agent import AsyncAgent
    from understudy.agents._budget import Budget
    from understudy.agents._model import Model
    from understudy.instrument import Instrument

__all__ = ["AsyncProgram"]


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
    model: Model | None = None
    """The model of the agents that were given none; ``understudy run --model`` sets it. Without one either they have a
    :class:`ScriptedModel`."""
    front: str | type[AsyncAgent[Any]] | None = None
    """Whom people talk to, by ``understudy chat`` and ``understudy run --message``: the name or id of an agent, or its
    class. By default the only agent that answers a ``Prompt`` or a ``Converse``."""
    interactive: bool = True
    """Whether the people in it can be asked. False: whoever asks one is refused with ``NotInteractive``; so does
    ``understudy run --non-interactive``."""
    guests: Sequence[ChildSpec[Any]] = ()
    """Agents that whoever runs it adds to its own, as the command line adds a person; to be set before it runs."""
    report: ProgramReport | None = None
    """How it went; None until it has ended."""

    _runtime: StructuredAgentRuntime | None = None
    _course: Course | None = None
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
        course = self._course = Course(self)
        self._runtime = course.runtime = self._make_runtime(settings, instruments, course)
        return await course.whole()

    @property
    def _label(self) -> str:
        return self.name or snake_case(type(self).__name__)

    def _make_runtime(
        self, settings: Settings | None, instruments: Iterable[Instrument], course: Course | None
    ) -> StructuredAgentRuntime:
        name = check_name(self._label, f"program {type(self).__qualname__}")
        for field in ("initialize_timeout", "execute_timeout", "clean_up_timeout"):
            check_seconds(field, getattr(self, field), f"program {name}")
        given = Settings() if settings is None else settings
        specs = list(unique_names(f"program {name}", [*self.agents(), *self.guests]))
        custom = type(self).execute is not AsyncProgram.execute
        if custom:
            everybody = tuple(str(spec.name) for spec in specs)
            main = child(Main, self).options(name=MAIN, restart="temporary", significant=False, depends_on=everybody)
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
            model=self.model,
            interactive=self.interactive,
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
        course = self.program._course  # pyright: ignore[reportPrivateUsage]
        assert course is not None
        course.up()
        result = await self.program.execute()
        self.program.stop(result)
