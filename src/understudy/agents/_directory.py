"""``Agents``: who there is, and how to reach them: one by its id, any of a class, all of a group."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast, overload

from understudy._plans._spec import ChildSpec, check_count, check_type
from understudy.actors._child import as_spec
from understudy.actors._routers import Broadcast
from understudy.exceptions import ActorNotFound, ActorStopped, StartError

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from understudy.actors._actor import Actor
    from understudy.actors._context import System
    from understudy.actors._ref import ActorRef
    from understudy.actors._supervisor_ref import SupervisorRef
    from understudy.messages import Asks

__all__ = ["DYNAMIC", "AgentClass", "AgentId", "Agents", "AnyOf", "Place", "bounded"]

M = TypeVar("M")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class AgentId:
    """The key of an agent in ``system.registry``; the value of that entry is its description."""

    id: str


@dataclass(frozen=True, slots=True)
class AgentClass:
    """The name of the group of all agents of a class, in ``system.groups``."""

    agent: type[Any]


@dataclass(frozen=True, slots=True)
class Place:
    """The key of a part of a runtime of agents in ``system.registry``."""

    name: str


DYNAMIC = Place("dynamic agents")
"""The supervisor of the agents that are started at run time."""


class Agents:
    """The agents of a system: ``self.agents`` in an agent, ``Agents(system)`` elsewhere.

    An agent is known by its id, and is a member of the groups of its classes: ``AgentClass(Researcher)`` is the name,
    in ``system.groups``, of all researchers, those of subclasses too. It is there from before its ``initialize``; what
    is sent to it then waits.

    Args:
        system: The system, which is running.
    """

    __slots__ = ("_system",)

    def __init__(self, system: System) -> None:
        self._system = system

    @overload
    def get(self, name: str, agent: type[Actor[M]]) -> ActorRef[M]: ...
    @overload
    def get(self, name: str) -> ActorRef[Any]: ...
    def get(self, name: str, agent: type[Actor[Any]] | None = None) -> ActorRef[Any]:
        """The agent with the id *name*.

        Args:
            name: Its id.
            agent: The class that it must have, for you and for the type checker.

        Raises:
            ActorNotFound: There is none.
            WrongActorType: Its class is another.
        """
        found = self.find(name) if agent is None else self.find(name, agent)
        if found is None:
            raise ActorNotFound(path=f"with the agent id {name!r}")
        return found

    @overload
    def find(self, name: str, agent: type[Actor[M]]) -> ActorRef[M] | None: ...
    @overload
    def find(self, name: str) -> ActorRef[Any] | None: ...
    def find(self, name: str, agent: type[Actor[Any]] | None = None) -> ActorRef[Any] | None:
        """Like :meth:`get`, with None where there is no such agent."""
        registry, key = self._system.registry, AgentId(name)
        return registry.find(key) if agent is None else registry.find(key, agent)

    def of(self, agent: type[Actor[M]]) -> tuple[ActorRef[M], ...]:
        """The agents of that class, and of its subclasses, those that have been there longest first."""
        return self._system.groups.members(AgentClass(check_type(agent, "agents.of")))

    def group(self, name: Hashable, agent: type[Actor[M]]) -> Broadcast[M]:
        """An address for all agents that have joined the group *name*, at the time of each message.

        Args:
            name: As in ``self.context.join(name)``, or in the attribute ``groups`` of a class of agents.
            agent: The class of the members, for the type checker only.
        """
        return Broadcast(self._system, self._system.groups.group(name, agent))

    @overload
    def any_of(self, agent: ChildSpec[M], /, *, most: int = 10) -> AnyOf[M]: ...
    @overload
    def any_of(self, agent: Callable[[], Actor[M]], /, *, most: int = 10) -> AnyOf[M]: ...
    def any_of(self, agent: Any, /, *, most: int = 10) -> AnyOf[Any]:
        """An address for a class: each message goes to an idle agent of it, or to a new one.

        Args:
            agent: The class, or what :func:`understudy.child` has made of it with its arguments.
            most: No more of them than that are started for it; then the one with the least to do gets the message.

        Raises:
            InvalidSpec: *agent* is no class of actors, or *most* is no whole number from 1 on.
        """
        spec = as_spec(agent, (), {})
        return AnyOf(self._system, spec, check_count("most", most, "agents.any_of", least=1))


class AnyOf(Generic[M]):
    """An address for a class of agents; made by :meth:`Agents.any_of`.

    Idle is who is up, has nothing in hand, and nothing waiting. New agents are started at run time: by the runtime that
    the system belongs to, and without one under ``/user``.
    """

    __slots__ = ("_most", "_spec", "_starts", "_system")

    def __init__(self, system: System, spec: ChildSpec[M], most: int) -> None:
        self._system = system
        self._spec = spec
        self._most = most
        # One for each that is being started for this address, so that callers at the same time do not start too many.
        self._starts: list[asyncio.Future[None]] = []

    async def ask(self, message: Asks[M, R], *, timeout: float | None = None) -> R:
        """:meth:`ActorRef.ask` of an idle agent, or of a new one; *timeout* does not bound its start.

        Raises:
            UnderstudyError: What ``ask`` of a ref raises.
            StartError: There was none, and a new one did not start.
        """
        return await (await self.ref()).ask(message, timeout=timeout)

    async def send(self, message: M, *, timeout: float | None = None) -> None:
        """:meth:`ActorRef.send` to an idle agent, or to a new one.

        Raises:
            UnderstudyError: What ``send`` of a ref raises.
            StartError: There was none, and a new one did not start.
        """
        await (await self.ref()).send(message, timeout=timeout)

    async def ref(self) -> ActorRef[M]:
        """An idle agent, or a new one. It is idle at this moment, and nobody keeps it so.

        Raises:
            StartError: There was none, and a new one did not start.
        """
        while True:
            refs = self._accepting()
            idle = next((ref for ref in refs if _idle(ref)), None)
            if idle is not None:
                return idle
            # Who is being started is among the members soon, and counted twice then: that errs on the right side.
            if len(refs) + len(self._starts) < self._most:
                break
            if refs:
                return min(refs, key=_load)
            await asyncio.wait(self._starts, return_when=asyncio.FIRST_COMPLETED)
        start: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._starts.append(start)
        try:
            new = await self._start()
        except (ActorStopped, StartError):
            others = self._accepting()
            if not others:
                raise
            return min(others, key=_load)  # one does not start, but there are some
        finally:
            self._starts.remove(start)
            start.set_result(None)
        # It may have been found by others meanwhile.
        return new if _idle(new) else min(self._accepting() or [new], key=_load)

    def _accepting(self) -> list[ActorRef[M]]:
        members: tuple[ActorRef[M], ...] = self._system.groups.members(AgentClass(self._spec.factory))
        return [ref for ref in members if ref._accepts]  # pyright: ignore[reportPrivateUsage]

    async def _start(self) -> ActorRef[M]:
        home = cast("SupervisorRef[Any] | None", self._system.registry.find(DYNAMIC))
        return await (self._system.spawn(self._spec) if home is None else home.start_child(bounded(self._spec)))

    def __repr__(self) -> str:
        return f"<any {self._spec.factory.__name__}, {self._most} at most>"


def _load(ref: ActorRef[Any]) -> tuple[bool, int]:
    return ref._load  # pyright: ignore[reportPrivateUsage]


def _idle(ref: ActorRef[Any]) -> bool:
    return _load(ref) == (False, 0)


def bounded(spec: ChildSpec[M]) -> ChildSpec[M]:
    """*spec* with a limit of restarts of its own, for under a supervisor that has none."""
    most, seconds = spec.get("max_restarts"), spec.get("max_seconds")
    return spec.options(max_restarts=3 if most is None else most, max_seconds=5.0 if seconds is None else seconds)
