"""Actors that serve tools: over HTTP, and over the standard input and output of this process."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Never

from tenacity import wait_exponential

from understudy._plans._spec import Options, check_count, check_seconds
from understudy.actors._actor import Actor
from understudy.actors._handler import handler
from understudy.exceptions import InvalidSpec
from understudy.messages import Message
from understudy.transports._mcp_extra import need
from understudy.transports._mcp_frames import MAX_MESSAGE_BYTES
from understudy.transports._mcp_tasks import until_up
from understudy.transports._mcp_tools import Tools
from understudy.transports._web_binding import check_binding, tls_of, web_url
from understudy.transports._web_gate import GateRules

if TYPE_CHECKING:
    import ssl

__all__ = ["HttpBinding", "MCPHttpService", "MCPStdioService", "StdioBinding", "WhereServed"]


class WhereServed(Message[str]):
    """The URL at which a :class:`MCPHttpService` can be reached from this machine."""


@dataclass(frozen=True, kw_only=True)
class HttpBinding:
    """Where and for whom an :class:`MCPHttpService` serves.

    Raises:
        MissingExtra: The SDK is not installed.
        InvalidSpec: A value that is not allowed; above all, a bind to other than loopback without a token and TLS.
    """

    host: str = "127.0.0.1"
    """The address to listen on."""
    port: int = 0
    """0: any that is free, another one after each restart."""
    path: str = "/mcp"
    token: str | None = field(default=None, repr=False)
    """What clients must send, as ``Authorization: Bearer``; of 16 characters or more."""
    certificate: str | Path | None = None
    """A file in PEM, for TLS."""
    key: str | Path | None = field(default=None, repr=False)
    """The file of its key."""
    hosts: tuple[str, ...] = ()
    """Names besides *host* by which clients may ask for it, with a port where that is another, as a proxy's."""
    origins: tuple[str, ...] = ()
    """Web pages that may ask, as ``("https://tools.example.org",)``. By default no page may."""
    max_message_bytes: int = MAX_MESSAGE_BYTES
    """Of a request."""
    body_timeout: float = 10.0
    """Seconds for a request's body to come."""
    max_connections: int = 200
    """At a time; more are answered with 503."""
    max_sessions: int = 200
    """Of clients that speak a protocol with sessions, at a time."""

    def __post_init__(self) -> None:
        where = f"MCP service on {self.host}"
        need("mcp", extra="mcp", what="an MCP server")
        for name in ("hosts", "origins"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if not self.path.startswith("/") or not self.path.isascii() or not self.path.isprintable():
            raise InvalidSpec(child=where, field="path", problem=f"must begin with '/', got {self.path!r}")
        for name in ("max_message_bytes", "max_connections", "max_sessions"):
            check_count(name, getattr(self, name), where, least=1)
        check_seconds("body_timeout", self.body_timeout, where)
        check_binding(
            where,
            host=self.host,
            port=self.port,
            token=self.token,
            certificate=self.certificate,
            key=self.key,
            hosts=self.hosts,
        )

    def rules(self, port: int) -> GateRules:
        """Who may speak, at that port."""
        encrypted = self.certificate is not None
        return GateRules.at(
            self.host, port, encrypted=encrypted, hosts=self.hosts, origins=self.origins, token=self.token
        )

    def tls(self) -> ssl.SSLContext | None:
        """What encrypts it, if anything does.

        Raises:
            OSError: A file is not there, or is no certificate.
        """
        return tls_of(self.certificate, self.key)

    def url(self, port: int) -> str:
        """How it is reached at that port from this machine."""
        return web_url(self.host, port, self.path, encrypted=self.certificate is not None)


class MCPHttpService(Actor[WhereServed]):
    """Serves tools over streamable HTTP; a supervised actor, with uvicorn inside.

    Host, Origin and token are checked on every path before anything else is looked at. A call ends at the deadline of
    the tool or of the client, whichever is first, and is cancelled when the client cancels it or goes away. When the
    actor is stopped, it accepts nothing more, lets calls in hand end for a second, and cancels the rest.

    Args:
        tools: What is served.
        binding: Where, and for whom.

    Raises:
        OSError: In ``initialize``: the port is taken, or the certificate cannot be read.
    """

    defaults: ClassVar[Options] = {"backoff": wait_exponential(multiplier=1.0, max=30.0)}
    """It listens again after a while, longer each time."""

    def __init__(self, tools: Tools, binding: HttpBinding | None = None) -> None:
        self.tools = tools
        self.binding = HttpBinding() if binding is None else binding

    async def initialize(self) -> None:
        """Begin to serve."""
        self._up: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.context.start_task(self._serve(), name="serve")
        self._url = await self._up

    @handler
    def where(self, message: WhereServed) -> str:
        """See the message."""
        return self._url

    async def _serve(self) -> None:
        from understudy.transports._mcp_http_service import serve_http  # noqa: PLC0415 - it imports the extra

        await until_up(serve_http(self.tools, self.binding, self._up), self._up)


@dataclass(frozen=True, kw_only=True)
class StdioBinding:
    """What an :class:`MCPStdioService` reads from and writes to.

    Raises:
        MissingExtra: The SDK is not installed.
        InvalidSpec: A value that is not allowed.
    """

    stdin: int = 0
    """A file descriptor of a pipe, a socket or a terminal."""
    stdout: int = 1
    """Likewise."""
    max_message_bytes: int = MAX_MESSAGE_BYTES
    """Of a message that is read."""

    def __post_init__(self) -> None:
        need("mcp", extra="mcp", what="an MCP server")
        for name in ("stdin", "stdout"):
            check_count(name, getattr(self, name), "MCP service on stdio")
        check_count("max_message_bytes", self.max_message_bytes, "MCP service on stdio", least=1024)


class MCPStdioService(Actor[Never]):
    """Serves tools to the one client that has started this process, over its standard input and output.

    While it serves, what the program prints goes to standard error, so that it cannot get between the messages. When
    the client closes its end, the actor ends normally, and is not restarted, as there is nobody to serve any more:
    ``await ref.wait_stopped()`` is where a program waits for that.

    Args:
        tools: What is served.
        binding: File descriptors to use instead.
    """

    defaults: ClassVar[Options] = {"restart": "transient"}
    """That the client has gone is its normal end."""

    def __init__(self, tools: Tools, binding: StdioBinding | None = None) -> None:
        self.tools = tools
        self.binding = StdioBinding() if binding is None else binding

    async def initialize(self) -> None:
        """Begin to serve."""
        self._up: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.context.start_task(self._serve(), name="serve")
        await self._up

    async def _serve(self) -> None:
        from understudy.transports._mcp_stdio_service import serve_stdio  # noqa: PLC0415 - it imports the extra

        await until_up(serve_stdio(self.tools, self.binding, self._up, self.log), self._up)
        if self._up.exception() is None:
            self.context.stop()
