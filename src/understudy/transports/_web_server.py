"""uvicorn's server as a part of a program: it leaves signals alone, may be cancelled, and bounds what peers take."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections import Counter
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, cast

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from understudy.transports._limits import MAX_SIZE

if TYPE_CHECKING:
    import ssl

    import h11

    from understudy.transports._web_gate import App

__all__ = ["GRACE", "SocketLimits", "Upgraded", "WebServer", "bounded_protocol", "web_config"]

GRACE = 1
"""Seconds that requests in hand get at the end."""
IDLE = 5
"""Seconds that a connection is kept open for its next request."""


def web_config(
    app: App,
    sockets: SocketLimits,
    context: ssl.SSLContext | None,
    *,
    busy: int | None = None,
    websocket: type[asyncio.Protocol] | None = None,
    max_message_bytes: int = MAX_SIZE,
) -> uvicorn.Config:
    """How *app* is served: HTTP/1.1 and nothing else, no headers of proxies, nothing in the log.

    With *busy*, requests on more sockets than that are answered with 503. With *websocket*, which is a
    :class:`understudy.transports._web_socket.WebSocketProtocol`, connections may be upgraded to that.
    """
    return uvicorn.Config(
        cast("Any", app),
        interface="asgi3",
        lifespan="off",
        ws="none" if websocket is None else websocket,
        ws_max_size=max_message_bytes,
        ws_per_message_deflate=False,
        http=bounded_protocol(sockets),
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        limit_concurrency=busy,
        timeout_keep_alive=IDLE,
        timeout_graceful_shutdown=GRACE,
        ssl_context_factory=None if context is None else lambda config, default: context,
    )


@dataclass(frozen=True, slots=True)
class SocketLimits:
    """What peers may take of a server before they have said anything that makes sense."""

    head_timeout: float
    """Seconds for the head of a request to come, from its first byte or that of the socket."""
    total: int
    """Sockets; further ones are dropped at once."""
    per_address: int
    """Likewise, of one address."""
    make_room: bool = False
    """Drop the one that has taken longest over the head of a request instead, if there is one."""


class Upgraded(Protocol):
    """What a connection is handed over to when it is no longer one of requests."""

    on_lost: Callable[[], object]
    """Called when it has ended."""


class WebServer(uvicorn.Server):
    """uvicorn's server as a part of a program that has signals of its own, and that may end it at any time."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.on_started: Callable[[], None] = lambda: None
        self.servers: list[Any] = []

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Leave signals to the program."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen."""
        await super().startup(sockets)
        self.on_started()

    def leave(self) -> None:
        """End soon, in order."""
        self.should_exit = True

    async def serve_all(self, sockets: list[socket.socket]) -> None:
        """Serve until asked to leave; when cancelled, drop everything at once."""
        try:
            await self.serve(sockets)
        finally:
            for server in self.servers:
                server.close()
            tasks = list(self.server_state.tasks)
            for task in tasks:
                task.cancel()
            for connection in list(self.server_state.connections):
                transport = getattr(connection, "transport", None)
                if transport is not None:
                    transport.abort()
            if tasks:
                await asyncio.wait(tasks, timeout=GRACE)


def bounded_protocol(sockets: SocketLimits) -> type[H11Protocol]:
    """The protocol of one server."""
    return type("Protocol", (BoundedProtocol,), {"sockets": sockets, "by_address": Counter[str](), "silent": {}})


class BoundedProtocol(H11Protocol):
    """HTTP/1.1 for a peer that has a deadline for each head of a request, and so many sockets."""

    sockets: ClassVar[SocketLimits]
    by_address: ClassVar[Counter[str]]
    """How many sockets there are of each address, for all of one server."""
    silent: ClassVar[dict[BoundedProtocol, None]]
    """Those of which the head of a request is awaited, longest first."""

    _address = ""
    _counted = False
    _lost = False
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take the connection, or drop it at once."""
        super().connection_made(transport)
        self._address = self.client[0] if self.client else ""
        if self._has_room():
            self._counted = True
            self.by_address[self._address] += 1
            self._await_head(self.sockets.head_timeout)
        else:
            transport.abort()

    def handle_events(self) -> None:
        """Read what has come."""
        super().handle_events()
        if self._deadline is not None and self._is_busy():
            self._stop_awaiting()

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        """Hand the connection, and its place among all, over to the protocol of WebSocket."""
        self._stop_awaiting()
        super().handle_websocket_upgrade(event)
        cast("Upgraded", self.transport.get_protocol()).on_lost = self._leave

    def on_response_complete(self) -> None:
        """The next request, if there is one, has a deadline of its own."""
        super().on_response_complete()
        if self._lost:
            self._unset_keepalive_if_required()
        elif self._deadline is None and not self._is_busy() and not self.transport.is_closing():
            self._await_head(self.sockets.head_timeout + IDLE)

    def connection_lost(self, exc: Exception | None) -> None:
        """It has ended."""
        super().connection_lost(exc)
        self._lost = True
        self._unset_keepalive_if_required()  # uvicorn forgets to where the socket was lost with an error
        self._leave()

    def _has_room(self) -> bool:
        """Whether there is room for one more, after one that has said nothing yet was dropped for it if need be."""
        crowded = self.by_address[self._address] >= self.sockets.per_address
        if not crowded and self.by_address.total() < self.sockets.total:
            return True
        rivals = (each for each in self.silent if not crowded or each._address == self._address)
        longest = next(rivals, None) if self.sockets.make_room else None
        if longest is None:
            return False
        longest._leave()
        longest.transport.abort()
        return True

    def _is_busy(self) -> bool:
        cycle = cast("RequestResponseCycle | None", self.cycle)  # none before the first request
        return cycle is not None and not cycle.response_complete

    def _await_head(self, patience: float) -> None:
        self._deadline = self.loop.call_later(patience, self._late)
        self.silent[self] = None

    def _stop_awaiting(self) -> None:
        self.silent.pop(self, None)
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _leave(self) -> None:
        """Give its place to others."""
        self._stop_awaiting()
        if self._counted:
            self._counted = False
            self.by_address[self._address] -= 1
            if not self.by_address[self._address]:
                del self.by_address[self._address]

    def _late(self) -> None:
        self._stop_awaiting()
        self.transport.abort()
