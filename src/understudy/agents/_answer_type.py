"""Structured answers: the tool by which a model gives them."""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter

from understudy.agents._model import ToolSchema

__all__ = ["ANSWER", "AnswerType"]

ANSWER = "final_answer"
"""The name of the tool."""


class AnswerType:
    """The type of a structured answer, as the tool by which a model gives it.

    Models write objects: a type that is something else is put into one, under ``answer``.
    """

    def __init__(self, adapter: TypeAdapter[Any]) -> None:
        self._adapter = adapter
        schema = adapter.json_schema()
        self.is_object = schema.get("type") == "object" and "properties" in schema
        parameters: dict[str, Any] = schema
        if not self.is_object:
            definitions = schema.pop("$defs", None)
            parameters = {"type": "object", "properties": {"answer": schema}, "required": ["answer"]}
            if definitions is not None:
                parameters["$defs"] = definitions
        self.schema = ToolSchema(name=ANSWER, description="Give the final answer.", parameters=parameters)

    def value(self, arguments: str) -> Any:
        """What a model has written as *arguments*."""
        if self.is_object:
            return self._adapter.validate_json(arguments or "{}")
        data = TypeAdapter(dict[str, Any]).validate_json(arguments or "{}")
        return self._adapter.validate_python(data.get("answer"))
