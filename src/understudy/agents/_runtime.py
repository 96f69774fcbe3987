"""``StructuredAgentRuntime``: agents that start together, fail apart, and end in order."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar, Never, ParamSpec, Self, TypeVar, cast, overload

from understudy._plans._spec import check_name
from understudy._plans._strategies import Plan, Strategy, plan
from understudy.actors._child import as_spec, child
from understudy.actors._handler import handler
from understudy.agents._directory import DYNAMIC, Agents, bounded
from understudy.agents._ending import PROGRAM, EndProgram
from understudy.instrument import Instrument
from understudy.reasons import Killed, Shutdown, is_abnormal
from understudy.supervision._dynamic import DynamicSupervisor
from understudy.supervision._supervisor import DeclaredSupervisor, Supervisor
from understudy.system import ActorSystem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from types import TracebackType

    from understudy._plans._spec import ChildSpec
    from understudy._tree import Tree
    from understudy.actors._actor import Actor
    from understudy.actors._ref import ActorRef
    from understudy.actors._settings import Settings
    from understudy.actors._supervisor_ref import SupervisorRef
    from understudy.agents._budget import Budget
    from understudy.agents._model import Model
    from understudy.reasons import ExitReason

__all__ = ["UNLIMITED", "AgentGroup", "Hooks", "StructuredAgentRuntime", "agent_group"]

M = TypeVar("M")
P = ParamSpec("P")

UNLIMITED = 10**9
"""Restarts that a supervisor allows whose children have limits of their own."""
_DYNAMIC = "dynamic_agents"
_KEPT = 1_000
"""Failures that are remembered."""


class Hooks:
    """What a program wants to do, and to hear of; here nothing."""

    async def open(self) -> None:
        """Before any agent starts."""

    def up(self) -> None:
        """All agents that were declared are up."""

    def ended(self, message: EndProgram) -> None:
        """An agent has ended the program."""

    def failed(self, path: str, reason: ExitReason) -> None:
        """An agent, or a group, that is directly under the root has ended for good by a failure."""


class AgentGroup(DeclaredSupervisor):
    """Agents that are restarted together, or by a policy of their own; made by :func:`agent_group`."""

    def __init__(self, declared: Plan, budget: Budget | None = None) -> None:
        super().__init__(declared)
        self.budget = budget


def agent_group(
    name: str,
    *agents: ChildSpec[Any],
    strategy: Strategy = "one_for_one",
    max_restarts: int = 3,
    max_seconds: float = 5.0,
    budget: Budget | None = None,
) -> ChildSpec[Never]:
    """Declare agents with one strategy and one restart policy, for a runtime or a program.

    ::

        agent_group("panel", child(Critic, "form"), child(Critic, "content"), strategy="one_for_all")

    They start in parallel. The group ends when all of its agents have ended by themselves, those that are permanent not
    counted. When it fails more often than it may, the runtime restarts it as a whole.

    Args:
        name: Its name; a group is also known by its path, like any actor.
        *agents: What :func:`understudy.child` has made; groups may be nested.
        strategy: Who is restarted with an agent that has failed.
        max_restarts: How many restarts of its agents, together, are allowed within *max_seconds*.
        max_seconds: For how many seconds a restart is counted.
        budget: What all of them together may spend.

    Raises:
        InvalidSpec: Something in it is not allowed; it says what, where, and what is.
    """
    specs = [_significant(spec) for spec in agents]
    final = any(spec.get("significant") for spec in specs)
    checked = plan(
        f"agent_group {name!r}",
        strategy,
        max_restarts,
        max_seconds,
        specs,
        parallel_start=True,
        auto_shutdown="all_significant" if final else "never",
    )
    return child(AgentGroup, checked, budget).options(name=name, restart="transient" if final else "permanent")


class StructuredAgentRuntime:
    """Runs the agents of a program under one supervisor.

    ::

        async with StructuredAgentRuntime(child(Writer), agent_group("panel", child(Critic), child(Critic))) as runtime:
            writer = runtime.agents.get("agents/writer", Writer)
            helper = await runtime.start_agent(Helper, "dictionary")

    All agents start at once; one that names others in ``depends_on`` waits for them. It enters when all are up; if one
    does not start, those that did are stopped, and it raises ``StartError``.

    Each agent, and each group, is a world of its own: it has its own restart type, its own limit of restarts (3 in 5 s
    unless its options say otherwise), and its failure restarts or cancels nobody else. One that has failed too often
    ends for good; the others live on, and :attr:`failures` tells of it.

    Leaving it stops all in order, each within its grace, and leaves no task. It is an :class:`understudy.ActorSystem`
    with a tree, and promises no more and no less.

    Args:
        *agents: What :func:`understudy.child`, :func:`agent_group` or :func:`understudy.supervisor` has made.
        name: The name of the system, and of the root of the tree.
        auto_end: End when all agents have ended by themselves, those that are permanent, and those that were started at
            run time, not counted.
        budget: What all agents together may spend.
        model: The model of the agents that were given none.
        interactive: Whether the people in it can be asked.
        settings: As for :class:`understudy.ActorSystem`.
        instruments: Likewise.

    Raises:
        InvalidSpec: Something that was declared is not allowed; nothing was started.
        StartError: On entering: an agent did not start.
    """

    def __init__(
        self,
        *agents: ChildSpec[Any],
        name: str = "agents",
        auto_end: bool = False,
        budget: Budget | None = None,
        model: Model | None = None,
        interactive: bool = True,
        settings: Settings | None = None,
        instruments: Iterable[Instrument] = (),
        _hooks: Hooks | None = None,
    ) -> None:
        self.name = check_name(name, "a runtime of agents")
        self.budget = budget
        """What all agents together may spend."""
        self.model = model
        """The model of the agents that were given none."""
        self.interactive = interactive
        """Whether the people in it can be asked."""
        self._hooks = Hooks() if _hooks is None else _hooks
        self._failures: dict[str, ExitReason] = {}
        home = child(DynamicAgents).options(name=_DYNAMIC)
        specs = [bounded(_significant(spec)) for spec in agents]
        final = auto_end and any(spec.get("significant") for spec in specs)
        # Paths of those whose ends are awaited, to notice that the last of them was stopped, which is no end by itself.
        self._awaited: set[str] = set()
        self._plan = plan(
            f"runtime {name!r}",
            "one_for_one",
            UNLIMITED,
            1.0,
            [home, *(_after(spec if final else spec.options(significant=False)) for spec in specs)],
            parallel_start=True,
            auto_shutdown="all_significant" if final else "never",
        )
        if final:
            self._awaited = {f"/user/{name}/{spec.name}" for spec in self._plan.children if spec.get("significant")}
        self.system = ActorSystem(self.spec, name=self.name, settings=settings, instruments=(_News(self), *instruments))
        """The system in which the agents live."""

    @property
    def spec(self) -> ChildSpec[EndProgram]:
        """The tree, as it is declared."""
        # The program bounds the start as a whole.
        return child(AgentRoot, self).options(name=self.name, start_timeout=math.inf)

    @property
    def agents(self) -> Agents:
        """The agents, and how to reach them."""
        return Agents(self.system)

    @property
    def failures(self) -> Mapping[str, ExitReason]:
        """Who has ended for good by a failure, by their paths, in that order; the latest thousand."""
        return dict(self._failures)

    def tree(self) -> Tree:
        """All actors at this moment; see :meth:`understudy.ActorSystem.tree`."""
        return self.system.tree()

    # Running

    async def __aenter__(self) -> Self:
        await self.system.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.system.__aexit__(kind, error, trace)

    @overload
    async def start_agent(self, agent: ChildSpec[M], /) -> ActorRef[M]: ...
    @overload
    async def start_agent(self, agent: Callable[P, Actor[M]], /, *args: P.args, **kwargs: P.kwargs) -> ActorRef[M]: ...
    async def start_agent(self, agent: Any, /, *args: Any, **kwargs: Any) -> ActorRef[Any]:
        """Start one more agent, under the same rules; returns when its ``initialize`` has ended.

        Raises:
            StartError: It did not start; nothing is left of it.
            ChildAlreadyStarted: One that was started this way has that name; carries its ref.
            ActorStopped: The runtime is on its way out.
        """
        return await self._home.start_child(bounded(as_spec(agent, args, kwargs)))

    async def stop_agent(self, agent: ActorRef[Any], *, timeout: float | None = None) -> ExitReason:
        """Have an agent end for good, by its own shutdown rule, and wait until it has; returns its exit reason.

        Args:
            agent: Its ref.
            timeout: Seconds after which force is used, whatever its own rule says.

        Raises:
            InvalidTimeout: Not a positive number of seconds.
        """
        agent.stop()
        try:
            return await agent.wait_stopped(timeout)
        except TimeoutError:
            agent.kill()
            return await agent.wait_stopped()

    def stop(self, detail: str = "") -> None:
        """Request the orderly end; returns at once, also in an agent."""
        self.system.stop(detail)

    def kill(self) -> None:
        """Request the end by force."""
        self.system.kill()

    async def wait_stopped(self) -> None:
        """Wait until all has ended."""
        await self.system.wait_stopped()

    @property
    def _home(self) -> SupervisorRef[Any]:
        return cast("SupervisorRef[Any]", self.system.registry.lookup(DYNAMIC))

    def _end(self, message: EndProgram) -> None:
        self._hooks.ended(message)
        self.system.stop(f"{message.by} has ended it")

    def _ended(self, path: str, reason: ExitReason) -> None:
        forced = isinstance(reason, Killed) and isinstance(reason.first, Shutdown)  # asked to, and not quick enough
        if is_abnormal(reason) and not forced:
            self._failures[path] = reason
            if len(self._failures) > _KEPT:
                del self._failures[next(iter(self._failures))]
            if path.rpartition("/")[0] == f"/user/{self.name}":
                self._hooks.failed(path, reason)
        if path in self._awaited:
            self._awaited.remove(path)
            if not self._awaited:
                self.system.stop("its agents have ended")


class AgentRoot(Supervisor[EndProgram]):
    """The root of a runtime of agents."""

    def __init__(self, runtime: StructuredAgentRuntime) -> None:
        self.runtime = runtime
        self.budget = runtime.budget
        self.model_of_all = runtime.model
        self.people_can_be_asked = runtime.interactive

    async def initialize(self) -> None:
        self.context.register(PROGRAM)
        await self.runtime._hooks.open()  # pyright: ignore[reportPrivateUsage]

    @handler
    def end(self, message: EndProgram) -> None:
        self.runtime._end(message)  # pyright: ignore[reportPrivateUsage]

    def _understudy_plan(self, path: str, before: Plan | None = None) -> Plan:
        return self.runtime._plan  # pyright: ignore[reportPrivateUsage]


class DynamicAgents(DynamicSupervisor):
    """Agents that are started while a runtime runs."""

    max_restarts: ClassVar[int] = UNLIMITED
    max_seconds: ClassVar[float] = 1.0

    def initialize(self) -> None:
        self.context.register(DYNAMIC)


class _News(Instrument):
    """Hears when all are up, and of agents that have ended for good."""

    def __init__(self, runtime: StructuredAgentRuntime) -> None:
        self._runtime = runtime
        self._prefix = f"/user/{runtime.name}/"

    def actor_started(self, path: str, incarnation: int) -> None:
        if path == f"/user/{self._runtime.name}":
            self._runtime._hooks.up()  # pyright: ignore[reportPrivateUsage]

    def actor_stopped(self, path: str, reason: ExitReason) -> None:
        if path.startswith(self._prefix):
            self._runtime._ended(path, reason)  # pyright: ignore[reportPrivateUsage]


def _significant(spec: ChildSpec[Any]) -> ChildSpec[Any]:
    """*spec*, whose end by itself counts, if it can end by itself."""
    checked = as_spec(spec, (), {})
    final = (checked.get("restart") or "permanent") != "permanent"
    return checked.options(significant=True) if final and checked.get("significant") is None else checked


def _after(spec: ChildSpec[Any]) -> ChildSpec[Any]:
    """*spec*, which may start others when it starts."""
    return spec.options(depends_on=(*(spec.get("depends_on") or ()), _DYNAMIC))
