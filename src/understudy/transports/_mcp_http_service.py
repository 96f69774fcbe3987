"""uvicorn, the SDK's sessions and our gate, run by one task of an actor."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, cast

import sse_starlette.sse
import uvicorn
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from uvicorn.protocols.http.h11_impl import H11Protocol

from understudy.transports._mcp_gate import Gate
from understudy.transports._mcp_service import sdk_server
from understudy.transports._mcp_tasks import uncancel

if TYPE_CHECKING:
    from understudy.transports._mcp_serving import HttpBinding
    from understudy.transports._mcp_tools import Tools

__all__ = ["serve_http"]

GRACE = 1
"""Seconds that calls in hand get at the end."""
IDLE = 5
"""Seconds that a connection is kept open for the next request."""
SESSION_IDLE = 600.0
"""Seconds after which a session without requests is forgotten, for clients whose protocol has sessions."""


async def serve_http(tools: Tools, binding: HttpBinding, up: asyncio.Future[str]) -> None:
    """Serve until cancelled: once to end in order, twice to end at once; nothing is left of it then.

    Raises:
        OSError: The port is taken, or the certificate cannot be read.
    """
    family = socket.AF_INET6 if ":" in binding.host else socket.AF_INET
    with socket.create_server((binding.host, binding.port), family=family) as listening:
        port: int = listening.getsockname()[1]
        manager = StreamableHTTPSessionManager(
            sdk_server(tools),
            max_request_body_size=binding.max_message_bytes,
            max_sessions=binding.max_sessions,
            session_idle_timeout=SESSION_IDLE,
        )
        gate = Gate(
            cast("Any", manager.handle_request),
            binding.rules(port),
            path=binding.path,
            limit=binding.max_message_bytes,
            patience=binding.body_timeout,
        )
        server = Server(_config(gate, binding))
        server.on_started = lambda: _tell(up, binding.url(port))
        try:
            async with manager.run():
                await server.serve_all([listening])
        finally:
            await end_watcher()


def _tell(up: asyncio.Future[str], url: str) -> None:
    if not up.done():
        up.set_result(url)


def _config(gate: Gate, binding: HttpBinding) -> uvicorn.Config:
    return uvicorn.Config(
        cast("Any", gate),
        lifespan="off",
        ws="none",
        http=Http,
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        limit_concurrency=binding.max_connections,
        timeout_keep_alive=IDLE,
        timeout_graceful_shutdown=GRACE,
        ssl_certfile=binding.certificate,
        ssl_keyfile=None if binding.key is None else str(binding.key),
    )


class Http(H11Protocol):
    """uvicorn's protocol, without the timer that it forgets when a connection breaks under it."""

    _lost = False

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        super().connection_lost(exc)
        self._lost = True
        self._unset_keepalive_if_required()

    def on_response_complete(self) -> None:
        """A response is out, or there is nobody for it any more."""
        super().on_response_complete()
        if self._lost:
            self._unset_keepalive_if_required()


async def end_watcher() -> None:
    """End the task that sse-starlette has started, if nobody uses it any more.

    It begins with the first stream of events of a thread, belongs to nobody, and polls for ever whether a server that
    it finds by its signal handlers is ending. The next stream starts it again.
    """
    state_of: Callable[[], Any] | None = getattr(sse_starlette.sse, "_get_shutdown_state", None)
    if state_of is None or state_of().events:
        return
    watchers = [each for each in asyncio.all_tasks() if getattr(each.get_coro(), "__name__", "") == "_shutdown_watcher"]
    for each in watchers:
        each.cancel()
    if watchers:
        await asyncio.wait(watchers, timeout=GRACE)


class Server(uvicorn.Server):
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

    async def main_loop(self) -> None:
        """Serve until cancelled; the first cancel is the wish to end in order, the next interrupts that."""
        try:
            await super().main_loop()
        except asyncio.CancelledError:
            uncancel()
        self.should_exit = True

    async def serve_all(self, sockets: list[socket.socket]) -> None:
        """Serve until cancelled; whatever is left when it ends is dropped at once."""
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
