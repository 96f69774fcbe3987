"""Tools of a model: typed functions, other agents, and whatever else somebody offers."""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeAlias, TypeVar, overload, runtime_checkable

from pydantic import BaseModel, ConfigDict, ValidationError, create_model
from pydantic_core import PydanticUndefined, to_jsonable_python

from understudy._plans._spec import check_seconds
from understudy.actors._ref import ActorRef
from understudy.actors._runtime import runtime_of
from understudy.agents._conversation import Prompt, Said
from understudy.agents._model import ToolSchema, ToolStatus
from understudy.exceptions import InvalidSpec

if TYPE_CHECKING:
    from understudy.actors._actor import Actor
    from understudy.agents._agent import AsyncAgent
    from understudy.agents._approving import Decision

__all__ = [
    "Tool",
    "ToolDenied",
    "ToolError",
    "ToolInterrupted",
    "ToolSource",
    "agent_tool",
    "fitted",
    "told_validation",
    "tool",
    "toolbox",
]

F = TypeVar("F", bound=Callable[..., Any])

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")
_LONGEST = 20_000
"""Characters of a result that a model gets to see."""
_KEPT = "_understudy_tool_methods"
"""The attribute of a class that has its methods which are tools."""


class ToolError(Exception):
    """Raise it in a tool to tell the model what it has done wrong; any other exception does it too, with its type."""

    status: ClassVar[ToolStatus] = "error"
    """That of the result."""


class ToolDenied(ToolError):
    """Raise it in a tool that was not used, since somebody who must allow it has not."""

    status: ClassVar[ToolStatus] = "denied"
    """That of the result."""


class ToolInterrupted(ToolError):
    """Raise it in a tool that was cut off from what it had begun: nobody knows whether it has had effects."""

    status: ClassVar[ToolStatus] = "interrupted"
    """That of the result."""


class Tool:
    """Something that a model can use; made by :func:`tool` or :func:`agent_tool`, or offered by a :class:`ToolSource`.

    It can be called like the function that it was made of.
    """

    needs_consent: bool = False
    """Whether :meth:`consent` is to be asked before each use."""

    def __init__(
        self,
        function: Callable[..., Any],
        arguments: type[BaseModel],
        *,
        name: str,
        description: str,
        dangerous: bool = False,
        blocking: bool = False,
        timeout: float | None = None,
        cost: float = 0.0,
        method: bool = False,
        agent: bool = False,
    ) -> None:
        if _NAME.fullmatch(name) is None:
            problem = f"must be a letter, and then letters, digits, '_' and '-', 64 at most, got {name!r}"
            raise InvalidSpec(child="tool", field="name", problem=problem)
        if timeout is not None:
            check_seconds("timeout", timeout, f"tool {name!r}")
        self.function = function
        self.name = name
        self.description = description
        self.dangerous = dangerous
        """Whether a human has to allow each use."""
        self.blocking = blocking
        """Whether it runs in a thread."""
        self.timeout = timeout
        """Seconds that it may take; None: what the agent says."""
        self.cost = cost
        """What each use costs a budget."""
        self.method = method
        """Whether it is a method of the agent that uses it."""
        self.is_agent = agent
        """Whether another agent does the work, which has budgets of its own."""
        self.source = f"tool {name}"
        """Where its results come from, unless a result says otherwise."""
        self._arguments = arguments
        self.schema = ToolSchema(name=name, description=description, parameters=_parameters(arguments))
        """What the model sees."""

    def validated(self, arguments: str) -> BaseModel:
        """The arguments that a model has written.

        Raises:
            ValidationError: They do not fit.
        """
        return self._arguments.model_validate_json(arguments or "{}")

    async def use(self, agent: AsyncAgent[Any], arguments: BaseModel) -> tuple[Any, str]:
        """Do it for *agent*: what came of it, fit for JSON, and where that is from."""
        values = {name: getattr(arguments, name) for name in type(arguments).model_fields}
        if self.is_agent:
            content, source = await self.function(agent, **values)
            return fitted(content), source
        call = partial(self.function, agent, **values) if self.method else partial(self.function, **values)
        if self.blocking:
            result = await runtime_of(agent.context.system).blocking.call(call)
        else:
            result = call()
            if inspect.isawaitable(result):
                result = await result
        return fitted(result), self.source

    async def consent(self, agent: AsyncAgent[Any]) -> Decision:
        """What others have to say before *agent* uses it; only of one that :attr:`needs_consent`. No clock runs yet."""
        raise NotImplementedError

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(*args, **kwargs)

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        return self if instance is None else partial(self.function, instance)

    def __repr__(self) -> str:
        return f"<Tool {self.name}{', dangerous' if self.dangerous else ''}>"


@overload
def tool(function: Callable[..., Any], /) -> Tool: ...
@overload
def tool(
    *,
    name: str | None = None,
    description: str | None = None,
    dangerous: bool = False,
    blocking: bool = False,
    timeout: float | None = None,
    cost: float = 0.0,
) -> Callable[[Callable[..., Any]], Tool]: ...
def tool(
    function: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    description: str | None = None,
    dangerous: bool = False,
    blocking: bool = False,
    timeout: float | None = None,
    cost: float = 0.0,
) -> Tool | Callable[[Callable[..., Any]], Tool]:
    """Make a tool of a typed function, ``def`` or ``async def``, or of a method of a class of agents.

    ::

        @tool(timeout=10.0)
        async def search(query: str, limit: int = 5) -> list[str]:
            ...

    The annotations are the schema, checked by pydantic before each call; ``Annotated[int, Field(ge=1)]`` says more, and
    so does a ``description`` in it. What it returns must be something that pydantic can turn into JSON. What it raises
    is told to the model, as the result of the call.

    Args:
        function: The function, for ``@tool`` without arguments.
        name: What the model calls it; by default its own name.
        description: What it is for; by default its docstring.
        dangerous: Each use has to be allowed by a human; see :class:`Approver`.
        blocking: It is a ``def`` that waits, or computes for long: run it in a thread.
        timeout: Seconds that it may take; None: what the agent says.
        cost: What each use costs a budget.

    Raises:
        InvalidSpec: The function has a parameter that a model cannot give.
    """

    def made(function: Callable[..., Any]) -> Tool:
        label = name or str(getattr(function, "__name__", type(function).__name__))
        if blocking and inspect.iscoroutinefunction(function):
            problem = "is for a plain `def`: an `async def` does not block"
            raise InvalidSpec(child=f"tool {label!r}", field="blocking", problem=problem)
        parameters = list(inspect.signature(function).parameters.values())
        method = bool(parameters) and parameters[0].name == "self"
        said = inspect.getdoc(function) or "" if description is None else description
        return Tool(
            function,
            _arguments_of(function, label, parameters[method:]),
            name=label,
            description=said,
            dangerous=dangerous,
            blocking=blocking,
            timeout=timeout,
            cost=cost,
            method=method,
        )

    return made if function is None else made(function)


@runtime_checkable
class ToolSource(Protocol):
    """Among the tools of an :class:`AIAgent`: something that offers tools, and not always the same ones."""

    async def tools(self, agent: AsyncAgent[Any]) -> Sequence[Tool]:
        """The tools for the next answer of the model of *agent*.

        It must be quick, and must not raise: what is not there is not offered.
        """
        ...


class _Question(BaseModel):
    """The arguments of an agent that is used as a tool."""

    model_config = ConfigDict(extra="forbid")

    text: str


Target: TypeAlias = "str | ActorRef[Any] | type[Actor[Any]]"


def agent_tool(
    target: Target, *, name: str, description: str, dangerous: bool = False, timeout: float | None = None
) -> Tool:
    """Let a model ask another agent, by a :class:`Prompt` through its mailbox.

    Args:
        target: The agent: its id, its ref, or its class, of which an idle one is asked or a new one started.
        name: What the model calls it.
        description: What it is for.
        dangerous: Each question has to be allowed by a human.
        timeout: Seconds that the answer may take; None: what the agent says that asks.

    Raises:
        InvalidSpec: The name cannot be one.
    """

    async def ask(agent: AsyncAgent[Any], text: str) -> tuple[str, str]:
        question = Prompt(text=text, speaker=agent.id)
        if isinstance(target, type):
            ref = await agent.agents.any_of(target).ref()
        else:
            ref = agent.agents.get(target) if isinstance(target, str) else target
        said: Said = await ref.ask(question, timeout=timeout)
        return said.text, f"agent {ref.path}"

    return Tool(ask, _Question, name=name, description=description, dangerous=dangerous, timeout=timeout, agent=True)


def toolbox(owner: type[Any], given: typing.Iterable[Tool]) -> dict[str, Tool]:
    """The tools by their names: methods of the class *owner*, and those that were *given*.

    Raises:
        InvalidSpec: Two have one name.
    """
    found: dict[str, Tool] = {}
    for each in (*_methods_of(owner), *given):
        if not isinstance(each, Tool):  # pyright: ignore[reportUnnecessaryIsInstance]
            problem = f"must be what `tool` or `agent_tool` has made, or offer tools, got {each!r}"
            raise InvalidSpec(child=owner.__qualname__, field="tools", problem=problem)
        if each.name in found:
            raise InvalidSpec(child=owner.__qualname__, field="tools", problem=f"has two with the name {each.name!r}")
        found[each.name] = each
    return found


def _methods_of(owner: type[Any]) -> tuple[Tool, ...]:
    """Those methods of *owner* that are tools; they are looked for once, and kept in the class itself."""
    known: tuple[Tool, ...] | None = owner.__dict__.get(_KEPT)
    if known is not None:
        return known
    found: dict[str, Tool] = {}
    for base in reversed(owner.__mro__):
        for attribute, value in vars(base).items():
            if isinstance(value, Tool):
                found[attribute] = value
            else:
                found.pop(attribute, None)
    known = tuple(found.values())
    setattr(owner, _KEPT, known)
    return known


def told_validation(error: ValidationError) -> str:
    """*error* for a model: which argument, and what is wrong; without addresses of web pages."""
    parts = [f"{'.'.join(map(str, each['loc'])) or 'arguments'}: {each['msg']}" for each in error.errors()]
    return "the arguments do not fit: " + "; ".join(parts)


def _arguments_of(function: Callable[..., Any], label: str, parameters: list[inspect.Parameter]) -> type[BaseModel]:
    try:
        hints = typing.get_type_hints(function, include_extras=True)
    except Exception as error:
        problem = f"of its parameters cannot be resolved: {error}"
        raise InvalidSpec(child=f"tool {label!r}", field="annotations", problem=problem) from error
    fields: dict[str, Any] = {}
    for each in parameters:
        problem = ""
        if each.kind in (each.VAR_POSITIONAL, each.VAR_KEYWORD, each.POSITIONAL_ONLY):
            problem = f"must be given by their names: {each} cannot"
        elif each.name.startswith("_"):
            problem = f"must not begin with '_', as {each.name!r} does"
        elif each.name not in hints:
            problem = f"must be annotated: {each.name!r} is not"
        if problem:
            raise InvalidSpec(child=f"tool {label!r}", field="parameters", problem=problem)
        fields[each.name] = (hints[each.name], PydanticUndefined if each.default is each.empty else each.default)
    try:
        made: type[BaseModel] = create_model(
            f"Arguments of {label}", __config__=ConfigDict(extra="forbid", arbitrary_types_allowed=False), **fields
        )
        _parameters(made)
    except Exception as error:
        problem = f"must be types that a model can write as JSON: {error}"
        raise InvalidSpec(child=f"tool {label!r}", field="parameters", problem=problem) from error
    return made


def _parameters(arguments: type[BaseModel]) -> dict[str, Any]:
    schema = arguments.model_json_schema()
    schema.pop("title", None)
    schema.pop("description", None)
    return schema


def fitted(result: Any) -> Any:
    """*result* as plain data, cut where it is too long to be of use."""
    data = to_jsonable_python(result, fallback=repr)
    text = data if isinstance(data, str) else repr(data)
    if len(text) <= _LONGEST:
        return data
    return f"{text[:_LONGEST]}... ({len(text) - _LONGEST:,} characters more)"
