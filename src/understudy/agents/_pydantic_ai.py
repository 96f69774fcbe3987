"""``PydanticAIModel``: the models that pydantic-ai knows, behind our seam. Needs the extra ``ai``."""

from __future__ import annotations

import json
from importlib import import_module
from typing import TYPE_CHECKING, Any

from understudy.agents._errors import ModelUnavailable
from understudy.agents._model import ModelText, ModelTurn, ModelUsage, ToolCall, UserTurn
from understudy.exceptions import MissingExtra

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from understudy.agents._model import HistoryItem, ModelEvent, ModelRequest

__all__ = ["PydanticAIModel"]

_BYTES_PER_TOKEN = 2
"""A token of usual text has about four; so an estimate by two is rather too high than too low."""
_OVERHEAD = 16
"""Tokens for each entry besides its text."""
_MAY_WORK_LATER = (
    "ModelRateLimitError",
    "ModelUnavailableError",
    "ModelServerError",
    "ModelConnectionError",
    "ModelRequestTimeout",
)


class PydanticAIModel:
    """A model of pydantic-ai's model layer: ``PydanticAIModel("openai:gpt-5-mini")``, or one of its ``Model`` objects.

    Only its model layer is used: the loop over tools, retries and limits are ours, and those of the provider's client
    are switched off, unless *settings* say otherwise. What a provider says may work later (it is overloaded, out
    of reach, or limits the rate) is a ``ModelUnavailable``; all else is raised as it is.

    Args:
        model: Its name, as pydantic-ai knows it, or a ``pydantic_ai.models.Model``.
        max_tokens: How many tokens an answer may have.
        prices: What an input token and an output token cost, for budgets.
        settings: Further settings of pydantic-ai's, as ``{"temperature": 0.2}``.
        provider: Whose limits it shares; by default what the model says.

    Raises:
        MissingExtra: pydantic-ai is not installed.
    """

    def __init__(
        self,
        model: Any,
        *,
        max_tokens: int = 4_096,
        prices: tuple[float, float] = (0.0, 0.0),
        settings: dict[str, Any] | None = None,
        provider: str | None = None,
    ) -> None:
        try:
            self._models: Any = import_module("pydantic_ai.models")
            self._messages: Any = import_module("pydantic_ai.messages")
            self._direct: Any = import_module("pydantic_ai.direct")
            self._tools: Any = import_module("pydantic_ai.tools")
            self._exceptions: Any = import_module("pydantic_ai.exceptions")
        except ModuleNotFoundError as error:
            if not (error.name or "").startswith("pydantic_ai"):
                raise
            raise MissingExtra(what="PydanticAIModel", package="pydantic-ai-slim", extra="ai") from None
        self._model: Any = self._models.infer_model(model) if isinstance(model, str) else model
        self.name: str = self._model.model_name
        self.provider: str = provider or self._model.system
        self.max_tokens = max_tokens
        self.prices = prices
        self._settings = dict(settings or {})
        if "max_retries" not in self._model.unsupported_settings:
            # Our loop tries again by itself, and knows what was heard already.
            self._settings.setdefault("max_retries", 0)
        self._later = tuple(getattr(self._exceptions, name) for name in _MAY_WORK_LATER)

    async def respond(self, request: ModelRequest) -> AsyncIterator[ModelEvent]:
        """The answer of the model, as it comes."""
        settings = {**self._settings, "max_tokens": min(request.max_tokens or self.max_tokens, self.max_tokens)}
        try:
            async with self._direct.model_request_stream(
                self._model,
                self._history(request),
                model_settings=settings,
                model_request_parameters=self._parameters(request),
            ) as stream:
                async for event in stream:
                    text = self._text_of(event)
                    if text:
                        yield ModelText(text=text)
                response = stream.get()
                usage = response.usage
        except self._later as error:
            problem = f"{type(error).__name__}: {error}"
            raise ModelUnavailable(problem, model=self.name, retry_after=error.retry_after) from error
        except (ConnectionError, TimeoutError) as error:
            raise ModelUnavailable(f"{type(error).__name__}: {error}", model=self.name) from error
        for part in response.parts:
            if isinstance(part, self._messages.ToolCallPart):
                yield ToolCall(id=part.tool_call_id, tool=part.tool_name, arguments=part.args_as_json_str())
        yield ModelUsage(input_tokens=usage.input_tokens, output_tokens=usage.output_tokens)

    def count(self, request: ModelRequest) -> int:
        """An estimate, rather too high than too low: half of the bytes, and some for each entry."""
        texts = [request.instructions, *(tool.model_dump_json() for tool in request.tools)]
        texts += [item.model_dump_json() for item in request.history]
        return sum(len(text.encode()) // _BYTES_PER_TOKEN + _OVERHEAD for text in texts)

    def price(self, usage: ModelUsage) -> float:
        """What *usage* costs, by ``prices``."""
        return usage.input_tokens * self.prices[0] + usage.output_tokens * self.prices[1]

    def _text_of(self, event: Any) -> str:
        messages = self._messages
        if isinstance(event, messages.PartStartEvent) and isinstance(event.part, messages.TextPart):
            return str(event.part.content)
        if isinstance(event, messages.PartDeltaEvent) and isinstance(event.delta, messages.TextPartDelta):
            return str(event.delta.content_delta)
        return ""

    def _parameters(self, request: ModelRequest) -> Any:
        tools = [
            self._tools.ToolDefinition(
                name=tool.name, description=tool.description, parameters_json_schema=tool.parameters
            )
            for tool in request.tools
        ]
        return self._models.ModelRequestParameters(function_tools=tools)

    def _history(self, request: ModelRequest) -> list[Any]:
        """The history in pydantic-ai's terms: requests and responses, which take turns."""
        messages = self._messages
        found: list[Any] = []
        parts: list[Any] = []
        if request.instructions:
            parts.append(messages.SystemPromptPart(content=request.instructions))
        for item in request.history:
            if isinstance(item, ModelTurn):
                if parts:
                    found.append(messages.ModelRequest(parts=parts))
                    parts = []
                found.append(messages.ModelResponse(parts=self._response_parts(item)))
            else:
                parts.append(self._request_part(item))
        if parts:
            found.append(messages.ModelRequest(parts=parts))
        return found

    def _response_parts(self, item: ModelTurn) -> list[Any]:
        messages = self._messages
        texts: list[Any] = [messages.TextPart(content=item.text)] if item.text else []
        calls = [
            messages.ToolCallPart(tool_name=call.tool, args=call.arguments, tool_call_id=call.id) for call in item.calls
        ]
        return texts + calls

    def _request_part(self, item: HistoryItem) -> Any:
        messages = self._messages
        if isinstance(item, UserTurn):
            text = f"{item.speaker}: {item.text}" if item.speaker else item.text
            return messages.UserPromptPart(content=text)
        assert not isinstance(item, ModelTurn)
        # Data with its source, in one object, so that nothing in it can pass for something else.
        content = json.dumps({"source": item.source, "status": item.status, "data": item.content})
        return messages.ToolReturnPart(tool_name=item.tool, content=content, tool_call_id=item.call)

    def __repr__(self) -> str:
        return f"<PydanticAIModel {self.name!r} of {self.provider}>"
