"""The SDK's client behind the seam of a session: what it returns as our values, what it raises as our errors."""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, NoReturn, Protocol, TypeVar, cast

import mcp_types
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.client.subscriptions import SubscriptionLost
from mcp.shared.exceptions import MCPError
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import BaseModel, ValidationError

from understudy.transports._mcp_errors import (
    MCPCallTimeout,
    MCPConnectionFailed,
    MCPConnectionLost,
    MCPInvalidResult,
    MCPRefused,
    root_of,
)
from understudy.transports._mcp_http import GuardedTransport, guarded_client
from understudy.transports._mcp_process import ChildProcess, child_process
from understudy.transports._mcp_streams import given, lose, watched
from understudy.transports._mcp_values import (
    AudioContent,
    BinaryResource,
    ImageContent,
    LinkContent,
    PromptArgument,
    PromptInfo,
    PromptMessage,
    PromptResult,
    ResourceContent,
    ResourceInfo,
    ResourceResult,
    TextContent,
    TextResource,
    ToolInfo,
    ToolProgress,
    ToolResult,
)

if TYPE_CHECKING:
    from mcp.client._transport import TransportStreams
    from mcp_types import RequestParamsMeta
    from structlog.typing import FilteringBoundLogger

    from understudy.transports._mcp_link import OnProgress
    from understudy.transports._mcp_servers import HttpServer, MemoryServer, StdioServer

__all__ = ["DEADLINE", "SDKLink", "ToolNews", "open_http", "open_memory", "open_stdio"]

DEADLINE = "understudy/seconds"
"""The name under which a request tells how many seconds its answer is waited for; a served actor system heeds it."""

MAX_PAGES = 100
"""Of a list; who has more is taken to be going in circles."""

T = TypeVar("T")


class _Page(Protocol):
    @property
    def next_cursor(self) -> str | None: ...


_PageT = TypeVar("_PageT", bound=_Page)


@asynccontextmanager
async def open_memory(server: MemoryServer, log: FilteringBoundLogger) -> AsyncGenerator[SDKLink, None]:
    """A connection with a server in this process."""
    target: Any = server.server
    target = target.sdk_server() if hasattr(target, "sdk_server") else target
    lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    heard = ToolNews()
    async with Client(target, mode=server.protocol, cache=None, message_handler=heard.hear) as client:
        yield SDKLink(client, server.name, lost, heard)


@asynccontextmanager
async def open_stdio(server: StdioServer, log: FilteringBoundLogger) -> AsyncGenerator[SDKLink, None]:
    """A connection with a child process, which is started and ended with it."""
    async with child_process(server, log) as process:
        lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        transport = watched(given(process.streams), lost, lambda: process.why)
        async with _connected(server, transport, lost, partial(_stdio_problem, process)) as link:
            yield link


def _stdio_problem(process: ChildProcess, refusal: MCPError) -> str:
    if refusal.code == mcp_types.CONNECTION_CLOSED:
        return process.why
    return f"it answers the handshake with: {refusal}"


@asynccontextmanager
async def open_http(server: HttpServer, log: FilteringBoundLogger) -> AsyncGenerator[SDKLink, None]:
    """A connection over streamable HTTP."""
    client, guard = guarded_client(server)
    lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    async with client:
        streams = streamable_http_client(server.url, http_client=client, max_sse_event_size=server.max_message_bytes)
        transport = watched(streams, lost, lambda: "the connection was closed")
        guard.on_forgotten = partial(lose, lost, "it has forgotten the session")
        async with _connected(server, transport, lost, partial(_http_problem, guard)) as link:
            yield link


def _http_problem(guard: GuardedTransport, refusal: MCPError) -> str:
    status = guard.status
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return f"it answers {status} {HTTPStatus(status).phrase}: check `token=`"
    if status >= HTTPStatus.BAD_REQUEST:
        return f"it answers with status {status}: {refusal}"
    return str(refusal)


@asynccontextmanager
async def _connected(
    server: StdioServer | HttpServer,
    transport: AbstractAsyncContextManager[TransportStreams],
    lost: asyncio.Future[str],
    problem_of: Callable[[MCPError], str],
) -> AsyncGenerator[SDKLink, None]:
    """A session over *transport*; *problem_of* says in words what it means that there is none.

    Raises:
        MCPConnectionFailed: The server, or the SDK in its name, has answered with an error of the protocol.
    """
    heard = ToolNews()
    try:
        async with Client(transport, mode=server.protocol, cache=None, message_handler=heard.hear) as client:
            yield SDKLink(client, server.name, lost, heard)
    except Exception as error:
        if not isinstance(refusal := root_of(error), MCPError):
            raise
        raise MCPConnectionFailed(server=server.name, problem=problem_of(refusal)) from refusal


class ToolNews:
    """What a server of the older protocols says, unasked, of its list of tools."""

    def __init__(self) -> None:
        self._changed = asyncio.Event()

    async def hear(self, message: object) -> None:
        """Something has come that answers nothing; must not wait for the server."""
        if isinstance(message, mcp_types.ToolListChangedNotification):
            self._changed.set()

    async def next(self) -> None:
        """Wait until there is news that nobody has had."""
        await self._changed.wait()
        self._changed.clear()


class SDKLink:
    """See :class:`MCPLink`."""

    def __init__(self, client: Client, server: str, lost: asyncio.Future[str], heard: ToolNews) -> None:
        self._client = client
        self._server = server
        self._heard = heard
        self.lost = lost

    async def tools(self, seconds: float) -> tuple[ToolInfo, ...]:
        """All tools."""
        pages = await self._pages("the list of tools", seconds, lambda cursor: self._client.list_tools(cursor=cursor))
        return tuple(self._tool(each) for page in pages for each in page.tools)

    async def follow_tools(self, changed: Callable[[], Awaitable[None]]) -> None:
        """Call *changed* for each news of the list of tools; the newest protocol has to be asked for them."""
        if self._client.protocol_version not in MODERN_PROTOCOL_VERSIONS:
            while True:
                await self._heard.next()
                await changed()
        tools = self._client.server_capabilities.tools
        if tools is None or not tools.list_changed:
            return
        while not self.lost.done():
            try:
                async with self._client.listen(tools_list_changed=True) as events:
                    async for _ in events:
                        await changed()
                return
            except SubscriptionLost:
                await changed()  # what was said meanwhile is not said again
            except (MCPError, TimeoutError):
                return

    async def call(
        self, tool: str, arguments: dict[str, Any], seconds: float, on_progress: OnProgress | None
    ) -> ToolResult:
        """Call *tool*."""

        async def tell(progress: float, total: float | None, message: str | None) -> None:
            assert on_progress is not None
            on_progress(ToolProgress(progress=progress, total=total, message=message))

        request = f"tool {tool!r}"
        answer = await self._bounded(
            request,
            seconds,
            lambda: self._client.call_tool(
                tool,
                arguments,
                progress_callback=None if on_progress is None else tell,
                meta=cast("RequestParamsMeta", {DEADLINE: seconds}),
            ),
        )
        return self._value(
            request,
            lambda: ToolResult(
                server=self._server,
                tool=tool,
                content=tuple(_content(each) for each in answer.content),
                structured=answer.structured_content,
                is_error=answer.is_error,
            ),
        )

    async def resources(self, seconds: float) -> tuple[ResourceInfo, ...]:
        """All resources."""
        pages = await self._pages(
            "the list of resources", seconds, lambda cursor: self._client.list_resources(cursor=cursor)
        )
        return tuple(
            ResourceInfo(
                server=self._server,
                uri=each.uri,
                name=each.name,
                title=each.title,
                description=each.description or "",
                mime_type=each.mime_type,
                size=each.size,
            )
            for page in pages
            for each in page.resources
        )

    async def read(self, uri: str, seconds: float) -> ResourceResult:
        """The contents of a resource."""
        request = f"resource {uri!r}"
        answer = await self._bounded(request, seconds, lambda: self._client.read_resource(uri))
        return self._value(
            request,
            lambda: ResourceResult(
                server=self._server, uri=uri, contents=tuple(_resource(each) for each in answer.contents)
            ),
        )

    async def prompts(self, seconds: float) -> tuple[PromptInfo, ...]:
        """All prompts."""
        pages = await self._pages(
            "the list of prompts", seconds, lambda cursor: self._client.list_prompts(cursor=cursor)
        )
        return tuple(self._prompt(each) for page in pages for each in page.prompts)

    async def prompt(self, name: str, arguments: dict[str, str], seconds: float) -> PromptResult:
        """A prompt, filled in."""
        request = f"prompt {name!r}"
        answer = await self._bounded(request, seconds, lambda: self._client.get_prompt(name, arguments))
        return self._value(
            request,
            lambda: PromptResult(
                server=self._server,
                prompt=name,
                description=answer.description or "",
                messages=tuple(
                    PromptMessage(role=each.role, content=_content(each.content)) for each in answer.messages
                ),
            ),
        )

    async def ping(self, seconds: float) -> None:
        """A ping; in the newest protocol, which has none, the question what the server can do."""
        session, version = self._client.session, self._client.protocol_version
        modern = version in MODERN_PROTOCOL_VERSIONS
        await self._bounded(
            "a ping", seconds, lambda: session.send_discover(version) if modern else session.send_ping()
        )

    async def _pages(
        self, request: str, seconds: float, page: Callable[[str | None], Awaitable[_PageT]]
    ) -> Sequence[_PageT]:
        async def all_of_them() -> Sequence[_PageT]:
            pages: list[_PageT] = []
            cursor: str | None = None
            while len(pages) < MAX_PAGES:
                pages.append(await page(cursor))
                following = pages[-1].next_cursor
                if following is None:
                    return pages
                if following == cursor:
                    break
                cursor = following
            problem = f"it does not end, or has more than {MAX_PAGES} pages"
            raise MCPInvalidResult(server=self._server, request=request, problem=problem)

        return await self._bounded(request, seconds, all_of_them)

    async def _bounded(self, request: str, seconds: float, call: Callable[[], Awaitable[T]]) -> T:
        """What *call* returns, within *seconds*; what it raises as one of ours."""
        if self.lost.done():
            self._gone()
        try:
            async with asyncio.timeout(seconds):
                return await call()
        except TimeoutError:
            raise MCPCallTimeout(server=self._server, request=request, seconds=seconds) from None
        except MCPError as error:
            if error.code == mcp_types.CONNECTION_CLOSED or self.lost.done():
                self._gone()
            raise MCPRefused(server=self._server, request=request, code=error.code, problem=error.message) from None
        except ValidationError as error:
            problem = f"{error.error_count()} parts of it do not fit the protocol"
            raise MCPInvalidResult(server=self._server, request=request, problem=problem) from None
        except RuntimeError as error:  # the SDK has no other word for a result that its schema does not allow
            raise MCPInvalidResult(server=self._server, request=request, problem=str(error)) from None

    def _gone(self) -> NoReturn:
        done = self.lost.done() and not self.lost.cancelled()
        problem = self.lost.result() if done else "it was closed before an answer came"
        raise MCPConnectionLost(server=self._server, problem=problem)

    def _value(self, request: str, make: Callable[[], T]) -> T:
        try:
            return make()
        except (ValidationError, binascii.Error) as error:
            raise MCPInvalidResult(server=self._server, request=request, problem=str(error)) from None

    def _tool(self, tool: mcp_types.Tool) -> ToolInfo:
        return ToolInfo(
            server=self._server,
            name=tool.name,
            title=tool.title,
            description=tool.description or "",
            input_schema=tool.input_schema,
            output_schema=tool.output_schema,
            annotations=_dumped(tool.annotations),
        )

    def _prompt(self, prompt: mcp_types.Prompt) -> PromptInfo:
        return PromptInfo(
            server=self._server,
            name=prompt.name,
            title=prompt.title,
            description=prompt.description or "",
            arguments=tuple(
                PromptArgument(name=each.name, description=each.description or "", required=bool(each.required))
                for each in prompt.arguments or ()
            ),
        )


def _dumped(model: BaseModel | None) -> dict[str, Any]:
    return {} if model is None else model.model_dump(mode="json", by_alias=True, exclude_none=True)


def _content(block: mcp_types.ContentBlock) -> Any:
    match block:
        case mcp_types.TextContent():
            return TextContent(text=block.text)
        case mcp_types.ImageContent():
            return ImageContent(data=_bytes(block.data), mime_type=block.mime_type)
        case mcp_types.AudioContent():
            return AudioContent(data=_bytes(block.data), mime_type=block.mime_type)
        case mcp_types.EmbeddedResource():
            return ResourceContent(resource=_resource(block.resource))
        case mcp_types.ResourceLink():
            return LinkContent(
                uri=block.uri, name=block.name, description=block.description or "", mime_type=block.mime_type
            )


def _resource(
    contents: mcp_types.TextResourceContents | mcp_types.BlobResourceContents,
) -> TextResource | BinaryResource:
    if isinstance(contents, mcp_types.TextResourceContents):
        return TextResource(uri=contents.uri, mime_type=contents.mime_type, text=contents.text)
    return BinaryResource(uri=contents.uri, mime_type=contents.mime_type, data=_bytes(contents.blob))


def _bytes(text: str) -> bytes:
    return base64.b64decode(text, validate=True)
