"""A class of messages and the tool that it is for: whether they fit, what is sent, what the answer is made of."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar, cast

import typing_extensions
from pydantic import TypeAdapter, ValidationError
from pydantic.errors import PydanticInvalidForJsonSchema, PydanticUserError

from understudy.agents._mcp_errors import MCPToolFailed
from understudy.messages import reply_type
from understudy.transports._mcp_errors import MCPInvalidResult
from understudy.transports._mcp_values import ToolResult

if TYPE_CHECKING:
    from pydantic import JsonValue

    from understudy.agents._mcp_messages import MCPTool
    from understudy.transports._mcp_values import ToolInfo

__all__ = ["answer_of", "arguments_of", "mismatches", "unwrapped"]

_MOST = 8
"""How deep references in a schema are followed."""


def arguments_of(message: MCPTool[Any]) -> dict[str, JsonValue]:
    """The arguments that *message* stands for; what was not given, and is None, is left out."""
    given = message.model_fields_set
    left_out = {name for name in type(message).model_fields if name not in given and getattr(message, name) is None}
    return message.model_dump(mode="json", by_alias=True, exclude=left_out)


def answer_of(message: type[MCPTool[Any]], result: ToolResult) -> Any:
    """What *result* is as the answer to *message*.

    Raises:
        MCPToolFailed: The tool has failed.
        MCPInvalidResult: It cannot be made of that.
    """
    kind = _answer_type(message)
    if kind is ToolResult:
        return result
    if result.is_error:
        raise MCPToolFailed(server=result.server, tool=result.tool, text=result.text)
    if kind is type(None) or kind is None:
        return None
    if kind is str:
        return result.text
    candidates = [result.text]
    if result.structured is not None:
        candidates = [json.dumps(result.structured)]
        inner = unwrapped(result.structured)
        if inner is not result.structured:
            candidates.append(json.dumps(inner))
    problem = ""
    for text in candidates:
        try:
            return _adapter(message).validate_json(text)
        except ValidationError as error:
            parts = [f"{'.'.join(map(str, each['loc'])) or 'it'}: {each['msg']}" for each in error.errors()]
            problem = "; ".join(parts)
    problem = f"{message.__qualname__} is answered with {kind!r}, and this is none ({problem})"
    raise MCPInvalidResult(server=result.server, request=f"tool {result.tool!r}", problem=problem)


def unwrapped(structured: JsonValue) -> JsonValue:
    """What *structured* stands for: a value that is no object is put into one, as the protocol knows only objects."""
    if isinstance(structured, dict) and structured.keys() == {"result"}:
        return structured["result"]
    return structured


def mismatches(message: type[MCPTool[Any]], tool: ToolInfo) -> tuple[str, ...]:
    """Why *message* cannot stand for *tool*, a sentence each: unknown, missing and wrongly typed arguments.

    What a schema says beyond names and simple types is left to the server to check.
    """
    try:
        _adapter(message)
        ours = message.model_json_schema(by_alias=True)
    except (PydanticUserError, PydanticInvalidForJsonSchema) as error:
        return (f"it has no form in JSON: {str(error).splitlines()[0]}",)
    theirs: dict[str, Any] = dict(tool.input_schema)
    our_fields, their_fields = _properties(ours), _properties(theirs)
    problems: list[str] = []
    if not theirs.get("additionalProperties"):
        problems += [f"the tool has no argument {name!r}" for name in our_fields if name not in their_fields]
    for name in [each for each in _list(theirs.get("required")) if isinstance(each, str)]:
        if name not in our_fields:
            problems.append(f"the tool requires the argument {name!r}, and there is no such field")
        elif name not in ours.get("required", []) and our_fields[name].get("default", "") is None:
            problems.append(f"the tool requires the argument {name!r}, and the field may be left out")
    for name, schema in our_fields.items():
        mine, wanted = _types(schema, ours), _types(their_fields.get(name, {}), theirs)
        if name not in ours.get("required", []):
            mine = mine and mine - {"null"}
        if mine and wanted and not mine <= wanted | ({"integer"} if "number" in wanted else set()):
            said = f"the tool wants {_names(wanted)} for {name!r}, and the field is {_names(mine)}"
            problems.append(said)
    return tuple(problems)


def _answer_type(message: type[MCPTool[Any]]) -> Any:
    kind = reply_type(message)
    return ToolResult if isinstance(kind, TypeVar | typing_extensions.TypeVar) else kind


@lru_cache(maxsize=1_000)
def _adapter(message: type[MCPTool[Any]]) -> TypeAdapter[Any]:
    return TypeAdapter(_answer_type(message))


def _properties(schema: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {name: _object(each) for name, each in _object(schema.get("properties")).items()}


def _types(schema: dict[str, Any], root: dict[str, Any], depth: int = 0) -> set[str]:
    """The simple types that *schema* allows; empty where it does not say so in a simple way."""
    if depth > _MOST:
        return set()
    reference: object = schema.get("$ref")
    if isinstance(reference, str):
        target = _object(_object(root.get("$defs")).get(reference.removeprefix("#/$defs/")))
        return _types(target, root, depth + 1)
    for key in ("anyOf", "oneOf"):
        found = [_types(_object(each), root, depth + 1) for each in _list(schema.get(key))]
        if found:
            return set[str]().union(*found) if all(found) else set()
    kind: object = schema.get("type")
    return {kind} if isinstance(kind, str) else {each for each in _list(kind) if isinstance(each, str)}


def _object(value: object) -> dict[str, Any]:
    """*value*, of a schema that anybody may have written, if it is an object."""
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _list(value: object) -> list[object]:
    return cast("list[object]", value) if isinstance(value, list) else []


def _names(types: set[str]) -> str:
    return " or ".join(sorted(types))
