"""The transport over WebSocket, on the library of that name: binary messages, and no compression."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

from understudy._plans._instant import INSTANT
from understudy.exceptions import MissingExtra
from understudy.transports._connection import PeerFacts, check_size, serve_out
from understudy.transports._errors import ConnectionLost
from understudy.transports._security import check_client, check_server, url_at
from understudy.transports._tls import names_of
from understudy.transports._web_gate import GateRules

try:
    from websockets.asyncio.server import ServerConnection, serve
    from websockets.datastructures import Headers
    from websockets.exceptions import ConnectionClosed, WebSocketException
    from websockets.http11 import Response
    from websockets.protocol import State

    from understudy.transports._websocket_ends import ClientEnd, Connect, End, ServerEnd
    from understudy.transports._websocket_frames import pack_message
except ImportError:
    raise MissingExtra(what="a WebSocket", package="websockets", extra="websocket") from None

if TYPE_CHECKING:
    from collections.abc import Callable
    from urllib.parse import SplitResult

    from websockets.asyncio.server import Server
    from websockets.http11 import Request

    from understudy.environment import Environment
    from understudy.transports._connection import ConnectionLimits, Serve, TransportOptions

__all__ = ["WebSocketTransport"]

_SCHEMES = ("ws", "wss")
_WRITE_LIMIT = 64 * 1024
_CODES = {"unauthorized": 4401, "refused": 4403}

_log = logging.getLogger("understudy.transports.websocket")
_log.setLevel(logging.CRITICAL + 1)  # what happens is an error of ours, or a line in our own log


class WebSocketTransport:
    """``ws://`` on this machine, ``wss://`` anywhere."""

    schemes = _SCHEMES
    """Those of its URLs."""

    def check_server(self, url: str, options: TransportOptions) -> SplitResult:
        """What must stand before anything listens; see :func:`understudy.transports._security.check_server`."""
        return check_server(url, options, _SCHEMES)

    def check_client(self, url: str, options: TransportOptions) -> SplitResult:
        """Likewise, before anything connects."""
        return check_client(url, options, _SCHEMES)

    async def listen(self, url: str, serve: Serve, options: TransportOptions, env: Environment) -> WebSocketListener:
        """Accept connections at *url*, from here on.

        Raises:
            UnsafeListener: A protection is missing, and nothing was opened.
            OSError: The address, or a certificate, is not to be had.
        """
        return await WebSocketListener(self.check_server(url, options), serve, options, env).start()

    async def connect(self, url: str, options: TransportOptions, env: Environment) -> WebSocketConnection:
        """Connect to the listener at *url*.

        Raises:
            UnsafeListener: A protection is missing.
            ConnectionLost: Nobody is there, or whoever is does not want to.
        """
        parts = self.check_client(url, options)
        tls: dict[str, Any] = {}
        if parts.scheme == "wss":
            tls["ssl"] = True if options.tls is None else options.tls.for_client()
            if options.tls is not None and options.tls.server_name is not None:
                tls["server_hostname"] = options.tls.server_name
        limits = options.limits
        dial = Connect(
            url,
            compression=None,
            proxy=None,
            user_agent_header=None,
            open_timeout=limits.open_timeout,
            create_connection=ClientEnd,
            **_common(limits),
            **tls,
        )
        try:
            ws = await dial
        except (OSError, WebSocketException, EOFError) as error:
            raise ConnectionLost(peer=url, why=str(error) or type(error).__name__) from error
        return WebSocketConnection(cast("ClientEnd", ws), parts.scheme, limits, env, pinned=_is_mutual(options))


class WebSocketListener:
    """See :class:`understudy.transports._connection.Listener`."""

    def __init__(self, parts: SplitResult, serve: Serve, options: TransportOptions, env: Environment) -> None:
        self._parts = parts
        self._serve = serve
        self._options = options
        self._env = env
        self._server: Server | None = None
        # Connections, also those that are not open yet, by the address that they come from.
        self._addresses: dict[str, int] = {}
        self._rules = GateRules(frozenset(), frozenset())
        self._port = parts.port if parts.port is not None else (443 if parts.scheme == "wss" else 80)

    async def start(self) -> WebSocketListener:
        """Begin."""
        options, parts = self._options, self._parts
        tls: dict[str, Any] = {}
        if parts.scheme == "wss" and options.tls is not None:
            tls["ssl"] = options.tls.for_server()
        limits = options.limits

        self._server = await serve(
            self._handle,
            parts.hostname,
            self._port,
            compression=None,
            process_request=self._check_request,
            server_header=None,
            open_timeout=limits.open_timeout,
            create_connection=partial(ServerEnd, self.admit, self.release),  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
            **_common(limits),
            **tls,
        )
        self._port = next(iter(self._server.sockets)).getsockname()[1]
        encrypted, host = parts.scheme == "wss", parts.hostname or ""
        self._rules = GateRules.at(host, self._port, encrypted=encrypted, hosts=options.hosts, origins=options.origins)
        return self

    @property
    def url(self) -> str:
        """Where others connect."""
        parts = self._parts
        return url_at(parts.scheme, parts.hostname or "", self._port, parts.path)

    async def aclose(self) -> None:
        """Accept no more, and end all connections."""
        if self._server is not None:
            self._server.close(reason="the listener was closed")
            await self._server.wait_closed()

    def admit(self, address: str) -> bool:
        """Whether there is room for another connection from *address*, which then has it."""
        limits = self._options.limits
        if sum(self._addresses.values()) >= limits.max_connections:
            return False
        count = self._addresses.get(address, 0)
        if count >= limits.max_connections_per_address:
            return False
        self._addresses[address] = count + 1
        return True

    def release(self, address: str) -> None:
        """That connection is over."""
        count = self._addresses.pop(address) - 1
        if count:
            self._addresses[address] = count

    def _check_request(self, connection: ServerConnection, request: Request) -> Response | None:
        """Refuse what a web page could have sent that has found a name for this address, and what nobody asked for."""
        headers = request.headers.raw_items()
        refusal = self._rules.judge(
            (name.lower().encode(), value.encode(errors="surrogateescape")) for name, value in headers
        )
        if refusal is not None:
            return _response(refusal.status)
        if urlsplit(request.path).path != (self._parts.path or "/") or "?" in request.path:
            return _response(HTTPStatus.NOT_FOUND)
        return None

    async def _handle(self, ws: ServerConnection) -> None:
        pinned = _is_mutual(self._options)
        end, limits = cast("ServerEnd", ws), self._options.limits
        connection = WebSocketConnection(end, self._parts.scheme, limits, self._env, pinned=pinned)
        await serve_out(self._serve, connection, self._env)


class WebSocketConnection:
    """See :class:`understudy.transports._connection.Connection`."""

    def __init__(self, ws: End, scheme: str, limits: ConnectionLimits, env: Environment, *, pinned: bool) -> None:
        self._ws = ws
        self.transport = ws.transport
        """asyncio's; for tests that trouble the network."""
        self._limits = limits
        self._env = env
        ws.max_direct = limits.max_size
        address = ws.remote_address
        secure = ws.transport.get_extra_info("ssl_object")
        self.peer = PeerFacts(
            transport=scheme,
            address=f"{address[0]}:{address[1]}" if isinstance(address, tuple) else str(address),
            encrypted=secure is not None,
            names=names_of(secure.getpeercert()) if pinned and secure is not None else (),
        )
        self._why: str | None = None
        # Since when a message is waited for, if one is, and when the last came.
        self._waiting: float | None = None
        self._last = env.now()
        self._timer: asyncio.TimerHandle | None = None

    # Out

    @property
    def has_room(self) -> bool:
        """Whether :meth:`write` may be called: the connection is open, and little waits to be sent."""
        transport = self.transport
        return (
            self._ws.protocol.state is State.OPEN
            and not transport.is_closing()
            and transport.get_write_buffer_size() < _WRITE_LIMIT // 2
        )

    def write(self, data: bytes) -> None:
        """Hand *data* over as one message, at once; only where there is room."""
        if len(data) > self._limits.max_size:
            check_size(data, self._limits)
        self.transport.write(pack_message(data, masked=self._ws.is_client))

    async def send(self, data: bytes) -> None:
        """Hand *data* over as one message."""
        if self.has_room:
            self.write(data)
            return
        check_size(data, self._limits)
        try:
            async with asyncio.timeout(self._limits.frame_timeout):
                await self._ws.send(data)
        except TimeoutError:
            self._abort("the peer took nothing in time")
            raise self._lost() from None
        except ConnectionClosed:
            raise self._lost() from None

    # In

    async def receive(self) -> bytes:
        """The next message."""
        ws = self._ws
        self._wait_from_now()
        try:
            while not ws.came:
                if ws.protocol.state is State.CLOSED:
                    raise self._lost()
                await ws.news.wait()
        finally:
            self._waiting = None
        self._last = self._env.now()
        data = ws.next_message()
        if data is None:
            raise await self._refuse_text()
        return data

    async def receive_each(self, take: Callable[[bytes], bool]) -> None:
        """Call *take* with each message as it comes, until it says False."""
        ws, now = self._ws, self._env.now
        on, was_text = True, False
        failure: BaseException | None = None

        def taken(message: bytes | None) -> None:
            nonlocal on, was_text, failure
            self._last = now()
            if not on:
                return
            if message is None:
                on, was_text = False, True
            else:
                try:
                    on = take(message)
                except BaseException as error:  # for whoever waits for the end; here it would be the event loop's
                    on, failure = False, error
            if not on:
                ws.news.ring()

        self._wait_from_now()
        try:
            while ws.came and on:
                taken(ws.next_message())
            ws.taker = taken
            while on and ws.protocol.state is not State.CLOSED:
                await ws.news.wait()
        finally:
            ws.taker = _pass_over
            self._waiting = None
        if failure is not None:
            raise failure
        if was_text:
            raise await self._refuse_text()
        if on:
            raise self._lost()

    async def _refuse_text(self) -> ConnectionLost:
        self._why = "text came, where bytes were due"
        await self._ws.close(1003)
        return self._lost()

    # Its end

    async def aclose(self, reason: str = "") -> None:
        """End it."""
        self._unwatch()
        said = reason.encode()[:120].decode(errors="ignore")
        await self._ws.close(_CODES.get(reason, 1000), said)

    # Deadlines: one timer for all messages, which is moved when it fires

    def _wait_from_now(self) -> None:
        self._waiting = self._env.now()
        self._watch(self._waiting)

    def _watch(self, now: float) -> None:
        if self._timer is None:
            shortest = min(self._limits.idle_timeout, self._limits.frame_timeout)
            self._timer = self._env.call_at(now + shortest, self._look)

    def _unwatch(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = None
        if self._waiting is None or self._ws.close_code is not None:
            return
        now = self._env.now()
        quiet = now - max(self._waiting, self._last)
        half = self._ws.half_since
        if quiet >= self._limits.idle_timeout - INSTANT:
            self._abort("the peer sent nothing in time")
        elif half is not None and now - max(half, self._waiting, self._last) >= self._limits.frame_timeout - INSTANT:
            self._abort("the peer did not send the rest of a message in time")
        else:
            self._watch(now)

    def _abort(self, why: str) -> None:
        self._why = why
        self.transport.abort()

    def _lost(self) -> ConnectionLost:
        self._unwatch()
        protocol = self._ws.protocol
        if self._why is not None or protocol.state is not State.CLOSED:
            return ConnectionLost(peer=self.peer.address, why=self._why or "it was closed")
        said = protocol.close_rcvd if protocol.close_rcvd is not None else protocol.close_sent
        if said is None or said.code == 1006:
            return ConnectionLost(peer=self.peer.address, why="the network has lost it")
        clean = protocol.close_rcvd is not None and protocol.close_sent is not None
        why = said.reason or f"it was closed ({said.code})"
        return ConnectionLost(peer=self.peer.address, why=why, clean=clean)


def _pass_over(message: bytes | None) -> None:
    """Nobody wants any more."""


def _common(limits: ConnectionLimits) -> dict[str, Any]:
    return {
        "ping_interval": None,
        "close_timeout": limits.close_timeout,
        "max_size": limits.max_size,
        "write_limit": _WRITE_LIMIT,
        "logger": _log,
    }


def _is_mutual(options: TransportOptions) -> bool:
    return options.tls is not None and options.tls.mutual


def _response(status: HTTPStatus) -> Response:
    return Response(status.value, status.phrase, Headers({"Content-Length": "0", "Connection": "close"}), b"")
