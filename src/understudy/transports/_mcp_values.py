"""What MCP servers offer and answer, as values: data with its provenance, whatever a server says."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, ClassVar, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, JsonValue

__all__ = [
    "AudioContent",
    "BinaryResource",
    "Content",
    "ImageContent",
    "LinkContent",
    "PromptArgument",
    "PromptInfo",
    "PromptMessage",
    "PromptResult",
    "ResourceContent",
    "ResourceInfo",
    "ResourceResult",
    "TextContent",
    "TextResource",
    "ToolInfo",
    "ToolProgress",
    "ToolResult",
    "description_hash",
]


class Value(BaseModel):
    """Frozen, and nothing in it but what it declares."""

    model_config: ClassVar[ConfigDict] = ConfigDict(
        frozen=True, extra="forbid", ser_json_bytes="base64", val_json_bytes="base64"
    )


class ToolInfo(Value):
    """A tool, as its server describes it. The server may describe it as it likes, also falsely.

    Attributes:
        server: The name of the server that says so.
        name: What it is called by.
        title: A name for people.
        description: What a model decides by.
        input_schema: A JSON schema of the arguments.
        output_schema: A JSON schema of :attr:`ToolResult.structured`; None: the server promises nothing.
        annotations: Hints such as ``readOnlyHint``; nothing to decide by unless the server is trusted.
    """

    server: str
    name: str
    title: str | None = None
    description: str = ""
    input_schema: dict[str, JsonValue] = Field(default_factory=dict)
    output_schema: JsonValue = None
    annotations: dict[str, JsonValue] = Field(default_factory=dict)


def description_hash(tool: ToolInfo) -> str:
    """A hash of all that a model is told of *tool*: pin it, and refuse the tool when it changes.

    It covers name, title, description, both schemas and the annotations; not the server. It is the same in every
    process and on every Python: SHA-256 over JSON with sorted names. The order of names in a schema does not matter,
    that of lists does.

    Returns:
        ``"sha256:"`` and 64 hexadecimal digits.
    """
    told = tool.model_dump(mode="json", exclude={"server"})
    text = json.dumps(told, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


class TextContent(Value):
    """Text.

    Attributes:
        type: Tells it from the others.
        text: The text.
    """

    type: Literal["text"] = "text"
    text: str


class ImageContent(Value):
    """An image.

    Attributes:
        type: Tells it from the others.
        data: Its bytes.
        mime_type: What kind of image, as ``image/png``.
    """

    type: Literal["image"] = "image"
    data: bytes = Field(repr=False)
    mime_type: str


class AudioContent(Value):
    """A recording.

    Attributes:
        type: Tells it from the others.
        data: Its bytes.
        mime_type: What kind of recording, as ``audio/wav``.
    """

    type: Literal["audio"] = "audio"
    data: bytes = Field(repr=False)
    mime_type: str


class TextResource(Value):
    """The text of a resource.

    Attributes:
        kind: Tells it from the other.
        uri: Of the resource.
        mime_type: What kind of text, if the server says so.
        text: The text.
    """

    kind: Literal["text"] = "text"
    uri: str
    mime_type: str | None = None
    text: str


class BinaryResource(Value):
    """The bytes of a resource.

    Attributes:
        kind: Tells it from the other.
        uri: Of the resource.
        mime_type: What kind of bytes, if the server says so.
        data: The bytes.
    """

    kind: Literal["binary"] = "binary"
    uri: str
    mime_type: str | None = None
    data: bytes = Field(repr=False)


ResourceContents: TypeAlias = Annotated[TextResource | BinaryResource, Field(discriminator="kind")]


class ResourceContent(Value):
    """A resource, as part of an answer.

    Attributes:
        type: Tells it from the others.
        resource: Its contents.
    """

    type: Literal["resource"] = "resource"
    resource: ResourceContents


class LinkContent(Value):
    """A pointer to a resource; nobody has looked whether it is there.

    Attributes:
        type: Tells it from the others.
        uri: Where to.
        name: What it is called.
        description: What the server says of it.
        mime_type: What kind of contents, if the server says so.
    """

    type: Literal["link"] = "link"
    uri: str
    name: str
    description: str = ""
    mime_type: str | None = None


Content: TypeAlias = Annotated[
    TextContent | ImageContent | AudioContent | ResourceContent | LinkContent, Field(discriminator="type")
]
"""A part of an answer."""


def _text_of(content: tuple[Any, ...]) -> str:
    return "\n".join(each.text for each in content if isinstance(each, TextContent))


class ToolResult(Value):
    """What a tool has answered, and which tool of which server: data from outside, not instructions.

    A tool that fails answers with ``is_error`` and its words in the content; one that has nothing to say answers with
    empty content.

    Attributes:
        server: The name of the server that has answered.
        tool: The tool that was called.
        content: What it has said.
        structured: What the tool's output schema describes, checked against it by the client; None if there is none.
        is_error: Whether the tool has failed.
    """

    server: str
    tool: str
    content: tuple[Content, ...] = ()
    structured: JsonValue = None
    is_error: bool = False

    @property
    def text(self) -> str:
        """The text parts, a line each; ``""`` when there is none."""
        return _text_of(self.content)


class ToolProgress(Value):
    """How far a call has come, by the words of the tool.

    Attributes:
        progress: Grows with each news.
        total: What it grows to, if the tool knows.
        message: In words.
    """

    progress: float
    total: float | None = None
    message: str | None = None


class ResourceInfo(Value):
    """A resource, as its server describes it.

    Attributes:
        server: The name of the server that says so.
        uri: What it is read by.
        name: What it is called.
        title: A name for people.
        description: What the server says of it.
        mime_type: What kind of contents, if the server says so.
        size: In bytes, if the server says so.
    """

    server: str
    uri: str
    name: str
    title: str | None = None
    description: str = ""
    mime_type: str | None = None
    size: int | None = None


class ResourceResult(Value):
    """What a resource consists of; nothing, for one that is empty.

    Attributes:
        server: The name of the server that says so.
        uri: What was asked for.
        contents: Its parts.
    """

    server: str
    uri: str
    contents: tuple[ResourceContents, ...] = ()

    @property
    def text(self) -> str:
        """The text contents, a line each; ``""`` when there is none."""
        return "\n".join(each.text for each in self.contents if isinstance(each, TextResource))


class PromptArgument(Value):
    """An argument of a prompt.

    Attributes:
        name: Of the argument.
        description: What the server says of it.
        required: Whether it must be given.
    """

    name: str
    description: str = ""
    required: bool = False


class PromptInfo(Value):
    """A prompt, as its server describes it.

    Attributes:
        server: The name of the server that says so.
        name: What it is called by.
        title: A name for people.
        description: What the server says of it.
        arguments: What it takes.
    """

    server: str
    name: str
    title: str | None = None
    description: str = ""
    arguments: tuple[PromptArgument, ...] = ()


class PromptMessage(Value):
    """A message of a prompt.

    Attributes:
        role: Whose words they are to be.
        content: The words, or whatever it is.
    """

    role: Literal["user", "assistant"]
    content: Content


class PromptResult(Value):
    """A prompt, filled in.

    Attributes:
        server: The name of the server that says so.
        prompt: The name of the prompt.
        description: What the server says of it.
        messages: In their order.
    """

    server: str
    prompt: str
    description: str = ""
    messages: tuple[PromptMessage, ...] = ()

    @property
    def text(self) -> str:
        """The text of its messages, a line each; ``""`` when there is none."""
        return _text_of(tuple(each.content for each in self.messages))
