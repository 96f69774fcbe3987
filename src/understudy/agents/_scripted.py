"""``ScriptedModel``: no language model at all; it says what was written for it, without a key and without a network."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from itertools import count
from typing import TYPE_CHECKING, Any, TypeAlias

from understudy.agents._model import ModelText, ModelTurn, ModelUsage, ToolCall, ToolResult, UserTurn
from understudy.agents._pause import pause
from understudy.exceptions import InvalidSpec

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from understudy.agents._model import HistoryItem, ModelEvent, ModelRequest

__all__ = ["Answer", "ScriptedModel", "UseTool"]


class UseTool:
    """In a script: the model calls a tool, as ``UseTool("search", query="bees")``."""

    __slots__ = ("arguments", "tool")

    def __init__(self, tool: str, /, **arguments: Any) -> None:
        self.tool = tool
        self.arguments = arguments

    def __repr__(self) -> str:
        arguments = "".join(f", {name}={value!r}" for name, value in self.arguments.items())
        return f"UseTool({self.tool!r}{arguments})"


Part: TypeAlias = "str | UseTool | Exception"
Answer: TypeAlias = "Part | Sequence[Part]"
"""What a script says for one answer: a text, a call, an error to be raised, or several of these in their order."""


class ScriptedModel:
    """A model that needs nothing, and is none: it says what a script tells it to. For tests, demonstrations and drafts.

    ::

        model = ScriptedModel([UseTool("search", query="bees"), "Bees are insects."])

    Without a script, or after its end, it says that it is no language model, and repeats what it was told. Tokens are
    words here; they are counted exactly, and no answer is longer than a request allows.

    Args:
        script: The answers in their order, one for each request; or a function of the :class:`ModelRequest`.
        pace: Seconds that each word takes.
        delay: Seconds before the first.
        name: Its name.
        provider: Whose limits it shares.
        max_tokens: How many words an answer may have.
        prices: What an input token and an output token cost.
    """

    def __init__(
        self,
        script: Iterable[Answer] | Callable[[ModelRequest], Answer] = (),
        *,
        pace: float = 0.0,
        delay: float = 0.0,
        name: str = "scripted",
        provider: str = "scripted",
        max_tokens: int = 1_000,
        prices: tuple[float, float] = (0.0, 0.0),
    ) -> None:
        if isinstance(script, str):
            problem = f"must be a list of answers, or a function, got {script!r}: put it into a list"
            raise InvalidSpec(child="ScriptedModel", field="script", problem=problem)
        self._function = script if callable(script) else None
        # What is left; all incarnations of an agent share it, so that none is given twice.
        self._answers: deque[Answer] = deque(() if callable(script) else script)
        self._pace = pace
        self._delay = delay
        self._ids = count(1)
        self.name = name
        self.provider = provider
        self.max_tokens = max_tokens
        self.prices = prices
        self.requests: deque[ModelRequest] = deque(maxlen=1_000)
        """What it was asked, the latest thousand, for tests."""

    async def respond(self, request: ModelRequest) -> AsyncIterator[ModelEvent]:
        """The next answer of the script, word by word."""
        self.requests.append(request)
        parts = self._next(request)
        inputs = self.count(request)
        left = min(self.max_tokens, self.max_tokens if request.max_tokens is None else request.max_tokens)
        spoken = 0
        if self._delay:
            await pause(self._delay)
        for part in parts:
            if isinstance(part, Exception):
                raise part
            if isinstance(part, UseTool):
                arguments = json.dumps(part.arguments)
                if _words(arguments) > left:
                    break
                left, spoken = left - _words(arguments), spoken + _words(arguments)
                yield ToolCall(id=f"call-{next(self._ids)}", tool=part.tool, arguments=arguments)
                continue
            for number, word in enumerate(part.split(" ")):
                if left <= 0:
                    break
                if self._pace:
                    await pause(self._pace)
                left, spoken = left - 1, spoken + 1
                yield ModelText(text=word if number == 0 else f" {word}")
        yield ModelUsage(input_tokens=inputs, output_tokens=spoken)

    def count(self, request: ModelRequest) -> int:
        """The words in *request*, exactly."""
        tools = sum(_words(f"{tool.name} {tool.description}") for tool in request.tools)
        return _words(request.instructions) + tools + sum(_words(_text(item)) for item in request.history)

    def price(self, usage: ModelUsage) -> float:
        """What *usage* costs, by ``prices``."""
        return usage.input_tokens * self.prices[0] + usage.output_tokens * self.prices[1]

    def _next(self, request: ModelRequest) -> Sequence[Part]:
        if self._function is not None:
            answer = self._function(request)
        elif self._answers:
            answer = self._answers.popleft()
        else:
            answer = _confession(request)
        return [answer] if isinstance(answer, str | UseTool | Exception) else answer

    def __repr__(self) -> str:
        return f"<ScriptedModel {self.name!r}, no language model>"


def _confession(request: ModelRequest) -> str:
    heard = next((item.text for item in reversed(request.history) if isinstance(item, UserTurn)), "")
    return f"I am a scripted model, no language model is connected. You said: {heard}"


def _words(text: str) -> int:
    return len(text.split(" ")) if text else 0


def _text(item: HistoryItem) -> str:
    match item:
        case UserTurn():
            return item.text
        case ModelTurn():
            return " ".join([item.text, *(call.arguments for call in item.calls)])
        case ToolResult():
            return item.model_dump_json()
