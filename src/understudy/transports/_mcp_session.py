"""``MCPSession``: an actor that is one session with one MCP server."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field, JsonValue
from tenacity import wait_exponential

from understudy._plans._spec import Options
from understudy.actors._actor import Actor
from understudy.actors._handler import handler
from understudy.actors._waiting import longer_than_the_asker
from understudy.messages import Message, StreamMessage
from understudy.transports._bell import Bell
from understudy.transports._mcp_errors import MCPConnectionFailed, MCPConnectionLost, root_of
from understudy.transports._mcp_tasks import uncancel
from understudy.transports._mcp_values import (
    PromptInfo,
    PromptResult,
    ResourceInfo,
    ResourceResult,
    ToolInfo,
    ToolProgress,
    ToolResult,
)

if TYPE_CHECKING:
    from understudy.transports._mcp_link import MCPLink, MCPServerAddress

__all__ = [
    "CallTool",
    "CallToolProgress",
    "GetPrompt",
    "ListPrompts",
    "ListResources",
    "ListTools",
    "MCPSession",
    "MCPSessionMessage",
    "Ping",
    "ReadResource",
]

MAX_PROGRESS = 256
"""News of progress that nobody has taken yet; when there are more, the oldest go, as each overtakes the one before."""


class ListTools(Message[tuple[ToolInfo, ...]]):
    """All tools of the server."""


class CallTool(Message[ToolResult]):
    """Call a tool; answered with what it has said, also when it has failed.

    Attributes:
        name: Of the tool.
        arguments: For the tool.
    """

    name: str
    arguments: dict[str, JsonValue] = Field(default_factory=dict)


class CallToolProgress(StreamMessage[ToolProgress | ToolResult]):
    """Call a tool and follow it: news of its progress, and last of all its result.

    Whoever leaves the stream early cancels the call.

    Attributes:
        name: Of the tool.
        arguments: For the tool.
    """

    name: str
    arguments: dict[str, JsonValue] = Field(default_factory=dict)


class ListResources(Message[tuple[ResourceInfo, ...]]):
    """All resources of the server."""


class ReadResource(Message[ResourceResult]):
    """The contents of a resource.

    Attributes:
        uri: Which.
    """

    uri: str


class ListPrompts(Message[tuple[PromptInfo, ...]]):
    """All prompts of the server."""


class GetPrompt(Message[PromptResult]):
    """A prompt, filled in.

    Attributes:
        name: Of the prompt.
        arguments: What to fill it in with.
    """

    name: str
    arguments: dict[str, str] = Field(default_factory=dict)


class Ping(Message[None]):
    """Answered when the server has answered."""


MCPSessionMessage = (
    ListTools | CallTool | CallToolProgress | ListResources | ReadResource | ListPrompts | GetPrompt | Ping
)
"""What a session takes."""


class MCPSession(Actor[MCPSessionMessage]):
    """One session with one MCP server, opened when the actor starts and closed when it ends.

    It is opened and closed by one task of the actor, as the SDK demands. Requests run at once, up to
    ``max_concurrency`` (100). The deadline of an ask bounds the request at the server too: when it passes, or when the
    asker gives up, the request is cancelled there. A request that nobody waits for is bounded by the server's
    ``call_timeout``.

    What a server answers is a value, also an error of a tool and an empty answer. A request that the server rejects is
    an :class:`MCPRefused`. When the connection is lost the actor crashes with :class:`MCPConnectionLost`: requests in
    hand fail at once with that reason, those in the mailbox wait for the next incarnation, with their deadlines
    running, and its supervisor opens the next session, after 1, 2, 4 ... 30 s (``backoff=`` changes that). That a
    server which is not being talked to has gone away is noticed at once over stdio, and with the next request over
    HTTP.

    Args:
        server: A :class:`StdioServer`, :class:`HttpServer` or :class:`MemoryServer`.

    Raises:
        MCPConnectionFailed: In ``initialize``, so it is the cause of a ``StartError``: there is no session.
    """

    defaults: ClassVar[Options] = {"backoff": wait_exponential(multiplier=1.0, max=30.0), "max_concurrency": 100}
    """A session that is lost is opened again after a while, longer each time."""

    def __init__(self, server: MCPServerAddress) -> None:
        self.server = server

    async def initialize(self) -> None:
        """Open the session."""
        self._opened: asyncio.Future[MCPLink] = asyncio.get_running_loop().create_future()
        self.context.start_task(self._hold(), name="session")
        self._link = await self._opened

    def describe(self) -> dict[str, object]:
        """For crash reports."""
        return {"server": self.server.name}

    async def _hold(self) -> None:
        """The task that opens the session, keeps it until the first cancel, and closes it."""
        problem = "it was closed"
        try:
            async with self.server.connect(self.log) as link:
                if self._opened.done():  # whoever waited for it has gone
                    return
                self._opened.set_result(link)
                try:
                    await asyncio.wait([link.lost])
                    problem = link.lost.result()
                except asyncio.CancelledError:  # also by a client that fails, and raises why when it is left
                    uncancel()
        except Exception as error:
            cause = root_of(error)
            if not self._opened.done():
                self._opened.set_exception(self._failed(cause))
                return
            raise MCPConnectionLost(server=self.server.name, problem=str(cause) or type(cause).__name__) from cause
        # Means nothing when the actor is ending anyway.
        raise MCPConnectionLost(server=self.server.name, problem=problem)

    def _failed(self, cause: BaseException) -> MCPConnectionFailed:
        if isinstance(cause, MCPConnectionFailed):
            return cause
        failed = MCPConnectionFailed(server=self.server.name, problem=str(cause) or type(cause).__name__)
        failed.__cause__ = cause
        return failed

    @property
    def _seconds(self) -> float:
        """How long the request in hand may take: a little longer than its asker waits, who cancels it himself then."""
        return min(self.server.call_timeout, longer_than_the_asker(asyncio.get_running_loop().time()))

    # Requests

    @handler(cancellable=True, reentrant=True)
    async def list_tools(self, message: ListTools) -> tuple[ToolInfo, ...]:
        """See the message."""
        return await self._link.tools(self._seconds)

    @handler(cancellable=True, reentrant=True)
    async def call_tool(self, message: CallTool) -> ToolResult:
        """See the message."""
        return await self._link.call(message.name, dict(message.arguments), self._seconds, None)

    @handler(reentrant=True)
    async def call_tool_progress(self, message: CallToolProgress) -> AsyncIterator[ToolProgress | ToolResult]:
        """See the message."""
        news = News()
        call = self.context.start_task(self._called(message, self._seconds, news), name="call")
        try:
            while (part := await news.next()) is not None:
                yield part
            yield news.outcome.result()
        finally:
            call.cancel()

    @handler(cancellable=True, reentrant=True)
    async def list_resources(self, message: ListResources) -> tuple[ResourceInfo, ...]:
        """See the message."""
        return await self._link.resources(self._seconds)

    @handler(cancellable=True, reentrant=True)
    async def read_resource(self, message: ReadResource) -> ResourceResult:
        """See the message."""
        return await self._link.read(message.uri, self._seconds)

    @handler(cancellable=True, reentrant=True)
    async def list_prompts(self, message: ListPrompts) -> tuple[PromptInfo, ...]:
        """See the message."""
        return await self._link.prompts(self._seconds)

    @handler(cancellable=True, reentrant=True)
    async def get_prompt(self, message: GetPrompt) -> PromptResult:
        """See the message."""
        return await self._link.prompt(message.name, dict(message.arguments), self._seconds)

    @handler(cancellable=True, reentrant=True)
    async def ping(self, message: Ping) -> None:
        """See the message."""
        await self._link.ping(self._seconds)

    async def _called(self, message: CallToolProgress, seconds: float, news: News) -> None:
        """The call itself, beside the stream that tells of it, which is where it fails."""
        try:
            result = await self._link.call(message.name, dict(message.arguments), seconds, news.add)
        except Exception as error:
            news.end(error)
        else:
            news.end(result)


class News:
    """News of one call, from whoever makes it to whoever follows it."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        # Never more than MAX_PROGRESS.
        self._parts: deque[ToolProgress] = deque(maxlen=MAX_PROGRESS)
        self._bell = Bell(loop)
        self.outcome: asyncio.Future[ToolResult] = loop.create_future()
        """The result, or what the call has failed with."""

    def add(self, progress: ToolProgress) -> None:
        """There is news; none counts after the end."""
        if not self.outcome.done():
            self._parts.append(progress)
            self._bell.ring()

    def end(self, outcome: ToolResult | Exception) -> None:
        """The call has ended."""
        if isinstance(outcome, Exception):
            self.outcome.set_exception(outcome)
            self.outcome.exception()  # the stream may have been left, and then nobody wants to know
        else:
            self.outcome.set_result(outcome)
        self._bell.ring()

    async def next(self) -> ToolProgress | None:
        """The next news; None when there will be no more. For one at a time."""
        while not self._parts:
            if self.outcome.done():
                return None
            await self._bell.wait()
        return self._parts.popleft()
