"""What agents say to one another: typed messages, with the end of a turn in a field of its own."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Generic, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import TypeVar

from understudy.messages import Message, StreamMessage

__all__ = [
    "Converse",
    "Prompt",
    "Said",
    "Say",
    "Spoken",
    "Structured",
    "TextDelta",
    "ToolEnded",
    "ToolStarted",
    "TurnEnded",
]

R = TypeVar("R", default=Any)

Conversation: TypeAlias = Annotated[str, Field(max_length=200)]
"""Which of its conversations an agent shall go on with; by default the only one."""


class Say(Message):
    """An agent says something, and waits for nothing: ``ref.tell(Say(text="ready", speaker=self.id))``.

    All of *text* is text: no word in it is a signal. That a turn goes on in another message is said by *end_of_turn*.
    """

    wire_name: ClassVar[str | None] = "understudy.Say"
    """The same in all versions, so that agents of different ones understand each other over links."""

    text: str
    speaker: str = ""
    """The id of who speaks; empty for somebody who is no agent."""
    conversation: Conversation = ""
    end_of_turn: bool = True


class Said(BaseModel):
    """What an agent has answered to a :class:`Prompt`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    text: str
    speaker: str = ""
    conversation: Conversation = ""
    end_of_turn: bool = True
    """False: the agent has more to say, and says it when it is prompted again."""


class Prompt(Message[Said]):
    """Ask an agent, and wait for what it says: ``await ref.ask(Prompt(text="why?", speaker=self.id))``."""

    reply_within: ClassVar[float | None] = 120.0
    """Models, and who uses tools, take their time."""
    wire_name: ClassVar[str | None] = "understudy.Prompt"
    """As of :class:`Say`."""

    text: str
    speaker: str = ""
    """The id of who asks; empty for somebody who is no agent."""
    conversation: Conversation = ""


class Structured(Message[R], Generic[R]):
    """Ask an agent for a value: its answer is a pydantic model, or any other type that pydantic can validate.

    A subclass names the type, as with every message::

        class Judge(Structured[Verdict]): ...

        verdict = await critic.ask(Judge(text="Is this true? ..."))    # a Verdict, for the type checker too
    """

    reply_within: ClassVar[float | None] = 120.0
    """Models, and who uses tools, take their time."""

    text: str
    speaker: str = ""
    conversation: Conversation = ""


class TextDelta(BaseModel):
    """A part of a stream: some more text of the turn. All of them together are the text."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["text"] = "text"
    text: str


class ToolStarted(BaseModel):
    """A part of a stream: the agent begins to use a tool."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["tool_started"] = "tool_started"
    call: str
    """The id of the call."""
    tool: str


class ToolEnded(BaseModel):
    """A part of a stream: the call of a tool has got its one result."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["tool_ended"] = "tool_ended"
    call: str
    tool: str
    status: str
    """``"ok"``, ``"error"``, ``"denied"`` or ``"interrupted"``."""


class TurnEnded(BaseModel):
    """The last part of a stream: what was said, whole."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["turn_ended"] = "turn_ended"
    said: Said


Spoken: TypeAlias = TextDelta | ToolStarted | ToolEnded | TurnEnded
"""The parts of what an agent says while it says it."""


class Converse(StreamMessage[Spoken]):
    """:class:`Prompt`, answered while the agent speaks: ``async for part in ref.stream(Converse(text="hi"))``."""

    wire_name: ClassVar[str | None] = "understudy.Converse"
    """As of :class:`Say`."""

    text: str
    """What is said."""
    speaker: str = ""
    """The id of who asks; empty for somebody who is no agent."""
    conversation: Conversation = ""
    """Which conversation goes on."""
