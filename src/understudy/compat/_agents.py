"""Agents of the old design as actors: ``begin``, ``handle_message``, an inbox for each sender."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from inspect import isawaitable
from typing import TYPE_CHECKING, Any, ClassVar, ParamSpec, Protocol, TypeVar, cast

from typing_extensions import deprecated

from understudy.actors._actor import Actor
from understudy.actors._child import child
from understudy.actors._handler import handler
from understudy.compat._errors import ExecutionFinished
from understudy.compat._inboxes import AgentMessage, Inboxes, Stopping, sender_id_of
from understudy.events import ActorStartedEvent
from understudy.exceptions import ActorStopped, InvalidSpec
from understudy.mailbox._errors import QueueFull
from understudy.mailbox._queue import AsyncMessageQueue
from understudy.messages import Continue

if TYPE_CHECKING:
    from understudy._plans._spec import ChildSpec, Options
    from understudy.reasons import ExitReason

__all__ = ["BaseAgent", "OldAgent", "Program", "agent"]

M = TypeVar("M")
P = ParamSpec("P")


class OldAgent(Protocol):
    """What :func:`agent` wants of an object: an id. Its class has ``begin``, ``handle_message``, or both."""

    @property
    def id(self) -> str:
        """Its id, under which others send to it."""
        ...


class Program:
    """What an old agent finds in ``self.program``: the way to the others. They are reached by messages only."""

    def __init__(self, host: Hosted[Any]) -> None:
        self._host = host

    async def route_message(self, sender_id: str, receiver_id: str, message: str) -> None:
        """Send the text *message* to the agent with the id *receiver_id*; waits while its mailbox is full.

        An actor that is registered under that id in ``system.registry`` gets it as an :class:`AgentMessage`. Where
        nobody is, or nobody any more, it becomes a dead letter, and the sender goes on.
        """
        system, letter = self._host.context.system, AgentMessage(sender_id=sender_id, content=message)
        ref = system.registry.find(receiver_id)
        if ref is not None:
            try:
                await ref.send(letter)
                return
            except ActorStopped:
                pass
        self._host.undelivered(letter, receiver_id)


@deprecated(
    "BaseAgent is the interface of the old design: write an `understudy.Actor` with a handler for each type of message"
)
class BaseAgent:
    """The base class of old agents: a subclass has ``async def begin(self)``, or ``handle_message(self, message)``.

    Deprecated: write an :class:`understudy.Actor` with a handler for each type of message.

    It runs by :func:`agent`. ``initialize`` and ``cleanup`` are called where a subclass has them.
    """

    inboxes: Inboxes
    """What others have sent, by their ids: ``await self.inboxes["alice"].get()``. From ``initialize`` on."""
    program: Program
    """The way to other agents. From ``initialize`` on."""

    def __init__(self, agent_id: str, **kwargs: Any) -> None:
        self.id = agent_id
        self.kwargs = kwargs

    async def SendMessage(self, target_agent_id: str, message: str) -> None:  # noqa: N802 - its name in the old design
        """Send a text to another agent; see :meth:`Program.route_message`."""
        await self.program.route_message(self.id, target_agent_id, message)

    async def WaitForMessage(self, source_agent_id: str) -> str:  # noqa: N802 - its name in the old design
        """All that this agent has sent and that was not read, as lines; if there is nothing, wait for the next text.

        ``"*"`` is any agent. Nothing wakes it but a message: there is no timeout, and no text is a signal.
        """
        inbox = self.inboxes.all if source_agent_id == "*" else self.inboxes[source_agent_id]
        texts = [await inbox.get()]
        while not inbox.empty():
            texts.append(inbox.get_nowait())
        return "\n".join(texts)


@deprecated(
    "agent() runs an agent of the old design: write an `understudy.Actor`, and declare it with `understudy.child`"
)
def agent(cls: Callable[P, OldAgent], /, *args: P.args, **kwargs: P.kwargs) -> ChildSpec[AgentMessage]:
    """Declare an agent of the old design as an actor, made as ``cls(*args, **kwargs)`` at each start.

    Deprecated: write an :class:`understudy.Actor`, and declare it with :func:`understudy.child`.

    It is a child like any other: under a supervisor, by ``system.spawn``, with ``.options(...)``. Its errors are its
    failures, and after one there is a new object; what it had not read is there again. By default it is transient:
    restarted when it has failed, not when it has done its work. Others reach it by its id, in ``system.registry``, or
    by its ref, which takes an :class:`AgentMessage`.

    - ``initialize``, if there is one, runs before the start has ended; if it raises, ``cleanup`` is called.
    - ``begin`` runs when all actors above it are up, so that agents that were declared together find each other. Where
      there is no ``handle_message``, its end is the end of the agent.
    - What is sent to an agent without ``handle_message`` waits in ``self.inboxes`` until ``begin`` reads it, as many
      messages as the mailbox has room for; more are dead letters. When the agent ends, so are those.
    - An agent with ``handle_message`` gets each :class:`AgentMessage` there, one at a time, after ``begin`` has ended;
      ``begin`` and ``handle_message`` may read the inboxes, which hold what waits.
    - A stop cancels ``begin``, and waits for the ``handle_message`` in hand within the grace. ``cleanup`` is called at
      the end, but not after a kill. One that swallows the cancel is given up after a while.
    - :class:`ExecutionFinished`, raised in ``begin`` or ``handle_message``, ends the system in order.

    Raises:
        InvalidSpec: No class, one without ``begin`` and ``handle_message``, or arguments that do not fit.
    """
    who = f"agent {getattr(cls, '__qualname__', cls)!r}"
    if not isinstance(cls, type):
        raise InvalidSpec(child=who, field="cls", problem=f"must be a class, got {cls!r}")
    listens = callable(getattr(cls, "handle_message", None))
    if not listens and not callable(getattr(cls, "begin", None)):
        raise InvalidSpec(child=who, field="cls", problem="must have `begin` or `handle_message`")
    return child(_host_of(cls, Listener if listens else Reader), *args, **kwargs)


@dataclass(frozen=True, slots=True)
class _Begin:
    """To oneself: the start has ended."""


class Hosted(Actor[M]):
    """The actor around an old agent: a new object for each incarnation."""

    defaults: ClassVar[Options] = {"restart": "transient"}
    agent_class: ClassVar[type[Any]]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._arguments = args, kwargs
        self._agent: Any = None

    def make_inboxes(self) -> Inboxes:
        """Those of one incarnation."""
        raise NotImplementedError

    async def initialize(self) -> Continue:
        args, kwargs = self._arguments
        agent = self._agent = type(self).agent_class(*args, **kwargs)
        agent.inboxes, agent.program = self.make_inboxes(), Program(self)
        self.context.register(agent.id)
        try:
            await self._call("initialize")
        except BaseException as error:
            await self._clean_up_after(error)
            raise
        return Continue(_Begin())

    async def _clean_up_after(self, error: BaseException) -> None:
        try:
            await self._call("cleanup")
        except Exception as another:
            error.add_note(f"cleanup failed too: {type(another).__name__}: {another}")

    async def shutdown(self, reason: ExitReason) -> None:
        await self._call("cleanup")

    def describe(self) -> Mapping[str, object]:
        own = getattr(self._agent, "describe", None)
        if own is not None:
            return cast("Mapping[str, object]", own())
        return {name: type(value).__name__ for name, value in getattr(self._agent, "__dict__", {}).items()}

    async def _call(self, name: str, *args: object) -> None:
        """Call that method of the agent, if it has it."""
        method = getattr(self._agent, name, None)
        result = None if method is None else method(*args)
        if isawaitable(result):
            await result

    async def _run(self, name: str, *args: object) -> None:
        """The same for one that may end the program."""
        try:
            await self._call(name, *args)
        except ExecutionFinished as finished:
            self.context.system.stop(str(finished) or "execution finished")
        except Stopping:
            pass  # it has waited for a message that could not come any more

    async def _all_up(self) -> None:
        """Wait until all above are up: what was declared together has its names then."""
        system = self.context.system
        for path in self._understudy_cell.ancestors():
            ref = system.find(path)
            while ref is not None and ref.status in ("starting", "restarting"):
                await system.events.wait_for(ActorStartedEvent, partial(_is_of, path))

    def undelivered(self, letter: AgentMessage, receiver_id: str) -> None:
        """There is no agent for *letter*."""
        cell = self._understudy_cell
        cell.runtime.dead_letter(letter, f"agent {receiver_id}", cell.path, "no agent has that id")


class Reader(Hosted[AgentMessage]):
    """One whose ``begin`` reads the inboxes. What is unread at the end of an incarnation is for the next."""

    def make_inboxes(self) -> Inboxes:
        # It is never closed: one that goes on in spite of every cancel shall wait in vain, and not spin.
        capacity = self._understudy_cell.make_mailbox().capacity
        self._unread: AsyncMessageQueue[AgentMessage] = AsyncMessageQueue(capacity, key=sender_id_of)
        return Inboxes(self._unread, keyed=True)

    @handler
    def receive(self, message: AgentMessage) -> None:
        try:
            self._unread.put_nowait(message)
        except QueueFull:
            self._understudy_cell.refuse(message, None)

    @handler
    def _begin(self, message: _Begin) -> None:
        self.context.start_task(self._live(), name="begin")

    async def _live(self) -> None:
        cell, error = self._understudy_cell, None
        try:
            await self._all_up()
            await self._run("begin")
        except GeneratorExit:
            raise
        except BaseException as caught:
            error = caught
        if self._understudy_cell is not cell:
            return  # it was given up on
        task = asyncio.current_task()
        if isinstance(error, asyncio.CancelledError) and cell.ending is not None:
            raise error
        if error is None and task is not None and task.cancelling() and cell.ending is None:
            error = asyncio.CancelledError("cancelled by somebody, and begin ended as if all were well")
        if error is not None:
            cell.task_failed(error, "begin")
        else:
            self.context.stop()

    def _understudy_leave(self, reason: ExitReason) -> None:
        super()._understudy_leave(reason)
        cell = self._understudy_cell
        if self._agent is not None and (unread := self._unread.clear()):
            cell.give_back(cell.make_mailbox(), *cell.take_onward(), *unread)


class Listener(Hosted[AgentMessage]):
    """One with ``handle_message``. What it has not handled is in the mailbox."""

    def make_inboxes(self) -> Inboxes:
        self._inboxes = Inboxes(self._understudy_cell.make_mailbox(), keyed=False)
        return self._inboxes

    @handler
    async def _begin(self, message: _Begin) -> None:
        await self._all_up()
        await self._run("begin")

    @handler
    async def receive(self, message: AgentMessage) -> None:
        self._inboxes.told = False
        await self._run("handle_message", message)


def _is_of(path: str, event: ActorStartedEvent) -> bool:
    return event.path == path


def _host_of(cls: type[Any], base: type[Hosted[AgentMessage]]) -> type[Hosted[AgentMessage]]:
    """The actor class around *cls*, with its name and its signature; made once."""
    known = cls.__dict__.get("__understudy_host__")
    if known is None:
        names = {
            "__doc__": cls.__doc__,
            "__module__": cls.__module__,
            "__qualname__": cls.__qualname__,
            "__signature__": inspect.signature(cls),
            "agent_class": cls,
        }
        known = type(cls.__name__, (base,), names)
        cls.__understudy_host__ = known
    return cast("type[Hosted[AgentMessage]]", known)
