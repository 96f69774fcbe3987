"""``AsyncAgent``: an actor with an identity."""

from __future__ import annotations

import inspect
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, cast

from understudy.actors._actor import Actor
from understudy.actors._child import as_spec
from understudy.actors._handler import Handler
from understudy.agents._directory import AgentClass, AgentId, Agents
from understudy.agents._ending import PROGRAM, EndProgram
from understudy.exceptions import InvalidContext
from understudy.supervision._supervisor import supervisor
from understudy.system import ActorSystem

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable
    from types import TracebackType

    from understudy._plans._directives import OnFailure
    from understudy._plans._spec import Options
    from understudy.actors._handler import HandlerTable
    from understudy.actors._ref import ActorRef

__all__ = ["AsyncAgent"]

M = TypeVar("M")

_ARGUMENTS = "_understudy_arguments"


class _Signature:
    """``__signature__`` of a class of agents: that of its constructor, whenever that has been made."""

    def __get__(self, instance: object, owner: type) -> inspect.Signature:
        constructor = inspect.getattr_static(owner, "__init__")
        if constructor is object.__init__:
            return inspect.Signature()
        signature = inspect.signature(constructor)
        return signature.replace(parameters=list(signature.parameters.values())[1:])


def _enter(agent: AsyncAgent[Any]) -> None:
    """Let *agent* be known under its id and its classes, before it initializes itself."""
    vars(agent).pop(_ARGUMENTS, None)
    context, cls = agent.context, type(agent)
    if not agent.id:
        object.__setattr__(agent, "id", context.path.removeprefix("/user/"))
    if not agent.description:
        lines = (cls.__doc__ or "").strip().splitlines()
        object.__setattr__(agent, "description", lines[0] if lines and cls is not AsyncAgent else cls.__name__)
    context.register(AgentId(agent.id), agent.description)
    bases: tuple[type[Any], ...] = cls.__mro__
    for base in bases:
        if issubclass(base, AsyncAgent):
            context.join(AgentClass(cast("type[Any]", base)))
    for group in agent.groups:
        context.join(group)


def _begin(initialize: Callable[[Any], Any], agent: AsyncAgent[Any]) -> Any:
    _enter(agent)
    return initialize(agent)


async def _begin_async(initialize: Callable[[Any], Any], agent: AsyncAgent[Any]) -> Any:
    _enter(agent)
    return await initialize(agent)


class AsyncAgent(Actor[M]):
    """The base class of agents: actors that others know by an id.

    ::

        class Critic(AsyncAgent[Prompt]):
            description = "finds what is wrong"

            @handler
            def judge(self, message: Prompt) -> Said:
                return Said(text="too long", speaker=self.id)

    It is an actor in everything: typed handlers, ``initialize``, ``handle_message`` and ``shutdown`` as hooks, one
    message at a time, no task and no timer while it is idle. A call to another agent is an ask through its mailbox,
    also within one process, and an ask of oneself raises ``AskCycle``.

    By default agents are transient: restarted when they have failed, and not when their work is done, which they say
    by ``self.context.stop()``.

    Alone it runs in a system of its own::

        async with Critic() as critic:
            print(await critic.ask(Prompt(text="...")))

    What ``async with`` gives is the ref of an agent that is made with the arguments of this instance, and again for
    each restart; the instance itself is never run.
    """

    id: str = ""
    """Under which others find it, unique in its system; set in the class or in ``__init__``. By default the path below
    ``/user``; from ``initialize`` on."""
    description: str = ""
    """What it is for, in a sentence: for people, and for models that may use it as a tool. By default the first line of
    the docstring of its class; from ``initialize`` on."""
    groups: ClassVar[tuple[Hashable, ...]] = ()
    """The process groups that each agent of the class joins when it starts; see :meth:`Agents.group`."""

    _understudy_alone: ActorSystem | None = None
    _understudy_rules: ClassVar[OnFailure] = {}
    """The ``on_failure`` of the class and of its subclasses; what these say of other errors does not undo it."""

    if not TYPE_CHECKING:
        __signature__ = _Signature()

        def __new__(cls, *args: Any, **kwargs: Any) -> AsyncAgent[Any]:
            if (args or kwargs) and cls.__init__ is object.__init__:
                raise TypeError(f"{cls.__name__}() takes no arguments")
            agent = super().__new__(cls)
            object.__setattr__(agent, _ARGUMENTS, (args, kwargs))
            return agent

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        transient: Options = {"restart": "transient"}
        defaults: Options = {**transient, **cls.defaults}
        if cls._understudy_rules:
            defaults["on_failure"] = {**cls._understudy_rules, **defaults.get("on_failure", {})}
        cls.defaults = defaults

    def _understudy_set(self, **given: object) -> None:
        """Set the attributes that were given; where it is None, that of the class counts."""
        for name, value in given.items():
            if value is not None:
                setattr(self, name, value)

    @property
    def agents(self) -> Agents:
        """The other agents of the system, and how to reach them."""
        return Agents(self.context.system)

    def end_program(self, result: object = None) -> None:
        """End the program that the agent is a part of, in order, with *result*; returns at once.

        The first result is the one that counts. Without a program it is the end of the system.
        """
        system = self.context.system
        program = system.registry.find(PROGRAM)
        if program is None or not program.tell(EndProgram(by=self.context.path, result=result)):
            system.stop(f"{self.context.path} has ended it")

    # Alone

    async def __aenter__(self) -> ActorRef[M]:
        if self._understudy_cell is not None or self._understudy_alone is not None:
            problem = "it is running already: `async with` takes a fresh instance, once"
            raise InvalidContext(what=type(self).__qualname__, problem=problem)
        args, kwargs = vars(self)[_ARGUMENTS]
        spec = as_spec(type(self), args, kwargs)
        name = spec.label
        final = spec.get("restart") != "permanent"
        tree = supervisor(
            "alone", spec.options(name=name, significant=final), auto_shutdown="any_significant" if final else "never"
        )
        system = ActorSystem(tree, name=name)
        object.__setattr__(self, "_understudy_alone", system)
        await system.__aenter__()
        return system.lookup(f"alone/{name}")

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._understudy_alone is not None
        await self._understudy_alone.__aexit__(kind, error, trace)

    # The runtime

    @classmethod
    def _understudy_table(cls) -> HandlerTable:
        table = super()._understudy_table()
        hook = table.initialize
        if hook is None:
            table.initialize = Handler(_enter, "initialize", is_async=False)
        else:
            begin = partial(_begin_async if hook.is_async else _begin, hook.function)
            table.initialize = replace(hook, function=begin)
        return table
