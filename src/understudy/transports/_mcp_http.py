"""The HTTP client of a session: one origin, checked addresses, bounded answers."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING

import httpx2

from understudy.transports._mcp_errors import AddressBlocked, InvalidFrame, MessageTooLarge
from understudy.transports._mcp_frames import check_json
from understudy.transports._mcp_guard import AddressRules, Origin
from understudy.transports._tls import Tls

if TYPE_CHECKING:
    from understudy.transports._mcp_servers import HttpServer

__all__ = ["GuardedTransport", "guarded_client"]

SILENCE = 300.0
"""Seconds without a byte of an answer that has begun, or is awaited, after which it counts as lost."""


def guarded_client(server: HttpServer) -> tuple[httpx2.AsyncClient, GuardedTransport]:
    """A client that speaks with *server* and nobody else, and what it connects with."""
    transport = GuardedTransport(server)
    timeout = httpx2.Timeout(server.connect_timeout, read=SILENCE)
    return httpx2.AsyncClient(transport=transport, timeout=timeout, trust_env=False), transport


class GuardedTransport(httpx2.AsyncBaseTransport):
    """Sends requests to the addresses of one origin.

    Every request passes through here, a redirected one too, and gets the server's secrets after its origin was
    checked.
    """

    def __init__(self, server: HttpServer) -> None:
        self._server = server
        self._origin = server.origin
        self._rules = AddressRules.of(server.allow, server.name)
        self._secrets = server.secret_headers
        ca = None if server.ca_file is None else str(server.ca_file)
        verify = Tls(ca=ca).for_client() if self._origin.scheme == "https" else False
        self._inner = httpx2.AsyncHTTPTransport(verify=verify, trust_env=False)
        # Those that the origin's name stands for, from the first request on: it is not resolved again.
        self._addresses: list[str] = []
        self.status = 0
        """Of the last answer; 0 before the first."""
        self.on_forgotten: Callable[[], object] = lambda: None
        """Called when the server does not know the session any more that a request belongs to."""

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send it, if it is for the origin."""
        origin = Origin.of(str(request.url.copy_with(userinfo=b"")), self._server.name)
        if origin != self._origin:
            raise AddressBlocked(
                host=origin.host, address=origin.host, why=f"{origin} is not the server's origin, {self._origin}"
            )
        request.headers.update(self._secrets)
        request.headers["accept-encoding"] = "identity"
        request.extensions = {**request.extensions, "sni_hostname": origin.host}
        response = await self._sent(request, await self._resolved())
        self.status = response.status_code
        if response.status_code == HTTPStatus.NOT_FOUND and "mcp-session-id" in request.headers:
            self.on_forgotten()  # the protocol wants a new session then, not another try
        if response.headers.get("content-encoding", "identity").lower() != "identity":
            await response.aclose()
            raise InvalidFrame(source=self._server.name, problem="a compressed answer, which was not asked for")
        if response.headers.get("content-type", "").lower().startswith("text/event-stream"):
            return response  # whose events are bounded where they are read
        body = Bounded(response, self._server.name, self._server.max_message_bytes)
        return httpx2.Response(
            response.status_code, headers=response.headers, stream=body, extensions=response.extensions
        )

    async def aclose(self) -> None:
        """Close all connections."""
        await self._inner.aclose()

    async def _resolved(self) -> list[str]:
        if not self._addresses:
            found = await self._look_up(self._origin.host, self._origin.port)
            self._addresses = self._rules.check(self._origin.host, list(dict.fromkeys(found)))
        return self._addresses

    async def _look_up(self, host: str, port: int) -> Sequence[str]:
        loop = asyncio.get_running_loop()
        if self._server.resolver is not None:
            return await loop.run_in_executor(None, self._server.resolver, host, port)
        try:
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise httpx2.ConnectError(f"the name {host} cannot be resolved: {error}") from error
        return [str(each[4][0]) for each in found]

    async def _sent(self, request: httpx2.Request, addresses: Sequence[str]) -> httpx2.Response:
        """To the first address that takes it. The name stays in the Host header, and in the certificate."""
        *others, last = addresses
        url = request.url
        for address in others:
            request.url = url.copy_with(host=address)
            try:
                return await self._inner.handle_async_request(request)
            except (httpx2.ConnectError, httpx2.ConnectTimeout):
                continue
        request.url = url.copy_with(host=last)
        try:
            return await self._inner.handle_async_request(request)
        finally:
            request.url = url


class Bounded(httpx2.AsyncByteStream):
    """The body of an answer: all of it at once, when it is known to be short enough and, if it is JSON, sound."""

    def __init__(self, response: httpx2.Response, source: str, limit: int) -> None:
        self._response = response
        self._source = source
        self._limit = limit

    async def __aiter__(self) -> AsyncIterator[bytes]:
        body = bytearray()
        async for part in self._response.aiter_raw():
            body += part
            if len(body) > self._limit:
                raise MessageTooLarge(source=self._source, limit=self._limit)
        if body and self._response.headers.get("content-type", "").lower().startswith("application/json"):
            check_json(bytes(body), source=self._source, limit=self._limit)
        yield bytes(body)

    async def aclose(self) -> None:
        """Let go of the connection."""
        await self._response.aclose()
