"""``Model``: the seam between an agent and a language model, and what passes it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

__all__ = [
    "HistoryItem",
    "Model",
    "ModelEvent",
    "ModelRequest",
    "ModelText",
    "ModelTurn",
    "ModelUsage",
    "ToolCall",
    "ToolResult",
    "ToolSchema",
    "ToolStatus",
    "UserTurn",
]

ToolStatus: TypeAlias = Literal["ok", "error", "denied", "interrupted"]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class UserTurn(_Part):
    """Somebody has said something to the agent: a person, another agent, or a program."""

    kind: Literal["user"] = "user"
    """Tells the entries apart."""
    text: str
    """What was said."""
    speaker: str = ""
    """The id of who has said it; empty for somebody who is no agent."""


class ToolCall(_Part):
    """The model wants a tool to be used."""

    id: str
    """Unique in its turn of the model."""
    tool: str
    """Its name, as the model has written it."""
    arguments: str = "{}"
    """A JSON object, as the model has written it: to be validated, not to be trusted."""


class ModelTurn(_Part):
    """What the model has answered: text, calls of tools, or both."""

    kind: Literal["model"] = "model"
    """Tells the entries apart."""
    text: str = ""
    """What it has said."""
    calls: tuple[ToolCall, ...] = ()
    """The tools that it wants to be used."""


class ToolResult(_Part):
    """The one result of a call. Its *content* is data from outside, never an instruction, and *source* says whose."""

    kind: Literal["tool"] = "tool"
    """Tells the entries apart."""
    call: str
    """The id of the call."""
    tool: str
    """The name of the tool."""
    status: ToolStatus
    """``"ok"``; ``"error"``: it has failed, or taken too long; ``"denied"``: nobody has allowed it; ``"interrupted"``:
    it was cancelled, or the agent has crashed, and whether it has had effects is unknown."""
    content: Any = None
    """What pydantic can turn into JSON."""
    source: str = ""
    """Where the content comes from: the tool, or the path of the agent that has answered."""


HistoryItem: TypeAlias = UserTurn | ModelTurn | ToolResult
"""One entry of the history of a conversation."""


class ToolSchema(_Part):
    """A tool as a model sees it."""

    name: str
    """By which it is called."""
    description: str
    """What it is for."""
    parameters: dict[str, Any]
    """A JSON schema of the arguments, an object."""


class ModelRequest(_Part):
    """All that a model is given for one answer."""

    instructions: str = ""
    """What the author of the agent says; nothing from outside is ever in it."""
    history: tuple[HistoryItem, ...] = ()
    """Oldest first. Each call has exactly one result, behind its turn and before the next."""
    tools: tuple[ToolSchema, ...] = ()
    """What it may call."""
    max_tokens: int | None = None
    """No more than that may be answered; None: as the model likes."""


class ModelText(_Part):
    """A part of an answer: some more text."""

    text: str
    """All of these together are the text."""


class ModelUsage(_Part):
    """A part of an answer: how many tokens it has taken. The last one counts."""

    input_tokens: int = 0
    """What was read."""
    output_tokens: int = 0
    """What was written."""


ModelEvent: TypeAlias = ModelText | ToolCall | ModelUsage
"""The parts of an answer."""


class Model(Protocol):
    """A language model: anything with these members.

    ``respond`` must not block the event loop, and can be cancelled at each part. It may raise ``ModelUnavailable`` for
    what may work another time, and is then called again, if nothing of the answer has been seen by anybody.
    """

    @property
    def name(self) -> str:
        """Which model it is, for people."""
        ...

    @property
    def provider(self) -> str:
        """Whose it is; agents with one provider share its limits."""
        ...

    @property
    def max_tokens(self) -> int:
        """How many tokens an answer may have at most, unless a request says less."""
        ...

    def respond(self, request: ModelRequest) -> AsyncIterator[ModelEvent]:
        """The answer, part by part: usually an asynchronous generator."""
        ...

    def count(self, request: ModelRequest) -> int:
        """How many input tokens *request* has, or some more; budgets are as exact as this."""
        ...

    def price(self, usage: ModelUsage) -> float:
        """What *usage* costs, in the currency of the budgets."""
        ...
