"""Messages of actors as tools: their schemas, how a call becomes an ask, and how its outcome is told."""

from __future__ import annotations

import asyncio
import inspect
import json
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypeGuard, TypeVar

from pydantic import JsonValue, TypeAdapter, ValidationError
from pydantic.errors import PydanticSchemaGenerationError, PydanticUserError

from understudy._plans._spec import check_count, check_seconds, snake_case
from understudy.actors._ref import REF_FORMAT, ActorRef
from understudy.exceptions import (
    ActorFailed,
    ActorStopped,
    AskCycle,
    AskTimeout,
    ConsumerSlow,
    InvalidSpec,
    MailboxFull,
    NoReply,
    Refused,
    Unhandled,
)
from understudy.messages import Asks, Message, StreamMessage, Streams, part_type, reply_type
from understudy.transports._mcp_extra import need
from understudy.transports._mcp_frames import MAX_MESSAGE_BYTES

__all__ = ["ExposedTool", "OnPart", "Outcome", "Tools", "expose", "tool"]

M = TypeVar("M")

OnPart: TypeAlias = Callable[[int, str], Awaitable[None]]
"""Called with the number of a part of a stream, from 1 on, and the part as text."""

CALL_TIMEOUT = 30.0
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,128}")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a call has come to, for whoever called from outside."""

    text: str
    structured: JsonValue = None
    is_error: bool = False


@dataclass(frozen=True)
class ExposedTool:
    """One type of message of one actor, as a tool; made by :func:`tool` and :func:`expose`."""

    ref: ActorRef[Any]
    message: type[Message[Any] | StreamMessage[Any]]
    name: str
    description: str
    call_timeout: float
    max_result_bytes: int
    input_schema: dict[str, JsonValue] = field(repr=False)
    output_schema: dict[str, JsonValue] | None = field(repr=False)
    """None: there is no reply."""
    wrapped: bool
    """Whether the reply stands under ``result``, as it is no object itself."""
    reply: TypeAdapter[Any] = field(repr=False)

    @property
    def streams(self) -> bool:
        """Whether it is answered in parts."""
        return issubclass(self.message, StreamMessage)

    async def call(self, arguments: Mapping[str, Any] | None, seconds: float | None, on_part: OnPart | None) -> Outcome:
        """Ask the actor, and say how it went; whatever the actor does, this raises nothing but a cancel.

        Args:
            arguments: Not checked yet. Unknown names, and values of another type, are refused.
            seconds: How long the caller waits; None: he has not said. Never longer than ``call_timeout``.
            on_part: For the parts of a stream, as they come.
        """
        timeout = self.call_timeout if seconds is None else min(seconds, self.call_timeout)
        try:
            message = self.message.model_validate_json(json.dumps(arguments or {}), strict=True)
            if isinstance(message, StreamMessage):
                value = await self._collected(message, timeout, on_part)
            else:
                value = self._dumped(await self.ref.ask(message, timeout=timeout))
            return self._outcome(value)
        except Exception as error:
            return Outcome(self._sentence(error, timeout), is_error=True)

    async def _collected(self, message: StreamMessage[Any], timeout: float, on_part: OnPart | None) -> JsonValue:
        parts: list[JsonValue] = []
        size = 0
        async with asyncio.timeout(timeout), self.ref.stream(message, timeout=timeout) as stream:
            async for part in stream:
                value = self._dumped([part])
                assert isinstance(value, list)
                parts += value
                text = _text(value[0])
                size += len(text)
                if size > self.max_result_bytes:
                    raise _TooLarge
                if on_part is not None:
                    await on_part(len(parts), text)
        return parts

    def _dumped(self, reply: object) -> JsonValue:
        value: JsonValue = self.reply.dump_python(reply, mode="json", warnings="error")
        return value

    def _outcome(self, value: JsonValue) -> Outcome:
        if self.output_schema is None:
            return Outcome("")
        text = _text(value)
        if len(text.encode()) > self.max_result_bytes:
            raise _TooLarge
        return Outcome(text, {"result": value} if self.wrapped else value)

    def _sentence(self, error: Exception, timeout: float) -> str:
        """What the caller is told: what helps him, and nothing of what is inside."""
        match error:
            case ValidationError():
                problems = "; ".join(_problems(error))
                return f"the arguments of {self.name} are not what its schema says: {problems}"
            case Refused():
                return str(error)
            case AskTimeout() | TimeoutError():
                return f"{self.name} gave no answer within {timeout:g} s; whether it was done is unknown"
            case MailboxFull():
                return f"{self.name} has too much to do at present: try again later"
            case ActorStopped():
                return f"{self.name} is not available any more: what answers it has stopped"
            case _TooLarge():
                return f"the answer of {self.name} is larger than {self.max_result_bytes:,} bytes, its limit"
            case ConsumerSlow() | Unhandled() | NoReply() | AskCycle() | ActorFailed():
                return f"{self.name} has failed; the log of its server says why"
            case _:
                return f"{self.name} has failed: its answer is not what it declares"


class _TooLarge(Exception):
    """The answer is larger than allowed."""


def tool(
    ref: ActorRef[M],
    message: type[Asks[M, Any] | Streams[M, Any]],
    *,
    name: str | None = None,
    description: str | None = None,
    call_timeout: float = CALL_TIMEOUT,
    max_result_bytes: int = MAX_MESSAGE_BYTES,
) -> ExposedTool:
    """*message*, when it is asked of the actor at *ref*, as a tool.

    Args:
        ref: Whom to ask. The ref outlives restarts, and so does the tool.
        message: A class of :class:`understudy.Message` or :class:`understudy.StreamMessage`. Its fields are the
            arguments; what it is answered with is the structured result, under ``result`` if that is no object.
        name: By default that of the class in snake_case.
        description: By default the docstring of the class. A model decides by it.
        call_timeout: Seconds that a call may take, whoever waits longer.
        max_result_bytes: The longest answer, as JSON.

    Raises:
        InvalidSpec: The actor does not take the message, there is no schema for it or for its reply, or a value is not
            allowed.
    """
    return _exposed(ref, message, name, description, call_timeout, max_result_bytes)


def expose(ref: ActorRef[Any], *messages: type[Asks[Any, Any] | Streams[Any, Any]]) -> tuple[ExposedTool, ...]:
    """Each of *messages*, as :func:`tool` makes it by default; what is not named cannot be reached.

    That the actor takes them is checked here and now, not by type checkers, which cannot infer it for many at once.

    Raises:
        InvalidSpec: As for :func:`tool`.
    """
    return tuple(_exposed(ref, message, None, None, CALL_TIMEOUT, MAX_MESSAGE_BYTES) for message in messages)


def _exposed(
    ref: ActorRef[Any], message: Any, name: str | None, description: str | None, call_timeout: float, limit: int
) -> ExposedTool:
    if not _is_message(message):
        problem = f"must be a class of Message or StreamMessage, got {message!r}"
        raise InvalidSpec(child=f"tool of {ref.path}", field="message", problem=problem)
    name = snake_case(message.__name__) if name is None else name
    where = f"tool {name!r} of {ref.path}"
    if _NAME.fullmatch(name) is None:
        problem = f"must be up to 128 letters, digits, '_', '.' and '-', got {name!r}"
        raise InvalidSpec(child=where, field="name", problem=problem)
    _check_taken(ref, message, where)
    output, wrapped, adapter = _reply_of(message, where)
    return ExposedTool(
        ref,
        message,
        name,
        _described(message) if description is None else description,
        check_seconds("call_timeout", call_timeout, where),
        check_count("max_result_bytes", limit, where, least=1),
        _schema(where, message.model_json_schema),
        output,
        wrapped,
        adapter,
    )


def _is_message(message: object) -> TypeGuard[type[Message[Any] | StreamMessage[Any]]]:
    return isinstance(message, type) and issubclass(message, Message | StreamMessage)


def _check_taken(ref: ActorRef[Any], message: type, where: str) -> None:
    actor = ref._cell.spec.factory  # pyright: ignore[reportPrivateUsage]
    accepted = actor._understudy_accepts()
    if accepted is None or any(isinstance(each, type) and issubclass(message, each) for each in accepted):
        return
    problem = f"{message.__name__} is not among what {actor.__qualname__} takes"
    raise InvalidSpec(child=where, field="message", problem=problem)


def _reply_of(
    message: type[Message[Any] | StreamMessage[Any]], where: str
) -> tuple[dict[str, JsonValue] | None, bool, TypeAdapter[Any]]:
    """The output schema, whether the reply stands under a name in it, and how it becomes JSON."""
    annotation: Any = list[part_type(message)] if issubclass(message, StreamMessage) else reply_type(message)  # type: ignore[misc]
    if annotation is None or annotation is type(None):
        return None, False, TypeAdapter(None)
    try:
        adapter: TypeAdapter[Any] = TypeAdapter(annotation)
    except PydanticSchemaGenerationError as error:
        raise InvalidSpec(child=where, field="message", problem=f"has a reply without a schema: {error}") from error
    schema = _schema(where, lambda: adapter.json_schema(mode="serialization"))
    if schema.get("type") == "object":
        return schema, False, adapter
    definitions = schema.pop("$defs", None)
    outer: dict[str, JsonValue] = {"type": "object", "properties": {"result": schema}, "required": ["result"]}
    if definitions is not None:
        outer["$defs"] = definitions
    return outer, True, adapter


def _schema(where: str, make: Callable[[], dict[str, Any]]) -> dict[str, JsonValue]:
    try:
        made = make()
    except PydanticUserError as error:
        problem = f"has a field or a reply that JSON has no schema for: {error.message}"
        raise InvalidSpec(child=where, field="message", problem=problem) from error
    if f'"{REF_FORMAT}"' in json.dumps(made):
        raise InvalidSpec(child=where, field="message", problem="has a ref in it, of which a client can make nothing")
    return made


def _described(message: type) -> str:
    return inspect.cleandoc(message.__dict__.get("__doc__") or "")


def _text(value: JsonValue) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _problems(error: ValidationError) -> Iterator[str]:
    """Each of them without the value, which may be secret."""
    for each in error.errors(include_input=False, include_url=False, include_context=False):
        where = ".".join(str(step) for step in each["loc"])
        yield f"{where}: {each['msg']}" if where else each["msg"]


@dataclass(frozen=True)
class Tools:
    """What is served, and nothing else: tools with names of their own.

    Args:
        *tools: What :func:`tool` and :func:`expose` have made.
        name: The server's name, for its clients.
        version: Likewise.
        instructions: What its clients are told of the whole.

    Raises:
        InvalidSpec: Two tools have one name.
    """

    tools: Mapping[str, ExposedTool]
    name: str
    version: str
    instructions: str | None

    def __init__(
        self,
        *tools: ExposedTool | tuple[ExposedTool, ...],
        name: str = "understudy",
        version: str = "",
        instructions: str | None = None,
    ) -> None:
        named: dict[str, ExposedTool] = {}
        for each in tools:
            for one in each if isinstance(each, tuple) else (each,):
                if one.name in named:
                    problem = f"{one.name!r} stands for {named[one.name].ref.path} and for {one.ref.path}: give another"
                    raise InvalidSpec(child=f"server {name!r}", field="name", problem=problem)
                named[one.name] = one
        for key, value in (("tools", named), ("name", name), ("version", version), ("instructions", instructions)):
            object.__setattr__(self, key, value)

    def sdk_server(self) -> Any:
        """A ``Server`` of the SDK that serves them; for :class:`MemoryServer`, and for the SDK's own ``Client``.

        Raises:
            MissingExtra: The SDK is not installed.
        """
        need("mcp", extra="mcp", what="an MCP server")
        from understudy.transports._mcp_service import sdk_server  # noqa: PLC0415 - it imports the extra

        return sdk_server(self)
